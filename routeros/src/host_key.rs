//! A router's host key as the configuration pins it: `SHA256:...`, with or without its type before it. Only pinned keys
//! are trusted; no key is learned at run time.

use std::fmt;

use russh::keys::{Algorithm, HashAlg, PublicKey, ssh_key::Fingerprint};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct HostKey {
    /// Its type, such as `ssh-rsa`. If set, only keys of this type are negotiated, so that a second key of another type on
    /// the router does not look like a changed key.
    pub kind: Option<String>,
    pub fingerprint: Fingerprint,
}

/// Characters of a fingerprint: 32 bytes as base64 without padding.
const DIGEST: usize = 43;
const KINDS: [&str; 5] =
    ["ssh-rsa", "ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"];

impl TryFrom<String> for HostKey {
    type Error = String;

    fn try_from(text: String) -> Result<HostKey, String> {
        let fault = || {
            let digest = text.rsplit_once("SHA256:").map(|(_, digest)| digest.trim().len());
            match digest {
                Some(length) if length != DIGEST => format!(
                    "host key {text:?}: {DIGEST} characters stand behind SHA256:, and here {length} (copy it as a whole)"
                ),
                _ => format!(
                    "host key {text:?}: must be SHA256:..., or one of {} before it (aw-routeros host-key NAME sets it)",
                    KINDS.join(", ")
                ),
            }
        };
        let (kind, print) = match text.trim().split_once(' ') {
            Some((kind, print)) if KINDS.contains(&kind) => (Some(kind.to_owned()), print.trim()),
            Some(_) => return Err(fault()),
            None => (None, text.trim()),
        };
        let fingerprint: Fingerprint = print.parse().map_err(|_| fault())?;
        match fingerprint.algorithm() {
            HashAlg::Sha256 => Ok(HostKey { kind, fingerprint }),
            _ => Err(fault()),
        }
    }
}

pub fn parse(text: &str) -> Result<HostKey, String> {
    HostKey::try_from(text.to_owned())
}

impl HostKey {
    pub fn of(key: &PublicKey) -> HostKey {
        let kind = Some(kind(&key.algorithm()).to_owned());
        HostKey { kind, fingerprint: key.fingerprint(HashAlg::Sha256) }
    }

    pub fn is_of(&self, key: &PublicKey) -> bool {
        self.fingerprint == key.fingerprint(HashAlg::Sha256)
    }
}

impl fmt::Display for HostKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Some(kind) => write!(f, "{kind} {}", self.fingerprint),
            None => self.fingerprint.fmt(f),
        }
    }
}

/// The type of a key. RSA has one type and several signature algorithms.
fn kind(algorithm: &Algorithm) -> &str {
    if matches!(algorithm, Algorithm::Rsa { .. }) { "ssh-rsa" } else { algorithm.as_str() }
}

/// The algorithms to negotiate: of the pinned types, or all with RSA first, RouterOS's default.
pub fn algorithms(pinned: &[HostKey], legacy: bool) -> Vec<Algorithm> {
    let rsa = |hash| Algorithm::Rsa { hash };
    let mut all = vec![rsa(Some(HashAlg::Sha512)), rsa(Some(HashAlg::Sha256))];
    all.extend(KINDS[1..].iter().filter_map(|name| Algorithm::new(name).ok()));
    if legacy {
        all.push(rsa(None));
    }
    if pinned.is_empty() || pinned.iter().any(|pin| pin.kind.is_none()) {
        return all;
    }
    let is_pinned = |algorithm: &Algorithm| {
        pinned.iter().any(|pin| pin.kind.as_deref() == Some(kind(algorithm)))
    };
    all.into_iter().filter(is_pinned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINT: &str = "SHA256:Nh0Me49Zh9fDw/VYUfq43IJmI1T+XrjiYONPND8GzaM";

    #[test]
    fn host_keys() {
        for text in [PRINT.to_owned(), format!("ssh-rsa {PRINT}"), format!("ssh-ed25519 {PRINT}")] {
            assert_eq!(HostKey::try_from(text.clone()).unwrap().to_string(), text);
        }
        for text in ["", "SHA256:", "MD5:00", "SHA256:abc", &format!("dss {PRINT}")] {
            assert!(HostKey::try_from(text.to_owned()).is_err(), "{text}");
        }
        let why = HostKey::try_from(PRINT[..PRINT.len() - 5].to_owned()).unwrap_err();
        assert!(why.contains("43 characters stand behind SHA256:, and here 38"), "{why}");
    }

    #[test]
    fn only_pinned_types_are_negotiated() {
        let pin = |kind: &str| HostKey::try_from(format!("{kind}{PRINT}")).unwrap();
        let names = |pins: &[HostKey], legacy| -> Vec<String> {
            algorithms(pins, legacy).iter().map(ToString::to_string).collect()
        };
        assert_eq!(names(&[pin("ssh-rsa ")], false), ["rsa-sha2-512", "rsa-sha2-256"]);
        assert_eq!(names(&[pin("ssh-rsa ")], true).last().unwrap(), "ssh-rsa");
        assert_eq!(names(&[pin("ssh-ed25519 ")], true), ["ssh-ed25519"]);
        assert_eq!(names(&[pin("ssh-ed25519 "), pin("")], false).len(), 6);
        assert_eq!(names(&[], false)[0], "rsa-sha2-512");
    }
}
