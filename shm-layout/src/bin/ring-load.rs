//! Generates load on a ring: for the test with real processes, and for `make bench`. Not installed.
//!
//! Every field of event `n` is computed from `n`, so a torn or misplaced event is detected.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr},
    process::exit,
    time::{Duration, Instant},
};

use shm_layout::{
    Event, Kind, MacAddr, Next, Origin, Reader, RingName, Start, UnixTime, VlanId, Writer,
    WriterOptions,
};

const USAGE: &str = "usage:
  ring-load write NAME EVENTS BATCH    wait for a line on standard input, then publish; wake readers after each batch
  ring-load read NAME EVENTS PAUSE_US  read from the oldest event until EVENTS are read or lost; pause every 4096
  ring-load wakes NAME EVENTS          publish about one a millisecond, its time = the monotonic clock
  ring-load delays NAME EVENTS         wait for each, print p50, p99 and p99.9 of the delays in nanoseconds";

const BATCH_OF_READS: u64 = 4096;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| usage());
    let name = |text: &str| text.parse::<RingName>().unwrap_or_else(|_| usage());
    match arguments.as_slice() {
        ["write", ring, events, batch] => write(name(ring), number(events), number(batch)),
        ["read", ring, events, pause] => {
            read(name(ring), number(events), Duration::from_micros(number(pause)));
        }
        ["wakes", ring, events] => wakes(name(ring), number(events)),
        ["delays", ring, events] => delays(name(ring), number(events)),
        _ => usage(),
    }
}

fn usage() -> ! {
    eprintln!("{USAGE}");
    exit(2)
}

/// Event `n`.
fn event(n: u64, interface: shm_layout::InterfaceName) -> Event {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let [_, _, mac @ ..] = mixed.to_be_bytes();
    Event {
        time: UnixTime::from_nanos(n as i64),
        address: Ipv6Addr::from((u128::from(n) << 64) | u128::from(mixed)),
        interface,
        mac: MacAddr::new(mac),
        source: MacAddr::new(mac),
        vlan: VlanId::from_tag((mixed >> 48) as u16),
        outer_vlan: VlanId::from_tag(n as u16),
        kind: Kind::Pairing(Origin::NdDad),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

fn interface() -> shm_layout::InterfaceName {
    "load0".parse().expect("a valid name")
}

fn writer(name: RingName) -> Writer {
    let slots = WriterOptions::DEFAULT_SLOTS;
    Writer::create(&WriterOptions { name, slots, group: None, host: None })
        .unwrap_or_else(|error| fail(&error))
}

fn fail(error: &dyn std::fmt::Display) -> ! {
    eprintln!("ring-load: {error}");
    exit(1)
}

/// Prints `ready`, then waits for a line on standard input, so that all processes start together.
fn wait_for_start() {
    println!("ready");
    let _ = std::io::stdout().flush();
    let _ = std::io::stdin().read(&mut [0]);
}

fn write(name: RingName, events: u64, batch: u64) {
    let mut writer = writer(name);
    let interface = interface();
    let counters = writer.interface(interface);
    wait_for_start();
    let start = Instant::now();
    let mut n = 0;
    while n < events {
        for _ in 0..batch.min(events - n) {
            writer.publish(counters, &event(n, interface));
            n += 1;
        }
        writer.wake();
    }
    println!("{events} written in {} ns", start.elapsed().as_nanos());
}

fn read(name: RingName, events: u64, pause: Duration) {
    let mut reader = attach(&name);
    let interface = interface();
    let (mut read, mut lost, mut laps, mut torn) = (0, 0, 0_u64, 0_u64);
    println!("ready");
    let _ = std::io::stdout().flush();
    let mut start = None;
    while read + lost < events {
        match reader.next() {
            Next::Event(n, found) => {
                start.get_or_insert_with(Instant::now);
                if n != read + lost || found != event(n, interface) {
                    torn += 1;
                }
                read += 1;
                if !pause.is_zero() && read % BATCH_OF_READS == 0 {
                    std::thread::sleep(pause);
                }
            }
            Next::Lapped { lost: more } => {
                lost += more;
                laps += 1;
            }
            Next::Empty => reader.wait(Duration::from_millis(100)),
            Next::Unknown(n, unknown) => fail(&format_args!("event {n}: {unknown:?}")),
        }
    }
    let nanos = start.map_or(0, |start| start.elapsed().as_nanos());
    println!("{read} read, {lost} lost in {laps} laps, {torn} torn in {nanos} ns");
}

fn attach(name: &RingName) -> Reader {
    Reader::attach(name, Start::Oldest).unwrap_or_else(|error| fail(&error))
}

fn monotonic() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

fn wakes(name: RingName, events: u64) {
    let mut writer = writer(name);
    let interface = interface();
    let counters = writer.interface(interface);
    wait_for_start();
    for n in 0..events {
        // Not in phase with any timer of the kernel.
        std::thread::sleep(Duration::from_micros(700 + n * 7919 % 600));
        let event = Event { time: UnixTime::from_nanos(monotonic()), ..event(n, interface) };
        writer.publish(counters, &event);
        writer.wake();
    }
}

fn delays(name: RingName, events: u64) {
    let mut reader = attach(&name);
    let mut delays = Vec::with_capacity(events as usize);
    println!("ready");
    let _ = std::io::stdout().flush();
    while (delays.len() as u64) < events {
        match reader.next() {
            Next::Event(_, event) => delays.push(monotonic() - event.time.as_nanos()),
            Next::Empty => reader.wait(Duration::from_millis(100)),
            other => fail(&format_args!("unexpected: {other:?}")),
        }
    }
    delays.sort_unstable();
    let quantile = |per_mille: usize| delays[(delays.len() - 1) * per_mille / 1000];
    println!("p50 {} p99 {} p99.9 {}", quantile(500), quantile(990), quantile(999));
}
