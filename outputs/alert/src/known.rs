//! The commands `known` and `relearn`: the routers, DHCP servers and DNS servers that are known, and why, as a table or JSON, and how
//! these are forgotten.

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::Path,
};

use aw_detect::{
    InfrastructureRow, Known, NamedServer, Names, Part, Rules, SqliteMemory, Station, Trust,
    split_network,
};
use aw_output::{Error, Fault, failed, makers::Makers};
use aw_service::{count_of, plain};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::{
    learned::{named, place},
    learned_infrastructure::{
        FIRST_IN_VLANS, KnownMac, Macs, macs_of, named_addresses, why, with_macs, words,
    },
    learning_periods::{self, LearningPeriod},
    notification::zoned,
    store::AlertStore,
};

/// The format of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KnownFormat {
    /// Columns for people
    #[default]
    Table,
    /// One JSON object a line
    Json,
}

const COLUMNS: [&str; 7] = ["NETWORK", "WHAT", "ADDRESS", "MAC", "WHY", "SINCE", "LAST SEEN"];

/// A router or server.
struct Entry<'a> {
    /// The full name of its network; none if the configuration names it, and it was not seen.
    network: Option<&'a str>,
    part: Part,
    key: String,
    macs: Vec<KnownMac>,
    trust: Trust,
    /// First and last time.
    times: [Option<i64>; 2],
}

/// Prints what is known. `names`: of the configuration and of the common file.
pub fn known(
    state: &Path,
    rules: &Rules,
    names: &Names,
    makers: &Makers,
    format: KnownFormat,
) -> Result<(), Error> {
    let rows = AlertStore::infrastructure(state).map_err(failed)?;
    let Some(rows) = rows else {
        let shown = state.display();
        return Err(failed(format_args!("no database in {shown} (check --state-dir)")));
    };
    let stations = AlertStore::stations_at(state, &addresses(&rows, rules));
    let entries = entries(&rows, rules, &stations);
    let show_ring = has_several_rings(rows.iter().map(|(network, ..)| &**network));
    let mut out = BufWriter::new(io::stdout().lock());
    let zone = TimeZone::system();
    let written = match format {
        KnownFormat::Json => {
            entries.iter().try_for_each(|one| writeln!(out, "{}", one.json(names)))
        }
        KnownFormat::Table => {
            let (normal, reported): (Vec<_>, Vec<_>) =
                entries.iter().partition(|one| one.is_normal());
            let cells = |of: &[&Entry]| -> Vec<_> {
                of.iter().map(|one| one.cells(names, makers, &zone, show_ring)).collect()
            };
            let mut written = write_table(&mut out, &cells(&normal));
            if !reported.is_empty() {
                let line = if normal.is_empty() { REPORTED } else { &*format!("\n{REPORTED}") };
                written = written
                    .and_then(|()| writeln!(out, "{line}"))
                    .and_then(|()| write_table(&mut out, &cells(&reported)));
            }
            if entries.is_empty() {
                let line = "no router, DHCP server or DNS server is known: names are not recorded (collector --names), or none was seen yet";
                written = writeln!(out, "{line}");
            }
            let learning = LearningPeriod::in_directory(state);
            let learning = learning_periods::lines(&learning, show_ring);
            let legend = legend(&entries);
            let legend = legend.as_deref().map(|line| format!("\n{line}")).into_iter();
            let mut lines = legend.chain(learning);
            written.and_then(|()| lines.try_for_each(|line| writeln!(out, "{line}")))
        }
    };
    let written = written.and_then(|()| out.flush());
    written.map_err(|error| Error::write("standard output", error))
}

/// MACs in a cell: a host can invent any number.
const MAX_MACS: usize = 8;
/// Why a MAC is none that is normal: it was reported, or it claimed an address after another one.
const REPORTED_WORD: &str = "reported";
const CLAIMED: &str = "claimed";
/// The first MAC that claimed an address.
const FIRST: &str = "first";
const REPORTED: &str = "Reported, and not taken for normal:";

