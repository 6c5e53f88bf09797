//! Names and addresses, and TCP connections to them.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    thread::Builder,
    time::Duration,
};

use aw_service::HostPort;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, oneshot},
    time::timeout,
};

use super::{STEP_TIMEOUT, SshFault, no_answer};
use crate::start_access;

/// The number of threads that resolve names. They are separate from the threads that write to the archive, which a name
/// server without an answer must not block.
static RESOLVERS: Semaphore = Semaphore::const_new(4);

pub async fn addresses(HostPort { host, port }: &HostPort) -> Result<Vec<SocketAddr>, SshFault> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, *port)]);
    }
    let unresolved = |why: &str| SshFault::Unreachable(format!("resolve {host}: {why}"));
    let (name, (send, resolved)) = ((host.clone(), *port), oneshot::channel());
    let resolve = async {
        let permit = RESOLVERS.acquire().await;
        // The thread keeps its permit even if the wait below times out.
        let lookup = move || (send.send(name.to_socket_addrs()), permit);
        Builder::new()
            .name("resolver".into())
            .spawn(lookup)
            .map_err(|error| unresolved(&error.to_string()))?;
        resolved.await.map_err(|_| unresolved("its thread ended"))
    };
    let found = timeout(STEP_TIMEOUT, resolve)
        .await
        .map_err(|_| unresolved("no answer from a name server"))??;
    found.map(Iterator::collect).map_err(|error| unresolved(&aw_service::cause(&error)))
}

/// Connects to the first address that accepts, and returns that address too.
pub async fn connect_first(
    addresses: &[SocketAddr],
    source: Option<IpAddr>,
    limit: Duration,
) -> Result<(TcpStream, IpAddr), SshFault> {
    let mut fault = SshFault::Unreachable("its name has no address".into());
    for address in addresses {
        fault = match timeout(limit, connect_from(source, *address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.ip())),
            Ok(Err(error)) => connect_fault(source, *address, &error),
            Err(_) => no_answer(),
        };
    }
    Err(fault)
}

/// Connects from this address of the machine.
async fn connect_from(source: Option<IpAddr>, address: SocketAddr) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address).await };
    let socket = match (source, address) {
        (IpAddr::V4(_), SocketAddr::V4(_)) => TcpSocket::new_v4()?,
        (IpAddr::V6(_), SocketAddr::V6(_)) => TcpSocket::new_v6()?,
        _ => {
            let why =
                format!("source is {source}, and {} is of the other IP version", address.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(address).await
}

/// Why a connection from this address failed.
fn connect_fault(source: Option<IpAddr>, to: SocketAddr, error: &io::Error) -> SshFault {
    if let Some(why) = start_access::denied_port(to.port(), source.is_some(), error) {
        return SshFault::Restart(why);
    }
    let cause = aw_service::cause(error);
    SshFault::Unreachable(match (source, error.kind()) {
        (Some(source), io::ErrorKind::AddrNotAvailable) => {
            format!(
                "source {source}: no interface of this machine has this address (ip address prints them)"
            )
        }
        (Some(source), io::ErrorKind::PermissionDenied) => format!("source {source}: {cause}"),
        _ => cause,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpSocket;

    /// An address without an answer does not use up the time of the next one.
    #[tokio::test]
    async fn each_address_has_its_own_time_limit() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(0).unwrap();
        let silent = full.local_addr().unwrap();
        let patience = Duration::from_millis(300);
        // Connections are not accepted; once the queue is full, Linux does not answer further ones.
        let mut queue = Vec::new();
        while let Ok(stream) = connect_first(&[silent], None, patience).await {
            queue.push(stream);
        }
        let alive = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let address = alive.local_addr().unwrap();
        let found = connect_first(&[silent, silent, address], None, patience).await.unwrap();
        assert_eq!(found.1, address.ip());
        assert_eq!(connect_first(&[silent], None, patience).await.unwrap_err(), no_answer());
    }

    #[tokio::test]
    async fn names_and_addresses() {
        let find = async |text: &str| addresses(&HostPort::parse(text, 22).unwrap()).await;
        assert_eq!(find("192.0.2.1:2222").await.unwrap(), ["192.0.2.1:2222".parse().unwrap()]);
        assert_eq!(find("[2001:db8::1]").await.unwrap(), ["[2001:db8::1]:22".parse().unwrap()]);
        assert!(find("localhost:22").await.unwrap().iter().all(|found| found.ip().is_loopback()));
        let why = find("x..y").await.unwrap_err().to_string();
        assert!(why.starts_with("resolve x..y: "), "{why}");
    }
}
