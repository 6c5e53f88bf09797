//! The daemon: runs a task for each router of the configuration until a signal stops it.

mod router_tasks;

use std::{
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, FileExt, MetadataExt, chown, fchown},
    },
    path::{Path, PathBuf},
    process,
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use aw_notify::PreparedMailer;
use aw_service::{
    Access, CapabilitySet, Error, Identity, Signals, Startup, SystemCalls, count_of, failed,
    group_id, info, open_own, raise_open_files, warn,
};
use rustix::net::AddressFamily;
use shm_layout::{CreateError, Writer, WriterOptions};
use tokio::{
    net::UnixStream,
    runtime,
    sync::{mpsc, watch},
    task::{JoinHandle, spawn_blocking},
    time::interval,
};

use self::router_tasks::RouterTasks;
use crate::{
    Options, access,
    config::Config,
    control::{self, ControlRequest, Requested},
    git::Repository,
    hooks::{self, HookCommand, Hooks},
    login_gate,
    open_files::shortage,
    pause::{Alive, Pause, is_clock_kept},
    recorder::Recorder,
    reload,
    session::{ExportAnswer, ExportResult},
    ssh::retry_jumps,
    start_access,
    syslog::{self, SyslogSockets},
};

/// The user that the daemon runs as if root starts it without `-u`: the first one that exists.
pub const DEFAULT_USERS: &[&str] = &["aw-routeros", "addrwatch"];
/// Events of the ring. Changes are rare; a ring of 1024 events takes 133 kB.
const SLOTS: u64 = 1024;
const WRITERS: usize = 4;
/// Requests of exports that wait, at most.
const MAX_REQUESTS: usize = 16;
/// How often the lock of the archive is tried again, each time after 20 ms.
const LOCK_TRIES: usize = 25;

/// Runs until a signal stops it.
pub fn run(options: &Options, startup: &mut Startup) -> Result<(), Error> {
    let path = options.config.clone();
    let config = Config::read(&path).map_err(failed)?;
    config.warnings.iter().for_each(warn);
    let ring = config.ring_name().map_err(failed)?;
    let group = config.ring_group.as_deref().map(group_id).transpose()?;
    let identity = Identity::choose(options.service.user.as_deref(), DEFAULT_USERS, group)?;
    for directory in [Some(&config.archive), config.git.as_ref()].into_iter().flatten() {
        own_directory(directory, identity.as_ref())?;
    }
    let lock = lock(&config.archive, identity.as_ref())?;
    let pause = lock.pause;
    let control = control::listen(&config.archive, identity.as_ref());
    let control = control
        .inspect_err(|why| warn(format_args!("{why}: aw-routeros export will not work")))
        .ok();
    let prepared = config.mail.as_ref().map(|mail| {
        let spool = config.archive.join(".spool");
        own_directory(&spool, identity.as_ref())?;
        PreparedMailer::new(mail, &spool).map_err(failed)
    });
    let prepared = prepared.transpose()?;
    let syslog = config.syslog.as_ref().map(SyslogSockets::open).transpose()?;
    config.hooks().filter_map(HookCommand::shell_text).for_each(warn);
    let hooks = hooks::start(&config, identity.as_ref(), options.service.daemon)?;
    let signals = Signals::register()?;
    let open_files = raise_open_files(); // not for the programs of hooks
    shortage(&config.routers, open_files).iter().for_each(warn);
    let mut calls = SystemCalls::basic();
    calls.allow_event_loop();
    calls.allow_serving();
    calls.allow_ring_writer();
    for family in [AddressFamily::UNIX, AddressFamily::INET, AddressFamily::INET6] {
        calls.allow_sockets(family.as_raw().into());
    }
    let files = files(&config, &path);
    start_access::set(files.clone());
    let none = CapabilitySet::empty();
    startup.confine(identity.as_ref(), none, &files, calls, options.verbose)?;

    let open = |name| {
        let options = WriterOptions { name, slots: SLOTS, group, host: None };
        Writer::create(&options).map_err(|error| match error {
            CreateError::Busy(pid) => failed(ring_in_use(options.name.as_str(), pid)),
            error => Error::new(format_args!("open ring {}", options.name), error),
        })
    };
    let ring = ring.map(open).transpose()?;
    let repository =
        |path: &PathBuf| Repository::open(path).map_err(|error| Error::io(path.display(), error));
    let git = config.git.as_ref().map(repository).transpose()?;
    let mailer = prepared.map(PreparedMailer::start).transpose()?;
    let hooks = hooks.map(|pipes| Hooks::new(pipes, &config)).transpose()?;
    let recorder =
        Recorder::new(&config, false, mailer, ring, git).with_pause(pause).with_hooks(hooks);
    let recorder = Arc::new(recorder);
    if let Some(off) = recorder.off() {
        info(format_args!("no aw-routeros followed the routers {off}"));
    }
    recorder.stop_others(&config.routers);
    recorder.configuration_read("");
    recorder.mask_bases();
    recorder.commit_archive();
    recorder.send_earlier_mail();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WRITERS)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|error| Error::io("start the event loop", error))?;
    startup.ready()?;
    // Not before: the process that opened the file may have ended.
    lock.alive();
    info(start_line(&config));
    if config.routers.is_empty() {
        warn("no router is configured (aw-routeros add HOST)");
    }
    let socket = control::path(&config.archive);
    let (send, requests) = mpsc::channel(MAX_REQUESTS);
    control.map(|control| runtime.spawn(control::serve(control, send)));
    let following = follow(
        (config, &path),
        syslog,
        (Arc::clone(&recorder), &lock),
        requests,
        open_files,
        &signals,
        startup,
    );
    let ended = runtime.block_on(following);
    let _ = fs::remove_file(socket);
    runtime.shutdown_timeout(Duration::from_secs(5));
    if let Some(recorder) = Arc::into_inner(recorder) {
        recorder.finish();
    }
    ended
}

