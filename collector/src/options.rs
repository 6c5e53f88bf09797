//! The command line. Where addrwatch has an option, it has the same name here.

use std::{
    net::{IpAddr, SocketAddrV4},
    num::{NonZeroU32, NonZeroU64},
    path::PathBuf,
};

use aw_service::{Access, Identity, ServiceOptions, group_id};
use clap::{Parser, ValueEnum, builder::NonEmptyStringValueParser};
use ipnet::IpNet;
use shm_layout::{InterfaceName, RingName, WriterOptions};

use crate::{Error, blacklist::Block, failed, limit::Silence, snap};

/// Hears ARP and IPv6 Neighbor Discovery, and records which MAC uses which IP address.
///
/// It also takes the reports that DD-WRT routers send (MACupd). Each pairing is published to a ring in shared memory, from which aw-stdout and the other
/// outputs read, and printed as a line: seconds interface vlan mac ip ORIGIN.
#[derive(Parser, Debug)]
#[command(name = "collector", version, after_help = EXAMPLES)]
pub struct Options {
    /// Interfaces to listen on; `any` for all at once [default: the first that is up and not loopback]
    #[arg(value_name = "INTERFACE", conflicts_with = "read")]
    pub interfaces: Vec<InterfaceName>,

    /// Start even if none of them is there yet: each is listened on as soon as it is
    #[arg(help_heading = "Frames", long, requires = "interfaces")]
    pub wait: bool,

    /// Replay a capture file (pcap or pcapng, - for standard input) with its packets' own times, then exit; needs no privileges
    #[arg(help_heading = "Frames", long, value_name = "FILE")]
    pub read: Option<String>,

    /// Report events of a replay as from interface NAME
    #[arg(
        help_heading = "Frames",
        long = "as",
        value_name = "NAME",
        default_value = "pcap",
        requires = "read"
    )]
    pub interface: InterfaceName,

    /// Replay at most NUM events a second, so that slow outputs can follow
    #[arg(help_heading = "Frames", long, value_name = "NUM", requires = "read")]
    pub max_rate: Option<NonZeroU32>,

    /// Name of the ring
    #[arg(
        help_heading = "Ring",
        short = 'm',
        long = "shm-log-name",
        visible_alias = "ring",
        value_name = "NAME",
        default_value = "/addrwatch"
    )]
    pub ring: RingName,

    /// Events that the ring holds, rounded up to a power of two; 64 bytes each
    #[arg(help_heading = "Ring", short = 'L', long = "shm-log-size", value_name = "NUM", default_value_t = DEFAULT_SLOTS)]
    pub slots: NonZeroU64,

    /// Group whose members may read the ring, by name or number [default: `addrwatch` if root and it exists, else the own one]
    #[arg(help_heading = "Ring", long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Receive the reports of DD-WRT routers, too; listens on no interface but those named [default: 0.0.0.0:2056]
    #[arg(help_heading = "Frames", long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = DEFAULT_MACUPD, conflicts_with = "read")]
    pub macupd: Option<SocketAddrV4>,

    /// Take such reports from this address or block only; may be repeated [default: private and link-local addresses]
    #[arg(help_heading = "Frames", long, value_name = "ADDR[/BITS]", value_parser = block, requires = "macupd")]
    pub macupd_from: Vec<IpNet>,

    #[command(flatten)]
    pub service: ServiceOptions,

    /// Host name that the ring is to give its outputs [default: this machine's]
    #[arg(help_heading = "Ring", long, value_name = "NAME", value_parser = host_name)]
    pub hostname: Option<String>,

    /// Hear only frames that this filter of pcap-filter(7) lets through, too
    #[arg(help_heading = "Frames", long, value_name = "BPF", value_parser = NonEmptyStringValueParser::new())]
    pub filter: Option<String>,

    /// Keep samples of refused frames in FILE, a pcap: 5 a minute of each reason, 16 MiB in all
    #[arg(help_heading = "Frames", long, value_name = "FILE")]
    pub snap_malformed: Option<PathBuf>,

    /// Delete the ring and exit; it otherwise stays for the outputs when the collector ends
    #[arg(help_heading = "Ring", long, conflicts_with_all = ["interfaces", "read", "daemon", "pid_file"])]
    pub remove: bool,

    /// Print the counters of the collector that writes to the ring, and exit; -u names the collector's user
    #[arg(help_heading = "Ring", long, conflicts_with_all = ["interfaces", "read", "remove", "daemon", "pid_file"])]
    pub stats: bool,

    /// How to print them
    #[arg(help_heading = "Ring", long, value_enum, default_value_t = Format::Text, requires = "stats")]
    pub format: Format,

    /// Do not print events; -d does not either
    #[arg(help_heading = "What is reported", short, long)]
    pub quiet: bool,

    /// Say why frames are refused, once a minute, and all counters at the end
    #[arg(help_heading = "What is reported", short, long)]
    pub verbose: bool,

    /// IPv4 only: count Neighbor Discovery as filtered
    #[arg(help_heading = "What is reported", short = '4', long, conflicts_with = "ipv6_only")]
    pub ipv4_only: bool,

    /// IPv6 only: count ARP as filtered
    #[arg(help_heading = "What is reported", short = '6', long)]
    pub ipv6_only: bool,

    /// Publish ARP from the broadcast and the zero MAC, too: for aw-alert's "ethernet broadcast"
    #[arg(help_heading = "What is reported", long)]
    pub odd_macs: bool,

    /// Ignore pairings with this address or block of addresses; may be repeated
    #[arg(help_heading = "What is reported", short, long, value_name = "IP[/BITS]")]
    pub blacklist: Vec<Block>,

    /// Report a pairing at most once in NUM seconds, and each change of MAC at once; 0 = no limit, -1 = once for ever
    #[arg(
        help_heading = "What is reported",
        short,
        long,
        value_name = "NUM",
        default_value = "0",
        allow_negative_numbers = true
    )]
    pub ratelimit: Silence,

    /// Pairings that the rate limit knows, at most; beyond, it forgets the one silent longest. Up to 80 bytes each
    #[arg(help_heading = "What is reported", long, value_name = "NUM", default_value_t = DEFAULT_PAIRINGS)]
    pub max_pairings: NonZeroU32,

    /// Accepted for addrwatch's sake; the table grows by itself
    #[arg(short = 'H', long, value_name = "NUM", hide = true)]
    pub hashsize: Option<u32>,

    /// Moved: aw-stdout -o
    #[arg(short, long, value_name = "FILE", hide = true)]
    output: Option<String>,

    /// Moved: aw-sqlite
    #[arg(short, long, visible_alias = "sqlite3-table", value_name = "FILE", hide = true)]
    sqlite3: Option<String>,

    /// Do not put the interfaces into promiscuous mode
    #[arg(help_heading = "Frames", short = 'P', long)]
    pub no_promisc: bool,
}

