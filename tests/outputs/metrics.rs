//! `aw-metrics` with Debian's prometheus: promtool checks the text, and a server scrapes it.
#![forbid(unsafe_code)]

use aw_tests::alerting::Alert;
use aw_tests::feed::{FrameSender, publish};
use aw_tests::lan::Lan;
use aw_tests::rig::{Run, binary, program, program_at, run, run_with, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::sample;
use aw_tests::server::{free_port, listens};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

fn metrics(ring: &Ring, state: &Path, options: &[&str]) -> Command {
    let mut command = program("aw-metrics", &["--ring", ring.name(), "--state-dir"]);
    command.arg(state).args(options);
    command
}

/// A running server, and its port.
fn listening(ring: &Ring, state: &Path) -> (Run, u16) {
    let run = Run::start(metrics(ring, state, &["-v", "--listen", "0"]));
    let line = run.stderr.wait_for("metrics at http://127.0.0.1:");
    let port = line.trim_end_matches("/metrics").rsplit(':').next().unwrap().parse().unwrap();
    (run, port)
}

fn ask(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost:{port}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn scrape(port: u16) -> String {
    let answer = ask(port, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// Values by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let sample = samples.map(|line| line.rsplit_once(' ').unwrap());
    sample.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect()
}

/// Every counter that `collector --stats` prints, with the same number.
fn assert_same_as_stats(ring: &Ring, samples: &BTreeMap<String, f64>) {
    let stats = run(program("collector", &["--ring", ring.name(), "--stats", "--format", "json"]));
    let stats: serde_json::Value = serde_json::from_str(&stats.ok().stdout).unwrap();
    let of = format!("ring=\"{}\",interface=\"pcap\"", ring.name());
    let counters = stats["interfaces"][0]["counters"].as_object().unwrap();
    assert!(counters.len() > 30, "{counters:?}");
    let mut ended = 0.0;
    for (name, value) in counters {
        let key = match name.as_str() {
            "seen" => format!("addrwatch_frames_seen_total{{{of}}}"),
            "kernel_dropped" | "forgotten" => format!("addrwatch_{name}_total{{{of}}}"),
            "arp_broadcast" => format!("addrwatch_arp_broadcasts_total{{{of}}}"),
            reason => format!("addrwatch_frames_total{{{of},reason=\"{reason}\"}}"),
        };
        assert_eq!(samples.get(&key).copied(), value.as_f64(), "{key}");
        ended += samples[&key] * f64::from(u8::from(key.contains("reason=")));
    }
    assert_eq!(ended, samples[&format!("addrwatch_frames_seen_total{{{of}}}")]);
}

#[test]
fn promtool_accepts_the_metrics() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let (metrics, port) = listening(&ring, state.path());
    // There is no ring yet.
    assert_eq!(
        samples(&scrape(port))[&format!("addrwatch_ring_up{{ring=\"{}\"}}", ring.name())],
        0.0
    );
    aw_tests::collect::collect(&ring, &sample::capture(), &["-q", "-4"]).ok();
    let own = state.path().join("aw-sqlite");
    fs::create_dir(&own).unwrap();
    let history =
        ["--once", "--replay", "--ring", ring.name(), "--state-dir", own.to_str().unwrap()];
    run(program("aw-sqlite", &history)).ok();
    let gone = ["--to", "/nowhere/at/all"];
    let syslog = Run::start({
        let mut command = program("aw-syslog", &["--replay", "--ring", ring.name(), "--state-dir"]);
        command.arg(state.path()).args(gone);
        command
    });
    syslog.stderr.wait_for("queueing events in");
    syslog.stop();
    let published =
        samples(&scrape(port))[&format!("addrwatch_ring_events_total{{ring=\"{}\"}}", ring.name())];
    let by_origin = |text: &str| {
        let origins = samples(text)
            .into_iter()
            .filter(|(name, _)| name.starts_with("addrwatch_events_total"));
        origins.map(|(_, value)| value).sum::<f64>()
    };
    wait_until("all are counted", || by_origin(&scrape(port)) == published);
    let text = scrape(port);
    let found = samples(&text);
    assert_same_as_stats(&ring, &found);
    let of = |output: &str| format!("{{output=\"{output}\",ring=\"{}\"}}", ring.name());
    assert!(published > 1.0);
    for (name, value) in [
        (format!("output_delivered_total{}", of("aw-sqlite")), published),
        (format!("output_lost_total{}", of("aw-sqlite")), 0.0),
        (format!("output_next_event{}", of("aw-sqlite")), published),
        (format!("output_behind_events{}", of("aw-sqlite")), 0.0),
        (format!("collector_running{{ring=\"{}\"}}", ring.name()), 0.0),
        (format!("ring_slots{{ring=\"{}\"}}", ring.name()), 65_536.0),
    ] {
        assert_eq!(found.get(&format!("addrwatch_{name}")), Some(&value), "{name} in {text}");
    }
    assert!(found["addrwatch_spool_bytes{output=\"aw-syslog\"}"] > 4096.0);
    assert!(
        found[&format!("addrwatch_collector_heartbeat_age_seconds{{ring=\"{}\"}}", ring.name())]
            > 0.0
    );
    assert!(ask(port, "/secret").starts_with("HTTP/1.1 404 "));

    if !Path::new("/usr/bin/promtool").exists() {
        return skip("there is no promtool here (prometheus)");
    }
    let checked =
        run_with(program_at("/usr/bin/promtool".into(), &["check", "metrics"]), text.as_bytes());
    assert_eq!((checked.stdout.as_str(), checked.stderr.as_str()), ("", ""));
    checked.ok();
    metrics.stop().ok();
}

/// The number of series does not depend on the number of devices.
#[test]
fn a_larger_network_has_no_more_series() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..11);
    let (metrics, port) = listening(&ring, state.path());
    metrics.stderr.wait_for("reading ring"); // it begins with the events after this moment
    publish(&ring, 11..21);
    let name = format!("addrwatch_events_total{{ring=\"{}\",origin=\"ARP_REQ\"}}", ring.name());
    wait_until("ten are counted", || samples(&scrape(port)).get(&name) == Some(&10.0));
    let few = samples(&scrape(port)).len();
    publish(&ring, 21..1021);
    wait_until("all are counted", || samples(&scrape(port))[&name] == 1010.0);
    assert_eq!(samples(&scrape(port)).len(), few);
    metrics.stop().ok();
}

