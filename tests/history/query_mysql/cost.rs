//! What questions cost a server: rows and statements are counted, not time.

use crate::asked;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sightings::{self, ADDRESS, capture};

const COLUMNS: &str = "tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id";

/// The sum of the server's counters with such a name.
fn status(server: &MariaDb, like: &str) -> u64 {
    let sum = format!(
        "SELECT sum(variable_value) FROM information_schema.global_status WHERE variable_name LIKE '{like}'"
    );
    server.sql(&sum).trim().parse().unwrap()
}

/// With any number of sightings, who had an address and what has changed take a few steps in an index for each. Rows
/// are counted, not time.
#[test]
fn answers_take_few_steps() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    server.sql(
        "INSERT INTO log SELECT from_unixtime(1795100000 + seq), 'here', 'eth0', 0, 0x020000000001, 0x0a010203, 0
            FROM seq_1_to_50000;
        INSERT INTO log SELECT from_unixtime(1795100000 + seq), 'here', 'eth0', 0, unhex(lpad(hex(seq % 100), 12, '0')), unhex(concat('0a02', lpad(hex(seq % 100), 4, '0'))), 0
            FROM seq_1_to_50000;
        INSERT INTO log SELECT from_unixtime(1795190000 + seq), 'here', 'eth0', 0, 0x020000000001, 0x0a030000, 0 FROM seq_1_to_100;
        INSERT INTO log (tstamp, hostname, interface, vlan_tag, mac_address, ip_address, origin_id)
            SELECT from_unixtime(1795100000 + seq), 'here', 'eth0', 0, 0x020000000099, 0x0a010203, 2 FROM seq_1_to_50000;
        ANALYZE TABLE log",
    );
    let config = server.config("");
    let rows = || status(&server, "handler_read%");
    let before = rows();
    let idle = rows() - before;
    let who = ["who", ADDRESS, "--at", "2026-11-20 14:32"];
    for question in [&who[..], &["changes", "--since", "2026-11-20 12:00"], &["devices"]] {
        let begin = rows();
        let answer = asked(question, &["-c", config.to_str().unwrap()]).ok().stdout;
        let read = rows() - begin - idle;
        assert!(answer.contains("02:00:00:00:00:01"), "{answer}");
        assert!(read < 2000, "{question:?}: {read} rows were looked at");
    }
    // Also whether a MAC sent frames in the name of others.
    let begin = rows();
    let nothing = asked(&["mac", "02:00:00:00:00:98"], &["-c", config.to_str().unwrap()]);
    let read = rows() - begin - idle;
    assert_eq!(nothing.status.code(), Some(3), "{nothing:?}");
    assert!(read < 2000, "{read} rows were looked at");
}

/// Two forged frames about each host of a busy /24: what is near them is read, and not what the hosts sent for days.
#[test]
fn forged_frames_cost_few_rows() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    let (mac, ip) = (
        "unhex(concat('06000000', lpad(hex(seq % 254), 4, '0')))",
        "unhex(concat('0a02', lpad(hex(seq % 254), 4, '0')))",
    );
    server.sql(&format!(
        "INSERT INTO log ({COLUMNS}) SELECT from_unixtime(1760000000 + 2 * seq), 'here', 'eth0', 0, {mac}, {ip}, 0 FROM seq_1_to_254000;
        INSERT INTO log ({COLUMNS}) VALUES (from_unixtime(1760250000), 'here', 'eth0', 0, 0x020000000102, 0x0a030000, 0);
        ANALYZE TABLE log"
    ));
    let config = server.config("");
    let rows = || status(&server, "handler_read%");
    let ask = |question: &[&str]| {
        let begin = rows();
        let answer = asked(question, &["-c", config.to_str().unwrap()]).ok();
        (rows() - begin, answer)
    };
    let questions = [&["devices", "--format", "csv"][..], &["mac", "02:00:00:00:01:02"]];
    let before = questions.map(|question| ask(question).0);
    server.sql(&format!(
        "INSERT INTO log ({COLUMNS}, frame_source) SELECT from_unixtime(1760250000 + seq), 'here', 'eth0', 0, 0x020000000102, {ip}, 0, 0x020000000109
            FROM seq_1_to_508; ANALYZE TABLE log"
    ));
    for (question, before) in questions.into_iter().zip(before) {
        let (after, answer) = ask(question);
        let read = after.saturating_sub(before);
        assert!(read < 50_000, "{question:?}: {read} more rows were looked at");
        assert!(answer.stderr.contains("508 claims are left out"), "{}", answer.stderr);
        assert!(answer.stdout.contains("10.3.0.0"), "{}", answer.stdout);
    }
}

