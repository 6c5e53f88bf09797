//! The command line. Options of addrwatch have the same names here.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::{Path, PathBuf},
    time::Duration,
};

use aw_service::{Access, Identity, ServiceOptions, group_id, ignored_options, parse_network};
use clap::{ArgGroup, Parser, ValueEnum, builder::NonEmptyStringValueParser};
use ipnet::IpNet;
use shm_layout::{InterfaceName, RingName, WriterOptions};

use crate::{
    Error, batching::parse_latency, event_name::EventName, failed, rate_limit::Suppression,
    sample_file, udp_source,
};

/// Captures ARP and IPv6 Neighbor Discovery, and records which MAC address uses which IP address.
///
/// It also receives mirrored frames (VXLAN, TZSP) and the reports of DD-WRT routers (MACupd). It publishes each pairing of a MAC and an IP address to a ring in shared memory, from which aw-stdout and the other outputs read, and prints it as a line: seconds interface vlan mac ip ORIGIN.
#[derive(Parser, Clone, Debug)]
#[command(name = "collector", version, after_help = EXAMPLES, group = ArgGroup::new("sources").multiple(true))]
pub struct Options {
    /// Interfaces to listen on; `any` listens on all at once [default: the first that is up, is not loopback and carries Ethernet frames]
    #[arg(value_name = "INTERFACE", conflicts_with = "read", group = "sources")]
    pub interfaces: Vec<InterfaceName>,

    /// Do not fail if no interface is up at the start: wait, and listen on each one as soon as it is up
    #[arg(help_heading = "Frames", long, requires = "sources")]
    pub wait: bool,

    /// Name of a unit's instance, as addrwatch-collector@NAME: the interface NAME is added to the others, with --wait. Beside other interfaces, --macupd or --listen-*, NAME may be missing without a warning: then it may be only a label. Not added to `any`
    #[arg(help_heading = "Frames", long, value_name = "NAME", group = "sources")]
    pub instance: Option<String>,

    /// Share the ring with the other collectors that have the same DIR: one of them captures the interfaces of all, and another one takes over at once when it ends. DIR belongs to the collectors' user, who alone may write there. Of collectors with different options, those with the most apply to all
    #[arg(help_heading = "Ring", long, value_name = "DIR", conflicts_with_all = ["read", "daemon"], requires = "sources")]
    pub join: Option<PathBuf>,

    /// Replay a capture file (pcap or pcapng, also compressed with gzip or zstd; - for standard input) with the times of its packets, then exit; needs no privileges
    #[arg(help_heading = "Frames", long, value_name = "FILE")]
    pub read: Option<String>,

    /// Name that events get in place of the interface's name, or of `pcap` in a replay; with INTERFACE=, only those of this interface; may be repeated
    #[arg(help_heading = "Frames", long = "as", value_name = "[INTERFACE=]NAME")]
    pub names: Vec<EventName>,

    /// Replay at most NUM events a second, so that slow outputs can keep up
    #[arg(help_heading = "Frames", long, value_name = "NUM", requires = "read", allow_negative_numbers = true, value_parser = up_to::<u32>(u32::MAX.into()))]
    pub max_rate: Option<u32>,

    /// Longest time that a frame waits in the kernel so that several are read together; 0 = none waits. The first frames after a silence are read at once. On average, the collector wakes up once in this time at most, and so do the outputs, up to the rate at which frames would fill the kernel's buffer
    #[arg(help_heading = "Frames", long, value_name = "TIME", default_value = "20ms", conflicts_with = "read", value_parser = parse_latency)]
    pub latency: Duration,

