//! The sink: publishes the events of each ring as one message, and waits until the server has stored it.
//!
//! A message accounts for all numbers of its ring from its first one up to the first one of the next message. So its reader knows how
//! many events are missing, wherever they were lost. What is sent a second time after a lost answer has the same id, which the server
//! recognizes for two minutes; after that, the reader recognizes the numbers.

use std::sync::Arc;

use async_nats::jetstream::{context::PublishErrorKind, message::PublishMessage};
use aw_output::{Checkpoint, Entry, Fault, Sink, SinkResult, failed, host_of};
use rustls::ClientConfig;
use shm_layout::{Position, RingName};

use crate::{
    BATCH,
    batch::{encode, record, with_skipped},
    connection::{Connection, TIMEOUT},
    stream_url::StreamUrl,
    subject::{is_host, subject, token},
};

/// Bytes of the largest message with its heads; names of 300 bytes are three times as long in subjects.
pub const LARGEST: usize = BATCH * 64 + 2048;

/// Publishes to a stream.
pub struct RelaySink {
    url: StreamUrl,
    tls: Option<Arc<ClientConfig>>,
    /// The name of this sensor, if it is not the collector's.
    host: Option<String>,
    connection: Option<Connection>,
    rings: Vec<Outgoing>,
}

/// What is to be published of a ring.
struct Outgoing {
    ring: RingName,
    host: String,
    first: Position,
    next: u64,
    records: Vec<u8>,
    /// Events of kinds that this release does not know.
    skipped: u64,
}

impl RelaySink {
    /// Of this sensor. `host`: its name in subjects; none: that of the collector.
    pub fn new(url: StreamUrl, tls: Option<Arc<ClientConfig>>, host: Option<String>) -> RelaySink {
        RelaySink { url, tls, host, connection: None, rings: Vec::new() }
    }

    /// Connects, for `--check`. Nothing is published.
    pub fn check(mut self) -> Result<String, String> {
        let host = self.host.clone().unwrap_or_else(aw_output::this_host);
        match self.connect(&host) {
            Ok(_) => Ok(format!("{} accepts the login", self.url)),
            Err(why) => Err(self.fault(&why)),
        }
    }

    fn outgoing(
        &mut self,
        ring: &RingName,
        host: impl FnOnce() -> String,
    ) -> SinkResult<&mut Outgoing> {
        if let Some(at) = self.rings.iter().position(|one| one.ring == *ring) {
            return Ok(&mut self.rings[at]);
        }
        let host = self.host.clone().unwrap_or_else(host);
        if !is_host(&host) {
            let why = "a host name in a subject has 1 to 64 letters, digits, dots, - and _";
            return Err(failed(format_args!(
                "publish ring {ring} of host {host:?}: {why} (set --hostname)"
            ))
            .into());
        }
        let first = Position { generation: 0, sequence: 0 };
        let ring = ring.clone();
        self.rings.push(Outgoing { ring, host, first, next: 0, records: Vec::new(), skipped: 0 });
        let last = self.rings.len() - 1;
        Ok(&mut self.rings[last])
    }

    fn connect(&mut self, host: &str) -> Result<&Connection, String> {
        if self.connection.is_none() {
            // No host's is that of the reader.
            let inbox = format!("_INBOX.sensor.{}", token(host));
            let connection = Connection::open(&self.url, self.tls.as_deref(), &inbox)?;
            if connection.max_payload() < LARGEST {
                return Err(format!(
                    "the server accepts {} bytes in a message, and aw-relay needs {LARGEST} (raise max_payload in its configuration)",
                    connection.max_payload()
                ));
            }
            self.connection = Some(connection);
        }
        self.connection.as_ref().ok_or_else(String::new)
    }

    fn publish(&mut self, outgoing: &Outgoing) -> Result<(), String> {
        let Outgoing { ring, host, first, next, records, skipped } = outgoing;
        let stream = self.url.stream.clone();
        let connection = self.connect(host)?;
        let subject = subject(host, ring);
        let Position { generation, sequence } = first;
        let id = format!("{subject}.{generation:016x}.{sequence}.{next}");
        let records = with_skipped(*sequence, *next, records, *skipped);
        let payload = encode(*first, *next, &records).into();
        let message = PublishMessage::build().payload(payload).message_id(id);
        let exchange = async {
            let answer = connection.context.send_publish(subject.clone(), message).await?;
            answer.await
        };
        match connection.within(TIMEOUT * 2, exchange)? {
            Some(Err(error)) if error.kind() == PublishErrorKind::StreamNotFound => {
                Err(format!("no stream takes {subject} (create it: aw-relay create)"))
            }
            Some(Ok(stored)) if stored.stream != stream => Err(format!(
                "stream {} takes {subject} (correct the name in the URL, or delete that stream)",
                stored.stream
            )),
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(connection.fault(Some(&error))),
            None => Err(connection.fault(None)),
        }
    }

    fn fault(&self, why: &str) -> String {
        format!("publish to {}: {why}", self.url)
    }
}

impl Sink for RelaySink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let outgoing = self.outgoing(entry.ring, || entry.host.to_owned())?;
        outgoing.records.extend(record(entry.position.sequence, &entry.event));
        Ok(())
    }

    fn progress(
        &mut self,
        ring: &RingName,
        before: Option<&Checkpoint>,
        after: &Checkpoint,
    ) -> SinkResult {
        // After a restart of the checkpoint, it begins elsewhere.
        let is_continued = |before: &&Checkpoint| {
            before.generation == after.generation
                && (after.began..=after.next()).contains(&before.next())
        };
        let begin =
            Checkpoint::begin(Position { generation: after.generation, sequence: after.began });
        let before = before.filter(is_continued).copied().unwrap_or(begin);
        if before.next() < after.next() {
            let outgoing = self.outgoing(ring, || host_of(ring))?;
            (outgoing.first, outgoing.next) = (before.position(), after.next());
            outgoing.skipped = after.skipped.saturating_sub(before.skipped);
        }
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        for outgoing in std::mem::take(&mut self.rings) {
            if let Err(why) = self.publish(&outgoing) {
                self.connection = None;
                return Err(Fault::Down(self.fault(&why)));
            }
        }
        Ok(())
    }

    /// Answers the server's pings.
    fn maintain(&mut self) -> SinkResult<bool> {
        if let Some(connection) = &self.connection {
            let idle = std::future::pending::<()>();
            if connection.within(std::time::Duration::from_millis(1), idle).is_err() {
                self.connection = None; // the next message connects again
            }
        }
        Ok(false)
    }

    fn survives_kill(&self) -> bool {
        true
    }
}
