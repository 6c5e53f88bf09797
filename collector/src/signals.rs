//! SIGINT and SIGTERM end the collector cleanly.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
    low_level::pipe,
};

use crate::{Stop, failed};

/// Whether a signal came: to ask, and to poll for together with other descriptors.
pub struct Signals {
    stop: Arc<AtomicBool>,
    /// Has something to read once a signal came; nothing ever reads it.
    wake: UnixStream,
}

impl Signals {
    pub fn register() -> Result<Signals, Stop> {
        let register = || -> io::Result<Signals> {
            let stop = Arc::new(AtomicBool::new(false));
            let (wake, write) = UnixStream::pair()?;
            for signal in [SIGINT, SIGTERM] {
                // A second one ends the process at once, should the first find it stuck in a write.
                flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
                flag::register(signal, Arc::clone(&stop))?;
                pipe::register(signal, write.try_clone()?)?;
            }
            Ok(Signals { stop, wake })
        };
        register().map_err(|error| failed(format_args!("register signals: {error}")))
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub fn try_clone(&self) -> io::Result<Signals> {
        Ok(Signals { stop: Arc::clone(&self.stop), wake: self.wake.try_clone()? })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
