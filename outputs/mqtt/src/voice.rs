//! The sink: from an event to what is new by it, and from there to the broker. What is remembered, and how far the rings
//! were read, is committed once the broker has acknowledged all that was told of it, and taken back if it does not: so
//! nothing is forgotten, and what a kill cuts off is told once more.

use std::collections::BTreeMap;

use aw_alert::{Kind, Report, Rules, Store};
use aw_output::{Checkpoint, CheckpointStore, Entry, EventJson, Result, Sink, TimeFormat, warn};
use rusqlite::{Connection, Row};
use serde::Serialize;
use shm_layout::{Kind as EventKind, RingName, UnixTime};

use crate::{
    broker::{Broker, Message},
    devices::{Devices, HOME, presence},
    topics::Topics,
};

/// What is neither new nor changed: of one who sends it, each message has it.
const UNTOLD: [Kind; 4] = [Kind::Mismatch, Kind::Broadcast, Kind::Bogon, Kind::UnknownDevice];

pub struct Voice {
    broker: Broker,
    store: Store,
    rules: Rules,
    devices: Devices,
    topics: Topics,
    messages: Vec<Message>,
}

/// What is published of an event.
#[derive(Serialize)]
struct News<'a> {
    what: Kind,
    #[serde(flatten)]
    line: EventJson<'a>,
    name: Option<&'a String>,
    old_mac: Option<&'a String>,
    previous: Option<i64>,
    note: Option<&'a String>,
}

impl Voice {
    pub fn new(
        broker: Broker,
        mut store: Store,
        mut devices: Devices,
        topics: Topics,
    ) -> Result<Voice> {
        let table = "CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload TEXT)";
        store.with(|database| database.execute_batch(table))?;
        store.commit()?;
        let (now, told) = (UnixTime::now().seconds(), retained(&mut store)?);
        for mac in devices.all().collect::<Vec<_>>() {
            if told.get(&topics.device(mac)).is_some_and(|told| told == HOME) {
                devices.was_home(mac, now);
            }
        }
        let rules = Rules::of_all(devices.names());
        Ok(Voice { broker, store, rules, devices, topics, messages: Vec::new() })
    }

    /// Connects if there is no connection, and tells what the broker keeps for those who come later: it may have
    /// forgotten it.
    fn ready(&mut self) -> Result {
        if self.broker.is_connected() {
            return Ok(());
        }
        self.broker.connect()?;
        let mut wanted = self.devices.retained(&self.topics);
        wanted.push((self.topics.status(), "online".into()));
        // Of a device whose line is gone, or for another host or prefix.
        let mut old = retained(&mut self.store)?;
        wanted.iter().for_each(|(topic, _)| drop(old.remove(topic)));
        // Before: what was told and not written down would never be taken back.
        self.keep(&wanted)?;
        let clear = |topic: &String| Message::retained(topic.clone(), "");
        let mut messages: Vec<_> = old.keys().map(clear).collect();
        messages.extend(wanted.into_iter().map(|(topic, is)| Message::retained(topic, is)));
        self.broker.publish(messages)?;
        self.store.with(|database| {
            let mut delete = database.prepare("DELETE FROM retained WHERE topic = ?")?;
            old.keys().try_for_each(|topic| delete.execute([topic]).map(drop))
        })?;
        self.store.commit()
    }

    fn keep(&mut self, all: &[(String, String)]) -> Result {
        self.store.with(|database| {
            let mut replace = database.prepare("REPLACE INTO retained VALUES (?, ?)")?;
            all.iter().try_for_each(|(topic, is)| replace.execute([topic, is]).map(drop))
        })?;
        self.store.commit()
    }

