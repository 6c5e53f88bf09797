//! What a reload of the configuration does not apply.

use crate::config::Config;

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
        [jump_hosts, include, _defaults, _groups, groups, routers]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
