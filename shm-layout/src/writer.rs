//! The writing side: publishing, counting, waking readers.

use std::{
    fs::{self, File},
    marker::PhantomData,
    sync::atomic::Ordering::*,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    BroadcastState, CaptureState, CounterSet, CreateError, Event, InterfaceCounters, InterfaceName,
    Kill, Kills, MAX_NETWORKS, NameChange, NameRecord, NeighborView, OuterHeader, Record, RingName,
    UnixTime,
    header::{COUNTERS, MAX_INTERFACES, load_time},
    kills::StoredKills,
    map::{MAX_SLOTS, Map, Stream},
    record::{EVENT_WORDS, NAME_WORDS},
    segment::{Old, is_at, lock, open_own, replace, set_permissions, unlink, wake},
    wait::{ALL_READERS, FOLLOWING_READERS, part},
};

/// Nanoseconds without a heartbeat that are a time without a writer. A restart is shorter.
const LEAST_GAP: i64 = 60_000_000_000;

/// The segment to write to.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Its name.
    pub name: RingName,
    /// Events it holds; rounded up to a power of two.
    pub slots: u64,
    /// Id of the group that may read it; by default the process's own.
    pub group: Option<u32>,
    /// The host name in its header; by default this machine's.
    pub host: Option<String>,
}

impl WriterOptions {
    /// The default number of slots: 4 MiB of events.
    pub const DEFAULT_SLOTS: u64 = 65_536;
    /// The largest number of slots: 16 GiB of events.
    pub const MAX_SLOTS: u64 = MAX_SLOTS;
}

/// An interface's counters in the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(usize);

/// The one writer of a ring of events.
pub type Writer = RingWriter<Event, EVENT_WORDS>;

/// The one writer of a ring of names.
pub type NamesWriter = RingWriter<NameRecord, NAME_WORDS>;

/// The one writer of a segment. The segment stays when the writer ends.
#[derive(Debug)]
pub struct RingWriter<T, const N: usize> {
    map: Map<N>,
    records: PhantomData<T>,
    options: WriterOptions,
    generation: u64,
    created: u64,
    next: u64,
    /// The part of the ring that it wrote to when it last woke readers.
    part: u64,
    cuts: u64,
    /// The interfaces that have counters.
    names: Vec<(InterfaceId, InterfaceName)>,
    captures_no_frames: bool,
    /// The sums of all counters at the last heartbeat.
    counted: [u64; COUNTERS],
    /// The frames of each interface at the last heartbeat.
    seen: [u64; MAX_INTERFACES],
    /// The time without a writer before this one.
    gap: Option<(UnixTime, UnixTime)>,
    /// The writers before this one that ended without being stopped.
    kills: StoredKills,
    /// The one before it is one of them.
    follows_kill: bool,
    /// Which start of the machine this is.
    boot: u64,
    /// What the writer before this one had stored of its interfaces.
    states_before: Vec<(InterfaceName, CaptureState)>,
    /// Locked until the process ends, also if it is killed.
    lock: File,
    /// Blocks of the file, or more if some were missing at the start.
    blocks: u64,
    /// The number of blocks shows truncations.
    are_blocks_exact: bool,
    /// New readers cannot find the segment, and [`RingWriter::maintain`] reported it.
    unreachable: bool,
}

/// Nanoseconds since the start of the machine, also while it slept. No clock that is set.
pub(crate) fn since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The file with the number of this boot, which [`boot_id`] and [`RingWriter::create`] read.
pub const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The number of this boot, 32 digits; empty if it is not known. A unit that hides /proc/sys sets AW_BOOT_ID.
pub fn boot_id() -> String {
    let id = fs::read_to_string(BOOT_ID).or_else(|_| std::env::var("AW_BOOT_ID"));
    id.unwrap_or_default().trim().replace('-', "") // systemd writes it without hyphens
}

/// Half of the number of this boot; 0 if it is not known.
fn boot() -> u64 {
    boot_id().get(..16).and_then(|half| u64::from_str_radix(half, 16).ok()).unwrap_or_default()
}

