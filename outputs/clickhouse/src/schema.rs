//! The tables, in the dialect that ClickHouse 18.16 and the newest have in common.
//!
//! An event is at least once in its table, and identified by host, ring, generation and sequence. These end the sorting key of a
//! ReplacingMergeTree, so that copies disappear when parts are merged; the views count by the identity, so that they have each event
//! once before that, too.

/// The columns of `log`, in the order of the rows.
pub const LOG_COLUMNS: &str = "time, host, ring, generation, sequence, interface, vlan, outer_vlan, router, mac, frame_source, ip, origin";
/// The columns of `config_change`.
pub const CHANGE_COLUMNS: &str =
    "time, host, ring, generation, sequence, router_name, router, user, lines_added, lines_removed";

/// The second of a time in nanoseconds.
const SECOND: &str = "toDateTime(intDiv(time, 1000000000), 'UTC')";

/// The statements that create database and tables. `retention`: days after which rows are deleted.
pub fn schema(database: &str, retention: Option<u16>) -> String {
    let ttl = match retention {
        Some(days) => format!("\nTTL {SECOND} + INTERVAL {days} DAY DELETE"),
        None => String::new(),
    };
    let end = |order: &str| {
        format!(
            "ENGINE = ReplacingMergeTree\nPARTITION BY toYYYYMM({SECOND})\nORDER BY ({order}){ttl};\n"
        )
    };
    let identity = "    time Int64,
    host String,
    ring String,
    generation UInt64,
    sequence UInt64,
";
    format!(
        "-- The tables of aw-clickhouse(8). Times are nanoseconds since 1970 (UTC). Host, ring, generation and sequence identify an event.
CREATE DATABASE IF NOT EXISTS {database};

-- Sightings. ip: 16 bytes, IPv4 as ::ffff:192.0.2.1. mac and frame_source: 48 bits, frame_source 0 if it is the same.
-- router: IPv4, 0 if this machine captured the frame. origin: a number, see addrwatch-history(5).
CREATE TABLE IF NOT EXISTS {database}.log (
{identity}    interface String,
    vlan UInt16,
    outer_vlan UInt16,
    router UInt32,
    mac UInt64,
    frame_source UInt64,
    ip FixedString(16),
    origin UInt8
) {log}
-- Changes of routers' configurations.
CREATE TABLE IF NOT EXISTS {database}.config_change (
{identity}    router_name String,
    router UInt32,
    user String,
    lines_added UInt32,
    lines_removed UInt32
) {changes}
-- Each sighting once, to read.
CREATE VIEW IF NOT EXISTS {database}.sightings AS
SELECT DISTINCT
    {SECOND} AS second, time, host, ring, generation, sequence, interface, vlan, outer_vlan,
    IPv4NumToString(router) AS reporter,
    MACNumToString(mac) AS mac_address,
    if(frame_source = 0, '', MACNumToString(frame_source)) AS sender,
    IPv6NumToString(ip) AS ip_address,
    origin
FROM {database}.log;
",
        log = end("ip, time, host, ring, generation, sequence"),
        changes = end("time, host, ring, generation, sequence"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows are inserted in the order in which the tables have their columns.
    #[test]
    fn columns() {
        let text = schema("addrwatch", None);
        for (table, columns) in [("log", LOG_COLUMNS), ("config_change", CHANGE_COLUMNS)] {
            let begin = format!("addrwatch.{table} (\n");
            let body = text.split(&begin).nth(1).and_then(|rest| rest.split("\n)").next()).unwrap();
            let names = body.lines().map(|line| line.split_whitespace().next().unwrap());
            assert_eq!(names.collect::<Vec<_>>().join(", "), columns);
        }
        assert!(!text.contains("TTL"));
        let kept = schema("x", Some(90));
        assert_eq!(kept.matches("+ INTERVAL 90 DAY DELETE;").count(), 2);
        assert!(!kept.contains("addrwatch."), "{kept}");
    }
}
