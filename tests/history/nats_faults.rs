//! Kills, freezes and cuts between the sensor and the history of the centre: each event is there once, in order, and none counts as lost.
#![forbid(unsafe_code)]

use aw_tests::cable::Cable;
use aw_tests::certificates::make_certificates;
use aw_tests::feed::publish;
use aw_tests::history::History;
use aw_tests::nats::{Nats, assert_each_once, wait_for};
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::{Server, free_port};
use rustix::process::Signal;
use std::path::Path;
use std::time::Duration;

/// Killed with -9 again and again while events flow: the server, the relay, the output.
#[test]
fn kills() {
    let Some(mut server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let (mut relay, mut store) = (server.relay("alpha", &ring), server.store(&history));
    for round in 0..12 {
        publish(&ring, 1 + round * 1000..1001 + round * 1000);
        match round % 4 {
            0 => {
                relay.kill();
                relay = server.relay("alpha", &ring);
            }
            1 => {
                server.kill();
                server.start_again();
            }
            2 => {
                store.kill();
                store = server.store(&history);
            }
            _ => wait_for(&history, "alpha", u64::from(1000 + round * 1000)),
        }
    }
    wait_for(&history, "alpha", 12_000);
    relay.stop().ok();
    store.stop().ok();
    assert_each_once(&history, "alpha", &ring, 1..12_001);
}

/// The server hangs for longer than any time limit, and its machine is cut off: the relay keeps one batch, the ring the rest.
#[test]
fn freezes_and_cuts() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let cable = Cable::to(([127, 0, 0, 1], server.port).into());
    let url = format!("nats://{}/addrwatch", cable.address);
    let relay = Run::start(server.relay_command("alpha", &ring, &["--to", &url]));
    let store = server.store(&history);
    publish(&ring, 1..1001);
    wait_for(&history, "alpha", 1000);

    server.signal(Signal::STOP);
    publish(&ring, 1001..12_001);
    relay.stderr.wait_for("no response");
    store.stderr.wait_for("it is tried again");
    server.signal(Signal::CONT);
    wait_for(&history, "alpha", 12_000);

    cable.pull();
    publish(&ring, 12_001..20_001);
    relay.stderr.wait_until("another outage", |lines| {
        (lines.iter().filter(|line| line.contains("reading no further")).count() == 2).then_some(())
    });
    cable.plug();
    wait_for(&history, "alpha", 20_000);
    relay.stop().ok();
    store.stop().ok();
    assert_each_once(&history, "alpha", &ring, 1..20_001);
}

/// The server stores what the relay publishes, and its acknowledgements are lost: for longer than it recognizes a message that it has. So the
/// stream has the events again, with the same bounds while the relay runs, and with others after a kill with -9; the history has each once.
#[test]
fn lost_acknowledgements() {
    let Some(server) = Nats::without_stream("") else { return };
    server.create_with_window(Duration::from_millis(100));
    let (ring, history) = (Ring::new(), History::new());
    let cable = Cable::to(([127, 0, 0, 1], server.port).into());
    let url = format!("nats://{}/addrwatch", cable.address);
    let relay = || Run::start(server.relay_command("alpha", &ring, &["--to", &url]));
    let (mut running, store) = (relay(), server.store(&history));
    publish(&ring, 1..1001);
    wait_for(&history, "alpha", 1000);
    let stored = || server.info()["state"]["bytes"].as_u64().unwrap() / 64;
    assert!(stored() < 1100, "{}", stored());

    cable.mute();
    publish(&ring, 1001..2001);
    wait_for(&history, "alpha", 2000);
    running.stderr.wait_for("no response");
    cable.unmute();
    running.stderr.wait_for("the destination is back");
    assert!((3000..3100).contains(&stored()), "{}", stored());

    cable.mute();
    publish(&ring, 2001..3001);
    wait_for(&history, "alpha", 3000);
    running.kill();
    cable.unmute();
    publish(&ring, 3001..3501);
    running = relay();
    wait_for(&history, "alpha", 3500);
    assert!((5500..5700).contains(&stored()), "{}", stored());
    running.stop().ok();
    store.stop().ok();
    assert_each_once(&history, "alpha", &ring, 1..3501);
}

