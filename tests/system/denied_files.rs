//! Files that a user may not open: when the remedy is sudo, when it is not, and what a unit's credentials need.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

use aw_tests::rig::{Finished, binary, public_copy, run, skip};
use tempfile::TempDir;

/// The user and group of the services, and a user without groups.
const SERVICE: &str = "daemon";
const USER: &str = "65534";
const ME: &str = "you are nobody"; // plain-words: ok

/// A mount namespace of its own for each command: /var/lib and /run are empty, and root prepares what is there.
struct System {
    programs: TempDir,
}

impl System {
    fn new() -> Option<System> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can become another user");
            return None;
        }
        Some(System { programs: public_copy(&["aw-query", "aw-sqlite", "aw-mysql"]) })
    }

    fn shell(&self, prepare: &str, command: &str) -> Finished {
        let script = format!(
            "mount -t tmpfs tmpfs /var/lib; mount -t tmpfs tmpfs /run; {prepare}; exec {command}"
        );
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-ec", &script]).current_dir("/");
        run(shell)
    }

    /// A program that a person starts.
    fn by_user(&self, prepare: &str, name: &str, options: &str) -> Finished {
        let program = self.programs.path().join(name).display().to_string();
        let user = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
        self.shell(prepare, &format!("{user} {program} {options}"))
    }
}

/// A directory of a service: a member of its group could write there, and would next be denied the files in it.
#[test]
fn the_state_of_a_service_needs_sudo() {
    let Some(system) = System::new() else { return };
    let state = "/var/lib/addrwatch/aw-sqlite";
    let prepare = |place: &str| {
        format!(
            "install -d -m 755 {0} && install -d -m 770 -o {SERVICE} -g {SERVICE} {place}",
            Path::new(place).parent().unwrap().display()
        )
    };
    let options = |place: &str| format!("--once --ring /denied --state-dir {place}");
    let denied = format!("permission denied ({ME}: use sudo)");
    system.by_user(&prepare(state), "aw-sqlite", &options(state)).refused("aw-sqlite", &[&denied]);
    // Elsewhere, a group has the permission, and sudo is not named.
    let other = "/var/lib/other/state";
    let refused = system.by_user(&prepare(other), "aw-sqlite", &options(other));
    assert!(!refused.stderr.contains("sudo"), "{refused:#?}");
    refused.refused("aw-sqlite", &["permission denied (", ME]);
}

/// A directory and a file that only root may open: the directory that hides a file is named.
#[test]
fn files_of_root_need_sudo() {
    let Some(system) = System::new() else { return };
    let prepare = "install -d -m 700 /var/lib/private && install -m 600 /dev/null /var/lib/private/x.db \
        && install -m 600 /dev/null /var/lib/y.cnf";
    let hidden = format!("permission denied ({ME}, who may not enter /var/lib/private: use sudo)");
    system
        .by_user(prepare, "aw-query", "--database /var/lib/private/x.db devices")
        .refused("aw-query", &[&hidden]);
    system
        .by_user(prepare, "aw-query", "-c /var/lib/y.cnf devices")
        .refused("aw-query", &[&format!("permission denied ({ME}: use sudo)")]);
}

/// A unit's credentials are in a directory that systemd makes for each start, and that its user alone may enter: to change its owner
/// is no remedy.
#[test]
fn credentials_of_a_unit() {
    let Some(system) = System::new() else { return };
    let unit = format!("[Service]\\nUser={SERVICE}\\nGroup={SERVICE}\\n");
    let prepare = |directory: &str| {
        format!(
            "install -d /run/systemd/system; printf '{unit}' >/run/systemd/system/aw-mysql.service
            install -d -m 755 /run/credentials; install -d -m 700 {directory}
            install -m 600 /dev/null {directory}/mysql.cnf"
        )
    };
    let check = |directory: &str| {
        let program = binary("aw-mysql").display().to_string();
        let options =
            format!("--check --ring /denied --state-dir /var/lib -c {directory}/mysql.cnf");
        system.shell(&prepare(directory), &format!("{program} {options}"))
    };
    let own = "/run/credentials/aw-mysql.service";
    let why = format!(
        "it runs as {SERVICE}, who may not enter {own}, which systemd made for LoadCredential=: restart the unit; if that does not help, as in some containers: OPTIONS=-c FILE in /etc/default/NAME of the unit, with a file that {SERVICE} may read"
    );
    let refused = check(own);
    assert!(!refused.stderr.contains("chown"), "{refused:#?}");
    refused.refused("aw-mysql", &[&why]);
    // Of another directory, its owner is.
    check("/run/other")
        .refused("aw-mysql", &["who may not enter /run/other: ", "chown daemon /run/other"]);
}

/// A directory that all services use is restored, and given to none of them.
#[test]
fn a_directory_of_all_services() {
    let Some(system) = System::new() else { return };
    let prepare = format!(
        "cp /etc/group /run/group; echo addrwatch:x:54987: >>/run/group; mount --bind /run/group /etc/group
        install -d -m 700 /var/lib/addrwatch; install -d -o {SERVICE} /var/lib/addrwatch/aw-sqlite"
    );
    let own = "/var/lib/addrwatch/aw-sqlite";
    let options = format!("--once --ring /denied --state-dir {own}");
    let remedy = "all programs use /var/lib/addrwatch: sudo chgrp addrwatch /var/lib/addrwatch; sudo chmod 750 /var/lib/addrwatch";
    let program = binary("aw-sqlite").display().to_string();
    let refused = system.shell(&prepare, &format!("{program} -u {SERVICE} {options}"));
    assert!(!refused.stderr.contains("chown"), "{refused:#?}");
    refused.refused("aw-sqlite", &[remedy]);
    system.by_user(&prepare, "aw-sqlite", &options).refused("aw-sqlite", &[remedy]);
}

/// The options of the service name another database: that is asked, and an import adds to it.
#[test]
fn the_database_of_the_service() {
    let Some(system) = System::new() else { return };
    let prepare = "install -d /run/systemd/system /var/lib/addrwatch; echo OPTIONS=--database /srv/none/lan.db >/run/options
        printf '[Service]\\nEnvironmentFile=-/run/options\\nExecStart=/usr/bin/aw-sqlite $OPTIONS\\n' >/run/systemd/system/aw-sqlite.service";
    system
        .by_user(prepare, "aw-query", "devices")
        .refused("aw-query", &["/srv/none/lan.db: no such"]);
    let import = format!("{} import /dev/null", binary("aw-sqlite").display());
    let refused = system.shell(prepare, &import);
    assert!(refused.stderr.contains("/srv/none/lan.db"), "it adds to that, too: {refused:#?}");
    let other = "--database /var/lib/addrwatch/x.db devices";
    system.by_user(prepare, "aw-query", other).refused("aw-query", &["addrwatch/x.db: no such"]);
}
