//! `aw-mysql`: stores events in the tables of addrwatch 1.0, in a MySQL or MariaDB database or another one
//! with their protocol; each event exactly once.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use aw_mysql::{MysqlSink, MysqlTarget, ServerConfig, TablePrefix, check_servers};
use aw_output::{
    Error, NameFollower, Plan, RingOptions, SpoolOptions, as_service, check, import, parse, run,
};
use aw_service::{UnitFiles, info};
use clap::{Parser, Subcommand};

/// Stores the events of the collector's rings in a MySQL or MariaDB database.
// -p is the prefix, as in addrwatch_mysql, so that its command lines keep working; the pid file is --pid.
#[derive(Parser)]
#[command(name = "aw-mysql", version, after_help = EXAMPLES)]
#[command(mut_arg("pid_file", |pid_file| pid_file.short(None)))]
struct Options {
    /// Read the server and the login from section [addrwatch] of FILE, in the format of my.cnf; see aw-mysql.cnf(5) [default: the local server's socket, user and database addrwatch]
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Begin the names of all tables with PREFIX
    #[arg(short, long, global = true, value_name = "PREFIX")]
    prefix: Option<TablePrefix>,

    /// Name of this machine in rows and in saved positions; must be unique among the machines that write to the same tables, and must not change [default: in rows the collector's host name, in saved positions this machine's]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// Stay in the foreground; this is the default, the option is accepted for compatibility with addrwatch_mysql
    #[arg(short, long, conflicts_with = "daemon")]
    foreground: bool,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,
    #[cfg(feature = "stream")]
    #[command(flatten)]
    stream: aw_relay::StreamOptions,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Add a history that `aw-query export` wrote to the tables, and exit
    ///
    /// A row that the table has already is not added again. So an import that ended early can be run again, and two
    /// histories that overlap become one. aw-mysql may write to the tables at the same time. The tables have whole seconds,
    /// and neither rings, outer VLANs nor routers of sightings.
    Import {
        /// The file; - is standard input
        file: PathBuf,
    },
}

const EXAMPLES: &str = "\
Examples:
  aw-mysql                              user and database addrwatch, server on this machine
  aw-mysql -c /etc/addrwatch/mysql.cnf  server, user, password and database of this file
  aw-mysql -p site1_                    store in tables site1_log, site1_origin, site1_position
  aw-query export | aw-mysql -c /etc/addrwatch/mysql.cnf import -

  [addrwatch]
  host = db.example.net
  user = addrwatch
  password = secret
  ssl-ca = /etc/ssl/certs/example.pem

Missing tables are created, with the indexes that aw-query needs. While the server is down, events
are queued in the state directory. They are stored when the server is back.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// The file with the server and the login that the unit of the service names, if it is there, and the prefix of its tables.
fn tables_of_service() -> Option<(PathBuf, Option<TablePrefix>)> {
    let command = UnitFiles::of("aw-mysql").and_then(|unit| unit.command())?;
    let option = |short, long| command.option(short).or_else(|| command.option(long));
    let file = PathBuf::from(option("-c", "--config")?);
    let prefix = option("-p", "--prefix").and_then(|prefix| prefix.parse().ok());
    (file.is_absolute() && file.exists()).then_some((file, prefix))
}

fn main() -> ExitCode {
    let options: Options = parse("aw-mysql");
    let Options { rings, spool, config, prefix, hostname, command, .. } = options;
    // Before privileges are dropped, because the file may be root's. `run` reports the error. --check does it as the service.
    // An import of root is into the tables of the service, unless others are named.
    let is_import = command.is_some() && config.is_none() && rustix::process::geteuid().is_root();
    let (file, prefix) = match is_import.then(tables_of_service).flatten() {
        Some((file, of_service)) => {
            info(format_args!("adding to the tables of the service aw-mysql: {}", file.display()));
            (Some(file), prefix.or(of_service))
        }
        None => (config, prefix),
    };
    let prefix = prefix.unwrap_or_default();
    let read = || file.as_deref().map_or_else(|| Ok(ServerConfig::default()), ServerConfig::read);
    let config = match rings.check {
        true => as_service(&rings, file.as_deref(), read).and_then(|read| read),
        false => read(),
    };
    let plan = Plan {
        named: file.iter().cloned().collect(),
        files: config.as_ref().map_or(Vec::new(), ServerConfig::access),
        sockets: config.as_ref().map_or(Vec::new(), ServerConfig::sockets),
        linger: Duration::from_millis(500), // to commit several events together
        batch: 8192,
        spool: command.is_none().then_some(spool),
        ..Plan::default()
    };
    if let Some(Command::Import { file }) = command {
        let user = config.as_ref().ok().and_then(ServerConfig::socket_user);
        let user = user.map(|user| user.user.as_raw());
        return import("aw-mysql", &rings, &file, user, &plan, || {
            MysqlTarget::open(&config?, &prefix)
        });
    }
    #[cfg(feature = "stream")]
    if let Some(stream) = options.stream.source(&rings, &plan) {
        let open = |(config, hostname): (Result<ServerConfig, _>, _)| {
            Ok(MysqlSink::new(&config?, &prefix, hostname)?.with_hosts_of_events())
        };
        let check = |(config, hostname): (Result<ServerConfig, _>, Option<String>)| {
            let config = config.map_err(|error: Error| vec![error.to_string()])?;
            check_servers(&config, |server| open((Ok(server.clone()), hostname.clone())))
        };
        return stream.run("aw-mysql", (config, hostname), check, open);
    }
    if rings.check {
        return check("aw-mysql", &rings, &plan, || {
            let config = config.map_err(|error| vec![error.to_string()])?;
            check_servers(&config, |server| {
                let names = NameFollower::new(&rings, &plan)?;
                let sink = MysqlSink::new(server, &prefix, hostname.clone())?;
                Ok(sink.with_names(names))
            })
        });
    }
    run("aw-mysql", &rings, &plan, || {
        let names = NameFollower::new(&rings, &plan)?;
        Ok(MysqlSink::new(&config?, &prefix, hostname)?.with_names(names))
    })
}
