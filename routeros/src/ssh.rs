//! An SSH connection to a router. A router is trusted only by its pinned host key, and its answers are bounded in size and
//! time.

mod algorithms;
mod channel;
mod fault;
mod login;
mod transport;

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex},
    thread::Builder,
    time::Duration,
};

use aw_service::HostPort;
use russh::{
    Channel, ChannelMsg, Disconnect, Preferred, cipher,
    client::{self, GexParams, Handle, Msg},
    kex,
    keys::PublicKeyOrCertificate,
    mac,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::timeout,
};

use self::{channel::Closer, fault::fault, login::Credentials, transport::Transport};
pub use self::{channel::OpenChannel, fault::SshFault, transport::retry_jumps};
use crate::{
    config::Router,
    host_key::{self, HostKey},
    login_gate::{self, Hop, LoginTry},
    recorder::lock,
    sftp::{self, SftpFault},
};

/// Bytes of an answer, at most.
pub const MAX_ANSWER: usize = (16 << 20) - (64 << 10);
/// Larger than any answer: RouterOS drops the part of an answer that does not fit the client's window, and closes the
/// channel without an error (MikroTik SUP-219800).
const WINDOW: u32 = 16 << 20;
/// Bytes of a packet, as PuTTY limits them: each connection keeps buffers of this size.
const MAX_PACKET: u32 = 16 << 10;
/// The time limit for each step: resolve the name, connect to one address, exchange keys, log in.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// The time limit for all of them but the login.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of threads that resolve names. They are separate from the threads that write to the archive, which a name
/// server without an answer must not block.
static RESOLVERS: Semaphore = Semaphore::const_new(4);
/// Commands of [`SshConnection::ask`] in a connection that are waited for, or of which the router has not taken the close,
/// at most. It is no bound for commands that go on after that, which only OpenSSH lets.
const MAX_QUESTIONS: usize = 4;
const STUCK: &str = "the router does not confirm that it closes the channels of commands";

pub struct SshConnection {
    handle: Arc<Handle<HostKeyCheck>>,
    /// Ends with this connection.
    lives: watch::Sender<()>,
    questions: Arc<Semaphore>,
    /// Unknown behind a jump host, unless the configuration has an address.
    peer: Option<IpAddr>,
    /// The connection that carries this one.
    _jump: Option<Arc<SshConnection>>,
}

/// The output of a command.
#[derive(Debug, Default)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// The router closed the channel, which marks the end.
    pub is_closed: bool,
    /// It was longer than [`MAX_ANSWER`].
    pub is_cut: bool,
}

impl Answer {
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }
}

struct HostKeyCheck {
    pinned: Vec<HostKey>,
    /// The key of the router if it is not pinned.
    untrusted: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for HostKeyCheck {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        if self.pinned.iter().any(|pin| pin.is_of(key)) {
            return Ok(true);
        }
        *lock(&self.untrusted) = Some(HostKey::of(key));
        Ok(false)
    }
}

impl SshConnection {
    pub async fn open(router: &Router) -> Result<SshConnection, SshFault> {
        SshConnection::open_with(router, None).await
    }

    /// With the right to log in, if the router waited for it.
    pub async fn open_with(
        router: &Router,
        entered: Option<LoginTry>,
    ) -> Result<SshConnection, SshFault> {
        SshConnection::open_hop(router, Hop::Last, entered).await
    }

    async fn open_hop(
        router: &Router,
        hop: Hop,
        mut entered: Option<LoginTry>,
    ) -> Result<SshConnection, SshFault> {
        let credentials = Credentials::read(router)?;
        if entered.is_none() {
            entered = login_gate::enter(router, hop, credentials.hash())?;
        }
        let opened = timeout(OPEN_TIMEOUT, connect(router)).await.map_err(|_| no_answer())?;
        let (mut handle, peer, jump) = opened?;
        let login_try = match entered {
            Some(login_try) => login_try,
            None => login_gate::begin(router, hop).await?,
        };
        let login = credentials.log_in(&mut handle, router);
        let late = |_| Err(SshFault::Unreachable("no answer to the login".into()));
        let result = timeout(STEP_TIMEOUT, login).await.unwrap_or_else(late);
        login_try.end(&result);
        result?;
        Ok(SshConnection {
            handle: Arc::new(handle),
            lives: watch::Sender::new(()),
            questions: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            peer,
            _jump: jump,
        })
    }

