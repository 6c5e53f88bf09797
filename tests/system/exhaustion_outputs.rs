//! Each output while it runs: its disk is full, and has room again; it may open no more files, and then may; the clock is
//! set back and forward. It reports that once, with a remedy, and no event is lost or repeated.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at};
use aw_tests::clock::{Clock, clean_up};
use aw_tests::collect::collect;
use aw_tests::frames::Arp;
use aw_tests::mariadb::MariaDb;
use aw_tests::mosquitto::Mosquitto;
use aw_tests::mount::Mount;
use aw_tests::rig::{Run, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rusqlite::{Connection, OpenFlags};
use rustix::process::Signal;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// The numbers that an output has delivered.
type Arrived = Box<dyn Fn(&Run) -> Vec<u8>>;

/// An output, and its own disk of 24 MiB.
struct Output {
    name: &'static str,
    run: Run,
    disk: PathBuf,
    mount: Mount,
    arrived: Arrived,
}

/// All outputs, on one ring.
struct Outputs {
    ring: Ring,
    all: Vec<Output>,
    /// The error of the clock.
    days: Cell<i64>,
    server: Option<Rc<MariaDb>>,
    directory: TempDir,
}

/// The number in the first address of a line.
fn number_in(line: &str) -> Option<u8> {
    let address = line.split([' ', '"', '\t']).find(|word| word.starts_with("10.0.0."))?;
    address["10.0.0.".len()..].parse().ok()
}

fn numbers_in(text: &str) -> Vec<u8> {
    text.lines().filter_map(number_in).collect()
}

impl Outputs {
    /// Starts them; `change` modifies their commands. None without permission to mount a small disk.
    fn start(ring: Ring, change: impl Fn(&mut Command)) -> Option<Outputs> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can make a small disk");
            return None;
        }
        let (directory, server) = (tempfile::tempdir().unwrap(), MariaDb::start(&[]).map(Rc::new));
        // aw-mysql is started in the server's directory, because its user may not read this test's.
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let mut outputs = Outputs { ring, all: Vec::new(), days: Cell::new(0), server, directory };
        outputs.add("aw-stdout", &["-o", "@/../lines", "--from", "resume"], &change, |at| {
            let log = at.parent().unwrap().join("lines");
            Box::new(move |_| numbers_in(&fs::read_to_string(&log).unwrap_or_default()))
        });
        outputs.add("aw-sqlite", &["--commit-interval", "1s"], &change, |at| {
            Box::new(move |_| in_databases(&at))
        });
        outputs.add("aw-syslog", &["--to", "@/../log"], &change, |at| in_messages(&at));
        let tracker = ["--log-dir", "@", "--source", "all"];
        outputs.add("aw-tracker", &tracker, &change, |at| Box::new(move |_| in_logs(&at)));
        outputs.add(
            "aw-alert",
            &["--print", "--learn", "0", "--exec", "/bin/true"],
            &change,
            |_| Box::new(|run| numbers_in(&run.stdout.text())),
        );
        outputs.add("aw-metrics", &["--file", "@/a.prom"], &change, |at| {
            Box::new(move |_| counted(&fs::read_to_string(at.join("a.prom")).unwrap_or_default()))
        });
        if let Some(broker) = Mosquitto::start() {
            let (url, listener) = (format!("mqtt://127.0.0.1:{}", broker.port), broker.listen());
            outputs.add("aw-mqtt", &["--broker", &url], &change, move |_| {
                Box::new(move |_| {
                    let _ = &broker; // it runs as long as we look
                    let news = listener.news("new_station");
                    news.iter().filter_map(|news| number_in(&news.to_string())).collect()
                })
            });
        }
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
        arrived: impl FnOnce(PathBuf) -> Arrived,
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

    /// A collector publishes these numbers now.
    #[track_caller]
    fn publish(&self, numbers: Range<u8>) {
        publish(&self.ring, self.days.get(), numbers);
    }

    /// Each output has delivered the numbers before `end`, once.
    #[track_caller]
    fn have_all_before(&self, end: u8) {
        for Output { name, run, arrived, .. } in &self.all {
            let all: BTreeSet<u8> = (1..end).collect();
            wait_until(
                &format!("{name}: all before {end}; its log: {}", run.stderr.text()),
                || arrived(run).into_iter().collect::<BTreeSet<_>>() == all,
            );
            assert_eq!(arrived(run).len(), all.len(), "{name}: one is there twice");
        }
    }

    /// Each logged the first of its two texts once, in a line with a remedy, then the second; and it has lost nothing.
    #[track_caller]
    fn end(self, end: u8, messages: &[(&str, &str, &str)]) {
        for Output { name, run, mount, .. } in self.all {
            let ended = run.stop().ok();
            drop(mount);
            let summary = format!("{} events, 0 lost\n", end - 1);
            assert!(ended.stderr.contains(&summary), "{name}: {ended:#?}");
            for (_, wrong, again) in messages.iter().filter(|(of, ..)| *of == name) {
                for text in [wrong, again] {
                    assert_eq!(ended.stderr.matches(text).count(), 1, "{name}, {text}: {ended:#?}");
                }
            }
            // The test itself starts and stops collectors.
            let lines = ended.stderr.lines().filter(|line| !line.contains("collector"));
            let mut lines: Vec<_> = lines.collect();
            let all = lines.len();
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(lines.len(), all, "{name} repeats itself: {}", ended.stderr);
        }
    }
}

