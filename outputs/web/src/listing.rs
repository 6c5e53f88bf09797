//! Lists of devices: from the rows of an answer, filtered, sorted, and cut into pages. No I/O and no clock.

mod sort;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    str::FromStr,
    sync::Arc,
};

use aw_output::makers::is_local;
use aw_query::{Answer, Cell, ResultTable};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    display::{self, encoded},
    network::NetworkId,
    network_label,
};

pub use self::sort::{Sort, natural_order};

/// Devices that a page of a list shows.
pub const PAGE: usize = 100;
/// Addresses of a device that a list shows.
const ADDRESSES: usize = 3;

/// The name of a device in the file of names, and its maker.
type Labels = (Option<String>, Option<String>);

/// A device in one network, or in all that it was in.
#[derive(Clone, Debug)]
pub struct Device {
    pub mac: MacAddr,
    pub name: Option<Arc<str>>,
    pub maker: Option<Arc<str>>,
    /// What it calls itself, in which message, and since when.
    pub claimed: Option<(Arc<str>, Arc<str>, Option<UnixTime>)>,
    /// The latest first.
    pub addresses: Arc<[IpAddr]>,
    /// Other MACs whose frames had claims of this one.
    frame_sources: Arc<[MacAddr]>,
    /// What it announced or asked for, if it was not seen to use an address.
    not_seen_in_use: Arc<[Arc<str>]>,
    /// There are sightings of it.
    is_seen: bool,
    /// The last one.
    pub network: Arc<NetworkId>,
    pub first: Option<UnixTime>,
    pub last: Option<UnixTime>,
}

impl Device {
    /// A device that is in no list, with what it calls itself, if that is known.
    pub fn unlisted(
        mac: MacAddr,
        (name, maker): Labels,
        claimed: Option<&(String, &'static str)>,
    ) -> Device {
        let [name, maker] = [name, maker].map(|text| text.map(Arc::from));
        let claimed = claimed.map(|(name, source)| (Arc::from(&**name), Arc::from(*source), None));
        Device {
            mac,
            name,
            maker,
            claimed,
            addresses: Arc::default(),
            frame_sources: Arc::default(),
            not_seen_in_use: Arc::default(),
            is_seen: true,
            network: Arc::default(),
            first: None,
            last: None,
        }
    }

    /// Those that it had, and those that it announced or asked for.
    pub fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let claimed = self.not_seen_in_use.iter();
        let claimed = claimed.filter_map(|text| text.rsplit(' ').next()?.parse().ok());
        self.addresses.iter().copied().chain(claimed)
    }

    /// Whether it chose its MAC itself.
    pub fn is_private(&self) -> bool {
        is_local(self.mac)
    }

    /// Whether it is here: it was seen in so many minutes. A clock that is ahead by no more than this is no reason to say
    /// otherwise; but a sighting of next year does not make a device here until then.
    pub fn is_here(&self, within: usize, now: UnixTime) -> bool {
        let away = |last: UnixTime| last.seconds().abs_diff(now.seconds());
        self.last.is_some_and(|last| away(last) <= 60 * within as u64)
    }

    /// What it calls itself, as a page shows it.
    fn claim(&self) -> Option<String> {
        self.claimed.as_ref().map(|(name, source, _)| display::claimed(name, source))
    }

    /// Adds an earlier network of the same device.
    fn merge(&mut self, other: &Device) {
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
        let further = other.addresses.iter().filter(|ip| !self.addresses.contains(ip));
        let further: Vec<IpAddr> = further.copied().collect();
        if !further.is_empty() {
            self.addresses = self.addresses.iter().copied().chain(further).collect();
        }
        let claims = &self.not_seen_in_use;
        let further: Vec<_> =
            other.not_seen_in_use.iter().filter(|one| !claims.contains(one)).cloned().collect();
        if !further.is_empty() {
            self.not_seen_in_use = claims.iter().cloned().chain(further).collect();
        }
    }
}

