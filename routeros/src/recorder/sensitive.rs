//! With `encrypt_to`, the secrets of exports are stored encrypted only: what is compared and stored in clear is masked.

use std::{collections::BTreeMap, io};

use jiff::Timestamp;
use ring::digest::{Digest, SHA256, digest};

use super::{Recorder, lock};
use crate::{
    config::{Router, RouterName},
    lossless::{bytes_of, lossless},
    mask::mask,
    seal::seal,
};

/// Hashes of the newest exports with secrets, in memory only: on disk they would help to guess a secret.
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

    /// Stores a complete export with its secrets if it differs from the one before. Only secrets differ if `known` is set.
    pub fn store_sensitive(
        &self,
        router: &Router,
        export: &[u8],
        known: bool,
        now: Timestamp,
    ) -> io::Result<()> {
        // Without the comments, which have the time.
        let lines = export.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#"));
        let hash = digest(&SHA256, &lines.collect::<Vec<_>>().join(&b'\n'));
        let before = lock(&self.sensitive).get(&router.name).copied();
        if before.is_some_and(|before| before.as_ref() == hash.as_ref()) {
            return Ok(());
        }
        let sealed = seal(&self.config.encrypt_to, export).map_err(|_| {
            io::Error::other("encrypt an export: no random numbers, or a recipient is no key")
        })?;
        self.archive(&router.name).add_sensitive(now, &sealed)?;
        lock(&self.sensitive).insert(router.name.clone(), hash);
        if known && before.is_some() {
            self.note(&router.name, "a secret was changed (its export is in sensitive/)");
        }
        Ok(())
    }
}
