//! Servers that answer for others: proxy ARP, Network Load Balancing, DHCP servers.

use super::story::{DAY, HOUR, Host, MINUTE, SECOND, Story, device, gateway, host, ip};
use super::{Expected, Scenario};
use crate::frames::Mac;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        proxy_range(),
        proxy_for_all(),
        proxy_and_newcomer(),
        nlb("nlb-unicast", "Network Load Balancing, unicast", 0x02),
        nlb("nlb-multicast", "Network Load Balancing, multicast", 0x03),
        nlb_igmp(),
        two_dhcp_servers(),
    ]
}

/// A router that answers for the dial-in addresses .128 to .191; one of them is used in the office one day.
fn proxy_range() -> Scenario {
    let mut story = Story::office(4);
    let router = host(2);
    story.works(0..4 * DAY, router, gateway());
    for day in 0..4_u64 {
        let addresses = if day == 0 { 128..176 } else { 140..192 };
        for last in addresses {
            let time = day * DAY + HOUR + u64::from(last) * 20 * SECOND;
            story.ask(time, host(10), router.with(last));
        }
    }
    let laptop = Host { mac: device(0x200), ip: ip(130) };
    story.works(2 * HOUR..9 * HOUR, Host { ip: ip(90), ..laptop }, gateway());
    story.works(DAY + 3 * HOUR..DAY + 9 * HOUR, laptop, gateway());
    let what = "proxy ARP for 64 addresses; a known laptop comes in with one of them";
    Scenario::new("proxy-range", what, story).reports([Expected::new(
        "changed",
        ip(130),
        laptop.mac,
    )
    .in_digest()
    .by_design()])
}

/// A router that answers each request, also for hosts that were there first and answer themselves.
fn proxy_for_all() -> Scenario {
    let what = "proxy ARP for hosts that were there first: both answer";
    Scenario::new("proxy-for-all", what, answers_for_all())
}

/// A new laptop comes to such a network. The router answers its probes, too, as Cisco's do.
fn proxy_and_newcomer() -> Scenario {
    let mut story = answers_for_all();
    let (router, laptop) = (host(2), Host { mac: device(0x200), ip: ip(70) });
    let joins = DAY + 3 * HOUR;
    story.join(joins, laptop, gateway());
    for probe in 0..3 {
        story.defend(joins + probe * 1500 + 3, router.with(70), laptop.mac);
    }
    story.every(joins + HOUR..4 * DAY, 6 * HOUR, |story, time| {
        story.ask(time, gateway(), laptop);
        story.reply(time + 4, router.with(70), gateway());
    });
    let what = "the same with a new laptop; the router answers its probes, too";
    Scenario::new("proxy-newcomer", what, story).reports([
        Expected::new("new_device", "-", laptop.mac),
        Expected::new("changed", laptop.ip, laptop.mac).by_design(),
        Expected::new("flip_flop", laptop.ip, router.mac).in_digest().wrong(),
        Expected::new("flip_flop", laptop.ip, laptop.mac).times(11).in_digest().wrong(),
    ])
}

fn answers_for_all() -> Story {
    let mut story = Story::office(4);
    let router = host(2);
    let others = 20..60_u8;
    for last in others.clone() {
        story.ask(u64::from(last) * SECOND, host(last), gateway());
    }
    story.works(5 * MINUTE..4 * DAY, router, gateway());
    for day in 0..4_u64 {
        for last in others.clone() {
            let time = day * DAY + 2 * HOUR + u64::from(last) * 15 * MINUTE;
            story.ask(time, gateway(), host(last));
            story.reply(time + 4, router.with(last), gateway());
        }
    }
    story
}

/// A cluster of two nodes at .50; both answer, with the cluster's MAC in ARP and one of their own in the frame.
fn nlb(name: &'static str, what: &'static str, first: u8) -> Scenario {
    let mut story = Story::office(4);
    let cluster: Mac = [first, 0xbf, 192, 0, 2, 50];
    let nodes = [host(51), host(52)];
    let unicast = first == 0x02;
    let frames = match unicast {
        // MaskSourceMAC: so that no switch learns where the cluster is.
        true => [[0x02, 0x01, 192, 0, 2, 50], [0x02, 0x02, 192, 0, 2, 50]],
        false => nodes.map(|node| node.mac),
    };
    cluster_story(&mut story, cluster, frames);
    for node in nodes {
        // With unicast, the nodes' cards have the cluster's MAC.
        let node = if unicast { node.by(cluster) } else { node };
        story.works(0..4 * DAY, node, gateway());
    }
    Scenario::new(name, what, story)
}

fn nlb_igmp() -> Scenario {
    let mut story = Story::office(4);
    let nodes = [host(51), host(52)];
    cluster_story(&mut story, [0x01, 0x00, 0x5e, 0x7f, 2, 50], nodes.map(|node| node.mac));
    for node in nodes {
        story.works(0..4 * DAY, node, gateway());
    }
    Scenario::new("nlb-igmp", "Network Load Balancing, multicast with IGMP", story)
}

/// Hosts look for the cluster. One node is down for six hours of the third day.
fn cluster_story(story: &mut Story, cluster: Mac, frames: [Mac; 2]) {
    story.every(4 * MINUTE..4 * DAY, HOUR, |story, time| {
        story.request(time, host(10), ip(50));
        let down = (2 * DAY + HOUR..2 * DAY + 7 * HOUR).contains(&time);
        for (number, source) in (1..).zip(frames).skip(usize::from(down)) {
            story.reply_in_frame_of(source, time + number, host(50).by(cluster), host(10));
        }
    });
}

/// Two DHCP servers whose lists of leases are old: both probe an address before they offer it, and its owner answers.
fn two_dhcp_servers() -> Scenario {
    let mut story = Story::office(4);
    let servers = [host(4), host(5)];
    for server in servers {
        story.works(0..4 * DAY, server, gateway());
    }
    for (last, minute) in [(10_u8, 3_u64), (11, 17), (12, 41)] {
        story.every(minute * MINUTE..4 * DAY, 4 * HOUR, |story, time| {
            for (delay, server) in [(0, servers[0]), (30, servers[1])] {
                story.probe(time + delay, server.mac, ip(last));
                story.defend(time + delay + 1, host(last), server.mac);
            }
        });
    }
    let what = "two DHCP servers that probe addresses which are in use";
    Scenario::new("dhcp-servers", what, story)
}
