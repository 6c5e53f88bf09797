//! Adds names that were exported to the tables.

use std::collections::HashMap;

use aw_output::{ClaimedName, HistoryName, NAMES_OF_ALL, NameUse};
use shm_layout::{MacAddr, UnixTime};

use crate::{
    connection::Error,
    name_batch::{NameBatch, Reading, name_key, number, of_sensor, sensor_values, text},
    name_rows::NameKey,
    sql::quoted,
};

/// Devices of one question.
const DEVICES: usize = 30;
/// Rows of one question: of a device, those of many rings of a host.
const ROWS: usize = DEVICES * 1000;

/// A row that the table has, or will have.
struct Known {
    ring: String,
    key: NameKey,
    used: NameUse,
}

/// Adds names of a sensor, all of them of one host and ring. Where one is known, only its times and its number may change; an export of a
/// server has no ring, and then any ring of the host may know it. They make no room. Returns how many rows are added.
pub fn import_names(
    (host, ring): (&str, &str),
    names: &[&HistoryName],
    reading: &mut Reading,
    batch: &mut NameBatch,
) -> Result<u64, Error> {
    let mut macs: Vec<MacAddr> = names.iter().map(|name| name.mac).collect();
    macs.sort_unstable();
    macs.dedup();
    let (table, own) = (&reading.tables.claimed_name, of_sensor(host, ring));
    let condition =
        if ring.is_empty() { format!("hostname = {}", quoted(host)) } else { own.clone() };
    let mut known: HashMap<MacAddr, Vec<Known>> = HashMap::new();
    for macs in macs.chunks(DEVICES) {
        let list: Vec<_> = macs.iter().map(|mac| format!("0x{:012x}", mac.number())).collect();
        let select = format!(
            "SELECT mac_address, interface, vlan_tag, source, name, unix_timestamp(first_seen), unix_timestamp(last_seen), uses, ring
            FROM {table} WHERE {condition} AND mac_address IN ({}) LIMIT {ROWS}",
            list.join(",")
        );
        for row in reading.rows(&select)? {
            let [first, last, count] = [5, 6, 7].map(|column| number(&row, column));
            let (Some((mac, key)), Some(first), Some(last), Some(count)) =
                (name_key(&row), first, last, count)
            else {
                continue;
            };
            let [first, last] = [first, last].map(|seconds| UnixTime::new(seconds, 0));
            let used = NameUse { first, last, count };
            known.entry(mac).or_default().push(Known { ring: text(&row, 8), key, used });
        }
    }
    let before = reading.count(table, &own)?;
    let mut added = 0;
    for HistoryName { place, mac, claimed, uses } in names {
        let ClaimedName { source, name, first, last } = claimed;
        let (interface, vlan) = (place.interface.clone(), place.vlan);
        let key = NameKey { interface, vlan, source: *source, name: name.clone() };
        let (of_device, count) = (known.entry(*mac).or_default(), *uses as i64);
        let is_alike = |one: &&Known| one.key.source.is_address() == source.is_address();
        let of_ring = of_device.iter().filter(|one| one.ring == ring).filter(is_alike).count();
        let at = of_device.iter().position(|one| one.key == key);
        let at = match at {
            Some(at) => {
                let used = &mut of_device[at].used;
                used.add(NameUse::new(*first, 0));
                used.add(NameUse::new(*last, 0));
                used.count = used.count.max(count); // it may be of the same messages
                at
            }
            None if of_ring >= source.most() || before + added >= NAMES_OF_ALL => continue,
            None => {
                let used = NameUse { first: *first, last: *last, count };
                of_device.push(Known { ring: ring.into(), key, used });
                added += 1;
                of_device.len() - 1
            }
        };
        let Known { ring, key, used } = &of_device[at];
        batch.add_name(&sensor_values(host, ring), *mac, key, used);
    }
    Ok(added as u64)
}
