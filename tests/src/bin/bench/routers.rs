//! Reports of routers on the loopback, and aw-tracker with a month of ten thousand devices.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_tests::{
    collect::json,
    receiver::{Receiver, line},
    rig::{program, run},
    ring::Ring,
    tracker::{Tracking, make_logs},
    usage::Usage,
};

use crate::{Options, Outcome, binary, measure, row};

const DEVICES: u32 = 10_000;
const DAYS: u32 = 31;
/// Pause between two bursts; the kernel adds some 50 µs.
const PAUSE: Duration = Duration::from_micros(200);

/// Datagrams at a steady rate: their cost, and how many are lost.
pub fn datagrams(options: &Options) -> Outcome<()> {
    for rate in [50_000, 200_000] {
        let results = measure(options.runs, || {
            let ring = Ring::new();
            let receiver = Receiver::listening(&ring, &[]);
            let before = Usage::of(&receiver.run);
            let (sent, seconds) = send(&receiver, rate, options.seconds.min(5))?;
            sleep(Duration::from_millis(200));
            let used = Usage::of(&receiver.run).since(before);
            receiver.run.stop().ok();
            let stats = ["--stats", "--format", "json", "--ring", ring.name()];
            let stats = json(&run(program("collector", &stats)).ok().stdout);
            let counters = &stats["interfaces"][0]["counters"];
            let published = counters["published"].as_f64().unwrap_or_default();
            let sent = sent as f64;
            Ok(vec![sent / seconds, used.cpu / sent * 1e6, sent - published])
        })?;
        row(&format!("MACupd, {rate} datagrams/s: sent"), &results[0], 1e-3, "k a second");
        row("  collector -q", &results[1], 1.0, "CPU s a million");
        row("  lost", &results[2], 1.0, "datagrams");
    }
    Ok(())
}

/// Sends for this long; returns how many, and how many seconds it took.
fn send(receiver: &Receiver, rate: u64, seconds: u64) -> Outcome<(u64, f64)> {
    let socket = UdpSocket::bind("127.0.0.2:0")?;
    let report = |device: u32| {
        let [_, a, b, c] = device.to_be_bytes();
        let ip = Ipv4Addr::new(10, a, b, c).to_string();
        line(1 + device, &ip, 2, &format!("22:22:22:{a:02x}:{b:02x}:{c:02x}"), "br0")
    };
    let reports: Vec<String> = (0..1000).map(report).collect();
    let mut reports = reports.iter().cycle();
    let (begun, whole) = (Instant::now(), Duration::from_secs(seconds));
    let mut sent = 0;
    loop {
        let elapsed = begun.elapsed().min(whole);
        let due = (elapsed.as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
        for report in reports.by_ref().take((due - sent) as usize) {
            socket.send_to(report.as_bytes(), receiver.address)?;
        }
        sent = due;
        if elapsed == whole {
            return Ok((sent, begun.elapsed().as_secs_f64()));
        }
        sleep(PAUSE);
    }
}

/// The report of a month, and what the tracker holds in memory.
pub fn tracker(options: &Options) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    make_logs(directory.path(), DEVICES, DAYS);
    let page = directory.path().join("macupd_report.html");
    let results = measure(options.runs, || {
        let begun = Instant::now();
        let mut command = Command::new(binary("aw-tracker"));
        command.arg("report").arg(directory.path()).stdout(Stdio::null());
        if !command.status()?.success() {
            return Err("aw-tracker report failed".into());
        }
        Ok(vec![begun.elapsed().as_secs_f64(), fs::metadata(&page)?.len() as f64])
    })?;
    row(&format!("report of {DEVICES} devices, {DAYS} days, and as text"), &results[0], 1.0, "s");
    row("  the page", &results[1], 1e-6, "MB");
    fs::remove_file(&page)?;
    let ring = Ring::new();
    let receiver = Receiver::listening(&ring, &[]);
    let tracking = Tracking::start_in(directory, ring.name(), &[]);
    while tracking.page().is_empty() {
        sleep(Duration::from_millis(20));
    }
    // From the datagram of an unknown device to its row in the log.
    let mut delays = Vec::new();
    for device in 0..options.runs.max(3) as u8 {
        let mac = format!("22:22:22:22:22:{device:02x}");
        let begun = Instant::now();
        receiver.send("127.0.0.2", &[&line(1, "192.0.2.1", 2, &mac, "br0")]);
        while !tracking.log("alert").contains(&mac) {
            sleep(Duration::from_millis(1));
        }
        delays.push(begun.elapsed().as_secs_f64());
    }
    row("  an unknown device: datagram to alert, while reporting", &delays, 1.0, "s");
    sleep(Duration::from_secs(20)); // the last report is made
    let status = fs::read_to_string(format!("/proc/{}/status", tracking.run.id()))?;
    for (name, what) in [
        ("VmRSS:", "  memory of aw-tracker, steady"),
        ("VmHWM:", "  at its peak, while it reports"),
    ] {
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        row(what, &[kilobytes.ok_or("no memory")?.parse()?], 1.0 / 1024.0, "MiB");
    }
    tracking.run.stop().ok();
    receiver.run.stop().ok();
    Ok(())
}
