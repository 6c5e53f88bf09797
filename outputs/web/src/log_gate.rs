//! Bounds the lines of the log that anyone can cause. No I/O and no clock.

use std::time::{Duration, Instant};

/// So many lines within this time; of further ones the number.
const LINES: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// The lines of the last minute.
#[derive(Debug, Default)]
pub struct LogGate {
    begun: Option<Instant>,
    lines: u32,
    omitted: u64,
}

impl LogGate {
    /// Whether a line may be logged, and then how many were not since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= WINDOW) {
            (self.begun, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.omitted += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_are_counted() {
        let (mut gate, now) = (LogGate::default(), Instant::now());
        let admitted = (0..LINES + 40).filter(|_| gate.admit(now) == Some(0)).count();
        assert_eq!(admitted, LINES as usize);
        assert_eq!(gate.admit(now + WINDOW / 2), None);
        assert_eq!(gate.admit(now + WINDOW), Some(41));
        assert_eq!(gate.admit(now + WINDOW), Some(0));
    }
}
