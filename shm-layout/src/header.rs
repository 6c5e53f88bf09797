//! The segment's layout, field by field. Offsets in bytes; numbers in the machine's byte order.
//!
//! ```text
//!     0  u64  magic "ADDRWTCH", of names "ADDRNAME" ┐
//!     8  u64  layout version, of names 2 │ written once, the version last:
//!    16  u64  slots, a power of two      │ a segment without it is not ready
//!    24  u64  generation                 │
//!    32  i64  created, ns since the epoch│
//!    40  u64  bytes before the slots     │
//!    48  u64  first event ever held      ┘ not 0 where it took over from a ring of another size
//!    56  u32  retired: 1 = look for the successor under the same name
//!    64  64 bytes  host name, padded with zero bytes
//!   128  u64  head: events published so far
//!   192  u32  wake: futex word, changed once a batch
//!   256  u64  writer's process id, 0 = none
//!   264  i64  writer's heartbeat, ns since the epoch
//!   272  i64  when the last frame was seen, to a heartbeat; 0 = none yet
//!   280  i64  when the kernel last dropped frames, to a heartbeat; 0 = never
//!   320  u64  writers of this name that ended without being stopped: killed, or by a panic
//!   328  u64  not used; some builds stored other things there, and at 320
//!   336  u64  how often the file was truncated in this generation
//!   344  i64  when the last of that was noticed: the counters begin there; 0 = never, -1 = they begin again at this moment
//!   352  u64  the first event after that: earlier ones may be gone
//!   360  u64  1 = the writer captures no frames (aw-routeros): that none comes is no fault
//!   368  2 × i64  the last time without a writer: its last heartbeat, and the first one after it; 0 = none
//!   384  128 × i64  for each block of counters: when its interface last received a frame, to a heartbeat; 0 = not yet
//!  1408  128 × u64  for each block of counters: whether its interface is captured, to a heartbeat; see capture_state.rs
//!  2432  3 × u64  the heartbeat once more: ns since the start of the machine (CLOCK_BOOTTIME); the time at 264 that it belongs
//!        to, as builds without this field renew only that; the boot (half of its id in /proc/sys/kernel/random); 0 = not known
//!  2456  128 × u64  for each block of counters: when its interface last received an ARP broadcast of another host, ns since the epoch to
//!        a heartbeat, 0 = not yet; in its last two bits whether they arrive, see capture_state.rs
//!  3480  64 × u64  networks of which it is known whether Neighbor Discovery of other hosts reaches the port, 0 = free; see neighbor_view.rs
//!  3992  6 × 2 × u64  the last of the writers that are counted at 320, in any order: the last heartbeat (0 = not known), and when the
//!        next writer began (0 = free), ns since the start of the machine (CLOCK_BOOTTIME)
//!  4088  u64  the first of the latter of the crash loop that the newest one belongs to, 0 = it belongs to none
//!  4096  128 blocks of counters, 512 bytes each: 16 bytes interface name (zero = free), 61 u64 counters,
//!        u64 header that hides ARP or ND (0 = none): kind << 16 | number, see outer_header.rs
//! 69632  slots of 64 bytes: u64 sequence, 56 bytes event; in a ring of names slots of 512 bytes: u64 sequence, 504 bytes record
//! ```
//!
//! Fields that change at different rates lie on different cache lines. All words are atomics: a
//! reader may load them at any moment, and sees each of them whole.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::*, fence};

use crate::{
    BroadcastState, CaptureState, Counter, CounterSet, InterfaceName, MAX_NETWORKS, NameCounter,
    NeighborView, OuterHeader, UnixTime,
    kills::{KillTimes, StoredKills},
    record::{EVENT_WORDS, NAME_WORDS},
    ring::Slot,
};

/// Blocks of counters: one for each interface, but the last one is shared by all interfaces that find no
/// free block.
pub const MAX_INTERFACES: usize = 128;

/// Counters of an interface, including room for new ones.
pub(crate) const COUNTERS: usize = 61;

/// In `cuts.last`, while the counters are cleared.
const BEGINNING_AGAIN: u64 = u64::MAX;

/// Name of the last block, once the others are taken.
const SHARED_NAME: &str = "(others)";

