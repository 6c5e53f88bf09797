//! `aw-alert` with a configuration, its channels, and events for it.

use crate::capture_file::{ETHERNET, Pcap, Unit, at, save};
use crate::collect::{collect, complete_json};
use crate::frames::Arp;
use crate::mail_sink::MailSink;
use crate::rig::{Finished, Run, program, run};
use crate::ring::Ring;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// `aw-alert` with a ring, a configuration and a state directory of its own.
pub struct Alert {
    /// Of all files.
    pub directory: TempDir,
    /// The ring that it reads.
    pub ring: Ring,
    /// Environment variables.
    pub variables: Vec<(&'static str, String)>,
}

impl Default for Alert {
    fn default() -> Self {
        Self::new()
    }
}

impl Alert {
    /// Without a configuration.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        Alert { directory, ring: Ring::new(), variables: Vec::new() }
    }

    /// A path in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub fn secret(&self, name: &str, text: &str) -> String {
        let path = save(self.directory.path(), name, text.as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our own file");
        path
    }

    /// Writes the configuration.
    pub fn config(&self, text: &str) -> String {
        save(self.directory.path(), "alert.toml", text.as_bytes())
    }

    /// A channel whose command appends alerts to a file.
    pub fn appending_channel(&self) -> String {
        let out = self.path("alerts");
        let text = format!("#!/bin/sh\nexec cat >> {}\n", out.display());
        let path = save(self.directory.path(), "append", text.as_bytes());
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("our own file");
        format!("[[channel]]\nname = \"append\"\ncommand = [{path:?}]\n")
    }

    /// The alerts in the file of [`Self::appending_channel`].
    pub fn alerts(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("alerts")).unwrap_or_default();
        complete_json(&text)
    }

    /// The program with these options.
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = program("aw-alert", &["--ring", self.ring.name()]);
        if !options.contains(&"--vendors") {
            command.args(["--vendors", "/nonexistent"]); // not those of this machine
        }
        if !options.contains(&"--names") {
            command.args(["--names", "/dev/null"]);
        }
        command.arg("--state-dir").arg(self.path("state")).args(options).env("TZ", "UTC");
        for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        fs::create_dir_all(self.path("state")).expect("our own directory can be written to");
        command
    }

    /// Runs it for the events in the ring.
    #[track_caller]
    pub fn once(&self) -> Finished {
        let config = self.path("alert.toml").display().to_string();
        run(self.command(&["--once", "-c", &config])).ok()
    }

    /// Starts it in the foreground. Each new device is reported at once, on its first day, too.
    pub fn start(&self) -> Run {
        self.start_with(&["--learn", "0"])
    }

    /// Starts it with these options.
    pub fn start_with(&self, options: &[&str]) -> Run {
        let config = self.path("alert.toml").display().to_string();
        Run::start(self.command(&[&["-c", &config], options].concat()))
    }

    /// Sends a test message to a channel.
    pub fn test(&self, channel: &str) -> Finished {
        let config = self.path("alert.toml").display().to_string();
        run(self.command(&["-c", &config, "test", channel]))
    }

    /// New devices with the addresses 10.0.0.N and MACs 00:08:e1:00:00:N.
    pub fn publish(&self, numbers: std::ops::Range<u8>) {
        self.publish_with(numbers, &[]);
    }

    /// Publishes events.
    pub fn publish_with(&self, numbers: std::ops::Range<u8>, options: &[&str]) {
        let frame = |number| {
            let ip = Ipv4Addr::new(10, 0, 0, number);
            let arp = Arp::request([0, 8, 0xe1, 0, 0, number], ip, [192, 0, 2, 254].into());
            (1000 + u32::from(number), arp)
        };
        self.publish_frames(&numbers.map(frame).collect::<Vec<_>>(), options);
    }

    /// ARP messages with their times.
    pub fn publish_frames(&self, messages: &[(u32, Arp)], options: &[&str]) {
        let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory");
        for (time, arp) in messages {
            file.packet(at(*time), &arp.frame()).expect("memory");
        }
        collect(&self.ring, &file.finish().expect("memory"), &[&["-q"], options].concat()).ok();
    }
}

/// The last numbers of the addresses in alerts, in their order.
pub fn numbers(reports: &[Value]) -> Vec<u8> {
    let number = |report: &Value| report["ip"].as_str()?.rsplit('.').next()?.parse().ok();
    reports.iter().filter_map(number).collect()
}

/// The time limit of the channels here: no server of a test needs as long.
const TIME_LIMIT: &str = "time_limit = 120";

/// These channels with a time limit of a second: they send to a server that does not answer.
pub fn impatient(channels: &str) -> String {
    channels.replace(TIME_LIMIT, "time_limit = 1")
}

/// A channel with a webhook.
pub fn webhook(name: &str, options: &str) -> String {
    format!("[[channel]]\nname = \"{name}\"\n{TIME_LIMIT}\nwebhook = {{ {options} }}\n")
}

/// A channel with mail to this server.
pub fn smtp(sink: &MailSink, more: &str) -> String {
    format!(
        "[[channel]]\nname = \"mail\"\n{TIME_LIMIT}\nsmtp = {{ server = \"127.0.0.1:{}\", \
         from = \"arpwatch@example.org\", to = [\"a@example.org\", \"b@example.org\"]{more} }}\n",
        sink.port
    )
}
