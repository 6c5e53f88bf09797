//! Reads `macupd_tracker.conf`: settings, and the names of known devices. Users who can write the file are trusted. Errors
//! name the line.

use std::{collections::HashMap, path::PathBuf};

use aw_output::names::network_line;
use aw_service::{decode_text, split_name_line};
use shm_layout::MacAddr;

/// The name of a device that is in no list of names.
pub const UNKNOWN: &str = "unknown";

pub type DeviceNames = HashMap<MacAddr, String>;

/// The content of the file; None for keys that are not in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfigFile {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub pid_file: Option<PathBuf>,
    pub log_dir: Option<PathBuf>,
    pub report_dir: Option<PathBuf>,
    pub max_logs: Option<u16>,
    pub names: DeviceNames,
}

impl ConfigFile {
    pub fn parse(text: &[u8]) -> Result<ConfigFile, String> {
        let mut config = ConfigFile::default();
        for (line, text) in (1..).zip(decode_text(text)?.lines()) {
            config.line(text.trim()).map_err(|cause| format!("line {line}: {cause}"))?;
        }
        Ok(config)
    }

    fn line(&mut self, text: &str) -> Result<(), String> {
        // As in macupd_tracker, names may be in any section, or in none.
        let Some((mac, _)) = split_name_line(text).filter(|_| !text.starts_with('[')) else {
            return Ok(());
        };
        if network_line(text).is_some() {
            return Ok(()); // the same file can be that of --names, which has names of networks
        }
        let has_mac = mac.parse::<MacAddr>().is_ok();
        // A name may contain `=`, but a key contains no `|`.
        match text.split_once('=') {
            Some((key, value)) if !has_mac && !key.contains('|') => self.setting(key, value),
            None if !has_mac && !text.contains('|') => {
                Err(format!("neither KEY=VALUE nor MAC|name nor MAC name: {text:?}"))
            }
            _ => {
                let (mac, name) = parse_name(text)?;
                self.names.insert(mac, name); // of two names the last one counts, as in macupd_tracker
                Ok(())
            }
        }
    }

    fn setting(&mut self, key: &str, value: &str) -> Result<(), String> {
        // A comment begins after a space, because a path may contain `#`.
        let comment = value.match_indices('#').map(|(at, _)| at);
        let mut comment = comment.filter(|at| value[..*at].ends_with([' ', '\t']) || *at == 0);
        let value = comment.next().map_or(value, |at| &value[..at]).trim();
        let key = key.trim();
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        let path = || Ok(PathBuf::from(value));
        match key.to_ascii_uppercase().as_str() {
            "HOST" => set(&mut self.host, key, Ok(value.to_owned())),
            "PORT" => set(&mut self.port, key, number(key, value)),
            "PIDFILE" => set(&mut self.pid_file, key, path()),
            "LOGDIR" => set(&mut self.log_dir, key, path()),
            "REPORTDIR" => set(&mut self.report_dir, key, path()),
            "MAXLOGS" => set(&mut self.max_logs, key, number(key, value)),
            _ => Err(format!(
                "unknown key {key} (known keys: HOST, PORT, PIDFILE, LOGDIR, REPORTDIR, MAXLOGS)"
            )),
        }
    }
}

fn set<T>(field: &mut Option<T>, key: &str, value: Result<T, String>) -> Result<(), String> {
    match field.replace(value?) {
        Some(_) => Err(format!("{key} is already set above")),
        None => Ok(()),
    }
}

fn number(key: &str, value: &str) -> Result<u16, String> {
    let value = value.split('#').next().unwrap_or_default().trim(); // here `#` needs no space before it
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{key}={value}: must be a number from 1 to 65535"))
}

