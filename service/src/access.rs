//! Why this process may not open a file or be reached, in words that lead to the remedy: which user it is, which group that
//! user lacks, and what its systemd unit forbids.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rustix::{
    fs::{Access, access},
    process::{getegid, geteuid, getgroups},
};
use uzers::os::unix::GroupExt;

use crate::{
    FileKind, UnitFiles, nearest, read_file_text,
    unit_files::{SHARED, may_be_given, numbered_lines},
};

/// The variables of the units that have options.
const OPTIONS: [&str; 2] = ["OPTIONS", "OPTIONS_ALL"];
/// The directory of the services' databases and positions.
const STATE: &str = "/var/lib/addrwatch";
/// The directory of files that all programs read.
const LISTS: &str = "/etc/addrwatch/lists";
/// Bytes of a file of options.
const MAX_OPTIONS: u64 = 64 << 10;

static UNIT: OnceLock<Option<String>> = OnceLock::new();
static UNIT_FILES: OnceLock<Option<UnitFiles>> = OnceLock::new();
static USER: OnceLock<String> = OnceLock::new();
/// This process, or the thread of a check, became another user.
static IS_ANOTHER_USER: AtomicBool = AtomicBool::new(false);

/// The systemd unit of the system that this process is a part of: none for what a user's session or own service manager
/// started, which has an INVOCATION_ID, too. Known from the start on, because its files are out of reach later.
pub fn unit() -> Option<&'static str> {
    let found = || {
        std::env::var_os("INVOCATION_ID")?;
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        unit_of(&groups).map(String::from)
    };
    UNIT.get_or_init(found).as_deref()
}

/// The unit of the system that another process is a part of.
pub fn unit_of_process(process: u64) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
    unit_of(&groups).map(String::from)
}

/// What that unit forbids.
fn unit_files() -> Option<&'static UnitFiles> {
    UNIT_FILES.get_or_init(|| unit().and_then(UnitFiles::of)).as_ref()
}

/// Why the unit of this process does not let it write to a directory, with all steps of the remedy; none if it does, or if there
/// is no unit.
pub fn unit_forbids_writing(directory: &Path) -> Option<String> {
    unit_files()?.why_not_written(&std::path::absolute(directory).ok()?)
}

/// Why the unit of this process hides a history from it, with the remedy; none if it does not, or if there is no unit.
pub fn unit_hides_history(file: &Path) -> Option<String> {
    unit_files()?.hides_history(&std::path::absolute(file).ok()?)
}

/// By the text of /proc/self/cgroup: `0::/system.slice/NAME.service`, or in a slice below that, as units with an instance.
fn unit_of(groups: &str) -> Option<&str> {
    let path =
        groups.lines().find_map(|line| match line.split_once(':')?.1.split_once(':')? {
            ("" | "name=systemd", path) if path.contains(".slice/") => Some(path),
            _ => None,
        })?;
    let is_of_system =
        path.split('/').find(|part| part.ends_with(".slice")) == Some("system.slice");
    // Outside of this namespace.
    let is_of_system = is_of_system && !path.split('/').any(|part| part == "..");
    path.rsplit('/').next()?.strip_suffix(".service").filter(|_| is_of_system)
}

/// Keeps what is out of reach once files are restricted: the unit, and the name of this user.
pub(crate) fn remember() {
    let _ = (unit_files(), user_name());
}

/// Root became another user: in messages, this is the user of the service, and not a person.
pub(crate) fn became_another_user() {
    IS_ANOTHER_USER.store(true, Relaxed);
}

/// The user that this process runs as; the first call must come after the change of user.
pub fn user_name() -> &'static str {
    USER.get_or_init(|| {
        let id = geteuid().as_raw();
        let found = uzers::get_user_by_uid(id);
        found.map_or_else(|| format!("user id {id}"), |user| user.name().to_string_lossy().into())
    })
}

/// What to do about an error that the unit may have caused, in brackets.
pub(crate) fn of_unit(error: &io::Error) -> Option<String> {
    let unit = unit()?;
    match error.kind() {
        // Of a file that is not known here.
        ErrorKind::ReadOnlyFilesystem => Some(format!(
            "(its mount is read-only here: the unit {unit} may not write there, see {unit} --check; or its disk has a fault, see dmesg)"
        )),
        _ => None,
    }
}

