//! `aw-routeros` as a program: in the background, as another user, at a terminal, over IPv6, in JSON.
#![forbid(unsafe_code)]

use aw_tests::certificates::make_certificates;
use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version, new_key};
use aw_tests::watching::Watching;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;
use std::thread;

const NOBODY: u32 = 65534;

/// `-d -p -u`: the command returns once the daemon is ready; the process and its files belong to another user.
#[test]
fn in_the_background_as_another_user() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can change the user");
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    fs::set_permissions(watching.file(""), Permissions::from_mode(0o755)).unwrap();
    let password = watching.file("password");
    chown(&password, Some(NOBODY), Some(NOBODY)).unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o600)).unwrap();
    let pid_file = watching.file("pid");
    let mut command = watching.command();
    command.args(["-d", "-u", "nobody", "-p"]).arg(&pid_file);
    let started = run(command).ok();
    assert_eq!(started.stdout, "");
    let id: i32 = fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
    let proc = |name: &str| fs::read_to_string(format!("/proc/{id}/{name}")).unwrap_or_default();
    wait_until("the first configuration", || watching.archive("core1/latest.rsc").exists());
    let status = proc("status");
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
    ] {
        assert!(status.contains(line), "{line}: {status}");
    }
    router.add("alice", "/ip dns set servers=192.0.2.53");
    wait_until("the change", || watching.archive("core1/users/alice.diff").exists());
    for path in ["", "core1", "core1/latest.rsc", "core1/users/alice.diff", "core1/state.json"] {
        assert_eq!(fs::metadata(watching.archive(path)).unwrap().uid(), NOBODY, "{path}");
    }
    assert_eq!(fs::metadata(ring.path()).unwrap().uid(), NOBODY);
    // A second daemon for the same archive is refused with an error in the foreground.
    let mut second = watching.command();
    second.args(["-d", "-u", "nobody"]);
    let process = format!("another aw-routeros, process {id}, uses this archive");
    run(second).refused("aw-routeros", &[&process]);
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    wait_until("its end", || !proc("comm").starts_with("aw-routeros"));
}

/// A terminal that answers each question, and prints what was displayed.
const PERSON: &str = "
import os, pty, sys
answers = [(b'Name', b'core1'), (b'(yes/no)', b'yes'), (b'Login', b'admin'), (b'Password', b'secret')]
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen, answered = b'', 0
while True:
    try:
        data = os.read(terminal, 4096)
    except OSError:
        break
    if not data:
        break
    seen += data
    if answers and answers[0][0] in seen[answered:]:
        answered = len(seen)
        os.write(terminal, answers.pop(0)[1] + b'\\n')
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

/// `add` asks for missing values, and a password is not displayed.
#[test]
fn add_asks_at_a_terminal() {
    let router = Router::start(Version::V7);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("routeros.toml");
    let mut person = Command::new("/usr/bin/python3");
    person.args(["-c", PERSON]).arg(binary("aw-routeros"));
    person.args(["add", &router.address.to_string(), "-c"]).arg(&config);
    let seen = run(person).ok().stdout;
    for text in [
        "Name [127.0.0.1]: core1",
        &router.host_key,
        "(yes/no): yes",
        "Login: admin",
        "core1 is added",
    ] {
        assert!(seen.contains(text), "{text}: {seen}");
    }
    assert!(!seen.contains("secret"), "{seen}");
    assert_eq!(fs::read_to_string(directory.path().join("core1.pass")).unwrap(), "secret\n");
    let mut check = program("aw-routeros", &["check", "core1", "-c"]);
    check.arg(&config);
    run(check).ok();
    // The same name again is refused before any question; the answer no changes nothing.
    let before = fs::read_to_string(&config).unwrap();
    let mut again = program("aw-routeros", &["add", "192.0.2.1", "--name", "core1", "-c"]);
    again.arg(&config);
    run(again).refused("aw-routeros", &["core1: a router of this name exists"]);
    let mut no = program("aw-routeros", &["add", "--name", "core2", "-c"]);
    no.arg(&config).arg(router.address.to_string());
    let no = aw_tests::rig::run_with(no, b"no\n");
    no.refused("aw-routeros", &["the host key is not confirmed"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), before);
}

