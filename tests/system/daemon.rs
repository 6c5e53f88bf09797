//! The collector in the background: start, messages on the terminal, pid file, log, end; and under
//! a supervisor with systemd's protocol. Needs root and network namespaces.
#![forbid(unsafe_code)]

use aw_tests::collect::held;
use aw_tests::lan::{Host, Lan};
use aw_tests::listening::quiet;
use aw_tests::rig::{Run, TIMEOUT, binary, run, wait_until};
use aw_tests::ring::Ring;
use aw_tests::server::{Server, ServerProcess};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A collector in the background, which ends with the test.
struct Daemon {
    pid_file: PathBuf,
    id: Pid,
}

impl Daemon {
    /// Runs `collector -d` until it leaves the terminal.
    #[track_caller]
    fn start(mut command: Command, pid_file: &Path) -> Daemon {
        command.arg("--pid").arg(pid_file);
        let finished = run(command).ok();
        assert_eq!(finished.stdout, "", "events are not printed");
        let text = fs::read_to_string(pid_file).expect("there is a pid file");
        let id = text.trim_end().parse().ok().and_then(Pid::from_raw).expect("a process id");
        assert_eq!(text, format!("{}\n", id.as_raw_nonzero()));
        Daemon { pid_file: pid_file.into(), id }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.id, signal).expect("our own daemon can be signalled");
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.id.as_raw_nonzero()).into()
    }

    fn is_running(&self) -> bool {
        fs::read_to_string(self.proc("comm")).is_ok_and(|name| name == "collector\n")
    }

    fn stop(&self) {
        self.signal(Signal::TERM);
        wait_until("it ends", || !self.is_running());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.is_running() {
            let _ = kill_process(self.id, Signal::KILL);
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn daemon(host: &Host, ring: &Ring, options: &[&str]) -> Command {
    let mut command = host.command(binary("collector"));
    command.args(["-d", "--ring", ring.name()]).args(options).arg("veth0");
    command
}

/// The session a process belongs to. Not by getsid(2): the tests' own may have begun outside their
/// process namespace, and is then 0, which is no id.
fn session(stat: &Path) -> u32 {
    let stat = fs::read_to_string(stat).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").expect("a name in parentheses");
    // proc_pid_stat(5): state, parent, process group, session.
    after_name.split(' ').nth(3).and_then(|id| id.parse().ok()).expect("the id of a session")
}

fn public_directory() -> TempDir {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// When the started process ends, the background process works, apart from the terminal, and the pid file names it.
#[test]
fn in_the_background() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), public_directory());
    let file = directory.path().join("collector.pid");
    let collector = Daemon::start(daemon(&lan.here, &ring, &["-u", "root"]), &file);
    assert!(collector.is_running() && ring.path().exists());
    assert_ne!(
        session(&collector.proc("stat")),
        session(Path::new("/proc/self/stat")),
        "a session of its own"
    );
    for stream in ["0", "1", "2"] {
        let target = fs::read_link(collector.proc(&format!("fd/{stream}"))).unwrap();
        assert_eq!(target, Path::new("/dev/null"));
    }
    assert_eq!(fs::read_link(collector.proc("cwd")).unwrap(), Path::new("/"));
    // A process that could read it could lock it, and so prevent the next start.
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);

    // A second one with the same file is refused while this one lives, with a message on the terminal.
    let other = Ring::new();
    let mut second = daemon(&lan.here, &other, &["-u", "root"]);
    second.arg("-p").arg(&file);
    let id = collector.id.as_raw_nonzero().to_string();
    run(second).refused("collector", &["collector.pid", "in use by process", &id]);
    assert!(other.files().is_empty());

    collector.stop();
    assert!(!file.exists(), "the pid file is removed");
}

/// The file of a collector that was killed is used again.
#[test]
fn a_pid_file_of_a_killed_process_is_taken_over() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), public_directory());
    let file = directory.path().join("collector.pid");
    let killed = Daemon::start(daemon(&lan.here, &ring, &["-u", "root"]), &file);
    killed.signal(Signal::KILL);
    wait_until("it is gone", || !killed.is_running());
    assert!(file.exists());
    let next = Daemon::start(daemon(&lan.here, &ring, &["-u", "root"]), &file);
    assert_ne!(next.id, killed.id);
    next.stop();
    assert!(!file.exists());
}

