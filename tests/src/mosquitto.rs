//! A private MQTT broker, mosquitto, and a client that records messages.

use crate::collect::json;
use crate::rig::{Run, program, wait_until};
use crate::ring::Ring;
use crate::server::{Server, ServerProcess, free_port, installed, listens};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A broker; it ends with the test.
pub struct Mosquitto {
    process: ServerProcess,
    /// Without TLS, on the loopback.
    pub port: u16,
    /// With TLS, if it is configured.
    pub tls_port: u16,
    /// Options of mosquitto_sub for subscribers.
    login: Vec<String>,
}

impl Server for Mosquitto {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/mosquitto");
        command.arg("-c").arg(self.path("conf"));
        command
    }

    fn answers(&self, _: &Run) -> bool {
        listens(self.port)
    }
}

/// A message that a subscriber received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Its topic.
    pub topic: String,
    /// With the retain flag, as published.
    pub retained: bool,
    /// Quality of service.
    pub qos: u8,
    /// The payload, as text.
    pub payload: String,
}

impl Mosquitto {
    /// A running broker without logins; none without mosquitto.
    pub fn start() -> Option<Self> {
        Self::start_with(|_| "allow_anonymous true\n".into(), &[])
    }

    /// With lines of configuration, which may depend on the directory, and `{tls}` in them for the second port;
    /// subscribers need `login`.
    pub fn start_with(lines: impl FnOnce(&Path) -> String, login: &[&str]) -> Option<Self> {
        if !installed(&["/usr/sbin/mosquitto"], "mosquitto")
            || !installed(&["/usr/bin/mosquitto_sub"], "mosquitto-clients")
        {
            return None;
        }
        let process = ServerProcess::new(tempfile::tempdir().expect("a temporary directory"));
        let login = login.iter().map(|option| (*option).to_owned()).collect();
        let (port, tls_port) = (free_port(), free_port());
        let mut broker = Mosquitto { process, port, tls_port, login };
        let lines = lines(broker.directory()).replace("{tls}", &tls_port.to_string());
        let lines =
            format!("user root\nmax_queued_messages 1000000\nlistener {port} 127.0.0.1\n{lines}");
        fs::write(broker.path("conf"), lines).expect("our own directory");
        broker.start_again();
        Some(broker)
    }

    /// A subscriber to all topics from now on, retained messages first.
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

    /// `aw-mqtt` on this ring without an option for the broker's address, not started yet.
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

/// A subscriber, which ends with the test.
pub struct Listener {
    run: Run,
}

impl Listener {
    /// All messages so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.run.stdout.text().lines().filter_map(sent).collect()
    }

    /// Waits for a message with this topic, and returns the last of them.
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

    /// All payloads of news of this kind, in order.
    pub fn news(&self, what: &str) -> Vec<Value> {
        let end = format!("/events/pcap/{what}");
        let news = self.sent().into_iter().filter(|sent| sent.topic.ends_with(&end));
        news.map(|sent| json(&sent.payload)).collect()
    }

    /// Waits until there are this many.
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
