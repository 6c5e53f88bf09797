//! A reader for a question with a time limit.

use std::{collections::HashSet, net::IpAddr, path::Path, time::Instant};

use aw_service::{Error, failed};
use shm_layout::{MacAddr, UnixTime};

use super::{History, MOST};
use crate::{
    clocks::Clocks,
    export::{ExportPosition, Exporter},
    history_reader::{
        AddressOfMac, AddressSighting, Claim, ClaimReader, ClaimedAddress, EachSighting,
        HistoryReader, Lease, NamesOfMacs, NearestSightings, Network, PairingSummary, RouterChange,
        SeenAround, TimeRange,
    },
    unread::Unread,
};

/// The caller replaces the text.
pub fn in_time(end: Instant) -> Result<(), Error> {
    if Instant::now() < end { Ok(()) } else { Err(failed("no answer in time")) }
}

/// A reader that fails once the time is over, and else answers as the other one does: it forwards each method. A statement of SQLite is ended from within; that of a server by the server, and
/// by the limit for its answer.
pub struct LimitedReader {
    pub history: Box<dyn HistoryReader>,
    end: Instant,
    pub most_rows: usize,
    pub has_left_rows: bool,
}

impl LimitedReader {
    pub fn open(history: &History, end: Instant) -> Result<LimitedReader, Error> {
        in_time(end)?;
        let left = end.saturating_duration_since(Instant::now());
        let mut history = history.open(left)?;
        history.limit(end, MOST)?;
        Ok(LimitedReader { history, end, most_rows: MOST, has_left_rows: false })
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&mut dyn HistoryReader) -> Result<T, Error>,
    ) -> Result<T, Error> {
        in_time(self.end)?;
        read(&mut *self.history)
    }
}

impl ClaimReader for LimitedReader {
    fn claimed_names(&mut self, macs: &[MacAddr]) -> Result<NamesOfMacs, Error> {
        self.read(|history| history.claimed_names(macs))
    }

    fn macs_claiming(&mut self, name: &str) -> Result<Vec<MacAddr>, Error> {
        self.read(|history| history.macs_claiming(name))
    }

    fn claimed_addresses(
        &mut self,
        ip: IpAddr,
        near: TimeRange,
    ) -> Result<Vec<ClaimedAddress>, Error> {
        self.read(|history| history.claimed_addresses(ip, near))
    }

    fn addresses_claimed_by(&mut self, mac: MacAddr) -> Result<Vec<ClaimedAddress>, Error> {
        self.read(|history| history.addresses_claimed_by(mac))
    }

    fn claims(&mut self, range: TimeRange) -> Result<(Vec<Claim>, bool), Error> {
        self.read(|history| history.claims(range))
    }

    fn leases(&mut self, of: (IpAddr, MacAddr), at: UnixTime) -> Result<Vec<Lease>, Error> {
        self.read(|history| history.leases(of, at))
    }
}

impl HistoryReader for LimitedReader {
    fn networks(&self) -> &[Network] {
        self.history.networks()
    }

    fn clocks(&self) -> &Clocks {
        self.history.clocks()
    }

    fn copy(&mut self, to: &Path) -> Result<(), Error> {
        self.read(|history| history.copy(to))
    }

    fn export(&mut self, to: &mut Exporter, from: &mut ExportPosition) -> Result<bool, Error> {
        self.read(|history| history.export(to, from))
    }

    fn is_cut(&self) -> bool {
        self.has_left_rows || self.history.is_cut()
    }

    fn most_rows(&self) -> usize {
        self.most_rows
    }

    fn cut(&mut self) {
        self.has_left_rows = true;
    }

    fn remarks(&self) -> &[String] {
        self.history.remarks()
    }

    fn unread(&mut self) -> Vec<Unread> {
        self.history.unread()
    }

    fn limit(&mut self, end: Instant, most: usize) -> Result<(), Error> {
        self.read(|history| history.limit(end, most))?;
        self.end = self.end.min(end);
        Ok(())
    }

    fn is_intact(&self) -> Result<bool, Error> {
        self.history.is_intact()
    }

    fn addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.read(|history| history.addresses(range))
    }

    fn changed_addresses(&mut self, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.read(|history| history.changed_addresses(range))
    }

    fn seen_around(&mut self, network: usize, at: UnixTime) -> Result<SeenAround, Error> {
        self.read(|history| history.seen_around(network, at))
    }

    fn addresses_of(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<AddressOfMac>, Error> {
        self.read(|history| history.addresses_of(mac, range))
    }

    fn addresses_sent_by(&mut self, mac: MacAddr, range: TimeRange) -> Result<Vec<IpAddr>, Error> {
        self.read(|history| history.addresses_sent_by(mac, range))
    }

    fn weight(&mut self, ip: IpAddr, range: TimeRange, limit: u64) -> Result<u64, Error> {
        self.read(|history| history.weight(ip, range, limit))
    }

    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        let mut each = |sighting: AddressSighting| each(sighting);
        self.read(|history| history.sightings(ip, range, &mut each))
    }

    fn read_ahead(&mut self, addresses: &[IpAddr], range: TimeRange) -> Result<(), Error> {
        self.read(|history| history.read_ahead(addresses, range))
    }

    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        self.read(|history| history.nearest(ip, at))
    }

    fn nearest_of_each(
        &mut self,
        addresses: &[IpAddr],
        at: UnixTime,
    ) -> Result<Vec<Vec<NearestSightings>>, Error> {
        self.read(|history| history.nearest_of_each(addresses, at))
    }

    fn presence(
        &mut self,
        pairing: (IpAddr, MacAddr),
        at: UnixTime,
    ) -> Result<Vec<(usize, UnixTime, UnixTime)>, Error> {
        self.read(|history| history.presence(pairing, at))
    }

    fn pairings(
        &mut self,
        range: TimeRange,
        is_counted: bool,
    ) -> Result<Vec<PairingSummary>, Error> {
        self.read(|history| history.pairings(range, is_counted))
    }

    fn macs_in_use(&mut self, macs: &[MacAddr]) -> Result<HashSet<MacAddr>, Error> {
        self.read(|history| history.macs_in_use(macs))
    }

    fn has_own_claims(&mut self, mac: MacAddr) -> Result<bool, Error> {
        self.read(|history| history.has_own_claims(mac))
    }

    fn is_clock_set(&mut self, network: usize) -> Result<bool, Error> {
        self.read(|history| history.is_clock_set(network))
    }

    fn router_changes(&mut self, range: TimeRange) -> Result<Vec<RouterChange>, Error> {
        self.read(|history| history.router_changes(range))
    }
}
