//! What is known, in Prometheus's text format. Labels are rings, interfaces, reasons, origins and
//! outputs: none of them grows with the network.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::Cursor,
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aw_output::{Error, info, saved_states, serve};
use shm_layout::{Counter, Reader, RingName, Start, UnixTime};

/// The rings, who is believed to own them, where outputs keep their state; and what was counted.
#[derive(Clone)]
pub struct Known {
    rings: BTreeMap<String, RingName>,
    owners: Vec<u32>,
    state: PathBuf,
    events: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

/// Name, and what it is.
const METRICS: &[(&str, &str)] = &[
    ("ring_up", "1 if the ring is there and may be read."),
    ("ring_slots", "Events that the ring can hold."),
    ("ring_created_timestamp_seconds", "When the ring's stream began."),
    ("ring_events_total", "Events published since then."),
    (
        "collector_running",
        "0 once the collector has ended; one that was killed has an old heartbeat.",
    ),
    (
        "collector_heartbeat_age_seconds",
        "Since the collector said that it lives, as once a second.",
    ),
    ("collector_last_frame_age_seconds", "Since a frame was seen."),
    ("collector_last_drop_age_seconds", "Since the kernel dropped frames."),
    ("frames_total", "Frames by where they ended: their sum is those seen."),
    ("frames_seen_total", "Frames that the collector took in hand."),
    ("kernel_dropped_total", "Frames that the kernel dropped, the collector being too slow."),
    ("forgotten_total", "Pairings that the rate limit forgot for want of room."),
    ("events_total", "Events by origin, of those that aw-metrics read since it began."),
    (
        "output_next_event",
        "The event that an output delivers next, as it wrote it down, every 5 seconds or sooner.",
    ),
    ("output_behind_events", "Events published that it has not delivered, by that."),
    ("output_delivered_total", "Events that it delivered."),
    ("output_lost_total", "Events that the collector overwrote before it read them."),
    ("output_skipped_total", "Events of kinds that it does not know."),
    ("spool_bytes", "What an output's spool takes on disk, full or empty."),
];

impl Known {
    pub fn new(rings: &[RingName], owners: Vec<u32>, state: PathBuf) -> Known {
        let rings: BTreeMap<_, _> =
            rings.iter().map(|ring| (ring.to_string(), ring.clone())).collect();
        let events = rings.keys().map(|ring| (ring.clone(), BTreeMap::new())).collect();
        Known { rings, owners, state, events }
    }

    pub fn count(&mut self, ring: &RingName, origin: &'static str) {
        if let Some(origins) = self.events.get_mut(ring.as_str()) {
            *origins.entry(origin).or_default() += 1;
        }
    }

    /// All of it, as it is now.
    pub fn text(&self) -> String {
        let mut samples = BTreeMap::<&str, String>::new();
        let mut add = |name, labels: &[(&str, &str)], value: &dyn Display| {
            let escaped = |text: &str| text.replace('\\', r"\\").replace('"', "\\\"");
            let labels =
                labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text)));
            let labels = labels.collect::<Vec<_>>().join(",");
            *samples.entry(name).or_default() += &format!("addrwatch_{name}{{{labels}}} {value}\n");
        };
        let mut streams = BTreeMap::new();
        for (name, ring) in &self.rings {
            let of = [("ring", name.as_str())];
            let reader = Reader::attach_to(ring, &self.owners, Start::Now);
            add("ring_up", &of, &u8::from(reader.is_ok()));
            let Ok(reader) = reader else { continue };
            streams.insert(name.as_str(), (reader.generation(), reader.published()));
            add("ring_slots", &of, &reader.slots());
            add("ring_created_timestamp_seconds", &of, &reader.created().seconds());
            add("ring_events_total", &of, &reader.published());
            add("collector_running", &of, &u8::from(reader.writer().is_some()));
            add("collector_heartbeat_age_seconds", &of, &age(reader.heartbeat()));
            if let Some(at) = reader.last_frame() {
                add("collector_last_frame_age_seconds", &of, &age(at));
            }
            if let Some(at) = reader.last_drop() {
                add("collector_last_drop_age_seconds", &of, &age(at));
            }
            for account in reader.counters() {
                let of = [of[0], ("interface", account.name.as_str())];
                for counter in Counter::ALL {
                    let (value, reason) = (account.get(*counter), ("reason", counter.name()));
                    match counter {
                        Counter::Seen => add("frames_seen_total", &of, &value),
                        Counter::KernelDropped => add("kernel_dropped_total", &of, &value),
                        Counter::Forgotten => add("forgotten_total", &of, &value),
                        _ => add("frames_total", &[of[0], of[1], reason], &value),
                    }
                }
            }
        }
        for (ring, origins) in &self.events {
            for (origin, number) in origins {
                add("events_total", &[("ring", ring), ("origin", origin)], number);
            }
        }
        for (output, kept) in saved_states(&self.state) {
            if let Some(bytes) = kept.spool {
                add("spool_bytes", &[("output", &output)], &bytes);
            }
            for (ring, checkpoint) in kept.checkpoints {
                let Some((generation, published)) = streams.get(ring.as_str()) else { continue };
                let of = [("output", output.as_str()), ("ring", ring.as_str())];
                add("output_next_event", &of, &checkpoint.next());
                add("output_delivered_total", &of, &checkpoint.delivered);
                add("output_lost_total", &of, &checkpoint.lost);
                add("output_skipped_total", &of, &checkpoint.skipped);
                if *generation == checkpoint.generation {
                    add("output_behind_events", &of, &published.saturating_sub(checkpoint.next()));
                }
            }
        }
        let told = METRICS.iter().filter_map(|(name, help)| {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let (name, samples) = (format!("addrwatch_{name}"), samples.get(name)?);
            Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}"))
        });
        told.collect()
    }
}

/// Seconds since then; 0 where somebody set the clock back.
fn age(then: UnixTime) -> f64 {
    UnixTime::now().as_nanos().saturating_sub(then.as_nanos()).max(0) as f64 / 1e9
}

/// What was counted is right even if somebody who counted has panicked.
pub fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers Prometheus, without keeping events waiting meanwhile.
pub fn serve(listener: TcpListener, known: Arc<Mutex<Known>>) -> Result<(), Error> {
    let address = listener.local_addr().map_err(|error| Error::io("listen", error))?;
    info(format_args!("metrics at http://{address}/metrics"));
    serve::start(listener, String::new(), move |path| {
        if !["/", "/metrics"].contains(&path) {
            return Err("404 Not Found");
        }
        let known = lock(&known).clone(); // events come meanwhile
        let text = known.text();
        let (kind, length) = ("text/plain; version=0.0.4; charset=utf-8", text.len() as u64);
        Ok(serve::Page { kind, body: Box::new(Cursor::new(text)), length })
    })
}
