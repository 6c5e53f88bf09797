use super::*;

fn record(user: &str) -> LogRecord {
    LogRecord {
        time: "10:00:00".into(),
        topics: "system,info".into(),
        message: format!("item added by {user}"),
        doubtful: false,
    }
}

fn attribution() -> Attribution {
    let seconds = Duration::from_secs;
    let timing = ExportTiming { settle: seconds(2), latest: seconds(30), interval: seconds(1800) };
    let mut attribution = Attribution::new(timing, Claims::default());
    attribution.export_began();
    attribution.export_complete(seconds(0), seconds(0));
    attribution
}

/// Lines by syslog cause an export every 30 s at most, and delay none that the log causes.
#[test]
fn exports_because_of_syslog() {
    let (mut attribution, at) = (attribution(), Duration::from_secs);
    let mut exports = Vec::new();
    for now in (100..200).map(at) {
        attribution.observe_syslog(now, &record(&format!("eve{now:?}")));
        if attribution.schedule.due() <= now {
            attribution.export_began();
            attribution.export_complete(now, now);
            exports.push(now.as_secs());
        }
    }
    assert_eq!(exports, [102, 132, 162, 192]);
    attribution.observe(at(200), &record("bob"));
    assert_eq!(attribution.schedule.due(), at(202));
}

/// Forged lines leave room for those of the log, and are no line to continue at.
#[test]
fn claims_by_syslog_are_few() {
    let mut attribution = attribution();
    for n in 0..1000 {
        attribution.observe_syslog(Duration::from_secs(1), &record(&format!("eve{n}")));
        attribution.observe_syslog(Duration::from_secs(1), &record("eve0"));
    }
    attribution.observe(Duration::from_secs(1), &record("bob"));
    attribution.observe_syslog(Duration::from_secs(1), &record("mallory"));
    let pending = attribution.pending();
    assert_eq!(pending.kept.iter().filter(|claim| claim.syslog).count(), 30);
    assert_eq!(users(&pending.kept).last(), Some(&"bob"));
    assert_eq!(attribution.newest().unwrap().1, "item added by bob");
    let later = Attribution::new(
        ExportTiming {
            settle: Duration::ZERO,
            latest: Duration::ZERO,
            interval: Duration::from_secs(9),
        },
        pending,
    );
    assert_eq!(later.newest().unwrap().1, "item added by bob");
}

/// A line that the log had names its user once, however late its copy comes; the copy causes no export.
#[test]
fn copies_by_syslog() {
    let (mut attribution, at) = (attribution(), Duration::from_secs);
    attribution.observe(at(100), &record("alice"));
    attribution.export_began();
    attribution.export_complete(at(102), at(103));
    let due = attribution.schedule.due();
    let copy = LogRecord { time: "2026-11-28 10:02:00".into(), doubtful: true, ..record("alice") };
    assert_eq!(attribution.observe_syslog(at(220), &copy), None);
    assert!(attribution.pending().kept.is_empty());
    assert_eq!(attribution.schedule.due(), due);
    // Another line, and the same long after, are claims.
    assert!(attribution.observe_syslog(at(221), &record("bob")).is_some());
    assert!(attribution.observe_syslog(at(1000), &copy).is_some());
}
