//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use aw_clickhouse::ReaderOptions;
use aw_mysql::TablePrefix;
use aw_output::makers::IEEE_DATA;
use aw_service::{Error, TIME_FORMS, TimeSpan, failed, parse_time, warn};
use clap::{
    Args, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use jiff::Zoned;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    Refusal,
    address_rows::Listed,
    by_name::{Device, Host, parse_device, parse_host},
    history_reader::TimeRange,
    names::{NameChange, check_name},
    queries::Query,
    result_table::OutputFormat,
};

/// The database that the service aw-sqlite writes: the one that the options of its unit name, or else the usual one.
pub fn database_of_service() -> String {
    let database = aw_database::named_by_the_service().unwrap_or_else(|| aw_database::USUAL.into());
    if let Some(why) = aw_database::unread_options() {
        warn(format_args!(
            "the options of aw-sqlite are not known: {why}; asking {database} (--database names another one)"
        ));
    }
    database
}

/// The default of `--timeout`, for all but copies and exports.
const QUESTION_LIMIT: Duration = Duration::from_secs(60);
/// In the place of none, for a server, which wants a limit: the longest that MariaDB accepts.
const EXPORT_LIMIT: Duration = Duration::from_secs(365 * 86_400);

/// Those of [`ReaderOptions`]: as all others, they may stand after the subcommand.
const CLICKHOUSE: [&str; 5] =
    ["password_file", "plain_password", "ca_file", "certificate_file", "key_file"];

/// Shows which MAC had which address, where and when.
#[derive(Parser)]
#[command(name = "aw-query", version, after_help = after_help(), arg_required_else_help = false)]
#[command(mut_args(|arg| if CLICKHOUSE.contains(&arg.get_id().as_str()) { arg.global(true) } else { arg }))]
pub struct Options {
    /// Read the history from this database of aw-sqlite, or from mysql://[USER@][HOST[:PORT],...]/DATABASE, or from clickhouse://[USER@]HOST[:PORT]/DATABASE (clickhouses:// with TLS) of aw-clickhouse [default: the server of --config, or else the database that the options of the service aw-sqlite name, or else /var/lib/addrwatch/addrwatch.db]
    #[arg(long, global = true, value_name = "FILE|URL")]
    pub database: Option<String>,

    /// Read the server and the login from FILE, as aw-mysql does; see aw-mysql.cnf(5)
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Prefix of the names of the server's tables, as for aw-mysql
    #[arg(short, long, global = true, value_name = "PREFIX", default_value = "")]
    pub prefix: TablePrefix,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub clickhouse: ReaderOptions,

    /// Answer for one network only: eth0, eth0.7 (VLAN 7), eth0.* (all VLANs of eth0), eth0@192.0.2.1 (reported by that router); with several rings also site-a/eth0. `devices` then shows when and with which addresses a MAC was there
    #[arg(long, visible_alias = "interface", global = true, value_name = "NETWORK")]
    pub network: Option<String>,

    /// Format of the answer; JSON and CSV have nanoseconds and all columns
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,

    /// End with an error if there is no answer after TIME: 90s, 5m or 1h. The time limit also ends questions that a hostile network or file made slow [default: 60s; `copy` and `export` have no limit]
    #[arg(long, global = true, value_name = "TIME")]
    timeout: Option<TimeSpan>,

    /// File with the names of devices, a line `MAC NAME` or `MAC|NAME` for each: answers show them, and `name` changes them [default: /etc/addrwatch/names]
    #[arg(long, global = true, value_name = "FILE")]
    pub names: Option<PathBuf>,

    /// Directory with the IEEE's lists of makers: oui, mam, oui36 and iab, each .csv or .txt, as Debian's package ieee-data has them
    #[arg(long, global = true, value_name = "DIR", default_value = IEEE_DATA)]
    pub vendors: PathBuf,

