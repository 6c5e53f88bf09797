//! The report as one HTML page that needs nothing else: no script but its own runs in it, and nothing is fetched. What came from the
//! network is escaped, and isolated, so that a name that runs from right to left ends with its cell.

use std::fmt::{self, Display, Write};

use jiff::civil::Date;

use crate::{
    calendar::HourMinute,
    report::{Device, Report, When},
    table,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Their SHA-256: what differs by a byte does not count for the browser.
const STYLE_HASH: &str = "sha256-2E0/axpFkBSVxOjHOum2RFXPD7+8XYocJwCUN3bson8=";
const SCRIPT_HASH: &str = "sha256-JOhdWyhGqOQiPLbWhIHC3vXZjyLBN+TvrgpfU8a65wk=";

/// What the page may do, for its head and for a server: nothing but its own style and script.
pub fn policy() -> String {
    format!(
        "default-src 'none'; style-src '{STYLE_HASH}'; script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'"
    )
}

/// Text that others made up.
struct Foreign<T>(T);

impl<T: Display> Display for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escape = Escape(f);
        write!(escape, "{}", self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut from = 0;
        for (at, c) in text.char_indices() {
            let instead = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                c if c.is_control() => "\u{fffd}",
                _ => continue,
            };
            self.0.write_str(&text[from..at])?;
            self.0.write_str(instead)?;
            from = at + c.len_utf8();
        }
        self.0.write_str(&text[from..])
    }
}

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut page = String::with_capacity(16_384 + report.devices.len() * 1_200);
    // Writing to a String does not fail.
    let _ = write(&mut page, report);
    page
}

fn write(page: &mut String, report: &Report) -> fmt::Result {
    let Report { day, made, .. } = report;
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"{}\">\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=referrer content=no-referrer>\n<title>Who was here: {day}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Who was here</h1>\n\
         <p class=sub>{} · <span>report of {}</span></p>\n",
        policy(),
        day.strftime("%A, %-d %B %Y"),
        Foreign(made),
    )?;
    tiles(page, report)?;
    page.push_str(TOOLS);
    devices(page, report)?;
    log(page, "Alerts", "No alerts.", &report.alerts, report.all_alerts, alert)?;
    let plain = |page: &mut String, line: &str| write!(page, "<bdi>{}</bdi>", Foreign(line));
    if !report.changes.is_empty() {
        log(page, "Configuration changes", "", &report.changes, report.all_changes, plain)?;
    }
    log(page, "Errors", "No errors.", &report.errors, report.all_errors, plain)?;
    write!(page, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

fn tiles(page: &mut String, report: &Report) -> fmt::Result {
    let on = on(report);
    let counts = &report.counts;
    let new = if report.history { counts.new.to_string() } else { "–".into() };
    write!(
        page,
        "<dl class=tiles>\n\
         <div class=tile><dt>Devices {on}</dt><dd>{} <small>of {}</small></dd></div>\n\
         <div class=\"tile new\"><dt>New {on}</dt><dd>{new}</dd></div>\n\
         <div class=\"tile unknown\"><dt>Unknown {on}</dt><dd>{}</dd></div>\n\
         <div class=tile><dt>Last heard</dt><dd>",
        counts.here, counts.all, counts.unknown
    )?;
    match report.last() {
        Some((date, clock)) if date == report.day => write!(page, "{}", time_of(clock))?,
        Some((date, clock)) => write!(page, "{} <small>{date}</small>", time_of(clock))?,
        None => page.push('–'),
    }
    page.push_str("</dd></div>\n</dl>\n");
    Ok(())
}

fn on(report: &Report) -> &'static str {
    if report.live { "today" } else { "that day" }
}

const TOOLS: &str = "<div class=tools hidden>\n\
    <input type=search placeholder=\"Search name, MAC, maker, address\" aria-label=Search>\n\
    <button type=button value=\"\" aria-pressed=true>All</button>\n\
    <button type=button value=t aria-pressed=false>Today</button>\n\
    <button type=button value=n aria-pressed=false>New</button>\n\
    <button type=button value=u aria-pressed=false>Unknown</button>\n\
    <button type=button value=p aria-pressed=false>Private MAC</button>\n\
    <label class=sorting>Sort by <select><option value=last>last seen<option value=first>first seen<option value=name>name\
    <option value=address>address<option value=days>days</select></label>\n<output></output>\n</div>\n";

