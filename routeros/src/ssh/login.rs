//! Login by password, key or agent.

use std::{
    hash::{BuildHasher, RandomState},
    io::ErrorKind,
    path::Path,
    sync::{Arc, LazyLock},
};

use aw_service::{FileKind, Secret, read_file_text};
use russh::{
    client::{AuthResult, Handle, Handler},
    keys::{
        HashAlg, PrivateKeyWithHashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
        decode_secret_key,
    },
};

use super::fault::{SshFault, fault};
use crate::{access::remedy_for_the_service, config::Router, start_access};

/// The means to log in, read from their files.
pub enum Credentials {
    Password(Secret),
    Key(Arc<russh::keys::PrivateKey>),
    Agent,
}

impl Credentials {
    /// Reads the files that the configuration names.
    pub fn read(router: &Router) -> Result<Credentials, SshFault> {
        if let Some(path) = &router.password_file {
            let password = read_secret(path)?;
            if std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == 0) {
                let path = path.display();
                return Err(SshFault::Credentials(format!(
                    "read {path}: it is empty (write the password into it)"
                )));
            }
            if password.reveal().is_empty() {
                return Err(SshFault::Credentials(format!(
                    "read {}: its first line is empty (the password stands in the first line)",
                    path.display()
                )));
            }
            return Ok(Credentials::Password(password));
        }
        let Some(path) = &router.key_file else { return Ok(Credentials::Agent) };
        let passphrase = router.passphrase_file.as_deref().map(read_secret).transpose()?;
        let passphrase = passphrase.as_ref().map(Secret::reveal);
        let text = read_file_text(path, FileKind::Secret, MAX_KEY);
        let text = text.map_err(|error| unreadable(path, &error))?;
        let key = decode_secret_key(&text, passphrase)
            .map_err(|error| SshFault::Credentials(format!("read {}: {error}", path.display())))?;
        Ok(Credentials::Key(Arc::new(key)))
    }

    /// Differs if the password or the key is another one. The keys of the agent are not known here.
    pub fn hash(&self) -> u64 {
        static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        match self {
            Credentials::Password(password) => HASHES.hash_one(password.reveal()),
            Credentials::Key(key) => HASHES.hash_one(key.fingerprint(HashAlg::Sha256).to_string()),
            Credentials::Agent => 0,
        }
    }

    pub async fn log_in<H: Handler>(
        self,
        handle: &mut Handle<H>,
        router: &Router,
    ) -> Result<(), SshFault> {
        let blank = match &self {
            Credentials::Password(secret) if secret.reveal().trim() != secret.reveal() => {
                "; the first line of the file begins or ends with a blank, which is sent too"
            }
            _ => "",
        };
        self.try_to_log_in(handle, router).await.map_err(|fault| match fault {
            SshFault::Refused(why) => {
                SshFault::Refused(format!("{why} ({}{blank})", remedy(router)))
            }
            fault => fault,
        })
    }

    async fn try_to_log_in<H: Handler>(
        self,
        handle: &mut Handle<H>,
        router: &Router,
    ) -> Result<(), SshFault> {
        let user = router.login();
        let broken = |error: russh::Error| fault(error, None);
        match self {
            Credentials::Password(password) => {
                let result =
                    handle.authenticate_password(user, password.reveal()).await.map_err(broken)?;
                accepted(handle, &result)
            }
            Credentials::Key(key) => {
                let mut result = Err(SshFault::Refused(String::new()));
                for hash in hashes(handle, key.public_key(), router.legacy).await {
                    let key = PrivateKeyWithHashAlg::new(Arc::clone(&key), hash);
                    let tried = handle.authenticate_publickey(user.clone(), key).await;
                    result = accepted(handle, &tried.map_err(broken)?);
                    if !matches!(result, Err(SshFault::Refused(_))) {
                        break;
                    }
                }
                result
            }
            Credentials::Agent => log_in_with_agent(handle, &user, router.legacy).await,
        }
    }
}

/// The connection ended during two logins in a row.
pub fn cut_twice(router: &Router) -> SshFault {
    let remedy = remedy(router);
    SshFault::Refused(format!(
        ": the connection ended during it, and during the last one ({remedy})"
    ))
}

