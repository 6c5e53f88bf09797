//! The sink: passes events to the rules and publishes the alerts. The memory of the rules and the checkpoints are committed
//! when the broker has acknowledged all messages, and rolled back if it does not: nothing is lost, and after a kill the
//! messages of the last batch are published again.

use std::{collections::BTreeMap, time::Instant};

use aw_detect::{Alert, AlertKind, Rules, SqliteMemory};
use aw_output::{
    Checkpoint, CheckpointStore, Entry, EventJson, Sink, SinkResult, TimeFormat, warn,
};
use rusqlite::{Connection, Row};
use serde::Serialize;
use shm_layout::{Kind as EventKind, RingName, UnixTime};

use crate::{
    broker::{Broker, Publication},
    presence::{HOME, NamedDevices, presence},
    topics::Topics,
};

/// Not published: nothing is new or has changed, and a device can cause one with each packet.
const NOT_PUBLISHED: [AlertKind; 4] =
    [AlertKind::Mismatch, AlertKind::Broadcast, AlertKind::Bogon, AlertKind::UnknownDevice];

pub struct MqttSink {
    broker: Broker,
    memory: SqliteMemory,
    rules: Rules,
    devices: NamedDevices,
    topics: Topics,
    messages: Vec<Publication>,
}

#[derive(Serialize)]
struct AlertJson<'a> {
    what: AlertKind,
    #[serde(flatten)]
    event: EventJson<'a>,
    name: Option<&'a String>,
    old_mac: Option<&'a String>,
    previous: Option<i64>,
    note: Option<&'a String>,
}

/// The retained messages that the broker has from this program.
pub const SCHEMA: &str =
    "CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload TEXT)";

impl MqttSink {
    pub fn new(
        broker: Broker,
        mut memory: SqliteMemory,
        mut devices: NamedDevices,
        topics: Topics,
    ) -> SinkResult<MqttSink> {
        let (now, published) = (UnixTime::now().seconds(), retained(&mut memory)?);
        for mac in devices.all().collect::<Vec<_>>() {
            if published.get(&topics.device(mac)).is_some_and(|state| state == HOME) {
                devices.was_home(mac, now);
            }
        }
        let rules = Rules::for_all_macs(devices.names());
        Ok(MqttSink { broker, memory, rules, devices, topics, messages: Vec::new() })
    }

    /// Connects if there is no connection. Then publishes all retained messages, which the broker may have lost.
    fn ensure_connected(&mut self) -> SinkResult {
        if self.broker.is_connected() {
            return Ok(());
        }
        self.broker.connect()?;
        let mut wanted = self.devices.retained(&self.topics);
        wanted.push((self.topics.status(), "online".into()));
        // Of devices that are no longer in the file of names, or of another host name or prefix.
        let mut old = retained(&mut self.memory)?;
        wanted.iter().for_each(|(topic, _)| drop(old.remove(topic)));
        // Stored before they are published: a message that is not stored would never be cleared.
        self.store_retained(&wanted)?;
        let clear = |topic: &String| Publication::retained(topic.clone(), "");
        let mut messages: Vec<_> = old.keys().map(clear).collect();
        messages.extend(
            wanted.into_iter().map(|(topic, payload)| Publication::retained(topic, payload)),
        );
        self.broker.publish(messages)?;
        self.memory.with(|database| {
            let mut delete = database.prepare("DELETE FROM retained WHERE topic = ?")?;
            old.keys().try_for_each(|topic| delete.execute([topic]).map(drop))
        })?;
        self.commit()
    }

    fn store_retained(&mut self, messages: &[(String, String)]) -> SinkResult {
        self.memory.with(|database| {
            let mut replace = database.prepare("REPLACE INTO retained VALUES (?, ?)")?;
            let mut store =
                |(topic, payload): &(String, String)| replace.execute([topic, payload]).map(drop);
            messages.iter().try_for_each(&mut store)
        })?;
        self.commit()
    }

    fn commit(&mut self) -> SinkResult {
        self.memory.commit(Instant::now())
    }

