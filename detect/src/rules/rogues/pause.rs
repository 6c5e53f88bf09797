//! Until when further takeovers of an address are not reported: what limits the alerts, in words. Each silence is one that a message said.

use shm_layout::MacAddr;

use super::{Rules, facts::Claimed, gateways::ignored_key};
use crate::{
    alert::AlertKind,
    infrastructure::{InfrastructureMemory, Part},
    station::Station,
};

impl Rules {
    /// Until when further takeovers of the address are not reported, and by which MACs; of an address that changed, that the next one is. A
    /// change to a MAC that never had the address has no limit but that of its row.
    pub(super) fn pause<M: InfrastructureMemory>(
        &self,
        (kind, is_ignored): (AlertKind, bool),
        claimed: &Claimed,
        memory: &mut M,
    ) -> Result<String, M::Error> {
        let &Claimed { network, ip, time, now, clock, ref station, mac, old, .. } = claimed;
        let is_recent = |last: i64| last != 0 && (time - last).abs() < self.quiet;
        // As where alerts are left out: not if the clock was set in between.
        let until = |last: i64| {
            let until = last.saturating_add(self.quiet);
            (is_recent(last) && until > time.max(now)).then_some(until)
        };
        let mut texts = Vec::new();
        if matches!(kind, AlertKind::Duplicate | AlertKind::GatewayTaken) {
            // The answers to probes of a whole network.
            let reported = memory.network(network)?.map_or(0, |network| network.reported);
            let until = until(reported).filter(|_| reported == time);
            let text = |until| {
                format!("Further answers to probes are not reported until {}.", clock(until))
            };
            texts.extend(until.map(text));
            if kind == AlertKind::Duplicate && !old.is_some_and(|old| station.has(old)) {
                return Ok(texts.join(" "));
            }
        }
        let is_owned = !self.owners(ip).is_empty();
        let duplicates = until(station.last_duplicate);
        let changes = until(station.last_alert).max(duplicates);
        let is_full = changes.is_some() && duplicates == changes;
        // A router's advertisements have no other limit than that of each MAC.
        let is_announced = claimed.is_of_gateway && ip.is_ipv6();
        let mut each: Vec<(i64, Vec<String>)> = Vec::new();
        for one in macs_of(claimed) {
            // What a learned one takes is reported as of other addresses, and an owner takes nothing.
            let is_its_own = match is_owned {
                true => self.is_owner(ip, one),
                false => !claimed.is_of_gateway || station.learned.contains(&one),
            };
            if is_its_own {
                continue;
            }
            let row = memory.known(network, Part::RouterMac, &format!("{ip} {one}"))?;
            let Some(end) = row.and_then(|row| until(row.further)) else { continue };
            // The sentence about all says so.
            let is_said = !is_owned && is_full && !is_announced && station.has(one);
            if is_said && changes >= Some(end) {
                continue;
            }
            match each.iter_mut().find(|(of, _)| *of == end) {
                Some((_, macs)) => macs.push(one.to_string()),
                None => each.push((end, vec![one.to_string()])),
            }
        }
        if is_ignored && let Some(mac) = mac {
            let row = memory.known(network, Part::RouterMac, &ignored_key(ip, mac))?;
            let (last, by) = match row.filter(|_| is_owned) {
                Some(row) => (row.further, format!(" by {mac}")),
                None => (station.last_ignored, String::new()),
            };
            let text = |end| {
                format!("Further claims in this form{by} are not reported until {}.", clock(end))
            };
            texts.extend(until(last).map(text));
        }
        let of_each = each.iter().map(|(end, macs)| (macs.join(" and "), clock(*end)));
        let of_each: Vec<_> = of_each.collect();
        if let [(macs, end), others @ ..] = &*of_each {
            let others = others.iter().map(|(macs, end)| format!(", and by {macs} until {end}"));
            let others: String = others.collect();
            texts
                .push(format!("Further takeovers by {macs} are not reported until {end}{others}."));
        }
        // A first claim is reported.
        let owners = station.claims.iter().map(|claim| claim.mac);
        let owners: Vec<_> = owners.filter(|mac| self.is_owner(ip, *mac)).collect();
        if let Some(end) = changes.filter(|_| !owners.is_empty() || !is_owned) {
            let are_all = station.claims.iter().all(|one| [mac, old].contains(&Some(one.mac)));
            let further = if of_each.is_empty() { "Further" } else { "Other" };
            let (what, two) = match (station.claims.len(), &*owners) {
                (_, [own]) => (format!("That {own} takes it back is"), "two MACs"),
                (_, [_, ..]) => ("That one of its own MACs takes it back is".into(), "two MACs"),
                (2, []) if are_all => (format!("{further} takeovers by either MAC are"), "both"),
                _ => (format!("{further} takeovers by MACs that have had it are"), "two MACs"),
            };
            let within = self.duplicate_within.max(2);
            let in_turn = format!("{two} claim it in turn within {within} s");
            let announced = "one announces the router".to_owned();
            let but = [(!is_full, in_turn), (is_announced && !is_owned, announced)];
            let but = but.into_iter().filter_map(|(is, text)| is.then_some(text));
            let but = but.collect::<Vec<_>>().join(", or ");
            let but = if but.is_empty() { but } else { format!(", unless {but}") };
            texts.push(format!("{what} not reported until {}{but}.", clock(end)));
        }
        if texts.is_empty() && kind == AlertKind::Changed {
            // Of that time, and not of that of the message, by whatever MAC.
            let rows = memory.macs(network, Part::RouterMac, &ip.to_string())?;
            let rows = rows.iter().map(|(_, row)| row.further);
            let Station { last_alert, last_duplicate, last_digested, .. } = *station;
            let mut limits = rows.chain([last_alert, last_duplicate, last_digested]);
            if !limits.any(is_recent) {
                texts.push("The next takeover is reported, too.".into());
            }
        }
        Ok(texts.join(" "))
    }
}

/// The MACs that the text of an alert has.
fn macs_of(claimed: &Claimed) -> Vec<MacAddr> {
    let Claimed { station, learned, mac, old, .. } = claimed;
    let first = claimed.first().map(|(mac, _)| mac);
    let by_arp = station.first.map(|first| first.mac);
    let all = [*mac, *old, first, by_arp].into_iter().flatten();
    let mut macs: Vec<MacAddr> = Vec::new();
    for one in all.chain(learned.iter().map(|(mac, _)| *mac)) {
        if !macs.contains(&one) {
            macs.push(one);
        }
    }
    macs
}
