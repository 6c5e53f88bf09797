//! Redirects, and messages of routers and servers that are not read.

use ipnet::Ipv6Net;
use shm_layout::MacAddr;

use super::{FIND, Rules, Seen};
use crate::{
    alert::{Alert, AlertKind},
    infrastructure::{InfrastructureMemory, Known, Part, Trust},
};

impl Rules {
    /// A router sends a host another way. A known router may send it to another known one, or to the destination itself.
    pub(super) fn redirect<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let (Some(router), Some(to)) = (record.relay_ip(), record.ip()) else { return Ok(None) };
        let key = router.to_string();
        let by = memory.known(&seen.network, Part::Router, &key)?;
        let is_known = |known: Option<Known>| known.is_some_and(|known| known.is_known(seen.time));
        let is_own = match &by {
            Some(known) => self.is_own_mac(seen, memory, &key, known)?,
            None => false,
        };
        let is_named_router = is_known(by);
        let by_router = is_named_router && is_own;
        let target = Some(record.target).filter(|mac| *mac != MacAddr::ZERO);
        let has_target = match target {
            Some(target) => memory.station(&seen.network, to)?.has(target),
            None => true,
        };
        let is_direct = record.address == record.other;
        let to_router = memory.known(&seen.network, Part::Router, &to.to_string())?;
        let is_right = match is_direct {
            // Hosts find it on this link: another host would answer for what is not there.
            true => self.is_on_link(seen, memory, &router.to_string())?,
            false => is_known(to_router),
        };
        if by_router && has_target && is_right {
            return Ok(None);
        }
        let key = if is_direct { format!("{router} direct") } else { format!("{router} {to}") };
        if self.look(seen, memory, (Part::Redirect, &key), false)?.is_some() {
            return Ok(None);
        }
        let sender = record.sender;
        let who = match (by_router, is_named_router) {
            (true, _) => format!("the router {router} (message from {sender})"),
            (false, true) => format!("{sender} pretends to be the router {router} and"),
            (false, false) => {
                format!("{router} (message from {sender}), which is not known as a router,")
            }
        };
        let hosts = match record.destination_ip() {
            Some(ip) if ip.is_multicast() => "all hosts".into(),
            Some(ip) => ip.to_string(),
            None => "hosts".into(),
        };
        let destination = record.other_ip().map(|ip| ip.to_string()).unwrap_or_default();
        let by_mac = target.map(|mac| format!(", at the MAC {mac}")).unwrap_or_default();
        let way = if is_direct { "directly to it".into() } else { format!("to {to}") };
        let note = format!(
            "{who} redirects {hosts}: what is for {destination} goes {way}{by_mac} (if that is no router of yours, {FIND})"
        );
        let mac = target.or(Some(record.sender));
        let alert = self.rogue(seen, AlertKind::Redirect, Some(to), mac, note);
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Redirect, &key), reported, alert)
    }

    /// Whether the destination of a redirect is in a prefix that the router announces for this link.
    fn is_on_link<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
        router: &str,
    ) -> Result<bool, M::Error> {
        let begin = format!("{router} prefix ");
        for key in memory.keys(&seen.network, Part::Setting)? {
            let Some(rest) = key.strip_prefix(&begin).filter(|rest| rest.contains(" on this link"))
            else {
                continue;
            };
            let net = rest.split(' ').next().and_then(|net| net.parse::<Ipv6Net>().ok());
            let known = memory.known(&seen.network, Part::Setting, &key)?;
            let is_known = known.is_some_and(|known| known.is_known(seen.time));
            if is_known && net.is_some_and(|net| net.contains(&seen.record.other)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A message of a router or server that is malformed or hidden, and that hosts may accept.
    pub(super) fn refused<M: InfrastructureMemory>(
        &self,
        seen: &Seen,
        memory: &mut M,
    ) -> Result<Option<Alert>, M::Error> {
        let record = seen.record;
        let (kind, what, list) = match record.detail.as_str() {
            "RA" => (AlertKind::NewRouter, "a Router Advertisement", "routers"),
            "REDIRECT" => (AlertKind::Redirect, "a redirect", "routers"),
            _ => (AlertKind::NewDhcpServer, "an answer of a DHCP server", "dhcp_servers"),
        };
        let source = record.source_ip();
        let source_text = source.map(|ip| ip.to_string()).unwrap_or_default();
        let key = format!("{list} {kind:?} {source_text} {}", record.sender);
        if self.look(seen, memory, (Part::Refused, &key), false)?.is_some() {
            return Ok(None);
        }
        let reason = record.reason.map_or("malformed", |reason| reason.name());
        let note = format!(
            "it sends {what} that addrwatch does not read ({reason}), and that hosts may accept: guards in switches do not see it either, so this may be an attack that hides ({FIND}; collector --stats counts such messages)"
        );
        let alert = self.rogue(seen, kind, source, Some(record.sender), note);
        let reported = Known::new(seen.time, Trust::Reported);
        self.report(seen, memory, (Part::Refused, &key), reported, alert)
    }
}
