//! Faults of `aw-tracker`: kills during writes, a full disk, a report that never ends, invented devices.
#![forbid(unsafe_code)]

use aw_tests::receiver::{Receiver, line};
use aw_tests::rig::{Run, binary, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::tracker::{Tracking, make_logs};
use rustix::process::Signal;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn report(device: u32) -> String {
    let [a, b, c, d] = device.to_be_bytes();
    let ip = Ipv4Addr::from(0x0a00_0000 + device).to_string();
    line(1 + device % 999_999, &ip, 2, &format!("22:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}"), "br0")
}

/// Sends reports of these devices, no more at once than the collector's socket holds.
fn send(receiver: &Receiver, devices: std::ops::Range<u32>) {
    let reports: Vec<_> = devices.map(report).collect();
    for some in reports.chunks(100) {
        receiver.send("127.0.0.2", &some.iter().map(String::as_str).collect::<Vec<_>>());
        receiver.wait_until_read();
    }
}

/// The number of rows of a log, which must be complete.
fn complete_rows(log: &str) -> usize {
    if log.is_empty() {
        return 0;
    }
    assert!(log.starts_with("mac ") && log.ends_with('\n'), "{log:.200}");
    for row in log.lines().skip(1) {
        let cells = row.rsplit(' ').next().unwrap_or_default();
        assert!(row.starts_with("22:00:") && cells.len() == 24, "{row}");
    }
    log.lines().count() - 1
}

/// Kills while thousands of rows are written several times a second: each file has its old or its new content.
#[test]
fn kills_during_writes() {
    const DEVICES: u32 = 6_000;
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let mut tracking = Tracking::start(&ring, &[]);
    let mut before = 0;
    let rounds = 24;
    for round in 0..rounds {
        let each = DEVICES / rounds;
        send(&receiver, round * each..(round + 1) * each);
        std::thread::sleep(Duration::from_millis(u64::from(round) * 97 % 700));
        if round % 4 == 3 {
            wait_until("rows", || complete_rows(&tracking.log("tracker")) > before);
        }
        tracking = tracking.again(|run| drop(run.kill()), &[]);
        let rows = complete_rows(&tracking.log("tracker"));
        assert!(rows >= before, "{rows} rows, {before} before");
        before = rows;
        let page = tracking.page();
        assert!(page.is_empty() || page.ends_with("</html>\n"));
    }
    assert!(before > 0);
    wait_until("all are there", || complete_rows(&tracking.log("tracker")) == DEVICES as usize);
    assert_eq!(tracking.log("error"), "");
    tracking.run.stop().ok();
    receiver.run.stop().ok();
}

/// On a full disk the old log stays complete. When there is room again, the rest is written.
#[test]
fn a_full_disk() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to mount a small file system");
    }
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    let state = tempfile::tempdir().unwrap();
    let shown = directory.path().to_str().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=256k none {shown} && exec {} --ring {} --state-dir {} --log-dir {shown}",
        binary("aw-tracker").display(),
        ring.name(),
        state.path().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let tracker = Run::start(command);
    let inside = format!("/proc/{}/root{shown}", tracker.id());
    let inside = Path::new(&inside);
    let log = || {
        let files = fs::read_dir(inside).into_iter().flatten().map(|entry| entry.unwrap().path());
        let log = files.filter(|path| path.to_string_lossy().contains("macupd_tracker.2")).max();
        log.map(|log| fs::read_to_string(log).unwrap()).unwrap_or_default()
    };
    send(&receiver, 0..50);
    wait_until("there is a log", || complete_rows(&log()) == 50);
    let filler = inside.join("filler");
    let fill = || drop(fs::write(&filler, vec![b'x'; 1 << 20]));
    fill();
    send(&receiver, 50..400);
    // Only messages about a log: the report is written at its own times and can fail as well.
    let of_a_log =
        |line: &&String| line.contains("trying again") && !line.contains("macupd_report");
    let fails = |times| {
        let so = |lines: &[String]| (lines.iter().filter(of_a_log).count() >= times).then_some(());
        tracker.stderr.wait_until("a log that fails", so);
    };
    fails(1);
    assert_eq!(complete_rows(&log()), 50);
    fs::remove_file(&filler).unwrap();
    tracker.stderr.wait_for(&format!("{shown} is written again"));
    wait_until("the rest is there", || complete_rows(&log()) == 400);
    // At the end there is no later try: the program fails.
    fill();
    send(&receiver, 400..420);
    fails(2);
    tracker.signal(Signal::TERM);
    let finished = tracker.finish();
    assert_eq!(finished.status.code(), Some(1), "{finished:?}");
    assert!(finished.stderr.contains("could not be written"), "{finished:?}");
    receiver.run.stop().ok();
}

