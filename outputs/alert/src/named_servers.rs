//! The routers and servers that the configuration names: an address, an address with its MACs, a block, or a DUID.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use aw_detect::{MAX_MACS, NamedServer, Rules};
use aw_service::parse_network;
use serde::Deserialize;
use shm_layout::MacAddr;

/// Routers or DNS servers: an address, an address and its MACs, or a block of addresses.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct NamedAddress(pub NamedServer);

impl TryFrom<String> for NamedAddress {
    type Error = String;
    fn try_from(text: String) -> Result<NamedAddress, String> {
        addresses(&text).map(NamedAddress)
    }
}

/// DHCP servers: the same, or the DUID of one.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerValue(pub NamedServer);

impl TryFrom<String> for ServerValue {
    type Error = String;
    fn try_from(text: String) -> Result<ServerValue, String> {
        let Some(duid) = text.strip_prefix("DUID ") else {
            let has_mac = text.split_whitespace().nth(1).is_some();
            let fault = |why: String| match has_mac {
                true => why,
                false => format!("{why}, or a DUID such as \"DUID 00030001020000000001\""),
            };
            return addresses(&text).map(ServerValue).map_err(fault);
        };
        let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (first, rest) = duid.split_once(' ').unwrap_or((duid, ""));
        if is_hex(first) && rest.parse::<MacAddr>().is_ok() {
            return Err(format!(
                "{text:?}: a MAC address stands beside an IP address only, because messages that carry a DUID have no MAC address to compare (write \"DUID {first}\")"
            ));
        }
        match duid.len() > 4 && is_hex(duid) {
            true => Ok(ServerValue(NamedServer::Duid(duid.to_ascii_lowercase()))),
            false => Err(format!(
                "{text:?}: a DUID has hexadecimal digits only, as aw-stdout --names shows it"
            )),
        }
    }
}

