//! What the learning period changes, and the message at its end; the first day, and its messages; and what the database knows of a
//! device.

use std::time::{Duration, Instant};

use aw_detect::{Alert, AlertKind, Claim, Place, split_network};
use aw_output::{SinkResult, info, this_host};
use shm_layout::{MacAddr, UnixTime};

use super::Dispatcher;
use crate::{
    device_list::DeviceList,
    first_day::shown,
    learned::{Learned, MAX_LISTED},
    learning_periods::{LearningPeriod, Subject},
    notification::{Notification, clock, zoned},
};

/// What is due without an event is looked for at this interval, also while events come without a pause.
pub(super) const DUE_INTERVAL: Duration = Duration::from_secs(1);

/// In place of the maker of the sensor's own MACs. Another host can send them, too.
const OWN_MAC: &str = "the MAC of this machine";

impl Dispatcher {
    /// Whether an event of this time is of the learning period. Reports what ends with it.
    pub(super) fn is_learning(&mut self, time: i64, now: i64) -> SinkResult<bool> {
        let was_over = self.learning.is_over();
        let is_learning = self.learning.includes(time, now, &mut self.store)?;
        if self.learning.is_over() && !was_over {
            if !self.options.once {
                info(Subject::All.end(self.rules.show_ring));
            }
            self.report_learned(time)?;
        }
        Ok(is_learning)
    }

    /// Which learning periods have begun or ended since the last look, as lines for the log. To be called after a commit: what is rolled
    /// back has neither begun nor ended.
    pub(super) fn changed_periods(&mut self, now: i64) -> SinkResult<Vec<String>> {
        let begun = self.store.memory.read(LearningPeriod::begun)?;
        if begun == self.periods {
            return Ok(Vec::new());
        }
        let (zone, show_ring) = (&self.zone, self.rules.show_ring);
        let is_new = |one: &&LearningPeriod| !self.periods.iter().any(|other| one.is_same(other));
        let new = begun.iter().filter(|one| one.runs(now)).filter(is_new);
        let mut lines: Vec<_> = new.map(|one| one.line(now, zone, show_ring)).collect();
        // That of all devices ends with the next event.
        for LearningPeriod { subject, .. } in &self.periods {
            if *subject != Subject::All
                && !begun.iter().any(|other| other.subject == *subject)
                && self.store.memory.read(|database| subject.is_over(database))?
            {
                lines.push(subject.end(show_ring));
            }
        }
        self.periods = begun;
        Ok(lines)
    }

    /// Ends at the start what `--learn 0` ends.
    pub(super) fn end_learning(&mut self) -> SinkResult {
        if self.options.learn != Some(0) {
            return Ok(());
        }
        let now = UnixTime::now().seconds();
        if self.learning.end(&mut self.store)? {
            info(Subject::All.end(self.rules.show_ring));
            self.report_learned(now)?;
        }
        for interface in self.store.memory.end_periods()? {
            self.report_infrastructure(&interface, now)?;
            info(Subject::Infrastructure(interface).end(self.rules.show_ring));
        }
        Ok(())
    }

    /// One message to each channel about what is normal from now on.
    fn report_learned(&mut self, time: i64) -> SinkResult {
        let learned = Learned::load(&mut self.store, &self.rules, time)?;
        self.send_learned(learned)
    }

    pub(super) fn send_learned(&mut self, learned: Option<Learned>) -> SinkResult {
        let Some(learned) = learned else { return Ok(()) };
        for channel in &self.config.channel {
            for message in learned.notifications(channel.max_bytes()) {
                self.store.enqueue(&channel.name, &message)?;
            }
        }
        self.printer.lines.extend(self.options.print.then_some(learned.line));
        Ok(())
    }

