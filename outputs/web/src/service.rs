//! The service: opens what it needs, drops all other access, and serves until a stop signal.

use std::{os::fd::AsFd, path::PathBuf, sync::Arc, time::Duration};

use aw_output::{lock, make_directory, makers::Makers, names::LiveNames, serve::AllowedHosts};
use aw_query::{Devices, History};
use aw_service::{Access, CapabilitySet, Error, Identity, Signals, Startup, SystemCalls, info};
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
    app::App,
    asker::{Asker, RUNNING},
    fault_file::FaultFile,
    listener::{self, Listener},
    options::Options,
    routes::routes,
    secrets::LoginLink,
    server,
    users::UserFile,
};

/// The user that it becomes if root starts it and `-u` names no other.
const USERS: [&str; 2] = [NAME, "addrwatch"];
/// After a stop signal, questions that are still read have this time.
const ENDING: Duration = Duration::from_secs(1);
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
    std::path::absolute(&options.state_dir).unwrap_or_else(|_| options.state_dir.clone())
}

fn start(options: &Options, startup: &mut Startup) -> Result<(), Error> {
    let signals = Signals::register()?;
    let identity = identity(options)?;
    // Files of root, and the port, before privileges are dropped.
    let history =
        History::named(options.database.as_deref(), options.config.as_deref(), &options.prefix)?;
    let names = LiveNames::read(options.names.as_deref())?;
    let makers = Makers::new(&options.vendors);
    let listener = listener::open(options, identity.as_ref())?;
    let state = state_path(options);
    make_directory(&state, identity.as_ref())?;
    let mut files = vec![Access::Write(state.clone())];
    files.extend([Access::Read("/etc/group".into()), Access::Read("/etc/passwd".into())]); // for the texts of errors
    files.extend(history.access());
    files.extend(names.access());
    files.extend(makers.access());
    let mut calls = SystemCalls::basic();
    calls.allow_serving();
    calls.allow_event_loop();
    calls.allow_watching();
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
    let devices = Devices::new(names, makers);
    let asker = Asker::new(
        (history, FaultFile::create(&state)?),
        devices,
        TimeZone::system(),
        options.timeout.0,
    );
    let users = UserFile::of(&state);
    users.read()?;
    let hosts = AllowedHosts::new(&options.allow_host);
    let app = App::new(asker, hosts, (token, users), options.proxy_user_header.clone())?;
    serve(listener, Arc::new(app), &url, &signals, startup)
}

fn serve(
    listener: Listener,
    app: Arc<App>,
    url: &str,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let failure = |error| Error::io("serve", error);
    // One thread serves; the others wait for the history, and one checks passwords.
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RUNNING + 2)
        .build()
        .map_err(failure)?;
    let served = runtime.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let asked = Arc::clone(&app);
        tokio::spawn(async move {
            let mut check = interval(CHECKED);
            check.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                check.tick().await;
                let _ = asked.asker.check().await; // it reports a fault itself
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
        let mut server = std::pin::pin!(server);
        while !signals.stopped() {
            tokio::select! {
                _ = watchdog.tick() => startup.alive(),
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
        let _ = stop.send(true);
        let _ = server.await; // its connections had their time
        Ok(())
    });
    runtime.shutdown_timeout(ENDING);
    served
}
