//! What is missing among the events of a ring, in words: events that were overwritten, frames that were dropped, pairings
//! that were forgotten, and a sensor that is blind. [`Episode`] decides when each of them is reported. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};

use aw_service::count_of;
use serde::{Deserialize, Serialize};
use shm_layout::{Counter, InterfaceName, RingName};

use crate::{Episode, EpisodeChange, LossCause, RingState, episode::HOUR};

/// While an interface is down, that is reported once in so many seconds: a port without a cable is usual.
const DAY: i64 = 86_400;
/// How a report begins that a fault is over.
const OVER: &str = "over: ";

/// What a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Events or frames were lost.
    Lost,
    /// Pairings or devices were forgotten.
    Forgot,
    /// A limit is reached.
    Full,
    /// No events arrive.
    Blind,
}

/// A fault that is to be reported now: what happened, with numbers and a remedy, or that it is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultReport {
    /// What it is.
    pub kind: FaultKind,
    /// The interface that it is about, if it is about one.
    pub interface: Option<InterfaceName>,
    /// One line.
    pub text: String,
}

impl FaultReport {
    /// Whether it reports an end.
    fn is_over(&self) -> bool {
        self.text.starts_with(OVER)
    }
}

/// The faults of one output by name, such as `lost /addrwatch`.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    faults: BTreeMap<String, FaultState>,
    /// Names of faults whose state is not stored yet.
    changed: Vec<String>,
}

/// The state of a fault, which can be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultState {
    /// Of the ring whose counts these are.
    generation: u64,
    episode: Episode,
}

/// A count of a ring's generation.
#[derive(Clone, Copy, Debug)]
struct FaultCount {
    /// The generation; 0 where there is none.
    generation: u64,
    /// The count.
    number: u64,
    /// What was counted before the first observation, which is not reported.
    before: u64,
    /// Whether a truncation of the ring resets it. A saved position only becomes smaller if an older one is restored.
    resets: bool,
}

impl Faults {
    /// Faults whose states were stored.
    pub fn new(faults: BTreeMap<String, FaultState>) -> Faults {
        Faults { faults, changed: Vec::new() }
    }

    /// The same; of each fault that is counted, more is reported at once and not an hour after the last report: for a log that
    /// programs write which run now and then.
    pub(crate) fn resume(mut faults: BTreeMap<String, FaultState>) -> Faults {
        faults.values_mut().for_each(|fault| fault.episode.report_next());
        Faults::new(faults)
    }

    /// Whether there are states to be stored.
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    pub(crate) fn all(&self) -> &BTreeMap<String, FaultState> {
        &self.faults
    }

    /// The faults whose states are to be stored.
    pub fn take_changed(&mut self) -> Vec<(String, FaultState)> {
        let state = |name: String| Some((name.clone(), self.faults.get(&name)?.clone()));
        std::mem::take(&mut self.changed).into_iter().filter_map(state).collect()
    }

