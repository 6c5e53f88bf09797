//! SIGTERM and SIGINT end an output, SIGHUP lets it open its files anew.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

pub(crate) struct Signals {
    stop: Arc<AtomicBool>,
    reopen: Arc<AtomicBool>,
}

impl Signals {
    pub fn register() -> io::Result<Signals> {
        let signals = Signals { stop: Arc::default(), reopen: Arc::default() };
        for signal in [SIGTERM, SIGINT] {
            // A second one ends the process at once, should the first find it stuck in a write.
            flag::register_conditional_shutdown(signal, 1, Arc::clone(&signals.stop))?;
            flag::register(signal, Arc::clone(&signals.stop))?;
        }
        flag::register(SIGHUP, Arc::clone(&signals.reopen))?;
        Ok(signals)
    }

    pub fn stop(&self) -> bool {
        self.stop.load(Relaxed)
    }

    pub fn take_reopen(&self) -> bool {
        self.reopen.swap(false, Relaxed)
    }
}
