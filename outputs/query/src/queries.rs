//! The queries: each reads the history and makes a table.

use std::{collections::HashMap, net::IpAddr, path::PathBuf};

use aw_service::{Error, count_of};
use jiff::tz::TimeZone;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    address_rows::{DatedPeriod, Found, Listed, address, addresses, just_before, periods},
    claims,
    clocks::Clocks,
    counted::{self, Counted},
    device, devices,
    history_reader::{HistoryReader, Nearest, NearestSightings, Network, RouterChange, TimeRange},
    in_turn::{Shared, pair},
    left_out::{LeftOut, Why},
    mac_at::mac_at,
    names::NameChange,
    omitted::Omitted,
    periods::{KEPT_WITHIN, Period},
    result_table::{Cell, ResultTable, time_text},
    who::who,
};

/// The end of a message of the command line.
pub const AT_REMEDY: &str = " (--at TIME shows what was seen before and after a time)";

/// A query with its times.
#[derive(Debug)]
pub enum Query {
    Who(IpAddr, UnixTime),
    /// True: also what counts for no row.
    Ip(IpAddr, TimeRange, bool),
    Mac(MacAddr, TimeRange, Listed),
    MacAt(MacAddr, UnixTime),
    Changes(TimeRange),
    /// True: also how often each was seen.
    Devices(TimeRange, bool),
    /// The same, once for each network of a MAC.
    DevicesOfNetworks(TimeRange, bool),
    AddressesOf(MacAddr),
    Presence(MacAddr, TimeRange),
    Copy(PathBuf),
    /// It is printed as it is read, and not as a table.
    Export(TimeRange),
    /// Reads no history, or only to say that a MAC is not in it.
    Name(MacAddr, NameChange),
    Names,
}

impl Query {
    pub fn run(&self, history: &mut dyn HistoryReader) -> Result<ResultTable, Error> {
        let mut table = self.read(history)?;
        let at = match *self {
            Query::Who(_, at) | Query::MacAt(_, at) => Some(at),
            _ => None,
        };
        claims::add(history, &mut table, at)?;
        Ok(table)
    }

    fn read(&self, history: &mut dyn HistoryReader) -> Result<ResultTable, Error> {
        match *self {
            Query::Copy(ref file) => {
                history.copy(file)?;
                Ok(ResultTable::done())
            }
            Query::Export(_) => Ok(ResultTable::done()),
            Query::Name(..) | Query::Names => Ok(ResultTable::default()),
            Query::Who(ip, at) => who(history, ip, at),
            Query::Ip(ip, range, all) => address(history, ip, range, all),
            Query::Mac(mac, range, listed) => addresses(history, mac, range, listed),
            Query::MacAt(mac, at) => mac_at(history, mac, at),
            Query::Changes(range) => changes(history, range),
            Query::Devices(range, is_counted) => devices::devices(history, range, is_counted),
            Query::DevicesOfNetworks(range, is_counted) => {
                devices::of_networks(history, range, is_counted)
            }
            Query::AddressesOf(mac) => device::addresses(history, mac),
            Query::Presence(mac, range) => device::presence(history, mac, range),
        }
    }

    /// What the user may not expect of the answer; `now` is the current time.
    pub fn remark(&self, now: UnixTime, zone: &TimeZone) -> Option<String> {
        let (until_now, at) = match self {
            Query::Who(ip, at) => (format!("which MACs had {ip}"), at),
            Query::MacAt(mac, at) => (format!("which addresses {mac} had"), at),
            _ => return None,
        };
        let at = Some(*at).filter(|at| *at > now).map(|at| time_text(at, zone))?;
        Some(format!("{at} is in the future: the answer shows {until_now} until now"))
    }

    /// The time range in which it searches.
    fn range(&self) -> TimeRange {
        match *self {
            Query::Ip(_, range, _)
            | Query::Mac(_, range, _)
            | Query::Changes(range)
            | Query::Devices(range, _)
            | Query::DevicesOfNetworks(range, _)
            | Query::Presence(_, range)
            | Query::Export(range) => range,
            Query::Who(..) | Query::MacAt(..) | Query::AddressesOf(_) | Query::Copy(_) => {
                TimeRange::ALL
            }
            Query::Name(..) | Query::Names => TimeRange::ALL,
        }
    }

