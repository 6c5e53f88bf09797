//! A fault that is reported together with those of other routers, and its cause.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{OwnFault, REPORT_AGAIN};
use crate::{config::RouterName, login_gate::Credential};

/// What routers share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedCause {
    /// Their login.
    Login(Credential),
    Jump(RouterName),
    /// What the sandbox does not allow before a restart.
    Restart(String),
    /// None: each has its own, of this kind. Many that begin together are one outage.
    Own(OwnFault),
}

impl SharedCause {
    /// Whether a router with this cause is not followed. A router has one such cause at a time.
    pub fn is_of_connection(&self) -> bool {
        !matches!(self, SharedCause::Own(own) if !own.is_of_connection())
    }

    /// Whether another address of the router makes it another fault.
    pub fn is_of_address(&self) -> bool {
        self.is_own() && self.is_of_connection()
    }

    pub fn is_own(&self) -> bool {
        matches!(self, SharedCause::Own(_))
    }
}

/// A fault of one router by such a cause.
#[derive(Clone, Debug)]
pub struct SharedFault {
    pub by: SharedCause,
    /// A few words.
    pub subject: Cow<'static, str>,
    /// The cause, for all of the routers.
    pub why: String,
    /// The router refused the login; others do not try it.
    pub is_refused: bool,
    /// When it began; `None`: now.
    pub since: Option<Instant>,
    /// The fault is reported after this time.
    pub after: Duration,
    /// A router that joins later is reported after this time, also if others were a moment ago.
    pub at_the_latest: Duration,
    /// If the router has another one of these, it is reported again.
    pub key: String,
}

impl SharedFault {
    pub fn new(by: SharedCause, subject: &'static str, why: String) -> SharedFault {
        SharedFault {
            by,
            subject: subject.into(),
            why,
            is_refused: false,
            since: None,
            after: Duration::ZERO,
            at_the_latest: REPORT_AGAIN,
            key: String::new(),
        }
    }

    /// A fault of the router itself, which is reported at once.
    pub fn own(own: OwnFault, key: &str, why: String) -> SharedFault {
        let fault = SharedFault::new(SharedCause::Own(own), own.subject(), why);
        let at_the_latest = if own.is_of_connection() { Duration::ZERO } else { REPORT_AGAIN };
        SharedFault { key: key.into(), at_the_latest, ..fault }
    }

    /// A router that is not reached at this address since then, which is reported after this time.
    pub fn unreachable(
        why: String,
        address: String,
        since: Instant,
        after: Duration,
    ) -> SharedFault {
        let fault = SharedFault::own(OwnFault::Unreachable, &address, why);
        SharedFault { since: Some(since), at_the_latest: after, ..fault }
    }
}
