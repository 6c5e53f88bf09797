//! `--check`: tries what the service will do, as its user, and reports each fault: files, directories, rings, ports, servers.

use std::{
    collections::BTreeSet,
    fs,
    io::{ErrorKind, Write, stdout},
    path::Path,
    process::ExitCode,
};

use aw_service::{
    Access, CapabilitySet, Error, FileError, Identity, UnitFiles, check_directory, explain,
    move_away, other_options, report_trial, run_as_with, try_open_own, user_name,
};
use rustix::{
    fs::{Access as Wanted, access},
    process::geteuid,
};
use shm_layout::{AttachError, Reader, RingName, Start};

use crate::{Plan, RingOptions, StartFrom, source::attach_fault};

/// Tries what every output needs, and then `trial`: what this one needs beside that. It returns a line for the user, or the
/// faults. Nothing is sent to anyone.
pub fn check(
    name: &'static str,
    options: &RingOptions,
    plan: &Plan,
    trial: impl FnOnce() -> Result<String, Vec<String>> + Send,
) -> ExitCode {
    let unit = options.unit();
    if let Some(others) = other_options(name) {
        let _ = writeln!(stdout(), "{others}"); // also if there are faults
    }
    let tried = options.owners().and_then(|owners| {
        let identity = service_identity(options, unit.as_ref(), &owners)?;
        let is_root = geteuid().is_root() && unit.is_none();
        let common = Common { name, options, plan, is_root, unit: unit.as_ref() };
        let keep = unit.as_ref().map_or(CapabilitySet::empty(), UnitFiles::capabilities);
        run_as_with(identity.as_ref(), keep, || {
            let (mut notes, mut faults) = (Vec::new(), Vec::new());
            let (waits, denied) = check_rings(name, &options.rings, &owners);
            notes.extend(waits);
            faults.extend(denied);
            common.state(&mut faults);
            common.directories(&mut faults);
            common.hidden(&mut faults);
            match trial() {
                Ok(line) => notes.insert(0, line),
                Err(found) => faults.extend(found),
            }
            notes.push(format!("no fault, as far as user {} can try it", user_name()));
            (notes, faults)
        })
    });
    report_trial(tried)
}

/// What is to be said about rings, and what is wrong with them. One that does not exist is no fault: programs wait for it.
pub fn check_rings(name: &str, rings: &[RingName], owners: &[u32]) -> (Vec<String>, Vec<String>) {
    let (mut notes, mut faults) = (Vec::new(), Vec::new());
    for ring in rings {
        match Reader::attach_to(ring, owners, Start::Oldest) {
            Ok(_) => {}
            Err(AttachError::Missing | AttachError::Cut) => notes
                .push(format!("ring {ring} does not exist yet: {name} waits for its collector")),
            Err(why) => faults.push(format!("read ring {ring}: {}", attach_fault(&why))),
        }
    }
    (notes, faults)
}

/// Does what the service does before it drops its access, such as to read `file`, as the user that it begins as: that of its unit
/// or script, if root asks, but not for a file that systemd reads for the unit. Root that starts a program itself is still root then.
pub fn as_service<T: Send>(
    options: &RingOptions,
    file: Option<&Path>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Error> {
    let unit = options.unit().filter(|unit| !file.is_some_and(|file| unit.loads(file)));
    let keep = unit.as_ref().map_or(CapabilitySet::empty(), UnitFiles::capabilities);
    match unit.as_ref().map(UnitFiles::identity).transpose()?.flatten() {
        Some(identity) => run_as_with(Some(&identity), keep, work),
        None => Ok(work()),
    }
}

/// The user and groups that the service has once it runs.
fn service_identity(
    options: &RingOptions,
    unit: Option<&UnitFiles>,
    owners: &[u32],
) -> Result<Option<Identity>, Error> {
    match unit.map(UnitFiles::identity).transpose()?.flatten() {
        Some(identity) => Ok(Some(identity)),
        None => options.identity(owners),
    }
}

/// What is the same for all outputs.
struct Common<'a> {
    name: &'a str,
    options: &'a RingOptions,
    plan: &'a Plan,
    /// Root starts the program.
    is_root: bool,
    /// What starts it otherwise.
    unit: Option<&'a UnitFiles>,
}

impl Common<'_> {
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
                    let remedy = match why.starts_with("it belongs to ") {
                        true => format!("chown {} {}", user_name(), path.display()),
                        false => move_away(&path),
                    };
                    Some(format!("open {}: {why} ({remedy})", path.display()))
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
        let is_created = self.unit.is_some_and(|unit| unit.creates(directory))
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
        let written = self.plan.files.iter().filter_map(|one| match one {
            Access::Write(path) => Some(path),
            _ => None,
        });
        for path in written.collect::<BTreeSet<_>>() {
            let is_state = *path == self.options.state_path();
            if is_state {
                continue; // it has been tried
            }
            if let Ok(found) = path.metadata()
                && !found.is_dir()
            {
                // The trial opens it. No unit forbids a device.
                let unit = self.unit.filter(|_| found.is_file());
                faults.extend(unit.and_then(|unit| unit.forbids_writing(path)));
                continue;
            }
            // The remedy for what the unit forbids has the steps for its user, too.
            faults.extend(match self.unit.and_then(|unit| unit.forbids_writing(path)) {
                Some(fault) => Some(fault),
                None => check_directory(path, "the option that names it").err(),
            });
        }
    }

    /// Files that its user can read, and that the unit hides.
    fn hidden(&self, faults: &mut Vec<String>) {
        let Some(unit) = self.unit else { return };
        let read = self.plan.files.iter().filter_map(|one| match one {
            Access::Read(path) => Some(path),
            _ => None,
        });
        let files: BTreeSet<_> = read.chain(&self.plan.named).collect();
        faults.extend(files.into_iter().filter_map(|path| unit.hides(path)));
    }
}
