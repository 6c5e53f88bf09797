//! The sink: passes events to the rules and publishes the alerts. The memory of the rules and the checkpoints are committed
//! when the broker has acknowledged all messages, and rolled back if it does not: nothing is lost, and after a kill the
//! messages of the last batch are published again.

mod names;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aw_detect::{Alert, AlertKind, Rules, SqliteMemory, network_of};
use aw_output::{
    Checkpoint, CheckpointStore, ClaimedNames, Entry, EventJson, FaultReport, Faults, NameFollower,
    RingState, Sink, SinkResult, TimeFormat, warn,
};
use rusqlite::{Connection, Row};
use serde::Serialize;
use shm_layout::{Kind as EventKind, MacAddr, RingName, UnixTime};

use crate::{
    broker::{Broker, Publication},
    home_assistant::{EVENT_KINDS, alert_event},
    presence::{HOME, NamedDevices, OFFLINE, ONLINE, Sighting, status_message},
    topics::Topics,
};

pub use names::DeviceFile;

/// Not published: nothing is new or has changed, and a device can cause one with each packet.
const NOT_PUBLISHED: [AlertKind; 3] =
    [AlertKind::Mismatch, AlertKind::Bogon, AlertKind::UnknownDevice];

/// Records of each ring of names that are taken at once.
const NAMES: usize = 8192;

/// Between the end of an entity's discovery and that of its other topics: until Home Assistant has removed the entity, it
/// logs a warning about empty attributes.
const REMOVAL_TIME: Duration = Duration::from_millis(500);

pub struct MqttSink {
    broker: Broker,
    memory: SqliteMemory,
    rules: Rules,
    devices: NamedDevices,
    topics: Topics,
    names: DeviceFile,
    /// What devices call themselves.
    name_rings: NameFollower,
    claimed: ClaimedNames,
    /// Whether Home Assistant gets an event entity.
    has_event_entity: bool,
    messages: Vec<Publication>,
    /// The memory has events of a batch that is not delivered yet.
    is_batch_open: bool,
    faults: Faults,
    /// Messages about faults that the broker has not acknowledged.
    fault_messages: Vec<Publication>,
}

#[derive(Serialize)]
struct AlertJson<'a> {
    /// For Home Assistant's event entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<AlertKind>,
    what: AlertKind,
    #[serde(flatten)]
    event: EventJson<'a>,
    name: Option<&'a String>,
    /// What a device without a name calls itself, and in which message.
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name_source: Option<&'a str>,
    old_mac: Option<&'a String>,
    previous: Option<i64>,
    note: Option<&'a String>,
}

/// What is missing among the events of a ring.
#[derive(Serialize)]
struct FaultJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<AlertKind>,
    what: AlertKind,
    ring: &'a str,
    time: i64,
    note: &'a str,
    /// Only if it is one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hint: bool,
}

/// The retained messages that the broker has from this program, and the states of faults.
pub const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload TEXT);
    CREATE TABLE IF NOT EXISTS fault (name TEXT PRIMARY KEY, state TEXT);";

impl MqttSink {
    pub fn new(
        broker: Broker,
        mut memory: SqliteMemory,
        mut devices: NamedDevices,
        topics: Topics,
        (names, name_rings): (DeviceFile, NameFollower),
        (show_ring, once): (bool, bool),
    ) -> SinkResult<MqttSink> {
        let faults = memory.faults()?.at_once(once);
        let (now, published) = (UnixTime::now().seconds(), retained(&mut memory)?);
        for mac in devices.all().collect::<Vec<_>>() {
            if !published.contains_key(&topics.device(mac)) {
                recall(&mut devices, &mut memory, mac, now)?;
            }
            if published.get(&topics.device(mac)).is_some_and(|state| state == HOME) {
                devices.was_home(mac, now);
            }
            if published.get(&topics.device_status(mac)).is_some_and(|status| status == OFFLINE) {
                devices.was_offline(mac);
            }
            if let Some(attributes) = published.get(&topics.attributes(mac)) {
                devices.had_attributes(mac, attributes);
            }
        }
        let rules = Rules { show_ring, ..Rules::for_all_macs(devices.names()) };
        memory.apply_names(&rules.named_macs())?;
        Ok(MqttSink {
            broker,
            memory,
            rules,
            devices,
            topics,
            has_event_entity: names.has_event_entity(),
            names,
            name_rings,
            claimed: ClaimedNames::default(),
            messages: Vec::new(),
            is_batch_open: false,
            faults,
            fault_messages: Vec::new(),
        })
    }

    /// Connects if there is no connection. Then publishes all retained messages, which the broker may have lost.
    fn ensure_connected(&mut self) -> SinkResult {
        if self.broker.is_connected() {
            return Ok(());
        }
        self.broker.connect()?;
        self.read_names();
        self.publish_retained()
    }

