//! With `encrypt_to`, secrets of exports are stored encrypted only; the program `age` decrypts them.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::server::{free_port, installed};
use aw_tests::watching::Watching;
use rustix::process::Signal;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the age documentation.
const KEY: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const SECRET: &str = "/ppp secret add name=x password=geheim profile=default";

/// A pair of keys of age-keygen in this directory; the public one.
fn keys(directory: &Path, name: &str) -> String {
    let mut command = Command::new("age-keygen");
    command.arg("-o").arg(directory.join(name));
    let made = run(command).ok();
    let text = made.stderr + &made.stdout;
    text.split_whitespace().find(|word| word.starts_with("age1")).expect("a public key").to_owned()
}

fn decrypted(key: &Path, file: &Path) -> String {
    let mut command = Command::new("age");
    command.arg("-d").arg("-i").arg(key).arg(file);
    run(command).ok().stdout
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).map(|entries| entries.map(|entry| entry.unwrap().path()));
    let mut files: Vec<_> = entries.into_iter().flatten().collect();
    files.sort();
    files
}

/// Whether a file of the archive has this text in clear.
fn has_in_clear(directory: &Path, text: &str) -> bool {
    files(directory).iter().any(|path| match path.is_dir() {
        true => has_in_clear(path, text),
        false => fs::read(path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()),
    })
}

#[test]
fn secrets_are_encrypted() {
    if !installed(&["/usr/bin/age", "/usr/bin/age-keygen"], "age") {
        return;
    }
    let (router, ring, keyring) =
        (Router::start(Version::V7), Ring::new(), tempfile::tempdir().unwrap());
    let public = [keys(keyring.path(), "one"), keys(keyring.path(), "two")];
    router.state().lines.push(SECRET.into());
    // Larger than the parts that are encrypted each.
    let line = |n| format!("/ip route add gateway=192.0.2.1 comment={n:0>200}");
    router.state().lines.extend((0..800).map(line));
    let watching = Watching::new(&ring)
        .global(&format!("encrypt_to = {public:?}"))
        .router("core1", &router, Version::V7)
        .option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let sensitive = watching.archive("core1").join("sensitive");
    wait_until("an encrypted export", || files(&sensitive).len() == 1);
    for name in ["one", "two"] {
        let text = decrypted(&keyring.path().join(name), &files(&sensitive)[0]);
        assert!(text.contains(SECRET) && text.lines().count() == 3 + 5 + 1 + 800, "{}", text.len());
    }
    let latest = fs::read_to_string(watching.archive("core1").join("latest.rsc")).unwrap();
    assert!(latest.contains("password=*** profile=default"), "{}", &latest[..600]);
    // A change is compared and reported without the secret.
    router.add("alice", "/ppp secret add name=y password=ganzgeheim");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    wait_until("a second one", || files(&sensitive).len() == 2);
    // Only a secret: a change like any other.
    let at = router.state().lines.iter().position(|line| line == SECRET).unwrap();
    router.state().lines[at] = SECRET.replace("geheim", "geheimer");
    let command = "(/ppp secret set x password=geheimer)";
    router.log("system,info", &format!("ppp secret <x> changed by ssh:alice@192.0.2.7 {command}"));
    daemon.stderr.wait_for("changed by alice (+1 -1)");
    wait_until("a third one", || files(&sensitive).len() == 3);
    // What no export shows.
    let command = "(/user add name=ops password=geheim)";
    router.log("system,info", &format!("user ops added by ssh:bob@192.0.2.7 {command}"));
    daemon.stderr.wait_for("bob: seen in the log only");
    let newest = files(&sensitive).pop().unwrap();
    assert!(decrypted(&keyring.path().join("one"), &newest).contains("password=geheimer"));
    daemon.stop().ok();
    assert!(!has_in_clear(&watching.root(), "geheim"));
}

