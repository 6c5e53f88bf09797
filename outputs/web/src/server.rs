//! Accepts connections, and gives them to hyper: with limits for their number, for the time of TLS, of a request's head and of
//! what a client does not take.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use aw_service::warn;
use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    sync::{Semaphore, watch},
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    clients::{Clients, Guest, MOST_CLOSING, OF_NETWORK, OF_ONE, TooMany},
    listener::Listener,
    log_gate::LogGate,
    timed_stream::TimedStream,
};

/// For the handshake of TLS; for the head of a request, also the next one of a connection.
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(10);
/// Headers of a request, and bytes of its head.
const HEADERS: usize = 64;
const HEAD_BYTES: usize = 16 << 10;
/// After a stop signal, answers that are being sent have this time.
const ENDING: Duration = Duration::from_secs(3);

/// What is known of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// The client; none on a socket of this machine.
    pub client: Option<IpAddr>,
    /// The address that it connected to; the loopback on a socket of this machine.
    pub to: IpAddr,
    pub port: Option<u16>,
    pub has_tls: bool,
}

impl Connection {
    /// Whether browsers speak HTTPS: with this server, or with the reverse proxy before its socket, as the links of it say.
    pub fn is_secure(self) -> bool {
        self.has_tls || self.port.is_none()
    }

    pub fn scheme(&self) -> &'static str {
        if self.has_tls { "https" } else { "http" }
    }
}

/// Serves until `stop` changes.
pub async fn serve(
    listener: Listener,
    router: Router,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let clients = Clients::default();
    // A permit for each connection, to wait for their end.
    let open = Arc::new(Semaphore::new(MOST_CLOSING));
    let mut gate = LogGate::default();
    let mut enter = |client| {
        let (guest, too_many) = clients.enter(client)?;
        if let (Some(client), Some(of)) = (client, too_many) {
            log_too_many(client, of, &mut gate);
        }
        Some((guest, Arc::clone(&open).try_acquire_owned().ok()?))
    };
    let accepting = async {
        match listener {
            Listener::Tcp(listener, tls) => {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                let tls = tls.map(TlsAcceptor::from);
                loop {
                    let Ok((stream, from)) = listener.accept().await else {
                        sleep(Duration::from_millis(100)).await; // no descriptor is free
                        continue;
                    };
                    let client = from.ip().to_canonical();
                    let entered = enter(Some(client));
                    yield_now().await; // those that are closed end, also while many come
                    let Some((guest, permit)) = entered else { continue };
                    let Ok(to) = stream.local_addr() else { continue };
                    let connection = Connection {
                        client: Some(client),
                        to: to.ip().to_canonical(),
                        port: Some(to.port()),
                        has_tls: tls.is_some(),
                    };
                    let _ = stream.set_nodelay(true);
                    let (router, tls, stop) = (router.clone(), tls.clone(), stop.clone());
                    tokio::spawn(async move {
                        let _held = permit;
                        let own = guest.clone();
                        let answered = async {
                            let Some(tls) = tls else {
                                return answer(stream, (connection, own), router, stop).await;
                            };
                            // One time limit for all that comes before a request.
                            let begun = async {
                                match is_plain(&stream).await {
                                    true => refuse_plain(stream).await,
                                    false => return tls.accept(stream).await.ok(),
                                }
                                None
                            };
                            if let Ok(Some(stream)) = timeout(HANDSHAKE, begun).await {
                                answer(stream, (connection, own), router, stop).await;
                            }
                        };
                        guest.until_closed(answered).await;
                    });
                }
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                let to = Ipv4Addr::LOCALHOST.into();
                let connection = Connection { client: None, to, port: None, has_tls: false };
                loop {
                    let Ok((stream, _)) = listener.accept().await else {
                        sleep(Duration::from_millis(100)).await;
                        continue;
                    };
                    let entered = enter(None);
                    yield_now().await;
                    let Some((guest, permit)) = entered else { continue };
                    let (router, stop) = (router.clone(), stop.clone());
                    tokio::spawn(async move {
                        let _held = permit;
                        let own = guest.clone();
                        guest.until_closed(answer(stream, (connection, own), router, stop)).await;
                    });
                }
            }
        }
    };
    let mut stopping = stop.clone();
    tokio::select! {
        failed = accepting => return failed,
        _ = stopping.changed() => {}
    }
    // All connections have ended when all permits are back.
    let _ = timeout(ENDING, open.acquire_many(MOST_CLOSING as u32)).await;
    Ok(())
}

/// Whether a client speaks HTTP where TLS is spoken, as a browser does after an address without https://.
async fn is_plain(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0].is_ascii_uppercase()
}

/// Answers in plain text, without a look at the request.
async fn refuse_plain(mut stream: TcpStream) {
    const WHY: &str = "This port speaks HTTPS: write https:// before its address.\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{WHY}",
        WHY.len()
    );
    // What is not read would reset the connection before the answer is.
    let read = stream.read(&mut vec![0; HEAD_BYTES]).await;
    if read.is_ok() && stream.write_all(answer.as_bytes()).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

fn log_too_many(client: IpAddr, of: TooMany, gate: &mut LogGate) {
    let Some(omitted) = gate.admit(Instant::now()) else { return };
    let omitted = match omitted {
        0 => String::new(),
        omitted => format!("; {omitted} more were closed, which are not in this log"),
    };
    let what = match of {
        TooMany::Client => format!("it has {OF_ONE} that answer no user, and its oldest one"),
        TooMany::Network => {
            format!("its IPv6 network has {OF_NETWORK} that answer no user, and one of these")
        }
        TooMany::All => "there are too many, and one of the network with most of them".into(),
    };
    warn(format_args!(
        "accept a connection of {client}: {what} is closed (if it is no browser behind a NAT or a proxy, keep that address away with a firewall){omitted}"
    ));
}

/// One connection, with all its requests.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (connection, guest): (Connection, Guest),
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(connection);
        request.extensions_mut().insert(guest.clone());
        router.call(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    let stream = TokioIo::new(TimedStream::new(stream));
    let mut serving = std::pin::pin!(http.serve_connection(stream, service));
    tokio::select! {
        _ = serving.as_mut() => return, // an error is the client's
        _ = stop.changed() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HTTP on a port of HTTPS has an answer that says so; a handshake has none.
    #[test]
    fn http_where_https_is_spoken() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let connect = async |bytes: &[u8]| {
                let at = listener.local_addr().unwrap();
                let mut client = TcpStream::connect(at).await.unwrap();
                client.write_all(bytes).await.unwrap();
                (client, listener.accept().await.unwrap().0)
            };
            let (_client, served) = connect(&[0x16, 3, 1]).await;
            assert!(!is_plain(&served).await);
            let (mut client, served) = connect(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            assert!(is_plain(&served).await);
            refuse_plain(served).await;
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("write https://"), "{text}");
        });
    }
}
