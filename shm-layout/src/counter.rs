//! What is counted for each interface. Every frame seen ends in exactly one of the outcomes.

macro_rules! counters {
    ($(#[$set:meta])* $Counter:ident: $($(#[$doc:meta])* $counter:ident $name:literal)*) => {
        $(#[$set])*
        ///
        /// The number is its place among an interface's counters. The order is part of the layout: new
        /// counters are added at the end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum $Counter {
            $($(#[$doc])* $counter,)*
        }

        impl $Counter {
            /// All counters, in the order of the layout.
            pub const ALL: &[$Counter] = &[$($Counter::$counter),*];

            /// The counter's name in text and JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $($Counter::$counter => $name,)*
                }
            }
        }
    };
}
pub(crate) use counters;

counters! {
    /// What became of frames, and some other counts.
    Counter:
    /// Frames that the collector processed.
    Seen "seen"
    /// Frames that the kernel dropped because the collector was too slow; not included in `Seen`.
    KernelDropped "kernel_dropped"
    /// Frames that became an event.
    Published "published"
    /// Neither ARP nor Neighbor Discovery.
    Unrelated "unrelated"
    /// Excluded by an option: `-4`, `-6`, a blacklist.
    Filtered "filtered"
    /// Suppressed by the rate limit.
    RateLimited "rate_limited"
    /// Neighbor Discovery without the link-layer address that would make a pairing of it.
    NoPairing "no_pairing"
    /// Being processed when the collector was killed, and not published.
    Interrupted "interrupted"
    /// Shorter than its headers indicate, or cut by the capture's snapshot length.
    Truncated "truncated"
    /// The IP header's version is not 6 (RFC 8200, 3).
    IpVersion "ip_version"
    /// A hop-by-hop options header that is not the first, or an authentication header too short
    /// to be one (RFC 8200, 4.1; RFC 4302, 2.2).
    ExtensionHeader "extension_header"
    /// ARP hardware type other than Ethernet, 1 or 6 (RFC 826).
    ArpHardwareType "arp_hardware_type"
    /// ARP protocol type other than IPv4 (RFC 826).
    ArpProtocolType "arp_protocol_type"
    /// ARP hardware address length other than 6.
    ArpHardwareSize "arp_hardware_size"
    /// ARP protocol address length other than 4.
    ArpProtocolSize "arp_protocol_size"
    /// ARP operation that is neither request nor reply.
    ArpOperation "arp_operation"
    /// Neighbor Discovery whose hop limit is not 255 (RFC 4861, 6.1, 7.1 and 8.1).
    HopLimit "hop_limit"
    /// Neighbor Discovery whose ICMPv6 code is not 0 (RFC 4861, 6.1, 7.1 and 8.1).
    Code "code"
    /// A multicast address where a unicast address is required (RFC 4861, 7.1 and 8.1; RFC 4291, 2.7).
    MulticastAddress "multicast_address"
    /// Solicitation from `::` to something other than a solicited-node address (RFC 4861, 7.1.1).
    DadDestination "dad_destination"
    /// Neighbor or Router Solicitation from `::` with a source link-layer address (RFC 4861, 6.1.1 and 7.1.1).
    DadLinkLayer "dad_link_layer"
    /// Solicited advertisement to a multicast address (RFC 4861, 7.1.2).
    SolicitedMulticast "solicited_multicast"
    /// Fragmented Neighbor Discovery (RFC 6980, 5).
    Fragmented "fragmented"
    /// Neighbor Discovery option of length zero (RFC 4861, 4.6).
    ZeroLengthOption "zero_length_option"
    /// The link-layer address option that would give the MAC has another length than Ethernet's
    /// (RFC 2464, 6).
    OptionLength "option_length"
    /// MACupd: the MAC is the broadcast address. In a frame, such a pairing is published, as `ARP_NO_HOST` or `ND_NO_HOST`.
    BroadcastMac "broadcast_mac"
    /// MACupd: the MAC is all zero. In a frame, such a pairing is published, as `ARP_NO_HOST` or `ND_NO_HOST`.
    ZeroMac "zero_mac"
    /// The pairing's address is `0.0.0.0` or `::`, as in a reply from `0.0.0.0`.
    UnspecifiedAddress "unspecified_address"
    /// Pairings that the rate limit forgot because its table was full, so that they may be reported
    /// again too early; not frames.
    Forgotten "forgotten"
    /// MACupd: a datagram from an address that `--macupd-from` does not allow.
    MacupdSender "macupd_sender"
    /// MACupd: a line that is not a line of an ARP table.
    MacupdMalformed "macupd_malformed"
    /// MACupd: an entry without the flag "complete": no host answered the router's ARP request.
    MacupdIncomplete "macupd_incomplete"
    /// MACupd: an entry for which the router itself answers (proxy ARP).
    MacupdProxy "macupd_proxy"
    /// MACupd: a line of a wireless client, which contains no address.
    MacupdWireless "macupd_wireless"
    /// MACupd: the MAC is a group address, which no host has.
    MacupdGroup "macupd_group"
    /// In a capture file: from an interface without Ethernet frames, which is skipped.
    LinkType "link_type"
    /// A frame that another interface of the same network captured, too: a bridge and its port, a VLAN
    /// and its parent, two interfaces of `any`.
    CapturedTwice "captured_twice"
    /// ARP or Neighbor Discovery behind a header that is not known, or in a tunnel that is not decapsulated.
    UnknownHeader "unknown_header"
    /// ARP or Neighbor Discovery in a tunnel from an address that `--tunnel-from` does not allow.
    TunnelSender "tunnel_sender"
    /// Neighbor Discovery whose ICMPv6 checksum is wrong (RFC 4861, 6.1, 7.1 and 8.1).
    IcmpChecksum "icmp_checksum"
    /// Router Advertisement or Redirect from an address that is not link-local (RFC 4861, 6.1.2 and 8.1).
    RouterAddress "router_address"
    /// Redirect to a target that is neither link-local nor the destination itself (RFC 4861, 8.1).
    RedirectTarget "redirect_target"
    /// ARP of other hosts to the broadcast address, whatever became of it; no outcome.
    ArpBroadcast "arp_broadcast"
}

impl Counter {
    /// Whether a frame that ends here was refused: malformed, or against a rule of its protocol.
    pub fn is_refusal(self) -> bool {
        use Counter::*;
        let accepted = [
            Published,
            Unrelated,
            Filtered,
            RateLimited,
            NoPairing,
            Interrupted,
            MacupdIncomplete,
            MacupdProxy,
            MacupdWireless,
            LinkType,
            CapturedTwice,
        ];
        self.is_outcome() && !accepted.contains(&self)
    }

    /// Whether this is an outcome, in which a frame ends: the sum of all outcomes is `Seen`.
    pub fn is_outcome(self) -> bool {
        use Counter::*;
        !matches!(self, Seen | KernelDropped | Forgotten | ArpBroadcast)
    }
}
