//! `remove`: removes the entries of routers from the configuration file, as `add` wrote them: with the password file that it
//! wrote. The archive stays.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use aw_service::{Error, FileKind, failed, read_file_text};
use clap::Args;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use crate::{
    access::did_you_mean,
    add::password_file,
    archive::Archive,
    config::{Config, DEFAULT_PATH, MAX_CONFIG, Router},
    set_host_key::{files, replace},
    terminal::print,
};

#[derive(Args, Debug)]
pub struct RemoveOptions {
    /// Names of routers
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

pub fn run(path: &Path, options: &RemoveOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let mut routers = Vec::new();
    for name in &options.names {
        routers.push(find(path, &config, name)?);
    }
    let is_removed = |router: &Router| routers.iter().any(|gone| gone.name == router.name);
    for other in config.routers.iter().filter(|router| !is_removed(router)) {
        if let Some(jump) =
            other.via.as_ref().filter(|via| options.names.contains(&via.to_string()))
        {
            return Err(failed(format_args!(
                "{jump}: nothing was changed, because {} is connected to through it (change its key via first)",
                other.name
            )));
        }
    }
    let files = files(path, config.include.as_deref())?;
    for router in &routers {
        let name = router.name.as_str();
        let file = remove(&files, name)?;
        print(&format!("{name} is removed from {}\n", file.display()))?;
        remove_password(path, &config, router, is_removed)?;
        if Archive::of(&config.archive, &router.name).is_there() {
            let directory = config.archive.join(name);
            print(&format!(
                "what was archived of {name} stays in {} (aw-routeros log {name} reads it; rm -r deletes it)\n",
                directory.display()
            ))?;
        }
    }
    let of = if path == Path::new(DEFAULT_PATH) { "" } else { " of this file" };
    print(&format!(
        "next: systemctl reload aw-routeros (a running aw-routeros{of} follows {} until then)\n",
        options.names.join(", ")
    ))
}

fn find<'a>(path: &Path, config: &'a Config, name: &str) -> Result<&'a Router, Error> {
    let found = config.routers.iter().find(|router| router.name.as_str() == name);
    found.ok_or_else(|| {
        let why = if config.jump_hosts.iter().any(|jump| jump.name.as_str() == name) {
            format!("it is a jump host, which only you can remove from {}", path.display())
        } else {
            let near = did_you_mean(config, name);
            format!("no router of this name in {}{near}", path.display())
        };
        failed(format_args!("{name}: {why}: nothing was changed"))
    })
}

/// Removes the file that `add` wrote for this router, unless another entry has it, too.
fn remove_password(
    path: &Path,
    config: &Config,
    router: &Router,
    is_removed: impl Fn(&Router) -> bool,
) -> Result<(), Error> {
    let written = password_file(path, &router.name);
    let hosts = config.routers.iter().chain(&config.jump_hosts);
    let mut others = hosts.filter(|other| other.name != router.name && !is_removed(other));
    if router.password_file.as_ref() != Some(&written)
        || others.any(|other| other.password_file.as_ref() == Some(&written))
    {
        return Ok(());
    }
    let shown = written.display();
    match fs::remove_file(&written) {
        Ok(()) => print(&format!("{shown}, its password, is removed\n")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(format_args!("remove {shown}"), error)),
    }
}

/// Removes the entry of a router from the file that has it. Returns the file.
fn remove<'a>(files: &'a [PathBuf], name: &str) -> Result<&'a Path, Error> {
    for path in files {
        let failure =
            |what: &str, error| Error::io(format_args!("{what} {}", path.display()), error);
        let text = read_file_text(path, FileKind::Settings, MAX_CONFIG)
            .map_err(|error| failure("read", error))?;
        if !entries_of(&text).is_some_and(|names| names.iter().any(|it| it == name)) {
            continue;
        }
        let Some(new) = without(&text, name).filter(|new| differs_by(&text, new, name)) else {
            return Err(failed(format_args!(
                "{name}: its entry in {} cannot be removed automatically (delete its table [[router]])",
                path.display()
            )));
        };
        replace(path, &new).map_err(|error| failure("write", error))?;
        return Ok(path);
    }
    Err(failed(format_args!("{name}: no file has its entry")))
}