/// Ctrl-C at the password question restores the terminal's echo.
#[test]
fn interrupted_at_the_password() {
    let router = Router::start(Version::V7);
    let directory = tempfile::tempdir().unwrap();
    let script = PERSON.replace("b'secret'", "b'sec\\x03'").replace("import os", "import termios, os").replace(
        "sys.exit(",
        "sys.stdout.write('ECHO %s' % bool(termios.tcgetattr(terminal)[3] & termios.ECHO)); sys.stdout.flush(); sys.exit(",
    );
    let mut person = Command::new("/usr/bin/python3");
    person.args(["-c", &script]).arg(binary("aw-routeros"));
    person.args(["add", &router.address.to_string(), "-c"]).arg(directory.path().join("x.toml"));
    let seen = run(person);
    assert_eq!(seen.status.code(), Some(1), "{seen:?}");
    assert!(seen.stdout.contains("interrupted"), "{seen:?}");
    assert!(seen.stdout.ends_with("ECHO True"), "{seen:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// The daemon, which runs as another user, can read what root adds; a file that it cannot read is named.
#[test]
fn root_adds_for_the_daemons_user() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can give files away");
    }
    let (router, directory) = (Router::start(Version::V7), tempfile::tempdir().unwrap());
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| directory.path().join(name);
    let known = fs::read_to_string("/etc/passwd").unwrap();
    let others = known.lines().filter(|line| !line.starts_with("addrwatch:"));
    let all = others.chain(["addrwatch:x:64321:64321::/nonexistent:/bin/false", ""]);
    fs::write(at("passwd"), all.collect::<Vec<_>>().join("\n")).unwrap();
    let with_user = |arguments: &[&str]| {
        let script = "mount --bind \"$1\" /etc/passwd; shift; exec \"$@\"";
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-ec", script, "sh"])
            .arg(at("passwd"))
            .arg(binary("aw-routeros"));
        command.arg("-c").arg(at("routeros.toml")).args(arguments);
        command
    };
    let address = router.address.to_string();
    let add = with_user(&[
        "add",
        &address,
        "--name",
        "core1",
        "--login",
        "admin",
        "--host-key",
        &router.host_key,
    ]);
    aw_tests::rig::run_with(add, b"secret\n").ok();
    for name in ["routeros.toml", "core1.pass"] {
        let file = fs::metadata(at(name)).unwrap();
        assert_eq!(
            (file.uid(), file.gid(), file.permissions().mode() & 0o777),
            (64321, 64321, 0o600),
            "{name}"
        );
    }
    let entry = fs::read_to_string(at("routeros.toml")).unwrap();
    let archive = format!("archive = {:?}\nring = \"\"\n", at("archive"));
    let entry = entry.replace("archive = \"/var/lib/addrwatch/routeros\"\n", &archive);
    fs::write(at("routeros.toml"), entry).unwrap();
    let daemon = Run::start(with_user(&[]));
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
    chown(at("core1.pass"), Some(0), Some(0)).unwrap();
    let daemon = Run::start(with_user(&[]));
    daemon
        .stderr
        .wait_for("permission denied (addrwatch must be able to read it: chown addrwatch /");
    daemon.stop().ok();
}

/// A router with an IPv6 address.
#[test]
fn over_ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skip("there is no IPv6 here");
    }
    let router = Router::start_at(Version::V7, Ipv6Addr::LOCALHOST.into());
    let ring = Ring::new();
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
    let diff = fs::read_to_string(watching.archive("core1/diff.txt")).unwrap();
    assert!(diff.contains(&format!("({})\n", router.address)), "{diff}");
}

