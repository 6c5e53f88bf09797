//! Secrets in lines of configuration, commands and log messages, made unreadable for mail and
//! messages.

/// Ends of the names of attributes that are secrets.
const SECRETS: [&str; 9] =
    ["password", "passphrase", "secret", "-key", "psk", "token", "-pin", "passwd", "community"];
/// Attributes that end so and are none.
const PUBLIC: [&str; 3] = ["public-key", "host-key", "local-key"];

const MASK: &str = "***";

/// The text with the values of secrets replaced. Where a value's end is missing, nothing of what
/// follows is shown.
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, value) = (&rest[..at], &rest[at + 1..]);
        masked.push_str(before);
        masked.push('=');
        rest = value;
        let mut words = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let is_secret = (name == "key" || SECRETS.iter().any(|end| name.ends_with(end)))
            && !PUBLIC.iter().any(|end| name.ends_with(end));
        let length = length(value);
        if is_secret && length > 0 {
            masked.push_str(MASK);
            rest = &value[length..];
        }
    }
    masked + rest
}

/// How long a value is: up to its closing quote, or to the blank after it. Inside a script, which is
/// a quoted text itself, quotes are written `\"`.
fn length(value: &str) -> usize {
    for quote in ["\\\"", "\""] {
        let Some(inner) = value.strip_prefix(quote) else { continue };
        let mut escaped = false;
        for (at, c) in inner.char_indices() {
            if quote == "\\\"" {
                if inner[at..].starts_with(quote) && !inner[..at].ends_with('\\') {
                    return at + 2 * quote.len();
                }
            } else if !escaped && c == '"' {
                return at + 2 * quote.len();
            }
            escaped = c == '\\' && !escaped;
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
    fn secrets_go_and_the_rest_stays() {
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
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_never_shown(before in "[ -~]{0,20}", value in "[A-Z]{8}", after in "[ -~]{0,20}", quoted in any::<bool>()) {
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
    }
}
