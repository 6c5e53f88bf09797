//! A row of the log: one MAC, address and interface on one day, and the 24 cells of its hours.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use shm_layout::MacAddr;

use crate::calendar::Moment;

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub mac: MacAddr,
    pub ip: IpAddr,
    /// Without spaces. Shared: there are few.
    pub interface: Arc<str>,
}

/// When it was seen that day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    pub first: Moment,
    pub last: Moment,
    pub hours: Hours,
}

impl Activity {
    /// Seen for the first time.
    pub fn begin(at: Moment) -> Self {
        let mut activity = Activity { first: at, last: at, hours: Hours::default() };
        activity.hours.add(at.clock.hour);
        activity
    }

    /// Seen again; tells whether for the first time in this hour.
    pub fn again(&mut self, at: Moment) -> bool {
        // Several rings are not in order among each other.
        if at.seconds < self.first.seconds {
            self.first = at;
        }
        if at.seconds >= self.last.seconds {
            self.last = at;
        }
        self.hours.add(at.clock.hour)
    }

    /// Adds what another row of the same key says.
    pub fn join(&mut self, other: &Activity) {
        if other.first.seconds < self.first.seconds {
            self.first = other.first;
        }
        if other.last.seconds > self.last.seconds {
            self.last = other.last;
        }
        self.hours.join(&other.hours);
    }
}

/// Sightings in each hour: `.` none, `1` to `9`, `*` ten or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Hours([u8; 24]);

impl Hours {
    const MANY: u8 = 10;

    /// One more; tells whether it is the first in its hour.
    pub fn add(&mut self, hour: u8) -> bool {
        let cell = &mut self.0[usize::from(hour.min(23))];
        *cell = (*cell + 1).min(Self::MANY);
        *cell == 1
    }

    /// Adds those of another row.
    pub fn join(&mut self, other: &Hours) {
        for (cell, more) in self.0.iter_mut().zip(other.0) {
            *cell = (*cell + more).min(Self::MANY);
        }
    }

    /// The cells, each from 0 to 10.
    pub fn cells(&self) -> &[u8; 24] {
        &self.0
    }

    /// A bit for each hour with a sighting.
    pub fn mask(&self) -> u32 {
        let bits = (0..24).zip(self.0).filter(|(_, cell)| *cell > 0);
        bits.fold(0, |mask, (hour, _)| mask | 1 << hour)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.map(|cell| match cell {
            0 => b'.',
            1..=9 => b'0' + cell,
            _ => b'*',
        });
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Hours {
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
        Ok(Hours(cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells() {
        let mut hours = Hours::default();
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
            assert!(bad.parse::<Hours>().is_err(), "{bad}");
        }
        let mut joined: Hours = "9......................1".parse().unwrap();
        joined.join(&hours);
        assert_eq!(joined.to_string(), "*....*.................2");
    }
}
