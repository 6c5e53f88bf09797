//! One frame for each reason to refuse it, and the counter that must be the only one to move.

use crate::encapsulation::{UDP, VXLAN, inserted, ipv4_of, udp, vxlan};
use crate::frames::{ARP, Arp, DOT1Q, Ethernet, IPV6, Mac, padded, station};
use crate::neighbor::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A frame that must not become an event.
pub struct Refusal {
    /// What is wrong with it.
    pub wrong: &'static str,
    /// The counter, as `collector -v` prints it.
    pub counter: &'static str,
    /// What was captured.
    pub bytes: Vec<u8>,
    /// How long it was on the wire.
    pub wire_length: usize,
}

const IP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 66);
const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);
const NO_STATION: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x66);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe);
const LOCAL6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
const NOBODY6: Ipv6Addr = Ipv6Addr::UNSPECIFIED;
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x66);
/// Like a solicited-node address, except for one word.
const NEARLY6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 2, 0xff00, 0x66);

/// All of them. The pairings that they would make, if they were accepted, are of 192.0.2.66 or
/// 2001:db8::66.
pub fn all() -> Vec<Refusal> {
    let mut table = Table(Vec::new());
    arp(&mut table);
    neighbor(&mut table);
    option(&mut table);
    router(&mut table);
    short_on_the_wire(&mut table);
    cut_by_the_capture(&mut table);
    unread(&mut table);
    table.0
}

fn mac() -> Mac {
    station(0x66)
}

fn request() -> Arp {
    Arp::request(mac(), IP, PEER)
}

fn solicitation() -> Neighbor {
    Neighbor::solicit(mac(), IP6, PEER6)
}

/// Each method adds a valid packet of its kind with an error.
struct Table(Vec<Refusal>);

impl Table {
    fn frame(&mut self, counter: &'static str, wrong: &'static str, bytes: Vec<u8>) {
        let wire_length = bytes.len();
        self.0.push(Refusal { wrong, counter, bytes, wire_length });
    }

    fn arp(&mut self, counter: &'static str, wrong: &'static str, spoil: impl FnOnce(&mut Arp)) {
        let mut arp = request();
        spoil(&mut arp);
        self.frame(counter, wrong, arp.on(&Ethernet::from(mac())));
    }

    fn ns(
        &mut self,
        counter: &'static str,
        wrong: &'static str,
        spoil: impl FnOnce(&mut Neighbor),
    ) {
        self.neighbor(counter, wrong, solicitation(), spoil);
    }

    fn na(
        &mut self,
        counter: &'static str,
        wrong: &'static str,
        spoil: impl FnOnce(&mut Neighbor),
    ) {
        self.neighbor(counter, wrong, Neighbor::advertise(mac(), IP6), spoil);
    }

    fn dad(
        &mut self,
        counter: &'static str,
        wrong: &'static str,
        spoil: impl FnOnce(&mut Neighbor),
    ) {
        self.neighbor(counter, wrong, Neighbor::probe(IP6), spoil);
    }

    fn neighbor(
        &mut self,
        counter: &'static str,
        wrong: &'static str,
        mut packet: Neighbor,
        spoil: impl FnOnce(&mut Neighbor),
    ) {
        spoil(&mut packet);
        self.frame(counter, wrong, packet.frame(mac()));
    }
}

fn arp(table: &mut Table) {
    table.arp("arp_hardware_type", "hardware type 15, frame relay", |arp| arp.hardware = 15);
    table.arp("arp_protocol_type", "protocol type 0x86dd", |arp| arp.protocol = IPV6);
    table.arp("arp_hardware_size", "MACs of 8 bytes", |arp| arp.hardware_size = 8);
    table.arp("arp_hardware_size", "MACs of no bytes", |arp| arp.hardware_size = 0);
    table.arp("arp_protocol_size", "addresses of 16 bytes", |arp| arp.protocol_size = 16);
    table.arp("arp_operation", "operation 0", |arp| arp.operation = 0);
    table.arp("arp_operation", "operation 3, RARP's", |arp| arp.operation = 3);
    table.arp("unspecified_address", "no station asks for no address", |arp| {
        (arp.sender_ip, arp.target_ip) = (NO_STATION, NO_STATION);
    });
    table.arp("unspecified_address", "a reply from 0.0.0.0, which is no probe", |arp| {
        (arp.operation, arp.sender_ip) = (2, NO_STATION);
    });
}

