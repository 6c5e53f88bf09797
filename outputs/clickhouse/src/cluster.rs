//! The servers, of which one is asked: HTTP requests with a login. A request that a server does not answer goes to the next server.
//!
//! It trusts the servers that TLS authenticates, and of their answers only the status and a version; rows of an answer are not
//! trusted (`answer.rs`).

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read, Write},
    path::PathBuf,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aw_notify::{http, is_local_host, read_secret};
use aw_output::{Access, HostPort};
use aw_peer::guarded;
use aw_service::Secret;
use flate2::{Compression, write::GzEncoder};
use form_urlencoded::Serializer;
use ureq::{Agent, BodyReader};

use crate::{
    answer::{Answer, Row},
    errors::{Purpose, ServerError},
};

/// For a request with its answer: meanwhile the program does not read the rings.
const LIMIT: Duration = Duration::from_secs(8);
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 4096;
/// The oldest release that the tests use; older ones lack functions of the tables.
const OLDEST: (u32, u32) = (18, 16);
/// The first one that recognizes a batch by a token.
const WITH_TOKENS: (u32, u32) = (22, 2);

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// HTTPS.
    pub tls: bool,
    /// Where it listens.
    pub server: HostPort,
}

impl FromStr for ServerUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tls, port, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, 8123, rest),
            Some(("https", rest)) => (true, 8443, rest),
            _ => (false, 0, ""),
        };
        if rest.contains('@') {
            return Err("must have no user and password (use --login NAME --password-file FILE)");
        }
        let server = HostPort::parse(rest.trim_end_matches('/'), port)
            .map_err(|_| "must be http://HOST[:PORT] or https://HOST[:PORT]")?;
        Ok(ServerUrl { tls, server })
    }
}

impl std::fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.server)
    }
}

/// User and password.
#[derive(Clone, Debug)]
pub struct Login {
    /// Its name on the server.
    pub name: String,
    /// None: without one.
    pub password: Option<Secret>,
    /// Where the password is from, to read it again for each request; absolute.
    pub file: Option<PathBuf>,
}

/// What the servers and the login are.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// At least one.
    pub servers: Vec<ServerUrl>,
    /// See [`crate::parse_database`].
    pub database: String,
    /// None: the server's user `default`.
    pub login: Option<Login>,
    /// Authorities in the place of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The password may be sent without TLS.
    pub plain_password: bool,
}

impl Failure {
    fn why(self) -> String {
        let (Failure::Next(why)
        | Failure::Slow(why)
        | Failure::All(why)
        | Failure::SettingsRefused(why)) = self;
        why
    }
}

impl ClusterOptions {
    /// Ports and files that a connection needs.
    pub fn access(servers: &[ServerUrl]) -> Vec<Access> {
        let mut access = Access::host_names();
        access.extend(servers.iter().map(|url| Access::Connect(url.server.port)));
        access
    }
}

/// The servers. Each request is sent to the one that answered the last one.
#[derive(Clone)]
pub struct Cluster {
    options: ClusterOptions,
    purpose: Purpose,
    agent: Agent,
    /// The index of the server that is asked next.
    current: usize,
    /// What all clones know.
    known: Arc<Known>,
    /// The release of that server, if it is known.
    release: Option<(u32, u32)>,
}

/// What was learned of the servers.
#[derive(Default)]
struct Known {
    /// The index of the one that answered last.
    current: AtomicUsize,
    /// The user may not change settings: such a server limits its statements by the user's profile alone.
    settings_refused: AtomicBool,
}

/// For a connection, if other servers may answer in place of one that does not.
const CONNECT: Duration = Duration::from_secs(3);

