//! `log --all`: everything that happened, from the `log.txt` of each router.

use aw_service::{Error, info};
use jiff::Timestamp;
use serde_json::json;

use super::{Format, LogOptions, local, read, searched};
use crate::{
    archive::Archive,
    config::{Config, RouterName},
    mask::mask,
    terminal::{print, table},
};

/// Messages that are printed, at most: the newest.
const MAX_MESSAGES: usize = 200_000;

pub fn print_all(config: &Config, names: &[RouterName], options: &LogOptions) -> Result<(), Error> {
    let (mut messages, mut dropped): (Vec<(Timestamp, usize, String)>, _) = (Vec::new(), 0);
    for (number, name) in names.iter().enumerate() {
        let archive = Archive::of(&config.archive, name);
        let lines = archive.log_lines(|time, text| {
            if options.since.is_none_or(|since| time >= since) {
                messages.push((time, number, text.to_owned()));
            }
            if messages.len() > 2 * MAX_MESSAGES {
                dropped += keep_newest(&mut messages);
            }
        });
        read(name, lines)?;
    }
    dropped += keep_newest(&mut messages);
    let secrets = options.output.secrets;
    if options.output.format == Format::Json {
        return messages.iter().try_for_each(|(time, number, text)| {
            let line = json!({ "time": time, "router": names[*number].as_str(), "message": text });
            options.output.print_json(&line)
        });
    }
    if messages.is_empty() {
        info(format_args!("no messages{}", searched(options)));
    }
    if dropped > 0 {
        info(format_args!("{dropped} older messages are left out (narrow it with --since)"));
    }
    let rows = messages.into_iter().map(|(time, number, text)| {
        let text = if secrets { text } else { mask(&text) };
        vec![local(time), names[number].to_string(), text]
    });
    print(&table(&["TIME", "ROUTER", "MESSAGE"], &rows.collect::<Vec<_>>()))
}

/// Sorts the messages by time, and removes the oldest that are too many; returns their number.
fn keep_newest(messages: &mut Vec<(Timestamp, usize, String)>) -> usize {
    messages.sort_by_key(|(time, ..)| *time); // stable: those of one router stay in their order
    let surplus = messages.len().saturating_sub(MAX_MESSAGES);
    messages.drain(..surplus);
    surplus
}
