//! How long frames may accumulate into a batch before they are read. On a quiet link each frame is delivered at once; on
//! a busy link a wake-up for each frame would cost many times what processing the frames costs.

use std::time::{Duration, Instant};

/// Shortest time over which the rate is measured: a burst does not make a link busy.
const SPAN: Duration = Duration::from_millis(5);
/// Frames a second above which a link is busy.
const BUSY: f64 = 50_000.0;
/// Frames a second above which the pause is the longest one; at lower rates it is shorter.
const FULL: f64 = 200_000.0;
/// The longest pause, to which the kernel adds about 50 µs. Three million frames a second do not fill the kernel's
/// buffer in that time.
const LONGEST: Duration = Duration::from_micros(500);

/// Measures the rate of frames, and chooses the pause between two reads.
pub struct BatchPause {
    since: Instant,
    frames: usize,
    pause: Duration,
}

impl BatchPause {
    pub fn new(now: Instant) -> BatchPause {
        BatchPause { since: now, frames: 0, pause: Duration::ZERO }
    }

    /// The pause after a read that returned this many frames. The first read after a quiet time ends the pauses.
    pub fn after(&mut self, frames: usize, now: Instant) -> Duration {
        self.frames += frames;
        let span = now.duration_since(self.since);
        if span >= SPAN {
            let rate = self.frames as f64 / span.as_secs_f64();
            self.pause =
                if rate < BUSY { Duration::ZERO } else { LONGEST.mul_f64((rate / FULL).min(1.0)) };
            self.since = now;
            self.frames = 0;
        }
        self.pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads every `micros` microseconds, each time `frames` frames; returns the last pause.
    fn read(
        batch_pause: &mut BatchPause,
        now: &mut Instant,
        reads: u64,
        micros: u64,
        frames: usize,
    ) -> Duration {
        let read = |_| {
            *now += Duration::from_micros(micros);
            batch_pause.after(frames, *now)
        };
        (0..reads).map(read).last().expect("at least one read")
    }

    #[test]
    fn only_a_link_that_stays_busy_gets_pauses() {
        let mut now = Instant::now();
        let batch_pause = &mut BatchPause::new(now);
        assert_eq!(read(batch_pause, &mut now, 100, 1_000, 49), Duration::ZERO); // 49,000 a second
        assert_eq!(read(batch_pause, &mut now, 1, 1_000_000, 1), Duration::ZERO);
        assert_eq!(read(batch_pause, &mut now, 100, 5, 1), Duration::ZERO, "a burst of 100");
        assert_eq!(read(batch_pause, &mut now, 2_000, 5, 1), LONGEST); // 200,000 a second, for 10 ms
        assert_eq!(read(batch_pause, &mut now, 20, 500, 1_000), LONGEST); // more
        assert_eq!(read(batch_pause, &mut now, 20, 1_000, 100), LONGEST / 2); // 100,000
        assert_eq!(
            read(batch_pause, &mut now, 1, 100_000, 1),
            Duration::ZERO,
            "after a quiet time"
        );
    }
}
