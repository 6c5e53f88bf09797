//! One mail to one server, now.

use std::{fmt, fs, time::Duration};

use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{Certificate, CertificateStore, SmtpConnection, Tls as SmtpTls, TlsParameters},
        commands,
        extension::{ClientId, MailBodyParameter as BodyKind, MailParameter},
    },
};
use serde::{Deserialize, Serialize};

use aw_service::Secret;

use crate::{MailOptions, Tls, message::message};

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

/// Why a message was not sent to one of its receivers. The first one gives the most hope.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Undelivered {
    /// The server takes nothing now, or nothing of us.
    Server(String),
    /// It does not take this one now; others, perhaps.
    Deferred(String),
    /// It will never take this one.
    Refused(String),
}

impl Undelivered {
    pub fn why(self) -> String {
        let (Undelivered::Server(why) | Undelivered::Deferred(why) | Undelivered::Refused(why)) =
            self;
        why
    }
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
    from: Mailbox,
    to: Vec<Mailbox>,
    receivers: Vec<Address>,
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
        if receivers.is_empty() {
            return Err("mail: nobody receives it (name somebody in to)".into());
        }
        let (host, port) = options.host_and_port()?;
        let tls = match options.protection()? {
            Tls::None => SmtpTls::None,
            Tls::Opportunistic => SmtpTls::Opportunistic(parameters(options, host, false)?),
            Tls::Starttls => SmtpTls::Required(parameters(options, host, true)?),
            Tls::Tls => SmtpTls::Wrapper(parameters(options, host, true)?),
        };
        let login = options.user.clone().zip(password);
        Ok(Courier {
            server: options.server.clone(),
            host: (host.into(), port),
            tls,
            hello: options.hello.clone().map_or_else(ClientId::default, ClientId::Domain),
            credentials: login.map(|(user, word)| Credentials::new(user, word.reveal().into())),
            limit,
            from,
            to,
            receivers,
        })
    }

    /// The mail as it is sent, with its date.
    pub(crate) fn write(&self, mail: &Mail) -> Result<Vec<u8>, String> {
        message(&self.from, &self.to, mail)
    }

    /// Once this returns without a failure, the server has taken it for one receiver at least: one whom it does not
    /// take keeps it from no other. Returns why it did not take the rest.
    pub fn send(&self, mail: &Mail) -> Result<Vec<String>, Failure> {
        let message = self.write(mail).map_err(Failure::Refused)?;
        let mut connection = None;
        let sent = self.deliver(&mut connection, &self.receivers, &message);
        leave(connection);
        sent.map_err(|undelivered| match undelivered {
            Undelivered::Refused(why) => Failure::Refused(why),
            Undelivered::Server(why) | Undelivered::Deferred(why) => Failure::Down(why),
        })
    }

    /// Who receives what is sent.
    pub(crate) fn receivers(&self) -> &[Address] {
        &self.receivers
    }

    /// Sends to those receivers whom the server takes, and tells why not of the others; a failure if it takes none.
    /// A connection is used again, and kept while all goes well.
    pub(crate) fn deliver(
        &self,
        kept: &mut Option<SmtpConnection>,
        receivers: &[Address],
        message: &[u8],
    ) -> Result<Vec<String>, Undelivered> {
        let begun = self.begin(kept.take(), receivers);
        let mut connection = begun.map_err(|error| Undelivered::Server(self.why(&error)))?;
        let mut failed = Vec::new();
        for receiver in receivers {
            let receive = commands::Rcpt::new(receiver.clone(), Vec::new());
            let to = format!(" (to {receiver})");
            match connection.command(receive).map_err(|error| self.judge(&error, &to)) {
                Ok(_) => {}
                Err(Undelivered::Server(why)) => return Err(Undelivered::Server(why)),
                Err(undelivered) => failed.push(undelivered),
            }
        }
        if failed.len() < receivers.len() {
            let content = Content(&String::from_utf8_lossy(message));
            match connection.command(commands::Data).and_then(|_| connection.command(content)) {
                Ok(_) => {
                    *kept = Some(connection);
                    return Ok(failed.into_iter().map(Undelivered::why).collect());
                }
                Err(error) => failed.push(self.judge(&error, "")),
            }
        }
        connection.abort();
        let most_hopeful = failed.into_iter().min();
        Err(most_hopeful.unwrap_or(Undelivered::Refused("nobody receives it".into())))
    }

    /// What an answer means that is not the one that was hoped for.
    fn judge(&self, error: &SmtpError, to: &str) -> Undelivered {
        let why = self.why(error) + to;
        match error.status() {
            None => Undelivered::Server(why),
            Some(_) if is_about_this_message(error) => Undelivered::Refused(why),
            Some(_) => Undelivered::Deferred(why),
        }
    }

    /// A connection on which the server waits for receivers. One that had its time, or took its number of
    /// mails, is replaced.
    fn begin(
        &self,
        kept: Option<SmtpConnection>,
        receivers: &[Address],
    ) -> Result<SmtpConnection, SmtpError> {
        let mut all = receivers.iter().chain([&self.from.email]);
        let international = all.any(|address| !address.to_string().is_ascii());
        let utf8 =
            || vec![MailParameter::SmtpUtfEight, MailParameter::Body(BodyKind::EightBitMime)];
        let parameters = if international { utf8() } else { Vec::new() };
        let begin = commands::Mail::new(Some(self.from.email.clone()), parameters);
        if let Some(mut connection) = kept {
            if connection.command(begin.clone()).is_ok() {
                return Ok(connection);
            }
            connection.abort();
        }
        let mut connection = self.connect()?;
        connection.command(begin).inspect_err(|_| connection.abort())?;
        Ok(connection)
    }

    fn connect(&self) -> Result<SmtpConnection, SmtpError> {
        let (host, port) = &self.host;
        let (server, limit) = ((host.as_str(), *port), Some(self.limit));
        let at_once = if let SmtpTls::Wrapper(tls) = &self.tls { Some(tls) } else { None };
        let mut connection = SmtpConnection::connect(server, limit, &self.hello, at_once, None)?;
        match &self.tls {
            SmtpTls::Required(tls) => connection.starttls(tls, &self.hello)?,
            SmtpTls::Opportunistic(tls) if connection.can_starttls() => {
                connection.starttls(tls, &self.hello)?;
            }
            _ => {}
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

/// Takes leave: it has all messages.
pub(crate) fn leave(connection: Option<SmtpConnection>) {
    connection.map(|mut connection| connection.quit());
}

/// A message as it follows DATA (RFC 5321, 4.5.2), with its end in the same write: as a write of its own, as lettre
/// has it, the end waits until the server's kernel acknowledges the rest, which it puts off for 40 ms.
struct Content<'a>(&'a str);

impl fmt::Display for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.split_inclusive('\n') {
            let dot = if line.starts_with('.') { "." } else { "" };
            write!(f, "{dot}{line}")?;
        }
        f.write_str(if self.0.ends_with('\n') { ".\r\n" } else { "\r\n.\r\n" })
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

fn parameters(
    options: &MailOptions,
    host: &str,
    is_checked: bool,
) -> Result<TlsParameters, String> {
    let mut builder =
        TlsParameters::builder(host.into()).dangerous_accept_invalid_certs(!is_checked);
    if let Some(path) = &options.ca_file {
        let pem = fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))?;
        let authority = Certificate::from_pem(&pem)
            .map_err(|error| format!("{}: {}", path.display(), told(&error)))?;
        builder = builder.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    builder.build_rustls().map_err(|error| format!("mail: {}", told(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_and_the_end() {
        for (text, sent) in [
            ("a\r\n.b\r\n..\r\n", "a\r\n..b\r\n...\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("", "\r\n.\r\n"),
            ("a\n.\nb", "a\n..\nb\r\n.\r\n"), // no server takes a lone line feed for the end
        ] {
            assert_eq!(Content(text).to_string(), sent);
        }
    }
}
