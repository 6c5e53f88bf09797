//! Times in nanoseconds, as events and the header carry them.

/// Nanoseconds since the Unix epoch, from 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(i64);

impl UnixTime {
    /// 2020-01-01 00:00 UTC. A clock that shows an earlier time was not set: a machine without a battery boots in 1970.
    pub const CLOCK_SET: UnixTime = UnixTime::new(1_577_836_800, 0);

    /// From nanoseconds since the epoch.
    pub const fn from_nanos(nanos: i64) -> Self {
        UnixTime(nanos)
    }

    /// From whole seconds and further nanoseconds; a time out of range becomes the first or the last one.
    pub const fn new(seconds: i64, nanos: i64) -> Self {
        UnixTime(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// The current time of the system clock.
    pub fn now() -> Self {
        match std::time::UNIX_EPOCH.elapsed() {
            Ok(since) => UnixTime::new(since.as_secs() as i64, since.subsec_nanos().into()),
            Err(before) => UnixTime(-(before.duration().as_nanos() as i64)),
        }
    }

    /// Nanoseconds since the epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Whether the clock that it comes from was set.
    pub const fn is_plausible(self) -> bool {
        self.0 >= Self::CLOCK_SET.0
    }

    /// Seconds from an earlier time to this one. `None` if only one of the two clocks was set: the span between them is
    /// unknown. Within an old capture, before 2020, it is the difference.
    pub const fn seconds_since(self, earlier: UnixTime) -> Option<i64> {
        match self.is_plausible() == earlier.is_plausible() {
            true => Some(self.seconds() - earlier.seconds()),
            false => None,
        }
    }

    /// The nanoseconds after [`UnixTime::seconds`], 0 to 999,999,999.
    pub const fn subsec_nanos(self) -> u32 {
        self.0.rem_euclid(1_000_000_000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let before = UnixTime::from_nanos(-1);
        assert_eq!((before.seconds(), before.subsec_nanos()), (-1, 999_999_999));
        assert_eq!(UnixTime::new(i64::MAX, 0).as_nanos(), i64::MAX);
        assert_eq!(UnixTime::new(i64::MIN, 0).as_nanos(), i64::MIN);
        assert_eq!(UnixTime::new(u32::MAX.into(), 5).seconds(), 4_294_967_295);
        let [boot, later, set] = [30, 95, 1_700_000_000].map(|seconds| UnixTime::new(seconds, 0));
        assert!(!boot.is_plausible() && set.is_plausible() && UnixTime::CLOCK_SET.is_plausible());
        assert!(!UnixTime::from_nanos(UnixTime::CLOCK_SET.as_nanos() - 1).is_plausible());
        assert_eq!((later.seconds_since(boot), set.seconds_since(boot)), (Some(65), None));
        assert_eq!(boot.seconds_since(set), None);
    }
}
