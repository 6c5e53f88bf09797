//! The first day of a program that knows no device: who is there becomes known, and nothing about addresses becomes normal.

use aw_output::Entry;
use shm_layout::UnixTime;

use super::{Memory, Past, Rules, is_redirect, latest};
use crate::network::full_network;

impl Rules {
    /// Marks the device of an event, which [`Rules::observe`] has recorded, as learned, and which kind of MACs its interface has.
    pub fn learn_device<M: Memory>(
        &self,
        entry: &Entry,
        now: UnixTime,
        memory: &mut M,
    ) -> Result<(), M::Error> {
        let event = &entry.event;
        let memory = &mut Past { memory, latest: latest(now).seconds() };
        if is_redirect(event) && event.source != event.mac {
            return Ok(());
        }
        let Some(mut device) = memory.device(event.mac)? else { return Ok(()) };
        if !device.learned {
            device.learned = true;
            memory.store_device(event.mac, &device)?;
        }
        self.learn_interface(entry, &full_network(entry), memory)
    }
}
