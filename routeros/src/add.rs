//! `add`: a router for the configuration.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use aw_service::{Error, Identity, failed};
use clap::Args;

use crate::{
    config::{Address, Config, Name, Router},
    daemon::DEFAULT_USERS,
    host_key::HostKey,
    ssh::{Fault, Session},
    terminal::{ask, ask_secret, print},
};

/// Options of `add`. What is not given is asked for.
#[derive(Args, Debug)]
pub struct AddOptions {
    /// HOST or HOST:PORT
    host: String,
    /// What to call it
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Log in as LOGIN
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    /// The password is the first line of FILE; without, it is asked for, and written to NAME.pass beside the configuration
    #[arg(long, value_name = "FILE", group = "way")]
    password_file: Option<PathBuf>,
    /// The private key
    #[arg(long, value_name = "FILE", group = "way")]
    key_file: Option<PathBuf>,
    /// Use the SSH agent
    #[arg(long, group = "way")]
    agent: bool,
    /// Offer the algorithms of RouterOS 6
    #[arg(long)]
    legacy: bool,
    /// Believe the host key if it is this one, and do not ask
    #[arg(long, value_name = "SHA256:...", value_parser = pin)]
    host_key: Option<HostKey>,
}

/// A host key on the command line.
pub fn pin(text: &str) -> Result<HostKey, String> {
    HostKey::try_from(text.to_owned())
}

/// Adds a router.
pub fn run(path: &Path, options: &AddOptions) -> Result<(), Error> {
    let address = Address::try_from(options.host.clone()).map_err(failed)?;
    let config = if path.exists() { Some(Config::read(path).map_err(failed)?) } else { None };
    let name = match &options.name {
        Some(name) => name.clone(),
        None => match ask(&format!("Name [{}]: ", address.host))? {
            name if name.is_empty() => address.host.replace(':', "-"),
            name => name,
        },
    };
    let name = Name::try_from(name).map_err(failed)?;
    if config.as_ref().is_some_and(|config| config.routers.iter().any(|router| router.name == name))
    {
        return Err(failed(format_args!("{name}: there is a router of this name already")));
    }
    let key = believe(&address, options.legacy, options.host_key.as_ref())?;
    let login = match &options.login {
        Some(login) => login.clone(),
        None => ask("Login: ")?,
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let file = |path: &Path| quoted(&absolute(path).to_string_lossy());
    let mut secret = None; // written last, so that nothing stays where something fails
    let way = match (&options.password_file, &options.key_file, options.agent) {
        (Some(path), ..) => format!("password_file = {}\n", file(path)),
        (_, Some(path), _) => format!("key_file = {}\n", file(path)),
        (.., true) => "agent = true\n".into(),
        _ => {
            let path = directory.join(format!("{name}.pass"));
            let line = format!("password_file = {}\n", file(&path));
            secret = Some((path, format!("{}\n", ask_secret("Password: ")?)));
            line
        }
    };
    let mut entry = format!(
        "\n[[router]]\nname = {}\naddress = {}\nuser = {}\n{way}host_key = {}\n",
        quoted(name.as_str()),
        quoted(&address.to_string()),
        quoted(&login),
        quoted(&key.to_string()),
    );
    if options.legacy {
        entry.push_str("legacy = true\n");
    }
    let failure = |error| Error::io(format_args!("write {}", path.display()), error);
    let mut text = match config {
        Some(_) => fs::read_to_string(path).map_err(failure)?,
        None => "archive = \"/var/lib/addrwatch/routeros\"\n".to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Config::parse(&(text.clone() + &entry)).map_err(|why| {
        failed(format_args!("{}: with an entry for {name} at its end: {why}", path.display()))
    })?;
    if let Some((path, password)) = &secret {
        write_new(path, password)?;
    }
    let written = match config {
        Some(_) => append(path, &entry).map_err(failure),
        None => write_new(path, &(text + &entry)),
    };
    if let (Err(_), Some((path, _))) = (&written, &secret) {
        let _ = fs::remove_file(path);
    }
    written?;
    print(&format!(
        "{name} is added to {} (kill -HUP tells the daemon; aw-routeros check {name} tries it)\n",
        path.display()
    ))
}

/// The router's host key, once somebody says that it is right.
pub fn believe(address: &Address, legacy: bool, pin: Option<&HostKey>) -> Result<HostKey, Error> {
    let text = format!(
        "archive = \"/\"\n[[router]]\nname = \"x\"\naddress = {:?}\nuser = \"x\"\nagent = true\nlegacy = {legacy}\n",
        address.to_string()
    );
    let mut config = Config::parse(&text).map_err(failed)?;
    let Some(router): Option<Router> = config.routers.pop() else {
        return Err(failed("no router"));
    };
    let router = Router { legacy_group1: legacy, ..router };
    let key = block_on(Session::host_key(&router))?.map_err(|fault| match fault {
        Fault::Algorithms(why) => failed(format_args!("{address}: {why} (RouterOS 6: --legacy)")),
        fault => failed(format_args!("{address}: {fault}")),
    })?;
    match pin {
        Some(pin) if pin.fingerprint == key.fingerprint => return Ok(key),
        Some(_) => return Err(failed(format_args!("{address}: its host key is another: {key}"))),
        None => {}
    }
    print(&format!("Host key of {address}: {key}\n"))?;
    let question = "Is it the router's own? On the router: /ip ssh export-host-key, then ssh-keygen -lf (yes/no): ";
    match ask(question)?.as_str() {
        "yes" => Ok(key),
        _ => Err(failed("the host key is not believed: nothing is done")),
    }
}

/// Runs something that waits for the network.
pub fn block_on<T>(what: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Error::io("start the event loop", error))?.block_on(what))
}

/// All of it or nothing.
fn append(path: &Path, entry: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    let before = file.metadata()?.len();
    file.write_all(entry.as_bytes()).or_else(|error| file.set_len(before).and(Err(error)))
}

/// A file that nobody reads but we and the daemon, which root starts as another user.
fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    let failure = |error| Error::io(format_args!("make {}", path.display()), error);
    let identity = Identity::choose(None, DEFAULT_USERS, None)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failure)?;
    let mut write = || {
        if let Some(Identity { user, group, .. }) = identity {
            fchown(&file, Some(user.as_raw()), Some(group.as_raw()))?;
        }
        file.write_all(text.as_bytes())
    };
    write().map_err(|error| {
        let _ = fs::remove_file(path);
        failure(error)
    })
}
