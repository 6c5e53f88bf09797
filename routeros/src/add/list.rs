//! Adds many routers at once: fetches the host key of each, shows them, asks once, and writes the entries of those that
//! answered. The others are listed at the end; a second run adds them, because routers that are there already are left out.

use std::{collections::HashSet, path::Path};

use aw_service::{Error, FileKind, failed, info, plain, read_file_text};
use tokio::task::JoinSet;

use super::{append, block_on, quoted, write_new};
use crate::{
    config::{Config, MAX_CONFIG, Router, RouterName, router_address},
    host_key::HostKey,
    ssh::{SshConnection, SshFault},
    terminal::{ask, print},
};

/// Routers that are connected to at the same time.
const AT_ONCE: usize = 16;
/// Causes in the error at the end, at most; all stand in the output before it.
const MAX_LISTED: usize = 20;

/// A router to add.
pub struct NewRouter {
    pub name: RouterName,
    /// `name`, `address` and what else its entry has, as lines of TOML.
    pub entry: String,
    /// A file that is created with its entry, with its content.
    pub password: Option<(std::path::PathBuf, String)>,
}

/// The lines of a list: ADDRESS or NAME ADDRESS. `common` are lines for each entry.
pub fn read(list: &Path, common: &str) -> Result<Vec<NewRouter>, Error> {
    let text = read_file_text(list, FileKind::Settings, MAX_CONFIG)
        .map_err(|error| Error::io(format_args!("read {}", list.display()), error))?;
    parse(&text, common).map_err(|why| failed(format_args!("{}: {why}", list.display())))
}

fn parse(text: &str, common: &str) -> Result<Vec<NewRouter>, String> {
    let (mut routers, mut names) = (Vec::new(), HashSet::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, address) = match words.as_slice() {
            [] => continue,
            [address] => (None, *address),
            [name, address] => (Some(*name), *address),
            _ => return Err(format!("line {}: must be ADDRESS or NAME ADDRESS", number + 1)),
        };
        let fault = |why: String| format!("line {}: {why}", number + 1);
        let address = router_address(address).map_err(fault)?;
        let name = name.map_or_else(|| address.host.replace(':', "-"), str::to_owned);
        let name = RouterName::try_from(name).map_err(fault)?;
        if !names.insert(name.clone()) {
            return Err(fault(format!("{name}: the name is used twice")));
        }
        let address = address.to_string();
        let entry =
            format!("name = {}\naddress = {}\n{common}", quoted(name.as_str()), quoted(&address));
        routers.push(NewRouter { name, entry, password: None });
    }
    Ok(routers)
}

/// Adds the routers to the configuration file; `tables` stand before them. Fails at the end if some could not be added.
pub fn add(
    path: &Path,
    mut routers: Vec<NewRouter>,
    tables: &str,
    trust_all: bool,
) -> Result<(), Error> {
    let exists = path.exists();
    let failure = |error| Error::io(format_args!("read {}", path.display()), error);
    let mut text = match exists {
        true => read_file_text(path, FileKind::Settings, MAX_CONFIG).map_err(failure)?,
        false => "archive = \"/var/lib/addrwatch/routeros\"\n".to_owned(),
    };
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let before = Config::parse_file(path, text.clone()).map_err(failed)?;
    let known: HashSet<_> = before.routers.iter().map(|router| &router.name).collect();
    let listed = routers.len();
    routers.retain(|router| !known.contains(&router.name));
    if routers.len() < listed {
        let there = listed - routers.len();
        info(format_args!("{there} routers are left out: the configuration has them already"));
    }
    // With all entries, so that each router has what its group and the defaults set.
    let entries = |routers: &[NewRouter]| -> String {
        let entry = |router: &NewRouter| format!("\n[[router]]\n{}", router.entry);
        routers.iter().map(entry).collect()
    };
    let all = format!("{text}{tables}{}", entries(&routers));
    let merged = Config::parse_file(path, all)
        .map_err(|why| failed(format_args!("with the new entries at its end: {why}")))?;
    let names: HashSet<_> = routers.iter().map(|router| router.name.clone()).collect();
    let found = merged.routers.into_iter().filter(|router| names.contains(&router.name));
    let (keys, faults) = fetch_keys(found.collect())?;
    if !keys.is_empty() && !trust_all {
        let question = format!(
            "Compare them with the routers' own (there: /ip ssh export-host-key; then ssh-keygen -lf FILE). Are all {} the same? (yes/no): ",
            keys.len()
        );
        if ask(&question)? != "yes" {
            return Err(failed("the host keys are not confirmed: nothing was changed"));
        }
    }
    let mut added = Vec::new();
    for mut router in routers {
        if let Some((_, key)) = keys.iter().find(|(name, _)| *name == router.name) {
            router.entry += &format!("host_key = {}\n", quoted(&key.to_string()));
            added.push(router);
        }
    }
    if !added.is_empty() {
        let new = format!("{}{}", tables, entries(&added));
        write(path, exists, &text, &new, &added)?;
    }
    let count = added.len();
    let path = path.display();
    print(&format!(
        "{count} routers are added to {path} (next: aw-routeros check; SIGHUP makes a running aw-routeros read the file)\n"
    ))?;
    if faults.is_empty() {
        return Ok(());
    }
    let mut causes: Vec<_> = faults.iter().take(MAX_LISTED).cloned().collect();
    if faults.len() > MAX_LISTED {
        causes.push(format!("and {} more", faults.len() - MAX_LISTED));
    }
    let (failing, causes) = (faults.len(), causes.join("; "));
    Err(failed(format_args!("{failing} routers are not added (try again later): {causes}")))
}

