//! From the sensor to the centre over a real nats-server: what a sensor's ring has is in the history of the centre, each event once.
#![forbid(unsafe_code)]

use aw_tests::certificates::make_certificates;
use aw_tests::collect::{collect, held, held_json, json};
use aw_tests::feed::{number_of, numbered_capture, publish};
use aw_tests::history::History;
use aw_tests::nats::{Nats, account, assert_each_once, numbers, wait_for};
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sample;
use aw_tests::server::{Server, free_port};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Every kind of event is the same at the centre as at the sensor: as lines, as JSON, and as rows with the sensor's host and ring.
#[test]
fn what_the_sensor_has_is_at_the_centre() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    collect(&ring, &sample::capture(), &["-q"]).ok();
    let relayed = run(server.relay_command("a.example.net", &ring, &["--once"])).ok();
    assert!(relayed.stderr.ends_with(": 36 events, 0 lost\n"), "{}", relayed.stderr);

    let printed = run(program("aw-stdout", &["--once", "--stream", &server.url()])).ok();
    assert_eq!(printed.stdout, held(&ring));
    let printed =
        run(program("aw-stdout", &["--once", "--format", "json", "--stream", &server.url()])).ok();
    let of_stream: Vec<Value> = printed.stdout.lines().map(json).collect();
    let mut of_ring = held_json(&ring);
    of_ring.iter_mut().for_each(|event| event["host"] = "a.example.net".into());
    assert_eq!(of_stream, of_ring);

    run(history.stream_command(&server.url(), &["--once"])).ok();
    let local = History::new();
    run(local.command(&ring, &["--once"])).ok();
    assert_eq!(history.rows("addrwatch"), local.rows("addrwatch"));
    let places = "SELECT group_concat(DISTINCT host || ' ' || ring) FROM place";
    let expected = format!("a.example.net {}", ring.name());
    assert_eq!(history.value::<String>(places), Some(expected));
    assert_eq!(account(&history, "a.example.net", &ring), Some((0, 36, 0)));
    let stream =
        "SELECT began || ' ' || delivered || ' ' || lost FROM account WHERE ring = '/:addrwatch'";
    assert_eq!(history.value::<String>(stream), Some("0 1 0".into()));
}

/// Two sensors whose rings have the same name are two; what comes later is stored without a restart, and nothing twice after one.
#[test]
fn sensors_are_distinguished() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let store = server.store(&history);
    let relays = ["alpha", "beta"].map(|host| server.relay(host, &ring));
    publish(&ring, 1..301);
    for host in ["alpha", "beta"] {
        wait_for(&history, host, 300);
    }
    store.stop().ok();
    let store = server.store(&history);
    publish(&ring, 301..401);
    for host in ["alpha", "beta"] {
        wait_for(&history, host, 400);
    }
    relays.into_iter().for_each(|relay| drop(relay.stop().ok()));
    store.stop().ok();
    for host in ["alpha", "beta"] {
        assert_each_once(&history, host, &ring, 1..401);
    }
}

/// What the sensor's ring overwrote counts as lost at the centre, and so do events of messages that the stream deleted.
#[test]
fn losses_are_counted_from_wire_to_row() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let small = ["-q", "-L", "64"];
    collect(&ring, &numbered_capture(1..11), &small).ok();
    run(server.relay_command("alpha", &ring, &["--once"])).ok();
    run(history.stream_command(&server.url(), &["--once"])).ok();
    assert_eq!(account(&history, "alpha", &ring), Some((0, 10, 0)));

    // The relay was down for longer than the ring holds.
    collect(&ring, &numbered_capture(11..211), &small).ok();
    let relayed = run(server.relay_command("alpha", &ring, &["--once"])).ok();
    assert!(
        relayed.stderr.contains(" lost: overwritten before they were read"),
        "{}",
        relayed.stderr
    );
    let stored = run(history.stream_command(&server.url(), &["--once"])).ok();
    assert!(stored.stderr.contains(" of sensors lost: "), "{}", stored.stderr);
    let (began, delivered, lost) = account(&history, "alpha", &ring).unwrap();
    assert_eq!((began, delivered + lost), (0, 210));
    assert!(lost >= 136, "{lost}");
    assert_eq!(numbers(&history, "alpha").len() as i64, delivered);

    // Two messages, of which the stream has deleted the first one before it was read.
    for range in [211..221, 221..231] {
        collect(&ring, &numbered_capture(range), &small).ok();
        run(server.relay_command("alpha", &ring, &["--once"])).ok();
    }
    server.create(&["--max-bytes", "1500"]);
    let stored = run(history.stream_command(&server.url(), &["--once"])).ok();
    assert!(stored.stderr.contains("deleted before they were read"), "{}", stored.stderr);
    assert_eq!(account(&history, "alpha", &ring), Some((0, delivered + 10, lost + 10)));
}

