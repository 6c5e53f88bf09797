//! `aw-sqlite` whose database cannot be written, with real faults: it reports each once, queues events, and continues
//! when the fault is over. No event is lost and none is repeated.
#![forbid(unsafe_code)]

use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::history::History;
use aw_tests::mount::Mount;
use aw_tests::rig::{Run, program, run, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::spool::publish_while_down;
use rusqlite::Connection;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// All numbers before `end` arrive, and it ends; returns its standard error.
#[track_caller]
fn recovered(history: &History, ring: &Ring, output: Run, end: u32) -> String {
    output.stderr.wait_for("the destination is back");
    let all = u64::from(end) - 1;
    wait_until("all rows", || {
        history.checkpoint(ring).is_some_and(|checkpoint| checkpoint.next() == all)
    });
    let ended = output.stop().ok();
    history.assert_exactly_once(ring, end);
    let down = ended.stderr.matches("queueing events in").count();
    assert_eq!(down, 1, "one line for each change of state: {}", ended.stderr);
    ended.stderr
}

fn is_root() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("it needs root");
        return false;
    }
    true
}

#[test]
fn locked_by_another() {
    let ring = Ring::new();
    let history = History::new();
    const SLOTS: u32 = 8192;
    let small = reading_collector(&ring, &["-q", "-L", &SLOTS.to_string()]);
    run_with(small, &numbered_capture(1..101)).ok();
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 100);
    let lock = history.lock();
    publish_while_down(&ring, SLOTS, 101..20_001, &history.spool());
    let message = output.stderr.wait_for("queueing events in");
    assert!(
        message.contains("lan.db: database is locked by another program (end its transaction)"),
        "{message}"
    );
    assert_eq!(history.count(), 100, "readers go on");
    drop(lock);
    recovered(&history, &ring, output, 20_001);
}

/// An almost full tmpfs of eight MiB; then space is freed.
#[test]
fn a_full_disk() {
    if !is_root() {
        return;
    }
    let ring = Ring::new();
    let history = History::new();
    let disk = history.path().join("history");
    let mount = Mount::new(&disk, "size=8m");
    publish(&ring, 1..11);
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 10);
    mount.fill();
    let options = ["-q", "--max-rate", "20000"];
    run_with(reading_collector(&ring, &options), &numbered_capture(11..8001)).ok();
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("is full (free space on its disk)"), "{message}");
    mount.make_room();
    recovered(&history, &ring, output, 8001);
}

/// The disk becomes full while old sightings are compacted: what was committed stays, and the pass goes on when there is space. Each sighting is
/// there once.
#[test]
fn a_full_disk_during_compaction() {
    if !is_root() {
        return;
    }
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..2);
    let mount = Mount::new(&history.path().join("history"), "size=48m");
    run(history.command(&ring, &["--once"])).ok();
    const ALL: i64 = 100 * 4000;
    let fill = format!(
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100)
        INSERT INTO pairing (address, mac, place, ip, source)
            SELECT unhex(printf('0a01%04x', n)), n, (SELECT min(id) FROM place), '10.1.0.' || n, -1 FROM n;
        WITH RECURSIVE n(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n + 1 < {ALL} / 100)
        INSERT INTO sighting SELECT pairing.id, (1700000000 + 30 * n) * 1000000000, 1, 0
            FROM pairing CROSS JOIN n WHERE ip LIKE '10.1.0.%';
        UPDATE span_progress SET time = 1; DELETE FROM raw_days; INSERT INTO raw_days VALUES (1); -- it was announced
        PRAGMA wal_checkpoint(truncate)"
    );
    history.open().unwrap().execute_batch(&fill).unwrap();
    let sum = "SELECT (SELECT count(*) FROM sighting) + (SELECT coalesce(sum(count), 0) FROM sighting_span)";
    let devices = || run(history.query(&["devices", "--count", "--format", "csv"])).ok().stdout;
    let before = devices();
    assert_eq!(history.value(sum), Some(ALL));
    // Room for the first commits, and not for all of them.
    mount.fill_but(400 << 10);
    let output = history.start(&ring, &["--raw-days", "1"]);
    output.stderr.wait_for("compacting sightings that are older than 1 day");
    let full = output.stderr.wait_for("queueing events in");
    assert!(full.contains("is full (free space on its disk)"), "{full}");
    assert_eq!(history.value(sum), Some(ALL));
    mount.make_room();
    output.stderr.wait_for("the destination is back");
    output.stderr.wait_for("old sightings are compacted");
    let ended = output.stop().ok();
    let at = |what: &str| ended.stderr.find(what).expect(what);
    assert!(at("is full") < at("old sightings are compacted;"), "{}", ended.stderr);
    assert_eq!(history.value(sum), Some(ALL));
    assert_eq!(history.value::<i64>("SELECT count(*) FROM sighting"), Some(0));
    assert_eq!(history.value::<String>("PRAGMA integrity_check").as_deref(), Some("ok"));
    assert_eq!(devices(), before);
}

