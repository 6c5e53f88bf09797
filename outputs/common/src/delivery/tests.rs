use super::*;
use crate::{CheckpointStore, Result, SpoolOptions, spool::Spool};
use proptest::prelude::*;
use shm_layout::Event;
use std::path::Path;

/// A destination that fails at any moment, also after it has committed but before it could say so.
#[derive(Default)]
struct Fragile {
    rows: Vec<u64>,
    checkpoint: Option<Checkpoint>,
    /// Since the last commit.
    open: Vec<u64>,
    stored: Option<Checkpoint>,
    keeps: bool,
    /// It cannot open its files anew.
    blocked: bool,
    /// What happens at each call: 0 = it fails, 1 = it does its work and fails, else it works.
    fate: Option<Random>,
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
    fn act(&mut self, act: impl FnOnce(&mut Self)) -> Result {
        let fate = self.fate.as_mut().map_or(9, |random| random.below(10));
        if fate > 0 {
            act(self);
        }
        if fate > 1 {
            return Ok(());
        }
        self.open.clear();
        self.stored = None;
        Err(Fault::Down("down".into()))
    }
}

impl Sink for Fragile {
    fn write(&mut self, entry: &Entry) -> Result {
        let sequence = entry.position.sequence;
        // It rarely fails here, for it is called so often.
        if !sequence.is_multiple_of(5) {
            self.open.push(sequence);
            return Ok(());
        }
        self.act(|sink| sink.open.push(sequence))
    }

    fn flush(&mut self) -> Result {
        self.act(|sink| {
            sink.rows.append(&mut sink.open);
            sink.checkpoint = sink.stored.take().or(sink.checkpoint);
        })
    }

    fn reopen(&mut self) -> Result {
        if self.blocked { Err(Fault::Down("blocked".into())) } else { Ok(()) }
    }

    fn close(&mut self) -> Result {
        self.reopen()
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        if self.keeps { Some(self) } else { None }
    }
}

impl CheckpointStore for Fragile {
    fn load(&mut self, _: &RingName) -> Result<Option<Checkpoint>> {
        self.act(|_| {})?;
        Ok(self.checkpoint)
    }

    fn store(&mut self, _: &RingName, checkpoint: &Checkpoint) -> Result {
        self.act(|sink| sink.stored = Some(*checkpoint))
    }
}

const GENERATION: u64 = 7;

/// The stream's item that begins with this number: mostly events.
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
    // Whoever was killed has committed nothing more.
    sink.open.clear();
    sink.stored = None;
    let spool = Spool::open(directory, "aw-test", 1 << 20).unwrap();
    let own = sink.keeps;
    let (file, live_checkpoint, saved) = (None, None, Default::default());
    let stores = CheckpointFiles { spool: Some(spool), file, live_checkpoint, own, saved };
    let mut delivery = Delivery::new(sink, plan, stores).unwrap();
    let position = delivery.open(&"/test".parse().unwrap()).unwrap();
    (delivery, position.map_or(0, |position| position.sequence))
}

/// Whatever fails, and whenever the output is killed: all is delivered, in order; exactly once where
/// the sink keeps the checkpoint, which adds up.
fn all_is_delivered(keeps: bool, seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan { batch: 8, spool: None::<SpoolOptions>, ..Plan::default() };
    let (fate, mut random) = (Some(Random(!seed)), Random(seed));
    let mut sink = Fragile { keeps, fate, ..Fragile::default() };
    let mut furthest = 0;
    for _ in 0..20 {
        let (mut delivery, mut next) = open(&mut sink, &plan, directory.path());
        assert!(next <= furthest, "what was never read is not passed over");
        for _ in 0..random.below(60) {
            if delivery.has_room() && random.below(4) > 0 {
                let item = item(next);
                next = item.end();
                delivery.take(0, item).unwrap();
            } else {
                delivery.work(random.below(2) > 0).unwrap();
            }
            if let Mode::Spooling { retry, .. } = &mut delivery.mode
                && random.below(2) > 0
            {
                *retry = Instant::now();
            }
        }
        furthest = furthest.max(next);
    } // killed: nothing is finished
    sink.fate = None;
    let (mut delivery, mut next) = open(&mut sink, &plan, directory.path());
    while next < furthest || !matches!(delivery.mode, Mode::Direct) {
        if next < furthest && delivery.has_room() {
            let item = item(next);
            next = item.end();
            delivery.take(0, item).unwrap();
        }
        delivery.work(true).unwrap();
        if let Mode::Spooling { retry, .. } = &mut delivery.mode {
            *retry = Instant::now();
        }
    }
    delivery.finish().unwrap();
    let checkpoint = delivery.ring_states[0].checkpoint;
    let waiting = delivery.stores.spool.as_ref().map(Spool::waiting);
    assert_eq!((checkpoint.map(|checkpoint| checkpoint.next()), waiting), (Some(next), Some(0)));
    let expected: Vec<u64> = (0..next).filter(|n| is_event(*n)).collect();
    if keeps {
        assert!(sink.rows == expected, "{:?}", sink.rows);
        assert_eq!(checkpoint.unwrap().delivered, expected.len() as u64);
    } else {
        sink.rows.sort_unstable();
        sink.rows.dedup();
        assert!(sink.rows == expected, "{:?}", sink.rows);
    }
}

/// Whatever a sink with a spool cannot do now, it may do later.
#[test]
fn what_is_down_is_no_end() {
    let directory = tempfile::tempdir().unwrap();
    let plan = Plan::default();
    let mut sink = Fragile { blocked: true, ..Fragile::default() };
    let (mut delivery, _) = open(&mut sink, &plan, directory.path());
    delivery.take(0, item(0)).unwrap();
    delivery.reopen().unwrap();
    delivery.take(0, item(1)).unwrap();
    assert!(matches!(delivery.mode, Mode::Spooling { .. }));
    delivery.finish().unwrap();
    delivery.close().unwrap();
    drop(delivery);
    let (mut delivery, next) = open(&mut sink, &plan, directory.path());
    assert_eq!(next, 2);
    delivery.work(true).unwrap();
    assert_eq!(delivery.ring_states[0].checkpoint.map(|checkpoint| checkpoint.delivered), Some(2));
    drop(delivery);
    assert_eq!(sink.rows, [0, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn exactly_once(seed in any::<u64>()) {
        all_is_delivered(true, seed);
    }

    #[test]
    fn at_least_once(seed in any::<u64>()) {
        all_is_delivered(false, seed);
    }
}