    /// Name of the ring
    #[arg(
        help_heading = "Ring",
        short = 'm',
        long = "ring",
        visible_alias = "shm-log-name",
        value_name = "NAME",
        default_value = "/addrwatch"
    )]
    pub ring: RingName,

    /// Number of events that the ring holds, rounded up to a power of two; each takes 64 bytes
    #[arg(help_heading = "Ring", short = 'L', long = "shm-log-size", value_name = "NUM", default_value_t = WriterOptions::DEFAULT_SLOTS, allow_negative_numbers = true, value_parser = up_to::<u64>(WriterOptions::MAX_SLOTS))]
    pub slots: u64,

    /// Group whose members may read the ring, by name or number [default: `addrwatch` if root starts the collector and the group exists, otherwise the collector's own]
    #[arg(help_heading = "Ring", long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Receive the reports of DD-WRT routers, by UDP on this address; without INTERFACE, only these reports are received [default: 0.0.0.0:2056]
    #[arg(help_heading = "Frames", long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = DEFAULT_MACUPD, conflicts_with = "read")]
    pub macupd: Option<SocketAddrV4>,

    /// Accept reports only from this IPv4 address or network; may be repeated [default: private, link-local and loopback addresses]
    #[arg(help_heading = "Frames", long, value_name = "ADDR[/BITS]", value_parser = parse_network, requires = "macupd")]
    pub macupd_from: Vec<IpNet>,

    /// Receive frames that a mirror sends in VXLAN, by UDP on this address; needs no privileges; without INTERFACE, no interface is listened on [default: 0.0.0.0:4789]
    #[arg(help_heading = "Frames", long, value_name = "[ADDR:]PORT", num_args = 0..=1, default_missing_value = "4789", conflicts_with = "read", value_parser = udp_address)]
    pub listen_vxlan: Option<SocketAddr>,

    /// Receive frames that a MikroTik router or another sensor sends in TZSP, as --listen-vxlan does [default: 0.0.0.0:37008]
    #[arg(help_heading = "Frames", long, value_name = "[ADDR:]PORT", num_args = 0..=1, default_missing_value = "37008", conflicts_with = "read", value_parser = udp_address)]
    pub listen_tzsp: Option<SocketAddr>,

    /// Also read frames inside VXLAN, GENEVE, TZSP, ERSPAN and Ethernet over GRE, which a mirror sends to the interface, and inside PBB, FabricPath, TRILL and bridged PPPoE; with --read this is always so. Any host that can send packets past the interface can forge such a frame, in any VLAN: see --tunnel-from
    #[arg(help_heading = "Frames", long)]
    pub decapsulate: bool,

    /// Accept tunnels only from this address or network, also inside another tunnel; may be repeated [default: private, link-local and loopback addresses; with --read, all]
    #[arg(help_heading = "Frames", long, value_name = "ADDR[/BITS]", value_parser = parse_network)]
    pub tunnel_from: Vec<IpNet>,

    /// Append the tunnel's number (VNI, ERSPAN session, I-SID) to the interface name of events from a tunnel: eth0#5001. At most 256 names; further tunnels become eth0#other
    #[arg(help_heading = "Frames", long)]
    pub tunnel_id: bool,

    /// Also capture what devices call themselves, and what routers and servers announce: DHCP, Router Advertisements, address registration, multicast DNS, LLDP and MLD. These are personal data. They go to a second ring, RING.names, that aw-stdout --names prints; nothing is ever sent. What DHCP or registration pairs is an event, too: DHCP_ACK, ADDR_REG
    #[arg(help_heading = "Frames", long = "names")]
    pub with_names: bool,

    #[command(flatten)]
    pub service: ServiceOptions,

    /// Host name that outputs store and print with this ring's events [default: this machine's]
    #[arg(help_heading = "Ring", long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,

    /// Process only frames that also match this filter, in the syntax of pcap-filter(7)
    #[arg(help_heading = "Frames", long, value_name = "BPF", value_parser = NonEmptyStringValueParser::new())]
    pub filter: Option<String>,

    /// Store samples of refused frames in FILE, in pcap format: at most 5 a minute for each reason, 16 MiB in total
    #[arg(help_heading = "Frames", long, value_name = "FILE")]
    pub snap_malformed: Option<PathBuf>,

    /// Delete the ring and exit; without this option, the ring stays when the collector ends, so that outputs can read it
    #[arg(help_heading = "Ring", long, conflicts_with_all = ["interfaces", "read", "names", "daemon", "pid_file"])]
    pub remove: bool,

    /// As root, make the ring's name in /dev/shm free for the user of -u, and exit: remove files of other users there. Any
    /// user can create such a file, and the collector would not start. Needed only before a collector that root does not
    /// start, as in the unit. It does not touch the ring of a running collector of addrwatch or aw-routeros, and ignores -d
    /// and -p
    #[arg(help_heading = "Ring", long, conflicts_with_all = ["remove", "stats"])]
    pub claim: bool,

    /// Try what the collector will do, and exit: find its interfaces and user, open captures, compile --filter, take its ports, create a ring and remove it. If root asks with --instance and without -u, and the unit exists, it is tried as the user and with the limits of that unit, and without further options with its command line and files. Print each fault with its remedy, and exit with status 1 if there is one. No frame is read
    #[arg(help_heading = "Ring", long, conflicts_with_all = ["read", "remove", "claim", "stats", "daemon"])]
    pub check: bool,

    /// Print the counters of the collector that writes to the ring, and exit; they begin with the ring, and again when its file was truncated; if the collector's user is not addrwatch, name it with -u (rings of other users are refused)
    #[arg(help_heading = "Ring", long, conflicts_with_all = ["interfaces", "read", "names", "remove", "daemon", "pid_file"])]
    pub stats: bool,

    /// Format of --stats
    #[arg(help_heading = "Ring", long, value_enum, default_value_t = Format::Text, requires = "stats")]
    pub format: Format,

    /// Do not print events; -d implies this
    #[arg(help_heading = "What is reported", short, long)]
    pub quiet: bool,

    /// Log how many frames were refused and why, at most once a minute, and all counters at the end
    #[arg(help_heading = "What is reported", short, long)]
    pub verbose: bool,

    /// Ignore IPv6: Neighbor Discovery is only counted, as filtered
    #[arg(help_heading = "What is reported", short = '4', long, conflicts_with = "ipv6_only")]
    pub ipv4_only: bool,

    /// Ignore IPv4: ARP is only counted, as filtered
    #[arg(help_heading = "What is reported", short = '6', long)]
    pub ipv6_only: bool,

    /// Accepted for compatibility, without effect: pairings with the broadcast MAC, another group MAC or the all-zero MAC are always published, as ARP_NO_HOST and ND_NO_HOST
    #[arg(help_heading = "What is reported", long)]
    odd_macs: bool,

    /// Ignore pairings with this address or network; may be repeated
    #[arg(help_heading = "What is reported", short, long, value_name = "IP[/BITS]", value_parser = parse_network)]
    pub blacklist: Vec<IpNet>,

    /// Report an address with the same MAC at most once in NUM seconds, and at once when it has another MAC; 0 = no limit, -1 = again only with another MAC
    #[arg(
        help_heading = "What is reported",
        short,
        long,
        value_name = "NUM",
        default_value = "0",
        allow_negative_numbers = true
    )]
    pub ratelimit: Suppression,

    /// Largest number of pairings that the rate limit remembers; each takes at most 80 bytes. When it is reached, the first half of them are kept as long as they are seen once in 30 days; of the others, those of a MAC with more than 256 addresses are forgotten first, and then the ones not seen for longest
    #[arg(help_heading = "What is reported", long, value_name = "NUM", default_value_t = 1_000_000, allow_negative_numbers = true, value_parser = up_to::<u32>(u32::MAX.into()))]
    pub max_pairings: u32,

    /// Accepted for compatibility with addrwatch; the table grows as needed
    #[arg(short = 'H', long, value_name = "NUM", hide = true)]
    pub hashsize: Option<u32>,

    /// Moved: aw-stdout -o
    #[arg(short, long, value_name = "FILE", hide = true)]
    output: Option<String>,

    /// Moved: aw-sqlite
    #[arg(short, long, visible_alias = "sqlite3-table", value_name = "FILE", hide = true)]
    sqlite3: Option<String>,

    /// Do not set the interfaces to promiscuous mode
    #[arg(help_heading = "Frames", short = 'P', long)]
    pub no_promisc: bool,
}

