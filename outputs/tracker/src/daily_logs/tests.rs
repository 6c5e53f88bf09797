use super::*;
use jiff::Timestamp;
use shm_layout::{Kind, MacAddr, Origin, UserName, VlanId};
use std::{collections::HashMap, net::Ipv4Addr};

/// Logs with simulated clocks and files.
struct Simulation {
    logs: DailyLogs,
    clocks: Clocks,
    files: HashMap<Date, String>,
    alerts: String,
    config: String,
    errors: String,
    warnings: Vec<String>,
    writes: usize,
    reports: usize,
    removed: Vec<Date>,
}

fn time(text: &str) -> UnixTime {
    let time: Timestamp = text.parse().unwrap();
    UnixTime::new(time.as_second(), time.subsec_nanosecond().into())
}

fn date(text: &str) -> Date {
    text.parse().unwrap()
}

fn event(mac: u32, time: UnixTime) -> Event {
    let [a, b, c, d] = mac.to_be_bytes();
    Event {
        time,
        address: Ipv4Addr::from(0x0a00_0000 + mac).to_ipv6_mapped(),
        interface: "eth0".parse().unwrap(),
        mac: MacAddr::new([2, 0, a, b, c, d]),
        source: MacAddr::new([2, 0, a, b, c, d]),
        vlan: VlanId::NONE,
        outer_vlan: VlanId::NONE,
        kind: Kind::Pairing(Origin::ArpRequest),
        router: Ipv4Addr::UNSPECIFIED,
    }
}

fn config() -> LogConfig {
    let names = [(MacAddr::new([2, 0, 0, 0, 0, 1]), "router".to_owned())];
    LogConfig { names: Arc::new(names.into()), networks: Arc::default(), max_logs: 31 }
}

fn key_of(line: &log_format::ParsedRow) -> RowKey {
    RowKey { mac: line.mac, ip: line.ip, interface: line.interface.into() }
}

impl Simulation {
    fn new(zone: &str, system: &str) -> Simulation {
        let clocks = Clocks { system: time(system), monotonic: Duration::ZERO };
        let rings = ["/site-a", "/site-b"].map(|name| name.parse().unwrap());
        let logs = DailyLogs::new(config(), (&rings, 1000), TimeZone::get(zone).unwrap(), clocks);
        let mut simulation = Simulation {
            logs,
            clocks,
            files: HashMap::new(),
            alerts: String::new(),
            config: String::new(),
            errors: String::new(),
            warnings: Vec::new(),
            writes: 0,
            reports: 0,
            removed: Vec::new(),
        };
        simulation.tick();
        simulation.removed.clear();
        simulation
    }

    fn act(&mut self, actions: Vec<LogAction>) {
        for action in actions {
            match action {
                LogAction::Append(LogKind::Alert, _, text) => self.alerts += &text,
                LogAction::Append(LogKind::Config, _, text) => self.config += &text,
                LogAction::Append(LogKind::Error, _, text) => self.errors += &text,
                LogAction::Append(LogKind::Tracker, ..) => panic!("a tracker log is replaced"),
                LogAction::Replace(date, text) => {
                    self.writes += 1;
                    self.files.insert(date, text);
                }
                LogAction::RemoveBefore(date) => self.removed.push(date),
                LogAction::Report => self.reports += 1,
                LogAction::Warn(text) => self.warnings.push(text),
            }
        }
    }

    fn tick(&mut self) {
        let actions = self.logs.tick(self.clocks);
        self.act(actions);
    }

