//! What devices call themselves: which texts of a record are a name, and which of several is shown. All of it is a claim.

use std::{borrow::Cow, cmp::Reverse, collections::HashMap, net::IpAddr};

use shm_layout::{MacAddr, NameKind, NameMarks, NameRecord, UnixTime};

use crate::{ADDRESSES_OF_DEVICE, NAMES_OF_DEVICE};

/// The message in which a device names itself. The numbers are stored in databases; in their order, the first one that a device
/// uses is shown. The last three are the address that the message is about, in the place of a name: a history has no other place for an
/// address that a device was not seen to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum NameSource {
    /// Option 12 of a DHCP client.
    DhcpHostName = 1,
    /// Option 81 of a DHCP client, with a domain.
    DhcpFullName = 2,
    /// Option 39 of a DHCPv6 client, also when it registers an address.
    Dhcp6FullName = 3,
    /// The host of an address record in multicast DNS.
    MdnsHost = 4,
    /// The system name of LLDP.
    Lldp = 5,
    /// The model in multicast DNS.
    MdnsModel = 6,
    /// Option 60 of a DHCP client.
    DhcpVendor = 7,
    /// The address from which a host announces itself in multicast DNS.
    MdnsAddress = 8,
    /// The address that a client of DHCP asks for. It need not get it.
    RequestedAddress = 9,
    /// The address that a client of DHCP has, and asks to keep.
    RenewedAddress = 10,
}

impl NameSource {
    /// All of them.
    pub const ALL: [NameSource; 10] = [
        NameSource::DhcpHostName,
        NameSource::DhcpFullName,
        NameSource::Dhcp6FullName,
        NameSource::MdnsHost,
        NameSource::Lldp,
        NameSource::MdnsModel,
        NameSource::DhcpVendor,
        NameSource::MdnsAddress,
        NameSource::RequestedAddress,
        NameSource::RenewedAddress,
    ];

    /// The one with a number, if there is one.
    pub fn from_number(number: i64) -> Option<NameSource> {
        NameSource::ALL.into_iter().find(|one| *one as i64 == number)
    }

    /// In words, for answers and pages.
    pub const fn words(self) -> &'static str {
        match self {
            NameSource::DhcpHostName => "DHCP host name",
            NameSource::DhcpFullName => "DHCP full name",
            NameSource::Dhcp6FullName => "DHCPv6 full name",
            NameSource::MdnsHost => "mDNS host name",
            NameSource::Lldp => "LLDP system name",
            NameSource::MdnsModel => "mDNS model",
            NameSource::DhcpVendor => "DHCP vendor class",
            NameSource::MdnsAddress => "mDNS address",
            NameSource::RequestedAddress => "requested address",
            NameSource::RenewedAddress => "renewed address",
        }
    }

    /// Whether it is an address, and no name.
    pub const fn is_address(self) -> bool {
        matches!(
            self,
            NameSource::MdnsAddress | NameSource::RequestedAddress | NameSource::RenewedAddress
        )
    }

    /// How many names, or addresses, a history has of a MAC.
    pub const fn most(self) -> usize {
        if self.is_address() { ADDRESSES_OF_DEVICE } else { NAMES_OF_DEVICE }
    }
}

