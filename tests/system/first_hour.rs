//! Mistakes of the first hour, each with the message that leads on: who this is and what is lacking, and a `--check` that finds
//! what the service would meet, with real servers.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use aw_tests::mail_sink::MailSink;
use aw_tests::mariadb::MariaDb;
use aw_tests::mosquitto::Mosquitto;
use aw_tests::rig::{Finished, Run, binary, program, public_copy, run, skip};
use aw_tests::ring::Ring;
use aw_tests::server::free_port;
use aw_tests::sightings::{capture, handover};
use aw_tests::web_sink::WebSink;
use tempfile::TempDir;

/// The user of the services: packages create one for each.
const SERVICE: (&str, u32) = ("daemon", 1);
const NO_USER: u32 = 65534;

/// A directory that all users can enter, with one of the service; a ring without events.
struct Place {
    directory: TempDir,
    ring: Ring,
}

impl Place {
    /// None without root, who alone can become the service's user.
    fn new() -> Option<Place> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can check as another user");
            return None;
        }
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let place = Place { directory, ring: Ring::new() };
        fs::set_permissions(place.directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(place.path("state")).unwrap();
        place.give("state");
        Some(place)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A directory of root alone.
    fn private(&self, name: &str) {
        fs::create_dir(self.path(name)).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o700)).unwrap();
    }

    /// A file of root alone.
    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
        self.text(name)
    }

    /// Gives a file or directory to the service.
    fn give(&self, name: &str) {
        chown(self.path(name), Some(SERVICE.1), Some(SERVICE.1)).unwrap();
    }

    /// A program as root starts it for the service.
    fn command(&self, name: &str, options: &[&str]) -> Command {
        let mut command = program(name, &["-u", SERVICE.0, "--ring", self.ring.name()]);
        command.arg("--state-dir").arg(self.path("state")).args(options);
        for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command
    }

    fn check(&self, name: &str, options: &[&str]) -> Finished {
        run(self.command(name, &[&["--check"], options].concat()))
    }

    /// Checks aw-alert with this configuration.
    fn check_alert(&self, config: &str) -> Finished {
        let config = self.write("alert.toml", config);
        self.give("alert.toml");
        self.check("aw-alert", &["-c", &config])
    }
}

/// A channel with mail to this port, and more keys.
fn mail(port: u16, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"mail\"\nsmtp = {{ server = \"127.0.0.1:{port}\", from = \"aw@example.org\", to = [\"noc@example.org\"]{more} }}\n"
    )
}

fn webhook(port: u16) -> String {
    format!("[[channel]]\nname = \"hook\"\nwebhook = {{ url = \"http://127.0.0.1:{port}/\" }}\n")
}

#[test]
fn a_password_that_only_root_can_read() {
    let Some(place) = Place::new() else { return };
    let sink = MailSink::start();
    let file = place.write("password", "secret\n");
    let keys = format!(", user = \"watch\", password_file = {file:?}, tls = \"none\"");
    let why = format!(
        "read {file}: permission denied (it runs as daemon: let this user read it, as with chown daemon {file})"
    );
    place.check_alert(&mail(sink.port, &keys)).refused("aw-alert", &[&why]);
    let login = ["--broker", "mqtt://127.0.0.1:1", "--login", "x", "--password-file", &file];
    place.check("aw-mqtt", &login).refused("aw-mqtt", &[&why]);
    // The configuration itself.
    let config = place.write("of_root.toml", "");
    let denied = "of_root.toml: permission denied (it runs as daemon: ";
    place.check("aw-alert", &["-c", &config]).refused("aw-alert", &[denied]);
}

