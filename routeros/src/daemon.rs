//! The daemon: from the configuration to a task for each router, until it is told to stop.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aw_notify::{MailStatus, Mailer, PreparedMailer};
use aw_service::{
    Access, CapabilitySet, Error, Identity, Signals, Startup, SystemCalls, failed, group_id, info,
    open_own, warn,
};
use rustix::net::AddressFamily;
use shm_layout::{Writer, WriterOptions};
use tokio::{net::UnixStream, runtime, sync::watch, task::JoinHandle, time::interval};

use crate::{
    Options,
    config::{Config, Name, Router},
    git::Repository,
    hub::Hub,
    router,
};

/// The user that the daemon becomes where root says nothing else: its own, or that of all the programs.
pub const DEFAULT_USERS: &[&str] = &["aw-routeros", "addrwatch"];
/// Changes are rare: the ring of a thousand takes 133 kB.
const SLOTS: u64 = 1024;
/// Disks are waited for by so many threads.
const WRITERS: usize = 4;

/// Runs until it is told to stop.
pub fn run(options: &Options, startup: &mut Startup) -> Result<(), Error> {
    // In the background the directory is another.
    let failure = |error| Error::io("find the configuration", error);
    let path = std::path::absolute(&options.config).map_err(failure)?;
    let config = Config::read(&path).map_err(failed)?;
    let ring = config.ring_name().map_err(failed)?;
    let signals = Signals::register()?;
    let group = config.ring_group.as_deref().map(group_id).transpose()?;
    let identity = Identity::choose(options.service.user.as_deref(), DEFAULT_USERS, group)?;
    for directory in [Some(&config.archive), config.git.as_ref()].into_iter().flatten() {
        own_directory(directory, identity.as_ref())?;
    }
    let prepared = config.mail.as_ref().map(|mail| {
        let spool = config.archive.join(".spool");
        own_directory(&spool, identity.as_ref())?;
        PreparedMailer::new(mail, &spool).map_err(failed)
    });
    let prepared = prepared.transpose()?;
    let mut calls = SystemCalls::basic();
    calls.allow_event_loop();
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        calls.allow_sockets(family.as_raw().into());
    }
    let files = files(&config, &path);
    let none = CapabilitySet::empty();
    startup.confine(identity.as_ref(), none, &files, calls, options.verbose)?;

    let _lock = lock(&config.archive)?;
    let writer = |name| WriterOptions { name, slots: SLOTS, group, host: None };
    let ring = ring.map(|name| Writer::create(&writer(name)).map_err(failed)).transpose()?;
    let repository =
        |path: &PathBuf| Repository::open(path).map_err(|error| Error::io(path.display(), error));
    let git = config.git.as_ref().map(repository).transpose()?;
    let mailer = prepared.map(start_mailer).transpose()?;
    let hub = Arc::new(Hub::new(&config, false, mailer, ring, git));
    hub.commit_found();
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(WRITERS)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(|error| Error::io("start the event loop", error))?;
    startup.ready()?;
    let ended = runtime.block_on(follow(config, &path, Arc::clone(&hub), &signals, startup));
    runtime.shutdown_timeout(Duration::from_secs(5));
    if let Some(hub) = Arc::into_inner(hub) {
        hub.finish();
    }
    ended
}

/// Starts the thread that sends mail.
pub fn start_mailer(prepared: PreparedMailer) -> Result<Mailer, Error> {
    let report = |report| match report {
        MailStatus::Failing { waiting, why } => {
            warn(format_args!("mail cannot be sent, {waiting} waiting: {why}"));
        }
        MailStatus::Works => info("mail can be sent again"),
        MailStatus::Refused(why) => {
            warn(format_args!("the mail server refuses a mail for good: {why}"))
        }
    };
    prepared.start(report).map_err(|error| Error::io("start the thread for mail", error))
}

