//! `--names`: what devices call themselves, and what routers and servers announce, from messages that reach every port. What pairs
//! a MAC with an address is an event, too. docs/dev/names.md has the fields of each message.
//!
//! `message` finds a message, one file for each protocol reads it. Nothing here has a clock or does I/O.

use shm_layout::{MacAddr, NameCounter, NameRecord, NameText, Origin};

use crate::check::Sighting;

mod dhcp;
mod lldp;
mod mdns;
pub mod message;
mod mld;
mod registration;
mod router;
#[cfg(test)]
mod tests;

use message::{Body, Message};

/// Most records of one message. The sender chooses how many it has.
const MOST: usize = 24;

/// What a message gives.
#[derive(Debug, Default)]
pub struct Claims {
    records: Vec<NameRecord>,
    /// Records that were too many.
    more: u64,
    /// Texts that were left out.
    no_text: u64,
    /// What it pairs.
    pairing: Option<Sighting>,
}

impl Claims {
    fn add(&mut self, record: NameRecord) {
        match self.records.len() < MOST {
            true => self.records.push(record),
            false => self.more += 1,
        }
    }

    /// A device's text, if it is one.
    fn text(&mut self, bytes: &[u8]) -> NameText {
        NameText::clean(bytes).unwrap_or_else(|| {
            self.no_text += 1;
            NameText::EMPTY
        })
    }

    /// Pairs the record's MAC with its address.
    fn pair(&mut self, record: &NameRecord, origin: Origin) {
        let &NameRecord { mac, sender: source, address, vlan, outer_vlan, .. } = record;
        self.pairing = Some(Sighting { mac, source, address, origin, vlan, outer_vlan });
    }

    /// Records of the last message.
    pub fn records(&self) -> &[NameRecord] {
        &self.records
    }

    /// Records of the last message that were too many, and texts that were left out.
    pub fn left_out(&self) -> (u64, u64) {
        (self.more, self.no_text)
    }

    /// The pairing of the last message.
    pub fn pairing(&self) -> Option<Sighting> {
        self.pairing
    }

    /// Reads a message.
    pub fn read(&mut self, message: &Message) -> Result<(), NameCounter> {
        self.records.clear();
        (self.more, self.no_text, self.pairing) = (0, 0, None);
        match message.body {
            Body::Dhcp(port, bytes) => dhcp::read(message, port, bytes, self),
            Body::Dhcpv6(bytes) => registration::read(message, bytes, self),
            Body::Mdns(port, bytes) => mdns::read(message, port, bytes, self),
            Body::Icmp(bytes) => match bytes.first() {
                Some(133..=137) => router::read(message, bytes, self),
                _ => mld::read(message, bytes, self),
            },
            Body::Lldp(bytes) => lldp::read(message, bytes, self),
        }
    }
}

/// A hash of what identifies a client, the same on each machine: FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Whether a MAC is one that a device can have.
fn is_device(mac: MacAddr) -> bool {
    !mac.is_no_host()
}

/// The next fixed number of bytes.
fn take<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], NameCounter> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.copied().ok_or(NameCounter::Truncated)
}
