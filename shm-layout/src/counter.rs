//! What is counted for each interface. Every frame seen ends in exactly one of these.

macro_rules! counters {
    ($($(#[$doc:meta])* $counter:ident $name:literal)*) => {
        /// A counter's place in an interface's counters. The order is part of the layout: new
        /// ones are added at the end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum Counter {
            $($(#[$doc])* $counter,)*
        }

        impl Counter {
            /// All counters, in the order of the layout.
            pub const ALL: &[Counter] = &[$(Counter::$counter),*];

            /// The counter's name in text and JSON.
            pub fn name(self) -> &'static str {
                match self {
                    $(Counter::$counter => $name,)*
                }
            }
        }
    };
}

counters! {
    /// Frames that the collector took in hand.
    Seen "seen"
    /// Frames that the kernel dropped because the collector was too slow; not among `Seen`.
    KernelDropped "kernel_dropped"
    /// Frames that became an event.
    Published "published"
    /// Neither ARP nor Neighbor Solicitation or Advertisement.
    Unrelated "unrelated"
    /// Excluded by an option: `-4`, `-6`, a blacklist.
    Filtered "filtered"
    /// Suppressed by the rate limit.
    RateLimited "rate_limited"
    /// Neighbor Discovery without a link-layer address: it pairs nothing.
    NoPairing "no_pairing"
    /// In hand when the collector was killed, and not published.
    Interrupted "interrupted"
    /// Shorter than its headers info, or cut by the capture's snapshot length.
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
    /// Neighbor Discovery whose hop limit is not 255 (RFC 4861, 7.1).
    HopLimit "hop_limit"
    /// Neighbor Discovery whose ICMPv6 code is not 0 (RFC 4861, 7.1).
    Code "code"
    /// A multicast address where one host's is due (RFC 4861, 7.1; RFC 4291, 2.7).
    MulticastAddress "multicast_address"
    /// Solicitation from `::` to something other than a solicited-node address (RFC 4861, 7.1.1).
    DadDestination "dad_destination"
    /// Solicitation from `::` with a source link-layer address (RFC 4861, 7.1.1).
    DadLinkLayer "dad_link_layer"
    /// Solicited advertisement to a multicast address (RFC 4861, 7.1.2).
    SolicitedMulticast "solicited_multicast"
    /// Fragmented Neighbor Discovery (RFC 6980, 5).
    Fragmented "fragmented"
    /// Neighbor Discovery option of length zero (RFC 4861, 4.6).
    ZeroLengthOption "zero_length_option"
    /// A link-layer address option, the one that would pair, of another length than Ethernet's
    /// (RFC 2464, 6).
    OptionLength "option_length"
    /// The pairing's MAC is the broadcast address.
    BroadcastMac "broadcast_mac"
    /// The pairing's MAC is all zero.
    ZeroMac "zero_mac"
    /// The pairing's address is `0.0.0.0` or `::`.
    UnspecifiedAddress "unspecified_address"
    /// Pairings that the rate limit forgot for want of room, so that they may be reported too
    /// early; not frames.
    Forgotten "forgotten"
    /// MACupd: from a sender that is not allowed.
    MacupdSender "macupd_sender"
    /// MACupd: a line that is not one of an ARP table.
    MacupdMalformed "macupd_malformed"
    /// MACupd: an entry without the flag "complete": the router asked, and nobody answered.
    MacupdIncomplete "macupd_incomplete"
    /// MACupd: an entry that the router itself answers for (proxy ARP).
    MacupdProxy "macupd_proxy"
    /// MACupd: a wireless client, which has no address in this line.
    MacupdWireless "macupd_wireless"
    /// MACupd: the MAC is a group address, which no host has.
    MacupdGroup "macupd_group"
}

impl Counter {
    /// Whether a frame that ends here is one that should not have been sent, or not so.
    pub fn is_refusal(self) -> bool {
        use Counter::*;
        let fine = [
            Published,
            Unrelated,
            Filtered,
            RateLimited,
            NoPairing,
            Interrupted,
            MacupdIncomplete,
            MacupdProxy,
            MacupdWireless,
        ];
        self.is_outcome() && !fine.contains(&self)
    }

    /// Whether this is where a frame ended: the sum of these is `Seen`.
    pub fn is_outcome(self) -> bool {
        !matches!(self, Counter::Seen | Counter::KernelDropped | Counter::Forgotten)
    }
}
