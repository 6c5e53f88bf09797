//! Mistakes of the first hour, each with the message that leads on: who this is and what is lacking, and a `--check` that finds
//! what the service would meet, with real servers.
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use aw_tests::mail_sink::MailSink;
use aw_tests::mariadb::MariaDb;
use aw_tests::mosquitto::Mosquitto;
use aw_tests::rig::{Finished, Run, binary, program, public_copy, run, skip};
use aw_tests::ring::Ring;
use aw_tests::server::free_port;
use aw_tests::sightings::{capture, handover};
use aw_tests::web_sink::WebSink;
use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
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

    /// Checks as root does where the package is installed: its unit starts the program as the service's user. The unit is the
    /// shipped one, in a mount namespace of its own, with `more` at its end.
    fn check_unit(&self, name: &str, more: &str, options: &[&str]) -> Finished {
        self.check_unit_after(":", name, more, options)
    }

    /// The same after a command of the shell in that namespace.
    fn check_unit_after(&self, before: &str, name: &str, more: &str, options: &[&str]) -> Finished {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/systemd");
        let shipped = fs::read_to_string(shipped.join(format!("{name}.service"))).unwrap();
        let unit = shipped
            .replace(&format!("User={name}"), &format!("User={}", SERVICE.0))
            .replace("Group=addrwatch", &format!("Group={}", SERVICE.0));
        let (unit, _) = unit.split_once("\n[Install]").unwrap();
        fs::write(self.path("unit"), format!("{unit}\n{more}\n")).unwrap();
        const SCRIPT: &str = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system
            cp \"$0\" \"/run/systemd/system/$1.service\"; eval \"$2\"; shift 2; exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", SCRIPT]).arg(self.path("unit")).args([name, before]);
        command.arg(binary(name)).args(["--check", "--ring", self.ring.name()]);
        command.arg("--state-dir").arg(self.path("state")).args(options);
        run(command)
    }

    /// Checks aw-alert with this configuration.
    fn check_alert(&self, config: &str) -> Finished {
        let config = self.write("alert.toml", config);
        self.give("alert.toml");
        self.check("aw-alert", &["-c", &config])
    }
}

/// A port that refuses connections: it is bound, and no process listens.
struct DeadPort {
    port: u16,
    _bound: OwnedFd,
}

