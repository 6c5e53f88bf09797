//! No user is credited by `aw-routeros` with what another did: lines that come while facts are read, sections that fail, old
//! history, a daemon that is killed, answers that are cut, exports that are always rejected.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use std::fs;

const USERS: &str = " 0   name=\"admin\" group=audit\n";
const WITH_EVE: &str = " 0   name=\"admin\" group=audit\n 1   name=\"eve\" group=full\n";
const PRINT_USERS: &str = "/user print detail";
const HISTORY: &str = "/system history print detail";

fn read(watching: &Watching, name: &str) -> String {
    fs::read_to_string(watching.archive("core1").join(name)).unwrap_or_default()
}

fn print(router: &Router, command: &str, answer: &str) {
    router.state().prints.insert(command.into(), answer.into());
}

/// How often this command was run.
fn count(router: &Router, command: &str) -> usize {
    router.state().commands.iter().filter(|known| *known == command).count()
}

/// A daemon that has the first configuration and the first facts.
fn started(watching: &Watching, router: &Router) -> Run {
    print(router, PRINT_USERS, USERS);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    wait_until("the facts are read", || read(watching, "facts.json").contains("audit"));
    daemon
}

/// Holds the answer about users while the facts are read after a change of alice.
fn held(router: &Router, daemon: &Run) {
    let before = count(router, PRINT_USERS);
    router.state().held = vec![PRINT_USERS.into()];
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    wait_until("the users are asked for", || count(router, PRINT_USERS) > before);
}

/// A user who is added between an export and the facts after it: the answer may be of before or after that.
#[test]
fn a_line_between_an_export_and_the_facts() {
    for is_printed in [true, false] {
        let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
        let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
        let daemon = started(&watching, &router);
        held(&router, &daemon);
        print(&router, PRINT_USERS, WITH_EVE);
        router.log("system,info", "user eve added by ssh:bob@192.0.2.9 (/user add name=eve)");
        if !is_printed {
            router.state().prints_once.insert(PRINT_USERS.into(), USERS.into());
        }
        let exports = router.exports();
        wait_until("bob's export", || router.exports() > exports);
        router.state().held.clear();
        let who = if is_printed { "core1: alice, bob:" } else { "core1: bob:" };
        daemon.stderr.wait_for(&format!("{who} user eve added: group=full"));
        router.add("carol", "/ip dns set servers=192.0.2.54");
        daemon.stderr.wait_for("changed by carol (+1 -0)");
        router.log("system,info", "nothing changed by dave");
        daemon.stderr.wait_for("dave: seen in the log only");
        let text = daemon.stderr.text();
        assert!(!text.contains("alice: user eve") && !text.contains("carol: user eve"), "{text}");
        assert!(!text.contains("bob: seen in the log only"), "noted once: {text}");
        let mails = sink.messages();
        assert_eq!(mails.iter().filter(|mail| mail.contains("user eve added")).count(), 1);
        daemon.stop().ok();
    }
}

/// The router printed no users for some time: all who were named since then are credited, and an unknown user.
#[test]
fn facts_that_were_not_read() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = started(&watching, &router);
    let before = count(&router, PRINT_USERS);
    print(&router, PRINT_USERS, "not enough permissions (9)\n");
    router.add("bob", "/user add name=eve");
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    wait_until("the users are asked for", || count(&router, PRINT_USERS) > before);
    print(&router, PRINT_USERS, WITH_EVE);
    router.add("carol", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("bob, carol, UNKNOWN: user eve added: group=full");
    daemon.stop().ok();
}

/// An answer that is cut at the end of a line removes no user.
#[test]
fn an_answer_that_is_cut() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    print(&router, "/user ssh-keys print detail", "");
    let daemon = started(&watching, &router);
    print(&router, PRINT_USERS, WITH_EVE);
    router.log("system,info", "user eve added by bob");
    daemon.stderr.wait_for("bob: user eve added: group=full");
    let before = count(&router, PRINT_USERS);
    router.state().prints_once.insert(PRINT_USERS.into(), USERS.into());
    router.log("system,info", "nothing changed by carol");
    daemon.stderr.wait_for("carol: seen in the log only");
    assert!(count(&router, PRINT_USERS) >= before + 2);
    assert!(!daemon.stderr.text().contains("eve removed"));
    print(&router, PRINT_USERS, USERS);
    router.log("system,info", "user eve removed by dave");
    daemon.stderr.wait_for("dave: user eve removed: group=full");
    daemon.stop().ok();
}

