//! Many routers in few lines: groups and defaults, a directory of files, lists, and Oxidized's `router.db`.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{Finished, Run, program, run, run_with};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A directory with `routeros.toml` of this text, and a file with the password.
fn directory(text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    secret(&directory.path().join("password"), "secret\n");
    fs::create_dir(directory.path().join("routers.d")).unwrap();
    let path = directory.path().join("routeros.toml");
    fs::write(&path, text).unwrap();
    (directory, path)
}

fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn command(path: &Path, arguments: &[&str]) -> Command {
    let mut command = program("aw-routeros", &["-c", path.to_str().unwrap()]);
    command.args(arguments);
    command
}

fn ok(path: &Path, arguments: &[&str]) -> String {
    run(command(path, arguments)).ok().stdout
}

fn head(ring: &Ring, port: u16) -> String {
    format!(
        "archive = \"archive\"\nring = {:?}\ninclude = \"routers.d\"\n[mail]\nserver = \"127.0.0.1:{port}\"\nfrom = \"a@example.org\"\nto = [\"noc@example.org\"]\n[defaults]\nuser = \"admin\"\npassword_file = \"password\"\nsettle = 1\n",
        ring.name()
    )
}

fn entry(name: &str, router: &Router, more: &str) -> String {
    format!(
        "[[router]]\nname = {name:?}\naddress = \"{}\"\nhost_key = {:?}\n{more}\n",
        router.address, router.host_key
    )
}

/// Routers of two files log in with what the defaults and their group set, and mail about them goes to the receivers of the
/// router, of its group, or of all. A file that is added is read at SIGHUP, within the sandbox, and one with a fault changes
/// nothing.
#[test]
fn groups_files_and_receivers() {
    let (sink, ring) = (MailSink::start(), Ring::new());
    let [core, branch, quiet] = [(); 3].map(|()| Router::start(Version::V7));
    let old = Router::start(Version::V6);
    let (directory, path) = directory(&head(&ring, sink.port));
    let files = directory.path().join("routers.d");
    let group = "[group.branches]\nmail_to = [\"branches@example.org\"]\nlegacy = true\n";
    let branches = [
        group,
        &entry("branch1", &branch, "group = \"branches\""),
        &entry(
            "branch2",
            &old,
            "group = \"branches\"\nmail_to = [\"x@example.org\", \"y@example.org\"]",
        ),
        &entry("quiet", &quiet, "mail_to = []"),
    ];
    fs::write(files.join("10-core.toml"), entry("core1", &core, "")).unwrap();
    fs::write(files.join("20-branches.toml"), branches.concat()).unwrap();
    let daemon = Run::start(command(&path, &[]));
    for name in ["core1", "branch1", "branch2", "quiet"] {
        daemon.stderr.wait_for(&format!("{name}: first contact: configuration stored"));
    }
    let all = [(&quiet, "quiet"), (&core, "core1"), (&branch, "branch1"), (&old, "branch2")];
    for (router, name) in all {
        router.add("alice", "/ip dns set servers=192.0.2.53");
        daemon.stderr.wait_for(&format!("{name}: configuration changed by alice"));
    }
    for (name, to) in [
        ("core1", "noc@example.org"),
        ("branch1", "branches@example.org"),
        ("branch2", "x@example.org"),
        ("branch2", "y@example.org"),
    ] {
        let changed = format!("Subject: [addrwatch] {name}: configuration changed by alice");
        let mail = sink.wait_for(&[&changed, &format!("TO {to}\n")]);
        assert!(mail.contains(&format!("To: {to}")) || name == "branch2", "{mail}");
    }
    let mails = sink.messages();
    assert_eq!(mails.len(), 4, "none about the quiet one: {mails:?}");
    let loaded = |daemon: &Run, count: usize| {
        daemon.signal(Signal::HUP);
        daemon.stderr.wait_for(&format!("configuration loaded: {count} routers"));
    };
    // The port of a new router is not one of those at the start: it takes that of another, at another address.
    let more = files.join("30-more.toml");
    let text = entry("core2", &core, "").replace("127.0.0.1", "localhost");
    fs::write(&more, &text).unwrap();
    loaded(&daemon, 5);
    daemon.stderr.wait_for("core2: first contact: configuration stored");
    // Another receiver ends no connection.
    let connected = || core.counts().0;
    let before = connected();
    let to = "mail_to = [\"core@example.org\"]\n";
    fs::write(files.join("10-core.toml"), entry("core1", &core, to)).unwrap();
    loaded(&daemon, 5);
    core.add("carol", "/ip dns set servers=192.0.2.54");
    sink.wait_for(&["core1: configuration changed by carol", "TO core@example.org\n"]);
    assert_eq!(connected(), before);
    fs::write(&more, text + "group = \"nowhere\"\n").unwrap();
    daemon.signal(Signal::HUP);
    let refused = daemon.stderr.wait_for("the old configuration stays in effect");
    let place = "30-more.toml: line 6: group \"nowhere\": there is no [group.nowhere] (there are: branches)";
    assert!(refused.contains(place), "{refused}");
    daemon.stop().ok();
}

