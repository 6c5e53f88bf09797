//! `--join`: several collectors of one ring, as of the units addrwatch-collector@eth0 and addrwatch-collector@eth1. One of
//! them captures the interfaces of all.
//!
//! Each writes the names of its interfaces to a file of one directory, and keeps this file locked. The one that has locked the
//! file `RING.lock` captures; the others wait for that lock. The kernel releases a lock when its process ends, however it
//! ends: the one that captures then drops those interfaces, or another one takes over. The directory belongs to the
//! collectors' user; what is in it is bounded and parsed, and never becomes a path.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use aw_service::{
    Access, FileKind, Signals, Startup, explain_or, open_file, open_own, read_opened,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_layout::InterfaceName;

use crate::{Error, failed, info, options::Options};

/// Interfaces of other collectors, at most.
const MAX_INTERFACES: usize = 64;
/// Bytes of a file.
const MAX_FILE: u64 = 4096;
/// How often the lock is tried, and the options of the collector that captures are compared.
const INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// This collector among those of its ring.
pub struct Members {
    directory: PathBuf,
    /// The ring's name, without its slash, and a dot: the files of one ring begin with it.
    prefix: String,
    /// The fingerprint of this one's options.
    options: u64,
    /// Locked as long as this process runs.
    _own: File,
    /// Locked by the one that captures.
    lock: File,
}

impl Members {
    /// Joins the collectors of the ring, if an option says so.
    pub fn join(options: &Options) -> Result<Option<Members>, Error> {
        let Some(directory) = &options.join else { return Ok(None) };
        let failure = |error: io::Error| {
            let why = explain_or(&error, "(choose a directory of the collector's user)");
            failed(format_args!("--join {}: {why}", directory.display()))
        };
        match DirBuilder::new().recursive(true).mode(0o755).create(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failure(error)),
            _ => {}
        }
        let directory = directory.canonicalize().map_err(failure)?;
        let prefix = format!("{}.", options.ring.as_str().trim_start_matches('/'));
        let lock = open_own(&directory.join(format!("{prefix}lock")), 0o644, None)?;
        // Complete and locked before the others see it.
        let path = directory.join(format!("{prefix}{}", std::process::id()));
        let new = path.with_extension("new");
        let _ = fs::remove_file(&new); // of a process that was killed here
        let mut own = open_own(&new, 0o644, None)?;
        own.lock().map_err(failure)?;
        let options_of = fingerprint(options);
        writeln!(own, "{options_of:016x}").map_err(failure)?;
        for name in options.sources()?.names {
            writeln!(own, "{name}").map_err(failure)?;
        }
        fs::rename(&new, path).map_err(failure)?;
        let members = Members { directory, prefix, options: options_of, _own: own, lock };
        members.each(|path, is_alive| {
            if !is_alive {
                let _ = fs::remove_file(path); // it takes no room worth a message
            }
        });
        Ok(Some(members))
    }

    /// Waits until no other collector of the ring captures; false: a signal came first.
    pub fn wait(
        &mut self,
        options: &Options,
        signals: &Signals,
        startup: &mut Startup,
    ) -> Result<bool, Error> {
        let (own, ring) = (self.options, &options.ring);
        let (mut captures, mut differs) = (0, false);
        loop {
            match self.lock.try_lock() {
                Ok(()) => {
                    let text = format!("{} {own:016x}\n", std::process::id());
                    let written =
                        self.lock.set_len(0).and_then(|()| self.lock.write_all(text.as_bytes()));
                    written.map_err(|error| Error::io("write the lock of --join", error))?;
                    return Ok(true);
                }
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Error::io("lock --join", error)),
            }
            match self.capturing() {
                Some((_, options)) if options != own && !differs => differs = true, // it may be an older entry
                Some((process, options)) if options != own => {
                    return Err(failed(format_args!(
                        "join the collector of ring {ring}, process {process}: it has other options (one process captures the interfaces of all collectors of a ring: write the same OPTIONS= for all, in /etc/addrwatch/collector.conf, or choose another ring for this one with -m)"
                    )));
                }
                Some((process, _)) if process != captures => {
                    let names = options.sources()?.names;
                    let names: Vec<_> = names.iter().map(InterfaceName::as_str).collect();
                    let names = names.join(", ");
                    let what = format!("process {process} captures on {names}, for ring {ring}");
                    info(format_args!("{what} (this one takes over when it ends)"));
                    startup.waits(&what);
                    (captures, differs) = (process, false);
                }
                _ => {}
            }
            let mut wake = [PollFd::new(signals, PollFlags::IN)];
            let _ = poll(&mut wake, Some(&INTERVAL)); // an error leads to the same checks
            signals.clear();
            if signals.stopped() {
                return Ok(false);
            }
            startup.alive();
        }
    }

    /// The process that captures, and the fingerprint of its options.
    fn capturing(&self) -> Option<(u32, u64)> {
        let text = read(&self.directory.join(format!("{}lock", self.prefix)))?;
        let (process, options) = text.trim_end().split_once(' ')?;
        Some((process.parse().ok()?, u64::from_str_radix(options, 16).ok()?))
    }

    /// The interfaces of the other collectors that run with the same options.
    pub fn interfaces(&self) -> Vec<InterfaceName> {
        let mut names = Vec::new();
        self.each(|path, is_alive| {
            if let Some(text) = is_alive.then(|| read(path)).flatten()
                && let Some((options, lines)) = text.split_once('\n')
                && u64::from_str_radix(options, 16) == Ok(self.options)
            {
                names.extend(lines.lines().filter_map(|line| line.parse::<InterfaceName>().ok()));
            }
        });
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        names.truncate(MAX_INTERFACES);
        names
    }

    /// Does this with the file of each other collector of the ring, and whether it runs.
    fn each(&self, mut act: impl FnMut(&Path, bool)) {
        let own = std::process::id();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(&self.prefix));
            let process = process.and_then(|process| process.parse::<u32>().ok());
            let path = entry.path();
            if process.is_some_and(|process| process != own)
                && let Ok(file) = open_file(&path, FileKind::State)
            {
                act(&path, matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
            }
        }
    }

    /// What it opens later.
    pub fn access(&self) -> Access {
        Access::Read(self.directory.clone())
    }
}

fn read(path: &Path) -> Option<String> {
    let file = open_file(path, FileKind::State).ok()?;
    String::from_utf8(read_opened(&file, MAX_FILE).ok()?).ok()
}

/// The same number for the same options, beside those that add up.
fn fingerprint(options: &Options) -> u64 {
    let mut options = options.clone();
    (options.interfaces, options.instance, options.wait) = (Vec::new(), None, false);
    (options.verbose, options.service) = (false, Default::default());
    let mut hasher = DefaultHasher::new();
    format!("{options:?}").hash(&mut hasher);
    hasher.finish()
}
