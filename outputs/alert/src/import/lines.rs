//! Formats with a pairing or a name in each line.

use std::net::IpAddr;

use aw_service::split_name_line;
use shm_layout::{MacAddr, Origin};

use super::{
    formats::{Context, Line},
    imported::{Imported, StoredPairing, clean},
};
use crate::arpdat::{self, ArpDatLine};

/// The network of an interface and a VLAN, as aw-alert names it; 0: none.
fn network(interface: &str, vlan: u16) -> String {
    match vlan {
        0 => interface.into(),
        vlan => format!("{interface}.{vlan}"),
    }
}

pub fn arp_dat(line: &str, context: &Context, imported: &mut Imported) -> Line {
    let Some(line) = arpdat::parse(line) else { return Line::Bad };
    let ArpDatLine { mac, vlan, ip, time, host_name, interface } = line;
    let Some(interface) = interface.as_deref().or(context.network) else {
        return Line::NeedsNetwork;
    };
    let last = time.unwrap_or(context.time);
    let network = network(interface, vlan);
    let pairing = StoredPairing { network, mac, ip, first: last, last };
    if !imported.add_pairing(pairing) {
        return Line::Nothing; // arpwatch ignores 0.0.0.0, too
    }
    if let Some(name) = host_name {
        imported.add_host_name(mac, last, &name);
    }
    Line::Data
}

/// `seconds interface vlan mac ip ORIGIN` of addrwatch, collector and aw-stdout. A probe is no claim: only its device is
/// imported.
pub fn addrwatch(line: &str, _: &Context, imported: &mut Imported) -> Line {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    let [seconds, interface, vlan, mac, ip, origin] = *words else { return Line::Bad };
    let (Ok(time), Ok(vlan), Ok(mac), Ok(ip)) =
        (seconds.parse(), vlan.parse(), mac.parse(), ip.parse::<IpAddr>())
    else {
        return Line::Bad;
    };
    let is = |known: &[Origin]| known.iter().any(|known| known.name() == origin);
    let probes = [Origin::ArpProbe, Origin::NdDad];
    let claims =
        [Origin::ArpRequest, Origin::ArpReply, Origin::NdSolicitation, Origin::NdAdvertisement];
    let added = if is(&probes) {
        imported.add_device(mac, time, time)
    } else if is(&claims) || origin == "MACUPD" {
        let network = network(interface, vlan);
        imported.add_pairing(StoredPairing { network, mac, ip, first: time, last: time })
    } else {
        return if origin.starts_with("CONFIG:") { Line::Nothing } else { Line::Bad };
    };
    if added { Line::Data } else { Line::Nothing }
}

/// The kernel's table. It has no times: its entries were valid when the file was written. Incomplete ones are left out.
pub fn proc_net_arp(line: &str, context: &Context, imported: &mut Imported) -> Line {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    if line.starts_with("IP address") {
        return Line::Nothing;
    }
    let [ip, hardware, flags, mac, _, interface] = *words else { return Line::Bad };
    let (Ok(ip), Ok(mac)) = (ip.parse(), mac.parse()) else { return Line::Bad };
    if !hardware.starts_with("0x") || !flags.starts_with("0x") {
        return Line::Bad;
    }
    if flags == "0x0" {
        return Line::Nothing;
    }
    let network = interface.to_owned();
    let pairing = StoredPairing { network, mac, ip, first: context.time, last: context.time };
    if imported.add_pairing(pairing) { Line::Data } else { Line::Nothing }
}

/// macupd_tracker.conf: the names, `MAC|name`, of the devices that are known. Its settings are ignored.
pub fn macupd_tracker(line: &str, _: &Context, imported: &mut Imported) -> Line {
    let Some((mac, name)) = split_name_line(line) else { return Line::Nothing };
    let has_bar = line.trim_start()[mac.len()..].trim_start().starts_with('|');
    match (mac.parse::<MacAddr>(), clean(name)) {
        (Ok(mac), Some(name)) => {
            imported.known.insert(mac, name);
            // Without the character |, it could be another file of names.
            if has_bar { Line::Data } else { Line::Nothing }
        }
        _ if line.contains('|') => Line::Bad,
        _ => Line::Nothing,
    }
}

