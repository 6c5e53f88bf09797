//! Names that follow their file: a thread waits for changes in its directory (inotify), because editors replace files. It
//! wakes up for nothing else.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    io::{self, ErrorKind},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use aw_service::{Access, Error, Wanted, cause, count_of, denied, explain_or, failed, info, warn};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use super::{NAMES_FILE, NameList, Names, NetworkNames, edit::resolved, is_config_directory};

/// Changes within so long are read together; at least so many times as long as reading took.
const SETTLE: Duration = Duration::from_millis(50);
const PAUSE_FACTOR: u32 = 8;

/// The names of a file, now. Its copies are the same names.
#[derive(Clone, Debug, Default)]
pub struct LiveNames {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    path: PathBuf,
    /// The file was named: it must exist.
    is_named: bool,
    state: Mutex<State>,
    changed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    names: Arc<Names>,
    networks: Arc<NetworkNames>,
    /// Damaged lines that are reported, without their numbers.
    reported: BTreeSet<String>,
    /// Why the file cannot be read, if that is reported.
    failure: Option<String>,
    exists: bool,
    inotify: Option<OwnedFd>,
}

impl LiveNames {
    /// Reads the file of an option, which must be readable; without it the common file, if it exists.
    pub fn read(option: Option<&Path>) -> Result<LiveNames, Error> {
        let path = option.unwrap_or(Path::new(NAMES_FILE));
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let live = LiveNames {
            shared: Arc::new(Shared { path, is_named: option.is_some(), ..Shared::default() }),
        };
        match live.shared.load() {
            Err(error) if option.is_some() => {
                let why = explain_or(&error, "(create it, or name another file)");
                Err(failed(format_args!("read {}: {why}", live.shared.path.display())))
            }
            Err(error) => {
                live.shared.fails(&error);
                Ok(live)
            }
            Ok(_) => Ok(live),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What a confined process needs to read the file again: its directory, because the file is replaced, and that of its target
    /// if it is a link.
    pub fn access(&self) -> Vec<Access> {
        let watched = self.shared.watched().into_iter();
        watched.map(|(directory, _)| Access::Read(directory)).collect()
    }

    /// The same for a process that must not read secrets: of the directory of configurations, only the file that is there now.
    pub fn narrow_access(&self) -> Vec<Access> {
        let watched = self.shared.watched().into_iter();
        let access = watched.map(|(directory, name)| match is_config_directory(&directory) {
            true => directory.join(name),
            false => directory,
        });
        access.map(Access::Read).collect()
    }

    /// What a process needs beside [`Self::access`] to write names: the directory in which the file lies, or only the file if
    /// there are secrets beside it.
    pub fn write_access(&self) -> Vec<Access> {
        let path = self.shared.path.canonicalize().unwrap_or_else(|_| self.shared.path.clone());
        let directory = path.parent().map(Path::to_owned).filter(|one| !is_config_directory(one));
        vec![Access::Write(directory.unwrap_or(path))]
    }

    /// The names as they are now.
    pub fn names(&self) -> Arc<Names> {
        Arc::clone(&self.shared.lock().names)
    }

    /// The names of networks as they are now.
    pub fn networks(&self) -> Arc<NetworkNames> {
        Arc::clone(&self.shared.lock().networks)
    }

    /// Whether the names changed since the last call.
    pub fn take_changed(&self) -> bool {
        self.shared.changed.load(Relaxed) && self.shared.changed.swap(false, Relaxed)
    }

    /// Makes the next [`Self::take_changed`] true.
    pub fn set_changed(&self) {
        self.shared.changed.store(true, Relaxed);
    }

    /// Begins to follow the file: call it when privileges are dropped. If the system cannot, names are read again at SIGHUP only.
    pub fn follow(&self) {
        if !self.shared.is_followed() {
            return;
        }
        let started = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .and_then(|inotify| {
                let thread = rustix::io::fcntl_dupfd_cloexec(&inotify, 0)?;
                self.shared.lock().inotify = Some(inotify);
                self.shared.watch()?;
                Ok(thread)
            })
            .map_err(io::Error::from)
            .and_then(|inotify| {
                let shared = Arc::clone(&self.shared);
                let thread = thread::Builder::new().name("names".into()).stack_size(256 << 10);
                thread.spawn(move || shared.follow(&inotify)).map(drop)
            });
        match started {
            Ok(()) => self.reload(), // it may have changed since it was read, or other users may not read it
            Err(error) if error.kind() == ErrorKind::NotFound && !self.shared.is_named => {
                let path = self.shared.path.display();
                info(format_args!(
                    "no device has a name: there is no {path} and no such directory (create both, then restart this program)"
                ));
            }
            Err(error) => {
                let remedy = match Errno::from_io_error(&error) {
                    Some(Errno::MFILE | Errno::NOSPC) => {
                        "; raise fs.inotify.max_user_instances and max_user_watches"
                    }
                    _ => "",
                };
                warn(format_args!(
                    "watch {}: {} (names are read again at SIGHUP only{remedy})",
                    self.shared.path.display(),
                    cause(&error)
                ));
            }
        }
    }

    /// Reads the file again (SIGHUP).
    pub fn reload(&self) {
        if !self.shared.is_followed() {
            return;
        }
        let _ = self.shared.watch(); // its directory may have been replaced
        self.shared.reload();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// /dev/null, a pipe of a shell and such stay as they are.
    fn is_followed(&self) -> bool {
        !["/dev", "/proc"].iter().any(|directory| self.path.starts_with(directory))
    }

    /// The directories and names that lead to the file.
    fn watched(&self) -> BTreeSet<(PathBuf, OsString)> {
        if !self.is_followed() {
            return BTreeSet::new();
        }
        // Of a link to a file that does not exist yet, too.
        let missing = || Some(self.path.parent()?.join(self.path.read_link().ok()?));
        let target = self.path.canonicalize().ok().or_else(missing);
        let paths = [Some(self.path.clone()), target].into_iter().flatten();
        paths
            .filter_map(|path| Some((path.parent()?.to_owned(), path.file_name()?.to_owned())))
            .collect()
    }

    /// Watches these directories; again is the same.
    fn watch(&self) -> rustix::io::Result<()> {
        let flags = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB;
        let flags = flags | WatchFlags::DELETE | WatchFlags::MOVED_FROM | WatchFlags::ONLYDIR;
        let flags = flags | WatchFlags::MOVE_SELF; // the system reports that a directory was removed
        let state = self.lock();
        let Some(inotify) = &state.inotify else { return Ok(()) };
        let mut directories = self.watched().into_iter();
        directories.try_for_each(|(path, _)| inotify::add_watch(inotify, path, flags).map(drop))
    }

    fn follow(&self, inotify: &OwnedFd) {
        let mut pause = SETTLE;
        loop {
            let _ = poll(&mut [PollFd::new(inotify, PollFlags::IN)], None); // an error leads to the same read
            thread::sleep(pause);
            let names: Vec<_> = self.watched().into_iter().map(|(_, name)| name).collect();
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut reader = inotify::Reader::new(inotify, &mut buffer);
            let mut is_due = false;
            while let Ok(event) = reader.next() {
                let name = event.file_name().map(|name| name.to_bytes());
                let all = ReadFlags::QUEUE_OVERFLOW | ReadFlags::MOVE_SELF | ReadFlags::IGNORED;
                is_due |= event.events().intersects(all)
                    || name.is_some_and(|name| {
                        names.iter().any(|wanted| wanted.as_encoded_bytes() == name)
                    });
            }
            if is_due {
                let begun = Instant::now();
                let _ = self.watch(); // a link may lead elsewhere now
                self.reload();
                pause = SETTLE.max(begun.elapsed() * PAUSE_FACTOR);
            }
        }
    }

    fn reload(&self) {
        match self.load() {
            Ok(true) => {
                self.changed.store(true, Relaxed);
                let state = self.lock();
                let names = (state.names.len() + state.networks.len()) as u64;
                drop(state);
                let count = count_of(names, "name", "names");
                info(format_args!("{} is read again: {count}", self.path.display()));
            }
            Ok(false) => {}
            Err(error) => self.fails(&error),
        }
    }

    /// Reads the file. Returns whether the names are others than before. Reports damaged lines once.
    fn load(&self) -> io::Result<bool> {
        let list = match NameList::read(&self.path) {
            Err(error)
                if error.kind() == ErrorKind::NotFound && !self.is_named && !self.lock().exists =>
            {
                return Ok(false);
            }
            list => list?,
        };
        let faults = list.faults(&self.path);
        let key = |fault: &String| fault.split(": ").skip(2).collect::<Vec<_>>().join(": ");
        let mut state = self.lock();
        for fault in faults.iter().filter(|fault| !state.reported.contains(&key(fault))) {
            warn(format_args!("{fault}: the line is ignored"));
        }
        state.reported = faults.iter().map(key).collect();
        state.exists = true;
        if state.failure.take().is_some() {
            info(format_args!("{} can be read again", self.path.display()));
        }
        let is_new = *state.names != list.names || *state.networks != list.networks;
        if is_new {
            (state.names, state.networks) = (Arc::new(list.names), Arc::new(list.networks));
        }
        Ok(is_new)
    }

    /// Reports why the file cannot be read, once.
    fn fails(&self, error: &io::Error) {
        let mut why = cause(error);
        let mut state = self.lock();
        if error.kind() == ErrorKind::PermissionDenied
            && let Some(who) = denied(&resolved(&self.path), Wanted::Read)
        {
            why += &format!(" ({who})");
        }
        let is_beside_secrets = self.path.parent().is_some_and(is_config_directory);
        if error.kind() == ErrorKind::PermissionDenied
            && is_beside_secrets
            && !self.path.is_symlink()
        {
            why += "; a list in /etc/addrwatch/lists can be replaced at any time";
        }
        if state.failure.as_ref() != Some(&why) {
            let kept = match state.names.len() as u64 {
                0 => "no device has a name until then".to_owned(),
                count if error.kind() == ErrorKind::NotFound => {
                    format!("the old names stay ({count}; an empty file removes them)")
                }
                count => format!("the old names stay ({count})"),
            };
            warn(format_args!("read {}: {why}: {kept}", self.path.display()));
            state.failure = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::CONFIG_DIRECTORY;
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::fs;

    /// A process that reads rings opens no secret beside the file of names.
    #[test]
    fn narrow_access_has_no_secrets() {
        let config = PathBuf::from(CONFIG_DIRECTORY);
        let live = LiveNames::read(None).unwrap();
        assert!(live.access().contains(&Access::Read(config.clone())));
        let narrow = live.narrow_access();
        assert!(narrow.contains(&Access::Read(NAMES_FILE.into())), "{narrow:?}");
        assert!(!narrow.contains(&Access::Read(config)), "{narrow:?}");
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("list");
        fs::write(&list, "").unwrap();
        let narrow = LiveNames::read(Some(&list)).unwrap().narrow_access();
        assert_eq!(narrow, [Access::Read(directory.path().into())]);
    }

    #[test]
    fn a_directory_that_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, list) in [("one", "2:0:0:0:0:1 a\n"), ("two", "2:0:0:0:0:1 b\n")] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("names"), list).unwrap();
        }
        let live = LiveNames::read(Some(&at("one/names"))).unwrap();
        live.follow();
        let wait_for = |name: &str| {
            let has = |names: &Names| names.values().any(|one| one == name);
            let waits = (0..1000).take_while(|_| !has(&live.names()));
            waits.for_each(|_| thread::sleep(SETTLE));
            assert!(has(&live.names()), "{name}");
        };
        renameat_with(CWD, at("one"), CWD, at("two"), RenameFlags::EXCHANGE).unwrap();
        wait_for("b");
        fs::write(at("one/names"), "2:0:0:0:0:1 c\n").unwrap();
        wait_for("c");
    }
}
