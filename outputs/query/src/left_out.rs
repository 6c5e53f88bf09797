//! Messages about an address that count for no period: of which MAC, why they are left out, which MAC sent them, how many
//! there are, and from when to when. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{Evidence, MacAddr, UnixTime};

use crate::history_reader::AddressSighting;

/// Why a message does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Another MAC sent the frame of the claim, while a MAC claimed the address in its own frames.
    OtherFrame,
    /// An answer without a MAC, while another MAC claimed the address.
    Answer,
    /// A question without a MAC, by a MAC that did not claim the address.
    Question,
    Probe,
    NoHost,
    Ignored,
    /// A server gave it the address, or it registered it.
    Lease,
    /// It announced itself from there, and was not seen to use it. Not of a sighting, as the next one.
    Announced,
    /// It asked a server to keep it.
    Renewed,
    /// It asked a server for it.
    Requested,
}

impl Why {
    fn of(sighting: &AddressSighting) -> Why {
        match sighting.evidence {
            Evidence::Claim | Evidence::FrameSource if sighting.source.is_some() => Why::OtherFrame,
            Evidence::Claim | Evidence::FrameSource => Why::Answer,
            Evidence::SignOfLife => Why::Question,
            Evidence::Probe => Why::Probe,
            Evidence::NoHost => Why::NoHost,
            Evidence::Ignored => Why::Ignored,
            Evidence::Lease => Why::Lease,
        }
    }

    /// The reason in the answer.
    pub fn name(self) -> &'static str {
        match self {
            Why::OtherFrame => "claim sent by another MAC",
            Why::Answer => "answer without a MAC",
            Why::Question => "question without a MAC",
            Why::Probe => "probe",
            Why::NoHost => "MAC that no host has",
            Why::Ignored => "form that hosts ignore",
            Why::Lease => "lease or registration",
            Why::Announced => "announced by mDNS",
            Why::Renewed => "renewed by DHCP",
            Why::Requested => "requested by DHCP",
        }
    }

    /// Whether the message is no pairing at all.
    pub fn is_no_pairing(self) -> bool {
        matches!(self, Why::NoHost | Why::Ignored)
    }

    /// Whether the message pairs the address with its MAC, and is left out nevertheless.
    pub fn is_claim(self) -> bool {
        self == Why::OtherFrame || self.is_no_pairing()
    }
}

/// Messages that do not count, of one MAC, one sender and one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub network: usize,
    pub mac: MacAddr,
    /// The MAC that sent the frames, if it is another one.
    pub source: Option<MacAddr>,
    pub why: Why,
    pub first: UnixTime,
    pub last: UnixTime,
    pub count: u64,
}

/// All messages that do not count.
#[derive(Clone, Debug, Default)]
pub struct LeftOuts(HashMap<(usize, MacAddr, Option<MacAddr>, Why), LeftOut>);

impl LeftOuts {
    pub fn add(&mut self, sighting: &AddressSighting) {
        let AddressSighting { network, mac, source, time, more, .. } = *sighting;
        let why = Why::of(sighting);
        self.merge(LeftOut { network, mac, source, why, first: time, last: time, count: 1 + more });
    }

    pub fn extend(&mut self, others: LeftOuts) {
        others.0.into_values().for_each(|one| self.merge(one));
    }

    fn merge(&mut self, one: LeftOut) {
        let LeftOut { network, mac, source, why, first, last, count } = one;
        let all = self.0.entry((network, mac, source, why));
        let all = all.or_insert(LeftOut { count: 0, ..one });
        all.first = all.first.min(first);
        all.last = all.last.max(last);
        all.count += count;
    }

    pub fn all(&self) -> impl Iterator<Item = &LeftOut> {
        self.0.values()
    }

    /// How many messages are left out for reasons that are wanted.
    pub fn count(&self, is_wanted: impl Fn(Why) -> bool) -> u64 {
        self.all().filter(|one| is_wanted(one.why)).map(|one| one.count).sum()
    }

    /// Those for other reasons remain.
    pub fn take(&mut self, is_wanted: impl Fn(Why) -> bool) -> LeftOuts {
        LeftOuts(self.0.extract_if(|(.., why), _| is_wanted(*why)).collect())
    }
}
