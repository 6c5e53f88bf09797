//! Names of devices: a file with a MAC address and a name in each line.

use std::{collections::BTreeMap, fs, path::Path};

use aw_service::{cause, split_name_line};
use shm_layout::MacAddr;

/// Names of devices by MAC address.
pub type Names = BTreeMap<MacAddr, String>;

/// Reads a file of names.
pub fn read_names(path: &Path) -> Result<Names, String> {
    let shown = path.display();
    let text =
        fs::read_to_string(path).map_err(|error| format!("read {shown}: {}", cause(&error)))?;
    parse_names(&text).map_err(|why| format!("{shown}: {why}"))
}

/// Reads `MAC name` or `MAC|name` lines. An error names the line.
fn parse_names(text: &str) -> Result<Names, String> {
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
}
