//! `add`: adds a router, or the routers of a list, to the configuration file.

pub mod list;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
};

use aw_service::{Error, FileKind, HostPort, Identity, failed, open_append, read_file_text};
use clap::Args;

use crate::{
    config::{Config, MAX_CONFIG, Router, RouterName, router_address},
    daemon::DEFAULT_USERS,
    host_key::{self, HostKey},
    ssh::{SshConnection, SshFault},
    terminal::{ask, ask_secret, print},
};

/// Options of `add`. It asks for missing values.
#[derive(Args, Debug)]
pub struct AddOptions {
    /// HOST or HOST:PORT; an IPv6 address with port as [ADDRESS]:PORT
    #[arg(required_unless_present = "from")]
    host: Option<String>,
    /// Add the routers of a list: each line is ADDRESS or NAME ADDRESS. Their host keys are shown and asked for once. Routers that the configuration has are left out, and those that do not answer are listed at the end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["host", "name", "host_key"])]
    from: Option<PathBuf>,
    /// Trust the host keys of all routers of the list without asking
    #[arg(long, requires = "from")]
    yes: bool,
    /// Group of the router, or of those of the list
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Name of the router in the archive, in messages and in mail
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// User that logs in to the router
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    /// Read the password from the first line of FILE; without a login option, ask for it and write it to NAME.pass beside the configuration file
    #[arg(long, value_name = "FILE", group = "credentials")]
    password_file: Option<PathBuf>,
    /// Log in with this private key
    #[arg(long, value_name = "FILE", group = "credentials")]
    key_file: Option<PathBuf>,
    /// Log in with the keys of the SSH agent
    #[arg(long, group = "credentials")]
    agent: bool,
    /// Also offer the algorithms of RouterOS 6
    #[arg(long)]
    legacy: bool,
    /// Trust this host key without asking
    #[arg(long, value_name = "SHA256:...", value_parser = host_key::parse)]
    host_key: Option<HostKey>,
}

pub fn run(path: &Path, options: &AddOptions) -> Result<(), Error> {
    let Some(host) = &options.host else { return add_list(path, options) };
    let address = router_address(host).map_err(failed)?;
    let config = if path.exists() { Some(Config::read(path).map_err(failed)?) } else { None };
    let name = match &options.name {
        Some(name) => name.clone(),
        None => match ask(&format!("Name [{}]: ", address.host))? {
            name if name.is_empty() => address.host.replace(':', "-"),
            name => name,
        },
    };
    let name = RouterName::try_from(name).map_err(failed)?;
    if config.as_ref().is_some_and(|config| config.routers.iter().any(|router| router.name == name))
    {
        return Err(failed(format_args!("{name}: a router of this name exists (choose another)")));
    }
    let key = confirm_host_key(&address, options.legacy, options.host_key.as_ref())?;
    let login = match &options.login {
        Some(login) => login.clone(),
        None => ask("Login: ")?,
    };
    let (credentials, password) = credentials(path, options, &name)?;
    let mut entry = format!(
        "\n[[router]]\nname = {}\naddress = {}\nuser = {}\n{credentials}host_key = {}\n",
        quoted(name.as_str()),
        quoted(&address.to_string()),
        quoted(&login),
        quoted(&key.to_string()),
    );
    if options.legacy {
        entry.push_str("legacy = true\n");
    }
    if let Some(group) = &options.group {
        entry.push_str(&format!("group = {}\n", quoted(group)));
    }
    write_entry(path, config.is_some(), &name, &entry, password)?;
    print(&format!(
        "{name} is added to {} (next: aw-routeros check {name}; SIGHUP makes a running aw-routeros read the file)\n",
        path.display()
    ))
}

/// Adds the routers of a list. What the options do not set, the group or the defaults of the file must have.
fn add_list(path: &Path, options: &AddOptions) -> Result<(), Error> {
    let Some(from) = &options.from else { return Err(failed("add what? (name a HOST)")) };
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let mut common = String::new();
    let mut set = |key: &str, value: Option<String>| {
        common += &value.map_or(String::new(), |value| format!("{key} = {}\n", quoted(&value)));
    };
    let file = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| absolute(path).to_string_lossy().into_owned())
    };
    set("group", options.group.clone());
    set("user", options.login.clone());
    set("password_file", file(&options.password_file));
    set("key_file", file(&options.key_file));
    for (key, is_set) in [("agent", options.agent), ("legacy", options.legacy)] {
        common += if is_set { key } else { continue };
        common += " = true\n";
    }
    list::add(path, list::read(from, &common)?, "", options.yes)
}

