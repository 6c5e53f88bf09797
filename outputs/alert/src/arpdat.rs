//! `arp.dat`, the file of arpwatch, in all its formats: `mac TAB ip TAB time [TAB host name [TAB interface]]`.

use std::net::Ipv4Addr;

use aw_detect::MacClaim;
use shm_layout::MacAddr;

/// A line of the file; the interface only if the file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArpDatLine {
    pub ip: Ipv4Addr,
    pub claim: MacClaim,
    pub interface: Option<String>,
}

/// Reads a file. Also returns the numbers of lines that cannot be read.
pub fn read(text: &str) -> (Vec<ArpDatLine>, Vec<usize>) {
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        match parse(line) {
            Some(line) => lines.push(line),
            None => bad.push(number + 1),
        }
    }
    (lines, bad)
}

fn parse(line: &str) -> Option<ArpDatLine> {
    let mut columns = line.split('\t');
    let (mac, ip) = (columns.next()?, columns.next()?);
    // arpwatch ignores what follows the sixth byte.
    let mac = mac.trim().split(|c: char| !c.is_ascii_hexdigit() && c != ':').next()?;
    let time = match columns.next() {
        None => 0, // arpsnmp writes no more
        Some(time) => time.trim().parse::<u32>().ok()?.into(),
    };
    let interface = columns.nth(1).map(str::trim).filter(|name| !name.is_empty());
    Some(ArpDatLine {
        ip: ip.trim().parse().ok()?, // a host name is not resolved: its address may have changed
        claim: MacClaim { mac: mac.parse::<MacAddr>().ok()?, time },
        interface: interface.map(Into::into),
    })
}

/// Adds a claim as arpwatch does when it reads the file: a later line of the same MAC replaces the earlier one, and the
/// newest claim is the current one.
pub fn merge(claims: &mut Vec<MacClaim>, new: MacClaim) {
    claims.retain(|claim| claim.mac != new.mac);
    claims.push(new);
    claims.sort_by_key(|claim| std::cmp::Reverse(claim.time));
}

/// Debian's five columns, or the four of others.
pub fn line(mac: MacAddr, ip: Ipv4Addr, time: i64, interface: Option<&str>) -> String {
    let time = time.clamp(0, u32::MAX.into());
    match interface {
        Some(interface) => format!("{mac}\t{ip}\t{time}\t\t{interface}\n"),
        None => format!("{mac}\t{ip}\t{time}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_formats() {
        let text = "# a comment\n\
            0:8:e1:1:2:d6\t10.0.0.1\t1700000000\n\
            00:08:E1:01:02:D6\t10.0.0.2\t1700000001\thost\n\
            00:08:e1:01:02:d6 rubbish\t10.0.0.3\t1700000002\thost\teth0\n\
            0:8:e1:1:2:d6\t10.0.0.4\n\
            0:8:e1:1:2:d6\t10.0.0.5\t7\t\t(from file)\n\
            \n0:8:e1:1:2\t10.0.0.6\t1\n0:8:e1:1:2:d6\ta.host\t1\n";
        let (lines, bad) = read(text);
        let found: Vec<_> = lines
            .iter()
            .map(|line| (line.ip.octets()[3], line.claim.time, line.interface.as_deref()))
            .collect();
        let expected = [
            (1, 1_700_000_000, None),
            (2, 1_700_000_001, None),
            (3, 1_700_000_002, Some("eth0")),
            (4, 0, None),
            (5, 7, Some("(from file)")),
        ];
        assert_eq!((found.as_slice(), bad.as_slice()), (expected.as_slice(), [7, 8, 9].as_slice()));
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
}
