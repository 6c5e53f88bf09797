//! Messages of commands name what is wrong and what to do, and `add` and `check` try what the service will do, as its user.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Finished, binary, program, public_copy, run, run_with, skip};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use aw_tests::server::free_port;
use aw_tests::watching::Watching;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A directory that other users may enter, and the path of a configuration there.
fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let path = directory.path().join("routeros.toml");
    (directory, path)
}

fn command(path: &Path, arguments: &[&str]) -> Command {
    let mut command = program("aw-routeros", arguments);
    command.arg("-c").arg(path);
    command
}

fn files(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// A router is added only with a login that works; each message names what to check for this way of login.
#[test]
fn a_wrong_login_adds_nothing() {
    let router = Router::start(Version::V7);
    let (directory, path) = directory();
    let address = router.address.to_string();
    let add = |more: &[&str], input: &[u8]| {
        let mut add =
            command(&path, &["add", &address, "--name", "core1", "--host-key", &router.host_key]);
        add.args(more);
        run_with(add, input)
    };
    let wrong = add(&["--login", "admin"], b"wrong\n");
    let why = format!(
        "core1 ({address}): login refused (check user admin and the password that was given; "
    );
    wrong.refused("aw-routeros", &[&why, ": nothing was changed"]);
    assert_eq!((files(&directory), router.counts()), (vec![], (0, 1)));
    let file = directory.path().join("empty");
    secret(&file, "");
    let empty = add(&["--login", "admin", "--password-file", file.to_str().unwrap()], b"");
    empty.refused("aw-routeros", &["empty: it is empty (write the password into it)"]);
    assert_eq!(router.counts(), (0, 1), "not by the network");
    let key = directory.path().join("key");
    let made = aw_tests::routeros::new_key();
    secret(&key, &made.to_openssh(Default::default()).unwrap());
    let refused = add(&["--login", "admin", "--key-file", key.to_str().unwrap()], b"");
    refused.refused("aw-routeros", &["check user and key: admin needs the public key of /"]);
    assert!(!path.exists());
    // The question that has no answer is named, with its option.
    let none = run(command(&path, &["add", &address, "--login", "admin"]));
    none.refused("aw-routeros", &["Name: no answer on standard input (set --name)"]);
    add(&[], b"").refused("aw-routeros", &["Login: no answer on standard input (set --login)"]);
    let none = add(&["--login", "admin"], b"");
    none.refused("aw-routeros", &["Password: no answer", "--password-file, --key-file or --agent"]);
    let swapped = command(&path, &["add", &address, "--name", "192.0.2.1"]);
    run(swapped).refused(
        "aw-routeros",
        &["192.0.2.1 is an address and stands in the place of the name, before 127.0.0.1"],
    );
    // y is yes.
    let mut yes = command(&path, &["add", &address, "--name", "core1", "--login", "admin"]);
    yes.arg("--group").arg("x");
    run(yes).refused("aw-routeros", &["group \"x\": there is no [group.x] (there are no groups: "]);
    let yes = command(&path, &["add", &address, "--name", "core1", "--login", "admin"]);
    run_with(yes, b"y\nsecret\n").ok();
    // The same router again is pointed out, and so is a key that is not the expected one.
    let again = ["add", &address, "--name", "rx", "--login", "admin", "--host-key"];
    let other = aw_tests::routeros::fingerprint(&aw_tests::routeros::new_key());
    let other = run(command(&path, &[&again[..], &[other.as_str()]].concat()));
    let why = format!("{address}: it shows the host key ssh-ed25519 {}, and not", router.host_key);
    other
        .refused("aw-routeros", &[&why, "nothing was changed (compare both with the router's own"]);
    let again = command(&path, &[&again[..], &[router.host_key.as_str()]].concat());
    let again = run_with(again, b"wrong\n");
    let twice = format!("rx has the address of core1, {address}: one router, followed twice (keep");
    assert!(again.stderr.contains(&twice), "{}", again.stderr);
    assert_eq!(again.status.code(), Some(1), "{}", again.stderr);
    assert!(again.stderr.contains(": nothing was changed"), "{}", again.stderr);
    let yes = run(command(&path, &["add", &address, "--yes"]));
    assert!(yes.stderr.contains("'[HOST]' cannot be used with '--yes'"), "{}", yes.stderr);
    let closed = format!("127.0.0.1:{}", free_port());
    let off = run(command(&path, &["add", &closed, "--name", "off", "--login", "admin"]));
    off.refused("aw-routeros", &["SSH is off, or has another port", ": nothing was changed"]);
    // Without the directory, no message could name what denies access to it.
    let mut relative = command(Path::new("none.toml"), &["check"]);
    relative.current_dir(directory.path());
    let shown = directory.path().join("none.toml");
    run(relative).refused("aw-routeros", &[&format!("read {}: ", shown.display())]);
    let list = directory.path().join("list");
    fs::write(&list, format!("again {address}\n")).unwrap();
    let file = directory.path().join("core1.pass");
    let mut again = command(&path, &["add", "--yes", "--login", "admin"]);
    again.arg("--from").arg(&list).arg("--password-file").arg(&file);
    let again = run(again).ok();
    assert!(again.stdout.contains("\n1 router is added to "), "{}", again.stdout);
    let twice = format!("again has the address of core1, {address}: one router, followed twice");
    assert!(again.stderr.contains(&twice), "{}", again.stderr);
    assert!(run(command(&path, &["check"])).ok().stderr.contains(&twice));
}

/// `add HOST` has the login of `[defaults]`, as `add --from` has it, and no empty answer is sent to a router.
#[test]
fn defaults_and_empty_answers() {
    let (one, two) = (Router::start(Version::V7), Router::start(Version::V7));
    let (directory, path) = directory();
    let add = |name: &str, router: &Router, input: &[u8]| {
        let (address, key) = (router.address.to_string(), &router.host_key);
        run_with(command(&path, &["add", &address, "--name", name, "--host-key", key]), input)
    };
    let empty = "it is empty: nothing was sent (";
    add("core1", &one, b"\n").refused("aw-routeros", &["Login: ", empty]);
    add("core1", &one, b"admin\n\n").refused("aw-routeros", &["Password: ", empty]);
    assert_eq!((files(&directory), one.counts()), (vec![], (0, 0)));
    let added = add("core1", &one, b"admin\nsecret\n").ok().stdout;
    let next = format!("(next: aw-routeros -c {} check core1; ", path.display());
    assert!(added.contains(&next) && added.contains("no mail is sent before"), "{added}");
    let password = directory.path().join("all.pass");
    secret(&password, "secret\n");
    let mut text = fs::read_to_string(&path).unwrap();
    text += "\n[defaults]\nuser = \"admin\"\npassword_file = \"all.pass\"\n";
    fs::write(&path, &text).unwrap();
    let added = add("core2", &two, b"").ok();
    assert!(added.stderr.contains("login: user admin, password_file /"), "{}", added.stderr);
    let entry = format!(
        "\n[[router]]\nname = \"core2\"\naddress = \"{}\"\nhost_key = \"ssh-ed25519 {}\"\n",
        two.address, two.host_key
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), text + &entry);
    assert_eq!(files(&directory), ["all.pass", "core1.pass", "routeros.toml"]);
    // What stands in a password file by mistake is named.
    secret(&password, "\nsecret\n");
    let checked = || run(command(&path, &["check", "core2"])).stdout;
    assert!(checked().contains("its first line is empty"), "{}", checked());
    secret(&password, "secret \n");
    assert!(checked().contains("begins or ends with a blank"), "{}", checked());
}

