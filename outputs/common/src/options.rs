//! The options that every output has.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use aw_service::{Error, Identity, ServiceOptions, UnitFiles, UserAccount, name};
use clap::{Args, ValueEnum};
use rustix::{fs::Gid, process::geteuid};
use shm_layout::{CaptureState, Counter, InterfaceCounters, NamesReader, Reader, RingName, Start};

use crate::{Plan, state::is_locked};

/// Options that every output has.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Rings")]
pub struct RingOptions {
    /// Read the ring NAME (the -m of its collector); may be repeated: events of several rings are merged by
    /// time
    #[arg(
        short = 'm',
        long = "ring",
        visible_alias = "shm-log-name",
        value_name = "NAME",
        default_value = "/addrwatch"
    )]
    pub rings: Vec<RingName>,

    #[allow(missing_docs)]
    #[arg(long, value_enum, help = from_help())]
    pub from: Option<StartFrom>,

    /// The same as --from oldest
    #[arg(long, conflicts_with = "from")]
    pub replay: bool,

    /// Read all events that are in the ring, then exit; a program whose default of --from is now begins with the oldest
    /// event instead. With --health: do not check that this program runs
    #[arg(long)]
    pub once: bool,

    /// Directory of this program's files: its lock, its position in each ring, and its queue while the destination is down;
    /// see addrwatch-state(5). Two runs of one program at a time need two directories [default: the directory of the
    /// program's name in /var/lib/addrwatch if it exists, otherwise /var/lib/addrwatch]
    #[arg(long, value_name = "DIR", default_value_os_t = state_directory(), hide_default_value = true)]
    pub state_dir: PathBuf,

    /// Trust the rings of USER instead of those of the users addrwatch and aw-routeros; may be repeated, and may name these
    /// two again. Rings of root and of the program's own user are always trusted, all others are refused
    #[arg(long, value_name = "USER")]
    pub owner: Vec<String>,

    /// Check that the collector captures frames, and that this program runs, keeps up and can deliver; print one line, and
    /// exit with status 0 if all is well, otherwise 1
    #[arg(long)]
    pub health: bool,

    /// Try what the service will do: read and write its files, reach its server and log in, take its port. If root asks with
    /// --check alone, and a systemd unit of this program exists, the command line of the unit is tried, with the options of its files; a
    /// line shows it. If root asks without -u, and a systemd unit or OpenRC script exists, it is tried as the user and with the limits
    /// that this has; otherwise as this command line does it. Print each fault with its remedy, and exit with status 1 if there is one. No
    /// event is read, and no alert is sent
    #[arg(long, conflicts_with_all = ["health", "daemon"])]
    pub check: bool,

    /// With --health: fail if no frame was captured for SECONDS; 0 = no limit
    #[arg(long, value_name = "SECONDS", default_value_t = crate::ring_health::MAX_SILENCE)]
    pub max_silence: u64,

    /// Report on standard error when a ring is opened or closed
    #[arg(short, long)]
    pub verbose: bool,

    #[command(flatten)]
    #[allow(missing_docs)]
    pub service: ServiceOptions,
}

fn from_help() -> String {
    let default = if BEGIN_NOW.contains(&name()) { "now" } else { "resume" };
    format!("Begin with this event [default: {default}]")
}

/// Programs whose plan begins with the next event.
pub(crate) const BEGIN_NOW: &[&str] = &["aw-stdout", "aw-metrics"];

/// Packages create a directory and a user for each output. A user who may not enter the one of all is not sent to a wrong one.
pub fn state_directory() -> PathBuf {
    let shared = Path::new("/var/lib/addrwatch");
    let own = shared.join(name());
    let is_there = match own.metadata() {
        Ok(found) => found.is_dir(),
        Err(error) => error.kind() == ErrorKind::PermissionDenied,
    };
    if is_there { own } else { shared.into() }
}

/// The event that an output begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StartFrom {
    /// The oldest event that the ring still holds
    Oldest,
    /// The next event
    Now,
    /// The event after the last delivered one; the first time, the oldest event
    Resume,
}

/// The user that outputs run as by default if root starts them.
pub(crate) const DEFAULT_USER: &str = "addrwatch";
/// The default of `--owner`; users that do not exist are ignored.
const OWNERS: &[&str] = &["addrwatch", "aw-routeros"];

impl RingOptions {
    /// The users whose rings are trusted, in addition to root and the process's user.
    pub fn owners(&self) -> Result<Vec<u32>, Error> {
        owners(&self.owner)
    }

