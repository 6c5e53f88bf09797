//! Events from sensors to a centre over NATS JetStream. `aw-relay` publishes batches to a stream; outputs read it with [`NatsStream`], as
//! they read rings.
#![forbid(unsafe_code)]

mod batch;
mod connection;
mod create;
mod nats_stream;
mod relay_sink;
mod stream_url;
mod subject;

pub use {
    create::{StreamLimits, create},
    nats_stream::{NatsStream, StreamOptions, StreamSource},
    relay_sink::RelaySink,
    stream_url::StreamUrl,
};

/// Events of a message, at most. With 64 bytes each, it has a quarter of what a server accepts by default.
pub const BATCH: usize = 4096;