/// Two networks can have one name then.
fn has_several_rings<'a>(networks: impl Iterator<Item = &'a str>) -> bool {
    let rings: BTreeSet<_> = networks.map(|network| split_network(network).1).collect();
    rings.len() > 1
}

/// The addresses of routers and servers: who claimed them, as their own messages do not show it.
fn addresses(rows: &[InfrastructureRow], rules: &Rules) -> Vec<IpAddr> {
    let of_rows = rows.iter().map(|(_, _, key, _)| key.clone());
    let named = rules.named_lists().into_iter().flat_map(|(_, list)| list);
    let all = of_rows.chain(named.map(NamedServer::key)).filter_map(|key| key.parse().ok());
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Those of the database, then those that only the configuration names, and last those that were reported: a flood makes many. `stations`:
/// who claimed the addresses.
fn entries<'a>(
    rows: &'a [InfrastructureRow],
    rules: &Rules,
    stations: &'a [(String, IpAddr, Station)],
) -> Vec<Entry<'a>> {
    let (rows, macs) = with_macs(rows);
    let at = |network: &str, key: &str| {
        let mut at = stations.iter().filter(|(of, ip, _)| of == network && ip.to_string() == key);
        at.next().map(|(.., station)| station)
    };
    let mut entries = Vec::new();
    for row in &rows {
        let (network, part, key, Known { first, last, trust, .. }) = *row;
        let mut of_row = macs_of(row, &macs);
        // What any MAC sends is seen of the row. Of its own MACs, each has its time.
        let has_times = of_row.iter().any(|one| one.times[1].is_some());
        let times = match has_times && *trust != Trust::Reported {
            true => [None; 2],
            false => [Some(*first), Some(*last)],
        };
        if *part == Part::DhcpServer {
            of_row.extend(takers(&macs, network, key, &of_row));
        }
        if *trust != Trust::Reported {
            add_claims(&mut of_row, key, at(network, key), rules);
        }
        let (network, key) = (Some(&**network), key.clone());
        entries.push(Entry { network, part: *part, key, macs: of_row, trust: *trust, times });
    }
    let lists = [
        (Part::Router, &rules.routers),
        (Part::DhcpServer, &rules.dhcp_servers),
        (Part::Dns, &rules.dns_servers),
    ];
    for (part, list) in lists {
        let unseen = list
            .iter()
            .filter(|named| !rows.iter().any(|(_, of, key, _)| *of == part && is_of(named, key)));
        for named in unseen {
            let (key, trust) = (named.key(), Trust::Named);
            let at = stations
                .iter()
                .filter(|(_, ip, station)| ip.to_string() == key && !station.claims.is_empty());
            let before = entries.len();
            entries.extend(at.map(|(network, _, station)| {
                let mut of_it = takers(&macs, network, &key, &[]);
                add_claims(&mut of_it, &key, Some(station), rules);
                let (network, key, times) = (Some(&**network), key.clone(), [None; 2]);
                Entry { network, part, key, macs: of_it, trust, times }
            }));
            if entries.len() == before {
                let (mut macs, times) = (Vec::new(), [None; 2]);
                add_claims(&mut macs, &key, None, rules);
                entries.push(Entry { network: None, part, key, macs, trust, times });
            }
        }
    }
    // The MACs that are not normal come after all that is.
    let mut others = Vec::new();
    for entry in entries.iter_mut().filter(|entry| entry.is_normal()) {
        let (macs, of_others): (Vec<KnownMac>, Vec<_>) =
            entry.macs.drain(..).partition(|one| ![REPORTED_WORD, CLAIMED].contains(&one.why));
        entry.macs = macs;
        entry.times = with_times_of(entry.times, &entry.macs);
        if !of_others.is_empty() {
            let (key, trust) = (entry.key.clone(), Trust::Reported);
            let Entry { network, part, .. } = *entry;
            let macs = of_others;
            let times = with_times_of([None; 2], &macs);
            others.push(Entry { network, part, key, macs, trust, times });
        }
    }
    entries.sort_by_key(|entry| !entry.is_normal());
    entries.append(&mut others);
    entries
}

