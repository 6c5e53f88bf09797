//! Which devices had an address, and which addresses a device had, from when to when: the picture of a time, and its rows.

use std::net::IpAddr;

use askama::Template;
use aw_output::makers::is_local;
use aw_query::{Answer, Cell, Question, TimeRange};
use axum::{extract::Path, response::Response};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    app::Visit,
    display::{self, encoded, time_parameter},
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
    /// Name, maker, and what they mean.
    labels: Vec<String>,
    /// The heading of the column with the other ones.
    column: &'static str,
    rows: Vec<PeriodRow>,
    no_match: Option<String>,
    remarks: Vec<String>,
    picture: Picture,
}

struct PeriodRow {
    other: String,
    link: String,
    name: String,
    first: String,
    last: String,
    count: String,
    network: String,
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

    fn of_mac(mac: MacAddr, answer: &Answer, window: Window, zone: &TimeZone) -> Picture {
        let title = format!("Timeline of {mac}: which addresses it had when");
        let svg = Timeline::new(title, &spans(answer, "address"), (window, None), "/ip/", zone);
        Picture::new(svg, window, &format!("/mac/{}", encoded(&mac.to_string())), zone)
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
        let name = display::text(table.cell(row, "name")).filter(|_| lane == "mac");
        let lane = display::text(table.cell(row, lane))?;
        Some(Span { first: *first, last: *last, lane, name })
    };
    table.rows.iter().filter_map(of_row).collect()
}

/// The times of a page: `at` and `zoom`, or a month until now.
fn window(visit: &mut Visit) -> Result<Window, Problem> {
    let zone = visit.app.asker.zone.clone();
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

pub async fn address(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let ip = parse_ip(&text)?;
    let window = window(&mut visit)?;
    visit.parameters.finish()?;
    let asker = &visit.app.asker;
    let range = TimeRange { from: window.from, to: window.to };
    let answer = asker.ask(Question::Ip(ip, range, false), ROWS).await?;
    let picture = Picture::of_address(ip, &answer, (window, None), &asker.zone)?;
    let page = PeriodsPage {
        frame: Frame::new(&visit, &ip.to_string()),
        heading: ip.to_string(),
        labels: Vec::new(),
        column: "Device",
        rows: rows(&answer, "mac", "/mac/", &asker.zone),
        no_match: answer.no_match,
        remarks: remarks(answer.remarks, &[(answer.left_off, LEFT_OFF)]),
        picture,
    };
    pages::page(&page)
}

pub async fn device(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let mac = parse_mac(&text)?;
    let window = window(&mut visit)?;
    visit.parameters.finish()?;
    let asker = &visit.app.asker;
    let range = TimeRange { from: window.from, to: window.to };
    let answer = asker.ask(Question::Mac(mac, range, false), ROWS).await?;
    let picture = Picture::of_mac(mac, &answer, window, &asker.zone);
    let (name, maker) = asker.devices.of(mac);
    let private = "a private MAC, which the device chose itself: it has no maker, and may change";
    let private = is_local(mac).then(|| private.to_owned());
    let labels = [name.clone(), maker, private].into_iter().flatten();
    let page = PeriodsPage {
        frame: Frame::new(&visit, &mac.to_string()),
        heading: mac.to_string(),
        labels: labels.map(|label| aw_service::plain(&label)).collect(),
        column: "Address",
        rows: rows(&answer, "address", "/ip/", &asker.zone),
        no_match: answer.no_match,
        remarks: remarks(answer.remarks, &[(answer.left_off, LEFT_OFF)]),
        picture,
    };
    pages::page(&page)
}

/// The latest ones first.
fn rows(answer: &Answer, column: &str, link: &str, zone: &TimeZone) -> Vec<PeriodRow> {
    let table = &answer.table;
    let of_row = |row: &Vec<Cell>| {
        let cell = |name| display::cell(table.cell(row, name), zone);
        let text = |name| display::text(table.cell(row, name));
        let other = cell(column);
        let at = match table.cell(row, "last_seen") {
            Cell::Time(last) => format!("?at={}", time_parameter(*last)),
            _ => String::new(),
        };
        PeriodRow {
            link: format!("{link}{}{at}", encoded(&other)),
            other,
            name: text("name")
                .or_else(|| text("maker"))
                .filter(|_| column == "mac")
                .unwrap_or_default(),
            first: cell("first_seen"),
            last: cell("last_seen"),
            count: cell("count"),
            network: network(answer, row),
        }
    };
    table.rows.iter().rev().map(of_row).collect()
}
