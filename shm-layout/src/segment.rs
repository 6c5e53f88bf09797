//! Locking, creating, replacing and removing a segment: the file operations of the writing side.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    num::NonZeroU32,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::PathBuf,
    sync::atomic::Ordering::*,
};

use rustix::{fs::OFlags, process::geteuid, thread::futex};

use crate::{
    CreateError, RingName, UnixTime, WriterOptions,
    header::Header,
    map::{Map, Stream, Unfit, open, same_file},
    record::{EVENT_WORDS, NAME_WORDS, layout_version, magic},
    ring::SlotRead,
    wait::ALL_READERS,
};

/// Deletes a ring that has no writer, and the ring of names beside it. Readers that still map it notice, and wait for a new one.
/// Root may delete segments of other users.
pub fn remove(name: &RingName) -> Result<(), CreateError> {
    let events = remove_segment::<EVENT_WORDS>(name);
    if !matches!(events, Ok(()) | Err(CreateError::Missing)) {
        return events;
    }
    match remove_names(name) {
        Err(CreateError::Missing) => events,
        names => names,
    }
}

/// Deletes the ring of names beside a ring, if it has no writer.
pub fn remove_names(name: &RingName) -> Result<(), CreateError> {
    remove_segment::<NAME_WORDS>(&name.names())
}

fn remove_segment<const N: usize>(name: &RingName) -> Result<(), CreateError> {
    let _lock = lock::<N>(name, geteuid().is_root())?;
    let done = match Map::<N>::open_writable(name, is_own) {
        Ok(map) => unlink(name).inspect(|()| retire(&map)),
        // Not marked as retired, because its owner could truncate it meanwhile: readers notice by its name.
        Err(Unfit::Foreign(_)) if geteuid().is_root() => unlink(name),
        Err(Unfit::Version(_) | Unfit::Cut(_)) => unlink(name),
        Err(Unfit::Io(error)) if error.kind() == ErrorKind::NotFound => Err(CreateError::Missing),
        Err(unfit) => Err(create_error("open", name, unfit)),
    };
    unlink(&name.unfinished())?;
    // A writer that opened the lock file before this finds that it has lost its name, and tries again.
    unlink(&name.lock()).and(done)
}

/// Why a writer of this user could not begin to write to a ring now. Nothing is created or changed.
pub fn examine(name: &RingName) -> Result<(), CreateError> {
    examine_segment::<EVENT_WORDS>(name)
}

/// The same for the ring of names beside it.
pub fn examine_names(name: &RingName) -> Result<(), CreateError> {
    examine_segment::<NAME_WORDS>(&name.names())
}

