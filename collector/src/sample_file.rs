//! `--snap-malformed`: samples of refused frames in a pcap file, to examine with tcpdump or Wireshark.
//!
//! A flood of such frames must use up neither the disk nor the CPU: the frames of each reason and minute,
//! the bytes of each frame and the bytes in total are limited. The file is written here and not by libpcap,
//! which opens files by name: this one was opened and checked before privileges were dropped.

use std::{
    fs::{File, Permissions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::{Identity, explain, is_at, open_own};
use rustix::{
    fs::{FallocateFlags, fallocate},
    io::Errno,
};
use shm_layout::Counter;

use crate::{
    Error, failed,
    link::{Frame, LinkType},
    warn,
};

/// Frames stored of each reason in a minute.
const FRAMES_A_MINUTE: u8 = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// Bytes stored of a frame: all headers that are checked, and more.
const FRAME_BYTES: usize = 1024;
/// Bytes of the whole file.
const FILE_BYTES: u64 = 16 << 20;

/// The file, opened but not yet begun.
pub struct OpenedFile {
    path: PathBuf,
    file: File,
}

/// Opens the file. It will belong to `owner`, the user that the collector becomes.
pub fn open(path: &Path, owner: Option<&Identity>) -> Result<OpenedFile, Error> {
    let path = std::path::absolute(path)
        .map_err(|error| Error::io(format_args!("resolve path {}", path.display()), error))?;
    let file = open_own(&path, 0o600, owner.map(|owner| owner.user))?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.user.as_raw()), Some(owner.group.as_raw())).map_err(|error| {
            Error::io(format_args!("change owner of {}", path.display()), error)
        })?;
    }
    Ok(OpenedFile { path, file })
}

/// The file, and what was written to it.
pub struct SampleFile {
    path: PathBuf,
    link: LinkType,
    file: File,
    written: u64,
    /// It is full, or could not be written to, which was logged.
    closed: bool,
    /// Frames stored in this minute, by reason.
    stored: [u8; Counter::ALL.len()],
    since: Instant,
}

impl SampleFile {
    /// Begins an empty file for frames of this link type, or continues one with the same header.
    pub fn begin(
        OpenedFile { path, file }: OpenedFile,
        link: LinkType,
    ) -> Result<SampleFile, Error> {
        let written = begin(&file, link)
            .map_err(|error| Error::io(format_args!("write {}", path.display()), error))?
            .ok_or_else(|| {
                failed(format_args!(
                    "write {}: the file exists and is not a sample file with link type {} ({}; or choose another name)",
                    path.display(),
                    link as u32,
                    aw_service::move_away(&path)
                ))
            })?;
        let stored = [0; Counter::ALL.len()];
        Ok(SampleFile { path, link, file, written, closed: false, stored, since: Instant::now() })
    }

    /// Stores a frame of this link type, unless a limit is reached.
    pub fn store(&mut self, link: LinkType, frame: &Frame, reason: Counter) {
        if self.closed || link != self.link {
            return; // an interface may come back with another link type
        }
        if self.since.elapsed() >= MINUTE {
            self.stored = [0; Counter::ALL.len()];
            self.since = Instant::now();
        }
        let stored = &mut self.stored[reason as usize];
        if *stored == FRAMES_A_MINUTE {
            return;
        }
        *stored += 1;
        let record = record(frame);
        if self.written + record.len() as u64 > FILE_BYTES {
            self.close(format_args!("it has reached {} MiB", FILE_BYTES >> 20));
        } else if let Err(error) =
            self.reserve(record.len()).and_then(|()| self.file.write_all(&record))
        {
            self.close(explain(&error));
        } else {
            self.written += record.len() as u64;
        }
    }

    /// Reserves space for a whole frame: a part of one, on a full disk, could not be removed, because the collector may
    /// truncate no file, for the sake of the ring.
    fn reserve(&self, bytes: usize) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.written, bytes as u64) {
            Err(Errno::OPNOTSUPP) => Ok(()), // this file system cannot
            reserved => Ok(reserved?),
        }
    }

    fn close(&mut self, why: impl std::fmt::Display) {
        warn(format_args!(
            "store refused frames in {}: {why} ({}; then send SIGHUP)",
            self.path.display(),
            aw_service::move_away(&self.path)
        ));
        self.closed = true;
    }

    /// Creates a new file if this one was renamed or removed.
    pub fn reopen(&mut self) {
        if is_at(&self.file, &self.path) {
            return;
        }
        match open(&self.path, None).and_then(|opened| SampleFile::begin(opened, self.link)) {
            Ok(snap) => *self = snap,
            Err(Error::Failed(why)) => warn(why),
            Err(Error::Closed) => {}
        }
    }
}

/// The file's header: pcap with nanoseconds, in the machine's byte order (draft-ietf-opsawg-pcap).
/// Returns the file's length; none if the file has another header.
fn begin(mut file: &File, link: LinkType) -> io::Result<Option<u64>> {
    let mut header = Vec::new();
    header.extend(0xa1b2_3c4d_u32.to_ne_bytes());
    header.extend([2_u16, 4].map(u16::to_ne_bytes).as_flattened());
    header.extend([0; 8]);
    header.extend([FRAME_BYTES as u32, link as u32].map(u32::to_ne_bytes).as_flattened());
    let length = file.metadata()?.len();
    if length == 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(&header)?;
        return Ok(Some(header.len() as u64));
    }
    let mut found = vec![0; header.len()];
    let same = file.read_exact_at(&mut found, 0).is_ok() && found == header;
    same.then(|| file.seek(SeekFrom::End(0))).transpose()
}

/// Seconds, nanoseconds, stored length, length on the wire, bytes.
fn record(frame: &Frame) -> Vec<u8> {
    let bytes = &frame.bytes[..frame.bytes.len().min(FRAME_BYTES)];
    // Seconds are unsigned: valid until 2106.
    let seconds = frame.time.seconds() as u32;
    let numbers = [seconds, frame.time.subsec_nanos(), bytes.len() as u32, frame.length as u32];
    [numbers.map(u32::to_ne_bytes).as_flattened(), bytes].concat()
}
