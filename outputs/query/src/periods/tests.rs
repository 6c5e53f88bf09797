use super::*;
use Evidence::{Claim, FrameSource, Probe, SignOfLife};

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

const MINUTE: i64 = 60;

type Row = (u8, i64, i64, u64, Option<u8>);

/// Claims as (time in seconds, MAC, network); periods as (MAC, first, last, count, previous MAC).
fn periods(seen: &[(i64, u8, usize)]) -> Vec<Row> {
    let claims = seen.iter().map(|(time, mac, network)| (*time, *mac, *network, Claim));
    periods_after(&[], &claims.collect::<Vec<_>>())
}

/// The same with other evidence, and what is known from before.
fn periods_after(nearest: &[NearestSightings], seen: &[(i64, u8, usize, Evidence)]) -> Vec<Row> {
    let mut builder = PeriodBuilder::new(nearest, Clocks::new(HashSet::new()));
    for (time, last, network, evidence) in seen {
        let (time, mac) = (UnixTime::new(*time, 0), mac(*last));
        builder.add(AddressSighting {
            time,
            network: *network,
            mac,
            evidence: *evidence,
            source: None,
            more: 0,
            until: None,
        });
    }
    let number = |mac: MacAddr| mac.octets()[5];
    let numbers = |Period { mac, first, last, count, previous, .. }: Period| {
        let previous = previous.map(|(mac, _)| number(mac));
        (number(mac), first.seconds(), last.seconds(), count, previous)
    };
    builder.finish().into_iter().map(numbers).collect()
}

#[test]
fn one_mac_has_one_period_with_any_silence() {
    assert_eq!(periods(&[]), []);
    assert_eq!(periods(&[(1, 1, 0), (5, 1, 0), (900_000, 1, 0)]), [(1, 1, 900_000, 3, None)]);
}

#[test]
fn another_mac_begins_another_period() {
    let hour = 60 * MINUTE;
    assert_eq!(
        periods(&[(0, 1, 0), (hour, 2, 0), (2 * hour, 2, 0), (3 * hour, 1, 0)]),
        [(1, 0, 0, 1, None), (2, hour, 2 * hour, 2, Some(1)), (1, 3 * hour, 3 * hour, 1, Some(2))]
    );
}

#[test]
fn two_macs_at_the_same_time_have_a_period_each() {
    let seen: Vec<_> = (0..1000).map(|n| (n * MINUTE, (n % 2) as u8, 0)).collect();
    let last = 999 * MINUTE;
    assert_eq!(periods(&seen), [(0, 0, last - MINUTE, 500, None), (1, MINUTE, last, 500, Some(0))]);
}

#[test]
fn networks_are_independent() {
    assert_eq!(
        periods(&[(0, 1, 0), (1, 2, 1), (9000, 1, 0), (9001, 2, 1)]),
        [(1, 0, 9000, 2, None), (2, 1, 9001, 2, None)]
    );
}

#[test]
fn probes_begin_a_period_only_if_a_claim_follows() {
    let of = |seen: &[(i64, u8, Evidence)]| {
        let seen = seen.iter().map(|(time, mac, evidence)| (*time, *mac, 0, *evidence));
        periods_after(&[], &seen.collect::<Vec<_>>())
    };
    assert_eq!(of(&[(0, 9, Probe), (300, 9, Probe), (9000, 9, Probe)]), []);
    let join = [(0, 1, Probe), (1, 1, Probe), (4, 1, Claim), (1000, 1, Claim)];
    assert_eq!(of(&join), [(1, 0, 1000, 4, None)]);
    let defended = [(0, 1, Claim), (60, 9, Probe), (61, 1, Claim), (90, 9, Claim)];
    assert_eq!(of(&defended), [(1, 0, 61, 2, None), (9, 90, 90, 1, Some(1))]);
    let too_late = [(0, 1, Probe), (601, 1, Claim)];
    assert_eq!(of(&too_late), [(1, 601, 601, 1, None)]);
}

#[test]
fn answers_without_a_mac_overrule_no_claim() {
    let of = |seen: &[(i64, u8, Evidence)]| {
        let seen = seen.iter().map(|(time, mac, evidence)| (*time, *mac, 0, *evidence));
        periods_after(&[], &seen.collect::<Vec<_>>())
    };
    let owner = [(0, 1, Claim), (3600, 1, FrameSource), (7200, 1, FrameSource)];
    assert_eq!(of(&owner), [(1, 0, 7200, 3, None)]);
    assert_eq!(of(&owner[1..]), [(1, 3600, 7200, 2, None)]);
    // A Wi-Fi extender forwards the answers of a station that claims the address itself.
    let extender: Vec<_> = (0..100)
        .map(|n| {
            (60 * n, if n % 5 == 2 { 1 } else { 2 }, if n % 5 == 2 { Claim } else { FrameSource })
        })
        .collect();
    assert_eq!(of(&extender), [(1, 120, 5820, 20, None)]);
    let later = [(0, 1, Claim), (601, 2, FrameSource), (1300, 2, FrameSource)];
    assert_eq!(of(&later), [(1, 0, 0, 1, None), (2, 601, 1300, 2, Some(1))]);
}

