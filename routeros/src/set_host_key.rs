//! `host-key`: sets the host keys of routers that show another one than in the configuration file, after they were confirmed.
//! The files are changed at these places only.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use aw_service::{Error, FileKind, count_of, failed, info, read_file_text};
use clap::Args;
use tokio::task::JoinSet;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};

use crate::{
    add::{COMPARE, block_on, quoted},
    config::{Config, MAX_CONFIG, Router, files_of_include},
    host_key::{self, HostKey},
    ssh::{SshConnection, SshFault},
    terminal::{confirm, print},
};

/// Routers that are connected to at the same time.
const AT_ONCE: usize = 16;
/// The tables that have host keys.
const TABLES: [&str; 2] = ["router", "jump_host"];

#[derive(Args, Debug)]
pub struct HostKeyOptions {
    /// Names of routers or jump hosts [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Trust the new host keys without asking
    #[arg(long)]
    yes: bool,
    /// Trust this host key without asking
    #[arg(long, value_name = "SHA256:...", value_parser = host_key::parse, conflicts_with = "yes")]
    host_key: Option<HostKey>,
}

pub fn run(path: &Path, options: &HostKeyOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let files = files(path, config.include.as_deref())?;
    let all = || config.routers.iter().chain(&config.jump_hosts);
    let unknown = options.names.iter().find(|name| all().all(|one| one.name.as_str() != **name));
    if let Some(name) = unknown {
        return Err(failed(format_args!(
            "{name}: no router or jump host of this name in {} (aw-routeros add HOST adds one)",
            path.display()
        )));
    }
    let is_chosen =
        |one: &&Router| options.names.is_empty() || options.names.contains(&one.name.to_string());
    let others: Vec<_> = all().cloned().collect();
    let (new, unchanged, faults) = fetch(all().filter(is_chosen).cloned().collect(), &others)?;
    if unchanged > 0 {
        let count = count_of(unchanged, "router shows", "routers show");
        info(format_args!("{count} the host key of the configuration"));
    }
    if !new.is_empty() && is_confirmed(&new, options)? {
        for (router, key) in &new {
            let name = router.name.as_str();
            let file = store(&files, name, key)?;
            print(&format!("{name}: {key} is set in {}\n", file.display()))?;
        }
        print("next: systemctl reload aw-routeros\n")?;
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(failed(faults.join("; "))),
    }
}

/// The files of the configuration. A link stays one: the file that it names is replaced.
pub fn files(path: &Path, include: Option<&Path>) -> Result<Vec<PathBuf>, Error> {
    let mut files = vec![path.to_path_buf()];
    if let Some(directory) = include {
        files.extend(files_of_include(directory).map_err(failed)?);
    }
    Ok(files.into_iter().map(|file| fs::canonicalize(&file).unwrap_or(file)).collect())
}

type New = Vec<(Router, HostKey)>;

/// The routers with other host keys, the number of those without, and the faults of those that sent none.
fn fetch(routers: Vec<Router>, all: &[Router]) -> Result<(New, u64, Vec<String>), Error> {
    let (mut new, mut unchanged, mut faults) = (Vec::new(), 0, Vec::new());
    let mut take = |(router, key): (Router, Result<Option<HostKey>, SshFault>)| {
        let (name, address) = (&router.name, &router.address);
        match key {
            Ok(Some(key)) => {
                let before: Vec<_> = router.host_key.0.iter().map(HostKey::to_string).collect();
                let before = if before.is_empty() { "none".into() } else { before.join(" or ") };
                let other = key_of_another(&key.to_string(), &router, all);
                print(&format!(
                    "{name} {address}: {key} (in the configuration: {before}){other}\n"
                ))?;
                new.push((router, key));
            }
            Ok(None) => unchanged += 1,
            Err(fault) => faults.push(format!("{name} ({address}): {fault}")),
        }
        Ok::<_, Error>(())
    };
    block_on(async {
        let (mut running, mut waiting) = (JoinSet::new(), routers.into_iter());
        loop {
            while running.len() < AT_ONCE
                && let Some(router) = waiting.next()
            {
                running.spawn(async move {
                    let key = SshConnection::new_host_key(&router).await;
                    (router, key)
                });
            }
            match running.join_next().await {
                Some(Ok(fetched)) => take(fetched)?,
                Some(Err(_)) => {}
                None => return Ok::<_, Error>(()),
            }
        }
    })??;
    Ok((new, unchanged, faults))
}

