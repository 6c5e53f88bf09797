//! A small HTTP server for a status page or metrics. Clients are not trusted: a request is read by an HTTP
//! parser, with limits for its size and time, and answered with one page or an error. When there are too
//! many connections, the oldest one is closed.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use aw_service::{Error, explain};

/// Limits: connections at once, bytes of a request, time to send it, time to receive the page.
const MAX_CONNECTIONS: usize = 16;
const MAX_REQUEST: usize = 8_192;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(60);

/// The answer to a request.
pub struct Page {
    /// Its Content-Type.
    pub kind: &'static str,
    /// Its content.
    pub body: Box<dyn Read>,
    /// The length of `body` in bytes.
    pub length: u64,
}

/// Parses `[ADDR:]PORT`; the default address is 127.0.0.1, which only this machine can reach.
pub fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = || text.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    text.parse().ok().or_else(port).ok_or("must be ADDR:PORT, [IPv6]:PORT or PORT")
}

/// Listens. Call it before [`crate::run`], which forbids it.
pub fn listen(address: &SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|error| {
        let remedy = match error.kind() {
            ErrorKind::AddrInUse => " (choose another port; ss -ltnp shows which process uses it)",
            ErrorKind::PermissionDenied => " (choose a port above 1023, or run as root)",
            _ => "",
        };
        Error::new(format_args!("listen on {address}"), explain(&error) + remedy)
    })
}

/// Starts the server, in separate threads. `page` returns the page of a path, or an HTTP status;
/// `headers` are added to each answer, each with its line end.
pub fn start<P>(listener: TcpListener, headers: String, page: P) -> Result<(), Error>
where
    P: Fn(&str) -> Result<Page, &'static str> + Send + Sync + 'static,
{
    let local = listener.local_addr().map_err(|error| Error::io("serve", error))?.ip();
    let shared = Arc::new((headers, page, local.is_loopback()));
    let accept = move || {
        let mut open: VecDeque<Weak<TcpStream>> = VecDeque::new();
        for stream in listener.incoming() {
            let Ok(stream) = stream.map(Arc::new) else {
                thread::sleep(Duration::from_millis(100)); // no descriptor is free
                continue;
            };
            open.retain(|stream| stream.strong_count() > 0);
            if open.len() >= 2 * MAX_CONNECTIONS {
                continue; // closed: the connections that were shut down have not ended yet
            }
            if let Some(oldest) =
                open.len().checked_sub(MAX_CONNECTIONS).and_then(|at| open[at].upgrade())
            {
                let _ = oldest.shutdown(Shutdown::Both);
            }
            open.push_back(Arc::downgrade(&stream));
            let shared = Arc::clone(&shared);
            // An error ends the connection, also if no thread can be started.
            let answer = move || drop(answer(&stream, &shared.0, &shared.1, shared.2));
            let _ = thread::Builder::new().spawn(answer);
        }
    };
    let thread = thread::Builder::new().name("serve".into()).spawn(accept);
    thread.map(drop).map_err(|error| Error::io("start a thread", error))
}

fn answer(
    mut stream: &TcpStream,
    headers: &str,
    page: impl Fn(&str) -> Result<Page, &'static str>,
    local: bool,
) -> io::Result<()> {
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let mut head = [0; MAX_REQUEST];
    let mut length = 0;
    let begun = Instant::now();
    let request = loop {
        match parse_request(&head[..length], local) {
            Ok(None) if length == MAX_REQUEST => break Err("431 Request Header Fields Too Large"),
            Ok(None) => {}
            Ok(Some(request)) => break Ok(request),
            Err(status) => break Err(status),
        }
        let left = REQUEST_TIMEOUT.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut head[length..])? {
            0 => return Ok(()),
            more => length += more,
        }
    };
    let found = request.and_then(|(body, path)| Ok((body, page(path)?)));
    let (status, kind, length) = match &found {
        Ok((_, page)) => ("200 OK", page.kind, page.length),
        Err(status) => (*status, "text/plain; charset=utf-8", status.len() as u64 + 1),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{headers}\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-cache\r\nConnection: close\r\n{}\r\n",
        if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" },
    )?;
    match found {
        Ok((Body::Wanted, page)) => copy(page.body.take(length), stream)?,
        Ok((Body::Unwanted, _)) => {}
        Err(status) => writeln!(stream, "{status}")?,
    }
    // The rest of the request is discarded: closing at once might cut off the answer.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 1024];
    let mut reads = 64;
    while reads > 0 && matches!(stream.read(&mut rest), Ok(1..)) {
        reads -= 1;
    }
    Ok(())
}