/// A collector publishes these numbers now, with a clock that is wrong by this many days.
#[track_caller]
fn publish(ring: &Ring, days: i64, numbers: Range<u8>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let now = (now + days * 86_400) as u32;
    let mut capture = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).unwrap();
    for number in numbers {
        // No random MAC, which aw-alert reports in a digest.
        let (mac, ip) = ([0, 8, 0xe1, 0, 0, number], [10, 0, 0, number].into());
        let frame = Arp::request(mac, ip, [192, 0, 2, 1].into()).frame();
        capture.packet(at(now), &frame).unwrap();
    }
    collect(ring, &capture.finish().unwrap(), &["-q"]).ok();
}

/// Numbers in `aw-sqlite`'s databases: the current one, and those that were moved away.
fn in_databases(directory: &Path) -> Vec<u8> {
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

/// Messages that a syslog daemon has received, also when its socket was replaced.
fn in_messages(disk: &Path) -> Arrived {
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

/// Numbers in `aw-tracker`'s logs.
fn in_logs(directory: &Path) -> Vec<u8> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
    let logs = files.filter(|path| path.to_string_lossy().contains("macupd_tracker.2"));
    logs.flat_map(|log| numbers_in(&fs::read_to_string(log).unwrap_or_default())).collect()
}

/// As many numbers as `aw-metrics` has counted.
fn counted(text: &str) -> Vec<u8> {
    let line = text.lines().find(|line| line.starts_with("addrwatch_events_total{"));
    let number = line.and_then(|line| line.rsplit(' ').next()?.parse::<u8>().ok());
    (1..=number.unwrap_or(0)).collect()
}

const FULL: &[(&str, &str, &str)] = &[
    (
        "aw-stdout",
        "aw-stdout.positions: no space left on device (free space on its disk): continuing without saving the position",
        "the state directory can be written again",
    ),
    (
        "aw-sqlite",
        "addrwatch.db: database or disk is full (free space on its disk): queueing events in",
        "the destination is back",
    ),
    (
        "aw-syslog",
        "aw-syslog.spool: database or disk is full (free space on its disk): continuing without saving the position",
        "the state directory can be written again",
    ),
    (
        "aw-mysql",
        "aw-mysql.spool: database or disk is full (free space on its disk): continuing without saving the position",
        "the state directory can be written again",
    ),
    (
        "aw-alert",
        "aw-alert.db: database or disk is full (free space on its disk): queueing events in",
        "the destination is back",
    ),
    (
        "aw-mqtt",
        "aw-mqtt.db: Error code 13: database or disk is full (free space on its disk): queueing events in",
        "the destination is back",
    ),
    (
        "aw-metrics",
        "a.prom: no space left on device (free space on its disk) (trying again)",
        "a.prom is written again",
    ),
];

#[test]
fn full_disks() {
    let Some(outputs) = Outputs::start(Ring::new(), |_| ()) else { return };
    outputs.publish(1..4);
    outputs.have_all_before(4);
    outputs.all.iter().for_each(|output| output.mount.fill());
    outputs.publish(4..7);
    for (name, wrong, _) in FULL {
        outputs.of(name).inspect(|output| drop(output.run.stderr.wait_for(wrong)));
    }
    let tracker = outputs.of("aw-tracker").unwrap();
    tracker.run.stderr.wait_for("log: no space left on device (free space on its disk)");
    outputs.publish(7..10);
    std::thread::sleep(std::time::Duration::from_secs(2)); // a try more of each
    outputs.all.iter().for_each(|output| output.mount.make_room());
    for (name, _, again) in FULL {
        outputs.of(name).inspect(|output| drop(output.run.stderr.wait_for(again)));
    }
    outputs.have_all_before(10);
    outputs.publish(10..13);
    outputs.have_all_before(13);
    outputs.end(13, FULL);
}

const FILES: &[(&str, &str, &str)] = &[
    (
        "aw-stdout",
        "aw-stdout.new: too many open files (raise its limit of open files: ulimit -n, LimitNOFILE=)",
        "the state directory can be written again",
    ),
    ("aw-sqlite", "addrwatch.db: too many open files", "the destination is back"),
    (
        "aw-syslog",
        "/log: too many open files (raise its limit of open files: ulimit -n, LimitNOFILE=): queueing events in",
        "the destination is back",
    ),
    ("aw-mysql", "too many open files", "the destination is back"),
    (
        "aw-tracker",
        ".log: too many open files (raise its limit of open files: ulimit -n, LimitNOFILE=) (trying again)",
        "disk is written again",
    ),
    (
        "aw-alert",
        "channel exec: run /bin/true: too many open files (raise its limit of open files: ulimit -n, LimitNOFILE=)",
        "channel exec works again",
    ),
    (
        "aw-metrics",
        "a.prom.new: too many open files (raise its limit of open files: ulimit -n, LimitNOFILE=) (trying again)",
        "a.prom is written again",
    ),
];

impl Output {
    /// Allows it and its child processes to open files up to this number.
    fn may_open(&self, number: u32) {
        let children = format!("/proc/{0}/task/{0}/children", self.run.id());
        let children = fs::read_to_string(children).unwrap();
        let own = self.run.id().to_string();
        for process in children.split_whitespace().chain([own.as_str()]) {
            let mut command = Command::new("prlimit");
            command.args(["--pid", process]).arg(format!("--nofile={number}:1024"));
            run(command).ok();
        }
    }
}

#[test]
fn no_files_to_open() {
    let Some(outputs) = Outputs::start(Ring::new(), |_| ()) else { return };
    outputs.publish(1..4);
    outputs.have_all_before(4);
    outputs.all.iter().for_each(|output| output.may_open(3));
    for name in ["aw-syslog", "aw-mysql"] {
        // They reconnect.
        outputs.of(name).inspect(|output| output.run.signal(Signal::HUP));
    }
    let state = outputs.of("aw-sqlite").unwrap().disk.join("state");
    fs::rename(state.join("addrwatch.db"), state.join("moved.db")).unwrap();
    outputs.publish(4..7);
    for (name, wrong, _) in FILES {
        outputs.of(name).inspect(|output| drop(output.run.stderr.wait_for(wrong)));
    }
    outputs.publish(7..10);
    outputs.all.iter().for_each(|output| output.may_open(1024));
    for (name, _, again) in FILES {
        outputs.of(name).inspect(|output| drop(output.run.stderr.wait_for(again)));
    }
    outputs.have_all_before(10);
    outputs.publish(10..13);
    outputs.have_all_before(13);
    outputs.end(13, FILES);
}

/// Set back by three days, forward by more than a year, and right again.
#[test]
fn a_clock_that_is_set() {
    let ring = Ring::new();
    let Some(clock) = Clock::new(&ring) else { return };
    let Some(outputs) = Outputs::start(ring, |command| clock.give(command)) else { return };
    outputs.publish(1..4);
    outputs.have_all_before(4);
    for (days, numbers) in [(-3, 4..7), (400, 7..10), (0, 10..13)] {
        clock.set(days);
        outputs.days.set(days);
        let end = numbers.end;
        outputs.publish(numbers);
        outputs.have_all_before(end);
    }
    // It is the clock of the programs, too.
    let error = |path: &PathBuf| path.to_string_lossy().contains("macupd_error");
    let logs = fs::read_dir(&outputs.of("aw-tracker").unwrap().disk).unwrap();
    let errors = logs.map(|file| file.unwrap().path()).filter(error);
    let messages: String = errors.map(|path| fs::read_to_string(path).unwrap()).collect();
    assert!(messages.contains("the clock was set forward by 40"), "{messages}");
    let processes: Vec<_> = outputs.all.iter().map(|output| output.run.id()).collect();
    outputs.end(13, &[]);
    processes.into_iter().for_each(clean_up);
}

/// `aw-tracker`'s logs are moved away without a signal: the log of the day is re-created completely, the others begin again.
#[test]
fn logs_that_are_moved_away() {
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let (logs, state) = (directory.path().join("logs"), directory.path().join("state"));
    fs::create_dir(&logs).unwrap();
    let mut command =
        program("aw-tracker", &["--ring", ring.name(), "-u", "root", "--source", "all"]);
    command.arg("--log-dir").arg(&logs).arg("--state-dir").arg(&state);
    let tracker = Run::start(command);
    let of = |kind: &str, end: &str| -> Vec<u8> {
        let files = fs::read_dir(&logs).unwrap().map(|file| file.unwrap().path());
        let name = |path: &PathBuf| path.to_string_lossy().into_owned();
        let found = files.filter(|path| name(path).contains(kind) && name(path).ends_with(end));
        found.flat_map(|path| numbers_in(&fs::read_to_string(path).unwrap_or_default())).collect()
    };
    publish(&ring, 0, 1..4);
    wait_until("the first", || {
        of("tracker", ".log") == [1, 2, 3] && of("alert", ".log").len() == 3
    });
    for file in fs::read_dir(&logs).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|end| end == "log") {
            fs::rename(&file, file.with_extension("log.1")).unwrap();
        }
    }
    publish(&ring, 0, 4..7);
    wait_until("the next", || of("alert", ".log") == [4, 5, 6]);
    wait_until("all", || of("tracker", ".log") == [1, 2, 3, 4, 5, 6]);
    assert_eq!(of("alert", ".log.1"), [1, 2, 3]);
    tracker.stop().ok();
}