    #[command(subcommand)]
    command: QueryCommand,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  aw-query who 10.1.2.3 --at '2026-11-20 14:05'
  aw-query ip fe80::1 --from yesterday
  aw-query mac 02:00:00:00:00:01 --from 2026-11-01 --to 2026-11-20
  aw-query mac 02:00:00:00:00:01 --since 1d --all
  aw-query mac 'Kitchen radio' --at 'yesterday 14:05'
  aw-query ip nas.local
  aw-query changes --since 1d
  aw-query devices --format csv
  aw-query devices --network eth1
  aw-query -c reader.cnf changes --since 1d
  aw-query export > lan.jsonl && aw-sqlite --database all.db import lan.jsonl
  aw-query name 02:00:00:00:00:01 Kitchen radio
  aw-query copy lan.db && sqlite3 lan.db 'SELECT * FROM addrwatch'

{}

How sure the answer of `who` is (near: at most 10 minutes before or after the time):
  sure       the MAC was seen near the time, before and after; no other MAC was seen near the time
  likely     the MAC was the last one seen before and the first one after, but not near on both
             sides
  one-sided  the MAC was seen only before or only after; no MAC was seen on the other side
  changed    one MAC was the last one seen before, another one was the first one seen after
  contested  several MACs were seen near the time: at least one of them before and after, or all on
             one side and none on the other one, as is usual about now; or another MAC had the
             address, and this one was seen in frames that it did not send: WHY shows which MAC
             sent them
  probed     no MAC ever claimed the address; this one asked whether it is free
  announced, leased, renewed, requested
             no MAC was seen to use the address; this one announced or registered it, a DHCP server
             gave it to this one, this one asked to keep it, or only asked for it: WHY shows when

A probe (a request from 0.0.0.0, a solicitation from ::) counts as a sighting only if its MAC
claims the address within 10 minutes, and no other MAC does in between.

A claim in the frame of another MAC (a repeater's, or a forged one) counts for its MAC unless
another MAC claims the address in frames of its own within 10 minutes. FRAME SOURCES, in JSON and
CSV frame_sources, has the other MACs that sent frames of a row: all of them, or some. `ip` and
`mac` with --all list what does not count: LEFT OUT is the reason. `mac` of an attacker with --all
lists also what it sent in the name of other MACs.

`ip` and `mac` print a line for each period in which a MAC had an address. A period ends when
another MAC is seen with the address, unless the first one is seen again within 10 minutes.

Exit status: 0 with an answer, 1 on failure, 2 for wrong options, 3 if nothing matches.",
        format_args!("{TIME_FORMS} A day or minute after\n--to is included as a whole.")
    )
}

