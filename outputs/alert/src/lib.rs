//! What `aw-alert` is made of. `aw-mqtt` tells the same to other listeners, so it takes from here what is new or has changed
//! in a network, and how that is remembered.
#![forbid(unsafe_code)]

mod arpdat;
mod device;
mod gate;
mod hours;
mod recent;
mod report;
mod station;
mod template;
mod webhook;

// For the program, and nobody else.
#[doc(hidden)]
pub mod alerts;
#[doc(hidden)]
pub mod channel;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod files;
#[doc(hidden)]
pub mod import;
#[doc(hidden)]
pub mod speaker;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod watch;

pub use {
    device::read_names,
    hours::seconds,
    report::{Kind, Report},
    store::Store,
    watch::{Memory, Names, Rules},
};
