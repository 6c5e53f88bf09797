use super::*;
use proptest::prelude::*;

fn named(message: &str) -> (String, String, String, String, String) {
    let named = actors_in(message).unwrap_or_else(|| panic!("{message}"));
    assert!(!named.ambiguous && named.actors.len() == 1, "{named:?}");
    let Actor { user, channel, address, via } = named.actors[0].clone();
    let text = Option::unwrap_or_default;
    (user, text(channel), text(address), text(via), text(named.command))
}

/// Lines of real routers.
#[test]
fn both_versions() {
    for (message, user, channel, address, via, command) in [
        ("mangle rule changed by admin", "admin", "", "", "", ""),
        (
            "filter rule added by ssh:aether@10.1.1.2 (*22 = /ip firewall filter add action=accept)",
            "aether",
            "ssh",
            "10.1.1.2",
            "",
            "*22 = /ip firewall filter add action=accept",
        ),
        ("filter rule moved by ssh:aether@10.1.1.2 ()", "aether", "ssh", "10.1.1.2", "", ""),
        (
            "user ops removed by ssh:-2@172.31.88.5/action:0 (/user remove *2)",
            "-2",
            "ssh",
            "172.31.88.5",
            "",
            "/user remove *2",
        ),
        (
            "router rebooted by ssh-cmd:admin@192.168.88.10/reboot",
            "admin",
            "ssh-cmd",
            "192.168.88.10",
            "reboot",
            "",
        ),
        (
            "changed script settings by tcp-msg(winbox):admin@192.168.2.250 (/system script set a source=\":log info (ola)\")",
            "admin",
            "tcp-msg(winbox)",
            "192.168.2.250",
            "",
            "/system script set a source=\":log info (ola)\"",
        ),
        (
            "ppp secret <skn014> changed by mac-msg(winbox):admin@54:14:A7:11:53:3C/terminal/action:245 (/ppp secret set skn014)",
            "admin",
            "mac-msg(winbox)",
            "54:14:A7:11:53:3C",
            "terminal",
            "/ppp secret set skn014",
        ),
        (
            "log rule added by api:ispm-api@:: (*F = /system logging add)",
            "ispm-api",
            "api",
            "::",
            "",
            "*F = /system logging add",
        ),
        (
            "script removed by api:ispm-api@::/script:ispm-wan-usage/action:3 (/system script remove *2)",
            "ispm-api",
            "api",
            "::",
            "script:ispm-wan-usage",
            "/system script remove *2",
        ),
        (
            "device changed by scheduler:guest-wifi-off/action:8 (/interface set guest-wifi disabled=yes)",
            "scheduler:guest-wifi-off",
            "scheduler",
            "",
            "",
            "/interface set guest-wifi disabled=yes",
        ),
        (
            "core1: item changed by winbox-3.41/tcp-msg(winbox):a@b@fe80::1%ether1 ()",
            "a@b",
            "winbox-3.41/tcp-msg(winbox)",
            "fe80::1%ether1",
            "",
            "",
        ),
    ] {
        let expected = [user, channel, address, via, command].map(str::to_owned);
        assert_eq!(<[String; 5]>::from(named(message)), expected, "{message}");
    }
}

#[test]
fn messages_without_an_actor() {
    for message in ["dns changed", "link down", "by admin", "x by", "x\tby\tadmin"] {
        assert_eq!(actors_in(message), None, "{message}");
    }
}

/// What the router itself does, and forms that no list has: as published for WAN scripts, Netwatch and consoles.
#[test]
fn actors_of_no_known_form_are_credited_as_written() {
    for (message, user, command) in [
        (
            "route 198.51.100.8/32 added by dhcp-client (*80000010 = /ip route add comment=\"WAN1\")",
            "dhcp-client",
            "*80000010 = /ip route add comment=\"WAN1\"",
        ),
        (
            "added by dhcp-ia/script:wan-reconciler (*A = /ipv6 firewall filter add)",
            "dhcp-ia/script:wan-reconciler",
            "*A = /ipv6 firewall filter add",
        ),
        (
            "route 0.0.0.0/0 changed by netwatch:type: icmp, host: 192.0.2.9/action:12 (/ip route set *2 disabled=yes)",
            "netwatch:type: icmp, host: 192.0.2.9",
            "/ip route set *2 disabled=yes",
        ),
        ("route 0.0.0.0/0 changed by netwatch", "netwatch", ""),
        ("item added by local:alice ()", "local:alice", ""),
        ("item added by ssh:bob (/x)", "ssh:bob", "/x"),
        ("item added by Alice Smith (main site)", "Alice Smith (main site)", ""),
        ("item added by [noc] a/b (c) (/x y=z)", "[noc] a/b (c)", "/x y=z"),
        (
            "device changed by scheduler:guest (old)/action:8 (/interface set)",
            "scheduler:guest (old)",
            "/interface set",
        ),
        ("item added by ssh:Al (x)@192.0.2.7 (/y)", "Al (x)", "/y"),
        ("system,info rebooted by /action:3", "/action:3", ""),
        (
            "rule added by dhcp-client (/ip route add comment=\"added by ansible (do not edit)\")",
            "dhcp-client",
            "/ip route add comment=\"added by ansible (do not edit)\"",
        ),
        ("item added by ", "UNKNOWN", ""),
        ("item added by  (/x)", "UNKNOWN", ""),
    ] {
        let found = named(message);
        assert_eq!((found.0.as_str(), found.4.as_str()), (user, command), "{message}");
    }
}

