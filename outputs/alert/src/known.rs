//! The commands `known` and `relearn`: the routers, DHCP servers and DNS servers that are known, and why, as a table or JSON, and how
//! these are forgotten.

use std::{
    collections::BTreeSet,
    io::{self, BufWriter, Write},
    net::IpAddr,
    path::Path,
};

use aw_detect::{InfrastructureRow, Known, NamedServer, Names, Part, Rules, Trust, split_network};
use aw_output::{Error, Fault, failed, makers::Makers};
use aw_service::{count_of, plain};
use clap::ValueEnum;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::{
    learned::{named, place},
    learned_infrastructure::{KnownMac, macs_of, why, with_macs, words},
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
    times: Option<[i64; 2]>,
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
    let entries = entries(&rows, rules);
    let show_ring = has_several_rings(rows.iter().map(|(network, ..)| &**network));
    let mut out = BufWriter::new(io::stdout().lock());
    let zone = TimeZone::system();
    let written = match format {
        KnownFormat::Json => {
            entries.iter().try_for_each(|one| writeln!(out, "{}", one.json(names)))
        }
        KnownFormat::Table => {
            let lines: Vec<_> =
                entries.iter().map(|one| one.cells(names, makers, &zone, show_ring)).collect();
            let mut written = write_table(&mut out, &lines);
            if entries.is_empty() {
                let line = "no router, DHCP server or DNS server is known: names are not recorded (collector --names), or none was seen yet";
                written = writeln!(out, "{line}");
            }
            let learning = LearningPeriod::in_directory(state);
            let learning = learning_periods::lines(&learning, show_ring);
            written.and_then(|()| learning.iter().try_for_each(|line| writeln!(out, "{line}")))
        }
    };
    let written = written.and_then(|()| out.flush());
    written.map_err(|error| Error::write("standard output", error))
}

/// Two networks can have one name then.
fn has_several_rings<'a>(networks: impl Iterator<Item = &'a str>) -> bool {
    let rings: BTreeSet<_> = networks.map(|network| split_network(network).1).collect();
    rings.len() > 1
}

/// Those of the database, then those that only the configuration names, and last those that were reported: a flood makes many.
fn entries<'a>(rows: &'a [InfrastructureRow], rules: &Rules) -> Vec<Entry<'a>> {
    let (rows, macs) = with_macs(rows);
    let entry = |row: &&'a InfrastructureRow| {
        let (network, part, key, Known { first, last, trust, .. }) = *row;
        let (macs, times) = (macs_of(row, &macs), Some([*first, *last]));
        Entry { network: Some(network), part: *part, key: key.clone(), macs, trust: *trust, times }
    };
    let mut entries: Vec<_> = rows.iter().map(entry).collect();
    let lists = [
        (Part::Router, &rules.routers),
        (Part::DhcpServer, &rules.dhcp_servers),
        (Part::Dns, &rules.dns_servers),
    ];
    for (part, list) in lists {
        let unseen = list
            .iter()
            .filter(|named| !rows.iter().any(|(_, of, key, _)| *of == part && is_of(named, key)));
        entries.extend(unseen.map(|named| {
            let (key, trust) = (shown(named), Trust::Named);
            Entry { network: None, part, key, macs: Vec::new(), trust, times: None }
        }));
    }
    entries.sort_by_key(|entry| entry.trust == Trust::Reported);
    entries
}

fn is_of(named: &NamedServer, key: &str) -> bool {
    match named {
        NamedServer::Addresses(block) => {
            key.parse::<IpAddr>().is_ok_and(|address| block.contains(&address))
        }
        NamedServer::Duid(duid) => key.strip_prefix("DUID ") == Some(duid),
    }
}

/// As the configuration has it.
fn shown(named: &NamedServer) -> String {
    match named {
        NamedServer::Addresses(block) if block.prefix_len() == block.max_prefix_len() => {
            block.addr().to_string()
        }
        NamedServer::Addresses(block) => block.to_string(),
        NamedServer::Duid(duid) => format!("DUID {duid}"),
    }
}

