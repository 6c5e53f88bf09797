//! Alerts: their kinds, and their text as one line.

use std::{fmt, net::IpAddr};

use aw_output::{ClaimedName, FaultKind};
use aw_service::{plain, plain_lines};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::network::{full_name, matches_network};

/// What an alert reports.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// An address is used again by the same MAC after half a year.
    NewActivity,
    /// An address without an earlier MAC.
    NewStation,
    /// The previous MAC of an address uses it again.
    FlipFlop,
    /// A flip flop within a day that DECnet causes.
    SuppressedDecnet,
    /// An older MAC of an address uses it again.
    ReusedOld,
    /// A MAC uses an address for the first time that another MAC had.
    Changed,
    /// The MAC in an ARP or Neighbor Discovery message is not the MAC of its frame.
    Mismatch,
    /// An address is claimed for a MAC that no host has: group, broadcast or zero. Or a frame comes from such a MAC.
    Broadcast,
    /// An address of no local network.
    Bogon,
    /// A MAC that was not seen before.
    NewDevice,
    /// A MAC that is not in the list of names.
    UnknownDevice,
    /// A MAC is seen again after many days.
    Returned,
    /// Two MACs use an address at the same time.
    Duplicate,
    /// A watched MAC is no longer seen.
    Silent,
    /// A silent MAC is seen again.
    Back,
    /// A router's configuration changed.
    ConfigChange,
    /// Events were lost: a ring was overrun, or the kernel dropped frames.
    Lost,
    /// Devices or pairings were forgotten to make room for others.
    Forgot,
    /// A limit, a queue or a disk is full.
    Full,
    /// The sensor is blind: its collector has ended, or an interface is down or gone.
    Blind,
    /// A DHCP server that the learning period did not see.
    NewDhcpServer,
    /// A DHCP client finds that another host uses the address that it was given.
    DhcpConflict,
    /// A router that the learning period did not see.
    NewRouter,
    /// A router announces other values than before.
    RouterChanged,
    /// A router announces that it is no default router any more.
    RouterWithdrawn,
    /// A DNS server that routers and DHCP servers did not name before.
    ForeignDns,
    /// Something harmless, or a first message, of a router or server that is known or named: in the digest.
    NewSetting,
    /// A host is sent another way.
    Redirect,
    /// Another MAC takes the address of a router.
    GatewayTaken,
}

impl AlertKind {
    /// The kinds of a channel without `kinds`. Without *new station*: IPv6 hosts take new addresses every day.
    pub const DEFAULT: &[AlertKind] = &[
        AlertKind::FlipFlop,
        AlertKind::ReusedOld,
        AlertKind::Changed,
        AlertKind::Broadcast,
        AlertKind::NewDevice,
        AlertKind::UnknownDevice,
        AlertKind::Returned,
        AlertKind::Duplicate,
        AlertKind::Silent,
        AlertKind::Back,
        AlertKind::ConfigChange,
        AlertKind::Lost,
        AlertKind::Forgot,
        AlertKind::Full,
        AlertKind::Blind,
        AlertKind::NewDhcpServer,
        AlertKind::DhcpConflict,
        AlertKind::NewRouter,
        AlertKind::RouterChanged,
        AlertKind::RouterWithdrawn,
        AlertKind::ForeignDns,
        AlertKind::NewSetting,
        AlertKind::Redirect,
        AlertKind::GatewayTaken,
    ];

    /// The kinds that a channel without `digest_exempt` sends alone although a digest is being gathered: a host takes an address or
    /// the place of a router or server, or a message was forged.
    pub const DIGEST_EXEMPT: &[AlertKind] = &[
        AlertKind::FlipFlop,
        AlertKind::ReusedOld,
        AlertKind::Changed,
        AlertKind::Mismatch,
        AlertKind::Broadcast,
        AlertKind::Duplicate,
        AlertKind::NewDhcpServer,
        AlertKind::NewRouter,
        AlertKind::RouterChanged,
        AlertKind::RouterWithdrawn,
        AlertKind::ForeignDns,
        AlertKind::Redirect,
        AlertKind::GatewayTaken,
    ];

