//! What happened, in one list: changes and conflicts of addresses, alerts, and changes of configurations. No I/O and no clock.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use aw_query::{Cell, ResultTable, SHARED, TimeRange};
use aw_routeros::ReportedChange;
use aw_service::{plain, plain_lines};
use jiff::tz::TimeZone;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use shm_layout::UnixTime;

use crate::{
    display::{self, encoded},
    network::NetworkId,
    records::Found,
};

/// A change in the history and one in the archive are the same if they are at most so many seconds apart.
const SAME: i64 = 5;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Change,
    Conflict,
    Return,
    Alert,
    Configuration,
}

impl Kind {
    pub const ALL: [Kind; 5] =
        [Kind::Change, Kind::Conflict, Kind::Return, Kind::Alert, Kind::Configuration];

    /// As a parameter.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Change => "change",
            Kind::Conflict => "conflict",
            Kind::Return => "return",
            Kind::Alert => "alert",
            Kind::Configuration => "configuration",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Kind::Change => "Address",
            Kind::Conflict => "Conflict",
            Kind::Return => "Went back",
            Kind::Alert => "Alert",
            Kind::Configuration => "Configuration",
        }
    }

    /// Of a list.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Change => "Address changes",
            Kind::Conflict => "Conflicts",
            Kind::Return => "Went back",
            Kind::Alert => "Alerts",
            Kind::Configuration => "Configurations",
        }
    }

    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

/// A short hash of these parts.
fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    hash.finalize().iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

/// Something that happened. Its texts are plain.
#[derive(Clone, Debug)]
pub struct Entry {
    pub time: UnixTime,
    pub kind: Kind,
    /// In a few words what it is.
    pub what: String,
    /// A conflict goes on from `time` until then.
    pub until: Option<UnixTime>,
    /// It began before what was read: its time is that of what was read.
    is_older: bool,
    /// What links to this conflict end with in lists that begin within it.
    pair: Option<String>,
    pub address: Option<String>,
    pub mac: Option<String>,
    pub before: Option<String>,
    /// Of the MAC.
    pub name: Option<String>,
    /// Who changed a configuration.
    pub user: Option<String>,
    pub router: Option<String>,
    /// How many lines of a configuration were added and removed: `+1 -0`.
    lines: String,
    /// The lines of a configuration that changed, without secrets, and the log lines about it.
    pub diff: String,
    pub log: Vec<String>,
    /// Its network, or what an alert calls it.
    pub network: Option<NetworkId>,
    pub place: String,
    /// Distinguishes it from others of its time.
    hash: String,
}

impl Entry {
    fn new(time: UnixTime, kind: Kind, identity: &[&str]) -> Entry {
        let hash = hash(identity);
        let (what, lines, diff, place) = Default::default();
        Entry {
            time,
            kind,
            what,
            until: None,
            is_older: false,
            pair: None,
            address: None,
            mac: None,
            before: None,
            name: None,
            user: None,
            router: None,
            lines,
            diff,
            log: Vec::new(),
            network: None,
            place,
            hash,
        }
    }

    /// What its permanent link ends with.
    pub fn id(&self) -> String {
        format!("{}-{}", self.time.as_nanos(), self.hash)
    }

    /// The time of an entry with this id.
    pub fn time_of(id: &str) -> Option<UnixTime> {
        let (nanos, _) = id.rsplit_once('-')?;
        nanos.parse().ok().map(UnixTime::from_nanos)
    }

    /// Whether a link to this id leads to it: one of a list that begins within a conflict has a later time.
    pub fn is(&self, id: &str) -> bool {
        let is_of_pair = self.pair.as_ref().is_some_and(|pair| id.ends_with(&format!("-{pair}")));
        let goes_on = |time| self.time <= time && self.until.is_some_and(|until| time <= until);
        self.id() == id || is_of_pair && Entry::time_of(id).is_some_and(goes_on)
    }

    /// Whether it has this text, which is in lower case; of an address, all of it: `10.0.0.1` is not in `10.0.0.10`.
    pub fn contains(&self, wanted: &str) -> bool {
        let texts = [&self.address, &self.mac, &self.before, &self.name, &self.user, &self.router];
        let texts = texts.into_iter().flatten().chain([&self.what, &self.diff]).chain(&self.log);
        let is_address = wanted.parse::<IpAddr>().is_ok();
        texts.into_iter().map(|text| text.to_lowercase()).any(|text| match is_address {
            true => contains_address(&text, wanted),
            false => text.contains(wanted),
        })
    }

    /// Whether it is of this network.
    pub fn is_of(&self, network: &NetworkId) -> bool {
        match &self.network {
            Some(own) => own == network,
            None => !self.place.is_empty() && self.place == network.place(),
        }
    }

