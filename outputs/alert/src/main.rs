//! `aw-alert`: tells somebody, once, what is new or odd in the network, through what they use.
#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_alert::{
    alerts::Alerts,
    channel::Secrets,
    config::{self, Config},
    files::{self, Shape},
    import, seconds,
    speaker::{self, Pipes, Speaker},
    store::Store,
    watch::{Dialect, Rules},
};
use aw_output::{Error, Plan, RingOptions, SpoolOptions, failed, parse, run};
use aw_service::Identity;
use clap::{Parser, Subcommand};

/// Tells somebody of new devices, duplicate addresses and other changes in the collector's rings.
#[derive(Parser)]
#[command(name = "aw-alert", version, after_help = EXAMPLES)]
struct Options {
    /// Whom to tell what, in TOML
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration and exit
    #[arg(long, requires = "config")]
    check: bool,

    /// Print each report as a line, too
    #[arg(long)]
    print: bool,

    /// Whose words and conditions
    #[arg(long, value_enum, default_value_t)]
    dialect: Dialect,

    /// The first time, learn in silence for TIME from the first event on: 30m, 12h, 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    learn: Option<i64>,

    /// Run PROGRAM for each report, with it as JSON on standard input and in the environment
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<PathBuf>,

    /// The process that sends messages: started by aw-alert itself
    #[arg(long, hide = true)]
    speaker: bool,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,

    #[command(subcommand)]
    work: Option<Work>,
}

/// Instead of following rings.
#[derive(Subcommand)]
enum Work {
    /// Learn what other programs knew: arp.dat and ethercodes.dat of arpwatch, the SQLite databases of addrwatch and
    /// hostwatch, the names of macupd_tracker.conf
    Import {
        /// The network of lines that name no interface
        #[arg(long, value_name = "INTERFACE")]
        network: Option<String>,
        /// Files; where one is missing, the same with - behind it, as arpwatch leaves it
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print what is known
    Export {
        /// In which shape
        #[arg(value_enum, default_value_t)]
        shape: Shape,
        /// With the five columns of Debian's arpwatch
        #[arg(long)]
        debian: bool,
    },
    /// Send a test message to a channel of the configuration
    Test {
        /// Its name
        channel: String,
    },
}

const EXAMPLES: &str = "\
Examples:
  aw-alert --print --exec /usr/local/bin/tell    run a program for each report
  aw-alert -c /etc/addrwatch/alert.toml --learn 7d
  aw-alert -c /etc/addrwatch/alert.toml --check
  aw-alert --print --once --dialect arpwatch     what arpwatch would have said of the ring
  aw-alert import --network eth0 /var/lib/arpwatch/arp.dat
  aw-alert import /etc/macupd_tracker.conf       names of known devices
  aw-alert export csv
Exit status: 0 when stopped by a signal or a closed pipe, 1 on failure, 2 for wrong options.";

fn main() -> ExitCode {
    let options: Options = parse("aw-alert");
    let state = options.rings.state_path();
    if options.speaker {
        return speaker::speak(options.exec.as_deref());
    }
    let (config, rules, pipes) = match prepare(&options, &state) {
        Ok(Some(ready)) => ready,
        Ok(None) | Err(Error::Closed) => return ExitCode::SUCCESS,
        Err(Error::Failed(why)) => {
            eprintln!("aw-alert: {why}");
            return ExitCode::FAILURE;
        }
    };
    let Options { rings, spool, print, learn, .. } = options;
    // What happens within that is told at once, and committed once: a disk is not worn out.
    let linger = Duration::from_secs(1);
    let plan = Plan { linger, spool: Some(spool), ..Plan::default() };
    run("aw-alert", &rings, &plan, || {
        let speaker = pipes.map(Speaker::new).transpose()?;
        let store = Store::open(&state, "aw-alert").map_err(aw_output::Fault::into_error)?;
        let alerts = Alerts::new(config, rules, store, speaker);
        let mut alerts = alerts.map_err(aw_output::Fault::into_error)?;
        (alerts.print, alerts.learn, alerts.once) = (print, learn, rings.once);
        Ok(alerts)
    })
}

/// Reads what there is to read, does what needs no rings, and starts the process that speaks: all before privileges are
/// given up. None: it is done.
fn prepare(
    options: &Options,
    state: &Path,
) -> Result<Option<(Config, Rules, Option<Pipes>)>, Error> {
    let text = options.config.as_deref().map_or(Ok(String::new()), config::text).map_err(failed)?;
    let place = |why| match &options.config {
        Some(path) => failed(format_args!("{}: {why}", path.display())),
        None => failed(why),
    };
    let mut config = Config::parse(&text).map_err(place)?;
    config.add_command(options.exec.as_deref()).map_err(place)?;
    let rules = config.rules(options.dialect).map_err(place)?;
    // Whoever starts it may read what the one that speaks may not.
    let secrets = match options.rings.health {
        true => Default::default(),
        false => Secrets::read_all(&config).map_err(place)?,
    };
    if options.check {
        println!("{} channels, {} known MACs", config.channel.len(), rules.known.len());
        return Ok(None);
    }
    match &options.work {
        Some(Work::Import { network, files }) => {
            let made = |error| Error::io(format_args!("make {}", state.display()), error);
            std::fs::create_dir_all(state).map_err(made)?;
            let imported = import::import(state, network.as_deref(), files);
            hand_over(options, state).and(imported).map(|()| None)
        }
        Some(Work::Export { shape, debian }) => {
            files::export(state, *shape, *debian, &rules.known).map(|()| None)
        }
        Some(Work::Test { channel }) => files::test(&config, channel, &secrets).map(|()| None),
        None if options.rings.health || config.channel.is_empty() => {
            Ok(Some((config, rules, None)))
        }
        None => {
            let pipes = speaker::start(&options.rings, &config, &text, &secrets)?;
            Ok(Some((config, rules, Some(pipes))))
        }
    }
}

/// What root has imported belongs to the user that will follow rings.
fn hand_over(options: &Options, state: &Path) -> Result<(), Error> {
    let user = options.rings.service.user.as_deref();
    let Some(Identity { user, group, .. }) =
        Identity::choose(user, &["aw-alert", "addrwatch"], None)?
    else {
        return Ok(());
    };
    let files = ["aw-alert.db", "aw-alert.db-wal", "aw-alert.db-shm"].map(|name| state.join(name));
    for path in files.iter().map(PathBuf::as_path).chain([state]).filter(|path| path.exists()) {
        std::os::unix::fs::lchown(path, Some(user.as_raw()), Some(group.as_raw()))
            .map_err(|error| Error::io(format_args!("give {} away", path.display()), error))?;
    }
    Ok(())
}
