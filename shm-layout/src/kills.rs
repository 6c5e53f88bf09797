//! Writers that ended without being stopped: killed, or by a panic. The next writer counts each, and stores when it began, by the clock
//! since the start of the machine, which is never set.

use std::{
    sync::atomic::{AtomicU64, Ordering::*, fence},
    time::Duration,
};

/// So many of the last ones have times.
pub(crate) const MAX_KILLS: usize = 6;
/// So many within an hour are a crash loop. It lasts until an hour after the last one.
const LOOP: usize = 3;
const HOUR: Duration = Duration::from_secs(3600);

/// The writers of a ring that ended without being stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kills {
    /// All since there is this ring.
    pub number: u64,
    /// The last ones, at most six, the newest first.
    pub last: Vec<Kill>,
    /// How long ago the last crash loop began, if its last kill is one of these.
    pub loop_began: Option<Duration>,
}

/// A writer that ended without being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// How long ago the next one began.
    pub ago: Duration,
    /// The time from its last heartbeat to the begin of the next one, so at most a second more than there was none; none if it is not known.
    pub gap: Option<Duration>,
}

impl Kills {
    /// Those of a crash loop, the newest first. A single one may be the work of an administrator, or of a system without memory.
    pub fn crash_loop(&self) -> Option<&[Kill]> {
        let began = self.loop_began?;
        self.last.first().filter(|newest| newest.ago < HOUR)?;
        let number = self.last.iter().take_while(|kill| kill.ago <= began).count();
        Some(&self.last[..number])
    }

    /// Those within the last hour, the newest first.
    pub fn recent(&self) -> &[Kill] {
        let number = self.last.iter().take_while(|kill| kill.ago < HOUR).count();
        &self.last[..number]
    }

    /// Their number in words: `3 times`; `6 times or more` if there is no room for further ones.
    pub fn times(kills: &[Kill]) -> String {
        match kills.len() {
            1 => "once".into(),
            MAX_KILLS.. => format!("{MAX_KILLS} times or more"),
            number => format!("{number} times"),
        }
    }
}

/// What the header has of them: the number, and of each of the last ones two times in nanoseconds since the start of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StoredKills {
    pub number: u64,
    /// The last heartbeat (0 = not known) and the begin of the next writer (0 = free), in any order.
    times: [[u64; 2]; MAX_KILLS],
    /// The first begin of the crash loop that the newest one belongs to; 0 = it belongs to none. The times may have room for its end only.
    loop_began: u64,
}

/// The words of the header.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct KillTimes {
    times: [[AtomicU64; 2]; MAX_KILLS],
    loop_began: AtomicU64,
}

impl StoredKills {
    pub fn load(number: &AtomicU64, words: &KillTimes) -> StoredKills {
        let load = |[beat, begin]: &[AtomicU64; 2]| {
            let begin = begin.load(Relaxed);
            fence(Acquire); // pairs with the release in `store`
            [beat.load(Relaxed), begin]
        };
        let (number, loop_began) = (number.load(Relaxed), words.loop_began.load(Relaxed));
        StoredKills { number, times: words.times.each_ref().map(load), loop_began }
    }

    /// A reader finds a new begin with its heartbeat.
    pub fn store(&self, number: &AtomicU64, words: &KillTimes) {
        number.store(self.number, Relaxed);
        words.loop_began.store(self.loop_began, Relaxed);
        for ([to_beat, to_begin], [beat, begin]) in words.times.iter().zip(&self.times) {
            to_beat.store(*beat, Relaxed);
            to_begin.store(*begin, Release);
        }
    }

    /// Adds one whose last heartbeat was at this time, if that is known, and displaces the oldest one.
    pub fn add(&mut self, beat: Option<u64>, begin: u64) {
        self.number = self.number.saturating_add(1);
        if let Some(oldest) = self.times.iter_mut().min_by_key(|[_, begin]| *begin) {
            *oldest = [beat.unwrap_or(0), begin];
        }
        let mut begins = self.times.map(|[_, begin]| begin);
        begins.sort_by_key(|begin| std::cmp::Reverse(*begin));
        let within =
            |older: u64| older != 0 && begin.saturating_sub(older) < HOUR.as_nanos() as u64;
        if !within(begins[1]) {
            self.loop_began = 0;
        }
        if self.loop_began == 0 && within(begins[LOOP - 1]) {
            self.loop_began = begins[LOOP - 1];
        }
    }