    /// Advances both clocks, with a tick every half second.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            let half = Duration::from_millis(500);
            self.clocks.monotonic += half;
            self.clocks.system = UnixTime::from_nanos(self.clocks.system.as_nanos() + 500_000_000);
            self.tick();
        }
    }

    fn receive(&mut self, event: &Event) {
        self.receive_of("/site-a", event);
    }

    fn receive_of(&mut self, ring: &str, event: &Event) {
        let Some(at) = self.logs.moment(event) else { return self.logs.count_outside(event) };
        if !self.logs.is_open(at.date) {
            if !self.logs.has_room() {
                let actions = self.logs.flush();
                self.act(actions);
            }
            let text = self.files.get(&at.date).cloned().unwrap_or_default();
            let rows = log_format::parse_log(text.as_bytes()).map(|(_, line)| {
                let line = line.unwrap();
                let at = |clock| self.logs.calendar().resolve(line.date, clock);
                let key = key_of(&line);
                let (first, last) = (at(line.first), at(line.last));
                (key, Activity { first, last, hours: line.hours, sender: line.sender })
            });
            let rows: Vec<_> = rows.collect();
            let earlier = self.files.iter().filter(|(date, _)| **date < at.date).max();
            let earlier = earlier.map(|(_, text)| text.clone()).unwrap_or_default();
            let earlier = log_format::parse_log(earlier.as_bytes());
            let earlier = earlier.map(|(_, line)| key_of(&line.unwrap())).collect();
            self.logs.open_day(DayLog::new(at.date, rows, earlier));
        }
        self.logs.record(&ring.parse().unwrap(), event, at, self.clocks.monotonic);
    }

    fn see(&mut self, mac: u32) {
        self.receive(&event(mac, self.clocks.system));
    }

    /// The hour counts of a device on a day.
    fn hours(&self, day: &str, mac: u32) -> String {
        let line = self.files[&date(day)].lines().find(|line| {
            line.starts_with(&event(mac, time("2026-01-01T00:00:00Z")).mac.to_string())
        });
        line.expect("a row").rsplit(' ').next().unwrap().to_owned()
    }

    fn times(&self, day: &str) -> Vec<String> {
        let row =
            |line: &str| line.split_whitespace().skip(5).take(2).collect::<Vec<_>>().join(" ");
        self.files[&date(day)].lines().skip(1).map(row).collect()
    }
}

#[test]
fn a_configuration_change_is_not_a_device() {
    let mut simulation = Simulation::new("Europe/Berlin", "2026-11-22T08:10:00Z");
    let user = UserName::cut("alice");
    let change = ConfigChange { user, added: 3, removed: 1 };
    let router = Ipv4Addr::new(192, 0, 2, 1);
    let changed = |time| Event::config_change(time, "core1".parse().unwrap(), router, change);
    for _ in 0..2 {
        let event = changed(simulation.clocks.system);
        let at = simulation.logs.moment(&event).unwrap();
        simulation.logs.record_config_change(&event, &change, at);
    }
    simulation.wait(1);
    let line = "20261122:0910:core1 (192.0.2.1) changed by alice (+3 -1)\n";
    assert_eq!(simulation.config, line.repeat(2));
    assert_eq!((simulation.writes, simulation.reports, simulation.alerts.as_str()), (0, 2, ""));
    // While nothing can be written, the lines in memory are limited, and lost ones are reported.
    let event = changed(simulation.clocks.system);
    let at = simulation.logs.moment(&event).unwrap();
    (0..50_000).for_each(|_| simulation.logs.record_config_change(&event, &change, at));
    simulation.config.clear();
    simulation.wait(1);
    assert!(
        simulation.config.len() < MAX_CONFIG_BYTES + 100
            && simulation.config.lines().all(|text| text == &line[..line.len() - 1])
    );
    assert!(
        simulation.errors.contains("is lost") && simulation.errors.contains("further errors"),
        "{}",
        simulation.errors
    );
}

/// A forged lease is no alert, makes no row, and makes no device active in an hour in which it was off.
#[test]
fn a_lease_is_no_sighting() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T08:10:00Z");
    simulation.see(1);
    simulation.wait(3600);
    for origin in [Origin::DhcpAck, Origin::AddressRegistration] {
        for mac in 1..100 {
            let kind = Kind::Pairing(origin);
            simulation.receive(&Event { kind, ..event(mac, simulation.clocks.system) });
        }
    }
    simulation.wait(3600);
    assert_eq!(simulation.alerts, "");
    assert_eq!(simulation.files[&date("2026-11-22")].lines().count(), 2);
    assert_eq!(simulation.hours("2026-11-22", 1), "........1...............");
    // It claims the address later.
    simulation.see(2);
    simulation.wait(1);
    assert_eq!(simulation.alerts.lines().count(), 1);
}

