//! Two network namespaces and a veth pair between them, which are removed with the test.

use crate::rig::skip;
use std::path::Path;
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};

/// One end of the wire.
pub struct Host {
    namespace: String,
    /// Its MAC, as text.
    pub mac: String,
}

/// The wire: `here` listens on `veth0`, `there` sends on `veth1`. IPv6 is off at both ends until switched on, so that
/// only the test sends frames.
pub struct Lan {
    /// Has `veth0`.
    pub here: Host,
    /// Has `veth1`.
    pub there: Host,
}

/// MAC of `veth0`.
pub const HERE: &str = "02:aa:00:00:00:01";
/// MAC of `veth1`.
pub const THERE: &str = "02:aa:00:00:00:02";

impl Lan {
    /// Creates it, or prints why the test is skipped.
    pub fn new() -> Option<Lan> {
        let made = Lan::try_new();
        made.map_err(|why| skip(&why)).ok()
    }

    /// Creates it, or returns why that is impossible here.
    pub fn try_new() -> Result<Lan, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host = |side: &str, mac| Host::new(format!("awt-{}-{number}-{side}", id()), mac);
        // Built before the namespaces exist, so that a failure halfway leaves nothing behind.
        let lan = Lan { here: host("h", HERE), there: host("t", THERE) };
        lan.make().map_err(|why| format!("no network namespaces here: {why}"))?;
        Ok(lan)
    }

    fn make(&self) -> Result<(), String> {
        let (here, there) = (&self.here.namespace, &self.there.namespace);
        self.here.create()?;
        self.there.create()?;
        ip(&format!(
            "link add veth0 netns {here} address {HERE} type veth peer name veth1 netns {there} address {THERE}"
        ))?;
        ip(&format!("-n {here} link set veth0 up"))?;
        ip(&format!("-n {there} link set veth1 up"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if Path::new("/run/netns").join(&self.namespace).exists() {
            let _ = ip(&format!("netns del {}", self.namespace));
        }
    }
}

impl Host {
    /// A host that has to be created; its namespace is removed with it.
    pub(crate) fn new(namespace: String, mac: &str) -> Host {
        Host { namespace, mac: mac.into() }
    }

    /// Creates its namespace, with IPv6 switched off.
    pub(crate) fn create(&self) -> Result<(), String> {
        ip(&format!("netns add {}", self.namespace))?;
        ["all", "default"].iter().try_for_each(|which| {
            self.try_run(&["sysctl", "-qw", &format!("net.ipv6.conf.{which}.disable_ipv6=1")])
        })
    }

    /// Its name, for `ip link set ... netns`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A command that runs there; its process id is the program's own, because `ip` executes it.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace]).arg(program);
        command
    }

    /// Runs it there, to its end; panics when it fails.
    #[track_caller]
    pub fn run(&self, words: &[&str]) {
        self.try_run(words).unwrap_or_else(|error| panic!("{error}"));
    }

    /// `ip` with these words, in this namespace; panics when it fails.
    #[track_caller]
    pub fn ip(&self, words: &str) {
        ip(&format!("-n {} {words}", self.namespace)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Its table of neighbours, as `ip` prints it.
    pub fn neighbors(&self) -> String {
        self.show("neighbor")
    }

    /// Its addresses, as `ip` prints them.
    pub fn addresses(&self) -> String {
        self.show("address")
    }

    fn show(&self, table: &str) -> String {
        let shown = self.command("ip").args([table, "show"]).output();
        shown.map_or(String::new(), |shown| String::from_utf8_lossy(&shown.stdout).into_owned())
    }

    /// Switches IPv6 on, without an automatic link-local address.
    pub fn ipv6(&self, interface: &str) {
        self.ip(&format!("link set {interface} addrgenmode none"));
        self.run(&["sysctl", "-qw", &format!("net.ipv6.conf.{interface}.disable_ipv6=0")]);
    }

    /// Sends these frames, as they are, through scapy.
    #[track_caller]
    pub fn scapy(&self, interface: &str, python: &str) {
        let script = format!(
            "from scapy.all import *\nconf.verb = 0\nsend = lambda p: sendp(p, iface='{interface}')\n{python}"
        );
        self.run(&["/usr/bin/python3", "-c", &script]);
    }

    fn try_run(&self, words: &[&str]) -> Result<(), String> {
        let mut command = self.command(words[0]);
        succeed(command.args(&words[1..]))
    }
}

/// `ip` with these words.
pub(crate) fn ip(words: &str) -> Result<(), String> {
    succeed(Command::new("ip").args(words.split_whitespace()))
}

fn succeed(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
