//! A network interface: choosing it, opening it with libpcap, its state and its drops.

use std::{env, fs, io};

use aw_service::warn;
use pcap::{Activated, Active, BpfProgram, Capture, Device, Precision};
use rustix::net::{
    AddressFamily, SocketType,
    netdevice::{index_to_name, name_to_index},
    socket,
};
use shm_layout::{CaptureState, InterfaceName};

use crate::{Error, failed, filter, link::LinkType};

/// Shortest snapshot length: more than an Ethernet frame with its tags. With the kernel's header a page
/// holds two frames of it; of 2048 bytes it would hold one.
const SNAPSHOT: i32 = 1920;
/// Most bytes that the kernel adds to a frame in its buffer.
const KERNEL_HEADER: i32 = 80;
/// Most frames that the kernel buffers for an interface: 20 ms at 200,000 a second, because the collector
/// may have to wait for the CPU.
pub const BUFFERED_FRAMES: i32 = 4096;
/// Bytes of the kernel's buffers: at most for one interface, for all together, and at least for one.
const BUFFER: i32 = 8 << 20;
const BUFFERS: i32 = 64 << 20;
const LEAST_BUFFER: i32 = 512 << 10;

/// An interface with an active capture.
pub struct OpenInterface {
    pub link: LinkType,
    pub capture: Capture<Active>,
    /// Frames that the kernel buffers.
    pub room: usize,
    /// The kernel's number for the interface; none for `any`.
    index: Option<u32>,
    /// The kernel's count of drops at the last query; it wraps.
    dropped: u32,
}

/// Why an interface cannot be opened.
pub struct OpenError {
    /// Whether it is missing or down, and so may be there later.
    pub temporary: bool,
    pub why: String,
}

/// The state of an interface that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InterfaceState {
    Up,
    Down,
    /// Up, but its cable is out, or what is at the other end is down.
    NoCarrier,
    /// Deleted; there may be a new one with the same name.
    Deleted,
}

impl OpenInterface {
    /// libpcap does not report it: an interface that was deleted and created again between two reads is
    /// down for libpcap, which waits for frames of the old one, and a down interface is no error.
    pub fn state(&self, name: InterfaceName) -> InterfaceState {
        if self.index.is_none() {
            return InterfaceState::Up;
        }
        match index(name.as_str()) {
            Ok(index) if index != self.index => InterfaceState::Deleted,
            _ if is_down(name) => InterfaceState::Down,
            _ if has_no_carrier(name) => InterfaceState::NoCarrier,
            _ => InterfaceState::Up,
        }
    }

    /// The kernel's number for it.
    pub fn index(&self) -> Option<u32> {
        self.index
    }

    /// Frames that the kernel dropped since the last call.
    pub fn new_drops(&mut self) -> u64 {
        let Ok(stats) = self.capture.stats() else { return 0 };
        let new = stats.dropped.wrapping_sub(self.dropped);
        self.dropped = stats.dropped;
        new.into()
    }
}

/// The first interface that can be listened to: it is up, is not loopback, and carries Ethernet frames, which
/// a tunnel does not. libpcap also lists devices that are no network interfaces.
pub fn first() -> Result<InterfaceName, Error> {
    let devices =
        Device::list().map_err(|error| failed(format_args!("list interfaces: {error}")))?;
    let mut refused = Vec::new();
    for device in devices {
        let Ok(name) = device.name.parse::<InterfaceName>() else { continue };
        if !matches!(index(&device.name), Ok(Some(_))) {
            continue;
        }
        let why = match device.flags {
            flags if flags.is_loopback() => "it is loopback".into(),
            flags if !flags.is_up() => "it is down".into(),
            _ => match try_open(name) {
                Ok(()) => return Ok(name),
                Err(why) if why == permission_denied() => {
                    return Err(failed(format_args!("listen on {name}: {why}")));
                }
                Err(why) => why,
            },
        };
        refused.push(format!("{name}: {why}"));
    }
    Err(failed(format_args!(
        "choose an interface: none can be listened to: {} (name one, or bring one up with: ip link set NAME up)",
        few(&refused)
    )))
}

