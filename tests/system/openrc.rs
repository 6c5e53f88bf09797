//! The init scripts in `contrib/openrc`, run by Debian's OpenRC in namespaces of their own: messages, directories, crash loops.
#![forbid(unsafe_code)]

use aw_tests::feed::publish;
use aw_tests::rig::{public_copy, run, skip};
use aw_tests::ring::Ring;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib");

/// An unused group id, of the group addrwatch.
const GROUP: u32 = 64_001;

/// What OpenRC finds at boot, in place of this machine's: an empty /run, /var/log and /var/lib; /etc with services,
/// configurations and users of ours; and BusyBox's tools, which are those of Alpine, the system that most often has OpenRC.
const BOOT: &str = r#"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /var/lib
mkdir -p /run/lock /run/openrc
touch /run/openrc/softlevel
for state in starting started stopping inactive wasinactive failed hotplugged daemons options exclusive scheduled tmp; do
    mkdir -p "/run/openrc/$state"
done
mkdir "$root/all"
cp -a /etc/. "$root/all"
rm -rf "$root/all/init.d" "$root/all/runlevels"
cp -r "$root/etc/." "$root/all"
mount --bind "$root/all" /etc
for tool in sed date dash; do
    mount --bind "$(command -v busybox)" "$(readlink -f "$(command -v $tool)")"
done
until_it() { for i in $(seq 1800); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done; echo "timeout: $*"; exit 1; }
"#;

/// A machine with these services, which share one ring.
struct Machine {
    directory: tempfile::TempDir,
    ring: Ring,
}