/// The interfaces that the options name.
pub struct Sources {
    /// All of them.
    pub names: Vec<InterfaceName>,
    /// The instance's, if it may be only a label.
    pub label: Option<InterfaceName>,
}

/// The format of `--stats`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// One line for each counter that is not zero
    Text,
    /// One JSON object with all counters
    Json,
}

/// The directory of the files of options of its unit.
pub const CONFIGURED: &str = "/etc/addrwatch";

/// The unit of an instance.
pub fn unit_name(instance: &str) -> String {
    format!("addrwatch-collector@{instance}")
}
const DEFAULT_MACUPD: &str = "0.0.0.0:2056";

const EXAMPLES: &str = "\
Examples:
  collector eth0                       listen on eth0 and print the events
  collector -q eth0 eth1               listen on two interfaces, print nothing
  collector --read lan.pcap            replay a capture file
  tcpdump -w - | collector --read -    replay from a pipe while tcpdump captures
  collector --check eth0               try what `collector eth0` will do, and print each fault
  collector --stats                    show the state of the running collector
  collector --decapsulate eth1         also read what a remote mirror (ERSPAN, VXLAN, TZSP) sends to eth1
  collector --listen-tzsp              receive what a MikroTik router streams; no privileges
  collector --names eth0               also record names, routers and DHCP servers
  collector --macupd                   receive reports of DD-WRT routers only; no privileges
  collector --remove                   delete the ring
  collector -q --join /run/aw eth1     add eth1 to the collector that runs with --join /run/aw, or be the first
  collector -d -r 60 eth0              run in the background, repeat a report at most once a minute