    /// Its cells, in the order of [`COLUMNS`].
    pub fn cells(&self) -> Vec<Cell> {
        let text = |text: &Option<String>| text.clone().map(Cell::Text).into();
        let filled = |text: &str| Some(text).filter(|text| !text.is_empty()).map(Cell::text).into();
        let lines = |lines: Vec<String>| Some(lines).filter(|lines| !lines.is_empty());
        let lines = |all| lines(all).map(Cell::List).into();
        let network = self.network.as_ref().map_or_else(|| self.place.clone(), NetworkId::label);
        vec![
            self.time.into(),
            Cell::text(self.kind.name()),
            Cell::text(&self.what),
            text(&self.address),
            text(&self.mac),
            text(&self.before),
            text(&self.name),
            text(&self.user),
            text(&self.router),
            filled(&network),
            lines(self.log.clone()),
            lines(self.diff.lines().map(str::to_owned).collect()),
            Cell::text(self.id()),
            self.until.into(),
        ]
        .into_iter()
        .chain(NETWORK.map(|name| self.network.as_ref().map(|network| network.cell(name)).into()))
        .collect()
    }
}

/// Those of the network, as other files have them, but for the router of a report: `router` is one that was configured.
const NETWORK: [&str; 5] = ["interface", "vlan", "outer_vlan", "host", "ring"];

/// The columns of a file.
pub const COLUMNS: [&str; 19] = [
    "time",
    "kind",
    "what",
    "address",
    "mac",
    "before",
    "name",
    "user",
    "router",
    "network",
    "log",
    "diff",
    "id",
    "until",
    "interface",
    "vlan",
    "outer_vlan",
    "host",
    "ring",
];

/// So many seconds before and after a list are read, too: what began before it may go on in it, and whether a change is a conflict may
/// be known after its end.
const AROUND: i64 = 7 * 86_400;
/// A conflict that begins again within so many seconds is the same one.
const SAME_CONFLICT: i64 = 3600;
/// Entries of a list; of more, the latest ones.
pub const ENTRIES: usize = 10_000;

/// What is read for what happened in these times.
pub fn read_range(range: TimeRange) -> TimeRange {
    let from = UnixTime::new(range.from.seconds().saturating_sub(AROUND), 0);
    let to = UnixTime::new(range.to.seconds().saturating_add(AROUND), 0);
    let is_open = range.to == TimeRange::ALL.to || to > UnixTime::now();
    TimeRange { from, to: if is_open { TimeRange::ALL.to } else { to } }
}

/// Why a change of an address is a conflict, and until when it goes on; or that it went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub why: &'static str,
    /// An address that went back to a device: after so many seconds. It may be a lease, so it is no conflict.
    pub back_after: Option<i64>,
    pub until: UnixTime,
    /// It is the same one as that of an earlier row, which has this number.
    pub of: Option<usize>,
}

/// A change of an address is a conflict if the device before it goes on using it, or if another MAC claims it for a device. It may
/// have gone back to a device that had it in the days before. Rows come in the order of time, and begin as [`read_range`] does.
#[derive(Default)]
pub struct Holders {
    /// Hashes of network, address and MAC, of which there may be hundreds of thousands, and when each was seen with it or lost it.
    known: HashMap<u64, UnixTime>,
    /// Conflicts of two devices, and the row of each.
    going: HashMap<u64, (usize, UnixTime)>,
    hasher: RandomState,
}

impl Holders {
    /// Of each row.
    pub fn conflicts(table: &ResultTable) -> Vec<Option<Conflict>> {
        let mut holders = Holders::default();
        let mut all: Vec<Option<Conflict>> = Vec::with_capacity(table.rows.len());
        for (number, row) in table.rows.iter().enumerate() {
            let conflict = holders.conflict(table, (number, row));
            if let Some(Conflict { of: Some(first), until, .. }) = conflict
                && let Some(first) = &mut all[first]
            {
                first.until = first.until.max(until);
            }
            all.push(conflict);
        }
        all
    }

