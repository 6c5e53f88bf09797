//! The report as text, for a terminal, in the sections of the ancestor's `reporter.py`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use crate::{
    calendar::compact,
    config::{Names, UNKNOWN},
    report::Report,
    table::{self, Line},
};

/// The sections: devices, what each did, alerts and errors. `logs`: the tracker's, whole, by day.
pub fn text(report: &Report, logs: &[Vec<u8>], names: &Names) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut text, report, logs, names);
    // What came from elsewhere must not steer the terminal.
    text.replace(|c: char| c != '\n' && (c.is_control() || reorders(c)), "?")
}

/// Characters that show what follows in another order (Unicode Standard Annex 9, Directional Formatting Characters).
fn reorders(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn write(text: &mut String, report: &Report, logs: &[Vec<u8>], names: &Names) -> fmt::Result {
    let mut devices: BTreeMap<_, Vec<Line>> = BTreeMap::new();
    for (_, line) in logs.iter().flat_map(|log| table::read(log)) {
        let Ok(line) = line else { continue };
        let name = names.get(&line.mac).map(String::as_str).or(line.name).unwrap_or(UNKNOWN);
        devices.entry((line.mac, name)).or_default().push(line);
    }
    writeln!(text, "MACupdTracker Report - {}\n\nCollected MAC-addresses\n", report.made)?;
    for (mac, name) in devices.keys() {
        writeln!(text, "{mac} {name}")?;
    }
    none(text, devices.is_empty(), "No MAC-addresses.")?;
    writeln!(text, "\nActivity Details")?;
    for ((mac, name), lines) in &devices {
        writeln!(text, "\n{mac} {name}")?;
        for Line { date, first, last, ip, interface, hours, .. } in lines {
            let ip = ip.to_string();
            writeln!(text, "{} {first} {last} {ip:15} {interface:5} {hours}", compact(*date))?;
        }
    }
    none(text, devices.is_empty(), "No activity details.")?;
    let Report { alerts, all_alerts, changes, all_changes, errors, all_errors, .. } = report;
    let changes =
        (!changes.is_empty()).then_some(("Configuration changes", changes, *all_changes, ""));
    for (title, lines, all, empty) in [("Alerts", alerts, *all_alerts, "No alerts.")]
        .into_iter()
        .chain(changes)
        .chain([("Errors", errors, *all_errors, "No errors.")])
    {
        writeln!(text, "\n{title}\n")?;
        if all > lines.len() {
            writeln!(text, "(the last {} of {all})", lines.len())?;
        }
        lines.iter().rev().try_for_each(|line| writeln!(text, "{line}"))?;
        none(text, lines.is_empty(), empty)?;
    }
    writeln!(text, "\nEnd of report")
}

fn none(text: &mut String, none: bool, what: &str) -> fmt::Result {
    if none { writeln!(text, "{what}") } else { Ok(()) }
}
