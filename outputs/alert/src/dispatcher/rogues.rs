//! The rings of names: routers and servers that are new, change or are forged.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use aw_detect::{Alert, Dialect, Observed, SqliteMemory};
use aw_output::{Entry, NameEntry, NameFollower, RingState, SinkResult};
use shm_layout::{CaptureState, NameRecord, UnixTime};

use super::{Dispatcher, learned::DUE_INTERVAL};
use crate::{
    learned_infrastructure::{learned_infrastructure, named_routers},
    sensor,
};

/// How long an interface learns without `--learn`, in seconds.
const DAY: i64 = 86_400;
/// Records that are read at once.
const BATCH: usize = 1024;
/// How often rings of names are read.
pub(super) const NAMES_INTERVAL: Duration = Duration::from_millis(250);
/// Interfaces of events in a ring: those of one host.
const MAX_PLACES: usize = 64;
/// How long a ring of names is missing until that is reported: a collector that starts again creates it again.
const STOPPED: Duration = Duration::from_secs(10);

impl Dispatcher {
    /// Reads the rings of names at their interval, or to their end.
    pub(super) fn read_names_if_due(
        &mut self,
        event: Option<UnixTime>,
        now: Instant,
    ) -> SinkResult {
        if !self.names_left && !self.names_within(now).is_zero() {
            return Ok(());
        }
        self.last_names = Some(now);
        self.read_names(event)
    }

    pub(super) fn reads_names(&self) -> bool {
        self.options.followed.as_ref().is_some_and(NameFollower::is_reading)
    }

    /// When the rings of names are to be read again; a missing one is looked for as often as other things that are due.
    pub(super) fn names_within(&self, now: Instant) -> Duration {
        let interval = if self.reads_names() { NAMES_INTERVAL } else { DUE_INTERVAL };
        let age = self.last_names.map(|last| now.saturating_duration_since(last));
        age.map_or(Duration::ZERO, |age| interval.saturating_sub(age))
    }

    /// Reads what the rings of names have, up to the time of the next event: what an event shows of a MAC is known when a later record is
    /// looked at. Without an event, all events were read: up to the last time of which that is sure. Positions are committed with what the
    /// records cause.
    pub(super) fn read_names(&mut self, event: Option<UnixTime>) -> SinkResult {
        let now = UnixTime::now();
        let until = event.unwrap_or(self.drained);
        if event.is_none() {
            self.drained = now;
        }
        // The clock was ahead.
        let is_due = |record: &NameRecord| record.time <= until || record.time > now;
        self.names_left = self.with_names(|this, followed| {
            let mut done = Ok(());
            let all_read = followed.read_while(BATCH, is_due, |entry| {
                if done.is_ok() {
                    done = this.observe_name(entry, now);
                }
            });
            done?;
            for (ring, checkpoint) in followed.unsaved() {
                this.store.memory.store_checkpoint(ring, &checkpoint)?;
            }
            Ok(!all_read)
        })?;
        Ok(())
    }

    /// Calls a function with the rings of names, if they are read.
    fn with_names(
        &mut self,
        call: impl FnOnce(&mut Dispatcher, &mut NameFollower) -> SinkResult<bool>,
    ) -> SinkResult<bool> {
        if self.rules.dialect == Dialect::Arpwatch {
            return Ok(false);
        }
        let Some(mut followed) = self.options.followed.take() else { return Ok(false) };
        let resumed = match self.names_resumed {
            true => Ok(()),
            false => {
                // What devices call themselves is in memory only.
                followed.held(|record| {
                    self.claimed.add(record);
                });
                followed.resume(|ring| self.store.memory.checkpoint(ring))
            }
        };
        self.names_resumed |= resumed.is_ok();
        let result = resumed.and_then(|()| call(self, &mut followed));
        self.options.followed = Some(followed);
        result
    }