    fn conflict(
        &mut self,
        table: &ResultTable,
        (number, row): (usize, &[Cell]),
    ) -> Option<Conflict> {
        let text = |name| display::text(table.cell(row, name));
        let (address, mac, before) = (text("address")?, text("mac")?, text("before"));
        let time = time_of_row(table, row)?;
        if text("change").is_some_and(|change| change.starts_with("forged")) {
            let why = "another MAC sent a claim of it";
            return Some(Conflict { why, back_after: None, until: time, of: None });
        }
        let (network, before) = (NetworkId::of(table, row), before?);
        let of = |mac: &str| self.hasher.hash_one((&network, &*address, mac));
        let both = [&*mac, &*before];
        let pair =
            self.hasher.hash_one((&network, &*address, both.iter().min(), both.iter().max()));
        let time_in = |name| match table.cell(row, name) {
            Cell::Time(time) => Some(*time),
            _ => None,
        };
        let since = |last: UnixTime| time.seconds() - last.seconds();
        let had = self.known.get(&of(&mac)).copied();
        let back_after = had.map(since).filter(|since| *since <= AROUND);
        self.known.extend([of(&mac), of(&before)].map(|hash| (hash, time)));
        let in_turn = time_in("shared_until");
        let going = self.going.get(&pair).filter(|(_, until)| since(*until) <= SAME_CONFLICT);
        let of = going.map(|(first, _)| *first);
        if in_turn.is_none() && of.is_none() {
            let why = "went back to a device that had it before";
            let back = |_| Conflict { why, back_after, until: time, of: None };
            return back_after.map(back);
        }
        let until = in_turn.or(going.map(|(_, until)| *until)).unwrap_or(time);
        let latest = going.map_or(until, |(_, before)| until.max(*before));
        self.going.insert(pair, (of.unwrap_or(number), latest));
        Some(Conflict { why: "is used by two devices in turn", back_after: None, until, of })
    }
}

/// The time of a row of changes.
pub fn time_of_row(table: &ResultTable, row: &[Cell]) -> Option<UnixTime> {
    match table.cell(row, "time") {
        Cell::Time(time) => Some(*time),
        _ => None,
    }
}

fn contains_address(text: &str, address: &str) -> bool {
    let is_of_address = |c: char| c.is_ascii_hexdigit() || c == ':';
    text.match_indices(address).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + address.len()..]);
        !before.ends_with(|c| is_of_address(c) || c == '.') && !after.starts_with(is_of_address)
    })
}

/// Which entries a list has.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub from: UnixTime,
    pub to: UnixTime,
    pub kind: Option<Kind>,
    pub network: Option<&'a NetworkId>,
    /// In lower case.
    pub text: Option<&'a str>,
    /// Also changes in the history of which the archive has the lines, and each change of a conflict: links to them are older than
    /// these.
    pub with_copies: bool,
}

impl<'a> Wanted<'a> {
    /// All of these times.
    pub fn of(from: UnixTime, to: UnixTime) -> Wanted<'a> {
        Wanted { from, to, kind: None, network: None, text: None, with_copies: false }
    }

    fn has(&self, time: UnixTime) -> bool {
        (self.from..self.to).contains(&time)
    }
}

/// What happened.
#[derive(Debug, Default)]
pub struct Happened {
    /// The latest first.
    pub entries: Vec<Entry>,
    /// Entries of each kind, in the order of [`Kind::ALL`], with those of other kinds than the one that is wanted.
    pub counts: [usize; Kind::ALL.len()],
    /// The networks of all of these times.
    pub networks: BTreeSet<NetworkId>,
    /// Entries that were wanted, but are too many.
    pub left_off: usize,
}

impl Happened {
    /// Of the changes of a history, and of what was found beside it.
    pub fn new(table: &ResultTable, found: Found, wanted: &Wanted) -> Happened {
        let mut happened = Happened::default();
        // Before the work that grows with the lines of each.
        let changes = found.changes.into_iter().filter(|change| wanted.has(time_of(change)));
        let archived: Vec<Entry> = changes.map(of_configuration).collect();
        let identity = |entry: &Entry| (entry.lines.clone(), entry.time.seconds());
        let copies: HashSet<(String, i64)> = archived.iter().map(identity).collect();
        let conflicts = Holders::conflicts(table);
        // The latest first, of which only some are kept.
        for (row, conflict) in table.rows.iter().zip(conflicts).rev() {
            let is_first = conflict.is_none_or(|conflict| conflict.of.is_none());
            let is_own = is_first || wanted.with_copies;
            // What began before and goes on is wanted, too.
            let until = conflict.map(|conflict| conflict.until);
            let has = |time: &UnixTime| {
                wanted.has(*time)
                    || *time < wanted.from && until.is_some_and(|until| wanted.from <= until)
            };
            let Some(time) = time_of_row(table, row).filter(|time| is_own && has(time)) else {
                continue;
            };
            let network = NetworkId::of(table, row);
            let is_of_network = wanted.network.is_none_or(|wanted| *wanted == network);
            let entry =
                is_of_network.then(|| of_row(table, row, (time, network.clone(), conflict)));
            happened.networks.insert(network);
            let entry = entry.flatten().filter(|entry| {
                entry.kind != Kind::Configuration || wanted.with_copies || !is_in(&copies, entry)
            });
            if let Some(entry) = entry {
                happened.add(entry, wanted, ENTRIES);
            }
        }
        archived.into_iter().for_each(|entry| happened.add(entry, wanted, usize::MAX));
        let alerts = found.alerts.into_iter().filter(|(time, _)| wanted.has(*time));
        alerts.for_each(|(time, alert)| happened.add(of_alert(time, &alert), wanted, usize::MAX));
        happened.entries.sort_by_key(|entry| std::cmp::Reverse(entry.time));
        happened.left_off += happened.entries.len().saturating_sub(ENTRIES);
        happened.entries.truncate(ENTRIES);
        happened
    }

