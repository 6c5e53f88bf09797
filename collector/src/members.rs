//! `--join`: several collectors of one ring, as of the units addrwatch-collector@eth0 and addrwatch-collector@eth1. One of
//! them captures the interfaces of all.
//!
//! Each writes the names of its interfaces to a file of one directory, and keeps this file locked. The one that has locked the
//! file `RING.NETNS.lock` captures, and writes there which interfaces are open; the others wait for that lock. The kernel
//! releases a lock when its process ends, however it ends. Only the collectors' user can open these files: who can open a file
//! can lock it. What is in them is bounded and parsed, and never becomes a path.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, ErrorKind, Seek, Write},
    os::unix::{
        fs::{DirBuilderExt, MetadataExt, lchown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use aw_service::{
    Access, FileKind, Signals, Startup, explain_or, is_at, open_file, open_own, read_opened,
};
use clap::{CommandFactory, parser::ValueSource};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_layout::{InterfaceName, RingName};

use crate::{Error, failed, info, options::Options, warn};

/// Interfaces of other collectors, at most.
const MAX_INTERFACES: usize = 64;
/// Bytes of a file.
const MAX_FILE: u64 = 4096;
/// How often the other files are read.
const INTERVAL: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
const SHORT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// So often something is found before it counts: collectors that are restarted one after the other differ for a moment.
const TIMES: u32 = 5;
/// The time for that, while it waits.
const LATE: Duration = Duration::from_secs(5);
/// The first line of each file: a file without it is not removed.
const MARK: &str = "collector --join";
/// Options that may differ.
const OWN: [&str; 7] = ["interfaces", "instance", "wait", "join", "ring", "verbose", "pid_file"];

/// This collector among those of its ring.
pub struct Members {
    directory: PathBuf,
    ring: RingName,
    /// The files of one ring and network namespace begin with it.
    prefix: String,
    /// This one's options, beside those that may differ.
    options: String,
    names: Vec<InterfaceName>,
    files: Option<Files>,
    /// The thread that waits for the lock ends with its end of the pair.
    wake: Option<(UnixStream, UnixStream)>,
    /// As last written to the lock.
    report: String,
    /// How often in turn another one came first.
    outranked: u32,
    /// The process whose end this one waited for, and when that was.
    predecessor: Option<(u32, Instant)>,
}

struct Files {
    /// Locked as long as this process runs.
    _own: File,
    /// Locked by the one that captures.
    lock: File,
}

/// Another collector that runs.
struct Member {
    process: u32,
    options: String,
    names: Vec<InterfaceName>,
}

impl Members {
    /// Finds or creates the directory, before privileges are dropped.
    pub fn join(options: &Options) -> Result<Option<Members>, Error> {
        let Some(directory) = &options.join else { return Ok(None) };
        let failure = |error: io::Error| failure(directory, &error);
        let user = options.identity()?.map_or(rustix::process::geteuid(), |identity| identity.user);
        let user = user.as_raw();
        if let Some(parent) = directory.parent().filter(|parent| !parent.exists()) {
            DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(failure)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) if rustix::process::geteuid().as_raw() != user => {
                lchown(directory, Some(user), None).map_err(failure)?;
            }
            Ok(()) => {} // a unit forbids the call
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failure(error)),
        }
        examine(directory, user)?;
        let ring = options.ring.clone();
        let namespace = fs::metadata("/proc/self/ns/net").map_or(0, |found| found.ino());
        let prefix = format!("{}.{namespace}.", ring.as_str().trim_start_matches('/'));
        let names = options.sources()?.names;
        Ok(Some(Members {
            directory: directory.canonicalize().map_err(failure)?,
            ring,
            prefix,
            options: essence(&names),
            names,
            files: None,
            wake: Some(UnixStream::pair().map_err(failure)?),
            report: String::new(),
            outranked: 0,
            predecessor: None,
        }))
    }

    /// What it opens once privileges are dropped.
    pub fn access(&self) -> Access {
        Access::Create(self.directory.clone())
    }

    /// Lists this one, after privileges are dropped: the files belong to the collectors' user.
    fn enter(&self) -> Result<Files, Error> {
        let failure = |error| Error::io(format_args!("join {}", self.directory.display()), error);
        let lock = open_own(&self.path("lock"), 0o600, None)?;
        // Complete and locked before the others see it. Several may start at once: each has a name of its own.
        let process = std::process::id();
        let (path, new) = (self.path(process), self.path(format_args!("new.{process}")));
        let _ = fs::remove_file(&new); // of a process that was killed here
        let mut own = open_own(&new, 0o600, None)?;
        own.lock().map_err(failure)?;
        let names: String = self.names.iter().map(|name| format!("{name}\n")).collect();
        own.write_all(format!("{MARK}\n{}\n{names}", self.options).as_bytes()).map_err(failure)?;
        fs::rename(&new, path).map_err(failure)?;
        Ok(Files { _own: own, lock })
    }

    fn path(&self, suffix: impl std::fmt::Display) -> PathBuf {
        self.directory.join(format!("{}{suffix}", self.prefix))
    }

    /// Waits until no other collector of the ring captures; false: a signal came first. Returns with it the interfaces that
    /// the one before had open.
    pub fn wait(
        &mut self,
        signals: &Signals,
        startup: &mut Startup,
    ) -> Result<Option<Vec<InterfaceName>>, Error> {
        let files = self.enter()?;
        let failure = |error| Error::io("lock --join", error);
        let Some((wake, waker)) = self.wake.take() else { return Ok(Some(Vec::new())) };
        let lock = files.lock.try_clone().map_err(failure)?;
        let free = files.lock.try_lock();
        self.files = Some(files);
        match free {
            Ok(()) => return Ok(Some(Vec::new())),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(failure(error)),
        }
        // A thread, so that the kernel wakes it at the moment when the other one ends.
        let wait_for_lock = move || {
            let _waker = waker; // its end is the message
            loop {
                match lock.lock() {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    result => return result,
                }
            }
        };
        let waiting = thread::Builder::new().spawn(wait_for_lock).map_err(failure)?;
        let (mut said, mut differs, begin) = (String::new(), 0, Instant::now());
        loop {
            let mut events =
                [PollFd::new(signals, PollFlags::IN), PollFd::new(&wake, PollFlags::IN)];
            // Not ready until it is known what is captured.
            let timeout = if said.is_empty() { SHORT } else { INTERVAL };
            let _ = poll(&mut events, Some(&timeout)); // an error leads to the same checks
            let locked = !events[1].revents().is_empty();
            signals.clear();
            if signals.stopped() {
                return Ok(None);
            }
            if locked {
                let result = waiting.join().unwrap_or_else(|_| Err(ErrorKind::Other.into()));
                result.map_err(failure)?;
                let ended = Instant::now();
                let (process, before) = self.capturing().unwrap_or_default();
                self.predecessor = Some((process, ended)).filter(|_| process != 0);
                let open = before.iter().filter(|(_, trouble)| trouble.is_empty());
                return Ok(Some(open.map(|(name, _)| *name).take(MAX_INTERFACES).collect()));
            }
            startup.alive();
            let is_late = begin.elapsed() >= LATE;
            let Some((process, lines)) = self.capturing() else { continue };
            let Some(member) = self.others().into_iter().find(|one| one.process == process) else {
                continue; // it has ended
            };
            let Some(mut what) = self.captured(process, &lines, is_late) else { continue };
            let mut then = "this one takes over when it ends";
            if rank(&member.options) < rank(&self.options) {
                then = "this one has more options, and takes over in some seconds";
            } else if member.options != self.options {
                what += ", with the options of that process";
                if differs != process && is_late {
                    differs = process;
                    warn(self.difference(&member));
                }
            }
            if what != said {
                info(format_args!("{what} ({then})"));
                startup.waits(&what);
                said = what;
            }
        }
    }

    /// The process that this one took over from, and when it had ended; once.
    pub fn predecessor(&mut self) -> Option<(u32, Instant)> {
        self.predecessor.take()
    }

    /// Whether the one that captures has the same socket open, because of the same option.
    pub fn is_held(&self, option: &str) -> bool {
        let Some((process, _)) = self.capturing() else { return false };
        let other = self.others().into_iter().find(|one| one.process == process);
        let own = word(&self.options, option);
        own.is_some() && other.is_some_and(|other| word(&other.options, option) == own)
    }

    /// What the other one captures of this one's interfaces; none: it has not looked at them yet.
    fn captured(
        &self,
        process: u32,
        lines: &[(InterfaceName, String)],
        is_late: bool,
    ) -> Option<String> {
        let (mut open, mut troubles) = (Vec::new(), String::new());
        for name in &self.names {
            match lines.iter().find(|(one, _)| one == name) {
                Some((_, trouble)) if trouble.is_empty() => open.push(name.as_str()),
                Some((_, trouble)) => troubles += &format!("; {name}: {trouble}"),
                None if is_late => troubles += &format!("; {name}: not captured by that process"),
                None => return None,
            }
        }
        let ring = &self.ring;
        Some(match open.is_empty() {
            true => format!(
                "process {process} captures for ring {ring}, on none of the interfaces of this collector{troubles}"
            ),
            false => {
                format!(
                    "process {process} captures on {}, for ring {ring}{troubles}",
                    open.join(", ")
                )
            }
        })
    }

    fn difference(&self, member: &Member) -> String {
        format!(
            "the options of this collector have no effect: process {} captures for ring {}, with the options {} (here: {}; write the same for all: OPTIONS_ALL= in /etc/addrwatch/collector.conf, or choose another ring for this one with -m)",
            member.process,
            self.ring,
            named(&member.options),
            named(&self.options)
        )
    }

    /// Of collectors with different options, the one with the most captures, whichever was started first: an error if that is
    /// another one.
    pub fn check_rank(&mut self) -> Result<(), Error> {
        let first = self
            .others()
            .into_iter()
            .max_by(|one, other| rank(&one.options).cmp(&rank(&other.options)));
        let first = first.filter(|one| rank(&one.options) > rank(&self.options));
        self.outranked = if first.is_some() { self.outranked + 1 } else { 0 };
        match first {
            Some(first) if self.outranked >= TIMES => Err(failed(format_args!(
                "process {} has more options, and captures from now on for ring {}: its options {} apply to all interfaces, and those of this collector, {}, have no effect (write the same for all: OPTIONS_ALL= in /etc/addrwatch/collector.conf, or choose another ring for this one with -m)",
                first.process,
                self.ring,
                named(&first.options),
                named(&self.options)
            ))),
            _ => Ok(()),
        }
    }

    /// Reports to the others which interfaces are open, and what is wrong with those that are not.
    pub fn report(&mut self, interfaces: impl Iterator<Item = (InterfaceName, String)>) {
        let mut text = format!("{MARK}\n{}\n", std::process::id());
        for (name, trouble) in interfaces {
            let line = format!("{name} {trouble}\n"); // a trouble has one line
            if text.len() + line.len() < MAX_FILE as usize {
                text += &line;
            }
        }
        if text != self.report
            && let Some(Files { lock, .. }) = &mut self.files
        {
            // Always of this length: it may not truncate files. An error is found by the others, who miss the report.
            let padded = format!("{text:0$}", MAX_FILE as usize);
            let _ = lock.rewind().and_then(|()| lock.write_all(padded.as_bytes()));
            self.report = text;
        }
    }

    /// The process that captures, and its report.
    fn capturing(&self) -> Option<(u32, Vec<(InterfaceName, String)>)> {
        let text = read(&mut open_file(&self.path("lock"), FileKind::State).ok()?)?;
        let (process, lines) = text.split_once('\n')?;
        let line = |line: &str| {
            let (name, trouble) = line.split_once(' ')?;
            Some((name.parse().ok()?, trouble.trim_end().to_owned()))
        };
        Some((process.parse().ok()?, lines.lines().filter_map(line).collect()))
    }

    /// The interfaces of the other collectors that run.
    pub fn interfaces(&self) -> Vec<InterfaceName> {
        let mut names: Vec<_> = self.others().into_iter().flat_map(|one| one.names).collect();
        // `any` would rename the networks of all.
        names.retain(|name| name.as_str() != "any");
        names.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        names.dedup();
        names.truncate(MAX_INTERFACES);
        names
    }

    /// The interfaces of all collectors that run, also of other rings.
    pub fn all_interfaces(&self) -> Vec<InterfaceName> {
        // RING.NETNS.PID; one of RING.NETNS.new.PID is not complete.
        let all = self.members(|name| {
            let (prefix, process) = name.rsplit_once('.')?;
            (!prefix.ends_with(".new")).then_some(process)
        });
        all.into_iter().flat_map(|one| one.names).chain(self.names.iter().copied()).collect()
    }

    /// The other collectors of this ring that run.
    fn others(&self) -> Vec<Member> {
        self.members(|name| name.strip_prefix(&self.prefix))
    }

    /// The other collectors that run, of files from whose names this returns the process. Files of those that have ended are
    /// removed.
    fn members(&self, process: impl Fn(&str) -> Option<&str>) -> Vec<Member> {
        let mut others = Vec::new();
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(&process);
            let process = process.and_then(|process| process.parse::<u32>().ok());
            let path = entry.path();
            if let Some(process) = process.filter(|process| *process != std::process::id())
                && let Ok(mut file) = open_file(&path, FileKind::State)
                && let Some(text) = read(&mut file)
            {
                match file.try_lock_shared() {
                    Err(TryLockError::WouldBlock) => others.extend(Member::parse(process, &text)),
                    _ if is_at(&file, &path) => drop(fs::remove_file(path)), // it takes no room worth a message
                    _ => {}
                }
            }
        }
        others
    }
}

