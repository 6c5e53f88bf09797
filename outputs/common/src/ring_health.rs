//! How a ring and its collector are: what `--health` reports, and what a page shows of each interface.

use std::{fmt, time::Duration};

use shm_layout::{
    CaptureState, Counter, InterfaceCounters, InterfaceName, Reader, RingName, UnixTime,
};

use crate::{
    RingState, broadcast_fault, capture_fault, neighbor_hint,
    writer_kills::{crash_loop_fault, recent_kills},
};

/// For how long frames that the kernel dropped make a collector unhealthy.
const DROPS_WINDOW: Duration = Duration::from_secs(300);
/// The nanoseconds that a time may be in the future before the clock counts as set back.
const CLOCK_TOLERANCE: i64 = 5_000_000_000;
/// Seconds without a frame after which a collector is unhealthy: the default of `--max-silence`.
pub(crate) const MAX_SILENCE: u64 = 600;

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthFault {
    /// One line, with a remedy.
    pub text: String,
    /// Since when, if that is known.
    pub since: Option<UnixTime>,
}

/// A ring and its collector.
#[derive(Clone, Debug)]
pub struct RingHealth {
    /// The ring.
    pub ring: RingName,
    /// The host of its collector; this one if there is no ring.
    pub host: String,
    /// Its generation; none if there is no ring.
    pub generation: Option<u64>,
    /// The number of events that it can hold.
    pub slots: u64,
    /// Events that were published in this generation.
    pub published: u64,
    /// Whether a collector runs, as far as its last heartbeat shows.
    pub is_running: bool,
    /// Its last heartbeat; none if there is no ring.
    pub heartbeat: Option<UnixTime>,
    /// Each interface that has counters.
    pub interfaces: Vec<InterfaceHealth>,
    /// What is wrong with it.
    pub faults: Vec<HealthFault>,
    /// What may be wrong: of networks that may hide Neighbor Discovery from this port.
    pub hints: Vec<String>,
}

/// An interface of a collector.
#[derive(Clone, Debug)]
pub struct InterfaceHealth {
    /// What became of its frames, since there is this ring.
    pub counters: InterfaceCounters,
    /// Whether it is captured; none while no collector runs.
    pub state: Option<CaptureState>,
    /// The time of its last frame.
    pub last_frame: Option<UnixTime>,
}

impl RingHealth {
    /// Of a ring that this reader reads, if it can be read, or else `denied` says why not.
    pub(crate) fn of(
        reader: Option<&Reader>,
        state: RingState,
        waiting_since: UnixTime,
        denied: Option<String>,
    ) -> RingHealth {
        let crash_loop = crash_loop_fault(&state).map(|text| HealthFault { text, since: None });
        let RingState { ring, host, generation, counters, blind, is_running, heartbeat, .. } =
            state;
        let of_broadcasts =
            state.broadcasts.iter().filter_map(|(name, found)| broadcast_fault(*name, *found));
        let of_broadcasts =
            of_broadcasts.map(|text| HealthFault { text, since: None }).collect::<Vec<_>>();
        let hints = state.neighbors.iter().filter_map(neighbor_hint);
        let of_kills = recent_kills(&state.kills, state.silent_since.is_some());
        let hints = hints.chain(of_kills).collect();
        let (states, last_frames) = match reader {
            Some(reader) if is_running => (state.interfaces, reader.last_frames()),
            Some(reader) => (Vec::new(), reader.last_frames()),
            None => Default::default(),
        };
        let names: Vec<_> = counters.iter().map(|one| one.name).collect();
        let last = |name: InterfaceName| last_frames.iter().find(|(one, _)| *one == name);
        let interfaces = counters.into_iter().map(|counters| {
            let found = states.iter().find(|(one, _)| *one == counters.name);
            let last_frame = last(counters.name).map(|(_, time)| *time);
            let state = found.map(|(_, state)| *state);
            // What is no interface, such as reports of routers, has no state.
            let state = state.or(is_running.then_some(CaptureState::None));
            InterfaceHealth { counters, state, last_frame }
        });
        // A name that was never one, such as a typing error, has counters, too.
        let is_known = |one: &InterfaceHealth| {
            let has_frames =
                [Counter::Seen, Counter::Published].map(|count| one.counters.get(count));
            let is_name = !one.counters.name.as_str().is_empty();
            is_name
                && (has_frames != [0, 0] || !matches!(one.state, None | Some(CaptureState::None)))
        };
        let interfaces: Vec<_> = interfaces.filter(is_known).collect();
        let mut faults = match (denied.or(blind), reader) {
            (Some(text), _) => {
                let since = heartbeat.or((reader.is_none()).then_some(waiting_since));
                vec![HealthFault { text: with_unit(text, &names), since }]
            }
            (None, Some(reader)) if is_running => {
                let mut faults = capture_faults(reader, MAX_SILENCE);
                faults.extend(of_broadcasts);
                faults
            }
            (None, _) => Vec::new(),
        };
        faults.extend(crash_loop);
        RingHealth {
            host,
            generation,
            slots: reader.map_or(0, Reader::slots),
            published: reader.map_or(0, Reader::published),
            is_running,
            heartbeat,
            interfaces,
            faults,
            hints,
            ring,
        }
    }
}

