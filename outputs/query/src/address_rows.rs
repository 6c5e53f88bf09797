//! The queries `ip` and `mac`: which MACs had an address, and which addresses a MAC had, from when to when. With `--all`, also
//! the messages that count for none of these periods.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use aw_service::Error;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    clocks::{Clocks, with_clock},
    history_reader::{
        AddressOfMac, AddressSighting, ClaimedAddress, HistoryReader, NearestSightings, TimeRange,
    },
    in_turn::Shared,
    left_out::{LeftOut, Why},
    omitted::Omitted,
    periods::{Period, PeriodBuilder},
    queries::{columns, macs, network, row, shown_if_any},
    read_limit::{ReadLimit, held, windows},
    result_table::{Cell, ResultTable},
    unseen::{self, Last, Subject},
};

/// A period whose times may be unknown, or messages that count for none.
pub struct DatedPeriod {
    pub times: Option<(UnixTime, UnixTime)>,
    pub period: Period,
    pub frame_sources: Vec<MacAddr>,
    pub left_out: Option<Why>,
}

/// The periods of an address.
pub struct Found {
    pub periods: Vec<DatedPeriod>,
    /// Messages that count for none of them.
    pub left_out: Vec<LeftOut>,
    /// Periods that are left out, because the clock was not set and there are others of the MAC.
    pub undated: Vec<Period>,
    /// When MACs claimed it in turn, by network.
    pub shared: Vec<(usize, Shared)>,
    /// The same messages as `left_out`, as rows.
    pub uncounted: Vec<DatedPeriod>,
    /// How many sightings of a pairing were read that other MACs sent, by their sender: counted or left out.
    pub forwarded: HashMap<(usize, MacAddr, MacAddr), u64>,
}

/// The periods in a time range, by the clocks of the question.
pub fn periods(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    range: TimeRange,
    clocks: &Clocks,
    nearest: &[NearestSightings],
) -> Result<Found, Error> {
    let mut builder = PeriodBuilder::new(nearest, clocks.clone());
    let mut forwarded = HashMap::new();
    history.sightings(ip, range, &mut |sighting| {
        let AddressSighting { network, mac, evidence, source, .. } = sighting;
        let is_pairing = evidence.is_pairing();
        if let Some(source) = source.filter(|_| is_pairing) {
            *forwarded.entry((network, mac, source)).or_default() += 1;
        }
        builder.add(sighting);
    })?;
    let (shared, is_cut) = builder.shared();
    if is_cut {
        history.cut();
    }
    let periods = builder.finish();
    let left_out: Vec<LeftOut> = builder.left_out.all().copied().collect();
    let has_date = |one: &Period| clocks.is_set(one.network, one.last);
    let networks = periods.iter().map(|period| (period.network, has_date(period)));
    let set = with_clock(history, clocks, networks)?;
    let is_right = |one: &Period| has_date(one) || !set.contains_key(&one.network);
    let frame_sources = |one: &Period| builder.frame_sources(one.network, one.mac).to_vec();
    let with_date: HashSet<_> =
        periods.iter().filter(|one| is_right(one)).map(|one| (one.network, one.mac)).collect();
    let (mut found, mut unknown, mut undated) = (Vec::new(), HashMap::new(), Vec::new());
    let dated = |times, period: Period| {
        let frame_sources = frame_sources(&period);
        DatedPeriod { times, period, frame_sources, left_out: None }
    };
    for period in periods {
        let pairing = (period.network, period.mac);
        if is_right(&period) {
            found.push(dated(Some((period.first, period.last)), period));
        } else if with_date.contains(&pairing) {
            undated.push(period);
        } else {
            let known =
                unknown.entry(pairing).or_insert(Period { count: 0, previous: None, ..period });
            known.count += period.count;
        }
    }
    found.extend(unknown.into_values().map(|period| dated(None, period)));
    sort(history, &mut found);
    let uncounted = left_out.iter().map(|one| {
        let LeftOut { network, mac, source, why, first, last, count } = *one;
        let is_right = clocks.is_set(network, first) || !set.contains_key(&network);
        let (is_older, previous) = (false, None);
        let period = Period { network, mac, first, last, count, is_older, previous };
        let frame_sources = source.into_iter().collect();
        let times = is_right.then_some((first, last));
        DatedPeriod { times, period, frame_sources, left_out: Some(why) }
    });
    let uncounted = uncounted.collect();
    Ok(Found { periods: found, left_out, undated, shared, uncounted, forwarded })
}

