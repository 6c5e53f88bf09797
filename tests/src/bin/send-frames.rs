//! Sends the benchmark's traffic on an interface, at a steady rate or as fast as it can.
#![forbid(unsafe_code)]

use aw_tests::bench::{is_wanted, traffic};
use clap::Parser;
use pcap::Capture;
use std::error::Error;
use std::time::{Duration, Instant};

/// Sends ARP, Neighbor Discovery and other frames; then prints how many it sent, how many of them were ARP or Neighbor
/// Discovery, and how many nanoseconds it took.
#[derive(Parser)]
struct Options {
    /// Where to send them
    interface: String,
    /// Frames a second; 0 = as many as it can
    #[arg(long, default_value_t = 200_000)]
    rate: u64,
    /// For how long
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// From how many hosts
    #[arg(long, default_value_t = 20_000)]
    hosts: u32,
}

/// Different frames, sent over and over.
const FRAMES: usize = 16_384;
/// Pause between two bursts; the kernel adds some 50 µs.
const PAUSE: Duration = Duration::from_micros(50);
/// Frames between two looks at the clock, when there is no rate to keep.
const BURST: u64 = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let Options { interface, rate, seconds, hosts } = Options::parse();
    let frames = traffic(hosts, 1).take(FRAMES).map(|frame| (is_wanted(&frame), frame));
    let frames: Vec<_> = frames.collect();
    let mut frames = frames.iter().cycle();
    let mut wire = Capture::from_device(&*interface)?.buffer_size(1 << 16).open()?;
    wire.filter("less 0", true)?; // it only sends
    let (mut sent, mut wanted) = (0, 0);
    let start = Instant::now();
    let whole = Duration::from_secs(seconds);
    loop {
        let elapsed = start.elapsed().min(whole);
        let due = match rate {
            0 => sent + BURST,
            rate => (elapsed.as_nanos() * u128::from(rate) / 1_000_000_000) as u64,
        };
        for (is_wanted, frame) in frames.by_ref().take((due - sent) as usize) {
            wire.sendpacket(&frame[..])?;
            sent += 1;
            wanted += u64::from(*is_wanted);
        }
        if elapsed == whole {
            break;
        }
        if rate > 0 {
            std::thread::sleep(PAUSE);
        }
    }
    println!("{sent} {wanted} {}", start.elapsed().as_nanos());
    Ok(())
}