/// An error of opening this file, with who may not do it and the remedy, if that is the cause.
pub fn explained(error: io::Error, path: &Path, wanted: Wanted) -> io::Error {
    if !matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
        return error;
    }
    if let Some(why) = of_unit_files(path, wanted) {
        return io::Error::new(error.kind(), why);
    }
    if error.kind() == ErrorKind::ReadOnlyFilesystem {
        return io::Error::new(error.kind(), mounted_read_only(path));
    }
    match denied(path, wanted) {
        Some(remedy) => io::Error::new(error.kind(), format!("permission denied ({remedy})")),
        None => error,
    }
}

/// Why a file cannot be written that no known setting of a unit forbids: it is mounted read-only, for this process or for all. Cause
/// and remedy.
pub(crate) fn mounted_read_only(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let found = path.ancestors().filter_map(|place| Some((place, place.metadata().ok()?.dev())));
    let mut found = found.skip_while(|(place, _)| !is_read_only(place));
    let (mut top, device) = found.next().unwrap_or((&path, 0));
    // A unit or a container can have a part of a file system read-only.
    for (place, _) in found.take_while(|(place, other)| *other == device && is_read_only(place)) {
        top = place;
    }
    let top = top.display();
    format!(
        "read-only file system (the mount of {top} is read-only here: in a container, add a volume; in a unit, see its ReadOnlyPaths= and ProtectSystem=; else see dmesg, and if the disk has a fault, fsck comes before mount -o remount,rw {top})"
    )
}

/// Whether the mount of a place, as this process sees it, takes no writes.
fn is_read_only(place: &Path) -> bool {
    let found = rustix::fs::statvfs(place);
    found.is_ok_and(|found| found.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

/// Why the unit of this process does not let it open a file, with all steps of the remedy.
fn of_unit_files(path: &Path, wanted: Wanted) -> Option<String> {
    let (unit, path) = (unit_files()?, std::path::absolute(path).ok()?);
    let found = path.metadata().ok();
    match wanted {
        Wanted::Read => unit.why_hidden(&path),
        Wanted::Write if found.as_ref().is_some_and(Metadata::is_dir) => {
            unit.why_not_written(&path)
        }
        // A socket or device is used through a read-only mount, too.
        Wanted::Write if found.is_none_or(|found| found.is_file()) => {
            unit.why_not_written(path.parent()?)
        }
        Wanted::Write => None,
    }
}

/// What a process wants of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its content.
    Read,
    /// To change or create it.
    Write,
}

/// Why this process may not open the file: which user it is, and the group that may, or else what to do; none for root.
pub fn denied(path: &Path, wanted: Wanted) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let hidden = |path: &Path| matches!(path.symlink_metadata(), Err(error) if error.kind() == ErrorKind::PermissionDenied);
    // The directory that hides it, or else the file.
    let hiding = path.ancestors().filter(|path| hidden(path)).last().and_then(Path::parent);
    let (place, bit) = match (hiding, wanted) {
        (Some(directory), _) => (directory, 0o010),
        (None, Wanted::Read) => (&*path, 0o040),
        (None, Wanted::Write) if path.exists() => (&*path, 0o020),
        (None, Wanted::Write) => (path.parent()?, 0o020),
    };
    let found = place.metadata().ok()?;
    if geteuid().is_root() {
        return None;
    }
    if let Some(remedy) = of_shared(place, &found, wanted) {
        return Some(format!("{}{remedy}", who()));
    }
    if is_person() && is_state(place, &found, wanted) {
        return Some(format!("you are {}: use sudo", user_name()));
    }
    Some(lacks_group(&found, bit).unwrap_or_else(|| not_allowed(place, hiding.is_some(), wanted)))
}

/// Whether a person has started this process for itself: no unit runs it, and root did not make it the user of a service.
fn is_person() -> bool {
    unit().is_none() && !IS_ANOTHER_USER.load(Relaxed)
}

