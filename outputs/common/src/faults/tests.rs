use shm_layout::{MAX_NETWORKS, NeighborView, UnixTime, VlanId};

use super::*;
use crate::{Checkpoint, writer_kills};

fn state(generation: u64, lost: u64, blind: Option<&str>) -> RingState {
    RingState {
        ring: "/site".parse().unwrap(),
        host: "sensor1".into(),
        generation: Some(generation),
        counters: Vec::new(),
        interfaces: Vec::new(),
        broadcasts: Vec::new(),
        neighbors: Vec::new(),
        gap: None,
        blind: blind.map(str::to_owned),
        is_running: blind.is_none(),
        heartbeat: None,
        kills: Default::default(),
        silent_since: None,
        has_captured: false,
        checkpoint: Some(Checkpoint { generation, began: 0, delivered: 7, lost, skipped: 0 }),
        loss: LossCause::Overwritten,
        cuts: 0,
        spool_full: None,
    }
}

fn texts(reports: Vec<FaultReport>) -> Vec<String> {
    reports.into_iter().map(|report| report.text).collect()
}

#[test]
fn losses_have_numbers_and_a_remedy() {
    let mut faults = Faults::default();
    let mut observe = |state: &RingState, now| texts(faults.of_ring(state, "aw-alert", now));
    assert_eq!(observe(&state(1, 0, None), 1000), [""; 0]);
    let begins = "12 events were overwritten before aw-alert read them (give the collector a larger ring with -L, or this machine more time)";
    assert_eq!(observe(&state(1, 12, None), 1001), [begins]);
    assert_eq!(observe(&state(1, 50, None), 1002), [""; 0]);
    let over = "over: 50 events were overwritten before aw-alert read them, within 11 s";
    assert_eq!(observe(&state(1, 50, None), 1012), [over]);
    // A restart repeats nothing, and another generation counts from 0.
    let stored: BTreeMap<_, _> = faults.take_changed().into_iter().collect();
    let stored = serde_json::to_string(&stored).unwrap();
    let mut faults = Faults::new(serde_json::from_str(&stored).unwrap());
    assert_eq!(faults.of_ring(&state(1, 50, None), "aw-alert", 2000), []);
    let again = texts(faults.of_ring(&state(u64::MAX, 3, None), "aw-alert", 9000));
    assert!(again[0].starts_with("3 events were overwritten "), "{again:?}");
}

/// Nothing is blamed on a slow reader, and a truncation is reported even if no event was lost.
#[test]
fn a_truncated_ring() {
    let mut faults = Faults::default();
    let mut observe = |lost, cuts, now| {
        let state = RingState { loss: LossCause::Cut, cuts, ..state(1, lost, None) };
        texts(faults.of_ring(&state, "aw-alert", now))
    };
    assert_eq!(observe(0, 2, 1000), [""; 0], "before the first start");
    let cut = "1 truncation of the ring by a process of the collector's user or of root: events that aw-alert had not read are lost, and the counters begin again (find that process)";
    let lost = "3000 events were lost because the ring was truncated before aw-alert read them (find the process of the collector's user, or of root, that did it)";
    assert_eq!(observe(3000, 3, 1001), [lost, cut]);
    let over = "over: 3000 events were lost because the ring was truncated before aw-alert read them, within 10 s";
    assert_eq!(observe(3000, 3, 1011), [over]);
    assert_eq!(observe(3000, 4, 5000), [cut], "a quiet ring");
    let lost = "1 event was lost because the ring was truncated before aw-alert read it";
    assert!(observe(3001, 4, 5030)[0].starts_with(lost));
}

/// A truncation resets the counters of the collector.
#[test]
fn counters_that_begin_again() {
    let mut faults = Faults::default();
    let mut observe = |number, now| {
        let (name, count) = (
            "forgot /a".into(),
            FaultCount { generation: 1, number, before: number, resets: true },
        );
        let what = ["one is", "are"].map(String::from);
        faults.counted(name, FaultKind::Forgot, count, (&what, "x"), now)
    };
    assert_eq!(observe(100, 1000), None);
    assert_eq!(observe(3, 2000).unwrap().text, "3 are (x)");
    assert_eq!(observe(3, 3000).unwrap().text, "over: 3 are, within 1000 s");
}

