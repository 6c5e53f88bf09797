//! The reading side: attaching and following.

use std::{
    fs,
    io::ErrorKind,
    marker::PhantomData,
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicU32, Ordering::*, fence},
    time::Duration,
};

use rustix::process::geteuid;

use crate::{
    AttachError, BroadcastState, CaptureState, Event, InterfaceCounters, InterfaceName, Kills,
    NameRecord, NeighborView, Record, RingName, UnixTime, UnknownEvent,
    header::load_time,
    map::{Map, Unfit, same_file},
    record::{EVENT_WORDS, NAME_WORDS, layout_version},
    ring::SlotRead,
    wait::{part, wait_any},
    writer::since_boot,
};

/// A position in the stream of events: the next event to read. It stays valid when the collector
/// restarts and when the ring's size changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The stream. A ring that is created without a predecessor begins a new one.
    pub generation: u64,
    /// The number of the next event, from 0.
    pub sequence: u64,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that the ring still holds.
    Oldest,
    /// With the first event of the stream: events that the ring holds no longer count as lost.
    First,
    /// With the next event to be published.
    Now,
    /// At the position of an earlier reader; with the oldest if that was in another generation.
    At(Position),
}

/// The result of reading a ring of events.
pub type Next = NextOf<Event>;

/// The result of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextOf<T> {
    /// An event, or a record of names, and its number.
    Event(u64, T),
    /// An event of a kind that this reader does not know, and its number.
    Unknown(u64, UnknownEvent),
    /// No event yet.
    Empty,
    /// The writer overtook this reader, which lost exactly this many events.
    Lapped {
        /// At least 1.
        lost: u64,
    },
}

/// One reader of a ring of events.
pub type Reader = RingReader<Event, EVENT_WORDS>;

/// One reader of a ring of names.
pub type NamesReader = RingReader<NameRecord, NAME_WORDS>;

/// One reader of a segment. It maps the segment read-only, and stores nothing in it.
#[derive(Debug)]
pub struct RingReader<T, const N: usize> {
    map: Map<N>,
    records: PhantomData<T>,
    name: RingName,
    generation: u64,
    next: u64,
    /// How often it was overtaken since it last read a quarter of the ring without being overtaken, and
    /// where that began.
    laps: u32,
    lapped: u64,
    /// Lost events that a truncation of the file took, see [`RingReader::take_cut_events`].
    cut_events: u64,
}

/// A reader that is overtaken this often in a row is slower than the writer, and reads the slots that
/// the writer is writing, which slows down both. It then skips a quarter of the ring, to read away
/// from the writer again: two to three times as many events get through.
const LAPS: u32 = 16;

impl<T: Record<N>, const N: usize> RingReader<T, N> {
    /// Attaches to the segment of this name, if it belongs to root or to this process's user.
    pub fn attach(name: &RingName, start: Start) -> Result<Self, AttachError> {
        Self::attach_to(name, &[], start)
    }

    /// Attaches to the segment of this name. Any user can create files in `/dev/shm`, so it must belong
    /// to root, to this process's user, or to one of these users.
    pub fn attach_to(name: &RingName, owners: &[u32], start: Start) -> Result<Self, AttachError> {
        let is_trusted = |user| user == 0 || user == geteuid().as_raw() || owners.contains(&user);
        // Checked first: also for a file that is no ring, or that this process may not read.
        if let Ok(file) = fs::symlink_metadata(name.path())
            && !is_trusted(file.uid())
        {
            return Err(AttachError::Foreign(file.uid()));
        }
        let map = Map::open_read_only(name, is_trusted).map_err(|error| match error {
            Unfit::Foreign(user) => AttachError::Foreign(user),
            Unfit::NotARing => AttachError::NotARing,
            Unfit::Cut(_) => AttachError::Cut,
            Unfit::Version(version) => AttachError::Version(version, layout_version(N)),
            Unfit::Io(error) => match error.kind() {
                ErrorKind::NotFound => AttachError::Missing,
                ErrorKind::PermissionDenied => {
                    AttachError::Denied(fs::metadata(name.path()).ok().map(|file| file.gid()))
                }
                _ => AttachError::Io(error),
            },
        })?;
        if map.file().metadata().map_err(AttachError::Io)?.mode() & 0o022 != 0 {
            return Err(AttachError::Unsafe);
        }
        let generation = map.header().generation.load(Relaxed);
        let mut reader = RingReader {
            map,
            records: PhantomData,
            name: name.clone(),
            generation,
            next: 0,
            laps: 0,
            lapped: 0,
            cut_events: 0,
        };
        let ring = reader.map.ring();
        reader.next = match start {
            Start::Now => ring.end(),
            Start::First => 0,
            Start::At(at) if at.generation == reader.generation() && at.sequence <= ring.end() => {
                at.sequence
            }
            Start::Oldest | Start::At(_) => ring.oldest(),
        };
        match reader.is_cut() {
            true => Err(AttachError::Cut), // meanwhile: what was loaded may be zeros
            false => Ok(reader),
        }
    }

