use super::*;
use crate::{CheckpointStore, SinkResult, SpoolOptions, spool::Spool};
use proptest::prelude::*;
use shm_layout::Event;
use std::path::Path;

/// A destination that fails at any moment, also after a commit but before it reports success.
#[derive(Default)]
struct Fragile {
    rows: Vec<u64>,
    checkpoint: Option<Checkpoint>,
    /// Since the last commit.
    open: Vec<u64>,
    stored: Option<Checkpoint>,
    /// It stores the checkpoint with its rows.
    in_sink: bool,
    /// It cannot re-open its files.
    blocked: bool,
    /// The next commit succeeds, but is reported as failed.
    unconfirmed_flush: bool,
    /// It asks for `maintain` early.
    early: bool,
    /// What `look` returns, once.
    look: Option<Look>,
    looks: u32,
    look_within: Option<Duration>,
    /// What each `flush` had, also one that fails.
    sent: Vec<Vec<u64>>,
    /// Decides each call: 0 = it fails, 1 = it works and then fails, otherwise it works.
    outcomes: Option<Random>,
}

/// SplitMix64.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

impl Fragile {
    fn act(&mut self, act: impl FnOnce(&mut Self)) -> SinkResult {
        let outcome = self.outcomes.as_mut().map_or(9, |random| random.below(10));
        if outcome > 0 {
            act(self);
        }
        if outcome > 1 {
            return Ok(());
        }
        self.open.clear();
        self.stored = None;
        Err(Fault::Down("down".into()))
    }
}

impl Sink for Fragile {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let sequence = entry.position.sequence;
        // It rarely fails here, because this is called so often.
        if !sequence.is_multiple_of(5) {
            self.open.push(sequence);
            return Ok(());
        }
        self.act(|sink| sink.open.push(sequence))
    }

    fn flush(&mut self) -> SinkResult {
        self.sent.push(self.open.clone());
        self.act(|sink| {
            sink.rows.append(&mut sink.open);
            sink.checkpoint = sink.stored.take().or(sink.checkpoint);
        })?;
        match std::mem::take(&mut self.unconfirmed_flush) {
            true => Err(Fault::Down("not confirmed".into())),
            false => Ok(()),
        }
    }

    fn look(&mut self) -> SinkResult<Look> {
        self.looks += 1;
        Ok(self.look.take().unwrap_or(Look::Wait))
    }

    fn look_within(&self) -> Duration {
        self.look_within.unwrap_or(Duration::MAX)
    }

    fn maintain_within(&self) -> Duration {
        if self.early { Duration::from_millis(1) } else { Duration::MAX }
    }

    fn reopen(&mut self) -> SinkResult {
        if self.blocked { Err(Fault::Down("blocked".into())) } else { Ok(()) }
    }

    fn close(&mut self) -> SinkResult {
        self.reopen()
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        if self.in_sink { Some(self) } else { None }
    }
}

impl CheckpointStore for Fragile {
    fn load(&mut self, _: &RingName) -> SinkResult<Option<Checkpoint>> {
        self.act(|_| {})?;
        Ok(self.checkpoint)
    }

    fn store(&mut self, _: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        self.act(|sink| sink.stored = Some(*checkpoint))
    }
}

const GENERATION: u64 = 7;

/// The item of the stream that begins with this number, mostly an event.
fn item(sequence: u64) -> StreamItem {
    let what = match sequence % 13 {
        3 => ItemKind::Lost(2),
        4 => unreachable!("lost"),
        9 => ItemKind::Skipped,
        _ => ItemKind::Event(Event::from_bytes(&crate::spool::tests::EVENT).unwrap()),
    };
    StreamItem { at: Position { generation: GENERATION, sequence }, kind: what }
}

fn is_event(sequence: u64) -> bool {
    ![3, 4, 9].contains(&(sequence % 13))
}