/// The state of faults is newer than the saved position: a backup was restored.
#[test]
fn an_older_position_repeats_no_loss() {
    let mut faults = Faults::default();
    let mut observe = |lost, now| texts(faults.of_ring(&state(1, lost, None), "aw-mqtt", now));
    assert!(observe(100, 1000)[0].starts_with("100 events were overwritten "));
    assert!(observe(100, 1010)[0].starts_with("over: 100 events "));
    assert_eq!(observe(60, 9000), [""; 0]);
    assert!(observe(63, 9001)[0].starts_with("3 events were overwritten "));
}

/// While a truncated ring is not created again, nothing is known of its counts, and none begins again.
#[test]
fn between_two_rings() {
    let mut faults = Faults::default();
    let mut observe = |generation, cuts, now| {
        let state = RingState { generation, cuts, checkpoint: None, ..state(1, 0, None) };
        texts(faults.of_ring(&state, "aw-alert", now))
    };
    assert_eq!(observe(Some(1), 2, 1000), [""; 0]);
    assert!(observe(Some(1), 3, 1001)[0].starts_with("1 truncation of the ring "));
    assert_eq!(observe(Some(1), 3, 1020), [""; 0], "over");
    assert_eq!(observe(None, 0, 2000), [""; 0]);
    assert!(observe(Some(1), 4, 2001)[0].starts_with("1 truncation of the ring "));
}

#[test]
fn blindness() {
    let mut faults = Faults::default();
    let dead = "its collector has ended (start it again)";
    let mut observe = |why, now| texts(faults.of_ring(&state(1, 0, why), "aw-alert", now));
    assert_eq!(observe(None, 999), [""; 0]);
    assert_eq!(observe(Some(dead), 1000), [dead]);
    assert_eq!(observe(Some(dead), 4599), [""; 0]);
    assert_eq!(observe(Some(dead), 4600), [format!("still: {dead}")]);
    assert_eq!(observe(None, 4610), ["over: events arrive again, after 3610 s"]);
    let mut state = state(1, 0, None);
    let eth1 = "eth1".parse().unwrap();
    state.interfaces.push((eth1, CaptureState::Down));
    let down = "interface eth1 is down: no frames of it arrive (ip link set eth1 up)";
    assert_eq!(texts(faults.of_ring(&state, "aw-alert", 5000)), [down]);
    // A port without a cable is no message each hour.
    let day = (5001..5001 + DAY).flat_map(|now| faults.of_ring(&state, "aw-alert", now));
    let day: Vec<_> = day.collect();
    assert_eq!(day[0].network.as_deref(), Some("eth1"));
    assert_eq!(texts(day), [format!("still: {down}")]);
    // Its collector ends: the interface is as it was.
    state.interfaces.clear();
    state.is_running = false;
    let later = 5002 + DAY;
    let none = |faults: &mut Faults, state: &RingState| {
        (0..100).flat_map(|second| faults.of_ring(state, "aw-alert", later + second)).count()
    };
    assert_eq!(none(&mut faults, &state), 0);
    // One runs that does not capture on it, which is not "again"; and one that does.
    state.is_running = true;
    let over = |faults: &mut Faults, state: &RingState| {
        let reports =
            (100..200).flat_map(|second| faults.of_ring(state, "aw-alert", later + second));
        texts(reports.collect()).concat()
    };
    let text = over(&mut faults.clone(), &state);
    assert!(
        text.starts_with("over: the collector captures no longer on interface eth1, "),
        "{text}"
    );
    state.interfaces.push((eth1, CaptureState::Captured));
    let text = over(&mut faults, &state);
    assert!(text.starts_with("over: interface eth1 is captured again, after "), "{text}");
}

