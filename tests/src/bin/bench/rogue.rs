//! A rogue DHCP server, and a takeover of the gateway: the time from its frame to the message, which a channel's program gets.

use std::{fs, net::Ipv4Addr, path::Path, process::Command, thread::sleep, time::Duration};

use aw_tests::{
    alerting::Alert,
    dhcp,
    frames::{Arp, Mac, station},
    lan::Lan,
    listening::quiet,
    rig::{Run, run},
};
use rusqlite::Connection;

use crate::{Options, Outcome, binary, measure, row};

const GATEWAY: (Mac, Ipv4Addr) = ([0, 8, 0xe1, 0, 0, 1], Ipv4Addr::new(192, 0, 2, 1));
const ROGUE: (Mac, Ipv4Addr) = ([0, 8, 0xe1, 0, 0, 0x66], Ipv4Addr::new(192, 0, 2, 66));

/// Prints the time before it sends the frame: what is in between counts, too.
const SENDER: &str = "import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('veth1', 0))
print(time.time_ns())
wire.send(bytes.fromhex(sys.argv[1]))";

/// An offer to another client each time: the same one is recorded once a minute.
fn offer(server: (Mac, Ipv4Addr), client: u32) -> Vec<u8> {
    dhcp::offer(server, station(client), Ipv4Addr::new(192, 0, 2, 77))
}

fn announcement(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    Arp::request(mac, ip, ip).frame()
}

/// Other frames a second, and processes that do nothing but keep a processor busy.
const SCENES: [(u64, usize); 3] = [(0, 0), (50, 0), (50, 3)];

pub fn reported(options: &Options) -> Outcome<()> {
    let Some(lan) = Lan::new() else { return Ok(()) };
    let alert = Alert::new();
    let script =
        format!("#!/bin/sh\ndate +%s%N >> {0}.times\ncat >> {0}\n", alert.path("alerts").display());
    alert.config(&alert.appending_channel());
    fs::write(alert.path("append"), script)?;
    let _collector = quiet(&lan.here, &alert.ring, &[], &["--names"]);
    learn(&lan, &alert)?;
    let mut client = 0;
    for (rate, busy) in SCENES {
        let _traffic = (rate > 0).then(|| Run::start(traffic(&lan, rate, 3600)));
        let spin = || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "while :; do :; done"]);
            Run::start(shell)
        };
        let _busy: Vec<_> = (0..busy).map(|_| spin()).collect();
        for kind in ["new_dhcp_server", "gateway_taken"] {
            let mut number = 0;
            let results = measure(options.runs, || {
                (number, client) = (number + 1, client + 1);
                let frame = match kind {
                    "new_dhcp_server" => offer(ROGUE, client),
                    _ => announcement(ROGUE.0, GATEWAY.1),
                };
                // At another moment of a second each time, and when the ring of names is read.
                let pause = Duration::from_millis(1500 + number * 377 % 1000);
                Ok(vec![once(&lan, &alert, kind, &frame, pause)?])
            })?;
            let name = format!("{kind}, {rate} frames/s, {busy} busy processes");
            row(&name, &results[0], 1e-6, "ms");
        }
    }
    Ok(())
}

/// Frames of 200 hosts, so many a second.
fn traffic(lan: &Lan, rate: u64, seconds: u64) -> Command {
    let mut sender = lan.there.command(binary("send-frames"));
    sender.args(["veth1", "--hosts", "200", "--rate"]).arg(rate.to_string());
    sender.arg("--seconds").arg(seconds.to_string());
    sender
}

/// The gateway is also the DHCP server, for a day.
fn learn(lan: &Lan, alert: &Alert) -> Outcome<()> {
    let running = alert.start_with(&["-v", "--learn", "1d"]);
    running.stderr.wait_for("reading ring");
    send(lan, &announcement(GATEWAY.0, GATEWAY.1))?;
    send(lan, &offer(GATEWAY, 0))?;
    // All hosts of the other frames.
    run(traffic(lan, 1000, 3)).ok();
    let state = alert.path("state");
    let database = state.join("aw-alert.db");
    sleep(Duration::from_secs(2));
    running.stop().ok();
    let opened = Connection::open(&database)?;
    let learned: i64 = opened.query_row(
        "SELECT count(*) FROM infrastructure WHERE part IN ('router', 'dhcp_server')",
        [],
        |row| row.get(0),
    )?;
    for update in [
        "UPDATE infrastructure SET first = first - 86400 WHERE part = 'period'",
        "UPDATE note SET value = value - 86400 WHERE key = 'learns until'",
    ] {
        if opened.execute(update, [])? != 1 || learned != 2 {
            return Err("the learning period has not begun".into());
        }
    }
    opened.close().map_err(|(_, error)| error)?;
    copy(&state, &alert.path("learned"))
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let _ = fs::remove_dir_all(to);
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to);
    run(copy).ok();
    Ok(())
}

/// Nanoseconds from the frame to the message, with what was learned and nothing else.
fn once(lan: &Lan, alert: &Alert, kind: &str, frame: &[u8], pause: Duration) -> Outcome<f64> {
    copy(&alert.path("learned"), &alert.path("state"))?;
    for file in ["alerts", "alerts.times"] {
        let _ = fs::remove_file(alert.path(file));
    }
    let running = alert.start_with(&["-v", "--learn", "1d", "--from", "now"]);
    running.stderr.wait_for("reading ring");
    sleep(pause);
    let sent = send(lan, frame)?;
    let place = || alert.alerts().iter().position(|alert| alert["kind"] == kind);
    running.wait_until("it is reported", || place().is_some());
    let times = fs::read_to_string(alert.path("alerts.times"))?;
    let line = place().and_then(|place| times.lines().nth(place)).ok_or("no time")?;
    let reported: u64 = line.parse()?;
    running.stop().ok();
    Ok(reported.checked_sub(sent).ok_or("reported before it was sent")? as f64)
}

/// Sends a frame; returns when.
fn send(lan: &Lan, frame: &[u8]) -> Outcome<u64> {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut sender = lan.there.command("/usr/bin/python3");
    sender.args(["-c", SENDER, &hex]);
    Ok(run(sender).ok().stdout.trim().parse()?)
}