    /// Publishes all retained messages, and removes those of other devices.
    fn publish_retained(&mut self) -> SinkResult {
        let mut wanted = self.devices.retained(&self.topics);
        if self.has_event_entity {
            wanted.push((self.topics.alerts_discovery(), alert_event(&self.topics).to_string()));
        }
        wanted.push((self.topics.status(), ONLINE.into()));
        // Of devices that are no longer in the file of names, or of another host name or prefix.
        let mut old = retained(&mut self.memory)?;
        wanted.iter().for_each(|(topic, _)| drop(old.remove(topic)));
        // Stored before they are published: a message that is not stored would never be cleared.
        self.store_retained(&wanted)?;
        self.clear(old.into_keys().collect())?;
        let message = |(topic, payload)| Publication::retained(topic, payload);
        self.broker.publish(wanted.into_iter().map(message).collect())?;
        self.devices.all_published(UnixTime::now().seconds());
        Ok(())
    }

    /// Removes retained messages from the broker, those that describe an entity to Home Assistant first.
    fn clear(&mut self, topics: Vec<String>) -> SinkResult {
        let clear = |topics: &[String]| -> Vec<Publication> {
            topics.iter().map(|topic| Publication::retained(topic.clone(), "")).collect()
        };
        let (entities, others): (Vec<_>, Vec<_>) =
            topics.into_iter().partition(|topic| Topics::is_discovery(topic));
        if !entities.is_empty() {
            self.broker.publish(clear(&entities))?;
            self.broker.wait(REMOVAL_TIME)?;
        }
        self.broker.publish(clear(&others))?;
        self.memory.with(|database| {
            let mut delete = database.prepare("DELETE FROM retained WHERE topic = ?")?;
            entities.iter().chain(&others).try_for_each(|topic| delete.execute([topic]).map(drop))
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

    /// The message about an alert, and one for Home Assistant's event entity if it reports this kind.
    fn messages_of(&self, entry: &Entry, alert: &Alert) -> Vec<Publication> {
        let Alert { kind, network, name, old_mac, previous, note, .. } = alert;
        let claimed = self.claimed.of(entry.event.mac).filter(|_| name.is_none());
        let message = |topic: String, event_type: Option<AlertKind>| {
            let time = TimeFormat::Seconds(entry.event.time.seconds());
            let event = EventJson::new(entry, time);
            let json = AlertJson {
                event_type,
                what: *kind,
                // The address of a probe is not the device's.
                event: if alert.ip.is_empty() { event.without_address() } else { event },
                name: name.as_ref(),
                claimed_name: claimed.map(|one| one.name.as_str()),
                name_source: claimed.map(|one| one.source.words()),
                old_mac: old_mac.as_ref(),
                previous: *previous,
                note: note.as_ref(),
            };
            let payload = serde_json::to_string(&json).unwrap_or_default(); // cannot fail: its keys are text
            Publication { topic, payload, retain: false }
        };
        let for_entity = self.has_event_entity && EVENT_KINDS.contains(kind);
        let for_entity = for_entity.then(|| message(self.topics.alerts(), Some(*kind)));
        let event = message(self.topics.event(network, &kind.name()), None);
        [event].into_iter().chain(for_entity).collect()
    }

    /// What the names of a ring's networks begin with.
    fn prefix(&self, ring: &RingName) -> String {
        match self.rules.show_ring {
            true => format!("{}/", ring.as_str().trim_start_matches('/')),
            false => String::new(),
        }
    }

    /// As [`Self::messages_of`], about a fault of a ring: its network is the ring.
    fn messages_of_fault(
        &self,
        ring: &RingName,
        report: &FaultReport,
        time: i64,
    ) -> Vec<Publication> {
        let (what, ring) = (AlertKind::from(report.kind), ring.as_str());
        let message = |topic: String, event_type: Option<AlertKind>| {
            let json = FaultJson {
                event_type,
                what,
                ring,
                time,
                note: &report.text,
                hint: report.is_hint,
            };
            let payload = serde_json::to_string(&json).unwrap_or_default(); // cannot fail: its keys are text
            Publication { topic, payload, retain: false }
        };
        let network = ring.trim_start_matches('/');
        let for_entity = self.has_event_entity.then(|| message(self.topics.alerts(), Some(what)));
        let event = message(self.topics.event(network, &what.name()), None);
        [event].into_iter().chain(for_entity).collect()
    }

    fn publish_faults(&mut self, state: &RingState) -> SinkResult {
        let now = UnixTime::now().seconds();
        let mut reports = self.faults.of_ring(state, "aw-mqtt", now);
        let forgotten = self.memory.take_forgotten();
        reports.extend(self.faults.of_memory("aw-mqtt", forgotten, now));
        for report in reports {
            let messages = self.messages_of_fault(&state.ring, &report, now);
            self.fault_messages.extend(messages);
        }
        if self.fault_messages.is_empty() {
            return Ok(());
        }
        self.ensure_connected()?;
        self.broker.publish(self.fault_messages.clone())?;
        self.fault_messages.clear();
        Ok(())
    }

    /// Stores which faults are reported, so that a restart repeats none: after the broker has acknowledged the reports.
    fn store_faults(&mut self) -> SinkResult {
        if !self.fault_messages.is_empty() {
            return Ok(());
        }
        self.memory.store_faults(&mut self.faults)
    }

    fn publish_presence(&mut self) -> SinkResult {
        let now = UnixTime::now().seconds();
        let mut changes = self.devices.changes(now);
        let changed =
            changes.iter().flat_map(|(mac, home)| self.devices.messages(*mac, *home, &self.topics));
        let mut messages: Vec<_> = changed.collect();
        for mac in self.devices.outdated(now) {
            if !changes.iter().any(|(other, _)| *other == mac) {
                let home = self.devices.is_home(mac);
                let [_, attributes] = self.devices.messages(mac, home, &self.topics);
                messages.push(attributes);
                changes.push((mac, home));
            }
        }
        let statuses = self.devices.status_changes(now);
        let of_status =
            |(mac, offline): &(MacAddr, bool)| status_message(*mac, *offline, &self.topics);
        messages.extend(statuses.iter().map(of_status));
        if messages.is_empty() {
            return Ok(());
        }
        let message = |(topic, payload): &(String, String)| {
            Publication::retained(topic.clone(), payload.clone())
        };
        self.broker.publish(messages.iter().map(message).collect())?;
        self.store_retained(&messages)?;
        changes.iter().for_each(|(mac, home)| self.devices.published(*mac, *home, now));
        statuses.iter().for_each(|(mac, offline)| self.devices.published_status(*mac, *offline));
        Ok(())
    }

    /// Takes what the rings of names have.
    fn read_names(&mut self) {
        let MqttSink { name_rings, claimed, .. } = self;
        name_rings.read(NAMES, |entry| {
            claimed.add(&entry.record);
        });
        // Which name is shown depends on the time, too.
        self.devices.set_claimed_names(&self.claimed);
    }

    /// After an error, rolls back to the last commit: the events since then are delivered again.
    fn or_roll_back<T>(&mut self, result: SinkResult<T>) -> SinkResult<T> {
        if result.is_err() {
            self.messages.clear();
            self.is_batch_open = false;
            self.memory.roll_back();
        }
        result
    }
}

/// Of a device that had no name until now: when and with which address it was seen.
fn recall(
    devices: &mut NamedDevices,
    memory: &mut SqliteMemory,
    mac: MacAddr,
    now: i64,
) -> SinkResult {
    if let Some((time, ip)) = memory.last_seen(mac)? {
        devices.was_seen(mac, time, ip, now);
    }
    Ok(())
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
        if !self.is_batch_open {
            self.read_names(); // a device names itself before its first event
        }
        let connected = self.ensure_connected();
        let observed = connected
            .and_then(|()| self.rules.observe(entry, UnixTime::now(), false, &mut self.memory));
        let alerts = self.or_roll_back(observed)?;
        self.is_batch_open = true;
        if !matches!(event.kind, EventKind::ConfigChange(_)) {
            let now = UnixTime::now().seconds();
            let network = self.prefix(entry.ring) + &network_of(event);
            if let Some(sighting) = Sighting::new(event, network) {
                self.devices.seen(event.mac, sighting, now);
            }
        }
        for alert in alerts.iter().filter(|alert| !NOT_PUBLISHED.contains(&alert.kind)) {
            let messages = self.messages_of(entry, alert);
            self.messages.extend(messages);
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
            .and_then(|()| self.store_faults())
            .and_then(|()| self.commit());
        self.is_batch_open = false;
        self.or_roll_back(delivered)
    }

    /// `observe` and `maintain` apply the names that are read here.
    fn reopen(&mut self) -> SinkResult {
        self.names.names.reload();
        Ok(())
    }

    fn observe(&mut self, state: &RingState) -> SinkResult {
        self.read_names();
        let (prefix, now) = (self.prefix(&state.ring), UnixTime::now().seconds());
        self.devices.coverage.observe(state, prefix, now);
        let mut published = self.publish_faults(state);
        // Also while events never pause. Not within a batch: it would be committed before it is published.
        if !self.is_batch_open {
            published = published
                .and_then(|()| self.ensure_connected())
                .and_then(|()| self.apply_changed_names());
        }
        self.or_roll_back(published)
    }

    /// All rings are read to their ends, so a device without a new event is absent.
    fn maintain(&mut self) -> SinkResult<bool> {
        let done = self
            .ensure_connected()
            .and_then(|()| self.broker.keep_alive())
            .and_then(|()| self.apply_changed_names())
            .and_then(|()| self.publish_presence())
            .and_then(|()| self.store_faults())
            .and_then(|()| self.commit());
        self.or_roll_back(done).map(|()| false)
    }

    fn close(&mut self) -> SinkResult {
        if self.broker.is_connected() {
            let offline = Publication::retained(self.topics.status(), OFFLINE);
            // If this fails, the broker publishes the last will.
            let _ = self.broker.publish(vec![offline]).and_then(|()| self.broker.disconnect());
        }
        if self.broker.refused() > 0 {
            warn(format_args!(
                "{} messages were not published, because the broker refuses them",
                self.broker.refused()
            ));
        }
        self.name_rings.log();
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