/// One that is killed and started again is no report; three within an hour are one, which a restart of the output does not repeat, and
/// which an output makes, too, that did not run meanwhile.
#[test]
fn a_collector_that_crashes_again_and_again() {
    let observe = |faults: &mut Faults, seconds: &[u64], now| {
        let kills = writer_kills::tests::kills(seconds);
        let state =
            RingState { kills, silent_since: Some(UnixTime::new(1, 0)), ..state(1, 0, None) };
        texts(faults.of_ring(&state, "aw-alert", now))
    };
    let mut faults = Faults::default();
    assert_eq!(observe(&mut faults, &[1], 1000), [""; 0]);
    assert_eq!(observe(&mut faults, &[1, 1001], 2000), [""; 0]);
    let [text] = &*observe(&mut faults, &[1, 1001, 2001], 3000) else { panic!("one") };
    assert!(text.starts_with("the collector was killed or crashed 3 times since "), "{text}");
    let stored: BTreeMap<_, _> = faults.take_changed().into_iter().collect();
    let mut faults = Faults::new(stored);
    assert_eq!(observe(&mut faults, &[1, 2, 1002, 2002], 3001), [""; 0], "no storm");
    assert_eq!(observe(&mut faults, &[3599, 3600, 4600, 5600], 6599), [""; 0]);
    let over = "over: the collector was not killed again, and did not crash, after 3609 s";
    assert_eq!(observe(&mut faults, &[3609, 3610, 4610, 5610], 6609), [over]);
    let [_] = &*observe(&mut Faults::default(), &[9, 1001, 2001], 9000) else { panic!("late") };
}

/// Collector and output did not run: reported once, by the output that starts again. Not what was before its first start, nor
/// what it reported while it lasted.
#[test]
fn a_time_without_a_collector() {
    let at = |second| UnixTime::new(1_796_000_000 + second, 0);
    let with = |gap: Option<(i64, i64)>| RingState {
        gap: gap.map(|(from, to)| (at(from), at(to))),
        ..state(1, 0, None)
    };
    let observe = |faults: &mut Faults, gap, now| {
        let reports = faults.of_ring(&with(gap), "aw-alert", now);
        reports.into_iter().map(|report| (report.kind, report.text)).collect::<Vec<_>>()
    };
    let mut faults = Faults::default();
    assert_eq!(observe(&mut faults, Some((0, 600)), 1000), [], "before it was installed");
    let stored: BTreeMap<_, _> = faults.take_changed().into_iter().collect();
    let mut faults = Faults::new(stored);
    assert_eq!(observe(&mut faults, Some((0, 600)), 1001), []);
    let [(kind, text)] = &*observe(&mut faults, Some((2000, 2600)), 3000) else { panic!("none") };
    assert_eq!(*kind, FaultKind::Blind);
    assert!(text.starts_with("over: no collector ran from 2026-11-"), "{text}");
    assert!(text.ends_with(": nothing is recorded of that time"), "{text}");
    let stored: BTreeMap<_, _> = faults.take_changed().into_iter().collect();
    assert_eq!(stored.len(), 1);
    let mut faults = Faults::new(stored);
    assert_eq!(observe(&mut faults, Some((2000, 2600)), 3001), [], "once");
    assert_eq!(observe(&mut faults, None, 3002), [], "a ring that was created again");
    assert_eq!(faults.of_ring(&state(1, 0, Some("dead")), "aw-alert", 4000).len(), 1);
    assert!(faults.of_ring(&state(1, 0, Some("dead")), "aw-alert", 4299).is_empty());
    let [(_, text)] = &*observe(&mut faults, Some((3990, 4300)), 4300) else { panic!("none") };
    assert_eq!(text, "over: events arrive again, after 300 s");
    assert_eq!(observe(&mut faults, Some((3990, 4300)), 4320), [], "it was seen");
}

#[test]
fn drops_name_the_interface_that_drops() {
    let mut faults = Faults::default();
    let mut observe = |name: &str, number, now| {
        let (ring, count) = (
            "/site".parse().unwrap(),
            FaultCount { generation: 1, number, before: number, resets: true },
        );
        faults.of_drops(&ring, name.parse().unwrap(), count, now)
    };
    assert_eq!(observe("eth0", 7, 1000), None, "before the start");
    assert_eq!(observe("eth1", 0, 1000), None);
    assert_eq!(observe("eth0", 7, 1001), None);
    let report = observe("eth1", 5, 1001).unwrap();
    let dropped = "5 frames were dropped by the kernel on eth1: the collector was too slow (give it more time, or look for a flood on that interface)";
    assert_eq!((&*report.text, report.network.as_deref()), (dropped, Some("eth1")));
}