async fn follow(
    (config, path): (Config, &Path),
    syslog: Option<SyslogSockets>,
    (recorder, lock): (Arc<Recorder>, &ArchiveLock),
    mut requests: mpsc::Receiver<ControlRequest>,
    open_files: u64,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let (reloads, reloaded) = watch::channel(0);
    let mut tasks = RouterTasks::new(Arc::clone(&recorder), reloaded);
    tasks.set(&config.routers);
    if let Some(sockets) = syslog {
        tokio::spawn(syslog::listen(sockets, Arc::clone(&recorder.syslog_senders)));
    }
    let reporter = Arc::clone(&recorder);
    spawn_blocking(move || reporter.report_clear_files());
    let mut current = config;
    let failure = |error| Error::io("wait for signals", error);
    let fd = signals.as_fd().try_clone_to_owned().map_err(failure)?;
    let wake = UnixStream::from_std(fd.into()).map_err(failure)?;
    let (mut reports, mut reload_requests, mut refused) = (None, Vec::new(), String::new());
    let mut second = interval(Duration::from_secs(1));
    let mut minute = interval(Duration::from_secs(60));
    while !signals.stopped() {
        tokio::select! {
            ready = wake.readable() => {
                ready.map_err(failure)?;
                while wake.try_read(&mut [0; 16]).is_ok_and(|read| read > 0) {}
            }
            Some((requested, to)) = requests.recv() => match requested {
                Requested::Reload => reload_requests.push(to),
                Requested::Export(name) => tasks.export(&name, to),
                Requested::Faults => {
                    let _ = to.send(recorder.write_fault().map_or_else(answer_well, ExportAnswer::failed));
                }
            },
            _ = minute.tick() => lock.alive(),
            _ = second.tick() => {
                startup.alive();
                startup.status(|| recorder.summary());
                recorder.maintain_ring();
                recorder.report_shared();
                // One at a time: a disk may need long.
                if reports.as_ref().is_none_or(JoinHandle::is_finished) {
                    let recorder = Arc::clone(&recorder);
                    reports = Some(spawn_blocking(move || recorder.maintain_reports()));
                }
                tasks.restart_ended();
            }
        }
        if signals.take_hangup() {
            let refusal = |new: &Config| reload::refusal(&recorder.config, &current, new);
            let read = Config::read(path).map_err(|cause| (cause, false));
            let read = read.and_then(|new| refusal(&new).map_or(Ok(new), |why| Err((why, true))));
            match read {
                Ok(new) => {
                    refused.clear();
                    login_gate::reload(&new.routers);
                    retry_jumps();
                    reload_routers(&mut tasks, &current, &new);
                    shortage(&new.routers, open_files).iter().for_each(warn);
                    reloads.send_modify(|times| *times += 1);
                    current = new;
                }
                Err((cause, can_start)) => {
                    warn(format_args!("{cause}: the old configuration stays in effect"));
                    recorder.configuration_refused(&cause, can_start);
                    refused = cause;
                }
            }
        }
        // After the signal that was sent before them.
        for to in reload_requests.drain(..) {
            let _ = to.send(match refused.as_str() {
                "" => answer_well(),
                why => ExportAnswer::failed(why),
            });
        }
    }
    tasks.stop();
    lock.alive();
    recorder.syslog_senders.report();
    Ok(())
}