    /// Those of another start of the machine have no times here.
    pub fn forget_times(&mut self) {
        (self.times, self.loop_began) = Default::default();
    }

    /// The same for readers, at this time since the start of the machine.
    pub fn at(&self, now: u64) -> Kills {
        let ago = |begin: u64| {
            let ago = now.checked_sub(begin).filter(|_| begin != 0)?;
            Some(Duration::from_nanos(ago))
        };
        let kill = |[beat, begin]: &[u64; 2]| {
            let ago = ago(*begin)?;
            let gap = begin.checked_sub(*beat).filter(|_| *beat != 0).map(Duration::from_nanos);
            Some(Kill { ago, gap })
        };
        let mut last: Vec<_> = self.times.iter().filter_map(kill).collect();
        last.sort_by_key(|kill| kill.ago);
        Kills { number: self.number, last, loop_began: ago(self.loop_began) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000_000_000;

    /// When a writer ended at these minutes: whether that is a crash loop in each of these minutes, and of how many.
    fn loops(ends: &[u64], minutes: &[u64]) -> Vec<usize> {
        let found = |minute: &u64| {
            let mut stored = StoredKills::default();
            for end in ends.iter().filter(|end| *end <= minute) {
                stored.add(Some(end * MINUTE - 7), end * MINUTE);
            }
            let kills = stored.at(minute * MINUTE);
            kills.crash_loop().map_or(0, <[Kill]>::len)
        };
        minutes.iter().map(found).collect()
    }

    #[test]
    fn three_within_an_hour() {
        assert_eq!(loops(&[100, 101], &[101, 102]), [0, 0]);
        assert_eq!(loops(&[100, 159, 218], &[218]), [0], "not all within an hour");
        let [before, first, last, after] = [129, 159, 218, 219];
        assert_eq!(loops(&[100, 130, 159], &[before, first, last, after]), [0, 3, 3, 0]);
        assert_eq!(
            loops(&[100, 110, 120, 175], &[174, 175, 234, 235]),
            [3, 4, 4, 0],
            "one more ends none"
        );
        let hourly: Vec<_> = (0..9).map(|number| 100 + 50 * number).collect();
        assert_eq!(loops(&hourly, &[200, 500]), [0, 0]);
        // One more ends none, also if there is no room for the begin.
        let minutes = [101, 102, 149, 351, 409, 410];
        let number = loops(&[100, 101, 102, 150, 200, 250, 300, 350], &minutes);
        assert_eq!(number, [0, 3, 3, 6, 6, 0]);
        let many: Vec<_> = (100..200).collect();
        assert_eq!(loops(&many, &[101, 104, 199, 258, 259]), [0, 5, 6, 6, 0]);
    }

    #[test]
    fn words_and_times() {
        let mut stored = StoredKills::default();
        assert_eq!(stored.at(9), Kills::default());
        stored.add(None, 100 * MINUTE);
        let kills = stored.at(130 * MINUTE);
        let minutes = |minutes: u64| Duration::from_nanos(minutes * MINUTE);
        assert_eq!(kills.last, [Kill { ago: minutes(30), gap: None }]);
        assert_eq!((Kills::times(&kills.last), kills.recent().len()), ("once".into(), 1));
        for minute in 141..148 {
            stored.add(Some(140 * MINUTE), minute * MINUTE);
        }
        let kills = stored.at(148 * MINUTE);
        assert_eq!((kills.number, kills.last.len()), (8, 6));
        assert_eq!(kills.last[0], Kill { ago: minutes(1), gap: Some(minutes(7)) });
        assert_eq!(Kills::times(&kills.last), "6 times or more");
        assert_eq!(Kills::times(&kills.last[..3]), "3 times");
        assert_eq!(kills.recent().len(), 6);
        // Of an earlier start of the machine, or not written by this program.
        assert_eq!(stored.at(100 * MINUTE).last, []);
        stored.forget_times();
        assert_eq!(stored.at(148 * MINUTE), Kills { number: 8, ..Kills::default() });
    }
}
