//! Accounts, written down beside the sink: in the spool or a file now and then, and as a note at once.

use std::time::{Duration, Instant};

use aw_service::{Error, say, warn};
use shm_layout::RingName;

use super::Outlet;
use crate::{Account, Fault, Ledger, Sink, notes::Notes, spool::Spool, state::StateFile};

/// How often accounts are written down where no row is written with them; at the end in any case.
/// A disk is not worn out.
pub(crate) const SAVE: Duration = Duration::from_secs(5);

/// Where accounts are written down.
pub(crate) struct Stores {
    pub spool: Option<Spool>,
    pub file: Option<StateFile>,
    /// For `--health`, and to go on after a kill.
    pub notes: Option<Notes>,
    /// The sink keeps accounts with its rows: what is here is for times when it cannot be asked.
    pub own: bool,
    pub saved: Saved,
}

/// When accounts were last written down, and what has happened since.
pub(crate) struct Saved {
    at: Instant,
    /// Something was confirmed since.
    behind: bool,
    /// Without delay: nothing was written down yet, and notes alone are not believed.
    now: bool,
    /// It was said that it cannot be done.
    told: bool,
}

impl Default for Saved {
    fn default() -> Self {
        Saved { at: Instant::now(), behind: false, now: false, told: false }
    }
}

impl Stores {
    /// What was written down of a ring.
    pub(super) fn load(&mut self, ring: &RingName) -> Result<Option<Account>, Error> {
        let account = match (&mut self.spool, &mut self.file) {
            (Some(spool), _) => spool.load(ring),
            (None, Some(file)) => file.load(ring),
            (None, None) => Ok(None),
        };
        account.map_err(Fault::into_error)
    }

    /// The same, or what was noted since. Whoever removes what was written down wants to begin anew.
    pub(super) fn load_noted(&mut self, ring: &RingName) -> Result<Option<Account>, Error> {
        let Some(written) = self.load(ring)? else { return Ok(None) };
        let noted = self.notes.as_ref().and_then(|notes| notes.get(ring));
        self.saved.behind |= noted.is_some_and(|noted| noted != written);
        Ok(noted.or(Some(written)))
    }

    /// The sink has confirmed what is in this account; `first`: there was none.
    pub(super) fn confirmed(&mut self, ring: &RingName, account: &Account, first: bool) {
        self.saved.behind = true;
        if let Some(notes) = &mut self.notes {
            notes.put(ring, account);
            self.saved.now |= first && !self.own;
        }
    }

    fn write(&mut self, accounts: &[(RingName, Account)]) -> Result<(), Error> {
        if let Some(spool) = &mut self.spool {
            spool.delivered(0, accounts)?;
        }
        if let Some(file) = &mut self.file {
            for (ring, account) in accounts {
                file.store(ring, account).map_err(Fault::into_error)?;
            }
            file.save()?;
        }
        Ok(())
    }
}

impl<S: Sink> Outlet<'_, S> {
    /// All accounts that have begun.
    pub(super) fn accounts(&self) -> Vec<(RingName, Account)> {
        let begun = self.books.iter().filter_map(|book| Some((book.ring.clone(), book.account?)));
        begun.collect()
    }

    pub(super) fn save_if_due(&mut self) -> Result<(), Error> {
        let Saved { at, now, .. } = self.stores.saved;
        if now || at.elapsed() >= SAVE { self.save() } else { Ok(()) }
    }

    /// Writes the accounts down where the sink does not. If it asks to wait, or there is no room, they
    /// stay behind, never ahead.
    pub(super) fn save(&mut self) -> Result<(), Error> {
        match self.write_down() {
            Ok(()) | Err(NotSaved::Wait(_)) => Ok(()),
            Err(NotSaved::Sink(error)) => Err(error),
            Err(NotSaved::Store(error)) => {
                if let (Error::Failed(why), false) = (error, self.stores.saved.told) {
                    warn(format_args!("{why}: going on without"));
                    self.stores.saved.told = true;
                }
                Ok(())
            }
        }
    }

    /// The end, once all is finished: the sink is told, and is to have no excuse any more.
    pub fn close(&mut self) -> Result<(), Error> {
        let closed = self.sink.close().map_err(NotSaved::from);
        match closed.and_then(|()| self.write_down()) {
            Ok(()) => Ok(()),
            // It comes again, from the spool's account on.
            Err(NotSaved::Wait(why)) if self.stores.spool.is_some() => {
                warn(why);
                Ok(())
            }
            Err(NotSaved::Store(_)) if self.stores.own => self.save(), // says so, if it was not said
            Err(NotSaved::Wait(why)) => Err(Error::Failed(why)),
            Err(NotSaved::Sink(error) | NotSaved::Store(error)) => Err(error),
        }
    }

    /// At an end that is a failure already: what was confirmed stays so.
    pub fn save_anyway(&mut self) {
        match self.write_down() {
            Err(NotSaved::Wait(why)) => warn(why),
            Err(NotSaved::Sink(Error::Failed(why)) | NotSaved::Store(Error::Failed(why))) => {
                warn(why);
            }
            _ => {}
        }
    }

    fn write_down(&mut self) -> Result<(), NotSaved> {
        if !self.stores.saved.behind {
            return Ok(());
        }
        (self.stores.saved.at, self.stores.saved.now) = (Instant::now(), false);
        if !self.stores.own {
            self.sink.sync()?;
        }
        let accounts = self.accounts();
        self.stores.write(&accounts).map_err(NotSaved::Store)?;
        self.stores.saved.behind = false;
        if std::mem::take(&mut self.stores.saved.told) {
            say("the state directory can be written again");
        }
        Ok(())
    }
}

/// Why accounts could not be written down.
enum NotSaved {
    /// The sink asks for time.
    Wait(String),
    /// The sink failed.
    Sink(Error),
    /// The state directory cannot be written.
    Store(Error),
}

impl From<Fault> for NotSaved {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Down(why) => NotSaved::Wait(why),
            Fault::Fatal(error) => NotSaved::Sink(error),
        }
    }
}
