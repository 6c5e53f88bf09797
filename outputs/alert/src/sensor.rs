//! Alerts about the sensor itself and about aw-alert: what is lost, forgotten, full or blind.

use aw_detect::Alert;
use aw_output::{FaultKind, FaultReport, Faults, NameLosses, RingState, this_host};

/// The alerts that the state of a ring causes.
pub fn of_ring(
    faults: &mut Faults,
    state: &RingState,
    names: Option<&NameLosses>,
    now: i64,
) -> Vec<Alert> {
    let alert = |report| Alert {
        host: state.host.clone(),
        ring: state.ring.to_string(),
        ..alert(report, now)
    };
    let mut reports = faults.of_ring(state, "aw-alert", now);
    let of_names = names.map(|losses| faults.of_names(&state.ring, losses, "aw-alert", now));
    reports.extend(of_names.into_iter().flatten());
    reports.into_iter().map(alert).collect()
}

/// The alert that names are read no longer, and why, or that they are again.
pub fn of_names(
    faults: &mut Faults,
    state: &RingState,
    stopped: Option<&str>,
    now: i64,
) -> Option<Alert> {
    let why = stopped.map(|why| {
        format!("names are not read: {why}: new routers and DHCP servers are not reported")
    });
    let name = format!("blind {}", state.ring.names());
    let over = "names are read again";
    let report = faults.level_once(name, FaultKind::Blind, why.as_deref(), over, now)?;
    Some(Alert { host: state.host.clone(), ring: state.ring.to_string(), ..alert(report, now) })
}

/// The alert that the memory of aw-alert has forgotten so many more addresses and devices.
pub fn of_memory(faults: &mut Faults, forgotten: u64, now: i64) -> Option<Alert> {
    faults.of_memory("aw-alert", forgotten, now).map(|report| alert(report, now))
}

/// The alert that the queue of a channel is full, or has room again.
pub fn of_channel(faults: &mut Faults, channel: &str, full: bool, now: i64) -> Option<Alert> {
    let why = format!(
        "the queue of channel {channel} is full: further alerts go into its digest (see the log for why the channel fails)"
    );
    let over = format!("the queue of channel {channel} has room again");
    let (name, why) = (format!("full {channel}"), full.then_some(&*why));
    faults.level(name, FaultKind::Full, why, &over, now).map(|report| alert(report, now))
}

/// Filters of networks and [[mute]] find its network.
fn alert(FaultReport { kind, network, text, is_hint }: FaultReport, now: i64) -> Alert {
    let (network, digest) = (network.unwrap_or_default(), is_hint);
    Alert { host: this_host(), network, note: Some(text), digest, ..Alert::new(kind.into(), now) }
}

#[cfg(test)]
pub mod tests {
    use aw_output::LossCause;
    use jiff::tz::TimeZone;
    use shm_layout::{CaptureState, NeighborView, VlanId};

    use super::*;
    use crate::notification::Notification;

    /// The state of a ring whose collector runs.
    pub fn state(interfaces: &[(&str, CaptureState)]) -> RingState {
        let interfaces = interfaces.iter().map(|(name, state)| (name.parse().unwrap(), *state));
        RingState {
            ring: "/site".parse().unwrap(),
            host: "sensor1".into(),
            generation: Some(1),
            counters: Vec::new(),
            interfaces: interfaces.collect(),
            broadcasts: Vec::new(),
            neighbors: Vec::new(),
            gap: None,
            blind: None,
            is_running: true,
            heartbeat: None,
            kills: Default::default(),
            silent_since: None,
            has_captured: true,
            checkpoint: None,
            loss: LossCause::Overwritten,
            cuts: 0,
            spool_full: None,
        }
    }

    #[test]
    fn subjects_of_interfaces() {
        let mut faults = Faults::default();
        let mut subjects = |found, times: std::ops::Range<i64>| -> Vec<String> {
            let state = state(&[("eth1", found)]);
            let alerts = times.flat_map(|now| of_ring(&mut faults, &state, None, now));
            alerts.map(|alert| Notification::of(&alert, &TimeZone::UTC, false).subject).collect()
        };
        let blind = "no frames are captured on eth1 (ring /site)";
        assert_eq!(subjects(CaptureState::NotRunning, 0..100), [blind]);
        assert_eq!(subjects(CaptureState::Down, 100..200), [blind], "another reason");
        let again = "frames are captured on eth1 again (ring /site)";
        assert_eq!(subjects(CaptureState::Captured, 200..300), [again]);
        assert_eq!(subjects(CaptureState::Down, 300..400), [blind]);
        let end = "eth1 is no longer to be captured (ring /site)";
        assert_eq!(subjects(CaptureState::None, 400..500), [end]);
    }

