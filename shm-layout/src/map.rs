//! Creating, opening and mapping a segment: the only unsafe code of the system except the call in
//! `aw-service` that forks.
//!
//! Any user can create files in `/dev/shm`, so no file there is trusted: a segment's owner, size and
//! header are checked before it is used, and links are not followed. All memory is reserved when a
//! segment is created, so that a full tmpfs is an error here.
//!
//! A process of the owner can truncate the file while it is mapped. A load or store behind its new end
//! raises SIGBUS, which would end the process. A handler maps zero pages there instead: an
//! event in a slot of zeros is lost, and [`Map::is_cut`] reports it.
#![allow(unsafe_code)]

use std::{
    fs::{File, Metadata},
    io,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    ptr::NonNull,
    slice,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::*, fence},
    },
};

use rustix::{
    fs::{FallocateFlags, Mode, OFlags, StatFs, fallocate, fstatfs, statfs},
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
};

use crate::{
    header::Header,
    record::{layout_version, magic},
    ring::{LAST, Ring, Slot},
    ring_name::RingName,
};

/// Largest ring: 2^28 slots, 16 GiB of events.
pub(crate) const MAX_SLOTS: u64 = 1 << 28;

/// Bytes of a segment up to which its writer maps all pages at once; that takes a millisecond for 4 MiB.
const POPULATED: u64 = 64 << 20;

/// Whether rings are in a tmpfs.
static IN_MEMORY: OnceLock<bool> = OnceLock::new();

/// Examines which file system rings are in, so that a writer need not call statfs(2) when its system calls are restricted.
pub fn examine_file_system() {
    IN_MEMORY.get_or_init(|| is_tmpfs(statfs("/dev/shm")));
}

fn is_tmpfs(found: Result<StatFs, Errno>) -> bool {
    found.is_ok_and(|system| i128::from(system.f_type) == i128::from(libc::TMPFS_MAGIC))
}

/// Why a file cannot be used as a ring.
#[derive(Debug)]
pub(crate) enum Unfit {
    Io(io::Error),
    /// Not a segment of this program.
    NotARing,
    /// A segment of another layout version.
    Version(u64),
    /// It belongs to this user, who is not trusted.
    Foreign(u32),
    /// A segment that was truncated; the stream that it held, if its header is still there.
    Cut(Option<Stream>),
}

/// A stream of events: what a segment without its predecessor's slots needs to continue it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    pub generation: u64,
    /// When it began.
    pub created: u64,
    /// The number of the next event.
    pub next: u64,
    /// How often its file was truncated.
    pub cuts: u64,
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Unfit::Io(error)
    }
}

/// A mapped segment, whose slots have `N` words. Its header and slots stay in place until it is dropped: where a process of the owner
/// truncates the file, they become zeros.
#[derive(Debug)]
pub(crate) struct Map<const N: usize> {
    entry: &'static Mapping,
    header: NonNull<Header>,
    bytes: usize,
    slots: usize,
    /// The open file: its identity, and its permissions for the writer.
    file: File,
}

// SAFETY: the pointer leads to a shared mapping that this value owns until it is dropped, and
// everything in the mapping is an atomic.
unsafe impl<const N: usize> Send for Map<N> {}
// SAFETY: as for Send; `&Map` gives out only `&Header` and `&[Slot<N>]`, which are made of atomics.
unsafe impl<const N: usize> Sync for Map<N> {}

impl<const N: usize> Map<N> {
    /// Opens a segment for reading; the kernel refuses any store through this mapping.
    pub fn open_read_only(name: &RingName, trusted: impl Fn(u32) -> bool) -> Result<Map<N>, Unfit> {
        Map::open(name, OFlags::RDONLY, ProtFlags::READ, trusted)
    }

    /// Opens an existing segment for its writer.
    pub fn open_writable(name: &RingName, trusted: impl Fn(u32) -> bool) -> Result<Map<N>, Unfit> {
        Map::open(name, OFlags::RDWR, ProtFlags::READ | ProtFlags::WRITE, trusted)
    }

    fn open(
        name: &RingName,
        flags: OFlags,
        access: ProtFlags,
        trusted: impl Fn(u32) -> bool,
    ) -> Result<Map<N>, Unfit> {
        let file = open(name, flags)?;
        let metadata = file.metadata()?;
        if !trusted(metadata.uid()) {
            return Err(Unfit::Foreign(metadata.uid()));
        }
        let length = metadata.len();
        if !metadata.is_file() {
            return Err(Unfit::NotARing);
        }
        if length < size_of::<Header>() as u64 {
            return Err(if was_a_ring(&file, &metadata, magic(N)) {
                Unfit::Cut(None)
            } else {
                Unfit::NotARing
            });
        }
        let mut map = Map::of(file, length, access)?;
        let header = map.header();
        if header.magic.load(Relaxed) != magic(N) {
            return Err(Unfit::NotARing);
        }
        let version = header.version.load(Relaxed);
        fence(Acquire); // pairs with the release in `segment::fill`
        if version != layout_version(N) {
            return Err(Unfit::Version(version));
        }
        let slots = header.slots.load(Relaxed);
        let next = header.head.0.load(Relaxed);
        let fits = slots.is_power_of_two()
            && slots <= MAX_SLOTS
            && header.header_bytes.load(Relaxed) == size_of::<Header>() as u64
            && length <= size_for(slots, N)
            && (header.first.load(Relaxed)..=LAST).contains(&next);
        if !fits {
            return Err(Unfit::NotARing);
        }
        if length < size_for(slots, N) {
            let generation = header.generation.load(Relaxed);
            let created = header.created.load(Relaxed);
            let cuts = header.cuts.number.load(Relaxed);
            return Err(Unfit::Cut(Some(Stream { generation, created, next, cuts })));
        }
        map.slots = slots as usize;
        Ok(map)
    }

