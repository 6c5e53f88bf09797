//! Each form of a message that may change a host's neighbour cache: for the test that compares a Linux host with the
//! collector (`tests/collector/neighbor_cache.rs`), and as seeds for fuzzing.

use crate::encapsulation::{VN_TAG, inserted};
use crate::frames::{ARP, Arp, BROADCAST, DOT1AD, DOT1Q, Ethernet, IPV6, Mac, station};
use crate::neighbor::*;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Messages that try to give an address the MAC [`CLAIMED`], or one that no host has, in frames of [`SENDER`].
pub struct Form {
    /// What is particular to it.
    pub name: String,
    /// The frames; several only where the message is fragmented.
    pub frames: Vec<Vec<u8>>,
    /// Why it may be published as a claim although Linux ignores it; empty if it may not.
    pub other_hosts: &'static str,
}

/// The host under attack.
pub const VICTIM: Mac = [0x02, 0xaa, 0, 0, 0, 1];
/// Its addresses.
pub const VICTIM4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Its global IPv6 address.
pub const VICTIM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// Its default router, from which it accepts Redirects.
pub const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
/// The addresses that are claimed.
pub const CLAIMED4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0x42);
/// On the victim's link.
pub const CLAIMED6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x66);
/// Of a router.
pub const CLAIMED_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
/// Behind the default router, until a Redirect says otherwise.
pub const CLAIMED_FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x66);
/// The MAC that the messages name.
pub const CLAIMED: Mac = [0x02, 0, 0, 0, 0, 0x66];
/// The MAC that sends the frames.
pub const SENDER: Mac = [0x02, 0, 0, 0, 0, 0x77];
/// MACs that no host has.
pub const NO_HOST: [(&str, Mac); 4] = [
    ("broadcast", BROADCAST),
    ("zero", [0; 6]),
    ("an IPv4 group", [0x01, 0, 0x5e, 0, 0, 1]),
    ("a cluster's group", [0x03, 0xbf, 192, 0, 2, 66]),
];

const FAR: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);
const OTHER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// Before the option that counts, or behind it.
const NONCE: [u8; 8] = [14, 1, 1, 2, 3, 4, 5, 6];

/// All of them.
pub fn all() -> Vec<Form> {
    let mut forms = Forms(Vec::new());
    arp(&mut forms);
    for (name, message) in [("NS", solicitation()), ("NA", advertisement())] {
        message_checks(&mut forms, name, &message);
        headers(&mut forms, name, &message);
    }
    neighbors(&mut forms);
    routers(&mut forms);
    forms.0
}

/// The plain forms, which each Linux takes.
pub const PLAIN: [&str; 7] = ["ARP request", "ARP reply", "NS", "NA", "RS", "RA", "RD to a router"];

fn ethernet() -> Ethernet {
    Ethernet::from(SENDER).to(VICTIM)
}

fn request() -> Arp {
    Arp::request(CLAIMED, CLAIMED4, VICTIM4)
}

fn reply() -> Arp {
    Arp { target_mac: VICTIM, ..Arp::reply(CLAIMED, CLAIMED4, VICTIM4) }
}

fn solicitation() -> Neighbor {
    Neighbor { destination: VICTIM6, ..Neighbor::solicit(CLAIMED, CLAIMED6, VICTIM6) }
}

fn advertisement() -> Neighbor {
    let flags = SOLICITED | OVERRIDE;
    Neighbor { destination: VICTIM6, flags, ..Neighbor::advertise(CLAIMED, CLAIMED6) }
}

fn redirect(target: Ipv6Addr, destination: Ipv6Addr) -> Neighbor {
    Neighbor::redirect(CLAIMED, [ROUTER6, VICTIM6], target, destination)
}

struct Forms(Vec<Form>);

impl Forms {
    fn add(&mut self, name: impl Into<String>, other_hosts: &'static str, frame: Vec<u8>) {
        self.0.push(Form { name: name.into(), frames: vec![frame], other_hosts });
    }

    fn arp(&mut self, name: &str, arp: &Arp) {
        self.add(name, "", arp.on(&ethernet()));
    }

    fn nd(&mut self, name: impl Into<String>, message: &Neighbor) {
        self.add(name, "", message.on(&ethernet()));
    }

    /// The message with a change.
    fn but(&mut self, name: String, message: &Neighbor, change: impl FnOnce(&mut Neighbor)) {
        let mut message = message.clone();
        change(&mut message);
        self.nd(name, &message);
    }
}

