//! Resource limits: shared memory, the disk of a state directory, file descriptors; and logs that Debian's logrotate
//! rotates. Each is reported, and nothing is lost beyond the counted events.
#![forbid(unsafe_code)]

use aw_tests::collect::stdout_of;
use aw_tests::feed::{numbered_capture, numbered_lines, publish};
use aw_tests::receiver::{Receiver, line as report};
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A small disk, until it is dropped; none without permission to mount.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Option<Disk> {
        if !rustix::process::geteuid().is_root() {
            skip("only root can make a small disk");
            return None;
        }
        let disk = Disk(tempfile::tempdir().unwrap());
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(disk.0.path());
        run(mount).ok();
        Some(disk)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut filler = fs::File::create(self.at("filler")).unwrap();
        while filler.write_all(&[0; 512]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.at("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

/// A ring without room is refused, and leaves no file; one that has its room keeps it.
#[test]
fn a_full_shared_memory() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can make a small /dev/shm");
    }
    let directory = tempfile::tempdir().unwrap();
    for (name, numbers) in [("first", 1..4), ("second", 4..9)] {
        fs::write(directory.path().join(name), numbered_capture(numbers)).unwrap();
    }
    let script = format!(
        "cd {}; mount -t tmpfs -o size=1m,mode=1777 none /dev/shm
         {collector} -q --ring /full --read first && exit 99
         echo left: $(ls -A /dev/shm)
         {collector} -q -L 1024 --ring /full --read first
         cat /dev/zero >/dev/shm/filler 2>/dev/null || true
         {collector} -q -L 1024 --ring /full --read second
         {collector} -q -L 8192 --ring /full --read second && exit 98
         {} --ring /full --once",
        directory.path().display(),
        binary("aw-stdout").display(),
        collector = binary("collector").display(),
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let ran = run(command).ok();
    let lines = ran.stdout.strip_prefix("left:").unwrap().split_once('\n').unwrap();
    // The lock may stay, which takes no room.
    assert!(["", " full.lock"].contains(&lines.0), "{ran:#?}");
    assert_eq!(lines.1, numbered_lines(1..9));
    let refused = ran.stderr.lines().filter(|line| line.starts_with("collector: "));
    let refused: Vec<_> = refused.filter(|line| line.contains("no space left")).collect();
    assert_eq!(refused.len(), 2, "{ran:#?}");
}

/// The ring is deleted, and there is no room, or no descriptor, for another: the collector continues, reports it once, and
/// re-creates the ring, with all events since, when there is.
#[test]
fn a_deleted_ring_that_cannot_be_made_again() {
    if !rustix::process::geteuid().is_root() {
        return skip("only root can make a small /dev/shm");
    }
    let ring = Ring::new();
    // Room for two rings, since a reader of the deleted one holds its memory.
    let script = format!(
        "mount -t tmpfs -o size=320k,mode=1777 none /dev/shm && exec {} -q -L 1024 -r 0 --ring {} -u root --macupd 127.0.0.1:0",
        binary("collector").display(),
        ring.name()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]);
    let collector = Run::start(command);
    let line = collector.stderr.wait_for("(MACupd)");
    let address: std::net::SocketAddr = line.split(' ').find_map(|word| word.parse().ok()).unwrap();
    let receiver = Receiver { run: collector, address };
    let id = receiver.run.id();
    let shm = PathBuf::from(format!("/proc/{id}/root/dev/shm"));
    let (path, filler) = (shm.join(&ring.name()[1..]), shm.join("filler"));
    let lines = || {
        let mut command = Command::new("nsenter");
        command.args(["-t", &id.to_string(), "-m"]).arg(binary("aw-stdout"));
        command.args(["--once", "--ring", ring.name()]);
        run(command).stdout.lines().count()
    };
    let send = |number| {
        let mac = format!("00:08:e1:00:00:{number:02x}");
        receiver.send("127.0.0.2", &[&report(number, &format!("10.0.0.{number}"), 2, &mac, "br0")]);
    };
    let limit = |number: &str| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &id.to_string()]).arg(format!("--nofile={number}:1024"));
        run(command).ok();
    };
    send(1);
    wait_until("the first", || lines() == 1);
    let _ = fs::write(&filler, vec![1; 320 << 10]);
    fs::remove_file(&path).unwrap();
    let message = receiver.run.stderr.wait_for("no space left on device (free space in /dev/shm");
    assert!(message.contains("new readers cannot find ring"), "{message}");
    send(2);
    fs::remove_file(&filler).unwrap();
    wait_until("both", || lines() == 2);
    limit("3");
    fs::remove_file(&path).unwrap();
    receiver.run.stderr.wait_for("too many open files (raise its limit of open files");
    send(3);
    limit("1024");
    wait_until("all three", || lines() == 3);
    let ended = receiver.run.stop().ok();
    assert_eq!(ended.stderr.matches("new readers cannot find ring").count(), 2, "{ended:#?}");
    assert_eq!(ended.stderr.matches("re-created it").count(), 2, "{ended:#?}");
}