#[test]
fn forged_actors_make_it_ambiguous() {
    for message in [
        "ppp secret <x by ssh:bob@1.2.3.4 (> changed by ssh:eve@10.0.0.1 (/ppp secret set x)",
        "script changed by ssh:eve@10.0.0.1 (/system script set source=\"y by ssh:bob@1.2.3.4 (z)\")",
        "user x by ssh:bob@1.2.3.4 (y added by eve",
        "user x by ssh:bob@1.2.3.4 (/y) added by eve",
        "ppp secret <x by bob (/y)> changed by ssh:eve@10.0.0.1 (/ppp secret set x)",
        "script changed by ssh:eve@10.0.0.1 (/system script set source=\"y by bob (/z)\")",
    ] {
        let named = actors_in(message).unwrap();
        let mut users: Vec<_> = named.actors.iter().map(|actor| actor.user.as_str()).collect();
        users.sort();
        assert_eq!((users, named.ambiguous), (vec!["bob", "eve"], true), "{message}");
    }
    let own = "route added by dhcp-client (/ip route add comment=\"x by ssh:bob@1.2.3.4 ()\")";
    let named = actors_in(own).unwrap();
    assert!(named.ambiguous && named.actors.len() == 2, "{named:?}");
    assert_eq!((&*named.actors[0].user, &*named.actors[1].user), ("dhcp-client", "bob"));
    let twice = actors_in("a by ssh:eve@10.0.0.1 (b by ssh:eve@10.0.0.2 ())").unwrap();
    assert_eq!((twice.actors.len(), twice.ambiguous), (2, false));
    let many: String = (0..20).map(|n| format!("x by ssh:bob@1.2.3.{n} (")).collect();
    let crowd = actors_in(&format!("{many} changed by ssh:eve@10.0.0.1 ()")).unwrap();
    assert_eq!((crowd.actors.len(), crowd.ambiguous), (MAX_ACTORS, true));
}

/// Brackets in the name of an object are not a command, and a command may contain `by`.
#[test]
fn brackets_in_a_name_and_by_in_a_command() {
    let office = "ppp secret <Office (main)> changed by alice";
    assert!(named(office).0 == "alice" && !is_unfinished(office));
    assert_eq!(named("rule changed by (/A (/a)").0, "(/A");
    let comment =
        "rule added by ssh:eve@10.0.0.1 (/ip firewall filter add comment=\"asked by bob\")";
    assert_eq!(named(comment).0, "eve");
}

#[test]
fn long_messages_are_unfinished() {
    assert!(is_unfinished("x changed by ssh:a@1.1.1.1 (/system script set source=\"abc"));
    assert!(
        !is_unfinished("x changed by ssh:a@1.1.1.1 (/x)") && !is_unfinished("x changed by admin")
    );
    assert!(!is_unfinished("x by ssh:bob@1.2.3.4 (y changed by eve"), "complete in RouterOS 6");
    assert!(is_unfinished("x changed by ssh:a@1.1.1.1 (/x source=\"seen by b and c"));
    assert!(is_unfinished("route added by dhcp-client (*8 = /ip route add comment=\"abc"));
}

proptest! {
    /// The user who is logged in by SSH is among the actors, whatever else the line contains.
    #[test]
    fn the_true_actor_is_always_named(
        object in "(.{0,40}|x by ssh:bob@1\\.2\\.3\\.4 \\(.{0,20})",
        user in "[A-Za-z0-9._@:/ -]{1,20}",
        command in ".{0,60}",
    ) {
        let message = format!("{object} changed by ssh:{user}@192.0.2.7/action:1 ({command})");
        let named = actors_in(&message).unwrap();
        let is_named = named.actors.iter().any(|actor| actor.user == user);
        prop_assert!(is_named || named.ambiguous, "{:?}", named);
        // RouterOS 6 logs nothing after the user.
        let user = user.replace([':', '/', ' '], "x");
        let named = actors_in(&format!("{object} {command} changed by {user}")).unwrap();
        prop_assert!(named.actors.iter().any(|actor| actor.user == user), "{:?}", named);
        prop_assert!(named.actors.len() == 1 || named.ambiguous || named.actors.iter().all(|actor| actor.user == user));
    }

    /// No line with ` by ` is without effect, and the text before the router's own command is among the actors.
    #[test]
    fn no_actor_is_without_effect(
        object in "(.{0,40}|x by ssh:bob@1\\.2\\.3\\.4 \\(.{0,20}|x by bob \\(/.{0,10})",
        actor in "[!-~]([ -~]{0,30}[!-~])?",
        command in "(/[a-z]{1,9}( [a-z]=(\"[^\"\\\\]{0,20}\"|[a-z]{1,9})){0,3}|)",
        any in ".{0,60}",
    ) {
        let anything = format!("{any} by {any}");
        prop_assert!(actors_in(&anything).is_some());
        prop_assume!(!actor.contains(" by ") && !actor.contains(" (") && !actor.contains("/action:"));
        prop_assume!(!actor.starts_with("by "));
        let named = actors_in(&format!("{object} changed by {actor} ({command})")).unwrap();
        let is_named = named.actors.iter().any(|one| {
            one.user == actor || one.channel.is_some() && actor.contains(&one.user)
        });
        prop_assert!(is_named, "{:?}", named);
        prop_assert!(named.actors.len() == 1 || named.ambiguous || named.actors.iter().all(|one| one.user == named.actors[0].user));
    }

    #[test]
    fn no_message_panics(message in ".{0,200}", parts in prop::collection::vec("( by |ssh:|@|::| \\(|\\)|/|action:|scheduler:|a|1\\.1\\.1\\.1)", 0..20)) {
        let _ = actors_in(&message);
        let _ = actors_in(&parts.concat());
    }
}