type Keys = Vec<(RouterName, HostKey)>;

/// Fetches and prints the host keys of all routers. Returns them, and the faults of the routers that sent none.
fn fetch_keys(routers: Vec<Router>) -> Result<(Keys, Vec<String>), Error> {
    let count = routers.len();
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    let mut report = |(router, key): (Router, Result<HostKey, SshFault>)| {
        let number = keys.len() + faults.len() + 1;
        let (name, address) = (&router.name, &router.address);
        let line = match key {
            Ok(key) => {
                let line = format!("[{number}/{count}] {name} {address}: {key}\n");
                keys.push((name.clone(), key));
                line
            }
            Err(fault) => {
                let hint = match &fault {
                    SshFault::Algorithms(_) if !router.legacy => " (RouterOS 6: legacy)",
                    _ => "",
                };
                let fault = plain(&format!("{name} ({address}): {fault}{hint}"));
                let line = format!("[{number}/{count}] {fault}\n");
                faults.push(fault);
                line
            }
        };
        print(&line)
    };
    block_on(async {
        let mut running = JoinSet::new();
        let mut waiting = routers.into_iter();
        loop {
            while running.len() < AT_ONCE
                && let Some(router) = waiting.next()
            {
                running.spawn(async move {
                    let tried = Router { legacy_group1: router.legacy, ..router.clone() };
                    (router, SshConnection::host_key(&tried).await)
                });
            }
            match running.join_next().await {
                Some(Ok(fetched)) => report(fetched)?,
                Some(Err(_)) => {}
                None => return Ok::<_, Error>(()),
            }
        }
    })??;
    faults.sort();
    Ok((keys, faults))
}

/// Writes the entries and the password files, or none of them.
fn write(
    path: &Path,
    exists: bool,
    text: &str,
    new: &str,
    added: &[NewRouter],
) -> Result<(), Error> {
    let failure = |error| Error::io(format_args!("write {}", path.display()), error);
    if (text.len() + new.len()) as u64 > MAX_CONFIG {
        let most = MAX_CONFIG >> 20;
        return Err(failed(format_args!(
            "write {}: it would be larger than {most} MiB (move routers to files of include)",
            path.display()
        )));
    }
    let mut created = Vec::new();
    let passwords = added.iter().filter_map(|router| router.password.as_ref());
    let mut written = Ok(());
    for (file, password) in passwords {
        written = write_new(file, password);
        if written.is_err() {
            break;
        }
        created.push(file);
    }
    let written = written.and_then(|()| match exists {
        true => append(path, new).map_err(failure),
        false => write_new(path, &format!("{text}{new}")),
    });
    if written.is_err() {
        for file in created {
            let _ = std::fs::remove_file(file);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list() {
        let text =
            "# routers\n192.0.2.1\ncore2 192.0.2.2:2222 # of the data centre\n\n[2001:db8::1]:22\n";
        let routers = parse(text, "group = \"x\"\n").unwrap();
        let names: Vec<_> = routers.iter().map(|router| router.name.as_str()).collect();
        assert_eq!(names, ["192.0.2.1", "core2", "2001-db8--1"]);
        let expected = "name = \"core2\"\naddress = \"192.0.2.2:2222\"\ngroup = \"x\"\n";
        assert_eq!(routers[1].entry, expected);
        for (text, why) in [
            ("a b c", "line 1: must be ADDRESS or NAME ADDRESS"),
            ("\n../x 192.0.2.1", "line 2: router name"),
            ("core1 a:0", "line 1: address"),
            ("a 192.0.2.1\na 192.0.2.2", "line 2: a: the name is used twice"),
        ] {
            let fault = parse(text, "").map(|_| ()).unwrap_err();
            assert!(fault.starts_with(why), "{fault}");
        }
    }
}
