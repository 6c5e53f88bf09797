//! The content of a log row: MAC, address and interface, and when they were seen on one day.

use std::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
};

use shm_layout::MacAddr;

use crate::local_time::Moment;

/// What identifies a row of a day.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowKey {
    pub mac: MacAddr,
    pub ip: IpAddr,
    /// Contains no space. Shared between rows: there are few interfaces.
    pub interface: Arc<str>,
}

impl Hash for RowKey {
    /// MAC and address in one piece: for each further one the hasher takes as long again.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ip = match self.ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.mac.number().to_ne_bytes());
        bytes[8..].copy_from_slice(&ip.octets());
        state.write(&bytes);
        self.interface.hash(state);
    }
}

impl RowKey {
    /// The device with 0.0.0.0 or `::`: it has shown no address.
    pub fn without_address(self) -> RowKey {
        let ip = match self.ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        RowKey { ip, ..self }
    }
}

/// First and last sighting of a day, and the sightings in each hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    pub first: Moment,
    pub last: Moment,
    pub hours: HourCounts,
    pub sender: Sender,
}

impl Activity {
    /// The first sighting of a day.
    pub fn new(at: Moment, sender: Sender) -> Self {
        let mut activity = Activity { first: at, last: at, hours: HourCounts::default(), sender };
        activity.hours.add(at.clock.hour);
        activity
    }

    /// Adds a sighting. Returns true if it is the first one in its hour, or the first one from such a sender.
    pub fn add(&mut self, at: Moment, sender: Sender) -> bool {
        // Sightings of different rings may arrive out of order.
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        let before = self.sender;
        self.sender = before.and(sender);
        self.hours.add(at.clock.hour) | (self.sender != before)
    }

    /// Adds the sightings of another row with the same key.
    pub fn merge(&mut self, other: &Activity) {
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.hours.merge(&other.hours);
        self.sender = self.sender.and(other.sender);
    }
}

/// Which MAC sent the frames of a device's sightings. If another one did, that is a repeater, or forged: no proof that the
/// device was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    /// The device itself, or it is not known.
    #[default]
    Own,
    /// In part this MAC, the first one of such.
    Partly(MacAddr),
    /// Always another MAC, at first this one.
    Only(MacAddr),
}

impl Sender {
    /// Of a frame.
    pub fn of(mac: MacAddr, source: MacAddr) -> Sender {
        if source == mac { Sender::Own } else { Sender::Only(source) }
    }

    /// Of all sightings, after those of `self`.
    fn and(self, other: Sender) -> Sender {
        match (self, other) {
            (Sender::Own, Sender::Own) => Sender::Own,
            (Sender::Only(mac), Sender::Only(_)) => Sender::Only(mac),
            (Sender::Partly(mac) | Sender::Only(mac), _) => Sender::Partly(mac),
            (Sender::Own, Sender::Partly(mac) | Sender::Only(mac)) => Sender::Partly(mac),
        }
    }

    /// The mark behind a name in a log: one word with the end of the name, so that a row has as many words as without it.
    pub fn mark(self) -> String {
        match self {
            Sender::Own => String::new(),
            Sender::Partly(mac) => format!("(partly-sent-by-{mac})"),
            Sender::Only(mac) => format!("(only-sent-by-{mac})"),
        }
    }

    /// A name with its mark, apart: `phone(only-sent-by-02:00:00:00:00:09)`, or as builds of 28 November 2026 wrote it,
    /// `phone (only sent by 02:00:00:00:00:09)`.
    pub fn strip_mark(name: &str) -> (&str, Sender) {
        let mark = name.strip_suffix(')').and_then(|text| text.rsplit_once('('));
        let mark = mark.filter(|(name, _)| !name.is_empty());
        let sender = mark.and_then(|(name, mark)| {
            let (name, (how, mac)) = match (mark.split_once("-sent-by-"), name.strip_suffix(' ')) {
                (Some(parts), _) => (name, parts),
                (None, Some(name)) => (name, mark.split_once(" sent by ")?),
                (None, None) => return None,
            };
            let mac = mac.parse().ok()?;
            match how {
                "only" => Some((name, Sender::Only(mac))),
                "partly" => Some((name, Sender::Partly(mac))),
                _ => None,
            }
        });
        sender.unwrap_or((name, Sender::Own))
    }
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Own => Ok(()),
            Sender::Partly(mac) => write!(f, "partly sent by {mac}"),
            Sender::Only(mac) => write!(f, "only sent by {mac}"),
        }
    }
}

