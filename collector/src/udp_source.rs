//! UDP sockets that need no privilege: the reports of routers (`--macupd`), and frames that a mirror sends in VXLAN or
//! TZSP (`--listen-vxlan`, `--listen-tzsp`).

use std::{
    fs::File,
    io::{Error as IoError, ErrorKind, Read, Seek},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::{
        fd::{AsFd, BorrowedFd},
        linux::fs::MetadataExt,
    },
    time::{Duration, Instant},
};

use aw_service::{PortKind, listen_fault};
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};
use shm_layout::{Counter, InterfaceName, UnixTime};

use crate::{
    Error,
    copies::Overlap,
    event_name::{EventName, chosen},
    failed, info,
    link::{Frame, LinkType},
    macupd::{MAX_LENGTH, event, lines},
    options::Options,
    pipeline::{FrameSource, Pipeline},
    senders::Senders,
    tunnel, warn,
};

/// Bytes of the kernel's receive buffer, if the kernel allows it: a tenth of a second at 50,000 datagrams a
/// second, each of which takes 768 bytes.
const BUFFER: usize = 4 << 20;
/// Bytes of it that a datagram with a frame takes.
const DATAGRAM: usize = 2304;
/// The longest datagram that UDP has.
const LONGEST: usize = 1 << 16;

/// What the datagrams contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Macupd,
    Vxlan,
    Tzsp,
}

impl Protocol {
    /// In messages.
    fn title(self) -> &'static str {
        match self {
            Protocol::Macupd => "MACupd",
            Protocol::Vxlan => "VXLAN",
            Protocol::Tzsp => "TZSP",
        }
    }

    /// The option that allows senders.
    fn sender_option(self) -> &'static str {
        if self == Protocol::Macupd { "--macupd-from" } else { "--tunnel-from" }
    }

    fn option(self) -> &'static str {
        match self {
            Protocol::Macupd => "--macupd",
            Protocol::Vxlan => "--listen-vxlan",
            Protocol::Tzsp => "--listen-tzsp",
        }
    }

    /// The interface name of its events unless `--as` names another, except for MACupd, where reports name it; in
    /// parentheses, that of its counters.
    fn names(self) -> [&'static str; 2] {
        match self {
            Protocol::Macupd => ["macupd", "(macupd)"],
            Protocol::Vxlan => ["vxlan", "(vxlan)"],
            Protocol::Tzsp => ["tzsp", "(tzsp)"],
        }
    }

    fn longest(self) -> usize {
        if self == Protocol::Macupd { MAX_LENGTH } else { LONGEST }
    }
}

/// A socket, its counters and its allowed senders.
pub struct UdpSource {
    protocol: Protocol,
    socket: UdpSocket,
    address: SocketAddr,
    allowed: Senders,
    name: InterfaceName,
    counters: InterfaceName,
    buffer: Vec<u8>,
    /// Datagrams that the kernel buffers.
    pub room: usize,
    drops: Option<DropCount>,
    /// Drops that were not logged yet.
    pub unlogged_drops: u64,
    /// The senders that are not allowed.
    strangers: NamedSenders,
    /// The senders of lines that are no reports.
    malformed: NamedSenders,
}

/// The options that name addresses to receive datagrams at, with the addresses.
pub fn addresses(options: &Options) -> Vec<(&'static str, SocketAddr)> {
    named(options).into_iter().map(|(protocol, address)| (protocol.option(), address)).collect()
}

fn named(options: &Options) -> Vec<(Protocol, SocketAddr)> {
    let all = [
        (Protocol::Macupd, options.macupd.map(SocketAddr::V4)),
        (Protocol::Vxlan, options.listen_vxlan),
        (Protocol::Tzsp, options.listen_tzsp),
    ];
    all.into_iter().filter_map(|(protocol, address)| Some((protocol, address?))).collect()
}

/// Opens the sockets that the options name, but not those of options that are `held` by another collector.
pub fn bind(options: &Options, held: impl Fn(&str) -> bool) -> Result<Vec<UdpSource>, Error> {
    if let Some(net) = options.macupd_from.iter().find(|net| net.addr().is_ipv6()) {
        return Err(failed(format_args!(
            "--macupd-from {net}: routers send IPv4 only (name an IPv4 address or network)"
        )));
    }
    let (routers, mirrors) =
        (Senders::named(&options.macupd_from), Senders::named(&options.tunnel_from));
    let mut sources = Vec::new();
    for (protocol, address) in named(options) {
        if !held(protocol.option()) {
            let allowed = if protocol == Protocol::Macupd { &routers } else { &mirrors };
            sources.push(UdpSource::open(protocol, address, allowed.clone(), &options.names)?);
        }
    }
    Ok(sources)
}

