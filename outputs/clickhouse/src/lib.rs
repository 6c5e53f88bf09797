//! The parts of `aw-clickhouse`. `aw-query` asks the same servers, and uses from here the connection to them and the names of tables.
#![forbid(unsafe_code)]

mod answer;
mod clickhouse_sink;
mod cluster;
mod errors;
mod pairing_days;
mod reader_options;
mod row_binary;
mod schema;

pub use {
    answer::Row,
    clickhouse_sink::ClickhouseSink,
    cluster::{AnswerLimit, Cluster, ClusterOptions, Login, ServerUrl},
    errors::Purpose,
    pairing_days::{LAST_DAY, NANOS_OF_DAY, day},
    reader_options::ReaderOptions,
    schema::{TABLES, parse_database, schema},
};

/// Events of an insert: without compression some 800 kB; of events that compress worst (random MACs and addresses) some 250 kB are left,
/// which an uplink of 1 Mbit/s carries in 2 of the 8 seconds of a request. Four times as many would not be safe there.
pub const BATCH: usize = 8_192;
