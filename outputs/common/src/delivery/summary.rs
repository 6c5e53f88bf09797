//! What became of it all, in words.

use aw_service::{Error, failed, info};

use super::{Delivery, Mode, RingState};
use crate::{
    Sink,
    checkpoint::{ItemKind, StreamItem},
};

impl<S: Sink> Delivery<'_, S> {
    /// At the end of `--once`: whether all is delivered.
    pub fn all_delivered(&self) -> Result<(), Error> {
        match &self.stores.spool {
            Some(spool) if matches!(self.mode, Mode::Spooling { .. }) => Err(failed(format_args!(
                "the destination is down: {} events are kept in {}",
                spool.waiting(),
                spool.path().display()
            ))),
            _ => Ok(()),
        }
    }

    /// One line: what became of a ring in this run.
    pub fn report(&self, ring: usize, lost: u64, skipped: u64) {
        let RingState { ring: name, delivered, .. } = &self.ring_states[ring];
        let is_event = |(of, item): &&(usize, StreamItem)| {
            *of == ring && matches!(item.kind, ItemKind::Event(_))
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

    /// One line: what waits in the spool.
    pub fn log_spool(&self) {
        if let Some(spool) = self.stores.spool.as_ref().filter(|spool| spool.waiting() > 0) {
            let path = spool.path().display();
            info(format_args!("{} events wait in {path}", spool.waiting()));
        }
    }
}
