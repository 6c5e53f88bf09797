//! What is not the service: the link, passwords, `--health` and `--check`.

use std::{
    io::{self, ErrorKind, Write, stdin, stdout},
    net::{SocketAddr, TcpListener},
    os::unix::fs::MetadataExt,
    path::Path,
    process::ExitCode,
};

use aw_output::{
    check_rings, is_locked,
    makers::Makers,
    names::{LiveNames, NAMES_FILE, check_writable},
    serve, with_groups_of,
};
use aw_query::{Devices, History};
use aw_service::{
    Error, Identity, UnitFiles, check_directory, failed, other_options, report_trial, run_as,
    user_name,
};
use rustix::{
    process::geteuid,
    termios::{LocalModes, OptionalActions, isatty, tcgetattr, tcsetattr},
};
use shm_layout::RingName;

use crate::{
    NAME, asker, fault_file,
    listener::{Address, tls_config},
    options::{Options, Role},
    secrets::{self, LoginLink},
    service::{identity, state_path},
    users::{MIN_PASSWORD, UserFile, check_new_name, check_password},
};

/// Prints the link that logs in.
pub fn login(options: &Options) -> ExitCode {
    let state = state_path(options);
    end(link(&state).and_then(|link| print(&link)))
}

/// The link, which leads to a running service only.
fn link(state: &Path) -> Result<String, Error> {
    let (file, runs) = (LoginLink::of(state), is_locked(state, NAME).unwrap_or(false));
    if runs && file.is_missing() {
        return Err(failed(format_args!(
            "read {}: no such file or directory, although {NAME} runs: it was deleted (sudo systemctl restart {NAME} writes it again)",
            file.path().display()
        )));
    }
    let link = file.read()?;
    match runs {
        true => Ok(link),
        false => Err(failed(format_args!(
            "log in: {NAME} does not run, and its link leads nowhere (sudo systemctl start {NAME}, and ask again; or name its --state-dir)"
        ))),
    }
}

/// Adds, changes or removes a user, as the owner of the state directory: the service reads the file.
pub fn passwd(options: &Options, name: &str, role: Option<Role>, remove: bool) -> ExitCode {
    let state = state_path(options);
    let done = owner(&state).and_then(|owner| {
        let users = UserFile::of(&state);
        if remove {
            run_as(owner.as_ref(), || users.remove(name)).and_then(|done| done)?;
            return print(&format!("{name} is removed, and logged in no more"));
        }
        check_new_name(name).map_err(failed)?;
        let password = read_password(name)?;
        run_as(owner.as_ref(), || users.set(name, role, &password)).and_then(|done| done)?;
        let at = LoginLink::of(&state).server().map_or(String::new(), |at| format!(" at {at}/"));
        print(&format!("{name} can log in with this password{at}"))
    });
    end(done)
}

/// The owner of a directory, if root asks.
fn owner(directory: &Path) -> Result<Option<Identity>, Error> {
    let found = directory.metadata().map_err(|error| {
        failed(format_args!("open {}: {}", directory.display(), secrets::why(&error, "passwd ...")))
    })?;
    if !geteuid().is_root() || found.uid() == 0 {
        return Ok(None);
    }
    Identity::choose(Some(&found.uid().to_string()), &[], Some(found.gid()))
}

/// From a terminal twice and without echo; otherwise the first line.
fn read_password(name: &str) -> Result<String, Error> {
    let input = stdin();
    if !isatty(&input) {
        return line();
    }
    let read = |prompt: &str| {
        let before = tcgetattr(&input).map_err(|error| Error::io("read the password", error))?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let set = |mode| tcsetattr(&input, OptionalActions::Flush, mode);
        set(&hidden).map_err(|error| Error::io("hide the password", error))?;
        let printed = write!(io::stderr(), "{prompt}");
        let read =
            printed.map_err(|error| Error::write("standard error", error)).and_then(|()| line());
        let _ = set(&before);
        let _ = writeln!(io::stderr());
        read
    };
    let password = read(&format!("Password of {name} (at least {MIN_PASSWORD} characters): "))?;
    check_password(&password)?;
    match read("Again: ")? == password {
        true => Ok(password),
        false => Err(failed("password: the two are not the same (try again)")),
    }
}

fn line() -> Result<String, Error> {
    let mut line = String::new();
    stdin().read_line(&mut line).map_err(|error| Error::io("read the password", error))?;
    Ok(line.trim_end_matches(['\r', '\n']).into())
}

