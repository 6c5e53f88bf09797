//! The command line.

use std::path::PathBuf;

use aw_output::{makers::IEEE_DATA, serve, state_directory};
use aw_query::{History, ReaderOptions, TablePrefix};
use aw_service::{Error, ServiceOptions, TimeSpan};
use clap::{Parser, Subcommand, ValueEnum};
use shm_layout::{InvalidRingName, RingName};

use crate::listener::Address;

/// The ring of a collector without `-m`.
const DEFAULT_RING: &str = "/addrwatch";

/// Answers in a browser which device had which address, where and when
#[derive(Parser)]
#[command(name = "aw-web", version, after_help = EXAMPLES)]
pub struct Options {
    /// Read the history from this database of aw-sqlite, or from mysql://[USER@][HOST[:PORT],...]/DATABASE, or from clickhouse://[USER@]HOST[:PORT]/DATABASE (clickhouses:// with TLS) of aw-clickhouse [default: the server of --config, or else the database that the options of the service aw-sqlite name, or else /var/lib/addrwatch/addrwatch.db]
    #[arg(help_heading = "History", long, value_name = "FILE|URL")]
    pub database: Option<String>,

    /// Read the server and the login from FILE, as aw-query does; see aw-mysql.cnf(5)
    #[arg(help_heading = "History", short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Prefix of the names of the server's tables, as for aw-mysql
    #[arg(help_heading = "History", long, value_name = "PREFIX", default_value = "")]
    pub prefix: TablePrefix,

    #[command(flatten, next_help_heading = "History")]
    #[allow(missing_docs)]
    pub clickhouse: ReaderOptions,

    /// File with the names of devices, a line `MAC NAME` or `MAC|NAME` for each; it is followed [default: /etc/addrwatch/names]
    #[arg(help_heading = "History", long, value_name = "FILE")]
    pub names: Option<PathBuf>,

    /// Let editors name devices on pages: in the file of --names, as aw-query name does, for all programs that read it
    #[arg(help_heading = "History", long)]
    pub edit: bool,

    /// Directory with the IEEE's lists of makers, as for aw-query
    #[arg(help_heading = "History", long, value_name = "DIR", default_value = IEEE_DATA)]
    pub vendors: PathBuf,

    /// End a question that has no answer after TIME: 90s or 5m. Four are answered at a time, and 32 more wait
    #[arg(help_heading = "History", long, value_name = "TIME", default_value = "20s")]
    pub timeout: TimeSpan,

    /// Follow the ring NAME (the -m of its collector) for what is live, and for whether all is well; may be repeated, and none follows no
    /// ring [default: /addrwatch; none if the history is on a server]
    #[arg(help_heading = "Rings", short = 'm', long = "ring", visible_alias = "shm-log-name", value_name = "NAME", value_parser = parse_ring)]
    pub rings: Vec<RingChoice>,

    /// Trust the rings of USER instead of those of the users addrwatch and aw-routeros, as outputs do; may be repeated
    #[arg(help_heading = "Rings", long, value_name = "USER")]
    pub owner: Vec<String>,

    /// Directory with the directories of the outputs: their positions, queues and faults, and the alerts that aw-alert keeps
    #[arg(help_heading = "Rings", long, value_name = "DIR", default_value = "/var/lib/addrwatch")]
    pub outputs: PathBuf,

