//! Receives log lines that routers send to a syslog server, by UDP and TCP, for routers whose own log does not have them.
//!
//! Their senders are not authenticated: a line can at most trigger an export and name a candidate. Only the addresses
//! of the routers may send; memory, connections, lengths and rates are bounded.

mod framing;
mod message;
mod senders;
mod sockets;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use aw_service::{Condition, explain};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream, UdpSocket},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};

use self::framing::Framer;
pub use self::{
    senders::{SyslogLines, SyslogSenders},
    sockets::{DENIED, ListenAddress, SyslogSockets},
};

/// Connections of one sender, at most. A further one replaces the oldest, which a router that was switched off left open.
const PER_SENDER: usize = 4;
/// Connections of all senders, at most.
const CONNECTIONS: usize = 1024;
/// Bytes of a datagram, at most; the rest is cut.
const MAX_DATAGRAM: usize = 16 << 10;
/// Datagrams, and bytes of a connection, that are read in a [`PERIOD`], at most.
const DATAGRAMS: usize = 1000;
const BYTES: usize = 256 << 10;
const PERIOD: Duration = Duration::from_millis(100);
/// A message without an end is complete after this time: RouterOS marks no ends in its formats `default` and `syslog`.
const QUIET: Duration = Duration::from_secs(2);

/// Receives until the event loop ends.
pub async fn listen(sockets: SyslogSockets, senders: Arc<SyslogSenders>) {
    let (udp, tcp) = match sockets.into_async() {
        Ok(sockets) => sockets,
        Err(error) => {
            aw_service::warn(format_args!("receive syslog: {}", explain(&error)));
            return;
        }
    };
    tokio::join!(receive(udp, Arc::clone(&senders)), accept(tcp, senders));
}

async fn receive(socket: UdpSocket, senders: Arc<SyslogSenders>) {
    let mut buffer = vec![0; MAX_DATAGRAM];
    let (mut fault, mut rate) = (Condition::default(), Rate::new());
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                fault.ends("receive syslog by UDP: works again");
                senders.received(from.ip(), &buffer[..length]);
                rate.spend(1, DATAGRAMS).await;
            }
            Err(error) => {
                fault.begins(format_args!("receive syslog by UDP: {}", explain(&error)));
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn accept(listener: TcpListener, senders: Arc<SyslogSenders>) {
    let mut fault = Condition::default();
    let mut all = JoinSet::new();
    let mut by_sender: HashMap<IpAddr, VecDeque<AbortHandle>> = HashMap::new();
    loop {
        let accepted = listener.accept().await;
        while all.try_join_next().is_some() {}
        match accepted {
            Ok((stream, from)) => {
                fault.ends("accept syslog connections: works again");
                let from = from.ip().to_canonical();
                if !senders.allows(from) || all.len() >= CONNECTIONS {
                    continue; // counted by `allows`; the stream is closed
                }
                by_sender.retain(|_, running| {
                    running.retain(|task| !task.is_finished());
                    !running.is_empty()
                });
                let running = by_sender.entry(from).or_default();
                if running.len() >= PER_SENDER
                    && let Some(oldest) = running.pop_front()
                {
                    oldest.abort();
                }
                running.push_back(all.spawn(read(stream, from, Arc::clone(&senders))));
            }
            Err(error) => {
                fault.begins(format_args!("accept syslog connections: {}", explain(&error)));
                sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn read(mut stream: TcpStream, from: IpAddr, senders: Arc<SyslogSenders>) {
    let (mut framer, mut rate) = (Framer::default(), Rate::new());
    let mut buffer = vec![0; 8 << 10];
    loop {
        let read = stream.read(&mut buffer);
        let read = match framer.is_empty() {
            true => Ok(read.await), // a router may log nothing for days
            false => timeout(QUIET, read).await,
        };
        let (messages, ended) = match read {
            Ok(Ok(length)) if length > 0 => {
                rate.spend(length, BYTES).await;
                (framer.feed(&buffer[..length]), false)
            }
            Ok(_) => (framer.flush(), true),
            Err(_) => (framer.flush(), false),
        };
        messages.iter().for_each(|message| senders.received(from, message));
        if ended {
            return;
        }
    }
}

/// Limits what is read in a period.
struct Rate {
    period: Instant,
    spent: usize,
}

impl Rate {
    fn new() -> Rate {
        Rate { period: Instant::now(), spent: 0 }
    }

    /// Waits for the next period if this one has had its `limit`.
    async fn spend(&mut self, amount: usize, limit: usize) {
        self.spent += amount;
        if self.period.elapsed() >= PERIOD {
            (self.period, self.spent) = (Instant::now(), amount);
        } else if self.spent >= limit {
            sleep_until(self.period + PERIOD).await;
            (self.period, self.spent) = (Instant::now(), 0);
        }
    }
}
