//! `--read`: a capture file, replayed with its packets' own times.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use pcap::{Capture, Offline, Precision};
use rustix::fs::{FileType, fstat, stat};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{
    Stop, failed,
    link::{Frame, Link},
    options::Options,
    pipeline::Pipeline,
};

/// Frames taken before their events are delivered.
const BATCH: usize = 256;

/// A capture file, opened and found to be readable.
pub struct Replay {
    capture: Capture<Offline>,
    link: Link,
    /// Frames a batch: one where waiting for the next frame may take long.
    batch: usize,
}

/// Opens a capture file; `-` is standard input.
pub fn open(file: &str) -> Result<Replay, Stop> {
    let mode = match file {
        "-" => fstat(io::stdin().as_fd()),
        _ => stat(file),
    };
    let mode = mode.map_err(|error| {
        failed(format_args!("read {file}: {} (name a pcap or pcapng file)", io_text(error.into())))
    })?;
    let kind = FileType::from_raw_mode(mode.st_mode);
    if kind == FileType::Directory {
        return Err(failed(format_args!(
            "read {file}: is a directory (name a pcap or pcapng file)"
        )));
    }
    let capture = Capture::from_file_with_precision(Path::new(file), Precision::Nano)
        .map_err(|error| failed(format_args!("read {file}: {}", text(&error, file))))?;
    let link = capture.get_datalink();
    let link = Link::of(link).ok_or_else(|| {
        let name = link.get_name().unwrap_or_else(|_| "unknown".into());
        failed(format_args!(
            "read {file}: link type {name} ({}) carries no Ethernet frames (capture on an Ethernet interface, or on `any`)",
            link.0
        ))
    })?;
    let batch = if kind == FileType::RegularFile { BATCH } else { 1 };
    Ok(Replay { capture, link, batch })
}

/// Replays it to its end.
pub fn run(
    mut replay: Replay,
    file: &str,
    options: &Options,
    pipeline: &mut Pipeline,
) -> Result<(), Stop> {
    let stop = stop_on_signal()?;
    let source = pipeline.source(options.interface, replay.link);
    let mut pace = options.max_rate.map(|rate| Pace::new(rate.get()));
    let batch = if pace.is_some() { 1 } else { replay.batch };
    let mut frames: u64 = 0;
    let mut beat = Instant::now();
    loop {
        let mut events = 0;
        let read = replay.capture.dispatch(Some(batch), |packet| {
            frames += 1;
            events += u64::from(pipeline.frame(&source, &Frame::new(&packet)));
        });
        pipeline.deliver()?;
        match read {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                return Err(failed(format_args!(
                    "read {file}: {} after {frames} frames (the events before it were delivered)",
                    text(&error, file)
                )));
            }
        }
        if stop.load(Relaxed) {
            return Err(failed(format_args!(
                "read {file}: stopped by a signal after {frames} frames"
            )));
        }
        if beat.elapsed() >= Duration::from_secs(1) {
            beat = Instant::now();
            pipeline.beat();
        }
        if let Some(pace) = &mut pace {
            pace.sleep_after(events);
        }
    }
}

/// Sets a flag at the first SIGINT or SIGTERM. A replay that waits for its pipe does not see the
/// flag, and has delivered everything: then the process ends a moment later.
fn stop_on_signal() -> Result<Arc<AtomicBool>, Stop> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut signals = Signals::new([SIGINT, SIGTERM])
        .map_err(|error| failed(format_args!("register signals: {error}")))?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            flag.store(true, Relaxed);
            thread::sleep(Duration::from_millis(500));
            eprintln!("collector: stopped by a signal while waiting for more of the capture");
            std::process::exit(1);
        }
    });
    Ok(stop)
}

/// So many events a second.
struct Pace {
    rate: f64,
    start: Instant,
    events: u64,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Pace { rate: rate.into(), start: Instant::now(), events: 0 }
    }

    fn sleep_after(&mut self, events: u64) {
        self.events += events;
        let due = Duration::from_secs_f64(self.events as f64 / self.rate);
        thread::sleep(due.saturating_sub(self.start.elapsed()));
    }
}

/// libpcap's text, which may begin with the file's name.
fn text(error: &pcap::Error, file: &str) -> String {
    let text = match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    };
    text.strip_prefix(&format!("{file}: ")).map_or(text.clone(), str::to_owned)
}

fn io_text(error: io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
