//! The rings of names: routers and servers that are new, change or are forged.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use aw_detect::{
    Alert, Dialect, InfrastructureMemory, Observed, Part, SqliteMemory, full_name, has_learned,
    interface_of,
};
use aw_output::{Entry, NameEntry, NameFollower, RingState, SinkResult, this_host};
use aw_service::plain;
use serde_json::json;
use shm_layout::{CaptureState, NameRecord, UnixTime};

use super::{Dispatcher, learned::DUE_INTERVAL};
use crate::{
    learned::{Learned, contested_lines, place},
    learned_infrastructure::{
        FIRST_IN_VLANS, Surroundings, learned_infrastructure, named_addresses,
    },
    sensor,
    store::AlertStore,
};

/// How long an interface learns without `--learn`, in seconds.
const DAY: i64 = 86_400;
/// Records that are read at once.
const BATCH: usize = 1024;
/// How often rings of names are read.
pub(super) const NAMES_INTERVAL: Duration = Duration::from_millis(250);
/// Interfaces of events in a ring: those of one host.
const MAX_PLACES: usize = 64;
/// How long a ring of names is missing until that is reported: a collector that starts again creates it again.
const STOPPED: Duration = Duration::from_secs(10);

impl Dispatcher {
    /// Reads the rings of names at their interval, or to their end.
    pub(super) fn read_names_if_due(
        &mut self,
        event: Option<UnixTime>,
        now: Instant,
    ) -> SinkResult {
        if !self.names_left && !self.names_within(now).is_zero() {
            return Ok(());
        }
        self.last_names = Some(now);
        self.read_names(event)
    }

    pub(super) fn reads_names(&self) -> bool {
        self.options.followed.as_ref().is_some_and(NameFollower::is_reading)
    }

    /// When the rings of names are to be read again; a missing one is looked for as often as other things that are due.
    pub(super) fn names_within(&self, now: Instant) -> Duration {
        let interval = if self.reads_names() { NAMES_INTERVAL } else { DUE_INTERVAL };
        let age = self.last_names.map(|last| now.saturating_duration_since(last));
        age.map_or(Duration::ZERO, |age| interval.saturating_sub(age))
    }

    /// Reads what the rings of names have, up to the time of the next event: what an event shows of a MAC is known when a later record is
    /// looked at. Without an event, all events were read: up to the last time of which that is sure. Positions are committed with what the
    /// records cause.
    pub(super) fn read_names(&mut self, event: Option<UnixTime>) -> SinkResult {
        let now = UnixTime::now();
        let until = event.unwrap_or(self.drained);
        if event.is_none() {
            self.drained = now;
        }
        // The clock was ahead.
        let is_due = |record: &NameRecord| record.time <= until || record.time > now;
        self.names_left = self.with_names(|this, followed| {
            let mut done = Ok(());
            let all_read = followed.read_while(BATCH, is_due, |entry| {
                if done.is_ok() {
                    done = this.observe_name(entry, now);
                }
            });
            done?;
            for (ring, checkpoint) in followed.unsaved() {
                this.store.memory.store_checkpoint(ring, &checkpoint)?;
            }
            Ok(!all_read)
        })?;
        Ok(())
    }

    /// Calls a function with the rings of names, if they are read.
    fn with_names(
        &mut self,
        call: impl FnOnce(&mut Dispatcher, &mut NameFollower) -> SinkResult<bool>,
    ) -> SinkResult<bool> {
        if self.rules.dialect == Dialect::Arpwatch {
            return Ok(false);
        }
        let Some(mut followed) = self.options.followed.take() else { return Ok(false) };
        let resumed = match self.names_resumed {
            true => Ok(()),
            false => {
                // What devices call themselves is in memory only.
                followed.held(|record| {
                    self.claimed.add(record);
                });
                followed.resume(|ring| self.store.memory.checkpoint(ring))
            }
        };
        self.names_resumed |= resumed.is_ok();
        let result = resumed.and_then(|()| call(self, &mut followed));
        self.options.followed = Some(followed);
        result
    }

