//! Where the server is and who we are there: the sections `[client]` and `[addrwatch]` of a my.cnf,
//! in the order of the file, as addrwatch's library read them.
//!
//! It trusts the file's owner. One with a password that everybody may read is refused.

use std::{
    fs::{self, File},
    io::Read,
    net::Ipv6Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf, absolute},
    time::Duration,
};

use aw_output::{Access, Error, failed};
use mysql::{ClientIdentity, Opts, OptsBuilder, SslOpts};

/// Where Debian's server listens.
const SOCKET: &str = "/run/mysqld/mysqld.sock";
/// How long to wait for a connection, and for the answer to a statement: the ring waits for nobody.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(3);

/// How to reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    host: Option<String>,
    port: u16,
    socket: Option<String>,
    /// Over TCP, or not, whatever the host is.
    tcp: Option<bool>,
    user: String,
    password: Option<Password>,
    database: String,
    tls: Tls,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Never shown.
#[derive(Clone, PartialEq, Eq)]
struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// What of the server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    /// No TLS, unless another option asks for it.
    Unsaid,
    Off,
    Unchecked,
    Authority,
    AuthorityAndName,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            host: None,
            port: 3306,
            socket: None,
            tcp: None,
            user: "addrwatch".into(),
            password: None,
            database: "addrwatch".into(),
            tls: Tls::Unsaid,
            ca: None,
            cert: None,
            key: None,
        }
    }
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Config, Error> {
        let shown = path.display();
        let failure = |error| Error::io(format_args!("read {shown}"), error);
        let mut file = File::open(path).map_err(failure)?;
        let mode = file.metadata().map_err(failure)?.permissions().mode();
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failure)?;
        let config =
            Config::parse(&text).map_err(|why| failed(format_args!("read {shown}: {why}")))?;
        if mode & 0o002 != 0 {
            return Err(failed(format_args!(
                "read {shown}: everybody may write to it (chmod o-w)"
            )));
        }
        if config.password.is_some() && mode & 0o004 != 0 {
            return Err(failed(format_args!(
                "read {shown}: it has a password, and everybody may read it (chmod o-r)"
            )));
        }
        for file in config.tls_files() {
            fs::metadata(file).map_err(|error| {
                Error::io(format_args!("read {shown}: find {}", file.display()), error)
            })?;
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Config, String> {
        let mut config = Config::default();
        let (mut group, mut found) = ("", false);
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            let at = |why: String| format!("line {number}: {why}");
            match line.as_bytes() {
                [] | [b'#' | b';' | b'!', ..] => {}
                [b'[', .., b']'] => {
                    group = line[1..line.len() - 1].trim();
                    found |= ["client", "addrwatch"].contains(&group);
                }
                _ if ["client", "addrwatch"].contains(&group) => {
                    let (key, value) = line.split_once('=').unwrap_or((line, "1"));
                    let key = key.trim().replace('_', "-");
                    let known = config.set(&key, unquoted(value.trim())).map_err(at)?;
                    // `loose-` marks what may be unknown; the client's section is not only ours.
                    if !known && group == "addrwatch" && !key.starts_with("loose-") {
                        return Err(at(format!("unknown option {key}")));
                    }
                }
                _ => {}
            }
        }
        if !found {
            return Err("no section [addrwatch] (files that it includes are not read)".into());
        }
        if config.cert.is_some() != config.key.is_some() {
            return Err("ssl-cert and ssl-key are one without the other".into());
        }
        if config.tls == Tls::Unsaid && config.tls_files().next().is_some() {
            config.tls = Tls::AuthorityAndName;
        }
        Ok(config)
    }

    /// Takes one option; tells whether it is known.
    fn set(&mut self, key: &str, value: String) -> Result<bool, String> {
        let bad = || format!("{key} cannot be {value:?}");
        let switch = match value.to_ascii_lowercase().as_str() {
            "1" | "on" | "true" | "yes" => Some(true),
            "0" | "off" | "false" | "no" => Some(false),
            _ => None,
        };
        let path = || absolute(&value).map(Some).map_err(|_| bad());
        match key {
            "host" => self.host = Some(value).filter(|host| !host.is_empty()),
            "port" => self.port = value.parse().ok().filter(|port| *port > 0).ok_or_else(bad)?,
            "socket" => self.socket = Some(value).filter(|socket| !socket.is_empty()),
            "protocol" => match value.to_ascii_lowercase().as_str() {
                "tcp" => self.tcp = Some(true),
                "socket" => self.tcp = Some(false),
                _ => return Err(bad()),
            },
            "user" => self.user = value,
            "password" => self.password = Some(Password(value)).filter(|it| !it.0.is_empty()),
            "database" => self.database = value,
            "ssl-ca" => self.ca = path()?,
            "ssl-cert" => self.cert = path()?,
            "ssl-key" => self.key = path()?,
            "ssl" if switch.ok_or_else(bad)? => self.tls = Tls::AuthorityAndName,
            "ssl" => self.tls = Tls::Off,
            "ssl-verify-server-cert" if switch.ok_or_else(bad)? => {
                self.tls = Tls::AuthorityAndName;
            }
            "ssl-verify-server-cert" => self.tls = Tls::Authority,
            "ssl-mode" => {
                self.tls = match value.to_ascii_uppercase().as_str() {
                    "DISABLED" => Tls::Off,
                    "REQUIRED" => Tls::Unchecked,
                    "VERIFY_CA" => Tls::Authority,
                    "VERIFY_IDENTITY" => Tls::AuthorityAndName,
                    _ => return Err(bad()), // PREFERRED: whoever listens in can take it away
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn tls_files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten()
    }

    /// The host, if TCP leads there. `localhost` means the socket, as for every client of these
    /// servers.
    fn over_tcp(&self) -> Option<&str> {
        let host = self.host.as_deref().unwrap_or("localhost");
        self.tcp.unwrap_or(host != "localhost").then_some(host)
    }

    /// Takes what a URL says: `[USER@][HOST[:PORT]][/DATABASE]`, behind the `mysql://`. Its other parts
    /// are those of a file, and so is the password: everybody may read a command line.
    pub fn set_url(&mut self, url: &str) -> Result<(), Error> {
        let (place, database) = url.split_once('/').unwrap_or((url, ""));
        let (user, server) = place.rsplit_once('@').unwrap_or(("", place));
        // An IPv6 address has colons of its own, and brackets around it.
        let port = server.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let (host, port) = port.map_or((server, None), |(host, port)| (host, Some(port)));
        if user.contains(':') {
            return Err(failed(
                "a password in a URL is everybody's to read (write it into the file of --config)",
            ));
        }
        let odd = |text: &str| text.contains(['/', '?', '#', '%', '@']);
        let port = port.map(|port| port.parse().ok().filter(|port| *port > 0));
        if [user, host, database].into_iter().any(odd) || port == Some(None) {
            return Err(failed(
                "a URL is mysql://[USER@][HOST[:PORT]][/DATABASE] (all else goes into the file of --config)",
            ));
        }
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if !host.is_empty() {
            (self.host, self.tcp) = (Some(host.into()), None);
        }
        if let Some(Some(port)) = port {
            (self.port, self.tcp) = (port, Some(true)); // whoever names a port means TCP
        }
        for (to, text) in [(&mut self.user, user), (&mut self.database, database)] {
            if !text.is_empty() {
                *to = text.into();
            }
        }
        Ok(())
    }

    /// For messages.
    pub fn server(&self) -> String {
        match self.over_tcp() {
            Some(host) => format!("{host}:{}", self.port),
            None => self.socket.clone().unwrap_or(SOCKET.into()),
        }
    }

    /// Its name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Files and ports that a connection needs.
    pub fn access(&self) -> Vec<Access> {
        let mut access: Vec<_> = self.tls_files().map(|path| Access::Read(path.clone())).collect();
        if self.over_tcp().is_some() {
            access.extend(Access::host_names());
            access.push(Access::Connect(self.port));
        }
        access
    }

    /// Families of sockets that a connection needs.
    pub fn sockets(&self) -> Vec<i32> {
        self.over_tcp().map_or(Vec::new(), |_| vec![libc::AF_INET, libc::AF_INET6])
    }

    /// For the library; each connection begins with this statement.
    pub fn options(&self, begin: &str) -> Opts {
        // Which of its features other programs of the workspace ask for is not ours to say.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = self.over_tcp().map(|host| match host.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => host.into(),
        });
        let socket = host.is_none().then(|| self.server());
        let identity = self.cert.clone().zip(self.key.clone());
        let tls = SslOpts::default()
            .with_root_cert_path(self.ca.clone())
            .with_client_identity(identity.map(|(cert, key)| ClientIdentity::new(cert, key)))
            .with_danger_accept_invalid_certs(self.tls == Tls::Unchecked)
            .with_danger_skip_domain_validation(self.tls == Tls::Authority);
        let plain = host.is_none() || matches!(self.tls, Tls::Off | Tls::Unsaid);
        OptsBuilder::new()
            .ip_or_hostname(host)
            .tcp_port(self.port)
            .socket(socket)
            .prefer_socket(false)
            .user(Some(self.user.as_str()))
            .pass(self.password.as_ref().map(|password| password.0.as_str()))
            .db_name(Some(self.database.as_str()))
            .ssl_opts((!plain).then_some(tls))
            .tcp_connect_timeout(Some(CONNECT))
            .read_timeout(Some(ANSWER))
            .write_timeout(Some(ANSWER))
            .stmt_cache_size(0)
            .init(vec![begin])
            .into()
    }
}

/// A value without its quotes, its escapes, and the comment behind it.
fn unquoted(text: &str) -> String {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c));
    let mut rest = text.chars().skip(usize::from(quote.is_some()));
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('b') => value.push('\x08'),
                Some('t') => value.push('\t'),
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('s') => value.push(' '),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                other => value.extend(['\\'].into_iter().chain(other)),
            },
            c if Some(c) == quote => return value,
            '#' if quote.is_none() => break,
            c => value.push(c),
        }
    }
    value.truncate(value.trim_end().len());
    value
}

#[cfg(test)]
mod tests;
