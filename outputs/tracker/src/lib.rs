//! `aw-tracker`: a log a day of each MAC, address and interface with the hours in which it was seen, alerts for devices without
//! a name, and an HTML report of the last days.
#![forbid(unsafe_code)]

mod activity;
mod activity_report;
mod config_file;
mod daily_logs;
mod day_log;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/bodies/tracker.rs"]
pub mod fuzzed;
mod local_time;
mod log_dir;
mod log_format;
mod options;
mod report_server;
mod report_thread;
mod tracker_sink;

use std::{
    env,
    io::{Write, stdout},
    net::TcpListener,
    path::Path,
    process::ExitCode,
};

use aw_output::{Error, FaultFile, NameFollower, Plan, parse, run};
use aw_service::ServiceOptions;

use crate::{
    log_dir::LogKind,
    options::{CommonOptions, Options, TrackOptions, TrackerCommand},
    report_thread::{ReportPaths, ReportRequest},
    tracker_sink::TrackerSink,
};

const NAME: &str = "aw-tracker";
const SERVE: &str = "--serve";

/// The program.
pub fn main() -> ExitCode {
    let options: Options = parse(NAME);
    match &options.command {
        Some(TrackerCommand::Report { log_dir, common }) => {
            aw_service::run(NAME, &ServiceOptions::default(), |_| report(log_dir, common))
        }
        None => track(options),
    }
}

fn track(mut options: Options) -> ExitCode {
    let (plan, listener) = match prepare(&mut options) {
        Ok(prepared) => prepared,
        Err(error) => return aw_service::run(NAME, &ServiceOptions::default(), |_| Err(error)),
    };
    let Options { rings, tracking, .. } = &options;
    if rings.check {
        let port = tracking.serve.as_ref();
        let port =
            port.map(|at| aw_output::serve::check_port(rings, (at, SERVE), "/", "Device activity"));
        return aw_output::check(NAME, rings, &plan, || check(tracking, port));
    }
    run(NAME, rings, &plan, || {
        tracking.report_ignored_keys()?;
        let (file, faults) = FaultFile::open(&rings.state_path(), NAME);
        let faults = (file, faults.at_once(rings.once));
        let names = NameFollower::new(rings, &plan)?;
        TrackerSink::open(tracking, (&rings.rings, names), listener, faults)
    })
}

/// Finds the files that are needed, and opens the port of `--serve`: a confined process may open no port.
fn prepare(options: &mut Options) -> Result<(Plan, Option<TcpListener>), Error> {
    let Options { rings, tracking, .. } = options;
    if rings.health {
        return Ok((Plan::default(), None));
    }
    tracking.common.start_dir =
        env::current_dir().map_err(|error| Error::io("find the current directory", error))?;
    let serves = tracking.serve.is_some();
    if !rings.check {
        tracking.common.read_names()?;
    }
    let plan = Plan { files: tracking.files()?, serves, watches: true, ..Plan::default() };
    let serve = tracking.serve.as_ref().filter(|_| !rings.check);
    Ok((plan, serve.map(|at| aw_output::serve::listen(at, SERVE)).transpose()?))
}

/// For `--check`: the configuration, as the service's user reads it, and the logs of today. `port`: what became of its trial.
fn check(
    tracking: &TrackOptions,
    port: Option<Result<String, Vec<String>>>,
) -> Result<String, Vec<String>> {
    let read = tracking.common.read_names().and_then(|()| tracking.effective_config());
    let config = read.map_err(|error| vec![error.to_string()])?;
    let mut faults = log_dir::check(&config.log_dir, jiff::Zoned::now().date());
    let mut note = format!("logs go to {}", config.log_dir.display());
    match port {
        Some(Ok(line)) => note = format!("{note}\n{line}"),
        Some(Err(found)) => faults.extend(found),
        None => {}
    }
    if faults.is_empty() { Ok(note) } else { Err(faults) }
}

/// The command `report`: writes the HTML file and prints the text.
fn report(log_dir: &Path, common: &CommonOptions) -> Result<(), Error> {
    common.read_names()?;
    let config = common.effective_config(Some(log_dir), true)?;
    let paths = ReportPaths {
        log_dir: config.log_dir,
        report_dir: config.report_dir,
        makers: common.makers(),
        claimed: Default::default(),
    };
    let logs = log_dir::list_logs(&paths.log_dir)?;
    let days = || logs.iter().filter(|(kind, _)| *kind == LogKind::Tracker).map(|(_, day)| *day);
    let now = jiff::Zoned::now();
    let today = now.date();
    let day = days().max().unwrap_or(today);
    let request = ReportRequest { config: config.logs, day, is_today: day == today };
    let report = report_thread::build(&paths, &request, &now)?;
    report_thread::publish(&paths.html_file(), &report)?;
    let logs = days().map(|day| log_dir::read_log(&paths.log_dir, LogKind::Tracker, day));
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    let text = activity_report::text::to_text(&report, &logs, &request.config.names);
    let written = stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| Error::write("standard output", error))
}
