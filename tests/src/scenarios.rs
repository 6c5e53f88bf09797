//! Scenes of real networks, as frames: such as often cause false alarms, and attacks. With each stands what aw-alert must
//! report of it after one day of learning, and nothing else.

mod attacks;
mod changes;
mod duplicates;
mod hosts;
mod redundancy;
mod scanners;
mod sensors;
mod servers;
mod story;

pub use changes::watched_hosts;
pub use story::{Host, Story};

use crate::frames::Mac;

/// Whether an alert is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It happened: an attack, a fault, or a device that is new.
    True,
    /// It happened, but on purpose, and no frame shows that: `[[failover]]` or `[[mute]]` names it.
    ByDesign,
    /// It did not happen.
    False,
}

/// What is reported of a scene.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Kind, address (`-` for none) and MAC.
    pub alert: String,
    /// How often; 0 for what happened and is missed.
    pub times: usize,
    /// Whether it waits for the digest.
    pub digest: bool,
    /// Whether it is right.
    pub verdict: Verdict,
}

impl Expected {
    /// One true alert, sent at once.
    pub fn new(kind: &str, ip: impl ToString, mac: Mac) -> Expected {
        let alert = format!("{kind} {} {}", ip.to_string(), text(mac));
        Expected { alert, times: 1, digest: false, verdict: Verdict::True }
    }

    /// The message at the end of the learning period, about these addresses.
    pub fn learned(addresses: &[impl ToString]) -> Expected {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        let alert = format!("learned {} -", addresses.join(","));
        Expected { alert, ..Expected::new("learned", "-", Mac::default()) }
    }

    /// It happened, and is not reported.
    pub fn missed(self) -> Expected {
        self.times(0)
    }

    /// So often: while a fault lasts, once in `quiet` seconds.
    pub fn times(self, times: usize) -> Expected {
        Expected { times, ..self }
    }

    /// In the digest.
    pub fn in_digest(self) -> Expected {
        Expected { digest: true, ..self }
    }

    /// It happened, on purpose.
    pub fn by_design(self) -> Expected {
        Expected { verdict: Verdict::ByDesign, ..self }
    }

    /// It did not happen.
    pub fn wrong(self) -> Expected {
        Expected { verdict: Verdict::False, ..self }
    }
}

/// One scene.
pub struct Scenario {
    /// Its name in the table.
    pub name: &'static str,
    /// What happens, in the table.
    pub what: &'static str,
    /// The capture of each sensor, which has a ring and a host name of its own. None: played by the clock.
    pub captures: Vec<Vec<u8>>,
    /// What is reported, and whether that is right.
    pub expected: Vec<Expected>,
}

impl Scenario {
    fn new(name: &'static str, what: &'static str, story: Story) -> Scenario {
        Scenario { name, what, captures: vec![story.capture()], expected: Vec::new() }
    }

    fn reports(mut self, expected: impl IntoIterator<Item = Expected>) -> Scenario {
        self.expected.extend(expected);
        self
    }
}

/// All scenes, those without an attack first.
pub fn all() -> Vec<Scenario> {
    [
        redundancy::all(),
        hosts::all(),
        servers::all(),
        scanners::all(),
        sensors::all(),
        changes::all(),
        duplicates::all(),
        attacks::all(),
    ]
    .into_iter()
    .flatten()
    .map(|scene| match learned(scene.name) {
        None => scene,
        Some(addresses) => scene.reports([Expected::learned(&addresses)]),
    })
    .collect()
}

/// The addresses in the message about the first day: those that several MACs share by design, or that a group's MAC has, the
/// first 20 of them. None without a message; it has no address where it is about proxies, scanners, virtual MACs and locally
/// administered ones only.
fn learned(scene: &str) -> Option<Vec<String>> {
    let one = |last| vec![story::ip(last).to_string()];
    Some(match scene {
        "vrrp" | "carp" | "hsrp" | "proxy-range" | "arp-scan-zero" | "takeover-of-virtual" => {
            Vec::new()
        }
        "private-macs" | "docker" | "docker-random" | "docker-recreated" | "nlb-unicast"
        | "another-private" | "takeover-of-random" => Vec::new(),
        "nlb-multicast" | "nlb-igmp" => one(50),
        "vrrp-physical" | "vrrp-physical-later" | "glbp" => one(1),
        "vrrp-advertised" | "vrrp-advertised-later" => vec!["fe80::7".into()],
        "keepalived-learned" => one(5),
        "bond-alb" | "extender-virtual" | "extender-one" => one(20),
        "arp-flux" => [one(140), one(141)].concat(),
        "sleep-proxy" => vec!["2001:db8::31".into(), "192.0.2.31".into()],
        "proxy-for-all" | "proxy-newcomer" => (20..40).flat_map(one).collect(),
        "takeover-of-shared" => one(140),
        _ => return None,
    })
}

/// A MAC as alerts have it.
pub fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
