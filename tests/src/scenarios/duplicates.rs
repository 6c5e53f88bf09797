//! Two machines with one address.

use super::story::{DAY, HOUR, Host, Host6, MINUTE, SECOND, Story, device, gateway, host, host6};
use super::{Expected, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        both_answer(),
        learned_conflict(),
        both_announce(),
        same_lease(),
        both_answer_6(),
        dad_fails(),
    ]
}

/// When the second machine comes, and how long both are there: three hours, with one report in each.
const BEGIN: u64 = DAY + 3 * HOUR;
const END: u64 = BEGIN + 2 * HOUR + 50 * MINUTE;

/// The machine with the same address: a known one, from whose address it was configured.
fn second(story: &mut Story) -> Host {
    let other = host(30);
    story.works(0..BEGIN, other, gateway());
    Host { ip: host(10).ip, ..other }
}

/// The gateway asks every five minutes; both answer within milliseconds. Neither says anything else.
fn both_answer() -> Scenario {
    let mut story = Story::office(3);
    let (first, second) = (host(10), second(&mut story));
    story.every(BEGIN..END, 5 * MINUTE, |story, time| {
        story.request(time, gateway(), first.ip);
        story.reply(time + 1, first, gateway());
        story.reply(time + 11, second, gateway());
    });
    let what = "two machines answer the gateway, once in five minutes";
    Scenario::new("duplicate-answers", what, story).reports([
        Expected::new("duplicate", first.ip, second.mac),
        Expected::new("duplicate", first.ip, first.mac).times(3), // the last one is it, alone again
    ])
}

/// The conflict was there before the sensor was. What is learned is trusted.
fn learned_conflict() -> Scenario {
    let mut story = Story::office(3);
    let (first, second) = (host(10), second(&mut story));
    story.every(5 * MINUTE..END, 5 * MINUTE, |story, time| {
        story.request(time, gateway(), first.ip);
        story.reply(time + 1, first, gateway());
        story.reply(time + 11, second, gateway());
    });
    let what = "two machines answer for one address, from the learning time on";
    Scenario::new("duplicate-learned", what, story).reports([
        Expected::learned(&[first.ip]),
        Expected::new("duplicate", first.ip, second.mac).missed(),
    ])
}

/// The second announces itself; the first defends its address with an announcement (RFC 5227, 2.4), and so on.
fn both_announce() -> Scenario {
    let mut story = Story::office(3);
    let (first, second) = (host(10), second(&mut story));
    story.every(BEGIN..END, 15 * MINUTE, |story, time| {
        story.announce(time, second);
        story.announce(time + 3, first);
        story.announce(time + 12 * SECOND, second);
        story.announce(time + 12 * SECOND + 3, first);
    });
    let what = "two machines announce one address, and defend it";
    Scenario::new("duplicate-announced", what, story).reports([
        Expected::new("changed", first.ip, second.mac),
        Expected::new("duplicate", first.ip, first.mac),
        Expected::new("duplicate", first.ip, second.mac).times(2),
    ])
}

/// Both work: requests and answers of each, seconds to minutes apart.
fn same_lease() -> Scenario {
    let mut story = Story::office(3);
    let (first, second) = (host(10), second(&mut story));
    story.every(BEGIN..END, 2 * MINUTE, |story, time| {
        story.ask(time, first, gateway());
        story.ask(time + 25 * SECOND, second, gateway());
        story.ask(time + 50 * SECOND, first, host(11));
    });
    let what = "two machines work with one address";
    Scenario::new("duplicate-works", what, story).reports([
        Expected::new("changed", first.ip, second.mac),
        Expected::new("duplicate", first.ip, first.mac).times(3),
    ])
}

/// A cloned machine: no Duplicate Address Detection. Both answer the router's solicitations.
fn both_answer_6() -> Scenario {
    let mut story = Story::office(3);
    let router = host6(gateway().mac, 1);
    let first = host6(host(10).mac, 0x10);
    let second = Host6 { mac: second(&mut story).mac, ..first };
    story.every(0..BEGIN, HOUR, |story, time| story.ask6(time, router, first));
    story.every(BEGIN..END, 5 * MINUTE, |story, time| {
        story.solicit(time, router, first.ip);
        story.advertise(time + 1, first, router);
        story.advertise(time + 9, second, router);
    });
    let what = "the same with IPv6: both answer the router's solicitations";
    Scenario::new("duplicate-6", what, story).reports([
        Expected::new("duplicate", first.ip, second.mac),
        Expected::new("duplicate", first.ip, first.mac).times(2),
    ])
}

/// A host that wants another's address finds out in time, and does not use it: nothing to report.
fn dad_fails() -> Scenario {
    let mut story = Story::office(3);
    let owner = host6(host(10).mac, 0x10);
    let router = host6(gateway().mac, 1);
    let newcomer = device(0x1f);
    story.works(0..3 * DAY, Host { mac: newcomer, ..host(31) }, gateway());
    story.every(0..3 * DAY, HOUR, |story, time| story.ask6(time, router, owner));
    story.dad(BEGIN, Host6 { mac: newcomer, ..owner });
    story.announce6(BEGIN + 1, owner);
    story.probe(BEGIN + HOUR, newcomer, host(10).ip);
    story.defend(BEGIN + HOUR + 1, host(10), newcomer);
    let what = "a host probes an address that is in use, gets an answer and takes another";
    Scenario::new("probe-answered", what, story)
}
