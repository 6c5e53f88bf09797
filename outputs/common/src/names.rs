//! Names of devices and networks: one file for all programs, with a MAC address and a name in each line, or `network eth0.30 NAME`. Users who can write the file are
//! trusted as far as names go: a name is text, and a line that is damaged costs no other one.

mod edit;
mod live;
mod networks;

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};

use aw_service::{FileKind, TextLine, TextLines, explain_or, open_file, plain, split_name_line};
use shm_layout::MacAddr;

pub use edit::{Written, check_writable, is_name, write_name};
pub use live::LiveNames;
pub use networks::{NetworkNames, network_line};

/// The file that is read unless an option gives another one.
pub const NAMES_FILE: &str = "/etc/addrwatch/names";

/// The directory of configurations, which has secrets, too. The packages have the names in a directory of its own, to which
/// [`NAMES_FILE`] is a link.
const CONFIG_DIRECTORY: &str = "/etc/addrwatch";

/// Names of devices by MAC address.
pub type Names = BTreeMap<MacAddr, String>;

/// Bytes of the file, names in it, and characters of a name, at most. 100,000 names need 20 MB, and aw-alert, which has
/// them in its rules and its memory, too, 59 MB.
const MAX_FILE: u64 = 16 << 20;
const MAX_NAMES: usize = 100_000;
pub(crate) const MAX_NAME: usize = 200;
/// Damaged lines that are described; of further ones there is the number.
const MAX_DESCRIBED: usize = 5;
/// Characters of a damaged line that its description shows.
const SHOWN: usize = 40;
/// The keys of macupd_tracker.conf, which has names, too.
const SETTINGS: [&str; 6] = ["host", "port", "pidfile", "logdir", "reportdir", "maxlogs"];

