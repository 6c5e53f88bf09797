//! How long to wait before a router is tried again.

use std::time::Duration;

/// Twice as long each time, up to a minute; back to the start once a connection has held.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A connection that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

impl Backoff {
    /// The pause after a failure or the end of a connection that lasted so long. `chance`, 0 to 255,
    /// spreads the attempts of many routers: from half the pause to all of it.
    pub fn pause(&mut self, lasted: Duration, chance: u8) -> Duration {
        if lasted >= GOOD {
            self.failures = 0;
        }
        let pause = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        pause / 2 + pause / 2 * u32::from(chance) / 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_each_time_and_spread() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause(Duration::ZERO, 255).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(backoff.pause(Duration::ZERO, 0), LONGEST / 2);
        assert_eq!(backoff.pause(GOOD, 255), FIRST);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.pause(Duration::ZERO, 255), LONGEST);
    }
}
