//! Whether all is well: each collector with its interfaces, and each output.

use askama::Template;
use aw_output::capture_fault;
use axum::response::Response;
use jiff::tz::TimeZone;
use shm_layout::{Counter, RingName, UnixTime};

use crate::{
    app::Visit,
    display,
    health::{Health, OutputRow, state_name},
    listing::ago,
    pages::{self, Banner, Frame},
    problem::Problem,
};

#[derive(Template)]
#[template(path = "health.html")]
struct HealthPage {
    frame: Frame,
    faults: Vec<Banner>,
    collectors: Vec<Collector>,
    outputs: Vec<Output>,
    looked_at: String,
}

struct Collector {
    ring: String,
    host: String,
    state: &'static str,
    heartbeat: String,
    interfaces: Vec<Interface>,
    hints: Vec<String>,
}

/// The counters of an interface, with the headings of their columns.
const COUNTS: [(&str, Counter); 4] = [
    ("Frames", Counter::Seen),
    ("Published", Counter::Published),
    ("Dropped by the kernel", Counter::KernelDropped),
    ("Forgotten pairings", Counter::Forgotten),
];

struct Interface {
    name: String,
    state: &'static str,
    is_failing: bool,
    last_frame: String,
    counts: [(&'static str, u64); COUNTS.len()],
}

struct Output {
    name: String,
    ring: String,
    behind: String,
    delivered: u64,
    lost: u64,
    queue: String,
    saved: String,
    is_failing: bool,
}

fn when(time: Option<UnixTime>, now: UnixTime, zone: &TimeZone) -> String {
    time.map_or("never".into(), |time| {
        format!("{} ({})", ago(time, now), display::time(time, zone))
    })
}

pub async fn health(visit: Visit) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    let zone = visit.zone.clone();
    let (health, now) = (visit.app.live.health(), UnixTime::now());
    let collector = |ring: &aw_output::RingHealth| Collector {
        ring: ring.ring.to_string(),
        host: aw_service::plain(&ring.host),
        state: match (ring.generation, ring.is_running) {
            (None, _) => "There is no such ring",
            (Some(_), true) => "It runs",
            (Some(_), false) => "It does not run",
        },
        heartbeat: when(ring.heartbeat, now, &zone),
        interfaces: ring.interfaces.iter().map(|one| interface(one, now, &zone)).collect(),
        hints: ring.hints.iter().map(|hint| aw_service::plain(hint)).collect(),
    };
    pages::page(&HealthPage {
        frame: Frame::new(&visit, ""),
        faults: Banner::all(&health, &zone),
        collectors: health.rings.iter().map(collector).collect(),
        outputs: health.rows().iter().map(|row| output(&health, row, now, &zone)).collect(),
        looked_at: when(health.at, now, &zone),
    })
}

fn interface(one: &aw_output::InterfaceHealth, now: UnixTime, zone: &TimeZone) -> Interface {
    Interface {
        name: aw_service::plain(one.counters.name.as_str()),
        state: state_name(one.state),
        is_failing: one
            .state
            .is_some_and(|state| capture_fault(one.counters.name, state).is_some()),
        last_frame: when(one.last_frame, now, zone),
        counts: COUNTS.map(|(label, counter)| (label, one.counters.get(counter))),
    }
}

fn output(health: &Health, row: &OutputRow, now: UnixTime, zone: &TimeZone) -> Output {
    let saved = &health.outputs[row.output];
    let queued = saved.queues.iter().filter(|(_, messages)| **messages > 0);
    let mut queue: Vec<String> =
        queued.map(|(channel, messages)| format!("{channel}: {messages} messages")).collect();
    queue.extend(saved.outage.as_ref().map(|outage| aw_service::plain(&outage.text)));
    Output {
        name: row.output.into(),
        ring: row.ring.map_or(String::new(), RingName::to_string),
        behind: row.behind.map_or("–".into(), |behind| behind.to_string()),
        delivered: row.delivered,
        lost: row.lost,
        queue: queue.join("; "),
        saved: when(saved.saved, now, zone),
        is_failing: health.faults().iter().any(|fault| fault.of == row.output),
    }
}