/// The database is locked for a while: nothing is queued at the centre, because the stream keeps it.
#[test]
fn a_locked_database() {
    let Some(server) = Nats::start() else { return };
    let (ring, history) = (Ring::new(), History::new());
    let (relay, mut store) = (server.relay("alpha", &ring), server.store(&history));
    publish(&ring, 1..101);
    wait_for(&history, "alpha", 100);
    let lock = history.lock();
    publish(&ring, 101..20_001);
    store.stderr.wait_for("reading no further events until");
    // It is locked at a start, too.
    store.kill();
    store = server.store(&history);
    store.stderr.wait_for("reading no further events until");
    drop(lock);
    wait_for(&history, "alpha", 20_000);
    relay.stop().ok();
    store.stop().ok();
    assert!(!history.spool().exists());
    assert_each_once(&history, "alpha", &ring, 1..20_001);
}

/// Three servers with the block of the example configuration, of which one after the other is killed with -9 while events flow: two of them
/// store each message before it is acknowledged. A server with a certificate of another authority does not become the fourth.
#[test]
fn a_cluster() {
    let Some(first) = Nats::prepare("") else { return };
    let mut servers = vec![first];
    servers.extend((0..2).filter_map(|_| Nats::prepare("")));
    let routes: Vec<u16> = servers.iter().map(|_| free_port()).collect();
    let example = include_str!("../../contrib/nats.conf");
    let block = example[example.find("#cluster {").unwrap()..].replace('#', "");
    let directories = ["routes", "other"].map(|name| servers[0].path(name));
    directories.iter().for_each(|directory| make_certificates(directory));
    let configure = |server: &Nats, name: &str, port: u16, directory: &Path| {
        let mut block = block.replace("0.0.0.0:6222", &format!("127.0.0.1:{port}"));
        for (number, port) in (1..).zip(&routes) {
            block = block
                .replace(&format!("nats{number}.example.net:6222"), &format!("127.0.0.1:{port}"));
        }
        let block = block
            .replace("/etc/nats/routes/ca.pem", &directories[0].join("ca.pem").to_string_lossy())
            .replace("/etc/nats/routes", &directory.to_string_lossy());
        assert!(!block.contains("/etc/") && !block.contains("example"), "{block}");
        let store = "jetstream { store_dir: DIRECTORY/store, max_file: 4G, max_mem: 16M }";
        server.configure(&format!("server_name: {name}\n{store}\n{block}"));
    };
    for (number, (server, port)) in servers.iter().zip(&routes).enumerate() {
        configure(server, &format!("n{number}"), *port, &directories[0]);
    }
    servers.iter_mut().for_each(Server::start_again);
    let hosts: Vec<String> =
        servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let url = format!("nats://{}/addrwatch", hosts.join(","));
    let create = || {
        let arguments = ["--to", &url, "create", "--replicas", "3"];
        run(program("aw-relay", &arguments)).status.success()
    };
    wait_until("the cluster has a leader and the stream", create);

    let (ring, history) = (Ring::new(), History::new());
    let relay = Run::start(servers[0].relay_command("alpha", &ring, &["--to", &url]));
    let store = Run::start(history.stream_command(&url, &[]));
    for round in 0..6 {
        let server = &mut servers[round % 3];
        server.kill();
        let first = 1 + 1000 * round as u32;
        publish(&ring, first..first + 1000);
        wait_for(&history, "alpha", 1000 * (round as u64 + 1));
        server.start_again();
    }
    relay.stop().ok();
    store.stop().ok();
    assert_each_once(&history, "alpha", &ring, 1..6001);

    let Some(stranger) = Nats::prepare("") else { return };
    configure(&stranger, "n3", free_port(), &directories[1]);
    let run = Run::start(stranger.server_command());
    run.stderr.wait_for("Router connection closed");
    let logs: String = servers.iter_mut().map(|server| server.stop().stderr).collect();
    assert!(logs.contains("failed to verify client certificate"), "{logs}");
    drop(run);
}