/// A sensor that sends more than the stream keeps of each pushes out its own messages alone, which count as lost; deletions between the
/// messages of others are one warning.
#[test]
fn a_sensor_that_sends_too_much() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let relay = |host: &str, numbers| {
        publish(&ring, numbers);
        run(server.relay_command(host, &ring, &["--once"])).ok();
    };
    server.create(&["--max-messages", "2"]);
    relay("alpha", 1..2);
    relay("beta", 2..3);
    run(history.stream_command(&server.url(), &["--once"])).ok();
    for number in 3..9 {
        relay("alpha", number..number + 1);
        if number % 3 == 0 {
            relay("beta", 0..0);
        }
    }
    let stored = run(history.stream_command(&server.url(), &["--once"])).ok();
    let warnings = stored.stderr.matches("deleted before they were read").count();
    assert!((1..3).contains(&warnings), "{}", stored.stderr);
    assert_eq!(account(&history, "alpha", &ring), Some((0, 3, 5)));
    assert_eq!(account(&history, "beta", &ring), Some((0, 6, 0)));
    assert_eq!(numbers(&history, "alpha"), [1, 7, 8]);
}

/// A sensor that was started again has another generation of its ring: it is read from its first event on.
#[test]
fn a_new_generation() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let store = server.store(&history);
    let mut relay = server.relay("alpha", &ring);
    publish(&ring, 1..101);
    wait_for(&history, "alpha", 100);
    relay.kill();
    ring.files().iter().for_each(|file| fs::remove_file(file).unwrap());
    publish(&ring, 101..151);
    relay = server.relay("alpha", &ring);
    wait_for(&history, "alpha", 150);
    relay.stop().ok();
    store.stop().ok();
    assert!(numbers(&history, "alpha").into_iter().eq(1..151));
    assert_eq!(account(&history, "alpha", &ring), Some((0, 50, 0)));
}

/// The stream was deleted and created again, and a copy of an old state of the history is used: no row is there twice.
#[test]
fn a_new_stream() {
    let Some(mut server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..51);
    run(server.relay_command("alpha", &ring, &["--once"])).ok();
    run(history.stream_command(&server.url(), &["--once"])).ok();
    server.stop();
    fs::remove_dir_all(server.path("store")).unwrap();
    server.start_again();
    server.create(&[]);
    publish(&ring, 51..101);
    // As after the loss of its position: all is sent again.
    fs::remove_dir_all(server.path("state-alpha")).unwrap();
    run(server.relay_command("alpha", &ring, &["--once"])).ok();
    let stored = run(history.stream_command(&server.url(), &["--once"])).ok();
    assert!(stored.stderr.contains("was created again"), "{}", stored.stderr);
    assert_each_once(&history, "alpha", &ring, 1..101);
}

/// `aw-stdout` prints what is published from now on, and resumes with `--from resume`.
#[test]
fn printed_at_the_centre() {
    let Some(server) = Nats::start() else { return };
    let ring = Ring::new();
    publish(&ring, 1..11);
    run(server.relay_command("alpha", &ring, &["--once"])).ok();
    let (url, state) = (server.url(), server.path("state-stdout"));
    let as_json = ["--format", "json", "--stream", &url];
    let now = Run::start(program("aw-stdout", &as_json));
    now.stderr.wait_for("reading nats://");
    let resuming = |options: &[&str]| {
        let mut command = program("aw-stdout", &as_json);
        command.args(["--from", "resume", "--state-dir"]).arg(&state).args(options);
        command
    };
    let first = run(resuming(&["--once"])).ok();
    assert_eq!(first.stdout.lines().count(), 10);
    publish(&ring, 11..21);
    run(server.relay_command("alpha", &ring, &["--once"])).ok();
    now.stdout.wait_for_lines(10);
    let printed = now.stdout.text();
    assert!(printed.lines().map(|line| number_of(&json(line))).eq(11..21));
    let second = run(resuming(&["--once"])).ok();
    assert_eq!(second.stdout, printed);
    now.stop().ok();
}

