//! Live capture: any number of interfaces, and the reports of routers, in one thread, drained as
//! soon as there is something.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{CapabilitySet, Signals, Startup};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};

use crate::{
    Error, failed, info,
    interface::{self, How},
    link::Link,
    listener::Listener,
    options::Options,
    pace::Pace,
    pipeline::Pipeline,
    router::Routers,
    warn,
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
    /// Says that some interface changed (RTMGRP_LINK of rtnetlink(7)); what, is asked then.
    changes: Option<OwnedFd>,
    /// What there may be to read, which the kernel keeps for us: to wait takes no memory.
    poll: OwnedFd,
    drops_told: Option<Instant>,
}

/// What is polled for, besides listeners, which are told by their place.
const SIGNALS: u64 = u64::MAX;
const CHANGES: u64 = u64::MAX - 1;
const ROUTERS: u64 = u64::MAX - 2;

impl Live {
    /// Opens everything asked for. An interface that is not there is looked for, if there is
    /// anything else to listen to, or `--wait`.
    pub fn open(options: &Options) -> Result<Live, Error> {
        let mut names = options.interfaces.clone();
        if names.is_empty() && options.macupd.is_none() {
            names.push(interface::first()?);
        }
        let mut once = BTreeSet::new();
        names.retain(|name| once.insert(*name)); // one named twice would be heard twice
        let (promiscuous, filter) = (!options.no_promisc, options.filter.clone());
        let how = How { promiscuous, filter, number: names.len() };
        let listeners = names.into_iter().map(|name| Listener::open(name, &how));
        let listeners: Vec<Listener> = listeners.collect::<Result<_, _>>()?;
        let all_missing = listeners.iter().all(|listener| listener.missing().is_some());
        if let Some(listener) = listeners.first()
            && let Some(why) = listener.missing()
            && all_missing
            && options.macupd.is_none()
            && !options.wait
        {
            return Err(failed(format_args!(
                "listen on {}: {why}; --wait waits for it",
                listener.name
            )));
        }
        let routers = options.macupd.map(|address| Routers::open(address, &options.macupd_from));
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Error::io("make a poll", error))?;
        let (routers, changes) = (routers.transpose()?, changes().ok());
        Ok(Live { listeners, routers, changes, poll, drops_told: None })
    }

    /// What it needs as long as it runs: an interface that comes back is opened again.
    pub fn needs(&self) -> CapabilitySet {
        match self.listeners.is_empty() {
            true => CapabilitySet::empty(),
            false => CapabilitySet::NET_RAW,
        }
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
        self.register(signals).map_err(|error| Error::io("poll", error))?;
        self.introduce();
        let mut beat = Instant::now();
        let mut pace = Pace::new(beat);
        let mut events = Vec::with_capacity(self.listeners.len() + 3);
        loop {
            self.wait(&mut events)?;
            // Before asking which came, and not for each frame: it is a system call.
            if events.iter().any(|event| event.data.u64() == SIGNALS) {
                signals.clear();
            }
            if signals.take_hangup() {
                pipeline.reopen();
                self.listeners.iter_mut().for_each(Listener::look_soon);
            }
            let stopped = signals.stopped();
            let due = stopped || beat.elapsed() >= BEAT;
            // At the end, all that the kernel kept: what was heard before the signal is accounted for.
            let turn = if stopped { 2 * interface::KEPT as usize } else { TURN };
            let (mut heard, mut most) = (0, 0);
            let mut changed = self.changes.is_none() && due;
            for event in &events {
                let number = match event.data.u64() {
                    SIGNALS => 0,
                    ROUTERS => self.routers.as_mut().map_or(0, |r| r.hear(turn, pipeline)),
                    CHANGES => {
                        changed = true;
                        0
                    }
                    place => self.listeners[place as usize].hear(turn, pipeline),
                };
                heard += number;
                most = most.max(number);
            }
            if changed || stopped {
                self.examine(turn, pipeline);
            }
            pipeline.deliver()?;
            if due {
                beat = Instant::now();
                pipeline.beat()?;
                startup.alive();
                self.look_after(pipeline)?;
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

    fn register(&self, signals: &Signals) -> Result<(), Errno> {
        let add = |fd, data| epoll::add(&self.poll, fd, epoll::EventData::new_u64(data), IN);
        add(signals.as_fd(), SIGNALS)?;
        self.changes.as_ref().map_or(Ok(()), |fd| add(fd.as_fd(), CHANGES))?;
        self.routers.as_ref().map_or(Ok(()), |routers| add(routers.as_fd(), ROUTERS))?;
        let listeners = self.listeners.iter().enumerate();
        let mut opened = listeners.filter_map(|(place, l)| Some((l.fd()?, place as u64)));
        opened.try_for_each(|(fd, place)| add(fd, place))
    }

    /// Tells what it listens on, and what it does not.
    fn introduce(&self) {
        let there = self.listeners.iter().filter(|listener| listener.missing().is_none());
        let names = there.map(|listener| listener.name.to_string());
        let routers = self.routers.iter().map(|routers| format!("{} (MACupd)", routers.address()));
        let mut sources: Vec<_> = names.chain(routers).collect();
        if sources.is_empty() {
            sources.push("nothing yet".into());
        }
        let who = match rustix::process::geteuid().is_root() && !self.listeners.is_empty() {
            true => ", as root (a user addrwatch, or -u, is safer)",
            false => "",
        };
        info(format_args!("listening on {}{who}", sources.join(", ")));
        for listener in &self.listeners {
            if let Some(why) = listener.missing() {
                warn(format_args!("not listening on {}: {why} (looking for it)", listener.name));
            }
        }
    }

    /// Something changed about some interface: asks which. libpcap notices only when asked for
    /// frames that an interface has gone, so it is asked.
    fn examine(&mut self, turn: usize, pipeline: &mut Pipeline) {
        if let Some(changes) = &self.changes {
            let mut message = [0; 4096];
            // What it says is not looked at; ENOBUFS says that there was more.
            while matches!(
                recv(changes, &mut message, RecvFlags::DONTWAIT),
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS)
            ) {}
        }
        for listener in &mut self.listeners {
            listener.hear(turn, pipeline);
            listener.examine(pipeline);
        }
    }

    /// Once a beat: drops are counted and told, in one line for all, and what is missing is looked for.
    fn look_after(&mut self, pipeline: &mut Pipeline) -> Result<(), Error> {
        for (place, listener) in self.listeners.iter_mut().enumerate() {
            listener.count_drops(pipeline);
            if listener.look()
                && let Some(fd) = listener.fd()
            {
                let data = epoll::EventData::new_u64(place as u64);
                epoll::add(&self.poll, fd, data, IN).map_err(|error| Error::io("poll", error))?;
            }
        }
        if let Some(routers) = &mut self.routers {
            routers.count_drops(pipeline);
        }
        if self.drops_told.is_none_or(|told| told.elapsed() >= DROPS_TOLD) {
            self.tell_drops();
        }
        Ok(())
    }

    fn tell_drops(&mut self) {
        let listeners = self.listeners.iter_mut().filter(|listener| listener.drops > 0);
        let mut drops: Vec<_> = listeners
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

    /// Sleeps until there is a frame, a datagram, a signal, a change, or a beat is due.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> Result<(), Error> {
        events.clear();
        let timeout = Timespec { tv_sec: BEAT.as_secs() as i64, tv_nsec: 0 };
        let events = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.poll, events, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::io("wait for frames", error)),
        }
    }
}

const IN: epoll::EventFlags = epoll::EventFlags::IN;

/// The kernel's word that an interface was made, deleted, went up or down.
fn changes() -> Result<OwnedFd, Errno> {
    const LINKS: u32 = 1; // RTMGRP_LINK
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
    Ok(socket)
}
