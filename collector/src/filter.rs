//! The kernel's filter: passes only frames that can contain a pairing, so that other traffic costs nothing.
//!
//! It uses plain offsets, not libpcap's `vlan`: the kernel may or may not have removed the outermost tag
//! before the filter runs, and the same offsets work for one tag more or less.
//!
//! It has to stay small: the kernel expands each load to about twelve instructions, and before Linux 6.8 it takes no
//! more than 20 KiB of them for a socket (net.core.optmem_max); libpcap then filters in the collector, which is slow.
//! A load behind the end of a frame ends the program and drops the frame: a test reads only what a whole frame has.

use pcap::{BpfInstruction, BpfProgram};

use crate::{
    layer::{ARP, IPV4, IPV6},
    link::LinkType,
    names::message::{DHCP_CLIENT, DHCP_SERVER, DHCPV6_SERVER, LLDP, MDNS},
    tag::{FIXED, MACSEC, VLAN_TAGS},
    tunnel::{
        ERSPAN, ERSPAN_3, ETHERNET, FABRICPATH, FRAMES, GENEVE, PBB, PPPOE, TRILL, TZSP, VXLAN,
        VXLAN_OF_LINUX,
    },
};

/// Longest frames that are passed only to show that a header hides messages: an advertisement behind 60 bytes of
/// headers, or in a tunnel over IPv6.
const SHORT: u32 = 200;

/// EtherTypes of protocols without ARP inside. Some carry much traffic: MPLS, PPPoE discovery, PROFINET, EtherCAT, GOOSE,
/// sampled values, FCoE, RoCE. The others would count as traffic on a link that is silent otherwise: LLDP, slow
/// protocols, EAPOL, CFM, PTP, loopback tests. MPLS may hide messages, but looking for them would cost too much.
const OTHERS: [u16; 15] = [
    0x8847, 0x8848, 0x8863, 0x8892, 0x88a4, 0x88b8, 0x88ba, 0x8906, 0x8915, 0x88cc, 0x8809, 0x888e,
    0x8902, 0x88f7, 0x9000,
];

/// The filter and what `--names` reads in addition: behind at most two VLAN tags. Neighbor Discovery, and what may be behind
/// extension headers of IPv6 as MLD is, passes the other filter.
pub fn with_names(own: &str, link: LinkType) -> String {
    let levels: &[[u32; 2]] = match link {
        LinkType::Ethernet => &[[12, 14], [16, 18], [20, 22]],
        LinkType::CookedV1 => &[[14, 16], [18, 20], [22, 24]],
        LinkType::CookedV2 => &[[0, 20], [22, 24], [26, 28]],
        LinkType::BrcmTag | LinkType::BrcmPrepended | LinkType::DsaTag => {
            &[[16, 18], [20, 22], [24, 26]]
        }
        LinkType::EdsaTag => &[[20, 22], [24, 26], [28, 30]],
    };
    let names = levels.iter().rev().copied().fold(None, |inner: Option<String>, [protocol, at]| {
        let udp = |next: u32, ports: u32, to: &[u16]| {
            format!("(link[{next}] = 17 and {})", is(ports, to))
        };
        let v4 = udp(at + 9, at + 22, &[DHCP_SERVER, DHCP_CLIENT, MDNS]);
        // With options in the header, the ports are elsewhere. Behind two tags that is left out, to keep the filter small.
        let v4 = match inner {
            None => v4,
            Some(_) => any([v4, format!("(link[{at}] != 0x45 and link[{}] = 17)", at + 9)]),
        };
        let v6 = udp(at + 6, at + 42, &[DHCPV6_SERVER, MDNS]);
        let tagged = inner.map(|inner| format!("({} and {inner})", is(protocol, &VLAN_TAGS)));
        let here = [
            format!("({} and {v4})", is(protocol, &[IPV4])),
            format!("({} and {v6})", is(protocol, &[IPV6])),
            is(protocol, &[LLDP]),
        ];
        Some(any(here.into_iter().chain(tagged)))
    });
    format!("(({own}) or {})", names.unwrap_or_default())
}

/// This filter and the one of `--filter`, which comes last: `vlan` in it shifts the offsets after it.
pub fn combined(own: &str, user: Option<&str>) -> String {
    user.map_or(own.into(), |user| format!("({own}) and ({user})"))
}

