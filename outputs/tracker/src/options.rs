//! The command line, and how it is combined with the configuration file.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use aw_output::{
    Access, Error, HostPort, RingOptions, failed, info,
    makers::{IEEE_DATA, Makers},
    names::LiveNames,
    serve,
};
use aw_service::{FileKind, TimeSpan, plain, read_file};
use clap::{Args, Parser, Subcommand, ValueEnum};
use shm_layout::MacAddr;

use crate::{
    config_file::{ConfigFile, DeviceNames, parse_name},
    daily_logs::LogConfig,
};

/// The configuration file without `--config`.
const CONFIG: &str = "/etc/macupd_tracker.conf";
/// That of the unit.
const OF_SERVICE: &str = "/etc/addrwatch/macupd_tracker.conf";
const MAX_LOGS: u16 = 31;
/// Bytes of the configuration file, which lists the names of devices.
const MAX_CONFIG: u64 = 16 << 20;

/// Writes a daily log of devices with the hours in which they were seen, alerts for unknown devices, and an HTML report
#[derive(Parser)]
#[command(name = "aw-tracker", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(flatten)]
    pub tracking: TrackOptions,

    #[command(flatten)]
    pub rings: RingOptions,

    #[command(subcommand)]
    pub command: Option<TrackerCommand>,
}

#[derive(Subcommand)]
pub enum TrackerCommand {
    /// Create the HTML report of a directory of logs, and print it as text
    Report {
        /// Directory of the logs
        log_dir: PathBuf,

        #[command(flatten)]
        common: CommonOptions,
    },
}

/// Options that only tracking has.
#[derive(Args, Clone, Debug)]
pub struct TrackOptions {
    #[command(flatten)]
    pub common: CommonOptions,

    /// Directory of the logs; must exist (the unit creates /var/log/addrwatch/aw-tracker); overrides LOGDIR of the configuration file
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,

    /// Maximum number of rows in the log of a day; the last tenth is reserved for devices with names. When it is reached, rows of the networks and MACs with the most rows make room for new ones
    #[arg(long, value_name = "NUM", default_value = "50000")]
    pub max_rows: NonZeroU32,

    /// Which sightings are recorded; configuration changes of routers are always recorded
    #[arg(long, value_enum, default_value_t = SightingSource::All)]
    pub source: SightingSource,

    /// Serve the report, and nothing else, over HTTP; without ADDR only on 127.0.0.1. The page is made when it is requested, shows
    /// who is online, and says since when no data arrive
    #[arg(long, value_name = "[ADDR:]PORT", value_parser = serve::parse_address)]
    pub serve: Option<SocketAddr>,

    /// Also answer HTTP requests for this host name; may be repeated. Without it, requests for IP addresses, this machine's
    /// host name and, on the loopback, localhost are answered, so that no web page of another site can read the report
    #[arg(long, value_name = "NAME", value_parser = serve::parse_host, requires = "serve")]
    pub allow_host: Vec<String>,

    /// The page of --serve shows a device as online if it was seen in this time: 90s, 10m, 1h. Hosts in use are seen every minute or
    /// so; a phone that sleeps may be silent for longer. More than -r of the collector
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "serve")]
    pub online: TimeSpan,
}

/// Options of tracking and of the command `report`.
#[derive(Args, Clone, Debug)]
pub struct CommonOptions {
    /// Configuration file, see macupd_tracker.conf(5) [default: /etc/macupd_tracker.conf, if it exists]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory of the HTML report; overrides REPORTDIR of the configuration file [default: directory of the logs]
    #[arg(long, value_name = "DIR")]
    pub report_dir: Option<PathBuf>,

    /// Number of days before today whose logs are kept and shown; overrides MAXLOGS of the configuration file [default: 31]
    #[arg(long, value_name = "DAYS")]
    pub max_logs: Option<NonZeroU16>,

    /// Name of a known device, 'MAC|NAME' or 'MAC NAME'; may be repeated; overrides the configuration file
    #[arg(long = "name", value_name = "MAC|NAME", value_parser = parse_name)]
    pub names: Vec<(MacAddr, String)>,

    /// Read the names of known devices from FILE, a line `MAC NAME` or `MAC|NAME` for each; those of --name and the configuration file override them [default: /etc/addrwatch/names, if it exists]
    #[arg(long = "names", value_name = "FILE")]
    pub name_file: Option<PathBuf>,

