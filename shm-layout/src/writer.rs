//! The writing side: creating a segment or carrying on with it, publishing, counting, waking.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    sync::atomic::Ordering::*,
};

use rustix::{fs::OFlags, process::geteuid, thread::futex};

use crate::{
    Counter, Event, InterfaceCounters, InterfaceName, RingName, UnixTime,
    header::{LAYOUT_VERSION, MAGIC},
    map::{MAX_SLOTS, Map, Unfit, open, same_file},
    ring::Found,
};

/// What segment to write to.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// Its name.
    pub name: RingName,
    /// Events it holds; rounded up to a power of two.
    pub slots: u64,
    /// The group that may read it, by number; the process's own if none.
    pub group: Option<u32>,
    /// The host that it is to name; this machine's name if none.
    pub host: Option<String>,
}

impl WriterOptions {
    /// Slots of a segment for which nothing else was asked: 4 MiB of events.
    pub const DEFAULT_SLOTS: u64 = 65_536;
}

/// Why there is no segment to write to.
#[derive(Debug)]
pub enum CreateError {
    /// Another collector writes to it; its process id, if it could be read.
    Busy(RingName, Option<u64>),
    /// Something of this name belongs to another user.
    ForeignOwner(RingName, u32),
    /// Something of this name is not a ring.
    NotARing(RingName),
    /// The segment cannot be given to this group.
    Group(RingName, u32, io::Error),
    /// Too many slots were asked for.
    TooLarge(u64),
    /// The system refused an operation on a name.
    Io(&'static str, RingName, io::Error),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHOOSE: &str = "or choose another name with -m";
        match self {
            Self::Busy(name, pid) => {
                write!(f, "open ring {name}: in use by another collector")?;
                pid.map_or(Ok(()), |pid| write!(f, ", process {pid}"))?;
                write!(f, " (stop it, {CHOOSE})")
            }
            Self::ForeignOwner(name, uid) => {
                let path = name.path();
                write!(
                    f,
                    "open {}: belongs to user id {uid} (as root: collector --remove -m {}, {CHOOSE})",
                    path.display(),
                    name.as_str().trim_end_matches(".lock")
                )
            }
            Self::NotARing(name) => {
                write!(
                    f,
                    "open ring {name}: {} is not a ring (delete it, {CHOOSE})",
                    name.path().display()
                )
            }
            Self::Group(name, group, error) => {
                let error = cause(error);
                write!(
                    f,
                    "give ring {name} to group {group}: {error} (become root or one of its members)"
                )
            }
            Self::TooLarge(slots) => {
                write!(f, "create ring: {slots} slots are too many (at most {MAX_SLOTS})")
            }
            Self::Io(operation, name, error) => {
                write!(f, "{operation} {}: {}", name.path().display(), cause(error))?;
                match error.kind() {
                    ErrorKind::NotFound if *operation == "open" => {
                        write!(f, " (name a collector's ring with -m)")
                    }
                    ErrorKind::NotFound => write!(f, " (is /dev/shm mounted?)"),
                    ErrorKind::PermissionDenied => write!(
                        f,
                        " (if it is another user's: become that user, as root collector --remove, {CHOOSE})"
                    ),
                    ErrorKind::StorageFull | ErrorKind::OutOfMemory => {
                        write!(f, " (free memory in /dev/shm, or choose fewer slots with -L)")
                    }
                    // The same words as for other files.
                    _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                        write!(f, " (let it open more: ulimit -n, LimitNOFILE=)")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for CreateError {}

/// An error's text without the number that std appends.
pub fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// An interface's counters in the segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InterfaceId(usize);

/// The one writer of a segment. The segment stays when the writer ends.
#[derive(Debug)]
pub struct Writer {
    map: Map,
    options: WriterOptions,
    next: u64,
    /// Frames seen, and dropped by the kernel, at the last heartbeat.
    counted: [u64; 2],
    /// Held until the process ends, however it ends.
    lock: File,
}

/// What a heartbeat also tells the time of.
const NOTED: [Counter; 2] = [Counter::Seen, Counter::KernelDropped];

impl Writer {
    /// Carries on with the segment of this name, or makes it.
    ///
    /// A segment of the same size is continued: same generation, next number. One of another size
    /// is replaced by a new segment that takes over its generation, its counters and as many of its
    /// events as fit; readers follow and lose nothing but what does not fit. One of another layout
    /// is replaced by an empty segment of a new generation.
    pub fn create(options: &WriterOptions) -> Result<Writer, CreateError> {
        let name = &options.name;
        let slots = options
            .slots
            .max(2)
            .checked_next_power_of_two()
            .filter(|slots| *slots <= MAX_SLOTS)
            .ok_or(CreateError::TooLarge(options.slots))?;
        let lock = lock(name, false)?;
        unlink(&name.unfinished())?; // left behind by a writer that was killed
        let old = open_own(name)?;
        if let Some(old) = &old {
            old.header().settle(old.ring().recover());
        }
        let map = match old {
            Some(old) if old.ring().capacity() == slots => {
                permit(&old, options)?;
                old
            }
            old => replace(old.as_ref(), slots, options)?,
        };
        let next = map.ring().head();
        let counted = NOTED.map(|counter| map.header().sum(counter));
        let mut writer = Writer { map, options: options.clone(), next, counted, lock };
        writer.introduce();
        Ok(writer)
    }

    /// Says whose segment this is.
    fn introduce(&mut self) {
        let header = self.map.header();
        match &self.options.host {
            Some(host) => header.set_host(host),
            None => header.set_host(&rustix::system::uname().nodename().to_string_lossy()),
        }
        header.writer.0.pid.store(std::process::id().into(), Relaxed);
        self.beat(UnixTime::now());
        self.wake();
    }

    /// Makes the segment anew, with all it holds, if somebody deleted its file: readers that come
    /// later would find none. (systemd-logind deletes those of ordinary users when they log out,
    /// logind.conf(5), RemoveIPC.) Tells whether that was so. A file of the same name that is not
    /// this writer's is an error. Asks the file system; about once a second is enough.
    pub fn keep_name(&mut self) -> Result<bool, CreateError> {
        let name = &self.options.name;
        if !is_at(&self.lock, &name.lock())? {
            self.lock = lock(name, false)?;
        }
        if is_at(self.map.file(), name)? {
            return Ok(false);
        }
        if let Some(other) = open_own(name)? {
            let pid = other.header().writer.0.pid.load(Relaxed);
            return Err(CreateError::Busy(name.clone(), Some(pid)));
        }
        self.map = replace(Some(&self.map), self.map.ring().capacity(), &self.options)?;
        self.introduce();
        Ok(true)
    }

    /// The counters of an interface, kept from earlier runs of the same generation.
    pub fn interface(&mut self, name: InterfaceName) -> InterfaceId {
        InterfaceId(self.map.header().index_of(name))
    }

    /// Counts one frame, or one outcome.
    #[inline]
    pub fn count(&mut self, interface: InterfaceId, counter: Counter) {
        self.add(interface, counter, 1);
    }

    /// Adds to a counter.
    #[inline]
    pub fn add(&mut self, interface: InterfaceId, counter: Counter, number: u64) {
        self.map.header().counters[interface.0].add(counter, number);
    }

    /// Publishes an event and counts it. Readers that wait are not woken by this.
    #[inline]
    pub fn publish(&mut self, interface: InterfaceId, event: &Event) {
        self.map.ring().publish(self.next, &event.pack());
        self.next += 1;
        self.count(interface, Counter::Published);
    }

    /// Wakes the readers that wait: once a batch, since this is a system call.
    pub fn wake(&self) {
        wake(&self.map);
    }

    /// Says that the writer lives, and whether since the last time frames came, or were dropped.
    pub fn beat(&mut self, now: UnixTime) {
        let header = self.map.header();
        let beat = &header.writer.0;
        let now = now.as_nanos() as u64;
        for ((counter, counted), when) in
            NOTED.into_iter().zip(&mut self.counted).zip([&beat.heard, &beat.dropped])
        {
            let sum = header.sum(counter);
            if sum != std::mem::replace(counted, sum) {
                when.store(now, Relaxed);
            }
        }
        beat.time.store(now, Relaxed);
    }

    /// Events published in this generation, so also the next event's number.
    pub fn published(&self) -> u64 {
        self.next
    }

    /// All interfaces' counters.
    pub fn counters(&self) -> Vec<InterfaceCounters> {
        self.map.header().counters()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.map.header().writer.0.pid.store(0, Relaxed);
        self.wake();
    }
}

/// Deletes a segment that has no writer. Readers that still map it notice and wait for a new one.
/// Root may delete those of others.
pub fn remove(name: &RingName) -> Result<(), CreateError> {
    let _lock = lock(name, geteuid().is_root())?;
    let done = match Map::open_writable(name, is_own) {
        Ok(map) => unlink(name).inspect(|()| retire(&map)),
        // Not marked as retired, for its owner could cut it short meanwhile: readers see by its name.
        Err(Unfit::Foreign(_)) if geteuid().is_root() => unlink(name),
        Err(Unfit::Foreign(user)) => Err(CreateError::ForeignOwner(name.clone(), user)),
        Err(Unfit::Version(_)) => unlink(name),
        Err(Unfit::NotARing) => Err(CreateError::NotARing(name.clone())),
        Err(Unfit::Io(error)) => Err(CreateError::Io("open", name.clone(), error)),
    };
    unlink(&name.unfinished())?;
    // Whoever opened the lock's file before this finds that it lost its name, and tries again.
    unlink(&name.lock()).and(done)
}

fn wake(map: &Map) {
    let word = &map.header().wake.0;
    word.store(word.load(Relaxed).wrapping_add(1), Release);
    // It can only fail for a bad address, which a mapped word is not.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

fn retire(map: &Map) {
    map.header().retired.store(1, Release);
    wake(map);
}

/// Takes the writer's lock; that of another user's segment only to remove it.
fn lock(name: &RingName, foreign: bool) -> Result<File, CreateError> {
    let lock = name.lock();
    let failed = |error: io::Error| CreateError::Io("lock", lock.clone(), error);
    loop {
        // In two steps: with O_CREAT alone the kernel refuses even root the files of others there
        // (fs.protected_regular), and we could not say whose it is.
        let file = match open(&lock, OFlags::RDWR) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                open(&lock, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
            }
            opened => opened,
        };
        let file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue, // just now
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                if let Ok(metadata) = fs::symlink_metadata(lock.path()) {
                    own(&metadata, &lock)?;
                }
                return Err(failed(error));
            }
            opened => opened.map_err(failed)?,
        };
        if !foreign {
            own(&file.metadata().map_err(failed)?, &lock)?;
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let map = Map::open_read_only(name, is_own).ok();
                let pid = map.map(|map| map.header().writer.0.pid.load(Relaxed));
                return Err(CreateError::Busy(name.clone(), pid.filter(|pid| *pid != 0)));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // `remove` may have deleted the file between our opening and locking it.
        if is_at(&file, &lock)? {
            return Ok(file);
        }
    }
}

/// Whether an open file still has its name.
fn is_at(file: &File, name: &RingName) -> Result<bool, CreateError> {
    let failed = |error| CreateError::Io("examine", name.clone(), error);
    match fs::symlink_metadata(name.path()) {
        Ok(current) => Ok(same_file(&current, &file.metadata().map_err(failed)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// `/dev/shm` is open to everybody: only what belongs to this process's user is used.
fn own(metadata: &fs::Metadata, name: &RingName) -> Result<(), CreateError> {
    match metadata.uid() {
        user if is_own(user) => Ok(()),
        user => Err(CreateError::ForeignOwner(name.clone(), user)),
    }
}

fn is_own(user: u32) -> bool {
    user == geteuid().as_raw()
}

/// The existing segment, if there is one whose layout is ours.
fn open_own(name: &RingName) -> Result<Option<Map>, CreateError> {
    match fs::symlink_metadata(name.path()) {
        Ok(metadata) => own(&metadata, name)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CreateError::Io("examine", name.clone(), error)),
    }
    match Map::open_writable(name, is_own) {
        Ok(map) => Ok(Some(map)),
        Err(Unfit::Foreign(user)) => Err(CreateError::ForeignOwner(name.clone(), user)),
        Err(Unfit::Version(_)) => Ok(None),
        Err(Unfit::NotARing) => Err(CreateError::NotARing(name.clone())),
        Err(Unfit::Io(error)) => Err(CreateError::Io("open", name.clone(), error)),
    }
}

/// Makes a segment under another name, fills it, and puts it in the old one's place: whoever opens
/// the name finds a whole segment at any moment, even if this process is killed in between.
fn replace(old: Option<&Map>, slots: u64, options: &WriterOptions) -> Result<Map, CreateError> {
    let name = &options.name;
    let unfinished = name.unfinished();
    let failed = |operation, error| CreateError::Io(operation, unfinished.clone(), error);
    let make = || {
        let map = Map::create(&unfinished, slots).map_err(|error| match error {
            Unfit::Io(error) => failed("create", error),
            Unfit::NotARing | Unfit::Version(_) | Unfit::Foreign(_) => {
                CreateError::NotARing(unfinished.clone())
            }
        })?;
        fill(&map, old, slots).map_err(|error| failed("fill", error))?;
        permit(&map, options)?;
        fs::rename(unfinished.path(), name.path()).map_err(|error| failed("rename", error))?;
        Ok(map)
    };
    let made = make();
    match (&made, old) {
        (Ok(_), Some(old)) => retire(old),
        (Ok(_), None) => {}
        (Err(_), _) => unlink(&unfinished)?,
    }
    made
}

fn fill(map: &Map, old: Option<&Map>, slots: u64) -> io::Result<()> {
    let header = map.header();
    header.magic.store(MAGIC, Relaxed);
    header.slots.store(slots, Relaxed);
    header.header_bytes.store(size_of_val(header) as u64, Relaxed);
    match old {
        None => {
            let mut generation = [0; 8];
            rustix::rand::getrandom(&mut generation, rustix::rand::GetRandomFlags::empty())?;
            header.generation.store(u64::from_ne_bytes(generation), Relaxed);
            header.created.store(UnixTime::now().as_nanos() as u64, Relaxed);
        }
        Some(old) => {
            let from = old.header();
            header.generation.store(from.generation.load(Relaxed), Relaxed);
            header.created.store(from.created.load(Relaxed), Relaxed);
            let (to, beat) = (&header.writer.0, &from.writer.0);
            to.heard.store(beat.heard.load(Relaxed), Relaxed);
            to.dropped.store(beat.dropped.load(Relaxed), Relaxed);
            for (to, from) in header.counters.iter().zip(&from.counters) {
                to.copy(from);
            }
            let events = old.ring();
            let first = events.oldest().max(events.head().saturating_sub(slots));
            header.first.store(first, Relaxed);
            header.head.0.store(first, Relaxed);
            let ring = map.ring();
            for n in first..events.head() {
                if let Found::Event(words) = events.read(n) {
                    ring.publish(n, &words);
                }
            }
        }
    }
    header.version.store(LAYOUT_VERSION, Release);
    Ok(())
}

/// 0640 and the group: members read, nobody but the owner writes. Set on the open file, since the
/// process's umask would narrow what is asked for at creation.
fn permit(map: &Map, options: &WriterOptions) -> Result<(), CreateError> {
    let name = || options.name.clone();
    if let Some(group) = options.group {
        fchown(map.file(), None, Some(group))
            .map_err(|error| CreateError::Group(name(), group, error))?;
    }
    map.file()
        .set_permissions(fs::Permissions::from_mode(0o640))
        .map_err(|error| CreateError::Io("set the mode of", name(), error))
}

fn unlink(name: &RingName) -> Result<(), CreateError> {
    match fs::remove_file(name.path()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CreateError::Io("delete", name.clone(), error))
        }
        _ => Ok(()),
    }
}
