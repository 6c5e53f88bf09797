//! Names of networks, in the same file: a line `network eth0.30 guests`. A network is written as for `--network` of aw-query.

use std::collections::BTreeMap;

use aw_service::{plain, split_name_line};

use super::{SHOWN, clean};

/// The word that begins such a line.
const WORD: &str = "network";
/// Names of networks, at most.
const MAX_NETWORKS: usize = 16_384;
/// Characters of a network, at most: a host, a ring, an interface and two VLANs are less.
const MAX_NETWORK: usize = 400;
const FORM: &str = "write network eth0.30 NAME, with the interface and the VLAN, or network *.30 NAME for VLAN 30 of all interfaces";

/// Names of networks: `eth0`, `eth0.30`, `eth0@192.0.2.1`, `site-a/eth0.30`, or with the host, too; `*.30` is VLAN 30 of each
/// interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkNames(BTreeMap<String, String>);

impl NetworkNames {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no network has a name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of a network, such as `eth0.30`, of a ring and a host. One with ring or host comes first, and `*` last.
    pub fn of(&self, host: &str, ring: &str, network: &str) -> Option<&str> {
        if self.is_empty() {
            return None;
        }
        let ring = ring.trim_start_matches('/');
        let places =
            [format!("{}/{ring}/", host.replace('/', "_")), format!("{ring}/"), String::new()];
        let end = network.find('@').unwrap_or(network.len());
        let vlans = network[..end].find('.').map(|at| format!("*{}", &network[at..end]));
        let all = [Some(network), vlans.as_deref()].into_iter().flatten();
        let mut all =
            all.flat_map(|network| places.iter().map(move |place| format!("{place}{network}")));
        all.find_map(|network| self.0.get(&network)).map(String::as_str)
    }

    /// Adds a name; of two of one network, the last one counts.
    pub(super) fn add(&mut self, network: String, name: String) -> Result<(), String> {
        if self.0.len() >= MAX_NETWORKS && !self.0.contains_key(&network) {
            return Err(format!("there are more than {MAX_NETWORKS} names of networks"));
        }
        self.0.insert(network, name);
        Ok(())
    }
}

/// Reads a line that names a network; none if it is another one.
pub fn network_line(line: &str) -> Option<Result<(String, String), String>> {
    let (word, _) = split_name_line(line)?;
    let is_vlan = word.eq_ignore_ascii_case("vlan");
    if !is_vlan && !word.eq_ignore_ascii_case(WORD) {
        return None;
    }
    let rest = &line.trim_start()[word.len()..];
    let rest = rest.trim_start_matches([' ', '\t', ',', '=', '|']);
    Some(match split_name_line(rest) {
        Some((network, name)) if !is_vlan => network_and_name(network, &clean(name)),
        _ => Err(format!("it names no network ({FORM})")),
    })
}

fn network_and_name(network: &str, name: &str) -> Result<(String, String), String> {
    let shown = || -> String { plain(network).chars().take(SHOWN).collect() };
    // The ring may have its leading slash.
    let network = network.strip_prefix('/').filter(|rest| rest.contains('/')).unwrap_or(network);
    let is_number = network.bytes().all(|byte| byte.is_ascii_digit());
    let stars = network.matches('*').count();
    let of_ring = network.rsplit('/').next().unwrap_or_default();
    let is_known = stars == 0 || stars == 1 && of_ring.starts_with("*.");
    let is_vlan = |tag: &str| tag.parse().is_ok_and(|tag: u16| (1..4096).contains(&tag));
    let parts: Vec<&str> = of_ring.split('@').next().unwrap_or_default().split('.').collect();
    let digits = |tag: &&&str| tag.bytes().all(|byte| byte.is_ascii_digit());
    let are_vlans = match stars {
        0 => parts[1..].iter().filter(digits).all(|tag| is_vlan(tag)),
        _ => parts[1..].iter().all(|tag| is_vlan(tag)),
    };
    // As pages show a network.
    let mut words = name.split(' ');
    let is_label = words.next().is_some_and(|word| word.eq_ignore_ascii_case("vlan"))
        && words.next().is_some_and(is_vlan);
    match () {
        () if is_label && parts.len() == 1 => {
            Err(format!("a VLAN belongs to the network, not to its name ({FORM})"))
        }
        () if is_number
            || !is_known
            || !are_vlans
            || of_ring.ends_with(':')
            || network.chars().count() > MAX_NETWORK =>
        {
            Err(format!("{:?} is not a network ({FORM})", shown()))
        }
        () if name.is_empty() => Err(format!("network {:?} has no name ({FORM})", shown())),
        () => Ok((network.to_owned(), name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use crate::names::NameList;

    fn parse(text: &str) -> NameList {
        NameList::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn lines() {
        let list = parse(
            "02:00:00:00:00:01 radio\nnetwork eth0 home # all\nnetwork *.30 guests\nNETWORK,eth0.40,cameras\n\
             network eth1.30|Guests #2\nnetwork /site-a/eth0.30 guests of A\nnetwork eth0@192.0.2.1 \t attic\n\
             network h/site-b/eth0 lab\nnetwork eth0.7.9 x\u{1b}[2J\nnetwork eth0.7.9  y  z\n\
             network eth0.50 VLAN 50 lab\n",
        );
        assert_eq!((list.names.len(), list.damaged_number), (1, 0), "{:?}", list.damaged);
        for (host, ring, network, name) in [
            ("h", "/addrwatch", "eth0", Some("home")),
            ("h", "/addrwatch", "eth0.30", Some("guests")),
            ("h", "/addrwatch", "eth1.30", Some("Guests #2")),
            ("h", "/addrwatch", "eth2.30", Some("guests")),
            ("h", "/site-a", "eth0.30", Some("guests of A")),
            ("h", "/site-b", "eth0", Some("lab")),
            ("other", "/site-b", "eth0", Some("home")),
            ("h", "/addrwatch", "eth0.40", Some("cameras")),
            ("h", "/addrwatch", "eth0.7.9", Some("y z")),
            ("h", "", "eth0@192.0.2.1", Some("attic")),
            ("h", "/addrwatch", "eth0.50", Some("VLAN 50 lab")),
            ("h", "/addrwatch", "eth0.3", None),
            ("h", "/addrwatch", "eth1", None),
            ("", "", "", None),
        ] {
            assert_eq!(list.networks.of(host, ring, network), name, "{host} {ring} {network}");
        }
    }

    /// A damaged line is described, and costs no other one.
    #[test]
    fn what_names_no_network() {
        let long = format!("network {} x", "e".repeat(500));
        for line in [
            "network",
            "network # x",
            "network 30 guests",
            "network eth0.30",
            "network eth0.* guests",
            "network * all",
            "vlan 30 guests",
            "network eth0 VLAN 30 guests",
            "network eth0, VLAN 30 guests",
            "network *.guests x",
            "network eth0: x",
            "network eth0. x",
            "network eth0.99999 x",
            "network \u{1b}[2J*",
            &*long,
        ] {
            let list = parse(&format!("{line}\nnetwork eth0 home\n02:00:00:00:00:01 radio\n"));
            assert_eq!((list.damaged_number, list.names.len()), (1, 1), "{line}");
            let why = &list.damaged[0].1;
            assert!(why.contains("write network eth0.30 NAME") && !why.contains('\u{1b}'), "{why}");
            assert_eq!(list.networks.of("h", "/r", "eth0"), Some("home"));
        }
        let many: String =
            (0..super::MAX_NETWORKS + 3).map(|n| format!("network e{n} x\n")).collect();
        assert_eq!(parse(&many).damaged_number, 3);
    }
}