/// --file: the file is complete at any moment and is replaced, and no port is open.
#[test]
fn into_a_file() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let file = state.path().join("addrwatch.prom");
    publish(&ring, 1..4);
    let metrics = Run::start(metrics(&ring, state.path(), &["--file", file.to_str().unwrap()]));
    let events = format!("addrwatch_ring_events_total{{ring=\"{}\"}}", ring.name());
    let value = || samples(&fs::read_to_string(&file).unwrap_or_default()).get(&events).copied();
    wait_until("there is a file", || value() == Some(3.0));
    publish(&ring, 4..6);
    wait_until("it is replaced", || value() == Some(5.0));
    let finished = metrics.stop().ok();
    assert!(!finished.stderr.contains("http://"), "{}", finished.stderr);
    let names: Vec<_> =
        fs::read_dir(state.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(names, ["addrwatch.prom"]);
}

/// A port in use is an error at the start. A state directory is not needed.
#[test]
fn faults() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    run(metrics(&ring, state.path(), &["--listen", &port]))
        .refused("aw-metrics", &["listen on", &port]);
    for wrong in ["", "x", "127.0.0.1", "65536"] {
        let finished = run(metrics(&ring, state.path(), &["--listen", wrong]));
        assert_eq!(finished.status.code(), Some(2), "{wrong}");
    }
    let (metrics, port) = listening(&ring, &state.path().join("nowhere"));
    assert_eq!(samples(&scrape(port)).len(), 1);
    metrics.stop().ok();
}

/// A real server finds every sample.
#[test]
fn prometheus_scrapes_it() {
    if !Path::new("/usr/bin/prometheus").exists() {
        return skip("there is no prometheus here");
    }
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let (metrics, port) = listening(&ring, state.path());
    publish(&ring, 1..4);
    // An output whose destination is down.
    let words = ["--replay", "--to", "/nowhere/at/all", "--ring", ring.name(), "--state-dir"];
    let syslog = Run::start({
        let mut command = program("aw-syslog", &words);
        command.arg(state.path());
        command
    });
    syslog.stderr.wait_for("queueing events in");
    let at = |name: &str| state.path().join(name).display().to_string();
    let targets = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: addrwatch\n  static_configs:\n  - targets: ['127.0.0.1:{port}']\n"
    );
    fs::write(at("prometheus.yml"), targets).unwrap();
    run(program_at("/usr/bin/promtool".into(), &["check", "config", &at("prometheus.yml")])).ok();
    let prometheus_port = free_port();
    let options = [
        format!("--config.file={}", at("prometheus.yml")),
        format!("--storage.tsdb.path={}", at("data")),
        format!("--web.listen-address=127.0.0.1:{prometheus_port}"),
        "--log.level=warn".into(),
    ];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let prometheus = Run::start(program_at("/usr/bin/prometheus".into(), &options));
    prometheus.wait_until("an answer", || listens(prometheus_port));
    let query = |query: &str| ask(prometheus_port, &format!("/api/v1/query?query={query}"));
    wait_until("the target is up", || query("up").contains("\"1\"]"));
    wait_until("the events are there", || query("addrwatch_ring_events_total").contains("\"3\"]"));
    let frames = ask(port, "/metrics").matches("\naddrwatch_frames_total{").count();
    assert!(frames > 30, "{frames}");
    // A scrape that takes longer than a second has no samples; the next one has.
    wait_until("all frames are counted", || {
        query("count(addrwatch_frames_total)").contains(&format!("\"{frames}\"]"))
    });
    publish(&ring, 4..40); // so that there are rates
    // Prometheus accepts each query of the dashboard, and each metric in it exists.
    let dashboard = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../contrib/grafana/addrwatch.json"
    ));
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard.unwrap()).unwrap();
    let ours = include_str!("../../outputs/metrics/src/exposition.rs");
    let mut asked = 0;
    for target in dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
    {
        let text = target["expr"]
            .as_str()
            .unwrap()
            .replace("$ring", ".*")
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1m");
        let percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        // The age of the last frame exists only for live captures.
        let live = text.contains("last_frame");
        wait_until(&text, || {
            let answer = query(&percent);
            let is_there = live || !answer.contains("\"result\":[]");
            answer.contains("\"status\":\"success\"") && is_there
        });
        for word in text.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if let Some(name) = word.strip_prefix("addrwatch_") {
                assert!(ours.contains(&format!("\"{name}\",")), "{name}");
            }
        }
        asked += 1;
    }
    assert!(asked > 8, "{asked}");
    prometheus.stop().ok();
    metrics.stop().ok();
    syslog.stop();
}

