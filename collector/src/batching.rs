//! When frames are read: at once after a silence, and while more keep coming, together with those of a short time. A
//! wake-up costs many times what processing a frame costs, here and in each reader.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    thread::{NanosleepRelativeResult, nanosleep},
    time::Timespec,
};

/// Wake-ups that a silence saves: so many frames that follow a silence one after the other are read at once, too.
const SAVED: u32 = 8;
/// Seconds in which other programs may have the processor: the buffer has room for the frames of a pause and of this time.
/// What is left of the buffer is for the pause by half.
const RESERVE: f64 = 0.010;
/// The part of a buffer that a pause may fill in any case. With a usual buffer, this is more at 300,000 frames a second and above.
const FILL: f64 = 0.125;
/// Frames a second that may come at any moment, after a quiet time, too: they fill the smallest buffer during a pause at most.
const SUDDEN: f64 = 100_000.0;
/// Shortest time over which the rate is measured: a few frames that follow each other closely are no high rate. At 20,000
/// frames a second, one more or less in this time does not shorten a pause.
const SPAN: Duration = Duration::from_micros(200);
/// After this time the highest rate counts half.
const MEMORY: Duration = Duration::from_millis(50);

/// Limits the wake-ups to one in each time span on average, at any rate of frames. A frame waits for no longer than this
/// time.
pub struct WakeLimit {
    interval: Duration,
    /// When the next wake-up is due, if there is one in each interval.
    due: Instant,
    /// The rate before this time, in buffers that frames fill in a second, and what they filled since.
    rate: f64,
    since: Instant,
    filled: f64,
}

impl WakeLimit {
    pub fn new(interval: Duration, now: Instant) -> WakeLimit {
        let due = now.checked_sub(interval * SAVED).unwrap_or(now);
        WakeLimit { interval, due, rate: 0.0, since: now, filled: 0.0 }
    }

    /// Counts frames that were read: `fill` is the part of its buffer that they took, where it was most.
    pub fn count(&mut self, fill: f64) {
        self.filled += fill;
    }

    /// The pause after a wake-up, when all frames are read. `room`: the frames that the smallest buffer holds.
    pub fn pause(&mut self, room: usize, now: Instant) -> Duration {
        let earliest = now.checked_sub(self.interval * SAVED).unwrap_or(now);
        self.due = self.due.clamp(earliest, now) + self.interval;
        let full = 1.0 / self.rate(now);
        let seconds = (full * FILL).max((full - RESERVE) / 2.0);
        let seconds = seconds.min(room as f64 / SUDDEN).min(1.0);
        self.due.saturating_duration_since(now).min(Duration::from_secs_f64(seconds))
    }

    /// The present rate, or the highest of the last moments.
    fn rate(&mut self, now: Instant) -> f64 {
        let span = now.duration_since(self.since);
        let before = self.rate / (1.0 + span.div_duration_f64(MEMORY));
        let rate = (self.filled / span.max(SPAN).as_secs_f64()).max(before);
        if span >= SPAN {
            (self.rate, self.since, self.filled) = (rate, now, 0.0);
        }
        rate
    }
}

/// Sleeps while frames arrive that are then read together, and until a signal at most; returns whether it did.
pub fn gather(pause: Duration) -> bool {
    !pause.is_zero() && matches!(nanosleep(&timespec(pause)), NanosleepRelativeResult::Ok)
}

/// Sleeps until this socket has a datagram, and no longer than that; returns whether it has one.
pub fn gather_until(socket: impl AsFd, pause: Duration) -> bool {
    if pause.is_zero() {
        return false;
    }
    let mut sockets = [PollFd::new(&socket, PollFlags::IN)];
    poll(&mut sockets, Some(&timespec(pause))).is_ok_and(|ready| ready > 0)
}

fn timespec(pause: Duration) -> Timespec {
    Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() }
}

