//! Programs and switches that look for all hosts. Most of them are known from the first day.

use super::story::{DAY, HOUR, Host6, MINUTE, SECOND, Story, device, gateway, host, host6, ip};
use super::{Expected, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![arp_scan_from_zero(), first_scan(), arp_scan(), device_tracking(), device_tracking_6()]
}

/// Every six hours, 60 addresses; .10 to .12 and the gateway answer.
fn scans(story: &mut Story, mut ask: impl FnMut(&mut Story, u64, u8)) {
    story.every(9 * MINUTE..4 * DAY, 6 * HOUR, |story, time| {
        for last in 1..60_u8 {
            ask(story, time + u64::from(last) * 10, last);
        }
    });
}

fn answers(last: u8) -> bool {
    matches!(last, 1 | 10 | 11 | 12)
}

fn arp_scan_from_zero() -> Scenario {
    let mut story = Story::office(4);
    let scanner = device(0x99);
    scans(&mut story, |story, time, last| {
        story.probe(time, scanner, ip(last));
        if answers(last) {
            story.defend(time + 1, host(last), scanner);
        }
    });
    Scenario::new("arp-scan-zero", "arp-scan from 0.0.0.0, every six hours", story)
}

/// On the port of a switch the sensor sees no answers to others: the first scan shows hosts that were always there.
fn first_scan() -> Scenario {
    let mut story = Story::office(4);
    let scanner = device(0x99);
    story.works(0..DAY, host(99).by(scanner), gateway());
    for last in 2..60_u8 {
        let time = DAY + 4 * HOUR + u64::from(last) * 10;
        story.probe(time, scanner, ip(last));
        if SILENT.contains(&last) {
            story.defend(time + 1, host(last), scanner);
        }
    }
    let found = SILENT.map(|last| Expected::new("new_device", ip(last), host(last).mac));
    // It cannot be distinguished from a host whose probes are answered by an attacker: `scanners` names it.
    let denied = Expected::new("duplicate", ip(4), host(4).mac).wrong();
    Scenario::new("arp-scan-first", "arp-scan from 0.0.0.0 finds hosts that were never seen", story)
        .reports(found)
        .reports([denied])
}

/// Hosts that the sensor has not seen.
const SILENT: std::ops::RangeInclusive<u8> = 2..=6;

fn arp_scan() -> Scenario {
    let mut story = Story::office(4);
    let scanner = host(99);
    scans(&mut story, |story, time, last| {
        story.request(time, scanner, ip(last));
        if answers(last) {
            story.reply(time + 1, host(last), scanner);
        }
    });
    Scenario::new("arp-scan", "arp-scan or nmap from an address of its own", story)
}

/// Cisco's IP device tracking: the switch probes each host that it knows.
fn device_tracking() -> Scenario {
    let mut story = Story::office(4);
    let switch = device(0x98);
    story.every(6 * MINUTE..4 * DAY, 15 * MINUTE, |story, time| {
        for last in [1, 10, 11, 12] {
            let time = time + u64::from(last) * SECOND;
            story.probe(time, switch, ip(last));
            story.defend(time + 1, host(last), switch);
        }
    });
    // A host that boots meanwhile probes its own address twice, as the switch does.
    for boots in [DAY + 5 * HOUR, 2 * DAY + 5 * HOUR] {
        story.join(boots, host(10), gateway());
        story.probe(boots + 3 * SECOND, switch, ip(10));
    }
    Scenario::new("device-tracking", "a switch that tracks hosts by ARP probes", story)
}

/// The same for IPv6, by Duplicate Address Detection: the owner answers to all nodes.
fn device_tracking_6() -> Scenario {
    let mut story = Story::office(4);
    let switch = device(0x98);
    let hosts: Vec<Host6> = [1, 10, 11, 12].map(|last| host6(host(last).mac, last.into())).into();
    story.every(6 * MINUTE..4 * DAY, 30 * MINUTE, |story, time| {
        for (number, owner) in (0..).zip(&hosts) {
            let time = time + number * SECOND;
            story.dad(time, Host6 { mac: switch, ..*owner });
            story.announce6(time + 1, *owner);
        }
        story.ask6(time + MINUTE, hosts[1], hosts[0]);
        story.ask6(time + 2 * MINUTE, hosts[2], hosts[0]);
    });
    Scenario::new("device-tracking-6", "a switch that tracks hosts by IPv6 DAD", story)
}
