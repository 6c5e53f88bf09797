//! The rate limit: addrwatch's example, the bound of its memory, and that every change of MAC is reported.

use std::collections::{HashMap, VecDeque};

use proptest::{collection::vec, prelude::*};

use super::*;

fn mac(n: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, n])
}

fn address(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n)
}

fn key(n: u16) -> PairingKey {
    let none = VlanId::NONE;
    PairingKey {
        interface: "eth0".parse().unwrap(),
        vlan: none,
        outer_vlan: none,
        router: Ipv4Addr::UNSPECIFIED,
        address: address(n),
    }
}

fn at(seconds: i64) -> UnixTime {
    UnixTime::new(seconds, 0)
}

/// What is reported of sightings of one address.
fn reported(suppression: Suppression, sightings: &[(i64, u8)]) -> Vec<i64> {
    let mut limit = RateLimit::new(suppression, 10);
    let sightings = sightings.iter();
    let shown = sightings
        .filter(|(time, n)| limit.admit(key(1), Evidence::Claim, mac(*n), at(*time)).report);
    shown.map(|(time, _)| *time).collect()
}

#[test]
fn addrwatchs_example() {
    // Four lines of eight: 1, 20, 30, 40. The MACs are those of its README.
    let sightings = [(1, 1), (15, 1), (20, 2), (25, 2), (30, 1), (35, 1), (40, 2), (65, 2)];
    assert_eq!(reported(Suppression::Seconds(100), &sightings), [1, 20, 30, 40]);
}

/// A claim that is forged in another MAC's name neither hides behind that MAC's claims nor suppresses them.
#[test]
fn who_sent_the_frame_is_limited_by_itself() {
    let mut limit = RateLimit::new(Suppression::Forever, 10);
    let claim = Evidence::Claim;
    let own = |limit: &mut RateLimit| limit.admit(key(1), claim, mac(1), at(0)).report;
    let forged = |limit: &mut RateLimit, n| {
        limit.admit_forwarded(key(1), claim, (mac(1), mac(n)), at(0)).report
    };
    assert!(own(&mut limit) && forged(&mut limit, 2));
    assert!(!own(&mut limit) && !forged(&mut limit, 2));
    assert!(forged(&mut limit, 3), "another sender");
    assert!(!own(&mut limit));
}

/// The owner's claim is reported although a probe of the same MAC was; and the probe of another MAC does not cause a
/// second report of the claim.
#[test]
fn evidence_of_one_kind_does_not_suppress_another() {
    let mut limit = RateLimit::new(Suppression::Forever, 10);
    let mut admit = |evidence, n| limit.admit(key(1), evidence, mac(n), at(0)).report;
    assert!(admit(Evidence::Probe, 1) && admit(Evidence::Claim, 1));
    assert!(admit(Evidence::Probe, 2) && !admit(Evidence::Claim, 1));
    assert!(admit(Evidence::FrameSource, 3) && !admit(Evidence::Claim, 1));
    assert!(!admit(Evidence::FrameSource, 3) && !admit(Evidence::Probe, 2));
}

#[test]
fn suppression_includes_its_last_moment() {
    let sightings = [(0, 1), (99, 1), (100, 1), (101, 1), (150, 1), (201, 1), (202, 1)];
    assert_eq!(reported(Suppression::Seconds(100), &sightings), [0, 101, 202]);
    assert_eq!(reported(Suppression::Forever, &sightings), [0]);
    assert_eq!(reported(Suppression::Off, &sightings), [0, 99, 100, 101, 150, 201, 202]);
    // After a clock is set back no pairing is new; but a report from days ahead was made with a wrong clock.
    assert_eq!(reported(Suppression::Seconds(100), &[(1000, 1), (0, 1), (1101, 1)]), [1000, 1101]);
    let wrong = [(2_000_000_000, 1), (1_700_000_000, 1), (1_700_000_050, 1), (1_700_000_101, 1)];
    assert_eq!(
        reported(Suppression::Seconds(100), &wrong),
        [2_000_000_000, 1_700_000_000, 1_700_000_101]
    );
}

#[test]
fn networks_are_distinguished() {
    let mut limit = RateLimit::new(Suppression::Forever, 10);
    let keys = [
        key(1),
        key(2),
        PairingKey { vlan: VlanId::from_tag(5), ..key(1) },
        PairingKey { outer_vlan: VlanId::from_tag(5), ..key(1) },
        PairingKey { router: Ipv4Addr::LOCALHOST, ..key(1) },
    ];
    for _ in 0..2 {
        let shown = keys.map(|key| limit.admit(key, Evidence::Claim, mac(1), at(0)).report);
        assert!(shown.iter().all(|report| *report) || shown.iter().all(|report| !*report));
    }
    assert_eq!(limit.pairings.len(), 5);
}

