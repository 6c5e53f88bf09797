//! Who made a network card, by the IEEE's registries as Debian's `ieee-data` has them: blocks of 24, 28 and 36 bits. The files
//! have 60,000 lines; only those that are asked for are kept.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use shm_layout::MacAddr;

const FILES: [&str; 4] = ["oui.csv", "mam.csv", "oui36.csv", "iab.csv"];
/// A block: the length of its prefix in hexadecimal digits, and the prefix.
type Block = (u32, u64);

/// Makers of some MACs.
#[derive(Debug, Default)]
pub struct Vendors(HashMap<Block, String>);

impl Vendors {
    /// Looks them up. Where there are no files, nobody has a maker.
    pub fn look_up(directory: &Path, macs: impl Iterator<Item = MacAddr>) -> Vendors {
        let wanted: HashSet<Block> =
            macs.filter(|mac| !is_private(*mac)).flat_map(blocks).collect();
        let mut vendors = Vendors::default();
        for file in FILES {
            if let Ok(bytes) = fs::read(directory.join(file)) {
                vendors.read(&String::from_utf8_lossy(&bytes), &wanted);
            }
        }
        vendors
    }

    /// `Registry,Assignment,Organization Name,Organization Address`.
    fn read(&mut self, text: &str, wanted: &HashSet<Block>) {
        for line in text.lines() {
            let mut fields = line.splitn(3, ',');
            let (Some(_), Some(prefix), Some(rest)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let Ok(number) = u64::from_str_radix(prefix, 16) else { continue };
            let block = (prefix.len() as u32, number);
            if wanted.contains(&block) {
                let name = field(rest);
                // These hand out the smaller blocks, or do not want to be named.
                if !matches!(&*name, "IEEE Registration Authority" | "Private" | "") {
                    self.0.insert(block, name);
                }
            }
        }
    }

    /// The maker: of the smallest block.
    pub fn of(&self, mac: MacAddr) -> Option<&str> {
        blocks(mac).into_iter().find_map(|block| self.0.get(&block)).map(String::as_str)
    }
}

/// Whether an address was made up by the device itself (or its administrator), and so tells nothing of its maker.
pub fn is_private(mac: MacAddr) -> bool {
    mac.octets()[0] & 2 != 0
}

fn blocks(mac: MacAddr) -> [Block; 3] {
    let number = mac.octets().iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
    [9, 7, 6].map(|digits| (digits, number >> (48 - 4 * digits)))
}

/// The first field of a line of CSV.
fn field(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"') else {
        return text.split(',').next().unwrap_or_default().trim().into();
    };
    // A quote within is two.
    let quoted = quoted.replace("\"\"", "\u{0}");
    quoted.split('"').next().unwrap_or_default().replace('\u{0}', "\"").trim().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_block_counts() {
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
        let macs = [
            "00:22:72:00:00:01",
            "70:b3:d5:71:90:01",
            "70:b3:d5:72:00:00",
            "70:b3:d5:80:00:00",
            "00:aa:bb:00:00:00",
            "00:aa:cc:00:00:00",
            "02:22:72:00:00:01",
        ]
        .map(|mac| mac.parse::<MacAddr>().unwrap());
        let vendors = Vendors::look_up(directory.path(), macs.into_iter());
        assert_eq!(
            macs.map(|mac| vendors.of(mac)),
            [
                Some("American Micro-Fuel Device Corp."),
                Some("2M Technology"),
                Some("Seven"),
                None,
                Some("A \"B\", Inc."),
                None,
                None
            ]
        );
        assert!(is_private(macs[6]) && !is_private(macs[0]));
        let none = Vendors::look_up(Path::new("/nonexistent"), macs.into_iter());
        assert_eq!(none.of(macs[0]), None);
    }
}
