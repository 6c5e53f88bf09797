//! `--snap-malformed`: samples of refused frames, to look at with tcpdump or Wireshark.
//!
//! Whoever floods us with them must fill neither the disk nor our time: so many of each reason a
//! minute, so much of each frame, so many bytes in all. Written here and not by libpcap, which
//! opens files by name: this one was opened before privileges were given up, and checked.

use std::{
    fs::{File, Permissions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use aw_service::{Identity, explain, is_at, open_own};
use shm_layout::Counter;

use crate::{
    Error, failed,
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
    let file = open_own(&path, 0o600, owner.map(|owner| owner.user))?;
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
    file: File,
    written: u64,
    /// It is full, or could not be written to, which was said.
    ended: bool,
    /// Frames kept in this minute, of each reason.
    kept: [u8; Counter::ALL.len()],
    since: Instant,
}

impl Snap {
    /// Begins an empty file for frames of this link type, or goes on with one that was begun so.
    pub fn begin(Opened { path, file }: Opened, link: Link) -> Result<Snap, Error> {
        let written = begin(&file, link)
            .map_err(|error| Error::io(format_args!("write {}", path.display()), error))?
            .ok_or_else(|| {
                failed(format_args!(
                    "write {}: it is another file than one of refused frames with link type {} (remove it, or choose another name)",
                    path.display(),
                    link.number()
                ))
            })?;
        let kept = [0; Counter::ALL.len()];
        Ok(Snap { path, link, file, written, ended: false, kept, since: Instant::now() })
    }

    /// Keeps a frame of this link type, unless there were enough like it.
    pub fn keep(&mut self, link: Link, frame: &Frame, reason: Counter) {
        if self.ended || link != self.link {
            return; // an interface may come back as one of another type
        }
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
        } else if let Err(error) = self.file.write_all(&record) {
            let _ = self.file.set_len(self.written); // no half a frame
            self.give_up(explain(&error));
        } else {
            self.written += record.len() as u64;
        }
    }

    fn give_up(&mut self, why: impl std::fmt::Display) {
        let path = self.path.display();
        warn(format_args!("keep frames in {path}: {why} (rename or remove it, then send SIGHUP)"));
        self.ended = true;
    }

    /// If the file was renamed or removed: makes it anew.
    pub fn reopen(&mut self) {
        if is_at(&self.file, &self.path) {
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
/// Gives the file's length; none if it is another file.
fn begin(mut file: &File, link: Link) -> io::Result<Option<u64>> {
    let mut header = Vec::new();
    header.extend(0xa1b2_3c4d_u32.to_ne_bytes());
    header.extend([2_u16, 4].map(u16::to_ne_bytes).as_flattened());
    header.extend([0; 8]);
    header.extend([LENGTH as u32, link.number()].map(u32::to_ne_bytes).as_flattened());
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

/// Seconds, nanoseconds, length here, length on the wire, bytes.
fn record(frame: &Frame) -> Vec<u8> {
    let bytes = &frame.bytes[..frame.bytes.len().min(LENGTH)];
    // Seconds are unsigned, and good until 2106.
    let seconds = frame.time.seconds() as u32;
    let numbers = [seconds, frame.time.subsec_nanos(), bytes.len() as u32, frame.length as u32];
    [numbers.map(u32::to_ne_bytes).as_flattened(), bytes].concat()
}
