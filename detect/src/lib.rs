//! Decides what an event means: a new device, a changed or duplicate address, a silent device. [`Rules::observe`] takes an
//! event and a [`Memory`] of earlier ones and returns [`Alert`]s. It has no clock and no network: times are
//! arguments or come from the event, so that captures can be replayed.
//!
//! [`SqliteMemory`] is the memory of aw-alert and aw-mqtt on disk.
#![forbid(unsafe_code)]

mod alert;
mod cache;
mod device;
#[cfg(any(test, fuzzing))]
#[path = "../../fuzz/bodies/detect.rs"]
pub mod fuzzed;
mod infrastructure;
mod mac_pattern;
mod network;
mod rules;
mod sqlite_memory;
mod station;

pub use aw_output::names::Names;
pub use {
    alert::{Alert, AlertKind, Claim, Facts},
    device::{Device, MacClass, MacPolicy},
    infrastructure::{InfrastructureMemory, Known, MAX_MACS, NamedServer, Part, Trust},
    mac_pattern::MacPattern,
    network::{
        NetworkState, full_name, interface_of, matches_network, network_name, network_of,
        split_network,
    },
    rules::{ALL_NETWORKS, Dialect, Memory, Observed, Rules, has_learned, past_time},
    sqlite_memory::{
        InfrastructureRow, LearnedDevice, Place, SharedAddress, SqliteMemory, mac_from, mac_number,
    },
    station::{MAX_CLAIMS, MacClaim, Station, Transition},
};
