//! SIGTERM and SIGINT end a program; SIGHUP makes it re-open its files.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};

use crate::{Error, log};

/// The signals that arrived. It can be polled together with other descriptors.
pub struct Signals {
    stop: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
    /// Readable after a signal, until it is cleared.
    wake: UnixStream,
}

impl Signals {
    /// Registers the handlers: from now on signals no longer end the process.
    pub fn register() -> Result<Signals, Error> {
        let register = || -> io::Result<Signals> {
            let (stop, hangup) =
                (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
            let (wake, write) = UnixStream::pair()?;
            wake.set_nonblocking(true)?;
            for signal in [SIGINT, SIGTERM] {
                // A second signal ends the process at once, in case a write blocks.
                flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
                flag::register(signal, Arc::clone(&stop))?;
                pipe::register(signal, write.try_clone()?)?;
            }
            flag::register(SIGHUP, Arc::clone(&hangup))?;
            pipe::register(SIGHUP, write)?;
            Ok(Signals { stop, hangup, wake })
        };
        register().map_err(|error| Error::io("register signals", error))
    }

    /// Whether SIGINT or SIGTERM arrived.
    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Whether SIGHUP arrived since the last call.
    pub fn take_hangup(&self) -> bool {
        self.hangup.swap(false, Relaxed)
    }

    /// Clears the descriptor: call it after each poll, before the other methods.
    pub fn clear(&self) {
        let mut bytes = [0; 16];
        while matches!(io::Read::read(&mut &self.wake, &mut bytes), Ok(1..)) {}
    }

    /// From now on the process exits with status 1 if it still runs this long after a stop signal, and
    /// logs `why`.
    pub fn exit_after(&self, grace: Duration, why: &'static str) -> Result<(), Error> {
        let failure = |error| Error::io("watch for signals", error);
        let signals = self.try_clone().map_err(failure)?;
        let watch = move || {
            while !signals.stopped() {
                let mut wake = [PollFd::new(&signals, PollFlags::IN)];
                let _ = poll(&mut wake, None); // an error leads to the same check
                signals.clear();
            }
            thread::sleep(grace);
            log::error(why);
            log::finish();
            process::exit(1);
        };
        thread::Builder::new().name("end".into()).spawn(watch).map(drop).map_err(failure)
    }

    /// The same signals, for another thread.
    pub fn try_clone(&self) -> io::Result<Signals> {
        Ok(Signals {
            stop: Arc::clone(&self.stop),
            hangup: Arc::clone(&self.hangup),
            wake: self.wake.try_clone()?,
        })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