/// Sightings in each hour: `.` none, `1` to `9`, `*` ten or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HourCounts([u8; 24]);

impl HourCounts {
    const MANY: u8 = 10;

    /// Adds a sighting. Returns true if it is the first one in its hour.
    pub fn add(&mut self, hour: u8) -> bool {
        let cell = &mut self.0[usize::from(hour.min(23))];
        *cell = (*cell + 1).min(Self::MANY);
        *cell == 1
    }

    /// Adds the sightings of another row.
    pub fn merge(&mut self, other: &HourCounts) {
        for (cell, more) in self.0.iter_mut().zip(other.0) {
            *cell = (*cell + more).min(Self::MANY);
        }
    }

    /// A count for each hour, from 0 to 10; 10 means ten or more.
    pub fn counts(&self) -> &[u8; 24] {
        &self.0
    }

    /// All sightings, at most ten for each hour.
    pub fn total(&self) -> u32 {
        self.0.iter().map(|cell| u32::from(*cell)).sum()
    }

    /// Bit n is set if there were sightings in hour n.
    pub fn mask(&self) -> u32 {
        let bits = (0..24).zip(self.0).filter(|(_, cell)| *cell > 0);
        bits.fold(0, |mask, (hour, _)| mask | 1 << hour)
    }
}

impl fmt::Display for HourCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.map(|cell| match cell {
            0 => b'.',
            1..=9 => b'0' + cell,
            _ => b'*',
        });
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for HourCounts {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut cells: [u8; 24] = text.as_bytes().try_into().map_err(|_| ())?;
        for cell in &mut cells {
            *cell = match cell {
                b'.' => 0,
                b'1'..=b'9' => *cell - b'0',
                b'*' => Self::MANY,
                _ => return Err(()),
            };
        }
        Ok(HourCounts(cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders() {
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        let (own, only) = (Sender::Own, Sender::of(mac(1), mac(9)));
        assert_eq!(Sender::of(mac(1), mac(1)), own);
        assert_eq!(only.and(Sender::Only(mac(8))), only);
        for partly in
            [only.and(own), own.and(only), own.and(only).and(only), only.and(own).and(own)]
        {
            assert_eq!(partly, Sender::Partly(mac(9)));
        }
        for sender in [only, Sender::Partly(mac(9))] {
            let marked = format!("K\u{fc}che{}", sender.mark());
            assert_eq!(Sender::strip_mark(&marked), ("K\u{fc}che", sender));
            assert!(!marked.contains(' '));
            assert_eq!(
                Sender::strip_mark(&format!("K\u{fc}che ({sender})")),
                ("K\u{fc}che", sender)
            );
        }
        for name in [
            "",
            "unknown",
            "phone (old)",
            "x (only sent by me)",
            "(only sent by 02:00:00:00:00:09)",
            "(only-sent-by-02:00:00:00:00:09)",
            "x(only-sent-by-me)",
            "x(only sent by 02:00:00:00:00:09)",
        ] {
            assert_eq!(Sender::strip_mark(name), (name, own), "{name}");
        }
    }

    #[test]
    fn hour_counts() {
        let mut hours = HourCounts::default();
        assert!(hours.add(0) && !hours.add(0) && hours.add(23));
        assert_eq!(hours.to_string(), "2......................1");
        (0..20).for_each(|_| {
            hours.add(5);
        });
        assert_eq!(hours.to_string(), "2....*.................1");
        assert_eq!(hours.mask(), 1 | 1 << 5 | 1 << 23);
        assert_eq!(hours.to_string().parse(), Ok(hours));
        for bad in
            ["", ".......................", "0.......................", "........................."]
        {
            assert!(bad.parse::<HourCounts>().is_err(), "{bad}");
        }
        let mut merged: HourCounts = "9......................1".parse().unwrap();
        merged.merge(&hours);
        assert_eq!(merged.to_string(), "*....*.................2");
    }
}