impl Machine {
    /// None where OpenRC cannot run.
    fn new(services: &[&str]) -> Option<Machine> {
        if !Path::new("/sbin/openrc-run").exists() {
            skip("there is no OpenRC here (openrc)");
            return None;
        }
        if !Path::new("/usr/bin/busybox").exists() {
            skip("there is no BusyBox here (busybox)");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            skip("only root can mount");
            return None;
        }
        let programs = services.iter().map(|name| name.trim_start_matches("addrwatch-"));
        let machine =
            Machine { directory: public_copy(&programs.collect::<Vec<_>>()), ring: Ring::new() };
        for name in ["etc/init.d", "etc/conf.d", "etc/addrwatch"] {
            fs::create_dir_all(machine.path(name)).unwrap();
        }
        // Without an entry in /etc/shadow, which PAM would miss.
        let mut users = fs::read_to_string("/etc/passwd").unwrap()
            + &format!("addrwatch:*:64001:{GROUP}::/:/bin/false\n");
        let group = fs::read_to_string("/etc/group").unwrap() + &format!("addrwatch:x:{GROUP}:\n");
        for (name, number) in services.iter().zip(64002..) {
            users += &format!("{name}:*:{number}:{GROUP}::/:/bin/false\n");
            let file = if *name == "addrwatch-collector" { *name } else { "aw-output" };
            let root = machine.directory.path().display().to_string();
            let script = fs::read_to_string(format!("{CONTRIB}/openrc/{file}")).unwrap();
            let path = machine.path("etc/init.d").join(name);
            fs::write(&path, script.replace("/usr/bin", &root)).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(machine.path("etc/passwd"), users).unwrap();
        fs::write(machine.path("etc/group"), group).unwrap();
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The lines of `/etc/conf.d/NAME`.
    fn configure(&self, service: &str, lines: &str) {
        fs::write(self.path("etc/conf.d").join(service), lines).unwrap();
    }

    /// What this script prints, which runs on the machine.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-euc"]);
        command.arg(format!("{BOOT}{script}")).env("root", self.directory.path());
        run(command).ok().stdout
    }
}

/// Services start, and their directories and messages are there: the program's own and those of its configuration.
#[test]
fn services_start_and_log() {
    let services = ["addrwatch-collector", "aw-tracker", "aw-stdout", "aw-sqlite"];
    let Some(machine) = Machine::new(&services) else { return };
    let ring = machine.ring.name();
    machine.configure(
        "addrwatch-collector",
        &format!("collector_args='--ring {ring} -v --macupd 127.0.0.1:0 --wait lo'"),
    );
    for output in &services[1..] {
        machine.configure(output, &format!("output_args='--ring {ring} --verbose'"));
    }
    let config = fs::read_to_string(format!("{CONTRIB}/macupd_tracker.conf")).unwrap();
    let config =
        config.replace("REPORTDIR=/var/www/html ", "ReportDir = /var/lib/addrwatch/report/ ");
    fs::write(machine.path("etc/addrwatch/macupd_tracker.conf"), config).unwrap();
    let printed = machine.sh(
        "mkdir -p /var/lib/addrwatch/report; chown root:addrwatch /var/lib/addrwatch/report
         for it in addrwatch-collector aw-tracker aw-stdout aw-sqlite; do
             rc-service $it start >/dev/null
             until_it test -s /var/log/addrwatch/$it.log
         done
         until_it grep 'reading ring' /var/log/addrwatch/aw-sqlite.log
         for it in addrwatch-collector aw-tracker aw-stdout aw-sqlite; do rc-service $it status; done
         cd /var; stat -c '%n %a %U:%G' log/addrwatch/* lib/addrwatch/*
         grep -h MACupd log/addrwatch/addrwatch-collector.log
         for it in aw-sqlite addrwatch-collector; do
             rc-service $it stop >/dev/null
             rc-service $it status || echo $?
         done",
    );
    for expected in [
        "log/addrwatch/addrwatch-collector.log 640 root:addrwatch",
        "log/addrwatch/aw-sqlite.log 640 aw-sqlite:addrwatch",
        "log/addrwatch/aw-stdout 750 aw-stdout:addrwatch",
        "log/addrwatch/aw-tracker 750 aw-tracker:addrwatch",
        "lib/addrwatch/aw-sqlite 750 aw-sqlite:addrwatch",
        "lib/addrwatch/report 755 root:addrwatch",
    ] {
        assert!(printed.lines().any(|line| line == expected), "{expected} is not in {printed}");
    }
    assert_eq!(printed.matches("status: started").count(), services.len(), "{printed}");
    assert!(printed.contains("(MACupd)"), "{printed}");
    assert_eq!(printed.matches("status: stopped").count(), 2, "{printed}");
}

/// A service that ends again and again is started again without a limit; its state, its log and rc-status say so. When the
/// cause is gone, it runs, and its state is good after a minute.
#[test]
fn a_crash_loop_is_visible() {
    let services = ["aw-syslog"];
    let Some(machine) = Machine::new(&services) else { return };
    publish(&machine.ring, 1..4);
    chown(machine.ring.path(), None, Some(GROUP)).unwrap();
    let options = format!("--ring {} --verbose --to udp://127.0.0.1:9", machine.ring.name());
    machine.configure("aw-syslog", &format!("output_args='{options}' respawn_delay=1"));
    let printed = machine.sh(r#"
         mkdir "$root/good"; mv "$root/aw-syslog" "$root/good"
         printf '#!/bin/sh\nexec "%s/good/aw-syslog" --nonsense\n' "$root" >"$root/bad"
         chmod 755 "$root/good" "$root/bad"; cp "$root/bad" "$root/aw-syslog"
         state() { rc-service aw-syslog status 2>&1 || echo "exit $?"; }
         rc-service aw-syslog start
         # More often than the limit of an earlier release.
         until_it sh -c 'test "$(cat /run/openrc/options/aw-syslog/start_count)" -gt 12'
         for i in $(seq 30); do state | tr '\n' ' '; echo; sleep 0.1; done
         rc-status --all 2>&1
         cat /var/log/addrwatch/aw-syslog.log
         mv "$root/good/aw-syslog" "$root/aw-syslog"
         until_it grep 'reading ring' /var/log/addrwatch/aw-syslog.log
         echo "begun: $(state | tr '\n' ' ')"
         date -d @$(($(date +%s) - 61)) '+%Y-%m-%d %H:%M:%S' >/run/openrc/options/aw-syslog/start_time
         echo "after a minute: $(state | tr '\n' ' ')"
         rc-service aw-syslog restart >/dev/null
         echo "after an order: $(state)""#);
    let lines = |part: &str| printed.lines().filter(|line| line.contains(part)).count();
    let loops = lines("status: crashed: it ended and will be started again (")
        + lines("it ended and was started again ");
    assert!(loops >= 30, "{printed}");
    assert!(lines("status: crashed: ") > 0, "{printed}");
    assert!(lines("exit 32") >= 30, "{printed}");
    assert!(lines("aw-syslog.log) exit 32") > 0, "{printed}");
    // How often it was started again.
    let number_after = |line: &str, text: &str| {
        let digits: String =
            line.split(text).nth(1)?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    };
    let line = printed.lines().find(|line| line.trim_start().starts_with("aw-syslog  "));
    assert!(line.and_then(|line| number_after(line, "(")) > Some(12), "{printed}");
    assert!(printed.contains("unexpected argument '--nonsense'"), "{printed}");
    let begun = |line: &str| line.starts_with("begun: ") && line.contains("exit 32");
    assert!(printed.lines().any(begun), "{printed}");
    let good = |line: &str| {
        let warned =
            number_after(line, "was started again ") > Some(12) && line.contains("status: started");
        line.starts_with("after a minute: ") && warned && !line.contains("exit")
    };
    assert!(printed.lines().any(good), "{printed}");
    assert!(printed.contains("after an order:  * status: started"), "{printed}");
}

/// A limit of one's own: the service stays down, and its state says so; one start later it runs.
#[test]
fn a_limit_of_starts() {
    let services = ["aw-syslog"];
    let Some(machine) = Machine::new(&services) else { return };
    publish(&machine.ring, 1..4);
    chown(machine.ring.path(), None, Some(GROUP)).unwrap();
    let ring = machine.ring.name();
    let limits = "respawn_delay=1 respawn_max=2 respawn_period=600";
    machine.configure("aw-syslog", &format!("output_args='--ring {ring} --nonsense' {limits}"));
    let printed = machine.sh(&format!(
        "rc-service aw-syslog start
         until_it test -L /run/openrc/failed/aw-syslog
         rc-service aw-syslog status 2>&1 || echo $?
         rc-status --all 2>&1
         cat /var/log/addrwatch/aw-syslog.log
         echo \"output_args='--ring {ring} --verbose --to udp://127.0.0.1:9'\" >/etc/conf.d/aw-syslog
         rc-service aw-syslog start
         until_it grep 'reading ring' /var/log/addrwatch/aw-syslog.log
         rc-service aw-syslog status"
    ));
    let failed = "status: failed: it ended again and again, or did not start (see /var/log/addrwatch/aw-syslog.log)\n32\n";
    assert!(printed.contains(failed), "{printed}");
    let line = printed
        .lines()
        .find(|line| line.trim_start().starts_with("aw-syslog  "))
        .unwrap_or_default();
    assert!(line.contains("failed"), "{printed}");
    assert!(printed.contains("unexpected argument '--nonsense'"), "{printed}");
    assert!(printed.contains("status: started"), "{printed}");
}
