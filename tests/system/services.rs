//! `contrib/`: units, supervisor programs and init scripts. Without a running systemd, its own tool checks the
//! units, and their command lines are run with the same restrictions: users, capabilities, system calls, a read-only root
//! directory.
#![forbid(unsafe_code)]

use aw_tests::feed::publish;
use aw_tests::lan::Lan;
use aw_tests::rig::{
    Run, TIMEOUT, binary, program, program_at, public_copy, run, skip, wait_until,
};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTRIB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../contrib");
const COLLECTOR: &str = "addrwatch-collector@.service";

/// Unused user ids.
const CAPTURES: u32 = 64_001;
const READS: u32 = 64_002;

fn units() -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(CONTRIB).join("systemd")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "service")).collect()
}

fn name_of(unit: &Path) -> String {
    unit.file_name().unwrap().to_str().unwrap().to_owned()
}

/// The outputs, each of which has a unit.
fn outputs() -> Vec<String> {
    let names = units().iter().map(|unit| name_of(unit)).collect::<Vec<_>>();
    let names = names.iter().filter_map(|name| name.strip_suffix(".service"));
    names.filter(|name| name.starts_with("aw-")).map(String::from).collect()
}

/// Values of a key in a unit.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.map(String::from).collect()
}

fn analyze(arguments: &[&str]) -> Command {
    program_at("systemd-analyze".into(), arguments)
}

fn no_analyze() -> bool {
    let none = Command::new("systemd-analyze").arg("--version").output().is_err();
    if none {
        skip("there is no systemd-analyze here (systemd)");
    }
    none
}

/// Every program of `make build`, except the query program and the collector, has a unit and a supervisor program.
#[test]
fn each_output_has_its_service() {
    let makefile = fs::read_to_string(format!("{CONTRIB}/../Makefile")).unwrap();
    let line = makefile.lines().find_map(|line| line.strip_prefix("PROGRAMS = ")).unwrap();
    let programs: Vec<_> =
        line.split(' ').filter(|name| !["collector", "aw-query"].contains(name)).collect();
    assert!(programs.len() > 5, "{programs:?}");
    let supervisor = fs::read_to_string(format!("{CONTRIB}/supervisor/addrwatch.conf")).unwrap();
    let users = fs::read_to_string(format!("{CONTRIB}/sysusers.d/addrwatch.conf")).unwrap();
    let directories = fs::read_to_string(format!("{CONTRIB}/tmpfiles.d/addrwatch.conf")).unwrap();
    for name in &programs {
        assert!(outputs().iter().any(|output| output == name), "{name} has no unit");
        assert!(supervisor.contains(&format!("[program:{name}]")), "{name}");
        assert!(users.contains(&format!("u {name} -:addrwatch ")), "{name}");
        let state = if *name == "aw-routeros" { "routeros" } else { name };
        let directory = format!("d /var/lib/addrwatch/{state} 07");
        assert!(*name == "aw-metrics" || directories.contains(&directory), "{name}");
    }
    assert_eq!(programs.len(), outputs().len());
}

