//! The transport `webhook`: one POST request with JSON for each message. It trusts the server that the configuration names
//! and TLS authenticates, and of a response only the status. Errors contain no secret: neither the URL's path nor a token.

use std::{io::Read, path::PathBuf, time::Duration};

use aw_notify::{Failure, http, is_local_host};
use aw_peer::guarded;
use aw_service::Secret;
use form_urlencoded::Serializer;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;
use ureq::{
    Agent,
    http::{
        HeaderName, HeaderValue, Response, StatusCode, Uri,
        header::{CONTENT_TYPE, LOCATION},
    },
};

use crate::{
    notification::Notification,
    own_body::OwnBody,
    template::Template,
    transport::ChannelSecrets,
    webhook_options::{WebhookOptions, parse_header, parse_url},
};

/// In the topics of the examples, which all readers know.
const PLACEHOLDER: &str = "REPLACE-ME";

/// Bytes of a response that are read.
const MAX_RESPONSE: u64 = 1024;

/// A webhook, ready to be called.
pub struct Webhook {
    agent: Agent,
    url: Uri,
    /// Scheme and host, for errors.
    shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    content_type: String,
    template: Option<Template>,
    own_body: Option<OwnBody>,
    /// ntfy's topic, Telegram's chat, Pushover's user, Apprise's tag.
    target: String,
    priority: Option<i8>,
    /// The token, for a service that wants it in the body.
    token: Option<Secret>,
    /// The key of the signature.
    key: Option<Secret>,
    /// Where its URL and its token are from, with what to do after they are corrected.
    url_source: String,
    token_source: Option<String>,
    /// Removed from errors.
    hidden: Vec<Secret>,
    limit: Duration,
}

/// Whether a header of this name carries a secret, as those of many services do.
fn is_secret_header(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["auth", "token", "key", "secret", "cookie", "password"].iter().any(|word| name.contains(word))
}

impl Webhook {
    /// Builds the request's parts; reads `ca_file`.
    pub fn new(
        options: &WebhookOptions,
        secrets: &ChannelSecrets,
        limit: Duration,
    ) -> Result<Webhook, String> {
        let token = secrets.token.as_ref().map(Secret::reveal);
        let (url, token_header) = service_url(options, secrets, token.unwrap_or_default())?;
        let (url, shown) = parse_url(&url)?;
        let has_secret_header = options.headers.keys().any(|name| is_secret_header(name));
        let is_secret = token.is_some() || secrets.url.is_some() || has_secret_header;
        let is_plain = url.scheme_str() != Some("https")
            && !is_local_host(url.host().unwrap_or_default().trim_matches(['[', ']']));
        if is_secret && is_plain && !options.plain_password {
            return Err(format!(
                "webhook: a token, a secret URL or header is not sent to {shown} without TLS (use https://, or set plain_password = true)"
            ));
        }
        let headers = options.headers.iter().map(|(name, value)| parse_header(name, value));
        let mut headers = headers.collect::<Result<Vec<_>, _>>()?;
        headers.retain(|(name, _)| *name != CONTENT_TYPE); // there is one
        if let Some((name, token)) = token_header.zip(token) {
            let bearer = if name == "authorization" { "Bearer " } else { "" };
            let value = format!("{bearer}{token}").parse::<HeaderValue>();
            let value = value
                .map_err(|_| "webhook: the token has characters that are not valid in a header")?;
            headers.push((HeaderName::from_static(name), value));
        }
        if options.topic.as_deref().is_some_and(|topic| topic.contains(PLACEHOLDER)) {
            return Err(format!(
                "webhook: topic: replace {PLACEHOLDER} by characters that others cannot guess: who knows the topic can read it"
            ));
        }
        let targets = [&options.topic, &options.chat, &options.user, &options.tag];
        let target = targets.into_iter().flatten().next();
        let is_form = options.template.is_some_and(Template::is_form);
        let is_read = secrets.unread.is_none();
        let default_type =
            if is_form { "application/x-www-form-urlencoded" } else { "application/json" };
        Ok(Webhook {
            agent: http::agent("aw-alert", options.ca_file.as_deref(), limit)?,
            url,
            shown,
            headers,
            content_type: options.content_type().unwrap_or(default_type).to_owned(),
            template: options.template,
            own_body: options.own_body()?,
            target: target.cloned().unwrap_or_default(),
            priority: options.priority,
            token: secrets.token.clone().filter(|_| is_form),
            key: secrets.secret.clone(),
            url_source: source("URL", &options.url_file, &options.url_env, is_read)
                .unwrap_or("url".into()),
            token_source: source("token", &options.token_file, &options.token_env, is_read),
            hidden: [&secrets.url, &secrets.token, &secrets.secret]
                .into_iter()
                .flatten()
                .cloned()
                .collect(),
            limit,
        })
    }

