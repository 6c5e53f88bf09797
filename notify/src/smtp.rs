//! An SMTP client: sends a mail to a server now, without a spool.

use std::{fmt, io::ErrorKind, sync::Arc, time::Duration};

use aw_peer::{Budget, TlsCheck, client_config, guarded};
use aw_service::HostPort;
use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        commands,
        extension::{MailBodyParameter as BodyKind, MailParameter},
    },
};
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::{
    MailOptions, MailSecrets, Tls,
    connection::{Connection, SmtpError},
    hello::client_id,
    login::{Login, PasswordLogin},
    message::message,
    token::TokenSource,
    token_file::TokenFile,
};

/// Bytes that a server may send for a mail, with the negotiation of TLS.
const MAX_ANSWERS: u64 = 256 * 1024;

/// The content of a mail.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// One line.
    pub subject: &'a str,
    /// Lines that end with `\n`.
    pub text: &'a str,
    /// The first part of its Message-ID, so that it is the same at each attempt; `None`: a random one.
    pub id: Option<&'a str>,
    /// A comment after the sender's address.
    pub comment: Option<&'a str>,
}

/// Why a message was not sent.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum Failure {
    /// Nothing can be sent now; try again later.
    Down(String),
    /// The server will never accept this message; it may accept others.
    Refused(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Down(why) | Failure::Refused(why)) = self;
        f.write_str(why)
    }
}

/// Why a message was not sent to a recipient; the variants are in the order of severity.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Undelivered {
    /// The server accepts no mail now, or none from this client.
    Server(String),
    /// The server does not accept this message now; it may accept others.
    Deferred(String),
    /// The server will never accept this message.
    Refused(String),
}

impl Undelivered {
    pub fn why(self) -> String {
        let (Undelivered::Server(why) | Undelivered::Deferred(why) | Undelivered::Refused(why)) =
            self;
        why
    }
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|error| {
        let error = format!("{error}").to_lowercase();
        format!("mail address {text:?}: {error} (write NAME@DOMAIN)")
    })
}

/// The address of a receiver, which may stand behind a name.
pub(crate) fn address_of(text: &str) -> Option<Address> {
    mailbox(text).ok().map(|mailbox| mailbox.email)
}

fn mailboxes(texts: &[String]) -> Result<Vec<Mailbox>, String> {
    texts.iter().map(|text| mailbox(text)).collect()
}

/// Checks addresses of recipients; `key` is the key of the configuration that has them.
pub fn check_addresses(key: &str, addresses: &[String]) -> Result<(), String> {
    mailboxes(addresses).map_or_else(|why| Err(format!("{key}: {why}")), |_| Ok(()))
}

/// Sends mail to one server.
pub struct SmtpClient {
    server: HostPort,
    tls: Tls,
    config: Option<Arc<ClientConfig>>,
    hello: Option<String>,
    login: Option<Login>,
    limit: Duration,
    from: Mailbox,
    to: Vec<Mailbox>,
    recipients: Vec<Address>,
}

impl SmtpClient {
    /// Checks the options and reads `ca_file`. The server may be silent for `limit`, and may take four times as long for
    /// a mail with the connection. `token_file`: where a refresh
    /// token that replaces the configured one is stored.
    pub fn new(
        options: &MailOptions,
        secrets: &MailSecrets,
        token_file: TokenFile,
        limit: Duration,
    ) -> Result<SmtpClient, String> {
        let from = mailbox(&options.from)?;
        let to = mailboxes(&options.to)?;
        let recipients: Vec<Address> = to.iter().map(|mailbox| mailbox.email.clone()).collect();
        if recipients.is_empty() {
            return Err("mail: no recipient (set to)".into());
        }
        let server = options.host_port()?;
        let tls = options.protection()?;
        let ca_file = options.ca_file.as_deref();
        let config = match tls {
            Tls::None => None,
            Tls::Opportunistic => Some(client_config(ca_file, None, TlsCheck::Nothing)?),
            Tls::Starttls | Tls::Tls => Some(client_config(ca_file, None, TlsCheck::Identity)?),
        };
        Ok(SmtpClient {
            server,
            tls,
            config,
            hello: options.hello.clone(),
            login: login(options, secrets, token_file, limit)?,
            limit,
            from,
            to,
            recipients,
        })
    }

    /// The mail in the format of RFC 5322, with its date.
    pub(crate) fn format(&self, mail: &Mail) -> Result<Vec<u8>, String> {
        message(&self.from, &self.to, mail)
    }

    /// The same to other addresses, which are returned without names.
    pub(crate) fn format_to(
        &self,
        to: &[String],
        mail: &Mail,
    ) -> Result<(Vec<u8>, Vec<Address>), String> {
        let to = mailboxes(to)?;
        let recipients = to.iter().map(|mailbox| mailbox.email.clone()).collect();
        Ok((message(&self.from, &to, mail)?, recipients))
    }

