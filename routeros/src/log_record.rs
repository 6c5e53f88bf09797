//! Assembles the bytes of `/log print follow-only` to complete records: splits them into lines, drops terminal
//! decoration, and joins long messages, which the router cuts into several entries.

use crate::{
    actor::{actors_in, is_unfinished, may_be_unfinished},
    log_line::LogLine,
    lossless::lossless,
};

/// One entry of the log, or several entries that the router cut from one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The router's time, as text.
    pub time: String,
    pub topics: String,
    pub message: String,
    /// A longer message of the same second was not finished: this record may be a part of it.
    pub doubtful: bool,
}

impl LogRecord {
    pub fn may_be_change(&self) -> bool {
        LogLine { time: &self.time, topics: &self.topics, message: &self.message }.may_be_change()
    }
}

/// Bytes of a line, at most; further bytes are dropped.
const MAX_LINE: usize = 16 * 1024;
/// Bytes of a message joined from several lines, at most.
const MAX_MESSAGE: usize = 64 * 1024;
const MAX_LINES: usize = 64;

/// Assembles records. The last record is held back until the next line shows that it is complete, or
/// [`LogAssembler::flush`] is called because nothing more arrived.
#[derive(Debug, Default)]
pub struct LogAssembler {
    partial: Vec<u8>,
    held: Option<Held>,
    /// Time and topics of a record that was returned unfinished: other lines with both may be parts of it, whichever
    /// user they name.
    unfinished: Option<(String, String)>,
}

#[derive(Debug)]
struct Held {
    record: LogRecord,
    lines: usize,
    /// It was joined from several entries: [`is_unfinished`] looks at single entries only.
    joined: bool,
}

impl LogAssembler {
    /// Takes received bytes and returns the records that are complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<LogRecord> {
        let mut whole = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.partial);
                    whole.extend(self.line(&without_escapes(&line)));
                }
                _ if self.partial.len() < MAX_LINE => self.partial.push(*byte),
                _ => {}
            }
        }
        whole
    }

    /// Returns the record that is held back, because nothing arrived for a while. An incomplete line stays here: without
    /// its end it names no user.
    pub fn flush(&mut self) -> Option<LogRecord> {
        let record = self.held.take()?.record;
        if record.may_be_change() && may_be_unfinished(&record.message) {
            self.unfinished = Some((record.time.clone(), record.topics.clone()));
        }
        Some(record)
    }

    fn line(&mut self, text: &str) -> Option<LogRecord> {
        if is_decoration(text) {
            return None;
        }
        let Some(line) = LogLine::parse(text) else {
            self.append(text); // wrapped at the width of the terminal
            return None;
        };
        if let Some(held) = &mut self.held {
            let LogRecord { time, topics, message, .. } = &held.record;
            let follows = line.may_be_change() && line.topics == topics && line.time == time;
            let unfinished =
                if held.joined { may_be_unfinished(message) } else { is_unfinished(message) };
            let names_actor = actors_in(line.message)
                .is_some_and(|named| named.actors[0].channel.is_some() || named.command.is_some());
            if follows && unfinished && held.lines < MAX_LINES && !names_actor {
                held.joined = true;
                self.append(line.message);
                return None;
            }
        }
        let whole = self.flush();
        let LogLine { time, topics, message } = line;
        let (time, topics, message): (String, String, _) =
            (time.into(), topics.into(), message.into());
        self.unfinished.take_if(|(second, _)| *second != time);
        let doubtful = self.unfinished.as_ref().is_some_and(|(_, of)| *of == topics);
        let record = LogRecord { time, topics, message, doubtful };
        self.held = Some(Held { record, lines: 1, joined: false });
        whole
    }

    fn append(&mut self, text: &str) {
        let Some(held) = &mut self.held else { return };
        held.lines += 1;
        if held.lines <= MAX_LINES && held.record.message.len() + text.len() <= MAX_MESSAGE {
            held.record.message.push_str(text);
        }
    }
}

/// What an interactive `follow` prints between the lines.
fn is_decoration(text: &str) -> bool {
    text.starts_with("-- ") || text.chars().all(|c| c == '=' || c == ' ')
}

/// The line without the escape sequences of a terminal (ECMA-48, 5.4) and without control characters.
fn without_escapes(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    let decoded = lossless(line);
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
#[path = "log_record/tests.rs"]
mod tests;
