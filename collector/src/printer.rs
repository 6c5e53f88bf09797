//! Event lines on standard output, written by a separate thread: a process that reads them slowly or not at all
//! must not delay a live capture, and with it all readers of the ring.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel},
    thread,
    time::Duration,
};

use shm_layout::Event;

/// Batches that may be queued for printing; at most 1024 lines each.
const QUEUED: usize = 64;
/// How long a live capture waits at its end until the lines are written.
const END_TIMEOUT: Duration = Duration::from_secs(1);

pub struct Printer {
    batch: Vec<u8>,
    lines: u64,
    to: SyncSender<Vec<u8>>,
    /// The thread's result when it ends.
    end: Receiver<io::Result<()>>,
    /// Wait while the queue is full: a replay does, a live capture drops the lines.
    blocking: bool,
    unprinted: u64,
}

impl Printer {
    pub fn new(blocking: bool) -> io::Result<Printer> {
        // Not Stdout: it flushes at every newline.
        let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (to, batches) = sync_channel::<Vec<u8>>(QUEUED);
        let (ended, end) = channel();
        thread::spawn(move || {
            let result = batches.iter().try_for_each(|batch| output.write_all(&batch));
            let _ = ended.send(result); // fails if the process is ending
        });
        Ok(Printer { batch: Vec::new(), lines: 0, to, end, blocking, unprinted: 0 })
    }

    pub fn print(&mut self, event: &Event) {
        let _ = writeln!(self.batch, "{event}"); // writing to a Vec does not fail
        self.lines += 1;
    }

    /// Queues the lines printed since the last call; returns the error if earlier lines could not be written.
    pub fn deliver(&mut self) -> io::Result<()> {
        if self.lines > 0 {
            let batch = std::mem::take(&mut self.batch);
            let lines = std::mem::take(&mut self.lines);
            if self.blocking {
                let _ = self.to.send(batch); // fails if the thread has ended, which is checked below
            } else if let Err(TrySendError::Full(_)) = self.to.try_send(batch) {
                self.unprinted += lines;
            }
        }
        match self.end.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(()),
        }
    }

    /// Waits until all lines are written; returns how many were dropped because standard output was not read.
    pub fn finish(mut self) -> io::Result<u64> {
        self.deliver()?;
        drop(self.to);
        let result = if self.blocking {
            self.end.recv().unwrap_or(Ok(()))
        } else {
            self.end.recv_timeout(END_TIMEOUT).unwrap_or(Ok(()))
        };
        result.map(|()| self.unprinted)
    }
}
