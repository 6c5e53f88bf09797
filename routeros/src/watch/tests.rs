use super::*;
use proptest::prelude::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn watch() -> Watch {
    let mut watch = new();
    watch.end(s(0), s(0));
    watch
}

fn new() -> Watch {
    Watch::new(Pace { settle: s(2), latest: s(30), interval: s(3600) }, Claims::default())
}

/// What the next export may show, of whom it is.
fn begin(watch: &mut Watch) -> Vec<String> {
    watch.begin();
    users(&watch.shown().kept).into_iter().map(str::to_owned).collect()
}

fn record(n: u64) -> Record {
    let (time, topics) = (n.to_string(), "system,info".into());
    Record { time, topics, message: format!("item {n} changed by admin{n}"), doubtful: false }
}

#[test]
fn an_export_once_the_changes_have_settled() {
    let mut watch = watch();
    assert_eq!(watch.due(), s(3600));
    assert!(watch.hear(s(10), &record(1)));
    assert_eq!(watch.due(), s(12));
    assert!(watch.hear(s(11), &record(2)));
    assert_eq!(watch.due(), s(13));
    assert_eq!(begin(&mut watch), ["admin1", "admin2"]);
    watch.end(s(13), s(14));
    assert_eq!(watch.due(), s(14 + 3600));
}

#[test]
fn under_endless_changes_at_the_latest() {
    let mut watch = watch();
    for second in 0..100 {
        watch.hear(s(100 + second), &record(second));
    }
    assert_eq!(watch.due(), s(130));
}

#[test]
fn a_slow_router_rests() {
    let mut watch = watch();
    watch.begin();
    watch.end(s(10), s(14));
    watch.hear(s(14), &record(1));
    assert_eq!(watch.due(), s(30), "four times the four seconds that it took");
    let mut watch = new();
    watch.begin();
    watch.end(s(0), s(10));
    watch.hear(s(10), &record(1));
    assert_eq!(watch.due(), s(12), "not after the first one");
}

#[test]
fn lines_heard_before_arm_nothing() {
    let mut watch = watch();
    watch.know(s(0), &record(1));
    assert!(!watch.hear(s(1), &record(1)) && watch.due() == s(3600));
    assert!(watch.hear(s(1), &record(2)) && !watch.hear(s(1), &record(2)));
    let login = Record { topics: "system,info,account".into(), ..record(3) };
    let system = Record { message: "dns changed".into(), ..record(4) };
    assert!(!watch.hear(s(1), &login) && !watch.hear(s(1), &system));
}

/// RouterOS 6 gives no date: what comes a day later at the same second is new.
#[test]
fn a_daily_change_is_no_repetition() {
    let day = s(24 * 3600);
    let pace = Pace { settle: s(2), latest: s(30), interval: 2 * day };
    let mut watch = Watch::new(pace, Claims::default());
    watch.know(s(0), &record(1));
    watch.end(s(0), s(0));
    assert!(!watch.hear(s(5), &record(1)), "what the router repeats");
    assert!(watch.hear(day, &record(1)) && !watch.hear(day + s(1), &record(1)));
    assert!(watch.hear(2 * day, &record(1)));
}

#[test]
fn after_a_refused_export_its_claims_stand() {
    let mut watch = watch();
    watch.hear(s(1), &record(1));
    watch.begin();
    watch.hear(s(4), &record(2));
    watch.retry(s(5), s(60));
    assert_eq!(watch.due(), s(65));
    watch.hear(s(6), &record(3));
    assert_eq!(watch.due(), s(65), "no sooner for a new line");
    assert_eq!(begin(&mut watch), ["admin1", "admin2", "admin3"]);
}

/// The connection ends while the changes settle: whoever made them is credited after the next one.
#[test]
fn claims_outlive_the_connection() {
    let mut first = watch();
    first.hear(s(1), &record(1));
    first.begin();
    first.hear(s(2), &record(2));
    let mut second = Watch::new(first.pace, first.leave());
    second.know(s(0), &record(1));
    assert!(!second.hear(s(0), &record(1)) && second.due() == s(0));
    second.settle(s(1));
    assert_eq!(second.due(), s(3), "it may have been a moment ago");
    assert_eq!(begin(&mut second), ["admin1", "admin2"]);
    second.end(s(0), s(1));
    assert!(second.leave().kept.is_empty());
}

/// However long the lines are and however often exports fail, what is kept is bounded and the rest counted.
#[test]
fn claims_are_bounded() {
    let mut watch = watch();
    for n in 0..2_000_u64 {
        let mut long = record(n);
        long.message.insert_str(0, &"x".repeat(n as usize % 3 * 30_000));
        assert!(watch.hear(s(n), &long));
        if n % 100 == 99 {
            watch.begin();
            watch.retry(s(n), s(1));
        }
    }
    let claims = watch.leave();
    let bytes: usize = claims.kept.iter().map(|claim| claim.message.len()).sum();
    assert!(bytes <= LARGEST_CLAIMS / 2 && claims.kept.len() <= MOST_CLAIMS, "{bytes}");
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
    /// A change waits no longer than `latest`, and no claim is lost uncounted.
    #[test]
    fn a_change_is_never_forgotten(gaps in prop::collection::vec(0..5_000_u64, 1..700)) {
        let mut watch = watch();
        let mut now = Duration::ZERO;
        let (mut seen, mut first) = (0, None);
        for (n, gap) in gaps.iter().enumerate() {
            now += Duration::from_millis(*gap);
            if watch.due() <= now {
                watch.begin();
                let claims = watch.shown();
                prop_assert!(!claims.kept.is_empty());
                seen += claims.kept.len() as u64 + claims.further;
                watch.end(now, now);
                first = None;
            }
            watch.hear(now, &record(n as u64));
            let first = *first.get_or_insert(now);
            prop_assert!(watch.due() <= first + s(30));
        }
        let claims = watch.leave();
        prop_assert_eq!(seen + claims.kept.len() as u64 + claims.further, gaps.len() as u64);
    }
}

/// What is heard while an export is taken may be about a change behind it: after a restart it names whom it named.
#[test]
fn a_line_heard_during_an_export_is_not_yet_shown() {
    let mut watch = watch();
    let line = |n| Some((record(n).time, record(n).message));
    assert_eq!(watch.newest_begun(), None);
    watch.hear(s(10), &record(1));
    watch.begin();
    watch.hear(s(12), &record(2));
    assert_eq!((watch.newest_begun().cloned(), watch.newest().cloned()), (line(1), line(2)));
    watch.end(s(12), s(13));
    watch.begin();
    assert_eq!(watch.newest_begun().cloned(), line(2));
}
