//! An address and the MACs that claimed it: arpwatch's state machine (2.1a15 with Debian's patches), rule by rule, and
//! the signs that two machines use one address. No I/O and no clock; times are the packets', mostly in whole seconds.

use shm_layout::{MacAddr, UnixTime};

use crate::device::span;

/// After half a year, arpwatch reports the same pairing as *new activity*.
const HALF_A_YEAR: i64 = 180 * 86_400;
/// DECnet sets the MAC to an address of its own, so that a station's MAC changes at each start.
const DECNET: [u8; 3] = [0xaa, 0x00, 0x04];
const DECNET_WITHIN: i64 = 86_400;
/// Two answers to one request (RFC 5227, 2.4): a machine answers at once, a busy one within about two seconds.
const MAX_ANSWER_DELAY_NANOS: u64 = 2_000_000_000;
/// An owner defends its address within so many seconds.
const DEFENCE_SECONDS: i64 = 2;
/// Claims that are stored for each address. arpwatch stores all; a host that invents MACs would let that grow without
/// limit. If the MAC of a removed claim returns, that is *changed* instead of *reused*.
pub const MAX_CLAIMS: usize = 64;
/// MACs of the learning period that are stored for each address: fewer than claims, so that each has its claim.
pub(crate) const MAX_LEARNED: usize = 32;
/// Claims in the frames of another MAC count as much as others after so many seconds, as behind a Wi-Fi repeater.
const FORWARDED_SECONDS: i64 = 86_400;
/// MACs that no host has, of which is stored when they were reported.
const MAX_NO_HOSTS: usize = 8;

/// A MAC that claimed the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacClaim {
    /// The MAC.
    pub mac: MacAddr,
    /// When it last claimed the address.
    pub time: i64,
}

/// A MAC that answered for the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The MAC.
    pub mac: MacAddr,
    /// When it last answered.
    pub time: UnixTime,
}

/// The state of one address in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// The most recent one first.
    pub claims: Vec<MacClaim>,
    /// The first one of all: nothing that is claimed later changes it.
    pub first: Option<MacClaim>,
    /// Whether the configuration names the MAC of the first claim.
    pub named: bool,
    /// The MACs that claimed the address in the learning period.
    pub learned: Vec<MacAddr>,
    /// The MACs that claimed the address in frames of other MACs only, forged or forwarded; each with the first time, or a later
    /// one at which another MAC claimed the address itself.
    pub forwarded: Vec<MacClaim>,
    /// The MACs that no host has and that were claimed for the address, with the time when that was last reported.
    pub no_hosts: Vec<MacClaim>,
    /// How many further ones were not reported since.
    pub no_hosts_suppressed: u32,
    /// When a claim in a form that Linux ignores was last reported; 0 = never.
    pub last_ignored: i64,
    /// The last probe for the address (RFC 5227, RFC 4862).
    pub probe: Option<MacClaim>,
    /// The last ARP reply or advertisement for the address.
    pub answer: Option<Answer>,
    /// The MACs that asked from the address, and so use it as their own. A router with proxy ARP only answers for it.
    pub askers: Vec<MacAddr>,
    /// The MACs that took the address from each other in the learning period, and took it back.
    pub sharers: Vec<MacAddr>,
    /// When a flip flop was last reported, by an earlier release also a duplicate; 0 = never.
    pub last_alert: i64,
    /// When one was last reported that belongs in the digest; 0 = never.
    pub last_digested: i64,
    /// How many were suppressed since.
    pub suppressed: u32,
    /// When a duplicate was last reported; 0 = never.
    pub last_duplicate: i64,
}

/// How a claim changes a station, in arpwatch's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The same MAC after half a year.
    NewActivity,
    /// The first claim.
    NewStation,
    /// A flip flop that DECnet causes.
    SuppressedDecnet,
    /// The previous MAC again.
    FlipFlop,
    /// An older MAC again.
    Reused,
    /// Another MAC.
    Changed,
}

