//! What is no event of the network, but of the sensors: a clock that is not set, two networks of one name.

use super::Scenario;
use super::story::{DAY, HOUR, Host, MINUTE, SECOND, Story, device, gateway, host};
use crate::capture_file::at;
use crate::frames::Arp;
use std::net::Ipv4Addr;

pub(super) fn all() -> Vec<Scenario> {
    vec![wrong_clock(), two_sites()]
}

/// The sensor has no clock: after each boot it is 1970 until the time is set. It boots before the first day and in each
/// of the following ones.
fn wrong_clock() -> Scenario {
    let mut story = Story::default();
    let boot = |story: &mut Story| {
        for (second, number) in [(31, 10), (35, 11), (47, 12)] {
            let frame = Arp::request(host(number).mac, host(number).ip, gateway().ip).frame();
            story.frame_at(at(second), frame);
            let reply = Arp::reply(gateway().mac, gateway().ip, host(number).ip).frame();
            story.frame_at(at(second + 1), reply);
        }
    };
    for day in 0..4_u64 {
        boot(&mut story);
        for hour in 0..23 {
            for number in [10, 11, 12] {
                let time = day * DAY + hour * HOUR + MINUTE + u64::from(number) * SECOND;
                story.ask(time, host(number), gateway());
            }
        }
    }
    let what = "a sensor without a clock boots in 1970, on each day";
    let mut scenario = Scenario::new("clock-1970", what, Story::default());
    scenario.captures = vec![story.capture_unsorted()];
    scenario
}

/// Two networks, each behind an interface eth0, both with 192.168.1.0/24.
fn two_sites() -> Scenario {
    let site = |first: u16| {
        let mut story = Story::default();
        let at = |number: u8| Host {
            mac: device(first + u16::from(number)),
            ip: Ipv4Addr::new(192, 168, 1, number),
        };
        for number in [20, 21, 22] {
            story.works(0..4 * DAY, at(number), at(1));
        }
        story.capture()
    };
    let what = "two sensors, both with eth0 and 192.168.1.0/24, read by one aw-alert";
    let mut scenario = Scenario::new("two-sites", what, Story::default());
    scenario.captures = vec![site(0x1000), site(0x2000)];
    scenario
}
