//! Which devices had an address, and which addresses a device had, from when to when: the picture of a time, and its rows.

use std::{collections::HashMap, net::IpAddr};

use askama::Template;
use aw_output::makers::is_local;
use aw_query::{Answer, Cell, Question, TimeRange};
use axum::{extract::Path, response::Response};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    app::Visit,
    display::{self, device_link, encoded, time_parameter},
    download::{self, Download},
    network::NetworkId,
    pages::{self, Frame, ROWS, remarks::remarks, who::network},
    parameters::{parse_ip, parse_mac},
    problem::Problem,
    timeline::{Span, Timeline, Window, Zoom},
};

const LEFT_OFF: &str = "rows, the first ones, are not shown (choose a shorter time)";

#[derive(Template)]
#[template(path = "periods.html")]
struct PeriodsPage {
    frame: Frame,
    heading: String,
    /// The page of the device, if it is one.
    device: Option<String>,
    /// Name, maker, and what they mean.
    labels: Vec<String>,
    /// The heading of the column with the other ones.
    column: &'static str,
    rows: Vec<PeriodRow>,
    no_match: Option<String>,
    /// Several devices had the address at the same time.
    shared: Option<SharedAddress>,
    remarks: Vec<String>,
    picture: Picture,
    /// All of it as text, to copy.
    evidence: String,
    files: [(&'static str, String); 2],
}

struct PeriodRow {
    other: String,
    link: String,
    /// Its timeline around the last sighting, if the link leads elsewhere.
    timeline: Option<String>,
    name: String,
    first: String,
    last: String,
    count: String,
    network: String,
}

/// An address that several devices of a network had at the same time.
pub struct SharedAddress {
    pub text: String,
    /// What happened with it then.
    pub link: String,
}

impl SharedAddress {
    /// Of the periods of an address; with a MAC, only if it is one of these devices.
    pub fn of(
        (ip, mac): (IpAddr, Option<MacAddr>),
        answer: &Answer,
        zone: &TimeZone,
    ) -> Option<SharedAddress> {
        let table = &answer.table;
        let mac = mac.map(Cell::text);
        let of_row =
            |row: &Vec<Cell>| match ["first_seen", "last_seen"].map(|at| table.cell(row, at)) {
                [Cell::Time(first), Cell::Time(last)] => {
                    Some((NetworkId::of(table, row), *first, *last, table.cell(row, "mac").clone()))
                }
                _ => None,
            };
        // Of each network the period that ends last of those that have begun. Rows are in the order in which they begin.
        let mut open: HashMap<NetworkId, (UnixTime, Cell)> = HashMap::new();
        let mut both: Option<(UnixTime, UnixTime)> = None;
        for (network, first, last, own) in table.rows.iter().filter_map(of_row) {
            let known = open.entry(network).or_insert((first, own.clone()));
            let is_wanted = mac.as_ref().is_none_or(|mac| *mac == own || *mac == known.1);
            if known.0 > first && known.1 != own && is_wanted {
                let end = known.0.min(last);
                both = Some(both.map_or((first, end), |(from, to)| (from.min(first), to.max(end))));
            }
            if known.0 <= last {
                *known = (last, own);
            }
        }
        let (from, to) = both?;
        let [begin, end] = [from, to].map(|time| display::time(time, zone));
        // A link has whole seconds.
        let [after, until] = [from, UnixTime::new(to.seconds().saturating_add(1), 0)];
        Some(SharedAddress {
            text: format!(
                "{ip} was used by several devices at the same time, from {begin} to {end}"
            ),
            link: format!(
                "/happened?text={}&from={}&to={}",
                encoded(&ip.to_string()),
                time_parameter(after),
                time_parameter(until)
            ),
        })
    }
}

/// A timeline with the links around it.
pub struct Picture {
    pub svg: Timeline,
    pub from: String,
    pub to: String,
    /// Zooms, with a link unless it is this one.
    pub zooms: Vec<(&'static str, Option<String>)>,
    pub earlier: String,
    pub later: String,
}

impl Picture {
    /// The devices of an address.
    pub fn of_address(
        ip: IpAddr,
        answer: &Answer,
        times: (Window, Option<UnixTime>),
        zone: &TimeZone,
    ) -> Result<Picture, Problem> {
        let title = format!("Timeline of {ip}: which device had it when");
        let svg = Timeline::new(title, &spans(answer, "mac"), times, "/mac/", zone);
        Ok(Picture::new(svg, times.0, &format!("/ip/{}", encoded(&ip.to_string())), zone))
    }

    /// The addresses of a device.
    pub fn of_mac(
        mac: MacAddr,
        answer: &Answer,
        times: (Window, Option<UnixTime>),
        zone: &TimeZone,
    ) -> Picture {
        let title = format!("Timeline of {mac}: which addresses it had when");
        let svg = Timeline::new(title, &spans(answer, "address"), times, "/ip/", zone);
        Picture::new(svg, times.0, &device_link(&mac.to_string()), zone)
    }

    fn new(svg: Timeline, window: Window, path: &str, zone: &TimeZone) -> Picture {
        let link = |at: UnixTime, zoom: Zoom| {
            format!("{path}?at={}&zoom={}", time_parameter(at), zoom.name())
        };
        let zooms = Zoom::ALL.map(|zoom| {
            let link = (zoom != window.zoom).then(|| link(window.middle(), zoom));
            (zoom.name(), link)
        });
        let [from, to] = [window.from, window.to].map(|time| display::time(time, zone));
        let (earlier, later) = (link(window.from, window.zoom), link(window.to, window.zoom));
        Picture { svg, from, to, zooms: zooms.to_vec(), earlier, later }
    }
}

/// The periods of an answer as spans, by this column.
fn spans(answer: &Answer, lane: &str) -> Vec<Span> {
    let table = &answer.table;
    let of_row = |row: &Vec<Cell>| {
        let times = [table.cell(row, "first_seen"), table.cell(row, "last_seen")];
        let [Cell::Time(first), Cell::Time(last)] = times else { return None };
        let name = display::text(table.cell(row, "name")).or_else(|| display::claim(table, row));
        let name = name.filter(|_| lane == "mac");
        let lane = display::text(table.cell(row, lane))?;
        Some(Span { first: *first, last: *last, lane, name })
    };
    table.rows.iter().filter_map(of_row).collect()
}

/// The times of a page: `at` and `zoom`, or a month until now.
fn window(visit: &mut Visit) -> Result<Window, Problem> {
    let zone = visit.zone.clone();
    let zoom = match visit.parameters.take("zoom") {
        None => None,
        Some(text) => Some(Zoom::parse(&text).ok_or_else(|| {
            Problem::bad(format!("zoom: {text:?} must be year, month, week, day or hour"))
        })?),
    };
    // Of a day, its middle: then the picture shows that day.
    let middle =
        |time: TimeRange| time.from.seconds() + (time.to.seconds() - time.from.seconds()) / 2;
    let at = visit.parameters.take_time("at", &zone)?.map(|time| UnixTime::new(middle(time), 0));
    Ok(match at {
        Some(at) => Window::around(at, zoom.unwrap_or(Zoom::Day)),
        None => Window::until(UnixTime::now(), zoom.unwrap_or(Zoom::Month)),
    })
}

/// What a page is of.
struct Subject {
    heading: String,
    path: String,
    /// The kind of a file of its rows.
    kind: &'static str,
    question: Question,
}

impl Subject {
    /// Either the page of its answer, or a file of it.
    async fn answer(
        &self,
        visit: &Visit,
        file: Option<Download>,
    ) -> Result<Result<Answer, Response>, Problem> {
        let Some(file) = file else { return visit.ask(self.question, ROWS).await.map(Ok) };
        let name = download::name(self.kind, &self.heading);
        visit.file(self.question, file, &name).await.map(Err)
    }

    /// The permanent link, with the times of the picture.
    fn link(&self, window: Window) -> String {
        let Window { zoom, .. } = window;
        format!("{}?at={}&zoom={}", self.path, time_parameter(window.middle()), zoom.name())
    }
}

fn range(window: Window) -> TimeRange {
    TimeRange { from: window.from, to: window.to }
}

pub async fn address(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let ip = parse_ip(&text)?;
    let window = window(&mut visit)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let subject = Subject {
        heading: ip.to_string(),
        path: format!("/ip/{}", encoded(&ip.to_string())),
        kind: "ip",
        question: Question::Ip(ip, range(window), false),
    };
    let answer = match subject.answer(&visit, file).await? {
        Ok(answer) => answer,
        Err(file) => return Ok(file),
    };
    let picture = Picture::of_address(ip, &answer, (window, None), &visit.zone)?;
    let shared = SharedAddress::of((ip, None), &answer, &visit.zone);
    page(&visit, (subject, window), (None, Vec::new(), shared), answer, picture)
}

pub async fn device(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let mac = parse_mac(&text)?;
    let window = window(&mut visit)?;
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let subject = Subject {
        heading: mac.to_string(),
        path: device_link(&mac.to_string()),
        kind: "mac",
        question: Question::Mac(mac, range(window), false),
    };
    let answer = match subject.answer(&visit, file).await? {
        Ok(answer) => answer,
        Err(file) => return Ok(file),
    };
    let picture = Picture::of_mac(mac, &answer, (window, None), &visit.zone);
    let device = Some(subject.path.clone());
    let labels = labels(&visit, mac, &answer);
    page(&visit, (subject, window), (device, labels, None), answer, picture)
}

/// Name and maker of a device, what it calls itself in an answer about it, and what they mean.
pub fn labels(visit: &Visit, mac: MacAddr, answer: &Answer) -> Vec<String> {
    let (name, maker) = visit.app.asker.devices.of(mac);
    let table = &answer.table;
    let claim = table.rows.iter().find_map(|row| {
        let since = match table.cell(row, "name_since") {
            Cell::Time(since) => format!(" since {}", display::day(*since, &visit.zone)),
            _ => String::new(),
        };
        Some(format!("calls itself {}{since}", display::claim(table, row)?))
    });
    let private = "a private MAC, which the device chose itself: it has no maker, and may change";
    let private = is_local(mac).then(|| private.to_owned());
    let own = display::is_own(mac).then(|| "this machine".to_owned());
    let labels = [name, claim, own, maker, private].into_iter().flatten();
    labels.map(|label| aw_service::plain(&label)).collect()
}

fn page(
    visit: &Visit,
    (subject, window): (Subject, Window),
    (device, labels, shared): (Option<String>, Vec<String>, Option<SharedAddress>),
    answer: Answer,
    picture: Picture,
) -> Result<Response, Problem> {
    let (column, lane, link) = match &device {
        None => ("Device", "mac", "/mac/"),
        Some(_) => ("Address", "address", "/ip/"),
    };
    let rows = rows(&answer, lane, link, &visit.zone);
    let path = subject.link(window);
    let remarks = remarks(answer.remarks, &[(answer.left_off, LEFT_OFF)]);
    let of_conflict = shared.iter().map(|shared| &shared.text);
    let evident: Vec<String> = of_conflict.chain(&remarks).cloned().collect();
    let heading = [std::slice::from_ref(&subject.heading), &*labels].concat().join(", ");
    let times = format!("{} to {}", picture.from, picture.to);
    let evidence = evidence((&heading, &times), answer.no_match.as_deref(), &rows, &evident);
    pages::page(&PeriodsPage {
        frame: Frame::new(visit, &subject.heading).at(&path),
        heading: subject.heading,
        device,
        labels,
        column,
        rows,
        no_match: answer.no_match,
        shared,
        remarks,
        picture,
        evidence,
        files: download::links(&path),
    })
}

fn evidence(
    (heading, times): (&str, &str),
    no_match: Option<&str>,
    rows: &[PeriodRow],
    remarks: &[String],
) -> String {
    let mut text = format!("{heading}\n{times}\n");
    text.extend(no_match.map(|why| format!("{why}\n")));
    for PeriodRow { other, name, first, last, count, network, .. } in rows {
        let name = if name.is_empty() { String::new() } else { format!(" {name}") };
        text += &format!(
            "{other}{name}\n  first seen: {first}\n  last seen: {last}\n  sightings: {count}\n  network: {network}\n"
        );
    }
    text.extend(remarks.iter().map(|remark| format!("{remark}\n")));
    text
}

/// The latest ones first.
fn rows(answer: &Answer, column: &str, link: &str, zone: &TimeZone) -> Vec<PeriodRow> {
    let table = &answer.table;
    let of_row = |row: &Vec<Cell>| {
        let cell = |name| display::cell(table.cell(row, name), zone);
        let text = |name| display::text(table.cell(row, name));
        let other = cell(column);
        let path = format!("{link}{}", encoded(&other));
        let timeline = match table.cell(row, "last_seen") {
            Cell::Time(last) => format!("{path}?at={}", time_parameter(*last)),
            _ => path.clone(),
        };
        let is_device = column == "mac";
        PeriodRow {
            link: if is_device { path } else { timeline.clone() },
            timeline: is_device.then_some(timeline),
            other,
            name: text("name")
                .or_else(|| display::claim(table, row))
                .or_else(|| text("maker"))
                .filter(|_| is_device)
                .unwrap_or_default(),
            first: cell("first_seen"),
            last: cell("last_seen"),
            count: cell("count"),
            network: network(answer, row),
        }
    };
    table.rows.iter().rev().map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aw_query::ResultTable;

    /// Devices that had an address one after the other are no conflict, nor are those of two networks.
    #[test]
    fn an_address_of_several_devices() {
        let of = |rows: &[(&str, i64, i64, &str)], mac: Option<&str>| {
            let mut table = ResultTable::default();
            table.columns = vec!["mac", "first_seen", "last_seen", "interface"];
            let time = |seconds| Cell::Time(UnixTime::new(seconds, 0));
            let row = |(mac, first, last, network): &(&str, i64, i64, &str)| {
                vec![Cell::text(mac), time(*first), time(*last), Cell::text(network)]
            };
            table.rows = rows.iter().map(row).collect();
            let (no_match, remarks) = (None, Vec::new());
            let answer = Answer { table, no_match, remarks, left_off: 0, is_complete: true };
            let of = ([10, 0, 0, 1].into(), mac.map(|mac| mac.parse().unwrap()));
            SharedAddress::of(of, &answer, &TimeZone::UTC).map(|shared| (shared.text, shared.link))
        };
        let [a, b, c] = [1, 2, 3].map(|last| format!("02:00:00:00:00:0{last}"));
        let turn =
            [(&*a, 0, 5, "eth0"), (&b, 5, 9, "eth0"), (&c, 6, 7, "eth1"), (&a, 10, 20, "eth0")];
        assert_eq!(of(&turn, None), None);
        let both = [(&*a, 0, 90, "eth0"), (&b, 30, 60, "eth0"), (&c, 100, 101, "eth0")];
        let (text, link) = of(&both, None).unwrap();
        assert_eq!(
            text,
            "10.0.0.1 was used by several devices at the same time, from 1970-01-01 00:00:30 +00:00 to 1970-01-01 00:01:00 +00:00"
        );
        assert_eq!(
            link,
            "/happened?text=10.0.0.1&from=1970-01-01T00%3A00%3A30Z&to=1970-01-01T00%3A01%3A01Z"
        );
        assert!(of(&both, Some(&b)).is_some() && of(&both, Some(&c)).is_none());
    }
}
