//! What the rings have now, for any number of viewers: one reader, one text for all, and a bounded channel from which a slow
//! viewer loses the oldest, which is counted.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aw_output::{Entry, EventJson, Followed, RingFollower, RingWatcher, TimeFormat};
use aw_query::{Devices, History};
use aw_service::{Error, plain};
use axum::body::Bytes;
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};
use shm_layout::RingName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::{display::zoned, fault_file, health::Health, known_macs, network::NetworkId};

/// Viewers at once: fewer than connections, so that pages are answered beside them; and those of one user with a name.
const VIEWERS: usize = 256;
const OF_USER: usize = 16;
/// Parts of the stream that are kept for a viewer that does not take them at once, or comes back.
const PARTS: usize = 32;
/// After the last viewer has gone, parts are made for so long: it may come back.
const LINGER: Duration = Duration::from_secs(10);
/// After a part, events are gathered for so long; in this time, at most so many are sent, and the others are counted.
const GATHER: Duration = Duration::from_millis(200);
const MOST: u64 = 200;
/// Events that are read before other work.
const ROUND: usize = 4096;
/// The longest sleep, and how often the states of rings and of outputs are looked at.
const SLEEP: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_secs(5);
/// If they were not looked at for so long, the thread has ended, or hangs in a directory of the outputs.
const UNWATCHED: Duration = Duration::from_secs(30);

/// A part of the stream.
#[derive(Clone, Debug)]
pub struct Part {
    /// The number of its first event, and the one after its last: those between two parts are lost.
    pub first: u64,
    pub end: u64,
    /// Server-sent events.
    pub text: Bytes,
}

/// What the rings have now, and how they are.
pub struct Live {
    /// The rings that are followed; there may be none.
    pub rings: Vec<RingName>,
    parts: broadcast::Sender<Part>,
    sent: Mutex<Sent>,
    viewers: Arc<Semaphore>,
    of_user: Arc<Mutex<HashMap<String, usize>>>,
    /// When it was looked at, or at first when this began, by a clock that is not set.
    health: Mutex<(Instant, Arc<Health>)>,
    ends: AtomicBool,
    /// Distinguishes the numbers of two processes.
    pub run: String,
}

/// What was sent to viewers.
#[derive(Default)]
struct Sent {
    /// The number of the next event.
    next: u64,
    /// The last parts.
    last: VecDeque<Part>,
}

/// A viewer, until it is dropped.
pub struct Viewer {
    /// The end of what it missed since its last event; that comes first, as far as it is kept.
    pub missed: u64,
    pub parts: broadcast::Receiver<Part>,
    /// The number of the first event that it gets, or lacks.
    pub next: u64,
    _held: (OwnedSemaphorePermit, Option<OfUser>),
}

/// A viewer of a user with a name.
struct OfUser(Arc<Mutex<HashMap<String, usize>>>, String);

impl OfUser {
    /// None if the user has too many.
    fn enter(all: &Arc<Mutex<HashMap<String, usize>>>, user: &str) -> Option<OfUser> {
        let mut counts = all.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user.into()).or_default();
        if *count >= OF_USER {
            return None;
        }
        *count += 1;
        Some(OfUser(Arc::clone(all), user.into()))
    }
}

impl Drop for OfUser {
    fn drop(&mut self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
        }
        counts.retain(|_, count| *count > 0);
    }
}

/// What the thread needs that follows the rings.
pub struct LiveSources {
    pub owners: Vec<u32>,
    pub watcher: RingWatcher,
    pub devices: Arc<Devices>,
    pub zone: TimeZone,
    /// The directory of the outputs, and that of this program.
    pub outputs: PathBuf,
    pub state: PathBuf,
    /// Of aw-sqlite, in seconds.
    pub commit_interval: i64,
    /// The database that aw-sqlite is to write.
    pub written: Option<History>,
}

impl Live {
    /// Of these rings; `run` is random.
    pub fn new(rings: Vec<RingName>, run: String) -> Live {
        Live {
            rings,
            parts: broadcast::channel(PARTS).0,
            sent: Mutex::default(),
            viewers: Arc::new(Semaphore::new(VIEWERS)),
            of_user: Arc::default(),
            health: Mutex::new((Instant::now(), Arc::default())),
            ends: AtomicBool::new(false),
            run,
        }
    }

    /// How all is, as far as it was looked at some seconds ago. If that is longer ago, it is a fault.
    pub fn health(&self) -> Arc<Health> {
        self.health_at(Instant::now())
    }

    fn health_at(&self, now: Instant) -> Arc<Health> {
        let (looked, health) = self.looked();
        let age = now.saturating_duration_since(looked);
        match age > UNWATCHED {
            true => Arc::new(health.unwatched(age.as_secs() as i64)),
            false => health,
        }
    }