fn neighbor(table: &mut Table) {
    table.ns("ip_version", "ethertype IPv6, version 4", |ns| ns.version = 4);
    table.ns("hop_limit", "NS with hop limit 254", |ns| ns.hop_limit = 254);
    table.na("hop_limit", "NA with hop limit 64", |na| na.hop_limit = 64);
    table.dad("hop_limit", "DAD with hop limit 1", |dad| dad.hop_limit = 1);
    table.ns("code", "NS with code 1", |ns| ns.code = 1);
    table.ns("icmp_checksum", "NS with a wrong checksum", |ns| ns.checksum_error = 1);
    table.na("icmp_checksum", "NA with a wrong checksum", |na| na.checksum_error = 0x8000);
    table.na("code", "NA with code 255", |na| na.code = 255);
    table.ns("multicast_address", "NS for a group", |ns| ns.target = GROUP6);
    table.na("multicast_address", "NA of a group", |na| na.target = GROUP6);
    table.ns("multicast_address", "NS from a group", |ns| ns.source = GROUP6);
    table.dad("dad_destination", "DAD to all nodes", |dad| dad.destination = ALL_NODES);
    table.dad("dad_destination", "DAD to one station", |dad| dad.destination = PEER6);
    table.dad("dad_destination", "DAD to ff02::2:ff00:66", |dad| dad.destination = NEARLY6);
    table.na("solicited_multicast", "solicited NA to all nodes", |na| na.flags = SOLICITED);
    table.ns("fragmented", "NS, an atomic fragment", |ns| ns.extensions.push(fragment(0)));
    table.na("fragmented", "NA, a first fragment", |na| na.extensions.push(fragment(1)));
    table.dad("fragmented", "DAD, hop-by-hop options, then a fragment header", |dad| {
        dad.extensions = vec![padding_options(HOP_BY_HOP, 1), fragment(0)];
    });
    table.ns("extension_header", "hop-by-hop options behind others", |ns| {
        ns.extensions =
            vec![padding_options(DESTINATION_OPTIONS, 1), padding_options(HOP_BY_HOP, 1)];
    });
    table.dad("unspecified_address", "DAD for ::", |dad| {
        *dad = Neighbor::probe(NOBODY6);
    });
    table.na("unspecified_address", "NA of ::", |na| na.target = NOBODY6);
}

fn option(table: &mut Table) {
    table.dad("dad_link_layer", "DAD with a source link-layer option", |dad| {
        dad.options.push(link_layer(SOURCE_LINK_LAYER, mac()));
    });
    table
        .ns("zero_length_option", "NS whose MAC's option has no length", |ns| ns.options[0][1] = 0);
    table.na("zero_length_option", "NA with an option of no length behind the MAC's", |na| {
        na.options.push(vec![14, 0, 0, 0, 0, 0, 0, 0]);
    });
    table.ns("option_length", "NS whose MAC's option has 16 bytes", |ns| {
        ns.options[0][1] = 2;
        ns.options[0].extend([0; 8]);
    });
    table.ns("no_pairing", "NS to a group without a MAC", |ns| ns.options.clear());
    table.na("no_pairing", "NA that answers nothing without a MAC", |na| na.options.clear());
    table.na("no_pairing", "NA with the other option", |na| na.options[0][0] = SOURCE_LINK_LAYER);
    table.ns("no_pairing", "NS with the other option", |ns| ns.options[0][0] = TARGET_LINK_LAYER);
}

