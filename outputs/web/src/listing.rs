//! Lists of devices: from the rows of an answer, filtered, sorted, and cut into pages. No I/O and no clock.

use std::{
    cmp::{Ordering, Reverse},
    collections::{HashMap, HashSet},
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

/// Devices that a page of a list shows.
pub const PAGE: usize = 100;
/// Addresses of a device that a list shows.
const ADDRESSES: usize = 3;

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
    /// The last one.
    pub network: Arc<NetworkId>,
    pub first: Option<UnixTime>,
    pub last: Option<UnixTime>,
}

impl Device {
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
    pub no_match: Option<String>,
    pub remarks: Vec<String>,
    pub is_complete: bool,
    /// The first sighting of all.
    pub begin: Option<UnixTime>,
}

impl DeviceList {
    /// Of the answer with the devices of all networks.
    pub fn new(answer: Answer) -> DeviceList {
        let Answer { table, no_match, remarks, is_complete, .. } = answer;
        let columns = table.columns.clone();
        let (of_networks, networks) = Devices::new(&table).of(table);
        let mut of_all: Vec<Device> = Vec::new();
        let mut known: HashMap<MacAddr, usize> = HashMap::new();
        for device in &of_networks {
            match known.get(&device.mac) {
                Some(at) => of_all[*at].merge(device),
                None => {
                    known.insert(device.mac, of_all.len());
                    of_all.push(device.clone());
                }
            }
        }
        let begin = of_networks.iter().filter_map(|device| device.first).min();
        DeviceList { columns, networks, of_networks, of_all, no_match, remarks, is_complete, begin }
    }

