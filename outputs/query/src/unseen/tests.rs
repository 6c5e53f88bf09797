use super::*;
use crate::{
    history_reader::{
        AddressOfMac, AddressSighting, EachSighting, Network, PairingSummary, RouterChange,
    },
    who::who,
};
use shm_layout::Evidence;
use std::collections::HashSet;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// The time in question; times are in seconds since then.
const AT: i64 = 1_780_000_000;
const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 22));

fn time(seconds: i64) -> UnixTime {
    UnixTime::new(AT + seconds, 0)
}

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

/// A history of one address.
struct Messages {
    clocks: Clocks,
    claimed: Vec<ClaimedAddress>,
    sightings: Vec<(u8, i64, Evidence)>,
    leases: Vec<Lease>,
    has_leases: bool,
    read: usize,
}

impl Messages {
    fn new() -> Messages {
        let clocks = Clocks::new(HashSet::new());
        let (claimed, sightings, leases) = (Vec::new(), Vec::new(), Vec::new());
        Messages { clocks, claimed, sightings, leases, has_leases: true, read: 0 }
    }

    fn claimed(&mut self, last: u8, source: NameSource, (from, to): (i64, i64)) {
        let (mac, first, last) = (mac(last), time(from), time(to));
        self.claimed.push(ClaimedAddress { network: 0, mac, source, first, last, count: 2 });
    }

    fn asked(&mut self, last: u8, seconds: i64) {
        self.claimed(last, NameSource::RequestedAddress, (seconds, seconds));
    }

    /// A server gives it the address, for so long.
    fn given(&mut self, last: u8, seconds: i64, long: i64) {
        self.sightings.push((last, seconds, Evidence::Lease));
        let (mac, begin, until) = (mac(last), time(seconds), time(seconds + long));
        let (is_long, is_released) = (false, false);
        self.leases.push(Lease { network: 0, mac, begin, is_long, until, is_released });
    }

    fn released(&mut self, seconds: i64) {
        let lease = self.leases.last_mut().unwrap();
        (lease.until, lease.is_released) = (time(seconds), true);
    }

    /// The rows of `who`, each with its MAC and what it is.
    fn who(&mut self, seconds: i64) -> Vec<Vec<Cell>> {
        who(self, IP, time(seconds)).unwrap().rows
    }

    /// The last number of the MAC, how sure it is, and why.
    fn words(&mut self) -> Vec<String> {
        let text = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let words =
            |row: Vec<Cell>| format!("{} {} {}", text(&row[0]), text(&row[3]), text(&row[4]));
        let rows = self.who(0).into_iter().map(words);
        rows.map(|row| row.replace("02:00:00:00:00:0", "").replace("not seen in use: ", ""))
            .collect()
    }
}

impl HistoryReader for Messages {
    fn networks(&self) -> &[Network] {
        &[]
    }

    fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    fn addresses(&mut self, _: TimeRange) -> Result<Vec<IpAddr>, Error> {
        Ok(vec![IP])
    }

    fn addresses_of(&mut self, _: MacAddr, _: TimeRange) -> Result<Vec<AddressOfMac>, Error> {
        Ok(Vec::new())
    }

    fn addresses_sent_by(&mut self, _: MacAddr, _: TimeRange) -> Result<Vec<IpAddr>, Error> {
        Ok(Vec::new())
    }

    fn weight(&mut self, _: IpAddr, _: TimeRange, _: u64) -> Result<u64, Error> {
        Ok(self.sightings.len() as u64)
    }

    fn sightings(&mut self, _: IpAddr, _: TimeRange, each: EachSighting) -> Result<(), Error> {
        for (last, seconds, evidence) in &self.sightings {
            self.read += 1;
            let (time, mac, evidence) = (time(*seconds), mac(*last), *evidence);
            let (network, source, more, until) = (0, None, 0, None);
            each(AddressSighting { time, network, mac, evidence, source, more, until });
        }
        Ok(())
    }

    fn nearest(&mut self, _: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        let mut found: BTreeMap<u8, NearestSightings> = BTreeMap::new();
        for (last, seconds, evidence) in &self.sightings {
            let new = || NearestSightings::new(0, mac(*last), None);
            let (one, time) = (found.entry(*last).or_insert_with(new), time(*seconds));
            match time <= at {
                true => one.before.add(*evidence, time, UnixTime::max),
                false => one.after.add(*evidence, time, UnixTime::min),
            }
        }
        Ok(found.into_values().collect())
    }

    fn pairings(&mut self, _: TimeRange, _: bool) -> Result<Vec<PairingSummary>, Error> {
        Ok(Vec::new())
    }

    fn claimed_addresses(&mut self, _: IpAddr) -> Result<Vec<ClaimedAddress>, Error> {
        Ok(self.claimed.clone())
    }