/// A wrong password that all routers of a list share is tried at two of them. What RouterOS 6 needs is an option of the
/// command, and each reason is printed once.
#[test]
fn lists() {
    let routers: Vec<_> = (0..4).map(|_| Router::start(Version::V7)).collect();
    let old: Vec<_> = (0..2).map(|_| Router::start(Version::V6)).collect();
    let (directory, path) = directory();
    let (list, password) = (directory.path().join("list"), directory.path().join("password"));
    let line = |(n, router): (usize, &Router)| format!("r{n} {}\n", router.address);
    fs::write(&list, routers.iter().chain(&old).enumerate().map(line).collect::<String>()).unwrap();
    let add = |more: &[&str]| -> Finished {
        let mut add = command(&path, &["add", "--yes", "--login", "admin"]);
        add.arg("--from").arg(&list).arg("--password-file").arg(&password).args(more);
        run(add)
    };
    secret(&password, "wrong\n");
    let refused = add(&[]);
    assert_eq!(refused.status.code(), Some(1));
    let last = "aw-routeros: 6 routers are not added (the lines before this one)\n";
    assert!(refused.stderr.ends_with(last), "{refused:?}");
    // Each reason in a line of its own.
    assert!(refused.stderr.contains("aw-routeros: not added: r4 ("), "{refused:?}");
    let tried = routers.iter().map(|router| router.counts().1).sum::<usize>();
    assert!((1..=2).contains(&tried), "{tried} logins with the same wrong password");
    for once in
        ["check user admin and the password", "no common key exchange", "r0 (", "r3 (", "r5 ("]
    {
        assert_eq!(refused.stderr.matches(once).count(), 1, "{once}: {}", refused.stderr);
    }
    assert!(!path.exists() && refused.stdout.contains("0 routers are added"));
    secret(&password, "secret\n");
    let some = add(&[]).refused("aw-routeros", &["2 routers are not added: r4 (", "), r5 ("]);
    let remedy = "(RouterOS 6: the same command again with --legacy)";
    assert_eq!(some.stderr.matches("legacy").count(), 1, "{}", some.stderr);
    assert!(some.stderr.contains(remedy) && !some.stderr.contains("later"), "{}", some.stderr);
    assert!(some.stdout.contains("4 routers are added to "), "{}", some.stdout);
    // One of them has a key exchange of 1024 bits only.
    old[1].state().faults.group1 = true;
    old[1].shut_down();
    old[1].plug();
    let rest = add(&["--legacy"]).ok();
    assert!(rest.stdout.contains("2 routers are added to "), "{}", rest.stdout);
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written.matches("legacy = true\n").count(), 2, "{written}");
    let checked = run(command(&path, &["check"])).ok().stdout;
    let rows: Vec<_> = checked.lines().filter(|line| line.starts_with('r')).collect();
    assert_eq!(rows.len(), 6, "{checked}");
}

