//! What aw-routeros reads from routers, and its configuration.

use crate::{
    actor::{actors_in, is_unfinished, may_be_unfinished},
    config::Config,
    config_export::validate,
    legacy::config_txt::LegacyConfig,
    log_record::{LogAssembler, LogRecord},
    mask::mask,
};

/// Any text as routeros.toml, and as config.txt of ros-config-monitoring: it is accepted, or refused in one line.
pub fn toml(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    for why in [Config::parse(&text).err(), LegacyConfig::parse(&text).err()].into_iter().flatten()
    {
        assert!(!why.contains('\n'), "{why}");
    }
}

/// Any bytes as the log of a router, cut where the first byte says: the records do not depend on the cut, and are not
/// longer than what was sent.
pub fn log(input: &[u8]) {
    let [cut, bytes @ ..] = input else { return };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    let records = assembled(&[first, second]);
    assert_eq!(records, assembled(&[bytes]));
    let mut length = 0;
    for record in &records {
        assert!(!record.message.contains(char::is_control), "{record:?}");
        length += record.message.len();
        let named = actors_in(&record.message);
        assert!(named.is_none_or(|named| !named.actors.is_empty() && named.actors.len() <= 9));
        assert!(!is_unfinished(&record.message) || may_be_unfinished(&record.message));
        let _ = (mask(&record.message), record.may_be_change());
    }
    // A byte that is not UTF-8 becomes a character of three bytes and two digits.
    assert!(length <= 5 * bytes.len(), "{length} bytes of {}", bytes.len());
}

fn assembled(pieces: &[&[u8]]) -> Vec<LogRecord> {
    let mut assembler = LogAssembler::default();
    let mut records: Vec<_> = pieces.iter().flat_map(|bytes| assembler.feed(bytes)).collect();
    records.extend(assembler.flush());
    records
}

/// An export becomes at most so many bytes of lines, each of which has its menu (`MAX_EXPANDED` in `config_export.rs`).
const MOST_BYTES: usize = 48 << 20;

/// Any bytes as the export of a router: it is refused, or becomes lines, of a bounded size in all.
pub fn export(input: &[u8]) {
    let Ok(export) = validate(input, None) else { return };
    let bytes: usize = export.lines.iter().map(|line| size_of_val(line) + line.len()).sum();
    assert!(bytes <= MOST_BYTES, "{bytes} bytes of {}", input.len());
    for line in export.lines.iter().take(64) {
        assert!(!line.contains('\n') && !line.is_empty(), "{line:?}");
        assert!(mask(line).len() <= 2 * line.len() + 3);
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("routeros_toml", toml);
    seeds::run("routeros_log", log);
    seeds::run("routeros_export", export);
}
