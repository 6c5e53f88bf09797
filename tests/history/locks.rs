//! Databases that others may read, but neither stop nor slow down: locks, triggers, views, forged places, time limits.
#![forbid(unsafe_code)]

use aw_tests::feed::publish;
use aw_tests::frames::{Arp, Ethernet, station};
use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{program, public_copy, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, ADDRESS, BEGIN, Sighting, capture, capture_frames};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The number of devices, counted by aw-query: this process must open no database, because closing a file ends its locks.
fn devices(history: &History) -> usize {
    history.answers(&["devices"], &["mac"]).len()
}

/// Takes each lock that a member of the group can take: on all of each file that the group may read, of both kinds.
fn lock_what_the_group_may_read(history: &History) -> Vec<File> {
    let mut locked = Vec::new();
    let directory = history.database().parent().unwrap().to_owned();
    for file in fs::read_dir(directory).unwrap().flatten() {
        let mode = file.metadata().unwrap().permissions().mode();
        let is_index = file.path().to_string_lossy().ends_with("-shm");
        assert!(!is_index || mode & 0o077 == 0, "{:?} has mode {mode:o}", file.path());
        if mode & 0o044 != 0 {
            let file = File::open(file.path()).unwrap();
            fcntl_lock(&file, FlockOperation::NonBlockingLockShared).expect("a shared lock");
            flock(&file, FlockOperation::NonBlockingLockExclusive)
                .expect("a lock of the other kind");
            locked.push(file);
        }
    }
    locked
}

/// A member of the group locks what it can, before the program starts and while it runs: every event is stored.
#[test]
fn a_member_of_the_group_stops_no_writer() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..101);
    let output = history.start(&ring, &[]);
    wait_until("the first rows", || devices(&history) == 100);
    let locked = lock_what_the_group_may_read(&history);
    assert_eq!(locked.len(), 2, "the database and its log");
    publish(&ring, 101..201);
    wait_until("rows while it is locked", || devices(&history) == 200);
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("queueing"), "{}", ended.stderr);
    publish(&ring, 201..301);
    let output = history.start(&ring, &[]);
    wait_until("rows after a start", || devices(&history) == 300);
    output.kill();
    drop(locked);
    let locked = lock_what_the_group_may_read(&history);
    publish(&ring, 301..401);
    let output = history.start(&ring, &[]);
    wait_until("rows after a kill", || devices(&history) == 400);
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("queueing"), "{}", ended.stderr);
    drop(locked);
    assert_eq!(history.count(), 400);
}

/// An index that an earlier release left behind was readable.
#[test]
fn the_index_of_an_earlier_release_becomes_private() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..11);
    let output = history.start(&ring, &[]);
    wait_until("rows", || devices(&history) == 10);
    output.kill();
    let index = format!("{}-shm", history.database().display());
    let mode = || fs::metadata(&index).map(|file| file.permissions().mode() & 0o777).ok();
    fs::set_permissions(&index, Permissions::from_mode(0o640)).unwrap();
    publish(&ring, 11..21);
    let output = history.start(&ring, &[]);
    wait_until("more rows", || devices(&history) == 20);
    assert_eq!(mode(), Some(0o600));
    output.stop().ok();
}

/// A member of the group asks while events are written, with the command of today, and gets each row that is committed.
#[test]
fn a_member_of_the_group_may_ask() {
    if !rustix::process::geteuid().is_root() {
        return skip("it needs root");
    }
    let (ring, history) = (Ring::new(), History::new());
    for path in [history.path(), history.database().parent().unwrap()] {
        fs::set_permissions(path, Permissions::from_mode(0o750)).unwrap();
    }
    let public = public_copy(&["aw-query"]);
    let ask = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "0", "--clear-groups"]);
        command.arg(public.path().join("aw-query")).arg("--database").arg(history.database());
        run({
            command.args(["devices", "--format", "json"]);
            command
        })
    };
    let output = history.start(&ring, &[]);
    for round in 1..20 {
        publish(&ring, 1 + 500 * (round - 1)..1 + 500 * round);
        wait_until("an answer", || ask().stdout.lines().count() == 500 * round as usize);
    }
    let copy = history.path().join("copy.db");
    run(history.query(&["copy", copy.to_str().unwrap()])).ok();
    let copied = rusqlite::Connection::open(&copy).unwrap();
    let count = copied.query_row("SELECT count(*) FROM addrwatch", [], |row| row.get::<_, i64>(0));
    assert_eq!(count, Ok(9500));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    run(history.query(&["copy", copy.to_str().unwrap()])).refused("aw-query", &["choose another"]);
    output.stop().ok();
    assert_eq!(ask().ok().stdout.lines().count(), 9500);
    let index = format!("{}-shm", history.database().display());
    assert!(!fs::exists(index).unwrap(), "readers create no file");
}

