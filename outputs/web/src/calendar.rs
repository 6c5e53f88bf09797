//! A calendar of days and hours as SVG: when a device was seen. The template escapes all text. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use shm_layout::UnixTime;

use crate::display::{time_parameter, zoned};

/// Days of a calendar.
pub const DAYS: usize = 35;

/// The size of the picture, in its own units; the style sheet scales it.
const LABELS: usize = 104;
const HOUR: usize = 25;
const ROW: usize = 22;
const AXIS: usize = 24;

/// A calendar.
#[derive(Template, Debug)]
#[template(path = "calendar.svg")]
pub struct Calendar {
    title: String,
    width: usize,
    height: usize,
    hours: Vec<Hour>,
    pub days: Vec<Day>,
}

#[derive(Debug)]
struct Hour {
    x: usize,
    label: String,
    /// Days on which the device was seen in this hour.
    days: usize,
}

/// A day, which may have no hour.
#[derive(Debug)]
pub struct Day {
    y: usize,
    /// Without the year.
    short: String,
    pub label: String,
    pub link: String,
    /// The hours as text.
    pub text: String,
    boxes: Vec<HourBox>,
}

/// Hours one after the other in which the device was seen as often.
#[derive(Debug)]
struct HourBox {
    x: usize,
    width: usize,
    /// The darker, the more quarters of the hour.
    opacity: &'static str,
    title: String,
}

impl Calendar {
    /// Of the quarters of an hour in which a device was seen, until this day, the latest day first. `path` is its page; `none` are the words for
    /// a day without one.
    pub fn new(
        (title, none): (String, &str),
        quarters: impl IntoIterator<Item = UnixTime>,
        last: Date,
        path: &str,
        zone: &TimeZone,
    ) -> Calendar {
        let mut seen: BTreeMap<(Date, i8), BTreeSet<i64>> = BTreeMap::new();
        for quarter in quarters {
            let time = zoned(quarter, zone);
            seen.entry((time.date(), time.hour())).or_default().insert(quarter.seconds());
        }
        let dates = (0..DAYS).map_while(|ago| last.checked_sub((ago as i64).days()).ok());
        let days: Vec<Day> = dates
            .enumerate()
            .map(|(row, date)| day(row, date, &seen, (path, none), zone))
            .collect();
        let first = last.saturating_sub((DAYS as i64 - 1).days());
        let hours = (0..24_i8).map(|hour| Hour {
            x: x(hour) + HOUR / 2,
            label: format!("{hour:02}"),
            days: seen
                .keys()
                .filter(|(date, at)| *at == hour && (first..=last).contains(date))
                .count(),
        });
        let height = AXIS + ROW * (days.len() + 1) + 6;
        Calendar { title, width: LABELS + 24 * HOUR, height, hours: hours.collect(), days }
    }

    /// The place of the last row, which counts the days of each hour.
    fn sum(&self) -> usize {
        AXIS + ROW * self.days.len()
    }
}

fn x(hour: i8) -> usize {
    LABELS + usize::from(hour.unsigned_abs()) * HOUR
}

