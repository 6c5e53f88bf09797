//! What every long-running program of this system shares: the options `-d`, `-p` and `-u`, the log,
//! the background process, dropping privileges, signals, and the notifications to systemd.
//!
//! A program passes its main function to [`run`]. That function opens what it needs, calls
//! [`Startup::confine`], then [`Startup::ready`], and only then reads untrusted input.

mod background;
mod backoff;
mod condition;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/service.rs"]
pub mod fuzzed;
mod log;
pub mod manual;
mod pid_file;
mod privileges;
mod sandbox;
mod secret;
mod signals;
mod startup;
mod text;
mod users;
mod values;

pub use {
    backoff::Backoff,
    condition::Condition,
    error::{Error, advice, cause, explain, failed},
    file::{FileError, is_at, open_own, replace, try_open_own},
    log::{info, name, warn},
    privileges::{CapabilitySet, Identity},
    sandbox::{Access, SystemCalls},
    secret::Secret,
    signals::Signals,
    startup::{ServiceOptions, Startup, parse, run},
    text::{TextLine, TextLines, csv_fields, decode_text, read_text},
    users::{UserAccount, group_id},
    values::{ByteSize, HostPort, TimeSpan, parse_network, split_name_line},
};
