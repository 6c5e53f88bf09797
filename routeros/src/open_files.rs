//! Whether the limit of open files suffices for the connections to all routers.

use std::collections::BTreeSet;

use crate::config::Router;

/// Descriptors beside those of the connections, about: standard streams, signals, the event loop, the control socket, syslog,
/// mail, hooks, files of the archive, and second connections to routers that allow one command in each.
const OTHERS: u64 = 64;

/// A warning with its remedy, if so few open files are allowed that not all routers can be connected at once.
pub fn shortage(routers: &[Router], allowed: u64) -> Option<String> {
    // One for each router, but those behind a jump host share its connection.
    let (behind, direct): (Vec<_>, Vec<_>) =
        routers.iter().partition(|router| router.jump.is_some());
    let entrance = |router| {
        std::iter::successors(Some(router), |router: &&Router| router.jump.as_deref()).last()
    };
    let entrances: BTreeSet<_> =
        behind.into_iter().filter_map(|router| Some(&entrance(router)?.name)).collect();
    let connections = (direct.len() + entrances.len()) as u64;
    let needed = connections + OTHERS;
    (needed > allowed).then(|| {
        let (fit, raised) = (allowed.saturating_sub(OTHERS), needed.next_power_of_two());
        format!(
            "{connections} connections to routers need about {needed} open files, and {allowed} are allowed: about {fit} of them fit, and the others fail with \"too many open files\" (raise the hard limit: LimitNOFILE={raised} in the unit, or ulimit -Hn {raised})"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn routers_and_open_files() {
        let router = |n: usize| {
            format!(
                "[[router]]\nname = \"core{n}\"\naddress = \"192.0.2.{n}\"\nuser = \"a\"\nagent = true\n"
            )
        };
        let via: String = (10..20).map(|n| router(n) + "via = \"core1\"\n").collect();
        let text = format!("archive = \"/x\"\n{}{}{via}", router(1), router(2));
        let config = Config::parse(&text).unwrap();
        assert_eq!(config.routers.len(), 12);
        let shortage = |allowed| shortage(&config.routers, allowed);
        assert_eq!(shortage(67), None);
        let text = shortage(65).unwrap();
        assert!(text.starts_with("3 connections to routers need about 67 open files, and 65 are allowed: about 1 of them fit"), "{text}");
        assert!(text.contains("LimitNOFILE=128"), "{text}");
        assert!(shortage(3).unwrap().contains("about 0 of them fit"));
    }
}