/// The names of the routers of a file.
fn entries_of(text: &str) -> Option<Vec<String>> {
    let table = text.parse::<Table>().ok()?;
    let names = table.get("router")?.as_array()?.iter();
    Some(names.filter_map(|router| Some(router.get("name")?.as_str()?.to_owned())).collect())
}

/// The text without the lines from the heading of the router's entry to its last key. Comments before and after them stay.
fn without(text: &str, name: &str) -> Option<String> {
    let root = DeTable::parse(text).ok()?;
    let DeValue::Array(routers) = root.get_ref().get("router")?.get_ref() else { return None };
    let at = routers.iter().find_map(|router| {
        let DeValue::Table(router) = router.get_ref() else { return None };
        let of_name = router.get("name")?;
        (of_name.get_ref().as_str() == Some(name)).then(|| of_name.span().start)
    })?;
    let is_heading = |line: &str| line.trim_start().starts_with('[');
    let (mut start, mut place) = (None, 0);
    let mut end = text.len();
    for line in text.split_inclusive('\n') {
        if is_heading(line) && place <= at {
            start = Some(place);
        } else if is_heading(line) {
            end = place;
            break;
        }
        place += line.len();
    }
    let start = start?;
    // Comments before the next heading are about what follows, and are left.
    let lines = text[start..end].split_inclusive('\n');
    let is_content = |line: &&str| !matches!(line.trim_start().chars().next(), None | Some('#'));
    let last = lines.clone().collect::<Vec<_>>().iter().rposition(is_content)?;
    let length: usize = lines.take(last + 1).map(str::len).sum();
    // The empty line that `add` writes before it.
    let before = text[..start].strip_suffix("\n\n").map_or(start, |before| before.len() + 1);
    Some(format!("{}{}", &text[..before], &text[start + length..]))
}

/// Whether nothing else is different.
fn differs_by(old: &str, new: &str, name: &str) -> bool {
    let (Ok(mut old), Ok(new)) = (old.parse::<Table>(), new.parse::<Table>()) else { return false };
    if let Some(routers) = old.get_mut("router").and_then(Value::as_array_mut) {
        routers.retain(|router| router.get("name").and_then(Value::as_str) != Some(name));
        if routers.is_empty() {
            old.remove("router");
        }
    }
    old == new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_entry_is_removed() {
        let text = "archive = \"/x\" # a\n\n# Offices\n[[router]] # one\nname = \"r1\"\naddress = \"192.0.2.1\"\n\n# the second\n[[router]]\n\
            address = \"192.0.2.2\"\nhost_key = [ \"SHA256:a\",\n  \"SHA256:b\" ]\nname = 'r2'\n\n[[router]]\nname = \"r3\"\n# last\n\n[group.x]\nuser = \"u\"\n";
        for (name, removed) in [
            ("r1", "[[router]] # one\nname = \"r1\"\naddress = \"192.0.2.1\"\n"),
            (
                "r2",
                "[[router]]\naddress = \"192.0.2.2\"\nhost_key = [ \"SHA256:a\",\n  \"SHA256:b\" ]\nname = 'r2'\n",
            ),
            ("r3", "\n[[router]]\nname = \"r3\"\n"),
        ] {
            let new = without(text, name).unwrap();
            assert_eq!(new, text.replacen(removed, "", 1), "{name}");
            assert!(differs_by(text, &new, name) && !differs_by(text, &new, "r9"));
        }
        assert_eq!(without(text, "r4"), None);
        // An entry in braces has no heading of its own.
        let inline = "[defaults]\nuser = \"a\"\n[other]\nrouter = 1\n";
        assert_eq!(without(inline, "r1"), None);
        let inline = "router = [{ name = \"r1\" }]\n";
        assert_eq!(without(inline, "r1"), None);
        let after =
            "[defaults]\nuser = \"a\"\n[[router]]\nname = \"r1\"\nhost_key = [\n[\"a\"]\n]\n";
        assert!(without(after, "r1").is_none_or(|new| !differs_by(after, &new, "r1")));
    }

    /// What `add` appended is gone without a trace.
    #[test]
    fn as_before_the_addition() {
        let text = "archive = \"/x\"\n";
        let added = format!("{text}\n[[router]]\nname = \"r1\"\nuser = \"a\"\n");
        assert_eq!(without(&added, "r1").unwrap(), text);
    }
}