#[test]
fn exposure() {
    if no_analyze() {
        return;
    }
    let mut same = Vec::new();
    for unit in units() {
        let collector = name_of(&unit) == COLLECTOR;
        let threshold = format!("--threshold={}", if collector { 25 } else { 15 });
        let path = unit.to_str().unwrap();
        run(analyze(&["security", "--offline=true", "--no-pager", &threshold, path])).ok();
        // For all of the group: otherwise the last reader that ends removes the ring.
        assert_eq!(values(&fs::read_to_string(&unit).unwrap(), "RemoveIPC"), ["no"]);
        // So that no unit lacks it.
        let text = fs::read_to_string(&unit).unwrap();
        let (_, hardening) = text.split_once("# All other privileges are removed").unwrap();
        if !collector {
            // The ring of aw-routeros has a group; and each unit has a comment on why rings stay.
            let hardening = hardening.replace("capset fchown ", "capset ");
            same.push(
                hardening
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
        }
    }
    assert!(same.windows(2).all(|pair| pair[0] == pair[1]), "they differ: {same:#?}");
    let collector = fs::read_to_string(format!("{CONTRIB}/systemd/{COLLECTOR}")).unwrap();
    assert_eq!(values(&collector, "AmbientCapabilities"), ["CAP_NET_RAW"]);
    assert_eq!(values(&collector, "CapabilityBoundingSet"), ["CAP_NET_RAW"]);
    // A stricter limit is not met: the check can fail.
    let path = format!("{CONTRIB}/systemd/{COLLECTOR}");
    let strict =
        run(analyze(&["security", "--offline=true", "--no-pager", "--threshold=5", &path]));
    assert_ne!(strict.status.code(), Some(0));
}

#[test]
fn units_are_well_formed() {
    if no_analyze() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let true_program = directory.path().join("true");
    symlink("/bin/true", &true_program).unwrap();
    let mut paths = Vec::new();
    for unit in units() {
        let text = fs::read_to_string(&unit).unwrap();
        let mut text: String = text
            .lines()
            .map(|line| {
                let starts = ["ExecStart=", "ExecStartPre=-+", "ExecReload="].into_iter();
                let mut starts = starts.filter_map(|key| Some((key, line.strip_prefix(key)?)));
                match starts.next() {
                    Some((key, words)) => {
                        let arguments = words.split_once(' ').unwrap().1;
                        format!("{key}{} {arguments}\n", true_program.display())
                    }
                    None => format!("{line}\n"),
                }
            })
            .collect();
        text = text.replace("Documentation", "# Documentation");
        let path = directory.path().join(name_of(&unit).replace('@', "@eth0"));
        fs::write(&path, text).unwrap();
        paths.push(path);
    }
    let target = directory.path().join("addrwatch.target");
    fs::copy(format!("{CONTRIB}/systemd/addrwatch.target"), &target).unwrap();
    paths.push(target);
    let verified = run({
        let mut command = analyze(&["verify", "--man=no"]);
        command.args(&paths).env("SYSTEMD_UNIT_PATH", format!("{}:", directory.path().display()));
        command
    });
    let about_ours = |line: &&str| line.contains("aw-") || line.contains("addrwatch");
    let message: Vec<_> = verified.stderr.lines().filter(about_ours).collect();
    assert!(message.is_empty(), "{message:#?}");
    verified.ok();
}

/// After `systemctl enable UNIT` alone, as the guides have it, the next boot starts it, and disabling one unit changes nothing
/// about the others.
#[test]
fn an_enabled_unit_starts_at_boot() {
    if Command::new("systemctl").arg("--version").output().is_err() {
        return skip("there is no systemctl here (systemd)");
    }
    let root = tempfile::tempdir().unwrap();
    let at = |path: &str| root.path().join(path);
    fs::create_dir_all(at("usr/lib/systemd/system")).unwrap();
    fs::create_dir_all(at("etc/systemd/system")).unwrap();
    for file in fs::read_dir(format!("{CONTRIB}/systemd")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), at("usr/lib/systemd/system").join(file.file_name())).unwrap();
    }
    let systemctl = |words: &[&str]| {
        let mut command = program_at("systemctl".into(), &["--quiet"]);
        command.arg(format!("--root={}", root.path().display())).args(words);
        run(command).ok();
    };
    let started = || {
        let wanted = fs::read_dir(at("etc/systemd/system/multi-user.target.wants"));
        let names = wanted.into_iter().flatten().map(|link| link.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect::<Vec<_>>()
    };
    for unit in units() {
        let name = name_of(&unit).replace('@', "@eth0");
        systemctl(&["enable", &name]);
        assert_eq!(started(), std::slice::from_ref(&name));
        systemctl(&["enable", "addrwatch.target"]);
        systemctl(&["disable", &name]);
        assert_eq!(started(), ["addrwatch.target"], "without {name}");
        systemctl(&["disable", "addrwatch.target"]);
    }
}

/// Runs a program with a unit's filter of system calls, after the change of users and groups.
const FILTERED: &str = r##"
import errno, os, seccomp, subprocess, sys
groups, name = {}, None
dump = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], capture_output=True, text=True, check=True)
for line in dump.stdout.splitlines():
    if line.startswith("@"):
        name = line.split()[0]
        groups[name] = []
    elif line.startswith("    ") and not line.strip().startswith("#"):
        groups[name].append(line.split()[0])