/// The shape of `--stats`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// A line for each counter that is not zero
    Text,
    /// One JSON object with all counters
    Json,
}

const DEFAULT_SLOTS: NonZeroU64 = NonZeroU64::new(WriterOptions::DEFAULT_SLOTS).unwrap();

const DEFAULT_MACUPD: &str = "0.0.0.0:2056";

const DEFAULT_PAIRINGS: NonZeroU32 = NonZeroU32::new(1_000_000).unwrap();

const EXAMPLES: &str = "\
Examples:
  collector eth0                       listen on eth0 and print what is heard
  collector -q eth0 eth1               the same on two, for the outputs only
  collector --read lan.pcap            replay a capture file
  tcpdump -w - | collector --read -    replay from a pipe, as it comes
  collector --stats                    how the running collector is
  collector --macupd                   what DD-WRT routers report, for which no privilege is needed
  collector --remove                   delete the ring
  collector -d -r 60 eth0              in the background, each pairing once a minute

To listen needs the capability CAP_NET_RAW, which root has; all else is given up before the first frame.
Exit status: 0 when stopped by a signal or at a replay's end, 1 on failure, 2 for wrong options.";

/// The user that the collector becomes, and the group that may read the ring, where root says
/// nothing else and there are such.
pub const DEFAULT_USER: &str = "addrwatch";
const DEFAULT_GROUP: &str = "addrwatch";

impl Options {
    /// What to say if an option was given that is another program's now.
    pub fn moved(&self) -> Option<&'static str> {
        if self.output.is_some() {
            Some("-o, --output: the collector writes no files (use aw-stdout -o FILE)")
        } else if self.sqlite3.is_some() {
            Some(
                "-s, --sqlite3: the collector writes no database (that is for the output aw-sqlite)",
            )
        } else if self.service.daemon && self.read.as_deref() == Some("-") {
            Some(
                "-d: in the background there is no standard input to read (name a file, or leave out -d)",
            )
        } else {
            None
        }
    }

    /// The ring that they ask for.
    pub fn writer(&self) -> Result<WriterOptions, Error> {
        let group = self.group.as_deref().map(group_id).transpose()?;
        let (name, slots, host) = (self.ring.clone(), self.slots.get(), self.hostname.clone());
        Ok(WriterOptions { name, slots, group, host })
    }

    /// Who to be once everything is open: the user's group is the ring's, so that the ring can be
    /// given to it without a privilege.
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

    /// What is opened later: the ring, what the kernel tells of interfaces, the next file of frames.
    pub fn files(&self) -> Result<Vec<Access>, Error> {
        let mut files = vec![Access::Write("/dev/shm".into()), Access::Read("/sys".into())];
        if let Some(file) = &self.snap_malformed {
            let file = std::path::absolute(file)
                .map_err(|error| Error::io(format_args!("find {}", file.display()), error))?;
            match file.parent() {
                Some(directory) if directory.parent().is_some() => {
                    files.push(Access::Write(directory.into()));
                }
                // What is beneath its directory stays open to us.
                _ => {
                    return Err(failed(
                        "--snap-malformed: a file in / would leave all files open (choose another directory)",
                    ));
                }
            }
        }
        Ok(files)
    }

    /// The file for refused frames, which is the user's to make again.
    pub fn snap(&self, owner: Option<&Identity>) -> Result<Option<snap::Opened>, Error> {
        self.snap_malformed.as_deref().map(|file| snap::open(file, owner)).transpose()
    }
}

/// An address, or a block of addresses.
pub fn block(text: &str) -> Result<IpNet, &'static str> {
    let address = text.parse().map(|address: IpAddr| IpNet::from(address));
    address
        .or_else(|_| text.parse())
        .map_err(|_| "an address or a block of them, such as 192.0.2.1 or 2001:db8::/32")
}

/// A host's name as the ring holds it.
fn host_name(name: &str) -> Result<String, String> {
    let fits = (1..=63).contains(&name.len())
        && !name.contains(|c: char| c.is_control() || c.is_whitespace());
    if fits { Ok(name.into()) } else { Err("a name of 1 to 63 visible characters".into()) }
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
            assert_eq!(options.slots.get(), 100);
            assert_eq!(options.interfaces.len(), 2);
        }
    }
}