#[test]
fn first_sightings_in_an_hour_are_written_within_a_second_and_together() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T08:10:00Z");
    (1..=500).for_each(|mac| simulation.see(mac));
    assert_eq!(simulation.writes, 0);
    simulation.wait(1);
    assert_eq!((simulation.writes, simulation.reports), (1, 2), "one at the start and one now");
    assert_eq!(simulation.files[&date("2026-11-22")].lines().count(), 501);
    assert_eq!(simulation.alerts.lines().count(), 499);
    // Further sightings in the same hour are written when the hour ends.
    (1..=500).for_each(|mac| simulation.see(mac));
    simulation.wait(60);
    assert_eq!(simulation.writes, 1);
    assert_eq!(simulation.hours("2026-11-22", 1), "........1...............");
    simulation.wait(49 * 60);
    assert_eq!((simulation.writes, simulation.reports), (2, 3));
    assert_eq!(simulation.hours("2026-11-22", 1), "........2...............");
    simulation.see(7);
    simulation.wait(1);
    assert_eq!(simulation.hours("2026-11-22", 7), "........21..............");
    assert_eq!(simulation.alerts.lines().count(), 499, "once a day");
    // An hour without sightings has a report, but no write.
    simulation.wait(2 * 3600);
    assert_eq!((simulation.writes, simulation.reports), (3, 6));
}

/// While each second has a new device and each write takes half a second, the ring is read nine tenths of the time.
#[test]
fn slow_writes_are_rare() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T08:10:00Z");
    for mac in 1..=50 {
        let writes = simulation.writes;
        simulation.see(mac);
        simulation.wait(1);
        if simulation.writes > writes {
            simulation.logs.rest(simulation.clocks.monotonic, Duration::from_millis(500));
        }
    }
    assert!((9..=11).contains(&simulation.writes), "{} writes in 50 s", simulation.writes);
    simulation.wait(6);
    assert_eq!(simulation.files[&date("2026-11-22")].lines().count(), 51, "all are written");
}

#[test]
fn a_new_log_and_new_alerts_at_midnight() {
    let mut simulation = Simulation::new("Europe/Berlin", "2026-11-22T22:59:50Z");
    simulation.see(1);
    simulation.see(2);
    simulation.wait(5);
    simulation.see(2);
    let late = event(2, simulation.clocks.system); // of this day, but it arrives on the next
    simulation.wait(10);
    simulation.receive(&late);
    simulation.see(2);
    simulation.wait(2);
    assert_eq!(
        simulation.hours("2026-11-22", 2),
        ".......................3",
        "the late event counts"
    );
    assert_eq!(simulation.hours("2026-11-23", 2), "1.......................");
    assert!(!simulation.files[&date("2026-11-23")].contains("router"));
    assert_eq!(simulation.alerts.lines().count(), 2);
    assert_eq!(simulation.removed, [date("2026-10-23")]);
    simulation.wait(3600);
    assert_eq!(simulation.logs.days.len(), 1);
}

/// A sighting every ten minutes of a whole day: six in each hour of local time.
#[test]
fn days_of_23_and_25_hours() {
    for (zone, begin, day, hours, cells) in [
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29", 23, "66.666666666666666666666"),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25", 25, "66*666666666666666666666"),
        ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-08", 23, "66.666666666666666666666"),
        ("Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24", 23, ".66666666666666666666666"),
        ("UTC", "2026-10-24T00:00:00Z", "2026-10-24", 24, "666666666666666666666666"),
    ] {
        let mut simulation = Simulation::new(zone, begin);
        for _ in 0..hours * 6 {
            simulation.see(2);
            simulation.wait(600);
        }
        simulation.see(2);
        simulation.wait(1);
        assert_eq!(simulation.hours(day, 2), cells, "{zone}");
        let next = date(day).tomorrow().unwrap().to_string();
        assert_eq!(simulation.hours(&next, 2), "1.......................", "{zone}");
        assert_eq!(simulation.times(&next), ["0000 0000"]);
        let first = if zone == "Africa/Cairo" { "0100" } else { "0000" };
        assert_eq!(simulation.times(day), [format!("{first} 2350")]);
    }
}

/// In the hour that occurs twice, the last sighting is the later one, although its local time is earlier.
#[test]
fn the_hour_that_occurs_twice() {
    let mut simulation = Simulation::new("Europe/Berlin", "2026-10-25T00:50:00Z"); // 02:50
    simulation.see(2);
    simulation.wait(1200); // the second 02:10
    simulation.see(2);
    simulation.wait(1);
    simulation.logs.flush().into_iter().for_each(|action| simulation.act(vec![action]));
    assert_eq!(simulation.times("2026-10-25"), ["0250 0210"]);
}

