//! The options of mail: the table `mail` or `smtp` of a configuration.

use std::path::{Path, PathBuf};

use aw_peer::is_local_host;
use aw_service::{HostPort, Secret};
use serde::Deserialize;

use crate::{MailSecrets, OauthOptions, check_addresses, hello};

/// The server, the addresses and the protection of mail.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct MailOptions {
    /// `HOST`, `HOST:PORT`, `IPv6` or `[IPv6]:PORT`.
    pub server: String,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses.
    pub to: Vec<String>,
    /// How the connection is protected; default: [`Tls::None`] to this machine, [`Tls::Starttls`] to others.
    pub tls: Option<Tls>,
    /// Certificate of the authority to trust, in PEM, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// The user to log in as.
    pub user: Option<String>,
    /// The file whose first line is the password; other users must not be able to read it.
    pub password_file: Option<PathBuf>,
    /// The environment variable with the password.
    pub password_env: Option<String>,
    /// How to log in with a token instead of a password.
    pub oauth: Option<OauthOptions>,
    /// The host name in EHLO, instead of this machine's.
    pub hello: Option<String>,
    /// Whether the login may be sent without TLS to another machine.
    #[serde(default)]
    pub plain_password: bool,
}

/// How a connection is protected.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// Not at all.
    None,
    /// With STARTTLS if the server offers it, without checking its certificate: against passive eavesdroppers only.
    Opportunistic,
    /// With STARTTLS; if the server does not offer it, nothing is sent.
    Starttls,
    /// From the first byte on.
    Tls,
}

impl MailOptions {
    /// The server. The default port is 465 with `tls = "tls"`, 25 without.
    pub fn host_port(&self) -> Result<HostPort, String> {
        let default = if self.tls == Some(Tls::Tls) { 465 } else { 25 };
        HostPort::parse(&self.server, default).map_err(|why| format!("mail server {why}"))
    }

    /// Checks what can be checked without reading a file.
    pub fn check(&self) -> Result<(), String> {
        self.hello.as_deref().map_or(Ok(()), hello::check)?;
        if let Some(oauth) = &self.oauth {
            oauth.check()?;
            if self.user.is_none() {
                return Err("mail: oauth needs user, the address of the mailbox (set user)".into());
            }
            if self.password_file.is_some() || self.password_env.is_some() {
                return Err("mail: oauth and a password exclude each other (remove password_file and password_env)".into());
            }
        }
        check_addresses("mail: to", &self.to)?;
        check_addresses("mail: from", std::slice::from_ref(&self.from))?;
        self.host_port().map(drop)
    }

    /// Checks the options and reads the secrets that they name.
    pub fn secrets(&self) -> Result<MailSecrets, String> {
        self.check()?;
        MailSecrets::read(self)
    }

    /// Environment variables with secrets.
    pub fn secret_variables(&self) -> impl Iterator<Item = &String> {
        let oauth = self.oauth.iter();
        let of_oauth = oauth.flat_map(|oauth| [&oauth.client_secret_env, &oauth.refresh_token_env]);
        of_oauth.chain([&self.password_env]).flatten()
    }

    /// The ports that connections are made to.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let server = self.host_port().ok().map(|server| server.port);
        server.into_iter().chain(self.oauth.as_ref().and_then(OauthOptions::port))
    }

    /// Reads the password.
    pub(crate) fn password(&self) -> Result<Option<Secret>, String> {
        let (file, variable) = (self.password_file.as_deref(), self.password_env.as_deref());
        let password = read_secret("password", file, variable)?;
        match (&self.user, &password) {
            (Some(user), None) if self.oauth.is_none() => Err(format!(
                "mail: user {user:?} needs a password or a token (set password_file, password_env or oauth)"
            )),
            (None, Some(_)) => Err("mail: a password needs a user (set user)".into()),
            _ => Ok(password),
        }
    }

    /// How the connection is protected, with the default if `tls` is not set.
    pub(crate) fn protection(&self) -> Result<Tls, String> {
        let is_local = is_local_host(&self.host_port()?.host);
        let tls = self.tls.unwrap_or(if is_local { Tls::None } else { Tls::Starttls });
        let is_plain = matches!(tls, Tls::None | Tls::Opportunistic) && !is_local;
        if is_plain && self.user.is_some() && !self.plain_password {
            return Err(format!(
                "mail server {}: a password is not sent without TLS (set tls = \"starttls\" or \"tls\", or plain_password = true)",
                self.server
            ));
        }
        Ok(tls)
    }
}

/// Reads a secret, with the way to make a file that is missing.
pub fn read_secret(
    name: &str,
    file: Option<&Path>,
    variable: Option<&str>,
) -> Result<Option<Secret>, String> {
    Secret::read(name, file, variable).map_err(|why| match file {
        Some(_) if why.ends_with(": no such file") => format!(
            "{why} (write the secret into its first line, and let only the user of the service read it: chown and chmod 600; or correct {name}_file)"
        ),
        _ => why,
    })
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
            ("127.0.0.1:2525", "", "127.0.0.1:2525"),
            ("mail.example.org", "", "mail.example.org:25"),
            ("mail.example.org", "tls = \"tls\"", "mail.example.org:465"),
            ("[2001:db8::1]:587", "", "[2001:db8::1]:587"),
            ("::1", "", "[::1]:25"),
        ] {
            assert_eq!(options(server, more).host_port().unwrap().to_string(), expected);
        }
        for server in ["", ":25", "a:b", "a:0", "a:70000", "[::1", "[::1]25"] {
            assert!(options(server, "").check().is_err(), "{server}");
        }
    }

    /// They are refused before anything is sent.
    #[test]
    fn addresses() {
        let mut wrong = options("localhost", "");
        wrong.to = vec!["noc".into()];
        let why = wrong.check().unwrap_err();
        assert!(why.starts_with("mail: to: mail address \"noc\": "), "{why}");
        assert!(why.ends_with("(write NAME@DOMAIN)"), "{why}");
        let sender = MailOptions { from: "router".into(), ..options("localhost", "") };
        assert!(sender.check().unwrap_err().starts_with("mail: from: mail address \"router\""));
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
        let plain = "tls = \"none\"\nuser = \"x\"\nplain_password = true";
        assert_eq!(options("192.0.2.1", plain).protection(), Ok(Tls::None));
    }
}
