//! `aw-mysql` with a real MariaDB: the tables, existing data, and every way in which a server can fail.
#![forbid(unsafe_code)]

use aw_tests::certificates::make_certificates;
use aw_tests::collect::{collect, held};
use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::mariadb::{MariaDb, sorted};
use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{Run, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sample;
use aw_tests::server::Server;
use aw_tests::spool::publish_while_down;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::thread::sleep;
use std::time::Duration;

const ORIGINS: &str = "0\tARP_REQ\n1\tARP_REP\n2\tARP_ACD\n3\tND_NS\n4\tND_NA\n5\tND_DAD\n6\tMACUPD\n7\tND_NA_FRAME\n8\tND_NS_FRAME\n\
    9\tND_RA\n10\tND_RD\n11\tND_RS\n12\tARP_NO_HOST\n13\tND_NO_HOST\n14\tARP_IGNORED\n15\tND_IGNORED\n16\tDHCP_ACK\n17\tADDR_REG\n";

/// Every kind of event, field by field, through addrwatch's view; and the created tables.
#[test]
fn rows_as_addrwatch_has_them() {
    let Some(server) = MariaDb::start(&["--default-time-zone=+05:00"]) else { return };
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q"]).ok();
    run(server.command(&ring, &["--once", "--hostname", "tür's\\"])).ok();
    assert_eq!(server.lines(), sorted(&held(&ring)));
    assert_eq!(server.sql("SELECT DISTINCT hostname FROM log"), "tür's\\\\\n"); // the client doubles it
    assert_eq!(server.sql("SELECT id, name FROM origin ORDER BY id"), ORIGINS);
    assert_eq!(server.sql("SELECT length(ip_address) FROM log GROUP BY 1 ORDER BY 1"), "4\n16\n");
    let columns = "SELECT concat_ws(' ', column_name, column_type, is_nullable) FROM information_schema.columns
        WHERE table_schema = 'addrwatch' AND table_name = ";
    assert_eq!(
        server.sql(&format!("{columns} 'log' ORDER BY ordinal_position")),
        "tstamp timestamp NO\nhostname varchar(255) NO\ninterface varchar(16) NO\nvlan_tag smallint(6) NO\n\
         mac_address binary(6) NO\nip_address varbinary(16) NO\norigin_id smallint(6) NO\nframe_source binary(6) YES\nrow_id bigint(20) unsigned NO\n"
    );
    let indexes = "SELECT index_name, group_concat(column_name ORDER BY seq_in_index) FROM information_schema.statistics
        WHERE table_schema = 'addrwatch' AND table_name = 'log' GROUP BY 1 ORDER BY 1";
    assert_eq!(
        server.sql(indexes),
        "ip_address_tstamp\tip_address,tstamp\nmac_address_tstamp\tmac_address,tstamp\n\
         pairing\tip_address,mac_address,vlan_tag,interface,hostname,frame_source,origin_id,tstamp\nPRIMARY\trow_id,tstamp\nvlan_tag_interface\tvlan_tag,interface\n"
    );
    // With a prefix: tables of their own.
    run(server.command(&ring, &["--once", "-p", "site1_"])).ok();
    let tables = server.sql("SHOW TABLES LIKE 'site1%'");
    assert_eq!(tables, "site1_log\nsite1_log_plaintext\nsite1_origin\nsite1_position\n");
    let hosts = server
        .sql("SELECT DISTINCT hostname FROM site1_log UNION SELECT hostname FROM site1_position");
    assert_eq!(hosts, format!("{}\n", rustix::system::uname().nodename().to_str().unwrap()));
}

/// Reports of routers have an origin of their own; rows name the collector's host, checkpoints this machine.
#[test]
fn reports_of_routers() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &["--hostname", "gateway"]);
    receiver.send("127.0.0.2", &[&line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "vlan2")]);
    wait_until("it is in the ring", || !held(&ring).is_empty());
    run(server.command(&ring, &["--once"])).ok();
    receiver.run.stop().ok();
    assert_eq!(server.lines(), held(&ring));
    let row = server.sql(
        "SELECT hostname, interface, hex(mac_address), inet6_ntoa(ip_address), origin_id FROM log",
    );
    assert_eq!(row, "gateway\tvlan2\t222222222222\t192.168.1.124\t6\n");
    assert!(held(&ring).ends_with(" vlan2 0 22:22:22:22:22:22 192.168.1.124 MACUPD\n"));
    let machine = format!("{}\n", rustix::system::uname().nodename().to_str().unwrap());
    assert_eq!(server.sql("SELECT hostname FROM position"), machine);
}

