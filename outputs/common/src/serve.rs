//! A page for browsers and for programs that ask by HTTP, and nothing else. Whoever connects is a
//! stranger: what they ask is read by a parser made for it, so much of it at most and for so long,
//! and answered with one page or an error. Where too many hold a connection, the oldest of them goes.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use aw_service::Error;

/// Connections at once, the head of a request, and how long one may take to send it, and to take the page.
const MOST: usize = 16;
const HEAD: usize = 8_192;
const PATIENCE: Duration = Duration::from_secs(5);
const TRANSFER: Duration = Duration::from_secs(60);

/// What is shown.
pub struct Page {
    /// Its Content-Type.
    pub kind: &'static str,
    /// Its bytes, and how many there are.
    pub body: Box<dyn Read>,
    /// See `body`.
    pub length: u64,
}

/// Reads `[ADDR:]PORT`: of this machine alone, where no address is given.
pub fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    let port = || text.parse().ok().map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    text.parse().ok().or_else(port).ok_or("ADDR:PORT, [IPv6]:PORT or PORT is needed")
}

/// Listens: before [`crate::run`], for later the program may not do that any more.
pub fn listen(address: &SocketAddr) -> Result<TcpListener, Error> {
    let fault = |error| Error::io(format_args!("serve on {address}"), error);
    TcpListener::bind(address).map_err(fault)
}

/// Begins to serve, in threads of their own. `page` makes the page of a path, or says which status it
/// has instead; `headers` are added to each answer, each with its line's end.
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
            if open.len() >= 2 * MOST {
                continue; // closed: those that were reported to go are still on their way
            }
            if let Some(oldest) = open.len().checked_sub(MOST).and_then(|at| open[at].upgrade()) {
                let _ = oldest.shutdown(Shutdown::Both);
            }
            open.push_back(Arc::downgrade(&stream));
            let shared = Arc::clone(&shared);
            // They may go whenever they like; where there is no room for a thread, they must.
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
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = [0; HEAD];
    let mut length = 0;
    let begun = Instant::now();
    let request = loop {
        match read(&head[..length], local) {
            Ok(None) if length == HEAD => break Err("431 Request Header Fields Too Large"),
            Ok(None) => {}
            Ok(Some(request)) => break Ok(request),
            Err(status) => break Err(status),
        }
        let left = PATIENCE.saturating_sub(begun.elapsed());
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
    // What they still send is not read: to close at once might cut off our answer.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 1024];
    let mut patience = 64;
    while patience > 0 && matches!(stream.read(&mut rest), Ok(1..)) {
        patience -= 1;
    }
    Ok(())
}

fn copy(mut body: impl Read, mut stream: &TcpStream) -> io::Result<()> {
    let begun = Instant::now();
    let mut bytes = [0; 65_536];
    loop {
        let length = body.read(&mut bytes)?;
        if length == 0 || begun.elapsed() > TRANSFER {
            return Ok(());
        }
        stream.write_all(&bytes[..length])?;
    }
}

#[derive(Debug, PartialEq)]
enum Body {
    Wanted,
    Unwanted,
}

/// What is asked for: the page at a path, with its body or not; more must come first; or it gets this
/// error.
fn read(head: &[u8], local: bool) -> Result<Option<(Body, &str)>, &'static str> {
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
    // A page from elsewhere may have its own name lead to this machine, to read what only this machine may.
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
            assert_eq!(read(head.as_bytes(), true), expected, "{head}");
        }
        let elsewhere = read(b"GET / HTTP/1.1\r\nHost: nas.example\r\n\r\n", false);
        assert_eq!(elsewhere, root(Body::Wanted));
    }

    /// However many say nothing, whoever asks next is answered; and their number is bounded.
    #[test]
    fn the_silent_keep_nobody_out() {
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
        let quick = begun.elapsed() < PATIENCE; // else some of them went of themselves
        let gone = silent.iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut stream: &TcpStream = stream;
            !matches!(stream.read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        });
        assert!(!quick || gone.count() >= 100 - 2 * MOST);
    }
}
