//! The server and the login: the sections `[client]` and `[addrwatch]` of a file in the format of my.cnf.
//!
//! It trusts the file's owner. A file with a password that all users can read is refused.

mod option_file;
#[cfg(any(test, fuzzing))]
pub(crate) use option_file::parse as parse_option_file;

use std::{
    fs::{self, File},
    io::Read,
    net::Ipv6Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use aw_output::{Access, Error, HostPort, failed};
use aw_service::Secret;
use mysql::{ClientIdentity, Opts, OptsBuilder, SslOpts};

/// Time limits of a connection and of a statement: the ring does not wait.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

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
        }
    }
}

impl ServerConfig {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<ServerConfig, Error> {
        let shown = path.display();
        let failure = |error| Error::io(format_args!("read {shown}"), error);
        let mut file = File::open(path).map_err(failure)?;
        let mode = file.metadata().map_err(failure)?.permissions().mode();
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failure)?;
        let config =
            option_file::parse(&text).map_err(|why| failed(format_args!("read {shown}: {why}")))?;
        let has_password = config.password.is_some();
        for (bit, why) in [
            (0o002, "all users can write to it (chmod o-w)"),
            (0o004, "it contains a password, and all users can read it (chmod o-r)"),
        ] {
            if mode & bit != 0 && (has_password || bit == 0o002) {
                return Err(failed(format_args!("read {shown}: {why}")));
            }
        }
        for file in config.tls_files() {
            fs::metadata(file).map_err(|error| {
                Error::io(format_args!("read {shown}: find {}", file.display()), error)
            })?;
        }
        Ok(config)
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
        self.tcp_host().map_or(Vec::new(), |_| vec![libc::AF_INET, libc::AF_INET6])
    }

    /// Options for the library; each connection begins with the statement `begin`.
    pub fn options(&self, begin: &str) -> Opts {
        // Explicitly, because another crate of the workspace may enable a second provider of rustls.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = self.tcp_host().map(|host| match host.parse::<Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => host.into(),
        });
        let identity = self.cert.clone().zip(self.key.clone());
        let tls = SslOpts::default()
            .with_root_cert_path(self.ca.clone())
            .with_client_identity(identity.map(|(cert, key)| ClientIdentity::new(cert, key)))
            .with_danger_accept_invalid_certs(self.tls == TlsMode::EncryptOnly)
            .with_danger_skip_domain_validation(self.tls == TlsMode::VerifyCa);
        let encrypted = host.is_some() && self.tls != TlsMode::Off;
        OptsBuilder::new()
            .socket(host.is_none().then(|| self.socket.clone()))
            .ip_or_hostname(host)
            .tcp_port(self.port)
            .prefer_socket(false)
            .user(Some(self.user.as_str()))
            .pass(self.password.as_ref().map(Secret::reveal))
            .db_name(Some(self.database.as_str()))
            .ssl_opts(encrypted.then_some(tls))
            .tcp_connect_timeout(Some(CONNECT_TIMEOUT))
            .read_timeout(Some(ANSWER_TIMEOUT))
            .write_timeout(Some(ANSWER_TIMEOUT))
            .stmt_cache_size(0)
            .init(vec![begin])
            .into()
    }
}

#[cfg(test)]
mod tests;
