//! Pauses between retries: each is twice as long as the one before, up to a limit.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    time::Duration,
};

/// The pauses between retries of one operation.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins with `first` and doubles up to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, failures: 0 }
    }

    /// Counts a failure; returns how long to wait before the next try.
    pub fn pause(&mut self) -> Duration {
        let pause = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        pause
    }

    /// The same, shortened at random: see [`jittered`].
    pub fn jittered_pause(&mut self) -> Duration {
        jittered(self.pause())
    }

    /// The operation succeeded: after the next failure the pauses begin with the first one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Whether the last try failed.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

/// Half of a pause or more, at random: many programs that lost a server at the same moment return one after the other.
pub fn jittered(pause: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() as u32; // each state has other keys
    pause / 2 + (pause / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

impl Default for Backoff {
    /// From one second to one minute.
    fn default() -> Backoff {
        Backoff::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit() {
        let mut backoff = Backoff::default();
        assert!(!backoff.is_failing());
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.pause().as_secs(), 60);
        assert!(backoff.is_failing());
        backoff.reset();
        assert_eq!(backoff.pause().as_secs(), 1);
    }

    /// A thousand sensors lose a server in the same moment: their tries after the longest pause are spread over its half. Without
    /// that, all would be in one second.
    #[test]
    fn many_do_not_return_together() {
        let mut of_second = [0; 61];
        for _ in 0..1000 {
            let mut backoff = Backoff::default();
            for _ in 0..8 {
                backoff.pause();
            }
            let pause = backoff.jittered_pause();
            assert!((30..=60).contains(&pause.as_secs()), "{pause:?}");
            of_second[pause.as_secs() as usize] += 1;
        }
        let most = of_second.into_iter().max();
        assert!(most < Some(80), "33 are expected: {of_second:?}");
    }
}
