use super::*;
use crate::history_reader::Nearest;

const AT: i64 = 1_000_000;

/// The claims of a MAC in a network.
fn claimed(
    (network, mac): (usize, u8),
    before: Option<UnixTime>,
    after: Option<UnixTime>,
) -> NearestSightings {
    let claim = |claim| Nearest { claim, ..Nearest::default() };
    let (before, after) = (claim(before), claim(after));
    NearestSightings {
        before,
        after,
        ..NearestSightings::new(network, MacAddr::new([2, 0, 0, 0, 0, mac]), None)
    }
}

/// MACs with the seconds to their sightings before and after; the MAC, certainty and others of each holder.
fn found(seen: &[(u8, Option<i64>, Option<i64>)]) -> Vec<(u8, &'static str, usize)> {
    let nearest: Vec<NearestSightings> = seen
        .iter()
        .map(|(last, before, after)| {
            claimed(
                (0, *last),
                before.map(|seconds| UnixTime::new(AT - seconds, 0)),
                after.map(|seconds| UnixTime::new(AT + seconds, 0)),
            )
        })
        .collect();
    let holders = holders(&nearest, UnixTime::new(AT, 0), &HashMap::new());
    holders.iter().map(|h| (h.mac.octets()[5], h.certainty.name(), h.others)).collect()
}

#[test]
fn how_sure() {
    assert_eq!(found(&[]), []);
    assert_eq!(found(&[(1, Some(60), Some(600))]), [(1, "sure", 0)]);
    assert_eq!(found(&[(1, Some(0), Some(1))]), [(1, "sure", 0)]);
    assert_eq!(found(&[(1, Some(60), Some(601))]), [(1, "likely", 0)]);
    assert_eq!(found(&[(1, Some(60), None)]), [(1, "one-sided", 0)]);
    assert_eq!(found(&[(1, None, Some(60))]), [(1, "one-sided", 0)]);
    // One that had it long ago does not matter.
    assert_eq!(found(&[(1, Some(60), Some(60)), (2, Some(9000), None)]), [(1, "sure", 0)]);
    // Another has it next: nearest first.
    assert_eq!(
        found(&[(1, Some(300), None), (2, None, Some(100))]),
        [(2, "changed", 1), (1, "changed", 1)]
    );
    assert_eq!(
        found(&[(1, Some(30_000), Some(90_000)), (2, None, Some(40_000))]),
        [(1, "changed", 0), (2, "changed", 0)]
    );
    // At the edge of the record, as now: both are near, and nothing comes that could decide.
    assert_eq!(
        found(&[(1, Some(5), None), (2, Some(600), None)]),
        [(1, "contested", 1), (2, "contested", 1)]
    );
    assert_eq!(
        found(&[(1, None, Some(5)), (2, None, Some(9))]),
        [(1, "contested", 1), (2, "contested", 1)]
    );
    assert_eq!(
        found(&[(1, Some(5), Some(9000)), (2, Some(7), None)]),
        [(1, "contested", 1), (2, "contested", 1)],
        "before a gap"
    );
    assert_eq!(found(&[(1, Some(5), None), (2, Some(601), None)]), [(1, "one-sided", 0)]);
    assert_eq!(found(&[(1, Some(700), None), (2, Some(800), None)]), [(1, "one-sided", 0)]);
    // Another MAC comes after the gap: both stay.
    assert_eq!(
        found(&[(1, Some(5), None), (2, Some(7), None), (3, None, Some(9000))]),
        [(1, "contested", 1), (2, "contested", 1), (3, "changed", 2)]
    );
    assert_eq!(
        found(&[(1, Some(5), None), (3, None, Some(9000))]),
        [(1, "changed", 0), (3, "changed", 1)]
    );
    // Both are seen.
    assert_eq!(
        found(&[(1, Some(5), Some(6)), (2, Some(7), Some(8))]),
        [(1, "contested", 1), (2, "contested", 1)]
    );
    assert_eq!(
        found(&[(1, Some(5), Some(6)), (2, Some(7), None), (3, Some(5000), Some(5000))]),
        [(1, "contested", 1), (2, "contested", 1)]
    );
}

