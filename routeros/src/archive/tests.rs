use super::*;
use std::os::unix::fs::PermissionsExt;

fn archive() -> (tempfile::TempDir, Archive) {
    let root = tempfile::tempdir().unwrap();
    let archive = Archive::of(&root.path().join("deep"), &"core1".to_owned().try_into().unwrap());
    archive.make().unwrap();
    (root, archive)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

#[test]
fn nobody_else_may_read_it() {
    let (root, archive) = archive();
    archive.set_base(b"x").unwrap();
    archive.log("now", "a\nb").unwrap();
    archive.keep(time(0), b"x").unwrap();
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
fn snapshots_of_one_second_and_their_end() {
    let (_root, archive) = archive();
    assert_eq!(archive.base().unwrap(), None);
    for n in 0..5 {
        archive.keep(time(n / 2), format!("{n}").as_bytes()).unwrap();
    }
    let names = archive.snapshots().unwrap();
    let texts: Vec<_> = names.iter().map(|name| archive.snapshot(name).unwrap()).collect();
    assert_eq!(texts, [b"0", b"1", b"2", b"3", b"4"]);
    archive.retain(3, None).unwrap();
    assert_eq!(archive.snapshots().unwrap(), names[2..]);
    archive.retain(3, Some(time(100))).unwrap();
    assert_eq!(archive.snapshots().unwrap(), names[4..]);
}

#[test]
fn half_a_line_and_half_a_snapshot_stay_alone() {
    let (_root, archive) = archive();
    fs::write(archive.path("log.txt"), "now whole\nnow ha").unwrap();
    archive.log("then", "a").unwrap();
    archive.log("then", "b").unwrap();
    let log = fs::read_to_string(archive.path("log.txt")).unwrap();
    assert_eq!(log, "now whole\nnow ha\nthen a\nthen b\n");
    let unfinished = archive.path("snapshots").join("unfinished.new");
    fs::write(&unfinished, "half").unwrap();
    assert_eq!(archive.snapshots().unwrap(), [""; 0]);
    let name = archive.keep(time(0), b"whole").unwrap();
    assert_eq!(archive.snapshots().unwrap(), std::slice::from_ref(&name));
    assert_eq!(archive.snapshot(&name).unwrap(), b"whole");
    assert!(!unfinished.exists());
}

#[test]
fn the_base_is_replaced_even_after_a_crash() {
    let (_root, archive) = archive();
    fs::write(archive.path("latest.rsc.new"), "half").unwrap();
    archive.set_base(b"whole").unwrap();
    archive.set_base(b"newer").unwrap();
    assert_eq!(archive.base().unwrap().unwrap(), b"newer");
    assert_eq!(archive.state().unwrap(), State::default());
    fs::write(archive.path("state.json"), "{").unwrap();
    assert_eq!(archive.state().unwrap(), State::default());
    let state = State { lines: 7, ..State::default() };
    archive.set_state(&state).unwrap();
    assert_eq!(archive.state().unwrap(), state);
}

#[test]
fn what_is_older_is_forgotten_and_nothing_else() {
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
    archive.refuse(time(0), b"old").unwrap();
    archive.refuse(time(10), b"young").unwrap();
    archive.forget_changes(time(0)).unwrap();
    assert_eq!((read("diff.txt"), read("users/eve.diff")), (all.clone(), entry(3)));
    archive.forget_changes(time(10)).unwrap();
    let young = entry(10) + "half\n" + &entry(20);
    assert_eq!((read("diff.txt"), read("users/alice.diff")), (young.clone(), young.clone()));
    assert_eq!(read("changes.jsonl"), changes(&[10, 20]));
    assert_eq!(archive.list("refused").unwrap().len(), 1);
    assert!(!path("users/eve.diff").exists() && !path("diff.txt.new").exists());
    assert_eq!(read("log.txt"), all);
    archive.forget_log(time(10)).unwrap();
    assert_eq!((read("log.txt"), read("log.txt.1")), (young.clone(), young));
    archive.forget_log(time(100)).unwrap();
    assert!(!path("log.txt").exists());
    assert_eq!(archive.complete_since(1).unwrap(), None);
    archive.keep(time(7), b"x").unwrap();
    archive.keep(time(9), b"x").unwrap();
    assert_eq!(archive.complete_since(3).unwrap(), None);
    assert_eq!(archive.complete_since(2).unwrap(), Some(time(7)));
}

/// The clock was set back: what is kept now is the newest all the same.
#[test]
fn snapshots_of_a_clock_that_was_ahead() {
    let (_root, archive) = archive();
    fs::write(archive.path("snapshots/of-somebody-else.rsc"), "").unwrap();
    let ahead = time(70 * 366 * 86400);
    for n in [0, 86400] {
        archive.keep(Timestamp::from_second(ahead.as_second() + n).unwrap(), b"ahead").unwrap();
    }
    for n in 1..4 {
        let name = archive.keep(time(n), n.to_string().as_bytes()).unwrap();
        archive.retain(2, None).unwrap();
        assert_eq!(archive.newest("snapshots").unwrap(), Some(name.clone()));
        assert_eq!(archive.snapshot(&name).unwrap(), n.to_string().as_bytes());
    }
    assert_eq!(archive.snapshots().unwrap().len(), 3);
    archive.retain(1, Some(Timestamp::MAX)).unwrap();
    let left = archive.newest("snapshots").unwrap().unwrap();
    assert_eq!(archive.snapshot(&left).unwrap(), b"3");
    // Their names are ahead; they were written now, and changes from before go.
    let since = archive.complete_since(1).unwrap().unwrap();
    assert!(since <= Timestamp::now(), "{since}");
    for n in 0..30 {
        let path = archive.refuse(time(-n), n.to_string().as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), n.to_string());
    }
}

/// A first line without a date, or with one of a clock that was ahead, keeps nothing old behind it.
#[test]
fn a_first_line_that_says_no_age() {
    let (_root, archive) = archive();
    let path = archive.path("log.txt");
    let line = |second| format!("{} said\n", time(second));
    let ahead = line(70 * 366 * 86400);
    for (first, left) in [("half a line\n", ""), (ahead.as_str(), ahead.as_str())] {
        fs::write(&path, first.to_owned() + &line(0) + &line(10)).unwrap();
        archive.forget_log(time(10)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), left.to_owned() + &line(10));
    }
    fs::write(&path, "no date\nat all\n").unwrap();
    archive.forget_log(time(10)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "no date\nat all\n");
}
