//! The checkpoint of an output with a SQLite database, read from that database.

use crate::ring::Ring;
use rusqlite::Connection;

/// The checkpoint of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The first event that it counts.
    pub began: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Events lost.
    pub lost: u64,
}

impl Checkpoint {
    /// Returns none if there is no checkpoint yet.
    pub fn of(ring: &Ring, database: &Connection) -> Option<Self> {
        let select = "SELECT began, delivered, lost FROM account WHERE ring = ?";
        let number = |value: i64| value as u64;
        database
            .query_row(select, [ring.name()], |row| {
                let (began, delivered) = (number(row.get(0)?), number(row.get(1)?));
                Ok(Checkpoint { began, delivered, lost: number(row.get(2)?) })
            })
            .ok()
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.began + self.delivered + self.lost
    }
}
