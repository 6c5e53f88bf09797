//! How an output stands with a ring, as it has it in a SQLite database of its own.

use crate::ring::Ring;
use rusqlite::Connection;

/// What the output says of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The first event of the account.
    pub began: u64,
    /// Events delivered.
    pub delivered: u64,
    /// Events lost.
    pub lost: u64,
}

impl Account {
    /// Nothing if there is no account yet.
    pub fn of(ring: &Ring, database: &Connection) -> Option<Self> {
        let select = "SELECT began, delivered, lost FROM account WHERE ring = ?";
        let number = |value: i64| value as u64;
        database
            .query_row(select, [ring.name()], |row| {
                let (began, delivered) = (number(row.get(0)?), number(row.get(1)?));
                Ok(Account { began, delivered, lost: number(row.get(2)?) })
            })
            .ok()
    }

    /// The number of the next event.
    pub fn next(&self) -> u64 {
        self.began + self.delivered + self.lost
    }
}