    /// What is missing among the names beside a ring whose collector runs.
    pub(super) fn name_faults(&mut self, state: &RingState, now: i64) -> SinkResult<Vec<Alert>> {
        let (mut losses, mut stopped) = (None, None);
        let longer = if self.options.once { Duration::ZERO } else { STOPPED };
        self.with_names(|_, followed| {
            followed.open();
            if !state.is_running {
                followed.wait(&state.ring); // its collector may come later than this program
            }
            losses = followed.losses(&state.ring);
            stopped = followed.stopped(&state.ring, longer).map(str::to_owned);
            Ok(false)
        })?;
        match state.is_running {
            true => drop(self.running.insert(state.ring.clone())),
            false => drop(self.running.remove(&state.ring)),
        }
        let mut alerts = sensor::of_ring(&mut self.faults, state, losses.as_ref(), now);
        if state.is_running && (losses.is_some() || stopped.is_some()) {
            alerts.extend(sensor::of_names(&mut self.faults, state, stopped.as_deref(), now));
        }
        if losses.is_some() {
            self.observe_interfaces(state)?;
        }
        Ok(alerts)
    }

    /// Whether routers or servers are named, and no collector that runs records what they announce.
    pub(super) fn lacks_names(&self) -> bool {
        let is_read = self.options.followed.as_ref().is_none_or(NameFollower::is_reading);
        let is_wanted =
            self.rules.dialect == Dialect::Devices && self.config.names_infrastructure();
        is_wanted && !is_read && !self.running.is_empty()
    }

    fn observe_name(&mut self, entry: &NameEntry, now: UnixTime) -> SinkResult {
        self.claimed.add(&entry.record);
        let period = self.period();
        let memory = &mut self.store.memory;
        let observed = self.rules.observe_name(entry, now, period, memory)?;
        self.report_observed(observed, now)
    }

    /// How long an interface learns.
    fn period(&self) -> i64 {
        let default = if self.options.once { 0 } else { DAY };
        self.options.learn.unwrap_or(default)
    }

    /// Lets the interfaces of a ring with names learn, also while nothing is received, and reports what is due.
    pub(super) fn observe_interfaces(&mut self, state: &RingState) -> SinkResult {
        let now = UnixTime::now();
        let captured = |found: &CaptureState| *found == CaptureState::Captured;
        let interfaces = state.interfaces.iter().filter(|(_, found)| captured(found));
        let mut names: BTreeSet<_> = interfaces.map(|(name, _)| name.to_string()).collect();
        // A frame's place may have another name: --as, and the bridge of a port.
        let of_ring = self.places.get(&state.ring).into_iter().flatten();
        names.extend(of_ring.map(ToString::to_string));
        names.extend(self.store.memory.limited_interfaces(&state.host, state.ring.as_str())?);
        for interface in names {
            let place = (&*state.host, state.ring.as_str(), &*interface);
            let (period, memory) = (self.period(), &mut self.store.memory);
            let observed = self.rules.observe_interface(place, now, period, memory)?;
            self.report_observed(observed, now)?;
        }
        Ok(())
    }

    /// Records the interface of an event: it is captured.
    pub(super) fn note_place(&mut self, entry: &Entry) {
        let interface = entry.event.interface;
        let places = self.places.get(entry.ring);
        if places.is_some_and(|all| all.contains(&interface) || all.len() >= MAX_PLACES) {
            return;
        }
        self.places.entry(entry.ring.clone()).or_default().insert(interface);
    }

    fn report_observed(&mut self, observed: Observed, now: UnixTime) -> SinkResult {
        if let Some(interface) = observed.learned {
            self.report_infrastructure(&interface, now.seconds())?;
        }
        let mut alerts = observed.alerts.into_iter();
        alerts.try_for_each(|alert| self.dispatch(alert, now.seconds()))
    }

    /// One message to each channel about the routers and servers that an interface has learned.
    pub(super) fn report_infrastructure(&mut self, interface: &str, now: i64) -> SinkResult {
        let known = self.store.memory.learned_infrastructure(interface)?;
        let (rules, store) = (&self.rules, &mut self.store);
        let named = named_routers(rules);
        let named = store.memory.read(|database| SqliteMemory::stations_at(database, &named))?;
        let rules = (rules, &*named);
        let learned =
            learned_infrastructure(interface, &known, rules, now, |mac| store.vendor(mac))?;
        self.send_learned(learned)
    }
}
