//! What an answer does not show, and the remark about it.

use std::{cmp::Reverse, collections::BTreeMap};

use aw_service::{Error, count_of};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history_reader::{HistoryReader, TimeRange},
    left_out::{LeftOut, Why},
    result_table::Cell,
    unseen::UnseenRemark,
    who::{SECONDS, distance, duration},
};

/// What an answer does not show.
#[derive(Clone, Debug, Default)]
pub struct Omitted {
    /// Probes, and answers and questions without a MAC, that count for no row.
    pub ignored: u64,
    /// Leases and registrations, which count for no row, and addresses of which a MAC has nothing else.
    pub leased: u64,
    pub only_leased: u64,
    /// Of an address that no MAC was seen to use: which ones announced it, got it from a server, or asked for it. Of a MAC the addresses.
    pub unseen: Vec<UnseenRemark>,
    /// And further MACs that did, or further addresses.
    pub more_unseen: u64,
    pub more_addresses: u64,
    /// Addresses that a MAC only probed, and others of which no sighting counts for it.
    pub probed: u64,
    pub asked: u64,
    /// Sightings that are left out, because the clock was not set.
    pub undated: u64,
    /// Claims in frames of another MAC, while a MAC claimed the address in frames of its own; and how many each MAC sent.
    pub forged: u64,
    pub forgers: BTreeMap<MacAddr, u64>,
    /// Messages with a MAC that no host has, or in a form that hosts ignore; and how many each MAC sent.
    pub no_pairing: u64,
    pub senders: BTreeMap<MacAddr, u64>,
    /// Addresses whose claims count although other MACs sent the frames, because it would take too long to check them.
    pub unchecked: u64,
    /// Addresses that only other MACs claimed in the name of this one, and that would take too long to read.
    pub unread: u64,
    /// The MAC in question sent frames with claims of other MACs.
    pub has_sent: bool,
    /// Addresses were seen, and the answer has those that changed.
    pub is_unchanged: bool,
    /// Addresses that are not in a list that has so many, and those in which a device is not searched, for they have too many
    /// sightings.
    pub unlisted: u64,
    pub uncounted: u64,
    /// There are more names and addresses than are read: devices that only announced themselves may be missing.
    pub is_unseen_cut: bool,
    /// The device in question was not seen near the time: how many seconds before and after it was.
    pub away: Option<[Option<i64>; 2]>,
    /// And whether anything else was seen then in a network of its own, if that is known.
    pub was_captured: Option<bool>,
    /// The history has nothing of the time in question, because it begins so many seconds later.
    pub begins_after: Option<i64>,
}

/// See [`Omitted::begins_after`]; `rows` are those of `who`.
pub fn begins_after(
    history: &mut dyn HistoryReader,
    rows: &[Vec<Cell>],
    at: UnixTime,
) -> Result<Option<i64>, Error> {
    if rows.is_empty() || rows.iter().any(|row| row.get(SECONDS[0]) != Some(&Cell::None)) {
        return Ok(None);
    }
    let clocks = history.clocks().asked(TimeRange { from: at, to: at });
    let all = history.pairings(TimeRange::ALL, false)?.into_iter();
    let first = all.filter(|one| clocks.is_set(one.network, one.first)).map(|one| one.first).min();
    Ok(distance(first.filter(|first| *first > at), at))
}

impl Omitted {
    pub fn add(&mut self, one: &LeftOut) {
        let (count, senders) = match one.why {
            Why::OtherFrame => (&mut self.forged, &mut self.forgers),
            Why::Lease => {
                self.leased += one.count;
                return;
            }
            why if why.is_no_pairing() => (&mut self.no_pairing, &mut self.senders),
            _ => {
                self.ignored += one.count;
                return;
            }
        };
        *count += one.count;
        *senders.entry(one.source.unwrap_or(one.mac)).or_default() += one.count;
    }

    /// What messages say of an address or a MAC that was not seen in use.
    pub fn unseen(&self, zone: &TimeZone) -> Option<String> {
        let mut remarks = Vec::new();
        if !self.unseen.is_empty() {
            let all: Vec<_> = self.unseen.iter().map(|one| one.words(zone)).collect();
            remarks.push(format!("not seen in use: {} (a claim)", all.join("; ")));
        }
        if self.more_unseen > 0 {
            let count = count_of(self.more_unseen, "further MAC", "further MACs");
            remarks.push(format!(
                "{count} announced the address, have a lease of it, or asked for it"
            ));
        }
        if self.more_addresses > 0 {
            let count = count_of(self.more_addresses, "further address", "further addresses");
            remarks.push(format!("it announced, got or asked for {count}"));
        }
        Some(remarks.join("; ")).filter(|text| !text.is_empty())
    }

