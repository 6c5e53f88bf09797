//! Vendors of network cards, from the IEEE's registries as Debian's package `ieee-data` has them: prefixes of 24, 28 and
//! 36 bits. The files have 60,000 lines; only the prefixes of given MACs stay in memory.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use aw_service::{csv_fields, read_text};
use shm_layout::MacAddr;

const FILES: [&str; 4] = ["oui.csv", "mam.csv", "oui36.csv", "iab.csv"];
/// A prefix: its length in hexadecimal digits, and its value.
type Prefix = (u32, u64);

/// The vendors of some MACs.
#[derive(Debug, Default)]
pub struct Vendors(HashMap<Prefix, String>);

impl Vendors {
    /// Reads the vendors of these MACs. Files that cannot be read are skipped.
    pub fn look_up(directory: &Path, macs: impl Iterator<Item = MacAddr>) -> Vendors {
        let wanted: HashSet<Prefix> =
            macs.filter(|mac| !is_private(*mac)).flat_map(prefixes).collect();
        let mut vendors = Vendors::default();
        for file in FILES {
            if let Ok(text) = read_text(&directory.join(file)) {
                vendors.read(&text, &wanted);
            }
        }
        vendors
    }

    /// Reads a file with the columns `Registry,Assignment,Organization Name,Organization Address`.
    fn read(&mut self, text: &str, wanted: &HashSet<Prefix>) {
        for line in text.lines() {
            let fields = csv_fields(line, 3);
            let [_, digits, name] = &*fields else { continue };
            let (name, digits) = (name.trim(), digits.as_str());
            let Ok(number) = u64::from_str_radix(digits, 16) else { continue };
            let prefix = (digits.len() as u32, number);
            if wanted.contains(&prefix) {
                // "IEEE Registration Authority": the prefix is divided into longer ones. "Private": the vendor is not published.
                if !matches!(name, "IEEE Registration Authority" | "Private" | "") {
                    self.0.insert(prefix, name.into());
                }
            }
        }
    }

    /// The vendor with the longest prefix of this MAC.
    pub fn of(&self, mac: MacAddr) -> Option<&str> {
        prefixes(mac).into_iter().find_map(|prefix| self.0.get(&prefix)).map(String::as_str)
    }
}

/// Whether an address is locally administered (IEEE 802, bit 1 of the first octet), such as a random one. It has no vendor.
pub fn is_private(mac: MacAddr) -> bool {
    mac.octets()[0] & 2 != 0
}

fn prefixes(mac: MacAddr) -> [Prefix; 3] {
    [9, 7, 6].map(|digits| (digits, mac.number() >> (48 - 4 * digits)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_longest_prefix_counts() {
        let directory = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        write(
            "oui.csv",
            "Registry,Assignment,Organization Name,Organization Address\n\
             MA-L,002272,American Micro-Fuel Device Corp.,2181 Buchanan Loop\n\
             MA-L,70B3D5,IEEE Registration Authority,445 Hoes Lane\n\
             MA-L,00AABB,\"A \"\"B\"\", Inc.\",Somewhere\nMA-L,00AACC,Private,\nbroken\nMA-L,xyz,\"\n",
        );
        write("mam.csv", "MA-M,70B3D57,Seven,\n");
        write("oui36.csv", "MA-S,70B3D5719,\"2M Technology\",802 Greenview Drive\n");
        let macs = "00:22:72:00:00:01 70:b3:d5:71:90:01 70:b3:d5:72:00:00 70:b3:d5:80:00:00 \
            00:aa:bb:00:00:00 00:aa:cc:00:00:00 02:22:72:00:00:01";
        let macs: Vec<MacAddr> = macs.split(' ').map(|mac| mac.parse().unwrap()).collect();
        let vendors = Vendors::look_up(directory.path(), macs.iter().copied());
        let names: Vec<_> = macs.iter().map(|mac| vendors.of(*mac).unwrap_or("-")).collect();
        let expected = [
            "American Micro-Fuel Device Corp.",
            "2M Technology",
            "Seven",
            "-",
            "A \"B\", Inc.",
            "-",
            "-",
        ];
        assert_eq!(names, expected);
        assert!(is_private(macs[6]) && !is_private(macs[0]));
        let none = Vendors::look_up(Path::new("/nonexistent"), macs.iter().copied());
        assert_eq!(none.of(macs[0]), None);
    }
}
