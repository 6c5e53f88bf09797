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
  2026-11-20, 20.11.2026     a day
  14:05, 'yesterday 2:05 pm' a minute of today or yesterday
  now, today, yesterday
  tuesday, 'last tue 14:05'  the last one before today
  90s, 30m, 2h, 1d, 1h30m    before now (also min, hours, days, w, weeks)
  @1700000000                seconds since 1970
A time without an offset is in the time zone of TZ, or else of this machine.";

const BAD: &str = "it must be a time such as '2026-11-20 14:05', 'yesterday 20:00', 14:05 or 2h";

/// Parses a time: a moment, or a second, minute or day as a whole. A moment has the same start and end. The error names the
/// part that is wrong.
pub fn parse_time(text: &str, now: &Zoned) -> Result<Range<Timestamp>, String> {
    read(text, now).ok_or_else(|| fault(text))
}

fn read(text: &str, now: &Zoned) -> Option<Range<Timestamp>> {
    let (typed, text) = (text.trim(), text.trim().to_lowercase());
    if let Some(seconds) = text.strip_prefix('@') {
        let time = Timestamp::from_second(seconds.parse().ok()?);
        return time.map(|time| range(time, 1.second())).ok();
    }
    // 1M is no minute: in other notations it is a month.
    if let Some(then) = ago(typed, now) {
        return Some(range(then.timestamp(), 0.seconds()));
    }
    // The T of 2026-11-20T14:05, not that of Tuesday.
    let after_digit = |at: &usize| text[..*at].ends_with(|c: char| c.is_ascii_digit());
    let cut = text.match_indices('t').map(|(at, _)| at).find(after_digit);
    let (before, after) = cut.map_or((&*text, None), |at| (&text[..at], Some(&text[at + 1..])));
    let words = before.split_whitespace().map(|word| word.trim_end_matches(','));
    let words = words.filter(|word| !["at", "on", ""].contains(word));
    let words: Vec<&str> = words.chain(after).collect();
    let words = match &*words {
        ["last", rest @ ..] if rest.first().is_some_and(|day| weekday(day).is_some()) => rest,
        words => words,
    };
    let (day, time) = match words {
        [day, time @ ..] if let Some(day) = day_of(day, now) => (Some(day), time),
        [time @ .., "last", day] if let Some(day) = weekday(day) => {
            (now.date().nth_weekday(-1, day).ok(), time)
        }
        [time @ .., day] if let Some(day) = day_of(day, now) => (Some(day), time),
        time => (None, time),
    };
    if time.is_empty() {
        return whole_day(day?, now);
    }
    let (time, day) = (time.join(" "), day.unwrap_or_else(|| now.date()));
    let (time, offset) = match time.find(['z', '+', '-']) {
        Some(at) => (&time[..at], Some(&time[at..])),
        None => (&*time, None),
    };
    let (clock, length) = clock_of(time)?;
    let then = match offset {
        Some(offset) => format!("{day}T{clock}{offset}").parse::<Timestamp>(),
        None => {
            day.to_datetime(clock).to_zoned(now.time_zone().clone()).map(|then| then.timestamp())
        }
    };
    then.map(|then| range(then, length)).ok()
}

/// A time of day, and how long it is: `14:05`, `7:05:09`, `2pm`, `2:05 pm`.
fn clock_of(text: &str) -> Option<(civil::Time, jiff::Span)> {
    let halves = [("am", 0), ("a.m.", 0), ("pm", 12), ("p.m.", 12)];
    let half =
        halves.iter().find_map(|(half, hours)| Some((text.trim().strip_suffix(half)?, hours)));
    let (time, half) = half.map_or((text, None), |(time, hours)| (time, Some(hours)));
    let time = time.trim();
    let (hour, rest) = time.split_at(time.find(':').unwrap_or(time.len()));
    let is_hour = hour.bytes().all(|byte| byte.is_ascii_digit());
    let mut hour: u8 = Some(hour).filter(|hour| is_hour && hour.len() <= 2)?.parse().ok()?;
    if let Some(hours) = half {
        hour = Some(hour).filter(|hour| (1..=12).contains(hour))? % 12 + hours;
    }
    let rest = if half.is_some() && rest.is_empty() { ":00" } else { rest };
    let clock = Some(rest).filter(|rest| rest.starts_with(':'));
    let clock = clock.and_then(|rest| format!("{hour:02}{rest}").parse().ok())?;
    let length = match rest.matches(':').count() {
        1 => 1.minute(),
        _ if rest.contains('.') => 0.seconds(),
        _ => 1.second(),
    };
    Some((clock, length))
}

