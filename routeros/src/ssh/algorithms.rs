//! Why no algorithm is common with a router, and which key of the configuration would allow one.

use aw_service::plain;
use russh::AlgorithmKind;

use super::handshake::options;
use crate::config::{HostKeys, Router};

/// Names and characters of the router's offer in a message.
const MAX_NAMES: usize = 20;
const MAX_TEXT: usize = 400;

/// The message that this kind of algorithm of the router's offer is not supported with this configuration.
pub fn missing(kind: &AlgorithmKind, offer: &[String], router: &Router) -> String {
    let use_of = match kind {
        AlgorithmKind::Kex => "key exchange",
        AlgorithmKind::Key => "host key",
        AlgorithmKind::Cipher => "cipher",
        AlgorithmKind::Compression => "compression",
        AlgorithmKind::Mac => "MAC",
    };
    let names: Vec<_> = offer.iter().filter(|name| !is_extension(name)).take(MAX_NAMES).collect();
    let names = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let names: String = plain(&names).chars().take(MAX_TEXT).collect();
    format!(
        "no common {use_of} algorithm, the router offers {names} ({})",
        remedy(kind, offer, router)
    )
}

fn remedy(kind: &AlgorithmKind, offer: &[String], router: &Router) -> &'static str {
    let allows = |legacy, legacy_group1, host_key: &HostKeys| {
        let host_key = host_key.clone();
        let router = Router { legacy, legacy_group1, host_key, ..router.clone() };
        supported(kind, &router).iter().any(|name| !is_extension(name) && offer.contains(name))
    };
    let (pins, legacy, group1) = (&router.host_key, router.legacy, router.legacy_group1);
    if allows(legacy, group1, &HostKeys::default()) {
        "no host_key is of these types: if the router's key is right, set host_key"
    } else if allows(true, group1, pins) {
        "old algorithms: set legacy = true"
    } else if allows(true, true, pins) && legacy {
        "of 1024 bits: set legacy_group1 = true"
    } else if allows(true, true, pins) {
        "old algorithms: set legacy = true and legacy_group1 = true"
    } else {
        "none of them is supported: update RouterOS, or /ip ssh set strong-crypto=yes"
    }
}

fn supported(kind: &AlgorithmKind, router: &Router) -> Vec<String> {
    fn all<A: AsRef<str>>(names: &[A]) -> Vec<String> {
        names.iter().map(|name| name.as_ref().to_owned()).collect()
    }
    let preferred = options(router).preferred;
    match kind {
        AlgorithmKind::Kex => all(&preferred.kex),
        AlgorithmKind::Key => preferred.key.iter().map(|key| key.to_string()).collect(),
        AlgorithmKind::Cipher => all(&preferred.cipher),
        AlgorithmKind::Compression => all(&preferred.compression),
        AlgorithmKind::Mac => all(&preferred.mac),
    }
}

/// Names in the list of key exchanges that are none.
fn is_extension(name: &str) -> bool {
    name.starts_with("ext-info-") || name.starts_with("kex-strict-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn message(kind: AlgorithmKind, offer: &[&str], options: &str) -> String {
        let text = format!(
            "archive = \"/x\"\n[[router]]\nname = \"r\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n{options}\n"
        );
        let config = Config::parse(&text).unwrap();
        let offer: Vec<_> = offer.iter().map(|name| name.to_string()).collect();
        missing(&kind, &offer, &config.routers[0])
    }

    #[test]
    fn each_remedy() {
        let kex = |offer: &[&str], options: &str| message(AlgorithmKind::Kex, offer, options);
        let group14 = kex(&["diffie-hellman-group14-sha1", "kex-strict-s-v00@openssh.com"], "");
        assert_eq!(
            group14,
            "no common key exchange algorithm, the router offers diffie-hellman-group14-sha1 (old algorithms: set legacy = true)"
        );
        let group1 = ["diffie-hellman-group1-sha1"];
        assert!(
            kex(&group1, "")
                .ends_with("(old algorithms: set legacy = true and legacy_group1 = true)")
        );
        assert!(
            kex(&group1, "legacy = true").ends_with("(of 1024 bits: set legacy_group1 = true)")
        );
        let mac = |offer: &[&str], options: &str| message(AlgorithmKind::Mac, offer, options);
        let sha1 = mac(&["hmac-sha1", "hmac-md5"], "");
        assert!(
            sha1.starts_with("no common MAC algorithm, the router offers hmac-sha1, hmac-md5 (")
        );
        assert!(sha1.ends_with("(old algorithms: set legacy = true)"), "{sha1}");
        assert!(mac(&["hmac-md5"], "legacy = true").contains("none of them is supported"));
        let cbc = message(AlgorithmKind::Cipher, &["aes128-cbc"], "");
        assert!(
            cbc.starts_with("no common cipher") && cbc.ends_with("set legacy = true)"),
            "{cbc}"
        );
        let pin = "host_key = \"ssh-ed25519 SHA256:Nh0Me49Zh9fDw/VYUfq43IJmI1T+XrjiYONPND8GzaM\"";
        let key = message(AlgorithmKind::Key, &["rsa-sha2-256"], pin);
        assert!(
            key.starts_with("no common host key algorithm") && key.contains("set host_key"),
            "{key}"
        );
        assert!(message(AlgorithmKind::Key, &["ssh-rsa"], "").contains("set legacy = true"));
    }

    /// The offer is a text of the router.
    #[test]
    fn the_offer_is_bounded() {
        let offer: Vec<_> = (0..1000).map(|n| format!("\u{1b}{n}{}", "x".repeat(100))).collect();
        let offer: Vec<_> = offer.iter().map(String::as_str).collect();
        let text = message(AlgorithmKind::Mac, &offer, "");
        assert!(text.len() < 700 && !text.contains('\u{1b}'), "{text}");
    }
}