/// However many pairings come and go: the index keeps the size that it had when it was first full, at most the
/// 80 bytes a pairing that `--max-pairings` documents.
#[test]
fn a_full_table_does_not_grow() {
    // 14, 896 and 1792 are 7/8 of a power of two, which is where hashbrown has no room left.
    for max in [1, 3, 14, 896, 900, 1000, 1700, 1792, 5000] {
        let mut limit = RateLimit::new(Suppression::Forever, max);
        let mut number = 0;
        let mut admit = |limit: &mut RateLimit, count: usize| {
            for _ in 0..count {
                number += 1;
                let address = Ipv6Addr::from_bits(number);
                assert!(
                    limit
                        .admit(PairingKey { address, ..key(1) }, Evidence::Claim, mac(1), at(0))
                        .report
                );
            }
        };
        admit(&mut limit, max);
        let size = limit.index.allocation_size();
        admit(&mut limit, 100 * max);
        assert_eq!(limit.index.allocation_size(), size, "{max}");
        assert_eq!((limit.index.len(), limit.pairings.len()), (max, max));
        if max >= 1000 {
            let counters = size_of_val(&limit.by_mac[..]) + size_of::<RateLimit>();
            let bytes = size + counters + max * (size_of::<Pairing>() + size_of::<Neighbors>());
            assert!(bytes <= 80 * max, "{max}: {bytes}");
        }
    }
}

/// A network of 1000 pairings, then a flood of made-up ones.
struct Flooded {
    limit: RateLimit,
    random: u64,
}

const MAX: usize = 1_000_000;
const REAL: u16 = 1000;

impl Flooded {
    fn new() -> Self {
        let mut flooded = Flooded { limit: RateLimit::new(Suppression::Forever, MAX), random: 1 };
        (0..REAL).for_each(|n| assert!(flooded.sighting(n, mac(n as u8))));
        flooded
    }

    fn sighting(&mut self, n: u16, mac: MacAddr) -> bool {
        self.limit.admit(key(n), Evidence::Claim, mac, at(1_800_000_000)).report
    }

    fn random(&mut self) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// So many made-up pairings, each seen so many times.
    fn flood(
        &mut self,
        number: usize,
        times: usize,
        made_up: impl Fn(u64, PairingKey) -> (PairingKey, MacAddr),
    ) {
        for _ in 0..number {
            let random = self.random();
            let address = Ipv6Addr::from_bits(0xfd << 120 | u128::from(self.random()));
            let (key, mac) = made_up(random, PairingKey { address, ..key(0) });
            let reported: Vec<bool> = (0..times)
                .map(|_| self.limit.admit(key, Evidence::Claim, mac, at(1_800_000_000)).report)
                .collect();
            assert!(reported[0] && reported[1..].iter().all(|report| !report));
        }
    }

    /// No pairing of the network is reported again; its changes and new devices are.
    fn is_unharmed(&mut self) {
        assert!((0..REAL).all(|n| !self.sighting(n, mac(n as u8))), "a real pairing was forgotten");
        assert!(self.sighting(REAL, mac(7)), "a new device");
        assert!(!self.sighting(REAL, mac(7)), "a new device, again");
        assert!(self.sighting(3, mac(99)), "a takeover");
        assert!(self.sighting(3, mac(3)), "back again");
    }
}

/// Made-up addresses, MACs, VLANs and interfaces, each sent once or more often: the pairings that were known before are
/// not forgotten.
#[test]
fn a_flood_of_made_up_pairings_removes_no_pairing_that_was_known_before() {
    for times in [1, 2] {
        let mut flooded = Flooded::new();
        flooded.flood(1_100_000, times, |random, key| {
            let [a, b, c, d, e, f, ..] = random.to_le_bytes();
            let vlan = VlanId::from_tag(u16::from_le_bytes([a, b]));
            let outer_vlan = VlanId::from_tag(u16::from_le_bytes([c, d]));
            let interface = format!("eth0#{}", random >> 56).parse().unwrap();
            (PairingKey { interface, vlan, outer_vlan, ..key }, MacAddr::new([2, b, c, d, e, f]))
        });
        flooded.is_unharmed();
    }
}

/// A MAC with a million addresses in all VLANs loses them, not a device that came when the first half was full: of the
/// later ones, those of a crowd are forgotten.
#[test]
fn a_flood_of_one_mac_removes_only_its_own() {
    let mut flooded = Flooded::new();
    let one = MacAddr::new([2, 1, 0, 0, 0, 0]);
    let any_vlan =
        |random: u64, key| (PairingKey { vlan: VlanId::from_tag(random as u16), ..key }, one);
    flooded.flood(MAX / 2, 1, any_vlan);
    let later = REAL..2 * REAL;
    assert!(later.clone().all(|n| flooded.sighting(n, mac(n as u8))));
    flooded.flood(1_100_000, 1, any_vlan);
    assert!(later.clone().all(|n| !flooded.sighting(n, mac(n as u8))), "a later one was forgotten");
}

