//! The search box: to the page of an address, a device or a network, or a list of devices whose name, maker or MAC has the text, and
//! of networks.

use askama::Template;
use aw_output::names::without_local;
use aw_query::{Cell, Claiming, Devices, TimeRange};
use axum::response::Response;
use jiff::{Timestamp, Zoned};
use shm_layout::{MacAddr, UnixTime};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use crate::{
    app::Visit,
    display::{self, device_link, encoded, time_parameter},
    download::{self, Download},
    guard::redirect,
    listing::{Device, DeviceList, Shown},
    network::NetworkId,
    network_label,
    pages::{self, Frame, ROWS, name::may_name, remarks::remarks, whereabouts},
    problem::Problem,
    search::{Searched, matches, parse},
    zones,
};

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    /// What was searched.
    heading: String,
    is_text: bool,
    /// When the list of devices was read.
    read_at: String,
    /// And the history was asked which devices call themselves so.
    is_asked: bool,
    /// The user may name devices on their pages.
    can_name: bool,
    has_time: bool,
    networks: Vec<(String, String)>,
    devices: Vec<Found>,
    left_off: usize,
    /// All devices were searched.
    is_complete: bool,
    remarks: Vec<String>,
    files: [(&'static str, String); 2],
}

struct Found {
    mac: String,
    link: String,
    /// Where it was at the time, if there is one.
    then: Option<String>,
    name: String,
    maker: String,
    addresses: String,
    last: String,
}

pub async fn search(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.zone.clone();
    let typed = visit.parameters.take("q").unwrap_or_default();
    let file = Download::take(&mut visit.parameters)?;
    visit.parameters.finish()?;
    if typed.trim().is_empty() {
        return Ok(redirect("/"));
    }
    let now = Zoned::now().with_time_zone(zone);
    let to = match parse(&typed, &now).map_err(Problem::bad)? {
        Searched::Address(ip, None) => format!("/ip/{}", encoded(&ip.to_string())),
        Searched::Address(ip, Some(time)) => match day(&time) {
            Some(day) => format!("/ip/{}?{day}", encoded(&ip.to_string())),
            None => {
                let at = time_parameter(TimeRange::of(time).from);
                format!("/who?ip={}&at={at}", encoded(&ip.to_string()))
            }
        },
        Searched::Mac(mac, time) => then(&mac.to_string(), time.as_ref()),
        Searched::Now => "/now".into(),
        Searched::New => "/now?state=new".into(),
        of_list => return search_list(visit, of_list, (typed, file)).await,
    };
    let to = in_zone(&to, visit.zone_of_link.as_deref());
    Ok(redirect(&match file {
        None => to,
        Some(file) => download::link(&to, file),
    }))
}

/// What the list of devices has. It may be half a minute old: if no device of it has the text as its whole name, the history is asked which one
/// calls itself so.
async fn search_list(
    visit: Visit,
    wanted: Searched,
    (typed, file): (String, Option<Download>),
) -> Result<Response, Problem> {
    let app = Arc::clone(&visit.app);
    let mut others = None;
    if let Searched::Text(text, _) = &wanted {
        let (devices, name) = (Arc::clone(&app.asker.devices), text.clone());
        let is_listed = move |list: &Arc<DeviceList>| Ok(has_name(&devices, list, &name));
        if !app.asker.list(is_listed).await? {
            // Without an answer, the list is there.
            others = app.asker.macs_claiming(text.clone()).await.ok();
        }
    }
    let page = move |list: &Arc<DeviceList>| {
        found(&visit, &wanted, (&typed, file), others.as_deref(), list)
    };
    app.asker.list(page).await
}

/// Whether a device has this text, or what is before `.local`, as its whole name.
fn has_name(devices: &Devices, list: &DeviceList, text: &str) -> bool {
    let texts = [Some(text), without_local(text)].map(|text| text.map(str::to_lowercase));
    let is_it = |name: &str| texts.contains(&Some(name.to_lowercase()));
    let mut all = list.devices(false).iter().chain(list.unseen(false));
    let in_list = all.any(|one| {
        let claimed = one.claimed.as_ref().map(|(name, ..)| &**name);
        [one.name.as_deref(), claimed].into_iter().flatten().any(is_it)
    });
    in_list || devices.names().values().any(|name| is_it(name))
}

/// The same page in the zone of this one, if this is a permanent link.
fn in_zone(to: &str, zone: Option<&str>) -> String {
    let Some(zone) = zone else { return to.into() };
    let next = if to.contains('?') { '&' } else { '?' };
    format!("{to}{next}{}={}", zones::PARAMETER, encoded(zone))
}

/// The parameters of a page that shows a whole day, if the time is one.
fn day(time: &Range<Timestamp>) -> Option<String> {
    let is_day = time.end.duration_since(time.start).as_hours() >= 23;
    let range = TimeRange::of(time.clone());
    let middle = shm_layout::UnixTime::new((range.from.seconds() + range.to.seconds()) / 2, 0);
    is_day.then(|| format!("at={}&zoom=day", time_parameter(middle)))
}

/// The page of a device; with a day, its timeline; with a moment, whether it was here then.
fn then(mac: &str, time: Option<&Range<Timestamp>>) -> String {
    let Some(time) = time else { return device_link(mac) };
    match day(time) {
        Some(day) => format!("{}?{day}", device_link(mac)),
        None => whereabouts::link(mac, TimeRange::of(time.clone()).from),
    }
}

/// Whether the network is in this VLAN, or has this text in its name or as its interface.
fn is_network(network: &NetworkId, wanted: &Searched) -> bool {
    match wanted {
        Searched::Vlan(vlan) => ["vlan", "outer_vlan"]
            .into_iter()
            .any(|column| network.cell(column) == Cell::Number(i64::from(*vlan))),
        Searched::Text(text, None) => {
            let has = |name: String| name.to_lowercase().contains(&text.to_lowercase());
            let place = network.local_place();
            let interface = network.cell("interface");
            let is_interface = matches!(interface, Cell::Text(it) if it.eq_ignore_ascii_case(text));
            is_interface
                || place.eq_ignore_ascii_case(text)
                || network_label::name(network).is_some_and(has)
        }
        _ => false,
    }
}

/// The devices with a text, in the list and out of it: `others` call themselves so, and a name in the file of names may be of a device that was never
/// seen. `NAME.local`, as multicast DNS has it, is NAME, too, unless a name really ends so.
fn with_text<'a>(
    visit: &Visit,
    (text, others): (&str, &[Claiming]),
    list: &'a DeviceList,
) -> (Vec<&'a Device>, Vec<Device>) {
    let devices = &visit.app.asker.devices;
    let names = devices.names();
    let ends_so = names.values().any(|name| name.eq_ignore_ascii_case(text));
    let without = without_local(text).filter(|_| !ends_so);
    let texts: Vec<_> = [Some(text), without].into_iter().flatten().map(matches).collect();
    let has = |mac: MacAddr, labels: [Option<&str>; 3]| texts.iter().any(|has| has(mac, labels));
    let named = names.iter().filter(|(mac, name)| has(**mac, [Some(&***name), None, None]));
    let named = named.map(|(mac, _)| *mac);
    let others: BTreeMap<MacAddr, _> = others.iter().map(|(mac, name)| (*mac, name)).collect();
    let mut unlisted: BTreeSet<MacAddr> = others.keys().copied().chain(named).collect();
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    for one in list.devices(false).iter().chain(list.unseen(false)) {
        let claimed = one.claimed.as_ref().map(|(name, ..)| &**name);
        let is_other = unlisted.remove(&one.mac);
        let labels = [one.name.as_deref(), one.maker.as_deref(), claimed];
        if (is_other || has(one.mac, labels)) && known.insert(one.mac) {
            found.push(one);
        }
    }
    let unlisted = unlisted.into_iter().map(|mac| {
        let claimed = others.get(&mac).and_then(|name| name.as_ref());
        Device::unlisted(mac, devices.of(mac), claimed)
    });
    (found, unlisted.collect())
}