/// What to check after a refused login. The same text for routers with the same login. Messages are masked: no name stands
/// behind `password:` or `key:`.
fn remedy(Router { user, password_file, key_file, .. }: &Router) -> String {
    match (password_file, key_file) {
        (Some(file), _) => format!(
            "check user {user} and the password in {}; RouterOS refuses the password of a user who has an SSH key",
            file.display()
        ),
        (_, Some(file)) => format!(
            "check user and key: {user} needs the public key of {} on the router, /user ssh-keys import",
            file.display()
        ),
        _ => format!(
            "check user and keys: {user} needs one of the SSH agent's keys on the router, /user ssh-keys import; ssh-add -l lists them"
        ),
    }
}

async fn log_in_with_agent<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    legacy: bool,
) -> Result<(), SshFault> {
    let failure = |error| SshFault::Credentials(format!("ask the SSH agent: {error}"));
    let mut agent = AgentClient::connect_env().await.map_err(failure)?;
    let identities = agent.request_identities().await.map_err(failure)?;
    let mut result = Err(SshFault::Refused(": the SSH agent has no keys".into()));
    let mut is_refused = false;
    for identity in identities {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        for hash in hashes(handle, &key, legacy).await {
            let signed =
                handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await;
            let signed = match signed {
                Ok(signed) => signed,
                Err(_) if handle.is_closed() => return Err(ended()),
                // A key before this one counts as a refusal at the server.
                Err(error) if is_refused => {
                    return Err(SshFault::Refused(format!(
                        ", and the SSH agent does not sign with another key: {error}"
                    )));
                }
                Err(error) => {
                    let why = format!("sign with the SSH agent: {error}");
                    return Err(SshFault::Credentials(why));
                }
            };
            result = accepted(handle, &signed);
            if !matches!(result, Err(SshFault::Refused(_))) {
                return result;
            }
            is_refused = true;
        }
    }
    result
}

/// The hashes for signatures: for RSA the one that the server names, or SHA-256, then SHA-1 if old algorithms are
/// allowed. Few, because each refusal is a line in the router's log.
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
        hashes.push(Some(HashAlg::Sha256)); // OpenSSH names SHA-512 even if it is switched off
    }
    hashes.extend(legacy.then_some(None));
    hashes
}

fn ended() -> SshFault {
    SshFault::Unreachable("the connection ended during the login".into())
}

/// russh returns a failure without methods if the connection ends before there is an answer.
fn accepted<H: Handler>(handle: &Handle<H>, result: &AuthResult) -> Result<(), SshFault> {
    match result {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { remaining_methods, .. }
            if remaining_methods.is_empty() && handle.is_closed() =>
        {
            Err(ended())
        }
        AuthResult::Failure { partial_success: true, .. } => {
            Err(SshFault::Refused(": a second factor is required".into()))
        }
        AuthResult::Failure { .. } => Err(SshFault::Refused(String::new())),
    }
}

/// Bytes of a key file, at most.
const MAX_KEY: u64 = 64 << 10;

fn read_secret(path: &Path) -> Result<Secret, SshFault> {
    Secret::first_line(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> SshFault {
    if aw_service::advice(error).is_some() {
        // A resource limit, which may be temporary: try again as if the router were unreachable.
        let why = aw_service::explain(error);
        return SshFault::Unreachable(format!("read {}: {why}", path.display()));
    }
    if let Some(why) = start_access::denied_path(path, error) {
        return SshFault::Restart(why);
    }
    let why = match error.kind() {
        ErrorKind::PermissionDenied => format!("permission denied{}", remedy_for_the_service(path)),
        ErrorKind::NotFound => {
            format!("{} (create it, or name another file)", aw_service::cause(error))
        }
        _ => aw_service::cause(error),
    };
    SshFault::Credentials(format!("read {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, mask::mask};

    #[test]
    fn the_user_is_not_masked() {
        for login in
            ["password_file = \"/etc/a.pass\"", "key_file = \"/etc/a.key\"", "agent = true"]
        {
            let text = format!(
                "archive = \"/x\"\n[[router]]\nname = \"r\"\naddress = \"192.0.2.1\"\nuser = \"audit\"\n{login}\n"
            );
            let text = remedy(&Config::parse(&text).unwrap().routers[0]);
            let text = format!("login refused ({text})");
            assert!(text.contains("audit"));
            assert_eq!(mask(&text), text);
        }
    }
}
