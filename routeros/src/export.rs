//! `export`: has the running daemon take an export of a router at once, and prints the result.
//!
//! Only the daemon does it: it alone knows which log lines the change may be credited to, holds the archive's lock, and has
//! the mail, git and ring of a change. A second process that exported on its own would take the change from the daemon and
//! credit it to no user.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use aw_service::{Error, cause, failed};
use clap::Args;

use crate::{
    access,
    archive_commands::{Format, find_configured},
    config::Config,
    control::{self, ANSWER_TIME, MAX_LINE, Request},
    mask::mask,
    session::{ExportAnswer, ExportResult},
    terminal::print,
};

/// Options of `export`.
#[derive(Args, Debug)]
pub struct ExportOptions {
    /// Name of the router
    router: String,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// For the faults, which the daemon knows.
const FAULTS_TIME: Duration = Duration::from_secs(5);

const CLOSED: &str = "the daemon closed the connection: it ended, has too many requests, or runs as another user (try again, as root)";

pub fn run(path: &Path, options: &ExportOptions) -> Result<(), Error> {
    let config = Config::read(path).map_err(failed)?;
    let name = find_configured(&config, &options.router)?;
    let export = Request { export: name.to_string(), ..Request::default() };
    let mut answer = request(&config.archive, &export, ANSWER_TIME).map_err(failed)?;
    // A fault may repeat what the router said, and names in its log are chosen by users.
    for text in [&mut answer.why, &mut answer.who].into_iter().chain(&mut answer.users) {
        *text = mask(text);
    }
    if options.format == Format::Json {
        let mut value = serde_json::to_value(&answer).unwrap_or_default();
        value["router"] = name.as_str().into();
        print(&format!("{value}\n"))?;
    }
    let ExportAnswer { result, who, added, removed, snapshot, why, .. } = &answer;
    let text = match result {
        ExportResult::Failed => return Err(failed(format_args!("{name}: {why}"))),
        ExportResult::First => "first contact: configuration stored".into(),
        ExportResult::Unchanged => "unchanged".into(),
        ExportResult::Changed => {
            let snapshot = snapshot.trim_end_matches(".rsc");
            format!("changed by {who} (+{added} -{removed}), snapshot {snapshot}")
        }
    };
    let incomplete = if why.is_empty() { String::new() } else { format!("; {why}") };
    match options.format {
        Format::Table => print(&format!("{name}: {text}{incomplete}\n")),
        Format::Json => Ok(()),
    }
}

/// Why the running daemon refused the file at the last reload. An older one, or none, has no answer.
pub fn refused_reload(archive: &Path) -> Option<String> {
    refusal(archive, &Request { reload: true, ..Request::default() }, ANSWER_TIME)
}

/// Why the running daemon cannot write to the archive, which it cannot store there.
pub fn write_fault(archive: &Path) -> Option<String> {
    refusal(archive, &Request { faults: true, ..Request::default() }, FAULTS_TIME)
}

fn refusal(archive: &Path, asked: &Request, limit: Duration) -> Option<String> {
    let answer = request(archive, asked, limit).ok()?;
    let is_refused =
        answer.result == ExportResult::Failed && !answer.why.starts_with("the request");
    is_refused.then(|| mask(&answer.why))
}

/// Sends a request to the daemon that uses this archive, and waits so long for the answer.
fn request(archive: &Path, request: &Request, limit: Duration) -> Result<ExportAnswer, String> {
    let socket = control::path(archive);
    let mut stream = UnixStream::connect(&socket).map_err(|error| {
        let why = cause(&error);
        let remedy = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "no aw-routeros runs with this archive (systemctl start aw-routeros, or aw-routeros -d; aw-routeros check tries a router without it)".into()
            }
            ErrorKind::PermissionDenied => {
                access::remedy(&socket).trim_matches([' ', '(', ')']).to_owned()
            }
            _ => "restart aw-routeros".into(),
        };
        format!("connect to {}: {why}: {remedy}", socket.display())
    })?;
    let line = serde_json::to_string(request).unwrap_or_default();
    let mut answer = String::new();
    let exchange = stream
        .set_read_timeout(Some(limit))
        .and_then(|()| stream.write_all(format!("{line}\n").as_bytes()))
        .and_then(|()| BufReader::new((&stream).take(MAX_LINE)).read_line(&mut answer));
    match exchange {
        Ok(0) => Err(CLOSED.into()),
        Ok(_) => serde_json::from_str(&answer)
            .map_err(|error| format!("read the daemon's answer: {error} (restart aw-routeros)")),
        Err(error)
            if [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind()) =>
        {
            Err(CLOSED.into())
        }
        Err(error) => Err(format!("wait for the daemon's answer: {}", cause(&error))),
    }
}
