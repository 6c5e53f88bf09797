//! Files that another user or program may have placed: a named pipe, a link to a device and an endless file end no program,
//! and none waits for them. Each program reads files through one function, which checks them.
#![forbid(unsafe_code)]

use aw_tests::capture_file::save;
use aw_tests::collect::{lines, stdout_of};
use aw_tests::feed::{numbered_capture, numbered_lines, publish, reading_collector};
use aw_tests::rig::{Finished, Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// What an attacker places under a name, and what a program reports of it.
const TRAPS: [(&str, &str); 3] = [
    ("pipe", "it is a pipe"),
    ("/dev/zero", "it is "), // a device, or a link where none is followed
    ("endless", "it is larger than "),
];

/// A directory in which a name can become one of the traps.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = save(self.0.path(), name, text.as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn trap(&self, name: &str, trap: &str) {
        let path = self.at(name);
        let _ = fs::remove_file(&path);
        match trap {
            "pipe" => mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap(),
            "endless" => {
                File::create(&path).unwrap().set_len(1 << 42).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            }
            device => symlink(device, &path).unwrap(),
        }
    }
}

/// Runs a command to its end with at most 1 GiB of address space.
fn bounded(command: Command) -> Finished {
    let mut limited = Command::new("prlimit");
    limited.arg("--as=1073741824").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    run(limited)
}

/// State files: `--health` and a start report what is wrong, each in its way.
#[test]
fn states() {
    let (ring, place) = (Ring::new(), Place::new());
    let mut collector = Run::start(reading_collector(&ring, &["-q"]));
    let mut stdin = collector.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, &numbered_capture(1..11)).unwrap();
    let stdout = |options: &[&str]| {
        let mut command = stdout_of(&ring, &["--from", "resume", "--state-dir", place.text()]);
        command.args(options);
        bounded(command)
    };
    wait_until("the ring is there", || stdout(&["--once"]).status.success());
    // An output that runs holds the lock.
    let lock = File::create(place.at("aw-stdout.lock")).unwrap();
    lock.lock().unwrap();
    for file in ["aw-stdout.now", "aw-stdout.positions"] {
        for (trap, why) in TRAPS {
            place.trap(file, trap);
            stdout(&["--health"]).unhealthy(&[file, why]);
        }
        fs::remove_file(place.at(file)).unwrap();
    }
    drop(lock);
    for (trap, why) in TRAPS {
        place.trap("aw-stdout.positions", trap);
        stdout(&["--once"]).refused("aw-stdout", &["aw-stdout.positions", why]);
    }
    fs::remove_file(place.at("aw-stdout.positions")).unwrap();
    // The lock decides whether the output runs. A pipe in its place does not hang the check, which then does not know that.
    place.trap("aw-stdout.lock", "pipe");
    stdout(&["--health"]).unhealthy(&[
        "aw-stdout.lock",
        "it is a pipe",
        "unknown whether aw-stdout runs",
    ]);
    drop(stdin);
    collector.finish();
}

/// Files that options and configurations name.
#[test]
fn settings() {
    let (ring, place) = (Ring::new(), Place::new());
    let (ring, directory) = (ring.name(), place.text());
    let trapped = place.at("trapped").to_str().unwrap().to_owned();
    let number = Cell::new(0);
    let alert = |text: &str| {
        number.set(number.get() + 1);
        let name = format!("alert-{}.toml", number.get());
        let config = place.write(&name, &text.replace("FILE", &format!("{trapped:?}")));
        program("aw-alert", &["--ring", ring, "--state-dir", directory, "-c", &config, "--check"])
    };
    let channel = |what: &str| alert(&format!("[[channel]]\nname = \"a\"\n{what}\n"));
    let mysql = place.write("mysql.cnf", &format!("[addrwatch]\nssl-ca = {trapped}\n"));
    let programs = |file: &str| -> Vec<(&str, Command)> {
        let state = ["--ring", ring, "--state-dir", directory];
        let with = |name, options: &[&str]| (name, program(name, &[&state[..], options].concat()));
        vec![
            with("aw-alert", &["-c", file]),
            ("aw-alert", alert("known = FILE")),
            ("aw-alert", channel("webhook = { url = \"https://localhost/\", token_file = FILE }")),
            ("aw-alert", channel("webhook = { url = \"https://localhost/\", ca_file = FILE }")),
            (
                "aw-alert",
                channel(
                    "smtp = { server = \"localhost\", from = \"a@b.example\", to = [\"a@b.example\"], user = \"u\", password_file = FILE }",
                ),
            ),
            with("aw-tracker", &["-c", file]),
            with("aw-mysql", &["--config", file]),
            with("aw-mysql", &["--config", &mysql]),
            with("aw-mqtt", &["--broker", "mqtts://localhost", "--ca-file", file]),
            with("aw-mqtt", &["--login", "u", "--password-file", file]),
            with("aw-mqtt", &["--names", file]),
            ("aw-query", program("aw-query", &["devices", "--config", file])),
            ("aw-routeros", program("aw-routeros", &["show", "-c", file])),
        ]
    };
    for (trap, why) in TRAPS {
        place.trap("trapped", trap);
        for (name, command) in programs(&trapped) {
            let shown = format!("{command:?}");
            let finished = bounded(command);
            let is_refused = finished.status.code() == Some(1)
                && finished.stderr.contains("trapped")
                && finished.stderr.contains(why);
            assert!(is_refused, "{name}, {trap}: {shown}: {finished:#?}");
        }
    }
}