    fn message(&self, entry: &Entry, report: &Report) -> Message {
        let Report { kind, network, name, old_mac, previous, note, .. } = report;
        let news = News {
            what: *kind,
            line: EventJson::new(entry, TimeFormat::Seconds(entry.event.time.seconds())),
            name: name.as_ref(),
            old_mac: old_mac.as_ref(),
            previous: *previous,
            note: note.as_ref(),
        };
        let payload = serde_json::to_string(&news).unwrap_or_default(); // its keys are text
        Message { topic: self.topics.event(network, &kind.name()), payload, retain: false }
    }

    /// Who came or left.
    fn tell_changes(&mut self) -> Result {
        let changes = self.devices.changes(UnixTime::now().seconds());
        if changes.is_empty() {
            return Ok(());
        }
        let now = changes.iter().flat_map(|(mac, home)| presence(*mac, *home, &self.topics));
        let now: Vec<_> = now.collect();
        let message = |(topic, is): &(String, String)| Message::retained(topic.clone(), is.clone());
        self.broker.publish(now.iter().map(message).collect())?;
        self.keep(&now)?;
        changes.iter().for_each(|(mac, home)| self.devices.told(*mac, *home));
        Ok(())
    }

    /// Forgets what was not delivered, if this failed.
    fn or_take_back<T>(&mut self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            self.messages.clear();
            self.store.roll_back();
        }
        done
    }
}

/// Topics with what the broker keeps of us.
fn retained(store: &mut Store) -> Result<BTreeMap<String, String>> {
    let all = store.with(|database| {
        let mut select = database.prepare("SELECT topic, payload FROM retained")?;
        select.query_map([], |row: &Row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    })?;
    store.commit().map(|()| all)
}

impl Sink for Voice {
    fn write(&mut self, entry: &Entry) -> Result {
        let event = &entry.event;
        let heard = self.ready().and_then(|()| self.rules.hear(event, &mut self.store));
        let reports = self.or_take_back(heard)?;
        if !matches!(event.kind, EventKind::ConfigChange(_)) {
            let now = UnixTime::now().seconds();
            self.devices.hear(event.mac, event.time.seconds(), now);
        }
        for report in reports.iter().filter(|report| !UNTOLD.contains(&report.kind)) {
            self.messages.push(self.message(entry, report));
        }
        Ok(())
    }

    fn flush(&mut self) -> Result {
        let messages = std::mem::take(&mut self.messages);
        let told = self
            .ready()
            // Before: where the disk is full, each try would be published anew.
            .and_then(|()| self.store.with(Connection::cache_flush))
            .and_then(|()| self.broker.publish(messages))
            .and_then(|()| self.broker.tend())
            .and_then(|()| self.store.commit());
        self.or_take_back(told)
    }

    /// All rings are read to their ends: who is silent now is silent.
    fn maintain(&mut self) -> Result<bool> {
        let told =
            self.ready().and_then(|()| self.broker.tend()).and_then(|()| self.tell_changes());
        self.or_take_back(told).map(|()| false)
    }

    fn close(&mut self) -> Result {
        if self.broker.is_connected() {
            let offline = Message::retained(self.topics.status(), "offline");
            // Should that fail, the will says it.
            let _ = self.broker.publish(vec![offline]).and_then(|()| self.broker.leave());
        }
        if self.broker.refused() > 0 {
            warn(format_args!("{} messages were refused by the broker", self.broker.refused()));
        }
        self.store.write_down()?;
        self.store.commit()
    }

    fn checkpoints(&mut self) -> Option<&mut dyn CheckpointStore> {
        Some(self)
    }
}

impl CheckpointStore for Voice {
    /// While the broker is away there is no answer: whoever gets one believes that it is back.
    fn load(&mut self, ring: &RingName) -> Result<Option<Checkpoint>> {
        let account = self.ready().and_then(|()| self.store.account(ring));
        let account = self.or_take_back(account)?;
        self.store.commit().map(|()| account)
    }

    fn store(&mut self, ring: &RingName, account: &Checkpoint) -> Result {
        let kept = self.store.keep_account(ring, account);
        self.or_take_back(kept)
    }
}