/// It ends with status 1, and with these texts.
#[track_caller]
fn fails(command: Command, texts: &[&str]) {
    let ended = run(command);
    let is_named = |text: &&str| ended.stderr.contains(*text);
    assert!(ended.status.code() == Some(1) && texts.iter().all(is_named), "{texts:?}: {ended:#?}");
}

/// Each fault is named with its remedy.
#[test]
fn faults_have_remedies() {
    let Some(server) = Nats::without_stream("") else { return };
    let (ring, history) = (Ring::new(), History::new());
    publish(&ring, 1..11);
    let once = || server.relay_command("alpha", &ring, &["--once"]);
    fails(once(), &["no stream takes addrwatch.alpha.", "(create it: aw-relay create)"]);
    let missing = history.stream_command(&server.url(), &["--once"]);
    fails(missing, &["stream not found"]);
    let mut invalid = once();
    invalid.args(["--hostname", "a b"]);
    fails(invalid, &["\"a b\"", "(set --hostname)"]);
    let down = format!("nats://127.0.0.1:{}/addrwatch", free_port());
    let refused = server.relay_command("alpha", &ring, &["--once", "--to", &down]);
    fails(refused, &["connection refused (start the server, or correct the URL)"]);
    for login in ["nats://u:secret@a/b", "u:secret@a"] {
        let refused = run(server.relay_command("alpha", &ring, &["--to", login]));
        assert!(
            refused.status.code() == Some(1) && !refused.stderr.contains("secret"),
            "{refused:#?}"
        );
        assert!(refused.stderr.contains("must have no user and password"), "{refused:#?}");
    }
    for bad in ["http://a/b", "nats://a", "nats://a/b?ca=/x"] {
        let command = server.relay_command("alpha", &ring, &["--to", bad]);
        assert_eq!(run(command).status.code(), Some(2), "{bad}");
    }
    let mut both = program("aw-sqlite", &["--ring", ring.name(), "--stream", &server.url()]);
    both.args(["--once"]);
    assert_eq!(run(both).status.code(), Some(2));
    // A running relay waits, and says so to the service manager; the events wait in the ring.
    let relay = server.relay("alpha", &ring);
    relay.stderr.wait_for("reading no further events until");
    server.create(&[]);
    relay.stderr.wait_for("the destination is back");
    let store = server.store(&history);
    wait_until("the events are stored", || account(&history, "alpha", &ring) == Some((0, 10, 0)));
    relay.stop().ok();
    store.stop().ok();
}

/// A limit that is not named is not changed, nor is what others set.
#[test]
fn limits() {
    let Some(server) = Nats::start() else { return };
    let limits = || {
        let config = &server.info()["config"];
        ["max_bytes", "max_age", "num_replicas", "max_msgs_per_subject", "deny_purge"]
            .map(|name| config[name].clone())
    };
    let day = 86_400_000_000_000_u64;
    server.create(&["--max-bytes", "3G", "--max-age", "30d"]);
    let expected = [json!(3_u64 << 30), json!(30 * day), json!(1), json!(-1), json!(true)];
    assert_eq!(limits(), expected);
    let mut config = server.info()["config"].clone();
    config["max_msgs_per_subject"] = json!(1000);
    server.update(&config);
    server.create(&["--max-age", "7d"]);
    let expected = [json!(3_u64 << 30), json!(7 * day), json!(1), json!(1000), json!(true)];
    assert_eq!(limits(), expected);
}

