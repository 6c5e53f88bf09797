//! Resolves host names within a time limit. The C library has none for a name server that answers over TCP, a byte now and
//! then.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc::channel,
    },
    thread::Builder,
    time::Duration,
};

use crate::HostPort;

/// Threads that wait for name servers, at most: each ends when its name server has answered.
const MAX_WAITING: usize = 4;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The addresses of a host, with its port. Only after privileges are dropped, because it starts a thread.
pub fn resolve(server: &HostPort, limit: Duration) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = server.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, server.port)]);
    }
    let late = || io::Error::new(ErrorKind::TimedOut, "no answer from a name server");
    if WAITING.fetch_add(1, Relaxed) >= MAX_WAITING {
        WAITING.fetch_sub(1, Relaxed);
        return Err(late());
    }
    let (name, (send, found)) = ((server.host.clone(), server.port), channel());
    let lookup = move || {
        let addresses = name.to_socket_addrs().map(Iterator::collect);
        WAITING.fetch_sub(1, Relaxed);
        let _ = send.send(addresses); // fails if it comes too late
    };
    if let Err(error) = Builder::new().name("resolver".into()).spawn(lookup) {
        WAITING.fetch_sub(1, Relaxed);
        return Err(error);
    }
    found.recv_timeout(limit).map_err(|_| late())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        let find = |host: &str, limit| resolve(&HostPort { host: host.into(), port: 25 }, limit);
        let long = Duration::from_secs(20);
        assert_eq!(find("::1", Duration::ZERO).unwrap(), ["[::1]:25".parse().unwrap()]);
        assert!(find("localhost", long).unwrap().iter().all(|found| found.ip().is_loopback()));
        assert!(find("x..y", long).is_err());
    }
}