fn day(
    row: usize,
    date: Date,
    seen: &BTreeMap<(Date, i8), BTreeSet<i64>>,
    (path, none): (&str, &str),
    zone: &TimeZone,
) -> Day {
    let [label, short] = ["%a %Y-%m-%d", "%a %m-%d"].map(|form| date.strftime(form).to_string());
    // From an hour to another one; and those of them with so many quarters in each.
    let mut spans: Vec<(i8, i8)> = Vec::new();
    let mut equal: Vec<(i8, i8, usize)> = Vec::new();
    for ((_, hour), quarters) in seen.range((date, 0)..=(date, 23)) {
        let quarters = quarters.len().clamp(1, 4);
        match spans.last_mut() {
            Some((_, to)) if to == hour => *to += 1,
            _ => spans.push((*hour, hour + 1)),
        }
        match equal.last_mut() {
            Some((_, to, known)) if (*to, *known) == (*hour, quarters) => *to += 1,
            _ => equal.push((*hour, hour + 1, quarters)),
        }
    }
    let of_box = |(from, to, quarters): (i8, i8, usize)| {
        let hours = match to - from {
            1 => format!("{from:02}:00:"),
            _ => format!("{from:02}:00 to {to:02}:00: in each hour"),
        };
        let title = format!("{label} {hours} seen in {quarters} of 4 quarter hours");
        let opacity = ["0.3", "0.5", "0.75", "1"][quarters - 1];
        HourBox { x: x(from), width: x(to) - x(from) - 1, opacity, title }
    };
    let boxes: Vec<HourBox> = equal.into_iter().map(of_box).collect();
    let spans = spans.iter().map(|(from, to)| format!("{from:02}–{to:02} h"));
    let text = match boxes.is_empty() {
        true => none.into(),
        false => spans.collect::<Vec<_>>().join(", "),
    };
    let noon = date.at(12, 0, 0, 0).to_zoned(zone.clone());
    let noon = noon.map_or(0, |noon| noon.timestamp().as_second());
    let link = format!("{path}?at={}&zoom=day", time_parameter(UnixTime::new(noon, 0)));
    Day { y: AXIS + row * ROW, short, label, link, text, boxes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    const MIDNIGHT: i64 = 1_795_132_800; // 2026-11-20 00:00 UTC, a Friday

    fn calendar(quarters: &[i64], zone: &TimeZone) -> Calendar {
        let quarters = quarters.iter().map(|number| UnixTime::new(MIDNIGHT + number * 900, 0));
        Calendar::new(("When".into(), "not seen"), quarters, date(2026, 11, 21), "/mac/a", zone)
    }

    #[test]
    fn days_and_hours() {
        let drawn = calendar(&[0, 1, 2, 3, 4, 40, -1, -96], &TimeZone::UTC);
        let texts: Vec<_> = drawn.days[..4].iter().map(|day| (&*day.label, &*day.text)).collect();
        assert_eq!(
            texts,
            [
                ("Sat 2026-11-21", "not seen"),
                ("Fri 2026-11-20", "00–02 h, 10–11 h"),
                ("Thu 2026-11-19", "00–01 h, 23–24 h"),
                ("Wed 2026-11-18", "not seen"),
            ]
        );
        let opacities: Vec<_> = drawn.days[1].boxes.iter().map(|one| one.opacity).collect();
        assert_eq!(opacities, ["1", "0.3", "0.3"]);
        assert_eq!(drawn.days.len(), DAYS);
        assert_eq!((drawn.hours[0].days, drawn.hours[1].days, drawn.hours[2].days), (2, 1, 0));
        assert_eq!(drawn.days[1].link, "/mac/a?at=2026-11-20T12%3A00%3A00Z&zoom=day");
        let svg = drawn.render().unwrap();
        assert_eq!(svg.matches("<rect").count(), 5);
    }

    /// A day of a device that is always there is one box.
    #[test]
    fn few_boxes() {
        let size = |quarters: &[i64]| {
            let svg = calendar(quarters, &TimeZone::UTC).render().unwrap();
            (svg.matches("<rect").count(), svg.len())
        };
        let always: Vec<i64> = (-40 * 96..96).collect();
        let (boxes, bytes) = size(&always);
        assert!(boxes == DAYS - 1 && bytes < 20_000, "{boxes} {bytes}");
        let drawn = calendar(&always, &TimeZone::UTC);
        assert_eq!(
            drawn.days[1].boxes[0].title,
            "Fri 2026-11-20 00:00 to 24:00: in each hour seen in 4 of 4 quarter hours"
        );
        // Once, then in two quarters of an hour, and so on: no hour is like the one before.
        let all = (-40 * 24..24).flat_map(|hour| [4 * hour, 4 * hour + hour % 2]);
        let (boxes, bytes) = size(&all.collect::<Vec<_>>());
        assert!(boxes == 24 * (DAYS - 1) && bytes < 130_000, "{boxes} {bytes}");
    }

    /// The hours are those of the zone, also of one that is not a whole number of hours away.
    #[test]
    fn hours_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(5 * 3600 + 1800).unwrap());
        let drawn = calendar(&[0, 2], &zone); // 05:30 and 06:00
        assert_eq!(drawn.days[1].text, "05–07 h");
        for last in [Date::MIN, Date::MAX] {
            Calendar::new((String::new(), "not seen"), [], last, "/mac/a", &zone).render().unwrap();
        }
    }
}