#[test]
fn events_go_to_the_log_of_their_own_day() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    simulation.files.insert(
        date("2026-11-10"),
        "mac name ip iface date time last active-hours\n\
         02:00:00:00:00:02 unknown 10.0.0.2 eth0 20261110 0900 0930 .........5..............\n"
            .into(),
    );
    for (mac, at) in [
        (2, "2026-11-10T08:59:00Z"),
        (2, "2026-11-10T10:05:00Z"),
        (2, "2026-10-22T00:00:00Z"), // the oldest day that has a log
        (3, "2026-10-21T23:59:59Z"), // older
        (2, "2026-11-23T23:59:59Z"), // tomorrow
        (3, "2026-11-24T00:00:00Z"), // later
        (2, "2026-11-22T11:59:59Z"),
    ] {
        simulation.receive(&event(mac, time(at)));
    }
    assert!(simulation.logs.days.len() <= MAX_OPEN_DAYS);
    simulation.wait(1);
    assert_eq!(simulation.hours("2026-11-10", 2), "........151.............");
    assert_eq!(simulation.times("2026-11-10"), ["0859 1005"]);
    assert_eq!(
        simulation.alerts.lines().filter(|line| line.contains(" 20261110 ")).count(),
        0,
        "seen before"
    );
    assert_eq!(simulation.files.len(), 4);
    simulation.wait(3600);
    assert_eq!(
        simulation.errors,
        "20261122:1200:2 sightings were not recorded: their days have no log (older than --max-logs, or in the future)\n"
    );
    assert_eq!(simulation.logs.days.len(), 1, "today");
}

/// A log that was edited or concatenated may have a key twice.
#[test]
fn rows_with_the_same_key_are_merged() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    simulation.files.insert(
        date("2026-11-10"),
        "mac name ip iface date time last active-hours\n\
         02:00:00:00:00:02 unknown 10.0.0.2 eth0 20261110 0900 0930 .........5..............\n\
         02:00:00:00:00:02 unknown 10.0.0.2 eth0 20261110 0801 0910 ........19..............\n"
            .into(),
    );
    simulation.receive(&event(2, time("2026-11-10T10:05:00Z")));
    simulation.wait(1);
    assert_eq!(simulation.hours("2026-11-10", 2), "........1*1.............");
    assert_eq!(simulation.times("2026-11-10"), ["0801 1005"]);
}

#[test]
fn a_clock_that_is_set_back_or_forward() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    simulation.see(2);
    simulation.wait(1);
    // Back to yesterday: yesterday's log is continued. Forward again: today's log is continued.
    simulation.clocks.system = time("2026-11-21T23:59:00Z");
    simulation.tick();
    simulation.see(2);
    simulation.wait(30);
    simulation.clocks.system = time("2026-11-22T12:01:00Z");
    simulation.tick();
    simulation.see(2);
    simulation.wait(3600);
    assert_eq!(simulation.hours("2026-11-21", 2), ".......................1");
    assert_eq!(simulation.hours("2026-11-22", 2), "............2...........");
    // Forward by years, and back a minute later: no log is removed.
    simulation.removed.clear();
    simulation.clocks.system = time("2099-01-01T00:00:00Z");
    simulation.wait(60);
    simulation.clocks.system = time("2026-11-22T13:05:00Z");
    simulation.wait(7200);
    assert!(
        simulation.removed.iter().all(|before| *before == date("2026-10-22")),
        "{:?}",
        simulation.removed
    );
    assert!(simulation.errors.contains("the clock was set forward by 26"), "{}", simulation.errors);
    // A machine whose clock is set some time after the start.
    let mut simulation = Simulation::new("UTC", "1970-01-01T00:00:10Z");
    simulation.see(2);
    simulation.logs.log_error("before the clock was set");
    simulation.wait(1);
    assert_eq!((simulation.writes, simulation.reports), (0, 0), "1970 has no log");
    simulation.clocks.system = time("2026-11-22T12:00:00Z");
    simulation.wait(1);
    simulation.see(2);
    simulation.receive(&event(3, time("1970-01-01T00:00:20Z")));
    simulation.wait(1);
    assert_eq!(simulation.hours("2026-11-22", 2), "............1...........");
    assert_eq!(simulation.alerts.lines().count(), 1, "its first sighting");
    simulation.wait(3601);
    assert_eq!(simulation.removed, [date("2026-10-22")]);
    let message = "1 sightings were not recorded: they were captured before the clock was set";
    assert_eq!(simulation.warnings, [message, message], "at once, and an hour later");
    assert!(simulation.errors.contains(message) && !simulation.errors.contains("forward"));
    assert!(simulation.errors.contains("before the clock was set\n"), "{}", simulation.errors);
    assert_eq!(simulation.files.keys().copied().collect::<Vec<_>>(), [date("2026-11-22")]);
    // A clock that loses its time while counts wait to be written: these are written.
    simulation.see(2);
    simulation.clocks.system = time("1970-01-01T00:00:05Z");
    simulation.tick();
    assert_eq!(simulation.hours("2026-11-22", 2), "............11..........");
}

