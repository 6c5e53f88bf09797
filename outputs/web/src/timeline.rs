//! A timeline as SVG: lanes with spans, each a link, and the ticks of its time axis. The template escapes all text. No I/O and no
//! clock.

use askama::Template;
use jiff::{SignedDuration, ToSpan, Zoned, civil::time, tz::TimeZone};
use shm_layout::UnixTime;

use crate::display::{encoded, time_parameter, zoned};

/// The size of the picture, in its own units; the style sheet scales it.
const WIDTH: i64 = 1000;
const MARGIN: i64 = 20;
const LANE: i64 = 48;
const AXIS: i64 = 24;
/// The narrowest span. What is nearer together in a lane is one span.
const NARROWEST: i64 = 3;
/// Lanes, and spans in all, at most.
const LANES: usize = 40;
const SPANS: usize = 2000;
/// Colours of the style sheet.
const COLOURS: usize = 8;
/// Characters of a lane's label: as many as a phone shows of a picture that is wider than its screen.
const LABEL: usize = 48;

/// How much time a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zoom {
    Hour,
    Day,
    Week,
    Month,
    Year,
}

impl Zoom {
    pub const ALL: [Zoom; 5] = [Zoom::Year, Zoom::Month, Zoom::Week, Zoom::Day, Zoom::Hour];

    pub fn name(self) -> &'static str {
        match self {
            Zoom::Hour => "hour",
            Zoom::Day => "day",
            Zoom::Week => "week",
            Zoom::Month => "month",
            Zoom::Year => "year",
        }
    }

    pub fn parse(text: &str) -> Option<Zoom> {
        Zoom::ALL.into_iter().find(|zoom| zoom.name() == text)
    }

    fn seconds(self) -> i64 {
        let days = |days: i64| days * 86_400;
        match self {
            Zoom::Hour => 3600,
            Zoom::Day => days(1),
            Zoom::Week => days(7),
            Zoom::Month => days(31),
            Zoom::Year => days(366),
        }
    }

    /// The next smaller one.
    pub fn nearer(self) -> Zoom {
        let at = Zoom::ALL.iter().position(|zoom| *zoom == self).unwrap_or(0);
        Zoom::ALL.get(at + 1).copied().unwrap_or(Zoom::Hour)
    }

    /// The ticks of its axis: the first one after a time, those after it, and their labels.
    fn ticks(self, from: &Zoned) -> Option<(Zoned, jiff::Span, &'static str)> {
        let midnight = from.with().time(time(0, 0, 0, 0)).build().ok()?;
        let hour = from.with().minute(0).second(0).subsec_nanosecond(0).build().ok()?;
        Some(match self {
            Zoom::Hour => (hour, 10.minutes(), "%H:%M"),
            Zoom::Day => (midnight, 3.hours(), "%H:%M"),
            Zoom::Week => (midnight, 1.day(), "%a %d"),
            Zoom::Month => (midnight, 3.days(), "%m-%d"),
            Zoom::Year => (midnight.first_of_month().ok()?, 1.month(), "%Y-%m"),
        })
    }
}

/// The times of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: UnixTime,
    pub to: UnixTime,
    pub zoom: Zoom,
}

impl Window {
    /// Around a time.
    pub fn around(at: UnixTime, zoom: Zoom) -> Window {
        let half = zoom.seconds() / 2;
        let limit = i64::MAX / 1_000_000_000 - 2 * half;
        let at = at.seconds().clamp(half - limit, limit);
        let (from, to) = (UnixTime::new(at - half, 0), UnixTime::new(at + half, 0));
        Window { from, to, zoom }
    }

    /// Until a time, with a little room after it.
    pub fn until(at: UnixTime, zoom: Zoom) -> Window {
        let room = zoom.seconds() / 2 - zoom.seconds() / 40;
        Window::around(UnixTime::new(at.seconds().saturating_sub(room), 0), zoom)
    }

    pub fn middle(&self) -> UnixTime {
        UnixTime::new(self.from.seconds() + (self.to.seconds() - self.from.seconds()) / 2, 0)
    }

