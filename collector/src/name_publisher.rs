//! `--names`: publishes what messages name in the ring of names, and counts each of them there. `names` finds and reads the
//! messages, `repeats` drops what was published within the last minute.

use shm_layout::{InterfaceName, NameCounter, NameRecord, NamesWriter};

use crate::{
    check::Sighting,
    link::Frame,
    names::{
        Claims,
        message::{self, Body, Message},
    },
    pipeline::FrameSource,
};

mod repeats;

use repeats::Repeats;

/// Records that the ring of names holds: 2 MiB.
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
    claims: Claims,
    repeats: Repeats,
}

impl Names {
    pub fn new(writer: NamesWriter) -> Names {
        let (woken, claims, repeats) = (writer.published(), Claims::default(), Repeats::new());
        Names { writer, woken, claims, repeats }
    }

    /// Publishes what a frame names. `is_wanted`: `-4`, `-6` and `-b`.
    pub fn process(
        &mut self,
        source: &FrameSource,
        frame: &Frame,
        name: InterfaceName,
        is_wanted: impl Fn(&NameRecord) -> bool,
    ) -> Rest {
        let Some(found) = message::find(source.link, frame, name) else { return Rest::Unread };
        let counters = self.writer.interface(source.name);
        let is_router = found.as_ref().is_ok_and(is_router);
        let read = found.and_then(|message| self.claims.read(&message));
        let (more, no_text) = if read.is_ok() { self.claims.left_out() } else { (0, 0) };
        self.writer.add(counters, NameCounter::More, more);
        self.writer.add(counters, NameCounter::Text, no_text);
        let outcome = match read {
            Ok(()) if self.claims.records().is_empty() => Some(NameCounter::NoClaim),
            Ok(()) => None,
            Err(reason) => Some(reason),
        };
        if let Some(outcome) = outcome {
            self.writer.count(counters, NameCounter::Seen);
            self.writer.count(counters, outcome);
            // The headers that hide it here may not hide it from the other parser, which has counters for them, too.
            return if is_router || outcome.may_be_neighbor() { Rest::Unread } else { Rest::Done };
        }
        for record in self.claims.records() {
            self.writer.count(counters, NameCounter::Seen);
            if !is_wanted(record) {
                self.writer.count(counters, NameCounter::Filtered);
            } else if self.repeats.is_repeated(record) {
                self.writer.count(counters, NameCounter::Repeated);
            } else {
                self.writer.publish(counters, record);
            }
        }
        match self.claims.pairing() {
            Some(sighting) => Rest::Pairing(sighting),
            None if is_router => Rest::Unread,
            None => Rest::Done,
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

/// Whether it is a message of Neighbor Discovery, which may pair as one.
fn is_router(message: &Message) -> bool {
    matches!(message.body, Body::Icmp([133..=137, ..]))
}