/// A claim in a frame of another MAC lowers no owner that was seen in frames of its own, and is shown.
#[test]
fn frames_of_another_mac() {
    let time = |seconds: i64| Some(UnixTime::new(AT + seconds, 0));
    let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
    let forwarded = |number, source, before: i64, after: i64| NearestSightings {
        before: Nearest { frame_source: time(before), ..Nearest::default() },
        after: Nearest { frame_source: time(after), ..Nearest::default() },
        ..NearestSightings::new(0, mac(number), Some(mac(source)))
    };
    let found = |all: &[NearestSightings]| -> Vec<(u8, &str, Vec<u8>, bool)> {
        let holders = holders(all, UnixTime::new(AT, 0), &HashMap::new());
        let last = |mac: &MacAddr| mac.octets()[5];
        let row = |h: &Holder| {
            let sources = h.frame_sources.iter().map(last).collect();
            (last(&h.mac), h.certainty.name(), sources, h.has_own_frames)
        };
        holders.iter().map(row).collect()
    };
    let owner = claimed((0, 1), time(-60), time(60));
    let forged = forwarded(2, 9, -5, 5);
    assert_eq!(
        found(&[owner, forged, forwarded(2, 8, -6, 700)]),
        [(1, "sure", vec![], true), (2, "contested", vec![8, 9], false)]
    );
    // A claim of another's address in the name of its owner.
    assert_eq!(found(&[owner, forwarded(1, 9, -5, 5)]), [(1, "sure", vec![9], true)]);
    // A repeater: no other MAC claims the address.
    assert_eq!(found(&[forwarded(3, 9, -5, 5)]), [(3, "sure", vec![9], false)]);
    // A station of a repeater for a day, and then another MAC claims its address in its own frames: neither is sure. It
    // is not enough that the forged claims are older than a day: the owner's must be younger.
    let since = |one: NearestSightings, seconds| NearestSightings { first: time(seconds), ..one };
    let station = since(forwarded(3, 9, -5, 5), -200_000);
    let newcomer = |first| since(claimed((0, 4), time(-60), time(60)), first);
    assert_eq!(
        found(&[station, newcomer(-100_000)]),
        [(3, "contested", vec![9], false), (4, "contested", vec![], true)]
    );
    for owner in [newcomer(-120_000), newcomer(-300_000)] {
        assert_eq!(
            found(&[station, owner]),
            [(4, "sure", vec![], true), (3, "contested", vec![9], false)]
        );
    }
    // The owner was not seen for long.
    let away = claimed((0, 1), time(-9000), None);
    assert_eq!(found(&[away, forged]), [(2, "sure", vec![9], false)]);
}

#[test]
fn each_network_has_its_own() {
    let at = UnixTime::new(AT, 0);
    let of = |network, mac| claimed((network, mac), Some(at), Some(UnixTime::new(AT + 1, 0)));
    let networks: Vec<_> = holders(&[of(1, 1), of(0, 2)], at, &HashMap::new())
        .iter()
        .map(|h| (h.network, h.certainty))
        .collect();
    assert_eq!(networks, [(0, Certainty::Sure), (1, Certainty::Sure)]);
}

/// In 1970 the clock of network 1 was not set. That of network 0 never was: it is that of a simulation.
#[test]
fn sightings_before_the_clock_was_set() {
    let at = UnixTime::new(1_700_000_000, 0);
    let [in_1970, in_2023] = [30, 1_699_999_900].map(|time| Some(UnixTime::new(time, 0)));
    let found = |all: &[NearestSightings]| -> Vec<(u8, &str, bool)> {
        let holders = holders(all, at, &[(1, UnixTime::CLOCK_SET)].into());
        let row = |h: &Holder| (h.mac.octets()[5], h.certainty.name(), h.before.is_some());
        holders.iter().map(row).collect()
    };
    let old = claimed((1, 1), in_1970, None);
    assert_eq!(found(&[old, claimed((1, 2), in_2023, None)]), [(2, "one-sided", true)]);
    assert_eq!(found(&[claimed((1, 1), in_1970, Some(at))]), [(1, "one-sided", false)]);
    assert_eq!(found(&[old]), [(1, "one-sided", false)]);
    assert_eq!(found(&[claimed((0, 1), in_1970, None)]), [(1, "one-sided", true)]);
    let probe = Nearest { probe: in_1970, ..Nearest::default() };
    assert_eq!(found(&[NearestSightings { before: probe, ..old }]), [(1, "probed", false)]);
}
