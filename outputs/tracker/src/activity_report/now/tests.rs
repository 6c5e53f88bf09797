use std::sync::Arc;

use aw_output::LossCause;
use jiff::{
    civil::{Date, date},
    tz::TimeZone,
};

use super::*;
use crate::activity_report::DeviceActivity;

fn at(clock: &str) -> LogTime {
    (date(2026, 11, 28), clock.parse().unwrap())
}

fn noon() -> Zoned {
    date(2026, 11, 28).at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap()
}

fn live() -> Live {
    Live::new(LogConfig { names: Arc::default(), max_logs: 31 })
}

/// The state of a ring whose last heartbeat and frame were so many seconds before noon.
fn state(heartbeat: Option<i64>, last_frame: Option<i64>, is_running: bool) -> RingState {
    let before = |seconds| UnixTime::new(noon().timestamp().as_second() - seconds, 0);
    RingState {
        ring: "/lan".parse().unwrap(),
        host: "here".into(),
        generation: None,
        counters: Vec::new(),
        down: Vec::new(),
        blind: None,
        is_running,
        heartbeat: heartbeat.map(before),
        last_frame: last_frame.map(before),
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
    // Over midnight.
    let night = |day: i8, clock: &str| -> LogTime {
        (Date::constant(2026, 11, day), clock.parse().unwrap())
    };
    assert_eq!(minutes(night(27, "2359"), night(28, "0001")), 2);
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
    let expected = "No data from the collector since 2026-11-28 11:59:00 +00:00: ring /lan: its collector has ended (start it again)";
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
    let down = RingState { down: vec!["eth0".parse().unwrap()], ..state(Some(0), None, true) };
    assert!(faults(&down, &seen).1.starts_with("Interface eth0 is down or gone"));
}

/// A ring that was removed: its last heartbeat stays known. Only what is shown makes another page.
#[test]
fn observations() {
    let mut live = live();
    for (state, version) in [
        (state(Some(9), None, true), 1),
        (state(Some(8), Some(8), true), 1),
        (state(None, None, false), 2),
        (state(None, None, false), 2),
    ] {
        live.observe(&state);
        assert_eq!(live.version, version);
    }
    let now = live.now(&noon(), &report(None), 10);
    assert!(now.faults[0].contains("since 2026-11-28 11:59:52 +00:00"), "{:?}", now.faults);
}
