//! `--read`: a capture file, replayed with its packets' own times.

use std::{
    fmt::Display,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aw_service::{Signals, Startup};
use pcap::{BpfProgram, Capture, Offline, Precision};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
    pipe::PipeFlags,
};
use shm_layout::cause;

use crate::{
    Error, failed, info, interface,
    link::{Frame, Link},
    options::Options,
    pipeline::Pipeline,
};

/// Frames taken before their events are delivered.
const BATCH: usize = 256;

/// A capture file, opened and found to be readable.
pub struct Replay {
    capture: Capture<Offline>,
    /// The name it was opened under, with which libpcap's errors begin.
    name: String,
    link: Link,
    /// Frames a batch: one where waiting for the next frame may take long.
    batch: usize,
    /// `--filter`: what it keeps out is counted, as a file is counted whole.
    filter: Option<BpfProgram>,
    signals: Signals,
    pump: Option<JoinHandle<io::Result<()>>>,
}

/// A pipe that ends when a signal comes.
struct Pipe {
    end: OwnedFd,
    pump: JoinHandle<io::Result<()>>,
}

/// Opens a capture file; `-` is standard input. None: a signal came before it had begun. In between
/// it gives up what is not needed any more: what comes through a pipe is only looked at after that.
pub fn open(
    file: &str,
    options: &Options,
    confine: impl FnOnce() -> Result<(), Error>,
) -> Result<Option<Replay>, Error> {
    let fault = |why: &dyn Display| failed(format_args!("read {file}: {why}"));
    let unreadable =
        |error: io::Error| fault(&format_args!("{} (name a pcap or pcapng file)", cause(&error)));
    let input = match file {
        "-" => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        _ => File::open(file),
    };
    let input = input.map_err(unreadable)?;
    let kind = input.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(unreadable(ErrorKind::IsADirectory.into()));
    }
    // Not earlier: a named pipe without a writer is opened as long as nobody interrupts it.
    let signals = Signals::register()?;
    let capture = |name: &str| Capture::from_file_with_precision(name, Precision::Nano);
    let (name, batch, capture, pump) = if kind.is_file() {
        // Its name, for our rights to it may go; libpcap reads its header.
        let capture = capture(file);
        confine()?;
        (file.to_owned(), BATCH, capture, None)
    } else {
        confine()?;
        let Pipe { end, pump } = pump(input, &signals).map_err(unreadable)?;
        let name = format!("/dev/fd/{}", end.as_raw_fd());
        let capture = capture(&name);
        (name, 1, capture, Some(pump))
    };
    let mut capture = match capture {
        Ok(capture) => capture,
        Err(_) if signals.stopped() => return Ok(None),
        Err(error) => return Err(fault(&pcap_text(&error, &name))),
    };
    let link = capture.get_datalink();
    let link = Link::of(link).ok_or_else(|| {
        let name = link.get_name().unwrap_or_else(|_| "unknown".into());
        fault(&format_args!(
            "link type {name} ({}) carries no Ethernet frames (capture on an Ethernet interface, or on `any`)",
            link.0
        ))
    })?;
    let filter = options.filter.as_deref();
    let filter = filter.map(|filter| interface::compile(&mut capture, filter));
    let filter = filter.transpose().map_err(failed)?;
    Ok(Some(Replay { capture, name, link, batch, filter, signals, pump }))
}

/// Hands a pipe on through a pipe of ours, which ends when a signal comes: a replay that waits for
/// more could not be stopped otherwise. Gives the end to read from.
fn pump(mut input: File, signals: &Signals) -> io::Result<Pipe> {
    let (end, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let signals = signals.try_clone()?;
    let pump = thread::spawn(move || -> io::Result<()> {
        let mut to = File::from(to);
        let mut bytes = vec![0; 64 * 1024];
        loop {
            let mut ready =
                [PollFd::new(&input, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
            retry_on_intr(|| poll(&mut ready, None))?;
            let [input_is_ready, _] = ready.map(|fd| !fd.revents().is_empty());
            signals.clear();
            if signals.stopped() {
                return Ok(());
            }
            if !input_is_ready {
                continue; // SIGHUP, which is the other thread's
            }
            match input.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(length) => to.write_all(&bytes[..length])?,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
    });
    Ok(Pipe { end, pump })
}

/// Replays it to its end.
pub fn run(
    mut replay: Replay,
    file: &str,
    options: &Options,
    pipeline: &mut Pipeline,
    startup: &mut Startup,
) -> Result<(), Error> {
    let source = pipeline.source(options.interface, replay.link);
    let mut pace = options.max_rate.map(|rate| Pace::new(rate.get()));
    let batch = if pace.is_some() { 1 } else { replay.batch };
    let mut frames: u64 = 0;
    let mut beat = Instant::now();
    loop {
        let mut events = 0;
        let read = replay.capture.dispatch(Some(batch), |packet| {
            frames += 1;
            let frame = Frame::new(&packet);
            if replay.filter.as_mut().is_some_and(|filter| !filter.filter(packet.data)) {
                pipeline.filtered(&source);
            } else {
                events += u32::from(pipeline.frame(&source, &frame));
            }
        });
        pipeline.deliver()?;
        if replay.signals.take_hangup() {
            pipeline.reopen();
        }
        if replay.signals.stopped() {
            info(format_args!("read {file}: stopped by a signal after {frames} frames"));
            return Ok(());
        }
        match read {
            Ok(0) => return replay.ended(file, frames),
            Ok(_) => {}
            Err(error) => {
                return Err(failed(format_args!(
                    "read {file}: {} after {frames} frames (the events before it were delivered)",
                    pcap_text(&error, &replay.name)
                )));
            }
        }
        if beat.elapsed() >= Duration::from_secs(1) {
            beat = Instant::now();
            pipeline.beat()?;
            startup.alive();
        }
        if let Some(pace) = &mut pace {
            pace.sleep_after(events);
        }
    }
}

impl Replay {
    /// The file's link type.
    pub fn link(&self) -> Link {
        self.link
    }

    /// At the end of a pipe: whether it ended, or failed.
    fn ended(&mut self, file: &str, frames: u64) -> Result<(), Error> {
        match self.pump.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => {
                let error = cause(&error);
                Err(failed(format_args!("read {file}: {error} after {frames} frames")))
            }
            _ => Ok(()),
        }
    }
}

/// At most so many events a second.
struct Pace {
    each: Duration,
    due: Instant,
}

impl Pace {
    fn new(rate: u32) -> Self {
        Pace { each: Duration::from_secs(1) / rate, due: Instant::now() }
    }

    fn sleep_after(&mut self, events: u32) {
        // Sleeps last a little too long, which is made up for; a pause in what came is not.
        let now = Instant::now();
        let earliest = now.checked_sub(Duration::from_millis(50)).unwrap_or(now);
        self.due = self.due.max(earliest) + self.each * events;
        thread::sleep(self.due.saturating_duration_since(now));
    }
}

/// libpcap's text, which may begin with the file's name.
fn pcap_text(error: &pcap::Error, file: &str) -> String {
    let text = match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    };
    text.strip_prefix(&format!("{file}: ")).map_or(text.clone(), str::to_owned)
}