impl DeadPort {
    fn new() -> DeadPort {
        let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = SocketAddr::try_from(getsockname(&bound).unwrap()).unwrap();
        DeadPort { port: address.port(), _bound: bound }
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

/// A unit starts the program as its user, who reads all files; root that starts it with `-u` reads them before. The files are not
/// in /tmp, which the unit hides.
#[test]
fn a_password_that_only_root_can_read() {
    let Some(place) = Place::new() else { return };
    let sink = MailSink::start();
    let file = place.write("password", "secret\n");
    let keys = format!(", user = \"watch\", password_file = {file:?}, tls = \"none\"");
    let why = format!(
        "read {file}: permission denied (it runs as daemon: let this user read it, as with chown daemon {file})"
    );
    let config = place.write("alert.toml", &mail(sink.port, &keys));
    place.give("alert.toml");
    let visible = "PrivateTmp=no";
    let check = |config: &str| place.check_unit("aw-alert", visible, &["-c", config]);
    check(&config).refused("aw-alert", &[&why]);
    let login = ["--broker", "mqtt://127.0.0.1:1", "--login", "x", "--password-file", &file];
    place.check_unit("aw-mqtt", visible, &login).refused("aw-mqtt", &[&why]);
    // The configuration itself.
    let of_root = place.write("of_root.toml", "");
    let denied = "of_root.toml: permission denied (it runs as daemon: ";
    check(&of_root).refused("aw-alert", &[denied]);
    place.check("aw-alert", &["-c", &of_root]).ok();
    // Of aw-mysql, the unit loads one file as root, and no other.
    let cnf = place.write("mysql.cnf", "[addrwatch]\nhost = 127.0.0.1:1\npassword = x\n");
    let loaded = format!("{visible}\nLoadCredential=mysql.cnf:{cnf}");
    let refused = "connection refused (start the server";
    place.check_unit("aw-mysql", &loaded, &["-c", &cnf]).refused("aw-mysql", &[refused]);
    let denied = format!("read {cnf}: permission denied (it runs as daemon: ");
    place.check_unit("aw-mysql", visible, &["-c", &cnf]).refused("aw-mysql", &[&denied]);
    place.check("aw-mysql", &["-c", &cnf]).refused("aw-mysql", &[refused]);
}

/// What its user may do, and the unit does not let it.
#[test]
fn what_the_unit_of_a_service_forbids() {
    let Some(place) = Place::new() else { return };
    let hidden = |what: &str, unit: &str| {
        format!(
            "read {what}: the unit {unit} hides /tmp from its service (copy it to /etc/addrwatch under a name"
        )
    };
    let names = place.write("names", "");
    place.give("names");
    let broker = ["--broker", "mqtt://127.0.0.1:1", "--names", &names];
    let ended = place.check_unit("aw-mqtt", "", &broker);
    assert!(ended.stderr.contains(&hidden(&names, "aw-mqtt")), "{ended:#?}");
    let text = format!("known = {names:?}\n[[channel]]\nname = \"x\"\ncommand = [\"/bin/true\"]\n");
    let config = place.write("alert.toml", &text);
    place.give("alert.toml");
    let ended = place.check_unit("aw-alert", "", &["-c", &config]);
    assert!(ended.stderr.contains(&hidden(&config, "aw-alert")), "{ended:#?}");
    assert!(ended.stderr.contains(&hidden(&names, "aw-alert")), "{ended:#?}");
    let state = place.text("state");
    for (more, line) in [
        (
            "",
            "the unit aw-sqlite hides /tmp from its service (choose a place in /var/lib/addrwatch/aw-sqlite, which needs no more, or in /srv: install -d -m 750 -o daemon /srv/daemon; systemctl edit aw-sqlite: [Service] and ReadWritePaths=/srv/daemon)",
        ),
        (
            "PrivateTmp=no",
            "the unit aw-sqlite makes it read-only (systemctl edit aw-sqlite: [Service] and ReadWritePaths=",
        ),
    ] {
        let database = format!("{state}/x.db");
        let ended = place.check_unit(
            "aw-sqlite",
            more,
            &["--database", &database, "--state-dir", "/nowhere/x"],
        );
        assert!(ended.stderr.contains(&format!("write to {state}: ")), "{ended:#?}");
        assert!(ended.stderr.contains(line), "{line}: {ended:#?}");
    }
    // One that is read-only for all, as after errors of its disk: no edit of the unit helps.
    let mount =
        format!("mount -t tmpfs tmpfs {state}; mkdir {state}/in; mount -o remount,ro {state}");
    let options = ["--database", &format!("{state}/in/x.db"), "--state-dir", "/nowhere/x"];
    let more = format!("PrivateTmp=no\nReadWritePaths={state}");
    let ended = place.check_unit_after(&mount, "aw-sqlite", &more, &options);
    let fault = format!(
        "write to {state}/in: read-only file system (the mount of {state} is read-only here: in a container, add a volume; in a unit, see its ReadOnlyPaths= and ProtectSystem=; else see dmesg, and if the disk has a fault, fsck comes before mount -o remount,rw {state})"
    );
    assert!(ended.stderr.contains(&fault), "{ended:#?}");
    // Clients of other machines.
    let port = free_port();
    let all = format!("0.0.0.0:{port}");
    let drops = "drops connections from other machines: systemctl edit aw-metrics";
    place
        .check_unit("aw-metrics", "PrivateTmp=no", &["--listen", &all])
        .refused("aw-metrics", &[drops]);
    let allowed = "PrivateTmp=no\nIPAddressAllow=192.0.2.0/24";
    let checked = place.check_unit("aw-metrics", allowed, &["--listen", &all]).ok();
    assert!(checked.stdout.contains("can be served"), "{checked:#?}");
    place.check_unit("aw-metrics", "PrivateTmp=no", &["--listen", &port.to_string()]).ok();
}

/// `--check` alone, of root: the command line of the unit with the options of its files. With others, a line shows what the service has.
#[test]
fn the_options_of_the_service() {
    let Some(place) = Place::new() else { return };
    let config = place.write("unit.toml", "garbage [");
    place.give("unit.toml");
    let options = place.write("default", "OPTIONS=--learn 0 --ring /no-such-ring\n");
    let unit = format!(
        "[Service]\nUser={}\nGroup={0}\nEnvironmentFile=-{options}\nExecStart=/usr/bin/aw-alert --state-dir {} -c {config} $OPTIONS\n",
        SERVICE.0,
        place.text("state")
    );
    let unit = place.write("unit", &unit);
    const SCRIPT: &str = "mount -t tmpfs tmpfs /run; mkdir -p /run/systemd/system
        cp \"$0\" /run/systemd/system/aw-alert.service; exec \"$@\"";
    let check = |options: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", SCRIPT, &unit]).arg(binary("aw-alert"));
        run({
            command.arg("--check").args(options).env("AW_OF_SHELL", "x");
            command
        })
    };
    let tried = format!(
        "aw-alert --state-dir {} -c {config} --learn 0 --ring /no-such-ring",
        place.text("state")
    );
    let refused = check(&[]);
    assert!(refused.stdout.starts_with(&format!("tried: {tried}\n")), "{refused:#?}");
    refused.refused("aw-alert", &["unit.toml"]);
    place.write("unit.toml", "");
    place.give("unit.toml");
    let checked = check(&[]).ok();
    assert!(checked.stdout.contains("ring /no-such-ring does not exist yet"), "{checked:#?}");
    assert!(!checked.stdout.contains("the service has other options"), "{checked:#?}");
    // Each channel as the service has it: a variable with %, and none of this shell.
    let channel = |variable: &str| {
        let text = format!(
            "[[channel]]\nname = \"a\"\nwebhook = {{ url = \"http://127.0.0.1:9/\", token_env = \"{variable}\" }}\n"
        );
        place.write("unit.toml", &text);
        place.give("unit.toml");
    };
    place.write("default", "OPTIONS=--learn 0 --ring /no-such-ring\nAW_OF_UNIT=50%b\n");
    channel("AW_OF_SHELL");
    check(&[]).refused("aw-alert", &["AW_OF_SHELL is not set"]);
    channel("AW_OF_UNIT");
    let reached = check(&[]);
    assert!(!format!("{reached:?}").contains("is not set"), "{reached:#?}");
    place.write("unit.toml", "");
    place.give("unit.toml");
    place.write("default", "OPTIONS=--learn 0 --ring /no-such-ring\n");
    let other = check(&["--state-dir", &place.text("state")]).ok();
    let note =
        format!("the service has other options: {tried} (sudo aw-alert --check tries these)");
    assert!(other.stdout.contains(&note), "{other:#?}");
    assert!(!other.stdout.contains("tried: "), "{other:#?}");
}

/// A disk without room for what a database needs.
#[test]
fn a_disk_that_is_full() {
    let Some(place) = Place::new() else { return };
    let disk = place.text("disk");
    fs::create_dir(&disk).unwrap();
    const SCRIPT: &str = "mount -t tmpfs -o size=400k,mode=777 tmpfs \"$0\"
        head -c 380k /dev/zero >\"$0/filler\"; exec \"$@\"";
    let in_disk = |options: &[&str]| {
        let command = place.command("aw-sqlite", options);
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "sh", "-ec", SCRIPT, &disk]).arg(command.get_program());
        run({
            shell.args(command.get_args());
            shell
        })
    };
    let database = format!("{disk}/lan.db");
    let why = format!("write to {disk}: no space left on device (free space on its disk)");
    in_disk(&["--check", "--database", &database]).refused("aw-sqlite", &[&why]);
    capture(&place.ring, &handover());
    chown(place.ring.path(), None, Some(SERVICE.1)).unwrap();
    let ended = in_disk(&["--once", "--database", &database]);
    assert!(!ended.stderr.contains("disk I/O error"), "{ended:#?}");
    assert!(ended.stderr.contains("free space on "), "{ended:#?}");
}

