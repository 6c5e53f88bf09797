//! `aw-query`: which MAC had which address, where and when, from the history that an output keeps.
//! It only reads. What the database says is not trusted: none of it reaches the terminal raw.
#![forbid(unsafe_code)]

mod answers;
mod history;
mod mysql;
mod options;
mod spans;
mod sqlite;
mod table;
mod when;
mod who;

use std::{
    io::{self, BufWriter, Write},
    process::ExitCode,
};

use aw_mysql::Config;
use aw_service::{Error, failed, info, parse};
use jiff::{Zoned, tz::TimeZone};

use crate::{
    history::{History, Result},
    mysql::Mysql,
    options::{Options, Question},
    sqlite::Sqlite,
    table::Table,
};

/// Nothing is known of what was asked for.
const NOTHING: u8 = 3;

fn main() -> ExitCode {
    let options: Options = parse("aw-query");
    match answer(&options) {
        Ok(true) | Err(Error::Closed) => ExitCode::SUCCESS,
        Ok(false) => NOTHING.into(),
        Err(Error::Failed(why)) => {
            info(why);
            ExitCode::FAILURE
        }
    }
}

/// Prints the answer; tells whether there is one.
fn answer(options: &Options) -> Result<bool> {
    let zone = TimeZone::system();
    let now = Zoned::now().with_time_zone(zone.clone());
    let question = options.question(&now)?;
    let mut history = open(options)?;
    let table = ask(&mut *history, question)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if !table.rows.is_empty() || options.format == table::Format::Csv {
        let printed = table.print(&mut out, options.format, &zone).and_then(|()| out.flush());
        printed.map_err(|error| Error::write("standard output", error))?;
    }
    if table.rows.is_empty() {
        info("nothing is known of that");
    }
    Ok(!table.rows.is_empty())
}

fn ask(history: &mut dyn History, question: Question) -> Result<Table> {
    match question {
        Question::Who(ip, at) => answers::holders(history, ip, at),
        Question::Ip(ip, range) => answers::address(history, ip, range),
        Question::Mac(mac, range) => answers::mac(history, mac, range),
        Question::Changes(range) => answers::changes(history, range),
        Question::Devices(range) => answers::devices(history, range),
    }
}

/// Another kind of history is another arm here, and one file.
fn open(options: &Options) -> Result<Box<dyn History>> {
    let Options { database, config, prefix, .. } = options;
    let server = |url: &str| -> Result<Box<dyn History>> {
        let mut config = config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        config.set_url(url)?;
        Ok(Box::new(Mysql::open(&config, prefix)?))
    };
    let file =
        |path: &str| -> Result<Box<dyn History>> { Ok(Box::new(Sqlite::open(path.as_ref())?)) };
    match database.as_ref().map(|name| name.split_once("://").unwrap_or(("sqlite", name))) {
        Some(("mysql" | "mariadb", url)) => server(url),
        None if config.is_some() => server(""),
        Some(("sqlite", _)) if config.is_some() => {
            Err(failed("--config says where a server is, and --database names a file: choose one"))
        }
        Some(("sqlite", path)) => file(path),
        Some((kind, _)) => {
            Err(failed(format_args!("open {kind}://...: histories are a file, or mysql://...")))
        }
        None => file(options::FILE),
    }
}
