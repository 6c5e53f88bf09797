//! `aw-web` on a history, and a client that sends what a browser would, or would not.

use crate::history::History;
use crate::rig::{Run, program, run};
use rusqlite::Connection;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// A server, which ends with the test.
pub struct Server {
    /// The process.
    pub run: Run,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// What logs in.
    pub token: String,
    state: TempDir,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// 0: the connection was closed without an answer.
    pub status: u16,
    /// Its headers, in lower case.
    pub head: String,
    /// Its body, whole.
    pub body: String,
}

impl Answer {
    fn parse(text: &str) -> Answer {
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return Answer::default() };
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
            true => unchunked(body),
            false => body.into(),
        };
        Answer { status, head: head.to_owned(), body }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let of_line =
            |line: &str| line.split_once(": ").map(|(key, _)| key.eq_ignore_ascii_case(name));
        let line = self.head.lines().find(|line| of_line(line) == Some(true))?;
        Some(line.split_once(": ")?.1)
    }

    /// Its JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Panics unless it has this status; returns itself.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

fn unchunked(mut text: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = text.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let Some(chunk) = rest.get(..length).filter(|_| length > 0) else { break };
        body += chunk;
        text = rest[length..].trim_start_matches("\r\n");
    }
    body
}

/// A page without the one script that each page has, which is of its server.
pub fn without_script(page: &str) -> String {
    page.replacen("<script src=\"/script.js?", "", 1)
}

impl Server {
    /// A server of this history, with its times in UTC, without the makers and names of this machine.
    #[track_caller]
    pub fn start(history: &History, options: &[&str]) -> Server {
        Server::of(history.database(), options)
    }

    /// The same of a file.
    #[track_caller]
    pub fn of(database: &Path, options: &[&str]) -> Server {
        let state = tempfile::tempdir().expect("a temporary directory");
        let command = command(database, state.path(), options);
        Server::started(command, state)
    }

    /// The server of this command, whose state directory this is.
    #[track_caller]
    pub fn started(command: Command, state: TempDir) -> Server {
        let run = Run::start(command);
        let line = run.stderr.wait_for("serving http");
        let address =
            line.split("://").nth(1).expect("its link").split('/').next().expect("an address");
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        let mut server = Server { run, port: port.expect("a port"), token: String::new(), state };
        let link = server.login();
        server.token = link.rsplit_once("token=").expect("a token").1.to_owned();
        server
    }

    /// Its state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// What `aw-web login` prints.
    #[track_caller]
    pub fn login(&self) -> String {
        let mut command = program("aw-web", &["login", "--state-dir"]);
        command.arg(self.state.path());
        run(command).ok().stdout.trim().to_owned()
    }

    /// A connection.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(100))).expect("a limit");
        stream
    }

    /// The answer to these bytes.
    pub fn raw(&self, request: &str) -> Answer {
        let mut stream = self.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        Answer::parse(&String::from_utf8_lossy(&answer))
    }

    /// The answer to a request with these headers, each with its line end, and this body.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let length = match body.is_empty() {
            true => String::new(),
            false => format!(
                "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
                body.len()
            ),
        };
        self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n{headers}{length}\r\n{body}",
            self.port
        ))
    }

    /// A page or an answer of the API, with the token.
    pub fn get(&self, path: &str) -> Answer {
        let bearer = format!("Authorization: Bearer {}\r\n", self.token);
        self.request("GET", path, &bearer, "")
    }

    /// A page, with this cookie.
    pub fn get_as(&self, cookie: &str, path: &str) -> Answer {
        self.request("GET", path, &format!("Cookie: {cookie}\r\n"), "")
    }

    /// The cookie that an answer sets.
    #[track_caller]
    pub fn cookie(answer: &Answer) -> String {
        let cookie = answer.header("set-cookie").unwrap_or_else(|| panic!("{answer:#?}"));
        cookie.split(';').next().expect("a value").to_owned()
    }

    /// The cookie of a login with a password.
    #[track_caller]
    pub fn log_in(&self, name: &str, password: &str) -> String {
        let form = format!("name={name}&password={password}");
        Server::cookie(&self.request("POST", "/login", "", &form).expect(303))
    }
}

