//! The sightings that are nearest to a time. No I/O and no clock.

use std::collections::HashMap;

use shm_layout::{Evidence, MacAddr, UnixTime};

/// For each kind of evidence the sighting that is nearest to a time, on one side of it. Beyond the nearest claim a
/// reader may omit the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nearest {
    pub claim: Option<UnixTime>,
    pub frame_source: Option<UnixTime>,
    pub sign_of_life: Option<UnixTime>,
    pub probe: Option<UnixTime>,
    /// A lease or a registration, which is no sighting.
    pub lease: Option<UnixTime>,
}

impl Nearest {
    /// The sightings.
    pub fn all(&self) -> [Option<UnixTime>; 4] {
        [self.claim, self.frame_source, self.sign_of_life, self.probe]
    }

    fn merge(&mut self, other: &Nearest, nearer: Nearer) {
        let Nearest { claim, frame_source, sign_of_life, probe, lease } = self;
        let own = [claim, frame_source, sign_of_life, probe, lease];
        for (own, other) in own.into_iter().zip(other.all().into_iter().chain([other.lease])) {
            *own = match (*own, other) {
                (Some(one), Some(other)) => Some(nearer(one, other)),
                (one, other) => one.or(other),
            };
        }
    }

    /// Adds a sighting; `nearer` chooses between two.
    pub fn add(&mut self, evidence: Evidence, time: UnixTime, nearer: Nearer) {
        let of_its_kind = match evidence {
            Evidence::Claim => &mut self.claim,
            Evidence::FrameSource => &mut self.frame_source,
            Evidence::SignOfLife => &mut self.sign_of_life,
            Evidence::Probe => &mut self.probe,
            Evidence::Lease => &mut self.lease,
            Evidence::NoHost | Evidence::Ignored => return,
        };
        *of_its_kind = Some(of_its_kind.map_or(time, |known| nearer(known, time)));
    }
}

/// Before a time, the later of two sightings is nearer (`max`); after it the earlier one (`min`).
pub type Nearer = fn(UnixTime, UnixTime) -> UnixTime;

/// The sightings of a MAC with an address that are nearest to a time: the last ones at or before it, and the first
/// ones after it. Those in frames of each other MAC are apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NearestSightings {
    pub network: usize,
    pub mac: MacAddr,
    /// The MAC that sent the frames, if it is another one.
    pub source: Option<MacAddr>,
    /// The first claim of all, of those with a date if there are some. A reader may omit it if nothing is near the time, and no claim was sent by another MAC.
    pub first: Option<UnixTime>,
    pub before: Nearest,
    pub after: Nearest,
}

impl NearestSightings {
    pub fn new(network: usize, mac: MacAddr, source: Option<MacAddr>) -> NearestSightings {
        let (before, after) = (Nearest::default(), Nearest::default());
        NearestSightings { network, mac, source, first: None, before, after }
    }

    /// The earlier of two first claims. One since the clock was `set` comes before one that has no date.
    pub fn first_of(
        one: Option<UnixTime>,
        other: Option<UnixTime>,
        set: UnixTime,
    ) -> Option<UnixTime> {
        [one, other].into_iter().flatten().min_by_key(|time| (*time < set, *time))
    }

    /// Those of each MAC in a network together, from any sender of frames.
    pub fn merged(all: &[NearestSightings]) -> Vec<NearestSightings> {
        let mut merged: Vec<NearestSightings> = Vec::new();
        let mut known: HashMap<(usize, MacAddr), usize> = HashMap::new();
        for one in all {
            match known.get(&(one.network, one.mac)).and_then(|index| merged.get_mut(*index)) {
                Some(NearestSightings { source, first, before, after, .. }) => {
                    *source = None;
                    *first = [*first, one.first].into_iter().flatten().min();
                    before.merge(&one.before, UnixTime::max);
                    after.merge(&one.after, UnixTime::min);
                }
                None => {
                    known.insert((one.network, one.mac), merged.len());
                    merged.push(*one);
                }
            }
        }
        merged
    }

    /// What identifies it.
    pub fn of_source(&self) -> (usize, MacAddr, Option<MacAddr>) {
        (self.network, self.mac, self.source)
    }

    pub fn has_lease(&self) -> bool {
        [self.before, self.after].iter().any(|side| side.lease.is_some())
    }

    /// Whether nothing else is there.
    pub fn is_only_leased(&self) -> bool {
        let others = [self.before, self.after].into_iter().flat_map(|side| side.all());
        self.has_lease() && others.flatten().next().is_none()
    }

    /// Whether this MAC ever used the address: a sign of life counts only then.
    pub fn is_known(&self) -> bool {
        let sides = [self.before, self.after];
        sides.iter().any(|side| side.claim.is_some() || side.frame_source.is_some())
    }
}
