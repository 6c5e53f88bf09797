//! Why a router is not connected.

use crate::{
    config::{HostKeys, Router, RouterName},
    host_key::HostKey,
};

/// Why there is no connection, or why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SshFault {
    /// The router cannot be reached, or the connection broke.
    Unreachable(String),
    /// The router runs no further command in this connection.
    NoChannel(String),
    /// A command took too long.
    Late {
        text: String,
        /// The router closed its channel: the command does not run any more.
        is_ended: bool,
    },
    /// There is no common algorithm.
    Algorithms(String),
    /// No host key is pinned for the router; this is its key.
    UnknownKey(HostKey, RouterName),
    /// The host key is none of the pinned ones; these, and the key of the router.
    ChangedKey(String),
    /// The router refused the login.
    Refused(String),
    /// Other routers refused the same credential: the login is not tried.
    Held(String),
    /// The password, key or agent of this machine cannot be used.
    Credentials(String),
    /// The sandbox, which is fixed at the start, does not allow this.
    Restart(String),
    /// The jump host on the way cannot be used.
    Jump { jump: RouterName, fault: Box<SshFault> },
    /// The router lacks a function.
    Local(String),
}

impl SshFault {
    /// Whether the router itself has this fault, which a jump host let through.
    pub fn is_behind_jump(&self) -> bool {
        !matches!(
            self,
            SshFault::Jump { .. }
                | SshFault::Held(_)
                | SshFault::Credentials(_)
                | SshFault::Restart(_)
        )
    }

    /// Whether the connection must not be tried again soon: each refused login is a line in the router's log, and a
    /// machine with a wrong key must not receive the password.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            SshFault::Refused(_)
                | SshFault::Held(_)
                | SshFault::ChangedKey(_)
                | SshFault::UnknownKey(..)
        )
    }
}

impl std::fmt::Display for SshFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SshFault::Unreachable(why)
            | SshFault::NoChannel(why)
            | SshFault::Held(why)
            | SshFault::Credentials(why)
            | SshFault::Restart(why)
            | SshFault::Local(why)
            | SshFault::Algorithms(why) => f.write_str(why),
            SshFault::Late { text, .. } => f.write_str(text),
            SshFault::Jump { jump, fault } => match **fault {
                SshFault::Unreachable(_) | SshFault::NoChannel(_) => {
                    write!(f, "jump host {jump} is down: {fault}")
                }
                _ => write!(f, "jump host {jump}: {fault}"),
            },
            SshFault::UnknownKey(key, name) => write!(
                f,
                "its host key is not trusted: {key} (to compare and set it: aw-routeros host-key {name})"
            ),
            SshFault::ChangedKey(keys) => {
                write!(f, "ITS HOST KEY HAS CHANGED, possibly an attack: {keys}")
            }
            SshFault::Refused(why) => write!(f, "login refused{why}"),
        }
    }
}

/// The fault of an error of russh. `untrusted` is the host key that was not trusted, and the router with those that are.
pub fn fault(error: russh::Error, untrusted: Option<(HostKey, &Router)>) -> SshFault {
    match (error, untrusted) {
        (_, Some((key, Router { name, host_key: HostKeys(pinned), .. }))) => {
            if pinned.is_empty() {
                return SshFault::UnknownKey(key, name.clone());
            }
            let pinned: Vec<_> = pinned.iter().map(HostKey::to_string).collect();
            SshFault::ChangedKey(format!(
                "expected {}, got {key} (if the new one is right: aw-routeros host-key {name})",
                pinned.join(" or ")
            ))
        }
        (russh::Error::IO(error), None) => SshFault::Unreachable(aw_service::explain(&error)),
        (russh::Error::ChannelOpenFailure(why), None) => {
            SshFault::NoChannel(format!("the router opens no channel: {why:?}"))
        }
        (error, None) => SshFault::Unreachable(error.to_string().to_lowercase()),
    }
}
