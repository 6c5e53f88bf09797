//! How to log in: by password, key or agent.

use std::{fs, io::ErrorKind, path::Path, sync::Arc};

use russh::{
    client::{AuthResult, Handle, Handler},
    keys::{
        HashAlg, PrivateKeyWithHashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
        load_secret_key,
    },
};

use super::fault::{Fault, fault};
use crate::config::Router;

/// How to log in, with all files read.
pub enum Way {
    /// With this password.
    Password(String),
    /// With this key.
    Key(Arc<russh::keys::PrivateKey>),
    /// With the keys of an agent.
    Agent,
}

impl Way {
    /// Reads what is needed.
    pub fn prepare(router: &Router) -> Result<Way, Fault> {
        if let Some(path) = &router.password_file {
            return Ok(Way::Password(first_line(path)?));
        }
        let Some(path) = &router.key_file else { return Ok(Way::Agent) };
        let passphrase = router.passphrase_file.as_deref().map(first_line).transpose()?;
        let key = load_secret_key(path, passphrase.as_deref()).map_err(|error| match error {
            russh::keys::Error::IO(error) => unreadable(path, &error),
            error => Fault::Local(format!("read {}: {error}", path.display())),
        })?;
        Ok(Way::Key(Arc::new(key)))
    }

    /// Logs in, with no more attempts than needed.
    pub async fn log_in<H: Handler>(
        self,
        handle: &mut Handle<H>,
        router: &Router,
    ) -> Result<(), Fault> {
        let user = router.login();
        let broken = |error: russh::Error| fault(error, None);
        match self {
            Way::Password(password) => {
                let result = handle.authenticate_password(user, password).await.map_err(broken)?;
                accepted(&result)
            }
            Way::Key(key) => {
                let mut result = Err(Fault::Refused(String::new()));
                for hash in hashes(handle, key.public_key(), router.legacy).await {
                    let key = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
                    let tried = handle.authenticate_publickey(user.clone(), key).await;
                    result = accepted(&tried.map_err(broken)?);
                    if result.is_ok() {
                        break;
                    }
                }
                result
            }
            Way::Agent => {
                let failure = |error| Fault::Local(format!("ask the SSH agent: {error}"));
                let mut agent = AgentClient::connect_env().await.map_err(failure)?;
                let identities = agent.request_identities().await.map_err(failure)?;
                let mut result = Err(Fault::Refused(": the agent has no keys".into()));
                for identity in identities {
                    let AgentIdentity::PublicKey { key, .. } = identity else { continue };
                    for hash in hashes(handle, &key, router.legacy).await {
                        let tried = handle
                            .authenticate_publickey_with(
                                user.clone(),
                                key.clone(),
                                hash,
                                &mut agent,
                            )
                            .await;
                        let tried = tried.map_err(|error| {
                            Fault::Local(format!("sign with the SSH agent: {error}"))
                        })?;
                        result = accepted(&tried);
                        if result.is_ok() {
                            return result;
                        }
                    }
                }
                result
            }
        }
    }
}

/// The hashes to sign with: for RSA the one that the server names, else SHA-256, then SHA-1 where old
/// algorithms are allowed. Each refusal is a line in the router's log, so there are few.
async fn hashes<H: Handler>(
    handle: &Handle<H>,
    key: &PublicKey,
    legacy: bool,
) -> Vec<Option<HashAlg>> {
    if !key.algorithm().is_rsa() {
        return vec![None];
    }
    let named = handle.best_supported_rsa_hash().await.ok().flatten().flatten();
    let mut hashes = vec![named.or(Some(HashAlg::Sha256))];
    if named == Some(HashAlg::Sha512) {
        hashes.push(Some(HashAlg::Sha256)); // OpenSSH names SHA-512 even where it is switched off
    }
    hashes.extend(legacy.then_some(None));
    hashes
}

fn accepted(result: &AuthResult) -> Result<(), Fault> {
    match result {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { partial_success: true, .. } => {
            Err(Fault::Refused(": it wants a second proof".into()))
        }
        AuthResult::Failure { .. } => Err(Fault::Refused(String::new())),
    }
}

fn first_line(path: &Path) -> Result<String, Fault> {
    let text = fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Fault {
    if aw_service::advice(error).is_some() {
        // Something has run out, and may be there again soon: tried like a router that is away.
        let why = aw_service::explain(error);
        return Fault::Unreachable(format!("read {}: {why}", path.display()));
    }
    let help = match error.kind() {
        ErrorKind::PermissionDenied => " (let the user that aw-routeros runs as read it)",
        _ => "",
    };
    Fault::Local(format!("read {}: {}{help}", path.display(), shm_layout::cause(error)))
}
