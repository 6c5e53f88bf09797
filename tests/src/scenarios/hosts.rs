//! Hosts with more MACs or addresses than one: two cards, proxies of Wi-Fi and of sleeping hosts, leases, private MACs,
//! containers, temporary addresses.

use std::net::Ipv4Addr;

use super::story::{
    DAY, HOUR, Host, Host6, MINUTE, SECOND, Story, device, gateway, host, host6, ip,
};
use super::{Expected, Scenario};
use crate::frames::{Arp, Ethernet, Mac};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        arp_flux(),
        sleep_proxy(),
        extender("extender-frame", "a Wi-Fi extender that puts its MAC in the frame only", 0),
        extender("extender-virtual", "one that gives each client a MAC of its own", 1),
        extender("extender-one", "one that uses its own MAC for all clients", 2),
        dhcp_churn("dhcp-churn", "DHCP: six known laptops swap their leases every morning", true),
        dhcp_churn("dhcp-no-probe", "the same with clients that do not probe", false),
        private_macs(),
        docker(),
        docker_random(),
        docker_recreated(),
        temporary_addresses(),
    ]
}

/// Linux without arp_ignore: each of two cards in one network answers for the addresses of both.
fn arp_flux() -> Scenario {
    let mut story = Story::office(4);
    let cards = [device(0x111), device(0x112)];
    story.every(2 * MINUTE..4 * DAY, 30 * MINUTE, |story, time| {
        for (number, first) in [(140, 0), (141, 1)] {
            let time = time + u64::from(number) * 37;
            story.request(time, gateway(), ip(number));
            story.reply(time + 1, host(number).by(cards[first]), gateway());
            story.reply(time + 2, host(number).by(cards[1 - first]), gateway());
        }
    });
    Scenario::new("arp-flux", "a host with two cards in one network; each answers for both", story)
}

/// A Mac sleeps eight times a day; an Apple TV answers for it meanwhile.
fn sleep_proxy() -> Scenario {
    let mut story = Story::office(4);
    let mac: Mac = [0x3c, 0x07, 0x54, 0, 0, 2];
    let proxy: Mac = [0xd0, 0x03, 0x4b, 0, 0, 1];
    story.works(0..4 * DAY, host(30).by(proxy), gateway());
    let (owner, owner6) = (host(31).by(mac), host6(mac, 0x31));
    let (sleeping, sleeping6) = (host(31).by(proxy), host6(proxy, 0x31));
    let router6 = host6(gateway().mac, 1);
    story.every(MINUTE..4 * DAY, 3 * HOUR, |story, wakes| {
        story.announce(wakes, owner);
        story.announce6(wakes + 5, owner6);
        story.ask(wakes + SECOND, owner, gateway());
        story.ask6(wakes + 2 * SECOND, owner6, router6);
        let sleeps = wakes + 5 * MINUTE;
        story.ask(sleeps - SECOND, owner, gateway());
        story.announce(sleeps + 5 * SECOND, sleeping);
        story.announce6(sleeps + 5 * SECOND + 5, sleeping6);
        story.every(sleeps + 10 * MINUTE..sleeps + 2 * HOUR, 30 * MINUTE, |story, time| {
            story.ask(time, gateway(), sleeping);
            story.ask6(time + 20, router6, sleeping6);
        });
    });
    Scenario::new("sleep-proxy", "Bonjour sleep proxy: it answers for a Mac that sleeps", story)
}

