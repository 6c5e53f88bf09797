//! A private ClickHouse server: Debian's program with a new directory and port; and `aw-clickhouse`, which stores there. A server of
//! the machine is not touched.

use crate::certificates::make_certificates;
use crate::rig::{Run, program, run, wait_until};
use crate::ring::Ring;
use crate::server::{Server, ServerProcess, free_port, installed, listens};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

/// A server; it ends with the test.
pub struct Clickhouse {
    process: ServerProcess,
    /// Where it listens for HTTP on the loopback.
    pub port: u16,
}

const PROGRAM: &str = "/usr/sbin/clickhouse-server";

/// The user `default` may do all; `sensor` has a password, and `reader` may only read. Statements of `brief` read one row, and so do those of
/// `brief_reader`, which may only read.
const USERS: &str = "<yandex><profiles><default></default><readonly><readonly>1</readonly></readonly>
<brief><max_rows_to_read>1</max_rows_to_read><read_overflow_mode>break</read_overflow_mode></brief>
<brief_reader><readonly>1</readonly><max_rows_to_read>1</max_rows_to_read><read_overflow_mode>break</read_overflow_mode></brief_reader></profiles><users>
<brief><password></password><networks><ip>127.0.0.1</ip></networks><profile>brief</profile><quota>default</quota></brief>
<brief_reader><password></password><networks><ip>127.0.0.1</ip></networks><profile>brief_reader</profile><quota>default</quota></brief_reader>
<default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
<sensor><password>s3cret</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></sensor>
<reader><password></password><networks><ip>127.0.0.1</ip></networks><profile>readonly</profile><quota>default</quota></reader>
</users><quotas><default></default></quotas></yandex>";

impl Server for Clickhouse {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg(format!("--config-file={}", self.path("config.xml").display()));
        command
    }

    fn answers(&self, _: &Run) -> bool {
        listens(self.port) && self.ask("SELECT 1").is_some_and(|answer| answer == "1\n")
    }
}

impl Clickhouse {
    /// A running server with the tables of `aw-clickhouse schema`; none without ClickHouse.
    pub fn start() -> Option<Self> {
        let server = Self::without_tables()?;
        server.create_tables();
        Some(server)
    }

    /// Runs the statements of `aw-clickhouse schema`.
    #[track_caller]
    pub fn create_tables(&self) {
        let statements = run(program("aw-clickhouse", &["schema"])).ok().stdout;
        for statement in statements.split_terminator(";\n") {
            self.sql(statement);
        }
    }

    /// A running server without a database of ours.
    pub fn without_tables() -> Option<Self> {
        Self::with_options("")
    }

    /// The same with TLS on another port, which it returns: it asks for a certificate of the authority `tls/ca.pem` in its directory.
    pub fn with_tls() -> Option<(Self, u16)> {
        let port = free_port();
        let server = Self::with_options(&format!(
            "<https_port>{port}</https_port><openSSL><server><certificateFile>TLS/server.pem</certificateFile>
            <privateKeyFile>TLS/server.key</privateKeyFile><caConfig>TLS/ca.pem</caConfig>
            <verificationMode>strict</verificationMode><loadDefaultCAFile>false</loadDefaultCAFile></server></openSSL>"
        ))?;
        server.create_tables();
        Some((server, port))
    }