/// Nothing is sent, and each channel is tried.
#[test]
fn channels_that_cannot_send() {
    let Some(place) = Place::new() else { return };
    let (sink, hook) = (MailSink::start(), WebSink::start(None));
    let none = DeadPort::new();
    let dead = none.port;
    let good = mail(sink.port, "") + &webhook(hook.port);
    let checked = place.check_alert(&good).ok();
    assert!(checked.stdout.contains("2 channels\n"), "{checked:#?}");
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
    let why = ["channel mail: mail server 127.0.0.1:", "no such user\" (to noc@example.org)"];
    place.check_alert(&good).refused("aw-alert", &why);
    sink.answer_for("noc@example.org", "450 4.2.0 greylisted, come back");
    place.check_alert(&good).ok();
    let none = mail(sink.port, "").replace("noc@example.org", "noc");
    place.check_alert(&none).refused("aw-alert", &["\"noc\"", "write NAME@DOMAIN"]);
    assert_eq!((sink.count(), hook.requests().len()), (0, 0), "no message was sent");
}

/// `test` without a name: a real message to each channel.
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
    sink.wait_for(&["Subject: Test: new device: 00:00:5e:00:53:01, 192.0.2.1 (test)\n"]);
    assert_eq!(hook.requests().len(), 1);
    let none = DeadPort::new();
    let dead = none.port;
    let ended = test(&(mail(dead, "") + &webhook(hook.port)));
    assert_eq!(ended.stdout, "channel hook: sent\n", "{ended:#?}");
    ended.refused("aw-alert", &["channel mail: mail server 127.0.0.1:", "connection refused"]);
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
    let none = DeadPort::new();
    check(none.port, "user = site1\npassword = secret")
        .refused("aw-mysql", &["connection refused (start the server"]);
    check(port, "user = site1\npassword = secret\ndatabase = other")
        .refused("aw-mysql", &["other", "CREATE VIEW ON `other`"]);
    check(port, "user = reader\npassword = secret")
        .refused("aw-mysql", &["(GRANT SELECT, INSERT, UPDATE"]);
    let checked = check(port, "user = site1\npassword = secret").ok();
    assert!(checked.stdout.contains("accepts the login and rows"), "{checked:#?}");
    assert_eq!(server.count(), 0);
    // With the tables, too.
    check(port, "user = reader\npassword = secret")
        .refused("aw-mysql", &["(GRANT SELECT, INSERT, UPDATE"]);
    check(port, "user = site1\npassword = secret").ok();
    // A user who may only add to the tables of events.
    server.sql(
        "CREATE USER sensor@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT INSERT ON addrwatch.log TO sensor@'127.0.0.1';
        GRANT SELECT, INSERT ON addrwatch.origin TO sensor@'127.0.0.1'; GRANT SELECT, INSERT, UPDATE ON addrwatch.position TO sensor@'127.0.0.1'",
    );
    check(port, "user = sensor\npassword = secret").ok();
    server.sql("REVOKE INSERT ON addrwatch.log FROM sensor@'127.0.0.1'; GRANT SELECT ON addrwatch.log TO sensor@'127.0.0.1'");
    check(port, "user = sensor\npassword = secret")
        .refused("aw-mysql", &["(GRANT SELECT, INSERT, UPDATE"]);
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
        let topics = directory.join("topics");
        fs::write(&topics, "user watch\ntopic readwrite addrwatch/here/#\n").unwrap();
        let (file, topics) = (file.display(), topics.display());
        format!("allow_anonymous false\npassword_file {file}\nacl_file {topics}\n")
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
    let none = DeadPort::new();
    check(&format!("mqtt://127.0.0.1:{}", none.port), &right)
        .refused("aw-mqtt", &["connection refused (start the server, or correct --broker)"]);
    // A login that may publish to the topics of one host.
    let mut other = options(&url, &right);
    other[1] = "elsewhere".into();
    let other: Vec<_> = other.iter().map(|word| &**word).collect();
    let why = ["publish to ", "is not authorized (allow the topics addrwatch/elsewhere/# to this"];
    place.check("aw-mqtt", &other).refused("aw-mqtt", &why);
    check(&url, &right).ok();
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
    place.check("aw-sqlite", &[]).refused(
        "aw-sqlite",
        &["addrwatch.db: permission denied (it runs as daemon: let this user write to "],
    );
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
        let option = options[options.len() - 2];
        let taken =
            format!("address already in use (choose another port with {option}; ss -ltnp shows");
        place.check(name, options).refused(name, &[&taken]);
        run(place.command(name, options)).refused(name, &[&taken]);
        // Of another machine.
        let mut options = options.to_vec();
        options.splice(options.len() - 1.., ["192.0.2.9:8080"]);
        let why = format!(
            "no interface of this machine has 192.0.2.9: choose one that `ip address` shows with {option}, or 0.0.0.0"
        );
        place.check(name, &options).refused(name, &[&why]);
        run(place.command(name, &options)).refused(name, &[&why]);
    }
    ports_of_root(&place);
    // Of the running program.
    let own = free_port().to_string();
    let running = Run::start(place.command("aw-metrics", &["--listen", &own]));
    running.wait_until("it listens", || aw_tests::server::listens(own.parse().unwrap()));
    let checked = place.check("aw-metrics", &["--listen", &own]).ok();
    assert!(checked.stdout.contains("the running aw-metrics serves http://"), "{checked:#?}");
    running.stop().ok();
    let none = DeadPort::new();
    let dead = format!("tcp://127.0.0.1:{}", none.port);
    place.check("aw-syslog", &["--to", &dead]).refused(
        "aw-syslog",
        &["over TCP: connection refused (start the server, or correct --to)"],
    );
    place
        .check("aw-syslog", &["--to", "udp://no.such.name.invalid"])
        .refused("aw-syslog", &["(correct --to, or check the name servers of this machine)"]);
    place.check("aw-syslog", &["--to", "/nowhere/log"]).refused(
        "aw-syslog",
        &["no such file or directory (start a syslog daemon, or choose another with --to)"],
    );
}

