//! The metrics in Prometheus's text format. Labels are rings, interfaces, reasons, origins and outputs: the number of
//! samples does not grow with the number of devices.

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::Cursor,
    net::TcpListener,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aw_output::{
    Error, HEARTBEAT_TIMEOUT, info, saved_states,
    serve::{self, AllowedHosts},
};
use shm_layout::{
    CaptureState, Counter, NameCounter, NamesReader, Reader, RingName, Start, UnixTime,
};

/// Where the values of the metrics come from.
#[derive(Clone)]
pub struct MetricSources {
    rings: BTreeMap<String, RingName>,
    /// Users whose rings are trusted.
    owners: Vec<u32>,
    /// Where the outputs save their positions.
    state_dir: PathBuf,
    /// Events that were read, by ring and origin.
    events: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

/// Names, without the prefix `addrwatch_`, and help texts.
const METRICS: &[(&str, &str)] = &[
    ("ring_up", "1 if the ring exists and aw-metrics may read it, otherwise 0."),
    ("ring_slots", "Number of events that the ring can hold."),
    ("ring_created_timestamp_seconds", "Time when the ring was created."),
    ("ring_events_total", "Events published since the ring was created."),
    ("collector_running", "1 if the collector runs; 0 if it ended, was killed or hangs."),
    ("collector_heartbeat_age_seconds", "Time since the collector's heartbeat, sent every second."),
    (
        "collector_kills_total",
        "Collectors of the ring that were killed or crashed; counted when the next one begins.",
    ),
    (
        "collector_crash_loop",
        "1 if the collector was killed or crashed three times within an hour, until an hour after the last time; otherwise 0.",
    ),
    ("collector_last_frame_age_seconds", "Time since the collector received a frame."),
    ("collector_last_drop_age_seconds", "Time since the kernel dropped a frame."),
    (
        "interface_up",
        "1 if the interface is captured and up; 0 if it is down, gone or without a carrier, or if its enabled collector does not run.",
    ),
    (
        "interface_last_frame_age_seconds",
        "Time since the collector received a frame of the interface; without one, since it created the ring.",
    ),
    (
        "interface_last_arp_broadcast_age_seconds",
        "Time since the collector received an ARP broadcast of another host at the interface; without one, since it created the ring.",
    ),
    (
        "network_neighbors_hidden",
        "With collector --names, after 24 multicast queries: 1 if the hosts of the network do not answer them at this port, so that a switch may hide Neighbor Discovery; 0 if they do.",
    ),
    ("frames_total", "Frames by result (published, filtered, why refused); the sum is all frames."),
    ("frames_seen_total", "Frames that the collector received."),
    ("kernel_dropped_total", "Frames that the kernel dropped because the collector was too slow."),
    ("forgotten_total", "Pairings that the rate limit forgot because --max-pairings was reached."),
    (
        "arp_broadcasts_total",
        "ARP broadcasts of other hosts that the collector received, whatever became of them.",
    ),
    (
        "names_total",
        "Messages with names by result, with collector --names; the sum is all of them.",
    ),
    ("names_seen_total", "Messages with names that the collector processed."),
    ("names_parts_total", "Options, texts and records of these messages that were left out."),
    ("events_total", "Events that aw-metrics read since its start, by origin."),
    ("output_next_event", "Saved position of the output: the event that it delivers next."),
    ("output_behind_events", "Events of the ring after the saved position of the output."),
    ("output_delivered_total", "Events that the output delivered."),
    ("output_lost_total", "Events that the collector overwrote before the output read them."),
    ("output_skipped_total", "Events whose kind the output does not know."),
    (
        "output_queued_messages",
        "Messages that a channel of aw-alert has still to send, with those that its server refused since the start.",
    ),
    ("spool_bytes", "Size on disk of the output's spool file, also while the spool is empty."),
];

#[derive(Default)]
struct Samples(BTreeMap<&'static str, String>);

impl Samples {
    fn add(&mut self, name: &'static str, labels: &[(&str, &str)], value: impl Display) {
        let escaped =
            |text: &str| text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let labels = labels.iter().map(|(label, text)| format!("{label}=\"{}\"", escaped(text)));
        let labels = labels.collect::<Vec<_>>().join(",");
        *self.0.entry(name).or_default() += &format!("addrwatch_{name}{{{labels}}} {value}\n");
    }

    fn add_ring(&mut self, ring: &str, reader: &Reader) {
        let labels = [("ring", ring)];
        self.add("ring_slots", &labels, reader.slots());
        self.add("ring_created_timestamp_seconds", &labels, reader.created().seconds());
        self.add("ring_events_total", &labels, reader.published());
        // Of one moment, so that no sample contradicts another one.
        let (heartbeat, now) = (reader.heartbeat(), UnixTime::now());
        let age = |time: UnixTime| seconds_between(time, now);
        let runs = reader.writer().is_some() && is_recent(heartbeat, now);
        self.add("collector_running", &labels, u8::from(runs));
        self.add("collector_heartbeat_age_seconds", &labels, age(heartbeat));
        let kills = reader.kills();
        self.add("collector_kills_total", &labels, kills.number);
        self.add("collector_crash_loop", &labels, u8::from(kills.crash_loop().is_some()));
        for (name, time) in [
            ("collector_last_frame_age_seconds", reader.last_frame()),
            ("collector_last_drop_age_seconds", reader.last_drop()),
        ] {
            time.iter().for_each(|time| self.add(name, &labels, age(*time)));
        }
        // Of a collector that does not run, nothing is known.
        let (states, views) =
            if runs { (reader.interfaces(), reader.neighbors()) } else { Default::default() };
        for view in views {
            if states.contains(&(view.interface, CaptureState::Captured)) {
                let labels = [labels[0], ("network", &*view.network())];
                self.add("network_neighbors_hidden", &labels, u8::from(view.is_hidden));
            }
        }
        for (interface, state) in states {
            let labels = [labels[0], ("interface", interface.as_str())];
            self.add("interface_up", &labels, u8::from(state == CaptureState::Captured));
            let frames = reader.last_frames().into_iter().find(|(one, _)| *one == interface);
            // Without a frame, since there is this ring: a rule finds also what never received one.
            let last = frames.map_or(reader.created(), |(_, time)| time);
            self.add("interface_last_frame_age_seconds", &labels, age(last));
            let broadcasts = reader.broadcasts().into_iter();
            let last = broadcasts.filter(|(one, ..)| *one == interface).find_map(|(.., last)| last);
            let last = last.unwrap_or(reader.created());
            self.add("interface_last_arp_broadcast_age_seconds", &labels, age(last));
        }
        for interface in reader.counters() {
            let labels = [labels[0], ("interface", interface.name.as_str())];
            for counter in Counter::ALL {
                let (value, reason) = (interface.get(*counter), ("reason", counter.name()));
                match counter {
                    Counter::Seen => self.add("frames_seen_total", &labels, value),
                    Counter::KernelDropped => self.add("kernel_dropped_total", &labels, value),
                    Counter::Forgotten => self.add("forgotten_total", &labels, value),
                    Counter::ArpBroadcast => self.add("arp_broadcasts_total", &labels, value),
                    _ => self.add("frames_total", &[labels[0], labels[1], reason], value),
                }
            }
        }
    }

    /// Of a collector with `--names`.
    fn add_names(&mut self, ring: &str, reader: &NamesReader) {
        for interface in reader.counters() {
            let labels = [("ring", ring), ("interface", interface.name.as_str())];
            for counter in NameCounter::ALL {
                let (value, reason) = (interface.get(*counter), ("reason", counter.name()));
                match counter {
                    NameCounter::Seen => self.add("names_seen_total", &labels, value),
                    _ if counter.is_outcome() => {
                        self.add("names_total", &[labels[0], labels[1], reason], value);
                    }
                    _ => self.add("names_parts_total", &[labels[0], labels[1], reason], value),
                }
            }
        }
    }

    fn text(&self) -> String {
        let metric = |(name, help): &(&str, &str)| {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            let (name, samples) = (format!("addrwatch_{name}"), self.0.get(name)?);
            Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}"))
        };
        METRICS.iter().filter_map(metric).collect()
    }
}

impl MetricSources {
    pub fn new(rings: &[RingName], owners: Vec<u32>, state_dir: PathBuf) -> MetricSources {
        let rings: BTreeMap<_, _> =
            rings.iter().map(|ring| (ring.to_string(), ring.clone())).collect();
        let events = rings.keys().map(|ring| (ring.clone(), BTreeMap::new())).collect();
        MetricSources { rings, owners, state_dir, events }
    }

