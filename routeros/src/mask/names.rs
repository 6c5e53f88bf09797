//! Which names are those of secrets: a list of what RouterOS has, and of what scripts and programs call their secrets.

/// Parts of names of secrets.
const PARTS: [&str; 12] = [
    "passw",
    "kennwort",
    "creds",
    "passphrase",
    "secret",
    "token",
    "psk",
    "preshared",
    "pre-shared",
    "credential",
    "authorization",
    "apikey",
];
/// Ends of such names.
const ENDS: [&str; 11] = [
    "key",
    "key-val",
    "pass",
    "pwd",
    "pw",
    "-pin",
    "-cak",
    "community",
    "identity",
    "signature",
    "-otp",
];
/// Whole names.
const WHOLE: [&str; 4] = ["pin", "pin-number", "cak", "otp"];
/// Ends of names that are about a secret, and are none: its size, its place, how it is used.
const ABOUT: [&str; 20] = [
    "-size",
    "-length",
    "-type",
    "-format",
    "-algo",
    "-algorithm",
    "-algorithms",
    "-update",
    "-lifetime",
    "-login",
    "-authentication",
    "-usage",
    "-file",
    "-id",
    "-timeout",
    "-interval",
    "-mode",
    "-age",
    "-method",
    "-methods",
];
/// Ends of names that are public: keys that are made to be shown, and numbers or names of keys.
const PUBLIC: [&str; 10] = [
    "public-key",
    "publickey",
    "pubkey",
    "host-key",
    "local-key",
    "remote-key",
    "transmit-key",
    "lacp-user-key",
    "allow-sharedkey",
    "bypass",
];
/// In JSON, headers and messages, where a name is followed by a colon, only these; there are words such as `key: ` in prose.
const CERTAIN: [&str; 9] = [
    "passw",
    "kennwort",
    "passphrase",
    "secret",
    "token",
    "psk",
    "apikey",
    "api-key",
    "private-key",
];
/// Further names of parameters in URLs.
const PARAMETERS: [&str; 5] = ["auth", "sig", "hash", "code", "access"];

/// Lower case, with dashes; without a number at the end (`static-key-1`), and without a prefix (`security.passphrase`).
fn plain(name: &str) -> String {
    let name = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase().replace('_', "-");
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-').to_owned()
}

/// Whether this is the name of a secret.
pub fn is_secret(name: &str) -> bool {
    let name = plain(name);
    let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    let names =
        WHOLE.contains(&&*name) || ends(&ENDS) || PARTS.iter().any(|part| name.contains(part));
    // The `secret-id` of Vault is a secret.
    names && (name.ends_with("secret-id") || !ends(&ABOUT)) && !ends(&PUBLIC)
}

/// Whether this is the name of a secret where a colon follows.
pub fn is_certain(name: &str) -> bool {
    let plain = plain(name);
    is_secret(name) && CERTAIN.iter().any(|part| plain.contains(part))
}

/// Whether a parameter of this name in a URL is a secret.
pub fn is_secret_parameter(name: &str) -> bool {
    is_secret(name) || PARAMETERS.contains(&&*plain(name))
}

/// Whether a header of this name is a secret.
pub fn is_secret_header(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    lower.ends_with("authorization")
        || lower.ends_with("cookie")
        || lower.ends_with("-auth")
        || name.contains('-') && (is_certain(name) || lower.ends_with("-key") && is_secret(name))
}
