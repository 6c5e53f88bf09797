//! One mail to one server, now.

use std::{fmt, fs, time::Duration};

use lettre::{
    Address,
    address::Envelope,
    message::Mailbox,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{Certificate, CertificateStore, SmtpConnection, Tls as SmtpTls, TlsParameters},
        commands,
        extension::ClientId,
    },
};
use serde::{Deserialize, Serialize};

use crate::{MailOptions, Secret, Tls, message::message};

/// What a mail says.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// One line.
    pub subject: &'a str,
    /// Lines that end with `\n`.
    pub text: &'a str,
    /// What its Message-ID begins with, so that it is the same with every attempt; without, one at random.
    pub id: Option<&'a str>,
    /// A comment behind the sender's address.
    pub comment: Option<&'a str>,
}

/// Why a message was not sent.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum Failure {
    /// Nothing can be sent now; later, perhaps.
    Down(String),
    /// This one will never be taken; another may be.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Down(why) | Failure::Refused(why)) = self;
        f.write_str(why)
    }
}

/// Why a message was not sent to one of its receivers.
pub(crate) enum Undelivered {
    /// The server takes nothing now, or nothing of us.
    Server(String),
    /// It does not take this one now; others, perhaps.
    Deferred(String),
    /// It will never take this one.
    Refused(String),
}

/// Sends mail: all options understood, all files read.
pub struct Courier {
    /// As it is configured.
    server: String,
    host: (String, u16),
    tls: SmtpTls,
    hello: ClientId,
    credentials: Option<Credentials>,
    limit: Duration,
    envelope: Envelope,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Courier {
    /// Reads the authority's file; the password is read already. Each answer of the server may take `limit`.
    pub fn new(
        options: &MailOptions,
        password: Option<&Secret>,
        limit: Duration,
    ) -> Result<Courier, String> {
        let mailbox = |text: &str| {
            text.parse::<Mailbox>().map_err(|error| format!("mail address {text:?}: {error}"))
        };
        let from = mailbox(&options.from)?;
        let to = options.to.iter().map(|text| mailbox(text)).collect::<Result<Vec<_>, _>>()?;
        let receivers: Vec<Address> = to.iter().map(|mailbox| mailbox.email.clone()).collect();
        let envelope = Envelope::new(Some(from.email.clone()), receivers)
            .map_err(|_| "mail: nobody receives it (name somebody in to)")?;
        let (host, port) = options.host_and_port()?;
        let tls = match options.protection()? {
            Tls::None => SmtpTls::None,
            Tls::Starttls => SmtpTls::Required(parameters(options, host)?),
            Tls::Tls => SmtpTls::Wrapper(parameters(options, host)?),
        };
        let login = options.user.clone().zip(password);
        Ok(Courier {
            server: options.server.clone(),
            host: (host.into(), port),
            tls,
            hello: options.hello.clone().map_or_else(ClientId::default, ClientId::Domain),
            credentials: login.map(|(user, word)| Credentials::new(user, word.reveal().into())),
            limit,
            envelope,
            from,
            to,
        })
    }

    /// The mail as it is sent, with its date.
    pub(crate) fn write(&self, mail: &Mail) -> Result<Vec<u8>, String> {
        message(&self.from, &self.to, mail)
    }

    /// Once this returns without a failure, the server has taken it.
    pub fn send(&self, mail: &Mail) -> Result<(), Failure> {
        let message = self.write(mail).map_err(Failure::Refused)?;
        self.deliver(&self.envelope, &message).map_err(|error| {
            let refused = is_about_this_message(&error);
            if refused {
                Failure::Refused(self.why(&error))
            } else {
                Failure::Down(self.why(&error))
            }
        })
    }

    /// Who receives what is sent.
    pub(crate) fn receivers(&self) -> &[Address] {
        self.envelope.to()
    }

    /// Sends to one receiver: that the server refuses another's mail is not this one's fault.
    pub(crate) fn send_to(&self, receiver: &Address, message: &[u8]) -> Result<(), Undelivered> {
        let server = |error| Undelivered::Server(self.why(&error));
        let sender = self.envelope.from();
        let one = Envelope::new(sender.cloned(), vec![receiver.clone()]);
        let one = one.map_err(|error| Undelivered::Refused(error.to_string()))?;
        let Err(error) = self.deliver(&one, message) else { return Ok(()) };
        if error.status().is_none() {
            return Err(server(error));
        }
        // Whether it refused the message, or us: an error does not tell after which command it came.
        let mut connection = self.connect().map_err(server)?;
        connection.command(commands::Mail::new(sender.cloned(), Vec::new())).map_err(server)?;
        let _ = connection.quit();
        let (why, refused) = (self.why(&error), is_about_this_message(&error));
        Err(if refused { Undelivered::Refused(why) } else { Undelivered::Deferred(why) })
    }

    fn deliver(&self, envelope: &Envelope, message: &[u8]) -> Result<(), SmtpError> {
        // lettre ends the last line once more: no empty line behind the text.
        let message = message.strip_suffix(b"\r\n").unwrap_or(message);
        let mut connection = self.connect()?;
        connection.send(envelope, message)?;
        let _ = connection.quit(); // it has the message
        Ok(())
    }

    fn connect(&self) -> Result<SmtpConnection, SmtpError> {
        let (host, port) = &self.host;
        let (server, limit) = ((host.as_str(), *port), Some(self.limit));
        let at_once = if let SmtpTls::Wrapper(tls) = &self.tls { Some(tls) } else { None };
        let mut connection = SmtpConnection::connect(server, limit, &self.hello, at_once, None)?;
        if let SmtpTls::Required(tls) = &self.tls {
            connection.starttls(tls, &self.hello)?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials)?;
        }
        Ok(connection)
    }

    fn why(&self, error: &SmtpError) -> String {
        format!("mail server {}: {}", self.server, told(error))
    }
}

/// Whether the server will never take the message. That it does not let us in (RFC 4954, 6) is not
/// the message's fault.
fn is_about_this_message(error: &SmtpError) -> bool {
    let code = error.status().map(|code| code.to_string());
    error.is_permanent() && !code.is_some_and(|code| code.starts_with("53"))
}

/// The error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = causes.map(|cause| cause.to_string()).collect();
    texts.dedup_by(|after, before| before.contains(&**after));
    let text = texts.join(": ");
    // What the number means stands before it.
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
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