impl Station {
    /// Records a claim. Returns what it changed and the claim that was current before. `is_named`: the configuration names
    /// the MAC, so that it is not forgotten.
    pub fn claim(
        &mut self,
        mac: MacAddr,
        time: i64,
        is_named: impl Fn(MacAddr) -> bool,
    ) -> Option<(Transition, Option<MacClaim>)> {
        let claim = MacClaim { mac, time };
        // An earlier release did not store the first claim.
        self.first.get_or_insert(self.claims.last().copied().unwrap_or(claim));
        let Some(current) = self.claims.first().copied() else {
            self.claims.push(claim);
            self.no_hosts.clear(); // reported in the digest, because no host had the address
            return Some((Transition::NewStation, None));
        };
        let index = self.claims.iter().position(|known| known.mac == mac);
        let change = match index {
            Some(0) => {
                // A time from before the clock was set does not replace a right one.
                let span = span(current.time, time);
                if span.is_some() || time > current.time {
                    self.claims[0].time = time;
                }
                let silent = span.is_some_and(|span| span > HALF_A_YEAR);
                return silent.then_some((Transition::NewActivity, Some(current)));
            }
            Some(1) if decnet_time(current.time, time) && is_decnet(mac, current.mac) => {
                Transition::SuppressedDecnet
            }
            Some(1) => Transition::FlipFlop,
            Some(_) => Transition::Reused,
            None => Transition::Changed,
        };
        if let Some(index) = index {
            self.claims.remove(index);
        }
        self.claims.insert(0, claim);
        self.limit_claims(is_named);
        let claims = &self.claims;
        let is_stored = |mac| claims.iter().any(|claim| claim.mac == mac);
        for macs in [&mut self.askers, &mut self.sharers] {
            macs.retain(|mac| is_stored(*mac));
        }
        self.forwarded.retain(|claim| is_stored(claim.mac));
        Some((change, Some(current)))
    }

    /// Records whether a claim is in a frame of the MAC itself; call it before [`Station::duplicate`] and [`Station::claim`].
    /// Such a claim takes the address from the last MAC that claimed it in a frame of its own: claims in the frames of others,
    /// which that sender may have forged, come after that one. Returns the MAC of the last one of these.
    pub fn sent_by(&mut self, mac: MacAddr, source: MacAddr, time: i64) -> Option<MacAddr> {
        if source != mac {
            if !self.has(mac) {
                self.forwarded.push(MacClaim { mac, time });
            }
            return None;
        }
        self.forwarded.retain(|claim| claim.mac != mac);
        let weak = self.claims.iter().filter(|claim| self.is_weak(claim));
        let weak: Vec<_> = weak.map(|claim| claim.mac).collect();
        for forwarded in self.forwarded.iter_mut().filter(|claim| weak.contains(&claim.mac)) {
            forwarded.time = forwarded.time.max(time);
        }
        let owner = self.claims.iter().position(|claim| !weak.contains(&claim.mac))?;
        if self.claims[owner].mac == mac {
            return None;
        }
        let passed_over = &self.claims[..owner];
        let last = passed_over.first().map(|claim| claim.mac);
        self.answer =
            self.answer.filter(|answer| !passed_over.iter().any(|claim| claim.mac == answer.mac));
        self.claims[..=owner].rotate_right(1);
        last
    }

    /// Whether a MAC claimed the address in the frames of other MACs only, and neither before others nor for a day in which no
    /// other one claimed it itself: so waiting does not make an owner of a forged one.
    fn is_weak(&self, claim: &MacClaim) -> bool {
        let is_first = self.first.is_some_and(|first| first.mac == claim.mac);
        let since = self.forwarded.iter().find(|known| known.mac == claim.mac);
        since.is_some_and(|since| {
            let is_recent =
                span(since.time, claim.time).is_none_or(|span| span < FORWARDED_SECONDS);
            is_recent && !is_first && !self.learned.contains(&claim.mac)
        })
    }

    /// Removes the claims of longest ago, above the maximum. Those of the first MAC, of learned and of named ones are the
    /// last to go: who invents MACs displaces invented ones.
    pub(crate) fn limit_claims(&mut self, is_named: impl Fn(MacAddr) -> bool) {
        while self.claims.len() > MAX_CLAIMS {
            let Station { first, learned, sharers, .. } = &*self;
            let stays = |claim: &MacClaim| {
                let mac = claim.mac;
                let is_learned = learned.contains(&mac) || sharers.contains(&mac);
                is_learned || first.is_some_and(|first| first.mac == mac) || is_named(mac)
            };
            let last = self.claims.iter().skip(1).rposition(|claim| !stays(claim));
            self.claims.remove(last.map_or(MAX_CLAIMS, |last| last + 1));
        }
    }

    /// Records that a MAC claimed the address in the learning period.
    pub fn learn(&mut self, mac: MacAddr) {
        if self.learned.len() < MAX_LEARNED {
            insert(&mut self.learned, mac);
        }
    }

