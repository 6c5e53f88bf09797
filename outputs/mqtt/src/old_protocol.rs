//! Whether a broker that does not answer MQTT 5 speaks MQTT 3.1.1: then that is the reason, and no retry helps.
//!
//! A broker of MQTT 3.1.1 either refuses the version in the format of 3.1.1, which the client of MQTT 5 takes for an incomplete
//! packet, or it closes the connection. So the broker is asked once more, in MQTT 3.1.1, without login and without a session.

use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use aw_output::HostPort;
use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

/// For the connection, and for each packet.
const TIMEOUT: Duration = Duration::from_secs(1);

/// CONNECT of MQTT 3.1.1: protocol level 4, clean session, keep alive 10 s, an empty client identifier.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00";
/// The head of a CONNACK of MQTT 3.1.1, which has two bytes; one of MQTT 5 has at least three.
const CONNACK: &[u8] = b"\x20\x02";

/// Whether the broker answers in MQTT 3.1.1. An error on the way is no answer.
pub fn is_spoken(server: &HostPort, tls: Option<&Arc<ClientConfig>>) -> bool {
    let addresses = (server.host.as_str(), server.port).to_socket_addrs();
    let Some(address) = addresses.ok().and_then(|mut all| all.next()) else { return false };
    let Ok(stream) = TcpStream::connect_timeout(&address, TIMEOUT) else { return false };
    let limits = [stream.set_read_timeout(Some(TIMEOUT)), stream.set_write_timeout(Some(TIMEOUT))];
    if limits.iter().any(Result::is_err) {
        return false;
    }
    let Some(tls) = tls else { return answers(stream) };
    let name = ServerName::try_from(server.host.clone());
    let connection = name.ok().and_then(|name| ClientConnection::new(tls.clone(), name).ok());
    connection.is_some_and(|connection| answers(StreamOwned::new(connection, stream)))
}

fn answers(mut stream: impl Read + Write) -> bool {
    let mut answer = [0; CONNACK.len()];
    let asked = stream.write_all(CONNECT).and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && answer == CONNACK
}
