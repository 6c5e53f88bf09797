//! The command line, and the question it asks.

use std::{net::IpAddr, path::PathBuf};

use aw_mysql::Prefix;
use aw_service::{Error, failed};
use clap::{Args, Parser, Subcommand};
use jiff::Zoned;
use shm_layout::{MacAddr, UnixTime};

use crate::{
    history::{Range, Result},
    table::Format,
    when::{self, When},
};

/// The history, unless another one is named.
pub const FILE: &str = "/var/lib/addrwatch/addrwatch.db";

/// Tells which MAC had which address, where and when.
#[derive(Parser)]
#[command(name = "aw-query", version, after_help = after_help())]
pub struct Options {
    /// The history: a database of aw-sqlite, or mysql://[USER@][HOST[:PORT]]/DATABASE [default: the server of --config, or /var/lib/addrwatch/addrwatch.db]
    #[arg(long, global = true, value_name = "FILE|URL")]
    pub database: Option<String>,

    /// Read where the server is from FILE, and the password, as aw-mysql does
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What stands before the names of the server's tables, as for aw-mysql
    #[arg(short, long, global = true, value_name = "PREFIX", default_value = "")]
    pub prefix: Prefix,

    /// How to write the answer; JSON and CSV have the nanoseconds and all columns
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    #[command(subcommand)]
    command: Command,
}

fn after_help() -> String {
    format!(
        "\
Examples:
  aw-query who 10.1.2.3 --at '2026-11-20 14:05'
  aw-query ip fe80::1 --from yesterday
  aw-query mac 02:00:00:00:00:01 --from 2026-11-01 --to 2026-11-20
  aw-query changes --since 1d
  aw-query devices --format csv
  aw-query -c /etc/addrwatch/mysql.cnf changes --since 1d

{}

How sure `who` is:
  sure       seen within 10 minutes before and after, and no other MAC within 10 minutes
  likely     seen before and after, and no other MAC between
  one-sided  seen only before, or only after
  changed    another MAC was seen first after than last before: it changed hands, nobody knows when
  contested  several MACs were seen with it at about that time
A span ends where another MAC is seen with the address, unless the first is back within 10 minutes.

Exit status: 0 with an answer, 1 on failure, 2 for wrong options, 3 if nothing is known.",
        when::FORMS
    )
}

#[derive(Subcommand)]
enum Command {
    /// Which MAC had an address at some time, when it was seen before and after, and how sure that is
    Who {
        /// IPv4 or IPv6 address
        address: IpAddr,
        /// When
        #[arg(long, value_name = "TIME", default_value = "now", value_parser = time_text)]
        at: String,
    },
    /// Which MACs had an address, from when to when
    Ip {
        /// IPv4 or IPv6 address
        address: IpAddr,
        /// The same as `who`
        #[arg(long, value_name = "TIME", value_parser = time_text, conflicts_with_all = ["from", "to"])]
        at: Option<String>,
        #[command(flatten)]
        times: Times,
    },
    /// Which addresses a MAC had, from when to when
    Mac {
        /// MAC address: 02:00:00:00:00:01, 02-00-00-00-00-01, 0200.0000.0001
        #[arg(value_parser = mac)]
        mac: MacAddr,
        #[command(flatten)]
        times: Times,
    },
    /// Addresses that were new or had another MAC, and routers whose configuration was changed
    Changes(Times),
    /// All MACs, with their addresses
    Devices(Times),
}

#[derive(Args)]
struct Times {
    /// Only from TIME on
    #[arg(long, visible_alias = "since", value_name = "TIME", value_parser = time_text)]
    from: Option<String>,
    /// Only up to TIME
    #[arg(long, visible_alias = "until", value_name = "TIME", value_parser = time_text)]
    to: Option<String>,
}

/// What is asked, with its times.
#[derive(Debug)]
pub enum Question {
    Who(IpAddr, UnixTime),
    Ip(IpAddr, Range),
    Mac(MacAddr, Range),
    Changes(Range),
    Devices(Range),
}

impl Options {
    /// The question, asked now.
    pub fn question(&self, now: &Zoned) -> Result<Question> {
        let range = |times: &Times| times.range(now);
        Ok(match &self.command {
            Command::Who { address, at } | Command::Ip { address, at: Some(at), .. } => {
                Question::Who(*address, time("--at", at, now)?.from)
            }
            Command::Ip { address, at: None, times } => Question::Ip(*address, range(times)?),
            Command::Mac { mac, times } => Question::Mac(*mac, range(times)?),
            Command::Changes(times) => Question::Changes(range(times)?),
            Command::Devices(times) => Question::Devices(range(times)?),
        })
    }
}

impl Times {
    fn range(&self, now: &Zoned) -> Result<Range> {
        let read = |option, text: &Option<String>| {
            text.as_deref().map(|text| time(option, text, now)).transpose()
        };
        let from = read("--from", &self.from)?.map_or(Range::ALL.from, |when| when.from);
        let to = read("--to", &self.to)?.map_or(Range::ALL.to, |when| when.to);
        if from > to {
            return Err(failed("--from is later than --to"));
        }
        Ok(Range { from, to })
    }
}

fn time(option: &str, text: &str, now: &Zoned) -> Result<When> {
    when::parse(text, now).map_err(|why| Error::Failed(format!("{option}: {text:?} {why}")))
}

/// What makes no sense at any time is a wrong option.
fn time_text(text: &str) -> std::result::Result<String, &'static str> {
    when::parse(text, &Zoned::now()).map(|_| text.into())
}

/// A MAC in any of its usual spellings.
fn mac(text: &str) -> std::result::Result<MacAddr, &'static str> {
    text.parse().map_err(|_| "a MAC address has 12 hexadecimal digits, such as 02:00:00:00:00:01")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn macs() {
        let expected = MacAddr::new([0x02, 0xab, 0, 0, 0, 1]);
        for text in ["02:ab:00:00:00:01", "02-AB-00-00-00-01", "02ab.0000.0001", "02ab00000001"] {
            assert_eq!(mac(text), Ok(expected), "{text}");
        }
        for bad in
            ["", "02:ab:00:00:00", "02:ab:00:00:00:01:02", "x2:ab:00:00:00:01", "02ab0000001é"]
        {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }
}