/// Parses `MAC|name` or `MAC name`, of the file or of `--name`.
pub fn parse_name(text: &str) -> Result<(MacAddr, String), String> {
    let (mac, name) = split_name_line(text).unwrap_or_default();
    let mac = mac.parse::<MacAddr>().map_err(|cause| format!("{cause}: {mac:?}"))?;
    if name.contains('|') {
        return Err(format!("the name of {mac} contains the character |"));
    }
    if let Some(bad) = name.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("the name of {mac} contains the control character {bad:?}"));
    }
    // Several spaces become one, because the name is a column of the log.
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        return Err(format!("{mac} has no name"));
    }
    Ok((mac, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of macupd_tracker.
    const ORIGINAL: &str = "\
##
## Description: config file
##
[MAIN]
HOST=0.0.0.0  # Host running it
PORT=2056     # Default port
PIDFILE=/run/macupd_tracker.pid
LOGDIR=/var/log/macupd
REPORTDIR=/var/www/html
MAXLOGS=31    #Remove logs older then 30 days
[MACLIST]
11:11:11:11:11:11|router
AA:BB:CC:DD:EE:02|windows
##
";

    fn names(of: &[(u8, &str)]) -> DeviceNames {
        of.iter()
            .map(|(last, name)| (MacAddr::new([2, 0, 0, 0, 0, *last]), (*name).into()))
            .collect()
    }

    #[test]
    fn a_file_of_macupd_tracker() {
        let config = ConfigFile::parse(ORIGINAL.as_bytes()).unwrap();
        assert_eq!((config.host.as_deref(), config.port), (Some("0.0.0.0"), Some(2056)));
        assert_eq!(config.log_dir, Some("/var/log/macupd".into()));
        assert_eq!(config.report_dir, Some("/var/www/html".into()));
        assert_eq!(config.pid_file, Some("/run/macupd_tracker.pid".into()));
        assert_eq!(config.max_logs, Some(31));
        assert_eq!(config.names[&MacAddr::new([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 2])], "windows");
        assert_eq!(config.names.len(), 2);
        assert_eq!(ConfigFile::parse(b"").unwrap(), ConfigFile::default());
        assert_eq!(ConfigFile::parse(ORIGINAL.replace('\n', "\r\n").as_bytes()).unwrap(), config);
    }

    #[test]
    fn spaces_and_comments_and_names() {
        assert_eq!(ConfigFile::parse(b"PORT=2057# here").unwrap().port, Some(2057));
        let text = "\u{feff}logdir = /var/log/with space/a#b   # and a comment\n\n\t\n\
            02:00:00:00:00:01|Omas  Küche = 台所\n 02:00:00:00:00:02 | Studio #2 \n\
            02:00:00:00:00:03|first\n02:00:00:00:00:03|second\n";
        let config = ConfigFile::parse(text.as_bytes()).unwrap();
        assert_eq!(config.log_dir, Some("/var/log/with space/a#b".into()));
        assert_eq!(
            config.names,
            names(&[(1, "Omas Küche = 台所"), (2, "Studio #2"), (3, "second")])
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, why) in [
            ("\nMAXDAYS=3", 2, "unknown key MAXDAYS"),
            ("LOGDIR=/a\n#\nlogdir=/b", 3, "already set"),
            ("PORT=0", 1, "PORT=0"),
            ("PORT=#1", 1, "no value"),
            ("PORT=x#1", 1, "PORT=x:"),
            ("PORT=70000", 1, "1 to 65535"),
            ("MAXLOGS=a month", 1, "a month"),
            ("LOGDIR=", 1, "no value"),
            ("LOGDIR= # none", 1, "no value"),
            ("nonsense", 1, "nonsense"),
            ("02:00:00:00:00|short", 1, "not a MAC address"),
            ("02:00:00:00:00:01|", 1, "no name"),
            ("02:00:00:00:00:01|a|b", 1, "character |"),
            ("02:00:00:00:00:01|a\u{1b}[0mb", 1, "control character"),
        ] {
            let error = ConfigFile::parse(text.as_bytes()).unwrap_err();
            let (at, cause) = error.split_once(": ").unwrap();
            assert!(at == format!("line {line}") && cause.contains(why), "{text}: {error}");
        }
        // Not UTF-8: this is the letter ÿ of Latin-1.
        let error = ConfigFile::parse(b"\n\xff").unwrap_err();
        assert!(error.starts_with("line 2: neither ") && error.ends_with("\"ÿ\""), "{error}");
    }

    /// Written on Windows: UTF-16 with a byte order mark, or Latin-1.
    #[test]
    fn encodings() {
        let text = "[MACLIST]\r\nmac,name\r\n02:00:00:00:00:01,Küche\r\n";
        let utf16 = "\u{feff}".encode_utf16().chain(text.encode_utf16());
        let utf16: Vec<_> = utf16.flat_map(u16::to_be_bytes).collect();
        let latin: Vec<_> = text.chars().filter_map(|c| u8::try_from(c).ok()).collect();
        for bytes in [utf16, latin] {
            assert_eq!(ConfigFile::parse(&bytes).unwrap().names, names(&[(1, "Küche")]));
        }
    }

    #[test]
    fn notations_of_names() {
        for text in [
            "02:00:00:00:00:01|Kitchen radio",
            "02:00:00:00:00:01 | Kitchen  radio ",
            "02:00:00:00:00:01 Kitchen radio",
            "02:00:00:00:00:01\tKitchen radio",
            "02-00-00-00-00-01|Kitchen radio",
            "0200.0000.0001 Kitchen radio",
            "020000000001 Kitchen radio",
            "2:0:0:0:0:1 Kitchen radio",
        ] {
            let config = ConfigFile::parse(text.as_bytes()).unwrap();
            assert_eq!(config.names, names(&[(1, "Kitchen radio")]), "{text}");
            assert_eq!(parse_name(text).unwrap().1, "Kitchen radio");
        }
        // Names of networks are of the common file of names, which can be this one.
        let text = b"[MACLIST]\nnetwork eth0.30 guests\nnetwork eth0=x\n2:0:0:0:0:1|a\n";
        assert_eq!(ConfigFile::parse(text).unwrap().names, names(&[(1, "a")]));
        let config = ConfigFile::parse(b"02-00-00-00-00-01 LOGDIR=/a #1").unwrap();
        assert_eq!(config.names, names(&[(1, "LOGDIR=/a")]));
        for bad in ["02:00:00:00:00:01", "02:00:00:00:00 short", "02:00:00:00:00:01 a|b", "", "|a"]
        {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".*\n.*[|=].*") {
            let _ = ConfigFile::parse(&bytes);
            let _ = ConfigFile::parse(text.as_bytes());
        }
    }
}
