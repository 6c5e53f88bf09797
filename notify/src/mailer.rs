//! The mailer: a spool, and the thread that sends from it.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use aw_service::{Backoff, Condition, Error, FileKind, cause, read_file, warn};
use lettre::Address;
use serde::{Deserialize, Serialize};

use crate::{
    Mail, MailOptions, SmtpClient,
    smtp::{Undelivered, address_of},
    spool::Spool,
    token_file::TokenFile,
};

/// Size of the spool in bytes, at most.
const MAX_SPOOL: u64 = 256 << 20;
/// The shortest pause between two attempts.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// For the silence of the server; four times as long for a mail.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Mails that wait without the spool, at most.
const MAX_UNSPOOLED: usize = 100;

/// A mailer whose files are read: ready to be started after privileges are dropped.
pub struct PreparedMailer {
    client: SmtpClient,
    spool: Spool,
}

impl PreparedMailer {
    /// Checks the options, reads the files that they name, and opens the spool.
    pub fn new(options: &MailOptions, spool: &Path) -> Result<PreparedMailer, String> {
        let client = PreparedMailer::client(options, spool)?;
        let spool = Spool::open(spool, MAX_SPOOL)
            .map_err(|error| format!("open mail spool {}: {}", spool.display(), cause(&error)))?;
        Ok(PreparedMailer { client, spool })
    }

    /// The client that it sends with. Creates nothing.
    pub fn client(options: &MailOptions, spool: &Path) -> Result<SmtpClient, String> {
        let token_file = TokenFile { path: spool.join("refresh-token"), earlier: None };
        SmtpClient::new(options, &options.secrets()?, token_file, TIMEOUT)
    }

    /// Starts the thread, which logs the faults of mail.
    pub fn start(self) -> Result<Mailer, Error> {
        let (client, spool) = (Arc::new(self.client), Arc::new(self.spool));
        let (wake, woken) = sync_channel(1);
        let (done, ended) = sync_channel(1);
        let faults = Arc::<Mutex<MailFaults>>::default();
        let unspooled = Arc::<Mutex<VecDeque<_>>>::default();
        let sender = Sender {
            client: Arc::clone(&client),
            spool: Arc::clone(&spool),
            faults: Arc::clone(&faults),
            unspooled: Arc::clone(&unspooled),
            sent: Mutex::default(),
        };
        let run = move || {
            sender.run(&woken);
            let _ = done.send(());
        };
        let started = thread::Builder::new().name("mail".into()).spawn(run);
        started.map_err(|error| Error::io("start the thread for mail", error))?;
        Ok(Mailer { client, spool, faults, unspooled, wake, ended: Mutex::new(ended) })
    }
}

/// What is wrong with mail: it cannot be mailed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MailFaults {
    /// Why nothing can be sent, with the number of mails that wait; empty if they can be.
    pub waiting: String,
    /// The receivers whose last mail the server refused for good, with its answer.
    pub refused: BTreeMap<String, String>,
}

impl MailFaults {
    /// One text for each, with its remedy.
    pub fn texts(&self) -> Vec<String> {
        let waiting = (!self.waiting.is_empty()).then(|| self.waiting.clone());
        let refused = self.refused.iter().map(|(to, why)| {
            format!("the mail server refused the last mail to {to}: {why} (correct the address, or have the server accept it)")
        });
        waiting.into_iter().chain(refused).collect()
    }
}

/// Accepts messages and sends them in the background.
pub struct Mailer {
    client: Arc<SmtpClient>,
    spool: Arc<Spool>,
    faults: Arc<Mutex<MailFaults>>,
    unspooled: Arc<Mutex<VecDeque<Vec<u8>>>>,
    wake: SyncSender<()>,
    ended: Mutex<Receiver<()>>, // so that threads can share the mailer
}

impl Mailer {
    /// Accepts a message: after this, it is on disk and will be sent.
    pub fn send(&self, subject: &str, text: &str) -> Result<(), String> {
        self.send_to(None, subject, text)
    }

    /// The same to these addresses instead of the recipients of the options. Without an address nothing is sent.
    pub fn send_to(&self, to: Option<&[String]>, subject: &str, text: &str) -> Result<(), String> {
        let mails = self.files(to, subject, text)?;
        if mails.is_empty() {
            return Ok(());
        }
        let failure = |error| format!("write a mail to the spool: {}", cause(&error));
        self.spool.put(&mails).map_err(failure)?;
        self.wake()
    }