/// The devices with a name; if there is none, those with it in upper or lower case; of `NAME.local`, as multicast DNS has it, those with
/// NAME.
pub fn named(names: &Names, name: &str) -> Vec<MacAddr> {
    let with = |is_meant: &dyn Fn(&str) -> bool| -> Vec<MacAddr> {
        names.iter().filter(|(_, one)| is_meant(one)).map(|(mac, _)| *mac).collect()
    };
    for name in [Some(name), without_local(name)].into_iter().flatten() {
        let lower = name.to_lowercase();
        let same = with(&|one| one == name);
        let found = if same.is_empty() { with(&|one| one.to_lowercase() == lower) } else { same };
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// `NAME.local` without its end.
pub fn without_local(name: &str) -> Option<&str> {
    const END: &str = ".local";
    let (name, end) = name.split_at_checked(name.len().checked_sub(END.len())?)?;
    (end.eq_ignore_ascii_case(END) && !name.is_empty()).then_some(name)
}

/// What a file of names contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameList {
    /// The names; an empty one if the line has only a MAC. Of two names of a MAC, the last one counts.
    pub names: Names,
    /// The names of networks.
    pub networks: NetworkNames,
    /// Lines that have no name: number, and what is wrong; of the first ones.
    pub damaged: Vec<(usize, String)>,
    /// How many there are of these.
    pub damaged_number: usize,
}

impl NameList {
    /// Reads names in any encoding of [`TextLines`].
    pub fn parse(reader: impl BufRead) -> io::Result<NameList> {
        let mut list = NameList::default();
        for line in TextLines::new(reader)? {
            let TextLine { number, text } = line?;
            let read = match text.as_deref() {
                None => Some(Err("it is longer than 64 KiB, or is not valid UTF-16".into())),
                Some(text) if text.trim_start().starts_with('[') => None, // a section of macupd_tracker.conf
                Some(text) => match network_line(text) {
                    Some(network) => {
                        let added =
                            network.and_then(|(network, name)| list.networks.add(network, name));
                        added.err().map(Err)
                    }
                    None => name_line(text),
                },
            };
            match read {
                None => {}
                Some(Ok((mac, name))) => {
                    if list.names.len() < MAX_NAMES || list.names.contains_key(&mac) {
                        list.names.insert(mac, name);
                    } else {
                        list.add_damaged(number, format!("there are more than {MAX_NAMES} names"));
                    }
                }
                Some(Err(why)) => list.add_damaged(number, why),
            }
        }
        Ok(list)
    }

    fn add_damaged(&mut self, number: usize, why: String) {
        self.damaged_number += 1;
        if self.damaged.len() < MAX_DESCRIBED {
            self.damaged.push((number, why));
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> io::Result<NameList> {
        let file = open_file(path, FileKind::Settings)?;
        let too_large = || io::Error::other("it is larger than 16 MiB, the maximum");
        if file.metadata()?.len() > MAX_FILE {
            return Err(too_large());
        }
        let mut bytes = BufReader::new(file.take(MAX_FILE + 1));
        let list = NameList::parse(&mut bytes)?;
        if bytes.into_inner().limit() == 0 { Err(too_large()) } else { Ok(list) }
    }

    /// A line for each damaged line: `FILE: line 3: ...`.
    pub fn faults(&self, path: &Path) -> Vec<String> {
        let shown = path.display();
        let fault = |(number, why): &(usize, String)| format!("{shown}: line {number}: {why}");
        let mut faults: Vec<_> = self.damaged.iter().map(fault).collect();
        let further = self.damaged_number - self.damaged.len();
        if further > 0 {
            faults.push(format!("{shown}: {further} more lines have no name that can be read"));
        }
        faults
    }
}

fn is_config_directory(directory: &Path) -> bool {
    let config = Path::new(CONFIG_DIRECTORY);
    directory == config || config.canonicalize().is_ok_and(|config| directory == config)
}

/// Reads a file of names whose damaged lines are no fault. Errors name the file.
pub fn read_names(path: &Path) -> Result<Names, String> {
    let list = NameList::read(path);
    list.map(|list| list.names).map_err(|error| {
        let why = explain_or(&error, "(create it, or name another file)");
        format!("read {}: {why}", path.display())
    })
}

/// Reads `MAC name` (also with a comma or `=`), where `#` begins a comment, or `MAC|name`, where the name is all that follows;
/// the MAC in any notation of [`MacAddr`]. None for a line that has none: empty, a comment, a heading, a setting of
/// macupd_tracker.conf.
pub fn name_line(line: &str) -> Option<Result<(MacAddr, String), String>> {
    let (mac, name) = split_name_line(line)?;
    if let Ok(mac) = mac.parse() {
        return Some(Ok((mac, clean(name))));
    }
    if SETTINGS.contains(&&*mac.to_ascii_lowercase()) {
        return None;
    }
    let mut shown: String = plain(mac).chars().take(SHOWN).collect();
    if mac.chars().count() > SHOWN {
        shown.push_str("...");
    }
    Some(Err(format!(
        "{shown:?} is not a MAC address (write MAC NAME, such as 02:00:00:00:00:01 Kitchen radio; # begins a comment)"
    )))
}

/// A name with single spaces, and not too long. What shows it makes it text: see [`plain`].
fn clean(name: &str) -> String {
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    name.chars().take(MAX_NAME).collect::<String>().trim_end().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that really ends in `.local` is meant first.
    #[test]
    fn names_of_multicast_dns() {
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        let names = ["nas", "NAS", "tv.local", "tv", "Desk two"].map(String::from);
        let names: Names = (1..).map(mac).zip(names).collect();
        for (name, expected) in [
            ("nas", vec![1]),
            ("Nas", vec![1, 2]),
            ("nas.LOCAL", vec![1]),
            ("TV.local", vec![3]),
            ("tv", vec![4]),
            ("desk two.local", vec![5]),
            (".local", vec![]),
            ("local", vec![]),
            ("é.local", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(mac).collect();
            assert_eq!(named(&names, name), expected, "{name}");
        }
    }

    fn parse(text: &[u8]) -> NameList {
        NameList::parse(text).unwrap()
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    #[test]
    fn both_separators() {
        let list = "# home\n0:8:e1:1:2:a  the nas # in the cellar\n02-00-00-00-00-01,phone\n\
                    02:00:00:00:00:02|Studio #2\n02:00:00:00:00:03\n";
        let names: Vec<_> = parse(list.as_bytes()).names.into_values().collect();
        assert_eq!(names, ["the nas", "phone", "Studio #2", ""]);
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
            "[MAIN]\nPORT=2056 # port\nLOGDIR=/x|y\n[MACLIST]\n00:1b:21:00:00:01|Küche\n##\n",
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

    #[test]
    fn a_damaged_line_costs_no_other() {
        let long = "x".repeat(10 << 20);
        let text = format!(
            "02:00:00:00:00:01 one\nx\u{1b}[2J y\n02:00:00:00:00:02|two\n{long}\n02:00:00:00:00:03 three\n1:2 four\n"
        );
        let list = parse(text.as_bytes());
        let names: Vec<_> = list.names.values().collect();
        assert_eq!(names, ["one", "two", "three"]);
        let faults = list.faults(Path::new("/n"));
        assert_eq!(list.damaged.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 4, 6]);
        assert!(
            faults[0].starts_with("/n: line 2: \"x?[2J\" is not a MAC address (write "),
            "{faults:?}"
        );
        let many = parse("bad\n".repeat(9).as_bytes()).faults(Path::new("/n"));
        assert_eq!((many.len(), &*many[5]), (6, "/n: 4 more lines have no name that can be read"));
    }

    #[test]
    fn hostile_names_are_text() {
        let text = "2:0:0:0:0:1 a\u{1b}[2J\u{202e}b\t c\n2:0:0:0:0:2 \u{feff}".to_owned();
        let text = text + "\n2:0:0:0:0:3 " + &"é".repeat(300);
        let names = parse(&[text.as_bytes(), b"\n2:0:0:0:0:4 na\xffve\n"].concat()).names;
        assert_eq!(names[&mac(1)], "a\u{1b}[2J\u{202e}b c");
        assert_eq!(names[&mac(2)], "\u{feff}");
        assert_eq!(names[&mac(3)], "é".repeat(MAX_NAME));
        assert_eq!(names[&mac(4)], "naÿve");
    }

    #[test]
    fn sizes_are_bounded() {
        let text: String = (0..MAX_NAMES + 7).map(|at| format!("{at:012x} n\n")).collect();
        let list = parse(text.as_bytes());
        assert_eq!((list.names.len(), list.damaged_number), (MAX_NAMES, 7));
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_FILE + 1).unwrap();
        assert!(read_names(file.path()).unwrap_err().contains("larger than 16 MiB"));
    }
}