    /// The place of a time between the left and the right side.
    fn x(&self, time: UnixTime) -> i64 {
        let (from, to) = (i128::from(self.from.as_nanos()), i128::from(self.to.as_nanos()));
        let part = i128::from(time.as_nanos()) - from;
        let width = WIDTH - 2 * MARGIN;
        let x = part * i128::from(width) / (to - from).max(1);
        x.clamp(0, width.into()) as i64 + MARGIN
    }
}

/// A time in which one had the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: UnixTime,
    pub last: UnixTime,
    /// Its lane: a MAC, or an address.
    pub lane: String,
    /// What the lane is called beside that.
    pub name: Option<String>,
}

/// A picture.
#[derive(Template, Debug)]
#[template(path = "timeline.svg")]
pub struct Timeline {
    title: String,
    width: i64,
    height: i64,
    ticks: Vec<Tick>,
    lanes: Vec<Lane>,
    /// The place of the time in question.
    at: Option<(i64, String)>,
    /// Lanes that are not shown.
    pub left_off: usize,
}

#[derive(Debug)]
struct Tick {
    x: i64,
    label: String,
}

#[derive(Debug)]
struct Lane {
    y: i64,
    /// The label is above that bar which is seen first: its place, and which end of it that is.
    x: i64,
    anchor: &'static str,
    label: String,
    title: String,
    link: String,
    colour: usize,
    bars: Vec<Bar>,
}

#[derive(Debug)]
struct Bar {
    x: i64,
    width: i64,
    link: String,
    title: String,
}

impl Timeline {
    /// A picture of these spans. `link` is the path of a lane's page, which ends with a slash.
    pub fn new(
        title: String,
        spans: &[Span],
        (window, at): (Window, Option<UnixTime>),
        link: &str,
        zone: &TimeZone,
    ) -> Timeline {
        let mut names: Vec<&str> = Vec::new();
        // The latest ones first, as the reader asks who has it.
        for span in spans.iter().rev() {
            if !names.contains(&&*span.lane) && names.len() <= LANES + 1000 {
                names.push(&span.lane);
            }
        }
        let left_off = names.len().saturating_sub(LANES);
        names.truncate(LANES);
        let mut budget = SPANS;
        let at = at.filter(|at| *at >= window.from && *at <= window.to);
        let at = at.map(|at| (window.x(at), crate::display::time(at, zone)));
        // A phone shows the time in question first, or the end.
        let seen = at.as_ref().map_or(WIDTH - MARGIN, |(x, _)| *x);
        let lanes = names.iter().enumerate().map(|(row, name)| {
            let of_lane: Vec<&Span> = spans.iter().filter(|span| span.lane == **name).collect();
            let known = of_lane.iter().find_map(|span| span.name.as_deref());
            let label = known.map_or(name.to_string(), |known| format!("{known} {name}"));
            let bars = bars((&of_lane, &label), window, link, zone, &mut budget);
            let places = bars.iter().map(|bar| seen.clamp(bar.x, bar.x + bar.width));
            let x = places.min_by_key(|x| (x - seen).abs()).unwrap_or(seen);
            Lane {
                y: AXIS + row as i64 * LANE,
                x,
                anchor: if x > WIDTH / 2 { "end" } else { "start" },
                label: shortened(known.unwrap_or(name)),
                title: label.clone(),
                // A device has one page, an address one for each time.
                link: match link {
                    "/mac/" => format!("{link}{}", encoded(name)),
                    _ => format!("{link}{}?at={}", encoded(name), time_parameter(window.middle())),
                },
                colour: row % COLOURS,
                bars,
            }
        });
        let lanes: Vec<Lane> = lanes.collect();
        let height = AXIS + lanes.len().max(1) as i64 * LANE + 6;
        Timeline { title, width: WIDTH, height, ticks: ticks(window, zone), lanes, at, left_off }
    }
}

