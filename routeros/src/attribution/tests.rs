use super::{
    claim::{MAX_CLAIMS, MAX_CLAIMS_BYTES},
    *,
};
use proptest::prelude::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const TIMING: ExportTiming = ExportTiming { settle: s(2), latest: s(30), interval: s(3600) };

/// After the first complete export.
fn attribution() -> Attribution {
    let mut attribution = new();
    attribution.export_complete(s(0), s(0));
    attribution
}

fn new() -> Attribution {
    Attribution::new(TIMING, Claims::default())
}

/// Begins an export, and returns the users whose changes it may show.
fn begin(attribution: &mut Attribution) -> Vec<String> {
    attribution.export_began();
    users(&attribution.pending().kept).into_iter().map(str::to_owned).collect()
}

fn record(n: u64) -> LogRecord {
    let (time, topics) = (n.to_string(), "system,info".into());
    LogRecord { time, topics, message: format!("item {n} changed by admin{n}"), doubtful: false }
}

#[test]
fn an_export_once_the_changes_have_settled() {
    let mut attribution = attribution();
    assert_eq!(attribution.schedule.due(), s(3600));
    assert!(attribution.observe(s(10), &record(1)));
    assert_eq!(attribution.schedule.due(), s(12));
    assert!(attribution.observe(s(11), &record(2)));
    assert_eq!(attribution.schedule.due(), s(13));
    assert_eq!(begin(&mut attribution), ["admin1", "admin2"]);
    attribution.export_complete(s(13), s(14));
    assert_eq!(attribution.schedule.due(), s(14 + 3600));
}

#[test]
fn endless_changes_delay_an_export_to_the_limit() {
    let mut attribution = attribution();
    for second in 0..100 {
        attribution.observe(s(100 + second), &record(second));
    }
    assert_eq!(attribution.schedule.due(), s(130));
}

#[test]
fn a_slow_router_rests() {
    let mut attribution = attribution();
    attribution.export_began();
    attribution.export_complete(s(10), s(14));
    attribution.observe(s(14), &record(1));
    assert_eq!(attribution.schedule.due(), s(30), "four times the four seconds that it took");
    let mut attribution = new();
    attribution.export_began();
    attribution.export_complete(s(0), s(10));
    attribution.observe(s(10), &record(1));
    assert_eq!(attribution.schedule.due(), s(12), "not after the first one");
}

#[test]
fn repeated_lines_schedule_no_export() {
    let mut attribution = attribution();
    attribution.remember(s(0), &record(1));
    assert!(!attribution.observe(s(1), &record(1)) && attribution.schedule.due() == s(3600));
    assert!(attribution.observe(s(1), &record(2)) && !attribution.observe(s(1), &record(2)));
    let login = LogRecord { topics: "system,info,account".into(), ..record(3) };
    let system = LogRecord { message: "dns changed".into(), ..record(4) };
    assert!(!attribution.observe(s(1), &login) && !attribution.observe(s(1), &system));
}

/// A full log is a thousand records, and there may be hundreds of routers: 8 bytes each, and nothing after a minute.
#[test]
fn a_full_log_takes_little_memory() {
    let mut attribution = attribution();
    for n in 0..2 * REMEMBERED {
        let message = format!("{n}");
        attribution.remember(s(0), &LogRecord { message, ..record(1) });
    }
    assert!(attribution.stored.len() == REMEMBERED && attribution.stored.capacity() <= 1_024);
    attribution.export_complete(s(0), s(60));
    assert_eq!(attribution.stored.len(), REMEMBERED);
    attribution.export_complete(s(0), s(61));
    assert_eq!(attribution.stored.capacity(), 0);
}

/// RouterOS 6 prints no date: the same line a day later is new.
#[test]
fn a_daily_change_is_no_repetition() {
    let day = s(24 * 3600);
    let timing = ExportTiming { settle: s(2), latest: s(30), interval: 2 * day };
    let mut attribution = Attribution::new(timing, Claims::default());
    attribution.remember(s(0), &record(1));
    attribution.export_complete(s(0), s(0));
    assert!(!attribution.observe(s(5), &record(1)), "a repetition");
    assert!(attribution.observe(day, &record(1)) && !attribution.observe(day + s(1), &record(1)));
    assert!(attribution.observe(2 * day, &record(1)));
}

/// The clock of the router was set back: the same user does the same at the same second once more. Several logging actions
/// write a change at the same moment.
#[test]
fn a_clock_that_was_set_back_hides_no_line() {
    let mut attribution = attribution();
    assert!(attribution.observe(s(10), &record(1)) && !attribution.observe(s(10), &record(1)));
    assert!(attribution.observe(s(16), &record(1)), "six seconds later");
    attribution.export_began();
    assert!(attribution.observe(s(16), &record(1)), "the export that began may lack it");
    assert!(!attribution.observe(s(17), &record(1)));
    assert_eq!(attribution.pending().kept.len(), 3);
}