/// The options with the highest rank apply.
fn rank(options: &str) -> (usize, &str) {
    (options.len(), options)
}

fn named(options: &str) -> &str {
    if options.is_empty() { "none" } else { options }
}

impl Member {
    fn parse(process: u32, text: &str) -> Option<Member> {
        let (options, lines) = text.split_once('\n')?;
        let names = lines.lines().filter_map(|line| line.parse().ok()).collect();
        Some(Member { process, options: options.into(), names })
    }
}

/// Whether only the collectors' user may write to the directory.
pub fn examine(directory: &Path, user: u32) -> Result<(), Error> {
    let found = directory.symlink_metadata().map_err(|error| failure(directory, &error))?;
    if !found.is_dir() {
        return Err(fault(directory, "it is a link or a file (name a directory)"));
    }
    if found.uid() != user || found.mode() & 0o022 != 0 {
        let (path, owner, mode) = (directory.display(), found.uid(), found.mode() & 0o7777);
        let why = format!(
            "only the collector's user, {user}, may write there, but it belongs to user id {owner} and has mode {mode:o} (choose another directory, or: chown {user} {path}; chmod 700 {path})"
        );
        return Err(fault(directory, &why));
    }
    Ok(())
}

fn fault(directory: &Path, why: &str) -> Error {
    failed(format_args!("--join {}: {why}", directory.display()))
}

