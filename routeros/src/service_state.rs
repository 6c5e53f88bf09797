//! What the running daemon notes for `--health` and `show` besides its routers: of when its configuration is, why a later one
//! is not in effect, which hooks fail, why nothing is committed, and why mail is not
//! sent.

use std::path::{Path, PathBuf};

use aw_notify::MailFaults;
use aw_service::{FileKind, read_file_text};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{archive::replace, mask::mask, syslog::ListenAddress};

/// Bytes of the file, at most.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceState {
    /// When the configuration that is in effect was read.
    pub loaded: Option<Timestamp>,
    /// Why a later one, or some of it, is not; empty if there is none.
    pub not_in_effect: String,
    /// Where the daemon listens for syslog.
    pub syslog: Option<ListenAddress>,
    /// The hooks that fail, each with the cause.
    pub failing_hooks: Vec<String>,
    /// Why changes are not committed; empty if they are.
    pub git: String,
    /// Why mails wait, and which receivers get none.
    pub mail: MailFaults,
}

fn path(archive: &Path) -> PathBuf {
    archive.join(".service.json")
}

impl ServiceState {
    /// As the daemon stored it last. A file that cannot be read is none.
    pub fn read(archive: &Path) -> ServiceState {
        let text = read_file_text(&path(archive), FileKind::State, MAX_BYTES).ok();
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    pub fn store(&self, archive: &Path) -> std::io::Result<()> {
        replace(&path(archive), &serde_json::to_vec(self).unwrap_or_default())
    }

    /// What is wrong, without secrets. `local` formats a time.
    pub fn faults(&self, local: impl Fn(Timestamp) -> String) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.not_in_effect.is_empty() {
            faults.push(format!("{}{}", self.runs_with(local), mask(&self.not_in_effect)));
        }
        faults.extend(self.failing_hooks.iter().map(|why| mask(why)));
        faults.extend((!self.git.is_empty()).then(|| mask(&self.git)));
        faults.extend(self.mail.texts().iter().map(|why| mask(why)));
        faults
    }

    /// "runs with the configuration of TIME: ".
    pub fn runs_with(&self, local: impl Fn(Timestamp) -> String) -> String {
        let time = self.loaded.map_or("its start".into(), local);
        format!("runs with the configuration of {time}: ")
    }
}