fn addresses(text: &str) -> Result<NamedServer, String> {
    let Some((address, rest)) = text.trim().split_once(char::is_whitespace) else {
        return parse_network(text).map(NamedServer::Addresses);
    };
    let block = parse_network(address)?;
    let Some(ip) = NamedServer::Addresses(block).address() else {
        return Err(format!(
            "{text:?}: a MAC address stands beside a single address, not beside a block (write each address with its MAC address: \"192.0.2.1 00:08:e1:00:00:01\")"
        ));
    };
    let mut macs: Vec<MacAddr> = Vec::new();
    for word in rest.split_whitespace() {
        let mac = word.parse::<MacAddr>().map_err(|why| {
            format!("{text:?}: {why} (write \"{ip} MAC\", with a space between several MACs)")
        })?;
        if [MacAddr::BROADCAST, MacAddr::ZERO].contains(&mac) {
            return Err(format!("{text:?}: no host has the MAC {mac} (write that of {ip})"));
        }
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    match macs.len() {
        0 => Ok(NamedServer::Addresses(block)),
        1..=MAX_MACS => Ok(NamedServer::Owned(ip, macs)),
        number => Err(format!(
            "{text:?}: {number} MACs, at most {MAX_MACS} for an address (name the others in [[failover]])"
        )),
    }
}

/// That no address has other MACs in one place than in another: one of them is wrong.
pub fn with_one_owner(rules: &Rules) -> Result<(), String> {
    let mut seen: BTreeMap<IpAddr, (&str, BTreeSet<&MacAddr>)> = BTreeMap::new();
    for (key, list) in rules.named_lists() {
        for one in list.iter().filter(|one| !one.macs().is_empty()) {
            let Some(ip) = one.address() else { continue };
            let macs: BTreeSet<_> = one.macs().iter().collect();
            let (first, others) = seen.entry(ip).or_insert_with(|| (key, macs.clone()));
            if *others != macs {
                return Err(format!(
                    "{key}: {ip} has other MACs here than in {first} (write the same ones in both places, or in one only)"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use aw_detect::Dialect;

    fn rules(text: &str) -> Result<aw_detect::Rules, String> {
        Config::parse(text)?.rules(Dialect::Devices)
    }

    #[test]
    fn macs_beside_an_address() {
        for key in ["routers", "dhcp_servers", "dns_servers"] {
            let text = format!(
                "{key} = [\"192.0.2.1 0:8:e1:0:0:1  00:08:E1:00:00:02 0:8:e1:0:0:1\", \"fe80::1 00:08:e1:00:00:03\", \"192.0.2.9\"]"
            );
            let rules = rules(&text).unwrap();
            let lists = rules.named_lists();
            let (_, list) = lists.iter().find(|(name, _)| *name == key).unwrap();
            let shown: Vec<_> = list.iter().map(ToString::to_string).collect();
            let both = "192.0.2.1 00:08:e1:00:00:01 00:08:e1:00:00:02";
            assert_eq!(shown, [both, "fe80::1 00:08:e1:00:00:03", "192.0.2.9"]);
            assert!(rules.guards([192, 0, 2, 1].into()) && rules.guards([192, 0, 2, 9].into()));
        }
    }

    /// The same address in two lists has the same MACs, or has them in one.
    #[test]
    fn two_owners_of_an_address() {
        let with = |server: &str| {
            rules(&format!(
                "routers = [\"192.0.2.1 0:8:e1:0:0:1 0:8:e1:0:0:2\"]\ndhcp_servers = [\"192.0.2.1{server}\"]"
            ))
        };
        assert!(with("").is_ok() && with(" 0:8:e1:0:0:2 0:8:e1:0:0:1").is_ok());
        let error = with(" 0:8:e1:0:0:2").unwrap_err();
        let why = "dhcp_servers: 192.0.2.1 has other MACs here than in routers (write the same ones in both places, or in one only)";
        assert_eq!(error, why);
    }

    /// Each line that a message proposes: aw-alert starts with it, and the other MAC is the address's own if it is in the line.
    #[test]
    fn what_a_message_says_to_write_is_valid() {
        const OTHER: &str = "00:08:e1:00:00:09";
        let (a, pair) = ("192.0.2.1 0:8:e1:0:0:1", "192.0.2.1 0:8:e1:0:0:2 0:8:e1:0:0:1");
        let ip = [192, 0, 2, 1].into();
        for lists in [
            [&[a][..], &[a], &[]],
            [&[a, "fe80::1"], &[], &["192.0.2.1"]],
            [&[], &["192.0.2.1", a], &["192.0.2.9", a, a]],
            [&[pair], &["192.0.2.1 0:8:e1:0:0:1 0:8:e1:0:0:2"], &[]],
            [&["192.0.2.1"], &["192.0.2.0/24"], &[]],
        ] {
            let keys = ["routers", "dhcp_servers", "dns_servers"];
            let text = |lists: &[String]| lists.join("\n");
            let before = [0, 1, 2].map(|at| format!("{} = {:?}", keys[at], lists[at]));
            let named = rules(&text(&before)).unwrap();
            for (key, list) in named.named_lists() {
                for new in ["192.0.2.1".to_owned(), format!("192.0.2.1 {OTHER}")] {
                    let said = named.to_add_compared(key, list, &new);
                    let condition = "if the MAC is on its label, ";
                    let line = said.strip_prefix(condition).unwrap_or(&said);
                    let (what, _) = line.split_once(" in the configuration ").unwrap();
                    let mut after = before.clone();
                    let at = |key| keys.iter().position(|of| *of == key).unwrap();
                    if let Some(line) = what.strip_prefix("write ") {
                        after[at(key)] = line.to_owned();
                    } else {
                        let what = what.strip_prefix("change 192.0.2.1 in ").unwrap();
                        let (all, entry) = what.split_once(" to ").unwrap();
                        for key in all.split(" and ") {
                            let others = lists[at(key)].iter();
                            let others = others.filter(|one| !one.starts_with("192.0.2.1"));
                            let others: String = others.map(|one| format!("{one:?}, ")).collect();
                            after[at(key)] = format!("{key} = [{others}{entry}]");
                        }
                    }
                    let changed =
                        rules(&text(&after)).unwrap_or_else(|why| panic!("{said}: {why}"));
                    assert!(
                        named.owners(ip).iter().all(|own| changed.is_owner(ip, *own)),
                        "{said}"
                    );
                    assert!(changed.named_lists().iter().any(|(of, list)| {
                        *of == key && list.iter().any(|one| one.address() == Some(ip))
                    }));
                    let has_other = changed.is_owner(ip, OTHER.parse().unwrap());
                    assert_eq!(has_other, what.contains(OTHER), "{said}");
                    assert_eq!(has_other, said.starts_with(condition), "{said}");
                }
            }
        }
    }

    /// An address has 16 MACs at most; another one is its own in a group with the first one.
    #[test]
    fn a_seventeenth_mac() {
        const OTHER: &str = "00:08:e1:00:00:99";
        let ip = [192, 0, 2, 1].into();
        for number in [15, 16] {
            let macs: String =
                (1..=number).map(|last| format!(" 00:08:e1:00:00:{last:02x}")).collect();
            let before = format!("routers = [\"192.0.2.1{macs}\"]\n");
            let named = rules(&before).unwrap();
            let said = named.to_add("routers", &named.routers, &format!("192.0.2.1 {OTHER}"));
            let (what, _) = said.split_once(" in the configuration ").unwrap();
            let after = match what.strip_prefix("add [[failover]] with ") {
                Some(group) => format!("{before}[[failover]]\n{group}"),
                None => format!("routers = [{}]", what.split_once(" to ").unwrap().1),
            };
            assert_eq!(number == 16, after.contains("failover"), "{said}");
            let changed = rules(&after).unwrap_or_else(|why| panic!("{said}: {why}"));
            assert!(changed.is_owner(ip, OTHER.parse().unwrap()), "{said}");
        }
    }

    /// Operation, object, cause and remedy.
    #[test]
    fn what_has_no_mac() {
        for (value, why) in [
            (
                "192.0.2.0/24 00:08:e1:00:00:01",
                "a MAC address stands beside a single address, not beside a block (write each address with its MAC address: \"192.0.2.1 00:08:e1:00:00:01\")",
            ),
            (
                "DUID 00030001020000000001 00:08:e1:00:00:01",
                "a MAC address stands beside an IP address only, because messages that carry a DUID have no MAC address to compare (write \"DUID 00030001020000000001\")",
            ),
            ("192.0.2.1 router", "(write \"192.0.2.1 MAC\", with a space between several MACs)"),
            (
                "192.0.2.1 ff:ff:ff:ff:ff:ff",
                "no host has the MAC ff:ff:ff:ff:ff:ff (write that of 192.0.2.1)",
            ),
            ("DUID xyz", "a DUID has hexadecimal digits only"),
        ] {
            let error = rules(&format!("\ndhcp_servers = [\"{value}\"]")).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(why), "{value}: {error}");
            assert!(error.contains(value.split(' ').next().unwrap()), "{value}: {error}");
        }
        let block = rules("routers = [\"192.0.2.0/32 00:08:e1:00:00:01\"]").unwrap();
        assert_eq!(block.routers[0].to_string(), "192.0.2.0 00:08:e1:00:00:01");
    }
}