impl<T: Record<N>, const N: usize> RingWriter<T, N> {
    /// Continues the segment of this name, or creates it.
    ///
    /// A segment of the same size is continued: same generation, next number. One of another size
    /// is replaced by a new segment that takes over its generation, its counters and as many of its
    /// events as fit; readers follow, and lose only the events that do not fit. One of another layout
    /// version is replaced by an empty segment of a new generation. One that was truncated is replaced by an
    /// empty one of the same generation, so that readers count what they had not read, if its header is left.
    pub fn create(options: &WriterOptions) -> Result<Self, CreateError> {
        let name = &options.name;
        let slots = options
            .slots
            .max(2)
            .checked_next_power_of_two()
            .filter(|slots| *slots <= MAX_SLOTS)
            .ok_or(CreateError::TooLarge(options.slots))?;
        let lock = lock::<N>(name, false)?;
        unlink(&name.unfinished())?; // left over from a writer that was killed
        let (old, cut) = open_own(name)?;
        if let Some(old) = &old {
            old.header().settle::<T::Counter>(old.ring().recover());
        }
        // The lock shows that no writer runs.
        let was_killed = |old: &Map<N>| old.header().writer.0.pid.load(Relaxed) != 0;
        let was_killed = old.as_ref().is_some_and(was_killed);
        let kills = old.as_ref().map_or(StoredKills::default(), |old| old.header().kills());
        let states_before = old.as_ref().map_or(Vec::new(), |old| old.header().states());
        let map = match old {
            Some(old) if old.ring().capacity() == slots => {
                set_permissions(&old, options)?;
                old
            }
            Some(old) => replace(Old::Segment(&old), slots, options)?,
            None => {
                let old = cut.map_or(Old::Nothing, |stream| Old::Numbers(stream, None));
                replace(old, slots, options)?
            }
        };
        let next = map.ring().head();
        let (counted, seen) = (map.header().sums(), map.header().seen(T::Counter::SEEN));
        let options = options.clone();
        let header = map.header();
        let (generation, created) = (header.generation.load(Relaxed), header.created.load(Relaxed));
        let cuts = header.cuts.number.load(Relaxed);
        if map.is_cut() {
            return Err(CreateError::NotARing(name.clone())); // truncated meanwhile
        }
        let (names, unreachable) = (Vec::new(), false);
        let are_blocks_exact = map.is_in_memory();
        let blocks = if map.has_holes() { u64::MAX } else { map.blocks() };
        let mut writer = RingWriter {
            map,
            records: PhantomData,
            options,
            generation,
            created,
            next,
            part: 0,
            cuts,
            names,
            captures_no_frames: false,
            counted,
            seen,
            gap: None,
            kills,
            follows_kill: was_killed,
            boot: boot(),
            states_before,
            lock,
            blocks,
            are_blocks_exact,
            unreachable,
        };
        writer.find_gap(UnixTime::now(), since_boot());
        writer.announce();
        Ok(writer)
    }

    /// Finds and stores since when there was no writer, if that is long ago. What an earlier writer stored stays. Two times of
    /// day do not show how much time is between them: the clock may have been set. Also counts the writer before, if it was killed.
    fn find_gap(&mut self, now: UnixTime, since_boot: u64) {
        let header = self.map.header();
        let boot = header.since_boot.boot.load(Relaxed);
        let is_other_boot = ![boot, self.boot].contains(&0) && boot != self.boot;
        let last = load_time(&header.writer.0.time);
        let by_clock = now.as_nanos().saturating_sub(last.as_nanos());
        let beat = header.since_boot.of(last.as_nanos() as u64, self.boot);
        if is_other_boot {
            self.kills.forget_times();
            self.follows_kill = false; // but the end of the machine
        } else if self.follows_kill {
            self.kills.add(beat, since_boot);
        }
        let elapsed = match beat.and_then(|beat| since_boot.checked_sub(beat)) {
            Some(elapsed) => elapsed.try_into().unwrap_or(i64::MAX),
            None => by_clock, // of another build, or another boot or time namespace: the file may outlive those
        };
        if last.as_nanos() != 0 && elapsed >= LEAST_GAP {
            let was_set = by_clock.abs_diff(elapsed) >= LEAST_GAP as u64;
            let before = UnixTime::from_nanos(now.as_nanos().saturating_sub(elapsed));
            let last = if was_set { before } else { last };
            for (word, time) in header.gap.iter().zip([last, now]) {
                word.store(time.as_nanos() as u64, Relaxed);
            }
            self.gap = Some((last, now));
        }
    }