    /// Sends a message; on success, the response had a status of 200 to 299. `id` is the same at each attempt.
    pub fn send(&self, notification: &Notification, id: &str) -> Result<(), Failure> {
        let body = self.body(notification);
        let mut request = self.agent.post(&self.url).content_type(&self.content_type);
        request = request.header("X-Webhook-Id", id);
        if let Some(key) = &self.key {
            request = request.header("X-Webhook-Signature", signature(key, body.as_bytes()));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let exchange = || match request.send(&body) {
            Ok(response) => self.check(response),
            Err(error) => Err(Failure::Down(self.error_text(&http::why(&error, self.limit)))),
        };
        guarded(exchange, |why| Failure::Down(self.error_text(&why)))
    }

    fn body(&self, notification: &Notification) -> String {
        match (self.template, &self.own_body) {
            (Some(template), _) => {
                let body = template.body(notification, &self.target, self.priority);
                if template.is_form() { self.form(&body) } else { body.to_string() }
            }
            (None, Some(own)) => own.of(notification),
            (None, None) => notification.fields.to_string(),
        }
    }

    /// The keys of an object as a form, with the token.
    fn form(&self, body: &Value) -> String {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(self.token.iter().map(|token| ("token", token.reveal())));
        for (key, value) in body.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => form.append_pair(key, text),
                value => form.append_pair(key, &value.to_string()),
            };
        }
        form.finish()
    }

    fn check(&self, response: Response<ureq::Body>) -> Result<(), Failure> {
        let status = response.status();
        let is_apprise = self.template == Some(Template::Apprise);
        if is_apprise && status == StatusCode::NO_CONTENT {
            let why = format!(
                "{status}: Apprise has no configuration with this key and tag (check url and tag)"
            );
            return Err(Failure::Down(self.error_text(&why)));
        }
        if status.is_success() {
            return Ok(());
        }
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to =
                to.and_then(|to| Some(parse_url(to).ok()?.1)).unwrap_or("another address".into());
            let why = format!(
                "{status} to {to}: redirections are not followed (set url to the new address)"
            );
            return Err(Failure::Down(self.error_text(&why)));
        }
        let mut bytes = Vec::new();
        // If reading fails, the error shows what was read before.
        let _ = response.into_body().into_reader().take(MAX_RESPONSE).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        // Before it is cut, because half of a token would not be recognized.
        let answer = http::answer(status, &self.redact(&text));
        let why = self.error_text(&format!("{answer}{}", self.remedy(status.as_u16())));
        match status.as_u16() {
            // The server refuses this body; it may accept the next one.
            400 | 413 | 422 => Err(Failure::Refused(why)),
            // One of several services failed: another attempt would repeat the message to the others.
            424 if is_apprise => Err(Failure::Refused(why)),
            _ => Err(Failure::Down(why)),
        }
    }

    /// What to do about a status.
    fn remedy(&self, status: u16) -> String {
        let secret = self.token_source.as_deref();
        let remedy = match (status, self.template, secret) {
            // Its token is a part of the URL.
            (401 | 404, Some(Template::Telegram), Some(token)) => format!("check {token}"),
            (403, Some(Template::Telegram), _) => {
                "write to the bot first, or add it to the chat, and check chat".into()
            }
            (401 | 403, _, Some(token)) => {
                format!("the server does not accept the token: check {token}")
            }
            (401 | 403, _, None) if self.url_source == "url" => {
                "the server wants a login: set token_file".into()
            }
            (401 | 403 | 404 | 405 | 410, _, _) => format!("correct {}", self.url_source),
            (429, _, _) => {
                "too many messages for this server: lower burst or raise window of the channel"
                    .into()
            }
            (500.., _, _) => "a fault of the server".into(),
            _ => return String::new(),
        };
        format!(" ({remedy})")
    }

    fn error_text(&self, why: &str) -> String {
        format!("POST {}: {}", self.shown, self.redact(why))
    }

    fn redact(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, secret| secret.redact(&text))
    }
}

