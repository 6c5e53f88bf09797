//! The command `import`: reads arpwatch's arp.dat and ethercodes.dat, SQLite databases of addrwatch and hostwatch, and the
//! names of macupd_tracker.conf. The format is recognized by the content.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use aw_detect::{Device, MAX_CLAIMS, MacClaim, Memory};
use aw_output::{Error, Fault};
use rusqlite::{Connection, OpenFlags, Row};
use shm_layout::MacAddr;

use crate::{
    arpdat::{self, ArpDatLine},
    store::AlertStore,
};

/// The first bytes of every SQLite database (its file format, 1.3).
const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// A pairing as another program has stored it.
struct StoredPairing {
    network: String,
    ip: IpAddr,
    claim: MacClaim,
    first: i64,
}

/// The content of a file; `bad` has the numbers of lines or rows that cannot be read.
#[derive(Default)]
struct ImportedFile {
    pairings: Vec<StoredPairing>,
    names: Vec<(MacAddr, String)>,
    vendors: Vec<([u8; 3], String)>,
    bad: Vec<usize>,
}

/// Imports files; each of them completely or not at all.
pub fn import(state: &Path, network: Option<&str>, files: &[PathBuf]) -> Result<(), Error> {
    let mut store = AlertStore::open(state)?;
    for path in files {
        let shown = path.display();
        let file =
            read(path, network).map_err(|why| Error::new(format_args!("import {shown}"), why))?;
        let ImportedFile { pairings, names, vendors, bad } = &file;
        let mut store_all = || {
            store_pairings(&mut store, pairings)?;
            names.iter().try_for_each(|(mac, name)| store.store_name(*mac, name))?;
            vendors.iter().try_for_each(|(oui, name)| store.store_vendor(*oui, name))?;
            store.memory.write_times()?;
            store.commit()
        };
        store_all().map_err(Fault::into_error)?;
        for (number, what) in
            [(pairings.len(), "pairings"), (names.len(), "names"), (vendors.len(), "vendors")]
        {
            if number > 0 || what == "pairings" && names.len() + vendors.len() == 0 {
                println!("{shown}: {number} {what} imported");
            }
        }
        if !bad.is_empty() {
            let numbers: Vec<_> = bad.iter().take(10).map(usize::to_string).collect();
            let (bad, numbers) = (bad.len(), numbers.join(", "));
            eprintln!("aw-alert: {shown}: {bad} lines skipped, they cannot be read: {numbers}");
        }
    }
    Ok(())
}

/// Stores pairings. Within a file, a later line of a pairing replaces an earlier one, as in arpwatch; in the database, a
/// newer one replaces an older one.
fn store_pairings(store: &mut AlertStore, pairings: &[StoredPairing]) -> aw_output::SinkResult {
    let memory = &mut store.memory;
    let mut stations: BTreeMap<(&str, IpAddr), Vec<MacClaim>> = BTreeMap::new();
    for StoredPairing { network, ip, claim, first } in pairings {
        arpdat::merge(stations.entry((network, *ip)).or_default(), *claim);
        let device = memory.device(claim.mac)?;
        let mut device = device.unwrap_or_else(|| Device::new(claim.time));
        device.first = device.first.min(*first);
        device.seen(claim.time, 0);
        memory.store_device(claim.mac, &device)?;
    }
    for ((network, ip), claims) in stations {
        let mut station = memory.station(network, ip)?;
        for claim in claims {
            let newer = |known: &MacClaim| known.mac == claim.mac && known.time >= claim.time;
            if !station.claims.iter().any(newer) {
                arpdat::merge(&mut station.claims, claim);
            }
        }
        station.claims.truncate(MAX_CLAIMS);
        memory.store_station(network, ip, &station)?;
    }
    Ok(())
}

fn read(path: &Path, network: Option<&str>) -> Result<ImportedFile, String> {
    let mut file = open(path).map_err(|error| aw_service::cause(&error))?;
    let mut bytes = Vec::new();
    let mut begin = |limit| file.by_ref().take(limit).read_to_end(&mut bytes);
    begin(SQLITE_MAGIC.len() as u64).map_err(|error| error.to_string())?;
    if bytes == SQLITE_MAGIC {
        return database(path).map_err(|error| error.to_string());
    }
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    text(&String::from_utf8_lossy(&bytes), network)
}

/// arpwatch renames the old file before it renames the new one: in between, only `FILE-` exists.
fn open(path: &Path) -> std::io::Result<File> {
    let mut old = path.as_os_str().to_owned();
    old.push("-");
    File::open(path).or_else(|error| File::open(&old).map_err(|_| error))
}