/// If the position cannot be saved, the output reports it once and continues; nothing is left out, and nothing is repeated.
#[test]
fn a_full_state_directory() {
    let Some(disk) = Disk::new("64k") else { return };
    let ring = Ring::new();
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("log");
    let state = disk.at("state");
    let output = || {
        let options = ["--from", "resume", "-o", log.to_str().unwrap(), "--state-dir"];
        let mut command = stdout_of(&ring, &options);
        command.arg(&state).args(["-u", "root"]);
        command
    };
    publish(&ring, 1..4);
    let first = Run::start(output());
    let text = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the first are written", || text() == numbered_lines(1..4));
    wait_until("the position is written down", || state.join("aw-stdout.positions").exists());
    disk.fill();
    publish(&ring, 4..7);
    first.stderr.wait_for("aw-stdout.positions: no space left on device (free space on its disk)");
    publish(&ring, 7..9);
    wait_until("the next are written all the same", || text() == numbered_lines(1..9));
    disk.make_room();
    first.stderr.wait_for("the state directory can be written again");
    let ended = first.stop().ok();
    assert_eq!(ended.stderr.matches("no space left on device").count(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("8 events, 0 lost"), "{ended:#?}");
    publish(&ring, 9..11);
    let again = Run::start(output());
    wait_until("the last are written", || text().ends_with(&numbered_lines(9..11)));
    again.stop().ok();
    assert_eq!(text(), numbered_lines(1..11));
}

/// The spool has no room: reported once; the ring has the other events, which are delivered when there is room and a daemon.
#[test]
fn a_full_spool_directory() {
    let Some(disk) = Disk::new("1m") else { return };
    let ring = Ring::new();
    let out = tempfile::tempdir().unwrap();
    let socket = out.path().join("log");
    let options =
        ["--ring", ring.name(), "--replay", "-u", "root", "--to", socket.to_str().unwrap()];
    let mut command = program("aw-syslog", &options);
    command.arg("--state-dir").arg(disk.at("state"));
    let syslog = Run::start(command);
    syslog.stderr.wait_for("waiting for ring");
    disk.fill();
    publish(&ring, 1..3001);
    syslog.stderr.wait_for("is full: ");
    disk.make_room();
    let daemon = UnixDatagram::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o777)).unwrap();
    daemon.set_read_timeout(Some(aw_tests::rig::TIMEOUT)).unwrap();
    let mut bytes = [0; 1024];
    for number in 1..3001 {
        let length = daemon.recv(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..length]);
        assert!(text.contains(&format!(": {number} pcap 0 ")), "{number}: {text}");
    }
    let ended = syslog.stop().ok();
    assert!(ended.stderr.contains("3000 events, 0 lost"), "{ended:#?}");
}

/// `aw-metrics --file` continues, and writes again when there is room.
#[test]
fn a_full_disk_for_metrics() {
    let Some(disk) = Disk::new("64k") else { return };
    let ring = Ring::new();
    publish(&ring, 1..4);
    disk.fill();
    let file = disk.at("addrwatch.prom");
    let options = ["--ring", ring.name(), "-u", "root", "--file", file.to_str().unwrap()];
    let metrics = Run::start(program("aw-metrics", &options));
    metrics.stderr.wait_for("addrwatch.prom: no space left on device");
    disk.make_room();
    wait_until("it is written", || {
        fs::read_to_string(&file).is_ok_and(|text| text.contains("addrwatch_ring_up"))
    });
    metrics.stop().ok();
}