fn open<'a>(
    sink: &'a mut Fragile,
    plan: &'a Plan,
    directory: &Path,
) -> (Delivery<'a, Fragile>, u64) {
    // After a kill, uncommitted rows are gone.
    sink.open.clear();
    sink.stored = None;
    let open = || Spool::open(directory, "aw-test", 1 << 20, plan.keeps_batches).unwrap();
    let spool = (!plan.waits).then(open);
    let in_sink = sink.in_sink;
    let (file, live_checkpoint, schedule) = (None, None, Default::default());
    let for_health = false;
    let files = CheckpointFiles { spool, file, live_checkpoint, for_health, in_sink, schedule };
    let mut delivery = Delivery::new(sink, plan, files).unwrap();
    let position = delivery.open(&"/test".parse().unwrap()).unwrap();
    (delivery, position.map_or(0, |position| position.sequence))
}

/// Whichever call fails and whenever the output is killed: every event is delivered, in order; exactly once if
/// the sink stores the checkpoint, whose counts add up.
fn every_event_is_delivered(in_sink: bool, keeps_batches: bool, waits: bool, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let spool = None::<SpoolOptions>;
    let plan = Plan { batch: 8, keeps_batches, spool, waits, ..Plan::default() };
    let (outcomes, mut random) = (Some(Random(!seed)), Random(seed));
    let mut sink = Fragile { in_sink, outcomes, ..Fragile::default() };
    let mut furthest = 0;
    for _ in 0..20 {
        let (mut delivery, mut next) = open(&mut sink, &plan, directory.path());
        assert!(next <= furthest, "no unread event is skipped");
        for _ in 0..random.below(60) {
            if delivery.has_room() && random.below(4) > 0 {
                let item = item(next);
                next = item.end();
                delivery.take(0, item).unwrap();
            } else if random.below(4) == 0 {
                delivery.fall_behind().unwrap();
            } else {
                delivery.work(random.below(2) > 0, random.below(4) == 0).unwrap();
            }
            if let Mode::Spooling(outage) | Mode::Waiting(outage) = &mut delivery.mode
                && random.below(2) > 0
            {
                outage.retry_at = Instant::now();
            }
        }
        furthest = furthest.max(next);
    } // killed: `finish` is not called
    sink.outcomes = None;
    let (mut delivery, mut next) = open(&mut sink, &plan, directory.path());
    while next < furthest || !matches!(delivery.mode, Mode::Direct) {
        if next < furthest && delivery.has_room() {
            let item = item(next);
            next = item.end();
            delivery.take(0, item).unwrap();
        }
        delivery.work(true, false).unwrap();
        if let Mode::Spooling(outage) | Mode::Waiting(outage) = &mut delivery.mode {
            outage.retry_at = Instant::now();
        }
    }
    delivery.finish().unwrap();
    let checkpoint = delivery.ring_states[0].checkpoint;
    let waiting = delivery.files.spool.as_ref().map(Spool::events);
    assert_eq!(checkpoint.map(|checkpoint| checkpoint.next()), Some(next));
    assert_eq!(delivery.ring_states[0].lacking, 0);
    assert_eq!(waiting, (!waits).then_some(0));
    let expected: Vec<u64> = (0..next).filter(|n| is_event(*n)).collect();
    if in_sink {
        assert!(sink.rows == expected, "{:?}", sink.rows);
        assert_eq!(checkpoint.unwrap().delivered, expected.len() as u64);
    } else {
        if keeps_batches {
            assert_batches_are_resent_as_they_were(&sink.sent);
        }
        sink.rows.sort_unstable();
        sink.rows.dedup();
        assert!(sink.rows == expected, "{:?}", sink.rows);
    }
}

/// No event is in two different batches.
fn assert_batches_are_resent_as_they_were(sent: &[Vec<u64>]) {
    let mut batch_of = std::collections::HashMap::new();
    for batch in sent {
        for event in batch {
            assert_eq!(batch_of.entry(event).or_insert(batch), &batch, "{sent:?}");
        }
    }
}

/// What the ring could not keep until the interval is over waits in the spool: it is sent with what follows.
#[test]
fn a_ring_that_cannot_wait_makes_no_batch() {
    let directory = tempfile::tempdir().unwrap();
    let interval = Duration::from_secs(3_600);
    let plan = Plan { interval, keeps_batches: true, ..Plan::default() };
    let mut sink = Fragile::default();
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    delivery.began = Instant::now().checked_sub(interval).unwrap();
    let take = |delivery: &mut Delivery<Fragile>, sequence| {
        delivery.take(0, item(sequence)).unwrap();
        delivery.work(true, false).unwrap();
    };
    take(&mut delivery, 0);
    take(&mut delivery, 1);
    assert_eq!(delivery.sink.rows, [0]);
    delivery.hurry().unwrap();
    delivery.work(true, false).unwrap();
    assert_eq!(delivery.files.spool.as_ref().map(Spool::events), Some(1));
    assert_eq!(delivery.sink.rows, [0]);
    take(&mut delivery, 2);
    delivery.finish().unwrap();
    drop(delivery);
    assert_eq!(sink.sent, [vec![0], vec![1, 2]]);
}

