//! How long no daemon followed the routers before this one. The file `.lock` has when the last one was alive: by a clock that is
//! never set, for the same boot, and by the time of day. That is compared after another boot only on a machine whose clock goes on
//! without power: others start with the time that they stored last.

use std::{fs, path::Path};

use aw_service::{FileKind, read_file_text};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// A fault goes on if the daemon was off no longer than this.
const LONGEST_STOP: SignedDuration = SignedDuration::from_hours(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// No daemon ran before, or one of a version that did not store it.
    None,
    For(SignedDuration),
    /// The machine was booted, and its clock may be wrong.
    Unknown,
}

impl Pause {
    /// Whether faults go on: `stopped` is the time at which the router was followed no more, if a daemon wrote that.
    pub fn is_short(self, stopped: Option<Timestamp>, now: Timestamp) -> bool {
        let is_short = |span| (SignedDuration::ZERO..LONGEST_STOP).contains(&span);
        let stopped = stopped.map(|stopped| is_short(now.duration_since(stopped)));
        match self {
            Pause::None => stopped == Some(true),
            Pause::For(span) => is_short(span) && stopped != Some(false),
            Pause::Unknown => false,
        }
    }

    /// "from TIME to TIME", before `start`, if it was long or may have been.
    pub fn text(self, start: Timestamp, local: impl Fn(Timestamp) -> String) -> Option<String> {
        match self {
            Pause::For(span) if span >= LONGEST_STOP => {
                let begin = start.checked_sub(span).unwrap_or(Timestamp::MIN);
                Some(format!("from {} to {}", local(begin), local(start)))
            }
            Pause::Unknown => Some(format!(
                "until {}, and it is unknown how long (the machine was booted, and has no clock that goes on without power)",
                local(start)
            )),
            _ => None,
        }
    }
}

/// When a daemon was alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// The id of the boot; empty if it is unknown.
    boot: String,
    /// Seconds since the boot, with those in which the machine was suspended.
    uptime: i64,
    time: Timestamp,
}

impl Alive {
    /// `boot`: from [`shm_layout::boot_id`].
    pub fn now(boot: &str) -> Alive {
        let uptime = clock_gettime(ClockId::Boottime).tv_sec;
        Alive { boot: boot.into(), uptime, time: Timestamp::now() }
    }

    /// As it is stored, always of the same length for the same boot.
    pub fn text(&self) -> String {
        let boot = if self.boot.is_empty() { "-" } else { &self.boot };
        format!("{boot} {:012} {:012}", self.uptime, self.time.as_second())
    }

    pub fn parse(text: &str) -> Option<Alive> {
        let mut words = text.split_ascii_whitespace();
        let boot = words.next()?.trim_matches('-').to_owned();
        let uptime = words.next()?.parse().ok()?;
        let time = Timestamp::from_second(words.next()?.parse().ok()?).ok()?;
        Some(Alive { boot, uptime, time })
    }

    /// From this time to `now`.
    pub fn pause_until(&self, now: &Alive, is_clock_kept: bool) -> Pause {
        let of_clock = now.time.duration_since(self.time);
        match () {
            () if !self.boot.is_empty() && self.boot == now.boot => {
                Pause::For(SignedDuration::from_secs(now.uptime.saturating_sub(self.uptime)))
            }
            () if is_clock_kept && !of_clock.is_negative() => Pause::For(of_clock),
            () => Pause::Unknown,
        }
    }
}

/// Whether the kernel set its clock at the boot from one that goes on without power.
pub fn is_clock_kept() -> bool {
    let clocks = fs::read_dir("/sys/class/rtc").into_iter().flatten().flatten();
    let is_used = |path: &Path| {
        let text = read_file_text(&path.join("hctosys"), FileKind::State, 100);
        text.is_ok_and(|text| text.trim() == "1")
    };
    clocks.into_iter().any(|clock| is_used(&clock.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(boot: &str, uptime: i64, time: i64) -> Alive {
        Alive { boot: boot.into(), uptime, time: Timestamp::from_second(time).unwrap() }
    }

    #[test]
    fn pauses() {
        let minutes = |n| Pause::For(SignedDuration::from_mins(n));
        let before = alive("a", 600, 100_000);
        assert_eq!(Alive::parse(&before.text()), Some(before.clone()));
        // Of the same boot: the time of day may have been set, forward or back.
        for time in [100_060, 900_000, 5] {
            let now = alive("a", 660, time);
            assert_eq!(before.pause_until(&now, false), minutes(1));
        }
        // Of another one.
        let now = |time| alive("b", 20, time);
        assert_eq!(before.pause_until(&now(100_120), true), minutes(2));
        assert_eq!(before.pause_until(&now(100_120), false), Pause::Unknown);
        assert_eq!(before.pause_until(&now(99_000), true), Pause::Unknown);
        let unknown = alive("", 600, 100_000);
        assert_eq!(Alive::parse(&unknown.text()), Some(unknown.clone()));
        assert_eq!(unknown.pause_until(&alive("", 660, 100_060), false), Pause::Unknown);
    }

    #[test]
    fn texts() {
        let start = Timestamp::from_second(7200).unwrap();
        let text = |pause: Pause| pause.text(start, |time| time.as_second().to_string());
        assert_eq!(text(Pause::For(SignedDuration::from_hours(1))).unwrap(), "from 3600 to 7200");
        assert_eq!(text(Pause::For(SignedDuration::from_secs(3599))), None);
        assert_eq!(text(Pause::None), None);
        assert!(text(Pause::Unknown).unwrap().contains("it is unknown how long"));
    }

    #[test]
    fn short_pauses() {
        let now = Timestamp::from_second(100_000).unwrap();
        let at = |time| Some(Timestamp::from_second(time).unwrap());
        let minute = Pause::For(SignedDuration::from_mins(1));
        for (pause, stopped, is_short) in [
            (minute, None, true),
            (minute, at(99_940), true),
            (minute, at(10), false),      // it was removed long before
            (minute, at(100_900), false), // by another clock
            (Pause::For(LONGEST_STOP), at(99_940), false),
            (Pause::Unknown, at(99_940), false),
            (Pause::None, at(99_940), true),
            (Pause::None, None, false),
        ] {
            assert_eq!(pause.is_short(stopped, now), is_short, "{pause:?} {stopped:?}");
        }
    }
}