    pub fn count_event(&mut self, ring: &RingName, origin: &'static str) {
        if let Some(origins) = self.events.get_mut(ring.as_str()) {
            *origins.entry(origin).or_default() += 1;
        }
    }

    /// All metrics with their present values.
    pub fn text(&self) -> String {
        let mut samples = Samples::default();
        let mut streams = BTreeMap::new();
        for (name, ring) in &self.rings {
            let reader = Reader::attach_to(ring, &self.owners, Start::Now);
            samples.add("ring_up", &[("ring", name)], u8::from(reader.is_ok()));
            let Ok(reader) = reader else { continue };
            streams.insert(name.as_str(), (reader.generation(), reader.published()));
            samples.add_ring(name, &reader);
            let names = NamesReader::attach_to(&ring.names(), &self.owners, Start::Now);
            names.iter().for_each(|names| samples.add_names(name, names));
        }
        for (ring, origins) in &self.events {
            for (origin, number) in origins {
                samples.add("events_total", &[("ring", ring), ("origin", origin)], number);
            }
        }
        for (output, saved) in saved_states(&self.state_dir) {
            if let Some(bytes) = saved.spool {
                samples.add("spool_bytes", &[("output", &output)], bytes);
            }
            for (channel, messages) in saved.queues {
                let labels = [("output", output.as_str()), ("channel", channel.as_str())];
                samples.add("output_queued_messages", &labels, messages);
            }
            for (ring, checkpoint) in saved.checkpoints {
                let Some((generation, published)) = streams.get(ring.as_str()) else { continue };
                let labels = [("output", output.as_str()), ("ring", ring.as_str())];
                samples.add("output_next_event", &labels, checkpoint.next());
                samples.add("output_delivered_total", &labels, checkpoint.delivered);
                samples.add("output_lost_total", &labels, checkpoint.lost);
                samples.add("output_skipped_total", &labels, checkpoint.skipped);
                // Of a ring that was created again, the output has read nothing.
                let is_same = *generation == checkpoint.generation;
                let next = if is_same { checkpoint.next() } else { 0 };
                samples.add("output_behind_events", &labels, published.saturating_sub(next));
            }
        }
        samples.text()
    }
}

/// Whether the collector is alive, if it has not ended. After a kill, the ring's header still has the process; that process id may
/// belong to another program now, or to another container.
fn is_recent(heartbeat: UnixTime, now: UnixTime) -> bool {
    // In both directions: the clock may have been set back since the last heartbeat.
    let difference = now.as_nanos().abs_diff(heartbeat.as_nanos());
    u128::from(difference) <= HEARTBEAT_TIMEOUT.as_nanos()
}

/// Seconds since `time`; 0 if the clock was set back.
fn seconds_between(time: UnixTime, now: UnixTime) -> f64 {
    now.as_nanos().saturating_sub(time.as_nanos()).max(0) as f64 / 1e9
}

/// Locks the sources. After a panic of another thread the counts are still valid.
pub fn lock(sources: &Mutex<MetricSources>) -> MutexGuard<'_, MetricSources> {
    sources.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the metrics over HTTP.
pub fn serve(
    listener: TcpListener,
    hosts: AllowedHosts,
    sources: Arc<Mutex<MetricSources>>,
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(|error| Error::io("listen", error))?;
    info(format_args!("metrics at http://{address}/metrics"));
    serve::start(listener, hosts, String::new(), move |path| {
        if !["/", "/metrics"].contains(&path) {
            return Err("404 Not Found");
        }
        let sources = lock(&sources).clone(); // a copy, so that events are counted meanwhile
        let text = sources.text();
        let (kind, length) = ("text/plain; version=0.0.4; charset=utf-8", text.len() as u64);
        Ok(serve::Page { kind, body: Box::new(Cursor::new(text)), length })
    })
}

#[cfg(test)]
mod tests {
    use shm_layout::{NamesWriter, Writer, WriterOptions};