#[test]
fn signs_of_life_count_for_known_pairings() {
    let seen = [(0, 1, 0, SignOfLife), (3600, 1, 0, SignOfLife)];
    assert_eq!(periods_after(&[], &seen), []);
    let mut known = NearestSightings::new(0, mac(1), None);
    known.after.claim = Some(UnixTime::new(9000, 0));
    assert_eq!(periods_after(&[known], &seen), [(1, 0, 3600, 2, None)]);
}

/// What was seen before the time range decides who owns the address, and is not counted.
#[test]
fn what_is_known_from_before() {
    let mut before = NearestSightings::new(0, mac(1), None);
    before.before.claim = Some(UnixTime::new(0, 0));
    let seen = [(60, 2, 0, FrameSource), (120, 1, 0, FrameSource), (180, 2, 0, Claim)];
    assert_eq!(
        periods_after(&[before], &seen),
        [(1, 120, 120, 1, None), (2, 180, 180, 1, Some(1))]
    );
    let mut builder = PeriodBuilder::new(&[before], Clocks::new(HashSet::new()));
    let time = UnixTime::new(3600, 0);
    builder.add(AddressSighting {
        time,
        network: 0,
        mac: mac(1),
        evidence: Claim,
        source: None,
        more: 0,
        until: None,
    });
    let periods = builder.finish();
    assert_eq!((periods.len(), periods[0].is_older, periods[0].first), (1, true, time));
}

/// A sighting in 1970 and one after the clock was set do not belong to one period.
#[test]
fn the_clock_is_set() {
    let set = 1_700_000_000;
    assert_eq!(
        periods(&[(30, 1, 0), (40, 2, 0), (set, 1, 0), (set + 60, 1, 0)]),
        [(1, 30, 30, 1, None), (2, 40, 40, 1, Some(1)), (1, set, set + 60, 2, None)]
    );
}

/// A station of a repeater, and a MAC that claims its address later, in frames of its own: each has a period. A forged claim
/// that is not a day older than the owner's is none, however old it is.
#[test]
fn a_station_behind_a_repeater() {
    let hour = 60 * MINUTE;
    let found = |station: i64, other: i64| {
        let mut builder = PeriodBuilder::new(&[], Clocks::new(HashSet::new()));
        for time in (0..72 * 12).map(|n| n * 5 * MINUTE) {
            let mut add = |last, time, evidence, source| {
                let time = UnixTime::new(time, 0);
                builder.add(AddressSighting {
                    time,
                    network: 0,
                    mac: mac(last),
                    evidence,
                    source,
                    more: 0,
                    until: None,
                });
            };
            if time >= station {
                add(3, time, FrameSource, Some(mac(9)));
            }
            if time >= other {
                add(4, time + 1, Claim, None);
            }
        }
        let periods = builder.finish();
        let macs: Vec<u8> = periods.iter().map(|period| period.mac.octets()[5]).collect();
        (macs, builder.left_out.count(|why| why == Why::OtherFrame))
    };
    assert_eq!(found(0, 30 * hour), (vec![3, 4], 0));
    assert_eq!(found(0, 20 * hour).0, [3, 4], "its claims from before are no forgery");
    assert!(found(0, 20 * hour).1 > 500);
    assert_eq!(found(30 * hour, 0), (vec![4], 42 * 12));
}

/// The MACs that sent the frames of a MAC's sightings are those of sightings that count: a server that acknowledges its lease is
/// none, nor is who names it in a form that hosts ignore, or forges its claim while another MAC has the address.
#[test]
fn frame_sources_of_what_counts() {
    use Evidence::{Ignored, Lease, NoHost};
    let sources = |seen: &[(i64, u8, Evidence, Option<u8>)]| {
        let mut builder = PeriodBuilder::new(&[], Clocks::new(HashSet::new()));
        for (time, last, evidence, source) in seen.iter().copied() {
            let (time, mac, source) = (UnixTime::new(time, 0), mac(last), source.map(mac));
            let (network, more, until) = (0, 0, None);
            builder.add(AddressSighting { time, network, mac, evidence, source, more, until });
        }
        let periods = builder.finish();
        assert_eq!(periods.iter().filter(|one| one.mac == mac(1)).count(), 1, "{seen:?}");
        let sources = builder.frame_sources(0, mac(1));
        sources.iter().map(|mac| mac.octets()[5]).collect::<Vec<_>>()
    };
    let own = (100, 1, Claim, None);
    for evidence in [Lease, Ignored, NoHost] {
        assert_eq!(sources(&[own, (101, 1, evidence, Some(9))]).len(), 0, "{evidence:?}");
        assert_eq!(sources(&[(99, 1, evidence, Some(9)), own]).len(), 0, "{evidence:?}");
    }
    let forged = [own, (101, 2, Claim, None), (102, 1, FrameSource, Some(9))];
    assert_eq!(sources(&forged).len(), 0);
    // What counts at once, what waits for a claim, and what no claim follows.
    assert_eq!(sources(&[own, (101, 1, FrameSource, Some(9))]), [9]);
    assert_eq!(sources(&[(98, 1, FrameSource, Some(9)), (99, 1, Probe, Some(8)), own]), [9, 8]);
    assert_eq!(sources(&[(98, 1, FrameSource, Some(9))]), [9]);
}
