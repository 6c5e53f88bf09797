//! Log lines about access.

use crate::attribution::LogClaim;

/// Whether a line is about what exports leave out and decides who has access: users, groups, keys, certificates, packages,
/// licences, firmware, backups.
pub fn is_about_security(claim: &LogClaim) -> bool {
    const WORDS: [&str; 13] = [
        "user",
        "users",
        "group",
        "ssh",
        "key",
        "keys",
        "certificate",
        "package",
        "license",
        "licence",
        "password",
        "firmware",
        "backup",
    ];
    const MENUS: [&str; 10] = [
        "user",
        "password",
        "certificate",
        "ip ssh",
        "system package",
        "system license",
        "system routerboard",
        "system backup",
        "system reset-configuration",
        "system device-mode",
    ];
    let command = claim.command.as_deref().and_then(|command| command.split_once('/'));
    if let Some((_, path)) = command {
        let path = path.replace('/', " ") + " ";
        return MENUS.iter().any(|menu| path.starts_with(&format!("{menu} ")));
    }
    let what = claim.message.split(" by ").next().unwrap_or_default();
    let mut words = what.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}