    /// The same without the spool, where it cannot be written: what is not sent when the process ends is lost. Accepts a few
    /// mails only, all or none of the recipients.
    pub fn send_unspooled(
        &self,
        to: Option<&[String]>,
        subject: &str,
        text: &str,
    ) -> Result<(), String> {
        let mails = self.files(to, subject, text)?;
        let waiting = &mut *lock(&self.unspooled);
        if waiting.len() + mails.len() > MAX_UNSPOOLED {
            return Err(format!("{} mails wait without the spool", waiting.len()));
        }
        waiting.extend(mails);
        self.wake()
    }

    /// A file for each recipient, so that a refused recipient does not delay the others.
    fn files(
        &self,
        to: Option<&[String]>,
        subject: &str,
        text: &str,
    ) -> Result<Vec<Vec<u8>>, String> {
        let mail = Mail { subject, text, id: None, comment: None };
        let (message, recipients) = match to {
            Some([]) => return Ok(Vec::new()),
            Some(to) => self.client.format_to(to, &mail)?,
            None => (self.client.format(&mail)?, self.client.recipients().to_vec()),
        };
        Ok(recipients.iter().map(|recipient| spool_file(recipient, &message)).collect())
    }

    fn wake(&self) -> Result<(), String> {
        match self.wake.try_send(()) {
            Ok(()) | Err(TrySendError::Full(())) => Ok(()), // full: it is about to look
            Err(TrySendError::Disconnected(())) => {
                Err("the thread that sends mail has ended".into())
            }
        }
    }

    /// What is wrong now.
    pub fn faults(&self) -> MailFaults {
        lock(&self.faults).clone()
    }

    /// The receivers whose mail an earlier process found refused.
    pub fn restore(&self, refused: BTreeMap<String, String>) {
        lock(&self.faults).refused.extend(refused);
    }

