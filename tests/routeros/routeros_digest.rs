//! What leaves the archive of `aw-routeros`: digests, ignore rules, bounded and masked mail, hooks.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::watching::Watching;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65534;

/// A script that counts, as its scheduler logs it (measured on CHR 7.24 by the project ISPM).
fn count_up(router: &Router, n: usize) {
    let line = format!("/system script add name=cnt source=\"# {n}\"");
    let mut state = router.state();
    state.lines.retain(|line| !line.contains("name=cnt"));
    state.lines.push(line);
    drop(state);
    let by = format!("scheduler:cnt/script:cnt/action:{n}");
    let message =
        format!("changed script settings by {by} (/system script set cnt source=\"# {n}\")");
    router.log("system,info", &message);
}

fn changes(watching: &Watching) -> String {
    fs::read_to_string(watching.archive("core1/changes.jsonl")).unwrap_or_default()
}

fn wait_for_changes(watching: &Watching, count: usize) {
    wait_until(&format!("{count} changes"), || changes(watching).lines().count() >= count);
}

fn query(watching: &Watching, arguments: &[&str]) -> String {
    let mut command = watching.command();
    command.args(arguments);
    run(command).ok().stdout
}

/// The first change of a burst is mailed at once, the others in one mail, also after a kill; a change by another user is
/// mailed at once.
#[test]
fn a_burst_is_one_mail() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).global("mail_digest = 3600").router(
        "core1",
        &router,
        Version::V7,
    );
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    for n in 1..9 {
        count_up(&router, n);
        wait_for_changes(&watching, n);
    }
    router.add("alice", "/ip dns set servers=192.0.2.53");
    sink.wait_for(&["core1: configuration changed by alice (+1 -0)"]);
    let first = sink.wait_for(&["core1: configuration changed by scheduler:cnt (+1 -0)"]);
    assert!(first.contains("+/system script add name=cnt source=\"# 1\""), "{first}");
    assert_eq!(sink.count(), 2, "{:?}", sink.messages());
    daemon.kill();
    let daemon = watching.start();
    let digest = sink.wait_for(&["Subject: [addrwatch] core1: 7 changes by scheduler:cnt"]);
    for n in 2..9 {
        let line = format!("+/system script add name=cnt source=\"# {n}\"");
        assert!(digest.contains(&line), "{n}: {digest}");
    }
    assert!(digest.contains("aw-routeros diff core1 2"), "{digest}");
    // What is gathered when it ends is mailed at its end.
    for n in 9..12 {
        count_up(&router, n);
        wait_for_changes(&watching, n + 1);
    }
    daemon.stop().ok();
    sink.wait_for(&["source=\"# 9\""]);
    sink.wait_for(&["source=\"# 11\""]);
    let spool = fs::read_dir(watching.archive(".spool")).unwrap();
    let left: Vec<_> = spool.map(|file| file.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".gathered")), "{left:?}");
}

/// What is gathered is mailed after its time.
#[test]
fn a_digest_is_mailed_in_time() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).global("mail_digest = 5").router(
        "core1",
        &router,
        Version::V7,
    );
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    for n in 1..4 {
        count_up(&router, n);
        wait_for_changes(&watching, n);
    }
    sink.wait_for(&["+/system script add name=cnt source=\"# 3\""]);
    daemon.stop().ok();
}