fn text(text: &str, network: Option<&str>) -> Result<ImportedFile, String> {
    let lines = || text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let begins = |line: &str, by| line.split_once(by).map(|(first, _)| first.to_owned());
    let is_mac = |first: String| first.trim().parse::<MacAddr>().is_ok();
    if lines().any(|line| begins(line, '|').is_some_and(is_mac)) {
        return Ok(names(text));
    }
    if lines().next().is_some_and(|line| begins(line, '\t').and_then(|text| oui(&text)).is_some()) {
        return Ok(vendors(text));
    }
    let (lines, bad) = arpdat::read(text);
    let pairing = |line: ArpDatLine| {
        // arpwatch writes "(from file)" where it knows no interface.
        let interface = line.interface.filter(|name| !name.contains(' '));
        let network = interface
            .or(network.map(str::to_owned))
            .ok_or("lines without an interface (set --network)")?;
        let ArpDatLine { ip, claim, .. } = line;
        Ok(StoredPairing { network, ip: ip.into(), claim, first: claim.time })
    };
    Ok(ImportedFile {
        pairings: lines.into_iter().map(pairing).collect::<Result<_, String>>()?,
        bad,
        ..ImportedFile::default()
    })
}

/// `MAC|name` lines of macupd_tracker.conf; its settings are ignored.
fn names(text: &str) -> ImportedFile {
    let mut file = ImportedFile::default();
    for (number, line) in text.lines().enumerate() {
        let Some((mac, name)) = line.split_once('|').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        match mac.trim().parse::<MacAddr>().ok() {
            Some(mac) if !name.trim().is_empty() => file.names.push((mac, name.trim().into())),
            _ => file.bad.push(number + 1),
        }
    }
    file
}

/// `oui TAB vendor` lines of ethercodes.dat.
fn vendors(text: &str) -> ImportedFile {
    let mut file = ImportedFile::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        match line.split_once('\t').map(|(text, vendor)| (oui(text), vendor)) {
            Some((Some(oui), vendor)) => {
                let words: Vec<_> = vendor.split_whitespace().collect();
                file.vendors.push((oui, words.join(" ")));
            }
            _ => file.bad.push(number + 1),
        }
    }
    file
}

fn oui(text: &str) -> Option<[u8; 3]> {
    let rest = if text.contains('-') { "-0-0-0" } else { ":0:0:0" };
    let [a, b, c, ..] = (text.trim().to_owned() + rest).parse::<MacAddr>().ok()?.octets();
    Some([a, b, c])
}

/// Reads addrwatch's table, which databases of aw-sqlite have as a view, or hostwatch's.
fn database(path: &Path) -> rusqlite::Result<ImportedFile> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let is_there = "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = ?)";
    let is_there = |name: &str| database.query_row(is_there, [name], |row| row.get::<_, bool>(0));
    let select = if is_there("hosts")? {
        // Times are in UTC. hostwatch stores the MAC of the frame and that of the ARP message: the pairing has the
        // latter. The previous pairing comes first, so that the newer one is the current one.
        "SELECT interface_name, 0, prev_ether_address, ip_address, strftime('%s', prev_last_seen), NULL
            FROM hosts WHERE prev_ether_address <> '' AND prev_last_seen IS NOT NULL
         UNION ALL SELECT interface_name, 0, coalesce(nullif(real_ether_address, ''), ether_address),
            ip_address, strftime('%s', last_seen), strftime('%s', first_seen) FROM hosts"
    } else {
        "SELECT interface, vlan_tag, mac_address, ip_address, max(timestamp), min(timestamp)
            FROM addrwatch GROUP BY 1, 2, 3, 4"
    };
    let mut file = ImportedFile::default();
    let mut rows = database.prepare(select)?;
    let mut rows = rows.query([])?;
    let mut number = 0;
    while let Some(row) = rows.next()? {
        number += 1;
        match pairing(row)? {
            Some(pairing) => file.pairings.push(pairing),
            None => file.bad.push(number),
        }
    }
    Ok(file)
}

fn pairing(row: &Row) -> rusqlite::Result<Option<StoredPairing>> {
    let text = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
    // SQLite does not enforce the type of a column.
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
    let is_complete = !network.is_empty() && !none.contains(&ip);
    let claim = MacClaim { mac, time };
    Ok(is_complete.then_some(StoredPairing { network, ip, claim, first }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_formats_are_recognized() {
        let conf = "##\n[MAIN]\nPORT=2056 # Port\nLOGDIR=/x|y\n[MACLIST]\n11:11:11:11:11:11|my router\n#1:1:1:1:1:1|no\n1:2|bad\n";
        let found = text(conf, None).unwrap();
        assert_eq!(found.names, [(MacAddr::new([0x11; 6]), "my router".to_owned())]);
        assert_eq!((found.bad, found.pairings.len()), (vec![4, 8], 0));
        let codes = "# comment\n0:0:10\tHUGHES  LAN\tSYSTEMS \n00-00-1F\tTelco\nbad line\n";
        let found = text(codes, None).unwrap();
        let expected =
            [([0, 0, 0x10], "HUGHES LAN SYSTEMS".into()), ([0, 0, 0x1f], "Telco".into())];
        assert_eq!((found.vendors.as_slice(), found.bad), (expected.as_slice(), vec![4]));
        let dat = "0:8:e1:1:2:d6\t10.0.0.1\t1700000000\n";
        assert!(text(dat, None).err().unwrap().contains("--network"));
        assert_eq!(text(dat, Some("eth0")).unwrap().pairings[0].network, "eth0");
        assert_eq!(text("", None).unwrap().pairings.len(), 0);
    }
}
