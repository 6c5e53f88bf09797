use super::*;
use std::os::unix::fs::PermissionsExt;

fn archive() -> (tempfile::TempDir, Archive) {
    let root = tempfile::tempdir().unwrap();
    let archive = Archive::of(&root.path().join("deep"), &"core1".to_owned().try_into().unwrap());
    archive.create().unwrap();
    (root, archive)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

#[test]
fn only_the_owner_may_read_it() {
    let (root, archive) = archive();
    archive.set_base(b"x").unwrap();
    archive.append_log("now", "a\nb").unwrap();
    archive.add_snapshot(time(0), b"x").unwrap();
    let mut paths = vec![root.path().join("deep")];
    let mut files = 0;
    while let Some(path) = paths.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{}", path.display());
        if metadata.is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            files += 1;
        }
    }
    assert_eq!(files, 3);
    assert_eq!(fs::read_to_string(archive.path("log.txt")).unwrap(), "now a?b\n");
}

#[test]
fn snapshots_of_one_second() {
    let (_root, archive) = archive();
    assert_eq!(archive.base().unwrap(), None);
    for n in 0..5 {
        archive.add_snapshot(time(n / 2), format!("{n}").as_bytes()).unwrap();
    }
    let names = archive.snapshots().unwrap();
    let texts: Vec<_> = names.iter().map(|name| archive.snapshot(name).unwrap()).collect();
    assert_eq!(texts, [b"0", b"1", b"2", b"3", b"4"]);
    archive.remove_snapshots(3, None).unwrap();
    assert_eq!(archive.snapshots().unwrap(), names[2..]);
    archive.remove_snapshots(3, Some(time(100))).unwrap();
    assert_eq!(archive.snapshots().unwrap(), names[4..]);
}

#[test]
fn incomplete_lines_and_snapshots() {
    let (_root, archive) = archive();
    fs::write(archive.path("log.txt"), "now whole\nnow ha").unwrap();
    archive.append_log("then", "a").unwrap();
    archive.append_log("then", "b").unwrap();
    let log = fs::read_to_string(archive.path("log.txt")).unwrap();
    assert_eq!(log, "now whole\nnow ha\nthen a\nthen b\n");
    let unfinished = archive.path("snapshots").join("unfinished.new");
    fs::write(&unfinished, "half").unwrap();
    assert_eq!(archive.snapshots().unwrap(), [""; 0]);
    let name = archive.add_snapshot(time(0), b"whole").unwrap();
    assert_eq!(archive.snapshots().unwrap(), std::slice::from_ref(&name));
    assert_eq!(archive.snapshot(&name).unwrap(), b"whole");
    assert!(!unfinished.exists());
}

#[test]
fn the_base_is_replaced_after_a_crash() {
    let (_root, archive) = archive();
    fs::write(archive.path("latest.rsc.new"), "half").unwrap();
    archive.set_base(b"whole").unwrap();
    archive.set_base(b"newer").unwrap();
    assert_eq!(archive.base().unwrap().unwrap(), b"newer");
    assert_eq!(archive.state().unwrap(), RouterState::default());
    fs::write(archive.path("state.json"), "{").unwrap();
    assert_eq!(archive.state().unwrap(), RouterState::default());
    let state = RouterState { lines: 7, ..RouterState::default() };
    archive.set_state(&state).unwrap();
    assert_eq!(archive.state().unwrap(), state);
}

#[test]
fn only_old_lines_are_removed() {
    let (_root, archive) = archive();
    let diff = "+++ a\n@@ -1 +1 @@\n-002099-01-01T00:00:00Z\n\n";
    let entry = |second| format!("{} core1: changed\n{diff}", time(second));
    let all = entry(0) + &entry(10) + "half\n" + &entry(5) + &entry(20);
    let changes = |seconds: &[i64]| -> String {
        seconds.iter().map(|second| format!("{{\"time\":\"{}\"}}\n", time(*second))).collect()
    };
    let path = |name: &str| archive.path(name);
    let read = |name: &str| fs::read_to_string(path(name)).unwrap();
    for name in ["diff.txt", "log.txt", "log.txt.1", "users/alice.diff"] {
        fs::write(path(name), &all).unwrap();
    }
    fs::write(path("users/eve.diff"), entry(3)).unwrap();
    fs::write(path("diff.txt.new"), "of a process that was killed").unwrap();
    fs::write(path("changes.jsonl"), changes(&[0, 10, 5]) + "{\"time\"\n" + &changes(&[20]))
        .unwrap();
    archive.add_refused(time(0), b"old").unwrap();
    archive.add_refused(time(10), b"young").unwrap();
    archive.remove_changes(time(0)).unwrap();
    assert_eq!((read("diff.txt"), read("users/eve.diff")), (all.clone(), entry(3)));
    archive.remove_changes(time(10)).unwrap();
    let young = entry(10) + "half\n" + &entry(20);
    assert_eq!((read("diff.txt"), read("users/alice.diff")), (young.clone(), young.clone()));
    assert_eq!(read("changes.jsonl"), changes(&[10, 20]));
    assert_eq!(archive.list("refused").unwrap().len(), 1);
    assert!(!path("users/eve.diff").exists() && !path("diff.txt.new").exists());
    assert_eq!(read("log.txt"), all);
    archive.remove_log_lines(time(10)).unwrap();
    assert_eq!((read("log.txt"), read("log.txt.1")), (young.clone(), young));
    archive.remove_log_lines(time(100)).unwrap();
    assert!(!path("log.txt").exists());
    assert_eq!(archive.complete_since(1).unwrap(), None);
    archive.add_snapshot(time(7), b"x").unwrap();
    archive.add_snapshot(time(9), b"x").unwrap();
    assert_eq!(archive.complete_since(3).unwrap(), None);
    assert_eq!(archive.complete_since(2).unwrap(), Some(time(7)));
}