/// A remedy with the unit of the interface, if only one has ever had counters: a placeholder would be started as a unit. Of several,
/// which may be ghosts of a typing error or of a name of before, it is not known which one is meant.
fn with_unit(text: String, names: &[InterfaceName]) -> String {
    const UNIT: &str = "addrwatch-collector@";
    let mut names = names.iter().map(|name| name.as_str()).filter(|name| !name.is_empty());
    let is_name =
        |name: &&str| name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    match (names.next().filter(is_name), names.next()) {
        (Some(name), None) => text.replace(&format!("{UNIT}INTERFACE"), &format!("{UNIT}{name}")),
        _ => text,
    }
}

/// What a collector that runs does not capture.
pub(crate) fn capture_faults(reader: &Reader, max_silence: u64) -> Vec<HealthFault> {
    let last_frames = reader.last_frames();
    let of_state = |(name, state): (InterfaceName, CaptureState)| {
        let last = last_frames.iter().find(|(one, _)| *one == name);
        let since = last.map(|(_, time)| *time);
        Some(HealthFault { text: capture_fault(name, state)?, since })
    };
    let mut faults: Vec<_> = reader.interfaces().into_iter().filter_map(of_state).collect();
    let since = reader.silent_since();
    if max_silence > 0
        && let Some(Age::Known(silence)) = since.map(Age::of)
        && silence.as_secs() >= max_silence
    {
        let seconds = silence.as_secs();
        let what = match reader.last_frame() {
            Some(_) => format!("no frame for {seconds} s"),
            None => format!("no frame yet, for {seconds} s"),
        };
        let text = format!("{what} (check the interface, or raise --max-silence)");
        faults.push(HealthFault { text, since });
    }
    if let Some(Age::Known(age)) = reader.last_drop().map(Age::of)
        && age < DROPS_WINDOW
    {
        let dropped = |interface: &InterfaceCounters| {
            let number = interface.get(Counter::KernelDropped);
            (number > 0).then(|| format!("{number} on {}", interface.name.as_str()))
        };
        let drops: Vec<_> = reader.counters().iter().filter_map(dropped).collect();
        let text = format!(
            "the kernel dropped frames because the collector was too slow, the last one {} s ago; in total: {}",
            age.as_secs(),
            drops.join(", ")
        );
        faults.push(HealthFault { text, since: None });
    }
    faults
}

/// How long ago something was, by the system clock, which may have been set since.
pub(crate) enum Age {
    Known(Duration),
    /// In the future by the clock.
    Future,
}

