use super::*;
use crate::{
    address_rows::{Listed, address, addresses},
    device, devices,
    history_reader::{
        AddressOfMac, AddressSighting, Claim, ClaimReader, EachSighting, Network, PairingSummary,
        RouterChange,
    },
    mac_at::mac_at,
    one_network,
    who::who,
};
use jiff::tz::TimeZone;
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
    /// MACs in the list of all, and the first sighting of them.
    seen: Vec<u8>,
    begin: Option<i64>,
    networks: Vec<Network>,
    read: usize,
    /// The pairings that were asked for, and how many MACs were searched in the whole history.
    asked: (Vec<TimeRange>, usize),
    is_cut: bool,
}

impl Messages {
    fn new() -> Messages {
        let clocks = Clocks::new(HashSet::new());
        let (claimed, sightings, leases) = (Vec::new(), Vec::new(), Vec::new());
        let (seen, begin) = (Vec::new(), None);
        let network = |vlan| Network { interface: "eth0".into(), vlan, ..Network::default() };
        let networks = vec![network(0), network(20), network(30)];
        Messages {
            clocks,
            claimed,
            sightings,
            leases,
            has_leases: true,
            seen,
            begin,
            networks,
            read: 0,
            asked: (Vec::new(), 0),
            is_cut: false,
        }
    }

    fn claimed(&mut self, last: u8, why: Why, (from, to): (i64, i64)) {
        let (mac, ip, first, last) = (mac(last), IP, time(from), time(to));
        self.claimed.push(ClaimedAddress { network: 0, mac, ip, why, first, last, count: 2 });
    }