/// All devices of a history, in little memory: it is shared by all who ask.
#[derive(Debug)]
pub struct DeviceList {
    columns: Vec<&'static str>,
    /// In order.
    pub networks: Vec<Arc<NetworkId>>,
    /// Once for each network of a device, and once for each device; those that were seen last first.
    of_networks: Vec<Device>,
    of_all: Vec<Device>,
    /// The same of those that were not seen to use an address: they count nowhere else.
    unseen_of_networks: Vec<Device>,
    unseen_of_all: Vec<Device>,
    /// When it was read.
    pub read_at: UnixTime,
    pub no_match: Option<String>,
    pub remarks: Vec<String>,
    pub is_complete: bool,
    /// The first sighting of all.
    pub begin: Option<UnixTime>,
}

impl DeviceList {
    /// Of the answer with the devices of all networks, which was asked for at a time.
    pub fn new(answer: Answer, read_at: UnixTime) -> DeviceList {
        let Answer { table, no_match, remarks, is_complete, .. } = answer;
        let columns = table.columns.clone();
        let all = Devices::new(&table).of(table);
        // One that only probed was seen, and is in both lists.
        let unseen: Vec<Device> =
            all.iter().filter(|one| !one.not_seen_in_use.is_empty()).cloned().collect();
        let of_networks: Vec<Device> = all.into_iter().filter(|one| one.is_seen).collect();
        let of_all = each_once(&of_networks);
        // Where it was seen in another network, it is one of the others.
        let used: HashSet<MacAddr> =
            of_all.iter().filter(|one| !one.addresses.is_empty()).map(|one| one.mac).collect();
        let mut unseen_of_all = each_once(&unseen);
        unseen_of_all.retain(|one| !used.contains(&one.mac));
        let networks: BTreeSet<_> = of_networks.iter().map(|one| &one.network).collect();
        let networks = networks.into_iter().map(Arc::clone).collect();
        let begin = of_networks.iter().filter_map(|device| device.first).min();
        DeviceList {
            columns,
            networks,
            of_networks,
            of_all,
            unseen_of_networks: unseen,
            unseen_of_all,
            read_at,
            no_match,
            remarks,
            is_complete,
            begin,
        }
    }

    /// The devices of all networks, each once for each of its networks; or else each once.
    pub fn devices(&self, by_network: bool) -> &[Device] {
        if by_network { &self.of_networks } else { &self.of_all }
    }

    /// The same of those that were not seen to use an address.
    pub fn unseen(&self, by_network: bool) -> &[Device] {
        if by_network { &self.unseen_of_networks } else { &self.unseen_of_all }
    }

    /// The network that is meant, if its host and ring are not named and only one is there.
    pub fn meant(&self, named: NetworkId) -> NetworkId {
        let mut meant = self.networks.iter().filter(|one| named.admits(one));
        match (meant.next(), meant.next()) {
            (Some(one), None) => NetworkId::clone(one),
            _ => named,
        }
    }

    /// An answer without rows, for those of [`DeviceList::rows`].
    pub fn answer(&self) -> Answer {
        let mut table = ResultTable::default();
        table.columns.clone_from(&self.columns);
        let (no_match, remarks) = (self.no_match.clone(), self.remarks.clone());
        Answer { table, no_match, remarks, left_off: 0, is_complete: self.is_complete }
    }

    /// The rows of these devices, each made when it is printed.
    pub fn rows(
        self: &Arc<DeviceList>,
        devices: &[&Device],
    ) -> impl ExactSizeIterator<Item = Vec<Cell>> + Send + Unpin + use<> {
        let list = Arc::clone(self);
        let devices: Vec<Device> = devices.iter().map(|one| (*one).clone()).collect();
        devices.into_iter().map(move |device| list.row(&device))
    }

