//! Between the rings and the sink: what was handed over and is not confirmed yet, what waits in the
//! spool while the destination is down, and the account of it all.

use std::time::{Duration, Instant};

use aw_service::{Error, failed, say, warn};
use shm_layout::{Position, RingName};

use crate::{
    Account, Entry, Fault, Ledger, Plan, Sink,
    account::{Piece, What},
    spool::Spool,
    state::StateFile,
};

/// How often accounts are written down where no row is written with them; at the end in any case.
/// A kill repeats so much at most, and a disk is not worn out.
pub(crate) const SAVE: Duration = Duration::from_secs(5);
/// How long events wait at most where there are always more; and for the spool.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Pauses between two tries of a destination that is down.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

pub(crate) struct Outlet<'a, S> {
    pub sink: &'a mut S,
    plan: &'a Plan,
    books: Vec<Book>,
    /// Handed to the sink, which has not confirmed them; while the destination is down, not spooled.
    pending: Vec<(usize, Piece)>,
    /// Since when the oldest of them waits.
    since: Option<Instant>,
    way: Way,
    spool: Option<Spool>,
    file: Option<StateFile>,
    saved: Instant,
    unsaved: bool,
}

/// What is known of one ring.
struct Book {
    ring: RingName,
    account: Option<Account>,
    /// A restart of the account is pending.
    restarts: bool,
    /// Delivered in this run.
    delivered: u64,
}

/// Where pieces go.
enum Way {
    /// To the sink.
    Direct,
    /// Into the spool, until the destination is back.
    Spooling { retry: Instant, pause: Duration, full: bool },
}

impl<'a, S: Sink> Outlet<'a, S> {
    pub fn new(
        sink: &'a mut S,
        plan: &'a Plan,
        spool: Option<Spool>,
        file: Option<StateFile>,
    ) -> Result<Self, Error> {
        let mut outlet = Outlet {
            sink,
            plan,
            books: Vec::new(),
            pending: Vec::new(),
            since: None,
            way: Way::Direct,
            spool,
            file,
            saved: Instant::now(),
            unsaved: false,
        };
        if let Some(spool) = &outlet.spool
            && !spool.is_empty()?
        {
            outlet.way = Way::Spooling { retry: Instant::now(), pause: FIRST_PAUSE, full: false };
        }
        Ok(outlet)
    }

    /// Opens the account of a ring; where to read on, if that is known.
    pub fn open(&mut self, ring: &RingName) -> Result<Option<Position>, Error> {
        let mut account = None;
        match self.sink.ledger().map(|ledger| ledger.load(ring)) {
            Some(Ok(kept)) => {
                account = kept;
                if let (Some(spool), Some(account)) = (&mut self.spool, &account) {
                    spool.forget_all_in(ring, account)?;
                }
            }
            Some(Err(fault)) => self.fail(fault)?,
            None => {}
        }
        let own = account.is_some();
        let ledgers = [
            self.spool.as_mut().map(|spool| spool as &mut dyn Ledger),
            self.file.as_mut().map(|file| file as &mut dyn Ledger),
        ];
        for ledger in ledgers.into_iter().flatten().filter(|_| !own) {
            account = ledger.load(ring).map_err(Fault::into_error)?;
        }
        self.books.push(Book { ring: ring.clone(), account, restarts: false, delivered: 0 });
        let spooled = self.spool.as_ref().map_or(Ok(None), |spool| spool.end(ring))?;
        Ok(spooled.or(account.map(|account| account.position())))
    }

    /// Whether it can take more events.
    pub fn has_room(&self) -> bool {
        !matches!(self.way, Way::Spooling { full: true, .. })
            && self.pending.len() < self.plan.batch
    }

    /// Takes a piece of the ring that was opened as number `ring`.
    pub fn take(&mut self, ring: usize, piece: Piece) -> Result<(), Error> {
        let book = &mut self.books[ring];
        book.restarts |= piece.what == What::Restart;
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
        Ok(())
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
        let more = self.drain()?;
        if self.saved.elapsed() >= SAVE {
            self.save()?;
        }
        Ok(more)
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

    /// Lets the sink do what is due without an event, unless it has events or is down.
    pub fn tick(&mut self) -> Result<(), Error> {
        match self.sink_if_free().map_or(Ok(()), Sink::tick) {
            Ok(()) => Ok(()),
            Err(fault) => self.fail(fault),
        }
    }

    fn sink_if_free(&mut self) -> Option<&mut S> {
        let free = self.pending.is_empty() && matches!(self.way, Way::Direct);
        free.then_some(&mut *self.sink)
    }

    /// Everything taken is delivered, or in the spool; the accounts are written down.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.deliver()?;
        self.sink_if_free().map_or(Ok(()), Sink::end).map_err(Fault::into_error)?;
        self.save()
    }

