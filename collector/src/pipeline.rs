//! The stages that a frame passes: parse → check → admit → publish, and the counters of its outcome.

use std::time::Instant;

use ipnet::IpNet;
use shm_layout::{
    BroadcastState, CaptureState, Counter, CreateError, Event, InterfaceId, InterfaceName, Kill,
    Kills, MacAddr, NameChange, NameKind, NameRecord, NamesWriter, Origin, UnixTime, Writer,
};

use crate::{
    Error, blacklist,
    broadcasts::{Asked, BroadcastWatch},
    check::{self, Sighting},
    copies::{Copies, Overlap},
    decapsulation::Decapsulation,
    info,
    link::{Frame, LinkType},
    name_publisher::{Names, Rest},
    options::Options,
    own_addresses::OwnAddresses,
    parse::{self, Message},
    printer::Printer,
    rate_limit::{PairingKey, RateLimit},
    refusal_log::{self, RefusalLog},
    sample_file::SampleFile,
    warn,
};

/// An interface or a capture file.
#[derive(Clone, Copy, Debug)]
pub struct FrameSource {
    /// The name of its events, which may be another one than the interface's.
    pub name: InterfaceName,
    /// Its link type.
    pub link: LinkType,
    /// Its counters.
    pub counters: InterfaceId,
    /// Whether other interfaces capture the same frames.
    pub overlap: Overlap,
}

/// All stages behind the capture, and their outputs.
pub struct Pipeline {
    writer: Writer,
    /// Events published when the readers were last woken.
    woken: u64,
    /// Lines for standard output, unless `-q`.
    printer: Option<Printer>,
    ipv4: bool,
    ipv6: bool,
    decapsulation: Decapsulation,
    blacklist: Vec<IpNet>,
    /// `--names`.
    names: Option<Names>,
    /// Of this host; none in a replay.
    own: OwnAddresses,
    /// Of the interfaces that are captured live.
    broadcasts: Vec<(InterfaceId, BroadcastWatch)>,
    /// All ARP can arrive: neither `-6` nor `--filter`.
    sees_arp: bool,
    copies: Copies,
    limit: RateLimit,
    refusals: Option<RefusalLog>,
    samples: Option<SampleFile>,
}

impl Pipeline {
    pub fn new(
        writer: Writer,
        names: Option<NamesWriter>,
        samples: Option<SampleFile>,
        options: &Options,
    ) -> Result<Self, Error> {
        if options.verbose && options.hashsize.is_some() {
            info("-H has no effect: the table of pairings grows as needed");
        }
        let printer = || Printer::new(options.read.is_some()).map_err(stdout_error);
        Ok(Pipeline {
            woken: writer.published(),
            writer,
            printer: if options.quiet || options.service.daemon { None } else { Some(printer()?) },
            ipv4: !options.ipv6_only,
            ipv6: !options.ipv4_only,
            decapsulation: Decapsulation::new(options),
            blacklist: options.blacklist.clone(),
            names: names
                .map(|names| Names::new(names, options.read.is_none() && !options.ipv4_only)),
            own: OwnAddresses::default(),
            broadcasts: Vec::new(),
            sees_arp: !options.ipv6_only && options.filter.is_none(),
            copies: Copies::default(),
            limit: RateLimit::new(options.ratelimit, options.max_pairings as usize),
            refusals: options.verbose.then(RefusalLog::new),
            samples,
        })
    }

    /// A source of frames, with its counters.
    pub fn source(&mut self, name: InterfaceName, link: LinkType) -> FrameSource {
        let (counters, overlap) = (self.writer.interface(name), Overlap::None);
        FrameSource { name, link, counters, overlap }
    }

    /// Processes one frame; returns whether it became an event.
    pub fn process_frame(&mut self, source: &FrameSource, frame: &Frame) -> bool {
        // `any` has frames of several networks.
        self.process(source, frame, None, !source.link.is_cooked())
    }

    /// The same for a frame that came in a tunnel of this number.
    pub fn process_tunnelled(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        id: Option<u32>,
    ) -> bool {
        self.process(source, frame, id, false)
    }

