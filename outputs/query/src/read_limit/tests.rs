use super::*;
use crate::address_rows::Listed;
use crate::clocks::Clocks;
use crate::devices::devices;
use crate::history_reader::{
    AddressOfMac, AddressSighting, ClaimReader, EachSighting, Nearest, NearestSightings, Network,
    PairingSummary, RouterChange,
};
use crate::queries::Query;
use crate::result_table::{Cell, ResultTable};
use shm_layout::{Evidence, MacAddr};

const BEGIN: i64 = 1_700_000_000;
const YEAR: i64 = 365 * 86_400;
const VICTIM: MacAddr = MacAddr::new([2, 0, 0, 0, 1, 1]);
const ATTACKER: MacAddr = MacAddr::new([2, 0, 0, 0, 1, 9]);

/// Pairings whose sightings are claims at regular times. It counts what is read.
struct Made {
    clocks: Clocks,
    pairings: Vec<PairingSummary>,
    read: u64,
}

fn time(seconds: i64) -> UnixTime {
    UnixTime::new(BEGIN + seconds, 0)
}

fn owner(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([6, 0, a, b, c, d])
}

impl Default for Made {
    fn default() -> Made {
        Made { clocks: Clocks::without_rings(), pairings: Vec::new(), read: 0 }
    }
}

impl Made {
    /// A MAC claims 10.x.x.x so often, from one second to the other.
    fn add(&mut self, number: u32, mac: MacAddr, (first, last): (i64, i64), count: u64) {
        let source = (mac == VICTIM).then_some(ATTACKER);
        let (is_claimed, is_answered) = (source.is_none(), source.is_some());
        let ip = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let (first, last) = (time(first), time(last));
        let (network, count) = (0, Some(count));
        self.pairings.push(PairingSummary {
            network,
            mac,
            ip,
            source,
            first,
            has_undated: false,
            last,
            count,
            is_claimed,
            is_answered,
        });
    }

    fn all(&self, ip: IpAddr) -> Vec<AddressSighting> {
        let of = |one: &PairingSummary| {
            let PairingSummary { network, mac, source, first, last, count, .. } = *one;
            let count = count.unwrap_or(0) as i64;
            let step = (last.seconds() - first.seconds()) / (count - 1).max(1);
            let evidence = if source.is_some() { Evidence::FrameSource } else { Evidence::Claim };
            let at = move |n| UnixTime::new(first.seconds() + n * step, 0);
            (0..count).map(move |n| AddressSighting {
                time: at(n),
                network,
                mac,
                evidence,
                source,
                more: 0,
                until: None,
            })
        };
        let mut all: Vec<_> =
            self.pairings.iter().filter(|one| one.ip == ip).flat_map(of).collect();
        all.sort_by_key(|one| one.time);
        all
    }

    fn in_range(&self, ip: IpAddr, range: TimeRange) -> Vec<AddressSighting> {
        let mut all = self.all(ip);
        all.retain(|one| (range.from..range.to).contains(&one.time));
        all
    }
}

impl ClaimReader for Made {}

impl HistoryReader for Made {
    fn networks(&self) -> &[Network] {
        &[]
    }

    fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    fn addresses(&mut self, _: TimeRange) -> Result<Vec<IpAddr>, Error> {
        Ok(self.pairings.iter().map(|one| one.ip).collect())
    }

    fn addresses_of(&mut self, mac: MacAddr, _: TimeRange) -> Result<Vec<AddressOfMac>, Error> {
        let of = |one: &PairingSummary| {
            let PairingSummary { ip, first, last, is_claimed: is_own, .. } = *one;
            AddressOfMac { ip, first, last, is_own, is_more_than_probed: true }
        };
        Ok(self.pairings.iter().filter(|one| one.mac == mac).map(of).collect())
    }

    fn addresses_sent_by(&mut self, _: MacAddr, _: TimeRange) -> Result<Vec<IpAddr>, Error> {
        Ok(Vec::new())
    }

    fn weight(&mut self, ip: IpAddr, range: TimeRange, limit: u64) -> Result<u64, Error> {
        let weight = (self.in_range(ip, range).len() as u64).min(limit + 1);
        self.read += weight;
        Ok(weight)
    }

    fn sightings(&mut self, ip: IpAddr, range: TimeRange, each: EachSighting) -> Result<(), Error> {
        let all = self.in_range(ip, range);
        self.read += all.len() as u64;
        all.into_iter().for_each(each);
        Ok(())
    }

    fn nearest(&mut self, ip: IpAddr, at: UnixTime) -> Result<Vec<NearestSightings>, Error> {
        let mut found: Vec<NearestSightings> = Vec::new();
        for AddressSighting { time, network, mac, evidence, source, .. } in self.all(ip) {
            let known = found.iter().position(|one| one.of_source() == (network, mac, source));
            let index = known.unwrap_or_else(|| {
                let (before, after) = (Nearest::default(), Nearest::default());
                let first = Some(time);
                found.push(NearestSightings { network, mac, source, first, before, after });
                found.len() - 1
            });
            match time <= at {
                true => found[index].before.add(evidence, time, UnixTime::max),
                false => found[index].after.add(evidence, time, UnixTime::min),
            }
        }
        Ok(found)
    }

