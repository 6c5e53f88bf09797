//! With `encrypt_to`, the secrets of exports are stored encrypted only: what is compared and stored in clear is masked.

use std::{collections::BTreeMap, io, sync::Arc};

use aw_service::explain;
use jiff::Timestamp;
use ring::digest::{Digest, SHA256, digest};

use super::{Recorder, lock};
use crate::{
    config::{Router, RouterName},
    lossless::{bytes_of, lossless},
    mask::mask,
    seal::seal,
    shared_faults::{OwnFault, SharedFault},
};

/// Hashes of the newest exports with secrets, in memory only: on disk they would help to guess a secret. The newest one of
/// others is not stored.
pub type SensitiveHashes = BTreeMap<RouterName, Digest>;

impl Recorder {
    /// Whether the exports of this router are stored encrypted.
    pub fn encrypts(&self, router: &Router) -> bool {
        router.show_sensitive && !self.config.encrypt_to.is_empty()
    }

    /// An export as it is compared and stored in clear.
    pub fn comparable(&self, router: &Router, export: Vec<u8>) -> Vec<u8> {
        match self.encrypts(router) {
            true => bytes_of(&mask(&lossless(&export))),
            false => export,
        }
    }

    /// Encrypts to the recipients of the configuration at the start.
    pub fn sealed(&self, what: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let Some(recipients) = self.config.encrypt_to.split_first() else {
            let text = format!("encrypt {what}: encrypt_to was not set at the start");
            return Err(io::Error::other(format!("{text} (systemctl restart aw-routeros)")));
        };
        seal(recipients, bytes).map_err(|_| {
            let text = format!("encrypt {what}: no random numbers, or a recipient is no key");
            io::Error::other(text)
        })
    }

    /// Stores a complete export with its secrets if it differs from the one before. A failure is reported once, and the next
    /// export is stored again.
    pub fn store_sensitive(&self, router: &Arc<Router>, export: &[u8], now: Timestamp) {
        let known = lock(&self.sensitive).get(&router.name).copied();
        match self.seal_sensitive(router, export, known, now) {
            Ok(None) => {}
            Ok(Some(hash)) => {
                lock(&self.sensitive).insert(router.name.clone(), hash);
                let text = "exports are encrypted again";
                self.own_fault_ends(&router.name, OwnFault::Encryption, text);
            }
            Err(error) => {
                lock(&self.sensitive).remove(&router.name);
                let cause = explain(&error);
                let text =
                    format!("store an encrypted export: {cause} (tried again with the next one)");
                self.own_fault(router, SharedFault::own(OwnFault::Encryption, "", text));
            }
        }
    }

    /// The hash of the export, if it is not the one that is known: then it is stored.
    fn seal_sensitive(
        &self,
        router: &Router,
        export: &[u8],
        known: Option<Digest>,
        now: Timestamp,
    ) -> io::Result<Option<Digest>> {
        // Without the comments, which have the time.
        let lines = export.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        let hash = digest(&SHA256, &lines.collect::<Vec<_>>().join(&b'\n'));
        if known.is_some_and(|known| known.as_ref() == hash.as_ref()) {
            return Ok(None);
        }
        let sealed = self.sealed("an export", export)?;
        self.archive(&router.name).add_sensitive(now, &sealed)?;
        Ok(Some(hash))
    }
}
