//! Follows the log of a router.

use std::future::ready;

use russh::ChannelMsg;
use tokio::task::unconstrained;

use crate::{
    log_line::LogLine,
    ssh::{OpenChannel, SshConnection, SshFault},
};

/// The log of a router from now on.
pub struct LogFollower {
    channel: OpenChannel,
    filtered: bool,
    /// The beginning of the output, which is an error message if the command fails.
    beginning: Vec<u8>,
    /// Received during [`LogFollower::meanwhile`].
    buffered: Vec<u8>,
}

pub enum LogEvent {
    Bytes(Vec<u8>),
    /// The router does not support the filter.
    FilterUnsupported,
}

const ALL: &str = "/log print follow-only";
const FILTERED: &str = "/log print follow-only where topics~\"system\"";
/// Bytes of the log that are buffered, at most. Further ones are dropped: the next export shows the changes, but not who
/// made them.
const MAX_BUFFERED: usize = 1 << 20;
/// Bytes of an error message.
const MAX_BEGINNING: usize = 200;

impl LogFollower {
    pub async fn start(
        connection: &SshConnection,
        filtered: bool,
    ) -> Result<LogFollower, SshFault> {
        let channel = connection.start(if filtered { FILTERED } else { ALL }).await?;
        Ok(LogFollower { channel, filtered, beginning: Vec::new(), buffered: Vec::new() })
    }

    /// Runs `other` and buffers the log meanwhile. Returns `None` if the router does not support the filter.
    pub async fn meanwhile<T>(
        &mut self,
        other: impl Future<Output = T>,
    ) -> Result<Option<T>, SshFault> {
        let mut other = std::pin::pin!(other);
        let mut buffered = Vec::new();
        let done = loop {
            tokio::select! {
                done = &mut other => break done,
                event = self.next() => match event? {
                    LogEvent::Bytes(bytes) if buffered.len() < MAX_BUFFERED => buffered.extend(bytes),
                    LogEvent::Bytes(_) => {}
                    LogEvent::FilterUnsupported => return Ok(None),
                }
            }
        };
        self.buffered = buffered;
        Ok(Some(done))
    }

    pub async fn next(&mut self) -> Result<LogEvent, SshFault> {
        if !self.buffered.is_empty() {
            return Ok(LogEvent::Bytes(std::mem::take(&mut self.buffered)));
        }
        loop {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    if self.beginning.len() < MAX_BEGINNING {
                        self.beginning.extend_from_slice(&data[..data.len().min(MAX_BEGINNING)]);
                    }
                    return Ok(LogEvent::Bytes(data.to_vec()));
                }
                Some(ChannelMsg::Close | ChannelMsg::Failure) => return self.ended(),
                Some(_) => {}
                None => return Err(SshFault::Unreachable("the connection broke".into())),
            }
        }
    }

    /// The next event, if it has arrived.
    pub async fn received(&mut self) -> Option<Result<LogEvent, SshFault>> {
        tokio::select! {
            biased;
            event = unconstrained(self.next()) => Some(event),
            () = ready(()) => None,
        }
    }

    /// The command ended: the connection was closed, or the router does not support it.
    fn ended(&self) -> Result<LogEvent, SshFault> {
        let beginning = String::from_utf8_lossy(&self.beginning);
        let first = beginning.trim().lines().next().unwrap_or_default();
        if first.is_empty() || LogLine::parse(first).is_some() {
            return Err(SshFault::Unreachable("the router ended the log".into()));
        }
        if self.filtered {
            return Ok(LogEvent::FilterUnsupported);
        }
        let first: String = first.chars().filter(|c| !c.is_control()).collect();
        Err(SshFault::Local(format!("the router does not print its log: {first}")))
    }
}
