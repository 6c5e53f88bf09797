//! An address and the MACs that claimed it: arpwatch's state machine (2.1a15 with Debian's patches), rule by rule, and
//! the signs that two machines use one address. No I/O and no clock; times are the packets', in whole seconds.

use shm_layout::MacAddr;

/// After half a year, arpwatch reports the same pairing as *new activity*.
const HALF_A_YEAR: i64 = 180 * 86_400;
/// DECnet sets the MAC to an address of its own, so that a station's MAC changes at each start.
const DECNET: [u8; 3] = [0xaa, 0x00, 0x04];
const DECNET_WITHIN: i64 = 86_400;
/// An owner answers a probe at once (RFC 5227, 2.4; RFC 4862, 5.4.3); in whole seconds, and with delays.
const MAX_ANSWER_DELAY: i64 = 5;
/// Claims that are stored for each address. arpwatch stores all; a host that invents MACs would let that grow without
/// limit. The oldest claim is removed; if its MAC returns, that is *changed* instead of *reused*.
pub const MAX_CLAIMS: usize = 64;

/// A MAC that claimed the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacClaim {
    /// The MAC.
    pub mac: MacAddr,
    /// When it last claimed the address.
    pub time: i64,
}

/// The state of one address in one network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// The most recent one first.
    pub claims: Vec<MacClaim>,
    /// The last probe for the address (RFC 5227, RFC 4862).
    pub probe: Option<MacClaim>,
    /// When a flip flop or duplicate was last reported; 0 = never.
    pub last_alert: i64,
    /// How many were suppressed since.
    pub suppressed: u32,
    /// When a duplicate was last reported; 0 = never.
    pub last_duplicate: i64,
}

/// How a claim changes a station, in arpwatch's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The same MAC after half a year.
    NewActivity,
    /// The first claim.
    NewStation,
    /// A flip flop that DECnet causes.
    SuppressedDecnet,
    /// The previous MAC again.
    FlipFlop,
    /// An older MAC again.
    Reused,
    /// Another MAC.
    Changed,
}

impl Station {
    /// Records a claim. Returns what it changed and the claim that was current before.
    pub fn claim(&mut self, mac: MacAddr, time: i64) -> Option<(Transition, Option<MacClaim>)> {
        let claim = MacClaim { mac, time };
        let Some(current) = self.claims.first().copied() else {
            self.claims.push(claim);
            return Some((Transition::NewStation, None));
        };
        let index = self.claims.iter().position(|known| known.mac == mac);
        let change = match index {
            Some(0) => {
                self.claims[0].time = time;
                let silent = time - current.time > HALF_A_YEAR;
                return silent.then_some((Transition::NewActivity, Some(current)));
            }
            Some(1) if time - current.time < DECNET_WITHIN && is_decnet(mac, current.mac) => {
                Transition::SuppressedDecnet
            }
            Some(1) => Transition::FlipFlop,
            Some(_) => Transition::Reused,
            None => Transition::Changed,
        };
        if let Some(index) = index {
            self.claims.remove(index);
        }
        self.claims.insert(0, claim);
        self.claims.truncate(MAX_CLAIMS);
        Some((change, Some(current)))
    }

    /// Whether two machines use the address at the same time; call it before [`Station::claim`]. Returns the other
    /// machine's claim and the evidence. `answers`: the message is a reply or an advertisement.
    pub fn duplicate(
        &self,
        mac: MacAddr,
        time: i64,
        within: i64,
        answers: bool,
    ) -> Option<(MacClaim, &'static str)> {
        let near = |claim: &MacClaim| (time - claim.time).abs() <= within;
        // The owner answers another machine's probe: both use it. Other messages of the owner are no answer.
        let asked = |probe: &MacClaim| {
            answers
                && probe.mac != mac
                && (0..=MAX_ANSWER_DELAY.min(within)).contains(&(time - probe.time))
        };
        if let Some(probe) = self.probe.filter(asked)
            && self.claims.first().is_some_and(|owner| owner.mac == mac)
        {
            return Some((probe, "the owner answered a probe"));
        }
        // A machine that took the address over does not lose it again within seconds.
        let [current, before, ..] = &*self.claims else { return None };
        let back = before.mac == mac && near(before) && near(current);
        back.then_some((*current, "both MACs claim it in turn"))
    }

    /// Limits repeated alerts to one in `quiet` seconds. Returns how many were suppressed since the last one, or `None`
    /// if this one is suppressed too. Duplicates have an interval of their own: they are more serious than the flip flop
    /// that precedes them.
    pub fn admit_alert(&mut self, time: i64, quiet: i64, duplicate: bool) -> Option<u32> {
        let last = if duplicate { self.last_duplicate } else { self.last_alert };
        if last != 0 && (time - last).abs() < quiet {
            self.suppressed = self.suppressed.saturating_add(1);
            return None;
        }
        self.last_alert = time;
        if duplicate {
            self.last_duplicate = time;
        }
        Some(std::mem::take(&mut self.suppressed))
    }
}