    fn leases(&mut self, of: (IpAddr, MacAddr), at: UnixTime) -> Result<Vec<Lease>, Error> {
        let all = self.leases.iter().filter(|one| one.mac == of.1 && one.begin <= at);
        Ok(all.copied().filter(|_| self.has_leases).collect())
    }

    fn has_own_claims(&mut self, _: MacAddr) -> Result<bool, Error> {
        Ok(true)
    }

    fn is_clock_set(&mut self, _: usize) -> Result<bool, Error> {
        Ok(true)
    }

    fn router_changes(&mut self, _: TimeRange) -> Result<Vec<RouterChange>, Error> {
        Ok(Vec::new())
    }
}

/// A renewal is unicast and not captured: what counts is until when the lease runs, and not its last message.
#[test]
fn a_lease_that_runs() {
    let mut history = Messages::new();
    history.given(1, -5 * HOUR, DAY);
    history.asked(2, -600);
    let leased = "1 leased given by a DHCP server 5 h 0 min before; its lease ends 19 h 0 min after (a claim)";
    let asked = "requested only requested by DHCP 10 min 0 s before";
    let not_given = format!("2 {asked}, and no server was seen to give it (a claim)");
    assert_eq!(history.words(), [leased, &not_given]);
    // The device itself asks again.
    history.asked(1, -300);
    assert_eq!(history.words(), [leased, &not_given]);
    // Without leases, messages alone are nearest.
    history.has_leases = false;
    let again = "1 requested only requested by DHCP 5 min 0 s before (a claim)";
    assert_eq!(history.words(), [&not_given, again]);
    // A server gives the address again when it is free: a release is unicast, too.
    let mut history = Messages::new();
    history.given(1, -5 * HOUR, DAY);
    history.given(2, -HOUR, DAY);
    assert!(history.words()[0].starts_with("2 leased"), "{:?}", history.words());
}

/// Two leases of one MAC are no span; a lease that ended, or was given back, is as far away as its end.
#[test]
fn a_lease_that_is_over() {
    let mut history = Messages::new();
    history.given(1, -150 * DAY, DAY);
    history.given(1, 180 * DAY, DAY);
    history.given(2, -9 * DAY, 30 * DAY);
    let ended = "1 leased given by a DHCP server 150 d 0 h before; its lease ended 149 d 0 h before, unless a renewal was not captured (a claim)";
    let runs =
        "2 leased given by a DHCP server 9 d 0 h before; its lease ends 21 d 0 h after (a claim)";
    assert_eq!(history.words(), [runs, ended]);
    history.has_leases = false;
    let given = |last, when| format!("{last} leased given by a DHCP server {when} (a claim)");
    assert_eq!(history.words(), [given(2, "9 d 0 h before"), given(1, "150 d 0 h before")]);
    history.claimed.clear();
    let mut history = Messages::new();
    history.given(1, -2_400, DAY);
    history.released(-1_800);
    history.asked(2, -300);
    let words = history.words();
    assert!(words[0].starts_with("2 requested"), "{words:?}");
    let released = "1 leased given by a DHCP server 40 min 0 s before; a message that ends its lease was seen 30 min 0 s before (a claim)";
    assert_eq!(words[1], released);
}

/// Times before the clock was set are none.
#[test]
fn before_the_clock_was_set() {
    let mut history = Messages::new();
    history.given(1, 20 - AT, DAY);
    history.given(1, 0, DAY);
    history.claimed(2, NameSource::MdnsAddress, (20 - AT, 0));
    history.claimed(3, NameSource::MdnsAddress, (-31 * DAY, -29 * DAY));
    let rows = history.who(-30 * DAY);
    let macs: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    assert_eq!(macs, [3, 2, 1].map(|last| Cell::text(mac(last))));
    for row in &rows[1..] {
        assert_eq!(row[7..9], [Cell::None, Cell::Number(30 * DAY)], "{row:?}");
    }
}

/// Any number of probes is not read; and the probe of a MAC that announced the address long ago is in the answer, too.
#[test]
fn probes() {
    let mut history = Messages::new();
    history.sightings.extend((0..100_000).map(|n| (1, -300 - n, Evidence::Probe)));
    assert!(history.words()[0].starts_with("1 probed"));
    assert_eq!(history.read, 0);
    history.claimed(1, NameSource::MdnsAddress, (-365 * DAY, -365 * DAY));
    let words = history.words();
    assert!(words[0].starts_with("1 announced") && words[1].starts_with("1 probed"), "{words:?}");
    history.claimed(1, NameSource::MdnsAddress, (-365 * DAY, -60));
    assert_eq!(history.words().len(), 1);
}