/// Triggers and views of other programs in the file do nothing.
#[test]
fn a_hostile_schema() {
    let (ring, history) = (Ring::new(), History::new());
    capture(&ring, &sightings::handover());
    run(history.command(&ring, &["--once"])).ok();
    let rows = history.count();
    let evil = "
        CREATE TRIGGER evil AFTER INSERT ON sighting BEGIN DELETE FROM sighting; END;
        CREATE TRIGGER evil4 AFTER INSERT ON recent_sighting BEGIN DELETE FROM recent_sighting; END;
        CREATE TRIGGER evil2 AFTER INSERT ON account BEGIN DELETE FROM account; END;
        CREATE TRIGGER evil3 BEFORE INSERT ON pairing BEGIN SELECT RAISE(ABORT, 'no'); END;";
    history.open().unwrap().execute_batch(evil).unwrap();
    capture(&ring, &[(20_000, 4, 9, 0), (20_001, 5, 9, 0)]);
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(history.count(), rows + 2);
    let view = "ALTER TABLE place RENAME TO hidden; CREATE VIEW place AS
        WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n)
        SELECT n AS id, 'h' AS host, 'r' AS ring, 'i' AS interface, 0 AS vlan, 0 AS outer_vlan, '' AS router FROM n";
    history.open().unwrap().execute_batch(view).unwrap();
    for question in [&["devices"][..], &["who", ADDRESS], &["ip", ADDRESS], &["changes"]] {
        run(history.query(question)).refused("aw-query", &["its table place is not of aw-sqlite"]);
    }
    let refused = run(history.command(&ring, &["--once"]));
    refused.refused("aw-sqlite", &["its table place is not of aw-sqlite", "--database"]);
}

/// A history with a million places that a host made by forged stacks of VLANs, before there was a bound.
fn million_places() -> History {
    let (ring, history) = (Ring::new(), History::new());
    let seen: Vec<Sighting> = (0..10).map(|n| (n * 60, 1, 3, 0)).collect();
    capture(&ring, &seen);
    run(history.command(&ring, &["--once"])).ok();
    let places = "
        WITH RECURSIVE n (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 1000000)
        INSERT INTO place (host, ring, interface, vlan, outer_vlan, router)
            SELECT 'here', (SELECT ring FROM place WHERE id = 1), 'eth0', n % 4096, 1 + n / 4096, '' FROM n";
    history.open().unwrap().execute_batch(places).unwrap();
    history
}

/// `who` reads the places that it needs: with all of them it took 518 MB.
#[test]
fn a_million_places() {
    let history = million_places();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 300000; exec \"$@\"", "sh"]);
    let query = history.query(&["who", ADDRESS, "--at", &format!("@{}", BEGIN + 270)]);
    limited.arg(query.get_program()).args(query.get_args());
    let answer = run(limited).ok().stdout;
    assert!(answer.contains("02:00:00:00:00:01") && answer.contains("sure"), "{answer}");
    // Retention deletes places that nothing uses. Some of them are enough here: a million take minutes on a busy machine.
    history.open().unwrap().execute_batch("DELETE FROM place WHERE id > 20000").unwrap();
    let ring = Ring::new();
    publish(&ring, 1..2);
    let output = history.start(&ring, &[]);
    wait_until("they are deleted", || {
        // Counting a million rows all the time would take the time that deleting them needs.
        history.value::<i64>("SELECT count(*) FROM (SELECT 1 FROM place LIMIT 3)") == Some(2)
    });
    output.stop().ok();
}

