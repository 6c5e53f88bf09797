//! The tables, in the dialect that ClickHouse 18.16 and the newest have in common.
//!
//! An event is at least once in its table, and identified by host, ring, generation and sequence. These end the sorting key of a
//! ReplacingMergeTree, so that copies disappear when parts are merged; the views count by the identity, so that they have each event
//! once before that, too.

use crate::pairing_days::{LAST_DAY, NANOS_OF_DAY};

/// The columns of `log`, in the order of the rows.
pub const LOG_COLUMNS: &str = "time, host, ring, generation, sequence, interface, vlan, outer_vlan, router, mac, frame_source, ip, origin";
/// The columns of `config_change`.
pub const CHANGE_COLUMNS: &str =
    "time, host, ring, generation, sequence, router_name, router, user, lines_added, lines_removed";

/// The columns of `pairing_day`.
pub const DAY_COLUMNS: &str = "ip, mac, frame_source, host, ring, interface, vlan, outer_vlan, router, origin, day, first, last";
/// Tables into which rows are inserted, with the columns of these.
pub const TABLES: [(&str, &str); 3] =
    [("pairing_day", DAY_COLUMNS), ("log", LOG_COLUMNS), ("config_change", CHANGE_COLUMNS)];

/// A name of a database, which needs no quotes.
pub fn parse_database(text: &str) -> Result<String, &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_valid = text.chars().all(is_name) && !text.starts_with(|c: char| c.is_ascii_digit());
    match is_valid && !text.is_empty() {
        true => Ok(text.into()),
        false => Err("must have letters, digits and _ only, and begin with no digit"),
    }
}

/// The second of a time in nanoseconds.
const SECOND: &str = "toDateTime(intDiv(time, 1000000000), 'UTC')";

/// The statements that create database and tables. `retention`: days after which rows are deleted.
pub fn schema(database: &str, retention: Option<u16>) -> String {
    // A day begins when its first event is as old: it stays until the last one is.
    let end = |engine: &str, time: &str, order: &str| {
        let more = u32::from(time == "day");
        let ttl = match retention.map(|days| u32::from(days) + more) {
            Some(days) => format!("\nTTL {time} + INTERVAL {days} DAY DELETE"),
            None => String::new(),
        };
        format!("ENGINE = {engine}\nPARTITION BY toYYYYMM({time})\nORDER BY ({order}){ttl};\n")
    };
    let pairing = "ip, mac, frame_source, host, ring, interface, vlan, outer_vlan, router, origin";
    let last_day = LAST_DAY;
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
-- For each pairing, origin and day the first and the last sighting: what questions about all pairings read.
CREATE TABLE IF NOT EXISTS {database}.pairing_day (
    ip FixedString(16),
    mac UInt64,
    frame_source UInt64,
    host String,
    ring String,
    interface String,
    vlan UInt16,
    outer_vlan UInt16,
    router UInt32,
    origin UInt8,
    day Date,
    first AggregateFunction(min, Int64),
    last AggregateFunction(max, Int64)
) {days}
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

-- Sightings of a release that had no table pairing_day: until the view below exists. Inserts into log that began before the table
-- existed have ended by then.
SELECT sleep(3) FROM (SELECT 1 FROM {database}.log LIMIT 1) FORMAT Null;
SELECT sleep(3) FROM (SELECT 1 FROM {database}.log LIMIT 1) FORMAT Null;
SELECT sleep(3) FROM (SELECT 1 FROM {database}.log LIMIT 1) FORMAT Null;
INSERT INTO {database}.pairing_day
SELECT {pairing},
    toDate(toUInt16(least(greatest(intDiv(time, {NANOS_OF_DAY}), 0), {last_day}))) AS day, minState(time), maxState(time)
FROM {database}.log
WHERE (SELECT count() FROM system.tables WHERE database = '{database}' AND name = 'pairings') = 0
GROUP BY {pairing}, day
SETTINGS max_bytes_before_external_group_by = 2000000000;

-- Pairings, to read. aw-query answers once this view exists: then pairing_day has what log had when it was filled, and what outputs of
-- this release have inserted since.
CREATE VIEW IF NOT EXISTS {database}.pairings AS
SELECT
    IPv6NumToString(ip) AS ip_address, MACNumToString(mac) AS mac_address,
    if(frame_source = 0, '', MACNumToString(frame_source)) AS sender,
    host, ring, interface, vlan, outer_vlan, IPv4NumToString(router) AS reporter, origin,
    minMerge(first) AS first_time, maxMerge(last) AS last_time
FROM {database}.pairing_day
GROUP BY {pairing};
",
        log = end("ReplacingMergeTree", SECOND, "ip, time, host, ring, generation, sequence"),
        days = end("AggregatingMergeTree", "day", &format!("{pairing}, day")),
        changes = end("ReplacingMergeTree", SECOND, "time, host, ring, generation, sequence"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows are inserted in the order in which the tables have their columns.
    #[test]
    fn columns() {
        let text = schema("addrwatch", None);
        for (table, columns) in TABLES {
            let begin = format!("addrwatch.{table} (\n");
            let body = text.split(&begin).nth(1).and_then(|rest| rest.split("\n)").next()).unwrap();
            let names = body.lines().map(|line| line.split_whitespace().next().unwrap());
            assert_eq!(names.collect::<Vec<_>>().join(", "), columns);
        }
        assert!(!text.contains("TTL"));
        let kept = schema("x", Some(90));
        assert_eq!(kept.matches("+ INTERVAL 90 DAY DELETE;").count(), 2);
        assert!(kept.contains("TTL day + INTERVAL 91 DAY DELETE;"), "{kept}");
        assert!(!kept.contains("addrwatch."), "{kept}");
    }
}
