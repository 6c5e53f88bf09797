//! The log of a router as it grows.

use russh::ChannelMsg;

use crate::{
    line::Line,
    ssh::{Fault, Session},
};

/// The log as it grows.
pub struct Following {
    channel: russh::Channel<russh::client::Msg>,
    commands: std::slice::Iter<'static, &'static str>,
    said: Vec<u8>,
}

const FILTERED: &[&str] =
    &["/log print follow-only where topics~\"system\"", "/log print follow-only"];

impl Following {
    /// Asks for it.
    pub async fn start(session: &Session, filter: bool) -> Result<Following, Fault> {
        let mut commands = if filter { FILTERED } else { &FILTERED[1..] }.iter();
        let first = commands.next().copied().unwrap_or_default();
        Ok(Following { channel: session.start(first).await?, commands, said: Vec::new() })
    }

    /// Asks for it with the next command.
    pub async fn restart(&mut self, session: &Session, command: &str) -> Result<(), Fault> {
        self.said.clear();
        self.channel = session.start(command).await?;
        Ok(())
    }

    /// What comes next.
    pub async fn next(&mut self) -> Result<Heard, Fault> {
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
        match self.commands.next() {
            Some(command) => Ok(Heard::Refusal(command)),
            None => {
                let first: String = first.chars().filter(|c| !c.is_control()).collect();
                Err(Fault::Local(format!("the router does not show its log: {first}")))
            }
        }
    }
}

/// What comes from the router while it is followed.
pub enum Heard {
    /// More of its log.
    Bytes(Vec<u8>),
    /// It does not understand the command; the next one to try.
    Refusal(&'static str),
}