    fn add(&mut self, entry: Entry, wanted: &Wanted, most: usize) {
        let is_wanted = wanted.network.is_none_or(|network| entry.is_of(network))
            && wanted.text.is_none_or(|text| entry.contains(text));
        if !is_wanted {
            return;
        }
        self.counts[entry.kind as usize] += 1;
        if wanted.kind.is_some_and(|kind| kind != entry.kind) {
            return;
        }
        match self.entries.len() < most {
            true => self.entries.push(entry),
            false => self.left_off += 1,
        }
    }
}

/// Two devices have used an address in turn since before what was read.
fn is_older(table: &ResultTable, row: &[Cell]) -> bool {
    *table.cell(row, "change") == Cell::text(SHARED)
}

/// Whether the archive has a change of as many lines at about the same time.
fn is_in(archive: &HashSet<(String, i64)>, change: &Entry) -> bool {
    let near = |seconds: i64| (change.lines.clone(), change.time.seconds().saturating_add(seconds));
    (-SAME..=SAME).any(|seconds| archive.contains(&near(seconds)))
}

fn of_row(
    table: &ResultTable,
    row: &[Cell],
    (time, network, conflict): (UnixTime, NetworkId, Option<Conflict>),
) -> Option<Entry> {
    let text = |name| display::text(table.cell(row, name));
    let (address, mac, before, change) =
        (text("address"), text("mac"), text("before"), text("change")?);
    let is_older = is_older(table, row);
    let some = |text: &Option<String>| text.clone().unwrap_or_default();
    let [address_text, network_text] = [some(&address), network.text()];
    let [new, other] = [some(&mac), some(&before)];
    let conflict_of =
        ["conflict", &*address_text, (&*new).min(&other), (&*new).max(&other), &network_text];
    let changed = ["history", &*address_text, &*new, &*other, &network_text, &change];
    let identity = if is_older { &conflict_of[..] } else { &changed[..] };
    let configuration = change.strip_prefix("configuration ");
    let kind = match (configuration, conflict) {
        (Some(_), _) => Kind::Configuration,
        (None, Some(Conflict { back_after: Some(_), .. })) => Kind::Return,
        (None, Some(_)) => Kind::Conflict,
        (None, None) => Kind::Change,
    };
    let mut entry = Entry::new(time, kind, identity);
    let until = conflict.filter(|one| one.back_after.is_none()).map(|conflict| conflict.until);
    entry.pair = until.map(|_| hash(&conflict_of));
    entry.what = match (kind, conflict, &before) {
        (Kind::Configuration, ..) => change.clone(),
        (_, Some(Conflict { back_after: Some(after), .. }), _) => {
            let after = display::seconds(after);
            format!(
                "went back to {new} after {after}: a lease that was given back, or a takeover of a device that is quiet"
            )
        }
        (_, Some(conflict), _) if is_older => {
            format!("{}, since this time or before", conflict.why)
        }
        (_, Some(conflict), _) => conflict.why.into(),
        (_, None, Some(_)) => "has another device".into(),
        (_, None, None) => "is new".into(),
    };
    entry.is_older = is_older;
    entry.until = until.filter(|until| *until > time);
    if let Some((lines, user)) = configuration.and_then(|text| text.split_once(" by ")) {
        (entry.lines, entry.user) = (lines.into(), Some(user.into()));
    }
    (entry.router, entry.address) = match configuration {
        Some(_) => (address, None),
        None => (None, address),
    };
    (entry.mac, entry.before, entry.name) = (mac, before, text("name"));
    entry.network = Some(network);
    Some(entry)
}

fn of_alert(time: UnixTime, alert: &Json) -> Entry {
    let text = |name: &str| {
        let text = alert[name].as_str().map(plain);
        text.filter(|text| !text.is_empty())
    };
    let some = |name| text(name).unwrap_or_default();
    let mut entry = Entry::new(time, Kind::Alert, &["alert", &alert.to_string()]);
    entry.what = text("summary").or(text("message")).unwrap_or_else(|| some("kind"));
    (entry.address, entry.mac, entry.before) = (text("ip"), text("mac"), text("old_mac"));
    entry.name = text("name");
    entry.place = match (some("iface"), some("host")) {
        (interface, _) if interface.is_empty() => String::new(),
        (interface, host) if host.is_empty() => interface,
        (interface, host) => format!("{interface} of {host}"),
    };
    let message = text("message").filter(|message| *message != entry.what);
    let note = text("note").filter(|note| !message.as_ref().is_some_and(|it| it.contains(note)));
    // Each begins with the seconds since 1970.
    let samples = alert["samples"].as_array().into_iter().flatten().filter_map(Json::as_str);
    let samples =
        samples.map(|sample| plain(sample.split_once(' ').map_or(sample, |(_, text)| text)));
    entry.log = message.into_iter().chain(note).chain(samples).collect();
    entry
}

