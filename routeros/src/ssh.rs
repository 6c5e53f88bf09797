//! A connection to a router. The router is believed to be itself only by a pinned host key, and what
//! it sends is bounded in size and in time.

use std::{
    borrow::Cow,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    Channel, ChannelMsg, Disconnect, Preferred, cipher,
    client::{self, AuthResult, GexParams, Handle, Msg},
    kex,
    keys::{
        HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate,
        agent::{AgentIdentity, client::AgentClient},
        load_secret_key,
    },
    mac,
};
use tokio::{net::TcpStream, time::timeout};

use crate::{
    config::Router,
    host_key::{self, HostKey},
};

/// Bytes of an answer, at most.
pub const LONGEST_ANSWER: usize = (16 << 20) - (64 << 10);
/// More than any answer: RouterOS drops the end of what does not fit the client's window, and closes
/// as if all were well (MikroTik SUP-219800).
const WINDOW: u32 = 16 << 20;
/// To connect, and to log in, take no longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why there is no connection, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be reached, or the connection broke.
    Unreachable(String),
    /// It runs no further command in this connection.
    NoChannel(String),
    /// Both sides know no common algorithm.
    Algorithms(String),
    /// No host key is pinned for it; the one that it has.
    UnknownKey(HostKey),
    /// Its host key is none of those pinned; the one that it has.
    ChangedKey(HostKey),
    /// It refused the login.
    Refused(String),
    /// What is needed here is missing: a password, a key, an agent.
    Local(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Unreachable(why) | Fault::NoChannel(why) | Fault::Local(why) => f.write_str(why),
            Fault::Algorithms(why) => write!(f, "{why} (for RouterOS 6 set legacy = true)"),
            Fault::UnknownKey(key) => {
                write!(f, "its host key is not known: {key} (if it is right, set host_key)")
            }
            Fault::ChangedKey(key) => write!(
                f,
                "ITS HOST KEY HAS CHANGED, which may be an attack: {key} (if it is right, set host_key)"
            ),
            Fault::Refused(why) => write!(
                f,
                "login refused{why}; not tried again before a reload (a user who has an SSH key may not log in by password)"
            ),
        }
    }
}

/// A router that let us in.
pub struct Session {
    handle: Handle<Client>,
}

/// What a command wrote.
#[derive(Debug, Default)]
pub struct Answer {
    /// All of it.
    pub bytes: Vec<u8>,
    /// The router closed the channel, as it does after the end.
    pub is_closed: bool,
    /// It would have been longer than what is accepted.
    pub is_cut: bool,
}

impl Answer {
    /// As text.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

struct Client {
    pinned: Vec<HostKey>,
    /// The key that was not believed.
    stranger: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        if self.pinned.iter().any(|pin| pin.is_of(key)) {
            return Ok(true);
        }
        *self.stranger.lock().unwrap_or_else(PoisonError::into_inner) = Some(HostKey::of(key));
        Ok(false)
    }
}

impl Session {
    /// Connects and logs in.
    pub async fn open(router: &Router) -> Result<Session, Fault> {
        let way = Way::prepare(router)?;
        let mut handle = connect(router).await?;
        let login = way.log_in(&mut handle, router);
        let ended = timeout(PATIENCE, login).await;
        ended.map_err(|_| Fault::Unreachable("it did not answer the login".into()))??;
        Ok(Session { handle })
    }

    /// The host key of a router, for `add` to show.
    pub async fn host_key(router: &Router) -> Result<HostKey, Fault> {
        match connect(&Router { host_key: Default::default(), ..router.clone() }).await {
            Err(Fault::UnknownKey(key)) => Ok(key),
            Err(fault) => Err(fault),
            Ok(_) => Err(Fault::Unreachable("it showed no host key".into())),
        }
    }

    /// Runs a command to its end.
    pub async fn run(&self, command: &str, patience: Duration) -> Result<Answer, Fault> {
        let run = async {
            let mut channel = self.start(command).await?;
            let mut answer = Answer::default();
            // Servers differ in the order of eof, exit status and close: only the last one counts.
            while let Some(message) = channel.wait().await {
                match message {
                    ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                        let room = LONGEST_ANSWER.saturating_sub(answer.bytes.len());
                        answer.bytes.extend_from_slice(&data[..data.len().min(room)]);
                        if data.len() > room {
                            answer.is_cut = true;
                            let _ = channel.close().await;
                            break;
                        }
                    }
                    ChannelMsg::Close => {
                        answer.is_closed = true;
                        break;
                    }
                    ChannelMsg::Failure => {
                        return Err(Fault::Unreachable(format!("it does not run {command}")));
                    }
                    _ => {}
                }
            }
            Ok(answer)
        };
        let late = || Fault::Unreachable(format!("{command} took longer than {patience:?}"));
        timeout(patience, run).await.map_err(|_| late())?
    }

    /// Starts a command, without a terminal: with one, RouterOS wraps, paints and prompts.
    pub async fn start(&self, command: &str) -> Result<Channel<Msg>, Fault> {
        let start = async {
            let channel = self.handle.channel_open_session().await?;
            channel.exec(true, command).await?;
            Ok(channel)
        };
        let late = || Fault::Unreachable(format!("it did not start {command}"));
        timeout(PATIENCE, start).await.map_err(|_| late())?.map_err(|error| fault(error, None))
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Takes leave.
    pub async fn close(self) {
        let leave = self.handle.disconnect(Disconnect::ByApplication, "", "");
        let _ = timeout(Duration::from_secs(1), leave).await;
    }
}