/// A host forges more stacks of VLANs than have room. VLANs that come later have places of their own, and so `who` knows
/// them as networks of their own.
#[test]
fn forged_stacks_displace_no_vlan() {
    let (ring, history) = (Ring::new(), History::new());
    let frame = |number: u32, address: [u8; 4], tags: &[(u16, u16)]| {
        let mut ethernet = Ethernet::from(station(number));
        for (protocol, vlan) in tags {
            ethernet = ethernet.tag(*protocol, *vlan);
        }
        Arp::request(station(number), address.into(), [10, 1, 2, 254].into()).on(&ethernet)
    };
    let stack = |n: u32| [(0x88a8, 1 + (n / 4000) as u16), (0x8100, 1 + (n % 4000) as u16)];
    let forged = (0..17_000).map(|n| (BEGIN, frame(9, [10, 9, 9, 9], &stack(n))));
    capture_frames(&ring, forged);
    run(history.command(&ring, &["--once"])).ok();
    let stacks = "SELECT count(*) FROM place WHERE outer_vlan > 0";
    assert_eq!(history.value::<i64>(stacks), Some(16_384));
    // The same address in 200 VLANs, in each of another device, and without a tag.
    let vlans = (0..200).map(|vlan: u16| {
        let tags = [(0x8100, vlan)];
        let tags = if vlan == 0 { &[][..] } else { &tags[..] };
        (BEGIN + 60, frame(100 + u32::from(vlan), [10, 1, 2, 3], tags))
    });
    capture_frames(&ring, vlans);
    run(history.command(&ring, &["--once"])).ok();
    let all = ["who", ADDRESS, "--at", &format!("@{}", BEGIN + 60)];
    let mut answers = history.answers(&all, &["vlan", "mac"]);
    answers.sort();
    let text = |number: u32| station(number).map(|byte| format!("{byte:02x}")).join(":");
    let mut expected: Vec<_> =
        (0..200).map(|vlan| format!("{vlan} {}", text(100 + vlan))).collect();
    expected.sort();
    assert_eq!(answers, expected);
}

/// A copy that does not succeed leaves nothing, and one that does has its name only then.
#[test]
fn copies_are_complete() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..11);
    run(history.command(&ring, &["--once"])).ok();
    let [copy, incomplete] = ["copy.db", "copy.db.new"].map(|name| history.path().join(name));
    let ask = |options: &[&str]| {
        run(history.query(&[&["copy", copy.to_str().unwrap()], options].concat()))
    };
    let nothing = || !copy.exists() && !incomplete.exists();
    let journal = format!("{}-journal", history.database().display());
    fs::write(&journal, [0xd9]).unwrap();
    let ended = ask(&["--timeout", "1s"]);
    ended.refused("aw-query", &["no copy within 1 s (allow more with --timeout)"]);
    assert!(nothing(), "a time limit");
    ask(&[]).refused("aw-query", &["another program is changing it"]);
    assert!(nothing(), "an error");
    fs::remove_file(&journal).unwrap();
    // What another program has under the name in between is not touched.
    fs::write(&incomplete, "other").unwrap();
    ask(&[]).refused("aw-query", &["copy.db.new", "remove"]);
    assert_eq!(fs::read_to_string(&incomplete).unwrap(), "other");
    fs::remove_file(&incomplete).unwrap();
    ask(&[]).ok();
    assert!(copy.exists() && !incomplete.exists());
}

/// A file that another program changes all the time, so that nothing that is read of it is of one state.
#[test]
fn a_time_limit() {
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..11);
    run(history.command(&ring, &["--once"])).ok();
    let journal = format!("{}-journal", history.database().display());
    fs::write(&journal, [0xd9]).unwrap();
    let ended = run(history.query(&["devices", "--timeout", "1s"]));
    ended.refused("aw-query", &["no answer within 1 s", "--from", "--timeout"]);
    let patient = run(history.query(&["devices"]));
    patient.refused("aw-query", &["another program is changing it"]);
    fs::remove_file(&journal).unwrap();
    assert_eq!(devices(&history), 10);
}

/// A server that does not answer.
#[test]
fn a_time_limit_of_a_server() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    run(server.command(&ring, &["--once"])).ok();
    let locks = server.hold("LOCK TABLES log WRITE");
    let config = server.config("");
    let ask = |arguments: &[&str]| {
        let mut query = program("aw-query", &["-c", config.to_str().unwrap(), "devices"]);
        query.args(arguments);
        run(query)
    };
    let ended = ask(&["--timeout", "1s"]);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    drop(locks);
    wait_until("it answers", || ask(&[]).ok().stdout.lines().count() == 11);
}
