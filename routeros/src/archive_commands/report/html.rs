//! A report as a page: one file, without scripts and without anything to load. All text is escaped, because users of the
//! routers choose most of it.

use std::fmt::Write;

use aw_service::plain_lines;

use super::{Report, ReportedChange, some};
use crate::archive_commands::local;

/// Nothing is loaded and nothing runs, even if a text should get past the escaping.
const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Changes of the configuration of routers</title>
<style>
body { font: 15px/1.4 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse; width: 100%; margin: 1em 0 }
th, td { text-align: left; vertical-align: top; padding: .3em .8em .3em 0; border-bottom: 1px solid #ddd }
pre { overflow-x: auto; background: #f6f6f6; padding: .6em; font-size: 13px }
ins { background: #dfd; text-decoration: none } del { background: #fdd; text-decoration: none }
summary { cursor: pointer }
</style>
</head>
<body>
<h1>Changes of the configuration of routers</h1>
";

impl Report {
    pub(super) fn html(&self) -> String {
        let mut page = format!("{HEAD}<p>{}</p>\n", escaped(&self.head()));
        if !self.changes.is_empty() {
            page += "<h2>Users</h2>\n<table>\n";
            page += &row("th", &["User", "Changes", "Lines", "Routers"]);
            for (user, of_user) in &self.users {
                let lines = format!("+{} -{}", of_user.lines_added, of_user.lines_removed);
                let (changes, routers) = (of_user.changes.to_string(), some(&of_user.routers));
                page += &row("td", &[user, &changes, &lines, &routers]);
            }
            page += "</table>\n<h2>Changes</h2>\n";
        }
        self.changes.iter().for_each(|change| page += &section(change));
        page + "</body>\n</html>\n"
    }
}

fn section(change: &ReportedChange) -> String {
    let ReportedChange { router, address, who, added, removed, snapshot, .. } = change;
    let time = local(change.time);
    let (head, about, from) = match change.noted {
        true => (
            format!("{time} {router}: {who}"),
            change.log.first().cloned().unwrap_or_default(),
            format!("Router {router} ({address}), which no export shows"),
        ),
        false => (
            format!("{time} {router}: {who} (+{added} -{removed})"),
            change.menus.join(", "),
            format!("Router {router} ({address}), snapshot {snapshot}"),
        ),
    };
    let mut text =
        format!("<details>\n<summary>{} {}</summary>\n", escaped(&head), escaped(&about));
    let from = match change.ignored {
        0 => from,
        ignored => format!("{from}; ignored lines: {ignored}"),
    };
    let _ = writeln!(text, "<p>{}</p>", escaped(&from));
    if !change.log.is_empty() {
        let _ = writeln!(text, "<pre>{}</pre>", escaped(&change.log.join("\n")));
    }
    text += "<pre>";
    for line in change.diff.lines() {
        let element = match line.as_bytes().first() {
            Some(b'+') => Some("ins"),
            Some(b'-') => Some("del"),
            _ => None,
        };
        let line = escaped(line);
        let _ = match element {
            Some(element) => writeln!(text, "<{element}>{line}</{element}>"),
            None => writeln!(text, "{line}"),
        };
    }
    if change.further_lines > 0 {
        let more = change.further_lines;
        let _ = writeln!(text, "and {more} more lines: aw-routeros diff {}", escaped(router));
    }
    text + "</pre>\n</details>\n"
}

fn row(cell: &str, texts: &[&str]) -> String {
    let cells = texts.iter().map(|text| format!("<{cell}>{}</{cell}>", escaped(text)));
    format!("<tr>{}</tr>\n", cells.collect::<String>())
}

/// Text that is neither an element nor an attribute, nor the end of one.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in plain_lines(text).chars() {
        match c {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&#39;",
            c => escaped.push(c),
        }
    }
    escaped
}
