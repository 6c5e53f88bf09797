//! `--read`: replays a capture file with the times of its packets.

use std::{
    fmt::Display,
    fs::File,
    io::{self, ErrorKind, Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use aw_service::{Signals, Startup, cause};
use pcap::{BpfProgram, Capture, Offline, Precision};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
    pipe::PipeFlags,
};

use crate::{
    Error, failed, info, interface,
    link::{Frame, LinkType},
    options::Options,
    pipeline::Pipeline,
};

/// Frames processed before their events are delivered.
const BATCH: usize = 256;

/// An open capture file.
pub struct Replay {
    capture: Capture<Offline>,
    /// The name under which it was opened, with which libpcap's errors begin.
    name: String,
    link: LinkType,
    /// Frames in a batch: one if waiting for the next frame may take long.
    batch: usize,
    /// `--filter`: frames that it excludes are counted, so that all frames of a file are.
    filter: Option<BpfProgram>,
    signals: Signals,
    copier: Option<JoinHandle<io::Result<()>>>,
}

/// Opens a capture file; `-` is standard input. Returns none if a signal arrived before the replay began. Calls
/// `confine` before it reads anything from a pipe.
pub fn open(
    file: &str,
    options: &Options,
    confine: impl FnOnce() -> Result<(), Error>,
) -> Result<Option<Replay>, Error> {
    let read_error = |why: &dyn Display| failed(format_args!("read {file}: {why}"));
    let unreadable = |error: io::Error| {
        read_error(&format_args!("{} (name a pcap or pcapng file)", cause(&error)))
    };
    let input = match file {
        "-" => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        _ => File::open(file),
    };
    let input = input.map_err(unreadable)?;
    let kind = input.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(unreadable(ErrorKind::IsADirectory.into()));
    }
    // Not earlier: opening a named pipe without a writer blocks, and a signal has to end it.
    let signals = Signals::register()?;
    let capture = |name: &str| Capture::from_file_with_precision(name, Precision::Nano);
    let (name, batch, capture, copier) = if kind.is_file() {
        // Before `confine`, after which the file may not be readable any more; libpcap reads its header.
        let capture = capture(file);
        confine()?;
        (file.to_owned(), BATCH, capture, None)
    } else {
        confine()?;
        let (output, copier) = interruptible(input, &signals).map_err(unreadable)?;
        let name = format!("/dev/fd/{}", output.as_raw_fd());
        let capture = capture(&name);
        (name, 1, capture, Some(copier))
    };
    let mut capture = match capture {
        Ok(capture) => capture,
        Err(_) if signals.stopped() => return Ok(None),
        Err(error) => {
            return Err(read_error(&(pcap_text(&error, &name) + " (must be pcap or pcapng)")));
        }
    };
    let link = LinkType::of(capture.get_datalink()).map_err(|error| read_error(&error))?;
    let filter = options.filter.as_deref();
    let filter = filter.map(|filter| interface::compile(&mut capture, filter));
    let filter = filter.transpose().map_err(failed)?;
    Ok(Some(Replay { capture, name, link, batch, filter, signals, copier }))
}

/// Copies a pipe into a new one, which ends when a signal arrives: otherwise a replay that waits for more
/// could not be stopped. Returns the new pipe's output and the copying thread.
fn interruptible(
    mut input: File,
    signals: &Signals,
) -> io::Result<(OwnedFd, JoinHandle<io::Result<()>>)> {
    let (output, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let signals = signals.try_clone()?;
    let copier = thread::spawn(move || -> io::Result<()> {
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
                continue; // SIGHUP, which the other thread handles
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
    Ok((output, copier))
}

/// Replays the file to its end.
pub fn run(
    mut replay: Replay,
    file: &str,
    options: &Options,
    pipeline: &mut Pipeline,
    startup: &mut Startup,
) -> Result<(), Error> {
    let source = pipeline.source(options.interface, replay.link);
    let mut throttle = options.max_rate.map(EventThrottle::new);
    let batch = if throttle.is_some() { 1 } else { replay.batch };
    let mut frames: u64 = 0;
    let mut heartbeat = Instant::now();
    loop {
        let mut events = 0;
        let read = replay.capture.dispatch(Some(batch), |packet| {
            frames += 1;
            let frame = Frame::new(&packet);
            if replay.filter.as_mut().is_some_and(|filter| !filter.filter(packet.data)) {
                pipeline.count_filtered(&source);
            } else {
                events += u32::from(pipeline.process_frame(&source, &frame));
            }
        });
        pipeline.deliver()?;
        if replay.signals.take_hangup() {
            pipeline.reopen_files();
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
                    "read {file}: {} after {frames} frames (all events before it were delivered)",
                    pcap_text(&error, &replay.name)
                )));
            }
        }
        if heartbeat.elapsed() >= Duration::from_secs(1) {
            heartbeat = Instant::now();
            pipeline.heartbeat()?;
            startup.alive();
        }
        if let Some(throttle) = &mut throttle {
            throttle.sleep_after(events);
        }
    }
}

impl Replay {
    /// The file's link type.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// At the end: an error if reading the pipe failed.
    fn ended(&mut self, file: &str, frames: u64) -> Result<(), Error> {
        match self.copier.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => {
                let error = cause(&error);
                Err(failed(format_args!("read {file}: {error} after {frames} frames")))
            }
            _ => Ok(()),
        }
    }
}

/// `--max-rate`: limits the events a second.
struct EventThrottle {
    each: Duration,
    due: Instant,
}

impl EventThrottle {
    fn new(rate: u32) -> Self {
        EventThrottle { each: Duration::from_secs(1) / rate, due: Instant::now() }
    }

    fn sleep_after(&mut self, events: u32) {
        // Sleeps last slightly too long, which the next ones compensate; a pause of the input is not compensated.
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