    /// What the user may not expect of the answer.
    pub fn remark(&self) -> Option<String> {
        let Omitted { undated, forged, forgers, no_pairing, senders, .. } = self;
        let Omitted { unchecked, unread, has_sent, away, unlisted, uncounted, .. } = self;
        const LISTED: &str = "`ip` and `mac` with --all list them";
        let mut remarks = Vec::new();
        if let Some(seconds) = self.begins_after {
            remarks.push(format!(
                "nothing of that time is recorded: the history begins {} later",
                duration(seconds)
            ));
        }
        if let Some(away) = away {
            let [last, next] = away.map(|seconds| seconds.map_or("never".into(), duration));
            let why = match self.was_captured {
                Some(true) => "others were seen then: it was away, or asleep",
                Some(false) => "nothing at all was seen then in its network",
                None => "it was away, or asleep, or nothing was captured",
            };
            remarks.push(format!(
                "the device was not seen within ten minutes of that time: last {last} before, next {next} after; {why}"
            ));
        }
        if *undated > 0 {
            let (one, many) = ("sighting is", "sightings are");
            let see = if *undated == 1 { "it" } else { "them" };
            remarks.push(format!(
                "{} left out, because the clock was not set (add --from 1970-01-01 to see {see})",
                count_of(*undated, one, many)
            ));
        }
        if *forged > 0 {
            let one = "claim is left out, because another MAC sent its frame";
            let many = "claims are left out, because another MAC sent their frames";
            remarks.push(format!(
                "{} while the owner claimed the address itself: {} ({LISTED})",
                count_of(*forged, one, many),
                most(forgers)
            ));
        }
        if *no_pairing > 0 {
            let one = "message is left out, because it names a MAC that no host has, or has";
            let many = "messages are left out, because they name a MAC that no host has, or have";
            remarks.push(format!(
                "{} a form that hosts ignore: sent by {} ({LISTED})",
                count_of(*no_pairing, one, many),
                most(senders)
            ));
        }
        if *unchecked > 0 {
            let (one, many) = ("address", "addresses");
            remarks.push(format!(
                "the claims of {} count, although other MACs sent the frames: too many to check (ask for a shorter time with --from and --to)",
                count_of(*unchecked, one, many)
            ));
        }
        if *unread > 0 {
            let (one, many) = ("address is not searched", "addresses are not searched");
            remarks.push(format!(
                "{}, because only other MACs sent claims of it for this MAC, and there are too many sightings (ask for a shorter time with --from and --to)",
                count_of(*unread, one, many)
            ));
        }
        if *unlisted > 0 {
            let (one, many) = ("address is not listed", "addresses are not listed");
            let count = count_of(*unlisted, one, many);
            remarks.push(format!("{count}, which it had earlier, which it only probed, or which only other MACs claimed for it"));
        }
        if *uncounted > 0 {
            let (one, many) = ("address are not searched", "addresses are not searched");
            let count = count_of(*uncounted, one, many);
            remarks.push(format!("the sightings of {count}: too many (ask for a shorter time)"));
        }
        if self.is_unseen_cut {
            remarks.push("the history has too many names and addresses of devices that were not seen to use one: some of these devices may be missing".into());
        }
        if *has_sent {
            remarks.push("it sent frames with claims of other MACs (--all lists them)".into());
        }
        Some(remarks.join("; ")).filter(|text| !text.is_empty())
    }
}

/// The MACs with the most messages: anybody can send a few with any number.
fn most(counts: &BTreeMap<MacAddr, u64>) -> String {
    let mut all: Vec<MacAddr> = counts.keys().copied().collect();
    all.sort_by_key(|mac| Reverse(counts.get(mac)));
    listed(&all)
}

/// The first MACs of a list.
pub fn listed(all: &[MacAddr]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = all.iter().take(SHOWN).map(MacAddr::to_string).collect();
    let more = all.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A few frames with low numbers do not hide who sent most.
    #[test]
    fn who_sent_most() {
        let mac = |last| MacAddr::new([0, 0, 0, 0, 0, last]);
        let mut omitted = Omitted { forged: 10_003, ..Omitted::default() };
        omitted.forgers.extend([(mac(1), 1), (mac(2), 1), (mac(3), 1), (mac(9), 10_000)]);
        let remark = omitted.remark().unwrap();
        let named = "00:00:00:00:00:09, 00:00:00:00:00:01, 00:00:00:00:00:02 and 1 more (";
        assert!(remark.contains(named), "{remark}");
    }
}