/// A ring that cannot wait, and a spool without room: the sink gets the events, although the interval is not over.
#[test]
fn a_full_spool_waits_for_no_interval() {
    let directory = tempfile::tempdir().unwrap();
    let plan =
        Plan { interval: Duration::from_secs(3_600), keeps_batches: true, ..Plan::default() };
    let mut sink = Fragile::default();
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    delivery.files.spool.as_ref().unwrap().have_room(false);
    let events: Vec<u64> = (0..).filter(|sequence| is_event(*sequence)).take(500).collect();
    for sequence in &events {
        delivery.take(0, item(*sequence)).unwrap();
    }
    delivery.hurry().unwrap();
    while delivery.work(true, false).unwrap() {}
    assert!(delivery.unkept.is_present(), "it is reported, once");
    delivery.files.spool.as_ref().unwrap().have_room(true);
    let next = (0..).filter(|sequence| is_event(*sequence)).nth(500).unwrap();
    delivery.take(0, item(next)).unwrap();
    delivery.finish().unwrap();
    assert!(!delivery.unkept.is_present());
    drop(delivery);
    assert_eq!(sink.rows, [events, vec![next]].concat());
}

/// After a kill, a batch is sent again as it was, whatever the collector has published meanwhile, and with the same host.
#[test]
fn a_batch_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { keeps_batches: true, ..Plan::default() };
    let mut sink = Fragile::default();
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    delivery.take(0, item(0)).unwrap();
    delivery.take(0, item(1)).unwrap();
    delivery.sink.unconfirmed_flush = true;
    delivery.work(true, false).unwrap();
    assert!(delivery.mode.is_down());
    delivery.take(0, item(2)).unwrap();
    delivery.finish().unwrap();
    let kept = delivery.files.spool.as_ref().map(|spool| spool.kept_batch().unwrap());
    let kept = kept.flatten().unwrap();
    assert_eq!((kept.last, kept.hosts.len()), (2, 1));
    drop(delivery);
    let (mut delivery, next) = open(&mut sink, &plan, directory.path());
    assert_eq!(next, 3);
    while delivery.work(true, false).unwrap() {}
    let left = delivery.files.spool.as_ref().map(|spool| spool.kept_batch().unwrap());
    assert_eq!(left, Some(None));
    drop(delivery);
    assert_eq!(sink.sent, [vec![0, 1], vec![0, 1], vec![2]]);
}

/// The destination has confirmed a batch that cannot be removed from the spool before other files make room: what follows is
/// delivered, and the batch is not sent again.
#[test]
fn a_confirmed_batch_that_is_removed_later() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { keeps_batches: true, ..Plan::default() };
    let mut sink = Fragile::default();
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    let retry = |delivery: &mut Delivery<Fragile>| {
        if let Mode::Spooling(outage) | Mode::Waiting(outage) = &mut delivery.mode {
            outage.retry_at = Instant::now();
        }
        delivery.work(true, false).unwrap();
    };
    let refuse = |delivery: &Delivery<Fragile>, refuse| {
        delivery.files.spool.as_ref().unwrap().refuse_removals(refuse);
    };
    delivery.take(0, item(0)).unwrap();
    delivery.take(0, item(1)).unwrap();
    refuse(&delivery, true);
    delivery.work(true, false).unwrap();
    assert!(delivery.mode.is_down());
    assert_eq!(delivery.sink.rows, [0, 1]);
    // An event of the outage.
    delivery.take(0, item(2)).unwrap();
    delivery.finish().unwrap();
    assert_eq!(delivery.files.spool.as_ref().map(Spool::events), Some(3));
    refuse(&delivery, false);
    for _ in 0..4 {
        retry(&mut delivery);
    }
    assert!(matches!(delivery.mode, Mode::Direct));
    let spool = delivery.files.spool.as_ref().unwrap();
    assert_eq!((spool.events(), spool.kept_batch().unwrap()), (0, None));
    drop(delivery);
    assert_eq!(sink.sent, [vec![0, 1], vec![2]]);
}

