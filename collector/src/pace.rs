//! How long frames may gather before the next look. On a quiet link each frame is delivered at once; on a busy one, to
//! be woken for each costs many times what the frames themselves do.

use std::time::{Duration, Instant};

/// Over how long the rate is measured, at least: a burst does not make a link busy.
const SPAN: Duration = Duration::from_millis(5);
/// Frames a second from which on a link is busy.
const BUSY: f64 = 50_000.0;
/// Frames a second that justify the longest pause; fewer, a shorter one.
const FULL: f64 = 200_000.0;
/// The longest pause; the kernel adds some 50 µs. Three million frames a second do not fill the kernel's buffer in it.
const LONGEST: Duration = Duration::from_micros(500);

/// Measures how busy the links are.
pub struct Pace {
    since: Instant,
    frames: usize,
    pause: Duration,
}

impl Pace {
    pub fn new(now: Instant) -> Pace {
        Pace { since: now, frames: 0, pause: Duration::ZERO }
    }

    /// The pause after a look that found so many frames. The first look after a silence ends all pauses.
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

    /// Looks every so many microseconds, each finding so many frames; the last pause.
    fn looks(
        pace: &mut Pace,
        now: &mut Instant,
        looks: u64,
        micros: u64,
        frames: usize,
    ) -> Duration {
        let look = |_| {
            *now += Duration::from_micros(micros);
            pace.after(frames, *now)
        };
        (0..looks).map(look).last().expect("one look at least")
    }

    #[test]
    fn only_a_link_that_stays_busy_is_paused_for() {
        let mut now = Instant::now();
        let pace = &mut Pace::new(now);
        assert_eq!(looks(pace, &mut now, 100, 1_000, 49), Duration::ZERO); // 49,000 a second
        assert_eq!(looks(pace, &mut now, 1, 1_000_000, 1), Duration::ZERO);
        assert_eq!(looks(pace, &mut now, 100, 5, 1), Duration::ZERO, "a burst of 100");
        assert_eq!(looks(pace, &mut now, 2_000, 5, 1), LONGEST); // 200,000 a second, for 10 ms
        assert_eq!(looks(pace, &mut now, 20, 500, 1_000), LONGEST); // more
        assert_eq!(looks(pace, &mut now, 20, 1_000, 100), LONGEST / 2); // 100,000
        assert_eq!(looks(pace, &mut now, 1, 100_000, 1), Duration::ZERO, "after a silence");
    }
}
