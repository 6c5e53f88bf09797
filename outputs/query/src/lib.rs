//! `aw-query`: which MAC had which address, where and when, from the history that an output stores.
//! Another program asks a [`History`]. It only reads. It does not trust the content of the database: no control character reaches the terminal.
#![forbid(unsafe_code)]

mod address_rows;
mod asked;
mod by_name;
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
mod read_ahead;
mod read_limit;
mod result_table;
mod sqlite_reader;
mod unread;
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
    unread::Unread,
};

pub use crate::{
    address_rows::Listed,
    asked::{Answer, Claiming, Devices, History, Question, Unanswered},
    by_name::{Found, is_host_name},
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
/// Exit status if the history cannot be read.
const FAILURE: u8 = 1;

/// Why there is no question, with the exit status.
#[derive(Debug)]
struct Refusal {
    status: u8,
    error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { status: WRONG_OPTIONS, error }
    }
}

/// The program.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = env::args_os().skip(1).map(|it| it.to_string_lossy().into()).collect();
    let options: Options = parse_with("aw-query", |error| options::remedy(error, &arguments));
    let zone = TimeZone::system();
    let now = Zoned::now().with_time_zone(zone.clone());
    let queries = match options.queries(&now) {
        Ok(queries) => queries,
        Err(Refusal { status, error: Error::Failed(why) }) => {
            info(why);
            return status.into();
        }
        Err(Refusal { error: Error::Closed, .. }) => return ExitCode::SUCCESS,
    };
    queries.iter().filter_map(|query| query.remark(UnixTime::now(), &zone)).for_each(warn);
    let answered = match &*queries {
        [Query::Copy(file)] => copy(&options, file).map(|()| true),
        [Query::Export(range)] => {
            let limited = |time| limit(time, ("complete export", "allow more"), None);
            let _timer = options.copy_limit().map(limited);
            export::export(&options, *range).map(|()| true)
        }
        [Query::Name(mac, change)] => {
            let done = names::run(&options, (*mac, change), &mut io::stdout().lock(), &zone);
            if done.is_ok() && matches!(change, NameChange::Set(_)) {
                note_unseen(&options, *mac);
            }
            done
        }
        [Query::Names] => names::all(&options, &mut io::stdout().lock(), &zone),
        queries => answer(&options, queries, &zone),
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

/// The answer to a query, and where the history begins or ends if it has no row.
type Answered<'a> = (&'a Query, ResultTable, Option<String>);

/// Prints the answers to the queries, which are of one kind. Returns false if there is none.
fn answer(options: &Options, queries: &[Query], zone: &TimeZone) -> Result<bool, Error> {
    let labels = Labels::read(options)?;
    let remedy = "ask for a shorter time with --from and --to, or allow more";
    let timer = limit(options.question_limit(), ("answer", remedy), None);
    let (mut answers, of_history, unread) = loop {
        let mut history = open(options)?;
        let known = history.remarks().len();
        let answer = |query| answer_to(query, &mut *history, zone);
        let answers: Result<Vec<Answered>, Error> = queries.iter().map(answer).collect();
        // While it was read, its writer changed what was read already.
        if history.is_intact()? {
            break (answers?, history.remarks()[known..].to_vec(), history.unread());
        }
    };
    let mut none = Vec::new();
    for (query, table, beyond) in &mut answers {
        let network = options.network.as_deref();
        let others = network.and_then(|name| one_network::keep(table, name));
        let why = || others.unwrap_or_else(|| query.no_match(zone, &table.omitted));
        let is_empty = table.rows.is_empty();
        none.push(is_empty.then(|| why() + &beyond.take().unwrap_or_default()));
        labels.add_to(table, options.format, zone);
    }
    drop(timer);
    let is_found = none.contains(&None);
    let mut out = BufWriter::new(io::stdout().lock());
    // Of each answer, before its rows become those of the first one.
    let lacking: Vec<Vec<String>> = answers
        .iter()
        .map(|(query, table, _)| {
            let of = |ring: &Unread| {
                ring.remark((query, table), options.network.as_deref(), (UnixTime::now(), zone))
            };
            unread.iter().filter_map(of).collect()
        })
        .collect();
    let is_table = options.format == OutputFormat::Table;
    if !is_table && let [(_, first, _), rest @ ..] = &mut *answers {
        // One heading.
        rest.iter_mut().for_each(|(_, table, _)| first.rows.append(&mut table.rows));
    }
    let (is_one_of_several, mut gap) = (answers.len() > 1, "");
    let answers = answers.iter_mut().zip(none).zip(lacking);
    for (number, (((_, table, _), none), lacking)) in answers.enumerate() {
        if !table.rows.is_empty() || number == 0 && options.format == OutputFormat::Csv {
            if is_one_of_several {
                table.show("mac");
            }
            let printed = write!(out, "{gap}")
                .and_then(|()| table.print(&mut out, options.format, zone))
                .and_then(|()| out.flush());
            printed.map_err(|error| Error::write("standard output", error))?;
            gap = if is_table { "\n" } else { "" };
        }
        table.omitted.unseen(zone).into_iter().for_each(warn); // first: it answers the question better than that nothing was seen
        none.into_iter().for_each(info);
        let remarks = [table.in_turn_text(None, zone), table.omitted.remark()];
        remarks.into_iter().flatten().for_each(warn);
        lacking.iter().for_each(warn);
    }
    of_history.iter().for_each(warn);
    Ok(is_found)
}

fn answer_to<'a>(
    query: &'a Query,
    history: &mut dyn HistoryReader,
    zone: &TimeZone,
) -> Result<Answered<'a>, Error> {
    let table = query.run(history)?;
    let beyond = match table.rows.is_empty() {
        true => query.beyond(history, (zone, &table.omitted))?,
        false => None,
    };
    Ok((query, table, beyond))
}

/// A note if the history does not have a MAC that is named: most often a digit is wrong.
fn note_unseen(options: &Options, mac: MacAddr) {
    let Ok(mut history) = open(options) else { return };
    let seen = Query::Mac(mac, TimeRange::ALL, Listed::All).run(&mut *history);
    let names = history.claimed_names(&[mac]);
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
