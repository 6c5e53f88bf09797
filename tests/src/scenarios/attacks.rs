//! Attacks with forged ARP and Neighbor Discovery. The attacker is a known host, .66, unless its MAC is the trick.

use super::story::{
    DAY, HOUR, Host, Host6, MINUTE, SECOND, Story, device, gateway, host, host6, ip,
};
use super::{Expected, Scenario};
use crate::frames::Mac;

pub(super) fn all() -> Vec<Scenario> {
    vec![
        arpspoof(),
        ettercap(),
        learned_arpspoof(),
        takeover_once(),
        takeover_with("takeover-virtual", "the same with the MAC of a VRRP router", VIRTUAL)
            .reports([Expected::new("new_device", ip(1), VIRTUAL)]),
        takeover_with("takeover-random", "the same with a random MAC", RANDOM)
            .reports([Expected::new("new_device", ip(1), RANDOM)]),
        takeover_after_forgeries(),
        arpspoof_after_forgeries(),
        virtual_gateway_taken(),
        shared_address_taken(),
        rotation(),
        takeover_of_a_virtual_machine(),
        no_host(),
        dad_attack(),
        dad_attack_random(),
        probe_attack(),
        probe_attack_after_forgeries(),
        probe_attack_after_probes(),
        probe_attack_beside_probes(),
        router_spoofed_6(),
    ]
}

const BEGIN: u64 = DAY + 4 * HOUR;
const VIRTUAL: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x66];
const PROBER: Mac = [0x00, 0x1b, 0x21, 0x00, 0x04, 0x00];
const RANDOM: Mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

/// The attacker's own host, known from the first day.
fn attacker(story: &mut Story) -> Host {
    story.works(0..3 * DAY, host(66), gateway());
    host(66)
}

/// dsniff's arpspoof against one victim, for three hours: a reply every two seconds. At its end, five true replies in
/// frames of the attacker.
fn arpspoof() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story).mac;
    let forged = gateway().by(attacker);
    let end = BEGIN + 2 * HOUR + 50 * MINUTE;
    story.every(BEGIN..end, 2 * SECOND, |story, time| story.reply(time, forged, host(10)));
    story.every(BEGIN + MINUTE..end, 10 * MINUTE, |story, time| {
        story.ask(time, host(11), gateway());
    });
    restores(&mut story, end, gateway(), host(10), attacker);
    Scenario::new("arpspoof", "arpspoof: forged replies of the gateway for one victim", story)
        .reports([
            Expected::new("changed", ip(1), forged.mac),
            Expected::new("duplicate", ip(1), gateway().mac).times(3),
        ])
}

/// First 40 free addresses; then the gateway's, for three hours.
fn arpspoof_after_forgeries() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story);
    answers_for_free_addresses(&mut story, attacker);
    let forged = gateway().by(attacker.mac);
    let begin = BEGIN + 8 * HOUR;
    let end = begin + 2 * HOUR + 50 * MINUTE;
    story.every(begin..end, 2 * SECOND, |story, time| story.reply(time, forged, host(10)));
    story.every(begin + MINUTE..end, 10 * MINUTE, |story, time| {
        story.ask(time, host(11), gateway());
    });
    let what = "arpspoof after 40 forged replies for free addresses";
    Scenario::new("arpspoof-proxy", what, story).reports([
        Expected::new("changed", ip(1), forged.mac),
        Expected::new("duplicate", ip(1), gateway().mac).times(4), // the last one is the gateway, alone again
    ])
}

/// So that the attacker looks like a router with proxy ARP.
fn answers_for_free_addresses(story: &mut Story, attacker: Host) {
    for last in 200..240_u8 {
        story.gratuitous_reply(BEGIN + u64::from(last) * 100, attacker.with(last));
    }
}

/// The attacker was there in the learning period, for a minute. What is learned is trusted.
fn learned_arpspoof() -> Scenario {
    let mut story = Story::office(3);
    let forged = gateway().by(attacker(&mut story).mac);
    let learned = 4 * HOUR..4 * HOUR + MINUTE;
    for times in [learned, BEGIN..BEGIN + HOUR] {
        story.every(times, 2 * SECOND, |story, time| {
            story.reply(time, forged, host(10));
            if time % (10 * MINUTE) == 10 * SECOND {
                story.ask(time + 500, host(11), gateway());
            }
        });
    }
    let what = "arpspoof that was also there in the learning time, for a minute";
    Scenario::new("arpspoof-learned", what, story).reports([
        Expected::learned(&[ip(1)]),
        Expected::new("changed", ip(1), forged.mac).missed(),
        Expected::new("duplicate", ip(1), gateway().mac).missed(),
    ])
}

