//! `aw-clickhouse` with a real ClickHouse: each event at least once in the table, and once in each answer, whatever fails.
#![forbid(unsafe_code)]

use aw_tests::cable::Cable;
use aw_tests::clickhouse::Clickhouse;
use aw_tests::collect::{collect, held};
use aw_tests::feed::publish;
use aw_tests::mariadb::sorted;
use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sample;
use aw_tests::server::{Server, free_port};
use flate2::read::GzDecoder;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// All sightings as addrwatch's lines.
fn lines(server: &Clickhouse) -> String {
    let names = "'ARP_REQ', 'ARP_REP', 'ARP_ACD', 'ND_NS', 'ND_NA', 'ND_DAD', 'MACUPD', 'ND_NA_FRAME', 'ND_NS_FRAME', 'ND_RA',
        'ND_RD', 'ND_RS', 'ARP_NO_HOST', 'ND_NO_HOST', 'ARP_IGNORED', 'ND_IGNORED'";
    sorted(&server.sql(&format!(
        r"SELECT concat(toString(intDiv(time, 1000000000)), ' ', interface, ' ', toString(vlan), ' ', lower(mac_address), ' ',
            replaceRegexpOne(ip_address, '^::ffff:([0-9.]+)$', '\\1'), ' ', [{names}][origin + 1])
        FROM addrwatch.sightings"
    )))
}

#[test]
fn rows_of_every_kind() {
    let Some(server) = Clickhouse::start() else { return };
    let ring = Ring::new();
    collect(&ring, &sample::capture(), &["-q"]).ok();
    run(server.command(&ring, &["--once", "--hostname", "tür's\\"])).ok();
    assert_eq!(lines(&server), sorted(&held(&ring)));
    assert_eq!(server.sql("SELECT DISTINCT host FROM addrwatch.log"), "tür\\'s\\\\\n"); // as TSV escapes it
    let numbers = "SELECT min(sequence), uniqExact(sequence) = count(), uniqExact(generation), any(ring) FROM addrwatch.log";
    assert_eq!(server.sql(numbers), format!("0\t1\t1\t{}\n", ring.name()));
}

/// The host of the collector, its interface, and the router; with the nanoseconds of the event.
#[test]
fn reports_of_routers() {
    let Some(server) = Clickhouse::start() else { return };
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &["--hostname", "gateway"]);
    receiver.send("127.0.0.2", &[&line(1, "192.168.1.124", 2, "22:22:22:22:22:22", "vlan2")]);
    wait_until("it is in the ring", || !held(&ring).is_empty());
    run(server.command(&ring, &["--once"])).ok();
    receiver.run.stop().ok();
    assert_eq!(lines(&server), held(&ring));
    let row = "SELECT host, interface, mac_address, ip_address, reporter, origin FROM addrwatch.sightings";
    let expected = "gateway\tvlan2\t22:22:22:22:22:22\t::ffff:192.168.1.124\t127.0.0.2\t6\n";
    assert_eq!(server.sql(row), expected);
}

/// What is delivered again is in the table twice until parts are merged, and once in answers.
#[test]
fn copies_count_once() {
    let Some(server) = Clickhouse::start() else { return };
    let ring = Ring::new();
    publish(&ring, 1..101);
    run(server.command(&ring, &["--once"])).ok();
    assert_eq!(server.number("SELECT count() FROM addrwatch.log"), 100);
    fs::remove_dir_all(server.path("state")).unwrap();
    run(server.command(&ring, &["--once"])).ok();
    server.assert_numbers(1..101);
    server.sql("OPTIMIZE TABLE addrwatch.log FINAL");
    assert_eq!(server.number("SELECT count() FROM addrwatch.log"), 100);
}

/// Killed with -9 repeatedly while rows are stored, the output too: each event is there once.
#[test]
fn kills_of_server_and_output() {
    let Some(mut server) = Clickhouse::start() else { return };
    let ring = Ring::new();
    let mut output = server.output(&ring, &[]);
    for round in 0..6 {
        publish(&ring, 1 + round * 500..501 + round * 500);
        match round % 3 {
            0 => {
                output.kill();
                output = server.output(&ring, &[]);
            }
            1 => {
                server.kill();
                server.start_again();
            }
            _ => server.wait_for(u64::from(500 + round * 500)),
        }
    }
    server.wait_for(3000);
    output.stop().ok();
    server.assert_numbers(1..3001);
}

