use std::sync::Arc;

use aw_output::LossCause;
use jiff::{civil::date, tz::TimeZone};
use shm_layout::{BroadcastState, CaptureState, NeighborView, VlanId};

use super::*;
use crate::{activity_report::DeviceActivity, local_time::HourMinute};

fn at(clock: &str) -> LogTime {
    (date(2026, 11, 28), clock.parse().unwrap())
}

fn noon() -> Zoned {
    date(2026, 11, 28).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap()
}

fn live() -> Live {
    Live::new(LogConfig { names: Arc::default(), networks: Arc::default(), max_logs: 31 })
}

fn before_noon(seconds: i64) -> UnixTime {
    UnixTime::new(noon().timestamp().as_second() - seconds, 0)
}

/// The state of a ring whose last heartbeat and frame were so many seconds before noon; without a heartbeat there is no ring.
pub fn state(heartbeat: Option<i64>, last_frame: Option<i64>, is_running: bool) -> RingState {
    RingState {
        ring: "/lan".parse().unwrap(),
        host: "here".into(),
        generation: heartbeat.map(|_| 1),
        kills: Default::default(),
        counters: Vec::new(),
        interfaces: Vec::new(),
        broadcasts: Vec::new(),
        neighbors: Vec::new(),
        gap: None,
        blind: None,
        is_running,
        heartbeat: heartbeat.map(before_noon),
        silent_since: heartbeat.map(|_| before_noon(last_frame.unwrap_or(0))),
        has_captured: last_frame.is_some(),
        checkpoint: None,
        loss: LossCause::Overwritten,
        cuts: 0,
        spool_full: None,
    }
}

fn report(last: Option<LogTime>) -> ActivityReport {
    let device = last.map(|last| DeviceActivity {
        mac: "02:00:00:00:00:01".parse().unwrap(),
        name: None,
        claimed: None,
        vendor: None,
        addresses: Vec::new(),
        has_more_addresses: false,
        first: last,
        last,
        hours: Default::default(),
        days: vec![0],
    });
    ActivityReport { devices: device.into_iter().collect(), ..Default::default() }
}

#[test]
fn online() {
    let now = live().now(&noon(), &report(None), 10);
    for (clock, is_online) in
        [("1200", true), ("1150", true), ("1149", false), ("1201", true), ("1300", false)]
    {
        assert_eq!(now.is_online(at(clock)), is_online, "{clock}");
    }
}

/// Minutes pass, whatever the clocks show: over midnight, and when they are set forward and back.
#[test]
fn online_while_clocks_change() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    for (now, last, is_online) in [
        ("2026-11-28T00:05+01:00", "2026-11-27T23:56", true),
        ("2026-11-28T00:07+01:00", "2026-11-27T23:56", false),
        ("2026-03-29T03:05+02:00", "2026-03-29T01:58", true),
        ("2026-03-29T03:09+02:00", "2026-03-29T01:58", false),
        ("2026-10-25T02:03+01:00", "2026-10-25T02:55", true),
        ("2026-10-25T02:06+01:00", "2026-10-25T02:55", false),
        ("2026-10-25T02:55+01:00", "2026-10-25T02:50", true),
    ] {
        let at = now.parse::<Timestamp>().unwrap().to_zoned(zone.clone());
        let last: DateTime = last.parse().unwrap();
        let clock = HourMinute { hour: last.hour() as u8, minute: last.minute() as u8 };
        let is = live().now(&at, &report(None), 10).is_online((last.date(), clock));
        assert_eq!(is, is_online, "{now}");
    }
}