fn arp(forms: &mut Forms) {
    let (request, reply) = (request(), reply());
    let announced = Arp { target_ip: CLAIMED4, ..request.clone() };
    let announced_reply = Arp { target_ip: CLAIMED4, ..reply.clone() };
    forms.arp("ARP request", &request);
    forms.arp("ARP reply", &reply);
    forms.arp("ARP announcement", &announced);
    forms.arp("ARP announcement as a reply", &announced_reply);
    forms.add("ARP announcement to all", "", announced.on(&Ethernet::from(SENDER)));
    forms.arp("ARP request for another host", &Arp { target_ip: OTHER4, ..request.clone() });
    forms.arp("ARP reply to another address", &Arp { target_ip: OTHER4, ..reply.clone() });
    forms.arp("ARP probe", &Arp::probe(CLAIMED, VICTIM4));
    forms.arp("ARP probe of a free address", &Arp::probe(CLAIMED, CLAIMED4));
    forms.arp("ARP reply from 0.0.0.0", &Arp { sender_ip: [0; 4].into(), ..reply.clone() });
    for (name, arp) in [("request", &request), ("reply", &reply)] {
        let name = format!("ARP {name}");
        forms.arp(&format!("{name}, hardware type 6"), &Arp { hardware: 6, ..arp.clone() });
        forms.arp(&format!("{name}, hardware type 15"), &Arp { hardware: 15, ..arp.clone() });
        forms.arp(&format!("{name}, protocol type IPv6"), &Arp { protocol: IPV6, ..arp.clone() });
        forms.arp(&format!("{name}, MACs of 7 bytes"), &Arp { hardware_size: 7, ..arp.clone() });
        forms.add(format!("{name} in SNAP"), "", arp.on(&ethernet().snap()));
        for (tag, number) in [(DOT1Q, "802.1Q"), (DOT1AD, "802.1ad")] {
            let tagged = arp.on(&ethernet().tag(tag, 0xa000));
            forms.add(format!("{name}, priority tag of {number}"), "", tagged);
        }
        let two = arp.on(&ethernet().tag(DOT1Q, 0).tag(DOT1Q, 0));
        forms.add(format!("{name}, two priority tags"), "", two);
        let vlan = arp.on(&ethernet().tag(DOT1Q, 7));
        forms.add(format!("{name} in VLAN 7"), "the hosts of that VLAN take it", vlan);
        let mirrored = inserted(&arp.on(&ethernet()), VN_TAG, &[0; 4]);
        forms.add(format!("{name} behind a VN-Tag"), "a switch has added the tag", mirrored);
        let elsewhere = arp.on(&Ethernet::from(SENDER).to(station(9)));
        forms.add(format!("{name} to another MAC"), "that host takes it", elsewhere);
        for (target, what) in [([224, 0, 0, 1], "a group"), ([127, 0, 0, 1], "a loopback address")]
        {
            let arp = Arp { target_ip: target.into(), ..arp.clone() };
            let why = "BSD's hosts do not look at the target's kind";
            forms.add(format!("{name} to {what}"), why, arp.on(&ethernet()));
        }
        for (what, mac) in NO_HOST {
            forms.arp(&format!("{name} at {what}"), &Arp { sender_mac: mac, ..arp.clone() });
            let sent_by = Ethernet::from(mac).to(VICTIM);
            forms.add(format!("{name} sent by {what}"), "", arp.on(&sent_by));
        }
        forms.add(format!("{name}, cut"), "", ethernet().frame(ARP, &arp.bytes()[..27]));
    }
    forms.arp("ARP operation 3", &Arp { operation: 3, ..request });
}

/// What RFC 4861 (7.1.1, 7.1.2) wants a host to check, and what it may ignore.
fn message_checks(forms: &mut Forms, name: &str, message: &Neighbor) {
    let option = &message.options[0];
    let kind = option[0];
    forms.nd(name, message);
    forms.but(format!("{name}, hop limit 254"), message, |nd| nd.hop_limit = 254);
    forms.but(format!("{name}, hop limit 0"), message, |nd| nd.hop_limit = 0);
    forms.but(format!("{name}, code 1"), message, |nd| nd.code = 1);
    forms.but(format!("{name}, wrong checksum"), message, |nd| nd.checksum_error = 1);
    forms.but(format!("{name}, IP version 4"), message, |nd| nd.version = 4);
    forms.but(format!("{name}, group as target"), message, |nd| nd.target = ALL_NODES);
    forms.but(format!("{name} from a group"), message, |nd| nd.source = ALL_NODES);
    forms.but(format!("{name} without an option"), message, |nd| nd.options.clear());
    forms.but(format!("{name} with the other option"), message, |nd| {
        nd.options = vec![link_layer(3 - kind, CLAIMED)];
    });
    forms.but(format!("{name}, two options"), message, |nd| {
        nd.options.push(link_layer(kind, station(0x88)));
    });
    forms.but(format!("{name}, nonce first"), message, |nd| nd.options.insert(0, NONCE.into()));
    forms.but(format!("{name}, nonce behind"), message, |nd| nd.options.push(NONCE.into()));
    forms.but(format!("{name}, option of no length"), message, |nd| nd.options[0][1] = 0);
    forms.but(format!("{name}, an option of no length behind"), message, |nd| {
        nd.options.push([14, 0, 0, 0, 0, 0, 0, 0].into());
    });
    forms.but(format!("{name}, option of 16 bytes"), message, |nd| {
        nd.options = vec![[&[kind, 2], &option[2..], &[0; 8]].concat()];
    });
    forms.but(format!("{name}, option longer than the packet"), message, |nd| {
        nd.options[0][1] = 9;
    });
    for (what, mac) in NO_HOST {
        forms.but(format!("{name} at {what}"), message, |nd| {
            nd.options = vec![link_layer(kind, mac)];
        });
        let sent_by = Ethernet::from(mac).to(VICTIM);
        forms.add(format!("{name} sent by {what}"), "", message.on(&sent_by));
    }
    let tagged = message.on(&ethernet().tag(DOT1Q, 0xa000));
    forms.add(format!("{name}, priority tag"), "", tagged);
    forms.add(format!("{name} in SNAP"), "", message.on(&ethernet().snap()));
    forms.add(format!("{name} in a frame to all"), "", message.on(&Ethernet::from(SENDER)));
}

