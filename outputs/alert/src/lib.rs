//! `aw-alert`: reports new devices, duplicate addresses and other changes in the network on notification channels.
#![forbid(unsafe_code)]

mod arpdat;
mod channel;
mod channel_queue;
mod check;
mod command;
mod config;
mod config_file;
mod device_list;
mod dispatcher;
mod export;
mod filter;
mod first_day;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/bodies/alert.rs"]
pub mod fuzzed;
mod hours;
mod import;
mod known;
mod learned;
mod learned_infrastructure;
mod learning;
mod learning_periods;
mod message_id;
mod mute;
mod name_lists;
mod named_servers;
mod notification;
mod own_body;
mod parts;
mod printer;
mod priority;
mod rate_gate;
mod sender;
mod sensor;
mod store;
mod template;
mod transport;
mod webhook;
mod webhook_options;

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use aw_detect::{Dialect, Rules, full_name};
use aw_output::{
    Error, Fault, NameFollower, Plan, QueueFile, RingOptions, SpoolOptions, as_service, failed,
    makers::{IEEE_DATA, Makers},
    own_macs, parse, run,
};
use aw_service::{Identity, LineFile, ServiceOptions, TimeSpan, UnitFiles, plain};
use clap::{Parser, Subcommand};

use crate::{
    config::Config,
    config_file::ConfigFile,
    dispatcher::{DispatchOptions, Dispatcher},
    export::ExportFormat,
    known::KnownFormat,
    learning_periods::LearningPeriod,
    name_lists::NameLists,
    sender::{SenderPipes, SenderProcess},
    store::AlertStore,
    transport::{ChannelSecrets, TransportOptions},
};

/// Sends alerts about new devices, duplicate addresses and other changes in the network
#[derive(Parser)]
#[command(name = "aw-alert", version, after_help = EXAMPLES)]
struct Options {
    /// Configuration file (TOML): rules, and the channels that get the alerts
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Print each alert as a line on standard output: those of the kinds that a channel gets without `kinds`, and of the kinds that a channel of the configuration lists; with --dialect arpwatch, all
    #[arg(long)]
    print: bool,

    /// Rule set and message format
    #[arg(long, value_enum, default_value_t)]
    dialect: Dialect,

    /// Learn all devices for TIME from the first start on, or from the next event with --once: 30m, 12h, 7d. No alert about devices, routers and servers is sent in this time, also not about an address that is taken over: what happens is normal from then on, also an attack. Only addresses that `routers`, `dhcp_servers` and `dns_servers` of the configuration name are guarded: who takes one is reported. Set it on the first start: it does not begin on a state that was begun without it, nor again. Without this option, an aw-alert that knows no device holds alerts about new devices until it has run for a day, and reports them then in one list; all other alerts are sent at once. With names, routers, DHCP and DNS servers of this time, or of the first day of an interface, are taken for normal, also rogue ones, and listed at its end: check that list. 0: each new device is reported at once, one with a private MAC within a minute (random_macs in addrwatch-alert.toml(5)). With --once and with --dialect arpwatch, each is
    #[arg(long, value_name = "TIME", value_parser = learn_time)]
    learn: Option<TimeSpan>,

    /// Run PROGRAM for each alert, with the alert as JSON on standard input and in environment variables (see below)
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<PathBuf>,

    /// Read the names of devices from FILE, a line `MAC NAME` or `MAC|NAME` for each [default: /etc/addrwatch/names, if it exists]
    #[arg(long, value_name = "FILE")]
    names: Option<PathBuf>,

    /// Directory with the IEEE's lists of makers: oui, mam, oui36 and iab, each .csv or .txt, as Debian's package ieee-data has them
    #[arg(long, value_name = "DIR", default_value = IEEE_DATA)]
    vendors: PathBuf,

    /// Run as the sender process; for aw-alert itself
    #[arg(long, hide = true)]
    sender: bool,

    #[command(flatten)]
    spool: SpoolOptions,
    #[command(flatten)]
    rings: RingOptions,

    #[command(subcommand)]
    command: Option<AlertCommand>,
}