/// A change of secrets only is credited, mailed and archived, also if it was made while the program did not run.
#[test]
fn a_changed_secret_is_a_change() {
    let (router, ring, sink) = (Router::start(Version::V7), Ring::new(), MailSink::start());
    let secret = |n: u32, text: &str| format!("/ppp secret add name=n{n} password={text}{n}");
    let set = |text: &str, numbers: std::ops::Range<u32>| {
        let mut state = router.state();
        for n in numbers {
            let begin = format!("/ppp secret add name=n{n} ");
            let at = state.lines.iter().position(|line| line.starts_with(&begin)).unwrap();
            state.lines[at] = secret(n, text);
        }
    };
    router.state().lines.extend((0..6).map(|n| secret(n, "geheim")));
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .git()
        .global(&format!("encrypt_to = [{KEY:?}]\nmail_digest = 0"))
        .router("core1", &router, Version::V7)
        .option("show_sensitive = true");
    let by = |user: &str| {
        let text = format!("ppp secret <n0> changed by ssh:{user}@192.0.2.7 (/ppp secret set n0)");
        router.log("system,info", &text);
    };
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    set("neuheim", 0..1);
    by("alice");
    let mail = sink.wait_for(&["configuration changed by alice (+1 -1)"]);
    for text in [
        "\n-/ppp secret add name=n0 password=***",
        "\n+/ppp secret add name=n0 password=***",
        "Lines of which only a secret changed, which is ***: 1",
    ] {
        assert!(mail.contains(text), "{text} is not in {mail}");
    }
    // With a change of another line.
    set("nochneuer", 0..1);
    router.add("bob", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&["configuration changed by bob (+2 -1)"]);
    daemon.stop().ok();
    // A restart alone is no change. What an earlier version stored of secrets goes.
    let stored = watching.archive("core1").join("secrets.json");
    fs::write(&stored, "{}").unwrap();
    let daemon = watching.start();
    wait_until("exports go on", || daemon.stderr.text().contains("connected"));
    assert!(!stored.exists());
    router.add("carol", "/ip dns set servers=192.0.2.54");
    sink.wait_for(&["configuration changed by carol", "(+1 -0)"]);
    daemon.stop().ok();
    // Nothing in the archive shows a changed secret to who guesses it: the log of the router names who changed one meanwhile.
    set("zuhause", 0..6);
    by("dave");
    let daemon = watching.start();
    daemon.stderr.wait_for("dave: seen in the log only");
    set("auswaerts", 0..1);
    by("erin");
    sink.wait_for(&["configuration changed by erin (+1 -1)"]);
    daemon.stop().ok();
    let changes = fs::read_to_string(watching.archive("core1").join("changes.jsonl")).unwrap();
    assert_eq!(changes.lines().count(), 4, "{changes}");
    for text in ["geheim", "neuheim", "nochneuer", "zuhause", "auswaerts"] {
        assert!(!has_in_clear(&watching.root(), text), "{text}");
    }
}

/// `encrypt_to` and `show_sensitive` are in effect together, or not at all: a reload applies the second one only.
#[test]
fn a_reload_does_not_write_secrets_in_clear() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.push(SECRET.into());
    let watching = Watching::new(&ring).git().router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let mut watching = watching.global(&format!("encrypt_to = [{KEY:?}]"));
    let reload = |watching: &mut Watching, key: &str| {
        watching.replace("settle = 1\n", &format!("settle = 1\n{key}"));
        daemon.signal(Signal::HUP);
    };
    // In one step, and in two.
    reload(&mut watching, "show_sensitive = true\n");
    const REFUSED: &str = "needs encrypt_to of the same file, which a reload does not apply: restart aw-routeros (systemctl restart aw-routeros): the old configuration stays in effect";
    // As the unit does after the signal, so that `systemctl reload` fails.
    let read_config = |watching: &Watching| {
        let mut command = aw_tests::rig::program("aw-routeros", &["--read-config", "-c"]);
        command.arg(watching.file("routeros.toml"));
        aw_tests::rig::run(command)
    };
    let why = "core1: show_sensitive needs encrypt_to of the same file";
    read_config(&watching).refused("aw-routeros", &[why, "keeps its old configuration"]);
    daemon.stderr.wait_for(&format!("core1: show_sensitive {REFUSED}"));
    watching.replace("show_sensitive = true\n", "interval = 1000\n");
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for("and not in effect: encrypt_to: ");
    daemon.stderr.wait_for("configuration loaded: 1 router");
    read_config(&watching).ok();
    watching.replace("interval = 1000\n", "interval = 1000\nbackup = true\n");
    daemon.signal(Signal::HUP);
    daemon.stderr.wait_for(&format!("core1: backup {REFUSED}"));
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("(+1 -0)"); // it may connect again just then
    daemon.stop().ok();
    assert!(!has_in_clear(&watching.root(), "geheim"));
    assert!(!watching.archive("core1").join("backups").exists());
    // The restart applies both.
    watching.replace("backup = true\n", "show_sensitive = true\n");
    let daemon = watching.start();
    let sensitive = watching.archive("core1").join("sensitive");
    wait_until("an encrypted export", || files(&sensitive).len() == 1);
    daemon.stop().ok();
    assert!(!has_in_clear(&watching.root(), "geheim"));
}