    /// Names that stop are reported once, however long that lasts.
    #[test]
    fn names_that_stop() {
        let (mut faults, state) = (Faults::default(), state(&[]));
        let mut found = |stopped: Option<&str>, times: std::ops::Range<i64>| -> Vec<Alert> {
            let each = times.step_by(10);
            each.filter_map(|now| of_names(&mut faults, &state, stopped, now)).collect()
        };
        assert_eq!(found(None, 0..100), []);
        let [stopped] = &*found(Some("gone (start it)"), 100..200_000) else { panic!() };
        let line = "sensor blind /site: names are not read: gone (start it): new routers and DHCP servers are not reported";
        assert_eq!(stopped.to_string(), line);
        let [over] = &*found(None, 200_000..200_100) else { panic!() };
        assert!(over.is_over());
        let subject = |alert| Notification::of(alert, &TimeZone::UTC, false).subject;
        assert_eq!(subject(stopped), "names are no longer read (ring /site)");
        assert_eq!(subject(over), "names are read again (ring /site)");
    }

    /// In the digest: its hosts may have no IPv6.
    #[test]
    fn neighbors_that_are_hidden() {
        let mut faults = Faults::default();
        let mut found = |is_hidden, now| {
            let view = NeighborView {
                interface: "eth0".parse().unwrap(),
                outer_vlan: VlanId::NONE,
                vlan: VlanId::from_tag(7),
                is_hidden,
                awake: 5,
                answered: 0,
                queries: 24,
            };
            let state = state(&[("eth0", CaptureState::Captured)]);
            let state = RingState { neighbors: vec![view], ..state };
            let alerts = of_ring(&mut faults, &state, None, now);
            let [alert] = &*alerts else { panic!("{alerts:?}") };
            assert!(alert.digest && alert.is_over() != is_hidden);
            assert_eq!((&*alert.network, &*alert.ring), ("eth0.7", "/site"));
            Notification::of(alert, &TimeZone::UTC, false).subject
        };
        assert_eq!(found(true, 1), "Neighbor Discovery may be hidden on eth0.7 (ring /site)");
        assert_eq!(found(false, 100), "multicast queries are answered on eth0.7 (ring /site)");
    }

    /// What was counted before the first look is not reported.
    #[test]
    fn names_that_are_missing() {
        let (mut faults, state) = (Faults::default(), state(&[]));
        let mut texts = |lost, limited, now| -> Vec<String> {
            let limited = vec![("eth1".parse().unwrap(), limited)];
            let losses = NameLosses { generation: 1, lost, limited };
            let alerts = of_ring(&mut faults, &state, Some(&losses), now);
            alerts.iter().map(ToString::to_string).collect()
        };
        assert_eq!(texts(0, 5, 0), [""; 0]);
        let [flood] = &*texts(0, 7, 1) else { panic!() };
        assert!(
            flood.starts_with("events lost /site: 2 messages were not stored on eth1, "),
            "{flood}"
        );
        let [lost] = &*texts(3, 7, 2) else { panic!() };
        assert!(
            lost.starts_with("events lost /site: 3 records were overwritten in the "),
            "{lost}"
        );
        let over = texts(3, 7, 30);
        assert!(over.len() == 2 && over.iter().all(|text| text.contains(": over: ")), "{over:?}");
    }

    #[test]
    fn limits_of_aw_alert() {
        let mut faults = Faults::default();
        assert_eq!(of_channel(&mut faults, "mail", false, 1), None);
        let full = of_channel(&mut faults, "mail", true, 1).unwrap();
        let line = "limit reached: the queue of channel mail is full: further alerts go into its digest (see the log for why the channel fails)";
        assert_eq!(full.to_string(), line);
        let Notification { subject, fields, .. } = Notification::of(&full, &TimeZone::UTC, true);
        assert_eq!((&*subject, &fields["message"]), ("limit reached", &line.into()));
        assert_eq!(of_memory(&mut faults, 0, 1), None);
        let forgot = of_memory(&mut faults, 100_000, 2).unwrap().arpwatch_line();
        assert!(forgot.starts_with("devices forgotten: 100000 addresses and devices "), "{forgot}");
        assert_eq!(of_memory(&mut faults, 0, 3), None);
        let over = of_memory(&mut faults, 0, 13).unwrap();
        assert!(over.note.unwrap().starts_with("over: 100000 addresses and "));
    }
}
