//! The connections that are open: how many each client has, and which one is closed for a new one. No I/O and no clock.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Connections at once: of all clients, and of one that is not the loopback.
const CONNECTIONS: usize = 512;
const OF_ONE: usize = 64;
/// The same, with those that are being closed.
pub const MOST_CLOSING: usize = CONNECTIONS + 64;

/// What counts as one client: an IPv4 address, or a network of 2^64 IPv6 addresses, which every host has.
pub fn one_client(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
        ip => ip,
    }
}

/// The connections of all clients.
#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<Connections>>);

#[derive(Default)]
struct Connections {
    of_client: HashMap<IpAddr, usize>,
    /// By number: the oldest first.
    all: BTreeMap<u64, Open>,
    next: u64,
}

struct Open {
    client: Option<IpAddr>,
    /// Answers to users who are logged in, from the request until the client has all of it.
    answers: usize,
    closes: bool,
    close: Arc<Notify>,
}

/// A connection, until the last copy is dropped.
#[derive(Clone)]
pub struct Guest(Arc<Entry>);

struct Entry {
    clients: Clients,
    number: u64,
    close: Arc<Notify>,
}

impl Clients {
    fn all(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None if this client has too many, or if all are being answered. If there are too many in all, the oldest one that
    /// answers no user is closed. Programs of this machine, and those of a socket, are not distinguished.
    pub fn enter(&self, client: Option<IpAddr>) -> Option<Guest> {
        let client = client.map(one_client);
        let mut all = self.all();
        if let Some(ip) = client.filter(|ip| !ip.is_loopback())
            && all.of_client.get(&ip).is_some_and(|count| *count >= OF_ONE)
        {
            return None;
        }
        let closing = all.all.values().filter(|one| one.closes).count();
        if all.all.len() >= MOST_CLOSING {
            return None;
        }
        if all.all.len() - closing >= CONNECTIONS {
            let idle = |one: &&mut Open| one.answers == 0 && !one.closes;
            let oldest = all.all.values_mut().find(idle)?;
            oldest.closes = true;
            oldest.close.notify_one();
        }
        if let Some(ip) = client {
            *all.of_client.entry(ip).or_default() += 1;
        }
        let (number, close) = (all.next, Arc::new(Notify::new()));
        all.next += 1;
        let open = Open { client, answers: 0, closes: false, close: Arc::clone(&close) };
        all.all.insert(number, open);
        drop(all);
        Some(Guest(Arc::new(Entry { clients: self.clone(), number, close })))
    }
}

impl Guest {
    /// Does this until it is complete, or the connection has to be closed for another one.
    pub async fn until_closed(self, work: impl Future<Output = ()>) {
        tokio::select! {
            () = work => {}
            () = self.0.close.notified() => {}
        }
    }

    /// A user is being answered, until the result is dropped.
    pub fn answers(&self) -> Answering {
        self.count(1);
        Answering(self.clone())
    }

    fn count(&self, more: isize) {
        if let Some(open) = self.0.clients.all().all.get_mut(&self.0.number) {
            open.answers = open.answers.saturating_add_signed(more);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut all = self.clients.all();
        let Some(Open { client: Some(client), .. }) = all.all.remove(&self.number) else { return };
        if let Some(count) = all.of_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                all.of_client.remove(&client);
            }
        }
    }
}

/// An answer to a user.
pub struct Answering(Guest);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.count(-1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn connections_of_one_client_are_limited() {
        let clients = Clients::default();
        let [one, other, own] = ["192.0.2.1", "192.0.2.2", "127.0.0.1"].map(client);
        let guests: Vec<_> = (0..OF_ONE).map(|_| clients.enter(one).unwrap()).collect();
        assert!(clients.enter(one).is_none());
        assert!(clients.enter(other).is_some());
        let local: Vec<_> = (0..2 * OF_ONE).map(|_| clients.enter(own)).collect();
        assert!(local.iter().all(Option::is_some));
        drop(guests);
        assert!(clients.enter(one).is_some());
        drop(local);
        let all = clients.all();
        assert!(all.of_client.is_empty() && all.all.is_empty(), "ended ones are forgotten");
    }

    /// A host has any number of addresses in its network.
    #[test]
    fn a_network_is_one_client() {
        let clients = Clients::default();
        let from = |number: usize| client(&format!("2001:db8::{number:x}"));
        let guests: Vec<_> = (0..CONNECTIONS).filter_map(|one| clients.enter(from(one))).collect();
        assert_eq!(guests.len(), OF_ONE);
        assert!(clients.enter(client("2001:db8:0:1::1")).is_some(), "another network");
    }

    /// Of too many, the oldest one that does nothing gives way; what is being answered does not.
    #[test]
    fn the_oldest_idle_one_is_closed() {
        let clients = Clients::default();
        let mut all: Vec<_> = (0..CONNECTIONS)
            .map(|_| clients.enter(None).map(|guest| (guest.answers(), guest)).unwrap())
            .collect();
        assert!(clients.enter(None).is_none(), "all are being answered");
        let idle = [5, 9].map(|at| all[at].1.clone());
        let closes = |at: usize| clients.all().all[&(idle[at].0.number)].closes;
        for (answer, guest) in [all.remove(9), all.remove(5)] {
            drop((answer, guest));
        }
        let first = clients.enter(None).unwrap();
        assert_eq!([closes(0), closes(1)], [true, false]);
        let second = clients.enter(None).unwrap();
        assert_eq!([closes(0), closes(1)], [true, true]);
        let third = clients.enter(None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for guest in [idle[0].clone(), idle[1].clone(), first] {
                guest.until_closed(std::future::pending()).await;
            }
            second.until_closed(async {}).await;
        });
        drop((third, idle));
    }

    /// Those that are being closed are limited, too: else a client that is fast enough opens any number.
    #[test]
    fn descriptors_are_bounded() {
        let clients = Clients::default();
        let all: Vec<_> = (0..2 * CONNECTIONS).filter_map(|_| clients.enter(None)).collect();
        assert_eq!(all.len(), MOST_CLOSING);
    }
}