    use super::*;

    /// What became of messages with names adds up to all of them.
    #[test]
    fn the_sum_of_names() {
        let ring: RingName = format!("/aw-test-metrics-{}", std::process::id()).parse().unwrap();
        let options = |name: RingName| WriterOptions { name, slots: 64, group: None, host: None };
        let events = Writer::create(&options(ring.clone())).unwrap();
        let mut names = NamesWriter::create(&options(ring.names())).unwrap();
        let interface = names.interface("eth0".parse().unwrap());
        NameCounter::ALL.iter().for_each(|counter| match counter {
            NameCounter::Seen => {}
            counter => {
                names.add(interface, *counter, 3);
                names.add(interface, NameCounter::Seen, 3 * u64::from(counter.is_outcome()));
            }
        });
        let sources =
            MetricSources::new(std::slice::from_ref(&ring), Vec::new(), "/nonexistent".into());
        let text = sources.text();
        let sum = |name: &str| {
            let begin = format!("addrwatch_{name}{{");
            let samples = text.lines().filter(|line| line.starts_with(&begin));
            samples
                .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum::<u64>()
        };
        assert!(sum("names_total") > 0 && sum("names_parts_total") > 0, "{text}");
        assert_eq!(sum("names_total"), sum("names_seen_total"));
        drop((events, names));
        for path in [ring.path(), ring.names().path()] {
            std::fs::remove_file(&path).unwrap();
            let _ = std::fs::remove_file(format!("{}.lock", path.display()));
        }
    }
}