/// /etc/ethers and similar files: MAC and name.
pub fn ethers(line: &str, context: &Context, imported: &mut Imported) -> Line {
    let Some((mac, name)) = split_name_line(line) else { return Line::Nothing };
    let Ok(mac) = mac.parse::<MacAddr>() else { return Line::Bad };
    let first = name.split_whitespace().next().unwrap_or_default();
    let is_number = first.parse::<IpAddr>().is_ok() || first.parse::<u64>().is_ok();
    // A third column: `manuf`.
    if line.contains('|') || name.contains('\t') || clean(name).is_none() {
        return Line::Bad;
    }
    // ethers(5) allows an address in the place of the name. Lines of arp.dat look the same.
    if is_number {
        return Line::Nothing;
    }
    imported.add_host_name(mac, context.time, name);
    Line::Data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a format reads: `network ip mac@time` and names, and the numbers of lines without data.
    fn read(
        text: &str,
        format: fn(&str, &Context, &mut Imported) -> Line,
    ) -> (Vec<String>, Vec<(usize, Line)>) {
        let context = Context { network: Some("lan"), time: 99 };
        let (mut imported, mut other) = (Imported::default(), Vec::new());
        for (number, text) in (1..).zip(text.lines()) {
            let line = format(text, &context, &mut imported);
            if line != Line::Data {
                other.push((number, line));
            }
        }
        let claims = imported.stations.iter().flat_map(|((network, ip), claims)| {
            claims.iter().map(move |claim| format!("{network} {ip} {}@{}", claim.mac, claim.time))
        });
        let names = imported.known.iter().map(|(mac, name)| format!("{mac} {name}"));
        let hosts = imported.host_names.iter().map(|(mac, (_, name))| format!("{mac} host {name}"));
        (claims.chain(names).chain(hosts).collect(), other)
    }

    #[test]
    fn lines_of_addrwatch() {
        let text = "1700000000 eth0 0 00:1b:21:00:00:01 192.0.2.1 ARP_REQ\n\
            1700000001 eth0 20 00:1b:21:00:00:02 198.51.100.2 ARP_REP\n\
            1700000002 eth0 20 00:1b:21:00:00:02 fe80::2 ND_NA\n\
            1700000003 eth0 0 00:1b:21:00:00:03 192.0.2.1 ARP_ACD\n\
            1700000004 eth0 0 00:1b:21:00:00:01 192.0.2.1 ARP_REP\n\
            1700000005 r1 0 00:00:00:00:00:00 0.0.0.0 CONFIG:+1-0:admin\n\
            1700000005 eth0 0 00:1b:21:00:00:01 192.0.2.1 RARP\n\
            1700000006 eth0 0 00:1b:21:00:00:01 192.0.2.1\n";
        let expected = [
            "eth0 192.0.2.1 00:1b:21:00:00:01@1700000004",
            "eth0.20 198.51.100.2 00:1b:21:00:00:02@1700000001",
            "eth0.20 fe80::2 00:1b:21:00:00:02@1700000002",
        ];
        let other = [(6, Line::Nothing), (7, Line::Bad), (8, Line::Bad)];
        assert_eq!(read(text, addrwatch), (expected.map(String::from).to_vec(), other.to_vec()));
    }

    #[test]
    fn the_table_of_the_kernel() {
        let text = "IP address       HW type     Flags       HW address            Mask     Device\n\
            192.0.2.1        0x1         0x2         00:1b:21:00:00:01     *        eth0\n\
            192.0.2.2        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
            192.0.2.3        0x1         0x6         00:1b:21:00:00:03     *        eth0.20\n";
        let expected =
            ["eth0 192.0.2.1 00:1b:21:00:00:01@99", "eth0.20 192.0.2.3 00:1b:21:00:00:03@99"];
        let other = [(1, Line::Nothing), (3, Line::Nothing)];
        assert_eq!(read(text, proc_net_arp), (expected.map(String::from).to_vec(), other.to_vec()));
    }

    #[test]
    fn lines_of_arp_dat() {
        let text = "0:1b:21:0:0:1\t192.0.2.1\t1700000000\told\n0:1b:21:0:0:1\t192.0.2.2\t1700000009\trouter\teth0\n\
            0:1b:21:0:0:2\t20\t192.0.2.3\n0:1b:21:0:0:2\t0.0.0.0\t5\nrubbish\n";
        let expected = [
            "eth0 192.0.2.2 00:1b:21:00:00:01@1700000009",
            "lan 192.0.2.1 00:1b:21:00:00:01@1700000000",
            "lan.20 192.0.2.3 00:1b:21:00:00:02@99",
            "00:1b:21:00:00:01 host router",
        ];
        let other = [(4, Line::Nothing), (5, Line::Bad)];
        assert_eq!(read(text, arp_dat), (expected.map(String::from).to_vec(), other.to_vec()));
        let nowhere = Context::default();
        let line = arp_dat("0:1b:21:0:0:1\t192.0.2.1\t7", &nowhere, &mut Imported::default());
        assert_eq!(line, Line::NeedsNetwork);
    }

    #[test]
    fn names() {
        let conf = "##\n[MAIN]\nPORT=2056 # Port\nLOGDIR=/x|y\n[MACLIST]\n11:11:11:11:11:11|my  router\n\
            #1:1:1:1:1:1|no\n1:2|bad\n22:22:22:22:22:22 nas\n";
        let (names, other) = read(conf, macupd_tracker);
        assert_eq!(names, ["11:11:11:11:11:11 my router", "22:22:22:22:22:22 nas"]);
        let bad: Vec<_> =
            other.iter().filter(|(_, line)| *line == Line::Bad).map(|bad| bad.0).collect();
        assert_eq!(bad, [4, 8]);
        let ethers_file = "# hosts\n00:1B:21:00:00:01\trouter.lan\n00-1b-21-00-00-02  nas  # comment\n\
            001b21000003 192.0.2.3\n001b.2100.0004\nx y\n";
        let (names, other) = read(ethers_file, ethers);
        assert_eq!(names, ["00:1b:21:00:00:01 host router.lan", "00:1b:21:00:00:02 host nas"]);
        let other: Vec<_> = other.iter().map(|(number, line)| (*number, *line)).collect();
        assert_eq!(other, [(1, Line::Nothing), (4, Line::Nothing), (5, Line::Bad), (6, Line::Bad)]);
    }
}