    /// Stores host, process and heartbeat in the header, and wakes the readers.
    fn announce(&mut self) {
        let header = self.map.header();
        match &self.options.host {
            Some(host) => header.set_host(host),
            None => header.set_host(&rustix::system::uname().nodename().to_string_lossy()),
        }
        // Of an earlier writer.
        header.states.iter().for_each(|word| word.store(0, Relaxed));
        for word in &header.broadcasts {
            word.store(BroadcastState::Unknown.with_time(word.load(Relaxed)), Relaxed);
        }
        header.neighbors.iter().for_each(|word| word.store(0, Relaxed));
        header.no_frames.store(self.captures_no_frames.into(), Relaxed);
        header.set_kills(&self.kills); // a truncation, or a new file of this name, has none
        header.writer.0.pid.store(std::process::id().into(), Relaxed);
        self.beat(UnixTime::now());
        wake(&self.map, ALL_READERS);
    }

    /// Stores the heartbeat, and creates the segment again: with its contents if its file was deleted,
    /// because new readers would find none (systemd-logind deletes the segments of ordinary users when they
    /// log out, logind.conf(5), RemoveIPC); without events and counts if its file was truncated. If it has grown again
    /// behind its first page, what is left of the events stays. Returns each change once, for the log. Calls the file
    /// system; about once a second is enough.
    pub fn maintain(&mut self, now: UnixTime) -> Option<NameChange> {
        let are_counts_gone = self.beat(now);
        let kept = self.keep_name(are_counts_gone);
        let name = || self.options.name.clone();
        let (unreachable, change) = match kept {
            Ok(Some(change)) => (false, Some(change)),
            Ok(None) => (false, self.unreachable.then(|| NameChange::Reachable(name()))),
            Err(error) => {
                (true, (!self.unreachable).then(|| NameChange::Unreachable(name(), error)))
            }
        };
        self.unreachable = unreachable;
        change
    }

    /// Returns what it created the segment for, if it did. A file of the same name that is not this writer's is
    /// an error.
    fn keep_name(&mut self, are_counts_gone: bool) -> Result<Option<NameChange>, CreateError> {
        let name = &self.options.name;
        if !is_at(&self.lock, &name.lock())? {
            self.lock = lock::<N>(name, false)?;
        }
        let mut cut = self.map.is_cut_anywhere() || !self.has_numbers() || !self.has_names();
        let named = is_at(self.map.file(), name)?;
        if named && !cut {
            if !are_counts_gone && !self.has_lost_events() {
                return Ok(None);
            }
            if self.map.fill_holes().is_ok() {
                let change = NameChange::Cut(name.clone());
                self.begin_again();
                return Ok(Some(change));
            }
            cut = true;
        }
        if !named && let (Some(other), _) = open_own::<N>(name)? {
            let pid = other.header().writer.0.pid.load(Relaxed);
            return Err(CreateError::Busy(Some(pid)));
        }
        let slots = self.map.ring().capacity();
        let change = match cut {
            true => NameChange::Cut(name.clone()),
            false => NameChange::Recreated(name.clone()),
        };
        let RingWriter { generation, created, next, cuts, .. } = *self;
        let old = match cut {
            true => Old::Numbers(Stream { generation, created, next, cuts }, Some(&self.map)),
            false => Old::Segment(&self.map),
        };
        self.map = replace(old, slots, &self.options)?;
        self.blocks = self.map.blocks();
        self.cuts = self.map.header().cuts.number.load(Relaxed);
        let header = self.map.header();
        (self.counted, self.seen) = (header.sums(), header.seen(T::Counter::SEEN));
        self.restore_names();
        self.announce();
        Ok(Some(change))
    }