/// A question that waits for a lock ends in the server, too, when its time is over.
#[test]
fn no_session_waits_for_ever() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    let config = server.config("");
    let locked = server.hold("LOCK TABLES log WRITE");
    let answer = asked(&["devices"], &["-c", config.to_str().unwrap(), "--timeout", "2s"]);
    assert_ne!(answer.status.code(), Some(0), "{answer:?}");
    let waiting =
        "SELECT count(*) FROM information_schema.processlist WHERE state LIKE '%metadata lock%'";
    wait_until("the session ends", || server.sql(waiting) == "0\n");
    drop(locked);
}

/// Each of 120 addresses got another MAC, within the second in which the first one is seen last. What they sent is read in few
/// statements, in its order. Then one of them has more sightings than are read together: it is read alone, and the answer is the same.
#[test]
fn changes_are_read_together() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    capture(&ring, &sightings::handover());
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    let insert = |time: u32, first: u64| {
        format!(
            "INSERT INTO log ({COLUMNS}) SELECT from_unixtime({time}), 'here', 'eth0', 0, unhex(lpad(hex({first} + seq), 12, '0')),
                unhex(concat('0a02', lpad(hex(seq), 4, '0'))), 1 FROM seq_1_to_120;"
        )
    };
    // From the greater MAC to the smaller one: it is not that order which counts.
    let (begin, end, before, after) =
        (1_790_000_000, 1_790_172_800, 0x0200_0000_2000, 0x0200_0000_1000);
    server.sql(
        &[(begin, before), (end, before), (end, before), (end, after)]
            .map(|(time, mac)| insert(time, mac))
            .concat(),
    );
    server.sql("ANALYZE TABLE log");
    let config = server.config("");
    let changes = || {
        let before = status(&server, "questions");
        let answer = asked(&["changes", "--format", "csv"], &["-c", config.to_str().unwrap()]).ok();
        (answer.stdout, status(&server, "questions") - before)
    };
    let (answer, few) = changes();
    let to_after =
        answer.lines().filter(|line| line.find(",02:00:00:00:10:") < line.find(",02:00:00:00:20:"));
    let of_after = to_after.filter(|line| line.contains(",02:00:00:00:10:")).count();
    assert_eq!((of_after, answer.matches(",02:00:00:00:20:").count()), (120, 240), "{answer}");
    assert!(few < 60, "{few} statements for 120 addresses");
    server.sql(&format!(
        "INSERT INTO log ({COLUMNS}) SELECT from_unixtime({begin} + seq), 'here', 'eth0', 0, 0x02000000204b, 0x0a02004b, 1 FROM seq_1_to_100000;
        ANALYZE TABLE log"
    ));
    let (same, more) = changes();
    assert_eq!(answer, same);
    assert!(more <= few + 2, "{more} statements, and {few} before");
    // An administrator tries whether the index is needed: slower, and not refused. Sightings of one second can be in another order then.
    server.sql("ALTER TABLE log ALTER INDEX ip_address_tstamp IGNORED");
    let (slow, _) = changes();
    let addresses = |answer: &str| answer.matches(",02:00:00:00:20:").count();
    assert!(addresses(&slow) >= addresses(&answer), "{slow}");
}