    /// What is missing among the names beside a ring whose collector runs.
    pub(super) fn name_faults(&mut self, state: &RingState, now: i64) -> SinkResult<Vec<Alert>> {
        let (mut losses, mut stopped) = (None, None);
        let longer = if self.options.once { Duration::ZERO } else { STOPPED };
        self.with_names(|_, followed| {
            followed.open();
            if !state.is_running {
                followed.wait(&state.ring); // its collector may come later than this program
            }
            losses = followed.losses(&state.ring);
            stopped = followed.stopped(&state.ring, longer).map(str::to_owned);
            Ok(false)
        })?;
        match state.is_running {
            true => drop(self.running.insert(state.ring.clone())),
            false => drop(self.running.remove(&state.ring)),
        }
        let mut alerts = sensor::of_ring(&mut self.faults, state, losses.as_ref(), now);
        if state.is_running && (losses.is_some() || stopped.is_some()) {
            alerts.extend(sensor::of_names(&mut self.faults, state, stopped.as_deref(), now));
        }
        if losses.is_some() {
            self.observe_interfaces(state)?;
        }
        Ok(alerts)
    }

    /// Whether routers or servers are named, and no collector that runs records what they announce.
    pub(super) fn lacks_names(&self) -> bool {
        let is_read = self.options.followed.as_ref().is_none_or(NameFollower::is_reading);
        let is_wanted =
            self.rules.dialect == Dialect::Devices && self.config.names_infrastructure();
        is_wanted && !is_read && !self.running.is_empty()
    }

    fn observe_name(&mut self, entry: &NameEntry, now: UnixTime) -> SinkResult {
        self.claimed.add(&entry.record);
        let period = self.period();
        let memory = &mut self.store.memory;
        let observed = self.rules.observe_name(entry, now, period, memory)?;
        self.report_observed(observed, now)
    }

    /// How long an interface learns.
    fn period(&self) -> i64 {
        let default = if self.options.once { 0 } else { DAY };
        self.options.learn.unwrap_or(default)
    }

    /// Lets the interfaces of a ring with names learn, also while nothing is received, and reports what is due.
    pub(super) fn observe_interfaces(&mut self, state: &RingState) -> SinkResult {
        let now = UnixTime::now();
        let captured = |found: &CaptureState| *found == CaptureState::Captured;
        let interfaces = state.interfaces.iter().filter(|(_, found)| captured(found));
        let mut names: BTreeSet<_> = interfaces.map(|(name, _)| name.to_string()).collect();
        // A frame's place may have another name: --as, and the bridge of a port.
        let of_ring = self.places.get(&state.ring).into_iter().flatten();
        names.extend(of_ring.map(ToString::to_string));
        names.extend(self.store.memory.limited_interfaces(&state.host, state.ring.as_str())?);
        for interface in names {
            let place = (&*state.host, state.ring.as_str(), &*interface);
            let (period, memory) = (self.period(), &mut self.store.memory);
            let observed = self.rules.observe_interface(place, now, period, memory)?;
            self.report_observed(observed, now)?;
        }
        Ok(())
    }

    /// Records the interface of an event: it is captured.
    pub(super) fn note_place(&mut self, entry: &Entry) {
        let interface = entry.event.interface;
        let places = self.places.get(entry.ring);
        if places.is_some_and(|all| all.contains(&interface) || all.len() >= MAX_PLACES) {
            return;
        }
        self.places.entry(entry.ring.clone()).or_default().insert(interface);
    }

    fn report_observed(&mut self, observed: Observed, now: UnixTime) -> SinkResult {
        if let Some(interface) = observed.learned {
            self.report_infrastructure(&interface, now.seconds())?;
        }
        let mut alerts = observed.alerts.into_iter();
        alerts.try_for_each(|alert| self.dispatch(alert, now.seconds()))
    }

    /// Applies the rules about named addresses and gateways to the alerts of an event.
    pub(super) fn name_gateways(
        &mut self,
        entry: &Entry,
        now: UnixTime,
        learning: bool,
        alerts: &mut Vec<Alert>,
    ) -> SinkResult {
        let memory = &mut self.store.memory;
        let first = self.rules.first_of_named(entry, now, alerts, memory)?;
        self.rules.name_gateways(entry, now, learning, alerts, memory)?;
        self.report_first_of_named(first, alerts, now.seconds())
    }

