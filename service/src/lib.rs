//! What every long-running program of this system shares: its options `-d`, `-p` and `-u`, where its
//! messages go, how it gets into the background, what privileges it gives up, signals, and systemd.
//!
//! A program is its [`run`]: it opens what it needs, then calls [`Startup::confine`], then
//! [`Startup::ready`], and only then touches what others sent.

mod background;
mod error;
mod file;
mod log;
mod manual;
mod pid_file;
mod privileges;
mod sandbox;
mod signals;
mod startup;
mod users;

pub use {
    error::{Error, failed},
    file::{is_at, open_own, replace},
    log::{name, say, warn},
    privileges::{CapabilitySet, Identity},
    sandbox::{Access, Calls},
    shm_layout::cause,
    signals::Signals,
    startup::{ServiceOptions, Startup, parse, run},
    users::{Account, group_id},
};