    /// Records the group MAC of a cluster, of the learning period. A few of them: they displace no host's MAC.
    pub fn learn_cluster(&mut self, mac: MacAddr) {
        if self.learned.iter().filter(|mac| mac.is_no_host()).count() < MAX_NO_HOSTS {
            self.learn(mac);
        }
    }

    /// Whether to report that a MAC which no host has was claimed for the address: each once in `quiet` seconds, and in this
    /// time a few of them. Returns how many further ones there were since the last report.
    pub fn admit_no_host(&mut self, mac: MacAddr, time: i64, quiet: i64) -> Option<u32> {
        let is_recent = |known: &MacClaim| (time - known.time).abs() < quiet;
        if self.no_hosts.iter().any(|known| known.mac == mac && is_recent(known)) {
            return None;
        }
        if self.no_hosts.iter().filter(|known| is_recent(known)).count() >= MAX_NO_HOSTS {
            self.no_hosts_suppressed = self.no_hosts_suppressed.saturating_add(1);
            return None;
        }
        self.no_hosts.retain(|known| known.mac != mac);
        self.no_hosts.insert(0, MacClaim { mac, time });
        self.no_hosts.truncate(MAX_NO_HOSTS);
        Some(std::mem::take(&mut self.no_hosts_suppressed))
    }

    /// Forgets times after `latest`, which an event of a clock that was ahead has left: it is not known when that was.
    pub fn forget_after(&mut self, latest: i64) {
        let is_past = |claim: &MacClaim| claim.time <= latest;
        self.probe = self.probe.filter(is_past);
        self.answer = self.answer.filter(|answer| answer.time.seconds() <= latest);
        let claims = self.claims.iter_mut().chain(&mut self.no_hosts).chain(&mut self.forwarded);
        let claims = claims.map(|claim| &mut claim.time);
        let alerts = [
            &mut self.last_alert,
            &mut self.last_digested,
            &mut self.last_duplicate,
            &mut self.last_ignored,
        ];
        claims.chain(alerts).for_each(|time| forget_after(time, latest));
    }

    /// Whether a MAC has claimed the address.
    pub fn has(&self, mac: MacAddr) -> bool {
        self.claims.iter().any(|claim| claim.mac == mac)
    }

    /// The MAC of the latest claim.
    pub fn owner(&self) -> Option<MacAddr> {
        self.claims.first().map(|claim| claim.mac)
    }

    /// The MACs that claimed the address: the first one of all, if it is still stored, and then the others, the latest first.
    pub fn macs(&self) -> Vec<MacAddr> {
        let mut macs: Vec<_> = self.claims.iter().map(|claim| claim.mac).collect();
        let first = self.first.and_then(|first| macs.iter().position(|mac| *mac == first.mac));
        first.inspect(|first| macs[..=*first].rotate_right(1));
        macs
    }

    /// The latest claim that is not weak, or else the latest one.
    pub fn lasting_claim(&self) -> Option<MacClaim> {
        let lasting = self.claims.iter().find(|claim| !self.is_weak(claim));
        lasting.or(self.claims.first()).copied()
    }

    /// For how many seconds a MAC has had the address at `time`, if it was the first one or is of the learning period;
    /// otherwise 0. No later claim makes that longer.
    pub fn held(&self, mac: MacAddr, time: i64) -> i64 {
        let first = self.first.filter(|first| first.mac == mac || self.learned.contains(&mac));
        first.and_then(|first| span(first.time, time)).map_or(0, |held| held.max(0))
    }

    /// Records that a MAC asked from the address.
    pub fn asked(&mut self, mac: MacAddr) {
        insert(&mut self.askers, mac);
    }

    /// Records that two MACs share the address by design.
    pub fn share(&mut self, one: MacAddr, other: MacAddr) {
        insert(&mut self.sharers, one);
        insert(&mut self.sharers, other);
    }

    /// Whether two MACs share the address by design.
    pub fn is_shared(&self, one: MacAddr, other: MacAddr) -> bool {
        self.sharers.contains(&one) && self.sharers.contains(&other)
    }