async fn connect(router: &Router) -> Result<Handle<Client>, Fault> {
    let pinned = router.host_key.0.clone();
    let stranger = Arc::new(Mutex::new(None));
    let client = Client { pinned: pinned.clone(), stranger: Arc::clone(&stranger) };
    let connect = async {
        let address = (router.address.host.as_str(), router.address.port);
        let stream = TcpStream::connect(address).await.map_err(russh::Error::IO)?;
        let _ = stream.set_nodelay(true);
        client::connect_stream(Arc::new(options(router)), stream, client).await
    };
    let late = || Fault::Unreachable("it does not answer".into());
    let connected = timeout(PATIENCE, connect).await.map_err(|_| late())?;
    connected.map_err(|error| {
        let key = stranger.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault(error, key.map(|key| (key, pinned.is_empty())))
    })
}

fn fault(error: russh::Error, stranger: Option<(HostKey, bool)>) -> Fault {
    match (error, stranger) {
        (_, Some((key, true))) => Fault::UnknownKey(key),
        (_, Some((key, false))) => Fault::ChangedKey(key),
        (russh::Error::IO(error), None) => Fault::Unreachable(shm_layout::cause(&error)),
        (russh::Error::NoCommonAlgo { kind, theirs, .. }, None) => Fault::Algorithms(format!(
            "no common {kind:?} algorithm, it offers {}",
            theirs.join(", ")
        )),
        (russh::Error::ChannelOpenFailure(why), None) => {
            Fault::NoChannel(format!("it opens no channel: {why:?}"))
        }
        (error, None) => Fault::Unreachable(error.to_string().to_lowercase()),
    }
}

fn options(router: &Router) -> client::Config {
    let mut preferred = Preferred {
        key: host_key::algorithms(&router.host_key.0, router.legacy).into(),
        ..Preferred::DEFAULT
    };
    if router.legacy {
        // The group exchange of old versions has primes that are refused here: group 14 before it.
        let at = preferred.kex.iter().position(|name| *name == kex::DH_GEX_SHA256).unwrap_or(0);
        let exchanges = preferred.kex.to_mut();
        exchanges.insert(at, kex::DH_G14_SHA1);
        if router.legacy_group1 {
            exchanges.insert(at + 1, kex::DH_G1_SHA1);
        }
        let old = [cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC];
        preferred.cipher.to_mut().extend(old);
        preferred.mac.to_mut().push(mac::HMAC_SHA1);
    }
    client::Config {
        preferred,
        // RouterOS has a prime of 2048 bits, and larger ones take a small router seconds.
        gex: GexParams::new(2048, 2048, 8192).unwrap_or_default(),
        window_size: WINDOW,
        keepalive_interval: Some(Duration::from_secs(router.keepalive)),
        keepalive_max: 3,
        inactivity_timeout: None, // a log may be silent for days
        nodelay: true,
        ..client::Config::default()
    }
}

/// How to log in, with all files read.
enum Way {
    Password(String),
    Key(Arc<russh::keys::PrivateKey>),
    Agent,
}

impl Way {
    fn prepare(router: &Router) -> Result<Way, Fault> {
        if let Some(path) = &router.password_file {
            return Ok(Way::Password(first_line(path)?));
        }
        let Some(path) = &router.key_file else { return Ok(Way::Agent) };
        let passphrase = router.passphrase_file.as_deref().map(first_line).transpose()?;
        let key = load_secret_key(path, passphrase.as_deref())
            .map_err(|error| Fault::Local(format!("read {}: {error}", path.display())))?;
        Ok(Way::Key(Arc::new(key)))
    }

    async fn log_in(self, handle: &mut Handle<Client>, router: &Router) -> Result<(), Fault> {
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
async fn hashes(handle: &Handle<Client>, key: &PublicKey, legacy: bool) -> Vec<Option<HashAlg>> {
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
    let text = fs::read_to_string(path).map_err(|error| {
        Fault::Local(format!("read {}: {}", path.display(), shm_layout::cause(&error)))
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