/// Whether it runs, as it holds the lock of its directory, and can read the history, as it found at most a minute ago.
pub fn health(options: &Options) -> ExitCode {
    let state = state_path(options);
    let fault = match is_locked(&state, NAME).unwrap_or(false) {
        false => Some(format!("{NAME} is not running (start it, or name its --state-dir)")),
        true => match fault_file::fault(&state) {
            Ok(why) => why.map(|why| format!("the history cannot be read: {why}")),
            Err(error) => Some(error.to_string()),
        },
    };
    let line = fault.as_ref().map_or(format!("{NAME}: running"), |why| format!("{NAME}: {why}"));
    match (print(&line), fault.is_none()) {
        (Ok(()) | Err(Error::Closed), true) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Tries what the service will do, as its user.
pub fn check(options: &Options) -> ExitCode {
    let unit = (geteuid().is_root() && options.service.user.is_none())
        .then(|| UnitFiles::of(NAME))
        .flatten();
    if let Some(others) = other_options(NAME) {
        let _ = writeln!(stdout(), "{others}"); // also if there are faults
    }
    let rings = rings(options);
    let tried = aw_output::owners(&options.owner).and_then(|owners| {
        let identity = match unit.as_ref().map(UnitFiles::identity).transpose()?.flatten() {
            Some(identity) => Some(identity),
            None => identity(options)?.map(|user| with_groups_of(&rings, &owners, user)),
        };
        run_as(identity.as_ref(), || {
            let (mut notes, mut faults) = check_rings(NAME, &rings, &owners);
            let unit = unit.as_ref();
            let trials: [fn(&Options, Option<&UnitFiles>) -> Trial; 5] =
                [clients, port, history, names, state];
            for trial in trials {
                match trial(options, unit) {
                    Ok(note) => notes.extend(note),
                    Err(fault) => faults.push(fault),
                }
            }
            notes.push(format!("no fault, as far as user {} can try it", user_name()));
            (notes, faults)
        })
    });
    report_trial(tried)
}

type Trial = Result<Option<String>, String>;

fn port(options: &Options, unit: Option<&UnitFiles>) -> Trial {
    let text = |error: Error| error.to_string();
    options.listen.check(options).map_err(text)?;
    if let Some((certificate, key)) = options.tls_cert.as_deref().zip(options.tls_key.as_deref()) {
        tls_config(certificate, key).map_err(text)?;
    }
    let address = match &options.listen {
        Address::Unix(path) => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            if unit.is_some_and(|unit| unit.creates(directory)) {
                return Ok(None);
            }
            if let Some(why) = unit.and_then(|unit| unit.forbids_writing(directory)) {
                return Err(format!("{why} (choose /run/{NAME}/socket with --listen)"));
            }
            return check_directory(directory, "--listen").map(|()| None);
        }
        Address::Tcp(address) => address,
    };
    // A trial of root as the user of the service has none of what the unit gives.
    let is_given = |unit: &UnitFiles| address.port() < 1024 && !unit.may_not_bind_low_ports();
    match serve::listen(address, "--listen") {
        Ok(_) => Ok(Some(format!("{address} can be served"))),
        Err(error) => match is_own(&state_path(options), *address) {
            Some(false) if is_denied(address) && unit.is_some_and(is_given) => Ok(Some(format!(
                "whether {address} is free is not tried: only the unit may take its port"
            ))),
            own if own == Some(false) || !serve::is_in_use(address) => Err(text(error)),
            Some(_) => Ok(Some(format!("the running {NAME} serves port {}", address.port()))),
            None => Ok(Some(format!(
                "{NAME} runs; whether it is what has port {} is in its link, which user {} cannot read (sudo {NAME} --check)",
                address.port(),
                user_name()
            ))),
        },
    }
}

fn is_denied(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Whether clients reach the port, as far as the unit goes.
fn clients(options: &Options, unit: Option<&UnitFiles>) -> Trial {
    let Address::Tcp(address) = &options.listen else { return Ok(None) };
    let unit = unit.filter(|_| !address.ip().to_canonical().is_loopback());
    match unit.and_then(UnitFiles::drops_clients) {
        Some(why) => Err(format!("listen on {address}: {why}")),
        None => Ok(None),
    }
}

/// Whether a running service of this program serves the address, as its link says; none if the link cannot be read.
fn is_own(state: &Path, address: SocketAddr) -> Option<bool> {
    if !is_locked(state, NAME).unwrap_or(false) {
        return Some(false);
    }
    let server = LoginLink::of(state).server()?;
    let place = server.split("//").last().unwrap_or_default();
    // A name stands for any address.
    let is_same = |of: SocketAddr| of == address || address.ip().is_unspecified();
    let has_port = place.ends_with(&format!(":{}", address.port()));
    Some(has_port && place.parse().map_or(true, is_same))
}

/// None if another trial reports why.
fn rings(options: &Options) -> Vec<RingName> {
    let named = options.history();
    named.map(|history| options.rings(&history)).unwrap_or_default()
}

fn history(options: &Options, unit: Option<&UnitFiles>) -> Trial {
    let tried = || {
        let history = options.history()?;
        let names = LiveNames::read(options.names.as_deref())?;
        Ok((history, Devices::new(names, Makers::new(&options.vendors))))
    };
    let (history, devices) = tried().map_err(|error: Error| error.to_string())?;
    if let (History::Sqlite(path), Some(unit)) = (&history, unit)
        && let Some(why) =
            unit.hides_history(&std::path::absolute(path).unwrap_or_else(|_| path.clone()))
    {
        return Err(why);
    }
    asker::check(&history, &devices, options.timeout.0).map(|()| None)
}

/// Whether editors can name devices.
fn names(options: &Options, unit: Option<&UnitFiles>) -> Trial {
    if !options.edit {
        return Ok(None);
    }
    let path = options.names.as_deref().unwrap_or(Path::new(NAMES_FILE));
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    // Of a directory that this user may not enter, the trial below has the reason.
    let is_reached = path.exists() || !path.is_symlink();
    let forbids = |unit: &UnitFiles| unit.forbids_writing(target.parent().filter(|_| is_reached)?);
    if let Some(why) = unit.and_then(forbids) {
        return Err(why);
    }
    check_writable(path).map(|()| None).map_err(|error| error.to_string())
}

fn state(options: &Options, unit: Option<&UnitFiles>) -> Trial {
    let directory = state_path(options);
    if !directory.exists() {
        let parent = directory.parent().unwrap_or(Path::new("/"));
        return match unit.is_some_and(|unit| unit.creates(&directory)) {
            true => Ok(None),
            false => check_directory(parent, "--state-dir").map(|()| None),
        };
    }
    check_directory(&directory, "--state-dir")?;
    UserFile::of(&directory).read().map(|_| None).map_err(|error| error.to_string())
}

fn print(line: &str) -> Result<(), Error> {
    writeln!(stdout(), "{line}").map_err(|error| Error::write("standard output", error))
}

fn end(done: Result<(), Error>) -> ExitCode {
    aw_service::run(NAME, &aw_service::ServiceOptions::default(), |_| done)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A service that runs is no excuse for an address that no interface has, nor for the port of another program.
    #[test]
    fn a_port_is_tried_beside_the_service() {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path();
        let _lock = aw_output::lock(state, NAME).unwrap();
        let served = serve::listen(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), "--listen");
        let own = served.unwrap();
        let (at, number) = (own.local_addr().unwrap(), own.local_addr().unwrap().port());
        LoginLink::of(state).write(&format!("http://{at}")).unwrap();
        let tried = |listen: &str| {
            let words = ["aw-web", "--state-dir", state.to_str().unwrap(), "--listen", listen];
            port(&clap::Parser::try_parse_from(words).unwrap(), None)
        };
        let note = format!("the running {NAME} serves port {number}");
        assert_eq!(tried(&at.to_string()), Ok(Some(note)));
        assert!(!serve::is_in_use(&SocketAddr::new([192, 0, 2, 50].into(), number)));
        // Also where the link was deleted, or is not for this user.
        std::fs::remove_file(state.join("aw-web.login")).unwrap();
        let note = tried(&at.to_string()).unwrap().unwrap();
        assert!(note.contains("whether it is what has port"), "{note}");
        for other in ["http://127.0.0.1:1".into(), format!("http://127.0.0.2:{number}")] {
            LoginLink::of(state).write(&other).unwrap();
            let why = tried(&at.to_string()).unwrap_err();
            assert!(why.contains("choose another port"), "{other}: {why}");
        }
        LoginLink::of(state).write(&format!("https://sensor:{number}")).unwrap();
        assert!(tried(&at.to_string()).is_ok());
    }

    #[test]
    fn a_link_leads_to_a_running_service() {
        let directory = tempfile::tempdir().unwrap();
        let text = || link(directory.path()).map_err(|error| error.to_string());
        assert!(text().unwrap_err().contains("systemctl enable --now aw-web"));
        LoginLink::of(directory.path()).write("http://127.0.0.1:1").unwrap();
        assert!(text().unwrap_err().contains("does not run"));
        let _lock = aw_output::lock(directory.path(), NAME).unwrap();
        assert!(text().unwrap().starts_with("http://127.0.0.1:1/login?token="));
        std::fs::remove_file(directory.path().join("aw-web.login")).unwrap();
        assert!(text().unwrap_err().contains("systemctl restart aw-web"));
    }
}
