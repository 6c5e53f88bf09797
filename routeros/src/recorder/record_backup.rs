//! Records binary backups: encrypted, and nothing else.

use std::io;

use jiff::Timestamp;

use super::{Recorder, lock};
use crate::{
    config::{Router, RouterName},
    file_names::snapshot_time,
};

/// What decides when the next backup is due.
#[derive(Clone, Copy, Debug)]
pub struct BackupTimes {
    /// The newest snapshot.
    pub snapshot: Option<Timestamp>,
    /// The newest backup: when it began.
    pub backup: Option<Timestamp>,
    /// The file may still be on the router.
    pub is_left: bool,
}

impl Recorder {
    pub fn backup_times(&self, router: &Router) -> io::Result<BackupTimes> {
        let archive = self.archive(&router.name);
        Ok(BackupTimes {
            snapshot: archive.newest_snapshot()?.and_then(|name| snapshot_time(&name)),
            backup: archive.newest_backup()?,
            is_left: archive.state().is_ok_and(|state| state.backup_left),
        })
    }

    /// Encrypts a backup and stores it. Waits for disks: not for the thread of the event loop.
    pub fn store_backup(&self, router: &Router, backup: &[u8], began: Timestamp) -> io::Result<()> {
        let sealed = self.sealed("a backup", backup)?;
        let recording = self.export_lock(&router.name);
        let _lock = lock(&recording);
        let archive = self.archive(&router.name);
        archive.create()?;
        let name = archive.add_backup(began, &sealed)?;
        self.log(&router.name, &format!("backup stored: {name} ({} bytes)", backup.len()));
        Ok(())
    }

    /// Remembers that the router may have the file of a backup, also over a kill.
    pub fn set_backup_left(&self, router: &RouterName, is_left: bool) {
        self.journal.update_state(router, |state| state.backup_left = is_left);
    }
}
