//! Summaries of the delivery for the log.

use aw_service::{Error, failed, info};

use super::{Delivery, Mode, RingProgress};
use crate::{
    Sink,
    checkpoint::{ItemKind, StreamItem},
};

impl<S: Sink> Delivery<'_, S> {
    /// At the end of `--once`: an error if events remain in the spool.
    pub fn check_all_delivered(&self) -> Result<(), Error> {
        match &self.files.spool {
            Some(spool) if matches!(self.mode, Mode::Spooling(_)) => Err(failed(format_args!(
                "the destination is down: {} events are queued in {}",
                spool.events(),
                spool.path().display()
            ))),
            _ => Ok(()),
        }
    }

    /// Logs the counts of a ring in this run, in one line.
    pub fn log_ring(&self, ring: usize, lost: u64, skipped: u64) {
        let RingProgress { ring: name, delivered, lacking, .. } = &self.ring_states[ring];
        let lost = lost + lacking;
        let is_event = |(index, item): &&(usize, StreamItem)| {
            *index == ring && matches!(item.kind, ItemKind::Event(_))
        };
        let pending = self.pending.iter().filter(is_event).count() as u64;
        let mut text = format!("{name}: {delivered} events, {lost} lost");
        for (number, what) in [
            (pending, "not delivered, or only in part"),
            (skipped, "of a kind that this release does not know"),
        ] {
            if number > 0 {
                text += &format!(", {number} {what}");
            }
        }
        info(text);
    }

    /// Logs the counts of a stream in this run, in one line.
    pub fn log_stream(&self, messages: u64, sensors: usize, lost: u64) {
        let [stream, sensors_of @ ..] = &self.ring_states[..] else { return };
        let delivered: u64 = sensors_of.iter().map(|state| state.delivered).sum();
        let lost = lost + sensors_of.iter().map(|state| state.lacking).sum::<u64>();
        let name = &stream.ring;
        info(format_args!(
            "{name}: {messages} messages of {sensors} rings, {delivered} events, {lost} lost"
        ));
    }

    /// Logs how many events are in the spool, if any.
    pub fn log_spool(&self) {
        if let Some(spool) = self.files.spool.as_ref().filter(|spool| spool.events() > 0) {
            let path = spool.path().display();
            info(format_args!("{} events are queued in {path}", spool.events()));
        }
    }
}