    pub async fn host_key(router: &Router) -> Result<HostKey, SshFault> {
        match connect(&Router { host_key: Default::default(), ..router.clone() }).await {
            Err(SshFault::UnknownKey(key, _)) => Ok(key),
            Err(fault) => Err(fault),
            Ok(_) => Err(SshFault::Unreachable("the router sent no host key".into())),
        }
    }

    /// The host key of a router that shows none of the pinned ones, or none.
    pub async fn new_host_key(router: &Router) -> Result<Option<HostKey>, SshFault> {
        match connect(router).await {
            Ok(_) => Ok(None),
            Err(SshFault::ChangedKey(_) | SshFault::UnknownKey(..) | SshFault::Algorithms(_)) => {
                SshConnection::host_key(router).await.map(Some)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Runs a command. After `limit` its channel is closed, so that the router ends it. A router that does not confirm that
    /// loses the connection.
    pub async fn run(&self, command: &str, limit: Duration) -> Result<Answer, SshFault> {
        let answer = finish(self.start(command).await?, command, limit).await;
        if let Err(SshFault::Late { is_ended: false, .. }) = answer {
            self.disconnect().await;
        }
        answer
    }

    /// The same for an answer that is worth less than the connection, which stays. None is asked for while
    /// [`MAX_QUESTIONS`] earlier ones run, or are not confirmed to be closed: see [`SshConnection::stuck`].
    pub async fn ask(&self, command: &str, limit: Duration) -> Result<Answer, SshFault> {
        let permit = Arc::clone(&self.questions)
            .try_acquire_owned()
            .map_err(|_| SshFault::NoChannel(STUCK.into()))?;
        finish(self.start_with(Some(permit), command).await?, command, limit).await
    }

    /// The fault if the router takes no further question of [`SshConnection::ask`]. Called while none runs.
    pub fn stuck(&self) -> Option<SshFault> {
        (self.questions.available_permits() == 0).then(|| SshFault::NoChannel(STUCK.into()))
    }

    /// Starts a command without a terminal: with one, RouterOS wraps lines, adds colours and prompts.
    pub async fn start(&self, command: &str) -> Result<OpenChannel, SshFault> {
        self.start_with(None, command).await
    }

    async fn start_with(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        command: &str,
    ) -> Result<OpenChannel, SshFault> {
        let start = async {
            let mut channel = self.open_session(permit).await?;
            if let Some(channel) = channel.get() {
                channel.exec(true, command).await?;
            }
            Ok(channel)
        };
        let late = || SshFault::Unreachable(format!("the router did not start {command}"));
        timeout(STEP_TIMEOUT, start).await.map_err(|_| late())?.map_err(|error| fault(error, None))
    }

    async fn open_session(
        &self,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<OpenChannel, russh::Error> {
        self.open_channel(permit, |handle| async move { handle.channel_open_session().await }).await
    }

    /// Opens a channel. If that is given up, the channel is closed as soon as the router has opened it.
    async fn open_channel<F>(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        open: impl FnOnce(Arc<Handle<HostKeyCheck>>) -> F,
    ) -> Result<OpenChannel, russh::Error>
    where
        F: Future<Output = Result<Channel<Msg>, russh::Error>> + Send + 'static,
    {
        let (handle, mut connection) = (Arc::clone(&self.handle), self.lives.subscribe());
        let opening = open(Arc::clone(&handle));
        let opened = tokio::spawn(async move {
            let channel = tokio::select! {
                channel = opening => channel?,
                _ = connection.changed() => return Err(russh::Error::Disconnect),
            };
            Ok(OpenChannel::new(channel, Closer { handle, connection, permit }))
        });
        opened.await.unwrap_or(Err(russh::Error::Disconnect))
    }

    /// Downloads a file of at most this size. After `limit` its channel is closed.
    pub async fn download(
        &self,
        path: &str,
        most: u64,
        limit: Duration,
    ) -> Result<Result<Vec<u8>, SftpFault>, SshFault> {
        let start = async {
            let mut channel = self.open_session(None).await?;
            if let Some(channel) = channel.get() {
                channel.request_subsystem(true, "sftp").await?;
            }
            Ok(channel)
        };
        let late = || SshFault::Unreachable("the router did not start sftp".into());
        let started = timeout(STEP_TIMEOUT, start).await.map_err(|_| late())?;
        let mut channel = started.map_err(|error| fault(error, None))?;
        let Some(open) = channel.get() else { return Err(late()) };
        let downloaded = timeout(limit, sftp::download(open, path, most)).await;
        if !channel.end().await {
            self.disconnect().await;
        }
        Ok(downloaded.unwrap_or(Err(SftpFault::Late(limit))))
    }

    /// The router's address, if it is an IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        match self.peer?.to_canonical() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }

    /// The router's address, if it is known.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    pub async fn close(self) {
        self.disconnect().await;
    }

    pub async fn disconnect(&self) {
        let disconnect = self.handle.disconnect(Disconnect::ByApplication, "", "");
        let _ = timeout(Duration::from_secs(1), disconnect).await;
    }
}

/// Receives the answer to a command, which is ended after `limit`, or if the answer is too long.
async fn finish(
    mut channel: OpenChannel,
    command: &str,
    limit: Duration,
) -> Result<Answer, SshFault> {
    let mut answer = Answer::default();
    let received = timeout(limit, receive(&mut channel, &mut answer, command)).await;
    let text = match received {
        Ok(received) if !answer.is_cut => return received.map(|()| answer),
        Ok(_) => format!("{command}: the answer is longer than {MAX_ANSWER} bytes"),
        Err(_) => format!("{command} took longer than {limit:?}"),
    };
    match channel.end().await {
        true if answer.is_cut => Ok(answer),
        is_ended => Err(SshFault::Late { text, is_ended }),
    }
}

/// Receives the output of a command until its channel is closed, or the output is too long.
async fn receive(
    channel: &mut OpenChannel,
    answer: &mut Answer,
    command: &str,
) -> Result<(), SshFault> {
    // Servers differ in the order of eof, exit status and close: only close marks the end.
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => {
                let room = MAX_ANSWER.saturating_sub(answer.bytes.len());
                answer.bytes.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    answer.is_cut = true;
                    break;
                }
            }
            ChannelMsg::Close => {
                answer.is_closed = true;
                break;
            }
            ChannelMsg::Failure => {
                return Err(SshFault::Unreachable(format!("the router does not run {command}")));
            }
            _ => {}
        }
    }
    Ok(())
}

