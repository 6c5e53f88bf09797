use std::net::{Ipv4Addr, Ipv6Addr};

use shm_layout::{MacAddr, Origin};

use super::*;

const MILLISECOND: i64 = 1_000_000;

fn sighting(host: u8) -> Sighting {
    let mac = MacAddr::new([2, 0, 0, 0, 0, host]);
    let address: Ipv6Addr = Ipv4Addr::new(192, 0, 2, host).to_ipv6_mapped();
    let (vlan, outer_vlan) = (VlanId::NONE, VlanId::NONE);
    Sighting { mac, source: mac, address, origin: Origin::ArpRequest, vlan, outer_vlan }
}

fn tagged(vlan: u16, outer: u16) -> Sighting {
    let id = VlanId::from_tag;
    Sighting { vlan: id(vlan), outer_vlan: id(outer), ..sighting(1) }
}

struct Seen(Copies);

impl Seen {
    fn new() -> Self {
        Seen(Copies::default())
    }

    /// On this interface, in microseconds.
    fn at(&mut self, interface: usize, micros: i64, sighting: &Sighting) -> bool {
        self.frame(interface, LinkType::Ethernet, &[], micros, sighting)
    }

    fn any(&mut self, micros: i64, outgoing: bool, sighting: &Sighting) -> bool {
        let header = [0, if outgoing { 4 } else { 1 }];
        self.frame(0, LinkType::CookedV1, &header, micros, sighting)
    }

    fn frame(
        &mut self,
        interface: usize,
        link: LinkType,
        bytes: &[u8],
        micros: i64,
        sighting: &Sighting,
    ) -> bool {
        let time = UnixTime::from_nanos(micros * 1000);
        let frame = Frame { time, bytes, length: bytes.len() };
        let name = "br0".parse().unwrap();
        self.0.is_copy(Overlap::Shared(interface), name, link, &frame, sighting)
    }
}

#[test]
fn one_frame_on_three_interfaces() {
    let mut seen = Seen::new();
    let port_bridge_port =
        [seen.at(1, 0, &sighting(1)), seen.at(0, 0, &sighting(1)), seen.at(2, 60, &sighting(1))];
    assert_eq!(port_bridge_port, [false, true, true]);
    assert!(!seen.at(2, 60, &sighting(2)), "another host");
}

/// Whatever the order in which the interfaces are read.
#[test]
fn a_burst_is_counted_once_for_each_frame() {
    let mut seen = Seen::new();
    let burst = |seen: &mut Seen, interface| {
        (0..5).filter(|number| !seen.at(interface, number * 20, &sighting(1))).count()
    };
    assert_eq!(burst(&mut seen, 0), 5);
    assert_eq!(burst(&mut seen, 1), 0);
    let mut seen = Seen::new();
    let new: usize = (0..5)
        .map(|number| {
            [1, 0].map(|interface| usize::from(!seen.at(interface, number * 20, &sighting(1))))
        })
        .map(|[first, second]| first + second)
        .sum();
    assert_eq!(new, 5);
}

#[test]
fn repetitions_and_later_replays_are_no_copies() {
    let mut seen = Seen::new();
    for second in 0..3 {
        assert!(!seen.at(0, second * 1_000_000, &sighting(1)));
    }
    let window = WINDOW as i64 / MILLISECOND * 1000;
    assert!(seen.at(1, 2_000_000 + window, &sighting(1)));
    assert!(!seen.at(2, 2_000_001 + window, &sighting(1)), "on another port, later");
    let mut seen = Seen::new();
    assert!(!seen.at(0, 0, &sighting(1)));
    assert!(!seen.at(0, 1, &sighting(1)), "through the same interface, a microsecond later");
}

#[test]
fn a_copy_may_lack_tags_but_has_no_others() {
    for (first, second, copy) in [
        (tagged(5, 0), tagged(0, 0), true),
        (tagged(5, 100), tagged(5, 0), true),
        (tagged(5, 0), tagged(5, 0), true),
        (tagged(5, 0), tagged(6, 0), false),
        (tagged(0, 0), tagged(5, 0), false),
        (tagged(5, 0), tagged(5, 100), false),
    ] {
        let mut seen = Seen::new();
        assert!(!seen.at(0, 0, &first));
        assert_eq!(seen.at(1, 0, &second), copy, "{first:?} {second:?}");
    }
}

/// `any` is one interface: only time and direction distinguish copies from repetitions.
#[test]
fn copies_on_any() {
    let mut seen = Seen::new();
    assert!(!seen.any(0, false, &sighting(1)));
    assert!(seen.any(60, true, &sighting(1)), "forwarded");
    assert!(seen.any(0, false, &sighting(1)), "the bridge");
    assert!(!seen.any(25_000, false, &sighting(1)), "repeated");
    assert!(!seen.any(25_001, false, &sighting(1)), "repeated at once");
    assert!(!seen.any(1_000_000, true, &sighting(1)), "sent");
    assert!(seen.any(1_000_020, true, &sighting(1)), "on a port of the bridge");
}

#[test]
fn memory_is_bounded_and_a_clock_that_is_set_back_does_no_harm() {
    let mut seen = Seen::new();
    let future = 1_000_000_000_000;
    for number in 0..100_000_u32 {
        let other = Sighting { address: Ipv6Addr::from(u128::from(number)), ..sighting(1) };
        assert!(!seen.at(0, future, &other));
    }
    assert_eq!(seen.0.recent.len(), SETS);
    for number in 0..100_i64 {
        let other = Sighting { address: Ipv6Addr::from(number as u128), ..sighting(1) };
        assert!(!seen.at(0, number, &other));
    }
    for number in 0..100_i64 {
        let other = Sighting { address: Ipv6Addr::from(number as u128), ..sighting(1) };
        assert!(seen.at(1, number, &other), "{number}");
    }
}

#[test]
fn unrelated_interfaces_cost_nothing() {
    let mut copies = Copies::default();
    let frame = Frame { time: UnixTime::default(), bytes: &[], length: 0 };
    let name = "eth0".parse().unwrap();
    for _ in 0..2 {
        assert!(!copies.is_copy(Overlap::None, name, LinkType::Ethernet, &frame, &sighting(1)));
    }
    assert!(copies.is_copy(Overlap::Contained, name, LinkType::Ethernet, &frame, &sighting(1)));
    assert!(copies.recent.is_empty());
}
