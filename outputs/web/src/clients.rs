//! The connections that are open: how many each client has, and which one is closed for a new one. No I/O and no clock.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Connections at once.
const CONNECTIONS: usize = 512;
/// Those of one address, and of one network, that answer no user: of more, the oldest one is closed. The loopback has no limit.
pub const OF_ONE: usize = 64;
const OF_NETWORK: usize = 256;
/// All, with those that are being closed.
pub const MOST_CLOSING: usize = CONNECTIONS + 64;

/// The network of an address of which each host may have any number: an IPv4 address, or a network of 2^64 IPv6 addresses.
pub fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::from((u128::from(ip) >> 64 << 64).to_be_bytes()),
        ip => ip,
    }
}

/// The connections of all clients, by number: the oldest first.
#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<Connections>>);

#[derive(Default)]
struct Connections {
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

impl Open {
    fn is_idle(&self) -> bool {
        self.answers == 0 && !self.closes
    }
}

impl Connections {
    /// Closes the oldest one of these that answers no user. Returns false if all do.
    fn close_oldest(&mut self, is_one: impl Fn(&Open) -> bool) -> bool {
        let oldest = self.all.values_mut().find(|one| one.is_idle() && is_one(one));
        let Some(oldest) = oldest else { return false };
        oldest.closes = true;
        oldest.close.notify_one();
        true
    }
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

    /// None if all connections answer users, or are being closed. If this client, its network or all have too many, the oldest one
    /// of these that answers no user is closed; true: so it was for the client or its network. Programs of this machine, and those
    /// of a socket, are not distinguished.
    pub fn enter(&self, client: Option<IpAddr>) -> Option<(Guest, bool)> {
        let client = client.map(|ip| ip.to_canonical());
        let network = client.map(network_of);
        let mut all = self.all();
        if all.all.len() >= MOST_CLOSING {
            return None;
        }
        let of_client = |one: &Open| one.client == client;
        let of_network = |one: &Open| one.client.map(network_of) == network;
        let mut has_too_many = false;
        if client.is_some_and(|ip| !ip.is_loopback()) {
            let idle = |is_one: &dyn Fn(&Open) -> bool| {
                all.all.values().filter(|one| one.is_idle() && is_one(one)).count()
            };
            has_too_many = match (idle(&of_client) >= OF_ONE, idle(&of_network) >= OF_NETWORK) {
                (true, _) => all.close_oldest(of_client),
                (false, true) => all.close_oldest(of_network),
                (false, false) => false,
            };
        }
        let staying = all.all.values().filter(|one| !one.closes).count();
        if staying >= CONNECTIONS && !all.close_oldest(|_| true) {
            return None;
        }
        let (number, close) = (all.next, Arc::new(Notify::new()));
        all.next += 1;
        let open = Open { client, answers: 0, closes: false, close: Arc::clone(&close) };
        all.all.insert(number, open);
        drop(all);
        Some((Guest(Arc::new(Entry { clients: self.clone(), number, close })), has_too_many))
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
        self.clients.all().all.remove(&self.number);
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

    fn enter(clients: &Clients, client: Option<IpAddr>) -> Option<Guest> {
        clients.enter(client).map(|(guest, _)| guest)
    }

    /// Those that stay.
    fn staying(clients: &Clients, of: impl Fn(IpAddr) -> bool) -> usize {
        let all = clients.all();
        all.all.values().filter(|one| !one.closes && one.client.is_some_and(&of)).count()
    }

    /// A stranger costs its neighbours no connection, and a user who is answered keeps it.
    #[test]
    fn connections_of_one_client_are_limited() {
        let clients = Clients::default();
        let [one, other, own] = ["192.0.2.1", "192.0.2.2", "127.0.0.1"].map(client);
        let (user, _) = clients.enter(one).unwrap();
        let answers = user.answers();
        let neighbour = clients.enter(other).unwrap();
        let guests: Vec<_> = (0..OF_ONE).map(|_| clients.enter(one).unwrap()).collect();
        assert!(!neighbour.1 && guests.iter().all(|(_, has_too_many)| !has_too_many));
        let (_more, has_too_many) = clients.enter(one).unwrap();
        assert!(has_too_many);
        let closes = |guest: &Guest| clients.all().all[&guest.0.number].closes;
        assert_eq!(
            [&guests[0].0, &guests[1].0, &user, &neighbour.0].map(closes),
            [true, false, false, false]
        );
        assert_eq!(staying(&clients, |ip| Some(ip) == one), OF_ONE + 1);
        let local: Vec<_> = (0..2 * OF_ONE).map(|_| clients.enter(own).unwrap()).collect();
        assert!(local.iter().all(|(_, has_too_many)| !has_too_many));
        drop((guests, local, answers, user, _more, neighbour));
        assert!(clients.all().all.is_empty(), "ended ones are forgotten");
    }

    /// A host has any number of addresses in its network, and all hosts of a LAN have one network.
    #[test]
    fn a_network_is_limited() {
        let clients = Clients::default();
        let from = |number: usize| client(&format!("2001:db8::{number:x}"));
        let users: Vec<_> = (0..200)
            .map(|one| enter(&clients, from(one)).map(|guest| (guest.answers(), guest)).unwrap())
            .collect();
        let strangers: Vec<_> =
            (0..OF_NETWORK + 9).map(|one| clients.enter(from(1000 + one)).unwrap()).collect();
        assert_eq!(strangers.iter().filter(|(_, has_too_many)| *has_too_many).count(), 9);
        let in_network = |ip: IpAddr| network_of(ip) == client("2001:db8::").unwrap();
        assert_eq!(staying(&clients, in_network), users.len() + OF_NETWORK);
        assert_eq!(
            clients.enter(client("2001:db8:0:1::1")).map(|(_, too_many)| too_many),
            Some(false)
        );
    }

    /// Of too many, the oldest one that does nothing gives way; what is being answered does not.
    #[test]
    fn the_oldest_idle_one_is_closed() {
        let clients = Clients::default();
        let mut all: Vec<_> = (0..CONNECTIONS)
            .map(|_| enter(&clients, None).map(|guest| (guest.answers(), guest)).unwrap())
            .collect();
        assert!(clients.enter(None).is_none(), "all are being answered");
        let idle = [5, 9].map(|at| all[at].1.clone());
        let closes = |at: usize| clients.all().all[&(idle[at].0.number)].closes;
        for (answer, guest) in [all.remove(9), all.remove(5)] {
            drop((answer, guest));
        }
        let first = enter(&clients, None).unwrap();
        assert_eq!([closes(0), closes(1)], [true, false]);
        let second = enter(&clients, None).unwrap();
        assert_eq!([closes(0), closes(1)], [true, true]);
        let third = enter(&clients, None).unwrap();
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