/// The true replies with which arpspoof and ettercap end.
fn restores(story: &mut Story, end: u64, owner: Host, victim: Host, attacker: Mac) {
    story.every(end..end + 5 * SECOND, SECOND, |story, time| {
        story.reply_in_frame_of(attacker, time, owner, victim);
    });
}

/// ettercap -M arp: it looks for the gateway and the victim; then both get forged replies, five in the first seconds, and
/// one every ten seconds.
fn ettercap() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story);
    let mac = attacker.mac;
    let (gateway_, victim) = (gateway().by(mac), host(10).by(mac));
    story.ask(BEGIN - 3 * SECOND, attacker, gateway());
    story.ask(BEGIN - 3 * SECOND + 10, attacker, host(10));
    let end = BEGIN + 50 * MINUTE;
    let mut both = |times, step| {
        story.every(times, step, |story, time| {
            story.reply(time, gateway_, host(10));
            story.reply(time + 10, victim, gateway());
        });
    };
    both(BEGIN..BEGIN + 5 * SECOND, SECOND);
    both(BEGIN + 15 * SECOND..end, 10 * SECOND);
    story.every(BEGIN + 5 * MINUTE..end, 10 * MINUTE, |story, time| {
        story.ask(time + 3 * SECOND, host(11), gateway());
        story.ask(time + 4 * SECOND, host(11), host(10));
    });
    restores(&mut story, end, gateway(), host(10), mac);
    restores(&mut story, end, host(10), gateway(), mac);
    Scenario::new("ettercap", "ettercap: the gateway's and a victim's address are forged", story)
        .reports([
            Expected::new("changed", ip(1), mac),
            Expected::new("changed", ip(10), mac),
            Expected::new("flip_flop", ip(1), gateway().mac),
            Expected::new("flip_flop", ip(10), host(10).mac),
            Expected::new("duplicate", ip(1), mac),
            Expected::new("duplicate", ip(10), mac),
        ])
}

/// One forged announcement; the gateway's next reply follows half an hour later.
fn takeover_once() -> Scenario {
    let mut story = Story::office(3);
    let forged = gateway().by(attacker(&mut story).mac);
    let quiet = DAY + 4 * HOUR + 30 * MINUTE;
    story.announce(quiet, forged);
    Scenario::new("takeover", "one forged announcement of the gateway's address", story).reports([
        Expected::new("changed", ip(1), forged.mac),
        Expected::new("flip_flop", ip(1), gateway().mac),
    ])
}

fn takeover_with(name: &'static str, what: &'static str, mac: Mac) -> Scenario {
    let mut story = Story::office(3);
    story.announce(BEGIN + 30 * MINUTE, gateway().by(mac));
    Scenario::new(name, what, story).reports([
        Expected::new("changed", ip(1), mac),
        Expected::new("flip_flop", ip(1), gateway().mac),
    ])
}

/// Three MACs that are known at other addresses take the gateway's one after the other, for three hours.
fn rotation() -> Scenario {
    let mut story = Story::office(3);
    let macs = [66, 67, 68].map(|number| host(number).mac);
    for number in [66, 67, 68] {
        story.works(0..DAY, host(number), gateway());
    }
    let begin = BEGIN + 5 * MINUTE;
    for round in 0..18 {
        story.announce(begin + round * 10 * MINUTE, gateway().by(macs[round as usize % 3]));
    }
    let what = "three MACs take the gateway's address one after the other, for three hours";
    Scenario::new("takeover-rotation", what, story).reports([
        Expected::new("changed", ip(1), macs[0]),
        Expected::new("changed", ip(1), macs[1]),
        Expected::new("changed", ip(1), macs[2]),
        Expected::new("reused_old", ip(1), gateway().mac).times(3),
    ])
}

