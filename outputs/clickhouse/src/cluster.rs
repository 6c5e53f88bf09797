//! The servers, of which one is asked: HTTP requests with a login. A request that a server does not answer goes to the next server.
//!
//! It trusts the servers that TLS authenticates, and of their answers only the status and a version.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{Read, Write},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use aw_notify::{http, is_local_host, read_secret};
use aw_output::{Access, HostPort};
use aw_peer::guarded;
use aw_service::Secret;
use flate2::{Compression, write::GzEncoder};
use form_urlencoded::Serializer;
use ureq::Agent;

use crate::errors::ServerError;

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
    pub tls: bool,
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
pub struct Login {
    pub name: String,
    pub password: Option<Secret>,
    /// Where the password is from, to read it again for each request; absolute.
    pub file: Option<PathBuf>,
}

/// What the servers and the login are.
pub struct ClusterOptions {
    pub servers: Vec<ServerUrl>,
    pub database: String,
    pub login: Option<Login>,
    pub ca_file: Option<PathBuf>,
    pub identity: Option<(PathBuf, PathBuf)>,
    pub plain_password: bool,
}

impl ClusterOptions {
    /// Ports and files that a connection needs.
    pub fn access(servers: &[ServerUrl]) -> Vec<Access> {
        let mut access = Access::host_names();
        access.extend(servers.iter().map(|url| Access::Connect(url.server.port)));
        access
    }
}

/// The servers. Each insert is sent to the one that took the last one.
pub struct Cluster {
    options: ClusterOptions,
    agent: Agent,
    /// The index of the server that is asked next.
    current: usize,
    /// The release of that server, if it is known.
    release: Option<(u32, u32)>,
}

/// Why a request failed.
enum Failure {
    /// Other servers can be asked.
    Next(String),
    /// The server does not answer: others are asked at the next try, because the ring does not wait.
    Slow(String),
    /// All servers would say so.
    All(String),
}

impl Cluster {
    /// Reads the certificates. The first server is any one of the list, so that sensors that start together use all of them.
    pub fn new(options: ClusterOptions) -> Result<Cluster, String> {
        let has_password = options.login.as_ref().is_some_and(|login| login.password.is_some());
        let is_plain = |url: &&ServerUrl| !url.tls && !is_local_host(&url.server.host);
        if has_password
            && !options.plain_password
            && let Some(url) = options.servers.iter().find(is_plain)
        {
            return Err(format!(
                "a password is not sent to {} without TLS (use https:// or --plain-password)",
                url.server.host
            ));
        }
        let has_files = options.ca_file.is_some() || options.identity.is_some();
        if has_files && !options.servers.iter().any(|url| url.tls) {
            return Err(
                "--ca-file, --certificate-file and --key-file need TLS (set --server https://HOST)"
                    .into(),
            );
        }
        let identity = options.identity.as_ref();
        let identity = identity.map(|(certificate, key)| (&**certificate, &**key));
        let agent = http::agent_with("aw-clickhouse", options.ca_file.as_deref(), identity, LIMIT)?;
        let current = RandomState::new().build_hasher().finish() as usize % options.servers.len();
        Ok(Cluster { options, agent, current, release: None })
    }

    pub fn database(&self) -> &str {
        &self.options.database
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
            let answer = cluster.request(&settings, rows)?;
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
                    self.request(&[("query", &query)], &[]).map(drop)
                })
            });
            if let Err(Failure::Next(why) | Failure::Slow(why) | Failure::All(why)) = tried {
                faults.push(format!("{}: {why}", self.url()));
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
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            let url = self.url().to_string();
            self.release = None;
            self.current = (self.current + 1) % self.options.servers.len();
            let is_last = !matches!(failed, Failure::Next(_));
            let (Failure::Next(why) | Failure::Slow(why) | Failure::All(why)) = failed;
            faults.push(format!("write to {} at {url}: {why}", self.database()));
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
        let text = self.request(&[("query", "SELECT version()")], &[])?;
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

    fn request(&self, settings: &[(&str, &str)], body: &[u8]) -> Result<String, Failure> {
        let url = self.url();
        let mut query = Serializer::new(String::new());
        query.extend_pairs(settings);
        let address = format!("{url}/?{}", query.finish());
        let password = self.password().map_err(Failure::All)?;
        let mut request = self.agent.post(&address);
        let body = compressed(body);
        if !body.is_empty() {
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
            let response = request.send(&body[..]).map_err(|error| {
                let why = hide(http::why_with(&error, LIMIT, "--server", "--ca-file"));
                match error {
                    ureq::Error::Timeout(_) => Failure::Slow(why),
                    _ => Failure::Next(why),
                }
            })?;
            let status = response.status();
            let mut bytes = Vec::new();
            let read = response.into_body().into_reader().take(MAX_ANSWER).read_to_end(&mut bytes);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if status.is_success() {
                // An answer that ends early is none: the server may not have stored the rows.
                return read.map(|_| text).map_err(|error| {
                    Failure::Next(format!("read its answer: {}", aw_service::cause(&error)))
                });
            }
            let error = ServerError::of(&status.to_string(), &text);
            let why = hide(error.with_remedy(&self.options.database));
            Err(if error.is_of_this_server() { Failure::Next(why) } else { Failure::All(why) })
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
