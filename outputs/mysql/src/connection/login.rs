//! The login: the greeting, TLS, and the proof of the password.
//!
//! `mysql_native_password` and the first step of `caching_sha2_password` prove a password without sending it. In its second
//! step a server asks for the password itself. It is sent through TLS that checks the server's certificate, a Unix socket or the
//! loopback only, unless the configuration allows more: an attacker on the way could send another certificate or key, and
//! read it.

use std::{path::PathBuf, sync::Arc};

use aw_peer::{Budget, PeerStream};
use aw_service::{HostPort, Secret, Wanted, explained};
use rustls::ClientConfig;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{
    Error, Result, malformed,
    packet::{Fields, Packets},
};

/// What to connect to, and as which user.
pub struct Target {
    pub server: Server,
    pub user: String,
    pub password: Option<Secret>,
    pub database: String,
    /// The password may be sent without TLS.
    pub plain_password: bool,
    /// TLS checks the authority of the server's certificate: without that, an attacker on the way has one, too.
    pub verified: bool,
}

pub enum Server {
    Unix(PathBuf),
    Tcp(HostPort, Option<Arc<ClientConfig>>),
}

// Capabilities of client and server.
const LONG_PASSWORD: u32 = 1;
const LONG_FLAG: u32 = 1 << 2;
const WITH_DATABASE: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const TLS: u32 = 1 << 11;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;

const NATIVE: &[u8] = b"mysql_native_password";
const CACHING_SHA2: &[u8] = b"caching_sha2_password";
const CHALLENGE: usize = 20;
const UTF8MB4: u8 = 45;
const MAX_PACKET: u32 = 16 << 20;

/// What the server says first.
struct Greeting {
    capabilities: u32,
    challenge: Vec<u8>,
    plugin: Vec<u8>,
}

pub fn log_in(target: &Target, budget: Budget) -> Result<Packets> {
    let (stream, tls) = match &target.server {
        Server::Unix(path) => {
            let denied = |error| explained(error, path, Wanted::Write);
            (PeerStream::connect_unix(path, budget).map_err(denied)?, None)
        }
        Server::Tcp(server, tls) => {
            (PeerStream::connect(server, budget)?, tls.as_ref().zip(Some(&server.host)))
        }
    };
    let mut packets = Packets::new(stream);
    let greeting = Greeting::parse(&packets.receive()?)?;
    let wanted = LONG_FLAG | WITH_DATABASE | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH;
    // With LONG_PASSWORD, MariaDB takes the client for one of MySQL, as it does all others.
    let mut capabilities = wanted & greeting.capabilities | LONG_PASSWORD | PROTOCOL_41;
    if let Some((config, host)) = tls {
        if greeting.capabilities & TLS == 0 {
            return Err(Error::Protocol("the server does not offer TLS (give it a certificate and restart it; if you trust the network up to it: ssl = 0 and plain-password = 1 in the file of --config)".into()));
        }
        capabilities |= TLS;
        packets.send(&response_head(capabilities))?;
        packets = packets.over(|stream| stream.start_tls(config, host))?;
    }
    let plugin = if greeting.plugin == CACHING_SHA2 { CACHING_SHA2 } else { NATIVE };
    let password = target.password.as_ref().map_or("", Secret::reveal);
    let proof = proof(plugin, password, &greeting.challenge);
    let mut response = response_head(capabilities).to_vec();
    response.extend_from_slice(target.user.as_bytes());
    response.extend_from_slice(&[0, proof.len() as u8]);
    response.extend_from_slice(&proof);
    if capabilities & WITH_DATABASE != 0 {
        response.extend_from_slice(target.database.as_bytes());
        response.push(0);
    }
    if capabilities & PLUGIN_AUTH != 0 {
        response.extend_from_slice(plugin);
        response.push(0);
    }
    packets.send(&response)?;
    prove(&mut packets, target, plugin, greeting.challenge)?;
    Ok(packets)
}

/// Answers what the server asks for until it accepts the login.
fn prove(
    packets: &mut Packets,
    target: &Target,
    plugin: &[u8],
    mut challenge: Vec<u8>,
) -> Result<()> {
    let password = target.password.as_ref().map_or("", Secret::reveal);
    let (mut plugin, mut switched) = (plugin.to_vec(), false);
    loop {
        let packet = packets.receive()?;
        match &packet[..] {
            [0, ..] => return Ok(()),
            [0xfe, rest @ ..] if !switched => {
                switched = true;
                let mut fields = Fields(rest);
                plugin = fields.text().to_vec();
                if plugin != NATIVE && plugin != CACHING_SHA2 {
                    let plugin = String::from_utf8_lossy(&plugin);
                    let plugin: String =
                        plugin.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
                    return Err(Error::Protocol(format!(
                        "the server wants a login with {plugin:?}, which this program does not have (use mysql_native_password or caching_sha2_password)"
                    )));
                }
                challenge = fields.0.strip_suffix(&[0]).unwrap_or(fields.0).to_vec();
                let mut proof = proof(&plugin, password, &challenge);
                if proof.is_empty() && plugin == CACHING_SHA2 {
                    proof.push(0); // an empty password, as MySQL's own clients send it here
                }
                packets.send(&proof)?;
            }
            [1, 3] if plugin == CACHING_SHA2 => {} // it accepts the proof
            [1, 4] if plugin == CACHING_SHA2 => send_password(packets, target, &challenge)?,
            _ => return Err(malformed()),
        }
    }
}