/// The line of the entry for the login, and a password file to write, with its content.
fn credentials(
    config: &Path,
    options: &AddOptions,
    name: &RouterName,
) -> Result<(String, Option<(PathBuf, String)>), Error> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let file = |path: &Path| quoted(&absolute(path).to_string_lossy());
    Ok(match (&options.password_file, &options.key_file, options.agent) {
        (Some(path), ..) => (format!("password_file = {}\n", file(path)), None),
        (_, Some(path), _) => (format!("key_file = {}\n", file(path)), None),
        (.., true) => ("agent = true\n".into(), None),
        _ => {
            let path = config.parent().unwrap_or(Path::new(".")).join(format!("{name}.pass"));
            let line = format!("password_file = {}\n", file(&path));
            (line, Some((path, format!("{}\n", ask_secret("Password: ")?))))
        }
    })
}

/// Writes the entry and the password file, or neither.
fn write_entry(
    path: &Path,
    exists: bool,
    name: &RouterName,
    entry: &str,
    password: Option<(PathBuf, String)>,
) -> Result<(), Error> {
    let failure = |error| Error::io(format_args!("write {}", path.display()), error);
    let mut text = match exists {
        true => read_file_text(path, FileKind::Settings, MAX_CONFIG).map_err(failure)?,
        false => "archive = \"/var/lib/addrwatch/routeros\"\n".to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Config::parse_file(path, text.clone() + entry).map_err(|cause| {
        let own = format!("{}: ", path.display());
        let cause = cause.strip_prefix(&own).unwrap_or(&cause);
        failed(format_args!("{}: with an entry for {name} at its end: {cause}", path.display()))
    })?;
    if let Some((path, password)) = &password {
        write_new(path, password)?;
    }
    let written = match exists {
        true => append(path, entry).map_err(failure),
        false => write_new(path, &(text + entry)),
    };
    if let (Err(_), Some((path, _))) = (&written, &password) {
        let _ = fs::remove_file(path);
    }
    written
}

pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Fetches the router's host key, and returns it if it is `expected` or the user confirms it.
pub fn confirm_host_key(
    address: &HostPort,
    legacy: bool,
    expected: Option<&HostKey>,
) -> Result<HostKey, Error> {
    let text = format!(
        "archive = \"/\"\n[[router]]\nname = \"x\"\naddress = {:?}\nuser = \"x\"\nagent = true\nlegacy = {legacy}\n",
        address.to_string()
    );
    let mut config = Config::parse(&text).map_err(failed)?;
    let Some(router): Option<Router> = config.routers.pop() else {
        return Err(failed("no router"));
    };
    let router = Router { legacy_group1: legacy, ..router };
    let key = block_on(SshConnection::host_key(&router))?.map_err(|fault| match fault {
        SshFault::Algorithms(cause) => {
            failed(format_args!("{address}: {cause} (RouterOS 6: --legacy)"))
        }
        fault => failed(format_args!("{address}: {fault}")),
    })?;
    match expected {
        Some(expected) if expected.fingerprint == key.fingerprint => return Ok(key),
        Some(_) => {
            return Err(failed(format_args!("{address}: the host key is not --host-key: {key}")));
        }
        None => {}
    }
    print(&format!("Host key of {address}: {key}\n"))?;
    let question = "Compare it with the router's own (there: /ip ssh export-host-key; then ssh-keygen -lf FILE). Is it the same? (yes/no): ";
    match ask(question)?.as_str() {
        "yes" => Ok(key),
        _ => Err(failed("the host key is not confirmed: nothing was changed")),
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Error::io("start the event loop", error))?.block_on(future))
}

/// Appends all of the entry or nothing.
fn append(path: &Path, entry: &str) -> io::Result<()> {
    let mut file = open_append(path, 0o600)?;
    let before = file.metadata()?.len();
    file.write_all(entry.as_bytes()).or_else(|error| file.set_len(before).and(Err(error)))
}

/// Creates a file that only the user of the daemon can read.
fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    let failure = |error| Error::io(format_args!("create {}", path.display()), error);
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