/// About how many bytes of eBPF the kernel makes of a program: a load becomes about twelve instructions of eight bytes, most others one.
pub fn size_in_kernel(program: &BpfProgram) -> usize {
    let size = |one: &BpfInstruction| {
        let code = one.to_string().split(' ').next().and_then(|code| code.parse::<u16>().ok());
        if matches!(code.unwrap_or(0) & 0xe7, 0x20 | 0x40) { 12_usize } else { 1 }
    };
    program.get_instructions().iter().map(size).sum::<usize>() * 8
}

/// The filter for a link type. It passes more than necessary: all frames are parsed and checked afterwards.
/// `decapsulate`: pass everything that may hide in tunnels; otherwise only what shows plainly that there is something.
pub fn expression(link: LinkType, decapsulate: bool) -> String {
    let protocol = match link {
        LinkType::Ethernet => 12,
        LinkType::CookedV1 => 14,
        LinkType::BrcmTag | LinkType::BrcmPrepended | LinkType::DsaTag => 16,
        LinkType::EdsaTag => 20,
        // In this header the protocol comes first; the payload or a tag follows the header.
        LinkType::CookedV2 => return level(0, 20, decapsulate, None),
    };
    let [one, two] = [protocol + 4, protocol + 8];
    let two = level(two, two + 2, decapsulate, None);
    let one = level(one, one + 2, decapsulate, Some(&two));
    level(protocol, protocol + 2, decapsulate, Some(&one))
}

/// The field at this offset is one of these EtherTypes.
fn is(at: u32, protocols: &[u16]) -> String {
    any(protocols.iter().map(|protocol| format!("link[{at}:2] = {protocol:#06x}")))
}

/// At least one of these.
fn any(tests: impl IntoIterator<Item = String>) -> String {
    format!("({})", tests.into_iter().collect::<Vec<_>>().join(" or "))
}

/// What a protocol field and its payload may be. The most frequent protocols come first. `behind_tag`: the test behind
/// a VLAN tag; none: all that is tagged passes.
fn level(protocol: u32, payload: u32, decapsulate: bool, behind_tag: Option<&str>) -> String {
    let v4 = tunnel_in_ipv4(payload, decapsulate);
    let v6 = format!("({} or {})", neighbor(payload), tunnel_in_ipv6(payload, decapsulate));
    let tagged = behind_tag.map_or(String::new(), |test| format!(" and {test}"));
    let others = any([
        snap(protocol, payload),
        other_headers(protocol, payload, decapsulate),
        unknown(protocol),
    ]);
    let others = either(protocol, &VLAN_TAGS, &tagged, &others);
    let others = format!("({} or {others})", is(protocol, &[ARP]));
    let others = either(protocol, &[IPV6], &format!(" and {v6}"), &others);
    either(protocol, &[IPV4], &format!(" and {v4}"), &others)
}

/// One of these protocols and a further test, or none of them and the other test: libpcap makes short programs of this.
fn either(protocol: u32, protocols: &[u16], test: &str, otherwise: &str) -> String {
    let found = is(protocol, protocols);
    format!("(({found}{test}) or (not {found} and {otherwise}))")
}

/// ARP or Neighbor Discovery after LLC and SNAP headers.
fn snap(length: u32, payload: u32) -> String {
    let (protocol, message) = (payload + 6, payload + 8);
    format!(
        "(link[{length}:2] <= 1500 and link[{payload}:4] = 0xaaaa0300 and ({} or ({} and {})))",
        is(protocol, &[ARP]),
        is(protocol, &[IPV6]),
        neighbor(message)
    )
}

/// In IPv6: Neighbor Discovery, or what may be behind extension headers.
fn neighbor(payload: u32) -> String {
    let next_header = payload + 6;
    let icmp_type = payload + 40;
    let fragment = payload + 40;
    let offset = fragment + 2;
    format!(
        "((link[{next_header}] = 58 and link[{icmp_type}] >= 133 and link[{icmp_type}] <= 137) \
         or link[{next_header}] = 0 or link[{next_header}] = 43 or link[{next_header}] = 51 \
         or link[{next_header}] = 60 \
         or (link[{next_header}] = 44 and link[{offset}:2] & 0xfff8 = 0 and {}))",
        any([0, 17, 43, 47, 51, 58, 60].map(|value| format!("link[{fragment}] = {value}"))),
    )
}