/// With each question: an answer that a limit of the user's profile ends is an error, and no shorter answer.
const COMPLETE: [(&str, &str); 7] = [
    ("timeout_overflow_mode", "throw"),
    ("result_overflow_mode", "throw"),
    ("read_overflow_mode", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("sort_overflow_mode", "throw"),
    ("distinct_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
];

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What the answer to a question may take.
#[derive(Clone, Copy, Debug)]
pub struct AnswerLimit {
    /// In which the server ends the statement; it knows whole seconds.
    pub server: Duration,
    /// In which it has to be complete.
    pub time: Duration,
    /// Its length.
    pub bytes: u64,
}

/// A request.
struct Request<'a> {
    settings: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    is_compressed: bool,
    time: Duration,
}

/// Why a request failed.
enum Failure {
    /// Other servers can be asked.
    Next(String),
    /// The server does not answer: others are asked at the next try, because the ring does not wait.
    Slow(String),
    /// All servers would say so.
    All(String),
    /// The user may not change settings.
    SettingsRefused(String),
}

impl Cluster {
    /// Reads the certificates. The first server is any one of the list, so that programs that start together use all of them.
    pub fn new(options: ClusterOptions, purpose: Purpose) -> Result<Cluster, String> {
        let has_password = options.login.as_ref().is_some_and(|login| login.password.is_some());
        let is_plain = |url: &&ServerUrl| !url.tls && !is_local_host(&url.server.host);
        if has_password
            && !options.plain_password
            && let Some(url) = options.servers.iter().find(is_plain)
        {
            return Err(format!(
                "a password is not sent to {} without TLS (use {} or --plain-password)",
                url.server.host,
                purpose.with_tls()
            ));
        }
        let has_files = options.ca_file.is_some() || options.identity.is_some();
        if has_files && !options.servers.iter().any(|url| url.tls) {
            return Err(format!(
                "--ca-file, --certificate-file and --key-file need TLS (set {} {}HOST)",
                purpose.setting(),
                purpose.with_tls()
            ));
        }
        let identity = options.identity.as_ref();
        let identity = identity.map(|(certificate, key)| (&**certificate, &**key));
        let (program, idle) = match purpose {
            Purpose::Insert => ("aw-clickhouse", 0), // the next request may be minutes away
            Purpose::Select => ("aw-query", 1),
        };
        let agent = http::agent_with(program, options.ca_file.as_deref(), identity, (LIMIT, idle))?;
        let current = RandomState::new().build_hasher().finish() as usize % options.servers.len();
        let known = Arc::new(Known { current: current.into(), ..Known::default() });
        Ok(Cluster { options, purpose, agent, current, known, release: None })
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.options.database
    }

    /// The same servers for another question, beginning with the one that answered last.
    pub fn again(&self) -> Cluster {
        let current = self.known.current.load(Ordering::Relaxed);
        Cluster { current, ..self.clone() }
    }

    /// How many servers may answer.
    pub fn servers(&self) -> usize {
        self.options.servers.len()
    }

    /// Whether the user may not change settings, as far as questions have shown.
    pub fn settings_refused(&self) -> bool {
        self.known.settings_refused.load(Ordering::Relaxed)
    }

    /// Ports and files that a connection needs. Certificates and a password without a file are in memory.
    pub fn access(&self) -> Vec<Access> {
        ClusterOptions::access(&self.options.servers)
    }

    /// Families of sockets that a connection needs.
    pub fn sockets() -> Vec<i32> {
        vec![libc::AF_INET, libc::AF_INET6]
    }

    /// Inserts rows into a table. `token` identifies them: a server that has them already does not store them again.
    pub fn insert(
        &mut self,
        table: &str,
        columns: &str,
        rows: &[u8],
        token: &str,
    ) -> Result<(), String> {
        let query = format!("INSERT INTO {}.{table} ({columns}) FORMAT RowBinary", self.database());
        self.on_any(|cluster| {
            // A Distributed table: the answer comes when the servers of the shards have the rows.
            let mut settings = vec![("query", &*query), ("insert_distributed_sync", "1")];
            match cluster.release()? >= WITH_TOKENS {
                // The tables that views fill get a batch again as well, and recognize it by themselves.
                true => settings.extend([
                    ("insert_deduplication_token", token),
                    ("deduplicate_blocks_in_dependent_materialized_views", "1"),
                    ("async_insert", "0"),
                ]),
                // Such a server would not pass a batch that it recognizes to views, also if these did not get it before.
                false => settings.push(("insert_deduplicate", "0")),
            }
            let answer = cluster.text(&settings, rows)?;
            // A proxy or a portal may answer in place of the server.
            match answer.is_empty() {
                true => Ok(()),
                false => Err(Failure::Next(format!(
                    "its answer to an insert is no answer of ClickHouse: \"{}\" (correct --server: the port of HTTP)",
                    http::one_line(&answer)
                ))),
            }
        })
    }

    /// Asks a question, and passes each row of the answer on. The statement ends with `FORMAT RowBinary`. Others are asked
    /// only while no server has begun to answer.
    pub fn select(
        &mut self,
        statement: &str,
        limit: AnswerLimit,
        each: &mut dyn FnMut(&mut Row) -> io::Result<()>,
    ) -> Result<(), String> {
        self.on_any(|cluster| {
            let answered = cluster.rows(statement, limit, each);
            if !cluster.settings_refused() && matches!(answered, Err(Failure::SettingsRefused(_))) {
                cluster.known.settings_refused.store(true, Ordering::Relaxed);
                return cluster.rows(statement, limit, each);
            }
            answered
        })
    }

    fn rows(
        &self,
        statement: &str,
        limit: AnswerLimit,
        each: &mut dyn FnMut(&mut Row) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let seconds = limit.server.as_millis().div_ceil(1000).max(1).to_string();
        // The status comes when the answer is complete: a server that fails later would write its message behind the rows.
        let mut settings = vec![("wait_end_of_query", "1")];
        if !self.settings_refused() {
            settings.push(("max_execution_time", &seconds));
            settings.extend(COMPLETE);
        }
        let body = statement.as_bytes();
        let request = Request { settings: &settings, body, is_compressed: false, time: limit.time };
        self.exchange(&request, |body| {
            let mut answer = Answer::new(body, limit.bytes);
            let read = answer.each_row(each);
            read.map_err(|error| {
                Failure::All(format!("read its answer: {}", aw_service::cause(&error)))
            })
        })
    }

    /// Asks each server of the list for its release, and whether it has the tables: for `--check`.
    pub fn check(&mut self, tables: &[(&str, &str)]) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        for index in 0..self.options.servers.len() {
            (self.current, self.release) = (index, None);
            let tried = self.release().and_then(|_| {
                tables.iter().try_for_each(|(table, columns)| {
                    let database = &self.options.database;
                    // Without rows: the server checks the permission and the columns.
                    let query =
                        format!("INSERT INTO {database}.{table} ({columns}) FORMAT RowBinary");
                    self.text(&[("query", &query)], &[]).map(drop)
                })
            });
            if let Err(failed) = tried {
                faults.push(format!("{}: {}", self.url(), failed.why()));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn url(&self) -> &ServerUrl {
        &self.options.servers[self.current]
    }

    /// Asks the current server, and the others in turn if it cannot answer.
    fn on_any(
        &mut self,
        mut ask: impl FnMut(&mut Cluster) -> Result<(), Failure>,
    ) -> Result<(), String> {
        let mut faults = Vec::new();
        for _ in 0..self.options.servers.len() {
            let failed = match ask(self) {
                Ok(()) => {
                    self.known.current.store(self.current, Ordering::Relaxed);
                    return Ok(());
                }
                Err(failed) => failed,
            };
            let url = self.url().to_string();
            self.release = None;
            self.current = (self.current + 1) % self.options.servers.len();
            // An output tries again; a question is asked once.
            let is_last = match &failed {
                Failure::Next(_) => false,
                Failure::Slow(_) => self.purpose == Purpose::Insert,
                Failure::All(_) | Failure::SettingsRefused(_) => true,
            };
            let why = failed.why();
            let operation = match self.purpose {
                Purpose::Insert => "write to",
                Purpose::Select => "read",
            };
            faults.push(format!("{operation} {} at {url}: {why}", self.database()));
            if is_last {
                break;
            }
        }
        Err(faults.join("; "))
    }

    /// The release of the current server.
    fn release(&mut self) -> Result<(u32, u32), Failure> {
        if let Some(known) = self.release {
            return Ok(known);
        }
        let text = self.text(&[("query", "SELECT version()")], &[])?;
        let mut numbers = text.trim().split('.').map_while(|part| part.parse().ok());
        let release = numbers.next().zip(numbers.next()).ok_or_else(|| {
            Failure::Next("it is no ClickHouse (correct --server: the port of HTTP)".into())
        })?;
        if release < OLDEST {
            let (major, minor) = OLDEST;
            return Err(Failure::Next(format!(
                "the server is ClickHouse {} (upgrade it to {major}.{minor} or newer)",
                http::one_line(&text)
            )));
        }
        self.release = Some(release);
        Ok(release)
    }

    /// A short answer.
    fn text(&self, settings: &[(&str, &str)], body: &[u8]) -> Result<String, Failure> {
        let body = compressed(body);
        let is_compressed = !body.is_empty();
        let request = Request { settings, body: &body, is_compressed, time: LIMIT };
        self.exchange(&request, |body| {
            let mut bytes = Vec::new();
            // An answer that ends early is none: the server may not have stored the rows.
            body.take(MAX_ANSWER).read_to_end(&mut bytes).map_err(|error| {
                Failure::Next(format!("read its answer: {}", aw_service::cause(&error)))
            })?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })
    }

    /// Sends a request, and reads the body of a success.
    fn exchange<T>(
        &self,
        request: &Request,
        read: impl FnOnce(BodyReader<'static>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Request { settings, body, is_compressed, time } = *request;
        let mut query = Serializer::new(String::new());
        query.extend_pairs(settings);
        let address = format!("{}/?{}", self.url(), query.finish());
        let password = self.password().map_err(Failure::All)?;
        let connect = (self.purpose == Purpose::Select && self.servers() > 1).then_some(CONNECT);
        let config = self.agent.post(&address).config();
        let mut request = config.timeout_global(Some(time)).timeout_connect(connect).build();
        if is_compressed {
            request = request.header("Content-Encoding", "gzip");
        }
        if let Some(login) = &self.options.login {
            request = request.header("X-ClickHouse-User", &login.name);
            if let Some(password) = &password {
                request = request.header("X-ClickHouse-Key", password.reveal());
            }
        }
        let hide = |text: String| match &password {
            Some(password) => password.redact(&text),
            None => text,
        };
        let exchange = || {
            let response = request.send(body).map_err(|error| {
                let mut why =
                    hide(http::why_with(&error, time, self.purpose.setting(), "--ca-file"));
                if why.contains("CertificateRequired")
                    || self.url().tls && self.options.identity.is_none() && is_ended(&error)
                {
                    why += " (a server that asks for a client certificate needs --certificate-file and --key-file)";
                }
                match error {
                    ureq::Error::Timeout(_) => Failure::Slow(why),
                    _ => Failure::Next(why),
                }
            })?;
            let status = response.status();
            let body = response.into_body().into_reader();
            if status.is_success() {
                return read(body);
            }
            let mut bytes = Vec::new();
            let _ = body.take(MAX_ANSWER).read_to_end(&mut bytes);
            let error = ServerError::of(&status.to_string(), &String::from_utf8_lossy(&bytes));
            let why = hide(error.with_remedy(&self.options.database, self.purpose));
            Err(match error {
                error if error.is_settings_refused() => Failure::SettingsRefused(why),
                error if error.is_of_this_server() => Failure::Next(why),
                _ => Failure::All(why),
            })
        };
        guarded(exchange, |why| Failure::Next(hide(why)))
    }

    fn password(&self) -> Result<Option<Secret>, String> {
        let Some(login) = &self.options.login else { return Ok(None) };
        match &login.file {
            Some(file) => read_secret("password", Some(file), None),
            None => Ok(login.password.clone()),
        }
    }
}

/// Whether the server ended the connection. With TLS 1.3, a server that asks for a certificate refuses after the handshake: its
/// reason is lost if the request is still being written then.
fn is_ended(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ureq::Error::Io(error) = error else { return false };
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

/// Rows of one batch resemble each other: the uplink of a site carries a fraction of them.
fn compressed(rows: &[u8]) -> Vec<u8> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(rows).and_then(|()| encoder.finish());
    written.expect("memory takes all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        for (text, shown) in [
            ("http://db", "http://db:8123"),
            ("https://db/", "https://db:8443"),
            ("https://[::1]:9", "https://[::1]:9"),
        ] {
            assert_eq!(text.parse::<ServerUrl>().unwrap().to_string(), shown);
        }
        for bad in ["db", "clickhouse://db", "http://", "http://user@db", "http://db/path"] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
    }
}
