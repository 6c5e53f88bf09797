//! What pages call a network: its name in the file of names, and what distinguishes it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aw_output::names::LiveNames;
use aw_query::Cell;
use aw_service::plain;

use crate::network::NetworkId;

static NAMES: OnceLock<LiveNames> = OnceLock::new();
/// The host of all networks of the history, if it is one: it need not be in each label.
static ONLY_HOST: Mutex<Option<String>> = Mutex::new(None);

/// Sets the file of names.
pub fn read_from(names: &LiveNames) {
    let _ = NAMES.set(names.clone());
}

/// Notes the networks of the history.
pub fn set_known(networks: &[Arc<NetworkId>], is_complete: bool) {
    let host = only_host(networks).filter(|_| is_complete);
    *ONLY_HOST.lock().unwrap_or_else(PoisonError::into_inner) = host;
}

fn only_host(networks: &[Arc<NetworkId>]) -> Option<String> {
    let host = text(networks.first()?, "host");
    networks.iter().all(|one| text(one, "host") == host).then_some(host)
}

/// The name of a network, if it has one.
pub fn name(network: &NetworkId) -> Option<String> {
    let names = NAMES.get()?.networks();
    let [host, ring] = ["host", "ring"].map(|column| text(network, column));
    names.of(&host, &ring, &network.local_place()).map(plain)
}

/// What a page calls a network: `guests (eth0, VLAN 30, of sensor)`, without the host if there is one only.
pub fn label(network: &NetworkId) -> String {
    let only = ONLY_HOST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    with(network, name(network), only.is_none_or(|host| host != text(network, "host")))
}

/// The same with the host in any case: in what is copied as evidence.
pub fn full(network: &NetworkId) -> String {
    with(network, name(network), true)
}

fn with(network: &NetworkId, name: Option<String>, has_host: bool) -> String {
    let columns = [
        ("", "interface"),
        ("VLAN ", "vlan"),
        ("in VLAN ", "outer_vlan"),
        ("router ", "router"),
        ("of ", "host"),
    ];
    let shown = columns.into_iter().filter(|(_, column)| has_host || *column != "host");
    let parts = shown.map(|(word, column)| (word, text(network, column)));
    let parts = parts.filter(|(_, value)| !value.is_empty());
    let parts: Vec<_> = parts.map(|(word, value)| format!("{word}{}", plain(&value))).collect();
    match (name, &*parts.join(", ")) {
        (None, "") => "no network is known".into(),
        (None, label) => label.into(),
        (Some(name), label) => format!("{name} ({label})"),
    }
}

fn text(network: &NetworkId, column: &str) -> String {
    match network.cell(column) {
        Cell::Text(text) => text,
        Cell::Number(number @ 1..) => number.to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let id = |text: &str| NetworkId::parse(text).unwrap();
        let guests = id("interface=eth0%1b&vlan=30&host=sensor&ring=/addrwatch");
        for (name, has_host, label) in [
            (None, true, "eth0?, VLAN 30, of sensor"),
            (None, false, "eth0?, VLAN 30"),
            (Some("guests"), false, "guests (eth0?, VLAN 30)"),
            (Some("guests"), true, "guests (eth0?, VLAN 30, of sensor)"),
        ] {
            assert_eq!(with(&guests, name.map(String::from), has_host), label);
        }
        assert_eq!(with(&id("ring=/addrwatch"), None, false), "no network is known");
    }

    #[test]
    fn one_host() {
        let of = |host: &&str| {
            Arc::new(NetworkId::parse(&format!("interface=eth0&host={host}")).unwrap())
        };
        for (hosts, only) in [(&["a", "a"][..], Some("a")), (&["a", "b"], None), (&[], None)] {
            let all: Vec<_> = hosts.iter().map(of).collect();
            assert_eq!(only_host(&all).as_deref(), only, "{hosts:?}");
        }
    }
}