/// A collector that was started again states a unit that is enabled and does not run after its second look, which is no end.
#[test]
fn what_a_new_collector_does_not_state_yet() {
    let mut faults = Faults::default();
    let with = |stated: &[(&str, CaptureState)]| RingState {
        interfaces: stated.iter().map(|(name, found)| (name.parse().unwrap(), *found)).collect(),
        ..state(1, 0, None)
    };
    let eth1 = |found| with(&[("eth0", CaptureState::Captured), ("eth1", found)]);
    let mut observe = |state: &RingState, times: std::ops::Range<i64>| {
        texts(times.flat_map(|now| faults.of_ring(state, "aw-mqtt", now)).collect())
    };
    let stopped = "interface eth1 is no longer captured: ";
    let begins = observe(&eth1(CaptureState::NotRunning), 0..100);
    assert!(begins.len() == 1 && begins[0].starts_with(stopped), "{begins:?}");
    // Another collector, three times, and none for an hour.
    for start in [100, 200, 300] {
        assert_eq!(observe(&with(&[]), start..start + 25), [""; 0]);
        assert_eq!(observe(&eth1(CaptureState::NotRunning), start + 25..start + 100), [""; 0]);
    }
    assert_eq!(observe(&with(&[]), 400..420), [""; 0]);
    let none = RingState { is_running: false, ..with(&[]) };
    assert_eq!(observe(&none, 420..4000), [""; 0]);
    // It was disabled.
    let end = observe(&with(&[]), 4000..4100);
    let no_longer = "over: the collector captures no longer on interface eth1, after 4030 s";
    assert_eq!(end, [no_longer]);
    assert_eq!(observe(&eth1(CaptureState::NotRunning), 4100..4200).len(), 1);
    let again = observe(&eth1(CaptureState::Captured), 4200..4300);
    assert!(again.len() == 1 && again[0].starts_with("over: interface eth1 is captured again"));
    // A restart of the output within the wait: the end is reported, and once.
    assert_eq!(observe(&eth1(CaptureState::NotRunning), 4300..4400).len(), 1);
    assert_eq!(observe(&with(&[]), 4400..4420), [""; 0]);
    let stored: BTreeMap<_, _> = faults.take_changed().into_iter().collect();
    let stored = serde_json::to_string(&stored).unwrap();
    let mut faults = Faults::new(serde_json::from_str(&stored).unwrap());
    let observed = (4420..4600).flat_map(|now| faults.of_ring(&with(&[]), "aw-mqtt", now));
    let end = texts(observed.collect());
    assert!(
        end.len() == 1 && end[0].starts_with("over: the collector captures no longer"),
        "{end:?}"
    );
    // A process that does not run long enough to wait.
    let mut faults = Faults::default().at_once(true);
    assert_eq!(faults.of_ring(&eth1(CaptureState::Down), "aw-alert", 5000).len(), 1);
    assert_eq!(texts(faults.of_ring(&with(&[]), "aw-alert", 5010)).len(), 1);
}

/// A ring whose collector is stopped, which is observed each second, too.
#[test]
fn a_stopped_ring_keeps_no_fault_of_another_ring() {
    let mut faults = Faults::default();
    let lan = |interfaces: &[(&str, CaptureState)]| RingState {
        interfaces: interfaces
            .iter()
            .map(|(name, found)| (name.parse().unwrap(), *found))
            .collect(),
        ..state(1, 0, None)
    };
    let dmz = RingState { ring: "/dmz".parse().unwrap(), is_running: false, ..state(1, 0, None) };
    let mut observe = |state: &RingState, times: std::ops::Range<i64>| {
        let mut reports = Vec::new();
        for now in times {
            reports.extend(faults.of_ring(state, "aw-mqtt", now));
            assert_eq!(faults.of_ring(&dmz, "aw-mqtt", now), []);
        }
        texts(reports)
    };
    assert_eq!(observe(&lan(&[("eth1", CaptureState::Down)]), 1000..1010).len(), 1);
    assert_eq!(observe(&lan(&[]), 1010..1040), [""; 0]);
    let end = "over: the collector captures no longer on interface eth1, after 40 s";
    assert_eq!(observe(&lan(&[]), 1040..1100), [end]);
}

