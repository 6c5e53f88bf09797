//! A private MariaDB server: Debian's program with a new data directory, socket and port, as an
//! unprivileged user; and `aw-mysql`, which stores there. A server of the machine is not touched.

use crate::rig::{Run, program, run, wait_until};
use crate::ring::Ring;
use crate::server::{Server, ServerProcess, free_port, installed};
use rustix::process::geteuid;
use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The user of the server if the test runs as root, which MariaDB refuses.
const NOBODY: u32 = 65534;

/// A server; it ends with the test.
pub struct MariaDb {
    process: ServerProcess,
    /// The directory of `aw-mysql`'s configuration: that of the server belongs to its user, which aw-mysql does not trust.
    own: TempDir,
    /// Where it listens on the loopback.
    pub port: u16,
    /// More options of the server, from the next start on.
    pub options: Vec<String>,
}

impl Server for MariaDb {
    fn process(&self) -> &ServerProcess {
        &self.process
    }

    fn server_command(&self) -> Command {
        let mut command = as_user_nobody("/usr/sbin/mariadbd");
        command.arg("--no-defaults").arg(format!("--datadir={}", self.path("data").display()));
        command.arg(format!("--socket={}", self.path("socket").display()));
        command.arg(format!("--pid-file={}", self.path("data/pid").display()));
        command.arg(self.tmpdir());
        command.args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--innodb-buffer-pool-size=64M",
        ]);
        command.arg(format!("--port={}", self.port)).args(SMALL).args(&self.options);
        command
    }

    fn answers(&self, run: &Run) -> bool {
        run.stderr.text().contains("ready for connections")
    }
}

impl MariaDb {
    /// A running server with the empty database `addrwatch`; none without MariaDB.
    pub fn start(options: &[&str]) -> Option<Self> {
        let mut server = MariaDb::prepare(options)?;
        server.start_again();
        server.sql("CREATE DATABASE IF NOT EXISTS addrwatch");
        Some(server)
    }

    /// A server that is not started yet; none without MariaDB.
    pub fn prepare(options: &[&str]) -> Option<Self> {
        let programs = ["/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db"];
        if !installed(&programs, "mariadb-server-core") {
            return None;
        }
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let process = ServerProcess::new(public_directory());
        let own = tempfile::tempdir_in("/tmp").expect("a temporary directory");
        let open = Permissions::from_mode(0o755);
        fs::set_permissions(own.path(), open).expect("our own directory can be opened");
        let server = MariaDb { process, own, port: free_port(), options };
        server.install();
        Some(server)
    }

    /// Makes the tables of the server itself: a copy of those that an earlier test has left beside the programs, because making them takes
    /// seconds, most of which the disk takes.
    fn install(&self) {
        let data = self.path("data");
        let copy = |from: &Path, to: &Path| {
            let mut copy = Command::new("cp");
            copy.args(["-a", "--reflink=auto", "--sparse=always"]).arg(from).arg(to);
            run(copy).ok();
        };
        let mut install = as_user_nobody("/usr/bin/mariadb-install-db");
        install.args(INSTALL).args(SMALL);
        // Named by all that it depends on.
        let built = fs::metadata("/usr/sbin/mariadbd").and_then(|program| program.modified());
        let mut hasher = DefaultHasher::new();
        (built.expect("it is installed"), INSTALL, SMALL, geteuid().as_raw()).hash(&mut hasher);
        let programs = std::env::current_exe().expect("a test program");
        let programs = programs.parent().expect("its directory");
        let made = programs.join(format!("mariadb-{:x}", hasher.finish()));
        if made.exists() {
            return copy(&made, &data);
        }
        install.arg(format!("--datadir={}", data.display())).arg(self.tmpdir());
        run(install).ok();
        // Another test may do the same now: one is first, and each is whole.
        let own = tempfile::tempdir_in(programs).expect("a directory of this build");
        let whole = own.path().join("data");
        copy(&data, &whole);
        let _ = fs::rename(whole, made);
    }

    /// Names of temporary files contain only the process id: those of another process namespace, or of one that was
    /// killed, would have the same names.
    fn tmpdir(&self) -> String {
        format!("--tmpdir={}", self.directory().display())
    }

