//! Why a router is not connected.

use crate::host_key::HostKey;

/// Why there is no connection, or no longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be reached, or the connection broke.
    Unreachable(String),
    /// It runs no further command in this connection.
    NoChannel(String),
    /// Both sides know no common algorithm.
    Algorithms(String),
    /// No host key is pinned for it; the one that it has.
    UnknownKey(HostKey),
    /// Its host key is none of those pinned; the one that it has.
    ChangedKey(HostKey),
    /// It refused the login.
    Refused(String),
    /// What is needed here is missing: a password, a key, an agent.
    Local(String),
}

impl Fault {
    /// Whether trying again does harm: each refused login is a line in the router's log, and whoever
    /// shows a wrong key gets no second chance to be sent a password.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Refused(_) | Fault::ChangedKey(_) | Fault::UnknownKey(_))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Unreachable(why) | Fault::NoChannel(why) | Fault::Local(why) => f.write_str(why),
            Fault::Algorithms(why) => write!(f, "{why} (for RouterOS 6 set legacy = true)"),
            Fault::UnknownKey(key) => {
                write!(f, "its host key is not known: {key} (if it is right, set host_key)")
            }
            Fault::ChangedKey(key) => write!(
                f,
                "ITS HOST KEY HAS CHANGED, which may be an attack: {key} (if it is right, set host_key)"
            ),
            Fault::Refused(why) => write!(
                f,
                "login refused{why}; not tried again before a reload (a user who has an SSH key may not log in by password)"
            ),
        }
    }
}

/// What an error of russh means; `stranger`: the key that was not believed, and whether none is pinned.
pub fn fault(error: russh::Error, stranger: Option<(HostKey, bool)>) -> Fault {
    match (error, stranger) {
        (_, Some((key, true))) => Fault::UnknownKey(key),
        (_, Some((key, false))) => Fault::ChangedKey(key),
        (russh::Error::IO(error), None) => Fault::Unreachable(aw_service::explain(&error)),
        (russh::Error::NoCommonAlgo { kind, theirs, .. }, None) => Fault::Algorithms(format!(
            "no common {kind:?} algorithm, it offers {}",
            theirs.join(", ")
        )),
        (russh::Error::ChannelOpenFailure(why), None) => {
            Fault::NoChannel(format!("it opens no channel: {why:?}"))
        }
        (error, None) => Fault::Unreachable(error.to_string().to_lowercase()),
    }
}