/// Who gets the remedy of one fault must not follow it for another one for a day.
#[test]
fn a_fault_that_has_another_reason_now() {
    let mut faults = Faults::default();
    let eth1 = |found| RingState {
        interfaces: vec![("eth1".parse().unwrap(), found)],
        ..state(1, 0, None)
    };
    let observe = |faults: &mut Faults, found, times: std::ops::Range<i64>| {
        texts(times.flat_map(|now| faults.of_ring(&eth1(found), "aw-mqtt", now)).collect())
    };
    assert_eq!(observe(&mut faults, CaptureState::NotRunning, 0..100).len(), 1);
    let down = "now: interface eth1 is down: no frames of it arrive (ip link set eth1 up)";
    assert_eq!(observe(&mut faults, CaptureState::Down, 100..200), [down]);
    let stored: BTreeMap<_, _> = faults.take_changed().into_iter().collect();
    let stored = serde_json::to_string(&stored).unwrap();
    let mut faults = Faults::new(serde_json::from_str(&stored).unwrap());
    assert_eq!(observe(&mut faults, CaptureState::Down, 200..300), [""; 0], "a restart");
    // Who moves a cable causes one report an hour.
    let mut flaps = Vec::new();
    for at in (300..7500).step_by(10) {
        let found = if at % 20 == 0 { CaptureState::Down } else { CaptureState::NoCarrier };
        flaps.extend(observe(&mut faults, found, at..at + 10));
    }
    assert_eq!(flaps.len(), 2, "{flaps:?}");
    let end = observe(&mut faults, CaptureState::Captured, 7500..7600);
    assert!(end.len() == 1 && end[0].starts_with("over: "), "{end:?}");
    let begins = observe(&mut faults, CaptureState::Down, 7600..7700);
    assert_eq!(begins, [down.trim_start_matches("now: ")]);
}

/// Once, also after a restart of the collector, which does not know it yet; and once when they arrive again, or the interface is not to
/// be captured any more.
#[test]
fn broadcasts_that_are_missing() {
    use shm_layout::BroadcastState::{Arriving, Missing, Unknown};
    let mut faults = Faults::default();
    let mut observe = |found, captured, times: std::ops::Range<i64>| {
        let eth1 = "eth1".parse().unwrap();
        let broadcasts =
            if captured == CaptureState::Captured { vec![(eth1, found)] } else { vec![] };
        let interfaces = vec![("eth0".parse().unwrap(), CaptureState::Captured), (eth1, captured)];
        let state = RingState { broadcasts, interfaces, ..state(1, 0, None) };
        let reports = times.flat_map(|now| faults.of_ring(&state, "aw-alert", now));
        let reports = reports.filter(|report| !report.text.contains("interface eth1 is")).collect();
        texts(reports)
    };
    let is = CaptureState::Captured;
    assert_eq!(observe(Unknown, is, 0..10), [""; 0]);
    assert_eq!(observe(Arriving, is, 10..20), [""; 0]);
    let begins = observe(Missing, is, 20..200_000);
    let text = "ARP broadcasts do not arrive on eth1: three other hosts or more ";
    assert!(begins.len() == 1 && begins[0].starts_with(text), "{begins:?}");
    assert_eq!(observe(Unknown, is, 200_000..300_000), [""; 0]);
    assert_eq!(observe(Unknown, CaptureState::Down, 300_000..300_010), [""; 0]);
    assert_eq!(observe(Missing, is, 300_010..300_100), [""; 0]);
    let over = observe(Arriving, is, 300_100..300_200);
    let text = "over: ARP broadcasts of other hosts arrive on eth1 again, after ";
    assert!(over.len() == 1 && over[0].starts_with(text), "{over:?}");
    assert_eq!(observe(Missing, is, 400_000..400_100).len(), 1);
    let over = observe(Unknown, CaptureState::None, 400_100..400_200);
    assert!(over.len() == 1 && over[0].contains(" captures no longer on "), "{over:?}");
}