/// The sink has committed, and fails before it says so: the events count as delivered once, in this run.
#[test]
fn what_was_stored_without_a_confirmation_is_counted() {
    for spooled in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan::default();
        let mut sink = Fragile { in_sink: true, ..Fragile::default() };
        let (mut delivery, _) = open(&mut sink, &plan, directory.path());
        for sequence in [0, 1, 2] {
            delivery.take(0, item(sequence)).unwrap();
        }
        delivery.sink.unconfirmed_flush = true;
        delivery.work(true, false).unwrap();
        assert!(matches!(delivery.mode, Mode::Spooling(_)));
        if spooled {
            delivery.spool_pending().unwrap();
            assert_eq!(delivery.files.spool.as_ref().map(Spool::events), Some(3));
        }
        for _ in 0..3 {
            if let Mode::Spooling(outage) | Mode::Waiting(outage) = &mut delivery.mode {
                outage.retry_at = Instant::now();
            }
            delivery.work(true, false).unwrap();
        }
        assert!(matches!(delivery.mode, Mode::Direct));
        assert_eq!(delivery.ring_states[0].delivered, 3);
        assert_eq!(delivery.sink.rows, [0, 1, 2]);
    }
}

/// `maintain` is called when everything is delivered, so its time ends no pause of events that wait for others.
#[test]
fn a_pause_ends_when_something_is_due() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { linger: Duration::from_secs(900), ..Plan::default() };
    let mut sink = Fragile::default();
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    assert_eq!(delivery.pause(), SAVE_INTERVAL);
    delivery.sink.early = true;
    assert_eq!((delivery.pause(), delivery.is_gathering()), (Duration::from_millis(1), false));
    delivery.take(0, item(0)).unwrap();
    assert!(delivery.pause() > SAVE_INTERVAL && delivery.is_gathering());
    delivery.fail(Fault::Down("down".into())).unwrap();
    assert!(delivery.pause() <= LONGEST_WAIT && delivery.is_gathering());
}

/// While events wait, the sink looks for what comes beside them, and may not want to wait. Not while more events are to be read, and not
/// while they go to the spool.
#[test]
fn a_sink_looks_while_events_wait() {
    let directory = tempfile::tempdir().unwrap();
    let (plan, within) =
        (Plan { linger: Duration::from_secs(900), ..Plan::default() }, Duration::from_secs(3));
    let mut sink = Fragile { look_within: Some(within), ..Fragile::default() };
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    assert!(!delivery.work(true, false).unwrap());
    assert_eq!((delivery.pause(), delivery.sink.looks), (SAVE_INTERVAL, 0), "nothing waits");
    delivery.take(0, item(0)).unwrap();
    assert!(!delivery.work(false, false).unwrap() && delivery.sink.looks == 0);
    let mut work = |look| {
        delivery.sink.look = Some(look);
        let busy = delivery.work(true, false).unwrap();
        (busy, delivery.pause() == within, delivery.sink.rows.len(), delivery.sink.looks)
    };
    assert_eq!(work(Look::Wait), (false, true, 0, 1));
    assert_eq!(work(Look::Again), (true, true, 0, 2));
    assert_eq!(work(Look::Flush), (false, false, 1, 3));
    delivery.take(0, item(1)).unwrap();
    delivery.fail(Fault::Down("down".into())).unwrap();
    delivery.work(true, false).unwrap();
    assert_eq!(delivery.sink.looks, 3);
}

