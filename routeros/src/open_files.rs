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