impl Age {
    pub fn of(then: UnixTime) -> Age {
        let nanos = UnixTime::now().as_nanos().saturating_sub(then.as_nanos());
        match u64::try_from(nanos) {
            Ok(nanos) => Age::Known(Duration::from_nanos(nanos)),
            Err(_) if nanos >= -CLOCK_TOLERANCE => Age::Known(Duration::ZERO),
            Err(_) => Age::Future,
        }
    }

    pub fn exceeds(&self, limit: Duration) -> bool {
        !matches!(self, Age::Known(age) if *age <= limit)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Age::Known(age) => write!(f, "{} s ago", age.as_secs()),
            Age::Future => write!(f, "at an unknown time, because the clock was set back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use shm_layout::{BroadcastState, MAX_NETWORKS, NeighborView, VlanId, Writer, WriterOptions};

    use super::*;
    use crate::{StartFrom, source::Source};

    /// Shown, as long as a collector runs; no reason for `--health` to fail, as a mirror may be meant so.
    #[test]
    fn what_does_not_arrive() {
        let name: RingName = format!("/aw-test-health-{}", std::process::id()).parse().unwrap();
        let options = WriterOptions { name: name.clone(), slots: 64, group: None, host: None };
        let mut writer = Writer::create(&options).unwrap();
        let eth0 = writer.interface("eth0".parse().unwrap());
        writer.set_state(eth0, CaptureState::Captured);
        let mut source = Source::new(&name, &[], (false, false), StartFrom::Oldest, None);
        source.attach().unwrap();
        let health = |source: &Source| {
            let (reader, state) = (source.reader.as_ref(), source.state(None, None));
            RingHealth::of(reader, state, UnixTime::now(), None)
        };
        let faults = |source: &Source| {
            health(source).faults.into_iter().map(|fault| fault.text).collect::<Vec<_>>()
        };
        for state in [BroadcastState::Unknown, BroadcastState::Arriving] {
            writer.set_broadcasts(eth0, state);
            assert_eq!(faults(&source), [""; 0]);
        }
        writer.set_broadcasts(eth0, BroadcastState::Missing);
        let [text] = &*faults(&source) else { panic!("one fault") };
        assert!(text.starts_with("ARP broadcasts do not arrive on eth0: "), "{text}");
        assert_eq!(capture_faults(source.reader.as_ref().unwrap(), 0), []);
        // A hint is no fault.
        let (outer_vlan, vlan) = (VlanId::NONE, VlanId::NONE);
        let (awake, answered, queries) = (5, 0, 24);
        for is_hidden in [false, true] {
            let view = NeighborView {
                interface: eth0,
                outer_vlan,
                vlan,
                is_hidden,
                awake,
                answered,
                queries,
            };
            let mut views = [None; MAX_NETWORKS];
            views[0] = Some(view);
            writer.set_neighbors(&views);
            let found = health(&source);
            assert_eq!((found.hints.len(), found.faults.len()), (usize::from(is_hidden), 1));
        }
        writer.set_state(eth0, CaptureState::Down);
        assert_eq!(health(&source).hints, [""; 0], "it is not captured");
        writer.set_state(eth0, CaptureState::Captured);
        drop(writer);
        assert_eq!((faults(&source), health(&source).hints), (vec![], vec![]));
        shm_layout::remove(&name).unwrap();
    }

    #[test]
    fn a_remedy_names_the_only_unit() {
        let text = "start it (systemctl start addrwatch-collector@INTERFACE)";
        for (names, unit) in [
            (&["eth0"][..], "@eth0)"),
            (&[], "@INTERFACE)"),
            (&["eth0", "eth1"], "@INTERFACE)"),
            (&["eth0;$(x)"], "@INTERFACE)"),
        ] {
            let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
            let text = with_unit(text.into(), &names);
            assert!(text.ends_with(unit), "{names:?}: {text}");
        }
    }
}
