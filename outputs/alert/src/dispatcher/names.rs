//! Names that change while aw-alert runs.

use aw_output::SinkResult;

use super::Dispatcher;

impl Dispatcher {
    /// Gives the rules the names as they are now.
    pub(super) fn apply_names(&mut self) -> SinkResult {
        let imported = self.store.names()?;
        (self.rules.known, self.rules.allows_unnamed) = self.options.names.all(imported);
        self.store.memory.apply_names(&self.rules.named_macs())
    }

    /// The same if a file of names changed.
    pub(super) fn apply_changed_names(&mut self) -> SinkResult {
        if !self.options.names.take_changed() {
            return Ok(());
        }
        self.apply_names().inspect_err(|_| self.options.names.set_changed())
    }
}