/// What the page says in place of devices: since when no data arrive, and why.
#[test]
fn no_data_from_the_collector() {
    let seen = report(Some(at("0907")));
    let faults = |state: &RingState, report: &ActivityReport| {
        let mut live = live();
        live.observe(state);
        let now = live.now(&noon(), report, 10);
        (now.is_silent, now.faults.join("\n"))
    };
    assert_eq!(faults(&state(Some(1), Some(9), true), &seen), (false, String::new()));
    let expected = "No data from the collector since 2026-11-28 11:59:00 +00:00: ring /lan: its collector has ended (start it again, such as systemctl start addrwatch-collector@INTERFACE)";
    assert_eq!(faults(&state(Some(60), None, false), &seen), (true, expected.into()));
    // No ring yet: the last sighting in the logs.
    let missing = "ring /lan: it does not exist (start the collector, or name its ring with -m)";
    let expected = format!("No data from the collector since 2026-11-28 09:07 +00:00: {missing}");
    assert_eq!(faults(&state(None, None, false), &seen), (true, expected));
    let expected = format!("No data from the collector: {missing}");
    assert_eq!(faults(&state(None, None, false), &report(None)), (true, expected));
    let blind = RingState { blind: Some("no heartbeat".into()), ..state(Some(30), None, false) };
    assert!(faults(&blind, &seen).1.ends_with("11:59:30 +00:00: ring /lan: no heartbeat"));
    // The run loop hangs: its last look is long ago.
    let expected = "No data from the collector since 2026-11-28 11:59:49 +00:00: ring /lan: no heartbeat was seen since (is this machine too busy?)";
    assert_eq!(faults(&state(Some(11), Some(11), true), &seen), (true, expected.into()));
    // A collector that captures nothing.
    let expected = "No data from the collector since 2026-11-28 11:49:59 +00:00: ring /lan: it runs, and captures no frames (look at its interfaces)";
    assert_eq!(faults(&state(Some(0), Some(601), true), &seen), (false, expected.into()));
    // It never did: since the ring was created.
    let silent = |seconds| {
        let silent_since = Some(before_noon(seconds));
        RingState { silent_since, has_captured: false, ..state(Some(0), None, true) }
    };
    let expected = "No data from the collector since 2026-11-28 11:49:59 +00:00: ring /lan: it runs, and has captured no frame yet (look at its interfaces)";
    assert_eq!(faults(&silent(601), &seen), (false, expected.into()));
    assert_eq!(faults(&silent(599), &seen), (false, String::new()), "it begins");
    let in_1970 = RingState { silent_since: Some(UnixTime::new(9, 0)), ..silent(0) };
    assert!(
        faults(&in_1970, &seen).1.starts_with("No data from the collector: ring /lan: it runs")
    );
    let interfaces = vec![("eth0".parse().unwrap(), CaptureState::Down)];
    let down = RingState { interfaces, ..state(Some(0), None, true) };
    assert!(faults(&down, &seen).1.starts_with("Interface eth0 is down: no frames of it arrive"));
    let broadcasts = vec![("eth0".parse().unwrap(), BroadcastState::Missing)];
    let missing = RingState { broadcasts, ..state(Some(0), Some(0), true) };
    assert!(faults(&missing, &seen).1.starts_with("ARP broadcasts do not arrive on eth0: "));
    let view = NeighborView {
        interface: "eth0".parse().unwrap(),
        outer_vlan: VlanId::NONE,
        vlan: VlanId::NONE,
        is_hidden: true,
        awake: 5,
        answered: 1,
        queries: 24,
    };
    let neighbors = vec![view, NeighborView { is_hidden: false, ..view }];
    let hidden = RingState { neighbors, ..state(Some(0), Some(0), true) };
    assert!(faults(&hidden, &seen).1.starts_with("1 of 5 hosts that were awake answered 24 "));
}

/// How long a device counts as online says nothing about the collector.
#[test]
fn silence_does_not_depend_on_online() {
    for (last_frame, is_silent) in [(599, false), (601, true)] {
        for minutes in [1, 10, 1_000_000] {
            let mut live = live();
            live.observe(&state(Some(0), Some(last_frame), true));
            let now = live.now(&noon(), &report(None), minutes);
            assert_eq!(!now.faults.is_empty(), is_silent, "{last_frame} {minutes}");
        }
    }
}

/// The ring of aw-routeros, whose writer captures no frames: it is no silent collector, and it replaces none.
#[test]
fn a_ring_of_configuration_changes() {
    let changes = |heartbeat, is_running| RingState {
        ring: "/routers".parse().unwrap(),
        silent_since: None,
        ..state(heartbeat, Some(99_999), is_running)
    };
    let now = |states: &[RingState]| {
        let mut live = live();
        states.iter().for_each(|state| live.observe(state));
        let now = live.now(&noon(), &report(None), 10);
        (now.is_silent, now.is_new, now.faults.join("\n"))
    };
    assert_eq!(now(&[changes(Some(1), true)]), (false, false, String::new()));
    let collector = state(Some(1), Some(1), true);
    assert_eq!(now(&[collector, changes(Some(1), true)]), (false, false, String::new()));
    let (is_silent, _, faults) = now(&[state(Some(60), Some(60), false), changes(Some(1), true)]);
    assert!(is_silent && faults.starts_with("No data from the collector since"), "{faults}");
    let waiting = now(&[state(Some(1), None, true), changes(Some(1), true)]);
    assert_eq!(waiting, (false, true, String::new()), "no frame yet");
    let expected = "No configuration changes of routers since 2026-11-28 11:59:00 +00:00: ring /routers: no aw-routeros runs (systemctl start aw-routeros)";
    assert_eq!(now(&[changes(Some(60), false)]), (false, false, expected.into()));
}

/// A log that cannot be read: until one of that day or of a later one is.
#[test]
fn unread_logs() {
    let mut live = live();
    live.set_unread(date(2026, 11, 28), "read x: permission denied");
    let faults = |live: &Live| live.now(&noon(), &report(None), 10).faults;
    let expected = "The sightings of 2026-11-28 are not recorded: read x: permission denied";
    assert_eq!(faults(&live), [expected]);
    live.set_read(date(2026, 11, 27));
    assert_eq!((faults(&live).len(), live.version), (1, 1));
    live.set_read(date(2026, 11, 28));
    assert_eq!((faults(&live).len(), live.version), (0, 2));
}

/// A ring that was removed: its last heartbeat stays known. Only what is shown makes another page.
#[test]
fn observations() {
    let mut live = live();
    for (state, version) in [
        (state(Some(9), None, true), 2),
        (state(Some(8), None, true), 2),
        (state(Some(8), Some(8), true), 3),
        (state(Some(7), Some(7), true), 3),
        (state(Some(8), Some(8), true), 3),
        (state(None, None, false), 4),
        (state(None, None, false), 4),
    ] {
        live.observe(&state);
        assert_eq!(live.version, version);
    }
    let now = live.now(&noon(), &report(None), 10);
    assert!(now.faults[0].contains("since 2026-11-28 11:59:52 +00:00"), "{:?}", now.faults);
}
