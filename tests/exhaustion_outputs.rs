//! Each output while it runs: its disk is full, and has room again; it may open no more files, and then may; the clock is
//! set back and forward. It says so once, in words that tell what to do, and no event is lost or there twice.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::collect::{collect, json, stdout_of};
use aw_tests::feed::numbered;
use aw_tests::mariadb::MariaDb;
use aw_tests::mount::Mount;
use aw_tests::rig::{PATIENCE, Run, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// An output, and its own disk of 24 MiB.
struct Output {
    name: &'static str,
    run: Run,
    disk: PathBuf,
    mount: Mount,
    /// The numbers that have come out of it.
    arrived: Box<dyn Fn(&Run) -> Vec<u32>>,
}

/// All outputs that there are, on one ring.
struct Outputs {
    ring: Ring,
    all: Vec<Output>,
    server: Option<Rc<MariaDb>>,
    directory: TempDir,
}

/// The number in the first address of a line.
fn number_in(line: &str) -> Option<u32> {
    let address = line.split([' ', '"', '\t']).find(|word| word.starts_with("10.0.0."))?;
    address["10.0.0.".len()..].parse().ok()
}

fn numbers_in(text: &str) -> Vec<u32> {
    text.lines().filter_map(number_in).collect()
}

impl Outputs {
    /// Starts them; `change`: what is to be done to their commands. None where there may be no small disk.
    fn start(change: impl Fn(&mut Command)) -> Option<Outputs> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can make a small disk");
            return None;
        }
        let (directory, server) = (tempfile::tempdir().unwrap(), MariaDb::start(&[]).map(Rc::new));
        // aw-mysql is started beneath the server's directory, and others may not look into ours.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let (ring, all) = (Ring::new(), Vec::new());
        let mut outputs = Outputs { ring, all, server, directory };
        outputs.add("aw-stdout", &["-o", "@/../lines", "--from", "resume"], &change, |at| {
            let log = at.parent().unwrap().join("lines");
            Box::new(move |_| numbers_in(&fs::read_to_string(&log).unwrap_or_default()))
        });
        outputs.add("aw-sqlite", &[], &change, |at| Box::new(move |_| in_databases(&at)));
        outputs.add("aw-syslog", &["--to", "@/../log"], &change, |at| in_messages(&at));
        let tracker = ["--log-dir", "@", "--source", "all"];
        outputs.add("aw-tracker", &tracker, &change, |at| Box::new(move |_| in_logs(&at)));
        outputs.add("aw-alert", &["--print", "--exec", "/bin/true"], &change, |_| {
            Box::new(|run| numbers_in(&run.stdout.text()))
        });
        outputs.add("aw-metrics", &["--file", "@/a.prom"], &change, |at| {
            Box::new(move |_| counted(&fs::read_to_string(at.join("a.prom")).unwrap_or_default()))
        });
        if let Some(server) = outputs.server.clone() {
            let config = server.config("").to_str().unwrap().to_owned();
            outputs.add("aw-mysql", &["-c", &config], &change, |_| {
                let select = "SELECT inet6_ntoa(unhex(ip_address)) FROM log_plaintext";
                Box::new(move |_| {
                    let mut client = server.client("addrwatch");
                    client.args(["-e", select]);
                    numbers_in(&run(client).stdout)
                })
            });
        }
        Some(outputs)
    }

    /// `@` in its options is its disk.
    fn add(
        &mut self,
        name: &'static str,
        options: &[&str],
        change: impl Fn(&mut Command),
        arrived: impl FnOnce(PathBuf) -> Box<dyn Fn(&Run) -> Vec<u32>>,
    ) {
        let disk = self.directory.path().join(name).join("disk");
        let mount = Mount::new(&disk, "size=24m");
        let arrived = arrived(disk.clone());
        let mut command = program(name, &["--ring", self.ring.name(), "-u", "root"]);
        if name != "aw-stdout" {
            command.arg("--replay");
        }
        command.arg("--state-dir").arg(disk.join("state"));
        command.args(options.iter().map(|word| word.replace('@', disk.to_str().unwrap())));
        change(&mut command);
        self.all.push(Output { name, run: Run::start(command), disk, mount, arrived });
    }

    fn of(&self, name: &str) -> Option<&Output> {
        self.all.iter().find(|output| output.name == name)
    }

    /// A collector hears these now.
    #[track_caller]
    fn publish(&self, numbers: std::ops::Range<u32>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as u32;
        let mut capture = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
        for number in numbers {
            capture.packet(at(now), &numbered(number)).unwrap();
        }
        collect(&self.ring, &capture.finish().unwrap(), &["-q"]).ok();
    }

    /// Those before `end` have come out of each, once.
    #[track_caller]
    fn have_all_before(&self, end: u32) {
        for Output { name, run, arrived, .. } in &self.all {
            let all: BTreeSet<u32> = (1..end).collect();
            wait_until(&format!("{name}: all before {end}; it said: {}", run.stderr.text()), || {
                arrived(run).into_iter().collect::<BTreeSet<_>>() == all
            });
            assert_eq!(arrived(run).len(), all.len(), "{name}: one is there twice");
        }
    }

    /// Each said the first of its two texts once, in a line that tells what to do, then the second; and it has lost nothing.
    #[track_caller]
    fn end(self, end: u32, said: &[(&str, &str, &str)]) {
        for Output { name, run, mount, .. } in self.all {
            let ended = run.stop().ok();
            drop(mount);
            let account = format!("{} events, 0 lost\n", end - 1);
            assert!(ended.stderr.contains(&account), "{name}: {ended:#?}");
            for (_, wrong, again) in said.iter().filter(|(of, ..)| *of == name) {
                for text in [wrong, again] {
                    assert_eq!(ended.stderr.matches(text).count(), 1, "{name}, {text}: {ended:#?}");
                }
            }
            // That collectors come and go is our doing.
            let lines = ended.stderr.lines().filter(|line| !line.contains("collector"));
            let mut lines: Vec<_> = lines.collect();
            let all = lines.len();
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(lines.len(), all, "{name} repeats itself: {}", ended.stderr);
        }
    }
}

