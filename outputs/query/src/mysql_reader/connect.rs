//! The connection to one of the servers of the list, and its faults.

use std::time::{Duration, Instant};

use aw_mysql::{
    Conn, MysqlError, NO_SUCH_TABLE, ServerConfig, Servers, at_each, cause, connection_fault,
    is_replica,
};
use aw_peer::Budget;
use aw_service::{Error, failed, run_as};

use super::until;

/// Times in UTC: in another zone an hour may come twice.
const BEGIN: &str = "SET time_zone = '+00:00', sql_mode = ''";

/// For the login.
pub const LOGIN: Budget =
    Budget { time: Duration::from_secs(20), silence: Duration::from_secs(10), bytes: 1 << 20 };

/// Numbers of server errors.
pub const UNKNOWN_COLUMN: u16 = 1054;
const DENIED: [u16; 5] = [1044, 1045, 1142, 1143, 1698];

/// A server that answers.
pub struct Connected {
    pub conn: Conn,
    pub server: String,
    /// What a user has to know of its answers.
    pub remark: Option<String>,
}

/// Connects to the first server that has answers; to a read-only one, which may be a replica that lags, only if there is no other. Then
/// the next questions of this process are asked there at once, as those of aw-web.
pub fn connect(config: &ServerConfig, log: &str, timeout: Duration) -> Result<Connected, Error> {
    let end = Instant::now().checked_add(timeout);
    let mut servers = Servers::new(config);
    let mut replica = None;
    let error = loop {
        let mut conn = match log_in(config, &mut servers, end) {
            Ok(conn) => conn,
            Err(error) => break error,
        };
        let prepared = limit(&mut conn, timeout)
            .and_then(|()| conn.query_drop("SET SESSION TRANSACTION READ ONLY"))
            .and_then(|()| conn.query_drop(format!("SELECT 1 FROM {log} LIMIT 0")))
            .and_then(|()| is_replica(&mut conn));
        let error = match prepared {
            Ok(is_read_only) => {
                let server = servers.name();
                if !is_read_only {
                    return Ok(Connected { conn, server, remark: None });
                }
                if let Some(faults) = servers.faults_before_settled() {
                    let remark = Some(lags(&server, &faults));
                    return Ok(Connected { conn, server, remark });
                }
                replica.get_or_insert((conn, server, servers.current()));
                servers.fail_over(MysqlError::Protocol("it is read-only".into()))
            }
            Err(error) => servers.fail_over_if_unfit(error),
        };
        if let Err(error) = error {
            break error;
        }
    };
    let why = |error: &MysqlError| at_each(&servers.name(), error, |error| why(log, error));
    if let Some((conn, server, index)) = replica {
        let faults = match error {
            MysqlError::Each(mut faults) => {
                faults.retain(|(of, _)| *of != server);
                at_each(&server, &MysqlError::Each(faults), briefly)
            }
            _ => String::new(), // it is the only server
        };
        let remark = Some(lags(&server, &faults));
        servers.settle(index, faults);
        return Ok(Connected { conn, server, remark });
    }
    let why = why(&error);
    Err(failed(format_args!("read {} {why}", config.database())))
}

/// Without what a server says of the user: all users of `aw-web` see it.
fn briefly(error: &MysqlError) -> String {
    match error {
        MysqlError::Server(error) => format!("error {}", error.code),
        error => cause(error),
    }
}

/// The remark about a read-only server, which is asked because of the faults of the others.
fn lags(server: &str, faults: &str) -> String {
    let faults = if faults.is_empty() { String::new() } else { format!(" ({faults})") };
    format!(
        "{server} is read-only: if it is a replica that lags, the newest events are missing{faults}"
    )
}

/// The server identifies the user by the process that connects: root becomes the user of the file for that.
fn log_in(
    config: &ServerConfig,
    servers: &mut Servers,
    end: Option<Instant>,
) -> Result<Conn, MysqlError> {
    let mut as_user = || servers.connect(BEGIN, until(LOGIN, end));
    match config.socket_user() {
        Some(user) => run_as(Some(&user), &mut as_user)
            .map_err(|error| MysqlError::Protocol(error.to_string()))
            .and_then(|connected| connected)
            .or_else(|error| as_user().map_err(|_| error)),
        None => as_user(),
    }
}

/// The time limit of the whole answer: the server ends a statement then, if it can. Before the first one that may wait for a lock: for
/// that, the server would wait when the question is long over.
fn limit(conn: &mut Conn, timeout: Duration) -> Result<(), MysqlError> {
    // MariaDB, or else MySQL; a server without both ends the query when it notices that the connection is closed.
    let mariadb = format!("SET SESSION max_statement_time = {}", timeout.as_secs().max(1));
    match conn.query_drop(mariadb) {
        Err(MysqlError::Server(_)) => {
            let mysql = format!("SET SESSION max_execution_time = {}", timeout.as_millis());
            match conn.query_drop(mysql) {
                Err(MysqlError::Server(_)) => Ok(()),
                limited => limited,
            }
        }
        limited => limited,
    }
}

/// Of a statement on an open connection.
pub fn failure(name: &str, log: &str, error: &MysqlError) -> Error {
    failed(format_args!("read {name}: {}", why(log, error)))
}

/// What the server or the connection reports, and the remedy.
fn why(log: &str, error: &MysqlError) -> String {
    let remedy = match error {
        MysqlError::Server(error) if error.code == NO_SUCH_TABLE => {
            " (set --prefix; convert tables of addrwatch 0.8 with migrate_0.8_to_1.0.sql)".into()
        }
        MysqlError::Server(error) if error.code == UNKNOWN_COLUMN => {
            " (not a table of aw-mysql or addrwatch 1.0: choose another with --database or --prefix)".into()
        }
        MysqlError::Server(error) if DENIED.contains(&error.code) => {
            format!(
                " (set user and password in the section [addrwatch] of --config; GRANT SELECT ON {log} TO the user; root can use the file of aw-mysql)"
            )
        }
        error => return connection_fault(&cause(error)),
    };
    cause(error) + &remedy
}
