//! Alerts that no event causes: about silent devices, and about the sensor itself and aw-alert: what is lost, forgotten, full or
//! blind.

use aw_detect::{Alert, AlertKind};
use aw_output::{Checkpoint, EpisodeChange, RingState, SinkResult, this_host};
use shm_layout::{RingName, UnixTime};

use super::{Dispatcher, UNSTORED};
use crate::{hours::Outside, notification::Notification, sender::SendRequest, sensor};

impl Dispatcher {
    pub(super) fn load_checkpoint(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        if self.failed {
            // After a failure, shows whether the database can be written again.
            self.store.store_note("tried", UnixTime::now().seconds())?;
        }
        let checkpoint = self.store.memory.checkpoint(ring)?;
        self.store.commit().map(|()| checkpoint)
    }

    /// All rings are read to their ends, so a device without a new event is silent.
    pub(super) fn report_silent_devices(&mut self) -> SinkResult {
        let now = UnixTime::now().seconds();
        if UnixTime::new(now, 0).seconds_since(UnixTime::new(self.started, 0)).is_none() {
            self.started = now; // the clock was set: what was silent for how long is not known
        }
        // With --once the events may be of any time: a device of an old capture is not silent.
        if !self.options.once && !self.learning.is_running(now) {
            let memory = &mut self.store.memory;
            for alert in self.rules.silent_devices(now, self.started, memory)? {
                self.dispatch(alert, now)?;
            }
        }
        self.deliver()
    }

    /// Notifies the working channels of a failing one.
    pub(super) fn announce_failure(&mut self, failed: usize, why: &str) -> SinkResult {
        let name = &self.config.channel[failed].name;
        let now = UnixTime::now().seconds();
        let notification = Notification::of_failure(name, why, now, &this_host());
        for (channel, queue) in self.config.channel.iter().zip(&self.queues) {
            let closed = !queue.open && channel.outside == Outside::Ignore;
            if !queue.is_failing() && !closed {
                self.store.enqueue(&channel.name, &notification)?;
            }
        }
        Ok(())
    }

    /// The state cannot be written, and so no message can be queued: each channel that is ready gets this one at once.
    pub(super) fn announce_full_state(&mut self, why: &str) -> SinkResult {
        let now = UnixTime::now().seconds();
        let Some(sender) = &mut self.sender else { return Ok(()) };
        if self.state_full.observe(now, 0, true).is_none() {
            return Ok(());
        }
        let note = format!("{why}: until that is over, alerts are late or lost");
        let (note, host) = (Some(note), this_host());
        let alert = Alert { note, host, ..Alert::new(AlertKind::Full, now) };
        for (channel, queue) in self.config.channel.iter().zip(&mut self.queues) {
            if queue.is_ready() && channel.wants(&alert, self.rules.dialect) {
                let message = channel.notification(&alert, &self.zone, self.rules.dialect);
                let (id, channel) = (UNSTORED, channel.name.clone());
                let message_id = self.message_ids.id(id, now);
                sender.request(&SendRequest { id, message_id, channel, message })?;
                queue.in_flight = Some(id);
            }
        }
        Ok(())
    }

    /// What is missing among the events, and which limits are reached.
    pub(super) fn report_faults(&mut self, state: &RingState) -> SinkResult {
        let now = UnixTime::now().seconds();
        let mut alerts = self.name_faults(state, now)?;
        let forgotten = self.store.memory.take_forgotten();
        alerts.extend(sensor::of_memory(&mut self.faults, forgotten, now));
        for (channel, queue) in self.config.channel.iter().zip(&self.queues) {
            alerts.extend(sensor::of_channel(&mut self.faults, &channel.name, queue.full, now));
        }
        if let Some(EpisodeChange::Over { .. }) = self.state_full.observe(now, 0, false) {
            let note = Some("over: the state of aw-alert can be written again".into());
            alerts.push(Alert { note, ..Alert::new(AlertKind::Full, now) });
        }
        self.store.memory.store_faults(&mut self.faults)?;
        alerts.into_iter().try_for_each(|alert| self.dispatch(alert, now))
    }
}