    /// The counters of an interface, continued from earlier runs of the same generation.
    pub fn interface(&mut self, name: InterfaceName) -> InterfaceId {
        if let Some((id, _)) = self.names.iter().find(|(_, known)| *known == name) {
            return *id;
        }
        self.restore_names();
        let id = InterfaceId(self.map.header().index_of(name));
        self.names.push((id, name));
        id
    }

    /// Whether the names are there that this writer stored. They are not if the file was truncated and has grown again.
    fn has_names(&self) -> bool {
        self.names.iter().all(|(id, name)| self.map.header().has_name(id.0, *name))
    }

    /// The same of the numbers in the first page.
    fn has_numbers(&self) -> bool {
        let header = self.map.header();
        let generation = header.generation.load(Relaxed);
        (generation, header.head.0.load(Relaxed)) == (self.generation, self.next)
    }

    /// Whether slots were emptied since the last truncation that was noticed: the file has lost blocks, or the newest event
    /// is gone. Where new events fill the blocks again at once, readers meet what is lost.
    fn has_lost_events(&self) -> bool {
        let last = self.map.header().cuts.next.load(Relaxed).max(self.map.ring().first());
        let has_fewer = self.map.has_holes() && self.map.blocks() < self.blocks;
        (self.are_blocks_exact && has_fewer)
            || self.map.header().counted_since().is_none() // a writer was killed in `begin_again`
            || (self.next > last && self.map.ring().is_emptied(self.next - 1))
    }

    /// After a truncation that left the first page, and of which the file has grown again.
    fn begin_again(&mut self) {
        self.cuts = self.cuts.saturating_add(1);
        self.map.header().begin_again(self.cuts, self.next);
        self.restore_names();
        (self.counted, self.seen) = ([0; COUNTERS], [0; MAX_INTERFACES]);
        self.blocks = self.map.blocks();
        self.announce();
    }

    /// Stores the names of interfaces that a truncated segment has lost.
    fn restore_names(&self) {
        self.names.iter().for_each(|(id, name)| self.map.header().set_name(id.0, *name));
    }

    /// Counts one frame, or one outcome.
    #[inline]
    pub fn count(&mut self, interface: InterfaceId, counter: T::Counter) {
        self.add(interface, counter, 1);
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, interface: InterfaceId, counter: T::Counter, number: u64) {
        self.map.header().counters[interface.0].add(counter, number);
    }

    /// Stores that this writer captures no frames: readers do not take it for a fault that none comes.
    pub fn set_no_frames(&mut self) {
        self.captures_no_frames = true;
        self.announce();
    }

    /// Stores whether an interface is captured.
    pub fn set_state(&mut self, interface: InterfaceId, state: CaptureState) {
        self.map.header().states[interface.0].store(state as u64, Relaxed);
    }

    /// Stores whether ARP broadcasts arrive at an interface.
    pub fn set_broadcasts(&mut self, interface: InterfaceId, state: BroadcastState) {
        let word = &self.map.header().broadcasts[interface.0];
        word.store(state.with_time(word.load(Relaxed)), Relaxed);
    }

    /// Stores that one arrived at this time.
    pub fn set_last_broadcast(&mut self, interface: InterfaceId, time: UnixTime) {
        let word = &self.map.header().broadcasts[interface.0];
        let (state, _) = BroadcastState::from_word(word.load(Relaxed));
        word.store(state.with_time(time.as_nanos() as u64), Relaxed);
    }

