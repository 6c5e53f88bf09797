//! Limits wrong passwords and tokens. No I/O and no clock.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::clients::network_of;

/// So many wrong tries of one client within this time, and then none for the rest of it.
const TRIES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(300);
/// Clients that are remembered: of all, and of an IPv6 network, in which a host may have any number of addresses.
const CLIENTS: usize = 10_000;
const OF_NETWORK: usize = 8;
/// How often what is over is forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// Places and names that are distinguished where many clients share one place: known names and others are in it alike.
const SHARED: u64 = 65_536;

/// Whose tries are counted together: those of a client; or where many share one place, those for one of so many groups of names, of
/// which the token is one. Such a place is the socket of a reverse proxy that does not name its clients, and the rest of a network:
/// of each network that is not remembered, if too many are.
/// So a client there that tries one name keeps no other user out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Client(IpAddr),
    Shared(u64),
}

/// The wrong tries of each client.
#[derive(Debug, Default)]
pub struct Attempts {
    tries: HashMap<Key, (u32, Instant)>,
    /// Clients of each network, in `tries`.
    of_network: HashMap<IpAddr, usize>,
    swept: Option<Instant>,
    hasher: RandomState,
}

impl Attempts {
    /// How long a client must wait; none if it may try a password of this name, or without a name a token.
    pub fn wait(
        &self,
        client: Option<IpAddr>,
        name: Option<&str>,
        now: Instant,
    ) -> Option<Duration> {
        let (tries, begun) = self.tries.get(&self.key(client, name))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(*begun))?;
        (*tries >= TRIES && !left.is_zero()).then_some(left)
    }

    /// Counts a wrong try. Returns how long the client must wait, if that begins with this one.
    pub fn failed(
        &mut self,
        client: Option<IpAddr>,
        name: Option<&str>,
        now: Instant,
    ) -> Option<Duration> {
        let is_over = |begun: Instant| now.saturating_duration_since(begun) >= WINDOW;
        // Not for each try: there may be tens of thousands.
        if self.swept.is_none_or(|at| now.saturating_duration_since(at) >= SWEEP) {
            self.swept = Some(now);
            self.tries.retain(|_, (_, begun)| !is_over(*begun));
            self.of_network.clear();
            for key in self.tries.keys() {
                if let Key::Client(ip) = key {
                    *self.of_network.entry(network_of(*ip)).or_default() += 1;
                }
            }
        }
        let key = self.key(client, name);
        let (tries, begun) = self.tries.entry(key).or_insert_with(|| {
            if let Key::Client(ip) = key {
                *self.of_network.entry(network_of(ip)).or_default() += 1;
            }
            (0, now)
        });
        if is_over(*begun) {
            (*tries, *begun) = (0, now);
        }
        *tries += 1;
        (*tries == TRIES).then(|| WINDOW.saturating_sub(now.saturating_duration_since(*begun)))
    }

    fn key(&self, client: Option<IpAddr>, name: Option<&str>) -> Key {
        let shared =
            |place: Option<IpAddr>| Key::Shared(self.hasher.hash_one((place, name)) % SHARED);
        let Some(ip) = client.map(|ip| ip.to_canonical()) else { return shared(None) };
        let network = network_of(ip);
        let of_network = self.of_network.get(&network).copied().unwrap_or_default();
        let has_place = self.tries.len() < CLIENTS && of_network < OF_NETWORK;
        match has_place || self.tries.contains_key(&Key::Client(ip)) {
            true => Key::Client(ip),
            false => shared(Some(network)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn tries_are_limited_for_each_client() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let [one, neighbour] = ["2001:db8::1", "2001:db8::2"].map(client);
        for number in 1..=TRIES {
            assert_eq!(attempts.wait(one, Some("alice"), now), None);
            let lock = attempts.failed(one, Some("bob"), now);
            assert_eq!(lock, (number == TRIES).then_some(WINDOW));
        }
        assert_eq!(attempts.failed(one, None, now), None, "it began before");
        let wait = attempts.wait(one, Some("alice"), now + Duration::from_secs(100));
        assert_eq!(wait, Some(Duration::from_secs(200)));
        assert_eq!(attempts.wait(neighbour, Some("bob"), now), None, "a neighbour is not kept out");
        assert_eq!(attempts.wait(None, Some("bob"), now), None);
        let later = now + WINDOW;
        assert_eq!(attempts.wait(one, Some("alice"), later), None);
        attempts.failed(client("192.0.2.1"), Some("alice"), later);
        assert_eq!(attempts.tries.len(), 1, "the old ones are forgotten");
    }

    /// A host with any number of addresses has a limit, and keeps out no user but the one whose name it tries.
    #[test]
    fn a_host_with_many_addresses() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let neighbour = client("2001:db8::1");
        attempts.failed(neighbour, Some("carol"), now);
        let mut tries = 0;
        for number in 0..1000 {
            let own = client(&format!("2001:db8::1:{number:x}"));
            while attempts.wait(own, Some("alice"), now).is_none() {
                attempts.failed(own, Some("alice"), now);
                tries += 1;
            }
        }
        assert_eq!(tries, OF_NETWORK as u32 * TRIES);
        assert_eq!(attempts.wait(neighbour, Some("alice"), now), None);
        let new = client("2001:db8::2");
        assert!(attempts.wait(new, Some("alice"), now).is_some());
        let others = ["bob", "carol", "dave"].map(|name| attempts.wait(new, Some(name), now));
        assert!(others.contains(&None), "each shares its group of names with few");
        assert_eq!(attempts.wait(client("2001:db8:0:1::1"), Some("alice"), now), None);
        assert_eq!(attempts.tries.len(), OF_NETWORK + 1);
    }

    /// Behind a proxy that names no clients, a stranger who tries one name, or any number of tokens, locks no other user out.
    #[test]
    fn a_shared_place_locks_one_user() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for _ in 0..10 * TRIES {
            attempts.failed(None, Some("alice"), now);
            attempts.failed(None, None, now);
        }
        assert!(attempts.wait(None, Some("alice"), now).is_some());
        assert!(attempts.wait(None, None, now).is_some());
        let others = ["bob", "carol", "dave"].map(|name| attempts.wait(None, Some(name), now));
        assert!(others.contains(&None), "each shares its group of names with few");
        assert_eq!(attempts.wait(Some([192, 0, 2, 1].into()), Some("alice"), now), None);
    }

    /// A stranger with any number of networks fills the table; others are limited each by itself nevertheless.
    #[test]
    fn a_full_table() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..CLIENTS as u32 + 50 {
            attempts.failed(Some(IpAddr::from(number.to_be_bytes())), Some("alice"), now);
        }
        let [stranger, other] = ["2001:db8::9", "198.51.100.1"].map(client);
        for _ in 0..TRIES {
            attempts.failed(stranger, Some("alice"), now);
        }
        assert!(attempts.wait(stranger, Some("alice"), now).is_some());
        // One of ten may share its place with the stranger by chance.
        let others = (0..10u8).map(|number| IpAddr::from([198, 51, 100, number]));
        let free = others.filter(|ip| attempts.wait(Some(*ip), Some("alice"), now).is_none());
        assert!(free.count() >= 5);
        for number in 0..2 * SHARED {
            attempts.failed(other, Some(&number.to_string()), now);
        }
        assert!(attempts.tries.len() <= CLIENTS + SHARED as usize, "the memory is bounded");
        attempts.failed(other, None, now + WINDOW);
        assert_eq!((attempts.tries.len(), attempts.of_network.len()), (1, 1));
    }
}
