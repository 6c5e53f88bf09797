//! The format of my.cnf: sections, `KEY = VALUE`, quotes, escapes and comments.

use std::{ops::RangeInclusive, path::absolute, time::Duration};

use aw_service::Secret;

use super::{LOCALHOST, ServerConfig, TlsMode};

const SECTIONS: [&str; 2] = ["client", "addrwatch"];
/// The keys of `[addrwatch]`.
pub(super) const KEYS: &str = "host, port, socket, protocol, connect-timeout, user, password, database, ssl, ssl-ca, ssl-cert, ssl-key, ssl-mode, ssl-verify-server-cert, plain-password";

/// In seconds: all servers together get ten, see [`super::TRANSACTION`].
const CONNECT_TIMEOUTS: RangeInclusive<u64> = 1..=10;

/// Parses a file. If a key is set twice, the last value applies.
pub(crate) fn parse(text: &str) -> Result<ServerConfig, String> {
    let (mut config, mut tls) = (ServerConfig::default(), None);
    let (mut section, mut found) = ("", false);
    for (line, number) in text.lines().map(str::trim).zip(1..) {
        let at_line = |why: String| format!("line {number}: {why}");
        match line.as_bytes() {
            [] | [b'#' | b';' | b'!', ..] => {}
            [b'[', .., b']'] => {
                section = line[1..line.len() - 1].trim();
                found |= SECTIONS.contains(&section);
            }
            _ if SECTIONS.contains(&section) => {
                let (key, value) = line.split_once('=').unwrap_or((line, "1"));
                let key = key.trim().replace('_', "-");
                if section == "client" && key == "connect-timeout" {
                    // It is for the server's own clients, which can wait for longer than an output.
                } else if KEYS.split(", ").any(|known| known == key) {
                    set(&mut config, &mut tls, &key, unquoted(value.trim())).map_err(at_line)?;
                } else if section == "addrwatch" && !key.starts_with("loose-") {
                    // `[client]` has keys of other programs, and `loose-` marks a key that may be unknown.
                    return Err(at_line(format!("unknown key {key} (known keys: {KEYS})")));
                }
            }
            _ => {}
        }
    }
    if !found {
        return Err(
            "no section [addrwatch] (add it to this file: included files are not read)".into()
        );
    }
    if config.cert.is_some() != config.key.is_some() {
        return Err("ssl-cert and ssl-key need each other (set both)".into());
    }
    let with_files = config.tls_files().next().map(|_| TlsMode::VerifyIdentity);
    config.tls = tls.or(with_files).unwrap_or(TlsMode::Off);
    Ok(config)
}

/// Sets the value of one of [`KEYS`].
fn set(
    config: &mut ServerConfig,
    tls: &mut Option<TlsMode>,
    key: &str,
    value: String,
) -> Result<(), String> {
    let must_be = |what: &str| format!("{key}: {value:?}: must be {what}");
    let lower = value.to_ascii_lowercase();
    let boolean = || match lower.as_str() {
        "1" | "on" | "true" | "yes" => Ok(true),
        "0" | "off" | "false" | "no" => Ok(false),
        _ => Err(must_be("0 or 1")),
    };
    let path = || absolute(&value).map(Some).map_err(|_| must_be("the path of a file"));
    let or_default = |default: String| if value.is_empty() { default } else { value.clone() };
    let default = ServerConfig::default();
    match key {
        "host" => {
            let hosts = or_default(LOCALHOST.into());
            config.set_hosts(&hosts).map_err(|why| format!("{key}: {why}"))?;
        }
        "port" => {
            let port = value.parse().ok().filter(|port| *port > 0);
            config.port = port.ok_or_else(|| must_be("1 to 65535"))?;
        }
        "socket" => config.socket = or_default(default.socket),
        "protocol" => match lower.as_str() {
            "tcp" => config.tcp = Some(true),
            "socket" => config.tcp = Some(false),
            _ => return Err(must_be("tcp or socket")),
        },
        "connect-timeout" => {
            let seconds = value.parse().ok().filter(|seconds| CONNECT_TIMEOUTS.contains(seconds));
            let seconds = seconds.ok_or_else(|| must_be("1 to 10 (seconds)"))?;
            config.connect_timeout = Duration::from_secs(seconds);
        }
        "user" => config.user = value,
        "password" => config.password = Secret::non_empty(&value),
        "database" => config.database = value,
        "plain-password" => config.plain_password = boolean()?,
        "ssl-ca" => config.ca = path()?,
        "ssl-cert" => config.cert = path()?,
        "ssl-key" => config.key = path()?,
        "ssl" | "ssl-verify-server-cert" if boolean()? => *tls = Some(TlsMode::VerifyIdentity),
        "ssl" => *tls = Some(TlsMode::Off),
        "ssl-verify-server-cert" => *tls = Some(TlsMode::VerifyCa),
        _ => {
            *tls = Some(match lower.as_str() {
                "disabled" => TlsMode::Off,
                "required" => TlsMode::EncryptOnly,
                "verify_ca" => TlsMode::VerifyCa,
                "verify_identity" => TlsMode::VerifyIdentity,
                // Not PREFERRED: an attacker on the network can remove the TLS of it.
                _ => return Err(must_be("DISABLED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")),
            });
        }
    }
    Ok(())
}

/// A value without its quotes, its escapes, and the comment after it.
pub(super) fn unquoted(text: &str) -> String {
    let quote = text.chars().next().filter(|c| ['"', '\''].contains(c));
    let mut rest = text.chars().skip(usize::from(quote.is_some()));
    let mut value = String::new();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next() {
                Some('b') => value.push('\x08'),
                Some('t') => value.push('\t'),
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('s') => value.push(' '),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                other => value.extend(['\\'].into_iter().chain(other)),
            },
            c if Some(c) == quote => return value,
            '#' if quote.is_none() => break,
            c => value.push(c),
        }
    }
    value.truncate(value.trim_end().len());
    value
}
