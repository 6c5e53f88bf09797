//! Messages to the daemon. To one of this machine and over UDP each is a datagram, and sent at once;
//! over TCP they are collected until `flush`.
//!
//! Syslog has no receipts. What the daemon's kernel has taken counts as delivered; before and after
//! each batch over TCP it is asked whether the daemon has closed the connection.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

use aw_output::{Entry, Fault, Result, Sink, explain};
use shm_layout::{Position, RingName};

use crate::{
    Framing,
    destination::{Destination, Way},
    message::Writer,
};

pub struct Sender {
    to: Destination,
    framing: Framing,
    writer: Writer,
    way: Option<Way>,
    message: String,
    /// For TCP: what `flush` sends.
    batch: String,
    /// Where each ring's events of this batch end that the daemon has already; after a failure they
    /// are handed over again, and need not be sent again.
    sent: HashMap<RingName, Position>,
}

impl Sender {
    pub fn new(to: Destination, framing: Framing, writer: Writer) -> Sender {
        Sender {
            to,
            framing,
            writer,
            way: None,
            message: String::new(),
            batch: String::new(),
            sent: HashMap::new(),
        }
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "it takes nothing".into(),
            _ => explain(error),
        };
        Fault::Down(format!("send to {}: {why}", self.to))
    }

    /// Does something on the way there, which is made if there is none; once more if the daemon was
    /// restarted since.
    fn with(&mut self, act: impl Fn(&mut Way) -> io::Result<()>) -> Result {
        let mut again = self.way.is_some();
        loop {
            let way = self.way.take().map_or_else(|| self.to.connect(), Ok);
            let done = way.and_then(|mut way| act(&mut way).map(|()| way));
            match done {
                Ok(way) => {
                    self.way = Some(way);
                    return Ok(());
                }
                Err(error) if again && error.kind() != ErrorKind::WouldBlock => again = false,
                Err(error) => return Err(self.fault(&error)),
            }
        }
    }

    fn has(&self, entry: &Entry) -> bool {
        self.sent.get(entry.ring).is_some_and(|sent| {
            sent.generation == entry.position.generation && entry.position.sequence <= sent.sequence
        })
    }
}

impl Sink for Sender {
    fn write(&mut self, entry: &Entry) -> Result {
        if self.has(entry) {
            return Ok(());
        }
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        self.writer.write(entry, &mut message);
        if let Destination::Tcp(_) = self.to {
            match self.framing {
                Framing::Newline => self.batch.extend([message.as_str(), "\n"]),
                Framing::Counted => {
                    self.batch.extend([&message.len().to_string(), " ", message.as_str()]);
                }
            }
            self.message = message;
            return Ok(());
        }
        let sent = self.with(|way| match way {
            Way::Local(socket) => socket.send(message.as_bytes()).map(drop),
            Way::Udp(socket) => socket.send(message.as_bytes()).map(drop),
            Way::Tcp(_) => Ok(()),
        });
        self.message = message;
        // Not over UDP: a refusal there is the answer to an earlier one.
        if sent.is_ok() && self.to.is_local() {
            self.sent.insert(entry.ring.clone(), entry.position);
        }
        sent
    }

    fn flush(&mut self) -> Result {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.with(|way| match way {
                Way::Tcp(socket) => {
                    is_open(socket)?;
                    socket.write_all(batch.as_bytes())?;
                    is_open(socket)
                }
                _ => Ok(()),
            })?;
        }
        self.sent.clear();
        Ok(())
    }

    /// Also over TCP: what the kernel has of a batch, it goes on sending.
    fn survives_kill(&self) -> bool {
        true
    }

    fn reopen(&mut self) -> Result {
        self.way = None;
        Ok(())
    }
}

/// Whether the other side still listens. What it says is of no interest.
fn is_open(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut bytes = [0; 512];
    let end = loop {
        match socket.read(&mut bytes) {
            Ok(0) => break Err(ErrorKind::BrokenPipe.into()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    socket.set_nonblocking(false)?;
    end
}
