//! The shared-memory ring between the collector and its outputs.
//!
//! One [`Writer`] (the collector) publishes [`Event`]s into a segment of POSIX shared memory;
//! any number of [`Reader`]s map it read-only and follow. The writer never waits for a reader,
//! and a reader that was overtaken learns exactly how many events it lost.
//!
//! | file | holds |
//! |---|---|
//! | `event.rs` | the event, its 56 bytes and its line of text |
//! | `ring.rs` | the algorithm: a sequence lock for each slot, in safe code, proven by `loom` |
//! | `header.rs` | the segment drawn field by field |
//! | `counter.rs` | what is counted for each interface |
//! | `name.rs` | the segment's name |
//! | `map.rs` | creating, opening and mapping: the unsafe code of the system, but for one call in `aw-service` |
//! | `writer.rs`, `reader.rs` | the two sides |
//!
//! A reader trusts the segment's owner, and no more than that: every length is checked against
//! the file's real size when it attaches, and nothing in a slot is ever used as a length.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "a read-only mapping guarantees 64-bit atomic loads on 64-bit machines only (std::sync::atomic, \"Atomic accesses to read-only memory\")"
);

mod ring;

#[cfg(not(loom))]
mod counter;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod map;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
mod reader;
#[cfg(not(loom))]
mod writer;

#[cfg(not(loom))]
pub use {
    counter::Counter,
    event::{
        ConfigChange, Event, InterfaceName, Kind, MacAddr, Origin, UnixTime, UnknownEvent,
        UserName, VlanId,
    },
    header::{Counters, InterfaceCounters, LAYOUT_VERSION, MAX_INTERFACES},
    name::{BadName, RingName},
    reader::{AttachError, Next, Position, Reader, Start, wait_any},
    writer::{CreateError, InterfaceId, Writer, WriterOptions, cause, remove},
};
