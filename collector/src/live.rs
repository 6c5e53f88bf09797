//! Live capture: any number of interfaces in one thread, drained as soon as they have frames.
//! One that vanishes is looked for until it is back.

use std::{
    collections::BTreeSet,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use aw_service::{Signals, Startup};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_layout::InterfaceName;

use crate::{
    Error, failed,
    interface::{self, How, Opened, explain},
    link::{Frame, Link},
    options::Options,
    pipeline::Pipeline,
    say, warn,
};

/// Frames taken from one interface before the next has its turn.
const TURN: usize = 1024;
/// How often the collector says that it lives, and asks the kernel for its drops.
const BEAT: Duration = Duration::from_secs(1);
/// How often drops are told, at most.
const DROPS_TOLD: Duration = Duration::from_secs(60);
/// An interface that stays for so long is not one that comes and goes.
const STEADY: Duration = Duration::from_secs(60);
/// Longest pause between two looks for an interface that vanished; the first is a beat.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// An interface that was asked for.
pub struct Listener {
    name: InterfaceName,
    how: How,
    /// None: it vanished.
    opened: Option<Opened>,
    /// Since when it is as it is.
    since: Instant,
    pause: Duration,
    next_look: Instant,
    /// Drops that were not told yet.
    drops: u64,
}

/// Opens every interface asked for. At the start, all must be there.
pub fn open(options: &Options) -> Result<Vec<Listener>, Error> {
    let mut names = options.interfaces.clone();
    if names.is_empty() {
        names.push(interface::first()?);
    }
    let mut once = BTreeSet::new();
    names.retain(|name| once.insert(*name)); // one named twice would be heard twice
    let how = How { promiscuous: !options.no_promisc, filter: options.filter.clone() };
    let listener = |name| {
        let opened = Some(interface::open(name, &how)?);
        let (how, now) = (how.clone(), Instant::now());
        Ok(Listener { name, how, opened, since: now, pause: BEAT, next_look: now, drops: 0 })
    };
    names.into_iter().map(listener).collect()
}

/// The link type of all of them, for a file that can hold frames of one only.
pub fn link(listeners: &[Listener]) -> Result<Link, Error> {
    let links = || listeners.iter().filter_map(|listener| Some(listener.opened.as_ref()?.link));
    let first = links().next().unwrap_or(Link::Ethernet);
    if links().all(|link| link == first) {
        return Ok(first);
    }
    Err(failed(
        "--snap-malformed: `any` has another link type than the other interfaces (name it alone)",
    ))
}

/// Listens until a signal ends it.
pub fn run(
    mut listeners: Vec<Listener>,
    signals: &Signals,
    pipeline: &mut Pipeline,
    startup: &mut Startup,
) -> Result<(), Error> {
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    say(format_args!("listening on {}", names.join(", ")));
    let mut beat = Instant::now();
    let mut drops_told: Option<Instant> = None;
    loop {
        let mut ready = wait(&listeners, signals)?;
        if signals.take_hangup() {
            pipeline.reopen();
            listeners.iter_mut().for_each(|listener| listener.next_look = Instant::now());
        }
        let stopped = signals.stopped();
        let due = stopped || beat.elapsed() >= BEAT;
        if due {
            // libpcap notices only when asked for frames that an interface has gone.
            ready = (0..listeners.len()).collect();
        }
        // At the end, all that the kernel kept: what was heard before the signal is accounted for.
        let turn = if stopped { 2 * interface::KEPT as usize } else { TURN };
        for index in ready {
            listeners[index].hear(turn, pipeline);
        }
        pipeline.deliver()?;
        if due {
            beat = Instant::now();
            pipeline.beat()?;
            startup.alive();
            for listener in &mut listeners {
                listener.count_drops(pipeline);
                listener.look(pipeline);
            }
            if drops_told.is_none_or(|told| told.elapsed() >= DROPS_TOLD)
                && tell_drops(&mut listeners)
            {
                drops_told = Some(beat);
            }
        }
        if stopped {
            return Ok(());
        }
    }
}

impl Listener {
    /// Takes what frames there are, up to so many.
    fn hear(&mut self, turn: usize, pipeline: &mut Pipeline) {
        let Some(opened) = &mut self.opened else { return };
        let source = pipeline.source(self.name, opened.link);
        let read = opened.capture.dispatch(Some(turn), |packet| {
            pipeline.frame(&source, &Frame::new(&packet));
        });
        if let Err(error) = read {
            self.lose(&explain(&error), pipeline);
        }
    }

    fn lose(&mut self, why: &str, pipeline: &mut Pipeline) {
        warn(format_args!("stopped listening on {}: {why} (looking for it)", self.name));
        self.count_drops(pipeline);
        self.opened = None;
        // One that comes and goes is looked for less and less often, and so told less often.
        if self.since.elapsed() >= STEADY {
            self.pause = BEAT;
        }
        self.since = Instant::now();
        self.next_look = self.since + self.pause;
    }

    fn count_drops(&mut self, pipeline: &mut Pipeline) {
        if let Some(opened) = &mut self.opened {
            let drops = opened.new_drops();
            let source = pipeline.source(self.name, opened.link);
            pipeline.kernel_dropped(&source, drops);
            self.drops += drops;
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
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next_look = now + self.pause;
        if let Ok(opened) = interface::open(self.name, &self.how) {
            self.opened = Some(opened);
            self.since = now;
            say(format_args!("listening on {} again", self.name));
        }
    }
}

/// One line for all interfaces; tells whether there was anything to tell.
fn tell_drops(listeners: &mut [Listener]) -> bool {
    let dropping = listeners.iter_mut().filter(|listener| listener.drops > 0);
    let drops: Vec<_> = dropping
        .map(|listener| format!("{} on {}", std::mem::take(&mut listener.drops), listener.name))
        .collect();
    if !drops.is_empty() {
        warn(format_args!("the kernel dropped frames for want of time: {}", drops.join(", ")));
    }
    !drops.is_empty()
}

/// Sleeps until there is a frame, a signal, or a beat is due; tells which listeners to look at.
fn wait(listeners: &[Listener], signals: &Signals) -> Result<Vec<usize>, Error> {
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
