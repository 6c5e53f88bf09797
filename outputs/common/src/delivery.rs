//! Between the rings and the sink: what was handed over and is not confirmed yet, and the account of it.

mod report;
mod saving;
mod spooling;

use std::time::{Duration, Instant};

use aw_service::Error;
use shm_layout::{Position, RingName};

use crate::{
    Account, Entry, Fault, Plan, Sink,
    account::{Piece, What},
};
use spooling::Way;

pub(crate) use saving::{SAVE, Stores};

/// How long events wait at most where there are always more; and for the spool.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct Outlet<'a, S> {
    sink: &'a mut S,
    plan: &'a Plan,
    books: Vec<Book>,
    /// Handed to the sink, which has not confirmed them; while the destination is down, not spooled.
    pending: Vec<(usize, Piece)>,
    /// Since when the oldest of them waits.
    since: Option<Instant>,
    way: Way,
    stores: Stores,
}

/// What is known of one ring.
struct Book {
    ring: RingName,
    account: Option<Account>,
    /// A restart of the account is pending, or spooled: what it has says nothing of what comes.
    restarts: bool,
    /// Delivered in this run.
    delivered: u64,
}

impl<'a, S: Sink> Outlet<'a, S> {
    pub fn new(sink: &'a mut S, plan: &'a Plan, stores: Stores) -> Result<Self, Error> {
        let way = Way::first(stores.spool.as_ref())?;
        let (books, pending) = (Vec::new(), Vec::new());
        Ok(Outlet { sink, plan, books, pending, since: None, way, stores })
    }

    /// Opens the account of a ring; where to read on, if that is known.
    pub fn open(&mut self, ring: &RingName) -> Result<Option<Position>, Error> {
        let account = match self.sink.ledger().map(|ledger| ledger.load(ring)) {
            // Also if it has none: what we wrote down was for other rows.
            Some(Ok(kept)) => kept,
            Some(Err(fault)) => {
                self.fail(fault)?;
                self.stores.load(ring)?
            }
            None => self.stores.load_noted(ring)?,
        };
        if let (Some(spool), Some(account)) = (&mut self.stores.spool, &account) {
            let forgotten = spool.forget_all_in(ring, account);
            forgotten.or_else(|fault| self.fail(fault))?;
        }
        let (restarts, end) = match &self.stores.spool {
            Some(spool) => (spool.restarts(ring)?, spool.end(ring)?),
            None => (false, None),
        };
        self.books.push(Book { ring: ring.clone(), account, restarts, delivered: 0 });
        Ok(end.or(account.map(|account| account.position())))
    }

    /// Whether it can take more events.
    pub fn has_room(&self) -> bool {
        !self.way.is_full() && self.pending.len() < self.plan.batch
    }

    /// Takes a piece of the ring that was opened as number `ring`.
    pub fn take(&mut self, ring: usize, piece: Piece) -> Result<(), Error> {
        let restart = piece.what == What::Restart;
        if restart {
            self.deliver()?;
        }
        let book = &mut self.books[ring];
        book.restarts |= restart;
        // Read again, for the sink could not say before how far it was.
        if !book.restarts && book.account.is_some_and(|account| account.has(&piece)) {
            return Ok(());
        }
        if let (Way::Direct, What::Event(event)) = (&self.way, piece.what) {
            let entry = Entry { ring: &self.books[ring].ring, position: piece.at, event };
            if let Err(fault) = self.sink.put(&entry) {
                self.fail(fault)?;
            }
        }
        if self.pending.is_empty() {
            self.since = Some(Instant::now());
        }
        // Lost while there is no room: one piece, however long that lasts.
        if let What::Lost(more) = piece.what
            && let Some((_, last)) = self.pending.iter_mut().rev().find(|(of, _)| *of == ring)
            && let What::Lost(number) = &mut last.what
            && last.at.generation == piece.at.generation
        {
            *number += more;
            return Ok(());
        }
        self.pending.push((ring, piece));
        // Alone: while nobody knows whether it was confirmed, nothing behind it was handed over, so that
        // it can be handed over again.
        if restart { self.deliver() } else { Ok(()) }
    }

