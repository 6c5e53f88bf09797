//! `aw-query` with a large history: what each question takes in SQLite and in MariaDB, beside counting every row; and the bytes
//! of a row, beside those of the table that earlier releases created.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use aw_tests::{
    bench::Random, feed::publish, history::History, mariadb::MariaDb, rig::run, ring::Ring,
};
use rusqlite::{Connection, params};

use crate::{Options, Outcome, binary, row};

/// Addresses, each of one MAC. Every hundredth is taken over by another MAC twelve hours before the end.
pub const ADDRESSES: i64 = 20_000;
const TAKEN_OVER: i64 = 100;
const HALF_A_DAY: i64 = 43_200;
/// Seconds of the history: 31 days.
pub const LONG: i64 = 31 * 86_400;
pub const MAC: i64 = 0x0600_0000_0000;
const OTHER_MAC: i64 = 0x0601_0000_0000;
/// Rows of each table whose size is measured.
const MEASURED: u64 = 1_000_000;

/// What is asked, with how often, and the question whose time it is compared with.
const QUESTIONS: [(&str, usize, &str); 7] = [
    ("who", 100, ""),
    ("ip", 20, ""),
    ("mac", 20, ""),
    ("devices --count", 1, ""),
    ("devices", 5, "devices --count"),
    ("devices --since 1d", 5, "devices --count"),
    ("changes --since 1d", 5, "devices"),
];

/// A history in a file.
pub struct Large {
    pub history: History,
    /// Its last second.
    pub end: i64,
    pub addresses: i64,
}

/// The one that there is, or a new one.
pub fn large<'a>(large: &'a mut Option<Large>, options: &Options) -> Outcome<&'a Large> {
    if large.is_none() {
        let history = History::new();
        let ring = Ring::new();
        publish(&ring, 1..2);
        run(history.command(&ring, &["--once"])).ok();
        let end = now();
        let addresses = options.addresses;
        grow(history.database(), (options.rows as i64, addresses), end - LONG)?;
        let size = fs::metadata(history.database())?.len() as f64;
        println!("SQLite: {} rows of {addresses} addresses in 31 days", options.rows);
        row("  the file, pairings included", &[size / options.rows as f64], 1.0, "bytes a row");
        *large = Some(Large { history, end, addresses });
    }
    large.as_ref().ok_or_else(|| "no history".into())
}

pub fn in_a_file(Large { history, end, addresses }: &Large) -> Outcome<()> {
    ask_all(&["--database", &history.database().to_string_lossy()], *end, *addresses)
}

/// So many rows, each address at regular intervals.
fn grow(path: &Path, (rows, addresses): (i64, i64), begin: i64) -> Outcome<()> {
    const NANOS: i64 = 1_000_000_000;
    let mut database = Connection::open(path)?;
    database.execute_batch("PRAGMA synchronous = off; PRAGMA wal_autocheckpoint = 100000")?;
    let each = (rows / addresses).max(1);
    let step = LONG * NANOS / each;
    let transaction = database.transaction()?;
    for number in 0..addresses {
        let is_taken_over = number % TAKEN_OVER == 0;
        let of_first = if is_taken_over { each - HALF_A_DAY * NANOS / step - 1 } else { each };
        for (mac, numbers) in [(MAC, 0..of_first), (OTHER_MAC, of_first..each)] {
            if numbers.is_empty() {
                continue;
            }
            let ip = address(number);
            let insert = "INSERT INTO pairing (address, mac, place, ip) VALUES (?, ?, 1, ?)";
            let pairing = transaction.prepare_cached(insert)?.insert(params![
                ip.octets(),
                mac + number,
                ip.to_string()
            ])?;
            let mut insert =
                transaction.prepare_cached("INSERT INTO sighting VALUES (?, ?, ?, 0)")?;
            for nth in numbers {
                insert.execute([pairing, begin * NANOS + nth * step + number * 1000, nth % 2])?;
            }
        }
    }
    Ok(transaction.commit()?)
}

