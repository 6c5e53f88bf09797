//! `aw-routeros HOST USER`, the command line of ros-config-monitoring: follows one router with a password from the
//! terminal, prints its changes, and reads `config.txt` in the current directory if it exists.

pub(crate) mod config_txt;

use std::{
    fs::{self, DirBuilder, File},
    io::ErrorKind,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aw_notify::PreparedMailer;
use aw_service::{
    Error, FileKind, HostPort, Signals, failed, info, open_append, read_file_text, warn,
};
use clap::Args;
use tokio::{sync::watch, time::sleep};

use self::config_txt::LegacyConfig;
use crate::{
    Options,
    add::{block_on, confirm_host_key, quoted},
    archive::{make_directory, replace},
    config::{Config, MAX_CONFIG, Router, router_address},
    host_key::{self, HostKey},
    recorder::{Recorder, RestoredFaults},
    session::{self, ExportRequests, FetchTurns},
    terminal::ask_secret,
};

#[derive(Args, Debug)]
pub struct LegacyOptions {
    /// With HOST LOGIN: trust this host key without asking
    #[arg(long, value_name = "SHA256:...", value_parser = host_key::parse, requires = "host")]
    host_key: Option<HostKey>,
    /// With HOST LOGIN: also offer the algorithms of RouterOS 6
    #[arg(long, requires = "host")]
    legacy: bool,
}

const CONFIG: &str = "config.txt";

/// Follows one router until a signal arrives. Its files are removed at the end.
pub fn run(host: &str, login: &str, options: &Options) -> Result<(), Error> {
    let legacy_config = read_config()?;
    let address = router_address(host).map_err(failed)?;
    let legacy = options.legacy_mode.legacy;
    let key = confirm_host_key(&address, legacy, options.legacy_mode.host_key.as_ref())?;
    let password = ask_secret("Password: ", "the password there")?;
    let directory = TemporaryDirectory::new()?;
    let password_file = directory.0.join("password");
    replace(&password_file, password.as_bytes())
        .map_err(|error| Error::io(format_args!("write {}", password_file.display()), error))?;
    let mut config = config(&directory.0, &address, login, &key, legacy)?;
    let router = config.routers.pop().ok_or_else(|| failed("no router"))?;
    let mailer = match &legacy_config.mail {
        Some(mail) => {
            let prepared = PreparedMailer::new(mail, &directory.0.join("spool")).map_err(failed)?;
            Some(prepared.start()?)
        }
        None => None,
    };
    let change_log = legacy_config.log_file.as_deref().map(open_change_log).transpose()?;
    let recorder = Recorder::new(&config, true, mailer, None, None).with_change_log(change_log);
    let recorder = Arc::new(recorder);
    let signals = Signals::register()?;
    info(format_args!("following {address}; press Ctrl-C to stop"));
    let ended = block_on(follow(router, Arc::clone(&recorder), &signals))?;
    if let Some(recorder) = Arc::into_inner(recorder) {
        recorder.finish();
    }
    ended
}

fn open_change_log(path: &str) -> Result<File, Error> {
    let file = open_append(Path::new(path), 0o600);
    file.map_err(|error| Error::io(format_args!("open {path}"), error))
}

fn read_config() -> Result<LegacyConfig, Error> {
    let config = match read_file_text(Path::new(CONFIG), FileKind::Settings, MAX_CONFIG) {
        Ok(text) => {
            LegacyConfig::parse(&text).map_err(|cause| failed(format_args!("{CONFIG}: {cause}")))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => LegacyConfig::default(),
        Err(error) => return Err(Error::io(format_args!("read {CONFIG}"), error)),
    };
    if !config.intervals.is_empty() {
        let names = config.intervals.join(", ");
        warn(format_args!(
            "{CONFIG}: {names}: ignored (aw-routeros does not poll, and increases the pauses between attempts)"
        ));
    }
    Ok(config)
}

/// A configuration with one router, and the archive and password in `directory`.
fn config(
    directory: &Path,
    address: &HostPort,
    login: &str,
    key: &HostKey,
    legacy: bool,
) -> Result<Config, Error> {
    let name = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    let name: String = address.host.chars().map(name).take(64).collect();
    let text = format!(
        "archive = {}\nring = \"\"\n[[router]]\nname = {}\naddress = {}\nuser = {}\npassword_file = {}\nhost_key = {}\nlegacy = {legacy}\n",
        quoted(&directory.join("archive").to_string_lossy()),
        quoted(&name),
        quoted(&address.to_string()),
        quoted(login),
        quoted(&directory.join("password").to_string_lossy()),
        quoted(&key.to_string()),
    );
    Config::parse(&text).map_err(failed)
}

/// Follows the router until a signal arrives or the login is refused.
async fn follow(router: Router, recorder: Arc<Recorder>, signals: &Signals) -> Result<(), Error> {
    let (archive, address) = (recorder.archive(&router.name), router.address.clone());
    let (_reload, reloaded) = watch::channel(0);
    let (turns, none) = (FetchTurns::default(), ExportRequests::default());
    let (restored, router) = (RestoredFaults::default(), Arc::new(router));
    let task = session::run(router, recorder, turns, restored, reloaded, none);
    let task = tokio::spawn(task);
    let mut ended = Ok(());
    while !signals.stopped() && !task.is_finished() {
        // The daemon waits until the login is corrected; here a new start is simpler.
        if archive.state().is_ok_and(|state| state.status == "refused") {
            ended = Err(failed(format_args!(
                "{address}: not followed, because the login was refused (check user and password)"
            )));
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    task.abort();
    let _ = task.await;
    ended
}

struct TemporaryDirectory(PathBuf);

impl TemporaryDirectory {
    fn new() -> Result<TemporaryDirectory, Error> {
        let path = std::env::temp_dir().join(format!("aw-routeros-{}", std::process::id()));
        let failure = |error| Error::io(format_args!("create {}", path.display()), error);
        // Fails if another user has created it.
        DirBuilder::new().mode(0o700).create(&path).map_err(failure)?;
        make_directory(&path.join("archive")).map_err(failure)?;
        Ok(TemporaryDirectory(path))
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