fn time_of(change: &ReportedChange) -> UnixTime {
    UnixTime::from_nanos(change.time.as_nanosecond() as i64)
}

fn of_configuration(change: ReportedChange) -> Entry {
    let time = time_of(&change);
    let lines = format!("+{} -{}", change.added, change.removed);
    let identity = ["archive", &*change.router, &*change.snapshot, &*lines, &*change.diff];
    let mut entry = Entry::new(time, Kind::Configuration, &identity);
    entry.what = match change.noted {
        true => "noted, without a difference of the export".into(),
        false => format!("configuration {lines} by {}", plain(&change.who)),
    };
    entry.lines = lines;
    if change.ignored > 0 {
        entry.what += &format!(", of which {} lines are ignored by rules", change.ignored);
    }
    if change.secrets > 0 {
        entry.what += &format!("; a secret changed in {} lines", change.secrets);
    }
    entry.user = Some(plain(&change.who));
    entry.router = Some(plain(&format!("{} ({})", change.router, change.address)));
    entry.log = change.log.iter().map(|line| plain(line)).collect();
    entry.diff = plain_lines(&change.diff);
    if change.further_lines > 0 {
        entry.diff += &format!(
            "and {} more lines: aw-routeros diff {}\n",
            change.further_lines,
            plain(&change.router)
        );
    }
    entry
}

