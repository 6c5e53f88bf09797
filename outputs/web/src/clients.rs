//! The connections that are open: how many each client has, and which one is closed for a new one. No I/O and no clock.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Connections at once.
const CONNECTIONS: usize = 512;
/// Those of one address, and of one network, that answer no user: of more, the oldest one is closed. The loopback has no limit.
pub const OF_ONE: usize = 64;
pub const OF_NETWORK: usize = 96;
/// Answers at once to a user with a name, and to all who have the token: fewer than connections.
const OF_USER: usize = 64;
const OF_TOKEN: usize = 384;
/// Addresses that are remembered because a user was answered there: their connections are closed last.
const KNOWN: usize = 1024;
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
    /// Answers to each user.
    of_user: HashMap<String, usize>,
    /// The addresses at which users were answered; the last one is the latest.
    known: VecDeque<IpAddr>,
}

/// Of what there were too many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    Client,
    Network,
    All,
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

    fn network(&self) -> Option<IpAddr> {
        self.client.map(network_of)
    }
}

impl Connections {
    fn idle(&self) -> impl Iterator<Item = (&u64, &Open)> {
        self.all.iter().filter(|(_, one)| one.is_idle())
    }

    /// Closes one of these that answers no user: of the network that has most such ones, which no user with few connections is; there
    /// one of an address without a user; and of these the oldest. Returns false if all answer users.
    fn close_one(&mut self, is_one: impl Fn(&Open) -> bool) -> bool {
        let mut of_network: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for (_, one) in self.idle() {
            *of_network.entry(one.network()).or_default() += 1;
        }
        let is_known = |one: &Open| one.client.is_some_and(|ip| self.known.contains(&ip));
        let of_these = self.idle().filter(|(_, one)| is_one(one));
        let rank = |one: &Open| (Reverse(of_network[&one.network()]), is_known(one));
        let Some((&number, _)) = of_these.min_by_key(|(_, one)| rank(one)) else { return false };
        if let Some(one) = self.all.get_mut(&number) {
            one.closes = true;
            one.close.notify_one();
        }
        true
    }

