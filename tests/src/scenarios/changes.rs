//! Changes that are to be reported: a new device, one that returns, another gateway.

use super::story::{DAY, HOUR, Host, MINUTE, SECOND, Story, device, gateway, host, ip};
use super::{Expected, Scenario};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        new_device(),
        new_prober(),
        new_private_device(),
        another_private_device(),
        returned(),
        gateway_replaced(),
        watched(),
    ]
}

fn new_device() -> Scenario {
    let mut story = Story::office(3);
    let guest = Host { mac: device(0x300), ip: ip(120) };
    story.join(DAY + 3 * HOUR, guest, gateway());
    story.works(DAY + 3 * HOUR + MINUTE..3 * DAY, guest, gateway());
    let expected = Expected::new("new_device", "-", guest.mac);
    Scenario::new("new-device", "a new device joins and stays", story).reports([expected])
}

/// It probes and claims nothing: it has no address.
fn new_prober() -> Scenario {
    let mut story = Story::office(3);
    let switch = device(0x301);
    story.every(DAY + 3 * HOUR..3 * DAY, HOUR, |story, time| {
        for last in [10, 11, 12] {
            story.probe(time + u64::from(last) * SECOND, switch, ip(last));
            story.defend(time + u64::from(last) * SECOND + 1, host(last), switch);
        }
    });
    let expected = Expected::new("new_device", "-", switch);
    Scenario::new("new-prober", "a new switch probes all hosts and claims nothing", story)
        .reports([expected])
}

fn new_private_device() -> Scenario {
    let mut story = Story::office(3);
    let phone = Host { mac: [0xda, 0x11, 0x22, 0x33, 0x44, 0x55], ip: ip(121) };
    story.join(DAY + 3 * HOUR, phone, gateway());
    story.works(DAY + 3 * HOUR + MINUTE..3 * DAY, phone, gateway());
    let expected = Expected::new("new_device", "-", phone.mac);
    Scenario::new("new-private", "the first phone with a private MAC", story).reports([expected])
}

/// Where such phones are learned, they are nothing special.
fn another_private_device() -> Scenario {
    let mut story = Story::office(3);
    let [known, new] = [1, 2]
        .map(|number| Host { mac: [0xda, 0x11, 0x22, 0x33, 0x44, number], ip: ip(120 + number) });
    story.works(0..3 * DAY, known, gateway());
    story.join(DAY + 3 * HOUR, new, gateway());
    story.works(DAY + 3 * HOUR + MINUTE..3 * DAY, new, gateway());
    let expected = Expected::new("new_device", "-", new.mac).in_digest();
    Scenario::new("another-private", "the same where such a phone was learned", story)
        .reports([expected])
}

/// Seen on the first day, and again 60 days later.
fn returned() -> Scenario {
    let mut story = Story::office(63);
    let laptop = host(30);
    story.works(0..20 * HOUR, laptop, gateway());
    story.works(61 * DAY..62 * DAY, laptop, gateway());
    let expected = Expected::new("returned", laptop.ip, laptop.mac);
    Scenario::new("returned", "a laptop returns after 60 days", story).reports([expected])
}

/// Another machine takes the gateway's address, after an hour without one.
fn gateway_replaced() -> Scenario {
    let mut story = Story::default();
    let swap = DAY + 5 * HOUR;
    let new = gateway().by(device(0x302));
    for number in [10, 11, 12] {
        story.works(0..swap, host(number), gateway());
        story.works(swap + HOUR..4 * DAY, host(number), new);
    }
    story.announce(swap + HOUR, new);
    Scenario::new("gateway-replaced", "the gateway is replaced by another machine", story).reports(
        [Expected::new("changed", ip(1), new.mac), Expected::new("new_device", ip(1), new.mac)],
    )
}

/// Without a capture: silence is of now, not of a replay. Two devices are watched, and one is silent for a while.
fn watched() -> Scenario {
    let what = "`[[watch]]`: one of two devices is silent, and seen again";
    let scene =
        Scenario { captures: Vec::new(), ..Scenario::new("watched", what, Story::default()) };
    let [silent, _] = watched_hosts();
    scene.reports([
        Expected::new("silent", "-", silent.mac),
        Expected::new("back", silent.ip, silent.mac),
    ])
}

/// The watched hosts; the first falls silent.
pub fn watched_hosts() -> [Host; 2] {
    [host(10), host(11)]
}