/// What the device of a record calls itself in it. What a server says of its client, and what comes from behind a relay, where any
/// host can send it, is no name; neither is what a host takes back.
pub fn names_of(record: &NameRecord) -> impl Iterator<Item = (NameSource, &str)> {
    use NameKind::*;
    let full_name = record.marks.has(NameMarks::FULL_NAME);
    let (name, detail) = match record.kind {
        DhcpDiscover | DhcpRequest | DhcpDecline | DhcpRelease | DhcpInform => {
            let source =
                if full_name { NameSource::DhcpFullName } else { NameSource::DhcpHostName };
            (Some(source), Some(NameSource::DhcpVendor))
        }
        DhcpFullName if record.sender == record.mac => (Some(NameSource::DhcpFullName), None),
        AddrReg | Dhcp6Solicit | Dhcp6Request | Dhcp6Renew | Dhcp6Rebind | Dhcp6Release
        | Dhcp6Decline => (Some(NameSource::Dhcp6FullName), None),
        MdnsHost if record.lifetime > 0 => (Some(NameSource::MdnsHost), None),
        MdnsModel if record.lifetime > 0 => (None, Some(NameSource::MdnsModel)),
        Lldp => (Some(NameSource::Lldp), None),
        _ => (None, None),
    };
    let is_own = record.relay_ip().is_none() && !record.mac.is_no_host();
    let texts = [(name, record.name.as_str()), (detail, record.detail.as_str())];
    let claimed = texts.into_iter().filter_map(|(source, text)| Some((source?, text)));
    claimed.filter(move |(source, text)| {
        let is_random = *source == NameSource::MdnsHost && is_uuid(text);
        is_own && !text.is_empty() && !is_random
    })
}

/// What a history stores of a record: what the device calls itself, and the address that it announces itself from, keeps or asks for.
pub fn claims_of(record: &NameRecord) -> impl Iterator<Item = (NameSource, Cow<'_, str>)> {
    let names = names_of(record).map(|(source, name)| (source, Cow::Borrowed(name)));
    names.chain(address_of(record).map(|(source, ip)| (source, Cow::Owned(ip.to_string()))))
}

/// Behind a relay, any host can send it. That the address of a record of multicast DNS is the source of its packet is checked before.
fn address_of(record: &NameRecord) -> Option<(NameSource, IpAddr)> {
    use NameKind::*;
    let source = match record.kind {
        MdnsHost if record.lifetime > 0 => NameSource::MdnsAddress,
        // To renew its lease, a client sends from the address that it has (RFC 2131, 4.3.2): who has none sends from 0.0.0.0.
        DhcpRequest if record.source_ip().is_some() && record.source_ip() == record.ip() => {
            NameSource::RenewedAddress
        }
        Dhcp6Renew | Dhcp6Rebind => NameSource::RenewedAddress,
        DhcpRequest | Dhcp6Request => NameSource::RequestedAddress,
        _ => return None,
    };
    let is_own = record.relay_ip().is_none() && !record.mac.is_no_host();
    record.ip().filter(|_| is_own).map(|ip| (source, ip))
}

/// Browsers announce a random name for each of their own addresses in multicast DNS.
fn is_uuid(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    text.len() == 36 && text.bytes().enumerate().all(is_right)
}

/// A name that a device gives itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedName {
    /// In which message.
    pub source: NameSource,
    /// The name.
    pub name: String,
    /// When it was first and last received.
    pub first: UnixTime,
    /// The last time; it may be an hour older than that.
    pub last: UnixTime,
}

impl ClaimedName {
    /// The one that is shown: the first source that the device still uses, and there the latest name. A source that it has not used for a
    /// day comes after those that it has: one forged message does not replace a name that is repeated for long.
    pub fn shown<'a>(
        all: impl IntoIterator<Item = &'a ClaimedName, IntoIter: Clone>,
    ) -> Option<&'a ClaimedName> {
        let all = all.into_iter();
        let newest = all.clone().map(|one| one.last.as_nanos()).max()?;
        let is_used = |one: &&ClaimedName| one.last.as_nanos() >= newest.saturating_sub(DISUSED);
        let used = all.filter(is_used);
        let is_new = |source| !used.clone().any(|one| one.source == source && one.is_known());
        let rank = |one: &&ClaimedName| {
            (is_new(one.source), one.source, Reverse(one.last), Reverse(one.first))
        };
        used.clone().min_by_key(rank)
    }

    fn is_known(&self) -> bool {
        self.last.as_nanos().saturating_sub(self.first.as_nanos()) >= KNOWN_AFTER
    }
}

/// What devices call themselves, in memory, for a program without a database of names: of each device the latest name of each source.
#[derive(Debug)]
pub struct ClaimedNames {
    devices: HashMap<MacAddr, Named>,
    most: usize,
}

