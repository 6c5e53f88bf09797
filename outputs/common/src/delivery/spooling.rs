//! While the destination is down: events go to the spool, and from there to the sink once it is back.

use std::time::{Duration, Instant};

use aw_service::{Error, say, warn};

use super::{Book, Outlet};
use crate::{
    Entry, Fault, Ledger, Sink,
    account::{Piece, What},
    spool::Spool,
};

/// Pauses between two tries of a destination that is down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where pieces go.
pub(super) enum Way {
    /// To the sink.
    Direct,
    /// Into the spool, until the destination is back.
    Spooling {
        retry: Instant,
        pause: Duration,
        full: bool,
        /// It was said, in this run, why; and that the spool is full.
        told: bool,
        told_full: bool,
        /// The sink may have stored more than it could tell before it failed, or we were killed.
        doubt: bool,
    },
}

/// What the sink took while it counted as down.
enum Handed {
    /// The spool's pieces up to this number.
    Spooled { last: i64 },
    /// So many of those that are pending.
    Pending { number: usize },
    /// There was nothing.
    Nothing,
}

impl Way {
    /// At the start: what is in the spool comes first.
    pub fn first(spool: Option<&Spool>) -> Result<Way, Error> {
        let any = spool.map_or(Ok(false), |spool| spool.is_empty().map(|empty| !empty))?;
        Ok(if any { Way::spooling(Instant::now(), false) } else { Way::Direct })
    }

    fn spooling(retry: Instant, told: bool) -> Way {
        let (full, told_full) = (false, false);
        Way::Spooling { retry, pause: FIRST_PAUSE, full, told, told_full, doubt: true }
    }

    pub fn is_full(&self) -> bool {
        matches!(self, Way::Spooling { full: true, .. })
    }
}

