//! `--health`: whether the collector hears, and this output keeps up; in one line, for a monitoring
//! check or a container's health check.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use aw_service::{Error, failed};
use shm_layout::{AttachError, Counter, Reader, RingName, Start, UnixTime};

use crate::{RingOptions, outlet::SAVE, state};

/// A heartbeat comes once a second. One that looks older is watched for a while before it counts:
/// somebody may have set the clock.
const BEAT_WITHIN: Duration = Duration::from_secs(5);
const WATCH: Duration = Duration::from_millis(2500);
/// For how long the kernel's drops make a collector unhealthy.
const DROPS_WITHIN: Duration = Duration::from_secs(300);

/// Prints one line and succeeds, or fails with the first thing that is wrong.
pub(crate) fn check(name: &str, options: &RingOptions, owners: &[u32]) -> Result<(), Error> {
    let mut good = Vec::new();
    for ring in &options.rings {
        match check_ring(name, ring, options, owners) {
            Ok(text) => good.push(format!("ring {ring}: {text}")),
            Err(why) => return Err(failed(format_args!("ring {ring}: {why}"))),
        }
    }
    use std::io::Write;
    writeln!(std::io::stdout(), "{name}: {}", good.join("; "))
        .map_err(|error| Error::write("standard output", error))
}

fn check_ring(
    name: &str,
    ring: &RingName,
    options: &RingOptions,
    owners: &[u32],
) -> Result<String, String> {
    let attach = || Reader::attach_to(ring, owners, Start::Oldest);
    let reader = attach().map_err(|error: AttachError| error.to_string())?;
    let now = UnixTime::now();
    let age = |then: UnixTime| {
        let nanos = now.as_nanos().saturating_sub(then.as_nanos());
        Duration::from_nanos(nanos.max(0) as u64)
    };
    let beat = age(reader.heartbeat());
    let Some(pid) = reader.writer() else {
        return Err(format!("no heartbeat: the collector ended {} s ago", beat.as_secs()));
    };
    if (beat > BEAT_WITHIN || now < reader.heartbeat()) && !beats(&reader) {
        let seconds = beat.as_secs();
        return Err(format!("no heartbeat from the collector, process {pid}, for {seconds} s"));
    }
    let silence = age(reader.heard().unwrap_or(reader.created()));
    if options.max_silence > 0 && silence.as_secs() >= options.max_silence {
        return Err(format!("no frame for {} s", silence.as_secs()));
    }
    if let Some(dropped) = reader.dropped().map(age).filter(|age| *age < DROPS_WITHIN) {
        let accounts = reader.accounts();
        let dropping = accounts
            .iter()
            .map(|account| (account.get(Counter::KernelDropped), account.name.as_str()))
            .filter(|(drops, _)| *drops > 0);
        let drops: Vec<_> = dropping.map(|(drops, name)| format!("{drops} on {name}")).collect();
        return Err(format!(
            "the kernel dropped frames, the last {} s ago: {} in all",
            dropped.as_secs(),
            drops.join(", ")
        ));
    }
    if let Some(behind) = lag(name, &reader, options) {
        return Err(format!("{name} is {behind} events behind"));
    }
    Ok(format!("last frame {} s ago", silence.as_secs()))
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

/// How far the output of this name and state directory is behind, if it is by more than half a ring
/// and stays so: it writes its position down only now and then.
fn lag(name: &str, reader: &Reader, options: &RingOptions) -> Option<u64> {
    let published = reader.published();
    let end = Instant::now() + SAVE + BEAT_WITHIN;
    loop {
        let (ring, generation) = (reader.name(), reader.generation());
        let next = state::next_of(&options.state_dir, name, ring, generation)?;
        let behind = published.saturating_sub(next);
        if behind <= reader.slots() / 2 {
            return None;
        }
        if Instant::now() >= end {
            return Some(behind);
        }
        sleep(Duration::from_millis(100));
    }
}
