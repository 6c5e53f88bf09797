//! Masks secrets in configuration lines, commands and log messages, for mail and messages.

/// Ends of the names of secret attributes.
const SECRETS: [&str; 11] = [
    "password",
    "passphrase",
    "secret",
    "-key",
    "psk",
    "token",
    "-pin",
    "passwd",
    "community",
    "identity",
    "-cak",
];
/// Full names of secret attributes.
const SECRETS_WHOLE: [&str; 3] = ["key", "pin", "cak"];
/// Attributes with such an end that are not secret.
const PUBLIC: [&str; 3] = ["public-key", "host-key", "local-key"];
/// Menus in which `name` is a password.
const COMMUNITIES: [&str; 2] = ["snmp community", "snmp/community"];

const MASK: &str = "***";

/// The text with the values of secrets replaced. If the end of a value is missing, all text after it is masked.
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_communities = false;
    while let Some(at) = rest.find('=') {
        let (before, value) = (&rest[..at], &rest[at + 1..]);
        masked.push_str(before);
        masked.push('=');
        rest = value;
        let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
        in_communities &= line.len() == before.len();
        in_communities |= COMMUNITIES.iter().any(|menu| line.contains(menu));
        let mut words = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let length = length(value);
        if (is_secret(&name) || in_communities && name == "name") && length > 0 {
            masked.push_str(MASK);
            rest = &value[length..];
        }
    }
    masked + rest
}

/// The name may end with a number: `static-key-1`.
fn is_secret(name: &str) -> bool {
    let unnumbered = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = unnumbered.strip_suffix('-').unwrap_or(name);
    (SECRETS_WHOLE.contains(&name) || SECRETS.iter().any(|end| name.ends_with(end)))
        && !PUBLIC.iter().any(|end| name.ends_with(end))
}

/// The length of a value: up to its closing quote, or to the next blank. A script is a quoted text, so quotes inside it
/// are written `\"`, and `\\\"` in a script inside a script: each level doubles the backslashes and adds one before the
/// quote.
fn length(value: &str) -> usize {
    let depth = value.bytes().take_while(|byte| *byte == b'\\').count();
    if value[depth..].starts_with('"') {
        let mut backslashes = 0;
        for (at, byte) in value.bytes().enumerate().skip(depth + 1) {
            if byte == b'"' && backslashes < depth {
                return at - backslashes; // the quote that ends the text around the value
            }
            // Pairs of backslashes of this level are text; a single one makes the quote text.
            if byte == b'"' && (backslashes - depth) / (depth + 1) % 2 == 0 {
                return at + 1;
            }
            backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
        }
        return value.find('\n').unwrap_or(value.len());
    }
    value.find([' ', '\n', '"', ';', ')', '\\']).unwrap_or(value.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_secrets_are_masked() {
        for (text, masked) in [
            (
                "/ppp secret add name=a password=geheim profile=x",
                "/ppp secret add name=a password=*** profile=x",
            ),
            ("set wpa2-pre-shared-key=\"a \\\" b\" ssid=x", "set wpa2-pre-shared-key=*** ssid=x"),
            ("+/x add private-key=\"abc=\"\n-/y add a=b", "+/x add private-key=***\n-/y add a=b"),
            ("public-key=\"abc\" secret=\"\"", "public-key=\"abc\" secret=***"),
            ("source=\"set password=\\\"geheim\\\"; x\" y=z", "source=\"set password=***; x\" y=z"),
            ("(*2 = /user add password=geheim)", "(*2 = /user add password=***)"),
            ("auth-key=\"cut in the mid", "auth-key=***"),
            ("password= x=y", "password= x=y"),
            ("Password=x", "Password=***"),
            ("a==b", "a==b"),
            ("/interface lte set sim pin=1234 mtu=1", "/interface lte set sim pin=*** mtu=1"),
            (
                "static-key-1=abc static-algo-1=40bit-wep",
                "static-key-1=*** static-algo-1=40bit-wep",
            ),
            ("macsec add cak=0a ckn=1", "macsec add cak=*** ckn=1"),
            ("client identity=bob x=y", "client identity=*** x=y"),
            (
                "/snmp community set [ find default=yes ] name=geheim\n/user add name=a",
                "/snmp community set [ find default=yes ] name=***\n/user add name=a",
            ),
            ("(/snmp/community/add name=geheim)", "(/snmp/community/add name=***)"),
            (
                r#"source="x source=\"set password=\\\"a b\\\"; y\" z" v=w"#,
                r#"source="x source=\"set password=***; y\" z" v=w"#,
            ),
            (r#"source="set password=\"a \\\" b\" z""#, r#"source="set password=*** z""#),
            (r#"password="ends in \\" x=y"#, "password=*** x=y"),
            (r#"source="set password=\"open" x=y"#, r#"source="set password=***" x=y"#),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_shown(before in "[ -~]{0,20}", value in "[A-Z]{8}", after in "[ -~]{0,20}", quoted in any::<bool>()) {
            prop_assume!(!before.contains(&value) && !after.contains(&value));
            let value_text = if quoted { format!("\"{value}\"") } else { value.clone() };
            let text = format!("{before} password={value_text} {after}");
            prop_assert!(!mask(&text).contains(&value), "{}", text);
        }

        #[test]
        fn no_text_panics(text in ".{0,100}", parts in prop::collection::vec("(password|=|\"|\\\\| |é|\n)", 0..20)) {
            mask(&text);
            mask(&parts.concat());
        }

        /// A secret is masked in scripts of any depth, whatever its last character.
        #[test]
        fn a_quoted_secret_is_masked_at_any_depth(value in "[A-Z\\\\\" ]{0,10}", depth in 0..4_usize) {
            let mut quoted = format!("password={:?} after=x", value);
            for _ in 0..depth {
                quoted = format!("source={quoted:?}");
            }
            let masked = mask(&quoted);
            prop_assert!(masked.contains("password=*** after=x"), "{quoted} {masked}");
        }
    }
}