fn bars(
    (spans, label): (&[&Span], &str),
    window: Window,
    link: &str,
    zone: &TimeZone,
    budget: &mut usize,
) -> Vec<Bar> {
    let mut bars: Vec<(i64, i64, UnixTime, UnixTime, usize)> = Vec::new();
    let visible = spans.iter().filter(|span| span.last >= window.from && span.first < window.to);
    for span in visible {
        let (x, end) = (window.x(span.first), window.x(span.last));
        let end = end.max(x + NARROWEST).min(WIDTH - MARGIN);
        let x = x.min(WIDTH - MARGIN - NARROWEST);
        match bars.last_mut() {
            Some((_, last_end, _, last, count)) if x <= *last_end + 1 => {
                *last_end = end.max(*last_end);
                *last = span.last.max(*last);
                *count += 1;
            }
            _ if *budget == 0 => {}
            _ => {
                *budget -= 1;
                bars.push((x, end, span.first, span.last, 1));
            }
        }
    }
    let bar = |(x, end, first, last, count): (i64, i64, UnixTime, UnixTime, usize)| {
        let middle = UnixTime::new(first.seconds() + (last.seconds() - first.seconds()) / 2, 0);
        let lane = spans.first().map_or("", |span| &span.lane);
        let [from, to] = [first, last].map(|time| crate::display::time(time, zone));
        let several = if count > 1 { format!(", {count} times") } else { String::new() };
        let zoom = window.zoom.nearer().name();
        Bar {
            x,
            width: end - x,
            link: format!("{link}{}?at={}&zoom={zoom}", encoded(lane), time_parameter(middle)),
            title: format!("{label}: {from} to {to}{several}"),
        }
    };
    bars.into_iter().map(bar).collect()
}

fn ticks(window: Window, zone: &TimeZone) -> Vec<Tick> {
    const MOST: usize = 40;
    let Some((first, step, format)) = window.zoom.ticks(&zoned(window.from, zone)) else {
        return Vec::new();
    };
    let end = zoned(window.to, zone);
    let mut ticks = Vec::new();
    let times = (0..).map_while(|number| first.checked_add(step.checked_mul(number).ok()?).ok());
    for tick in times.take_while(|tick| *tick < end).take(2 * MOST) {
        let since: SignedDuration = tick.timestamp().as_duration();
        let at = UnixTime::new(since.as_secs(), 0);
        // The label of one at the end would not be seen.
        if at >= window.from && window.x(at) <= WIDTH - 30 {
            ticks.push(Tick { x: window.x(at), label: tick.strftime(format).to_string() });
        }
    }
    ticks.truncate(MOST);
    ticks
}