    /// Archive of aw-routeros, for the changes of configurations that it shows without secrets
    #[arg(
        help_heading = "Rings",
        long,
        value_name = "DIR",
        default_value = "/var/lib/addrwatch/routeros"
    )]
    pub archive: PathBuf,

    /// Serve at this address, or at this socket (an absolute path, for a reverse proxy on this machine); without ADDR only on
    /// 127.0.0.1. Another address than the loopback needs --tls-cert and --tls-key
    #[arg(help_heading = "Server", long, value_name = "[ADDR:]PORT|PATH", default_value = "127.0.0.1:9715", value_parser = Address::parse)]
    pub listen: Address,

    /// Also answer HTTP requests for this host name; may be repeated. Without it, requests for IP addresses, this machine's
    /// host name and, on the loopback, localhost are answered, so that no page of another site can read the history
    #[arg(help_heading = "Server", long, value_name = "NAME", value_parser = serve::parse_host)]
    pub allow_host: Vec<String>,

    /// Serve HTTPS with the certificate chain in FILE (PEM)
    #[arg(help_heading = "Server", long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of the certificate (PEM), a file that other users may not read
    #[arg(help_heading = "Server", long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Trust the reverse proxy on the socket of --listen to name the user in the header NAME, which it must remove from requests
    /// of clients. Every process that may connect to the socket is trusted
    #[arg(help_heading = "Server", long, value_name = "NAME", value_parser = parse_header)]
    pub proxy_user_header: Option<String>,

    /// Trust the reverse proxy on the socket of --listen to name the client's address in the header NAME, such as X-Forwarded-For, of
    /// which the last address counts. Wrong passwords are then limited for each client, and the log has its address
    #[arg(help_heading = "Server", long, value_name = "NAME", value_parser = parse_header)]
    pub proxy_client_header: Option<String>,

    /// Directory of this program's files: its lock, the link with its token, its users. Two runs of one program at a time need
    /// two directories [default: the directory of the program's name in /var/lib/addrwatch if it exists, otherwise
    /// /var/lib/addrwatch]
    #[arg(long, global = true, value_name = "DIR", default_value_os_t = state_directory(), hide_default_value = true)]
    pub state_dir: PathBuf,

    /// Check that this program runs and can read the history; print one line, and exit with status 0 if so, otherwise 1
    #[arg(long)]
    pub health: bool,

    /// Try what the service will do: read its files, the history and the certificate, write its directory, take its port. If root
    /// asks with --check alone, and a systemd unit of this program exists, the command line of the unit is tried, with the options of
    /// its files. Print each fault with its remedy, and exit with status 1 if there is one
    #[arg(long, conflicts_with_all = ["health", "daemon"])]
    pub check: bool,

    /// Report on standard error what the kernel does not support
    #[arg(short, long)]
    pub verbose: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub service: ServiceOptions,

    #[command(subcommand)]
    pub command: Option<Command>,
}

impl Options {
    /// The history that the options name, whose files may be of root.
    pub fn history(&self) -> Result<History, Error> {
        let (database, config) = (self.database.as_deref(), self.config.as_deref());
        History::named(database, config, &self.prefix, &self.clickhouse)
    }

    /// The option that needs a reverse proxy on a socket, if there is one.
    pub fn proxy_option(&self) -> Option<&'static str> {
        let user = self.proxy_user_header.as_ref().map(|_| "--proxy-user-header");
        user.or(self.proxy_client_header.as_ref().map(|_| "--proxy-client-header"))
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Print the link that logs a browser in, of the aw-web that runs with this --state-dir
    Login,
    /// Add a user who logs in with a password, or change the password: it is read from standard input
    Passwd {
        /// Letters, digits, dots, hyphens and underscores
        #[arg(value_parser = crate::users::parse_name)]
        name: String,
        /// What the user may do [default: as before; of a new user: reader]
        #[arg(long, value_enum)]
        role: Option<Role>,
        /// Remove the user, and end the sessions of that user
        #[arg(long, conflicts_with = "role")]
        remove: bool,
    },
}

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Read all pages
    Reader,
    /// Read all pages, and name devices if --edit is given
    Editor,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Editor => "editor",
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  aw-web                                  http://127.0.0.1:9715/, for this machine
  sudo aw-web login                       print the link that logs in
  sudo aw-web passwd alice                add the user alice
  aw-web --listen 192.0.2.1:9715 --tls-cert /etc/addrwatch/web.pem --tls-key /etc/addrwatch/web.key
                                          https, also for other machines
  aw-web --edit                           editors name devices on pages
  aw-web --listen /run/aw-web/socket --allow-host addrwatch.example.org
                                          for a reverse proxy on this machine

Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// A ring, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingChoice {
    None,
    Ring(RingName),
}

fn parse_ring(text: &str) -> Result<RingChoice, InvalidRingName> {
    match text {
        "none" => Ok(RingChoice::None),
        name => name.parse().map(RingChoice::Ring),
    }
}

impl Options {
    /// The rings that are followed, each once.
    pub fn rings(&self, history: &History) -> Vec<RingName> {
        if self.rings.is_empty() && matches!(history, History::Sqlite(_)) {
            return DEFAULT_RING.parse().into_iter().collect();
        }
        let mut rings: Vec<RingName> = Vec::new();
        for choice in &self.rings {
            if let RingChoice::Ring(ring) = choice
                && !rings.contains(ring)
            {
                rings.push(ring.clone());
            }
        }
        rings
    }
}

fn parse_header(text: &str) -> Result<String, &'static str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !text.is_empty() && text.len() <= 64 && text.chars().all(is_part) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err("must be the name of a header, such as X-Remote-User"),
    }
}