    /// The reports that the state of a ring causes; `output` is the name of this output.
    pub fn of_ring(&mut self, state: &RingState, output: &str, now: i64) -> Vec<FaultReport> {
        let (ring, mut reports) = (&state.ring, Vec::new());
        if let Some(checkpoint) = &state.checkpoint {
            let (generation, number) = (checkpoint.generation, checkpoint.lost);
            let count = FaultCount { generation, number, before: 0, resets: false };
            let (what, remedy) = match state.loss {
                LossCause::Overwritten => (
                    "overwritten before",
                    "give the collector a larger ring with -L, or this machine more time",
                ),
                LossCause::Cut => (
                    "lost because the ring was truncated before",
                    "find the process of the collector's user, or of root, that did it",
                ),
            };
            let what = [
                format!("event was {what} {output} read it"),
                format!("events were {what} {output} read them"),
            ];
            let name = format!("lost {ring}");
            reports.push(self.counted(name, FaultKind::Lost, count, (&what, remedy), now));
        }
        if let Some(generation) = state.generation {
            let of = |number| FaultCount { generation, number, before: number, resets: true };
            let what = ["truncation", "truncations"].map(|what| {
                format!(
                    "{what} of the ring by a process of the collector's user or of root: events that {output} had not read are lost, and the counters begin again"
                )
            });
            let words = (&what, "find that process");
            let cut =
                self.counted(format!("cut {ring}"), FaultKind::Lost, of(state.cuts), words, now);
            reports.push(cut.filter(|report| !report.is_over())); // nothing lasts
            for one in &state.counters {
                let count = of(one.get(Counter::KernelDropped));
                reports.push(self.of_drops(ring, one.name, count, now));
            }
            let forgotten = state.counters.iter().map(|one| one.get(Counter::Forgotten));
            let forgotten = of(forgotten.fold(0, u64::saturating_add));
            let what = ["pairing was", "pairings were"]
                .map(|what| format!("{what} forgotten by the collector: its table is full"));
            let remedy = "raise its --max-pairings, or look for a host that invents addresses";
            let name = format!("forgot {ring}");
            reports.push(self.counted(name, FaultKind::Forgot, forgotten, (&what, remedy), now));
        }
        let (name, why) = (format!("blind {ring}"), state.blind.as_deref());
        reports.push(self.level(name, FaultKind::Blind, why, "events arrive again", now));
        let prefix = format!("down {ring} ");
        // Also one that the ring, created again, does not have.
        let known = self.faults.keys().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok());
        let seen = state.counters.iter().map(|one| one.name).chain(known);
        let interfaces = seen.chain(state.down.iter().copied()).collect::<BTreeSet<_>>();
        // While no collector runs, nothing is known of them.
        for interface in interfaces.into_iter().filter(|_| state.is_running) {
            let why = format!(
                "interface {interface} is down or gone: no frames of it arrive (ip link shows it; ip link set {interface} up)"
            );
            let why = state.down.contains(&interface).then_some(&*why);
            let over = match state.captured.contains(&interface) {
                true => format!("interface {interface} is up again"),
                false => format!("the collector captures no longer on interface {interface}"),
            };
            let name = format!("{prefix}{interface}");
            let report = self.level_each(DAY, name, FaultKind::Blind, why, &over, now);
            let interface = Some(interface);
            reports.push(report.map(|report| FaultReport { interface, ..report }));
        }
        let (name, why) = (format!("spool {ring}"), state.spool_full.as_deref());
        reports.push(self.level(name, FaultKind::Full, why, "the spool has room again", now));
        reports.into_iter().flatten().collect()
    }

    /// The report of frames that the kernel dropped on one interface: others are not blamed.
    fn of_drops(
        &mut self,
        ring: &RingName,
        interface: InterfaceName,
        count: FaultCount,
        now: i64,
    ) -> Option<FaultReport> {
        let what = ["frame was", "frames were"].map(|what| {
            format!("{what} dropped by the kernel on {interface}: the collector was too slow")
        });
        let words = (&what, "give it more time, or look for a flood on that interface");
        let name = format!("drops {ring} {interface}");
        let report = self.counted(name, FaultKind::Lost, count, words, now)?;
        Some(FaultReport { interface: Some(interface), ..report })
    }

    /// The report that the memory of an output has forgotten so many more addresses and devices.
    pub fn of_memory(&mut self, output: &str, forgotten: u64, now: i64) -> Option<FaultReport> {
        let name = format!("forgot by {output}");
        let before = self.faults.get(&name).map_or(0, |fault| fault.episode.count());
        let number = before.saturating_add(forgotten);
        let count = FaultCount { generation: 0, number, before: 0, resets: false };
        let what = ["address or device was", "addresses and devices were"]
            .map(|what| format!("{what} forgotten by {output}: its memory is full"));
        let words = (&what, "look for a host that invents addresses");
        self.counted(name, FaultKind::Forgot, count, words, now)
    }

    /// The report of a fault that is counted: what it is, after the number 1 and after another number, and a remedy.
    fn counted(
        &mut self,
        name: String,
        kind: FaultKind,
        FaultCount { generation, number, before, resets }: FaultCount,
        ([one, many], remedy): (&[String; 2], &str),
        now: i64,
    ) -> Option<FaultReport> {
        let is_new = !self.faults.contains_key(&name);
        let new = || FaultState { generation, episode: Episode::new(before) };
        let fault = self.faults.entry(name.clone()).or_insert_with(new);
        let is_other = std::mem::replace(&mut fault.generation, generation) != generation;
        let is_restarted = is_other || number < fault.episode.count();
        if is_restarted {
            fault.episode.restart(if is_other || resets { 0 } else { number });
        }
        let change = fault.episode.observe(now, number, false);
        if is_new || is_restarted || change.is_some() {
            self.changed.push(name);
        }
        let text = match change? {
            EpisodeChange::Begins(number) => {
                format!("{} ({remedy})", count_of(number, one, many))
            }
            EpisodeChange::Lasts(number) => {
                let what = count_of(number, &format!("more {one}"), &format!("more {many}"));
                format!("{what}, since the last message ({remedy})")
            }
            EpisodeChange::Over { number, since } => {
                format!("{OVER}{}, within {} s", count_of(number, one, many), now - since)
            }
        };
        Some(FaultReport { kind, interface: None, text })
    }

    /// The report of a fault that is present or not; `why`: what it is, if it is present.
    pub fn level(
        &mut self,
        name: String,
        kind: FaultKind,
        why: Option<&str>,
        over: &str,
        now: i64,
    ) -> Option<FaultReport> {
        self.level_each(HOUR, name, kind, why, over, now)
    }

    fn level_each(
        &mut self,
        interval: i64,
        name: String,
        kind: FaultKind,
        why: Option<&str>,
        over: &str,
        now: i64,
    ) -> Option<FaultReport> {
        if why.is_none() && !self.faults.contains_key(&name) {
            return None;
        }
        let fault = self.faults.entry(name.clone()).or_default();
        let change = fault.episode.observe_each(interval, now, 0, why.is_some())?;
        self.changed.push(name);
        let text = match (change, why) {
            (EpisodeChange::Over { since, .. }, _) => {
                format!("{OVER}{over}, after {} s", now - since)
            }
            (EpisodeChange::Lasts(_), Some(why)) => format!("still: {why}"),
            (_, why) => why.unwrap_or_default().to_owned(),
        };
        Some(FaultReport { kind, interface: None, text })
    }
}

#[cfg(test)]
mod tests;
