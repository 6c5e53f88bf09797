//! What the user wants: the command line, and the configuration file behind it.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    num::{NonZeroU16, NonZeroU32},
    path::{Path, PathBuf},
    sync::Arc,
};

use aw_output::{Access, Error, RingOptions, failed, info, serve};
use clap::{Args, Parser, Subcommand, ValueEnum};
use shm_layout::MacAddr;

use crate::config::{Config, Names, parse_name};

/// Where the configuration is looked for, if nothing else is said.
const CONFIG: &str = "/etc/macupd_tracker.conf";
const MAX_LOGS: u16 = 31;
/// Where Debian's ieee-data has the registries.
const VENDORS: &str = "/usr/share/ieee-data";

/// Keeps a log a day of who was heard in which hour, alerts of unknown devices, and a report as one HTML page.
#[derive(Parser)]
#[command(name = "aw-tracker", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(flatten)]
    pub settings: Settings,

    #[command(flatten)]
    pub rings: RingOptions,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What is done instead of following a ring.
#[derive(Subcommand)]
pub enum Command {
    /// Write the report of a directory of logs, and print it as text
    Report {
        /// The logs
        log_dir: PathBuf,

        #[command(flatten)]
        sources: Sources,
    },
}

#[derive(Args, Clone, Debug)]
pub struct Settings {
    #[command(flatten)]
    pub sources: Sources,

    /// Directory of the logs; instead of LOGDIR
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// Rows of a day's log, at most; the last tenth is kept for devices with names
    #[arg(long, value_name = "NUM", default_value = "50000")]
    pub max_rows: NonZeroU32,

    /// Which sightings count
    #[arg(long, value_enum, default_value_t = Source::All)]
    pub source: Source,

    /// Show the report, and nothing else, to browsers; ADDR is this machine alone if not given
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = serve::parse_address)]
    pub serve: Option<SocketAddr>,
}

/// Options that the report has, too.
#[derive(Args, Clone, Debug)]
pub struct Sources {
    /// Read settings and names from FILE, a macupd_tracker.conf [default: /etc/macupd_tracker.conf, if there is one]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory of the report; instead of REPORTDIR [default: that of the logs]
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,

    /// Days before today whose logs are kept and shown; instead of MAXLOGS [default: 31]
    #[arg(long, value_name = "DAYS")]
    pub max_logs: Option<NonZeroU16>,

    /// Name a device, as a line of the file does; may be repeated
    #[arg(long = "name", value_name = "MAC|NAME", value_parser = parse_name)]
    pub names: Vec<(MacAddr, String)>,

    /// Directory with the IEEE's registries of makers
    #[arg(long, value_name = "DIR", default_value = VENDORS)]
    pub vendors: PathBuf,

    /// Where it was started: in the background it is elsewhere
    #[arg(skip)]
    pub start: PathBuf,
}

/// Which sightings count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// Reports of DD-WRT routers
    Macupd,
    /// ARP and Neighbor Discovery
    Pairing,
    /// Both
    All,
}

pub const EXAMPLES: &str = "\
Examples:
  aw-tracker -c macupd_tracker.conf              as the file says
  aw-tracker --log-dir /var/log/addrwatch --serve 8080
  aw-tracker -d -p /run/aw-tracker.pid           in the background
  aw-tracker --log-dir logs --name '02:00:00:00:00:01|Kitchen radio'
  aw-tracker report /var/log/addrwatch           the report, as a page and as text

SIGHUP reads the configuration again.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// What is wanted, from both.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub log_dir: PathBuf,
    pub report_dir: PathBuf,
    pub max_logs: u16,
    pub names: Arc<Names>,
}

impl Sources {
    /// Where the configuration is, if there is one.
    fn path(&self) -> PathBuf {
        self.start.join(self.config.as_deref().unwrap_or(Path::new(CONFIG)))
    }

    /// The registries of makers.
    pub fn vendors(&self) -> PathBuf {
        self.start.join(&self.vendors)
    }

    /// The configuration.
    fn read(&self) -> Result<Config, Error> {
        let path = self.path();
        let shown = path.display();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.config.is_none() => {
                return Ok(Config::default());
            }
            read => read.map_err(|error| Error::io(format_args!("read {shown}"), error))?,
        };
        Config::parse(&bytes).map_err(|fault| Error::new(shown, fault))
    }

    /// What is wanted of the logs in a directory.
    pub fn wanted(
        &self,
        log_dir: Option<&Path>,
        report_beside: bool,
    ) -> Result<(Wanted, Config), Error> {
        let config = self.read()?;
        let log_dir =
            log_dir.map(Path::to_owned).or_else(|| config.log_dir.clone()).ok_or_else(|| {
                let path = self.path();
                failed(format_args!(
                    "no directory for logs (LOGDIR in {}, or --log-dir)",
                    path.display()
                ))
            })?;
        // A configuration that was asked for is followed; one that is only there was not meant.
        let configured =
            config.report_dir.clone().filter(|_| !report_beside || self.config.is_some());
        let mut names: Names = HashMap::clone(&config.names);
        names.extend(self.names.iter().cloned());
        let report_dir = self.report_dir.clone().or(configured).unwrap_or_else(|| log_dir.clone());
        let wanted = Wanted {
            report_dir: self.start.join(report_dir),
            log_dir: self.start.join(log_dir),
            max_logs: self.max_logs.map(NonZeroU16::get).or(config.max_logs).unwrap_or(MAX_LOGS),
            names: Arc::new(names),
        };
        Ok((wanted, config))
    }
}

impl Settings {
    /// What is wanted, by now.
    pub fn wanted(&self) -> Result<Wanted, Error> {
        Ok(self.sources.wanted(self.log_dir.as_deref(), false)?.0)
    }

    /// What is to be read and written. Directories: files that are replaced are others each time.
    pub fn files(&self) -> Result<Vec<Access>, Error> {
        let wanted = self.wanted()?;
        // Where a file is a link, also the directory that it leads to.
        let parent = |path: &Path| path.parent().map(Path::to_owned);
        let places = |path: PathBuf| {
            let target = path.canonicalize().ok();
            [parent(&path), target.as_deref().and_then(parent)].into_iter().flatten()
        };
        let vendors = self.sources.vendors();
        let registries = std::fs::read_dir(&vendors).into_iter().flatten().flatten();
        let registries = registries.flat_map(|file| places(file.path()));
        let read = places(self.sources.path()).chain([vendors.clone()]).chain(registries);
        let read: std::collections::BTreeSet<PathBuf> = read.collect();
        let read = read.into_iter().map(Access::Read);
        Ok(read.chain([wanted.log_dir, wanted.report_dir].map(Access::Write)).collect())
    }

    /// Says what of the file has moved.
    pub fn explain(&self) -> Result<(), Error> {
        let (_, config) = self.sources.wanted(self.log_dir.as_deref(), false)?;
        if config.host.is_some() || config.port.is_some() {
            let host = config.host.as_deref().unwrap_or("0.0.0.0");
            let port = config.port.unwrap_or(2056);
            let host =
                host.parse::<IpAddr>().map_or_else(|_| host.to_owned(), |host| host.to_string());
            info(format_args!(
                "HOST and PORT are without effect here: the collector listens now (collector --macupd {host}:{port})"
            ));
        }
        if config.pid_file.is_some() {
            info("PIDFILE is without effect here (-d -p FILE)");
        }
        Ok(())
    }
}
