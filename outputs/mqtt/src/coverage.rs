//! What the collectors capture at present: a device that is silent at a place that is not captured is not away. No I/O and no
//! clock.

use std::collections::{BTreeMap, BTreeSet};

use aw_output::RingState;
use shm_layout::{CaptureState, InterfaceName, RingName};

/// Seconds after which an interface counts as unseen that its collector captures no longer: a collector that restarts begins with
/// none.
const GONE_SECONDS: i64 = 60;

/// Seconds after which the state of a ring says nothing: while the broker is down, no state is taken.
const STATE_SECONDS: i64 = 5;

/// Whether the frames of a place arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// They do.
    Seen,
    /// They do not for a moment, such as while a collector restarts.
    Interrupted,
    /// They do not: there, `aw-mqtt` reports `blind`, or the interface is no longer captured.
    Unseen,
}

/// The state of each ring.
#[derive(Default)]
pub struct Coverage {
    rings: BTreeMap<RingName, RingCoverage>,
}

struct RingCoverage {
    /// What the names of its networks begin with.
    prefix: String,
    /// Of the ring as a whole, and when that was.
    view: View,
    observed: i64,
    down: BTreeSet<InterfaceName>,
    captured: BTreeSet<InterfaceName>,
    /// Interfaces that were captured before, and since when they are not.
    gone: BTreeMap<InterfaceName, i64>,
}

impl Coverage {
    /// Takes the state of a ring. `prefix`: what the names of its networks begin with.
    pub fn observe(&mut self, state: &RingState, prefix: String, now: i64) {
        let before = self.rings.remove(&state.ring);
        let mut gone = BTreeMap::new();
        let wanted = state.interfaces.iter().filter(|(_, state)| *state != CaptureState::None);
        let (up, off): (Vec<_>, Vec<_>) =
            wanted.partition(|(_, state)| *state == CaptureState::Captured);
        let names = |interfaces: Vec<&(InterfaceName, CaptureState)>| -> BTreeSet<_> {
            interfaces.into_iter().map(|(name, _)| *name).collect()
        };
        let (mut captured, mut down) = (names(up), names(off));
        match before {
            None => {}
            // Nothing is known of its interfaces.
            Some(before) if !state.is_running => {
                (gone, captured, down) = (before.gone, before.captured, before.down);
            }
            Some(before) => {
                let left = before.captured.into_iter().chain(before.down).map(|name| (name, now));
                gone = left.chain(before.gone).collect();
                gone.retain(|name, _| !captured.contains(name) && !down.contains(name));
            }
        }
        let view = match (state.is_running, &state.blind) {
            (_, Some(_)) => View::Unseen,
            (false, None) => View::Interrupted,
            (true, None) => View::Seen,
        };
        let ring = RingCoverage { prefix, view, observed: now, down, captured, gone };
        self.rings.insert(state.ring.clone(), ring);
    }

    /// Whether frames of this network arrive. If it is not known, a device may be at any that is not captured.
    pub fn view(&self, network: Option<&str>, now: i64) -> View {
        let of_ring = |ring: &RingCoverage| match network {
            None => Some(ring.as_a_whole(now)),
            Some(network) => ring.view(network.strip_prefix(&ring.prefix)?, now).into(),
        };
        self.rings.values().filter_map(of_ring).max().unwrap_or(View::Seen)
    }
}

impl RingCoverage {
    fn view(&self, network: &str, now: i64) -> View {
        // An interface may have the name of another one's VLAN: the longest name is meant.
        let known = self.captured.iter().chain(&self.down).chain(self.gone.keys());
        let is_of = |name: &&InterfaceName| {
            let rest = network.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let interface = known.filter(is_of).max_by_key(|name| name.as_str().len());
        let of_interface = match interface {
            Some(name) if self.down.contains(name) => View::Unseen,
            Some(name) if self.captured.contains(name) => View::Seen,
            Some(name) if self.gone.get(name).is_some_and(|since| now - since >= GONE_SECONDS) => {
                View::Unseen
            }
            Some(_) => View::Interrupted,
            None => View::Seen, // of a file, or of a router
        };
        self.as_a_whole(now).max(of_interface)
    }

    fn as_a_whole(&self, now: i64) -> View {
        let is_recent = (0..=STATE_SECONDS).contains(&(now - self.observed));
        if is_recent { self.view } else { self.view.max(View::Interrupted) }
    }
}

#[cfg(test)]
pub mod tests {
    use aw_output::LossCause;

