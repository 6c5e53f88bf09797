//! What a reload of the configuration changes, and what it does not apply.

use std::{collections::BTreeSet, fmt::Display, path::Path};

use crate::{
    config::{Config, Router},
    start_access::RESTART,
};

/// Keys that decide where the secrets of a router go.
const OF_SECRETS: [&str; 7] =
    ["archive", "git", "encrypt_to", "mail_secrets", "hooks", "commit_hooks", "mail"];

/// Names of each kind in a message.
const NAMED: usize = 10;

/// "; added: a; removed: b": routers that only one of the configurations has, and how a renamed one keeps its archive.
pub fn routers_that_differ(archive: &Path, old: &[Router], new: &[Router]) -> String {
    let missing = |kind: &str, these: &[Router], those: &[Router]| {
        let known: BTreeSet<_> = those.iter().map(|router| &router.name).collect();
        let names: Vec<_> = these.iter().map(|router| &router.name).collect();
        let names: Vec<_> = names.into_iter().filter(|name| !known.contains(name)).collect();
        match some_of(&names, NAMED) {
            names if names.is_empty() => names,
            names => format!("; {kind}: {names}"),
        }
    };
    let removed = missing("removed", old, new);
    let stays = if removed.is_empty() { "" } else { " (aw-routeros log NAME reads its archive)" };
    let has = |all: &[Router], one: &Router| all.iter().any(|router| router.name == one.name);
    let renamed = old.iter().filter(|gone| !has(new, gone)).find_map(|gone| {
        let is_it = |one: &&Router| one.address == gone.address && one.via == gone.via;
        new.iter().filter(is_it).find(|one| !has(old, one)).map(|one| (gone, one))
    });
    let renamed = renamed.map_or(String::new(), |(gone, one)| {
        let [from, to] = [gone, one].map(|router| archive.join(router.name.as_str()));
        let (from, to) = (from.display(), to.display());
        format!(
            "; {} has the address of {}: if it is renamed, give it the archive: systemctl stop aw-routeros; rm -rf {to}; mv -T {from} {to}; systemctl start aw-routeros",
            one.name, gone.name
        )
    });
    missing("added", new, old) + &removed + stays + &renamed
}

/// The first `most` names, and the number of the others.
pub fn some_of(names: &[impl Display], most: usize) -> String {
    let mut shown: Vec<_> = names.iter().take(most).map(ToString::to_string).collect();
    let more = names.len().saturating_sub(most);
    shown.extend((more > 0).then(|| format!("and {more} more")));
    shown.join(", ")
}

/// The keys whose values differ and are in effect after a restart only. Those of routers, groups and defaults are in effect
/// at once.
pub fn keys_for_a_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    /// All fields of [`Config`] stand here: a new one does not compile before it is in one of the two lists.
    macro_rules! differing {
        ($old:expr, $new:expr, [$($key:ident),*], [$($applied:ident),*]) => {{
            let Config { $($key,)* $($applied: _,)* } = $old;
            let mut keys = Vec::new();
            $(if *$key != $new.$key { keys.push(stringify!($key)); })*
            keys
        }};
    }
    differing!(
        old,
        new,
        [
            archive,
            ring,
            ring_group,
            git,
            keep,
            keep_days,
            alarm_after,
            encrypt_to,
            mail_secrets,
            mail_digest,
            mail_lines,
            ignore,
            hooks,
            commit_hooks,
            hook_timeout,
            mail_noted,
            syslog,
            mail
        ],
        [jump_hosts, include, _defaults, _groups, groups, routers, warnings]
    )
}

