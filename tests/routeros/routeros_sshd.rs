//! `aw-routeros` and a second, independent SSH server: Debian's sshd, with a script in RouterOS's place, and keys of
//! ssh-keygen and ssh-agent.
#![forbid(unsafe_code)]

use aw_tests::rig::{Run, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::routeros::{Router, Version, fingerprint, new_key};
use aw_tests::server::{Server, ServerProcess, free_port, installed, listens};
use aw_tests::watching::Watching;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SFTP_SERVER: &str = "/usr/lib/openssh/sftp-server";

/// The server, which runs as the user of the test.
struct Sshd {
    process: ServerProcess,
    port: u16,
    user: String,
}

impl Server for Sshd {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-E").arg(self.path("messages")).arg("-f").arg(self.path("config"));
        command
    }

    fn answers(&self, _: &Run) -> bool {
        listens(self.port)
    }
}

fn key(path: &Path, kind: &str) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-N", "", "-t", kind, "-f"]).arg(path);
    run(command).ok();
}

impl Sshd {
    fn start() -> Sshd {
        Sshd::with("")
    }

    /// With further lines of its configuration.
    fn with(options: &str) -> Sshd {
        let directory = tempfile::tempdir_in("/tmp").unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, kind) in [
            ("host_rsa", "rsa"),
            ("host_ed25519", "ed25519"),
            ("rsa", "rsa"),
            ("ed25519", "ed25519"),
        ] {
            key(&at(name), kind);
        }
        let public = |name: &str| fs::read_to_string(at(&format!("{name}.pub"))).unwrap();
        fs::write(at("authorized"), public("rsa") + &public("ed25519")).unwrap();
        fs::write(at("log"), "").unwrap();
        let script = format!(
            "#!/bin/sh\ncd {:?}\ncase \"$SSH_ORIGINAL_COMMAND\" in\n'/export terse'*) cat export ;;\n\
             '/log print follow-only'*) size=$(wc -c <log); : >followed; exec tail -c +$((size + 1)) -F log 2>/dev/null ;;\n'/log print') cat log ;;\nesac\n",
            directory.path()
        );
        fs::write(at("script"), script).unwrap();
        fs::set_permissions(at("script"), Permissions::from_mode(0o700)).unwrap();
        let port = free_port();
        let show = |name: &str| at(name).display().to_string();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nHostKey {}\nAuthorizedKeysFile {}\nForceCommand {}\n\
             StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n{options}\n",
            show("host_rsa"),
            show("host_ed25519"),
            show("authorized"),
            show("script"),
        );
        fs::write(at("config"), config).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap(); // which the package's service makes
        }
        let user = run({
            let mut command = Command::new("id");
            command.arg("-un");
            command
        });
        let user = user.ok().stdout.trim().to_owned();
        let mut server = Sshd { process: ServerProcess::new(directory), port, user };
        server.start_again();
        server.export(2_000);
        server
    }

    fn export(&self, lines: usize) {
        let line = |n| {
            format!(
                "/ip firewall address-list add address=192.0.2.1 list=l{n} comment={}\r\n",
                "x".repeat(60)
            )
        };
        let body: String = (0..lines).map(line).collect();
        let text =
            format!("# 2026-11-22 10:00:00 by RouterOS 7.14.2\r\n# software id = X\r\n#\r\n{body}");
        fs::write(self.path("export.new"), text).unwrap();
        fs::rename(self.path("export.new"), self.path("export")).unwrap();
    }

    fn log(&self, message: &str) {
        let mut text = fs::read_to_string(self.path("log")).unwrap();
        text += &format!(" 2026-11-22 10:00:00 system,info {message}\r\n");
        fs::write(self.path("log"), text).unwrap();
    }

    /// Its host key as the configuration has it.
    fn host_key(&self, host: &str) -> String {
        let mut command = Command::new("ssh-keygen");
        command.arg("-lf").arg(self.path(&format!("{host}.pub")));
        let print = run(command).ok().stdout;
        let print = print.split(' ').nth(1).unwrap();
        let kind = if host == "host_rsa" { "ssh-rsa" } else { "ssh-ed25519" };
        format!("{kind} {print}")
    }

    /// The same configuration as a jump host.
    fn as_jump_host(&self, watching: Watching) -> Watching {
        watching
            .option("[[jump_host]]")
            .option("name = \"bastion\"")
            .option(&format!("address = \"127.0.0.1:{}\"", self.port))
            .option(&format!("user = {:?}", self.user))
            .option(&format!("key_file = {:?}", self.path("ed25519")))
            .option(&format!("host_key = {:?}", self.host_key("host_rsa")))
    }

    fn watching(&self, ring: &Ring, host: &str) -> Watching {
        Watching::new(ring)
            .entry("core1", &format!("127.0.0.1:{}", self.port))
            .option(&format!("user = {:?}", self.user))
            .option(&format!("host_key = {:?}", self.host_key(host)))
            .option("settle = 1")
    }
}

