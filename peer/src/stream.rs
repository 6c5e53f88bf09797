//! A stream to a peer, plain or with TLS, that fails when an exchange is late or long.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use aw_service::{HostPort, resolve};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// What an exchange may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// For all its parts, from the connection or from [`PeerStream::begin`] on.
    pub time: Duration,
    /// Without a byte of the peer.
    pub silence: Duration,
    /// That the peer sends, with TLS as it sends them.
    pub bytes: u64,
}

impl Budget {
    /// What is left of the time before `end`, for a part of a longer exchange.
    pub fn until(self, end: Instant) -> Budget {
        let left = end.saturating_duration_since(Instant::now());
        Budget { time: self.time.min(left), ..self }
    }
}

/// A stream to a peer.
pub struct PeerStream(Layer);

enum Layer {
    Plain(Limited),
    Tls(Box<StreamOwned<ClientConnection, Limited>>),
}

/// A socket with the rest of its budget.
struct Limited {
    socket: Socket,
    is_local: bool,
    budget: Budget,
    end: Instant,
    left: u64,
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl PeerStream {
    /// Connects to the first address of the server that accepts.
    pub fn connect(server: &HostPort, budget: Budget) -> io::Result<PeerStream> {
        let end = Instant::now() + budget.time;
        let addresses = resolve(server, budget.time.min(budget.silence))?;
        PeerStream::connect_to_any(&addresses, budget, end)
    }

    /// Each address has its part of the time: one that drops packets, as of IPv6 without a route, leaves enough for the others.
    fn connect_to_any(
        addresses: &[SocketAddr],
        budget: Budget,
        end: Instant,
    ) -> io::Result<PeerStream> {
        let mut last = io::Error::other("the host name has no address");
        for (address, left) in addresses.iter().zip((1..=addresses.len() as u32).rev()) {
            let part = end.saturating_duration_since(Instant::now()) / left;
            match TcpStream::connect_timeout(address, wait(end, budget.silence.min(part))?) {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    let is_local = address.ip().to_canonical().is_loopback();
                    return Ok(PeerStream::new(Socket::Tcp(socket), is_local, budget, end));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Connects to a server on this machine. One that hangs accepts no connection, and its queue is full one day: the
    /// limit of a send applies to the wait for room in it, too.
    pub fn connect_unix(path: &Path, budget: Budget) -> io::Result<PeerStream> {
        let end = Instant::now() + budget.time;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(wait(end, budget.silence)?))?;
        in_time(connect(&socket, &SocketAddrUnix::new(path)?).map_err(io::Error::from))?;
        Ok(PeerStream::new(Socket::Unix(socket.into()), true, budget, end))
    }

    fn new(socket: Socket, is_local: bool, budget: Budget, end: Instant) -> PeerStream {
        PeerStream(Layer::Plain(Limited { socket, is_local, budget, end, left: budget.bytes }))
    }

    /// Begins the next exchange on this connection, with a budget of its own.
    pub fn begin(&mut self, budget: Budget) {
        let limited = self.limited_mut();
        (limited.budget, limited.left) = (budget, budget.bytes);
        limited.end = Instant::now() + budget.time;
    }

    /// Negotiates TLS with a server of this name, in the exchange that has begun.
    pub fn start_tls(self, config: &Arc<ClientConfig>, host: &str) -> io::Result<PeerStream> {
        let Layer::Plain(mut limited) = self.0 else { return Ok(self) };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut limited)?;
        }
        Ok(PeerStream(Layer::Tls(Box::new(StreamOwned::new(connection, limited)))))
    }

    /// Whether TLS protects it.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.0, Layer::Tls(_))
    }

    /// Whether no network carries it.
    pub fn is_local(&self) -> bool {
        self.limited().is_local
    }

    /// Ends it at once.
    pub fn shut_down(&mut self) {
        let _ = match &self.limited().socket {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Both),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Both),
        };
    }

    fn limited(&self) -> &Limited {
        match &self.0 {
            Layer::Plain(limited) => limited,
            Layer::Tls(stream) => stream.get_ref(),
        }
    }

    fn limited_mut(&mut self) -> &mut Limited {
        match &mut self.0 {
            Layer::Plain(limited) => limited,
            Layer::Tls(stream) => stream.get_mut(),
        }
    }
}

