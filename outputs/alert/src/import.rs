//! What other programs knew: arpwatch's arp.dat and ethercodes.dat, the SQLite databases of addrwatch and hostwatch, the
//! names of macupd_tracker.conf. Which it is, is seen from a file itself.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use aw_output::{Error, Fault};
use rusqlite::{Connection, OpenFlags, Row};
use shm_layout::MacAddr;

use crate::{
    arpdat,
    device::Device,
    station::{Claim, MAX_CLAIMS},
    store::Store,
    watch::Memory,
};

/// What begins every SQLite database (its file format, 1.3).
const SQLITE: &[u8] = b"SQLite format 3\0";

/// Someone who had an address, as another program has it.
struct Sighting {
    network: String,
    ip: IpAddr,
    claim: Claim,
    first: i64,
}

/// What a file holds, and how many of its lines or rows say nothing, with the first of them.
#[derive(Default)]
struct Found {
    sightings: Vec<Sighting>,
    names: Vec<(MacAddr, String)>,
    vendors: Vec<([u8; 3], String)>,
    bad: Vec<usize>,
}

/// Learns what files tell; of each file all or nothing.
pub fn import(state: &Path, network: Option<&str>, files: &[PathBuf]) -> Result<(), Error> {
    let mut store = Store::open(state, "aw-alert").map_err(Fault::into_error)?;
    for path in files {
        let shown = path.display();
        let found =
            read(path, network).map_err(|why| Error::new(format_args!("import {shown}"), why))?;
        let Found { sightings, names, vendors, bad } = &found;
        let mut learn = || {
            take(&mut store, sightings)?;
            names.iter().try_for_each(|(mac, name)| store.keep_name(*mac, name))?;
            vendors.iter().try_for_each(|(block, name)| store.keep_vendor(*block, name))?;
            store.write_down()?;
            store.commit()
        };
        learn().map_err(Fault::into_error)?;
        for (number, what) in
            [(sightings.len(), "pairings"), (names.len(), "names"), (vendors.len(), "makers")]
        {
            if number > 0 || what == "pairings" && names.len() + vendors.len() == 0 {
                println!("{shown}: {number} {what} learned");
            }
        }
        if !bad.is_empty() {
            let numbers: Vec<_> = bad.iter().take(10).map(usize::to_string).collect();
            let (bad, numbers) = (bad.len(), numbers.join(", "));
            eprintln!("aw-alert: {shown}: {bad} lines say nothing: {numbers}");
        }
    }
    Ok(())
}

/// Of one file, a pairing's later line counts, as arpwatch loads it; what is known already, only if it is newer.
fn take(store: &mut Store, sightings: &[Sighting]) -> aw_output::Result {
    let mut stations: BTreeMap<(&str, IpAddr), Vec<Claim>> = BTreeMap::new();
    for Sighting { network, ip, claim, first } in sightings {
        arpdat::merge(stations.entry((network, *ip)).or_default(), *claim);
        let device = store.device(claim.mac)?;
        let mut device = device.unwrap_or_else(|| Device::new(claim.time));
        device.first = device.first.min(*first);
        device.hear(claim.time, 0);
        store.keep_device(claim.mac, &device)?;
    }
    for ((network, ip), claims) in stations {
        let mut station = store.station(network, ip)?;
        for claim in claims {
            let newer = |known: &Claim| known.mac == claim.mac && known.time >= claim.time;
            if !station.claims.iter().any(newer) {
                arpdat::merge(&mut station.claims, claim);
            }
        }
        station.claims.truncate(MAX_CLAIMS);
        store.keep_station(network, ip, &station)?;
    }
    Ok(())
}

fn read(path: &Path, network: Option<&str>) -> Result<Found, String> {
    let mut file = open(path).map_err(|error| shm_layout::cause(&error).to_string())?;
    let mut bytes = Vec::new();
    let mut begin = |limit| file.by_ref().take(limit).read_to_end(&mut bytes);
    begin(SQLITE.len() as u64).map_err(|error| error.to_string())?;
    if bytes == SQLITE {
        return database(path).map_err(|error| error.to_string());
    }
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    text(&String::from_utf8_lossy(&bytes), network)
}

/// arpwatch renames the old one before the new one has its name: between the two there is none.
fn open(path: &Path) -> std::io::Result<File> {
    let mut old = path.as_os_str().to_owned();
    old.push("-");
    File::open(path).or_else(|error| File::open(&old).map_err(|_| error))
}

fn text(text: &str, network: Option<&str>) -> Result<Found, String> {
    let lines = || text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let begins = |line: &str, by| line.split_once(by).map(|(first, _)| first.to_owned());
    if lines().any(|line| {
        begins(line, '|').is_some_and(|first| first.trim().parse::<MacAddr>().ok().is_some())
    }) {
        return Ok(names(text));
    }
    if lines().next().is_some_and(|line| begins(line, '\t').and_then(|oui| block(&oui)).is_some()) {
        return Ok(makers(text));
    }
    let (lines, bad) = arpdat::read(text);
    let sighting = |line: arpdat::Line| {
        // What arpwatch read from a file has no interface.
        let interface = line.interface.filter(|name| !name.contains(' '));
        let network = interface
            .or(network.map(str::to_owned))
            .ok_or("lines name no interface: say --network")?;
        Ok(Sighting { network, ip: line.ip.into(), claim: line.claim, first: line.claim.time })
    };
    Ok(Found {
        sightings: lines.into_iter().map(sighting).collect::<Result<_, String>>()?,
        bad,
        ..Found::default()
    })
}

