//! `arp.dat`, the file of arpwatch, in all its formats: `mac TAB ip TAB time [TAB host name [TAB interface]]`. The fork
//! Arpwatch-NG-VLAN writes the VLAN id between MAC and address.

use std::net::{IpAddr, Ipv4Addr};

use aw_detect::MacClaim;
use shm_layout::MacAddr;

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpDatLine {
    pub mac: MacAddr,
    /// 0: none.
    pub vlan: u16,
    pub ip: IpAddr,
    /// Seconds since 1970; None in a file of arpsnmp.
    pub time: Option<i64>,
    pub host_name: Option<String>,
    /// Only if the file names it.
    pub interface: Option<String>,
}

/// Reads a line; None if it has another format.
pub fn parse(line: &str) -> Option<ArpDatLine> {
    let mut columns = line.split('\t').map(str::trim).peekable();
    // arpwatch ignores what follows the sixth byte.
    let mac = columns.next()?.split(|c: char| !c.is_ascii_hexdigit() && c != ':').next()?;
    let vlan = columns.peek()?.parse().ok().filter(|vlan| *vlan < 4095);
    if vlan.is_some() {
        columns.next();
    }
    let ip = columns.next()?.parse().ok()?; // a host name is not resolved: its address may have changed
    let time = columns
        .next()
        .map(|time| time.parse::<u32>().ok())
        .map_or(Some(None), |time| time.map(Some))?;
    let mut text = || columns.next().filter(|text| !text.is_empty()).map(str::to_owned);
    let (host_name, interface) = (text(), text());
    Some(ArpDatLine {
        mac: mac.parse().ok()?,
        vlan: vlan.unwrap_or(0),
        ip,
        time: time.filter(|time| *time > 0).map(i64::from),
        // arpwatch keeps no name that begins with a digit: the name server has returned an address.
        host_name: host_name.filter(|name| !name.starts_with(|c: char| c.is_ascii_digit())),
        interface: interface.filter(|name| !name.contains(' ')), // "(from file)": none
    })
}

/// Adds a claim as arpwatch does when it reads the file: a later line of the same MAC replaces the earlier one, and the
/// newest claim is the current one.
pub fn merge(claims: &mut Vec<MacClaim>, new: MacClaim) {
    claims.retain(|claim| claim.mac != new.mac);
    claims.push(new);
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.time));
}

/// Debian's five columns, or the four of others. A name is one word, because arp2ethers ignores other lines.
pub fn line(
    mac: MacAddr,
    ip: Ipv4Addr,
    time: i64,
    name: Option<&str>,
    interface: Option<&str>,
) -> String {
    let time = time.clamp(0, u32::MAX.into());
    let name = name.map(one_word).unwrap_or_default();
    match interface {
        Some(interface) => format!("{mac}\t{ip}\t{time}\t{name}\t{interface}\n"),
        None if name.is_empty() => format!("{mac}\t{ip}\t{time}\n"),
        None => format!("{mac}\t{ip}\t{time}\t{name}\n"),
    }
}

/// A name with dashes instead of blanks.
pub fn one_word(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_formats() {
        let text = "0:8:e1:1:2:d6\t10.0.0.1\t1700000000\n\
            00:08:E1:01:02:D6\t10.0.0.2\t1700000001\thost\n\
            00:08:e1:01:02:d6 rubbish\t10.0.0.3\t1700000002\thost\teth0\n\
            0:8:e1:1:2:d6\t10.0.0.4\n\
            0:8:e1:1:2:d6\t10.0.0.5\t7\t\t(from file)\n\
            0:8:e1:1:2:d6\t20\t10.0.0.6\t8\tnas\n\
            0:8:e1:1:2:d6\t0\t10.0.0.7\t0\t10-0-0-7\r\n\
            \n0:8:e1:1:2\t10.0.0.8\t1\n0:8:e1:1:2:d6\ta.host\t1\n\
            0:8:e1:1:2:d6\t4095\t10.0.0.9\t1\n0:8:e1:1:2:d6\t10.0.0.9\tx\n0:8:e1:1:2:d6\n";
        let found: Vec<_> = text
            .lines()
            .filter_map(parse)
            .map(|line| {
                let ArpDatLine { mac, vlan, ip, time, host_name, interface } = line;
                assert_eq!(mac, MacAddr::new([0, 8, 0xe1, 1, 2, 0xd6]));
                let texts = [host_name, interface].map(Option::unwrap_or_default);
                (ip.to_string(), vlan, time, texts.join(" "))
            })
            .collect();
        let expected = [
            ("10.0.0.1", 0, Some(1_700_000_000), " "),
            ("10.0.0.2", 0, Some(1_700_000_001), "host "),
            ("10.0.0.3", 0, Some(1_700_000_002), "host eth0"),
            ("10.0.0.4", 0, None, " "),
            ("10.0.0.5", 0, Some(7), " "),
            ("10.0.0.6", 20, Some(8), "nas "),
            ("10.0.0.7", 0, None, " "),
        ];
        assert_eq!(
            found,
            expected.map(|(ip, vlan, time, text)| (ip.into(), vlan, time, text.into()))
        );
    }

    #[test]
    fn the_later_line_replaces_and_the_newest_is_first() {
        let mac = |last| MacAddr::new([0, 8, 0xe1, 0, 0, last]);
        let mut claims = Vec::new();
        for (last, time) in [(1, 50), (2, 20), (1, 10), (3, 15)] {
            merge(&mut claims, MacClaim { mac: mac(last), time });
        }
        let order: Vec<_> = claims.iter().map(|claim| (claim.mac, claim.time)).collect();
        assert_eq!(order, [(mac(2), 20), (mac(3), 15), (mac(1), 10)]);
    }

    #[test]
    fn names_are_words() {
        let (mac, ip) = (MacAddr::new([0, 8, 0xe1, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 1));
        let beginning = "00:08:e1:00:00:01\t10.0.0.1\t7";
        for (name, interface, end) in [
            (None, None, ""),
            (Some("the  nas"), None, "\tthe-nas"),
            (None, Some("eth0"), "\t\teth0"),
            (Some("nas"), Some("eth0"), "\tnas\teth0"),
        ] {
            assert_eq!(line(mac, ip, 7, name, interface), format!("{beginning}{end}\n"));
        }
    }
}
