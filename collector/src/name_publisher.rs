//! `--names`: publishes what messages name in the ring of names, and counts each of them there. `names` finds and reads the
//! messages, `repeats` drops what was published within the last minute.

use std::time::Instant;

use shm_layout::{
    InterfaceId, InterfaceName, MAX_NETWORKS, NameCounter, NameRecord, NamesWriter, NeighborView,
    UnixTime,
};

use crate::{
    check::Sighting,
    link::Frame,
    names::{
        Claims, LeftOut,
        message::{self, Body},
    },
    own_addresses::OwnAddresses,
    pipeline::FrameSource,
};

mod budgets;
mod neighbors;
mod repeats;
#[cfg(test)]
mod tests;

use budgets::Budgets;
use neighbors::{Neighbors, Network};
use repeats::{Records, Repeats};

/// Records that the ring of names holds: 4 MiB.
pub const SLOTS: u64 = 8192;

/// What else is to be done with a frame.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// It may pair by Neighbor Discovery or ARP.
    Unread,
    /// It pairs.
    Pairing(Sighting),
    /// Nothing: it was counted here.
    Done,
}

/// The writer of the ring of names, and what it knows of earlier messages.
pub struct Names {
    writer: NamesWriter,
    /// Records published when the readers were last woken.
    woken: u64,
    /// Messages so far.
    messages: u32,
    claims: Claims,
    repeats: Repeats,
    budgets: Budgets,
    /// Of a live capture of IPv6.
    neighbors: Option<Neighbors>,
}

impl Names {
    /// `judges`: whether it is to find out which Neighbor Discovery reaches this port.
    pub fn new(writer: NamesWriter, judges: bool) -> Names {
        let (woken, claims, repeats) = (writer.published(), Claims::default(), Repeats::new());
        let (budgets, neighbors) =
            (Budgets::default(), judges.then(|| Neighbors::new(Instant::now())));
        Names { writer, woken, messages: 0, claims, repeats, budgets, neighbors }
    }

    /// Publishes what a frame names. `is_own_network`: its source is one network, and no collection of them. `is_wanted`: `-4`, `-6` and `-b`.
    pub fn process(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        name: InterfaceName,
        (own, is_own_network): (&OwnAddresses, bool),
        is_wanted: impl Fn(&NameRecord) -> bool,
    ) -> Rest {
        let Some(message) = message::find(source.link, frame, name) else { return Rest::Unread };
        if let Some(neighbors) = &mut self.neighbors
            && is_own_network
            && message.refused.is_none()
            && !own.contains(message.sender)
        {
            neighbors.message(source.counters, &message);
        }
        let counters = self.writer.interface(source.name);
        // A message of Neighbor Discovery may pair as one. The headers that hide it here may not hide it from the other parser.
        let may_pair = matches!(message.body, Body::Icmp([133..=137, ..]));
        let rest = if may_pair { Rest::Unread } else { Rest::Done };
        let number = message.refused.is_none().then(|| self.repeats.number(&message));
        if let Some(repeated) = number.and_then(|number| self.repeats.repeat(number, frame.time)) {
            for _ in 0..repeated {
                self.writer.count(counters, NameCounter::Seen);
                self.writer.count(counters, NameCounter::Repeated);
            }
            return rest;
        }
        let read = self.claims.read(&message);
        let LeftOut { more, texts, options } = self.claims.left_out();
        self.writer.add(counters, NameCounter::More, more);
        self.writer.add(counters, NameCounter::Text, texts);
        self.writer.add(counters, NameCounter::BadOption, options);
        let outcome = match read {
            Ok(()) if self.claims.records().is_empty() => Some(NameCounter::NoClaim),
            Ok(()) => None,
            Err(reason) => Some(reason),
        };
        if let Some(outcome) = outcome {
            self.writer.count(counters, NameCounter::Seen);
            self.writer.count(counters, outcome);
        }
        let records = self.publish(counters, frame.time, is_wanted);
        let pairing = self.claims.pairing();
        let is_whole =
            read.is_ok() && pairing.is_none() && self.claims.left_out() == LeftOut::default();
        if let (Some(number), Some(records), true) = (number, records, is_whole) {
            self.repeats.remember(number, records);
        }
        pairing.map_or(rest, Rest::Pairing)
    }

    /// All records of a message that are wanted are published, or none: a reader sees what it does not contain any more. Returns what is
    /// to be remembered of them, if all of them are wanted.
    fn publish(
        &mut self,
        counters: InterfaceId,
        now: UnixTime,
        is_wanted: impl Fn(&NameRecord) -> bool,
    ) -> Option<Records> {
        let filtered = self.claims.retain(is_wanted);
        for _ in 0..filtered {
            self.writer.count(counters, NameCounter::Seen);
            self.writer.count(counters, NameCounter::Filtered);
        }
        let records = self.claims.records_mut();
        let first = records.first()?;
        let mut earlier = self.repeats.find(records, now);
        let known = earlier.records();
        let left_out = if earlier.is_repeated() {
            Some(NameCounter::Repeated)
        } else if !self.budgets.admits(first, now, records.len()) {
            Some(NameCounter::Limited)
        } else {
            None
        };
        let (repeats, repeated) = match left_out {
            None => earlier.replace(),
            Some(_) => Default::default(),
        };
        self.messages = self.messages.wrapping_add(u32::from(left_out.is_none()));
        for record in records {
            self.writer.count(counters, NameCounter::Seen);
            (record.message, record.repeats, record.repeated) = (self.messages, repeats, repeated);
            match left_out {
                Some(outcome) => self.writer.count(counters, outcome),
                None => self.writer.publish(counters, record),
            }
        }
        (filtered == 0).then_some(known)
    }

    /// Another host sent an ARP request.
    pub fn arp_request(&mut self, interface: InterfaceId, seen: &Sighting) {
        if let Some(neighbors) = &mut self.neighbors {
            let &Sighting { source, vlan, outer_vlan, .. } = seen;
            neighbors.arp_request(Network { interface, vlan, outer_vlan }, source);
        }
    }

    /// At each heartbeat of a live capture: whether Neighbor Discovery of other hosts reaches this port.
    pub fn judge(
        &mut self,
        now: Instant,
    ) -> Option<[Option<NeighborView<InterfaceId>>; MAX_NETWORKS]> {
        let neighbors = self.neighbors.as_mut()?;
        neighbors.judge(now);
        Some(neighbors.views())
    }

    /// The interface is not to be captured any more.
    pub fn forget_neighbors(&mut self, interface: InterfaceId) {
        if let Some(neighbors) = &mut self.neighbors {
            neighbors.forget(interface);
        }
    }

    /// After each batch: wakes the readers.
    pub fn deliver(&mut self) {
        if self.woken != self.writer.published() {
            self.woken = self.writer.published();
            self.writer.wake();
        }
    }

    /// The ring's writer.
    pub fn writer(&mut self) -> &mut NamesWriter {
        &mut self.writer
    }
}
