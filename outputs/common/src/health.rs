//! `--health`: whether the collector hears, and this output keeps up; in one line, for a monitoring
//! check or a container's health check.

use std::{
    fmt,
    io::{self, ErrorKind, Write},
    process::ExitCode,
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::Error;
use shm_layout::{AttachError, Counter, Reader, RingName, Start, UnixTime};

use crate::{
    Plan, RingOptions, StartFrom,
    delivery::SAVE,
    live_checkpoint::{self, LiveCheckpoint},
    state::{self, StateFile, is_locked},
};

/// A heartbeat comes once a second. One that looks older is watched for a while before it counts:
/// somebody may have set the clock.
const BEAT_WITHIN: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_millis(2500);
/// For how long the kernel's drops make a collector unhealthy.
const DROPS_WITHIN: Duration = Duration::from_secs(300);
/// By so many nanoseconds a time may be ahead of ours without a clock having been set.
const SLACK: i64 = 5_000_000_000;

/// Prints one line, on standard output as monitoring wants it: that all is well, or the first thing that
/// is wrong, with status 1.
pub(crate) fn check(name: &str, options: &RingOptions, plan: &Plan) -> ExitCode {
    let (well, text) = match check_all(name, options, plan) {
        Ok(good) => (true, good.join("; ")),
        Err(why) => (false, why),
    };
    let reported = writeln!(io::stdout(), "{name}: {text}");
    ExitCode::from(u8::from(!well || reported.is_err()))
}

fn check_all(name: &str, options: &RingOptions, plan: &Plan) -> Result<Vec<String>, String> {
    let owners = options.owners().map_err(|error| match error {
        Error::Failed(why) => why,
        Error::Closed => "nothing can be asked".into(),
    })?;
    let ring = |ring| match check_ring(name, ring, options, plan, &owners) {
        Ok(text) => Ok(format!("ring {ring}: {text}")),
        Err(why) => Err(format!("ring {ring}: {why}")),
    };
    options.rings.iter().map(ring).collect()
}

fn check_ring(
    name: &str,
    ring: &RingName,
    options: &RingOptions,
    plan: &Plan,
    owners: &[u32],
) -> Result<String, String> {
    let attach = || Reader::attach_to(ring, owners, Start::Oldest);
    let reader = attach().map_err(|error: AttachError| error.to_string())?;
    let beat = Age::of(reader.heartbeat());
    let Some(pid) = reader.writer() else {
        return Err(format!("no heartbeat: the collector ended {beat}"));
    };
    if beat.is_not_within(BEAT_WITHIN) && !beats(&reader) {
        return Err(format!("no heartbeat from the collector, process {pid}: its last was {beat}"));
    }
    let frame = Age::of(reader.last_frame().unwrap_or(reader.created()));
    if options.max_silence > 0
        && let Age::Known(silence) = frame
        && silence.as_secs() >= options.max_silence
    {
        return Err(format!("no frame for {} s", silence.as_secs()));
    }
    if let Some(Age::Known(age)) = reader.last_drop().map(Age::of)
        && age < DROPS_WITHIN
    {
        let checkpoints = reader.counters();
        let dropping = checkpoints
            .iter()
            .map(|checkpoint| (checkpoint.get(Counter::KernelDropped), checkpoint.name.as_str()))
            .filter(|(drops, _)| *drops > 0);
        let drops: Vec<_> = dropping.map(|(drops, name)| format!("{drops} on {name}")).collect();
        return Err(format!(
            "the kernel dropped frames, the last {} s ago: {} in all",
            age.as_secs(),
            drops.join(", ")
        ));
    }
    let keeps = keeps_position(options, plan);
    if keeps && !options.once && !runs(name, options, plan) {
        let directory = options.state_dir.display();
        return Err(format!("{name} does not run: nobody holds {directory}/{name}.lock"));
    }
    if let Some(behind) = lag(name, &reader, options, keeps)? {
        return Err(format!("{name} is {behind} events behind"));
    }
    Ok(format!("last frame {frame}"))
}

/// How long ago something was, by the machine's clock, which somebody may have set since.
enum Age {
    Known(Duration),
    /// By the clock it is still to come.
    Future,
}

impl Age {
    fn of(then: UnixTime) -> Age {
        let nanos = UnixTime::now().as_nanos().saturating_sub(then.as_nanos());
        match u64::try_from(nanos) {
            Ok(nanos) => Age::Known(Duration::from_nanos(nanos)),
            Err(_) if nanos >= -SLACK => Age::Known(Duration::ZERO),
            Err(_) => Age::Future,
        }
    }

    fn is_not_within(&self, limit: Duration) -> bool {
        !matches!(self, Age::Known(age) if *age <= limit)
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Age::Known(age) => write!(f, "{} s ago", age.as_secs()),
            Age::Future => write!(f, "at a time unknown, for the clock was set back since"),
        }
    }
}

/// Whether the heart beats while one watches.
fn beats(reader: &Reader) -> bool {
    let (first, end) = (reader.heartbeat(), Instant::now() + WATCH);
    while Instant::now() < end {
        if reader.heartbeat() != first {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    false
}

/// Whether an output with these options goes on where it was.
fn keeps_position(options: &RingOptions, plan: &Plan) -> bool {
    plan.spool.is_some() || options.start(plan) == StartFrom::Resume
}

/// Whether it runs, as far as one can say: without a spool it may need no lock.
fn runs(name: &str, options: &RingOptions, plan: &Plan) -> bool {
    is_locked(&options.state_dir, name)
        .unwrap_or_else(|error| plan.spool.is_none() || error.kind() != ErrorKind::NotFound)
}

/// How far the output of this name and state directory is behind, if it is by more than half a ring
/// and stays so: some write their position down only now and then.
fn lag(
    name: &str,
    reader: &Reader,
    options: &RingOptions,
    keeps: bool,
) -> Result<Option<u64>, String> {
    let published = reader.published();
    let files = [LiveCheckpoint::path, StateFile::path].map(|path| path(&options.state_dir, name));
    let end = Instant::now() + SAVE + BEAT_WITHIN;
    loop {
        let (directory, ring) = (&options.state_dir, reader.name());
        let mut next = live_checkpoint::next_of(directory, name, ring, reader.generation())?;
        if next.is_none() {
            next = state::next_of(directory, name, ring, reader.generation())?;
        }
        // One that writes its position down, but none in this stream, has nothing of it.
        let has_nothing = keeps && files.iter().any(|file| file.exists());
        let next = next.unwrap_or(if has_nothing { 0 } else { published });
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