/// In a directory of its user the file is removed; in root's it can only be emptied, which is logged at the start.
#[test]
fn the_pid_file_of_another_user() {
    let Some(lan) = Lan::new() else { return };
    for owner in [65534, 0] {
        let (ring, directory) = (Ring::new(), public_directory());
        chown(directory.path(), Some(owner), None).unwrap();
        let file = directory.path().join("collector.pid");
        let mut command = lan.here.command(binary("collector"));
        command.args(["-q", "--ring", ring.name(), "-u", "65534", "veth0", "-p"]).arg(&file);
        let collector = Run::start(command);
        collector.stderr.wait_for("listening on veth0");
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", collector.id()));
        let finished = collector.stop().ok();
        if owner == 0 {
            assert_eq!(fs::read_to_string(&file).unwrap(), "");
            assert!(finished.stderr.contains("will empty the pid file"), "{}", finished.stderr);
        } else {
            assert!(!file.exists());
            assert!(!finished.stderr.contains("pid"), "{}", finished.stderr);
        }
    }
}

/// Any error before it is ready reaches the terminal and the exit status, and leaves no file or process behind.
#[test]
fn errors_reach_the_terminal() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let directory = public_directory();
    let file = directory.path().join("collector.pid");
    let first = quiet(&lan.here, &ring, &[], &["-u", "root"]);
    let other = Ring::new();
    for (ring, options, why) in [
        (&ring, &["-u", "root"][..], "in use by another collector"),
        (&other, &["-u", "no-such-user-here"], "no-such-user-here"),
        (&other, &["--group", "no-such-group-here"], "no-such-group-here"),
        (&other, &["--filter", "no such filter"], "no such filter"),
        (&other, &["--snap-malformed", "/nowhere/at/all"], "/nowhere/at/all"),
    ] {
        let mut command = daemon(&lan.here, ring, options);
        command.arg("-p").arg(&file);
        run(command).refused("collector", &[why]);
        assert!(!file.exists(), "{options:?}");
    }
    let mut command = daemon(&lan.here, &other, &["-p", "/nowhere/at/all"]);
    command.env("LANG", "C");
    run(command).refused("collector", &["/nowhere/at/all", "no such file or directory"]);
    assert!(other.files().is_empty());
    assert_eq!(first.stop().status.code(), Some(0));
}

/// A pipe that is not read, a log that is not accepted: the collector continues, and ends on SIGTERM.
#[test]
fn unread_messages_block_nothing() {
    let Some(lan) = Lan::new() else { return };
    let ring = Ring::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = lan.here.command(binary("collector"));
    command.args(["--ring", ring.name(), "-u", "root", "veth0"]);
    command.stdin(Stdio::null()).stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut collector = command.spawn().unwrap();
    drop(command);
    wait_until("the ring is there", || ring.path().exists());
    // Some 40 bytes a line: more than a pipe holds.
    lan.there.scapy(
        "veth1",
        "frame = Ether(src='02:00:00:00:00:01', dst='ff:ff:ff:ff:ff:ff') / ARP(op=2, hwsrc='02:00:00:00:00:01', psrc='192.0.2.1')\n\
         sendp([frame] * 3000, iface='veth1', verbose=False)",
    );
    lan.here.ip("link del veth0");
    lan.here.ip("link add veth0 type veth peer name veth9");
    lan.here.ip("link set veth0 up");
    lan.here.ip("link set veth9 up");
    let line = " veth0 0 02:00:00:00:00:02 192.0.2.2 ARP_REP";
    wait_until("the frame is captured", || {
        lan.here.scapy(
            "veth9",
            "send(Ether(src='02:00:00:00:00:02', dst='ff:ff:ff:ff:ff:ff') / ARP(op=2, hwsrc='02:00:00:00:00:02', psrc='192.0.2.2'))",
        );
        held(&ring).contains(line)
    });
    kill_process(Pid::from_child(&collector), Signal::TERM).unwrap();
    assert_eq!(collector.wait().unwrap().code(), Some(0));
    drop(reader);
}

