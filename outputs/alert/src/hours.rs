//! The hours and days at which a channel is open, in local time. The time is an argument.

use jiff::{Zoned, civil::Weekday};
use serde::Deserialize;

/// Hours of a day, in minutes since midnight; `to` may be on the next day.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct Hours {
    from: u16,
    to: u16,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What happens to alerts outside of the hours.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// They are in the digest that is sent when the hours begin.
    #[default]
    Digest,
    Ignore,
}

impl TryFrom<String> for Hours {
    type Error = String;
    fn try_from(text: String) -> Result<Hours, String> {
        let time = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            let number = |text: &str| is_number(text).then(|| text.parse::<u16>().ok()).flatten();
            let (hour, minute) = match (hour.len(), minute.len()) {
                (1 | 2, 2) => (number(hour)?, number(minute)?),
                _ => return None,
            };
            (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 60 + minute)
        };
        let both = text.split_once('-').and_then(|(from, to)| Some((time(from)?, time(to)?)));
        match both {
            Some((from, to)) if from != to && from < 24 * 60 => Ok(Hours { from, to }),
            _ => Err(format!("{text:?}: must be hours such as \"08:00-18:00\" or \"22:00-06:00\"")),
        }
    }
}

/// Whether `now` is within the hours and days. Hours across midnight belong to the day on which they begin.
pub fn is_open(hours: Option<Hours>, days: Option<&[Day]>, now: &Zoned) -> bool {
    let Hours { from, to } = hours.unwrap_or(Hours { from: 0, to: 24 * 60 });
    let minute = now.hour() as u16 * 60 + now.minute() as u16;
    let on = |day: Weekday| days.is_none_or(|days| days.iter().any(|one| one.is(day)));
    let (today, yesterday) = (now.weekday(), now.weekday().previous());
    if from < to {
        on(today) && (from..to).contains(&minute)
    } else {
        (on(today) && minute >= from) || (on(yesterday) && minute < to)
    }
}

impl Day {
    fn is(self, day: Weekday) -> bool {
        self as i8 == day.to_monday_zero_offset()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Hours {
        Hours::try_from(text.to_owned()).unwrap()
    }

    fn open(hours: Option<Hours>, days: Option<&[Day]>, at: &str) -> bool {
        is_open(hours, days, &format!("2026-{at}[Europe/Berlin]").parse().unwrap())
    }

    #[test]
    fn by_day_and_by_night() {
        let (day, night) = (Some(hours("08:00-18:00")), Some(hours("22:00-06:00")));
        for (at, in_day, in_night) in [
            ("11-22T07:59:59", false, false),
            ("11-22T08:00:00", true, false),
            ("11-22T17:59:59", true, false),
            ("11-22T18:00:00", false, false),
            ("11-22T22:00:00", false, true),
            ("11-23T00:00:00", false, true),
            ("11-23T05:59:59", false, true),
            ("11-23T06:00:00", false, false),
            // The night with an hour twice, and the one without an hour.
            ("10-25T02:30:00+02:00", false, true),
            ("10-25T02:30:00+01:00", false, true),
            ("03-29T03:00:00+02:00", false, true),
        ] {
            assert_eq!((open(day, None, at), open(night, None, at)), (in_day, in_night), "{at}");
        }
        assert!(open(Some(hours("18:00-24:00")), None, "11-22T23:59:59"));
        assert!(open(None, None, "11-22T23:59:59"));
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let (night, friday) = (Some(hours("22:00-06:00")), Some(&[Day::Fri][..]));
        for (at, expected) in [
            ("11-20T05:00:00", false), // Friday, but Thursday's night
            ("11-20T23:00:00", true),
            ("11-21T05:00:00", true),
            ("11-21T23:00:00", false),
        ] {
            assert_eq!(open(night, friday, at), expected, "{at}");
        }
        let weekend = Some(&[Day::Sat, Day::Sun][..]);
        assert!(open(None, weekend, "11-22T12:00:00") && !open(None, weekend, "11-23T00:00:00"));
    }

    #[test]
    fn bad_hours() {
        for bad in [
            "",
            "8-18",
            "08:00",
            "08:00-08:00",
            "08:60-09:00",
            "24:00-06:00",
            "00:00-24:01",
            "-1:00-+2:00",
        ] {
            assert!(Hours::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