    /// Applies names that changed, ends the first day when it is over, and reads the rings of names, up to the time of this event.
    pub(super) fn do_what_is_due(&mut self, event: Option<UnixTime>) -> SinkResult {
        let now = Instant::now();
        if self.last_due.is_none_or(|last| now.saturating_duration_since(last) >= DUE_INTERVAL) {
            self.last_due = Some(now);
            self.apply_changed_names()?;
            self.options.config_file.look(false);
            if self.first_day.ends(now, &mut self.store)? {
                if self.options.learn == Some(0) {
                    info(
                        "--learn is set: the first day is over, and its devices are reported now in one list",
                    );
                }
                self.report_first_day()?;
            }
        }
        self.read_names_if_due(event, now)
    }

    /// Whether it is the first day, which begins with an alert about a new device.
    pub(super) fn is_first_day(&mut self, alerts: &[Alert]) -> SinkResult<bool> {
        let has_new = alerts.iter().any(|alert| alert.kind == AlertKind::NewDevice);
        if has_new && self.first_day.begin(Instant::now(), &mut self.store)? {
            self.announce_first_day()?;
        }
        Ok(self.first_day.left().is_some())
    }

    /// Who gets no message for a day must learn why: a new user, and the operator of an aw-alert whose state was lost.
    fn announce_first_day(&mut self) -> SinkResult {
        let now = UnixTime::now().seconds();
        let left = self.first_day.left().unwrap_or_default();
        let until = zoned(now.saturating_add(left.as_secs() as i64), &self.zone);
        let (today, host) = (zoned(now, &self.zone).date(), this_host());
        let day = match until.date() {
            day if day == today => "today".into(),
            day if today.tomorrow().is_ok_and(|next| next == day) => "tomorrow".into(),
            day => format!("on {day}"),
        };
        let when = format!("{day} about {}", until.strftime("%H:%M"));
        let subject = format!("aw-alert on {host} works: new devices come in one list {when}");
        let line = format!(
            "aw-alert of addrwatch-rs works on {host}, and is learning for {}. {when} you get one list of your devices; after that, a message for each new one. All other alerts come at once; but with collector --names, the routers, DHCP servers and DNS servers of this day are taken for normal, also a rogue one: one message per interface lists them then, check it (aw-alert known lists them now). To get each new device from now on: OPTIONS=--learn 0 in /etc/default/aw-alert, then systemctl restart aw-alert",
            shown(left)
        );
        let line = line.replace(&format!(". {when}"), &format!(". {}", capitalized(&when)));
        let notification = Notification::of_first_day(&subject, &line, now, &host);
        for channel in &self.config.channel {
            if channel.gets(AlertKind::NewDevice, self.rules.dialect) {
                self.store.enqueue(&channel.name, &notification)?;
            }
        }
        Ok(())
    }

    /// The list of the devices of the first day, to each channel that gets alerts about them.
    fn report_first_day(&mut self) -> SinkResult {
        let now = UnixTime::now().seconds();
        self.store.remove_first_day()?;
        let (mut alerts, further) = self.first_day.take(&mut self.store)?;
        let macs: Vec<MacAddr> = alerts.iter().filter_map(|alert| alert.mac.parse().ok()).collect();
        let mut places = self.store.memory.places(&macs)?;
        for alert in &mut alerts {
            let mac = alert.mac.parse::<MacAddr>().ok();
            alert.name = mac.and_then(|mac| self.rules.name(mac).cloned());
            alert.show_ring = self.rules.show_ring;
            if let Some(place) = mac.and_then(|mac| places.remove(&mac)) {
                settle(alert, place);
            }
            self.complete(alert)?;
        }
        alerts.retain(|alert| !self.config.mutes(alert, &self.zone, &self.rules.names));
        let mut interfaces = Vec::new();
        if self.rules.random_macs.is_none() {
            interfaces = self.store.memory.random_interfaces(MAX_LISTED)?.0;
        }
        let dialect = self.rules.dialect;
        let show_ring = self.rules.show_ring;
        let list = |devices| DeviceList { devices, further, interfaces: &interfaces, show_ring };
        if self.options.print && self.config.prints(AlertKind::NewDevice, dialect) {
            let lines = list(alerts.iter().collect()).lines();
            self.printer.lines.extend(lines.iter().map(|line| format!("{now} {line}")));
        }
        for channel in &self.config.channel {
            if channel.gets(AlertKind::NewDevice, dialect) {
                let wanted = alerts.iter().filter(|alert| channel.wants(alert, dialect)).collect();
                let (list, host) = (list(wanted), this_host());
                for message in list.notifications(now, &self.zone, &host, channel.max_bytes()) {
                    self.store.enqueue(&channel.name, &message)?;
                }
            }
        }
        Ok(())
    }

