//! The parts of `aw-mysql`. `aw-query` reads the same servers, and uses from here the configuration of a
//! server and the names of its tables.
#![forbid(unsafe_code)]

mod config;
mod errors;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/bodies/mysql.rs"]
pub mod fuzzed;
mod mysql_sink;
mod schema;
mod sql;

pub use {
    config::ServerConfig,
    errors::{cause, connection_remedy},
    mysql_sink::MysqlSink,
    schema::{NO_SUCH_TABLE, TableNames, TablePrefix},
    sql::hex_ip,
};
