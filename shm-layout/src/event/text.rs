//! The event's line of text, byte for byte addrwatch's.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{ConfigChange, Event, InterfaceName, Kind, VlanId};

/// addrwatch's line, without its end: `seconds interface vlan mac ip ORIGIN`. A configuration change
/// appends its details: `seconds router 0 00:00:00:00:00:00 ip CONFIG:+3-1:user`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.time.seconds())?;
        self.fmt_after_time(f)
    }
}

impl Event {
    /// The line from the interface on, for outputs that write the time in another format.
    pub fn after_time(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.fmt_after_time(f))
    }

    fn fmt_after_time(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { interface, vlan, mac, kind, .. } = self;
        write!(f, "{interface} {vlan} {mac} {} {}", self.ip_text(), kind.origin())?;
        match kind {
            Kind::ConfigChange(ConfigChange { user, added, removed }) => {
                write!(f, ":+{added}-{removed}:{user}")
            }
            Kind::Pairing(_) | Kind::MacUpd => Ok(()),
        }
    }

    /// The address as addrwatch writes it.
    pub fn ip_text(&self) -> impl fmt::Display + use<> {
        ip_text(self.ip())
    }
}

/// An address as addrwatch writes it.
pub fn ip_text(ip: IpAddr) -> impl fmt::Display {
    fmt::from_fn(move |f| match ip {
        IpAddr::V4(ip) => write!(f, "{ip}"),
        IpAddr::V6(ip) => fmt_ipv6(ip, f),
    })
}

/// As inet_ntop(3) of glibc, which addrwatch uses. It differs from std in one case: the deprecated
/// IPv4-compatible addresses (RFC 4291, 2.5.5.1) end in dotted form.
fn fmt_ipv6(ip: Ipv6Addr, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
            let [.., a, b, c, d] = ip.octets();
            write!(f, "::{}", Ipv4Addr::new(a, b, c, d))
        }
        _ => write!(f, "{ip}"),
    }
}

/// The name of a network within its ring: an interface and its VLANs, the outer one first, such as `eth0.7`.
pub fn network_name(interface: InterfaceName, outer: VlanId, inner: VlanId) -> String {
    let mut text = interface.to_string();
    for vlan in [outer, inner].iter().filter(|vlan| vlan.get() != 0) {
        text += &format!(".{vlan}");
    }
    text
}
