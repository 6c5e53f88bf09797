//! What tests of `aw-query export` and the imports share: lines of a history file, and the commands.

use std::{collections::BTreeMap, process::Command};

use crate::{
    history::History,
    mariadb::MariaDb,
    rig::{Finished, program, run, run_with},
};

/// A line of this second of a day in November 2026.
pub fn line(second: i64, more: &str) -> String {
    line_at(&format!("{}", 1_795_200_000 + second), more)
}

/// A line of a time: lines have RFC 3339; the test's numbers are seconds and a fraction.
pub fn line_at(time: &str, more: &str) -> String {
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let seconds: i64 = seconds.parse().unwrap();
    let (day, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let date = civil(day);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
    format!("{{\"time\":\"{date}T{hour:02}:{minute:02}:{second:02}{fraction}Z\",{more}}}\n")
}

/// The date of a day since 1970.
fn civil(day: i64) -> String {
    let (mut year, mut left) = (1970, day);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while left >= 365 + i64::from(is_leap(year)) {
        left -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, left + 1)
}

/// A whole file.
pub fn file(lines: &[String]) -> String {
    let end = format!("{{\"end_after_lines\":{}}}\n", lines.len());
    ["{\"addrwatch_history\":1}\n", &lines.concat(), &end].concat()
}

/// Imports a text into a database.
pub fn import(history: &History, text: &str) -> Finished {
    let arguments = ["--database", history.database().to_str().unwrap(), "import", "-"];
    run_with(program("aw-sqlite", &arguments), text.as_bytes())
}

/// `aw-mysql import -`, not started yet.
pub fn import_command(server: &MariaDb, options: &[&str]) -> Command {
    let config = server.config("");
    let mut command = program("aw-mysql", &["-c", config.to_str().unwrap()]);
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "0"]); // the server identifies root by its socket
    }
    command.args(options).args(["import", "-"]);
    command
}

/// Imports a text into the tables of a server.
pub fn import_to(server: &MariaDb, options: &[&str], text: &str) -> Finished {
    run_with(import_command(server, options), text.as_bytes())
}

/// Exports all of a database.
pub fn export(history: &History) -> String {
    run(history.query(&["export"])).ok().stdout
}

/// Exports all of a server's tables.
pub fn export_of(server: &MariaDb, options: &[&str]) -> String {
    let config = server.config("");
    let mut command = program("aw-query", &["-c", config.to_str().unwrap()]);
    command.args(options).arg("export");
    run(command).ok().stdout
}

/// All rows with everything they have, and how often each is there; `seen_by` is the time and the place.
pub fn rows(history: &History, seen_by: &str) -> BTreeMap<String, i64> {
    let database = history.open().unwrap();
    let mut found = BTreeMap::new();
    for select in [
        format!(
            "SELECT concat_ws(' ', {seen_by}, hex(address), mac, ip, source, origin) FROM
            (SELECT pairing, time, origin FROM sighting UNION ALL SELECT pairing, slot - shift, origin FROM recent_sighting)
            JOIN pairing ON pairing.id = pairing JOIN place ON place.id = place"
        ),
        format!(
            "SELECT concat_ws(' ', {seen_by}, router, user, lines_added, lines_removed)
            FROM config_change JOIN place ON place.id = place"
        ),
    ] {
        let mut statement = database.prepare(&select).unwrap();
        let texts = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        texts.for_each(|text| *found.entry(text.unwrap()).or_default() += 1);
    }
    found
}

/// All that a database has of time and place.
pub const EXACT: &str = "time, host, ring, interface, vlan, outer_vlan, router";
/// What MySQL's tables have of it.
pub const COARSE: &str =
    "max(time / 1000000000 - (time % 1000000000 < 0), 1) * 1000000000, host, interface, vlan";

/// It failed, and its last message has these texts.
#[track_caller]
pub fn assert_fails(import: Finished, texts: &[&str]) {
    assert_eq!(import.status.code(), Some(1), "{import:#?}");
    let last = import.stderr.lines().last().unwrap_or_default();
    texts.iter().for_each(|text| assert!(last.contains(text), "{text:?} is not in: {last}"));
}

/// What the last message says was added.
pub fn added(import: &Finished) -> String {
    let last = import.stderr.lines().last().unwrap_or_default();
    last.split("read: ").nth(1).unwrap_or(last).into()
}