/// With each type of user key and of host key: the pinned type is negotiated.
#[test]
fn another_server() {
    let server = Sshd::start();
    for (round, (user, host)) in
        [("ed25519", "host_rsa"), ("rsa", "host_ed25519")].into_iter().enumerate()
    {
        let ring = Ring::new();
        let watching =
            server.watching(&ring, host).option(&format!("key_file = {:?}", server.path(user)));
        let daemon = watching.start();
        daemon.stderr.wait_for("first contact");
        wait_until("the log is followed", || fs::remove_file(server.path("followed")).is_ok());
        server.export(2_001 + round);
        server.log(&format!("address list entry added by ssh:alice{round}@192.0.2.7 (*1 = /x)"));
        daemon.stderr.wait_for(&format!("changed by alice{round} (+1 -0)"));
        daemon.stop().ok();
    }
}

/// An SSH agent with a key that the server knows, and its socket.
fn agent(server: &Sshd) -> (Run, PathBuf) {
    let socket = server.path("agent");
    let mut command = Command::new("ssh-agent");
    command.arg("-D").arg("-a").arg(&socket);
    let agent = Run::start(command);
    wait_until("the agent listens", || socket.exists());
    let mut add = Command::new("ssh-add");
    add.arg(server.path("rsa")).env("SSH_AUTH_SOCK", &socket);
    run(add).ok();
    (agent, socket)
}

/// With the keys of an SSH agent.
#[test]
fn an_agent() {
    let (server, ring) = (Sshd::start(), Ring::new());
    let (_agent, socket) = agent(&server);
    let watching = server.watching(&ring, "host_rsa").option("agent = true");
    let mut command = watching.command();
    command.env("SSH_AUTH_SOCK", &socket);
    let daemon = Run::start(command);
    daemon.stderr.wait_for("first contact");
    daemon.stop().ok();
}

/// Each group has its own way to log in: a key, or the keys of an SSH agent. A key that the server does not know is refused.
#[test]
fn keys_of_groups() {
    let (server, ring) = (Sshd::start(), Ring::new());
    let (_agent, socket) = agent(&server);
    let mut watching = Watching::new(&ring);
    for (group, means) in [
        ("keys", format!("key_file = {:?}", server.path("ed25519"))),
        ("agents", "agent = true".into()),
        ("others", format!("key_file = {:?}", server.path("host_ed25519"))),
    ] {
        watching = watching
            .option(&format!("[group.{group}]"))
            .option(&format!("user = {:?}", server.user))
            .option(&means)
            .option(&format!("host_key = {:?}", server.host_key("host_rsa")));
    }
    let address = format!("127.0.0.1:{}", server.port);
    for (name, group) in [("one", "keys"), ("two", "agents")] {
        watching = watching.entry(name, &address).option(&format!("group = {group:?}"));
    }
    let with_agent = |mut command: Command| {
        command.env("SSH_AUTH_SOCK", &socket);
        command
    };
    let daemon = Run::start(with_agent(watching.command()));
    for name in ["one", "two"] {
        daemon.stderr.wait_for(&format!("{name}: first contact"));
    }
    daemon.stop().ok();
    // Which key each of them used.
    let messages = fs::read_to_string(server.path("messages")).unwrap();
    let accepted: Vec<_> =
        messages.lines().filter(|line| line.contains("Accepted publickey")).collect();
    for kind in [": ED25519 SHA256:", ": RSA SHA256:"] {
        assert!(accepted.iter().any(|line| line.contains(kind)), "{kind} {messages}");
    }
    watching.replace("group = \"keys\"", "group = \"others\"");
    let mut check = with_agent(watching.command());
    check.args(["check", "one"]);
    let refused = run(check);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.contains("login refused (check user and key: "), "{refused:?}");
}

