//! The name of a segment, as in `shm_open(3)`: one path component in `/dev/shm`.

use std::{fmt, path::PathBuf, str::FromStr};

/// A segment's name, with its leading slash: `/addrwatch`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingName(String);

/// Longest name: NAME_MAX less the suffixes below, of which there may be two.
const MAX_LENGTH: usize = 240;

/// Suffixes of the files beside a segment; no segment's own name may end in them.
const LOCK: &str = ".lock";
const UNFINISHED: &str = ".new";
/// Suffix of the ring of names beside a ring of events.
const NAMES: &str = ".names";

/// The text is not a valid name of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRingName;

impl fmt::Display for InvalidRingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "must be one name of 1 to {MAX_LENGTH} visible characters, not ending in {LOCK}, {UNFINISHED} or {NAMES}, such as /addrwatch"
        )
    }
}

impl std::error::Error for InvalidRingName {}

impl FromStr for RingName {
    type Err = InvalidRingName;

    /// Accepts the name with or without its leading slash.
    fn from_str(text: &str) -> Result<Self, InvalidRingName> {
        let name = text.strip_prefix('/').unwrap_or(text);
        let fine = !name.starts_with('.') // no `..`, nothing hidden
            && (1..=MAX_LENGTH).contains(&name.len())
            && [LOCK, UNFINISHED, NAMES].iter().all(|suffix| !name.ends_with(suffix))
            && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '/');
        if fine { Ok(RingName(format!("/{name}"))) } else { Err(InvalidRingName) }
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RingName {
    /// The name with its leading slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segment's file on Linux: `/dev/shm/addrwatch`.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/dev/shm{}", self.0))
    }

    /// The writer's lock file, which only its owner may open. An advisory lock on the segment itself
    /// could be taken by any reader, and would then prevent the collector from starting.
    pub(crate) fn lock(&self) -> RingName {
        RingName(format!("{}{LOCK}", self.0))
    }

    /// The ring of names beside this ring.
    pub fn names(&self) -> RingName {
        RingName(format!("{}{NAMES}", self.0))
    }

    /// The name of a segment while it is being created.
    pub(crate) fn unfinished(&self) -> RingName {
        RingName(format!("{}{UNFINISHED}", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, name) in [("/addrwatch", "/addrwatch"), ("site-2", "/site-2")] {
            assert_eq!(text.parse::<RingName>().unwrap().as_str(), name);
        }
        let long = "x".repeat(241);
        for bad in [
            "", "/", "..", "/.", ".hidden", "a/b", "//a", "a b", "a\n", "a\x1b", "a.lock", "a.new",
            "a.names", &long,
        ] {
            assert!(bad.parse::<RingName>().is_err(), "{bad:?}");
        }
    }
}
