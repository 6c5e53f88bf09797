//! Whether a broker that does not answer MQTT 5 speaks MQTT 3.1.1: then that is the reason, and no retry helps.
//!
//! A broker of MQTT 3.1.1 either refuses the version in the format of 3.1.1, which the client of MQTT 5 takes for an incomplete
//! packet, or it closes the connection. But a broker of MQTT 5 closes connections, too, for example while it restarts, and answers
//! MQTT 3.1.1 as well. So the broker is asked once more in MQTT 5, and then in MQTT 3.1.1, without login and without a session.

use std::{
    io::{ErrorKind, Read, Result, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use aw_output::HostPort;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// For the connection, and for each packet.
const TIMEOUT: Duration = Duration::from_secs(1);

/// CONNECT of MQTT 5 and of MQTT 3.1.1: protocol level 5 or 4, clean session, keep alive 10 s, no properties (MQTT 5), an empty
/// client identifier.
const CONNECT_5: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x00";
const CONNECT_3: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00";
/// The head of a CONNACK of MQTT 3.1.1, which has two bytes; one of MQTT 5 has at least three.
const CONNACK: [u8; 2] = *b"\x20\x02";

/// Whether the broker answers in MQTT 3.1.1, and does not accept MQTT 5. An error on the way is no answer.
pub fn is_spoken(server: &HostPort, tls: Option<&Arc<ClientConfig>>) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let refuses_5 = match answer(server, tls, CONNECT_5) {
        Ok(head) => head == CONNACK,
        Err(error) => {
            let closed = [UnexpectedEof, ConnectionReset, ConnectionAborted, BrokenPipe];
            closed.contains(&error.kind())
        }
    };
    refuses_5 && answer(server, tls, CONNECT_3).is_ok_and(|head| head == CONNACK)
}

/// The head of the answer to a CONNECT on a connection of its own.
fn answer(server: &HostPort, tls: Option<&Arc<ClientConfig>>, packet: &[u8]) -> Result<[u8; 2]> {
    let mut addresses = (server.host.as_str(), server.port).to_socket_addrs()?;
    let address = addresses.next().ok_or(ErrorKind::NotFound)?;
    let stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let Some(tls) = tls else { return exchange(stream, packet) };
    let name = ServerName::try_from(server.host.clone());
    let connection = name.ok().and_then(|name| ClientConnection::new(tls.clone(), name).ok());
    exchange(StreamOwned::new(connection.ok_or(ErrorKind::InvalidInput)?, stream), packet)
}

fn exchange(mut stream: impl Read + Write, packet: &[u8]) -> Result<[u8; 2]> {
    let mut head = [0; 2];
    stream.write_all(packet)?;
    stream.read_exact(&mut head)?;
    Ok(head)
}
