//! Exports that are incomplete without a sign, or in a part, or slow; and logins that are refused for some time.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Faults, Router, Version};
use aw_tests::watching::Watching;
use std::fs;
use std::time::Duration;

/// So many routes, and a last line.
fn long(router: &Router, routes: usize) {
    let mut state = router.state();
    state.lines.extend((0..routes).map(|n| format!("/ip route add gateway=192.0.2.{n}")));
    state.lines.push("/tool romon set enabled=yes".into());
}

fn latest(watching: &Watching) -> String {
    fs::read_to_string(watching.archive("core1").join("latest.rsc")).unwrap()
}

/// On a busy router another section fails in each export: one mail, and one when it is over. The rest is recorded, and the
/// failed sections have the lines of the base.
#[test]
fn sections_that_fail_in_turn() {
    for version in [Version::V6, Version::V7] {
        let (router, sink, ring) = (Router::start(version), MailSink::start(), Ring::new());
        long(&router, 20);
        let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, version);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        let failing = ["/ip address", "/ip firewall filter", "/tool romon", "", "/ip route"];
        router.state().faults.failing = failing.map(str::to_owned).into();
        router.add("alice", "/user add name=ops group=full");
        sink.wait_for(&["core1: incomplete export", "the router failed to export"]);
        daemon.stderr.wait_for("changed by alice (+1 -0)");
        let archived = latest(&watching);
        assert!(archived.contains("/ip address add address=192.0.2.1/24"), "{archived}");
        assert!(archived.contains("aw-routeros: the router failed to export"), "{archived}");
        // While a section fails, changes of others are recorded.
        router.add("bob", "/user add name=ops2 group=full");
        daemon.stderr.wait_for("changed by bob (+1 -0)");
        // Further exports, of which the log has a line each; nothing else changes.
        let over = "the router exports all sections again";
        for n in 0.. {
            if daemon.stderr.text().contains(over) {
                break;
            }
            assert!(n < 30, "{}", daemon.stderr.text());
            let exports = router.exports();
            router.log("system,info", &format!("item {n} changed by carol"));
            wait_until("the next export", || router.exports() > exports);
        }
        assert!(router.state().faults.failing.is_empty());
        sink.wait_for(&["core1: export complete again"]);
        let mails = sink.messages();
        for subject in ["core1: incomplete export", "core1: export complete again"] {
            let count = mails.iter().filter(|mail| mail.contains(subject)).count();
            assert_eq!(count, 1, "{mails:?}");
        }
        let changes = fs::read_to_string(watching.archive("core1").join("changes.jsonl")).unwrap();
        assert_eq!(changes.lines().count(), 2, "{changes}");
        daemon.stop().ok();
    }
}

/// A restart during the condition neither begins nor forgets it: one mail, and one when it is over. `export` names the
/// sections.
#[test]
fn sections_that_fail_across_a_restart() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    long(&router, 20);
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .router("core1", &router, Version::V7)
        .option("interval = 100000");
    let export = || {
        let mut command = watching.command();
        command.args(["export", "core1"]);
        run(command).ok().stdout
    };
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.state().faults.failing = vec!["/ip route".to_owned(); 1_000].into();
    assert_eq!(
        export(),
        "core1: unchanged; sections that the router did not export: \"/ip/route\" (timeout)\n"
    );
    sink.wait_for(&["core1: incomplete export"]);
    daemon.stop().ok();
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: connected");
    assert!(export().contains("did not export"));
    daemon.stop().ok();
    router.state().faults.failing.clear();
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: connected");
    for _ in 0..3 {
        assert_eq!(export(), "core1: unchanged\n");
    }
    sink.wait_for(&["core1: export complete again"]);
    assert_eq!(sink.count(), 2, "{:?}", sink.messages());
    daemon.stop().ok();
}

/// A user who changes a section that fails is credited when it is exported again.
#[test]
fn a_change_in_a_section_that_fails() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    long(&router, 20);
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.state().faults.failing = ["/ip route".to_owned()].into();
    router.add("alice", "/ip route add gateway=192.0.2.99");
    daemon.stderr.wait_for("failed to export");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
}