#[derive(Subcommand)]
enum QueryCommand {
    /// Show which MAC had an address at a time, and how sure the answer is
    ///
    /// HOW SURE is sure, likely, one-sided, changed, contested or probed, or announced, leased, renewed or requested: `aw-query --help` explains these words. A MAC that was not
    /// seen near the time is left out if another one was; `ip` has all of them.
    #[command(after_help = TIME_FORMS)]
    Who {
        /// IPv4 or IPv6 address; a zone as in fe80::1%eth0 is ignored; or the name of a device: then as `mac NAME --at TIME`
        #[arg(value_name = "ADDRESS|NAME", value_parser = parse_host)]
        host: Host,
        /// Show the MAC at TIME
        #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true, value_parser = check_time)]
        at: String,
    },
    /// Show which MACs had an address, from when to when
    Ip {
        /// IPv4 or IPv6 address; a zone as in fe80::1%eth0 is ignored; or the name of a device: then as `mac NAME`
        #[arg(value_name = "ADDRESS|NAME", value_parser = parse_host)]
        host: Host,
        /// Show which MAC had the address at TIME, as `who` does
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = check_time, conflicts_with_all = ["from", "to", "all"])]
        at: Option<String>,
        /// Also list messages that do not count as use of the address: LEFT OUT has the reason, FRAME SOURCES the MAC that sent them
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        times: RangeOptions,
    },
    /// Show which addresses a MAC had, from when to when
    Mac {
        /// MAC address: 02:00:00:00:00:01, 2:0:0:0:0:1, 02-00-00-00-00-01, 0200.0000.0001 or 020000000001; or the name of a device; if no device has it in the file of names, what one calls itself. Then what it announced, got or asked for is in rows, too: LEFT OUT has why it does not count as use. Several devices with one name have a table each
        #[arg(value_name = "MAC|NAME", value_parser = parse_device)]
        mac: Device,
        /// Show which addresses it had at TIME, as `who` does, and whether it was seen near that time
        #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = check_time, conflicts_with_all = ["from", "to", "all"])]
        at: Option<String>,
        /// Also list messages that do not count as use of an address, and what this MAC sent in the name of other MACs: LEFT OUT has the reason, FRAME SOURCES the MAC that sent them
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        times: RangeOptions,
    },
    /// Show addresses that were new or had another MAC, and configuration changes of routers
    Changes(RangeOptions),
    /// Show all MACs with their addresses
    Devices {
        /// Also count the sightings of each MAC, in the column COUNT: that reads every row of the history
        #[arg(long)]
        count: bool,
        #[command(flatten)]
        times: RangeOptions,
    },
    /// Print the whole history, for `aw-sqlite import` and `aw-mysql import`: a line of JSON for each sighting and configuration change
    ///
    /// A part of it has whole seconds: the first and the last one completely.
    Export(RangeOptions),
    /// Set, remove or print the name of a MAC in the file of names, which all programs read, without a restart; or list all names
    ///
    /// Every user who may write the file may set names. A file in a directory that is not writable is written in place; else it
    /// is replaced, so that no program reads a part of it. All other lines stay.
    Name {
        /// MAC address, as for `mac`, or the present name of one device. Without it, all names are listed
        #[arg(value_name = "MAC|NAME", value_parser = parse_device)]
        mac: Option<Device>,
        /// The name: one or more words; an empty one removes the name. Without it, the name is printed
        name: Vec<String>,
        /// Remove the name
        #[arg(long, requires = "mac", conflicts_with = "name")]
        remove: bool,
    },
    /// Copy the database to FILE, for sqlite3 and other programs: a state of it, also while it is written. Until it is complete, it is FILE.new
    Copy {
        /// The copy, which must not exist
        file: PathBuf,
    },
}

#[derive(Args)]
struct RangeOptions {
    /// Begin at TIME [default: with the oldest sighting]
    #[arg(long, visible_alias = "since", value_name = "TIME", allow_hyphen_values = true, value_parser = check_time)]
    from: Option<String>,
    /// End at TIME [default: with the latest sighting]
    #[arg(long, visible_alias = "until", value_name = "TIME", allow_hyphen_values = true, value_parser = check_time)]
    to: Option<String>,
}

impl Options {
    /// How long a question may take.
    pub fn question_limit(&self) -> Duration {
        self.timeout.map_or(QUESTION_LIMIT, |limit| limit.0)
    }

    /// How long a query of a server may take.
    pub fn server_limit(&self) -> Duration {
        match self.command {
            QueryCommand::Export(_) => self.timeout.map_or(EXPORT_LIMIT, |limit| limit.0),
            _ => self.question_limit(),
        }
    }

    /// How long a copy may take: as long as the database is large, unless the user has set a limit.
    pub fn copy_limit(&self) -> Option<Duration> {
        self.timeout.map(|limit| limit.0)
    }