/// What to do about a file or directory that all programs use and whose group may not read it: it belongs to no service.
fn of_shared(place: &Path, found: &Metadata, wanted: Wanted) -> Option<String> {
    let is_list = found.is_file() && place.starts_with(LISTS);
    if !is_list && !is_shared(place) {
        return None;
    }
    let shown = place.display();
    let group = uzers::get_group_by_name("addrwatch")?.gid();
    let has_group = found.gid() == group;
    let group_bits = if wanted == Wanted::Write { 0o060 } else { 0o040 };
    let remedy = match (is_list, place.starts_with("/etc")) {
        (true, _) if !has_group || found.mode() & group_bits != group_bits => {
            format!("sudo chgrp addrwatch {shown}; sudo chmod 664 {shown}")
        }
        (false, true) if found.mode() & 0o005 != 0o005 => format!("sudo chmod 755 {shown}"),
        (false, false) if !has_group || found.mode() & 0o050 != 0o050 => {
            format!("sudo chgrp addrwatch {shown}; sudo chmod 750 {shown}")
        }
        _ => return None,
    };
    Some(format!(", and all programs use {shown}: {remedy}"))
}

/// Whether all programs use this directory.
pub(crate) fn is_shared(directory: &Path) -> bool {
    SHARED.iter().any(|shared| directory == Path::new(shared))
}

/// Who this process is.
fn who() -> String {
    let user = user_name();
    match unit() {
        Some(unit) => format!("the unit {unit} runs as {user}"),
        None if is_person() => format!("you are {user}"),
        None => format!("it runs as {user}"),
    }
}

/// Whether a directory belongs to the services alone: a member of the group that writes to it would next be denied a file in
/// it.
fn is_state(place: &Path, found: &Metadata, wanted: Wanted) -> bool {
    wanted == Wanted::Write && found.is_dir() && place.starts_with(STATE)
}

/// Which user may not do it, where no group may.
fn not_allowed(place: &Path, hides: bool, wanted: Wanted) -> String {
    let asked = match wanted {
        Wanted::Write => Access::WRITE_OK,
        Wanted::Read => Access::READ_OK,
    };
    let is_restricted = !hides && access(place, asked).is_ok();
    let (path, user, place, who) = (place, user_name(), place.display(), who());
    match is_person() && !is_restricted {
        true if hides => return format!("{who}, who may not enter {place}: use sudo"),
        true => return format!("{who}: use sudo"),
        false => {}
    }
    if is_restricted {
        return format!(
            "{who}, who may: this process is restricted to what it named at its start, restart it; or AppArmor or SELinux denies it"
        );
    }
    match (hides, wanted) {
        (true, _) if path_of_credentials(&place.to_string()) => format!(
            "{who}, who may not enter {place}, which systemd made for LoadCredential=: restart the unit; if that does not help, as in some containers: OPTIONS=-c FILE in /etc/default/NAME of the unit, with a file that {user} may read"
        ),
        (true, _) if !may_be_given(path) => {
            format!("{who}, who may not enter {place}: choose another place")
        }
        (true, _) => format!(
            "{who}, who may not enter {place}: choose another place, or, if it is for this program only, chown {user} {place}"
        ),
        (false, Wanted::Read) => {
            format!("{who}: let this user read it, as with chown {user} {place}")
        }
        (false, Wanted::Write) if path.is_dir() && !may_be_given(path) => {
            format!("{who}: choose another place, it is not a service's own")
        }
        (false, Wanted::Write) => format!("{who}: let this user write to {place}"),
    }
}

fn path_of_credentials(place: &str) -> bool {
    place.starts_with("/run/credentials")
}

/// The metadata of a file, with an error that names who may not see it.
pub(crate) fn visible(path: &Path, wanted: Wanted) -> io::Result<Metadata> {
    path.metadata().map_err(|error| explained(error, path, wanted))
}

fn lacks_group(file: &Metadata, bit: u32) -> Option<String> {
    let group = file.gid();
    if file.mode() & bit == 0 || group == 0 || geteuid().is_root() {
        return None;
    }
    Some(join_group(group))
}