fn sort(history: &dyn HistoryReader, periods: &mut [DatedPeriod]) {
    periods.sort_by_cached_key(|DatedPeriod { times, period, frame_sources, left_out }| {
        let network = network(history, period.network);
        (times.map(|(first, _)| first), network, period.mac, *left_out, frame_sources.clone())
    });
}

/// The time just before a time range.
pub fn just_before(range: TimeRange) -> UnixTime {
    UnixTime::from_nanos(range.from.as_nanos().saturating_sub(1))
}

/// What an answer about a MAC lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The periods in which it had an address. What messages say of others is a remark.
    Periods,
    /// The same, with what messages say as rows.
    Claims,
    /// All that does not count, too.
    All,
}

/// Which MACs had an address, from when to when.
pub fn address(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    range: TimeRange,
    all: bool,
) -> Result<ResultTable, Error> {
    let nearest = history.nearest(ip, just_before(range))?;
    let clocks = history.clocks().asked(range);
    let found = periods(history, ip, range, &clocks, &nearest)?;
    let (mut periods, mut omitted) = (found.periods, Omitted::default());
    omitted.undated = found.undated.iter().map(|period| period.count).sum();
    let subject = Subject::Address(ip);
    let claimed = unseen::in_range(history, (subject, range), &clocks)?;
    if all {
        periods.extend(found.uncounted);
        periods.extend(claimed.iter().map(claimed_period));
        sort(history, &mut periods);
    } else {
        found.left_out.iter().for_each(|one| omitted.add(one));
        let mut claims = claimed;
        claims.extend(unseen::of_address(ip, &found.left_out, &clocks));
        let lasts = last_times(periods.iter().map(|one| (ip, one)));
        unseen::later(&mut claims, subject, &lasts);
        (omitted.unseen, omitted.more_unseen) =
            unseen::remarks(history, subject, (claims, &lasts))?;
    }
    let shared = found.shared.into_iter();
    let in_turn =
        shared.filter(|(network, one)| one.last >= range.from && clocks.is_set(*network, one.last));
    let in_turn = in_turn.map(|(_, one)| one).collect();
    let first = |period: &DatedPeriod| [Cell::text(period.period.mac), Cell::text(ip)];
    let rows = periods.iter().map(|period| period_row(history, period, first(period), all));
    let columns = columns(match all {
        false => "mac first_seen last_seen count +address +frame_sources",
        true => "mac first_seen last_seen count +address frame_sources left_out",
    });
    Ok(shown_if_any(ResultTable { rows: rows.collect(), columns, omitted, in_turn }))
}

/// The last time of each row, if it is known.
fn last_times<'a>(rows: impl Iterator<Item = (IpAddr, &'a DatedPeriod)>) -> Vec<Last> {
    let last = |(ip, one): (IpAddr, &DatedPeriod)| {
        let Period { network, mac, .. } = one.period;
        Some(Last { network, mac, ip, last: one.times?.1 })
    };
    rows.filter_map(last).collect()
}

/// From when to when a MAC announced an address, or asked for it.
fn claimed_period(claimed: &ClaimedAddress) -> DatedPeriod {
    let ClaimedAddress { network, mac, why, first, last, count, .. } = *claimed;
    let (left_out, count) = (Some(why), count.max(1) as u64);
    let period = Period { network, mac, first, last, count, is_older: false, previous: None };
    DatedPeriod { times: Some((first, last)), period, frame_sources: Vec::new(), left_out }
}

