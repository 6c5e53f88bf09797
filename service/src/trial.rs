//! Whether this process may do with a file or directory what it needs: tried, and undone.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Read, Write, stdout},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    process::ExitCode,
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

use crate::{
    Error, FileKind, Wanted,
    access::{denied, explained, mounted_read_only, unit_forbids_writing, visible},
    cause, explain_or, info, open_file,
    unit_command::ignored_by_unit,
};

/// Bytes of the first line of a script, at most, as for the kernel.
const MAX_LINE: u64 = 256;
/// Where programs are searched without a setting.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Bytes that a trial writes: so many does a database need for its log and index. A disk may be full, or have a quota.
const TRIAL: usize = 128 << 10;

/// Creates a file in a directory, writes some bytes, and removes it.
pub fn try_writing(directory: &Path) -> io::Result<()> {
    let trial = directory.join(format!(".check-{}", std::process::id()));
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial);
    let mut created = created.map_err(|error| match error.kind() {
        ErrorKind::ReadOnlyFilesystem => explained(error, &trial, Wanted::Write),
        _ => error,
    })?;
    let written = created.write_all(&vec![0; TRIAL]);
    fs::remove_file(&trial).and(written)
}

/// Whether the disk of a directory is full, as the cause of an error that does not report it: cause and remedy.
pub fn full_disk(directory: &Path) -> Option<&'static str> {
    let error = try_writing(directory).err()?;
    let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    is_full.then_some("the disk is full (free space on its disk)")
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
    let of_unit = || path.parent().and_then(unit_forbids_writing);
    places.into_iter().find_map(|(place, file)| match access(place, Access::WRITE_OK) {
        Err(Errno::ACCESS | Errno::ROFS) if of_unit().is_some() => of_unit(),
        Err(Errno::ACCESS) => {
            denied(file, Wanted::Write).map(|why| format!("permission denied ({why})"))
        }
        Err(Errno::ROFS) => Some(mounted_read_only(place)),
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
        .map_err(|error| format!("run {shown}: {} (chmod a+rx {shown})", cause(&error.into())))?;
    match missing_interpreter(path) {
        Some(missing) => Err(format!(
            "run {shown}: its first line names {missing}, which cannot be run (install it, or correct that line)"
        )),
        None => Ok(()),
    }
}

/// The interpreter that a script names and that cannot be run.
fn missing_interpreter(path: &Path) -> Option<String> {
    let mut begin = Vec::new();
    let opened = open_file(path, FileKind::Settings);
    let read = opened.and_then(|file| file.take(MAX_LINE).read_to_end(&mut begin));
    if read.is_err() || !begin.starts_with(b"#!") {
        return None; // a program that may be run and not read; or no script
    }
    let line = String::from_utf8_lossy(&begin[2..]);
    let mut words = line.lines().next().unwrap_or_default().split_whitespace();
    let program = words.next()?;
    let runs = |program: &Path| program.is_file() && access(program, Access::EXEC_OK).is_ok();
    if !runs(Path::new(program)) {
        return Some(program.into());
    }
    // env searches its argument.
    let searched = words.find(|word| !word.starts_with('-') && !word.contains('='));
    let searched = searched.filter(|_| program.ends_with("/env"))?;
    let directories = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
    let found = std::env::split_paths(&directories).any(|place| runs(&place.join(searched)));
    (!found).then(|| searched.into())
}

/// The end of a `--check`: prints the notes, or logs each fault. With a fault, the status is 1.
pub fn report_trial(tried: Result<(Vec<String>, Vec<String>), Error>) -> ExitCode {
    let ignored = ignored_by_unit();
    let mut faults = match tried {
        Ok((notes, faults)) if faults.is_empty() && ignored.is_empty() => {
            let notes = notes.into_iter().filter(|note| !note.is_empty());
            let text: String = notes.map(|note| format!("{note}\n")).collect();
            return match stdout().write_all(text.as_bytes()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
                _ => ExitCode::SUCCESS,
            };
        }
        Ok((_, faults)) => faults,
        Err(error) => vec![error.to_string()],
    };
    // A program may have found them itself.
    let further: Vec<_> = ignored.into_iter().filter(|why| !faults.contains(why)).collect();
    faults.extend(further);
    faults.into_iter().for_each(info);
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn programs_that_cannot_be_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let check = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            check_program(&path)
        };
        for good in ["#!/bin/sh\n", "#! /bin/sh -e\n", "#!/usr/bin/env -S sh\n", "\x7fELF", "echo"]
        {
            assert_eq!(check(good, 0o755), Ok(()), "{good}");
        }
        for (text, missing) in [
            ("#!/nowhere/python3\n", "names /nowhere/python3, which"),
            ("#!/usr/bin/env no-such-program -u\n", "names no-such-program, which"),
            ("#!/tmp\n", "names /tmp, which"),
        ] {
            let why = check(text, 0o755).unwrap_err();
            assert!(why.contains(missing) && why.contains("(install it"), "{why}");
        }
        let why = check("#!/bin/sh\n", 0o644).unwrap_err();
        assert!(why.contains("permission denied (chmod a+rx"), "{why}");
    }
}
