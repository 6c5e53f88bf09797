//! Values and rows as SQL text.

use std::{fmt::Write, net::IpAddr};

use shm_layout::UnixTime;

use crate::connection::{Conn, Error};

/// What a TIMESTAMP can hold in every server, in seconds.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = 1..=i32::MAX as i64;

/// Rows of a statement, if the server accepts packets of that size.
const ROWS_PER_STATEMENT: usize = 1000;

/// Rows for a table as SQL text, each with a comma before it, and where each of them ends.
#[derive(Default)]
pub struct RowBatch {
    text: String,
    ends: Vec<usize>,
}

impl RowBatch {
    pub fn add(&mut self, row: std::fmt::Arguments) {
        let _ = self.text.write_fmt(row); // a String accepts every write
        self.ends.push(self.text.len());
    }

    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Whether the rows are longer than a statement.
    pub fn is_long(&self, longest: usize) -> bool {
        self.text.len() > longest
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Sends the rows after `insert` and before `end`, in statements of at most `longest` bytes.
    pub fn send(
        &self,
        to: &mut Conn,
        longest: usize,
        [insert, end]: [&str; 2],
    ) -> Result<(), Error> {
        let (mut from, mut ends) = (0, self.ends.as_slice());
        while !ends.is_empty() {
            let room = (from + longest).saturating_sub(insert.len() + end.len());
            let rows = ends.iter().take(ROWS_PER_STATEMENT).take_while(|end| **end <= room);
            let rows = rows.count().max(1);
            let last = ends[rows - 1];
            to.query_drop([insert, &self.text[from + 1..last], end].concat())?;
            (from, ends) = (last, &ends[rows..]);
        }
        Ok(())
    }
}

/// A text as an SQL literal.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A time as the tables have it, in seconds since 1970.
pub fn timestamp(time: UnixTime) -> i64 {
    time.seconds().clamp(*TIMESTAMPS.start(), *TIMESTAMPS.end())
}

/// The bytes of an address as an SQL literal.
pub fn hex_ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("0x{:08x}", u32::from(ip)),
        IpAddr::V6(ip) => format!("0x{:032x}", u128::from(ip)),
    }
}