/// To a request that is no export.
fn answer_well() -> ExportAnswer {
    ExportAnswer { result: ExportResult::Unchanged, ..ExportAnswer::default() }
}

/// Another program writes to the ring: an aw-routeros of another archive.
fn ring_in_use(ring: &str, pid: Option<u64>) -> String {
    let process = pid.map_or(String::new(), |pid| format!(" by process {pid}"));
    format!(
        "open ring {ring}: in use{process} (stop it, systemctl stop aw-routeros; or set ring = \"/NAME\", or ring = \"\" for none, in the configuration of this one)"
    )
}

/// The line that the start prints.
fn start_line(config: &Config) -> String {
    let count = config.routers.len();
    let noun = if count == 1 { "router" } else { "routers" };
    let mail = config.mail.as_ref().map_or("no mail ([mail] is not set)".into(), |mail| {
        format!("mail to {} by {}", mail.to.join(", "), mail.server)
    });
    format!("{count} {noun}, archive {}, {mail}", config.archive.display())
}

fn reload_routers(tasks: &mut RouterTasks, old: &Config, new: &Config) {
    new.warnings.iter().for_each(warn);
    let keys = reload::keys_for_a_restart(&tasks.recorder.config, new);
    let mut why = String::new();
    if !keys.is_empty() {
        why = format!(
            "changed in the configuration, and not in effect: {}: {}",
            keys.join(", "),
            start_access::RESTART
        );
        warn(&why);
    }
    tasks.recorder.configuration_read(&why);
    tasks.set(&new.routers);
    let differ = reload::routers_that_differ(&old.archive, &old.routers, &new.routers);
    let count = count_of(new.routers.len() as u64, "router", "routers");
    info(format_args!("configuration loaded: {count}{differ}"));
}

/// The files, directories and ports that are accessed later, for the sandbox.
fn files(config: &Config, path: &Path) -> Vec<Access> {
    let mut files = vec![
        Access::Tree(config.archive.clone()),
        Access::Create("/dev/shm".into()),
        Access::Read("/etc".into()), // certificate authorities of mail servers too
    ];
    files.extend(Access::host_names());
    files.extend(config.git.clone().map(Access::Tree));
    files.extend(config.include.clone().map(Access::Read));
    let mut read = |path: &Path| {
        // The directory: an editor replaces the file.
        let absolute = std::path::absolute(path).ok();
        files.extend(absolute.and_then(|path| Some(Access::Read(path.parent()?.into()))));
    };
    read(path);
    for router in config.routers.iter().chain(&config.jump_hosts) {
        router.files().for_each(|path| read(path));
    }
    // Read again for each login.
    config.mail.iter().filter_map(|mail| mail.password_file.as_deref()).for_each(read);
    let hosts = || config.routers.iter().chain(&config.jump_hosts);
    files.extend(hosts().map(|router| Access::Connect(router.address.port)));
    files.extend(hosts().any(|router| router.source.is_some()).then_some(Access::BindAny));
    let mail = config.mail.iter().flat_map(|mail| mail.ports());
    files.extend(mail.map(Access::Connect));
    files
}

