//! The subject of a sensor's ring: `addrwatch.HOST.RING`. The server decides who may publish to it, so host and ring are in the subject
//! alone, and not in the message. A sensor can have the server put an acknowledgement there, which is no valid message.

use shm_layout::RingName;

/// The first token of all subjects.
pub const PREFIX: &str = "addrwatch";
/// Bytes of a host name, at most; as the system has it.
const MAX_HOST: usize = 64;

/// Whether a host may have a subject: a name as in DNS.
pub fn is_host(host: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (1..=MAX_HOST).contains(&host.len()) && !host.starts_with('.') && host.chars().all(is_of_name)
}

/// The subject of this host's ring.
pub fn subject(host: &str, ring: &RingName) -> String {
    format!("{PREFIX}.{}.{}", token(host), token(ring.as_str().trim_start_matches('/')))
}

/// Host and ring of a subject; none if no sensor publishes to it.
pub fn parse(subject: &str) -> Option<(String, RingName)> {
    let (host, ring) = subject.strip_prefix(PREFIX)?.strip_prefix('.')?.split_once('.')?;
    let (host, ring) = (text(host)?, text(ring)?);
    Some((host, ring.parse().ok()?)).filter(|(host, _)| is_host(host))
}

/// A token of a subject: dots separate tokens, so they are written as `%2E`, and all other bytes that are special somewhere, too.
pub fn token(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let byte = |byte: u8| match is_plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// The reverse. One text has one token: what is written otherwise is refused.
fn text(written: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), written.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok().filter(|text| token(text) == written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects() {
        for (host, ring, expected) in [
            ("alpha", "/addrwatch", "addrwatch.alpha.addrwatch"),
            ("a.example.net", "/lan.2", "addrwatch.a%2Eexample%2Enet.lan%2E2"),
            ("a_b-c", "/é*>%", "addrwatch.a_b-c.%C3%A9%2A%3E%25"),
        ] {
            let ring: RingName = ring.parse().unwrap();
            assert_eq!(subject(host, &ring), expected);
            assert_eq!(parse(expected), Some((host.into(), ring)));
        }
        for foreign in [
            "addrwatch.alpha",
            "addrwatch.alpha.x.y",
            "addrwatch..x",
            "addrwatch.alpha.",
            "addrwatch.%61lpha.x", // of alpha, which writes it otherwise
            "addrwatch.a%2eb.x",
            "addrwatch.a%2.x",
            "addrwatch.a%3Ab.x",
            "addrwatch.alpha.x%2Fy",
            "addrwatch.alpha.%FF",
            "addrwatchalpha.x.y",
            "other.alpha.x",
        ] {
            assert_eq!(parse(foreign), None, "{foreign}");
        }
        for bad in ["", ".a", "a b", "a:b", "tür", &"x".repeat(65)] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}