/// At the first contact there is no base to take lines from: a section that fails in one of the two exports is in the
/// other one. One that failed in both is stored when it is exported for the first time, which is no user's change.
#[test]
fn sections_that_fail_at_the_first_contact() {
    for failing in
        [vec!["/ip address"], vec!["", "/ip address"], vec!["/ip address", "/ip firewall filter"]]
    {
        let (router, ring) = (Router::start(Version::V7), Ring::new());
        router.state().faults.failing = failing.into_iter().map(str::to_owned).collect();
        let watching = Watching::new(&ring).router("core1", &router, Version::V7);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        let archived = latest(&watching);
        let commands = archived.lines().filter(|line| line.starts_with('/')).count();
        assert_eq!(commands, 5, "{archived}");
        daemon.stop().ok();
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.failing = vec!["/ip address".to_owned(); 2].into();
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("the router does not export \"/ip/address\" (timeout)");
    daemon.stderr.wait_for("first contact");
    assert!(!latest(&watching).contains("/ip address add"));
    router.log("system,info", "item changed by ssh:alice@192.0.2.7 ()");
    daemon.stderr.wait_for("stored for the first time: \"/ip/address\" (timeout)");
    assert!(latest(&watching).contains("/ip address add"));
    assert!(!watching.archive("core1").join("changes.jsonl").exists());
    router.add("bob", "/ip address add address=192.0.2.2/24 interface=ether2");
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    daemon.stop().ok();
}

/// The end of an export is missing, without a mark: no user removed it.
#[test]
fn a_silent_cut() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    long(&router, 30);
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let archived = latest(&watching);
    let kept = archived.find("/ip route add gateway=192.0.2.28").unwrap();
    router.state().faults = Faults { cut: Some(kept), once: true, ..Faults::default() };
    router.add("alice", "/user add name=ops group=full");
    daemon.stderr.wait_for("the export lacks the last line of the one before: exporting again");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    // A real removal is confirmed.
    let last = router.state().lines.pop().unwrap();
    router.log("system,info", "user removed by ssh:bob@192.0.2.7 (/user remove)");
    daemon.stderr.wait_for("changed by bob (+0 -1)");
    // All of a menu in the middle.
    router.state().lines.retain(|line| !line.starts_with("/ip address"));
    router.log("system,info", "address removed by ssh:carol@192.0.2.7 (/ip address remove)");
    daemon.stderr.wait_for("the export has no line of /ip address any more: exporting again");
    daemon.stderr.wait_for("changed by carol (+0 -1)");
    let diff = fs::read_to_string(watching.archive("core1").join("diff.txt")).unwrap();
    let removed: Vec<_> = diff.lines().filter(|line| line.starts_with("-/")).collect();
    assert_eq!(
        removed,
        [format!("-{last}"), "-/ip address add address=192.0.2.1/24 interface=ether1".into()]
    );
    daemon.stop().ok();
}

/// Text before and within the header.
#[test]
fn banners() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let base = latest(&watching);
    for (at, banner) in [(0, "Authorized use only"), (1, "This system is monitored")] {
        let mut lines: Vec<_> = base.lines().collect();
        lines.insert(at, banner);
        router.state().faults.odd = Some(lines.join("\r\n"));
        router.add("alice", &format!("/ip dns static add name=n{at} address=192.0.2.1"));
        daemon.stderr.wait_for(&format!(": {banner} (stored in refused/)"));
        assert_eq!(latest(&watching).lines().count(), base.lines().count() + at);
        router.state().faults.odd = None;
        let found = "changed by alice (+1 -0)";
        wait_until("the change is found", || daemon.stderr.text().matches(found).count() == at + 1);
    }
    daemon.stop().ok();
}

/// A configuration that changes between any two exports gets a base, which is marked until two exports are equal.
#[test]
fn a_configuration_that_always_changes() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    router.state().faults.counter = true;
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("the first two exports in a row differ");
    daemon.stderr.wait_for("stored without confirmation");
    daemon.stderr.wait_for("first contact");
    sink.wait_for(&["core1: configuration not confirmed"]);
    let show = || {
        let mut command = aw_tests::rig::program("aw-routeros", &["show", "-c"]);
        command.arg(watching.file("routeros.toml"));
        run(command).ok().stdout
    };
    wait_until("it is marked", || show().contains("stored without confirmation"));
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+2 -1)");
    assert!(show().contains("stored without confirmation"));
    router.state().faults.counter = false;
    router.log("system,info", "script changed by ssh:bob@192.0.2.7 ()");
    daemon.stderr.wait_for("changed by bob (+0 -1)");
    router.log("system,info", "script changed by ssh:bob@192.0.2.7/terminal ()");
    wait_until("it is confirmed", || !show().contains("stored without confirmation"));
    daemon.stop().ok();
}