    fn row(&self, device: &Device) -> Vec<Cell> {
        let macs = device.frame_sources.iter().map(MacAddr::to_string).collect();
        let label = |label: Option<&Arc<str>>| label.map(Cell::text).into();
        let claimed = device.claimed.as_ref();
        let of_column = |column: &&str| match column.trim_start_matches(['+', '?']) {
            "mac" => Cell::text(device.mac),
            "count" => (!device.is_seen).then_some(0).into(),
            "first_seen" => device.first.into(),
            "last_seen" => device.last.into(),
            "addresses" => Cell::List(device.addresses.iter().map(IpAddr::to_string).collect()),
            "frame_sources" => Cell::List(Vec::clone(&macs)),
            "not_seen_in_use" => {
                Cell::List(device.not_seen_in_use.iter().map(|text| (**text).into()).collect())
            }
            "name" => label(device.name.as_ref()),
            "maker" => label(device.maker.as_ref()),
            "claimed_name" => label(claimed.map(|(name, ..)| name)),
            "name_source" => label(claimed.map(|(_, source, _)| source)),
            "name_since" => claimed.and_then(|(.., since)| *since).into(),
            "network" => network_label::name(&device.network).map(Cell::Text).into(),
            column => device.network.cell(column),
        };
        self.columns.iter().map(of_column).collect()
    }
}

/// Of the rows of devices in networks, a device once.
fn each_once(of_networks: &[Device]) -> Vec<Device> {
    let mut of_all: Vec<Device> = Vec::new();
    let mut known: HashMap<MacAddr, usize> = HashMap::new();
    for device in of_networks {
        match known.get(&device.mac) {
            Some(at) => of_all[*at].merge(device),
            None => {
                known.insert(device.mac, of_all.len());
                of_all.push(device.clone());
            }
        }
    }
    of_all
}

/// Takes the devices of a table: what many of them have in common is there once.
struct Devices {
    /// Where the columns are.
    at: HashMap<&'static str, usize>,
    networks: HashMap<NetworkId, Arc<NetworkId>>,
    texts: HashSet<Arc<str>>,
    no_macs: Arc<[MacAddr]>,
    no_texts: Arc<[Arc<str>]>,
}

impl Devices {
    fn new(table: &ResultTable) -> Devices {
        let names = table.columns.iter().map(|name| name.trim_start_matches(['+', '?']));
        Devices {
            at: names.zip(0..).collect(),
            networks: HashMap::new(),
            texts: HashSet::new(),
            no_macs: Arc::default(),
            no_texts: Arc::default(),
        }
    }

    fn of(mut self, table: ResultTable) -> Vec<Device> {
        let mut devices = Vec::with_capacity(table.rows.len());
        // Each row is dropped here.
        table.rows.into_iter().for_each(|row| devices.extend(self.device(&row)));
        devices.shrink_to_fit();
        devices
    }

    fn device(&mut self, row: &[Cell]) -> Option<Device> {
        let at = |name| self.at.get(name).and_then(|at| row.get(*at)).unwrap_or(&Cell::None);
        let time = |name| match at(name) {
            Cell::Time(time) => Some(*time),
            _ => None,
        };
        fn list<T: FromStr>(cell: &Cell) -> Arc<[T]> {
            match cell {
                Cell::List(list) => list.iter().filter_map(|text| text.parse().ok()).collect(),
                _ => Arc::default(),
            }
        }
        let mac = match at("mac") {
            Cell::Text(text) => text.parse().ok()?,
            _ => return None,
        };
        let (first, last) = (time("first_seen"), time("last_seen"));
        let (addresses, frame_sources) = (list(at("addresses")), list(at("frame_sources")));
        let at_count = at("count").clone();
        let not_seen_in_use: Vec<String> = match at("not_seen_in_use") {
            Cell::List(list) => list.clone(),
            _ => Vec::new(),
        };
        let labels = ["name", "maker", "claimed_name", "name_source"];
        let labels = labels.map(|name| display::text(at(name)));
        let since = time("name_since");
        let id = NetworkId::of_cells(at);
        let network = self.networks.get(&id).cloned();
        let network = network.unwrap_or_else(|| {
            let shared = Arc::new(id.clone());
            self.networks.insert(id, Arc::clone(&shared));
            shared
        });
        let [name, maker, claimed, source] =
            labels.map(|label| label.map(|label| self.text(&label)));
        let claimed = claimed.zip(source).map(|(name, source)| (name, source, since));
        let frame_sources =
            if frame_sources.is_empty() { Arc::clone(&self.no_macs) } else { frame_sources };
        let not_seen_in_use = match not_seen_in_use.is_empty() {
            true => Arc::clone(&self.no_texts),
            false => not_seen_in_use.iter().map(|text| self.text(text)).collect(),
        };
        Some(Device {
            mac,
            name,
            maker,
            claimed,
            addresses,
            frame_sources,
            not_seen_in_use,
            is_seen: at_count != Cell::Number(0),
            network,
            first,
            last,
        })
    }

    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }
}

