use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use proptest::prelude::*;
use shm_layout::Event;

use super::*;
use crate::{Checkpoint, CheckpointStore, Entry, Fault, SinkResult, delivery::CheckpointFiles};

/// A database: rows and checkpoints, which a kill leaves as they were committed last.
#[derive(Default)]
struct Database {
    rows: Vec<(u64, u64)>,
    checkpoints: BTreeMap<String, Checkpoint>,
    new_rows: Vec<(u64, u64)>,
    new_checkpoints: BTreeMap<String, Checkpoint>,
    /// It returns no checkpoint, and commits nothing.
    locked: Rc<Cell<bool>>,
    /// Checkpoints that it was asked for.
    loads: usize,
}

impl Sink for Database {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        assert_eq!((entry.host, entry.ring.as_str()), ("alpha", "/lan"));
        self.new_rows.push((entry.position.generation, entry.position.sequence));
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        if self.locked.get() {
            (self.new_rows, self.new_checkpoints) = Default::default();
            return Err(Fault::Down("locked".into()));
        }
        self.rows.append(&mut self.new_rows);
        self.checkpoints.append(&mut self.new_checkpoints);
        Ok(())
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Database {
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        self.loads += 1;
        if self.locked.get() {
            (self.new_rows, self.new_checkpoints) = Default::default();
            return Err(Fault::Down("locked".into()));
        }
        Ok(self.checkpoints.get(ring.as_str()).copied())
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        self.new_checkpoints.insert(ring.as_str().into(), *checkpoint);
        Ok(())
    }
}

impl Database {
    /// The counts of the generations of the sensor's ring: generation, first, delivered, lost.
    fn accounts(&self) -> Vec<(u64, u64, u64, u64)> {
        let name = |slot| format!("/alpha:{slot}:lan");
        let found = (0..3).filter_map(|slot| self.checkpoints.get(&name(slot)));
        found.map(|it| (it.generation, it.began, it.delivered, it.lost)).collect()
    }

    fn stream(&self) -> Option<Position> {
        self.checkpoints.get("/:stream").map(Checkpoint::position)
    }

    /// A run of the output; `act` passes messages.
    fn run(&mut self, act: impl FnOnce(&mut Follower<Database>)) {
        (self.new_rows, self.new_checkpoints) = Default::default();
        let plan = Plan { waits: true, ..Plan::default() };
        let (spool, file, live_checkpoint, schedule) = (None, None, None, Default::default());
        let (for_health, in_sink) = (false, true);
        let files = CheckpointFiles { spool, file, live_checkpoint, for_health, in_sink, schedule };
        let mut delivery = Delivery::new(self, &plan, files).unwrap();
        let position = delivery.open(&name()).unwrap();
        act(&mut Follower::new(&mut delivery, position));
    }

    /// A run that ends when all is delivered.
    fn store(&mut self, messages: &[StreamMessage]) {
        self.run(|follower| {
            messages.iter().for_each(|it| follower.take(it.clone()).unwrap());
            follower.delivery.finish().unwrap();
        });
    }
}

fn name() -> RingName {
    "/:stream".parse().unwrap()
}

fn event() -> Event {
    Event::from_bytes(&crate::spool::tests::EVENT).unwrap()
}

/// The message of this number, with these events of a generation.
fn message(number: u64, generation: u64, events: std::ops::Range<u64>) -> StreamMessage {
    let first = Position { generation, sequence: events.start };
    let (host, ring) = ("alpha".into(), "/lan".parse().unwrap());
    let next = events.end;
    let events = events.map(|sequence| (sequence, Some(event()))).collect();
    let at = Position { generation: 1000 + number, sequence: number };
    StreamMessage { at, batch: Ok(Batch { host, ring, first, next, events }) }
}

/// A sensor had a restart; the server lost its newest message, and the stream is read again from an earlier one on: nothing is stored twice,
/// and nothing counts as lost.
#[test]
fn a_former_generation_is_known() {
    let mut database = Database::default();
    let [one, two] = [message(0, 1, 0..10), message(1, 2, 0..10)];
    database.store(&[one.clone(), two.clone(), message(2, 2, 10..11)]);
    assert_eq!(database.stream(), Some(Position { generation: 1002, sequence: 3 }));
    for messages in [vec![one.clone(), two.clone()], vec![one, two, message(2, 3, 0..5)]] {
        database.store(&messages);
    }
    assert_eq!(database.rows.len(), 26);
    assert_eq!(database.accounts(), [(1, 0, 10, 0), (2, 0, 11, 0), (3, 0, 5, 0)]);
    assert_eq!(database.stream(), Some(Position { generation: 1002, sequence: 3 }));
    let stream = database.checkpoints["/:stream"];
    assert_eq!((stream.began, stream.delivered, stream.lost), (0, 3, 0));
    // The fourth one takes the place of the first one, and begins with the ring's first event.
    database.store(&[message(3, 4, 2..5), message(4, 2, 0..11)]);
    assert_eq!(database.accounts(), [(4, 0, 3, 2), (2, 0, 11, 0), (3, 0, 5, 0)]);
}

/// Two sensors with one name: all events of both are stored, and none counts as lost.
#[test]
fn twins() {
    let mut database = Database::default();
    let batch = |number: u64| message(number, number % 2, number / 2 * 10..number / 2 * 10 + 10);
    database.store(&(0..10).map(batch).collect::<Vec<_>>());
    assert_eq!(database.accounts(), [(0, 0, 50, 0), (1, 0, 50, 0)]);
    database.run(|follower| {
        (10..14).for_each(|number| follower.take(batch(number)).unwrap());
        assert_eq!(follower.lost.all, 0);
        assert!(follower.sensors.values().all(|sensor| sensor.has_twin));
        follower.delivery.finish().unwrap();
    });
    assert_eq!(database.rows.len(), 140);
}