    /// Where the history begins or ends, if it has nothing of a part of the time range. It is read only if nothing matches.
    pub fn beyond(
        &self,
        history: &mut dyn HistoryReader,
        (zone, omitted): (&TimeZone, &Omitted),
    ) -> Result<Option<String>, Error> {
        let range = self.range();
        if range == TimeRange::ALL || omitted.is_unchanged {
            return Ok(None);
        }
        let clocks = history.clocks().asked(range);
        let all = history.pairings(TimeRange::ALL, false)?;
        if history.is_cut() {
            return Ok(None); // others may be older, or newer
        }
        let dated = || all.iter().filter(|one| clocks.is_set(one.network, one.first));
        let [first, last] = [dated().map(|one| one.first).min(), dated().map(|one| one.last).max()];
        let names_begin = range.from > TimeRange::ALL.from;
        Ok(match (first, last) {
            (Some(first), _) if first >= range.to || names_begin && first > range.from => {
                Some(format!("; the history begins {}", time_text(first, zone)))
            }
            (_, Some(last)) if last < range.from => {
                Some(format!("; its last sighting is of {}", time_text(last, zone)))
            }
            _ => None,
        })
    }

    /// The message if nothing matches: what was searched, and in which times. What was omitted proves no use of an
    /// address.
    pub fn no_match(&self, zone: &TimeZone, omitted: &Omitted) -> String {
        let Omitted {
            leased,
            only_leased,
            ignored,
            probed,
            asked,
            forged,
            no_pairing,
            unread,
            has_sent,
            ..
        } = omitted;
        let has_claims = forged + no_pairing + unread > 0;
        let no_claims = |ip| {
            let others = [
                (*ignored, "probe or question", "probes or questions"),
                (*leased, "lease or registration", "leases or registrations"),
            ];
            let others = others.into_iter().filter(|(number, ..)| *number > 0);
            let others = others.map(|(number, one, many)| count_of(number, one, many));
            match &others.collect::<Vec<_>>()[..] {
                [] => format!("no claims of {ip} that count"),
                others => format!("no claims of {ip}, only {}", others.join(" and ")),
            }
        };
        let what = match self {
            Query::Who(ip, _) | Query::Ip(ip, ..) if ignored + leased > 0 || has_claims => {
                no_claims(ip)
            }
            Query::Mac(mac, ..) if probed + asked + only_leased > 0 => {
                let with = |what: &str, number: u64| match number {
                    0 => String::new(),
                    number => format!("{what} {number}"),
                };
                let asked = with(", and asked or answered without a MAC for", *asked);
                let leased = with(", and has a lease or registration of", *only_leased);
                format!("{mac} claimed no address (it probed {probed}{asked}{leased})")
            }
            Query::Mac(mac, ..) if has_claims => format!("no claims of {mac} that count"),
            Query::Mac(mac, ..) if *has_sent => format!("no claims of {mac}"),
            Query::Who(ip, _) | Query::Ip(ip, ..) => format!("no sightings of {ip}"),
            Query::Mac(mac, ..) | Query::MacAt(mac, _) => format!("no sightings of {mac}"),
            Query::Changes(_) => "no changes".into(),
            Query::AddressesOf(mac) | Query::Presence(mac, _) => format!("no sightings of {mac}"),
            Query::Devices(..) | Query::DevicesOfNetworks(..) => "no devices".into(),
            Query::Copy(_) => "nothing copied".into(),
            Query::Export(_) => "nothing exported".into(),
            Query::Name(mac, _) => format!("no name of {mac}"),
            Query::Names => "no names".into(),
        };
        let range = self.range();
        let [from, to] = [range.from, range.to].map(|time| time_text(time, zone));
        match (range.from != TimeRange::ALL.from, range.to != TimeRange::ALL.to) {
            (true, true) => {
                let at = match self {
                    Query::Ip(..) | Query::Mac(..) => AT_REMEDY,
                    _ => "",
                };
                format!("{what} from {from} to {to}{at}")
            }
            (true, false) => format!("{what} since {from}"),
            (false, true) => format!("{what} before {to}"),
            (false, false) => {
                let remedy = match self {
                    Query::Devices(..) | Query::DevicesOfNetworks(..) => {
                        " (aw-stdout --health: does the collector receive frames? aw-sqlite --health: is its database written?)"
                    }
                    _ => "",
                };
                format!("{what} in the whole history{remedy}")
            }
        }
    }
}