/// Its buffer pool has room for the table.
pub fn on_a_server(options: &Options) -> Outcome<()> {
    let large = ["--innodb-buffer-pool-size=3G", "--innodb-log-file-size=512M"];
    let Some(server) = MariaDb::start(&large) else { return Ok(()) };
    let ring = Ring::new();
    publish(&ring, 1..2);
    run(server.command(&ring, &["--once"])).ok();
    println!(
        "MariaDB: the tables, {MEASURED} rows of {ADDRESSES} addresses in 31 days, seen in turn"
    );
    server.sql(EARLIER);
    let end = now();
    let mut sizes = Vec::new();
    for (table, name) in
        [("earlier", "in the table of earlier releases"), ("log", "in a new table")]
    {
        insert(&server, table, (MEASURED, MEASURED), end - LONG);
        let indexes = bytes_a_row(&server, table, MEASURED);
        let all: f64 = indexes.iter().map(|(_, bytes)| bytes).sum();
        row(&format!("  {name}"), &[all], 1.0, "bytes a row");
        for (index, bytes) in indexes {
            row(&format!("    {index}"), &[bytes], 1.0, "bytes a row");
        }
        sizes.push(all);
    }
    row("  new over earlier", &[sizes[1] / sizes[0]], 100.0, "%");
    server.sql("DROP TABLE earlier; TRUNCATE log");
    insert(&server, "log", (options.server_rows, options.server_rows), end - LONG);
    println!("MariaDB: {} rows of {ADDRESSES} addresses in 31 days", options.server_rows);
    let all: f64 = bytes_a_row(&server, "log", options.server_rows).iter().map(|it| it.1).sum();
    row("  in a new table", &[all], 1.0, "bytes a row");
    ask_all(&["--config", &server.config("").to_string_lossy()], end, ADDRESSES)
}

/// The table as aw-mysql created it until November 2026.
const EARLIER: &str = "CREATE TABLE earlier LIKE log;
    ALTER TABLE earlier MODIFY vlan_tag INT NOT NULL DEFAULT 0, MODIFY origin_id INT NOT NULL, DROP KEY vlan_tag_interface,
        ADD KEY interface (interface), ADD KEY vlan_tag (vlan_tag), ADD KEY mac_address (mac_address),
        ADD KEY interface_vlan_tag (interface, vlan_tag)";

/// Inserts rows in the order of their time, of addresses in no order.
fn insert(server: &MariaDb, table: &str, (rows, of): (u64, u64), begin: i64) {
    const PIECE: u64 = 250_000;
    for piece in 0..rows.div_ceil(PIECE) {
        let number = format!("({} + seq)", piece * PIECE);
        let host = format!("{number} * 7919 % {ADDRESSES}");
        let second = format!("{LONG} * {number} div {of}");
        let mac = format!(
            "if({host} % {TAKEN_OVER} = 0 AND {second} > {}, {OTHER_MAC}, {MAC}) + {host}",
            LONG - HALF_A_DAY
        );
        server.sql(&format!(
            "INSERT INTO {table} SELECT from_unixtime({begin} + {second}), 'here', 'eth0', 0,
                unhex(lpad(hex({mac}), 12, '0')), unhex(lpad(hex({ip} + {host}), 8, '0')), {number} div {ADDRESSES} % 2
            FROM seq_0_to_{last}",
            ip = 0x0a00_0000,
            last = PIECE.min(rows - piece * PIECE) - 1
        ));
    }
}

/// Those of each index.
fn bytes_a_row(server: &MariaDb, table: &str, rows: u64) -> Vec<(String, f64)> {
    let text = server.sql(&format!(
        "ANALYZE NO_WRITE_TO_BINLOG TABLE {table}; SELECT '', index_name, stat_value * @@innodb_page_size FROM mysql.innodb_index_stats
        WHERE database_name = 'addrwatch' AND table_name = '{table}' AND stat_name = 'size'"
    ));
    let of = |line: &str| {
        let (name, bytes) = line.strip_prefix('\t')?.split_once('\t')?;
        Some((name.to_owned(), bytes.parse::<f64>().ok()? / rows as f64))
    };
    text.lines().filter_map(of).collect()
}

/// Each question in a process of its own, whose start is included.
fn ask_all(database: &[&str], end: i64, addresses: i64) -> Outcome<()> {
    let mut random = Random::new(1);
    let mut medians: Vec<(&str, f64)> = Vec::new();
    for (question, times, beside) in QUESTIONS {
        let mut seconds = Vec::new();
        for _ in 0..times {
            let number = i64::from(random.below(addresses as u32));
            let at = end - LONG + LONG / 1000 * i64::from(random.below(1000));
            let more = match question {
                "who" => vec![address(number).to_string(), "--at".into(), format!("@{at}")],
                "ip" => vec![address(number).to_string()],
                "mac" => vec![format!("{:012x}", MAC + number)],
                _ => Vec::new(),
            };
            let mut query = Command::new(binary("aw-query"));
            query.args(database).args(["--timeout", "1h"]).args(question.split(' ')).args(more);
            let begin = Instant::now();
            let output = query.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
            seconds.push(begin.elapsed().as_secs_f64());
            if !output.status.success() {
                return Err(
                    format!("{query:?}: {}", String::from_utf8_lossy(&output.stderr)).into()
                );
            }
        }
        row(&format!("  aw-query {question}"), &seconds, 1e3, "ms");
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        if let Some((_, other)) = medians.iter().find(|(name, _)| *name == beside) {
            row(&format!("    over {beside}"), &[median / other], 100.0, "%");
        }
        medians.push((question, median));
    }
    Ok(())
}

pub fn address(number: i64) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number as u32)
}

/// Seconds since 1970.
fn now() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs() as i64)
}
