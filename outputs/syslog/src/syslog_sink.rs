//! Sends messages to the daemon: to the local one and over UDP as one datagram each, at once; over TCP in
//! batches, at each `flush`.
//!
//! Syslog has no acknowledgements. A message counts as delivered once the kernel has accepted it; over TCP,
//! the sink checks before and after each batch whether the daemon has closed the connection.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use aw_output::{Entry, Fault, Sink, SinkResult};
use shm_layout::{Position, RingName};

use crate::{
    Framing,
    destination::{Destination, SyslogConnection},
    message::MessageFormat,
};

/// For a batch over TCP; each write has a shorter limit.
const BATCH_TIME: Duration = Duration::from_secs(10);
/// Bytes that are discarded at a time.
const MAX_RECEIVED: usize = 64 * 1024;

pub struct SyslogSink {
    to: Destination,
    framing: Framing,
    format: MessageFormat,
    connection: Option<SyslogConnection>,
    message: String,
    /// For TCP: the messages that `flush` sends.
    batch: String,
    /// The last event of each ring in this batch that the daemon has received. After a failure the events
    /// of the batch are written again, and these are not sent twice.
    sent: HashMap<RingName, Position>,
}

impl SyslogSink {
    pub fn new(to: Destination, framing: Framing, format: MessageFormat) -> SyslogSink {
        SyslogSink {
            to,
            framing,
            format,
            connection: None,
            message: String::new(),
            batch: String::new(),
            sent: HashMap::new(),
        }
    }

    fn fault(&self, error: io::Error) -> Fault {
        let why = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => "it accepts no data".into(),
            ErrorKind::InvalidData => error.to_string(),
            _ => self.to.why(error),
        };
        Fault::Down(format!("send to {}: {why}", self.to))
    }

    /// Runs an operation on the connection, which is opened if there is none; tries it again once if an
    /// open connection fails, because the daemon may have been restarted.
    fn with_connection(
        &mut self,
        act: impl Fn(&mut SyslogConnection) -> io::Result<()>,
    ) -> SinkResult {
        let mut again = self.connection.is_some();
        loop {
            let connection = self.connection.take().map_or_else(|| self.to.connect(), Ok);
            let done = connection.and_then(|mut open| act(&mut open).map(|()| open));
            match done {
                Ok(open) => {
                    self.connection = Some(open);
                    return Ok(());
                }
                Err(error)
                    if again
                        && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    again = false;
                }
                Err(error) => return Err(self.fault(error)),
            }
        }
    }

    fn is_sent(&self, entry: &Entry) -> bool {
        self.sent.get(entry.ring).is_some_and(|sent| {
            sent.generation == entry.position.generation && entry.position.sequence <= sent.sequence
        })
    }
}

impl Sink for SyslogSink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        if self.is_sent(entry) {
            return Ok(());
        }
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        self.format.write(entry, &mut message);
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
        let sent = self.with_connection(|connection| match connection {
            SyslogConnection::Local(socket) => socket.send(message.as_bytes()).map(drop),
            SyslogConnection::Udp(socket) => socket.send(message.as_bytes()).map(drop),
            SyslogConnection::Tcp(_) => Ok(()),
        });
        self.message = message;
        // Not over UDP: there, an error may belong to an earlier datagram.
        if sent.is_ok() && self.to.is_local() {
            self.sent.insert(entry.ring.clone(), entry.position);
        }
        sent
    }

    fn flush(&mut self) -> SinkResult {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            self.with_connection(|connection| match connection {
                SyslogConnection::Tcp(socket) => {
                    check_open(socket)?;
                    write_in_time(socket, batch.as_bytes())?;
                    check_open(socket)
                }
                _ => Ok(()),
            })?;
        }
        self.sent.clear();
        Ok(())
    }

    /// Also over TCP: the kernel sends the data that it has accepted.
    fn survives_kill(&self) -> bool {
        true
    }

    fn spool_is_empty(&self) -> &'static str {
        match self.to {
            Destination::Udp(_) => {
                "messages can be sent again: all events in the spool are sent; UDP does not show whether they arrive"
            }
            _ => "the destination is back: all events in the spool are delivered",
        }
    }

    fn reopen(&mut self) -> SinkResult {
        self.connection = None;
        Ok(())
    }
}

/// Writes all; a peer that takes a byte now and then does not hold the program.
fn write_in_time(socket: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + BATCH_TIME;
    while !bytes.is_empty() {
        if Instant::now() >= end {
            return Err(ErrorKind::TimedOut.into());
        }
        match socket.write(bytes)? {
            0 => return Err(ErrorKind::WriteZero.into()),
            written => bytes = &bytes[written..],
        }
    }
    Ok(())
}

/// Fails if the peer has closed the connection. Received data is discarded; a daemon that sends without end is not a
/// syslog daemon.
fn check_open(socket: &mut TcpStream) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let (mut bytes, mut received) = ([0; 512], 0);
    let end = loop {
        match socket.read(&mut bytes) {
            Ok(0) => break Err(ErrorKind::BrokenPipe.into()),
            Ok(read) => {
                received += read;
                if received > MAX_RECEIVED {
                    break Err(io::Error::new(ErrorKind::InvalidData, "it sends data without end"));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    socket.set_nonblocking(false)?;
    end
}
