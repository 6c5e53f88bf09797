//! The old way, `aw-routeros HOST USER`: one router, a typed password, changes on the terminal. It
//! reads the ancestor's `config.txt` in the current directory, if there is one.

use std::{fs, io::ErrorKind, os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use aw_notify::PreparedMailer;
use aw_service::{Error, Signals, failed, info};
use clap::Args;
use tokio::{sync::watch, time::sleep};

use crate::{
    Options,
    add::{believe, block_on, pin},
    ancestor::Ancestor,
    archive::make_directory,
    config::{Address, Config},
    daemon::start_mailer,
    host_key::HostKey,
    hub::Hub,
    router,
    terminal::ask_secret,
};

/// Options of the old way.
#[derive(Args, Debug)]
pub struct QuickOptions {
    /// With HOST USER: believe the host key if it is this one, and do not ask
    #[arg(long, value_name = "SHA256:...", value_parser = pin, requires = "host")]
    host_key: Option<HostKey>,
    /// With HOST USER: offer the algorithms of RouterOS 6
    #[arg(long, requires = "host")]
    legacy: bool,
}

const ANCESTOR: &str = "config.txt";

/// Follows one router until a signal comes. What it stores goes with it.
pub fn run(host: &str, login: &str, options: &Options) -> Result<(), Error> {
    let ancestor = match fs::read_to_string(ANCESTOR) {
        Ok(text) => {
            Ancestor::parse(&text).map_err(|why| failed(format_args!("{ANCESTOR}: {why}")))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ancestor::default(),
        Err(error) => return Err(Error::io(format_args!("read {ANCESTOR}"), error)),
    };
    if !ancestor.intervals.is_empty() {
        let names = ancestor.intervals.join(", ");
        info(format_args!(
            "{ANCESTOR}: {names}: without effect, for nothing is polled and the pauses between attempts grow"
        ));
    }
    let address = Address::try_from(host.to_owned()).map_err(failed)?;
    let legacy = options.quick.legacy;
    let key = believe(&address, legacy, options.quick.host_key.as_ref())?;
    let password = ask_secret("Password: ")?;
    let directory = Private::new()?;
    let password_file = directory.0.join("password");
    write(&password_file, &password)?;
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let name: String = address
        .host
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' })
        .take(64)
        .collect();
    let text = format!(
        "archive = {}\nring = \"\"\n[[router]]\nname = {}\naddress = {}\nuser = {}\npassword_file = {}\nhost_key = {}\nlegacy = {legacy}\n",
        quoted(&directory.0.join("archive").to_string_lossy()),
        quoted(&name),
        quoted(&address.to_string()),
        quoted(login),
        quoted(&password_file.to_string_lossy()),
        quoted(&key.to_string()),
    );
    let mut config = Config::parse(&text).map_err(failed)?;
    let router = config.routers.pop().ok_or_else(|| failed("no router"))?;
    let mailer = match &ancestor.mail {
        Some(mail) => {
            let prepared = PreparedMailer::new(mail, &directory.0.join("spool")).map_err(failed)?;
            Some(start_mailer(prepared)?)
        }
        None => None,
    };
    let hub =
        Hub::new(&config, true, mailer, None, None).with_log_file(ancestor.log_file.as_deref())?;
    let hub = Arc::new(hub);
    let signals = Signals::register()?;
    info(format_args!("following {address}; Ctrl-C ends it"));
    let (_reload, reloaded) = watch::channel(0);
    let (followed, name) = (Arc::clone(&hub), router.name.clone());
    let ended = block_on(async {
        let task = tokio::spawn(router::run(Arc::new(router), followed, reloaded));
        let mut ended = Ok(());
        while !signals.stopped() && !task.is_finished() {
            // The daemon would wait for somebody to mend it: here somebody waits.
            if hub.archive(&name).state().is_ok_and(|state| state.status == "refused") {
                ended = Err(failed(format_args!("{address}: not followed without a login")));
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        task.abort();
        let _ = task.await;
        ended
    })?;
    if let Some(hub) = Arc::into_inner(hub) {
        hub.finish();
    }
    ended
}

/// A directory that goes with the process.
struct Private(std::path::PathBuf);

impl Private {
    fn new() -> Result<Private, Error> {
        let path = std::env::temp_dir().join(format!("aw-routeros-{}", std::process::id()));
        let failure = |error| Error::io(format_args!("make {}", path.display()), error);
        // It must not be another's, whatever waits there.
        fs::create_dir(&path).map_err(failure)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(failure)?;
        make_directory(&path.join("archive")).map_err(failure)?;
        Ok(Private(path))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o600)))
        .map_err(|error| Error::io(format_args!("write {}", path.display()), error))
}
