//! `--snap-malformed`: samples of refused frames, to look at with tcpdump or Wireshark.
//!
//! Whoever floods us with them must fill neither the disk nor our time: so many of each reason a
//! minute, so much of each frame, so many bytes in all. Written here and not by libpcap, which
//! opens files by name: this one was opened before privileges were given up, and checked.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::{PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::{Identity, cause, is_at, open_own};
use shm_layout::Counter;

use crate::{
    Error,
    link::{Frame, Link},
    warn,
};

/// Frames kept of each reason and minute.
const EACH: u8 = 5;
const MINUTE: Duration = Duration::from_secs(60);
/// Bytes kept of a frame: all headers that are judged, and then some.
const LENGTH: usize = 1024;
/// Bytes in all.
const LIMIT: u64 = 16 << 20;

/// The file, opened.
pub struct Opened {
    path: PathBuf,
    file: File,
}

/// Opens the file, which is to belong to whoever we are going to be.
pub fn open(path: &Path, owner: Option<&Identity>) -> Result<Opened, Error> {
    let path = std::path::absolute(path)
        .map_err(|error| Error::io(format_args!("find {}", path.display()), error))?;
    let file = open_own(&path, 0o600)?;
    if let Some(owner) = owner {
        fchown(&file, Some(owner.user.as_raw()), Some(owner.group.as_raw()))
            .map_err(|error| Error::io(format_args!("give {} away", path.display()), error))?;
    }
    Ok(Opened { path, file })
}

/// The file, and what is in it.
pub struct Snap {
    path: PathBuf,
    link: Link,
    /// None: it is full, or could not be written to, which was said.
    file: Option<File>,
    written: u64,
    /// Frames kept in this minute, of each reason.
    kept: [u8; Counter::ALL.len()],
    since: Instant,
}

impl Snap {
    /// Empties the file, for frames of this link type.
    pub fn begin(Opened { path, file }: Opened, link: Link) -> Result<Snap, Error> {
        let written = begin(&file, link)
            .map_err(|error| Error::io(format_args!("write {}", path.display()), error))?;
        let kept = [0; Counter::ALL.len()];
        Ok(Snap { path, link, file: Some(file), written, kept, since: Instant::now() })
    }

    /// Keeps a frame, unless there were enough like it.
    pub fn keep(&mut self, frame: &Frame, reason: Counter) {
        let Some(file) = &mut self.file else { return };
        if self.since.elapsed() >= MINUTE {
            self.kept = [0; Counter::ALL.len()];
            self.since = Instant::now();
        }
        let kept = &mut self.kept[reason as usize];
        if *kept == EACH {
            return;
        }
        *kept += 1;
        let record = record(frame);
        if self.written + record.len() as u64 > LIMIT {
            self.give_up(format_args!("it has {} MiB", LIMIT >> 20));
        } else if let Err(error) = file.write_all(&record) {
            self.give_up(cause(&error));
        } else {
            self.written += record.len() as u64;
        }
    }

    fn give_up(&mut self, why: impl std::fmt::Display) {
        let path = self.path.display();
        warn(format_args!("keep frames in {path}: {why} (rename or remove it, then send SIGHUP)"));
        self.file = None;
    }

    /// If the file was renamed or removed: makes it anew.
    pub fn reopen(&mut self) {
        if self.file.as_ref().is_some_and(|file| is_at(file, &self.path)) {
            return;
        }
        match open(&self.path, None).and_then(|opened| Snap::begin(opened, self.link)) {
            Ok(snap) => *self = snap,
            Err(Error::Failed(why)) => warn(why),
            Err(Error::Closed) => {}
        }
    }
}

/// The file's header: pcap with nanoseconds, in the machine's byte order (draft-ietf-opsawg-pcap).
fn begin(file: &File, link: Link) -> io::Result<u64> {
    let mut header = Vec::new();
    header.extend(0xa1b2_3c4d_u32.to_ne_bytes());
    header.extend([2_u16, 4].map(u16::to_ne_bytes).as_flattened());
    header.extend([0; 8]);
    header.extend([LENGTH as u32, link.number()].map(u32::to_ne_bytes).as_flattened());
    file.set_len(0)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    (&mut &*file).write_all(&header)?;
    Ok(header.len() as u64)
}

/// Seconds, nanoseconds, length here, length on the wire, bytes.
fn record(frame: &Frame) -> Vec<u8> {
    let bytes = &frame.bytes[..frame.bytes.len().min(LENGTH)];
    // Seconds are unsigned, and good until 2106.
    let seconds = frame.time.seconds() as u32;
    let numbers = [seconds, frame.time.subsec_nanos(), bytes.len() as u32, frame.length as u32];
    [numbers.map(u32::to_ne_bytes).as_flattened(), bytes].concat()
}
