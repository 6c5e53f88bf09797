//! The run loop: passes the events of all rings to the delivery, oldest first, and sleeps while there are none.

use std::{collections::HashSet, time::Duration};

use aw_service::{Error, Signals, Startup};
use shm_layout::{Reader, wait_any};

use crate::{
    RingOptions, Sink, StartFrom,
    checkpoint::{ItemKind, StreamItem},
    delivery::Delivery,
    source::{CHECK_INTERVAL, Source},
};

/// The longest sleep, and so the longest delay of a signal that arrives just before it.
const SLEEP: Duration = Duration::from_millis(500);
/// Events that are read before signals, the spool and due work are checked.
const ROUND: usize = 4096;

pub(crate) fn follow<S: Sink>(
    options: &RingOptions,
    from: StartFrom,
    owners: &[u32],
    mut delivery: Delivery<S>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let mut seen = HashSet::new(); // a ring that is named twice is delivered once
    let mut sources = Vec::new();
    for ring in options.rings.iter().filter(|ring| seen.insert(*ring)) {
        let saved = delivery.open(ring)?;
        let resume = saved.filter(|_| from == StartFrom::Resume);
        sources.push(Source::new(ring, owners, options, from, resume));
    }
    for source in &mut sources {
        source.attach()?;
    }
    startup.ready()?;
    let end = run_loop(&mut sources, options, &mut delivery, signals, startup);
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
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    while !signals.stopped() {
        if signals.take_hangup() {
            delivery.reopen()?;
        }
        let all_read = read_round(sources, delivery)?;
        let mut busy = delivery.work(all_read)?; // before other work, which may take time
        for source in sources.iter_mut() {
            source.report_losses();
            if !options.once {
                source.check_heartbeat();
                // A replaced ring is read to its end first.
                busy |= all_read && source.follow_replacement()?;
            }
        }
        startup.alive();
        if busy || !all_read && delivery.has_room() {
            continue;
        }
        if options.once {
            delivery.finish()?;
            if delivery.maintain()? {
                continue;
            }
            return delivery.check_all_delivered();
        }
        wait(sources, delivery);
    }
    delivery.finish()
}

/// Passes on events, up to a round and as long as there is room; returns whether all were read.
fn read_round<S: Sink>(sources: &mut [Source], delivery: &mut Delivery<S>) -> Result<bool, Error> {
    for _ in 0..ROUND {
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
fn next_item(sources: &mut [Source]) -> Option<(usize, StreamItem)> {
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

fn wait<S: Sink>(sources: &[Source], delivery: &Delivery<S>) {
    let readers: Vec<&Reader> = sources.iter().filter_map(|s| s.reader.as_ref()).collect();
    let longest = if readers.len() == sources.len() { SLEEP } else { CHECK_INTERVAL };
    if delivery.has_room() {
        wait_any(&readers, longest.min(delivery.pause()));
    } else {
        std::thread::sleep(CHECK_INTERVAL); // there are events, but no room for them
    }
}
