//! The log of a router as it grows.

use russh::ChannelMsg;

use crate::{
    line::Line,
    ssh::{Fault, Session},
};

/// The log as it grows.
pub struct Following {
    channel: russh::Channel<russh::client::Msg>,
    filtered: bool,
    said: Vec<u8>,
    /// What came while something else was waited for.
    early: Vec<u8>,
}

const ALL: &str = "/log print follow-only";
const FILTERED: &str = "/log print follow-only where topics~\"system\"";
/// Bytes of the log that wait, at most. Beyond, they are dropped: the export that follows shows what
/// changed, though not by whom.
const MOST_EARLY: usize = 1 << 20;

impl Following {
    /// Asks for it.
    pub async fn start(session: &Session, filtered: bool) -> Result<Following, Fault> {
        let channel = session.start(if filtered { FILTERED } else { ALL }).await?;
        Ok(Following { channel, filtered, said: Vec::new(), early: Vec::new() })
    }

    /// Waits for something else, and keeps what comes. None: the router does not know the filter.
    pub async fn meanwhile<T>(
        &mut self,
        other: impl Future<Output = T>,
    ) -> Result<Option<T>, Fault> {
        let mut other = std::pin::pin!(other);
        let mut early = Vec::new();
        let done = loop {
            tokio::select! {
                done = &mut other => break done,
                heard = self.next() => match heard? {
                    Heard::Bytes(bytes) if early.len() < MOST_EARLY => early.extend(bytes),
                    Heard::Bytes(_) => {}
                    Heard::NoFilter => return Ok(None),
                }
            }
        };
        self.early = early;
        Ok(Some(done))
    }

    /// What comes next.
    pub async fn next(&mut self) -> Result<Heard, Fault> {
        if !self.early.is_empty() {
            return Ok(Heard::Bytes(std::mem::take(&mut self.early)));
        }
        loop {
            match self.channel.wait().await {
                Some(ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. }) => {
                    if self.said.len() < 200 {
                        self.said.extend_from_slice(&data[..data.len().min(200)]);
                    }
                    return Ok(Heard::Bytes(data.to_vec()));
                }
                Some(ChannelMsg::Close | ChannelMsg::Failure) => break,
                Some(_) => {}
                None => return Err(Fault::Unreachable("the connection broke".into())),
            }
        }
        let said = String::from_utf8_lossy(&self.said);
        let first = said.trim().lines().next().unwrap_or_default();
        if first.is_empty() || Line::parse(first).is_some() {
            return Err(Fault::Unreachable("it ended the log".into()));
        }
        if self.filtered {
            return Ok(Heard::NoFilter);
        }
        let first: String = first.chars().filter(|c| !c.is_control()).collect();
        Err(Fault::Local(format!("the router does not show its log: {first}")))
    }
}

/// What comes from the router while it is followed.
pub enum Heard {
    /// More of its log.
    Bytes(Vec<u8>),
    /// It does not understand the filter.
    NoFilter,
}