impl Read for PeerStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Plain(limited) => limited.read(buffer),
            Layer::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for PeerStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Layer::Plain(limited) => limited.write(bytes),
            Layer::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Layer::Plain(limited) => limited.flush(),
            Layer::Tls(stream) => stream.flush(),
        }
    }
}

/// How long the next step may wait; an error if the exchange is over.
fn wait(end: Instant, silence: Duration) -> io::Result<Duration> {
    match end.saturating_duration_since(Instant::now()).min(silence) {
        Duration::ZERO => Err(late()),
        wait => Ok(wait),
    }
}

fn late() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no complete answer in time")
}

/// An error of a socket whose time limit has passed is that of the exchange.
fn in_time<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| if error.kind() == ErrorKind::WouldBlock { late() } else { error })
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wait = wait(self.end, self.budget.silence)?;
        if self.left == 0 {
            let why = format!("the peer sends more than {} bytes", self.budget.bytes);
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        let room = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..room];
        let read = match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_read_timeout(Some(wait)).and_then(|()| socket.read(buffer))
            }
            Socket::Unix(socket) => {
                socket.set_read_timeout(Some(wait)).and_then(|()| socket.read(buffer))
            }
        };
        let read = in_time(read)?;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let wait = wait(self.end, self.budget.silence)?;
        in_time(match &mut self.socket {
            Socket::Tcp(socket) => {
                socket.set_write_timeout(Some(wait)).and_then(|()| socket.write(bytes))
            }
            Socket::Unix(socket) => {
                socket.set_write_timeout(Some(wait)).and_then(|()| socket.write(bytes))
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::net::UnixListener, thread};

    use super::*;

    fn budget(time: u64, bytes: u64) -> Budget {
        Budget { time: Duration::from_millis(time), silence: Duration::from_secs(20), bytes }
    }

    /// A server that runs `serve` for its first client.
    fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> HostPort {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || serve(listener.accept().unwrap().0));
        HostPort { host: "127.0.0.1".into(), port }
    }

    /// Each byte comes in time, all together do not.
    #[test]
    fn a_byte_at_a_time_is_late() {
        let server = server(|mut client| {
            while client.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let mut stream = PeerStream::connect(&server, budget(200, 1 << 30)).unwrap();
        assert!(stream.is_local() && !stream.is_encrypted());
        let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        stream.begin(budget(20_000, 3));
        let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
        assert_eq!(error.to_string(), "the peer sends more than 3 bytes");
    }

    /// A server on this machine that hangs: at last, no connection has room in its queue.
    #[test]
    fn a_full_queue_is_late() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let connect = || PeerStream::connect_unix(&path, budget(200, 1000));
        let mut open = Vec::new();
        let error = loop {
            match connect() {
                Ok(stream) => open.push(stream),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        let (_first, _) = listener.accept().unwrap();
        assert!(connect().is_ok_and(|stream| stream.is_local()));
    }

    /// A server with two addresses, of which the first one drops packets.
    #[test]
    fn each_address_is_tried() {
        let [full, live] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        rustix::net::listen(&full, 1).unwrap();
        let addresses = [&full, &live].map(|listener| listener.local_addr().unwrap());
        let limit = Duration::from_millis(200);
        let mut open = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addresses[0], limit) {
            open.push(stream);
        }
        let budget = budget(2000, 1000);
        let connect = |addresses: &[SocketAddr]| {
            PeerStream::connect_to_any(addresses, budget, Instant::now() + budget.time)
        };
        assert!(connect(&addresses).is_ok_and(|stream| stream.is_local()));
        assert_eq!(connect(&addresses[..1]).err().unwrap().kind(), ErrorKind::TimedOut);
    }

    /// A peer that does not read, and one that never ends the negotiation of TLS.
    #[test]
    fn writing_and_tls_are_late() {
        let silent = server(|client| drop(io::copy(&mut io::repeat(0).take(0), &mut &client)));
        let mut stream = PeerStream::connect(&silent, budget(200, 1000)).unwrap();
        assert!(io::copy(&mut io::repeat(0), &mut stream).is_err());
        let endless = server(|mut client| {
            // The head of a record of the handshake; its content never ends.
            let _ = client.write_all(&[22, 3, 3, 0x40, 0]);
            while client.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let config = crate::client_config(None, None, crate::TlsCheck::Nothing).unwrap();
        let stream = PeerStream::connect(&endless, budget(200, 1 << 20)).unwrap();
        let error = stream.start_tls(&config, "127.0.0.1").err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
}
