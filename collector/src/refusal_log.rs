//! `-v`: logs the number of refused frames by reason, at most once a minute.

use std::time::{Duration, Instant};

use shm_layout::Counter;

use crate::info;

/// Frames refused since the last message.
pub struct RefusalLog {
    counts: [u64; Counter::ALL.len()],
    logged: Option<Instant>,
}

impl RefusalLog {
    const INTERVAL: Duration = Duration::from_secs(60);

    /// No frames yet.
    pub fn new() -> RefusalLog {
        RefusalLog { counts: [0; Counter::ALL.len()], logged: None }
    }

    /// Counts a refused frame.
    pub fn count(&mut self, reason: Counter) {
        self.counts[reason as usize] += 1;
    }

    /// Logs the counts if the last message is a minute ago.
    pub fn log_if_due(&mut self) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= Self::INTERVAL) {
            self.log();
        }
    }

    /// Logs the counts, if there are any, and resets them.
    pub fn log(&mut self) {
        let counts = Counter::ALL.iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        let counts: Vec<_> =
            counts.map(|(reason, count)| format!("{count} {}", reason.name())).collect();
        if !counts.is_empty() {
            info(format_args!("frames refused: {}", counts.join(", ")));
            *self = RefusalLog { logged: Some(Instant::now()), ..RefusalLog::new() };
        }
    }
}
