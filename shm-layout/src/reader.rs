//! The reading side: attaching, following, waiting.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    sync::atomic::{Ordering::*, fence},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::geteuid,
    thread::futex::{self, Wait, WaitFlags, WaitvFlags},
    time::{ClockId, Timespec},
};

use crate::{
    Event, InterfaceCounters, RingName, UnixTime, UnknownEvent,
    header::time,
    map::{Map, Unfit, same_file},
    ring::Found,
    writer::cause,
};

/// A place in the stream of events: the next event to read. It stays valid while the collector
/// is restarted and while the ring changes its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The stream; a new one begins where a ring is made afresh.
    pub generation: u64,
    /// The number of the next event, from 0.
    pub sequence: u64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event that the ring still holds.
    Oldest,
    /// With the first event of the stream: those that the ring holds no longer count as lost.
    First,
    /// With the next event to be published.
    Now,
    /// Where an earlier reader stopped; with the oldest if that was in another generation.
    At(Position),
}

/// What a reader finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An event and its number.
    Event(u64, Event),
    /// An event of a kind that this reader does not know, and its number.
    Unknown(u64, UnknownEvent),
    /// Nothing yet.
    Empty,
    /// The writer overtook this reader: exactly so many events are lost to it.
    Lapped {
        /// Their number, at least 1.
        lost: u64,
    },
}

/// Why a reader cannot attach.
#[derive(Debug)]
pub enum AttachError {
    /// There is no such segment.
    Missing,
    /// It may not be read by this process; the id of the group whose members may, if known.
    Denied(Option<u32>),
    /// Others than its owner may write to it, so nothing in it can be believed.
    Unsafe,
    /// It belongs to a user whom nobody said to believe; that user's id.
    Foreign(u32),
    /// It is no ring.
    NotARing,
    /// It has another layout version than this program.
    Version(u64),
    /// The system refused.
    Io(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                write!(f, "no such ring (start the collector, or name its ring with -m)")
            }
            Self::Denied(Some(group)) => {
                write!(f, "permission denied (run as a member of its group, id {group})")
            }
            Self::Denied(None) => write!(f, "permission denied (run as a member of its group)"),
            Self::Unsafe => write!(
                f,
                "others than its owner may write to it (start the collector again to mend its mode)"
            ),
            Self::Foreign(user) => write!(
                f,
                "it belongs to user id {user}, not to root, addrwatch or oneself (if that is the collector's user, say so with --owner)"
            ),
            Self::NotARing => write!(f, "not a ring (name the collector's ring with -m)"),
            Self::Version(version) => write!(
                f,
                "layout version {version}, this program reads {} (install the same release of collector and outputs, restart both)",
                crate::LAYOUT_VERSION
            ),
            Self::Io(error) => f.write_str(&cause(error)),
        }
    }
}

impl std::error::Error for AttachError {}

/// One reader of a segment. It maps it read-only, and writes nothing anywhere.
#[derive(Debug)]
pub struct Reader {
    map: Map,
    name: RingName,
    next: u64,
    /// Times overtaken since it last read a quarter of the ring in one go, and where that began.
    laps: u32,
    lapped: u64,
}

/// A reader overtaken so often in a row is slower than the writer, and reads at the very place
/// where the writer writes, which makes both slow. It then gives up a quarter of the ring, to read
/// far from the writer again: two to three times as many events get through.
const LAPS: u32 = 16;

impl Reader {
    /// Attaches to the segment of this name, if it is root's or one's own.
    pub fn attach(name: &RingName, start: Start) -> Result<Reader, AttachError> {
        Reader::attach_to(name, &[], start)
    }

