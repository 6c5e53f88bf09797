//! A story: who sends what when, in the order that comes to mind. Times are milliseconds since its beginning.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::capture_file::{ETHERNET, Pcap, Time, Unit};
use crate::frames::{Arp, Ethernet, Mac};
use crate::neighbor::{Neighbor, OVERRIDE, SOLICITED};

/// A second of a story.
pub const SECOND: u64 = 1000;
/// A minute of a story.
pub const MINUTE: u64 = 60 * SECOND;
/// An hour of a story.
pub const HOUR: u64 = 60 * MINUTE;
/// A day of a story; the first one is learned.
pub const DAY: u64 = 24 * HOUR;

/// When stories begin: 2025-11-20 14:00 UTC. They are of the past to their end, because a time after now counts as now.
pub const FIRST_SECOND: u32 = 1_763_647_200;

/// A host: MAC and address.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
}

/// A host with IPv6.
#[derive(Clone, Copy, Debug)]
pub struct Host6 {
    pub mac: Mac,
    pub ip: Ipv6Addr,
}

/// A MAC of a manufacturer, by number.
pub fn device(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    [0x00, 0x1b, 0x21, 0x00, high, low]
}

/// An address of the network of most stories.
pub fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

/// The host with this number, in MAC and address.
pub fn host(number: u8) -> Host {
    Host { mac: device(number.into()), ip: ip(number) }
}

/// The address 2001:db8::NUMBER of a MAC.
pub fn host6(mac: Mac, number: u16) -> Host6 {
    Host6 { mac, ip: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number) }
}

/// The gateway of most stories.
pub fn gateway() -> Host {
    host(1)
}

impl Host {
    /// The same machine with another address.
    pub fn with(self, last: u8) -> Host {
        Host { ip: ip(last), ..self }
    }

    /// The same address, claimed by another MAC.
    pub fn by(self, mac: Mac) -> Host {
        Host { mac, ..self }
    }
}

/// The frames of a story, and when they were captured.
#[derive(Default)]
pub struct Story {
    frames: Vec<(Time, Vec<u8>)>,
}

impl Story {
    /// An office for this many days, the first of which is learned: a gateway and three hosts, 192.0.2.10 to 12. They look
    /// for each other every hour.
    pub fn office(days: u64) -> Story {
        let mut story = Story::default();
        for number in [10, 11, 12] {
            story.works(0..days * DAY, host(number), gateway());
        }
        story
    }

    /// A frame.
    pub fn frame(&mut self, time: u64, bytes: Vec<u8>) {
        let seconds = u32::try_from(time / SECOND).expect("a story of a few weeks");
        self.frame_at(
            Time {
                seconds: FIRST_SECOND + seconds,
                nanoseconds: (time % SECOND) as u32 * 1_000_000,
            },
            bytes,
        );
    }

    /// A frame by a clock of its own.
    pub fn frame_at(&mut self, time: Time, bytes: Vec<u8>) {
        self.frames.push((time, bytes));
    }

    /// Repeats something.
    pub fn every(
        &mut self,
        times: std::ops::Range<u64>,
        step: u64,
        mut what: impl FnMut(&mut Story, u64),
    ) {
        let mut time = times.start;
        while time < times.end {
            what(self, time);
            time += step;
        }
    }

    /// A host and its gateway look for each other every hour, not at the same time.
    pub fn works(&mut self, times: std::ops::Range<u64>, host: Host, gateway: Host) {
        let begin = times.start + u64::from(host.mac[5]) * 7 * SECOND;
        self.every(begin..times.end, HOUR, |story, time| {
            story.ask(time, host, gateway);
            story.ask(time + 20 * MINUTE, gateway, host);
        });
    }

    /// A request.
    pub fn request(&mut self, time: u64, sender: Host, target: Ipv4Addr) {
        self.frame(time, Arp::request(sender.mac, sender.ip, target).frame());
    }

