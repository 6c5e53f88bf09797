//! The server and the login: the sections `[client]` and `[addrwatch]` of a file in the format of my.cnf.
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
    time::Duration,
};

use aw_output::{Access, Error, HostPort, failed};
use aw_peer::{Budget, TlsCheck, client_config, read_pem};
use aw_service::{FileKind, Identity, Secret, UserAccount, open_file, read_opened};
use rustix::process::geteuid;
use rustls::ClientConfig;

use crate::connection::{Conn, Error as ConnectionError, Server, Target};

/// For the login, and for all statements of a transaction together. A server that sends nothing fails sooner: meanwhile the
/// program does not read the rings.
pub const TRANSACTION: Budget =
    Budget { time: Duration::from_secs(10), silence: Duration::from_secs(3), bytes: 4 << 20 };
/// Bytes of the file, at most.
const MAX_CONFIG: u64 = 1 << 20;

/// How to reach the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    host: String,
    port: u16,
    socket: String,
    /// TCP or the socket, whatever the host is.
    tcp: Option<bool>,
    user: String,
    password: Option<Secret>,
    database: String,
    tls: TlsMode,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    /// The password may be sent without TLS.
    plain_password: bool,
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
            host: "localhost".into(),
            port: 3306,
            socket: "/run/mysqld/mysqld.sock".into(), // of Debian's server
            tcp: None,
            user: "addrwatch".into(),
            password: None,
            database: "addrwatch".into(),
            tls: TlsMode::Off,
            ca: None,
            cert: None,
            key: None,
            plain_password: false,
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

    /// Sets the host, and the port if there is one: a port means TCP.
    fn set_host(&mut self, text: &str) -> Result<(), String> {
        let HostPort { host, port } = HostPort::parse(text, 0)?;
        self.host = host;
        if port > 0 {
            (self.port, self.tcp) = (port, Some(true));
        }
        Ok(())
    }

    /// The host, if the connection uses TCP. `localhost` means the socket, as for every client of these
    /// servers.
    fn tcp_host(&self) -> Option<&str> {
        self.tcp.unwrap_or(self.host != "localhost").then_some(&self.host)
    }

    /// Takes the parts of a URL `mysql://[USER@][HOST[:PORT]][/DATABASE]`, without the `mysql://`. A
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
        let host = if server.is_empty() { Ok(()) } else { self.set_host(server) };
        if special(user) || special(database) || host.is_err() {
            return Err(failed(
                "a URL has the form mysql://[USER@][HOST[:PORT]][/DATABASE] (write other settings into the file of --config)",
            ));
        }
        for (field, text) in [(&mut self.user, user), (&mut self.database, database)] {
            if !text.is_empty() {
                *field = text.into();
            }
        }
        Ok(())
    }

    /// The server, for messages.
    pub fn server(&self) -> String {
        match self.tcp_host() {
            Some(host) => HostPort { host: host.into(), port: self.port }.to_string(),
            None => self.socket.clone(),
        }
    }

    /// The name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Files and ports that a connection needs.
    pub fn access(&self) -> Vec<Access> {
        let mut access: Vec<_> = self.tls_files().map(|path| Access::Read(path.clone())).collect();
        if self.tcp_host().is_some() {
            access.extend(Access::host_names());
            access.push(Access::Connect(self.port));
        }
        access
    }

    /// Families of sockets that a connection needs.
    pub fn sockets(&self) -> Vec<i32> {
        self.tcp_host().map_or(vec![libc::AF_UNIX], |_| vec![libc::AF_INET, libc::AF_INET6])
    }

    /// Connects and logs in; the connection begins with the statement `begin`.
    pub fn connect(&self, begin: &str, budget: Budget) -> Result<Conn, ConnectionError> {
        let server = match self.tcp_host() {
            None => Server::Unix(self.socket.clone().into()),
            Some(host) => {
                let server = HostPort { host: host.into(), port: self.port };
                Server::Tcp(server, self.tls().transpose().map_err(ConnectionError::Protocol)?)
            }
        };
        let target = Target {
            server,
            user: self.user.clone(),
            password: self.password.clone(),
            database: self.database.clone(),
            plain_password: self.plain_password,
            verified: matches!(self.tls, TlsMode::VerifyCa | TlsMode::VerifyIdentity),
        };
        let mut connection = Conn::open(&target, budget)?;
        connection.query_drop(begin)?;
        Ok(connection)
    }

    /// The system user that the server identifies by the socket, for root, who may become that user: the file is that of the
    /// service, and names no password.
    pub fn socket_user(&self) -> Option<Identity> {
        let by_socket = self.tcp_host().is_none() && self.password.is_none();
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
