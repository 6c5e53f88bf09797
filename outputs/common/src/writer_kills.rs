//! Collectors that were killed or crashed, in words: one text for `--health`, alerts, status lines and pages. `Kills` of the ring decides
//! what a crash loop is.

use std::time::Duration;

use jiff::{Timestamp, Zoned, tz::TimeZone};
use shm_layout::{Kill, Kills};

use crate::RingState;

/// That the collector of a ring was killed or crashed again and again, with a remedy; none if it was not.
pub(crate) fn crash_loop_fault(state: &RingState) -> Option<String> {
    crash_loop(&state.kills, state.silent_since.is_some(), state.is_running)
}

/// `captures`: the ring's writer is a collector.
pub(crate) fn crash_loop(kills: &Kills, captures: bool, is_running: bool) -> Option<String> {
    let ends = kills.crash_loop()?;
    let (times, since) = (Kills::times(ends), date(kills.loop_began?));
    let now = match is_running {
        // It may have been stopped and started since.
        true => format!("it was started again at {}, and runs", date(ends.first()?.ago)),
        false => "it does not run".into(),
    };
    let left = Duration::from_secs(3600).saturating_sub(ends.first()?.ago);
    let end = date_of(Timestamp::now().checked_add(left).unwrap_or_default());
    let end = format!("; this is over at {end}, if it does not happen again");
    let what = match captures {
        true => format!(
            "the collector was killed or crashed {times} since {since}; {now}; frames {}were not captured, and no counter has them (a user or, for lack of memory, the system killed it: journalctl -k | grep -i oom, or dmesg; or it has a fault, or a frame crashes it: journalctl -u 'addrwatch-collector@*')",
            of_gaps(ends)
        ),
        false => format!(
            "the program that writes this ring was killed or crashed {times} since {since}; {now} (its log has the cause; of a lack of memory: journalctl -k | grep -i oom, or dmesg)"
        ),
    };
    Some(what + &end)
}

/// What to do about a writer without a heartbeat: its supervisor would have started it again by then.
pub(crate) fn not_started_again(captures: bool) -> &'static str {
    match captures {
        true => {
            "it was not started again, or it hangs: journalctl -u addrwatch-collector@INTERFACE has why; then systemctl restart addrwatch-collector@INTERFACE"
        }
        false => "it was not started again, or it hangs: its log has why; then start it again",
    }
}

/// `captures`: of a collector.
pub(crate) fn writer_of(captures: bool) -> &'static str {
    if captures { "the collector" } else { "the program that writes this ring" }
}

/// The same of a few, which are no fault: none in a crash loop.
pub(crate) fn recent_kills(kills: &Kills, captures: bool) -> Option<String> {
    let recent = kills.recent();
    let newest = recent.first().filter(|_| kills.crash_loop().is_none())?;
    let what = writer_of(captures);
    let (times, at) = (Kills::times(recent), date(newest.ago));
    Some(format!(
        "{what} was killed or crashed {times} within the last hour, and was started again at {at}"
    ))
}

/// Either of them in a few words, for a status line.
pub(crate) fn kills_status(kills: &Kills) -> Option<String> {
    let ends = kills.crash_loop().unwrap_or(kills.recent());
    let (newest, times) = (ends.first()?, Kills::times(ends));
    let at = date(newest.ago);
    Some(format!("its collector was killed or crashed {times}, and was started again at {at}"))
}

/// `of 14 s in all `; each time begins at the last heartbeat, so it is a second too long at most.
fn of_gaps(ends: &[Kill]) -> String {
    let all: Option<Duration> = ends.iter().map(|end| end.gap).sum();
    all.map_or("of that time ".into(), |all| {
        format!("of at most {} s in all ", all.as_millis().div_ceil(1000))
    })
}

/// The local time so long ago.
fn date(ago: Duration) -> String {
    date_of(Timestamp::now().checked_sub(ago).unwrap_or_default())
}

fn date_of(time: Timestamp) -> String {
    Zoned::new(time, TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A writer was killed these seconds ago, each time for two and a half.
    pub fn kills(seconds: &[u64]) -> Kills {
        let gap = Some(Duration::from_millis(2500));
        let kill = |ago: &u64| Kill { ago: Duration::from_secs(*ago), gap };
        let (number, last) = (seconds.len() as u64, seconds.iter().map(kill).collect());
        let began = seconds.last().filter(|_| number >= 3);
        Kills { number, last, loop_began: began.map(|ago| Duration::from_secs(*ago)) }
    }

    #[test]
    fn texts() {
        let of = |seconds: &[u64], captures, runs| {
            let kills = kills(seconds);
            (crash_loop(&kills, captures, runs), recent_kills(&kills, captures))
        };
        assert_eq!(of(&[], true, true), (None, None));
        assert_eq!(of(&[3600, 3601, 3602], true, true), (None, None));
        let (None, Some(once)) = of(&[60], true, true) else { panic!("no fault") };
        let begin = "the collector was killed or crashed once within the last hour, and was started again at ";
        assert_eq!(once.strip_prefix(begin), Some(&*date(Duration::from_secs(60))));
        let (Some(fault), None) = of(&[60, 70, 80], true, true) else { panic!("a fault") };
        let [since, last] = [80, 60].map(|ago| date(Duration::from_secs(ago)));
        let begin = format!(
            "the collector was killed or crashed 3 times since {since}; it was started again at {last}, and runs; frames of at most 8 s in all were not captured, "
        );
        assert!(fault.starts_with(&begin), "{fault}");
        let end = date_of(Timestamp::now() + Duration::from_secs(3600 - 60));
        let end = format!("; this is over at {end}, if it does not happen again");
        assert!(fault.ends_with(&end), "{fault}");
        let (Some(fault), None) = of(&[60, 70, 80], false, false) else { panic!("a fault") };
        assert!(fault.contains("; it does not run (") && !fault.contains("frame"), "{fault}");
        let mut unknown = kills(&[60, 70, 80]);
        unknown.last[1].gap = None;
        let fault = crash_loop(&unknown, true, true).unwrap();
        assert!(fault.contains("; frames of that time were not captured"), "{fault}");
    }
}
