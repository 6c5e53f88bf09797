//! `aw-clickhouse`: stores events in ClickHouse, each at least once in the table and exactly once in each answer of its views.
#![forbid(unsafe_code)]

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{ErrorKind, Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_clickhouse::{
    BATCH, ClickhouseSink, Cluster, ClusterOptions, Login, Purpose, ServerUrl, TABLES,
    parse_database, schema,
};
use aw_notify::read_secret;
use aw_output::{Error, Plan, RingOptions, SpoolOptions, as_service, check, failed, parse, run};
use aw_service::TimeSpan;
use clap::{Parser, Subcommand};

/// Stores the events of the collector's rings in ClickHouse, for many sites and long histories
#[derive(Parser)]
#[command(name = "aw-clickhouse", version, after_help = EXAMPLES)]
struct Options {
    /// Server: http://HOST[:PORT] (port 8123), or https://HOST[:PORT] with TLS (port 8443); may be given several times for a cluster, whose servers are tried in turn
    #[arg(
        help_heading = "Server",
        long = "server",
        value_name = "URL",
        default_value = "http://localhost"
    )]
    servers: Vec<ServerUrl>,

    /// Database with the tables, which `aw-clickhouse schema` prints
    #[arg(help_heading = "Server", long, global = true, value_name = "NAME", default_value = "addrwatch", value_parser = parse_database)]
    database: String,

    /// User name for the server [default: the server's user default]
    #[arg(help_heading = "Server", long, value_name = "NAME")]
    login: Option<String>,

    /// Read the password from the first line of FILE, which other users must not be able to read
    #[arg(
        help_heading = "Server",
        long,
        value_name = "FILE",
        requires = "login",
        conflicts_with = "password_env"
    )]
    password_file: Option<PathBuf>,

    /// Read the password from the environment variable VARIABLE
    #[arg(help_heading = "Server", long, value_name = "VARIABLE", requires = "login")]
    password_env: Option<String>,

    /// Send the password without TLS also to another machine: every network on the way can read it
    #[arg(help_heading = "Server", long, requires = "login")]
    plain_password: bool,

    /// With https: trust the certificate authorities in FILE (PEM) instead of the system's
    #[arg(help_heading = "Server", long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// With https: present the client certificate in FILE (PEM)
    #[arg(help_heading = "Server", long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,

    /// Private key of the client certificate (PEM), a file that other users may not read
    #[arg(help_heading = "Server", long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,

    /// Insert what arrives within TIME together: a server merges the inserts of all sensors
    #[arg(long, value_name = "TIME", default_value = "30s")]
    every: TimeSpan,

    /// Name of this sensor in rows; must be unique among the sensors, and must not change [default: the collector's host name]
    #[arg(long, value_name = "NAME")]
    #[cfg_attr(feature = "stream", arg(conflicts_with = "stream"))]
    hostname: Option<String>,

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
    /// Print the statements that create the database and its tables, and exit
    Schema {
        /// Delete rows after DAYS; the server must be ClickHouse 19.6 or newer
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
        retention: Option<u16>,
    },
}

const EXAMPLES: &str = "\
Examples:
  aw-clickhouse schema | clickhouse-client --multiquery
  aw-clickhouse                            insert into the server of this machine
  aw-clickhouse --server https://a.example.net --server https://b.example.net \\
      --login sensor --password-file /etc/addrwatch/clickhouse.password

Every event is in the table at least once; host, ring, generation and sequence identify it. While no
server accepts inserts, events are queued in the state directory.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

fn main() -> ExitCode {
    let options: Options = parse("aw-clickhouse");
    if let Some(Command::Schema { retention }) = options.command {
        let printed = stdout().write_all(schema(&options.database, retention).as_bytes());
        return match printed {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        };
    }
    // Before privileges are dropped, because secrets may belong to root. Errors are reported later, when the log is open.
    let prepared = match options.rings.check {
        true => as_service(&options.rings, None, || prepare(&options)).and_then(|ready| ready),
        false => prepare(&options),
    };
    let mut files = ClusterOptions::access(&options.servers);
    // Read again for each request. The directory: the file may be replaced.
    let password = options.password_file.as_deref().and_then(|file| std::path::absolute(file).ok());
    let directory = password.as_deref().and_then(Path::parent);
    files.extend(directory.map(|directory| aw_output::Access::Read(directory.into())));
    let named =
        [&options.password_file, &options.ca_file, &options.certificate_file, &options.key_file];
    let plan = Plan {
        named: named.into_iter().flatten().cloned().collect(),
        files,
        sockets: vec![libc::AF_INET, libc::AF_INET6],
        linger: Duration::from_millis(500), // one insert for many events
        interval: with_jitter(options.every.0),
        batch: BATCH,
        keeps_batches: true,
        spool: Some(options.spool.clone()),
        ..Plan::default()
    };
    let try_output = |prepared: Result<Cluster, Error>| {
        let mut cluster = prepared.map_err(|error| vec![error.to_string()])?;
        cluster.check(&TABLES)?;
        Ok(format!("{} accepts the login and rows", cluster.database()))
    };
    #[cfg(feature = "stream")]
    if let Some(stream) = options.stream.source(&options.rings, &plan) {
        let open = |prepared: Result<Cluster, Error>| Ok(ClickhouseSink::new(prepared?, None));
        return stream.run("aw-clickhouse", prepared, try_output, open);
    }
    if options.rings.check {
        return check("aw-clickhouse", &options.rings, &plan, || try_output(prepared));
    }
    run("aw-clickhouse", &options.rings, &plan, || {
        Ok(ClickhouseSink::new(prepared?, options.hostname))
    })
}

fn prepare(options: &Options) -> Result<Cluster, Error> {
    let (file, variable) = (options.password_file.as_deref(), options.password_env.as_deref());
    let password = read_secret("password", file, variable).map_err(failed)?;
    let login = options.login.clone().map(|name| Login {
        name,
        password,
        // Absolute: the working directory may change.
        file: file.map(|file| std::path::absolute(file).unwrap_or(file.into())),
    });
    let options = ClusterOptions {
        servers: options.servers.clone(),
        database: options.database.clone(),
        login,
        ca_file: options.ca_file.clone(),
        identity: options.certificate_file.clone().zip(options.key_file.clone()),
        plain_password: options.plain_password,
    };
    Cluster::new(options, Purpose::Insert).map_err(failed)
}

/// A tenth shorter at most: sensors that start together, as after a power cut, do not insert together for long.
fn with_jitter(every: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish() as u32;
    every - every.mul_f64(f64::from(random) / f64::from(u32::MAX) / 10.0)
}