    /// Whether rings can be read, and none of them has a ring of names beside it.
    pub fn lacks_names(&self) -> bool {
        let owners = self.owners().unwrap_or_default();
        let is_there = |ring: &&RingName| Reader::attach_to(ring, &owners, Start::Oldest).is_ok();
        let mut there = self.rings.iter().filter(is_there).peekable();
        let has_names =
            |ring: &RingName| NamesReader::attach_to(&ring.names(), &owners, Start::Oldest).is_ok();
        there.peek().is_some() && !there.any(has_names)
    }

    /// The interfaces of the rings that can be read, each with the host and the name of its ring.
    pub fn interfaces(&self) -> Vec<(String, &RingName, String)> {
        let owners = self.owners().unwrap_or_default();
        let mut found = Vec::new();
        for ring in &self.rings {
            let Ok(reader) = Reader::attach_to(ring, &owners, Start::Oldest) else { continue };
            let states = reader.interfaces();
            // One that is captured for a moment, and does not exist, is a slip.
            let is_seen = |one: &InterfaceCounters| {
                one.get(Counter::Seen) > 0 || states.contains(&(one.name, CaptureState::Captured))
            };
            let names = reader.counters().into_iter().filter(is_seen);
            let names = names.map(|one| one.name.as_str().to_owned());
            let names = names.filter(|name| !name.is_empty());
            found.extend(names.map(|name| (reader.host(), ring, name)));
        }
        found
    }

    /// The state directory as an absolute path: in the background the working directory is another.
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

    /// What starts the program as a service, where root asks what that will do; none if root itself starts the program, which
    /// then reads files and opens ports before it becomes its user.
    pub(crate) fn unit(&self) -> Option<UnitFiles> {
        let asks = geteuid().is_root() && self.service.user.is_none();
        asks.then(|| UnitFiles::of(name())).flatten()
    }

    /// Whether this program runs already with this state directory.
    pub fn is_running(&self) -> bool {
        is_locked(&self.state_path(), name()).unwrap_or(false)
    }

    /// The user to run as, with all groups of that user and, as root may read every ring, the groups of
    /// the rings.
    pub(crate) fn identity(&self, owners: &[u32]) -> Result<Option<Identity>, Error> {
        let identity =
            Identity::choose(self.service.user.as_deref(), &[name(), DEFAULT_USER], None)?;
        Ok(identity.map(|identity| with_groups_of(&self.rings, owners, identity)))
    }
}

/// The users of `--owner`, or else those that the package creates, as far as they exist.
pub fn owners(named: &[String]) -> Result<Vec<u32>, Error> {
    if named.is_empty() {
        let existing = OWNERS.iter().filter_map(|name| UserAccount::named(name));
        return Ok(existing.map(|user| user.uid.as_raw()).collect());
    }
    named.iter().map(|name| Ok(UserAccount::find(name)?.uid.as_raw())).collect()
}

/// A user with all of its groups and the groups of these rings, as far as their owners are trusted.
pub fn with_groups_of(rings: &[RingName], owners: &[u32], identity: Identity) -> Identity {
    let user = uzers::get_user_by_uid(identity.user.as_raw());
    let own = user
        .and_then(|user| uzers::get_user_groups(user.name(), user.primary_group_id()))
        .unwrap_or_default();
    let rings = rings.iter().filter_map(|ring| ring.path().symlink_metadata().ok());
    let trusted = rings.filter(|ring| ring.uid() == 0 || owners.contains(&ring.uid()));
    let groups = own.iter().map(|group| group.gid()).chain(trusted.map(|ring| ring.gid()));
    let groups: BTreeSet<u32> = groups.collect(); // sorted, as the kernel returns them
    Identity { groups: groups.into_iter().map(Gid::from_raw).collect(), ..identity }
}

#[cfg(test)]
mod tests {
    use aw_service::ByteSize;

    use crate::spool::spool_size;

    #[test]
    fn spool_sizes() {
        for (text, bytes) in
            [("1G", 1 << 30), ("1024k", 1 << 20), ("1T", 1 << 40), ("1048576", 1 << 20)]
        {
            assert_eq!(spool_size(text), Ok(ByteSize(bytes)), "{text}");
        }
        for bad in ["", "G", "1023K", "-1", "8T", "1.5G", "99999999999G", "é"] {
            assert!(spool_size(bad).is_err(), "{bad}");
        }
    }
}
