//! A helper: a second process of a program, which does what the main process may not after its start, such as starting
//! programs. It reads requests from a pipe and ends with it.
//!
//! systemd sends the signal that stops a unit to all of its processes at once. The main process ends by itself, and needs its
//! helper until then; so a helper ends at that signal only if its pipe is closed, because the main process has ended.

use std::{
    io::{self, BufRead, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

use crate::{Error, failed};

/// The signals of a helper.
pub struct HelperSignals {
    closed: Arc<AtomicBool>,
}

impl HelperSignals {
    /// Registers the handlers, and notifies the main process on standard output: call it first.
    pub fn register() -> Result<HelperSignals, Error> {
        let closed = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&closed))
                .map_err(|error| Error::io("register signals", error))?;
        }
        let mut out = io::stdout().lock();
        let noted = writeln!(out).and_then(|()| out.flush());
        noted.map_err(|error| Error::write("the main process", error))?;
        Ok(HelperSignals { closed })
    }

    /// The pipe is closed: what the helper still does may be interrupted.
    pub fn pipe_is_closed(&self) {
        self.closed.store(true, Relaxed);
    }
}

/// Waits until a helper with this standard output has registered its signals. Call it before [`crate::Signals::register`]:
/// until then, a signal ends both.
pub fn wait_for_helper(output: &mut impl BufRead) -> Result<(), Error> {
    match output.read_line(&mut String::new()) {
        Ok(1..) => Ok(()),
        Ok(0) => Err(failed("it ended at its start (see its message above)")),
        Err(error) => Err(Error::io("read its output", error)),
    }
}
