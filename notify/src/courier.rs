//! One mail to one server, now.

use std::{fmt, fs, time::Duration};

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

/// Sends mail: all options understood, all files read.
pub struct Courier {
    /// As it is configured.
    server: String,
    transport: SmtpTransport,
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
        let transport = transport(options, password, limit)?;
        Ok(Courier { server: options.server.clone(), transport, envelope, from, to })
    }

    /// The mail as it is sent, with its date.
    pub(crate) fn write(&self, mail: &Mail) -> Result<Vec<u8>, String> {
        message(&self.from, &self.to, mail)
    }

    /// Once this returns without a failure, the server has taken it.
    pub fn send(&self, mail: &Mail) -> Result<(), Failure> {
        self.send_written(&self.write(mail).map_err(Failure::Refused)?)
    }

    pub(crate) fn send_written(&self, message: &[u8]) -> Result<(), Failure> {
        // lettre ends the last line once more: no empty line behind the text.
        let message = message.strip_suffix(b"\r\n").unwrap_or(message);
        match self.transport.send_raw(&self.envelope, message) {
            Ok(_) => Ok(()),
            Err(error) => {
                let why = format!("mail server {}: {}", self.server, told(&error));
                let refused = is_about_this_message(&error);
                Err(if refused { Failure::Refused(why) } else { Failure::Down(why) })
            }
        }
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
    let text = texts.join(": ");
    // What the number means stands before it.
    text.split_once(" (os error").map_or(text.clone(), |(text, _)| text.to_owned())
}

fn transport(
    options: &MailOptions,
    password: Option<&Secret>,
    limit: Duration,
) -> Result<SmtpTransport, String> {
    let (host, port) = options.host_and_port()?;
    let tls = match options.protection()? {
        Tls::None => SmtpTls::None,
        Tls::Starttls => SmtpTls::Required(parameters(options, host)?),
        Tls::Tls => SmtpTls::Wrapper(parameters(options, host)?),
    };
    let mut builder =
        SmtpTransport::builder_dangerous(host).port(port).tls(tls).timeout(Some(limit));
    if let Some(name) = &options.hello {
        builder = builder.hello_name(ClientId::Domain(name.clone()));
    }
    if let (Some(user), Some(password)) = (&options.user, password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.reveal().into()));
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