    /// Sends a mail; on success, the server has accepted it for at least one recipient. Returns why the server refused
    /// the others.
    pub fn send(&self, mail: &Mail) -> Result<Vec<String>, Failure> {
        let message = self.format(mail).map_err(Failure::Refused)?;
        self.send_message(&self.recipients, &message)
    }

    /// The same to other addresses.
    pub fn send_to(&self, to: &[String], mail: &Mail) -> Result<Vec<String>, Failure> {
        let (message, recipients) = self.format_to(to, mail).map_err(Failure::Refused)?;
        self.send_message(&recipients, &message)
    }

    fn send_message(&self, to: &[Address], message: &[u8]) -> Result<Vec<String>, Failure> {
        let mut connection = None;
        let sent = self.deliver(&mut connection, to, message);
        if let Some(connection) = connection {
            connection.quit();
        }
        sent.map_err(|undelivered| match undelivered {
            Undelivered::Refused(why) => Failure::Refused(why),
            Undelivered::Server(why) | Undelivered::Deferred(why) => Failure::Down(why),
        })
    }

    /// Connects as for a mail, with the login, and sends none.
    pub fn try_connection(&self) -> Result<(), String> {
        guarded(
            || self.connect().map(Connection::quit),
            |why| format!("mail server {}: {why}", self.server),
        )
    }

    /// The same, and names the sender and the recipients. Fails if the server refuses one of them for good; one that defers
    /// its answer may accept them later.
    pub fn try_recipients(&self) -> Result<(), String> {
        guarded(|| self.name_recipients(), |why| format!("mail server {}: {why}", self.server))
    }

    fn name_recipients(&self) -> Result<(), String> {
        let mut connection = self.begin(None, &self.recipients)?;
        let mut refused = Vec::new();
        for recipient in &self.recipients {
            let receive = commands::Rcpt::new(recipient.clone(), Vec::new());
            let Err(error) = connection.command(receive) else { continue };
            match self.classify(&error, &format!(" (to {recipient})")) {
                Undelivered::Server(why) => return Err(why),
                Undelivered::Refused(why) => refused.push(why),
                Undelivered::Deferred(_) => {}
            }
        }
        connection.quit();
        if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
    }

    /// The recipients of all mail.
    pub(crate) fn recipients(&self) -> &[Address] {
        &self.recipients
    }

    /// Sends to the recipients that the server accepts, and returns why it refused the others; a failure if it accepts
    /// none. `connection` is reused, and stays open after a success.
    pub(crate) fn deliver(
        &self,
        open: &mut Option<Connection>,
        recipients: &[Address],
        message: &[u8],
    ) -> Result<Vec<String>, Undelivered> {
        guarded(
            || self.exchange(open, recipients, message),
            |why| Undelivered::Server(format!("mail server {}: {why}", self.server)),
        )
    }

    fn exchange(
        &self,
        open: &mut Option<Connection>,
        recipients: &[Address],
        message: &[u8],
    ) -> Result<Vec<String>, Undelivered> {
        let begun = self.begin(open.take(), recipients);
        let mut connection = begun.map_err(Undelivered::Server)?;
        let mut failed = Vec::new();
        for recipient in recipients {
            let receive = commands::Rcpt::new(recipient.clone(), Vec::new());
            let to = format!(" (to {recipient})");
            match connection.command(receive).map_err(|error| self.classify(&error, &to)) {
                Ok(_) => {}
                Err(Undelivered::Server(why)) => return Err(Undelivered::Server(why)),
                Err(undelivered) => failed.push(undelivered),
            }
        }
        if failed.len() < recipients.len() {
            let content = Content(&String::from_utf8_lossy(message));
            let begun =
                connection.command(commands::Data).map_err(|error| self.classify(&error, ""));
            // The server has accepted the name in EHLO: a filter that names it refuses this message.
            let content = || connection.command(content);
            match begun.and_then(|_| content().map_err(|error| self.refusal(&error))) {
                Ok(_) => {
                    *open = Some(connection);
                    return Ok(failed.into_iter().map(Undelivered::why).collect());
                }
                Err(undelivered) => failed.push(undelivered),
            }
        }
        connection.abort();
        let least_severe = failed.into_iter().min();
        Err(least_severe.unwrap_or(Undelivered::Refused("no recipient".into())))
    }

    /// What an error response before the content means for the message.
    fn classify(&self, error: &SmtpError, to: &str) -> Undelivered {
        let why = self.why(error) + to;
        if is_about_hello(error) { Undelivered::Server(why) } else { undelivered(error, why) }
    }