    /// One message to each channel about the first MAC at an address that the configuration names without one: it counts as the owner's
    /// from now on. Not beside an alert that says so, and of VLANs, which a frame can make up, for a few only.
    fn report_first_of_named(
        &mut self,
        first: Option<(Alert, String)>,
        alerts: &[Alert],
        now: i64,
    ) -> SinkResult {
        // One pass over old events reports what is due, and no more.
        let is_reported = alerts.iter().any(|alert| alert.kind.is_takeover());
        let Some((mut alert, add)) = first.filter(|_| !is_reported && !self.options.once) else {
            return Ok(());
        };
        let network = full_name(&alert.host, &alert.ring, &alert.network);
        let interface = interface_of(&network);
        let mut further = String::new();
        if network != interface {
            let is_learned = has_learned(&network, &mut self.store.memory)?;
            let (note, most) = FIRST_IN_VLANS[usize::from(is_learned)];
            let note = format!("{note}{interface}");
            let number = self.store.note(&note)?.unwrap_or_default();
            if number >= most {
                return Ok(());
            }
            self.store.store_note(&note, number + 1)?;
            if number + 1 == most {
                further = format!(
                    ". Further ones in VLANs of {} are not reported until aw-alert relearn: see aw-alert known",
                    plain(&place(interface, self.rules.show_ring))
                );
            }
        }
        self.complete(&mut alert)?;
        let key = alert.ip.parse().ok().and_then(|ip| self.rules.naming_key(ip));
        let (place, shown) = (plain(&place(&network, self.rules.show_ring)), shown_mac(&alert));
        let subject = format!("learned: {} on {place} is claimed first by {shown}", alert.ip);
        let what = if key == Some("routers") { "router" } else { "server" };
        let line = format!(
            "`{}` names this address without its MAC, so from now on {mac} counts as its owner's: compare it with the label of your {what}. If it is right, {add}. If not, write the MAC of the label instead, and find the port of {mac} in the MAC address table of the switch{further}",
            key.unwrap_or_default(),
            mac = alert.mac,
        );
        let fields = json!({
            "kind": "learned", "host": this_host(), "seconds": now, "count": 1,
            "addresses": [alert.ip], "devices": [alert.mac], "interfaces": [network],
        });
        let (intro, each) = (subject.clone(), vec![line]);
        let line = format!("{now} {subject}: {}", each[0]);
        let host = this_host();
        self.send_learned(Some(Learned { line, subject, intro, each, fields, host }))
    }

    /// One message to each channel about the routers and servers that an interface has learned.
    pub(super) fn report_infrastructure(&mut self, interface: &str, now: i64) -> SinkResult {
        let known = self.store.memory.learned_infrastructure(interface)?;
        let (rules, store) = (&self.rules, &mut self.store);
        let keys = known.iter().filter_map(|(_, _, key, _)| key.parse().ok());
        let ips: BTreeSet<IpAddr> = keys.chain(named_addresses(rules)).collect();
        let ips: Vec<_> = ips.into_iter().collect();
        let mut stations =
            store.memory.read(|database| SqliteMemory::stations_at(database, &ips))?;
        stations.retain(|(network, ..)| interface_of(network) == interface);
        let period = store.memory.known(interface, Part::Period, "")?;
        let since = period.map(|period| period.first).unwrap_or_default();
        let is_here = |_: &mut AlertStore, network: &str| Ok(interface_of(network) == interface);
        let contested = contested_lines(store, rules, since, is_here)?;
        let around = Surroundings { rules, stations: &stations, contested };
        let learned =
            learned_infrastructure(interface, &known, &around, now, |mac| store.vendor(mac))?;
        self.send_learned(learned)
    }
}