    use super::*;

    /// A ring, whether its collector runs, and the interfaces that are captured and down.
    pub fn state(ring: &str, is_running: bool, captured: &[&str], down: &[&str]) -> RingState {
        let captured = captured.iter().map(|name| (*name, CaptureState::Captured));
        let down = down.iter().map(|name| (*name, CaptureState::Down));
        let interfaces = captured.chain(down).map(|(name, state)| (name.parse().unwrap(), state));
        RingState {
            ring: ring.parse().unwrap(),
            host: "here".into(),
            generation: None,
            counters: Vec::new(),
            interfaces: interfaces.collect(),
            broadcasts: Vec::new(),
            neighbors: Vec::new(),
            gap: None,
            blind: None,
            is_running,
            heartbeat: None,
            kills: Default::default(),
            silent_since: None,
            has_captured: true,
            checkpoint: None,
            loss: LossCause::default(),
            cuts: 0,
            spool_full: None,
        }
    }

    #[test]
    fn each_place() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.view(Some("eth0"), 0), View::Seen, "nothing is known yet");
        let all = ["eth0", "eth0.7", "eth0.7.9", "eth1", "lan@192.0.2.1"];
        let mut views = |state: &RingState, now| {
            coverage.observe(state, String::new(), now);
            let views = all.map(|network| coverage.view(Some(network), now));
            (views, coverage.view(None, now))
        };
        let [seen, short, unseen] = [View::Seen, View::Interrupted, View::Unseen];
        let both = ["eth0", "eth1"];
        assert_eq!(views(&state("/r", true, &both, &[]), 1), ([seen; 5], seen));
        let expected = [unseen, unseen, unseen, seen, seen];
        assert_eq!(views(&state("/r", true, &["eth1"], &["eth0"]), 2), (expected, seen));
        // A VLAN that is an interface of its own.
        let expected = [unseen, seen, seen, seen, seen];
        let state_of_vlan = state("/r", true, &["eth0.7", "eth1"], &["eth0"]);
        assert_eq!(views(&state_of_vlan, 3), (expected, seen));
        // A collector ends, and its return captures one interface less.
        let expected = [unseen, short, short, short, short];
        assert_eq!(views(&state("/r", false, &[], &[]), 4), (expected, short));
        let blind = RingState { blind: Some("ended".into()), ..state("/r", false, &[], &[]) };
        assert_eq!(views(&blind, 70), ([unseen; 5], unseen));
        let expected = [seen, short, short, short, seen];
        assert_eq!(views(&state("/r", true, &["eth0"], &[]), 80), (expected, seen));
        let expected = [seen, unseen, unseen, unseen, seen];
        assert_eq!(views(&state("/r", true, &["eth0"], &[]), 140), (expected, seen));
        assert_eq!(views(&state("/r", true, &both, &[]), 141).0[3], seen);
        // One that was down when its collector ended.
        assert_eq!(views(&state("/r", true, &["eth0"], &["eth1"]), 142).0[3], unseen);
        assert_eq!(views(&state("/r", true, &["eth0"], &[]), 143).0[3], short);
        assert_eq!(views(&state("/r", true, &["eth0"], &[]), 203).0[3], unseen);
    }

    #[test]
    fn several_rings() {
        let mut coverage = Coverage::default();
        coverage.observe(&state("/a", true, &["eth0"], &[]), "a/".into(), 1);
        coverage.observe(&state("/b", false, &[], &[]), "b/".into(), 1);
        let views = [Some("a/eth0"), Some("b/eth0"), None].map(|place| coverage.view(place, 1));
        assert_eq!(views, [View::Seen, View::Interrupted, View::Interrupted]);
        // The broker was down, and so the state is not known.
        assert_eq!(
            [6, 7].map(|now| coverage.view(Some("a/eth0"), now)),
            [View::Seen, View::Interrupted]
        );
    }
}