/// A probed address is not the prober's; what does not name a MAC overrules no claim.
#[test]
fn what_proves_an_address() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    let mut see = |mac: u32, address: u32, origin: Origin| {
        let address = Ipv4Addr::from(0x0a00_0000 + address).to_ipv6_mapped();
        let kind = Kind::Pairing(origin);
        simulation.receive(&Event { kind, address, ..event(mac, simulation.clocks.system) });
    };
    see(9, 2, Origin::ArpProbe); // a scanner
    see(2, 2, Origin::ArpReply); // the owner
    see(9, 2, Origin::ArpProbe);
    see(2, 2, Origin::ArpProbe); // its own address
    see(2, 4, Origin::NdAdvertisement);
    see(9, 4, Origin::NdAdvertisementFrameSource); // a proxy
    see(3, 3, Origin::NdSolicitationFrameSource); // not known yet
    see(3, 3, Origin::NdAdvertisementFrameSource); // in no log
    see(3, 3, Origin::NdSolicitation);
    see(3, 3, Origin::NdAdvertisementFrameSource);
    simulation.wait(1);
    let text = &simulation.files[&date("2026-11-22")];
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        [words[0], words[2], words[7]].join(" ")
    };
    assert_eq!(
        text.lines().skip(1).map(row).collect::<Vec<_>>(),
        [
            "02:00:00:00:00:02 10.0.0.2 ............2...........",
            "02:00:00:00:00:02 ::ffff:10.0.0.4 ............1...........",
            "02:00:00:00:00:03 ::ffff:10.0.0.3 ............2...........",
        ]
    );
    // The scanner, and the device that had only asked yet, are reported without an address.
    let alert = |line: &str| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    assert_eq!(
        simulation.alerts.lines().map(alert).collect::<Vec<_>>(),
        [
            "02:00:00:00:00:09 unknown 0.0.0.0",
            "02:00:00:00:00:02 unknown 10.0.0.2",
            "02:00:00:00:00:03 unknown ::",
            "02:00:00:00:00:03 unknown ::ffff:10.0.0.3",
        ]
    );
}

/// An access point or a router sends the answers of the owner with its own MAC in the frame. It does not become the owner,
/// neither after midnight nor after a restart, before the owner's first claim.
#[test]
fn an_answer_without_a_mac_overrules_no_owner() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T23:59:00Z");
    let see = |simulation: &mut Simulation, mac: u32, origin: Origin| {
        let address = Ipv4Addr::from(0x0a00_0009).to_ipv6_mapped();
        let kind = Kind::Pairing(origin);
        simulation.receive(&Event { kind, address, ..event(mac, simulation.clocks.system) });
    };
    let answer = Origin::NdAdvertisementFrameSource;
    see(&mut simulation, 8, answer); // before any claim
    see(&mut simulation, 9, Origin::NdAdvertisement);
    see(&mut simulation, 8, answer);
    simulation.wait(70);
    for _ in 0..2 {
        see(&mut simulation, 8, answer);
        see(&mut simulation, 9, answer); // the owner's own
        simulation.wait(1);
        let rows = |day: &str| {
            let macs = simulation.files[&date(day)].lines().skip(1);
            macs.filter_map(|line| line.split(' ').next()).collect::<Vec<_>>().join(" ")
        };
        let days = ["2026-11-22", "2026-11-23"].map(rows);
        assert_eq!(days, ["02:00:00:00:00:09", "02:00:00:00:00:09"]);
        let mut alerts = simulation.alerts.lines().map(|line| line.split_whitespace().nth(2));
        assert!(!simulation.alerts.contains("08 unknown   ::ffff"), "{}", simulation.alerts);
        assert!(alerts.any(|ip| ip == Some("::")), "{}", simulation.alerts);
        // A restart on the same day.
        let files = std::mem::take(&mut simulation.files);
        let later = Timestamp::from_second(simulation.clocks.system.seconds()).unwrap();
        simulation = Simulation { files, ..Simulation::new("UTC", &later.to_string()) };
    }
}

