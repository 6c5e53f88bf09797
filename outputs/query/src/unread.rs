//! What the collector published and aw-sqlite has not stored yet: it commits once a minute. The ring has it, and the database has the position up
//! to which it was stored; so an answer that lacks something says what.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    net::IpAddr,
};

use aw_detect::{full_name, matches_network};
use aw_output::{Checkpoint, owners};
use jiff::tz::TimeZone;
use shm_layout::{Event, Evidence, MacAddr, Next, Position, Reader, RingName, Start, UnixTime};

use crate::{
    history_reader::Network,
    omitted::listed,
    one_network::{full_of, name_of},
    queries::Query,
    result_table::{Cell, ResultTable, time_text},
    who::NEAR,
};

/// Events of a ring that are looked at, the latest.
const MOST: usize = 65_536;
/// Rings of a database that are looked at.
pub const RINGS: i64 = 8;
/// aw-sqlite has committed within so many seconds, unless its options name another time.
const COMMITTED: i64 = 120;

/// The events of a ring that are not stored.
#[derive(Debug)]
pub struct Unread {
    host: String,
    ring: RingName,
    /// The time of the last one that is, if the ring still has it.
    stored_until: Option<UnixTime>,
    events: VecDeque<Event>,
}

impl Unread {
    /// Those after a position; none if the ring is of another machine or time, or may not be read.
    pub fn of(ring: &RingName, stored: &Checkpoint) -> Option<Unread> {
        let Position { generation, sequence } = stored.position();
        let start = Position { generation, sequence: sequence.saturating_sub(1) };
        let owners = owners(&[]).unwrap_or_default();
        let mut reader = Reader::attach_to(ring, &owners, Start::At(start)).ok()?;
        if reader.generation() != generation {
            return None;
        }
        let (host, end) = (reader.host(), reader.published());
        let (mut stored_until, mut events) = (None, VecDeque::new());
        while reader.position().sequence < end {
            match reader.next() {
                Next::Event(number, event) if number < sequence => stored_until = Some(event.time),
                Next::Event(_, event) => events.push_back(event),
                Next::Unknown(..) | Next::Lapped { .. } => {}
                Next::Empty => break,
            }
            if events.len() > MOST {
                events.pop_front();
            }
        }
        Some(Unread { host, ring: ring.clone(), stored_until, events })
    }

    /// That the answer to a query lacks some of them: of an address MACs, of a MAC addresses, of a list MACs that have no row with a sighting near
    /// their time; and of an address the MAC that used it last in a network, if the answer has another one. Of one network only, if one is
    /// named.
    pub fn remark(
        &self,
        (query, table): (&Query, &ResultTable),
        network: Option<&str>,
        (now, zone): (UnixTime, &TimeZone),
    ) -> Option<String> {
        let (from, until) = match query {
            Query::Who(_, at) | Query::MacAt(_, at) => {
                let near = |seconds: i64| UnixTime::new(at.seconds().saturating_add(seconds), 0);
                (near(-NEAR), near(NEAR))
            }
            Query::Ip(_, range, _)
            | Query::Mac(_, range, _)
            | Query::Devices(range, _)
            | Query::DevicesOfNetworks(range, _) => (range.from, range.to),
            _ => return None,
        };
        if self.events.is_empty() {
            return None;
        }
        let by_address = matches!(query, Query::Mac(..) | Query::MacAt(..));
        let known = seen(table, if by_address { "address" } else { "mac" });
        let (mut meant, mut lacking) = (Vec::new(), HashSet::new());
        let of_address = matches!(query, Query::Who(..) | Query::Ip(..));
        let mut last_users = if of_address { last_users(table) } else { HashMap::new() };
        let end = if let Query::Who(_, at) = query { *at } else { until };
        for event in &self.events {
            // Who asks whether an address is free does not use it.
            let is_use = matches!(event.kind.evidence(), Evidence::Claim | Evidence::FrameSource);
            let is_in = from <= event.time && event.time < until;
            if !is_use || !is_in || event.mac.is_no_host() {
                continue;
            }
            let (key, is_meant) = match query {
                Query::Who(ip, _) | Query::Ip(ip, ..) => (event.mac.to_string(), event.ip() == *ip),
                Query::Mac(mac, ..) | Query::MacAt(mac, _) => {
                    (event.ip().to_string(), event.mac == *mac)
                }
                _ => (event.mac.to_string(), true),
            };
            let is_near = |seen: &i64| event.time.seconds().saturating_sub(*seen) <= NEAR;
            let is_known = known.get(&key).is_some_and(is_near);
            if !is_meant {
                continue;
            }
            let mut is_other = false;
            if network.is_some() || of_address {
                let full = self.network_of(event);
                if !network.is_none_or(|name| matches_network(name, &full)) {
                    continue;
                }
                let last_user = last_users.get_mut(&full);
                if let Some(known) = last_user.filter(|_| event.time <= end)
                    && event.time > known.0
                {
                    is_other = known.1 != key;
                    *known = (event.time, key.clone());
                }
            }
            if !is_known || is_other {
                lacking.insert(key.clone());
            }
            meant.push((key, event));
        }
        // Also what was known of one of them, but is not its last use.
        meant.retain(|(key, _)| lacking.contains(key));
        let last = meant.iter().map(|(_, event)| *event).max_by_key(|event| event.time)?;
        let addresses: BTreeSet<IpAddr> = meant.iter().map(|(_, event)| event.ip()).collect();
        let macs: BTreeSet<MacAddr> = meant.iter().map(|(_, event)| event.mac).collect();
        let macs: Vec<MacAddr> = macs.into_iter().collect();
        let lacking = match query {
            Query::Who(ip, _) | Query::Ip(ip, ..) if macs.len() > 1 => {
                format!("{} used {ip} ({} last)", listed(&macs), last.mac)
            }
            Query::Who(ip, _) | Query::Ip(ip, ..) => format!("{} used {ip}", listed(&macs)),
            Query::Mac(mac, ..) | Query::MacAt(mac, _) => format!("{mac} used {}", few(&addresses)),
            _ => format!("{} used addresses", listed(&macs)),
        };
        let remedy = match self.stored_until {
            Some(stored) if now.seconds().saturating_sub(stored.seconds()) > COMMITTED => {
                "does aw-sqlite run, and write this database? systemctl status aw-sqlite"
            }
            _ => "ask again in a minute",
        };
        let stored = self
            .stored_until
            .map_or(String::new(), |stored| format!("stored until {}: ", time_text(stored, zone)));
        let last = time_text(last.time, zone);
        Some(format!("{stored}{lacking} until {last}, which is not in the history yet ({remedy})"))
    }

