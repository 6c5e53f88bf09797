//! Alerts about the sensor itself and about aw-alert: what is lost, forgotten, full or blind.

use aw_detect::{Alert, AlertKind};
use aw_output::{FaultKind, FaultReport, Faults, RingState, this_host};
use shm_layout::CaptureState;

/// How long the report waits that an interface is no longer to be captured: a collector that was started again reports a unit that
/// is enabled and does not run only after its second look. After a restart of aw-alert, it waits so long again.
const HELD_SECONDS: i64 = 30;

/// The reports of faults whose interfaces the collector states no longer, and since when each waits.
pub struct HeldEnds {
    held: Vec<(Alert, i64)>,
    /// Since they were stored.
    changed: bool,
    /// How long they wait.
    seconds: i64,
}

impl HeldEnds {
    /// `once`: this process does not run long enough to wait. `stored`: those that the last process held.
    pub fn new(once: bool, stored: Vec<Alert>, now: i64) -> HeldEnds {
        let held = stored.into_iter().map(|alert| (alert, now)).collect();
        HeldEnds { held, changed: false, seconds: if once { 0 } else { HELD_SECONDS } }
    }

    /// What is stored now is other than these.
    pub fn reload(&mut self, stored: Vec<Alert>, now: i64) {
        self.held = stored.into_iter().map(|alert| (alert, now)).collect();
        self.changed = false;
    }

    /// All that are held, if they are others than at the last call.
    pub fn take_changed(&mut self) -> Option<impl Iterator<Item = &Alert>> {
        let changed = std::mem::take(&mut self.changed);
        changed.then(|| self.held.iter().map(|(alert, _)| alert))
    }

    /// Takes the alerts that the state of a ring causes. Returns those that are to be sent.
    fn pass(&mut self, alerts: Vec<Alert>, state: &RingState, now: i64) -> Vec<Alert> {
        let mut sent = Vec::new();
        for alert in alerts {
            let is_same = |(held, _): &(Alert, i64)| place(held) == place(&alert);
            match alert.kind == AlertKind::Blind && !alert.network.is_empty() {
                true if alert.is_over() && !is_captured(state, &alert.network) => {
                    self.held.push((alert, now));
                    self.changed = true;
                }
                // It was over only for a collector that had just been started.
                true if self.held.iter().any(is_same) => {
                    self.held.retain(|held| !is_same(held));
                    self.changed = true;
                }
                _ => sent.push(alert),
            }
        }
        for (alert, since) in &mut self.held {
            // Without a collector, nothing is known of it.
            let waits = state.is_running || alert.ring != state.ring.as_str();
            *since = if waits { now.min(*since) } else { now };
        }
        let seconds = self.seconds;
        let is_due = |(alert, since): &mut (Alert, i64)| {
            let is_over = now - *since >= seconds || is_captured(state, &alert.network);
            alert.ring == state.ring.as_str() && is_over
        };
        let due = self.held.extract_if(.., is_due).map(|(mut alert, _)| {
            if is_captured(state, &alert.network) {
                let (before, name) = (alert.note.take().unwrap_or_default(), &alert.network);
                let (no_longer, again) = (
                    format!("the collector captures no longer on interface {name}"),
                    format!("interface {name} is captured again"),
                );
                alert.note = Some(before.replacen(&no_longer, &again, 1));
            }
            alert
        });
        let before = sent.len();
        sent.extend(due);
        self.changed |= sent.len() > before;
        sent
    }
}

fn place(alert: &Alert) -> [&str; 3] {
    [&alert.host, &alert.ring, &alert.network]
}

fn is_captured(state: &RingState, name: &str) -> bool {
    let found = state.interfaces.iter().find(|(interface, _)| interface.as_str() == name);
    found.is_some_and(|(_, state)| *state == CaptureState::Captured)
}

