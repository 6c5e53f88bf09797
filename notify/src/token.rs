//! Access tokens for mail: requested from the token endpoint or from a program, and used until they expire.

use std::{
    io::Read,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aw_service::{Secret, warn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::{
    Agent,
    http::{StatusCode, Uri},
};

use crate::{MailOptions, http, oauth::OauthOptions, program::output_of, token_file::TokenFile};

/// Bytes of a response that are read, at most.
const MAX_RESPONSE: u64 = 64 * 1024;
/// The time that a token is valid if the server does not report it, and the end of that time in which it is not used.
const DEFAULT_SECONDS: u64 = 300;
const MARGIN_SECONDS: u64 = 60;

/// The secrets of mail, and the access token in use. The token lives as long as the copies of this value.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct MailSecrets {
    pub(crate) password: Option<Secret>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    #[serde(skip)]
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The access token, and until when it is used.
    access: Option<(Secret, Instant)>,
    /// A refresh token that replaced the configured one and could not be stored.
    unsaved: Option<Secret>,
}

impl MailSecrets {
    /// Reads the secrets that the options name.
    pub(crate) fn read(options: &MailOptions) -> Result<MailSecrets, String> {
        let (client_secret, refresh_token) = match &options.oauth {
            Some(oauth) => (oauth.client_secret()?, oauth.refresh_token()?),
            None => (None, None),
        };
        let password = options.password()?;
        Ok(MailSecrets { password, client_secret, refresh_token, state: Arc::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where access tokens come from.
pub(crate) struct TokenSource {
    endpoint: Endpoint,
    secrets: MailSecrets,
    limit: Duration,
}

enum Endpoint {
    Program(Vec<String>),
    Server(Box<TokenServer>),
}

struct TokenServer {
    options: OauthOptions,
    agent: Agent,
    url: Uri,
    /// Scheme and host, for messages.
    shown: String,
    file: TokenFile,
}

/// A response that is an error.
struct TokenError {
    /// A code such as `invalid_grant` (RFC 6749, 5.2), or the status.
    code: String,
    text: String,
}

impl TokenSource {
    /// Reads `ca_file`. `file`: where a refresh token that replaces
    /// the configured one is stored.
    pub fn new(
        options: &OauthOptions,
        secrets: &MailSecrets,
        ca_file: Option<&Path>,
        file: &Path,
        limit: Duration,
    ) -> Result<TokenSource, String> {
        options.check()?;
        let endpoint = match (&options.command, &options.token_url) {
            (None, Some(url)) => {
                let (url, shown) = http::parse_url(url)?;
                Endpoint::Server(Box::new(TokenServer {
                    options: options.clone(),
                    agent: http::agent("addrwatch-rs", ca_file, limit)?,
                    url,
                    shown,
                    file: TokenFile(file.into()),
                }))
            }
            (command, _) => Endpoint::Program(command.clone().unwrap_or_default()),
        };
        Ok(TokenSource { endpoint, secrets: secrets.clone(), limit })
    }

    /// The access token in use, or a new one.
    pub fn token(&self) -> Result<Secret, String> {
        let mut state = self.secrets.state();
        if let Some((token, until)) = &state.access
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        match &self.endpoint {
            // It has a cache of its own, and knows how long a token is valid.
            Endpoint::Program(command) => {
                let printed = output_of(command, self.limit)?;
                let name = command.first().map_or("", |name| name);
                valid_token(printed.trim()).map_err(|why| format!("run {name}: {why}"))
            }
            Endpoint::Server(server) => server.token(&self.secrets, &mut state, self.limit),
        }
    }

    /// The mail server has refused the token: the next one is a new one.
    pub fn discard(&self) {
        self.secrets.state().access = None;
    }
}

impl TokenServer {
    fn token(
        &self,
        secrets: &MailSecrets,
        state: &mut State,
        limit: Duration,
    ) -> Result<Secret, String> {
        let configured = secrets.refresh_token.as_ref();
        // Another process may have stored a newer one: a test of the channel.
        let stored = configured.map_or(Ok(None), |token| self.file.newest(token))?;
        let mut used = state.unsaved.clone().or(stored).or_else(|| configured.cloned());
        let request = |token| self.request(token, secrets.client_secret.as_ref(), limit);
        let mut response = request(used.as_ref());
        // The user may have logged in again and got the configured token again. Until that one is accepted, the newest one is
        // kept: some servers refuse a valid token for a time (Microsoft's conditional access).
        if response.as_ref().is_err_and(|error| error.code == "invalid_grant")
            && used.as_ref() != configured
            && let Ok(accepted) = request(configured)
        {
            self.file.remove();
            state.unsaved = None;
            used = configured.cloned();
            response = Ok(accepted);
        }
        let response = response.map_err(|error| {
            let hidden = [used.as_ref(), configured, secrets.client_secret.as_ref()];
            let text = self.explain(&error);
            hidden.into_iter().flatten().fold(text, |text, secret| secret.redact(&text))
        })?;
        if let (Some(new), Some(token)) = (&response.refresh_token, configured)
            && Some(new) != used.as_ref()
        {
            state.unsaved = (!self.store(token, new)).then(|| new.clone());
        }
        state.access = Some((response.access_token.clone(), response.until));
        Ok(response.access_token)
    }

    /// Stores a refresh token that replaces the configured one. Returns whether it is stored.
    fn store(&self, configured: &Secret, new: &Secret) -> bool {
        let stored = self.file.store(configured, new);
        if let Err(why) = &stored {
            warn(format_args!(
                "the refresh token that {} issued is not stored and may be needed after a restart: {why}",
                self.shown
            ));
        }
        stored.is_ok()
    }

    fn request(
        &self,
        refresh_token: Option<&Secret>,
        client_secret: Option<&Secret>,
        limit: Duration,
    ) -> Result<TokenResponse, TokenError> {
        let fault = |why: String| TokenError { code: String::new(), text: why };
        let grant = if refresh_token.is_some() { "refresh_token" } else { "client_credentials" };
        let form = [
            ("grant_type", Some(grant)),
            ("refresh_token", refresh_token.map(Secret::reveal)),
            ("client_id", self.options.client_id.as_deref()),
            ("client_secret", client_secret.map(Secret::reveal)),
            ("scope", self.options.scope.as_deref()),
        ];
        let form = form.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let sent = self.agent.post(&self.url).header("Accept", "application/json").send_form(form);
        let response = sent.map_err(|error| fault(http::why(&error, limit)))?;
        let status = response.status();
        let mut bytes = Vec::new();
        let body = response.into_body().into_reader().take(MAX_RESPONSE).read_to_end(&mut bytes);
        body.map_err(|error| fault(aw_service::cause(&error)))?;
        parse_response(status, &bytes)
    }

    /// An error of the server, with its remedy.
    fn explain(&self, error: &TokenError) -> String {
        let remedy = match &*error.code {
            "invalid_grant" => format!(
                " (log in again and put the new refresh token into {})",
                self.options.token_key()
            ),
            "invalid_client" | "unauthorized_client" => {
                " (check client_id and the client secret, which may have expired)".into()
            }
            "invalid_scope" => " (check scope)".into(),
            _ => String::new(),
        };
        format!("get a token from {}: {}{remedy}", self.shown, error.text)
    }
}

struct TokenResponse {
    access_token: Secret,
    /// Until when it is used.
    until: Instant,
    refresh_token: Option<Secret>,
}

/// A response of the token endpoint (RFC 6749, 5.1 and 5.2).
fn parse_response(status: StatusCode, body: &[u8]) -> Result<TokenResponse, TokenError> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| json[key].as_str().unwrap_or_default();
    if status.is_redirection() {
        let text = format!("{status}: redirections are not followed (check token_url)");
        return Err(TokenError { code: String::new(), text });
    }
    if !status.is_success() || !text("error").is_empty() {
        let (code, description) = (http::one_line(text("error")), text("error_description"));
        let text = match (code.is_empty(), description.is_empty()) {
            (true, _) => format!("{status}: {}", http::one_line(&String::from_utf8_lossy(body))),
            (false, true) => code.clone(),
            (false, false) => format!("{code}: {}", http::one_line(description)),
        };
        return Err(TokenError { code, text });
    }
    let fault = |why: &str| TokenError { code: String::new(), text: format!("{status}: {why}") };
    let access_token = valid_token(text("access_token")).map_err(fault)?;
    // Some servers send the number as text.
    let seconds = &json["expires_in"];
    let seconds = seconds.as_u64().or_else(|| seconds.as_str()?.parse().ok());
    let seconds = seconds.unwrap_or(DEFAULT_SECONDS).min(86_400);
    let until = Instant::now() + Duration::from_secs(seconds.saturating_sub(MARGIN_SECONDS));
    let refresh_token = valid_token(text("refresh_token")).ok();
    Ok(TokenResponse { access_token, until, refresh_token })
}

/// A token as it may be sent to a mail server: other characters would end the token.
fn valid_token(text: &str) -> Result<Secret, &'static str> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Secret::non_empty(text).ok_or("no access token in the answer"),
        false => Err("not an access token: it has spaces or control characters"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(status: u16, body: &str) -> Result<TokenResponse, String> {
        let status = StatusCode::from_u16(status).unwrap();
        parse_response(status, body.as_bytes()).map_err(|error| error.text)
    }

    #[test]
    fn responses() {
        let good = parsed(200, r#"{"access_token":"a","expires_in":"3600","refresh_token":"r"}"#);
        let good = good.ok().unwrap();
        assert_eq!((good.access_token.reveal(), good.refresh_token.unwrap().reveal()), ("a", "r"));
        let left = good.until - Instant::now();
        assert!((3500..=3540).contains(&left.as_secs()), "{left:?}");
        for (status, body, why) in [
            (200, "{}", "200 OK: no access token in the answer"),
            (200, "<html>", "200 OK: no access token in the answer"),
            (200, r#"{"access_token":"a b"}"#, "200 OK: not an access token"),
            (200, r#"{"error":"invalid_scope"}"#, "invalid_scope"),
            (302, "", "302 Found: redirections are not followed"),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"AADSTS70000:\r\nx"}"#,
                "invalid_grant: AADSTS70000:  x",
            ),
            (503, "busy\n", "503 Service Unavailable: busy"),
        ] {
            let error = parsed(status, body).err().unwrap();
            assert!(error.starts_with(why), "{body}: {error}");
        }
    }
}
