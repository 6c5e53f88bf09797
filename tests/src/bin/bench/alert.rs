//! aw-alert with a million known stations: events per second, and their cost.

use std::{
    fs::File,
    io::{BufWriter, Write},
    net::Ipv4Addr,
    path::Path,
    process::Command,
};

use aw_tests::{
    bench::Random,
    capture_file::{ETHERNET, Pcap, Unit, at, save},
    frames::{Arp, Mac},
    rig::run,
    ring::Ring,
};

use crate::{Options, Outcome, binary, measure, row};

const STATIONS: u32 = 1_000_000;
const EVENTS: u32 = 200_000;

fn mac(station: u32) -> Mac {
    let [_, a, b, c] = station.to_be_bytes();
    [0x00, 0x08, 0xe1, a, b, c]
}

fn ip(station: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + station)
}

pub fn events(options: &Options) -> Outcome<()> {
    let directory = tempfile::tempdir()?;
    let state = directory.path().join("state");
    std::fs::create_dir(&state)?;
    let known = directory.path().join("arp.dat");
    let mut file = BufWriter::new(File::create(&known)?);
    for station in 0..STATIONS {
        let mac = mac(station).map(|byte| format!("{byte:02x}")).join(":");
        writeln!(file, "{mac}\t{}\t1700000000\t\tpcap", ip(station))?;
    }
    file.flush()?;
    let mut import = Command::new(binary("aw-alert"));
    import.arg("--state-dir").arg(&state).arg("import").arg(&known);
    run(import).ok();
    for active in [1_000, STATIONS] {
        let capture = capture(directory.path(), active)?;
        observe(options, active, &state, &capture)?;
    }
    Ok(())
}

/// This many stations are seen, at random.
fn capture(directory: &Path, active: u32) -> Outcome<String> {
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond)?;
    let mut random = Random::new(1);
    for event in 0..EVENTS {
        let station = random.below(active);
        let frame = Arp::request(mac(station), ip(station), ip(0)).frame();
        file.packet(at(1_700_000_000 + event / 1000), &frame)?;
    }
    Ok(save(directory, "events.pcap", &file.finish()?))
}

fn observe(options: &Options, active: u32, state: &Path, capture: &str) -> Outcome<()> {
    let results = measure(options.runs, || {
        let ring = Ring::new();
        let mut collector = Command::new(binary("collector"));
        collector.args(["-q", "-L", "262144", "--ring", ring.name(), "--read", capture]);
        run(collector).ok();
        let mut command = Command::new("/usr/bin/time");
        command.args(["-f", "%e %M %O"]).arg(binary("aw-alert"));
        command.args(["--once", "--print", "--ring", ring.name(), "--state-dir"]).arg(state);
        let ended = run(command).ok();
        let figures = ended.stderr.lines().last().ok_or("time(1) printed nothing")?;
        let figures: Vec<f64> = figures.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [seconds, kilobytes, blocks] = figures[..] else { return Err("not of time(1)".into()) };
        let printed = ended.stdout.lines().count() as f64;
        Ok(vec![
            f64::from(EVENTS) / seconds,
            kilobytes,
            blocks * 512.0 / f64::from(EVENTS),
            printed,
        ])
    })?;
    row(
        &format!("aw-alert, {active} of {STATIONS} stations seen: events"),
        &results[0],
        1e-3,
        "k a second",
    );
    row("  memory at its peak", &results[1], 1.0 / 1024.0, "MiB");
    row("  written for an event", &results[2], 1.0, "bytes");
    row("  alerts, of devices that are known", &results[3], 1.0, "");
    Ok(())
}
