//! The service: opens what it needs, drops all other access, and serves until a stop signal.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aw_output::{
    RingWatcher, lock, make_directory,
    makers::Makers,
    names::{LiveNames, check_writable},
    serve::AllowedHosts,
    with_groups_of,
};
use aw_query::{Devices, History};
use aw_service::{
    Access, CapabilitySet, Condition, Error, Identity, Signals, Startup, SystemCalls, info, warn,
};
use jiff::tz::TimeZone;
use rustix::net::AddressFamily;
use tokio::{
    net::UnixStream,
    runtime::Builder,
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::{
    NAME,
    app::{App, ProxyHeaders},
    asker::{Asker, READ_AHEAD, RUNNING},
    display,
    fault_file::FaultFile,
    health::commit_interval,
    listener::{self, Listener},
    live::{Live, LiveSources},
    network_label,
    options::Options,
    records::Records,
    routes::routes,
    secrets::{self, LoginLink},
    server,
    users::UserFile,
};

/// The user that it becomes if root starts it and `-u` names no other.
const USERS: [&str; 2] = [NAME, "addrwatch"];
/// After a stop signal, questions that are still read have this time.
const ENDING: Duration = Duration::from_secs(1);
/// How often it looks whether aw-sqlite has another database.
const MOVED: Duration = Duration::from_secs(20);
/// How often it asks the history itself, for --health: there may be no other question.
const CHECKED: Duration = Duration::from_secs(60);

pub fn run(options: Options) -> std::process::ExitCode {
    let service = options.service.clone();
    aw_service::run(NAME, &service, |startup| start(&options, startup))
}

/// The user and groups that it runs as.
pub fn identity(options: &Options) -> Result<Option<Identity>, Error> {
    Identity::choose(options.service.user.as_deref(), &USERS, None)
}

/// The state directory as an absolute path: in the background the working directory is another.
pub fn state_path(options: &Options) -> PathBuf {
    absolute(&options.state_dir)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

fn start(options: &Options, startup: &mut Startup) -> Result<(), Error> {
    let signals = Signals::register()?;
    let owners = aw_output::owners(&options.owner)?;
    // Files of root, and the port, before privileges are dropped.
    let history = options.history()?;
    let rings = options.rings(&history);
    let identity = identity(options)?.map(|user| with_groups_of(&rings, &owners, user));
    let watcher = RingWatcher::begin(&rings);
    let commit_interval = commit_interval();
    let names = LiveNames::read(options.names.as_deref())?;
    let makers = Makers::new(&options.vendors);
    display::read_own_macs();
    network_label::read_from(&names);
    let listener = listener::open(options, identity.as_ref())?;
    let state = state_path(options);
    make_directory(&state, identity.as_ref())?;
    let mut files = vec![Access::Write(state.clone())];
    files.extend([Access::Read("/etc/group".into()), Access::Read("/etc/passwd".into())]); // for the texts of errors
    files.extend(history.access());
    let is_of_service = options.database.is_none() && options.config.is_none();
    if is_of_service {
        files.extend(History::access_to_options());
    }
    files.extend((!rings.is_empty()).then(|| Access::Read("/dev/shm".into())));
    files.extend([&options.outputs, &options.archive].map(|path| Access::Read(absolute(path))));
    files.extend(names.access());
    files.extend(makers.access());
    if options.edit {
        files.extend(names.write_access());
    }
    let mut calls = SystemCalls::basic();
    calls.allow_serving();
    calls.allow_event_loop();
    calls.allow_watching();
    if options.edit {
        calls.allow_replacing();
    }
    let sockets = history.sockets();
    sockets.iter().for_each(|family| calls.allow_sockets(*family));
    if !sockets.is_empty() {
        calls.allow_sockets(AddressFamily::UNIX.as_raw().into()); // systemd-resolved and nscd, which resolve names
    }
    startup.confine(identity.as_ref(), CapabilitySet::empty(), &files, calls, options.verbose)?;
    let _lock = lock(&state, NAME)?;
    let url = listener.url(&options.allow_host);
    let token = LoginLink::of(&state).write(&url)?;
    names.follow();
    if options.edit
        && let Err(why) = check_writable(names.path())
    {
        warn(format_args!("{why}; no device can be named until then"));
    }
    let devices = Devices::new(names, makers);
    // Unless what is read now differs from what root read: then nothing follows from it.
    let followed = (is_of_service && history.moved().is_none()).then(|| history.clone());
    let written = is_of_service.then(|| history.clone());
    let asker = Asker::new(
        (history, FaultFile::create(&state)?),
        devices,
        TimeZone::system(),
        options.timeout.0,
    );
    let users = UserFile::of(&state);
    if let Some(why) = users.warning()? {
        warn(why);
    }
    let live = Arc::new(Live::new(rings, secrets::random()?));
    let (devices, zone) = (Arc::clone(&asker.devices), asker.zone.clone());
    let outputs = absolute(&options.outputs);
    let records = Records::new(&outputs, &absolute(&options.archive));
    live.start(LiveSources {
        owners,
        watcher,
        devices,
        zone,
        outputs,
        state,
        commit_interval,
        written,
    })?;
    let hosts = AllowedHosts::new(&options.allow_host);
    let proxy = ProxyHeaders {
        user: options.proxy_user_header.clone(),
        client: options.proxy_client_header.clone(),
    };
    let app = App::new(asker, (live, records), hosts, (token, users), proxy, options.edit)?;
    serve(listener, Arc::new(app), (&url, followed), &signals, startup)
}

fn serve(
    listener: Listener,
    app: Arc<App>,
    (url, followed): (&str, Option<History>),
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let failure = |error| Error::io("serve", error);
    // One thread serves; the others wait for the history, one checks passwords, and one writes names.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RUNNING + 2)
        .build()
        .map_err(failure)?;
    let served = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let asked = Arc::clone(&app);
        let live = Arc::clone(&app.live);
        // So that the first page that needs it finds it.
        app.asker.read_next();
        tokio::spawn(async move {
            let [mut check, mut ahead] = [CHECKED, READ_AHEAD].map(interval);
            for ticks in [&mut check, &mut ahead] {
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            }
            loop {
                tokio::select! {
                    _ = check.tick() => drop(asked.asker.check().await), // it reports a fault itself
                    _ = ahead.tick() => asked.asker.read_ahead(),
                }
            }
        });
        let server = tokio::spawn(server::serve(listener, routes(app), stopped));
        startup.ready()?;
        info(format_args!("serving {url}/ (aw-web login prints the link that logs in)"));
        startup.status(|| format!("serving {url}/"));
        let wake = signals.as_fd().try_clone_to_owned().map_err(failure)?;
        let wake = UnixStream::from_std(wake.into()).map_err(failure)?;
        let mut watchdog = interval(Duration::from_secs(1));
        watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut look, mut moved) = (interval(MOVED), Condition::default());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut server = std::pin::pin!(server);
        while !signals.stopped() {
            tokio::select! {
                _ = watchdog.tick() => startup.alive(),
                _ = look.tick() => {
                    let Some(path) = followed.as_ref().and_then(History::moved) else { continue };
                    let path = path.display();
                    if std::env::var_os("NOTIFY_SOCKET").is_some() {
                        warn(format_args!("the options of aw-sqlite name {path} now: ending, for systemd starts this service with it"));
                        break;
                    }
                    moved.begins(format_args!("the options of aw-sqlite name {path} now (restart aw-web, which then reads it)"));
                }
                ready = wake.readable() => {
                    ready.map_err(failure)?;
                    let _ = wake.try_read(&mut [0; 16]);
                }
                ended = server.as_mut() => return match ended {
                    Ok(ended) => ended.map_err(failure),
                    Err(_) => Err(Error::new("serve", "the server ended (please report this bug)")),
                },
            }
        }
        live.end(); // their streams would last
        let _ = stop.send(true);
        let _ = server.await; // its connections had their time
        Ok(())
    });
    runtime.shutdown_timeout(ENDING);
    served
}