    /// Adds what the database knows of its devices.
    pub(super) fn complete(&mut self, alert: &mut Alert) -> SinkResult {
        if alert.host.is_empty() {
            alert.host = this_host();
        }
        if let (None, Ok(mac)) = (&alert.name, alert.mac.parse()) {
            alert.name = self.store.host_name(mac)?;
        }
        alert.vendor = self.vendor(&alert.mac)?;
        if let Some(old_mac) = &alert.old_mac {
            alert.old_vendor = self.vendor(old_mac)?;
            if let Ok(mac) = old_mac.parse() {
                let name = self.rules.name(mac).cloned();
                alert.old_name =
                    name.map_or_else(|| self.store.host_name(mac), |name| Ok(Some(name)))?;
            }
        }
        let now = UnixTime::now().seconds();
        let clock = |time| clock(time, now, &self.zone);
        self.rules.explain(alert, (now, &clock), &mut self.store.memory)?;
        let claim = |mac: &str| self.claimed.of(mac.parse().ok()?).map(Claim::from);
        if alert.name.is_none() {
            alert.claimed = claim(&alert.mac);
        }
        if alert.old_name.is_none() {
            alert.old_claimed = alert.old_mac.as_deref().and_then(claim);
        }
        Ok(())
    }

    fn vendor(&mut self, mac: &str) -> SinkResult<Option<String>> {
        match mac.parse() {
            Ok(mac) if self.rules.own.contains(&mac) => Ok(Some(OWN_MAC.into())),
            Ok(mac) => self.store.vendor(mac),
            Err(_) => Ok(None),
        }
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// Gives an alert the address that its device has now. Its note says only who sent its first frame.
fn settle(alert: &mut Alert, (network, ip): Place) {
    let (host, ring, network) = split_network(&network);
    (alert.host, alert.ring) = (host.into(), ring);
    (alert.network, alert.ip) = (network.into(), ip.to_string());
    alert.note = alert.frame_source.as_ref().map(|source| format!("sent by {source}"));
}

#[cfg(test)]
mod tests {
    use aw_detect::{InfrastructureMemory, Known, MacClaim, Memory, Part, Station};
    use aw_output::{Entry, Fault, Sink, SinkResult};
    use shm_layout::{Event, MacAddr, Position, UnixTime};

    use super::Dispatcher;
    use crate::{
        dispatcher::names::tests::{dispatcher, dispatcher_that_learns, event},
        name_lists::NameLists,
    };

    const ETH0: &str = "s/r/eth0";
    const OVER: &str = "learning routers and servers of eth0 is over: others are reported from now on (aw-alert known lists these)";

    /// What the log has at this time, after a commit with this period of a day.
    fn after(dispatcher: &mut Dispatcher, now: i64, first: i64, number: i64) -> Vec<String> {
        let known = Known { first, number, further: 86_400, ..Known::default() };
        dispatcher.store.memory.store_known(ETH0, Part::Period, "", &known).unwrap();
        dispatcher.store.commit().unwrap();
        dispatcher.changed_periods(now).unwrap()
    }

    /// The log has a begin and an end if these are committed: not of what was rolled back or forgotten, and not when the clock is set.
    #[test]
    fn periods_begin_and_end_in_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let names = || NameLists::read(None, None).unwrap();
        let mut dispatcher = dispatcher(directory.path(), "", names());
        let now = UnixTime::now().seconds();
        let period = Known { first: now, further: 86_400, ..Known::default() };
        dispatcher.store.memory.store_known(ETH0, Part::Period, "", &period).unwrap();
        let failed: SinkResult = Err(Fault::Down("full".into()));
        assert!(dispatcher.or_roll_back(failed).is_err());
        assert_eq!(dispatcher.changed_periods(now).unwrap(), [""; 0], "it has not begun");

        let [line] = &*after(&mut dispatcher, 40, 30, 0) else { panic!("a line") };
        let unset = "learning routers and servers of eth0 (until when is not known, because the clock is not set): ";
        assert!(line.starts_with(unset), "{line}");
        assert_eq!(
            after(&mut dispatcher, now, 30, 0),
            [""; 0],
            "the clock was set, and nothing is over"
        );
        let [line] = &*after(&mut dispatcher, now, now, 0) else { panic!("a line") };
        assert!(line.starts_with("learning routers and servers of eth0 until "), "{line}");
        assert_eq!(after(&mut dispatcher, now, now - 5, 0), [""; 0]);
        dispatcher.store.memory.forget_infrastructure(None, &[]).unwrap();
        dispatcher.store.commit().unwrap();
        assert_eq!(dispatcher.changed_periods(now).unwrap(), [""; 0], "it was forgotten");
        assert_eq!(after(&mut dispatcher, now, now, 0).len(), 1, "it begins again");
        assert_eq!(after(&mut dispatcher, now, now, 1), [OVER]);
        assert_eq!(after(&mut dispatcher, now, now, 1), [""; 0]);
    }

    /// Its time was over while aw-alert was stopped.
    #[test]
    fn the_end_of_a_period_comes_with_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let mut dispatcher = dispatcher(directory.path(), "", NameLists::read(None, None).unwrap());
        let first = 1_700_000_000;
        assert_eq!(after(&mut dispatcher, first + 2 * 86_400, first, 0), [""; 0]);
        assert_eq!(after(&mut dispatcher, first + 2 * 86_400, first, 1), [OVER]);
    }

