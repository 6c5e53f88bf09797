//! Whether this process may do with a file or directory what it needs: tried, and undone.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

use crate::{
    Wanted,
    access::{denied, explained, visible},
    cause, explain_or,
};

/// Creates a file in a directory and removes it.
pub fn try_writing(directory: &Path) -> io::Result<()> {
    let trial = directory.join(format!(".check-{}", std::process::id()));
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial);
    created.and_then(|_| fs::remove_file(&trial))
}

/// The same, as a fault with its remedy. `choose` is how another directory is chosen.
pub fn check_directory(directory: &Path, choose: &str) -> Result<(), String> {
    let shown = directory.display();
    let fault = |operation, error: &io::Error, remedy| {
        Err(format!("{operation} {shown}: {}", explain_or(error, remedy)))
    };
    match visible(directory, Wanted::Write) {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(format!(
            "use {shown}: there is no such directory (create it, or choose another with {choose})"
        )),
        Err(error) => fault("use", &error, &format!("(choose another directory with {choose})")),
        Ok(found) if !found.is_dir() => {
            Err(format!("use {shown}: it is not a directory (choose another with {choose})"))
        }
        Ok(_) => match try_writing(directory) {
            Ok(()) => Ok(()),
            Err(error) => {
                let error = explained(error, &directory.join("x"), Wanted::Write);
                fault("write to", &error, &format!("(choose another directory with {choose})"))
            }
        },
    }
}

/// Why this process may not write to a file, or create one in its directory, as a database needs both: cause and remedy; none
/// if it may.
pub fn unwritable(path: &Path) -> Option<String> {
    let new = path.with_extension("new");
    let places = [(path, path), (path.parent()?, &*new)];
    places.into_iter().find_map(|(place, file)| match access(place, Access::WRITE_OK) {
        Err(Errno::ACCESS) => {
            denied(file, Wanted::Write).map(|why| format!("permission denied ({why})"))
        }
        Err(Errno::ROFS) => {
            Some(explain_or(&Errno::ROFS.into(), "(make it writable, or choose another place)"))
        }
        _ => None,
    })
}

/// Whether this process may run a program.
pub fn check_program(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let found = visible(path, Wanted::Read).map_err(|error| {
        let why = explain_or(&error, "(correct its path, or install it)");
        format!("run {shown}: {why}")
    })?;
    if !found.is_file() {
        return Err(format!("run {shown}: it is not a file (name a program)"));
    }
    access(path, Access::EXEC_OK)
        .map_err(|error| format!("run {shown}: {} (chmod a+rx {shown})", cause(&error.into())))
}
