//! Prints the state of the routers, or a configuration.

use std::path::Path;

use aw_service::{Error, count_of, failed, info, warn};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::{Format, OutputOptions, find_router, find_snapshot, local, read};
use crate::{
    access::{NOT_READ, read_config},
    archive::{Archive, RouterState},
    config::Config,
    health::{is_running, write_faults},
    mask::mask,
    service_state::ServiceState,
    terminal::{print, table_with_notes},
};

#[derive(Args, Debug)]
pub struct ShowOptions {
    /// Print the configuration of this router
    router: Option<String>,
    /// Print this snapshot of it: its name, or the beginning of it, as log prints it
    snapshot: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
}

/// Prints the state of the routers, or a configuration.
pub fn show(path: &Path, options: &ShowOptions) -> Result<(), Error> {
    let config = read_config(path)?;
    match &options.router {
        Some(router) => show_configuration(&config, router, options),
        None => show_routers(&config, options),
    }
}

fn show_configuration(config: &Config, router: &str, options: &ShowOptions) -> Result<(), Error> {
    let name = find_router(config, router)?;
    let archive = Archive::of(&config.archive, &name);
    let bytes = match &options.snapshot {
        Some(start) => {
            let snapshots = read(&name, archive.snapshots())?;
            read(&name, archive.snapshot(find_snapshot(&snapshots, start)?))?
        }
        None => read(&name, archive.base())?
            .ok_or_else(|| failed(format_args!("{name}: no configuration in the archive yet")))?,
    };
    let facts = read(&name, archive.facts())?.filter(|_| options.snapshot.is_none());
    let facts = facts.map_or(Vec::new(), |facts| facts.lines());
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    if options.output.format == Format::Json {
        let line = json!({ "router": name.as_str(), "configuration": text, "facts": facts });
        return options.output.print_json(&line);
    }
    // Not to standard output, which has the configuration as the router exported it.
    for fact in facts {
        let shown = if options.output.secrets { fact } else { mask(&fact) };
        info(format_args!("{name}: {shown}"));
    }
    options.output.print(&text)
}

/// That no daemon runs, and when the last one stored a state; or what is wrong with the one that runs.
fn warn_of_service(config: &Config) {
    if !matches!(is_running(&config.archive), Ok(false)) {
        // Or the lock is out of this user's reach.
        let faults = ServiceState::read(&config.archive).faults(local);
        let names: Vec<_> = config.routers.iter().map(|router| &router.name).collect();
        write_faults(&config.archive, &names).iter().for_each(warn);
        return faults.iter().for_each(|why| warn(format_args!("the running aw-routeros: {why}")));
    }
    let files = config.routers.iter().map(|router| config.archive.join(router.name.as_str()));
    let written = files.filter_map(|path| path.join("state.json").metadata().ok()?.modified().ok());
    let last = written.max().and_then(|time| Timestamp::try_from(time).ok());
    let as_of = last.map_or(String::new(), |last| format!(": the states are of {}", local(last)));
    warn(format_args!("aw-routeros does not run (systemctl start aw-routeros){as_of}"));
}

fn show_routers(config: &Config, options: &ShowOptions) -> Result<(), Error> {
    warn_of_service(config);
    let (mut rows, mut fault) = (Vec::new(), None);
    for router in &config.routers {
        let mut state = match read(&router.name, Archive::of(&config.archive, &router.name).state())
        {
            Ok(state) => state,
            Err(error) => {
                fault.get_or_insert(error);
                continue;
            }
        };
        let name = router.name.as_str();
        match router.address.host.as_str() {
            // The configuration has a mistake, and the daemon of an earlier version stored none.
            NOT_READ if state.address.is_empty() => state.address = NOT_READ.into(),
            NOT_READ => {}
            _ => state.address = router.address.to_string(),
        }
        if options.output.format == Format::Json {
            let line = RouterWithState { name, state: &state };
            options.output.print_json(&line)?;
            continue;
        }
        let time = |time: Option<Timestamp>| time.map_or("-".into(), local);
        let text = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let why = [state.why.as_str(), &state.unconfirmed, &state.unread, &state.no_backup];
        let why = why.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        rows.push(vec![
            name.to_owned(),
            state.address,
            text(&state.status),
            time(state.since),
            time(state.exported),
            time(state.changed),
            text(&state.version),
            match state.ignored {
                0 => state.lines.to_string(),
                ignored => {
                    let ignored = count_of(ignored, "change", "changes");
                    format!("{} ({ignored} ignored)", state.lines)
                }
            },
            if options.output.secrets { why } else { mask(&why) },
        ]);
    }
    let ended = fault.map_or(Ok(()), Err);
    if options.output.format == Format::Json || rows.is_empty() && ended.is_err() {
        return ended;
    }
    let head =
        ["ROUTER", "ADDRESS", "STATUS", "SINCE", "EXPORTED", "CHANGED", "VERSION", "LINES", "WHY"];
    print(&table_with_notes(&head, rows))?;
    ended
}

#[derive(Serialize)]
struct RouterWithState<'a> {
    name: &'a str,
    #[serde(flatten)]
    state: &'a RouterState,
}
