//! `remove`: removes the entries of routers from the configuration file, as `add` wrote them: with the password file that it
//! wrote. The archive stays.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use aw_service::{Error, FileKind, cause, failed, read_file_text};
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
    /// Do not remove the password file that `add` wrote
    #[arg(long)]
    keep_password: bool,
}

pub fn run(path: &Path, options: &RemoveOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let mut names: Vec<&str> = options.names.iter().map(String::as_str).collect();
    names.sort();
    names.dedup();
    let mut routers = Vec::new();
    for name in &names {
        routers.push(find(path, &config, name)?);
    }
    let hosts = || config.routers.iter().chain(&config.jump_hosts);
    let is_removed = |other: &Router| routers.iter().any(|gone| gone.name == other.name);
    for other in hosts().filter(|other| !is_removed(other)) {
        if let Some(jump) = other.via.as_ref().filter(|via| names.contains(&via.as_str())) {
            return Err(failed(format_args!(
                "{jump}: nothing was changed, because {} is connected to through it (change its key via first)",
                other.name
            )));
        }
    }
    let mut files = Files::read(&files(path, config.include.as_deref())?)?;
    let mut removed = Vec::new();
    for name in &names {
        removed.push(files.remove(name)?);
    }
    files.check(path)?;
    files.write()?;
    for (router, (file, entry)) in routers.iter().zip(&removed) {
        let name = &router.name;
        print(&format!("{name} is removed from {}:\n{}\n", file.display(), entry.trim_end()))?;
        if Archive::of(&config.archive, name).is_there() {
            let directory = config.archive.join(name.as_str());
            print(&format!(
                "what was archived of {name} stays in {} (aw-routeros log {name} reads it; rm -r deletes it)\n",
                directory.display()
            ))?;
        }
    }
    // Last: it cannot be restored.
    let others = hosts().filter(|other| !is_removed(other)).flat_map(Router::files);
    let used: Vec<_> = others.chain(config.files_of_mail()).map(canonical).collect();
    // A key, a passphrase, a password at another place: whether something else needs them is not known here.
    let mut stay = BTreeSet::new();
    for (router, (_, entry)) in routers.iter().zip(&removed) {
        let written = password_file(path, &router.name);
        let keep = options.keep_password;
        let is_named = entry.parse::<Table>().is_ok_and(|entry| has_password_file(&entry))
            && router.password_file.as_ref() == Some(&written);
        let is_removed = is_named && !keep && !used.contains(&canonical(&written));
        if is_removed {
            remove_password(&written)?;
        }
        stay.extend(
            router.files().filter(|file| file.exists() && !used.contains(&canonical(file))),
        );
    }
    for file in stay {
        let file = file.display();
        print(&format!(
            "{file}, which no other router has, stays (rm {file}, if nothing else needs it)\n"
        ))?;
    }
    let of = if path == Path::new(DEFAULT_PATH) { "" } else { " of this file" };
    print(&format!(
        "next: systemctl reload aw-routeros (a running aw-routeros{of} follows {} until then)\n",
        names.join(", ")
    ))
}

fn canonical(path: &PathBuf) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.clone())
}

/// Whether the entry itself names one, and not its group or the defaults, as `add` writes it.
fn has_password_file(entry: &Table) -> bool {
    let routers = entry.get("router").and_then(Value::as_array);
    routers.into_iter().flatten().any(|router| router.get("password_file").is_some())
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

/// Removes the file that `add` wrote for a router. A link is the user's own.
fn remove_password(file: &Path) -> Result<(), Error> {
    let shown = file.display();
    let failure = |error| Error::io(format_args!("remove {shown}"), error);
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_file() => {
            fs::remove_file(file).map_err(failure)?;
            print(&format!("{shown}, its password, is removed\n"))
        }
        Ok(_) => print(&format!("{shown} is no regular file, and stays\n")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failure(error)),
    }
}

/// The files of the configuration: path, text, and the text that is to be written.
struct Files(Vec<(PathBuf, String, String)>);

impl Files {
    fn read(paths: &[PathBuf]) -> Result<Files, Error> {
        let read = |path: &PathBuf| {
            let text = read_file_text(path, FileKind::Settings, MAX_CONFIG)
                .map_err(|error| Error::io(format_args!("read {}", path.display()), error))?;
            Ok((path.clone(), text.clone(), text))
        };
        paths.iter().map(read).collect::<Result<_, _>>().map(Files)
    }

