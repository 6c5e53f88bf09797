//! What the sandbox of the running daemon allows: the files and ports of the configuration at its start. A sandbox cannot
//! grow, so that what a reload needs beyond is refused by the kernel as "permission denied". Here it gets its cause. A
//! kernel without such a sandbox refuses nothing, and a reload needs no restart there.

use std::{
    io::{Error, ErrorKind},
    path::Path,
    sync::OnceLock,
};

use aw_service::{Access, UnitFiles, unit};

use crate::access::own_name;

static ALLOWED: OnceLock<Vec<Access>> = OnceLock::new();
/// What the configuration of the start named, and was not there, or not visible.
static MISSING: OnceLock<Vec<Access>> = OnceLock::new();
/// The files of the unit, which are out of reach later.
static UNIT: OnceLock<Option<UnitFiles>> = OnceLock::new();

/// What to do.
pub const RESTART: &str = "restart aw-routeros (systemctl restart aw-routeros)";

/// The daemon will be confined to these. What does not exist yet is not allowed later.
pub fn set(mut allowed: Vec<Access>) {
    let missing = allowed.extract_if(.., |access| !path_of(access).is_none_or(Path::exists));
    let _ = MISSING.set(missing.collect()); // once in a process
    let _ = ALLOWED.set(allowed);
    let _ = UNIT.set(unit().and_then(UnitFiles::of));
}

/// Whether this process is the daemon, after its start.
pub fn is_set() -> bool {
    ALLOWED.get().is_some()
}

fn path_of(access: &Access) -> Option<&Path> {
    match access {
        Access::Read(path) | Access::Write(path) | Access::Create(path) | Access::Tree(path) => {
            Some(path)
        }
        _ => None,
    }
}

/// Why a file cannot be read, if a restart allows it.
pub fn denied_path(path: &Path, error: &Error) -> Option<String> {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    let allowed = ALLOWED.get().filter(|_| denied)?;
    let is_in =
        |list: &[Access]| list.iter().filter_map(path_of).any(|root| path.starts_with(root));
    if is_in(allowed) {
        return None;
    }
    let shown = path.display();
    // A restart would find the same.
    if let Some(why) = UNIT.get().and_then(|unit| unit.as_ref()?.hides(path)) {
        return Some(why);
    }
    Some(match MISSING.get().is_some_and(|missing| is_in(missing)) {
        true => format!(
            "read {shown}: at the start its directory was not there, or {} was not allowed to enter it (namei -l {shown} lists who may; then {RESTART})",
            own_name()
        ),
        false => format!(
            "read {shown}: its directory was not in the configuration at the start: {RESTART}"
        ),
    })
}

/// Why a connection to a port is not made, if a restart allows it. `has_source`: it has a source address.
pub fn denied_port(port: u16, has_source: bool, error: &Error) -> Option<String> {
    let denied = error.kind() == ErrorKind::PermissionDenied;
    let allowed = ALLOWED.get().filter(|_| denied)?;
    if !allowed.contains(&Access::Connect(port)) {
        return Some(format!("port {port} was not in the configuration at the start: {RESTART}"));
    }
    (has_source && !allowed.contains(&Access::BindAny))
        .then(|| format!("no router had a source address at the start: {RESTART}"))
}