fn found(
    visit: &Visit,
    wanted: &Searched,
    (typed, file): (&str, Option<Download>),
    others: Option<&[Claiming]>,
    list: &Arc<DeviceList>,
) -> Result<Response, Problem> {
    let (heading, time) = match wanted {
        Searched::Text(text, time) => {
            (format!("Devices and networks with “{text}”"), time.as_ref())
        }
        Searched::Block(block, time) => {
            (format!("Devices that have had an address in {block}"), time.as_ref())
        }
        Searched::Vlan(vlan) => (format!("Networks in VLAN {vlan}"), None),
        _ => (String::new(), None),
    };
    let unlisted: Vec<Device>;
    let mut found: Vec<&Device> = Vec::new();
    match wanted {
        Searched::Block(block, _) => {
            let was_there = |one: &&Device| {
                let range = time.cloned().map(TimeRange::of);
                range.is_none_or(|range| {
                    one.first.is_none_or(|first| first < range.to)
                        && one.last.is_none_or(|last| last >= range.from)
                })
            };
            let has = |one: &&Device| one.all_addresses().any(|ip| block.contains(&ip));
            let mut known = BTreeSet::new();
            let all = list.devices(false).iter().chain(list.unseen(false));
            found = all.filter(was_there).filter(has).filter(|one| known.insert(one.mac)).collect();
        }
        Searched::Text(text, _) => {
            (found, unlisted) = with_text(visit, (text, others.unwrap_or_default()), list);
            found.extend(&unlisted);
        }
        _ => {}
    }
    let networks = list.networks.iter().filter(|one| is_network(one, wanted));
    let networks: Vec<_> = networks.take(ROWS).map(|one| (one.label(), one.link())).collect();
    if let (Some(file), Searched::Vlan(_)) = (file, wanted) {
        return Ok(redirect(&download::link("/networks", file)));
    }
    if let Some(file) = file {
        let rows = list.rows(&found);
        let zone = &visit.app.asker.zone;
        return file.rows("devices-found", (list.answer(), rows), zone, size_of::<Device>());
    }
    let left_off = found.len().saturating_sub(ROWS);
    let of = |one: &&Device| {
        let shown = Shown::new(one, UnixTime::now(), &visit.zone);
        let Shown { mac, name, addresses, last, .. } = shown;
        let maker = one.maker.as_deref().unwrap_or("–").into();
        let name = if name.is_empty() { "–".into() } else { name };
        let then = time.map(|time| then(&mac, Some(time)));
        Found { link: device_link(&mac), then, mac, name, maker, addresses, last }
    };
    let devices: Vec<Found> = found.iter().take(ROWS).map(of).collect();
    // Only if no other one can be meant.
    let is_complete = list.is_complete;
    let only = match (&*devices, &*networks) {
        ([one], []) => Some(one.then.as_ref().unwrap_or(&one.link)),
        ([], [(_, link)]) => Some(link),
        _ => None,
    };
    if let Some(to) = only.filter(|_| is_complete) {
        return Ok(redirect(&in_zone(to, visit.zone_of_link.as_deref())));
    }
    let frame = Frame::new(visit, typed);
    let remarks = remarks(list.remarks.clone(), &[]);
    let files = download::links(&format!("/search?q={}", encoded(typed)));
    pages::page(&SearchPage {
        frame,
        heading,
        is_text: matches!(wanted, Searched::Text(..)),
        read_at: display::time(list.read_at, &visit.zone),
        is_asked: others.is_some(),
        can_name: may_name(&visit.app, &visit.user).is_ok(),
        networks,
        has_time: time.is_some(),
        devices,
        left_off,
        is_complete,
        remarks,
        files,
    })
}
