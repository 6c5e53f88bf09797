//! Lines of lists of makers: oui.csv and oui.txt of the IEEE and their siblings, ethercodes.dat and ethercodes.db of arpwatch,
//! `manuf` of Wireshark, nmap-mac-prefixes (also of arp-scan and Arpwatch-NG).

use aw_service::csv_fields;

use super::MacBlock;

/// The IEEE's "IEEE Registration Authority" divides a block into longer ones; the holder of a "Private" one is not published.
const NO_MAKERS: [&str; 2] = ["IEEE Registration Authority", "Private"];

/// What a line of a list has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MakerLine {
    /// A block and its maker.
    Maker(MacBlock, String),
    /// It belongs to the format, and names no maker.
    Nothing,
    /// It does not belong to the format.
    Bad,
}

/// `prefix maker`, in all notations of a prefix. In `manuf`, a short name of one word stands before the name.
pub fn prefix_line(line: &str) -> MakerLine {
    if line.starts_with(['\t', ' ']) {
        return MakerLine::Nothing; // an address in oui.txt
    }
    let Some((prefix, maker)) = line.split_once(['\t', ' ']) else { return MakerLine::Bad };
    let (prefix, mask) =
        prefix.split_once('/').map_or((prefix, None), |(prefix, mask)| (prefix, Some(mask)));
    let Some((number, bits)) = prefix_number(prefix) else { return MakerLine::Bad };
    let bits = match mask.map(str::parse) {
        Some(Ok(mask)) if mask <= bits => mask,
        Some(_) => return MakerLine::Bad,
        None => bits,
    };
    let mut maker = maker.trim();
    // oui.txt has each block twice.
    if maker.starts_with("(hex)") {
        return MakerLine::Nothing;
    }
    maker = maker.strip_prefix("(base 16)").unwrap_or(maker).trim();
    let is_padded = prefix.as_bytes().get(2) == Some(&b':');
    if let Some((short, long)) = maker.split_once('\t').filter(|_| is_padded)
        && !short.contains(' ')
    {
        maker = long.trim().trim_start_matches('#').trim(); // earlier releases have the name in a comment
    }
    maker_line(number >> (48 - bits), bits, maker)
}

/// `Registry,Assignment,Organization Name,Organization Address`.
pub fn csv_line(line: &str) -> MakerLine {
    let fields = csv_fields(line, 3);
    // An address can have several lines.
    let [registry, digits, maker] = &*fields else { return MakerLine::Nothing };
    match (registry.as_str(), prefix_number(digits)) {
        ("MA-L" | "MA-M" | "MA-S" | "IAB" | "CID", Some((number, bits))) => {
            maker_line(number >> (48 - bits), bits, maker)
        }
        ("MA-L" | "MA-M" | "MA-S" | "IAB" | "CID", None) => MakerLine::Bad,
        _ => MakerLine::Nothing,
    }
}

fn maker_line(prefix: u64, bits: u8, maker: &str) -> MakerLine {
    let maker = maker.split_whitespace().collect::<Vec<_>>().join(" ");
    // `manuf` also has single addresses and blocks of protocols.
    match MacBlock::new(prefix, bits) {
        Some(block) if !is_no_maker(&maker) && !maker.is_empty() => MakerLine::Maker(block, maker),
        _ => MakerLine::Nothing,
    }
}

