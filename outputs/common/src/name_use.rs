//! How long a device has used a name, and what makes room for others: the rules of every history that stores names. Who forges a MAC,
//! or invents MACs, must not push out the names of others.

use shm_layout::UnixTime;

/// Names of a MAC in a history: it, or who forges it, can invent any number of names and VLANs.
pub const NAMES_OF_DEVICE: usize = 32;
/// Rows with addresses of a MAC beside them, that it announces itself from or asks for: an address has two, in one place. They take no room of
/// names.
pub const ADDRESSES_OF_DEVICE: usize = 16;
/// Names and addresses in a history: about 8 MB.
pub const NAMES_OF_ALL: usize = 1 << 16;
/// Further ones for which room is made at once: to search them reads all.
pub const NAMES_ROOM: usize = 1 << 10;
/// A name that was used for so long does not make room for one that was not: a day, in nanoseconds.
pub const NAME_KNOWN_AFTER: i64 = 86_400_000_000_000;
/// Unless it was not used since: 30 days, in nanoseconds.
pub const NAME_DISUSED: i64 = 30 * 86_400_000_000_000;
/// A name that was not used for so long, while another one was, is written at once: an hour, in nanoseconds.
const BACK_AFTER: i64 = 3_600_000_000_000;

/// Of the rows with addresses of a MAC, so many that were not used for a day stay, beside those that were.
const NEW_ADDRESSES: usize = 4;

/// Which one of a MAC's rows with addresses, each with its place and its address, makes room for a row of an address that was used at a time. The rows
/// of this address stay, in however many places there are: of those of others that were not used for a day goes, if there are several, one that is
/// not used any more, or else the one that began last, which a flood displaces; and otherwise the one that was not used for the longest time. A device
/// moves, and who asks for a time wants the addresses of late. If it has no other address, only a place makes room that was not used for a day: None
/// is that the new row is not stored.
pub fn least_address<'a>(
    all: impl Iterator<Item = (usize, &'a str, NameUse)>,
    (address, time): (&str, UnixTime),
) -> Option<usize> {
    type One<'a> = (usize, &'a str, NameUse);
    fn oldest<'a>(all: Vec<One<'a>>) -> Option<One<'a>> {
        all.into_iter().min_by_key(|(_, name, used)| (used.last, *name))
    }
    let silent = |used: &NameUse| time.as_nanos().saturating_sub(used.last.as_nanos());
    let is_disused = |(.., used): &One| silent(used) >= NAME_KNOWN_AFTER;
    let (own, others): (Vec<_>, Vec<_>) = all.partition(|(_, name, _)| *name == address);
    let (known, new): (Vec<_>, Vec<_>) = others.into_iter().partition(|one| one.2.is_known());
    let is_new = new.len() >= NEW_ADDRESSES || known.is_empty();
    let least = match (is_new, new.is_empty()) {
        (true, true) => oldest(own.into_iter().filter(is_disused).collect()),
        (true, false) => {
            let (disused, new): (Vec<_>, Vec<_>) = new.into_iter().partition(is_disused);
            let latest = new.into_iter().max_by_key(|(_, name, used)| (used.first, *name));
            oldest(disused).or(latest)
        }
        (false, _) => oldest(known),
    };
    least.map(|(place, ..)| place)
}

/// How many rows make room for so many others in a table that has so many: none if there is enough, or else some more than that.
pub fn superfluous(stored: usize, wanted: usize, most: usize) -> usize {
    let is_enough = wanted == 0 || stored + wanted <= most;
    if is_enough { 0 } else { stored + wanted.max(NAMES_ROOM) - most }
}

/// When a name was used, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameUse {
    /// The first time.
    pub first: UnixTime,
    /// The last time.
    pub last: UnixTime,
    /// How often it was received.
    pub count: i64,
}

impl NameUse {
    /// So many times at one time.
    pub const fn new(time: UnixTime, count: i64) -> NameUse {
        NameUse { first: time, last: time, count }
    }

    /// Adds further times. One before the clock was set counts only if there is no other.
    pub fn add(&mut self, other: NameUse) {
        let is_set = |time: UnixTime| time >= UnixTime::CLOCK_SET;
        let NameUse { first, last, count } = other;
        if first < self.first && is_set(first) || is_set(first) && !is_set(self.first) {
            self.first = first;
        }
        self.last = self.last.max(last);
        self.count = self.count.saturating_add(count);
    }

    /// Whether it was used for a day.
    pub fn is_known(&self) -> bool {
        self.last.as_nanos().saturating_sub(self.first.as_nanos()) >= NAME_KNOWN_AFTER
    }

    /// Of the names of a MAC, the least makes room first: one that was not used for a day, and of these the one that was used longest ago;
    /// of the others, the latest one. So who forges a MAC, for however long, does not push out the name that it had before.
    pub fn importance(&self) -> (bool, i64) {
        let is_known = self.is_known();
        let [first, last] = [self.first, self.last].map(UnixTime::as_nanos);
        (is_known, if is_known { first.saturating_neg() } else { last })
    }

    /// Whether a use at this time is a change: the device used another name of the same source, at `latest`, and this one not for an
    /// hour. A device that alternates between two names repeats both.
    pub fn is_back(&self, time: UnixTime, latest: Option<UnixTime>) -> bool {
        let silent = time.as_nanos().saturating_sub(self.last.as_nanos());
        latest > Some(self.last) && silent >= BACK_AFTER
    }
}
