//! Live capture: any number of interfaces, the reports of routers and mirrored frames, in one thread that waits with epoll(7).

mod joined;

use std::{
    mem::take,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use aw_service::{CapabilitySet, Signals, Startup, ignored_options};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv,
        socket_with,
    },
};
use shm_layout::{InterfaceName, Kills};

use crate::{
    Error,
    batching::{WakeLimit, gather, gather_until},
    enabled_units::EnabledUnits,
    event_name::{EventName, check_event_names},
    failed, info,
    interface::{self, CaptureOptions},
    link::LinkType,
    members::Members,
    merge::Merge,
    monitored_interface::MonitoredInterface,
    options::{CONFIGURED, Options, Sources, unit_name},
    own_addresses::OwnAddresses,
    pipeline::Pipeline,
    related::Devices,
    udp_source::{self, UdpSource},
    warn,
};

/// Most frames read from one interface before the next one is read.
const READ_LIMIT: usize = 1024;
/// Interval of the heartbeat and of counting the kernel's drops.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Shortest interval between two messages about drops.
const DROPS_INTERVAL: Duration = Duration::from_secs(60);

/// The open interfaces and sockets.
pub struct LiveCapture {
    interfaces: Vec<MonitoredInterface>,
    /// How interfaces that are added later are opened.
    capture: CaptureOptions,
    /// `--join`.
    members: Option<Members>,
    /// With `--join`.
    enabled: EnabledUnits,
    /// Those of the options.
    own: Sources,
    /// `--as`.
    names: Vec<EventName>,
    /// When to look whether a collector has joined for each of them.
    check_names_at: Option<Instant>,
    devices: Devices,
    /// Until the capture begins.
    own_addresses: OwnAddresses,
    /// Some interface changed since the last heartbeat.
    links_changed: bool,
    /// The interfaces that were open when it was last determined which ones capture the same frames.
    related: Vec<InterfaceName>,
    sockets: Vec<UdpSource>,
    merge: Merge,
    /// Readable when some interface changed (RTMGRP_LINK of rtnetlink(7)); the states are queried then.
    link_changes: Option<OwnedFd>,
    /// The epoll instance: waiting allocates nothing.
    epoll: OwnedFd,
    /// `--latency`.
    latency: Duration,
    drops_logged: Option<Instant>,
    /// A report ended the last sleep.
    ended_by_report: bool,
}

/// What was read at once: the most frames of one source, and the largest part of its buffer that they took.
struct FramesRead {
    most: usize,
    fill: f64,
}

impl FramesRead {
    /// Frames of a source whose buffer has this room.
    fn count(&mut self, number: usize, room: usize) {
        self.most = self.most.max(number);
        self.fill = self.fill.max(number as f64 / room as f64);
    }
}

/// The epoll data of each descriptor; that of an interface is its index, that of a socket its index and this.
const SIGNALS: u64 = u64::MAX;
const LINK_CHANGES: u64 = u64::MAX - 1;
const SOCKETS: u64 = 1 << 32;

