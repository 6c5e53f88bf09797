//! Who may read a file and does not: the remedy for a denied permission, which names the user that this process is.

use std::{
    fs::{self, Metadata},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use aw_service::{Error, UserAccount, failed, info, warn};
use rustix::process::{geteuid, getuid};
use uzers::{get_group_by_gid, get_user_by_uid};

use crate::{
    add::quoted,
    archive::Archive,
    config::{self, Config},
    daemon::DEFAULT_USERS,
    health::is_running,
    start_access,
};

/// Root tries what the service will find, as its user.
pub static IS_TRIAL: AtomicBool = AtomicBool::new(false);
/// Directories that stay closed to services.
const HOMES: [&str; 3] = ["/root", "/home", "/run/user"];
/// The user that must own no files.
const NO_OWNER: &str = "nobody"; // plain-words: ok

/// The name of the user that this thread runs as.
pub fn own_name() -> String {
    user_name(geteuid().as_raw())
}

/// Its name, or its number as sudo takes it.
pub fn user_name(id: u32) -> String {
    get_user_by_uid(id)
        .map_or_else(|| format!("user id {id}"), |user| user.name().to_string_lossy().into_owned())
}

/// What denies access to a path: a directory above it that may not be entered, or itself.
fn obstacle(path: &Path) -> Option<(&Path, Metadata)> {
    path.ancestors().find_map(|part| Some((part, fs::metadata(part).ok()?)))
}

/// Whether this process is the daemon, has the user of the service, or took another one for it, as root.
fn is_service() -> bool {
    IS_TRIAL.load(Relaxed)
        || start_access::is_set()
        || getuid().is_root()
        || DEFAULT_USERS.contains(&&*own_name())
}

/// Who may read a file or a directory, in brackets: for the service as for a person.
pub fn remedy(path: &Path) -> String {
    if is_service() && !geteuid().is_root() { of_service(path) } else { of_person(path) }
}

/// The group to join, or sudo. What a directory hides may exclude the group: then only sudo is sure.
fn of_person(path: &Path) -> String {
    let me = own_name();
    let Some((part, found)) = obstacle(path) else { return format!(" (you are {me}: use sudo)") };
    let needed = if found.is_dir() { 0o050 } else { 0o040 };
    let group = get_group_by_gid(found.gid())
        .filter(|group| part == path && group.gid() != 0 && found.mode() & needed == needed);
    match group {
        Some(group) => {
            let group = group.name().to_string_lossy().into_owned();
            format!(" (you are {me}: adduser {me} {group}, then log in again; or use sudo)")
        }
        None if part != path => {
            format!(" (you are {me}, who may not enter {}: use sudo)", part.display())
        }
        None => format!(" (you are {me}, and it belongs to {}: use sudo)", user_name(found.uid())),
    }
}

/// The address of routers whose entries are not read.
pub const NOT_READ: &str = "-";

/// The configuration, if the archive may be read. With a mistake in it, the archive and the routers that are there.
pub fn read_config(path: &Path) -> Result<Config, Error> {
    let config = read_or_explain(path).or_else(|why| {
        let archive = config::archive_of_rejected(path);
        let config = archive.and_then(|archive| config_of_archive(&archive));
        if config.is_some() {
            warn(format_args!("{why}: the routers of the archive are used"));
        }
        config.ok_or(failed(why))
    })?;
    if config.routers.is_empty() {
        info(format_args!("no routers in {} (aw-routeros add HOST adds one)", path.display()));
    }
    match fs::read_dir(&config.archive).map_err(|error| error.kind()) {
        Err(ErrorKind::PermissionDenied) => {
            let (shown, remedy) = (config.archive.display(), remedy(&config.archive));
            Err(failed(format_args!("read the archive {shown}: permission denied{remedy}")))
        }
        _ => Ok(config),
    }
}

/// What commands that only read the archive need of a configuration.
fn config_of_archive(archive: &Path) -> Option<Config> {
    let mut text = format!("archive = {}\n", quoted(&archive.to_string_lossy()));
    for name in Archive::names(archive).ok()? {
        text += &format!(
            "[[router]]\nname = {:?}\naddress = {NOT_READ:?}\nuser = \"-\"\nagent = true\n",
            name.as_str()
        );
    }
    Config::parse(&text).ok()
}

/// The configuration, or why it is rejected, and that a running daemon still has the one before.
pub fn read_or_explain(path: &Path) -> Result<Config, String> {
    Config::read(path).map_err(|why| {
        let archive = config::archive_of_rejected(path);
        match archive.is_some_and(|archive| is_running(&archive) == Ok(true)) {
            true => format!(
                "{why}: the running aw-routeros keeps its old configuration, and cannot start again with this file"
            ),
            false => why,
        }
    })
}

/// For a file that the service reads: what it must be allowed, in brackets; for a person who tries it, sudo.
pub fn remedy_for_the_service(path: &Path) -> String {
    if is_service() { of_service(path) } else { of_person(path) }
}

fn of_service(path: &Path) -> String {
    let me = own_name();
    let found = obstacle(path);
    match &found {
        Some((part, _)) if *part != path => {
            let shown = part.display();
            let remedy = match HOMES.iter().any(|home| part.starts_with(home)) {
                true => "choose another place".into(),
                false => format!("chmod o+x {shown}"),
            };
            format!(" ({me} is not allowed to enter {shown}: {remedy})")
        }
        _ => {
            let owner = found.as_ref().map_or(0, |(_, found)| found.uid());
            format!(
                " ({me} must be able to read it: {})",
                remedy_of_owner(&user_name(owner), &me, "chown", path)
            )
        }
    }
}

/// For a directory that this process cannot create, or may not see: the service owns it, or root creates it.
pub fn remedy_for_creating(directory: &Path) -> String {
    let (me, shown) = (own_name(), directory.display());
    match is_service() {
        true => format!(" (as root: install -d -m 700 -o {me} {shown})"),
        false => format!(
            " (you are {me}: systemctl start aw-routeros starts the service; for an archive of your own, set archive to a directory that you may create)"
        ),
    }
}

/// The name of a user, and what to do about a directory that must belong to it.
pub fn remedy_for_owner(user: u32, owner: u32, directory: &Path) -> (String, String) {
    let user = user_name(user);
    let remedy = remedy_of_owner(&user_name(owner), &user, "chown -R", directory);
    (user, remedy)
}

/// What to do about a directory that must belong to this user.
pub fn remedy_for_this_user(owner: u32, path: &Path) -> String {
    match is_service() {
        true => remedy_of_owner(&user_name(owner), &own_name(), "chown -R", path),
        false => "use sudo".into(),
    }
}

/// What belongs to the user of the service stays there: the service would lose it.
fn remedy_of_owner(owner: &str, me: &str, chown: &str, path: &Path) -> String {
    match () {
        () if DEFAULT_USERS.contains(&owner) && owner != me => format!("start it with -u {owner}"),
        () if me == NO_OWNER => "start it with -u and another user".into(),
        () => format!("{chown} {me} {}", path.display()),
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

/// " (did you mean NAME?)": the router whose name differs least from a mistyped one.
pub fn did_you_mean(config: &Config, name: &str) -> String {
    let names: Vec<_> = config.routers.iter().map(|router| router.name.as_str()).collect();
    aw_service::nearest(name, &names)
        .map_or(String::new(), |near| format!(" (did you mean {near}?)"))
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
        assert_eq!(of_person(&file), format!(" (you are {me}, and it belongs to {me}: use sudo)"));
        let service = of_service(&file);
        assert!(service.ends_with(&format!("chown {me} {})", file.display())), "{service}");
        let inside = of_service(&file.join("x"));
        let enter = format!(" ({me} is not allowed to enter {0}: chmod o+x {0})", file.display());
        assert_eq!(inside, enter);
        let owned = |owner, me| remedy_of_owner(owner, me, "chown -R", Path::new("/a"));
        assert_eq!(owned("root", "aw-routeros"), "chown -R aw-routeros /a");
        assert_eq!(owned("aw-routeros", "alice"), "start it with -u aw-routeros");
        assert!(!owned("root", NO_OWNER).contains("chown"));
        std::os::unix::fs::chown(&file, None, Some(5)).unwrap_or_default(); // tty
        set(0o640);
        if fs::metadata(&file).unwrap().gid() == 5 {
            let expected =
                format!(" (you are {me}: adduser {me} tty, then log in again; or use sudo)");
            assert_eq!(of_person(&file), expected);
            // What a directory hides may exclude the group.
            assert!(of_person(&file.join("x")).ends_with(": use sudo)"));
        }
    }
}
