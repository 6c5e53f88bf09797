//! The key exchange with a router, and the check of its host key.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use russh::{
    Preferred, cipher,
    client::{self, GexParams, Handle},
    kex,
    keys::PublicKeyOrCertificate,
    mac,
};
use tokio::time::timeout;

use super::{
    STEP_TIMEOUT, SshConnection, SshFault, algorithms, fault::fault, no_answer,
    transport::Transport,
};
use crate::{
    config::Router,
    host_key::{self, HostKey},
    recorder::lock,
};

/// Larger than any answer: RouterOS drops the part of an answer that does not fit the client's window, and closes the
/// channel without an error (MikroTik SUP-219800).
const WINDOW: u32 = 16 << 20;
/// Bytes of a packet, as PuTTY limits them: each connection keeps buffers of this size.
const MAX_PACKET: u32 = 16 << 10;

pub struct HostKeyCheck {
    pinned: Vec<HostKey>,
    /// The key of the router if it is not pinned.
    untrusted: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for HostKeyCheck {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        if self.pinned.iter().any(|pin| pin.is_of(key)) {
            return Ok(true);
        }
        *lock(&self.untrusted) = Some(HostKey::of(key));
        Ok(false)
    }
}

pub type Connected = (Handle<HostKeyCheck>, Option<IpAddr>, Option<Arc<SshConnection>>);

pub async fn connect(router: &Router) -> Result<Connected, SshFault> {
    let pinned = router.host_key.0.clone();
    let untrusted = Arc::new(Mutex::new(None));
    let client = HostKeyCheck { pinned, untrusted: Arc::clone(&untrusted) };
    let Transport { stream, peer, jump } = Transport::open(router).await?;
    let connect = client::connect_stream(Arc::new(options(router)), stream, client);
    let connected = timeout(STEP_TIMEOUT, connect).await.map_err(|_| no_answer())?;
    let handle = connected.map_err(|error| {
        if let russh::Error::NoCommonAlgo { kind, theirs, .. } = &error {
            return SshFault::Algorithms(algorithms::missing(kind, theirs, router));
        }
        let key = lock(&untrusted).take();
        fault(error, key.map(|key| (key, router)))
    })?;
    Ok((handle, peer, jump))
}

pub fn options(router: &Router) -> client::Config {
    let mut preferred = Preferred {
        key: host_key::algorithms(&router.host_key.0, router.legacy).into(),
        // A few bytes of a router could become any number of bytes.
        compression: Preferred::DEFAULT
            .compression
            .iter()
            .filter(|name| name.as_ref() == "none")
            .cloned()
            .collect(),
        ..Preferred::DEFAULT
    };
    if router.legacy {
        // The group exchange of old versions uses primes that this client refuses: prefer group 14.
        let at = preferred.kex.iter().position(|name| *name == kex::DH_GEX_SHA256).unwrap_or(0);
        let exchanges = preferred.kex.to_mut();
        exchanges.insert(at, kex::DH_G14_SHA1);
        if router.legacy_group1 {
            exchanges.insert(at + 1, kex::DH_G1_SHA1);
        }
        let old = [cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC];
        preferred.cipher.to_mut().extend(old);
        preferred.mac.to_mut().push(mac::HMAC_SHA1);
    }
    client::Config {
        preferred,
        // RouterOS has a prime of 2048 bits; larger ones take seconds on a small router.
        gex: GexParams::new(2048, 2048, 8192).unwrap_or_default(),
        window_size: WINDOW,
        maximum_packet_size: MAX_PACKET,
        keepalive_interval: Some(Duration::from_secs(router.keepalive)),
        keepalive_max: 3,
        inactivity_timeout: None, // a log may be silent for days
        nodelay: true,
        ..client::Config::default()
    }
}
