//! A webhook: one POST of JSON for each message. It trusts whom its configuration names, once TLS has shown who that is,
//! and believes no more of an answer than its status. What is secret is in no error: not the URL's path, nor a token.

use std::{collections::BTreeMap, fs, io::Read, path::PathBuf, time::Duration};

use aw_notify::Failure;
use aw_service::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;
use ureq::{
    Agent,
    http::{HeaderName, HeaderValue, Response, Uri, header::LOCATION},
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use crate::{report::Message, template::Template};

/// Bytes of an answer that are looked at, and characters of it that are told.
const ANSWER: u64 = 1024;
const TOLD: usize = 200;

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    template: Option<Template>,
    url: Option<String>,
    pub url_file: Option<PathBuf>,
    pub url_env: Option<String>,
    /// For those who listen to know us by.
    pub token_file: Option<PathBuf>,
    pub token_env: Option<String>,
    /// The key of the signature.
    pub secret_file: Option<PathBuf>,
    pub secret_env: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    topic: Option<String>,
    chat: Option<String>,
    priority: Option<u8>,
    ca_file: Option<PathBuf>,
}

impl Options {
    /// What can be said without a file.
    pub fn check(&self) -> Result<(), String> {
        use Template::{Gotify, Ntfy, Telegram};
        let template = self.template;
        let name = template.map_or("no template", Template::name);
        let url = [self.url.is_some(), self.url_file.is_some(), self.url_env.is_some()];
        match url.iter().filter(|there| **there).count() {
            0 if self.default_url().is_none() => {
                return Err("webhook: needs one of url, url_file, url_env".into());
            }
            0 | 1 => {}
            _ => return Err("webhook: only one of url, url_file, url_env".into()),
        }
        if self.url.is_some() && template.is_some_and(Template::has_secret_url) {
            return Err(format!(
                "webhook: who knows the URL of {name} may post: put it into url_file, which others may \
                 not read, or url_env"
            ));
        }
        if let Some(url) = &self.url {
            address(url)?;
        }
        let token = self.token_file.is_some() || self.token_env.is_some();
        match template {
            Some(Gotify | Telegram) if !token => {
                return Err(format!("webhook: {name} needs token_file or token_env"));
            }
            Some(template) if token && template.has_secret_url() => {
                return Err(format!("webhook: {name} has no token, but a secret URL"));
            }
            _ => {}
        }
        for (option, there, of) in
            [("topic", self.topic.is_some(), Ntfy), ("chat", self.chat.is_some(), Telegram)]
        {
            if there != (template == Some(of)) {
                let verb = if there { "has no" } else { "needs a" };
                return Err(format!("webhook: {name} {verb} {option}"));
            }
        }
        let is_known = |priority: u8| match template {
            Some(Ntfy) => (1..=5).contains(&priority),
            Some(Gotify) => priority <= 10,
            _ => false,
        };
        if let Some(priority) = self.priority.filter(|priority| !is_known(*priority)) {
            return Err(format!("webhook: {name} has no priority {priority}"));
        }
        for (name, value) in &self.headers {
            header(name, value)?;
        }
        Ok(())
    }

    fn default_url(&self) -> Option<&'static str> {
        match self.template {
            Some(Template::Ntfy) => Some("https://ntfy.sh"),
            Some(Template::Telegram) => Some("https://api.telegram.org"),
            _ => None,
        }
    }
}

/// Scheme and host, which may be told; a fault where it is no URL.
fn address(url: &str) -> Result<(Uri, String), String> {
    let uri: Uri = url.parse().map_err(|_| "webhook: the url is none")?;
    let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
    match authority {
        Some(authority) if authority.as_str().contains('@') => {
            Err("webhook: no user or password in a url: put a token into token_file".into())
        }
        Some(authority) if ["http", "https"].contains(&scheme) => {
            let shown = format!("{scheme}://{authority}");
            Ok((uri, shown))
        }
        _ => Err("webhook: a url begins with https:// or http:// and a host".into()),
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    if name.eq_ignore_ascii_case("authorization") {
        return Err("webhook: no header Authorization here: put the token into token_file".into());
    }
    let parsed = name.parse().ok().zip(value.parse().ok());
    parsed.ok_or_else(|| format!("webhook: {name:?} with its value is no header"))
}

/// What is read before privileges are given up.
pub struct Keys<'a> {
    pub url: Option<&'a Secret>,
    pub token: Option<&'a Secret>,
    pub secret: Option<&'a Secret>,
}

/// One that can be called.
pub struct Webhook {
    agent: Agent,
    url: Uri,
    /// The part of it that may be told.
    shown: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    template: Option<Template>,
    whom: String,
    priority: Option<u8>,
    key: Option<Secret>,
    /// What must not be told.
    hidden: Vec<Secret>,
    limit: Duration,
}