    /// Attaches to the segment of this name. `/dev/shm` is open to everybody, so it must belong to
    /// root, to this process's user, or to one of these users.
    pub fn attach_to(name: &RingName, owners: &[u32], start: Start) -> Result<Reader, AttachError> {
        let is_trusted = |user| user == 0 || user == geteuid().as_raw() || owners.contains(&user);
        // Also where it is no ring, or may not be read.
        if let Ok(file) = fs::symlink_metadata(name.path())
            && !is_trusted(file.uid())
        {
            return Err(AttachError::Foreign(file.uid()));
        }
        let map = Map::open_read_only(name, is_trusted).map_err(|error| match error {
            Unfit::Foreign(user) => AttachError::Foreign(user),
            Unfit::NotARing => AttachError::NotARing,
            Unfit::Version(version) => AttachError::Version(version),
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
        let mut reader = Reader { map, name: name.clone(), next: 0, laps: 0, lapped: 0 };
        let ring = reader.map.ring();
        reader.next = match start {
            Start::Now => ring.end(),
            Start::First => 0,
            Start::At(at) if at.generation == reader.generation() && at.sequence <= ring.end() => {
                at.sequence
            }
            Start::Oldest | Start::At(_) => ring.oldest(),
        };
        Ok(reader)
    }

    /// Reads the next event, if there is one.
    #[inline]
    #[allow(clippy::should_implement_trait)] // not an iterator: `Empty` is not the end
    pub fn next(&mut self) -> Next {
        let ring = self.map.ring();
        let n = self.next;
        match ring.read(n) {
            Found::Event(words) => {
                self.next = n + 1;
                match Event::unpack(&words) {
                    Ok(event) => Next::Event(n, event),
                    Err(unknown) => Next::Unknown(n, unknown),
                }
            }
            Found::NotYet => Next::Empty,
            Found::Gone => {
                self.next = self.after_lap(n);
                Next::Lapped { lost: self.next - n }
            }
        }
    }

    /// Where to go on if event `n` is gone.
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

    /// Goes past events that the writer has overwritten, without reading any; their number.
    pub fn skip_lost(&mut self) -> u64 {
        let from = self.next;
        self.next = self.map.ring().oldest().max(from);
        self.next - from
    }

    /// The place of the next event.
    pub fn position(&self) -> Position {
        Position { generation: self.generation(), sequence: self.next }
    }

    /// The segment's name.
    pub fn name(&self) -> &RingName {
        &self.name
    }

    /// Waits until there is something to read, a signal came, or the time is over.
    pub fn wait(&self, timeout: Duration) {
        wait_any(&[self], timeout);
    }

    /// Whether the writer said that another segment takes this one's place. What this one still
    /// holds can be read to its end first: nothing is added to it any more.
    pub fn is_retired(&self) -> bool {
        let retired = self.map.header().retired.load(Relaxed) != 0;
        fence(Acquire); // pairs with the release in `retire`
        retired
    }

    /// Whether the name leads elsewhere, or nowhere: as [`Reader::is_retired`], for a segment
    /// whose writer was killed before it could say so, or that was deleted by hand. Asks the
    /// file system.
    pub fn is_replaced(&self) -> bool {
        match (self.map.file().metadata(), fs::metadata(self.name.path())) {
            (Ok(ours), Ok(current)) => !same_file(&ours, &current),
            (_, Err(error)) => error.kind() == ErrorKind::NotFound,
            (Err(_), _) => false,
        }
    }

    /// The stream's generation.
    pub fn generation(&self) -> u64 {
        self.map.header().generation.load(Relaxed)
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
        time(&self.map.header().created)
    }

    /// The writer's process id; none if it ended by itself.
    pub fn writer(&self) -> Option<u64> {
        Some(self.map.header().writer.0.pid.load(Relaxed)).filter(|pid| *pid != 0)
    }

    /// When the writer last said that it lives: about once a second.
    pub fn heartbeat(&self) -> UnixTime {
        time(&self.map.header().writer.0.time)
    }

    /// When the last frame was seen, to about a second; none if there was none yet.
    pub fn heard(&self) -> Option<UnixTime> {
        Some(time(&self.map.header().writer.0.heard)).filter(|time| time.as_nanos() != 0)
    }

    /// When the kernel last dropped frames, to about a second; none if it never did.
    pub fn dropped(&self) -> Option<UnixTime> {
        Some(time(&self.map.header().writer.0.dropped)).filter(|time| time.as_nanos() != 0)
    }

    /// All interfaces' counters.
    pub fn counters(&self) -> Vec<InterfaceCounters> {
        self.map.header().counters()
    }
}

/// As [`Reader::wait`], for several rings at once.
pub fn wait_any(readers: &[&Reader], timeout: Duration) {
    // The word is taken before the look: if an event comes after the look, the kernel finds the
    // word changed and does not sleep.
    let words = readers.iter().map(|reader| &reader.map.header().wake.0);
    let seen: Vec<_> = words.map(|word| (word, word.load(Relaxed))).collect();
    fence(Acquire); // pairs with the release in Writer::wake
    if readers.iter().any(|reader| reader.map.ring().ready(reader.next)) {
        return;
    }
    // Every error means "look again": the word changed, a signal came, the time is over.
    match seen.as_slice() {
        [] => std::thread::sleep(timeout),
        [(word, value)] => {
            let timeout = timespec(timeout);
            let _ = futex::wait(word, futex::Flags::empty(), *value, Some(&timeout));
        }
        several => {
            let waits: Vec<_> = several
                .iter()
                .map(|(word, value)| {
                    let mut wait = Wait::new();
                    wait.val = u64::from(*value);
                    wait.uaddr = futex::WaitPtr::new(std::ptr::from_ref(*word).cast_mut().cast());
                    wait.flags = WaitFlags::SIZE_U32;
                    wait
                })
                .collect();
            let now = rustix::time::clock_gettime(ClockId::Monotonic);
            let until = timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + timeout);
            let woken = futex::waitv(&waits, WaitvFlags::empty(), Some(&until), ClockId::Monotonic);
            if matches!(woken, Err(Errno::NOSYS | Errno::PERM | Errno::INVAL)) {
                look_often(readers, timeout); // Linux before 5.16, or a sandbox that does not know it
            }
        }
    }
}

fn look_often(readers: &[&Reader], timeout: Duration) {
    let end = Instant::now() + timeout;
    while Instant::now() < end && !readers.iter().any(|reader| reader.map.ring().ready(reader.next))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}
