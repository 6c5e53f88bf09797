//! Parses a time of the command line: `2026-11-20 14:05`, `14:05`, `last tuesday 14:05`, `2h30m`,
//! `@1700000000`. No clock: now is an argument, and its zone is that of all times without one.

use std::ops::Range;

use jiff::{
    Timestamp, ToSpan, Zoned,
    civil::{self, Weekday},
};

use crate::TimeSpan;

/// For the help.
pub const TIME_FORMS: &str = "\
Times:
  '2026-11-20 14:05'         also with seconds, fractions of a second, and an offset (Z or +01:00)
  2026-11-20                 a day
  14:05, 'yesterday 14:05'   a minute of today or yesterday
  now, today, yesterday
  tuesday, 'last tue 14:05'  the last one before today
  90s, 30m, 2h, 1d, 1h30m    before now (also min, hours, days, w, weeks)
  @1700000000                seconds since 1970
A time without an offset is in the time zone of TZ, or else of this machine.";

const BAD: &str = "must be a time such as '2026-11-20 14:05', 'yesterday 20:00', 14:05 or 2h";

/// Parses a time: a moment, or a second, minute or day as a whole. A moment has the same start and end. The error names the
/// part that is wrong.
pub fn parse_time(text: &str, now: &Zoned) -> Result<Range<Timestamp>, String> {
    read(text, now).ok_or_else(|| fault(text, now))
}

fn read(text: &str, now: &Zoned) -> Option<Range<Timestamp>> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@') {
        let time = Timestamp::from_second(seconds.parse().ok()?);
        return time.map(|time| range(time, 1.second())).ok();
    }
    if let Some(then) = ago(text, now) {
        return Some(range(then.timestamp(), 0.seconds()));
    }
    let text = text.strip_prefix("last ").filter(|rest| weekday(rest).is_some()).unwrap_or(text);
    // The T of 2026-11-20T14:05, not that of Tuesday.
    let after_digit = |at: usize| text[..at].ends_with(|c: char| c.is_ascii_digit());
    let cut = text.char_indices().find(|(at, c)| *c == ' ' || *c == 'T' && after_digit(*at));
    let cut = cut.map(|(at, _)| (&text[..at], &text[at + 1..]));
    let (day, time) = match cut.filter(|(day, _)| !day.contains(':')) {
        Some((day, time)) => (day_of(day, now)?, Some(time.trim())),
        None => match day_of(text, now) {
            Some(day) => (day, None),
            None => (now.date(), Some(text)),
        },
    };
    let Some(time) = time else { return whole_day(day, now) };
    let (time, offset) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => (time[..at].trim_end(), Some(&time[at..])),
        None => (time, None),
    };
    // 7:05
    let padded = format!("0{time}");
    let time = if time.find(':') == Some(1) { padded.as_str() } else { time };
    let clock: civil::Time = if time.contains(':') { time.parse().ok()? } else { return None };
    let then = match offset {
        Some(offset) => format!("{day}T{clock}{offset}").parse::<Timestamp>(),
        None => {
            day.to_datetime(clock).to_zoned(now.time_zone().clone()).map(|then| then.timestamp())
        }
    };
    let length = match time.matches(':').count() {
        1 => 1.minute(),
        _ if time.contains('.') => 0.seconds(),
        _ => 1.second(),
    };
    then.map(|then| range(then, length)).ok()
}

