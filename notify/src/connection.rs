//! The connection of the SMTP client: commands and responses, STARTTLS and the login. One exchange, from the first command
//! of a mail to the response to its content, has one deadline and one budget of bytes.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    sync::Arc,
};

use aw_peer::{Budget, PeerStream, certificate_fault};
use aw_service::{HostPort, cause, connection_fault};
use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    commands,
    extension::{ClientId, Extension, ServerInfo},
    response::{Response, Severity},
};
use rustls::ClientConfig;

/// Bytes of a line and of a response (RFC 5321, 4.5.3.1.5: 512 for a line).
const MAX_LINE: u64 = 4096;
const MAX_RESPONSE: usize = 64 * 1024;
/// Challenges of a login, which are two at most.
const MAX_CHALLENGES: usize = 4;

pub(crate) type Result<T> = std::result::Result<T, SmtpError>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum SmtpError {
    /// The server's response, 4xx or 5xx.
    Response(Response),
    Io(io::Error),
    /// The server does not keep to the protocol, or lacks a function.
    Other(String),
}

impl From<io::Error> for SmtpError {
    fn from(error: io::Error) -> Self {
        SmtpError::Io(error)
    }
}

impl SmtpError {
    /// The code of a response.
    pub fn status(&self) -> Option<u16> {
        match self {
            SmtpError::Response(response) => Some(response.code().into()),
            _ => None,
        }
    }

    pub fn is_permanent(&self) -> bool {
        matches!(self, SmtpError::Response(response)
            if response.code().severity == Severity::PermanentNegativeCompletion)
    }
}

impl fmt::Display for SmtpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SmtpError::Response(response) => {
                let text = response.message().collect::<Vec<_>>().join(" ");
                let text: String = text.chars().filter(|c| !c.is_control()).take(500).collect();
                match (response.code(), text.trim()) {
                    (code, "") => write!(f, "the server answers {code}"),
                    (code, text) => write!(f, "the server answers {code} \"{text}\""),
                }
            }
            SmtpError::Io(error) => {
                let without_tls =
                    "set tls = \"starttls\", or the port that has TLS from the first byte on";
                let why = certificate_fault(&cause(error), "ca_file");
                f.write_str(&connection_fault(&why, "server", without_tls))
            }
            SmtpError::Other(why) => f.write_str(why),
        }
    }
}

const NO_STARTTLS: &str = "STARTTLS is not supported on this server (set tls = \"none\" if you trust the network up to it, or tls = \"tls\" with the port for that)";

/// A connection on which both sides have said who they are.
pub(crate) struct Connection {
    stream: BufReader<PeerStream>,
    info: ServerInfo,
}

impl Connection {
    /// Connects; with `tls`, from the first byte on.
    pub fn open(
        server: &HostPort,
        hello: &ClientId,
        tls: Option<&Arc<ClientConfig>>,
        budget: Budget,
    ) -> Result<Connection> {
        let mut stream = PeerStream::connect(server, budget)?;
        if let Some(config) = tls {
            stream = stream.start_tls(config, &server.host)?;
        }
        let mut connection =
            Connection { stream: BufReader::new(stream), info: ServerInfo::default() };
        connection.response()?;
        connection.greet(hello)?;
        Ok(connection)
    }

    /// Begins the exchange of the next mail.
    pub fn begin(&mut self, budget: Budget) {
        self.stream.get_mut().begin(budget);
    }

    fn greet(&mut self, hello: &ClientId) -> Result<()> {
        let response = self.command(commands::Ehlo::new(hello.clone()))?;
        self.info = ServerInfo::from_response(&response)
            .map_err(|error| SmtpError::Other(error.to_string()))?;
        Ok(())
    }

    pub fn offers_starttls(&self) -> bool {
        self.info.supports_feature(Extension::StartTls)
    }

    pub fn offers_login(&self, mechanism: Mechanism) -> bool {
        self.info.supports_auth_mechanism(mechanism)
    }

    /// Negotiates TLS. What the server has sent too early is dropped.
    pub fn start_tls(
        mut self,
        server: &HostPort,
        hello: &ClientId,
        config: &Arc<ClientConfig>,
    ) -> Result<Connection> {
        if !self.offers_starttls() {
            return Err(SmtpError::Other(NO_STARTTLS.into()));
        }
        self.command(commands::Starttls)?;
        let stream = self.stream.into_inner().start_tls(config, &server.host)?;
        let mut connection =
            Connection { stream: BufReader::new(stream), info: ServerInfo::default() };
        connection.greet(hello)?;
        Ok(connection)
    }

    /// Logs in with a mechanism that the server offers.
    pub fn log_in(&mut self, mechanisms: &[Mechanism], credentials: &Credentials) -> Result<()> {
        let mechanism = mechanisms.iter().copied().find(|one| self.offers_login(*one));
        let mechanism = mechanism.ok_or_else(|| {
            let with_tls = match self.offers_starttls() {
                true => "set tls = \"starttls\", after which it may offer one",
                false => "take its port for submission: 587, or 465 with tls = \"tls\"",
            };
            SmtpError::Other(format!(
                "the server offers no login with a password on this connection ({with_tls}; or remove user and the password, if it needs none)"
            ))
        })?;
        let other = |error: lettre::transport::smtp::Error| SmtpError::Other(error.to_string());
        let first = commands::Auth::new(mechanism, credentials.clone(), None).map_err(other)?;
        let mut response = self.command(first)?;
        for _ in 0..MAX_CHALLENGES {
            if !response.has_code(334) {
                return Ok(());
            }
            let next = commands::Auth::new_from_response(mechanism, credentials.clone(), &response);
            response = self.command(next.map_err(other)?)?;
        }
        Err(SmtpError::Other("too many challenges in the login".into()))
    }

    /// Sends a command, and returns the response if it is positive.
    pub fn command(&mut self, command: impl fmt::Display) -> Result<Response> {
        let stream = self.stream.get_mut();
        stream.write_all(command.to_string().as_bytes())?;
        stream.flush()?;
        self.response()
    }

    fn response(&mut self) -> Result<Response> {
        let mut text = Vec::new();
        loop {
            let before = text.len();
            (&mut self.stream).take(MAX_LINE).read_until(b'\n', &mut text)?;
            let line = &text[before..];
            if line.last() != Some(&b'\n') {
                let why = match line.len() as u64 {
                    MAX_LINE => "a line of its response has no end",
                    _ => "the server closed the connection",
                };
                return Err(SmtpError::Other(why.into()));
            }
            if line.get(3) != Some(&b'-') {
                break;
            }
            if text.len() > MAX_RESPONSE {
                return Err(SmtpError::Other("its response is too long".into()));
            }
        }
        let response: Response = String::from_utf8_lossy(&text)
            .parse()
            .map_err(|_| SmtpError::Other("its response is not of SMTP".into()))?;
        if response.is_positive() { Ok(response) } else { Err(SmtpError::Response(response)) }
    }

    /// Ends the connection, with QUIT where the server still answers.
    pub fn quit(mut self) {
        let _ = self.command(commands::Quit);
    }

    /// Ends the connection after a fault, without waiting for an answer.
    pub fn abort(mut self) {
        let stream = self.stream.get_mut();
        let _ = stream.write_all(b"QUIT\r\n").and_then(|()| stream.flush());
        stream.shut_down();
    }
}