    /// There are no receivers but these and those of the options: what was refused of others is forgotten.
    pub fn set_receivers<'a>(&self, others: impl Iterator<Item = &'a String>) {
        let mut known: HashSet<_> =
            self.client.recipients().iter().map(Address::to_string).collect();
        known.extend(others.filter_map(|other| Some(address_of(other)?.to_string())));
        lock(&self.faults).refused.retain(|to, _| known.contains(to));
    }

    /// Sends what can be sent within `timeout`; the rest stays in the spool.
    pub fn finish(self, timeout: Duration) {
        drop(self.wake);
        if let Ok(ended) = self.ended.into_inner() {
            let _ = ended.recv_timeout(timeout);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Sender {
    client: Arc<SmtpClient>,
    spool: Arc<Spool>,
    faults: Arc<Mutex<MailFaults>>,
    /// Mails that no file has.
    unspooled: Arc<Mutex<VecDeque<Vec<u8>>>>,
    /// Files that are sent and cannot be removed.
    sent: Mutex<HashSet<PathBuf>>,
}

/// Mail cannot be sent now: the number of messages in the spool, which are tried again, and the cause.
type Failing = (usize, String);

impl Sender {
    fn run(&self, woken: &Receiver<()>) {
        let (mut backoff, mut fault) = (Backoff::default(), Condition::default());
        loop {
            let next = match self.send_all() {
                Ok(()) => {
                    backoff.reset();
                    lock(&self.faults).waiting.clear();
                    fault.ends("mail can be sent again");
                    woken.recv().map_err(|_| RecvTimeoutError::Disconnected)
                }
                Err((waiting, why)) => {
                    let why = format!("mail cannot be sent, {waiting} in the queue: {why}");
                    lock(&self.faults).waiting.clone_from(&why);
                    fault.begins(why);
                    // A new message wakes the thread, but does not make it ask a failing server more often than this.
                    let pause = backoff.pause();
                    thread::sleep(pause.min(MIN_PAUSE));
                    woken.recv_timeout(pause.saturating_sub(MIN_PAUSE))
                }
            };
            if next == Err(RecvTimeoutError::Disconnected) {
                if !backoff.is_failing() {
                    let _ = self.send_all();
                }
                return;
            }
        }
    }

    fn send_all(&self) -> Result<(), Failing> {
        self.send_unspooled()?;
        let mut waiting = self.spool.waiting().map_err(|error| (0, cause(&error)))?;
        waiting.retain(|path| !lock(&self.sent).contains(path) || fs::remove_file(path).is_err());
        lock(&self.sent).retain(|path| waiting.contains(path));
        waiting.retain(|path| !lock(&self.sent).contains(path));
        let (mut later, mut deferred, mut reason) = (HashSet::new(), 0, None);
        let mut connection = None;
        for (sent, path) in waiting.iter().enumerate() {
            let left = waiting.len() - sent;
            let mail = read_file(path, FileKind::State, MAX_SPOOL);
            let mail = mail.map_err(|error| (left, cause(&error)))?;
            let (recipients, message) = self.recipients(&mail);
            if recipients.iter().any(|recipient| later.contains(recipient)) {
                deferred += 1;
                continue;
            }
            // One recipient; files of earlier releases have all.
            let mut send = |to| self.client.deliver(&mut connection, &[to], message).map(drop);
            let sent = recipients.iter().cloned().try_for_each(&mut send);
            match sent {
                Ok(()) => {
                    if let Err(error) = fs::remove_file(path) {
                        lock(&self.sent).insert(path.clone()); // not a second time
                        warn(format_args!("remove {}: {}", path.display(), cause(&error)));
                    }
                    let refused = &mut lock(&self.faults).refused;
                    recipients.iter().for_each(|to| drop(refused.remove(&to.to_string())));
                }
                Err(Undelivered::Refused(why)) => {
                    self.spool.set_aside(path).map_err(|error| (left, cause(&error)))?;
                    warn(format_args!(
                        "the mail server rejected a mail, which is not sent again: {why} (correct the address, or have the server accept it; the mail is in {})",
                        path.with_extension("refused").display()
                    ));
                    let refused = &mut lock(&self.faults).refused;
                    refused.extend(recipients.iter().map(|to| (to.to_string(), why.clone())));
                }
                Err(Undelivered::Deferred(why)) => {
                    later.extend(recipients);
                    deferred += 1;
                    reason = Some(why);
                }
                Err(Undelivered::Server(why)) => return Err((left + deferred, why)),
            }
        }
        if let Some(connection) = connection {
            connection.quit();
        }
        reason.map_or(Ok(()), |why| Err((deferred, why)))
    }

    /// Mails that could not be written to the spool.
    fn send_unspooled(&self) -> Result<(), Failing> {
        let (mut connection, mut reason) = (None, None);
        let count = lock(&self.unspooled).len();
        for _ in 0..count {
            let Some(mail) = lock(&self.unspooled).pop_front() else { break };
            let (recipients, message) = self.recipients(&mail);
            let mut send = |to| self.client.deliver(&mut connection, &[to], message).map(drop);
            match recipients.into_iter().try_for_each(&mut send) {
                Ok(()) => {}
                Err(Undelivered::Refused(why)) => {
                    warn(format_args!(
                        "the mail server rejected a mail, which is not sent again: {why} (correct the address, or have the server accept it)"
                    ));
                }
                Err(Undelivered::Deferred(why)) => {
                    lock(&self.unspooled).push_back(mail);
                    reason = Some(why);
                }
                Err(Undelivered::Server(why)) => {
                    let unspooled = &mut *lock(&self.unspooled);
                    unspooled.push_front(mail);
                    return Err((unspooled.len(), why));
                }
            }
        }
        if let Some(connection) = connection {
            connection.quit();
        }
        let waiting = lock(&self.unspooled).len();
        reason.map_or(Ok(()), |why| Err((waiting, why)))
    }

    /// The recipients and the message of a file in the spool.
    fn recipients<'a>(&self, mail: &'a [u8]) -> (Vec<Address>, &'a [u8]) {
        let addressed = mail.strip_prefix(RECIPIENT).and_then(|rest| {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let recipient = str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
            Some((vec![recipient], &rest[end + 1..]))
        });
        addressed.unwrap_or_else(|| (self.client.recipients().to_vec(), mail))
    }
}

/// The first word of a file in the spool; the address, a line end and the message follow.
const RECIPIENT: &[u8] = b"RCPT ";

fn spool_file(recipient: &Address, message: &[u8]) -> Vec<u8> {
    [RECIPIENT, recipient.to_string().as_bytes(), b"\n", message].concat()
}
