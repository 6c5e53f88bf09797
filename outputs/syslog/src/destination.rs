//! The address of a syslog daemon, and the connection to it.

use std::{
    fmt, io,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    str::FromStr,
    time::{Duration, Instant},
};

use aw_output::{Access, HostPort};
use aw_service::{connection_fault, explain, resolve, syslog_fault};
use rustix::net::sockopt::{set_socket_keepalive, set_tcp_user_timeout};

/// The port of syslog daemons (RFC 5426, 3.3).
const PORT: u16 = 514;
/// The longest wait for a connection and for a write: events wait meanwhile.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long sent data may stay unacknowledged by the peer.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Local(PathBuf),
    Udp(HostPort),
    Tcp(HostPort),
}

/// An open connection to the daemon.
pub enum SyslogConnection {
    Local(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: &str = "must be a socket's path, udp://HOST[:PORT] or tcp://HOST[:PORT]";
        if text.starts_with('/') {
            return Ok(Destination::Local(text.into()));
        }
        let (scheme, server) = text.split_once("://").ok_or(BAD)?;
        let server = HostPort::parse(server, PORT).map_err(|_| BAD)?;
        match scheme {
            "udp" => Ok(Destination::Udp(server)),
            "tcp" => Ok(Destination::Tcp(server)),
            _ => Err(BAD),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Local(path) => write!(f, "{}", path.display()),
            Destination::Udp(server) => write!(f, "{server} over UDP"),
            Destination::Tcp(server) => write!(f, "{server} over TCP"),
        }
    }
}

impl Destination {
    pub fn is_local(&self) -> bool {
        matches!(self, Destination::Local(_))
    }

    /// What a connection shows: over UDP, nothing answers.
    pub fn tried(&self) -> String {
        match self {
            Destination::Udp(_) => {
                format!("a datagram can be sent to {self}; UDP does not show whether it arrives")
            }
            _ => format!("{self} can be reached"),
        }
    }

    /// The files and ports that a connection needs.
    pub fn access(&self) -> Vec<Access> {
        match self {
            Destination::Local(_) => Vec::new(),
            Destination::Udp(_) => Access::host_names(),
            Destination::Tcp(server) => {
                [Access::host_names(), vec![Access::Connect(server.port)]].concat()
            }
        }
    }

    /// The address families that a connection needs.
    pub fn sockets(&self) -> Vec<i32> {
        if self.is_local() { vec![libc::AF_UNIX] } else { vec![libc::AF_INET, libc::AF_INET6] }
    }

    /// Why no message can be sent, with what to do.
    pub fn why(&self, error: io::Error) -> String {
        match self {
            Destination::Local(path) => syslog_fault(error, path, Some("choose another with --to")),
            Destination::Udp(_) | Destination::Tcp(_) => {
                connection_fault(&explain(&error), "--to", "")
            }
        }
    }

    /// Connects; connecting and each write take two seconds at most.
    pub fn connect(&self) -> io::Result<SyslogConnection> {
        match self {
            Destination::Local(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(SyslogConnection::Local(socket))
            }
            Destination::Udp(server) => connect_first(server, |address| {
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                let socket = UdpSocket::bind(any)?;
                socket.connect(address)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                Ok(SyslogConnection::Udp(socket))
            }),
            Destination::Tcp(server) => connect_first(server, |address| {
                let socket = TcpStream::connect_timeout(&address, TIMEOUT)?;
                socket.set_write_timeout(Some(TIMEOUT))?;
                set_socket_keepalive(&socket, true)?;
                set_tcp_user_timeout(&socket, ACKNOWLEDGE_TIMEOUT.as_millis() as u32)?;
                Ok(SyslogConnection::Tcp(socket))
            }),
        }
    }
}

/// Connects to the first address of the server that accepts.
fn connect_first<T>(
    server: &HostPort,
    connect: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::other("the host name has no address");
    let end = Instant::now() + 3 * TIMEOUT;
    for address in resolve(server, 3 * TIMEOUT)? {
        match connect(address) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
        if Instant::now() >= end {
            break;
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let place = |host: &str, port| HostPort { host: host.into(), port };
        for (text, destination) in [
            ("/dev/log", Destination::Local("/dev/log".into())),
            ("udp://logs", Destination::Udp(place("logs", 514))),
            ("udp://192.0.2.1:1514", Destination::Udp(place("192.0.2.1", 1514))),
            ("tcp://logs.example.net:601", Destination::Tcp(place("logs.example.net", 601))),
            ("tcp://[2001:db8::1]", Destination::Tcp(place("2001:db8::1", 514))),
            ("tcp://[fe80::1%eth0]:601", Destination::Tcp(place("fe80::1%eth0", 601))),
        ] {
            assert_eq!(text.parse(), Ok(destination), "{text}");
        }
        let wrong = "|logs|tls://logs|udp://|udp://a:0|udp://a:b|udp://a b|tcp://[::1|tcp://[::1]601|\
            udp://a/b";
        for bad in wrong.split('|') {
            assert!(bad.parse::<Destination>().is_err(), "{bad}");
        }
    }
}