/// Which part of a text is wrong, and how it would be a time: a sentence.
fn fault(text: &str) -> String {
    let text = text.trim().to_lowercase();
    if text.split(' ').any(|word| word == "tomorrow") {
        return format!("tomorrow is not in the history ({BAD})");
    }
    let words: Vec<&str> = text.split([' ', 't']).collect();
    for (at, word) in words.iter().enumerate() {
        let is_date = |between| numbers(word, between).is_some_and(|numbers| numbers.len() == 3);
        if (is_date('-') || is_date('.')) && date_of(word).is_none() {
            return format!(
                "there is no day {word} (write YEAR-MONTH-DAY, as in 2026-11-20, or 20.11.2026)"
            );
        }
        if is_date('/') {
            return format!("a day is written as 2026-11-20 or 20.11.2026, not {word}");
        }
        let half = words.get(at + 1).copied().filter(|word| ["am", "pm"].contains(word));
        let is_half = half.is_some() || word.ends_with("am") || word.ends_with("pm");
        let number = word.trim_end_matches(['a', 'p', 'm']);
        let clock = numbers(number, ':').filter(|numbers| numbers.len() <= 3);
        let time = half.map_or((*word).into(), |half| format!("{word} {half}"));
        if clock.is_some_and(|clock| is_half || clock.len() > 1) && clock_of(&time).is_none() {
            return format!(
                "there is no time of day {time} (write 00:00 to 23:59, or 1am to 12pm)"
            );
        }
    }
    if let Some(clock) = numbers(&text, '.').filter(|numbers| numbers.len() == 2)
        && clock[0] < 24
        && clock[1] < 60
    {
        return format!("a time of day has a colon: {:02}:{:02}", clock[0], clock[1]);
    }
    BAD.into()
}

/// A date: `2026-11-20`, or with the day first and dots, as only one order of it is usual.
fn date_of(word: &str) -> Option<civil::Date> {
    let Some(&[day, month, year]) = numbers(word, '.').as_deref().and_then(|all| all.as_array())
    else {
        return word.contains('-').then(|| word.parse().ok())?;
    };
    let (day, year) = if day > 31 { (year, day) } else { (day, year) };
    Some(year).filter(|year| *year > 999)?;
    format!("{year:04}-{month:02}-{day:02}").parse().ok()
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
        _ => match weekday(text) {
            Some(day) => now.date().nth_weekday(-1, day).ok(),
            None => date_of(text),
        },
    }
}

/// A day of the week, in full or its first three letters.
fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
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
    if text.eq_ignore_ascii_case("now") {
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
            ("Now", "2026-11-22T14:05:30Z 0"),
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
            ("2pm", "2026-11-22T13:00:00Z 60"),
            ("2 PM", "2026-11-22T13:00:00Z 60"),
            ("2:05 pm", "2026-11-22T13:05:00Z 60"),
            ("Yesterday at 2pm", "2026-11-21T13:00:00Z 60"),
            ("12am", "2026-11-21T23:00:00Z 60"),
            ("12:30 p.m.", "2026-11-22T11:30:00Z 60"),
            ("tue 2:05:07pm", "2026-11-17T13:05:07Z 1"),
            ("2026-11-20 2pm +02:00", "2026-11-20T12:00:00Z 60"),
            ("20.11.2026", "2026-11-19T23:00:00Z 86400"),
            ("1.2.2026 14:05", "2026-02-01T13:05:00Z 60"),
            ("2026.11.20 14:05", "2026-11-20T13:05:00Z 60"),
            ("14:05 yesterday", "2026-11-21T13:05:00Z 60"),
            ("2 pm on 2026-11-20", "2026-11-20T13:00:00Z 60"),
            ("2:05pm last Tuesday", "2026-11-17T13:05:00Z 60"),
            ("last Tuesday, 7:05", "2026-11-17T06:05:00Z 60"),
            ("on tuesday at 7:05", "2026-11-17T06:05:00Z 60"),
        ] {
            assert_eq!(parsed(text), Ok(expected.into()), "{text}");
        }
    }

    #[test]
    fn nonsense() {
        let texts = "| |never|14|1405|2026-11-20 noon|@|@x|1y|h|0s|ago|\
            99999999999999999999d|9999999999999d|14:05 CET|2026-11-20T|é|1hé|today yesterday|last|\
            last 14:05|last today|tuesdays 14:05|tuesday noon|@99999999999999|25.10|pm|at|on|2:05 pm pm|1M|3M ago|\
            14:05 last|yesterday 14:05 today";
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
            ("yesterday 14pm", "there is no time of day 14pm (write 00:00 to 23:59, or 1am to"),
            ("13:05 pm", "there is no time of day 13:05 pm (write"),
            ("0am", "there is no time of day 0am"),
            ("14.05", "a time of day has a colon: 14:05"),
            ("32.13.2026", "there is no day 32.13.2026 (write"),
            ("30.02.2026 14:05", "there is no day 30.02.2026 (write"),
            ("28.11.26", "there is no day 28.11.26 (write"),
            ("11/28/2026", "a day is written as 2026-11-20 or 20.11.2026, not 11/28/2026"),
            ("tomorrow", "tomorrow is not in the history (it must be a time such as"),
            ("tomorrow 14:05", "tomorrow is not in the history"),
        ] {
            let fault = parsed(text).unwrap_err();
            assert!(fault.starts_with(expected), "{text}: {fault}");
        }
    }
}