    /// The whole name.
    fn network_of(&self, event: &Event) -> String {
        let router = Some(event.router).filter(|router| !router.is_unspecified());
        let network = Network {
            interface: event.interface.as_str().into(),
            vlan: event.vlan.get().into(),
            outer_vlan: event.outer_vlan.get().into(),
            router: router.map_or_else(String::new, |router| router.to_string()),
            ..Network::default()
        };
        full_name(&self.host, self.ring.as_str(), &name_of(&network))
    }
}

/// When each MAC or address was seen last, by the rows of an answer; one that a row of `who` has near the time, for ever.
fn seen(table: &ResultTable, column: &str) -> HashMap<String, i64> {
    let mut seen: HashMap<String, i64> = HashMap::new();
    for row in &table.rows {
        let is_counted = *table.cell(row, "left_out") == Cell::None
            && *table.cell(row, "how_sure") != Cell::text("probed")
            && *table.cell(row, "addresses") != Cell::List(Vec::new());
        let is_near = ["seconds_before", "seconds_after"]
            .iter()
            .any(|side| matches!(table.cell(row, side), Cell::Number(..=NEAR)));
        let last = match (table.cell(row, "last_seen"), table.cell(row, "seen_before")) {
            (Cell::Time(last), _) => last.seconds(),
            (_, Cell::Time(_)) if is_near => i64::MAX,
            _ if is_near && *table.cell(row, "seen_after") != Cell::None => i64::MAX,
            _ => continue,
        };
        if let (true, Cell::Text(key)) = (is_counted, table.cell(row, column)) {
            let known = seen.entry(key.clone()).or_insert(last);
            *known = (*known).max(last);
        }
    }
    seen
}

/// In each network, by its whole name: the time of the last sighting in the answer, and its MAC.
fn last_users(table: &ResultTable) -> HashMap<String, (UnixTime, String)> {
    let mut last_users = HashMap::new();
    for row in &table.rows {
        let times = ["last_seen", "seen_before"].map(|column| table.cell(row, column));
        let time = times
            .iter()
            .find_map(|cell| if let Cell::Time(time) = cell { Some(*time) } else { None });
        if *table.cell(row, "left_out") != Cell::None {
            continue;
        }
        if let (Some(time), Cell::Text(mac)) = (time, table.cell(row, "mac")) {
            let of_row = (time, mac.clone());
            let known = last_users.entry(full_of(table, row)).or_insert_with(|| of_row.clone());
            *known = of_row.max(std::mem::take(known));
        }
    }
    last_users
}

/// The first addresses of a list.
fn few(addresses: &BTreeSet<IpAddr>) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = addresses.iter().take(SHOWN).map(IpAddr::to_string).collect();
    let more = addresses.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
