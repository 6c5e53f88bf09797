//! Gateways and servers of two machines or two network cards: one takes over from the other.

use super::story::{
    DAY, HOUR, Host, Host6, MINUTE, SECOND, Story, device, gateway, host, host6, ip,
};
use super::{Expected, Scenario};
use crate::frames::{Arp, Ethernet, Mac};
use crate::neighbor::Neighbor;
use std::net::Ipv6Addr;

const VRRP: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x07];
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7);
const HSRP: Mac = [0x00, 0x00, 0x0c, 0x07, 0xac, 0x01];
const GLBP: [Mac; 2] = [[0x00, 0x07, 0xb4, 0x00, 0x01, 0x01], [0x00, 0x07, 0xb4, 0x00, 0x01, 0x02]];

pub(super) fn all() -> Vec<Scenario> {
    vec![
        vrrp(),
        vrrp_physical(),
        vrrp_physical_later(),
        vrrp_advertised(),
        vrrp_advertised_later(),
        carp(),
        hsrp(),
        hsrp_later(),
        glbp(),
        keepalived(),
        keepalived_learned(),
        bond_same_mac(),
        bond_active_mac(),
        bond_alb(),
    ]
}

/// The address of the gateways' group, claimed by this MAC.
fn virtual_gateway(mac: Mac) -> Host {
    gateway().by(mac)
}

/// Two routers with addresses of their own, .2 and .3, which hosts look for now and then.
fn routers(story: &mut Story) -> [Host; 2] {
    let routers = [host(2), host(3)];
    story.every(5 * MINUTE..4 * DAY, 6 * HOUR, |story, time| {
        story.ask(time, host(10), routers[0]);
        story.ask(time + SECOND, host(11), routers[1]);
    });
    routers
}

/// Three hosts behind a gateway with this MAC, which answers in frames of the active router.
fn hosts_behind(story: &mut Story, mac: Mac, frame_source: impl Fn(u64) -> Mac) {
    for number in [10, 11, 12] {
        let begin = u64::from(number) * 7 * SECOND;
        story.every(begin..4 * DAY, HOUR, |story, time| {
            story.request(time, host(number), ip(1));
            let gateway = virtual_gateway(mac);
            story.reply_in_frame_of(frame_source(time), time + 1, gateway, host(number));
        });
    }
}

/// Each router is active for half of each day, or from this time on.
fn active(routers: [Host; 2], time: u64) -> Host {
    routers[usize::from(time % DAY >= DAY / 2)]
}

fn vrrp() -> Scenario {
    let mut story = Story::default();
    routers(&mut story);
    hosts_behind(&mut story, VRRP, |_| VRRP);
    for takeover in [DAY + 3 * HOUR, 2 * DAY + 5 * HOUR] {
        for number in 0..5 {
            story.announce(takeover + number * 10, virtual_gateway(VRRP));
        }
    }
    Scenario::new("vrrp", "VRRP or keepalived with use_vmac: the backup takes over, twice", story)
}

/// The active router asks with the group's address and its own MAC, as Linux does without arp_announce.
fn vrrp_physical() -> Scenario {
    let mut story = Story::default();
    let routers = routers(&mut story);
    hosts_behind(&mut story, VRRP, |_| VRRP);
    story.every(30 * MINUTE..4 * DAY, 2 * HOUR, |story, time| {
        let mac = active(routers, time).mac;
        story.ask(time, virtual_gateway(mac), host(10));
        story.ask(time + 20, virtual_gateway(mac), host(11));
    });
    story.every(DAY / 2..4 * DAY, DAY / 2, |story, time| {
        for number in 0..5 {
            story.announce(time + number * 10, virtual_gateway(VRRP));
        }
    });
    let what = "VRRP whose active router asks with its own MAC; it takes over on each day";
    Scenario::new("vrrp-physical", what, story)
}

/// The same with one takeover, after the first day, for twelve hours: the backup's own MAC is new at the group's address.
fn vrrp_physical_later() -> Scenario {
    let mut story = Story::default();
    let routers = routers(&mut story);
    hosts_behind(&mut story, VRRP, |_| VRRP);
    let backup = DAY + 6 * HOUR..DAY + 18 * HOUR;
    story.announce(backup.start, virtual_gateway(VRRP));
    story.announce(backup.end, virtual_gateway(VRRP));
    story.every(30 * MINUTE..4 * DAY, 2 * HOUR, |story, time| {
        let mac = routers[usize::from(backup.contains(&time))].mac;
        story.ask(time, virtual_gateway(mac), host(10));
    });
    let what = "the same with one takeover for twelve hours, after the first day";
    Scenario::new("vrrp-physical-later", what, story).reports([
        Expected::new("changed", ip(1), routers[1].mac).by_design(),
        Expected::new("flip_flop", ip(1), routers[1].mac).times(5).by_design(),
    ])
}

