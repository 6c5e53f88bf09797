//! What is missing among the events of a ring, in words: events that were overwritten, frames that were dropped, pairings
//! that were forgotten, and a sensor that is blind. [`Episode`] decides when each of them is reported. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};

use aw_service::{count_of, local_span};
use serde::{Deserialize, Serialize};
use shm_layout::{CaptureState, Counter, InterfaceName, RingName};

use crate::{
    Episode, EpisodeChange, LossCause, NameLosses, RingState, capture_fault,
    episode::{HOUR, Reporting},
    writer_kills::crash_loop_fault,
};

mod hidden;

/// While an interface is down, that is reported once in so many seconds: a port without a cable is usual.
const DAY: i64 = 86_400;
/// How long a fault waits that the collector states no longer, until it is over: a collector that was started again reports a unit
/// that is enabled and does not run only after its second look.
const UNSTATED_SECONDS: i64 = 30;
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
    /// The interface, or the network of one, that it is about, if it is about one.
    pub network: Option<String>,
    /// One line.
    pub text: String,
    /// Whether it is only a hint.
    pub is_hint: bool,
}

impl FaultReport {
    fn new(kind: FaultKind, text: String) -> FaultReport {
        FaultReport { kind, network: None, text, is_hint: false }
    }

    /// The same about an interface.
    fn on(self, interface: InterfaceName) -> FaultReport {
        FaultReport { network: Some(interface.to_string()), ..self }
    }

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
    /// Names of faults that were forgotten.
    removed: Vec<String>,
    /// Since when a collector runs that does not state the interface of a fault.
    unstated: BTreeMap<String, i64>,
    /// Since when nothing is known of a network that was reported.
    unknown: BTreeMap<String, i64>,
    /// This process does not run long enough to wait for that.
    at_once: bool,
}

