//! Faults that routers share are one condition: a wrong password, a server of users that is down, a jump host.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread::sleep;
use std::time::Duration;

fn start(count: usize) -> Vec<Router> {
    (0..count).map(|_| Router::start(Version::V7)).collect()
}

/// All of them, `core0` and so on, each with this line.
fn watching(routers: &[Router], ring: &Ring, sink: &MailSink, line: &str) -> Watching {
    let mut watching = Watching::new(ring).mail(sink.port);
    for (n, router) in routers.iter().enumerate() {
        watching = watching.router(&format!("core{n}"), router, Version::V7).option(line);
    }
    watching
}

fn refused(routers: &[Router]) -> usize {
    routers.iter().map(|router| router.counts().1).sum()
}

/// The rows of `show` whose cause contains this text. A cause of several routers stands below the table, with its number.
fn rows(watching: &Watching, text: &str) -> usize {
    let mut show = watching.command();
    show.arg("show");
    let shown = run(show).ok().stdout;
    let notes = shown.lines().filter(|line| line.starts_with('(') && line.contains(text));
    let numbers: Vec<_> = notes.filter_map(|note| note.split(' ').next()).collect();
    let has = |row: &&str| {
        let number = row.split_whitespace().last().unwrap_or_default();
        row.starts_with("core") && (row.contains(text) || numbers.contains(&number))
    };
    shown.lines().filter(has).count()
}

/// Twenty routers with one wrong password: three refuse it, and one mail names all. With the right one there is one more.
#[test]
fn a_wrong_password() {
    let (routers, sink, ring) = (start(20), MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink, "");
    let password = watching.file("password");
    fs::write(&password, "wrong\n").unwrap();
    let daemon = watching.start();
    let mail = sink.wait_for(&["Subject: [addrwatch] 20 routers: login refused\n"]);
    for text in [
        &format!("user admin, password_file {}", password.display()),
        "Not followed: 20 routers: core0, core1, core2, core3, core4, core5, core6, core7, core8, core9, core10, core11, core12, core13, core14, core15, core16, core17, core18, core19.",
        "The login was refused by 3 routers: ",
        "next try: at 20",
    ] {
        assert!(mail.contains(text), "{text}: {mail}");
    }
    assert_eq!(refused(&routers), 3, "refused logins");
    assert_eq!(rows(&watching, "login not tried: "), 17);
    // A reload asks for three more, and is no news.
    daemon.signal(Signal::HUP);
    wait_until("it is tried again", || refused(&routers) == 6);
    sleep(Duration::from_secs(8));
    assert_eq!((refused(&routers), sink.count()), (6, 1), "refused logins, and mails");
    fs::write(&password, "secret\n").unwrap();
    daemon.signal(Signal::HUP);
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    sink.wait_for(&[
        "Subject: [addrwatch] 20 routers: login accepted again\n",
        "login accepted again: 20 routers: core0, core1,",
    ]);
    sleep(Duration::from_secs(2));
    assert_eq!((refused(&routers), sink.count()), (6, 2), "refused logins, and mails");
    assert!(routers.iter().all(|router| router.counts().0 == 1), "one login each");
    daemon.stop().ok();
}

/// The network ends connections during logins: that is no refusal, and nothing is held for long or mailed. A router that does it
/// again may refuse in this way.
#[test]
fn connections_that_end_during_the_login() {
    let (routers, sink, ring) = (start(5), MailSink::start(), Ring::new());
    routers.iter().for_each(|router| router.state().faults.cut_logins = 1);
    let watching =
        watching(&routers, &ring, &sink, "").without("alarm_after = ").global("alarm_after = 100");
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    assert_eq!((refused(&routers), sink.count()), (0, 0), "refused logins, and mails");
    routers[2].state().faults.cut_logins = 9;
    routers[2].cut();
    sink.wait_for(&[
        "Subject: [addrwatch] core2: login refused\n",
        "login refused: the connection ended during it, and during the last one (check user admin",
    ]);
    assert_eq!(routers[2].state().faults.cut_logins, 7);
    daemon.stop().ok();
}