type Connected = (Handle<HostKeyCheck>, Option<IpAddr>, Option<Arc<SshConnection>>);

async fn connect(router: &Router) -> Result<Connected, SshFault> {
    let pinned = router.host_key.0.clone();
    let untrusted = Arc::new(Mutex::new(None));
    let client = HostKeyCheck { pinned, untrusted: Arc::clone(&untrusted) };
    let Transport { stream, peer, jump } = Transport::open(router).await?;
    let connect = client::connect_stream(Arc::new(options(router)), stream, client);
    let connected = timeout(STEP_TIMEOUT, connect).await.map_err(|_| no_answer())?;
    let handle = connected.map_err(|error| {
        if let russh::Error::NoCommonAlgo { kind, theirs, .. } = &error {
            return SshFault::Algorithms(algorithms::missing(kind, theirs, router));
        }
        let key = lock(&untrusted).take();
        fault(error, key.map(|key| (key, router)))
    })?;
    Ok((handle, peer, jump))
}

async fn addresses(HostPort { host, port }: &HostPort) -> Result<Vec<SocketAddr>, SshFault> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, *port)]);
    }
    let unresolved = |why: &str| SshFault::Unreachable(format!("resolve {host}: {why}"));
    let (name, (send, resolved)) = ((host.clone(), *port), oneshot::channel());
    let resolve = async {
        let permit = RESOLVERS.acquire().await;
        // The thread keeps its permit even if the wait below times out.
        let lookup = move || (send.send(name.to_socket_addrs()), permit);
        Builder::new()
            .name("resolver".into())
            .spawn(lookup)
            .map_err(|error| unresolved(&error.to_string()))?;
        resolved.await.map_err(|_| unresolved("its thread ended"))
    };
    let found = timeout(STEP_TIMEOUT, resolve)
        .await
        .map_err(|_| unresolved("no answer from a name server"))??;
    found.map(Iterator::collect).map_err(|error| unresolved(&aw_service::cause(&error)))
}

