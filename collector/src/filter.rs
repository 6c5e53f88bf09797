//! The kernel's filter: lets through only what can matter, so that a busy link costs nothing.
//!
//! Plain offsets, not libpcap's `vlan`: the kernel may have taken the outermost tag off before the
//! filter sees the frame, or not, and the same offsets then serve for one tag more or less.

use crate::link::Link;

/// Ours and that of `--filter`, which comes last: its `vlan` shifts what stands behind it.
pub fn both(ours: &str, theirs: Option<&str>) -> String {
    theirs.map_or(ours.into(), |theirs| format!("({ours}) and ({theirs})"))
}

/// The filter for a link type. It is generous: what it lets through is still parsed and checked.
pub fn expression(link: Link) -> String {
    let protocol = match link {
        Link::Ethernet => 12,
        Link::CookedV1 => 14,
        // The protocol lies at the start of this header, the payload or a tag behind it.
        Link::CookedV2 => return format!("{} or {}", untagged(0, 20), tag(0)),
    };
    let [one, two] = [protocol + 4, protocol + 8];
    format!(
        "{} or ({} and ({} or ({} and ({} or {}))))",
        untagged(protocol, protocol + 2),
        tag(protocol),
        untagged(one, one + 2),
        tag(one),
        untagged(two, two + 2),
        tag(two), // three tags or more: let the parser look
    )
}

fn tag(at: u32) -> String {
    format!("(link[{at}:2] = 0x8100 or link[{at}:2] = 0x88a8 or link[{at}:2] = 0x9100)")
}

/// A protocol field with its payload, perhaps behind LLC and SNAP.
fn untagged(protocol: u32, payload: u32) -> String {
    format!(
        "({} or (link[{protocol}:2] <= 1500 and link[{payload}:4] = 0xaaaa0300 and {}))",
        message(protocol, payload),
        message(payload + 6, payload + 8),
    )
}

/// ARP, or IPv6 that is or may become Neighbor Discovery.
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