    /// Its client, as the server's root, in the database `addrwatch` once that exists.
    pub fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args([
            "--no-defaults",
            "--batch",
            "--skip-column-names",
            "--unbuffered",
            "-u",
            "root",
        ]);
        command.arg(format!("--socket={}", self.path("socket").display())).arg(database);
        command
    }

    /// The output of these statements.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> String {
        let exists = self.path("data/addrwatch").exists();
        let mut client = self.client(if exists { "addrwatch" } else { "mysql" });
        client.args(["-e", statements]);
        run(client).ok().stdout
    }

    /// A client that holds its locks until it is dropped.
    #[track_caller]
    pub fn hold(&self, statements: &str) -> Run {
        use std::io::Write;
        let mut client = Run::start(self.client("addrwatch"));
        let stdin = client.stdin.as_mut().expect("piped");
        writeln!(stdin, "{statements}; SELECT 'held';").expect("it takes them");
        client.stdout.wait_for("held");
        client
    }

    /// Where [`MariaDb::config`] writes.
    pub fn config_path(&self) -> PathBuf {
        self.own.path().join("mysql.cnf")
    }

    /// A configuration file for `aw-mysql` with these lines and those that select this server.
    pub fn config(&self, lines: &str) -> PathBuf {
        let path = self.config_path();
        let socket = self.path("socket");
        let text = format!("[addrwatch]\nsocket = {}\nuser = root\n{lines}\n", socket.display());
        fs::write(&path, text).expect("our own directory can be written to");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        path
    }

    /// `aw-mysql` on this ring, with the state directory `state`; not started yet.
    pub fn command(&self, ring: &Ring, options: &[&str]) -> Command {
        self.command_of("state", 0, ring, options)
    }

    /// `aw-mysql` on this stream, not started yet.
    pub fn stream_command(&self, url: &str, options: &[&str]) -> Command {
        self.command_from(["--stream", url], "state", 0, options)
    }

    /// The same with another state directory, and as another user under root. The server identifies root by its socket.
    pub fn command_of(&self, state: &str, user: u32, ring: &Ring, options: &[&str]) -> Command {
        self.command_from(["--ring", ring.name()], state, user, options)
    }

    fn command_from(&self, source: [&str; 2], state: &str, user: u32, options: &[&str]) -> Command {
        let config = self.config_path();
        let config = if config.exists() { config } else { self.config("") };
        let mut command = program("aw-mysql", &source);
        command.arg("--config").arg(config).arg("--state-dir").arg(self.path(state)).args(options);
        if geteuid().is_root() {
            command.args(["-u", &user.to_string()]);
        }
        command
    }

    /// `aw-mysql` on this ring.
    pub fn output(&self, ring: &Ring, options: &[&str]) -> Run {
        Run::start(self.command(ring, options))
    }

    /// The number of rows; none without a table.
    pub fn count(&self) -> u64 {
        let mut client = self.client("addrwatch");
        client.args(["-e", "SELECT count(*) FROM log"]);
        run(client).stdout.trim().parse().unwrap_or(0)
    }

    /// Waits for this many rows.
    #[track_caller]
    pub fn wait_for(&self, rows: u64) {
        wait_until(&format!("{rows} rows"), || self.count() >= rows);
    }

    /// `began delivered lost` of this ring.
    pub fn checkpoint(&self, ring: &Ring) -> String {
        let select = "SELECT concat_ws(' ', began, delivered, lost) FROM position WHERE ring =";
        self.sql(&format!("{select} '{}'", ring.name())).trim().into()
    }

    /// Exactly the numbered events, each once and in order.
    #[track_caller]
    pub fn assert_numbers(&self, numbers: std::ops::Range<u32>) {
        let expected: String = numbers.map(|number| format!("{number}\n")).collect();
        // The primary key is a number in the order of the rows, and no index has the origin: rows come in that order.
        let found = self.sql("SELECT unix_timestamp(tstamp) FROM log WHERE origin_id >= 0");
        assert!(found == expected, "{}", difference(&found, &expected));
    }

    /// All rows as addrwatch's lines, sorted: the view is a join, which has no order.
    pub fn lines(&self) -> String {
        sorted(&self.sql(
            "SELECT concat_ws(' ', unix_timestamp(tstamp), convert(interface USING utf8mb4), vlan_tag, lower(concat_ws(':',
                substr(mac_address, 1, 2), substr(mac_address, 3, 2), substr(mac_address, 5, 2),
                substr(mac_address, 7, 2), substr(mac_address, 9, 2), substr(mac_address, 11, 2))),
                inet6_ntoa(unhex(ip_address)), origin) FROM log_plaintext",
        ))
    }
}

/// These lines, sorted.
pub fn sorted(text: &str) -> String {
    let mut lines: Vec<_> = text.lines().map(|line| format!("{line}\n")).collect();
    lines.sort();
    lines.concat()
}

fn difference(found: &str, expected: &str) -> String {
    let place = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
    let (have, want) = (found.lines().count(), expected.lines().count());
    let around = place.map(|place| found.lines().skip(place).take(5).collect::<Vec<_>>());
    format!("{have} rows, {want} expected; from row {place:?} on: {around:?}")
}

/// Little memory, so that many servers can run at once.
const INSTALL: [&str; 3] =
    ["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=socket"];
const SMALL: &[&str] = &["--innodb-log-file-size=8M", "--innodb-buffer-pool-dump-at-shutdown=OFF"];

fn public_directory() -> TempDir {
    let directory = tempfile::tempdir_in("/tmp").expect("a temporary directory");
    let open = Permissions::from_mode(0o755);
    fs::set_permissions(directory.path(), open).expect("our own directory can be opened");
    if geteuid().is_root() {
        chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    }
    directory
}

fn as_user_nobody(program: &str) -> Command {
    if !geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--", program]);
    command
}