/// In `aw-sqlite`'s databases: what has its name, and what was moved away.
fn in_databases(directory: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for name in ["moved.db", "addrwatch.db"] {
        let path = directory.join("state").join(name);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let Ok(database) = Connection::open_with_flags(path, flags) else { continue };
        let select = "SELECT ip_address FROM addrwatch";
        let Ok(mut statement) = database.prepare(select) else { continue };
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).expect("rows");
        found.extend(rows.flatten().filter_map(|address| number_in(&address)));
    }
    found
}

/// What a syslog daemon has got, whatever became of its socket.
fn in_messages(disk: &Path) -> Box<dyn Fn(&Run) -> Vec<u32>> {
    let socket = UnixDatagram::bind(disk.parent().unwrap().join("log")).unwrap();
    socket.set_nonblocking(true).unwrap();
    let got = RefCell::new(Vec::new());
    Box::new(move |_| {
        let mut bytes = [0; 1024];
        while let Ok(length) = socket.recv(&mut bytes) {
            got.borrow_mut().extend(number_in(&String::from_utf8_lossy(&bytes[..length])));
        }
        got.borrow().clone()
    })
}

/// In `aw-tracker`'s logs.
fn in_logs(directory: &Path) -> Vec<u32> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
    let logs = files.filter(|path| path.to_string_lossy().contains("macupd_tracker.2"));
    logs.flat_map(|log| numbers_in(&fs::read_to_string(log).unwrap_or_default())).collect()
}

/// As many numbers as `aw-metrics` has counted.
fn counted(text: &str) -> Vec<u32> {
    let line = text.lines().find(|line| line.starts_with("addrwatch_events_total{"));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok());
    (1..=number.unwrap_or(0)).collect()
}

const FULL: &[(&str, &str, &str)] = &[
    (
        "aw-stdout",
        "aw-stdout.positions: no space left on device (make room on its disk): going on without",
        "the state directory can be written again",
    ),
    (
        "aw-sqlite",
        "addrwatch.db: database or disk is full (make room on its disk): keeping events in",
        "the destination is back",
    ),
    (
        "aw-syslog",
        "aw-syslog.spool: database or disk is full (make room on its disk): going on without",
        "the state directory can be written again",
    ),
    (
        "aw-mysql",
        "aw-mysql.spool: database or disk is full (make room on its disk): going on without",
        "the state directory can be written again",
    ),
    (
        "aw-alert",
        "aw-alert.db: database or disk is full (make room on its disk): keeping events in",
        "the destination is back",
    ),
    (
        "aw-metrics",
        "a.prom: no space left on device (make room on its disk) (trying again)",
        "a.prom is written again",
    ),
];

#[test]
fn full_disks() {
    let Some(outputs) = Outputs::start(|_| ()) else { return };
    outputs.publish(1..4);
    outputs.have_all_before(4);
    outputs.all.iter().for_each(|output| output.mount.fill());
    outputs.publish(4..7);
    for (name, wrong, _) in FULL {
        outputs.of(name).inspect(|output| drop(output.run.stderr.wait_for(wrong)));
    }
    let tracker = outputs.of("aw-tracker").unwrap();
    tracker.run.stderr.wait_for("log: no space left on device (make room on its disk)");
    outputs.publish(7..10);
    std::thread::sleep(std::time::Duration::from_secs(6)); // some tries more
    outputs.all.iter().for_each(|output| output.mount.make_room());
    for (name, _, again) in FULL {
        outputs.of(name).inspect(|output| drop(output.run.stderr.wait_for(again)));
    }
    outputs.have_all_before(10);
    outputs.publish(10..13);
    outputs.have_all_before(13);
    outputs.end(13, FULL);
}
