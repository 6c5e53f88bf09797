//! The guide for routers: the commands of "Twenty routers, from nothing to the first mail", as they stand there.
#![forbid(unsafe_code)]

use aw_tests::mail_sink::MailSink;
use aw_tests::rig::{binary, run_with, skip, wait_until};
use aw_tests::routeros::{Router, Version};
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// The blocks of code of a section, each with its language and without its indentation.
fn blocks(section: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = section.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let indent = line.len() - line.trim_start().len();
        let inside = lines.by_ref().take_while(|line| line.trim_start() != "```");
        let text: String =
            inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or(""))).collect();
        blocks.push((language.to_owned(), text));
    }
    blocks
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

/// On twenty routers, four of them with RouterOS 6, at the port of SSH: only their addresses, the length of the list and the port
/// of the mail server differ from the guide. Its files are those of a new machine. `ssh` to the routers and `systemctl` are replaced.
#[test]
fn from_nothing_to_the_first_mail() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can mount");
    }
    let sink = MailSink::start();
    let guide = include_str!("../../docs/guide/routeros.md");
    let (_, section) =
        guide.split_once("\n## Twenty routers, from nothing to the first mail\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let addresses = [
        ("192.0.2.101", "127.88.22.101"),
        ("192.0.2.102", "127.88.22.102"),
        ("192.0.2.1", "127.88.22.1"),
    ];
    let mut section = section.replace("127.0.0.1:25\"", &format!("127.0.0.1:{}\"", sink.port));
    for (shown, real) in addresses {
        assert!(section.contains(shown));
        section = section.replace(shown, real);
    }
    // The guide has the first three of the list.
    let branch = |n: u32| (format!("branch{n}"), format!("127.88.22.{}", 100 + n));
    let shown = "'branch2 127.88.22.102'";
    assert!(section.contains(shown));
    let more: String = (3..20).map(branch).map(|(name, ip)| format!(" '{name} {ip}'")).collect();
    let section = section.replace(shown, &(shown.to_owned() + &more));
    let is_old = |n: u32| n % 5 == 2;
    let start = |(n, ip): (u32, String)| {
        let version = if is_old(n) { Version::V6 } else { Version::V7 };
        Router::start_on(version, SocketAddr::new(ip.parse().unwrap(), 22))
    };
    let branches: Vec<_> = (1..20).map(|n| start((n, branch(n).1))).collect();
    let core1 = start((0, addresses[2].1.into()));

    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["bin", "etc", "var", "home", "run", "shm"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::set_permissions(at("shm"), Permissions::from_mode(0o1777)).unwrap();
    std::os::unix::fs::chown(at("run"), Some(64323), None).unwrap();
    fs::copy(binary("aw-routeros"), at("bin/aw-routeros")).unwrap();
    script(&at("bin/sudo"), "exec \"$@\"");
    script(&at("bin/ssh"), &format!("printf '%s\\n' \"$*\" >> {}", at("ssh.log").display()));
    let pid = at("run/pid");
    script(
        &at("bin/systemctl"),
        &format!(
            "echo \"$*\" >> {}; exec aw-routeros -d -p {}",
            at("systemctl.log").display(),
            pid.display()
        ),
    );
    let known = fs::read_to_string("/etc/passwd").unwrap();
    let others = known.lines().filter(|line| !line.starts_with("aw-routeros:"));
    let all = others.chain(["aw-routeros:x:64323:64323::/nonexistent:/bin/false", ""]);
    fs::write(at("passwd"), all.collect::<Vec<_>>().join("\n")).unwrap();
    // A machine of its own as far as files go, at each command.
    let shell = |command: &str, input: &str| {
        let mounts = "cd \"$1\"; mount --bind passwd /etc/passwd; mkdir -p /etc/addrwatch /var/lib/addrwatch; \
            mount --bind etc /etc/addrwatch; mount --bind var /var/lib/addrwatch; mount --bind shm /dev/shm; export PATH=\"$1/bin:$PATH\"; cd home; exec sh -ec \"$2\"";
        let mut shell = Command::new("unshare");
        shell.args(["-m", "sh", "-ec", mounts, "sh"]).arg(directory.path()).arg(command);
        run_with(shell, input.as_bytes())
    };
    let blocks = blocks(&section);
    let languages: Vec<_> = blocks.iter().map(|(language, _)| language.as_str()).collect();
    assert_eq!(languages, ["sh", "toml", "sh"], "the steps of the guide");
    shell(&blocks[0].1, "").ok();
    let asked = fs::read_to_string(at("ssh.log")).unwrap();
    for address in branches.iter().chain([&core1]).map(|router| router.address.ip()) {
        let user = format!(
            "-n admin@{address} /user group add name=audit policy=ssh,read; /user add name=audit group=audit password=secret"
        );
        assert_eq!(asked.matches(&user).count(), 1, "{user}: {asked}");
    }
    fs::write(at("etc/routeros.toml"), &blocks[1].1).unwrap();
    let mut added = String::new();
    for line in blocks[2].1.lines() {
        let input = match line {
            _ if line.contains("audit.pass") => "secret\n",
            _ if line.contains(" add --from ") => "yes\n",
            _ => "",
        };
        let finished = shell(line, input);
        added += &finished.stdout;
        // RouterOS 6 needs the command after it.
        let is_first = line.contains(" add ") && !line.contains("--legacy");
        assert_eq!(finished.status.code(), Some(i32::from(is_first)), "{line}: {finished:?}");
        if is_first {
            for name in (1..20).filter(|n| is_old(*n)).map(|n| branch(n).0) {
                assert!(finished.stderr.contains(&format!("{name} (")), "{name}: {finished:?}");
            }
        }
    }
    assert!(
        added.contains("16 routers are added") && added.contains("4 routers are added"),
        "{added}"
    );
    let password = fs::metadata(at("etc/audit.pass")).unwrap();
    assert_eq!(
        (std::os::unix::fs::MetadataExt::uid(&password), password.permissions().mode() & 0o777),
        (64323, 0o600)
    );
    let enabled = fs::read_to_string(at("systemctl.log")).unwrap();
    assert_eq!(enabled, "enable --now aw-routeros\n");
    let stored = |name: &str| at(&format!("var/routeros/{name}/latest.rsc")).exists();
    let all = || (1..20).map(|n| branch(n).0).chain(["core1".into()]);
    wait_until("all are stored", || all().all(|name| stored(&name)));
    core1.add("alice", "/system note set note=changed");
    sink.wait_for(&["core1: configuration changed by alice", "note=changed"]);
    let id = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(id).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    wait_until("its end", || !Path::new(&format!("/proc/{id}")).exists());
}