/// A port below 1024 is root's: a unit starts the program as its user; root opens it before it becomes that user.
fn ports_of_root(place: &Place) {
    let first = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let free = (600..1024).rev().find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    let (Ok(1..), Some(port)) =
        (first.trim().parse::<u16>().map(|first| first.saturating_sub(1023)), free)
    else {
        return skip("here each port is free to all, or none is free");
    };
    let listen = ["--listen", &port.to_string()];
    let why = ["permission denied (choose a port above 1023"];
    place.check_unit("aw-metrics", "PrivateTmp=no", &listen).refused("aw-metrics", &why);
    // The remedy of this message.
    let given = "PrivateTmp=no\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE";
    place.check_unit("aw-metrics", given, &listen).ok();
    place.check("aw-metrics", &listen).ok();
    capture(&place.ring, &handover());
    chown(place.ring.path(), None, Some(SERVICE.1)).unwrap();
    run(place.command("aw-metrics", &[&["--once"], &listen[..]].concat())).ok();
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

/// The database of another program, which may still run: a check reads it and says what the start will do.
#[test]
fn a_check_changes_no_database() {
    let Some(place) = Place::new() else { return };
    let old = place.path("state/old.db");
    let legacy = "CREATE TABLE addrwatch (timestamp UNSIGNED BIG INT, interface varchar(16), vlan_tag UNSIGNED INT,
        mac_address varchar(17), ip_address varchar(42), origin TINYINT);
        INSERT INTO addrwatch VALUES (1700000000, 'eth0', 0, '02:00:00:00:00:01', '192.0.2.1', 1)";
    rusqlite::Connection::open(&old).unwrap().execute_batch(legacy).unwrap();
    place.give("state/old.db");
    let files = || {
        let read = fs::read_dir(place.path("state")).unwrap().map(|file| file.unwrap().path());
        let mut all: Vec<_> = read.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        all.sort();
        all
    };
    let database = ["--database", &place.text("state/old.db")];
    let before = files();
    let checked = place.check("aw-sqlite", &database).ok();
    assert!(checked.stdout.contains("old.db can be written; its older tables are"), "{checked:#?}");
    assert_eq!(checked.stderr, "");
    assert!(files() == before, "the check changed {:?}", files());
    // One of this program, after a kill, with a log.
    capture(&place.ring, &handover());
    chown(place.ring.path(), None, Some(SERVICE.1)).unwrap();
    run(place.command("aw-sqlite", &[&["--once"], &database[..]].concat())).ok();
    let database = ["--database", &place.text("state/new.db")];
    let running = Run::start(place.command("aw-sqlite", &database));
    running.wait_until("it has written", || place.path("state/new.db-wal").exists());
    place.check("aw-sqlite", &database).ok();
    running.kill();
    let before = files();
    place.check("aw-sqlite", &database).ok();
    assert!(files() == before, "the check changed a database with a log");
    for (content, why) in [
        ("CREATE TABLE sighting (x)", "it already has a table sighting of another program"),
        ("PRAGMA application_id = 1", "the database of another program"),
        ("CREATE TABLE addrwatch (timestamp)", "does not have the columns of addrwatch"),
    ] {
        let other = place.path("state/other.db");
        rusqlite::Connection::open(&other).unwrap().execute_batch(content).unwrap();
        place.give("state/other.db");
        let database = ["--database", &place.text("state/other.db")];
        place.check("aw-sqlite", &database).refused("aw-sqlite", &[why]);
        run(place.command("aw-sqlite", &[&["--once"], &database[..]].concat()))
            .refused("aw-sqlite", &[why]);
        fs::remove_file(&other).unwrap();
    }
}

