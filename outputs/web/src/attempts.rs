//! Limits wrong passwords and tokens. No I/O and no clock.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::clients::one_client;

/// So many wrong tries of one client within this time, and then none for the rest of it.
const TRIES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(300);
/// Clients that are remembered. Beyond it, all others count as one.
const CLIENTS: usize = 10_000;

/// Names that are distinguished where many clients share one place: known ones and others are in it alike.
const NAMES: u64 = 1024;

/// Whose tries are counted together: those of a client; or where many share one place, such as the socket of a reverse proxy
/// that does not name its clients, those for one of so many groups of names, or for the token. So a client there that tries one
/// name keeps no other user out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Client(IpAddr),
    Name(u64),
    Token,
}

/// The wrong tries of each client.
#[derive(Debug, Default)]
pub struct Attempts {
    tries: HashMap<Key, (u32, Instant)>,
    names: RandomState,
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
        self.tries.retain(|_, (_, begun)| now.saturating_duration_since(*begun) < WINDOW);
        let key = self.key(client, name);
        let (tries, begun) = self.tries.entry(key).or_insert((0, now));
        *tries += 1;
        (*tries == TRIES).then(|| WINDOW.saturating_sub(now.saturating_duration_since(*begun)))
    }

    fn key(&self, client: Option<IpAddr>, name: Option<&str>) -> Key {
        let known = |key: &Key| self.tries.len() < CLIENTS || self.tries.contains_key(key);
        let client = client.map(one_client).map(Key::Client).filter(known);
        let of_name = |name: &str| Key::Name(self.names.hash_one(name) % NAMES);
        client.unwrap_or_else(|| name.map_or(Key::Token, of_name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_limited_for_each_client() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        let client = |text: &str| Some(text.parse().unwrap());
        for number in 1..=TRIES {
            assert_eq!(attempts.wait(client("2001:db8::1"), Some("alice"), now), None);
            let lock = attempts.failed(client("2001:db8::2"), Some("bob"), now);
            assert_eq!(lock, (number == TRIES).then_some(WINDOW));
        }
        assert_eq!(attempts.failed(client("2001:db8::2"), None, now), None, "it began before");
        let wait =
            attempts.wait(client("2001:db8::3"), Some("alice"), now + Duration::from_secs(100));
        assert_eq!(wait, Some(Duration::from_secs(200)));
        assert_eq!(attempts.wait(client("2001:db8:0:1::3"), Some("bob"), now), None);
        assert_eq!(attempts.wait(None, Some("bob"), now), None);
        let later = now + WINDOW;
        assert_eq!(attempts.wait(client("2001:db8::1"), Some("alice"), later), None);
        attempts.failed(client("192.0.2.1"), Some("alice"), later);
        assert_eq!(attempts.tries.len(), 1, "the old ones are forgotten");
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

    #[test]
    fn the_memory_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..CLIENTS as u32 + 50 {
            attempts.failed(Some(IpAddr::from(number.to_be_bytes())), Some("alice"), now);
        }
        assert_eq!(attempts.tries.len(), CLIENTS + 1);
        let unknown = Some(IpAddr::from([9, 9, 9, 9]));
        assert!(attempts.wait(unknown, Some("alice"), now).is_some(), "all others are one client");
    }
}