/// Where a secret is from, with what to do after it is corrected. `is_read`: this process can read its file again.
fn source(
    what: &str,
    file: &Option<PathBuf>,
    variable: &Option<String>,
    is_read: bool,
) -> Option<String> {
    match (file, variable) {
        (Some(file), _) if is_read => {
            Some(format!("the {what} in {}, which is read again for each message", file.display()))
        }
        (Some(file), _) => Some(format!("the {what} in {}, and restart aw-alert", file.display())),
        (None, Some(variable)) => {
            Some(format!("the {what} in the variable {variable}, and restart aw-alert"))
        }
        (None, None) => None,
    }
}

/// The URL of a service's interface, and the header that carries the token, if one does.
fn service_url(
    options: &WebhookOptions,
    secrets: &ChannelSecrets,
    token: &str,
) -> Result<(String, Option<&'static str>), String> {
    let configured = secrets.url.as_ref().map(Secret::reveal).or(options.url.as_deref());
    let full = configured.or(options.default_url()).ok_or("webhook: needs url")?;
    parse_url(full)?;
    let base = full.trim_end_matches('/');
    Ok(match options.template {
        // The topic is in the body.
        Some(Template::Ntfy) if base.splitn(4, '/').nth(3).is_some() => {
            return Err(
                "webhook: url: the URL of ntfy has no path (put the topic into topic)".into()
            );
        }
        Some(Template::Ntfy) => (format!("{base}/"), Some("authorization")),
        Some(Template::Gotify) => (format!("{base}/message"), Some("x-gotify-key")),
        Some(Template::Telegram) => {
            if !token.chars().all(|c| c.is_ascii_alphanumeric() || "_-:".contains(c)) {
                let why = "webhook: the token has characters that a Telegram token cannot have";
                return Err(why.into());
            }
            (format!("{base}/bot{token}/sendMessage"), None)
        }
        Some(Template::Pushover) => (format!("{base}/1/messages.json"), None),
        _ => (full.to_owned(), Some("authorization")),
    })
}