/// The server acknowledges a message to any subject that the sensor names, with rights of its own: that purges or deletes nothing, and what
/// arrives on the subject of another sensor is skipped.
#[test]
fn an_acknowledgement_is_no_request() {
    let Some(mut server) = Nats::prepare("") else { return };
    let example = include_str!("../../contrib/nats.conf");
    let users = &example[example.find("authorization {").unwrap()..];
    let users = users.replace("user: \"CN=", "password: x, user: \"");
    let without_a_name = |user: &str| format!("{users}\nno_auth_user: {user}");
    server.configure(&without_a_name("admin"));
    server.start_again();
    server.create(&[]);
    let publish = |subject: &str, reply: &str| {
        server.exchange(Some("alpha"), &format!("PUB {subject} {reply} 1\r\nx\r\n"), "PONG")
    };
    let own = "addrwatch.alpha.addrwatch";
    for _ in 0..3 {
        publish(own, "");
    }
    assert!(publish("addrwatch.beta.addrwatch", "").contains("Permissions Violation"));
    wait_until("three are stored", || server.info()["state"]["messages"] == 3);
    publish(own, "$JS.API.STREAM.PURGE.addrwatch");
    publish(own, "$JS.API.STREAM.MSG.DELETE.addrwatch");
    publish(own, "addrwatch.beta.addrwatch");
    wait_until("the acknowledgement is stored, too", || server.info()["state"]["last_seq"] == 7);
    let state = &server.info()["state"];
    assert_eq!((&state["messages"], &state["first_seq"]), (&json!(7), &json!(1)), "{state}");

    server.configure(&without_a_name("reader"));
    server.stop();
    server.start_again();
    let read = run(program("aw-stdout", &["--once", "--stream", &server.url()])).ok();
    assert!(
        read.stdout.is_empty() && read.stderr.contains("skipped; the last one is message "),
        "{read:#?}"
    );
    assert!(read.stderr.contains(": 7 messages of 0 rings, 0 events, 0 lost"), "{read:#?}");
}

/// With the example configuration: a client without a certificate gets nothing, a sensor can publish as no other one, and only the
/// reader can read.
#[test]
fn each_sensor_has_a_certificate() {
    let Some(mut server) = Nats::prepare("") else { return };
    let (ring, history) = (Ring::new(), History::new());
    let tls = server.path("tls");
    make_certificates(&tls);
    for name in ["admin", "reader", "alpha", "beta"] {
        let script = format!(
            "exec 2>/dev/null; cd \"$0\"; umask 077; echo extendedKeyUsage=clientAuth > client
            openssl req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}
            openssl x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile client -out {name}.pem"
        );
        let mut openssl = Command::new("sh");
        openssl.args(["-ec", &script]).arg(&tls);
        run(openssl).ok();
    }
    let example = include_str!("../../contrib/nats.conf");
    let ours = example
        .replace("listen: 0.0.0.0:4222\n", "")
        .replace("/var/lib/nats", "DIRECTORY/store")
        .replace("/etc/nats", "DIRECTORY/tls")
        .replace("50G", "4G")
        .replace(".alpha.addrwatch", &format!(".alpha.{}", &ring.name()[1..]))
        .replace(".beta.addrwatch", &format!(".beta.{}", &ring.name()[1..]));
    server.configure(&ours);
    server.start_again();
    let tls = tls.display();
    let address = format!("tls://127.0.0.1:{}/addrwatch?ca={tls}/ca.pem", server.port);
    let url = |user: &str| format!("{address}&cert={tls}/{user}.pem&key={tls}/{user}.key");
    run(program("aw-relay", &["--to", &url("admin"), "create"])).ok();

    publish(&ring, 1..101);
    let once = |host: &str, url: &str| server.relay_command(host, &ring, &["--once", "--to", url]);
    run(once("alpha", &url("alpha"))).ok();
    run(once("beta", &url("beta"))).ok();
    fails(once("gamma", &url("alpha")), &["Permissions Violation"]);
    fs::remove_dir_all(server.path("state-beta")).unwrap();
    fails(once("beta", &url("alpha")), &["Permissions Violation", "(allow it to this user"]);
    fails(once("beta", &address), &[&format!("publish to tls://127.0.0.1:{}", server.port)]);
    let plain = server.url();
    fails(once("beta", &plain), &["publish to nats://"]);
    let no_authority = url("beta").replace(&format!("ca={tls}/ca.pem&"), "");
    fails(once("beta", &no_authority), &["(set ca= of the URL"]);
    fs::set_permissions(format!("{tls}/alpha.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fails(once("alpha", &url("alpha")), &["alpha.key"]);
    fs::set_permissions(format!("{tls}/alpha.key"), fs::Permissions::from_mode(0o600)).unwrap();

    fails(program("aw-stdout", &["--once", "--stream", &url("alpha")]), &["Permissions Violation"]);
    run(history.stream_command(&url("reader"), &["--once"])).ok();
    for host in ["alpha", "beta"] {
        assert_each_once(&history, host, &ring, 1..101);
    }
    let check = run(server.relay_command("alpha", &ring, &["--check", "--to", &url("alpha")])).ok();
    assert!(check.stdout.contains("accepts the login"), "{}", check.stdout);
    let check = run(history.stream_command(&url("reader"), &["--check"])).ok();
    assert!(check.stdout.contains("can be read"), "{}", check.stdout);
}
