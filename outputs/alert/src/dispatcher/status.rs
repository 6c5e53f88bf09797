//! What `systemctl status` and `--health` have of aw-alert while the run loop can deliver to it.

use std::time::Instant;

use shm_layout::UnixTime;

use super::Dispatcher;
use crate::{check::NO_NAMES, learning_periods};

impl Dispatcher {
    /// What it cannot do or does not do at present: channels that fail, a configuration that is not applied, names that no ring has, and
    /// what it learns.
    pub(super) fn shown_in_status(&self) -> Option<String> {
        let channels = self.config.channel.iter().zip(&self.queues);
        let failing = channels.filter_map(|(channel, queue)| {
            let why = queue.failure.as_ref().filter(|_| queue.is_failing())?;
            Some(format!("channel {}: {why}{}", channel.name, queue.next_try()))
        });
        let shown = failing.chain(self.options.config_file.changed());
        let shown = shown.chain(self.lacks_names().then(|| NO_NAMES.to_owned()));
        let learning = learning_periods::short(&self.periods, self.rules.show_ring);
        let shown: Vec<_> = shown.chain(learning).collect();
        Some(shown.join("; ")).filter(|text| !text.is_empty())
    }

    /// The channels that send nothing for minutes: since when, and why.
    pub(super) fn stuck_channels(&self) -> Option<(i64, String)> {
        let (now, time) = (Instant::now(), UnixTime::now().seconds());
        let channels = self.config.channel.iter().zip(&self.queues);
        let stuck = channels.filter_map(|(channel, queue)| {
            let why = queue.failure.as_deref().unwrap_or_default();
            Some((queue.stuck(now)?, format!("channel {} sends nothing: {why}", channel.name)))
        });
        let (seconds, each): (Vec<_>, Vec<_>) = stuck.unzip();
        // In steps, so that it is the same time at each call.
        let since = |longest: &u64| (time - *longest as i64) / 60 * 60;
        Some((seconds.iter().max().map(since)?, each.join("; ")))
    }
}
