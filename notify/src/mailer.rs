//! The thread that sends what is in the spool.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use lettre::Address;

use crate::{
    Courier, Mail, MailOptions,
    courier::{Undelivered, leave},
    spool::Spool,
};

/// What became of messages. The first failure is told, and the end of failing, not each attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Report {
    /// Nothing can be sent now; so many messages wait, and are tried again.
    Failing {
        /// Messages in the spool.
        waiting: usize,
        /// What the server or the network said.
        why: String,
    },
    /// It works again.
    Works,
    /// The server will never take this one for one receiver: it is kept under the name `*.refused`.
    Refused(String),
}

/// Bytes that the spool holds, at most.
const SPOOL: u64 = 256 << 20;
/// From one attempt to the next: from the first pause to the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// An answer of the server takes no longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// All files read and all options understood: ready to be started once privileges are given up.
pub struct Prepared {
    courier: Courier,
    spool: Spool,
}

impl Prepared {
    /// Understands the options, reads the files that they name, and opens the spool.
    pub fn new(options: &MailOptions, spool: &Path) -> Result<Prepared, String> {
        let courier = Courier::new(options, options.password()?.as_ref(), TIMEOUT)?;
        let spool = Spool::open(spool, SPOOL)
            .map_err(|error| format!("open mail spool {}: {error}", spool.display()))?;
        Ok(Prepared { courier, spool })
    }

    /// Begins to send. `report` is called from the thread that sends.
    pub fn start(self, report: impl Fn(Report) + Send + 'static) -> std::io::Result<Mailer> {
        let (courier, spool) = (Arc::new(self.courier), Arc::new(self.spool));
        let (wake, woken) = sync_channel(1);
        let (done, ended) = sync_channel(1);
        let sender = Sender {
            courier: Arc::clone(&courier),
            spool: Arc::clone(&spool),
            report: Box::new(report),
        };
        thread::Builder::new().name("mail".into()).spawn(move || {
            sender.run(&woken);
            let _ = done.send(());
        })?;
        Ok(Mailer { courier, spool, wake, ended: Mutex::new(ended) })
    }
}

/// Takes messages.
pub struct Mailer {
    courier: Arc<Courier>,
    spool: Arc<Spool>,
    wake: SyncSender<()>,
    ended: Mutex<Receiver<()>>, // a mutex, so that threads may share it
}

impl Mailer {
    /// Takes a message: once this returns, it is on disk and will be sent.
    pub fn send(&self, subject: &str, text: &str) -> Result<(), String> {
        let message = self.courier.write(&Mail { subject, text, id: None, comment: None })?;
        // One for each receiver: what one's server refuses, the others get.
        let mails: Vec<_> =
            self.courier.receivers().iter().map(|receiver| addressed(receiver, &message)).collect();
        self.spool.put(&mails).map_err(|error| format!("spool a mail: {error}"))?;
        match self.wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()), // full: it will look anyway
            Err(TrySendError::Disconnected(())) => {
                Err("the thread that sends mail has ended".into())
            }
        }
    }

    /// Sends what can be sent at once, and waits for that no longer than `patience`; the rest stays
    /// in the spool.
    pub fn finish(self, patience: Duration) {
        drop(self.wake);
        if let Ok(ended) = self.ended.into_inner() {
            let _ = ended.recv_timeout(patience);
        }
    }
}

struct Sender {
    courier: Arc<Courier>,
    spool: Arc<Spool>,
    report: Box<dyn Fn(Report) + Send>,
}

impl Sender {
    fn run(&self, woken: &Receiver<()>) {
        let [first, longest] = PAUSES;
        let mut pause = None; // while it fails
        loop {
            match (self.send_all(), pause) {
                (Ok(()), Some(_)) => {
                    pause = None;
                    (self.report)(Report::Works);
                }
                (Ok(()), None) => {}
                (Err(report), None) => {
                    pause = Some(first);
                    (self.report)(report);
                }
                (Err(_), Some(last)) => pause = Some((last * 2).min(longest)),
            }
            let next = match pause {
                // Each new message wakes it; a server that fails is not asked more often for that.
                Some(pause) => {
                    thread::sleep(pause.min(first));
                    woken.recv_timeout(pause.saturating_sub(first))
                }
                None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            if next == Err(RecvTimeoutError::Disconnected) {
                if pause.is_none() {
                    let _ = self.send_all();
                }
                return;
            }
        }
    }

    fn send_all(&self) -> Result<(), Report> {
        let failing =
            |waiting, why: &dyn ToString| Report::Failing { waiting, why: why.to_string() };
        let waiting = self.spool.waiting().map_err(|error| failing(0, &error))?;
        let (mut later, mut deferred, mut reason) = (HashSet::new(), 0, None);
        let mut connection = None;
        for (sent, path) in waiting.iter().enumerate() {
            let left = waiting.len() - sent;
            let mail = fs::read(path).map_err(|error| failing(left, &error))?;
            let (receivers, message) = self.receivers(&mail);
            if receivers.iter().any(|receiver| later.contains(receiver)) {
                deferred += 1;
                continue;
            }
            // One, but for what an earlier version left.
            let mut send = |to| self.courier.deliver(&mut connection, &[to], message).map(drop);
            let sent = receivers.iter().cloned().try_for_each(&mut send);
            match sent {
                Ok(()) => fs::remove_file(path).map_err(|error| failing(left, &error))?,
                Err(Undelivered::Refused(why)) => {
                    self.spool.set_aside(path).map_err(|error| failing(left, &error))?;
                    (self.report)(Report::Refused(why));
                }
                Err(Undelivered::Deferred(why)) => {
                    later.extend(receivers);
                    deferred += 1;
                    reason = Some(why);
                }
                Err(Undelivered::Server(why)) => return Err(failing(left + deferred, &why)),
            }
        }
        leave(connection);
        reason.map_or(Ok(()), |why| Err(failing(deferred, &why)))
    }

    /// To whom a mail of the spool goes, and its message.
    fn receivers<'a>(&self, mail: &'a [u8]) -> (Vec<Address>, &'a [u8]) {
        let addressed = mail.strip_prefix(RECEIVER).and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let receiver = str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
            Some((vec![receiver], &rest[end + 1..]))
        });
        addressed.unwrap_or_else(|| (self.courier.receivers().to_vec(), mail))
    }
}

/// What a mail of the spool begins with, before its message.
const RECEIVER: &[u8] = b"RCPT ";

fn addressed(receiver: &Address, message: &[u8]) -> Vec<u8> {
    [RECEIVER, receiver.to_string().as_bytes(), b"\n", message].concat()
}
