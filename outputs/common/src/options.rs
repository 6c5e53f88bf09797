//! The options that every output has.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use aw_service::{Error, Identity, ServiceOptions, UserAccount, name};
use clap::{Args, ValueEnum};
use rustix::fs::Gid;
use shm_layout::RingName;

use crate::{Plan, spool::Spool};

/// Options that every output has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rings")]
pub struct RingOptions {
    /// Read the ring of this name, as given to the collector's -m; may be repeated
    #[arg(
        short = 'm',
        long = "ring",
        visible_alias = "shm-log-name",
        value_name = "NAME",
        default_value = "/addrwatch"
    )]
    pub rings: Vec<RingName>,

    /// Where to begin
    #[arg(long, value_enum)]
    pub from: Option<StartFrom>,

    /// The same as --from oldest
    #[arg(long, conflicts_with = "from")]
    pub replay: bool,

    /// Exit once every event has been read; begins with the oldest where it would begin with the next one
    #[arg(long)]
    pub once: bool,

    /// Keep in DIR how far this output is, for --from resume [default: /var/lib/addrwatch, or the directory
    /// of the program's name in it, if there is one]
    #[arg(long, value_name = "DIR", default_value_os_t = state_directory(), hide_default_value = true)]
    pub state_dir: PathBuf,

    /// Believe rings of USER, instead of `addrwatch` and `aw-routeros`; those of root and one's own
    /// always; may be repeated
    #[arg(long, value_name = "USER")]
    pub owner: Vec<String>,

    /// Say whether the collector hears and this output keeps up, in one line, and exit with 0 or 1
    #[arg(long)]
    pub health: bool,

    /// With --health: longest time without a frame, in seconds; 0 = any
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub max_silence: u64,

    /// Say on standard error what happens: rings found and left
    #[arg(short, long)]
    pub verbose: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub service: ServiceOptions,
}

/// As packages make it, each output has a directory and a user of its own.
fn state_directory() -> PathBuf {
    let all = Path::new("/var/lib/addrwatch");
    Some(all.join(name())).filter(|own| own.is_dir()).unwrap_or(all.into())
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StartFrom {
    /// With the oldest event that the ring still holds
    Oldest,
    /// With the next event
    Now,
    /// Where this output stopped; the first time, with the oldest event
    Resume,
}

/// The user that collector and outputs run as where root says nothing else.
pub(crate) const DEFAULT_USER: &str = "addrwatch";
/// Who writes rings, unless told otherwise; those of them that there are.
const OWNERS: &[&str] = &["addrwatch", "aw-routeros"];

impl RingOptions {
    /// The users whose rings are believed, besides root and ourselves.
    pub fn owners(&self) -> Result<Vec<u32>, Error> {
        if self.owner.is_empty() {
            let there = OWNERS.iter().filter_map(|name| UserAccount::named(name));
            return Ok(there.map(|user| user.uid.as_raw()).collect());
        }
        self.owner.iter().map(|name| Ok(UserAccount::find(name)?.uid.as_raw())).collect()
    }

    /// The state directory, from the root on: in the background we are elsewhere.
    pub fn state_path(&self) -> PathBuf {
        std::path::absolute(&self.state_dir).unwrap_or_else(|_| self.state_dir.clone())
    }

    pub(crate) fn start(&self, plan: &Plan) -> StartFrom {
        match (self.from, plan.from) {
            (Some(from), _) => from,
            (None, _) if self.replay => StartFrom::Oldest,
            (None, StartFrom::Now) if self.once => StartFrom::Oldest,
            (None, from) => from,
        }
    }

    /// Who to be: the user asked for, with all groups. Where root decides that, those of the rings
    /// to read come along, for root could read them.
    pub(crate) fn identity(&self, owners: &[u32]) -> Result<Option<Identity>, Error> {
        let identity =
            Identity::choose(self.service.user.as_deref(), &[name(), DEFAULT_USER], None)?;
        Ok(identity.map(|identity| {
            let user = uzers::get_user_by_uid(identity.user.as_raw());
            let own = user
                .and_then(|user| uzers::get_user_groups(user.name(), user.primary_group_id()))
                .unwrap_or_default();
            let rings = self.rings.iter().filter_map(|ring| ring.path().symlink_metadata().ok());
            let believed = rings.filter(|ring| ring.uid() == 0 || owners.contains(&ring.uid()));
            let groups = own.iter().map(|group| group.gid()).chain(believed.map(|ring| ring.gid()));
            let groups: BTreeSet<u32> = groups.collect(); // in order, as the kernel tells them
            Identity { groups: groups.into_iter().map(Gid::from_raw).collect(), ..identity }
        }))
    }
}

/// Options of an output whose destination may be down.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Destination away")]
pub struct SpoolOptions {
    /// While the destination is down, keep events in the state directory, up to SIZE bytes (K, M, G)
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub spool_size: Size,
}

impl SpoolOptions {
    pub(crate) fn open(&self, directory: &Path, name: &str) -> Result<Spool, Error> {
        Spool::open(directory, name, self.spool_size.0)
    }
}

/// Bytes, as `1G`: at least a MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(u64);

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const BAD: &str = "must be a number of bytes, or with K, M or G behind it, from 1M on";
        let (number, shift) = match text.split_at_checked(text.len().saturating_sub(1)) {
            Some((number, "K" | "k")) => (number, 10),
            Some((number, "M" | "m")) => (number, 20),
            Some((number, "G" | "g")) => (number, 30),
            _ => (text, 0),
        };
        let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        bytes.filter(|bytes| (1 << 20..1 << 43).contains(bytes)).map(Size).ok_or(BAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("1G", 1 << 30), ("1024k", 1 << 20), ("20M", 20 << 20), ("1048576", 1 << 20)]
        {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "G", "1023K", "-1", "1T", "1.5G", "99999999999G", "é"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
