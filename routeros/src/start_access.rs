//! What the sandbox of the running daemon allows: the files and ports of the configuration at its start. A sandbox cannot
//! grow, so that what a reload needs beyond is refused by the kernel as "permission denied". Here it gets its cause. A
//! kernel without such a sandbox refuses nothing, and a reload needs no restart there.

use std::{
    io::{Error, ErrorKind},
    path::Path,
    sync::OnceLock,
};

use aw_service::Access;

static ALLOWED: OnceLock<Vec<Access>> = OnceLock::new();

/// What to do.
pub const RESTART: &str = "restart aw-routeros (systemctl restart aw-routeros)";

/// The daemon will be confined to these. What does not exist yet is not allowed later.
pub fn set(mut allowed: Vec<Access>) {
    allowed.retain(|access| path_of(access).is_none_or(Path::exists));
    let _ = ALLOWED.set(allowed); // once in a process
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
    let is_allowed = allowed.iter().filter_map(path_of).any(|root| path.starts_with(root));
    (!is_allowed).then(|| {
        format!(
            "read {}: its directory was not in the configuration at the start: {RESTART}",
            path.display()
        )
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
