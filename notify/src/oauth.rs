//! The options of a login with a token (OAuth 2.0, RFC 6749), which Microsoft 365 and Gmail want instead of a password.

use std::path::PathBuf;

use aw_peer::is_local_host;
use aw_service::Secret;
use serde::Deserialize;

use crate::{http::parse_url, options::read_secret};

/// The table `oauth`: how to get an access token. With a refresh token, with a client secret alone, or from a program.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct OauthOptions {
    /// The token endpoint.
    pub token_url: Option<String>,
    /// The application's id.
    pub client_id: Option<String>,
    /// The file whose first line is the application's secret.
    pub client_secret_file: Option<PathBuf>,
    /// The environment variable with the application's secret.
    pub client_secret_env: Option<String>,
    /// The file whose first line is the refresh token.
    pub refresh_token_file: Option<PathBuf>,
    /// The environment variable with the refresh token.
    pub refresh_token_env: Option<String>,
    /// The permissions to request.
    pub scope: Option<String>,
    /// A program that prints an access token, instead of all other keys.
    pub command: Option<Vec<String>>,
}

impl OauthOptions {
    /// Checks what can be checked without reading a file.
    pub fn check(&self) -> Result<(), String> {
        let has_secret = self.client_secret_file.is_some() || self.client_secret_env.is_some();
        let has_token = self.refresh_token_file.is_some() || self.refresh_token_env.is_some();
        if let Some(command) = &self.command {
            let others = OauthOptions { command: None, ..self.clone() };
            if others != OauthOptions::default() {
                return Err("mail: oauth: command excludes all other keys (remove them)".into());
            }
            return match command.first().is_some_and(|program| program.starts_with('/')) {
                true => Ok(()),
                false => Err("mail: oauth: command: the program must be an absolute path".into()),
            };
        }
        let Some(url) = &self.token_url else {
            return Err("mail: oauth: needs token_url, or command".into());
        };
        let (uri, _) = parse_url(url).map_err(|why| format!("mail: oauth: token_url: {why}"))?;
        if uri.scheme_str() != Some("https") && !is_local_host(uri.host().unwrap_or_default()) {
            return Err(
                "mail: oauth: token_url: secrets are not sent without TLS (set an https:// URL)"
                    .into(),
            );
        }
        if self.client_id.is_none() {
            return Err("mail: oauth: needs client_id".into());
        }
        if !has_token && !has_secret {
            return Err(
                "mail: oauth: needs a refresh token or a client secret (set refresh_token_file, \
                        refresh_token_env, client_secret_file or client_secret_env)"
                    .into(),
            );
        }
        if !has_token && self.scope.is_none() {
            return Err("mail: oauth: needs scope, without a refresh token".into());
        }
        Ok(())
    }

    /// The key of the refresh token, for messages.
    pub(crate) fn token_key(&self) -> String {
        match (&self.refresh_token_file, &self.refresh_token_env) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(variable)) => format!("the environment variable {variable}"),
            (None, None) => "refresh_token_file".into(),
        }
    }

    /// The port of the token endpoint, for a sandbox.
    pub fn port(&self) -> Option<u16> {
        let (uri, _) = parse_url(self.token_url.as_ref()?).ok()?;
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        Some(uri.port_u16().unwrap_or(default))
    }

    pub(crate) fn client_secret(&self) -> Result<Option<Secret>, String> {
        let (file, variable) = (&self.client_secret_file, &self.client_secret_env);
        read_secret("client_secret", file.as_deref(), variable.as_deref())
    }

    pub(crate) fn refresh_token(&self) -> Result<Option<Secret>, String> {
        let (file, variable) = (&self.refresh_token_file, &self.refresh_token_env);
        read_secret("refresh_token", file.as_deref(), variable.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key() {
        let google = "token_url = \"https://oauth2.googleapis.com/token\"\nclient_id = \"c\"\n";
        for (text, why) in [
            ("", "needs token_url, or command"),
            ("token_url = \"x\"", "token_url: must begin with https"),
            (
                "token_url = \"http://192.0.2.1/x\"\nclient_id = \"c\"\nrefresh_token_env = \"R\"",
                "without TLS",
            ),
            ("token_url = \"https://a/x\"", "needs client_id"),
            (google, "needs a refresh token or a client secret"),
            (&format!("{google}client_secret_env = \"S\""), "needs scope"),
            ("command = [\"token\"]", "absolute path"),
            ("command = []", "absolute path"),
            (&format!("{google}command = [\"/bin/token\"]"), "command excludes"),
        ] {
            let options: OauthOptions = toml::from_str(text).unwrap();
            let error = options.check().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for text in [
            "command = [\"/bin/token\", \"x\"]",
            &format!("{google}refresh_token_env = \"R\""),
            &format!("{google}client_secret_env = \"S\"\nscope = \"s\""),
            "token_url = \"http://127.0.0.1:8080/x\"\nclient_id = \"c\"\nrefresh_token_env = \"R\"",
        ] {
            toml::from_str::<OauthOptions>(text).unwrap().check().unwrap();
        }
        let port = |text: &str| toml::from_str::<OauthOptions>(text).unwrap().port();
        assert_eq!(
            (port(google), port("token_url = \"http://[::1]:8080/x\"")),
            (Some(443), Some(8080))
        );
    }
}