fn devices(page: &mut String, report: &Report) -> fmt::Result {
    let Report { devices, span, .. } = report;
    if devices.is_empty() {
        page.push_str("<div class=card><p class=empty>No device was heard.</p>");
    } else {
        page.push_str("<div class=card>");
    }
    let from = report.calendar().next().unwrap_or(report.day);
    let axis = |texts: [&str; 3]| {
        format!(
            "<span class=axis><span>{}</span><span>{}</span><span>{}</span></span>",
            texts[0], texts[1], texts[2]
        )
    };
    write!(
        page,
        "<table class=devices>\n<thead><tr><th data-k=name>Device<th data-k=address>Addresses<th data-k=first>First seen\
         <th data-k=last aria-sort=descending>Last seen<th>Hours {}{}<th data-k=days>{span} days{}</tr></thead>\n<tbody>\n",
        on(report),
        axis(["0", "12", "24"]),
        axis([&short(from), "", &short(report.day)]),
    )?;
    for device in devices {
        row(page, report, device)?;
    }
    write!(
        page,
        "</tbody>\n</table>\n</div>\n<p class=legend><span>Sightings in an hour: <i class=e></i>none</span>\
         <span><i class=a></i>1–3</span><span><i class=b></i>4–9</span><span><i class=c></i>10 or more</span>\
         <span>Hours in a day: <i class=a></i>1–5</span><span><i class=b></i>6–15</span><span><i class=c></i>16–24</span></p>\n"
    )?;
    if report.counts.all > devices.len() {
        let (shown, all) = (devices.len(), report.counts.all);
        writeln!(page, "<p class=note>The {shown} devices heard last are shown, of {all}.</p>")?;
    }
    Ok(())
}

fn row(page: &mut String, report: &Report, device: &Device) -> fmt::Result {
    let Device { mac, name, vendor, addresses, more_addresses, first, last, hours, days } = device;
    let (here, new) = (device.is_here(report.day), report.is_new(device));
    page.push_str("<tr class=\"");
    for (class, so) in [("t", here), ("n", new), ("u", name.is_none()), ("p", device.is_private())]
    {
        if so {
            page.push_str(class);
            page.push(' ');
        }
    }
    page.push_str("\"><td data-l=Device>");
    match name {
        Some(name) => write!(page, "<bdi class=name>{}</bdi>", Foreign(name))?,
        None => page.push_str("<bdi class=\"name none\">unknown</bdi>"),
    }
    if new {
        page.push_str("<span class=\"badge new\">new</span>");
    }
    if device.is_private() {
        page.push_str("<span class=\"badge private\">private</span>");
    }
    write!(page, "<span class=\"mac mono\">{mac}</span>")?;
    if let Some(vendor) = vendor {
        write!(page, "<bdi class=vendor>{}</bdi>", Foreign(vendor))?;
    }
    page.push_str("<td data-l=Addresses><ul class=\"ips mono\">");
    for address in addresses {
        write!(
            page,
            "<li><bdi>{}</bdi> <span><bdi>{}</bdi></span>",
            address.ip,
            Foreign(&address.interface)
        )?;
    }
    if *more_addresses > 0 {
        write!(page, "<li><span>and earlier ones</span>")?;
    }
    page.push_str("</ul><td data-l=\"First seen\">");
    time(page, *first, None)?;
    page.push_str("<td data-l=\"Last seen\">");
    time(page, *last, Some(report))?;
    page.push_str("<td data-l=Hours>");
    let level = |count: u32, [middle, high]: [u32; 2]| match count {
        0 => 0,
        count if count < middle => 1,
        count if count < high => 2,
        _ => 3,
    };
    let cells = hours.cells().iter().map(|cell| level((*cell).into(), [4, 10]));
    strip(page, cells, &spans(hours.mask()))?;
    write!(page, "<td data-l=\"{} days\">", report.span)?;
    let active = days.iter().filter(|day| **day != 0).count();
    let cells = days.iter().map(|day| level(day.count_ones(), [6, 16]));
    strip(page, cells, &format!("{active} of {} days", days.len()))?;
    page.push_str("</tr>\n");
    Ok(())
}

fn short(date: Date) -> String {
    date.strftime("%-d %b").to_string()
}

fn time_of(clock: HourMinute) -> String {
    format!("{:02}:{:02}", clock.hour, clock.minute)
}

/// The day first, but for what was on the report's own day: there the time is what counts.
fn time(page: &mut String, (date, clock): When, report: Option<&Report>) -> fmt::Result {
    let clock = time_of(clock);
    write!(page, "<time datetime={date}T{clock}>")?;
    match report.filter(|report| report.day == date) {
        Some(report) => write!(page, "<b>{clock}</b> <span>{}</span>", on(report))?,
        None => write!(page, "<b>{date}</b> <span>{clock}</span>")?,
    }
    page.push_str("</time>");
    Ok(())
}