/// What a rule ignores is archived and counted, and neither mailed nor published. A user rule hides nothing that another
/// user may have done.
#[test]
fn ignored_changes() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let rules = "ignore = [{ menu = \"/ip/firewall/address-list\", line = \"* list=bad\" }, { user = \"scheduler:cnt\" }]";
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .global("mail_digest = 0")
        .global(rules)
        .router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip firewall address-list add address=192.0.2.66 list=bad");
    wait_for_changes(&watching, 1);
    count_up(&router, 1);
    wait_for_changes(&watching, 2);
    // Together with another user, and with a line that no rule ignores.
    let comment = "comment=\"/ip firewall address-list add list=bad\"";
    router.state().lines.push("/ip firewall address-list add address=192.0.2.67 list=bad".into());
    router.add("eve", &format!("/user add name=eve {comment} group=full"));
    count_up(&router, 2);
    daemon.stderr.wait_for("changed by eve, scheduler:cnt");
    let mail = sink.wait_for(&["core1: configuration changed by eve, scheduler:cnt (+2 -1)"]);
    assert!(mail.contains("+/user add name=eve") && !mail.contains("192.0.2.67"), "{mail}");
    assert!(mail.contains("[1 changed lines are ignored by rules: not shown]"), "{mail}");
    assert_eq!(sink.count(), 1, "{:?}", sink.messages());
    let events = run(program("aw-stdout", &["--once", "--ring", ring.name()])).ok().stdout;
    assert!(events.lines().count() == 1 && events.contains("CONFIG:+2-1:eve"), "{events}");
    // Nor does it hide what no export shows.
    router.state().lines.push("/ip firewall address-list add address=192.0.2.68 list=bad".into());
    router.log(
        "system,info",
        "user admin changed by ssh:mallory@192.0.2.7 (/user set admin password=x)",
    );
    sink.wait_for(&["core1: mallory: seen in the log only: user admin changed"]);
    daemon.stop().ok();
    let stored = fs::read_to_string(watching.archive("core1/diff.txt")).unwrap();
    for text in ["192.0.2.66", "192.0.2.67", "# 1", "# 2"] {
        assert!(stored.contains(text), "{text}: {stored}");
    }
    let log = query(&watching, &["log"]);
    assert_eq!(log.matches("(1 ignored)").count(), 4, "{log}");
    let state = query(&watching, &["show", "--format", "json"]);
    assert!(state.contains("\"ignored\":4"), "{state}");
    let notes = fs::read_to_string(watching.archive("core1/log.txt")).unwrap();
    assert_eq!(notes.matches("all lines are ignored by rules").count(), 3, "{notes}");
}

/// A mail has a part of a long difference, and names the command for the rest.
#[test]
fn a_long_difference() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    let entry = |n| format!("/ip firewall address-list add address=192.0.2.{n} list=bad");
    router.state().lines.extend((0..3000).map(entry));
    router.add("alice", &format!("/ip firewall address-list add list=x{}", "y".repeat(9000)));
    let mail = sink.wait_for(&["core1: configuration changed by alice (+3001 -0)"]);
    assert!(mail.len() < 60_000 && mail.contains("192.0.2.400 "), "{}", mail.len());
    let (count, command) = mail
        .lines()
        .find_map(|line| line.strip_prefix('[')?.strip_suffix(']')?.split_once(" more lines: "))
        .unwrap_or_else(|| panic!("{mail}"));
    let shown = mail.matches("address-list add").count();
    assert!(count.parse::<usize>().unwrap() + shown >= 3001, "{count} {shown}");
    let words: Vec<_> = command.split(' ').collect();
    assert_eq!(words[..2], ["aw-routeros", "diff"], "{command}");
    let all = query(&watching, &words[1..]);
    assert_eq!(all.matches("\n+/ip firewall address-list add").count(), 3001);
    daemon.stop().ok();
}

