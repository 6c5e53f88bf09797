//! `add`: adds a router, or the routers of a list, to the configuration file. A router is added only if the service will be
//! able to log in to it.

mod entries;
pub mod list;
mod try_logins;

use std::path::{Path, PathBuf};

use aw_service::{Error, HostPort, failed};
use clap::Args;

use self::entries::NewRouter;
pub use self::entries::{ConfigFile, quoted};
use crate::{
    config::{Config, Router, RouterName, router_address},
    host_key::{self, HostKey},
    ssh::{SshConnection, SshFault},
    terminal::{ask, ask_secret, confirm, print},
};

/// Options of `add`. It asks for missing values.
#[derive(Args, Debug)]
pub struct AddOptions {
    /// HOST or HOST:PORT; an IPv6 address with port as [ADDRESS]:PORT
    #[arg(required_unless_present = "from")]
    host: Option<String>,
    /// Add the routers of a list: each line is ADDRESS or NAME ADDRESS. Their host keys are shown and asked for once. Routers that the configuration has are left out, and those that cannot be followed are listed at the end
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

/// Where a router prints its host key.
const COMPARE: &str = "(there: /ip ssh export-host-key; then ssh-keygen -lf FILE)";

pub fn run(path: &Path, options: &AddOptions) -> Result<(), Error> {
    let file = ConfigFile::read(path)?;
    options.group.as_deref().map_or(Ok(()), |group| file.has_group(group))?;
    let Some(host) = &options.host else { return add_list(file, options) };
    let address = router_address(host).map_err(failed)?;
    let name = match &options.name {
        Some(name) => name.clone(),
        None => match ask(&format!("Name [{}]: ", address.host), "--name")? {
            name if name.is_empty() => address.host.replace(':', "-"),
            name => name,
        },
    };
    entries::check_name(&name, &address).map_err(failed)?;
    let name = RouterName::try_from(name).map_err(failed)?;
    if file.config.routers.iter().any(|router| router.name == name) {
        return Err(failed(format_args!("{name}: a router of this name exists (choose another)")));
    }
    let key = confirm_host_key(&address, options.legacy, options.host_key.as_ref())?;
    let login = match &options.login {
        Some(login) => login.clone(),
        None => ask("Login: ", "--login")?,
    };
    let (credentials, password) = credentials(path, options, &name)?;
    let mut entry = format!(
        "name = {}\naddress = {}\nuser = {}\n{credentials}host_key = {}\n",
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
    let router = NewRouter { name: name.clone(), address: address.clone(), entry, password };
    let (_, faults) = file.add("", vec![router])?;
    if let Some((_, fault)) = faults.first() {
        return Err(failed(format_args!("{name} ({address}): {fault}: nothing was changed")));
    }
    print(&format!(
        "{name} is added to {} (next: aw-routeros check {name}; SIGHUP makes a running aw-routeros read the file)\n",
        path.display()
    ))
}

/// Adds the routers of a list. What the options do not set, the group or the defaults of the file must have.
fn add_list(file: ConfigFile, options: &AddOptions) -> Result<(), Error> {
    let Some(from) = &options.from else { return Err(failed("add what? (name a HOST)")) };
    let mut common = String::new();
    let mut set = |key: &str, value: Option<String>| {
        common += &value.map_or(String::new(), |value| format!("{key} = {}\n", quoted(&value)));
    };
    let path = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| absolute(path).to_string_lossy().into_owned())
    };
    set("group", options.group.clone());
    set("user", options.login.clone());
    set("password_file", path(&options.password_file));
    set("key_file", path(&options.key_file));
    for (key, is_set) in [("agent", options.agent), ("legacy", options.legacy)] {
        common += if is_set { key } else { continue };
        common += " = true\n";
    }
    list::add(file, list::read(from, &common)?, "", options.yes)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// The line of the entry for the login, and a password file to write, with its content.
fn credentials(
    config: &Path,
    options: &AddOptions,
    name: &RouterName,
) -> Result<(String, Option<(PathBuf, String)>), Error> {
    let file = |path: &Path| quoted(&absolute(path).to_string_lossy());
    Ok(match (&options.password_file, &options.key_file, options.agent) {
        (Some(path), ..) => (format!("password_file = {}\n", file(path)), None),
        (_, Some(path), _) => (format!("key_file = {}\n", file(path)), None),
        (.., true) => ("agent = true\n".into(), None),
        _ => {
            let path = config.parent().unwrap_or(Path::new(".")).join(format!("{name}.pass"));
            let line = format!("password_file = {}\n", file(&path));
            let password = ask_secret("Password: ", "--password-file, --key-file or --agent")?;
            (line, Some((path, format!("{password}\n"))))
        }
    })
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
    let key = block_on(SshConnection::host_key(&router))?
        .map_err(|fault| failed(format_args!("{address}: {}", remedy(fault, legacy))))?;
    match expected {
        Some(expected) if expected.fingerprint == key.fingerprint => return Ok(key),
        Some(_) => {
            return Err(failed(format_args!("{address}: the host key is not --host-key: {key}")));
        }
        None => {}
    }
    print(&format!("Host key of {address}: {key}\n"))?;
    let question = format!("Compare it with the router's own {COMPARE}. Is it the same?");
    match confirm(&question, "--host-key")? {
        true => Ok(key),
        false => Err(failed(
            "the host key is not confirmed: nothing was changed (answer yes if it is the same)",
        )),
    }
}

/// The fault, with a remedy that these commands have: there is no entry yet to set keys in.
fn remedy(fault: SshFault, legacy: bool) -> String {
    match fault {
        SshFault::Algorithms(why) if !legacy && why.contains("legacy = true") => {
            let (why, _) = why.rsplit_once(" (").unwrap_or((&why, ""));
            format!("{why} (RouterOS 6: the same command again with --legacy)")
        }
        fault => fault.to_string(),
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(|error| Error::io("start the event loop", error))?.block_on(future))
}