impl<S: Sink> Outlet<'_, S> {
    /// The sink cannot take it: events go to the spool, if there is one.
    pub(super) fn fail(&mut self, fault: Fault) -> Result<(), Error> {
        let (Fault::Down(why), Some(spool)) = (&fault, &self.stores.spool) else {
            return Err(fault.into_error());
        };
        let now = Instant::now();
        if !matches!(self.way, Way::Spooling { told: true, .. }) {
            warn(format_args!("{why}: keeping events in {}", spool.path().display()));
        }
        match &mut self.way {
            Way::Direct => self.way = Way::spooling(now + FIRST_PAUSE, true),
            Way::Spooling { retry, pause, told, doubt, .. } => {
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                *retry = now + *pause;
                (*told, *doubt) = (true, true);
            }
        }
        Ok(())
    }

    pub(super) fn spool_pending(&mut self) -> Result<(), Error> {
        let accounts = self.accounts();
        let (Some(spool), Way::Spooling { full, told_full, .. }) =
            (&mut self.stores.spool, &mut self.way)
        else {
            return Ok(());
        };
        let ring = |of: usize| &self.books[of].ring;
        let pieces: Vec<_> = self.pending.iter().map(|(of, piece)| (ring(*of), *piece)).collect();
        *full = !spool.append(&pieces, &accounts)?;
        if !*full {
            self.pending.clear();
            self.since = None;
            return Ok(());
        }
        self.since = Some(Instant::now());
        // Once, however often there is room for a while.
        if !std::mem::replace(told_full, true) {
            warn(format_args!(
                "{} is full: what the rings overwrite from now on is lost (--spool-size, or room on its disk)",
                spool.path().display()
            ));
        }
        Ok(())
    }

    /// Hands a batch from the spool to the sink, if it is time to. Tells whether there is more.
    pub(super) fn drain(&mut self) -> Result<bool, Error> {
        if !matches!(self.way, Way::Spooling { retry, .. } if retry <= Instant::now()) {
            return Ok(false);
        }
        let handed = match self.hand_over() {
            Ok(handed) => handed,
            Err(fault) => return self.fail(fault).map(|()| false),
        };
        let accounts = self.accounts();
        match (handed, &mut self.stores.spool) {
            (Handed::Nothing, _) | (_, None) => {}
            (Handed::Spooled { last }, Some(spool)) => {
                // Its disk is full, of other things: what was handed over is forgotten later.
                if let Err(Error::Failed(why)) = spool.delivered(last, &accounts) {
                    return self.fail(Fault::Down(why)).map(|()| false);
                }
                return self.go_on();
            }
            (Handed::Pending { number }, Some(_)) => {
                self.pending.drain(..number);
                self.since = None;
                return self.go_on();
            }
        }
        self.way = Way::Direct;
        say("the destination is back, and has all that was kept for it");
        Ok(true)
    }

    /// The sink has taken something while it counted as down.
    fn go_on(&mut self) -> Result<bool, Error> {
        if let Way::Spooling { pause, full, told, doubt, .. } = &mut self.way {
            (*pause, *full, *told, *doubt) = (FIRST_PAUSE, false, true, false);
        }
        self.look_for_restarts().map(|()| true)
    }

    /// Hands over what is oldest: in the spool, and behind that what it had no room for.
    fn hand_over(&mut self) -> Result<Handed, Fault> {
        if matches!(self.way, Way::Spooling { doubt: true, .. }) {
            self.ask_how_far()?;
        }
        let Some(spool) = &mut self.stores.spool else { return Ok(Handed::Nothing) };
        let (mut pieces, mut last) = spool.oldest(self.plan.batch)?;
        if let Some(few) = to_restart(pieces.iter().map(|(_, piece)| piece)) {
            (pieces, last) = spool.oldest(few)?;
        }
        let mut known = Vec::with_capacity(pieces.len());
        for (ring, piece) in pieces {
            let found = self.books.iter().position(|book| book.ring == ring);
            let index = match found {
                Some(index) => index,
                None => {
                    // From an earlier run, of a ring that is not read any more.
                    let account = match self.sink.ledger() {
                        Some(ledger) => ledger.load(&ring)?,
                        None => spool.load(&ring)?,
                    };
                    self.books.push(Book { ring, account, restarts: false, delivered: 0 });
                    self.books.len() - 1
                }
            };
            known.push((index, piece));
        }
        let handed = match self.pending.len() {
            _ if last > 0 => Handed::Spooled { last },
            0 => Handed::Nothing,
            all => {
                let few = to_restart(self.pending.iter().map(|(_, piece)| piece));
                let number = few.unwrap_or(all);
                known.extend_from_slice(&self.pending[..number]);
                Handed::Pending { number }
            }
        };
        for (index, piece) in &known {
            if let What::Event(event) = piece.what {
                let entry = Entry { ring: &self.books[*index].ring, position: piece.at, event };
                self.sink.put(&entry)?;
            }
        }
        if !known.is_empty() {
            self.confirm(&known)?;
        }
        Ok(handed)
    }

    /// What the sink has, after all, is neither in the spool nor pending any more.
    fn ask_how_far(&mut self) -> Result<(), Fault> {
        let Some(spool) = &mut self.stores.spool else { return Ok(()) };
        for (index, book) in self.books.iter_mut().enumerate() {
            let account = match self.sink.ledger() {
                Some(ledger) => ledger.load(&book.ring)?,
                None => book.account,
            };
            let Some(account) = account else { continue };
            book.account = Some(account);
            spool.forget_all_in(&book.ring, &account)?;
            if spool.restarts(&book.ring)? {
                continue; // all that is pending is behind it
            }
            let restart =
                |(of, piece): &(usize, Piece)| *of == index && piece.what == What::Restart;
            let old = self.pending.iter().position(restart).unwrap_or(self.pending.len());
            let has = |(of, piece): &(usize, Piece)| *of == index && account.has(piece);
            let had = self.pending[..old].iter().rposition(has).map_or(0, |last| last + 1);
            let mut place = 0..;
            self.pending.retain(|(of, _)| place.next() >= Some(had) || *of != index);
        }
        Ok(())
    }
}

/// How many pieces go together, if not all: a restart comes alone, see `take`.
fn to_restart<'a>(mut pieces: impl Iterator<Item = &'a Piece>) -> Option<usize> {
    let restart = pieces.position(|piece| piece.what == What::Restart);
    restart.map(|before| before.max(1))
}