/// A column of a list.
pub struct Heading {
    pub label: &'static str,
    /// Sorts by it.
    pub link: String,
    /// For `aria-sort`, if the list is sorted by it.
    pub order: Option<&'static str>,
}

/// A device as a list shows it.
pub struct Shown {
    pub link: String,
    pub mac: String,
    pub name: String,
    pub maker: String,
    pub addresses: String,
    /// The same as text and link, and how many more there are.
    pub linked: (Vec<(String, String)>, usize),
    pub network: String,
    pub network_link: String,
    pub first: String,
    pub last: String,
    pub ago: String,
}

impl Shown {
    pub fn new(device: &Device, now: UnixTime, zone: &TimeZone) -> Shown {
        let time =
            |time: Option<UnixTime>| time.map_or("–".into(), |time| display::time(time, zone));
        let mac = device.mac.to_string();
        let maker = || match (display::is_own(device.mac), device.is_private()) {
            (true, _) => "this machine".into(),
            (false, true) => "private MAC".into(),
            (false, false) => String::new(),
        };
        let of_claims = device.not_seen_in_use.iter().map(|text| text.to_string());
        let all: Vec<String> =
            device.addresses.iter().map(IpAddr::to_string).chain(of_claims).collect();
        let more = all.len().saturating_sub(ADDRESSES);
        let between = if device.not_seen_in_use.is_empty() { " " } else { ", " };
        let mut addresses: Vec<String> = all.into_iter().take(ADDRESSES).collect();
        let link = |text: &String| {
            let ip = text.rsplit(' ').next().filter(|ip| ip.parse::<IpAddr>().is_ok());
            let to = ip.map_or_else(
                || format!("/mac/{}", encoded(&mac)),
                |ip| format!("/ip/{}", encoded(ip)),
            );
            (text.clone(), to)
        };
        let linked = (addresses.iter().map(link).collect(), more);
        addresses.extend((more > 0).then(|| format!("and {more} more")));
        Shown {
            link: format!("/mac/{}", encoded(&mac)),
            mac,
            name: device
                .name
                .as_deref()
                .map(str::to_owned)
                .or_else(|| device.claim())
                .unwrap_or_default(),
            maker: device.maker.as_deref().map_or_else(maker, str::to_owned),
            addresses: addresses.join(between),
            linked,
            network: device.network.label(),
            network_link: device.network.link(),
            first: time(device.first),
            last: time(device.last),
            ago: device.last.map_or_else(String::new, |last| ago(last, now)),
        }
    }
}

/// How long ago a time was.
pub fn ago(time: UnixTime, now: UnixTime) -> String {
    let seconds = now.seconds().saturating_sub(time.seconds()).max(0);
    let (number, unit) = match seconds {
        0..60 => return "now".into(),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    format!("{number} {unit} ago")
}

/// Which page of a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOf {
    /// From 1.
    pub number: usize,
    /// Of so many.
    pub all: usize,
}

impl PageOf {
    /// A page that there is: the last one for a number beyond it.
    pub fn new(number: usize, items: usize) -> PageOf {
        let all = items.div_ceil(PAGE).max(1);
        PageOf { number: number.clamp(1, all), all }
    }

    pub fn items<T>(self, items: &[T]) -> impl Iterator<Item = &T> {
        items.iter().skip((self.number - 1) * PAGE).take(PAGE)
    }
}

#[cfg(test)]
mod tests;
