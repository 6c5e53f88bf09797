//! What aw-tracker reads: its configuration, and logs of days before.

use crate::{
    config_file::{ConfigFile, parse_name},
    log_format::{parse_alert, parse_log},
};

/// Any bytes as macupd_tracker.conf: it is refused with the number of a line, or its names can be columns of a log.
pub fn conf(input: &[u8]) {
    match ConfigFile::parse(input) {
        Ok(config) => {
            for (mac, name) in &config.names {
                assert!(!name.is_empty() && !name.contains(char::is_control), "{name:?}");
                assert_eq!(parse_name(&format!("{mac}|{name}")), Ok((*mac, name.clone())));
            }
        }
        Err(why) => assert!(why.starts_with("line "), "{why}"),
    }
}

/// Any bytes as a log: each line is a row, or counted with its number.
pub fn log(input: &[u8]) {
    let mut last = 0;
    for (number, row) in parse_log(input) {
        assert!(number > last);
        last = number;
        let Ok(row) = row else { continue };
        assert_eq!(row.hours.to_string().parse(), Ok(row.hours));
        assert_eq!(row.first.to_string().parse(), Ok(row.first));
        assert!(row.name.is_none_or(|name| !name.contains('\n') && name.trim() == name));
    }
    for line in String::from_utf8_lossy(input).lines() {
        let _ = parse_alert(line);
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("tracker_conf", conf);
    seeds::run("tracker_log", log);
}
