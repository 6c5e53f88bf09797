//! DHCPv6: servers that a client names. Their answers are not read.

use shm_layout::{MacAddr, NameKind, NameRecord};

use super::{RENEW, Rules, Seen, client};
use crate::{
    alert::{Alert, AlertKind},
    infrastructure::{InfrastructureMemory, Known, NamedServer, Part, Trust},
};

impl Rules {
    /// A client of DHCPv6 names the server that it chose.
    pub(super) fn dhcpv6_claim<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let key = duid_of(record);
        let Some(duid) = key.strip_prefix("DUID ").filter(|duid| !duid.is_empty()) else {
            return Ok(None);
        };
        let is_this = |one: &NamedServer| matches!(one, NamedServer::Duid(named) if named == duid);
        let is_named = self.dhcp_servers.iter().any(is_this);
        if self.look(seen, memory, (Part::DhcpServer, &key), is_named)?.is_some() {
            return Ok(None);
        }
        let mac = mac_of_duid(duid);
        let contained = mac.map(|mac| format!(", which contains the MAC {mac}"));
        let contained = contained.unwrap_or_default();
        let add = self.if_yours("dhcp_servers", &self.dhcp_servers, &key);
        let note = format!(
            "{} asks the DHCPv6 server with the {key}{contained}. A client can name any server, and answers of DHCPv6 are not read",
            client(record)
        );
        let any = if mac.is_some() { ". Any host can write any MAC into a DUID" } else { "" };
        let advice = format!(
            "({add}; if not, ask that client for its server, find the port of that server, and unplug it{RENEW}{any})"
        );
        let alert = self.rogue(seen, AlertKind::NewDhcpServer, None, None, note);
        let alert = Alert { advice, ..alert };
        let known = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::DhcpServer, &key), known, alert)
    }
}

/// The DUID that a client of DHCPv6 asks; empty in other messages.
pub(super) fn duid_of(record: &NameRecord) -> String {
    use NameKind::{Dhcp6Release, Dhcp6Renew, Dhcp6Request};
    match record.kind {
        Dhcp6Request | Dhcp6Renew | Dhcp6Release => format!("{}{}", record.detail, record.third),
        _ => String::new(),
    }
}

/// The MAC in a DUID of the types 1 and 3 (RFC 8415, 11.2 and 11.4).
fn mac_of_duid(duid: &str) -> Option<MacAddr> {
    let hex = duid.strip_prefix("00030001").or_else(|| duid.strip_prefix("00010001")?.get(8..))?;
    let octets = u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 12)?;
    let [_, _, octets @ ..] = octets.to_be_bytes();
    Some(MacAddr::new(octets))
}