/// `check` reads the files and tries the archive as the user of the service, and names `chown`.
#[test]
fn check_is_the_user_of_the_service() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can give files away");
    }
    let (router, sink) = (Router::start(Version::V7), MailSink::start());
    let (directory, path) = directory();
    let at = |name: &str| directory.path().join(name);
    let known = fs::read_to_string("/etc/passwd").unwrap();
    let others = known.lines().filter(|line| !line.starts_with("aw-routeros:"));
    let all = others.chain(["aw-routeros:x:64322:64322::/nonexistent:/bin/false", ""]);
    fs::write(at("passwd"), all.collect::<Vec<_>>().join("\n")).unwrap();
    let text = format!(
        "archive = \"archive\"\nring = \"\"\n[mail]\nserver = \"127.0.0.1:{}\"\nfrom = \"a@example.org\"\nto = [\"noc@example.org\"]\n[[router]]\nname = \"core1\"\naddress = \"{}\"\nuser = \"admin\"\npassword_file = \"password\"\nhost_key = \"{}\"\n",
        sink.port, router.address, router.host_key
    );
    secret(&path, &text);
    secret(&at("password"), "secret\n");
    fs::create_dir(at("archive")).unwrap();
    let check = |more: &[&str]| {
        let script = "mount --bind \"$1\" /etc/passwd; shift; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", script, "sh"]).arg(at("passwd"));
        command.arg(binary("aw-routeros")).arg("check").args(more).arg("-c").arg(&path);
        run(command)
    };
    let give = |name: &str| chown(at(name), Some(64322), Some(64322)).unwrap();
    let chown = |name: &str| format!("chown aw-routeros {})", at(name).display());
    check(&[]).refused(
        "aw-routeros",
        &["routeros.toml: permission denied (aw-routeros must", &chown("routeros.toml")],
    );
    give("routeros.toml");
    fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).unwrap();
    let enter = format!(
        "(aw-routeros is not allowed to enter {0}: chmod o+x {0})",
        directory.path().display()
    );
    check(&[]).refused("aw-routeros", &[&enter]);
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let refused = check(&[]);
    let why = format!(
        "use {0}: it does not belong to aw-routeros (chown -R aw-routeros {0})",
        at("archive").display()
    );
    assert!(refused.stderr.contains(&why), "{}", refused.stderr);
    assert!(refused.stdout.contains(&chown("password")), "{}", refused.stdout);
    let last = refused.stderr.lines().last().unwrap();
    assert!(last.contains(
        "1 of 1 router cannot be followed; 1 fault of the service (the lines before this one)"
    ));
    give("password");
    give("archive");
    check(&[]).ok();
    assert_eq!(sink.count(), 0);
    assert!(fs::read_dir(at("archive")).unwrap().next().is_none(), "nothing is left there");
    // The user may be another one.
    let mut other = program("aw-routeros", &["-u", "nobody", "check", "-c"]); // plain-words: ok
    other.arg(&path);
    run(other).refused("aw-routeros", &["(nobody must be able to read it"]); // plain-words: ok
}