    fn looked(&self) -> (Instant, Arc<Health>) {
        let looked = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        (looked.0, Arc::clone(&looked.1))
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new viewer, which gets what comes from now on, or if it had a stream of this process before, what came after the number of
    /// its last event. None if there are too many: of all, or of this user, if it has a name.
    pub fn enter(&self, user: Option<&str>, after: Option<u64>) -> Option<Viewer> {
        let held = Arc::clone(&self.viewers).try_acquire_owned().ok()?;
        let of_user = match user {
            Some(user) => Some(OfUser::enter(&self.of_user, user)?),
            None => None,
        };
        // No part comes between what was sent and what will be.
        let sent = self.sent();
        let parts = self.parts.subscribe();
        let next = after.filter(|after| *after <= sent.next).unwrap_or(sent.next);
        Some(Viewer { missed: sent.next, parts, next, _held: (held, of_user) })
    }

    /// The next part that a viewer missed which has come so far. It is none of the state of health, which the viewer gets as it is now.
    pub fn missed(&self, viewer: &Viewer, next: u64) -> Option<Part> {
        let is_missed =
            |part: &&Part| part.first >= next && part.end > part.first && part.end <= viewer.missed;
        (next < viewer.missed).then(|| self.sent().last.iter().find(is_missed).cloned())?
    }

    /// Ends all viewers and the thread.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Release);
        self.publish(Batch { ends: true, ..Batch::default() });
    }