/// A phone that roams between the access point and an extender, every two hours.
fn extender(name: &'static str, what: &'static str, kind: u8) -> Scenario {
    let mut story = Story::office(4);
    let phone = host(20).by([0x3c, 0xa6, 0xf6, 0x58, 0xee, 0xb1]);
    let extender = host(9).by([0xb0, 0xbe, 0x76, 0x10, 0x20, 0x30]);
    story.works(0..4 * DAY, extender, gateway());
    let rewritten = match kind {
        0 => phone,
        1 => phone.by([0xb0, 0xbe, 0x76, 0x58, 0xee, 0xb1]),
        _ => phone.by(extender.mac),
    };
    let frame_source = if kind == 0 { [0xb0, 0xbe, 0x76, 0x58, 0xee, 0xb1] } else { rewritten.mac };
    story.every(0..4 * DAY, 2 * HOUR, |story, time| {
        for number in 0..3 {
            story.request(time + number * 10 * SECOND, phone, ip(1));
            story.reply(time + number * 10 * SECOND + 2, gateway(), phone);
            let later = time + 45 * SECOND + number * 10 * SECOND;
            let arp = Arp::request(rewritten.mac, phone.ip, ip(1));
            story.frame(later, arp.on(&Ethernet::from(frame_source)));
            story.reply(later + 2, gateway(), rewritten);
        }
        // While the phone is behind the extender, the gateway looks for it.
        story.every(time + 20 * MINUTE..time + 2 * HOUR, 40 * MINUTE, |story, time| {
            story.request(time, gateway(), phone.ip);
            story.reply_in_frame_of(frame_source, time + 4, rewritten, gateway());
        });
    });
    Scenario::new(name, what, story)
}

/// Six laptops, known from the first day, get other leases of the same pool on each morning. Without a probe, no frame
/// shows that the address was free.
fn dhcp_churn(name: &'static str, what: &'static str, probes: bool) -> Scenario {
    let mut story = Story::office(5);
    let mut expected = Vec::new();
    for day in 0..5_u64 {
        let morning = day * DAY + HOUR;
        for number in 0..6_u64 {
            let last = 100 + ((number + 2 * day) % 6) as u8;
            let laptop = Host { mac: device(0x200 + number as u16), ip: ip(last) };
            let joins = morning + number * 7 * MINUTE;
            match probes {
                true => story.join(joins, laptop, gateway()),
                false => story.ask(joins, laptop, gateway()),
            }
            story.works(joins + MINUTE..joins + 8 * HOUR, laptop, gateway());
            // On the fourth and fifth day it has addresses again that it had before, on the fourth those of the first, which
            // was learned.
            let kind = match day {
                0 => continue,
                1 | 2 => "changed",
                _ => "reused_old",
            };
            let moved = Expected::new(kind, laptop.ip, laptop.mac);
            expected.push(match (probes, day) {
                (true, _) => moved.in_digest().wrong(),
                (false, 3) => moved.in_digest().by_design(),
                (false, _) => moved.by_design(),
            });
        }
    }
    Scenario::new(name, what, story).reports(expected)
}

/// Two phones with another random MAC, and another lease, on each day.
fn private_macs() -> Scenario {
    let mut story = Story::office(4);
    let mut expected = Vec::new();
    for day in 0..4_u64 {
        for number in 0..2_u64 {
            let mac = [0x5e + 4 * number as u8, 0x11, day as u8, 0x33, 0x44, number as u8];
            let phone = Host { mac, ip: ip(110 + 2 * day as u8 + number as u8) };
            let joins = day * DAY + 2 * HOUR + number * 20 * MINUTE;
            story.join(joins, phone, gateway());
            story.works(joins + MINUTE..joins + 9 * HOUR, phone, gateway());
            if day > 0 {
                expected.push(Expected::new("new_device", "-", mac).in_digest().wrong());
            }
        }
    }
    let what = "private MACs: two phones have a random one for each day";
    Scenario::new("private-macs", what, story).reports(expected)
}

fn container(number: u8, mac: Mac) -> Host {
    Host { mac, ip: Ipv4Addr::new(172, 17, 0, number) }
}