    /// The kinds whose channels get [`AlertKind::NewSetting`], too: it was one of these before.
    pub const WITH_NEW_SETTING: &[AlertKind] = &[
        AlertKind::NewSetting,
        AlertKind::NewDhcpServer,
        AlertKind::NewRouter,
        AlertKind::RouterChanged,
        AlertKind::ForeignDns,
    ];

    /// The kind in messages; arpwatch's text where arpwatch has this kind.
    pub fn label(self) -> &'static str {
        match self {
            AlertKind::NewActivity => "new activity",
            AlertKind::NewStation => "new station",
            AlertKind::FlipFlop => "flip flop",
            AlertKind::SuppressedDecnet => "suppressed DECnet flip flop",
            AlertKind::ReusedOld => "reused old ethernet address",
            AlertKind::Changed => "changed ethernet address",
            AlertKind::Mismatch => "ethernet mismatch",
            AlertKind::Broadcast => "ethernet broadcast",
            AlertKind::Bogon => "bogon",
            AlertKind::NewDevice => "new device",
            AlertKind::UnknownDevice => "unknown device",
            AlertKind::Returned => "returned device",
            AlertKind::Duplicate => "duplicate address",
            AlertKind::Silent => "silent device",
            AlertKind::Back => "device is back",
            AlertKind::ConfigChange => "configuration changed",
            AlertKind::Lost => "events lost",
            AlertKind::Forgot => "devices forgotten",
            AlertKind::Full => "limit reached",
            AlertKind::Blind => "sensor blind",
            AlertKind::NewDhcpServer => "new DHCP server",
            AlertKind::DhcpConflict => "DHCP conflict",
            AlertKind::NewRouter => "new router",
            AlertKind::RouterChanged => "router changed",
            AlertKind::RouterWithdrawn => "router withdrawn",
            AlertKind::ForeignDns => "foreign DNS server",
            AlertKind::NewSetting => "new setting",
            AlertKind::Redirect => "redirect",
            AlertKind::GatewayTaken => "gateway taken",
        }
    }

    /// Whether arpwatch only logs this kind and sends no mail for it.
    pub fn is_log_only(self) -> bool {
        use AlertKind::*;
        matches!(self, SuppressedDecnet | ReusedOld | Mismatch | Broadcast | Bogon)
    }

    /// Whether it is about the sensor itself: no host causes it by one message of its own.
    pub fn is_sensor(self) -> bool {
        use AlertKind::*;
        matches!(self, Lost | Forgot | Full | Blind)
    }

    /// Whether a MAC uses an address that another MAC had.
    pub fn is_takeover(self) -> bool {
        use AlertKind::*;
        matches!(self, FlipFlop | ReusedOld | Changed | Duplicate | GatewayTaken)
    }

    /// Whether it is about routers and servers, as the ring of names shows them.
    pub fn is_of_infrastructure(self) -> bool {
        use AlertKind::*;
        matches!(
            self,
            NewDhcpServer | DhcpConflict | NewRouter | ForeignDns | NewSetting | Redirect
        ) || self.is_of_known_router()
    }

    /// Whether a known router loses its address, or its messages are others than before.
    pub fn is_of_known_router(self) -> bool {
        use AlertKind::*;
        matches!(self, RouterChanged | RouterWithdrawn | GatewayTaken)
    }

    /// Whether it is about a device that takes nothing from another one.
    pub fn is_of_device(self) -> bool {
        use AlertKind::*;
        matches!(self, NewDevice | UnknownDevice | Returned | NewStation | NewActivity)
    }

    /// What it is when it is over, of a kind about the sensor.
    pub fn label_of_end(self) -> &'static str {
        match self {
            AlertKind::Lost => "no more events lost",
            AlertKind::Forgot => "no more devices forgotten",
            AlertKind::Full => "limit no longer reached",
            AlertKind::Blind => "sensor sees again",
            kind => kind.label(),
        }
    }

    /// The kind's name in configurations, JSON and topics.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(Value::String(name)) => name,
            _ => String::new(),
        }
    }
}

impl From<FaultKind> for AlertKind {
    fn from(kind: FaultKind) -> AlertKind {
        match kind {
            FaultKind::Lost => AlertKind::Lost,
            FaultKind::Forgot => AlertKind::Forgot,
            FaultKind::Full => AlertKind::Full,
            FaultKind::Blind => AlertKind::Blind,
        }
    }
}

