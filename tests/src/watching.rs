//! `aw-routeros` with a configuration and an archive.

use crate::rig::{Run, program};
use crate::ring::Ring;
use crate::routeros::{Router, Version};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// This many routers, `core0` and so on, of 2,000 lines each, whose logs are full, and a daemon's configuration for them: with
/// the default pause for further lines, and without periodic exports.
pub fn many(count: usize, ring: &Ring, mail: u16) -> (Vec<Router>, Watching) {
    let routers: Vec<_> = (0..count).map(|_| Router::start(Version::V7)).collect();
    let mut watching = Watching::new(ring).mail(mail);
    for (n, router) in routers.iter().enumerate() {
        fill(router);
        watching =
            watching.router(&format!("core{n}"), router, Version::V7).option("interval = 100000");
    }
    watching.replace("settle = 1\n", "");
    (routers, watching)
}

/// A configuration of 2,000 lines, and a full log.
pub fn fill(router: &Router) {
    let line =
        |n| format!("/ip firewall address-list add address=192.0.2.1 list=l{n} comment=some-words");
    // As in a router's memory: a thousand lines, some of them long.
    let logged = |n: usize| {
        let (minute, second) = (n / 60 % 60, n % 60);
        let command = format!("/ip firewall filter add comment={}", "x".repeat(n % 10 * 40));
        format!(
            " 2026-11-21 10:{minute:02}:{second:02} system,info filter rule added by ssh:admin@192.0.2.7/terminal/action:{n} (*{n:X} = {command})"
        )
    };
    router.state().lines.extend((0..2_000).map(line));
    router.state().log.extend((0..1_000).map(logged));
}

/// The peak memory of a process in bytes.
pub fn peak_memory(run: &Run) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", run.id())).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    peak.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// A configuration, and the directory of its archive.
pub struct Watching {
    directory: TempDir,
    head: String,
    mail: String,
    routers: String,
}

impl Watching {
    /// Changes are published to this ring.
    pub fn new(ring: &Ring) -> Watching {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let archive = directory.path().join("archive");
        let head = format!("archive = {archive:?}\nring = {:?}\nalarm_after = 1\n", ring.name());
        let password = directory.path().join("password");
        fs::write(&password, "secret\n").expect("our own directory");
        fs::set_permissions(password, fs::Permissions::from_mode(0o600)).expect("our own file");
        Watching { directory, head, mail: String::new(), routers: String::new() }
    }

    /// Mail goes to this port.
    pub fn mail(mut self, port: u16) -> Self {
        self.mail = format!(
            "[mail]\nserver = \"127.0.0.1:{port}\"\nfrom = \"a@example.org\"\nto = [\"noc@example.org\"]\n"
        );
        self
    }

    /// Adds a line about mail.
    pub fn mail_option(mut self, line: &str) -> Self {
        self.mail += &format!("{line}\n");
        self
    }

    /// Adds a line about all routers.
    pub fn global(mut self, line: &str) -> Self {
        self.head += &format!("{line}\n");
        self
    }

    /// Removes the lines about all routers that begin so.
    pub fn without(mut self, start: &str) -> Self {
        let lines = self.head.lines().filter(|line| !line.starts_with(start));
        self.head = lines.map(|line| format!("{line}\n")).collect();
        self
    }

    /// Changes are committed to a repository.
    pub fn git(mut self) -> Self {
        self.head += &format!("git = {:?}\n", self.git_path());
        self
    }

    /// Adds a router with its host key.
    pub fn router(self, name: &str, router: &Router, version: Version) -> Self {
        let address = router.address.to_string();
        let password = self.file("password");
        let watching = self
            .entry(name, &address)
            .option("user = \"admin\"")
            .option(&format!("password_file = {password:?}"))
            .option(&format!("host_key = {:?}", router.host_key))
            .option("settle = 1");
        if version == Version::V6 { watching.option("legacy = true") } else { watching }
    }

    /// Adds a router with only its name and address.
    pub fn entry(mut self, name: &str, address: &str) -> Self {
        self.routers += &format!("[[router]]\nname = {name:?}\naddress = {address:?}\n");
        self
    }

    /// Adds a line for the last router.
    pub fn option(mut self, line: &str) -> Self {
        self.routers += &format!("{line}\n");
        self
    }

    /// Writes the configuration again, with a text in it replaced.
    pub fn replace(&mut self, old: &str, new: &str) {
        assert!(self.routers.contains(old), "{old} is not in {}", self.routers);
        self.routers = self.routers.replace(old, new);
        self.write();
    }

    /// The same in the section about mail.
    pub fn replace_mail(&mut self, old: &str, new: &str) {
        assert!(self.mail.contains(old), "{old} is not in {}", self.mail);
        self.mail = self.mail.replace(old, new);
        self.write();
    }

    /// Replaces the file: a daemon that starts meanwhile reads the whole one.
    fn write(&self) -> PathBuf {
        let (path, new) = (self.file("routeros.toml"), self.file("routeros.toml.new"));
        fs::write(&new, [&*self.head, &self.mail, &self.routers].concat())
            .and_then(|()| fs::rename(&new, &path))
            .expect("our own directory");
        path
    }

    /// The program with this configuration.
    pub fn command(&self) -> Command {
        let mut command = program("aw-routeros", &["-c"]);
        command.arg(self.write());
        command
    }

    /// The daemon, in the foreground.
    pub fn start(&self) -> Run {
        Run::start(self.command())
    }

    /// A file in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The archive.
    pub fn root(&self) -> PathBuf {
        self.file("archive")
    }

    /// A router's part of it.
    pub fn archive(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    /// The repository.
    pub fn git_path(&self) -> PathBuf {
        self.file("configs.git")
    }
}