/// Opens the sockets that the options name.
pub fn open(options: &Options) -> Result<Vec<UdpSource>, Error> {
    let sources = bind(options, |_| false)?;
    let opened =
        |tunnel| sources.iter().any(|source| (source.protocol != Protocol::Macupd) == tunnel);
    if opened(false) && options.macupd_from.is_empty() {
        info(
            "MACupd reports are accepted from private, link-local and loopback addresses only (allow others with --macupd-from)",
        );
    }
    if opened(true) && options.tunnel_from.is_empty() {
        info(
            "mirrored frames are accepted from private, link-local and loopback addresses only (allow others with --tunnel-from)",
        );
    }
    Ok(sources)
}

impl UdpSource {
    fn open(
        protocol: Protocol,
        address: SocketAddr,
        allowed: Senders,
        names: &[EventName],
    ) -> Result<UdpSource, Error> {
        let (title, option) = (protocol.title(), protocol.option());
        let fault = |error: IoError| {
            let why = listen_fault(&error, PortKind::Udp, &address, option);
            failed(format_args!("receive {title} on {address}: {why}"))
        };
        let socket = UdpSocket::bind(address).map_err(fault)?;
        socket.set_nonblocking(true).map_err(fault)?;
        // Without the privilege the kernel limits the size to net.core.rmem_max.
        let _ = set_socket_recv_buffer_size_force(&socket, BUFFER)
            .or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER));
        let room = socket_recv_buffer_size(&socket).unwrap_or(BUFFER) / DATAGRAM;
        let [name, counters] = protocol.names();
        let name = chosen(names, Some(name)).map_or_else(|| name.parse(), Ok).map_err(failed)?;
        let counters = counters.parse().map_err(failed)?;
        let address = socket.local_addr().map_err(fault)?;
        let buffer = vec![0; protocol.longest() + 1];
        let drops = DropCount::of(&socket, address).ok(); // without /proc drops are not counted
        Ok(UdpSource {
            protocol,
            socket,
            address,
            allowed,
            name,
            counters,
            buffer,
            room,
            drops,
            unlogged_drops: 0,
            strangers: NamedSenders::default(),
            malformed: NamedSenders::default(),
        })
    }

    /// The address that it is bound to, and what it receives.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.address, self.protocol.title())
    }

    /// Whether it receives reports, and no frames.
    pub fn receives_reports(&self) -> bool {
        self.protocol == Protocol::Macupd
    }

    /// The drops that were not logged yet, for a message; none if there are none.
    pub fn take_unlogged_drops(&mut self) -> Option<String> {
        let drops = std::mem::take(&mut self.unlogged_drops);
        (drops > 0).then(|| format!("{drops} datagrams ({})", self.protocol.title()))
    }

    /// Processes the datagrams that are there, at most `limit`; returns how many.
    pub fn read(&mut self, limit: usize, pipeline: &mut Pipeline) -> usize {
        let counters = pipeline.counters(self.counters);
        let (name, link, overlap) = (self.name, LinkType::Ethernet, Overlap::None);
        let source = FrameSource { name, link, counters, overlap };
        for taken in 0..limit {
            let (length, sender) = match self.socket.recv_from(&mut self.buffer) {
                Ok((length, sender)) => (length, sender.ip()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
                // The error of another datagram, which could not be delivered: more may be queued.
                Err(_) => continue,
            };
            let datagram = &self.buffer[..length];
            let allowed = self.allowed.allow(sender);
            if !allowed {
                let (title, option) = (self.protocol.title(), self.protocol.sender_option());
                self.strangers.warn(sender, || {
                    format!(
                        "{sender} sends to the port for {title}, and is not allowed: nothing of it is used ({option} {sender} allows it)"
                    )
                });
            }
            match (self.protocol, sender) {
                (Protocol::Macupd, IpAddr::V4(router)) if allowed => {
                    if let Some(line) = report(&source, datagram, router, pipeline) {
                        self.malformed.warn(sender, || {
                            format!(
                                "{sender} sends lines that are no MACupd reports, such as {line:?} (a report is one line: a number, and then a line of the router's /proc/net/arp)"
                            )
                        });
                    }
                }
                (Protocol::Macupd, _) => {
                    pipeline.process_report(counters, Err(Counter::MacupdSender))
                }
                _ if !allowed => pipeline.process_report(counters, Err(Counter::TunnelSender)),
                (Protocol::Vxlan, _) => frame(&source, tunnel::vxlan(datagram), pipeline),
                (Protocol::Tzsp, _) => {
                    frame(&source, tunnel::tzsp(datagram).map(|frame| (None, frame)), pipeline);
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

/// Senders that are named a day, for each reason: a host that forges addresses fills no log.
const MAX_NAMED: usize = 16;
const DAY: Duration = Duration::from_secs(86_400);
/// Characters of a line that a message shows.
const MAX_SHOWN: usize = 100;

/// The senders that a message named, for one reason: each is named once a day, so that others get their turn.
#[derive(Default)]
struct NamedSenders {
    senders: Vec<IpAddr>,
    since: Option<Instant>,
}

impl NamedSenders {
    fn warn(&mut self, sender: IpAddr, text: impl FnOnce() -> String) {
        if !self.may_name(sender, Instant::now()) {
            return;
        }
        warn(text());
        if self.senders.len() == MAX_NAMED {
            warn("more such senders are counted, and not named for a day (collector --stats)");
        }
    }

    /// Whether this sender is to be named now; it is not again for a day.
    fn may_name(&mut self, sender: IpAddr, now: Instant) -> bool {
        if self.since.is_none_or(|since| now - since >= DAY) {
            *self = NamedSenders { senders: Vec::new(), since: Some(now) };
        }
        let is_new = self.senders.len() < MAX_NAMED && !self.senders.contains(&sender);
        if is_new {
            self.senders.push(sender);
        }
        is_new
    }
}

/// Takes the lines that a router sent. Returns the first one that is no report.
fn report(
    source: &FrameSource,
    datagram: &[u8],
    router: Ipv4Addr,
    pipeline: &mut Pipeline,
) -> Option<String> {
    // A character has at most four bytes.
    let shown = |line: &[u8]| {
        let line = &line[..line.len().min(4 * MAX_SHOWN)];
        String::from_utf8_lossy(line).chars().take(MAX_SHOWN).collect()
    };
    if datagram.len() > MAX_LENGTH {
        pipeline.process_report(source.counters, Err(Counter::MacupdMalformed));
        return Some(shown(datagram));
    }
    let (now, mut malformed) = (UnixTime::now(), None);
    for line in lines(datagram) {
        let event = event(line, router, now);
        if matches!(event, Err(Counter::MacupdMalformed)) {
            malformed.get_or_insert_with(|| shown(line));
        }
        pipeline.process_report(source.counters, event);
    }
    malformed
}

/// The frame that a mirror sent, with the number of its tunnel.
fn frame(
    source: &FrameSource,
    contents: Result<(Option<u32>, &[u8]), Counter>,
    pipeline: &mut Pipeline,
) {
    match contents {
        Ok((id, bytes)) => {
            let frame = Frame { time: UnixTime::now(), bytes, length: bytes.len() };
            pipeline.process_tunnelled(source, &frame, id);
        }
        Err(reason) => pipeline.process_report(source.counters, Err(reason)),
    }
}

impl AsFd for UdpSource {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The kernel's count of datagrams that it dropped because the buffer was full: the last column of
/// /proc/net/udp or udp6, in the line of the socket's inode (proc_pid_net(5)).
struct DropCount {
    table: File,
    inode: String,
    counted: u64,
}

impl DropCount {
    fn of(socket: &UdpSocket, address: SocketAddr) -> Result<DropCount, IoError> {
        let inode = File::from(socket.as_fd().try_clone_to_owned()?).metadata()?.st_ino();
        let table = if address.is_ipv4() { "udp" } else { "udp6" };
        let table = File::open(format!("/proc/self/net/{table}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// However many addresses are forged, so many are named a day; the next day has room for others.
    #[test]
    fn named_senders_have_a_limit() {
        let (mut named, now) = (NamedSenders::default(), Instant::now());
        let sender = |number: usize| IpAddr::from([192, 0, 2, number as u8]);
        for number in 0..MAX_NAMED {
            assert!(named.may_name(sender(number), now));
            assert!(!named.may_name(sender(number), now), "twice");
        }
        let router = sender(99);
        assert!(!named.may_name(router, now + DAY - Duration::from_secs(1)));
        assert!(named.may_name(router, now + DAY));
        assert!(named.may_name(sender(0), now + DAY));
    }
}
