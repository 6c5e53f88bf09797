//! The servers and the login: the sections `[client]` and `[addrwatch]` of a file in the format of my.cnf.
//!
//! It trusts the file's owner. A file with a password that all users can read is refused.

mod option_file;
#[cfg(any(test, fuzzing))]
pub(crate) use option_file::parse as parse_option_file;

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use aw_output::{Access, Error, HostPort, failed};
use aw_peer::{Budget, TlsCheck, client_config, read_pem};
use aw_service::{FileKind, Identity, Secret, UserAccount, open_file, read_opened};
use rustix::process::geteuid;
use rustls::ClientConfig;

use crate::{
    connection::{Conn, Error as ConnectionError, Server, Target},
    servers::Turn,
};

/// For the login, and for all statements of a transaction together. A server that sends nothing fails sooner: meanwhile the
/// program does not read the rings.
pub const TRANSACTION: Budget =
    Budget { time: Duration::from_secs(10), silence: Duration::from_secs(3), bytes: 4 << 20 };
/// Bytes of the file, at most.
const MAX_CONFIG: u64 = 1 << 20;
const LOCALHOST: &str = "localhost";

/// How to reach the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// At least one. A port of 0 is that of `port`.
    hosts: Vec<HostPort>,
    port: u16,
    socket: String,
    /// TCP or the socket, whatever the hosts are.
    tcp: Option<bool>,
    connect_timeout: Duration,
    user: String,
    password: Option<Secret>,
    database: String,
    tls: TlsMode,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    /// The password may be sent without TLS.
    plain_password: bool,
    pub(crate) turn: Turn,
    /// The only host is one of a list.
    is_of_list: bool,
}

/// Whether the connection uses TLS, and what is checked of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsMode {
    Off,
    EncryptOnly,
    VerifyCa,
    VerifyIdentity,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            hosts: vec![HostPort { host: LOCALHOST.into(), port: 0 }],
            port: 3306,
            socket: "/run/mysqld/mysqld.sock".into(), // of Debian's server
            tcp: None,
            connect_timeout: Duration::from_secs(3),
            user: "addrwatch".into(),
            password: None,
            database: "addrwatch".into(),
            tls: TlsMode::Off,
            ca: None,
            cert: None,
            key: None,
            plain_password: false,
            turn: Turn::default(),
            is_of_list: false,
        }
    }
}

impl ServerConfig {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<ServerConfig, Error> {
        let shown = path.display();
        let failure = |error: io::Error| Error::io(format_args!("read {shown}"), error);
        let file = open_file(path, FileKind::Settings).map_err(failure)?;
        let mode = file.metadata().map_err(failure)?.permissions().mode();
        let bytes = read_opened(&file, MAX_CONFIG).map_err(failure)?;
        let text = String::from_utf8(bytes)
            .map_err(|_| failed(format_args!("read {shown}: it is not a text in UTF-8")))?;
        let config =
            option_file::parse(&text).map_err(|why| failed(format_args!("read {shown}: {why}")))?;
        if config.password.is_some() && mode & 0o004 != 0 {
            return Err(failed(format_args!(
                "read {shown}: it contains a password, and all users can read it (chmod o-r)"
            )));
        }
        let found = config.check_files();
        found.map_err(|error| failed(format_args!("read {shown}: {error}")))?;
        Ok(config)
    }

    /// Whether this user can read the files of TLS.
    pub fn check_files(&self) -> Result<(), Error> {
        self.tls_files().try_for_each(|file| {
            let failure = |error| Error::io(format_args!("find {}", file.display()), error);
            let is_key = Some(file) == self.key.as_ref();
            let kind = if is_key { FileKind::Secret } else { FileKind::Settings };
            read_pem(file, kind).map(drop).map_err(failure)
        })
    }

