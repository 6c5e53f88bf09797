//! The section `[mail]` of a configuration.

use std::{net::IpAddr, path::PathBuf};

use aw_service::Secret;
use serde::Deserialize;

/// Where mail goes, and how.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct MailOptions {
    /// `HOST` or `HOST:PORT`; an IPv6 address stands in brackets.
    pub server: String,
    /// Who sends.
    pub from: String,
    /// Who receives.
    pub to: Vec<String>,
    /// How the connection is protected.
    pub tls: Option<Tls>,
    /// Trust this authority, in PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Log in as this user.
    pub user: Option<String>,
    /// Its password is the first line of this file, which others may not read...
    pub password_file: Option<PathBuf>,
    /// ...or this variable of the environment.
    pub password_env: Option<String>,
    /// The name to greet the server with, instead of this machine's.
    pub hello: Option<String>,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at all: the default to this very machine.
    None,
    /// From STARTTLS on where the server offers it, whatever its certificate: for those who had no protection
    /// before. It keeps those out who listen, and nobody else.
    Opportunistic,
    /// From STARTTLS on, without which nothing is sent: the default to others.
    Starttls,
    /// From the first byte.
    Tls,
}

/// Whether a host, by its name or address, is this very machine: what is sent to it, no network sees.
pub fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl MailOptions {
    /// The server's name or address, and its port.
    pub fn host_and_port(&self) -> Result<(&str, u16), String> {
        let fault = || format!("mail server {:?} is not HOST or HOST:PORT", self.server);
        let default = match self.tls {
            Some(Tls::Tls) => 465,
            _ => 25,
        };
        let (host, port) = match self.server.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(fault)?,
            None => {
                self.server.find(':').map_or((&*self.server, ""), |at| self.server.split_at(at))
            }
        };
        let port = match port.strip_prefix(':') {
            Some(port) => port.parse().map_err(|_| fault())?,
            None if port.is_empty() => default,
            None => return Err(fault()),
        };
        if host.is_empty() || port == 0 { Err(fault()) } else { Ok((host, port)) }
    }

    /// Reads the password.
    pub fn password(&self) -> Result<Option<Secret>, String> {
        let (file, variable) = (self.password_file.as_deref(), self.password_env.as_deref());
        let password = Secret::read("password", file, variable)?;
        match (&self.user, &password) {
            (Some(user), None) => {
                Err(format!("mail: user {user:?} without password_file or password_env"))
            }
            (None, Some(_)) => Err("mail: a password, but no user".into()),
            _ => Ok(password),
        }
    }

    /// How the connection is protected, where nothing is said.
    pub(crate) fn protection(&self) -> Result<Tls, String> {
        let host = self.host_and_port()?.0;
        let is_here = is_here(host);
        let tls = self.tls.unwrap_or(if is_here { Tls::None } else { Tls::Starttls });
        if matches!(tls, Tls::None | Tls::Opportunistic) && self.user.is_some() && !is_here {
            return Err(format!(
                "mail server {}: a password is not sent without protection (set tls)",
                self.server
            ));
        }
        Ok(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(server: &str, more: &str) -> MailOptions {
        let text = format!("server = {server:?}\nfrom = \"a@example.org\"\nto = []\n{more}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn servers() {
        for (server, more, expected) in [
            ("127.0.0.1:2525", "", ("127.0.0.1", 2525)),
            ("mail.example.org", "", ("mail.example.org", 25)),
            ("mail.example.org", "tls = \"tls\"", ("mail.example.org", 465)),
            ("[2001:db8::1]:25", "", ("2001:db8::1", 25)),
            ("[::1]", "", ("::1", 25)),
        ] {
            assert_eq!(options(server, more).host_and_port(), Ok(expected));
        }
        for server in ["", ":25", "a:b", "a:0", "a:70000", "[::1", "[::1]25"] {
            assert!(options(server, "").host_and_port().is_err(), "{server}");
        }
    }

    #[test]
    fn protected_by_default() {
        assert_eq!(options("127.0.0.1:25", "").protection(), Ok(Tls::None));
        assert_eq!(options("mail.example.org", "").protection(), Ok(Tls::Starttls));
        assert!(options("192.0.2.1", "tls = \"none\"\nuser = \"x\"").protection().is_err());
        assert!(
            options("192.0.2.1", "tls = \"opportunistic\"\nuser = \"x\"").protection().is_err()
        );
        assert!(options("localhost", "user = \"x\"").protection().is_ok());
    }
}