fn examine_segment<const N: usize>(name: &RingName) -> Result<(), CreateError> {
    for one in [name.lock(), name.unfinished(), name.clone()] {
        match fs::symlink_metadata(one.path()) {
            Ok(file) => check_owner(&file, &one)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(CreateError::Io("examine", one, error)),
        }
    }
    lock_of::<N>(name, is_own)?;
    match Map::<N>::open_writable(name, is_own) {
        Ok(_) | Err(Unfit::Version(_) | Unfit::Cut(_)) => Ok(()),
        Err(Unfit::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(unfit) => Err(create_error("open", name, unfit)),
    }
}

/// As root, before privileges are dropped: removes files of users other than root and `user` from a ring's
/// names, and puts empty ones of `user` in their place. Any user can create files in `/dev/shm`, and must not prevent
/// the writer from starting. The ring of a writer that runs as one of the `trusted` users is not touched. Returns what was
/// removed, with its owner.
pub fn claim(
    name: &RingName,
    user: u32,
    group: u32,
    trusted: &[u32],
) -> Result<Vec<(PathBuf, u32)>, CreateError> {
    claim_segment::<EVENT_WORDS>(name, user, group, trusted)
}

/// The same for the ring of names beside it.
pub fn claim_names(
    name: &RingName,
    user: u32,
    group: u32,
    trusted: &[u32],
) -> Result<Vec<(PathBuf, u32)>, CreateError> {
    claim_segment::<NAME_WORDS>(&name.names(), user, group, trusted)
}

fn claim_segment<const N: usize>(
    name: &RingName,
    user: u32,
    group: u32,
    trusted: &[u32],
) -> Result<Vec<(PathBuf, u32)>, CreateError> {
    let is_other = |owner| trusted.contains(&owner) && ![0, user].contains(&owner);
    let _lock = lock_of::<N>(name, is_other)?;
    let mut removed = Vec::new();
    // An empty file with this mode is a ring without a header: the writer replaces it.
    let names =
        [(name.lock(), Some(0o600)), (name.unfinished(), None), (name.clone(), Some(0o640))];
    for (one, reserve) in names {
        let failed = |error| CreateError::Io("reserve", one.clone(), error);
        // Again and again, because that user may create it again at this moment.
        for _ in 0..1000 {
            match fs::symlink_metadata(one.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(failed(error)),
                Ok(file) if [0, user].contains(&file.uid()) => break,
                Ok(file) => {
                    remove_any(&one, &file).map_err(failed)?;
                    removed.push((one.path(), file.uid()));
                }
            }
            let Some(mode) = reserve else { continue };
            match open(&one, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                file => {
                    let file = file.map_err(failed)?;
                    fchown(&file, Some(user), Some(group)).map_err(failed)?;
                    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(failed)?;
                }
            }
        }
    }
    removed.dedup();
    Ok(removed)
}

/// The lock of one of these users, if it exists, so that no writer of that user starts meanwhile; an error if one runs.
fn lock_of<const N: usize>(
    name: &RingName,
    is: impl Fn(u32) -> bool,
) -> Result<Option<File>, CreateError> {
    let lock = name.lock();
    let failed = |error| CreateError::Io("lock", lock.clone(), error);
    let owned = |file: &fs::Metadata| file.is_file() && is(file.uid());
    if !fs::symlink_metadata(lock.path()).is_ok_and(|file| owned(&file)) {
        return Ok(None);
    }
    let file = match open(&lock, OFlags::RDONLY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    if !owned(&file.metadata().map_err(failed)?) {
        return Ok(None); // another file meanwhile
    }
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(CreateError::Busy(writer_of::<N>(name, is))),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The process that writes to a ring of one of these users.
fn writer_of<const N: usize>(name: &RingName, is: impl Fn(u32) -> bool) -> Option<u64> {
    let map = Map::<N>::open_read_only(name, is).ok()?;
    Some(map.header().writer.0.pid.load(Relaxed)).filter(|pid| *pid != 0)
}

/// Removes a file, link or directory; a directory, which may have any contents, gets another name.
fn remove_any(name: &RingName, file: &fs::Metadata) -> io::Result<()> {
    let path = name.path();
    let done = match file.is_dir() {
        true => fs::rename(&path, path.with_added_extension(format!("removed.{}", file.ino()))),
        false => fs::remove_file(&path),
    };
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Wakes waiting readers: those that wait with one of these bits.
pub(crate) fn wake<const N: usize>(map: &Map<N>, readers: NonZeroU32) {
    let word = &map.header().wake.0;
    word.store(word.load(Relaxed).wrapping_add(1), Release);
    // It fails only for an unmapped address.
    let _ = futex::wake_bitset(word, futex::Flags::empty(), i32::MAX as u32, readers);
}

fn retire<const N: usize>(map: &Map<N>) {
    map.header().retired.store(1, Release);
    wake(map, ALL_READERS);
}

/// Takes the writer's lock. `foreign`: it may belong to another user, whose segment is to be removed.
pub(crate) fn lock<const N: usize>(name: &RingName, foreign: bool) -> Result<File, CreateError> {
    let lock = name.lock();
    let failed = |error: io::Error| CreateError::Io("lock", lock.clone(), error);
    loop {
        // In two steps: with O_CREAT the kernel refuses other users' files there even to root
        // (fs.protected_regular), and the error could not name the owner.
        let file = match open(&lock, OFlags::RDWR) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                open(&lock, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)
            }
            opened => opened,
        };
        let file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue, // created meanwhile
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                if let Ok(metadata) = fs::symlink_metadata(lock.path()) {
                    check_owner(&metadata, &lock)?;
                }
                return Err(failed(error));
            }
            opened => opened.map_err(failed)?,
        };
        if !foreign {
            check_owner(&file.metadata().map_err(failed)?, &lock)?;
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CreateError::Busy(writer_of::<N>(name, is_own)));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // `remove` may have deleted the file after it was opened here and before it was locked.
        if is_at(&file, &lock)? {
            return Ok(file);
        }
    }
}

