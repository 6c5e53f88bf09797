//! The UDP socket that receives the reports of routers (`--macupd`).

use std::{
    fs::File,
    io::{ErrorKind, Read, Seek},
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        linux::fs::MetadataExt,
    },
};

use aw_service::cause;
use ipnet::{IpNet, Ipv4Net};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use shm_layout::{Counter, InterfaceName, UnixTime};

use crate::{
    Error, failed, info,
    macupd::{MAX_LENGTH, event, lines},
    pipeline::Pipeline,
};

/// Senders allowed by default: loopback, private and link-local addresses (RFC 1918, RFC 3927).
const DEFAULT_SENDERS: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// Bytes of the kernel's receive buffer, if the kernel allows it: a tenth of a second at 50,000 datagrams a
/// second, each of which takes 768 bytes.
const BUFFER: usize = 4 << 20;

/// Name of the counters of all routers.
const COUNTERS_NAME: &str = "(macupd)";

/// The socket, its counters and its allowed senders.
pub struct MacupdSocket {
    socket: UdpSocket,
    address: SocketAddrV4,
    allowed: Vec<Ipv4Net>,
    counters: InterfaceName,
    drops: Option<DropCount>,
    /// Drops that were not logged yet.
    pub unlogged_drops: u64,
}

impl MacupdSocket {
    /// Binds the socket. `from`: the allowed senders; empty means [`DEFAULT_SENDERS`].
    pub fn open(address: SocketAddrV4, from: &[IpNet]) -> Result<MacupdSocket, Error> {
        let fault = |error: std::io::Error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => {
                    " (stop the program that uses this port, or choose another one with --macupd)"
                }
                _ => "",
            };
            failed(format_args!("receive MACupd on {address}: {}{hint}", cause(&error)))
        };
        let socket = UdpSocket::bind(address).map_err(fault)?;
        socket.set_nonblocking(true).map_err(fault)?;
        // Without the privilege the kernel limits the size to net.core.rmem_max.
        let _ = set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER));
        let v4 = |net: &IpNet| match net {
            IpNet::V4(net) => Ok(*net),
            IpNet::V6(net) => Err(failed(format_args!(
                "--macupd-from {net}: routers send IPv4 only (name an IPv4 address or network)"
            ))),
        };
        let mut allowed: Vec<_> = from.iter().map(v4).collect::<Result<_, _>>()?;
        if allowed.is_empty() {
            allowed = DEFAULT_SENDERS.to_vec();
            info(
                "MACupd reports are accepted from private, link-local and loopback addresses only (allow others with --macupd-from)",
            );
        }
        let counters = COUNTERS_NAME.parse().map_err(failed)?;
        let address = match socket.local_addr().map_err(fault)? {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => address,
        };
        let drops = DropCount::of(&socket).ok(); // without /proc drops are not counted
        Ok(MacupdSocket { socket, address, allowed, counters, drops, unlogged_drops: 0 })
    }

    /// The address that it is bound to.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Processes the datagrams that are there, at most `limit`; returns how many.
    pub fn read(&mut self, limit: usize, pipeline: &mut Pipeline) -> usize {
        let counters = pipeline.counters(self.counters);
        let mut bytes = [0; MAX_LENGTH + 1];
        for taken in 0..limit {
            let (length, sender) = match self.socket.recv_from(&mut bytes) {
                Ok((length, sender)) => (length, sender.ip()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
                // The error of another datagram, which could not be delivered: more may be queued.
                Err(_) => continue,
            };
            let IpAddr::V4(router) = sender else { continue }; // the socket is IPv4
            if !self.allowed.iter().any(|net| net.contains(&router)) {
                pipeline.process_report(counters, Err(Counter::MacupdSender));
            } else if length > MAX_LENGTH {
                pipeline.process_report(counters, Err(Counter::MacupdMalformed));
            } else {
                let now = UnixTime::now();
                for line in lines(&bytes[..length]) {
                    pipeline.process_report(counters, event(line, router, now));
                }
            }
        }
        limit
    }

    /// Counts the datagrams that the kernel dropped because the receive buffer was full.
    pub fn count_drops(&mut self, pipeline: &mut Pipeline) {
        let new = self.drops.as_mut().map_or(0, DropCount::new_drops);
        let counters = pipeline.counters(self.counters);
        pipeline.count_kernel_drops(counters, new);
        self.unlogged_drops += new;
    }
}

impl AsFd for MacupdSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel's count of datagrams that it dropped because the buffer was full: the last column of
/// /proc/net/udp, in the line of the socket's inode (proc_pid_net(5)).
struct DropCount {
    table: File,
    inode: String,
    counted: u64,
}

impl DropCount {
    fn of(socket: &UdpSocket) -> std::io::Result<DropCount> {
        let inode = File::from(socket.as_fd().try_clone_to_owned()?).metadata()?.st_ino();
        let table = File::open("/proc/self/net/udp")?;
        Ok(DropCount { table, inode: inode.to_string(), counted: 0 })
    }

    fn new_drops(&mut self) -> u64 {
        let mut text = String::new();
        if self.table.rewind().and_then(|()| self.table.read_to_string(&mut text)).is_err() {
            return 0;
        }
        let mut lines = text.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
        let line = lines.find(|fields| fields.get(9) == Some(&self.inode.as_str()));
        let dropped = line.and_then(|fields| fields.last()?.parse().ok()).unwrap_or(self.counted);
        let new = dropped - self.counted.min(dropped);
        self.counted = dropped;
        new
    }
}
