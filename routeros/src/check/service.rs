//! What the service needs besides its routers: files that its user can read, directories that it can write to, mail. This runs
//! as that user.

use std::{
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aw_notify::{PreparedMailer, SmtpClient};
use aw_service::{Error, FileKind, UnitFiles, cause, failed, group_id, open_file, try_writing};
use rustix::{
    fs::{Access, access},
    process::geteuid,
};

use super::remedy_for_the_service;
use crate::{
    access::{own_name, remedy_for_this_user},
    config::{Config, DEFAULT_PATH, Router},
    health::is_running,
    hooks::HookCommand,
    service_state::ServiceState,
    syslog::{DENIED, ListenAddress, SyslogSockets},
};

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
    faults.extend(config.syslog.as_ref().and_then(|listen| syslog_fault(config, listen)));
    faults.extend(config.hooks().filter_map(HookCommand::shell_text));
    faults.extend(config.hooks().filter_map(HookCommand::unusable));
    // Also a file that is to replace that of the service.
    if path.parent() == Path::new(DEFAULT_PATH).parent()
        && let Some(unit) = UnitFiles::of("aw-routeros")
    {
        faults.extend(hidden(config, &unit));
        faults.extend(forbidden(config, &unit));
    }
    faults
}

/// Why the service cannot listen for syslog. The running one does.
fn syslog_fault(config: &Config, listen: &ListenAddress) -> Option<String> {
    let is_own = || {
        let of_service = ServiceState::read(&config.archive).syslog;
        of_service.is_some_and(|own| own.is_used_by(listen))
            && is_running(&config.archive) == Ok(true)
    };
    // Root opens a low port before it becomes this user, and so does a unit with a right that this process lacks.
    let may_be_allowed = || {
        let unit = UnitFiles::of("aw-routeros");
        listen.is_low() && !unit.is_some_and(|unit| unit.may_not_bind_low_ports())
    };
    match SyslogSockets::open(listen) {
        Err(Error::Failed(why)) if why.contains(DENIED) && may_be_allowed() => None,
        Err(Error::Failed(why)) if !is_own() => Some(why),
        _ => None,
    }
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
        return Err(format!("use {shown}: it is not a directory (name a directory)"));
    }
    if found.uid() != geteuid().as_raw() {
        let remedy = remedy_for_this_user(found.uid(), directory);
        return Err(format!("use {shown}: it does not belong to {me} ({remedy})"));
    }
    try_writing(directory).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => " (chmod u+rwx it)",
            ErrorKind::StorageFull => " (free space on its disk)",
            _ => "",
        };
        format!("write to {shown}: {}{remedy}", cause(&error))
    })
}

/// Directories that the unit's service cannot write to (`ProtectSystem=strict`), or cannot create.
fn forbidden(config: &Config, unit: &UnitFiles) -> Vec<String> {
    let mut faults = Vec::new();
    for directory in [Some(&config.archive), config.git.as_ref()].into_iter().flatten() {
        let (shown, me) = (directory.display(), own_name());
        if let Some(fault) = unit.forbids_writing(directory) {
            faults.push(fault); // with all steps
            continue;
        }
        let parent = directory.ancestors().skip(1).find(|parent| parent.exists());
        if !directory.exists()
            && !unit.creates(directory)
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
fn hidden(config: &Config, unit: &UnitFiles) -> Vec<String> {
    let routers = config.routers.iter().chain(&config.jump_hosts);
    let programs: Vec<_> = config.hooks().map(|hook| PathBuf::from(hook.program())).collect();
    let files =
        routers.flat_map(Router::files).chain(config.files_of_mail()).chain(&config.include);
    let mut files: Vec<_> = files.chain(&programs).collect();
    files.sort();
    files.dedup();
    files.into_iter().filter_map(|file| unit.hides(file)).collect()
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

    /// As the shipped one: a directory of its own, everything else read-only.
    fn unit(drop_in: &str) -> UnitFiles {
        let units = tempfile::tempdir().unwrap();
        let shipped = include_str!("../../../contrib/systemd/aw-routeros.service");
        fs::write(units.path().join("aw-routeros.service"), shipped).unwrap();
        let drop_ins = units.path().join("aw-routeros.service.d");
        fs::create_dir(&drop_ins).unwrap();
        fs::write(drop_ins.join("override.conf"), format!("[Service]\n{drop_in}")).unwrap();
        UnitFiles::read("aw-routeros", &[units.path()]).unwrap()
    }

    #[test]
    fn what_the_unit_hides() {
        let text = "archive = \"/a\"\n[[router]]\nname = \"x\"\naddress = \"192.0.2.1\"\nuser = \"x\"\nkey_file = \"/root/.ssh/id\"\n";
        let mut config = Config::parse(text).unwrap();
        let [fault] = hidden(&config, &unit("")).try_into().unwrap();
        assert_eq!(
            fault,
            "read /root/.ssh/id: the unit aw-routeros hides /root from its service (copy it to /etc/addrwatch under a name that is free there, chown aw-routeros and chmod 600 the copy, and name the copy in its place)"
        );
        config.routers[0].key_file = Some("/etc/addrwatch/id".into());
        assert!(hidden(&config, &unit("")).is_empty());
    }

    #[test]
    fn what_the_unit_makes_read_only() {
        let parse = |archive: &str| Config::parse(&format!("archive = {archive:?}\n")).unwrap();
        let mut config = parse("/var/lib/addrwatch/routeros");
        let shipped = unit("[Service]\nReadWritePaths=-/srv/a /srv/b\n");
        assert_eq!(forbidden(&config, &shipped), [""; 0]);
        config.git = Some("/srv/none/routeros.git".into());
        let faults = forbidden(&config, &shipped);
        let fault = "write to /srv/none/routeros.git: the unit aw-routeros makes it read-only (install -d -m 750 -o aw-routeros /srv/none/routeros.git; systemctl edit aw-routeros: [Service] and ReadWritePaths=/srv/none/routeros.git; systemctl restart aw-routeros)";
        assert_eq!(faults, [fault]);
        // A home that the unit leaves writable, as with systemd's ProtectSystem=strict.
        let homes = unit("[Service]\nProtectHome=no\n");
        let fault = forbidden(&parse("/home/none/archive"), &homes).concat();
        assert!(!fault.contains("read-only") && !fault.contains("hides"), "{fault}");
        // A unit that was loosened.
        let loosened = forbidden(&config, &unit("[Service]\nProtectSystem=full\n"));
        assert!(loosened.iter().all(|fault| !fault.contains("read-only")), "{loosened:?}");
        // Not even root writes there.
        let faults = forbidden(&parse("/proc/none/archive"), &unit("ReadWritePaths=/proc\n"));
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
