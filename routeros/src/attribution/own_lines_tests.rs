//! Tests of the lines that backups cause.

use super::*;

fn record(message: &str) -> LogRecord {
    LogRecord {
        time: "2026-11-22 10:00:00".into(),
        topics: "system,info".into(),
        message: message.into(),
        doubtful: false,
    }
}

const REMOVED: &str =
    "file removed by ssh-cmd:aw@192.0.2.9/action:7 (/file remove addrwatch-backup.backup)";
const SAVED: &str = "backup saved by ssh-cmd:aw@192.0.2.9/action:6 (/system backup save dont-encrypt=yes name=addrwatch-backup)";

#[test]
fn lines_of_a_backup() {
    let now = Instant::now();
    for message in [
        REMOVED,
        "file removed by ssh-cmd:aw@192.0.2.9/action:7 (/file remove *2A)",
        "file removed by ssh-cmd:aw@2001:db8::9 (/file remove \"addrwatch-backup.backup\")",
        "file removed by aw",
        SAVED,
        "configuration backup saved by aw",
    ] {
        let mut lines = OwnLines::default();
        assert!(!lines.take(now, &record(message), "aw"), "no backup runs: {message}");
        lines.begin();
        assert!(!lines.take(now, &record(message), "other"), "{message}");
        assert!(lines.take(now, &record(message), "aw"), "{message}");
        // The copy of another logging action, and by syslog; another one of the same kind counts.
        assert!(
            lines.take(now, &record(message), "aw")
                && lines.take_syslog(now, &record(message), "aw")
        );
        let later = LogRecord { time: "2026-11-22 10:00:01".into(), ..record(message) };
        assert!(
            !lines.take(now, &later, "aw") && !lines.take_syslog(now, &later, "aw"),
            "{message}"
        );
        lines.end(now);
        assert!(lines.is_known("10:00:00", message), "in the stored log of RouterOS 6");
        lines.begin();
        lines.end(now);
        assert!(!lines.take(now + LATE, &later, "aw"), "too late: {message}");
        assert!(lines.take(now, &later, "aw"), "the next backup: {message}");
    }
    let mut lines = OwnLines::default();
    lines.begin();
    assert!(lines.take(now, &record(SAVED), "aw") && lines.take(now, &record(REMOVED), "aw"));
}

/// No user hides behind the user of this program, also with its own password.
#[test]
fn lines_that_count() {
    let now = Instant::now();
    for message in [
        "file removed by ssh:aw@192.0.2.9/action:7 (/file remove addrwatch-backup.backup)",
        "file removed by ssh-cmd:aw@192.0.2.9/terminal (/file remove addrwatch-backup.backup)",
        "file removed by ssh-cmd:aw@192.0.2.9/script:x (/file remove addrwatch-backup.backup)",
        "file removed by ssh-cmd:aw@192.0.2.9 (/file remove other.backup)",
        "file removed by ssh-cmd:aw@192.0.2.9 (/file remove addrwatch-backup.backup,*3)",
        "file removed by ssh-cmd:aw@192.0.2.9 (/file remove *)",
        "user x added by ssh-cmd:aw@192.0.2.9/action:1 (*2 = /user add group=full name=x)",
        "user x added by aw",
        "item added by aw",
        "backup saved by ssh-cmd:aw@192.0.2.9 (/system backup save name=mine password=x)",
        "backup saved by ssh-cmd:aw@192.0.2.9 (/system backup save name=addrwatch-backup; /user add)",
        "file removed by ssh-cmd:mallory@192.0.2.8 (/file remove addrwatch-backup.backup)",
        "item <file removed by aw> changed by mallory",
        "file removed by ssh-cmd:mallory@192.0.2.8 (/file remove \"x by ssh-cmd:aw@192.0.2.9 (/file remove addrwatch-backup.backup\")",
    ] {
        let mut lines = OwnLines::default();
        lines.begin();
        assert!(!lines.take(now, &record(message), "aw"), "{message}");
    }
    let mut lines = OwnLines::default();
    lines.begin();
    let doubtful = LogRecord { doubtful: true, ..record(REMOVED) };
    let by_script = LogRecord { topics: "script,info".into(), ..record(REMOVED) };
    assert!(!lines.take(now, &doubtful, "aw") && !lines.take(now, &by_script, "aw"));
}

#[test]
fn entries_of_the_history() {
    let entry = |by: &str, action: &str| HistoryEntry {
        time: "nov/22/2026 10:00:00".into(),
        by: by.into(),
        action: action.into(),
    };
    assert!(is_own_entry(&entry("aw", "file removed"), "aw"));
    assert!(!is_own_entry(&entry("aw", "filter rule added"), "aw"));
    assert!(!is_own_entry(&entry("alice", "file removed"), "aw"));
}