    /// The queries: one, or of a name that several devices have, one for each. Times such as `1d` are relative to `now`.
    pub fn queries(&self, now: &Zoned) -> Result<Vec<Query>, Refusal> {
        let is_of_all = matches!(
            self.command,
            QueryCommand::Export(_) | QueryCommand::Copy { .. } | QueryCommand::Name { .. }
        );
        if is_of_all && self.network.is_some() {
            let why = "--network is for who, ip, mac, changes and devices (leave it out here)";
            return Err(failed(why).into());
        }
        Ok(vec![match &self.command {
            QueryCommand::Who { host: Host::Address(address), at }
            | QueryCommand::Ip { host: Host::Address(address), at: Some(at), .. } => {
                Query::Who(*address, time("--at", at, now)?.from)
            }
            QueryCommand::Ip { host: Host::Address(address), at: None, all, times } => {
                Query::Ip(*address, times.range(now)?, *all)
            }
            QueryCommand::Who { host: Host::Name(name), at }
            | QueryCommand::Ip { host: Host::Name(name), at: Some(at), .. } => {
                return self.at(&Device::Name(name.clone()), time("--at", at, now)?.from);
            }
            QueryCommand::Ip { host: Host::Name(name), at: None, all, times } => {
                return self.in_range(&Device::Name(name.clone()), times.range(now)?, *all);
            }
            QueryCommand::Mac { mac, at: Some(at), .. } => {
                return self.at(mac, time("--at", at, now)?.from);
            }
            QueryCommand::Mac { mac, at: None, all, times } => {
                return self.in_range(mac, times.range(now)?, *all);
            }
            QueryCommand::Changes(times) => Query::Changes(times.range(now)?),
            QueryCommand::Devices { count, times } => match self.network {
                Some(_) => Query::DevicesOfNetworks(times.range(now)?, *count),
                None => Query::Devices(times.range(now)?, *count),
            },
            QueryCommand::Export(times) => Query::Export(times.range(now)?),
            QueryCommand::Copy { file } => Query::Copy(file.clone()),
            QueryCommand::Name { mac: None, .. } => Query::Names,
            QueryCommand::Name { mac: Some(mac), name, remove } => {
                let mac = self.device_to_name(mac)?;
                let words = name.join(" ");
                let change = match words.trim() {
                    "" if name.is_empty() && !remove => NameChange::Show,
                    "" => NameChange::Remove,
                    name => {
                        check_name(mac, name)?;
                        NameChange::Set(name.into())
                    }
                };
                Query::Name(mac, change)
            }
        }])
    }

    fn at(&self, device: &Device, at: UnixTime) -> Result<Vec<Query>, Refusal> {
        Ok(self.devices(device)?.into_iter().map(|mac| Query::MacAt(mac, at)).collect())
    }

    fn in_range(
        &self,
        device: &Device,
        range: TimeRange,
        all: bool,
    ) -> Result<Vec<Query>, Refusal> {
        let listed = match device {
            _ if all => Listed::All,
            Device::Mac(_) => Listed::Periods,
            Device::Name(_) => Listed::Claims,
        };
        let macs = self.devices(device)?.into_iter();
        Ok(macs.map(|mac| Query::Mac(mac, range, listed)).collect())
    }
}

impl RangeOptions {
    fn range(&self, now: &Zoned) -> Result<TimeRange, Error> {
        let read = |option, text: &Option<String>| {
            text.as_deref().map(|text| time(option, text, now)).transpose()
        };
        let from = read("--from", &self.from)?.map_or(TimeRange::ALL.from, |range| range.from);
        let to = read("--to", &self.to)?.map_or(TimeRange::ALL.to, |range| range.to);
        if from >= to {
            // `to` is the end of what --to names
            return Err(failed("--from is after --to (exchange them)"));
        }
        Ok(TimeRange { from, to })
    }
}

fn time(option: &str, text: &str, now: &Zoned) -> Result<TimeRange, Error> {
    parse_time(text, now)
        .map(TimeRange::of)
        .map_err(|why| failed(format_args!("{option}: {text:?}: {why}")))
}

/// Refuses what is not a time as a wrong option, before the query begins.
fn check_time(text: &str) -> Result<String, String> {
    let parsed = parse_time(text, &Zoned::now());
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    parsed.map(|_| text.into()).map_err(|why| match is_number {
        true => format!("has no unit: {text}s, {text}m, {text}h or {text}d"),
        false => why.to_string(),
    })
}

