//! `--serve`: shows the report to browsers, and nothing else. Whoever connects is a stranger: what they ask is read by a parser made for
//! it, so much of it at most and for so long, and answered with one page or an error.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use aw_output::{Error, say};

use crate::{report::page::policy, reporter::PAGE};

/// Connections at once, the head of a request, and how long one may take to send it, and to take the page.
const MOST: usize = 16;
const HEAD: usize = 8_192;
const PATIENCE: Duration = Duration::from_secs(5);
const TRANSFER: Duration = Duration::from_secs(60);

/// Listens: while the program may still do that.
pub fn listen(address: &SocketAddr) -> Result<TcpListener, Error> {
    let fault = |error| Error::io(format_args!("serve on {address}"), error);
    TcpListener::bind(address).map_err(fault)
}

/// Begins to serve this page, in threads of their own.
pub fn start(listener: TcpListener, page: PathBuf) -> Result<(), Error> {
    let address = listener.local_addr().map_err(|error| Error::io("serve the report", error))?;
    say(format_args!("serving the report on http://{address}/"));
    let thread = thread::Builder::new().name("serve".into());
    let accept = move || {
        let busy = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(100)); // no descriptor is free
                continue;
            };
            if busy.fetch_add(1, Relaxed) >= MOST {
                busy.fetch_sub(1, Relaxed);
                continue; // closed
            }
            let (theirs, page) = (Arc::clone(&busy), page.clone());
            let answer = move || {
                let _ = answer(&stream, &page, address.ip().is_loopback()); // they may go whenever they like
                theirs.fetch_sub(1, Relaxed);
            };
            if thread::Builder::new().spawn(answer).is_err() {
                busy.fetch_sub(1, Relaxed);
            }
        }
    };
    thread.spawn(accept).map_err(|error| Error::io("start a thread", error))?;
    Ok(())
}

fn answer(mut stream: &TcpStream, page: &Path, local: bool) -> io::Result<()> {
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
    let file = request.and_then(|body| match File::open(page) {
        Ok(file) => Ok((body, file)),
        Err(_) => Err("503 Service Unavailable"), // there is no report yet
    });
    let (status, length) = match &file {
        Ok((_, file)) => ("200 OK", file.metadata()?.len()),
        Err(status) => (*status, status.len() as u64 + 1),
    };
    let kind = if file.is_ok() { "html" } else { "plain" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/{kind}; charset=utf-8\r\nContent-Length: {length}\r\n\
         Content-Security-Policy: {}; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n\
         Referrer-Policy: no-referrer\r\nCache-Control: no-cache\r\nConnection: close\r\n{}\r\n",
        policy(),
        if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" },
    )?;
    match file {
        Ok((Body::Wanted, file)) => copy(file.take(length), stream)?,
        Ok((Body::Unwanted, _)) => {}
        Err(status) => writeln!(stream, "{status}")?,
    }
    // What they still send is not read: to close at once might cut off our answer.
    stream.shutdown(std::net::Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut rest = [0; 1024];
    let mut patience = 64;
    while patience > 0 && matches!(stream.read(&mut rest), Ok(1..)) {
        patience -= 1;
    }
    Ok(())
}

fn copy(mut file: impl Read, mut stream: &TcpStream) -> io::Result<()> {
    let begun = Instant::now();
    let mut bytes = [0; 65_536];
    loop {
        let length = file.read(&mut bytes)?;
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

/// What is asked for: the page, with its body or not; more must come first; or it gets this error.
fn read(head: &[u8], local: bool) -> Result<Option<Body>, &'static str> {
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
    if path != "/" && path.strip_prefix('/') != Some(PAGE) {
        return Err("404 Not Found");
    }
    match request.method {
        Some("GET") => Ok(Some(Body::Wanted)),
        Some("HEAD") => Ok(Some(Body::Unwanted)),
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
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", Ok(Some(Body::Wanted))),
            ("GET /?x HTTP/1.1\r\nHost: localhost\r\n\r\n", Ok(Some(Body::Wanted))),
            ("HEAD /macupd_report.html HTTP/1.0\r\n\r\n", Ok(Some(Body::Unwanted))),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", Ok(Some(Body::Wanted))),
            ("GET / HTTP/1.1\r\nHost: loc", Ok(None)),
            ("", Ok(None)),
            ("GET /../etc/passwd HTTP/1.1\r\n\r\n", Err("404 Not Found")),
            ("POST / HTTP/1.1\r\n\r\n", Err("405 Method Not Allowed")),
            ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", Err("403 Forbidden")),
            ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", Err("403 Forbidden")),
            ("\u{1}\r\n\r\n", Err("400 Bad Request")),
        ] {
            assert_eq!(read(head.as_bytes(), true), expected, "{head}");
        }
        assert_eq!(
            read(b"GET / HTTP/1.1\r\nHost: nas.example\r\n\r\n", false),
            Ok(Some(Body::Wanted))
        );
    }
}
