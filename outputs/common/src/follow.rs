//! The run loop: what the rings hold, oldest first, to the delivery; then sleep until there is more.

use std::{collections::HashSet, time::Duration};

use aw_service::{Error, Signals, Startup};
use shm_layout::{Reader, wait_any};

use crate::{
    RingOptions, Sink, StartFrom,
    checkpoint::{ItemKind, StreamItem},
    delivery::Delivery,
    source::{LOOK, Source},
};

/// Longest sleep: how late a signal that arrives just before the sleep is seen, at worst.
const SLEEP: Duration = Duration::from_millis(500);
/// Events taken before signals, the spool and what is due are looked at.
const TURN: usize = 4096;

pub(crate) fn follow<S: Sink>(
    options: &RingOptions,
    from: StartFrom,
    owners: &[u32],
    mut delivery: Delivery<S>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let mut once = HashSet::new(); // a ring named twice would be delivered twice
    let mut sources = Vec::new();
    for ring in options.rings.iter().filter(|ring| once.insert(*ring)) {
        let known = delivery.open(ring)?;
        let resume = known.filter(|_| from == StartFrom::Resume);
        sources.push(Source::new(ring, owners, options, from, resume));
    }
    for source in &mut sources {
        source.attach()?;
    }
    startup.ready()?;
    let end = serve(&mut sources, options, &mut delivery, signals, startup);
    let end = end.and_then(|()| delivery.close());
    if end.is_err() {
        delivery.save_anyway();
    }
    if !matches!(end, Err(Error::Closed)) {
        for (index, source) in sources.iter().enumerate() {
            delivery.report(index, source.lost, source.skipped);
        }
        delivery.log_spool();
    }
    end
}

fn serve<S: Sink>(
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
        let all_read = turn(sources, delivery)?;
        let mut busy = delivery.work(all_read)?; // before anything else that takes time
        for source in sources.iter_mut() {
            source.tell_lost();
            if !options.once {
                source.feel_pulse();
                // A ring is left once it is read to its end, and not while there is no room.
                busy |= all_read && source.look_for_successor()?;
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
            return delivery.all_delivered();
        }
        wait(sources, delivery);
    }
    delivery.finish()
}

/// Hands over what there is, up to a turn and as far as there is room; tells whether that was all.
fn turn<S: Sink>(sources: &mut [Source], delivery: &mut Delivery<S>) -> Result<bool, Error> {
    for _ in 0..TURN {
        if !delivery.has_room() {
            for (index, source) in sources.iter_mut().enumerate() {
                if let Some(lost) = source.take_lost() {
                    delivery.take(index, lost)?;
                }
            }
            return Ok(false);
        }
        let Some((index, item)) = next(sources) else { return Ok(true) };
        delivery.take(index, item)?;
    }
    Ok(false)
}

/// The oldest of what the rings hold at this moment.
fn next(sources: &mut [Source]) -> Option<(usize, StreamItem)> {
    if let [source] = sources {
        return Some((0, source.take()?));
    }
    let mut oldest = None;
    for (index, source) in sources.iter_mut().enumerate() {
        let time = match source.peek().map(|item| item.kind) {
            None => continue,
            Some(ItemKind::Event(event)) => Some(event.time),
            Some(_) => None, // before all that has a time
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
    let longest = if readers.len() == sources.len() { SLEEP } else { LOOK };
    if delivery.has_room() {
        wait_any(&readers, longest.min(delivery.pause()));
    } else {
        std::thread::sleep(LOOK); // there is something to read, but no room for it
    }
}