/// After a pause, an event is delivered at once; the next ones when the interval is over, which is shorter after the start, when the ring may overwrite them, or while
/// the sink has maintenance to do.
#[test]
fn deliveries_have_an_interval() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { interval: Duration::from_secs(3_600), ..Plan::default() };
    let mut sink = Fragile { in_sink: true, ..Fragile::default() };
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    let take = |delivery: &mut Delivery<Fragile>, sequence| {
        delivery.take(0, item(sequence)).unwrap();
        delivery.work(true, false).unwrap();
        delivery.sink.rows.len()
    };
    let before = |seconds| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    delivery.began = before(8);
    assert_eq!([take(&mut delivery, 0), take(&mut delivery, 1)], [1, 1]);
    assert!(delivery.pause() < Duration::from_secs(60), "eight seconds, as long as it runs");
    delivery.began = before(7_200);
    assert!(delivery.pause() > Duration::from_secs(3_000));
    delivery.hurry().unwrap();
    assert_eq!(delivery.confirmed(0).map(|position| position.sequence), Some(2));
    delivery.is_maintaining = true;
    assert_eq!(take(&mut delivery, 2), 3);
    delivery.confirmed_at = Some(before(3_601));
    delivery.is_maintaining = false;
    assert_eq!(take(&mut delivery, 5), 4);
    delivery.take(0, item(6)).unwrap();
    delivery.finish().unwrap();
    assert_eq!(delivery.sink.rows, [0, 1, 2, 5, 6]);
}

/// A destination with an older copy of the rows takes the place of the one that confirmed them. What one without a row of the ring lacks is not
/// known: a database may have been moved.
#[test]
fn a_destination_that_lacks_confirmed_events() {
    for (is_copy, lacking, expected) in [(true, 3, [2, 5]), (false, 0, [5, 2])] {
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan { batch: 1, ..Plan::default() };
        let mut sink = Fragile { in_sink: true, ..Fragile::default() };
        let (mut delivery, _) = open(&mut sink, &plan, directory.path());
        let mut copy = None;
        for sequence in [0, 1, 2, 3, 5] {
            delivery.take(0, item(sequence)).unwrap();
            delivery.work(true, false).unwrap();
            copy = copy.or(delivery.sink.checkpoint); // of the first event
        }
        assert_eq!(delivery.ring_states[0].lacking, 0);
        delivery.sink.checkpoint = copy.filter(|_| is_copy);
        delivery.sink.blocked = true;
        delivery.reopen().unwrap();
        delivery.sink.blocked = false;
        delivery.take(0, item(6)).unwrap();
        assert_eq!(delivery.ring_states[0].lacking, 0, "not before the next event is confirmed");
        while !matches!(delivery.mode, Mode::Direct) {
            if let Mode::Spooling(outage) = &mut delivery.mode {
                outage.retry_at = Instant::now();
            }
            delivery.work(true, false).unwrap();
        }
        let state = &delivery.ring_states[0];
        let counts = state.checkpoint.map(|checkpoint| [checkpoint.delivered, checkpoint.lost]);
        assert_eq!(
            (state.lacking, state.delivered, counts),
            (lacking, 5 - lacking, Some(expected))
        );
    }
}

/// With a spool, a failure of the sink does not end the output.
#[test]
fn an_outage_does_not_end_the_output() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let mut sink = Fragile { blocked: true, ..Fragile::default() };
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    delivery.take(0, item(0)).unwrap();
    delivery.reopen().unwrap();
    delivery.take(0, item(1)).unwrap();
    assert!(matches!(delivery.mode, Mode::Spooling(_)));
    delivery.finish().unwrap();
    delivery.close().unwrap();
    drop(delivery);
    let (mut delivery, next) = open(&mut sink, &plan, directory.path());
    assert_eq!(next, 2);
    delivery.work(true, false).unwrap();
    assert_eq!(delivery.ring_states[0].checkpoint.map(|checkpoint| checkpoint.delivered), Some(2));
    drop(delivery);
    assert_eq!(sink.rows, [0, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn exactly_once(seed in any::<u64>()) {
        every_event_is_delivered(true, false, false, seed);
    }

    #[test]
    fn at_least_once(seed in any::<u64>()) {
        every_event_is_delivered(false, false, false, seed);
    }

    #[test]
    fn at_least_once_in_kept_batches(seed in any::<u64>()) {
        every_event_is_delivered(false, true, false, seed);
    }

    #[test]
    fn exactly_once_while_the_source_waits(seed in any::<u64>()) {
        every_event_is_delivered(true, false, true, seed);
    }

    #[test]
    fn at_least_once_while_the_source_waits(seed in any::<u64>()) {
        every_event_is_delivered(false, false, true, seed);
    }
}
