//! The programs, and what each causes.

/// What the client does, so that a program answers.
#[derive(Clone, Copy)]
pub enum Trigger {
    Nothing,
    /// Nothing, and nothing is reported: until the program has sent such a frame (a filter of tcpdump).
    Sends(&'static str),
    /// It asks the attacker for a name.
    Resolves,
    /// It looks for the router and for others.
    Looks,
    /// It takes addresses, and asks whether another host has them.
    Takes,
    /// It asks for an address by DHCPv6.
    Asks,
}
use Trigger::{Asks, Looks, Nothing, Resolves, Sends, Takes};

impl Trigger {
    /// The frame that a program must have sent which causes nothing, as a filter of tcpdump.
    pub fn proof(self) -> Option<&'static str> {
        match self {
            Sends(filter) => Some(filter),
            Resolves => Some("udp src port 53"),
            Nothing | Looks | Takes | Asks => None,
        }
    }
}

/// A program, what its client does, and its kinds of alerts at any port and at a mirror port. Of what takes an address, `takeover` stands for
/// `changed`, `duplicate` or both: which one depends on whether its owner answers in these two seconds. `OWN` is the attacker's address.
pub type Attack =
    (&'static str, Trigger, &'static [&'static str], &'static [&'static str], &'static str);

pub const TAKEOVER: &str = "takeover";

pub const ATTACKS: &[Attack] = &[
    (
        "fake_router6 eth0 2001:db8:66::/64 2001:db8:66::53",
        Nothing,
        &["new_router"],
        &["new_router"],
        "a router, with a prefix and a DNS server",
    ),
    (
        "fake_router26 -A 2001:db8:67::/64 -R ::/0 -D 2001:db8:67::53 eth0",
        Nothing,
        &["new_router"],
        &["new_router"],
        "the same with a route",
    ),
    (
        "fake_router26 -E H eth0",
        Nothing,
        &["new_router"],
        &["new_router"],
        "the same behind a hop-by-hop header",
    ),
    (
        "fake_router26 -E D eth0",
        Sends("ip6[6] == 44"),
        &[],
        &[],
        "the same behind a destination header of several fragments: the first one has no ICMPv6 header, and Linux accepts none (RFC 6980)",
    ),
    (
        "fake_router26 -E F eth0",
        Sends("ip6[6] == 44"),
        &[],
        &[],
        "the same with all headers, in fragments",
    ),
    (
        "kill_router6 eth0 fe80::1",
        Nothing,
        &["gateway_taken"],
        &["gateway_taken"],
        "the router's last message, which withdraws it",
    ),
    (
        "redir6 eth0 fe80::77 2001:db8:9::1 fe80::1 OWN",
        Nothing,
        &[],
        &["redirect"],
        "a redirect, sent to its victim only",
    ),
    (
        "fake_dns6d eth0 2001:db8:66::53",
        Resolves,
        &[],
        &[],
        "answers of DNS, sent to their client: no Neighbor Discovery",
    ),
    (
        "fake_mipv6 eth0 2001:db8:7::3 2001:db8:7::1 GLOBAL",
        Sends("ip6[6] == 60 or ip6[6] == 135"),
        &[],
        &[],
        "a binding update of Mobile IPv6, sent to a home agent",
    ),
    (
        "fake_mld6 eth0 add ff02::9",
        Sends("ip6[6] == 0 and ip6[48] == 131"),
        &[],
        &[],
        "a report of MLD: it takes no traffic of others; the ring of names has it",
    ),
    (
        "fake_mld26 eth0 add ff02::9",
        Sends("ip6[6] == 0 and ip6[48] == 143 and ip6[72:4] == 9"),
        &[],
        &[],
        "the same of version 2",
    ),
    (
        "fake_mld26 -l eth0 query",
        Sends("ip6[6] == 0 and ip6[48] == 130"),
        &[],
        &[],
        "a query of MLD: that too",
    ),
    (
        "fake_mldrouter6 eth0 advertise",
        Sends("ip6[40] == 151"),
        &[],
        &[],
        "a multicast router (RFC 4286): hosts do not read it",
    ),
    (
        "fake_pim6 eth0 hello",
        Sends("ip6[6] == 103"),
        &[],
        &[],
        "a router of PIM: hosts do not read it",
    ),
    (
        "sendpees6 eth0 1024 fe80:: fe80::77",
        Sends("ip6[40] == 135 and greater 200"),
        &[],
        &[],
        "solicitations with signatures, to keep a host busy; from a group's MAC, which bridges drop",
    ),
    (
        "smurf6 eth0 fe80::77",
        Sends("ip6[40] == 128"),
        &[],
        &[],
        "echo requests in the name of the victim",
    ),
    (
        "rsmurf6 eth0 fe80::77",
        Sends("ip6[40] == 128"),
        &[],
        &[],
        "echo requests to a victim in the name of a group",
    ),
    (
        "ndpexhaust6 eth0 2001:db8:7::/64",
        Sends("ip6[40] == 135 and ip6 src net 2001:db8:7::/64 and ip6[60:4] != 1"),
        &[],
        &[],
        "packets to addresses that are free: their sender, or the router, looks for each",
    ),
    (
        "inverse_lookup6 eth0 00:08:e1:00:00:03",
        Sends("ip6[40] == 141"),
        &[],
        &[],
        "an inverse solicitation (RFC 3122): it claims nothing",
    ),
    (
        "toobig6 eth0 fe80::77 2001:db8:7::1 1280",
        Sends("ip6[40] == 2"),
        &[],
        &[],
        "a smaller MTU, sent to its victim: no Neighbor Discovery",
    ),
    (
        "denial6 eth0 fe80::77 1",
        Sends("ip6[6] == 0 and ip6 dst host fe80::77"),
        &[],
        &[],
        "large headers, sent to their victim",
    ),
    (
        "exploit6 eth0 fe80::77",
        Sends("ip6 dst host fe80::77 and greater 500"),
        &[],
        &[],
        "malformed packets, sent to their victim",
    ),
    (
        "fuzz_dhcps6 -1 -e 2 eth0",
        Sends("udp port 547"),
        &[],
        &[],
        "malformed messages of DHCPv6 clients",
    ),
    (
        "fuzz_dhcpc6 -2 -v fe80::77 eth0",
        Sends("udp port 546"),
        &[],
        &[],
        "malformed answers of DHCPv6, sent to their client: not read",
    ),
    (
        "randicmp6 -p eth0 ff02::1 134",
        Sends("ip6[40] == 134"),
        &[],
        &[],
        "advertisements of each code: hosts accept only code 0, and this one is too short",
    ),
    ("alive6 eth0", Sends("ip6[40] == 128"), &[], &[], "looks for hosts"),
    ("detect_sniffer6 eth0", Sends("ip6[40] == 128"), &[], &[], "looks for hosts that capture"),
    ("dump_dhcp6 eth0", Sends("udp port 547"), &[], &[], "asks DHCPv6 servers"),
    ("dump_router6 eth0", Sends("ip6[40] == 133"), &[], &[], "asks routers"),
    ("node_query6 eth0 fe80::77", Sends("ip6[40] == 139"), &[], &[], "asks for names (RFC 4620)"),
    (
        "fake_dhcps6 eth0 2001:db8:68::/64 2001:db8:68::53",
        Asks,
        &["new_dhcp_server"],
        &["new_dhcp_server"],
        "a DHCPv6 server: its clients name it",
    ),
    (
        "dos-new-ip6 eth0",
        Takes,
        &[TAKEOVER],
        &[TAKEOVER],
        "an answer to each detection of duplicate addresses, each from a new MAC",
    ),
    (
        "fake_solicitate6 eth0 fe80::78 ff02::1 MAC fe80::78",
        Nothing,
        &[TAKEOVER],
        &[TAKEOVER],
        "an address of another host, by a solicitation to all",
    ),
    (
        "fake_advertise6 -w 1 eth0 fe80::79",
        Nothing,
        &[TAKEOVER],
        &[TAKEOVER],
        "the same by an advertisement",
    ),
    (
        "parasite6 eth0",
        Looks,
        &[],
        &[TAKEOVER],
        "an answer to each solicitation, sent to its sender only",
    ),
];

/// Programs that are not run there, and why.
pub const OTHERS: &[(&str, &str)] = &[
    (
        "flood_advertise6 flood_dhcpc6 flood_mld26 flood_mld6 flood_mldrouter6 flood_redir6 flood_router26 flood_router6 flood_rs6 flood_solicitate6",
        "floods: below",
    ),
    (
        "flood_unreach6 ndpexhaust26 sendpeesmp6 thcsyn6 fragmentation6 implementation6",
        "floods of, or malformed, packets to one host: no claim, a router or a server",
    ),
    (
        "fuzz_ip6",
        "packets with one byte after the other changed: an alert for each address or setting in them",
    ),
    (
        "redirsniff6 toobigsniff6",
        "as redir6 and toobig6, of traffic that passes: a switch sends none of others there",
    ),
    (
        "fake_dnsupdate6 four2six covert_send6 thcping6 trace6 firewall6 connect6 connsplit6 fragrouter6",
        "packets to one host, behind the router, too: no Neighbor Discovery",
    ),
    (
        "covert_send6d detect-new-ip6 implementation6d inject_alive6 passive_discovery6",
        "they receive; inject_alive6 answers in tunnels",
    ),
    (
        "address6 dnsdict6 dnsrevenum6 dnssecwalk extract_hosts6 extract_networks6",
        "they compute, or ask DNS",
    ),
];
