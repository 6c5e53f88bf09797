//! The options of a webhook, and their checks.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use ureq::http::{HeaderName, HeaderValue, Uri, header::CONTENT_TYPE};

use aw_notify::http;
use aw_service::Secret;

use crate::{own_body::OwnBody, template::Template};

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
    pub user: Option<String>,
    pub tag: Option<String>,
    pub priority: Option<i8>,
    body: Option<String>,
    pub ca_file: Option<PathBuf>,
    /// Whether a secret may be sent without TLS to another machine.
    #[serde(default)]
    pub plain_password: bool,
}

impl WebhookOptions {
    /// Checks what can be checked without reading a file.
    pub fn check(&self) -> Result<(), String> {
        use Template::{Apprise, Gotify, Ntfy, Pushover, Telegram};
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
            Some(Gotify | Telegram | Pushover) if !token => {
                return Err(format!("webhook: {name} needs token_file or token_env"));
            }
            Some(template) if token && template.has_secret_url() => {
                return Err(format!(
                    "webhook: {name} takes no token: its URL is the secret (remove token_file and token_env)"
                ));
            }
            _ => {}
        }
        for (key, is_set, of) in [
            ("topic", self.topic.is_some(), Ntfy),
            ("chat", self.chat.is_some(), Telegram),
            ("user", self.user.is_some(), Pushover),
            ("tag", self.tag.is_some(), Apprise),
        ] {
            let is_optional = of == Apprise && !is_set;
            if is_set != (template == Some(of)) && !is_optional {
                let verb = if is_set { "takes no" } else { "needs a" };
                return Err(format!("webhook: {name} {verb} {key}"));
            }
        }
        // docs.ntfy.sh: letters, digits, - and _, 64 at most; a placeholder is not to be published.
        if let (Some(Ntfy), Some(topic)) = (template, &self.topic) {
            let is_valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if !(1..=64).contains(&topic.len()) || !topic.chars().all(is_valid) {
                return Err(format!(
                    "webhook: topic {topic:?}: ntfy takes 1 to 64 letters, digits, - and _"
                ));
            }
        }
        let is_valid = |priority: i8| match template {
            Some(Ntfy) => (1..=5).contains(&priority),
            Some(Gotify) => (0..=10).contains(&priority),
            Some(Pushover) => (-2..=2).contains(&priority),
            _ => false,
        };
        if let Some(priority) = self.priority.filter(|priority| !is_valid(*priority)) {
            return Err(format!(
                "webhook: {name} takes no priority {priority} (ntfy: 1 to 5, gotify: 0 to 10, pushover: -2 to 2)"
            ));
        }
        for (name, value) in &self.headers {
            parse_header(name, value)?;
        }
        self.own_body().map(drop)
    }

    /// The body that the user has written.
    pub fn own_body(&self) -> Result<Option<OwnBody>, String> {
        let Some(text) = &self.body else { return Ok(None) };
        if let Some(template) = self.template {
            let name = template.name();
            return Err(format!("webhook: {name} takes no body (remove template or body)"));
        }
        OwnBody::parse(text, self.content_type().unwrap_or("application/json")).map(Some)
    }

    /// The content type in `headers`.
    pub fn content_type(&self) -> Option<&str> {
        let is_ours = |name: &str| name.eq_ignore_ascii_case(CONTENT_TYPE.as_str());
        self.headers.iter().find(|(name, _)| is_ours(name)).map(|(_, value)| &**value)
    }

    /// The port that connections are made to; `secret`: the URL that a file or a variable holds.
    pub fn port(&self, secret: Option<&Secret>) -> Option<u16> {
        let (uri, _) = parse_url(self.url(secret)?).ok()?;
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        Some(uri.port_u16().unwrap_or(default))
    }

    /// The URL; `secret` as above.
    pub fn url<'a>(&'a self, secret: Option<&'a Secret>) -> Option<&'a str> {
        self.url.as_deref().or(secret.map(Secret::reveal)).or(self.default_url())
    }

    /// The URL of the service's public server, if it has one.
    pub fn default_url(&self) -> Option<&'static str> {
        match self.template {
            Some(Template::Ntfy) => Some("https://ntfy.sh"),
            Some(Template::Telegram) => Some("https://api.telegram.org"),
            Some(Template::Pushover) => Some("https://api.pushover.net"),
            _ => None,
        }
    }
}

/// Parses a URL. Also returns scheme and host, which are not secret and may be logged.
pub fn parse_url(url: &str) -> Result<(Uri, String), String> {
    http::parse_url(url).map_err(|why| format!("webhook: url: {why}"))
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
            (
                "template = \"ntfy\"\ntopic = \"my home\"",
                "ntfy takes 1 to 64 letters, digits, - and _",
            ),
            ("template = \"ntfy\"\ntopic = \"t\"\npriority = 6", "no priority 6"),
            ("template = \"pushover\"\nuser = \"u\"", "needs token_file"),
            ("template = \"pushover\"\ntoken_env = \"T\"", "pushover needs a user"),
            (
                "template = \"pushover\"\nuser = \"u\"\ntoken_env = \"T\"\npriority = 3",
                "no priority 3",
            ),
            ("template = \"apprise\"", "needs one of url"),
            ("url = \"https://a\"\ntag = \"t\"", "takes no tag"),
            ("url = \"https://a\"\nbody = \"{nothing}\"", "no field {nothing}"),
            ("template = \"slack\"\nurl_env = \"U\"\nbody = \"x\"", "slack takes no body"),
            ("url = \"https://a\"\nheaders = { Authorization = \"x\" }", "token_file"),
            ("url = \"https://a\"\nheaders = { \"a b\" = \"x\" }", "not valid in a header"),
            ("template = \"pager\"\nurl = \"https://a\"", "unknown variant"),
        ] {
            let error = options(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
