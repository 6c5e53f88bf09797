//! `--check`: tries what the service does, without a row, at each server of the list.

use super::{Attempt, CHANGE_COLUMNS, COLUMNS, MysqlSink, ServerConnection};
use crate::{
    config::ServerConfig,
    errors::{TransactionError, is_read_only},
    name_thread::NameThread,
    schema::{FRAME_SOURCE, TableNames},
};

/// hostname, ring, and the five of a checkpoint.
const POSITION_COLUMNS: usize = 7;

/// What a server does with rows.
enum Trial {
    Accepts,
    /// Why it refuses them.
    IsReadOnly(String),
}

/// Tries each server, with a sink that `open` returns for it. A server that is read-only, as a replica is, has no fault if another
/// one accepts rows. Returns a line for the user.
pub fn check_servers(
    config: &ServerConfig,
    open: impl Fn(&ServerConfig) -> Result<MysqlSink, aw_output::Error>,
) -> Result<String, Vec<String>> {
    // The user of the service opens them at each connection.
    config.check_files().map_err(|error| vec![error.to_string()])?;
    let (mut accepting, mut read_only) = (Vec::new(), Vec::new());
    let (mut refusals, mut faults) = (Vec::new(), Vec::new());
    for server in config.each() {
        let name = format!("{} at {}", server.database(), server.server());
        match open(&server).and_then(MysqlSink::check) {
            Ok(Trial::Accepts) => accepting.push(format!("{name} accepts the login and rows")),
            Ok(Trial::IsReadOnly(why)) => {
                read_only.push(format!("{name} is read-only: it gets no rows"));
                refusals.push(why);
            }
            Err(error) => faults.push(error.to_string()),
        }
    }
    if accepting.is_empty() {
        faults.append(&mut refusals);
    }
    match faults.is_empty() {
        true => Ok([accepting, read_only].concat().join("; ")),
        false => Err(faults),
    }
}

impl MysqlSink {
    /// Logs in and creates the missing tables, as the service does, and tries its statements.
    fn check(mut self) -> Result<Trial, aw_output::Error> {
        let names = self.names.take();
        self.begin();
        self.column_tried = true; // a new column may stop others for a moment
        match self.try_statements() {
            Ok(()) => names.map_or(Ok(()), NameThread::check).map(|()| Trial::Accepts),
            Err(failure) => {
                let is_read_only =
                    matches!(&failure, TransactionError::Server(error) if is_read_only(error));
                let error = self.fault(failure).into_error();
                if is_read_only { Ok(Trial::IsReadOnly(error.to_string())) } else { Err(error) }
            }
        }
    }

    fn try_statements(&mut self) -> Attempt {
        let mut connection = self.connect()?;
        let TableNames { log, position, config_change, .. } = &self.tables;
        let ServerConnection { conn, has_frame_source, .. } = &mut connection;
        let source = if *has_frame_source { format!(", {FRAME_SOURCE}") } else { String::new() };
        let mut inserts = vec![format!("{log} ({COLUMNS}{source})"), position.clone()];
        // Only a table that this user has a permission for is in the list: who never stores a change needs none.
        let name = config_change.trim_matches('`');
        let listed = format!(
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = '{name}'"
        );
        if conn.query_first(&listed)?.as_deref() == Some("1") {
            inserts.push(format!("{config_change} ({CHANGE_COLUMNS})"));
        }
        conn.query_drop(format!("SELECT generation FROM {position} WHERE FALSE FOR UPDATE"))?;
        conn.query_drop(format!("UPDATE {position} SET began = began WHERE FALSE"))?;
        // The server checks the permission of a statement that is only prepared. A user who may only insert can read no row.
        for table in inserts {
            let columns = match table.split_once('(') {
                Some((_, columns)) => columns.split(',').count(),
                None => POSITION_COLUMNS,
            };
            let values = vec!["?"; columns].join(",");
            let insert = format!("INSERT INTO {table} VALUES ({values})");
            conn.query_drop(format!("PREPARE aw_check FROM '{insert}'"))?;
            conn.query_drop("DEALLOCATE PREPARE aw_check")?;
        }
        Ok(())
    }
}