/// While a section fails, its change is not seen, and its author's line is settled with the change of another.
#[test]
fn a_change_in_a_section_that_fails_beside_another() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.extend((0..20).map(|n| format!("/ip route add gateway=192.0.2.{n}")));
    router.state().lines.push("/tool romon set enabled=yes".into());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = started(&watching, &router);
    router.state().faults.failing = vec!["/ip route".to_owned(); 2].into();
    router.add("alice", "/ip route add gateway=192.0.2.99");
    router.add("bob", "/user group add name=x");
    daemon.stderr.wait_for("configuration changed by alice, bob (+1 -0)");
    router.log("system,info", "item changed by ssh:carol@192.0.2.7 ()");
    daemon.stderr.wait_for("configuration changed by carol, UNKNOWN (+1 -0)");
    let diff = read(&watching, "diff.txt");
    assert!(diff.contains("candidate: alice") && diff.contains("candidate: bob"), "{diff}");
    router.add("dave", "/ip route add gateway=192.0.2.98");
    daemon.stderr.wait_for("configuration changed by dave (+1 -0)");
    daemon.stop().ok();
}

/// The log names alice for a change, which the history has too. Only the history of later names others.
#[test]
fn an_old_entry_of_the_history() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let entry = |by: &str, minute: u32| {
        format!(
            " F redo=/x undo=/y action=\"dns changed\" by=\"{by}\" \n    policy=write time=2026-11-22 10:{minute:02}:05 \n\n"
        )
    };
    let old = entry("zoe", 1);
    print(&router, HISTORY, &old);
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = started(&watching, &router);
    print(&router, HISTORY, "not enough permissions (9)\n");
    let before = count(&router, PRINT_USERS);
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    wait_until("the history was asked for", || count(&router, PRINT_USERS) > before);
    print(&router, HISTORY, &(entry("alice", 2) + &old));
    router.add_silently("/ip dns set servers=192.0.2.54");
    let mut command = watching.command();
    command.args(["export", "core1"]);
    let changed = run(command).ok().stdout;
    assert!(changed.starts_with("core1: changed by UNKNOWN (+1 -0)"), "{changed}");
    assert!(read(&watching, "diff.txt").contains("candidate: alice"));
    wait_until("the history is stored", || {
        let text = read(&watching, "facts.json");
        text.contains("\"by\": \"alice\"")
    });
    daemon.stop().ok();
}

/// A daemon that is killed before the facts are read: no line is lost, and none is noted that a change has.
#[test]
fn killed_before_the_facts_are_read() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = started(&watching, &router);
    held(&router, &daemon);
    router.log("system,info", "user ops added by bob");
    let exports = router.exports();
    wait_until("bob's export", || router.exports() > exports);
    daemon.kill();
    router.state().held.clear();
    let daemon = watching.start();
    daemon.stderr.wait_for("bob: seen in the log only: user ops added by bob");
    router.log("system,info", "nothing changed by carol");
    daemon.stderr.wait_for("carol: seen in the log only");
    let noted = read(&watching, "noted.jsonl");
    assert!(noted.matches("user ops added").count() == 1 && !noted.contains("alice"), "{noted}");
    daemon.stop().ok();
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: connected");
    router.log("system,info", "nothing changed by dave");
    daemon.stderr.wait_for("dave: seen in the log only");
    assert!(!daemon.stderr.text().contains("user ops added"), "noted once");
    daemon.stop().ok();
}

/// A router whose exports are all rejected: its users are read, and its lines noted.
#[test]
fn exports_that_are_always_rejected() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = started(&watching, &router);
    router.state().faults.odd = Some("not enough permissions (9)".into());
    print(&router, PRINT_USERS, WITH_EVE);
    router.log("system,info", "user eve added by bob");
    daemon.stderr.wait_for("bob: user eve added: group=full");
    router.log("system,info", "ssh key added by carol");
    for _ in 0..6 {
        let mut command = watching.command();
        command.args(["export", "core1"]);
        run(command);
    }
    daemon
        .stderr
        .wait_for("carol: seen in the log only, the export is incomplete: ssh key added by carol");
    router.state().faults.odd = None;
    let mut command = watching.command();
    command.args(["export", "core1"]);
    assert_eq!(run(command).ok().stdout, "core1: unchanged\n");
    router.log("system,info", "nothing changed by dave");
    daemon.stderr.wait_for("dave: seen in the log only");
    let noted = read(&watching, "noted.jsonl");
    assert!(noted.lines().count() == 3 && !noted.contains("UNKNOWN"), "{noted}");
    daemon.stop().ok();
}

/// A router whose exports are rejected from the first one on: lines from before its facts were read are candidates neither of
/// what happens in a later connection, nor after a restart.
#[test]
fn old_lines_of_a_router_without_a_configuration() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.odd = Some("not enough permissions (9)".into());
    router.log("system,info", "user ops added by alice");
    print(&router, PRINT_USERS, USERS);
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    wait_until("the facts are read", || read(&watching, "facts.json").contains("audit"));
    router.shut_down();
    print(&router, PRINT_USERS, WITH_EVE);
    router.plug();
    daemon.stderr.wait_for("UNKNOWN: user eve added: group=full");
    daemon.stop().ok();
    print(&router, PRINT_USERS, USERS);
    let daemon = watching.start();
    daemon.stderr.wait_for("UNKNOWN: user eve removed");
    daemon.stop().ok();
    for file in ["noted.jsonl", "log.txt"] {
        assert!(!read(&watching, file).contains("alice"), "{}", read(&watching, file));
    }
}
