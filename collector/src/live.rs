//! Live capture: any number of interfaces, and the reports of routers, in one thread, drained as
//! soon as there is something.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, BorrowedFd},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{Signals, Startup};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    Error, failed,
    interface::{self, How},
    link::Link,
    listener::Listener,
    options::Options,
    pace::Pace,
    pipeline::Pipeline,
    router::Routers,
    say, warn,
};

/// Frames taken from one interface before the next has its turn.
const TURN: usize = 1024;
/// How often the collector says that it lives, and asks the kernel for its drops.
const BEAT: Duration = Duration::from_secs(1);
/// How often drops are told, at most.
const DROPS_TOLD: Duration = Duration::from_secs(60);

/// Everything that is listened to.
pub struct Live {
    listeners: Vec<Listener>,
    routers: Option<Routers>,
    drops_told: Option<Instant>,
}

impl Live {
    /// Opens everything asked for. At the start, all must be there.
    pub fn open(options: &Options) -> Result<Live, Error> {
        let mut names = options.interfaces.clone();
        if names.is_empty() && options.macupd.is_none() {
            names.push(interface::first()?);
        }
        let mut once = BTreeSet::new();
        names.retain(|name| once.insert(*name)); // one named twice would be heard twice
        let how = How { promiscuous: !options.no_promisc, filter: options.filter.clone() };
        let listeners = names.into_iter().map(|name| Listener::open(name, &how));
        let routers = options.macupd.map(|address| Routers::open(address, &options.macupd_from));
        Ok(Live {
            listeners: listeners.collect::<Result<_, _>>()?,
            routers: routers.transpose()?,
            drops_told: None,
        })
    }

    /// The link type of all interfaces, for a file that can hold frames of one only.
    pub fn link(&self) -> Result<Link, Error> {
        let links = || self.listeners.iter().filter_map(Listener::link);
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
        &mut self,
        signals: &Signals,
        pipeline: &mut Pipeline,
        startup: &mut Startup,
    ) -> Result<(), Error> {
        say(format_args!("listening on {}", self.sources().join(", ")));
        let mut beat = Instant::now();
        let mut pace = Pace::new(beat);
        loop {
            let mut ready = self.wait(signals)?;
            if signals.take_hangup() {
                pipeline.reopen();
                self.listeners.iter_mut().for_each(Listener::look_soon);
            }
            let stopped = signals.stopped();
            let due = stopped || beat.elapsed() >= BEAT;
            if due {
                // libpcap notices only when asked for frames that an interface has gone.
                ready = (0..self.listeners.len()).collect();
            }
            // At the end, all that the kernel kept: what was heard before the signal is accounted for.
            let turn = if stopped { 2 * interface::KEPT as usize } else { TURN };
            let mut most = 0;
            let mut heard = 0;
            for index in ready {
                let frames = self.listeners[index].hear(turn, pipeline);
                most = most.max(frames);
                heard += frames;
            }
            if let Some(routers) = &mut self.routers {
                let datagrams = routers.hear(turn, pipeline);
                most = most.max(datagrams);
                heard += datagrams;
            }
            pipeline.deliver()?;
            if due {
                beat = Instant::now();
                pipeline.beat()?;
                startup.alive();
                self.look_after(pipeline);
            }
            if stopped {
                return Ok(());
            }
            let pause = pace.after(heard, Instant::now());
            // Not where more is waiting already.
            if !pause.is_zero() && most < TURN {
                sleep(pause);
            }
        }
    }

    /// What it listens on, for the user.
    fn sources(&self) -> Vec<String> {
        let names = self.listeners.iter().map(|listener| listener.name.to_string());
        let routers = self.routers.iter().map(|routers| format!("{} (MACupd)", routers.address()));
        names.chain(routers).collect()
    }

    /// Once a beat: drops are counted and told, in one line for all, and what vanished is looked for.
    fn look_after(&mut self, pipeline: &mut Pipeline) {
        for listener in &mut self.listeners {
            listener.count_drops(pipeline);
            listener.look(pipeline);
        }
        if let Some(routers) = &mut self.routers {
            routers.count_drops(pipeline);
        }
        if self.drops_told.is_some_and(|told| told.elapsed() < DROPS_TOLD) {
            return;
        }
        let listeners = self.listeners.iter_mut();
        let mut drops: Vec<_> = listeners
            .filter(|listener| listener.drops > 0)
            .map(|l| format!("{} frames on {}", std::mem::take(&mut l.drops), l.name))
            .collect();
        if let Some(routers) = self.routers.as_mut().filter(|routers| routers.drops() > 0) {
            drops.push(format!("{} datagrams (MACupd)", routers.take_drops()));
        }
        if !drops.is_empty() {
            warn(format_args!("the kernel dropped for want of time: {}", drops.join(", ")));
            self.drops_told = Some(Instant::now());
        }
    }

    /// Sleeps until there is a frame, a datagram, a signal, or a beat is due; tells which listeners
    /// to look at.
    fn wait(&self, signals: &Signals) -> Result<Vec<usize>, Error> {
        let opened = self.listeners.iter().enumerate();
        let opened = opened.filter_map(|(index, listener)| Some((index, listener.fd()?)));
        let (indexes, captures): (Vec<usize>, Vec<BorrowedFd>) = opened.unzip();
        let others = [signals.as_fd()].into_iter().chain(self.routers.as_ref().map(AsFd::as_fd));
        let mut fds: Vec<_> = captures
            .into_iter()
            .chain(others)
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
}
