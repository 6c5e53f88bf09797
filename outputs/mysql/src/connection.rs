//! A connection to a MySQL or MariaDB server: login and statements of the protocol, in text. It trusts no server with more
//! memory or time than the budget of an exchange: packets and columns are bounded, and rows are passed on as they arrive.

mod login;
mod packet;

use std::{io, ops::ControlFlow, time::Duration};

use aw_peer::{Budget, PeerStream};

pub use self::login::{Server, Target};
use self::packet::{Fields, Packets};

/// The columns of a table that a server can have, at most.
const MAX_COLUMNS: u64 = 4096;

/// A row: the values as text; `None` is NULL.
pub type Row = Vec<Option<Vec<u8>>>;

type Result<T> = std::result::Result<T, Error>;

/// Why a statement or a connection failed.
#[derive(Debug)]
pub enum Error {
    /// The server reports an error; the connection stays usable.
    Server(ServerError),
    /// The connection broke, or the budget of the exchange is used up.
    Io(io::Error),
    /// The server does not keep to the protocol, or wants something that this program does not do.
    Protocol(String),
    /// Of each server of a list, with its name.
    Each(Vec<(String, Error)>),
}

/// An error that a server reports.
#[derive(Debug)]
pub struct ServerError {
    /// Its number.
    pub code: u16,
    /// Its text, without control characters.
    pub message: String,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

fn malformed() -> Error {
    Error::Protocol("the server's answer is not of the protocol of MySQL".into())
}

/// A connection after the login.
pub struct Conn {
    packets: Packets,
    affected_rows: u64,
}

impl Conn {
    /// Connects and logs in, in one exchange, to which statements belong until [`Conn::begin`].
    pub fn open(target: &Target, budget: Budget) -> Result<Conn> {
        let packets = aw_peer::guarded(|| login::log_in(target, budget), Error::Protocol)?;
        Ok(Conn { packets, affected_rows: 0 })
    }

    /// Begins the next exchange: the statements up to the next call have this budget together.
    pub fn begin(&mut self, budget: Budget) {
        self.stream().begin(budget);
    }

    /// Passes each row of a result to `each`, as it arrives.
    pub fn query_each(&mut self, sql: &str, each: &mut dyn FnMut(&Row)) -> Result<()> {
        self.query_until(sql, &mut |row| {
            each(row);
            ControlFlow::Continue(())
        })
    }

    /// The same until `each` breaks. Then rows are not received that the server sends: only closing the connection is possible.
    pub fn query_until(
        &mut self,
        sql: &str,
        each: &mut dyn FnMut(&Row) -> ControlFlow<()>,
    ) -> Result<()> {
        const QUERY: u8 = 3;
        self.packets.restart();
        self.packets.send(&[&[QUERY], sql.as_bytes()].concat())?;
        let head = self.receive()?;
        let columns = match head.first() {
            Some(0) => {
                self.affected_rows = Fields(&head[1..]).number().ok_or_else(malformed)?;
                return Ok(());
            }
            _ => Fields(&head).number().filter(|count| *count <= MAX_COLUMNS),
        };
        // LOAD DATA LOCAL, which the login excludes, has no such number.
        let columns = columns.ok_or_else(malformed)?;
        for _ in 0..columns {
            self.receive()?;
        }
        if !is_end(&self.receive()?) {
            return Err(malformed());
        }
        loop {
            let packet = self.receive()?;
            if is_end(&packet) {
                return Ok(());
            }
            let mut fields = Fields(&packet);
            let row = (0..columns).map(|_| fields.value()).collect::<Option<Row>>();
            if each(&row.ok_or_else(malformed)?).is_break() {
                return Ok(());
            }
        }
    }

    /// Runs a statement.
    pub fn query_drop(&mut self, sql: impl AsRef<str>) -> Result<()> {
        self.query_each(sql.as_ref(), &mut |_| ())
    }

    /// The rows of a short result.
    pub fn query(&mut self, sql: impl AsRef<str>) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        self.query_each(sql.as_ref(), &mut |row| rows.push(row.clone()))?;
        Ok(rows)
    }

    /// The first column of the first row, as text.
    pub fn query_first(&mut self, sql: impl AsRef<str>) -> Result<Option<String>> {
        let mut first = None;
        self.query_each(sql.as_ref(), &mut |row| {
            if let (None, Some(Some(value))) = (&first, row.first()) {
                first = Some(String::from_utf8_lossy(value).into_owned());
            }
        })?;
        Ok(first)
    }

    /// The rows that the last statement has changed.
    pub fn affected_rows(&self) -> u64 {
        self.affected_rows
    }

    fn stream(&mut self) -> &mut PeerStream {
        self.packets.stream()
    }

    fn receive(&mut self) -> Result<Vec<u8>> {
        self.packets.receive()
    }
}

impl Drop for Conn {
    /// Ends the session, so that the server does not log an aborted connection.
    fn drop(&mut self) {
        const QUIT: u8 = 1;
        let second = Duration::from_secs(1);
        self.begin(Budget { time: second, silence: second, bytes: 0 });
        self.packets.restart();
        let _ = self.packets.send(&[QUIT]);
    }
}

/// The end of columns or rows.
fn is_end(packet: &[u8]) -> bool {
    packet.first() == Some(&0xfe) && packet.len() < 9
}