    /// The devices of all networks, each once for each of its networks; or else each once.
    pub fn devices(&self, by_network: bool) -> &[Device] {
        if by_network { &self.of_networks } else { &self.of_all }
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
            "first_seen" => device.first.into(),
            "last_seen" => device.last.into(),
            "addresses" => Cell::List(device.addresses.iter().map(IpAddr::to_string).collect()),
            "frame_sources" => Cell::List(Vec::clone(&macs)),
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

/// Takes the devices of a table: what many of them have in common is there once.
struct Devices {
    /// Where the columns are.
    at: HashMap<&'static str, usize>,
    networks: HashMap<NetworkId, Arc<NetworkId>>,
    texts: HashSet<Arc<str>>,
    no_macs: Arc<[MacAddr]>,
}

impl Devices {
    fn new(table: &ResultTable) -> Devices {
        let names = table.columns.iter().map(|name| name.trim_start_matches(['+', '?']));
        Devices {
            at: names.zip(0..).collect(),
            networks: HashMap::new(),
            texts: HashSet::new(),
            no_macs: Arc::default(),
        }
    }

    fn of(mut self, table: ResultTable) -> (Vec<Device>, Vec<Arc<NetworkId>>) {
        let mut devices = Vec::with_capacity(table.rows.len());
        // Each row is dropped here.
        table.rows.into_iter().for_each(|row| devices.extend(self.device(&row)));
        devices.shrink_to_fit();
        let mut networks: Vec<_> = self.networks.into_values().collect();
        networks.sort_unstable();
        (devices, networks)
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
        Some(Device { mac, name, maker, claimed, addresses, frame_sources, network, first, last })
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

/// The order of two texts, in which numbers count as such: 2 before 10.
pub fn natural_order(mut one: &str, mut other: &str) -> Ordering {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    loop {
        let order = match (digits(one), digits(other)) {
            (of_one @ 1.., of_other @ 1..) => {
                let (number, rest) = one.split_at(of_one);
                let (other_number, other_rest) = other.split_at(of_other);
                (one, other) = (rest, other_rest);
                let [number, other_number] =
                    [number, other_number].map(|digits| digits.trim_start_matches('0'));
                number.len().cmp(&other_number.len()).then(number.cmp(other_number))
            }
            _ => {
                let (mut chars, mut other_chars) = (one.chars(), other.chars());
                let firsts = (chars.next(), other_chars.next());
                (one, other) = (chars.as_str(), other_chars.as_str());
                match firsts {
                    (None, None) => return Ordering::Equal,
                    (first, other_first) => first.cmp(&other_first),
                }
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// A text in that order, in lower case.
#[derive(PartialEq, Eq)]
struct Natural(String);

impl Ord for Natural {
    fn cmp(&self, other: &Natural) -> Ordering {
        natural_order(&self.0, &other.0).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Natural) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a list is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Name,
    Mac,
    Maker,
    Address,
    Network,
    First,
    Last,
}

impl Sort {
    pub const ALL: [Sort; 7] =
        [Sort::Name, Sort::Mac, Sort::Maker, Sort::Address, Sort::Network, Sort::First, Sort::Last];

    /// As a parameter.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Name => "name",
            Sort::Mac => "mac",
            Sort::Maker => "maker",
            Sort::Address => "address",
            Sort::Network => "network",
            Sort::First => "first",
            Sort::Last => "last",
        }
    }

    /// The heading of its column.
    pub fn label(self) -> &'static str {
        match self {
            Sort::Name => "Device",
            Sort::Mac => "MAC",
            Sort::Maker => "Maker",
            Sort::Address => "Addresses",
            Sort::Network => "Network",
            Sort::First => "First seen",
            Sort::Last => "Last seen",
        }
    }

    pub fn parse(text: &str) -> Option<Sort> {
        Sort::ALL.into_iter().find(|sort| sort.name() == text)
    }

    /// Sorts: times with the latest first, texts with the first one first, and what is missing last; or all of it reversed.
    pub fn sort(self, devices: &mut [&Device], is_reversed: bool) {
        let missing_last = |text: &Option<Arc<str>>| {
            (text.is_none(), Natural(text.as_deref().unwrap_or_default().to_lowercase()))
        };
        let address = |one: &Device| one.addresses.first().copied();
        match self {
            Sort::Name => devices.sort_by_cached_key(|one| {
                let claimed = one.claimed.as_ref().map(|(name, ..)| Arc::clone(name));
                (one.name.is_none(), missing_last(&one.name.clone().or(claimed)), one.mac)
            }),
            Sort::Mac => devices.sort_by_key(|one| one.mac),
            Sort::Maker => devices.sort_by_cached_key(|one| (missing_last(&one.maker), one.mac)),
            Sort::Address => devices.sort_by_cached_key(|one| {
                let address = address(one);
                (address.is_none(), address, one.mac)
            }),
            Sort::Network => devices
                .sort_by(|one, other| (&one.network, one.mac).cmp(&(&other.network, other.mac))),
            Sort::First => devices.sort_by_key(|one| (Reverse(one.first), one.mac)),
            Sort::Last => devices.sort_by_key(|one| (Reverse(one.last), one.mac)),
        }
        if is_reversed {
            devices.reverse();
        }
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
        let more = device.addresses.len().saturating_sub(ADDRESSES);
        let shown = device.addresses.iter().take(ADDRESSES);
        let mut addresses = shown.map(IpAddr::to_string).collect::<Vec<_>>();
        let link = |ip: &String| (ip.clone(), format!("/ip/{}", encoded(ip)));
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
            addresses: addresses.join(" "),
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
mod tests {
    use super::*;

    fn device(mac: u8, name: Option<&str>, address: &str, last: i64) -> Device {
        Device {
            mac: MacAddr::new([2, 0, 0, 0, 0, mac]),
            name: name.map(Into::into),
            maker: None,
            claimed: None,
            addresses: address.parse().into_iter().collect(),
            frame_sources: Arc::default(),
            network: Arc::default(),
            first: None,
            last: (last > 0).then(|| UnixTime::new(last, 0)),
        }
    }

    #[test]
    fn orders() {
        let all = [
            device(1, Some("camera 10"), "10.0.0.10", 5),
            device(2, None, "10.0.0.9", 0),
            device(3, Some("Camera 9"), "", 9),
        ];
        let mut all = all.each_ref();
        let mut order = |sort: Sort, is_reversed| {
            sort.sort(&mut all, is_reversed);
            all.map(|one| one.mac.octets()[5])
        };
        assert_eq!(order(Sort::Name, false), [3, 1, 2]);
        assert_eq!(order(Sort::Address, false), [2, 1, 3]);
        assert_eq!(order(Sort::Last, false), [3, 1, 2]);
        assert_eq!(order(Sort::Last, true), [2, 1, 3]);
        for sort in Sort::ALL {
            order(sort, false);
            assert_eq!(Sort::parse(sort.name()), Some(sort));
        }
        assert_eq!(order(Sort::Mac, false), [1, 2, 3]);
    }

    #[test]
    fn here() {
        let now = UnixTime::new(100_000, 0);
        let is_here = |last| device(1, None, "", last).is_here(30, now);
        for (last, expected) in [
            (98_200, true),
            (98_199, false),
            (101_800, true),
            (101_801, false),
            (i64::MAX / 2_000_000_000, false),
            (0, false),
        ] {
            assert_eq!(is_here(last), expected, "{last}");
        }
    }

    /// Of the rows of a device in several networks, one of the device; and each row again as it was.
    #[test]
    fn a_list_of_devices() {
        let mut table = ResultTable::default();
        table.columns = vec![
            "mac",
            "first_seen",
            "last_seen",
            "+count",
            "addresses",
            "+frame_sources",
            "interface",
            "vlan",
            "?outer_vlan",
            "?host",
            "?router",
            "?ring",
            "+claimed_name",
            "+name_source",
            "+name_since",
            "name",
            "maker",
        ];
        let row = |mac: u8, times: [i64; 2], addresses: &[&str], vlan: i64, name: Option<&str>| {
            let [first, last] = times.map(|time| Cell::Time(UnixTime::new(time, 0)));
            let addresses = Cell::List(addresses.iter().map(|ip| (*ip).into()).collect());
            let sources = Cell::List(vec!["02:00:00:00:00:09".into()]);
            let mac = Cell::text(MacAddr::new([2, 0, 0, 0, 0, mac]));
            let mut cells = vec![mac, first, last, Cell::None, addresses, sources];
            cells.extend([
                Cell::text("eth0"),
                vlan.into(),
                0.into(),
                Cell::text("here"),
                Cell::None,
                Cell::text("/r"),
            ]);
            match name {
                Some(name) => cells.extend([Cell::None, Cell::None, Cell::None, Cell::text(name)]),
                None => {
                    let claim = ["nas", "mDNS host name"].map(Cell::text);
                    cells.extend(claim);
                    cells.extend([UnixTime::new(2, 0).into(), Cell::None]);
                }
            }
            cells.push(Cell::None);
            cells
        };
        table.rows = vec![
            row(1, [5, 90], &["10.0.0.2", "10.0.0.1"], 7, Some("printer")),
            row(2, [1, 80], &["fe80::1"], 0, None),
            row(1, [3, 70], &["10.0.0.1", "10.0.0.3"], 0, Some("printer")),
        ];
        let rows = table.rows.clone();
        let answer =
            Answer { table, no_match: None, remarks: Vec::new(), left_off: 0, is_complete: true };
        let list = Arc::new(DeviceList::new(answer));
        let of = |devices: &[usize], by_network| {
            let devices: Vec<_> = devices.iter().map(|at| &list.devices(by_network)[*at]).collect();
            list.rows(&devices).collect::<Vec<_>>()
        };
        assert_eq!(of(&[2, 0, 1], true), [rows[2].clone(), rows[0].clone(), rows[1].clone()]);
        let one = row(1, [3, 90], &["10.0.0.2", "10.0.0.1", "10.0.0.3"], 7, Some("printer"));
        assert_eq!(of(&[0, 1], false), [one, rows[1].clone()]);
        assert_eq!(list.devices(false).len(), 2);
        let shown = |at: usize| {
            Shown::new(&list.devices(false)[at], UnixTime::new(100, 0), &TimeZone::UTC).name
        };
        assert_eq!([shown(0), shown(1)], ["printer", "“nas” (mDNS host name)"]);
        let vlans: Vec<_> = list.networks.iter().map(|one| one.cell("vlan")).collect();
        assert_eq!(vlans, [Cell::Number(0), Cell::Number(7)]);
    }

    #[test]
    fn pages() {
        let items: Vec<usize> = (0..2 * PAGE + 1).collect();
        let of = |number| {
            let page = PageOf::new(number, items.len());
            (page.number, page.all, page.items(&items).copied().next(), page.items(&items).count())
        };
        assert_eq!(of(1), (1, 3, Some(0), PAGE));
        assert_eq!(of(3), (3, 3, Some(2 * PAGE), 1));
        assert_eq!(of(usize::MAX), of(3));
        assert_eq!(of(0), of(1));
        assert_eq!(PageOf::new(7, 0), PageOf { number: 1, all: 1 });
    }

    #[test]
    fn how_long_ago() {
        let now = UnixTime::new(1_000_000, 0);
        for (seconds, text) in [
            (-5, "now"),
            (59, "now"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (7200, "2 h ago"),
            (200_000, "2 d ago"),
        ] {
            assert_eq!(ago(UnixTime::new(1_000_000 - seconds, 0), now), text);
        }
    }
}
