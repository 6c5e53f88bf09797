//! Alerts about the sensor itself and about aw-alert: what is lost, forgotten, full or blind.

use aw_detect::{Alert, network_name, past_time};
use aw_output::{FaultKind, FaultReport, Faults, NameEntry, NameLosses, RingState, this_host};
use shm_layout::{NameKind, NameRecord, UnixTime};

/// Networks of a ring of which that is remembered: a frame can have any VLAN.
const MAX_NETWORKS: usize = 128;

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

/// The alert that the hosts of a network do not answer multicast queries at this port, or that they do, by what the collector found. Once, and in
/// the digest: they may have no IPv6.
pub fn of_neighbors(faults: &mut Faults, entry: &NameEntry, now: UnixTime) -> Option<Alert> {
    let NameRecord { kind, interface, vlan, outer_vlan, mac, number, .. } = entry.record;
    let network = network_name(interface, outer_vlan, vlan);
    let NameRecord { preferred: answered, lifetime: queries, .. } = entry.record;
    let why = match kind {
        NameKind::NeighborsHidden => Some(format!(
            "{answered} of {number} hosts that were awake answered {queries} multicast queries of {mac} on {network}: a switch with MLD snooping hides Neighbor Discovery from this port, or these hosts have no IPv6 (if they have, capture at a mirror port, or switch snooping of IPv6 off)"
        )),
        NameKind::NeighborsSeen => None,
        _ => return None,
    };
    let prefix = format!("neighbors {} ", entry.ring);
    let name = format!("{prefix}{network}");
    if why.is_some() && !faults.has(&name) {
        faults.make_room(&prefix, MAX_NETWORKS);
    }
    let over = format!("hosts on {network} answer multicast queries at this port");
    // Of several records that are read at once, each counts at its time.
    let time = past_time(entry.record.time, now).seconds();
    let report = faults.level_once(name, FaultKind::Blind, why.as_deref(), &over, time)?;
    let (host, ring) = (entry.host.to_owned(), entry.ring.to_string());
    Some(Alert { host, ring, network, digest: true, ..alert(report, time) })
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
pub mod tests {
    use std::collections::BTreeSet;

    use aw_output::LossCause;
    use jiff::tz::TimeZone;
    use shm_layout::{CaptureState, VlanId};

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
            gap: None,
            blind: None,
            is_running: true,
            heartbeat: None,
            kills: 0,
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

    /// Each network once, also if the collector finds it again, and once when it is over, also if both are read at one time; frames with any
    /// VLAN take no more room, and places become free.
    #[test]
    fn neighbors_that_are_hidden() {
        use NameKind::{MldQuery, NeighborsHidden, NeighborsSeen};
        let mut faults = Faults::default();
        let ring = "/site".parse().unwrap();
        let mut found = |kind, vlan, hour: i64| {
            let time = UnixTime::new(1_700_000_000 + hour * 3600, 0);
            let record = NameRecord::new(kind, time, "eth0".parse().unwrap());
            let (vlan, number, lifetime) = (VlanId::from_tag(vlan), 5, 24);
            let record = NameRecord { vlan, number, lifetime, ..record };
            let entry = NameEntry { ring: &ring, host: "sensor1", record };
            of_neighbors(&mut faults, &entry, UnixTime::new(1_800_000_000, 0))
        };
        let subject = |alert: &Alert| Notification::of(alert, &TimeZone::UTC, false).subject;
        assert_eq!(found(NeighborsSeen, 7, 0), None);
        assert_eq!(found(MldQuery, 7, 0), None);
        let hidden = found(NeighborsHidden, 7, 1).unwrap();
        assert!(hidden.digest);
        assert_eq!(
            (&*hidden.network, &*hidden.ring, &*hidden.host),
            ("eth0.7", "/site", "sensor1")
        );
        let line = "sensor blind /site: 0 of 5 hosts that were awake answered 24 multicast queries of 00:00:00:00:00:00 on eth0.7: ";
        assert!(hidden.to_string().starts_with(line), "{hidden}");
        assert_eq!(subject(&hidden), "Neighbor Discovery may be hidden on eth0.7 (ring /site)");
        assert_eq!(found(NeighborsHidden, 7, 2), None);
        let over = found(NeighborsSeen, 7, 3).unwrap();
        assert!(over.is_over() && over.digest);
        assert_eq!(subject(&over), "multicast queries are answered on eth0.7 (ring /site)");
        for hour in 10..20 {
            assert_eq!(
                (100..300).filter_map(|vlan| found(NeighborsHidden, vlan, hour)).count(),
                200
            );
        }
        assert!(found(NeighborsHidden, 0, 20).is_some());
        let all: BTreeSet<_> = faults.take_changed().into_iter().map(|(name, _)| name).collect();
        assert_eq!(all.len(), MAX_NETWORKS);
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