/// A finding of the rules about one address or device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// What it reports.
    pub kind: AlertKind,
    /// The packet's time in whole seconds since 1970.
    pub time: i64,
    /// The host that captured it; for a silent device, the host that misses it.
    pub host: String,
    /// The ring that it was read from, with its leading slash; empty for a silent device.
    pub ring: String,
    /// Whether messages show the ring.
    pub show_ring: bool,
    /// Interface and VLANs; empty for a silent device.
    pub network: String,
    /// The address; empty for a silent device.
    pub ip: String,
    /// The address that the MAC probed or asked from, if that is not known to be its own.
    pub asked: Option<IpAddr>,
    /// The MAC; empty for a configuration change.
    pub mac: String,
    /// The MAC's name in the list of names.
    pub name: Option<String>,
    /// The MAC's vendor, where it is known.
    pub vendor: Option<String>,
    /// The MACs that claimed its address, the last one first: of a message that names an address and shows no MAC of it. Any host can
    /// claim it, so they lower nothing.
    #[serde(default)]
    pub claimed_by: Vec<String>,
    /// The vendor of `old_mac`.
    pub old_vendor: Option<String>,
    /// The MAC that had the address before.
    pub old_mac: Option<String>,
    /// The name of `old_mac`.
    pub old_name: Option<String>,
    /// What the MAC calls itself, if it has no name.
    #[serde(default)]
    pub claimed: Option<Claim>,
    /// What `old_mac` calls itself, if it has no name.
    #[serde(default)]
    pub old_claimed: Option<Claim>,
    /// The MAC that sent the frame, if the message names another one: it may be a forgery in that one's name.
    pub frame_source: Option<String>,
    /// When the device, or `old_mac` at this address, was last seen.
    pub previous: Option<i64>,
    /// For how many seconds `old_mac` had this address: not by claims that came later. 0 where that is not known.
    pub held: i64,
    /// Further information.
    pub note: Option<String>,
    /// What it can mean, and what to do: at the end of a message of its own, and not in a digest.
    #[serde(default)]
    pub advice: String,
    /// Until when the same is not reported: at the end of a message of its own. It is false once only a digest has the alert.
    #[serde(default)]
    pub pause: String,
    /// What is not in its texts yet.
    #[serde(default)]
    pub facts: Facts,
    /// When it was, if it is reported late: `at 05:19:07 UTC, 78 s ago`.
    #[serde(default)]
    pub late: String,
    /// Whether it goes into the next digest instead of a message of its own.
    pub digest: bool,
    /// Of a new setting: the kind of record that has it. A digest shows one of each, as of kinds.
    #[serde(default)]
    pub setting: String,
}

/// What [`crate::Rules::explain`] makes sentences of, for messages only: times have the clock of the reader there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Facts {
    /// What its kind has.
    #[default]
    None,
    /// Of a router's address: what the MAC does.
    Gateway(String),
    /// Which MACs claim its address: of a message that names an address and shows no MAC of it.
    Claims,
    /// When the server was reported before.
    Reported(i64),
}

/// What a device calls itself: any host can claim any name, so it is shown as a quotation, and decides nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The name.
    pub name: String,
    /// In which message, in words.
    pub source: String,
}

impl From<&ClaimedName> for Claim {
    fn from(claimed: &ClaimedName) -> Claim {
        // It must not end the quotation.
        let name = plain(&claimed.name).replace(['“', '”', '„', '‟', '"'], "'");
        Claim { name, source: claimed.source.words().into() }
    }
}

/// `calls itself “nas” (DHCP host name)`
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "calls itself “{}” ({})", self.name, self.source)
    }
}

impl Alert {
    /// An alert without optional parts.
    pub fn new(kind: AlertKind, time: i64) -> Alert {
        Alert {
            kind,
            time,
            host: String::new(),
            ring: String::new(),
            show_ring: false,
            network: String::new(),
            ip: String::new(),
            asked: None,
            mac: String::new(),
            name: None,
            vendor: None,
            claimed_by: Vec::new(),
            old_vendor: None,
            old_mac: None,
            old_name: None,
            claimed: None,
            old_claimed: None,
            frame_source: None,
            previous: None,
            held: 0,
            note: None,
            advice: String::new(),
            pause: String::new(),
            facts: Facts::None,
            late: String::new(),
            digest: false,
            setting: String::new(),
        }
    }

