//! The sockets, which are opened before the sandbox is entered.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use aw_service::Error;
use serde::{Deserialize, Serialize};

/// What to do about a denied port.
pub const DENIED: &str =
    " (ports below 1024 need CAP_NET_BIND_SERVICE: set syslog to a higher one, such as 5514)";

/// Where to listen: `PORT`, `ADDRESS:PORT` or `[IPv6]:PORT`.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddress {
    /// `None`: all addresses.
    address: Option<IpAddr>,
    port: u16,
}

impl TryFrom<String> for ListenAddress {
    type Error = String;

    fn try_from(text: String) -> Result<ListenAddress, String> {
        let fault = || {
            format!("syslog {text:?}: must be PORT, ADDRESS:PORT or [IPv6]:PORT, such as \"5514\"")
        };
        let (address, port) = match text.parse::<u16>() {
            Ok(port) => (None, port),
            Err(_) => {
                let socket: SocketAddr = text.parse().map_err(|_| fault())?;
                (Some(socket.ip()), socket.port())
            }
        };
        if port == 0 { Err(fault()) } else { Ok(ListenAddress { address, port }) }
    }
}

impl From<ListenAddress> for String {
    fn from(listen: ListenAddress) -> String {
        match listen.address {
            Some(address) => SocketAddr::new(address, listen.port).to_string(),
            None => listen.port.to_string(),
        }
    }
}

impl ListenAddress {
    /// Whether only some processes may listen at the port.
    pub fn is_low(&self) -> bool {
        self.port < 1024
    }

    /// Whether what listens at this address keeps another process from listening at the other one.
    pub fn is_used_by(&self, other: &ListenAddress) -> bool {
        let is_wide = self.address.is_none() || other.address.is_none();
        self.port == other.port && (is_wide || self.address == other.address)
    }
}

pub struct SyslogSockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl SyslogSockets {
    pub fn open(listen: &ListenAddress) -> Result<SyslogSockets, Error> {
        let both = |ip: IpAddr| -> io::Result<SyslogSockets> {
            let address = SocketAddr::new(ip, listen.port);
            let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
            udp.set_nonblocking(true)?;
            tcp.set_nonblocking(true)?;
            Ok(SyslogSockets { udp, tcp })
        };
        // An IPv6 socket receives IPv4 too. Machines without IPv6 have IPv4 only.
        let opened = match listen.address {
            Some(address) => both(address),
            None => both(Ipv6Addr::UNSPECIFIED.into()).or_else(|error| match error.kind() {
                io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable => {
                    both(Ipv4Addr::UNSPECIFIED.into())
                }
                _ if error.raw_os_error()
                    == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
                {
                    both(Ipv4Addr::UNSPECIFIED.into())
                }
                _ => Err(error),
            }),
        };
        opened.map_err(|error| {
            let help = match error.kind() {
                io::ErrorKind::PermissionDenied => DENIED,
                io::ErrorKind::AddrInUse => {
                    " (another program listens there: set syslog to another port)"
                }
                _ => "",
            };
            let cause = aw_service::cause(&error);
            aw_service::failed(format_args!(
                "listen for syslog on port {}: {cause}{help}",
                listen.port
            ))
        })
    }

    pub fn into_async(self) -> io::Result<(tokio::net::UdpSocket, tokio::net::TcpListener)> {
        Ok((
            tokio::net::UdpSocket::from_std(self.udp)?,
            tokio::net::TcpListener::from_std(self.tcp)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse = |text: &str| ListenAddress::try_from(text.to_owned());
        assert_eq!(parse("5514"), Ok(ListenAddress { address: None, port: 5514 }));
        let one = ListenAddress { address: Some([192, 0, 2, 1].into()), port: 514 };
        assert_eq!(parse("192.0.2.1:514"), Ok(one));
        assert!(parse("[2001:db8::1]:514").is_ok());
        for text in ["", "0", "192.0.2.1", "host:514", "192.0.2.1:0", ":514", "70000"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
