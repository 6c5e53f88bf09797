//! Event lines on standard output, from a thread of its own: whoever reads them slowly, or not at
//! all, must not hold up a live capture and all other readers of the ring.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel},
    thread,
    time::Duration,
};

use shm_layout::Event;

/// Batches that may wait to be printed; at most 1024 lines each.
const WAITING: usize = 64;
/// How long the end of a live capture waits for lines to be taken.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Printer {
    batch: Vec<u8>,
    lines: u64,
    to: SyncSender<Vec<u8>>,
    /// The thread's end: how it went.
    end: Receiver<io::Result<()>>,
    /// A replay waits for whoever reads; a live capture does not.
    patient: bool,
    unprinted: u64,
}

impl Printer {
    pub fn new(patient: bool) -> io::Result<Printer> {
        // Not Stdout itself: it would flush at every newline.
        let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (to, batches) = sync_channel::<Vec<u8>>(WAITING);
        let (ended, end) = channel();
        thread::spawn(move || {
            let result = batches.iter().try_for_each(|batch| output.write_all(&batch));
            let _ = ended.send(result); // nobody waits any more: the process ends
        });
        Ok(Printer { batch: Vec::new(), lines: 0, to, end, patient, unprinted: 0 })
    }

    pub fn print(&mut self, event: &Event) {
        let _ = writeln!(self.batch, "{event}"); // memory takes everything
        self.lines += 1;
    }

    /// Hands over what was printed since; tells what became of earlier lines.
    pub fn deliver(&mut self) -> io::Result<()> {
        if self.lines > 0 {
            let batch = std::mem::take(&mut self.batch);
            let lines = std::mem::take(&mut self.lines);
            if self.patient {
                let _ = self.to.send(batch); // refused: the thread has ended, which shows below
            } else if let Err(TrySendError::Full(_)) = self.to.try_send(batch) {
                self.unprinted += lines;
            }
        }
        match self.end.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(()),
        }
    }

    /// Waits until all is printed; tells how many lines were not, for want of a reader.
    pub fn finish(mut self) -> io::Result<u64> {
        self.deliver()?;
        drop(self.to);
        let result = if self.patient {
            self.end.recv().unwrap_or(Ok(()))
        } else {
            self.end.recv_timeout(PATIENCE).unwrap_or(Ok(()))
        };
        result.map(|()| self.unprinted)
    }
}