/// Nothing is sent, and each channel is tried.
#[test]
fn channels_that_cannot_send() {
    let Some(place) = Place::new() else { return };
    let (sink, hook, dead) = (MailSink::start(), WebSink::start(None), free_port());
    let good = mail(sink.port, "") + &webhook(hook.port);
    let checked = place.check_alert(&good).ok();
    assert!(checked.stdout.contains("2 channels, 0 known devices"), "{checked:#?}");
    assert!(checked.stdout.contains("no fault, as far as user daemon can try it"), "{checked:#?}");
    let program = "[[channel]]\nname = \"run\"\ncommand = [\"/nowhere/notify\"]\n";
    let all = mail(dead, "") + &webhook(dead) + program;
    let ended = place.check_alert(&all);
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    for why in [
        format!(
            "aw-alert: channel mail: mail server 127.0.0.1:{dead}: connection refused (start the server, or correct server)\n"
        ),
        format!(
            "aw-alert: channel hook: reach http://127.0.0.1:{dead}: connection refused (start the server, or correct the URL)\n"
        ),
        "aw-alert: channel run: run /nowhere/notify: no such file".into(),
    ] {
        assert!(ended.stderr.contains(&why), "{why:?} is not in: {}", ended.stderr);
    }
    // An address that the server does not know, and one that is none.
    sink.answer_for("noc@example.org", "550 5.1.1 no such user");
    let why = ["channel mail: mail server 127.0.0.1:", "no such user (to noc@example.org)"];
    place.check_alert(&good).refused("aw-alert", &why);
    sink.answer_for("noc@example.org", "450 4.2.0 greylisted, come back");
    place.check_alert(&good).ok();
    let none = mail(sink.port, "").replace("noc@example.org", "noc");
    place.check_alert(&none).refused("aw-alert", &["\"noc\"", "write NAME@DOMAIN"]);
    assert_eq!((sink.count(), hook.requests().len()), (0, 0), "no message was sent");
}

/// `test` without a name: a real message to each channel, as the service's user.
#[test]
fn a_test_message_to_each_channel() {
    let Some(place) = Place::new() else { return };
    let (sink, hook) = (MailSink::start(), WebSink::start(None));
    let test = |text: &str| {
        let config = place.write("alert.toml", text);
        place.give("alert.toml");
        run(place.command("aw-alert", &["-c", &config, "test"]))
    };
    let good = mail(sink.port, "") + &webhook(hook.port);
    let sent = test(&good).ok();
    assert_eq!(sent.stdout, "channel mail: sent\nchannel hook: sent\n");
    sink.wait_for(&["Subject: Test: new device (192.0.2.1) test\n"]);
    assert_eq!(hook.requests().len(), 1);
    let dead = free_port();
    let ended = test(&(mail(dead, "") + &webhook(hook.port)));
    assert_eq!(ended.stdout, "channel hook: sent\n", "{ended:#?}");
    ended.refused("aw-alert", &["channel mail: mail server 127.0.0.1:", "connection refused"]);
    let file = place.write("password", "secret\n");
    let keys = format!(", user = \"watch\", password_file = {file:?}, tls = \"none\"");
    test(&mail(sink.port, &keys)).refused("aw-alert", &["permission denied (it runs as daemon"]);
}

#[test]
fn a_database_server_that_refuses() {
    let Some(place) = Place::new() else { return };
    let Some(server) = MariaDb::start(&[]) else { return };
    server.sql(
        "CREATE USER site1@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON addrwatch.* TO site1@'127.0.0.1';
        CREATE USER reader@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT SELECT ON addrwatch.* TO reader@'127.0.0.1'",
    );
    let check = |port: u16, lines: &str| {
        let text = format!("[addrwatch]\nhost = 127.0.0.1:{port}\n{lines}\n");
        let config = place.write("mysql.cnf", &text);
        place.check("aw-mysql", &["-c", &config])
    };
    let port = server.port;
    check(port, "user = site1\npassword = wrong")
        .refused("aw-mysql", &["Access denied", "set user and password"]);
    check(free_port(), "user = site1\npassword = secret")
        .refused("aw-mysql", &["connection refused (start the server"]);
    check(port, "user = site1\npassword = secret\ndatabase = other")
        .refused("aw-mysql", &["other", "GRANT ALL ON `other`"]);
    check(port, "user = reader\npassword = secret").refused("aw-mysql", &["GRANT ALL"]);
    let checked = check(port, "user = site1\npassword = secret").ok();
    assert!(checked.stdout.contains("accepts the login and rows"), "{checked:#?}");
    assert_eq!(server.count(), 0);
    // With the tables, too.
    check(port, "user = reader\npassword = secret").refused("aw-mysql", &["GRANT ALL"]);
    check(port, "user = site1\npassword = secret").ok();
}