/// Also the files of routers that are configured no more have no secrets in git, and none at all after `forget-secrets`.
#[test]
fn directories_of_former_routers() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.push(SECRET.into());
    let mut watching =
        Watching::new(&ring).router("gone", &router, Version::V7).option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let command = "(/ppp secret add name=y password=geheim2)";
    router.log("system,info", &format!("ppp secret <y> added by ssh:bob@192.0.2.7 {command}"));
    let state = watching.archive("gone").join("state.json");
    wait_until("the last line", || fs::read_to_string(&state).unwrap().contains("geheim2"));
    daemon.stop().ok();
    let forget = |watching: &Watching| {
        let mut command = aw_tests::rig::program("aw-routeros", &["forget-secrets", "-c"]);
        command.arg(watching.file("routeros.toml"));
        run(command)
    };
    let remedy = "(set it, or remove show_sensitive)";
    forget(&watching).refused("aw-routeros", &[remedy]);
    watching.replace("name = \"gone\"", "name = \"core1\"");
    let watching = watching.git().global(&format!("encrypt_to = [{KEY:?}]"));
    let daemon = watching.start();
    let report = daemon.stderr.wait_for("files from before encrypt_to have secrets in clear");
    assert!(report.contains("those of gone (") && report.contains("state.json"), "{report}");
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
    let mut git = Command::new("git");
    git.arg("--git-dir").arg(watching.git_path()).args(["log", "-p", "main"]);
    let log = run(git).ok().stdout;
    assert!(log.contains("gone.rsc") && log.contains("password=***"), "{log}");
    assert!(!log.contains("geheim"), "{log}");
    // Its second remedy, without `encrypt_to`.
    let path = watching.file("routeros.toml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("show_sensitive = true\n", "");
    fs::write(&path, text.replace(&format!("encrypt_to = [{KEY:?}]\n"), "")).unwrap();
    forget(&watching).ok();
    assert!(!has_in_clear(&watching.root(), "geheim"));
}

/// An archive of before: its base is compared without the secrets, so that `encrypt_to` is no change.
#[test]
fn an_archive_with_secrets_in_clear() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.push(SECRET.into());
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ppp secret add name=y password=geheim2");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
    let latest = || fs::read_to_string(watching.archive("core1").join("latest.rsc")).unwrap();
    assert!(latest().contains("password=geheim"), "as before without encrypt_to");
    let path = watching.file("routeros.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("encrypt_to = [{KEY:?}]\n{text}")).unwrap();
    let mut command = aw_tests::rig::program("aw-routeros", &["-c"]);
    command.arg(&path);
    let daemon = aw_tests::rig::Run::start(command);
    let report = daemon.stderr.wait_for("files from before encrypt_to have secrets in clear");
    assert!(report.contains("aw-routeros forget-secrets"), "{report}");
    assert!(latest().contains("password=***"), "at once: {}", latest());
    wait_until("an encrypted export", || {
        files(&watching.archive("core1").join("sensitive")).len() == 1
    });
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    assert!(latest().contains("password=***"), "{}", latest());
    let forget = |path: &Path| {
        let mut command = aw_tests::rig::program("aw-routeros", &["forget-secrets", "-c"]);
        command.arg(path);
        run(command)
    };
    forget(&path).refused("aw-routeros", &["another aw-routeros, process "]);
    daemon.stop().ok();
    assert!(has_in_clear(&watching.root(), "geheim"), "files from before are left alone");
    let forgotten = forget(&path).ok();
    for name in ["snapshots/", "changes.jsonl", "diff.txt", "users/alice.diff"] {
        assert!(forgotten.stdout.contains(name), "{name}: {}", forgotten.stdout);
    }
    assert!(!has_in_clear(&watching.root(), "geheim"));
    // All of it is as it was otherwise, and the report is not repeated.
    let mut command = aw_tests::rig::program("aw-routeros", &["log", "-c"]);
    command.arg(&path);
    let log = run(command).ok().stdout;
    assert_eq!(log.lines().count(), 3, "{log}");
    assert_eq!(forget(&path).ok().stdout, "");
    let mut command = aw_tests::rig::program("aw-routeros", &["-c"]);
    command.arg(&path);
    let daemon = aw_tests::rig::Run::start(command);
    router.add("bob", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("(+1 -0)");
    assert!(!daemon.stderr.text().contains("in clear"), "{}", daemon.stderr.text());
    daemon.stop().ok();
}

/// One restart sets `encrypt_to` and `git` and removes `show_sensitive`, while the router is away: its last export, with secrets,
/// is masked before git reads it, and `forget-secrets` leaves no secret.
#[test]
fn show_sensitive_is_removed_when_encrypt_to_is_set() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().lines.push(SECRET.into());
    let mut watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
    assert!(has_in_clear(&watching.root(), "geheim"), "without encrypt_to");
    watching.replace("show_sensitive = true\n", "");
    watching.replace(&router.address.to_string(), &format!("127.0.0.1:{}", free_port()));
    let watching = watching.git().global(&format!("encrypt_to = [{KEY:?}]"));
    let daemon = watching.start();
    daemon.stderr.wait_for("files from before encrypt_to have secrets in clear");
    daemon.stop().ok();
    let mut git = Command::new("git");
    git.arg("--git-dir").arg(watching.git_path()).args(["log", "-p", "main"]);
    let log = run(git).ok().stdout;
    assert!(log.contains("password=***") && !log.contains("geheim"), "{log}");
    let mut forget = aw_tests::rig::program("aw-routeros", &["forget-secrets", "-c"]);
    forget.arg(watching.file("routeros.toml"));
    run(forget).ok();
    assert!(!has_in_clear(&watching.root(), "geheim"));
}
