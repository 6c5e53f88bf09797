//! `aw-mysql` and `aw-query` with several real servers, a cluster of three MariaDB nodes above all: each event once, whatever fails.
#![forbid(unsafe_code)]

use aw_tests::feed::{numbered_capture, publish, reading_collector};
use aw_tests::frames::{lldp, station};
use aw_tests::galera::Galera;
use aw_tests::mariadb::MariaDb;
use aw_tests::moving::{file, line};
use aw_tests::rig::{Run, program, run, run_with, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::{Server, free_port, installed, listens};
use aw_tests::sightings::{BEGIN, capture_names};
use aw_tests::web;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// How many events flow, and how many of them in a second.
const EVENTS: u32 = 20_000;
const RATE: &str = "2000";

/// A sighting that is imported, without its time.
const IMPORTED: &str = r#""host":"gw","ring":"/a","interface":"eth0","mac":"02:00:00:00:00:01","ip":"192.0.2.1","origin":0"#;

/// Publishes the numbered events.
fn feed(ring: &Ring) -> JoinHandle<()> {
    let collector = reading_collector(ring, &["-q", "--max-rate", RATE]);
    spawn(move || drop(run_with(collector, &numbered_capture(1..EVENTS + 1)).ok()))
}

/// All events, each once. Each node numbers rows by itself, so they have no order.
#[track_caller]
fn assert_each_once(node: &MariaDb, ring: &Ring) {
    node.wait_for(EVENTS.into());
    let select = "SELECT count(*), count(DISTINCT tstamp), unix_timestamp(min(tstamp)), unix_timestamp(max(tstamp)) FROM log";
    assert_eq!(node.sql(select), format!("{EVENTS}\t{EVENTS}\t1\t{EVENTS}\n"));
    wait_until("its position", || node.checkpoint(ring) == format!("0 {EVENTS} 0"));
}

/// The node that is written to is killed with -9 while events flow: another one of the list takes its place. Questions pass over
/// the one that is down.
#[test]
fn a_node_is_killed() {
    let Some(mut cluster) = Galera::start() else { return };
    let ring = Ring::new();
    let output = cluster.output(&ring, &cluster.hosts());
    let events = feed(&ring);
    cluster.nodes[0].wait_for(3000);
    let used = cluster.used().expect("it is connected");
    cluster.nodes[used].kill();
    events.join().unwrap();
    for other in [1, 2] {
        assert_each_once(&cluster.nodes[(used + other) % 3], &ring);
    }
    let ended = output.stop().ok();
    let passed_over = format!("127.0.0.1:{} is passed over: ", cluster.nodes[used].port);
    assert_eq!(ended.stderr.matches(&passed_over).count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.matches("queueing events in").count() <= 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains("lacks"), "{}", ended.stderr);
    for _ in 0..6 {
        let mut question = program("aw-query", &["-c"]);
        question.arg(cluster.config(&cluster.hosts())).args(["ip", "10.0.0.7"]);
        let answer = run(question).ok();
        assert!(answer.stdout.contains("02:00:00:00:00:07"), "{answer:#?}");
    }
}

/// A node that refuses statements is passed over at once, and no event waits. Later the node that is written to has lost the others: it
/// refuses statements until it has a majority again.
#[test]
fn nodes_that_refuse() {
    let Some(cluster) = Galera::start() else { return };
    let ring = Ring::new();
    let output = cluster.output(&ring, &cluster.hosts());
    let events = feed(&ring);
    cluster.nodes[0].wait_for(3000);
    let refusing = cluster.used().expect("it is connected");
    cluster.nodes[refusing].sql("SET GLOBAL wsrep_reject_queries = ALL");
    let next = || cluster.used().filter(|node| *node != refusing);
    wait_until("another node is used", || next().is_some());
    let used = next().expect("it is connected");
    let before = cluster.nodes[used].count();
    wait_until("events flow", || cluster.nodes[used].count() > before + 1000);
    assert!(!output.stderr.text().contains("queueing"), "{}", output.stderr.text());
    assert_eq!(cluster.used(), Some(used), "it stays there");

    let used = &cluster.nodes[used];
    let used_port = used.port;
    let others: Vec<_> = cluster.nodes.iter().filter(|node| node.port != used_port).collect();
    others.iter().for_each(|node| node.signal(Signal::STOP));
    output.stderr.wait_for("queueing events in");
    wait_until("the majority is lost", || {
        used.sql("SHOW STATUS LIKE 'wsrep_ready'") == "wsrep_ready\tOFF\n"
    });
    others.iter().for_each(|node| node.signal(Signal::CONT));
    output.stderr.wait_for("the destination is back");
    events.join().unwrap();
    assert_each_once(used, &ring);
    output.stop().ok();
}

/// The node that is written to hangs. Later it goes on, and learns that the others have put it out.
#[test]
fn the_used_node_hangs() {
    let view = |node: &MariaDb| node.sql("SHOW STATUS LIKE 'wsrep_cluster_conf_id'");
    let stop = |node: &MariaDb| {
        let before = view(node);
        node.signal(Signal::STOP);
        before
    };
    trouble_of_used("", stop, |node, before, _| {
        node.signal(Signal::CONT);
        wait_until("it sees another cluster", || view(node) != before);
    });
}

/// The node that is written to is locked, as for a backup or for a copy of its data, and refuses rows.
#[test]
fn the_used_node_is_locked() {
    let lock = "SET GLOBAL wsrep_desync = ON; FLUSH TABLES WITH READ LOCK";
    trouble_of_used(
        "Lock wait timeout",
        |node| node.hold(lock),
        |node, held, ring| {
            drop(held);
            assert_each_once(node, ring);
        },
    );
}

/// Trouble at the node that is written to, for which the output gives this cause.
fn trouble_of_used<T>(
    cause: &str,
    begin: impl FnOnce(&MariaDb) -> T,
    end: impl FnOnce(&MariaDb, T, &Ring),
) {
    let Some(cluster) = Galera::start() else { return };
    let ring = Ring::new();
    let output = cluster.output(&ring, &cluster.hosts());
    let events = feed(&ring);
    cluster.nodes[0].wait_for(3000);
    let used = cluster.used().expect("it is connected");
    let trouble = begin(&cluster.nodes[used]);
    let why = output.stderr.wait_for("queueing events in");
    assert!(why.contains(cause), "{why}");
    events.join().unwrap();
    let others = [(used + 1) % 3, (used + 2) % 3].map(|other| &cluster.nodes[other]);
    others.iter().for_each(|node| assert_each_once(node, &ring));
    end(&cluster.nodes[used], trouble, &ring);
    output.stop().ok();
    others.iter().for_each(|node| assert_each_once(node, &ring));
}

/// The guide's haproxy takes out a node that is killed with -9.
#[test]
fn a_killed_node_behind_haproxy() {
    through_haproxy(|cluster, used| cluster.nodes[used].kill());
}

/// And one that has lost the others: it still accepts logins.
#[test]
fn a_lost_node_behind_haproxy() {
    through_haproxy(|cluster, used| {
        cluster.nodes[used].sql("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'");
    });
}

/// The guide's configuration of haproxy, on the loopback, and a node that fails while events flow.
fn through_haproxy(fail: impl Fn(&mut Galera, usize)) {
    if !installed(&["/usr/sbin/haproxy"], "haproxy") {
        return;
    }
    let guide = include_str!("../../docs/guide/several-servers.md");
    let block = |first: &str| {
        let (_, rest) = guide.split_once(first).expect("the guide has it");
        format!("{first}{}", rest.split_once("```").expect("it ends").0)
    };
    let of_server = block("thread_handling = ");
    let threads = format!("--{}", of_server.trim().replace(" = ", "="));
    let Some(mut cluster) = Galera::start_with(&[&threads]) else { return };
    let shown = cluster.nodes[0].sql("SHOW VARIABLES LIKE 'thread_handling'");
    assert_eq!(shown, "thread_handling\tpool-of-threads\n");
    cluster.nodes[0].sql(&block("CREATE USER haproxy").replace("192.0.2.10", "127.0.0.1"));
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap(); // for its user
    let check = directory.path().join("galera-ready");
    fs::write(&check, block("#!/bin/sh\ntest ")).unwrap();
    fs::set_permissions(&check, Permissions::from_mode(0o755)).unwrap();
    let port = free_port();
    let mut config = block("global\n  user haproxy\n")
        .replace("bind :3306", &format!("bind 127.0.0.1:{port}"))
        .replace("/usr/local/bin/galera-ready", check.to_str().unwrap());
    for (number, node) in cluster.nodes.iter().enumerate() {
        let named = format!("192.0.2.{}:3306", number + 1);
        assert!(config.contains(&named), "{config}");
        config = config.replace(&named, &format!("127.0.0.1:{}", node.port));
    }
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("/usr/sbin/haproxy");
    command.args(["-db", "-f"]).arg(file);
    let proxy = Run::start(command);
    wait_until("haproxy listens", || listens(port));

    let ring = Ring::new();
    let output = cluster.output(&ring, &format!("127.0.0.1:{port}"));
    let events = feed(&ring);
    cluster.nodes[0].wait_for(3000);
    let used = cluster.used().expect("it is connected");
    fail(&mut cluster, used);
    proxy.stderr.wait_for(&format!("db{} is DOWN", used + 1));
    let others = [(used + 1) % 3, (used + 2) % 3];
    events.join().unwrap();
    assert_each_once(&cluster.nodes[others[0]], &ring);
    assert_each_once(&cluster.nodes[others[1]], &ring);
    output.stop().ok();
    proxy.kill();
}

/// A server that accepts connections and sends nothing, in a list with one that works, and all the time of the attempt for each login.
#[test]
fn a_server_that_hangs_at_the_login() {
    let Some(hanging) = MariaDb::start(&[]) else { return };
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql("CREATE USER watch@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON addrwatch.* TO watch@'127.0.0.1'");
    hanging.signal(Signal::STOP);
    let hosts = format!("127.0.0.1:{}, 127.0.0.1:{}", hanging.port, server.port);
    server
        .config(&format!("user = watch\npassword = secret\nhost = {hosts}\nconnect-timeout = 10"));
    let ring = Ring::new();
    // The first server is chosen at random.
    for round in 0..4 {
        publish(&ring, 1 + 10 * round..11 + 10 * round);
        run(server.command(&ring, &["--once"])).ok();
        server.assert_numbers(1..11 + 10 * round);
    }
    hanging.signal(Signal::CONT);
}

/// A replica that lags. Rows and names go to the primary server, and so do questions; if only the replica answers, a remark says what
/// it is. A check names it, and finds a fault if no server accepts rows.
#[test]
fn a_primary_server_and_its_replica() {
    let Some((mut primary, replica)) = primary_and_replica("") else { return };
    let (ring, named) = (Ring::new(), Ring::new());
    publish(&ring, 1..11);
    run(replica.command(&ring, &["--once"])).ok();
    replica.sql("SET GLOBAL read_only = 1");
    // The first server is chosen at random. A user who may write there nevertheless does not.
    for number in 1..7 {
        if number == 4 {
            replica.sql("GRANT ALL ON *.* TO watch@'127.0.0.1'");
        }
        publish(&ring, 10 * number + 1..10 * number + 11);
        run(primary.command(&ring, &["--once"])).ok();
        primary.assert_numbers(1..10 * number + 11);
        let name = lldp(station(number), &format!("nas{number}"));
        capture_names(&named, [(BEGIN + number, name)]);
        let stored = run(primary.command(&named, &["--once"])).ok();
        assert!(!stored.stderr.contains("not stored"), "{stored:#?}");
        assert_eq!(primary.sql("SELECT count(*) FROM claimed_name"), format!("{number}\n"));
    }
    let config = primary.config_path();
    let text = file(&[line(1, IMPORTED)]);
    let mut import = program("aw-mysql", &["-c"]);
    import.arg(&config).args(["-u", "0", "import", "-"]);
    run_with(import, text.as_bytes()).ok();
    assert_eq!((primary.count(), replica.count()), (71, 10));
    let ask = |number: u32| {
        let mut question = program("aw-query", &["-c"]);
        question.arg(&config).args(["ip", &format!("10.0.0.{number}")]);
        run(question)
    };
    for number in 64..71 {
        let answer = ask(number).ok();
        assert!(answer.stderr.is_empty(), "{answer:#?}");
    }
    let checked = run(primary.command(&ring, &["--check"])).ok();
    let line = format!("127.0.0.1:{} is read-only: it gets no rows", replica.port);
    assert!(checked.stdout.contains(&line), "{checked:#?}");

    primary.kill();
    let answer = ask(7).ok();
    assert!(answer.stdout.contains("02:00:00:00:00:07"), "{answer:#?}");
    let remark = format!("127.0.0.1:{} is read-only: if it is a replica that lags", replica.port);
    assert!(answer.stderr.contains(&remark), "{answer:#?}");
    let why = format!("events are missing (at 127.0.0.1:{}: ", primary.port);
    let has_why = answer.stderr.contains(&why) && answer.stderr.contains("connection refused");
    assert!(has_why && !answer.stderr.contains("; at "), "{answer:#?}");
    let checked = run(primary.command(&ring, &["--check"]));
    let has_both =
        checked.stderr.contains("connection refused") && checked.stderr.contains("is read-only");
    assert!(checked.status.code() == Some(1) && has_both, "{checked:#?}");
}

/// The replica becomes the primary server, and lacks rows that the former one had confirmed: they are counted as lost there, and a message
/// says so.
#[test]
fn the_roles_change() {
    the_roles_change_for("");
}

/// The same, and the user may write to the former one, on the connection that it has.
#[test]
fn the_roles_change_for_an_administrator() {
    the_roles_change_for("GRANT ALL ON *.* TO watch@'127.0.0.1'");
}

fn the_roles_change_for(rights: &str) {
    let Some((former, next)) = primary_and_replica("") else { return };
    former.sql(rights);
    next.sql(rights);
    let ring = Ring::new();
    publish(&ring, 1..11);
    run(next.command(&ring, &["--once"])).ok();
    next.sql("SET GLOBAL read_only = 1");
    let output = former.output(&ring, &[]);
    former.wait_for(10);
    publish(&ring, 11..21);
    former.wait_for(20);
    former.sql("SET GLOBAL read_only = 1");
    next.sql("SET GLOBAL read_only = 0");
    publish(&ring, 21..31);
    let passed_over = format!("127.0.0.1:{} is passed over: ", former.port);
    output.stderr.wait_for(&passed_over);
    output.stderr.wait_for("it lags behind another server of the list");
    let lacks = format!("addrwatch at 127.0.0.1:{} lacks 10 events that were confirmed", next.port);
    output.stderr.wait_for(&lacks);
    wait_until("what it lacks is counted", || next.checkpoint(&ring) == "0 20 10");
    let ended = output.stop().ok();
    assert!(ended.stderr.contains("20 events, 10 lost"), "{ended:#?}");
    assert_eq!((former.count(), next.count()), (20, 20));
}

/// The same if the former one hangs: events are queued before the next one is asked.
#[test]
fn a_hung_server_is_replaced_by_one_that_lags() {
    let Some((former, next)) = primary_and_replica("") else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    run(next.command(&ring, &["--once"])).ok();
    next.sql("SET GLOBAL read_only = 1");
    let output = former.output(&ring, &[]);
    former.wait_for(10);
    publish(&ring, 11..21);
    former.wait_for(20);
    former.signal(Signal::STOP);
    next.sql("SET GLOBAL read_only = 0");
    publish(&ring, 21..31);
    output.stderr.wait_for("queueing events in");
    let lacks = format!("addrwatch at 127.0.0.1:{} lacks 10 events that were confirmed", next.port);
    output.stderr.wait_for(&lacks);
    wait_until("what it lacks is counted", || next.checkpoint(&ring) == "0 20 10");
    let ended = output.stop().ok();
    assert!(ended.stderr.contains("20 events, 10 lost"), "{ended:#?}");
    assert_eq!(next.count(), 20);
    former.signal(Signal::CONT);
}

/// A primary server that hangs costs the first question of `aw-web` its time, and the next one none: only its replica answers.
#[test]
fn a_primary_server_that_hangs() {
    let Some((primary, replica)) = primary_and_replica("") else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    run(replica.command(&ring, &["--once"])).ok();
    replica.sql("SET GLOBAL read_only = 1");
    run(primary.command(&ring, &["--once"])).ok();
    assert_eq!(primary.count(), 10);
    let limit = Duration::from_secs(10);
    let config = primary.config_path();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}connect-timeout = {}\n", limit.as_secs())).unwrap();
    let database = Path::new("mysql://");
    let web = web::Server::of(database, &["--config", config.to_str().unwrap()]);
    primary.signal(Signal::STOP);
    let ask = |number: u32| {
        let begin = Instant::now();
        let answer = web.get(&format!("/api/v1/ip/10.0.0.{number}")).expect(200);
        assert!(answer.body.contains(&format!("02:00:00:00:00:0{number}")), "{answer:#?}");
        assert!(answer.body.contains("is read-only"), "{answer:#?}");
        begin.elapsed()
    };
    assert!(ask(1) > limit / 2);
    let second = ask(2);
    assert!(second < limit / 2, "{second:?}");
    primary.signal(Signal::CONT);
}