    pub fn has_ended(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Follows the rings in a thread of its own, until the end.
    pub fn start(self: &Arc<Self>, sources: LiveSources) -> Result<(), Error> {
        let live = Arc::clone(self);
        let started =
            thread::Builder::new().name("live".into()).spawn(move || live.follow(sources));
        started
            .map(drop)
            .map_err(|error| Error::io("start the thread that follows the rings", error))
    }

    fn follow(&self, sources: LiveSources) {
        let LiveSources {
            owners,
            watcher,
            devices,
            zone,
            outputs,
            state,
            commit_interval,
            written,
        } = sources;
        let rings = self.rings.clone();
        let mut follower = RingFollower::new(&rings, &owners, watcher);
        let mut looked: Option<Instant> = None;
        // Since when, and how many events were sent since then.
        let mut window = (Instant::now(), 0);
        let mut watched = Watched::default();
        while !self.has_ended() {
            if window.0.elapsed() >= GATHER {
                window = (Instant::now(), 0);
            }
            let is_watched = watched.at(self.parts.receiver_count(), Instant::now());
            let mut batch = Batch { most: MOST - window.1, ..Batch::default() };
            let all_read = follower.read(ROUND, |followed| match followed {
                Followed::Event(entry) => {
                    batch.event(|| is_watched.then(|| event(&entry, &devices, &zone)));
                }
                Followed::Lost(_, number) => batch.number += number,
            });
            let is_quiet = batch.number == 0;
            let is_due = looked.is_none_or(|at| at.elapsed() >= LOOK);
            // A ring that is gone or back is shown sooner.
            let rings_now = follower.health();
            let (last, known) = self.looked();
            if is_due || known.differs(&rings_now) {
                looked = Some(Instant::now());
                let history = fault_file::fault(&state).unwrap_or_else(|why| Some(why.to_string()));
                let unwritten = written.as_ref().and_then(History::writer_fault);
                let health =
                    Health::new(rings_now, &outputs, [history, unwritten], commit_interval);
                // Or viewers were sent the fault that it was not looked at.
                let is_news = last.elapsed() > UNWATCHED || !health.is_known_from(&known);
                let news = is_news.then(|| message("health", &health.summary(&zone)));
                // First for pages: who is sent the news may ask for one.
                let looked = (Instant::now(), Arc::new(health));
                *self.health.lock().unwrap_or_else(PoisonError::into_inner) = looked;
                if let Some(text) = news {
                    self.publish(Batch { text, ..Batch::default() });
                }
            }
            window.1 += batch.sent;
            self.publish(batch);
            match () {
                () if is_quiet && all_read => follower.wait(SLEEP),
                () if all_read => thread::sleep(GATHER),
                () => {}
            }
        }
    }

    fn publish(&self, batch: Batch) {
        let Batch { number, sent: of_text, mut text, ends, .. } = batch;
        if number == 0 && text.is_empty() && !ends {
            return;
        }
        let mut sent = self.sent();
        let (first, end) = (sent.next, sent.next + number);
        // Also without a viewer: one may have come since they were read.
        if number > of_text {
            text += &lost(number - of_text);
        }
        if number > 0 {
            text += &format!("id: {}-{end}\n\n", self.run);
        }
        let part = Part { first, end, text: text.into() };
        sent.next = end;
        if sent.last.len() >= PARTS {
            sent.last.pop_front();
        }
        sent.last.push_back(part.clone());
        let _ = self.parts.send(part); // without a viewer it is for none
    }
}

/// When there was a viewer.
#[derive(Default)]
struct Watched(Option<Instant>);

impl Watched {
    /// Whether there are viewers now, or were some time ago.
    fn at(&mut self, viewers: usize, now: Instant) -> bool {
        if viewers > 0 {
            self.0 = Some(now);
        }
        self.0.is_some_and(|last| now.saturating_duration_since(last) < LINGER)
    }
}

/// Events that were read together.
#[derive(Default)]
struct Batch {
    /// All of them; those in the text, and how many that may be.
    number: u64,
    sent: u64,
    most: u64,
    text: String,
    ends: bool,
}

impl Batch {
    fn event(&mut self, text: impl FnOnce() -> Option<Json>) {
        self.number += 1;
        if self.sent < self.most
            && let Some(json) = text()
        {
            self.sent += 1;
            self.text += &message("sighting", &json);
        }
    }
}

/// A server-sent event.
pub fn message(kind: &str, data: &Json) -> String {
    format!("event: {kind}\ndata: {data}\n\n")
}

/// So many events that this viewer does not get.
pub fn lost(number: u64) -> String {
    message("lost", &json!({ "lost": number }))
}

/// An event as `aw-stdout --format json --time rfc3339` prints it, with the host, the name and the maker that `aw-query` adds,
/// and the network as a parameter of the pages, and as they call it.
fn event(entry: &Entry, devices: &Devices, zone: &TimeZone) -> Json {
    let time = zoned(entry.event.time, zone).strftime("%Y-%m-%dT%H:%M:%S.%9f%:z").to_string();
    let event = EventJson::new(entry, TimeFormat::Text(time));
    let Ok(Json::Object(mut json)) = serde_json::to_value(event) else { return Json::Null };
    let (name, maker) = devices.of(entry.event.mac);
    json.insert("host".into(), entry.host.into());
    json.insert("name".into(), name.into());
    json.insert("maker".into(), maker.into());
    json.insert("new".into(), known_macs::is_new(entry.event.mac).into());
    let network = NetworkId::of_entry(entry);
    json.insert("network".into(), network.text().into());
    json.insert("network_label".into(), network.label().into());
    for value in json.values_mut() {
        if let Json::String(text) = value {
            *text = plain(text);
        }
    }
    Json::Object(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Live {
        Live::new(Vec::new(), "r".into())
    }

    fn batch(events: u64) -> Batch {
        let mut batch = Batch { most: MOST, ..Batch::default() };
        (0..events).for_each(|at| batch.event(|| Some(json!(at))));
        batch
    }

    #[test]
    fn a_viewer_gets_what_is_new() {
        let live = live();
        live.publish(batch(3));
        let mut viewer = live.enter(None, None).unwrap();
        assert_eq!(viewer.next, 3);
        live.publish(batch(2));
        live.publish(batch(0));
        let part = viewer.parts.try_recv().unwrap();
        assert_eq!((part.first, part.end), (3, 5));
        assert_eq!(
            part.text,
            "event: sighting\ndata: 0\n\nevent: sighting\ndata: 1\n\nid: r-5\n\n"
        );
        assert!(viewer.parts.try_recv().is_err(), "nothing was read");
    }

    /// A thread that has ended or hangs leaves no "all is well".
    #[test]
    fn what_is_not_looked_at_is_not_well() {
        let (live, now) = (live(), Instant::now());
        assert!(live.health().faults().is_empty(), "it has just begun");
        let looked =
            Health::new(Vec::new(), std::path::Path::new("/nonexistent"), [None, None], 60);
        for health in [Health::default(), looked] {
            let at = health.at;
            *live.health.lock().unwrap() = (now, Arc::new(health));
            assert!(live.health_at(now + UNWATCHED).faults().is_empty());
            let health = live.health_at(now + UNWATCHED + Duration::from_secs(1));
            let [fault] = health.faults() else { panic!("{health:?}") };
            let text = "this server has not looked at the rings and outputs for 31 s: ";
            assert!(fault.text.starts_with(text), "{fault:?}");
            assert_eq!((&*fault.of, fault.since), ("aw-web", at));
            assert_eq!(health.json(&TimeZone::UTC)["well"], false);
        }
    }

    /// A flood is cut, and what is cut is counted.
    #[test]
    fn a_flood_is_counted() {
        let live = live();
        let mut viewer = live.enter(None, None).unwrap();
        live.publish(batch(MOST + 7));
        live.publish(batch(1));
        let parts = [viewer.parts.try_recv().unwrap(), viewer.parts.try_recv().unwrap()];
        let text = std::str::from_utf8(&parts[0].text).unwrap();
        assert_eq!(text.matches("event: sighting").count() as u64, MOST);
        assert!(text.ends_with("event: lost\ndata: {\"lost\":7}\n\nid: r-207\n\n"), "{text}");
        assert_eq!((parts[1].first, parts[1].end), (MOST + 7, MOST + 8));
        let mut late = batch(0);
        (late.most, late.number) = (0, 5);
        live.publish(late);
        let part = viewer.parts.try_recv().unwrap();
        assert_eq!(part.text, "event: lost\ndata: {\"lost\":5}\n\nid: r-213\n\n");
    }

    /// A viewer that comes back gets what came meanwhile; what is not kept any more is lost for it.
    #[test]
    fn a_viewer_that_comes_back() {
        let live = live();
        live.publish(batch(3));
        live.publish(batch(2));
        let of = |after| live.enter(None, Some(after)).unwrap();
        let back = of(3);
        let numbers = |viewer: &Viewer| {
            let (mut next, mut all) = (viewer.next, Vec::new());
            while let Some(part) = live.missed(viewer, next) {
                all.push((part.first, part.end));
                next = part.end;
            }
            all
        };
        assert_eq!((back.next, numbers(&back)), (3, vec![(3, 5)]));
        for (after, next) in [(5, 5), (99, 5)] {
            let viewer = of(after);
            assert_eq!((viewer.next, numbers(&viewer)), (next, Vec::new()));
        }
        // How all was meanwhile is none of it: it would come after how all is now.
        live.publish(Batch { text: message("health", &json!("old")), ..Batch::default() });
        live.publish(batch(1));
        assert_eq!(numbers(&of(3)), [(3, 5), (5, 6)]);
        (1..PARTS).for_each(|_| live.publish(batch(1)));
        let late = numbers(&of(3));
        assert_eq!((late.len(), late[0]), (PARTS, (5, 6)));
        assert!(numbers(&back).is_empty(), "what it did not take is kept for no viewer");
    }

    /// A single browser that reloads, or loses its connection for some seconds, gets what came meanwhile.
    #[test]
    fn parts_are_made_between_two_viewers() {
        let (mut watched, now) = (Watched::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(!watched.at(0, now), "without a viewer none are made");
        assert!(watched.at(1, now) && watched.at(0, now + LINGER - second));
        assert!(!watched.at(0, now + LINGER));
    }

    /// Events that were read before there was a viewer, and are published after it came, are counted.
    #[test]
    fn what_is_read_for_none_is_counted() {
        let live = live();
        let mut unread = Batch { most: MOST, ..Batch::default() };
        (0..4).for_each(|_| unread.event(|| None));
        let mut viewer = live.enter(None, None).unwrap();
        live.publish(unread);
        let part = viewer.parts.try_recv().unwrap();
        assert_eq!(part.text, "event: lost\ndata: {\"lost\":4}\n\nid: r-4\n\n");
        assert_eq!((part.first, part.end), (viewer.next, 4));
    }

    #[test]
    fn viewers_of_a_user_are_limited() {
        let live = live();
        let all: Vec<_> = (0..OF_USER).map(|_| live.enter(Some("ada"), None).unwrap()).collect();
        assert!(live.enter(Some("ada"), None).is_none());
        assert!(live.enter(Some("grace"), None).is_some() && live.enter(None, None).is_some());
        drop(all);
        assert!(live.enter(Some("ada"), None).is_some());
        assert!(live.of_user.lock().unwrap().is_empty(), "those who have gone are forgotten");
    }

    #[test]
    fn viewers_are_limited() {
        let live = live();
        let mut all: Vec<_> = (0..VIEWERS).map(|_| live.enter(None, None).unwrap()).collect();
        assert!(live.enter(None, None).is_none());
        all.pop();
        assert!(live.enter(None, None).is_some());
    }

    /// A viewer that takes nothing keeps a bounded number of parts, and costs the others nothing.
    #[test]
    fn a_slow_viewer() {
        let live = live();
        let (mut slow, mut quick) =
            (live.enter(None, None).unwrap(), live.enter(None, None).unwrap());
        for at in 0..2 * PARTS as u64 {
            live.publish(batch(1));
            assert_eq!(quick.parts.try_recv().unwrap().first, at);
        }
        assert!(matches!(
            slow.parts.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(lagged)) if lagged == PARTS as u64
        ));
        assert_eq!(slow.parts.try_recv().unwrap().first, PARTS as u64);
    }
}
