//! `aw-query`: which MAC had which address, where and when, from the history that an output stores.
//! Another program asks a [`History`]. It only reads. It does not trust the content of the database: no control character reaches the terminal.
#![forbid(unsafe_code)]

mod address_rows;
mod asked;
mod claims;
mod clickhouse_reader;
mod clocks;
mod copied_file;
mod counted;
mod device;
mod devices;
mod edge;
mod established;
mod export;
mod history_reader;
mod holders;
mod in_turn;
mod leases;
mod left_out;
mod mac_at;
mod mysql_reader;
mod names;
mod nearest;
mod omitted;
mod one_network;
mod options;
mod passed_over;
mod periods;
mod places;
mod queries;
mod read_limit;
mod result_table;
mod sqlite_reader;
mod unseen;
mod who;

use std::{
    env, fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::{self, ExitCode},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use aw_service::{Error, info, parse_with, warn};
use jiff::{Zoned, tz::TimeZone};
use shm_layout::{MacAddr, UnixTime};

use crate::{
    copied_file::CopiedFile,
    history_reader::HistoryReader,
    names::{Labels, NameChange},
    options::Options,
    queries::Query,
};

pub use crate::{
    asked::{Answer, Claiming, Devices, History, Question, Unanswered},
    history_reader::TimeRange,
    names::{Named, check_name},
    queries::SHARED,
    result_table::{Cell, OutputFormat, ResultTable},
};
pub use aw_clickhouse::ReaderOptions;
pub use aw_mysql::TablePrefix;

/// Exit status if nothing matches.
const NO_MATCH: u8 = 3;
/// Exit status for wrong options.
const WRONG_OPTIONS: u8 = 2;

/// The program.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).map(|it| it.to_string_lossy().into()).collect();
    let options: Options = parse_with("aw-query", |error| options::remedy(error, &arguments));
    let zone = TimeZone::system();
    let now = Zoned::now().with_time_zone(zone.clone());
    let query = match options.query(&now) {
        Ok(query) => query,
        Err(Error::Failed(why)) => {
            info(why);
            return WRONG_OPTIONS.into();
        }
        Err(Error::Closed) => return ExitCode::SUCCESS,
    };
    if let Some(remark) = query.remark(UnixTime::now(), &zone) {
        warn(remark);
    }
    let answered = match &query {
        Query::Copy(file) => copy(&options, file).map(|()| true),
        Query::Export(range) => {
            let limited = |time| limit(time, ("complete export", "allow more"), None);
            let _timer = options.copy_limit().map(limited);
            export::export(&options, *range).map(|()| true)
        }
        Query::Name(mac, change) => {
            let done = names::run(&options, (*mac, change), &mut io::stdout().lock(), &zone);
            if done.is_ok() {
                note_unseen(&options, &query);
            }
            done
        }
        Query::Names => names::all(&options, &mut io::stdout().lock(), &zone),
        query => answer(&options, query, &zone),
    };
    match answered {
        Ok(true) | Err(Error::Closed) => ExitCode::SUCCESS,
        Ok(false) => NO_MATCH.into(),
        Err(Error::Failed(why)) => {
            info(why);
            ExitCode::FAILURE
        }
    }
}

/// Ends the program with an error if there is no answer after this time; until the returned sender is dropped. Nothing is
/// printed before that, and nothing is written to a history, so a question can end at any moment. `incomplete` is a file to
/// remove.
fn limit(
    time: Duration,
    (what, remedy): (&'static str, &'static str),
    incomplete: Option<PathBuf>,
) -> Sender<()> {
    let (answered, answer) = mpsc::channel();
    thread::spawn(move || {
        if answer.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
            if let Some(incomplete) = incomplete {
                let _ = fs::remove_file(incomplete);
            }
            info(format_args!("no {what} within {} s ({remedy} with --timeout)", time.as_secs()));
            process::exit(1);
        }
    });
    answered
}

