//! `--read`: replays a capture file with the times of its packets.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::fd::AsFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use aw_service::{FileKind, Signals, Startup, explain_or, open_file};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::retry_on_intr,
};

use crate::{
    Error,
    capture_file::{CaptureFile, Record},
    failed, info,
    link::LinkType,
    options::Options,
    pipeline::Pipeline,
    replay_sources::ReplaySources,
};

/// Frames processed before their events are delivered.
const BATCH: usize = 256;

/// An open capture file.
pub struct Replay {
    file: CaptureFile,
    sources: ReplaySources,
    /// The link type of the first interface with Ethernet frames.
    link: LinkType,
    /// Frames in a batch: one if waiting for the next frame may take long.
    batch: usize,
    /// Frames that were read so far.
    frames: u64,
    signals: Signals,
}

/// Opens a capture file; `-` is standard input. Returns none if a signal arrived before the replay began. Calls
/// `confine` before it reads anything.
pub fn open(
    file: &str,
    options: &Options,
    confine: impl FnOnce() -> Result<(), Error>,
) -> Result<Option<Replay>, Error> {
    let unreadable = |error: io::Error| {
        failed(format_args!("read {file}: {}", explain_or(&error, "(name a pcap or pcapng file)")))
    };
    let input = match file {
        "-" => io::stdin().as_fd().try_clone_to_owned().map(File::from),
        _ => open_file(Path::new(file), FileKind::Capture),
    };
    let input = input.map_err(unreadable)?;
    let kind = input.metadata().map_err(unreadable)?.file_type();
    if kind.is_dir() {
        return Err(unreadable(ErrorKind::IsADirectory.into()));
    }
    // Not earlier: opening a named pipe without a writer blocks, and a signal has to end it.
    let signals = Signals::register()?;
    confine()?;
    let batch = if kind.is_file() { BATCH } else { 1 };
    let input = Interruptible { input, signals: signals.try_clone().map_err(unreadable)? };
    let opened = CaptureFile::open(input);
    if signals.stopped() {
        return Ok(None);
    }
    let opened = opened.map_err(|why| failed(format_args!("read {file}: {why}")))?;
    let sources = ReplaySources::new(file, options)?;
    let link = LinkType::Ethernet;
    let mut replay = Replay { file: opened, sources, link, batch, frames: 0, signals };
    Ok(replay.begin()?.then_some(replay))
}

/// Replays the file to its end.
pub fn run(
    mut replay: Replay,
    file: &str,
    options: &Options,
    pipeline: &mut Pipeline,
    startup: &mut Startup,
) -> Result<(), Error> {
    let mut throttle = options.max_rate.map(EventThrottle::new);
    let batch = if throttle.is_some() { 1 } else { replay.batch };
    replay.sources.count_skipped(pipeline);
    let mut heartbeat = Instant::now();
    loop {
        let mut events = 0;
        let read = replay.read_batch(batch, pipeline, &mut events);
        pipeline.deliver()?;
        if replay.signals.take_hangup() {
            pipeline.reopen_files();
        }
        let frames = replay.frames;
        if replay.signals.stopped() {
            info(format_args!("read {file}: stopped by a signal after {frames} frames"));
            return Ok(());
        }
        if !read? {
            replay.sources.log_unused_names();
            return Ok(());
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
    /// The link type of the first interface that is replayed.
    pub fn link(&self) -> LinkType {
        self.link
    }

    /// Reads up to the first interface with Ethernet frames, so that a file without one is refused before
    /// the ring is created. Returns false if a signal ends it.
    fn begin(&mut self) -> Result<bool, Error> {
        loop {
            let record = self.file.next();
            if self.signals.stopped() {
                return Ok(false);
            }
            match record {
                Ok(Some(Record::Frame { interface, .. })) => {
                    self.frames += 1;
                    self.sources.skip(interface);
                }
                Ok(Some(Record::Section)) => self.sources.clear(),
                Ok(Some(Record::Interface(description))) => {
                    if let Some(link) = self.sources.add(&description)? {
                        self.link = link;
                        return Ok(true);
                    }
                }
                Ok(None) => return Err(self.sources.nothing_to_read()),
                Err(why) => return Err(self.fault(&why)),
            }
        }
    }

    /// Processes the next frames, and counts those that became events; returns false at the end of the file.
    fn read_batch(
        &mut self,
        batch: usize,
        pipeline: &mut Pipeline,
        events: &mut u32,
    ) -> Result<bool, Error> {
        for _ in 0..batch {
            match self.file.next() {
                Ok(Some(Record::Frame { interface, frame })) => {
                    self.frames += 1;
                    *events += u32::from(self.sources.process(interface, &frame, pipeline));
                }
                Ok(Some(Record::Section)) => self.sources.clear(),
                Ok(Some(Record::Interface(description))) => {
                    self.sources.add(&description)?;
                }
                Ok(None) => return Ok(false),
                Err(why) => return Err(self.fault(&why)),
            }
        }
        Ok(true)
    }

    fn fault(&self, why: &str) -> Error {
        let (file, frames) = (self.sources.file(), self.frames);
        failed(format_args!(
            "read {file}: {why} after {frames} frames (all events before it were delivered)"
        ))
    }
}

/// A file or pipe; a signal ends it, because a replay that waits for more could not be stopped otherwise.
struct Interruptible {
    input: File,
    signals: Signals,
}

impl Read for Interruptible {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = [
                PollFd::new(&self.input, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            retry_on_intr(|| poll(&mut ready, None))?;
            let [input_is_ready, signal] = ready.map(|fd| !fd.revents().is_empty());
            if signal {
                self.signals.clear();
            }
            if self.signals.stopped() {
                return Ok(0);
            }
            if !input_is_ready {
                continue; // SIGHUP, which is handled after the next frame
            }
            match self.input.read(to) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                read => return read,
            }
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
