//! `aw-web` with a large history: the bytes and the time of each page, and the memory of the process.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use aw_tests::{
    bench::Random,
    web::{Server, command},
};

use crate::{
    Options, Outcome,
    questions::{ADDRESSES, LONG, Large, MAC, address},
    row,
};

/// A list of all devices is used again for half a minute.
const OLD: Duration = Duration::from_secs(31);

/// Each page by a connection of its own, on the loopback. Before the first page that lists all devices, the list is too old.
pub fn pages(options: &Options, Large { history, end }: &Large) -> Outcome<()> {
    let state = tempfile::tempdir()?;
    let mut own = command(history.database(), state.path(), &[]);
    own.env("MALLOC_ARENA_MAX", "1"); // as its unit has it
    let server = Server::started(own, state);
    println!("aw-web: {} rows of {ADDRESSES} addresses in 31 days", options.rows);
    memory(&server, "  memory at the start")?;
    let mut random = Random::new(2);
    let network = "interface=lan0&host=here&ring=none";
    let own = history.value::<String>("SELECT 'interface=' || interface || '&host=' || host || '&ring=' || ring FROM place WHERE id = 1");
    let network = own.unwrap_or_else(|| network.into()).replace('/', "%2F");
    for (name, is_first) in [
        ("/", false),
        ("/now, the list is read", true),
        ("/now", false),
        ("/now?state=all&sort=name", false),
        ("/search?q=0600", false),
        ("/who", false),
        ("/ip, a year", false),
        ("/mac", false),
        ("/mac, a year", false),
        ("/networks", false),
        ("/network", false),
        ("/now?format=json", false),
        ("/api/v1/devices?limit=10000", false),
    ] {
        let (mut seconds, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..options.runs {
            let number = i64::from(random.below(ADDRESSES as u32));
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
            if is_first {
                sleep(OLD);
            } else {
                server.get("/networks"); // so that there is a list
            }
            let begin = Instant::now();
            let answer = server.get(&path);
            seconds.push(begin.elapsed().as_secs_f64());
            bytes.push(answer.body.len() as f64);
            if answer.status != 200 {
                return Err(format!("{path}: {answer:?}").into());
            }
        }
        row(&format!("  {name}"), &seconds, 1e3, "ms");
        row(&format!("  {name}: size"), &bytes, 1e-3, "kB");
    }
    memory(&server, "  peak memory")
}

fn memory(server: &Server, name: &str) -> Outcome<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", server.run.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes: f64 = line.unwrap_or_default().trim().trim_end_matches(" kB").parse()?;
    row(name, &[kilobytes], 1.0 / 1024.0, "MiB");
    Ok(())
}
