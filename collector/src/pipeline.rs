//! The road of a frame: parse → check → admit → publish, and the account of where it ended.

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use shm_layout::{
    Counter, InterfaceAccount, InterfaceId, InterfaceName, Origin, RingName, UnixTime, Writer,
    cause,
};

use crate::{
    Stop,
    blacklist::Block,
    check::{self, Sighting},
    failed,
    limit::{Key, Limit},
    link::{Frame, Link},
    options::Options,
    parse,
    printer::Printer,
    say,
};

/// Where frames come from.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// The interface's name in events.
    pub name: InterfaceName,
    /// Its link type.
    pub link: Link,
    /// Its account.
    pub account: InterfaceId,
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
    blacklist: Vec<Block>,
    limit: Limit,
    refusals: Option<Refusals>,
}

impl Pipeline {
    pub fn new(writer: Writer, options: &Options) -> Result<Self, Stop> {
        if options.verbose && options.hashsize.is_some() {
            say("-H has no effect: the table of pairings grows by itself");
        }
        let printer = || Printer::new(options.read.is_some()).map_err(unprintable);
        Ok(Pipeline {
            woken: writer.published(),
            writer,
            ring: options.ring.clone(),
            printer: if options.quiet { None } else { Some(printer()?) },
            ipv4: !options.ipv6_only,
            ipv6: !options.ipv4_only,
            blacklist: options.blacklist.clone(),
            limit: Limit::new(options.ratelimit, options.max_pairings.get() as usize),
            refusals: options.verbose.then(Refusals::default),
        })
    }

    /// A source of frames, with its account.
    pub fn source(&mut self, name: InterfaceName, link: Link) -> Source {
        Source { name, link, account: self.writer.interface(name) }
    }

    /// Takes one frame to its end; tells whether it became an event.
    pub fn frame(&mut self, source: &Source, frame: &Frame) -> bool {
        self.writer.count(source.account, Counter::Seen);
        let heard = parse::parse(source.link, frame)
            .and_then(|packet| check::sighting(&packet))
            .and_then(|sighting| self.wanted(sighting))
            .and_then(|sighting| self.admit(sighting, source, frame.time));
        match heard {
            Ok(sighting) => {
                let event = sighting.event(frame.time, source.name);
                self.writer.publish(source.account, &event);
                if let Some(printer) = &mut self.printer {
                    printer.print(&event);
                }
                true
            }
            Err(reason) => {
                self.writer.count(source.account, reason);
                if let Some(refusals) = &mut self.refusals {
                    refusals.say(source.name, reason);
                }
                false
            }
        }
    }

    /// `-4`, `-6` and `-b`.
    fn wanted(&self, sighting: Sighting) -> Result<Sighting, Counter> {
        let wanted = match sighting.origin {
            Origin::ArpRequest | Origin::ArpReply | Origin::ArpProbe => self.ipv4,
            Origin::NdSolicitation | Origin::NdAdvertisement | Origin::NdDad => self.ipv6,
        };
        let blacklisted = self.blacklist.iter().any(|block| block.holds(sighting.address));
        if wanted && !blacklisted { Ok(sighting) } else { Err(Counter::Filtered) }
    }

    /// `-r`.
    fn admit(
        &mut self,
        sighting: Sighting,
        source: &Source,
        now: UnixTime,
    ) -> Result<Sighting, Counter> {
        let Sighting { mac, address, vlan, outer_vlan, .. } = sighting;
        let key = Key { interface: source.account, vlan, outer_vlan, address };
        let verdict = self.limit.admit(key, mac, now);
        if verdict.forgot {
            self.writer.count(source.account, Counter::Forgotten);
        }
        if verdict.report { Ok(sighting) } else { Err(Counter::RateLimited) }
    }

    /// Counts frames that the kernel could not keep.
    pub fn kernel_dropped(&mut self, source: &Source, number: u64) {
        self.writer.add(source.account, Counter::KernelDropped, number);
    }

    /// After each batch: what was heard is delivered.
    pub fn deliver(&mut self) -> Result<(), Stop> {
        if self.woken != self.writer.published() {
            self.woken = self.writer.published();
            self.writer.wake();
        }
        self.printer.as_mut().map_or(Ok(()), Printer::deliver).map_err(unprintable)
    }

    /// About once a second: the collector lives, and its ring can be found.
    pub fn beat(&mut self) -> Result<(), Stop> {
        self.writer.beat(UnixTime::now());
        if self.writer.keep_name().map_err(failed)? {
            say(format_args!("ring {} was deleted by somebody: made again", self.ring));
        }
        Ok(())
    }

    /// Delivers what is left, and with `-v` prints the accounts.
    pub fn finish(mut self, end: Result<(), Stop>) -> Result<(), Stop> {
        let end = end.and(self.deliver());
        let printed = match self.printer.take() {
            Some(printer) if !matches!(end, Err(Stop::Closed)) => printer.finish(),
            _ => Ok(0),
        };
        if let Ok(unprinted @ 1..) = printed {
            say(format_args!(
                "{unprinted} events were not printed, for standard output was not read (all are in the ring; -q prints none)"
            ));
        }
        let end = end.and(printed.map(|_| ()).map_err(unprintable));
        if self.refusals.is_some() && !matches!(end, Err(Stop::Closed)) {
            self.writer.accounts().iter().for_each(tell);
        }
        end
    }
}

/// One interface's counters, a line each.
fn tell(account: &InterfaceAccount) {
    for counter in Counter::ALL {
        let number = account.get(*counter);
        if number > 0 {
            say(format_args!("{}: {number} {}", account.name, counter.name()));
        }
    }
}

fn unprintable(error: io::Error) -> Stop {
    match error.kind() {
        ErrorKind::BrokenPipe => Stop::Closed,
        _ => failed(format_args!("write to standard output: {}", cause(&error))),
    }
}

/// What `-v` says of refused frames: the first of each reason, then one line a second at most.
#[derive(Default)]
struct Refusals {
    reasons: [Option<Told>; Counter::ALL.len()],
}

struct Told {
    at: Instant,
    /// Refused since then, and not told.
    silent: u64,
}

impl Refusals {
    const PAUSE: Duration = Duration::from_secs(1);

    fn say(&mut self, interface: InterfaceName, reason: Counter) {
        use Counter::{Filtered, NoPairing, RateLimited, Unrelated};
        if matches!(reason, Unrelated | Filtered | RateLimited | NoPairing) {
            return; // nothing is wrong with these
        }
        let told = &mut self.reasons[reason as usize];
        match told {
            Some(told) if told.at.elapsed() < Self::PAUSE => told.silent += 1,
            _ => {
                let silent = told.as_ref().map_or(0, |told| told.silent);
                let more = match silent {
                    0 => String::new(),
                    silent => format!(", and {silent} more since this was last said"),
                };
                say(format_args!("{interface}: frame refused: {}{more}", reason.name()));
                *told = Some(Told { at: Instant::now(), silent: 0 });
            }
        }
    }
}
