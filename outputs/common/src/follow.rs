//! The run loop: passes the events of all rings to the delivery, oldest first, and sleeps while there are none.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use aw_service::{Error, Signals, Startup, warn};
use shm_layout::{Reader, gather, wait_any};

use crate::{
    Plan, RingOptions, Sink, StartFrom,
    checkpoint::{ItemKind, StreamItem},
    delivery::Delivery,
    ring_watch::RingWatch,
    source::Source,
};

/// The longest sleep, and so the longest delay of a signal that arrives just before it.
const SLEEP: Duration = OBSERVE_INTERVAL;
/// Events that are read before signals, the spool and due work are checked.
const ROUND: usize = 4096;
/// Events after which it is checked whether the collector may overwrite unread ones soon.
const CHECK_AFTER: usize = 256;
/// How often the sink gets the states of the rings.
const OBSERVE_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) fn follow<S: Sink>(
    options: &RingOptions,
    plan: &Plan,
    owners: &[u32],
    mut delivery: Delivery<S>,
    watch: Option<RingWatch>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let (from, lacks) = (options.start(plan), plan.lacks.as_deref());
    let mut seen = HashSet::new(); // a ring that is named twice is delivered once
    let mut sources = Vec::new();
    for ring in options.rings.iter().filter(|ring| seen.insert(*ring)) {
        let saved = delivery.open(ring)?;
        let resume = saved.filter(|_| from == StartFrom::Resume);
        let how = (options.verbose, options.once);
        sources.push(Source::new(ring, owners, how, from, resume));
    }
    for source in &mut sources {
        source.attach()?;
    }
    startup.ready()?;
    if let Some(lacks) = lacks {
        warn(lacks);
    }
    let end = run_loop(&mut sources, options, &mut delivery, lacks, watch, signals, startup);
    let end = end.and_then(|()| delivery.close());
    if end.is_err() {
        delivery.save_after_failure();
    }
    if !matches!(end, Err(Error::Closed)) {
        for (index, source) in sources.iter().enumerate() {
            delivery.log_ring(index, source.lost, source.skipped);
        }
        delivery.log_spool();
    }
    end
}

fn run_loop<S: Sink>(
    sources: &mut [Source],
    options: &RingOptions,
    delivery: &mut Delivery<S>,
    lacks: Option<&str>,
    mut watch: Option<RingWatch>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let status = |sources: &[Source], delivery: &Delivery<S>| -> String {
        let lacks = lacks.map(String::from).into_iter().chain(delivery.lacks());
        lacks.chain(sources.iter().map(Source::status)).collect::<Vec<_>>().join("; ")
    };
    startup.status(|| status(sources, delivery));
    let mut observed = Instant::now();
    while !signals.stopped() {
        if signals.take_hangup() {
            delivery.reopen()?;
        }
        let all_read = read_round(sources, delivery)?;
        let is_behind = sources.iter().any(Source::is_behind);
        let mut numbered = sources.iter().enumerate();
        let may_lose = |(index, source): (usize, &Source)| match delivery.confirmed(index) {
            Some(confirmed) => source.may_lose(confirmed),
            None => delivery.has_first_of(index),
        };
        if numbered.any(may_lose) {
            delivery.hurry()?;
        }
        let mut busy = delivery.work(all_read, is_behind)?; // before other work, which may take time
        watch = watch.filter(|_| sources.iter().any(|source| source.reader.is_none()));
        // What is not taken now waits in the system's queue.
        let is_new = all_read && watch.as_mut().is_some_and(RingWatch::take_news);
        for source in sources.iter_mut() {
            source.report_losses();
            if !options.once {
                source.check_heartbeat();
                // A replaced ring is read to its end first.
                busy |= all_read && source.follow_replacement(is_new)?;
            }
        }
        if observed.elapsed() >= OBSERVE_INTERVAL {
            observed = Instant::now();
            observe(sources, delivery)?;
            startup.status(|| status(sources, delivery));
        }
        startup.alive();
        if busy || !all_read && delivery.has_room() {
            continue;
        }
        if options.once {
            delivery.finish()?;
            observe(sources, delivery)?;
            if delivery.maintain()? {
                continue;
            }
            return delivery.check_all_delivered();
        }
        wait(sources, delivery, watch.as_mut());
    }
    delivery.finish()
}

fn observe<S: Sink>(sources: &[Source], delivery: &mut Delivery<S>) -> Result<(), Error> {
    let mut sources = sources.iter().enumerate();
    sources.try_for_each(|(index, source)| delivery.observe(index, source))
}

/// Passes on events, up to a round and as long as there is room; returns whether all were read.
fn read_round<S: Sink>(sources: &mut [Source], delivery: &mut Delivery<S>) -> Result<bool, Error> {
    for number in 0..ROUND {
        if number % CHECK_AFTER == 0 && sources.iter().any(|source| source.is_behind()) {
            delivery.fall_behind()?;
        }
        if !delivery.has_room() {
            for (index, source) in sources.iter_mut().enumerate() {
                if let Some(lost) = source.take_losses() {
                    delivery.take(index, lost)?;
                }
            }
            return Ok(false);
        }
        let Some((index, item)) = next_item(sources) else { return Ok(true) };
        delivery.take(index, item)?;
    }
    Ok(false)
}

