//! The options of a webhook, and their checks.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use ureq::http::{HeaderName, HeaderValue, Uri};

use crate::template::Template;

/// The table `webhook` of a channel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookOptions {
    pub template: Option<Template>,
    pub url: Option<String>,
    pub url_file: Option<PathBuf>,
    pub url_env: Option<String>,
    /// Authenticates aw-alert to the server.
    pub token_file: Option<PathBuf>,
    pub token_env: Option<String>,
    /// The key of the signature.
    pub secret_file: Option<PathBuf>,
    pub secret_env: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub topic: Option<String>,
    pub chat: Option<String>,
    pub priority: Option<u8>,
    pub ca_file: Option<PathBuf>,
}

impl WebhookOptions {
    /// Checks what can be checked without reading a file.
    pub fn check(&self) -> Result<(), String> {
        use Template::{Gotify, Ntfy, Telegram};
        let template = self.template;
        let name = template.map_or("a webhook without template", Template::name);
        let url = [self.url.is_some(), self.url_file.is_some(), self.url_env.is_some()];
        match url.iter().filter(|set| **set).count() {
            0 if self.default_url().is_none() => {
                return Err("webhook: needs one of url, url_file, url_env".into());
            }
            0 | 1 => {}
            _ => return Err("webhook: url, url_file and url_env exclude each other".into()),
        }
        if self.url.is_some() && template.is_some_and(Template::has_secret_url) {
            return Err(format!(
                "webhook: the URL of {name} is a secret (put it into a file and set url_file, or set \
                 url_env)"
            ));
        }
        if let Some(url) = &self.url {
            parse_url(url)?;
        }
        let token = self.token_file.is_some() || self.token_env.is_some();
        match template {
            Some(Gotify | Telegram) if !token => {
                return Err(format!("webhook: {name} needs token_file or token_env"));
            }
            Some(template) if token && template.has_secret_url() => {
                return Err(format!(
                    "webhook: {name} takes no token: its URL is the secret (remove token_file and token_env)"
                ));
            }
            _ => {}
        }
        for (key, is_set, of) in
            [("topic", self.topic.is_some(), Ntfy), ("chat", self.chat.is_some(), Telegram)]
        {
            if is_set != (template == Some(of)) {
                let verb = if is_set { "takes no" } else { "needs a" };
                return Err(format!("webhook: {name} {verb} {key}"));
            }
        }
        let is_valid = |priority: u8| match template {
            Some(Ntfy) => (1..=5).contains(&priority),
            Some(Gotify) => priority <= 10,
            _ => false,
        };
        if let Some(priority) = self.priority.filter(|priority| !is_valid(*priority)) {
            return Err(format!(
                "webhook: {name} takes no priority {priority} (ntfy: 1 to 5, gotify: 0 to 10)"
            ));
        }
        for (name, value) in &self.headers {
            parse_header(name, value)?;
        }
        Ok(())
    }

    /// The URL of the service's public server, if it has one.
    pub fn default_url(&self) -> Option<&'static str> {
        match self.template {
            Some(Template::Ntfy) => Some("https://ntfy.sh"),
            Some(Template::Telegram) => Some("https://api.telegram.org"),
            _ => None,
        }
    }
}

/// Parses a URL. Also returns scheme and host, which are not secret and may be logged.
pub fn parse_url(url: &str) -> Result<(Uri, String), String> {
    let uri: Uri = url.parse().map_err(|_| "webhook: url: not a valid URL")?;
    let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
    match authority {
        Some(authority) if authority.as_str().contains('@') => {
            Err("webhook: url: a user or password in the URL is not supported (put a token into token_file)".into())
        }
        Some(authority) if ["http", "https"].contains(&scheme) => {
            let shown = format!("{scheme}://{authority}");
            Ok((uri, shown))
        }
        _ => Err("webhook: url: must begin with https:// or http:// and a host".into()),
    }
}

pub fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    if name.eq_ignore_ascii_case("authorization") {
        return Err(
            "webhook: headers: Authorization is not allowed (put the token into token_file)".into(),
        );
    }
    let parsed = name.parse().ok().zip(value.parse().ok());
    parsed
        .ok_or_else(|| format!("webhook: headers: {name:?} or its value is not valid in a header"))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn options(text: &str) -> Result<WebhookOptions, String> {
        let options: WebhookOptions =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        options.check().map(|()| options)
    }

    #[test]
    fn errors_name_the_key() {
        for (text, why) in [
            ("", "needs one of url"),
            ("url = \"https://a\"\nurl_env = \"U\"", "exclude each other"),
            ("url = \"ftp://a\"", "must begin with https"),
            ("url = \"nas:8080\"", "must begin with https"),
            ("url = \"https://u:p@a\"", "not supported"),
            ("template = \"slack\"\nurl = \"https://a\"", "set url_file"),
            ("template = \"slack\"\nurl_env = \"U\"\ntoken_env = \"T\"", "slack takes no token"),
            ("template = \"gotify\"\nurl = \"https://a\"", "needs token_file"),
            ("template = \"ntfy\"", "ntfy needs a topic"),
            ("template = \"telegram\"\ntoken_env = \"T\"", "telegram needs a chat"),
            ("url = \"https://a\"\nchat = \"1\"", "takes no chat"),
            ("template = \"ntfy\"\ntopic = \"t\"\npriority = 6", "no priority 6"),
            ("url = \"https://a\"\nheaders = { Authorization = \"x\" }", "token_file"),
            ("url = \"https://a\"\nheaders = { \"a b\" = \"x\" }", "not valid in a header"),
            ("template = \"pager\"\nurl = \"https://a\"", "unknown variant"),
        ] {
            let error = options(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
