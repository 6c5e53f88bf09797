//! A private syslog daemon: rsyslog, which listens on a socket and two ports and writes messages to a file.

use crate::rig::{Run, wait_until};
use crate::ring::Ring;
use crate::server::{Server, ServerProcess, free_port, installed, listens};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;

/// A daemon; it ends with the test.
pub struct Rsyslog {
    process: ServerProcess,
    /// For UDP and TCP, on the loopback.
    pub port: u16,
}

impl Server for Rsyslog {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-f"]).arg(self.path("conf")).arg("-i").arg(self.path("pid"));
        command
    }

    fn answers(&self, _: &Run) -> bool {
        UnixDatagram::unbound().is_ok_and(|socket| socket.connect(self.path("socket")).is_ok())
            && listens(self.port)
    }
}

impl Rsyslog {
    /// A running daemon; none without rsyslog.
    pub fn start() -> Option<Self> {
        if !installed(&["/usr/sbin/rsyslogd"], "rsyslog") {
            return None;
        }
        let process = ServerProcess::new(tempfile::tempdir().expect("a temporary directory"));
        let port = free_port();
        let mut daemon = Rsyslog { process, port };
        let configuration = format!(
            "module(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             module(load=\"imudp\")\n\
             module(load=\"imtcp\")\n\
             input(type=\"imuxsock\" Socket=\"{0}/socket\" UseSysTimeStamp=\"off\" IgnoreTimestamp=\"off\")\n\
             input(type=\"imudp\" Address=\"127.0.0.1\" Port=\"{port}\")\n\
             input(type=\"imtcp\" Address=\"127.0.0.1\" Port=\"{port}\")\n\
             template(name=\"all\" type=\"string\" string=\"%syslogfacility-text%.%syslogseverity-text% %timestamp:::date-rfc3164% %programname%|%structured-data%|%msg:::drop-last-lf%\\n\")\n\
             *.* action(type=\"omfile\" file=\"{0}/messages\" template=\"all\")\n\
             *.* action(type=\"omfile\" file=\"{0}/log/messages\" template=\"RSYSLOG_TraditionalFileFormat\")\n",
            daemon.directory().display()
        );
        fs::write(daemon.path("conf"), configuration).expect("our own directory");
        daemon.start_again();
        Some(daemon)
    }

    /// Its socket, as an argument.
    pub fn socket(&self) -> String {
        self.path("socket").to_str().expect("text").into()
    }

    /// The received messages, a line each: those that are written completely.
    pub fn messages(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("messages")).unwrap_or_default();
        text.split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .map(String::from)
            .collect()
    }

    /// The numbers of the received events, in the order of arrival.
    pub fn numbers(&self) -> Vec<u32> {
        let number =
            |line: &String| line.rsplit('|').next()?.split_whitespace().next()?.parse().ok();
        self.messages().iter().filter_map(number).collect()
    }

    /// The same messages in the format of Debian's /var/log: the path of the file, in a directory of its own.
    pub fn log_file(&self) -> PathBuf {
        self.path("log/messages")
    }

    /// The command, with the daemon's socket as /dev/log, in a mount namespace. Needs root.
    pub fn as_dev_log(&self, command: &Command) -> Command {
        let script = "set -e; mkdir -p $0/dev/shm; ln -sf $0/socket $0/dev/log; \
             for name in null zero random urandom full; do : > $0/dev/$name; mount --bind /dev/$name $0/dev/$name; done; \
             mount --bind /dev/shm $0/dev/shm; mount --rbind $0/dev /dev; exec \"$@\"";
        let mut inside = Command::new("unshare");
        inside.args(["--mount", "--propagation", "private", "sh", "-c", script]);
        inside.arg(self.directory()).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Waits for this many messages.
    #[track_caller]
    pub fn wait_for(&self, messages: usize) {
        wait_until(&format!("{messages} messages"), || self.messages().len() >= messages);
    }

    /// `aw-syslog` on this ring, not started yet.
    pub fn command(&self, ring: &Ring, options: &[&str]) -> Command {
        let mut command = crate::rig::program("aw-syslog", &["--ring", ring.name()]);
        command.arg("--state-dir").arg(self.path("state")).args(options);
        command
    }

    /// `aw-syslog` on this ring.
    pub fn output(&self, ring: &Ring, options: &[&str]) -> Run {
        Run::start(self.command(ring, options))
    }
}