#[test]
fn a_broker_that_refuses() {
    let Some(place) = Place::new() else { return };
    let passwords = |directory: &std::path::Path| {
        let file = directory.join("passwords");
        let mut make = Command::new("mosquitto_passwd");
        run({
            make.args(["-b", "-c"]).arg(&file).args(["watch", "secret"]);
            make
        })
        .ok();
        format!("allow_anonymous false\npassword_file {}\n", file.display())
    };
    let Some(broker) = Mosquitto::start_with(passwords, &["-u", "watch", "-P", "secret"]) else {
        return;
    };
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let [right, wrong] = [("right", "secret\n"), ("wrong", "wrong\n")].map(|(name, text)| {
        let file = place.write(name, text);
        place.give(name);
        file
    });
    let options = |url: &str, file: &str| {
        let words =
            ["--hostname", "here", "--broker", url, "--login", "watch", "--password-file", file];
        words.map(String::from)
    };
    let check = |url: &str, file: &str| {
        let options = options(url, file);
        place.check("aw-mqtt", &options.iter().map(|word| &**word).collect::<Vec<_>>())
    };
    check(&url, &wrong).refused("aw-mqtt", &["refuses the login", "--password-file"]);
    check(&format!("mqtt://127.0.0.1:{}", free_port()), &right)
        .refused("aw-mqtt", &["connection refused (start the server, or correct --broker)"]);
    // Beside the running program, whose connection stays.
    let listener = broker.listen();
    let words = options(&url, &right);
    let words: Vec<_> = words.iter().map(|word| &**word).collect();
    let running = Run::start(place.command("aw-mqtt", &words));
    listener.wait_for("addrwatch/here/status", "online");
    check(&url, &right).ok();
    assert!(!running.stderr.text().contains("publish to"), "{}", running.stderr.text());
    running.stop().ok();
}

#[test]
fn directories_of_other_users() {
    let Some(place) = Place::new() else { return };
    place.private("private");
    fs::create_dir(place.path("of_root")).unwrap();
    let [private, of_root] = ["private", "of_root"].map(|name| place.text(name));
    let user = ["-u", SERVICE.0];
    let check = |name: &str, options: &[&str]| {
        let ring = ["--check", "--ring", place.ring.name()];
        run(program(name, &[&ring, &user[..], options].concat()))
    };
    // As the service meets it, too.
    let enter = format!("permission denied (it runs as daemon, who may not enter {private}: ");
    check("aw-sqlite", &["--state-dir", &private]).refused("aw-sqlite", &[&enter]);
    let write = format!(
        "write to {of_root}: permission denied (it runs as daemon: let this user write to {of_root})"
    );
    check("aw-syslog", &["--state-dir", &of_root, "--to", "udp://127.0.0.1"])
        .refused("aw-syslog", &[&write]);
    let missing = place.text("state/a/b");
    let create =
        format!("create {missing}: no such directory (sudo install -d -m 750 -o daemon {missing}");
    check("aw-sqlite", &["--state-dir", &missing]).refused("aw-sqlite", &[&create]);
    // A file that root has left in the right directory.
    place.write("state/aw-sqlite.lock", "");
    let left = format!("open {}: ", place.text("state/aw-sqlite.lock"));
    place.check("aw-sqlite", &[]).refused("aw-sqlite", &[&left, "permission denied (it runs as"]);
    fs::remove_file(place.path("state/aw-sqlite.lock")).unwrap();
    // A directory that it may not see is not called missing.
    let hidden = "/root/no-such-directory/x.db";
    let started = run(place.command("aw-sqlite", &["--once", "--database", hidden]));
    let may_not =
        "permission denied (it runs as daemon, who may not enter /root: choose another place)";
    started.refused("aw-sqlite", &["open /root/no-such-directory/x.db: ", may_not]);
    place.check("aw-sqlite", &["--database", hidden]).refused("aw-sqlite", &[may_not]);
    let checked = place.check("aw-sqlite", &[]).ok();
    assert!(checked.stdout.contains("does not exist yet: it is created"), "{checked:#?}");
    assert_eq!(fs::read_dir(place.path("state")).unwrap().count(), 0, "nothing is left");
    // With the files of the service.
    capture(&place.ring, &handover());
    chown(place.ring.path(), None, Some(SERVICE.1)).unwrap();
    run(place.command("aw-sqlite", &["--once"])).ok();
    let checked = place.check("aw-sqlite", &[]).ok();
    assert!(checked.stdout.contains("addrwatch.db can be written"), "{checked:#?}");
    chown(place.path("state/addrwatch.db"), Some(0), Some(0)).unwrap();
    place.check("aw-sqlite", &[]).refused("aw-sqlite", &["addrwatch.db: ", "user, daemon, write"]);
    // Directories of logs.
    let logs = |directory: &str| place.check("aw-tracker", &["--log-dir", directory]);
    logs(&of_root).refused("aw-tracker", &[&write]);
    logs("/nowhere/logs").refused("aw-tracker", &["there is no such directory"]);
    let lines = format!("{of_root}/events.log");
    place.check("aw-stdout", &["-o", &lines]).refused("aw-stdout", &[&write]);
}