/// A header of layer 2 that the parser removes, unless it shows that TCP follows, as in most frames. Frames in frames
/// only if they are short, unless they are read.
fn other_headers(protocol: u32, payload: u32, decapsulate: bool) -> String {
    let of_length = |length: usize| {
        let same = FIXED.iter().filter(|(_, other)| *other == length).map(|(tag, _)| *tag);
        let tags: Vec<u16> = same.collect();
        format!("({} and not {})", is(protocol, &tags), is_tcp(payload + length as u32))
    };
    let encrypted = format!("link[{payload}] & 0x0c != 0");
    let ppp = payload + 6;
    let bridged = format!("(link[{ppp}:2] = 0x0031 or link[{ppp}] = 0x31)");
    let frames = any([
        format!("({} and not {})", is(protocol, &[PBB]), is_tcp(payload + 16)),
        format!("({} and {bridged})", is(protocol, &[PPPOE])),
        is(protocol, &[FABRICPATH, TRILL]),
    ]);
    let short = if decapsulate { String::new() } else { format!("len <= {SHORT} and ") };
    any([
        of_length(4),
        of_length(6),
        format!("({} and not {encrypted})", is(protocol, &[MACSEC])),
        format!("({short}{frames})"),
    ])
}

/// TCP over IPv4, or over IPv6 without extension headers.
fn is_tcp(protocol: u32) -> String {
    let payload = protocol + 2;
    format!(
        "(({} and link[{}] = 6) or ({} and link[{}] = 6))",
        is(protocol, &[IPV4]),
        payload + 9,
        is(protocol, &[IPV6]),
        payload + 6
    )
}

/// A short frame with an EtherType that the parser does not know: the parser looks for a message in it.
fn unknown(protocol: u32) -> String {
    let tags = FIXED.iter().map(|(tag, _)| *tag);
    let known: Vec<u16> = [MACSEC].into_iter().chain(FRAMES).chain(tags).chain(OTHERS).collect();
    format!("(len <= {SHORT} and link[{protocol}:2] > 1500 and not {})", is(protocol, &known))
}

/// A tunnel over IPv4: with `decapsulate` each one, otherwise a short packet of the usual form.
fn tunnel_in_ipv4(at: u32, decapsulate: bool) -> String {
    let first = format!("link[{}:2] & 0x1fff = 0", at + 6); // of its fragments
    let usual = format!("link[{at}] = 0x45"); // version 4, no options
    tunnel(at + 9, at + 20, decapsulate, |tunnel| match decapsulate {
        true => format!("{first} and (not {usual} or ({tunnel}))"),
        false => format!("{first} and {usual} and {tunnel}"),
    })
}

/// A tunnel over IPv6 without extension headers; with them, `neighbor` passes it.
fn tunnel_in_ipv6(at: u32, decapsulate: bool) -> String {
    tunnel(at + 6, at + 40, decapsulate, str::to_owned)
}

/// UDP to the port of a tunnel, or GRE with a tunnel's protocol type, with a further test. At these offsets: the
/// protocol, and what follows the IP header.
fn tunnel(protocol: u32, at: u32, decapsulate: bool, test: impl Fn(&str) -> String) -> String {
    let ports = is(at + 2, &[VXLAN, VXLAN_OF_LINUX, GENEVE, TZSP]);
    let types = is(at + 2, &[ETHERNET, ERSPAN, ERSPAN_3]);
    // TCP in the two most frequent kinds: VXLAN, and ERSPAN type II with its usual flags.
    let tcp = is_tcp(at + 16 + 12);
    let vxlan = is(at + 2, &[VXLAN, VXLAN_OF_LINUX]);
    let erspan = format!("link[{at}:4] = {:#010x}", 0x1000_0000 | u32::from(ERSPAN));
    let [udp, gre] = [(ports, vxlan), (types, erspan)].map(|(numbers, frequent)| {
        let short = if decapsulate { String::new() } else { format!("len <= {SHORT} and ") };
        test(&format!("{short}{numbers} and not ({frequent} and {tcp})"))
    });
    format!("((link[{protocol}] = 17 and {udp}) or (link[{protocol}] = 47 and {gre}))")
}