    const CHANNEL: &str = "[[channel]]\nname = \"a\"\ncommand = [\"/bin/true\"]\n";

    /// An event of a MAC at an address of 10.0.0.0/24, so many seconds ago.
    fn claim(dispatcher: &mut Dispatcher, mac: u8, ip: u8, ago: i64) {
        let time = UnixTime::new(UnixTime::now().seconds() - ago, 0);
        let address = std::net::Ipv4Addr::new(10, 0, 0, ip).to_ipv6_mapped();
        let event = Event { time, address, ..event(MacAddr::new([0, 8, 0xe1, 0, 0, mac])) };
        let (ring, position) = ("/r".parse().unwrap(), Position { generation: 1, sequence: 0 });
        dispatcher.write(&Entry { ring: &ring, host: "sensor", position, event }).unwrap();
    }

    /// The messages of the channel, the first one first.
    fn messages(dispatcher: &mut Dispatcher) -> Vec<serde_json::Value> {
        let mut all = Vec::new();
        while let Some((id, message)) = dispatcher.store.next("a").unwrap() {
            dispatcher.store.remove(id).unwrap();
            all.push(message.fields);
        }
        all
    }

    /// While all devices are learned, who takes an address that the configuration names is reported at once, and comes first in the list at
    /// the end; at another address, it is normal.
    #[test]
    fn a_named_address_while_all_is_learned() {
        let directory = tempfile::tempdir().unwrap();
        let names = NameLists::read(None, None).unwrap();
        let config = format!("routers = [\"10.0.0.1\"]\n{CHANNEL}");
        let mut dispatcher = dispatcher_that_learns(directory.path(), &config, names, Some(3600));
        for mac in [1, 2, 1] {
            claim(&mut dispatcher, mac, 1, 0);
            claim(&mut dispatcher, mac, 9, 0);
        }
        let [first, taken, back] = &*messages(&mut dispatcher) else { panic!() };
        let text = first["message"].as_str().unwrap();
        let begin =
            "learned: 10.0.0.1 on eth0 is claimed first by 00:08:e1:00:00:01: `routers` names ";
        assert!(text.starts_with(begin), "{text}");
        let of = |one: &serde_json::Value| (one["kind"].clone(), one["mac"].clone());
        assert_eq!(of(taken), ("gateway_taken".into(), "00:08:e1:00:00:02".into()));
        assert_eq!(of(back), ("duplicate".into(), "00:08:e1:00:00:01".into()));
        let note = taken["note"].as_str().unwrap();
        let pause = "Further takeovers by 00:08:e1:00:00:02 are not reported until ";
        assert!(note.contains(pause), "{note}");
        dispatcher.report_learned(UnixTime::now().seconds()).unwrap();
        let [list] = &*messages(&mut dispatcher) else { panic!() };
        let text = list["message"].as_str().unwrap();
        let begin = "learned: 1 named address was claimed by several MACs: 10.0.0.1 on eth0, which `routers` names, was claimed by 2 MACs: \
            00:08:e1:00:00:01 (first seen), 00:08:e1:00:00:02 (write those that are on the labels of your router beside 10.0.0.1 in `routers`, \
            restart aw-alert, find the port of each other one in the MAC address table of the switch, and unplug it), 10.0.0.9 eth0 00:08:e1:00:00:0";
        assert!(text.starts_with(begin), "{text}");
    }

