//! The message about the routers, DHCP servers and DNS servers that an interface has learned: from then on they are normal, so this is
//! the only message about them, also if one of them is a rogue.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
};

use aw_detect::{InfrastructureRow, Known, NamedServer, Part, Rules, Station, Trust};
use aw_output::{SinkResult, this_host};
use aw_service::{count_of, plain};
use serde_json::json;
use shm_layout::MacAddr;

use crate::learned::{Learned, MAX_LISTED, named, place, push_further};

/// The begins of the notes with the number of first MACs of named addresses that were reported in the VLANs of an interface, and how many
/// are reported: where nothing was learned, and where a router or server was, which a host can have made up while the interface learned.
pub const FIRST_IN_VLANS: [(&str, i64); 2] = [
    ("first MACs of named addresses in VLANs of ", 20),
    ("first MACs of named addresses in learned VLANs of ", 64),
];
/// MACs of an address that claimed it beside its own; of further ones, the number.
const MAX_CLAIMERS: usize = 4;

/// What the lines are, and what is to be done. `name`: of the interface.
fn intro(name: &str) -> String {
    format!(
        "While aw-alert learned, these routers, DHCP servers and DNS servers announced themselves
or were named. From now on they are normal, and others are reported. If one does not
belong there, remove it from the network, stop aw-alert, run: aw-alert relearn {name}
and start aw-alert again. aw-alert known shows this list at any time."
    )
}

/// What is compared with the rows of an interface.
pub struct Surroundings<'a> {
    pub rules: &'a Rules,
    /// Who claimed the addresses of its routers and servers, and those that the configuration names.
    pub stations: &'a [(String, IpAddr, Station)],
    /// Lines about named addresses that several MACs claimed.
    pub contested: Vec<String>,
}

impl Surroundings<'_> {
    fn station(&self, network: &str, key: &str) -> Option<&Station> {
        let ip: IpAddr = key.parse().ok()?;
        let is_it = |(of, at, station): &&(String, IpAddr, Station)| {
            of == network && *at == ip && !station.claims.is_empty()
        };
        self.stations.iter().find(is_it).map(|(.., station)| station)
    }

    /// The addresses that the configuration names, if hosts have them, and no row has them: a network, what it is, and the address.
    fn named(&self, rows: &[&InfrastructureRow]) -> Vec<(&str, Part, String)> {
        let mut named = Vec::new();
        for (network, ip, station) in self.stations {
            let part = match self.rules.naming_key(*ip) {
                Some("routers") => Part::Router,
                Some("dhcp_servers") => Part::DhcpServer,
                Some(_) => Part::Dns,
                None => continue,
            };
            let key = ip.to_string();
            let is_row = |(of, part_of, key_of, _): &&&InfrastructureRow| {
                of == network && *part_of == part && *key_of == key
            };
            if !station.claims.is_empty() && rows.iter().find(is_row).is_none() {
                named.push((&**network, part, key));
            }
        }
        named
    }
}

