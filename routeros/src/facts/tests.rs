use super::*;
use proptest::prelude::*;

/// The facts in answers to all commands, in their order; an empty one is none.
fn facts(answers: [&str; 8]) -> Facts {
    let mut facts = Facts::default();
    for (command, answer) in COMMANDS.iter().zip(answers) {
        if let Some(section) = command.read(answer) {
            facts.add_section(command.section, section);
        }
    }
    facts
}

const RESOURCE: &str = "                   uptime: 1w2d03:04:05\r\n                  version: 7.14.2 (stable)\r\n          free-memory: 190.2MiB\r\n         cpu-load: 3%\r\n  architecture-name: arm64\r\n         board-name: RB5009UG+S+\r\n           platform: MikroTik\r\n";
const ROUTERBOARD: &str = ";;; Firmware upgraded successfully, please reboot\r\n       routerboard: yes\r\n             model: RB5009UG+S+\r\n     serial-number: AAAA0\r\n  current-firmware: 7.14.2\r\n  upgrade-firmware: 7.15\r\n";
const LICENSE: &str = "  software-id: AAAA-BBBB\r\n       nlevel: 5\r\n     features:\r\n";
const PACKAGES: &str = "Flags: X - DISABLED; A - AVAILABLE\r\n 0    name=\"routeros\" version=\"7.14.2\" build-time=2024-03-27 07:46:13 scheduled=\"\" \r\n      size=11.2MiB \r\n\r\n 1 XA name=\"zerotier\" scheduled=\"\" size=700.0KiB \r\n 2 X  name=\"wifi\" version=\"7.14.2\" \r\n";
const USERS: &str = "Flags: X - disabled\r\n 0   ;;; name=\"mallory\" group=full\r\n     name=\"admin\" group=full address=\"\" last-logged-in=2026-11-22 10:00:00 \r\n\r\n 1 X name=\"Jo \\\"x\\\" y\" group=read address=192.0.2.0/24,2001:db8::/32 \r\n     last-logged-in=2026-11-01 01:00:00 \r\n";
const GROUPS: &str = " 0 name=\"read\" policy=local,telnet,ssh,reboot,read,test,winbox,password,web,\r\n       sniff,!ftp,!write,!policy skin=default \r\n";
const KEYS: &str = "Flags: R - RSA\r\n 0 R user=admin bits=2048 key-owner=\"alice@laptop\" \r\n 1   user=admin key-type=ed25519 info=\"bob@x\" \r\n";
const CERTIFICATES: &str = "Flags: K - private-key; L - crl; A - authority; \r\nI - issued, R - revoked; E - expired; T - trusted \r\n 0 K   A T name=\"ca\" common-name=\"x y\" key-size=2048 days-valid=24854 trusted=yes \r\n           fingerprint=\"69d77bbb\" \r\n           invalid-before=jan/01/1970 00:00:01 invalid-after=jan/18/2038 03:14:07 \r\n           expires-after=872w3d7m34s \r\n";

const ALL: [&str; 8] =
    [RESOURCE, ROUTERBOARD, LICENSE, PACKAGES, USERS, GROUPS, KEYS, CERTIFICATES];

#[test]
fn facts_of_the_answers() {
    assert_eq!(
        facts(ALL).lines(),
        [
            "SSH key admin alice@laptop: bits=2048",
            "SSH key admin bob@x: key-type=ed25519",
            "board architecture-name: arm64",
            "board board-name: RB5009UG+S+",
            "certificate ca: fingerprint=69d77bbb until=2038-01-18 03:14:07",
            "firmware current-firmware: 7.14.2",
            "group read: local,password,read,reboot,sniff,ssh,telnet,test,web,winbox",
            "license nlevel: 5",
            "package routeros: version=7.14.2",
            "package wifi: version=7.14.2 disabled",
            "user Jo \\\"x\\\" y: group=read address=192.0.2.0/24,2001:db8::/32 disabled",
            "user admin: group=full",
        ]
    );
}

/// Counters, times and free memory are no facts; a package that is only available is none.
#[test]
fn nothing_changes_by_itself() {
    let later = [
        &RESOURCE.replace("1w2d", "8w2d").replace("190.2", "12.1").replace("3%", "99%"),
        &ROUTERBOARD.replace(";;; Firmware upgraded successfully, please reboot\r\n", ""),
        &LICENSE.replace("features:", "expires-in: 3d"),
        &PACKAGES.replace(" 1 XA name=\"zerotier\" scheduled=\"\" size=700.0KiB \r\n 2 X", " 1 X"),
        &USERS.replace("2026-11-22 10:00:00", "2026-11-23 11:11:11"),
        GROUPS,
        KEYS,
        &CERTIFICATES
            .replace("872w3d7m34s", "871w")
            .replace("jan/18/2038", "2038-01-18")
            .replace("T name", "ET name"),
    ];
    assert!(facts(ALL).differences(&facts(later)).is_empty());
}

