//! A device: its name, its maker, its addresses with the current one first, its networks, and the days and hours in which it was
//! seen. With a time or a zoom, its timeline.

use std::net::IpAddr;

use askama::Template;
use aw_query::{Cell, Question, ResultTable, TimeRange};
use axum::{extract::Path, response::Response};
use jiff::{ToSpan, civil::Date, tz::TimeZone};
use shm_layout::{MacAddr, UnixTime};

use crate::{
    app::Visit,
    calendar::{Calendar, DAYS},
    display::{self, device_link, encoded, time_parameter, zoned},
    download::{self, Download},
    listing::ago,
    network::NetworkId,
    pages::{self, Frame, ROWS, name::NameForm, periods, periods::SharedAddress, remarks::remarks},
    parameters::parse_mac,
    problem::Problem,
};

/// Rows of addresses: of 200 of them, each in some networks.
const ADDRESSES: usize = ROWS * 4;
/// Where an address was seen; others are in messages that are no sighting.
const SEEN_IN: [&str; 3] = ["own frames", "frames of another MAC", "probed"];
/// Other devices with the same name, at most.
const SAME: usize = 10;
/// Addresses of which it is asked who else had them, and of so many days.
const ASKED: usize = 4;
const ASKED_DAYS: i64 = 7;
/// Quarters of an hour in each of some networks.
const QUARTERS: usize = DAYS * 96 * 4;

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    mac: String,
    /// There is no form even for an editor.
    is_not_edited: bool,
    name: Option<String>,
    /// Its maker, or why it has none.
    labels: Vec<String>,
    /// What the first and the last sighting are of, if not all addresses are listed.
    only: &'static str,
    first: String,
    last: String,
    ago: String,
    networks: Vec<(String, String)>,
    /// Of its latest addresses, those that it and another device claimed in turn in the last days.
    shared: Vec<SharedAddress>,
    addresses: Vec<AddressRow>,
    no_match: Option<String>,
    address_files: [(&'static str, String); 2],
    calendar: Calendar,
    from: Date,
    to: Date,
    earlier: String,
    later: String,
    timeline: String,
    presence_files: [(&'static str, String); 2],
    remarks: Vec<String>,
    /// For an editor.
    form: Option<NameForm>,
    /// Other devices with the same name.
    same: Vec<(String, String)>,
    /// All of it as text, to copy.
    evidence: String,
}

struct AddressRow {
    address: String,
    link: String,
    first: String,
    last: String,
    ago: String,
    proof: String,
    network: (String, String),
}

/// Which rows a file has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Addresses,
    Presence,
}

pub async fn device(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let mut asked = visit.parameters.clone();
    if asked.take("at").is_some() || asked.take("zoom").is_some() {
        return periods::device(visit, Path(text)).await;
    }
    let mac = parse_mac(&text)?;
    let zone = visit.zone.clone();
    let until = visit.parameters.take_time("until", &zone)?.map(|time| time.from);
    let part = match visit.parameters.take("part").as_deref() {
        None | Some("addresses") => Part::Addresses,
        Some("presence") => Part::Presence,
        Some(text) => {
            return Err(Problem::bad(format!("part: {text:?} must be addresses or presence")));
        }
    };
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let asker = &visit.app.asker;
    let now = UnixTime::now();
    let to = zoned(until.unwrap_or(now), &zone).date();
    let from = to.saturating_sub((DAYS as i64 - 1).days());
    let range =
        TimeRange { from: begin(from, &zone), to: begin(to.saturating_add(1.day()), &zone) };
    let name = download::name("mac", &mac);
    // A file has the zone of the server.
    let of_texts = if file.is_some() { &asker.zone } else { &zone };
    let addresses =
        asker.ask(vec![Question::AddressesOf(mac)], None, (ADDRESSES, of_texts)).await?;
    if let Some(file) = file.filter(|_| part == Part::Addresses) {
        return file.file(&format!("{name}-addresses"), addresses, of_texts);
    }
    let presence =
        asker.ask(vec![Question::Presence(mac, range)], None, (QUARTERS, of_texts)).await?;
    if let Some(file) = file {
        return file.file(&format!("{name}-presence"), presence, of_texts);
    }
    let table = &addresses.table;
    let (shared, unknown) = shared(&visit, mac, table).await;
    let times = |name| {
        let of_row = move |row: &Vec<Cell>| time(table.cell(row, name));
        table.rows.iter().filter_map(of_row)
    };
    let (first, last) = (times("first_seen").min(), times("last_seen").max());
    let shown =
        |time: Option<UnixTime>| time.map_or("–".into(), |time| display::time(time, &zone));
    let mut networks: Vec<NetworkId> = Vec::new();
    for network in table.rows.iter().map(|row| NetworkId::of(table, row)) {
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    let mut labels = periods::labels(&visit, mac, &addresses);
    let (own_name, _) = asker.devices.of(mac);
    let is_named = own_name.is_some();
    let same = own_name.map_or_else(Vec::new, |own| asker.devices.others_named(mac, &own));
    let same = same.iter().take(SAME).map(MacAddr::to_string);
    let same = same.map(|other| (device_link(&other), other)).collect();
    let path = device_link(&mac.to_string());
    let of_day = |day: Date| format!("{path}?until={day}");
    let quarters =
        presence.table.rows.iter().filter_map(|row| time(presence.table.cell(row, "time")));
    let title = format!("Calendar of {mac}: in which hours it was seen, from {from} to {to}");
    let left_off = [
        (addresses.left_off, "addresses are not listed (aw-query mac has all of them)"),
        (presence.left_off, "quarters of an hour, the first ones, are not in the calendar"),
    ];
    let mut all = addresses.remarks.clone();
    all.extend(presence.remarks);
    all.extend(unknown);
    let remarks = remarks(all, &left_off);
    let of_conflict = shared.iter().map(|shared| &shared.text);
    let evident: Vec<String> = of_conflict.chain(&remarks).cloned().collect();
    let rows: Vec<AddressRow> =
        table.rows.iter().map(|row| address(table, row, now, &zone)).collect();
    // Beside the last time at which it announced itself.
    let is_seen = rows.is_empty() || rows.iter().any(|row| SEEN_IN.contains(&&*row.proof));
    let none = if is_seen { "not seen" } else { "not seen in use" };
    let calendar = Calendar::new((title, none), quarters, to, &path, &zone);
    let heading = [&[mac.to_string()], &*labels].concat().join(", ");
    let name = is_named.then(|| labels.remove(0));
    let evidence = evidence(
        (&heading, [first, last].map(shown)),
        (addresses.no_match.as_deref(), &rows),
        &calendar,
        &evident,
    );
    pages::page(&DevicePage {
        frame: Frame::new(&visit, &mac.to_string()).at(&of_day(to)),
        form: NameForm::new(&visit.app, &visit.user, mac),
        is_not_edited: visit.app.names.is_none() && visit.user.role == crate::options::Role::Editor,
        same,
        mac: mac.to_string(),
        name,
        labels,
        evidence,
        only: only(table.rows.len()),
        first: shown(first),
        last: shown(last),
        ago: last.map_or_else(String::new, |last| ago(last, now)),
        networks: networks.iter().map(|one| (one.label(), one.link())).collect(),
        shared,
        addresses: rows,
        no_match: addresses.no_match,
        address_files: download::links(&path),
        calendar,
        from,
        to,
        earlier: of_day(from.saturating_sub(1.day())),
        later: of_day(to.saturating_add((DAYS as i64).days())),
        timeline: format!("{path}?zoom=month"),
        presence_files: download::links(&format!("{}&part=presence", of_day(to))),
        remarks,
    })
}

/// Its latest addresses that it and another device claimed in turn; and what is not known of that.
async fn shared(
    visit: &Visit,
    mac: MacAddr,
    table: &ResultTable,
) -> (Vec<SharedAddress>, Option<String>) {
    let mut asked: Vec<IpAddr> = Vec::new();
    for row in &table.rows {
        let ip = display::text(table.cell(row, "address")).and_then(|text| text.parse().ok());
        asked.extend(ip.filter(|ip| !asked.contains(ip)));
    }
    let from = UnixTime::now().seconds().saturating_sub(86_400 * ASKED_DAYS);
    let range = TimeRange { from: UnixTime::new(from, 0), to: TimeRange::ALL.to };
    let mut found = Vec::new();
    for ip in asked.into_iter().take(ASKED) {
        // An address of which too much is to be read leaves the rest of the page as it is.
        match visit.ask(Question::Ip(ip, range, false), 1).await {
            Ok(answer) => {
                found.extend(SharedAddress::of((ip, Some(mac)), &answer.table, &visit.zone))
            }
            Err(problem) => {
                let why =
                    format!("whether other devices claimed {ip} is not known: {}", problem.why);
                return (found, Some(why));
            }
        }
    }
    (found, None)
}

fn evidence(
    (heading, [first, last]): (&str, [String; 2]),
    (no_match, addresses): (Option<&str>, &[AddressRow]),
    calendar: &Calendar,
    remarks: &[String],
) -> String {
    let mut text = format!("{heading}\n");
    match no_match {
        Some(why) => text += &format!("{why}\n"),
        None => text += &format!("first seen: {first}\nlast seen: {last}\n"),
    }
    for AddressRow { address, first, last, proof, network, .. } in addresses {
        text += &format!(
            "{address}\n  first seen: {first}\n  last seen: {last}\n  seen in: {proof}\n  network: {}\n",
            network.0
        );
    }
    for day in &calendar.days {
        text += &format!("{}: {}\n", day.label, day.text);
    }
    text.extend(remarks.iter().map(|remark| format!("{remark}\n")));
    text
}

/// Fewer rows than addresses that are searched: all are listed.
fn only(rows: usize) -> &'static str {
    if rows < ROWS { "" } else { " with these addresses" }
}

fn time(cell: &Cell) -> Option<UnixTime> {
    match cell {
        Cell::Time(time) => Some(*time),
        _ => None,
    }
}

/// The first moment of a day.
fn begin(day: Date, zone: &TimeZone) -> UnixTime {
    let begin = day.to_zoned(zone.clone()).map(|begin| begin.timestamp().as_nanosecond());
    let nanos = begin.unwrap_or_default().clamp(i64::MIN.into(), i64::MAX.into());
    UnixTime::from_nanos(nanos as i64)
}

fn address(table: &ResultTable, row: &[Cell], now: UnixTime, zone: &TimeZone) -> AddressRow {
    let cell = |name| display::cell(table.cell(row, name), zone);
    let (address, last) = (cell("address"), time(table.cell(row, "last_seen")));
    let at = last.map_or_else(String::new, |last| format!("?at={}", time_parameter(last)));
    let network = NetworkId::of(table, row);
    AddressRow {
        link: format!("/ip/{}{at}", encoded(&address)),
        address,
        first: cell("first_seen"),
        last: cell("last_seen"),
        ago: last.map_or_else(String::new, |last| ago(last, now)),
        proof: cell("proof"),
        network: (network.label(), network.link()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first and the last sighting are those of the rows, which may not be all.
    #[test]
    fn of_which_addresses() {
        assert_eq!(only(ROWS - 1), "");
        assert_eq!(only(ROWS), " with these addresses");
    }
}