/// Commands that read no ring.
#[derive(Subcommand)]
enum AlertCommand {
    /// Import data of other programs: arp.dat of arpwatch, lines of addrwatch, /proc/net/arp, SQLite databases of
    /// addrwatch and hostwatch, names (macupd_tracker.conf, ethers), vendors (ethercodes.dat and ethercodes.db of
    /// arpwatch, manuf, nmap-mac-prefixes, oui.csv, oui.txt; those of the package ieee-data need no import)
    Import {
        /// Network of lines that name no interface
        #[arg(long, value_name = "INTERFACE")]
        network: Option<String>,
        /// Files to import; if FILE does not exist, FILE- is read, as arpwatch leaves it
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Print all known addresses with their MACs
    Export {
        /// Output format
        #[arg(value_enum, default_value_t)]
        format: ExportFormat,
        /// For arp.dat: write the five columns of Debian's arpwatch
        #[arg(long)]
        debian: bool,
    },
    /// List the routers, DHCP servers and DNS servers that are known, and why, with their MACs; also while aw-alert runs.
    /// Behind a MAC: named, the configuration has it beside the address; first, it was the first one that claimed the address
    /// by ARP or Neighbor Discovery, so compare it with the label of your device; learned, in the learning period; answered or
    /// announced, it sent messages of a named or known one later; claimed, it claimed the address after another one, or is not one that the configuration has there; reported,
    /// an alert has it. Times are exact to a minute, those of ARP and Neighbor Discovery to five, of what was reported to an hour
    Known {
        /// Output format
        #[arg(value_enum, default_value_t)]
        format: KnownFormat,
    },
    /// Forget the routers, DHCP servers and DNS servers of an interface, and which MACs claimed the addresses that the configuration
    /// names (not the MACs that it has beside them), so that it learns them again from the next start on
    Relearn {
        /// Name of the interface, such as eth0 [default: all interfaces]
        interface: Option<String>,
    },
    /// Send a test message to a channel, or to all: aw-alert [-c FILE] test [CHANNEL]; without -c, of the service's configuration
    Test {
        /// Name of the channel [default: all channels]
        channel: Option<String>,
    },
}

/// The file with what was reported, in the state directory, and its bytes: it is renamed then, and the older one is kept.
const REPORTED: &str = "aw-alert.reported";
const MAX_REPORTED: u64 = 1 << 20;

/// A time span, or 0.
fn learn_time(text: &str) -> Result<TimeSpan, &'static str> {
    if text.trim() == "0" { Ok(TimeSpan(Duration::ZERO)) } else { text.parse() }
}

const EXAMPLES: &str = "\
Examples:
  aw-alert --print --exec /usr/local/bin/notify  run a program for each alert
  aw-alert -c /etc/addrwatch/alert.toml --learn 7d
  aw-alert -c /etc/addrwatch/alert.toml --learn 0  report each new device, from the first one on
  aw-alert -c /etc/addrwatch/alert.toml --check  try each channel, without a message
  aw-alert -c /etc/addrwatch/alert.toml test     send a test message to each channel
  aw-alert --print --once --dialect arpwatch     print what arpwatch would report for the events in the ring
  aw-alert import --network eth0 /var/lib/arpwatch/arp.dat
  aw-alert import /etc/macupd_tracker.conf       import the names of known devices
  aw-alert export csv
  aw-alert known                                 which routers and servers are known, and why
  aw-alert relearn eth0                          forget them: it learns again

The program of --exec, and of the key command of a channel, gets the alert
  as one line of JSON on standard input, and
  as environment variables, one for each key of the JSON: AW_KIND (new_device, changed, ...),
  AW_MESSAGE, AW_MAC, AW_OLD_MAC, AW_FRAME_SOURCE, AW_IP, AW_IFACE, AW_NAME, AW_VENDOR, AW_NOTE,
  AW_HOST, AW_RING, AW_SECONDS (since 1970), ... They may be empty.
A digest of several alerts has AW_KIND=digest, AW_COUNT and AW_HOST; AW_MESSAGE has their number and kinds,
  and then samples, one in each line. So has that of a list, AW_KIND=learned.
The program ends with status 0 when it is done, and with 65 when it refuses the alert for good.
After another status it gets the alert again. The shortest one:
  #!/bin/sh
  logger -t network \"$AW_MESSAGE\"

Exit status: 0 when stopped by a signal or a closed pipe, 1 on failure, 2 for wrong options.";