/// Unexpected numbers in the tables beside the log are reported or skipped, and do not end the program.
#[test]
fn odd_rows_of_others() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..6);
    server.sql("CREATE TABLE origin (id INT NULL, name VARCHAR(16), description VARCHAR(255)); INSERT INTO origin VALUES (-1, 'MINE', ''), (2147483647, 'MINE', ''), (NULL, NULL, NULL)");
    run(server.command(&ring, &["--once"])).ok();
    server.assert_numbers(1..6);
    assert_eq!(server.sql("SELECT count(*) FROM origin"), "21\n");
    publish(&ring, 6..11);
    server.sql("ALTER TABLE position MODIFY generation VARCHAR(30) NULL; UPDATE position SET generation = NULL");
    let once = run(server.command(&ring, &["--once"]));
    assert_eq!(once.status.code(), Some(1), "{once:#?}");
    assert!(once.stderr.contains("has values that aw-mysql does not write"), "{once:#?}");
    server.assert_numbers(1..6);
}

/// Tables of addrwatch 1.0, and views upon them, are used as they are, with one column more that programs do not see.
#[test]
fn tables_of_addrwatch_are_continued() {
    let Some(server) = MariaDb::start(&["--sql-mode=NO_BACKSLASH_ESCAPES,ANSI_QUOTES"]) else {
        return;
    };
    server.sql(include_str!("../data/addrwatch-1.0.sql"));
    let before = server
        .sql("SHOW CREATE TABLE log; SHOW CREATE VIEW log_plaintext; SHOW CREATE VIEW dashboard");
    let ring = Ring::new();
    publish(&ring, 1..6);
    run(server.command(&ring, &["--once"])).ok();
    let after = server
        .sql("SHOW CREATE TABLE log; SHOW CREATE VIEW log_plaintext; SHOW CREATE VIEW dashboard");
    let column = r#"  "frame_source" binary(6) INVISIBLE DEFAULT NULL,\n"#;
    assert_eq!(before, after.replacen(column, "", 1));
    assert_ne!(before, after);
    assert_eq!(
        server.sql("SELECT id, name FROM origin ORDER BY id"),
        ORIGINS.replace("ARP_REQ", "MINE")
    );
    assert_eq!(server.sql("SELECT * FROM dashboard"), "MINE\t5\nND_NA\t1\n");
}