async fn follow(
    config: Config,
    path: &Path,
    hub: Arc<Hub>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let (reload, reloaded) = watch::channel(0);
    let mut tasks = Tasks { hub: Arc::clone(&hub), reloaded, running: BTreeMap::new() };
    tasks.set(&config.routers);
    let mut now = config;
    let failure = |error| Error::io("wait for signals", error);
    let fd = signals.as_fd().try_clone_to_owned().map_err(failure)?;
    let wake = UnixStream::from_std(fd.into()).map_err(failure)?;
    let mut second = interval(Duration::from_secs(1));
    while !signals.stopped() {
        tokio::select! {
            ready = wake.readable() => {
                ready.map_err(failure)?;
                while wake.try_read(&mut [0; 16]).is_ok_and(|read| read > 0) {}
            }
            _ = second.tick() => {
                startup.alive();
                hub.keep_ring();
                tasks.look();
            }
        }
        if signals.take_hangup() {
            match Config::read(path) {
                Ok(new) => {
                    let routers =
                        |config: &Config| Config { routers: Vec::new(), ..config.clone() };
                    if routers(&new) != routers(&now) {
                        warn("what is not about routers holds from the next start on");
                    }
                    tasks.set(&new.routers);
                    reload.send_modify(|times| *times += 1);
                    info(format_args!("configuration read: {} routers", new.routers.len()));
                    now = new;
                }
                Err(why) => warn(format_args!("the configuration stays as it was: {why}")),
            }
        }
    }
    tasks.set(&[]);
    Ok(())
}

/// The routers that are followed.
struct Tasks {
    hub: Arc<Hub>,
    reloaded: watch::Receiver<u64>,
    running: BTreeMap<Name, (Router, JoinHandle<()>)>,
}

impl Tasks {
    fn set(&mut self, routers: &[Router]) {
        self.running.retain(|name, (old, task)| {
            let stays = routers.iter().any(|new| &new.name == name && new == old);
            if !stays {
                task.abort();
                self.hub.set_status(name, "stopped", "");
            }
            stays
        });
        for router in routers {
            if !self.running.contains_key(&router.name) {
                self.start(router.clone());
            }
        }
    }

    fn start(&mut self, router: Router) {
        let task =
            router::run(Arc::new(router.clone()), Arc::clone(&self.hub), self.reloaded.clone());
        self.running.insert(router.name.clone(), (router, tokio::spawn(task)));
    }

    /// A task that panicked is begun again: one router must not be forgotten silently.
    fn look(&mut self) {
        let ended: Vec<_> = self
            .running
            .values()
            .filter(|(_, task)| task.is_finished())
            .map(|(router, _)| router.clone())
            .collect();
        for router in ended {
            self.hub.alarm(
                &router,
                "internal error",
                "following it ended in an internal error; it is begun again",
            );
            self.start(router);
        }
    }
}

/// What is opened later.
fn files(config: &Config, path: &Path) -> Vec<Access> {
    let mut files = vec![
        Access::Tree(config.archive.clone()),
        Access::Write("/dev/shm".into()),
        Access::Read("/etc".into()), // authorities of mail servers, too
    ];
    files.extend(Access::host_names());
    files.extend(config.git.clone().map(Access::Tree));
    let mut read = |path: &Path| {
        // The directory: an editor puts a new file in the old one's place.
        let absolute = std::path::absolute(path).ok();
        files.extend(absolute.and_then(|path| Some(Access::Read(path.parent()?.into()))));
    };
    read(path);
    for router in &config.routers {
        let all = [&router.password_file, &router.key_file, &router.passphrase_file];
        all.into_iter().flatten().for_each(|path| read(path));
    }
    files.extend(config.routers.iter().map(|router| Access::Connect(router.address.port)));
    let mail = config.mail.as_ref().and_then(|mail| mail.host_port().ok());
    files.extend(mail.map(|server| Access::Connect(server.port)));
    files
}

/// Makes a directory, for the user that we become, or looks whether it is that user's.
fn own_directory(path: &Path, identity: Option<&Identity>) -> Result<(), Error> {
    let failure = |error| Error::io(format_args!("make {}", path.display()), error);
    if !path.exists() {
        // Those above it as usual: its user must get through them.
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failure)?;
        DirBuilder::new().mode(0o700).create(path).map_err(failure)?;
        if let Some(Identity { user, group, .. }) = identity {
            chown(path, Some(user.as_raw()), Some(group.as_raw())).map_err(failure)?;
        }
    }
    let metadata = fs::metadata(path).map_err(failure)?;
    let user = identity.map_or(rustix::process::geteuid(), |identity| identity.user);
    if !metadata.is_dir() || metadata.uid() != user.as_raw() {
        let path = path.display();
        return Err(failed(format_args!(
            "use {path}: it is not a directory of user id {} (chown it, or remove it)",
            user.as_raw()
        )));
    }
    Ok(())
}

/// One daemon writes to an archive.
fn lock(archive: &Path) -> Result<File, Error> {
    let file = open_own(&archive.join(".lock"), 0o600, None)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(failed(format_args!(
            "lock {}: another aw-routeros writes to it",
            archive.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(Error::io("lock the archive", error)),
    }
}