/// `check` in JSON, field by field.
#[test]
fn check_in_json() {
    let (seven, six, other) =
        (Router::start(Version::V7), Router::start(Version::V6), Router::start(Version::V7));
    six.state().faults.no_rule = true;
    let mut cut = Router::start(Version::V7);
    cut.state().faults.cut = Some(150);
    let ring = Ring::new();
    let pinned = other.host_key.clone();
    let mut watching = Watching::new(&ring)
        .router("cut", &cut, Version::V7)
        .router("other", &other, Version::V7)
        .router("seven", &seven, Version::V7)
        .router("six", &six, Version::V6);
    let wrong = aw_tests::routeros::fingerprint(&new_key());
    watching.replace(&pinned, &wrong);
    let check = || {
        let mut command = watching.command();
        command.args(["check", "--format", "json"]);
        run(command)
    };
    let found = check().refused("aw-routeros", &["3 of 4 routers cannot be followed"]);
    let found: Vec<Value> =
        found.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let field = |router: usize, name: &str| found[router][name].as_str().unwrap().to_owned();
    let names: Vec<_> = (0..4).map(|at| field(at, "router")).collect();
    assert_eq!(names, ["cut", "other", "seven", "six"]);
    for (router, ok) in [false, false, true, false].into_iter().enumerate() {
        assert_eq!(found[router]["ok"], ok, "{found:?}");
        if router != 1 {
            for name in ["login", "log"] {
                assert_eq!(field(router, name), "ok", "{found:?}");
            }
            assert!(field(router, "clock").ends_with(" s"), "2001 is long ago: {found:?}");
        }
    }
    assert!(field(0, "export").contains("in the middle of a line"), "{found:?}");
    assert!(field(1, "host_key").contains("ITS HOST KEY HAS CHANGED"), "{found:?}");
    for key in [&wrong, &pinned] {
        assert!(field(1, "host_key").contains(key.as_str()), "expected, and got: {found:?}");
    }
    assert_eq!(other.counts(), (0, 0), "no password is sent to a machine with a wrong key");
    assert_eq!((field(2, "rights"), field(3, "rights")), ("ok".into(), "ok".into()));
    assert_eq!(
        (field(2, "rule"), field(2, "export")),
        ("ok".into(), "ok, 5 lines, RouterOS 7.14.2".into())
    );
    assert!(field(3, "rule").starts_with("none for info"), "{found:?}");
    assert_eq!(field(3, "export"), "ok, 5 lines, RouterOS 6.49.18");
    cut.shut_down();
    cut.boot(None);
    let mut command = watching.command();
    command.args(["check", "nobody"]);
    run(command).refused("aw-routeros", &["nobody: no router of this name"]); // plain-words: ok
}

/// The legacy `config.txt`: no mail if it is off, and its intervals are reported as ignored.
#[test]
fn the_legacy_configuration() {
    let router = Router::start(Version::V6);
    let directory = tempfile::tempdir().unwrap();
    let text = "[DEFAULT]\nLOG_FILE_NAME = watch.log\nLOG_WATCH_INTERVAL = 0.05\nRECONNECT_INTERVAL = 5\n\
        ENABLE_EMAIL = False\nMAIL_SERVER = 127.0.0.1:1\nMAIL_FROM = a@example.org\nMAIL_TO = b@example.org\n";
    fs::write(directory.path().join("config.txt"), text).unwrap();
    let address = router.address.to_string();
    let mut command =
        program("aw-routeros", &[&address, "admin", "--legacy", "--host-key", &router.host_key]);
    command.current_dir(directory.path());
    let mut legacy = Run::start(command);
    std::io::Write::write_all(&mut legacy.stdin.take().unwrap(), b"secret\n").unwrap();
    legacy.stderr.wait_for("config.txt: log_watch_interval, reconnect_interval: ignored");
    legacy.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    legacy.stdout.wait_for("+/ip dns set servers=192.0.2.53");
    let ended = legacy.stop().ok();
    assert!(!ended.stderr.contains("mail"), "{}", ended.stderr);
    let log = fs::read_to_string(directory.path().join("watch.log")).unwrap();
    assert!(log.contains("changed by alice") && log.contains("+/ip dns"), "{log}");
}

