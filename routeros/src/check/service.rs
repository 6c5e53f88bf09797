//! What the service needs besides its routers: files that its user can read, directories that it can write to, mail. This runs
//! as that user.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aw_notify::{PreparedMailer, SmtpClient};
use aw_service::{Error, FileKind, cause, failed, group_id, open_file, read_file_text};
use rustix::{
    fs::{Access, access},
    process::geteuid,
};

use super::remedy_for_the_service;
use crate::{
    access::{own_name, remedy_for_this_user},
    config::{Config, DEFAULT_PATH},
    hooks::HookCommand,
};

/// Directories that the unit hides from the service (`ProtectHome=`, `PrivateTmp=`).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// What the unit and its drop-ins stand in.
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// The unit's `StateDirectory=`, which systemd creates.
const STATE: &str = "/var/lib/addrwatch/routeros";

pub fn read_config(path: &Path) -> Result<Config, Error> {
    if let Err(error) = open_file(path, FileKind::Settings)
        && error.kind() == ErrorKind::PermissionDenied
    {
        let remedy = remedy_for_the_service(path);
        return Err(failed(format_args!("read {}: permission denied{remedy}", path.display())));
    }
    Config::read(path).map_err(failed)
}

/// Why the service would not start, or would not do its work.
pub fn faults(config: &Config, path: &Path) -> Vec<String> {
    let mut faults: Vec<String> = [Some(&config.archive), config.git.as_ref()]
        .into_iter()
        .flatten()
        .filter_map(|directory| writable(directory).err())
        .collect();
    if let Some(Err(Error::Failed(why))) = config.ring_group.as_deref().map(group_id) {
        faults.push(format!("ring_group: {why}"));
    }
    faults.extend(config.hooks().filter_map(HookCommand::shell_text));
    faults.extend(config.hooks().filter_map(HookCommand::unusable));
    if path == Path::new(DEFAULT_PATH) {
        faults.extend(hidden(config));
        if let Some(trees) = writable_trees(&UNITS.map(Path::new)) {
            faults.extend(forbidden(config, &trees));
        }
    }
    faults
}

/// Whether the service can write to its directory. One that does not exist is created when the service starts.
fn writable(directory: &Path) -> Result<(), String> {
    let (shown, me) = (directory.display(), own_name());
    let found = match fs::metadata(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(format!(
                "use {shown}: {}{}",
                cause(&error),
                remedy_for_the_service(directory)
            ));
        }
        Ok(found) => found,
    };
    if !found.is_dir() {
        return Err(format!("use {shown}: it is not a directory (remove it)"));
    }
    if found.uid() != geteuid().as_raw() {
        let remedy = remedy_for_this_user(found.uid(), directory);
        return Err(format!("use {shown}: it does not belong to {me} ({remedy})"));
    }
    let trial = directory.join(format!(".check-{}", std::process::id()));
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&trial);
    let written = created.and_then(|_| fs::remove_file(&trial));
    written.map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => " (chmod u+rwx it)",
            ErrorKind::ReadOnlyFilesystem => " (choose another directory)",
            ErrorKind::StorageFull => " (free space on its disk)",
            _ => "",
        };
        format!("write to {shown}: {}{remedy}", cause(&error))
    })
}

/// Bytes of a unit or drop-in, at most.
const MAX_UNIT: u64 = 64 << 10;

/// Where the unit lets its service write; none if there is no unit.
fn writable_trees(units: &[&Path]) -> Option<Vec<PathBuf>> {
    let mut texts = Vec::new();
    let read = |path: PathBuf| read_file_text(&path, FileKind::Settings, MAX_UNIT).ok();
    for directory in units {
        texts.extend(read(directory.join("aw-routeros.service")));
        let drop_ins = fs::read_dir(directory.join("aw-routeros.service.d")).into_iter().flatten();
        texts.extend(drop_ins.filter_map(|file| read(file.ok()?.path())));
    }
    let lines = texts.iter().flat_map(|text| text.lines());
    let values = lines.filter_map(|line| line.trim().strip_prefix("ReadWritePaths="));
    let paths = values.flat_map(str::split_whitespace);
    let paths = paths.map(|path| PathBuf::from(path.trim_matches(['-', '+', '"', '\''])));
    (!texts.is_empty()).then(|| paths.chain([STATE.into()]).collect())
}