/// "you are alice; usermod -aG addrwatch alice, then log in again", for the group of a file that may do what was denied. Only
/// groups of this system are recommended: others may do more than read its files.
pub fn join_group(group: u32) -> String {
    let user = user_name();
    let has = getegid().as_raw() == group
        || getgroups().unwrap_or_default().iter().any(|one| one.as_raw() == group);
    let known = uzers::get_group_by_gid(group);
    let Some((name, members)) = known
        .as_ref()
        .map(|group| (group.name().to_string_lossy(), group.members()))
        .filter(|(name, _)| is_ours(name) || has)
    else {
        return format!("{}: let this user read it", who());
    };
    let is_listed = members.iter().any(|one| one == user);
    match (unit(), is_listed) {
        _ if has => format!(
            "{}, in group {name}, which may: this process is restricted, restart it; or AppArmor or SELinux denies it",
            who()
        ),
        (Some(unit), _) => format!(
            "the unit {unit} runs as {user}, who is not in group {name}: usermod -aG {name} {user}, then systemctl restart {unit}"
        ),
        (None, _) if !is_person() => {
            format!(
                "{}, who is not in group {name}: usermod -aG {name} {user}, then start it again",
                who()
            )
        }
        (None, true) => {
            format!("you are {user}; you joined group {name} after your login: log in again")
        }
        (None, false) => format!("you are {user}; usermod -aG {name} {user}, then log in again"),
    }
}

/// Whether a group is that of the readers, or of an output.
fn is_ours(name: &str) -> bool {
    name == "addrwatch" || name.starts_with("aw-")
}

/// A line of a file of a unit's options without effect, with the remedy: systemd ignores it, because no NAME= is before it; a
/// later line sets the same variable; or it sets another variable than OPTIONS to options, and the unit does not start its
/// program with that.
pub fn ignored_options(file: &Path, unit: &str) -> Option<String> {
    let unit = UnitFiles::of(unit);
    ignored_options_of(file, unit.as_ref().and_then(|unit| unit.exec_start.as_deref()))
}

/// The same of a unit that has this ExecStart=.
pub(crate) fn ignored_options_of(file: &Path, exec_start: Option<&str>) -> Option<String> {
    let text = read_file_text(file, FileKind::Settings, MAX_OPTIONS).ok()?;
    let lines = numbered_lines(&text);
    let written = lines.iter().map(|(number, line)| (number, line.trim()));
    let fault = written
        .filter(|(_, line)| !line.is_empty())
        .find_map(|(_, line)| without_effect(line, exec_start.unwrap_or_default()))
        .or_else(|| set_again(&lines))?;
    Some(format!("{}: {fault}", file.display()))
}

/// Of two lines that set one variable, only the later one counts.
fn set_again(lines: &[(usize, String)]) -> Option<String> {
    let mut first = BTreeMap::new();
    lines.iter().find_map(|(again, line)| {
        let (name, _) = line.split_once('=')?;
        let name = name.trim();
        let unused = first.insert(name, again)?;
        Some(format!(
            "line {again} sets {name}= again, and line {unused} is not used (write what both have in one line, then restart)"
        ))
    })
}

/// Whether a line that starts a program has this variable.
fn has_variable(exec_start: &str, name: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    exec_start.split('$').skip(1).any(|part| {
        let part = part.strip_prefix('{').unwrap_or(part);
        part.strip_prefix(name).is_some_and(ends)
    })
}

fn without_effect(line: &str, exec_start: &str) -> Option<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let set = line.split_once('=').map(|(name, value)| (name.trim_end(), value.trim_start()));
    let Some((name, value)) = set.filter(|(name, _)| name.chars().all(is_word)) else {
        return Some(format!(
            "systemd ignores the line {line} (write OPTIONS={line}, then restart)"
        ));
    };
    let is_ours = OPTIONS.contains(&name) || has_variable(exec_start, name);
    let is_misspelt = nearest(&name.to_ascii_uppercase(), &OPTIONS).is_some();
    let has_options = value.trim_start_matches(['"', '\'']).starts_with('-');
    (!is_ours && (is_misspelt || has_options)).then(|| {
        format!("no program reads the variable {name} (write OPTIONS={value}, then restart)")
    })
}