#[derive(Debug)]
struct Named {
    /// When it named itself, in any way.
    first: UnixTime,
    last: UnixTime,
    claims: Vec<ClaimedName>,
}

impl Default for ClaimedNames {
    fn default() -> ClaimedNames {
        ClaimedNames { devices: HashMap::new(), most: DEVICES }
    }
}

/// Devices in [`ClaimedNames`]: at most 20 MB.
const DEVICES: usize = 16_384;
/// A device that has used names for so long makes no room for others: who invents MACs would have to do so for a day.
const KNOWN_AFTER: i64 = 86_400_000_000_000;

impl ClaimedNames {
    /// Adds the names in a record. Returns whether one is new.
    pub fn add(&mut self, record: &NameRecord) -> bool {
        let mut is_new = false;
        for (source, name) in names_of(record) {
            if self.devices.len() >= self.most && !self.devices.contains_key(&record.mac) {
                self.make_room();
            }
            if self.devices.len() >= self.most && !self.devices.contains_key(&record.mac) {
                return is_new;
            }
            let (first, last) = (record.time, record.time);
            let none = || Named { first, last, claims: Vec::new() };
            let device = self.devices.entry(record.mac).or_insert_with(none);
            device.last = device.last.max(last);
            let claims = &mut device.claims;
            match claims.iter_mut().find(|one| one.source == source) {
                Some(one) if one.name == name => one.last = one.last.max(last),
                Some(one) if one.last > last => {} // of another ring, and older
                Some(one) => {
                    *one = ClaimedName { source, name: name.into(), first, last };
                    is_new = true;
                }
                None => {
                    claims.push(ClaimedName { source, name: name.into(), first, last });
                    is_new = true;
                }
            }
        }
        is_new
    }

    /// What a device calls itself.
    pub fn of(&self, mac: MacAddr) -> Option<&ClaimedName> {
        ClaimedName::shown(&self.devices.get(&mac)?.claims)
    }

    /// A sixteenth of the devices go at once: those that named themselves longest ago.
    fn make_room(&mut self) {
        let is_known =
            |one: &Named| one.last.as_nanos().saturating_sub(one.first.as_nanos()) >= KNOWN_AFTER;
        let all = self.devices.iter().filter(|(_, one)| !is_known(one));
        let mut all: Vec<_> = all.map(|(mac, one)| (one.last, *mac)).collect();
        all.sort_unstable();
        all.iter().take(self.most / 16 + 1).for_each(|(_, mac)| drop(self.devices.remove(mac)));
    }
}

/// A source that a device has not used for so long while it used others, is not one of its names any more: 30 days.
const DISUSED: i64 = 30 * 86_400_000_000_000;

#[cfg(test)]
mod tests {
    use shm_layout::{MacAddr, NameText};

    use super::*;

    fn record(kind: NameKind) -> NameRecord {
        let mut record = NameRecord::new(kind, UnixTime::new(7, 0), "eth0".parse().unwrap());
        record.mac = MacAddr::new([2, 0, 0, 0, 0, 1]);
        (record.sender, record.lifetime) = (record.mac, 120);
        (record.name, record.detail) = (NameText::cut("nas"), NameText::cut("udhcp 1.35"));
        record
    }

    /// A client of DHCP that sends from the address which it asks for has it, and so has one of DHCPv6 that renews.
    #[test]
    fn a_renewed_address() {
        let of = |kind, source: &str| {
            let mut record = record(kind);
            record.address = "::ffff:192.0.2.7".parse().unwrap();
            record.source = source.parse().unwrap();
            let found = claims_of(&record).filter(|(source, _)| source.is_address());
            found.map(|(source, ip)| format!("{} {ip}", source.words())).collect::<Vec<_>>()
        };
        let none = Vec::<String>::new();
        for (kind, source, expected) in [
            (NameKind::DhcpRequest, "::ffff:0.0.0.0", vec!["requested address 192.0.2.7".into()]),
            (NameKind::DhcpRequest, "::ffff:192.0.2.8", vec!["requested address 192.0.2.7".into()]),
            (NameKind::DhcpRequest, "::ffff:192.0.2.7", vec!["renewed address 192.0.2.7".into()]),
            (NameKind::Dhcp6Request, "fe80::1", vec!["requested address 192.0.2.7".into()]),
            (NameKind::Dhcp6Renew, "fe80::1", vec!["renewed address 192.0.2.7".into()]),
            (NameKind::Dhcp6Rebind, "fe80::1", vec!["renewed address 192.0.2.7".into()]),
            (NameKind::DhcpDiscover, "::ffff:0.0.0.0", none),
        ] {
            assert_eq!(of(kind, source), expected, "{kind} {source}");
        }
    }