fn copy(mut body: impl Read, mut stream: &TcpStream) -> io::Result<()> {
    let begun = Instant::now();
    let mut bytes = [0; 65_536];
    loop {
        let length = body.read(&mut bytes)?;
        if length == 0 || begun.elapsed() > TRANSFER_TIMEOUT {
            return Ok(());
        }
        stream.write_all(&bytes[..length])?;
    }
}

#[derive(Debug, PartialEq)]
pub(crate) enum Body {
    Wanted,
    Unwanted,
}

/// Parses a request: none if it is incomplete, an HTTP status if it is refused.
pub(crate) fn parse_request(
    head: &[u8],
    local: bool,
) -> Result<Option<(Body, &str)>, &'static str> {
    const BAD: &str = "400 Bad Request";
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BAD),
    }
    let mut hosts =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let (host, second) = (hosts.next(), hosts.next());
    let host = host.and_then(|host| str::from_utf8(host.value).ok());
    // DNS rebinding: the name of a foreign site may resolve to this machine.
    if second.is_some() || local && !host.is_none_or(is_this_machine) {
        return Err("403 Forbidden");
    }
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    match request.method {
        Some("GET") => Ok(Some((Body::Wanted, path))),
        Some("HEAD") => Ok(Some((Body::Unwanted, path))),
        _ => Err("405 Method Not Allowed"),
    }
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let root = |body| Ok(Some((body, "/")));
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", root(Body::Wanted)),
            ("GET /?x HTTP/1.1\r\nHost: localhost\r\n\r\n", root(Body::Wanted)),
            ("HEAD /page.html HTTP/1.0\r\n\r\n", Ok(Some((Body::Unwanted, "/page.html")))),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", root(Body::Wanted)),
            ("GET / HTTP/1.1\r\nHost: loc", Ok(None)),
            ("", Ok(None)),
            ("POST / HTTP/1.1\r\n\r\n", Err("405 Method Not Allowed")),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", Err("403 Forbidden")),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", Err("403 Forbidden")),
            ("\u{1}\r\n\r\n", Err("400 Bad Request")),
        ] {
            assert_eq!(parse_request(head.as_bytes(), true), expected, "{head}");
        }
        let foreign_host = parse_request(b"GET / HTTP/1.1\r\nHost: nas.example\r\n\r\n", false);
        assert_eq!(foreign_host, root(Body::Wanted));
    }

    /// Silent connections do not block others, and their number is limited.
    #[test]
    fn silent_connections_do_not_block_others() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let text = || Ok(Page { kind: "text/plain", body: Box::new(&b"page\n"[..]), length: 5 });
        let page = move |path: &str| if path == "/" { text() } else { Err("404 Not Found") };
        start(listener, "X-Test: yes\r\n".into(), page).unwrap();
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).map(|_| answer).unwrap_or_default()
        };
        let mut silent = Vec::new();
        let begun = Instant::now();
        for _ in 0..100 {
            silent.push(TcpStream::connect(address).unwrap());
            let answer = (0..10).map(|_| ask("/")).find(|answer| !answer.is_empty()).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("X-Test: yes\r\n") && answer.ends_with("\r\n\r\npage\n"));
        }
        assert!(ask("/other").starts_with("HTTP/1.1 404 Not Found\r\n"));
        let in_time = begun.elapsed() < REQUEST_TIMEOUT; // otherwise some have timed out
        let gone = silent.iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut stream: &TcpStream = stream;
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        });
        assert!(!in_time || gone.count() >= 100 - 2 * MAX_CONNECTIONS);
    }
}