/// An import is read line by line and has no maximum, but it is no named pipe and no device.
#[test]
fn imports() {
    let (ring, place) = (Ring::new(), Place::new());
    let import = |file: &str| {
        let state = place.at("state");
        let options = ["--ring", ring.name(), "--state-dir", state.to_str().unwrap()];
        bounded(program(
            "aw-alert",
            &[&options[..], &["import", "--network", "eth0", file]].concat(),
        ))
    };
    let trapped = place.at("arp.dat").to_str().unwrap().to_owned();
    for (trap, why) in &TRAPS[..2] {
        place.trap("arp.dat", trap);
        import(&trapped).refused("aw-alert", &[&trapped, why]);
    }
    // What the process got from its parent is read.
    let good = place.write("good", "0:8:e1:1:2:3\t192.0.2.1\t1700000000\n");
    let mut shell = Command::new("bash");
    let program = binary("aw-alert");
    let script = format!(
        "{} --ring {} --state-dir {} import --network eth0 <(cat {good})",
        program.display(),
        ring.name(),
        place.at("state").display()
    );
    shell.args(["-c", &script]);
    assert!(run(shell).ok().stdout.contains("1 pairing imported"));
}

/// Beside a database, SQLite keeps its log and its journal: a pipe there hangs neither a question nor an import.
#[test]
fn files_beside_databases() {
    let (ring, place) = (Ring::new(), Place::new());
    publish(&ring, 1..4);
    let database = place.at("lan.db").to_str().unwrap().to_owned();
    let state = place.at("state").to_str().unwrap().to_owned();
    let with_state = |name: &str, options: &[&str]| {
        let state = ["--ring", ring.name(), "--state-dir", &state];
        bounded(program(name, &[&state[..], options].concat()))
    };
    with_state("aw-sqlite", &["--once", "--database", &database]).ok();
    let ask = || bounded(program("aw-query", &["devices", "--database", &database]));
    let import = || with_state("aw-alert", &["import", &database]);
    for file in ["lan.db-journal", "lan.db-wal"] {
        place.trap(file, "pipe");
        ask().refused("aw-query", &[file, "it is a pipe, not a regular file (move it away: mv "]);
        import()
            .refused("aw-alert", &[file, "it is a pipe, not a regular file (move it away: mv "]);
        fs::remove_file(place.at(file)).unwrap();
    }
    assert_eq!(ask().ok().stdout.lines().count(), 4);
    assert!(import().ok().stdout.contains("3 pairings imported"));
    // aw-sqlite makes the index private, and no file of which the index is a link.
    let secret = place.write("secret", "0");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    symlink(&secret, place.at("lan.db-shm")).unwrap();
    with_state("aw-sqlite", &["--once", "--database", &database]);
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(fs::read_to_string(&secret).unwrap(), "0");
}

/// The log of a day in the tracker's directory, which it reads at the start.
#[test]
fn logs_of_the_tracker() {
    let (ring, place) = (Ring::new(), Place::new());
    publish(&ring, 1..4);
    let today = run({
        let mut date = Command::new("date");
        date.arg("+%Y%m%d");
        date
    });
    let log = format!("macupd_tracker.{}.log", today.ok().stdout.trim());
    for (trap, why) in TRAPS {
        place.trap(&log, trap);
        let finished = bounded(program("aw-tracker", &["report", place.text()]));
        finished.refused("aw-tracker", &[&log, why]);
    }
}

/// A capture may come from any pipe that the user names: standard input, a process substitution, a named pipe.
#[test]
fn captures() {
    let place = Place::new();
    let capture = numbered_capture(1..4);
    let expected = lines(&capture, &["-4"]);
    assert_eq!(expected, numbered_lines(1..4));
    let file = save(place.0.path(), "lan.pcap", &capture);
    symlink(&file, place.at("link")).unwrap();
    let link = place.at("link").to_str().unwrap().to_owned();
    let pipe = place.at("pipe").to_str().unwrap().to_owned();
    place.trap("pipe", "pipe");
    let collector = binary("collector");
    for read in [
        format!("--read {file}"),
        format!("--read {link}"),
        format!("--read - < {file}"),
        format!("--read /dev/stdin < {file}"),
        format!("--read <(cat {file})"),
        format!("--read {pipe} & cat {file} > {pipe}; wait $!"),
    ] {
        let ring = Ring::new();
        let mut shell = Command::new("bash");
        let script = format!("{} -4 --ring {} {read}", collector.display(), ring.name());
        shell.args(["-c", &script]);
        assert_eq!(run(shell).ok().stdout, expected, "{read}");
    }
    let ring = Ring::new();
    let zero = bounded(program("collector", &["--ring", ring.name(), "--read", "/dev/zero"]));
    zero.refused("collector", &["/dev/zero"]);
}

