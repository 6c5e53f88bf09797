//! Creating, opening and mapping a segment: the only unsafe code of the system except the call in
//! `aw-service` that forks.
//!
//! Any user can create files in `/dev/shm`, so no file there is trusted: a segment's owner, size and
//! header are checked before it is used, and links are not followed. All memory is reserved when a
//! segment is created: otherwise a full tmpfs would end the process later (SIGBUS) instead of failing
//! here.
#![allow(unsafe_code)]

use std::{
    fs::{File, Metadata},
    io,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt,
    ptr::NonNull,
    slice,
    sync::atomic::{Ordering::*, fence},
};

use rustix::{
    fs::{FallocateFlags, Mode, OFlags, fallocate},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use crate::{
    header::{Header, LAYOUT_VERSION, MAGIC},
    ring::{LAST, Ring, Slot},
    ring_name::RingName,
};

/// Largest ring: 2^28 slots, 16 GiB.
pub(crate) const MAX_SLOTS: u64 = 1 << 28;

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
}

impl From<io::Error> for Unfit {
    fn from(error: io::Error) -> Self {
        Unfit::Io(error)
    }
}

/// A mapped segment. Its header and slots stay in place until it is dropped: only the segment's owner can
/// truncate the file, and the owner's program never does.
#[derive(Debug)]
pub(crate) struct Map {
    header: NonNull<Header>,
    bytes: usize,
    slots: usize,
    /// The open file: its identity, and its permissions for the writer.
    file: File,
}

// SAFETY: the pointer leads to a shared mapping that this value owns until it is dropped, and
// everything in the mapping is an atomic.
unsafe impl Send for Map {}
// SAFETY: as for Send; `&Map` gives out only `&Header` and `&[Slot]`, which are made of atomics.
unsafe impl Sync for Map {}

impl Map {
    /// Opens a segment for reading; the kernel refuses any store through this mapping. The owner could
    /// truncate the file while it is mapped, and must be trusted.
    pub fn open_read_only(name: &RingName, trusted: impl Fn(u32) -> bool) -> Result<Map, Unfit> {
        Map::open(name, OFlags::RDONLY, ProtFlags::READ, trusted)
    }

    /// Opens an existing segment for its writer.
    pub fn open_writable(name: &RingName, trusted: impl Fn(u32) -> bool) -> Result<Map, Unfit> {
        Map::open(name, OFlags::RDWR, ProtFlags::READ | ProtFlags::WRITE, trusted)
    }

    fn open(
        name: &RingName,
        flags: OFlags,
        access: ProtFlags,
        trusted: impl Fn(u32) -> bool,
    ) -> Result<Map, Unfit> {
        let file = open(name, flags)?;
        let metadata = file.metadata()?;
        if !trusted(metadata.uid()) {
            return Err(Unfit::Foreign(metadata.uid()));
        }
        let length = metadata.len();
        if !metadata.is_file() || length < size_of::<Header>() as u64 {
            return Err(Unfit::NotARing);
        }
        let mut map = Map::of(file, length, access)?;
        let header = map.header();
        if header.magic.load(Relaxed) != MAGIC {
            return Err(Unfit::NotARing);
        }
        let version = header.version.load(Relaxed);
        fence(Acquire); // pairs with the release in `segment::fill`
        match version {
            LAYOUT_VERSION => {}
            other => return Err(Unfit::Version(other)),
        }
        let slots = header.slots.load(Relaxed);
        let fits = slots.is_power_of_two()
            && slots <= MAX_SLOTS
            && header.header_bytes.load(Relaxed) == size_of::<Header>() as u64
            && length == size_for(slots)
            && (header.first.load(Relaxed)..=LAST).contains(&header.head.0.load(Relaxed));
        if !fits {
            return Err(Unfit::NotARing);
        }
        map.slots = slots as usize;
        Ok(map)
    }

    /// Creates a segment with all its memory reserved, mode 0600. Its name must be free.
    pub fn create(name: &RingName, slots: u64) -> Result<Map, Unfit> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        let file = open(name, flags)?;
        let length = size_for(slots);
        fallocate(&file, FallocateFlags::empty(), 0, length).map_err(io::Error::from)?;
        let mut map = Map::of(file, length, ProtFlags::READ | ProtFlags::WRITE)?;
        map.slots = slots as usize;
        Ok(map)
    }

    /// `length` is the file's size, and at least the header's.
    fn of(file: File, length: u64, access: ProtFlags) -> Result<Map, Unfit> {
        let bytes =
            usize::try_from(length).ok().and_then(NonZeroUsize::new).ok_or(Unfit::NotARing)?;
        // SAFETY: the kernel chooses an address that is free, and the length is not zero. The
        // mapping is shared with other processes, which is why everything in it is an atomic.
        let address =
            unsafe { mmap(std::ptr::null_mut(), bytes.get(), access, MapFlags::SHARED, &file, 0) };
        let address = address.map_err(io::Error::from)?;
        let header = NonNull::new(address.cast()).ok_or(Unfit::NotARing)?;
        Ok(Map { header, bytes: bytes.get(), slots: 0, file })
    }

    pub fn header(&self) -> &Header {
        // SAFETY: the mapping is at least a header long (checked by `open`, given by `create`), is
        // page-aligned as Header asks, lives as long as self, and Header is made of atomics, for
        // which every bit pattern is valid; they are only loaded where the mapping is read-only.
        unsafe { self.header.as_ref() }
    }

    pub fn ring(&self) -> Ring<'_> {
        // SAFETY: `open` and `create` set `slots` only where the file, and so the mapping, is
        // header + slots long; the slots follow the header, whose size is a multiple of their
        // alignment. The rest is as in `header`.
        let slots = unsafe {
            slice::from_raw_parts(self.header.add(1).cast::<Slot>().as_ptr(), self.slots)
        };
        let header = self.header();
        Ring::new(slots, &header.head.0, header.first.load(Relaxed))
    }

    pub fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `mmap` gave, and every reference into it borrowed self.
        let unmapped = unsafe { munmap(self.header.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Opens a name in `/dev/shm` as shm_open(3) does, without following links: `rustix::shm::open` of 1.1
/// follows them. If a user put a FIFO there, it does not wait for the FIFO's other end. Only the owner
/// can open a new file.
pub(crate) fn open(name: &RingName, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(name.path(), flags, Mode::RUSR | Mode::WUSR)?.into())
}

fn size_for(slots: u64) -> u64 {
    size_of::<Header>() as u64 + slots * size_of::<Slot>() as u64
}

/// Whether both are the same file.
pub(crate) fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