    /// What is due: delivers, spools, tries the destination again, writes accounts down. `idle`:
    /// there is nothing more to read now. Tells whether there is more to do at once.
    pub fn work(&mut self, idle: bool) -> Result<bool, Error> {
        let linger = match self.way {
            Way::Direct => self.plan.linger,
            Way::Spooling { .. } => LONGEST_WAIT,
        };
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        if self.pending.len() >= self.plan.batch
            || waited >= linger && (idle || waited >= LONGEST_WAIT)
        {
            self.deliver()?;
        }
        let more = self.drain()? || (idle && self.rest()?);
        self.save_if_due()?;
        Ok(more)
    }

    /// Lets the sink do what is not urgent, if it has confirmed all; tells whether there is more.
    pub fn rest(&mut self) -> Result<bool, Error> {
        if !self.pending.is_empty() || !matches!(self.way, Way::Direct) {
            return Ok(false);
        }
        self.sink.rest().or_else(|fault| self.fail(fault).map(|()| false))
    }

    /// Lets the sink open its files anew, once it has confirmed all.
    pub fn reopen(&mut self) -> Result<(), Error> {
        self.deliver()?;
        self.sink.reopen().or_else(|fault| self.fail(fault))
    }

    /// How long `work` can wait.
    pub fn pause(&self) -> Duration {
        let left = |limit: Duration, since: Instant| limit.saturating_sub(since.elapsed());
        match &self.way {
            Way::Direct => self.since.map_or(SAVE, |since| left(self.plan.linger, since)),
            Way::Spooling { retry, .. } => {
                retry.saturating_duration_since(Instant::now()).min(LONGEST_WAIT)
            }
        }
    }

    /// Everything taken is delivered, or in the spool; the accounts are written down.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.deliver()?;
        self.save()
    }

    /// What was handed over is delivered once the sink says so.
    fn deliver(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if matches!(self.way, Way::Direct) {
            let pending = std::mem::take(&mut self.pending);
            let confirmed = self.confirm(&pending);
            self.pending = pending;
            match confirmed {
                Ok(()) => {
                    self.pending.clear();
                    self.since = None;
                    return self.look_for_restarts();
                }
                Err(fault) => self.fail(fault)?,
            }
        }
        self.spool_pending()
    }

    /// Lets the sink confirm these pieces, which it has, and books them.
    fn confirm(&mut self, pieces: &[(usize, Piece)]) -> Result<(), Fault> {
        let mut accounts: Vec<_> = self.books.iter().map(|book| book.account).collect();
        for (ring, piece) in pieces {
            accounts[*ring] = Some(Account::after(accounts[*ring], piece));
        }
        if let Some(ledger) = self.sink.ledger() {
            for (book, account) in self.books.iter().zip(&accounts) {
                if let Some(account) = account.filter(|_| *account != book.account) {
                    ledger.store(&book.ring, &account)?;
                }
            }
        }
        self.sink.idle()?;
        for (ring, piece) in pieces {
            self.books[*ring].delivered += u64::from(matches!(piece.what, What::Event(_)));
        }
        for (book, account) in self.books.iter_mut().zip(accounts) {
            if let Some(account) = account.filter(|account| Some(*account) != book.account) {
                self.stores.confirmed(&book.ring, &account, book.account.is_none());
            }
            book.account = account;
        }
        Ok(())
    }

    /// After a confirmation: whether restarts are still to come.
    fn look_for_restarts(&mut self) -> Result<(), Error> {
        for (index, book) in self.books.iter_mut().enumerate().filter(|(_, book)| book.restarts) {
            let restart =
                |(of, piece): &(usize, Piece)| *of == index && piece.what == What::Restart;
            let spooled = self.stores.spool.as_ref().map(|spool| spool.restarts(&book.ring));
            book.restarts = self.pending.iter().any(restart) || spooled.unwrap_or(Ok(false))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
