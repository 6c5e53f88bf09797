//! The login to a mail server (RFC 4954): with a password, or with a token (XOAUTH2, a mechanism of Google that Microsoft
//! has, too).

use std::path::PathBuf;

use aw_service::Secret;
use lettre::transport::smtp::{
    authentication::{Credentials, DEFAULT_MECHANISMS, Mechanism},
    commands,
};

use crate::{
    connection::{Connection, SmtpError},
    token::TokenSource,
};

pub(crate) enum Login {
    Password(PasswordLogin),
    Token { user: String, source: TokenSource },
}

/// A login with a password.
pub(crate) struct PasswordLogin {
    pub user: String,
    /// As it was read at the start.
    pub password: Secret,
    /// Read again for each login, so that a corrected password needs no restart.
    pub file: Option<PathBuf>,
}

impl PasswordLogin {
    fn log_in(&self, connection: &mut Connection) -> Result<(), String> {
        let again = self.file.as_deref().map(|file| Secret::read("password", Some(file), None));
        let (password, unread) = match again {
            Some(Ok(Some(password))) => (password, None),
            Some(Err(why)) => (self.password.clone(), Some(why)),
            _ => (self.password.clone(), None),
        };
        let credentials = Credentials::new(self.user.clone(), password.reveal().to_owned());
        connection.log_in(DEFAULT_MECHANISMS, &credentials).map_err(|error| {
            let why = password.redact(&error.to_string());
            let source = match (&self.file, unread) {
                (Some(file), None) => format!(
                    "the first line of {}, which is read again for each login",
                    file.display()
                ),
                (_, Some(unread)) => {
                    format!("the password, which was read at the start: now, {unread}")
                }
                (None, None) => "the password, and restart the program".into(),
            };
            match error.status() {
                // RFC 4954, 6.
                Some(535 | 432) => format!("{why} (check user and {source})"),
                Some(534) => format!(
                    "{why} (the server wants another kind of password, such as one that it makes for a single program: put it into {source})"
                ),
                Some(530 | 538) => format!("{why} (set tls = \"starttls\" or \"tls\")"),
                Some(code) if code >= 500 => format!("{why} (check user, and {source})"),
                _ => why,
            }
        })
    }
}

impl Login {
    /// The access token, if one is needed. A token is requested before the connection to the mail server is made, which
    /// would not wait.
    pub fn token(&self) -> Result<Option<Secret>, String> {
        match self {
            Login::Password(_) => Ok(None),
            Login::Token { source, .. } => source.token().map(Some),
        }
    }

    /// Logs in on a new connection, with the token of [`Login::token`].
    pub fn log_in(
        &self,
        connection: &mut Connection,
        token: Option<&Secret>,
    ) -> Result<(), String> {
        match (self, token) {
            (Login::Password(login), _) => login.log_in(connection),
            (Login::Token { user, source }, Some(token)) => {
                send_token(connection, user, token).inspect_err(|_| source.discard())
            }
            (Login::Token { .. }, None) => Err("no token".into()),
        }
    }
}

fn send_token(connection: &mut Connection, user: &str, token: &Secret) -> Result<(), String> {
    if !connection.offers_login(Mechanism::Xoauth2) {
        return Err(
            "the server does not offer a login with a token (XOAUTH2), which oauth needs".into()
        );
    }
    let credentials = Credentials::new(user.to_owned(), token.reveal().to_owned());
    let send = || -> Result<(), SmtpError> {
        let login = commands::Auth::new(Mechanism::Xoauth2, credentials, None)
            .map_err(|error| SmtpError::Other(error.to_string()))?;
        // A refusal may have two parts: details as a challenge, and after an empty answer the error.
        if connection.command(login)?.has_code(334) {
            connection.command("\r\n")?;
        }
        Ok(())
    };
    send().map_err(|error| {
        let why = token.redact(&error.to_string());
        match error.status() {
            Some(_) => format!(
                "{why} (the server refused the token: check user and the scope of the token)"
            ),
            None => why,
        }
    })
}