    /// A MAC that had the address only before the learning time makes no other one the first.
    #[test]
    fn who_was_first_at_a_named_address() {
        let directory = tempfile::tempdir().unwrap();
        let names = NameLists::read(None, None).unwrap();
        let config = format!("routers = [\"10.0.0.1\"]\n{CHANNEL}");
        let mut dispatcher = dispatcher_that_learns(directory.path(), &config, names, Some(3600));
        let old = MacClaim { mac: MacAddr::new([0, 8, 0xe1, 0, 0, 1]), time: 1_700_000_000 };
        let station = Station { claims: vec![old], first: Some(old), ..Station::default() };
        let address = [10, 0, 0, 1].into();
        dispatcher.store.memory.store_station("sensor/r/eth0", address, &station).unwrap();
        for mac in [2, 3] {
            claim(&mut dispatcher, mac, 1, 0);
        }
        messages(&mut dispatcher);
        dispatcher.report_learned(UnixTime::now().seconds()).unwrap();
        let [list] = &*messages(&mut dispatcher) else { panic!() };
        let text = list["message"].as_str().unwrap();
        let macs = " was claimed by 2 MACs: 00:08:e1:00:00:02, 00:08:e1:00:00:03";
        assert!(text.contains(macs), "{text}");
    }

    /// A state that was begun without `--learn` does not begin to learn all devices; one that nothing used does, also with imported devices.
    #[test]
    fn learning_begins_with_a_new_state_only() {
        let directory = tempfile::tempdir().unwrap();
        let start = |learn| {
            let names = NameLists::read(None, None).unwrap();
            dispatcher_that_learns(directory.path(), CHANNEL, names, learn)
        };
        drop(start(None));
        assert!(!start(Some(3600)).learning.has_begun(), "no device is known yet");
        let mut first = start(None);
        claim(&mut first, 1, 1, 0);
        first.flush().unwrap();
        assert!(first.first_day.left().is_some());
        drop(first);
        let mut later = start(Some(3600));
        claim(&mut later, 2, 1, 0);
        assert!(!later.learning.has_begun() && later.first_day.left().is_some());
        assert!(messages(&mut later).iter().any(|one| one["kind"] == "changed"));
        let imported = tempfile::tempdir().unwrap();
        let mut store = crate::store::AlertStore::open(imported.path()).unwrap();
        let device = aw_detect::Device::new(5);
        aw_detect::Memory::store_device(&mut store.memory, MacAddr::ZERO, &device).unwrap();
        store.commit().unwrap();
        drop(store);
        let names = NameLists::read(None, None).unwrap();
        let mut dispatcher = dispatcher_that_learns(imported.path(), CHANNEL, names, Some(3600));
        claim(&mut dispatcher, 2, 1, 0);
        assert!(dispatcher.learning.has_begun());
    }