/// Killed with -9 repeatedly while rows are stored, the output too: each event is there once, in order.
#[test]
fn kills_of_server_and_output() {
    let Some(mut server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    let mut published = 0;
    for round in 0..6_u32 {
        let output = server.output(&ring, &[]);
        let (first, last) = (published + 1, published + 6000);
        published = last;
        let feed = std::thread::spawn({
            let capture = numbered_capture(first..last + 1);
            let collector = reading_collector(&ring, &["-q", "--max-rate", "6000"]);
            move || run_with(collector, &capture).ok()
        });
        sleep(Duration::from_millis(u64::from(300 + 170 * round)));
        if round % 3 == 2 {
            output.kill();
            server.kill();
            server.start_again();
        } else if round % 3 == 1 {
            output.kill();
        } else {
            server.kill();
            output.stderr.wait_for("queueing events in");
            server.start_again();
            output.stderr.wait_for("the destination is back");
            output.kill();
        }
        feed.join().unwrap();
    }
    let output = server.output(&ring, &[]);
    server.wait_for(published.into());
    output.stop().ok();
    server.assert_numbers(1..published + 1);
    assert_eq!(server.checkpoint(&ring), format!("0 {published} 0"));
}

/// Down for a while: one line when it goes down and one when it is back. The ring is overwritten meanwhile.
#[test]
fn a_server_that_was_stopped() {
    let Some(mut server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    const SLOTS: u32 = 16_384;
    let small = |numbers| {
        let collector = reading_collector(&ring, &["-q", "-L", &SLOTS.to_string()]);
        run_with(collector, &numbered_capture(numbers)).ok();
    };
    small(1..101);
    let output = server.output(&ring, &[]);
    server.wait_for(100);
    server.stop();
    publish_while_down(&ring, SLOTS, 101..40_001, &server.path("state/aw-mysql.spool"));
    let message = output.stderr.wait_for("queueing events in");
    let socket = server.path("socket");
    let expected = format!("aw-mysql: write to addrwatch at {}: ", socket.display());
    assert!(message.starts_with(&expected), "{message}");
    sleep(Duration::from_secs(4)); // several tries, which log nothing more
    server.start_again();
    output.stderr.wait_for("the destination is back");
    small(40_001..40_011);
    server.wait_for(40_010);
    let ended = output.stop().ok();
    assert!(ended.stderr.ends_with(": 40010 events, 0 lost\n"), "{}", ended.stderr);
    for change in ["queueing events in", "the destination is back"] {
        assert_eq!(ended.stderr.matches(change).count(), 1, "{}", ended.stderr);
    }
    server.assert_numbers(1..40_011);
}

/// The server closes idle connections: nothing is logged. Down from the start: queued, and delivered later.
#[test]
fn connections_that_end() {
    let Some(mut server) = MariaDb::start(&["--wait-timeout=4"]) else { return };
    let ring = Ring::new();
    let output = server.output(&ring, &[]);
    output.stderr.wait_for("waiting for ring");
    for round in 0..3 {
        publish(&ring, 1 + 10 * round..11 + 10 * round);
        server.wait_for(10 + 10 * u64::from(round));
        let connections =
            "SELECT count(*) FROM information_schema.processlist WHERE db = 'addrwatch'";
        wait_until("the connection is closed", || server.sql(connections) == "1\n"); // the question's own
    }
    let ended = output.stop().ok();
    assert!(!ended.stderr.contains("queueing"), "{}", ended.stderr);
    server.stop();
    let output = server.output(&ring, &[]);
    output.stderr.wait_for("queueing events in");
    publish(&ring, 31..41);
    sleep(Duration::from_millis(1500));
    output.stop().ok();
    server.start_again();
    publish(&ring, 41..51);
    run(server.command(&ring, &["--once"])).ok();
    server.assert_numbers(1..51);
}

/// It hangs: timeouts end the wait, and its part of the transaction is undone before the rest arrives.
#[test]
fn a_server_that_hangs() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..1001);
    let output = server.output(&ring, &[]);
    server.wait_for(1000);
    let connections = || {
        let status = server.sql("SHOW GLOBAL STATUS LIKE 'Connections'");
        status.trim().rsplit('\t').next().and_then(|it| it.parse::<u64>().ok()).expect("a number")
    };
    let before = connections();
    server.signal(Signal::STOP);
    publish(&ring, 1001..3001);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("the server does not answer"), "{message}");
    server.signal(Signal::CONT);
    output.stderr.wait_for("the destination is back");
    assert_eq!(connections() - before, 2, "this question's, and one after it was in the spool");
    server.wait_for(3000);
    output.stop().ok();
    server.assert_numbers(1..3001);
}

