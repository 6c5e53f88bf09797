//! `aw-sqlite` and the content of its database, read by SQL.

use crate::checkpoint::Checkpoint;
use crate::collect::json;
use crate::rig::{Run, TIMEOUT, program, run};
use crate::ring::Ring;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A row as addrwatch's table has it.
pub type Row = (i64, String, i64, String, String, i64);

/// A state directory and a database in another directory; both are removed with the test.
pub struct History {
    directory: TempDir,
    database: PathBuf,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Without any file yet.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let database = directory.path().join("history/lan.db");
        std::fs::create_dir(directory.path().join("history")).expect("our own directory");
        History { directory, database }
    }

    /// The same with the database elsewhere.
    pub fn at(database: PathBuf) -> Self {
        History { database, ..History::new() }
    }

    /// The directory of all its files.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The database's file.
    pub fn database(&self) -> &Path {
        &self.database
    }

    /// The spool's file.
    pub fn spool(&self) -> PathBuf {
        self.path().join("state/aw-sqlite.spool")
    }

    /// `aw-sqlite` on this ring, not started yet.
    pub fn command(&self, ring: &Ring, options: &[&str]) -> Command {
        self.command_from(["--ring", ring.name()], options)
    }

    /// `aw-sqlite` on this stream, not started yet.
    pub fn stream_command(&self, url: &str, options: &[&str]) -> Command {
        self.command_from(["--stream", url], options)
    }

    fn command_from(&self, source: [&str; 2], options: &[&str]) -> Command {
        let mut command = program("aw-sqlite", &source);
        command.arg("--state-dir").arg(self.path().join("state"));
        command.arg("--database").arg(&self.database).args(options);
        if !options.contains(&"--commit-interval") {
            command.args(["--commit-interval", "1s"]);
        }
        if !options.contains(&"--raw-days") {
            command.args(["--raw-days", "0"]); // most captures are old
        }
        command
    }

    /// `aw-sqlite` on this ring.
    pub fn start(&self, ring: &Ring, options: &[&str]) -> Run {
        Run::start(self.command(ring, options))
    }

    /// `aw-query` on this database, with its times in UTC.
    pub fn query(&self, arguments: &[&str]) -> Command {
        // Without the makers and names of this machine.
        let mut command = program("aw-query", &["--vendors", "/nonexistent"]);
        command.args(["--names", "/dev/null"]);
        command.arg("--database").arg(&self.database).args(arguments).env("TZ", "UTC");
        command
    }

    /// Some fields of each row that `aw-query` answers, in JSON.
    #[track_caller]
    pub fn answers(&self, arguments: &[&str], names: &[&str]) -> Vec<String> {
        let asked = run(self.query(&[arguments, &["--format", "json"]].concat()));
        let field = |row: &Value, name: &&str| match &row[name] {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let line =
            |row: Value| names.iter().map(|name| field(&row, name)).collect::<Vec<_>>().join(" ");
        asked.stdout.lines().map(json).map(line).collect()
    }

    /// A connection of the test; none while there is no database.
    pub fn open(&self) -> Option<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let database = Connection::open_with_flags(&self.database, flags).ok()?;
        database.busy_timeout(Duration::from_secs(30)).ok()?;
        Some(database)
    }

    /// The only value of a query; none if the query fails.
    pub fn value<T: FromSql>(&self, select: &str) -> Option<T> {
        self.open()?.query_row(select, [], |row| row.get(0)).ok()
    }

    /// The number of rows in the view.
    pub fn count(&self) -> u64 {
        self.value::<i64>("SELECT count(*) FROM addrwatch").unwrap_or(0) as u64
    }

    /// All rows, in the order of time and address.
    #[track_caller]
    pub fn rows(&self, table: &str) -> Vec<Row> {
        let database = self.open().expect("a database");
        let select = format!("SELECT * FROM {table} ORDER BY timestamp, ip_address, origin");
        let mut statement = database.prepare(&select).expect("addrwatch's columns");
        let columns: Vec<&str> = statement.column_names().collect();
        let theirs = ["timestamp", "interface", "vlan_tag", "mac_address", "ip_address", "origin"];
        assert_eq!(columns, theirs);
        let row = |row: &rusqlite::Row| -> rusqlite::Result<Row> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
        };
        statement.query_map([], row).expect("rows").map(|row| row.expect("a row")).collect()
    }

    /// The checkpoint of a ring; none if there is none yet.
    pub fn checkpoint(&self, ring: &Ring) -> Option<Checkpoint> {
        Checkpoint::of(ring, &self.open()?)
    }

    /// Locks the database until the returned connection is dropped.
    pub fn lock(&self) -> Connection {
        let database = self.open().expect("a database");
        database.busy_timeout(TIMEOUT).expect("a time");
        database.execute_batch("BEGIN IMMEDIATE").expect("no other program locks it for long");
        database
    }

    /// The rows are those of the numbers from 1 to before `end`, each once, and the file is sound.
    #[track_caller]
    pub fn assert_exactly_once(&self, ring: &Ring, end: u32) {
        let checkpoint = self.checkpoint(ring).expect("a checkpoint");
        assert_eq!((checkpoint.next(), checkpoint.lost), (u64::from(end) - 1, 0), "{checkpoint:?}");
        let times: Vec<i64> = self.rows("addrwatch").iter().map(|row| row.0).collect();
        assert_eq!(times, (1..i64::from(end)).collect::<Vec<i64>>());
        let sound = self.value::<String>("PRAGMA integrity_check");
        assert_eq!(sound.as_deref(), Some("ok"));
    }
}

/// A database as addrwatch creates it, with these rows.
pub fn addrwatch_database(path: &Path, rows: impl IntoIterator<Item = Row>) {
    let mut database = Connection::open(path).expect("a new database");
    let make = "CREATE TABLE addrwatch (timestamp UNSIGNED BIG INT, interface varchar(16),
        vlan_tag UNSIGNED INT, mac_address varchar(17), ip_address varchar(42), origin TINYINT)";
    database.execute_batch(make).expect("a table");
    let transaction = database.transaction().expect("a transaction");
    {
        let insert = "INSERT INTO addrwatch VALUES (?, ?, ?, ?, ?, ?)";
        let mut insert = transaction.prepare(insert).expect("its columns");
        for row in rows {
            insert.execute(row).expect("a row");
        }
    }
    transaction.commit().expect("room for it");
}

/// The answers of a file and of a server, to compare to the last byte. If that of the file says when nothing at all was seen, which a
/// server does not search, both are without that, and without the width of columns, which depends on it.
pub fn without_silence(file: &str, server: &str) -> [String; 2] {
    const SILENCE: &str = "; nothing at all was seen in this network";
    let is_said = file.contains(SILENCE);
    [file, server].map(|answer| {
        if !is_said {
            return answer.to_owned();
        }
        let mut parts = answer.split(SILENCE);
        let mut all = parts.next().unwrap_or_default().to_owned();
        parts.for_each(|part| {
            let end = ["\"", ",", "  "].iter().filter_map(|end| part.find(end)).min();
            all += &part[end.expect("it is a column")..];
        });
        all.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}
