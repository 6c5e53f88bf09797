//! Limits wrong passwords and tokens. No I/O and no clock.

use std::{
    collections::HashMap,
    net::IpAddr,
    time::{Duration, Instant},
};

/// So many wrong tries of one client within this time, and then none for the rest of it.
const TRIES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(300);
/// Clients that are remembered. Beyond it, all others count as one.
const CLIENTS: usize = 10_000;

/// The wrong tries of each client.
#[derive(Debug, Default)]
pub struct Attempts(HashMap<Option<IpAddr>, (u32, Instant)>);

impl Attempts {
    /// How long a client must wait; none if it may try. A network of 2^64 IPv6 addresses is one client.
    pub fn wait(&self, client: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let (tries, begun) = self.0.get(&self.key(client))?;
        let left = WINDOW.checked_sub(now.saturating_duration_since(*begun))?;
        (*tries >= TRIES && !left.is_zero()).then_some(left)
    }

    /// Counts a wrong try. Returns how long the client must wait, if that begins with this one.
    pub fn failed(&mut self, client: Option<IpAddr>, now: Instant) -> Option<Duration> {
        self.0.retain(|_, (_, begun)| now.saturating_duration_since(*begun) < WINDOW);
        let key = self.key(client);
        let (tries, begun) = self.0.entry(key).or_insert((0, now));
        *tries += 1;
        (*tries == TRIES).then(|| WINDOW.saturating_sub(now.saturating_duration_since(*begun)))
    }

    fn key(&self, client: Option<IpAddr>) -> Option<IpAddr> {
        let client = client.map(|ip| match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
            ip => ip,
        });
        client.filter(|ip| self.0.len() < CLIENTS || self.0.contains_key(&Some(*ip)))
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
            assert_eq!(attempts.wait(client("2001:db8::1"), now), None);
            let lock = attempts.failed(client("2001:db8::2"), now);
            assert_eq!(lock, (number == TRIES).then_some(WINDOW));
        }
        assert_eq!(attempts.failed(client("2001:db8::2"), now), None, "it began before");
        let wait = attempts.wait(client("2001:db8::3"), now + Duration::from_secs(100));
        assert_eq!(wait, Some(Duration::from_secs(200)));
        assert_eq!(attempts.wait(client("2001:db8:0:1::3"), now), None);
        assert_eq!(attempts.wait(None, now), None);
        let later = now + WINDOW;
        assert_eq!(attempts.wait(client("2001:db8::1"), later), None);
        attempts.failed(client("192.0.2.1"), later);
        assert_eq!(attempts.0.len(), 1, "the old ones are forgotten");
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..CLIENTS as u32 + 50 {
            attempts.failed(Some(IpAddr::from(number.to_be_bytes())), now);
        }
        assert_eq!(attempts.0.len(), CLIENTS + 1);
        let unknown = Some(IpAddr::from([9, 9, 9, 9]));
        assert!(attempts.wait(unknown, now).is_some(), "all others are one client");
    }
}
