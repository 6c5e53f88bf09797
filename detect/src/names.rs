//! Names of devices: a file with a MAC address and a name in each line.

use std::{collections::BTreeMap, path::Path};

use aw_service::{read_text, split_name_line};
use shm_layout::MacAddr;

/// Names of devices by MAC address.
pub type Names = BTreeMap<MacAddr, String>;

/// Reads a file of names, in any encoding of [`read_text`].
pub fn read_names(path: &Path) -> Result<Names, String> {
    parse_names(&read_text(path)?).map_err(|why| format!("{}: {why}", path.display()))
}

/// Reads `MAC name` or `MAC|name` lines. An error names the line.
pub(crate) fn parse_names(text: &str) -> Result<Names, String> {
    let lines = text.lines().enumerate();
    let lines = lines.filter_map(|(index, line)| Some((index + 1, split_name_line(line)?)));
    let entry = |(number, (mac, name)): (usize, (&str, &str))| {
        let mac =
            mac.parse().map_err(|_| format!("line {number}: {mac:?} is not a MAC address"))?;
        Ok((mac, name.to_owned()))
    };
    lines.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_separators() {
        let list = "# home\n0:8:e1:1:2:a  the nas # in the cellar\n02-00-00-00-00-01,phone\n\
                    02:00:00:00:00:02|Studio #2\n02:00:00:00:00:03\n";
        let names: Vec<_> = parse_names(list).unwrap().into_values().collect();
        assert_eq!(names, ["the nas", "phone", "Studio #2", ""]);
        assert!(parse_names("\nx y").unwrap_err().contains("line 2"));
    }

    /// What other programs and systems write: /etc/ethers, lists of Windows with a byte order mark, Cisco's notation, CSV.
    #[test]
    fn notations_and_encodings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known");
        let mac = MacAddr::new([0, 0x1b, 0x21, 0, 0, 1]);
        for text in [
            "00:1B:21:00:00:01\tKüche",
            "0:1b:21:0:0:1  Küche  # comment",
            "\u{feff}00-1b-21-00-00-01 Küche\r\n",
            "\u{feff}# list\r\n001b.2100.0001 Küche\r\n",
            "001b21000001 Küche",
            "MAC,Name\n00:1b:21:00:00:01,Küche\n",
        ] {
            let marked = format!("\u{feff}{}", text.trim_start_matches('\u{feff}'));
            let utf16: Vec<_> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let latin: Vec<_> = text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
            for bytes in [text.as_bytes(), &latin, &utf16] {
                std::fs::write(&path, bytes).unwrap();
                let names = read_names(&path).unwrap();
                assert_eq!(names, Names::from([(mac, "Küche".into())]), "{text:?}");
            }
        }
        assert!(read_names(directory.path()).unwrap_err().starts_with("read /"));
    }
}