/// The alerts that the state of a ring causes.
pub fn of_ring(
    faults: &mut Faults,
    held: &mut HeldEnds,
    state: &RingState,
    now: i64,
) -> Vec<Alert> {
    let alert = |report| Alert {
        host: state.host.clone(),
        ring: state.ring.to_string(),
        ..alert(report, now)
    };
    let alerts = faults.of_ring(state, "aw-alert", now).into_iter().map(alert).collect();
    held.pass(alerts, state, now)
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

/// Its network is the interface, so that filters of networks and [[mute]] find it.
fn alert(FaultReport { kind, interface, text }: FaultReport, now: i64) -> Alert {
    let network = interface.map(|interface| interface.to_string()).unwrap_or_default();
    Alert { host: this_host(), network, note: Some(text), ..Alert::new(kind.into(), now) }
}

#[cfg(test)]
mod tests {
    use aw_output::LossCause;
    use jiff::tz::TimeZone;

    use super::*;
    use crate::notification::Notification;

    /// The state of a ring whose collector runs.
    fn state(interfaces: &[(&str, CaptureState)]) -> RingState {
        let interfaces = interfaces.iter().map(|(name, state)| (name.parse().unwrap(), *state));
        RingState {
            ring: "/site".parse().unwrap(),
            host: "sensor1".into(),
            generation: Some(1),
            counters: Vec::new(),
            interfaces: interfaces.collect(),
            gap: None,
            blind: None,
            is_running: true,
            heartbeat: None,
            silent_since: None,
            has_captured: true,
            checkpoint: None,
            loss: LossCause::Overwritten,
            cuts: 0,
            spool_full: None,
        }
    }

    /// A collector that was started again states a unit that is enabled and does not run after its second look, which is no end.
    #[test]
    fn no_end_while_a_unit_does_not_run() {
        let (mut faults, mut held) = (Faults::default(), HeldEnds::new(false, Vec::new(), 0));
        let eth1 =
            |state| super::tests::state(&[("eth0", CaptureState::Captured), ("eth1", state)]);
        let mut subjects = |state: &RingState, times: std::ops::Range<i64>| -> Vec<String> {
            let alerts = times.flat_map(|now| of_ring(&mut faults, &mut held, state, now));
            alerts.map(|alert| Notification::of(&alert, &TimeZone::UTC, false).subject).collect()
        };
        let blind = "no frames are captured on eth1 (ring /site)";
        assert_eq!(subjects(&eth1(CaptureState::NotRunning), 0..100), [blind]);
        // Another collector, three times, and none for an hour.
        for start in [100, 200, 300] {
            assert_eq!(subjects(&state(&[]), start..start + 25), [""; 0]);
            assert_eq!(subjects(&eth1(CaptureState::NotRunning), start + 25..start + 100), [""; 0]);
        }
        assert_eq!(subjects(&state(&[]), 400..420), [""; 0]);
        let stopped = RingState { is_running: false, ..state(&[]) };
        assert_eq!(subjects(&stopped, 420..4000), [""; 0]);
        // It was disabled.
        let end = "eth1 is no longer to be captured (ring /site)";
        assert_eq!(subjects(&state(&[]), 4000..4100), [end]);
        assert_eq!(subjects(&eth1(CaptureState::NotRunning), 4100..4200), [blind]);
        let again = "frames are captured on eth1 again (ring /site)";
        assert_eq!(subjects(&eth1(CaptureState::Captured), 4200..4300), [again]);
        // Another collector, which captures it.
        assert_eq!(subjects(&eth1(CaptureState::Down), 4300..4400), [blind]);
        assert_eq!(subjects(&state(&[]), 4400..4425), [""; 0]);
        assert_eq!(subjects(&eth1(CaptureState::Captured), 4425..4500), [again]);
    }

    /// The fault is stored as over when its end is held: a restart that lost the end would leave it open for ever.
    #[test]
    fn a_held_end_survives_a_restart() {
        let (mut faults, mut held) = (Faults::default(), HeldEnds::new(false, Vec::new(), 0));
        let blind = state(&[("eth1", CaptureState::NotRunning)]);
        let begun = (0..100).flat_map(|now| of_ring(&mut faults, &mut held, &blind, now));
        assert_eq!(begun.count(), 1);
        assert_eq!(held.take_changed().map(Iterator::count), None);
        let none = state(&[]);
        let ended = (100..120).flat_map(|now| of_ring(&mut faults, &mut held, &none, now));
        assert_eq!(ended.count(), 0);
        let stored: Vec<Alert> = held.take_changed().unwrap().cloned().collect();
        assert_eq!((stored.len(), held.take_changed().map(Iterator::count)), (1, None));
        let mut held = HeldEnds::new(false, stored, 120);
        let sent: Vec<_> =
            (120..200).flat_map(|now| of_ring(&mut faults, &mut held, &none, now)).collect();
        assert!(sent.len() == 1 && sent[0].is_over(), "{sent:?}");
        assert_eq!(held.take_changed().map(Iterator::count), Some(0));
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