/// An option, with the file where the unit of this process has it.
pub(crate) fn in_its_file(option: &str) -> String {
    let own = unit().filter(|_| option.starts_with("--"));
    let file = own.map(|unit| Path::new("/etc/default").join(unit));
    let is_read =
        |file: &PathBuf| unit_files().is_some_and(|unit| unit.environment_files.contains(file));
    match file.filter(is_read) {
        Some(file) => format!("{option} in {}", file.display()),
        None => option.into(),
    }
}

/// What starts a service of this name that does not run: in brackets, where it has a unit or a script. One that fails at each start
/// is started by systemd again and again, and its status has the reason.
pub fn start_remedy(name: &str) -> String {
    match UnitFiles::of(name) {
        Some(unit) if unit.is_script() => format!("(rc-service {name} start)"),
        Some(_) => format!(
            "(systemctl start {name}; if it was started, systemctl status {name} has the reason)"
        ),
        None => "(start it)".into(),
    }
}

/// What the unit of this process does with connections from other machines, if it accepts those of this machine only: none
/// if there is no unit, or an edit of it allows others.
pub fn drops_clients() -> Option<String> {
    UnitFiles::of(unit()?)?.drops_clients()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that a desktop or a runner of jobs starts inherits its INVOCATION_ID: that is no unit whose edit helps.
    #[test]
    fn units_of_the_system() {
        for (groups, unit) in [
            ("0::/system.slice/aw-sqlite.service\n", Some("aw-sqlite")),
            (
                "0::/system.slice/system-addrwatch\\x2dcollector.slice/addrwatch-collector@eth0.service\n",
                Some("addrwatch-collector@eth0"),
            ),
            ("0::/lxc/sensor/system.slice/aw-alert.service\n", Some("aw-alert")),
            ("12:pids:/x\n1:name=systemd:/system.slice/aw-alert.service\n0::/\n", Some("aw-alert")),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-kitty-7.scope\n",
                None,
            ),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n", None),
            ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
            ("0::/system.slice/docker-0123.scope\n", None),
            ("0::/../system.slice/runner.service\n", None),
            ("0::/\n", None),
            ("", None),
        ] {
            assert_eq!(unit_of(groups), unit, "{groups}");
        }
    }

    #[test]
    fn lines_without_effect() {
        for line in ["OPTIONS=--serve 8080", "OPTIONS_ALL=-q", "TZ=UTC", "AW_PASSWORD=x", "A="] {
            assert_eq!(without_effect(line, ""), None, "{line}");
        }
        for (start, is_read) in [
            ("/usr/bin/aw-x $OPTIONS $EXTRA", true),
            ("/usr/bin/aw-x -c ${EXTRA}/x", true),
            ("/usr/bin/aw-x $EXTRAS EXTRA", false),
            ("/usr/bin/aw-x $OPTIONS", false),
        ] {
            assert_eq!(without_effect("EXTRA=-v", start).is_none(), is_read, "{start}");
        }
        for (line, remedy) in [
            ("--serve 8080", "the line --serve 8080 (write OPTIONS=--serve 8080,"),
            ("OPTION=--serve 8080", "the variable OPTION (write OPTIONS=--serve 8080,"),
            ("OPTION = 8080", "the variable OPTION (write OPTIONS=8080,"),
            ("options=\"--serve 8080\"", "the variable options (write OPTIONS=\"--serve 8080\","),
            ("DAEMON_ARGS='-v'", "the variable DAEMON_ARGS (write OPTIONS='-v',"),
        ] {
            let fault = without_effect(line, "/usr/bin/aw-x $OPTIONS");
            assert!(fault.as_ref().is_some_and(|text| text.contains(remedy)), "{line}: {fault:?}");
        }
    }

    #[test]
    fn only_groups_of_this_system_are_recommended() {
        assert!(is_ours("addrwatch") && is_ours("aw-alert"));
        for group in ["sudo", "adm", "disk", "shadow", "docker"] {
            assert!(!is_ours(group));
            let Some(known) = uzers::get_group_by_name(group) else { continue };
            let said = join_group(known.gid());
            assert!(!said.contains("usermod"), "{said}");
        }
    }
}
