//! Access tokens for mail: requested from the token endpoint or from a program, and used until they expire.

use std::{
    io::Read,
    path::{Path, PathBuf},
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

use crate::{
    MailOptions, http, oauth::OauthOptions, options::read_secret, program::output_of,
    token_file::TokenFile,
};

/// Bytes of a response that are read, at most.
const MAX_RESPONSE: u64 = 64 * 1024;
/// The time that a token is valid if the server does not report it, and the end of that time in which it is not used.
const DEFAULT_SECONDS: u64 = 300;
const MARGIN_SECONDS: u64 = 60;
/// Refresh tokens that are tried: one that is not stored, a stored one, the configured one.
const MAX_REFRESH_TOKENS: usize = 3;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

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

    /// Takes the secrets of files as they are now, for a login with a token; a password is read again for each login. Without an
    /// error, nothing else changes.
    pub fn read_again(&mut self, options: &OauthOptions) -> Result<(), String> {
        let of_file = |file: &Option<PathBuf>, name: &str, before: &Option<Secret>| match file {
            Some(file) => read_secret(name, Some(file), None),
            None => Ok(before.clone()),
        };
        let client_secret =
            of_file(&options.client_secret_file, "client_secret", &self.client_secret)?;
        let refresh_token =
            of_file(&options.refresh_token_file, "refresh_token", &self.refresh_token)?;
        if (&client_secret, &refresh_token) != (&self.client_secret, &self.refresh_token) {
            // Also the access token of before.
            let password = self.password.take();
            *self = MailSecrets { password, client_secret, refresh_token, state: Arc::default() };
        }
        Ok(())
    }

    /// The refresh token of the configuration.
    pub fn refresh_token(&self) -> Option<&Secret> {
        self.refresh_token.as_ref()
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
pub(crate) struct TokenError {
    /// A code such as `invalid_grant` (RFC 6749, 5.2), or the status.
    code: String,
    pub text: String,
}

impl TokenSource {
    /// Reads `ca_file`. `file`: where a refresh token that replaces
    /// the configured one is stored.
    pub fn new(
        options: &OauthOptions,
        secrets: &MailSecrets,
        ca_file: Option<&Path>,
        file: TokenFile,
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
                    file,
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
        // Two channels with one refresh token use it one after the other: the second one gets what replaced it.
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let configured = secrets.refresh_token.as_ref();
        let mut refused = Vec::new();
        let (used, response) = loop {
            let used = self.next_refresh_token(state, configured, &refused)?;
            let response = self.request(used.as_ref(), secrets.client_secret.as_ref(), limit);
            match (response, used) {
                // It may have expired while another one has not: the user may have logged in again and got the same one.
                (Err(error), Some(used)) if error.code == "invalid_grant" => {
                    refused.push(used);
                    let next = self.next_refresh_token(state, configured, &refused)?;
                    if next.is_none() || refused.len() >= MAX_REFRESH_TOKENS {
                        break (None, Err(error));
                    }
                }
                (response, used) => break (used, response),
            }
        };
        let response = response.map_err(|error| {
            let hidden = [used.as_ref(), configured, secrets.client_secret.as_ref()];
            let hidden = hidden.into_iter().flatten().chain(&refused);
            hidden.fold(self.explain(&error), |text, secret| secret.redact(&text))
        })?;
        if let (Some(used), Some(configured)) = (&used, configured) {
            self.keep(state, configured, used, response.refresh_token.as_ref());
        }
        state.access = Some((response.access_token.clone(), response.until));
        Ok(response.access_token)
    }

    /// The refresh token to use: the newest one that the server has not refused. Another process may have stored a newer
    /// one: a test of the channel.
    fn next_refresh_token(
        &self,
        state: &State,
        configured: Option<&Secret>,
        refused: &[Secret],
    ) -> Result<Option<Secret>, String> {
        let stored = configured.map_or(Ok(None), |token| self.file.newest(token))?;
        let all = [state.unsaved.clone(), stored, configured.cloned()];
        Ok(all.into_iter().flatten().find(|token| !refused.contains(token)))
    }

    /// Stores the refresh token that replaced the used one. What is stored is given up only when the configured one is
    /// accepted instead: a server refuses a good one for a time, too, such as outside of permitted hours.
    fn keep(&self, state: &mut State, configured: &Secret, used: &Secret, new: Option<&Secret>) {
        match new.filter(|new| *new != used) {
            Some(new) => state.unsaved = (!self.store(configured, new)).then(|| new.clone()),
            None if used == configured => {
                state.unsaved = None;
                self.file.remove(configured);
            }
            None => {}
        }
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

pub(crate) struct TokenResponse {
    pub access_token: Secret,
    /// Until when it is used.
    until: Instant,
    refresh_token: Option<Secret>,
}

/// A response of the token endpoint (RFC 6749, 5.1 and 5.2).
pub(crate) fn parse_response(status: StatusCode, body: &[u8]) -> Result<TokenResponse, TokenError> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| json[key].as_str().unwrap_or_default();
    if status.is_redirection() {
        let text = format!("{status}: redirections are not followed (check token_url)");
        return Err(TokenError { code: String::new(), text });
    }
    if !status.is_success() || !text("error").is_empty() {
        let (code, description) = (http::one_line(text("error")), text("error_description"));
        let text = match (code.is_empty(), description.is_empty()) {
            (true, _) => http::answer(status, &String::from_utf8_lossy(body)),
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
            (503, "busy\n", "503 Service Unavailable: \"busy\""),
            (503, "{}", "503 Service Unavailable"),
        ] {
            let error = parsed(status, body).err().unwrap();
            assert!(error.starts_with(why), "{body}: {error}");
        }
    }
}