    /// `is_own_network`: the source is one network, and no collection of them.
    fn process(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        id: Option<u32>,
        is_own_network: bool,
    ) -> bool {
        match self.read_names(source, frame, id, is_own_network) {
            Rest::Unread => {}
            Rest::Done => return false,
            Rest::Pairing(sighting) => {
                self.writer.count(source.counters, Counter::Seen);
                let name = self.decapsulation.name(source.name, id);
                let first = self.first_copy(FrameSource { name, ..*source }, frame, sighting);
                let checked = first.map(|sighting| sighting.event(frame.time, name));
                return self.finish_event(source.counters, checked).is_ok();
            }
        }
        self.writer.count(source.counters, Counter::Seen);
        let checked = parse::parse(source.link, frame).and_then(|packet| {
            self.decapsulation.admit(&packet)?;
            let sighting = check::sighting(&packet)?;
            if let Message::Arp(message) = &packet.message
                && packet.tunnel.is_none()
                && !self.own.contains(sighting.source)
            {
                let target = message.target_hw_addr().try_into().map(MacAddr::new);
                self.observe_arp(source, frame, &sighting, target.ok(), is_own_network);
            }
            let id = packet.tunnel.and_then(|tunnel| tunnel.id).or(id);
            let name = self.decapsulation.name(source.name, id);
            let sighting = self.first_copy(FrameSource { name, ..*source }, frame, sighting)?;
            Ok(sighting.event(frame.time, name))
        });
        let outcome = self.finish_event(source.counters, checked);
        if let (Err(reason), Some(samples)) = (outcome, &mut self.samples)
            && reason.is_refusal()
        {
            samples.store(source.link, frame, reason);
        }
        if outcome == Err(Counter::UnknownHeader) {
            self.report_hidden(source, frame);
        }
        outcome.is_ok()
    }

    /// Looks at what ARP of another host shows of what reaches this port: before `-r`, `--as` and the like.
    fn observe_arp(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        sighting: &Sighting,
        target: Option<MacAddr>,
        is_own_network: bool,
    ) {
        let &Sighting { origin, source: sender, .. } = sighting;
        let is_request = matches!(origin, Origin::ArpRequest | Origin::ArpProbe);
        if source.link.is_broadcast(frame) {
            self.writer.count(source.counters, Counter::ArpBroadcast);
        } else if is_own_network && self.sees_arp {
            self.observe_unicast(source, frame, sender, is_request, target);
        }
        if let Some(names) = &mut self.names
            && is_request
            && is_own_network
            && source.overlap != Overlap::Contained
        {
            names.arp_request(source.counters, sighting);
        }
    }

    /// A question or an answer of one other host to another one, as a mirror has them.
    fn observe_unicast(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        sender: MacAddr,
        is_request: bool,
        target: Option<MacAddr>,
    ) {
        let Ok(payload) = source.link.payload(frame) else { return };
        let receiver = payload.destination;
        let is_of_others = !receiver.is_no_host() && !self.own.contains(receiver);
        let mut watches = self.broadcasts.iter_mut();
        if is_of_others && let Some((_, watch)) = watches.find(|(id, _)| *id == source.counters) {
            match is_request {
                true => watch.question(Asked { asker: sender, owner: receiver }, frame.time),
                // An answer names the host that asked.
                false if target == Some(receiver) => {
                    watch.answer(Asked { asker: receiver, owner: sender }, frame.time);
                }
                false => {}
            }
        }
    }

    /// `--names`. A frame that is read here only is not counted as seen in the ring of events.
    #[inline]
    fn read_names(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        id: Option<u32>,
        is_own_network: bool,
    ) -> Rest {
        let Some(names) = &mut self.names else { return Rest::Unread };
        if source.overlap == Overlap::Contained {
            return Rest::Unread; // another interface captures it, too
        }
        let name = self.decapsulation.name(source.name, id);
        let is_wanted = |record: &NameRecord| {
            let ip = record.ip();
            // The address of a switch is only one that it has.
            let of_ip = ip.filter(|_| record.kind != NameKind::Lldp).map(|ip| ip.is_ipv4());
            let is_of_family = match record.kind.is_ipv4().or(of_ip) {
                Some(true) => self.ipv4,
                Some(false) => self.ipv6,
                None => true,
            };
            let mut blacklist = self.blacklist.iter();
            let mut is_listed =
                || blacklist.any(|network| blacklist::contains(network, record.address));
            // The source of a message that is refused is what any host could write.
            let may_be_listed = ip.is_some() && record.kind != NameKind::Refused;
            is_of_family && !(may_be_listed && is_listed())
        };
        names.process(source, frame, name, (&self.own, is_own_network), is_wanted)
    }

    /// Stores which header hides a message.
    fn report_hidden(&mut self, source: &FrameSource, frame: &Frame) {
        if let Some(header) = parse::hiding_header(source.link, frame) {
            self.writer.set_hidden_by(source.counters, header);
            if let Some(refusals) = &mut self.refusals {
                refusals.hidden(source.name, header);
            }
        }
    }

