//! The report as one HTML file. It loads nothing, and no script but its own runs in it. Text of foreign origin is escaped and
//! isolated, so that a name that is written from right to left does not change the text after it.

use std::fmt::{self, Display, Write};

mod logs;

use jiff::civil::Date;

use crate::{
    activity::Sender,
    activity_report::{ActivityReport, DeviceActivity, DeviceAddress, LogTime, now::Now},
    local_time::HourMinute,
};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Days before the report's of which it has the hours.
const EARLIER: usize = 7;
/// The SHA-256 of style and script. A browser ignores a style or script with another hash.
const STYLE_HASH: &str = "sha256-Cr8LB8eh3m9gHG0ZX4GZHgDLvXDvSAEQEI9XrKjs7iY=";
const SCRIPT_HASH: &str = "sha256-YYTMPmavYd2LCkgddTrQscSwHXFpLmYklypFgn3RkXU=";

/// The Content-Security-Policy, for the page and for HTTP: it allows the own style and script and nothing else.
pub fn content_security_policy() -> String {
    format!(
        "default-src 'none'; style-src '{STYLE_HASH}'; script-src '{SCRIPT_HASH}'; base-uri 'none'; form-action 'none'"
    )
}

/// Escapes text of foreign origin.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(EscapingWriter(f), "{}", self.0)
    }
}

struct EscapingWriter<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for EscapingWriter<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut from = 0;
        for (at, c) in text.char_indices() {
            let replacement = match c {
                '&' => "&amp;",
                '<' => "&lt;",
                '>' => "&gt;",
                '"' => "&quot;",
                '\'' => "&#39;",
                c if c.is_control() => "\u{fffd}",
                _ => continue,
            };
            self.0.write_str(&text[from..at])?;
            self.0.write_str(replacement)?;
            from = at + c.len_utf8();
        }
        self.0.write_str(&text[from..])
    }
}

/// Formats a report.
pub fn to_html(report: &ActivityReport) -> String {
    let mut page = String::with_capacity(16_384 + report.devices.len() * 1_200);
    // Writing to a String does not fail.
    let _ = write(&mut page, report);
    page
}

fn write(page: &mut String, report: &ActivityReport) -> fmt::Result {
    let ActivityReport { day, created, .. } = report;
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"{}\">\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=referrer content=no-referrer>\n<title>Device activity: {day}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Device activity</h1>\n\
         <p class=sub>{} · <span>created {}</span></p>\n",
        content_security_policy(),
        day.strftime("%A, %-d %B %Y"),
        Escaped(created),
    )?;
    if let Some(now) = &report.now {
        state(page, report, now)?;
    }
    tiles(page, report)?;
    let online = if report.now.is_some() { ONLINE } else { "" };
    write!(page, "{TOOLS}{online}{MORE_TOOLS}")?;
    devices(page, report)?;
    logs::sections(page, report)?;
    write!(page, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n")
}

/// Who is online, and why devices may be missing.
fn state(page: &mut String, report: &ActivityReport, now: &Now) -> fmt::Result {
    let online = report.devices.iter().filter(|device| now.is_online(device.last)).count();
    let minutes = now.online_minutes;
    writeln!(
        page,
        "<p class=now><b>{online} online</b> <span class=dim>seen in the last {minutes} min</span></p>"
    )?;
    for fault in &now.faults {
        writeln!(page, "<p class=\"now silent\" role=status><bdi>{}</bdi></p>", Escaped(fault))?;
    }
    Ok(())
}

fn tiles(page: &mut String, report: &ActivityReport) -> fmt::Result {
    let on = on(report);
    let counts = &report.counts;
    let new = if report.has_history { counts.new.to_string() } else { "–".into() };
    write!(
        page,
        "<dl class=tiles>\n\
         <div class=tile><dt>Devices {on}</dt><dd>{} <small>of {}</small></dd></div>\n\
         <div class=\"tile new\"><dt>New {on}</dt><dd>{new}</dd></div>\n\
         <div class=\"tile unknown\"><dt>Unknown {on}</dt><dd>{}</dd></div>\n\
         <div class=tile><dt>Last sighting</dt><dd>",
        counts.active, counts.all, counts.unknown
    )?;
    match report.last() {
        Some((date, clock)) if date == report.day => write!(page, "{}", time_of(clock))?,
        Some((date, clock)) => write!(page, "{} <small>{date}</small>", time_of(clock))?,
        None => page.push('–'),
    }
    page.push_str("</dd></div>\n</dl>\n");
    Ok(())
}

fn on(report: &ActivityReport) -> &'static str {
    if report.is_today { "today" } else { "that day" }
}

const TOOLS: &str = "<div class=tools hidden>\n\
    <input type=search placeholder=\"Search name, MAC, vendor, address\" aria-label=Search>\n\
    <button type=button value=\"\" aria-pressed=true>All</button>\n\
    <button type=button value=t aria-pressed=false>Today</button>\n";
