//! An interface: which one, how it is opened, what it dropped.

use std::fs;

use pcap::{Activated, Active, BpfProgram, Capture, Device, Precision};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index, socket};
use shm_layout::InterfaceName;

use crate::{Error, failed, filter, link::Link};

/// Shortest snapshot length: an Ethernet frame with its tags, and room to spare. With the kernel's header a page still
/// holds two: of 2048 bytes it holds one.
const SNAPSHOT: i32 = 1920;
/// Frames that the kernel keeps for an interface until they are taken: 20 ms of 200,000 a second, for the collector is
/// not alone.
pub const KEPT: i32 = 4096;

/// An interface that is listened to.
pub struct Opened {
    pub link: Link,
    pub capture: Capture<Active>,
    /// The kernel's number for the interface; none for `any`.
    index: Option<u32>,
    /// The kernel's count of drops when it was last asked; it wraps.
    dropped: u32,
}

impl Opened {
    /// Whether the name still means this interface. Of one that was deleted and made anew between
    /// two looks libpcap believes that it was only down, and waits for frames of the old one.
    pub fn is_current(&self, name: InterfaceName) -> bool {
        self.index.is_none() || self.index == index(name.as_str())
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
        .filter(|device| index(&device.name).is_some())
        .find_map(|device| device.name.parse().ok())
        .ok_or_else(|| {
            failed("find an interface: none is up but loopback (ip link set NAME up, or name one)")
        })
}

/// The kernel's number for an interface, if there is one of that name.
fn index(name: &str) -> Option<u32> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    name_to_index(socket, name).ok()
}

/// How interfaces are opened.
#[derive(Clone, Debug)]
pub struct How {
    /// Heard is also what is for others.
    pub promiscuous: bool,
    /// `--filter`.
    pub filter: Option<String>,
}

/// Opens an interface.
pub fn open(name: InterfaceName, how: &How) -> Result<Opened, Error> {
    let any = name.as_str() == "any";
    let index = index(name.as_str());
    if !any && index.is_none() {
        return Err(failed(format_args!(
            "listen on {name}: no such interface (ip link shows those there are)"
        )));
    }
    let fault = |error: pcap::Error| failed(format_args!("listen on {name}: {}", explain(&error)));
    let capture = Capture::from_device(name.as_str())
        .map_err(fault)?
        .promisc(how.promiscuous && !any) // `any` cannot be
        .immediate_mode(true)
        .precision(Precision::Nano)
        .snaplen(snapshot(name))
        .buffer_size(snapshot(name) * KEPT)
        .open()
        .map_err(fault)?;
    let mut capture = capture.setnonblock().map_err(fault)?;
    let linktype = capture.get_datalink();
    let link = Link::of(linktype).ok_or_else(|| {
        failed(format_args!(
            "listen on {name}: link type {} ({}) carries no Ethernet frames (name an Ethernet interface)",
            linktype.get_name().unwrap_or_else(|_| "unknown".into()),
            linktype.0
        ))
    })?;
    let theirs = how.filter.as_deref();
    theirs.map(|theirs| compile(&mut capture, theirs)).transpose()?;
    capture.filter(&filter::both(&filter::expression(link), theirs), true).map_err(fault)?;
    Ok(Opened { link, capture, index, dropped: 0 })
}

/// `--filter`, by itself: so that a fault in it is told as such, and no parenthesis in it undoes ours.
pub fn compile<T: Activated + ?Sized>(
    capture: &mut Capture<T>,
    filter: &str,
) -> Result<BpfProgram, Error> {
    capture.compile(filter, true).map_err(|error| {
        failed(format_args!("--filter {filter:?}: {} (see pcap-filter(7))", explain(&error)))
    })
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
        return "it is down (ip link set it up)".into();
    }
    text.into()
}
