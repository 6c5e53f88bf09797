//! Lists of vendors: ethercodes.dat of arpwatch, `manuf` of Wireshark, nmap-mac-prefixes (also of arp-scan and
//! Arpwatch-NG), and oui.txt and oui.csv of the IEEE.

use aw_service::csv_fields;

use super::{
    formats::{Context, Line},
    imported::{Imported, clean},
};
use crate::store::MacBlock;

/// The IEEE's "IEEE Registration Authority" divides a block into longer ones; the holder of a "Private" one is not published.
const NO_VENDORS: [&str; 2] = ["IEEE Registration Authority", "Private"];

/// `prefix vendor`, in all notations of a prefix. In `manuf`, a short name of one word stands before the name.
pub fn prefix_line(line: &str, _: &Context, imported: &mut Imported) -> Line {
    if line.starts_with(['\t', ' ']) {
        return Line::Nothing; // an address in oui.txt
    }
    let Some((prefix, vendor)) = line.split_once(['\t', ' ']) else { return Line::Bad };
    let (prefix, mask) =
        prefix.split_once('/').map_or((prefix, None), |(prefix, mask)| (prefix, Some(mask)));
    let Some((number, bits)) = prefix_number(prefix) else { return Line::Bad };
    let bits = match mask.map(str::parse) {
        Some(Ok(mask)) if mask <= bits => mask,
        Some(_) => return Line::Bad,
        None => bits,
    };
    let mut vendor = vendor.trim();
    // oui.txt has each block twice.
    if vendor.starts_with("(hex)") {
        return Line::Nothing;
    }
    vendor = vendor.strip_prefix("(base 16)").unwrap_or(vendor).trim();
    let is_padded = prefix.as_bytes().get(2) == Some(&b':');
    if let Some((short, long)) = vendor.split_once('\t').filter(|_| is_padded)
        && !short.contains(' ')
    {
        vendor = long.trim().trim_start_matches('#').trim(); // earlier releases have the name in a comment
    }
    add_vendor(number >> (48 - bits), bits, vendor, imported)
}

/// `Registry,Assignment,Organization Name,Organization Address`.
pub fn oui_csv(line: &str, _: &Context, imported: &mut Imported) -> Line {
    let fields = csv_fields(line, 3);
    // An address can have several lines.
    let [registry, digits, vendor] = &*fields else { return Line::Nothing };
    match (registry.as_str(), prefix_number(digits)) {
        ("Registry", _) => Line::Nothing,
        ("MA-L" | "MA-M" | "MA-S" | "IAB" | "CID", Some((number, bits))) => {
            add_vendor(number >> (48 - bits), bits, vendor, imported)
        }
        ("MA-L" | "MA-M" | "MA-S" | "IAB" | "CID", None) => Line::Bad,
        _ => Line::Nothing,
    }
}

fn add_vendor(prefix: u64, bits: u8, vendor: &str, imported: &mut Imported) -> Line {
    // `manuf` also has single addresses and blocks of protocols.
    let Some(block) = MacBlock::new(prefix, bits) else { return Line::Nothing };
    let Some(vendor) = clean(vendor).filter(|vendor| !NO_VENDORS.contains(&&**vendor)) else {
        return Line::Nothing;
    };
    imported.vendors.entry(block).or_insert(vendor); // as in arpwatch, the first one counts
    Line::Data
}