/// Two rings may each have an interface eth0: these are two networks.
#[test]
fn rings_are_distinguished() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    simulation.see(2);
    simulation.receive_of("/site-b", &event(2, simulation.clocks.system));
    simulation.wait(1);
    let text = &simulation.files[&date("2026-11-22")];
    let interfaces: Vec<_> =
        text.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(interfaces, ["eth0", "site-b/eth0"]);
}

/// Invented addresses fill at most nine tenths of the rows; the rest is reserved for devices with names. Twice as many unknown
/// devices as rows are in the alert log, then a hundred, and then one a second.
#[test]
fn memory_is_limited() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    (2..20_000).for_each(|mac| simulation.see(mac));
    simulation.see(1);
    simulation.wait(1);
    assert_eq!(simulation.files[&date("2026-11-22")].lines().count(), 1 + 900 + 1);
    assert_eq!(simulation.alerts.lines().count(), 2100);
    assert!(simulation.files[&date("2026-11-22")].contains("router"));
    (0..5_000).for_each(|address| {
        let address = Ipv4Addr::from(0x0b00_0000 + address).to_ipv6_mapped();
        simulation.receive(&Event { address, ..event(1, simulation.clocks.system) });
    });
    simulation.wait(3600);
    assert_eq!(simulation.files[&date("2026-11-22")].lines().count(), 1 + 1000);
    assert_eq!(
        simulation.errors,
        format!(
            "20261122:1200:the log of 2026-11-22 is full: rows of the largest groups make room for others (look for a host that invents addresses)\n\
             20261122:1300:{} rows of 2026-11-22 made room for others: its log is full (look for a host that invents addresses, or raise --max-rows)\n\
             20261122:1300:{} sightings of unknown devices of 2026-11-22 are not in the alert log: it is full, and takes one a second (raise --max-rows)\n",
            19_998 - 900 + 5_000 - 99,
            19_998 - 2100
        )
    );
    for vlan in 0..20_000_u16 {
        let vlan = VlanId::from_tag(vlan);
        simulation.receive(&Event {
            vlan,
            outer_vlan: VlanId::from_tag(vlan.get() / 5),
            ..event(2, simulation.clocks.system)
        });
    }
    assert!(simulation.logs.interfaces.names.len() <= interface_names::MAX_INTERFACES);
}

/// A claim for a MAC that no host has is no device: the one that sent it is reported.
#[test]
fn a_mac_that_no_host_has() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    let (mac, kind) = (MacAddr::new([255; 6]), Kind::Pairing(Origin::ArpNoHost));
    for source in [event(2, simulation.clocks.system).mac, mac] {
        simulation.receive(&Event { mac, source, kind, ..event(2, simulation.clocks.system) });
    }
    simulation.wait(1);
    assert_eq!(simulation.alerts.lines().count(), 1, "{}", simulation.alerts);
    assert!(simulation.alerts.starts_with("02:00:00:00:00:02 unknown"), "{}", simulation.alerts);
    assert!(simulation.alerts.contains(" 0.0.0.0 "), "{}", simulation.alerts);
}

#[test]
fn a_vlan_has_an_interface_name() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    let (vlan, outer_vlan) = (VlanId::from_tag(9), VlanId::from_tag(100));
    simulation.see(2);
    simulation.receive(&Event { vlan, ..event(2, simulation.clocks.system) });
    simulation.receive(&Event { vlan, outer_vlan, ..event(2, simulation.clocks.system) });
    simulation.wait(1);
    let text = &simulation.files[&date("2026-11-22")];
    let interfaces: Vec<_> =
        text.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(interfaces, ["eth0", "eth0.100.9", "eth0.9"]);
    assert_eq!(simulation.alerts.lines().count(), 1);
}

#[test]
fn failed_actions_are_returned_again() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    simulation.see(2);
    simulation.clocks.monotonic += Duration::from_millis(500);
    let failed = simulation.logs.tick(simulation.clocks);
    assert_eq!(failed.len(), 3, "{failed:?}");
    failed.into_iter().for_each(|action| simulation.logs.retry(action));
    simulation.wait(9);
    assert_eq!((simulation.writes, &*simulation.alerts), (0, ""));
    simulation.wait(2);
    assert_eq!((simulation.writes, simulation.alerts.lines().count()), (1, 1));
    // Also if midnight comes between.
    simulation.see(3);
    simulation.clocks.monotonic += Duration::from_millis(500);
    let failed = simulation.logs.tick(simulation.clocks);
    failed.into_iter().for_each(|action| simulation.logs.retry(action));
    simulation.clocks.system = time("2026-11-23T00:00:00Z");
    simulation.wait(11);
    assert_eq!(simulation.hours("2026-11-22", 3), "............1...........");
}