/// The columns of the network, with which every answer ends. The table shows interface and VLAN, and those of the others
/// that are not the same in all rows.
const NETWORK_COLUMNS: &str = "interface vlan ?outer_vlan ?host ?router ?ring";

pub fn columns(first: &'static str) -> Vec<&'static str> {
    first.split(' ').chain(NETWORK_COLUMNS.split(' ')).collect()
}

pub fn network(history: &dyn HistoryReader, network: usize) -> Network {
    history.networks().get(network).cloned().unwrap_or_default()
}

/// A cell that lists MACs.
pub fn macs(all: &[MacAddr]) -> Cell {
    Cell::List(all.iter().map(MacAddr::to_string).collect())
}

/// Columns that are empty in most answers: the table shows one if it has a cell that is not.
pub fn shown_if_any(mut table: ResultTable) -> ResultTable {
    let is_empty = |cell: &Cell| match cell {
        Cell::List(list) => list.is_empty(),
        cell => *cell == Cell::None,
    };
    for name in ["shared_until", "frame_sources", "left_out", "not_seen_in_use"] {
        if !table.rows.iter().all(|row| is_empty(table.cell(row, name))) {
            table.show(name);
        }
    }
    table
}

/// A row: its own cells and those of the network.
pub fn row(history: &dyn HistoryReader, index: usize, mut cells: Vec<Cell>) -> Vec<Cell> {
    let Network { host, ring, interface, vlan, outer_vlan, router } = network(history, index);
    let [router, ring] =
        [router, ring].map(|text| Some(text).filter(|text| !text.is_empty()).map(Cell::Text));
    cells.extend([Cell::Text(interface), vlan.into(), outer_vlan.into(), Cell::Text(host)]);
    cells.extend([router.into(), ring.into()]);
    cells
}

/// What `changes` calls two MACs that have claimed an address in turn since before its time range. The time is the first one in the
/// range at which both did.
pub const SHARED: &str = "shared";

/// Addresses that are new, have another MAC or are shared by two, and configuration changes of routers.
fn changes(history: &mut dyn HistoryReader, range: TimeRange) -> Result<ResultTable, Error> {
    let mut rows: Vec<(Option<UnixTime>, Vec<Cell>)> = Vec::new();
    let mut omitted = Omitted::default();
    for (ip, DatedPeriod { times, period, frame_sources, left_out }, until) in
        new_periods(history, range, &mut omitted)?
    {
        let Period { network, mac, previous, .. } = period;
        let first = times.map(|(first, _)| first);
        let before = previous.map(|(mac, _)| Cell::text(mac));
        // Of two that were there before the range, it is not known which one came last.
        let before_last_seen = previous.map(|(_, time)| time).filter(|_| !period.is_older);
        let change = Cell::text(match (left_out, &before) {
            (Some(_), _) => "forged or forwarded",
            (None, Some(_)) if period.is_older => SHARED,
            (None, Some(_)) => "changed",
            (None, None) => "new",
        });
        let (address, mac) = (Cell::text(ip), Cell::text(mac));
        let (before, sources) = (before.into(), macs(&frame_sources));
        let times = [before_last_seen, until].map(Cell::from);
        let cells = [first.into(), address, change, mac, before].into_iter();
        let cells = cells.chain(times).chain([sources]).collect();
        rows.push((first, row(history, network, cells)));
    }
    for RouterChange { time, network, user, added, removed } in history.router_changes(range)? {
        let router = history.networks().get(network).map(|network| network.router.clone());
        let change = Cell::text(format!("configuration +{added} -{removed} by {user}"));
        let router = router.filter(|router| !router.is_empty()).map(Cell::Text);
        let none = || Cell::None;
        let cells = [time.into(), router.into(), change].into_iter();
        let cells = cells.chain([none(), none(), none(), none(), macs(&[])]).collect();
        rows.push((Some(time), row(history, network, cells)));
    }
    rows.sort_by_key(|(time, _)| *time);
    let most = history.most_rows();
    keep_latest(history, &mut rows, most);
    let columns =
        columns("time address change mac before before_last_seen +shared_until +frame_sources");
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok(shown_if_any(ResultTable { rows, columns, omitted, ..ResultTable::default() }))
}

/// Of each address, so many claims in frames of other MACs are listed, and so many in all: first those that name the MAC which
/// claimed an address itself before the others did. Who makes up more MACs hides none that were there before.
const FORGED: usize = 16;
const ALL_FORGED: usize = 256;

/// Of the rows that a list of changes has at most, one address takes this part: so a flood of claims of one hides no other.
const SHARE: usize = 50;

/// What is nearest to a time is asked for so many addresses at once.
pub const TOGETHER: usize = 500;

/// A period of an address; and until when the MAC before it and this one both used the address, if they did so in turn.
type NewPeriod = (IpAddr, DatedPeriod, Option<UnixTime>);

/// The periods of all addresses that begin in this time range or go on beside another one, and the claims in frames of other MACs that are left out, in
/// order.
fn new_periods(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    omitted: &mut Omitted,
) -> Result<Vec<NewPeriod>, Error> {
    let (mut found, mut forged, mut known) = (Vec::new(), Vec::new(), None);
    let addresses = history.changed_addresses(range)?;
    let most = history.most_rows();
    for addresses in addresses.chunks(TOGETHER) {
        let all = history.nearest_of_each(addresses, just_before(range))?;
        let clocks = history.clocks().asked(range);
        // Most addresses keep their MAC: then their sightings need not be read.
        let changed = addresses.iter().copied().zip(all);
        let changed: Vec<(IpAddr, Vec<NearestSightings>)> =
            changed.filter(|(_, nearest)| !is_unchanged(nearest, range, &clocks)).collect();
        let to_read: Vec<IpAddr> = changed.iter().map(|(ip, _)| *ip).collect();
        history.read_ahead(&to_read, range)?;
        for (ip, nearest) in changed {
            // Which MAC claimed the address first counts only where others sent frames in its name.
            let nearest = match nearest.iter().any(|one| one.source.is_some()) {
                true => history.nearest(ip, just_before(range))?,
                false => nearest,
            };
            let (range, nearest) = match first_change(&nearest, range, &clocks) {
                Some(first) => without_return(history, ip, (range, first), nearest)?,
                None => (range, nearest),
            };
            let Found { periods, left_out, undated, uncounted, shared, .. } =
                periods(history, ip, range, &clocks, &nearest)?;
            omitted.undated += undated.iter().map(|period| period.count).sum::<u64>();
            let mut shared = by_pair(shared);
            let of_range = periods.into_iter().filter(|period| !period.period.is_older);
            let with_end = |one: DatedPeriod| {
                let until = until(&one.period, &mut shared);
                (ip, one, until)
            };
            let mut new: Vec<_> = of_range.map(with_end).collect();
            // Those of which no row has both MACs, as they began before the range, or beside a third one.
            for ((network, _), times) in shared {
                let older = times.into_iter().filter(|(one, is_listed)| {
                    !is_listed && one.last >= range.from && clocks.is_set(network, one.last)
                });
                new.extend(
                    older.map(|(one, _)| (ip, shared_row((network, one), range), Some(one.last))),
                );
            }
            new.sort_by_key(|(_, DatedPeriod { times, period, .. }, _): &NewPeriod| {
                let order = (period.mac, period.count == 0, period.previous);
                (times.map(|(first, _)| first), period.network, order)
            });
            keep_latest(history, &mut new, most / SHARE);
            found.append(&mut new);
            // Those that name a MAC of no host are in no change, and most of them are not read here.
            let of_address = left_out.into_iter().zip(uncounted);
            let mut of_address: Vec<_> =
                of_address.filter(|(one, _)| one.why == Why::OtherFrame).collect();
            if of_address.len() > FORGED {
                let known = first_claims(history, range, &mut known)?;
                of_address.sort_by_key(|(one, _)| forged_order(one, known));
                of_address.drain(FORGED..).for_each(|(one, _)| omitted.add(&one));
            }
            forged.extend(of_address.into_iter().map(|(one, period)| (ip, one, period)));
            // The latest ones of all addresses, wherever in the order of addresses a flood is.
            if found.len() > most.saturating_mul(2) {
                found.sort_by_key(|(_, one, _): &NewPeriod| one.times.map(|(first, _)| first));
                keep_latest(history, &mut found, most);
            }
            if forged.len() > 4 * ALL_FORGED {
                let known = first_claims(history, range, &mut known)?;
                forged = keep_forged(forged, known, omitted);
            }
        }
    }
    omitted.is_unchanged = !addresses.is_empty()
        || found.is_empty() && forged.is_empty() && !history.addresses(range)?.is_empty();
    if forged.len() > ALL_FORGED {
        let known = first_claims(history, range, &mut known)?;
        forged = keep_forged(forged, known, omitted);
    }
    found.extend(forged.into_iter().map(|(ip, _, period)| (ip, period, None)));
    found.sort_by_cached_key(|(ip, DatedPeriod { times, period, .. }, _)| {
        let first = times.map(|(first, _)| first);
        // What is in no period comes after what is.
        let order = (period.mac, period.count == 0, period.previous);
        (first, *ip, network(history, period.network), order)
    });
    Ok(found)
}

/// The times in which two MACs of a network claim an address in turn, in order, and whether each is in a row.
pub type SharedTimes = HashMap<(usize, [MacAddr; 2]), Vec<(Shared, bool)>>;

pub fn by_pair(shared: Vec<(usize, Shared)>) -> SharedTimes {
    let mut all = SharedTimes::new();
    for (network, one) in shared {
        all.entry((network, one.macs)).or_default().push((one, false));
    }
    all
}

/// Until when a MAC that is new and the one before claim the address in turn.
pub fn until(new: &Period, shared: &mut SharedTimes) -> Option<UnixTime> {
    let times = shared.get_mut(&(new.network, pair(new.mac, new.previous?.0)))?;
    // A period may begin with a probe before the first claim.
    let begin = UnixTime::from_nanos(new.first.as_nanos().saturating_add(KEPT_WITHIN));
    let from = times.partition_point(|(one, _)| one.last < new.first);
    let (one, is_listed) = times.get_mut(from).filter(|(one, _)| one.first <= begin)?;
    *is_listed = true;
    Some(one.last)
}

/// Two MACs that claim an address in turn, from the first time in the range on at which both do.
fn shared_row((network, one): (usize, Shared), range: TimeRange) -> DatedPeriod {
    let Shared { macs: [one, other], new: mac, first, next, last, .. } = one;
    let other = if mac == one { other } else { one };
    let is_older = first < range.from;
    let first = if is_older { next } else { first };
    let (count, previous) = (0, Some((other, first)));
    let period = Period { network, mac, first, last, count, is_older, previous };
    DatedPeriod { times: Some((first, last)), period, frame_sources: Vec::new(), left_out: None }
}

/// A day, in nanoseconds.
const DAY: i64 = 86_400_000_000_000;

/// When the first change can be, if that is more than a day after the begin of the range: until then one MAC was seen alone, which had
/// the address already before.
pub fn first_change(
    nearest: &[NearestSightings],
    range: TimeRange,
    clocks: &Clocks,
) -> Option<UnixTime> {
    let mut first: Vec<UnixTime> =
        nearest.iter().filter_map(|one| one.after.all().into_iter().flatten().min()).collect();
    first.sort_unstable();
    let to = first.get(1).copied().filter(|first| *first < range.to)?;
    let is_long = to.as_nanos().saturating_sub(range.from.as_nanos()) > DAY;
    let is_set = || nearest.iter().all(|one| clocks.is_set(one.network, range.from));
    (is_long && is_set() && is_unchanged(nearest, TimeRange { to, ..range }, clocks)).then_some(to)
}

/// The range from the first change on, and what is nearest to it: then the sightings before it need not be read. Those of a device that
/// comes back must be, for it counts since when it claimed the address.
pub fn without_return(
    history: &mut dyn HistoryReader,
    ip: IpAddr,
    (range, from): (TimeRange, UnixTime),
    nearest: Vec<NearestSightings>,
) -> Result<(TimeRange, Vec<NearestSightings>), Error> {
    let later = TimeRange { from, ..range };
    let at_change = history.nearest(ip, just_before(later))?;
    let is_seen = |side: &Nearest| side.all().iter().any(Option::is_some);
    let is_back = at_change.iter().any(|one| is_seen(&one.before) && is_seen(&one.after));
    Ok(if is_back { (range, nearest) } else { (later, at_change) })
}

/// A claim in a frame of another MAC.
type Forged = (IpAddr, LeftOut, DatedPeriod);

/// Those that are listed: the first one of each address stands before the second one of another.
fn keep_forged(mut forged: Vec<Forged>, known: &FirstClaims, omitted: &mut Omitted) -> Vec<Forged> {
    forged.sort_by_key(|(ip, one, _)| (*ip, forged_order(one, known)));
    let (mut rank, mut before) = (0, None);
    let rank_of = |forged: Forged| {
        let is_same = before.replace(forged.0) == Some(forged.0);
        rank = if is_same { rank + 1 } else { 0 };
        (rank, forged)
    };
    let mut ranked: Vec<_> = forged.into_iter().map(rank_of).collect();
    ranked.sort_by_key(|(rank, (ip, one, _))| {
        let order @ (is_unknown, ..) = forged_order(one, known);
        (is_unknown, *rank, order, *ip)
    });
    ranked.drain(ALL_FORGED.min(ranked.len())..).for_each(|(_, (_, one, _))| omitted.add(&one));
    ranked.into_iter().map(|(_, forged)| forged).collect()
}

/// Cuts a list in the order of time.
fn keep_latest<T>(history: &mut dyn HistoryReader, rows: &mut Vec<T>, most: usize) {
    if rows.len() > most {
        history.cut();
        drop(rows.drain(..rows.len() - most));
    }
}

/// When MACs claimed an address in frames of their own, the first time in the range; none: already before it.
type FirstClaims = HashMap<MacAddr, Option<UnixTime>>;

/// Those of all MACs at addresses of the range, read once, and only where claims must be left out.
fn first_claims<'a>(
    history: &mut dyn HistoryReader,
    range: TimeRange,
    known: &'a mut Option<FirstClaims>,
) -> Result<&'a FirstClaims, Error> {
    if known.is_none() {
        let mut claims = FirstClaims::new();
        for addresses in history.addresses(range)?.chunks(TOGETHER) {
            let all = history.nearest_of_each(addresses, just_before(range))?;
            for one in all.into_iter().flatten() {
                let is_before = one.before.claim.is_some();
                if one.source.is_none() && (is_before || one.after.claim.is_some()) {
                    let time = one.after.claim.filter(|_| !is_before);
                    let first = claims.entry(one.mac).or_insert(time);
                    *first = time.min(*first);
                }
            }
        }
        *known = Some(claims);
    }
    Ok(known.get_or_insert_default())
}