/// While the server that knows the users is down, one router at a time tries for all; once it is accepted all are followed,
/// without a reload.
#[test]
fn one_tries_for_all() {
    let (routers, sink, ring) = (start(8), MailSink::start(), Ring::new());
    routers.iter().for_each(|router| router.state().faults.refuse = true);
    let watching = watching(&routers, &ring, &sink, "login_retry = 5");
    let daemon = watching.start();
    wait_until("three refuse it", || refused(&routers) >= 3);
    assert!(refused(&routers) < 8, "not all");
    wait_until("two more tries", || refused(&routers) >= 5);
    sink.wait_for(&["8 routers: login refused"]);
    routers.iter().for_each(|router| router.state().faults.refuse = false);
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    sink.wait_for(&["8 routers: login accepted again"]);
    assert_eq!(sink.count(), 2);
    daemon.stop().ok();
}

/// A router that refuses does not take the turns of others: they are followed, and their mail does not wait for it.
#[test]
fn one_goes_on_refusing() {
    let (routers, sink, ring) = (start(6), MailSink::start(), Ring::new());
    routers.iter().for_each(|router| router.state().faults.refuse = true);
    let watching = watching(&routers, &ring, &sink, "login_retry = 1");
    let daemon = watching.start();
    sink.wait_for(&["6 routers: login refused"]);
    wait_until("one tries for all", || refused(&routers) >= 4);
    let last = routers.iter().rposition(|router| router.counts().1 > 0).unwrap();
    for (n, router) in routers.iter().enumerate() {
        router.state().faults.refuse = n == last;
    }
    for n in (0..routers.len()).filter(|n| *n != last) {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    sink.wait_for(&["5 routers: login accepted again"]);
    daemon.stop().ok();
}

/// The password is changed at the server that knows the users, and all routers connect again together: three refuse it, though
/// all accepted it before.
#[test]
fn all_connect_again() {
    let (routers, sink, ring) = (start(12), MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink, "");
    let daemon = watching.start();
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    routers.iter().for_each(|router| router.state().faults.refuse = true);
    routers.iter().for_each(Router::cut);
    sink.wait_for(&["12 routers: login refused", "The login was refused by 3 routers: "]);
    assert_eq!(refused(&routers), 3);
    routers.iter().for_each(|router| router.state().faults.refuse = false);
    daemon.signal(Signal::HUP);
    sink.wait_for(&["12 routers: login accepted again"]);
    assert_eq!((refused(&routers), sink.count()), (3, 2), "refused logins, and mails");
    daemon.stop().ok();
}

/// Routers that do not answer hold up the one that tries for all once, and not one after the other.
#[test]
fn routers_that_do_not_answer() {
    let (routers, sink, ring) = (start(13), MailSink::start(), Ring::new());
    routers.iter().for_each(|router| router.state().faults.refuse = true);
    let watching = watching(&routers, &ring, &sink, "login_retry = 1");
    let daemon = watching.start();
    wait_until("three refuse it", || refused(&routers) >= 3);
    let mut untried: Vec<_> = (0..routers.len()).filter(|n| routers[*n].counts().1 == 0).collect();
    untried.sort_by_key(|n| format!("core{n}"));
    let last = untried.pop().unwrap();
    untried.iter().for_each(|n| routers[*n].state().faults.silent = true);
    routers[last].state().faults.refuse = false;
    daemon.stderr.wait_for(&format!("core{last}: first contact"));
    daemon.stop().ok();
}

/// The jump host has the same user and password as the routers behind it, and does not wait for them.
#[test]
fn a_jump_host_with_the_same_login() {
    let (routers, bastion) = (start(6), Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    bastion.state().forwards = true;
    routers.iter().for_each(|router| router.state().faults.refuse = true);
    let watching = watching(&routers, &ring, &sink, "via = \"bastion\"\nlogin_retry = 10");
    let watching = watching
        .option("[[jump_host]]")
        .option("name = \"bastion\"")
        .option(&format!("address = \"{}\"", bastion.address))
        .option("user = \"admin\"")
        .option("password_file = \"password\"")
        .option(&format!("host_key = {:?}", bastion.host_key));
    let daemon = watching.start();
    sink.wait_for(&["6 routers: login refused"]);
    wait_until("one tries for all", || refused(&routers) >= 4);
    assert!(refused(&routers) < 6, "not all at once, though the jump host accepts it");
    routers.iter().for_each(|router| router.state().faults.refuse = false);
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    sink.wait_for(&["6 routers: login accepted again"]);
    assert!(!sink.messages().iter().any(|mail| mail.contains("jump host fails")));
    daemon.stop().ok();
}

/// A router that refuses alone is its own condition, and holds up none of the others.
#[test]
fn one_router_refuses() {
    let (routers, sink, ring) = (start(5), MailSink::start(), Ring::new());
    routers[2].state().faults.refuse = true;
    let watching = watching(&routers, &ring, &sink, "");
    let daemon = watching.start();
    sink.wait_for(&["Subject: [addrwatch] core2: login refused\n", "core2 (127.0.0.1:"]);
    for n in [0, 1, 3, 4] {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    assert_eq!(refused(&routers), 1);
    routers[2].state().faults.refuse = false;
    daemon.signal(Signal::HUP);
    sink.wait_for(&["Subject: [addrwatch] core2: login accepted again\n"]);
    assert_eq!(sink.count(), 2);
    daemon.stop().ok();
}

/// A password file that others may read is one condition for all that have it, with the time of the next try.
#[test]
fn a_shared_file_that_others_may_read() {
    let (routers, sink, ring) = (start(6), MailSink::start(), Ring::new());
    let watching = watching(&routers, &ring, &sink, "");
    let password = watching.file("password");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = watching.start();
    let mail = sink.wait_for(&["Subject: [addrwatch] 6 routers: not followed\n"]);
    let why = format!("(chmod o= {}); next try: at 20", password.display());
    assert!(mail.contains(&why), "{mail}");
    assert!(mail.contains(", or after a reload (systemctl reload aw-routeros)"), "{mail}");
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    daemon.signal(Signal::HUP);
    sink.wait_for(&["Subject: [addrwatch] 6 routers: followed again\n"]);
    assert_eq!((sink.count(), refused(&routers)), (2, 0));
    daemon.stop().ok();
}

/// A jump host that is down, and then refuses the login: one condition, and few tries. The routers behind it have none of
/// their own.
#[test]
fn a_jump_host_that_fails() {
    let (routers, bastion) = (start(10), Router::start(Version::V7));
    let (sink, ring) = (MailSink::start(), Ring::new());
    bastion.state().forwards = true;
    bastion.shut_down();
    let watching = watching(&routers, &ring, &sink, "via = \"bastion\"");
    let own = watching.file("bastion.pass");
    fs::write(&own, "secret\n").unwrap();
    fs::set_permissions(&own, fs::Permissions::from_mode(0o600)).unwrap();
    let watching = watching
        .option("[[jump_host]]")
        .option("name = \"bastion\"")
        .option(&format!("address = \"{}\"", bastion.address))
        .option("user = \"admin\"")
        .option(&format!("password_file = {own:?}"))
        .option(&format!("host_key = {:?}", bastion.host_key));
    let daemon = watching.start();
    let why = "not followed: jump host bastion is down: connection refused";
    sink.wait_for(&[
        "Subject: [addrwatch] bastion: jump host fails\n",
        why,
        "Not followed: 10 routers: core0, core1, core2, core3, core4, core5, core6, core7, core8, core9.",
    ]);
    assert_eq!(rows(&watching, why), 10);
    bastion.state().faults.refuse = true;
    bastion.plug();
    wait_until("it is tried", || bastion.counts().1 > 0);
    let refusal = "not followed: jump host bastion: login refused";
    wait_until("all know of it", || rows(&watching, refusal) == 10);
    assert_eq!((bastion.counts().1, sink.count()), (1, 1), "refused logins, and mails");
    bastion.state().faults.refuse = false;
    daemon.signal(Signal::HUP);
    for n in 0..routers.len() {
        daemon.stderr.wait_for(&format!("core{n}: first contact"));
    }
    sink.wait_for(&["Subject: [addrwatch] bastion: jump host works again\n"]);
    assert_eq!((bastion.counts(), sink.count()), ((1, 1), 2), "logins, and mails");
    assert!(!daemon.stderr.text().contains(": unreachable for"), "{}", daemon.stderr.text());
    daemon.stop().ok();
}
