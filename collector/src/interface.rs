//! An interface: which one, how it is opened, what it dropped.

use std::{fs, io};

use pcap::{Activated, Active, BpfProgram, Capture, Device, Precision};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
use shm_layout::InterfaceName;

use crate::{Error, failed, filter, link::Link};

/// Shortest snapshot length: an Ethernet frame with its tags, and room to spare. With the kernel's
/// header a page still holds two: of 2048 bytes it holds one.
const SNAPSHOT: i32 = 1920;
/// What the kernel adds to a frame in its buffer, at most.
const KERNEL_HEADER: i32 = 80;
/// Frames that the kernel keeps for an interface until they are taken, at most: 20 ms of 200,000 a
/// second, for the collector is not alone.
pub const KEPT: i32 = 4096;
/// Bytes of the kernel's buffers: for one interface at most, for all together, and for one at least.
const BUFFER: i32 = 8 << 20;
const BUFFERS: i32 = 64 << 20;
const LEAST_BUFFER: i32 = 512 << 10;

/// An interface that is listened to.
pub struct Opened {
    pub link: Link,
    pub capture: Capture<Active>,
    /// The kernel's number for the interface; none for `any`.
    index: Option<u32>,
    /// The kernel's count of drops when it was last asked; it wraps.
    dropped: u32,
}

/// Why an interface cannot be listened to.
pub struct Fault {
    /// It may be there later: it is missing, or down.
    pub later: bool,
    pub why: String,
}

impl Fault {
    fn now(why: impl Into<String>) -> Fault {
        Fault { later: false, why: why.into() }
    }
}

/// What became of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
    Down,
    /// Deleted; perhaps there is another one of its name.
    Gone,
}

impl Opened {
    /// Of an interface that was deleted and made anew between two looks libpcap believes that it was
    /// only down, and waits for frames of the old one; of one that is down it says nothing.
    pub fn state(&self, name: InterfaceName) -> State {
        if self.index.is_none() {
            return State::Up;
        }
        match index(name.as_str()) {
            Ok(index) if index != self.index => State::Gone,
            _ if is_down(name) => State::Down,
            _ => State::Up,
        }
    }

    /// Frames that the kernel dropped since this was last asked.
    pub fn new_drops(&mut self) -> u64 {
        let Ok(stats) = self.capture.stats() else { return 0 };
        let new = stats.dropped.wrapping_sub(self.dropped);
        self.dropped = stats.dropped;
        new.into()
    }
}

/// The first that is up, not loopback, and a network interface at all: libpcap lists other
/// things too.
pub fn first() -> Result<InterfaceName, Error> {
    let devices =
        Device::list().map_err(|error| failed(format_args!("list interfaces: {error}")))?;
    devices
        .iter()
        .filter(|device| device.flags.is_up() && !device.flags.is_loopback())
        .filter(|device| matches!(index(&device.name), Ok(Some(_))))
        .find_map(|device| device.name.parse().ok())
        .ok_or_else(|| {
            failed("find an interface: none is up but loopback (ip link set NAME up, or name one)")
        })
}

/// The kernel's number for an interface, if there is one of that name.
fn index(name: &str) -> io::Result<Option<u32>> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(name_to_index(socket, name).ok())
}

/// Not up, in the kernel's words: IFF_UP is not set (netdevice(7)).
fn is_down(name: InterfaceName) -> bool {
    let flags = fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok();
    let flags =
        flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
    flags.is_some_and(|flags| flags & 1 == 0)
}

/// How interfaces are opened.
#[derive(Clone, Debug)]
pub struct How {
    /// Heard is also what is for others.
    pub promiscuous: bool,
    /// `--filter`.
    pub filter: Option<String>,
    /// How many interfaces share the memory.
    pub number: usize,
}

/// Opens an interface.
pub fn open(name: InterfaceName, how: &How) -> Result<Opened, Fault> {
    let any = name.as_str() == "any";
    let index = index(name.as_str()).ok().flatten();
    if !any && index.is_none() {
        let why = "no such interface (ip link shows those there are)".into();
        return Err(Fault { later: true, why });
    }
    let fault = |error: pcap::Error| {
        let why = explain(&error);
        Fault { later: why == DOWN, why }
    };
    let snapshot = snapshot(name);
    let capture = Capture::from_device(name.as_str())
        .map_err(fault)?
        .promisc(how.promiscuous && !any) // `any` cannot be
        .immediate_mode(true)
        .precision(Precision::Nano)
        .snaplen(snapshot)
        .buffer_size(buffer(snapshot, how.number))
        .open()
        .map_err(fault)?;
    let mut capture = capture.setnonblock().map_err(fault)?;
    let linktype = capture.get_datalink();
    let link = Link::of(linktype).ok_or_else(|| {
        Fault::now(format!(
            "link type {} ({}) carries no Ethernet frames (name an Ethernet interface)",
            linktype.get_name().unwrap_or_else(|_| "unknown".into()),
            linktype.0
        ))
    })?;
    let theirs = how.filter.as_deref();
    theirs.map(|theirs| compile(&mut capture, theirs)).transpose().map_err(Fault::now)?;
    capture.filter(&filter::both(&filter::expression(link), theirs), true).map_err(fault)?;
    Ok(Opened { link, capture, index, dropped: 0 })
}

/// Bytes to ask libpcap for, which makes frames of them. A frame takes a whole number of pages, a
/// power of two, or half a page; so many that they fit this interface's share.
fn buffer(snapshot: i32, interfaces: usize) -> i32 {
    let share = BUFFERS / i32::try_from(interfaces).unwrap_or(i32::MAX).max(1);
    let frame = snapshot + KERNEL_HEADER;
    let taken = (frame as u32).next_power_of_two().max(2048) as i32;
    let frames = (share.clamp(LEAST_BUFFER, BUFFER) / taken).min(KEPT);
    frames * frame
}

/// `--filter`, by itself: so that a fault in it is told as such, and no parenthesis in it undoes ours.
pub fn compile<T: Activated + ?Sized>(
    capture: &mut Capture<T>,
    filter: &str,
) -> Result<BpfProgram, String> {
    let compiled = capture.compile(filter, true);
    compiled
        .map_err(|error| format!("--filter {filter:?}: {} (see pcap-filter(7))", explain(&error)))
}

/// The snapshot length for an interface: whatever it may receive is kept whole, for a frame that is
/// cut is refused, and somebody could hide behind a long padding.
fn snapshot(name: InterfaceName) -> i32 {
    const TAGS: i32 = 64;
    let mtu = |name: &str| -> Option<i32> {
        fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok()
    };
    let mtu = match name.as_str() {
        "any" => fs::read_dir("/sys/class/net").ok().and_then(|names| {
            let names = names.filter_map(|name| name.ok()?.file_name().into_string().ok());
            names.filter(|name| name != "lo").filter_map(|name| mtu(&name)).max()
        }),
        name => mtu(name),
    };
    mtu.map_or(SNAPSHOT, |mtu| mtu.saturating_add(TAGS).clamp(SNAPSHOT, 16_384))
}

const DOWN: &str = "it is down (ip link set it up)";

/// libpcap's error in our words, with what to do.
pub fn explain(error: &pcap::Error) -> String {
    let text = match error {
        pcap::Error::PcapError(text) => text.as_str(),
        other => return other.to_string(),
    };
    if text.contains("permission") || text.contains("not permitted") {
        return "permission denied: CAP_NET_RAW is missing (run as root, or: setcap cap_net_raw+ep collector)".into();
    }
    if text.contains("is not up") || text.contains("went down") {
        return DOWN.into();
    }
    text.into()
}
