//! A change that `aw-routeros` published, in each output that reads its ring.
#![forbid(unsafe_code)]

use aw_tests::history::History;
use aw_tests::mariadb::MariaDb;
use aw_tests::rig::{TIMEOUT, program, run};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::tracker::tracker;
use aw_tests::watching::Watching;
use std::fs;
use std::net::UdpSocket;

/// A ring on which a real daemon has published a change by alice.
fn changed() -> Ring {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.state().lines.remove(0);
    router.state().lines.push("/ip dns set servers=192.0.2.53".into());
    router.add("alice", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("changed by alice (+2 -1)");
    daemon.stop().ok();
    ring
}

/// In a separate table, invisible to programs that read addrwatch's table. `aw-query` prints it.
#[test]
fn aw_sqlite_and_aw_query() {
    let (ring, history) = (changed(), History::new());
    run(history.command(&ring, &["--once"])).ok();
    assert_eq!(history.rows("addrwatch"), []);
    let select = "SELECT concat_ws(' ', interface, router, user, lines_added, lines_removed,
        time / 1000000000 BETWEEN unixepoch() - 600 AND unixepoch())
        FROM config_change JOIN place ON place.id = place";
    let row: String = history.value(select).unwrap();
    assert_eq!(row, "core1 127.0.0.1 alice 2 1 1");
    let answer = run(history.query(&["changes", "--since", "1h"])).ok().stdout;
    assert!(
        answer.lines().count() == 2 && answer.contains("configuration +2 -1 by alice"),
        "{answer}"
    );
    let json = run(history.query(&["changes", "--format", "json"])).ok().stdout;
    for field in ["\"address\":\"127.0.0.1\"", "\"interface\":\"core1\"", "\"mac\":null"] {
        assert!(json.contains(field), "{field}: {json}");
    }
    assert_eq!(run(history.query(&["devices"])).status.code(), Some(3));
    // It is removed after the retention time.
    let old = "UPDATE config_change SET time = time - 172800000000000";
    history.open().unwrap().execute_batch(old).unwrap();
    let output = history.start(&ring, &["--retention", "1"]);
    aw_tests::rig::wait_until("it is removed", || {
        history.value("SELECT count(*) FROM config_change") == Some(0)
    });
    output.stop().ok();
}

/// In a separate table, which is created with the first change.
#[test]
fn aw_mysql() {
    let Some(server) =
        MariaDb::start(&["--default-time-zone=+05:00", "--innodb-force-primary-key=ON"])
    else {
        return;
    };
    let ring = changed();
    run(server.command(&ring, &["--once", "--hostname", "here"])).ok();
    let select = "SELECT hostname, router, hex(ip_address), user, lines_added, lines_removed,
        tstamp BETWEEN now() - INTERVAL 10 MINUTE AND now() FROM config_change";
    assert_eq!(server.sql(select), "here\tcore1\t7F000001\talice\t2\t1\t1\n");
    assert_eq!(server.sql("SELECT count(*) FROM log; SELECT delivered FROM position"), "0\n1\n");
    let config = server.config("");
    let mut query = program("aw-query", &["-c", config.to_str().unwrap()]);
    query.args(["changes", "--since", "1d"]);
    let answer = run(query).ok().stdout;
    assert!(
        answer.lines().count() == 2
            && answer.contains("configuration +2 -1 by alice")
            && answer.contains("127.0.0.1"),
        "{answer}"
    );
}

/// Reported at once, as a line and with its fields.
#[test]
fn aw_alert() {
    let ring = changed();
    let directory = tempfile::tempdir().unwrap();
    let received = directory.path().join("received");
    let script = format!("cat >> {}", received.display());
    let text = format!("[[channel]]\nname = 'c'\ncommand = ['/bin/sh', '-c', '{script}']\n");
    let config = directory.path().join("alert.toml");
    fs::write(&config, text).unwrap();
    let mut command = program("aw-alert", &["--ring", ring.name(), "--once", "--print", "-c"]);
    command.arg(&config).arg("--state-dir").arg(directory.path()).args(["-u", "root"]);
    let printed = run(command).ok().stdout;
    assert!(
        printed
            .contains("configuration changed 127.0.0.1 core1: by alice, 2 lines added, 1 removed"),
        "{printed}"
    );
    let alert: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(received).unwrap()).unwrap();
    assert_eq!((&alert["kind"], &alert["iface"]), (&"config_change".into(), &"core1".into()));
}

/// As a line, and field by field.
#[test]
fn aw_syslog() {
    let ring = changed();
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let to = format!("udp://127.0.0.1:{}", socket.local_addr().unwrap().port());
    let directory = tempfile::tempdir().unwrap();
    let mut command = program("aw-syslog", &["--ring", ring.name(), "--once", "--from", "oldest"]);
    command.args(["--to", &to, "--format", "rfc5424", "--structured", "--state-dir"]);
    command.arg(directory.path());
    run(command).ok();
    let mut bytes = [0; 1024];
    let length = socket.recv(&mut bytes).unwrap();
    let message = String::from_utf8_lossy(&bytes[..length]);
    for part in [
        " addrwatch - config_change [config_change@32473 ",
        " interface=\"core1\" ",
        " origin=\"CONFIG\" router=\"127.0.0.1\" user=\"alice\" lines_added=\"2\" lines_removed=\"1\"] ",
        " 127.0.0.1 CONFIG:+2-1:alice",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// A separate log, and a section of the report; a change is not counted as a device.
#[test]
fn aw_tracker() {
    let (ring, directory) = (changed(), tempfile::tempdir().unwrap());
    let mut command = tracker(ring.name(), directory.path());
    command.args(["--once", "--source", "macupd", "--log-dir"]).arg(directory.path());
    run(command).ok();
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap_or_default();
    let names = fs::read_dir(directory.path()).unwrap();
    let names = names.map(|file| file.unwrap().file_name().into_string().unwrap());
    let log = names.filter(|name| name.starts_with("macupd_config.")).collect::<Vec<_>>();
    let line = "core1 (127.0.0.1) changed by alice (+2 -1)";
    assert!(log.len() == 1 && read(&log[0]).ends_with(&format!(":{line}\n")), "{log:?}");
    let page = read("macupd_report.html");
    assert!(page.contains("<h2>Configuration changes</h2>") && page.contains(line), "{page}");
    assert!(page.contains("No devices seen.") && page.contains("No alerts."), "{page}");
    let mut report = program("aw-tracker", &["report"]);
    report.arg(directory.path());
    let text = run(report).ok().stdout;
    let section = text.split("\nConfiguration changes\n\n").nth(1).unwrap_or_default();
    assert!(section.lines().next().unwrap_or_default().ends_with(line), "{text}");
}
