//! The transport `webhook`: one POST request with JSON for each message. It trusts the server that the configuration names
//! and TLS authenticates, and of a response only the status. Errors contain no secret: neither the URL's path nor a token.

use std::{fs, io::Read, time::Duration};

use aw_notify::Failure;
use aw_service::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, Response, Uri, header::LOCATION},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{
    notification::Notification,
    template::Template,
    transport::ChannelSecrets,
    webhook_options::{WebhookOptions, parse_header, parse_url},
};

/// Bytes of a response that are read, and characters of it in an error.
const MAX_RESPONSE: u64 = 1024;
const MAX_SHOWN: usize = 200;

/// A webhook, ready to be called.
pub struct Webhook {
    agent: Agent,
    url: Uri,
    /// Scheme and host, for errors.
    shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    template: Option<Template>,
    /// ntfy's topic, Telegram's chat.
    target: String,
    priority: Option<u8>,
    /// The key of the signature.
    key: Option<Secret>,
    /// Removed from errors.
    hidden: Vec<Secret>,
    limit: Duration,
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
        let headers = options.headers.iter().map(|(name, value)| parse_header(name, value));
        let mut headers = headers.collect::<Result<Vec<_>, _>>()?;
        if let Some((name, token)) = token_header.zip(token) {
            let bearer = if name == "authorization" { "Bearer " } else { "" };
            let value = format!("{bearer}{token}").parse::<HeaderValue>();
            let value = value
                .map_err(|_| "webhook: the token has characters that are not valid in a header")?;
            headers.push((HeaderName::from_static(name), value));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // only the configured server may get the message
            .max_idle_connections(0) // the next message may be minutes away
            .timeout_global(Some(limit))
            .user_agent(concat!("aw-alert/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(root_certificates(options)?).build())
            .build()
            .new_agent();
        let target = options.topic.as_ref().or(options.chat.as_ref());
        Ok(Webhook {
            agent,
            url,
            shown,
            headers,
            template: options.template,
            target: target.cloned().unwrap_or_default(),
            priority: options.priority,
            key: secrets.secret.clone(),
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
        let body = match self.template {
            Some(template) => template.body(notification, &self.target, self.priority),
            None => notification.fields.clone(),
        };
        let body = body.to_string();
        let mut request = self.agent.post(&self.url).content_type("application/json");
        request = request.header("X-Webhook-Id", id);
        if let Some(key) = &self.key {
            request = request.header("X-Webhook-Signature", signature(key, body.as_bytes()));
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match request.send(&body) {
            Ok(response) => self.check(response),
            Err(error) => Err(Failure::Down(self.error_text(&self.cause(&error)))),
        }
    }

    fn check(&self, response: Response<ureq::Body>) -> Result<(), Failure> {
        let status = response.status();
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
        let text: String = self
            .redact(&text)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(MAX_SHOWN)
            .collect();
        let why = self.error_text(&format!("{status}: {}", text.trim()));
        match status.as_u16() {
            // The server refuses this body; it may accept the next one.
            400 | 413 | 422 => Err(Failure::Refused(why)),
            _ => Err(Failure::Down(why)),
        }
    }

    fn cause(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(step) => {
                format!("no response after {} s ({step})", self.limit.as_secs())
            }
            ureq::Error::BadUri(_) => "not a valid URL".into(),
            ureq::Error::Io(error) => {
                let why = error
                    .get_ref()
                    .map_or_else(|| aw_service::cause(error), |inner| inner.to_string());
                match why.contains("UnknownIssuer") {
                    true => format!("{why} (set ca_file to the certificate of its authority)"),
                    false => why,
                }
            }
            error => error.to_string(),
        }
    }

    fn error_text(&self, why: &str) -> String {
        format!("POST {}: {}", self.shown, self.redact(why))
    }

    fn redact(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, secret| secret.redact(&text))
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

/// The certificate authorities: `ca_file` alone, or the system's, or the built-in ones of Mozilla if the system has none.
fn root_certificates(options: &WebhookOptions) -> Result<RootCerts, String> {
    let Some(path) = &options.ca_file else {
        let found = rustls_native_certs::load_native_certs().certs;
        let found = found.iter().map(|one| Certificate::from_der(one).to_owned());
        let found: Vec<_> = found.collect();
        return Ok(if found.is_empty() { RootCerts::WebPki } else { found.into() });
    };
    let pem = fs::read(path)
        .map_err(|error| format!("read {}: {}", path.display(), aw_service::cause(&error)))?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(one)) => Some(one),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    match found.is_empty() {
        true => Err(format!("{}: no PEM certificate in this file", path.display())),
        false => Ok(found.into()),
    }
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
        let own = format!("{ntfy}\nurl = \"http://nas:8080/\"");
        assert_eq!(url(&own, None, token).unwrap(), "http://nas:8080/");
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

    #[test]
    fn errors_hide_secrets() {
        let topic = "template = \"ntfy\"\ntopic = \"t\"\nurl = \"https://ntfy.sh/t\"";
        assert!(url(topic, None, None).unwrap_err().contains("no path"));
        let missing = "url = \"https://a\"\nca_file = \"/nowhere\"";
        assert!(url(missing, None, None).unwrap_err().contains("/nowhere"));
        let error = url("url_env = \"U\"", Some("example.org/s3cret"), None).unwrap_err();
        assert!(!error.contains("s3cret"), "{error}");
    }

    #[test]
    fn signatures() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&secret("Jefe"), b"what do ya want for nothing?"), expected);
    }
}