/// Each network once, as a hint, also after a restart of the collector, which does not know it yet; and once when its hosts answer, or its
/// interface is not to be captured any more. Frames with any VLAN take no more room.
#[test]
fn neighbors_that_are_hidden() {
    let mut faults = Faults::default();
    let mut observe = |views: &[(u16, bool)], captured, now| {
        let eth0 = "eth0".parse().unwrap();
        let view = |(vlan, is_hidden): &(u16, bool)| NeighborView {
            interface: eth0,
            outer_vlan: VlanId::NONE,
            vlan: VlanId::from_tag(*vlan),
            is_hidden: *is_hidden,
            awake: 5,
            answered: if *is_hidden { 0 } else { 5 },
            queries: 24,
        };
        let neighbors = views.iter().map(view).collect();
        let interfaces = vec![(eth0, captured)];
        faults.of_ring(&RingState { neighbors, interfaces, ..state(1, 0, None) }, "aw-alert", now)
    };
    let is = CaptureState::Captured;
    assert_eq!(observe(&[(7, false)], is, 0), []);
    let [hidden] = &*observe(&[(0, false), (7, true)], is, 1) else { panic!() };
    assert_eq!((hidden.network.as_deref(), hidden.is_hint), (Some("eth0.7"), true));
    let text = "0 of 5 hosts that were awake answered 24 multicast queries on eth0.7: a switch ";
    assert!(hidden.text.starts_with(text), "{hidden:?}");
    for (views, now) in [(&[(7, true)][..], 2), (&[], 3), (&[(7, true)], 200_000)] {
        assert_eq!(observe(views, is, now), [], "{now}");
    }
    let over = observe(&[(7, false)], is, 200_020);
    let text = "over: hosts on eth0.7 answer multicast queries at this port, after 200019 s";
    assert_eq!((over[0].text.as_str(), over[0].is_hint, over.len()), (text, true, 1));
    assert_eq!(observe(&[(7, true)], is, 300_000).len(), 1);
    let ends = |now| observe(&[], CaptureState::None, now);
    let over = [300_001, 300_020, 300_040].map(ends);
    assert_eq!((over[0].len(), over[1].len(), over[2].len()), (0, 0, 1));
    assert!(over[2][0].text.contains(" captures no longer on interface eth0.7, "), "{over:?}");
    // Nothing is known for a while, such as after a restart, and for a day: then it is news.
    for now in [300_100, 300_101] {
        let begins = usize::from(now == 300_100);
        assert_eq!(observe(&[(7, true)], is, now).len(), begins);
    }
    for now in [300_200, 300_200 + DAY - 1] {
        assert_eq!(observe(&[], is, now), []);
    }
    assert_eq!(observe(&[(7, true)], is, 400_000), [], "it is known again");
    for now in [400_001, 400_001 + DAY] {
        assert_eq!(observe(&[], is, now), []);
    }
    assert_eq!(observe(&[(7, true)], is, 500_000).len(), 1);
    let mut made_up = 0;
    for vlan in 100..400 {
        made_up += observe(&[(vlan, true)], is, 600_000 + i64::from(vlan)).len();
    }
    assert_eq!(made_up, 300);
    let kept = faults.all().keys().filter(|name| name.starts_with("neighbors "));
    assert_eq!(kept.count(), 2 * MAX_NETWORKS);
}

/// A fault that is over makes room first, then the one that was not present for longest.
#[test]
fn room_for_faults() {
    let mut faults = Faults::default();
    let blind = |faults: &mut Faults, name: &str, why, now| {
        faults.level(name.to_owned(), FaultKind::Blind, why, "", now).is_some()
    };
    for (name, now) in [("n 1", 10), ("n 2", 20), ("n 3", 30), ("other", 1)] {
        assert!(blind(&mut faults, name, Some("x"), now));
    }
    assert!(blind(&mut faults, "n 3", None, 50));
    let mut kept = |most| {
        faults.make_room("n ", most);
        let kept: Vec<_> = faults.all().keys().cloned().collect();
        (kept.join(","), faults.take_removed().join(","))
    };
    assert_eq!(kept(4), ("n 1,n 2,n 3,other".into(), String::new()));
    assert_eq!(kept(3), ("n 1,n 2,other".into(), "n 3".into()));
    assert_eq!(kept(2), ("n 2,other".into(), "n 1".into()));
}