/// Sends the password itself.
fn send_password(packets: &mut Packets, target: &Target, challenge: &[u8]) -> Result<()> {
    let password = target.password.as_ref().map_or("", Secret::reveal);
    let mut password = [password.as_bytes(), &[0]].concat();
    let is_unix = matches!(target.server, Server::Unix(_));
    let encrypted = packets.stream().is_encrypted();
    let protected = is_unix || packets.stream().is_local() || encrypted && target.verified;
    if !protected && !target.plain_password {
        return Err(Error::Protocol(
            "the server asks for the password itself, which is sent only through TLS that checks the server's certificate (set ssl-ca, or plain-password = 1 to send it to any server)".into(),
        ));
    }
    if encrypted || is_unix {
        return packets.send(&password);
    }
    if challenge.is_empty() {
        return Err(malformed());
    }
    packets.send(&[2])?; // for the server's key
    let key = packets.receive()?;
    password.iter_mut().zip(challenge.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    let encrypted = aw_peer::guarded(
        || Ok(mysql_common::crypto::encrypt(&password, key.get(1..).unwrap_or_default())),
        |_| Error::Protocol("the server's key is not a key of RSA that fits the password".into()),
    )?;
    packets.send(&encrypted)
}

impl Greeting {
    fn parse(packet: &[u8]) -> Result<Greeting> {
        let parse = || {
            let mut fields = Fields(packet);
            if fields.bytes(1)? != [10] {
                return None;
            }
            fields.text(); // version
            fields.bytes(4)?; // number of the connection
            let mut challenge = fields.bytes(8)?.to_vec();
            fields.bytes(1)?;
            let low = fields.bytes(2)?;
            fields.bytes(3)?; // character set and status
            let high = fields.bytes(2)?;
            fields.bytes(11)?; // length of the challenge, which is fixed, and reserved bytes
            challenge.extend_from_slice(&fields.bytes(13)?[..12]);
            let capabilities = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
            let needed = PROTOCOL_41 | SECURE_CONNECTION;
            let plugin = fields.text().to_vec();
            (capabilities & needed == needed).then_some(Greeting {
                capabilities,
                challenge,
                plugin,
            })
        };
        parse().ok_or_else(malformed)
    }
}

/// Capabilities, packet size and character set: the request for TLS, and the beginning of the response.
fn response_head(capabilities: u32) -> [u8; 32] {
    let mut head = [0; 32];
    head[..4].copy_from_slice(&capabilities.to_le_bytes());
    head[4..8].copy_from_slice(&MAX_PACKET.to_le_bytes());
    head[8] = UTF8MB4;
    head
}

/// The proof that the client knows the password. It does not contain the password; none for an empty one.
fn proof(plugin: &[u8], password: &str, challenge: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let challenge = &challenge[..challenge.len().min(CHALLENGE)];
    let xor = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a ^ b).collect();
    if plugin == CACHING_SHA2 {
        let once = Sha256::digest(password);
        let mask = Sha256::new().chain_update(Sha256::digest(once)).chain_update(challenge);
        return xor(&once, &mask.finalize());
    }
    let once = Sha1::digest(password);
    let mask = Sha1::new().chain_update(challenge).chain_update(Sha1::digest(once));
    xor(&once, &mask.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Computed with another program by the formulas in MySQL's manual.
    #[test]
    fn proofs() {
        let challenge = b"challenge of 20 byte";
        for (plugin, expected) in [
            (NATIVE, "a236049cd3daad3497838584e39ced3dd56111a5"),
            (CACHING_SHA2, "f448610862a36c43dc26e0a3659fc79385ee88aab66185e84ac06849b5a62fb1"),
        ] {
            let longer = [&challenge[..], &[0]].concat(); // MariaDB sends its end, too
            assert_eq!(hex(&proof(plugin, "s3cret", challenge)), expected);
            assert_eq!(proof(plugin, "s3cret", &longer), proof(plugin, "s3cret", challenge));
            assert_eq!(proof(plugin, "", challenge), b"");
        }
    }

    proptest! {
        /// No greeting makes the client panic.
        #[test]
        fn greetings(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Greeting::parse(&bytes);
            if let Some(version) = bytes.first_mut() {
                *version = 10;
            }
            if let Ok(greeting) = Greeting::parse(&bytes) {
                prop_assert_eq!(greeting.challenge.len(), CHALLENGE);
            }
        }

        #[test]
        fn values(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut fields = Fields(&bytes);
            while !fields.0.is_empty() && fields.value().is_some() {}
        }
    }
}