/// What may come before the message.
fn headers(forms: &mut Forms, name: &str, message: &Neighbor) {
    let option = |header, kind| (header, vec![0, 0, kind, 4, 0, 0, 0, 0]);
    let hop = padding_options(HOP_BY_HOP, 1);
    let destination = padding_options(DESTINATION_OPTIONS, 1);
    let authentication = (51, [vec![0, 4], vec![0; 22]].concat());
    let group = if name == "NS" { solicited_node(VICTIM6) } else { ALL_NODES };
    for (what, chain) in [
        ("hop-by-hop options", vec![hop.clone()]),
        ("destination options", vec![destination.clone()]),
        ("both kinds of options", vec![hop.clone(), destination.clone()]),
        ("destination options twice", vec![destination.clone(), destination.clone()]),
        ("hop-by-hop options that are not the first", vec![destination.clone(), hop.clone()]),
        ("an unknown option to skip", vec![option(HOP_BY_HOP, 0x1e)]),
        ("an unknown option that forbids it", vec![option(HOP_BY_HOP, 0x5e)]),
        ("such an option for the destination", vec![option(DESTINATION_OPTIONS, 0x9e)]),
        ("a routing header", vec![routing()]),
        ("a routing header of type 0", vec![routing_of(0, 0)]),
        ("a routing header of type 0 with a segment left", vec![routing_of(0, 1)]),
        ("a routing header with a segment left", vec![routing_of(253, 1)]),
        ("a routing header of type 2", vec![routing_of(2, 0)]),
        ("a routing header of RPL", vec![routing_of(3, 0)]),
        ("a segment routing header", vec![routing_of(4, 0)]),
        ("a routing header and options", vec![routing(), destination.clone()]),
        ("an authentication header", vec![authentication]),
        ("a fragment header", vec![fragment(0)]),
    ] {
        let behind = Neighbor { extensions: chain, ..message.clone() };
        let why = match what {
            "a routing header of type 2" => "a kernel without CONFIG_IPV6_MIP6 takes it",
            _ => "",
        };
        forms.add(format!("{name} behind {what}"), why, behind.on(&ethernet()));
        if what.contains("routing") {
            let flags = message.flags & !SOLICITED;
            let to_group = Neighbor { destination: group, flags, ..behind };
            forms.nd(format!("{name} to a group behind {what}"), &to_group);
        }
    }
    let padded = Neighbor { extensions: vec![padding_options(HOP_BY_HOP, 2)], ..message.clone() };
    let why = "RFC 8200 allows it, BSD's hosts take it";
    forms.add(format!("{name} behind long padding"), why, padded.on(&ethernet()));
    // The length that announces a jumbogram, without its option.
    let mut bytes = message.clone().behind(hop).bytes();
    bytes[4..6].fill(0);
    forms.add(format!("{name}, length 0"), "", ethernet().frame(IPV6, &bytes));
    let whole = message.bytes();
    let (first, second) = whole[40..].split_at(24);
    let part = |offset: u16, data: &[u8]| {
        let [high, low] = offset.to_be_bytes();
        let mut packet = whole[..40].to_vec();
        packet[4..6].copy_from_slice(&(data.len() as u16 + 8).to_be_bytes());
        packet[6] = FRAGMENT;
        packet.extend([58, 0, high, low, 0, 0, 0, 9]);
        packet.extend(data);
        ethernet().frame(IPV6, &packet)
    };
    let frames = vec![part(1, first), part(24, second)];
    forms.0.push(Form { name: format!("{name} in two fragments"), frames, other_hosts: "" });
}

