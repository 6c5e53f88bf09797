//! The thread that sends what is in the spool.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use lettre::{
    Address, SmtpTransport, Transport,
    address::Envelope,
    message::Mailbox,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls as SmtpTls, TlsParameters},
        extension::ClientId,
    },
};

use crate::{MailOptions, Tls, message::message, spool::Spool};

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
    /// The server will never take this one: it is kept under the name `*.refused`.
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
    transport: SmtpTransport,
    envelope: Envelope,
    from: Mailbox,
    to: Vec<Mailbox>,
    spool: Spool,
}

impl Prepared {
    /// Understands the options, reads the files that they name, and opens the spool.
    pub fn new(options: &MailOptions, spool: &Path) -> Result<Prepared, String> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>().map_err(|error| format!("mail address {text:?}: {error}"))
        };
        let from = mailbox(&options.from)?;
        let to = options.to.iter().map(|text| mailbox(text)).collect::<Result<Vec<_>, _>>()?;
        let receivers: Vec<Address> = to.iter().map(|mailbox| mailbox.email.clone()).collect();
        let envelope = Envelope::new(Some(from.email.clone()), receivers)
            .map_err(|_| "mail: nobody receives it (name somebody in to)")?;
        let spool = Spool::open(spool, SPOOL)
            .map_err(|error| format!("open mail spool {}: {error}", spool.display()))?;
        Ok(Prepared { transport: transport(options)?, envelope, from, to, spool })
    }

    /// Begins to send. `report` is called from the thread that sends.
    pub fn start(self, report: impl Fn(Report) + Send + 'static) -> std::io::Result<Mailer> {
        let Prepared { transport, envelope, from, to, spool } = self;
        let spool = Arc::new(spool);
        let (wake, woken) = sync_channel(1);
        let (done, ended) = sync_channel(1);
        let sender =
            Sender { transport, envelope, spool: Arc::clone(&spool), report: Box::new(report) };
        thread::Builder::new().name("mail".into()).spawn(move || {
            sender.run(&woken);
            let _ = done.send(());
        })?;
        Ok(Mailer { from, to, spool, wake, ended: Mutex::new(ended) })
    }
}

/// Takes messages.
pub struct Mailer {
    from: Mailbox,
    to: Vec<Mailbox>,
    spool: Arc<Spool>,
    wake: SyncSender<()>,
    ended: Mutex<Receiver<()>>, // a mutex, so that threads may share it
}

impl Mailer {
    /// Takes a message: once this returns, it is on disk and will be sent.
    pub fn send(&self, subject: &str, text: &str) -> Result<(), String> {
        let message = message(&self.from, &self.to, subject, text)?;
        self.spool.put(&message).map_err(|error| format!("spool a mail: {error}"))?;
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
    transport: SmtpTransport,
    envelope: Envelope,
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
        for (sent, path) in waiting.iter().enumerate() {
            let left = waiting.len() - sent;
            let message = fs::read(path).map_err(|error| failing(left, &error))?;
            match self.transport.send_raw(&self.envelope, &message) {
                Ok(_) => fs::remove_file(path).map_err(|error| failing(left, &error))?,
                Err(error) if is_about_this_message(&error) => {
                    self.spool.set_aside(path).map_err(|error| failing(left, &error))?;
                    (self.report)(Report::Refused(told(&error)));
                }
                Err(error) => return Err(failing(left, &told(&error))),
            }
        }
        Ok(())
    }
}

/// Whether the server will never take the message. That it does not let us in (RFC 4954, 6) is not
/// the message's fault.
fn is_about_this_message(error: &lettre::transport::smtp::Error) -> bool {
    let code = error.status().map(|code| code.to_string());
    error.is_permanent() && !code.is_some_and(|code| code.starts_with("53"))
}

/// The error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(|cause| cause.to_string()).collect();
    texts.dedup_by(|after, before| before.contains(&**after));
    texts.join(": ")
}

fn transport(options: &MailOptions) -> Result<SmtpTransport, String> {
    let (host, port) = options.host_and_port()?;
    let tls = match options.protection()? {
        Tls::None => SmtpTls::None,
        Tls::Starttls => SmtpTls::Required(parameters(options, host)?),
        Tls::Tls => SmtpTls::Wrapper(parameters(options, host)?),
    };
    let mut builder =
        SmtpTransport::builder_dangerous(host).port(port).tls(tls).timeout(Some(TIMEOUT));
    if let Some(name) = &options.hello {
        builder = builder.hello_name(ClientId::Domain(name.clone()));
    }
    if let Some(user) = &options.user {
        let path = options.password_file.as_ref().ok_or("mail: user without password_file")?;
        let text = fs::read_to_string(path)
            .map_err(|error| format!("read {}: {error}", path.display()))?;
        let password = text.lines().next().unwrap_or_default();
        builder = builder.credentials(Credentials::new(user.clone(), password.into()));
    }
    Ok(builder.build())
}

fn parameters(options: &MailOptions, host: &str) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(host.into());
    if let Some(path) = &options.ca_file {
        let pem = fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let authority = Certificate::from_pem(&pem)
            .map_err(|error| format!("{}: {}", path.display(), told(&error)))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(|error| format!("mail: {}", told(&error)))
}