/// The program.
pub fn main() -> ExitCode {
    let mut options: Options = parse("aw-alert");
    use AlertCommand::{Known, Relearn, Test};
    if options.config.is_none()
        && matches!(options.command, Some(Known { .. } | Relearn { .. } | Test { .. }))
    {
        // That of the service, as for --check.
        let command = UnitFiles::of("aw-alert").and_then(|unit| unit.command());
        let named = command.as_ref().and_then(|it| it.option("--config").or(it.option("-c")));
        options.config = named.map(PathBuf::from);
    }
    let state = options.rings.state_path();
    let transports = TransportOptions { dialect: options.dialect, state: &state };
    if options.sender {
        return sender::run_sender(options.exec.as_deref(), transports);
    }
    if options.rings.check {
        let loaded = as_service(&options.rings, None, || load(&options, transports));
        let loaded = loaded.and_then(|loaded| loaded);
        let named = [&options.config, &options.names].into_iter().flatten().cloned();
        let in_config = loaded.iter().flat_map(|loaded| loaded.config.files());
        let named = named.chain(in_config).collect();
        let spool = Some(options.spool.clone());
        let files = Makers::new(&options.vendors).access();
        let plan = Plan { files, named, spool, ..Plan::default() };
        return aw_output::check("aw-alert", &options.rings, &plan, || {
            let memory = AlertStore::check(&state).err();
            let channels = loaded.map_err(|error| vec![error.to_string()]).and_then(|loaded| {
                let Loaded { config, names, secrets, .. } = loaded;
                let seen = seen(&options.rings, &state);
                let all = names.all(AlertStore::imported_names(&state));
                check::check(&config, names.known().len(), &all, &seen, &secrets, transports)
            });
            match (memory, channels) {
                (None, channels) => channels,
                (Some(fault), Ok(_)) => Err(vec![fault]),
                (Some(fault), Err(faults)) => Err([vec![fault], faults].concat()),
            }
        });
    }
    let Prepared { text, config, mut rules, names, pipes } = match prepare(&options, transports) {
        Ok(Some(ready)) => ready,
        Ok(None) | Err(Error::Closed) => return ExitCode::SUCCESS,
        Err(error) => {
            return aw_service::run("aw-alert", &ServiceOptions::default(), |_| Err(error));
        }
    };
    let makers = Makers::new(&options.vendors);
    let Options { rings, spool, print, learn, dialect, config: config_file, .. } = options;
    (rules.show_ring, rules.own) = (rings.rings.len() > 1, own_macs());
    rules.service_file = config_file.as_deref().filter(|file| is_of_service(file)).map(shown);
    let notes = match rings.health {
        true => learning_periods::lines(&LearningPeriod::in_directory(&state), rules.show_ring),
        false => Vec::new(),
    };
    // What events change is one commit a second, which spares the disk; an alert that is sent alone is committed at once.
    // A batch is so small that the ring does not fill while it is decided and committed.
    let linger = Duration::from_secs(1);
    let lacks = (config.channel.is_empty() && !print).then(|| {
        let file = config_file.as_deref().unwrap_or(Path::new("the file of --config"));
        format!(
            "no channel: devices are remembered, and no alert is sent (add a [[channel]] to {}, or use --print)",
            file.display()
        )
    });
    let config_file = ConfigFile::new(config_file, text, dialect);
    let files = [names.access(), makers.access(), config_file.access()].concat();
    let spool = Some(spool);
    let plan =
        Plan { files, watches: true, linger, batch: 1024, lacks, notes, spool, ..Plan::default() };
    let followed = NameFollower::new(&rings, &plan);
    run("aw-alert", &rings, &plan, || {
        let followed = Some(followed?);
        let sender = pipes.map(SenderProcess::new).transpose()?;
        let mut store = AlertStore::open(&state)?;
        store.makers = makers;
        let learn = learn.map(|TimeSpan(time)| time.as_secs() as i64);
        let (once, queue_file) = (rings.once, QueueFile::new(&state, "aw-alert"));
        let reported_file = LineFile::new(state.join(REPORTED), MAX_REPORTED);
        let options = DispatchOptions {
            print,
            once,
            learn,
            names,
            followed,
            config_file,
            queue_file,
            reported_file,
        };
        Dispatcher::new(config, rules, store, sender, options).map_err(Fault::into_error)
    })
}

/// Whether it is the configuration of the unit of systemd, so that messages can say how it is applied.
fn is_of_service(file: &Path) -> bool {
    let unit = UnitFiles::of("aw-alert").filter(|unit| !unit.is_script());
    let command = unit.and_then(|unit| unit.command());
    let named = command.as_ref().and_then(|it| it.option("--config").or(it.option("-c")));
    named.is_some_and(|named| Path::new(named) == file)
}

fn shown(file: &Path) -> String {
    plain(&file.display().to_string())
}

/// What the service has seen; if its memory or a ring cannot be read, that is reported elsewhere.
fn seen(rings: &RingOptions, state: &Path) -> check::Seen {
    let (networks, imported) = AlertStore::seen(state).unwrap_or_default();
    let interfaces = rings.interfaces().into_iter();
    let interfaces = interfaces.map(|(host, ring, name)| full_name(&host, ring.as_str(), &name));
    let interfaces = interfaces.collect();
    let lacks_names = rings.lacks_names();
    check::Seen { networks, interfaces, imported, lacks_names }
}