/// radvd on a pair of routers with a virtual link-local address: advertisements of the address (NA) have the virtual MAC, those
/// of the router (RA) the MAC of the active card.
fn advertised(active: impl Fn(u64) -> Mac) -> Story {
    let mut story = Story::default();
    let virtual_router = Host6 { mac: VRRP, ip: LINK_LOCAL };
    for number in [10, 11, 12] {
        let asker = host6(device(number), number);
        story.every(u64::from(number) * 7 * SECOND..4 * DAY, HOUR, |story, time| {
            story.ask6(time, asker, virtual_router);
        });
    }
    story.every(5 * MINUTE..4 * DAY, 10 * MINUTE, |story, time| {
        let mac = active(time);
        story.frame(time, Neighbor::advertise_router(mac, LINK_LOCAL).frame(mac));
    });
    story
}

fn vrrp_advertised() -> Scenario {
    let story = advertised(|time| active([host(2), host(3)], time).mac);
    let what =
        "IPv6 VRRP whose routers advertise themselves with their own MACs; a takeover on each day";
    Scenario::new("vrrp-advertised", what, story)
}

/// The same with one takeover, after the first day, for twelve hours.
fn vrrp_advertised_later() -> Scenario {
    let backup = DAY + 6 * HOUR..DAY + 18 * HOUR;
    let story = advertised(|time| host(if backup.contains(&time) { 3 } else { 2 }).mac);
    let what = "the same with one takeover for twelve hours, after the first day";
    let backup = device(3);
    Scenario::new("vrrp-advertised-later", what, story).reports([
        Expected::new("new_device", LINK_LOCAL, backup).by_design(),
        Expected::new("changed", LINK_LOCAL, backup).by_design(),
        Expected::new("flip_flop", LINK_LOCAL, backup).times(11).by_design(),
    ])
}

/// FreeBSD: the virtual MAC in ARP, the card's MAC in the frame.
fn carp() -> Scenario {
    let mut story = Story::default();
    let routers = routers(&mut story);
    let takeover = 2 * DAY + 3 * HOUR;
    hosts_behind(&mut story, VRRP, |time| routers[usize::from(time > takeover)].mac);
    let arp = Arp::request(VRRP, ip(1), ip(1));
    for number in 0..3 {
        story.frame(takeover + number * SECOND, arp.on(&Ethernet::from(routers[1].mac)));
    }
    let what = "CARP, as pfSense has it: virtual MAC in ARP, the card's in the frame; one takeover";
    Scenario::new("carp", what, story)
}

fn hsrp() -> Scenario {
    let mut story = Story::default();
    routers(&mut story);
    hosts_behind(&mut story, HSRP, |_| HSRP);
    for number in 0..3 {
        story.gratuitous_reply(DAY + 9 * HOUR + number * 3 * SECOND, virtual_gateway(HSRP));
    }
    Scenario::new("hsrp", "HSRP: the standby router takes over", story)
}

/// A pair that is installed after the first day, beside the gateway.
fn hsrp_later() -> Scenario {
    let mut story = Story::office(4);
    routers(&mut story);
    let group = host(5).by(HSRP);
    story.announce(DAY + 3 * HOUR, group);
    story.every(DAY + 4 * HOUR..4 * DAY, HOUR, |story, time| story.ask(time, host(10), group));
    for number in 0..3 {
        story.gratuitous_reply(2 * DAY + 9 * HOUR + number * 3 * SECOND, group);
    }
    let what = "the same pair, installed after the first day; then the standby router takes over";
    Scenario::new("hsrp-later", what, story).reports([Expected::new("new_device", ip(5), HSRP)])
}

