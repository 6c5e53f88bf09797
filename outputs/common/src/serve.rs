//! A small HTTP server for a status page or metrics. Clients are not trusted: a request is read by an HTTP
//! parser, with limits for its size and time, and answered with one page or an error. When there are too
//! many connections, one that is answered is closed, or else the oldest.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Once, OnceLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use aw_service::{Error, PortKind, drops_clients, listen_fault, name, warn};

use crate::{RingOptions, as_service, this_host};

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
    text.parse()
        .ok()
        .or_else(port)
        .ok_or("must be ADDR:PORT, [IPv6]:PORT or PORT, with a port of 1 to 65535")
}

/// Listens on the address that `option` names. Call it before [`crate::run`], which forbids it.
pub fn listen(address: &SocketAddr, option: &str) -> Result<TcpListener, Error> {
    if !address.ip().to_canonical().is_loopback()
        && let Some(why) = drops_clients()
    {
        warn(format_args!("listen on {address}: {why}"));
    }
    OWN_ADDRESS.get_or_init(|| own_address(address.is_ipv4())); // a confined process opens no socket for it
    bind(address, option)
}

fn bind(address: &SocketAddr, option: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).map_err(|error| {
        let why = listen_fault(&error, PortKind::Tcp, address, option);
        Error::new(format_args!("listen on {address}"), why)
    })
}

/// Whether the service can open the port, and its clients reach it, for `--check`. If this program runs already, it has the port.
/// Returns a line for the user.
pub fn check_port(
    options: &RingOptions,
    (address, option): (&SocketAddr, &str),
    path: &str,
    mark: &str,
) -> Result<String, Vec<String>> {
    let unit = options.unit().filter(|_| !address.ip().to_canonical().is_loopback());
    let dropped = unit.as_ref().and_then(|unit| unit.drops_clients());
    let mut faults: Vec<_> =
        dropped.map(|why| format!("listen on {address}: {why}")).into_iter().collect();
    let page = format!("http://{address}{path}");
    let opened = as_service(options, None, || bind(address, option).map(drop));
    let note = match opened.and_then(|opened| opened) {
        Err(Error::Failed(_)) if is_in_use(address) && is_served(address, path, mark) => {
            format!("the running {} serves {page}", name())
        }
        Err(Error::Failed(why)) => {
            faults.push(why);
            return Err(faults);
        }
        _ => format!("{page} can be served"),
    };
    // Whether the clients are among them is not known here.
    let lets_in = unit.as_ref().and_then(|unit| unit.lets_in());
    let note = note + &lets_in.map_or(String::new(), |from| format!("; its unit lets in {from}"));
    if faults.is_empty() { Ok(note) } else { Err(faults) }
}

/// Whether another socket has the port. Only then can it be that of the running service: an address that no interface has cannot be
/// served by it, either, and may be that of another machine.
pub fn is_in_use(address: &SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| may_be_in_use(error.kind()))
}

/// A user who may not have the port at all does not learn whether it is in use.
fn may_be_in_use(error: ErrorKind) -> bool {
    matches!(error, ErrorKind::AddrInUse | ErrorKind::PermissionDenied)
}