    /// Remembers that a user is answered at this address.
    fn knows(&mut self, client: IpAddr) {
        if self.known.back() == Some(&client) {
            return;
        }
        self.known.retain(|known| *known != client);
        if self.known.len() >= KNOWN {
            self.known.pop_front();
        }
        self.known.push_back(client);
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

    /// None if all connections answer users, or are being closed. If this client, its network or all have too many, one of these that
    /// answers no user is closed. Programs of this machine, and those of a socket, are not distinguished.
    pub fn enter(&self, client: Option<IpAddr>) -> Option<(Guest, Option<TooMany>)> {
        let client = client.map(|ip| ip.to_canonical());
        let network = client.map(network_of);
        let mut all = self.all();
        if all.all.len() >= MOST_CLOSING {
            return None;
        }
        let of_client = |one: &Open| one.client == client;
        let of_network = |one: &Open| one.network() == network;
        let mut too_many = None;
        if client.is_some_and(|ip| !ip.is_loopback()) {
            too_many = match () {
                () if all.idle().filter(|(_, one)| of_client(one)).count() >= OF_ONE => {
                    all.close_one(of_client).then_some(TooMany::Client)
                }
                () if all.idle().filter(|(_, one)| of_network(one)).count() >= OF_NETWORK => {
                    all.close_one(of_network).then_some(TooMany::Network)
                }
                () => None,
            };
        }
        if all.all.values().filter(|one| !one.closes).count() >= CONNECTIONS {
            if !all.close_one(|_| true) {
                return None;
            }
            too_many = Some(TooMany::All);
        }
        let (number, close) = (all.next, Arc::new(Notify::new()));
        all.next += 1;
        let open = Open { client, answers: 0, closes: false, close: Arc::clone(&close) };
        all.all.insert(number, open);
        drop(all);
        Some((Guest(Arc::new(Entry { clients: self.clone(), number, close })), too_many))
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

    /// A user with this name, or one who has the token, is being answered, until the result is dropped. None: there are too many
    /// answers to this user at once, so that others have connections, too.
    pub fn answers(&self, user: Option<&str>) -> Option<Answering> {
        let (user, most) = user.map_or(("", OF_TOKEN), |name| (name, OF_USER));
        let mut all = self.0.clients.all();
        let count = all.of_user.entry(user.into()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        let open = all.all.get_mut(&self.0.number);
        let client = open.and_then(|open| {
            open.answers += 1;
            open.client
        });
        client.into_iter().for_each(|ip| all.knows(ip));
        drop(all);
        Some(Answering { guest: self.clone(), user: user.into() })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.clients.all().all.remove(&self.number);
    }
}

/// An answer to a user.
pub struct Answering {
    guest: Guest,
    user: String,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let Entry { clients, number, .. } = &*self.guest.0;
        let mut all = clients.all();
        if let Some(open) = all.all.get_mut(number) {
            open.answers = open.answers.saturating_sub(1);
        }
        if let Some(count) = all.of_user.get_mut(&self.user) {
            *count -= 1;
        }
        all.of_user.retain(|_, count| *count > 0);
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
        let answers = user.answers(Some("ada")).unwrap();
        let neighbour = clients.enter(other).unwrap();
        let guests: Vec<_> = (0..OF_ONE).map(|_| clients.enter(one).unwrap()).collect();
        assert!(neighbour.1.is_none() && guests.iter().all(|(_, too_many)| too_many.is_none()));
        let (_more, too_many) = clients.enter(one).unwrap();
        assert_eq!(too_many, Some(TooMany::Client));
        let closes = |guest: &Guest| clients.all().all[&guest.0.number].closes;
        assert_eq!(
            [&guests[0].0, &guests[1].0, &user, &neighbour.0].map(closes),
            [true, false, false, false]
        );
        assert_eq!(staying(&clients, |ip| Some(ip) == one), OF_ONE + 1);
        let local: Vec<_> = (0..2 * OF_ONE).map(|_| clients.enter(own).unwrap()).collect();
        assert!(local.iter().all(|(_, too_many)| too_many.is_none()));
        drop((guests, local, answers, user, _more, neighbour));
        assert!(clients.all().all.is_empty(), "ended ones are forgotten");
    }

    /// A host has any number of addresses in its network, and all hosts of a LAN have one network.
    #[test]
    fn a_network_is_limited() {
        let clients = Clients::default();
        let from = |number: usize| client(&format!("2001:db8::{number:x}"));
        let users: Vec<_> = (0..200)
            .map(|one| {
                enter(&clients, from(one))
                    .map(|guest| (guest.answers(None).unwrap(), guest))
                    .unwrap()
            })
            .collect();
        let strangers: Vec<_> =
            (0..OF_NETWORK + 9).map(|one| clients.enter(from(1000 + one)).unwrap()).collect();
        let of_network = Some(TooMany::Network);
        assert_eq!(strangers.iter().filter(|(_, too_many)| *too_many == of_network).count(), 9);
        let in_network = |ip: IpAddr| network_of(ip) == client("2001:db8::").unwrap();
        assert_eq!(staying(&clients, in_network), users.len() + OF_NETWORK);
        let other = clients.enter(client("2001:db8:0:1::1"));
        assert_eq!(other.map(|(_, too_many)| too_many), Some(None));
        // A user comes again, to an address at which a user was answered; the stranger goes on.
        let user = enter(&clients, from(7)).unwrap();
        let _more: Vec<_> =
            (0..OF_NETWORK).map(|one| clients.enter(from(5000 + one)).unwrap()).collect();
        assert!(!clients.all().all[&user.0.number].closes);
    }

    /// Of too many, the oldest one that does nothing gives way; what is being answered does not.
    #[test]
    fn the_oldest_idle_one_is_closed() {
        let clients = Clients::default();
        let mut all: Vec<_> = (0..CONNECTIONS)
            .map(|at| {
                let guest = enter(&clients, None).unwrap();
                (guest.answers(Some(&(at % 8).to_string())).unwrap(), guest)
            })
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

    /// A stranger with any number of networks who goes on connecting closes its own connections, and those of no other network.
    #[test]
    fn many_networks_of_one() {
        let clients = Clients::default();
        let others = ["192.0.2.7", "127.0.0.1", "2001:db8:ffff::1"].map(client);
        let others: Vec<_> = others.into_iter().map(|ip| enter(&clients, ip).unwrap()).collect();
        let own = |number: usize| client(&format!("2001:db8:{:x}::{number:x}", number % 9));
        let mut strangers = VecDeque::new();
        for number in 1..4 * CONNECTIONS {
            let (guest, _) = clients.enter(own(number)).unwrap();
            strangers.push_back(guest);
            let closes = |guest: &Guest| clients.all().all[&guest.0.number].closes;
            assert!(!others.iter().any(closes), "{number}");
            strangers.retain(|guest| !closes(guest));
        }
        assert_eq!(others.len() + strangers.len(), CONNECTIONS);
    }

    /// A user with any number of connections leaves some for others.
    #[test]
    fn a_user_with_many_connections() {
        let clients = Clients::default();
        let mut all = Vec::new();
        for user in [Some("ada"), None] {
            let of_user = (0..CONNECTIONS).filter_map(|_| {
                let guest = enter(&clients, client("192.0.2.1"))?;
                Some((guest.answers(user), guest))
            });
            let of_user: Vec<_> = of_user.filter(|(answers, _)| answers.is_some()).collect();
            assert_eq!(of_user.len(), user.map_or(OF_TOKEN, |_| OF_USER));
            all.push(of_user);
        }
        let other = enter(&clients, client("192.0.2.1")).unwrap();
        assert!(other.answers(Some("grace")).is_some());
        drop(all);
        assert!(other.answers(Some("ada")).is_some());
        assert!(clients.all().of_user.is_empty(), "those without an answer are forgotten");
    }

    /// Those that are being closed are limited, too: else a client that is fast enough opens any number.
    #[test]
    fn descriptors_are_bounded() {
        let clients = Clients::default();
        let all: Vec<_> = (0..2 * CONNECTIONS).filter_map(|_| clients.enter(None)).collect();
        assert_eq!(all.len(), MOST_CLOSING);
    }
}