/// What is read and started before privileges are dropped.
struct Prepared {
    text: String,
    config: Config,
    rules: Rules,
    names: NameLists,
    pipes: Option<SenderPipes>,
}

/// Reads files, runs a command, or starts the sender process: all before privileges are dropped. Returns `None` if there is
/// nothing more to do.
fn prepare(options: &Options, transports: TransportOptions) -> Result<Option<Prepared>, Error> {
    if let Some(AlertCommand::Test { channel }) = &options.command {
        return as_service(&options.rings, None, || {
            let Loaded { config, secrets, .. } = load(options, transports)?;
            let file = options.config.as_deref();
            export::test(&config, file, channel.as_deref(), &secrets, transports)
        })?
        .map(|()| None);
    }
    let state = transports.state;
    if let Some(AlertCommand::Known { format }) = &options.command {
        return as_service(&options.rings, None, || {
            let Loaded { rules, names, .. } = load(options, transports)?;
            let names = names.all(AlertStore::imported_names(state));
            known::known(state, &rules, &names, &Makers::new(&options.vendors), *format)
        })?
        .map(|()| None);
    }
    let Loaded { text, config, rules, names, secrets } = load(options, transports)?;
    match &options.command {
        Some(AlertCommand::Import { network, files }) => {
            let failure =
                |error| Error::io(format_args!("create directory {}", state.display()), error);
            std::fs::create_dir_all(state).map_err(failure)?;
            let imported = import::import(state, network.as_deref(), files);
            change_owner(options, state).and(imported).map(|()| None)
        }
        Some(AlertCommand::Relearn { interface }) => {
            let done = known::relearn(state, interface.as_deref(), &rules);
            let text = change_owner(options, state).and(done)?;
            let written = std::io::stdout().write_all(text.as_bytes());
            written.map(|()| None).map_err(|error| Error::write("standard output", error))
        }
        Some(AlertCommand::Export { format, debian }) => {
            export::export(state, *format, *debian, &names.all(Default::default())).map(|()| None)
        }
        _ if options.rings.health || config.channel.is_empty() => {
            Ok(Some(Prepared { text, config, rules, names, pipes: None }))
        }
        _ => {
            let pipes = sender::start(&options.rings, &config, &text, &secrets)?;
            Ok(Some(Prepared { text, config, rules, names, pipes: Some(pipes) }))
        }
    }
}

struct Loaded {
    /// The text of the configuration.
    text: String,
    config: Config,
    rules: Rules,
    names: NameLists,
    /// Those of the channels.
    secrets: BTreeMap<String, ChannelSecrets>,
}

/// Reads the configuration and the files that it names.
fn load(options: &Options, transports: TransportOptions) -> Result<Loaded, Error> {
    let text = options.config.as_deref().map_or(Ok(String::new()), config::text).map_err(failed)?;
    let in_file = |why| match &options.config {
        Some(path) => failed(format_args!("{}: {why}", path.display())),
        None => failed(why),
    };
    let mut config = Config::parse(&text).map_err(in_file)?;
    config.add_command(options.exec.as_deref()).map_err(in_file)?;
    let rules = config.rules(options.dialect).map_err(in_file)?;
    let names = NameLists::read(options.names.as_deref(), config.known())?;
    // These need no secrets, and the user may not be allowed to read them.
    let command = &options.command;
    let has_none = options.rings.health
        || matches!(command, Some(AlertCommand::Known { .. } | AlertCommand::Relearn { .. }));
    let secrets = match has_none {
        true => Default::default(),
        false => ChannelSecrets::read_all(&config, transports).map_err(in_file)?,
    };
    Ok(Loaded { text, config, rules, names, secrets })
}

/// Gives files that root has imported to the user that aw-alert runs as.
fn change_owner(options: &Options, state: &Path) -> Result<(), Error> {
    let user = options.rings.service.user.as_deref();
    let Some(Identity { user, group, .. }) =
        Identity::choose(user, &["aw-alert", "addrwatch"], None)?
    else {
        return Ok(());
    };
    let files = ["aw-alert.db", "aw-alert.db-wal", "aw-alert.db-shm"].map(|name| state.join(name));
    for path in files.iter().map(PathBuf::as_path).chain([state]).filter(|path| path.exists()) {
        std::os::unix::fs::lchown(path, Some(user.as_raw()), Some(group.as_raw())).map_err(
            |error| Error::io(format_args!("change the owner of {}", path.display()), error),
        )?;
    }
    Ok(())
}