    /// Directory with the IEEE's lists of makers: oui, mam, oui36 and iab, each .csv or .txt, as Debian's package ieee-data has them
    #[arg(long, value_name = "DIR", default_value = IEEE_DATA)]
    pub vendors: PathBuf,

    /// The current directory at the start: a daemon changes it
    #[arg(skip)]
    pub start_dir: PathBuf,

    /// The names of the common file, as it is now
    #[arg(skip)]
    pub live_names: OnceLock<LiveNames>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SightingSource {
    /// Reports of DD-WRT routers
    Macupd,
    /// ARP and Neighbor Discovery
    Pairing,
    /// Both
    All,
}

pub const EXAMPLES: &str = "\
Examples:
  aw-tracker -c macupd_tracker.conf
  aw-tracker --log-dir /var/log/addrwatch/aw-tracker --serve 8080
                                                 report at http://127.0.0.1:8080/
  aw-tracker -d -p /run/aw-tracker.pid           in the background
  aw-tracker --log-dir logs --name '02:00:00:00:00:01 Kitchen radio'
  aw-tracker report /var/log/addrwatch/aw-tracker
                                                 create the report and print it as text

Names are read again when their file changes. SIGHUP reads the configuration file again; if it has an error, the old settings
stay.
Exit status: 0 when stopped by a signal, 1 on failure, 2 for wrong options.";

/// The settings that result from command line, configuration file and defaults.
#[derive(Clone, Debug)]
pub struct EffectiveConfig {
    pub log_dir: PathBuf,
    pub report_dir: PathBuf,
    pub logs: LogConfig,
}

impl CommonOptions {
    /// The configuration file, which may not exist.
    fn config_path(&self) -> PathBuf {
        self.start_dir.join(self.config.as_deref().unwrap_or(Path::new(CONFIG)))
    }

    pub fn makers(&self) -> Makers {
        Makers::new(&self.start_dir.join(&self.vendors))
    }

    /// Reads the file of names: before the configuration is combined.
    pub fn read_names(&self) -> Result<(), Error> {
        let file = self.name_file.as_deref().map(|path| self.start_dir.join(path));
        let _ = self.live_names.set(LiveNames::read(file.as_deref())?);
        Ok(())
    }

    /// The names of that file. In a log, `|` separates columns.
    fn common_names(&self) -> DeviceNames {
        let names = self.live_names.get().map(LiveNames::names).unwrap_or_default();
        let named = names.iter().filter(|(_, name)| !name.is_empty());
        named.map(|(mac, name)| (*mac, plain(name).replace('|', "/"))).collect()
    }

    fn read_config(&self) -> Result<ConfigFile, Error> {
        let path = self.config_path();
        let shown = path.display();
        let bytes = match read_file(&path, FileKind::Settings, MAX_CONFIG) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.config.is_none() => {
                return Ok(ConfigFile::default());
            }
            read => read.map_err(|error| Error::io(format_args!("read {shown}"), error))?,
        };
        ConfigFile::parse(&bytes).map_err(|error| Error::new(shown, error))
    }

    /// Combines command line, configuration file and defaults. `is_report`: for the command `report`.
    pub fn effective_config(
        &self,
        log_dir: Option<&Path>,
        is_report: bool,
    ) -> Result<EffectiveConfig, Error> {
        let file = self.read_config()?;
        let log_dir = log_dir.map(Path::to_owned).or_else(|| file.log_dir.clone());
        let log_dir = log_dir.ok_or_else(|| {
            let path = self.config_path();
            let path = path.display();
            let of_service = match self.config.is_none() && Path::new(OF_SERVICE).exists() {
                true => format!(", or -c {OF_SERVICE} as the service has it"),
                false => String::new(),
            };
            failed(format_args!(
                "no directory for logs (set LOGDIR in {path}, or use --log-dir{of_service})"
            ))
        })?;
        // The command `report` writes next to the logs, unless --config names a file with another directory.
        let report_dir = file.report_dir.clone().filter(|_| !is_report || self.config.is_some());
        let report_dir = self.report_dir.clone().or(report_dir).unwrap_or_else(|| log_dir.clone());
        let mut names = self.common_names();
        names.extend(file.names.clone());
        names.extend(self.names.iter().cloned());
        let networks = self.live_names.get().map(LiveNames::networks).unwrap_or_default();
        let max_logs = self.max_logs.map(NonZeroU16::get).or(file.max_logs).unwrap_or(MAX_LOGS);
        Ok(EffectiveConfig {
            report_dir: self.start_dir.join(report_dir),
            log_dir: self.start_dir.join(log_dir),
            logs: LogConfig { names: Arc::new(names), networks, max_logs },
        })
    }
}