fn failure(directory: &Path, error: &io::Error) -> Error {
    fault(directory, &explain_or(error, "(choose a directory of the collector's user)"))
}

/// The value of an option in such a text.
fn word<'a>(options: &'a str, option: &str) -> Option<&'a str> {
    let words = options.split(" --").map(|word| word.trim_start_matches("--"));
    let option = option.trim_start_matches("--");
    words.filter_map(|word| word.strip_prefix(option)).find(|rest| !rest.starts_with('-'))
}

/// The text of one of these files, without its mark.
fn read(file: &mut File) -> Option<String> {
    let text = String::from_utf8(read_opened(file, MAX_FILE).ok()?).ok()?;
    Some(text.strip_prefix(MARK)?.strip_prefix('\n')?.to_owned())
}

/// The options as given, beside those that may differ: also between releases of this program, one text for one command line.
fn essence(names: &[InterfaceName]) -> String {
    let mut command = Options::command().args_override_self(true);
    let Ok(found) = command.try_get_matches_from_mut(std::env::args_os()) else {
        return String::new();
    };
    let mut words = Vec::new();
    for argument in command.get_arguments() {
        let id = argument.get_id().as_str();
        if OWN.contains(&id) || found.value_source(id) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values = found.get_raw(id).into_iter().flatten();
        let mut values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        if !argument.get_action().takes_values() {
            values.clear();
        }
        let name = argument.get_long().unwrap_or(id);
        words.push(format!("--{name} {}", values.join(" ")).trim_end().to_owned());
    }
    words.extend(names.iter().filter(|name| name.as_str() == "any").map(|name| name.to_string()));
    words.sort();
    let mut text: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(2000));
    text
}