/// The state of a fault, which can be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultState {
    /// Of the ring whose counts these are.
    generation: u64,
    episode: Episode,
    /// The reason that was reported last, and when it was another one than at the begin; of interfaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other_cause_at: Option<i64>,
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
        Faults { faults, ..Faults::default() }
    }

    /// `once`: of a process that ends when all events are read. What the collector does not state is then over without waiting.
    pub fn at_once(self, once: bool) -> Faults {
        Faults { at_once: once, ..self }
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
        reports.push(self.of_gap(state));
        let (name, why) = (format!("blind {ring}"), state.blind.as_deref());
        // A heartbeat shows that it is back; it is no pause between two losses.
        let at_once = Reporting { ends_at_once: true, ..Reporting::HOURLY };
        let over = "events arrive again";
        reports.push(self.level_with(at_once, name, FaultKind::Blind, why, over, now));
        if state.generation.is_some() {
            let (name, why) = (format!("kills {ring}"), crash_loop_fault(state));
            let over = match state.silent_since {
                Some(_) => "the collector was not killed again, and did not crash",
                None => "the program that writes this ring was not killed again, and did not crash",
            };
            reports.push(self.level(name, FaultKind::Blind, why.as_deref(), over, now));
        }
        let prefix = format!("down {ring} ");
        // Also one that the ring, created again, does not have.
        let known = self.faults.keys().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok());
        let seen = state.counters.iter().map(|one| one.name).chain(known);
        let stated = state.interfaces.iter().map(|(interface, _)| *interface);
        let interfaces = seen.chain(stated).collect::<BTreeSet<_>>();
        if !state.is_running {
            let others =
                [prefix.clone(), format!("broadcasts {ring} "), format!("neighbors {ring} ")];
            // Those of other rings wait on.
            self.unstated.retain(|name, _| !others.iter().any(|of_ring| name.starts_with(of_ring)));
        }
        // While no collector runs, nothing is known of them.
        for interface in interfaces.into_iter().filter(|_| state.is_running) {
            let found = state.interfaces.iter().find(|(one, _)| *one == interface);
            let found = found.map_or(CaptureState::None, |(_, found)| *found);
            if self.waits(&format!("{prefix}{interface}"), found, now) {
                continue;
            }
            let why = capture_fault(interface, found);
            let why = why.as_deref();
            let over = match found {
                CaptureState::Captured => format!("interface {interface} is captured again"),
                _ => format!("the collector captures no longer on interface {interface}"),
            };
            let (name, day) = (format!("{prefix}{interface}"), Reporting::each(DAY));
            let report = self.level_with(day, name.clone(), FaultKind::Blind, why, &over, now);
            let report = self.with_cause(name, report, why, now);
            reports.push(report.map(|report| report.on(interface)));
        }
        if state.is_running {
            reports.extend(self.of_broadcasts(state, now));
            reports.extend(self.of_neighbors(state, now));
        }
        let (name, why) = (format!("spool {ring}"), state.spool_full.as_deref());
        reports.push(self.level(name, FaultKind::Full, why, "the spool has room again", now));
        reports.into_iter().flatten().collect()
    }

    /// The reports of what is missing among the names beside a ring: a flood can hide a router or DHCP server in it.
    pub fn of_names(
        &mut self,
        ring: &RingName,
        losses: &NameLosses,
        output: &str,
        now: i64,
    ) -> Vec<FaultReport> {
        let NameLosses { generation, lost, limited } = losses;
        let count =
            |number, before, resets| FaultCount { generation: *generation, number, before, resets };
        let what = ["record was", "records were"].map(|what| {
            format!("{what} overwritten in the ring of names before {output} read them: a rogue router or DHCP server may be among them")
        });
        let words = (&what, "give this machine more time, or look for a flood of such messages");
        let name = format!("lost {}", ring.names());
        let lost = count(*lost, 0, false);
        let mut reports = vec![self.counted(name, FaultKind::Lost, lost, words, now)];
        for (interface, number) in limited {
            let what = ["message was", "messages were"].map(|what| {
                format!("{what} not stored on {interface}, because there were too many new ones of routers, DHCP or names: a rogue router or DHCP server may be among them")
            });
            let words = (&what, "look for the host that floods: aw-stdout --names --replay");
            let name = format!("limited {} {interface}", ring.names());
            let limited = count(*number, *number, true);
            let report = self.counted(name, FaultKind::Lost, limited, words, now);
            reports.push(report.map(|report| report.on(*interface)));
        }
        reports.into_iter().flatten().collect()
    }

    /// Whether a fault is left as it is, because the collector that runs may state its interface soon.
    fn waits(&mut self, name: &str, found: CaptureState, now: i64) -> bool {
        let is_present = self.faults.get(name).is_some_and(|fault| fault.episode.is_present());
        if self.at_once || !is_present || found != CaptureState::None {
            self.unstated.remove(name);
            return false;
        }
        let since = self.unstated.entry(name.to_owned()).or_insert(now);
        *since = now.min(*since); // the clock may have been set back
        now - *since < UNSTATED_SECONDS
    }

    /// Adds the report that a fault has another reason now: at once, and then once an hour at most.
    fn with_cause(
        &mut self,
        name: String,
        report: Option<FaultReport>,
        why: Option<&str>,
        now: i64,
    ) -> Option<FaultReport> {
        let fault = self.faults.get_mut(&name)?;
        if !fault.episode.is_present() {
            (fault.cause, fault.other_cause_at) = (None, None);
            return report;
        }
        let Some(why) = why else { return report };
        let is_same = fault.cause.as_deref() == Some(why);
        let is_known = fault.cause.is_some();
        let at = fault.other_cause_at.map(|at| at.min(now));
        if is_same || report.is_none() && is_known && at.is_some_and(|at| now - at < HOUR) {
            return report;
        }
        fault.cause = Some(why.to_owned());
        let is_other = report.is_none() && is_known;
        if is_other {
            fault.other_cause_at = Some(now);
        }
        self.changed.push(name);
        report.or_else(|| {
            let text = format!("now: {why}");
            is_other.then(|| FaultReport::new(FaultKind::Blind, text))
        })
    }

    /// The report of a time without a collector, which this output did not see because it did not run either. One that it saw is
    /// reported by the end of its blindness.
    fn of_gap(&mut self, state: &RingState) -> Option<FaultReport> {
        state.generation?;
        let end = state.gap.map_or(0, |(_, to)| to.seconds().unsigned_abs());
        let seen = self.faults.get(&format!("blind {}", state.ring));
        let is_seen = seen.is_some_and(|fault| fault.episode.is_present());
        let name = format!("gap {}", state.ring);
        // What was before the first start of this output is not its business.
        let known = self.faults.get(&name).map(|fault| fault.episode.count());
        if known == Some(end) {
            return None;
        }
        let fault = FaultState { episode: Episode::new(end), ..FaultState::default() };
        self.faults.insert(name.clone(), fault);
        self.changed.push(name);
        let (from, to) = state.gap.filter(|_| known.is_some() && !is_seen)?;
        let span = local_span(from.seconds(), to.seconds());
        let text = format!("{OVER}no collector ran {span}: nothing is recorded of that time");
        Some(FaultReport::new(FaultKind::Blind, text))
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
        Some(report.on(interface))
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
        let new =
            || FaultState { generation, episode: Episode::new(before), ..FaultState::default() };
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
        Some(FaultReport::new(kind, text))
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
        self.level_with(Reporting::HOURLY, name, kind, why, over, now)
    }

    /// The same, once: of what may last because the operator wants it so.
    pub fn level_once(
        &mut self,
        name: String,
        kind: FaultKind,
        why: Option<&str>,
        over: &str,
        now: i64,
    ) -> Option<FaultReport> {
        self.level_with(Reporting::each(i64::MAX), name, kind, why, over, now)
    }

    /// Forgets faults whose names begin so until there is room for one more: one that is over, or else the one that was not present for
    /// longest. Frames may choose the names.
    fn make_room(&mut self, prefix: &str, most: usize) {
        let of_prefix = |this: &Self| {
            let all = this.faults.iter().filter(|(name, _)| name.starts_with(prefix));
            let first = all
                .clone()
                .min_by_key(|(_, fault)| (fault.episode.is_present(), fault.episode.last()));
            let first = first.map(|(name, _)| name.clone());
            first.filter(|_| all.count() >= most)
        };
        while let Some(name) = of_prefix(self) {
            self.faults.remove(&name);
            self.removed.push(name);
        }
    }

    /// Names of faults that were forgotten, and are still stored.
    pub fn take_removed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.removed)
    }

    fn level_with(
        &mut self,
        reporting: Reporting,
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
        let change = fault.episode.observe_with(reporting, now, 0, why.is_some())?;
        self.changed.push(name);
        let text = match (change, why) {
            (EpisodeChange::Over { since, .. }, _) => {
                format!("{OVER}{over}, after {} s", now - since)
            }
            (EpisodeChange::Lasts(_), Some(why)) => format!("still: {why}"),
            (_, why) => why.unwrap_or_default().to_owned(),
        };
        Some(FaultReport::new(kind, text))
    }
}

#[cfg(test)]
mod tests;
