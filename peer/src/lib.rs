//! Connections to other machines. A peer may be hostile, or an attacker on the way may play it: each exchange has one
//! deadline over all its parts and one budget of bytes that are read, and a panic in a library is an error of the exchange.
//!
//! It trusts a peer that TLS authenticates only as far as the caller does.
#![forbid(unsafe_code)]

mod stream;
mod tls;

use std::{
    net::IpAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

pub use stream::{Budget, PeerStream};
pub use tls::{TlsCheck, certificate_fault, client_config, read_pem};

/// Whether a host, by name or address, is this machine, so that no network carries the connection.
pub fn is_local_host(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Runs an exchange. A panic of a library is an error; the caller drops the connection, whose state is unknown.
pub fn guarded<T, E>(
    exchange: impl FnOnce() -> Result<T, E>,
    panicked: impl FnOnce(String) -> E,
) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(exchange)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
        Err(panicked(format!("a library failed on what the peer sent: {text}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error() {
        let parse = |text: &'static str| {
            guarded(|| Ok(text.parse::<u8>().expect("a number")), |why: String| why)
        };
        assert_eq!(parse("7"), Ok(7));
        let why = parse("x").unwrap_err();
        assert!(why.contains("a number") && why.contains("what the peer sent"), "{why}");
    }
}
