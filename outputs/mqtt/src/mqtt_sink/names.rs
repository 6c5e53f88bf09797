//! Names that change while aw-mqtt runs.

use aw_output::{SinkResult, names::LiveNames};

use shm_layout::UnixTime;

use super::{MqttSink, recall};

/// The file of the devices that Home Assistant tracks.
pub struct DeviceFile {
    pub names: LiveNames,
    /// An option gives it.
    pub is_named: bool,
}

impl DeviceFile {
    /// Without an option and without a name, there may be no Home Assistant.
    pub fn has_event_entity(&self) -> bool {
        self.is_named || !self.names.names().is_empty()
    }
}

impl MqttSink {
    /// Applies a changed file of names: publishes the devices that it has now, and removes the others from the broker.
    pub(super) fn apply_changed_names(&mut self) -> SinkResult {
        let DeviceFile { names, .. } = &self.names;
        if !names.take_changed() {
            return Ok(());
        }
        let (new, now) = (self.devices.rename(&names.names()), UnixTime::now().seconds());
        for mac in new {
            recall(&mut self.devices, &mut self.memory, mac, now)?;
        }
        self.devices.set_claimed_names(&self.claimed);
        self.has_event_entity = self.names.has_event_entity();
        self.rules.known = self.devices.names();
        let applied = self.memory.apply_names(&self.rules.named_macs());
        let published = applied.and_then(|()| self.publish_retained());
        published.inspect_err(|_| self.names.names.set_changed())
    }
}
