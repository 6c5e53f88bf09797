//! The spool: files with mails that are not sent yet.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::UNIX_EPOCH,
};

use aw_service::sync_directory;

/// A directory with a file for each mail; the names of the files sort them by time.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    next: AtomicU32,
    max_bytes: u64,
}

const READY: &str = ".eml";
const UNFINISHED: &str = ".new";
const REFUSED: &str = ".refused";
/// Refused mails that stay in the spool, at most; of bytes, a sixteenth of the spool's maximum.
const MAX_REFUSED: usize = 100;

impl Spool {
    /// Opens the spool in a directory, which is created if it does not exist.
    pub fn open(directory: &Path, max_bytes: u64) -> io::Result<Spool> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        for path in Self::list(directory, UNFINISHED)? {
            fs::remove_file(path)?; // a process was killed while it wrote this
        }
        Ok(Spool { directory: directory.into(), next: AtomicU32::new(0), max_bytes })
    }

    /// Adds mails, all or none. After this, they survive a power cut.
    pub fn put(&self, messages: &[impl AsRef<[u8]>]) -> io::Result<()> {
        let mut held = 0;
        for path in Self::list(&self.directory, READY)? {
            held += fs::metadata(path).map_or(0, |metadata| metadata.len());
        }
        let more: usize = messages.iter().map(|message| message.as_ref().len()).sum();
        if held + more as u64 > self.max_bytes {
            return Err(io::Error::new(ErrorKind::StorageFull, "the spool is full"));
        }
        messages.iter().try_for_each(|message| self.put_one(message.as_ref()))?;
        sync_directory(&self.directory)
    }

    fn put_one(&self, message: &[u8]) -> io::Result<()> {
        let nanos = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos());
        let number = self.next.fetch_add(1, Relaxed);
        let path = self.directory.join(format!("{nanos:020}-{number:010}{READY}"));
        let unfinished = path.with_extension(&UNFINISHED[1..]);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(message)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    }

    /// The files that are not sent yet, oldest first.
    pub fn waiting(&self) -> io::Result<Vec<PathBuf>> {
        Self::list(&self.directory, READY)
    }

    /// Renames a refused mail so that it is not sent again, and removes the oldest refused ones if there are too many.
    pub fn set_aside(&self, path: &Path) -> io::Result<()> {
        fs::rename(path, path.with_extension(&REFUSED[1..]))?;
        let mut bytes = 0;
        for (n, path) in Self::list(&self.directory, REFUSED)?.iter().rev().enumerate() {
            bytes += fs::metadata(path)?.len();
            if n >= MAX_REFUSED || n > 0 && bytes > self.max_bytes / 16 {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn list(directory: &Path, end: &str) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(end) {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn in_order_and_across_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spool");
        let spool = Spool::open(&path, 20).unwrap();
        spool.put(&[b"first"]).unwrap();
        spool.put(&[b"second"]).unwrap();
        fs::write(path.join("half.new"), "half").unwrap();
        let spool = Spool::open(&path, 20).unwrap();
        assert!(!path.join("half.new").exists());
        spool.put(&[b"third"]).unwrap();
        assert_eq!(spool.put(&["4", "fourth"]).unwrap_err().kind(), ErrorKind::StorageFull);
        let waiting = spool.waiting().unwrap();
        let texts: Vec<_> = waiting.iter().map(|path| fs::read(path).unwrap()).collect();
        assert_eq!(texts, [b"first".as_slice(), b"second", b"third"]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&waiting[0])), (0o700, 0o600));
        spool.set_aside(&waiting[0]).unwrap();
        assert_eq!(spool.waiting().unwrap(), waiting[1..]);
    }

    #[test]
    fn the_latest_refused_mails_stay() {
        let refused = |most, length, count| {
            let directory = tempfile::tempdir().unwrap();
            let spool = Spool::open(directory.path(), most).unwrap();
            for n in 0..count {
                spool.put(&[format!("{n:length$}")]).unwrap();
                spool.set_aside(&spool.waiting().unwrap()[0]).unwrap();
            }
            let kept = Spool::list(directory.path(), REFUSED).unwrap();
            let first = fs::read_to_string(&kept[0]).unwrap();
            (kept.len(), first.trim().parse::<usize>().unwrap())
        };
        assert_eq!(refused(1 << 20, 3, 105), (MAX_REFUSED, 5));
        assert_eq!(refused(1600, 30, 10), (3, 7), "100 bytes");
        assert_eq!(refused(1600, 500, 3), (1, 2), "a large one");
    }
}