#[test]
fn what_changes() {
    let later = [
        RESOURCE,
        &ROUTERBOARD.replace("current-firmware: 7.14.2", "current-firmware: 7.15"),
        LICENSE,
        PACKAGES,
        &USERS.replace(" 1 X name=\"Jo \\\"x\\\" y\" group=read", " 1   name=\"ops\" group=full"),
        &GROUPS.replace("!policy", "policy"),
        KEYS,
        "Flags: K - private-key\r\n",
    ];
    assert_eq!(
        facts(ALL).differences(&facts(later)).into_values().flatten().collect::<Vec<_>>(),
        [
            "certificate ca removed: fingerprint=69d77bbb until=2038-01-18 03:14:07",
            "firmware current-firmware: 7.14.2 -> 7.15",
            "group read: local,password,read,reboot,sniff,ssh,telnet,test,web,winbox -> \
             local,password,policy,read,reboot,sniff,ssh,telnet,test,web,winbox",
            "user ops added: group=full address=192.0.2.0/24,2001:db8::/32",
            "user Jo \\\"x\\\" y removed: group=read address=192.0.2.0/24,2001:db8::/32 disabled",
        ]
    );
}

/// A user without a right, or a version without the command, changes nothing, and nothing when the right is back.
#[test]
fn refused_commands_change_nothing() {
    for refusal in [
        "",
        "not enough permissions (9)\r\n",
        "bad command name routerboard (line 1 column 9)\r\n",
        "expected end of command (line 1 column 15)\r\n",
        "no such item\r\n",
    ] {
        let none = facts([refusal; 8]);
        let mut merged = facts(ALL);
        // An empty answer means no keys and no certificates.
        if !refusal.is_empty() {
            assert_eq!(none, Facts::default(), "{refusal}");
            merged.update(none);
            assert_eq!(merged, facts(ALL));
        }
        assert!(Facts::default().differences(&facts(ALL)).is_empty());
    }
}

#[test]
fn the_header_of_an_export() {
    let header = |text: &str| Facts::of_header(text.as_bytes()).lines();
    assert_eq!(
        header(
            "# 2026-11-22 10:00:00 by RouterOS 7.17\r\n# software id = AAAA-BBBB\r\n#\r\n# model = RB750Gr3\r\n# serial number = AAAA0\r\n/x\r\n# model = forged\r\n"
        ),
        [
            "system model: RB750Gr3",
            "system serial number: AAAA0",
            "system software id: AAAA-BBBB",
            "system version: 7.17"
        ]
    );
    assert_eq!(
        header("# nov/22/2026 10:00:00 by RouterOS 6.49.18\r\n# software id = \r\n"),
        ["system version: 6.49.18"]
    );
    assert!(header("").is_empty() && header("/x\r\n# model = y\r\n").is_empty());
}

/// As the manual prints it, for both versions.
const OF_7: &str = "Flags: U - undoable, R - redoable, F - floating-undo\r\n F redo=\r\n      /ip/firewall/filter/add action=accept chain=forward disabled=no log=no \\\r\n          log-prefix=\"\" protocol=tcp\r\n    undo=/ip/firewall/filter/remove *4 action=\"filter rule added\" by=\"alice\" \r\n    policy=write time=2019-10-10 18:51:05 \r\n\r\n F redo=/ip/firewall/filter/add comment=\"x action=\\\"y\\\" by=\\\"bob\\\"\" \r\n    undo=/ip/firewall/filter/remove *3 action=\"filter rule added\" by=\"eve\" \r\n    policy=write time=2019-10-10 18:49:03 \r\n\r\nU redo=\"\" undo=\"\" action=\"---\" by=\"\" policy=write time=2019-09-27 13:07:35 \r\n";

#[test]
fn history() {
    let entries = parse_history(OF_7);
    let texts: Vec<_> =
        entries.iter().map(|e| format!("{} {} {}", e.time, e.by, e.action)).collect();
    assert_eq!(
        texts,
        [
            "2019-10-10 18:51:05 alice filter rule added",
            "2019-10-10 18:49:03 eve filter rule added",
            "2019-09-27 13:07:35  ---"
        ]
    );
    let of_6 = "U redo=/ip route add undo=/ip route remove *1 action=\"route added\" by=\"admin\" policy=write time=oct/10/2019 18:51:05\r\n";
    assert_eq!(parse_history(of_6)[0].time, "oct/10/2019 18:51:05");
    assert!(parse_history("not enough permissions (9)\r\n").is_empty());
    let new = history_claims(&entries[1..], &entries);
    assert_eq!((new.len(), &*new[0].actors[0].user), (1, "alice"));
    assert!(history_claims(&[], &entries).is_empty(), "nothing is known of the time before");
    assert!(history_claims(&entries, &entries).is_empty());
}

proptest! {
    #[test]
    fn no_answer_panics(text in ".{0,200}", parts in prop::collection::vec("( 0 | 1 X|name=|\"|\\\\|\r\n| time=| by=\"| action=\"| policy=|;;;|é|: |, )", 0..40)) {
        for answer in [&text, &parts.concat()] {
            for command in &COMMANDS {
                command.read(answer);
            }
            parse_history(answer);
            Facts::of_header(answer.as_bytes());
        }
    }
}