/// With the first and the last time of its MACs.
fn with_times_of([first, last]: [Option<i64>; 2], macs: &[KnownMac]) -> [Option<i64>; 2] {
    let all = |index: usize| macs.iter().filter_map(move |one| one.times[index]);
    [all(0).chain(first).min(), all(1).chain(last).max()]
}

/// The MACs that took an address, which have rows as those of a router have, also where it is no router's; without those that are known.
fn takers(macs: &Macs, network: &str, key: &str, known: &[KnownMac]) -> Vec<KnownMac> {
    let all = macs.get(&(network, Part::Router, key)).into_iter().flatten();
    let is_new = |one: &&KnownMac| !known.iter().any(|other| other.mac == one.mac);
    all.filter(is_new).copied().collect()
}

/// Adds the MACs that claimed an address by ARP or Neighbor Discovery, as the messages of its router or server do not show each, and
/// those that the configuration has beside it: where it has some, no other one is normal.
fn add_claims(macs: &mut Vec<KnownMac>, key: &str, station: Option<&Station>, rules: &Rules) {
    let ip = key.parse::<IpAddr>().ok();
    let owners = ip.map(|ip| rules.owners(ip)).unwrap_or_default();
    let first = station.and_then(|station| station.first);
    for mac in station.into_iter().flat_map(Station::macs) {
        let is_first = first.is_some_and(|first| first.mac == mac);
        let claimed = station.and_then(|station| station.claims.iter().find(|one| one.mac == mac));
        let times =
            [first.filter(|_| is_first).map(|first| first.time), claimed.map(|claim| claim.time)];
        if let Some(known) = macs.iter_mut().find(|known| known.mac == mac) {
            known.times = with_times_of(times, &[*known]);
            continue;
        }
        let by_design = station.is_some_and(|station| station.learned.contains(&mac))
            || rules.proxies.contains(&mac)
            || first.is_some_and(|first| rules.are_grouped(&[first.mac, mac]));
        let word = match by_design {
            _ if is_first => FIRST,
            true => why(Trust::Learned),
            false => CLAIMED,
        };
        macs.push(KnownMac { mac, why: word, times });
    }
    let Some(ip) = ip.filter(|_| !owners.is_empty()) else { return };
    for known in &mut *macs {
        known.why = match known.why {
            _ if rules.is_owner(ip, known.mac) => why(Trust::Named),
            REPORTED_WORD => REPORTED_WORD,
            _ => CLAIMED,
        };
    }
    for mac in owners {
        if !macs.iter().any(|known| known.mac == mac) {
            macs.push(KnownMac { mac, why: why(Trust::Named), times: [None; 2] });
        }
    }
    macs.sort_by_key(|known| !rules.is_owner(ip, known.mac));
}