    /// What an error response to the content means for the message.
    fn refusal(&self, error: &SmtpError) -> Undelivered {
        undelivered(error, format!("mail server {}: {error}", self.server))
    }

    /// A connection after MAIL FROM. The open one is replaced if the server has closed it, after a time or a number of
    /// mails.
    fn begin(
        &self,
        open: Option<Connection>,
        recipients: &[Address],
    ) -> Result<Connection, String> {
        let mut all = recipients.iter().chain([&self.from.email]);
        let international = all.any(|address| !address.to_string().is_ascii());
        let utf8 =
            || vec![MailParameter::SmtpUtfEight, MailParameter::Body(BodyKind::EightBitMime)];
        let parameters = if international { utf8() } else { Vec::new() };
        let begin = commands::Mail::new(Some(self.from.email.clone()), parameters);
        if let Some(mut connection) = open {
            connection.begin(self.budget());
            match connection.command(begin.clone()) {
                Ok(_) => return Ok(connection),
                Err(error) => {
                    connection.abort();
                    // A new connection would not be faster.
                    if matches!(&error, SmtpError::Io(io) if io.kind() == ErrorKind::TimedOut) {
                        return Err(self.why(&error));
                    }
                }
            }
        }
        let mut connection = self.connect()?;
        match connection.command(begin) {
            Ok(_) => Ok(connection),
            Err(error) => {
                connection.abort();
                Err(self.why(&error))
            }
        }
    }

    fn budget(&self) -> Budget {
        Budget { time: 4 * self.limit, silence: self.limit, bytes: MAX_ANSWERS }
    }

    fn connect(&self) -> Result<Connection, String> {
        let token = self.login.as_ref().map_or(Ok(None), Login::token);
        let token = token.map_err(|why| format!("mail server {}: {why}", self.server))?;
        let mut connection = self.greet().map_err(|error| {
            // 501 and 504 are about a parameter, which of these commands only EHLO has.
            let remedy = match error.status() {
                Some(501 | 504) if !is_about_hello(&error) => SET_HELLO,
                _ => "",
            };
            self.why(&error) + remedy
        })?;
        if let Some(login) = &self.login
            && let Err(why) = login.log_in(&mut connection, token.as_ref())
        {
            connection.abort();
            return Err(format!("mail server {}: {why}", self.server));
        }
        Ok(connection)
    }

    /// A protected connection on which both sides have said who they are.
    fn greet(&self) -> Result<Connection, SmtpError> {
        let hello = client_id(self.hello.as_deref(), &self.server);
        let config = self.config.as_ref();
        let at_once = config.filter(|_| self.tls == Tls::Tls);
        let connection = Connection::open(&self.server, &hello, at_once, self.budget())?;
        match config {
            Some(config) if self.tls == Tls::Starttls => {
                connection.start_tls(&self.server, &hello, config)
            }
            Some(config) if self.tls == Tls::Opportunistic && connection.offers_starttls() => {
                connection.start_tls(&self.server, &hello, config)
            }
            _ => Ok(connection),
        }
    }

    fn why(&self, error: &SmtpError) -> String {
        let remedy = match error.status() {
            _ if is_about_hello(error) => SET_HELLO,
            // Also what RFC 3207 has for a server that wants TLS first.
            Some(530) if error.to_string().to_ascii_lowercase().contains("starttls") => {
                " (set tls = \"starttls\")"
            }
            Some(530) if self.login.is_none() => {
                " (the server wants a login: set user and password_file)"
            }
            _ => "",
        };
        format!("mail server {}: {error}{remedy}", self.server)
    }
}

fn login(
    options: &MailOptions,
    secrets: &MailSecrets,
    token_file: TokenFile,
    limit: Duration,
) -> Result<Option<Login>, String> {
    let Some(user) = options.user.clone() else { return Ok(None) };
    let ca_file = options.ca_file.as_deref();
    Ok(match (&options.oauth, &secrets.password) {
        (Some(oauth), _) => {
            let source = TokenSource::new(oauth, secrets, ca_file, token_file, limit)?;
            Some(Login::Token { user, source })
        }
        (None, Some(password)) => {
            let (password, file) = (password.clone(), options.password_file.clone());
            Some(Login::Password(PasswordLogin { user, password, file }))
        }
        (None, None) => None,
    })
}

/// A message as it follows DATA (RFC 5321, 4.5.2), with its end in the same write. lettre sends the end in a second
/// write, which waits until the server's kernel acknowledges the first one: 40 ms with delayed acknowledgements.
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

/// Whether the server will never accept the message. A failed login (RFC 4954, 6) has nothing to do with it.
fn undelivered(error: &SmtpError, why: String) -> Undelivered {
    match error.status() {
        None => Undelivered::Server(why),
        Some(_) if is_about_this_message(error) => Undelivered::Refused(why),
        Some(_) => Undelivered::Deferred(why),
    }
}

