//! `aw-tracker`: who was here today. A log a day of each MAC, address and interface with the hours in which it was seen, alerts
//! of devices that nobody named, and a report of the last days as one HTML page.
#![forbid(unsafe_code)]

mod calendar;
mod config;
mod day;
mod files;
mod journal;
mod options;
mod report;
mod reporter;
mod row;
mod serve;
mod table;
mod tracker;
mod vendors;

use std::{
    env,
    io::{Write, stdout},
    net::TcpListener,
    path::Path,
    process::ExitCode,
};

use aw_output::{Error, Plan, parse, run};
use aw_service::ServiceOptions;

use crate::{
    files::Kind,
    options::{Command, Options, Sources},
    reporter::{Order, Places},
    tracker::Tracker,
};

const NAME: &str = "aw-tracker";

fn main() -> ExitCode {
    let options: Options = parse(NAME);
    match &options.command {
        Some(Command::Report { log_dir, sources }) => {
            aw_service::run(NAME, &ServiceOptions::default(), |_| report(log_dir, sources))
        }
        None => track(options),
    }
}

fn track(mut options: Options) -> ExitCode {
    let prepared = prepare(&mut options);
    let (plan, listener) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return aw_service::run(NAME, &ServiceOptions::default(), |_| Err(error)),
    };
    let Options { rings, settings, .. } = &options;
    run(NAME, rings, &plan, || {
        settings.explain()?;
        Tracker::open(settings, listener)
    })
}

/// What is needed; and listens for browsers, which it may not any more once it is confined.
fn prepare(options: &mut Options) -> Result<(Plan, Option<TcpListener>), Error> {
    let Options { rings, settings, .. } = options;
    if rings.health {
        return Ok((Plan::default(), None));
    }
    settings.sources.start =
        env::current_dir().map_err(|error| Error::io("find this directory", error))?;
    let plan = Plan { files: settings.files()?, ..Plan::default() };
    Ok((plan, settings.serve.as_ref().map(aw_output::serve::listen).transpose()?))
}

/// The page, beside the logs, and its text.
fn report(log_dir: &Path, sources: &Sources) -> Result<(), Error> {
    let (wanted, _) = sources.wanted(Some(log_dir), true)?;
    let vendors = sources.vendors();
    let places = Places { log_dir: wanted.log_dir, report_dir: wanted.report_dir, vendors };
    let logs = files::list(&places.log_dir)?;
    let today = jiff::Zoned::now().date();
    let trackers = || logs.iter().filter(|(kind, _)| *kind == Kind::Tracker).map(|(_, day)| *day);
    let day = trackers().max().unwrap_or(today);
    let order = Order { names: wanted.names, max_logs: wanted.max_logs, day, live: day == today };
    let report = reporter::gather(&places, &order)?;
    reporter::publish(&places.page(), &report)?;
    let bytes = trackers().map(|day| files::load(&places.log_dir, Kind::Tracker, day));
    let text = report::text::text(&report, &bytes.collect::<Result<Vec<_>, _>>()?, &order.names);
    let written = stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| Error::write("standard output", error))
}