/// Made-up MACs on another interface: the later pairings of this one stay. (Not those of the one interface in 64 that
/// shares its counter.)
#[test]
fn a_flood_on_one_interface_removes_none_of_another() {
    let mut flooded = Flooded::new();
    let limit = &flooded.limit;
    let counter = |interface| limit.interface_counter(&PairingKey { interface, ..key(0) });
    let interface = (1..100)
        .map(|n| format!("eth{n}").parse().unwrap())
        .find(|other| counter(*other) != counter(key(0).interface))
        .unwrap();
    let other = |random: u64, key| {
        let [a, b, c, d, e, ..] = random.to_le_bytes();
        (PairingKey { interface, ..key }, MacAddr::new([2, a, b, c, d, e]))
    };
    flooded.flood(MAX / 2, 1, other);
    let later = REAL..2 * REAL;
    assert!(later.clone().all(|n| flooded.sighting(n, mac(n as u8))));
    flooded.flood(1_100_000, 1, other);
    assert!(later.clone().all(|n| !flooded.sighting(n, mac(n as u8))), "a later one was forgotten");
}

#[test]
fn options() {
    for (text, suppression) in
        [("0", Suppression::Off), ("-1", Suppression::Forever), ("60", Suppression::Seconds(60))]
    {
        assert_eq!(text.parse(), Ok(suppression));
    }
    for bad in ["", "-2", "4294967296", "1.5", "1m"] {
        assert!(bad.parse::<Suppression>().is_err(), "{bad:?}");
    }
}

/// The rate limit as it is defined, in slow and simple code, without groups, which are small here.
struct Model {
    suppression: Suppression,
    max: usize,
    known: HashMap<PairingKey, (MacAddr, UnixTime)>,
    /// First and later ones, by their last sighting.
    recent: [VecDeque<(PairingKey, UnixTime)>; 2],
}

impl Model {
    fn admit(&mut self, key: PairingKey, mac: MacAddr, now: UnixTime) -> Verdict {
        let is_key = |(other, _): &(PairingKey, UnixTime)| *other == key;
        let mut part = self.recent.iter().position(|part| part.iter().any(is_key));
        let forgot = part.is_none() && self.known.len() == self.max;
        if forgot {
            let period = |time: UnixTime| time.seconds().div_euclid(10 * 86_400);
            let oldest = self.recent[0].front();
            let gone = oldest.is_some_and(|(_, seen)| (period(now) - period(*seen)) as i8 >= 4);
            part = Some(usize::from(!gone));
            let (forgotten, _) = self.recent[usize::from(!gone)].pop_front().unwrap();
            self.known.remove(&forgotten);
        }
        let part = part.unwrap_or(usize::from(self.known.len() >= self.max / 2));
        self.recent[part].retain(|other| !is_key(other));
        self.recent[part].push_back((key, now));
        let report = match self.known.get(&key) {
            Some((known, reported)) => *known != mac || !self.suppression.covers(*reported, now),
            None => true,
        };
        if report {
            self.known.insert(key, (mac, now));
        }
        Verdict { report, forgot }
    }
}

fn suppressions() -> impl Strategy<Value = Suppression> {
    prop_oneof![(1..50_u32).prop_map(Suppression::Seconds), Just(Suppression::Forever)]
}

fn sightings() -> impl Strategy<Value = Vec<(u16, u8, i64)>> {
    // Seconds, and now and then days, so that first pairings are forgotten, too.
    let step = prop_oneof![20 => -5..30_i64, 1 => 0..60 * 86_400_i64];
    vec((0..12_u16, 0..3_u8, step), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn it_agrees_with_the_definition(suppression in suppressions(), max in 1..14_usize, sightings in sightings()) {
        let mut limit = RateLimit::new(suppression, max);
        let mut model = Model { suppression, max, known: HashMap::new(), recent: Default::default() };
        let mut now = 0;
        for (n, m, step) in sightings {
            now += step;
            let verdict = limit.admit(key(n), Evidence::Claim, mac(m), at(now));
            prop_assert_eq!(verdict, model.admit(key(n), mac(m), at(now)));
            prop_assert!(limit.pairings.len() <= max && limit.index.len() == limit.pairings.len());
        }
    }

    /// The reports contain every change of MAC, in order.
    #[test]
    fn every_change_is_reported(suppression in suppressions(), max in 1..14_usize, sightings in sightings()) {
        let mut limit = RateLimit::new(suppression, max);
        let mut now = 0;
        let mut seen: HashMap<u16, Vec<u8>> = HashMap::new();
        let mut shown: HashMap<u16, Vec<u8>> = HashMap::new();
        for (n, m, step) in sightings {
            now += step;
            seen.entry(n).or_default().push(m);
            if limit.admit(key(n), Evidence::Claim, mac(m), at(now)).report {
                shown.entry(n).or_default().push(m);
            }
        }
        for (n, mut macs) in seen {
            let mut shown = shown.remove(&n).unwrap_or_default();
            macs.dedup();
            shown.dedup();
            prop_assert_eq!(shown, macs);
        }
    }
}
