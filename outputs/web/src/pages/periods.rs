//! Which devices had an address, and which addresses a device had, from when to when: the picture of a time, and its rows.

use std::net::IpAddr;

use askama::Template;
use aw_output::makers::is_local;
use aw_query::{Answer, Cell, Listed, Question, ResultTable, TimeRange};
use axum::{extract::Path, response::Response};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    app::Visit,
    display::{self, device_link, encoded, time_parameter},
    download::{self, Download},
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
    /// Two devices claimed the address in turn.
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

/// An address that two devices of a network claimed in turn.
pub struct SharedAddress {
    pub text: String,
    /// What happened with it then.
    pub link: String,
}

impl SharedAddress {
    /// Of the answer about an address; with a MAC, only if it is one of these devices.
    pub fn of(
        (ip, mac): (IpAddr, Option<MacAddr>),
        table: &ResultTable,
        zone: &TimeZone,
    ) -> Option<SharedAddress> {
        let (from, to) = table.in_turn(mac)?;
        // A link has whole seconds.
        let until = UnixTime::new(to.seconds().saturating_add(1), 0);
        let [from, until] = [from, until].map(time_parameter);
        Some(SharedAddress {
            text: format!("{ip}: {}", table.in_turn_text(mac, zone)?),
            link: format!("/happened?text={}&from={from}&to={until}", encoded(&ip.to_string())),
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
    let shared = SharedAddress::of((ip, None), &answer.table, &visit.zone);
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
        question: Question::Mac(mac, range(window), Listed::Periods),
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
            Cell::Time(since) => format!(" since {}", display::time(*since, &visit.zone)),
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
    use aw_output::{makers::Makers, names::LiveNames};
    use aw_query::{Devices, History};
    use std::{path::Path, time::Duration};

    /// The page of an address has what the library finds, with a link to these times; that of another device has nothing of it.
    #[test]
    fn an_address_of_two_devices() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.db");
        let mut tables = "
            PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
            CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
            CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER);
            CREATE TABLE sighting (pairing, time, origin, again, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
            INSERT INTO place VALUES (1, 'here', '/addrwatch', 'eth0', 0, 0, '');
            INSERT INTO pairing VALUES (1, x'0a000001', 1, 1, -1), (2, x'0a000001', 2, 1, -1);"
            .to_owned();
        for (number, mac) in [1, 2, 1, 2, 1, 2, 1].into_iter().enumerate() {
            let time = 1_795_183_200 + 150 * number;
            tables += &format!("INSERT INTO sighting VALUES ({mac}, {time}000000000, 1, 0);");
        }
        rusqlite::Connection::open(&path).unwrap().execute_batch(&tables).unwrap();
        let history =
            History::named(path.to_str(), None, &"".parse().unwrap(), &Default::default()).unwrap();
        let devices = Devices::new(LiveNames::default(), Makers::new(Path::new("/nonexistent")));
        let ip = IpAddr::from([10, 0, 0, 1]);
        let question = Question::Ip(ip, TimeRange::ALL, false);
        let limits = (Duration::from_secs(60), ROWS);
        let answer = history.ask(&question, &devices, &TimeZone::UTC, limits);
        let Ok(Answer { table, .. }) = answer else { panic!("no answer") };
        let of = |mac: Option<&str>| {
            let mac = mac.map(|mac| mac.parse().unwrap());
            SharedAddress::of((ip, mac), &table, &TimeZone::UTC).map(|one| (one.text, one.link))
        };
        let (text, link) = of(None).unwrap();
        assert_eq!(
            text,
            "10.0.0.1: two MACs claimed it in turn: 00:00:00:00:00:01 and 00:00:00:00:00:02 from 2026-11-20 14:02:30 +00:00 to 2026-11-20 14:12:30 +00:00"
        );
        assert_eq!(
            link,
            "/happened?text=10.0.0.1&from=2026-11-20T14%3A02%3A30Z&to=2026-11-20T14%3A12%3A31Z"
        );
        assert!(of(Some("00:00:00:00:00:02")).is_some() && of(Some("00:00:00:00:00:03")).is_none());
    }
}
