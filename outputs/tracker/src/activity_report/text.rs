//! The report as text for a terminal, with the sections of macupd_tracker's `reporter.py`.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
};

use aw_service::plain_lines;
use shm_layout::MacAddr;

use crate::{
    activity_report::ActivityReport,
    config_file::{DeviceNames, UNKNOWN},
    local_time::compact,
    log_format::{self, ParsedRow},
};

/// Rows by MAC and name.
type DeviceRows<'a> = BTreeMap<(MacAddr, &'a str), Vec<ParsedRow<'a>>>;

/// Formats a report. `logs` are the tracker logs of all days.
pub fn to_text(report: &ActivityReport, logs: &[Vec<u8>], names: &DeviceNames) -> String {
    let mut devices = DeviceRows::new();
    for (_, row) in logs.iter().flat_map(|log| log_format::parse_log(log)) {
        let Ok(row) = row else { continue };
        let name = names.get(&row.mac).map(String::as_str).or(row.name).unwrap_or(UNKNOWN);
        devices.entry((row.mac, name)).or_default().push(row);
    }
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut text, report, &devices);
    // Names and log lines of foreign origin must not control the terminal.
    plain_lines(&text)
}

fn write(text: &mut String, report: &ActivityReport, devices: &DeviceRows) -> fmt::Result {
    writeln!(text, "MACupdTracker Report - {}\n\nCollected MAC-addresses\n", report.created)?;
    for (mac, name) in devices.keys() {
        writeln!(text, "{mac} {name}")?;
    }
    write_if(text, devices.is_empty(), "No MAC-addresses.")?;
    writeln!(text, "\nActivity Details")?;
    for ((mac, name), rows) in devices {
        writeln!(text, "\n{mac} {name}")?;
        for ParsedRow { date, first, last, ip, interface, hours, sender, .. } in rows {
            let ip = ip.to_string();
            let row = format!("{} {first} {last} {ip:15} {interface:5} {hours}", compact(*date));
            writeln!(text, "{}", format!("{row} {sender}").trim_end())?;
        }
    }
    write_if(text, devices.is_empty(), "No activity details.")?;
    let ActivityReport { alerts, all_alerts, changes, all_changes, errors, all_errors, .. } =
        report;
    let changes =
        (!changes.is_empty()).then_some(("Configuration changes", changes, *all_changes, ""));
    for (title, lines, all, empty) in [("Alerts", alerts, *all_alerts, "No alerts.")]
        .into_iter()
        .chain(changes)
        .chain([("Errors", errors, *all_errors, "No errors.")])
    {
        writeln!(text, "\n{title}\n")?;
        if all > lines.len() {
            writeln!(text, "(last {} of {all})", lines.len())?;
        }
        lines.iter().rev().try_for_each(|line| writeln!(text, "{line}"))?;
        write_if(text, lines.is_empty(), empty)?;
    }
    writeln!(text, "\nEnd of report")
}

fn write_if(text: &mut String, condition: bool, line: &str) -> fmt::Result {
    if condition { writeln!(text, "{line}") } else { Ok(()) }
}