    /// Creates a segment with all its memory reserved, mode 0600. Its name must be free.
    pub fn create(name: &RingName, slots: u64) -> Result<Map<N>, Unfit> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open(name, flags)?;
        let length = size_for(slots, N);
        fallocate(&file, FallocateFlags::empty(), 0, length).map_err(io::Error::from)?;
        let mut map = Map::of(file, length, ProtFlags::READ | ProtFlags::WRITE)?;
        map.slots = slots as usize;
        Ok(map)
    }

    /// `length` is the file's size, and at least the header's.
    fn of(file: File, length: u64, access: ProtFlags) -> Result<Map<N>, Unfit> {
        let bytes =
            usize::try_from(length).ok().and_then(NonZeroUsize::new).ok_or(Unfit::NotARing)?;
        let entry = Mapping::claim()?;
        // A writer of a ring of usual size meets no page for the first time while it publishes.
        let flags = match access.contains(ProtFlags::WRITE) && length <= POPULATED {
            true => MapFlags::SHARED | MapFlags::POPULATE,
            false => MapFlags::SHARED,
        };
        // SAFETY: the kernel chooses an address that is free, and the length is not zero. The
        // mapping is shared with other processes, which is why everything in it is an atomic.
        let address = unsafe { mmap(std::ptr::null_mut(), bytes.get(), access, flags, &file, 0) };
        let address = address.inspect_err(|_| entry.release()).map_err(io::Error::from)?;
        entry.set(address as usize, bytes.get(), access.contains(ProtFlags::WRITE));
        let header = NonNull::new(address.cast()).ok_or(Unfit::NotARing)?;
        Ok(Map { entry, header, bytes: bytes.get(), slots: 0, file })
    }

    /// Whether the file was truncated or emptied below this mapping, as far as loads and stores have met
    /// that: it calls no file system.
    pub fn is_cut(&self) -> bool {
        // The load meets it where the header is gone, and finds zeros where the file grew again.
        let found = self.header().magic.load(Relaxed);
        found != magic(N) || self.entry.cut.load(Relaxed)
    }

    /// The same, also for what no load or store has met yet.
    pub fn is_cut_anywhere(&self) -> bool {
        self.is_cut() || self.file.metadata().is_ok_and(|file| file.len() < self.bytes as u64)
    }

    /// Blocks of 512 bytes that the file has. All are reserved when it is created; only a truncation takes some away.
    pub fn blocks(&self) -> u64 {
        self.file.metadata().map_or(u64::MAX, |file| file.blocks())
    }

    /// Whether the file is in a tmpfs, which gives each page its blocks and takes them only in a truncation. Others compress
    /// pages, do without those of zeros, or count later.
    pub fn is_in_memory(&self) -> bool {
        *IN_MEMORY.get_or_init(|| is_tmpfs(fstatfs(&self.file)))
    }

    /// Whether the file has fewer blocks than bytes, because it was truncated and has grown again, or was given a hole.
    pub fn has_holes(&self) -> bool {
        self.blocks().saturating_mul(512) < self.bytes as u64
    }

    /// Reserves the memory that is missing.
    pub fn fill_holes(&self) -> io::Result<()> {
        Ok(fallocate(&self.file, FallocateFlags::empty(), 0, self.bytes as u64)?)
    }

    pub fn header(&self) -> &Header {
        // SAFETY: the mapping is at least a header long (checked by `open`, given by `create`), is
        // page-aligned as Header asks, lives as long as self, and Header is made of atomics, for
        // which every bit pattern is valid; they are only loaded where the mapping is read-only.
        unsafe { self.header.as_ref() }
    }

    pub fn ring(&self) -> Ring<'_, N> {
        // SAFETY: `open` and `create` set `slots` only where the file, and so the mapping, is
        // header + slots long; the slots follow the header, whose size is a multiple of their
        // alignment. The rest is as in `header`.
        let slots = unsafe {
            slice::from_raw_parts(self.header.add(1).cast::<Slot<N>>().as_ptr(), self.slots)
        };
        let header = self.header();
        Ring::new(slots, &header.head.0, header.first.load(Relaxed))
    }

    pub fn file(&self) -> &File {
        &self.file
    }
}

