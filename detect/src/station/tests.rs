use super::{Transition::*, *};

fn mac(letter: char) -> MacAddr {
    match letter {
        'K' => MacAddr::new([0xaa, 0, 4, 0, 0, 1]),
        other => MacAddr::new([0, 8, 0xe1, 1, 2, other as u8]),
    }
}

type Outcome = Option<(Transition, Option<MacAddr>)>;

/// Records claims of MACs A, B, ...; the outcome of each with the MAC that was current.
fn play(story: &[(char, i64)]) -> (Vec<Outcome>, Station) {
    let mut station = Station::default();
    let outcomes = story.iter().map(|(letter, time)| {
        let outcome = station.claim(mac(*letter), *time, |_| false);
        outcome.map(|(change, old)| (change, old.map(|claim| claim.mac)))
    });
    (outcomes.collect(), station)
}

/// Golden: Debian's arpwatch was run on these.
#[test]
fn as_arpwatch() {
    let letters = "AABABCACBDA".chars().zip(0..).collect::<Vec<_>>();
    let (outcomes, station) = play(&letters);
    let old = |letter| Some(mac(letter));
    let expected = [
        Some((NewStation, None)),
        None,
        Some((Changed, old('A'))),
        Some((FlipFlop, old('B'))),
        Some((FlipFlop, old('A'))),
        Some((Changed, old('B'))),
        Some((Reused, old('C'))),
        Some((FlipFlop, old('A'))),
        Some((Reused, old('C'))),
        Some((Changed, old('B'))),
        Some((Reused, old('D'))),
    ];
    assert_eq!(outcomes, expected);
    let last = [('A', 10), ('D', 9), ('B', 8), ('C', 7)];
    assert_eq!(station.claims, last.map(|(letter, time)| MacClaim { mac: mac(letter), time }));
}

#[test]
fn new_activity_after_more_than_half_a_year() {
    let (outcomes, _) = play(&[('A', 0), ('A', 15_552_000), ('A', 31_104_001)]);
    assert_eq!(outcomes, [Some((NewStation, None)), None, Some((NewActivity, Some(mac('A'))))]);
    let (outcomes, _) = play(&[('A', 0), ('B', 1), ('A', 99_999_999)]);
    assert_eq!(outcomes[2], Some((FlipFlop, Some(mac('B')))), "never against half a year");
}

#[test]
fn decnet_flip_flops() {
    let day = 86_400;
    let (outcomes, _) = play(&[('A', 0), ('K', 1), ('A', 2), ('K', 2 + day), ('A', 3 + day)]);
    let changes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().0).collect();
    assert_eq!(changes, [NewStation, Changed, SuppressedDecnet, FlipFlop, SuppressedDecnet]);
}

#[test]
fn a_duplicate_is_not_a_move() {
    let at = |seconds| UnixTime::new(seconds, 0);
    let (_, mut station) = play(&[('A', 0), ('B', 5)]);
    assert_eq!(station.duplicate(mac('B'), at(6), 60, false), None, "moved, and stays");
    let (other, why) = station.duplicate(mac('A'), at(7), 60, false).unwrap();
    assert_eq!((other.mac, why), (mac('B'), "both MACs claim it in turn"));
    assert_eq!(
        station.duplicate(mac('A'), at(700), 60, false),
        None,
        "a lease that went there and back"
    );
    let (_, owned) = play(&[('A', 0), ('B', 700)]);
    assert!(owned.duplicate(mac('A'), at(701), 60, false).is_some(), "the owner defends it");
    assert_eq!(owned.duplicate(mac('A'), at(703), 60, false), None);
    // Two answers to one request, to the nanosecond.
    station.answer = Some(Answer { mac: mac('B'), time: UnixTime::new(1000, 900_000_000) });
    let answers = |letter, time| station.duplicate(mac(letter), time, 60, true);
    let last = UnixTime::new(1002, 900_000_000);
    assert_eq!(answers('C', last).unwrap().1, "both MACs answer");
    assert_eq!(answers('C', UnixTime::from_nanos(last.as_nanos() + 1)), None, "too late");
    assert_eq!(answers('B', last), None, "the same MAC again");
    assert_eq!(station.duplicate(mac('C'), at(1001), 60, false), None, "a request is no answer");
}

/// A sensor that boots in 1970: nothing of that time is half a year ago.
#[test]
fn no_span_reaches_across_a_wrong_clock() {
    let now = 1_700_000_000;
    let (outcomes, station) = play(&[('A', now), ('A', 30), ('A', now + 86_400)]);
    assert_eq!(outcomes[1..], [None, None]);
    assert_eq!(station.claims[0].time, now + 86_400);
    let (outcomes, station) = play(&[('A', now), ('A', 30), ('A', now + 15_552_001)]);
    assert_eq!(outcomes[2], Some((NewActivity, Some(mac('A')))), "and the right time is kept");
    assert_eq!(station.claims.len(), 1);
    let (outcomes, _) = play(&[('A', 30), ('A', now), ('A', now + 15_552_001)]);
    assert_eq!(outcomes[1..], [None, Some((NewActivity, Some(mac('A'))))]);
}

#[test]
fn claims_are_bounded_and_alerts_are_limited() {
    let mut station = Station::default();
    for number in 0..1000_u16 {
        let [high, low] = number.to_be_bytes();
        station.claim(MacAddr::new([2, 0, 0, 0, high, low]), number.into(), |_| false);
    }
    assert_eq!(station.claims.len(), MAX_CLAIMS);
    let admitted = [10, 20, 3609, 3610].map(|time| station.admit_alert(time, 3600, false));
    assert_eq!(admitted, [Some(0), None, None, Some(2)]);
    let admitted = [3611, 3612].map(|time| station.admit_alert(time, 3600, true));
    assert_eq!(admitted, [Some(0), None]);
    // After a flip flop, a conflict that lasts: again as a duplicate, after which no half of it is reported.
    let admitted = [7210, 7211, 7212].map(|time| station.admit_alert_again(time, 3600));
    assert_eq!(admitted, [None, Some(2), None]);
    let admitted = [true, false].map(|duplicate| station.admit_alert(10_810, 3600, duplicate));
    assert_eq!(admitted, [None, None]);
}

/// A takeover after a duplicate is a part of a conflict only if there was one in between, and of the same two MACs.
#[test]
fn a_conflict_that_lasts() {
    let play = |claims: &[(char, i64)]| {
        let mut station = Station { last_duplicate: 100, ..Station::default() };
        for (name, time) in claims {
            station.claim(mac(*name), *time, |_| false);
            station.suppressed += u32::from(*time < 3700);
        }
        station.is_in_conflict(claims.last().unwrap().1, 7200)
    };
    assert!(play(&[('A', 150), ('B', 200), ('A', 3750)]));
    assert!(!play(&[('A', 150), ('B', 200), ('A', 7300)]), "two hours later");
    assert!(!play(&[('B', 3700), ('A', 3750)]), "nothing was left out");
    assert!(!play(&[('A', 150), ('B', 200), ('C', 3600), ('B', 3750)]), "a third one");
}