/// Root gives a service the groups of its rings: a check has them, too.
#[test]
fn the_group_of_a_ring() {
    let Some(place) = Place::new() else { return };
    capture(&place.ring, &handover());
    chown(place.ring.path(), None, Some(60)).unwrap(); // games
    run(place.command("aw-stdout", &["--once"])).ok();
    place.check("aw-stdout", &[]).ok();
    // Those of a unit are what the unit says. To join a group that is not ours is not recommended.
    let refused = place.check_unit("aw-stdout", "", &["-o", &place.text("state/lines")]);
    let why = "permission denied (it runs as daemon: let this user read it, as with --group of its collector)";
    assert!(refused.stderr.contains(why), "{refused:#?}");
    assert!(!refused.stderr.contains("usermod"), "{refused:#?}");
    let more = "SupplementaryGroups=games\nPrivateTmp=no\nReadWritePaths=/";
    place.check_unit("aw-stdout", more, &["-o", &place.text("state/lines")]).ok();
}

/// A command is no service: what would be only checked is not done, and the other way round.
#[test]
fn a_mode_of_the_service_beside_a_command() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().to_str().unwrap();
    for (name, mode, command) in [
        ("aw-sqlite", "--check", &["import", "-"][..]),
        ("aw-sqlite", "--health", &["import", "-"]),
        ("aw-sqlite", "--daemon", &["import", "-"]),
        ("aw-mysql", "--check", &["import", "-"]),
        ("aw-mysql", "--once", &["import", "-"]),
        ("aw-alert", "--check", &["test"]),
        ("aw-alert", "--health", &["export"]),
        ("aw-tracker", "--check", &["report", state]),
    ] {
        let options = [&["--state-dir", state, mode][..], command].concat();
        let ended = run(program(name, &options));
        assert_eq!(ended.status.code(), Some(2), "{ended:#?}");
        for part in [name, mode, command[0], " cannot be used with"] {
            assert!(ended.stderr.contains(part), "{part}: {ended:#?}");
        }
    }
    assert_eq!(fs::read_dir(state).unwrap().count(), 0);
}

/// Whether the service did its work: it ended well, and nothing waits for a destination that is down.
fn works(ended: &Finished) -> bool {
    ended.status.success() && !ended.stderr.contains("queueing events in")
}