    /// Reads the next event, if there is one.
    #[inline]
    #[allow(clippy::should_implement_trait)] // not an iterator: `Empty` is not the end
    pub fn next(&mut self) -> NextOf<T> {
        let ring = self.map.ring();
        let n = self.next;
        match ring.read(n) {
            SlotRead::Event(words) => {
                self.next = n + 1;
                match T::unpack(&words) {
                    Ok(event) => NextOf::Event(n, event),
                    Err(unknown) => NextOf::Unknown(n, unknown),
                }
            }
            SlotRead::NotYet => NextOf::Empty,
            SlotRead::Gone => {
                self.next = self.after_lap(n);
                self.cut_events += self.cut_between(n);
                NextOf::Lapped { lost: self.next - n }
            }
            SlotRead::Emptied => {
                self.next = self.after_lap(n);
                self.cut_events += self.next - n;
                NextOf::Lapped { lost: self.next - n }
            }
        }
    }

    /// Where to continue if event `n` is gone.
    #[cold]
    fn after_lap(&mut self, n: u64) -> u64 {
        let ring = self.map.ring();
        let quarter = ring.capacity() / 4;
        self.laps = if n - self.lapped < quarter { self.laps + 1 } else { 0 };
        self.lapped = ring.oldest_after(n);
        if self.laps >= LAPS {
            self.laps = 0;
            self.lapped = (self.lapped + quarter).min(ring.head()).max(self.lapped);
        }
        self.lapped
    }

    /// How many of the events from `n` up to the next one a truncation of the file took. The others were overwritten.
    fn cut_between(&self, n: u64) -> u64 {
        let (end, slots) = (self.map.header().cuts.next.load(Relaxed), self.map.ring().capacity());
        self.next.min(end).saturating_sub(n.max(end.saturating_sub(slots)))
    }

    /// How many of the events that were lost since the last call were not overwritten, but gone because the file was
    /// truncated.
    pub fn take_cut_events(&mut self) -> u64 {
        std::mem::take(&mut self.cut_events)
    }

    /// Skips the events that the writer has overwritten, without reading any; returns their number.
    pub fn skip_lost(&mut self) -> u64 {
        let from = self.next;
        self.next = self.map.ring().oldest().max(from);
        self.cut_events += self.cut_between(from);
        self.next - from
    }

    /// The position of the next event.
    pub fn position(&self) -> Position {
        Position { generation: self.generation(), sequence: self.next }
    }

    /// The segment's name.
    pub fn name(&self) -> &RingName {
        &self.name
    }

    /// Waits until there is something to read, a signal arrives, or the time is over.
    pub fn wait(&self, timeout: Duration) {
        wait_any(&[self], timeout);
    }

    /// Whether [`RingReader::next`] would return something other than [`NextOf::Empty`], or never will again.
    pub(crate) fn is_ready(&self) -> bool {
        self.map.ring().ready(self.next) || self.is_cut()
    }

    /// Whether a reader that gathers events should read now.
    pub(crate) fn has_gathered(&self) -> bool {
        let unread = self.published().saturating_sub(self.next);
        unread >= part(self.slots()) || self.is_retired() || self.is_cut()
    }

    /// The futex word that changes when the writer wakes its readers.
    pub(crate) fn wake_word(&self) -> &AtomicU32 {
        &self.map.header().wake.0
    }

    /// Whether the writer has replaced this segment by another one. What this one still holds can be
    /// read to its end first: nothing is added to it any more.
    pub fn is_retired(&self) -> bool {
        let retired = self.map.header().retired.load(Relaxed) != 0;
        fence(Acquire); // pairs with the release in `retire`
        retired
    }