type ForgedOrder = (bool, Option<UnixTime>, UnixTime, usize, MacAddr, Option<MacAddr>);

/// MACs that claim no address themselves come last; of the others, those that did so first.
fn forged_order(one: &LeftOut, known: &FirstClaims) -> ForgedOrder {
    let LeftOut { network, mac, source, first, .. } = *one;
    let claimed = known.get(&mac).copied();
    (claimed.is_none(), claimed.flatten(), first, network, mac, source)
}

/// Whether each MAC that was seen in the time range was the only one in its network, and the last one before.
pub fn is_unchanged(nearest: &[NearestSightings], range: TimeRange, clocks: &Clocks) -> bool {
    let nearest = NearestSightings::merged(nearest);
    let is_seen = |one: &NearestSightings| {
        let life = one.after.sign_of_life.filter(|_| one.is_known());
        let times = [one.after.claim, one.after.frame_source, life];
        times.into_iter().flatten().any(|time| time < range.to)
    };
    nearest.iter().filter(|one| is_seen(one)).all(|one| {
        let network: Vec<_> = nearest.iter().filter(|other| other.network == one.network).collect();
        let is_other_seen = network.iter().any(|other| other.mac != one.mac && is_seen(other));
        let last = counted::counted(&network).into_iter().max_by_key(|counted| counted.before);
        let is_last = |last: Counted| {
            let is_set = |time| clocks.is_set(one.network, time);
            let before = last.before.filter(|before| is_set(*before) == is_set(range.from));
            last.mac == one.mac && before.is_some()
        };
        !is_other_seen && last.is_some_and(is_last)
    })
}