/// Reads a time from 0 to 1s, such as 20ms.
pub fn parse_latency(text: &str) -> Result<Duration, &'static str> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = text[..text.len() - unit.len()].parse::<u32>().ok();
    let time = number.and_then(|number| match unit {
        "" if number == 0 => Some(Duration::ZERO),
        "us" | "µs" => Some(Duration::from_micros(number.into())),
        "ms" => Some(Duration::from_millis(number.into())),
        "s" => Some(Duration::from_secs(number.into())),
        _ => None,
    });
    time.filter(|time| *time <= Duration::from_secs(1)).ok_or("must be 0 to 1s, such as 20ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(20);

    /// Frames that come at these times, in microseconds, until `end`: the number of wake-ups, the delays in milliseconds
    /// in ascending order, and the most frames that were read at once.
    fn read(room: usize, frames: impl IntoIterator<Item = u64>) -> (usize, Vec<u64>, usize) {
        let start = Instant::now();
        let mut limit = WakeLimit::new(INTERVAL, start);
        let (mut wakes, mut delays, mut most) = (0, Vec::new(), 0);
        let mut frames = frames.into_iter().peekable();
        let mut now = 0;
        while let Some(next) = frames.peek() {
            now = now.max(*next);
            let mut number = 0;
            while let Some(frame) = frames.next_if(|frame| *frame <= now) {
                delays.push((now - frame) / 1000);
                number += 1;
            }
            (wakes, most) = (wakes + 1, most.max(number));
            let at = start + Duration::from_micros(now);
            now += 10; // for reading
            limit.count(number as f64 / room as f64);
            now += limit.pause(room, at).as_micros() as u64;
        }
        delays.sort_unstable();
        (wakes, delays, most)
    }

    /// So many a second, for ten seconds.
    fn steady(rate: u64) -> impl Iterator<Item = u64> {
        (0..10 * rate).map(move |number| number * 1_000_000 / rate)
    }

    #[test]
    fn a_datagram_ends_a_pause() {
        use std::net::UdpSocket;
        let [receiver, sender] = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
        let pause = |pause| gather_until(&receiver, pause);
        assert!(!pause(Duration::ZERO) && !pause(Duration::from_micros(1)));
        sender.send_to(b"x", receiver.local_addr().unwrap()).unwrap();
        assert!(pause(Duration::from_secs(3600)));
    }

    #[test]
    fn wake_ups_are_limited_at_any_rate() {
        for rate in [1, 10, 40, 50, 51, 60, 100, 1_000, 10_000, 20_000] {
            let (wakes, delays, most) = read(4096, steady(rate));
            assert!(wakes <= 10 * 50 + SAVED as usize + 1, "{rate}/s: {wakes}");
            assert!(delays[delays.len() - 1] <= 20, "{rate}/s: {delays:?}");
            assert!(most as u64 <= rate / 50 + 1, "{rate}/s: {most}");
            if rate <= 50 {
                assert_eq!(delays[delays.len() - 1], 0, "{rate}/s: at once");
            }
        }
    }

    /// At random times, so many a second on average, for a hundred seconds.
    fn random(rate: u64) -> Vec<u64> {
        let (mut state, mut now) = (1_u64, 0.0);
        let next = std::iter::from_fn(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let uniform = ((state >> 11) + 1) as f64 / (1_u64 << 53) as f64;
            now -= uniform.ln() / rate as f64 * 1e6;
            Some(now as u64)
        });
        next.take_while(|time| *time < 100_000_000).collect()
    }

    /// No rate is a threshold: the delay grows with it, and up to 50 frames a second most are read at once.
    #[test]
    fn the_delay_grows_with_the_rate_without_a_jump() {
        let mut before = 0;
        for rate in (10..=200).step_by(5) {
            let (_, delays, _) = read(4096, random(rate));
            let mean = delays.iter().sum::<u64>() / delays.len() as u64;
            assert!((before.max(1) - 1..=before + 2).contains(&mean), "{rate}/s: {before}, {mean}");
            assert!(rate > 50 || delays[delays.len() / 2] == 0, "{rate}/s: {delays:?}");
            before = mean;
        }
    }

    #[test]
    fn latencies() {
        for (text, micros) in
            [("0", 0), ("0s", 0), ("500us", 500), ("20ms", 20_000), ("1s", 1_000_000)]
        {
            assert_eq!(parse_latency(text), Ok(Duration::from_micros(micros)), "{text}");
        }
        for text in ["", "20", "-1ms", "ms", "1.5ms", "2s", "1001ms", "1m", "é", "99999999999ms"] {
            assert!(parse_latency(text).is_err(), "{text}");
        }
    }

    /// The first frames after a silence, as of a host that starts.
    #[test]
    fn a_few_frames_after_a_silence_are_read_at_once() {
        let starts = (0..10).flat_map(|second| (0..8).map(move |n| second * 1_000_000 + n * 200));
        let (wakes, delays, _) = read(4096, starts);
        assert_eq!((wakes, delays[79]), (80, 0));
    }

    /// What comes faster than expected, even all at once, fills no buffer: not after a quiet time, not in the middle of
    /// steady traffic, not after a pause of the sender.
    #[test]
    fn buffers_do_not_fill() {
        let fast = |from: u64, rate: u64, milliseconds: u64| {
            (0..rate * milliseconds / 1000).map(move |n| from + n * 1_000_000 / rate)
        };
        for rate in [100_000, 200_000, 400_000, 1_000_000] {
            let (wakes, _, most) = read(4096, fast(0, rate, 2_000));
            assert!(most < 4096 && wakes <= rate as usize / 128, "{rate}/s: {most}, {wakes}");
            let gaps = (0..100).flat_map(|n| fast(n * 20_000, rate, 10));
            let (_, _, most) = read(4096, gaps);
            assert!(most < 4096, "{rate}/s with gaps: {most}");
        }
        for (room, rate) in [(4096, 200_000), (512, 25_000), (256, 12_000)] {
            let sudden = steady(1_000).chain(fast(10_000_000, rate, 100));
            let (_, _, most) = read(room, sudden);
            assert!(most < room, "{room}: {most}");
        }
    }
}
