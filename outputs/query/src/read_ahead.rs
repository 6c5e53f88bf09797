//! Sightings of announced addresses, read together: a statement takes the way to the server and back, however few rows it returns.

use std::{collections::HashMap, net::IpAddr};

use aw_service::Error;

use crate::history_reader::{AddressSighting, TimeRange};

/// The sightings of each of some addresses.
pub type Found = HashMap<IpAddr, Vec<AddressSighting>>;

/// What was announced.
#[derive(Default)]
pub struct ReadAhead {
    range: Option<TimeRange>,
    /// Addresses that are read together, and are not read yet.
    parts: Vec<Vec<IpAddr>>,
    /// Of the part that was read last.
    known: Found,
}

impl ReadAhead {
    pub fn new(parts: Vec<Vec<IpAddr>>, range: TimeRange) -> ReadAhead {
        ReadAhead { range: Some(range), parts, known: Found::new() }
    }

    /// Those of an address that was announced, in a part of the range; None if it was not. `read` reads the addresses that are read
    /// together, in the whole range.
    pub fn sightings(
        &mut self,
        ip: IpAddr,
        range: TimeRange,
        read: impl FnOnce(&[IpAddr], TimeRange) -> Result<Found, Error>,
    ) -> Result<Option<Vec<AddressSighting>>, Error> {
        let all = self.range.filter(|all| all.from <= range.from && range.to <= all.to);
        let Some(all) = all else { return Ok(None) };
        if let Some(at) = self.parts.iter().position(|part| part.contains(&ip)) {
            self.known = read(&self.parts.swap_remove(at), all)?;
        }
        let in_range = |one: &&AddressSighting| (range.from..range.to).contains(&one.time);
        let known = self.known.get(&ip);
        Ok(known.map(|known| known.iter().filter(in_range).copied().collect()))
    }
}