/// All MACs of virtual machines are locally administered, the gateway's and the attacker's too.
fn takeover_of_a_virtual_machine() -> Scenario {
    let mut story = Story::default();
    let virtual_machine = |last| [0x52, 0x54, 0x00, 0x00, 0x00, last];
    let gateway = gateway().by(virtual_machine(1));
    for number in [10, 11, 12, 66] {
        story.works(0..3 * DAY, host(number).by(virtual_machine(number)), gateway);
    }
    let forged = gateway.by(virtual_machine(66));
    story.announce(BEGIN + 30 * MINUTE, forged);
    let what =
        "one forged announcement among virtual machines, whose MACs are locally administered";
    Scenario::new("takeover-of-random", what, story).reports([
        Expected::new("changed", ip(1), forged.mac),
        Expected::new("flip_flop", ip(1), gateway.mac),
    ])
}

/// So that what is for the gateway goes to all, or nowhere.
fn no_host() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story);
    let group = gateway().by([0x03, 0xbf, 192, 0, 2, 1]);
    story.every(BEGIN..BEGIN + 50 * MINUTE, 2 * SECOND, |story, time| {
        story.reply_in_frame_of(attacker.mac, time, group, host(10));
    });
    let what = "forged replies: the gateway's address at the MAC of a group";
    Scenario::new("no-host", what, story).reports([Expected::new("broadcast", ip(1), attacker.mac)])
}

/// First 40 free addresses.
fn takeover_after_forgeries() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story);
    answers_for_free_addresses(&mut story, attacker);
    story.announce(BEGIN + 30 * MINUTE, gateway().by(attacker.mac));
    let what = "the same after 40 forged replies for free addresses";
    Scenario::new("takeover-proxy", what, story).reports([
        Expected::new("changed", ip(1), attacker.mac),
        Expected::new("flip_flop", ip(1), gateway().mac),
    ])
}

/// The gateway has a virtual MAC; a host takes its address.
fn virtual_gateway_taken() -> Scenario {
    let mut story = Story::default();
    let virtual_gateway = gateway().by([0x00, 0x00, 0x5e, 0x00, 0x01, 0x07]);
    for number in [10, 11, 12, 66] {
        story.works(0..3 * DAY, host(number), virtual_gateway);
    }
    let forged = gateway().by(host(66).mac);
    story.announce(BEGIN + 30 * MINUTE, forged);
    let what = "one forged announcement of a virtual gateway's address";
    Scenario::new("takeover-of-virtual", what, story).reports([Expected::new(
        "changed",
        ip(1),
        forged.mac,
    )])
}

/// Two MACs share an address by design, as the first day shows; a third one takes it.
fn shared_address_taken() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story).mac;
    let cards = [device(0x111), device(0x112)];
    story.every(2 * MINUTE..3 * DAY, 30 * MINUTE, |story, time| {
        story.request(time, gateway(), ip(140));
        story.reply(time + 1, host(140).by(cards[0]), gateway());
        story.reply(time + 2, host(140).by(cards[1]), gateway());
    });
    let forged = host(140).by(attacker);
    story.announce(BEGIN + 20 * MINUTE, forged);
    let what = "one forged announcement of an address that two cards of a host share";
    Scenario::new("takeover-of-shared", what, story).reports([
        Expected::new("changed", ip(140), attacker),
        Expected::new("reused_old", ip(140), cards[0]),
    ])
}

/// An advertisement for each of twelve addresses that are probed, from the MAC of each answer.
fn probes_answered(story: &mut Story, answer: impl Fn(u8) -> Mac) {
    for number in 0..12_u8 {
        let joins = BEGIN + u64::from(number) * 4 * MINUTE;
        let wanted = host6(host(10 + number % 3).mac, 0x7000 + u16::from(number));
        let forged = Host6 { mac: answer(number), ..wanted };
        story.dad(joins, wanted);
        story.announce6(joins + 1, forged);
        story.announce6(joins + 4, forged);
    }
}

/// With the attacker's own MAC, as dos-new-ip6 of THC did at first.
fn dad_attack() -> Scenario {
    let mut story = Story::office(3);
    let mac = attacker(&mut story).mac;
    probes_answered(&mut story, |_| mac);
    let what = "each Duplicate Address Detection is answered by the attacker";
    Scenario::new("dad-attack", what, story).reports([Expected::new(
        "duplicate",
        host6(mac, 0x7002).ip,
        mac,
    )])
}