    fn tls_files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.ca, &self.cert, &self.key].into_iter().flatten()
    }

    /// Sets the hosts of a list. With one host, its port sets `port` and `protocol = tcp`; a later `port` or `protocol` overrides it.
    fn set_hosts(&mut self, text: &str) -> Result<(), String> {
        let hosts = text.split(',').map(|host| HostPort::parse(host.trim(), 0));
        self.hosts = hosts.collect::<Result<_, _>>()?;
        if let [HostPort { port, .. }] = &mut self.hosts[..]
            && *port > 0
        {
            (self.port, self.tcp) = (std::mem::take(port), Some(true));
        }
        Ok(())
    }

    /// Whether connections to a host use TCP. `localhost` means the socket, as for every client of these servers.
    fn is_tcp(&self, host: &HostPort) -> bool {
        self.tcp.unwrap_or(host.port > 0 || host.host != LOCALHOST)
    }

    fn has_tcp(&self) -> bool {
        self.hosts.iter().any(|host| self.is_tcp(host))
    }

    fn address(&self, HostPort { host, port }: &HostPort) -> HostPort {
        HostPort { host: host.clone(), port: if *port == 0 { self.port } else { *port } }
    }

    /// Takes the parts of a URL `mysql://[USER@][HOST[:PORT][,HOST[:PORT]...]][/DATABASE]`, without the `mysql://`. A
    /// password in it is refused, because all users can read a command line.
    pub fn set_url(&mut self, url: &str) -> Result<(), Error> {
        let (authority, database) = url.split_once('/').unwrap_or((url, ""));
        let (user, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err(failed(
                "all users can read a password in a URL (write it into the file of --config)",
            ));
        }
        let special = |text: &str| text.contains(['/', '?', '#', '%', '@']);
        if !server.is_empty() {
            self.tcp = None;
        }
        let host = if server.is_empty() { Ok(()) } else { self.set_hosts(server) };
        if special(user) || special(database) || host.is_err() {
            return Err(failed(
                "a URL has the form mysql://[USER@][HOST[:PORT][,HOST[:PORT]...]][/DATABASE] (write other settings into the file of --config)",
            ));
        }
        for (field, text) in [(&mut self.user, user), (&mut self.database, database)] {
            if !text.is_empty() {
                *field = text.into();
            }
        }
        Ok(())
    }

    /// The servers, for messages.
    pub fn server(&self) -> String {
        let names: Vec<_> = (0..self.hosts.len()).map(|index| self.name(index)).collect();
        names.join(", ")
    }

    /// The name of one server, for messages.
    pub(crate) fn name(&self, index: usize) -> String {
        match self.hosts.get(index) {
            Some(host) if self.is_tcp(host) => self.address(host).to_string(),
            _ => self.socket.clone(),
        }
    }

    /// Whether there are several servers, also if this is each of them as the only one.
    pub(crate) fn is_list(&self) -> bool {
        self.is_of_list || self.hosts.len() > 1
    }

    /// How many servers there are.
    pub(crate) fn count(&self) -> usize {
        self.hosts.len()
    }

    /// The same, beginning with the first server.
    pub(crate) fn beginning_with_first(&self) -> ServerConfig {
        ServerConfig { turn: Turn::first(), ..self.clone() }
    }

    /// Each server as the only one.
    pub fn each(&self) -> impl Iterator<Item = ServerConfig> {
        self.hosts.iter().map(|host| ServerConfig {
            hosts: vec![host.clone()],
            turn: Turn::default(),
            is_of_list: self.is_list(),
            ..self.clone()
        })
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Files and ports that a connection needs.
    pub fn access(&self) -> Vec<Access> {
        let mut access: Vec<_> = self.tls_files().map(|path| Access::Read(path.clone())).collect();
        if self.has_tcp() {
            access.extend(Access::host_names());
        }
        let hosts = self.hosts.iter().filter(|host| self.is_tcp(host));
        access.extend(hosts.map(|host| Access::Connect(self.address(host).port)));
        access
    }

    /// Families of sockets that a connection needs.
    pub fn sockets(&self) -> Vec<i32> {
        let has_unix = self.hosts.iter().any(|host| !self.is_tcp(host));
        let unix = has_unix.then_some(libc::AF_UNIX);
        let tcp = self.has_tcp().then_some([libc::AF_INET, libc::AF_INET6]);
        unix.into_iter().chain(tcp.into_iter().flatten()).collect()
    }

    /// Connects to one of the servers, logs in and runs the statement `begin`, within the first budget. Further statements have what
    /// is left of the second one.
    pub(crate) fn connect_to(
        &self,
        index: usize,
        begin: &str,
        (login, all): (Budget, Budget),
    ) -> Result<Conn, ConnectionError> {
        let server = match self.hosts.get(index) {
            Some(host) if self.is_tcp(host) => {
                let tls = self.tls().transpose().map_err(ConnectionError::Protocol)?;
                Server::Tcp(self.address(host), tls)
            }
            _ => Server::Unix(self.socket.clone().into()),
        };
        let target = Target {
            server,
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database.clone(),
            plain_password: self.plain_password,
            verified: matches!(self.tls, TlsMode::VerifyCa | TlsMode::VerifyIdentity),
        };
        let (login, now) = (self.for_login(login), Instant::now());
        let mut connection = Conn::open(&target, login)?;
        connection.begin(login.until(now + login.time));
        connection.query_drop(begin)?;
        connection.begin(all.until(now + all.time));
        Ok(connection)
    }

    /// Others may answer in place of a server that takes too long. Of the only one, that is known when the budget is used up.
    fn for_login(&self, budget: Budget) -> Budget {
        let limit = self.connect_timeout;
        match self.hosts.len() {
            1 => Budget { silence: budget.silence.max(limit), ..budget },
            _ => Budget { time: budget.time.min(limit), silence: limit, ..budget },
        }
    }

    /// The system user that the server identifies by the socket, for root, who may become that user: the file is that of the
    /// service, and names no password.
    pub fn socket_user(&self) -> Option<Identity> {
        let by_socket = !self.has_tcp() && self.password.is_none();
        let user = UserAccount::named(&self.user).filter(|_| by_socket && geteuid().is_root())?;
        Some(Identity { user: user.uid, group: user.gid, groups: Vec::new() })
    }

    /// Read for each connection, because certificates may have been replaced.
    fn tls(&self) -> Option<Result<Arc<ClientConfig>, String>> {
        let check = match self.tls {
            TlsMode::Off => return None,
            TlsMode::EncryptOnly => TlsCheck::Nothing,
            TlsMode::VerifyCa => TlsCheck::Authority,
            TlsMode::VerifyIdentity => TlsCheck::Identity,
        };
        let identity = self.cert.as_deref().zip(self.key.as_deref());
        Some(client_config(self.ca.as_deref(), identity, check))
    }
}

#[cfg(test)]
mod tests;