/// The oldest of the next items of all rings.
pub(crate) fn next_item(sources: &mut [Source]) -> Option<(usize, StreamItem)> {
    if let [source] = sources {
        return Some((0, source.take()?));
    }
    let mut oldest = None;
    for (index, source) in sources.iter_mut().enumerate() {
        let time = match source.peek().map(|item| item.kind) {
            None => continue,
            Some(ItemKind::Event(event)) => Some(event.time),
            Some(_) => None, // items without a time come first
        };
        if oldest.is_none_or(|(_, least)| time < least) {
            oldest = Some((index, time));
        }
    }
    let (index, _) = oldest?;
    Some((index, sources[index].take()?))
}

fn wait<S: Sink>(sources: &[Source], delivery: &Delivery<S>, watch: Option<&mut RingWatch>) {
    let readers: Vec<&Reader> = sources.iter().filter_map(|s| s.reader.as_ref()).collect();
    let mut pause = SLEEP.min(delivery.pause());
    match watch {
        Some(watch) if readers.is_empty() => return watch.wait(pause),
        Some(watch) => pause = pause.min(watch.pause()),
        None => {}
    }
    match () {
        () if !delivery.has_room() => wait_any(&readers[..0], pause), // there are events, but no room for them
        () if delivery.is_gathering() => gather(&readers, pause),
        () => wait_any(&readers, pause),
    }
}

#[cfg(test)]
mod tests {
    use shm_layout::{Event, InterfaceId, RingName, Writer, WriterOptions};

    use super::*;
    use crate::{
        Entry, RingState, SinkResult,
        delivery::CheckpointFiles,
        spool::{Spool, tests::EVENT},
    };

    /// A sink so slow that ten events arrive while it takes one.
    struct Slow {
        writer: Writer,
        interface: InterfaceId,
        event: Event,
        left: u64,
        written: u64,
        states: u64,
    }

    impl Slow {
        fn new(ring: &RingName, left: u64) -> Slow {
            let slots = WriterOptions::DEFAULT_SLOTS;
            let options = WriterOptions { name: ring.clone(), slots, group: None, host: None };
            let mut writer = Writer::create(&options).unwrap();
            let event = Event::from_bytes(&EVENT).unwrap();
            let interface = writer.interface(event.interface);
            Slow { writer, interface, event, left, written: 0, states: 0 }
        }

        fn arrive(&mut self, number: u64) {
            for _ in 0..number.min(self.left) {
                self.left -= 1;
                self.writer.publish(self.interface, &self.event);
            }
        }
    }

    impl Sink for Slow {
        fn write(&mut self, _: &Entry) -> SinkResult {
            self.written += 1;
            self.arrive(10);
            Ok(())
        }

        fn flush(&mut self) -> SinkResult {
            self.arrive(1000);
            Ok(())
        }

        fn observe(&mut self, state: &RingState) -> SinkResult {
            assert_eq!(state.checkpoint.map(|checkpoint| checkpoint.lost), Some(0));
            self.states += 1;
            Ok(())
        }
    }

    /// A burst that arrives ten times as fast as the sink takes it is queued, and nothing of it is lost.
    #[test]
    fn a_burst_is_queued() {
        const EVENTS: u64 = 400_000; // six times the ring
        let directory = tempfile::tempdir().unwrap();
        let name: RingName = format!("/aw-test-burst-{}", std::process::id()).parse().unwrap();
        let mut slow = Slow::new(&name, EVENTS);
        slow.arrive(10);
        let plan = Plan { batch: 1024, ..Plan::default() };
        let spool = Some(Spool::open(directory.path(), "aw-test", 1 << 30, false).unwrap());
        let (file, live_checkpoint, schedule) = (None, None, Default::default());
        let for_health = false;
        let files =
            CheckpointFiles { spool, file, live_checkpoint, for_health, in_sink: false, schedule };
        let mut delivery = Delivery::new(&mut slow, &plan, files).unwrap();
        delivery.open(&name).unwrap();
        let mut sources = [Source::new(&name, &[], (false, false), StartFrom::Resume, None)];
        sources[0].attach().unwrap();
        let mut fell_behind = false;
        loop {
            let all_read = read_round(&mut sources, &mut delivery).unwrap();
            let is_behind = sources[0].is_behind();
            fell_behind |= is_behind;
            let busy = delivery.work(all_read, is_behind).unwrap();
            if all_read && !busy {
                break;
            }
        }
        delivery.finish().unwrap();
        observe(&sources, &mut delivery).unwrap();
        assert!(delivery.check_all_delivered().is_ok() && fell_behind);
        assert_eq!(sources[0].lost, 0);
        drop(delivery);
        assert_eq!((slow.written, slow.left, slow.states), (EVENTS, 0, 1));
        drop(slow);
        std::fs::remove_file(name.path()).unwrap();
        let _ = std::fs::remove_file(format!("{}.lock", name.path().display()));
    }
}