/// Of each interface, whether it is captured, and when its last frame came.
#[test]
fn one_of_two_interfaces_is_blind() {
    let Some(lan) = Lan::new() else { return };
    lan.here.ip("link add two0 type veth peer name two1");
    lan.here.ip("link set two0 up");
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    let mut command = lan.here.command(binary("collector"));
    command.args(["-q", "--wait", "--ring", ring.name(), "veth0", "two0", "eht0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0, two0");
    let (run, port) = listening(&ring, state.path());
    let value = |name: &str, interface: &str| {
        let labels = format!("{{ring=\"{}\",interface=\"{interface}\"}}", ring.name());
        samples(&scrape(port)).get(&format!("addrwatch_{name}{labels}")).copied()
    };
    let up = |interface: &str| value("interface_up", interface);
    wait_until("both are known", || up("two0") == Some(0.0) && up("eht0") == Some(0.0));
    assert_eq!(up("veth0"), Some(1.0));
    FrameSender::on(&lan.there, "veth1").send(1..3);
    let age = |interface: &str| value("interface_last_frame_age_seconds", interface);
    let created = || {
        samples(&scrape(port))
            [&format!("addrwatch_ring_created_timestamp_seconds{{ring=\"{}\"}}", ring.name())]
    };
    let since = created();
    wait_until("the ring grows old, and a frame comes", || {
        FrameSender::on(&lan.there, "veth1").send(1..3);
        let (never, now) = (age("two0").expect("an age"), age("veth0").expect("an age"));
        never >= 2.0 && now < never
    });
    assert_eq!(created(), since);
    lan.here.ip("link set two1 up");
    wait_until("it has a carrier", || up("two0") == Some(1.0));
    collector.stop().ok();
    assert_eq!(up("veth0"), None, "nothing is known of it");
    run.stop().ok();
}

/// After a restart of the machine, the ring is another one: an output that does not start is behind by all of its events.
#[test]
fn behind_a_ring_that_was_created_again() {
    let (ring, state) = (Ring::new(), tempfile::tempdir().unwrap());
    publish(&ring, 1..4);
    let words = ["--once", "--replay", "--ring", ring.name(), "--state-dir"];
    run({
        let mut command = program("aw-sqlite", &words);
        command.arg(state.path());
        command
    })
    .ok();
    let (_run, port) = listening(&ring, state.path());
    let behind =
        format!("addrwatch_output_behind_events{{output=\"aw-sqlite\",ring=\"{}\"}}", ring.name());
    assert_eq!(samples(&scrape(port)).get(&behind), Some(&0.0));
    ring.files().iter().for_each(|file| fs::remove_file(file).unwrap());
    publish(&ring, 1..6);
    assert_eq!(samples(&scrape(port)).get(&behind), Some(&5.0));
}

/// What a channel of aw-alert could not send is queued; another one has sent all.
#[test]
fn messages_of_channels() {
    let alert = Alert::new();
    let dead = "[[channel]]\nname = \"dead\"\nwebhook = { url = \"http://127.0.0.1:9/\" }\n";
    alert.config(&format!("{dead}{}", alert.appending_channel()));
    alert.publish(1..3);
    let running = alert.start();
    let queued = |channel: &str| -> Option<u64> {
        let file = alert.path("metrics");
        let words = ["--once", "--file", file.to_str().unwrap()];
        run(metrics(&alert.ring, &alert.path("state"), &words)).ok();
        let text = fs::read_to_string(file).unwrap();
        let begin = format!(
            "addrwatch_output_queued_messages{{output=\"aw-alert\",channel=\"{channel}\"}} "
        );
        text.lines().find_map(|line| line.strip_prefix(&begin))?.parse().ok()
    };
    running.wait_until("the queue is written", || queued("dead") == Some(2));
    running.wait_until("the other one sends", || queued("append") == Some(0));
    running.stop().ok();
    assert_eq!(queued("dead"), Some(2), "it is still to be sent");
}