    /// The note with the advice, and until when the same is not reported.
    pub fn full_note(&self) -> Option<String> {
        let mut text = self.note.clone().unwrap_or_default();
        for further in [&self.advice, &self.pause].into_iter().filter(|text| !text.is_empty()) {
            text += match () {
                () if text.is_empty() => "",
                () if text.ends_with('.') || further.starts_with('(') => " ",
                () => ". ",
            };
            text += further;
        }
        (!text.is_empty()).then_some(text)
    }

    /// Its line in a digest, which has its time: without advice.
    pub fn short_line(&self) -> String {
        let none = String::new;
        Alert { advice: none(), pause: none(), late: none(), ..self.clone() }.to_string()
    }

    /// Whether it reports the end of what the sensor missed.
    pub fn is_over(&self) -> bool {
        self.kind.is_sensor() && self.note.as_deref().is_some_and(|note| note.starts_with("over: "))
    }

    /// The address that filters look at: its own, or the one that it asked for.
    pub fn filtered_address(&self) -> Option<IpAddr> {
        self.ip.parse().ok().or(self.asked)
    }

    /// Whether a name stands for its network: `eth0`, or with the ring `site-a/eth0`, or with the host too; `eth0.*` for each of its
    /// VLANs.
    pub fn is_of_network(&self, name: &str) -> bool {
        matches_network(name, &full_name(&self.host, &self.ring, &self.network))
    }

    /// Its network as messages show it: `eth0`, or with the ring, `site-a/eth0`.
    pub fn shown_network(&self) -> String {
        match self.ring.trim_start_matches('/') {
            ring if self.show_ring && !ring.is_empty() => format!("{ring}/{}", self.network),
            _ => self.network.clone(),
        }
    }

    /// The line that Debian's arpwatch writes to the log: `<message> <ip> <mac> (<old mac>) <interface>`.
    pub fn arpwatch_line(&self) -> String {
        if self.kind.is_sensor() { self.to_string() } else { self.line(&self.network) }
    }

    fn line(&self, network: &str) -> String {
        self.line_with(network, "")
    }

    /// With what is known of the MAC that had the address before.
    fn line_with(&self, network: &str, of_old: &str) -> String {
        let Alert { kind, ip, mac, old_mac, .. } = self;
        let old = old_mac.as_ref().filter(|old| *old != mac);
        let other = if *kind == AlertKind::GatewayTaken { "other MAC: " } else { "" };
        let old = old.map(|old| format!("({other}{old}{of_old})")).unwrap_or_default();
        let claimed = self.claimed_by.join(", ");
        let claimed = if claimed.is_empty() { claimed } else { format!("(claimed by {claimed})") };
        let parts = [kind.label(), ip, mac, &old, &claimed, network].into_iter();
        parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// arpwatch's line with names, maker and note: `<message> <ip> <mac> (<old mac> [old name]) <network> [name] (maker): note`; without a
/// name, `calls itself “nas” (DHCP host name)`, if it does. About the sensor itself, `<message> <ring>: note`. Hosts may have chosen names
/// and notes.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.is_sensor() {
            false => {
                let old = match (&self.old_name, &self.old_claimed) {
                    (Some(name), _) => format!(" [{}]", plain(name)),
                    (None, Some(claim)) => format!(" {claim}"),
                    (None, None) => String::new(),
                };
                f.write_str(&self.line_with(&self.shown_network(), &old))?
            }
            true => f.write_str(format!("{} {}", self.kind.label(), self.ring).trim_end())?,
        }
        if let Some(name) = &self.name {
            write!(f, " [{}]", plain(name))?;
        }
        if let Some(vendor) = &self.vendor {
            write!(f, " ({})", plain(vendor))?;
        }
        if let Some(claim) = &self.claimed {
            write!(f, " {claim}")?;
        }
        if !self.late.is_empty() {
            write!(f, ": {}", self.late)?;
        }
        self.full_note().map_or(Ok(()), |note| write!(f, ": {}", plain_lines(&note)))
    }
}
