//! The socket on which routers report (`--macupd`).

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

/// Who may report where nothing else was said: this machine, and whoever has a private or
/// link-local address (RFC 1918, RFC 3927).
const NEARBY: [Ipv4Net; 5] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// Bytes that the kernel keeps until they are read, if it lets us have so many: a tenth of a second
/// of 50,000 datagrams a second, each of which it counts as 768 bytes.
const BUFFER: usize = 4 << 20;

/// Name of the counters for all routers.
const ACCOUNT: &str = "(macupd)";

/// Datagrams of routers.
pub struct Routers {
    socket: UdpSocket,
    address: SocketAddrV4,
    allowed: Vec<Ipv4Net>,
    counters: InterfaceName,
    drops: Option<Drops>,
    untold: u64,
}

impl Routers {
    /// Binds the socket. `from`: who may report; none is [`NEARBY`].
    pub fn open(address: SocketAddrV4, from: &[IpNet]) -> Result<Routers, Error> {
        let fault = |error: std::io::Error| {
            let hint = match error.kind() {
                ErrorKind::AddrInUse => " (stop who has it, or choose another port with --macupd)",
                _ => "",
            };
            failed(format_args!("receive MACupd on {address}: {}{hint}", cause(&error)))
        };
        let socket = UdpSocket::bind(address).map_err(fault)?;
        socket.set_nonblocking(true).map_err(fault)?;
        // Without the privilege the kernel has a limit (net.core.rmem_max), and takes that.
        let _ = set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER));
        let v4 = |net: &IpNet| match net {
            IpNet::V4(net) => Ok(*net),
            IpNet::V6(net) => {
                Err(failed(format_args!("--macupd-from {net}: routers send IPv4 only")))
            }
        };
        let mut allowed: Vec<_> = from.iter().map(v4).collect::<Result<_, _>>()?;
        if allowed.is_empty() {
            allowed = NEARBY.to_vec();
            info(
                "MACupd is taken from private and link-local addresses only (--macupd-from names others)",
            );
        }
        let counters = ACCOUNT.parse().map_err(failed)?;
        let address = match socket.local_addr().map_err(fault)? {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => address,
        };
        let drops = Drops::of(&socket).ok(); // without /proc they are not counted
        Ok(Routers { socket, address, allowed, counters, drops, untold: 0 })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Takes what datagrams there are, up to so many; tells how many.
    pub fn hear(&mut self, turn: usize, pipeline: &mut Pipeline) -> usize {
        let counters = pipeline.counters(self.counters);
        let mut bytes = [0; MAX_LENGTH + 1];
        for taken in 0..turn {
            let (length, sender) = match self.socket.recv_from(&mut bytes) {
                Ok((length, sender)) => (length, sender.ip()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
                // Of another datagram, which could not be delivered: ours are still to come.
                Err(_) => continue,
            };
            let IpAddr::V4(router) = sender else { continue }; // the socket is IPv4's
            if !self.allowed.iter().any(|net| net.contains(&router)) {
                pipeline.report(counters, Err(Counter::MacupdSender));
            } else if length > MAX_LENGTH {
                pipeline.report(counters, Err(Counter::MacupdMalformed));
            } else {
                let now = UnixTime::now();
                for line in lines(&bytes[..length]) {
                    pipeline.report(counters, event(line, router, now));
                }
            }
        }
        turn
    }

    /// Counts datagrams for which the socket had no room.
    pub fn count_drops(&mut self, pipeline: &mut Pipeline) {
        let new = self.drops.as_mut().map_or(0, Drops::since_last);
        let counters = pipeline.counters(self.counters);
        pipeline.kernel_dropped(counters, new);
        self.untold += new;
    }

    /// Drops that were not told yet.
    pub fn drops(&self) -> u64 {
        self.untold
    }

    /// The same, which are then told.
    pub fn take_drops(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }
}

impl AsFd for Routers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel's count of datagrams that it dropped for want of room: the last column of
/// /proc/net/udp, in the line of the socket's inode (proc_pid_net(5)).
struct Drops {
    table: File,
    inode: String,
    counted: u64,
}

impl Drops {
    fn of(socket: &UdpSocket) -> std::io::Result<Drops> {
        let inode = File::from(socket.as_fd().try_clone_to_owned()?).metadata()?.st_ino();
        let table = File::open("/proc/self/net/udp")?;
        Ok(Drops { table, inode: inode.to_string(), counted: 0 })
    }

    fn since_last(&mut self) -> u64 {
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