/// Opens an interface only to see whether that is possible.
fn try_open(name: InterfaceName) -> Result<(), String> {
    let capture = Capture::from_device(name.as_str()).and_then(|device| device.open());
    let capture = capture.map_err(|error| explain(&error))?;
    LinkType::of(capture.get_datalink()).map(drop)
}

/// At most eight of them, and how many more there are.
fn few(refused: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = refused.iter().take(SHOWN).cloned();
    let more = refused.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("{more} more"));
    shown.chain(more).collect::<Vec<_>>().join("; ")
}

/// The kernel's number for an interface, if there is one of that name. The kernel takes eth0:1, and eth0:, for eth0: names of
/// aliases, which carry addresses and are no interfaces.
fn index(name: &str) -> io::Result<Option<u32>> {
    if name.contains(':') {
        return Ok(None);
    }
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    Ok(name_to_index(socket, name).ok())
}

/// The name of the interface that has this number now.
pub fn name_of(index: u32) -> Option<String> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    index_to_name(socket, index).ok()
}

/// Why there is nothing to listen on, if an interface does not exist.
pub fn absent(name: InterfaceName) -> Option<&'static str> {
    let is_absent = name.as_str() != "any" && matches!(index(name.as_str()), Ok(None));
    is_absent.then_some(NO_SUCH)
}

/// Why there can never be an interface of this name.
pub fn impossible(name: &str) -> Option<String> {
    let (interface, rest) = name.split_once(':')?;
    let vlan = match rest.parse::<u16>() {
        Ok(vlan) => format!(", also of VLAN {vlan}"),
        Err(_) => String::new(),
    };
    Some(match interface.is_empty() {
        true => NO_SUCH.into(),
        false => {
            format!("no such interface (name {interface}: that captures all its frames{vlan})")
        }
    })
}

pub const NO_SUCH: &str = "no such interface (ip link lists them)";

/// Why an interface is not open.
pub fn not_opened(name: InterfaceName) -> CaptureState {
    match absent(name) {
        Some(_) => CaptureState::Absent,
        None if is_down(name) => CaptureState::Down,
        None => CaptureState::NotOpened,
    }
}

/// Whether IFF_UP is not set (netdevice(7)).
fn is_down(name: InterfaceName) -> bool {
    let flags = fs::read_to_string(format!("/sys/class/net/{name}/flags")).ok();
    let flags =
        flags.and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
    flags.is_some_and(|flags| flags & 1 == 0)
}

/// Whether it is up, and no frames can arrive because nothing is at the other end: the cable is out, the port of the switch is off.
/// The kernel reads the file only for an interface that is up.
fn has_no_carrier(name: InterfaceName) -> bool {
    let carrier = fs::read_to_string(format!("/sys/class/net/{name}/carrier"));
    carrier.is_ok_and(|text| text.trim() == "0")
}

/// Options for opening interfaces.
#[derive(Clone, Debug)]
pub struct CaptureOptions {
    /// Also capture frames addressed to other hosts.
    pub promiscuous: bool,
    /// `--filter`.
    pub filter: Option<String>,
    /// `--decapsulate`.
    pub decapsulate: bool,
    /// `--names`.
    pub names: bool,
    /// Number of interfaces that share the memory.
    pub interfaces: usize,
}