/// Through sshd as a jump host: one login serves two routers, and their host keys are checked.
#[test]
fn a_jump_host() {
    let (mut bastion, ring) = (Sshd::start(), Ring::new());
    let (one, two) = (Router::start(Version::V7), Router::start(Version::V6));
    let mut watching = Watching::new(&ring)
        .router("one", &one, Version::V7)
        .option("via = \"bastion\"")
        .router("two", &two, Version::V6)
        .option("via = \"bastion\"");
    watching = bastion.as_jump_host(watching);
    bastion.stop();
    let daemon = watching.start();
    // There is no other way.
    daemon.stderr.wait_for("not followed: jump host bastion is down: connection refused");
    bastion.start_again();
    for name in ["one", "two"] {
        daemon.stderr.wait_for(&format!("{name}: first contact"));
    }
    one.add("alice", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("one: configuration changed by alice (+1 -0)");
    let logins = || {
        let log = fs::read_to_string(bastion.path("messages")).unwrap();
        log.matches("Accepted publickey").count()
    };
    assert_eq!(logins(), 1);
    daemon.stop().ok();
    // Another machine in the place of a router behind it.
    watching.replace(&one.host_key, &fingerprint(&new_key()));
    let before = one.counts();
    let mut command = watching.command();
    command.args(["check", "one"]);
    let found = run(command).refused("aw-routeros", &["1 of 1 router cannot be followed"]);
    assert!(found.stdout.contains("ITS HOST KEY HAS CHANGED"), "{found:?}");
    assert_eq!(one.counts(), before, "no password is sent to a machine with a wrong key");
}

/// A jump host that forwards nothing is named, with what to set.
#[test]
fn a_jump_host_that_does_not_forward() {
    let (mut bastion, ring, router) = (Sshd::start(), Ring::new(), Router::start(Version::V7));
    bastion.stop();
    let config = fs::read_to_string(bastion.path("config")).unwrap();
    fs::write(bastion.path("config"), config + "AllowTcpForwarding no\n").unwrap();
    bastion.start_again();
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("via = \"bastion\"");
    let watching = bastion.as_jump_host(watching);
    let mut command = watching.command();
    command.arg("check");
    let why = format!("jump host bastion: it does not forward to {}", router.address);
    let found = run(command).refused("aw-routeros", &["1 of 1 router cannot be followed"]);
    assert!(
        found.stdout.contains(&why) && found.stdout.contains("AllowTcpForwarding"),
        "{found:?}"
    );
}

/// A router that is down behind a jump host that works.
#[test]
fn a_router_that_is_down_behind_a_jump_host() {
    let (bastion, ring, router) = (Sshd::start(), Ring::new(), Router::start(Version::V7));
    let watching =
        Watching::new(&ring).router("core1", &router, Version::V7).option("via = \"bastion\"");
    let watching = bastion.as_jump_host(watching);
    router.shut_down();
    let mut command = watching.command();
    command.arg("check");
    let found = run(command).refused("aw-routeros", &["1 of 1 router cannot be followed"]);
    let why = format!("through bastion: it cannot connect to {}", router.address);
    assert!(
        found.stdout.contains(&why) && !found.stdout.contains("AllowTcpForwarding"),
        "{found:?}"
    );
}

/// A backup is fetched from OpenSSH's SFTP server, and stored as it was.
#[test]
fn a_backup() {
    if !installed(&["/usr/bin/age", "/usr/bin/age-keygen", SFTP_SERVER], "age") {
        return;
    }
    let (server, ring) = (Sshd::with(&format!("Subsystem sftp {SFTP_SERVER}")), Ring::new());
    let mut command = Command::new("age-keygen");
    command.arg("-o").arg(server.path("age"));
    let made = run(command).ok();
    let text = made.stderr + &made.stdout;
    let key = text.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    // Of several parts.
    let file: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(server.path("binary"), &file).unwrap();
    let script = fs::read_to_string(server.path("script")).unwrap();
    let more = format!(
        "'/system backup save name=addrwatch-backup dont-encrypt=yes') cp binary addrwatch-backup.backup; echo 'Configuration backup saved' ;;\n\
         '/file remove addrwatch-backup.backup') rm addrwatch-backup.backup && : >removed ;;\n{SFTP_SERVER}) exec {SFTP_SERVER} ;;\nesac"
    );
    fs::write(server.path("script.new"), script.replace("esac", &more)).unwrap();
    fs::set_permissions(server.path("script.new"), Permissions::from_mode(0o700)).unwrap();
    fs::rename(server.path("script.new"), server.path("script")).unwrap();
    let watching = server
        .watching(&ring, "host_rsa")
        .global(&format!("encrypt_to = [{key:?}]"))
        .option(&format!("key_file = {:?}", server.path("rsa")))
        .option("backup = true");
    let daemon = watching.start();
    wait_until("it was removed", || server.path("removed").exists());
    let directory = watching.archive("core1").join("backups");
    let backups = || fs::read_dir(&directory).into_iter().flatten().count();
    wait_until("it is stored", || backups() == 1);
    daemon.stop().ok();
    let stored = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    let mut command = Command::new("age");
    command.arg("-d").arg("-i").arg(server.path("age")).arg("-o").arg(server.path("clear"));
    command.arg(stored);
    run(command).ok();
    assert!(fs::read(server.path("clear")).unwrap() == file);
    assert!(!server.path("addrwatch-backup.backup").exists());
}

/// The message names the kind of algorithm that is missing, what the server offers, and the key that allows it.
#[test]
fn old_algorithms() {
    let cases = [
        (
            "KexAlgorithms diffie-hellman-group14-sha1",
            "key exchange",
            "diffie-hellman-group14-sha1",
            "legacy = true",
        ),
        (
            "KexAlgorithms diffie-hellman-group1-sha1",
            "key exchange",
            "diffie-hellman-group1-sha1",
            "legacy = true and legacy_group1 = true",
        ),
        ("Ciphers aes128-cbc", "cipher", "aes128-cbc", "legacy = true"),
        (
            "Ciphers aes128-ctr\nMACs hmac-sha1,hmac-md5",
            "MAC",
            "hmac-sha1, hmac-md5",
            "legacy = true",
        ),
        ("HostKeyAlgorithms ssh-rsa", "host key", "ssh-rsa", "legacy = true"),
    ];
    for (options, kind, offer, remedy) in cases {
        let (server, ring) = (Sshd::with(options), Ring::new());
        let mut watching = server
            .watching(&ring, "host_rsa")
            .option(&format!("key_file = {:?}", server.path("rsa")));
        let daemon = watching.start();
        let message = format!(
            "no common {kind} algorithm, the router offers {offer} (old algorithms: set {remedy})"
        );
        daemon.stderr.wait_for(&message);
        watching.replace("settle = 1", &format!("settle = 1\n{}", remedy.replace(" and ", "\n")));
        daemon.signal(rustix::process::Signal::HUP);
        daemon.stderr.wait_for("first contact");
        daemon.stop().ok();
    }
    // What no key allows, and a pinned host key of another type.
    for (options, message) in [
        (
            "Ciphers aes128-ctr\nMACs hmac-md5",
            "no common MAC algorithm, the router offers hmac-md5 (none of them is supported",
        ),
        (
            "HostKeyAlgorithms ssh-ed25519",
            "no common host key algorithm, the router offers ssh-ed25519 (no host_key is of these types",
        ),
    ] {
        let (server, ring) = (Sshd::with(options), Ring::new());
        let watching = server
            .watching(&ring, "host_rsa")
            .option(&format!("key_file = {:?}", server.path("rsa")));
        let daemon = watching.start();
        daemon.stderr.wait_for(message);
        daemon.stop().ok();
    }
}

/// After its time limit an export is ended on the server, which closes the channel, before the next one begins. `slow` is what the
/// command does; it ends by itself once its channel is closed. Returns the daemon, which has the
/// configuration then, and its files.
fn late_exports(server: &Sshd, ring: &Ring, slow: &str) -> (Watching, Run) {
    let script = fs::read_to_string(server.path("script")).unwrap();
    let slow = format!(
        "'/export terse'*) if [ -e slow ]; then [ -e running ] && : >both; : >running; {slow} fi; cat export ;;"
    );
    let (new, script) =
        (server.path("script.new"), script.replace("'/export terse'*) cat export ;;", &slow));
    fs::write(&new, script).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o700)).unwrap();
    fs::rename(&new, server.path("script")).unwrap();
    fs::write(server.path("slow"), "").unwrap();
    let watching = server
        .watching(ring, "host_rsa")
        .option(&format!("key_file = {:?}", server.path("rsa")))
        .option("timeout = 5");
    let daemon = watching.start();
    daemon.stderr.wait_for("took longer than 5s (if the router needs longer, raise timeout)");
    wait_until("the export was ended", || !server.path("running").exists());
    wait_until("the next export", || server.path("running").exists());
    fs::remove_file(server.path("slow")).unwrap();
    daemon.stderr.wait_for("first contact");
    assert!(!server.path("both").exists(), "one at a time");
    (watching, daemon)
}