/// Entries older than `keep_days` are removed from each file of the archive; later ones stay unchanged.
#[test]
fn old_entries_are_removed() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching =
        Watching::new(&ring).global("keep_days = 30").router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    router.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("changed by alice (+1 -0)");
    daemon.stop().ok();
    let at = |name: &str| watching.archive("core1").join(name);
    let read = |name: &str| fs::read_to_string(at(name)).unwrap();
    let names = |directory: &str| {
        let entries = fs::read_dir(at(directory)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    // The same entries six years ago; and a change of a user without later ones.
    let texts = ["diff.txt", "users/alice.diff", "changes.jsonl", "log.txt"];
    let young = texts.map(read);
    let year = young[0][..4].to_owned();
    for (name, text) in texts.iter().zip(&young) {
        fs::write(at(name), text.replace(&format!("{year}-"), "2020-") + text).unwrap();
    }
    fs::write(at("users/eve.diff"), young[0].replace(&format!("{year}-"), "2020-")).unwrap();
    fs::write(at("snapshots/20200101T000000Z.rsc"), "old").unwrap();
    fs::write(at("refused/20200101T000000Z.rsc"), "old").unwrap();
    let kept = names("snapshots")[1..].to_vec();
    // Old entries are removed once a day: the last time was long ago.
    let mut state: Value = serde_json::from_str(&read("state.json")).unwrap();
    assert!(state["tidied"].is_string(), "{state}");
    state["tidied"] = "2020-01-01T00:00:00Z".into();
    fs::write(at("state.json"), state.to_string()).unwrap();
    let daemon = watching.start();
    wait_until("old entries are removed", || !read("state.json").contains("2020-01-01"));
    daemon.stop().ok();
    for (name, young) in texts.iter().zip(&young) {
        let left = read(name);
        assert!(left.starts_with(young) && !left.contains("2020-"), "{name}: {left}");
        assert_eq!(fs::metadata(at(name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(read("diff.txt"), young[0]);
    assert_eq!((names("users"), names("refused")), (vec!["alice.diff".to_owned()], Vec::new()));
    assert_eq!(names("snapshots"), kept);
}

/// The legacy mail is encrypted if the server offers it, without checking the certificate.
#[test]
fn the_legacy_mail_is_encrypted_if_possible() {
    let (router, directory) = (Router::start(Version::V7), tempfile::tempdir().unwrap());
    let certificates = directory.path().join("tls");
    make_certificates(&certificates);
    for offer in ["offered", "none"] {
        let sink = MailSink::protected(offer, &certificates);
        let text = format!(
            "[DEFAULT]\nMAIL_SERVER = 127.0.0.1:{}\nMAIL_FROM = a@example.org\nMAIL_TO = b@example.org\n",
            sink.port
        );
        fs::write(directory.path().join("config.txt"), text).unwrap();
        let address = router.address.to_string();
        let mut command =
            program("aw-routeros", &[&address, "admin", "--host-key", &router.host_key]);
        command.current_dir(directory.path());
        let mut legacy = Run::start(command);
        std::io::Write::write_all(&mut legacy.stdin.take().unwrap(), b"secret\n").unwrap();
        legacy.stderr.wait_for("first contact");
        router.add("alice", &format!("/ip dns set servers=192.0.2.{}", sink.port % 250));
        let mail = sink.wait_for(&["changed by alice"]);
        let encrypted = mail.lines().nth(1) == Some("ENCRYPTED");
        assert_eq!(encrypted, offer == "offered", "{mail}");
        legacy.stop().ok();
    }
}

/// In `check`, a section that failed in the base may fail, another one may not.
#[test]
fn check_compares_with_the_base() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    router.state().faults.marks = vec!["#error exporting /system/routerboard".into()];
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("show_sensitive = true");
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
    let check = || {
        let mut command = watching.command();
        command.arg("check");
        run(command)
    };
    let found = check().ok().stdout;
    assert!(found.contains("  ok  ") && !found.contains("missing"), "{found}");
    router.state().faults.no_secrets = true;
    assert!(check().ok().stdout.contains("  sensitive missing  "));
    router.state().faults.marks.push("#error exporting /ip socks".into());
    let found = check().refused("aw-routeros", &["1 of 1 router cannot be followed"]).stdout;
    assert!(found.contains("the router failed to export /ip socks"), "{found}");
}

/// The legacy command line ends with an error after a wrong password.
#[test]
fn a_wrong_password_ends_it() {
    let (router, directory) = (Router::start(Version::V7), tempfile::tempdir().unwrap());
    let address = router.address.to_string();
    let mut command = program("aw-routeros", &[&address, "admin", "--host-key", &router.host_key]);
    command.current_dir(directory.path());
    let ended = aw_tests::rig::run_with(command, b"wrong\n");
    let last = ended.stderr.lines().last().unwrap();
    assert_eq!(
        last,
        format!(
            "aw-routeros: {address}: not followed, because the login was refused (check user and password)"
        )
    );
    assert!(ended.stderr.contains("login refused"), "{}", ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(router.counts(), (0, 1));
}

/// An `add` that fails leaves no files.
#[test]
fn a_failed_add_leaves_no_files() {
    let (router, directory) = (Router::start(Version::V7), tempfile::tempdir().unwrap());
    let config = directory.path().join("routeros.toml");
    let text = "archive = \"/nowhere\"\nrouter = [{ name = \"x\", address = \"192.0.2.1\", user = \"x\", agent = true }]\n";
    fs::write(&config, text).unwrap();
    let address = router.address.to_string();
    let add = || {
        let more = ["--name", "core1", "--login", "admin", "--host-key", &router.host_key];
        let mut add = program("aw-routeros", &["add", &address]);
        add.args(more).arg("-c").arg(&config);
        aw_tests::rig::run_with(add, b"secret\n")
    };
    add().refused("aw-routeros", &["with an entry for core1 at its end: line"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    // It does not overwrite an existing password file.
    fs::write(&config, "archive = \"/nowhere\"").unwrap();
    fs::write(directory.path().join("core1.pass"), "old\n").unwrap();
    add().refused("aw-routeros", &["core1.pass", "exists"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), "archive = \"/nowhere\"");
    assert_eq!(fs::read_to_string(directory.path().join("core1.pass")).unwrap(), "old\n");
}

/// `remove` undoes `add`: the file is as before, and the password file is gone. The archive stays, and is named.
#[test]
fn what_was_added_is_removed() {
    let (router, directory) = (Router::start(Version::V7), tempfile::tempdir().unwrap());
    let at = |name: &str| directory.path().join(name);
    let config = at("routeros.toml");
    let text = format!("archive = {:?}\nring = \"\"\n", at("archive"));
    fs::write(&config, &text).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = program("aw-routeros", arguments);
        command.arg("-c").arg(&config);
        aw_tests::rig::run_with(command, b"secret\n")
    };
    let address = router.address.to_string();
    for name in ["core1", "core2"] {
        let more = ["--name", name, "--login", "admin", "--host-key", &router.host_key];
        command(&[&["add", &*address][..], &more].concat()).ok();
    }
    let daemon = Run::start({
        let mut daemon = program("aw-routeros", &["-c"]);
        daemon.arg(&config);
        daemon
    });
    daemon.stderr.wait_for("core1: first contact");
    daemon.stop().ok();
    let both = fs::read_to_string(&config).unwrap();
    for (name, why) in [("core11", "did you mean core1?"), ("x", "no router of this name")] {
        command(&["remove", name]).refused("aw-routeros", &[why, "nothing was changed"]);
    }
    fs::write(&config, format!("{both}via = \"core1\"\n")).unwrap();
    let through = "core2 is connected to through it";
    command(&["remove", "core1"]).refused("aw-routeros", &["core1: ", through]);
    let jump = "\n[[jump_host]]\nname = \"j\"\naddress = \"192.0.2.1\"\nuser = \"a\"\nkey_file = \"/k\"\nvia = \"core1\"\n";
    fs::write(&config, format!("{both}{jump}")).unwrap();
    let through = "j is connected to through it";
    command(&["remove", "core1"]).refused("aw-routeros", &["core1: ", through]);
    // All, or none: the entry of core3 has no heading of its own.
    fs::create_dir(at("inc")).unwrap();
    let braces =
        "router = [{ name = \"core3\", address = \"192.0.2.3\", user = \"a\", agent = true }]\n";
    fs::write(at("inc/a.toml"), braces).unwrap();
    let with_include = format!("include = \"inc\"\n{both}");
    fs::write(&config, &with_include).unwrap();
    let by_hand = "its entry in ";
    command(&["remove", "core1", "core3"]).refused("aw-routeros", &["core3: ", by_hand]);
    assert_eq!(fs::read_to_string(&config).unwrap(), with_include);
    assert!(at("core1.pass").exists());
    // What another names stays: here that of mail.
    let pass = at("core1.pass");
    let mail = format!(
        "\n[mail]\nserver = \"192.0.2.1\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\nuser = \"a\"\npassword_file = {pass:?}\n"
    );
    fs::write(&config, format!("{both}{mail}")).unwrap();
    command(&["remove", "core1"]).ok();
    assert!(pass.exists());
    // A link is the user's own.
    fs::write(&config, &both).unwrap();
    fs::rename(&pass, at("own")).unwrap();
    std::os::unix::fs::symlink(at("own"), &pass).unwrap();
    command(&["remove", "core1"]).ok();
    assert!(pass.is_symlink());
    fs::remove_file(&pass).unwrap();
    fs::rename(at("own"), &pass).unwrap();
    fs::write(&config, &both).unwrap();
    let removed = command(&["remove", "core1", "core2", "core1"]).ok().stdout;
    for line in [
        format!("core1 is removed from {}:\n[[router]]\nname = \"core1\"\n", config.display()),
        format!("{}, its password, is removed\n", at("core1.pass").display()),
        format!("what was archived of core1 stays in {} (", at("archive/core1").display()),
        "next: systemctl reload aw-routeros ".into(),
    ] {
        assert!(removed.contains(&line), "{line}: {removed}");
    }
    assert_eq!(fs::read_to_string(&config).unwrap(), text);
    let left = [at("core1.pass"), at("core2.pass"), at("archive/core1/latest.rsc")];
    assert_eq!(left.map(|path| path.exists()), [false, false, true]);
    // A password file of the user's own stays.
    fs::write(&config, both.replace("core1.pass", "own.pass")).unwrap();
    fs::write(at("own.pass"), "secret\n").unwrap();
    let removed = command(&["remove", "core1"]).ok().stdout;
    let own = at("own.pass").display().to_string();
    let stays =
        format!("{own}, which no other router has, stays (rm {own}, if nothing else needs it)\n");
    assert!(removed.contains(&stays) && at("own.pass").exists(), "{removed}");
    fs::write(&config, &both).unwrap();
    fs::write(at("core1.pass"), "secret\n").unwrap();
    command(&["remove", "core1", "--keep-password"]).ok();
    assert!(at("core1.pass").exists());
}

/// A mistyped command before the name of a router is no host, and two routers are compared, not three.
#[test]
fn mistyped_commands() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("routeros.toml");
    let entry = |name| {
        format!(
            "[[router]]\nname = {name:?}\naddress = \"192.0.2.1\"\nuser = \"a\"\nagent = true\n"
        )
    };
    let archive = directory.path().join("archive");
    fs::write(&config, format!("archive = {archive:?}\n{}{}", entry("core1"), entry("core2")))
        .unwrap();
    let command = |arguments: &[&str]| {
        let mut command = program("aw-routeros", arguments);
        command.arg("-c").arg(&config);
        run(command)
    };
    for (typed, hint) in [
        ("shwo", "did you mean show?"),
        ("expor", "did you mean export?"),
        ("dif", "did you mean diff?"),
        ("delete", "there are: add, import, host-key, remove, log, "),
    ] {
        let why = format!("{typed}: not a command ({hint}");
        command(&[typed, "core1"]).refused("aw-routeros", &[&why]);
    }
    command(&["health"]).refused("aw-routeros", &["did you mean --health?"]);
    command(&["show", "core11"]).refused("aw-routeros", &["did you mean core1?"]);
    let two = "core2 is a router: diff compares two routers (aw-routeros diff core1 core2)";
    command(&["diff", "core1", "core2", "core1"]).refused("aw-routeros", &[two]);
}

/// A damaged base is replaced by the newest complete snapshot, with a warning; changes since then are found.
#[test]
fn a_damaged_base() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let at = |name: &str| watching.archive("core1").join(name);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
    let first = fs::read_dir(at("snapshots")).unwrap().next().unwrap().unwrap();
    let first = first.file_name().into_string().unwrap();
    fs::write(at("snapshots/20990101T000000Z.rsc"), "half").unwrap();
    for damage in ["", "# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n/ip dns se"] {
        fs::write(at("latest.rsc"), damage).unwrap();
        router.add_silently(&format!("/ip dns static add name=x{}", damage.len()));
        let daemon = watching.start();
        daemon.stderr.wait_for("latest.rsc is damaged (");
        daemon.stderr.wait_for("changed by UNKNOWN (+1 -0)");
        daemon.stop().ok();
        sink.wait_for(&["Subject: [addrwatch] core1: archive", "is damaged", "instead"]);
    }
    let diff = fs::read_to_string(at("diff.txt")).unwrap();
    assert!(diff.contains("\n+/ip dns static add name=x0\n"), "{diff}");
    fs::write(at("latest.rsc"), "").unwrap();
    for name in fs::read_dir(at("snapshots")).unwrap() {
        fs::write(name.unwrap().path(), "").unwrap();
    }
    // Reported once, although the first exports are incomplete.
    router.state().faults.cut = Some(150);
    let daemon = watching.start();
    daemon.stderr.wait_for("no snapshot is complete: the next export becomes the first one");
    daemon.stderr.wait_for("export rejected");
    router.state().faults.cut = None;
    daemon.stderr.wait_for("first contact");
    assert_eq!(daemon.stderr.text().matches("is damaged").count(), 1);
    daemon.stop().ok();
    assert!(at("snapshots").join(first).exists() && at("latest.rsc.damaged").exists());
}

/// Without `keep_days`, changes are removed with their snapshots.
#[test]
fn changes_are_removed_with_their_snapshots() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).global("keep = 2").router("core1", &router, Version::V7);
    let at = |name: &str| watching.archive("core1").join(name);
    let daemon = watching.start();
    daemon.stderr.wait_for("first contact");
    for (n, user) in ["alice", "bob", "carol"].into_iter().enumerate() {
        router.add(user, &format!("/ip dns static add name=x{n}"));
        daemon.stderr.wait_for(&format!("changed by {user} (+1 -0)"));
    }
    daemon.stop().ok();
    let log = fs::read_to_string(at("log.txt")).unwrap();
    let state = fs::read_to_string(at("state.json")).unwrap();
    let mut state: Value = serde_json::from_str(&state).unwrap();
    state["tidied"] = "2020-01-01T00:00:00Z".into();
    fs::write(at("state.json"), state.to_string()).unwrap();
    let daemon = watching.start();
    wait_until("old entries are removed", || {
        !fs::read_to_string(at("state.json")).unwrap().contains("2020-01-01")
    });
    daemon.stop().ok();
    let command = |arguments: &[&str]| {
        let mut command = watching.command();
        command.args(arguments);
        run(command).ok().stdout
    };
    let listed = command(&["log"]);
    assert!(listed.lines().count() == 3 && !listed.contains("alice"), "{listed}");
    assert!(command(&["diff", "core1"]).contains("changed by carol"));
    let diff = fs::read_to_string(at("diff.txt")).unwrap();
    let heads: Vec<_> =
        diff.lines().filter(|line| line.contains("configuration changed")).collect();
    assert!(heads.len() == 2 && heads[0].contains("by bob") && heads[1].contains("by carol"));
    assert!(!at("users/alice.diff").exists() && at("users/bob.diff").exists());
    assert!(fs::read_to_string(at("log.txt")).unwrap().starts_with(&log));
}

/// `check` has the groups of the service's user, as systemd gives them to the service.
#[test]
fn check_has_the_groups_of_the_user() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can change the user");
    }
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    fs::set_permissions(watching.file(""), Permissions::from_mode(0o755)).unwrap();
    const KEYS: u32 = 54321;
    let password = watching.file("password");
    chown(&password, Some(0), Some(KEYS)).unwrap();
    fs::set_permissions(&password, Permissions::from_mode(0o640)).unwrap();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let group_file = watching.file("group");
    fs::write(&group_file, format!("{}\nkeys:x:{KEYS}:nobody\n", groups.trim_end())).unwrap();
    let mut check = Command::new("unshare");
    let script = "mount --bind \"$1\" /etc/group && shift && exec \"$@\"";
    check.args(["--mount", "sh", "-c", script, "sh"]).arg(&group_file);
    let command = watching.command();
    check.arg(command.get_program()).args(command.get_args()).args(["-u", "nobody", "check"]);
    let found = run(check);
    if found.stderr.contains("unshare") || found.stderr.contains("mount:") {
        return skip("no namespace of mounts");
    }
    let found = found.ok();
    assert!(found.stdout.contains("ok, "), "{}", found.stdout);
}

