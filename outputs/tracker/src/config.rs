//! `macupd_tracker.conf` as it is: settings, and the names of known devices. Whoever may write it is trusted; what is wrong
//! in it is said with its line.

use std::{collections::HashMap, fmt, path::PathBuf};

use shm_layout::MacAddr;

/// What a device is called that nobody named.
pub const UNKNOWN: &str = "unknown";

/// Names of devices.
pub type Names = HashMap<MacAddr, String>;

/// What the file says. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub host: Option<String>,
    pub port: Option<u16>,
    pub pid_file: Option<PathBuf>,
    pub log_dir: Option<PathBuf>,
    pub report_dir: Option<PathBuf>,
    pub max_logs: Option<u16>,
    pub names: Names,
}

/// What is wrong, and in which line.
#[derive(Debug, PartialEq)]
pub struct Fault {
    pub line: usize,
    pub why: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl Config {
    /// Reads the whole file.
    pub fn parse(text: &[u8]) -> Result<Config, Fault> {
        let mut config = Config::default();
        for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
            let text = str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned());
            let read =
                text.and_then(|text| config.line(text.trim_start_matches('\u{feff}').trim()));
            read.map_err(|why| Fault { line, why })?;
        }
        Ok(config)
    }

    fn line(&mut self, text: &str) -> Result<(), String> {
        // Sections mean nothing: names may stand under any, or none.
        if text.is_empty() || text.starts_with(['#', '[']) {
            return Ok(());
        }
        // A name may hold a `=`, but a key no `|`.
        match (text.find('|'), text.find('=')) {
            (Some(bar), equals) if equals.is_none_or(|equals| bar < equals) => {
                let (mac, name) = parse_name(text)?;
                self.names.insert(mac, name); // of two, the last, as it was
                Ok(())
            }
            (_, Some(equals)) => self.setting(&text[..equals], &text[equals + 1..]),
            _ => Err(format!("neither KEY=VALUE nor MAC|name: {text:?}")),
        }
    }

    fn setting(&mut self, key: &str, value: &str) -> Result<(), String> {
        // A comment begins after a space: a path may hold a `#`.
        let comment = value.match_indices('#').map(|(at, _)| at);
        let mut comment = comment.filter(|at| value[..*at].ends_with([' ', '\t']) || *at == 0);
        let value = comment.next().map_or(value, |at| &value[..at]).trim();
        let key = key.trim();
        if value.is_empty() {
            return Err(format!("{key} has no value"));
        }
        let path = || Ok(PathBuf::from(value));
        match key.to_ascii_uppercase().as_str() {
            "HOST" => once(&mut self.host, key, Ok(value.to_owned())),
            "PORT" => once(&mut self.port, key, number(key, value)),
            "PIDFILE" => once(&mut self.pid_file, key, path()),
            "LOGDIR" => once(&mut self.log_dir, key, path()),
            "REPORTDIR" => once(&mut self.report_dir, key, path()),
            "MAXLOGS" => once(&mut self.max_logs, key, number(key, value)),
            _ => Err(format!(
                "unknown key {key} (there are HOST, PORT, PIDFILE, LOGDIR, REPORTDIR and MAXLOGS)"
            )),
        }
    }
}

fn once<T>(place: &mut Option<T>, key: &str, value: Result<T, String>) -> Result<(), String> {
    match place.replace(value?) {
        Some(_) => Err(format!("{key} is set already, above")),
        None => Ok(()),
    }
}

fn number(key: &str, value: &str) -> Result<u16, String> {
    let value = value.split('#').next().unwrap_or_default().trim(); // a comment without a space before it
    let number = value.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("{key}={value}: a number from 1 to 65535 is needed"))
}

/// `MAC|name`, as in the file, and as an option.
pub fn parse_name(text: &str) -> Result<(MacAddr, String), String> {
    let (mac, name) = text.split_once('|').ok_or_else(|| format!("not MAC|name: {text:?}"))?;
    let mac = mac.trim().parse::<MacAddr>().map_err(|why| format!("{why}: {:?}", mac.trim()))?;
    if name.contains('|') {
        return Err(format!("more than one | for {mac}"));
    }
    if let Some(bad) = name.trim().chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("the name of {mac} holds the control character {bad:?}"));
    }
    // One space for several: names are a column of the log.
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

    /// The shape of the ancestor's own example.
    const OLD: &str = "\
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

    fn names(of: &[(u8, &str)]) -> Names {
        of.iter()
            .map(|(last, name)| (MacAddr::new([2, 0, 0, 0, 0, *last]), (*name).into()))
            .collect()
    }

    #[test]
    fn as_it_is() {
        let config = Config::parse(OLD.as_bytes()).unwrap();
        assert_eq!((config.host.as_deref(), config.port), (Some("0.0.0.0"), Some(2056)));
        assert_eq!(config.log_dir, Some("/var/log/macupd".into()));
        assert_eq!(config.report_dir, Some("/var/www/html".into()));
        assert_eq!(config.pid_file, Some("/run/macupd_tracker.pid".into()));
        assert_eq!(config.max_logs, Some(31));
        assert_eq!(config.names[&MacAddr::new([0xaa, 0xbb, 0xcc, 0xdd, 0xee, 2])], "windows");
        assert_eq!(config.names.len(), 2);
        assert_eq!(Config::parse(b"").unwrap(), Config::default());
        assert_eq!(Config::parse(OLD.replace('\n', "\r\n").as_bytes()).unwrap(), config);
    }

    #[test]
    fn what_it_also_takes() {
        assert_eq!(Config::parse(b"PORT=2057# here").unwrap().port, Some(2057));
        let text = "\u{feff}logdir = /var/log/with space/a#b   # and a comment\n\n\t\n\
            02:00:00:00:00:01|Omas  Küche = 台所\n 02:00:00:00:00:02 | Studio #2 \n\
            02:00:00:00:00:03|first\n02:00:00:00:00:03|second\n";
        let config = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(config.log_dir, Some("/var/log/with space/a#b".into()));
        assert_eq!(
            config.names,
            names(&[(1, "Omas Küche = 台所"), (2, "Studio #2"), (3, "second")])
        );
    }

    #[test]
    fn faults_are_named_with_their_line() {
        for (text, line, why) in [
            ("\nMAXDAYS=3", 2, "unknown key MAXDAYS"),
            ("LOGDIR=/a\n#\nlogdir=/b", 3, "set already"),
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
            ("02:00:00:00:00:01|a|b", 1, "more than one |"),
            ("02:00:00:00:00:01|a\u{1b}[0mb", 1, "control character"),
        ] {
            let fault = Config::parse(text.as_bytes()).unwrap_err();
            assert!(fault.line == line && fault.why.contains(why), "{text}: {fault}");
        }
        assert_eq!(Config::parse(b"\n\xff").unwrap_err().to_string(), "line 2: not UTF-8 text");
    }

    proptest! {
        #[test]
        fn no_file_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300), text in ".*\n.*[|=].*") {
            let _ = Config::parse(&bytes);
            let _ = Config::parse(text.as_bytes());
        }
    }
}