#[test]
fn ports_and_servers() {
    let Some(place) = Place::new() else { return };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || taken.incoming().for_each(drop)); // it closes each connection
    let state = place.text("state");
    for (name, options) in [
        ("aw-metrics", &["--listen", &port][..]),
        ("aw-tracker", &["--log-dir", &state, "--serve", &port]),
    ] {
        let why = ["address already in use (choose another port; ss -ltnp"];
        place.check(name, options).refused(name, &why);
    }
    // In containers, each port may be free to all.
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    if first.trim() == "1024" {
        let why = ["permission denied (choose a port above 1023"];
        place.check("aw-metrics", &["--listen", "81"]).refused("aw-metrics", &why);
    }
    // Of the running program.
    let own = free_port().to_string();
    let running = Run::start(place.command("aw-metrics", &["--listen", &own]));
    running.wait_until("it listens", || aw_tests::server::listens(own.parse().unwrap()));
    place.check("aw-metrics", &["--listen", &own]).ok();
    running.stop().ok();
    let dead = format!("tcp://127.0.0.1:{}", free_port());
    place.check("aw-syslog", &["--to", &dead]).refused("aw-syslog", &["connection refused"]);
}

/// "Permission denied" names the user that this is and what it lacks.
#[test]
fn permission_denied_names_the_user() {
    let Some(place) = Place::new() else { return };
    let programs =
        ["aw-query", "aw-stdout", "collector", "aw-sqlite", "aw-tracker", "aw-alert", "aw-mqtt"];
    let programs = public_copy(&programs);
    let as_no_user = |name: &str, options: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &NO_USER.to_string(), "--regid", &NO_USER.to_string()]);
        command.arg("--clear-groups").arg(programs.path().join(name)).args(options);
        run(command)
    };
    assert!(binary("collector").exists());
    capture(&place.ring, &handover());
    let database = place.text("state/addrwatch.db");
    chown(place.ring.path(), None, Some(SERVICE.1)).unwrap();
    run(place.command("aw-sqlite", &["--once"])).ok();
    let me = "you are nobody"; // plain-words: ok
    let denied = ["permission denied (", me];
    as_no_user("aw-query", &["--database", &database, "devices"]).refused("aw-query", &denied);
    let ring = ["--ring", place.ring.name()];
    as_no_user("aw-stdout", &[&ring[..], &["--once"]].concat()).refused("aw-stdout", &denied);
    as_no_user("collector", &[&ring[..], &["--stats"]].concat()).refused("collector", &denied);
    place.private("private");
    let private = place.text("private");
    as_no_user("aw-sqlite", &[&ring[..], &["--once", "--state-dir", &private]].concat())
        .refused("aw-sqlite", &denied);
    let lines = format!("{private}/events.log");
    as_no_user("aw-stdout", &[&ring[..], &["--once", "-o", &lines]].concat())
        .refused("aw-stdout", &denied);
    as_no_user("aw-query", &["copy", &lines]).refused("aw-query", &denied);
    as_no_user("aw-tracker", &["report", &private]).refused("aw-tracker", &denied);
    // Databases of other users, which SQLite is "unable to open".
    let state = place.text("state");
    for name in ["aw-alert", "aw-mqtt"] {
        as_no_user(name, &[&ring[..], &["--once", "--state-dir", &state]].concat())
            .refused(name, &[&format!("{name}.db: "), denied[0], me]);
    }
    let config = place.write("tracker.conf", "LOGDIR=/tmp\n");
    as_no_user("aw-tracker", &[&ring[..], &["-c", &config]].concat())
        .refused("aw-tracker", &["tracker.conf: permission denied (", me, "use sudo"]);
    as_no_user("aw-query", &["-c", &config, "devices"]).refused("aw-query", &denied);
}
