//! `aw-mysql`: keeps events in the tables of addrwatch 1.0, in MySQL, MariaDB, or what speaks their
//! protocol; each event exactly once.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aw_mysql::{Config, Prefix, Rows};
use aw_output::{Plan, RingOptions, SpoolOptions, parse, run};
use clap::Parser;

/// Keeps the events of the collector's rings in a MySQL or MariaDB database.
// addrwatch_mysql's -p is the prefix, and its command lines go on working; the pid file keeps --pid.
#[derive(Parser)]
#[command(name = "aw-mysql", version, after_help = EXAMPLES)]
#[command(mut_arg("pid_file", |pid_file| pid_file.short(None)))]
struct Options {
    /// Read the section [addrwatch] of FILE, written as a my.cnf: host, port, socket, user, password, database, ssl-*
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Put PREFIX before the names of all tables
    #[arg(short, long, value_name = "PREFIX", default_value = "")]
    prefix: Prefix,

    /// Store NAME as the host's name, in rows and accounts; every machine that shares the tables needs another [default: in rows the collector's, in accounts this machine's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// Stay in the foreground, which is the default
    #[arg(short, long, conflicts_with = "daemon")]
    foreground: bool,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,
}

const EXAMPLES: &str = "\
Examples:
  aw-mysql                              as user addrwatch, into the database addrwatch of this machine
  aw-mysql -c /etc/addrwatch/mysql.cnf  wherever that file says; it is the place for a password
  aw-mysql -p site1_                    into the tables site1_log, site1_origin, site1_position

  [addrwatch]
  host = db.example.net
  user = addrwatch
  password = secret
  ssl-ca = /etc/ssl/certs/example.pem

Tables that are missing are made, with indexes on address and time and on MAC and time. While the
server is down, events are kept in the state directory.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

fn main() -> ExitCode {
    let Options { rings, spool, config, prefix, hostname, foreground: _ } = parse("aw-mysql");
    // Before privileges are given up: its owner may be root. What is wrong is said once the log is there.
    let config = config.as_deref().map_or_else(|| Ok(Config::default()), Config::read);
    let plan = Plan {
        files: config.as_ref().map_or(Vec::new(), Config::access),
        sockets: config.as_ref().map_or(Vec::new(), Config::sockets),
        linger: Duration::from_millis(500), // a commit for many events, not for each
        batch: 8192,
        spool: Some(spool),
        ..Plan::default()
    };
    run("aw-mysql", &rings, &plan, || Rows::new(&config?, &prefix, hostname))
}