/// Connects to the first address that accepts, and returns that address too.
async fn connect_first(
    addresses: &[SocketAddr],
    source: Option<IpAddr>,
    limit: Duration,
) -> Result<(TcpStream, IpAddr), SshFault> {
    let mut fault = SshFault::Unreachable("its name has no address".into());
    for address in addresses {
        fault = match timeout(limit, transport::connect_from(source, *address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.ip())),
            Ok(Err(error)) => transport::connect_fault(source, *address, &error),
            Err(_) => no_answer(),
        };
    }
    Err(fault)
}

fn no_answer() -> SshFault {
    SshFault::Unreachable("no answer".into())
}

fn options(router: &Router) -> client::Config {
    let mut preferred = Preferred {
        key: host_key::algorithms(&router.host_key.0, router.legacy).into(),
        // A few bytes of a router could become any number of bytes.
        compression: Preferred::DEFAULT
            .compression
            .iter()
            .filter(|name| name.as_ref() == "none")
            .cloned()
            .collect(),
        ..Preferred::DEFAULT
    };
    if router.legacy {
        // The group exchange of old versions uses primes that this client refuses: prefer group 14.
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
        // RouterOS has a prime of 2048 bits; larger ones take seconds on a small router.
        gex: GexParams::new(2048, 2048, 8192).unwrap_or_default(),
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        keepalive_interval: Some(Duration::from_secs(router.keepalive)),
        keepalive_max: 3,
        inactivity_timeout: None, // a log may be silent for days
        nodelay: true,
        ..client::Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    /// An address without an answer does not use up the time of the next one.
    #[tokio::test]
    async fn each_address_has_its_own_time_limit() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let silent = full.local_addr().unwrap();
        let patience = Duration::from_millis(300);
        // Connections are not accepted; once the queue is full, Linux does not answer further ones.
        let mut queue = Vec::new();
        while let Ok(stream) = connect_first(&[silent], None, patience).await {
            queue.push(stream);
        }
        let alive = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let found = connect_first(&[silent, silent, address], None, patience).await.unwrap();
        assert_eq!(found.1, address.ip());
        assert_eq!(connect_first(&[silent], None, patience).await.unwrap_err(), super::no_answer());
    }

    #[tokio::test]
    async fn names_and_addresses() {
        let find = async |text: &str| addresses(&HostPort::parse(text, 22).unwrap()).await;
        assert_eq!(find("192.0.2.1:2222").await.unwrap(), ["192.0.2.1:2222".parse().unwrap()]);
        assert_eq!(find("[2001:db8::1]").await.unwrap(), ["[2001:db8::1]:22".parse().unwrap()]);
        assert!(find("localhost:22").await.unwrap().iter().all(|found| found.ip().is_loopback()));
        let why = find("x..y").await.unwrap_err().to_string();
        assert!(why.starts_with("resolve x..y: "), "{why}");
    }
}