/// None if there is nothing. `known`: network, part, key and what is known of it. `maker`: of a MAC.
pub fn learned_infrastructure(
    interface: &str,
    known: &[InfrastructureRow],
    around: &Surroundings,
    time: i64,
    mut maker: impl FnMut(MacAddr) -> SinkResult<Option<String>>,
) -> SinkResult<Option<Learned>> {
    let rules = around.rules;
    let (known, macs) = with_macs(known);
    let named_ones = around.named(&known);
    if known.is_empty() && named_ones.is_empty() {
        return Ok(None);
    }
    let of_rows = known.iter().map(|row| (&*row.0, row.1, row.2.clone(), macs_of(row, &macs)));
    let of_named =
        named_ones.iter().map(|(network, part, key)| (*network, *part, key.clone(), Vec::new()));
    // What was learned first: it is the only message about it.
    let all: Vec<(&str, Part, String, Vec<KnownMac>)> = of_rows.chain(of_named).collect();
    let mut each = Vec::new();
    for (network, part, key, macs) in all.iter().take(MAX_LISTED) {
        let mut line = format!("{} {}", words(*part).0, plain(key));
        let mut show = |mac: MacAddr| -> SinkResult<String> {
            let maker = maker(mac)?.map(|maker| format!(" ({})", plain(&maker)));
            Ok(named(mac, &rules.names) + &maker.unwrap_or_default())
        };
        let station = around.station(network, key);
        let mut claimers = station.map(Station::macs).unwrap_or_default();
        let seen = macs.iter().map(|one| one.mac);
        let mut shown = owners(rules, key);
        let has_owners = !shown.is_empty();
        if has_owners {
            // No other one is its own, whatever was seen of it.
            claimers.extend(seen.filter(|mac| !claimers.contains(mac)).collect::<Vec<_>>());
        } else {
            shown.extend(seen);
        }
        for mac in &shown {
            line += &show(*mac)?;
            let is_seen = !has_owners || claimers.contains(mac);
            line += if is_seen { "" } else { " (not seen)" };
        }
        if shown.is_empty() {
            let first = claimers.first();
            let way = if key.contains(':') { "by Neighbor Discovery" } else { "by ARP" };
            line += &match first {
                Some(first) => format!("{} {way}", show(*first)?),
                // Most are elsewhere.
                None if *part == Part::Dns => String::new(),
                None => " (MAC not seen)".into(),
            };
            shown.extend(first);
        }
        let is_its = |mac: &MacAddr| {
            shown.contains(mac)
                || rules.proxies.contains(mac)
                || shown.first().is_some_and(|own| rules.are_grouped(&[*own, *mac]))
        };
        claimers.retain(|mac| !is_its(mac));
        for (index, mac) in claimers.iter().take(MAX_CLAIMERS).enumerate() {
            line += if index == 0 { ", also claimed by" } else { "," };
            line += &show(*mac)?;
        }
        let further = claimers.len().saturating_sub(MAX_CLAIMERS);
        line += &if further > 0 { format!(" and {further} more") } else { String::new() };
        line += &format!(" on {}", plain(&place(network, rules.show_ring)));
        let is_named = key.parse().is_ok_and(|ip| rules.guards(ip));
        each.push(line + if is_named { " (named)" } else { "" });
    }
    push_further(&mut each, all.len() as u64);
    let lines = without_router(&known, &macs, around);
    let contested = around.contested.iter().take(MAX_LISTED).cloned();
    each.splice(0..0, contested.chain(lines));
    let counted = [Part::Router, Part::DhcpServer, Part::Dns].into_iter().filter_map(|part| {
        let number = all.iter().filter(|(_, of, ..)| *of == part).count() as u64;
        let (one, many) = words(part);
        (number > 0).then(|| count_of(number, one, many))
    });
    let counted = counted.collect::<Vec<_>>().join(", ");
    let subject = format!("learned: {counted} on {}", plain(&place(interface, rules.show_ring)));
    let line = format!("{time} {subject}: {}", each.join(", "));
    let (host, keys) = (this_host(), all.iter().map(|(_, _, key, _)| key).collect::<Vec<_>>());
    let fields = json!({
        "kind": "learned", "host": host, "seconds": time, "count": all.len(),
        "addresses": keys, "interfaces": [interface],
    });
    let intro = intro(&plain(&place(interface, rules.show_ring)));
    Ok(Some(Learned { line, subject, intro, each, fields, host }))
}

/// Of each network whose DHCP or DNS server has an IPv4 address, and whose router is not known: how to name it. At an ordinary port,
/// answers that name it do not arrive. A router that the configuration names is known where a host has its address.
fn without_router(known: &[&InfrastructureRow], macs: &Macs, around: &Surroundings) -> Vec<String> {
    let rules = around.rules;
    let is_named = |ip: Ipv4Addr| rules.routers.iter().any(|one| one.includes(IpAddr::V4(ip)));
    let mut networks: BTreeMap<&str, (bool, BTreeMap<&str, Option<MacAddr>>)> = BTreeMap::new();
    for row in known {
        let (network, part, key, _) = row;
        if let Ok(ip) = key.parse::<Ipv4Addr>() {
            let (has_router, servers) = networks.entry(network).or_default();
            *has_router |= *part == Part::Router || is_named(ip);
            if *part == Part::DhcpServer {
                let mac = only_mac(macs_of(row, macs), around.station(network, key));
                servers.insert(key, mac.filter(|_| owners(rules, key).is_empty()));
            }
        }
    }
    for (network, ip, station) in around.stations {
        let is_router = rules.routers.iter().any(|one| one.address() == Some(*ip));
        if let Some((has_router, _)) = networks.get_mut(&**network).filter(|_| is_router) {
            *has_router |= ip.is_ipv4() && !station.claims.is_empty();
        }
    }
    let networks = networks.into_iter().filter(|(_, (has_router, _))| !has_router);
    let line = |(network, (_, servers)): (&str, (bool, BTreeMap<&str, Option<MacAddr>>))| {
        let place = plain(&place(network, rules.show_ring));
        // One of several may be a rogue.
        let servers: Vec<_> = servers.into_iter().map(|(key, mac)| (plain(key), mac)).collect();
        let (address, guess) = match &*servers {
            [] => ("ADDRESS".into(), String::new()),
            [(one, mac)] => (
                mac.map_or_else(|| one.clone(), |mac| format!("{one} {mac}")),
                format!(" ({one} is a guess: the DHCP server often is the router)"),
            ),
            all => {
                let all: Vec<_> = all.iter().map(|(key, _)| &**key).collect();
                (
                    "ADDRESS".into(),
                    format!(" (often it is that of a DHCP server: {})", all.join(", ")),
                )
            }
        };
        let add = rules.to_add_compared("routers", &rules.routers, &address);
        format!(
            "of IPv4, no router was seen on {place}, so a host that takes its address is not reported as gateway_taken: {add}{guess}"
        )
    };
    networks.take(MAX_LISTED).map(line).collect()
}

