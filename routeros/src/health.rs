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
use rustix::{
    fs::{Access, access, statvfs},
    io::Errno,
};

use crate::{
    access::{read_or_explain, remedy},
    archive::{Archive, RouterState},
    archive_commands::local,
    config::{RouterName, archive_of_rejected},
    daemon::lock_path,
    export,
    mask::mask,
    recorder::{CONNECTING, STOPPED, is_followed},
    reload::some_of,
    service_state::ServiceState,
    session::without_next_try,
};

/// A router may be connected to for the first time for so long: half a minute for a name or an address without an answer,
/// with some tries.
const CONNECT_TIME: Duration = Duration::from_secs(120);
/// Routers for each reason, and reasons, that the line names.
const NAMED: usize = 10;
/// Bytes without which the disk of the archive is full.
const LEAST_SPACE: u64 = 16 << 10;

/// Or it runs with the archive of the configuration that it read.
const NOT_RUNNING: &str = "not running (systemctl start aw-routeros; if that fails, or it does run: systemctl status aw-routeros has the reason)";

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
    let config = match read_or_explain(path) {
        Ok(config) => config,
        Err(why) => return Err(check_running(path, &why)),
    };
    if config.routers.is_empty() {
        return Err("no router is configured (aw-routeros add HOST)".into());
    }
    if !is_running(&config.archive)? {
        return Err(NOT_RUNNING.into());
    }
    let names: Vec<_> = config.routers.iter().map(|router| &router.name).collect();
    check_routers(&config.archive, &names, ServiceState::read(&config.archive).faults(local))
}

/// With a mistake in the file: it, and what is wrong with the routers that the running daemon follows.
fn check_running(path: &Path, why: &str) -> String {
    let archive = archive_of_rejected(path).filter(|archive| is_running(archive) == Ok(true));
    let Some(archive) = archive else { return why.into() };
    let mut service = ServiceState::read(&archive);
    // Or what an earlier reload did not apply, and the mistake was made later.
    if mask(why).starts_with(&mask(&service.not_in_effect)) {
        service.not_in_effect.clear();
    }
    let mut faults = vec![service.runs_with(local) + why];
    faults.extend(service.faults(local));
    let mut names = Archive::names(&archive).unwrap_or_default();
    let is_followed = |name: &RouterName| {
        let state = Archive::of(&archive, name).whole_state();
        state.is_ok_and(|state| !matches!(&*state.status, "" | STOPPED))
    };
    names.retain(is_followed);
    let checked = check_routers(&archive, &names.iter().collect::<Vec<_>>(), faults);
    checked.unwrap_or_else(|text| text)
}

/// What is wrong with these routers, besides other faults.
fn check_routers(
    archive: &Path,
    names: &[&RouterName],
    mut faults: Vec<String>,
) -> Result<String, String> {
    let (mut failing, mut number, mut waiting) = (Vec::<Failing>::new(), 0, 0);
    faults.extend(write_faults(archive, names));
    for name in names.iter().copied() {
        let state = Archive::of(archive, name).whole_state();
        let (since, fault) = match state {
            Ok(state) => {
                waiting += usize::from(state.exported.is_none() || state.status == CONNECTING);
                (state.since, fault(&state))
            }
            Err(error) => {
                let why = format!(": {}", explain(&error));
                (None, Some(Fault { what: What::Unreadable, why }))
            }
        };
        let Some(fault) = fault else { continue };
        let since = since.filter(|_| fault.what != What::NoBackup); // of the connection
        number += 1;
        match failing.iter_mut().find(|known| known.fault == fault) {
            Some(known) => {
                known.names.push(name);
                known.since.extend(since);
            }
            None => {
                let since = since.into_iter().collect();
                failing.push(Failing { names: vec![name], since, fault });
            }
        }
    }
    let count = match names.len() {
        1 => "1 router".to_owned(),
        count => format!("{count} routers"),
    };
    if failing.is_empty() && faults.is_empty() {
        return Ok(match waiting {
            0 => format!("{count}, followed, and exported completely"),
            _ => format!("{count}, {waiting} of them not yet connected or exported"),
        });
    }
    let more = match failing.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more reasons"),
    };
    let shown: Vec<_> = failing.iter().take(NAMED).map(Failing::text).collect();
    if number > 0 {
        faults.push(format!("{number} of {count} not well: {}{more}", shown.join("; ")));
    }
    Err(faults.join("; "))
}

/// Why the running daemon cannot write to the archive. It cannot store that there. What is seen without it comes first.
pub fn write_faults(archive: &Path, names: &[&RouterName]) -> Vec<String> {
    let directories = names.iter().map(|name| archive.join(name.as_str()));
    let faults = [archive.to_owned()].into_iter().chain(directories);
    let faults: Vec<_> = faults.filter_map(|directory| write_fault(&directory)).collect();
    // The same of each router, if the disk has it.
    let more = faults.len().saturating_sub(1);
    let first = faults.into_iter().next().map(|first| match more {
        0 => first,
        _ => format!("{first}, and {more} more directories"),
    });
    first.or_else(|| export::write_fault(archive)).into_iter().collect()
}

fn write_fault(directory: &Path) -> Option<String> {
    let shown = directory.display();
    if access(directory, Access::WRITE_OK) == Err(Errno::ROFS) {
        return Some(format!(
            "write to {shown}: read-only file system (in a container, add a volume; else see dmesg, and if the disk has a fault, fsck comes before mount -o remount,rw)"
        ));
    }
    let disk = statvfs(directory).ok()?;
    let is_full = disk.f_blocks > 0 && disk.f_bavail * disk.f_frsize < LEAST_SPACE
        || disk.f_files > 0 && disk.f_favail == 0;
    is_full.then(|| format!("write to {shown}: no space left on device (free space on its disk)"))
}