/// `MAC|name` of macupd_tracker.conf; its settings are other programs'.
fn names(text: &str) -> Found {
    let mut found = Found::default();
    for (number, line) in text.lines().enumerate() {
        let Some((mac, name)) = line.split_once('|').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        match mac.trim().parse::<MacAddr>().ok() {
            Some(mac) if !name.trim().is_empty() => found.names.push((mac, name.trim().into())),
            _ => found.bad.push(number + 1),
        }
    }
    found
}

/// `oui TAB maker` of ethercodes.dat. The first of two counts.
fn makers(text: &str) -> Found {
    let mut found = Found::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        match line.split_once('\t').map(|(oui, maker)| (block(oui), maker)) {
            Some((Some(oui), maker)) => {
                let words: Vec<_> = maker.split_whitespace().collect();
                found.vendors.push((oui, words.join(" ")));
            }
            _ => found.bad.push(number + 1),
        }
    }
    found
}

fn block(text: &str) -> Option<[u8; 3]> {
    let [a, b, c, ..] = format!("{}:0:0:0", text.trim()).parse::<MacAddr>().ok()?.octets();
    Some([a, b, c])
}

/// addrwatch's table, which aw-sqlite's databases have as a view; or hostwatch's.
fn database(path: &Path) -> rusqlite::Result<Found> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)";
    let is_there = |name: &str| database.query_row(is_there, [name], |row| row.get::<_, bool>(0));
    let select = if is_there("hosts")? {
        // In UTC. Of ARP, what the message says and who sent the frame: the pairing is the former. The
        // one that had the address before comes first: the newer of two is the current one.
        "SELECT interface_name, 0, prev_ether_address, ip_address, strftime('%s', prev_last_seen), NULL
            FROM hosts WHERE prev_ether_address <> '' AND prev_last_seen IS NOT NULL
         UNION ALL SELECT interface_name, 0, coalesce(nullif(real_ether_address, ''), ether_address),
            ip_address, strftime('%s', last_seen), strftime('%s', first_seen) FROM hosts"
    } else {
        "SELECT interface, vlan_tag, mac_address, ip_address, max(timestamp), min(timestamp)
            FROM addrwatch GROUP BY 1, 2, 3, 4"
    };
    let mut found = Found::default();
    let mut rows = database.prepare(select)?;
    let mut rows = rows.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        match sighting(row)? {
            Some(sighting) => found.sightings.push(sighting),
            None => found.bad.push(number),
        }
    }
    Ok(found)
}

fn sighting(row: &Row) -> rusqlite::Result<Option<Sighting>> {
    let text = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    // Whatever type a column was given: SQLite does not mind.
    let number = |column| {
        let value = row.get_ref(column)?;
        let text = value.as_str().ok().and_then(|text| text.parse().ok());
        Ok::<_, rusqlite::Error>(value.as_i64().ok().or(text))
    };
    let (interface, mac, ip) = (text(0)?, text(2)?, text(3)?);
    let (Some(mac), Ok(ip), Some(time)) =
        (mac.parse::<MacAddr>().ok(), ip.parse::<IpAddr>(), number(4)?)
    else {
        return Ok(None);
    };
    let network = match number(1)?.unwrap_or(0) {
        0 => interface,
        vlan => format!("{interface}.{vlan}"),
    };
    let none = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let first = number(5)?.unwrap_or(time);
    let sighting = Sighting { network, ip, claim: Claim { mac, time }, first };
    Ok(Some(sighting).filter(|sighting| !sighting.network.is_empty() && !none.contains(&ip)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_text_it_is() {
        let conf = "##\n[MAIN]\nPORT=2056 # Port\nLOGDIR=/x|y\n[MACLIST]\n11:11:11:11:11:11|my router\n#1:1:1:1:1:1|no\n1:2|bad\n";
        let found = text(conf, None).unwrap();
        assert_eq!(found.names, [(MacAddr::new([0x11; 6]), "my router".to_owned())]);
        assert_eq!((found.bad, found.sightings.len()), (vec![4, 8], 0));
        let codes = "# comment\n0:0:10\tHUGHES  LAN\tSYSTEMS \n00:00:1F\tTelco\nbad line\n";
        let found = text(codes, None).unwrap();
        let expected =
            [([0, 0, 0x10], "HUGHES LAN SYSTEMS".into()), ([0, 0, 0x1f], "Telco".into())];
        assert_eq!((found.vendors.as_slice(), found.bad), (expected.as_slice(), vec![4]));
        let dat = "0:8:e1:1:2:d6\t10.0.0.1\t1700000000\n";
        assert!(text(dat, None).err().unwrap().contains("--network"));
        assert_eq!(text(dat, Some("eth0")).unwrap().sightings[0].network, "eth0");
        assert_eq!(text("", None).unwrap().sightings.len(), 0);
    }
}