impl LiveCapture {
    /// Checks what the options name, and opens nothing yet.
    pub fn new(options: &Options, members: Option<Members>) -> Result<LiveCapture, Error> {
        let mut own = options.sources()?;
        if own.names.is_empty() && !options.has_sockets() {
            own.names.push(interface::first()?);
        }
        match members {
            None => check_event_names(options, &own.names)?,
            Some(_) => {
                let absent = own.names.iter().map(|name| (*name, interface::absent(*name)));
                check_missing(options, &absent.collect::<Vec<_>>())?;
            }
        }
        let (promiscuous, filter) = (!options.no_promisc, options.filter.clone());
        let (decapsulate, names, interfaces) =
            (options.decapsulate, options.with_names, own.names.len());
        let capture = CaptureOptions { promiscuous, filter, decapsulate, names, interfaces };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|error| Error::io("create epoll instance", error))?;
        let link_changes = subscribe_link_changes().ok();
        Ok(LiveCapture {
            interfaces: Vec::new(),
            capture,
            members,
            enabled: EnabledUnits::of_this_machine(),
            own,
            names: options.names.clone(),
            check_names_at: None,
            devices: Devices::of_this_machine(options.filter.is_some()),
            own_addresses: OwnAddresses::of_this_machine(),
            links_changed: false,
            related: Vec::new(),
            sockets: Vec::new(),
            merge: Merge::default(),
            link_changes,
            epoll,
            latency: options.latency,
            drops_logged: None,
            ended_by_report: false,
        })
    }

    /// Opens what the options name. An interface that is not there is an error, unless another source is,
    /// or `--wait` is set: then it is opened later.
    pub fn open(&mut self, options: &Options) -> Result<(), Error> {
        self.open_interfaces(options)?;
        self.sockets = udp_source::open(options)?;
        Ok(())
    }

    fn open_interfaces(&mut self, options: &Options) -> Result<(), Error> {
        let Sources { names, label } = &self.own;
        let open = |name: &_| MonitoredInterface::open(*name, *label != Some(*name), &self.capture);
        self.interfaces = names.iter().map(open).collect::<Result<_, _>>()?;
        let missing = self.interfaces.iter().map(|interface| (interface.name, interface.missing()));
        check_missing(options, &missing.collect::<Vec<_>>())
    }

    /// The capabilities that it needs while it runs, to open an interface that comes back.
    pub fn capabilities(&self) -> CapabilitySet {
        match self.own.names.is_empty() && self.members.is_none() {
            true => CapabilitySet::empty(),
            false => CapabilitySet::NET_RAW,
        }
    }

    /// The common link type of all interfaces, because a pcap file has one only.
    pub fn link(&self) -> Result<LinkType, Error> {
        let links = || self.interfaces.iter().filter_map(MonitoredInterface::link);
        let first = links().next().unwrap_or(LinkType::Ethernet);
        if links().all(|link| link == first) {
            return Ok(first);
        }
        Err(failed(
            "--snap-malformed: `any` has another link type than the other interfaces, and a pcap file has only one (capture on `any` alone, or leave it out)",
        ))
    }

    /// Captures until a signal ends it.
    pub fn run(
        &mut self,
        signals: &Signals,
        pipeline: &mut Pipeline,
        startup: &mut Startup,
    ) -> Result<(), Error> {
        self.register(signals).map_err(|error| Error::io("register with epoll", error))?;
        self.log_sources();
        pipeline.set_own(take(&mut self.own_addresses));
        self.resume_members(pipeline);
        self.relate();
        self.interfaces.iter_mut().for_each(|interface| interface.check_state(pipeline));
        self.report()?;
        let mut heartbeat = Instant::now();
        let mut wakes = WakeLimit::new(self.latency, heartbeat);
        let mut events = Vec::new();
        let mut is_known = false;
        loop {
            if !is_known {
                self.wait(&mut events)?;
            }
            // Before the flags are read, and only if a signal came: it is a system call.
            if events.iter().any(|event| event.data.u64() == SIGNALS) {
                signals.clear();
            }
            if signals.take_hangup() {
                pipeline.reopen_files();
                self.interfaces.iter_mut().for_each(MonitoredInterface::retry_now);
            }
            let stopped = signals.stopped();
            let due = stopped || heartbeat.elapsed() >= HEARTBEAT;
            // At the end, everything that the kernel has buffered: frames from before the signal are counted.
            let limit = if stopped { 2 * interface::BUFFERED_FRAMES as usize } else { READ_LIMIT };
            let read = self.read_ready(&events, limit, pipeline);
            let link_changed = events.iter().any(|event| event.data.u64() == LINK_CHANGES);
            if stopped || link_changed || (due && self.link_changes.is_none()) {
                self.check_interfaces(limit, pipeline);
            }
            pipeline.deliver()?;
            if due {
                heartbeat = Instant::now();
                pipeline.heartbeat()?;
                startup.alive();
                self.follow_members(pipeline);
                self.maintain(pipeline)?;
                self.report()?;
                startup.status(|| self.status(pipeline));
            }
            if stopped {
                return Ok(());
            }
            is_known = false;
            wakes.count(read.fill);
            // Not if more frames are waiting already.
            if read.fill > 0.0 && read.most < READ_LIMIT {
                let pause = wakes.pause(self.room(), Instant::now());
                // The only source that there is, read once more: most often it has frames, and what else may have happened
                // is seen at the next heartbeat, or as soon as it has none.
                let is_only = events.len() == 1 && self.interfaces.len() + self.sockets.len() == 1;
                is_known = self.gather(pause) && is_only && !due;
            }
        }
    }

    /// Sleeps while frames arrive. A report of a router has no time but that at which it is read, so it ends the sleep: the frames
    /// before it are read before it, and those after it follow. Not the next sleep, too: a flood of reports may not wake it each time.
    fn gather(&mut self, pause: Duration) -> bool {
        let reports = self.sockets.iter().find(|socket| socket.receives_reports());
        match reports.filter(|_| !take(&mut self.ended_by_report)) {
            None => gather(pause),
            Some(reports) => {
                self.ended_by_report = gather_until(reports, pause);
                false
            }
        }
    }

    /// Reads from each source that has something.
    fn read_ready(
        &mut self,
        events: &[epoll::Event],
        limit: usize,
        pipeline: &mut Pipeline,
    ) -> FramesRead {
        let mut read = FramesRead { most: 0, fill: 0.0 };
        let LiveCapture { interfaces, sockets, merge, .. } = self;
        let sources = events.iter().map(|event| event.data.u64());
        let mut ready = sources.clone().filter(|data| *data < SOCKETS).map(|index| index as usize);
        match (ready.next(), ready.clone().next()) {
            (Some(only), None) => {
                let number = interfaces[only].read(limit, pipeline);
                read.count(number, interfaces[only].room());
            }
            (Some(first), Some(_)) => {
                let ready = std::iter::once(first).chain(ready);
                for merged in merge.read(interfaces, ready, limit, pipeline) {
                    read.count(merged.number, interfaces[merged.index].room());
                }
            }
            (None, _) => {}
        }
        for socket in sources.filter(|data| (SOCKETS..LINK_CHANGES).contains(data)) {
            let socket = &mut sockets[(socket - SOCKETS) as usize];
            read.count(socket.read(limit, pipeline), socket.room);
        }
        read
    }

    /// The frames that the smallest of the kernel's buffers holds.
    fn room(&self) -> usize {
        let interfaces = self.interfaces.iter().map(MonitoredInterface::room);
        let rooms = interfaces.chain(self.sockets.iter().map(|socket| socket.room));
        rooms.min().unwrap_or(usize::MAX)
    }

    fn register(&self, signals: &Signals) -> Result<(), Errno> {
        let add = |fd, data| epoll::add(&self.epoll, fd, epoll::EventData::new_u64(data), IN);
        add(signals.as_fd(), SIGNALS)?;
        self.link_changes.as_ref().map_or(Ok(()), |fd| add(fd.as_fd(), LINK_CHANGES))?;
        let mut sockets = (SOCKETS..).zip(&self.sockets);
        sockets.try_for_each(|(data, socket)| add(socket.as_fd(), data))?;
        let interfaces = self.interfaces.iter().enumerate();
        let mut opened = interfaces.filter_map(|(index, one)| Some((one.fd()?, index as u64)));
        opened.try_for_each(|(fd, index)| add(fd, index))
    }

    /// The sources that are open.
    fn sources(&self) -> Vec<String> {
        let names = open_interfaces(&self.interfaces).map(|name| name.to_string());
        names.chain(self.sockets.iter().map(UdpSource::describe)).collect()
    }

    /// Whether names are recorded, for messages.
    fn with_names(&self) -> &'static str {
        if self.capture.names { ", with names" } else { "" }
    }

    /// One line for `systemctl status`.
    fn status(&self, pipeline: &Pipeline) -> String {
        let sources = self.sources();
        let mut text = match sources.is_empty() {
            true => "listening on nothing yet".into(),
            false => format!("listening on {}{}", sources.join(", "), self.with_names()),
        };
        for interface in &self.interfaces {
            if let Some(trouble) = interface.trouble() {
                text += &format!("; {}: {trouble}", interface.name);
            }
        }
        for network in pipeline.hidden_networks() {
            text += &format!("; {network}: Neighbor Discovery may be hidden from this port");
        }
        let kills = pipeline.kills();
        if !kills.recent().is_empty() {
            let times = Kills::times(kills.recent());
            text += &format!("; killed or crashed {times} within the last hour");
        }
        for name in self.enabled.not_running() {
            text += &format!("; {name}: its unit is enabled, but does not run");
        }
        text
    }

    /// Logs which sources are open, and which are not.
    fn log_sources(&self) {
        let sources = self.sources();
        let user = match rustix::process::geteuid().is_root() && !self.interfaces.is_empty() {
            true => ", as root (safer: create a user addrwatch, or name one with -u)",
            false => "",
        };
        match sources.is_empty() {
            true => info(format_args!("waiting for an interface to listen on{user}")),
            false => {
                info(format_args!("listening on {}{}{user}", sources.join(", "), self.with_names()))
            }
        }
        for interface in &self.interfaces {
            match interface.missing() {
                Some(_) if !interface.is_expected() => info(format_args!(
                    "{0}, the name of this unit, is no interface now: if it is one, it is added when it appears",
                    interface.name
                )),
                Some(why) => {
                    warn(format_args!("not listening on {}: {why}; retrying", interface.name));
                }
                None => {}
            }
        }
    }

    /// Checks the state of all interfaces. libpcap notices only when it reads that an interface is gone,
    /// so each one is read, too.
    fn check_interfaces(&mut self, limit: usize, pipeline: &mut Pipeline) {
        if let Some(changes) = &self.link_changes {
            let mut message = [0; 4096];
            // The messages themselves are not used; ENOBUFS means that some were lost.
            while matches!(
                recv(changes, &mut message, RecvFlags::DONTWAIT),
                Ok(_) | Err(Errno::INTR | Errno::NOBUFS)
            ) {}
        }
        for interface in &mut self.interfaces {
            interface.read(limit, pipeline);
            interface.check_state(pipeline);
        }
        self.relate();
        self.links_changed = true;
    }

    /// Finds out which interfaces capture the same frames. Called when links or the open interfaces change.
    fn relate(&mut self) {
        let names: Vec<_> = self.interfaces.iter().map(|interface| interface.name).collect();
        self.related.clear();
        self.related.extend(open_interfaces(&self.interfaces));
        let places = self.devices.places(&names, &self.related, &self.names);
        for (interface, place) in self.interfaces.iter_mut().zip(places) {
            interface.set_place(place);
        }
    }

    /// Once each heartbeat: counts and logs drops, and tries to open missing interfaces.
    fn maintain(&mut self, pipeline: &mut Pipeline) -> Result<(), Error> {
        for (index, interface) in self.interfaces.iter_mut().enumerate() {
            interface.count_drops(pipeline);
            if interface.reopen()
                && let Some(fd) = interface.fd()
            {
                let data = epoll::EventData::new_u64(index as u64);
                epoll::add(&self.epoll, fd, data, IN)
                    .map_err(|error| Error::io("register with epoll", error))?;
                interface.check_state(pipeline);
            }
            interface.check_carrier();
            interface.store_state(pipeline); // after the first try, so that a new one is not down for a moment
            interface.watch_broadcasts(pipeline);
        }
        if take(&mut self.links_changed) {
            pipeline.read_own_macs(); // once for all that changed: a host of containers has many interfaces
        }
        pipeline.judge_neighbors(Instant::now());
        if !open_interfaces(&self.interfaces).eq(self.related.iter().copied()) {
            self.relate();
        }
        for socket in &mut self.sockets {
            socket.count_drops(pipeline);
        }
        if self.drops_logged.is_none_or(|logged| logged.elapsed() >= DROPS_INTERVAL) {
            self.log_drops();
        }
        Ok(())
    }

    /// Logs all drops since the last message in one line.
    fn log_drops(&mut self) {
        let dropping = self.interfaces.iter_mut().filter(|interface| interface.unlogged_drops > 0);
        let mut drops: Vec<_> = dropping
            .map(|one| format!("{} frames on {}", take(&mut one.unlogged_drops), one.name))
            .collect();
        drops.extend(self.sockets.iter_mut().filter_map(UdpSource::take_unlogged_drops));
        if !drops.is_empty() {
            warn(format_args!(
                "the kernel dropped frames because the collector was too slow: {} (reduce them with --filter, or give it more CPU time)",
                drops.join(", ")
            ));
            self.drops_logged = Some(Instant::now());
        }
    }

    /// Sleeps until there is a frame, a datagram, a signal or a changed interface, or the heartbeat is due.
    fn wait(&self, events: &mut Vec<epoll::Event>) -> Result<(), Error> {
        events.clear();
        events.reserve(self.interfaces.len() + self.sockets.len() + 2); // all, to be read together
        let timeout = Timespec { tv_sec: HEARTBEAT.as_secs() as i64, tv_nsec: 0 };
        let events = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.epoll, events, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(Error::io("wait for frames", error)),
        }
    }
}

