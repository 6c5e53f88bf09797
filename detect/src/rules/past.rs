//! Times of a clock that is ahead. The rules have no clock: the caller of [`super::Rules::observe`] passes the time.

use std::net::IpAddr;

use shm_layout::{MacAddr, UnixTime};

use super::Memory;
use crate::{device::Device, network::NetworkState, station::Station};

/// The clocks of two machines may differ by so much.
const TOLERANCE_NANOS: i64 = 60_000_000_000;

/// The time of an event that is passed to the rules at `now`: a later one is of a sensor whose clock is ahead, and counts as
/// now. A tolerance of a minute leaves the spans between events as they are.
pub fn past_time(time: UnixTime, now: UnixTime) -> UnixTime {
    if time <= latest(now) { time } else { now }
}

/// The latest time that an event or a state can have; any time if the clock of this machine is not set.
pub(crate) fn latest(now: UnixTime) -> UnixTime {
    let nanos = if now.is_plausible() { now.as_nanos() } else { i64::MAX };
    UnixTime::from_nanos(nanos.saturating_add(TOLERANCE_NANOS))
}

/// A memory without times after `latest`: an earlier release stored them as they came.
pub(super) struct Past<'a, M> {
    pub memory: &'a mut M,
    /// In seconds since 1970.
    pub latest: i64,
}

impl<M: Memory> Memory for Past<'_, M> {
    type Error = M::Error;

    fn station(&mut self, network: &str, ip: IpAddr) -> Result<Station, M::Error> {
        let mut station = self.memory.station(network, ip)?;
        station.forget_after(self.latest);
        Ok(station)
    }

    fn store_station(
        &mut self,
        network: &str,
        ip: IpAddr,
        state: &Station,
    ) -> Result<(), M::Error> {
        self.memory.store_station(network, ip, state)
    }

    fn device(&mut self, mac: MacAddr) -> Result<Option<Device>, M::Error> {
        let mut device = self.memory.device(mac)?;
        device.iter_mut().for_each(|device| device.forget_after(self.latest));
        Ok(device)
    }

    fn store_device(&mut self, mac: MacAddr, state: &Device) -> Result<(), M::Error> {
        self.memory.store_device(mac, state)
    }

    fn network(&mut self, network: &str) -> Result<Option<NetworkState>, M::Error> {
        let mut state = self.memory.network(network)?;
        state.iter_mut().for_each(|state| state.forget_after(self.latest));
        Ok(state)
    }

    fn store_network(&mut self, network: &str, state: &NetworkState) -> Result<(), M::Error> {
        self.memory.store_network(network, state)
    }
}