/// One test mail to each list of recipients, those of routers too; a refusal is a failure of `check`.
#[test]
fn a_test_mail() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let watching = Watching::new(&ring)
        .mail(sink.port)
        .router("core1", &router, Version::V7)
        .option("mail_to = [\"core@example.org\"]");
    let check = || {
        let mut command = watching.command();
        command.args(["check", "--send"]);
        run(command)
    };
    assert!(check().ok().stderr.contains("the mail server has accepted the test mail"));
    for list in ["core@example.org", "noc@example.org"] {
        sink.wait_for(&["Subject: [addrwatch] test\n", &format!("TO {list}\n")]);
    }
    assert_eq!(sink.count(), 2);
    sink.answer_for("core@example.org", "550 no such user");
    let refused = check();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("test mail: "), "{}", refused.stderr);
    assert!(refused.stderr.contains("(to core@example.org)"), "{}", refused.stderr);
    let mut watching = watching;
    watching.replace_mail("noc@example.org", "noc");
    let why = "mail: to: mail address \"noc\": ";
    let mut command = watching.command();
    command.arg("check");
    run(command).refused("aw-routeros", &[why, "(write NAME@DOMAIN)"]);
    let without = Watching::new(&ring).router("core1", &router, Version::V7);
    let mut command = without.command();
    command.args(["check", "--send"]);
    let none = run(command);
    assert!(none.stderr.contains("no mail is configured (add the table [mail])"), "{none:?}");
    assert_eq!(none.status.code(), Some(1));
}

