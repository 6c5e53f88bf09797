//! Live capture: any number of interfaces in one thread, drained as soon as they have frames.
//! One that vanishes is looked for until it is back.

use std::{
    collections::BTreeSet,
    os::fd::AsFd,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_layout::InterfaceName;

use crate::{
    Stop, failed,
    interface::{self, Opened, explain},
    link::Frame,
    options::Options,
    pace::Pace,
    pipeline::Pipeline,
    say,
    signals::Signals,
};

/// Frames taken from one interface before the next has its turn.
const TURN: usize = 1024;
/// How often the collector says that it lives, and asks the kernel for its drops.
const BEAT: Duration = Duration::from_secs(1);
/// How often drops are told, at most.
const DROPS_TOLD: Duration = Duration::from_secs(60);
/// Longest pause between two looks for an interface that vanished; the first is a beat.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// An interface that was asked for.
pub struct Listener {
    name: InterfaceName,
    promiscuous: bool,
    /// None: it vanished.
    opened: Option<Opened>,
    pause: Duration,
    next_look: Instant,
    /// Drops that were not told yet, and when some were last told.
    drops: u64,
    drops_told: Option<Instant>,
}

/// Opens every interface asked for. At the start, all must be there.
pub fn open(options: &Options) -> Result<Vec<Listener>, Stop> {
    let mut names = options.interfaces.clone();
    if names.is_empty() {
        names.push(interface::first()?);
    }
    let mut once = BTreeSet::new();
    names.retain(|name| once.insert(*name)); // one named twice would be heard twice
    let promiscuous = !options.no_promisc;
    let listener = |name| {
        let opened = Some(interface::open(name, promiscuous)?);
        Ok(Listener {
            name,
            promiscuous,
            opened,
            pause: BEAT,
            next_look: Instant::now(),
            drops: 0,
            drops_told: None,
        })
    };
    names.into_iter().map(listener).collect()
}

/// Listens until a signal ends it.
pub fn run(mut listeners: Vec<Listener>, pipeline: &mut Pipeline) -> Result<(), Stop> {
    let signals = Signals::register()?;
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    say(format_args!("listening on {}", names.join(", ")));
    let mut beat = Instant::now();
    let mut pace = Pace::new(beat);
    loop {
        let mut ready = wait(&listeners, &signals)?;
        let stopped = signals.stopped();
        let due = stopped || beat.elapsed() >= BEAT;
        if due {
            // libpcap notices only when asked for frames that an interface has gone.
            ready = (0..listeners.len()).collect();
        }
        // At the end, all that the kernel kept: what was heard before the signal is accounted for.
        let turn = if stopped { 2 * interface::KEPT as usize } else { TURN };
        let heard: Vec<_> =
            ready.into_iter().map(|index| listeners[index].hear(turn, pipeline)).collect();
        pipeline.deliver()?;
        if due {
            beat = Instant::now();
            pipeline.beat()?;
            for listener in &mut listeners {
                listener.count_drops(pipeline);
                listener.look(pipeline);
            }
        }
        if stopped {
            return Ok(());
        }
        let pause = pace.after(heard.iter().sum(), Instant::now());
        // Not where more is waiting already.
        if !pause.is_zero() && heard.iter().all(|frames| *frames < TURN) {
            sleep(pause);
        }
    }
}

impl Listener {
    /// Takes what frames there are, up to so many; tells how many there were.
    fn hear(&mut self, turn: usize, pipeline: &mut Pipeline) -> usize {
        let Some(opened) = &mut self.opened else { return 0 };
        let source = pipeline.source(self.name, opened.link);
        let read = opened.capture.dispatch(Some(turn), |packet| {
            pipeline.frame(&source, &Frame::new(&packet));
        });
        read.unwrap_or_else(|error| {
            self.lose(&explain(&error), pipeline);
            0
        })
    }

    fn lose(&mut self, why: &str, pipeline: &mut Pipeline) {
        say(format_args!("stopped listening on {}: {why} (looking for it)", self.name));
        self.count_drops(pipeline);
        self.opened = None;
        self.pause = BEAT;
        self.next_look = Instant::now();
    }

    fn count_drops(&mut self, pipeline: &mut Pipeline) {
        if let Some(opened) = &mut self.opened {
            let drops = opened.new_drops();
            let source = pipeline.source(self.name, opened.link);
            pipeline.kernel_dropped(&source, drops);
            self.drops += drops;
        }
        let due = self.drops_told.is_none_or(|told| told.elapsed() >= DROPS_TOLD);
        if self.drops > 0 && due {
            let drops = std::mem::take(&mut self.drops);
            say(format_args!("{}: the kernel dropped {drops} frames for want of time", self.name));
            self.drops_told = Some(Instant::now());
        }
    }

    /// Whether an interface has gone unnoticed, and whether one is back: one line when it is, none
    /// while it is not.
    fn look(&mut self, pipeline: &mut Pipeline) {
        let now = Instant::now();
        if let Some(opened) = &self.opened
            && !opened.is_current(self.name)
        {
            self.lose("it was deleted", pipeline);
        }
        if self.opened.is_some() || now < self.next_look {
            return;
        }
        match interface::open(self.name, self.promiscuous) {
            Ok(opened) => {
                self.opened = Some(opened);
                say(format_args!("listening on {} again", self.name));
            }
            Err(_) => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.next_look = now + self.pause;
            }
        }
    }
}

/// Sleeps until there is a frame, a signal, or a beat is due; tells which listeners to look at.
fn wait(listeners: &[Listener], signals: &Signals) -> Result<Vec<usize>, Stop> {
    let opened = listeners.iter().enumerate().filter_map(|(index, listener)| {
        listener.opened.as_ref().map(|opened| (index, opened.capture.as_fd()))
    });
    let (indexes, captures): (Vec<usize>, Vec<_>) = opened.unzip();
    let mut fds: Vec<_> = captures
        .into_iter()
        .chain([signals.as_fd()])
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let timeout = Timespec { tv_sec: BEAT.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(failed(format_args!("wait for frames: {error}"))),
    }
    // Errors show as events too: then the capture tells what is wrong.
    let ready = indexes.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(index, _)| *index).collect())
}