/// Prints the answer. Returns false if there is none.
fn answer(options: &Options, query: &Query, zone: &TimeZone) -> Result<bool, Error> {
    let labels = Labels::read(options)?;
    let remedy = "ask for a shorter time with --from and --to, or allow more";
    let timer = limit(options.question_limit(), ("answer", remedy), None);
    let (mut table, beyond, of_history) = loop {
        let mut history = open(options)?;
        let known = history.remarks().len();
        let table = query.run(&mut *history).and_then(|table| {
            let beyond = if table.rows.is_empty() {
                query.beyond(&mut *history, (zone, &table.omitted))?
            } else {
                None
            };
            Ok((table, beyond))
        });
        // While it was read, its writer changed what was read already.
        if history.is_intact()? {
            let (table, beyond) = table?;
            break (table, beyond, history.remarks()[known..].to_vec());
        }
    };
    let others = options.network.as_deref().and_then(|name| one_network::keep(&mut table, name));
    labels.add_to(&mut table, options.format, zone);
    drop(timer);
    let mut out = BufWriter::new(io::stdout().lock());
    if !table.rows.is_empty() || options.format == OutputFormat::Csv {
        let printed = table.print(&mut out, options.format, zone).and_then(|()| out.flush());
        printed.map_err(|error| Error::write("standard output", error))?;
    }
    let unseen = table.omitted.unseen(zone).into_iter();
    unseen.for_each(warn); // first: it answers the question better than that nothing was seen
    if table.rows.is_empty() {
        let why = others.unwrap_or_else(|| query.no_match(zone, &table.omitted));
        info(format_args!("{why}{}", beyond.unwrap_or_default()));
    }
    let remarks = [table.in_turn_text(None, zone), table.omitted.remark()];
    remarks.into_iter().flatten().chain(of_history).for_each(warn);
    Ok(!table.rows.is_empty())
}

/// A note if the history does not have a MAC that is named: most often a digit is wrong.
fn note_unseen(options: &Options, query: &Query) {
    let Query::Name(mac, NameChange::Set(_)) = query else { return };
    let Ok(mut history) = open(options) else { return };
    let seen = Query::Mac(*mac, TimeRange::ALL, true).run(&mut *history);
    let names = history.claimed_names(&[*mac]);
    if seen.is_ok_and(|table| table.rows.is_empty()) && names.is_ok_and(|names| names.is_empty()) {
        warn(format_args!(
            "{mac} was not seen yet: if a digit is wrong, remove the name with aw-query name {mac} --remove"
        ));
    }
}

/// Copies a history to a new file, completely or not at all.
fn copy(options: &Options, file: &Path) -> Result<(), Error> {
    let copied = CopiedFile::create(file)?;
    let timer = options
        .copy_limit()
        .map(|time| limit(time, ("copy", "allow more"), Some(copied.incomplete().into())));
    loop {
        copied.clear()?;
        let mut history = open(options)?;
        let done = Query::Copy(copied.incomplete().into()).run(&mut *history);
        if history.is_intact()? {
            done?;
            break;
        }
    }
    drop(timer);
    copied.complete()
}

/// The MACs that call themselves so. A history that cannot be read has none: the question about a MAC says why.
fn macs_claiming(options: &Options, name: &str) -> Vec<MacAddr> {
    let Options { database, config, prefix, clickhouse, .. } = options;
    let search = || -> Result<Vec<MacAddr>, Error> {
        let history = History::named(database.as_deref(), config.as_deref(), prefix, clickhouse)?;
        loop {
            let mut history = history.open(options.question_limit())?;
            let found = history_reader::macs_claiming(&mut *history, name);
            if history.is_intact()? {
                return found;
            }
        }
    };
    search().unwrap_or_default()
}

fn open(options: &Options) -> Result<Box<dyn HistoryReader>, Error> {
    let Options { database, config, prefix, clickhouse, .. } = options;
    let history = History::named(database.as_deref(), config.as_deref(), prefix, clickhouse)?;
    let mut limit = options.server_limit();
    if matches!(history, History::Sqlite(_)) {
        limit += Duration::from_secs(5); // the limit of the question ends the program before
    }
    let history = history.open(limit)?;
    history.remarks().iter().for_each(warn);
    Ok(history)
}
