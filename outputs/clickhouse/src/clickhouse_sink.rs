//! The sink: the rows of a batch, sent as one insert for each table. The run loop keeps the batch until it is confirmed, and sends it
//! again with the same bytes.

use aw_output::{Entry, Fault, Sink, SinkResult};
use sha2::{Digest, Sha256};
use shm_layout::{ConfigChange, Kind};

use crate::{
    cluster::Cluster,
    pairing_days::PairingDays,
    row_binary::RowBinary,
    schema::{CHANGE_COLUMNS, DAY_COLUMNS, LOG_COLUMNS},
};

/// The origin of a router's report, as in all histories.
const MACUPD: u8 = 6;

/// Stores events in the tables of a cluster.
pub struct ClickhouseSink {
    cluster: Cluster,
    /// The host name in rows, if it is not the collector's.
    host: Option<String>,
    rows: RowBinary,
    days: PairingDays,
    changes: RowBinary,
}

impl ClickhouseSink {
    /// Rows have this host name, or that of their collector.
    pub fn new(cluster: Cluster, host: Option<String>) -> ClickhouseSink {
        let (rows, days, changes) = Default::default();
        ClickhouseSink { cluster, host, rows, days, changes }
    }

    fn send(&mut self) -> Result<(), String> {
        // The days come first: so an event of `log` is never without its day, and what is refused there leaves no copies in `log`.
        let tables = [
            ("pairing_day", DAY_COLUMNS, &self.days.take()),
            ("log", LOG_COLUMNS, &self.rows),
            ("config_change", CHANGE_COLUMNS, &self.changes),
        ];
        for (table, columns, rows) in tables {
            if !rows.is_empty() {
                self.cluster.insert(table, columns, rows.bytes(), &token(rows.bytes()))?;
            }
        }
        Ok(())
    }
}

/// The same for the same rows, and different for others: each row has its sequence.
fn token(rows: &[u8]) -> String {
    Sha256::digest(rows).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Sink for ClickhouseSink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let event = &entry.event;
        let is_change = matches!(event.kind, Kind::ConfigChange(_));
        let rows = if is_change { &mut self.changes } else { &mut self.rows };
        let host = self.host.as_deref().unwrap_or(entry.host);
        rows.int64(event.time.as_nanos())
            .string(host)
            .string(entry.ring.as_str())
            .uint64(entry.position.generation)
            .uint64(entry.position.sequence)
            .string(event.interface.as_str());
        let origin = match event.kind {
            Kind::Pairing(origin) => origin as u8,
            Kind::MacUpd => MACUPD,
            Kind::ConfigChange(ConfigChange { user, added, removed }) => {
                rows.uint32(event.router.into()).string(user.as_str());
                rows.uint32(added).uint32(removed);
                return Ok(());
            }
        };
        let source = if event.source == event.mac { 0 } else { event.source.number() };
        rows.uint16(event.vlan.get())
            .uint16(event.outer_vlan.get())
            .uint32(event.router.into())
            .uint64(event.mac.number())
            .uint64(source)
            .address(event.address)
            .uint8(origin);
        let mut pairing = RowBinary::default();
        pairing
            .address(event.address)
            .uint64(event.mac.number())
            .uint64(source)
            .string(host)
            .string(entry.ring.as_str())
            .string(event.interface.as_str())
            .uint16(event.vlan.get())
            .uint16(event.outer_vlan.get())
            .uint32(event.router.into())
            .uint8(origin);
        self.days.add(pairing, event.time);
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        let sent = self.send(); // which takes the days
        self.rows.clear();
        self.changes.clear();
        sent.map_err(Fault::Down)
    }
}