/// Without `--send`, `check` connects to the mail server and sends nothing.
#[test]
fn check_tries_the_mail_server() {
    let (router, sink, ring) = (Router::start(Version::V7), MailSink::start(), Ring::new());
    let mut watching = Watching::new(&ring).mail(sink.port).router("core1", &router, Version::V7);
    let check = |watching: &Watching| {
        let mut command = watching.command();
        command.arg("check");
        run(command)
    };
    check(&watching).ok();
    assert_eq!(sink.count(), 0);
    let down = free_port();
    watching.replace_mail(&sink.port.to_string(), &down.to_string());
    let refused = check(&watching);
    let why = format!("aw-routeros: mail server 127.0.0.1:{down}: ");
    assert!(refused.stderr.contains(&why), "{}", refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
}

/// A line of a list with a known name and another address is another router, which is not left out without a word.
#[test]
fn a_known_name_with_another_address() {
    let (one, two) = (Router::start(Version::V7), Router::start(Version::V7));
    let (directory, path) = directory();
    let (list, password) = (directory.path().join("list"), directory.path().join("password"));
    secret(&password, "secret\n");
    let add = |lines: &str| {
        fs::write(&list, lines).unwrap();
        let mut add = command(&path, &["add", "--yes", "--login", "admin"]);
        add.arg("--from").arg(&list).arg("--password-file").arg(&password);
        run(add)
    };
    add(&format!("core1 {}\n", one.address)).ok();
    let text = fs::read_to_string(&path).unwrap();
    let not_added = format!(
        "1 router is not added: core1 ({}): the configuration has a router of this name with the address {} (",
        two.address, one.address
    );
    let again = format!("core1 {}\n", two.address);
    let refused = add(&again).refused("aw-routeros", &[&not_added]);
    assert!(!refused.stderr.contains("left out"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    add(&format!("{again}core2 {}\n", two.address)).refused("aw-routeros", &[&not_added]);
    assert!(fs::read_to_string(&path).unwrap().contains("\"core2\""), "the others are added");
}

/// `--health` and `show` name a daemon that runs on with the configuration before a mistake; `show` one that was killed.
#[test]
fn what_the_daemon_does_meanwhile() {
    let (router, ring) = (Router::start(Version::V7), Ring::new());
    let watching = Watching::new(&ring).router("core1", &router, Version::V7);
    let daemon = watching.start();
    daemon.stderr.wait_for("core1: first contact");
    let path = watching.file("routeros.toml");
    let with = |argument: &str| run(command(&path, &[argument]));
    assert_eq!(with("show").ok().stderr, "");
    let right = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{right}legacy = yes\n")).unwrap();
    let old = "legacy: write true or false: the running aw-routeros keeps its old configuration";
    // What only reads the archive works all the same.
    let shown = with("show").ok();
    assert!(shown.stderr.contains(old) && shown.stdout.contains("core1"), "{shown:?}");
    let health = with("--health");
    assert!(health.stdout.contains(old) && health.status.code() == Some(1), "{health:?}");
    daemon.signal(rustix::process::Signal::HUP);
    daemon.stderr.wait_for("the old configuration stays in effect");
    daemon.kill();
    let alone = with("show").ok();
    assert!(alone.stderr.contains("legacy: write true or false"), "{}", alone.stderr);
    assert!(!alone.stderr.contains("running"), "{}", alone.stderr);
    fs::write(&path, right).unwrap();
    let shown = with("show").ok();
    let stopped = "does not run (systemctl start aw-routeros): the states are of 20";
    assert!(shown.stderr.contains(stopped) && shown.stdout.contains("connected"), "{shown:?}");
}

/// What has no router says so, with the command that adds one.
#[test]
fn no_routers() {
    let (_directory, path) = directory();
    let missing = "no such file or directory (aw-routeros add HOST creates it; -c names another)";
    run(command(&path, &["show"])).refused("aw-routeros", &[missing]);
    fs::write(&path, "archive = \"archive\"\nring = \"\"\n").unwrap();
    let none = run(command(&path, &["check"])).refused("aw-routeros", &["no routers in "]);
    assert!(none.stderr.contains("(aw-routeros add HOST adds one)"), "{}", none.stderr);
    let shown = run(command(&path, &["show"])).ok();
    assert!(shown.stderr.contains("(aw-routeros add HOST adds one)"), "{}", shown.stderr);
}

/// A long reason stands once, below the table; both tables have the order of the file.
#[test]
fn narrow_tables() {
    let ring = Ring::new();
    let away = Router::start(Version::V7);
    away.shut_down();
    let mut watching = Watching::new(&ring);
    for name in ["r1", "r2", "r10"] {
        watching = watching
            .entry(name, &away.address.to_string())
            .option("user = \"admin\"\nkey_file = \"/nowhere/with/a/name/that/is/long\"")
            .option(&format!("source = \"127.0.0.{}\"", name.len()));
    }
    let mut command = watching.command();
    command.arg("check");
    let found = run(command);
    let lines: Vec<_> = found.stdout.lines().collect();
    assert!(lines[0].starts_with("ROUTER") && lines[0].contains("HOST KEY"), "{found:?}");
    for (line, name) in lines[1..4].iter().zip(["r1 ", "r2 ", "r10 "]) {
        assert!(line.starts_with(name) && line.contains("  (1)  ") && line.len() < 100, "{line}");
    }
    assert!(lines.len() == 5 && lines[4].starts_with("(1) read /nowhere/with"), "{found:?}");
}

/// A person who may not read the archive is named, and the group that would help.
#[test]
fn a_person_without_the_group() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can become another user");
    }
    let (directory, path) = directory();
    let programs = public_copy(&["aw-routeros"]);
    let (archive, program) =
        (directory.path().join("archive"), programs.path().join("aw-routeros"));
    fs::write(&path, "archive = \"archive\"\nring = \"\"\n").unwrap();
    fs::create_dir(&archive).unwrap();
    let log = |what: &str| {
        let mut command = Command::new(&program);
        command.arg("-c").arg(&path).arg(what).uid(65534).gid(65534);
        run(command)
    };
    fs::set_permissions(&archive, Permissions::from_mode(0o700)).unwrap();
    let last = |finished: Finished| finished.stderr.lines().last().unwrap().to_owned();
    let refused = last(log("log"));
    let remedy = "(you are nobody, and it belongs to root: use sudo)"; // plain-words: ok
    assert!(refused.contains(remedy), "{refused}");
    let checked = run({
        let mut command = Command::new(&program);
        command.arg("-c").arg(&path).arg("check").uid(65534).gid(65534);
        command
    });
    assert!(!checked.stderr.contains("chown"), "{}", checked.stderr);
    let group = fs::read_to_string("/etc/group").unwrap();
    if let Some(adm) = group.lines().find_map(|line| line.strip_prefix("adm:x:")) {
        chown(&archive, None, adm.split(':').next().and_then(|id| id.parse().ok())).unwrap();
        fs::set_permissions(&archive, Permissions::from_mode(0o750)).unwrap();
        for what in ["log", "show"] {
            let refused = last(log(what));
            let remedy = "(you are nobody: adduser nobody adm, then log in again; or use sudo)"; // plain-words: ok
            assert!(refused.contains(remedy), "{refused}");
        }
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(last(log("log")).contains("routeros.toml: permission denied (you are "));
}

/// A mistake names the help of the command that was meant.
#[test]
fn the_help_of_the_command() {
    for (arguments, help) in [
        (&["log", "r1", "r2"][..], "(aw-routeros log --help lists the options)"),
        (&["--since", "7d", "log"], "(did you mean `log --since`? aw-routeros log --help"),
        (&["--sinc"], "(aw-routeros --help lists the options)"),
    ] {
        let finished = run(program("aw-routeros", arguments));
        assert_eq!(finished.status.code(), Some(2));
        assert!(finished.stderr.contains(help), "{}", finished.stderr);
    }
    let order = run(program("aw-routeros", &["192.0.2.1", "log"]));
    order.refused("aw-routeros", &["192.0.2.1: a command stands before its router"]);
}