#[repr(C, align(4096))]
#[derive(Debug)]
pub(crate) struct Header {
    pub magic: AtomicU64,
    pub version: AtomicU64,
    pub slots: AtomicU64,
    pub generation: AtomicU64,
    pub created: AtomicU64,
    pub header_bytes: AtomicU64,
    pub first: AtomicU64,
    pub retired: AtomicU32,
    _padding: u32,
    pub host: [AtomicU64; 8],
    pub head: CacheAligned<AtomicU64>,
    pub wake: CacheAligned<AtomicU32>,
    pub writer: CacheAligned<Heartbeat>,
    pub kills: AtomicU64,
    _unused: u64,
    pub cuts: Cuts,
    pub no_frames: AtomicU64,
    pub gap: [AtomicU64; 2],
    pub last_frames: [AtomicU64; MAX_INTERFACES],
    pub states: [AtomicU64; MAX_INTERFACES],
    pub since_boot: BeatSinceBoot,
    pub broadcasts: [AtomicU64; MAX_INTERFACES],
    pub neighbors: [AtomicU64; MAX_NETWORKS],
    pub last_kills: KillTimes,
    pub counters: [Counters; MAX_INTERFACES],
}

/// A value on a cache line of its own.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct CacheAligned<T>(pub T);

#[repr(C)]
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pub pid: AtomicU64,
    pub time: AtomicU64,
    pub last_frame: AtomicU64,
    pub last_drop: AtomicU64,
}

/// The last heartbeat by the clock that is never set.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct BeatSinceBoot {
    pub nanos: AtomicU64,
    /// `Heartbeat::time` of the same heartbeat.
    pub witness: AtomicU64,
    pub boot: AtomicU64,
}

impl BeatSinceBoot {
    /// Stores those of the heartbeat of this time. Some of these words may be of another heartbeat if the writer is killed: the
    /// witness comes last.
    pub fn store(&self, nanos: u64, boot: u64, time: u64) {
        self.nanos.store(nanos, Relaxed);
        self.boot.store(boot, Relaxed);
        self.witness.store(time, Release);
    }

    /// Nanoseconds since the start of the machine at the heartbeat of this time; none if they are of another heartbeat or boot.
    pub fn of(&self, time: u64, boot: u64) -> Option<u64> {
        let is_of_beat = boot != 0 && self.boot.load(Relaxed) == boot;
        (is_of_beat && self.witness.load(Relaxed) == time).then(|| self.nanos.load(Relaxed))
    }
}

/// What is known of truncations of the file.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Cuts {
    pub number: AtomicU64,
    pub last: AtomicU64,
    pub next: AtomicU64,
}

const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(offset_of!(Header, version) == 8);
    assert!(offset_of!(Header, retired) == 56);
    assert!(offset_of!(Header, host) == 64);
    assert!(offset_of!(Header, head) == 128);
    assert!(offset_of!(Header, wake) == 192);
    assert!(offset_of!(Header, writer) == 256);
    assert!(offset_of!(Header, kills) == 320);
    assert!(offset_of!(Header, cuts) == 336);
    assert!(offset_of!(Header, no_frames) == 360);
    assert!(offset_of!(Header, gap) == 368);
    assert!(offset_of!(Header, last_frames) == 384);
    assert!(offset_of!(Header, states) == 1408);
    assert!(offset_of!(Header, since_boot) == 2432);
    assert!(offset_of!(Header, broadcasts) == 2456);
    assert!(offset_of!(Header, neighbors) == 3480);
    assert!(offset_of!(Header, last_kills) == 3992);
    assert!(offset_of!(Header, counters) == 4096);
    assert!(size_of::<Counters>() == 512);
    assert!(size_of::<Header>() == 69_632);
    assert!(size_of::<Slot<EVENT_WORDS>>() == 64);
    // A slot never crosses a page.
    assert!(size_of::<Slot<NAME_WORDS>>() == 512 && size_of::<Header>().is_multiple_of(512));
    assert!(Counter::ALL.len() <= COUNTERS && NameCounter::ALL.len() <= COUNTERS);
};

