//! Whether a broker that does not answer MQTT 5 speaks MQTT 3.1.1: then that is the reason, and no retry helps.
//!
//! A broker of MQTT 3.1.1 either refuses the version in the format of 3.1.1, which the client of MQTT 5 takes for an incomplete
//! packet, or it closes the connection. So the broker is asked once more, in MQTT 3.1.1 and then in MQTT 5, without login and
//! without a session. A broker of MQTT 5 speaks both, and may have closed the first connection for a reason that has passed.

use std::{
    io::{Read, Write},
    sync::Arc,
    time::Duration,
};

use aw_output::HostPort;
use aw_peer::{Budget, PeerStream};
use rustls::ClientConfig;

/// For the connection, TLS and a packet.
const BUDGET: Budget =
    Budget { time: Duration::from_secs(2), silence: Duration::from_secs(1), bytes: 64 * 1024 };

/// CONNECT of MQTT 3.1.1: protocol level 4, clean session, keep alive 10 s, an empty client identifier.
const CONNECT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00";
/// The same of MQTT 5: protocol level 5, no properties.
const CONNECT_5: &[u8] = b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x00";
const CONNACK: u8 = 0x20;

/// Whether the broker answers in MQTT 3.1.1 and not in MQTT 5. An error on the way is no answer.
pub fn is_spoken(server: &HostPort, tls: Option<&Arc<ClientConfig>>) -> bool {
    // The length of a CONNACK of MQTT 3.1.1 is two bytes, that of one of MQTT 5 at least three.
    answer(server, tls, CONNECT) == Some([CONNACK, 2])
        && !matches!(answer(server, tls, CONNECT_5), Some([CONNACK, length]) if length > 2)
}

/// The first two bytes of the answer to this packet.
fn answer(server: &HostPort, tls: Option<&Arc<ClientConfig>>, packet: &[u8]) -> Option<[u8; 2]> {
    let mut stream = PeerStream::connect(server, BUDGET).ok()?;
    if let Some(config) = tls {
        stream = stream.start_tls(config, &server.host).ok()?;
    }
    let mut answer = [0; 2];
    stream.write_all(packet).and_then(|()| stream.read_exact(&mut answer)).ok()?;
    Some(answer)
}
