//! An SSH connection to a router. A router is trusted only by its pinned host key, and its answers are bounded in size and
//! time.

mod algorithms;
mod channel;
mod fault;
mod handshake;
mod login;
mod tcp;
mod transport;

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use russh::{
    Channel, ChannelMsg, Disconnect,
    client::{Handle, Msg},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

use self::{
    channel::Closer,
    fault::fault,
    handshake::{HostKeyCheck, connect},
    login::Credentials,
};
pub use self::{channel::OpenChannel, fault::SshFault, transport::retry_jumps};
use crate::{
    config::Router,
    host_key::HostKey,
    login_gate::{self, Entry, Hop},
    sftp::{self, SftpFault},
};

/// Bytes of an answer, at most.
pub const MAX_ANSWER: usize = (16 << 20) - (64 << 10);
/// The time limit for each step: resolve the name, connect to one address, exchange keys, log in.
const STEP_TIMEOUT: Duration = Duration::from_secs(20);
/// The time limit for all of them but the login.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
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

impl SshConnection {
    pub async fn open(router: &Router) -> Result<SshConnection, SshFault> {
        SshConnection::open_with(router, None).await
    }

    /// With the right to connect, if the router waited for it.
    pub async fn open_with(
        router: &Router,
        entry: Option<Entry>,
    ) -> Result<SshConnection, SshFault> {
        SshConnection::open_hop(router, Hop::Last, entry).await
    }

    async fn open_hop(
        router: &Router,
        hop: Hop,
        mut entry: Option<Entry>,
    ) -> Result<SshConnection, SshFault> {
        let credentials = Credentials::read(router)?;
        if entry.is_none() {
            entry = login_gate::enter(router, hop, credentials.hash())?;
        }
        let opened = timeout(OPEN_TIMEOUT, connect(router)).await.map_err(|_| no_answer())?;
        let (mut handle, peer, jump) = opened?;
        entry.iter_mut().for_each(|entry| entry.was_there = true);
        let login_try = login_gate::begin(router, hop).await?;
        drop(entry);
        let login = credentials.log_in(&mut handle, router);
        let late = |_| Err(SshFault::Unreachable("no answer to the login".into()));
        let result = timeout(STEP_TIMEOUT, login).await.unwrap_or_else(late);
        login_try.end(result, handle.is_closed(), || login::cut_twice(router))?;
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

fn no_answer() -> SshFault {
    SshFault::Unreachable("no answer".into())
}