/// Why a configuration is not loaded: a router begins to have secrets here, while a key that decides where they go needs a
/// restart. `started` is the configuration at the start, `current` the one whose routers are followed.
pub fn refusal(started: &Config, current: &Config, new: &Config) -> Option<String> {
    let mut keys = keys_for_a_restart(started, new);
    keys.retain(|key| OF_SECRETS.contains(key));
    let begins = new.routers.iter().find_map(|router| {
        let old = current.routers.iter().find(|old| old.name == router.name);
        let shows = router.show_sensitive && old.is_none_or(|old| !old.show_sensitive);
        let backs_up = router.backup && old.is_none_or(|old| !old.backup);
        // With the secrets of before.
        let waits = keys.contains(&"mail_secrets");
        let mails = waits && old.is_none_or(|old| old.mail_to != router.mail_to);
        let begun = [(shows, "show_sensitive"), (backs_up, "backup"), (mails, "mail_to")];
        let (_, key) = begun.into_iter().find(|(begins, _)| *begins)?;
        Some(format!("{}: {key}", router.name))
    });
    let begins = begins.filter(|_| !keys.is_empty())?;
    let keys = keys.join(", ");
    Some(format!(
        "{begins} needs {keys} of the same file, which a reload does not apply: {RESTART}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_routers() {
        let routers = |names: std::ops::Range<usize>| {
            let entry = |n| {
                format!(
                    "[[router]]\nname = \"r{n}\"\naddress = \"192.0.2.{n}\"\nuser = \"a\"\nagent = true\n"
                )
            };
            let text: String = names.map(entry).collect();
            Config::parse(&format!("archive = \"/x\"\n{text}")).unwrap().routers
        };
        let archive = Path::new("/x");
        let routers_that_differ =
            |old: &[Router], new: &[Router]| super::routers_that_differ(archive, old, new);
        let differ = routers_that_differ(&routers(1..4), &routers(2..5));
        assert_eq!(differ, "; added: r4; removed: r1 (aw-routeros log NAME reads its archive)");
        assert_eq!(routers_that_differ(&routers(1..4), &routers(1..4)), "");
        let many = routers_that_differ(&routers(0..12), &[]);
        assert!(many.contains(", r9, and 2 more ("), "{many}");
        let mut renamed = routers(1..4);
        renamed[0].name = "core".to_owned().try_into().unwrap();
        let differ = routers_that_differ(&routers(1..4), &renamed);
        let hint = "; core has the address of r1: if it is renamed, give it the archive: systemctl stop aw-routeros; rm -rf /x/core; mv -T /x/r1 /x/core; systemctl start aw-routeros";
        assert!(differ.ends_with(hint), "{differ}");
    }

    #[test]
    fn names_of_keys() {
        let parse = |text: &str| Config::parse(&format!("archive = \"/x\"\n{text}")).unwrap();
        let old = parse("keep = 5\n[defaults]\nuser = \"a\"\n");
        let new = parse(
            "keep = 6\nmail_lines = 9\n[defaults]\nuser = \"b\"\n[group.x]\nlegacy = true\n[mail]\nserver = \"192.0.2.1\"\nfrom = \"a@example.org\"\nto = []\n",
        );
        assert_eq!(keys_for_a_restart(&old, &new), ["keep", "mail_lines", "mail"]);
        assert!(keys_for_a_restart(&new, &new).is_empty());
    }
    /// What changes together is applied together, or not at all.
    #[test]
    fn secrets_wait_for_their_keys() {
        const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let parse = |text: &str, keys: &str| {
            let router = "[[router]]\nname = \"r\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nkey_file = \"/k\"\n";
            Config::parse(&format!("archive = \"/x\"\n{text}{router}{keys}")).unwrap()
        };
        let (encrypted, shows) = (format!("encrypt_to = [{KEY:?}]\n"), "show_sensitive = true\n");
        let plain = parse("", "");
        for keys in [shows, "backup = true\n"] {
            let why = refusal(&plain, &plain, &parse(&encrypted, keys)).unwrap();
            assert!(why.contains(" needs encrypt_to of the same file"), "{why}");
        }
        // In two steps: `encrypt_to` is still not in effect.
        let between = parse(&encrypted, "");
        assert_eq!(refusal(&plain, &plain, &between), None);
        assert!(refusal(&plain, &between, &parse(&encrypted, shows)).is_some());
        assert!(refusal(&plain, &plain, &parse("git = \"/g\"\n", shows)).is_some());
        // Nothing more is shown than before.
        assert_eq!(refusal(&plain, &plain, &parse("keep = 3\n", shows)), None);
        let (old, new) = (parse("", shows), parse(&encrypted, shows));
        assert_eq!(refusal(&old, &old, &new), None);
        assert_eq!(refusal(&new, &new, &parse(&encrypted, "backup = true\n")), None);
        // Mails still have secrets, and others would receive them.
        const MAIL: &str = "[mail]\nserver = \"192.0.2.1\"\nfrom = \"a@example.org\"\nto = []\n";
        let mails = |secrets: &str, to: &str| parse(&format!("{secrets}{MAIL}"), to);
        let (old, to) = (mails("mail_secrets = true\n", ""), "mail_to = [\"b@example.org\"]\n");
        let why = refusal(&old, &old, &mails("", to)).unwrap();
        assert!(why.contains("r: mail_to needs mail_secrets of the same file"), "{why}");
        assert_eq!(refusal(&old, &old, &mails("", "")), None);
    }
}
