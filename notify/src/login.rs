//! The login to a mail server (RFC 4954): with a password, or with a token (XOAUTH2, a mechanism of Google that Microsoft
//! has, too).

use aw_service::Secret;
use lettre::transport::smtp::{
    Error as SmtpError,
    authentication::{Credentials, DEFAULT_MECHANISMS, Mechanism},
    client::SmtpConnection,
    commands,
};

use crate::{smtp::error_chain, token::TokenSource};

pub(crate) enum Login {
    Password(Credentials),
    Token { user: String, source: TokenSource },
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
        connection: &mut SmtpConnection,
        token: Option<&Secret>,
    ) -> Result<(), String> {
        match (self, token) {
            (Login::Password(credentials), _) => {
                let sent = connection.auth(DEFAULT_MECHANISMS, credentials);
                sent.map(drop).map_err(|error| error_chain(&error))
            }
            (Login::Token { user, source }, Some(token)) => {
                send_token(connection, user, token).inspect_err(|_| source.discard())
            }
            (Login::Token { .. }, None) => Err("no token".into()),
        }
    }
}

fn send_token(connection: &mut SmtpConnection, user: &str, token: &Secret) -> Result<(), String> {
    if !connection.server_info().supports_auth_mechanism(Mechanism::Xoauth2) {
        return Err(
            "the server does not offer a login with a token (XOAUTH2), which oauth needs".into()
        );
    }
    let credentials = Credentials::new(user.to_owned(), token.reveal().to_owned());
    let send = || -> Result<(), SmtpError> {
        let login = commands::Auth::new(Mechanism::Xoauth2, credentials, None)?;
        // A refusal may have two parts: details as a challenge, and after an empty answer the error.
        if connection.command(login)?.has_code(334) {
            connection.command("\r\n")?;
        }
        Ok(())
    };
    send().map_err(|error| {
        let why = token.redact(&error_chain(&error));
        match error.status() {
            Some(_) => format!(
                "{why} (the server refused the token: check user and the scope of the token)"
            ),
            None => why,
        }
    })
}
