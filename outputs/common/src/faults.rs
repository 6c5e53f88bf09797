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
}

impl Faults {
    /// Faults whose states were stored.
    pub fn new(faults: BTreeMap<String, FaultState>) -> Faults {
        Faults { faults, changed: Vec::new() }
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
            let count = FaultCount { generation, number, before: 0 };
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
            let of = |number| FaultCount { generation, number, before: number };
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
        let seen = state.counters.iter().map(|one| one.name);
        for interface in seen.chain(state.down.iter().copied()).collect::<BTreeSet<_>>() {
            let why = format!(
                "interface {interface} is down or gone: no frames of it arrive (ip link set {interface} up)"
            );
            let why = state.down.contains(&interface).then_some(&*why);
            let over = format!("interface {interface} is up again");
            let name = format!("down {ring} {interface}");
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
        let count =
            FaultCount { generation: 0, number: before.saturating_add(forgotten), before: 0 };
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
        FaultCount { generation, number, before }: FaultCount,
        ([one, many], remedy): (&[String; 2], &str),
        now: i64,
    ) -> Option<FaultReport> {
        let is_new = !self.faults.contains_key(&name);
        let new = || FaultState { generation, episode: Episode::new(before) };
        let fault = self.faults.entry(name.clone()).or_insert_with(new);
        // The counters of the same generation begin again after a truncation.
        let is_restarted = std::mem::replace(&mut fault.generation, generation) != generation
            || number < fault.episode.count();
        if is_restarted {
            fault.episode.restart();
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
mod tests {
    use super::*;
    use crate::Checkpoint;

    fn state(generation: u64, lost: u64, blind: Option<&str>) -> RingState {
        RingState {
            ring: "/site".parse().unwrap(),
            host: "sensor1".into(),
            generation: Some(generation),
            counters: Vec::new(),
            down: Vec::new(),
            blind: blind.map(str::to_owned),
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
            let (name, count) =
                ("forgot /a".into(), FaultCount { generation: 1, number, before: number });
            let what = ["one is", "are"].map(String::from);
            faults.counted(name, FaultKind::Forgot, count, (&what, "x"), now)
        };
        assert_eq!(observe(100, 1000), None);
        assert_eq!(observe(3, 2000).unwrap().text, "3 are (x)");
        assert_eq!(observe(3, 3000).unwrap().text, "over: 3 are, within 1000 s");
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
        state.down.push("eth1".parse().unwrap());
        let down = "interface eth1 is down or gone: no frames of it arrive (ip link set eth1 up)";
        assert_eq!(texts(faults.of_ring(&state, "aw-alert", 5000)), [down]);
        // A port without a cable is no message each hour.
        let day = (5001..5001 + DAY).flat_map(|now| faults.of_ring(&state, "aw-alert", now));
        let day: Vec<_> = day.collect();
        assert_eq!(day[0].interface, state.down.first().copied());
        assert_eq!(texts(day), [format!("still: {down}")]);
    }

    #[test]
    fn drops_name_the_interface_that_drops() {
        let mut faults = Faults::default();
        let mut observe = |name: &str, number, now| {
            let (ring, count) =
                ("/site".parse().unwrap(), FaultCount { generation: 1, number, before: number });
            faults.of_drops(&ring, name.parse().unwrap(), count, now)
        };
        assert_eq!(observe("eth0", 7, 1000), None, "before the start");
        assert_eq!(observe("eth1", 0, 1000), None);
        assert_eq!(observe("eth0", 7, 1001), None);
        let report = observe("eth1", 5, 1001).unwrap();
        let dropped = "5 frames were dropped by the kernel on eth1: the collector was too slow (give it more time, or look for a flood on that interface)";
        assert_eq!((&*report.text, report.interface), (dropped, "eth1".parse().ok()));
    }
}