def names(word):
    if not word.startswith("@"):
        return {word}
    return set().union(*(names(inner) for inner in groups[word]))
allowed = set()
for line in open(sys.argv[1]):
    if line.startswith("SystemCallFilter="):
        words = line.strip().split("=", 1)[1]
        taken = set().union(*(names(word) for word in words.lstrip("~").split()))
        allowed = allowed - taken if words.startswith("~") else allowed | taken | names("@default")
calls = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
for call in allowed:
    try:
        calls.add_rule(seccomp.ALLOW, call)
    except RuntimeError:
        pass # another processor's
calls.load()
os.execv(sys.argv[2], sys.argv[2:])
"##;

/// The directories of a unit's program: `bin`, `lib`, `log`, `etc`, `notify`; and the ring of `aw-routeros`.
struct Machine(tempfile::TempDir, Ring);

impl Machine {
    fn new(programs: &[&str], user: u32) -> Machine {
        let machine = Machine(public_copy(programs), Ring::new());
        for name in ["lib", "log", "etc"] {
            fs::create_dir(machine.at(name)).unwrap();
            chown(machine.at(name), Some(user), None).unwrap();
        }
        fs::create_dir(machine.at("run")).unwrap();
        let _ = chown(machine.at("run"), Some(CAPTURES), Some(CAPTURES)); // only root can, and needs it
        let etc = machine.at("etc");
        let routeros = "deb/routeros.toml";
        for path in ["deb/macupd_tracker.conf", "mysql.cnf", "deb/alert.toml", routeros] {
            let name = path.rsplit('/').next().unwrap();
            let text = fs::read_to_string(format!("{CONTRIB}/{path}")).unwrap();
            let state = format!("{}/", machine.at("lib").display());
            let mut text = text.replace("/var/lib/addrwatch/", &state);
            if path == routeros {
                text += &format!("ring = \"{}\"\n", machine.1.name());
            }
            fs::write(etc.join(name), text).unwrap();
            chown(etc.join(name), Some(user), None).unwrap();
            fs::set_permissions(etc.join(name), Permissions::from_mode(0o600)).unwrap();
        }
        fs::write(machine.at("filtered.py"), FILTERED).unwrap();
        machine
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The command line of a unit, adapted to this machine, with these options.
    fn command_line(&self, unit: &str, options: &str) -> Vec<String> {
        let line = values(unit, "ExecStart").remove(0);
        let root = self.0.path().display().to_string();
        let line = line
            .replace("/usr/bin", &root)
            .replace("/var/lib/addrwatch", &format!("{root}/lib"))
            .replace("/var/log/addrwatch", &format!("{root}/log"))
            .replace("${CREDENTIALS_DIRECTORY}", &format!("{root}/etc"))
            .replace("/etc/addrwatch", &format!("{root}/etc"))
            .replace("/run/addrwatch", &format!("{root}/run"))
            .replace("%i", "veth0")
            .replace("$OPTIONS_ALL ", "")
            .replace("$OPTIONS", options);
        line.split_whitespace().map(String::from).collect()
    }
}

/// The line that makes the ring's name free takes whatever options the collector of the same unit takes, and does nothing with
/// those that are not about the ring.
#[test]
fn the_name_is_claimed_with_any_options() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can claim a ring's name");
    }
    let unit = fs::read_to_string(format!("{CONTRIB}/systemd/{COLLECTOR}")).unwrap();
    let line = values(&unit, "ExecStartPre").remove(0);
    assert!(line.starts_with("-+"), "an error in it refuses no start: {line}");
    let shipped = values(&unit, "Environment").remove(0);
    let shipped = shipped.trim_matches('"').strip_prefix("OPTIONS=").unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let user = CAPTURES.to_string();
    for options in [
        &shipped,
        "",
        "-u root",
        "-u 64002 --group 64001 eth0 eth1",
        "--pid PID -d -r 60 -q -v -4 any",
        "-p PID --snap-malformed PID --wait eth0",
        "--macupd --macupd-from 192.0.2.0/24 --decapsulate --tunnel-id --as lan eth0",
        "--quiet --hostname sensor --listen-vxlan --listen-tzsp 1234 -L 1000 -P",
    ] {
        let ring = Ring::new();
        fs::write(ring.path(), "").unwrap();
        chown(ring.path(), Some(65534), Some(65534)).unwrap();
        let line = line
            .trim_start_matches(['-', '+'])
            .replace("/usr/bin/collector", binary("collector").to_str().unwrap())
            .replace("--user addrwatch", &format!("--user {user}"))
            .replace("$OPTIONS_ALL ", "")
            .replace("$OPTIONS", &format!("-m {} {options}", ring.name()))
            .replace("PID", pid_file.to_str().unwrap())
            .replace("%i", "eth0");
        let words: Vec<_> = line.split_whitespace().collect();
        let ran = run(program_at(words[0].into(), &words[1..])).ok();
        assert!(ran.stderr.contains("of user id 65534"), "{line}: {}", ran.stderr);
        let owner = match options {
            "-u root" => 0,
            _ if options.contains("64002") => READS,
            _ => CAPTURES,
        };
        assert_eq!(ring.path().metadata().unwrap().uid(), owner, "{line}");
        assert!(!pid_file.exists());
    }
}