/// Which addresses a MAC had, from when to when. Of all, also what it sent in the name of other MACs.
pub fn addresses(
    history: &mut dyn HistoryReader,
    mac: MacAddr,
    range: TimeRange,
    listed: Listed,
) -> Result<ResultTable, Error> {
    let all = listed == Listed::All;
    let (mut rows, mut omitted) = (Vec::new(), Omitted::default());
    let clocks = history.clocks().asked(range);
    let subject = Subject::Mac(mac);
    let claimed = unseen::in_range(history, (subject, range), &clocks)?;
    let mut claims = Vec::new();
    let mut limit = ReadLimit::default();
    let mut of_mac = history.addresses_of(mac, range)?;
    if !all && !of_mac.iter().any(|one| one.is_more_than_probed) {
        omitted.has_sent = !history.addresses_sent_by(mac, range)?.is_empty();
    }
    // What only others claimed in its name is read last: the longest first.
    of_mac.sort_by_key(|one| (!one.is_own, Reverse(held(one.first, one.last)), one.ip));
    let mut to_read: Vec<(IpAddr, TimeRange)> = Vec::new();
    for one in of_mac {
        let AddressOfMac { ip, first, last, is_more_than_probed, is_own } = one;
        if all {
            to_read.push((ip, range));
            continue;
        }
        omitted.probed += u64::from(!is_more_than_probed);
        if !is_more_than_probed {
            continue; // a scanner probes many: their sightings need not be read
        }
        for window in windows(vec![(first, last)], range) {
            match is_own || limit.allows(history, ip, &[window])? {
                true => to_read.push((ip, window)),
                false => omitted.unread += 1,
            }
        }
    }
    if all {
        let mut known: HashSet<IpAddr> = to_read.iter().map(|(ip, _)| *ip).collect();
        let sent_to = history.addresses_sent_by(mac, range)?.into_iter();
        to_read.extend(sent_to.filter(|ip| known.insert(*ip)).map(|ip| (ip, range)));
    }
    for (ip, window) in to_read {
        let nearest = history.nearest(ip, just_before(window))?;
        let Found { periods, left_out, undated, uncounted, .. } =
            periods(history, ip, window, &clocks, &nearest)?;
        let undated = undated.iter().filter(|period| period.mac == mac);
        omitted.undated += undated.map(|period| period.count).sum::<u64>();
        let is_of_mac = |one: &DatedPeriod| one.period.mac == mac;
        let is_sent = |one: &DatedPeriod| !is_of_mac(one) && one.frame_sources.contains(&mac);
        let left_out: Vec<_> = left_out.into_iter().filter(|one| one.mac == mac).collect();
        claims.extend(unseen::of_address(ip, &left_out, &clocks));
        let has_claims = left_out.iter().any(|one| one.why.is_claim());
        let has_period = periods.iter().any(is_of_mac);
        if !all {
            // A DHCP server sends leases in its own name.
            let is_claim_sent =
                |one: &DatedPeriod| is_sent(one) && one.left_out != Some(Why::Lease);
            omitted.has_sent |= periods.iter().chain(&uncounted).any(is_claim_sent);
            let is_leased = left_out.iter().all(|one| one.why == Why::Lease);
            let other = if is_leased && !left_out.is_empty() {
                &mut omitted.only_leased
            } else {
                &mut omitted.asked
            };
            *other += u64::from(!has_period && !has_claims);
            left_out.iter().for_each(|one| omitted.add(one));
        }
        let wanted = |one: &DatedPeriod| is_of_mac(one) || all && is_sent(one);
        let uncounted = uncounted.into_iter().filter(|_| all);
        rows.extend(periods.into_iter().chain(uncounted).filter(wanted).map(|one| (ip, one)));
    }
    if all {
        rows.extend(claimed.iter().map(|one| (one.ip, claimed_period(one))));
    } else {
        claims.extend(claimed);
        let lasts = last_times(rows.iter().map(|(ip, one)| (*ip, one)));
        if listed == Listed::Claims {
            unseen::without_rows(&mut claims, subject, &lasts);
            (claims, omitted.more_addresses) = unseen::listed(history, subject, claims);
            rows.extend(claims.iter().map(|one| (one.ip, claimed_period(one))));
        } else {
            unseen::later(&mut claims, subject, &lasts);
            (omitted.unseen, omitted.more_addresses) =
                unseen::remarks(history, subject, (claims, &lasts))?;
        }
    }
    rows.sort_by_cached_key(|(ip, DatedPeriod { times, period, frame_sources, left_out })| {
        let network = network(history, period.network);
        let first = times.map(|(first, _)| first);
        (first, *ip, network, period.mac, *left_out, frame_sources.clone())
    });
    let first = |ip, period: &DatedPeriod| [Cell::text(ip), Cell::text(period.period.mac)];
    let is_marked = listed != Listed::Periods;
    let rows = rows.iter().map(|(ip, one)| period_row(history, one, first(ip, one), is_marked));
    let columns = columns(match listed {
        Listed::Periods => "address first_seen last_seen count +mac +frame_sources",
        Listed::Claims => "address first_seen last_seen count +mac +frame_sources +left_out",
        Listed::All => "address first_seen last_seen count mac frame_sources left_out",
    });
    Ok(shown_if_any(ResultTable {
        rows: rows.collect(),
        columns,
        omitted,
        ..ResultTable::default()
    }))
}

fn period_row(
    history: &dyn HistoryReader,
    DatedPeriod { times, period, frame_sources, left_out }: &DatedPeriod,
    [found, asked]: [Cell; 2],
    all: bool,
) -> Vec<Cell> {
    let (first, last) = (times.map(|times| times.0), times.map(|times| times.1));
    let count = (period.count as i64).into();
    let mut cells = vec![found, first.into(), last.into(), count, asked, macs(frame_sources)];
    cells.extend(all.then(|| left_out.map(|why| Cell::text(why.name())).into()));
    row(history, period.network, cells)
}