/// `sha256=` and HMAC-SHA256 (RFC 2104) of the body in hexadecimal digits.
fn signature(key: &Secret, body: &[u8]) -> String {
    let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(key.reveal().as_bytes()) else {
        return String::new(); // cannot fail: a key may have any length
    };
    hmac.update(body);
    let digits = hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    ["sha256=".to_owned(), digits].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook_options::tests::options;

    fn secret(text: &str) -> Secret {
        serde_json::from_value(text.into()).unwrap()
    }

    fn url(text: &str, url: Option<&str>, token: Option<&str>) -> Result<String, String> {
        let (url, token) = (url.map(secret), token.map(secret));
        let secrets = ChannelSecrets { url, token: token.clone(), ..Default::default() };
        let webhook = Webhook::new(&options(text)?, &secrets, Duration::from_secs(1))?;
        let shown = webhook.error_text("no");
        assert!(token.is_none_or(|token| !shown.contains(token.reveal())), "{shown}");
        Ok(webhook.url.to_string())
    }

    #[test]
    fn urls_of_services() {
        let (ntfy, token) = ("template = \"ntfy\"\ntopic = \"t\"", Some("123:AB"));
        assert_eq!(url(ntfy, None, None).unwrap(), "https://ntfy.sh/");
        let example =
            url("template = \"ntfy\"\ntopic = \"home-REPLACE-ME\"", None, None).unwrap_err();
        assert!(example.contains("replace REPLACE-ME by"), "{example}");
        let own = format!("{ntfy}\nurl = \"http://nas:8080/\"");
        assert_eq!(url(&own, None, None).unwrap(), "http://nas:8080/");
        let plain = format!("{own}\nplain_password = true");
        assert_eq!(url(&plain, None, token).unwrap(), "http://nas:8080/");
        let gotify = "template = \"gotify\"\nurl = \"https://nas/gotify/\"\ntoken_env = \"T\"";
        assert_eq!(url(gotify, None, token).unwrap(), "https://nas/gotify/message");
        let telegram = "template = \"telegram\"\nchat = \"-1\"\ntoken_env = \"T\"";
        let expected = "https://api.telegram.org/bot123:AB/sendMessage";
        assert_eq!(url(telegram, None, token).unwrap(), expected);
        assert!(url(telegram, None, Some("a/../b")).unwrap_err().contains("cannot have"));
        let slack = "template = \"slack\"\nurl_env = \"U\"";
        let hook = "https://hooks.slack.com/services/T/B/x?a=b";
        assert_eq!(url(slack, Some(hook), None).unwrap(), hook);
    }

    /// A token, or a URL that is a secret, goes without TLS to this machine only.
    #[test]
    fn secrets_need_tls() {
        let ntfy =
            |host: &str| format!("template = \"ntfy\"\ntopic = \"t\"\nurl = \"http://{host}\"");
        for host in ["127.0.0.1:8080", "[::1]:8080", "localhost"] {
            assert!(url(&ntfy(host), None, Some("tk")).is_ok(), "{host}");
        }
        let why = url(&ntfy("192.0.2.1"), None, Some("tk")).unwrap_err();
        assert!(why.contains("http://192.0.2.1 without TLS (use https://, or set plain"), "{why}");
        let header =
            |name: &str| format!("url = \"http://192.0.2.1\"\nheaders = {{ {name} = \"x\" }}");
        for (name, sent) in [("X-Gotify-Key", false), ("Cookie", false), ("X-Title", true)] {
            assert_eq!(url(&header(name), None, None).is_ok(), sent, "{name}");
        }
        let why = url("url_env = \"U\"", Some("http://nas/s3cret"), None).unwrap_err();
        assert!(why.contains("http://nas without TLS") && !why.contains("s3cret"), "{why}");
    }

    #[test]
    fn errors_hide_secrets() {
        let topic = "template = \"ntfy\"\ntopic = \"t\"\nurl = \"https://ntfy.sh/t\"";
        assert!(url(topic, None, None).unwrap_err().contains("no path"));
        let missing = "url = \"https://a\"\nca_file = \"/nowhere\"";
        assert!(url(missing, None, None).unwrap_err().contains("/nowhere"));
        let error = url("url_env = \"U\"", Some("example.org/s3cret"), None).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    /// The remedy is for what this process does: a file of root is read at the start only.
    #[test]
    fn a_file_that_cannot_be_read_again() {
        let options = options("url = \"https://a/\"\ntoken_file = \"/t\"").unwrap();
        let remedy = |unread: Option<&str>| {
            let token = Some(secret("tk"));
            let unread = unread.map(str::to_owned);
            let secrets = ChannelSecrets { token, unread, ..Default::default() };
            Webhook::new(&options, &secrets, Duration::from_secs(1)).unwrap().remedy(401)
        };
        assert!(remedy(None).contains("the token in /t, which is read again for each message"));
        assert!(remedy(Some("read /t: permission denied")).contains("/t, and restart aw-alert"));
    }

    #[test]
    fn signatures() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&secret("Jefe"), b"what do ya want for nothing?"), expected);
    }
}
