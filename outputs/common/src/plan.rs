//! What an output needs from the system and from the run loop.

use std::{path::PathBuf, time::Duration};

use aw_service::Access;

use crate::{SpoolOptions, StartFrom};

/// What an output needs. All other access is dropped before its sink is opened.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Files, directories and TCP ports to connect to, in addition to the rings and the state directory.
    pub files: Vec<Access>,
    /// Files that the command line or the configuration names, which are read before access is dropped: for `--check`.
    pub named: Vec<PathBuf>,
    /// Address families of sockets, such as `libc::AF_INET`.
    pub sockets: Vec<i32>,
    /// The output serves a socket that listens before privileges are dropped.
    pub serves: bool,
    /// The output uses an event loop (epoll).
    pub event_loop: bool,
    /// The output follows files that change (inotify).
    pub watches: bool,
    /// The default of `--from`.
    pub from: StartFrom,
    /// How long an event may wait to be delivered in one batch with others.
    pub linger: Duration,
    /// The shortest time between two deliveries, while the rings keep what is not confirmed: each one writes to the disk.
    /// After a longer pause, an event waits for `linger` only.
    pub interval: Duration,
    /// Number of events after which `flush` is called in any case.
    pub batch: usize,
    /// Every batch goes to the spool before it is sent, and what it contains is stored there. So it is sent again with the same
    /// bytes, also after a kill: for a destination that recognizes a batch which it has already. Needs a spool.
    pub keeps_batches: bool,
    /// What the program has not, and so does not do, with the remedy: for the log and `systemctl status`.
    pub lacks: Option<String>,
    /// What `--health` has beside the state of the rings, and is no fault.
    pub notes: Vec<String>,
    /// The queue for events while the destination is down; without it, [`crate::Fault::Down`] ends the output, unless it waits.
    pub spool: Option<SpoolOptions>,
    /// Without a spool: while the destination is down, at most a batch is kept in memory, and nothing more is read. The source keeps
    /// the rest.
    pub waits: bool,
}

impl Default for Plan {
    /// Resumes at the saved position, delivers at once, needs no further access.
    fn default() -> Self {
        Plan {
            files: Vec::new(),
            named: Vec::new(),
            sockets: Vec::new(),
            serves: false,
            event_loop: false,
            watches: false,
            from: StartFrom::Resume,
            linger: Duration::ZERO,
            interval: Duration::ZERO,
            batch: 4096,
            keeps_batches: false,
            lacks: None,
            notes: Vec::new(),
            spool: None,
            waits: false,
        }
    }
}
