//! Times in nanoseconds, as events and the header carry them.

/// Nanoseconds since the Unix epoch, from 1677 to 2262.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(i64);

impl UnixTime {
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
    }
}