impl TrackOptions {
    /// The settings, with the configuration file as it is now.
    pub fn effective_config(&self) -> Result<EffectiveConfig, Error> {
        self.common.effective_config(self.log_dir.as_deref(), false)
    }

    /// `--online`, in the unit of the logs.
    pub fn online_minutes(&self) -> i64 {
        i64::try_from(self.online.0.as_secs().div_ceil(60)).unwrap_or(i64::MAX).clamp(1, 1_000_000)
    }

    /// What the confined process must access. Directories instead of files, because files are replaced.
    pub fn files(&self) -> Result<Vec<Access>, Error> {
        let config = self.effective_config()?;
        // If a file is a symbolic link, its own directory and that of its target.
        let parent = |path: &Path| path.parent().map(Path::to_owned);
        let directories = |path: PathBuf| {
            let target = path.canonicalize().ok();
            [parent(&path), target.as_deref().and_then(parent)].into_iter().flatten()
        };
        let read: BTreeSet<PathBuf> = directories(self.common.config_path()).collect();
        let read = read.into_iter().map(Access::Read).chain(self.common.makers().access());
        let names = self.common.live_names.get().map(LiveNames::access).unwrap_or_default();
        Ok(read
            .chain(names)
            .chain([config.log_dir, config.report_dir].map(Access::Write))
            .collect())
    }

    /// Reports keys of macupd_tracker that have no effect here, and what replaces them.
    pub fn report_ignored_keys(&self) -> Result<(), Error> {
        let file = self.common.read_config()?;
        if file.host.is_some() || file.port.is_some() {
            let (host, port) = (file.host, file.port.unwrap_or(2056));
            let address = HostPort { host: host.unwrap_or("0.0.0.0".into()), port };
            info(format_args!(
                "HOST and PORT have no effect: the collector receives the reports of routers (collector --macupd {address})"
            ));
        }
        if file.pid_file.is_some() {
            info("PIDFILE has no effect (use -d -p FILE)");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use aw_service::manual::documented_keys;

    fn parse(text: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("macupd_tracker.conf");
        fs::write(&file, text).unwrap();
        let words = ["aw-tracker".as_ref(), "-c".as_ref(), file.as_os_str()];
        let options = Options::try_parse_from(words).unwrap();
        let config = options.tracking.effective_config();
        config.map(|config| format!("{config:?}")).map_err(|error| format!("{error:?}"))
    }

    /// Each key in macupd_tracker.conf(5): its default is the one that applies, and a wrong value is refused.
    #[test]
    fn the_manual_documents_each_key() {
        let keys = documented_keys(include_str!("../../../contrib/man/macupd_tracker.conf.5"));
        let refused = parse("UNKNOWN=1").unwrap_err();
        let (_, known) = refused.split_once("known keys: ").expect("a list of keys");
        let known: BTreeSet<_> = known.split(')').next().unwrap().split(", ").collect();
        let documented: BTreeSet<_> = keys.iter().map(|key| key.name.as_str()).collect();
        assert_eq!(documented, known);
        for key in &keys {
            let base = if key.name == "LOGDIR" { "" } else { "LOGDIR=/a\n" };
            key.compare(false, |line| parse(&format!("{base}{line}"))).unwrap();
            parse(&format!("{base}{}=", key.name)).expect_err(&key.name);
            if key.kind == "integer" {
                for bad in ["x", "0", "65536", "-1", "1.5"] {
                    parse(&format!("{base}{}={bad}", key.name)).expect_err(&key.name);
                }
            }
        }
        assert_eq!(keys.iter().filter(|key| key.kind == "integer").count(), 2);
        assert!(keys.iter().any(|key| key.default.is_some()));
    }
}