/// An address. A zone, as in `fe80::1%eth0` (RFC 4007, 11), is ignored: the history does not have it.
pub fn parse_address(text: &str) -> Result<IpAddr, &'static str> {
    let (address, zone) = text.split_once('%').unwrap_or((text, "none"));
    let is_allowed = |ip: &IpAddr| address == text || ip.is_ipv6() && !zone.is_empty();
    let address = address.parse().ok().filter(is_allowed);
    address.ok_or(match text.parse::<MacAddr>() {
        Ok(_) => "this is a MAC address, use aw-query mac",
        Err(_) => {
            "must be an IPv4 or IPv6 address, such as 192.0.2.1, 2001:db8::1 or fe80::1%eth0, or the name of a device"
        }
    })
}

pub fn parse_mac(text: &str) -> Result<MacAddr, &'static str> {
    text.parse().map_err(|_| match parse_address(text) {
        Ok(_) => "this is an IP address, use aw-query ip; its answer has the MACs",
        Err(_) => "must be a MAC address, such as 02:00:00:00:00:01",
    })
}

/// The options whose value is a time.
const TIMES: [&str; 5] = ["--at", "--from", "--since", "--to", "--until"];

/// What to write in the place of a mistake, for the usual ones: an address without a subcommand, a time of two words without
/// quotes.
pub fn remedy(error: &clap::Error, arguments: &[String]) -> Option<String> {
    let text = |kind| match error.get(kind)? {
        ContextValue::String(text) => Some(&**text),
        _ => None,
    };
    if let Some(word) = text(ContextKind::InvalidSubcommand) {
        let command = match (parse_address(word), parse_mac(word)) {
            (Ok(_), _) => "ip",
            (_, Ok(_)) => "mac",
            _ if ["forget", "remove", "delete"].contains(&word) => {
                return Some(
                    "no device is removed from a history; aw-query name MAC --remove removes its name, and aw-sqlite forget-names MAC what it calls itself".into(),
                );
            }
            _ => return None,
        };
        return Some(format!("write aw-query {command} {word}"));
    }
    if !matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::ValueValidation) {
        return None;
    }
    if arguments.iter().any(|word| word == "who")
        && let Some(option) = text(ContextKind::InvalidArg)
        && TIMES[1..].contains(&option)
    {
        return Some(
            "who answers for one time, --at TIME; aw-query ip takes --from and --to".into(),
        );
    }
    // Before the question.
    const QUESTIONS: [&str; 6] = ["who", "ip", "mac", "changes", "devices", "export"];
    let question = arguments.iter().position(|word| QUESTIONS.contains(&word.as_str()));
    let is_time = |word: &String| TIMES.contains(&word.split('=').next().unwrap_or_default());
    if question.is_some_and(|at| arguments[..at].iter().any(is_time)) {
        return Some("times stand after the question: aw-query who ADDRESS --at TIME".into());
    }
    if let [question, first, time @ ..] = arguments
        && ["who", "ip", "mac"].contains(&question.as_str())
        && let [second, ..] = time
    {
        let is_name = match parse_device(first) {
            Ok(Device::Name(_)) => question == "mac" || parse_host(first).is_ok(),
            _ => false,
        };
        let is_time = parse_time(&time.join(" "), &Zoned::now()).is_ok();
        let is_second_word = [first, second].iter().all(|word| !word.starts_with('-'));
        if is_name && is_second_word && (question == "mac" || !is_time) {
            return Some(format!("put the name into quotes: {question} '{first} {second}'"));
        }
        if is_time {
            return Some(format!("write --at '{}'", time.join(" ")));
        }
    }
    // The word that clap reports may be a later one: it takes the second one for the address.
    let now = Zoned::now();
    (0..arguments.len()).find_map(|at| {
        let (option, first, next) = match arguments[at].split_once('=') {
            Some((option, first)) => (option, first, at + 1),
            None => (&*arguments[at], &**arguments.get(at + 1)?, at + 2),
        };
        if !TIMES.contains(&option) {
            return None;
        }
        let joined = |end: usize| format!("{first} {}", arguments[next..end].join(" "));
        let mut longest = (next + 1..=arguments.len().min(next + 3)).rev().map(joined);
        let time = longest.find(|text| parse_time(text, &now).is_ok())?;
        Some(format!("put the time into quotes: {option} '{time}'"))
    })
}

#[cfg(test)]
mod tests;