fn is_about_this_message(error: &SmtpError) -> bool {
    error.is_permanent() && !error.status().is_some_and(|code| (530..540).contains(&code))
}

/// Whether the server refuses the name in EHLO. Postfix does so only when a recipient follows.
fn is_about_hello(error: &SmtpError) -> bool {
    error.is_permanent() && names_hello(&error.to_string())
}

/// Whether a text of a server has the name of the command; not in an address.
fn names_hello(text: &str) -> bool {
    let words = text.split_whitespace().filter(|word| !word.contains(['@', '<']));
    let mut words = words.flat_map(|word| word.split(|c: char| !c.is_ascii_alphanumeric()));
    words.any(|word| word.eq_ignore_ascii_case("helo") || word.eq_ignore_ascii_case("ehlo"))
}

const SET_HELLO: &str = " (set hello to the full name of this host, such as host.example.org)";

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs::Permissions,
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        os::unix::fs::PermissionsExt,
        thread,
    };

    /// What is said about a server that answers EHLO, the next command and so on like this.
    fn fault(keys: &str, answers: &'static [&str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mail.pass");
        let served = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(peer.try_clone().unwrap()).lines();
            peer.write_all(b"220 ready\r\n").unwrap();
            for answer in answers {
                let _ = lines.next();
                peer.write_all(answer.as_bytes()).unwrap();
            }
            lines.for_each(drop);
        });
        std::fs::write(&file, "s3cret\n").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let keys = keys.replace("FILE", &format!("{file:?}"));
        let options: MailOptions = toml::from_str(&format!(
            "server = \"{address}\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n{keys}"
        ))
        .unwrap();
        let token_file = TokenFile { path: directory.path().join("token"), earlier: None };
        let limit = Duration::from_secs(20);
        let client = SmtpClient::new(&options, &options.secrets().unwrap(), token_file, limit);
        let why = client.unwrap().try_recipients().unwrap_err();
        served.join().unwrap();
        assert!(!why.contains("s3cret"), "{why}");
        why.replace(&address.to_string(), "SERVER").replace(file.to_str().unwrap(), "FILE")
    }

    #[test]
    fn logins_that_fail() {
        let login = "user = \"u\"\npassword_file = FILE";
        for (keys, answers, expected) in [
            (
                login,
                &["250-x\r\n250 AUTH PLAIN\r\n", "535 5.7.8 wrong\r\n"][..],
                "the server answers 535 \"5.7.8 wrong\" (check user and the first line of FILE, which is read again for each login)",
            ),
            (
                login,
                &["250-x\r\n250 AUTH PLAIN\r\n", "534 5.7.9 app password needed\r\n"],
                "the server answers 534 \"5.7.9 app password needed\" (the server wants another kind of password, such as one that it makes for a single program: put it into the first line of FILE, which is read again for each login)",
            ),
            (
                login,
                &["250 x\r\n"],
                "the server offers no login with a password on this connection (take its port for submission: 587, or 465 with tls = \"tls\"; or remove user and the password, if it needs none)",
            ),
            (
                login,
                &["250-x\r\n250 STARTTLS\r\n"],
                "the server offers no login with a password on this connection (set tls = \"starttls\", after which it may offer one; or remove user and the password, if it needs none)",
            ),
            (
                "",
                &["250 x\r\n", "530 5.7.0 Authentication required\r\n"],
                "the server answers 530 \"5.7.0 Authentication required\" (the server wants a login: set user and password_file)",
            ),
            (
                "",
                &["250 x\r\n", "530 Must issue a STARTTLS command first\r\n"],
                "the server answers 530 \"Must issue a STARTTLS command first\" (set tls = \"starttls\")",
            ),
        ] {
            assert_eq!(fault(keys, answers), format!("mail server SERVER: {expected}"));
        }
    }

    #[test]
    fn refusals_of_the_name_in_ehlo() {
        for (text, expected) in [
            ("<gw>: Helo command rejected: need fully-qualified hostname", true),
            ("Syntactically invalid EHLO argument(s)", true),
            ("Access denied - Invalid HELO/EHLO name", true),
            ("5.1.1 <helo@example.org>: Recipient address rejected", false),
            ("5.1.1 helo@example.org unknown, hello", false),
        ] {
            assert_eq!(names_hello(text), expected, "{text}");
        }
    }

    #[test]
    fn dots_are_doubled_and_the_end_is_added() {
        for (text, sent) in [
            ("a\r\n.b\r\n..\r\n", "a\r\n..b\r\n...\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("", "\r\n.\r\n"),
            ("a\n.\nb", "a\n..\nb\r\n.\r\n"), // no server treats a lone line feed as a line end
        ] {
            assert_eq!(Content(text).to_string(), sent);
        }
    }
}
