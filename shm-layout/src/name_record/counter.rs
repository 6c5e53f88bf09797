//! What is counted for each interface in the header of a ring of names.

use crate::counter::counters;

counters! {
    /// What became of messages with names. A message that gives several records is counted once for each of them.
    NameCounter:
    /// Messages that the collector processed.
    Seen "seen"
    /// Messages that became a record.
    Published "published"
    /// The same claim, already published within the last minute.
    Repeated "repeated"
    /// New messages of a flood: each interface has a limit for each kind of sender.
    Limited "limited"
    /// Excluded by an option: `-4`, `-6`, a blacklist.
    Filtered "filtered"
    /// Nothing in it is a claim of its sender, such as a question.
    NoClaim "no_claim"
    /// Being processed when the collector was killed, and not published.
    Interrupted "interrupted"
    /// Shorter than its headers or fields indicate, or cut by the capture's snapshot length.
    Truncated "truncated"
    /// Fragmented, so that the message is not in one packet (RFC 6980, 5; RFC 7113, 2).
    Fragmented "fragmented"
    /// Behind an extension header or a header of layer 2 that hosts accept and filters may not see through (RFC 7113, 2.1).
    Hidden "hidden"
    /// Its checksum is wrong.
    Checksum "checksum"
    /// The hop limit is not the one that its protocol demands (RFC 4861, 6.1; RFC 3810, 6.2).
    HopLimit "hop_limit"
    /// The ICMPv6 code is not 0 (RFC 4861, 6.1).
    Code "code"
    /// The packet's source is not an address that may send it (RFC 4861, 6.1.2 and 8.1; RFC 3810, 6.2).
    SourceAddress "source_address"
    /// An option or field whose length is zero or not that of its kind (RFC 4861, 6.1).
    OptionLength "option_length"
    /// An address that no host can have where one is required.
    Address "address"
    /// Not the form of a DHCP message (RFC 2131, 2): operation, hardware type or magic cookie.
    DhcpForm "dhcp_form"
    /// DHCP without a message type (option 53), or one of another kind than its operation (RFC 2131, 3).
    DhcpType "dhcp_type"
    /// DHCP whose client's hardware address no host has: zero or a group address.
    DhcpClient "dhcp_client"
    /// An answer of a DHCP server to the port of servers, or a client's message to the port of clients.
    DhcpPort "dhcp_port"
    /// An answer of a DHCP server whose destination is not that of its client or relay: another link may have sent it (RFC 2131, 4.1).
    DhcpLink "dhcp_link"
    /// DHCPv6 of a client without a relay to another destination than ff02::1:2 (RFC 8415, 7.1): another link may have sent it.
    Dhcpv6Link "dhcpv6_link"
    /// Two client or server identifiers, or two messages in one relay's.
    Dhcpv6Double "dhcpv6_double"
    /// DHCPv6 of a client without a client identifier (RFC 9686, 4.2.1; RFC 8415, 16).
    RegClient "reg_client"
    /// Address registration without exactly one IA Address (RFC 9686, 4.2.1).
    RegAddress "reg_address"
    /// Address registration of another address than the packet's source (RFC 9686, 4.2.1).
    RegSource "reg_source"
    /// Address registration with a server identifier or an option request (RFC 9686, 4.2.1).
    RegOption "reg_option"
    /// Redirect to a target that is neither link-local nor the destination itself (RFC 4861, 8.1).
    RedirectTarget "redirect_target"
    /// Not the form of a DNS message: names that do not end, counts that do not fit (RFC 6762, 18).
    MdnsForm "mdns_form"
    /// Multicast DNS that does not come from port 5353 (RFC 6762, 6).
    MdnsSource "mdns_source"
    /// Multicast DNS to an address of one host with another hop limit than 255: another link may have sent it (RFC 6762, 11).
    MdnsLink "mdns_link"
    /// Multicast DNS about other addresses than the packet's source only: of a reflector, or of a host about its other ones.
    MdnsOther "mdns_other"
    /// LLDP without its three mandatory fields in their order (IEEE 802.1AB, 8.2).
    LldpForm "lldp_form"
    /// Texts that are not UTF-8; not messages.
    Text "text"
    /// Records of a message that has too many; not messages.
    More "more"
    /// Options that were left out, because their length or value is not right, or they came twice; not messages.
    BadOption "bad_option"
}

impl NameCounter {
    /// Whether this is an outcome, in which a message ends: the sum of all outcomes is `Seen`.
    pub fn is_outcome(self) -> bool {
        use NameCounter::*;
        !matches!(self, Seen | Text | More | BadOption)
    }
}