/// The column that addrwatch's table lacks is added by the primary server, also if a replica has refused that before.
#[test]
fn a_column_behind_a_replica() {
    let tables = include_str!("../data/addrwatch-1.0.sql");
    let Some((primary, replica)) = primary_and_replica(tables) else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    run(replica.command(&ring, &["--once"])).ok();
    replica.sql("ALTER TABLE log DROP COLUMN frame_source; SET GLOBAL read_only = 1");
    for number in 1..5 {
        publish(&ring, 10 * number + 1..10 * number + 11);
        run(primary.command(&ring, &["--once"])).ok();
        primary.sql("ALTER TABLE log DROP COLUMN frame_source"); // an error if it is not there
    }
}

/// Two servers with these tables, and the users of the first one's configuration, which names both.
fn primary_and_replica(tables: &str) -> Option<(MariaDb, MariaDb)> {
    let (primary, replica) = (MariaDb::start(&[])?, MariaDb::start(&[])?);
    for server in [&primary, &replica] {
        server.sql("CREATE USER watch@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON addrwatch.* TO watch@'127.0.0.1'");
        server.sql(tables);
    }
    let user = "user = watch\npassword = secret\nhost = ";
    replica.config(&format!("{user}127.0.0.1:{}", replica.port));
    let hosts = format!("127.0.0.1:{}, 127.0.0.1:{}", replica.port, primary.port);
    primary.config(&format!("{user}{hosts}"));
    Some((primary, replica))
}