    /// Stores whether Neighbor Discovery of other hosts reaches the port, of all networks where that is known. A network keeps its place: a
    /// reader would find one that moves twice, or not at all.
    pub fn set_neighbors(&mut self, views: &[Option<NeighborView<InterfaceId>>; MAX_NETWORKS]) {
        for (to, view) in self.map.header().neighbors.iter().zip(views) {
            to.store(view.map_or(0, |view| view.of(view.interface.0).to_word()), Relaxed);
        }
    }

    /// The same as a reader finds it.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        self.map.header().neighbors()
    }

    /// One counter of an interface.
    pub fn counter(&self, interface: InterfaceId, counter: T::Counter) -> u64 {
        self.map.header().counters[interface.0].get(counter)
    }

    /// The time without a writer before this one, if it was a minute or more: the last heartbeat, and the first one of this writer.
    pub fn gap(&self) -> Option<(UnixTime, UnixTime)> {
        self.gap
    }

    /// The writers before this one that ended without being stopped.
    pub fn kills(&self) -> Kills {
        self.kills.at(since_boot())
    }

    /// The one before this one, if it was one of them.
    pub fn predecessor(&self) -> Option<Kill> {
        self.kills().last.first().filter(|_| self.follows_kill).copied()
    }

    /// What the writer before this one had last stored of its interfaces. This one has taken over none of it.
    pub fn states_before(&self) -> &[(InterfaceName, CaptureState)] {
        &self.states_before
    }

    /// Stores the header that hides the ARP or Neighbor Discovery that was just counted as `UnknownHeader`.
    pub fn set_hidden_by(&mut self, interface: InterfaceId, header: OuterHeader) {
        self.map.header().counters[interface.0].set_hidden_by(header);
    }

    /// Publishes an event and counts it. Does not wake waiting readers.
    #[inline]
    pub fn publish(&mut self, interface: InterfaceId, event: &T) {
        self.map.ring().publish(self.next, &event.pack());
        self.next += 1;
        self.count(interface, T::Counter::PUBLISHED);
    }

    /// Wakes waiting readers. Once for each batch, because it is a system call. Those that gather events are woken each
    /// time that a further sixteenth of the ring is written.
    pub fn wake(&mut self) {
        let part = self.next / part(self.map.ring().capacity());
        let is_next = std::mem::replace(&mut self.part, part) != part;
        wake(&self.map, if is_next { ALL_READERS } else { FOLLOWING_READERS });
    }

    /// Stores the heartbeat, and whether frames were seen or dropped since the last one. Returns whether counts are gone.
    fn beat(&mut self, now: UnixTime) -> bool {
        let header = self.map.header();
        let beat = &header.writer.0;
        let now = now.as_nanos() as u64;
        let sums = header.sums();
        let before = std::mem::replace(&mut self.counted, sums);
        let seen = (Some(T::Counter::SEEN), &beat.last_frame);
        for (counter, when) in [seen, (T::Counter::DROPPED, &beat.last_drop)] {
            let is_more = |counter: T::Counter| sums[counter.index()] > before[counter.index()];
            if counter.is_some_and(is_more) {
                when.store(now, Relaxed);
            }
        }
        for ((seen, before), when) in
            header.seen(T::Counter::SEEN).into_iter().zip(&mut self.seen).zip(&header.last_frames)
        {
            if std::mem::replace(before, seen) < seen {
                when.store(now, Relaxed);
            }
        }
        beat.time.store(now, Relaxed);
        header.since_boot.store(since_boot(), self.boot, now);
        sums.iter().zip(&before).any(|(sum, before)| sum < before)
    }

    /// Events published in this generation, and so the next event's number.
    pub fn published(&self) -> u64 {
        self.next
    }

    /// All interfaces' counters.
    pub fn counters(&self) -> Vec<InterfaceCounters> {
        self.map.header().counters()
    }
}

impl<T, const N: usize> Drop for RingWriter<T, N> {
    fn drop(&mut self) {
        // A panic is no end as it should be: readers wait for a heartbeat, and the next writer counts it.
        if !std::thread::panicking() {
            self.map.header().writer.0.pid.store(0, Relaxed);
        }
        wake(&self.map, ALL_READERS);
    }
}
