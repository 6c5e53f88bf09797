//! `aw-web` with a large history: the bytes and the time of each page, the memory of the process, and what live viewers cost others.

use std::{
    fs,
    io::{Read, Write},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use aw_tests::{
    bench::Random,
    feed::publish,
    ring::Ring,
    usage::Usage,
    web::{Server, command},
};

use crate::{
    Options, Outcome,
    questions::{LONG, Large, MAC, address},
    row,
};

/// A list of all devices would be too old after this time.
const OLD: Duration = Duration::from_secs(31);
/// Live viewers, and the events that are published each second: those of a LAN with a thousand devices, and more than are sent.
const VIEWERS: usize = 200;
const RATES: [u32; 2] = [30, 2000];
/// How long each rate is measured; and the pause between two batches.
const MEASURED: Duration = Duration::from_secs(20);
const BATCH: Duration = Duration::from_millis(500);

fn server(Large { history, .. }: &Large, options: &[&str]) -> Outcome<Server> {
    let state = tempfile::tempdir()?;
    let mut own = command(history.database(), state.path(), options);
    own.env("MALLOC_ARENA_MAX", "1"); // as its unit has it
    Ok(Server::started(own, state))
}

/// The seconds and the bytes of a page, by a connection of its own on the loopback.
fn page(server: &Server, path: &str) -> Outcome<(f64, f64)> {
    let begin = Instant::now();
    let answer = server.get(path);
    let seconds = begin.elapsed().as_secs_f64();
    match answer.status {
        200 => Ok((seconds, answer.body.len() as f64)),
        _ => Err(format!("{path}: {answer:?}").into()),
    }
}

pub fn pages(options: &Options, large @ Large { history, end, addresses }: &Large) -> Outcome<()> {
    println!("aw-web: {} rows of {addresses} addresses in 31 days", options.rows);
    let mut seconds = Vec::new();
    for _ in 0..options.runs {
        seconds.push(page(&server(large, &[])?, "/now")?.0);
    }
    row("  /now, the first request (goal: 50)", &seconds, 1e3, "ms");
    let server = server(large, &[])?;
    memory(&server, "  memory at the start")?;
    let mut random = Random::new(2);
    let network = "SELECT 'interface=' || interface || '&host=' || host || '&ring=' || ring FROM place WHERE id = 1";
    let network = history.value::<String>(network).ok_or("no network")?.replace('/', "%2F");
    for name in [
        "/",
        "/now",
        "/now, half a minute later",
        "/now?state=all&sort=name",
        "/search?q=0600",
        "/who",
        "/ip, a year",
        "/mac",
        "/mac, a year",
        "/networks",
        "/network",
        "/happened",
        "/now?format=json",
        "/api/v1/devices?limit=10000",
    ] {
        let (mut seconds, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            let number = i64::from(random.below(*addresses as u32));
            let (ip, mac) = (address(number), format!("{:012x}", MAC + number));
            let at = end - LONG + LONG / 1000 * i64::from(random.below(1000));
            let path = match name {
                "/who" => format!("/who?ip={ip}&at=%40{at}"),
                "/ip, a year" => format!("/ip/{ip}?zoom=year"),
                "/mac" => format!("/mac/{mac}"),
                "/mac, a year" => format!("/mac/{mac}?zoom=year"),
                "/network" => format!("/network?{network}"),
                "/now?format=json" => "/now?state=all&format=json".into(),
                _ => name.split(',').next().unwrap_or_default().to_owned(),
            };
            page(&server, "/networks")?; // so that there is a list
            if name.ends_with("later") {
                thread::sleep(OLD);
            }
            let (time, size) = page(&server, &path)?;
            seconds.push(time);
            bytes.push(size);
        }
        let (time, size) = match name {
            "/ip, a year" | "/mac, a year" => (" (goal: 100)", " (goal: 100)"),
            name if name.contains("format") || name.starts_with("/api") => ("", ""),
            _ => (" (goal: 50)", " (goal: 100)"),
        };
        row(&format!("  {name}{time}"), &seconds, 1e3, "ms");
        row(&format!("  {name}: size{size}"), &bytes, 1e-3, "kB");
    }
    memory(&server, "  peak memory (goal: 64)")
}

/// Pages beside live viewers, each of which is a thread here, and takes all: so this program and a collector for each batch of events have
/// most of the processors. The share of a core is that of `aw-web`.
pub fn viewers(options: &Options, large @ Large { addresses, .. }: &Large) -> Outcome<()> {
    let ring = Ring::new();
    publish(&ring, 1..2);
    let server = server(large, &["--ring", ring.name()])?;
    println!("aw-web: {VIEWERS} live viewers, {} rows of {addresses} addresses", options.rows);
    memory(&server, "  memory at the start")?;
    let (ends, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    let (server, ring) = (&server, &ring);
    thread::scope(|scope| -> Outcome<()> {
        let measured = || -> Outcome<()> {
            for number in [0, VIEWERS] {
                for _ in 0..number {
                    let mut stream = server.connect();
                    write!(
                        stream,
                        "GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: Bearer {}\r\n\r\n",
                        server.port, server.token
                    )?;
                    let (ends, taken) = (&ends, &taken);
                    scope.spawn(move || {
                        let mut bytes = vec![0; 64 << 10];
                        while !ends.load(Ordering::Relaxed)
                            && let Ok(number @ 1..) = stream.read(&mut bytes)
                        {
                            taken.fetch_add(number as u64, Ordering::Relaxed);
                        }
                    });
                }
                for rate in RATES {
                    at_rate(server, ring, (number, rate), &taken)?;
                }
            }
            Ok(())
        };
        let measured = measured();
        ends.store(true, Ordering::Relaxed);
        publish(ring, 1..2); // so that each of them gets something, and ends
        measured
    })?;
    memory(server, "  peak memory (goal: 64)")
}

/// Pages with so many viewers, while so many events a second are published.
fn at_rate(
    server: &Server,
    ring: &Ring,
    (viewers, rate): (usize, u32),
    taken: &AtomicU64,
) -> Outcome<()> {
    const PATHS: [&str; 2] = ["/now", "/who?ip=10.0.0.1"];
    let mut seconds = [Vec::new(), Vec::new()];
    let ends = AtomicBool::new(false);
    thread::scope(|scope| -> Outcome<()> {
        scope.spawn(|| {
            let batch = rate * BATCH.as_millis() as u32 / 1000;
            while !ends.load(Ordering::Relaxed) {
                let begun = Instant::now();
                publish(ring, 1..1 + batch);
                thread::sleep(BATCH.saturating_sub(begun.elapsed()));
            }
        });
        let (begun, used, bytes) =
            (Instant::now(), Usage::of(&server.run), taken.load(Ordering::Relaxed));
        let mut failed = Ok(());
        while failed.is_ok() && begun.elapsed() < MEASURED {
            for (path, seconds) in PATHS.iter().zip(&mut seconds) {
                match page(server, path) {
                    Ok((time, _)) => seconds.push(time),
                    Err(why) => failed = Err(why),
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        let (elapsed, used) = (begun.elapsed().as_secs_f64(), Usage::of(&server.run).since(used));
        let bytes = (taken.load(Ordering::Relaxed) - bytes) as f64;
        ends.store(true, Ordering::Relaxed);
        failed?;
        let name = format!("  {viewers} viewers, {rate} events/s");
        for (path, seconds) in PATHS.iter().zip(&seconds) {
            row(&format!("{name}: {path}"), seconds, 1e3, "ms");
        }
        row(&format!("{name}: sent"), &[bytes / elapsed], 1e-6, "MB/s");
        row(&format!("{name}: aw-web"), &[used.cpu / elapsed], 100.0, "% of a core");
        Ok(())
    })
}

fn memory(server: &Server, name: &str) -> Outcome<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.run.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: f64 = line.unwrap_or_default().trim().trim_end_matches(" kB").parse()?;
    row(name, &[kilobytes], 1.0 / 1024.0, "MiB");
    Ok(())
}
