//! The messages that a record of names may come from.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $number:literal $name:literal)*) => {
        /// Which message a record of names comes from.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum NameKind {
            $($(#[$doc])* $kind = $number,)*
        }

        impl NameKind {
            /// All kinds.
            pub const ALL: &[NameKind] = &[$(NameKind::$kind),*];

            /// The kind with a number, if there is one.
            pub const fn from_number(number: u8) -> Option<NameKind> {
                match number {
                    $($number => Some(NameKind::$kind),)*
                    _ => None,
                }
            }

            /// The kind's name in text and JSON.
            pub const fn name(self) -> &'static str {
                match self {
                    $(NameKind::$kind => $name,)*
                }
            }
        }
    };
}

// DHCP's numbers are those of its option 53.
kinds! {
    /// A DHCP client looks for a server.
    DhcpDiscover = 1 "DHCP_DISCOVER"
    /// A DHCP server offers an address.
    DhcpOffer = 2 "DHCP_OFFER"
    /// A DHCP client wants an address, of the server that it names or of any. A claim of the client, no pairing.
    DhcpRequest = 3 "DHCP_REQUEST"
    /// A DHCP client found that another host uses the address.
    DhcpDecline = 4 "DHCP_DECLINE"
    /// A DHCP server gave the address to the client.
    DhcpAck = 5 "DHCP_ACK"
    /// A DHCP server refused the client's request.
    DhcpNak = 6 "DHCP_NAK"
    /// A DHCP client gives its address back.
    DhcpRelease = 7 "DHCP_RELEASE"
    /// A host with an address asks a DHCP server for other parameters.
    DhcpInform = 8 "DHCP_INFORM"
    /// A DHCP server names a server of the DNS (option 6).
    DhcpDns = 16 "DHCP_DNS"
    /// A DHCP server names a router (option 3).
    DhcpRouter = 17 "DHCP_ROUTER"
    /// A DHCP server names a route (options 121 and 249).
    DhcpRoute = 18 "DHCP_ROUTE"
    /// A DHCP server names a domain, or one to search (options 15 and 119).
    DhcpDomain = 19 "DHCP_DOMAIN"
    /// A DHCP server names the file that configures web proxies (option 252).
    DhcpProxy = 20 "DHCP_WPAD"
    /// A DHCP server names a boot server (siaddr, option 66) and a file (option 67).
    DhcpBoot = 21 "DHCP_BOOT"
    /// A DHCP server names a captive portal (option 114, RFC 8910).
    DhcpPortal = 22 "DHCP_PORTAL"
    /// A DHCP client, or a server for it, names it with a domain (option 81), beside a host name.
    DhcpFullName = 23 "DHCP_FQDN"
    /// A host registers its IPv6 address (RFC 9686, ADDR-REG-INFORM).
    AddrReg = 24 "ADDR_REG"
    /// A DHCPv6 client looks for a server.
    Dhcp6Solicit = 25 "DHCP6_SOLICIT"
    /// A DHCPv6 client wants an address of the server that it names.
    Dhcp6Request = 26 "DHCP6_REQUEST"
    /// A DHCPv6 client renews its address at the server that it names.
    Dhcp6Renew = 27 "DHCP6_RENEW"
    /// A DHCPv6 client renews its address at any server.
    Dhcp6Rebind = 28 "DHCP6_REBIND"
    /// A DHCPv6 client gives its address back.
    Dhcp6Release = 29 "DHCP6_RELEASE"
    /// A DHCPv6 client found that another host uses the address.
    Dhcp6Decline = 30 "DHCP6_DECLINE"
    /// A Router Advertisement; a lifetime of 0 withdraws the router.
    Router = 32 "RA"
    /// A prefix of a Router Advertisement.
    RouterPrefix = 33 "RA_PREFIX"
    /// A server of the DNS in a Router Advertisement (RFC 8106).
    RouterDns = 34 "RA_DNS"
    /// A route in a Router Advertisement (RFC 4191).
    RouterRoute = 35 "RA_ROUTE"
    /// A NAT64 prefix in a Router Advertisement (RFC 8781).
    RouterNat64 = 36 "RA_NAT64"
    /// A host looks for routers.
    RouterSolicitation = 37 "RS"
    /// A router sends a host another way.
    Redirect = 38 "REDIRECT"
    /// A domain to search, in a Router Advertisement (RFC 8106).
    RouterDomain = 39 "RA_DOMAIN"
    /// A captive portal in a Router Advertisement (RFC 8910).
    RouterPortal = 40 "RA_PORTAL"
    /// A host announces its name and address by multicast DNS.
    MdnsHost = 48 "MDNS_HOST"
    /// A host announces its model by multicast DNS.
    MdnsModel = 49 "MDNS_MODEL"
    /// A host answers for hosts that sleep.
    MdnsSleepProxy = 50 "MDNS_SLEEP_PROXY"
    /// A switch, access point or phone announces itself and the port.
    Lldp = 64 "LLDP"
    /// A router asks which multicast groups have members: with snooping, ports without members receive no more of them.
    MldQuery = 80 "MLD_QUERY"
    /// A host reports a multicast group of which it is a member.
    MldReport = 81 "MLD_REPORT"
    /// A host leaves a multicast group.
    MldDone = 82 "MLD_DONE"
    /// A message of a router or of a DHCP server that was refused: hosts may accept it.
    Refused = 96 "REFUSED"
}

impl NameKind {
    /// Whether the message is of IPv4 or IPv6; none if it may be of both.
    pub const fn is_ipv4(self) -> Option<bool> {
        use NameKind::*;
        match self {
            MdnsHost | MdnsModel | MdnsSleepProxy | Lldp | Refused => None,
            _ => Some(self.is_dhcp()),
        }
    }

    /// Whether a router, a server or a switch sends it: what shows a rogue one.
    pub const fn is_infrastructure(self) -> bool {
        use NameKind::*;
        let is_answer = matches!(self, DhcpOffer | DhcpAck | DhcpNak);
        let is_part = self as u8 >= DhcpDns as u8 && (self as u8) < DhcpFullName as u8;
        is_answer
            || is_part
            || self.is_router()
            || matches!(self, Redirect | Lldp | MldQuery | Refused)
    }

    /// Whether the number is that of a client's transaction.
    pub const fn has_transaction(self) -> bool {
        (self as u8) < NameKind::Router as u8
    }

    /// Whether it is a message of DHCP for IPv4, or a part of one.
    pub const fn is_dhcp(self) -> bool {
        (self as u8) < NameKind::AddrReg as u8
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