Listening needs the capability CAP_NET_RAW, which root has. All other privileges are dropped before the first frame is read.
Exit status: 0 when stopped by a signal, at the end of a capture file, when standard output is closed, or without a fault with --check; 1 on failure; 2 for wrong options.";

/// The user that the collector becomes, and the group that may read the ring, if root starts it, they exist
/// and no option names others.
pub const DEFAULT_USER: &str = "addrwatch";
const DEFAULT_GROUP: &str = "addrwatch";
/// The users whose rings outputs trust by default.
pub const TRUSTED_USERS: &[&str] = &["addrwatch", "aw-routeros"];

impl Options {
    /// The error message for an option that belongs to another program.
    pub fn moved(&self) -> Option<&'static str> {
        if self.output.is_some() {
            Some("-o, --output: the collector writes no files (use aw-stdout -o FILE)")
        } else if self.sqlite3.is_some() {
            Some("-s, --sqlite3: the collector writes no database (use the output aw-sqlite)")
        } else if self.service.daemon && self.read.as_deref() == Some("-") {
            Some(
                "-d: a background process has no standard input to read from (name a file, or leave out -d)",
            )
        } else {
            None
        }
    }

    /// The interfaces to listen on, each once: frames of one that is named twice would be counted twice.
    pub fn sources(&self) -> Result<Sources, Error> {
        let mut names: Vec<InterfaceName> = Vec::new();
        for name in &self.interfaces {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        let mut label = None;
        if let Some(instance) = &self.instance
            && names.iter().all(|name| ![instance, "any"].contains(&name.as_str()))
        {
            let is_alone = names.is_empty() && !self.has_sockets();
            match instance.parse() {
                Ok(name) => {
                    names.push(name);
                    label = Some(name).filter(|_| !is_alone);
                }
                Err(why) if is_alone => {
                    return Err(failed(format_args!(
                        "--instance {instance}: {why} (name the interfaces in /etc/addrwatch/collector-{instance}.conf: OPTIONS=eth0 eth1)"
                    )));
                }
                Err(_) => {} // only a label
            }
        }
        Ok(Sources { names, label })
    }

    /// What files of options of its unit have no effect, each with the remedy.
    pub fn files_without_effect(&self) -> Vec<String> {
        let Some(instance) = &self.instance else { return Vec::new() };
        let own = Path::new(CONFIGURED).join(format!("collector-{instance}.conf"));
        let of_all = Path::new(CONFIGURED).join("collector.conf");
        // Where the outputs have theirs.
        let of_others = [String::new(), format!("@{instance}")].map(|instance| {
            let file = PathBuf::from(format!("/etc/default/addrwatch-collector{instance}"));
            let own = own.display();
            let fault =
                || format!("{}: no unit reads it (move its lines to {own})", file.display());
            file.exists().then(fault)
        });
        let unit = unit_name(instance);
        let ignored = [of_all, own.clone()].map(|file| ignored_options(&file, &unit));
        ignored.into_iter().chain(of_others).flatten().collect()
    }

    /// Whether to start without an interface, and wait for one.
    pub fn waits(&self) -> bool {
        self.wait || self.instance.is_some()
    }

    /// Whether it receives datagrams, so that it can do without an interface.
    pub fn has_sockets(&self) -> bool {
        self.macupd.is_some() || self.listen_vxlan.is_some() || self.listen_tzsp.is_some()
    }

    /// Whether one of its ports is only for privileged processes.
    pub fn has_low_port(&self) -> bool {
        self.ports().iter().any(|address| (1..1024).contains(&address.port()))
    }

    /// Where it receives datagrams.
    pub fn ports(&self) -> Vec<SocketAddr> {
        udp_source::addresses(self).into_iter().map(|(_, address)| address).collect()
    }

    /// The interface names of mirrored frames that it receives as datagrams.
    pub fn mirror_names(&self) -> impl Iterator<Item = &'static str> {
        let sockets = [("vxlan", self.listen_vxlan), ("tzsp", self.listen_tzsp)];
        sockets.into_iter().filter_map(|(name, address)| address.map(|_| name))
    }

    /// The options of the ring.
    pub fn writer(&self) -> Result<WriterOptions, Error> {
        let group = self.group.as_deref().map(group_id).transpose()?;
        let (name, slots, host) = (self.ring.clone(), self.slots, self.hostname.clone());
        Ok(WriterOptions { name, slots, group, host })
    }

    /// The options of the ring of names, if there is to be one.
    pub fn names_writer(&self, ring: &WriterOptions) -> Option<WriterOptions> {
        let (name, slots) = (ring.name.names(), crate::name_publisher::SLOTS);
        self.with_names.then(|| WriterOptions { name, slots, ..ring.clone() })
    }

    /// The user and group to become once everything is open. The group is the ring's, so that setting the
    /// ring's group needs no privilege.
    pub fn identity(&self) -> Result<Option<Identity>, Error> {
        let group = match &self.group {
            Some(group) => Some(group_id(group)?),
            None if rustix::process::geteuid().is_root() => {
                uzers::get_group_by_name(DEFAULT_GROUP).map(|group| group.gid())
            }
            None => None,
        };
        Identity::choose(self.service.user.as_deref(), &[DEFAULT_USER], group)
    }

    /// The files that are opened later: the ring, the state of interfaces in /sys, the next sample file.
    pub fn files(&self) -> Result<Vec<Access>, Error> {
        let mut files = vec![
            Access::Create("/dev/shm".into()),
            Access::Read("/sys".into()),
            Access::Read(shm_layout::BOOT_ID.into()),
        ];
        if let Some(file) = &self.snap_malformed {
            let file = std::path::absolute(file).map_err(|error| {
                Error::io(format_args!("resolve path {}", file.display()), error)
            })?;
            match file.parent() {
                Some(directory) if directory.parent().is_some() => {
                    files.push(Access::Write(directory.into()));
                }
                // All files in its directory stay accessible.
                _ => {
                    return Err(failed(
                        "--snap-malformed: a file in / would leave all files of the system accessible (choose another directory)",
                    ));
                }
            }
        }
        Ok(files)
    }

    /// Opens the file for refused frames, which will belong to `owner`.
    pub fn sample_file(
        &self,
        owner: Option<&Identity>,
    ) -> Result<Option<sample_file::OpenedFile>, Error> {
        self.snap_malformed.as_deref().map(|file| sample_file::open(file, owner)).transpose()
    }
}

