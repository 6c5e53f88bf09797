//! The sections below the devices: alerts, configuration changes, errors.

use std::fmt::{self, Write};

use aw_output::makers::is_local;

use super::{Escaped, spaced, time_of};
use crate::{
    activity_report::{ActivityReport, AlertedDevice},
    log_format::{self, ParsedRow},
};

pub fn sections(page: &mut String, report: &ActivityReport) -> fmt::Result {
    let ActivityReport { alerts, all_alerts, changes, all_changes, errors, all_errors, .. } =
        report;
    let of_report = |page: &mut String, line: &str| alert(page, report, line);
    section(page, ("Alerts", "No alerts."), alerts, *all_alerts, of_report)?;
    let plain = |page: &mut String, line: &str| write!(page, "<bdi>{}</bdi>", Escaped(line));
    if !changes.is_empty() {
        section(page, ("Configuration changes", ""), changes, *all_changes, plain)?;
    }
    section(page, ("Errors", "No errors."), errors, *all_errors, plain)
}

fn section(
    page: &mut String,
    (title, empty): (&str, &str),
    lines: &[String],
    all: usize,
    write_line: impl Fn(&mut String, &str) -> fmt::Result,
) -> fmt::Result {
    write!(page, "<section>\n<h2>{title}</h2>\n<div class=card>")?;
    if lines.is_empty() {
        write!(page, "<p class=empty>{empty}</p>")?;
    } else {
        page.push_str("<ul class=\"log mono\" tabindex=0>\n");
        for line in lines {
            page.push_str("<li>");
            write_line(page, line)?;
            page.push('\n');
        }
        page.push_str("</ul>");
    }
    page.push_str("</div>\n");
    if all > lines.len() {
        writeln!(page, "<p class=note>Showing the last {} of {all}.</p>", lines.len())?;
    }
    page.push_str("</section>\n");
    Ok(())
}

/// Writes a line of an alert log: time, device with name and maker, address, interface and reason.
fn alert(page: &mut String, report: &ActivityReport, line: &str) -> fmt::Result {
    let Some(row) = log_format::parse_alert(line) else {
        return write!(page, "<bdi>{}</bdi>", Escaped(line));
    };
    let ParsedRow { mac, ip, interface, date, first, sender, .. } = &row;
    let unknown = AlertedDevice::default();
    let device = report.alerted.get(mac).unwrap_or(&unknown);
    write!(page, "{date} {} <b>{mac}</b>", time_of(*first))?;
    if let Some(name) = &device.name {
        write!(page, " <bdi class=name>{}</bdi>", Escaped(name))?;
    }
    match &device.vendor {
        Some(vendor) => write!(page, " <bdi class=vendor>{}</bdi>", Escaped(vendor))?,
        None if is_local(*mac) => page.push_str(" <span class=vendor>private MAC</span>"),
        None => page.push_str(" <span class=vendor>unknown maker</span>"),
    }
    write!(
        page,
        " <bdi>{ip}</bdi> <span class=dim><bdi>{}</bdi>{}</span> <span class=reason>{}</span>",
        Escaped(interface),
        spaced(*sender),
        reason(&row, device)
    )
}

/// Why the device has an alert.
fn reason(row: &ParsedRow, device: &AlertedDevice) -> String {
    let name = if device.name.is_some() { "without a name then" } else { "without a name" };
    let seen = match device.first {
        _ if row.ip.is_unspecified() => "it only asks or probes, and claims no address".into(),
        Some((first, _)) if first < row.date => format!("first seen on {first}"),
        _ => "first seen that day".into(),
    };
    format!("{name}; {seen}")
}