/// With any number of descriptors a program works, or reports what it could not do. It never crashes, and it
/// delivers complete output.
#[test]
fn too_few_descriptors() {
    let ring = Ring::new();
    publish(&ring, 1..4);
    let own = tempfile::tempdir().unwrap();
    let capture = own.path().join("capture");
    fs::write(&capture, numbered_capture(1..4)).unwrap();
    let directory = own.path().to_str().unwrap();
    let other = Ring::new();
    let history = format!("{directory}/lan.db");
    let metrics = format!("{directory}/a.prom");
    let commands: [(&str, Vec<&str>); 8] = [
        ("collector", vec!["--ring", other.name(), "--read", capture.to_str().unwrap()]),
        ("aw-stdout", vec!["--ring", ring.name(), "--once"]),
        (
            "aw-sqlite",
            vec!["--ring", ring.name(), "--once", "--state-dir", directory, "--database", &history],
        ),
        (
            "aw-syslog",
            vec![
                "--ring",
                ring.name(),
                "--once",
                "--state-dir",
                directory,
                "--to",
                "udp://127.0.0.1",
            ],
        ),
        (
            "aw-tracker",
            vec!["--ring", ring.name(), "--once", "--state-dir", directory, "--log-dir", directory],
        ),
        ("aw-alert", vec!["--ring", ring.name(), "--once", "--state-dir", directory, "--print"]),
        ("aw-metrics", vec!["--ring", ring.name(), "--once", "--file", &metrics]),
        ("aw-query", vec!["--database", &history, "devices"]),
    ];
    for (name, options) in &commands {
        let mut worked = false;
        for limit in 3..24 {
            let mut command = Command::new("prlimit");
            command.arg(format!("--nofile={limit}")).arg(binary(name)).args(options);
            let ended = run(command);
            assert!(
                !ended.stderr.contains("please report this bug"),
                "{name}, {limit}: {ended:#?}"
            );
            let by_loader = ended.status.code() == Some(127); // it did not even start
            match ended.status.code() {
                Some(0) => worked = true,
                Some(1) => {
                    assert!(ended.stderr.starts_with(&format!("{name}: ")), "{limit}: {ended:#?}")
                }
                _ => assert!(by_loader, "{name}, {limit}: {ended:#?}"),
            }
            if ended.status.code() == Some(0) && ["collector", "aw-stdout"].contains(name) {
                assert_eq!(ended.stdout, numbered_lines(1..4), "{name}, {limit}");
            }
        }
        assert!(worked, "{name}");
    }
    let devices = run(program("aw-query", &["--database", &history, "--format", "csv", "devices"]));
    assert_eq!(devices.ok().stdout.lines().count(), 4, "a heading and three, each once");
}

/// Clients use up all descriptors: the program continues, and answers when they have closed.
#[test]
fn clients_use_up_descriptors() {
    let ring = Ring::new();
    let mut command = Command::new("prlimit");
    command.arg("--nofile=16").arg(binary("aw-metrics"));
    command.args(["--ring", ring.name(), "--listen", "0"]);
    let metrics = Run::start(command);
    let line = metrics.stderr.wait_for("metrics at http://127.0.0.1:");
    let port: u16 = line.trim_end_matches("/metrics").rsplit(':').next().unwrap().parse().unwrap();
    let visitors: Vec<_> =
        (0..40).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    publish(&ring, 1..4);
    drop(visitors);
    let events = format!("addrwatch_ring_events_total{{ring=\"{}\"}} 3\n", ring.name());
    wait_until("it answers", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut answer = String::new();
        let asked = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
        asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains(&events)
    });
    metrics.stop().ok();
}

/// Debian's logrotate with the shipped configuration, except for paths: not a line is lost.
#[test]
fn logrotate() {
    if !Path::new("/usr/sbin/logrotate").exists() {
        return skip("there is no logrotate here");
    }
    let ring = Ring::new();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("aw-stdout/events.log");
    fs::create_dir(log.parent().unwrap()).unwrap();
    let output =
        Run::start(stdout_of(&ring, &["--replay", "-u", "root", "-o", log.to_str().unwrap()]));
    let text = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    publish(&ring, 1..4);
    wait_until("the first lines", || text(&log) == numbered_lines(1..4));
    let shipped = include_str!("../../contrib/logrotate/addrwatch");
    let (before, rest) = shipped.split_once("\tpostrotate\n").unwrap();
    let (_, after) = rest.split_once("\tendscript\n").unwrap();
    let script = format!("\tpostrotate\n\t\tkill -HUP {}\n\tendscript\n", output.id());
    let ours = format!("{before}{script}{after}").replace("\tsu aw-stdout addrwatch\n", "");
    let ours = ours.replace("/var/log/addrwatch", directory.path().to_str().unwrap());
    let file = directory.path().join("logrotate.conf");
    fs::write(&file, ours).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let mut command = Command::new("/usr/sbin/logrotate");
    command.arg("--force").arg("--state").arg(directory.path().join("status")).arg(&file);
    // Events arrive meanwhile.
    std::thread::scope(|threads| {
        let events =
            threads.spawn(|| (4..40).for_each(|number| publish(&ring, number..number + 1)));
        run(command).ok();
        wait_until("the file is re-created", || log.exists());
        events.join().unwrap();
    });
    let both = || text(&log.with_extension("log.1")) + &text(&log);
    wait_until("all lines", || both() == numbered_lines(1..40));
    output.signal(Signal::TERM);
    output.finish().ok();
}