/// Database and spool on one disk, as by default, which is full: events wait in the
/// ring, and all of them are stored when there is space.
#[test]
fn a_full_disk_for_both() {
    if !is_root() {
        return;
    }
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let history = History::at(state.join("addrwatch.db"));
    let mount = Mount::new(&state, "size=24m");
    publish(&ring, 1..11);
    let mut command = program("aw-sqlite", &["--ring", ring.name(), "--commit-interval", "1s"]);
    command.arg("--state-dir").arg(&state);
    let output = Run::start(command);
    wait_until("rows", || history.count() == 10);
    mount.fill();
    publish(&ring, 11..8001);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("is full (free space on its disk)"), "{message}");
    output.stderr.wait_for("is full: events that the rings overwrite from now on are lost");
    publish(&ring, 8001..8101);
    sleep(Duration::from_secs(8)); // some tries of what is down
    assert!(!output.stderr.text().contains("is back"), "{}", output.stderr.text());
    mount.make_room();
    recovered(&history, &ring, output, 8101);
}

/// A file that its user may not write any more, and a directory.
#[test]
fn read_only() {
    if !is_root() {
        return;
    }
    let ring = Ring::new();
    let history = History::new();
    let directory = history.path().join("history");
    fs::set_permissions(history.path(), Permissions::from_mode(0o755)).unwrap();
    for path in [&directory, &history.path().join("state")] {
        fs::create_dir_all(path).unwrap();
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    // The ring is root's and of this group.
    let collect = |numbers| {
        let options = ["-q", "--group", "65534"];
        run_with(reading_collector(&ring, &options), &numbered_capture(numbers)).ok()
    };
    let options = ["-u", "65534"];
    collect(1..11);
    run(history.command(&ring, &[&options[..], &["--once"]].concat())).ok();
    fs::set_permissions(history.database(), Permissions::from_mode(0o440)).unwrap();
    fs::set_permissions(&directory, Permissions::from_mode(0o550)).unwrap();
    collect(11..101);
    let output = history.start(&ring, &options);
    let message = output.stderr.wait_for("queueing events in");
    let remedy = "permission denied (it runs as nobody: let this user write to "; // plain-words: ok
    assert!(message.contains(remedy), "{message}");
    collect(101..201);
    fs::set_permissions(&directory, Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(history.database(), Permissions::from_mode(0o640)).unwrap();
    recovered(&history, &ring, output, 201);
}

/// A page of it is corrupt. It is moved away, and later events are in the new one.
#[test]
fn a_broken_page() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..5001);
    run(history.command(&ring, &["--once"])).ok();
    let file = File::options().write(true).open(history.database()).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 1..pages {
        file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
    }
    publish(&ring, 5001..5101);
    let output = history.start(&ring, &[]);
    let message = output.stderr.wait_for("queueing events in");
    assert!(
        message.contains("malformed (move it away with its -wal file, or repair it"),
        "{message}"
    );
    fs::rename(history.database(), history.path().join("history/broken.db")).unwrap();
    for end in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{end}", history.database().display()));
    }
    output.stderr.wait_for("the destination is back");
    publish(&ring, 5101..5201);
    wait_until("all rows", || history.checkpoint(&ring).is_some_and(|a| a.next() == 5200));
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(" 0 lost\n"), "{}", ended.stderr);
    let times: Vec<i64> = history.rows("addrwatch").iter().map(|row| row.0).collect();
    assert_eq!(times.last(), Some(&5200));
}

/// Deleted while it is used: reported once, and there is a new one at once.
#[test]
fn a_deleted_database() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..101);
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 100);
    fs::remove_file(history.database()).unwrap();
    output.stderr.wait_for("lan.db was deleted, with all rows in it: the next rows go to a new ");
    wait_until("a new one", || history.database().exists());
    publish(&ring, 101..201);
    wait_until("rows in the new one", || history.count() == 100);
    let ended = output.stop().ok();
    assert_eq!(ended.stderr.matches("was deleted").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("queueing events in"), "{}", ended.stderr);
}

