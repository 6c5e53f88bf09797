//! What the service needs besides its routers: files that its user can read, directories that it can write to, mail. This runs
//! as that user.

use std::{
    fs::{self, OpenOptions},
    io::ErrorKind,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use aw_notify::{MailOptions, PreparedMailer, SmtpClient};
use aw_service::{Error, FileKind, cause, failed, group_id, open_file};
use rustix::process::geteuid;

use super::remedy_for_the_service;
use crate::{
    access::own_name,
    config::{Config, DEFAULT_PATH},
};

/// Directories that the unit hides from the service (`ProtectHome=`, `PrivateTmp=`).
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

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
    if path == Path::new(DEFAULT_PATH) {
        faults.extend(hidden(config));
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
        return Err(format!("use {shown}: it does not belong to {me} (chown -R {me} {shown})"));
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

/// Files that this process can read and the unit's service cannot.
fn hidden(config: &Config) -> Vec<String> {
    let routers = config.routers.iter().chain(&config.jump_hosts);
    let files = routers.flat_map(|router| {
        [&router.password_file, &router.key_file, &router.passphrase_file].into_iter().flatten()
    });
    let of_mail = config.mail.iter().flat_map(|mail| [&mail.password_file, &mail.ca_file]);
    let mut files: Vec<_> = files.chain(of_mail.flatten()).collect();
    files.sort();
    files.dedup();
    let is_hidden = |file: &&&std::path::PathBuf| HIDDEN.iter().any(|top| file.starts_with(top));
    let hidden = files.iter().filter(is_hidden).map(|file| {
        let file = file.display();
        format!("read {file}: the unit hides it from the service (move it to /etc/addrwatch)")
    });
    hidden.collect()
}

/// The client for mail to all recipients: of `[mail]`, and of routers and groups.
pub fn mail(config: &Config) -> Result<Option<SmtpClient>, String> {
    let Some(mail) = &config.mail else { return Ok(None) };
    let spool = config.archive.join(".spool");
    PreparedMailer::client(mail, &spool)?; // as the service does
    let mut to = mail.to.clone();
    to.extend(config.routers.iter().flat_map(|router| router.mail_to.iter().flatten()).cloned());
    to.sort();
    to.dedup();
    PreparedMailer::client(&MailOptions { to, ..mail.clone() }, &spool).map(Some)
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
