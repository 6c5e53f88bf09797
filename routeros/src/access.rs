//! Who may read a file and does not: the remedy for a denied permission, which names the user that this process is.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::Path,
};

use aw_service::{Error, UserAccount, failed, info};
use rustix::process::{geteuid, getuid};
use uzers::{get_group_by_gid, get_user_by_uid};

use crate::config::Config;

/// The name of the user that this thread runs as.
pub fn own_name() -> String {
    user_name(geteuid().as_raw())
}

fn user_name(id: u32) -> String {
    get_user_by_uid(id)
        .map_or_else(|| format!("user id {id}"), |user| user.name().to_string_lossy().into_owned())
}

/// What denies access to a path: a directory above it that may not be entered, or itself.
fn obstacle(path: &Path) -> Option<(&Path, Metadata)> {
    path.ancestors().find_map(|part| Some((part, fs::metadata(part).ok()?)))
}

/// For a person: the group to join, or sudo, in brackets.
pub fn remedy_for_a_person(path: &Path) -> String {
    let me = own_name();
    let Some((_, found)) = obstacle(path) else { return format!(" (you are {me}: use sudo)") };
    let needed = if found.is_dir() { 0o050 } else { 0o040 };
    let group = get_group_by_gid(found.gid()).filter(|_| found.mode() & needed == needed);
    match group {
        Some(group) if group.gid() != 0 => {
            let group = group.name().to_string_lossy().into_owned();
            format!(" (you are {me}: adduser {me} {group}, then log in again; or use sudo)")
        }
        _ => format!(" (you are {me}, and it belongs to {}: use sudo)", user_name(found.uid())),
    }
}

/// The configuration, if the archive may be read.
pub fn read_config(path: &Path) -> Result<Config, Error> {
    let config = Config::read(path).map_err(failed)?;
    if config.routers.is_empty() {
        info(format_args!("no routers in {} (aw-routeros add HOST adds one)", path.display()));
    }
    match fs::read_dir(&config.archive).map_err(|error| error.kind()) {
        Err(ErrorKind::PermissionDenied) => {
            let (shown, remedy) = (config.archive.display(), remedy_for_a_person(&config.archive));
            Err(failed(format_args!("read the archive {shown}: permission denied{remedy}")))
        }
        _ => Ok(config),
    }
}

/// For a file that the service reads: `chown`, or another place, in brackets.
pub fn remedy_for_the_service(path: &Path) -> String {
    let me = own_name();
    match obstacle(path) {
        Some((part, _)) if part != path => format!(
            " ({me} is not allowed to enter {}: move the file to /etc/addrwatch)",
            part.display()
        ),
        _ => format!(" ({me} must be able to read it: chown {me} {})", path.display()),
    }
}

/// A note for a person who is not the service: what this process finds may differ from what the service will find.
pub fn note_of_another_user(services: &[&str]) -> Option<String> {
    let mut accounts =
        services.iter().filter_map(|name| Some((*name, UserAccount::named(name)?.uid)));
    let (service, id) = accounts.next()?;
    (getuid() != id && !getuid().is_root()).then(|| {
        format!(
            "tried as {}, and the service runs as {service} (sudo tries it as {service})",
            own_name()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn remedies() {
        let directory = tempfile::tempdir().unwrap();
        let (file, me) = (directory.path().join("file"), own_name());
        fs::write(&file, "").unwrap();
        let set = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        set(0o600);
        assert_eq!(
            remedy_for_a_person(&file),
            format!(" (you are {me}, and it belongs to {me}: use sudo)")
        );
        let of_service = remedy_for_the_service(&file);
        assert!(of_service.ends_with(&format!("chown {me} {})", file.display())), "{of_service}");
        let inside = remedy_for_the_service(&file.join("x"));
        assert!(inside.contains("is not allowed to enter"), "{inside}");
        std::os::unix::fs::chown(&file, None, Some(5)).unwrap_or_default(); // tty
        set(0o640);
        if fs::metadata(&file).unwrap().gid() == 5 {
            let expected =
                format!(" (you are {me}: adduser {me} tty, then log in again; or use sudo)");
            assert_eq!(remedy_for_a_person(&file), expected);
        }
    }
}