/// Whether an open file still has its name.
pub(crate) fn is_at(file: &File, name: &RingName) -> Result<bool, CreateError> {
    let failed = |error| CreateError::Io("examine", name.clone(), error);
    match fs::symlink_metadata(name.path()) {
        Ok(current) => Ok(same_file(&current, &file.metadata().map_err(failed)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Any user can create files in `/dev/shm`: only those of this process's user are used.
fn check_owner(metadata: &fs::Metadata, name: &RingName) -> Result<(), CreateError> {
    match metadata.uid() {
        user if is_own(user) => Ok(()),
        user => Err(CreateError::ForeignOwner(name.clone(), user)),
    }
}

fn is_own(user: u32) -> bool {
    user == geteuid().as_raw()
}

/// What a new segment continues.
#[derive(Debug)]
pub(crate) enum Old<'a, const N: usize> {
    /// Nothing: a new generation.
    Nothing,
    /// A segment, with its counters and as many of its events as fit.
    Segment(&'a Map<N>),
    /// The numbers of a segment that was truncated, and what is left of it if the writer still has it. Its counters may be
    /// gone in part, and begin again.
    Numbers(Stream, Option<&'a Map<N>>),
}

/// The existing segment, or what is left of one, if it has this layout version.
pub(crate) fn open_own<const N: usize>(
    name: &RingName,
) -> Result<(Option<Map<N>>, Option<Stream>), CreateError> {
    match fs::symlink_metadata(name.path()) {
        Ok(metadata) => check_owner(&metadata, name)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((None, None)),
        Err(error) => return Err(CreateError::Io("examine", name.clone(), error)),
    }
    match Map::open_writable(name, is_own) {
        Ok(map) => Ok((Some(map), None)),
        Err(Unfit::Version(_)) => Ok((None, None)),
        Err(Unfit::Cut(stream)) => Ok((None, stream)),
        Err(unfit) => Err(create_error("open", name, unfit)),
    }
}

fn create_error(operation: &'static str, name: &RingName, unfit: Unfit) -> CreateError {
    match unfit {
        Unfit::Io(error) => CreateError::Io(operation, name.clone(), error),
        Unfit::Foreign(user) => CreateError::ForeignOwner(name.clone(), user),
        Unfit::NotARing | Unfit::Version(_) | Unfit::Cut(_) => CreateError::NotARing(name.clone()),
    }
}

/// Creates a segment under a temporary name, fills it, and renames it over the old one: a process that
/// opens the name finds a complete segment at any moment, even if this one is killed meanwhile.
pub(crate) fn replace<const N: usize>(
    old: Old<N>,
    slots: u64,
    options: &WriterOptions,
) -> Result<Map<N>, CreateError> {
    let name = &options.name;
    let unfinished = name.unfinished();
    let failed = |operation, error| CreateError::Io(operation, unfinished.clone(), error);
    let create = || {
        let map = Map::create(&unfinished, slots)
            .map_err(|unfit| create_error("create", &unfinished, unfit))?;
        fill(&map, &old, slots).map_err(|error| failed("fill", error))?;
        set_permissions(&map, options)?;
        fs::rename(unfinished.path(), name.path()).map_err(|error| failed("rename", error))?;
        Ok(map)
    };
    let created = create();
    match (&created, old) {
        (Ok(_), Old::Segment(old) | Old::Numbers(_, Some(old))) => retire(old),
        (Ok(_), _) => {}
        (Err(_), _) => unlink(&unfinished)?,
    }
    created
}

fn fill<const N: usize>(map: &Map<N>, old: &Old<N>, slots: u64) -> io::Result<()> {
    let header = map.header();
    header.magic.store(magic(N), Relaxed);
    header.slots.store(slots, Relaxed);
    header.header_bytes.store(size_of_val(header) as u64, Relaxed);
    let begin = |stream: Stream| {
        header.generation.store(stream.generation, Relaxed);
        header.cuts.number.store(stream.cuts, Relaxed);
        header.created.store(stream.created, Relaxed);
        header.first.store(stream.next, Relaxed);
        header.head.0.store(stream.next, Relaxed);
    };
    match *old {
        Old::Nothing => {
            let mut generation = [0; 8];
            rustix::rand::getrandom(&mut generation, rustix::rand::GetRandomFlags::empty())?;
            let generation = u64::from_ne_bytes(generation);
            let created = UnixTime::now().as_nanos() as u64;
            begin(Stream { generation, created, next: 0, cuts: 0 });
        }
        Old::Numbers(stream, old) => {
            begin(stream);
            header.cuts.number.store(stream.cuts.saturating_add(1), Relaxed);
            header.cuts.last.store(UnixTime::now().as_nanos() as u64, Relaxed);
            header.cuts.next.store(stream.next, Relaxed);
            old.inspect(|old| copy_times(header, old.header()));
        }
        Old::Segment(old) => {
            let (from, events) = (old.header(), old.ring());
            let next = events.oldest().max(events.head().saturating_sub(slots));
            let (generation, created) = (&from.generation, &from.created);
            let (generation, created) = (generation.load(Relaxed), created.load(Relaxed));
            begin(Stream { generation, created, next, cuts: from.cuts.number.load(Relaxed) });
            copy_counters(header, from);
            let ring = map.ring();
            for n in next..events.head() {
                if let SlotRead::Event(words) = events.read(n) {
                    ring.publish(n, &words);
                }
            }
            // Also after events whose slots a truncation had emptied: their numbers are not given again.
            header.head.0.store(events.head(), Relaxed);
        }
    }
    header.version.store(layout_version(N), Release);
    Ok(())
}

fn copy_times(header: &Header, from: &Header) {
    let (to, beat) = (&header.writer.0, &from.writer.0);
    to.last_frame.store(beat.last_frame.load(Relaxed), Relaxed);
    to.last_drop.store(beat.last_drop.load(Relaxed), Relaxed);
    to.time.store(beat.time.load(Relaxed), Relaxed); // until the first heartbeat
    let since_boot = &from.since_boot;
    let [nanos, boot, time] =
        [&since_boot.nanos, &since_boot.boot, &since_boot.witness].map(|word| word.load(Relaxed));
    header.since_boot.store(nanos, boot, time);
    for (to, from) in header.gap.iter().zip(&from.gap) {
        to.store(from.load(Relaxed), Relaxed);
    }
}

fn copy_counters(header: &Header, from: &Header) {
    copy_times(header, from);
    header.cuts.last.store(from.cuts.last.load(Relaxed), Relaxed);
    header.cuts.next.store(from.cuts.next.load(Relaxed), Relaxed);
    for (to, from) in header.counters.iter().zip(&from.counters) {
        to.copy_from(from);
    }
    let last = header.last_frames.iter().chain(&header.broadcasts);
    for (to, from) in last.zip(from.last_frames.iter().chain(&from.broadcasts)) {
        to.store(from.load(Relaxed), Relaxed);
    }
}

/// Sets mode 0640 and the group: its members may read, only the owner may write. Set on the open file,
/// because the process's umask limits the mode at creation.
pub(crate) fn set_permissions<const N: usize>(
    map: &Map<N>,
    options: &WriterOptions,
) -> Result<(), CreateError> {
    let name = || options.name.clone();
    if let Some(group) = options.group {
        fchown(map.file(), None, Some(group)).map_err(|error| CreateError::Group(group, error))?;
    }
    map.file()
        .set_permissions(fs::Permissions::from_mode(0o640))
        .map_err(|error| CreateError::Io("set mode of", name(), error))
}

pub(crate) fn unlink(name: &RingName) -> Result<(), CreateError> {
    match fs::remove_file(name.path()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CreateError::Io("delete", name.clone(), error))
        }
        _ => Ok(()),
    }
}
