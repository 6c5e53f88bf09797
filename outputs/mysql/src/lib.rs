//! What `aw-mysql` is made of. `aw-query` asks the same servers, so it takes from here how to find one,
//! and what its tables are called.
#![forbid(unsafe_code)]

mod cause;
mod config;
mod rows;
mod schema;

pub use {
    cause::cause,
    config::Config,
    rows::{Rows, hex},
    schema::{NO_SUCH_TABLE, Prefix, Tables},
};