/// After the clock was set back, a new snapshot is the newest.
#[test]
fn snapshots_of_a_clock_that_was_ahead() {
    let (_root, archive) = archive();
    fs::write(archive.path("snapshots/of-another-program.rsc"), "").unwrap();
    let ahead = time(70 * 366 * 86400);
    for n in [0, 86400] {
        archive
            .add_snapshot(Timestamp::from_second(ahead.as_second() + n).unwrap(), b"ahead")
            .unwrap();
    }
    for n in 1..4 {
        let name = archive.add_snapshot(time(n), n.to_string().as_bytes()).unwrap();
        archive.remove_snapshots(2, None).unwrap();
        assert_eq!(archive.newest_snapshot().unwrap(), Some(name.clone()));
        assert_eq!(archive.snapshot(&name).unwrap(), n.to_string().as_bytes());
    }
    assert_eq!(archive.snapshots().unwrap().len(), 3);
    archive.remove_snapshots(1, Some(Timestamp::MAX)).unwrap();
    let left = archive.newest_snapshot().unwrap().unwrap();
    assert_eq!(archive.snapshot(&left).unwrap(), b"3");
    // The names are in the future, the files are from now: changes from before now are removed.
    let since = archive.complete_since(1).unwrap().unwrap();
    assert!(since <= Timestamp::now(), "{since}");
    for n in 0..30 {
        let path = archive.add_refused(time(-n), n.to_string().as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), n.to_string());
    }
}

/// Old lines are removed after a first line without a time or with a time in the future.
#[test]
fn a_first_line_without_a_usable_time() {
    let (_root, archive) = archive();
    let path = archive.path("log.txt");
    let line = |second| format!("{} message\n", time(second));
    let ahead = line(70 * 366 * 86400);
    for (first, left) in [("half a line\n", ""), (ahead.as_str(), ahead.as_str())] {
        fs::write(&path, first.to_owned() + &line(0) + &line(10)).unwrap();
        archive.remove_log_lines(time(10)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), left.to_owned() + &line(10));
    }
    fs::write(&path, "no date\nat all\n").unwrap();
    archive.remove_log_lines(time(10)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "no date\nat all\n");
}

/// Backups have the retention of snapshots, and the newest one stays.
#[test]
fn encrypted_files_are_removed() {
    let root = tempfile::tempdir().unwrap();
    let archive = Archive::of(root.path(), &"core1".to_owned().try_into().unwrap());
    archive.create().unwrap();
    let time = |second: i64| Timestamp::from_second(1_700_000_000 + second).unwrap();
    assert_eq!(archive.newest_backup().unwrap(), None);
    for second in [0, 0, 10, 20, 30] {
        archive.add_backup(time(second), b"x").unwrap();
        archive.add_sensitive(time(second), b"x").unwrap();
    }
    let names = |directory: &str| {
        let entries = fs::read_dir(archive.path(directory)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names("backups").len(), 5);
    assert_eq!(archive.newest_backup().unwrap(), Some(time(30)));
    archive.remove_sensitive(2, None).unwrap();
    assert_eq!(names("backups"), ["20231114T221340Z.backup.age", "20231114T221350Z.backup.age"]);
    assert_eq!(names("sensitive"), ["20231114T221340Z.rsc.age", "20231114T221350Z.rsc.age"]);
    archive.remove_sensitive(2, Some(Timestamp::MAX)).unwrap();
    assert_eq!(names("backups"), ["20231114T221350Z.backup.age"]);
}

/// Of a router's own making or not: a state that cannot be used does not stop its router, nor what shows all of them.
#[test]
fn a_state_that_is_too_large() {
    let (_root, archive) = archive();
    fs::write(archive.path("state.json"), "x".repeat(MAX_STATE as usize + 1)).unwrap();
    assert_eq!(archive.state().unwrap(), RouterState::default());
}