    /// Removes the entry of a router from the text of the file that has it. Returns the file and the entry.
    fn remove(&mut self, name: &str) -> Result<(PathBuf, String), Error> {
        let has_it =
            |text: &str| entries_of(text).is_some_and(|names| names.iter().any(|it| it == name));
        let found = self.0.iter_mut().find(|(_, _, text)| has_it(text));
        let (path, _, text) = found.ok_or_else(|| {
            failed(format_args!("{name}: no file has its entry: nothing was changed"))
        })?;
        let new = without(text, name).filter(|(new, _)| differs_by(text, new, name));
        let (new, entry) = new.ok_or_else(|| failed(format_args!(
            "{name}: its entry in {} cannot be removed automatically: nothing was changed (delete its table [[router]])",
            path.display()
        )))?;
        *text = new;
        Ok((path.clone(), entry))
    }

    /// Whether the new texts are a configuration.
    fn check(&self, path: &Path) -> Result<(), Error> {
        let read = |path: &Path| {
            let real = fs::canonicalize(path)?;
            let found = self.0.iter().find(|(known, _, _)| *known == real);
            found.map(|(_, _, new)| new.clone()).ok_or_else(|| ErrorKind::NotFound.into())
        };
        let new = self.0.first().map_or(String::new(), |(_, _, new)| new.clone());
        Config::parse_files(path, new, read).map(drop).map_err(|why| {
            failed(format_args!("without the removed entries: {why}: nothing was changed"))
        })
    }

    /// Writes all that differ, or none: what was written before a failure is written back.
    fn write(&self) -> Result<(), Error> {
        let differ: Vec<_> = self.0.iter().filter(|(_, old, new)| old != new).collect();
        for (at, (path, _, new)) in differ.iter().enumerate() {
            let Err(error) = replace(path, new) else { continue };
            let shown = path.display();
            for (written, old, _) in &differ[..at] {
                replace(written, old).map_err(|again| {
                    let why = format!("write {shown}, and restore {}", written.display());
                    Error::io(format_args!("{why}: {}", cause(&error)), again)
                })?;
            }
            return Err(failed(format_args!(
                "write {shown}: {}: nothing was changed",
                cause(&error)
            )));
        }
        Ok(())
    }
}

/// The names of the routers of a file.
fn entries_of(text: &str) -> Option<Vec<String>> {
    let table = text.parse::<Table>().ok()?;
    let names = table.get("router")?.as_array()?.iter();
    Some(names.filter_map(|router| Some(router.get("name")?.as_str()?.to_owned())).collect())
}

/// The text without the lines from the heading of the router's entry to its last key, and with those of a comment that stands
/// directly above it; and these lines. Other comments stay.
fn without(text: &str, name: &str) -> Option<(String, String)> {
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
    let end = start + length;
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let above = text[..start].split_inclusive('\n').rev().take_while(is_comment);
    let start = start - above.map(str::len).sum::<usize>();
    // The empty line that `add` writes before it.
    let before = text[..start].strip_suffix("\n\n").map_or(start, |before| before.len() + 1);
    Some((format!("{}{}", &text[..before], &text[end..]), text[start..end].to_owned()))
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
            ("r1", "\n# Offices\n[[router]] # one\nname = \"r1\"\naddress = \"192.0.2.1\"\n"),
            (
                "r2",
                "\n# the second\n[[router]]\naddress = \"192.0.2.2\"\nhost_key = [ \"SHA256:a\",\n  \"SHA256:b\" ]\nname = 'r2'\n",
            ),
            ("r3", "\n[[router]]\nname = \"r3\"\n"),
        ] {
            let (new, entry) = without(text, name).unwrap();
            assert_eq!(entry.trim(), removed.trim());
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
        assert!(without(after, "r1").is_none_or(|(new, _)| !differs_by(after, &new, "r1")));
    }

    /// What `add` appended is gone without a trace.
    #[test]
    fn as_before_the_addition() {
        let text = "archive = \"/x\"\n";
        let added = format!("{text}\n[[router]]\nname = \"r1\"\nuser = \"a\"\n");
        assert_eq!(without(&added, "r1").unwrap().0, text);
    }
}