/// Directories that the unit's service cannot write to (`ProtectSystem=strict`), or cannot create.
fn forbidden(config: &Config, trees: &[PathBuf]) -> Vec<String> {
    let mut faults = Vec::new();
    for directory in [Some(&config.archive), config.git.as_ref()].into_iter().flatten() {
        let (shown, me) = (directory.display(), own_name());
        if !trees.iter().any(|tree| directory.starts_with(tree)) {
            faults.push(format!(
                "write to {shown}: the unit makes it read-only (systemctl edit aw-routeros: [Service] and ReadWritePaths={shown})"
            ));
        }
        let parent = directory.ancestors().skip(1).find(|parent| parent.exists());
        if !directory.exists()
            && !directory.starts_with(STATE)
            && let Some(parent) = parent
            && access(parent, Access::WRITE_OK | Access::EXEC_OK).is_err()
        {
            faults.push(format!(
                "create {shown}: {me} may not write to {} (install -d -m 700 -o {me} {shown})",
                parent.display()
            ));
        }
    }
    faults
}

/// Files that this process can read and the unit's service cannot.
fn hidden(config: &Config) -> Vec<String> {
    let routers = config.routers.iter().chain(&config.jump_hosts);
    let files = routers.flat_map(|router| {
        [&router.password_file, &router.key_file, &router.passphrase_file].into_iter().flatten()
    });
    let of_mail = config.mail.iter().flat_map(|mail| [&mail.password_file, &mail.ca_file]);
    let oauth = config.mail.iter().flat_map(|mail| &mail.oauth);
    let of_oauth = oauth.flat_map(|o| [&o.client_secret_file, &o.refresh_token_file]);
    let of_mail = of_mail.chain(of_oauth).flatten();
    let programs: Vec<_> = config.hooks().map(|hook| PathBuf::from(hook.program())).collect();
    let files = files.chain(of_mail).chain(&config.include);
    let mut files: Vec<_> = files.chain(&programs).collect();
    files.sort();
    files.dedup();
    let is_hidden = |file: &&&PathBuf| HIDDEN.iter().any(|top| file.starts_with(top));
    let hidden = files.iter().filter(is_hidden).map(|file| {
        let file = file.display();
        format!("read {file}: the unit hides it from the service (move it to /etc/addrwatch)")
    });
    hidden.collect()
}

/// The client for mail, and the lists of recipients: of `[mail]`, and of routers and groups. Those of one list do not see the
/// addresses of another.
pub type MailTo = (SmtpClient, BTreeSet<Vec<String>>);

/// As the service sends it; none if no mail is configured.
pub fn mail(config: &Config) -> Result<Option<MailTo>, String> {
    let Some(mail) = &config.mail else { return Ok(None) };
    let spool = config.archive.join(".spool");
    let client = PreparedMailer::client(mail, &spool)?; // as the service does
    let of_routers = config.routers.iter().filter_map(|router| router.mail_to.as_ref());
    let lists = [&mail.to].into_iter().chain(of_routers);
    Ok(Some((client, lists.filter(|list| !list.is_empty()).cloned().collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_unit_hides() {
        let text = "archive = \"/a\"\n[[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = \"x\"\nkey_file = \"/root/.ssh/id\"\n";
        let mut config = Config::parse(text).unwrap();
        let [fault] = hidden(&config).try_into().unwrap();
        assert_eq!(
            fault,
            "read /root/.ssh/id: the unit hides it from the service (move it to /etc/addrwatch)"
        );
        config.routers[0].key_file = Some("/etc/addrwatch/id".into());
        assert!(hidden(&config).is_empty());
    }

    #[test]
    fn what_the_unit_makes_read_only() {
        let units = tempfile::tempdir().unwrap();
        assert_eq!(writable_trees(&[units.path()]), None);
        let drop_ins = units.path().join("aw-routeros.service.d");
        fs::create_dir(&drop_ins).unwrap();
        let drop_in = "[Service]\nReadWritePaths=-/srv/a /srv/b\n";
        fs::write(drop_ins.join("override.conf"), drop_in).unwrap();
        let trees = writable_trees(&[units.path()]).unwrap();
        assert_eq!(trees, ["/srv/a", "/srv/b", STATE].map(PathBuf::from));
        let parse = |archive: &str| Config::parse(&format!("archive = {archive:?}\n")).unwrap();
        let mut config = parse(STATE);
        assert_eq!(forbidden(&config, &trees), [""; 0]);
        config.git = Some("/srv/none/routeros.git".into());
        let faults = forbidden(&config, &trees);
        let fault = "write to /srv/none/routeros.git: the unit makes it read-only (systemctl edit aw-routeros: [Service] and ReadWritePaths=/srv/none/routeros.git)";
        assert_eq!(faults[0], fault);
        // Not even root writes there.
        let faults = forbidden(&parse("/proc/none/archive"), &["/proc".into()]);
        assert!(
            geteuid().is_root() || faults[0].contains("create /proc/none/archive: "),
            "{faults:?}"
        );
    }

    #[test]
    fn directories() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(writable(directory.path()), Ok(()));
        assert_eq!(writable(&directory.path().join("later")), Ok(()));
        assert!(directory.path().read_dir().unwrap().next().is_none(), "the trial is removed");
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(writable(&file).unwrap_err().contains("not a directory"));
    }
}