/// For each mistake, and for each set-up without one: a check and the service with the same command line agree.
#[test]
fn no_check_passes_what_then_fails() {
    let Some(place) = Place::new() else { return };
    capture(&place.ring, &handover());
    chown(place.ring.path(), None, Some(SERVICE.1)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || listener.incoming().for_each(drop)); // it closes each connection
    let none = DeadPort::new();
    let dead = none.port;
    place.private("private");
    fs::create_dir(place.path("logs")).unwrap();
    place.give("logs");
    let at = |name: &str| place.text(name);
    let file = |name: &str, text: &str, is_given: bool| {
        let path = place.write(name, text);
        if is_given {
            place.give(name);
        }
        path
    };
    let garbage = file("garbage.db", &"no database ".repeat(200), true);
    let of_root = file("of_root", "", false);
    let lines = file("lines", "unfinished", true);
    let mut date = Command::new("date");
    date.arg("+%Y%m%d");
    let today = run(date).ok().stdout.trim().to_owned();
    fs::create_dir(place.path("logs_of_root")).unwrap();
    place.give("logs_of_root");
    fs::write(place.path(&format!("logs_of_root/macupd_tracker.{today}.log")), "").unwrap();
    let permissions = Permissions::from_mode(0o600);
    fs::set_permissions(
        place.path(&format!("logs_of_root/macupd_tracker.{today}.log")),
        permissions,
    )
    .unwrap();
    let channel = "[[channel]]\nname = \"x\"\ncommand = [\"/bin/true\"]\n";
    let alert = |name: &str, text: &str| file(name, text, true);
    let (private, logs, logs_of_root) = (at("private"), at("logs"), at("logs_of_root"));
    let udp = format!("udp://127.0.0.1:{dead}");
    let tcp = format!("tcp://127.0.0.1:{dead}");
    let cnf = file("mysql.cnf", &format!("[addrwatch]\nhost = 127.0.0.1:{dead}\n"), true);
    let bad_cnf = file("bad.cnf", "[addrwatch]\nhots = x\n", true);
    let good_toml = alert("good.toml", channel);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let cases: Vec<(&str, Vec<String>, bool)> = vec![
        ("aw-stdout", words(&[]), true),
        ("aw-stdout", words(&["-o", &at("state/new.log")]), true),
        ("aw-stdout", words(&["-o", &lines]), true), // in a directory of root
        ("aw-stdout", words(&["-o", &of_root]), false),
        ("aw-stdout", words(&["-o", &logs]), false),
        ("aw-stdout", words(&["-o", "/nowhere/lines"]), false),
        ("aw-stdout", words(&["-o", &format!("{private}/lines")]), false),
        ("aw-syslog", words(&["--to", &udp]), true),
        ("aw-syslog", words(&["--to", &udp, "--format", "rfc5424", "--structured"]), true),
        ("aw-syslog", words(&["--to", &udp, "--structured"]), false),
        ("aw-syslog", words(&["--to", &udp, "--hostname", "a b"]), false),
        ("aw-syslog", words(&["--to", &tcp]), false),
        ("aw-syslog", words(&["--to", "/nowhere/log"]), false),
        ("aw-sqlite", words(&[]), true),
        ("aw-sqlite", words(&["--database", &garbage]), false),
        ("aw-sqlite", words(&["--database", &of_root]), false),
        ("aw-sqlite", words(&["--database", &logs]), false),
        ("aw-sqlite", words(&["--database", "/nowhere/x.db"]), false),
        ("aw-sqlite", words(&["--database", &format!("{private}/x.db")]), false),
        ("aw-mysql", words(&["-c", &cnf]), false),
        ("aw-mysql", words(&["-c", &bad_cnf]), false),
        ("aw-mysql", words(&["-c", "/nowhere/mysql.cnf"]), false),
        ("aw-alert", words(&["-c", &good_toml]), true),
        ("aw-alert", words(&["-c", "/nowhere/alert.toml"]), false),
        ("aw-alert", words(&["-c", &alert("key.toml", "[[chanel]]\n")]), false),
        (
            "aw-alert",
            words(&["-c", &alert("kind.toml", &format!("{channel}kinds = [\"x\"]\n"))]),
            false,
        ),
        ("aw-alert", words(&["-c", &good_toml, "--names", "/nowhere/names"]), false),
        (
            "aw-alert",
            words(&[
                "-c",
                &alert("pass.toml", &mail(dead, ", user = \"a\", password_file = \"/nowhere/x\"")),
            ]),
            false,
        ),
        ("aw-mqtt", words(&["--broker", &format!("mqtt://127.0.0.1:{dead}")]), false),
        ("aw-mqtt", words(&["--away", "0s"]), false),
        ("aw-mqtt", words(&["--names", "/nowhere/names"]), false),
        ("aw-mqtt", words(&["--login", "a", "--password-file", "/nowhere/x"]), false),
        ("aw-mqtt", words(&["--ca-file", "/nowhere/x"]), false),
        ("aw-metrics", words(&["--listen", &free_port().to_string()]), true),
        ("aw-metrics", words(&["--listen", "192.0.2.1:9714"]), false),
        ("aw-tracker", words(&["--log-dir", &logs]), true),
        ("aw-tracker", words(&["--log-dir", &logs, "--serve", &taken]), false),
        ("aw-tracker", words(&["--log-dir", "/nowhere/logs"]), false),
        ("aw-tracker", words(&["--log-dir", &private]), false),
        ("aw-tracker", words(&["--log-dir", &logs_of_root]), false),
        ("aw-tracker", words(&["--log-dir", &of_root]), false),
        ("aw-tracker", words(&["-c", "/nowhere/tracker.conf"]), false),
        (
            "aw-tracker",
            words(&["-c", &file("tracker.conf", "LOGDIR=/tmp\nUNKNOWN=1\n", true)]),
            false,
        ),
    ];
    let mut wrong = Vec::new();
    let mut compare = |name: &str, options: &[String], expected: bool| {
        let options: Vec<&str> = options.iter().map(|word| &**word).collect();
        let checked = place.check(name, &options);
        let ran = run(place.command(name, &[&["--once", "--replay"], &options[..]].concat()));
        if (checked.status.success(), works(&ran)) != (expected, expected) {
            wrong.push(format!(
                "{name} {options:?}: {expected} was expected: {checked:#?} {ran:#?}"
            ));
        }
    };
    for (name, options, expected) in &cases {
        compare(name, options, *expected);
    }
    // A memory that is damaged, or another program's.
    for (name, options) in [("aw-alert", words(&["-c", &good_toml])), ("aw-mqtt", words(&[]))] {
        let memory = format!("state/{name}.db");
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(place.path(&format!("{memory}{suffix}")));
        }
        fs::copy(&garbage, place.path(&memory)).unwrap();
        place.give(&memory);
        compare(name, &options, false);
        fs::remove_file(place.path(&memory)).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A program with options, and what its message has: what is wrong, and what to do.
type Mistake<'a> = (&'a str, Vec<&'a str>, &'a [&'a str]);

/// Each mistake ends at once, with one line that has these texts.
fn each_is_refused(directory: &Path, mistakes: &[Mistake]) {
    assert!(mistakes.len() >= 10, "{}", mistakes.len());
    for (name, options, texts) in mistakes {
        let mut command = program(name, options);
        command.current_dir(directory);
        let ended = run(command);
        assert!(
            [Some(1), Some(2)].contains(&ended.status.code()),
            "{name} {options:?}: {ended:#?}"
        );
        let begin = format!("{name}: ");
        let one = ended.stderr.lines().count() == 1 && ended.stderr.starts_with(&begin);
        assert!(one, "{name} {options:?}: one line `{begin}...` was expected: {ended:#?}");
        for text in *texts {
            assert!(ended.stderr.contains(text), "{name} {options:?}: {text:?}: {ended:#?}");
        }
    }
}

/// A directory with these files, which only their owner can read.
fn with_files(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

/// An administrator of two networks. More of them: units.rs (an interface that no unit has, options of a unit, what a unit forbids, a
/// user outside the group), and above (databases, brokers, ports, directories of other users, a check beside a command).
#[test]
fn mistakes_of_an_administrator_of_two_networks() {
    let files = with_files(&[
        ("open.cnf", "[addrwatch]\nhost = 127.0.0.1\npassword = x\n"),
        ("key.cnf", "[addrwatch]\nhots = x\n"),
        ("tracker.conf", "LOGDIR=/tmp\nLOGDR=1\n"),
    ]);
    let open = Permissions::from_mode(0o644);
    fs::set_permissions(files.path().join("open.cnf"), open).unwrap();
    let ring = Ring::new();
    let name = ring.name();
    let running = Run::start(program("collector", &["lo", "-m", name]));
    running.stderr.wait_for("listening on lo");
    let state = ["--state-dir", ".", "--ring", name];
    let with = |more: &[&'static str]| [&state[..], more].concat();
    each_is_refused(
        files.path(),
        &[
            (
                "collector",
                vec!["eth9", "-m", "/first-hour"],
                &["no such interface (ip link lists them)"],
            ),
            (
                "collector",
                vec!["lo", "-m", name],
                &["in use by another collector, process ", "collector eth0 eth1"],
            ),
            (
                "collector",
                vec!["lo", "-m", "/first-hour", "--filter", "arp or"],
                &["syntax error (see pcap-filter(7))"],
            ),
            ("collector", vec!["--read", "/nowhere.pcap"], &["(name a pcap or pcapng file)"]),
            (
                "aw-stdout",
                vec!["--ring", "/first-hour", "--once"],
                &["no such ring (start the collector, or name its ring with -m)"],
            ),
            (
                "aw-query",
                vec!["--database", "/nowhere/x.db", "devices"],
                &[
                    "(start aw-sqlite, which creates it, or choose a file with --database; if it runs, ",
                ],
            ),
            (
                "aw-query",
                vec!["who", "10.1.2.300"],
                &["must be an IPv4 or IPv6 address, such as 192.0.2.1"],
            ),
            (
                "aw-query",
                vec!["who", "10.1.2.3", "--at", "yesterdya"],
                &["must be a time such as '2026-11-20 14:05'"],
            ),
            (
                "aw-mysql",
                with(&["-c", "open.cnf", "--check"]),
                &["all users can read it (chmod o-r)"],
            ),
            (
                "aw-mysql",
                with(&["-c", "key.cnf", "--check"]),
                &["line 2: unknown key hots (known keys: host, "],
            ),
            ("aw-sqlite", with(&["--table", "a b"]), &["must be a word of at most 64 letters"]),
            ("aw-sqlite", with(&["--check", "import", "x"]), &["omit one of the two"]),
            (
                "aw-syslog",
                with(&["--to", "logs.example.net"]),
                &["must be a socket's path, udp://HOST[:PORT] or tcp://HOST[:PORT]"],
            ),
            (
                "aw-syslog",
                with(&["--to", "udp://127.0.0.1", "--structured", "--check"]),
                &["--structured needs --format rfc5424"],
            ),
            (
                "aw-tracker",
                with(&["-c", "tracker.conf", "--check"]),
                &["line 2: unknown key LOGDR (known keys: HOST, "],
            ),
            (
                "aw-metrics",
                with(&["--listen", "9714x"]),
                &["must be ADDR:PORT, [IPv6]:PORT or PORT"],
            ),
        ],
    );
    running.stop().ok();
}

/// A home user, with names, mail, a program and Home Assistant. More of them: above (a wrong password, a broker or mail server that is
/// down, an address that the server does not know, files of root).
#[test]
fn mistakes_of_a_home_user() {
    let channel = |text: &str| format!("[[channel]]\nname = \"x\"\n{text}\n");
    let mail = |text: &str| {
        channel(&format!(
            "smtp = {{ server = \"mail.example.net\", to = [\"a@b.example\"], {text} }}"
        ))
    };
    let texts = [
        ("kind.toml", channel("command = [\"/bin/true\"]\nkinds = [\"new_devise\"]")),
        ("table.toml", "[[chanel]]\n".into()),
        ("none.toml", channel("")),
        ("relative.toml", channel("command = [\"notify\"]")),
        ("script.toml", channel("command = [\"/tmp\"]")),
        ("from.toml", mail("from = \"aw\"")),
        ("empty.toml", mail("from = \"a@b.example\", user = \"u\", password_file = \"empty\"")),
        ("open.toml", mail("from = \"a@b.example\", user = \"u\", password_file = \"open\"")),
        ("empty", String::new()),
        ("open", "x\n".into()),
    ];
    let texts: Vec<_> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
    let files = with_files(&texts);
    let open = Permissions::from_mode(0o644);
    fs::set_permissions(files.path().join("open"), open).unwrap();
    let state = ["--state-dir", ".", "--ring", "/first-hour"];
    let with = |more: &[&'static str]| [&state[..], more].concat();
    let alert = |config: &'static str| with(&["-c", config, "--check"]);
    each_is_refused(
        files.path(),
        &[
            (
                "aw-alert",
                alert("nowhere.toml"),
                &["no such file or directory (name another file with -c)"],
            ),
            (
                "aw-alert",
                alert("kind.toml"),
                &["line 4: unknown value `new_devise` (did you mean `new_device`?)"],
            ),
            ("aw-alert", alert("table.toml"), &["unknown key `chanel` (did you mean `channel`?)"]),
            (
                "aw-alert",
                alert("none.toml"),
                &["needs exactly one of command, smtp, sendmail, webhook, syslog"],
            ),
            ("aw-alert", alert("relative.toml"), &["the program must be an absolute path"]),
            ("aw-alert", alert("script.toml"), &["run /tmp: it is not a file (name a program)"]),
            ("aw-alert", alert("from.toml"), &["mail address \"aw\"", "(write NAME@DOMAIN)"]),
            (
                "aw-alert",
                alert("empty.toml"),
                &["the first line is empty (write the secret into it)"],
            ),
            ("aw-alert", alert("open.toml"), &["other users may read or write it (chmod o= "]),
            ("aw-alert", with(&["--learn", "7x"]), &["must be a time span such as 90s, 30m, 2h"]),
            (
                "aw-alert",
                with(&["--names", "nowhere", "--check"]),
                &["(create it, or name another file)"],
            ),
            (
                "aw-mqtt",
                with(&["--broker", "localhost"]),
                &["must be mqtt://HOST[:PORT] or mqtts://HOST[:PORT]"],
            ),
            (
                "aw-mqtt",
                with(&[
                    "--broker",
                    "mqtt://192.0.2.9",
                    "--login",
                    "x",
                    "--password-env",
                    "PATH",
                    "--check",
                ]),
                &["(use mqtts:// or --plain-password)"],
            ),
            ("aw-mqtt", with(&["--password-file", "open"]), &["--login <NAME>"]),
            (
                "aw-tracker",
                with(&["--check", "-c", "/dev/null"]),
                &["no directory for logs (set LOGDIR in "],
            ),
            (
                "aw-query",
                vec!["name", "02:00:00:00:00:0g", "x"],
                &["must be a MAC address, such as "],
            ),
        ],
    );
}

/// An administrator of many MikroTik routers. More of them: routeros_words.rs (a wrong login, an empty password, a key that the router
/// does not have, lists, groups, names that are taken, files of root, mail that is refused), routeros_faults.rs.
#[test]
fn mistakes_of_an_administrator_of_routers() {
    let router = |text: &str| {
        format!("archive = \"archive\"\n[[router]]\nname = \"a\"\nhost_key = \"none\"\n{text}\n")
    };
    let texts = [
        ("empty.toml", String::new()),
        ("key.toml", router("adress = \"192.0.2.1\"")),
        ("login.toml", router("address = \"192.0.2.1\"\nuser = \"x\"")),
        ("group.toml", router("address = \"192.0.2.1\"\ngroup = \"x\"")),
        ("mail.toml", "archive = \"archive\"\n[mail]\nserver = \"127.0.0.1\"\nfrom = \"a@b.example\"\nto = [\"b\"]\n".into()),
        ("none", String::new()),
    ];
    let texts: Vec<_> = texts.iter().map(|(name, text)| (*name, &**text)).collect();
    let files = with_files(&texts);
    let check = |config: &'static str| vec!["-c", config, "check"];
    each_is_refused(
        files.path(),
        &[
            (
                "aw-routeros",
                check("nowhere.toml"),
                &["(aw-routeros add HOST creates it; -c names another)"],
            ),
            ("aw-routeros", check("empty.toml"), &["missing key `archive`"]),
            (
                "aw-routeros",
                check("key.toml"),
                &["unknown key `adress`", "(did you mean `address`?)"],
            ),
            (
                "aw-routeros",
                check("group.toml"),
                &["group \"x\": there is no [group.x] (there are no groups: add [group.x]"],
            ),
            ("aw-routeros", check("mail.toml"), &["mail address \"b\"", "(write NAME@DOMAIN)"]),
            (
                "aw-routeros",
                vec!["-c", "new.toml", "add", "not/a/host"],
                &["must be HOST, HOST:PORT, an IPv6 address or [IPv6]:PORT"],
            ),
            (
                "aw-routeros",
                vec![
                    "-c",
                    "new.toml",
                    "add",
                    "127.0.0.1:1",
                    "--name",
                    "a",
                    "--login",
                    "x",
                    "--password-file",
                    "none",
                ],
                &["connect to 127.0.0.1:1: connection refused"],
            ),
            (
                "aw-routeros",
                vec!["-c", "key.toml", "report", "--since", "yesterdya"],
                &["must be a time such as '2026-11-20 14:05', 'yesterday 20:00', 14:05 or 2h"],
            ),
            (
                "aw-routeros",
                vec!["-c", "key.toml", "--chekc"],
                &["unexpected argument '--chekc'", "--help lists the options"],
            ),
            (
                "aw-routeros",
                vec!["-c", "nowhere.toml"],
                &["no such file or directory (aw-routeros add HOST"],
            ),
            ("aw-routeros", vec!["-c", "nowhere.toml", "show"], &["no such file or directory"]),
            (
                "aw-routeros",
                vec![
                    "-c",
                    "new.toml",
                    "add",
                    "192.0.2.1",
                    "--name",
                    "a b",
                    "--login",
                    "x",
                    "--password-file",
                    "none",
                ],
                &["router name \"a b\": must be 1 to 64 letters, digits, dots, dashes"],
            ),
        ],
    );
    assert!(!files.path().join("new.toml").exists());
}