    /// Whether two machines use the address at the same time; call it before [`Station::claim`]. Returns the other
    /// machine's claim and the evidence. `answers`: the message is a reply or an advertisement.
    pub fn duplicate(
        &self,
        mac: MacAddr,
        time: UnixTime,
        within: i64,
        answers: bool,
    ) -> Option<(MacClaim, &'static str)> {
        let at_once = |answer: &Answer| {
            let nanos = time.as_nanos().abs_diff(answer.time.as_nanos());
            answers && answer.mac != mac && nanos <= MAX_ANSWER_DELAY_NANOS
        };
        if let Some(Answer { mac, time }) = self.answer.filter(at_once) {
            return Some((MacClaim { mac, time: time.seconds() }, "both MACs answer"));
        }
        // A machine that took the address over does not lose it again within seconds: an owner that claims it at once, defends
        // it.
        let age = |claim: &MacClaim| (time.seconds() - claim.time).abs();
        let [current, before, ..] = &*self.claims else { return None };
        let defends = age(current) <= DEFENCE_SECONDS;
        let back =
            before.mac == mac && (defends || age(before) <= within && age(current) <= within);
        back.then_some((*current, "both MACs claim it in turn"))
    }

    /// Limits repeated alerts to one in `quiet` seconds. Returns how many were suppressed since the last one, or `None`
    /// if this one is suppressed too. Duplicates have an interval of their own: they are more serious than the flip flop
    /// that precedes them.
    pub fn admit_alert(&mut self, time: i64, quiet: i64, duplicate: bool) -> Option<u32> {
        let is_recent = |last: &i64| *last != 0 && (time - last).abs() < quiet;
        let of_change = Some(self.last_alert).filter(|_| !duplicate);
        if of_change.iter().chain([&self.last_duplicate]).any(is_recent) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        *(if duplicate { &mut self.last_duplicate } else { &mut self.last_alert }) = time;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Whether a duplicate was reported within so many seconds, the two MACs took the address from each other since, which was left out,
    /// and no other one claimed it. Call it after [`Station::claim`].
    pub fn is_in_conflict(&self, time: i64, within: i64) -> bool {
        let is_recent = self.last_duplicate != 0 && (time - self.last_duplicate).abs() < within;
        let others = self.claims.iter().skip(2);
        is_recent
            && self.suppressed > 0
            && others.into_iter().all(|one| one.time < self.last_duplicate)
    }

    /// The same as [`Station::admit_alert`] for a flip flop that is reported as a duplicate, because one was reported before.
    pub fn admit_alert_again(&mut self, time: i64, quiet: i64) -> Option<u32> {
        let before = self.last_alert;
        let suppressed = self.admit_alert(time, quiet, false)?;
        (self.last_alert, self.last_duplicate) = (before, time);
        Some(suppressed)
    }

    /// The same for an alert that belongs in the digest: it delays no other alert.
    pub fn admit_digested(&mut self, time: i64, quiet: i64) -> Option<u32> {
        let is_recent = |last: &i64| *last != 0 && (time - last).abs() < quiet;
        if [self.last_alert, self.last_duplicate, self.last_digested].iter().any(is_recent) {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last_digested = time;
        Some(std::mem::take(&mut self.suppressed))
    }

    /// Takes back that a change of this time was reported, or that two MACs used the address at that time, or a claim that Linux ignores.
    pub(crate) fn was_not_sent(&mut self, time: i64, is_change: bool, is_duplicate: bool) {
        for (last, is_it) in
            [(&mut self.last_alert, is_change), (&mut self.last_duplicate, is_duplicate)]
        {
            *last = if is_it && *last == time { 0 } else { *last };
        }
        self.ignored_was_not_sent(time);
    }

    /// Takes back that a claim of this time was reported that Linux ignores.
    pub(crate) fn ignored_was_not_sent(&mut self, time: i64) {
        if self.last_ignored == time {
            self.last_ignored = 0;
        }
    }

    /// Takes back that MACs of this time were reported that no host has.
    pub(crate) fn no_host_was_not_sent(&mut self, time: i64) {
        self.no_hosts.retain(|claim| claim.time != time);
    }
}

fn insert(macs: &mut Vec<MacAddr>, mac: MacAddr) {
    if !macs.contains(&mac) {
        macs.push(mac);
    }
}

/// Sets a time after `latest` to that of a clock that is not set, to which no span reaches.
pub(crate) fn forget_after(time: &mut i64, latest: i64) {
    if *time > latest {
        *time = 0;
    }
}

fn decnet_time(current: i64, time: i64) -> bool {
    span(current, time).is_none_or(|span| span < DECNET_WITHIN)
}

fn is_decnet(a: MacAddr, b: MacAddr) -> bool {
    [a, b].iter().any(|mac| mac.octets()[..3] == DECNET)
}

#[cfg(test)]
mod tests;
