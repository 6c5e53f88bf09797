//! What an SSH connection runs over: TCP, or a channel through a jump host, which may be a router too. The jump host only
//! passes bytes on: the host key of the router is checked as always.

use std::{
    collections::HashMap,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use aw_service::Backoff;
use russh::ChannelOpenFailure;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};

use super::{
    STEP_TIMEOUT, SshConnection, SshFault,
    fault::fault,
    tcp::{addresses, connect_first},
};
use crate::{
    config::{Router, RouterName},
    login_gate::Hop,
    recorder::lock,
};

/// Routers that are reached through the same host learn of its fault from one try. The next one comes after these pauses,
const PAUSES: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
/// and after these if only an administrator can mend it, or as `login_retry` of the jump host says.
const LONG_PAUSES: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(3600)];
/// The number of reloads: after each, jump hosts are tried again at once.
static RELOADS: AtomicU64 = AtomicU64::new(0);

/// Jump hosts that failed are tried again at once.
pub fn retry_jumps() {
    RELOADS.fetch_add(1, Relaxed);
}

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
            let is_prohibited = matches!(
                error,
                russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited)
            );
            let is_down = matches!(
                error,
                russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed)
            );
            let why = match fault(error, None) {
                SshFault::NoChannel(_) if is_down => {
                    format!("it cannot connect to {}", router.address)
                }
                SshFault::NoChannel(why) => format!(
                    "it does not forward to {} ({why}; OpenSSH: AllowTcpForwarding; RouterOS: /ip ssh set forwarding-enabled=both)",
                    router.address
                ),
                other => other.to_string(),
            };
            match is_prohibited {
                // For all routers, or for those behind it that it does not name.
                true => through(jump, SshFault::Local(why)),
                false => SshFault::Unreachable(format!("through {}: {why}", jump.name)),
            }
        };
        let late = || {
            let (name, address) = (&jump.name, &router.address);
            SshFault::Unreachable(format!("through {name}: no answer from {address}"))
        };
        let channel = timeout(STEP_TIMEOUT, channel).await.map_err(|_| late())?.map_err(failed)?;
        let stream = Box::new(channel.take().ok_or_else(late)?.into_stream());
        let peer = router.address.host.parse().ok();
        Ok(Transport { stream, peer, jump: Some(connection) })
    }
}

/// A fault of a jump host is not one of the router behind it. Of several in a row the first that fails is named.
fn through(jump: &Router, fault: SshFault) -> SshFault {
    match fault {
        SshFault::Jump { .. } => fault,
        fault => SshFault::Jump { jump: jump.name.clone(), fault: Box::new(fault) },
    }
}

/// A connection to a jump host, or why there was none a moment ago.
#[derive(Default)]
struct Shared {
    connection: Weak<SshConnection>,
    fault: Option<JumpFault>,
    /// The number of reloads when it was last tried.
    reloads: u64,
}

struct JumpFault {
    fault: SshFault,
    /// When it is tried again; `None`: after a reload.
    until: Option<Instant>,
    /// Whether only an administrator can mend it, and the pauses.
    is_lasting: bool,
    pauses: Backoff,
}

impl JumpFault {
    fn new(jump: &Router, fault: SshFault, earlier: Option<JumpFault>) -> JumpFault {
        let is_lasting =
            !matches!(fault, SshFault::Unreachable(_) | SshFault::NoChannel(_) | SshFault::Held(_));
        let is_refused = matches!(fault, SshFault::Refused(_));
        let retry = Duration::from_secs(jump.login_retry);
        let pauses = earlier.filter(|earlier| earlier.is_lasting == is_lasting);
        let mut pauses = pauses.map_or_else(
            || match (is_lasting, is_refused) {
                (true, true) => Backoff::new(retry, LONG_PAUSES[1].max(retry)),
                (true, false) => Backoff::new(LONG_PAUSES[0], LONG_PAUSES[1]),
                (false, _) => Backoff::new(PAUSES[0], PAUSES[1]),
            },
            |earlier| earlier.pauses,
        );
        let is_final = is_refused && retry.is_zero();
        let until = (!is_final).then(|| Instant::now() + pauses.pause());
        JumpFault { fault, until, is_lasting, pauses }
    }
}

type Slot = Arc<tokio::sync::Mutex<(Option<Router>, Shared)>>;

type Opening = Pin<Box<dyn Future<Output = Result<Arc<SshConnection>, SshFault>> + Send>>;

/// One connection to a jump host carries those to all routers behind it: it is asked for one login. That goes on if the
/// router that needs it gives up, so that its fault is known to the next one.
async fn shared(jump: &Arc<Router>) -> Result<Arc<SshConnection>, SshFault> {
    let opened = tokio::spawn(open_shared(Arc::clone(jump))).await;
    opened.unwrap_or_else(|_| Err(SshFault::Unreachable("its task ended".into())))
}

/// Boxed, because a jump host may itself be behind another one.
fn open_shared(jump: Arc<Router>) -> Opening {
    static SLOTS: Mutex<Option<HashMap<RouterName, Slot>>> = Mutex::new(None);
    Box::pin(async move {
        let slot = {
            let mut slots = lock(&SLOTS);
            Arc::clone(slots.get_or_insert_default().entry(jump.name.clone()).or_default())
        };
        let mut slot = slot.lock().await;
        let (of, shared) = &mut *slot;
        if of.as_ref() != Some(&*jump) {
            (*of, *shared) = (Some((*jump).clone()), Shared::default()); // configured differently
        }
        if let Some(connection) = shared.connection.upgrade().filter(|open| !open.is_closed()) {
            return Ok(connection);
        }
        let reloads = RELOADS.load(Relaxed);
        if shared.reloads != reloads {
            (shared.reloads, shared.fault) = (reloads, None);
        }
        if let Some(JumpFault { fault, until, .. }) = &shared.fault
            && until.is_none_or(|until| until > Instant::now())
        {
            return Err(fault.clone());
        }
        match SshConnection::open_hop(&jump, Hop::of_jump(&jump), None).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                (shared.connection, shared.fault) = (Arc::downgrade(&connection), None);
                Ok(connection)
            }
            Err(fault) => {
                let earlier = shared.fault.take();
                shared.fault = Some(JumpFault::new(&jump, fault.clone(), earlier));
                Err(fault)
            }
        }
    })
}
