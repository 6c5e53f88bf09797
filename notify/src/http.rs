//! HTTP requests to a server that the configuration names: of webhooks, and for tokens of mail. TLS authenticates the server;
//! redirections are not followed, because only this server may get the secrets of a request.

use std::{path::Path, time::Duration};

use aw_peer::certificate_fault;
use aw_service::{FileKind, cause, connection_fault, read_file};
use ureq::{
    Agent,
    http::{StatusCode, Uri},
    tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem},
};

/// A client. A request, with its response, may take `limit`. Reads `ca_file`.
pub fn agent(program: &str, ca_file: Option<&Path>, limit: Duration) -> Result<Agent, String> {
    agent_with(program, ca_file, None, (limit, 0)) // the next request may be minutes away
}

/// The same, with a client certificate and its key. So many connections stay open for the next requests.
pub fn agent_with(
    program: &str,
    ca_file: Option<&Path>,
    identity: Option<(&Path, &Path)>,
    (limit, idle): (Duration, usize),
) -> Result<Agent, String> {
    let identity = identity.map(client_certificate).transpose()?;
    let certificates = root_certificates(ca_file)?;
    Ok(Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(idle)
        .max_idle_connections_per_host(idle)
        .timeout_global(Some(limit))
        .user_agent(format!("{program}/{}", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(certificates).client_cert(identity).build())
        .build()
        .new_agent())
}

/// Parses a URL. Also returns scheme and host, which are not secret and may be logged.
pub fn parse_url(url: &str) -> Result<(Uri, String), String> {
    let uri: Uri = url.parse().map_err(|_| "not a valid URL")?;
    let (scheme, authority) = (uri.scheme_str().unwrap_or_default(), uri.authority());
    match authority {
        Some(authority) if authority.as_str().contains('@') => {
            Err("a user or password in the URL is not supported".into())
        }
        Some(authority) if ["http", "https"].contains(&scheme) => {
            let shown = format!("{scheme}://{authority}");
            Ok((uri, shown))
        }
        _ => Err("must begin with https:// or http:// and a host".into()),
    }
}

/// Why a request failed, in one line, with a remedy where no connection can be made.
pub fn why(error: &ureq::Error, limit: Duration) -> String {
    why_with(error, limit, "the URL", "ca_file")
}

/// The same where `setting` has the URL, and `ca_file` names authorities.
pub fn why_with(error: &ureq::Error, limit: Duration, setting: &str, ca_file: &str) -> String {
    let without_tls = format!("write http:// in {setting}, or the port that has TLS");
    connection_fault(&cause_of(error, limit, ca_file), setting, &without_tls)
}

fn cause_of(error: &ureq::Error, limit: Duration, ca_file: &str) -> String {
    match error {
        ureq::Error::Timeout(step) => format!("no response after {} s ({step})", limit.as_secs()),
        ureq::Error::BadUri(_) => "not a valid URL".into(),
        ureq::Error::Io(error) => {
            let why = error.get_ref().map_or_else(|| cause(error), |inner| inner.to_string());
            certificate_fault(&why, ca_file)
        }
        error => error.to_string(),
    }
}

/// The status of a response that is an error, with what the server says in quotes; `{}` and the like say nothing.
pub fn answer(status: StatusCode, text: &str) -> String {
    match one_line(text) {
        text if text.contains(char::is_alphanumeric) => format!("{status}: \"{text}\""),
        _ => status.to_string(),
    }
}

/// A text of a server in a message of ours: without control characters, and short.
pub fn one_line(text: &str) -> String {
    const MAX_SHOWN: usize = 200;
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_SHOWN);
    plain.collect::<String>().trim().to_owned()
}

/// Bytes of a file of certificates, at most; a system's list of authorities has some 200,000.
pub(crate) const MAX_PEM: u64 = 4 << 20;

fn client_certificate((certificate, key): (&Path, &Path)) -> Result<ClientCert, String> {
    let private = PrivateKey::from_pem(&read_pem(key, FileKind::Secret)?)
        .map_err(|error| format!("read {}: {error}", key.display()))?;
    Ok(ClientCert::new_with_certs(&certificates(certificate)?, private))
}

/// The certificate authorities: `ca_file` alone, or the system's, or the built-in ones of Mozilla if the system has none.
fn root_certificates(ca_file: Option<&Path>) -> Result<RootCerts, String> {
    let Some(path) = ca_file else {
        let found = rustls_native_certs::load_native_certs().certs;
        let found = found.iter().map(|one| Certificate::from_der(one).to_owned());
        let found: Vec<_> = found.collect();
        return Ok(if found.is_empty() { RootCerts::WebPki } else { found.into() });
    };
    certificates(path).map(RootCerts::from)
}

fn read_pem(path: &Path, kind: FileKind) -> Result<Vec<u8>, String> {
    read_file(path, kind, MAX_PEM)
        .map_err(|error| format!("read {}: {}", path.display(), cause(&error)))
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(one)) => Some(one),
        _ => None,
    };
    let found: Vec<_> =
        parse_pem(&read_pem(path, FileKind::Settings)?).filter_map(certificate).collect();
    match found.is_empty() {
        true => Err(format!("{}: no PEM certificate in this file", path.display())),
        false => Ok(found),
    }
}