    #[test]
    fn what_is_a_name() {
        let shown = |record: &NameRecord| {
            let all = names_of(record).map(|(source, text)| format!("{}: {text}", source.words()));
            all.collect::<Vec<_>>().join(", ")
        };
        let of = |kind| shown(&record(kind));
        assert_eq!(of(NameKind::DhcpRequest), "DHCP host name: nas, DHCP vendor class: udhcp 1.35");
        assert_eq!(of(NameKind::DhcpFullName), "DHCP full name: nas");
        assert_eq!(of(NameKind::Dhcp6Request), "DHCPv6 full name: nas");
        assert_eq!(of(NameKind::AddrReg), "DHCPv6 full name: nas");
        assert_eq!(of(NameKind::MdnsHost), "mDNS host name: nas");
        assert_eq!(of(NameKind::MdnsModel), "mDNS model: udhcp 1.35");
        assert_eq!(of(NameKind::Lldp), "LLDP system name: nas");
        for kind in [NameKind::DhcpAck, NameKind::DhcpOffer, NameKind::DhcpDomain, NameKind::Router]
        {
            assert_eq!(of(kind), "", "{kind}");
        }
        let changed = |kind, change: fn(&mut NameRecord)| {
            let mut record = record(kind);
            change(&mut record);
            shown(&record)
        };
        let relayed = |kind| changed(kind, |one| one.relay = "2001:db8::1".parse().unwrap());
        assert_eq!(relayed(NameKind::DhcpRequest), "");
        assert_eq!(relayed(NameKind::AddrReg), "");
        let of_server = changed(NameKind::DhcpFullName, |one| one.sender = MacAddr::BROADCAST);
        assert_eq!(of_server, "");
        assert_eq!(changed(NameKind::MdnsHost, |one| one.lifetime = 0), "", "it leaves");
        let of_browser = |one: &mut NameRecord| {
            one.name = NameText::cut("1f4712db-ea17-4bcf-a596-105139dfd8bf");
        };
        assert_eq!(changed(NameKind::MdnsHost, of_browser), "");
        assert_eq!(changed(NameKind::Lldp, |one| one.mac = MacAddr::BROADCAST), "");
        let full = changed(NameKind::DhcpInform, |one| {
            one.marks.set(NameMarks::FULL_NAME);
            one.detail = NameText::EMPTY;
        });
        assert_eq!(full, "DHCP full name: nas");
    }

    #[test]
    fn what_is_an_address() {
        let of = |kind, change: fn(&mut NameRecord)| {
            let mut record = record(kind);
            record.address = "::ffff:192.0.2.7".parse().unwrap();
            change(&mut record);
            let all = claims_of(&record).filter(|(source, _)| source.is_address());
            all.map(|(source, ip)| format!("{}: {ip}", source.words())).collect::<Vec<_>>()
        };
        assert_eq!(of(NameKind::MdnsHost, |_| ()), ["mDNS address: 192.0.2.7"]);
        let browser = of(NameKind::MdnsHost, |one| {
            one.name = NameText::cut("1f4712db-ea17-4bcf-a596-105139dfd8bf");
            one.address = "fe80::7".parse().unwrap();
        });
        assert_eq!(
            browser,
            ["mDNS address: fe80::7"],
            "its name is random, and its address is not"
        );
        assert_eq!(of(NameKind::DhcpRequest, |_| ()), ["requested address: 192.0.2.7"]);
        let nothing: [Vec<String>; 5] = [
            of(NameKind::MdnsHost, |one| one.lifetime = 0),
            of(NameKind::DhcpRequest, |one| one.address = std::net::Ipv6Addr::UNSPECIFIED),
            of(NameKind::DhcpRequest, |one| one.relay = "::ffff:192.0.2.1".parse().unwrap()),
            of(NameKind::DhcpDiscover, |_| ()),
            of(NameKind::DhcpAck, |_| ()),
        ];
        assert!(nothing.iter().all(Vec::is_empty), "{nothing:?}");
    }