fn is_no_maker(maker: &str) -> bool {
    NO_MAKERS.iter().any(|name| name.eq_ignore_ascii_case(maker))
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

/// A file of the IEEE, line by line.
pub(super) struct Registry {
    is_csv: bool,
    /// In a text: the 24 bits before the next range.
    large: Option<u64>,
}

impl Registry {
    pub fn new(is_csv: bool) -> Registry {
        Registry { is_csv, large: None }
    }

    pub fn line(&mut self, line: &str) -> Option<(MacBlock, String)> {
        let read = match self.is_csv {
            true => csv_line(line),
            false => self.text_line(line),
        };
        match read {
            // A control character would end the maker in the table.
            MakerLine::Maker(block, maker) => {
                Some((block, maker)).filter(|(_, maker)| !maker.contains(char::is_control))
            }
            _ => None,
        }
    }

    /// `70-B3-D5 (hex)`, then `002272 (base 16) maker`, or `719000-719FFF (base 16) maker` for a part of the block.
    fn text_line(&mut self, line: &str) -> MakerLine {
        let Some((first, rest)) = line.split_once([' ', '\t']) else { return MakerLine::Nothing };
        let rest = rest.trim();
        if rest.starts_with("(hex)") {
            self.large = prefix_number(first)
                .filter(|(_, bits)| *bits == 24)
                .map(|(number, _)| number >> 24);
            return MakerLine::Nothing;
        }
        let (Some((from, to)), Some(large)) = (first.split_once('-'), self.large) else {
            return prefix_line(line);
        };
        let (Some(maker), [Ok(from), Ok(to)]) =
            (rest.strip_prefix("(base 16)"), [from, to].map(|end| u64::from_str_radix(end, 16)))
        else {
            return MakerLine::Bad;
        };
        if from > to || to > 0xff_ffff {
            return MakerLine::Bad;
        }
        let size = (from ^ to).count_ones() as u8;
        maker_line((large << 24 | from) >> size, 48 - size, maker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn makers(text: &str, read: fn(&str) -> MakerLine) -> (Vec<String>, Vec<usize>) {
        let (mut makers, mut bad) = (Vec::new(), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            match read(line) {
                MakerLine::Maker(block, maker) => makers.push(format!("{block:?} {maker}")),
                MakerLine::Nothing => {}
                MakerLine::Bad => bad.push(number),
            }
        }
        makers.sort();
        (makers, bad)
    }

    #[test]
    fn lists_of_all_kinds() {
        let ethercodes = "0:0:10\tHUGHES  LAN\tSYSTEMS \n00-00-1F\tTelco\n0:0:6C\t \nbad line\n";
        let expected =
            ["24:000010 HUGHES LAN SYSTEMS", "24:00001f Telco"].map(String::from).to_vec();
        assert_eq!(makers(ethercodes, prefix_line), (expected, vec![4]));
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
        assert_eq!(makers(manuf, prefix_line), (expected.map(String::from).to_vec(), vec![8, 9]));
        let nmap = "00000C Cisco Systems\n001B21\tIntel Corporate\n0055DA1 KoolPOS\n70B3D5000 Maker \n70B3D5 Private\n\
            facade of a house\n00000 short\n";
        let expected = [
            "24:00000c Cisco Systems",
            "24:001b21 Intel Corporate",
            "28:0055da1 KoolPOS",
            "36:70b3d5000 Maker",
        ];
        assert_eq!(makers(nmap, prefix_line), (expected.map(String::from).to_vec(), vec![6, 7]));
        let oui_txt =
            "OUI/MA-L  Organization\n00-00-0C   (hex)\t\tCisco\n00000C     (base 16)\t\tCisco\n";
        assert_eq!(makers(oui_txt, prefix_line), (vec!["24:00000c Cisco".into()], vec![1]));
        let oui_csv = "Registry,Assignment,Organization Name,Organization Address\nMA-L,001B21,Intel Corporate,\"Lot 8, Jalan\"\n\
            MA-L,00000C,\"Cisco Systems, Inc\",San Jose\nMA-S,70B3D5000,\"A \"\"B\"\"\",x\nMA-L,70B3D5,IEEE Registration Authority,\"x\ny,z\"\nMA-L,70B3D6,IEEE  REGISTRATION AUTHORITY,x\nMA-L,70B3D7,PRIVATE,x\nMA-L,xyz,x,y\n";
        let expected =
            ["24:00000c Cisco Systems, Inc", "24:001b21 Intel Corporate", "36:70b3d5000 A \"B\""];
        assert_eq!(makers(oui_csv, csv_line), (expected.map(String::from).to_vec(), vec![9]));
    }
}