impl<const N: usize> Drop for Map<N> {
    fn drop(&mut self) {
        // Before the range is free: from now on the handler maps nothing there. It maps nothing there at
        // this moment either, because a fault needs a reference into the range.
        self.entry.release();
        // SAFETY: the range is the one that `mmap` gave, and every reference into it borrowed self.
        let unmapped = unsafe { munmap(self.header.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// A mapping as the handler of SIGBUS sees it.
#[derive(Debug)]
struct Mapping {
    /// The address; 0 = this entry is free, 1 = it is being set.
    start: AtomicUsize,
    end: AtomicUsize,
    writable: AtomicBool,
    /// The handler has replaced pages.
    cut: AtomicBool,
}

/// More mappings than any program has at a time.
static MAPPINGS: [Mapping; 256] = [const {
    Mapping {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        writable: AtomicBool::new(false),
        cut: AtomicBool::new(false),
    }
}; 256];
/// The size of a page, which the handler cannot query.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

impl Mapping {
    /// A free entry. The first one installs the handler.
    fn claim() -> Result<&'static Mapping, io::Error> {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        if !INSTALLED.get_or_init(install_handler) {
            return Err(Errno::INVAL.into());
        }
        let free = |one: &&Mapping| one.start.compare_exchange(0, 1, AcqRel, Relaxed).is_ok();
        MAPPINGS.iter().find(free).ok_or(Errno::NOMEM.into())
    }

    fn set(&self, start: usize, bytes: usize, writable: bool) {
        // A handler in another thread that loads one of these finds afterwards that `start` has changed.
        fence(Release);
        self.cut.store(false, Relaxed);
        self.writable.store(writable, Relaxed);
        self.end.store(start + bytes, Relaxed);
        self.start.store(start, Release); // the entry counts from now on
    }

    fn release(&self) {
        self.start.store(0, Release);
    }

    /// If a fault at this address lies in this mapping, maps zero pages from there to its end. Called by
    /// the handler: only atomics and one system call, no lock, no memory, no panic.
    fn replace(&self, address: usize) -> bool {
        let (start, end) = (self.start.load(Acquire), self.end.load(Relaxed));
        fence(Acquire); // another thread may give this entry to another mapping at this moment
        let same = self.start.load(Relaxed) == start;
        if start <= 1 || !same || address < start || address >= end {
            return false;
        }
        let page = PAGE.load(Relaxed);
        let from = address & !page.wrapping_sub(1);
        let access = match self.writable.load(Relaxed) {
            true => ProtFlags::READ | ProtFlags::WRITE,
            false => ProtFlags::READ,
        };
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        self.cut.store(true, Relaxed);
        // SAFETY: the range lies in a mapping that exists, because the thread that faulted holds a
        // reference into it. All references into it are to atomics, for which zeros are valid, and which
        // other processes may change at any time.
        unsafe { mmap_anonymous(from as *mut _, end.wrapping_sub(from), access, flags) }.is_ok()
    }
}

fn install_handler() -> bool {
    // Not rustix's page_size: it asks the kernel, and the sandbox may forbid that.
    // SAFETY: sysconf has no conditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(4096), Relaxed);
    // SAFETY: all zeros are a valid sigaction: no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_bus_error as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the action is valid, and its handler is safe at any moment: see `Mapping::replace`.
    unsafe { libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) == 0 }
}

/// SIGBUS. A fault in a mapping is mended, and the load or store is repeated when this returns. Any other
/// SIGBUS ends the process, as without a handler.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid pointer (SA_SIGINFO); the address is set for SIGBUS.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    if code == libc::BUS_ADRERR && MAPPINGS.iter().any(|mapping| mapping.replace(address)) {
        return;
    }
    // SAFETY: both may be called in a handler (signal-safety(7)). The signal is blocked until the return.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Whether a file shorter than a header was a ring: it still begins like one, or it is empty and has the
/// mode that only `segment::set_permissions` gives.
fn was_a_ring(file: &File, metadata: &Metadata, magic: u64) -> bool {
    let mut found = [0; 8];
    match rustix::io::pread(file, &mut found, 0) {
        Ok(0) => metadata.len() == 0 && metadata.mode() & 0o7777 == 0o640,
        Ok(8) => u64::from_ne_bytes(found) == magic,
        _ => false,
    }
}

/// Opens a name in `/dev/shm` as shm_open(3) does, without following links: `rustix::shm::open` of 1.1
/// follows them. If a user put a FIFO there, it does not wait for the FIFO's other end. Only the owner
/// can open a new file.
pub(crate) fn open(name: &RingName, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name.path(), flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Bytes of a segment with slots of this number of words.
fn size_for(slots: u64, words: usize) -> u64 {
    size_of::<Header>() as u64 + slots * (size_of::<u64>() * (words + 1)) as u64
}

/// Whether both are the same file.
pub(crate) fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
