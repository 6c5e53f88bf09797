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
