//! An address and who claimed it: arpwatch's state machine (2.1a15 with Debian's patches), rule by rule, and what
//! speaks for two machines that use one address. No I/O and no clock; times are whole seconds, the packets' own.

use shm_layout::MacAddr;

/// Half a year: beyond it, arpwatch calls the same pairing *new activity*.
const HALF_A_YEAR: i64 = 180 * 86_400;
/// DECnet sets the MAC to an address of its own, so that a station flips at each start.
const DECNET: [u8; 3] = [0xaa, 0x00, 0x04];
const DECNET_WITHIN: i64 = 86_400;
/// An owner answers a probe at once (RFC 5227, 2.4; RFC 4862, 5.4.3); in whole seconds, and with delays.
const ANSWER_WITHIN: i64 = 5;
/// Claims kept for each address. arpwatch keeps all; a host that makes up MACs would make that endless.
/// The one silent longest goes, and is *changed* instead of *reused* if it ever returns.
pub const MAX_CLAIMS: usize = 64;

/// A MAC that claimed the address, and when it last did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub mac: MacAddr,
    pub time: i64,
}

/// What is known of an address in a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Station {
    /// Most recently heard first.
    pub claims: Vec<Claim>,
    /// Who last asked whether the address is free (RFC 5227, RFC 4862).
    pub probe: Option<Claim>,
    /// When a change of MAC was last told, and how many were not told since.
    pub told: i64,
    pub untold: u32,
    /// When it was last told that two machines use it.
    pub told_duplicate: i64,
}

/// What arpwatch says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    NewActivity,
    NewStation,
    SuppressedDecnet,
    FlipFlop,
    Reused,
    Changed,
}

impl Station {
    /// Takes a claim; tells what changed by it, and which claim was the current one.
    pub fn claim(&mut self, mac: MacAddr, time: i64) -> Option<(Change, Option<Claim>)> {
        let claim = Claim { mac, time };
        let Some(current) = self.claims.first().copied() else {
            self.claims.push(claim);
            return Some((Change::NewStation, None));
        };
        let place = self.claims.iter().position(|known| known.mac == mac);
        let change = match place {
            Some(0) => {
                self.claims[0].time = time;
                let silent = time - current.time > HALF_A_YEAR;
                return silent.then_some((Change::NewActivity, Some(current)));
            }
            Some(1) if time - current.time < DECNET_WITHIN && decnet(mac, current.mac) => {
                Change::SuppressedDecnet
            }
            Some(1) => Change::FlipFlop,
            Some(_) => Change::Reused,
            None => Change::Changed,
        };
        if let Some(place) = place {
            self.claims.remove(place);
        }
        self.claims.insert(0, claim);
        self.claims.truncate(MAX_CLAIMS);
        Some((change, Some(current)))
    }

    /// Whether two machines use the address now. To be asked before the claim is taken: the other one, and how it shows.
    /// `answers`: it is a reply or an advertisement.
    pub fn duplicate(
        &self,
        mac: MacAddr,
        time: i64,
        within: i64,
        answers: bool,
    ) -> Option<(Claim, &'static str)> {
        let near = |claim: &Claim| (time - claim.time).abs() <= within;
        // The owner answers the probe of another: both want it. Other messages of the owner are no answer.
        let asked = |probe: &Claim| {
            answers
                && probe.mac != mac
                && (0..=ANSWER_WITHIN.min(within)).contains(&(time - probe.time))
        };
        if let Some(probe) = self.probe.filter(asked)
            && self.claims.first().is_some_and(|owner| owner.mac == mac)
        {
            return Some((probe, "the owner answered a probe"));
        }
        // One that moved does not come back at once.
        let [current, before, ..] = &*self.claims else { return None };
        let back = before.mac == mac && near(before) && near(current);
        back.then_some((*current, "both were heard in turn"))
    }

    /// Whether a change may be told now; one that goes on and on is told once in `quiet` seconds, with their number.
    /// That it is a duplicate is more than that it changed, which comes first, and is told by its own time.
    pub fn tell(&mut self, time: i64, quiet: i64, duplicate: bool) -> Option<u32> {
        let told = if duplicate { self.told_duplicate } else { self.told };
        if told != 0 && (time - told).abs() < quiet {
            self.untold = self.untold.saturating_add(1);
            return None;
        }
        self.told = time;
        if duplicate {
            self.told_duplicate = time;
        }
        Some(std::mem::take(&mut self.untold))
    }
}

