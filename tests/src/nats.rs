//! A private NATS server with JetStream: Debian's program with a new directory and port; `aw-relay`, which publishes to it, and
//! `aw-sqlite`, which stores what it has.

use crate::collect::json;
use crate::history::History;
use crate::rig::{Run, TIMEOUT, program, run, wait_until};
use crate::ring::Ring;
use crate::server::{Server, ServerProcess, free_port, installed};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = "/usr/sbin/nats-server";

/// A server; it ends with the test.
pub struct Nats {
    process: ServerProcess,
    /// Where it listens on the loopback.
    pub port: u16,
}

impl Server for Nats {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("-c").arg(self.path("nats.conf"));
        command
    }

    fn answers(&self, _: &Run) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut begin = [0; 5];
        stream.read_exact(&mut begin).is_ok() && &begin == b"INFO "
    }
}

impl Nats {
    /// A running server with the stream; none without nats-server.
    pub fn start() -> Option<Nats> {
        let server = Nats::without_stream("")?;
        server.create(&[]);
        Some(server)
    }

    /// A running server with these settings; `DIRECTORY` in them is its directory.
    pub fn without_stream(settings: &str) -> Option<Nats> {
        let mut server = Nats::prepare(settings)?;
        server.start_again();
        Some(server)
    }

    /// The same, which does not run yet.
    pub fn prepare(settings: &str) -> Option<Nats> {
        if !installed(&[PROGRAM], "nats-server") {
            return None;
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let server = Nats { process: ServerProcess::new(directory), port: free_port() };
        server.configure(settings);
        Some(server)
    }

    /// Its settings from the next start on.
    pub fn configure(&self, settings: &str) {
        let (port, directory) = (self.port, self.directory().display().to_string());
        let settings = settings.replace("DIRECTORY", &directory);
        let store = "jetstream { store_dir: DIRECTORY/store, max_file: 4G, max_mem: 16M }";
        let settings = match settings.contains("jetstream") {
            true => settings,
            false => format!("{}\n{settings}", store.replace("DIRECTORY", &directory)),
        };
        fs::write(self.path("nats.conf"), format!("listen: 127.0.0.1:{port}\n{settings}\n"))
            .expect("our own directory can be written to");
    }

    /// The URL of the stream.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}/addrwatch", self.port)
    }

    /// Creates the stream, or changes its limits.
    #[track_caller]
    pub fn create(&self, options: &[&str]) {
        let mut command = program("aw-relay", &["--to", &self.url(), "create"]);
        command.args(options);
        run(command).ok();
    }

    /// Creates the stream with a shorter time for which the server recognizes a message that is sent a second time.
    #[track_caller]
    pub fn create_with_window(&self, window: Duration) {
        self.create(&[]);
        let mut config = self.info()["config"].clone();
        config["duplicate_window"] = (window.as_nanos() as u64).into();
        self.update(&config);
        assert_eq!(self.info()["config"], config);
    }

    /// Changes settings of the stream.
    #[track_caller]
    pub fn update(&self, config: &Value) {
        let config = config.to_string();
        let subject = "$JS.API.STREAM.UPDATE.addrwatch";
        let ask =
            format!("SUB _INBOX.x 1\r\nPUB {subject} _INBOX.x {}\r\n{config}\r\n", config.len());
        self.exchange(None, &ask, "stream_update_response");
    }

