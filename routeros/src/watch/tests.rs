use super::*;
use proptest::prelude::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn watch() -> Watch {
    let mut watch = Watch::new(Pace { settle: s(2), latest: s(30), interval: s(3600) }, []);
    watch.end(s(0), s(0));
    watch
}

fn record(n: u64) -> Record {
    let (time, topics) = (n.to_string(), "system,info".into());
    Record { time, topics, message: format!("item {n} changed by admin{n}"), doubtful: false }
}

#[test]
fn an_export_once_the_changes_have_settled() {
    let mut watch = watch();
    assert_eq!(watch.due(), s(3600));
    assert!(watch.hear(s(10), record(1)));
    assert_eq!(watch.due(), s(12));
    assert!(watch.hear(s(11), record(2)));
    assert_eq!(watch.due(), s(13));
    let (claims, _) = watch.begin();
    assert_eq!(users(&claims), ["admin1", "admin2"]);
    watch.end(s(13), s(14));
    assert_eq!(watch.due(), s(14 + 3600));
}

#[test]
fn under_endless_changes_at_the_latest() {
    let mut watch = watch();
    for second in 0..100 {
        watch.hear(s(100 + second), record(second));
    }
    assert_eq!(watch.due(), s(130));
}

#[test]
fn a_slow_router_rests() {
    let mut watch = watch();
    watch.begin();
    watch.end(s(10), s(14));
    watch.hear(s(14), record(1));
    assert_eq!(watch.due(), s(30), "four times the four seconds that it took");
    let mut watch = Watch::new(Pace { settle: s(2), latest: s(30), interval: s(3600) }, []);
    watch.begin();
    watch.end(s(0), s(10));
    watch.hear(s(10), record(1));
    assert_eq!(watch.due(), s(12), "not after the first one");
}

#[test]
fn lines_heard_before_arm_nothing() {
    let pace = Pace { settle: s(2), latest: s(30), interval: s(3600) };
    let mut watch = Watch::new(pace, [record(1)]);
    watch.end(s(0), s(0));
    assert!(!watch.hear(s(1), record(1)) && watch.due() == s(3600));
    assert!(watch.hear(s(1), record(2)) && !watch.hear(s(1), record(2)));
    let login = Record { topics: "system,info,account".into(), ..record(3) };
    let system = Record { message: "dns changed".into(), ..record(4) };
    assert!(!watch.hear(s(1), login) && !watch.hear(s(1), system));
}

/// RouterOS 6 gives no date: what comes a day later at the same second is new.
#[test]
fn a_daily_change_is_no_repetition() {
    let day = s(24 * 3600);
    let pace = Pace { settle: s(2), latest: s(30), interval: 2 * day };
    let mut watch = Watch::new(pace, [record(1)]);
    watch.end(s(0), s(0));
    assert!(!watch.hear(s(5), record(1)), "what the router repeats");
    assert!(watch.hear(day, record(1)) && !watch.hear(day + s(1), record(1)));
    assert!(watch.hear(2 * day, record(1)));
}

#[test]
fn after_a_refused_export_its_claims_stand() {
    let mut watch = watch();
    watch.hear(s(1), record(1));
    let begun = watch.begin();
    watch.hear(s(4), record(2));
    watch.retry(begun, s(5), s(60));
    assert_eq!(watch.due(), s(65));
    watch.hear(s(6), record(3));
    assert_eq!(watch.due(), s(65), "no sooner for a new line");
    assert_eq!(users(&watch.begin().0), ["admin1", "admin2", "admin3"]);
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
                let (claims, uncounted) = watch.begin();
                prop_assert!(!claims.is_empty());
                seen += claims.len() as u64 + uncounted;
                watch.end(now, now);
                first = None;
            }
            watch.hear(now, record(n as u64));
            let first = *first.get_or_insert(now);
            prop_assert!(watch.due() <= first + s(30));
        }
        let (claims, uncounted) = watch.begin();
        prop_assert_eq!(seen + claims.len() as u64 + uncounted, gaps.len() as u64);
    }
}
