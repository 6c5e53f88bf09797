//! Lists of devices: from the rows of an answer, filtered, sorted, and cut into pages. No I/O and no clock.

use std::{cmp::Reverse, net::IpAddr};

use aw_output::makers::is_local;
use aw_query::{Cell, ResultTable};
use aw_service::plain;
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    display::{self, encoded},
    network::NetworkId,
};

/// Devices that a page of a list shows.
pub const PAGE: usize = 100;
/// Addresses of a device that a list shows.
const ADDRESSES: usize = 3;

/// A device of an answer.
#[derive(Clone, Debug)]
pub struct Device {
    pub mac: MacAddr,
    pub name: Option<String>,
    pub maker: Option<String>,
    pub addresses: Vec<String>,
    pub network: NetworkId,
    pub first: Option<UnixTime>,
    pub last: Option<UnixTime>,
    /// Its row in the answer.
    pub row: usize,
}

impl Device {
    pub fn all(table: &ResultTable) -> Vec<Device> {
        let of_row = |(at, row): (usize, &Vec<Cell>)| {
            let text = |name| display::text(table.cell(row, name));
            let time = |name| match table.cell(row, name) {
                Cell::Time(time) => Some(*time),
                _ => None,
            };
            let addresses = match table.cell(row, "addresses") {
                Cell::List(list) => list.iter().map(|text| plain(text)).collect(),
                _ => Vec::new(),
            };
            Some(Device {
                mac: text("mac")?.parse().ok()?,
                name: text("name"),
                maker: text("maker"),
                addresses,
                network: NetworkId::of(table, row),
                first: time("first_seen"),
                last: time("last_seen"),
                row: at,
            })
        };
        table.rows.iter().enumerate().filter_map(of_row).collect()
    }

    /// Whether it chose its MAC itself.
    pub fn is_private(&self) -> bool {
        is_local(self.mac)
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
    pub fn sort(self, devices: &mut [Device], is_reversed: bool) {
        let missing_last = |text: &Option<String>| {
            (text.is_none(), text.as_deref().unwrap_or_default().to_lowercase())
        };
        let address = |one: &Device| one.addresses.first().and_then(|ip| ip.parse::<IpAddr>().ok());
        match self {
            Sort::Name => devices.sort_by_cached_key(|one| (missing_last(&one.name), one.mac)),
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
        let maker = || if device.is_private() { "private MAC".into() } else { String::new() };
        let more = device.addresses.len().saturating_sub(ADDRESSES);
        let mut addresses = device.addresses.iter().take(ADDRESSES).cloned().collect::<Vec<_>>();
        addresses.extend((more > 0).then(|| format!("and {more} more")));
        Shown {
            link: format!("/mac/{}", encoded(&mac)),
            mac,
            name: device.name.clone().unwrap_or_default(),
            maker: device.maker.clone().unwrap_or_else(maker),
            addresses: addresses.join(" "),
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
            name: name.map(str::to_owned),
            maker: None,
            addresses: [address].into_iter().filter(|ip| !ip.is_empty()).map(Into::into).collect(),
            network: NetworkId::default(),
            first: None,
            last: (last > 0).then(|| UnixTime::new(last, 0)),
            row: 0,
        }
    }

    #[test]
    fn orders() {
        let mut all = [
            device(1, Some("printer"), "10.0.0.10", 5),
            device(2, None, "10.0.0.9", 0),
            device(3, Some("Camera"), "", 9),
        ];
        let mut order = |sort: Sort, is_reversed| {
            sort.sort(&mut all, is_reversed);
            all.each_ref().map(|one| one.mac.octets()[5])
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
