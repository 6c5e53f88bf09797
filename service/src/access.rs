//! Why this process may not open a file or be reached, in words that lead to the remedy: which user it is, which group that
//! user lacks, and what its systemd unit forbids.

use std::{
    fs::{self, Metadata},
    io::{self, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::OnceLock,
};

use rustix::process::{getegid, geteuid, getgroups};
use uzers::os::unix::GroupExt;

use crate::{FileKind, name, read_file_text};

/// Bytes of a file of options.
const MAX_OPTIONS: u64 = 64 << 10;

static UNIT: OnceLock<Option<String>> = OnceLock::new();
static USER: OnceLock<String> = OnceLock::new();

/// The systemd unit that started this process. Known from the start on, because its files are out of reach later.
pub fn unit() -> Option<&'static str> {
    let found = || {
        std::env::var_os("INVOCATION_ID")?;
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let group = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let own = group.and_then(|path| path.rsplit('/').next()?.strip_suffix(".service"));
        Some(own.map_or_else(|| name().into(), String::from))
    };
    UNIT.get_or_init(found).as_deref()
}

/// Keeps what is out of reach once files are restricted: the unit, and the name of this user.
pub(crate) fn remember() {
    let _ = (unit(), user_name());
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
        ErrorKind::ReadOnlyFilesystem => Some(format!(
            "(the unit {unit} may not write there: systemctl edit {unit}, then [Service] ReadWritePaths=DIRECTORY)"
        )),
        _ => None,
    }
}

/// An error of opening this file, with who may not do it and the remedy, if that is the cause.
pub(crate) fn explained(error: io::Error, path: &Path, wanted: Wanted) -> io::Error {
    if error.kind() != ErrorKind::PermissionDenied {
        return error;
    }
    match denied(path, wanted) {
        Some(remedy) => io::Error::new(error.kind(), format!("permission denied ({remedy})")),
        None => error,
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

/// Why this process may not open the file: which user it is, and the group that may; none if no group may.
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
    if let Some(unit) = unit()
        && let Some(home) =
            ["/home", "/root", "/run/user"].iter().find(|home| path.starts_with(home))
    {
        return Some(format!(
            "the unit {unit} sees nothing in {home}: move the file, or systemctl edit {unit}, then [Service] ProtectHome=read-only; its user is {}",
            user_name()
        ));
    }
    lacks_group(&place.metadata().ok()?, bit)
}

fn lacks_group(file: &Metadata, bit: u32) -> Option<String> {
    let group = file.gid();
    if file.mode() & bit == 0 || group == 0 || geteuid().is_root() {
        return None;
    }
    Some(join_group(group))
}

/// "you are alice; adduser alice addrwatch, then log in again", for this group.
pub fn join_group(group: u32) -> String {
    let known = uzers::get_group_by_gid(group);
    let name = known.as_ref().map(|group| group.name().to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| format!("id {group}"));
    let user = user_name();
    let is_listed = known.is_some_and(|group| group.members().iter().any(|one| one == user));
    let has = getegid().as_raw() == group
        || getgroups().unwrap_or_default().iter().any(|one| one.as_raw() == group);
    match (unit(), is_listed) {
        _ if has => format!("you are {user}, in group {name}, which may not"),
        (Some(unit), _) => format!(
            "the unit {unit} runs as {user}, who is not in group {name}: adduser {user} {name}, then systemctl restart {unit}"
        ),
        (None, true) => {
            format!("you are {user}; you joined group {name} after your login: log in again")
        }
        (None, false) => format!("you are {user}; adduser {user} {name}, then log in again"),
    }
}

/// A line of a file of a unit's options that systemd ignores, because no NAME= is before it, with the remedy.
pub fn ignored_options(file: &Path) -> Option<String> {
    let text = read_file_text(file, FileKind::Settings, MAX_OPTIONS).ok()?;
    let is_set = |line: &str| {
        let name = line.split_once('=').map(|(name, _)| name.trim_end());
        name.is_some_and(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
    };
    let mut lines = text.lines().map(str::trim);
    let line =
        lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']) && !is_set(line))?;
    let file = file.display();
    Some(format!("{file}: systemd ignores the line {line} (write OPTIONS={line}, then restart)"))
}

/// What a unit that accepts connections from this machine only does with this address: none if an edit of the unit allows
/// others, or there is no unit.
pub fn drops_clients() -> Option<String> {
    let unit = unit()?;
    let base = unit.split_once('@').map_or(unit, |(base, _)| base);
    let directories = ["/etc/systemd/system", "/run/systemd/system"];
    let edits = directories.map(|directory| format!("{directory}/{base}.service.d"));
    let edits = edits.iter().filter_map(|directory| fs::read_dir(directory).ok()).flatten();
    let mut texts = edits
        .flatten()
        .filter_map(|file| read_file_text(&file.path(), FileKind::Settings, MAX_OPTIONS).ok());
    let has = |text: String| {
        text.lines().any(|line| {
            ["IPAddressAllow=", "IPAddressDeny="].iter().any(|key| line.trim().starts_with(key))
        })
    };
    if texts.any(has) {
        return None;
    }
    Some(format!(
        "the unit {unit} drops connections from other machines: systemctl edit {unit}, then [Service] IPAddressAllow= with the addresses of the clients, as 192.0.2.0/24"
    ))
}
