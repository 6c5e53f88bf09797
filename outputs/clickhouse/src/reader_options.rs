//! What `aw-query` and `aw-web` need to ask the servers: a URL, and files for the login.

use std::path::PathBuf;

use aw_notify::read_secret;
use aw_output::{Error, HostPort, failed};
use clap::Args;

use crate::{
    cluster::{Cluster, ClusterOptions, Login, ServerUrl},
    errors::Purpose,
    schema::parse_database,
};

const FORM: &str = "a URL of ClickHouse has the form clickhouse://[USER@]HOST[:PORT][,HOST[:PORT]...][/DATABASE], or clickhouses:// with TLS";

/// The options for a history in ClickHouse.
#[derive(Args, Clone, Debug, Default)]
pub struct ReaderOptions {
    /// For clickhouse://USER@...: read the password from the first line of FILE, which other users must not be able to read
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// For clickhouse://: send the password without TLS also to another machine: every network on the way can read it
    #[arg(long)]
    pub plain_password: bool,

    /// For clickhouses://: trust the certificate authorities in FILE (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// For clickhouses://: present the client certificate in FILE (PEM)
    #[arg(long, value_name = "FILE", requires = "key_file")]
    pub certificate_file: Option<PathBuf>,

    /// Private key of the client certificate (PEM), a file that other users may not read
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    pub key_file: Option<PathBuf>,
}

impl ReaderOptions {
    /// The first option that is given.
    pub fn given(&self) -> Option<&'static str> {
        let ReaderOptions { password_file, plain_password, ca_file, certificate_file, key_file } =
            self;
        let given = [
            (password_file.is_some(), "--password-file"),
            (*plain_password, "--plain-password"),
            (ca_file.is_some(), "--ca-file"),
            (certificate_file.is_some(), "--certificate-file"),
            (key_file.is_some(), "--key-file"),
        ];
        given.into_iter().find_map(|(is_given, name)| is_given.then_some(name))
    }

    /// The servers of a URL without its scheme. Reads the files, which may be of root.
    pub fn cluster(&self, tls: bool, url: &str) -> Result<Cluster, Error> {
        let (user, servers, database) = parse(tls, url).map_err(failed)?;
        let file = self.password_file.as_deref();
        if file.is_some() && user.is_none() {
            return Err(failed("--password-file needs a user (clickhouse://USER@HOST/DATABASE)"));
        }
        let password = read_secret("password", file, None).map_err(failed)?;
        let options = ClusterOptions {
            servers,
            database,
            login: user.map(|name| Login { name, password, file: None }),
            ca_file: self.ca_file.clone(),
            identity: self.certificate_file.clone().zip(self.key_file.clone()),
            plain_password: self.plain_password,
        };
        Cluster::new(options, Purpose::Select).map_err(failed)
    }
}

type Parsed = (Option<String>, Vec<ServerUrl>, String);

fn parse(tls: bool, url: &str) -> Result<Parsed, String> {
    let (authority, database) = url.split_once('/').unwrap_or((url, ""));
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    if user.is_some_and(|user| user.contains(':')) {
        return Err("all users can read a password in a URL (use --password-file FILE)".into());
    }
    if user.is_some_and(|user| user.is_empty() || user.contains(['/', '?', '#', '%', '@'])) {
        return Err(FORM.into());
    }
    let port = if tls { 8443 } else { 8123 };
    let server = |text: &str| {
        let text = if text.is_empty() { "localhost" } else { text };
        HostPort::parse(text, port).map(|server| ServerUrl { tls, server })
    };
    let servers: Result<Vec<_>, _> = hosts.split(',').map(server).collect();
    let database = if database.is_empty() { "addrwatch" } else { database };
    let database = parse_database(database).map_err(|_| FORM)?;
    Ok((user.map(str::to_owned), servers.map_err(|_| FORM)?, database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let shown = |tls, url: &str| {
            let (user, servers, database) = parse(tls, url)?;
            let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
            Ok::<_, String>((user.unwrap_or_default(), servers.join(" "), database))
        };
        for (tls, url, expected) in [
            (false, "db", ("", "http://db:8123", "addrwatch")),
            (false, "", ("", "http://localhost:8123", "addrwatch")),
            (true, "ro@db/lan", ("ro", "https://db:8443", "lan")),
            (true, "a,[::1]:9/x", ("", "https://a:8443 https://[::1]:9", "x")),
        ] {
            let (user, servers, database) = shown(tls, url).unwrap();
            assert_eq!((&*user, &*servers, &*database), expected, "{url}");
        }
        for bad in ["@db", "a%b@db", "db/x/y", "db/a-b", "db:0", "db?x", "db/x?y"] {
            assert_eq!(shown(false, bad).unwrap_err(), FORM, "{bad}");
        }
        assert!(shown(false, "ro:secret@db").unwrap_err().contains("--password-file"));
    }
}