/// sshd closes the pipes of a command whose channel is closed, and the command ends when it writes: as RouterOS.
#[test]
fn a_late_export() {
    let (server, ring) = (Sshd::start(), Ring::new());
    let slow = "trap 'rm running; exit' PIPE; while sleep 0.2; do echo '#' || { rm -f running; exit; }; done;";
    let (_watching, daemon) = late_exports(&server, &ring, slow);
    daemon.stop().ok();
}

/// The same for one that never writes: its pipes are closed, and no second one begins while it runs.
#[test]
fn an_export_that_hangs() {
    let (server, ring) = (Sshd::start(), Ring::new());
    let (_watching, daemon) = late_exports(&server, &ring, "cat >/dev/null; rm running; exit;");
    let logins = fs::read_to_string(server.path("messages")).unwrap();
    assert_eq!(logins.matches("Accepted publickey").count(), 1, "the log is followed on");
    daemon.stop().ok();
}

/// The same for one that only sleeps, which sshd does not end: its channel is closed, and the next one begins after it here
/// only because of the pause after a failed export.
#[test]
fn an_export_that_sleeps() {
    let (server, ring) = (Sshd::start(), Ring::new());
    let slow = "trap '' PIPE; sleep 8; echo '#' || : >closed; rm running; exit;";
    let (_watching, daemon) = late_exports(&server, &ring, slow);
    assert!(server.path("closed").exists(), "its output was closed");
    let logins = fs::read_to_string(server.path("messages")).unwrap();
    assert_eq!(logins.matches("Accepted publickey").count(), 1, "the log is followed on");
    daemon.stop().ok();
}

