//! Why a segment cannot be created, removed or attached: cause, and what to do. The caller adds operation and ring.

use std::{
    fmt, fs,
    io::{self, ErrorKind},
};

use rustix::process::geteuid;

use crate::{RingName, map::MAX_SLOTS};

/// Why a segment cannot be created, opened for writing, or removed.
#[derive(Debug)]
pub enum CreateError {
    /// There is no segment to remove.
    Missing,
    /// Another collector writes to it; its process id, if known.
    Busy(Option<u64>),
    /// A file of this name belongs to this other user.
    ForeignOwner(RingName, u32),
    /// A file of this name is not a ring.
    NotARing(RingName),
    /// The segment's group cannot be changed to this one.
    Group(u32, io::Error),
    /// More slots than the maximum.
    TooLarge(u64),
    /// A system call failed: operation, name, error.
    Io(&'static str, RingName, io::Error),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHOOSE: &str = "or choose another name with -m";
        match self {
            Self::Missing => write!(f, "no such ring (name a collector's ring with -m)"),
            Self::Busy(pid) => {
                write!(f, "in use by another collector")?;
                pid.map_or(Ok(()), |pid| write!(f, ", process {pid}"))?;
                write!(
                    f,
                    " (stop it; for several interfaces name all in one collector, collector eth0 eth1, or enable addrwatch-collector@eth0 and addrwatch-collector@eth1)"
                )
            }
            Self::ForeignOwner(name, uid) => {
                let owner = if *uid == 0 { "root".into() } else { format!("user id {uid}") };
                write!(f, "{} belongs to {owner}", name.path().display())?;
                // Which removes its ring of names, too.
                let ring = name.as_str().trim_end_matches(".lock").trim_end_matches(".names");
                write!(f, " (as root: collector --remove -m {ring}, {CHOOSE})")
            }
            Self::NotARing(name) => {
                write!(f, "{} is not a ring (delete it, {CHOOSE})", name.path().display())
            }
            Self::Group(group, error) => write!(
                f,
                "change its group to {group}: {} (run as root or as a member of that group)",
                cause(error)
            ),
            Self::TooLarge(slots) => {
                write!(f, "{slots} slots exceed the maximum of {MAX_SLOTS} (choose fewer with -L)")
            }
            Self::Io(operation, name, error) => {
                write!(f, "{operation} {}: {}", name.path().display(), cause(error))?;
                match error.kind() {
                    ErrorKind::NotFound => write!(f, " (is /dev/shm mounted?)"),
                    ErrorKind::PermissionDenied => write!(
                        f,
                        " (if it belongs to another user: run as that user, remove it with collector --remove as root, {CHOOSE})"
                    ),
                    ErrorKind::StorageFull | ErrorKind::OutOfMemory => {
                        write!(f, " (free space in /dev/shm, or choose fewer slots with -L)")
                    }
                    // The same text as for other files.
                    _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                        write!(f, " (raise its limit of open files: ulimit -n, LimitNOFILE=)")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for CreateError {}

/// What became of a ring's name while its writer runs.
#[derive(Debug)]
pub enum NameChange {
    /// Its file was deleted, and was created again.
    Recreated(RingName),
    /// Its file was truncated, and was created again, or filled again: readers count what they had not read.
    Cut(RingName),
    /// Its file was deleted, and cannot be created now. The writer and the readers that it has go on, because
    /// neither a user who puts a file there nor one who fills /dev/shm may end the writer.
    Unreachable(RingName, CreateError),
    /// New readers find it again.
    Reachable(RingName),
}

impl fmt::Display for NameChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recreated(name) => write!(f, "ring {name} was deleted: re-created it"),
            Self::Cut(name) => write!(
                f,
                "ring {name} was truncated by a process of this user or of root: re-created it without the events that are gone, and all counters begin again; outputs count what they had not read as lost (find that process)"
            ),
            Self::Unreachable(name, error) => {
                write!(
                    f,
                    "re-create ring: {error}: new readers cannot find ring {name} until this is solved"
                )
            }
            Self::Reachable(name) => write!(f, "new readers find ring {name} again"),
        }
    }
}

/// An error's text without the number that std appends to it.
pub(crate) fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_lowercase(),
        None => text,
    }
}

/// A group's name, or its number if /etc/group does not list it.
fn group_name(id: u32) -> String {
    name_in(&fs::read_to_string("/etc/group").unwrap_or_default(), id)
}

/// A user's name, or its number if /etc/passwd does not list it.
fn user_name(id: u32) -> String {
    name_in(&fs::read_to_string("/etc/passwd").unwrap_or_default(), id)
}

fn name_in(lines: &str, id: u32) -> String {
    let id = id.to_string();
    let line = lines.lines().find(|line| line.split(':').nth(2) == Some(&id));
    line.and_then(|line| line.split(':').next()).unwrap_or(&id).into()
}

/// Why a reader cannot attach.
#[derive(Debug)]
pub enum AttachError {
    /// There is no segment of this name.
    Missing,
    /// This process has no permission to read it; the id of the group that has, if known.
    Denied(Option<u32>),
    /// Users other than its owner have write permission, so its contents cannot be trusted.
    Unsafe,
    /// It belongs to a user who is not trusted; that user's id.
    Foreign(u32),
    /// The file is not a ring.
    NotARing,
    /// It was truncated, or its name is only reserved: the next collector creates it.
    Cut,
    /// Its layout has this version, and this program's another one.
    Version(u64, u64),
    /// A system call failed.
    Io(io::Error),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => {
                write!(f, "no such ring (start the collector, or name its ring with -m)")
            }
            Self::Denied(Some(group @ 1..)) if group_name(*group) == group.to_string() => write!(
                f,
                "permission denied (you are {}, and group {group} may read it, which has no name here: start the collector with --group GROUP, a group that you are in)",
                user_name(geteuid().as_raw())
            ),
            Self::Denied(Some(group @ 1..)) => {
                let (user, group) = (user_name(geteuid().as_raw()), group_name(*group));
                // Members of another group may do more than read the ring.
                match group == "addrwatch" || group.starts_with("aw-") {
                    true => write!(
                        f,
                        "permission denied (you are {user}; usermod -aG {group} {user}, then log in again)"
                    ),
                    false => write!(
                        f,
                        "permission denied (you are {user}, and group {group} may read it: start the collector with --group GROUP, a group that you are in)"
                    ),
                }
            }
            Self::Denied(_) => write!(
                f,
                "permission denied (run as root, or start the collector with --group GROUP, a group that you are in)"
            ),
            Self::Unsafe => write!(
                f,
                "users other than its owner may write to it (restart the collector, which resets its mode)"
            ),
            Self::Foreign(user) => write!(
                f,
                "it belongs to user id {user}, who is not trusted: any user can take a name in /dev/shm (remove it with collector --claim, as root; only if your collector runs as that user, name it with --owner)"
            ),
            Self::Cut => {
                write!(f, "empty or truncated (start the collector, which creates it again)")
            }
            Self::NotARing => write!(f, "not a ring (name the collector's ring with -m)"),
            Self::Version(version, own) => write!(
                f,
                "layout version {version}, this program reads {own} (install the same release of collector and outputs, then restart both)"
            ),
            Self::Io(error) => f.write_str(&cause(error)),
        }
    }
}

impl std::error::Error for AttachError {}