/// A report that never ends, because another process holds the lock of its new file, does not delay the logs.
#[test]
fn the_logs_do_not_wait_for_a_report() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    let held = fs::File::create(directory.path().join(".macupd_report.html.new")).unwrap();
    held.lock().unwrap();
    let tracking = Tracking::start_in(directory, ring.name(), &[]);
    for device in 0..5 {
        send(&receiver, device..device + 1);
        wait_until("it is logged", || {
            complete_rows(&tracking.log("tracker")) == device as usize + 1
        });
    }
    assert!(!tracking.files().contains(&"macupd_report.html".into()));
    let finished = tracking.run.stop().ok();
    assert!(finished.stderr.contains("takes too long"), "{finished:?}");
    receiver.run.stop().ok();
}

/// A hundred thousand invented devices: the rows are limited, and so is the memory. One error reports that at once, and
/// two the numbers; the alert log has two devices for each row, a hundred more, and then one a second.
#[test]
fn invented_devices_are_limited() {
    let ring = Ring::new();
    let mut command =
        aw_tests::rig::program("collector", &["-q", "-L", "262144", "--ring", ring.name()]);
    command.env("LC_ALL", "C");
    let receiver = Receiver::start(command);
    let tracking =
        Tracking::start(&ring, &["--max-rows", "20000", "--name", "22:00:00:ff:ff:ff|known"]);
    send(&receiver, 0..100_000);
    send(&receiver, 0x00ff_ffff..0x0100_0000);
    wait_until("the device with a name is in the log", || {
        tracking.log("tracker").contains(" known ")
    });
    let status = fs::read_to_string(format!("/proc/{}/status", tracking.run.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 150_000, "{peak} KiB, of which 17 MiB are the ring");
    tracking.run.signal(Signal::TERM);
    wait_until("the limit is reported", || tracking.log("error").contains("its log is full"));
    assert_eq!(complete_rows(&tracking.log("tracker")), 18_001);
    let alerts = tracking.log("alert").lines().count();
    assert!((40_100..41_000).contains(&alerts), "{alerts}");
    let error = tracking.log("error");
    assert_eq!(error.lines().count(), 3, "{error}");
    let missing = format!(":{} sightings ", 100_000 - alerts);
    assert!(error.contains(":82000 rows of ") && error.contains(&missing), "{error}");
    receiver.run.stop().ok();
}

/// With thousands of devices and a month of logs, a new device is in the log immediately and in the report within seconds.
#[test]
fn a_large_network() {
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let directory = tempfile::tempdir().unwrap();
    make_logs(directory.path(), 3_000, 31);
    let tracking = Tracking::start_in(directory, ring.name(), &[]);
    wait_until("the first report", || !tracking.page().is_empty());
    send(&receiver, 0..1);
    wait_until("it is logged", || tracking.log("alert").lines().count() == 1);
    wait_until("it is in the report", || tracking.page().contains("22:00:00:00:00:00"));
    tracking.run.stop().ok();
    receiver.run.stop().ok();
}
