//! A line of RouterOS's log, as `/log print` prints it: time, topics, message.
//!
//! Nothing in it is trusted: users of the router choose the names and commands that it contains.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// As the router printed it. Its clock may be wrong and its zone is unknown: not used for ordering.
    pub time: &'a str,
    /// Topics separated by commas: `system,info,account`.
    pub topics: &'a str,
    pub message: &'a str,
}

impl<'a> LogLine<'a> {
    /// The columns of a line that has a time and topics. A line without them continues the line before it, or is
    /// decoration of an interactive terminal.
    pub fn parse(text: &'a str) -> Option<LogLine<'a>> {
        let text = text.trim_start_matches(' ');
        let time = time_column(text)?;
        let rest = text[time..].trim_start_matches(' ');
        let topics = rest.find(' ').unwrap_or(rest.len());
        let message = rest[topics..].trim_start_matches(' ');
        let topics = &rest[..topics];
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-,!".contains(c);
        let fits = topics.starts_with(|c: char| c.is_ascii_lowercase()) && topics.chars().all(word);
        (fits && time < text.len()).then(|| LogLine {
            time: text[..time].trim_end(),
            topics,
            message,
        })
    }

    /// Whether RouterOS logs configuration changes under these topics: `system,info` without `account`, which is for
    /// logins (this program's among them). A script can write any line, but not under the topic `system`.
    pub fn may_be_change(&self) -> bool {
        let has = |topic| self.topics.split(',').any(|word| word == topic);
        has("system") && has("info") && !has("account")
    }
}

/// The length of the time column: an optional date and a time of day, in each form of RouterOS 6 and 7, padded with
/// blanks or zeros.
fn time_column(text: &str) -> Option<usize> {
    let date = year_first(text).or_else(|| month_first(text));
    let after = date.map_or(text, |rest| rest.trim_start_matches(' '));
    if date.is_some_and(|rest| !rest.starts_with(' ')) {
        return None;
    }
    let mut rest = number(after, 1..=2)?;
    for _ in 0..2 {
        rest = number(rest.strip_prefix(':')?.trim_start_matches(' '), 1..=2)?;
    }
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = number(fraction, 1..=9)?;
    }
    (rest.is_empty() || rest.starts_with(' ')).then_some(text.len() - rest.len())
}

/// `2025-08-15`
fn year_first(text: &str) -> Option<&str> {
    let month = number(text, 4..=4)?.strip_prefix('-')?;
    number(number(month, 2..=2)?.strip_prefix('-')?, 2..=2)
}

/// `sep/15`, `jan/02/1970`, `sep/ 2/2020`, `Oct/02/2026`
fn month_first(text: &str) -> Option<&str> {
    let (month, rest) = text.split_at_checked(3)?;
    if !month.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let day = number(rest.strip_prefix('/')?.trim_start_matches(' '), 1..=2)?;
    match day.strip_prefix('/') {
        Some(year) => number(year, 4..=4),
        None => Some(day),
    }
}

/// The text after a number of that many digits.
fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<&str> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    digits.contains(&length).then(|| &text[length..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_every_version() {
        for (text, time) in [
            ("sep/15 12:33:18 system,info item added by admin", "sep/15 12:33:18"),
            ("jan/01/1970 20:19:28 system,info item added by admin", "jan/01/1970 20:19:28"),
            ("00:54:06 system,info item added by admin", "00:54:06"),
            (" 2025-08-15 00:47:51 system,info item added by admin", "2025-08-15 00:47:51"),
            ("Oct/02/2026 16:49:36 system,info   item added by admin", "Oct/02/2026 16:49:36"),
            ("sep/ 2/2020  3: 9:38 system,info item added by admin", "sep/ 2/2020  3: 9:38"),
        ] {
            let line = LogLine::parse(text).unwrap();
            let message = "item added by admin";
            assert_eq!(line, LogLine { time, topics: "system,info", message }, "{text}");
            assert!(line.may_be_change());
        }
    }

    #[test]
    fn other_text_is_not_a_log_line() {
        for text in [
            "",
            " ",
            "= = =   = = =",
            "-- Ctrl-C to quit. Space prints separator.",
            "0731;WAN1-x",
            "12:33 system,info x",
            "12:33:18",
            "12:33:18 ",
            "12:33:18x system,info y",
            "2025-08-15",
            "2025-08-1500:47:51 system,info x",
            "12:33:18 Not,Topics x",
            "ä/1 00:00:00 system,info x",
            "éé/",
        ] {
            assert_eq!(LogLine::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn logins_are_not_changes() {
        let change = |topics| LogLine { time: "", topics, message: "" }.may_be_change();
        assert!(change("system,info") && change("info,system,critical"));
        assert!(!change("system,info,account") && !change("system,error,critical"));
        assert!(!change("script,info") && !change("systeminfo"));
    }
}
