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

/// What the lines are, and what is to be done. `name`: of the interface.
fn intro(name: &str) -> String {
    format!(
        "While aw-alert learned, these routers, DHCP servers and DNS servers announced themselves
or were named. From now on they are normal, and others are reported. If one does not
belong there, remove it from the network, stop aw-alert, run: aw-alert relearn {name}
and start aw-alert again. aw-alert known shows this list at any time."
    )
}

/// None if there is nothing. `known`: network, part, key and what is known of it. `named_at`: the states of [`named_routers`]. `maker`: of
/// a MAC.
pub fn learned_infrastructure(
    interface: &str,
    known: &[InfrastructureRow],
    (rules, named_at): (&Rules, &[(String, IpAddr, Station)]),
    time: i64,
    mut maker: impl FnMut(MacAddr) -> SinkResult<Option<String>>,
) -> SinkResult<Option<Learned>> {
    let (known, macs) = with_macs(known);
    if known.is_empty() {
        return Ok(None);
    }
    let mut each = Vec::new();
    for row in known.iter().take(MAX_LISTED) {
        let (network, part, key, _) = row;
        let mut line = format!("{} {}", words(*part).0, plain(key));
        for (mac, _) in macs_of(row, &macs) {
            line += &named(mac, &rules.names);
            line += &maker(mac)?.map(|maker| format!(" ({})", plain(&maker))).unwrap_or_default();
        }
        each.push(format!("{line} on {}", plain(&place(network, rules.show_ring))));
    }
    push_further(&mut each, known.len() as u64);
    let lines = without_router(&known, rules, named_at);
    each.splice(0..0, lines);
    let counted = [Part::Router, Part::DhcpServer, Part::Dns].into_iter().filter_map(|part| {
        let number = known.iter().filter(|(_, of, ..)| *of == part).count() as u64;
        let (one, many) = words(part);
        (number > 0).then(|| count_of(number, one, many))
    });
    let counted = counted.collect::<Vec<_>>().join(", ");
    let subject = format!("learned: {counted} on {}", plain(&place(interface, rules.show_ring)));
    let line = format!("{time} {subject}: {}", each.join(", "));
    let (host, keys) = (this_host(), known.iter().map(|(_, _, key, _)| key).collect::<Vec<_>>());
    let fields = json!({
        "kind": "learned", "host": host, "seconds": time, "count": known.len(),
        "addresses": keys, "interfaces": [interface],
    });
    let intro = intro(&plain(&place(interface, rules.show_ring)));
    Ok(Some(Learned { line, subject, intro, each, fields, host }))
}

/// Of each network whose DHCP or DNS server has an IPv4 address, and whose router is not known: how to name it. At an ordinary port,
/// answers that name it do not arrive. A router that the configuration names is known where a host has its address.
fn without_router(
    known: &[&InfrastructureRow],
    rules: &Rules,
    named_at: &[(String, IpAddr, Station)],
) -> Vec<String> {
    let is_named = |ip: Ipv4Addr| {
        let has = |one: &NamedServer| matches!(one, NamedServer::Addresses(block) if block.contains(&IpAddr::V4(ip)));
        rules.routers.iter().any(has)
    };
    let mut networks: BTreeMap<&str, (bool, BTreeSet<&str>)> = BTreeMap::new();
    for (network, part, key, _) in known {
        if let Ok(ip) = key.parse::<Ipv4Addr>() {
            let (has_router, servers) = networks.entry(network).or_default();
            *has_router |= *part == Part::Router || is_named(ip);
            servers.extend((*part == Part::DhcpServer).then_some(&**key));
        }
    }
    for (network, ip, station) in named_at {
        if let Some((has_router, _)) = networks.get_mut(&**network) {
            *has_router |= ip.is_ipv4() && !station.claims.is_empty();
        }
    }
    let networks = networks.into_iter().filter(|(_, (has_router, _))| !has_router);
    let line = |(network, (_, servers)): (&str, (bool, BTreeSet<&str>))| {
        let place = plain(&place(network, rules.show_ring));
        // One of several may be a rogue.
        let servers: Vec<_> = servers.into_iter().map(plain).collect();
        let (address, guess) = match &*servers {
            [] => ("ADDRESS", String::new()),
            [one] => (&**one, format!(" ({one} is a guess: the DHCP server often is the router)")),
            all => ("ADDRESS", format!(" (often it is that of a DHCP server: {})", all.join(", "))),
        };
        let add = rules.to_add("routers", &rules.routers, address);
        format!(
            "of IPv4, no router was seen on {place}, so a host that takes its address is not reported as gateway_taken: {add}{guess}"
        )
    };
    networks.take(MAX_LISTED).map(line).collect()
}

/// A MAC, and in a word why it is known.
pub type KnownMac = (MacAddr, &'static str);
/// The MACs of routers and servers, by network, part and key.
pub type Macs<'a> = HashMap<(&'a str, Part, &'a str), Vec<KnownMac>>;

/// Of these rows, those of routers and servers, and their MACs.
pub fn with_macs(rows: &[InfrastructureRow]) -> (Vec<&InfrastructureRow>, Macs<'_>) {
    let (mut others, mut macs) = (Vec::new(), Macs::new());
    for row in rows {
        let (network, part, key, Known { trust, number, .. }) = row;
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
            macs.entry((network, of, key)).or_default().push((mac, why));
        }
    }
    (others, macs)
}

/// The MACs of a router or server, its first one first. Each has the word of its own row, if it has one.
pub fn macs_of((network, part, key, known): &InfrastructureRow, macs: &Macs) -> Vec<KnownMac> {
    let of_this = macs.get(&(&**network, *part, &**key)).into_iter().flatten().copied();
    let (first, others): (Vec<_>, Vec<_>) = of_this.partition(|(mac, _)| Some(*mac) == known.mac);
    let without_row = known.mac.filter(|_| first.is_empty()).map(|mac| (mac, why(known.trust)));
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

/// The addresses of routers that the configuration names, and not only as a part of a block.
pub fn named_routers(rules: &Rules) -> Vec<IpAddr> {
    let address = |one: &NamedServer| match one {
        NamedServer::Addresses(block) if *block == block.addr().into() => Some(block.addr()),
        _ => None,
    };
    rules.routers.iter().filter_map(address).collect()
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
                learned_infrastructure("sensor/r/eth0", known, (rules, at), 5, |_| Ok(None));
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
            "of IPv4, no router was seen on eth0, so a host that takes its address is not reported as gateway_taken: write routers = [\"192.0.2.1\"] in the configuration of aw-alert, and restart aw-alert (192.0.2.1 is a guess: the DHCP server often is the router)"
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
        let [named] = *named_routers(&rules) else { panic!() };
        // One that is named is that of a network where a host has its address; a probe shows none.
        let mut station = Station::default();
        let at = |network: &str, station: &Station| {
            learned_at(&known, &rules, &[(network.into(), named, station.clone())]).unwrap().len()
        };
        assert_eq!(at("sensor/r/eth0", &station), 3);
        station.claims = vec![MacClaim { mac: mac(4), time: 5 }];
        assert_eq!((at("sensor/r/eth0", &station), at("sensor/r/eth0.7", &station)), (2, 3));
        rules.routers = vec![NamedServer::Addresses("192.0.2.0/30".parse().unwrap())];
        assert_eq!((learned(&known, &rules).unwrap().len(), named_routers(&rules).len()), (2, 0));
        assert_eq!(learned(&known[..3], &rules), None);
    }
}
