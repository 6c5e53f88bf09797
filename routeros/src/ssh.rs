//! A connection to a router. The router is believed to be itself only by a pinned host key, and what
//! it sends is bounded in size and in time.

mod fault;
mod login;

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError},
    thread::Builder,
    time::Duration,
};

use russh::{
    Channel, ChannelMsg, Disconnect, Preferred, cipher,
    client::{self, GexParams, Handle, Msg},
    kex,
    keys::PublicKeyOrCertificate,
    mac,
};
use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot},
    time::timeout,
};

pub use self::fault::Fault;
use self::{fault::fault, login::Way};
use crate::{
    config::{Address, Router},
    host_key::{self, HostKey},
};

/// Bytes of an answer, at most.
pub const LONGEST_ANSWER: usize = (16 << 20) - (64 << 10);
/// More than any answer: RouterOS drops the end of what does not fit the client's window, and closes
/// as if all were well (MikroTik SUP-219800).
const WINDOW: u32 = 16 << 20;
/// To find a name's addresses, to connect to each of them, to exchange keys, and to log in, take no
/// longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Names are asked for by so many threads at most, of their own: those that write to the archive are
/// not kept waiting by a name server that does not answer.
static RESOLVERS: Semaphore = Semaphore::const_new(4);

/// A router that let us in.
pub struct Session {
    handle: Handle<Client>,
    /// Where it is.
    peer: IpAddr,
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
        let (mut handle, peer) = connect(router).await?;
        let login = way.log_in(&mut handle, router);
        let ended = timeout(PATIENCE, login).await;
        ended.map_err(|_| Fault::Unreachable("it did not answer the login".into()))??;
        Ok(Session { handle, peer })
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

    /// The router's address of version 4, if it is reached by one.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        match self.peer.to_canonical() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
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

async fn connect(router: &Router) -> Result<(Handle<Client>, IpAddr), Fault> {
    let pinned = router.host_key.0.clone();
    let stranger = Arc::new(Mutex::new(None));
    let client = Client { pinned: pinned.clone(), stranger: Arc::clone(&stranger) };
    let (stream, peer) = reach(&addresses(&router.address).await?, PATIENCE).await?;
    let _ = stream.set_nodelay(true);
    let connect = client::connect_stream(Arc::new(options(router)), stream, client);
    let connected = timeout(PATIENCE, connect).await.map_err(|_| silent())?;
    let handle = connected.map_err(|error| {
        let key = stranger.lock().unwrap_or_else(PoisonError::into_inner).take();
        fault(error, key.map(|key| (key, pinned.is_empty())))
    })?;
    Ok((handle, peer))
}

/// The addresses of a host.
async fn addresses(Address { host, port }: &Address) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, *port)]);
    }
    let unknown = |why: &str| Fault::Unreachable(format!("find the address of {host}: {why}"));
    let (asked, (tell, found)) = ((host.clone(), *port), oneshot::channel());
    let resolve = async {
        let turn = RESOLVERS.acquire().await;
        // The thread keeps its turn, even if nobody waits for it any longer.
        let ask = move || (tell.send(asked.to_socket_addrs()), turn);
        Builder::new()
            .name("resolver".into())
            .spawn(ask)
            .map_err(|error| unknown(&error.to_string()))?;
        found.await.map_err(|_| unknown("its thread ended"))
    };
    let found =
        timeout(PATIENCE, resolve).await.map_err(|_| unknown("no name server answers"))??;
    found.map(Iterator::collect).map_err(|error| unknown(&shm_layout::cause(&error)))
}

/// A connection to the first of the addresses that takes one, and which one that is.
async fn reach(addresses: &[SocketAddr], patience: Duration) -> Result<(TcpStream, IpAddr), Fault> {
    let mut fault = Fault::Unreachable("its name has no address".into());
    for address in addresses {
        fault = match timeout(patience, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.ip())),
            Ok(Err(error)) => Fault::Unreachable(shm_layout::cause(&error)),
            Err(_) => silent(),
        };
    }
    Err(fault)
}

fn silent() -> Fault {
    Fault::Unreachable("it does not answer".into())
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    /// An address that says nothing takes the time of none but itself.
    #[tokio::test]
    async fn every_address_has_its_time() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let silent = full.local_addr().unwrap();
        let patience = Duration::from_millis(300);
        // Who nobody accepts waits; once the queue is full, Linux answers no further one.
        let mut queue = Vec::new();
        while let Ok(stream) = reach(&[silent], patience).await {
            queue.push(stream);
        }
        let alive = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let found = reach(&[silent, silent, address], patience).await.unwrap();
        assert_eq!(found.1, address.ip());
        assert_eq!(reach(&[silent], patience).await.unwrap_err(), super::silent());
    }

    #[tokio::test]
    async fn names_and_addresses() {
        let find = async |text: &str| addresses(&text.to_owned().try_into().unwrap()).await;
        assert_eq!(find("192.0.2.1:2222").await.unwrap(), ["192.0.2.1:2222".parse().unwrap()]);
        assert_eq!(find("[2001:db8::1]").await.unwrap(), ["[2001:db8::1]:22".parse().unwrap()]);
        assert!(find("localhost:22").await.unwrap().iter().all(|found| found.ip().is_loopback()));
        let why = find("x..y").await.unwrap_err().to_string();
        assert!(why.starts_with("find the address of x..y: "), "{why}");
    }
}