/// A table that was renamed is not replaced by another one: the program waits for it.
#[test]
fn a_table_that_was_moved_away() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    let output = server.output(&ring, &[]);
    server.wait_for(10);
    server.sql("RENAME TABLE log TO elsewhere");
    publish(&ring, 11..21);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("addrwatch.log") && message.contains("(rename it back"), "{message}");
    sleep(Duration::from_millis(1500)); // tries
    assert_eq!(server.sql("SHOW TABLES LIKE 'log'"), "");
    server.sql("RENAME TABLE elsewhere TO log");
    output.stderr.wait_for("the destination is back");
    server.wait_for(20);
    output.stop().ok();
    // An output that starts meanwhile does not create another one either.
    server.sql("RENAME TABLE log TO elsewhere");
    publish(&ring, 21..31);
    let once = run(server.command(&ring, &["--once"]));
    assert_eq!(once.status.code(), Some(1), "{once:#?}");
    assert!(
        once.stderr.contains("table `log` is missing (rename it back, or create it with"),
        "{once:#?}"
    );
    server.sql("CREATE TABLE log LIKE elsewhere; INSERT INTO log SELECT * FROM elsewhere");
    run(server.command(&ring, &["--once"])).ok();
    server.assert_numbers(1..31);
}

/// Locked for longer than the timeout; and a deadlock of which the output is the victim.
#[test]
fn locks() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    let output = server.output(&ring, &[]);
    server.wait_for(10);
    let lock = server.hold("LOCK TABLES log WRITE, position WRITE");
    publish(&ring, 11..21);
    let message = output.stderr.wait_for("queueing events in");
    assert!(message.contains("Lock wait timeout"), "{message}");
    drop(lock);
    output.stderr.wait_for("the destination is back");
    server.wait_for(20);

    // The output has the checkpoint and waits for the log's index; the other client has that, and then requests the checkpoint.
    // The other has changed more rows, so the output's transaction is undone, and sent again.
    server.sql("CREATE TABLE weight (n INT) ENGINE = InnoDB");
    let mut other = server.hold(
        "START TRANSACTION; INSERT INTO weight SELECT seq FROM seq_1_to_5000; SELECT count(*) FROM log WHERE interface = 'pcap' FOR UPDATE",
    );
    publish(&ring, 21..31);
    let waiting = "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'INSERT INTO `log`%' AND time_ms > 100";
    wait_until("ours waits", || server.sql(waiting) == "1\n");
    use std::io::Write;
    let stdin = other.stdin.as_mut().unwrap();
    writeln!(stdin, "SELECT count(*) FROM position FOR UPDATE; ROLLBACK; SELECT 'over';").unwrap();
    other.stdout.wait_for("over");
    server.wait_for(30);
    let deadlocks = server.sql("SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'");
    assert_eq!(deadlocks, "Innodb_deadlocks\t1\n");
    let ended = output.stop().ok();
    assert_eq!(ended.stderr.matches("queueing").count(), 1, "the deadlock: {}", ended.stderr);
    server.assert_numbers(1..31);
}

/// A server that takes small packets only.
#[test]
fn small_packets() {
    let Some(server) = MariaDb::start(&["--max-allowed-packet=1024"]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..2001);
    run(server.command(&ring, &["--once"])).ok();
    server.assert_numbers(1..2001);
}