/// What the words behind MACs mean, if there are any.
fn legend(entries: &[Entry]) -> Option<String> {
    let has = |word| entries.iter().any(|entry| entry.macs.iter().any(|one| one.why == word));
    let first = has(FIRST).then_some("first: the first MAC that claimed the address by ARP or Neighbor Discovery, compare it with your device");
    let claimed = has(CLAIMED).then_some("claimed: another MAC that claimed it");
    let parts: Vec<_> = [first, claimed].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn is_of(named: &NamedServer, key: &str) -> bool {
    key.parse().map_or_else(|_| named.key() == key, |ip| named.includes(ip))
}

impl Entry<'_> {
    /// Whether it is taken for normal.
    fn is_normal(&self) -> bool {
        self.trust != Trust::Reported
    }

    fn cells(
        &self,
        names: &Names,
        makers: &Makers,
        zone: &TimeZone,
        show_ring: bool,
    ) -> [String; COLUMNS.len()] {
        let network = self.network.map_or(String::new(), |network| place(network, show_ring));
        let mac = |KnownMac { mac, why: of, .. }: &KnownMac| {
            let maker = makers.find(*mac).map(|(maker, _)| format!(" ({maker})"));
            // Such as one that took the address of a router.
            let is_other = *of != why(self.trust);
            let other = if is_other { format!(" {of}") } else { String::new() };
            format!("{}{}{other}", named(*mac, names).trim_start(), maker.unwrap_or_default())
        };
        let mut macs = self.macs.iter().take(MAX_MACS).map(mac).collect::<Vec<_>>().join(", ");
        if self.macs.len() > MAX_MACS {
            macs += &format!(" and {} more", self.macs.len() - MAX_MACS);
        }
        let time = |seconds| zoned(seconds, zone).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let [since, last] = self.times.map(|seconds| seconds.map(time).unwrap_or_default());
        let (what, why) = (words(self.part).0.into(), why(self.trust).into());
        [network, what, self.key.clone(), macs, why, since, last].map(|cell: String| {
            let cell = plain(&cell);
            if cell.is_empty() { "-".into() } else { cell }
        })
    }

    fn json(&self, names: &Names) -> Value {
        let (host, ring, network) = self.network.map(split_network).unwrap_or_default();
        let macs = self.macs.iter().map(|KnownMac { mac, why, times: [first, last] }| {
            json!({"mac": mac.to_string(), "why": why, "name": names.get(mac), "first": first, "last": last})
        });
        let [first, last] = self.times;
        json!({
            "network": network, "what": words(self.part).0, "address": self.key,
            "macs": macs.collect::<Vec<_>>(), "why": why(self.trust),
            "normal": self.is_normal(), "first": first, "last": last, "host": host, "ring": ring,
        })
    }
}

fn write_table(out: &mut impl Write, lines: &[[String; COLUMNS.len()]]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let mut widths = COLUMNS.map(str::len);
    for line in lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in [&COLUMNS.map(str::to_owned)].into_iter().chain(lines) {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Lets these interfaces learn again from the next start on, or all of them, and forgets who claimed the addresses that the configuration
/// names. Returns what to print.
pub fn relearn(state: &Path, interface: Option<&str>, rules: &Rules) -> Result<String, Error> {
    if !AlertStore::exists(state) {
        let shown = state.display();
        return Err(failed(format_args!("no database in {shown} (check --state-dir)")));
    }
    let mut store = AlertStore::open(state)?;
    let forget = |of: Option<&str>, memory: &mut SqliteMemory| {
        memory.forget_infrastructure(of, &named_addresses(rules)).map_err(Fault::into_error)
    };
    let forgotten = forget(interface, &mut store.memory)?;
    if let (Some(name), []) = (interface, &*forgotten) {
        let all = forget(None, &mut store.memory)?;
        store.memory.roll_back();
        let all: Vec<_> = all.iter().map(|(interface, _)| place(interface, false)).collect();
        let known = if all.is_empty() { "none".into() } else { plain(&all.join(", ")) };
        return Err(failed(format_args!("interface {name} is not known (known: {known})")));
    }
    for (interface, _) in &forgotten {
        for (note, _) in FIRST_IN_VLANS {
            store.store_note(&format!("{note}{interface}"), 0).map_err(Fault::into_error)?;
        }
    }
    store.commit().map_err(Fault::into_error)?;
    let show_ring = has_several_rings(forgotten.iter().map(|(interface, _)| &**interface));
    let lines = forgotten.iter().map(|(interface, number)| {
        let number = count_of(*number, "router or server", "routers and servers");
        format!("{}: {number} forgotten\n", plain(&place(interface, show_ring)))
    });
    let lines: String = lines.collect();
    Ok(match lines.is_empty() {
        true => "nothing was learned yet: nothing is forgotten\n".into(),
        false => format!("{lines}{NEXT}\n"),
    })
}

/// What follows.
const NEXT: &str = "From the next start of aw-alert on, these interfaces learn for a day, or for the time of --learn (with --learn 0, not at all:
then each router and server that the configuration does not name is reported). What announces itself in that time is normal from then on, also a
rogue. aw-alert known lists it: check that list. At an address that the configuration names without its MAC,
the next MAC that claims it counts as its owner's: write the MAC of its label beside it before the start.";

#[cfg(test)]
mod tests;