/// Which part of a text is wrong, and how it would be a time.
fn fault(text: &str, now: &Zoned) -> String {
    let text = text.trim();
    // Two words in the other order.
    if let Some((first, rest)) = text.split_once(' ')
        && let swapped = format!("{} {first}", rest.trim())
        && first.contains(':')
        && read(&swapped, now).is_some()
    {
        return format!("the day comes first: '{swapped}'");
    }
    if text.split(' ').any(|word| word == "tomorrow") {
        return format!("tomorrow is not in the history: it {BAD}");
    }
    for word in text.split([' ', 'T']) {
        if let Some(day) = numbers(word, '.').filter(|numbers| numbers.len() == 3) {
            let [day, month, year] = [day[0], day[1], day[2]];
            let (day, year) = if day > 31 { (year, day) } else { (day, year) };
            let date = format!("{year:04}-{month:02}-{day:02}");
            if date.parse::<civil::Date>().is_ok() {
                return format!("a day is written as {date}, not {word}");
            }
        }
        if numbers(word, '-').is_some_and(|numbers| numbers.len() == 3)
            && word.parse::<civil::Date>().is_err()
        {
            return format!("there is no day {word} (write YEAR-MONTH-DAY, as in 2026-11-20)");
        }
        let clock = numbers(word, ':').filter(|numbers| [2, 3].contains(&numbers.len()));
        if clock.is_some() && word.parse::<civil::Time>().is_err() {
            return format!("there is no time of day {word} (write 00:00 to 23:59)");
        }
    }
    if let Some(clock) = numbers(text, '.').filter(|numbers| numbers.len() == 2)
        && clock[0] < 24
        && clock[1] < 60
    {
        return format!("a time of day has a colon: {:02}:{:02}", clock[0], clock[1]);
    }
    BAD.into()
}

/// The numbers of a word, with this character between them.
fn numbers(word: &str, between: char) -> Option<Vec<u16>> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    word.split(between).map(|part| part.parse().ok().filter(|_| is_number(part))).collect()
}

fn range(start: Timestamp, length: jiff::Span) -> Range<Timestamp> {
    start..start.checked_add(length).unwrap_or(Timestamp::MAX)
}

fn day_of(text: &str, now: &Zoned) -> Option<civil::Date> {
    match text {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        _ if text.contains('-') => text.parse().ok(),
        _ => now.date().nth_weekday(-1, weekday(text)?).ok(),
    }
}

/// The day of the week that a text begins with, in full or its first three letters.
fn weekday(text: &str) -> Option<Weekday> {
    let word = text.split(' ').next()?.to_ascii_lowercase();
    Some(match word.as_str() {
        "monday" | "mon" => Weekday::Monday,
        "tuesday" | "tue" => Weekday::Tuesday,
        "wednesday" | "wed" => Weekday::Wednesday,
        "thursday" | "thu" => Weekday::Thursday,
        "friday" | "fri" => Weekday::Friday,
        "saturday" | "sat" => Weekday::Saturday,
        "sunday" | "sun" => Weekday::Sunday,
        _ => return None,
    })
}

/// A day in the zone of `now`: 23 to 25 hours.
fn whole_day(day: civil::Date, now: &Zoned) -> Option<Range<Timestamp>> {
    let begin = |day: civil::Date| day.to_zoned(now.time_zone().clone()).ok();
    Some(begin(day)?.timestamp()..begin(day.tomorrow().ok()?)?.timestamp())
}

