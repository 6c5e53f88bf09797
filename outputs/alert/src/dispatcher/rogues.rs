//! The rings of names: routers and servers that are new, change or are forged.

use aw_detect::{Alert, Dialect, Observed};
use aw_output::{NameEntry, NameFollower, RingState, SinkResult};
use shm_layout::{CaptureState, UnixTime};

use super::Dispatcher;
use crate::learned_infrastructure::learned_infrastructure;

/// How long an interface learns without `--learn`, in seconds.
const DAY: i64 = 86_400;
/// Records that are read at once.
const BATCH: usize = 1024;

impl Dispatcher {
    /// Reads what the rings of names have. Positions are committed with what the records cause.
    pub(super) fn read_names(&mut self) -> SinkResult {
        if self.rules.dialect == Dialect::Arpwatch {
            return Ok(());
        }
        let Some(mut followed) = self.options.followed.take() else { return Ok(()) };
        let result = self.follow_names(&mut followed);
        self.options.followed = Some(followed);
        self.names_left = result? && !self.options.once;
        Ok(())
    }

    /// Returns whether there is more.
    fn follow_names(&mut self, followed: &mut NameFollower) -> SinkResult<bool> {
        if !self.names_resumed {
            followed.resume(|ring| self.store.memory.checkpoint(ring))?;
            self.names_resumed = true;
        }
        loop {
            let mut done = Ok(());
            let all_read = followed.read(BATCH, |entry| {
                if done.is_ok() {
                    done = self.observe_name(entry);
                }
            });
            done?;
            for (ring, checkpoint) in followed.unsaved() {
                self.store.memory.store_checkpoint(ring, &checkpoint)?;
            }
            if all_read || !self.options.once {
                return Ok(!all_read);
            }
        }
    }

    fn observe_name(&mut self, entry: &NameEntry) -> SinkResult {
        let (now, period) = (UnixTime::now(), self.period());
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
        for (interface, _) in state.interfaces.iter().filter(|(_, found)| captured(found)) {
            let place = (&*state.host, state.ring.as_str(), interface.as_str());
            let (period, memory) = (self.period(), &mut self.store.memory);
            let observed = self.rules.observe_interface(place, now, period, memory)?;
            self.report_observed(observed, now)?;
        }
        Ok(())
    }

    fn report_observed(&mut self, observed: Observed, now: UnixTime) -> SinkResult {
        if let Some(interface) = observed.learned {
            self.report_infrastructure(&interface, now.seconds())?;
        }
        let mut alerts = observed.alerts.into_iter();
        alerts.try_for_each(|alert| self.dispatch(alert, now.seconds()))
    }

    /// One message to each channel about the routers and servers that an interface has learned.
    fn report_infrastructure(&mut self, interface: &str, now: i64) -> SinkResult {
        let known = self.store.memory.learned_infrastructure(interface)?;
        let (rules, store) = (&self.rules, &mut self.store);
        let learned =
            learned_infrastructure(interface, &known, rules, now, |mac| store.vendor(mac))?;
        self.send_learned(learned)
    }

    /// What the rings of names add to the alerts of an event.
    pub(super) fn name_gateways(&mut self, alerts: &mut Vec<Alert>) -> SinkResult {
        match alerts.iter().any(|alert| alert.kind.is_takeover()) {
            true => self.rules.name_gateways(alerts, &mut self.store.memory),
            false => Ok(()),
        }
    }
}