    fn asked(&mut self, last: u8, seconds: i64) {
        self.claimed(last, Why::Requested, (seconds, seconds));
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

impl ClaimReader for Messages {
    fn addresses_claimed_by(&mut self, of: MacAddr) -> Result<Vec<ClaimedAddress>, Error> {
        Ok(self.claimed.iter().filter(|one| one.mac == of).copied().collect())
    }

    fn claims(&mut self, _: TimeRange) -> Result<(Vec<Claim>, bool), Error> {
        let of = |one: &ClaimedAddress| {
            let ClaimedAddress { network, mac, ip, why, first, last, .. } = *one;
            Claim { network, mac, what: Some((why, ip)), first, last }
        };
        Ok((self.claimed.iter().map(of).collect(), false))
    }

    fn claimed_addresses(&mut self, _: IpAddr, _: TimeRange) -> Result<Vec<ClaimedAddress>, Error> {
        Ok(self.claimed.clone())
    }

    fn leases(&mut self, of: (IpAddr, MacAddr), at: UnixTime) -> Result<Vec<Lease>, Error> {
        let all = self.leases.iter().filter(|one| one.mac == of.1 && one.begin <= at);
        Ok(all.copied().filter(|_| self.has_leases).collect())
    }
}

impl HistoryReader for Messages {
    fn networks(&self) -> &[Network] {
        &self.networks
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

    fn pairings(&mut self, range: TimeRange, counts: bool) -> Result<Vec<PairingSummary>, Error> {
        self.asked.0.push(range);
        let first = time(self.begin.unwrap_or(-DAY));
        if first < range.from || first >= range.to {
            return Ok(Vec::new());
        }
        let of = |last: u8| PairingSummary {
            network: 0,
            mac: mac(last),
            ip: IP,
            source: None,
            first,
            has_undated: false,
            last: first,
            count: counts.then_some(1),
            is_claimed: true,
            is_answered: false,
        };
        Ok(self.seen.iter().copied().chain(self.begin.map(|_| 99)).map(of).collect())
    }

    fn macs_in_use(&mut self, macs: &[MacAddr]) -> Result<HashSet<MacAddr>, Error> {
        self.asked.1 += macs.len();
        let is_seen = |of: &&MacAddr| self.seen.iter().any(|last| mac(*last) == **of);
        Ok(macs.iter().filter(is_seen).copied().collect())
    }

    fn is_cut(&self) -> bool {
        self.is_cut
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

/// Who renews a lease has the address, as it says: that is more than a question for one, and less than an announcement.
#[test]
fn a_lease_that_is_renewed() {
    let mut history = Messages::new();
    history.asked(1, -5);
    history.claimed(2, Why::Renewed, (-HOUR, -5));
    let renewed = "2 renewed renewed its lease by DHCP 5 s before (a claim)";
    let words = history.words();
    assert!(words[0] == renewed && words[1].starts_with("1 requested"), "{words:?}");
    history.claimed(3, Why::Announced, (-5, -5));
    assert!(history.words()[0].starts_with("3 announced"), "{:?}", history.words());
    let asked = addresses(&mut history, mac(2), TimeRange::ALL, Listed::Periods).unwrap();
    let remark = asked.omitted.unseen(&TimeZone::UTC).unwrap();
    assert!(remark.starts_with("not seen in use: renewed 192.0.2.22 by DHCP from"), "{remark}");
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
    history.claimed(2, Why::Announced, (20 - AT, 0));
    history.claimed(3, Why::Announced, (-31 * DAY, -29 * DAY));
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
    history.claimed(1, Why::Announced, (-365 * DAY, -365 * DAY));
    let words = history.words();
    assert!(words[0].starts_with("1 announced") && words[1].starts_with("1 probed"), "{words:?}");
    history.claimed(1, Why::Announced, (-365 * DAY, -60));
    assert_eq!(history.words().len(), 1);
}

/// An old sighting does not hide who says now that it has the address; a near one does. What the MAC itself says is in its row.
#[test]
fn after_an_old_sighting() {
    let mut history = Messages::new();
    history.sightings.push((1, -90 * DAY, Evidence::Claim));
    history.claimed(2, Why::Announced, (-30 * DAY, -60));
    history.claimed(3, Why::Announced, (-120 * DAY, -119 * DAY));
    let words = history.words();
    let old = "1 one-sided seen 90 d 0 h before, not since";
    assert!(words[0].starts_with(old) && words.len() == 2, "{words:?}");
    assert_eq!(words[1], "2 announced announced by mDNS 1 min 0 s before (a claim)");
    history.claimed(1, Why::Announced, (-5, -5));
    let words = history.words();
    assert!(words[0].ends_with("; announced by mDNS 5 s before (a claim)"), "{words:?}");
    assert_eq!(words.len(), 2);
    // The same in the answer about times, without rows of what is no sighting.
    let mut asked = address(&mut history, IP, TimeRange::ALL, false).unwrap();
    let remark = asked.omitted.unseen(&TimeZone::UTC).unwrap();
    let by = "not seen in use: announced by mDNS by 02:00:00:00:00:02 from ";
    assert!(asked.rows.len() == 1 && remark.starts_with(by), "{remark}");
    assert!(!remark.contains(";"), "neither what is older, nor what the same MAC says: {remark}");
    history.sightings.push((1, -300, Evidence::Claim));
    assert_eq!(history.words().len(), 1, "{:?}", history.words());
    asked = address(&mut history, IP, TimeRange::ALL, false).unwrap();
    assert_eq!(asked.omitted.unseen(&TimeZone::UTC), None);
}

/// A sighting in another network hides nothing, and is in no remark about this one.
#[test]
fn in_another_network() {
    let mut history = Messages::new();
    history.sightings.push((1, -60, Evidence::Claim));
    history.claimed(2, Why::Announced, (-DAY, -5));
    assert_eq!(history.words().len(), 1);
    history.claimed[0].network = 1;
    let words = history.words();
    assert!(words.len() == 2 && words[1].starts_with("2 announced"), "{words:?}");
    let mut asked = address(&mut history, IP, TimeRange::ALL, false).unwrap();
    let remark = asked.omitted.unseen(&TimeZone::UTC).unwrap();
    assert!(remark.contains("02:00:00:00:00:02 on eth0.20 from"), "{remark}");
    assert_eq!(one_network::keep(&mut asked, "eth0"), None);
    assert_eq!(asked.omitted.unseen(&TimeZone::UTC), None);
}

/// Of an address the strongest message counts for the remark, not the latest one.
#[test]
fn announced_and_then_asked_for() {
    let mut history = Messages::new();
    history.claimed(2, Why::Announced, (-300, -20));
    history.asked(2, -10);
    let asked = addresses(&mut history, mac(2), TimeRange::ALL, Listed::Periods).unwrap();
    let remark = asked.omitted.unseen(&TimeZone::UTC).unwrap();
    assert!(remark.starts_with("not seen in use: announced 192.0.2.22 by mDNS"), "{remark}");
    let mark = |history: &mut Messages| {
        let table = devices::devices(history, TimeRange::ALL, false).unwrap();
        table.rows[0][12].clone()
    };
    assert_eq!(mark(&mut history), Cell::List(vec!["announced 192.0.2.22".into()]));
}

/// The list of a time range has only devices of which there is a message in it, and that were seen at no other time.
#[test]
fn a_list_of_some_hours() {
    let mut history = Messages::new();
    history.claimed(2, Why::Announced, (0, 10 * DAY));
    history.seen = vec![9];
    let mut list = |from: i64, to: i64| {
        let range = TimeRange { from: time(from), to: time(to) };
        let table = devices::devices(&mut history, range, false).unwrap();
        let marked = table.rows.iter().filter(|row| row[12] != Cell::List(Vec::new()));
        marked.map(|row| (row[1].clone(), row[2].clone())).collect::<Vec<_>>()
    };
    assert_eq!(list(5 * DAY, 5 * DAY + HOUR), []);
    assert_eq!(list(10 * DAY + 60, 10 * DAY + HOUR), []);
    let begin: Cell = time(0).into();
    assert_eq!(list(-HOUR, HOUR), [(begin.clone(), begin)]);
    history.seen = vec![2];
    history.begin = Some(5 * DAY); // it was seen then
    let range = TimeRange { from: time(-HOUR), to: time(HOUR) };
    assert_eq!(devices::devices(&mut history, range, false).unwrap().rows, Vec::<Vec<Cell>>::new());
}

/// Of a list of some hours, the rest of the history is not read: the devices that only announced themselves then are searched in it, so many of
/// them. The same if the list of all has a part of the pairings.
#[test]
fn the_rest_of_the_history_is_not_read() {
    let mut history = Messages::new();
    history.claimed(2, Why::Announced, (0, 60));
    history.claimed(3, Why::Announced, (0, 60));
    (history.seen, history.begin) = (vec![3], Some(-DAY));
    let hour = TimeRange { from: time(0), to: time(HOUR) };
    let list = |history: &mut Messages, range| {
        history.asked = (Vec::new(), 0);
        let table = devices::devices(history, range, false).unwrap();
        let marked = table.rows.iter().filter(|row| row[12] != Cell::List(Vec::new()));
        let macs: Vec<_> = marked.map(|row| row[0].clone()).collect();
        (macs, history.asked.clone(), table.omitted.is_unseen_cut)
    };
    let only = || vec![Cell::text(mac(2))];
    assert_eq!(list(&mut history, hour), (only(), (vec![hour], 2), false));
    let all = TimeRange::ALL;
    assert_eq!(list(&mut history, all), (only(), (vec![all], 0), false));
    history.is_cut = true;
    assert_eq!(list(&mut history, all), (only(), (vec![all], 1), false));
    let one = history.claimed[0];
    let made_up = (0..2_000_u16).map(|number| {
        let [high, low] = number.to_be_bytes();
        ClaimedAddress { mac: MacAddr::new([6, 0, 0, 0, high, low]), ..one }
    });
    history.claimed.extend(made_up);
    let (listed, asked, is_cut) = list(&mut history, hour);
    assert_eq!((listed.len(), asked, is_cut), (999, (vec![hour], 1_000), true));
}

/// That the history begins later is said only if nothing is there from before.
#[test]
fn before_the_history() {
    let mut history = Messages::new();
    history.begin = Some(HOUR);
    history.claimed(2, Why::Announced, (2 * DAY, 2 * DAY));
    let begins_after = |history: &mut Messages| who(history, IP, time(0)).unwrap().begins_after();
    assert!(begins_after(&mut history));
    history.claimed(3, Why::Announced, (-300, -300));
    assert!(!begins_after(&mut history));
}

/// A flood of MACs has one number: that of MACs.
#[test]
fn further_macs() {
    let mut history = Messages::new();
    (1..=20).for_each(|n| history.claimed(n, Why::Announced, (-60, -60)));
    for network in 1..3 {
        let others = history.claimed.iter().map(|one| ClaimedAddress { network, ..*one });
        let others: Vec<_> = others.collect();
        history.claimed.extend(others.into_iter().take(20));
    }
    let omitted = who(&mut history, IP, time(0)).unwrap().omitted;
    let remark = omitted.unseen(&TimeZone::UTC).unwrap();
    assert!(remark.starts_with("12 further MACs announced the address"), "{remark}");
}

/// The addresses of a device that was not seen to use one: as rows, or in a remark.
#[test]
fn a_device_that_only_announced_itself() {
    let mut history = Messages::new();
    history.claimed(2, Why::Announced, (-300, -9));
    history.claimed(3, Why::Announced, (-300, -9));
    history.asked(2, -400);
    let asked = mac_at(&mut history, mac(2), time(0)).unwrap();
    let [row] = &asked.rows[..] else { panic!("{:?}", asked.rows) };
    let text = "not seen in use: announced by mDNS 9 s before (a claim)";
    assert_eq!((&row[0], &row[3]), (&Cell::text(IP), &Cell::text("announced")));
    assert_eq!(row[4], Cell::text(text));
    assert!(!asked.is_away() && !asked.begins_after());
    let remark = |history: &mut Messages, listed| {
        let asked = addresses(history, mac(2), TimeRange::ALL, listed).unwrap();
        (asked.rows.len(), asked.omitted.unseen(&TimeZone::UTC))
    };
    let (rows, text) = remark(&mut history, Listed::Periods);
    let announced = "not seen in use: announced 192.0.2.22 by mDNS from 2026-05-28 20:21:40 +00:00 to 2026-05-28 20:26:31 +00:00 (a claim)";
    assert_eq!((rows, text.as_deref()), (0, Some(announced)));
    assert_eq!(remark(&mut history, Listed::All), (2, None));
    // By its name, the same is a row: of each address the strongest one.
    let asked = addresses(&mut history, mac(2), TimeRange::ALL, Listed::Claims).unwrap();
    let marks: Vec<_> = asked.rows.iter().map(|row| asked.cell(row, "left_out")).collect();
    assert_eq!(marks, [&Cell::text("announced by mDNS")]);
    assert_eq!(asked.omitted.unseen(&TimeZone::UTC), None);
    let table = device::addresses(&mut history, mac(2)).unwrap();
    let proofs: Vec<_> = table.rows.iter().map(|row| row[3].clone()).collect();
    assert_eq!(proofs, [Cell::text("announced by mDNS")], "a row for each address");
    // In the list of all, marked; one that was seen is not.
    history.seen = vec![3];
    let table = devices::devices(&mut history, TimeRange::ALL, true).unwrap();
    let marks: Vec<_> = table.rows.iter().map(|row| (row[0].clone(), row[12].clone())).collect();
    let marked = Cell::List(vec!["announced 192.0.2.22".into()]);
    assert_eq!(marks, [(Cell::text(mac(2)), marked), (Cell::text(mac(3)), Cell::List(Vec::new()))]);
    assert_eq!(table.columns[12], "not_seen_in_use");
    assert_eq!(table.rows[0][3..5], [Cell::Number(0), Cell::List(Vec::new())]);
}