/// A server that hangs or is cut off: events are queued, and delivered when it is back.
#[test]
fn a_server_that_hangs_or_is_cut_off() {
    let Some(server) = Clickhouse::start() else { return };
    let ring = Ring::new();
    let cable = Cable::to(([127, 0, 0, 1], server.port).into());
    let url = format!("http://{}", cable.address);
    let output = server.output(&ring, &["--server", &url]);
    publish(&ring, 1..101);
    server.wait_for(100);
    cable.pull();
    publish(&ring, 101..201);
    output.stderr.wait_for("queueing events in");
    cable.plug();
    server.wait_for(200);
    server.signal(Signal::STOP);
    publish(&ring, 201..301);
    wait_until("it queues again", || {
        output.stderr.text().matches("queueing events in").count() > 1
    });
    server.signal(Signal::CONT);
    server.wait_for(300);
    output.stop().ok();
    server.assert_numbers(1..301);
}

/// Of several servers, one that is down is passed over.
#[test]
fn servers_are_tried_in_turn() {
    let Some(server) = Clickhouse::start() else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    let dead = |_| format!("http://127.0.0.1:{}", free_port());
    let [first, last] = [0, 1].map(dead);
    let servers = ["--server", &first, "--server", &server.url(), "--server", &last];
    let once = run(server.command(&ring, &[&["--once"], &servers[..]].concat())).ok();
    assert!(!once.stderr.contains("queueing"), "{once:#?}");
    server.assert_numbers(1..11);
}

/// What a server receives: the address of each insert, and its rows.
type Inserts = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A server of a release that knows tokens. It takes every insert, and answers with this text, or closes the connection.
fn server_that_answers(
    text: impl Fn() -> Option<&'static str> + Send + 'static,
) -> (String, Inserts) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let inserts = Inserts::default();
    let taken = Arc::clone(&inserts);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let Some((target, body)) = request(&stream) else { continue };
            let mut answer = "24.8.4.13\n";
            if target.contains("INSERT") {
                taken.lock().unwrap().push((target, body));
                let Some(text) = text() else { continue };
                answer = text;
            }
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length:";
            let _ = write!(&stream, "{head} {}\r\n\r\n{answer}", answer.len());
        }
    });
    (url, inserts)
}

fn request(mut stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut part) = (Vec::new(), [0; 65_536]);
    loop {
        let read = stream.read(&mut part).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&part[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        if bytes.len() >= end + 4 + length {
            let first = String::from_utf8_lossy(&bytes[..end]).lines().next()?.to_owned();
            let (body, mut rows) = (bytes.split_off(end + 4), Vec::new());
            if !body.is_empty() {
                assert!(head.contains("content-encoding: gzip"), "{head}");
                GzDecoder::new(&body[..]).read_to_end(&mut rows).unwrap();
            }
            return Some((first, rows));
        }
    }
}

/// The answers to inserts are lost, and the output is killed: after the start it sends the same bytes with the same token, although
/// the collector has published more; and what follows is another batch.
#[test]
fn a_resend_is_the_same_batch() {
    let (ring, answers) = (Ring::new(), Arc::<AtomicBool>::default());
    let is_answering = Arc::clone(&answers);
    let (url, inserts) = server_that_answers(move || is_answering.load(Relaxed).then_some(""));
    let state = tempfile::tempdir().unwrap();
    let start = || output_to(&url, &ring, state.path());
    publish(&ring, 1..101);
    let output = start();
    output.stderr.wait_for("queueing events in");
    output.kill();
    // It serves one client after the other: what the killed one has sent is read before this is answered.
    let mut last = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    last.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    last.read_to_string(&mut String::new()).unwrap();
    let before = inserts.lock().unwrap().len();
    publish(&ring, 101..201);
    answers.store(true, Relaxed);
    let output = start();
    wait_until("all is delivered", || {
        let inserts = inserts.lock().unwrap();
        let rows = inserts.iter().skip(before).map(|(_, rows)| rows.len());
        rows.sum::<usize>() >= 2 * inserts[0].1.len()
    });
    output.stop().ok();
    let inserts = inserts.lock().unwrap();
    assert!(inserts[..=before].iter().all(|insert| *insert == inserts[0]), "{before}");
    assert!(inserts[before + 1..].iter().all(|insert| *insert != inserts[0]), "{before}");
    let token = "&insert_deduplication_token=";
    assert!(inserts.iter().all(|(target, _)| target.contains(token)), "{:?}", inserts[0].0);
}

