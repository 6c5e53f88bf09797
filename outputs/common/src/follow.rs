//! The run loop: what the rings hold, oldest first, to the outlet; then sleep until there is more.

use std::{collections::HashSet, time::Duration};

use aw_service::{Error, Signals, Startup};
use shm_layout::{Reader, wait_any};

use crate::{
    From, RingOptions, Sink,
    account::{Piece, What},
    outlet::Outlet,
    source::{LOOK, Source},
};

/// Longest sleep: how late a signal that arrives just before the sleep is seen, at worst.
const SLEEP: Duration = Duration::from_millis(500);
/// Events taken before signals, the spool and what is due are looked at.
const TURN: usize = 4096;

pub(crate) fn follow<S: Sink>(
    options: &RingOptions,
    from: From,
    owners: &[u32],
    mut outlet: Outlet<S>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    let mut once = HashSet::new(); // a ring named twice would be delivered twice
    let mut sources = Vec::new();
    for ring in options.rings.iter().filter(|ring| once.insert(*ring)) {
        let known = outlet.open(ring)?;
        let resume = known.filter(|_| from == From::Resume);
        sources.push(Source::new(ring, owners, options, from, resume));
    }
    for source in &mut sources {
        source.attach()?;
    }
    startup.ready()?;
    let end = serve(&mut sources, options, &mut outlet, signals, startup);
    let end = end.and_then(|()| outlet.close());
    if end.is_err() {
        outlet.save_anyway();
    }
    if !matches!(end, Err(Error::Closed)) {
        for (index, source) in sources.iter().enumerate() {
            outlet.report(index, source.lost, source.skipped);
        }
        outlet.report_spool();
    }
    end
}

fn serve<S: Sink>(
    sources: &mut [Source],
    options: &RingOptions,
    outlet: &mut Outlet<S>,
    signals: &Signals,
    startup: &mut Startup,
) -> Result<(), Error> {
    while !signals.stopped() {
        if signals.take_hangup() {
            outlet.reopen()?;
        }
        let all_read = turn(sources, outlet)?;
        let mut busy = outlet.work(all_read)?; // before anything else that takes time
        for source in sources.iter_mut() {
            source.tell_lost();
            if !options.once {
                source.feel_pulse();
                // A ring is left once it is read to its end, and not while there is no room.
                busy |= all_read && source.look_for_successor()?;
            }
        }
        startup.alive();
        if busy || !all_read && outlet.has_room() {
            continue;
        }
        if options.once {
            outlet.finish()?;
            if outlet.rest()? {
                continue;
            }
            return outlet.all_delivered();
        }
        wait(sources, outlet);
    }
    outlet.finish()
}

/// Hands over what there is, up to a turn and as far as there is room; tells whether that was all.
fn turn<S: Sink>(sources: &mut [Source], outlet: &mut Outlet<S>) -> Result<bool, Error> {
    for _ in 0..TURN {
        if !outlet.has_room() {
            for (index, source) in sources.iter_mut().enumerate() {
                if let Some(lost) = source.take_lost() {
                    outlet.take(index, lost)?;
                }
            }
            return Ok(false);
        }
        let Some((index, piece)) = next(sources) else { return Ok(true) };
        outlet.take(index, piece)?;
    }
    Ok(false)
}

/// The oldest of what the rings hold at this moment.
fn next(sources: &mut [Source]) -> Option<(usize, Piece)> {
    if let [source] = sources {
        return Some((0, source.take()?));
    }
    let mut oldest = None;
    for (index, source) in sources.iter_mut().enumerate() {
        let time = match source.peek().map(|piece| piece.what) {
            None => continue,
            Some(What::Event(event)) => Some(event.time),
            Some(_) => None, // before all that has a time
        };
        if oldest.is_none_or(|(_, least)| time < least) {
            oldest = Some((index, time));
        }
    }
    let (index, _) = oldest?;
    Some((index, sources[index].take()?))
}

fn wait<S: Sink>(sources: &[Source], outlet: &Outlet<S>) {
    let readers: Vec<&Reader> = sources.iter().filter_map(|s| s.reader.as_ref()).collect();
    let longest = if readers.len() == sources.len() { SLEEP } else { LOOK };
    if outlet.has_room() {
        wait_any(&readers, longest.min(outlet.pause()));
    } else {
        std::thread::sleep(LOOK); // there is something to read, but no room for it
    }
}