/// Hours as a list of spans: `7–9, 12`.
fn spans(mask: u32) -> String {
    let mut text = String::new();
    let mut hour = 0;
    while hour < 24 {
        let length = (mask >> hour).trailing_ones();
        if length > 0 {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = match length {
                1 => write!(text, "{comma}{hour}"),
                _ => write!(text, "{comma}{hour}–{}", hour + length - 1),
            };
        }
        hour += length + 1;
    }
    if text.is_empty() { "none".into() } else { text }
}

/// Cells in a row: for each level a path that runs along the middle of its cells, as thick as they are high. That takes a
/// tenth of the bytes of as many rectangles.
fn strip(page: &mut String, cells: impl Iterator<Item = u8>, title: &str) -> fmt::Result {
    let cells: Vec<u8> = cells.collect();
    let width = cells.len();
    write!(
        page,
        "<svg viewBox=\"0 0 {width} 1\" preserveAspectRatio=none role=img><title>{title}</title>\
         <path class=e d=\"M0 .5h{width}\"/>"
    )?;
    for (level, class) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut at = 0;
        let mut begun = false;
        for run in cells.chunk_by(|a, b| a == b) {
            if run[0] == level {
                page.push_str(if begun { "" } else { "<path class=" });
                if !begun {
                    write!(page, "{class} d=\"")?;
                }
                begun = true;
                write!(page, "M{at} .5h{}", run.len())?;
            }
            at += run.len();
        }
        if begun {
            page.push_str("\"/>");
        }
    }
    page.push_str("</svg>");
    Ok(())
}

fn log(
    page: &mut String,
    title: &str,
    none: &str,
    lines: &[String],
    all: usize,
    show: impl Fn(&mut String, &str) -> fmt::Result,
) -> fmt::Result {
    write!(page, "<section>\n<h2>{title}</h2>\n<div class=card>")?;
    if lines.is_empty() {
        write!(page, "<p class=empty>{none}</p>")?;
    } else {
        page.push_str("<ul class=\"log mono\" tabindex=0>\n");
        for line in lines {
            page.push_str("<li>");
            show(page, line)?;
            page.push('\n');
        }
        page.push_str("</ul>");
    }
    page.push_str("</div>\n");
    if all > lines.len() {
        writeln!(page, "<p class=note>The last {} are shown, of {all}.</p>", lines.len())?;
    }
    page.push_str("</section>\n");
    Ok(())
}

/// An alert as a log has it: when, who, where.
fn alert(page: &mut String, line: &str) -> fmt::Result {
    match table::read_alert(line) {
        Some(table::Line { mac, ip, interface, date, first, .. }) => write!(
            page,
            "{date} {} <b>{mac}</b> <bdi>{ip}</bdi> <span class=dim><bdi>{}</bdi></span>",
            time_of(first),
            Foreign(interface)
        ),
        None => write!(page, "<bdi>{}</bdi>", Foreign(line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, Engine};
    use sha2::{Digest, Sha256};

    #[test]
    fn the_policy_names_style_and_script() {
        for (text, hash) in [(STYLE, STYLE_HASH), (SCRIPT, SCRIPT_HASH)] {
            let right = format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)));
            assert_eq!(right, hash);
            assert!(!text.contains("</"), "it would end its own element");
        }
    }

    #[test]
    fn foreign_text_is_escaped() {
        let text = "<script>alert(1)</script>\" onload='x' & \u{1b}[0m\nä\u{202e}";
        assert_eq!(
            Foreign(text).to_string(),
            "&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp; \u{fffd}[0m\u{fffd}ä\u{202e}"
        );
    }

    #[test]
    fn strips() {
        let mut page = String::new();
        strip(&mut page, [1, 1, 0, 3, 1].into_iter(), "x").unwrap();
        assert!(page.ends_with("<title>x</title><path class=e d=\"M0 .5h5\"/><path class=a d=\"M0 .5h2M4 .5h1\"/><path class=c d=\"M3 .5h1\"/></svg>"), "{page}");
        for (mask, text) in [
            (0, "none"),
            (1, "0"),
            (0b1110_1101, "0, 2–3, 5–7"),
            (0xff_ffff, "0–23"),
            (1 << 23, "23"),
        ] {
            assert_eq!(spans(mask), text);
        }
    }
}