/// That the configuration has this host key, or the one in this text, for another router: their addresses may be swapped.
pub fn key_of_another(text: &str, router: &Router, all: &[Router]) -> String {
    let has_it = |one: &&Router| {
        let is_in_text =
            |key: &HostKey| !router.host_key.0.contains(key) && text.contains(&key.to_string());
        one.name != router.name && one.host_key.0.iter().any(is_in_text)
    };
    all.iter().find(has_it).map_or(String::new(), |other| {
        format!(
            ": this is the host key of {} in the configuration (are the addresses swapped?)",
            other.name
        )
    })
}

fn is_confirmed(new: &New, options: &HostKeyOptions) -> Result<bool, Error> {
    if let Some(expected) = &options.host_key {
        let is_other = |(_, key): &&(Router, HostKey)| key.fingerprint != expected.fingerprint;
        return match new.iter().find(is_other) {
            Some((router, key)) => Err(failed(format_args!(
                "{}: it shows the host key {key}, and not that of --host-key: nothing was changed (compare both with the router's own {COMPARE})",
                router.name
            ))),
            None => Ok(true),
        };
    }
    let question = match new.len() {
        1 => format!("Compare it with the router's own {COMPARE}. Is it the same?"),
        count => {
            format!("Compare them with the routers' own {COMPARE}. Are all {count} the same?")
        }
    };
    match options.yes || confirm(&question, "--yes")? {
        true => Ok(true),
        false => Err(failed(
            "the host keys are not confirmed: nothing was changed (answer yes if they are the same)",
        )),
    }
}

/// Sets the host key of a router in the file that has its entry. Returns the file.
fn store<'a>(files: &'a [PathBuf], name: &str, key: &HostKey) -> Result<&'a Path, Error> {
    for path in files {
        let failure =
            |what: &str, error| Error::io(format_args!("{what} {}", path.display()), error);
        let text = read_file_text(path, FileKind::Settings, MAX_CONFIG)
            .map_err(|error| failure("read", error))?;
        let Some(new) = with_host_key(&text, name, &key.to_string()) else { continue };
        if !differs_by(&text, &new, name, &key.to_string()) {
            return Err(failed(format_args!(
                "{name}: its entry in {} cannot be changed automatically (set host_key = {})",
                path.display(),
                quoted(&key.to_string())
            )));
        }
        replace(path, &new).map_err(|error| failure("write", error))?;
        return Ok(path);
    }
    Err(failed(format_args!("{name}: no file has its entry")))
}

/// The text with this host key in the entry of the router; `None` if it has none.
fn with_host_key(text: &str, name: &str, key: &str) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let lists = TABLES.iter().filter_map(|table| root.get_ref().get(*table));
    let entries = lists.filter_map(|list| match list.get_ref() {
        DeValue::Array(list) => Some(list),
        _ => None,
    });
    let mut entries = entries.flatten().filter_map(|entry| match entry.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    });
    let found = entries.find_map(|table| {
        let of_name = table.get("name")?;
        let is_it = of_name.get_ref().as_str() == Some(name);
        is_it.then(|| (of_name.span(), table.get("host_key").map(Spanned::span)))
    });
    let (of_name, of_key) = found?;
    let mut new = text.to_owned();
    match of_key {
        Some(span) => new.replace_range(span, &quoted(key)),
        None => {
            let end = text[of_name.end..].find('\n').map_or(text.len(), |at| of_name.end + at);
            new.insert_str(end, &format!("\nhost_key = {}", quoted(key)));
        }
    }
    Some(new)
}