    /// A reply to one host.
    pub fn reply(&mut self, time: u64, sender: Host, to: Host) {
        self.reply_in_frame_of(sender.mac, time, sender, to);
    }

    /// A reply in a frame of another MAC.
    pub fn reply_in_frame_of(&mut self, source: Mac, time: u64, sender: Host, to: Host) {
        let arp = Arp { target_mac: to.mac, ..Arp::reply(sender.mac, sender.ip, to.ip) };
        self.frame(time, arp.on(&Ethernet::from(source).to(to.mac)));
    }

    /// A request and the reply to it, one millisecond later.
    pub fn ask(&mut self, time: u64, asker: Host, owner: Host) {
        self.request(time, asker, owner.ip);
        self.reply(time + 1, owner, asker);
    }

    /// An announcement (RFC 5227, 2.3): a request for the own address.
    pub fn announce(&mut self, time: u64, host: Host) {
        self.request(time, host, host.ip);
    }

    /// A gratuitous reply to all.
    pub fn gratuitous_reply(&mut self, time: u64, host: Host) {
        let all = Arp { target_mac: [0xff; 6], ..Arp::reply(host.mac, host.ip, host.ip) };
        self.frame(time, all.frame());
    }

    /// A probe (RFC 5227, 2.1).
    pub fn probe(&mut self, time: u64, mac: Mac, target: Ipv4Addr) {
        self.frame(time, Arp::probe(mac, target).frame());
    }

    /// A reply to a probe: its target is the probe's sender, 0.0.0.0.
    pub fn defend(&mut self, time: u64, owner: Host, prober: Mac) {
        self.reply(time, owner, Host { mac: prober, ip: Ipv4Addr::UNSPECIFIED });
    }

    /// A host takes a free address as DHCP clients do: three probes, two announcements, a request for the gateway.
    pub fn join(&mut self, time: u64, host: Host, gateway: Host) {
        for probe in 0..3 {
            self.probe(time + probe * 1500, host.mac, host.ip);
        }
        self.announce(time + 6500, host);
        self.announce(time + 8500, host);
        self.ask(time + 9000, host, gateway);
    }

    /// A Neighbor Solicitation.
    pub fn solicit(&mut self, time: u64, asker: Host6, target: Ipv6Addr) {
        self.frame(time, Neighbor::solicit(asker.mac, asker.ip, target).frame(asker.mac));
    }

    /// A solicited Neighbor Advertisement.
    pub fn advertise(&mut self, time: u64, owner: Host6, to: Host6) {
        let flags = SOLICITED | OVERRIDE;
        let answer =
            Neighbor { flags, destination: to.ip, ..Neighbor::advertise(owner.mac, owner.ip) };
        self.frame(time, answer.on(&Ethernet::from(owner.mac).to(to.mac)));
    }

    /// Solicitation and advertisement.
    pub fn ask6(&mut self, time: u64, asker: Host6, owner: Host6) {
        self.solicit(time, asker, owner.ip);
        self.advertise(time + 1, owner, asker);
    }

    /// Duplicate Address Detection (RFC 4862, 5.4).
    pub fn dad(&mut self, time: u64, host: Host6) {
        self.frame(time, Neighbor::probe(host.ip).frame(host.mac));
    }

    /// An unsolicited Neighbor Advertisement to all nodes.
    pub fn announce6(&mut self, time: u64, host: Host6) {
        self.frame(time, Neighbor::advertise(host.mac, host.ip).frame(host.mac));
    }

    /// As pcap, in the order of time.
    pub fn capture(mut self) -> Vec<u8> {
        self.frames.sort_by_key(|(time, _)| (time.seconds, time.nanoseconds));
        self.capture_unsorted()
    }

    /// As pcap, in the order in which it was written: for clocks that are set back.
    pub fn capture_unsorted(self) -> Vec<u8> {
        let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Nanosecond).expect("memory takes all");
        for (time, frame) in &self.frames {
            file.packet(*time, frame).expect("memory takes all");
        }
        file.finish().expect("memory takes all")
    }
}
