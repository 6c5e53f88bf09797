//! What `-v` says of refused frames: once a minute at most, however many there are.

use std::time::{Duration, Instant};

use shm_layout::Counter;

use crate::info;

/// Frames refused since they were last told.
pub struct Refusals {
    counts: [u64; Counter::ALL.len()],
    told: Option<Instant>,
}

impl Refusals {
    const PAUSE: Duration = Duration::from_secs(60);

    /// None yet.
    pub fn new() -> Refusals {
        Refusals { counts: [0; Counter::ALL.len()], told: None }
    }

    /// Counts one.
    pub fn add(&mut self, reason: Counter) {
        self.counts[reason as usize] += 1;
    }

    /// Tells what there is to tell, if it is time to.
    pub fn tell_if_due(&mut self) {
        if self.told.is_none_or(|told| told.elapsed() >= Self::PAUSE) {
            self.tell();
        }
    }

    /// Tells what there is to tell.
    pub fn tell(&mut self) {
        let counts = Counter::ALL.iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        let counts: Vec<_> =
            counts.map(|(reason, count)| format!("{count} {}", reason.name())).collect();
        if !counts.is_empty() {
            info(format_args!("frames refused: {}", counts.join(", ")));
            *self = Refusals { told: Some(Instant::now()), ..Refusals::new() };
        }
    }
}