/// Opens an interface.
pub fn open(name: InterfaceName, options: &CaptureOptions) -> Result<OpenInterface, OpenError> {
    if let Some(why) = impossible(name.as_str()) {
        return Err(OpenError { temporary: false, why });
    }
    let any = name.as_str() == "any";
    let index = index(name.as_str()).ok().flatten();
    if !any && index.is_none() {
        let why = NO_SUCH.into();
        return Err(OpenError { temporary: true, why });
    }
    let open_error = |error: pcap::Error| {
        let why = explain(&error);
        OpenError { temporary: why == DOWN, why }
    };
    let permanent = |why| OpenError { temporary: false, why };
    let snapshot = snapshot(name);
    let room = buffered_frames(snapshot, options.interfaces);
    let capture = Capture::from_device(name.as_str())
        .map_err(open_error)?
        .promisc(options.promiscuous && !any) // `any` has no promiscuous mode
        .immediate_mode(true)
        .precision(Precision::Nano)
        .snaplen(snapshot)
        .buffer_size(room * (snapshot + KERNEL_HEADER))
        .open()
        .map_err(open_error)?;
    let mut capture = capture.setnonblock().map_err(open_error)?;
    let link = LinkType::of(capture.get_datalink()).map_err(permanent)?;
    let user = options.filter.as_deref();
    user.map(|user| compile(&mut capture, user)).transpose().map_err(permanent)?;
    let mut own = filter::expression(link, options.decapsulate);
    if options.names {
        own = filter::with_names(&own, link);
    }
    let filter = filter::combined(&own, user);
    capture.filter(&filter, true).map_err(open_error)?;
    if let (Some(room), Ok(program)) = (filter_room(), compile(&mut capture, &filter))
        && filter::size_in_kernel(&program) > room
    {
        warn(format_args!(
            "{name}: the filter may be too long for the kernel (net.core.optmem_max is {room} bytes), which makes the capture slow: set it to 131072 with sysctl, shorten --filter, or leave out --names or --decapsulate"
        ));
    }
    Ok(OpenInterface { link, capture, room: room as usize, index, dropped: 0 })
}

/// What the kernel takes of a filter, if it limits it by this (before Linux 6.8, 20 KiB if it was not changed). Not known after the start.
fn filter_room() -> Option<usize> {
    fs::read_to_string("/proc/sys/net/core/optmem_max").ok()?.trim().parse().ok()
}

/// The bytes of one of so many interfaces.
fn share(interfaces: usize) -> i32 {
    let share = BUFFERS / i32::try_from(interfaces).unwrap_or(i32::MAX).max(1);
    share.clamp(LEAST_BUFFER, BUFFER)
}

/// The number of interfaces that gives one more no more than what these, opened as so many each, have left.
pub fn one_more(opened: impl Iterator<Item = usize>) -> usize {
    let left = BUFFERS - opened.map(share).sum::<i32>();
    (BUFFERS / left.max(LEAST_BUFFER)) as usize
}

/// Frames to buffer. In the kernel a frame takes half a page or a power of two of pages; as many frames as fit this
/// interface's share.
fn buffered_frames(snapshot: i32, interfaces: usize) -> i32 {
    let frame = snapshot + KERNEL_HEADER;
    let taken = (frame as u32).next_power_of_two().max(2048) as i32;
    (share(interfaces) / taken).min(BUFFERED_FRAMES)
}

/// Compiles `--filter` separately: so an error in it is reported as such, and a parenthesis in it cannot
/// change the meaning of the collector's own filter.
pub fn compile<T: Activated + ?Sized>(
    capture: &mut Capture<T>,
    filter: &str,
) -> Result<BpfProgram, String> {
    let compiled = capture.compile(filter, true);
    compiled
        .map_err(|error| format!("--filter {filter:?}: {} (see pcap-filter(7))", explain(&error)))
}

/// The snapshot length for an interface: every frame that it may receive is captured whole. A frame that is
/// cut is refused, so an attacker could hide a message behind long padding.
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

const DOWN: &str = "it is down (bring it up with: ip link set NAME up)";

/// libpcap's error, with a remedy.
pub fn explain(error: &pcap::Error) -> String {
    let text = match error {
        pcap::Error::PcapError(text) => text.as_str(),
        other => return other.to_string(),
    };
    if text.contains("permission") || text.contains("not permitted") {
        return permission_denied();
    }
    if text.contains("is not up") || text.contains("went down") {
        return DOWN.into();
    }
    text.into()
}

/// A unit of the collector that runs: it has a control group.
fn running_service() -> Option<String> {
    aw_service::services().find_map(|group| {
        let unit = group.file_stem()?.to_str()?;
        unit.starts_with("addrwatch-collector@").then(|| unit.to_owned())
    })
}

fn permission_denied() -> String {
    let program = env::current_exe().unwrap_or_else(|_| "collector".into());
    format!(
        "permission denied: CAP_NET_RAW is missing ({}run as root, or: sudo setcap cap_net_raw+ep {}, after which each user of this machine can capture with it)",
        running_service().map_or(String::new(), |unit| format!(
            "the service {unit} captures already, and aw-stdout prints its events; to capture here, too, "
        )),
        program.display()
    )
}
