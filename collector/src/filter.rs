//! The kernel's filter: passes only frames that can contain a pairing, so that other traffic costs nothing.
//!
//! It uses plain offsets, not libpcap's `vlan`: the kernel may or may not have removed the outermost tag
//! before the filter runs, and the same offsets work for one tag more or less.

use crate::link::LinkType;

/// This filter and the one of `--filter`, which comes last: `vlan` in it shifts the offsets after it.
pub fn combined(own: &str, user: Option<&str>) -> String {
    user.map_or(own.into(), |user| format!("({own}) and ({user})"))
}

/// The filter for a link type. It passes more than necessary: all frames are parsed and checked afterwards.
pub fn expression(link: LinkType) -> String {
    let protocol = match link {
        LinkType::Ethernet => 12,
        LinkType::CookedV1 => 14,
        // In this header the protocol comes first; the payload or a tag follows the header.
        LinkType::CookedV2 => return format!("{} or {}", untagged(0, 20), tag(0)),
    };
    let [one, two] = [protocol + 4, protocol + 8];
    format!(
        "{} or ({} and ({} or ({} and ({} or {}))))",
        untagged(protocol, protocol + 2),
        tag(protocol),
        untagged(one, one + 2),
        tag(one),
        untagged(two, two + 2),
        tag(two), // three tags or more: the parser decides
    )
}

fn tag(at: u32) -> String {
    format!("(link[{at}:2] = 0x8100 or link[{at}:2] = 0x88a8 or link[{at}:2] = 0x9100)")
}

/// A protocol field with its payload, directly or after LLC and SNAP headers.
fn untagged(protocol: u32, payload: u32) -> String {
    format!(
        "({} or (link[{protocol}:2] <= 1500 and link[{payload}:4] = 0xaaaa0300 and {}))",
        message(protocol, payload),
        message(payload + 6, payload + 8),
    )
}

/// ARP, or IPv6 that is Neighbor Discovery, or may be behind its extension headers.
fn message(protocol: u32, payload: u32) -> String {
    let next_header = payload + 6;
    let icmp_type = payload + 40;
    let fragment = payload + 40;
    let offset = fragment + 2;
    format!(
        "(link[{protocol}:2] = 0x0806 or (link[{protocol}:2] = 0x86dd and (\
         (link[{next_header}] = 58 and (link[{icmp_type}] = 135 or link[{icmp_type}] = 136)) \
         or link[{next_header}] = 0 or link[{next_header}] = 43 or link[{next_header}] = 51 \
         or link[{next_header}] = 60 \
         or (link[{next_header}] = 44 and link[{offset}:2] & 0xfff8 = 0 and {}))))",
        any_of(fragment, &[0, 43, 51, 58, 60]),
    )
}

fn any_of(at: u32, values: &[u8]) -> String {
    let tests: Vec<_> = values.iter().map(|value| format!("link[{at}] = {value}")).collect();
    format!("({})", tests.join(" or "))
}
