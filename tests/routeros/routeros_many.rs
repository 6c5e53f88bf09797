//! 200 and 500 routers in one process: each change is found, and memory is bounded. `make bench` measures the time.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, program, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::{fill, many, peak_memory};
use rustix::process::Signal;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

const ROUTERS: usize = 200;

#[test]
fn two_hundred() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let (routers, watching) = many(ROUTERS, &ring, sink.port);
    let daemon = watching.start();
    wait_until("all are stored", || {
        daemon.stderr.text().matches("first contact: configuration stored").count() == ROUTERS
    });
    for (n, router) in routers.iter().enumerate() {
        router.add(&format!("user{n}"), "/ip dns set servers=192.0.2.54");
    }
    wait_until("all are mailed", || sink.count() >= ROUTERS);
    let mails = sink.messages();
    assert_eq!(mails.len(), ROUTERS);
    for n in 0..ROUTERS {
        let subject =
            format!("Subject: [addrwatch] core{n}: configuration changed by user{n} (+1 -0)\n");
        assert_eq!(mails.iter().filter(|mail| mail.contains(&subject)).count(), 1, "{subject}");
        let archive = watching.archive(format!("core{n}"));
        let diff = fs::read_to_string(archive.join(format!("users/user{n}.diff"))).unwrap();
        assert!(diff.contains("\n+/ip dns set servers=192.0.2.54\n"), "{diff}");
        assert_eq!(fs::read_dir(archive.join("users")).unwrap().count(), 1, "core{n}");
    }
    assert!(routers.iter().all(|router| router.counts() == (1, 0)), "one login each");
    let peak = peak_memory(&daemon);
    assert!(peak < 70_000_000, "{peak}"); // 53 MB here
    daemon.stop().ok();
}

/// The addresses of 500 routers on the loopback, all with the same port.
fn five_hundred() -> Vec<Router> {
    let ip = |n: u8, m: u8| IpAddr::from(Ipv4Addr::new(127, 77, n, m));
    let first = Router::start_at(Version::V7, ip(0, 1));
    let port = first.address.port();
    let others =
        (1..500_u16).map(|n| SocketAddr::new(ip((n / 250) as u8, (n % 250 + 1) as u8), port));
    let others = others.map(|address| Router::start_on(Version::V7, address));
    std::iter::once(first).chain(others).collect()
}

/// Ten lines and a list configure 500 routers: their host keys are learned, `check` tries each, a reload stops and starts
/// half of them, and a change on each at once is archived with its user.
#[test]
fn five_hundred_in_ten_lines() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let routers = five_hundred();
    routers.iter().for_each(fill);
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("password"), "secret\n").unwrap();
    fs::set_permissions(file("password"), fs::Permissions::from_mode(0o600)).unwrap();
    let lines = [
        "archive = \"archive\"".to_owned(),
        format!("ring = {:?}", ring.name()),
        "[mail]".into(),
        format!("server = \"127.0.0.1:{}\"", sink.port),
        "from = \"a@example.org\"".into(),
        "to = [\"noc@example.org\"]".into(),
        "[defaults]".into(),
        "user = \"admin\"".into(),
        "password_file = \"password\"".into(),
        "interval = 100000".into(),
    ];
    fs::write(file("routeros.toml"), lines.join("\n") + "\n").unwrap();
    let list =
        routers.iter().enumerate().map(|(n, router)| format!("core{n} {}\n", router.address));
    fs::write(file("list"), list.collect::<String>()).unwrap();
    let config = file("routeros.toml");
    let command = |arguments: &[&str]| {
        let mut command = program("aw-routeros", &["-c", config.to_str().unwrap()]);
        command.args(arguments);
        command
    };
    let added =
        run(command(&["add", "--from", file("list").to_str().unwrap(), "--yes"])).ok().stdout;
    assert!(added.contains("[500/500] ") && added.contains("500 routers are added"), "{added}");
    for router in &routers {
        assert!(added.contains(&router.host_key), "{}", router.address);
    }
    let checked = run(command(&["check"])).ok().stdout;
    assert_eq!(checked.lines().filter(|line| line.starts_with("core")).count(), 500, "{checked}");
    let daemon = Run::start(command(&[]));
    let count = |text: &str| daemon.stderr.text().matches(text).count();
    wait_until("all are stored", || count("first contact: configuration stored") == 500);
    let exports: Vec<_> = routers.iter().map(Router::exports).collect();
    // A reload without half of them, and one with all.
    let all = fs::read_to_string(&config).unwrap();
    let half = all.find("[[router]]\nname = \"core250\"").expect("it is there");
    for (text, loaded) in [(&all[..half], 250), (&all[..], 500)] {
        fs::write(&config, text).unwrap();
        daemon.signal(Signal::HUP);
        daemon.stderr.wait_for(&format!("configuration loaded: {loaded} routers"));
    }
    wait_until("the others are connected again", || count(": connected") == 750);
    // One login by add, one by check, and one by the daemon, or two if the reloads removed it.
    for (n, router) in routers.iter().enumerate() {
        assert_eq!(router.counts(), (if n < 250 { 3 } else { 4 }, 0), "core{n}");
    }
    // An export that has begun may show a change whose line has not arrived yet. Three exports were taken before: by check,
    // and two at the first contact.
    wait_until("their exports are taken", || {
        let again = |(router, before): (&Router, &usize)| router.exports() >= before + before / 3;
        routers.iter().zip(&exports).skip(250).all(again)
    });
    let begun = Instant::now();
    for (n, router) in routers.iter().enumerate() {
        router.add(&format!("user{n}"), "/ip dns set servers=192.0.2.54");
    }
    wait_until("all are archived", || count("configuration changed by") == 500);
    println!("from a change on each to the last archived: {:.1} s", begun.elapsed().as_secs_f64());
    for n in 0..500 {
        let diff = fs::read_to_string(file("archive").join(format!("core{n}/users/user{n}.diff")));
        assert!(diff.unwrap().contains("\n+/ip dns set servers=192.0.2.54\n"), "core{n}");
        let users = fs::read_dir(file("archive").join(format!("core{n}/users"))).unwrap().count();
        assert_eq!(users, 1, "core{n}");
    }
    wait_until("all are mailed", || sink.count() == 500);
    let peak = peak_memory(&daemon);
    println!("peak memory with 500 routers: {:.1} MB", peak as f64 / 1e6);
    assert!(peak < 107_000_000, "{peak}"); // 97 MB here, see docs/sizing.md
    daemon.stop().ok();
}