impl Webhook {
    /// Understands the options and reads the authority's file.
    pub fn new(options: &Options, keys: &Keys, limit: Duration) -> Result<Webhook, String> {
        let given = keys.url.map(Secret::reveal).or(options.url.as_deref());
        let base = given.or(options.default_url()).ok_or("webhook: no url")?;
        address(base)?;
        let base = base.trim_end_matches('/');
        let token = keys.token.map(Secret::reveal);
        let (url, sent_as) = match options.template {
            // It is told the topic in the body.
            Some(Template::Ntfy) => {
                if base.splitn(4, '/').nth(3).is_some() {
                    return Err(
                        "webhook: the url of ntfy has no path: the topic is in topic".into()
                    );
                }
                (format!("{base}/"), "authorization")
            }
            Some(Template::Gotify) => (format!("{base}/message"), "x-gotify-key"),
            Some(Template::Telegram) => {
                let token = token.unwrap_or_default();
                if !token.chars().all(|c| c.is_ascii_alphanumeric() || "_-:".contains(c)) {
                    return Err("webhook: what token_file or token_env has is no token".into());
                }
                (format!("{base}/bot{token}/sendMessage"), "")
            }
            _ => (given.unwrap_or(base).to_owned(), "authorization"),
        };
        let (url, shown) = address(&url)?;
        let headers = options.headers.iter().map(|(name, value)| header(name, value));
        let mut headers = headers.collect::<Result<Vec<_>, _>>()?;
        if let Some(token) = token.filter(|_| !sent_as.is_empty()) {
            let bearer = if sent_as == "authorization" { "Bearer " } else { "" };
            let value = format!("{bearer}{token}").parse::<HeaderValue>();
            let value =
                value.map_err(|_| "webhook: the token has characters that no header takes")?;
            headers.push((HeaderName::from_static(sent_as), value));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0) // a message is for whom the configuration names
            .max_idle_connections(0) // the next one is minutes away
            .timeout_global(Some(limit))
            .user_agent(concat!("aw-alert/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(authorities(options)?).build())
            .build()
            .new_agent();
        let whom = options.topic.as_ref().or(options.chat.as_ref());
        Ok(Webhook {
            agent,
            url,
            shown,
            headers,
            template: options.template,
            whom: whom.cloned().unwrap_or_default(),
            priority: options.priority,
            key: keys.secret.cloned(),
            hidden: [keys.url, keys.token, keys.secret].into_iter().flatten().cloned().collect(),
            limit,
        })
    }

    /// Once this returns without a failure, it was answered with a status of success. `id` is the same each time that
    /// the same message is sent.
    pub fn send(&self, message: &Message, id: &str) -> Result<(), Failure> {
        let body = match self.template {
            Some(template) => template.body(message, &self.whom, self.priority),
            None => message.fields.clone(),
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
            Ok(answer) => self.judge(answer),
            Err(error) => Err(Failure::Down(self.told(&self.cause(&error)))),
        }
    }

    fn judge(&self, answer: Response<ureq::Body>) -> Result<(), Failure> {
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        if status.is_redirection() {
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
            let to = to.and_then(|to| Some(address(to).ok()?.1)).unwrap_or("elsewhere".into());
            let why = format!("{status}, to {to}: not followed (put the right address into url)");
            return Err(Failure::Down(self.told(&why)));
        }
        let mut bytes = Vec::new();
        // What is missing of it is missing.
        let _ = answer.into_body().into_reader().take(ANSWER).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        // Before it is cut: of half a token nothing is left to be found.
        let text: String = self
            .hide(&text)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(TOLD)
            .collect();
        let why = self.told(&format!("{status}: {}", text.trim()));
        match status.as_u16() {
            // The body is to blame: the next one may be better.
            400 | 413 | 422 => Err(Failure::Refused(why)),
            _ => Err(Failure::Down(why)),
        }
    }

    fn cause(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(step) => {
                format!("not done after {} s ({step})", self.limit.as_secs())
            }
            ureq::Error::BadUri(_) => "the url is none".into(),
            ureq::Error::Io(error) => {
                let why = error
                    .get_ref()
                    .map_or_else(|| shm_layout::cause(error), |inner| inner.to_string());
                match why.contains("UnknownIssuer") {
                    true => format!("{why} (its authority's certificate may stand in ca_file)"),
                    false => why,
                }
            }
            error => error.to_string(),
        }
    }

    fn told(&self, why: &str) -> String {
        format!("POST {}: {}", self.shown, self.hide(why))
    }

    fn hide(&self, text: &str) -> String {
        self.hidden.iter().fold(text.to_owned(), |text, secret| secret.redact(&text))
    }
}

/// `sha256=` and HMAC-SHA256 (RFC 2104) of the body in hexadecimal digits.
fn signature(key: &Secret, body: &[u8]) -> String {
    let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(key.reveal().as_bytes()) else {
        return String::new(); // a key may have any length
    };
    hmac.update(body);
    let digits = hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    ["sha256=".to_owned(), digits].concat()
}

/// The authority of the configuration and no other; else the system's; else, where it has none, Mozilla's, built in.
fn authorities(options: &Options) -> Result<RootCerts, String> {
    let Some(path) = &options.ca_file else {
        let found = rustls_native_certs::load_native_certs().certs;
        let found = found.iter().map(|one| Certificate::from_der(one).to_owned());
        let found: Vec<_> = found.collect();
        return Ok(if found.is_empty() { RootCerts::WebPki } else { found.into() });
    };
    let pem = fs::read(path)
        .map_err(|error| format!("read {}: {}", path.display(), shm_layout::cause(&error)))?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(one)) => Some(one),
        _ => None,
    };
    let found: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    match found.is_empty() {
        true => Err(format!("{}: no certificate in PEM", path.display())),
        false => Ok(found.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<Options, String> {
        let options: Options = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        options.check().map(|()| options)
    }

    fn secret(text: &str) -> Secret {
        serde_json::from_value(text.into()).unwrap()
    }

    fn url(text: &str, url: Option<&str>, token: Option<&str>) -> Result<String, String> {
        let (url, token) = (url.map(secret), token.map(secret));
        let keys = Keys { url: url.as_ref(), token: token.as_ref(), secret: None };
        let webhook = Webhook::new(&options(text)?, &keys, Duration::from_secs(1))?;
        let shown = webhook.told("no");
        assert!(token.is_none_or(|token| !shown.contains(token.reveal())), "{shown}");
        Ok(webhook.url.to_string())
    }

    #[test]
    fn addresses() {
        let (ntfy, token) = ("template = \"ntfy\"\ntopic = \"t\"", Some("123:AB"));
        assert_eq!(url(ntfy, None, None).unwrap(), "https://ntfy.sh/");
        let own = format!("{ntfy}\nurl = \"http://nas:8080/\"");
        assert_eq!(url(&own, None, token).unwrap(), "http://nas:8080/");
        let gotify = "template = \"gotify\"\nurl = \"https://nas/gotify/\"\ntoken_env = \"T\"";
        assert_eq!(url(gotify, None, token).unwrap(), "https://nas/gotify/message");
        let telegram = "template = \"telegram\"\nchat = \"-1\"\ntoken_env = \"T\"";
        let expected = "https://api.telegram.org/bot123:AB/sendMessage";
        assert_eq!(url(telegram, None, token).unwrap(), expected);
        assert!(url(telegram, None, Some("a/../b")).unwrap_err().contains("no token"));
        let slack = "template = \"slack\"\nurl_env = \"U\"";
        let hook = "https://hooks.slack.com/services/T/B/x?a=b";
        assert_eq!(url(slack, Some(hook), None).unwrap(), hook);
    }

    #[test]
    fn faults() {
        for (text, why) in [
            ("", "needs one of url"),
            ("url = \"https://a\"\nurl_env = \"U\"", "only one of url"),
            ("url = \"ftp://a\"", "begins with https"),
            ("url = \"nas:8080\"", "begins with https"),
            ("url = \"https://u:p@a\"", "no user or password"),
            ("template = \"slack\"\nurl = \"https://a\"", "put it into url_file"),
            ("template = \"slack\"\nurl_env = \"U\"\ntoken_env = \"T\"", "slack has no token"),
            ("template = \"gotify\"\nurl = \"https://a\"", "needs token_file"),
            ("template = \"ntfy\"", "ntfy needs a topic"),
            ("template = \"telegram\"\ntoken_env = \"T\"", "telegram needs a chat"),
            ("url = \"https://a\"\nchat = \"1\"", "has no chat"),
            ("template = \"ntfy\"\ntopic = \"t\"\npriority = 6", "no priority 6"),
            ("url = \"https://a\"\nheaders = { Authorization = \"x\" }", "token_file"),
            ("url = \"https://a\"\nheaders = { \"a b\" = \"x\" }", "no header"),
            ("template = \"pager\"\nurl = \"https://a\"", "unknown variant"),
        ] {
            let told = options(text).unwrap_err();
            assert!(told.contains(why), "{text}: {told}");
        }
        let topic = "template = \"ntfy\"\ntopic = \"t\"\nurl = \"https://ntfy.sh/t\"";
        assert!(url(topic, None, None).unwrap_err().contains("no path"));
        let missing = "url = \"https://a\"\nca_file = \"/nowhere\"";
        assert!(url(missing, None, None).unwrap_err().contains("/nowhere"));
        let secret = url("url_env = \"U\"", Some("example.org/s3cret"), None).unwrap_err();
        assert!(!secret.contains("s3cret"), "{secret}");
    }

    #[test]
    fn signed() {
        // RFC 4231, test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&secret("Jefe"), b"what do ya want for nothing?"), expected);
    }
}
