//! Local date, hour and minute of an event. On a day of 23 hours one hour has no sightings; on a day of 25 hours two
//! hours have the same number. A day begins where the local date changes, which is not always at 00:00.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use shm_layout::UnixTime;

const MINUTE: i64 = 60;

/// Hour and minute, printed as `HHMM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct HourMinute {
    pub hour: u8,
    pub minute: u8,
}

impl fmt::Display for HourMinute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HourMinute { hour, minute } = *self;
        let digits = [hour / 10 % 10, hour % 10, minute / 10 % 10, minute % 10];
        f.pad(str::from_utf8(&digits.map(|digit| b'0' + digit)).unwrap_or_default())
    }
}

impl FromStr for HourMinute {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = digits::<4>(text)?;
        let [hour, minute] = [digits / 100, digits % 100].map(|number| number as u8);
        if hour < 24 && minute < 60 { Ok(HourMinute { hour, minute }) } else { Err(()) }
    }
}

/// Whether a day may have logs: not if the clock was not set ([`UnixTime::CLOCK_SET`]).
pub fn is_dated(day: Date) -> bool {
    day.year() >= 2020
}

/// Formats a date as `YYYYMMDD`.
pub fn compact(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), date.month(), date.day())
}

/// Parses a date of the form `YYYYMMDD`.
pub fn parse_date(text: &str) -> Option<Date> {
    let number = digits::<8>(text).ok()?;
    let [month, day] = [number / 100 % 100, number % 100].map(|number| number as i8);
    Date::new((number / 10_000) as i16, month, day).ok()
}

fn digits<const N: usize>(text: &str) -> Result<u32, ()> {
    let is_valid = text.len() == N && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_valid).ok_or(())
}

/// A point in time with its local date, hour and minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since 1970. Comparisons use these first: when clocks are set back, the same local hour occurs twice.
    pub seconds: i64,
    pub date: Date,
    pub clock: HourMinute,
}

/// Converts between time and local date. It caches the last minute, because most events are of the same minute.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    last: Option<Moment>,
}

impl Calendar {
    pub fn new(zone: TimeZone) -> Self {
        Calendar { zone, last: None }
    }

    /// Local date, hour and minute of a time.
    pub fn moment(&mut self, time: UnixTime) -> Moment {
        let seconds = time.seconds();
        let same = |last: &Moment| last.seconds.div_euclid(MINUTE) == seconds.div_euclid(MINUTE);
        if let Some(last) = self.last.filter(same) {
            return Moment { seconds, ..last };
        }
        // Every i64 of nanoseconds is within jiff's range.
        let zoned = Timestamp::from_second(seconds).unwrap_or_default().to_zoned(self.zone.clone());
        let clock = HourMinute { hour: zoned.hour() as u8, minute: zoned.minute() as u8 };
        let moment = Moment { seconds, date: zoned.date(), clock };
        self.last = Some(moment);
        moment
    }

    /// The time of a local date, hour and minute; the first one if that hour occurs twice.
    pub fn resolve(&self, date: Date, clock: HourMinute) -> Moment {
        let civil = date.at(clock.hour as i8, clock.minute as i8, 0, 0);
        let zoned = self.zone.to_zoned(civil);
        let seconds = zoned.map(|zoned| zoned.timestamp().as_second()).unwrap_or_default();
        Moment { seconds, date, clock }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(zone: &str) -> Calendar {
        Calendar::new(TimeZone::get(zone).unwrap())
    }

    fn at(calendar: &mut Calendar, time: &str) -> String {
        let time: Timestamp = time.parse().unwrap();
        let moment = calendar.moment(UnixTime::new(time.as_second(), 0));
        assert_eq!(moment.seconds, time.as_second());
        format!("{} {}", compact(moment.date), moment.clock)
    }

    #[test]
    fn days_of_23_and_25_hours() {
        let berlin = &mut calendar("Europe/Berlin");
        for (time, expected) in [
            ("2026-03-28T22:59:59Z", "20260328 2359"),
            ("2026-03-28T23:00:00Z", "20260329 0000"),
            ("2026-03-29T00:59:59Z", "20260329 0159"),
            ("2026-03-29T01:00:00Z", "20260329 0300"), // 02:00 to 02:59 does not exist
            ("2026-03-29T21:59:59Z", "20260329 2359"),
            ("2026-03-29T22:00:00Z", "20260330 0000"),
            ("2026-10-24T22:00:00Z", "20261025 0000"),
            ("2026-10-25T00:30:00Z", "20261025 0230"),
            ("2026-10-25T01:30:00Z", "20261025 0230"), // the second 02:30
            ("2026-10-25T22:59:59Z", "20261025 2359"),
            ("2026-10-25T23:00:00Z", "20261026 0000"),
        ] {
            assert_eq!(at(berlin, time), expected, "{time}");
        }
        // 00:00 to 00:59 does not exist: the day begins at 01:00.
        let cairo = &mut calendar("Africa/Cairo");
        assert_eq!(at(cairo, "2026-04-23T21:59:59Z"), "20260423 2359");
        assert_eq!(at(cairo, "2026-04-23T22:00:00Z"), "20260424 0100");
        assert_eq!(at(&mut calendar("Asia/Kolkata"), "2026-01-01T18:30:00Z"), "20260102 0000");
    }

    #[test]
    fn resolve_is_the_inverse_of_moment() {
        let mut berlin = calendar("Europe/Berlin");
        for clock in ["0000", "0159", "0300", "2359"] {
            let date = parse_date("20260329").unwrap();
            let moment = berlin.resolve(date, clock.parse().unwrap());
            assert_eq!(berlin.moment(UnixTime::new(moment.seconds, 0)), moment);
        }
        for bad in ["", "2400", "1260", "123", "12345", "+123", "-123", "12:3"] {
            assert!(bad.parse::<HourMinute>().is_err(), "{bad}");
        }
        for bad in ["", "20260229", "2026022", "202602280", "2026-2-8", "+2026022"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }
}