    /// A message says when its event was, if that is a while ago.
    #[test]
    fn a_late_message() {
        let directory = tempfile::tempdir().unwrap();
        let mut dispatcher =
            dispatcher(directory.path(), CHANNEL, NameLists::read(None, None).unwrap());
        for (mac, ago) in [(1, 300), (2, 78), (3, 1)] {
            claim(&mut dispatcher, mac, 1, ago);
        }
        let all = messages(&mut dispatcher);
        let changed: Vec<_> = all.iter().filter(|one| one["kind"] == "changed").collect();
        let [late, now] = &*changed else { panic!("{all:?}") };
        let (summary, text) =
            (late["summary"].as_str().unwrap(), late["message"].as_str().unwrap());
        assert!(summary.contains(" (eth0), at ") && summary.contains(", 1 min 1"), "{summary}");
        let begin =
            "changed ethernet address 10.0.0.1 00:08:e1:00:00:02 (00:08:e1:00:00:01) eth0: at ";
        assert!(text.starts_with(begin) && text.contains(" s ago: Before, it was "), "{text}");
        // Besides that, it has times of day only.
        assert!(text.contains(" (first seen at ") && text.matches(" ago").count() == 1, "{text}");
        assert!(now["summary"].as_str().unwrap().ends_with(" (eth0)"), "{now}");
        let text = now["message"].as_str().unwrap();
        assert!(text.contains(" eth0: Before, it was "), "{text}");
    }
    /// Until when further takeovers are not reported is in messages only for which that is so: not if the next one is due, because this one
    /// was in a digest only, or in the digest of one of the channels.
    #[test]
    fn until_when_nothing_is_reported() {
        const KINDS: &str = "kinds = [\"changed\", \"flip_flop\"]\n";
        let notes = |further: &str, since: i64, claims: usize| {
            let directory = tempfile::tempdir().unwrap();
            let config = format!("{CHANNEL}{KINDS}{further}");
            let names = NameLists::read(None, None).unwrap();
            let mut dispatcher = dispatcher(directory.path(), &config, names);
            for (mac, ago) in [(1, 400), (2, 300), (1, 200), (2, 100)].into_iter().take(claims) {
                claim(&mut dispatcher, mac, 1, since + ago);
            }
            dispatcher.update_queues(true).unwrap();
            let all = messages(&mut dispatcher).into_iter();
            let of = |one: &serde_json::Value| {
                let note = one["note"].as_str().unwrap_or_default();
                let kind = one["kind"].as_str().unwrap_or_default();
                (
                    kind.to_owned(),
                    note.contains("Further takeovers by either MAC are not reported until "),
                )
            };
            all.map(|one| of(&one)).collect::<Vec<_>>()
        };
        let found = |list: &[(&str, bool)]| -> Vec<_> {
            list.iter().map(|(kind, is)| ((*kind).to_owned(), *is)).collect()
        };
        assert_eq!(notes("", 0, 4), found(&[("changed", false), ("flip_flop", true)]));
        // What is over when a late message is made.
        assert_eq!(notes("", 7200, 4), found(&[("changed", false), ("flip_flop", false)]));
        // The third one is reported, too.
        let digests = format!(
            "[[channel]]\nname = \"b\"\ncommand = [\"/bin/true\"]\n{KINDS}burst = 1\ndigest_exempt = []\n"
        );
        let changes = [("changed", false), ("flip_flop", false), ("flip_flop", false)];
        assert_eq!(notes(&digests, 0, 4), found(&changes));
        // A digest of one.
        let one = "burst = 1\ndigest_exempt = []\nmacs = [\"00:08:e1:*\"]\n".to_owned();
        let digest = [("changed", false), ("flip_flop", false)];
        assert_eq!(notes(&one, 0, 3), found(&digest));
    }
}