#[test]
fn error_messages_are_limited() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    (0..1000).for_each(|number| simulation.logs.log_error(&format!("line {number}: <b>\u{1b}\n")));
    simulation.wait(1);
    assert_eq!(simulation.errors.lines().count(), 101);
    assert!(simulation.errors.starts_with("20261122:1200:line 0: <b>??\n"));
    assert!(simulation.errors.ends_with("20261122:1200:900 further errors\n"));
}

#[test]
fn new_names_are_written_immediately() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T12:00:00Z");
    simulation.see(2);
    simulation.wait(1);
    let names = [(MacAddr::new([2, 0, 0, 0, 0, 2]), "Omas Küche".to_owned())];
    simulation
        .logs
        .reconfigure(LogConfig { names: Arc::new(names.into()), ..config() }, TimeZone::UTC);
    simulation.wait(1);
    assert!(simulation.files[&date("2026-11-22")].contains(" Omas Küche "));
}

/// A frame of another MAC is a repeater's, or forged: the row counts it and says so, in a form that the log is read with again.
#[test]
fn rows_of_frames_that_other_macs_sent_are_marked() {
    let mut simulation = Simulation::new("UTC", "2026-11-22T08:10:00Z");
    let attacker = MacAddr::new([2, 0, 0, 0, 0, 9]);
    let sent = |mac, time| Event { source: attacker, ..event(mac, time) };
    let now = simulation.clocks.system;
    simulation.see(1);
    for mac in [1, 2, 3] {
        simulation.receive(&sent(mac, now));
    }
    simulation.see(3);
    simulation.see(4);
    simulation.wait(1);
    let day = date("2026-11-22");
    let log = simulation.files[&day].clone();
    let rows = |log: &str| -> Vec<String> {
        let rows = log_format::parse_log(log.as_bytes()).map(|(_, row)| row.unwrap());
        rows.map(|row| {
            format!("{} {} {}", row.mac.octets()[5], row.name.unwrap_or("-"), row.sender)
        })
        .collect()
    };
    let expected = [
        format!("1 router partly sent by {attacker}"),
        format!("2 - only sent by {attacker}"),
        format!("3 - partly sent by {attacker}"),
        "4 - ".to_owned(),
    ];
    assert_eq!(rows(&log), expected);
    assert!(log.contains(&format!("02:00:00:00:00:02 unknown(only-sent-by-{attacker}) ")), "{log}");
    let alerts: Vec<_> =
        simulation.alerts.lines().map(|line| line.contains("(only-sent-by-")).collect();
    assert_eq!(alerts, [true, true, false]);
    // A program that splits the rows, as awk does, finds the same eight columns; and rows without a mark are as wide as ever.
    for line in log.lines().chain(simulation.alerts.lines()) {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words.len(), words[7].len() >= 12), (8, true), "{line}");
        assert!(words[2] == "ip" || words[2].parse::<std::net::IpAddr>().is_ok(), "{line}");
    }
    let mut plain = Simulation::new("UTC", "2026-11-22T08:10:00Z");
    (1..5).for_each(|mac| plain.see(mac));
    plain.wait(1);
    let rows_of = |log: &str| [0, 4].map(|row| log.lines().nth(row).unwrap().to_owned());
    assert_eq!(rows_of(&log), rows_of(&plain.files[&day]));
    // Builds of the day on which marks began wrote them with spaces.
    let old = log
        .replace("(only-sent-by-", " (only sent by ")
        .replace("(partly-sent-by-", " (partly sent by ");
    assert_eq!(rows(&old), expected);
    // After a restart, the marks are those of the log.
    let mut again = Simulation::new("UTC", "2026-11-22T09:10:00Z");
    again.files.insert(day, log);
    again.receive(&sent(2, again.clocks.system));
    again.see(4);
    again.wait(1);
    assert_eq!(rows(&again.files[&day]), expected);
    again.see(2);
    again.wait(1);
    assert!(rows(&again.files[&day])[1].ends_with(&format!("partly sent by {attacker}")));
}