/// Moved away while another program reads it: rows are still written to it, and the new one begins after the reader ends.
#[test]
fn moved_away_while_it_is_read() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..101);
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 100);
    let reader = history.open().unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let read =
        || reader.query_row("SELECT count(*) FROM addrwatch", [], |row| row.get::<_, i64>(0));
    assert_eq!(read(), Ok(100));
    publish(&ring, 101..201);
    // Stored, and the file is looked for after that.
    let noted = || fs::read_to_string(history.path().join("state/aw-sqlite.now"));
    wait_until("more rows", || noted().is_ok_and(|text| text.contains("\"next\":200,")));
    let archive = history.path().join("history/archive.db");
    fs::rename(history.database(), &archive).unwrap();
    publish(&ring, 201..301);
    output.stderr.wait_for("rows still go to the moved file: another program still reads it");
    assert!(!history.database().exists());
    assert_eq!(read(), Ok(100));
    reader.execute_batch("COMMIT").unwrap();
    publish(&ring, 301..401);
    wait_until("a new one", || history.database().exists());
    publish(&ring, 401..501);
    wait_until("rows in the new one", || {
        history.value::<i64>("SELECT max(timestamp) FROM addrwatch") == Some(500)
    });
    assert_eq!(read(), Ok(400), "he goes on reading the one that was moved");
    drop(reader);
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("queueing events in"), "{}", ended.stderr);
    assert_eq!(in_both(&history, &archive), (1..501).collect::<Vec<i64>>());
}

/// The times in both, in order; both are sound.
fn in_both(history: &History, archive: &Path) -> Vec<i64> {
    let mut times = Vec::new();
    for file in [archive, history.database()] {
        let database = Connection::open(file).unwrap();
        let sound = database.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(sound.as_deref(), Ok("ok"));
        let mut select = database.prepare("SELECT timestamp FROM addrwatch").unwrap();
        times.extend(select.query_map([], |row| row.get::<_, i64>(0)).unwrap().flatten());
    }
    times.sort_unstable();
    times
}

/// Killed after it was moved away, before the program closed it: its log is not used for a new one, nor deleted.
#[test]
fn killed_when_it_was_moved_away() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..101);
    let output = history.start(&ring, &[]);
    wait_until("rows", || history.count() == 100);
    output.kill();
    let archive = history.path().join("history/archive.db");
    let log = |of: &Path| format!("{}-wal", of.display());
    fs::rename(history.database(), &archive).unwrap();
    publish(&ring, 101..201);
    let output = history.start(&ring, &[]);
    let message = output.stderr.wait_for("queueing events in");
    assert!(
        message.contains(
            "lan.db-wal has rows of the file that was moved away (move it beside that file"
        ),
        "{message}"
    );
    fs::rename(log(history.database()), log(&archive)).unwrap();
    output.stderr.wait_for("the destination is back");
    output.stop().ok();
    let both = in_both(&history, &archive);
    assert!((1..201).all(|time| both.contains(&time)), "{both:?}");
}

/// A file of another kind: nothing is written to it.
#[test]
fn not_a_database() {
    let ring = Ring::new();
    let history = History::new();
    let text = "these are my notes, and no database ".repeat(300);
    fs::write(history.database(), &text).unwrap();
    publish(&ring, 1..6);
    let output = history.start(&ring, &[]);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("file is not a database (move it away"), "{message}");
    assert_eq!(fs::read_to_string(history.database()).unwrap(), text);
    fs::rename(history.database(), history.path().join("history/notes")).unwrap();
    recovered(&history, &ring, output, 6);
}

/// Killed repeatedly while it is locked out, and while it delivers queued events.
#[test]
fn kills_while_it_is_down() {
    let ring = Ring::new();
    let history = History::new();
    publish(&ring, 1..11);
    run(history.command(&ring, &["--once"])).ok();
    let mut published = 10;
    let mut lock = None;
    for round in 0..12_u32 {
        lock = if round % 3 == 2 { None } else { lock.or_else(|| Some(history.lock())) };
        let output = history.start(&ring, &[]);
        for _ in 0..3 {
            publish(&ring, published + 1..published + 801);
            published += 800;
            std::thread::sleep(std::time::Duration::from_millis(u64::from(40 + 45 * round)));
        }
        output.kill();
    }
    drop(lock);
    let output = history.start(&ring, &[]);
    let all = u64::from(published);
    wait_until("all rows", || history.checkpoint(&ring).is_some_and(|a| a.next() == all));
    output.stop().ok();
    history.assert_exactly_once(&ring, published + 1);
}