/// Numbers that no ring has end nothing, and only the sensor that sends them has them in its account.
#[test]
fn absurd_numbers() {
    let mut database = Database::default();
    let most = i64::MAX as u64;
    let absurd = |number: u64| {
        let mut message = message(number, number, 0..0);
        message.batch.as_mut().unwrap().next = most;
        message
    };
    database.run(|follower| {
        (0..4).for_each(|number| follower.take(absurd(number)).unwrap());
        assert_eq!(follower.lost.all, u64::MAX);
        follower.report(true);
        follower.delivery.finish().unwrap();
    });
    assert_eq!(database.accounts(), [3, 1, 2].map(|generation| (generation, 0, 0, most)));
}

/// The database returns no checkpoint when the first message of a sensor comes: the message waits, because it is unknown what is stored.
#[test]
fn a_sensor_of_which_nothing_is_known_yet() {
    let mut database = Database::default();
    database.store(&[message(0, 1, 0..10), message(1, 2, 0..10)]);
    let locked = Rc::clone(&database.locked);
    database.run(|follower| {
        locked.set(true);
        follower.take(message(1, 2, 5..15)).unwrap();
        assert!(follower.held.is_some() && !follower.delivery.has_room());
        locked.set(false);
        while !follower.delivery.has_room() {
            sleep(follower.delivery.pause());
            follower.delivery.work(true, false).unwrap();
        }
        let held = follower.held.take().unwrap();
        follower.take(held).unwrap();
        follower.delivery.finish().unwrap();
    });
    assert_eq!(database.accounts(), [(1, 0, 10, 0), (2, 0, 15, 0)]);
    assert_eq!(database.rows.len(), 25);
}

/// After an outage, only the checkpoints of what is pending are read again: there may be thousands.
#[test]
fn an_outage() {
    let mut database = Database::default();
    database.store(&[message(0, 1, 0..10), message(1, 2, 0..10)]);
    let (locked, before) = (Rc::clone(&database.locked), database.loads);
    database.run(|follower| {
        follower.take(message(2, 2, 10..20)).unwrap();
        locked.set(true);
        follower.delivery.finish().unwrap();
        assert!(!follower.delivery.has_room());
        locked.set(false);
        while !follower.delivery.has_room() {
            sleep(follower.delivery.pause());
            follower.delivery.work(true, false).unwrap();
        }
        follower.take(message(3, 2, 20..30)).unwrap();
        follower.delivery.finish().unwrap();
    });
    assert_eq!(database.accounts(), [(1, 0, 10, 0), (2, 0, 30, 0)]);
    assert_eq!(database.rows.len(), 40);
    // The stream and the four of the sensor at first; then the stream and the generation.
    assert_eq!(database.loads - before, 5 + 2);
}

/// What a sensor cannot be named as is the name of the stream's checkpoint, or of another sensor's.
#[test]
fn names_of_checkpoints() {
    let names = |host: &str, ring: &str| checkpoint_names(host, &ring.parse().unwrap());
    let all = names("nats", "/addrwatch").unwrap();
    let all: Vec<&str> = all.iter().map(RingName::as_str).collect();
    let expected =
        ["/nats::addrwatch", "/nats:0:addrwatch", "/nats:1:addrwatch", "/nats:2:addrwatch"];
    assert_eq!(all, expected);
    assert_eq!((names("", "/addrwatch"), names("a:b", "/addrwatch")), (None, None));
    assert_eq!(names("nats", &"x".repeat(240)), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    /// Batches of three generations in any order, of which parts come again with other bounds, and runs that are killed: each event is
    /// stored once, in the order of its ring, and none counts as lost.
    #[test]
    fn each_event_once(
        steps in proptest::collection::vec((0..3_u64, 0..30_u64, 1..20_u64, 0..8_u8), 1..80)
    ) {
        let (mut database, mut published) = (Database::default(), [0; 3]);
        let mut messages: Vec<StreamMessage> = Vec::new();
        for (generation, back, more, _) in &steps {
            let end = &mut published[*generation as usize];
            let first = u64::saturating_sub(*end, *back);
            *end = (first + more).max(*end);
            messages.push(message(messages.len() as u64, *generation, first..first + more));
        }
        let mut killed_at = 0;
        while database.stream().is_none_or(|next| next.sequence < messages.len() as u64) {
            database.run(|follower| {
                let next = follower.position.map_or(0, |position| position.sequence as usize);
                for (message, (.., what)) in messages.iter().zip(&steps).skip(next) {
                    follower.take(message.clone()).unwrap();
                    match what {
                        0 => follower.delivery.finish().unwrap(),
                        1 if message.at.sequence > killed_at => {
                            killed_at = message.at.sequence;
                            return;
                        }
                        _ => {}
                    }
                }
                follower.delivery.finish().unwrap();
            });
        }
        // All again, as after a loss of the server's newest messages.
        database.store(&messages);
        for (generation, end) in published.into_iter().enumerate() {
            let of_it = |(of, number): &(u64, u64)| (*of == generation as u64).then_some(*number);
            let numbers: Vec<u64> = database.rows.iter().filter_map(of_it).collect();
            prop_assert!(numbers.iter().copied().eq(0..end), "{generation}: {numbers:?}");
        }
        for (generation, began, delivered, lost) in database.accounts() {
            prop_assert_eq!((began, delivered, lost), (0, published[generation as usize], 0));
        }
    }
}
