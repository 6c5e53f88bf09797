//! A real MQTT broker of the test's own, mosquitto, and a client that writes down what it is sent.

use crate::collect::json;
use crate::rig::{Run, program, skip, wait_until};
use crate::ring::Ring;
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A broker; it ends with the test.
pub struct Mosquitto {
    directory: TempDir,
    daemon: Option<Run>,
    /// Without TLS, on the loopback.
    pub port: u16,
    /// With TLS, where its configuration says so.
    pub tls_port: u16,
    /// For whoever listens here: options of mosquitto_sub.
    login: Vec<String>,
}

/// What a subscriber was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where.
    pub topic: String,
    /// With the retain flag, as published.
    pub retained: bool,
    /// Quality of service.
    pub qos: u8,
    /// Text.
    pub payload: String,
}

impl Mosquitto {
    /// A running one for everybody; none where there is no mosquitto.
    pub fn start() -> Option<Self> {
        Self::start_with(|_| "allow_anonymous true\n".into(), &[])
    }

    /// With lines of a configuration, made once the directory is known, and `{tls}` in them for the second port; whoever
    /// listens here needs `login`.
    pub fn start_with(lines: impl FnOnce(&Path) -> String, login: &[&str]) -> Option<Self> {
        if !Path::new("/usr/sbin/mosquitto").exists()
            || !Path::new("/usr/bin/mosquitto_sub").exists()
        {
            skip("there is no mosquitto here");
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let free = || TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let (plain, tls) = (free(), free());
        let port = |free: &TcpListener| free.local_addr().expect("an address").port();
        let (port, tls_port) = (port(&plain), port(&tls));
        drop((plain, tls));
        let lines = lines(directory.path()).replace("{tls}", &tls_port.to_string());
        let lines =
            format!("user root\nmax_queued_messages 1000000\nlistener {port} 127.0.0.1\n{lines}");
        fs::write(directory.path().join("conf"), lines).expect("our own directory");
        let login = login.iter().map(|option| (*option).to_owned()).collect();
        let mut broker = Mosquitto { directory, daemon: None, port, tls_port, login };
        broker.start_again();
        Some(broker)
    }

    /// Beneath it lies everything.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// After it was killed; returns once it listens. It remembers nothing.
    #[track_caller]
    pub fn start_again(&mut self) {
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(self.path("conf"));
        self.daemon = Some(Run::start(command));
        wait_until("mosquitto listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon.take().expect("it runs").kill();
    }

    /// A signal: SIGSTOP makes it hang.
    pub fn signal(&self, signal: Signal) {
        self.daemon.as_ref().expect("it runs").signal(signal);
    }

    /// Somebody who listens to all topics from now on, retained ones first.
    #[track_caller]
    pub fn listen(&self) -> Listener {
        let mut command = Command::new("stdbuf"); // it would keep lines back
        command.args(["-oL", "/usr/bin/mosquitto_sub"]);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-V", "mqttv5", "-q", "1"]);
        command.args(["-t", "#", "--retain-as-published", "-d", "-F", "|%t|%r|%q|%p"]);
        command.args(&self.login);
        let run = Run::start(command);
        run.stdout.wait_for("Subscribed (mid");
        Listener { run }
    }

    /// `aw-mqtt` on this ring with no option that says where the broker is, not started yet.
    pub fn bare_command(&self, ring: &Ring, options: &[&str]) -> Command {
        let mut command = program("aw-mqtt", &["--ring", ring.name(), "--hostname", "here"]);
        command.arg("--state-dir").arg(self.path("state")).args(options);
        command
    }

    /// `aw-mqtt` on this ring, not started yet.
    pub fn command(&self, ring: &Ring, options: &[&str]) -> Command {
        let broker = format!("mqtt://127.0.0.1:{}", self.port);
        let mut command = self.bare_command(ring, options);
        command.args(["--broker", &broker]);
        command
    }

    /// `aw-mqtt` on this ring.
    pub fn output(&self, ring: &Ring, options: &[&str]) -> Run {
        Run::start(self.command(ring, options))
    }
}

/// Ends with the test.
pub struct Listener {
    run: Run,
}

impl Listener {
    /// All so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.run.stdout.text().lines().filter_map(sent).collect()
    }

    /// Waits until something was sent there, and returns the last of it.
    #[track_caller]
    pub fn wait_for(&self, topic: &str, payload: &str) -> Sent {
        self.run.stdout.wait_until(&format!("{topic} {payload}"), |lines| {
            let wanted = |sent: &Sent| sent.topic == topic && sent.payload == payload;
            lines.iter().rev().filter_map(|line| sent(line.trim_end())).find(wanted)
        })
    }

    /// All payloads of a topic, in order.
    pub fn of(&self, topic: &str) -> Vec<String> {
        let of = |sent: Sent| (sent.topic == topic).then_some(sent.payload);
        self.sent().into_iter().filter_map(of).collect()
    }

    /// What news of this kind says, in order.
    pub fn news(&self, what: &str) -> Vec<Value> {
        let end = format!("/events/pcap/{what}");
        let news = self.sent().into_iter().filter(|sent| sent.topic.ends_with(&end));
        news.map(|sent| json(&sent.payload)).collect()
    }

    /// Waits until there are so many.
    #[track_caller]
    pub fn wait_for_news(&self, what: &str, count: usize) -> Vec<Value> {
        wait_until(&format!("{count} of {what}"), || self.news(what).len() >= count);
        self.news(what)
    }
}

fn sent(line: &str) -> Option<Sent> {
    let mut parts = line.strip_prefix('|')?.splitn(4, '|');
    let (topic, retained, qos) = (parts.next()?.into(), parts.next()? == "1", parts.next()?);
    Some(Sent { topic, retained, qos: qos.parse().ok()?, payload: parts.next()?.into() })
}
