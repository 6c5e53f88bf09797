//! The header behind which a collector saw ARP or Neighbor Discovery that it did not read.

use std::fmt;

/// Names the header by the number that announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OuterHeader {
    /// The EtherType of a tag or of another header of layer 2.
    EtherType(u16),
    /// The destination port of a tunnel over UDP.
    UdpPort(u16),
    /// The protocol type of a GRE tunnel (RFC 2784).
    Gre(u16),
}

impl OuterHeader {
    /// As the ring's header stores it: the kind, then the number.
    pub(crate) fn to_word(self) -> u64 {
        let (kind, number) = match self {
            OuterHeader::EtherType(number) => (1, number),
            OuterHeader::UdpPort(number) => (2, number),
            OuterHeader::Gre(number) => (3, number),
        };
        kind << 16 | u64::from(number)
    }

    /// The reverse of `to_word`; none for 0 and for kinds that are not known.
    pub(crate) fn from_word(word: u64) -> Option<OuterHeader> {
        let number = word as u16;
        match word >> 16 {
            1 => Some(OuterHeader::EtherType(number)),
            2 => Some(OuterHeader::UdpPort(number)),
            3 => Some(OuterHeader::Gre(number)),
            _ => None,
        }
    }
}

impl fmt::Display for OuterHeader {
    /// The number, and the usual name of the tunnel.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, name) = match self {
            OuterHeader::EtherType(number) => return write!(f, "EtherType {number:#06x}"),
            OuterHeader::UdpPort(port) => {
                let name = match port {
                    4789 | 8472 => "VXLAN",
                    6081 => "GENEVE",
                    37008 => "TZSP",
                    _ => "a tunnel",
                };
                (format!("UDP port {port}"), name)
            }
            OuterHeader::Gre(kind) => {
                let name = match kind {
                    0x88be | 0x22eb => "ERSPAN",
                    _ => "Ethernet",
                };
                (format!("GRE protocol {kind:#06x}"), name)
            }
        };
        write!(f, "{name} ({number})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_text() {
        for (header, text) in [
            (OuterHeader::EtherType(0x9001), "EtherType 0x9001"),
            (OuterHeader::UdpPort(4789), "VXLAN (UDP port 4789)"),
            (OuterHeader::Gre(0x88be), "ERSPAN (GRE protocol 0x88be)"),
            (OuterHeader::Gre(0x6558), "Ethernet (GRE protocol 0x6558)"),
        ] {
            assert_eq!(OuterHeader::from_word(header.to_word()), Some(header));
            assert_eq!(header.to_string(), text);
        }
        assert_eq!(OuterHeader::from_word(0), None);
        assert_eq!(OuterHeader::from_word(u64::MAX), None);
    }
}
