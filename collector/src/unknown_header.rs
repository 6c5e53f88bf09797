//! ARP and Neighbor Discovery behind a header that the collector does not know: not read, because the header may change
//! what they mean, but found and counted, so that a sensor that sees nothing else reports why.

use shm_layout::Counter;

/// How far behind an unknown EtherType a message may begin; it begins at an even number of bytes.
pub const REACH: usize = 64;

/// The outcome of a frame with these bytes behind a header that is not known.
pub fn outcome(bytes: &[u8]) -> Counter {
    let hides =
        |at: usize| bytes.get(at..).is_some_and(|bytes| is_arp(bytes) || is_neighbor(bytes));
    match (0..=REACH).step_by(2).any(hides) {
        true => Counter::UnknownHeader,
        false => Counter::Unrelated,
    }
}

/// Ethernet, IPv4, their sizes; a request or a reply.
fn is_arp(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 1, 8, 0, 6, 4, 0, 1 | 2, ..])
}

/// IPv6, ICMPv6 with hop limit 255; one of the five messages of Neighbor Discovery.
fn is_neighbor(bytes: &[u8]) -> bool {
    let Some([first, _, _, _, _, _, 58, 255, ..]) = bytes.first_chunk::<40>() else { return false };
    first >> 4 == 6 && matches!(bytes.get(40), Some(133..=137))
}