/// The MACs that the configuration has beside the address of a router or server.
fn owners(rules: &Rules, key: &str) -> Vec<MacAddr> {
    key.parse().map(|ip| rules.owners(ip)).unwrap_or_default()
}

/// The MAC of a server, if all that was seen of it shows the same one.
fn only_mac(macs: Vec<KnownMac>, station: Option<&Station>) -> Option<MacAddr> {
    let mut all: BTreeSet<_> = macs.iter().map(|one| one.mac).collect();
    all.extend(station.into_iter().flat_map(Station::macs));
    all.pop_first().filter(|_| all.is_empty())
}

/// A MAC of a router or server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMac {
    pub mac: MacAddr,
    /// Why it is known, in a word.
    pub why: &'static str,
    /// When it was first and last seen as that.
    pub times: [Option<i64>; 2],
}

/// The MACs of routers and servers, by network, part and key.
pub type Macs<'a> = HashMap<(&'a str, Part, &'a str), Vec<KnownMac>>;

/// Of these rows, those of routers and servers, and their MACs.
pub fn with_macs(rows: &[InfrastructureRow]) -> (Vec<&InfrastructureRow>, Macs<'_>) {
    let (mut others, mut macs) = (Vec::new(), Macs::new());
    for row in rows {
        let (network, part, key, Known { trust, number, first, last, further, .. }) = row;
        let of = match part {
            Part::DhcpServerMac => Part::DhcpServer,
            Part::RouterMac => Part::Router,
            _ => {
                others.push(row);
                continue;
            }
        };
        if let Some((key, mac)) = key.rsplit_once(' ')
            && let Ok(mac) = mac.parse()
        {
            // What it names is reported, and not that it is there.
            let why = match (trust, number, of) {
                (Trust::Reported, 1, Part::DhcpServer) => "answered",
                (Trust::Reported, 1, _) => "announced",
                _ => why(*trust),
            };
            // A takeover is the last thing that is known of it.
            let last = if of == Part::Router { *last.max(further) } else { *last };
            let times = [Some(*first), Some(last)];
            macs.entry((network, of, key)).or_default().push(KnownMac { mac, why, times });
        }
    }
    (others, macs)
}

/// The MACs of a router or server, its first one first. Each has the word of its own row, if it has one.
pub fn macs_of((network, part, key, known): &InfrastructureRow, macs: &Macs) -> Vec<KnownMac> {
    let of_this = macs.get(&(&**network, *part, &**key)).into_iter().flatten().copied();
    let (first, others): (Vec<_>, Vec<_>) = of_this.partition(|one| Some(one.mac) == known.mac);
    let without_row = known.mac.filter(|_| first.is_empty());
    let without_row =
        without_row.map(|mac| KnownMac { mac, why: why(known.trust), times: [None; 2] });
    first.into_iter().chain(without_row).chain(others).collect()
}

/// Why something is known, in a word.
pub fn why(trust: Trust) -> &'static str {
    match trust {
        Trust::Learned => "learned",
        Trust::Reported => "reported",
        Trust::Harmless => "in a digest",
        Trust::Named => "named",
    }
}

/// The addresses of routers and servers that the configuration names, and not only as a part of a block.
pub fn named_addresses(rules: &Rules) -> Vec<IpAddr> {
    let named = rules.named_lists().into_iter().flat_map(|(_, list)| list);
    let all: BTreeSet<_> = named.filter_map(NamedServer::address).collect();
    all.into_iter().collect()
}