    /// Processes one line of a router's report.
    pub fn process_report(&mut self, counters: InterfaceId, parsed: Result<Event, Counter>) {
        self.writer.count(counters, Counter::Seen);
        let _ = self.finish_event(counters, parsed); // the outcome is counted
    }

    /// The last stages: admit → publish, or the reason why not. Counts the outcome.
    fn finish_event(
        &mut self,
        counters: InterfaceId,
        checked: Result<Event, Counter>,
    ) -> Result<(), Counter> {
        let admitted = checked
            .and_then(|event| self.filter(event))
            .and_then(|event| self.admit(counters, event));
        match admitted {
            Ok(event) => {
                self.writer.publish(counters, &event);
                if let Some(printer) = &mut self.printer {
                    printer.print(&event);
                }
                Ok(())
            }
            Err(reason) => {
                self.writer.count(counters, reason);
                if let Some(refusals) = &mut self.refusals
                    && reason.is_refusal()
                {
                    refusals.count(reason);
                }
                Err(reason)
            }
        }
    }

    /// Counts frames of a replay that are not parsed, and why.
    pub fn count_frames(&mut self, counters: InterfaceId, outcome: Counter, number: u64) {
        // One by one: a collector that is killed leaves at most one frame without an outcome.
        for _ in 0..number {
            self.writer.count(counters, Counter::Seen);
            self.writer.count(counters, outcome);
        }
    }

    /// Refuses a frame that another interface of the same network captured, too.
    fn first_copy(
        &mut self,
        source: FrameSource,
        frame: &Frame,
        sighting: Sighting,
    ) -> Result<Sighting, Counter> {
        let FrameSource { name, link, overlap, .. } = source;
        match self.copies.is_copy(overlap, name, link, frame, &sighting) {
            true => Err(Counter::CapturedTwice),
            false => Ok(sighting),
        }
    }

    /// `-4`, `-6` and `-b`.
    fn filter(&self, event: Event) -> Result<Event, Counter> {
        let wanted = if event.kind.is_ipv4() { self.ipv4 } else { self.ipv6 };
        let mut blacklist = self.blacklist.iter();
        let blacklisted = blacklist.any(|network| blacklist::contains(network, event.address));
        if wanted && !blacklisted { Ok(event) } else { Err(Counter::Filtered) }
    }

    /// `-r`.
    fn admit(&mut self, counters: InterfaceId, event: Event) -> Result<Event, Counter> {
        let Event { mac, source, interface, address, vlan, outer_vlan, router, time, .. } = event;
        let key = PairingKey { interface, vlan, outer_vlan, router, address };
        let evidence = event.kind.evidence();
        let verdict = match source == mac {
            true => self.limit.admit(key, evidence, mac, time),
            false => self.limit.admit_forwarded(key, evidence, (mac, source), time),
        };
        if verdict.forgot {
            self.writer.count(counters, Counter::Forgotten);
        }
        if verdict.report { Ok(event) } else { Err(Counter::RateLimited) }
    }

    /// The counters of an interface or of another source.
    pub fn counters(&mut self, name: InterfaceName) -> InterfaceId {
        self.writer.interface(name)
    }

    /// Stores for the outputs whether an interface is captured.
    pub fn set_state(&mut self, name: InterfaceName, state: CaptureState) {
        let interface = self.writer.interface(name);
        self.writer.set_state(interface, state);
    }

    /// This host, for a live capture.
    pub fn set_own(&mut self, own: OwnAddresses) {
        self.own = own;
    }

    /// After a change of interfaces.
    pub fn read_own_macs(&mut self) {
        self.own.read();
    }

    /// At each heartbeat: stores for the outputs whether broadcasts arrive at an interface.
    pub fn watch_broadcasts(&mut self, name: InterfaceName, is_captured: bool, now: Instant) {
        let interface = self.writer.interface(name);
        let count = self.writer.counter(interface, Counter::ArpBroadcast);
        let index = self.broadcasts.iter().position(|(id, _)| *id == interface);
        let index = index.unwrap_or_else(|| {
            self.broadcasts.push((interface, BroadcastWatch::new(count)));
            self.broadcasts.len() - 1
        });
        if let Some((_, watch)) = self.broadcasts.get_mut(index) {
            if watch.has_more(count) {
                self.writer.set_last_broadcast(interface, UnixTime::now());
            }
            let state = watch.observe(count, is_captured, now);
            self.writer.set_broadcasts(interface, state);
        }
    }