fn neighbors(forms: &mut Forms) {
    let (ns, na) = (solicitation(), advertisement());
    forms.but("NS to a group".into(), &ns, |ns| ns.destination = solicited_node(VICTIM6));
    forms.but("NS to a group without an option".into(), &ns, |ns| {
        (ns.destination, ns.options) = (solicited_node(VICTIM6), Vec::new());
    });
    forms.but("NS from a link-local address".into(), &ns, |ns| ns.source = CLAIMED_LOCAL);
    forms.nd("DAD", &Neighbor::probe(CLAIMED6));
    forms.nd("DAD of the victim's address", &Neighbor::probe(VICTIM6));
    let with_option = Neighbor { options: ns.options.clone(), ..Neighbor::probe(VICTIM6) };
    forms.nd("DAD with an option", &with_option);
    forms.nd("DAD to the victim", &Neighbor { destination: VICTIM6, ..Neighbor::probe(VICTIM6) });
    for flags in [0, OVERRIDE, SOLICITED, ROUTER, ROUTER | OVERRIDE, ROUTER | SOLICITED, 0xe0] {
        let name = |rest: &str| format!("NA, flags {flags:#04x}{rest}");
        forms.but(name(""), &na, |na| na.flags = flags);
        forms.but(name(", no option"), &na, |na| {
            (na.flags, na.options) = (flags, Vec::new());
        });
        forms.but(name(", to all"), &na, |na| (na.flags, na.destination) = (flags, ALL_NODES));
    }
    forms.but("NA from ::".into(), &na, |na| na.source = Ipv6Addr::UNSPECIFIED);
    forms.but("NA from another address".into(), &na, |na| na.source = ROUTER6);
}

/// RFC 4861: 6.1.1, 6.1.2 and 8.1.
fn routers(forms: &mut Forms) {
    let rs = Neighbor::solicit_routers(CLAIMED, CLAIMED_LOCAL);
    let ra = Neighbor::advertise_router(CLAIMED, CLAIMED_LOCAL);
    let to_router = redirect(CLAIMED_LOCAL, FAR);
    let on_link = redirect(CLAIMED_FAR, CLAIMED_FAR);
    for (name, message) in
        [("RS", &rs), ("RA", &ra), ("RD to a router", &to_router), ("RD on the link", &on_link)]
    {
        let mut messages = Forms(Vec::new());
        message_checks(&mut messages, name, message);
        // These have no target, or one that is checked below.
        messages.0.retain(|form| !form.name.contains("as target"));
        forms.0.extend(messages.0);
        forms.but(format!("{name} to the victim"), message, |nd| nd.destination = VICTIM6);
        forms.but(format!("{name} from ::"), message, |nd| nd.source = Ipv6Addr::UNSPECIFIED);
        forms.but(format!("{name} from a global address"), message, |nd| nd.source = CLAIMED6);
        forms.nd(format!("{name} behind a routing header"), &message.clone().behind(routing()));
        forms.nd(format!("{name} behind a fragment header"), &message.clone().behind(fragment(0)));
        forms.nd(
            format!("{name} behind options"),
            &message.clone().behind(padding_options(DESTINATION_OPTIONS, 1)),
        );
    }
    let short = Neighbor { message: SOLICITATION, options: Vec::new(), ..ra.clone() }.bytes();
    let mut short = short[..48].to_vec();
    (short[5], short[40]) = (8, ROUTER_ADVERTISEMENT);
    forms.add("RA of 8 bytes", "", ethernet().frame(IPV6, &short));
    forms.but("RD to a group".into(), &to_router, |rd| rd.redirected = ALL_NODES);
    forms.nd("RD to a global address", &redirect(CLAIMED_FAR, FAR));
    forms.nd("RD to a group on the link", &redirect(ALL_NODES, ALL_NODES));
    // RFC 4861, 4.6.3: the head of the packet that was redirected, an echo request.
    let mut redirected = Neighbor { message: 128, ..solicitation() }.bytes();
    redirected[24..40].copy_from_slice(&FAR.octets());
    let option = [&[4, 7, 0, 0, 0, 0, 0, 0][..], &redirected[..48]].concat();
    forms.but("RD with what was redirected".into(), &to_router, |rd| rd.options.push(option));
    let empty = vec![4, 1, 0, 0, 0, 0, 0, 0];
    let empty = Neighbor { options: [to_router.options, vec![empty]].concat(), ..to_router };
    let why = "hosts that do not look into the option take it";
    forms.add("RD with nothing that was redirected", why, empty.on(&ethernet()));
    let stranger = Neighbor { source: CLAIMED_LOCAL, ..on_link };
    let why = "it depends on whether the sender is the host's router";
    forms.add("RD of another router", why, stranger.on(&ethernet()));
}