    /// A host that makes up MACs pushes out none that has used its name for a day.
    #[test]
    fn names_in_memory() {
        let mut names = ClaimedNames { most: 100, ..ClaimedNames::default() };
        let mut add = |mac: u16, name: &str, seconds: i64| {
            let [a, b] = mac.to_be_bytes();
            let time = UnixTime::new(seconds, 0);
            let mut record = NameRecord::new(NameKind::Lldp, time, "eth0".parse().unwrap());
            (record.mac, record.name) = (MacAddr::new([2, 0, 0, 0, a, b]), NameText::cut(name));
            let is_new = names.add(&record);
            (is_new, names.devices.len(), names.of(record.mac).map(|one| one.name.clone()))
        };
        let nas = Some("nas".to_owned());
        assert_eq!(add(1, "nas", 0), (true, 1, nas.clone()));
        assert_eq!(add(1, "nas", 86_400), (false, 1, nas.clone()));
        assert_eq!(add(1, "forged", 86_401).2.as_deref(), Some("forged"));
        for mac in 2..1_000 {
            let (is_new, devices, name) = add(mac, "made-up", 86_400 + i64::from(mac));
            assert!(is_new && devices <= 100 && name.is_some());
        }
        let (is_new, _, name) = add(1, "forged", 90_000);
        assert_eq!((is_new, name.as_deref()), (false, Some("forged")), "it was not pushed out");
        assert_eq!(add(1, "nas", 90_000).2, nas);
        assert_eq!(add(1, "nas-2", 90_001).2.as_deref(), Some("nas-2"));
        assert_eq!(add(1, "old", 80_000).2.as_deref(), Some("nas-2"));
    }

    #[test]
    fn the_name_that_is_shown() {
        let claim = |source, name: &str, [first, last]: [i64; 2]| ClaimedName {
            source,
            name: name.into(),
            first: UnixTime::new(first * 86_400, 0),
            last: UnixTime::new(last * 86_400, 0),
        };
        let mut all = vec![claim(NameSource::DhcpVendor, "MSFT 5.0", [1, 100])];
        let shown = |all: &[ClaimedName]| ClaimedName::shown(all).map(|one| one.name.clone());
        assert_eq!(shown(&[]), None);
        assert_eq!(shown(&all).as_deref(), Some("MSFT 5.0"));
        all.push(claim(NameSource::MdnsHost, "nas", [1, 100]));
        assert_eq!(shown(&all).as_deref(), Some("nas"));
        all.push(claim(NameSource::DhcpHostName, "forged", [100, 100]));
        assert_eq!(shown(&all).as_deref(), Some("nas"), "one message of a new source");
        all.pop();
        all.push(claim(NameSource::DhcpHostName, "NAS", [1, 71]));
        assert_eq!(shown(&all).as_deref(), Some("NAS"));
        all.push(claim(NameSource::DhcpHostName, "NAS-2", [60, 72]));
        assert_eq!(shown(&all).as_deref(), Some("NAS-2"), "the latest of a source");
        all.push(claim(NameSource::MdnsHost, "nas-3", [103, 103]));
        assert_eq!(shown(&all).as_deref(), Some("nas-3"), "it names itself otherwise now");
        assert!(NameSource::ALL.is_sorted() && NameSource::from_number(11).is_none());
        assert!(
            NameSource::ALL
                .iter()
                .all(|one| { NameSource::from_number(*one as i64) == Some(*one) })
        );
    }
}
