//! What every long-running program of this system shares: its options `-d`, `-p` and `-u`, where its
//! messages go, how it gets into the background, what privileges it gives up, signals, and systemd.
//!
//! A program is its [`run`]: it opens what it needs, then calls [`Startup::confine`], then
//! [`Startup::ready`], and only then touches what others sent.

mod background;
mod backoff;
mod condition;
mod error;
mod file;
mod log;
pub mod manual;
mod pid_file;
mod privileges;
mod sandbox;
mod secret;
mod signals;
mod startup;
mod users;
mod values;

pub use {
    backoff::Backoff,
    condition::Condition,
    error::{Error, advice, explain, failed},
    file::{is_at, open_own, replace},
    log::{info, name, warn},
    privileges::{CapabilitySet, Identity},
    sandbox::{Access, SystemCalls},
    secret::Secret,
    shm_layout::cause,
    signals::Signals,
    startup::{ServiceOptions, Startup, parse, run},
    users::{UserAccount, group_id},
    values::{ByteSize, HostPort, TimeSpan, parse_network, split_name_line},
};