/// Creates a directory for the user that the daemon runs as, or checks that it belongs to that user.
fn own_directory(path: &Path, identity: Option<&Identity>) -> Result<(), Error> {
    let failure = |error: io::Error| match error.kind() {
        ErrorKind::PermissionDenied => failed(format_args!(
            "create {}: permission denied{}",
            path.display(),
            access::remedy_for_creating(path)
        )),
        _ => Error::io(format_args!("create {}", path.display()), error),
    };
    if !path.exists() {
        // Parent directories with the default mode: that user must be able to enter them.
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failure)?;
        DirBuilder::new().mode(0o700).create(path).map_err(failure)?;
        if let Some(Identity { user, group, .. }) = identity {
            chown(path, Some(user.as_raw()), Some(group.as_raw())).map_err(failure)?;
        }
    }
    let metadata = fs::metadata(path).map_err(failure)?;
    let user = identity.map_or(rustix::process::geteuid(), |identity| identity.user);
    let shown = path.display();
    if !metadata.is_dir() {
        return Err(failed(format_args!("use {shown}: it is not a directory (name a directory)")));
    }
    if metadata.uid() != user.as_raw() {
        let (user, remedy) = access::remedy_for_owner(user.as_raw(), metadata.uid(), path);
        return Err(failed(format_args!("use {shown}: it does not belong to {user} ({remedy})")));
    }
    Ok(())
}

pub fn lock_path(archive: &Path) -> PathBuf {
    archive.join(".lock")
}

/// Only one process writes to the archive: the one that holds this lock.
pub struct ArchiveLock {
    file: File,
    boot: String,
    /// How long no daemon followed the routers.
    pub pause: Pause,
}

impl ArchiveLock {
    /// Writes the number of this process, for the message of another one, and that it is alive, for the next daemon: one that is
    /// killed writes no more. This is content of the file because a disk may store its time of modification a day later
    /// (`lazytime`).
    fn alive(&self) {
        self.write(&Alive::now(&self.boot));
    }

    fn write(&self, alive: &Alive) {
        let text = format!("{} {}\n", process::id(), alive.text());
        let written = self.file.write_all_at(text.as_bytes(), 0);
        let _ = written.and_then(|()| self.file.set_len(text.len() as u64));
    }
}

/// The number of the process that has the lock, and when it was alive.
fn read_lock(file: &File) -> (Option<u32>, Option<Alive>) {
    let mut bytes = [0; 200];
    let length = file.read_at(&mut bytes, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..length]);
    let (number, alive) = text.split_once(' ').unwrap_or((&text, ""));
    (number.trim().parse().ok(), Alive::parse(alive))
}

/// Locks the archive: only one process writes to it. `--health` holds the lock for a moment, which is waited for.
pub fn lock(archive: &Path, identity: Option<&Identity>) -> Result<ArchiveLock, Error> {
    let user = identity.map(|identity| identity.user);
    let file = open_own(&lock_path(archive), 0o600, user)?;
    let mut locked = file.try_lock();
    for _ in 0..LOCK_TRIES {
        if !matches!(locked, Err(fs::TryLockError::WouldBlock)) {
            break;
        }
        sleep(Duration::from_millis(20));
        locked = file.try_lock();
    }
    match locked {
        Ok(()) => {
            if let Some(Identity { user, group, .. }) = identity {
                fchown(&file, Some(user.as_raw()), Some(group.as_raw()))
                    .map_err(|error| Error::io("lock the archive", error))?;
            }
            let (_, before) = read_lock(&file);
            let boot = shm_layout::boot_id();
            let until_now = |alive: &Alive| alive.pause_until(&Alive::now(&boot), is_clock_kept());
            let pause = before.as_ref().map_or(Pause::None, until_now);
            let lock = ArchiveLock { file, boot, pause };
            match before {
                // A start that fails does not change it.
                Some(before) => lock.write(&before),
                None => drop(lock.file.set_len(0)), // the number of an earlier process
            }
            Ok(lock)
        }
        Err(fs::TryLockError::WouldBlock) => {
            let process = match read_lock(&file) {
                (Some(number), _) => format!(", process {number},"),
                (None, _) => String::new(),
            };
            Err(failed(format_args!(
                "lock {}: another aw-routeros{process} uses this archive (stop it, systemctl stop aw-routeros; or set another archive)",
                archive.display()
            )))
        }
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock the archive", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `--health` holds the lock for a moment.
    #[test]
    fn a_lock_that_is_held_for_a_moment() {
        let root = tempfile::tempdir().unwrap();
        let first = lock(root.path(), None).unwrap();
        assert!(lock(root.path(), None).is_err());
        drop(first);
        let health = File::open(lock_path(root.path())).unwrap();
        health.try_lock_shared().unwrap();
        let release = std::thread::spawn(move || {
            sleep(Duration::from_millis(50));
            drop(health);
        });
        lock(root.path(), None).unwrap();
        release.join().unwrap();
    }
}