#[test]
fn the_claims_of_a_failed_export_stay_pending() {
    let mut attribution = attribution();
    attribution.observe(s(1), &record(1));
    attribution.export_began();
    attribution.observe(s(4), &record(2));
    attribution.export_failed(s(5), s(60));
    assert_eq!(attribution.schedule.due(), s(65));
    attribution.observe(s(6), &record(3));
    assert_eq!(attribution.schedule.due(), s(65), "no sooner for a new line");
    assert_eq!(begin(&mut attribution), ["admin1", "admin2", "admin3"]);
}

/// The connection ends before the export: its claims are credited after the next connection.
#[test]
fn claims_outlive_the_connection() {
    let mut first = attribution();
    first.observe(s(1), &record(1));
    first.export_began();
    first.observe(s(2), &record(2));
    let mut second = Attribution::new(TIMING, first.pending());
    second.remember(s(0), &record(1));
    assert!(!second.observe(s(0), &record(1)) && second.schedule.due() == s(0));
    second.schedule.delay_first(s(1));
    assert_eq!(second.schedule.due(), s(3), "it may have been a moment ago");
    assert_eq!(begin(&mut second), ["admin1", "admin2"]);
    second.export_complete(s(0), s(1));
    assert!(second.pending().kept.is_empty());
}

/// Claims stay bounded with long lines and failing exports; further ones are counted.
#[test]
fn claims_are_bounded() {
    let mut attribution = attribution();
    for n in 0..2_000_u64 {
        let mut long = record(n);
        long.message.insert_str(0, &"x".repeat(n as usize % 3 * 30_000));
        assert!(attribution.observe(s(n), &long));
        if n % 100 == 99 {
            attribution.export_began();
            attribution.export_failed(s(n), s(1));
        }
    }
    let claims = attribution.pending();
    let bytes: usize = claims.kept.iter().map(|claim| claim.message.len()).sum();
    assert!(bytes <= MAX_CLAIMS_BYTES / 2 && claims.kept.len() <= MAX_CLAIMS, "{bytes}");
    assert_eq!(claims.kept.len() as u64 + claims.further, 2_000);
}

#[test]
fn times_without_a_date() {
    for (one, other, same) in [
        ("12:33:18", "sep/15 12:33:18", true),
        ("sep/15 12:33:18", "sep/15/2025 12:33:18", true),
        ("2025-08-15 00:47:51", "2025-08-15 00:47:51", true),
        ("2025-08-15 00:47:51", "2025-08-16 00:47:51", false),
        ("sep/1 12:33:18", "sep/15 12:33:18", false),
        ("12:33:18", "12:33:19", false),
    ] {
        assert_eq!(
            (is_same_time(one, other), is_same_time(other, one)),
            (same, same),
            "{one} {other}"
        );
    }
}

proptest! {
    /// A change waits no longer than `latest`, and each claim is kept or counted.
    #[test]
    fn each_claim_is_kept_or_counted(gaps in prop::collection::vec(0..5_000_u64, 1..700)) {
        let mut attribution = attribution();
        let mut now = Duration::ZERO;
        let (mut seen, mut first) = (0, None);
        for (n, gap) in gaps.iter().enumerate() {
            now += Duration::from_millis(*gap);
            if attribution.schedule.due() <= now {
                attribution.export_began();
                let claims = attribution.pending();
                prop_assert!(!claims.kept.is_empty());
                seen += claims.kept.len() as u64 + claims.further;
                attribution.export_complete(now, now);
                first = None;
            }
            attribution.observe(now, &record(n as u64));
            let first = *first.get_or_insert(now);
            prop_assert!(attribution.schedule.due() <= first + s(30));
        }
        let claims = attribution.pending();
        prop_assert_eq!(seen + claims.kept.len() as u64 + claims.further, gaps.len() as u64);
    }
}

/// A line received during an export may be about a change after it: after a restart it is a candidate again.
#[test]
fn a_line_received_during_an_export_is_not_settled() {
    let mut attribution = attribution();
    let line = |n| Some((record(n).time, record(n).message));
    assert_eq!(attribution.newest_exported(), None);
    attribution.observe(s(10), &record(1));
    attribution.export_began();
    attribution.observe(s(12), &record(2));
    assert_eq!(
        (attribution.newest_exported().cloned(), attribution.newest().cloned()),
        (line(1), line(2))
    );
    attribution.export_complete(s(12), s(13));
    attribution.export_began();
    assert_eq!(attribution.newest_exported().cloned(), line(2));
}