/// A real syslog daemon, whose socket is /dev/log for processes in its mount namespace.
struct Syslog {
    process: ServerProcess,
}

impl Server for Syslog {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-f"]).arg(self.path("conf")).arg("-i").arg(self.path("pid"));
        command
    }

    fn answers(&self, _: &Run) -> bool {
        UnixDatagram::unbound().unwrap().connect(self.path("socket")).is_ok()
    }
}

impl Syslog {
    fn start() -> Syslog {
        let directory = public_directory();
        let root = directory.path();
        fs::create_dir(root.join("dev")).unwrap();
        symlink(root.join("socket"), root.join("dev/log")).unwrap();
        let configuration = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket=\"{0}/socket\")\n\
             template(name=\"all\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %syslogtag%%msg%\\n\")\n\
             *.* action(type=\"omfile\" file=\"{0}/messages\" template=\"all\")\n",
            root.display()
        );
        fs::write(root.join("conf"), configuration).unwrap();
        let mut syslog = Syslog { process: ServerProcess::new(directory) };
        syslog.start_again();
        syslog
    }

    fn messages(&self) -> String {
        fs::read_to_string(self.path("messages")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || self.messages().contains(text));
    }

    /// A command that runs there with a /dev of our own.
    fn command(&self, host: &Host, program: &Path) -> Command {
        let script = "set -e; for name in null zero random urandom full; do : > $0/dev/$name; mount --bind /dev/$name $0/dev/$name; done; \
             mkdir $0/dev/shm; mount --bind /dev/shm $0/dev/shm; mount --rbind $0/dev /dev; exec \"$@\"";
        let mut command = host.command("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        command.arg(self.directory()).arg(program);
        command
    }
}

/// In the background it logs to syslog, as daemon, also after a restart of the syslog daemon.
#[test]
fn it_logs_to_syslog() {
    let Some(lan) = Lan::new() else { return };
    let (ring, mut syslog) = (Ring::new(), Syslog::start());
    let mut command = syslog.command(&lan.here, &binary("collector"));
    command.args(["-d", "-v", "--ring", ring.name(), "-u", "65534", "veth0"]);
    let directory = public_directory();
    chown(directory.path(), Some(65534), None).unwrap();
    let collector = Daemon::start(command, &directory.path().join("pid"));
    let id = collector.id.as_raw_nonzero();
    syslog.wait_for(&format!("daemon.notice collector[{id}]: listening on veth0"));
    syslog.stop();
    syslog.start_again();
    lan.here.ip("link del veth0");
    syslog.wait_for(&format!("daemon.warning collector[{id}]: stopped listening on veth0"));
    lan.here.ip("link add veth0 type veth peer name veth9");
    lan.here.ip("link set veth0 up");
    lan.here.ip("link set veth9 up");
    syslog.wait_for(&format!("daemon.notice collector[{id}]: listening on veth0 again"));
    collector.stop();
}

/// The notifications to systemd of a service of Type=notify with a watchdog.
#[test]
fn it_notifies_systemd() {
    let Some(lan) = Lan::new() else { return };
    let (ring, directory) = (Ring::new(), public_directory());
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let next = || loop {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).expect("a message before the timeout");
        let message = String::from_utf8(bytes[..length].to_vec()).unwrap();
        if message.trim_end() != "STATUS=listening on veth0" {
            return message;
        }
    };
    let mut command = lan.here.command(binary("collector"));
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "3000000");
    command.args(["-q", "--ring", ring.name(), "-u", "65534", "veth0"]);
    let collector = Run::start(command);
    let ready = next();
    assert!(ready.lines().any(|line| line == "READY=1"), "{ready}");
    assert!(ring.path().exists(), "ready means that the ring is there");
    for _ in 0..3 {
        assert_eq!(next().trim_end(), "WATCHDOG=1");
    }
    collector.signal(Signal::TERM);
    let mut last = next();
    while last.trim_end() == "WATCHDOG=1" {
        last = next();
    }
    assert_eq!(last.trim_end(), "STOPPING=1");
    collector.finish().ok();
}
