//! A network: its devices, the changes of its addresses, and its conflicts.

use std::{collections::BTreeMap, sync::Arc};

use askama::Template;
use aw_query::{Answer, Cell, Question, ResultTable, TimeRange};
use axum::{http::StatusCode, response::Response};
use jiff::tz::TimeZone;
use shm_layout::UnixTime;

use crate::{
    app::Visit,
    display::{self, encoded, time_parameter},
    download::{self, Download},
    happening::{self, Conflict, Holders, time_of_row},
    listing::{Device, DeviceList, Heading, Shown, Sort},
    network::NetworkId,
    pages::{self, Frame, ROWS, networks::Summary, now::all_of, remarks::remarks},
    problem::Problem,
};

/// Devices that the page shows; the list of all has the others.
const DEVICES: usize = 50;
/// Changes of the network that a list has.
const CHANGES: usize = 10_000;
const NOTHING_BACK: &str = "No address that was searched went back to a device that had it before.";
const NO_CONFLICT: &str =
    "No address was used by two devices in turn, and no MAC sent claims of another one";
/// Days of changes: without `days`, and at most.
const DAYS: (usize, usize) = (7, 366);

#[derive(Template)]
#[template(path = "network.html")]
struct NetworkPage {
    frame: Frame,
    label: String,
    devices_in_all: usize,
    here: usize,
    addresses: usize,
    first: String,
    last: String,
    headings: Vec<Heading>,
    devices: Vec<Shown>,
    /// The list of all devices.
    all: String,
    device_files: [(&'static str, String); 2],
    days: usize,
    /// Other numbers of days, with links.
    other_days: Vec<(usize, String)>,
    conflicts: [ConflictList; 2],
    changes: Vec<Change>,
    /// Changes that are not shown.
    hidden: usize,
    no_change: Option<String>,
    change_files: [(&'static str, String); 2],
    remarks: Vec<String>,
}

struct Change {
    time: String,
    address: String,
    link: String,
    change: String,
    /// MAC, and its page.
    mac: Option<(String, String)>,
    name: String,
    before: Option<(String, String)>,
}

/// Addresses of one kind.
struct ConflictList {
    heading: &'static str,
    /// What is said without a row.
    nothing: String,
    rows: Vec<ConflictRow>,
    /// The same in the list of what happened, and as files.
    list: String,
    files: [(&'static str, String); 2],
}

/// An address about which devices disagree.
#[derive(Debug, PartialEq, Eq)]
struct ConflictRow {
    address: String,
    link: String,
    why: &'static str,
    /// It went back to a device, which may be a lease.
    is_back: bool,
    macs: Vec<(String, String)>,
    /// Changes in the days of the page; none: it only goes on in them.
    times: Option<usize>,
    last: String,
}

/// Which rows a file has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Devices,
    Changes,
}

pub async fn network(mut visit: Visit) -> Result<Response, Problem> {
    let id = NetworkId::take(&mut visit.parameters).ok_or_else(|| {
        Problem::bad("the network is missing (add interface=eth0; /networks lists all)".into())
    })?;
    let days = visit.parameters.take_number("days", DAYS)?;
    let part = match visit.parameters.take("part").as_deref() {
        None | Some("devices") => Part::Devices,
        Some("changes") => Part::Changes,
        Some(text) => {
            return Err(Problem::bad(format!("part: {text:?} must be devices or changes")));
        }
    };
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let app = Arc::clone(&visit.app);
    let of_devices = move |list: &Arc<DeviceList>| {
        let id = list.meant(id);
        let devices: Vec<&Device> =
            list.devices(true).iter().filter(|one| *one.network == id).collect();
        if devices.is_empty() {
            return Err(unknown(list.is_complete));
        }
        let zone = &visit.app.asker.zone;
        if let Some(file) = file.filter(|_| part == Part::Devices) {
            let (name, rows) = (file_name(&id, "devices"), list.rows(&devices));
            let file = file.rows(&name, (list.answer(), rows), zone, size_of::<Device>())?;
            return Ok(Found::File(file));
        }
        let found = OfDevices::new(&devices, list.remarks.clone(), &visit.zone);
        Ok(Found::Devices(Box::new((visit, id, found))))
    };
    let (visit, id, of_devices) = match app.asker.list(of_devices).await? {
        Found::File(file) => return Ok(file),
        Found::Devices(found) => *found,
    };
    let now = UnixTime::now();
    let from = UnixTime::new(now.seconds().saturating_sub(86_400 * days as i64), 0);
    let read = happening::read_range(TimeRange { from, to: TimeRange::ALL.to });
    let zone = if file.is_some() { app.asker.zone.clone() } else { visit.zone.clone() };
    // Those of all networks: a limit for them would hide changes of this one behind those of others.
    let page = move |mut answer: Answer| {
        let rows = std::mem::take(&mut answer.table.rows);
        let is_own = |row: &Vec<Cell>| NetworkId::of(&answer.table, row) == id;
        let rows: Vec<Vec<Cell>> = rows.into_iter().filter(is_own).collect();
        let is_before =
            |row: &Vec<Cell>| time_of_row(&answer.table, row).is_some_and(|at| at < from);
        let before = rows.partition_point(is_before);
        answer.table.rows = rows;
        let conflicts = conflicts(&answer.table, from, &visit.zone);
        drop(answer.table.rows.drain(..before));
        let rows = &mut answer.table.rows;
        answer.left_off = rows.len().saturating_sub(CHANGES);
        drop(rows.drain(..answer.left_off));
        let what = format!("No address was new or changed in {days} days");
        let searched = answer.no_match.take();
        let nothing = |what: &str| nothing(what, answer.is_complete, searched.as_deref());
        answer.no_match = rows.is_empty().then(|| nothing(&what));
        let no_conflict = nothing(NO_CONFLICT);
        match file {
            Some(file) => {
                answer.is_complete &= answer.left_off == 0;
                file.file(&file_name(&id, "changes"), answer, &visit.app.asker.zone)
            }
            None => page(&visit, (&id, days), of_devices, (answer, conflicts, no_conflict)),
        }
    };
    app.asker.ask_and(Question::Changes(read), (usize::MAX, &zone), page).await
}

/// The name of a file about a network: what a name of a file may have of the network's.
fn file_name(id: &NetworkId, what: &str) -> String {
    let place = id.place().replace(' ', "-");
    let is_kept = |letter: &char| letter.is_ascii_alphanumeric() || "-._".contains(*letter);
    format!("network-{}-{what}", place.chars().filter(is_kept).collect::<String>())
}

/// No device of the network is known.
fn unknown(is_complete: bool) -> Problem {
    match is_complete {
        true => Problem::new(
            StatusCode::NOT_FOUND,
            "no device was seen in this network (/networks lists all of them)",
        ),
        false => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no device that was searched is of this network, and not all are searched (aw-query devices has all of them)",
        ),
    }
}

/// What the list of devices has of a network.
enum Found {
    File(Response),
    Devices(Box<(Visit, NetworkId, OfDevices)>),
}

struct OfDevices {
    in_all: usize,
    here: usize,
    addresses: usize,
    first: String,
    last: String,
    shown: Vec<Shown>,
    remarks: Vec<String>,
}

impl OfDevices {
    fn new(devices: &[&Device], remarks: Vec<String>, zone: &TimeZone) -> OfDevices {
        let (now, mut summary) = (UnixTime::now(), Summary::default());
        devices.iter().for_each(|device| summary.add(device, now));
        let time =
            |time: Option<UnixTime>| time.map_or("–".into(), |time| display::time(time, zone));
        OfDevices {
            in_all: summary.devices,
            here: summary.here,
            addresses: summary.addresses.len(),
            first: time(summary.first),
            last: time(summary.last),
            shown: devices.iter().take(DEVICES).map(|one| Shown::new(one, now, zone)).collect(),
            remarks,
        }
    }
}

fn page(
    visit: &Visit,
    (id, days): (&NetworkId, usize),
    of_devices: OfDevices,
    (changes, conflicts, no_conflict): (Answer, Vec<ConflictRow>, String),
) -> Result<Response, Problem> {
    let zone = &visit.zone;
    let link = |days: usize| format!("{}&days={days}", id.link());
    let Answer { table, no_match: no_change, left_off, remarks: of_changes, .. } = changes;
    let hidden = table.rows.len().saturating_sub(ROWS);
    let latest = table.rows.iter().rev().take(ROWS);
    let network = encoded(&id.text());
    let (returns, conflicts): (Vec<_>, Vec<_>) = conflicts.into_iter().partition(|one| one.is_back);
    let of_kind = |heading, kind: &str, nothing, rows: Vec<ConflictRow>| {
        let list = format!("/happened?kind={kind}&network={network}&from={days}d");
        let files = download::links(&list);
        ConflictList { heading, nothing, rows: rows.into_iter().take(ROWS).collect(), list, files }
    };
    let left_off = [
        (
            left_off,
            "changes, the first ones, are not in the list (choose fewer days; aw-query changes has all of them)",
        ),
        (
            conflicts.len().saturating_sub(ROWS) + returns.len().saturating_sub(ROWS),
            "addresses with a conflict are not shown (choose fewer days)",
        ),
    ];
    let OfDevices { in_all, here, addresses, first, last, shown, remarks: mut all } = of_devices;
    all.extend(of_changes);
    pages::page(&NetworkPage {
        frame: Frame::new(visit, ""),
        label: id.label(),
        devices_in_all: in_all,
        here,
        addresses,
        first,
        last,
        headings: headings(id),
        devices: shown,
        all: all_of(id),
        device_files: download::links(&format!("{}&part=devices", id.link())),
        days,
        other_days: [1, 7, 31].into_iter().filter(|n| *n != days).map(|n| (n, link(n))).collect(),
        conflicts: [
            of_kind("Conflicts", "conflict", no_conflict, conflicts),
            of_kind("Went back", "return", NOTHING_BACK.into(), returns),
        ],
        changes: latest.map(|row| change(&table, row, zone)).collect(),
        hidden,
        no_change,
        change_files: download::links(&format!("{}&part=changes", link(days))),
        remarks: remarks(all, &left_off),
    })
}

/// That there is nothing, as far as it is known.
fn nothing(what: &str, is_complete: bool, searched: Option<&str>) -> String {
    let searched = searched.map_or(String::new(), |text| format!(" ({text})"));
    match is_complete {
        true => format!("{what}{searched}."),
        false => format!(
            "Not known: not all changes were searched, and among those that were: {what}{searched}."
        ),
    }
}

/// Each leads to the list of all devices of the network.
fn headings(id: &NetworkId) -> Vec<Heading> {
    let of = |sort: Sort| Heading {
        label: sort.label(),
        link: format!("{}&sort={}", all_of(id), sort.name()),
        order: (sort == Sort::Last).then_some("descending"),
    };
    Sort::ALL.map(of).into()
}

fn mac_link(cell: &Cell) -> Option<(String, String)> {
    let mac = display::text(cell)?;
    let link = format!("/mac/{}", encoded(&mac));
    Some((mac, link))
}

/// The page of an address, around a time.
fn address_link(address: &str, time: &Cell) -> String {
    let at = match time {
        Cell::Time(time) => format!("?at={}&zoom=day", time_parameter(*time)),
        _ => String::new(),
    };
    format!("/ip/{}{at}", encoded(address))
}

fn change(table: &ResultTable, row: &[Cell], zone: &TimeZone) -> Change {
    let text = |name| display::text(table.cell(row, name)).unwrap_or_default();
    let address = text("address");
    Change {
        time: display::cell(table.cell(row, "time"), zone),
        link: address_link(&address, table.cell(row, "time")),
        address,
        change: text("change"),
        mac: mac_link(table.cell(row, "mac")),
        name: text("name"),
        before: mac_link(table.cell(row, "before")),
    }
}

/// Addresses about which devices disagree, or that went back to one. The rows are in the order of time, and some are from before the times of the page;
/// the latest conflict is the first one.
fn conflicts(table: &ResultTable, from: UnixTime, zone: &TimeZone) -> Vec<ConflictRow> {
    /// Of an address and a reason: the MACs, the number, and the last time.
    type Found<'a> = (Vec<&'a Cell>, usize, UnixTime);
    let mut found: BTreeMap<(bool, String, &str), Found> = BTreeMap::new();
    for (row, conflict) in table.rows.iter().zip(Holders::conflicts(table)) {
        let Some(Conflict { why, until, back_after, .. }) =
            conflict.filter(|one| one.until >= from)
        else {
            continue;
        };
        let address = display::text(table.cell(row, "address")).unwrap_or_default();
        let none = || (Vec::new(), 0, until);
        let key = (back_after.is_some(), address, why);
        let (macs, times, last) = found.entry(key).or_insert_with(none);
        for cell in ["mac", "before"].map(|name| table.cell(row, name)) {
            if *cell != Cell::None && !macs.contains(&cell) && macs.len() < 8 {
                macs.push(cell);
            }
        }
        let is_of_page = time_of_row(table, row).is_some_and(|time| time >= from);
        (*times, *last) = (*times + usize::from(is_of_page), until.max(*last));
    }
    let mut found: Vec<_> = found.into_iter().collect();
    // What may be a lease comes last.
    found.sort_by_key(|((is_back, ..), (_, _, last))| (*is_back, std::cmp::Reverse(*last)));
    type Key = (bool, String, &'static str);
    let of = |((is_back, address, why), (macs, times, last)): (Key, Found)| {
        let time = Cell::Time(last);
        ConflictRow {
            link: address_link(&address, &time),
            address,
            why: if is_back {
                "went back to a device that had it before: a lease that was given back, or a takeover of a device that is quiet"
            } else {
                why
            },
            is_back,
            macs: macs.into_iter().filter_map(mac_link).collect(),
            times: Some(times).filter(|times| *times > 0),
            last: display::cell(&time, zone),
        }
    };
    found.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(rows: &[(i64, &str, &str, &str, Option<&str>)]) -> ResultTable {
        let mut table = ResultTable::default();
        table.columns = vec!["time", "address", "change", "mac", "before"];
        let of = |(time, address, change, mac, before): &(i64, &str, &str, &str, Option<&str>)| {
            let before = before.map(Cell::text).into();
            let time = Cell::Time(UnixTime::new(*time, 0));
            vec![time, Cell::text(address), Cell::text(change), Cell::text(mac), before]
        };
        table.rows = rows.iter().map(of).collect();
        table
    }

    /// A file says of which network it is, and has a name that each system takes.
    #[test]
    fn names_of_files() {
        let id = |text: &str| NetworkId::parse(text).unwrap();
        let vlan = id("interface=eth0&vlan=20&host=gate");
        assert_eq!(file_name(&vlan, "devices"), "network-eth0.20-of-gate-devices");
        let hostile = id("interface=..%2F%22%0Aa&host=%C3%A9%5Cb");
        assert_eq!(file_name(&hostile, "changes"), "network-..a-of-b-changes");
    }

    /// Nothing is stated of what was not searched.
    #[test]
    fn an_incomplete_answer_says_so() {
        assert!(nothing(NO_CONFLICT, true, None).starts_with("No address was used"));
        assert!(nothing(NO_CONFLICT, false, None).starts_with("Not known: not all changes"));
        let late = nothing("None", true, Some("no changes; its last sighting is of 2020-01-01"));
        assert_eq!(late, "None (no changes; its last sighting is of 2020-01-01).");
        assert_eq!(unknown(true).status, StatusCode::NOT_FOUND);
        assert_eq!(unknown(false).status, StatusCode::SERVICE_UNAVAILABLE);
    }

    /// A lease that another device gets is no conflict; one that goes back and forth is one.
    #[test]
    fn back_and_forth() {
        let table = changes(&[
            (1, "10.0.0.1", "new", "a", None),
            (2, "10.0.0.2", "changed", "b", Some("a")),
            (3, "10.0.0.1", "changed", "b", Some("a")),
            (4, "10.0.0.1", "changed", "a", Some("b")),
            (5, "10.0.0.1", "changed", "b", Some("a")),
            (6, "10.0.0.2", "changed", "c", Some("b")),
            (7, "10.0.0.3", "forged or forwarded", "a", None),
        ]);
        let found = conflicts(&table, UnixTime::new(0, 0), &TimeZone::UTC);
        let short: Vec<_> =
            found.iter().map(|one| (&*one.address, one.times, one.macs.len(), one.why)).collect();
        assert_eq!(
            short,
            [
                ("10.0.0.3", Some(1), 1, "another MAC sent a claim of it"),
                (
                    "10.0.0.1",
                    Some(2),
                    2,
                    "went back to a device that had it before: a lease that was given back, or a takeover of a device that is quiet"
                ),
            ]
        );
        assert_eq!(found[1].link, "/ip/10.0.0.1?at=1970-01-01T00%3A00%3A05Z&zoom=day");
        // The first ones are from before the page: they show that the last one is a conflict.
        let late = conflicts(&table, UnixTime::new(5, 0), &TimeZone::UTC);
        let of = |one: &ConflictRow| (one.address.clone(), one.times);
        assert_eq!(
            late.iter().map(of).collect::<Vec<_>>(),
            [("10.0.0.3".into(), Some(1)), ("10.0.0.1".into(), Some(1))]
        );
    }

    /// A conflict that goes on in the days of the page, without a change in them, has a last time, and no number of times.
    #[test]
    fn a_conflict_without_a_change() {
        let mut table = changes(&[(1, "10.0.0.1", "shared", "b", Some("a"))]);
        table.columns.push("shared_until");
        table.rows[0].push(Cell::Time(UnixTime::new(9, 0)));
        let found = |from| conflicts(&table, UnixTime::new(from, 0), &TimeZone::UTC);
        let short = |all: Vec<ConflictRow>| {
            all.into_iter().map(|one| (one.times, one.why, one.last)).collect::<Vec<_>>()
        };
        let last = "1970-01-01 00:00:09 +00:00".to_owned();
        let why = "is used by two devices in turn";
        assert_eq!(short(found(0)), [(Some(1), why, last.clone())]);
        assert_eq!(short(found(5)), [(None, why, last)]);
        assert_eq!(short(found(10)), []);
    }
}