/// The beginning of a MAC as its first bits of 48, and how many these are: groups with colons or dashes, or digits.
fn prefix_number(text: &str) -> Option<(u64, u8)> {
    let groups: Vec<_> = text.split([':', '-']).collect();
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit() || b":-".contains(&byte)) {
        return None;
    }
    let (digits, bits) = match *groups {
        // A word of letters from a to f is no prefix.
        [digits] => {
            let has_number =
                digits.contains(|c: char| c.is_ascii_digit() || c.is_ascii_uppercase());
            let is_known = matches!(digits.len(), 6 | 7 | 9);
            (digits.to_owned(), if has_number && is_known { 4 * digits.len() } else { return None })
        }
        [_, _, _, ..] if groups.len() <= 6 => {
            let is_byte = |group: &&str| matches!(group.len(), 1 | 2);
            groups
                .iter()
                .all(is_byte)
                .then(|| groups.iter().map(|group| format!("{group:0>2}")).collect())
                .map(|digits: String| (digits, 8 * groups.len()))?
        }
        _ => return None,
    };
    let number = u64::from_str_radix(&digits, 16).ok()?;
    Some((number << (48 - bits), bits as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendors(
        text: &str,
        read: fn(&str, &Context, &mut Imported) -> Line,
    ) -> (Vec<String>, Vec<usize>) {
        let (mut imported, mut bad) = (Imported::default(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            if read(line, &Context::default(), &mut imported) == Line::Bad {
                bad.push(number);
            }
        }
        let found = imported.vendors.iter().map(|(block, vendor)| format!("{block:?} {vendor}"));
        (found.collect(), bad)
    }

    #[test]
    fn lists_of_all_kinds() {
        let ethercodes =
            "0:0:10\tHUGHES  LAN\tSYSTEMS \n00-00-1F\tTelco\n0:0:6C\t \nbad line\n0:0:10\tsecond\n";
        let expected =
            ["24:000010 HUGHES LAN SYSTEMS", "24:00001f Telco"].map(String::from).to_vec();
        assert_eq!(vendors(ethercodes, prefix_line), (expected, vec![4]));
        let manuf = "00:00:0C\tCisco\tCisco Systems, Inc\n00:1B:21\tIntel\n00:00:01\tXerox\t# XEROX CORP.\n\
            00:1B:C5:00:00:00/36\tConverging\tConverging Systems Inc.\n00:55:DA:10:00:00/28\tKoolPOS\tKoolPOS Inc.\n\
            01-00-0C-CC-CC-CC\tCDP\tCisco\n00-00-5E-00-01-00/40\tVRRP\n00:1B:21:00/25x\tbad\n00:1B/28\tbad\n";
        let expected = [
            "24:000001 XEROX CORP.",
            "24:00000c Cisco Systems, Inc",
            "24:001b21 Intel",
            "28:0055da1 KoolPOS Inc.",
            "36:001bc5000 Converging Systems Inc.",
        ];
        assert_eq!(vendors(manuf, prefix_line), (expected.map(String::from).to_vec(), vec![8, 9]));
        let nmap = "00000C Cisco Systems\n001B21\tIntel Corporate\n0055DA1 KoolPOS\n70B3D5000 Maker \n70B3D5 Private\n\
            facade of a house\n00000 short\n";
        let expected = [
            "24:00000c Cisco Systems",
            "24:001b21 Intel Corporate",
            "28:0055da1 KoolPOS",
            "36:70b3d5000 Maker",
        ];
        assert_eq!(vendors(nmap, prefix_line), (expected.map(String::from).to_vec(), vec![6, 7]));
        let oui_txt =
            "OUI/MA-L  Organization\n00-00-0C   (hex)\t\tCisco\n00000C     (base 16)\t\tCisco\n";
        assert_eq!(vendors(oui_txt, prefix_line), (vec!["24:00000c Cisco".into()], vec![1]));
        let oui_csv = "Registry,Assignment,Organization Name,Organization Address\nMA-L,001B21,Intel Corporate,\"Lot 8, Jalan\"\n\
            MA-L,00000C,\"Cisco Systems, Inc\",San Jose\nMA-S,70B3D5000,\"A \"\"B\"\"\",x\nMA-L,70B3D5,IEEE Registration Authority,\"x\ny,z\"\nMA-L,xyz,x,y\n";
        let expected =
            ["24:00000c Cisco Systems, Inc", "24:001b21 Intel Corporate", "36:70b3d5000 A \"B\""];
        assert_eq!(vendors(oui_csv, self::oui_csv), (expected.map(String::from).to_vec(), vec![7]));
    }
}