/// Reads an address and a port, or a port of all IPv4 addresses.
fn udp_address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = || Some((Ipv4Addr::UNSPECIFIED, text.parse::<u16>().ok()?).into());
    text.parse().ok().or_else(port).ok_or("must be PORT, ADDR:PORT or [IPV6]:PORT")
}

/// Reads a number from 1 to `max`.
fn up_to<T: TryFrom<u64>>(max: u64) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("must be a number from 1 to {max}"))
    }
}

/// A host name that fits the ring's header.
fn host_name(name: &str) -> Result<String, String> {
    let valid = (1..=63).contains(&name.len())
        && !name.contains(|c: char| c.is_control() || c.is_whitespace());
    if valid { Ok(name.into()) } else { Err("must be 1 to 63 visible characters".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn addrwatch_names() {
        let line = "collector -q -v -4 -P -m /x -L 100 eth0 eth1";
        let long = "collector --quiet --verbose --ipv4-only --no-promisc --shm-log-name /x --shm-log-size 100 eth0 eth1";
        for line in [line, long] {
            let options = Options::try_parse_from(line.split(' ')).unwrap();
            assert!(options.quiet && options.verbose && options.ipv4_only && options.no_promisc);
            assert_eq!(options.ring.as_str(), "/x");
            assert_eq!(options.slots, 100);
            assert_eq!(options.interfaces.len(), 2);
        }
    }
}