/// `00:08:e1:00:00:01 [name] (Maker)`
fn shown_mac(alert: &Alert) -> String {
    let name = alert.name.as_ref().map(|name| format!(" [{}]", plain(name)));
    let vendor = alert.vendor.as_ref().map(|vendor| format!(" ({})", plain(vendor)));
    format!("{}{}{}", alert.mac, name.unwrap_or_default(), vendor.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use aw_detect::{InfrastructureMemory, Known, Part};
    use aw_output::{Entry, NameEntry, Sink};
    use shm_layout::{Event, MacAddr, NameKind, NameRecord, Position, UnixTime, VlanId};

    use super::Dispatcher;
    use crate::dispatcher::names::tests::{dispatcher, dispatcher_that_learns, event};
    use crate::name_lists::NameLists;

    const CONFIG: &str =
        "routers = [\"10.0.0.1\"]\n[[channel]]\nname = \"a\"\ncommand = [\"/bin/true\"]\n";

    const LAST: &str = ". Further ones in VLANs of eth0 are not reported until aw-alert relearn: see aw-alert known";
    const MAC: MacAddr = MacAddr::new([0, 8, 0xe1, 0, 0, 1]);

    fn vlan(tag: u16) -> VlanId {
        if tag == 0 { VlanId::NONE } else { VlanId::from_tag(tag) }
    }

    /// The messages about first MACs after claims with this tag.
    fn first(dispatcher: &mut Dispatcher, tag: u16) -> Vec<serde_json::Value> {
        let (ring, position) = ("/r".parse().unwrap(), Position { generation: 1, sequence: 0 });
        let event = Event { time: UnixTime::now(), vlan: vlan(tag), ..event(MAC) };
        for _ in 0..2 {
            dispatcher.write(&Entry { ring: &ring, host: "sensor", position, event }).unwrap();
        }
        let mut all = Vec::new();
        while let Some((id, message)) = dispatcher.store.next("a").unwrap() {
            dispatcher.store.remove(id).unwrap();
            all.extend((message.fields["kind"] == "learned").then_some(message.fields));
        }
        all
    }

    /// The first MAC at a named address is a message in each network; of VLANs in which nothing was learned, twenty, and the last one says so.
    #[test]
    fn first_macs_in_vlans() {
        let directory = tempfile::tempdir().unwrap();
        let names = NameLists::read(None, None).unwrap();
        let mut dispatcher = dispatcher(directory.path(), CONFIG, names);
        let known = Known::default();
        let learned = "sensor/r/eth0.99";
        dispatcher.store.memory.store_known(learned, Part::Router, "10.99.0.1", &known).unwrap();
        for tag in 1..=20 {
            let [one] = &*first(&mut dispatcher, tag) else { panic!("{tag}") };
            let begin = format!("learned: 10.0.0.1 on eth0.{tag} is claimed first by {MAC}");
            assert_eq!(one["summary"], begin);
            let line = one["lines"][0].as_str().unwrap();
            assert_eq!(line.ends_with(LAST), tag == 20, "{line}");
        }
        // What others make up hides neither the network without a VLAN, nor one in which a router was learned.
        assert_eq!([21, 0, 99].map(|tag| first(&mut dispatcher, tag).len()), [0, 1, 1]);
    }

    /// While an interface learns, one advertisement makes up a VLAN in which a router was learned: of these, 64, and none of the others'.
    #[test]
    fn first_macs_in_vlans_that_are_made_up() {
        let directory = tempfile::tempdir().unwrap();
        let names = NameLists::read(None, None).unwrap();
        let mut dispatcher = dispatcher_that_learns(directory.path(), CONFIG, names, Some(3600));
        let ring = "/r".parse().unwrap();
        let mut messages = Vec::new();
        for tag in 1..=100 {
            let eth0 = "eth0".parse().unwrap();
            let record = NameRecord {
                address: "fe80::66".parse().unwrap(),
                vlan: vlan(tag),
                mac: MAC,
                sender: MAC,
                lifetime: 1800,
                ..NameRecord::new(NameKind::Router, UnixTime::now(), eth0)
            };
            let entry = NameEntry { ring: &ring, host: "sensor", record };
            dispatcher.observe_name(&entry, UnixTime::now()).unwrap();
            messages.extend(first(&mut dispatcher, tag));
        }
        assert_eq!(messages.len(), 64);
        assert!(messages[63]["lines"][0].as_str().unwrap().ends_with(LAST), "{}", messages[63]);
        assert_eq!([101, 0].map(|tag| first(&mut dispatcher, tag).len()), [1, 1]);
    }
}