/// An export that takes longer than `timeout` is ended on the router before the next one begins.
#[test]
fn an_export_that_takes_too_long() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .router("core1", &router, Version::V7)
        .option("timeout = 5");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let exports = router.exports();
    router.state().faults.delay = Some(Duration::from_secs(3600));
    router.add("bob", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&[
        "core1: failed fetch",
        "took longer than 5s (if the router needs longer, raise timeout)",
    ]);
    wait_until("it was ended", || router.state().running == 0);
    wait_until("the next two exports", || router.exports() >= exports + 3);
    assert_eq!(router.state().at_once, 1);
    assert_eq!(router.counts(), (1, 0), "the connection and its log remain");
    router.state().faults.delay = None;
    daemon.stderr.wait_for("changed by bob (+1 -0)");
    sink.wait_for(&["changed by bob"]);
    sink.wait_for(&["core1: exports are recorded again"]);
    assert_eq!(
        sink.count(),
        3,
        "one mail about the fault, one about its end, one about the change"
    );
    daemon.stop().ok();
}

/// A router that refuses the login, which is tried again every second.
fn refused(router: &Router, sink: &MailSink, ring: &Ring) -> Watching {
    router.state().faults.refuse = true;
    let watching = Watching::new(ring).mail(sink.port).router("core1", router, Version::V7);
    watching.option("login_retry = 1")
}

/// A login that is refused for some time, as while RADIUS is down, is tried again; one mail, and one when it is over.
#[test]
fn a_login_that_is_refused_for_some_time() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = refused(&router, &sink, &ring);
    let daemon = watching.start();
    sink.wait_for(&["core1: login refused", "next try: at 20", ", or after a reload"]);
    wait_until("it is tried again", || router.counts().1 >= 3);
    assert_eq!(sink.count(), 1);
    router.state().faults.refuse = false;
    daemon.stderr.wait_for("core1: connected again");
    daemon.stderr.wait_for("the router accepts the login again");
    sink.wait_for(&["core1: login accepted again"]);
    assert_eq!(sink.count(), 2);
    daemon.stop().ok();
}

/// A login is accepted again once the router runs the command of an export, also if it refuses what the export is.
#[test]
fn a_login_that_works_without_an_export() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = refused(&router, &sink, &ring);
    let daemon = watching.start();
    sink.wait_for(&["core1: login refused"]);
    router.state().faults = Faults { odd: Some("failure: not now".into()), ..Faults::default() };
    sink.wait_for(&["core1: login accepted again"]);
    daemon.stderr.wait_for("export rejected: the router answered: failure: not now");
    // The next refusal is a new one.
    router.state().faults.refuse = true;
    router.cut();
    let refused = "core1: login refused";
    let mails = || sink.messages().iter().filter(|mail| mail.contains(refused)).count();
    wait_until("it is reported", || mails() == 2);
    assert!(daemon.stderr.text().matches("next try: at 20").count() == 2);
    daemon.stop().ok();
}

/// The cases of the issue, if they are there.
#[test]
fn published_cases() {
    let cases =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/cases/routeros");
    for case in ["06-sections-time-out-in-turn", "07-text-behind-the-export"] {
        let Ok(base) = fs::read_to_string(cases.join(case).join("export-0")) else {
            return skip("the shared cases are not there");
        };
        let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
        let answer = |name: &str| {
            let text = fs::read_to_string(cases.join(case).join(name)).unwrap();
            router.state().faults.odd = Some(text.trim_end().replace('\n', "\r\n"));
        };
        answer("export-0");
        let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        let log = fs::read_to_string(cases.join(case).join("log-1")).unwrap();
        let message = log.trim_end().split_once("system,info ").unwrap().1;
        if case.starts_with("07") {
            answer("export-1");
            router.log("system,info", message);
            daemon.stderr.wait_for("export rejected: the router interrupted the export");
            assert_eq!(latest(&watching).lines().count(), base.lines().count());
            assert!(!watching.archive("core1").join("changes.jsonl").exists());
        } else {
            for turn in 0..5 {
                answer(&format!("export-1.{turn}"));
                router.log("system,info", message);
                let exports = router.exports();
                wait_until("the next export", || router.exports() > exports);
            }
            sink.wait_for(&["changed by alice"]);
            let mails = sink.messages();
            let about: Vec<_> =
                mails.iter().filter(|mail| mail.contains("incomplete export")).collect();
            assert_eq!((mails.len(), about.len()), (2, 1), "{mails:?}");
        }
        daemon.stop().ok();
    }
}