fn is_decnet(a: MacAddr, b: MacAddr) -> bool {
    [a, b].iter().any(|mac| mac.octets()[..3] == DECNET)
}

#[cfg(test)]
mod tests {
    use super::{Transition::*, *};

    fn mac(letter: char) -> MacAddr {
        match letter {
            'K' => MacAddr::new([0xaa, 0, 4, 0, 0, 1]),
            other => MacAddr::new([0, 8, 0xe1, 1, 2, other as u8]),
        }
    }

    type Outcome = Option<(Transition, Option<MacAddr>)>;

    /// Records claims of MACs A, B, ...; the outcome of each with the MAC that was current.
    fn play(story: &[(char, i64)]) -> (Vec<Outcome>, Station) {
        let mut station = Station::default();
        let outcomes = story.iter().map(|(letter, time)| {
            let outcome = station.claim(mac(*letter), *time);
            outcome.map(|(change, old)| (change, old.map(|claim| claim.mac)))
        });
        (outcomes.collect(), station)
    }

    /// Golden: Debian's arpwatch was run on these.
    #[test]
    fn as_arpwatch() {
        let letters = "AABABCACBDA".chars().zip(0..).collect::<Vec<_>>();
        let (outcomes, station) = play(&letters);
        let old = |letter| Some(mac(letter));
        let expected = [
            Some((NewStation, None)),
            None,
            Some((Changed, old('A'))),
            Some((FlipFlop, old('B'))),
            Some((FlipFlop, old('A'))),
            Some((Changed, old('B'))),
            Some((Reused, old('C'))),
            Some((FlipFlop, old('A'))),
            Some((Reused, old('C'))),
            Some((Changed, old('B'))),
            Some((Reused, old('D'))),
        ];
        assert_eq!(outcomes, expected);
        let last = [('A', 10), ('D', 9), ('B', 8), ('C', 7)];
        assert_eq!(station.claims, last.map(|(letter, time)| MacClaim { mac: mac(letter), time }));
    }

    #[test]
    fn new_activity_after_more_than_half_a_year() {
        let (outcomes, _) = play(&[('A', 0), ('A', 15_552_000), ('A', 31_104_001)]);
        assert_eq!(outcomes, [Some((NewStation, None)), None, Some((NewActivity, Some(mac('A'))))]);
        let (outcomes, _) = play(&[('A', 0), ('B', 1), ('A', 99_999_999)]);
        assert_eq!(outcomes[2], Some((FlipFlop, Some(mac('B')))), "never against half a year");
    }

    #[test]
    fn decnet_flip_flops() {
        let day = 86_400;
        let (outcomes, _) = play(&[('A', 0), ('K', 1), ('A', 2), ('K', 2 + day), ('A', 3 + day)]);
        let changes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().0).collect();
        assert_eq!(changes, [NewStation, Changed, SuppressedDecnet, FlipFlop, SuppressedDecnet]);
    }

    #[test]
    fn a_duplicate_is_not_a_move() {
        let (_, station) = play(&[('A', 0), ('B', 5)]);
        assert_eq!(station.duplicate(mac('B'), 6, 60, false), None, "moved, and stays");
        let (other, why) = station.duplicate(mac('A'), 7, 60, false).unwrap();
        assert_eq!((other.mac, why), (mac('B'), "both MACs claim it in turn"));
        assert_eq!(
            station.duplicate(mac('A'), 700, 60, false),
            None,
            "a lease that went there and back"
        );
        let (_, mut station) = play(&[('A', 0)]);
        station.probe = Some(MacClaim { mac: mac('B'), time: 1000 });
        assert_eq!(
            station.duplicate(mac('A'), 1001, 60, true).map(|(other, _)| other.mac),
            Some(mac('B'))
        );
        assert_eq!(station.duplicate(mac('B'), 1001, 60, true), None, "the prober itself");
        assert_eq!(station.duplicate(mac('A'), 1001, 60, false), None, "a request is no answer");
        assert_eq!(station.duplicate(mac('A'), 1030, 60, true), None, "too late for an answer");
    }

    #[test]
    fn claims_are_bounded_and_alerts_are_limited() {
        let mut station = Station::default();
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            station.claim(MacAddr::new([2, 0, 0, 0, high, low]), number.into());
        }
        assert_eq!(station.claims.len(), MAX_CLAIMS);
        let admitted = [10, 20, 3609, 3610].map(|time| station.admit_alert(time, 3600, false));
        assert_eq!(admitted, [Some(0), None, None, Some(2)]);
        let admitted = [3611, 3612].map(|time| station.admit_alert(time, 3600, true));
        assert_eq!(admitted, [Some(0), None]);
    }
}
