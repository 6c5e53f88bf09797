//! The topics and the text of a syslog message, in the forms that RouterOS sends (MikroTik's manual, Log, of 6 Oct 2026) and
//! those of RFC 3164 and RFC 5424 that a relay makes of them:
//!
//! ```text
//! system,info TEXT                                                                default
//! <30>Oct  2 17:36:35 IDENTITY [system,info ]TEXT                                 syslog, topics by add-topics-string
//! Oct  2 17:36:35 IDENTITY CEF:0|MikroTik|BOARD|7.18|10|system,info|Low|dvchost=IDENTITY dvc=ADDRESS msg=TEXT KEY=VALUE
//! <30>1 2026-10-02T17:36:35Z HOST APP - - - [system,info ]TEXT                    RFC 5424
//! ```

use jiff::Zoned;

use crate::log_record::{LogAssembler, LogRecord};

/// Bytes of the text, at most: enough for the user, who stands before the command.
const MAX_TEXT: usize = 2 << 10;
/// Words before the topics, at most: the identity of a router may have blanks.
const MAX_IDENTITY: usize = 8;
/// Topics that say how important an entry is; each entry has one of them.
const SEVERITIES: [&str; 5] = ["critical", "error", "warning", "info", "debug"];

/// The log record of a message, as the router's log would have it, with the time of this machine.
pub fn parse(bytes: &[u8]) -> Option<LogRecord> {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let (topics, text) = content(text.trim());
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    let time = Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
    // The same parser as for the router's log.
    let mut assembler = LogAssembler::default();
    let line = format!("{time} {} {text}\n", topics.unwrap_or("system,info"));
    let record = assembler.feed(line.as_bytes()).pop().or_else(|| assembler.flush());
    record.map(|mut record| {
        // Without topics a line of a script cannot be distinguished from one of the system.
        record.doubtful |= topics.is_none();
        record
    })
}

/// The host that a message with a time names; RouterOS sends its identity.
pub fn host(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let rest = without_priority(text.trim());
    let host = match rest.strip_prefix("1 ") {
        Some(rest) => rest.split(' ').nth(1),
        None => without_time(rest)?.split(' ').next(),
    };
    host.map(str::to_owned)
}

/// The topics, if there are any, and the text.
fn content(message: &str) -> (Option<&str>, String) {
    let rest = without_priority(message);
    if let Some(at) =
        rest.find("CEF:").filter(|at| rest[..*at].split(' ').count() <= MAX_IDENTITY + 5)
        && let Some((topics, text)) = cef(&rest[at..])
    {
        return (Some(topics), text);
    }
    let (rest, has_host) = match rest.strip_prefix("1 ").and_then(rfc5424) {
        Some(text) => (text, false),
        None => match without_time(rest) {
            Some(rest) => (rest, true),
            None => (rest, false),
        },
    };
    let mut at = 0;
    for word in rest.split(' ').take(MAX_IDENTITY) {
        let topics = word.strip_suffix(':').unwrap_or(word);
        at += word.len();
        if is_topics(topics) {
            return (Some(topics), rest[at..].trim_start().to_owned());
        }
        at += 1;
    }
    let text = if has_host { rest.split_once(' ').map_or("", |(_, text)| text) } else { rest };
    (None, text.trim_start().to_owned())
}

fn is_topics(word: &str) -> bool {
    let is_topic = |topic: &str| {
        !topic.is_empty()
            && topic.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    word.contains(',')
        && word.split(',').all(is_topic)
        && word.split(',').any(|topic| SEVERITIES.contains(&topic))
}

/// `<PRI>`
fn without_priority(text: &str) -> &str {
    let inside = text.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    match inside {
        Some((number, rest)) if number.len() <= 3 && number.parse::<u16>().is_ok() => rest,
        _ => text,
    }
}

/// The text behind `Oct  2 17:36:35 ` or `2026-10-02T17:36:35.265-0500 `.
fn without_time(text: &str) -> Option<&str> {
    let clock = |word: &str| {
        let parts: Vec<_> = word.split(':').collect();
        parts.len() == 3 && parts.iter().all(|part| part.len() == 2 && part.parse::<u8>().is_ok())
    };
    let (first, rest) = text.split_once(' ')?;
    if first.len() >= 19 && first.as_bytes()[10] == b'T' && first.as_bytes()[4] == b'-' {
        return Some(rest);
    }
    let is_month = first.len() == 3 && first.bytes().all(|byte| byte.is_ascii_alphabetic());
    let (day, rest) = rest.trim_start().split_once(' ').filter(|_| is_month)?;
    let (time, rest) = rest.trim_start().split_once(' ')?;
    (day.parse::<u8>().is_ok() && clock(time)).then_some(rest)
}

/// The message behind `TIMESTAMP HOST APP PROCID MSGID STRUCTURED-DATA` (RFC 5424, 6).
fn rfc5424(text: &str) -> Option<&str> {
    let mut parts = text.splitn(6, ' ');
    let time = parts.next()?;
    let rest = parts.nth(4)?;
    let is_time = time == "-" || time.len() >= 20 && time.as_bytes()[10] == b'T';
    let rest = is_time.then_some(rest)?;
    let message = match rest.strip_prefix('-') {
        Some(message) => message,
        None => &rest[structured_data(rest)?..],
    };
    Some(message.trim_start().trim_start_matches('\u{feff}'))
}

/// The length of `[ID NAME="VALUE"]...`, where a value may have `\]`.
fn structured_data(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped, mut end) = (false, false, None);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted => end = Some(at + 1),
            b'[' if !quoted => end = None,
            _ if !quoted && end == Some(at) => break,
            _ => {}
        }
    }
    end.filter(|_| text.starts_with('['))
}

/// `CEF:0|VENDOR|PRODUCT|VERSION|CLASS|TOPICS|SEVERITY|EXTENSION`, of RouterOS since 7.18; the text is `msg`.
fn cef(text: &str) -> Option<(&str, String)> {
    let mut bars = unescaped(text, '|').into_iter();
    let (from, to) = (bars.nth(4)? + 1, bars.next()?);
    let topics = &text[from..to];
    let extension = &text[bars.next()? + 1..];
    if !is_topics(topics) {
        return None;
    }
    // A key is the word before an `=` that is not escaped.
    let keys: Vec<(usize, usize)> = unescaped(extension, '=')
        .into_iter()
        .map(|equals| (extension[..equals].rfind(' ').map_or(0, |blank| blank + 1), equals))
        .collect();
    let at = keys.iter().position(|(from, to)| &extension[*from..*to] == "msg")?;
    let end = keys.get(at + 1).map_or(extension.len(), |(next, _)| next.saturating_sub(1));
    let value = extension.get(keys[at].1 + 1..end)?;
    let (mut message, mut escaped) = (String::new(), false);
    for c in value.chars() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            'n' | 'r' if escaped => message.push(' '),
            c => message.push(c),
        }
        escaped = false;
    }
    Some((topics, message.trim().to_owned()))
}

/// Where a character stands that no backslash precedes.
fn unescaped(text: &str, wanted: char) -> Vec<usize> {
    let (mut found, mut escaped) = (Vec::new(), false);
    for (at, c) in text.char_indices() {
        if c == wanted && !escaped {
            found.push(at);
        }
        escaped = c == '\\' && !escaped;
    }
    found
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