/// Docker before release 28: the MAC follows from the address, so that both are used again together.
fn docker() -> Scenario {
    let mut story = Story::office(4);
    let mac = |number| [0x02, 0x42, 0xac, 0x11, 0, number];
    let bridge = container(1, [0x02, 0x42, 0x5c, 0x11, 0x22, 0x33]);
    for day in 0..4_u64 {
        for number in 2..6_u8 {
            // Each is created again five times a day.
            let begin = day * DAY + u64::from(number) * 11 * MINUTE;
            story.every(begin..begin + 20 * HOUR, 4 * HOUR, |story, time| {
                story.announce(time, container(number, mac(number)));
                story.ask(time + SECOND, container(number, mac(number)), bridge);
            });
        }
    }
    let what = "Docker: containers come and go, with the MAC that belongs to the address";
    Scenario::new("docker", what, story)
}

/// Docker 28: a random MAC for each container, on an address that another one had.
fn docker_random() -> Scenario {
    let mut story = Story::office(4);
    let bridge = container(1, [0x02, 0x42, 0x5c, 0x11, 0x22, 0x33]);
    let mut expected = Vec::new();
    for day in 0..4_u64 {
        let mac = [0xa6, 0x51, 0x07, day as u8, 0x61, 0xf0];
        let here = container(2, mac);
        let begin = day * DAY + 3 * HOUR;
        story.announce(begin, here);
        story.every(begin + SECOND..begin + 20 * HOUR, 2 * HOUR, |story, time| {
            story.ask(time, here, bridge);
        });
        if day > 0 {
            for kind in ["new_device", "changed"] {
                expected.push(Expected::new(kind, here.ip, mac).in_digest().wrong());
            }
        }
    }
    let what = "Docker 28: a random MAC for each container, on the same address";
    Scenario::new("docker-random", what, story).reports(expected)
}

/// The same in an update: the next container takes the address within a minute. `[[mute]]` names the bridge's network.
fn docker_recreated() -> Scenario {
    let mut story = Story::office(3);
    let bridge = container(1, [0x02, 0x42, 0x5c, 0x11, 0x22, 0x33]);
    let mac = |number| [0xa6, 0x51, 0x07, number, 0x61, 0xf0];
    let swap = DAY + 5 * HOUR;
    for (number, times) in [(1, 3 * HOUR..swap), (2, swap + MINUTE..3 * DAY)] {
        let here = container(2, mac(number));
        story.announce(times.start, here);
        story.every(times.start + SECOND..times.end, 30 * MINUTE, |story, time| {
            story.ask(time, here, bridge);
        });
    }
    let what = "the same in an update: the next container follows within a minute";
    Scenario::new("docker-recreated", what, story).reports([
        Expected::new("changed", container(2, mac(2)).ip, mac(2)).by_design(),
        Expected::new("new_device", container(2, mac(2)).ip, mac(2)).in_digest().wrong(),
    ])
}

/// Two hosts with a new temporary address on each day (RFC 8981), beside the stable one.
fn temporary_addresses() -> Scenario {
    let mut story = Story::office(4);
    let router = host6(gateway().mac, 1);
    for number in [10_u8, 11] {
        let mac = host(number).mac;
        let stable = host6(mac, number.into());
        story.dad(u64::from(number) * SECOND, stable);
        story.every(u64::from(number) * MINUTE..4 * DAY, 2 * HOUR, |story, time| {
            story.ask6(time, stable, router);
            story.ask6(time + MINUTE, router, stable);
        });
        for day in 0..4_u64 {
            let temporary: Host6 = host6(mac, 0x4000 + 16 * day as u16 + u16::from(number));
            let begin = day * DAY + u64::from(number) * 9 * MINUTE;
            story.dad(begin, temporary);
            story.every(begin + 2 * SECOND..begin + DAY, 3 * HOUR, |story, time| {
                story.ask6(time, temporary, router);
                story.ask6(time + 5 * SECOND, router, temporary);
            });
        }
    }
    let what = "IPv6: two hosts take another temporary address every day";
    Scenario::new("temporary-addresses", what, story)
}
