//! `import`: adds the routers of Oxidized's `router.db`.
//!
//! The file has a line for each device, with columns between colons. Which column is what stands in Oxidized's
//! configuration, in YAML (Oxidized, docs/Sources.md: `source.csv.map`, `vars_map`; docs/Configuration.md: `groups`,
//! `model_map`). Of YAML this reads what such a file has: nested keys with a text each.

mod oxidized;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use aw_service::{Error, FileKind, Secret, failed, info, plain, read_file_text};
use clap::Args;

use self::oxidized::{Device, Mapping, Settings};
use crate::{
    add::{
        ConfigFile,
        list::{NewRouter, add},
        quoted,
    },
    config::{MAX_CONFIG, RouterName, router_address},
};

/// Options of `import`.
#[derive(Args, Debug)]
pub struct ImportOptions {
    /// Oxidized's list of devices
    #[arg(value_name = "ROUTER.DB")]
    file: PathBuf,
    /// Oxidized's configuration, which has the mapping of columns, users and passwords; without it the columns are name:model
    #[arg(long, value_name = "FILE")]
    oxidized_config: Option<PathBuf>,
    /// Columns, counted from 0, instead of those of --oxidized-config: name=0,ip=1,model=2,group=3,username=4,password=5,ssh_port=6
    #[arg(long, value_name = "NAME=N,...")]
    map: Option<String>,
    /// Also offer the algorithms of RouterOS 6 to the routers that are added
    #[arg(long)]
    legacy: bool,
    /// Trust the host keys of all routers without asking
    #[arg(long)]
    yes: bool,
}

pub fn run(path: &Path, options: &ImportOptions) -> Result<(), Error> {
    let read = |file: &Path, kind| {
        read_file_text(file, kind, MAX_CONFIG)
            .map_err(|error| Error::io(format_args!("read {}", file.display()), error))
    };
    let mut settings = match &options.oxidized_config {
        Some(file) => Settings::parse(&read(file, FileKind::Settings)?)
            .map_err(|why| failed(format_args!("{}: {why}", file.display())))?,
        None => Settings::default(),
    };
    if let Some(map) = &options.map {
        settings.map = Mapping::parse(map).map_err(|why| failed(format_args!("--map: {why}")))?;
    }
    let devices = settings.devices(&read(&options.file, FileKind::Settings)?);
    let config = ConfigFile::read(path)?;
    let mut plan = plan(path, &settings, devices, &config.config.groups);
    if options.legacy {
        plan.routers.iter_mut().for_each(|router| router.entry += "legacy = true\n");
    }
    for (reason, names) in &plan.left_out {
        let shown: Vec<_> = names.iter().take(20).map(|name| plain(name)).collect();
        let more = names.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        info(format_args!("left out, {reason}: {}{more}", shown.join(", ")));
    }
    if plan.routers.is_empty() {
        return Err(failed(format_args!("{}: no router to import", options.file.display())));
    }
    add(config, plan.routers, &plan.tables, options.yes)
}

/// What is added, and what is not.
#[derive(Default)]
struct Plan {
    routers: Vec<NewRouter>,
    /// Tables of groups.
    tables: String,
    /// Names by reason.
    left_out: BTreeMap<String, Vec<String>>,
}

fn plan(path: &Path, settings: &Settings, devices: Vec<Device>, known: &BTreeSet<String>) -> Plan {
    let (mut plan, mut names, mut groups) = (Plan::default(), BTreeSet::new(), BTreeSet::new());
    for device in devices {
        let shown = device.name.clone();
        match new_router(path, settings, &device) {
            Ok(router) if !names.insert(router.name.clone()) => {
                plan.left_out.entry("the name is used twice".into()).or_default().push(shown);
            }
            Ok(router) => {
                groups.extend(device.group.clone().filter(|group| !known.contains(group)));
                plan.routers.push(router);
            }
            Err(reason) => plan.left_out.entry(reason).or_default().push(shown),
        }
    }
    for group in groups {
        plan.tables += &format!("\n[group.{}]\n", quoted(&group));
    }
    plan
}

/// The entry of a device, or why it has none.
fn new_router(path: &Path, settings: &Settings, device: &Device) -> Result<NewRouter, String> {
    if device.fault.is_some() || device.model != "routeros" {
        let not_ours = || format!("model {}, not routeros", plain(&device.model));
        return Err(device.fault.clone().unwrap_or_else(not_ours));
    }
    let name = RouterName::try_from(device.name.clone())
        .map_err(|_| "the name is not 1 to 64 letters, digits, dots, dashes and underscores")?;
    let host = device.address.as_deref().unwrap_or(&device.name);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = device.port.as_deref().unwrap_or("22");
    let address = router_address(&format!("{host}:{port}")).map_err(|why| why.to_string())?;
    let of_group = device.group.as_ref().and_then(|group| settings.groups.get(group));
    let first = |own: &Option<String>, group: Option<&String>, all: &Option<String>| {
        own.clone().or_else(|| group.cloned()).or_else(|| all.clone())
    };
    let user = first(&device.user, of_group.and_then(|group| group.0.as_ref()), &settings.user);
    let password =
        first(&device.password, of_group.and_then(|group| group.1.as_ref()), &settings.password);
    let mut entry =
        format!("name = {}\naddress = {}\n", quoted(name.as_str()), quoted(&address.to_string()));
    if let Some(group) = &device.group {
        entry += &format!("group = {}\n", quoted(group));
    }
    if let Some(user) = user {
        entry += &format!("user = {}\n", quoted(&user));
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let file = absolute.parent().unwrap_or(Path::new("/")).join(format!("{name}.pass"));
    let mut write = None;
    if let Some(password) = password {
        entry += &format!("password_file = {}\n", quoted(&file.to_string_lossy()));
        if std::fs::symlink_metadata(&file).is_ok() {
            let same = Secret::first_line(&file).is_ok_and(|there| there.reveal() == password);
            if !same {
                return Err("NAME.pass exists with another password (move it away)".into());
            }
        } else {
            write = Some((file, format!("{password}\n")));
        }
    }
    Ok(NewRouter { name, address, entry, password: write })
}

#[cfg(test)]
#[path = "import/tests.rs"]
mod tests;
