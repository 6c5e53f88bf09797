//! The search box: to the page of an address or a device, or a list of devices whose name, maker or MAC has the text.

use askama::Template;
use aw_query::{Cell, Question, TimeRange};
use axum::response::Response;
use jiff::{Timestamp, Zoned};
use std::ops::Range;

use crate::{
    app::Visit,
    display::{self, encoded, time_parameter},
    guard::redirect,
    pages::{self, Frame, ROWS, UNSEARCHED, remarks::remarks},
    problem::Problem,
    search::{Searched, matches, parse},
};

/// Devices that are searched.
const SEARCHED: usize = 100_000;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    text: String,
    devices: Vec<Found>,
    left_off: usize,
    /// All devices were searched.
    is_complete: bool,
    remarks: Vec<String>,
}

struct Found {
    mac: String,
    link: String,
    name: String,
    maker: String,
    addresses: String,
    last: String,
}

pub async fn search(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let typed = visit.parameters.take("q").unwrap_or_default();
    visit.parameters.finish()?;
    if typed.trim().is_empty() {
        return Ok(redirect("/"));
    }
    let now = Zoned::now().with_time_zone(zone);
    match parse(&typed, &now).map_err(Problem::bad)? {
        Searched::Address(ip, None) => Ok(redirect(&format!("/ip/{}", encoded(&ip.to_string())))),
        Searched::Address(ip, Some(time)) => match day(&time) {
            Some(day) => Ok(redirect(&format!("/ip/{}?{day}", encoded(&ip.to_string())))),
            None => {
                let at = time_parameter(TimeRange::of(time).from);
                Ok(redirect(&format!("/who?ip={}&at={at}", encoded(&ip.to_string()))))
            }
        },
        Searched::Mac(mac, time) => Ok(redirect(&device(&mac.to_string(), time.as_ref()))),
        Searched::Text(text, time) => devices(visit, text, time.as_ref(), &typed).await,
    }
}

/// The parameters of a page that shows a whole day, if the time is one.
fn day(time: &Range<Timestamp>) -> Option<String> {
    let is_day = time.end.duration_since(time.start).as_hours() >= 23;
    let range = TimeRange::of(time.clone());
    let middle = shm_layout::UnixTime::new((range.from.seconds() + range.to.seconds()) / 2, 0);
    is_day.then(|| format!("at={}&zoom=day", time_parameter(middle)))
}

fn device(mac: &str, time: Option<&Range<Timestamp>>) -> String {
    let path = format!("/mac/{}", encoded(mac));
    match time {
        None => path,
        Some(time) => {
            let at = || format!("at={}&zoom=day", time_parameter(TimeRange::of(time.clone()).from));
            format!("{path}?{}", day(time).unwrap_or_else(at))
        }
    }
}

async fn devices(
    visit: Visit,
    text: String,
    time: Option<&Range<Timestamp>>,
    typed: &str,
) -> Result<Response, Problem> {
    let asker = &visit.app.asker;
    let answer = asker.ask(Question::Devices(TimeRange::ALL), SEARCHED).await?;
    let table = &answer.table;
    let is_found = |row: &&Vec<Cell>| {
        let text_of = |name| display::text(table.cell(row, name));
        let mac = text_of("mac").and_then(|mac| mac.parse().ok());
        let (name, maker) = (text_of("name"), text_of("maker"));
        mac.is_some_and(|mac| matches(&text, mac, name.as_deref(), maker.as_deref()))
    };
    let found: Vec<&Vec<Cell>> = table.rows.iter().filter(is_found).collect();
    let left_off = found.len().saturating_sub(ROWS);
    let of_row = |row: &&Vec<Cell>| {
        let cell = |name| display::cell(table.cell(row, name), &asker.zone);
        let mac = cell("mac");
        let link = device(&mac, time);
        let (name, maker) = (cell("name"), cell("maker"));
        Found { mac, link, name, maker, addresses: cell("addresses"), last: cell("last_seen") }
    };
    let devices: Vec<Found> = found.iter().take(ROWS).map(of_row).collect();
    // Only if no other one can be meant.
    let is_complete = answer.left_off == 0;
    if let [one] = &*devices
        && is_complete
    {
        return Ok(redirect(&one.link));
    }
    let frame = Frame::new(&visit, typed);
    let remarks = remarks(answer.remarks, &[(answer.left_off, UNSEARCHED)]);
    pages::page(&SearchPage { frame, text, devices, left_off, is_complete, remarks })
}