    fn message(&self, entry: &Entry, alert: &Alert) -> Publication {
        let Alert { kind, network, name, old_mac, previous, note, .. } = alert;
        let event = EventJson::new(entry, TimeFormat::Seconds(entry.event.time.seconds()));
        // The address of a probe is not the device's.
        let json = AlertJson {
            what: *kind,
            event: if alert.ip.is_empty() { event.without_address() } else { event },
            name: name.as_ref(),
            old_mac: old_mac.as_ref(),
            previous: *previous,
            note: note.as_ref(),
        };
        let payload = serde_json::to_string(&json).unwrap_or_default(); // cannot fail: its keys are text
        Publication { topic: self.topics.event(network, &kind.name()), payload, retain: false }
    }

    fn publish_presence(&mut self) -> SinkResult {
        let changes = self.devices.changes(UnixTime::now().seconds());
        if changes.is_empty() {
            return Ok(());
        }
        let states = changes.iter().flat_map(|(mac, home)| presence(*mac, *home, &self.topics));
        let states: Vec<_> = states.collect();
        let message = |(topic, payload): &(String, String)| {
            Publication::retained(topic.clone(), payload.clone())
        };
        self.broker.publish(states.iter().map(message).collect())?;
        self.store_retained(&states)?;
        changes.iter().for_each(|(mac, home)| self.devices.published(*mac, *home));
        Ok(())
    }

    /// After an error, rolls back to the last commit: the events since then are delivered again.
    fn or_roll_back<T>(&mut self, result: SinkResult<T>) -> SinkResult<T> {
        if result.is_err() {
            self.messages.clear();
            self.memory.roll_back();
        }
        result
    }
}

/// The retained messages that are stored: payloads by topic.
fn retained(memory: &mut SqliteMemory) -> SinkResult<BTreeMap<String, String>> {
    let all = memory.with(|database| {
        let mut select = database.prepare("SELECT topic, payload FROM retained")?;
        select.query_map([], |row: &Row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    memory.commit(Instant::now()).map(|()| all)
}

impl Sink for MqttSink {
    fn write(&mut self, entry: &Entry) -> SinkResult {
        let event = &entry.event;
        let connected = self.ensure_connected();
        let observed = connected.and_then(|()| self.rules.observe(entry, false, &mut self.memory));
        let alerts = self.or_roll_back(observed)?;
        if !matches!(event.kind, EventKind::ConfigChange(_)) {
            let now = UnixTime::now().seconds();
            self.devices.seen(event.mac, event.time.seconds(), now);
        }
        for alert in alerts.iter().filter(|alert| !NOT_PUBLISHED.contains(&alert.kind)) {
            self.messages.push(self.message(entry, alert));
        }
        Ok(())
    }

    fn flush(&mut self) -> SinkResult {
        let messages = std::mem::take(&mut self.messages);
        let delivered = self
            .ensure_connected()
            // Before the messages are published: if the disk is full, each attempt would publish them again.
            .and_then(|()| self.memory.with(Connection::cache_flush))
            .and_then(|()| self.broker.publish(messages))
            .and_then(|()| self.broker.keep_alive())
            .and_then(|()| self.commit());
        self.or_roll_back(delivered)
    }

    /// All rings are read to their ends, so a device without a new event is absent.
    fn maintain(&mut self) -> SinkResult<bool> {
        let done = self
            .ensure_connected()
            .and_then(|()| self.broker.keep_alive())
            .and_then(|()| self.publish_presence());
        self.or_roll_back(done).map(|()| false)
    }

    fn close(&mut self) -> SinkResult {
        if self.broker.is_connected() {
            let offline = Publication::retained(self.topics.status(), "offline");
            // If this fails, the broker publishes the last will.
            let _ = self.broker.publish(vec![offline]).and_then(|()| self.broker.disconnect());
        }
        if self.broker.refused() > 0 {
            warn(format_args!(
                "{} messages were not published, because the broker refuses them",
                self.broker.refused()
            ));
        }
        self.memory.write_times()?;
        self.commit()
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for MqttSink {
    /// Fails while the broker is down: a successful load means to the delivery that the destination is back.
    fn load(&mut self, ring: &RingName) -> SinkResult<Option<Checkpoint>> {
        let loaded = self.ensure_connected().and_then(|()| self.memory.checkpoint(ring));
        let checkpoint = self.or_roll_back(loaded)?;
        self.commit().map(|()| checkpoint)
    }

    fn store(&mut self, ring: &RingName, checkpoint: &Checkpoint) -> SinkResult {
        let stored = self.memory.store_checkpoint(ring, checkpoint);
        self.or_roll_back(stored)
    }
}
