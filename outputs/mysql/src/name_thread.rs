//! The thread that stores names, beside the one that stores events: neither waits for the other. It starts when there is a ring of
//! names, so that a program without names has no thread, and no wake-up, more.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use aw_output::{Error, warn};

use crate::name_writer::NameWriter;

/// How often it looks for records.
const PAUSE: Duration = Duration::from_secs(1);

/// The thread, or what it will run.
pub struct NameThread {
    waiting: Option<Box<NameWriter>>,
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl NameThread {
    /// Nothing is read yet.
    pub fn new(writer: NameWriter) -> NameThread {
        NameThread { waiting: Some(Box::new(writer)), running: None }
    }

    /// Starts the thread once there is a ring of names. To be called about once a second.
    pub fn wake(&mut self) {
        let Some(writer) = self.waiting.take_if(|writer| writer.has_ring()) else { return };
        let (stop, stopped) = channel();
        match Builder::new().name("names".into()).spawn(move || run(*writer, &stopped)) {
            Ok(thread) => self.running = Some((stop, thread)),
            Err(error) => {
                warn(format_args!("start a thread: {error}: names of devices are not stored"));
            }
        }
    }

    /// Stores all that there is, and ends.
    pub fn finish(mut self) {
        self.wake();
        if let Some((stop, thread)) = self.running {
            drop(stop);
            let _ = thread.join(); // a panic of it is logged
        }
    }

    /// Tries what the thread does, without a row.
    pub fn check(self) -> Result<(), Error> {
        self.waiting.map_or(Ok(()), |writer| writer.check())
    }
}

fn run(mut writer: NameWriter, stopped: &Receiver<()>) {
    loop {
        let pause = if writer.work() { Duration::ZERO } else { PAUSE };
        if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return writer.finish();
        }
    }
}