pub fn words(part: Part) -> (&'static str, &'static str) {
    match part {
        Part::DhcpServer => ("DHCP server", "DHCP servers"),
        Part::Dns => ("DNS server", "DNS servers"),
        _ => ("router", "routers"),
    }
}

#[cfg(test)]
mod tests {
    use aw_detect::MacClaim;

    use super::*;

    fn around<'a>(rules: &'a Rules, stations: &'a [(String, IpAddr, Station)]) -> Surroundings<'a> {
        Surroundings { rules, stations, contested: Vec::new() }
    }

    /// A server that only requests name has the MAC of its address, if that was seen; and what the configuration names is in the same list.
    #[test]
    fn where_a_mac_is_from() {
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let row = |key: &str, part| ("s/r/eth0".to_owned(), part, key.to_owned(), Known::default());
        let rows = [
            row("192.0.2.1", Part::DhcpServer),
            row("192.0.2.9", Part::DhcpServer),
            row("192.0.2.53", Part::Dns),
        ];
        let station = |last| {
            let claim = MacClaim { mac: mac(last), time: 5 };
            Station { claims: vec![claim], first: Some(claim), ..Station::default() }
        };
        let at = |ip: &str, last| ("s/r/eth0".to_owned(), ip.parse().unwrap(), station(last));
        let mut stations = [at("192.0.2.1", 1), at("192.0.2.254", 2), at("192.0.2.253", 3)];
        stations[0].2.claims.insert(0, MacClaim { mac: mac(9), time: 6 });
        let rules = Rules {
            routers: vec![
                NamedServer::Addresses("192.0.2.254/32".parse().unwrap()),
                NamedServer::Owned([192, 0, 2, 253].into(), vec![mac(7)]),
            ],
            ..Rules::default()
        };
        let around = Surroundings { contested: vec!["two".into()], ..around(&rules, &stations) };
        let learned = learned_infrastructure("s/r/eth0", &rows, &around, 5, |_| Ok(None));
        let learned = learned.unwrap().unwrap();
        assert_eq!(learned.subject, "learned: 2 routers, 2 DHCP servers, 1 DNS server on eth0");
        assert_eq!(
            learned.each,
            [
                "two",
                "DHCP server 192.0.2.1 00:08:e1:00:00:01 by ARP, also claimed by 00:08:e1:00:00:09 on eth0",
                "DHCP server 192.0.2.9 (MAC not seen) on eth0",
                "DNS server 192.0.2.53 on eth0",
                "router 192.0.2.254 00:08:e1:00:00:02 by ARP on eth0 (named)",
                "router 192.0.2.253 00:08:e1:00:00:07 (not seen), also claimed by 00:08:e1:00:00:03 on eth0 (named)",
            ]
        );
    }

    /// The MAC that the configuration has beside an address is that of its router and server, whatever was seen, and no other is proposed.
    #[test]
    fn where_a_mac_is_in_the_configuration() {
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let (own, rogue) = (mac(1), mac(9));
        let ip = IpAddr::from([192, 0, 2, 1]);
        let row = |part, key: String| ("s/r/eth0".to_owned(), part, key, Known::default());
        let asked = row(Part::DhcpServer, ip.to_string());
        let claim = MacClaim { mac: rogue, time: 5 };
        let station = Station { claims: vec![claim], first: Some(claim), ..Station::default() };
        let stations = [("s/r/eth0".to_owned(), ip, station)];
        let owned = NamedServer::Owned(ip, vec![own]);
        let lines = |rules: &Rules, rows: &[_], stations: &[_]| {
            let around = around(rules, stations);
            let learned = learned_infrastructure("s/r/eth0", rows, &around, 5, |_| Ok(None));
            learned.unwrap().unwrap().each
        };
        let of_own = "192.0.2.1 00:08:e1:00:00:01";
        let claimed = "also claimed by 00:08:e1:00:00:09 on eth0 (named)";
        let rules = Rules { dhcp_servers: vec![owned.clone()], ..Rules::default() };
        let answered = |mac| row(Part::DhcpServerMac, format!("{ip} {mac}"));
        for (rows, stations, seen) in [
            (&[asked.clone()][..], &stations[..], " (not seen)"),
            (&[answered(rogue), asked.clone()], &[], " (not seen)"),
            (&[answered(rogue), answered(own), asked.clone()], &stations, ""),
        ] {
            let [router, server] = &*lines(&rules, rows, stations) else { panic!() };
            assert!(router.contains(" write routers = [\"192.0.2.1\"] in "), "{router}");
            assert_eq!(*server, format!("DHCP server {of_own}{seen}, {claimed}"));
        }
        let address = vec![NamedServer::Addresses(ip.into())];
        let rules = Rules { routers: vec![owned], dhcp_servers: address, ..Rules::default() };
        let of_both =
            ["DHCP server", "router"].map(|what| format!("{what} {of_own} (not seen), {claimed}"));
        assert_eq!(lines(&rules, &[asked], &stations), of_both);
    }