impl Header {
    pub fn host(&self) -> String {
        let bytes = self.host.each_ref().map(|word| word.load(Relaxed).to_ne_bytes());
        let bytes = bytes.as_flattened();
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    pub fn set_host(&self, host: &str) {
        let mut bytes = [0; 64];
        let length = host.floor_char_boundary(bytes.len() - 1);
        bytes[..length].copy_from_slice(&host.as_bytes()[..length]);
        for (to, chunk) in self.host.iter().zip(bytes.as_chunks().0) {
            to.store(u64::from_ne_bytes(*chunk), Relaxed);
        }
    }

    /// The index of an interface's counters, which are created if there are none yet; the shared last
    /// ones if all are taken. For the writer only.
    pub fn index_of(&self, name: InterfaceName) -> usize {
        let own = name.to_words();
        for (index, counters) in self.counters[..MAX_INTERFACES - 1].iter().enumerate() {
            let words = counters.name.each_ref().map(|word| word.load(Relaxed));
            if words == own {
                return index;
            }
            if words == [0; 2] {
                counters.set_name(own);
                return index;
            }
        }
        self.set_name(MAX_INTERFACES - 1, name);
        MAX_INTERFACES - 1
    }

    /// Stores the name of an interface's counters. The shared ones have a name of their own.
    pub fn set_name(&self, index: usize, name: InterfaceName) {
        self.counters[index].set_name(stored_name(index, name).to_words());
    }

    /// Whether the counters have this name.
    pub fn has_name(&self, index: usize, name: InterfaceName) -> bool {
        let words = self.counters[index].name.each_ref().map(|word| word.load(Relaxed));
        words == stored_name(index, name).to_words()
    }

    /// After a truncation that left the first page: counts it, and all counters begin again, without names.
    pub fn begin_again(&self, cuts: u64, next: u64) {
        self.cuts.last.store(BEGINNING_AGAIN, Relaxed);
        fence(Release); // a reader that sees a cleared counter sees this mark, or the time behind it
        for (counters, last_frame) in self.counters.iter().zip(&self.last_frames) {
            counters.clear();
            last_frame.store(0, Relaxed);
        }
        self.broadcasts.iter().for_each(|word| word.store(0, Relaxed));
        self.cuts.next.store(next, Relaxed);
        self.cuts.number.store(cuts, Relaxed);
        self.cuts.last.store(UnixTime::now().as_nanos() as u64, Release);
    }

    /// Since when the counters count: 0 = since the generation began. None while they begin again. What is loaded between two
    /// calls that return the same is of one time.
    pub fn counted_since(&self) -> Option<u64> {
        fence(Acquire);
        let last = self.cuts.last.load(Relaxed);
        fence(Acquire);
        Some(last).filter(|last| *last != BEGINNING_AGAIN)
    }

    /// The interfaces that are captured, or should be.
    pub fn states(&self) -> Vec<(InterfaceName, CaptureState)> {
        let states = self.states.iter().zip(&self.counters);
        let states = states.map(|(state, counters)| (CaptureState::from_word(state), counters));
        let known = states.filter(|(state, _)| *state != CaptureState::None);
        known.map(|(state, counters)| (counters.read().name, state)).collect()
    }

    /// Whether ARP broadcasts arrive at each interface, and when the last one did.
    pub fn broadcasts(&self) -> Vec<(InterfaceName, BroadcastState, Option<UnixTime>)> {
        let words = self.broadcasts.iter().map(|word| word.load(Relaxed)).zip(&self.counters);
        let known = words.filter(|(word, _)| *word != 0).map(|(word, counters)| {
            let (state, last) = BroadcastState::from_word(word);
            (counters.read().name, state, last)
        });
        known.collect()
    }

    /// Whether Neighbor Discovery of other hosts reaches the port, of each network where that is known.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        let views = self.neighbors.iter().map(|word| word.load(Relaxed));
        let named = |view: NeighborView<usize>| {
            Some(view.of(self.counters.get(view.interface)?.read().name))
        };
        views.filter_map(NeighborView::from_word).filter_map(named).collect()
    }

    /// When each interface last received a frame.
    pub fn last_frames(&self) -> Vec<(InterfaceName, UnixTime)> {
        let times = self.last_frames.iter().map(load_time).zip(&self.counters);
        let seen = times.filter(|(time, _)| time.as_nanos() != 0);
        seen.map(|(time, counters)| (counters.read().name, time)).collect()
    }

    /// The frames of each block.
    pub fn seen(&self, seen: impl CounterSet) -> [u64; MAX_INTERFACES] {
        self.counters.each_ref().map(|counters| counters.get(seen))
    }

    /// The last time without a writer.
    pub fn gap(&self) -> Option<(UnixTime, UnixTime)> {
        let [from, to] = self.gap.each_ref().map(load_time);
        (from.as_nanos() != 0 && to >= from).then_some((from, to))
    }

    /// The writers that ended without being stopped.
    pub fn kills(&self) -> StoredKills {
        StoredKills::load(&self.kills, &self.last_kills)
    }

    pub fn set_kills(&self, kills: &StoredKills) {
        kills.store(&self.kills, &self.last_kills);
    }

    /// The sum of one counter over all interfaces.
    pub fn sum(&self, counter: impl CounterSet) -> u64 {
        total(self.counters.iter().map(|counters| counters.get(counter)))
    }

    /// The sums of all counters.
    pub fn sums(&self) -> [u64; COUNTERS] {
        let sum =
            |index: usize| total(self.counters.iter().map(|one| one.counters[index].load(Relaxed)));
        std::array::from_fn(sum)
    }