fn decnet(a: MacAddr, b: MacAddr) -> bool {
    [a, b].iter().any(|mac| mac.octets()[..3] == DECNET)
}

#[cfg(test)]
mod tests {
    use super::{Change::*, *};

    fn mac(letter: char) -> MacAddr {
        match letter {
            'K' => MacAddr::new([0xaa, 0, 4, 0, 0, 1]),
            other => MacAddr::new([0, 8, 0xe1, 1, 2, other as u8]),
        }
    }

    type Told = Option<(Change, Option<MacAddr>)>;

    /// Plays `A@0` and the like; what each said, with the MAC that was current.
    fn play(story: &[(char, i64)]) -> (Vec<Told>, Station) {
        let mut station = Station::default();
        let told = story.iter().map(|(letter, time)| {
            let told = station.claim(mac(*letter), *time);
            told.map(|(change, old)| (change, old.map(|claim| claim.mac)))
        });
        (told.collect(), station)
    }

    /// Golden: Debian's arpwatch was run on these.
    #[test]
    fn as_arpwatch() {
        let letters = "AABABCACBDA".chars().zip(0..).collect::<Vec<_>>();
        let (told, station) = play(&letters);
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
        assert_eq!(told, expected);
        let last = [('A', 10), ('D', 9), ('B', 8), ('C', 7)];
        assert_eq!(station.claims, last.map(|(letter, time)| Claim { mac: mac(letter), time }));
    }

    #[test]
    fn new_activity_after_more_than_half_a_year() {
        let (told, _) = play(&[('A', 0), ('A', 15_552_000), ('A', 31_104_001)]);
        assert_eq!(told, [Some((NewStation, None)), None, Some((NewActivity, Some(mac('A'))))]);
        let (told, _) = play(&[('A', 0), ('B', 1), ('A', 99_999_999)]);
        assert_eq!(told[2], Some((FlipFlop, Some(mac('B')))), "never against half a year");
    }

    #[test]
    fn decnet_flip_flops() {
        let day = 86_400;
        let (told, _) = play(&[('A', 0), ('K', 1), ('A', 2), ('K', 2 + day), ('A', 3 + day)]);
        let told: Vec<_> = told.into_iter().map(|told| told.unwrap().0).collect();
        assert_eq!(told, [NewStation, Changed, SuppressedDecnet, FlipFlop, SuppressedDecnet]);
    }

    #[test]
    fn a_duplicate_is_not_a_move() {
        let (_, station) = play(&[('A', 0), ('B', 5)]);
        assert_eq!(station.duplicate(mac('B'), 6, 60, false), None, "moved, and stays");
        let (other, why) = station.duplicate(mac('A'), 7, 60, false).unwrap();
        assert_eq!((other.mac, why), (mac('B'), "both were heard in turn"));
        assert_eq!(
            station.duplicate(mac('A'), 700, 60, false),
            None,
            "a lease that went there and back"
        );
        let (_, mut station) = play(&[('A', 0)]);
        station.probe = Some(Claim { mac: mac('B'), time: 1000 });
        assert_eq!(
            station.duplicate(mac('A'), 1001, 60, true).map(|(other, _)| other.mac),
            Some(mac('B'))
        );
        assert_eq!(station.duplicate(mac('B'), 1001, 60, true), None, "nobody answered");
        assert_eq!(station.duplicate(mac('A'), 1001, 60, false), None, "it only asked for others");
        assert_eq!(station.duplicate(mac('A'), 1030, 60, true), None, "an answer to somebody else");
    }

    #[test]
    fn bounded_and_told_now_and_then() {
        let mut station = Station::default();
        for number in 0..1000_u16 {
            let [high, low] = number.to_be_bytes();
            station.claim(MacAddr::new([2, 0, 0, 0, high, low]), number.into());
        }
        assert_eq!(station.claims.len(), MAX_CLAIMS);
        let told: Vec<_> = [10, 20, 3609, 3610].map(|time| station.tell(time, 3600, false)).into();
        assert_eq!(told, [Some(0), None, None, Some(2)]);
        let told = [3611, 3612].map(|time| station.tell(time, 3600, true));
        assert_eq!(told, [Some(0), None]);
    }
}
