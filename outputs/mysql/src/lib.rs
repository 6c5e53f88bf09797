//! The parts of `aw-mysql`. `aw-query` reads the same servers, and uses from here the configuration of a
//! server and the names of its tables.
#![forbid(unsafe_code)]

mod config;
mod errors;
mod schema;
mod sink;
mod sql;

pub use {
    config::ServerConfig,
    errors::cause,
    schema::{NO_SUCH_TABLE, TableNames, TablePrefix},
    sink::MysqlSink,
    sql::{hex, hex_ip},
};