/// A router as a jump host, which is followed itself.
#[test]
fn a_router_as_a_jump_host() {
    let (edge, inner, ring) = (Router::start(Version::V7), Router::start(Version::V6), Ring::new());
    edge.state().forwards = true;
    let watching = Watching::new(&ring)
        .router("edge", &edge, Version::V7)
        .router("inner", &inner, Version::V6)
        .option("via = \"edge\"");
    let daemon = watching.start();
    daemon.stderr.wait_for("edge: first contact");
    daemon.stderr.wait_for("inner: first contact");
    inner.add("bob", "/ip dns set servers=192.0.2.53");
    daemon.stderr.wait_for("inner: configuration changed by bob (+1 -0)");
    let forwarded = edge.state().forwarded;
    assert_eq!((forwarded, edge.counts().0), (1, 2));
    // The connection of the inner router ends with that of the edge, and is made again.
    edge.cut();
    daemon.stderr.wait_for("inner: connection lost");
    inner.add_unheard("eve", "/ip dns set servers=192.0.2.54");
    daemon.stderr.wait_for("inner: configuration changed by UNKNOWN (+1 -0)");
    daemon.stop().ok();
    edge.state().forwards = false; // RouterOS's default
    let mut command = watching.command();
    command.args(["check", "inner"]);
    let found = run(command).refused("aw-routeros", &["1 of 1 router cannot be followed"]);
    assert!(found.stdout.contains("forwarding-enabled=both"), "{found:?}");
}