/// dos-new-ip6 of thc-ipv6 3.8: each answer has another MAC, with the prefix of a manufacturer.
fn dad_attack_random() -> Scenario {
    let mut story = Story::office(3);
    let mac = |number: u8| [0x00, 0x1b, 0xea - number, 0x84, 0x27, number];
    probes_answered(&mut story, mac);
    let address = |number: u8| host6(mac(number), 0x7000 + u16::from(number)).ip;
    let new = (0..12).map(|number| Expected::new("new_device", address(number), mac(number)));
    let what = "dos-new-ip6 of thc-ipv6: the same with a new MAC for each answer";
    Scenario::new("dad-attack-random", what, story)
        .reports([Expected::new("duplicate", address(2), mac(2))])
        .reports(new)
}

/// The same with ARP: each probe of RFC 5227 is answered, so that no host gets an address.
fn probe_attack() -> Scenario {
    let mut story = Story::office(3);
    let mac = attacker(&mut story).mac;
    denies_each_probe(&mut story, BEGIN, mac);
    Scenario::new("probe-attack", "the same for ARP: each probe is answered", story)
        .reports([Expected::new("duplicate", ip(112), mac)])
}

/// A host that left on the first day tries twelve addresses.
fn denies_each_probe(story: &mut Story, begin: u64, mac: Mac) {
    story.works(0..DAY, host(40).by(PROBER), gateway());
    for number in 0..12_u8 {
        let wanted = host(110 + number).by(mac);
        let time = begin + u64::from(number) * 30 * SECOND;
        story.probe(time, PROBER, wanted.ip);
        story.defend(time + 1, wanted, PROBER);
    }
}

/// The attacker looks like a router with proxy ARP first.
fn probe_attack_after_forgeries() -> Scenario {
    let mut story = Story::office(3);
    let attacker = attacker(&mut story);
    answers_for_free_addresses(&mut story, attacker);
    denies_each_probe(&mut story, BEGIN + HOUR, attacker.mac);
    let what = "the same after 40 forged replies for free addresses";
    Scenario::new("probe-attack-proxy", what, story).reports([Expected::new(
        "duplicate",
        ip(112),
        attacker.mac,
    )])
}

/// Probes with the victim's MAC make it look like a scanner; an hour later it is none.
fn probe_attack_after_probes() -> Scenario {
    let mut story = Story::office(3);
    let mac = attacker(&mut story).mac;
    for last in 200..240_u8 {
        story.probe(BEGIN + u64::from(last) * 100, PROBER, ip(last));
    }
    denies_each_probe(&mut story, BEGIN + 2 * HOUR, mac);
    let what = "the same two hours after forged probes with the victim's MAC";
    Scenario::new("probe-attack-later", what, story).reports([Expected::new(
        "duplicate",
        ip(112),
        mac,
    )])
}

/// Probes with the victim's MAC during the attack, so that it looks like a scanner.
fn probe_attack_beside_probes() -> Scenario {
    let mut story = Story::office(3);
    let mac = attacker(&mut story).mac;
    for last in 200..240_u8 {
        story.probe(BEGIN + u64::from(last) * SECOND, PROBER, ip(last));
    }
    denies_each_probe(&mut story, BEGIN + 5 * MINUTE, mac);
    let what = "the same minutes after forged probes with the victim's MAC";
    Scenario::new("probe-attack-scanner", what, story).reports([Expected::new(
        "duplicate",
        ip(112),
        mac,
    )])
}

/// parasite6: the router's link-local address, with the override flag.
fn router_spoofed_6() -> Scenario {
    let mut story = Story::office(3);
    let router = host6(gateway().mac, 1);
    let forged = Host6 { mac: attacker(&mut story).mac, ..router };
    let victim = host6(host(10).mac, 0x10);
    story.every(0..3 * DAY, HOUR, |story, time| story.ask6(time, victim, router));
    story.every(BEGIN + 10 * SECOND..BEGIN + 50 * MINUTE, 10 * SECOND, |story, time| {
        story.advertise(time, forged, victim);
        if (time - BEGIN) % (10 * MINUTE) == 10 * SECOND {
            story.ask6(time + 3 * SECOND, victim, router);
        }
    });
    let what = "IPv6: forged advertisements of the router's address";
    Scenario::new("router-spoofed-6", what, story).reports([
        Expected::new("changed", router.ip, forged.mac),
        Expected::new("duplicate", router.ip, router.mac),
    ])
}