impl Entry<'_> {
    fn cells(
        &self,
        names: &Names,
        makers: &Makers,
        zone: &TimeZone,
        show_ring: bool,
    ) -> [String; COLUMNS.len()] {
        let network = self.network.map_or(String::new(), |network| place(network, show_ring));
        let mac = |(mac, of): &KnownMac| {
            let maker = makers.find(*mac).map(|(maker, _)| format!(" ({maker})"));
            // Such as one that took the address of a router.
            let is_other = *of != why(self.trust);
            let other = if is_other { format!(" {of}") } else { String::new() };
            format!("{}{}{other}", named(*mac, names).trim_start(), maker.unwrap_or_default())
        };
        let macs = self.macs.iter().map(mac).collect::<Vec<_>>().join(", ");
        let time = |seconds| zoned(seconds, zone).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let [since, last] = self.times.map_or([const { String::new() }; 2], |both| both.map(time));
        let (what, why) = (words(self.part).0.into(), why(self.trust).into());
        [network, what, self.key.clone(), macs, why, since, last].map(|cell: String| {
            let cell = plain(&cell);
            if cell.is_empty() { "-".into() } else { cell }
        })
    }

    fn json(&self, names: &Names) -> Value {
        let (host, ring, network) = self.network.map(split_network).unwrap_or_default();
        let macs = self
            .macs
            .iter()
            .map(|(mac, why)| json!({"mac": mac.to_string(), "why": why, "name": names.get(mac)}));
        let [first, last] = self.times.map_or([None, None], |both| both.map(Some));
        json!({
            "network": network, "what": words(self.part).0, "address": self.key,
            "macs": macs.collect::<Vec<_>>(), "why": why(self.trust),
            "first": first, "last": last, "host": host, "ring": ring,
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

/// Lets these interfaces learn again from the next start on, or all of them. Returns what to print.
pub fn relearn(state: &Path, interface: Option<&str>) -> Result<String, Error> {
    if !AlertStore::exists(state) {
        let shown = state.display();
        return Err(failed(format_args!("no database in {shown} (check --state-dir)")));
    }
    let mut store = AlertStore::open(state)?;
    let forgotten = store.memory.forget_infrastructure(interface).map_err(Fault::into_error)?;
    if let (Some(name), []) = (interface, &*forgotten) {
        let all = store.memory.forget_infrastructure(None).map_err(Fault::into_error)?;
        store.memory.roll_back();
        let all: Vec<_> = all.iter().map(|(interface, _)| place(interface, false)).collect();
        let known = if all.is_empty() { "none".into() } else { plain(&all.join(", ")) };
        return Err(failed(format_args!("interface {name} is not known (known: {known})")));
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
rogue. aw-alert known lists it: check that list.";

#[cfg(test)]
mod tests {
    use aw_detect::InfrastructureMemory;
    use shm_layout::MacAddr;

    use super::*;

    const ETH0: &str = "sensor/addrwatch/eth0";
    const ETH1: &str = "sensor/addrwatch/eth1";

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([0, 8, 0xe1, 0, 0, last])
    }

    /// A router, whose address another MAC took, and what else is known.
    fn store(directory: &Path) -> AlertStore {
        let mut store = AlertStore::open(directory).unwrap();
        let known = |trust, last| Known {
            first: 1_700_000_000,
            last: 1_700_003_600,
            trust,
            mac: Some(mac(last)),
            ..Known::default()
        };
        let answered = Known { number: 1, ..known(Trust::Reported, 0x66) };
        for (network, part, key, known) in [
            (ETH0, Part::Router, "fe80::1", known(Trust::Learned, 1)),
            (ETH0, Part::RouterMac, "fe80::1 00:08:e1:00:00:01", known(Trust::Learned, 1)),
            (ETH0, Part::RouterMac, "fe80::1 00:08:e1:00:00:66", known(Trust::Reported, 0x66)),
            ("sensor/addrwatch/eth0.7", Part::DhcpServer, "10.7.0.1", known(Trust::Named, 2)),
            (ETH1, Part::DhcpServer, "10.1.0.1", known(Trust::Harmless, 3)),
            // Another MAC answered first for one that is named; and one that was reported.
            (ETH1, Part::DhcpServer, "10.1.0.9", known(Trust::Named, 0x66)),
            (ETH1, Part::DhcpServerMac, "10.1.0.9 00:08:e1:00:00:04", known(Trust::Learned, 4)),
            (ETH1, Part::DhcpServerMac, "10.1.0.9 00:08:e1:00:00:66", answered),
            (ETH0, Part::DhcpServer, "10.0.0.66", known(Trust::Reported, 0x66)),
            (ETH0, Part::Redirect, "fe80::1 fe80::9", known(Trust::Reported, 9)),
            (ETH0, Part::Period, "", Known { number: 1, ..Known::default() }),
        ] {
            store.memory.store_known(network, part, key, &known).unwrap();
        }
        store.commit().unwrap();
        store
    }

    #[test]
    fn each_row() {
        let directory = tempfile::tempdir().unwrap();
        let _store = store(directory.path()); // it is read while it is in use
        let rows = AlertStore::infrastructure(directory.path()).unwrap().unwrap();
        let block = |text: &str| NamedServer::Addresses(text.parse().unwrap());
        let rules = Rules {
            routers: vec![block("fe80::/64"), block("192.0.2.254/32")],
            dhcp_servers: vec![block("10.7.0.0/24"), NamedServer::Duid("0001".into())],
            ..Rules::default()
        };
        let entries = entries(&rows, &rules);
        let names = Names::from([(mac(1), "gateway".to_owned())]);
        let makers = Makers::new(directory.path());
        let cells: Vec<_> =
            entries.iter().map(|one| one.cells(&names, &makers, &TimeZone::UTC, false)).collect();
        let mut table = Vec::new();
        write_table(&mut table, &cells).unwrap();
        let table = String::from_utf8(table).unwrap();
        let lines: Vec<_> = table.lines().collect();
        let times = "2023-11-14 22:13:20  2023-11-14 23:13:20";
        let gateway = "00:08:e1:00:00:01 [gateway], 00:08:e1:00:00:66 reported";
        let first: Vec<_> =
            lines[1].split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let since = &times[..19];
        assert_eq!(first[..6], ["eth0", "router", "fe80::1", gateway, "learned", since]);
        let column = lines[0].find("WHY").unwrap();
        let of = |line: &&str| {
            let (left, right) = line.split_at(column);
            let words: Vec<_> = left.split_whitespace().collect();
            (words.join(" "), right.to_owned())
        };
        let others: Vec<_> = lines[2..].iter().map(of).collect();
        let of = |left: &str, right: &str| (left.to_owned(), right.to_owned());
        assert_eq!(
            others,
            [
                of(
                    "eth0.7 DHCP server 10.7.0.1 00:08:e1:00:00:02",
                    &format!("named        {times}")
                ),
                of("eth1 DHCP server 10.1.0.1 00:08:e1:00:00:03", &format!("in a digest  {times}")),
                of(
                    "eth1 DHCP server 10.1.0.9 00:08:e1:00:00:66 answered, 00:08:e1:00:00:04 learned",
                    &format!("named        {times}")
                ),
                of("- router 192.0.2.254 -", "named        -                    -"),
                of("- DHCP server DUID 0001 -", "named        -                    -"),
                of(
                    "eth0 DHCP server 10.0.0.66 00:08:e1:00:00:66",
                    &format!("reported     {times}")
                ),
            ]
        );
        let json = entries[0].json(&names);
        assert_eq!((&json["network"], &json["ring"]), (&"eth0".into(), &"/addrwatch".into()));
        assert_eq!(
            json["macs"][1],
            json!({"mac": "00:08:e1:00:00:66", "why": "reported", "name": null})
        );
        assert_eq!(json["first"], 1_700_000_000);
    }

    /// With its VLANs; what is reported once for all stays.
    #[test]
    fn an_interface_learns_again() {
        let directory = tempfile::tempdir().unwrap();
        drop(store(directory.path()));
        let error = relearn(directory.path(), Some("eth7")).unwrap_err().to_string();
        assert_eq!(error, "interface eth7 is not known (known: eth0, eth1)");
        let text = relearn(directory.path(), Some("addrwatch/eth0")).unwrap();
        assert!(
            text.starts_with("eth0: 3 routers and servers forgotten\nFrom the next start "),
            "{text}"
        );
        let mut store = AlertStore::open(directory.path()).unwrap();
        let keys =
            |store: &mut AlertStore, network: &str, part| store.memory.keys(network, part).unwrap();
        for part in [Part::Router, Part::RouterMac, Part::Period] {
            assert_eq!(keys(&mut store, ETH0, part), [""; 0]);
        }
        assert_eq!(keys(&mut store, ETH0, Part::Redirect).len(), 1);
        assert_eq!(keys(&mut store, ETH1, Part::DhcpServer), ["10.1.0.1", "10.1.0.9"]);
        drop(store);
        let text = relearn(directory.path(), None).unwrap();
        assert!(text.contains("eth1: 2 routers and servers forgotten\n"), "{text}");
    }
}