const ONLINE: &str = "<button type=button value=o aria-pressed=false>Online</button>\n";
const MORE_TOOLS: &str = "\
    <button type=button value=n aria-pressed=false>New</button>\n\
    <button type=button value=u aria-pressed=false>Unknown</button>\n\
    <button type=button value=p aria-pressed=false>Private MAC</button>\n\
    <label class=sorting>Sort by <select><option value=last>last seen<option value=first>first seen<option value=name>name\
    <option value=address>address<option value=days>days</select></label>\n<output></output>\n</div>\n";

fn devices(page: &mut String, report: &ActivityReport) -> fmt::Result {
    let ActivityReport { devices, span, .. } = report;
    let empty = match &report.now {
        _ if !devices.is_empty() => "",
        Some(now) if now.is_silent => "<p class=empty>No data from the collector.</p>",
        Some(now) if now.is_new => {
            "<p class=empty>No devices seen yet: the collector has captured no frame.</p>"
        }
        Some(_) => "<p class=empty>No devices seen yet.</p>",
        None => "<p class=empty>No devices seen.</p>",
    };
    let from = report.days().next().unwrap_or(report.day);
    let axis = |[left, middle, right]: [&str; 3]| {
        let spans = format!("<span>{left}</span><span>{middle}</span><span>{right}</span>");
        format!("<span class=axis>{spans}</span>")
    };
    write!(
        page,
        "<div class=card>{empty}<table class=devices>\n<thead><tr><th data-k=name>Device<th data-k=address>Addresses<th data-k=first>First seen\
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
         <span>Active hours in a day: <i class=a></i>1–5</span><span><i class=b></i>6–15</span><span><i class=c></i>16–24</span></p>\n"
    )?;
    if report.counts.all > devices.len() {
        let (shown, all) = (devices.len(), report.counts.all);
        let note = format!("Showing the {shown} most recently seen of {all} devices.");
        writeln!(page, "<p class=note>{note}</p>")?;
    }
    Ok(())
}

fn row(page: &mut String, report: &ActivityReport, device: &DeviceActivity) -> fmt::Result {
    let (active, new) = (device.is_active(report.day), report.is_new(device));
    let (unknown, private) = (device.name.is_none(), device.is_private());
    let online = report.now.as_ref().is_some_and(|now| now.is_online(device.last));
    let classes = [("t ", active), ("n ", new), ("u ", unknown), ("p ", private), ("o ", online)];
    let classes: String =
        classes.iter().filter(|(_, applies)| *applies).map(|(class, _)| *class).collect();
    write!(page, "<tr class=\"{classes}\"><td data-l=Device>")?;
    device_cell(page, device, (online, new))?;
    page.push_str("<td data-l=Addresses>");
    addresses(page, device)?;
    page.push_str("<td data-l=\"First seen\">");
    time(page, device.first, None)?;
    page.push_str("<td data-l=\"Last seen\">");
    time(page, device.last, Some(report))?;
    activity_cells(page, report, device)?;
    page.push_str("</tr>\n");
    Ok(())
}

/// The current addresses; the earlier ones are folded. A browser searches them as well.
fn addresses(page: &mut String, device: &DeviceActivity) -> fmt::Result {
    let list = |page: &mut String, some: &[DeviceAddress], has_dates: bool| {
        page.push_str("<ul class=\"ips mono\">");
        for address in some {
            let interface = Escaped(&address.interface);
            let (ip, sender) = (address.ip, spaced(address.sender));
            let last = if has_dates { format!(" {}", address.last.0) } else { String::new() };
            write!(page, "<li><bdi>{ip}</bdi> <span><bdi>{interface}</bdi>{sender}{last}</span>")?;
        }
        Ok(())
    };
    let (current, earlier) = device.addresses.split_at(device.current_addresses());
    list(page, current, false)?;
    page.push_str("</ul>");
    if earlier.is_empty() && !device.has_more_addresses {
        return Ok(());
    }
    let number = earlier.len();
    let more = if device.has_more_addresses { "more than " } else { "" };
    write!(page, "<details><summary>{more}{number} earlier</summary>")?;
    list(page, earlier, true)?;
    page.push_str("</ul></details>");
    Ok(())
}

fn device_cell(
    page: &mut String,
    device: &DeviceActivity,
    (is_online, is_new): (bool, bool),
) -> fmt::Result {
    match &device.name {
        Some(name) => write!(page, "<bdi class=name>{}</bdi>", Escaped(name))?,
        None => page.push_str("<bdi class=\"name none\">unknown</bdi>"),
    }
    if is_online {
        page.push_str("<span class=\"badge online\">online</span>");
    }
    if is_new {
        page.push_str("<span class=\"badge new\">new</span>");
    }
    if device.is_private() {
        page.push_str("<span class=\"badge private\">private</span>");
    }
    if device.is_only_sent_by_others() {
        page.push_str("<span class=\"badge unknown\">sent by others</span>");
    }
    write!(page, "<span class=\"mac mono\">{}</span>", device.mac)?;
    if let Some(claimed) = &device.claimed {
        write!(page, "<bdi class=vendor>calls itself {}</bdi> ", Escaped(claimed))?;
    }
    match &device.vendor {
        Some(vendor) => write!(page, "<bdi class=vendor>{}</bdi>", Escaped(vendor)),
        None => Ok(()),
    }
}