/// Secrets are in the archive only: not in mail, messages, hooks, and what the commands print.
#[test]
fn secrets_stay_in_the_archive() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let received = tempfile::tempdir().unwrap();
    let received = received.path().join("received");
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .global(&format!(
            "hooks = [[\"/bin/sh\", \"-c\", '(cat; echo $SUMMARY by $USERS) >> {}']]",
            received.display()
        ))
        .router("core1", &router, Version::V7)
        .option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.state().lines.extend([
        "/tool romon set enabled=yes secrets=Hush1Hush".into(),
        "/system script add name=s source=\":local apiToken \\\"Hush3 Hush\\\"\\r\\n/tool fetch url=\\\"https://bob:Hush4Hush@192.0.2.9/\\\\\\?key=Hush5Hush\\\" http-header-field=\\\"Authorization: Bearer Hush6Hush\\\"\"".into(),
    ]);
    router.add("alice", "/container envs add key=DB_ROOT_PASSWORD name=e value=Hush2Hush");
    let mail = sink.wait_for(&["configuration changed by alice (+3 -0)"]);
    assert!(mail.contains("key=DB_ROOT_PASSWORD name=e value=***"), "{mail}");
    // Users choose their names, too; and what looks like a secret hides nothing behind it.
    router.add("token=Hush7", "/user add comment=\"password=\" name=eve group=full");
    let second = sink.wait_for(&["configuration changed by token=*** (+1 -0)"]);
    assert!(second.contains("comment=\"password=\" name=eve group=full"), "{second}");
    wait_until("the hooks", || {
        fs::read_to_string(&received).is_ok_and(|text| text.contains("(+1 -0) by token=***"))
    });
    let input = fs::read_to_string(&received).unwrap();
    let stderr = daemon.stderr.text();
    daemon.stop().ok();
    let printed =
        [&["log"][..], &["log", "--format", "json"], &["diff", "core1"], &["show", "core1"]]
            .map(|arguments| query(&watching, arguments));
    for text in [mail, second, input, stderr].iter().chain(&printed) {
        assert!(!text.contains("Hush"), "{text}");
    }
    assert!(query(&watching, &["diff", "core1", "--secrets"]).contains("Hush5Hush"));
    let stored = fs::read_to_string(watching.archive("core1/latest.rsc")).unwrap();
    assert_eq!(stored.matches("Hush").count(), 12, "{stored}");
}

/// An executable script.
fn script(watching: &Watching, name: &str, text: &str) -> PathBuf {
    let path = watching.file(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

/// The children of a process.
fn children(run: &Run) -> Vec<String> {
    let path = format!("/proc/{0}/task/{0}/children", run.id());
    let text = fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

fn status(id: impl std::fmt::Display) -> String {
    fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default()
}

/// Hooks get the change in their environment and on standard input; one that fails is reported once. The daemon stays
/// confined, and the process that starts hooks has no capabilities and ends with it.
#[test]
fn hooks_are_started() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).global("mail_digest = 0").router(
        "core1",
        &router,
        Version::V7,
    );
    let out = watching.file("out");
    let good = script(
        &watching,
        "good",
        &format!(
            "{{ echo \"$ROUTER|$USERS|$ADDED|$AMBIGUOUS|$1\"; test -s \"$SNAPSHOT\" && echo stored; cat; }} >> {}",
            out.display()
        ),
    );
    let bad = script(
        &watching,
        "bad",
        "test -e \"$0.mended\" && exit; test -e \"$0.other\" && echo other >&2 && exit 5; echo no luck >&2; exit 4",
    );
    let watching =
        watching.global(&format!("hooks = [[{good:?}, \"a b\"], {:?}]", bad.display().to_string()));
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    for text in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status(daemon.id()).contains(text), "{text}");
    }
    let helper = children(&daemon).pop().unwrap();
    assert!(status(&helper).contains("CapEff:\t0000000000000000"), "{}", status(&helper));
    let hooked = || fs::read_to_string(&out).unwrap_or_default();
    router.add("alice", "/ppp secret add name=x password=geheim");
    wait_until("the hook", || hooked().contains("+/ppp secret add name=x"));
    assert!(hooked().starts_with("core1|alice|1|0|a b\nstored\n"), "{}", hooked());
    let fault = daemon.stderr.wait_for("hook /");
    assert!(fault.contains("exit status: 4: no luck"), "{fault}");
    sink.wait_for(&["Subject: [addrwatch] hook", "no luck"]);
    router.add("bob; touch /tmp/x", "/ip dns set servers=192.0.2.54");
    wait_until("the second hook", || hooked().contains("192.0.2.54"));
    fs::write(watching.file("bad.other"), "").unwrap();
    router.add("bob", "/ip dns set servers=192.0.2.56");
    sink.wait_for(&["Subject: [addrwatch] hook", "exit status: 5: other"]);
    fs::write(watching.file("bad.mended"), "").unwrap();
    router.add("carol", "/ip dns set servers=192.0.2.55");
    daemon.stderr.wait_for("works again");
    assert_eq!(daemon.stderr.text().matches("no luck").count(), 1);
    daemon.stop().ok();
    wait_until("its end", || {
        let status = status(&helper);
        status.is_empty() || status.contains("State:\tZ")
    });
}

