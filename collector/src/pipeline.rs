//! The road of a frame: parse → check → admit → publish, and the counters of where it ended.

use shm_layout::{
    Counter, CreateError, Event, InterfaceCounters, InterfaceId, InterfaceName, RingName, UnixTime,
    Writer,
};

use crate::{
    Error,
    blacklist::Block,
    check, failed, info,
    limit::{Key, Limit},
    link::{Frame, Link},
    options::Options,
    parse,
    printer::Printer,
    refusals::Refusals,
    snap::Snap,
    warn,
};

/// Where frames come from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The interface's name in events.
    pub name: InterfaceName,
    /// Its link type.
    pub link: Link,
    /// Its counters.
    pub counters: InterfaceId,
}

/// Everything behind the capture.
pub struct Pipeline {
    writer: Writer,
    ring: RingName,
    /// What the readers were last woken for.
    woken: u64,
    /// Lines for standard output, unless `-q`.
    printer: Option<Printer>,
    ipv4: bool,
    ipv6: bool,
    odd_macs: bool,
    blacklist: Vec<Block>,
    limit: Limit,
    refusals: Option<Refusals>,
    snap: Option<Snap>,
    /// A file of somebody else has taken the ring's name, which was said.
    displaced: bool,
}

impl Pipeline {
    pub fn new(writer: Writer, snap: Option<Snap>, options: &Options) -> Result<Self, Error> {
        if options.verbose && options.hashsize.is_some() {
            info("-H has no effect: the table of pairings grows by itself");
        }
        let printer = || Printer::new(options.read.is_some()).map_err(unprintable);
        Ok(Pipeline {
            woken: writer.published(),
            writer,
            ring: options.ring.clone(),
            printer: if options.quiet || options.service.daemon { None } else { Some(printer()?) },
            ipv4: !options.ipv6_only,
            ipv6: !options.ipv4_only,
            odd_macs: options.odd_macs,
            blacklist: options.blacklist.clone(),
            limit: Limit::new(options.ratelimit, options.max_pairings.get() as usize),
            refusals: options.verbose.then(Refusals::new),
            snap,
            displaced: false,
        })
    }

    /// A source of frames, with its counters.
    pub fn source(&mut self, name: InterfaceName, link: Link) -> Source {
        Source { name, link, counters: self.writer.interface(name) }
    }

    /// Takes one frame to its end; tells whether it became an event.
    pub fn frame(&mut self, source: &Source, frame: &Frame) -> bool {
        self.writer.count(source.counters, Counter::Seen);
        let heard = parse::parse(source.link, frame)
            .and_then(|packet| check::sighting(&packet, self.odd_macs))
            .map(|sighting| sighting.event(frame.time, source.name));
        let end = self.end(source.counters, heard);
        if let (Err(reason), Some(snap)) = (end, &mut self.snap)
            && reason.is_refusal()
        {
            snap.keep(source.link, frame, reason);
        }
        end.is_ok()
    }

    /// Takes one line of a router's report to its end.
    pub fn report(&mut self, counters: InterfaceId, heard: Result<Event, Counter>) {
        self.writer.count(counters, Counter::Seen);
        let _ = self.end(counters, heard); // it is counted
    }

    /// The second half of the road: admit → publish, or the reason why not.
    fn end(&mut self, counters: InterfaceId, heard: Result<Event, Counter>) -> Result<(), Counter> {
        let admitted = heard
            .and_then(|event| self.wanted(event))
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
                    refusals.add(reason);
                }
                Err(reason)
            }
        }
    }

    /// Counts a frame that `--filter` kept out of a replay.
    pub fn filtered(&mut self, source: &Source) {
        self.writer.count(source.counters, Counter::Seen);
        self.writer.count(source.counters, Counter::Filtered);
    }

    /// `-4`, `-6` and `-b`.
    fn wanted(&self, event: Event) -> Result<Event, Counter> {
        let wanted = if event.kind.is_ipv4() { self.ipv4 } else { self.ipv6 };
        let blacklisted = self.blacklist.iter().any(|block| block.holds(event.address));
        if wanted && !blacklisted { Ok(event) } else { Err(Counter::Filtered) }
    }

    /// `-r`.
    fn admit(&mut self, counters: InterfaceId, event: Event) -> Result<Event, Counter> {
        let Event { mac, interface, address, vlan, outer_vlan, router, time, .. } = event;
        let key = Key { interface, vlan, outer_vlan, router, address };
        let verdict = self.limit.admit(key, mac, time);
        if verdict.forgot {
            self.writer.count(counters, Counter::Forgotten);
        }
        if verdict.report { Ok(event) } else { Err(Counter::RateLimited) }
    }

    /// The counters of an interface, or of something else that is heard.
    pub fn counters(&mut self, name: InterfaceName) -> InterfaceId {
        self.writer.interface(name)
    }

    /// Counts what the kernel could not keep.
    pub fn kernel_dropped(&mut self, counters: InterfaceId, number: u64) {
        self.writer.add(counters, Counter::KernelDropped, number);
    }

    /// After each batch: what was heard is delivered.
    pub fn deliver(&mut self) -> Result<(), Error> {
        if self.woken != self.writer.published() {
            self.woken = self.writer.published();
            self.writer.wake();
        }
        if let Some(refusals) = &mut self.refusals {
            refusals.tell_if_due();
        }
        self.printer.as_mut().map_or(Ok(()), Printer::deliver).map_err(unprintable)
    }

    /// SIGHUP: files are opened anew.
    pub fn reopen(&mut self) {
        if let Some(snap) = &mut self.snap {
            snap.reopen();
        }
    }

    /// About once a second: the collector lives, and its ring can be found.
    pub fn beat(&mut self) -> Result<(), Error> {
        self.writer.beat(UnixTime::now());
        let kept = match self.writer.keep_name() {
            // Who put it there may not end us; what we have mapped is still ours.
            // Nor may whoever has filled /dev/shm, or used up all files, since it was deleted.
            Err(error @ (CreateError::ForeignOwner(..) | CreateError::Io(..))) => {
                if !std::mem::replace(&mut self.displaced, true) {
                    warn(format_args!("{error}: readers that come later will not find ours"));
                }
                return Ok(());
            }
            kept => kept.map_err(failed)?,
        };
        self.displaced = false;
        if kept {
            warn(format_args!("ring {} was deleted by somebody: made again", self.ring));
        }
        Ok(())
    }

    /// Delivers what is left, and with `-v` prints the counters.
    pub fn finish(mut self, end: Result<(), Error>) -> Result<(), Error> {
        let end = end.and(self.deliver());
        let printed = match self.printer.take() {
            Some(printer) if !matches!(end, Err(Error::Closed)) => printer.finish(),
            _ => Ok(0),
        };
        if let Ok(unprinted @ 1..) = printed {
            info(format_args!(
                "{unprinted} events were not printed, for standard output was not read (all are in the ring; -q prints none)"
            ));
        }
        let end = end.and(printed.map(|_| ()).map_err(unprintable));
        if let Some(refusals) = &mut self.refusals
            && !matches!(end, Err(Error::Closed))
        {
            refusals.tell();
            self.writer.counters().iter().for_each(tell);
        }
        end
    }
}

/// One interface's counters, a line each.
fn tell(counters: &InterfaceCounters) {
    for counter in Counter::ALL {
        let number = counters.get(*counter);
        if number > 0 {
            info(format_args!("{}: {number} {}", counters.name, counter.name()));
        }
    }
}

fn unprintable(error: std::io::Error) -> Error {
    Error::write("standard output", error)
}