/// The gateway answers each host with another router's virtual MAC.
fn glbp() -> Scenario {
    let mut story = Story::default();
    routers(&mut story);
    story.every(7 * MINUTE..4 * DAY, HOUR, |story, time| {
        for (number, mac) in [(10, GLBP[0]), (11, GLBP[1]), (12, GLBP[0])] {
            story.ask(time + u64::from(number) * SECOND, host(number), virtual_gateway(mac));
        }
    });
    Scenario::new("glbp", "GLBP: the gateway has a virtual MAC for each half of the hosts", story)
}

/// The active machine announces the shared address .5 with its own MAC.
fn announces(story: &mut Story, time: u64, mac: Mac) {
    let shared = host(5).by(mac);
    for number in 0..5 {
        story.announce(time + number * 10, shared);
        story.announce(time + 5 * SECOND + number * 10, shared);
    }
}

/// Hosts look for the shared address .5; the machine that is active at that time answers.
fn shared_address(story: &mut Story, active: impl Fn(u64) -> Mac) {
    story.every(10 * MINUTE..4 * DAY, HOUR, |story, time| {
        story.ask(time, host(10), host(5).by(active(time)));
        story.ask(time + SECOND, host(11), host(5).by(active(time)));
    });
}

fn keepalived() -> Scenario {
    let mut story = Story::office(4);
    let routers = routers(&mut story);
    let (over, back) = (DAY + 2 * HOUR, 2 * DAY + 2 * HOUR);
    shared_address(&mut story, |time| routers[usize::from((over..back).contains(&time))].mac);
    announces(&mut story, over, routers[1].mac);
    announces(&mut story, back, routers[0].mac);
    Scenario::new(
        "keepalived",
        "keepalived without a virtual MAC: over to the backup for a day, and back",
        story,
    )
    .reports([
        Expected::new("changed", ip(5), routers[1].mac).by_design(),
        Expected::new("flip_flop", ip(5), routers[0].mac).by_design(),
    ])
}

fn keepalived_learned() -> Scenario {
    let mut story = Story::office(4);
    let routers = routers(&mut story);
    shared_address(&mut story, |time| active(routers, time).mac);
    announces(&mut story, 20 * SECOND, routers[0].mac);
    story.every(DAY / 2..4 * DAY, DAY / 2, |story, time| {
        announces(story, time, active(routers, time).mac);
    });
    let what = "the same; the backup takes over on each day, the first one included";
    Scenario::new("keepalived-learned", what, story)
}

/// A server .20 whose first card fails: fail_over_mac=none.
fn bond_same_mac() -> Scenario {
    let mut story = Story::office(4);
    story.works(0..4 * DAY, host(20), gateway());
    story.announce(DAY + 4 * HOUR, host(20));
    let what = "bonding, active-backup, fail_over_mac=none: a link fails";
    Scenario::new("bond", what, story)
}

/// The same with fail_over_mac=active: the second card's MAC was never seen.
fn bond_active_mac() -> Scenario {
    let mut story = Story::office(4);
    let (fails, second) = (DAY + 4 * HOUR, device(0x120));
    story.works(0..fails, host(20), gateway());
    story.announce(fails, host(20).by(second));
    story.works(fails..4 * DAY, host(20).by(second), gateway());
    let what = "bonding with fail_over_mac=active: the second card's MAC, never seen before";
    Scenario::new("bond-active-mac", what, story).reports([
        Expected::new("changed", ip(20), second).by_design(),
        Expected::new("new_device", ip(20), second).by_design(),
    ])
}

/// A server that answers some clients with one card's MAC, and some with the other's.
fn bond_alb() -> Scenario {
    let mut story = Story::office(4);
    let cards = [host(20), host(20).by(device(0x120))];
    let clients = [(host(10), cards[0]), (host(11), cards[1]), (host(12), cards[0])];
    story.every(3 * MINUTE..4 * DAY, HOUR, |story, time| {
        for (number, (client, card)) in (0..).zip(clients) {
            story.ask(time + number * 40, client, card);
        }
        // The server's own requests have the MAC of its active card.
        story.ask(time + 12 * MINUTE, cards[0], gateway());
    });
    // After a change of the cards' load, each client is updated, twice.
    story.every(50 * MINUTE..4 * DAY, 5 * HOUR, |story, time| {
        for repeat in [0, SECOND] {
            for (client, card) in clients {
                story.reply(time + repeat, card, client);
            }
        }
    });
    let what = "bonding, balance-alb: each client gets the MAC of one of two cards";
    Scenario::new("bond-alb", what, story)
}