/// `1h30m`, `1h30m ago`, `-1h30m`: a time span before now. A number without a unit is not one here.
fn ago(text: &str, now: &Zoned) -> Option<Zoned> {
    if text == "now" {
        return Some(now.clone());
    }
    let span = text.strip_suffix("ago").unwrap_or(text).trim_end();
    let span = span.strip_prefix('-').unwrap_or(span);
    let TimeSpan(span) = span.parse().ok().filter(|_| span.contains(char::is_alphabetic))?;
    now.checked_sub(span).ok().filter(|_| !span.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a zone of its own rules, so that the test needs no files: an hour ahead, two in summer.
    fn now() -> Zoned {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        "2026-11-22T14:05:30Z".parse::<Timestamp>().unwrap().to_zoned(zone)
    }

    fn parsed(text: &str) -> Result<String, String> {
        let Range { start, end } = parse_time(text, &now())?;
        Ok(format!("{start} {}", end.duration_since(start).as_secs()))
    }

    #[test]
    fn times() {
        for (text, expected) in [
            ("now", "2026-11-22T14:05:30Z 0"),
            ("2026-11-20 14:05", "2026-11-20T13:05:00Z 60"),
            ("2026-11-20T14:05:07", "2026-11-20T13:05:07Z 1"),
            ("2026-11-20 14:05:07.25", "2026-11-20T13:05:07.25Z 0"),
            ("2026-11-20 14:05Z", "2026-11-20T14:05:00Z 60"),
            ("2026-11-20T14:05:00-08:00", "2026-11-20T22:05:00Z 1"),
            ("2026-11-20 14:05 +02:00", "2026-11-20T12:05:00Z 60"),
            ("2026-11-20", "2026-11-19T23:00:00Z 86400"),
            ("2026-10-25", "2026-10-24T22:00:00Z 90000"), // the clocks went back
            ("2026-03-29 02:30", "2026-03-29T01:30:00Z 60"), // there was no such time
            ("14:05", "2026-11-22T13:05:00Z 60"),
            ("7:05", "2026-11-22T06:05:00Z 60"),
            ("yesterday 7:05:09", "2026-11-21T06:05:09Z 1"),
            ("today", "2026-11-21T23:00:00Z 86400"),
            ("yesterday 23:59:59", "2026-11-21T22:59:59Z 1"),
            ("last tuesday 14:05", "2026-11-17T13:05:00Z 60"),
            ("Tue 14:05:07", "2026-11-17T13:05:07Z 1"),
            ("Thursday", "2026-11-18T23:00:00Z 86400"),
            ("sunday 14:05Z", "2026-11-15T14:05:00Z 60"), // today is one
            ("2026-11-20T14:05 +02:00", "2026-11-20T12:05:00Z 60"),
            ("1h30m", "2026-11-22T12:35:30Z 0"),
            ("2 days ago", "2026-11-20T14:05:30Z 0"),
            ("-90s", "2026-11-22T14:04:00Z 0"),
            ("@1700000000", "2023-11-14T22:13:20Z 1"),
        ] {
            assert_eq!(parsed(text), Ok(expected.into()), "{text}");
        }
    }

    #[test]
    fn nonsense() {
        let texts = "| |never|14|1405|2026-11-20 noon|@|@x|1y|h|0s|ago|\
            99999999999999999999d|9999999999999d|14:05 CET|2026-11-20T|é|1hé|today yesterday|last|\
            last 14:05|last today|tuesdays 14:05|tuesday noon|@99999999999999|25.10|32.13.2026";
        for text in texts.split('|') {
            assert_eq!(parsed(text), Err(BAD.into()), "{text}");
        }
    }

    #[test]
    fn the_part_that_is_wrong() {
        for (text, expected) in [
            ("25:99", "there is no time of day 25:99"),
            ("yesterday 24:05", "there is no time of day 24:05"),
            ("2026-02-30", "there is no day 2026-02-30"),
            ("2026-13-01 14:05", "there is no day 2026-13-01"),
            ("2026-02-30T14:05", "there is no day 2026-02-30"),
            ("20-11-2026", "there is no day 20-11-2026 (write YEAR-MONTH-DAY"),
            ("14:05 yesterday", "the day comes first: 'yesterday 14:05'"),
            ("14:05  2026-11-20", "the day comes first: '2026-11-20 14:05'"),
            ("14.05", "a time of day has a colon: 14:05"),
            ("28.11.2026 14:05", "a day is written as 2026-11-28, not 28.11.2026"),
            ("2026.11.28", "a day is written as 2026-11-28, not 2026.11.28"),
            ("tomorrow", "tomorrow is not in the history"),
            ("tomorrow 14:05", "tomorrow is not in the history"),
        ] {
            let fault = parsed(text).unwrap_err();
            assert!(fault.starts_with(expected), "{text}: {fault}");
        }
    }
}