    /// Each router and server has all MACs that were learned for it; and a missing router of IPv4 is said.
    #[test]
    fn what_was_learned() {
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let row = |network: &str, part, key: &str, first: Option<u8>| {
            let known = Known { mac: first.map(mac), ..Known::default() };
            (format!("sensor/r/{network}"), part, key.to_owned(), known)
        };
        let with = |part, ip: &str, last| row("eth0", part, &format!("{ip} {}", mac(last)), None);
        let known = [
            with(Part::RouterMac, "fe80::1", 1),
            with(Part::RouterMac, "fe80::1", 2),
            row("eth0.7", Part::RouterMac, &format!("fe80::1 {}", mac(9)), None),
            row("eth0", Part::Router, "fe80::1", Some(1)),
            with(Part::DhcpServerMac, "192.0.2.1", 3),
            row("eth0", Part::DhcpServer, "192.0.2.1", None),
        ];
        let learned_at = |known: &[_], rules: &Rules, at: &[_]| {
            let learned =
                learned_infrastructure("sensor/r/eth0", known, &around(rules, at), 5, |_| Ok(None));
            learned.unwrap().map(|learned| {
                assert!(
                    learned.intro.contains(" run: aw-alert relearn eth0\n"),
                    "{}",
                    learned.intro
                );
                learned.each
            })
        };
        let learned = |known: &[_], rules: &Rules| learned_at(known, rules, &[]);
        let mut rules = Rules::default();
        let each = learned(&known, &rules).unwrap();
        assert_eq!(
            each[0],
            "of IPv4, no router was seen on eth0, so a host that takes its address is not reported as gateway_taken: if the MAC is on its label, write routers = [\"192.0.2.1 00:08:e1:00:00:03\"] in the configuration of aw-alert, and restart aw-alert (192.0.2.1 is a guess: the DHCP server often is the router)"
        );
        assert_eq!(each[1], "router fe80::1 00:08:e1:00:00:01 00:08:e1:00:00:02 on eth0");
        assert_eq!(each[2], "DHCP server 192.0.2.1 00:08:e1:00:00:03 on eth0");
        assert_eq!(each.len(), 3);
        let ipv4 = row("eth0", Part::Router, "192.0.2.254", None);
        assert_eq!(learned(&[&known[..], &[ipv4]].concat(), &rules).unwrap().len(), 3);
        // That of another VLAN is none of this one; and of several servers, one may be a rogue.
        let other = row("eth0.7", Part::Router, "10.7.0.254", None);
        assert_eq!(learned(&[&known[..], &[other]].concat(), &rules).unwrap().len(), 4);
        let rogue = row("eth0", Part::DhcpServer, "1.0.0.1", None);
        let each = learned(&[&known[..], &[rogue]].concat(), &rules).unwrap();
        let end = "routers = [\"ADDRESS\"] in the configuration of aw-alert, and restart aw-alert (often it is that of a DHCP server: 1.0.0.1, 192.0.2.1)";
        assert!(each[0].ends_with(end), "{each:?}");
        rules.routers = vec![NamedServer::Addresses("192.0.2.254/32".parse().unwrap())];
        let [named] = *named_addresses(&rules) else { panic!() };
        // One that is named is that of a network where a host has its address; a probe shows none.
        let mut station = Station::default();
        let at = |network: &str, station: &Station| {
            learned_at(&known, &rules, &[(network.into(), named, station.clone())]).unwrap().len()
        };
        assert_eq!(at("sensor/r/eth0", &station), 3);
        station.claims = vec![MacClaim { mac: mac(4), time: 5 }];
        // Its own line is there instead of how to name it.
        assert_eq!((at("sensor/r/eth0", &station), at("sensor/r/eth0.7", &station)), (3, 4));
        rules.routers = vec![NamedServer::Addresses("192.0.2.0/30".parse().unwrap())];
        assert_eq!((learned(&known, &rules).unwrap().len(), named_addresses(&rules).len()), (2, 0));
        assert_eq!(learned(&known[..3], &rules), None);
    }
}
