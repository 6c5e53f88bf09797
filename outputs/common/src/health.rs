//! `--health`: whether the collector captures frames and this output keeps up; one line, for a monitoring
//! system or the health check of a container.

use std::{
    io::{self, ErrorKind, Write},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{Error, cause, count_of, start_remedy};
use shm_layout::{AttachError, Reader, RingName, Start};

use crate::{
    Plan, RingOptions, StartFrom,
    delivery::SAVE_INTERVAL,
    live_checkpoint::{self, LiveCheckpoint},
    outage_file::outage_of,
    ring_health::{Age, capture_faults},
    source::attach_fault,
    state::{self, StateFile, is_locked},
    writer_kills::{crash_loop, not_started_again, recent_kills, writer_of},
};

/// A collector updates its heartbeat once a second. If the last one seems older than this, the heartbeat is
/// observed for a while, because the clock may have been set.
pub const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
const OBSERVATION: Duration = Duration::from_millis(2500);

/// Prints one line on standard output, where monitoring systems read it: healthy, or every fault, with exit status 1.
pub(crate) fn check(name: &str, options: &RingOptions, plan: &Plan) -> ExitCode {
    let (healthy, mut texts) = match check_all(name, options, plan) {
        Ok(texts) => (true, texts),
        Err(faults) => (false, faults),
    };
    texts.extend_from_slice(&plan.notes);
    let reported = writeln!(io::stdout(), "{name}: {}", texts.join("; "));
    ExitCode::from(u8::from(!healthy || reported.is_err()))
}

fn check_all(name: &str, options: &RingOptions, plan: &Plan) -> Result<Vec<String>, Vec<String>> {
    let owners = options.owners().map_err(|error| match error {
        Error::Failed(why) => vec![why],
        Error::Closed => vec!["standard output is closed".into()],
    })?;
    let (mut texts, mut faults) = (Vec::new(), Vec::new());
    let of_output = output_faults(name, options, plan);
    for ring in &options.rings {
        match check_ring(name, ring, options, plan, &owners, of_output.is_empty()) {
            Ok(text) => texts.push(format!("ring {ring}: {text}")),
            Err(all) => faults.push(format!("ring {ring}: {}", all.join("; "))),
        }
    }
    if options.rings.is_empty() {
        match resumes(options, plan) {
            true => texts.push("it runs and reads its stream".into()),
            false => faults.push(
                "it is unknown whether it reads its stream: it stores nothing (set --from resume)"
                    .into(),
            ),
        }
    }
    faults.extend(of_output);
    if faults.is_empty() { Ok(texts) } else { Err(faults) }
}

/// `waits`: nothing is wrong with the output so far, which may only need a moment to read.
fn check_ring(
    name: &str,
    ring: &RingName,
    options: &RingOptions,
    plan: &Plan,
    owners: &[u32],
    waits: bool,
) -> Result<String, Vec<String>> {
    let attach = || Reader::attach_to(ring, owners, Start::Oldest);
    let reader = attach().map_err(|error: AttachError| vec![attach_fault(&error)])?;
    let frame = reader.silent_since().map(Age::of);
    let dead = no_heartbeat(&reader);
    let (kills, captures) = (reader.kills(), frame.is_some());
    let of_kills = crash_loop(&kills, captures, dead.is_none());
    let mut faults = match dead {
        Some(why) => vec![why],
        None => {
            let faults = capture_faults(&reader, options.max_silence);
            faults.into_iter().map(|fault| fault.text).collect()
        }
    };
    faults.extend(of_kills);
    let patience = match waits && faults.is_empty() {
        true => SAVE_INTERVAL + HEARTBEAT_TIMEOUT,
        false => Duration::ZERO,
    };
    match events_behind(name, &reader, options, resumes(options, plan), patience) {
        Ok(None) => {}
        Ok(Some(behind)) => {
            faults.push(format!("{name} is {} behind", count_of(behind, "event", "events")));
        }
        Err(why) => faults.push(why),
    }
    match faults.is_empty() {
        true => {
            let frame = match (frame, reader.last_frame()) {
                (None, _) => "its writer runs".into(),
                (Some(frame), Some(_)) => format!("last frame {frame}"),
                (Some(begun), None) => format!("no frame yet: the ring was created {begun}"),
            };
            Ok([frame]
                .into_iter()
                .chain(recent_kills(&kills, captures))
                .collect::<Vec<_>>()
                .join("; "))
        }
        false => Err(faults),
    }
}

/// Why the collector counts as dead.
fn no_heartbeat(reader: &Reader) -> Option<String> {
    let heartbeat = Age::of(reader.heartbeat());
    if reader.heartbeat().as_nanos() == 0 {
        return Some("no heartbeat yet: the collector begins (start it if this stays)".into());
    }
    let Some(pid) = reader.writer() else {
        return Some(format!(
            "no heartbeat: the collector ended {heartbeat} (start it again, such as systemctl start addrwatch-collector@INTERFACE)"
        ));
    };
    let captures = reader.silent_since().is_some();
    let (writer, remedy) = (writer_of(captures), not_started_again(captures));
    (heartbeat.exceeds(HEARTBEAT_TIMEOUT) && !heartbeat_changes(reader)).then(|| {
        format!(
            "no heartbeat from {writer}, process {pid}: the last one was {heartbeat} ({remedy})"
        )
    })
}

/// What is wrong with the output itself.
fn output_faults(name: &str, options: &RingOptions, plan: &Plan) -> Vec<String> {
    let mut faults = Vec::new();
    if resumes(options, plan) && !options.once {
        match is_running(name, options) {
            Ok(true) => {}
            Ok(false) => {
                let directory = options.state_dir.display();
                let remedy = start_remedy(name);
                faults.push(format!(
                    "{name} is not running: no process has locked {directory}/{name}.lock {remedy}"
                ));
            }
            Err(why) => faults.push(why),
        }
    }
    if plan.spool.is_some() || plan.waits {
        match outage_of(&options.state_dir, name) {
            Ok(outage) => faults.extend(outage),
            Err(why) => faults.push(why),
        }
    }
    faults
}

/// Whether the heartbeat changes during the observation.
fn heartbeat_changes(reader: &Reader) -> bool {
    let (first, end) = (reader.heartbeat(), Instant::now() + OBSERVATION);
    while Instant::now() < end {
        if reader.heartbeat() != first {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    false
}

/// Whether an output with these options resumes at a saved position.
fn resumes(options: &RingOptions, plan: &Plan) -> bool {
    plan.spool.is_some() || options.start(plan) == StartFrom::Resume
}

/// Whether the output is running. Each one that resumes locks that file; if it is missing, the output never ran.
fn is_running(name: &str, options: &RingOptions) -> Result<bool, String> {
    match is_locked(&options.state_dir, name) {
        Ok(locked) => Ok(locked),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(false),
            ErrorKind::PermissionDenied => Ok(true), // its user and root may open it: the position shows whether it runs
            _ => {
                let lock = state::lock_path(&options.state_dir, name);
                Err(format!(
                    "open {}: {}: it is unknown whether {name} runs",
                    lock.display(),
                    cause(&error)
                ))
            }
        },
    }
}

/// How many events the output is behind, if that stays more than half the ring for some seconds: some
/// outputs save their position only every few seconds.
fn events_behind(
    name: &str,
    reader: &Reader,
    options: &RingOptions,
    resumes: bool,
    patience: Duration,
) -> Result<Option<u64>, String> {
    let published = reader.published();
    let files = [LiveCheckpoint::path, StateFile::path].map(|path| path(&options.state_dir, name));
    let end = Instant::now() + patience;
    loop {
        let (directory, ring) = (&options.state_dir, reader.name());
        let mut next = live_checkpoint::next_of(directory, name, ring, reader.generation())?;
        if next.is_none() {
            next = state::next_of(directory, name, ring, reader.generation())?;
        }
        // An output with a saved position, but none in this stream, has read nothing of it.
        let has_read_nothing = resumes && files.iter().any(|file| file.exists());
        let next = next.unwrap_or(if has_read_nothing { 0 } else { published });
        let behind = published.saturating_sub(next);
        if behind <= reader.slots() / 2 {
            return Ok(None);
        }
        if Instant::now() >= end {
            return Ok(Some(behind));
        }
        sleep(Duration::from_millis(100));
    }
}
