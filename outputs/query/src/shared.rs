//! An address that two MACs use in turn: which period of one goes on while the other one has the address. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{MacAddr, UnixTime};

use crate::{address_rows::DatedPeriod, periods::Period};

/// The periods of an address, of each MAC in the order in which they begin.
pub struct Shared {
    of_mac: HashMap<(usize, MacAddr), Vec<Period>>,
}

impl Shared {
    pub fn new(periods: &[DatedPeriod]) -> Shared {
        let mut of_mac: HashMap<_, Vec<Period>> = HashMap::new();
        for DatedPeriod { period, .. } in periods {
            of_mac.entry((period.network, period.mac)).or_default().push(*period);
        }
        Shared { of_mac }
    }

    /// Until when the MAC before a period that begins and the MAC of the period both use the address.
    pub fn until(&self, new: &Period) -> Option<UnixTime> {
        self.until_with(new.previous?.0, new)
    }

    /// The same with another MAC. That still uses the address if it claims it afterwards, or sends two messages, of which one may be
    /// late; also after a silence, if it was quiet and not gone.
    fn until_with(&self, other: MacAddr, new: &Period) -> Option<UnixTime> {
        let all = self.of_mac.get(&(new.network, other))?;
        let begun = all.partition_point(|one| one.is_older || one.first <= new.first);
        let (before, after) = all.split_at(begun);
        let after = after.iter().take_while(|one| one.was_quiet);
        let is_later = |time: Option<UnixTime>| time > Some(new.first);
        let goes_on = |one: &&Period| is_later(one.last_claim) || is_later(one.last_but_one);
        let last = before.last().into_iter().chain(after).filter(goes_on).map(|one| one.last).max();
        last.map(|last| last.min(new.last))
    }

    /// Which of the periods that began before the time range go on beside one of another MAC that did so, too: its MAC, and until
    /// when. Periods come in the order of their first sighting in the range.
    pub fn going_on<'a>(
        &self,
        periods: &'a [DatedPeriod],
    ) -> impl Iterator<Item = (&'a DatedPeriod, MacAddr, UnixTime)> {
        // Of each network the MAC that goes on for longest.
        let mut longest: HashMap<usize, Period> = HashMap::new();
        let goes_on_until = |one: &Period| one.last_claim.max(one.last_but_one);
        let older = periods.iter().filter(|one| one.period.is_older && one.times.is_some());
        older.filter_map(move |one| {
            let longest = longest.entry(one.period.network).or_insert(one.period);
            let other = longest.mac;
            if goes_on_until(longest) < goes_on_until(&one.period) {
                *longest = one.period;
            }
            let until = (other != one.period.mac).then(|| self.until_with(other, &one.period));
            Some((one, other, until??))
        })
    }
}

#[cfg(test)]
mod tests;