    /// The interface is not to be captured any more: what was found about it is no longer known.
    pub fn forget_interface(&mut self, name: InterfaceName) {
        let interface = self.writer.interface(name);
        self.broadcasts.retain(|(id, _)| *id != interface);
        self.writer.set_broadcasts(interface, BroadcastState::Unknown);
        if let Some(names) = &mut self.names {
            names.forget_neighbors(interface);
        }
    }

    /// At each heartbeat: stores for the outputs which Neighbor Discovery reaches this port, with `--names`.
    pub fn judge_neighbors(&mut self, now: Instant) {
        if let Some(views) = self.names.as_mut().and_then(|names| names.judge(now)) {
            self.writer.set_neighbors(&views);
        }
    }

    /// The networks that may hide Neighbor Discovery from this port.
    pub fn hidden_networks(&self) -> Vec<String> {
        let views = self.writer.neighbors().into_iter();
        views.filter(|view| view.is_hidden).map(|view| view.network()).collect()
    }

    /// The interfaces that the collector before this one had stored in this state.
    pub fn were_in(&self, state: CaptureState) -> impl Iterator<Item = InterfaceName> {
        let before = self.writer.states_before().iter();
        before.filter(move |(_, before)| *before == state).map(|(name, _)| *name)
    }

    /// The time without a collector before this one, if it was not short.
    pub fn gap(&self) -> Option<(UnixTime, UnixTime)> {
        self.writer.gap()
    }

    /// The collectors of this ring that were killed or crashed.
    pub fn kills(&self) -> Kills {
        self.writer.kills()
    }

    /// The one before this one, if it was one of them.
    pub fn predecessor(&self) -> Option<Kill> {
        self.writer.predecessor()
    }

    /// Counts frames that the kernel dropped.
    pub fn count_kernel_drops(&mut self, counters: InterfaceId, number: u64) {
        self.writer.add(counters, Counter::KernelDropped, number);
    }

    /// After each batch: wakes the readers, and hands the lines to the printer.
    pub fn deliver(&mut self) -> Result<(), Error> {
        if self.woken != self.writer.published() {
            self.woken = self.writer.published();
            self.writer.wake();
        }
        if let Some(names) = &mut self.names {
            names.deliver();
        }
        if let Some(refusals) = &mut self.refusals {
            refusals.log_if_due();
        }
        self.printer.as_mut().map_or(Ok(()), Printer::deliver).map_err(stdout_error)
    }

    /// SIGHUP: re-opens the sample file.
    pub fn reopen_files(&mut self) {
        if let Some(samples) = &mut self.samples {
            samples.reopen();
        }
    }

    /// About once a second: stores the heartbeat, and creates the ring again if its file was deleted. A second
    /// collector that has taken the name, or a file that is no ring, ends this one.
    pub fn heartbeat(&mut self) -> Result<(), Error> {
        let now = UnixTime::now();
        let of_names = self.names.as_mut().and_then(|names| names.writer().maintain(now));
        for change in self.writer.maintain(now).into_iter().chain(of_names) {
            match change {
                NameChange::Unreachable(name, error)
                    if !matches!(error, CreateError::ForeignOwner(..) | CreateError::Io(..)) =>
                {
                    return Err(Error::new(format_args!("open ring {name}"), error));
                }
                change => warn(change),
            }
        }
        Ok(())
    }

    /// Delivers the rest, and with `-v` logs the counters. `end`: how the capture ended.
    pub fn finish(mut self, end: Result<(), Error>) -> Result<(), Error> {
        let end = end.and(self.deliver());
        let printed = match self.printer.take() {
            Some(printer) if !matches!(end, Err(Error::Closed)) => printer.finish(),
            _ => Ok(0),
        };
        if let Ok(unprinted @ 1..) = printed {
            info(format_args!(
                "{unprinted} events were not printed because standard output was not read in time (all are in the ring; -q turns printing off)"
            ));
        }
        let end = end.and(printed.map(|_| ()).map_err(stdout_error));
        if let Some(refusals) = &mut self.refusals
            && !matches!(end, Err(Error::Closed))
        {
            refusals.log();
            self.writer.counters().iter().for_each(refusal_log::log_counters);
            if let Some(names) = &mut self.names {
                names.writer().counters().iter().for_each(refusal_log::log_names);
            }
        }
        end
    }
}

fn stdout_error(error: std::io::Error) -> Error {
    Error::write("standard output", error)
}