    /// All counters in use.
    pub fn counters(&self) -> Vec<InterfaceCounters> {
        let used = |counters: &&Counters| counters.name[0].load(Relaxed) != 0;
        let used: Vec<&Counters> = self.counters.iter().filter(used).collect();
        fence(Acquire); // pairs with the release in set_name
        used.into_iter().map(Counters::read).collect()
    }

    /// Completes the counters of a writer that was killed. A writer processes one frame at a time, so
    /// at most one interface has counted a frame without its outcome: the head shows whether that frame
    /// was published.
    pub fn settle<C: CounterSet>(&self, head: u64) {
        let mut unaccounted = head.saturating_sub(self.sum(C::PUBLISHED));
        for counters in &self.counters {
            let read = counters.read();
            // No loop: in a damaged segment, this may be any number.
            let missing = read.get(C::SEEN).saturating_sub(read.sum_of_outcomes::<C>());
            let published = missing.min(unaccounted);
            unaccounted -= published;
            counters.add(C::PUBLISHED, published);
            counters.add(C::INTERRUPTED, missing - published);
        }
    }
}

/// The name that an interface's counters have.
fn stored_name(index: usize, name: InterfaceName) -> InterfaceName {
    let shared = (index == MAX_INTERFACES - 1).then(|| SHARED_NAME.parse().ok()).flatten();
    shared.unwrap_or(name)
}

/// The counters of one interface in the segment.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Counters {
    name: [AtomicU64; 2],
    counters: [AtomicU64; COUNTERS],
    hidden_by: AtomicU64,
}

impl Counters {
    fn set_name(&self, [first, second]: [u64; 2]) {
        self.name[1].store(second, Relaxed);
        self.name[0].store(first, Release); // not zero: now readers see the counters
    }

    pub(crate) fn get(&self, counter: impl CounterSet) -> u64 {
        self.counters[counter.index()].load(Relaxed)
    }

    /// Only the writer adds, so a load and a store are enough. The store's release keeps the order of a
    /// frame's counters for the writer that completes them after a kill.
    #[inline]
    pub(crate) fn add(&self, counter: impl CounterSet, number: u64) {
        let sum = self.get(counter).wrapping_add(number); // it wraps in a damaged segment only
        self.counters[counter.index()].store(sum, Release);
    }

    /// The header behind which ARP or Neighbor Discovery was seen last.
    pub(crate) fn set_hidden_by(&self, header: OuterHeader) {
        self.hidden_by.store(header.to_word(), Relaxed);
    }

    fn read(&self) -> InterfaceCounters {
        InterfaceCounters {
            name: InterfaceName::from_words(self.name.each_ref().map(|word| word.load(Relaxed))),
            counters: self.counters.each_ref().map(|counter| counter.load(Relaxed)),
            hidden_by: OuterHeader::from_word(self.hidden_by.load(Relaxed)),
        }
    }

    fn clear(&self) {
        let words = self.name.iter().chain(&self.counters).chain([&self.hidden_by]);
        words.for_each(|word| word.store(0, Relaxed));
    }

    /// Takes over the counters of another segment.
    pub(crate) fn copy_from(&self, from: &Counters) {
        for (to, from) in self.counters.iter().zip(&from.counters) {
            to.store(from.load(Relaxed), Relaxed);
        }
        self.hidden_by.store(from.hidden_by.load(Relaxed), Relaxed);
        self.set_name(from.name.each_ref().map(|word| word.load(Relaxed)));
    }
}

/// The counters of one interface since the ring's generation began.
#[derive(Clone, Debug)]
pub struct InterfaceCounters {
    /// The interface.
    pub name: InterfaceName,
    counters: [u64; COUNTERS],
    /// The header that hid the last frame counted as `UnknownHeader`.
    pub hidden_by: Option<OuterHeader>,
}

impl InterfaceCounters {
    /// One counter, of the set of the ring that they were read from.
    pub fn get(&self, counter: impl CounterSet) -> u64 {
        self.counters[counter.index()]
    }

    /// The sum of all outcomes in a ring of events. It equals `Seen` unless a frame is being processed at this moment.
    pub fn outcomes(&self) -> u64 {
        self.sum_of_outcomes::<Counter>()
    }

    /// The same in a ring with this set of counters.
    pub fn sum_of_outcomes<C: CounterSet>(&self) -> u64 {
        let outcomes = C::all().iter().filter(|counter| counter.is_outcome());
        total(outcomes.map(|counter| self.get(*counter)))
    }
}

/// The sum, limited to the type's maximum: counters of a damaged segment may have any value.
fn total(counters: impl Iterator<Item = u64>) -> u64 {
    counters.fold(0, u64::saturating_add)
}

/// A time in the header.
pub(crate) fn load_time(word: &AtomicU64) -> UnixTime {
    UnixTime::from_nanos(word.load(Relaxed) as i64)
}