/// In the background and as another user: the hook has that user, and the command that starts the daemon returns.
#[test]
fn hooks_in_the_background() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can change the user");
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    fs::set_permissions(watching.file(""), Permissions::from_mode(0o777)).unwrap();
    chown(watching.file("password"), Some(NOBODY), Some(NOBODY)).unwrap();
    let (out, pid_file) = (watching.file("out"), watching.file("pid"));
    let watching = watching.global(&format!(
        "hooks = [[\"/bin/sh\", \"-c\", \"grep -E 'Uid|CapPrm|NoNewPrivs' /proc/self/status > {0}.new; mv {0}.new {0}\"]]",
        out.display()
    ));
    let mut command = watching.command();
    command.args(["-d", "-u", "nobody", "-p"]).arg(&pid_file);
    run(command).ok();
    let id: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    wait_until("the first configuration", || watching.archive("core1/latest.rsc").exists());
    router.add("alice", "/ip dns set servers=192.0.2.53");
    wait_until("the hook", || out.exists());
    let status = fs::read_to_string(&out).unwrap();
    for line in ["Uid:\t65534\t65534", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    wait_until("its end", || {
        !pid_file.exists() || fs::read(&pid_file).is_ok_and(|text| text.is_empty())
    });
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("--git-dir").arg(directory).args(arguments);
    run(command).ok().stdout
}

/// `git push` after each commit.
#[test]
fn git_push_is_a_hook() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).git().global("hooks = [\"git push\"]").router(
        "core1",
        &router,
        Version::V7,
    );
    let remote = watching.file("remote.git");
    git(&remote, &["init", "--quiet", "--bare"]);
    // The first start creates the repository.
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    git(
        &watching.git_path(),
        &["remote", "add", "--mirror=push", "origin", remote.to_str().unwrap()],
    );
    router.add("alice", "/ip dns set servers=192.0.2.53");
    let log = || {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&remote).args(["log", "--format=%an %s", "main"]);
        run(command).stdout
    };
    wait_until("the push", || log().contains("alice core1: configuration changed by alice"));
    assert!(git(&remote, &["show", "main:core1.rsc"]).contains("192.0.2.53"));
    daemon.stop().ok();
}

/// `git push` after each commit, also of a first configuration and of a change that rules ignore.
#[test]
fn a_mirror_is_pushed_after_each_commit() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring)
        .git()
        .global("commit_hooks = [\"git push\"]")
        .global("ignore = [{ menu = \"/ip dns\" }]")
        .router("core1", &router, Version::V7);
    let (repository, remote) = (watching.git_path(), watching.file("remote.git"));
    for directory in [&repository, &remote] {
        git(directory, &["init", "--quiet", "--bare", "--initial-branch=main"]);
    }
    git(&repository, &["remote", "add", "--mirror=push", "origin", remote.to_str().unwrap()]);
    let daemon = watching.start();
    let log = || {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(&remote).args(["log", "--format=%an %s", "main"]);
        run(command).stdout
    };
    wait_until("the first push", || log().contains("first configuration"));
    router.add("alice", "/ip dns set servers=192.0.2.53");
    wait_until("the second push", || log().contains("alice core1: configuration changed"));
    assert!(git(&remote, &["show", "main:core1.rsc"]).contains("192.0.2.53"));
    daemon.stop().ok();
}

/// Many changes whose hooks do not end: the daemon does not wait for them, and reports them.
#[test]
fn hooks_that_hang() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .global("mail_digest = 0\nhook_timeout = 1\nhooks = [\"sleep 1000\"]")
        .router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    for (n, user) in ["alice", "bob", "carol"].into_iter().enumerate() {
        router.add(user, &format!("/ip dns set servers=192.0.2.{n}"));
        daemon.stderr.wait_for(&format!("changed by {user}"));
    }
    daemon.stderr.wait_for("hook sleep: no end after 1 s (hook_timeout)");
    sink.wait_for(&["Subject: [addrwatch] hook", "no end after 1 s"]);
    daemon.stop().ok();
}
