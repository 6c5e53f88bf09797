//! What an output needs of the system and of the run loop.

use std::time::Duration;

use aw_service::Access;

use crate::{SpoolOptions, StartFrom};

/// What an output needs. All else is taken away before its sink is opened.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Files and directories beside the rings and the state directory.
    pub files: Vec<Access>,
    /// Families of sockets beside AF_UNIX, as socket(2) numbers them.
    pub sockets: Vec<i32>,
    /// It waits in an event loop (epoll).
    pub event_loop: bool,
    /// Where it begins where nothing else is said.
    pub from: StartFrom,
    /// How long an event may wait for others, to be delivered together with them.
    pub linger: Duration,
    /// Events after which `flush` is called in any case.
    pub batch: usize,
    /// Where events wait while the destination is down; without it, [`crate::Fault::Down`] is the end.
    pub spool: Option<SpoolOptions>,
}

impl Default for Plan {
    /// Goes on where it was, delivers at once, needs nothing.
    fn default() -> Self {
        Plan {
            files: Vec::new(),
            sockets: Vec::new(),
            event_loop: false,
            from: StartFrom::Resume,
            linger: Duration::ZERO,
            batch: 4096,
            spool: None,
        }
    }
}
