//! Live capture: any number of interfaces in one thread, drained as soon as they have frames.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use pcap::{Active, Capture, Device, Precision};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketType, netdevice::name_to_index, socket},
};
use shm_layout::InterfaceName;

use crate::{
    Stop, failed, filter,
    link::{Frame, Link},
    options::Options,
    pipeline::{Pipeline, Source},
    say,
    signals::Signals,
};

/// Shortest snapshot length: an Ethernet frame with its tags, and room to spare.
const SNAPSHOT: i32 = 2048;
/// Frames that the kernel keeps for an interface until they are taken.
const KEPT: i32 = 2048;
/// Frames taken from one interface before the next has its turn.
const TURN: usize = 1024;
/// How often the collector says that it lives, and asks the kernel for its drops.
const BEAT: Duration = Duration::from_secs(1);

/// An interface that is listened to.
pub struct Listener {
    name: InterfaceName,
    link: Link,
    capture: Capture<Active>,
    /// The kernel's count of drops when it was last asked; it wraps.
    dropped: u32,
}

/// Opens every interface asked for.
pub fn open(options: &Options) -> Result<Vec<Listener>, Stop> {
    let mut names = options.interfaces.clone();
    if names.is_empty() {
        names.push(first_interface()?);
    }
    let mut once = BTreeSet::new();
    names.retain(|name| once.insert(*name)); // one named twice would be heard twice
    names.into_iter().map(|name| listen(name, !options.no_promisc)).collect()
}

/// The first that is up, not loopback, and a network interface at all: libpcap lists other
/// things too.
fn first_interface() -> Result<InterfaceName, Stop> {
    let devices =
        Device::list().map_err(|error| failed(format_args!("list interfaces: {error}")))?;
    devices
        .iter()
        .filter(|device| device.flags.is_up() && !device.flags.is_loopback())
        .filter(|device| exists(&device.name))
        .find_map(|device| device.name.parse().ok())
        .ok_or_else(|| {
            failed("find an interface: none is up but loopback (ip link set NAME up, or name one)")
        })
}

fn exists(name: &str) -> bool {
    socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|socket| name_to_index(socket, name))
        .is_ok()
}

fn listen(name: InterfaceName, promiscuous: bool) -> Result<Listener, Stop> {
    let any = name.as_str() == "any";
    if !any && !exists(name.as_str()) {
        return Err(failed(format_args!(
            "listen on {name}: no such interface (ip link shows those there are)"
        )));
    }
    let fault = |error: pcap::Error| failed(format_args!("listen on {name}: {}", explain(&error)));
    let capture = Capture::from_device(name.as_str())
        .map_err(fault)?
        .promisc(promiscuous && !any) // `any` cannot be
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
    capture.filter(&filter::expression(link), true).map_err(fault)?;
    Ok(Listener { name, link, capture, dropped: 0 })
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
fn explain(error: &pcap::Error) -> String {
    let text = match error {
        pcap::Error::PcapError(text) => text.as_str(),
        other => return other.to_string(),
    };
    if text.contains("permission") || text.contains("not permitted") {
        return "permission denied (run as root, or: setcap cap_net_raw+ep collector)".into();
    }
    if text.contains("is not up") || text.contains("went down") {
        return "it is down (ip link set it up)".into();
    }
    text.into()
}

/// Listens until a signal ends it, or no interface is left.
pub fn run(mut listeners: Vec<Listener>, pipeline: &mut Pipeline) -> Result<(), Stop> {
    let signals = Signals::register()?;
    let mut sources: Vec<Source> =
        listeners.iter().map(|listener| pipeline.source(listener.name, listener.link)).collect();
    let names: Vec<_> = listeners.iter().map(|listener| listener.name.as_str()).collect();
    say(format_args!("listening on {}", names.join(", ")));
    let mut beat = Instant::now();
    loop {
        let mut ready = wait(&listeners, &signals)?;
        let stopped = signals.stopped();
        let due = stopped || beat.elapsed() >= BEAT;
        if due {
            // libpcap notices only when asked for frames that an interface has gone.
            ready = (0..listeners.len()).collect();
        }
        let mut lost = Vec::new();
        for index in ready {
            let source = &sources[index];
            let read = listeners[index].capture.dispatch(Some(TURN), |packet| {
                pipeline.frame(source, &Frame::new(&packet));
            });
            if let Err(error) = read {
                say(format_args!("stopped listening on {}: {}", source.name, explain(&error)));
                lost.push(index);
            }
        }
        pipeline.deliver()?;
        if due || !lost.is_empty() {
            beat = Instant::now();
            pipeline.beat()?;
            for (listener, source) in listeners.iter_mut().zip(&sources) {
                listener.count_drops(source, pipeline);
            }
        }
        if stopped {
            return Ok(());
        }
        for index in lost.into_iter().rev() {
            listeners.remove(index);
            sources.remove(index);
        }
        if listeners.is_empty() {
            return Err(failed("listen: no interface is left (start again when one is up)"));
        }
    }
}

impl Listener {
    fn count_drops(&mut self, source: &Source, pipeline: &mut Pipeline) {
        if let Ok(stats) = self.capture.stats() {
            let new = stats.dropped.wrapping_sub(self.dropped);
            self.dropped = stats.dropped;
            pipeline.kernel_dropped(source, new.into());
        }
    }
}

/// Sleeps until there is a frame, a signal, or a beat is due; tells which listeners to look at.
fn wait(listeners: &[Listener], signals: &Signals) -> Result<Vec<usize>, Stop> {
    let captures = listeners.iter().map(|listener| listener.capture.as_fd());
    let mut fds: Vec<_> = captures
        .chain([signals.as_fd()])
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let timeout = Timespec { tv_sec: BEAT.as_secs() as i64, tv_nsec: 0 };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(failed(format_args!("wait for frames: {error}"))),
    }
    // Errors show as events too: then the capture tells what is wrong.
    let ready =
        fds[..listeners.len()].iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty());
    Ok(ready.map(|(index, _)| index).collect())
}