    /// What was handed over is delivered once the sink says so.
    pub fn deliver(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if matches!(self.way, Way::Direct) {
            let pending = std::mem::take(&mut self.pending);
            let confirmed = self.confirm(&pending);
            match confirmed {
                Ok(()) => {
                    self.pending = pending;
                    self.pending.clear();
                    self.since = None;
                    return Ok(());
                }
                Err(fault) => {
                    self.pending = pending;
                    self.fail(fault)?;
                }
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
            self.unsaved |= book.account != account;
            book.account = account;
            book.restarts = false;
        }
        Ok(())
    }

    /// The sink cannot take it: events go to the spool, if there is one.
    fn fail(&mut self, fault: Fault) -> Result<(), Error> {
        let (Fault::Down(why), Some(spool)) = (&fault, &self.spool) else {
            return Err(fault.into_error());
        };
        let now = Instant::now();
        match &mut self.way {
            Way::Direct => {
                warn(format_args!("{why}: keeping events in {}", spool.path().display()));
                let retry = now + FIRST_PAUSE;
                self.way = Way::Spooling { retry, pause: FIRST_PAUSE, full: false };
            }
            Way::Spooling { retry, pause, .. } => {
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                *retry = now + *pause;
            }
        }
        Ok(())
    }

    fn spool_pending(&mut self) -> Result<(), Error> {
        let accounts = self.accounts();
        let (Some(spool), Way::Spooling { full, .. }) = (&mut self.spool, &mut self.way) else {
            return Ok(());
        };
        let ring = |of: usize| &self.books[of].ring;
        let pieces: Vec<_> = self.pending.iter().map(|(of, piece)| (ring(*of), *piece)).collect();
        let stored = spool.append(&pieces, &accounts)?;
        if stored {
            self.pending.clear();
            self.since = None;
        } else if !*full {
            warn(format_args!(
                "{} is full: what the rings overwrite from now on is lost (--spool-size, or room on its disk)",
                spool.path().display()
            ));
        }
        if !stored {
            self.since = Some(Instant::now());
        }
        *full = !stored;
        Ok(())
    }

    /// Hands a batch from the spool to the sink, if it is time to. Tells whether there is more.
    fn drain(&mut self) -> Result<bool, Error> {
        let (Some(_), Way::Spooling { retry, .. }) = (&self.spool, &self.way) else {
            return Ok(false);
        };
        if *retry > Instant::now() {
            return Ok(false);
        }
        let last = match self.hand_over() {
            Ok(last) => last,
            Err(fault) => return self.fail(fault).map(|()| false),
        };
        let accounts = self.accounts();
        let Some(spool) = &mut self.spool else { return Ok(false) };
        if last > 0 {
            spool.delivered(last, &accounts)?;
            self.way = Way::Spooling { retry: Instant::now(), pause: FIRST_PAUSE, full: false };
            return Ok(true);
        }
        self.way = Way::Direct;
        say("the destination is back, and has all that was kept for it");
        let pending = std::mem::take(&mut self.pending);
        self.since = None;
        for (ring, piece) in pending {
            self.take(ring, piece)?;
        }
        Ok(true)
    }

    /// The number of the spool's last piece that the sink has now; 0 where there was none.
    fn hand_over(&mut self) -> Result<i64, Fault> {
        let Some(spool) = &mut self.spool else { return Ok(0) };
        // The sink may have stored more than it could tell before it went down.
        if let Some(ledger) = self.sink.ledger() {
            for (index, book) in self.books.iter_mut().enumerate() {
                let Some(account) = ledger.load(&book.ring)? else { continue };
                spool.forget_all_in(&book.ring, &account)?;
                let has = |(of, piece): &(usize, Piece)| *of == index && account.has(piece);
                let had = self.pending.iter().rposition(has).map_or(0, |last| last + 1);
                let mut place = 0..;
                self.pending.retain(|(of, _)| place.next() >= Some(had) || *of != index);
                book.account = Some(account);
                let restarts =
                    |(of, piece): &(usize, Piece)| *of == index && piece.what == What::Restart;
                book.restarts = self.pending.iter().any(restarts);
            }
        }
        let (pieces, last) = spool.oldest(self.plan.batch)?;
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
        for (index, piece) in &known {
            if let What::Event(event) = piece.what {
                let entry = Entry { ring: &self.books[*index].ring, position: piece.at, event };
                self.sink.put(&entry)?;
            }
        }
        if !known.is_empty() {
            self.confirm(&known)?;
        }
        Ok(last)
    }

    /// All accounts that have begun.
    fn accounts(&self) -> Vec<(RingName, Account)> {
        let begun = self.books.iter().filter_map(|book| Some((book.ring.clone(), book.account?)));
        begun.collect()
    }

    /// Writes the accounts down where the sink does not.
    fn save(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.unsaved) {
            return Ok(());
        }
        self.saved = Instant::now();
        if self.spool.is_none() && self.file.is_none() {
            return Ok(());
        }
        self.sink.sync().map_err(Fault::into_error)?;
        let accounts = self.accounts();
        if let Some(spool) = &mut self.spool {
            spool.delivered(0, &accounts)?;
        }
        if let Some(file) = &mut self.file {
            for (ring, account) in &accounts {
                file.store(ring, account).map_err(Fault::into_error)?;
            }
            file.save()?;
        }
        Ok(())
    }

    /// At the end of `--once`: whether all is delivered.
    pub fn all_delivered(&self) -> Result<(), Error> {
        match &self.spool {
            Some(spool) if matches!(self.way, Way::Spooling { .. }) => Err(failed(format_args!(
                "the destination is down: {} events are kept in {}",
                spool.waiting(),
                spool.path().display()
            ))),
            _ => Ok(()),
        }
    }

    /// One line: what became of a ring in this run.
    pub fn report(&self, ring: usize, lost: u64, skipped: u64) {
        let Book { ring: name, delivered, .. } = &self.books[ring];
        let is_event =
            |(of, piece): &&(usize, Piece)| *of == ring && matches!(piece.what, What::Event(_));
        let pending = self.pending.iter().filter(is_event).count() as u64;
        let mut text = format!("{name}: {delivered} events, {lost} lost");
        for (number, what) in [
            (pending, "not delivered, or only in part"),
            (skipped, "of a kind that this release does not know"),
        ] {
            if number > 0 {
                text += &format!(", {number} {what}");
            }
        }
        say(text);
    }

    /// One line: what waits in the spool.
    pub fn report_spool(&self) {
        if let Some(spool) = self.spool.as_ref().filter(|spool| spool.waiting() > 0) {
            let path = spool.path().display();
            say(format_args!("{} events wait in {path}", spool.waiting()));
        }
    }
}

#[cfg(test)]
mod tests;