/// A path of each page and of each part of the API, as `routes.rs` has them.
pub fn all_paths() -> Vec<String> {
    let routes = include_str!("../../outputs/web/src/routes.rs");
    let (pages, api) = routes.split_once("let api = ").expect("both parts");
    let (api, others) = api.split_once(".nest(").expect("the rest");
    let paths = |text: &str, begin: &str| -> Vec<String> {
        let paths = text.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let of = |path: &str| {
            let path = path.replace("{address}", "10.1.2.3").replace("{mac}", "02:00:00:00:00:01");
            format!("{begin}{}", path.replace("{id}", "1795183200000000000-0123456789"))
        };
        paths.map(of).collect()
    };
    [paths(pages, ""), paths(api, "/api/v1"), paths(others, "")].concat()
}

/// A command of the shell, for a machine that has only Perl: an editor names 02:00:00:00:00:01 `Radio` by the `aw-web` on the socket or
/// address that `connection` opens. It prints the answer.
pub fn name_radio(connection: &str) -> String {
    let request = "POST /mac/02:00:00:00:00:01/name HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\nAuthorization: Bearer $ARGV[0]\\r\\nContent-Length: 10\\r\\n\\r\\nname=Radio";
    format!(
        "perl -MIO::Socket::INET -MIO::Socket::UNIX -e '$s = {connection} or die $!; print $s \"{request}\"; $s->flush; print <$s>' $(sed 's/.*=//' /var/lib/addrwatch/aw-web/aw-web.login)"
    )
}

/// `aw-web` on this database, not started yet.
pub fn command(database: &Path, state: &Path, options: &[&str]) -> Command {
    let mut command = program("aw-web", &["--database"]);
    command.arg(database).arg("--state-dir").arg(state).env("TZ", "UTC");
    // Nothing of this machine.
    for (option, value) in [
        ("--listen", "0"),
        ("--vendors", "/nonexistent"),
        ("--names", "/dev/null"),
        ("--ring", "none"),
        ("--outputs", "/nonexistent"),
        ("--archive", "/nonexistent"),
    ] {
        if !options.contains(&option) {
            command.args([option, value]);
        }
    }
    command.args(options);
    command
}

/// A history of so many devices, one second apart until now.
pub fn many_devices(directory: &Path, number: i64) -> PathBuf {
    let path = directory.join("many.db");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    let now = now.as_secs() as i64;
    let tables = format!(
        "PRAGMA application_id = 0x41576869; PRAGMA user_version = 1;
        CREATE TABLE place (id INTEGER PRIMARY KEY, host, ring, interface, vlan, outer_vlan, router);
        CREATE TABLE pairing (id INTEGER PRIMARY KEY, address BLOB, mac INTEGER, place INTEGER, source INTEGER, UNIQUE (address, mac, place, source));
        CREATE TABLE sighting (pairing INTEGER, time INTEGER, origin INTEGER, again INTEGER, PRIMARY KEY (pairing, time, origin, again)) WITHOUT ROWID;
        CREATE INDEX pairing_of_mac ON pairing (mac); CREATE INDEX pairing_of_place ON pairing (place);
        INSERT INTO place VALUES (1, 'here', '/addrwatch', 'eth0', 0, 0, '');
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {number})
            INSERT INTO pairing SELECT n, unhex(printf('0a00%04x', n)), n, 1, -1 FROM n;
        INSERT INTO sighting SELECT id, ({} + id) * 1000000000, 1, 0 FROM pairing;",
        now - number
    );
    Connection::open(&path).expect("a new file").execute_batch(&tables).expect("valid SQL");
    path
}