/// Many collectors share the tables. Two outputs that by mistake store the same ring repeat nothing.
#[test]
fn many_share_the_tables() {
    let Some(server) = MariaDb::start(&[]) else { return };
    let rings = [Ring::new(), Ring::new()];
    for ring in &rings {
        publish(ring, 1..101);
    }
    let outputs = ["one", "two"].map(|name| {
        let options = ["-m", rings[1].name(), "--hostname", name];
        Run::start(server.command_of(name, 0, &rings[0], &options))
    });
    server.wait_for(400);
    for output in outputs {
        output.stop().ok();
    }
    let checkpoints = "SELECT hostname, delivered FROM position ORDER BY 1";
    assert_eq!(server.sql(checkpoints), "one\t100\none\t100\ntwo\t100\ntwo\t100\n");
    let all = "SELECT hostname, count(*), count(DISTINCT tstamp) FROM log GROUP BY 1 ORDER BY 1";
    assert_eq!(server.sql(all), "one\t200\t100\ntwo\t200\t100\n");

    server.sql("DELETE FROM log; DELETE FROM position");
    let twins =
        ["left", "right"].map(|name| Run::start(server.command_of(name, 0, &rings[0], &["-v"])));
    // Each has the position before the other one changes it.
    twins.iter().for_each(|twin| drop(twin.stderr.wait_for("reading ring")));
    for round in 0..20 {
        publish(&rings[0], 101 + 100 * round..201 + 100 * round);
        sleep(Duration::from_millis(100));
    }
    wait_until("all", || server.checkpoint(&rings[0]) == "0 2100 0");
    let logs: Vec<_> = twins.into_iter().map(|twin| twin.stop().stderr).collect();
    assert!(logs.concat().contains("another program has changed the row of this ring"), "{logs:?}");
    server.assert_numbers(1..2101);
}

/// Over TCP with a password and a certificate, as a user without access to other files; and refused connections.
#[test]
fn over_the_network() {
    let Some(server) = MariaDb::start(&[]) else { return };
    // Not in the server's directory, whose owner aw-mysql does not trust.
    let certificates = server.config_path().with_file_name("tls");
    make_certificates(&certificates);
    let file = |name: &str| format!("{}/{name}", certificates.display());
    let mut server = server;
    server.stop();
    server.options = vec![
        format!("--ssl-ca={}", file("ca.pem")),
        format!("--ssl-cert={}", file("server.pem")),
        format!("--ssl-key={}", file("server.key")),
    ];
    server.start_again();
    server.sql(
        "CREATE USER watch@'127.0.0.1' IDENTIFIED BY 'a#b' REQUIRE SSL; GRANT ALL ON addrwatch.* TO watch@'127.0.0.1'",
    );
    let ring = Ring::new();
    publish(&ring, 1..11);
    fs::create_dir(server.path("state")).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(server.path("state"), Some(65534), Some(65534)).unwrap();
        chown(ring.path(), None, Some(65534)).unwrap();
    }
    let port = server.port;
    let access = |host: &str, lines: &str| {
        server.config(&format!(
            "user=watch\nprotocol=tcp\nhost={host}\nport={port}\nssl-ca={}\n{lines}",
            file("ca.pem")
        ))
    };
    let once = || run(server.command_of("state", 65534, &ring, &["--once"]));
    let refused = |host: &str, lines: &str, why: &[&str]| {
        access(host, lines);
        let ended = once();
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        assert!(why.iter().all(|why| ended.stderr.contains(why)), "{why:?}: {ended:#?}");
        assert!(!ended.stderr.contains("a#b") && !ended.stderr.contains("wrong"), "{ended:#?}");
    };
    refused("127.0.0.1", "password=wrong", &["Access denied", "section [addrwatch]"]);
    refused("127.0.0.1", "password='a#b'\nssl=0", &["Access denied"]);
    // `localhost` is found by name; the certificate is of 127.0.0.1 only.
    refused("localhost", "password='a#b'", &["certificate", "not valid for name"]);
    access("localhost", "password='a#b'\nssl-verify-server-cert=0");
    once().ok();
    publish(&ring, 11..21);
    access("127.0.0.1", "password='a#b'");
    once().ok();
    server.assert_numbers(1..21);
    let config = server.config("password=x");
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    let finished = run(server.command(&ring, &["--once"]));
    finished.refused(
        "aw-mysql",
        &["mysql.cnf: it contains a password, and all users can read it (chmod o-r)"],
    );
}

