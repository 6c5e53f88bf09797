//! The parts of `aw-mysql`. `aw-query` reads the same servers, and uses from here the configuration of a
//! server and the names of its tables.
#![forbid(unsafe_code)]

mod config;
mod connection;
mod errors;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/bodies/mysql.rs"]
pub mod fuzzed;
mod history_target;
mod lease_rows;
mod mysql_sink;
mod name_batch;
mod name_import;
mod name_rows;
mod name_thread;
mod name_writer;
mod schema;
mod sensor_names;
mod servers;
mod sql;

pub use {
    config::ServerConfig,
    connection::{Conn, Error as MysqlError, Row, ServerError},
    errors::{at_each, cause, connection_fault},
    history_target::MysqlTarget,
    mysql_sink::{MysqlSink, check_servers},
    schema::{FRAME_SOURCE as FRAME_SOURCE_COLUMN, NO_SUCH_TABLE, TableNames, TablePrefix},
    servers::{Servers, is_replica},
    sql::{hex_ip, quoted},
};
