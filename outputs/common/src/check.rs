//! `--check`: tries what the service will do, as its user, and reports each fault: files, directories, rings, ports, servers.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write, stdout},
    path::Path,
    process::ExitCode,
};

use aw_service::{
    Access, Error, FileError, UnitFiles, check_directory, explain, run_as, try_open_own, user_name,
};
use rustix::{
    fs::{Access as Wanted, access},
    process::geteuid,
};
use shm_layout::{AttachError, Reader, Start};

use crate::{Plan, RingOptions, StartFrom, options::state_directory};

/// Tries what every output needs, and then `trial`: what this one needs beside that. It returns a line for the user, or the
/// faults. Nothing is sent to anyone.
pub fn check(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    trial: impl FnOnce() -> Result<String, Vec<String>> + Send,
) -> ExitCode {
    let tried = options.owners().and_then(|owners| {
        let identity = options.identity(&owners)?;
        let common = Common { name, options, plan, owners: &owners, is_root: geteuid().is_root() };
        run_as(identity.as_ref(), || {
            let (mut notes, mut faults) = (Vec::new(), Vec::new());
            common.rings(&mut notes, &mut faults);
            common.state(&mut faults);
            common.directories(&mut faults);
            match trial() {
                Ok(line) => notes.insert(0, line),
                Err(found) => faults.extend(found),
            }
            notes.push(format!("no fault, as far as user {} can try it", user_name()));
            (notes, faults)
        })
    });
    let faults = match tried {
        Ok((notes, faults)) if faults.is_empty() => {
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
    for fault in faults {
        aw_service::info(fault);
    }
    ExitCode::FAILURE
}

/// Does `work` as the user that the service runs as, if root asks: so it finds what the service will. A service that runs as root
/// reads its files before it drops privileges.
pub fn as_service<T: Send>(
    options: &RingOptions,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    match options.identity(&options.owners()?)? {
        Some(identity) if !identity.user.is_root() => run_as(Some(&identity), work),
        _ => Ok(work()),
    }
}

/// What is the same for all outputs.
struct Common<'a> {
    name: &'a str,
    options: &'a RingOptions,
    plan: &'a Plan,
    owners: &'a [u32],
    /// Root starts the program.
    is_root: bool,
}

impl Common<'_> {
    /// A ring that does not exist is no fault: outputs wait for it.
    fn rings(&self, notes: &mut Vec<String>, faults: &mut Vec<String>) {
        for ring in &self.options.rings {
            match Reader::attach_to(ring, self.owners, Start::Oldest) {
                Ok(_) => {}
                Err(AttachError::Missing | AttachError::Cut) => notes.push(format!(
                    "ring {ring} does not exist yet: {} waits for its collector",
                    self.name
                )),
                Err(why) => faults.push(format!("read ring {ring}: {why}")),
            }
        }
    }

    fn state(&self, faults: &mut Vec<String>) {
        if self.plan.from != StartFrom::Resume && self.plan.spool.is_none() {
            return;
        }
        let directory = self.options.state_path();
        if directory.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            faults.extend(self.create_state(&directory).err());
            return;
        }
        if let Err(fault) = check_directory(&directory, "--state-dir") {
            faults.push(fault);
            return;
        }
        let begin = format!("{}.", self.name);
        for file in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let (path, file) = (file.path(), file.file_name());
            if !file.to_string_lossy().starts_with(&begin) {
                continue;
            }
            faults.extend(match try_open_own(&path, 0o600, None) {
                Ok(_) => None,
                Err(FileError::Untrusted(why)) => {
                    Some(format!("open {}: {why} (chown {} {0})", path.display(), user_name()))
                }
                Err(FileError::Io(error)) => {
                    Some(format!("open {}: {}", path.display(), explain(&error)))
                }
            });
        }
    }

    /// The program creates the last part of the path, as the user that starts it; a unit creates all of it.
    fn create_state(&self, directory: &Path) -> Result<(), String> {
        let shown = directory.display();
        let parent = directory.parent().unwrap_or(Path::new("/"));
        let is_created = self.unit().is_some_and(|unit| unit.creates(directory))
            || self.is_root && parent.is_dir();
        if is_created || access(parent, Wanted::WRITE_OK | Wanted::EXEC_OK).is_ok() {
            return Ok(());
        }
        let user = user_name();
        let why = if parent.is_dir() { "permission denied" } else { "no such directory" };
        Err(format!(
            "create {shown}: {why} (sudo install -d -m 750 -o {user} {shown}, or choose another with --state-dir)"
        ))
    }

    fn directories(&self, faults: &mut Vec<String>) {
        let unit = self.unit();
        let written = self.plan.files.iter().filter_map(|one| match one {
            Access::Write(path) => Some(path),
            _ => None,
        });
        for path in written.collect::<BTreeSet<_>>() {
            let is_state = *path == self.options.state_path();
            if is_state || path.metadata().is_ok_and(|found| !found.is_dir()) {
                continue; // it has been tried; a device
            }
            match (check_directory(path, "the option that names it"), &unit) {
                (Err(fault), _) => faults.push(fault),
                (Ok(()), Some(unit)) => faults.extend(unit.forbids_writing(path)),
                (Ok(()), None) => {}
            }
        }
    }

    /// The unit, where root asks for the service: with the state directory of the package, and no other user.
    fn unit(&self) -> Option<UnitFiles> {
        let is_service = self.is_root
            && self.options.service.user.is_none()
            && self.options.state_dir == state_directory();
        is_service.then(|| UnitFiles::of(self.name)).flatten()
    }
}