/// `aw-clickhouse` on this ring, with this server.
fn output_to(url: &str, ring: &Ring, state: &Path) -> Run {
    let mut command = program("aw-clickhouse", &["--ring", ring.name(), "--server", url]);
    command.args(["--every", "1s", "--state-dir"]).arg(state);
    if rustix::process::geteuid().is_root() {
        command.args(["-u", "0"]);
    }
    Run::start(command)
}

/// A success with a page, as of a portal or a proxy, confirms nothing.
#[test]
fn an_answer_that_is_none() {
    let (ring, is_server) = (Ring::new(), Arc::<AtomicBool>::default());
    let confirms = Arc::clone(&is_server);
    let (url, inserts) = server_that_answers(move || match confirms.load(Relaxed) {
        true => Some(""),
        false => Some("<h1>Welcome</h1>"),
    });
    let state = tempfile::tempdir().unwrap();
    publish(&ring, 1..11);
    let output = output_to(&url, &ring, state.path());
    let message = output.stderr.wait_for("queueing events in");
    assert!(
        message.contains("\"<h1>Welcome</h1>\" (correct --server: the port of HTTP)"),
        "{message}"
    );
    is_server.store(true, Relaxed);
    output.stderr.wait_for("the destination is back");
    output.stop().ok();
    let inserts = inserts.lock().unwrap();
    // The days of the batch, until they are confirmed; and then its events.
    let ((target, _), days) = inserts.split_last().unwrap();
    assert!(days.len() > 1 && days.iter().all(|insert| *insert == days[0]));
    assert!(days[0].0.contains(".pairing_day") && target.contains(".log"), "{target}");
}

/// Faults that an administrator can mend, with what to do.
#[test]
fn faults_and_remedies() {
    let Some(server) = Clickhouse::without_tables() else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    let check = |options: &[&str]| run(server.command(&ring, &[&["--check"], options].concat()));
    let refused = |options: &[&str], texts: &[&str]| {
        check(options).refused("aw-clickhouse", texts);
    };
    refused(&[], &["aw-clickhouse --database addrwatch schema | clickhouse-client"]);
    server.create_tables();
    check(&[]).ok();
    let secret = |name: &str, text: &str| {
        let path = server.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (secret("right", "s3cret\n"), secret("wrong", "other\n"));
    check(&["--login", "sensor", "--password-file", &right]).ok();
    let login = ["--login", "sensor", "--password-file", &wrong];
    refused(&login, &["Wrong password", "correct --login and the first line of --password-file"]);
    refused(&["--login", "reader"], &["GRANT INSERT ON addrwatch.*"]);
    let dead = format!("http://127.0.0.1:{}", free_port());
    refused(&["--server", &dead], &["connection refused (start the server, or correct --server"]);
    let far = ["--server", "http://192.0.2.1", "--login", "sensor", "--password-file", &right];
    refused(&far, &["a password is not sent to 192.0.2.1 without TLS"]);
    // The password is read again for each insert.
    let output = server.output(&ring, &login);
    output.stderr.wait_for("Wrong password");
    secret("wrong", "s3cret\n");
    server.wait_for(10);
    output.stop().ok();
    server.sql("ALTER TABLE addrwatch.log DROP COLUMN interface");
    refused(&[], &["interface", "compare it with aw-clickhouse schema"]);
}