/// Tables of addrwatch 0.8 become those of 1.0.
#[test]
fn migration() {
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(include_str!("../data/addrwatch-0.8.sql"));
    let ring = Ring::new();
    publish(&ring, 1..3);
    run(server.command(&ring, &["--once"])).ok();
    server.sql(include_str!("../../contrib/migrate_0.8_to_1.0.sql"));
    let ours = "1 pcap 0 02:00:00:00:00:01 10.0.0.1 ARP_REQ\n2 pcap 0 02:00:00:00:00:02 10.0.0.2 ARP_REQ\n";
    let theirs = include_str!("../data/addrwatch-0.8.txt");
    assert_eq!(server.lines(), sorted(&format!("{ours}{theirs}")));
    let rest = server.sql("SELECT mac_address, ip_address, origin FROM addrwatch");
    let bad = "rubbish\t192.0.2.1\tARP_REQ\n02:00:00:00:00:08\trubbish\tARP_REQ\n02:00:00:00:00:09\t192.0.2.9\trubbish\n";
    assert_eq!(rest, bad, "what is no pairing stays where it was");
    // The second time it changes nothing.
    server.sql(include_str!("../../contrib/migrate_0.8_to_1.0.sql"));
    assert_eq!(server.lines(), sorted(&format!("{ours}{theirs}")));
}

/// Tables from the time when MyISAM was the default: an interrupted migration leaves all rows in place, too.
#[test]
fn migration_without_transactions() {
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(include_str!("../data/addrwatch-0.8.sql"));
    let ring = Ring::new();
    publish(&ring, 1..3);
    run(server.command(&ring, &["--once"])).ok();
    server.sql(
        "ALTER TABLE addrwatch ENGINE = MyISAM; ALTER TABLE log DROP KEY pairing, ENGINE = MyISAM",
    );
    let script = include_str!("../../contrib/migrate_0.8_to_1.0.sql");
    let rows = || server.sql("SELECT (SELECT count(*) FROM addrwatch), (SELECT count(*) FROM log)");
    assert!(script.contains("COMMIT;"));
    server.sql(&script.replace("COMMIT;", "ROLLBACK;"));
    assert_eq!(rows(), "10\t2\n");
    server.sql(script);
    assert_eq!(rows(), "3\t9\n");
}

/// Names in any script, with any default of the server.
#[test]
fn names_of_any_script() {
    let Some(server) = MariaDb::start(&["--character-set-server=latin1"]) else { return };
    let ring = Ring::new();
    publish(&ring, 1..3);
    run(server.command(&ring, &["--once", "--hostname", "ルータ"])).ok();
    assert_eq!(
        server.sql("SELECT DISTINCT hex(convert(hostname USING utf8mb4)) FROM log"),
        "E383ABE383BCE382BF\n"
    );
    server.assert_numbers(1..3);
    let sets = "SELECT column_name, character_set_name FROM information_schema.columns
        WHERE table_name = 'log' AND character_set_name IS NOT NULL ORDER BY 1";
    assert_eq!(server.sql(sets), "hostname\tutf8mb4\ninterface\tutf8mb4\n");
}

/// addrwatch_mysql's options: `-p` is the prefix there, `-f` the foreground.
#[test]
fn options() {
    let ring = Ring::new();
    let refused = run(program("aw-mysql", &["-m", ring.name(), "-p", "/run/aw-mysql.pid"]));
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
    assert!(refused.stderr.contains("the pid file is --pid"), "{refused:#?}");
    let both = run(program("aw-mysql", &["-f", "-d"]));
    assert_eq!(both.status.code(), Some(2), "{both:#?}");
    let nowhere = run(program("aw-mysql", &["-f", "-m", ring.name(), "-c", "/nowhere/mysql.cnf"]));
    nowhere.refused("aw-mysql", &["read /nowhere/mysql.cnf: no such file"]);
}
