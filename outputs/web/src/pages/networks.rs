//! All networks of the history: how many devices each has, and when it was seen.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use askama::Template;
use aw_query::Cell;
use axum::response::Response;
use shm_layout::UnixTime;

use crate::{
    app::Visit,
    display,
    download::{self, Download, with_rows},
    listing::{Device, DeviceList, ago},
    network::NetworkId,
    pages::{self, Frame, ROWS, now::is_here, remarks::remarks},
    problem::Problem,
};

const INCOMPLETE: &str = "networks may be missing in this list, and numbers may be too low";

#[derive(Template)]
#[template(path = "networks.html")]
struct NetworksPage {
    frame: Frame,
    networks: Vec<NetworkRow>,
    no_match: Option<String>,
    files: [(&'static str, String); 2],
    remarks: Vec<String>,
    /// Networks that are not shown.
    hidden: usize,
}

struct NetworkRow {
    label: String,
    link: String,
    devices: usize,
    here: usize,
    addresses: usize,
    first: String,
    last: String,
    ago: String,
}

/// What is known of a network.
#[derive(Default)]
pub struct Summary<'a> {
    pub devices: usize,
    /// Those that are here now.
    pub here: usize,
    pub addresses: HashSet<&'a IpAddr>,
    pub first: Option<UnixTime>,
    pub last: Option<UnixTime>,
}

impl<'a> Summary<'a> {
    pub fn add(&mut self, device: &'a Device, now: UnixTime) {
        self.devices += 1;
        self.here += usize::from(is_here(device, now));
        self.addresses.extend(device.addresses.iter());
        self.first = self.first.into_iter().chain(device.first).min();
        self.last = self.last.max(device.last);
    }
}

pub async fn networks(mut visit: Visit) -> Result<Response, Problem> {
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    let app = Arc::clone(&visit.app);
    app.asker.list(move |list| answer(&visit, file, list)).await
}

fn answer(visit: &Visit, file: Option<Download>, list: &DeviceList) -> Result<Response, Problem> {
    let (zone, now) = (&visit.app.asker.zone, UnixTime::now());
    let mut networks: BTreeMap<&NetworkId, Summary> = BTreeMap::new();
    for device in list.devices(true) {
        networks.entry(&device.network).or_default().add(device, now);
    }
    if let Some(file) = file {
        let columns = NetworkId::columns().into_iter().chain([
            "devices",
            "addresses",
            "first_seen",
            "last_seen",
        ]);
        let of = |(id, known): (&&NetworkId, &Summary)| -> Vec<Cell> {
            let numbers = [known.devices, known.addresses.len()].map(|n| Cell::Number(n as i64));
            id.cells().chain(numbers).chain([known.first.into(), known.last.into()]).collect()
        };
        let rows = networks.iter().map(of).collect();
        let answer = with_rows(list.answer(), columns.collect(), rows);
        return file.file("networks", answer, zone);
    }
    let time =
        |time: Option<UnixTime>| time.map_or("–".into(), |time| display::time(time, &visit.zone));
    let of = |(id, known): (&&NetworkId, &Summary)| NetworkRow {
        label: id.label(),
        link: id.link(),
        devices: known.devices,
        here: known.here,
        addresses: known.addresses.len(),
        first: time(known.first),
        last: time(known.last),
        ago: known.last.map_or_else(String::new, |last| ago(last, now)),
    };
    let hidden = networks.len().saturating_sub(ROWS);
    let networks = networks.iter().take(ROWS).map(of).collect();
    let (frame, no_match) = (Frame::new(visit, ""), list.no_match.clone());
    let mut remarks = remarks(list.remarks.clone(), &[]);
    remarks.extend((!list.is_complete).then(|| INCOMPLETE.into()));
    let files = download::links("/networks");
    pages::page(&NetworksPage { frame, networks, no_match, files, remarks, hidden })
}
