//! `add`: adds a router, or the routers of a list, to the configuration file. A router is added only if the service will be
//! able to log in to it.

mod entries;
pub mod list;
mod try_logins;

use std::path::{Path, PathBuf};

use aw_service::{Error, HostPort, failed, info, warn};
use clap::Args;

use self::entries::NewRouter;
pub use self::entries::{ConfigFile, quoted};
use crate::{
    config::{Config, DEFAULT_PATH, Router, RouterName, router_address},
    host_key::{self, HostKey},
    login_gate::Credential,
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
    #[arg(long, requires = "from", conflicts_with = "host")]
    yes: bool,
    /// Group of the router, or of those of the list
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Name of the router in the archive, in messages and in mail
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// User that logs in to the router [default: that of the group or of [defaults], else asked for]
    #[arg(long, value_name = "LOGIN")]
    login: Option<String>,
    /// Read the password from the first line of FILE; without a login option, that of [defaults] or the group is used, or asked for and written to NAME.pass beside the configuration file
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
pub const COMPARE: &str = "(there: /ip ssh export-host-key; then ssh-keygen -lf FILE)";

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
        return Err(failed(format_args!(
            "{name}: a router of this name exists (choose another; aw-routeros host-key {name} sets a new host key)"
        )));
    }
    let key = confirm_host_key(&address, options.legacy, options.host_key.as_ref())?;
    let mut router = NewRouter {
        entry: format!(
            "name = {}\naddress = {}\n",
            quoted(name.as_str()),
            quoted(&address.to_string())
        ),
        name: name.clone(),
        address: address.clone(),
        password: None,
    };
    if let Some(group) = &options.group {
        router.entry += &format!("group = {}\n", quoted(group));
    }
    let (has_user, has_login) = file.defaults(&router);
    let login = match &options.login {
        None if has_user => None,
        None => Some(ask("Login: ", "--login")?),
        login => login.clone(),
    };
    if let Some(login) = &login {
        if login.trim().is_empty() {
            return Err(failed("Login: it is empty: nothing was sent (write the name of a user)"));
        }
        router.entry += &format!("user = {}\n", quoted(login));
    }
    let (credentials, password) = credentials(path, options, &name, has_login)?;
    router.password = password;
    router.entry += &credentials;
    router.entry += &format!("host_key = {}\n", quoted(&key.to_string()));
    router.entry += if options.legacy { "legacy = true\n" } else { "" };
    let new = file.with("", std::slice::from_ref(&router))?;
    for twice in list::same_router(&file.config.routers, &new, &vec![(name.clone(), key)]) {
        warn(twice);
    }
    if login.is_none() || credentials.is_empty() {
        for router in new {
            let of = Credential::of(&router);
            info(format_args!("login: {of} (of [defaults] or the group, where no option sets it)"));
        }
    }
    let (_, faults) = file.add("", vec![router])?;
    if let Some((_, fault)) = faults.first() {
        return Err(failed(format_args!("{name} ({address}): {fault}: nothing was changed")));
    }
    let next = next(&file, &format!(" {name}"));
    print(&format!("{name} is added to {}{next}\n", path.display()))
}

/// What to do once a router is added.
fn next(file: &ConfigFile, name: &str) -> String {
    let path = file.path();
    let option = match path == Path::new(DEFAULT_PATH) {
        true => String::new(),
        false => format!(" -c {}", path.display()),
    };
    let mail = match &file.config.mail {
        Some(_) => "",
        None => "; no mail is sent before the file has a table [mail]: man addrwatch-routeros.toml",
    };
    format!(
        " (next: aw-routeros{option} check{name}; systemctl reload aw-routeros makes a running one read the file{mail})"
    )
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
    let routers = list::read(from, &common)?;
    if routers.is_empty() {
        return Err(failed(format_args!(
            "{}: the list has no routers (a line for each: ADDRESS, or NAME ADDRESS)",
            from.display()
        )));
    }
    list::add(file, routers, "", options.yes)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.into())
}

/// The file in which `add` stores the password of a router.
pub fn password_file(config: &Path, name: &RouterName) -> PathBuf {
    absolute(&config.parent().unwrap_or(Path::new(".")).join(format!("{name}.pass")))
}

/// The line of the entry for the login, and a password file to write, with its content.
fn credentials(
    config: &Path,
    options: &AddOptions,
    name: &RouterName,
    has_login: bool,
) -> Result<(String, Option<(PathBuf, String)>), Error> {
    let file = |path: &Path| quoted(&absolute(path).to_string_lossy());
    Ok(match (&options.password_file, &options.key_file, options.agent) {
        (Some(path), ..) => (format!("password_file = {}\n", file(path)), None),
        (_, Some(path), _) => (format!("key_file = {}\n", file(path)), None),
        (.., true) => ("agent = true\n".into(), None),
        _ if has_login => (String::new(), None),
        _ => {
            let path = password_file(config, name);
            let line = format!("password_file = {}\n", file(&path));
            let password = ask_secret("Password: ", "--password-file, --key-file or --agent")?;
            if password.is_empty() {
                return Err(failed(
                    "Password: it is empty: nothing was sent (set --password-file, --key-file or --agent, or give the user a password)",
                ));
            }
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
    let key = block_on(SshConnection::host_key(&router))?.map_err(|fault| {
        let later = later(&fault);
        let why = remedy(fault, legacy);
        failed(format_args!("connect to {address}: {why}{later}: nothing was changed"))
    })?;
    match expected {
        Some(expected) if expected.fingerprint == key.fingerprint => return Ok(key),
        Some(_) => {
            return Err(failed(format_args!(
                "{address}: it shows the host key {key}, and not that of --host-key: nothing was changed (compare both with the router's own {COMPARE})"
            )));
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

/// What to look for at a router that sends no host key.
fn later(fault: &SshFault) -> &'static str {
    match fault {
        SshFault::Unreachable(why) if why.contains("refused") => {
            ": SSH is off, or has another port, /ip service print (try again later)"
        }
        SshFault::Unreachable(_) => " (try again later)",
        _ => "",
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
