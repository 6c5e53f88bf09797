//! The networks of the places in a SQLite database. Each place is read when it is needed: a host that forges VLANs makes any
//! number of them.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    clocks::Clocks,
    history_reader::{Network, NetworkIndex},
};

/// The places that were needed so far.
pub struct Places {
    networks: NetworkIndex,
    /// None: there is no such place.
    known: HashMap<i64, Option<usize>>,
    /// By host and interface: the ring to which rows without a ring belong; None if there are no such rows.
    ringless: HashMap<[String; 2], Option<String>>,
    clocks: Clocks,
}

impl Default for Places {
    fn default() -> Places {
        let (networks, known, ringless) = (NetworkIndex::default(), HashMap::new(), HashMap::new());
        Places { networks, known, ringless, clocks: Clocks::new(HashSet::new()) }
    }
}

impl Places {
    pub fn networks(&self) -> &[Network] {
        self.networks.all()
    }

    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// The network of a place.
    pub fn network_of(
        &mut self,
        database: &Connection,
        place: i64,
    ) -> rusqlite::Result<Option<usize>> {
        if let Some(known) = self.known.get(&place) {
            return Ok(*known);
        }
        let select =
            "SELECT host, ring, interface, vlan, outer_vlan, router FROM place WHERE id = ?";
        let stored = database.prepare_cached(select)?.query_row([place], network).optional()?;
        let index = match stored {
            None => None,
            Some(mut network) => {
                let ringless = self.ring_of_ringless(database, &network)?;
                if network.ring.is_empty() {
                    network.ring = ringless.clone().unwrap_or_default();
                }
                let is_ringless = ringless.as_ref() == Some(&network.ring);
                let index = self.networks.id(network);
                if is_ringless {
                    self.clocks.add_ringless(index);
                }
                Some(index)
            }
        };
        self.known.insert(place, index);
        Ok(index)
    }

    /// Places without a ring have rows that addrwatch wrote. They belong to the network of the ring that has the
    /// interface now, if there is only one.
    fn ring_of_ringless(
        &mut self,
        database: &Connection,
        Network { host, interface, .. }: &Network,
    ) -> rusqlite::Result<Option<String>> {
        let key = [host.clone(), interface.clone()];
        if let Some(known) = self.ringless.get(&key) {
            return Ok(known.clone());
        }
        let has_interface =
            "SELECT EXISTS (SELECT 1 FROM place WHERE host = ? AND ring = ? AND interface = ?)";
        let has_interface = |ring: &str| -> rusqlite::Result<bool> {
            let row = [host.as_str(), ring, interface.as_str()];
            database.prepare_cached(has_interface)?.query_row(row, |row| row.get(0))
        };
        let mut found = None;
        if has_interface("")? {
            let next = "SELECT min(ring) FROM place WHERE host = ? AND ring > ?";
            let (mut rings, mut ring) = (Vec::new(), String::new());
            while rings.len() < 2
                && let Some(next) = database
                    .prepare_cached(next)?
                    .query_row([host, &ring], |row| row.get::<_, Option<String>>(0))?
            {
                ring = next;
                rings.extend(has_interface(&ring)?.then(|| ring.clone()));
            }
            found = Some(if rings.len() == 1 { rings.remove(0) } else { String::new() });
        }
        self.ringless.insert(key, found.clone());
        Ok(found)
    }

    /// Whether the interface of a network has a sighting of a clock that was set. With the sources of new
    /// sightings and of spans.
    pub fn is_clock_set(
        &mut self,
        database: &Connection,
        network: usize,
        (recent, spans): (&str, &str),
    ) -> rusqlite::Result<bool> {
        let set = self.clocks.set_at(network).as_nanos();
        let Some((network, other)) = self.rings_of(database, network)? else { return Ok(false) };
        let Network { host, ring, interface, .. } = network;
        let of_interface = "JOIN pairing ON pairing.place = place.id
            WHERE host = ?1 AND ring IN (?2, ?3) AND interface = ?4";
        let select = format!(
            "SELECT EXISTS (SELECT 1 FROM place {of_interface} AND EXISTS (
                SELECT 1 FROM sighting WHERE sighting.pairing = pairing.id AND time >= ?5))
            OR EXISTS (SELECT 1 FROM {recent} WHERE time >= ?5 AND pairing IN (
                SELECT pairing.id FROM place {of_interface}))
            OR EXISTS (SELECT 1 FROM {spans} WHERE last >= ?5 AND pairing IN (
                SELECT pairing.id FROM place {of_interface}))"
        );
        let row = rusqlite::params![host, ring, other, interface, set];
        database.prepare_cached(&select)?.query_row(row, |row| row.get(0))
    }

    /// A network, and the ring of its other places: none, if rows without a ring belong to it, or its own.
    pub fn rings_of(
        &mut self,
        database: &Connection,
        network: usize,
    ) -> rusqlite::Result<Option<(Network, String)>> {
        let Some(network) = self.networks.all().get(network).cloned() else { return Ok(None) };
        let ringless = self.ring_of_ringless(database, &network)?;
        let is_ringless = ringless.as_ref() == Some(&network.ring);
        let other = if is_ringless { String::new() } else { network.ring.clone() };
        Ok(Some((network, other)))
    }
}

fn network(row: &Row) -> rusqlite::Result<Network> {
    Ok(Network {
        host: row.get(0)?,
        ring: row.get(1)?,
        interface: row.get(2)?,
        vlan: row.get(3)?,
        outer_vlan: row.get(4)?,
        router: row.get(5)?,
    })
}