/// As root: in a directory that all users can write to, files and links of other users are refused.
#[test]
fn files_of_other_users() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can act as another user");
    }
    let (ring, place) = (Ring::new(), Place::new());
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o1777)).unwrap();
    let config = place.write("alert.toml", "quiet = 5\n");
    let state = Place::new();
    let check = || {
        let options = ["--ring", ring.name(), "--state-dir", state.text()];
        run(program("aw-alert", &[&options[..], &["-c", &config, "--check"]].concat()))
    };
    check().ok();
    chown(&config, Some(65534), None).unwrap();
    check().refused("aw-alert", &["alert.toml", "belongs to user id 65534"]);
    // The user who called sudo may as well.
    let mut sudo = program("aw-alert", &["--ring", ring.name(), "-c", &config, "--check"]);
    sudo.args(["--state-dir", state.text()]).env("SUDO_UID", "65534");
    run(sudo).ok();
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o755)).unwrap();
    check().ok();
    fs::set_permissions(&config, Permissions::from_mode(0o646)).unwrap();
    check().refused("aw-alert", &["alert.toml", "all users can write to it (chmod o-w"]);
    // A database that another user placed where aw-query or aw-sqlite of root looks for one.
    fs::set_permissions(place.0.path(), Permissions::from_mode(0o1777)).unwrap();
    publish(&ring, 1..4);
    let database = place.at("lan.db").to_str().unwrap().to_owned();
    let store = || {
        let options = ["--ring", ring.name(), "--state-dir", state.text(), "--once"];
        run(program("aw-sqlite", &[&options[..], &["--database", &database]].concat()))
    };
    let ask = || run(program("aw-query", &["devices", "--database", &database]));
    store().ok();
    ask().ok();
    chown(&database, Some(65534), None).unwrap();
    ask().refused("aw-query", &["lan.db", "belongs to user id 65534"]);
    assert!(!store().status.success());
}

/// Functions that open a file by its name.
const OPENERS: [&str; 12] = [
    "File::open(",
    "File::create(",
    "fs::read(",
    "fs::read_to_string(",
    "fs::write(",
    "OpenOptions::new()",
    "File::options()",
    "fs::copy(",
    "OFlags::RD",
    "from_pem_file(",
    "pem_file_iter(",
    "load_secret_key(",
];
/// No other user can place a file there; and a new file is never a link.
const SAFE: [&str; 5] = ["\"/proc/", "(BOOT_ID)", "\"/sys/", "\"/dev/null\"", "create_new(true)"]; // BOOT_ID is in /proc
/// Files with other calls of them, and why these are right.
const EXCEPTIONS: [(&str, &str); 6] = [
    ("service/src/read_file.rs", "opens for all others"),
    ("shm-layout/src/error.rs", "/etc/group and /etc/passwd"),
    ("service/src/file.rs", "opens what a program writes, with the checks of `open_own`"),
    ("shm-layout/src/map.rs", "opens rings, with checks of its own"),
    ("shm-layout/src/segment.rs", "rings and their locks, by the function of map.rs"),
    ("collector/src/related.rs", "/sys/class/net, which a test replaces"),
];

/// The code of the products, without tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let skipped = ["tests", "examples", "benches", "fuzz", "target"];
        if path.is_dir() && !path.is_symlink() && !skipped.contains(&&*name) {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[test]
fn files_are_opened_in_one_place() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut files = Vec::new();
    sources(root, &mut files);
    assert!(files.len() > 150, "{}", files.len());
    let mut direct = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if EXCEPTIONS.iter().any(|(file, _)| *file == name) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let code = code.split("#[cfg(test)]\npub(super) mod ").next().unwrap();
        let contains = |line: &str, what: &[&str]| what.iter().any(|part| line.contains(part));
        // `CaptureFile::open(` is another function.
        let is_end = |text: &str| !text.ends_with(|c: char| c.is_alphanumeric());
        let opens = |line: &str| {
            OPENERS
                .iter()
                .any(|opener| line.split_once(opener).is_some_and(|(before, _)| is_end(before)))
        };
        for (number, line) in (1..).zip(code.lines()) {
            if opens(line) && !contains(line, &SAFE) {
                direct.push(format!("{name}:{number}: {}", line.trim()));
            }
        }
    }
    assert!(
        direct.is_empty(),
        "use open_file, read_file or open_own of aw-service, which check the file:\n{}",
        direct.join("\n")
    );
}