/// It starts, reports that it is ready and then that it lives, and ends.
fn lives(machine: &Machine, name: &str, mut command: Command) {
    let path = machine.at("notify");
    let _ = fs::remove_file(&path);
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000");
    let program = Run::start(command);
    let next = || loop {
        let mut bytes = [0; 1024];
        let length = socket.recv(&mut bytes).unwrap_or_else(|error| {
            panic!("{name}: {error}: {}", program.stderr.text());
        });
        let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
        // What `systemctl status` shows may change at any time: units.rs has it.
        if !message.starts_with("STATUS=") {
            return message;
        }
    };
    assert!(next().contains("READY=1"), "{name}");
    assert_eq!(next().trim_end(), "WATCHDOG=1", "{name}");
    program.signal(Signal::TERM);
    while next().trim_end() != "STOPPING=1" {}
    program.finish().ok();
}

fn as_user(user: u32, capabilities: &str) -> Vec<String> {
    let words = format!(
        "setpriv --reuid {user} --regid {CAPTURES} --clear-groups --no-new-privs --bounding-set -all{capabilities} --inh-caps -all{capabilities} --ambient-caps -all{capabilities}"
    );
    words.split_whitespace().map(String::from).collect()
}

#[test]
fn programs_run_in_their_units() {
    let filter = Command::new("/usr/bin/python3").args(["-c", "import seccomp"]).output();
    if !rustix::process::geteuid().is_root()
        || !filter.is_ok_and(|ran| ran.status.success())
        || no_analyze()
    {
        return skip("only root can do what systemd does, with python3-seccomp");
    }
    let names = outputs();
    let mut programs: Vec<&str> = names.iter().map(String::as_str).collect();
    programs.push("collector");
    let machine = Machine::new(&programs, READS);
    let ring = Ring::new();
    let Some(lan) = Lan::new() else { return };
    // The collector, whose ring the outputs then read.
    let path = format!("{CONTRIB}/systemd/{COLLECTOR}");
    let unit = fs::read_to_string(&path).unwrap();
    let filtered =
        ["/usr/bin/python3", machine.at("filtered.py").to_str().unwrap()].map(String::from);
    let mut command = lan.here.command("setpriv");
    command.args(&as_user(CAPTURES, ",+net_raw")[1..]).args(&filtered).arg(&path);
    command.args(machine.command_line(&unit, &format!("--ring {} --wait veth0", ring.name())));
    lives(&machine, "collector", command);
    assert!(ring.path().exists(), "RemoveIPC=no, and the ring stays");
    for name in &names {
        let path = format!("{CONTRIB}/systemd/{name}.service");
        let unit = fs::read_to_string(&path).unwrap();
        for place in ["lib", "log"] {
            let own = machine.at(place).join(name);
            fs::create_dir_all(&own).unwrap();
            chown(&own, Some(READS), Some(CAPTURES)).unwrap();
        }
        let root = machine.0.path().display();
        let places = format!(
            "ip link set lo up; mount --bind {root}/lib {root}/lib; mount --bind {root}/log {root}/log; mount -o remount,bind,ro /; exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--ipc", "--net", "sh", "-ec", &places, "sh"]);
        command.args(as_user(READS, "")).args(&filtered).arg(&path);
        let options = match name.as_str() {
            "aw-routeros" => "--verbose".into(),
            _ => format!("--ring {} --owner {CAPTURES} --verbose", ring.name()),
        };
        command.args(machine.command_line(&unit, &options));
        lives(&machine, name, command);
    }
}