fn router(table: &mut Table) {
    let rs = || Neighbor::solicit_routers(mac(), LOCAL6);
    let ra = || Neighbor::advertise_router(mac(), LOCAL6);
    let rd = || Neighbor::redirect(mac(), [LOCAL6, PEER6], LOCAL6, IP6);
    for (message, name) in [(rs(), "RS"), (ra(), "RA"), (rd(), "RD")] {
        table.neighbor("hop_limit", name, message.clone(), |nd| nd.hop_limit = 254);
        table.neighbor("code", name, message.clone(), |nd| nd.code = 1);
        table.neighbor("icmp_checksum", name, message.clone(), |nd| nd.checksum_error = 1);
        table.neighbor("no_pairing", name, message.clone(), |nd| nd.options.clear());
        table.neighbor("multicast_address", name, message.clone(), |nd| nd.source = GROUP6);
        table.neighbor("fragmented", name, message, |nd| nd.extensions.push(fragment(0)));
    }
    table.neighbor("dad_link_layer", "RS from :: with a MAC", rs(), |rs| rs.source = NOBODY6);
    table.neighbor("router_address", "RA from a global address", ra(), |ra| ra.source = IP6);
    table.neighbor("router_address", "RD from a global address", rd(), |rd| rd.source = IP6);
    table.neighbor("redirect_target", "RD to a global address", rd(), |rd| rd.target = PEER6);
    table.neighbor("multicast_address", "RD of a group", rd(), |rd| rd.redirected = GROUP6);
    let short = shortened(&ra().bytes(), 55);
    table.frame("truncated", "RA of 15 bytes", Ethernet::from(mac()).frame(IPV6, &short));
    let short = shortened(&rd().bytes(), 79);
    table.frame("truncated", "RD of 39 bytes", Ethernet::from(mac()).frame(IPV6, &short));
}

fn short_on_the_wire(table: &mut Table) {
    let ethernet = Ethernet::from(mac());
    let tagged = ethernet.clone().tag(DOT1Q, 5);
    let arp = request().bytes();
    let ns = solicitation().bytes();
    let mut ending = solicitation();
    ending.options[0].truncate(2);
    for (wrong, bytes) in [
        ("nothing behind the ethertype of ARP", ethernet.frame(ARP, &[])),
        ("ARP of 27 bytes", ethernet.frame(ARP, &arp[..27])),
        ("tagged ARP of 20 bytes", tagged.frame(ARP, &arp[..20])),
        ("nothing behind the ethertype of IPv6", ethernet.frame(IPV6, &[])),
        ("IPv6 of 39 bytes", ethernet.frame(IPV6, &ns[..39])),
        ("NS of 23 bytes", ethernet.frame(IPV6, &shortened(&ns, 63))),
        ("NS whose option ends after two bytes", ethernet.frame(IPV6, &ending.bytes())),
        ("NS shorter than its IPv6 length", ethernet.frame(IPV6, &ns[..64])),
    ] {
        table.frame("truncated", wrong, bytes);
    }
    table.ns("truncated", "NS whose option is longer than the packet", |ns| ns.options[0][1] = 9);
    table.ns("truncated", "an extension header longer than the packet", |ns| {
        let (number, mut bytes) = padding_options(DESTINATION_OPTIONS, 1);
        bytes[1] = 200;
        ns.extensions.push((number, bytes));
    });
}

/// Complete on the wire, but not in the file.
fn cut_by_the_capture(table: &mut Table) {
    let ns = solicitation().frame(mac());
    for (wrong, whole, captured) in [
        ("ARP of which 40 bytes are captured", request().frame(), 40),
        ("ARP of which all but the padding is captured", padded(request().frame()), 42),
        ("NS of which all but two bytes is captured", ns, 84),
    ] {
        table.frame("truncated", wrong, whole[..captured].to_vec());
        table.0.last_mut().expect("just added").wire_length = whole.len();
    }
}

/// Behind headers that the collector does not read.
fn unread(table: &mut Table) {
    let hidden = |frame: Vec<u8>| inserted(&frame, 0x9001, &[0; 6]);
    table.frame("unknown_header", "ARP behind an unknown tag", hidden(request().frame()));
    let neighbor = solicitation().frame(mac());
    table.frame("unknown_header", "NS behind an unknown tag", hidden(neighbor));
    let fragment = ipv4_of(0x2000, 0, UDP, &udp(VXLAN, &vxlan(1, &request().frame())));
    table.frame("fragmented", "ARP in a fragment of a tunnel", fragment);
}

/// An IPv6 packet cut to `length`, its own length field with it.
fn shortened(packet: &[u8], length: usize) -> Vec<u8> {
    let mut packet = packet[..length].to_vec();
    packet[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    packet
}