/// Host keys of a list are shown and confirmed once. What does not answer is listed at the end, and added by a second run.
#[test]
fn a_list_is_added() {
    let ring = Ring::new();
    let sink = MailSink::start();
    let (directory, path) = directory(&head(&ring, sink.port));
    let [one, two, away] = [(); 3].map(|()| Router::start(Version::V7));
    away.shut_down();
    let list = directory.path().join("list");
    let text = format!(
        "# site A\none {}\ntwo {} # second\n\naway {}\n",
        one.address, two.address, away.address
    );
    fs::write(&list, text).unwrap();
    let add = |more: &[&str], answer: &str| -> Finished {
        let mut command = command(&path, &["add", "--from", list.to_str().unwrap()]);
        command.args(more);
        run_with(command, answer.as_bytes())
    };
    let before = fs::read_to_string(&path).unwrap();
    let no = add(&[], "no\n").refused("aw-routeros", &["not confirmed: nothing was changed"]);
    for router in [&one, &two] {
        assert!(no.stdout.contains(&router.host_key), "{}", no.stdout);
    }
    assert_eq!(no.stdout.matches("(yes/no)").count(), 1, "one question");
    for (number, name) in [(1, "one"), (2, "two"), (3, "away")] {
        assert!(no.stdout.contains(&format!("[{number}/3] {name} ")), "{}", no.stdout);
    }
    assert!(
        no.stdout.contains("[3/3] ") && no.stdout.contains("Are all 2 the same?"),
        "{}",
        no.stdout
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    assert!(!no.stderr.contains("are not added") && no.stderr.contains("answer yes"), "{no:?}");
    let some = add(&["--group", "nowhere"], "yes\n");
    some.refused("aw-routeros", &["group \"nowhere\": there is no [group.nowhere]"]);
    let some = add(&[], "yes\n");
    let some = some.refused(
        "aw-routeros",
        &["1 router is not added", &format!("away ({})", away.address), "(try again later)"],
    );
    assert!(some.stdout.contains("2 routers are added to "), "{}", some.stdout);
    let written = fs::read_to_string(&path).unwrap();
    let added = written.strip_prefix(&before).expect("the rest is unchanged");
    let expected = |name: &str, router: &Router| {
        format!(
            "\n[[router]]\nname = {name:?}\naddress = \"{}\"\nhost_key = \"ssh-ed25519 {}\"\n",
            router.address, router.host_key
        )
    };
    assert_eq!(added, expected("one", &one) + &expected("two", &two));
    away.plug();
    let rest = add(&["--yes"], "").ok();
    assert!(
        rest.stderr.contains("2 routers are left out: the configuration has them already"),
        "{}",
        rest.stderr
    );
    assert!(fs::read_to_string(&path).unwrap().ends_with(&expected("away", &away)));
    let none = add(&["--yes"], "").ok();
    assert!(none.stdout.contains("0 routers are added"), "{}", none.stdout);
    assert!(!none.stdout.contains("next:"), "{}", none.stdout);
    let named = fs::read_to_string(&list).unwrap();
    fs::write(&list, "# none yet\n").unwrap();
    add(&["--yes"], "").refused("aw-routeros", &["the list has no routers (a line for each: "]);
    fs::write(&list, named).unwrap();
    add(&["--group", "nope"], "")
        .refused("aw-routeros", &["there are no groups: add [group.nope]"]);
    // They can be followed with what the defaults set.
    let checked = ok(&path, &["check"]);
    assert_eq!(checked.lines().count(), 5, "{checked}");
    assert!(checked.contains("\nwrong clock: one, two, away: the times in the log"), "{checked}");
}

/// Routers of Oxidized's list with its configuration: only those with RouterOS, with a password file each; nothing is
/// overwritten.
#[test]
fn the_list_of_oxidized() {
    let ring = Ring::new();
    let sink = MailSink::start();
    let text =
        head(&ring, sink.port).replace("user = \"admin\"\npassword_file = \"password\"\n", "");
    let (directory, path) = directory(&text);
    let [one, two, three] = [(); 3].map(|()| Router::start(Version::V7));
    let file = |name: &str| directory.path().join(name);
    let oxidized = "username: admin\npassword: secret\nmodel: ios\nsource:\n  default: csv\n  csv:\n    delimiter: !ruby/regexp /:/\n    map:\n      name: 0\n      ip: 1\n      model: 2\n      group: 3\n      password: 4\n    vars_map:\n      ssh_port: 5\nmodel_map:\n  mikrotik: routeros\n";
    fs::write(file("config"), oxidized).unwrap();
    let port = |router: &Router| router.address.port();
    let list = format!(
        "one:127.0.0.1:routeros:site a::{}\ntwo:127.0.0.1:mikrotik::secret:{}\nsw1:192.0.2.9:ios\nthree:127.0.0.1:routeros:::{}\n",
        port(&one),
        port(&two),
        port(&three)
    );
    fs::write(file("router.db"), list).unwrap();
    secret(&file("three.pass"), "another\n");
    let (db, config) = (file("router.db"), file("config"));
    let arguments = ["import", db.to_str().unwrap(), "--oxidized-config", config.to_str().unwrap()];
    let import = |answer: &str| run_with(command(&path, &arguments), answer.as_bytes());
    import("no\n").refused_after("not confirmed: nothing was changed");
    assert!(!file("one.pass").exists());
    let imported = import("yes\n").ok();
    for text in [
        "left out, model ios, not routeros: sw1",
        "left out, NAME.pass exists with another password (move it away): three",
    ] {
        assert!(imported.stderr.contains(text), "{text}: {}", imported.stderr);
    }
    assert!(imported.stdout.contains("2 routers are added"), "{}", imported.stdout);
    for name in ["one.pass", "two.pass"] {
        assert_eq!(fs::read_to_string(file(name)).unwrap(), "secret\n");
        assert_eq!(fs::metadata(file(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(fs::read_to_string(file("three.pass")).unwrap(), "another\n");
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.starts_with(&text) && written.contains("[group.\"site a\"]\n"), "{written}");
    assert!(!written.contains("secret"), "{written}");
    let checked = ok(&path, &["check"]);
    assert_eq!(checked.lines().count(), 4, "{checked}");
    // Again: those that are there are left out, the group is not defined twice.
    fs::remove_file(file("three.pass")).unwrap();
    let again = import("yes\n").ok();
    assert!(again.stdout.contains("1 router is added"), "{}", again.stdout);
    assert_eq!(ok(&path, &["check"]).lines().count(), 5);
    let none = run(command(&path, &["import", db.to_str().unwrap()]));
    assert!(none.stderr.contains("no router to import"), "{}", none.stderr);
}

trait RefusedAfter {
    fn refused_after(self, text: &str);
}

impl RefusedAfter for Finished {
    /// Failed with this text in its last line; messages stand before it.
    fn refused_after(self, text: &str) {
        assert_eq!(self.status.code(), Some(1), "{self:#?}");
        assert!(self.stderr.lines().last().unwrap_or_default().contains(text), "{self:#?}");
    }
}