/// An entry as a page shows it.
pub struct Shown {
    pub id: String,
    pub link: String,
    pub time: String,
    pub kind: &'static str,
    pub kind_name: &'static str,
    pub what: String,
    pub until: Option<String>,
    /// What the second MAC is to the first one.
    pub other: &'static str,
    /// Text and link.
    pub address: Option<(String, String)>,
    pub mac: Option<(String, String)>,
    pub before: Option<(String, String)>,
    pub name: String,
    pub router: String,
    pub network: Option<(String, String)>,
    pub place: String,
    pub log: Vec<String>,
    /// Each line with what it is: added, removed, or neither.
    pub diff: Vec<(&'static str, String)>,
}

impl Shown {
    /// With at most so many lines of a configuration.
    pub fn new(entry: &Entry, zone: &TimeZone, most: usize) -> Shown {
        let at = display::time_parameter(entry.time);
        let address = |ip: &String| {
            let is_address = ip.parse::<std::net::IpAddr>().is_ok();
            let link = format!("/ip/{}?at={at}&zoom=day", encoded(ip));
            (ip.clone(), if is_address { link } else { String::new() })
        };
        let mac = |mac: &String| {
            let is_mac = mac.parse::<shm_layout::MacAddr>().is_ok();
            let link = format!("/mac/{}?at={at}&zoom=day", encoded(mac));
            (mac.clone(), if is_mac { link } else { String::new() })
        };
        let line = |line: &str| {
            let kind = match line.as_bytes().first() {
                Some(b'+') => "added",
                Some(b'-') => "removed",
                _ => "same",
            };
            (kind, line.to_owned())
        };
        let mut diff: Vec<_> = entry.diff.lines().take(most).map(line).collect();
        let further = entry.diff.lines().count() - diff.len();
        if further > 0 {
            diff.push((
                "same",
                format!("and {further} more lines: the page of this entry has them"),
            ));
        }
        Shown {
            id: entry.id(),
            link: format!("/happened/{}", entry.id()),
            time: display::time(entry.time, zone),
            kind: entry.kind.label(),
            kind_name: entry.kind.name(),
            what: entry.what.clone(),
            until: entry.until.map(|until| {
                let begin = if entry.is_older { "" } else { "from then " };
                format!("{begin}until {}", display::time(until, zone))
            }),
            other: if entry.is_older { "and" } else { "before:" },
            address: entry.address.as_ref().map(address),
            mac: entry.mac.as_ref().map(mac),
            before: entry.before.as_ref().map(mac),
            name: entry.name.clone().unwrap_or_default(),
            router: entry.router.clone().unwrap_or_default(),
            network: entry.network.as_ref().map(|network| (network.label(), network.link())),
            place: entry.place.clone(),
            log: entry.log.clone(),
            diff,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::iter::repeat_n;

    use serde_json::json;

    use super::*;

    const FROM: UnixTime = UnixTime::new(0, 0);
    const TO: UnixTime = UnixTime::new(1000, 0);
    const TO_ALL: UnixTime = TimeRange::ALL.to;

    /// Time, address, change, MAC and the one before.
    type Row<'a> = (i64, &'a str, &'a str, Option<&'a str>, Option<&'a str>);

    fn table(rows: &[Row]) -> ResultTable {
        let mut table = ResultTable::default();
        table.columns = vec!["time", "address", "change", "mac", "before", "interface"];
        let of = |(time, address, change, mac, before): &Row| {
            let [mac, before] = [mac, before].map(|text| text.map(Cell::text).into());
            let time = Cell::Time(UnixTime::new(*time, 0));
            vec![time, Cell::text(address), Cell::text(change), mac, before, Cell::text("eth0")]
        };
        table.rows = rows.iter().map(of).collect();
        table
    }

    /// A digest has its samples, each in a line; and a note that the message has is not repeated.
    #[test]
    fn the_text_of_an_alert() {
        let log = |alert: Json| of_alert(UnixTime::new(1, 0), &alert).log;
        let digest = json!({ "kind": "digest", "summary": "2 alerts: 2 redirects",
            "message": "2 alerts: 2 redirects", "samples": ["5 redirect a", "6 redirect b\u{1b}"] });
        assert_eq!(log(digest), ["redirect a", "redirect b?"]);
        let one = json!({ "kind": "redirect", "summary": "redirect: a", "message": "redirect a: why", "note": "why" });
        assert_eq!(log(one), ["redirect a: why"]);
    }

    fn change(second: i64, added: u32) -> ReportedChange {
        serde_json::from_value(json!({
            "time": format!("1970-01-01T00:00:{second:02}Z"), "router": "core1\u{1b}", "address": "192.0.2.1:22",
            "users": ["alice"], "who": "alice", "ambiguous": false, "added": added, "removed": 0,
            "ignored": 0, "secrets": 0, "noted": false, "menus": [], "log": ["a line"],
            "snapshot": "s", "diff": "@@ -1 +1 @@\n+/x password=***\u{202e}\n", "further_lines": 3,
        }))
        .unwrap()
    }

    #[test]
    fn one_list() {
        let table = table(&[
            (1, "10.0.0.1", "new", Some("a"), None),
            (2, "10.0.0.1", "changed", Some("b"), Some("a")),
            (3, "10.0.0.1", "changed", Some("a"), Some("b")),
            (4, "10.0.0.3", "forged or forwarded", Some("a"), None),
            (20, "192.0.2.1", "configuration +1 -0 by alice", None, None),
            (40, "192.0.2.1", "configuration +7 -0 by bob", None, None),
        ]);
        let alert = json!({ "seconds": 10, "kind": "changed", "summary": "changed\u{1b}: x",
            "ip": "10.0.0.1", "iface": "eth0", "host": "" });
        let alerts = vec![
            (UnixTime::new(10, 0), alert),
            (UnixTime::new(2000, 0), json!({ "kind": "late" })),
        ];
        let found = Found { alerts, changes: vec![change(21, 1)], remarks: Vec::new() };
        let happened = Happened::new(&table, found, &Wanted::of(FROM, TO));
        assert_eq!((happened.counts, happened.left_off), ([2, 1, 1, 1, 2], 0));
        let all = happened.entries;
        let short: Vec<_> =
            all.iter().map(|one| (one.time.seconds(), one.kind, &*one.what)).collect();
        assert_eq!(
            short,
            [
                (40, Kind::Configuration, "configuration +7 -0 by bob"),
                (21, Kind::Configuration, "configuration +1 -0 by alice"),
                (10, Kind::Alert, "changed?: x"),
                (4, Kind::Conflict, "another MAC sent a claim of it"),
                (
                    3,
                    Kind::Return,
                    "went back to a after 1 s: a lease that was given back, or a takeover of a device that is quiet"
                ),
                (2, Kind::Change, "has another device"),
                (1, Kind::Change, "is new"),
            ]
        );
        let network = NetworkId::parse("interface=eth0").unwrap();
        assert_eq!(all.iter().filter(|one| one.is_of(&network)).count(), 6, "the archive has none");
        assert!(all[1].contains("password=***") && !all[1].contains("bob"));
        assert!(
            all[1].diff.ends_with("?\nand 3 more lines: aw-routeros diff core1?\n"),
            "{}",
            all[1].diff
        );
        assert_eq!(all[1].router.as_deref(), Some("core1? (192.0.2.1:22)"));
        assert_eq!(Entry::time_of(&all[0].id()), Some(all[0].time));
        let ids: HashSet<_> = all.iter().map(Entry::id).collect();
        assert_eq!(ids.len(), all.len());
        assert!(all.iter().all(|entry| entry.cells().len() == COLUMNS.len()));
        let shown = Shown::new(&all[1], &TimeZone::UTC, usize::MAX);
        assert_eq!((shown.diff[1].0, shown.diff.len()), ("added", 3));
        let short = Shown::new(&all[1], &TimeZone::UTC, 1).diff;
        assert_eq!(short[0], shown.diff[0]);
        assert_eq!(short[1].1, "and 2 more lines: the page of this entry has them");
        assert_eq!(short.len(), 2);
    }

    /// An address that went back is listed also if it was taken before the list begins; and a host that invents addresses hides
    /// nothing of another kind or network.
    #[test]
    fn what_is_a_conflict() {
        let mut rows = vec![
            (1, "10.0.0.1", "changed", Some("b"), Some("a")),
            (5, "10.0.0.1", "changed", Some("a"), Some("b")),
        ];
        rows.extend(repeat_n((9, "10.9.9.9", "new", Some("c"), None), ENTRIES + 7)); // an array of them is too much for a stack
        let table = table(&rows);
        let of = |wanted| Happened::new(&table, Found::default(), &wanted);
        let late = Wanted { kind: Some(Kind::Return), ..Wanted::of(UnixTime::new(4, 0), TO) };
        let found = of(late);
        assert_eq!((found.counts, found.left_off), ([ENTRIES + 7, 0, 1, 0, 0], 0));
        assert!(found.entries[0].what.starts_with("went back to a after 4 s: a lease"));
        let text = Wanted { text: Some("10.0.0.1"), ..Wanted::of(FROM, TO) };
        assert_eq!(of(text).entries.len(), 2);
        // A part of an address is found, too, but not an address in a longer one.
        for (text, number) in
            [("10.9.9.", ENTRIES), ("10.9.9.9", ENTRIES), ("0.9.9.9", 0), ("10.9.9", ENTRIES)]
        {
            let wanted = Wanted { text: Some(text), ..Wanted::of(FROM, TO) };
            assert_eq!(of(wanted).entries.len(), number, "{text}");
        }
        for (text, is_in) in [
            ("10.0.0.1 has another device", true),
            ("10.0.0.10", false),
            ("(10.0.0.1)", true),
            ("110.0.0.1", false),
            ("from 10.0.0.1.", true),
        ] {
            assert_eq!(contains_address(text, "10.0.0.1"), is_in, "{text}");
        }
        let all = of(Wanted::of(FROM, TO));
        assert_eq!(
            (all.entries.len(), all.left_off, all.counts),
            (ENTRIES, 9, [ENTRIES + 8, 0, 1, 0, 0])
        );
        let other = NetworkId::parse("interface=eth1").unwrap();
        let none = of(Wanted { network: Some(&other), ..Wanted::of(FROM, TO) });
        assert_eq!((none.entries.len(), none.networks.len()), (0, 1));
    }

    /// A change is the same in each list, however long before it the list begins.
    #[test]
    fn a_conflict_is_one_in_each_list() {
        const DAY: i64 = 86_400;
        let rows = [
            (10 * DAY, "10.0.0.1", "changed", Some("b"), Some("a")),
            (11 * DAY, "10.0.0.1", "changed", Some("a"), Some("b")),
            (12 * DAY, "10.0.0.1", "changed", Some("b"), Some("a")),
            (30 * DAY, "10.0.0.1", "changed", Some("a"), Some("b")),
        ];
        let lists = [1, 11, 12, 30].map(|day| {
            let from = UnixTime::new(day * DAY, 0);
            let range = TimeRange { from, to: TimeRange::ALL.to };
            let first = rows.partition_point(|row| row.0 < read_range(range).from.seconds());
            let wanted = Wanted::of(from, UnixTime::new(31 * DAY, 0));
            let entries = Happened::new(&table(&rows[first..]), Found::default(), &wanted).entries;
            entries.into_iter().map(|one| one.kind).collect::<Vec<_>>()
        });
        let all = [Kind::Change, Kind::Return, Kind::Return, Kind::Change];
        assert_eq!(lists, [&all[..], &all[..3], &all[..2], &all[..1]]);
    }

    /// Two devices that use an address at the same time are one conflict, which says until when, also in a list that begins within
    /// it; one that used it later is none, nor is a lease that returns after hours without a sighting.
    #[test]
    fn a_conflict_that_goes_on() {
        let mut table = table(&[
            (100, "10.0.0.1", "new", Some("a"), None),
            (1_000, "10.0.0.1", "changed", Some("b"), Some("a")),
            (3_000, "10.0.0.1", "changed", Some("b"), Some("a")),
            (90_000, "10.0.0.1", "changed", Some("c"), Some("b")),
            (95_000, "10.0.0.1", "changed", Some("b"), Some("c")),
        ]);
        table.columns.extend(["before_last_seen", "shared_until"]);
        let time = |seconds: i64| Cell::Time(UnixTime::new(seconds, 0));
        let times = [(0, 0), (990, 1_500), (2_990, 4_000), (4_000, 0), (91_000, 0)];
        for (row, (last, until)) in table.rows.iter_mut().zip(times) {
            row.extend([last, until].map(|at| if at == 0 { Cell::None } else { time(at) }));
        }
        let to = UnixTime::new(100_000, 0);
        let of = |from| Happened::new(&table, Found::default(), &Wanted::of(from, to));
        let short = |entries: Vec<Entry>| {
            let of = |one: Entry| (one.time.seconds(), one.kind, one.until.map(|at| at.seconds()));
            entries.into_iter().map(of).collect::<Vec<_>>()
        };
        let conflict = (1_000, Kind::Conflict, Some(4_000));
        let all = of(FROM);
        assert_eq!(all.counts, [2, 1, 1, 0, 0]);
        let [last, first] = [90_000, 100].map(|at| (at, Kind::Change, None));
        let back = (95_000, Kind::Return, None);
        assert_eq!(short(all.entries), [back, last, conflict, first]);
        assert_eq!(short(of(UnixTime::new(2_000, 0)).entries), [back, last, conflict]);
        assert_eq!(short(of(UnixTime::new(5_000, 0)).entries), [back, last]);
        let wanted = Wanted { with_copies: true, ..Wanted::of(UnixTime::new(3_000, 0), to) };
        let linked = Happened::new(&table, Found::default(), &wanted).entries;
        assert_eq!(short(linked)[2], (3_000, Kind::Conflict, Some(4_000)), "each link is kept");
    }

    /// Two devices that have used an address since before what is read are a conflict of each list in which they do; and each link leads
    /// to it, also one of a list that began later.
    #[test]
    fn a_conflict_since_before() {
        const DAY: i64 = 86_400;
        // What a history has that is read from a day on.
        let read = |day: i64| {
            let (mac, before) = if day == 6 { ("a", "b") } else { ("b", "a") };
            let mut table =
                table(&[(day * DAY + 100, "10.0.0.1", SHARED, Some(mac), Some(before))]);
            table.columns.push("shared_until");
            table.rows[0].push(Cell::Time(UnixTime::new(20 * DAY, 0)));
            table
        };
        let of = |from: i64, wanted: Wanted| {
            Happened::new(&read(from), Found::default(), &wanted).entries
        };
        let list = |from: i64| of(from - 7, Wanted::of(UnixTime::new(from * DAY, 0), TO_ALL));
        let entry = list(13).remove(0);
        assert_eq!((entry.kind, entry.until), (Kind::Conflict, Some(UnixTime::new(20 * DAY, 0))));
        assert_eq!(entry.what, "is used by two devices in turn, since this time or before");
        assert_eq!(list(21).len(), 0, "it has ended");
        // Its page reads a week before its time.
        let time = Entry::time_of(&entry.id()).unwrap();
        let alone = Wanted { with_copies: true, ..Wanted::of(time, TO_ALL) };
        let found = of(-1, alone);
        assert!(found[0].is(&entry.id()) && found[0].id() != entry.id(), "{found:?}");
        let before = format!("{}-{}", UnixTime::new(-2 * DAY, 0).as_nanos(), entry.hash);
        assert!(!found[0].is("1-0000000000") && !found[0].is(&before));
        assert!(!entry.is(&found[0].id()), "it is earlier than what was read");
        // There, its begin is found, or a later change of it.
        let mut begun = read(2);
        begun.rows[0][2] = Cell::text("changed");
        let begun = Happened::new(&begun, Found::default(), &alone).entries;
        assert!(begun[0].is(&entry.id()) && begun[0].id() != found[0].id());
        let mut other = read(2);
        other.rows[0][3] = Cell::text("c");
        let other = Happened::new(&other, Found::default(), &alone).entries;
        assert!(!other[0].is(&entry.id()), "of other devices");
    }

    /// A link to a change of the history leads to it also when the archive has its lines.
    #[test]
    fn a_copy_keeps_its_link() {
        let table = table(&[(20, "192.0.2.1", "configuration +1 -0 by alice", None, None)]);
        let of = |wanted| {
            let changes = vec![change(21, 1)];
            Happened::new(&table, Found { changes, ..Found::default() }, &wanted).entries
        };
        assert_eq!(of(Wanted::of(FROM, TO)).len(), 1);
        assert_eq!(of(Wanted { with_copies: true, ..Wanted::of(FROM, TO) }).len(), 2);
    }
}