/// Whether nothing else is different.
fn differs_by(old: &str, new: &str, name: &str, key: &str) -> bool {
    let (Ok(mut old), Ok(new)) = (old.parse::<Table>(), new.parse::<Table>()) else { return false };
    for table in TABLES {
        let list = old.get_mut(table).and_then(Value::as_array_mut);
        for entry in list.into_iter().flatten().filter_map(Value::as_table_mut) {
            if entry.get("name").and_then(Value::as_str) == Some(name) {
                entry.insert("host_key".into(), Value::String(key.into()));
            }
        }
    }
    old == new
}

/// Replaces a file as a whole, with its owner and mode.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let (new, old) = (PathBuf::from(name), fs::metadata(path)?);
    let _ = fs::remove_file(&new); // of a process that was killed
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let mut write = || {
        if (old.uid(), old.gid()) != (file.metadata()?.uid(), file.metadata()?.gid()) {
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
        }
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of `include` that is a link stays one.
    #[test]
    fn links_stay() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("inc")).unwrap();
        fs::write(at("main.toml"), "archive = \"/x\"\n").unwrap();
        fs::write(at("site.toml"), "[[router]]\nname = \"r1\"\n").unwrap();
        std::os::unix::fs::symlink("../site.toml", at("inc/site.toml")).unwrap();
        let files = files(&at("main.toml"), Some(&at("inc"))).unwrap();
        let key = host_key::parse("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU").unwrap();
        store(&files, "r1", &key).unwrap();
        assert!(fs::symlink_metadata(at("inc/site.toml")).unwrap().is_symlink());
        assert!(fs::read_to_string(at("site.toml")).unwrap().contains("\nhost_key = \"SHA256:47"));
    }

    /// Two routers whose addresses were swapped.
    #[test]
    fn the_key_of_another_router_is_named() {
        let keys = [
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "LCa0a2j/xo/5m0U8HTBBNBNCLXBkg7+g+YpeiGJm564",
        ];
        let entry = |n: usize| {
            let key = keys[n];
            format!(
                "[[router]]\nname = \"r{n}\"\naddress = \"192.0.2.{n}\"\nuser = \"a\"\nagent = true\nhost_key = \"SHA256:{key}\"\n"
            )
        };
        let config = Config::parse(&format!("archive = \"/x\"\n{}{}", entry(0), entry(1))).unwrap();
        let text = |n: usize| {
            let got = format!("expected SHA256:{}, got SHA256:{}", keys[0], keys[n]);
            key_of_another(&got, &config.routers[0], &config.routers)
        };
        assert!(
            text(1).starts_with(": this is the host key of r1 in the configuration"),
            "{}",
            text(1)
        );
        assert_eq!(text(0), "");
    }

    #[test]
    fn only_the_host_key_is_changed() {
        let text = "archive = \"/x\" # a\n[defaults]\nuser = \"a\"\n\n[[router]] # one\nname = \"r1\" # the first\naddress = \"192.0.2.1\"\n\
            [[router]]\naddress = \"192.0.2.2\"\nhost_key = [ \"SHA256:a\",\n \"SHA256:b\" ] # old\nname = 'r2'\n\
            [[jump_host]]\nname = \"j\"\nhost_key = \"SHA256:c\"\n";
        for (name, old, new) in [
            ("r1", "# the first\n", "# the first\nhost_key = \"SHA256:n\"\n"),
            ("r2", "[ \"SHA256:a\",\n \"SHA256:b\" ]", "\"SHA256:n\""),
            ("j", "\"SHA256:c\"", "\"SHA256:n\""),
        ] {
            let changed = with_host_key(text, name, "SHA256:n").unwrap();
            assert_eq!(changed, text.replace(old, new));
            assert!(differs_by(text, &changed, name, "SHA256:n"));
            assert!(!differs_by(text, &changed, name, "SHA256:m"));
        }
        assert_eq!(with_host_key(text, "r3", "SHA256:n"), None);
        // A line of its own is no part of an entry in braces.
        let inline = "router = [{ name = \"r1\", address = \"x\" }]\n";
        let changed = with_host_key(inline, "r1", "SHA256:n").unwrap();
        assert!(!differs_by(inline, &changed, "r1", "SHA256:n"));
    }
}