/// Routers with the same fault.
struct Failing<'a> {
    names: Vec<&'a RouterName>,
    since: Vec<Timestamp>,
    fault: Fault,
}

impl Failing<'_> {
    fn text(&self) -> String {
        let Failing { names, since, fault: Fault { what, why } } = self;
        let verb = match (names.len(), what) {
            (1, What::NotFollowed) => "is not followed",
            (_, What::NotFollowed) => "are not followed",
            (1, What::Incomplete) => "has no complete export",
            (_, What::Incomplete) => "have no complete export",
            (1, What::NotExported) => "is connected, without a complete export,",
            (_, What::NotExported) => "are connected, without a complete export,",
            (1, What::NoBackup) => "has no backup",
            (_, What::NoBackup) => "have no backup",
            (1, What::Unreadable) => "has a state that cannot be read",
            (_, What::Unreadable) => "have states that cannot be read",
        };
        let first = since.iter().min().copied().map(local);
        let since = match (first, since.iter().max().copied().map(local)) {
            (Some(first), Some(last)) if first == last => format!(" since {first}"),
            (Some(first), Some(last)) => {
                format!(", the first since {first}, the last since {last}")
            }
            _ => String::new(),
        };
        format!("{} {verb}{since}{why}", some_of(names, NAMED))
    }
}

#[derive(PartialEq, Eq)]
struct Fault {
    what: What,
    why: String,
}

#[derive(Debug, PartialEq, Eq)]
enum What {
    NotFollowed,
    Incomplete,
    NotExported,
    NoBackup,
    Unreadable,
}

/// Why the router is not well. Each has its own time of the next try: `show` has it.
fn fault(state: &RouterState) -> Option<Fault> {
    let cause = mask(without_next_try(&state.why));
    let (what, why) = match state.status.as_str() {
        "connected" if state.exported.is_some() && !state.no_backup.is_empty() => {
            let cause = mask(&state.no_backup);
            (What::NoBackup, format!(": {}", cause.strip_prefix("no backup: ").unwrap_or(&cause)))
        }
        "connected" if state.exported.is_some() => return None,
        "connected" | CONNECTING if is_recent(state) => return None,
        "connected" => (What::NotExported, String::new()),
        // The daemon does not know it, or did not connect yet.
        "" | STOPPED => {
            (What::NotFollowed, " (after it was added: systemctl reload aw-routeros)".into())
        }
        status if is_followed(status) => (What::Incomplete, format!(": {cause}")),
        status => (What::NotFollowed, format!(": {status}: {cause}")),
    };
    Some(Fault { what, why })
}

fn is_recent(state: &RouterState) -> bool {
    let limit = SignedDuration::try_from(CONNECT_TIME).unwrap_or(SignedDuration::MAX);
    state.since.is_some_and(|since| Timestamp::now().duration_since(since) < limit)
}

/// Whether a daemon holds the lock of the archive.
pub fn is_running(archive: &Path) -> Result<bool, String> {
    let path = lock_path(archive);
    let failure = |error: io::Error| {
        // No group helps: the archive is its user's.
        let why = match error.kind() {
            ErrorKind::PermissionDenied => format!("permission denied{}", remedy(archive)),
            _ => explain(&error),
        };
        format!("open {}: {why}", path.display())
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
        assert!(fault(&state).is_none());
        state.since = since(3600);
        assert_eq!(fault(&state).map(|fault| fault.what), Some(What::NotExported));
        state.exported = since(7200);
        assert!(fault(&state).is_none());
        state.no_backup = "no backup: the user lacks policy".into();
        let found = fault(&state).unwrap();
        assert_eq!((found.what, &*found.why), (What::NoBackup, ": the user lacks policy"));
    }

    /// What can be written is no fault; a file system that is read only is one, without any try.
    #[test]
    fn an_archive_that_cannot_be_written() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(write_faults(root.path(), &[]), Vec::<String>::new());
        let fault = write_fault(Path::new("/proc")).or_else(|| write_fault(Path::new("/sys")));
        if access("/sys", Access::WRITE_OK) == Err(Errno::ROFS) {
            assert!(fault.unwrap().contains("read-only file system"));
        }
    }

    #[test]
    fn one_reason_once() {
        let names: Vec<_> =
            (0..12).map(|n| RouterName::try_from(format!("r{n}")).unwrap()).collect();
        let state = |why: &str| RouterState {
            status: "refused".into(),
            why: why.into(),
            ..RouterState::default()
        };
        let one = fault(&state("wrong; next try: at 10:00"));
        assert!(one == fault(&state("wrong; next try: at 10:01")));
        let mut failing =
            Failing { names: names.iter().collect(), since: Vec::new(), fault: one.unwrap() };
        let text = failing.text();
        assert!(
            text.starts_with("r0, r1, ")
                && text.ends_with("r9, and 2 more are not followed: refused: wrong"),
            "{text}"
        );
        failing.names.truncate(1);
        assert_eq!(failing.text(), "r0 is not followed: refused: wrong");
        let times = [300, 100, 200].map(|time| Timestamp::from_second(time).unwrap());
        failing.names.push(&names[1]);
        failing.since = times.to_vec();
        let (first, last) = (local(times[1]), local(times[0]));
        let each = format!(
            "r0, r1 are not followed, the first since {first}, the last since {last}: refused: wrong"
        );
        assert_eq!(failing.text(), each);
        failing.since = vec![times[0]; 2];
        assert_eq!(failing.text(), format!("r0, r1 are not followed since {last}: refused: wrong"));
    }
}
