//! What aw-mysql and aw-query read of my.cnf, of URLs and of servers.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::Duration,
};

use aw_peer::Budget;
use aw_service::{HostPort, Secret};

use crate::{
    Conn, MysqlError, ServerConfig,
    config::parse_option_file,
    connection::{Server, Target},
};

/// Bytes that a server may send in an exchange.
const MAX_ANSWER: u64 = 1 << 20;

/// Any text as my.cnf: it is accepted, or refused in one line. Each line of it is a URL, too.
pub fn my_cnf(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match parse_option_file(&text) {
        Ok(config) => assert!(!config.server().is_empty()),
        Err(why) => assert!(!why.contains('\n'), "{why}"),
    }
    for line in text.lines() {
        let _ = ServerConfig::default().set_url(line);
    }
}

/// What the server says to each connection.
static ANSWER: LazyLock<Arc<Mutex<Vec<u8>>>> = LazyLock::new(Arc::default);

thread_local! {
    static TARGET: Target = target();
}

/// Any bytes as all that a server says, to the login and to two statements: rows come of what it sent, and errors are one line.
pub fn mysql_answer(input: &[u8]) {
    *ANSWER.lock().expect("the answer") = input.to_vec();
    let time = Duration::from_secs(5);
    let budget = Budget { time, silence: time, bytes: MAX_ANSWER };
    let mut bytes = 0;
    let asked = TARGET.with(|target| {
        let mut connection = Conn::open(target, budget)?;
        connection.query_each("SELECT 1", &mut |row| {
            bytes += row.iter().flatten().map(Vec::len).sum::<usize>();
        })?;
        connection.query_first("SELECT 2").map(drop)
    });
    assert!(bytes <= input.len());
    match asked {
        Err(MysqlError::Protocol(why)) => assert!(!why.contains(char::is_control), "{why:?}"),
        Err(MysqlError::Server(error)) => {
            assert!(!error.message.contains(char::is_control), "{error:?}");
        }
        Err(MysqlError::Io(_) | MysqlError::Each(_)) | Ok(()) => {}
    }
}

fn target() -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let answer = ANSWER.lock().expect("the answer").clone();
            // The client may close the connection at any time.
            let _ = stream.write_all(&answer).and_then(|()| stream.shutdown(Shutdown::Write));
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    Target {
        server: Server::Tcp(HostPort { host: "127.0.0.1".into(), port }, None),
        user: "a".into(),
        password: Secret::non_empty("b"),
        database: "c".into(),
        plain_password: true, // so that the server's key is read
        verified: false,
    }
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("my_cnf", my_cnf);
    seeds::run("mysql_answer", mysql_answer);
}
