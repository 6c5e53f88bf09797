//! From the bytes of `/log print follow-only` to whole records: lines are put together from what
//! arrives, ornaments of the screen are left out, and long messages, which the router cuts into
//! several entries, are joined.

use crate::{
    actor::{is_open, may_go_on, naming},
    line::Line,
};

/// One entry of the log, or several that were one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The router's time, as text.
    pub time: String,
    /// Its topics.
    pub topics: String,
    /// Its message.
    pub message: String,
    /// A longer one of the same second was not finished: it may be a piece of that one.
    pub doubtful: bool,
}

impl Record {
    /// Whether changes of the configuration stand in records like this.
    pub fn may_be_change(&self) -> bool {
        Line { time: &self.time, topics: &self.topics, message: &self.message }.may_be_change()
    }
}

/// Bytes of a line, at most; what is beyond is dropped.
const LONGEST_LINE: usize = 16 * 1024;
/// Bytes of a message put together from several lines, at most.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// Lines of a record, at most.
const MOST_LINES: usize = 64;

/// Puts records together. The last one is held back until the next line shows that it is whole, or
/// [`Records::flush`] says that nothing more came.
#[derive(Debug, Default)]
pub struct Records {
    partial: Vec<u8>,
    held: Option<Held>,
    /// Time and topics of a record that was handed over unfinished: what else they have may be pieces
    /// of it, whoever is named there.
    unfinished: Option<(String, String)>,
}

#[derive(Debug)]
struct Held {
    record: Record,
    lines: usize,
    /// Further entries belong to it: what they hold does not tell whether it is open.
    joined: bool,
}

impl Records {
    /// Takes what arrived, and hands over the records that are whole.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Record> {
        let mut whole = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.partial);
                    whole.extend(self.line(&without_escapes(&line)));
                }
                _ if self.partial.len() < LONGEST_LINE => self.partial.push(*byte),
                _ => {}
            }
        }
        whole
    }

    /// Nothing came for a while: the record held back is whole. What there is of an unfinished line
    /// waits for its end, and never names anybody if that does not come.
    pub fn flush(&mut self) -> Option<Record> {
        let record = self.held.take()?.record;
        if record.may_be_change() && may_go_on(&record.message) {
            self.unfinished = Some((record.time.clone(), record.topics.clone()));
        }
        Some(record)
    }

    fn line(&mut self, text: &str) -> Option<Record> {
        if is_ornament(text) {
            return None;
        }
        let Some(line) = Line::parse(text) else {
            self.append(text); // wrapped at the width of a screen
            return None;
        };
        if let Some(held) = &mut self.held {
            let Record { time, topics, message, .. } = &held.record;
            let follows = line.may_be_change() && line.topics == topics && line.time == time;
            let open = if held.joined { may_go_on(message) } else { is_open(message) };
            let names =
                naming(line.message).is_some_and(|naming| naming.actors[0].channel.is_some());
            if follows && open && held.lines < MOST_LINES && !names {
                held.joined = true;
                self.append(line.message);
                return None;
            }
        }
        let whole = self.flush();
        let Line { time, topics, message } = line;
        let (time, topics, message): (String, String, _) =
            (time.into(), topics.into(), message.into());
        self.unfinished.take_if(|(second, _)| *second != time);
        let doubtful = self.unfinished.as_ref().is_some_and(|(_, of)| *of == topics);
        let record = Record { time, topics, message, doubtful };
        self.held = Some(Held { record, lines: 1, joined: false });
        whole
    }

    fn append(&mut self, text: &str) {
        let Some(held) = &mut self.held else { return };
        held.lines += 1;
        if held.lines <= MOST_LINES && held.record.message.len() + text.len() <= LONGEST_MESSAGE {
            held.record.message.push_str(text);
        }
    }
}

/// What an interactive `follow` draws between the lines.
fn is_ornament(text: &str) -> bool {
    text.starts_with("-- ") || text.chars().all(|c| c == '=' || c == ' ')
}

/// The line without the escape sequences of a terminal (ECMA-48, 5.4) and without control characters.
fn without_escapes(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    let decoded = String::from_utf8_lossy(line);
    let mut chars = decoded.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            if chars.next_if_eq(&'[').is_some() {
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
            }
            chars.next();
        } else if !c.is_control() {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