fn shortened(text: &str) -> String {
    match text.chars().count() > LABEL {
        true => text.chars().take(LABEL - 1).chain(['…']).collect(),
        false => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_764_000_000; // 2025-11-24 16:00:00 UTC

    fn span(lane: &str, first: i64, last: i64) -> Span {
        let [first, last] = [first, last].map(|seconds| UnixTime::new(AT + seconds, 0));
        Span { first, last, lane: lane.into(), name: None }
    }

    fn picture(spans: &[Span], zoom: Zoom) -> Timeline {
        let at = UnixTime::new(AT, 0);
        Timeline::new(
            "Who".into(),
            spans,
            (Window::around(at, zoom), Some(at)),
            "/mac/",
            &TimeZone::UTC,
        )
    }

    #[test]
    fn places() {
        let drawn = picture(&[span("a", -900, 900), span("b", 900, 901)], Zoom::Hour);
        let places: Vec<_> =
            drawn.lanes.iter().flat_map(|lane| &lane.bars).map(|bar| (bar.x, bar.width)).collect();
        // The latest lane first; an hour has 960 units.
        assert_eq!(places, [(740, 3), (260, 480)]);
        assert_eq!(drawn.at.as_ref().unwrap().0, 500);
        assert_eq!(drawn.lanes[0].y, AXIS);
        assert_eq!(drawn.lanes[1].y, AXIS + LANE);
    }

    /// Spans of less than a unit are one; what lies outside is cut off.
    #[test]
    fn near_spans_are_one() {
        let many: Vec<_> = (0..1000).map(|n| span("a", n, n)).collect();
        let drawn = picture(&many, Zoom::Year);
        assert_eq!(drawn.lanes[0].bars.len(), 1);
        assert!(drawn.lanes[0].bars[0].title.ends_with(", 1000 times"));
        let outside =
            picture(&[span("a", -90_000, -80_000), span("b", -90_000, 90_000)], Zoom::Hour);
        let bars: Vec<_> = outside.lanes.iter().map(|lane| lane.bars.len()).collect();
        assert_eq!(bars, [1, 0]);
        assert_eq!(
            (outside.lanes[0].bars[0].x, outside.lanes[0].bars[0].width),
            (MARGIN, WIDTH - 2 * MARGIN)
        );
    }

    /// A label is above the part of its bars that a phone shows first: at the time in question, or at the end.
    #[test]
    fn labels_are_where_one_looks() {
        let spans = [span("a", -900, 900), span("b", -1700, -1690), span("b", 1000, 1001)];
        let labels = |drawn: Timeline| {
            drawn.lanes.into_iter().map(|lane| (lane.x, lane.anchor)).collect::<Vec<_>>()
        };
        assert_eq!(labels(picture(&spans, Zoom::Hour)), [(766, "end"), (500, "start")]);
        let window = Window::around(UnixTime::new(AT, 0), Zoom::Hour);
        let drawn = Timeline::new("Who".into(), &spans, (window, None), "/mac/", &TimeZone::UTC);
        assert_eq!(labels(drawn), [(769, "end"), (740, "end")]);
    }

    #[test]
    fn sizes_are_bounded() {
        let lanes: Vec<_> = (0..100).map(|n| span(&format!("lane{n}"), 0, 10)).collect();
        let drawn = picture(&lanes, Zoom::Day);
        assert_eq!((drawn.lanes.len(), drawn.left_off), (LANES, 60));
        let spans: Vec<_> =
            (0..500_000i64).map(|n| span(&format!("lane{}", n % 40), n * 60, n * 60)).collect();
        let text = picture(&spans, Zoom::Year).render().unwrap();
        assert!(text.len() < 3_000_000, "{}", text.len());
    }

    #[test]
    fn ticks_of_each_zoom() {
        for (zoom, first, number) in [
            (Zoom::Hour, "15:30", 6),
            (Zoom::Day, "06:00", 8),
            (Zoom::Week, "Sat 22", 7),
            (Zoom::Month, "11-12", 10),
            (Zoom::Year, "2025-06", 12),
        ] {
            let ticks = picture(&[], zoom).ticks;
            assert_eq!((&*ticks[0].label, ticks.len()), (first, number), "{zoom:?} {ticks:?}");
        }
        for at in [i64::MIN, i64::MAX, 0] {
            for zoom in Zoom::ALL {
                let window = Window::around(UnixTime::from_nanos(at), zoom);
                Timeline::new(String::new(), &[], (window, None), "/", &TimeZone::UTC)
                    .render()
                    .unwrap();
                assert!(window.from < window.to);
            }
        }
    }

    /// Each text of the network is escaped, and in a link encoded.
    #[test]
    fn hostile_labels() {
        let hostile = "\"><script>alert(1)</script>&'";
        let name = Some("</text><a href='javascript:x'>".to_owned());
        let drawn = picture(&[Span { name, ..span(hostile, 0, 60) }], Zoom::Hour).render().unwrap();
        for bad in ["<script", "</text><a href='java", "alert(1)</script>"] {
            assert!(!drawn.contains(bad), "{bad}: {drawn}");
        }
        assert!(drawn.contains("/mac/%22%3E%3Cscript%3E"), "{drawn}");
        assert_eq!(drawn.matches("<a ").count(), 2);
    }

    #[test]
    fn zooms() {
        assert_eq!(Zoom::parse("week"), Some(Zoom::Week));
        assert_eq!(Zoom::parse("decade"), None);
        assert_eq!((Zoom::Year.nearer(), Zoom::Hour.nearer()), (Zoom::Month, Zoom::Hour));
    }
}
