//! The shared-memory ring between the collector and its outputs.
//!
//! One [`Writer`] (the collector) publishes [`Event`]s into a segment of POSIX shared memory. Any
//! number of [`Reader`]s map it read-only and follow it. The writer never waits for a reader; a
//! reader that was overtaken counts exactly how many events it lost.
//!
//! | file | holds |
//! |---|---|
//! | `event.rs`, `event/` | the event, its values, its kinds, its 56 bytes and its line of text |
//! | `name_record.rs`, `name_record/` | the record of names: its fields, its 248 bytes, its lines, its counters |
//! | `record.rs` | what a ring can hold |
//! | `ring.rs` | the algorithm: a sequence lock for each slot, in safe code, proven by `loom` |
//! | `ring_name.rs`, `header.rs`, `counter.rs`, `capture_state.rs`, `outer_header.rs`, `kills.rs` | the segment's name, layout and counters |
//! | `map.rs` | opening and mapping: the only unsafe code of the system except one call in `aw-service` |
//! | `segment.rs` | locking, creating, replacing and removing a segment |
//! | `writer.rs`, `reader.rs`, `wait.rs` | the two sides, and how a reader waits |
//! | `error.rs` | why a segment cannot be created or attached |
//!
//! A reader trusts the segment's owner to keep the file's size, and nothing else: every length is checked
//! against the file's real size when the reader attaches, and no value in a slot is used as a length.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "a read-only mapping guarantees 64-bit atomic loads on 64-bit machines only (std::sync::atomic, \"Atomic accesses to read-only memory\")"
);

mod ring;

#[cfg(not(loom))]
mod capture_state;
#[cfg(not(loom))]
mod counter;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod kills;
#[cfg(not(loom))]
mod map;
#[cfg(not(loom))]
mod name_record;
#[cfg(not(loom))]
mod neighbor_view;
#[cfg(not(loom))]
mod outer_header;
#[cfg(not(loom))]
mod reader;
#[cfg(not(loom))]
mod record;
#[cfg(not(loom))]
mod ring_name;
#[cfg(not(loom))]
mod segment;
#[cfg(not(loom))]
mod wait;
#[cfg(not(loom))]
mod writer;

#[cfg(not(loom))]
pub use {
    capture_state::{BroadcastState, CaptureState},
    counter::Counter,
    error::{AttachError, CreateError, NameChange},
    event::{
        ConfigChange, Event, Evidence, InterfaceName, Kind, MacAddr, Origin, UnixTime,
        UnknownEvent, UserName, VlanId, ip_text, network_name,
    },
    header::{InterfaceCounters, MAX_INTERFACES},
    kills::{Kill, Kills},
    map::examine_file_system,
    name_record::{NameCounter, NameKind, NameMarks, NameRecord, NameText},
    neighbor_view::{MAX_NETWORKS, NeighborView},
    outer_header::OuterHeader,
    reader::{NamesReader, Next, NextOf, Position, Reader, RingReader, Start},
    record::{CounterSet, Record},
    ring_name::{InvalidRingName, RingName},
    segment::{claim, claim_names, examine, examine_names, remove, remove_names},
    wait::{gather, wait_any},
    writer::{BOOT_ID, InterfaceId, NamesWriter, RingWriter, Writer, WriterOptions, boot_id},
};
