//! `--health`: whether the daemon runs and follows all routers; one line, for a monitoring system or the health check of a
//! container.

use std::{
    fs::TryLockError,
    io::{self, ErrorKind, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use aw_service::{FileKind, explain, open_file, plain};
use jiff::{SignedDuration, Timestamp};

use crate::{
    archive::{Archive, RouterState},
    config::Config,
    daemon::lock_path,
    mask::mask,
    recorder::{CONNECTING, is_followed},
};

/// A router may be connected to for the first time for so long: half a minute for a name or an address without an answer,
/// with some tries.
const CONNECT_TIME: Duration = Duration::from_secs(120);
/// Routers that the line names.
const NAMED: usize = 10;

/// Prints one line on standard output, where monitoring systems read it, with status 1 if it is not healthy.
pub fn run(path: &Path) -> ExitCode {
    let (is_healthy, text) = match check(path) {
        Ok(text) => (true, text),
        Err(why) => (false, why),
    };
    let printed = writeln!(io::stdout(), "aw-routeros: {}", plain(&text));
    ExitCode::from(u8::from(!is_healthy || printed.is_err()))
}

fn check(path: &Path) -> Result<String, String> {
    let config = Config::read(path)?;
    if config.routers.is_empty() {
        return Err("no router is configured (aw-routeros add HOST)".into());
    }
    if !is_running(&config.archive)? {
        return Err("not running (systemctl start aw-routeros)".into());
    }
    let (mut failing, mut waiting) = (Vec::new(), 0);
    for router in &config.routers {
        let why = match Archive::of(&config.archive, &router.name).state() {
            Ok(state) => {
                waiting += usize::from(state.exported.is_none() || state.status == CONNECTING);
                fault(&state)
            }
            Err(error) => Some(format!("has a state that cannot be read: {}", explain(&error))),
        };
        failing.extend(why.map(|why| format!("{} {why}", router.name)));
    }
    let count = match config.routers.len() {
        1 => "1 router".to_owned(),
        count => format!("{count} routers"),
    };
    if failing.is_empty() && waiting > 0 {
        return Ok(format!("{count}, {waiting} of them not yet connected or exported"));
    }
    if failing.is_empty() {
        return Ok(format!("{count}, followed, and exported completely"));
    }
    let more = match failing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    let number = failing.len();
    failing.truncate(NAMED);
    Err(format!("{number} of {count} not well: {}{more}", failing.join("; ")))
}

/// Why the router is not well.
fn fault(state: &RouterState) -> Option<String> {
    let since = state.since.map_or(String::new(), |since| format!(" since {since:.0}"));
    match state.status.as_str() {
        "connected" if state.exported.is_some() => None,
        "connected" | CONNECTING if is_recent(state) => None,
        "connected" => Some(format!("is connected{since}, and has no complete export yet")),
        // The daemon does not know it, or did not connect yet.
        "" | "stopped" => Some(format!(
            "is not followed{since} (after it was added: systemctl reload aw-routeros)"
        )),
        status if is_followed(status) => {
            Some(format!("has no complete export{since}: {}", mask(&state.why)))
        }
        status => Some(format!("is not followed{since}: {status}: {}", mask(&state.why))),
    }
}

fn is_recent(state: &RouterState) -> bool {
    let limit = SignedDuration::try_from(CONNECT_TIME).unwrap_or(SignedDuration::MAX);
    state.since.is_some_and(|since| Timestamp::now().duration_since(since) < limit)
}

/// Whether a daemon holds the lock of the archive.
fn is_running(archive: &Path) -> Result<bool, String> {
    let path = lock_path(archive);
    let failure = |error: io::Error| {
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => " (run it as root or as the user of aw-routeros)",
            _ => "",
        };
        format!("open {}: {}{remedy}", path.display(), explain(&error))
    };
    match open_file(&path, FileKind::State) {
        Ok(file) => match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(failure(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(failure(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without any complete export a router that is connected is well only for a moment.
    #[test]
    fn without_an_export() {
        let since = |seconds| Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok();
        let mut state = RouterState { status: "connected".into(), ..RouterState::default() };
        state.since = since(1);
        assert_eq!(fault(&state), None);
        state.since = since(3600);
        let why = fault(&state).unwrap();
        assert!(why.ends_with("and has no complete export yet"), "{why}");
        state.exported = since(7200);
        assert_eq!(fault(&state), None);
    }
}