fn activity_cells(
    page: &mut String,
    report: &ActivityReport,
    device: &DeviceActivity,
) -> fmt::Result {
    let DeviceActivity { hours, days, .. } = device;
    // 0 for none, 1 below `middle`, 2 below `high`, 3 above.
    let level = |count: u32, [middle, high]: [u32; 2]| {
        u8::from(count > 0) + u8::from(count >= middle) + u8::from(count >= high)
    };
    page.push_str("<td data-l=Hours>");
    let levels = hours.counts().iter().map(|count| level((*count).into(), [4, 10]));
    activity_bar(page, levels, &hour_ranges(hours.mask()))?;
    earlier_hours(page, report, device)?;
    write!(page, "<td data-l=\"{} days\">", report.span)?;
    let active_days = days.iter().filter(|day| **day != 0).count();
    let levels = days.iter().map(|day| level(day.count_ones(), [6, 16]));
    activity_bar(page, levels, &format!("{active_days} of {} days", days.len()))
}

/// The hours of the last days before that of the report, folded: when a device was there yesterday.
fn earlier_hours(
    page: &mut String,
    report: &ActivityReport,
    device: &DeviceActivity,
) -> fmt::Result {
    let before = device.days.len().saturating_sub(1);
    let days = report.days().zip(&device.days).take(before).skip(before.saturating_sub(EARLIER));
    let days: Vec<_> = days.collect();
    if days.iter().all(|(_, hours)| **hours == 0) {
        return Ok(());
    }
    page.push_str("<details><summary>days before</summary><ul class=\"ips mono\">");
    for (date, hours) in days.into_iter().rev() {
        write!(page, "<li>{} <span>{}</span>", date.strftime("%a %-d %b"), hour_ranges(*hours))?;
    }
    page.push_str("</ul></details>");
    Ok(())
}

/// Which other MAC sent the frames, after a space.
fn spaced(sender: Sender) -> String {
    if sender == Sender::Own { String::new() } else { format!(" {sender}") }
}

fn short(date: Date) -> String {
    date.strftime("%-d %b").to_string()
}

fn time_of(clock: HourMinute) -> String {
    format!("{:02}:{:02}", clock.hour, clock.minute)
}

/// Writes date and time; given a report, the time and `today` for its own day.
fn time(page: &mut String, (date, clock): LogTime, report: Option<&ActivityReport>) -> fmt::Result {
    let clock = time_of(clock);
    write!(page, "<time datetime={date}T{clock}>")?;
    match report.filter(|report| report.day == date) {
        Some(report) => write!(page, "<b>{clock}</b> <span>{}</span>", on(report))?,
        None => write!(page, "<b>{date}</b> <span>{clock}</span>")?,
    }
    page.push_str("</time>");
    Ok(())
}

/// Formats hours as ranges, such as `7–9, 12`.
fn hour_ranges(mask: u32) -> String {
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

/// Draws a cell for each level. For each of the levels, a thick line runs through the middle of its cells: that takes a tenth
/// of the bytes that rectangles take.
fn activity_bar(page: &mut String, levels: impl Iterator<Item = u8>, title: &str) -> fmt::Result {
    let levels: Vec<u8> = levels.collect();
    let width = levels.len();
    write!(
        page,
        "<svg viewBox=\"0 0 {width} 1\" preserveAspectRatio=none role=img><title>{title}</title>\
         <path class=e d=\"M0 .5h{width}\"/>"
    )?;
    for (level, class) in [(1, "a"), (2, "b"), (3, "c")] {
        let mut at = 0;
        let mut begun = false;
        for run in levels.chunk_by(|a, b| a == b) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, Engine};
    use sha2::{Digest, Sha256};

    #[test]
    fn the_policy_has_the_hashes_of_style_and_script() {
        for (text, hash) in [(STYLE, STYLE_HASH), (SCRIPT, SCRIPT_HASH)] {
            let right = format!("sha256-{}", BASE64_STANDARD.encode(Sha256::digest(text)));
            assert_eq!(right, hash);
            assert!(!text.contains("</"), "it must not end its own element");
        }
    }

    #[test]
    fn foreign_text_is_escaped() {
        let text = "<script>alert(1)</script>\" onload='x' & \u{1b}[0m\nä\u{202e}";
        assert_eq!(
            Escaped(text).to_string(),
            "&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp; \u{fffd}[0m\u{fffd}ä\u{202e}"
        );
    }

    #[test]
    fn bars_and_ranges() {
        let mut page = String::new();
        activity_bar(&mut page, [1, 1, 0, 3, 1].into_iter(), "x").unwrap();
        assert!(page.ends_with("<title>x</title><path class=e d=\"M0 .5h5\"/><path class=a d=\"M0 .5h2M4 .5h1\"/><path class=c d=\"M3 .5h1\"/></svg>"), "{page}");
        for (mask, text) in [
            (0, "none"),
            (1, "0"),
            (0b1110_1101, "0, 2–3, 5–7"),
            (0xff_ffff, "0–23"),
            (1 << 23, "23"),
        ] {
            assert_eq!(hour_ranges(mask), text);
        }
    }
}