/// An error if no source is there, and the options do not say to wait for one.
pub fn check_missing(
    options: &Options,
    found: &[(InterfaceName, Option<&str>)],
) -> Result<(), Error> {
    let Some((first, Some(why))) = found.first() else { return Ok(()) };
    // The file of the unit may name interfaces, and systemd ignore it.
    if let (Some(instance), 1) = (&options.instance, found.len())
        && options.interfaces.is_empty()
        && let own = Path::new(CONFIGURED).join(format!("collector-{instance}.conf"))
        && let Some(why) = ignored_options(&own, &unit_name(instance))
    {
        return Err(failed(format_args!("no interface to listen on: {why}")));
    }
    let all_missing = found.iter().all(|(_, why)| why.is_some());
    if all_missing && !options.has_sockets() && !options.waits() {
        return Err(failed(format_args!("listen on {first}: {why}; use --wait to wait for it")));
    }
    Ok(())
}

fn open_interfaces(interfaces: &[MonitoredInterface]) -> impl Iterator<Item = InterfaceName> {
    let open = interfaces.iter().filter(|interface| interface.missing().is_none());
    open.map(|interface| interface.name)
}

const IN: epoll::EventFlags = epoll::EventFlags::IN;

/// A netlink socket on which the kernel reports that an interface was created, deleted, or went up or down.
fn subscribe_link_changes() -> Result<OwnedFd, Errno> {
    const LINKS: u32 = 1; // RTMGRP_LINK
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, LINKS))?;
    Ok(socket)
}