    /// Whether a process of the owner truncated the file below this mapping. What this reader has not read
    /// is lost: attached again at its [`RingReader::position`], it counts how many events that are, as soon as the
    /// collector has created the ring again.
    pub fn is_cut(&self) -> bool {
        self.map.is_cut()
    }

    /// Whether the name leads to another file, or to none: like [`RingReader::is_retired`], for a segment
    /// whose writer was killed before it could mark it, or that was deleted by hand. Calls the file
    /// system.
    pub fn is_replaced(&self) -> bool {
        match (self.map.file().metadata(), fs::metadata(self.name.path())) {
            (Ok(mapped), Ok(current)) => !same_file(&mapped, &current),
            (_, Err(error)) => error.kind() == ErrorKind::NotFound,
            (Err(_), _) => false,
        }
    }

    /// The stream's generation.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Events published so far in this generation.
    pub fn published(&self) -> u64 {
        self.map.ring().end()
    }

    /// Events that the ring can hold.
    pub fn slots(&self) -> u64 {
        self.map.ring().capacity()
    }

    /// The host that the writer runs on.
    pub fn host(&self) -> String {
        self.map.header().host()
    }

    /// When this generation began.
    pub fn created(&self) -> UnixTime {
        load_time(&self.map.header().created)
    }

    /// The writer's process id; none if it ended without being killed.
    pub fn writer(&self) -> Option<u64> {
        Some(self.map.header().writer.0.pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// The writers that ended without being stopped: killed, or by a panic; each is counted when the next one begins.
    pub fn kills(&self) -> Kills {
        self.map.header().kills().at(since_boot())
    }

    /// When the writer last stored its heartbeat: about once a second.
    pub fn heartbeat(&self) -> UnixTime {
        load_time(&self.map.header().writer.0.time)
    }

    /// When the last frame was seen, to about a second; none if there was none yet.
    pub fn last_frame(&self) -> Option<UnixTime> {
        Some(load_time(&self.map.header().writer.0.last_frame)).filter(|time| time.as_nanos() != 0)
    }

    /// When the kernel last dropped frames, to about a second; none if it never did.
    pub fn last_drop(&self) -> Option<UnixTime> {
        Some(load_time(&self.map.header().writer.0.last_drop)).filter(|time| time.as_nanos() != 0)
    }

    /// How often the file was truncated in this generation and created again, and when that was last: the counters begin
    /// there. None if it never was.
    pub fn cuts(&self) -> Option<(u64, UnixTime)> {
        let cuts = &self.map.header().cuts;
        Some(cuts.number.load(Relaxed))
            .filter(|number| *number > 0)
            .map(|number| (number, load_time(&cuts.last)))
    }

    /// Counters, names and cuts that are loaded between two calls which return the same are of one time; none while the writer
    /// clears the counters.
    pub fn counted_since(&self) -> Option<u64> {
        self.map.header().counted_since()
    }

    /// The interfaces that are captured, or should be, to about a second.
    pub fn interfaces(&self) -> Vec<(InterfaceName, CaptureState)> {
        self.map.header().states()
    }

    /// Whether ARP broadcasts of other hosts arrive, and when the last one did, to about a second; of the interfaces of which one is known.
    pub fn broadcasts(&self) -> Vec<(InterfaceName, BroadcastState, Option<UnixTime>)> {
        self.map.header().broadcasts()
    }

    /// Whether Neighbor Discovery of other hosts reaches the port, to about a second, of each network where that is known.
    pub fn neighbors(&self) -> Vec<NeighborView> {
        self.map.header().neighbors()
    }

    /// When each interface last received a frame, to about a second.
    pub fn last_frames(&self) -> Vec<(InterfaceName, UnixTime)> {
        self.map.header().last_frames()
    }

    /// The last time without a writer, of a minute or more: the last heartbeat before it, and the first one after it.
    pub fn gap(&self) -> Option<(UnixTime, UnixTime)> {
        self.map.header().gap()
    }

    /// Since when no frame was seen: the last one, or when the ring was created. None if its writer captures none.
    pub fn silent_since(&self) -> Option<UnixTime> {
        let has_frames = self.map.header().no_frames.load(Relaxed) == 0;
        has_frames.then(|| self.last_frame().unwrap_or(self.created()))
    }

    /// All interfaces' counters.
    pub fn counters(&self) -> Vec<InterfaceCounters> {
        self.map.header().counters()
    }
}