/// Ends the processes of a supervisor, also if the test fails.
struct Ends<'a>(&'a str);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        let mut stop = program_at("/usr/bin/supervisorctl".into(), &["-c", self.0, "stop", "all"]);
        let _ = stop.output(); // returns once they have ended
    }
}

/// Debian's supervisor starts all of them, restarts one that was killed, and ends them.
#[test]
fn supervisor() {
    if !Path::new("/usr/bin/supervisord").exists() {
        return skip("there is no supervisor here");
    }
    let names = outputs();
    let mut programs: Vec<&str> = names.iter().map(String::as_str).collect();
    programs.push("collector");
    let machine = Machine::new(&programs, rustix::process::geteuid().as_raw());
    for name in &names {
        fs::create_dir_all(machine.at("lib").join(name)).unwrap();
        fs::create_dir_all(machine.at("log").join(name)).unwrap();
    }
    let ring = Ring::new();
    publish(&ring, 1..4);
    let root = machine.0.path().display().to_string();
    let shipped = fs::read_to_string(format!("{CONTRIB}/supervisor/addrwatch.conf")).unwrap();
    let ours: String = shipped
        .lines()
        .filter(|line| !line.starts_with("user=")) // they are not there
        .map(|line| match line.strip_prefix("command=") {
            Some(line) if line.contains("/collector ") => {
                format!(
                    "command={root}/collector --quiet --ring {} --macupd 127.0.0.1:0\n",
                    ring.name()
                )
            }
            Some(line) if line.contains("aw-metrics") || line.contains("aw-web") => {
                format!("command={line} --ring {} --listen 0\n", ring.name())
            }
            Some(line) if line.contains("aw-routeros") => format!("command={line}\n"),
            Some(line) => format!("command={line} --ring {}\n", ring.name()),
            None => format!("{line}\n"),
        })
        .collect();
    let ours = ours
        .replace("/usr/bin", &root)
        .replace("/var/lib/addrwatch", &format!("{root}/lib"))
        .replace("/var/log/addrwatch", &format!("{root}/log"))
        .replace("/etc/addrwatch", &format!("{root}/etc"));
    let configuration = format!(
        "[supervisord]\nnodaemon=true\nlogfile={root}/supervisord.log\npidfile={root}/supervisord.pid\nchildlogdir={root}\n\
         [unix_http_server]\nfile={root}/socket\n[supervisorctl]\nserverurl=unix://{root}/socket\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n{ours}"
    );
    let file = machine.at("supervisord.conf");
    fs::write(&file, configuration).unwrap();
    let file = file.to_str().unwrap();
    let daemon = Run::start(program_at("/usr/bin/supervisord".into(), &["-c", file]));
    let ends = Ends(file);
    let control = |words: &[&str]| {
        let mut command = program_at("/usr/bin/supervisorctl".into(), &["-c", file]);
        command.args(words);
        run(command).stdout
    };
    wait_until("supervisor answers", || control(&["status"]).lines().count() == programs.len());
    assert_eq!(
        control(&["status"]).matches("STOPPED").count(),
        programs.len(),
        "nothing starts unasked"
    );
    control(&["start", "addrwatch:*"]);
    let running = || control(&["status"]).matches("RUNNING").count();
    wait_until(&format!("all run, see {root}"), || running() == programs.len());
    let process = |name: &str| {
        control(&["pid", &format!("addrwatch:{name}")]).trim().parse::<i32>().unwrap_or(0)
    };
    let before = process("aw-sqlite");
    run(program_at("kill".into(), &["-9", &before.to_string()])).ok();
    wait_until("it was started again", || {
        process("aw-sqlite") > 0 && process("aw-sqlite") != before
    });
    wait_until("all run again", || running() == programs.len());
    control(&["stop", "addrwatch:*"]);
    wait_until("all have ended", || {
        control(&["status"]).matches("STOPPED").count() == programs.len()
    });
    let database = machine.at("lib/aw-sqlite/addrwatch.db");
    let asked = program(
        "aw-query",
        &["devices", "--format", "csv", "--database", database.to_str().unwrap()],
    );
    assert_eq!(run(asked).ok().stdout.lines().count(), 4, "a heading, and three");
    drop(ends);
    daemon.stop();
}

