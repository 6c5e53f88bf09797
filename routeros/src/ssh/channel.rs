//! Channels of a connection: of commands, of SFTP, and of connections through a jump host.

use std::{future::Future, sync::Arc};

use russh::{
    Channel, ChannelMsg,
    client::{Handle, Msg},
};
use tokio::{
    runtime,
    sync::{OwnedSemaphorePermit, watch},
    time::timeout,
};

use super::{STEP_TIMEOUT, handshake::HostKeyCheck};

/// A channel that is closed however its use ends, so that the router ends its command: one of russh that is only dropped
/// stays open, and its command runs.
pub struct OpenChannel {
    /// `None` once it is closed.
    channel: Option<Channel<Msg>>,
    closer: Closer,
}

/// What closes the channel.
pub(super) struct Closer {
    pub handle: Arc<Handle<HostKeyCheck>>,
    /// The sender ends with the connection.
    pub connection: watch::Receiver<()>,
    /// Returned once the router has taken the close.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl OpenChannel {
    pub(super) fn new(channel: Channel<Msg>, closer: Closer) -> OpenChannel {
        OpenChannel { channel: Some(channel), closer }
    }

    /// The channel, unless it is closed.
    pub fn get(&mut self) -> Option<&mut Channel<Msg>> {
        self.channel.as_mut()
    }

    /// The channel, for a use that closes it.
    pub fn take(mut self) -> Option<Channel<Msg>> {
        self.channel.take()
    }

    /// The next message; `None` if the connection broke or the channel is closed.
    pub async fn wait(&mut self) -> Option<ChannelMsg> {
        let message = self.channel.as_mut()?.wait().await;
        if matches!(message, Some(ChannelMsg::Close) | None) {
            self.channel = None;
        }
        message
    }

    /// Closes the channel. Returns whether the router has taken that within [`STEP_TIMEOUT`].
    pub async fn end(mut self) -> bool {
        let Some(closing) = self.close() else { return true };
        matches!(timeout(STEP_TIMEOUT, tokio::spawn(closing)).await, Ok(Ok(true)))
    }

    /// Closes the channel, and waits until the router has taken that: the reply to a later request shows it, because a router
    /// takes them in order. RouterOS then ends the command; a command under OpenSSH goes on until it reads or writes. The
    /// router's own close would not show that either, and russh drops it.
    fn close(&mut self) -> Option<impl Future<Output = bool> + Send + 'static> {
        // What still arrives is dropped: if it waited here, the connection would wait too.
        let (_, channel) = self.channel.take()?.split();
        let handle = Arc::clone(&self.closer.handle);
        let (mut connection, permit) = (self.closer.connection.clone(), self.closer.permit.take());
        Some(async move {
            let _permit = permit;
            let close = async {
                channel.close().await.ok()?;
                handle.send_ping().await.ok()
            };
            tokio::select! {
                closed = close => closed.is_some() && !handle.is_closed(),
                _ = connection.changed() => false,
            }
        })
    }
}

impl Drop for OpenChannel {
    fn drop(&mut self) {
        if let Some(closing) = self.close()
            && let Ok(runtime) = runtime::Handle::try_current()
        {
            runtime.spawn(closing);
        }
    }
}