/// Whether this program runs already, and so has the port: its page, which contains `mark`, shows that.
pub fn is_served(address: &SocketAddr, path: &str, mark: &str) -> bool {
    let mut to = *address;
    if to.ip().is_unspecified() {
        to.set_ip(if to.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    is_own_page(&to, path, mark).unwrap_or(false)
}

fn is_own_page(address: &SocketAddr, path: &str, mark: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(address, REQUEST_TIMEOUT)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", address.ip())?;
    let (mut text, mut part, end) = (Vec::new(), [0; 4096], Instant::now() + REQUEST_TIMEOUT);
    while text.len() < MAX_OWN_PAGE && Instant::now() < end {
        match stream.read(&mut part)? {
            0 => break,
            length => text.extend_from_slice(&part[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&text).contains(mark))
}

/// Bytes of a page in which the mark of this program is searched.
const MAX_OWN_PAGE: usize = 64 << 10;

/// The URL by which other machines reach a server: an unspecified address is none, and then it has the address from which this
/// machine reaches others, or else its name.
pub fn url(address: &SocketAddr) -> String {
    if !address.ip().is_unspecified() {
        return format!("http://{address}/");
    }
    let port = address.port();
    let own = match OWN_ADDRESS.get().copied().flatten() {
        Some(ip) => SocketAddr::new(ip, port).to_string(),
        None => format!("{}:{port}", this_host()),
    };
    format!("http://{own}/ (all addresses of this machine)")
}

/// As found before the process is confined.
static OWN_ADDRESS: OnceLock<Option<IpAddr>> = OnceLock::new();

/// The address from which this machine reaches others: that of its default route. Nothing is sent.
fn own_address(is_ipv4: bool) -> Option<IpAddr> {
    // Of documentation (RFC 5737, RFC 3849): no network has a route of its own to them.
    let (any, other): (IpAddr, IpAddr) = match is_ipv4 {
        true => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(203, 0, 113, 1).into()),
        false => {
            (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((other, 9)).ok()?;
    socket.local_addr().ok().map(|own| own.ip()).filter(|ip| !ip.is_unspecified())
}

/// The hosts for which this server answers: what a browser has in its address bar, and sends in the header Host.
///
/// A web page of another site can make its own name resolve to this machine after it was loaded (DNS rebinding), and then
/// read what this server answers: for the browser, both are the same site. But the request then carries that name. An
/// address cannot be rebound; it may be another one than this machine's, where a router or a container forwards the port.
/// A request without the header is not from a browser.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    /// In lower case, without a final dot.
    names: Vec<String>,
    /// This machine's name as a phone finds it (mDNS, RFC 6762). Any host of the link can answer for it: it is not accepted on a
    /// connection to the loopback, which only this machine's own browser makes.
    local: Option<String>,
}

impl AllowedHosts {
    /// The names of `--allow-host`, and this machine's host name, also with `.local`.
    pub fn new(named: &[String]) -> AllowedHosts {
        let own = this_host();
        let short = own.split('.').next().unwrap_or_default().to_owned();
        let is_name = |name: &String| !["", "localhost"].contains(&&**name);
        let local = Some(&short).filter(|short| is_name(short));
        let local = local.map(|short| comparable(&format!("{short}.local")));
        let own = [own, short].into_iter().filter(is_name);
        let names = named.iter().cloned().chain(own).map(|name| comparable(&name)).collect();
        AllowedHosts { names, local }
    }

    /// Whether a request with this header may be answered, on a connection to this address.
    pub fn includes(&self, host: &str, to: IpAddr) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = comparable(name);
        let is_address = name.parse::<Ipv4Addr>().is_ok();
        let is_by_place = match to.is_loopback() {
            true => name == "localhost",
            false => self.local.as_ref() == Some(&name),
        };
        is_address || self.names.contains(&name) || is_by_place
    }
}

fn comparable(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Parses a name for `--allow-host`.
pub fn parse_host(text: &str) -> Result<String, &'static str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    match !text.is_empty() && text.len() <= 255 && text.chars().all(is_name) {
        true => Ok(text.into()),
        false => Err("must be a host name, without a port"),
    }
}

/// Starts the server, in separate threads. `page` returns the page of a path, or an HTTP status;
/// `headers` are added to each answer, each with its line end.
pub fn start<P>(
    listener: TcpListener,
    hosts: AllowedHosts,
    headers: String,
    page: P,
) -> Result<(), Error>
where
    P: Fn(&str) -> Result<Page, &'static str> + Send + Sync + 'static,
{
    let shared = Arc::new((headers, page, hosts, Once::new()));
    let accept = move || {
        let mut open: VecDeque<Weak<Connection>> = VecDeque::new();
        for stream in listener.incoming() {
            let Ok(stream) = stream else {
                thread::sleep(Duration::from_millis(100)); // no descriptor is free
                continue;
            };
            open.retain(|connection| connection.strong_count() > 0);
            if open.len() >= 2 * MAX_CONNECTIONS {
                continue; // closed: the connections that were shut down have not ended yet
            }
            if let Some(superfluous) = superfluous(&open) {
                let _ = superfluous.stream.shutdown(Shutdown::Both);
            }
            let connection = Arc::new(Connection { stream, has_answer: AtomicBool::new(false) });
            open.push_back(Arc::downgrade(&connection));
            let shared = Arc::clone(&shared);
            // An error ends the connection, also if no thread can be started.
            let answer = move || {
                let (headers, page, hosts, refused) = &*shared;
                let Connection { stream, has_answer } = &*connection;
                if answer(stream, headers, page, (hosts, refused)).is_ok() {
                    has_answer.store(true, Relaxed);
                    discard(stream);
                }
            };
            let _ = thread::Builder::new().spawn(answer);
        }
    };
    let thread = thread::Builder::new().name("serve".into()).spawn(accept);
    thread.map(drop).map_err(|error| Error::io("start a thread", error))
}

struct Connection {
    stream: TcpStream,
    /// It is answered, and the client has not closed it yet.
    has_answer: AtomicBool,
}

/// The connection that gives way to a new one, if there are many: one that is answered, or else the oldest.
fn superfluous(open: &VecDeque<Weak<Connection>>) -> Option<Arc<Connection>> {
    let excess = open.len().checked_sub(MAX_CONNECTIONS)?;
    let mut all = open.iter().filter_map(Weak::upgrade);
    all.find(|one| one.has_answer.swap(false, Relaxed)).or_else(|| open[excess].upgrade())
}

fn answer(
    mut stream: &TcpStream,
    headers: &str,
    page: impl Fn(&str) -> Result<Page, &'static str>,
    (hosts, refused): (&AllowedHosts, &Once),
) -> io::Result<()> {
    let address = stream.local_addr()?;
    let to = address.ip().to_canonical();
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    let mut head = [0; MAX_REQUEST];
    let mut length = 0;
    let begun = Instant::now();
    let request = loop {
        match parse_request(&head[..length], hosts, to) {
            Ok(None) if length == MAX_REQUEST => break Err("431 Request Header Fields Too Large"),
            Ok(None) => {}
            Ok(Some(request)) => break Ok(request),
            Err(Refusal::Host(host)) => {
                refused.call_once(|| log_refused(&host));
                break Err(MISDIRECTED);
            }
            Err(Refusal::Status(status)) => break Err(status),
        }
        let left = REQUEST_TIMEOUT.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut head[length..])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            more => length += more,
        }
    };
    let found = request.and_then(|(body, path)| Ok((body, page(path)?)));
    let mut text = String::new();
    let (status, kind, length) = match &found {
        Ok((_, page)) => ("200 OK", page.kind, page.length),
        Err(status) => {
            text = explained(status, SocketAddr::new(to, address.port()));
            (*status, "text/plain; charset=utf-8", text.len() as u64)
        }
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
        Err(_) => stream.write_all(text.as_bytes())?,
    }
    stream.shutdown(Shutdown::Write)
}

/// Discards the rest of a request that is answered: closing at once might cut off the answer.
fn discard(mut stream: &TcpStream) {
    if stream.set_read_timeout(Some(Duration::from_secs(1))).is_err() {
        return;
    }
    let mut rest = [0; 1024];
    let mut reads = 64;
    while reads > 0 && matches!(stream.read(&mut rest), Ok(1..)) {
        reads -= 1;
    }
}

/// RFC 9110, 15.5.20: the server is not known by this name.
const MISDIRECTED: &str = "421 Misdirected Request";

fn explained(status: &str, to: SocketAddr) -> String {
    let name = name();
    match status {
        MISDIRECTED => format!(
            "{status}: use the address http://{to}/, or allow the name in your address bar: add --allow-host NAME to OPTIONS= in /etc/default/{name} on this server, and restart {name}\n"
        ),
        _ => format!("{status}\n"),
    }
}

/// Only the first one: a web page can send any number.
fn log_refused(host: &str) {
    let host: String = host.chars().take(100).collect();
    warn(format_args!(
        "refused an HTTP request for host {host:?}, which is not a name of this machine (if it is one, add --allow-host NAME to OPTIONS= in /etc/default/{}; this is logged once)",
        name()
    ));
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

/// Why a request is refused.
#[derive(Debug, PartialEq)]
pub(crate) enum Refusal {
    /// It is for this host, which is not allowed.
    Host(String),
    Status(&'static str),
}

/// Parses a request on a connection to this address: none if it is incomplete.
pub(crate) fn parse_request<'a>(
    head: &'a [u8],
    hosts: &AllowedHosts,
    to: IpAddr,
) -> Result<Option<(Body, &'a str)>, Refusal> {
    const BAD: Refusal = Refusal::Status("400 Bad Request");
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(BAD),
    }
    let mut given =
        request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let (host, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(BAD); // RFC 9112, 3.2
    }
    let host = host.map(|host| String::from_utf8_lossy(host.value));
    if let Some(host) = host.filter(|host| !hosts.includes(host, to)) {
        return Err(Refusal::Host(host.into_owned()));
    }
    let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default();
    match request.method {
        Some("GET") => Ok(Some((Body::Wanted, path))),
        Some("HEAD") => Ok(Some((Body::Unwanted, path))),
        _ => Err(Refusal::Status("405 Method Not Allowed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;

    #[test]
    fn requests() {
        let root = |body| Ok(Some((body, "/")));
        let status = |status| Err(Refusal::Status(status));
        let hosts = AllowedHosts::new(&[]);
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n", root(Body::Wanted)),
            ("GET /?x HTTP/1.1\r\nHost: localhost\r\n\r\n", root(Body::Wanted)),
            ("HEAD /page.html HTTP/1.0\r\n\r\n", Ok(Some((Body::Unwanted, "/page.html")))),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", root(Body::Wanted)),
            ("GET / HTTP/1.1\r\nHost: loc", Ok(None)),
            ("", Ok(None)),
            ("POST / HTTP/1.1\r\n\r\n", status("405 Method Not Allowed")),
            (
                "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
                Err(Refusal::Host("evil.example".into())),
            ),
            (
                "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
                status("400 Bad Request"),
            ),
            ("\u{1}\r\n\r\n", status("400 Bad Request")),
        ] {
            let to = Ipv4Addr::LOCALHOST.into();
            assert_eq!(parse_request(head.as_bytes(), &hosts, to), expected, "{head}");
        }
    }

    /// On each address, not only on the loopback: a page of a foreign site can reach all of them by its own name.
    #[test]
    fn hosts() {
        let lan: IpAddr = "192.0.2.1".parse().unwrap();
        let own = this_host();
        let local = format!("{}.local:8080", own.split('.').next().unwrap());
        let hosts = AllowedHosts::new(&["nas.example.org".into()]);
        for to in [lan, Ipv4Addr::LOCALHOST.into(), "2001:db8::1".parse().unwrap()] {
            for (host, is_allowed) in [
                ("192.0.2.1", true),
                ("192.0.2.1:8080", true),
                ("[2001:db8::1]", true),
                ("[::1]:8080", true),
                ("198.51.100.7:80", true), // a router that forwards the port
                ("nas.example.org", true),
                ("NAS.example.org.:8080", true),
                (&*own, true),
                (&*local, !to.is_loopback()),
                ("other.local", false),
                ("localhost", to.is_loopback()),
                ("localhost:8080", to.is_loopback()),
                ("evil.example", false),
                ("evil.example:8080", false),
                ("192.0.2.1.evil.example", false),
                ("nas.example.org.evil.example", false),
                ("org", false),
                ("nas.example.org:8080:x", false),
                ("2130706433", false),
                ("[evil.example]", false),
                ("", false),
                ("[::1", false),
            ] {
                assert_eq!(hosts.includes(host, to), is_allowed, "{host} on {to}");
            }
        }
        assert!(parse_host("nas.example.org").is_ok());
        for bad in ["", "nas:80", "http://nas", "a b", "*"] {
            assert!(parse_host(bad).is_err(), "{bad:?}");
        }
    }

    /// Silent connections do not block others, and their number is limited.
    #[test]
    fn silent_connections_do_not_block_others() {
        let listener = listen(&"127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
        let address = listener.local_addr().unwrap();
        let text = || Ok(Page { kind: "text/plain", body: Box::new(&b"page\n"[..]), length: 5 });
        let page = move |path: &str| if path == "/" { text() } else { Err("404 Not Found") };
        start(listener, AllowedHosts::default(), "X-Test: yes\r\n".into(), page).unwrap();
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
            // A connection may have to wait for the end of a silent one.
            let patience = Instant::now() + Duration::from_secs(60);
            let mut answers =
                iter::repeat_with(|| ask("/")).take_while(|_| Instant::now() < patience);
            let answer = answers.find(|answer| !answer.is_empty()).expect("an answer");
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

    /// Clients that keep connections open which are answered cut off no answer.
    #[test]
    fn answered_connections_give_way() {
        const LARGE: u64 = 32 << 20; // more than the buffers of a connection
        let listener = listen(&"127.0.0.1:0".parse().unwrap(), "--listen").unwrap();
        let address = listener.local_addr().unwrap();
        let page = |path: &str| {
            let length = if path == "/" { 5 } else { LARGE };
            let body = Box::new(io::repeat(b'x').take(length));
            Ok(Page { kind: "text/plain", body, length })
        };
        start(listener, AllowedHosts::default(), String::new(), page).unwrap();
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\n\r\n").unwrap();
            stream
        };
        let mut slow = ask("/large");
        slow.read_exact(&mut [0]).unwrap();
        let answered = |_| {
            let mut stream = ask("/");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("\r\n\r\nxxxxx"), "{answer}");
            stream
        };
        let kept: Vec<_> = (0..MAX_CONNECTIONS + 4).map(answered).collect();
        let mut rest = Vec::new();
        slow.read_to_end(&mut rest).unwrap();
        assert!(rest.len() as u64 > LARGE, "{} bytes", rest.len());
        drop(kept);
    }
}