/// A program that writes a ring is started again before five seconds without a heartbeat are over, which outputs report.
#[test]
fn writers_are_back_before_they_are_missing() {
    let text = |path: &str| fs::read_to_string(format!("{CONTRIB}/{path}")).unwrap();
    for unit in ["addrwatch-collector@", "aw-routeros"] {
        assert_eq!(
            values(&text(&format!("systemd/{unit}.service")), "RestartSec"),
            ["1"],
            "{unit}"
        );
    }
    for name in ["addrwatch-collector", "aw-routeros"] {
        let script = if name == "aw-routeros" { "aw-output" } else { name };
        let script =
            format!("extra_started_commands=; . {CONTRIB}/openrc/{script}; echo $respawn_delay");
        let mut shell = program_at("sh".into(), &["-c", &script]);
        shell.env("RC_SVCNAME", name);
        assert_eq!(run(shell).ok().stdout, "1\n", "{name}");
    }
    let procd = |section: &str, program: &str| {
        let script = format!(
            "procd_open_instance() {{ :; }}; procd_close_instance() {{ :; }}; procd_append_param() {{ :; }}
             procd_set_param() {{ [ $1 != respawn ] || echo $3; }}; config_get() {{ eval $1=\\$test_$3; }}
             . {CONTRIB}/procd/addrwatch; test_args='--wait eth0' test_program={program}; {section} x"
        );
        run(program_at("sh".into(), &["-c", &script])).ok().stdout
    };
    assert_eq!([procd("collector", ""), procd("output", "aw-routeros")], ["1\n", "1\n"]);
}

/// Init scripts of OpenRC and procd are shell scripts that shellcheck accepts.
#[test]
fn init_scripts() {
    for name in ["openrc/addrwatch-collector", "openrc/aw-output", "procd/addrwatch"] {
        let path = format!("{CONTRIB}/{name}");
        run(program_at("sh".into(), &["-n", &path])).ok();
        if Command::new("shellcheck").arg("--version").output().is_err() {
            skip("there is no shellcheck here");
            continue;
        }
        let checked = run(program_at("shellcheck".into(), &[&path]));
        assert_eq!(checked.stdout, "");
        checked.ok();
    }
}

/// The programs accept the command lines that the scripts compose.
#[test]
fn init_scripts_compose_command_lines() {
    let built = binary("collector").parent().unwrap().display().to_string();
    let openrc = format!(". {CONTRIB}/openrc/aw-output; echo $command $command_args");
    let procd = format!(
        "procd_open_instance() {{ :; }}; procd_close_instance() {{ echo; }}; mkdir() {{ :; }}; id() {{ false; }}
         procd_set_param() {{ [ $1 != command ] || printf %s $2; }}; procd_append_param() {{ shift; printf ' %s' \"$@\"; }}
         config_get() {{ eval $1=\\$test_$3; }}; . {CONTRIB}/procd/addrwatch; test_program=$RC_SVCNAME; output x"
    );
    for name in outputs() {
        for script in [&openrc, &procd] {
            let mut shell = program_at("sh".into(), &["-uc", script]);
            shell.env("RC_SVCNAME", &name).env("test_args", "");
            let line = run(shell).ok().stdout.replace("/usr/bin", &built);
            assert!(line.contains(&format!("{built}/{name}")), "{name}: {line}");
            // --help takes effect where it stands: everything before it was parsed.
            let words: Vec<_> = line.split_whitespace().chain(["--help"]).collect();
            run(program_at(words[0].into(), &words[1..])).ok();
        }
    }
}