    fn pairings(&mut self, _: TimeRange, is_counted: bool) -> Result<Vec<PairingSummary>, Error> {
        let count = |one: &PairingSummary| one.count.filter(|_| is_counted);
        Ok(self.pairings.iter().map(|one| PairingSummary { count: count(one), ..*one }).collect())
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

/// The answer with counts, which is the same without them.
fn all_devices(history: &mut Made) -> ResultTable {
    let mut uncounted = devices(history, TimeRange::ALL, false).unwrap();
    history.read = 0;
    let counted = devices(history, TimeRange::ALL, true).unwrap();
    for (row, counted) in uncounted.rows.iter_mut().zip(&counted.rows) {
        let none = std::mem::replace(&mut row[3], counted[3].clone());
        assert_eq!(none, Cell::None);
    }
    assert_eq!(uncounted.rows, counted.rows);
    assert_eq!(uncounted.omitted.remark(), counted.omitted.remark());
    counted
}

/// The sightings that count for the victim.
fn count_of_victim(table: &ResultTable) -> Option<i64> {
    let victim = Cell::text(VICTIM);
    let row = table.rows.iter().find(|row| row[0] == victim)?;
    let Cell::Number(count) = row[3] else { panic!("{row:?}") };
    Some(count)
}

/// A /24 whose hosts have been seen 100,000 times in a year, each; and the victim's own address, seen once.
fn busy_network(forged: (i64, i64)) -> Made {
    let mut history = Made::default();
    for number in 1..=254 {
        history.add(number, owner(number), (0, YEAR), 100_000);
        history.add(number, VICTIM, forged, 2);
    }
    let (network, source) = (0, None);
    let mine = PairingSummary {
        network,
        source,
        is_claimed: true,
        is_answered: false,
        ..history.pairings[1]
    };
    history.pairings.push(PairingSummary {
        ip: [10, 0, 1, 0].into(),
        count: Some(1),
        last: mine.first,
        ..mine
    });
    history
}

/// Two forged frames about each address: only what is near them is read.
#[test]
fn a_burst_of_forged_frames() {
    let mut history = busy_network((YEAR / 2, YEAR / 2 + 1));
    let table = all_devices(&mut history);
    assert_eq!(count_of_victim(&table), Some(1));
    assert_eq!((table.omitted.forged, table.omitted.unchecked), (508, 0));
    assert!(history.read < 254 * 20, "{} sightings are read", history.read);
    let mut history = busy_network((YEAR / 2, YEAR / 2 + 1));
    let table = Query::Mac(VICTIM, TimeRange::ALL, Listed::Periods).run(&mut history).unwrap();
    assert_eq!((table.rows.len(), table.omitted.forged, table.omitted.unread), (1, 508, 0));
    assert!(history.read < 254 * 20, "{} sightings are read", history.read);
}

/// Forged frames a year apart: what is read has a limit; the rest is said.
#[test]
fn forged_frames_all_year() {
    let mut history = busy_network((1, YEAR - 100_000));
    let table = all_devices(&mut history);
    let omitted = &table.omitted;
    assert!(omitted.forged > 0 && omitted.unchecked > 0, "{omitted:?}");
    assert_eq!(omitted.forged + 2 * omitted.unchecked, 508);
    assert_eq!(count_of_victim(&table), Some(1 + 2 * omitted.unchecked as i64));
    assert!(history.read <= 2 * SIGHTINGS, "{} sightings are read", history.read);
    let remark = omitted.remark().unwrap();
    assert!(remark.contains("although other MACs sent the frames: too many to check"), "{remark}");
    let mut history = busy_network((1, YEAR - 100_000));
    let table = Query::Mac(VICTIM, TimeRange::ALL, Listed::Periods).run(&mut history).unwrap();
    let omitted = &table.omitted;
    assert_eq!((table.rows.len() as u64, omitted.forged + 2 * omitted.unread), (1, 508));
    assert!(omitted.unread > 0, "{omitted:?}");
    assert!(history.read <= 2 * SIGHTINGS, "{} sightings are read", history.read);
}

/// Made-up addresses, all lower than the real one: it is checked first, and nothing is left out unchecked.
#[test]
fn made_up_addresses() {
    let mut history = Made::default();
    for number in 0..6000 {
        history.add(number, owner(number), (YEAR, YEAR), 1);
        history.add(number, VICTIM, (YEAR + 1, YEAR + 1), 1);
    }
    history.add(0xff_ffff, owner(0xff_ffff), (0, YEAR), 100_000);
    history.add(0xff_ffff, VICTIM, (YEAR / 2, YEAR / 2 + 1), 7);
    let table = all_devices(&mut history);
    let omitted = &table.omitted;
    assert!(omitted.forged > 7 && omitted.unchecked > 0, "{omitted:?}");
    assert_eq!(omitted.forged + omitted.unchecked, 6007);
    assert_eq!(count_of_victim(&table), Some(omitted.unchecked as i64));
}