    /// `TLS` in the options is a directory of certificates.
    fn with_options(options: &str) -> Option<Self> {
        if !installed(&[PROGRAM], "clickhouse-server") {
            return None;
        }
        let directory = tempfile::tempdir_in("/tmp").expect("a temporary directory");
        let process = ServerProcess::new(directory);
        let mut server = Clickhouse { process, port: free_port() };
        let path = |name: &str| format!("{}/", server.path(name).display());
        let tls = server.path("tls");
        if !options.is_empty() {
            make_certificates(&tls);
        }
        let options = options.replace("TLS", &tls.display().to_string());
        let config = format!(
            "<yandex><logger><level>error</level><console>1</console></logger><listen_host>127.0.0.1</listen_host>
<http_port>{}</http_port><path>{}</path><tmp_path>{}</tmp_path><user_files_path>{}</user_files_path>
<format_schema_path>{}</format_schema_path><users_config>users.xml</users_config><default_profile>default</default_profile>
<default_database>default</default_database><timezone>Asia/Kathmandu</timezone><mark_cache_size>16777216</mark_cache_size>{options}</yandex>",
            server.port, path("data"), path("tmp"), path("files"), path("formats")
        );
        fs::write(server.path("config.xml"), config).expect("our own directory can be written to");
        fs::write(server.path("users.xml"), USERS).expect("our own directory can be written to");
        server.start_again();
        Some(server)
    }

    /// The answer to a statement; none if there is no complete one with success.
    fn ask(&self, statement: &str) -> Option<String> {
        let answer = self.answer(statement).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        head.split(' ').nth(1).filter(|status| *status == "200").map(|_| body.to_owned())
    }

    fn answer(&self, statement: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(crate::rig::TIMEOUT))?;
        write!(
            stream,
            "POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{statement}",
            statement.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    }

    /// The output of a statement.
    #[track_caller]
    pub fn sql(&self, statement: &str) -> String {
        let answer = self.ask(statement);
        answer.unwrap_or_else(|| panic!("{statement}: {:?}", self.answer(statement)))
    }

    /// Its URL for `aw-query`.
    pub fn history(&self) -> String {
        format!("clickhouse://127.0.0.1:{}/addrwatch", self.port)
    }

    /// `aw-query` on its tables, with its times in UTC, without the makers and names of this machine.
    pub fn query(&self, arguments: &[&str]) -> Command {
        let mut command = program("aw-query", &["--vendors", "/nonexistent"]);
        command.args(["--names", "/dev/null", "--database", &self.history()]);
        command.args(arguments).env("TZ", "UTC");
        command
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `aw-clickhouse` on this ring, not started yet.
    pub fn command(&self, ring: &Ring, options: &[&str]) -> Command {
        self.command_from(["--ring", ring.name()], options)
    }

    /// `aw-clickhouse` on this stream, not started yet.
    pub fn stream_command(&self, url: &str, options: &[&str]) -> Command {
        self.command_from(["--stream", url], options)
    }

    fn command_from(&self, source: [&str; 2], options: &[&str]) -> Command {
        let mut command = program("aw-clickhouse", &source);
        command.args(["--every", "1s"]);
        command.arg("--state-dir").arg(self.path("state")).args(options);
        if !options.contains(&"--server") {
            command.args(["--server", &self.url()]);
        }
        if rustix::process::geteuid().is_root() {
            command.args(["-u", "0"]);
        }
        command
    }

    /// `aw-clickhouse` on this ring.
    pub fn output(&self, ring: &Ring, options: &[&str]) -> Run {
        Run::start(self.command(ring, options))
    }

    /// The number of a statement.
    #[track_caller]
    pub fn number(&self, statement: &str) -> u64 {
        self.sql(statement).trim().parse().expect("a number")
    }

    /// Waits for this many sightings.
    #[track_caller]
    pub fn wait_for(&self, sightings: u64) {
        let count = "SELECT count() FROM addrwatch.sightings";
        wait_until(&format!("{sightings} sightings"), || {
            self.ask(count).and_then(|text| text.trim().parse().ok()) >= Some(sightings)
        });
    }

    /// Exactly the numbered events, each once in the answer.
    #[track_caller]
    pub fn assert_numbers(&self, numbers: std::ops::Range<u32>) {
        let expected: String = numbers.map(|number| format!("{number}\n")).collect();
        let found = self.sql(
            "SELECT intDiv(time, 1000000000) AS number FROM addrwatch.sightings ORDER BY number",
        );
        let (have, want) = (found.lines().count(), expected.lines().count());
        assert!(found == expected, "{have} sightings, {want} expected");
    }
}