    /// What the server answers a client, up to the line with `until`: one without a name, or a user with the password x.
    #[track_caller]
    pub fn exchange(&self, user: Option<&str>, text: &str, until: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a time");
        let login = user.map(|user| format!(r#","user":"{user}","pass":"x""#)).unwrap_or_default();
        let connect =
            format!("CONNECT {{\"verbose\":false,\"headers\":true{login}}}\r\n{text}PING\r\n");
        stream.write_all(connect.as_bytes()).expect("it reads");
        let mut answer = String::new();
        let mut lines = BufReader::new(stream);
        loop {
            let begin = answer.len();
            let read = lines.read_line(&mut answer).expect("it answers");
            if answer[begin..].contains(until) {
                return answer;
            }
            assert!(read > 0, "{until} does not come: {answer}");
        }
    }

    /// The stream's settings, and what it has.
    #[track_caller]
    pub fn info(&self) -> Value {
        let ask = "SUB _INBOX.admin.test 1\r\nPUB $JS.API.STREAM.INFO.addrwatch _INBOX.admin.test 0\r\n\r\n";
        let answer = self.exchange(None, ask, "stream_info_response");
        json(answer.lines().last().expect("a line"))
    }

    /// Stops it, and starts it with what it had when `act` began: the newest messages are lost, as after a power failure.
    pub fn forget_what_comes(&mut self, act: impl FnOnce(&Nats)) {
        let copy = |from: &str, to: &str| {
            let mut command = Command::new("cp");
            command.arg("-a").args([self.path(from), self.path(to)]);
            command
        };
        let (save, restore) = (copy("store", "saved"), copy("saved", "store"));
        self.stop();
        run(save).ok();
        self.start_again();
        act(self);
        self.stop();
        fs::remove_dir_all(self.path("store")).expect("our own directory");
        run(restore).ok();
        self.start_again();
    }

    /// `aw-relay` of this sensor on this ring, not started yet.
    pub fn relay_command(&self, host: &str, ring: &Ring, options: &[&str]) -> Command {
        let mut command = program("aw-relay", &["--ring", ring.name(), "--hostname", host]);
        command.arg("--state-dir").arg(self.path(&format!("state-{host}"))).args(options);
        if !options.contains(&"--to") {
            command.args(["--to", &self.url()]);
        }
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "0"]);
        }
        command
    }

    /// `aw-relay` of this sensor on this ring.
    pub fn relay(&self, host: &str, ring: &Ring) -> Run {
        Run::start(self.relay_command(host, ring, &[]))
    }

    /// `aw-sqlite` on the stream.
    pub fn store(&self, history: &History) -> Run {
        Run::start(history.stream_command(&self.url(), &[]))
    }
}

/// The checkpoint of the newest generation of a sensor's ring: first, delivered, lost.
pub fn account(history: &History, host: &str, ring: &Ring) -> Option<(i64, i64, i64)> {
    let ring = &ring.name()[1..];
    let names: Vec<String> = (0..3).map(|slot| format!("'/{host}:{slot}:{ring}'")).collect();
    let select = format!(
        "SELECT began || ' ' || delivered || ' ' || lost FROM account WHERE ring IN ({})
            AND generation = (SELECT generation FROM account WHERE ring = '/{host}::{ring}')",
        names.join(", ")
    );
    let numbers = history.value::<String>(&select)?;
    let mut numbers = numbers.split(' ').map(|number| number.parse().expect("a number"));
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

/// Waits until this many rows of a sensor are stored.
#[track_caller]
pub fn wait_for(history: &History, host: &str, rows: u64) {
    wait_until(&format!("{rows} rows of {host}"), || numbers(history, host).len() as u64 >= rows);
}

/// The numbers of the rows of a sensor, in order.
pub fn numbers(history: &History, host: &str) -> Vec<i64> {
    let select = "SELECT coalesce(group_concat(second, ' '), '') FROM (SELECT time / 1000000000 AS second FROM (
            SELECT pairing, time FROM sighting UNION ALL SELECT pairing, slot - shift FROM recent_sighting)
        JOIN pairing ON pairing.id = pairing JOIN place ON place.id = place WHERE host = 'HOST' ORDER BY time)";
    let found = history.value::<String>(&select.replace("HOST", host)).unwrap_or_default();
    found.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

/// The rows of a sensor are these numbers, each once, and none counts as lost.
#[track_caller]
pub fn assert_each_once(history: &History, host: &str, ring: &Ring, expected: Range<i64>) {
    let count = expected.end - expected.start;
    let found = numbers(history, host);
    assert!(found.iter().copied().eq(expected), "{host}: {} of {count}: {found:?}", found.len());
    assert_eq!(account(history, host, ring), Some((0, count, 0)), "{host}");
}