/// A signal while a login is tried: no file without an entry stays, so that the next `add` works.
#[test]
fn add_that_is_interrupted() {
    let router = Router::start(Version::V7);
    let directory = tempfile::tempdir().unwrap();
    let (config, password) =
        (directory.path().join("routeros.toml"), directory.path().join("core1.pass"));
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, to) = (proxy.local_addr().unwrap(), router.address);
    // The first connection gives the host key, the second one hangs.
    thread::spawn(move || {
        let (mut client, _) = proxy.accept().unwrap();
        let mut server = TcpStream::connect(to).unwrap();
        let (mut from, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from, &mut back));
        thread::spawn(move || io::copy(&mut server, &mut client));
        let _hanging = proxy.accept().unwrap();
        loop {
            thread::park();
        }
    });
    let address = address.to_string();
    let arguments =
        ["add", &address, "--name", "core1", "--login", "admin", "--host-key", &router.host_key];
    let mut add = program("aw-routeros", &arguments);
    add.arg("-c").arg(&config);
    let mut add = Run::start(add);
    add.stdin.take().unwrap().write_all(b"secret\n").unwrap();
    wait_until("the password file", || password.exists());
    add.signal(Signal::INT);
    add.stderr.wait_for("a signal ended the trial of logins: nothing is added");
    wait_until("the end", || !password.exists());
    assert!(!config.exists());
}
