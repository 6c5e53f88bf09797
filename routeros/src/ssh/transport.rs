//! What an SSH connection runs over: TCP, or a channel through a jump host, which may be a router too. The jump host only
//! passes bytes on: the host key of the router is checked as always.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use super::{STEP_TIMEOUT, SshConnection, SshFault, addresses, connect_first, fault::fault};
use crate::{
    config::{Router, RouterName},
    recorder::lock,
};

/// Routers that are reached through the same host, at the same time, learn of its fault from one try.
const FAULT_LASTS: Duration = Duration::from_secs(5);

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

pub struct Transport {
    pub stream: Box<dyn Stream>,
    pub peer: Option<IpAddr>,
    /// Held as long as the stream is used.
    pub jump: Option<Arc<SshConnection>>,
}

impl Transport {
    pub async fn open(router: &Router) -> Result<Transport, SshFault> {
        let Some(jump) = &router.jump else {
            let found = addresses(&router.address).await?;
            let (stream, peer) = connect_first(&found, router.source, STEP_TIMEOUT).await?;
            let _ = stream.set_nodelay(true);
            return Ok(Transport { stream: Box::new(stream), peer: Some(peer), jump: None });
        };
        let connection = shared(jump).await.map_err(|fault| through(jump, fault))?;
        let (host, port) = (router.address.host.clone(), router.address.port);
        let channel = connection.open_channel(None, |handle| async move {
            handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0).await
        });
        let failed = |error: russh::Error| {
            let why = match fault(error, None) {
                SshFault::NoChannel(why) => format!(
                    "it does not forward to {} ({why}; OpenSSH: AllowTcpForwarding; RouterOS: /ip ssh set forwarding-enabled=both)",
                    router.address
                ),
                other => other.to_string(),
            };
            through(jump, SshFault::Unreachable(why))
        };
        let late =
            || through(jump, SshFault::Unreachable(format!("no answer from {}", router.address)));
        let channel = timeout(STEP_TIMEOUT, channel).await.map_err(|_| late())?.map_err(failed)?;
        let stream = Box::new(channel.take().ok_or_else(late)?.into_stream());
        let peer = router.address.host.parse().ok();
        Ok(Transport { stream, peer, jump: Some(connection) })
    }
}

/// A fault of a jump host is not one of the router behind it.
fn through(jump: &Router, fault: SshFault) -> SshFault {
    let name = &jump.name;
    match fault {
        SshFault::Unreachable(why) => SshFault::Unreachable(format!("through {name}: {why}")),
        SshFault::NoChannel(why) => SshFault::Unreachable(format!("through {name}: {why}")),
        SshFault::Algorithms(why) => SshFault::Algorithms(format!("through {name}: {why}")),
        SshFault::Local(why) => SshFault::Local(format!("through {name}: {why}")),
        // Only an administrator can mend these, at the jump host.
        other => SshFault::Local(format!("through {name}: {other}")),
    }
}

/// A connection to a jump host, or why there was none a moment ago.
#[derive(Default)]
struct Shared {
    connection: Weak<SshConnection>,
    fault: Option<(Instant, SshFault)>,
}

type Slot = Arc<tokio::sync::Mutex<(Option<Router>, Shared)>>;

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Arc<SshConnection>, SshFault>> + Send + 'a>>;

/// One connection to a jump host carries those to all routers behind it: it is asked for one login. Boxed, because a jump
/// host may itself be behind another one.
fn shared(jump: &Arc<Router>) -> Opening<'_> {
    static SLOTS: Mutex<Option<HashMap<RouterName, Slot>>> = Mutex::new(None);
    Box::pin(async move {
        let slot = {
            let mut slots = lock(&SLOTS);
            Arc::clone(slots.get_or_insert_default().entry(jump.name.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        let (of, shared) = &mut *slot;
        if of.as_ref() != Some(&**jump) {
            (*of, *shared) = (Some((**jump).clone()), Shared::default()); // configured differently
        }
        if let Some(connection) = shared.connection.upgrade().filter(|open| !open.is_closed()) {
            return Ok(connection);
        }
        shared.fault.take_if(|(since, _)| since.elapsed() >= FAULT_LASTS);
        if let Some((_, fault)) = &shared.fault {
            return Err(fault.clone());
        }
        match SshConnection::open(jump).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                shared.connection = Arc::downgrade(&connection);
                Ok(connection)
            }
            Err(fault) => {
                shared.fault = Some((Instant::now(), fault.clone()));
                Err(fault)
            }
        }
    })
}

/// Connects from this address of the machine.
pub async fn connect_from(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = match (source, address) {
        (IpAddr::V4(_), SocketAddr::V4(_)) => TcpSocket::new_v4()?,
        (IpAddr::V6(_), SocketAddr::V6(_)) => TcpSocket::new_v6()?,
        _ => {
            let why =
                format!("source is {source}, and {} is of the other IP version", address.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

/// Why a connection from this address failed.
pub fn cause(source: Option<IpAddr>, error: &io::Error) -> String {
    let cause = aw_service::cause(error);
    match (source, error.kind()) {
        (Some(source), io::ErrorKind::AddrNotAvailable) => {
            format!("source {source}: no interface of this machine has this address")
        }
        (Some(source), io::ErrorKind::PermissionDenied) => {
            format!("source {source}: {cause} (restart aw-routeros after a first source is set)")
        }
        _ => cause,
    }
}
