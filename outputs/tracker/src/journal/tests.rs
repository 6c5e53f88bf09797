use super::*;
use jiff::Timestamp;
use shm_layout::{Kind, MacAddr, Origin, UserName};
use std::net::Ipv4Addr;

/// A journal with a clock that the test turns, and files that are strings.
struct Desk {
    journal: Journal,
    now: Now,
    files: HashMap<Date, String>,
    alerts: String,
    config: String,
    errors: String,
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

fn rules() -> Rules {
    let names = [(MacAddr::new([2, 0, 0, 0, 0, 1]), "router".to_owned())];
    Rules { names: Arc::new(names.into()), max_logs: 31, max_rows: 1000 }
}

impl Desk {
    fn new(zone: &str, wall: &str) -> Desk {
        let now = Now { wall: time(wall), steady: Duration::ZERO };
        let journal = Journal::new(rules(), TimeZone::get(zone).unwrap(), now);
        let mut desk = Desk {
            journal,
            now,
            files: HashMap::new(),
            alerts: String::new(),
            config: String::new(),
            errors: String::new(),
            writes: 0,
            reports: 0,
            removed: Vec::new(),
        };
        desk.tick();
        desk.removed.clear();
        desk
    }

    fn act(&mut self, tasks: Vec<Task>) {
        for task in tasks {
            match task {
                Task::Append(Log::Alert, _, text) => self.alerts += &text,
                Task::Append(Log::Config, _, text) => self.config += &text,
                Task::Append(Log::Error, _, text) => self.errors += &text,
                Task::Write(date, text) => {
                    self.writes += 1;
                    self.files.insert(date, text);
                }
                Task::Remove(date) => self.removed.push(date),
                Task::Report => self.reports += 1,
            }
        }
    }

    fn tick(&mut self) {
        let tasks = self.journal.tick(self.now);
        self.act(tasks);
    }

    /// Both clocks go on, the world looks twice a second.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds * 2 {
            let half = Duration::from_millis(500);
            self.now.steady += half;
            self.now.wall = UnixTime::from_nanos(self.now.wall.as_nanos() + 500_000_000);
            self.tick();
        }
    }

    fn take(&mut self, event: &Event) {
        let Some(at) = self.journal.moment(event) else { return };
        if !self.journal.is_open(at.date) {
            if !self.journal.has_room() {
                let tasks = self.journal.flush();
                self.act(tasks);
            }
            let text = self.files.get(&at.date).cloned().unwrap_or_default();
            let rows = table::read(text.as_bytes()).map(|(_, line)| {
                let line = line.unwrap();
                let at = |clock| self.journal.calendar().resolve(line.date, clock);
                let key = Key { mac: line.mac, ip: line.ip, interface: line.interface.into() };
                (key, Activity { first: at(line.first), last: at(line.last), hours: line.hours })
            });
            let rows = rows.collect();
            self.journal.open(at.date, rows);
        }
        self.journal.sight(event, at, self.now.steady);
    }

    fn see(&mut self, mac: u32) {
        self.take(&event(mac, self.now.wall));
    }

    /// The cells of a device on a day.
    fn cells(&self, day: &str, mac: u32) -> String {
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
fn a_routers_configuration_is_no_device() {
    let mut desk = Desk::new("Europe/Berlin", "2026-11-22T08:10:00Z");
    let user = UserName::cut("alice");
    let change = ConfigChange { user, added: 3, removed: 1 };
    let router = Ipv4Addr::new(192, 0, 2, 1);
    let changed = |time| Event::config_change(time, "core1".parse().unwrap(), router, change);
    for _ in 0..2 {
        let event = changed(desk.now.wall);
        let at = desk.journal.moment(&event).unwrap();
        desk.journal.config_change(&event, &change, at);
    }
    desk.wait(1);
    let line = "20261122:0910:core1 (192.0.2.1) changed by alice (+3 -1)\n";
    assert_eq!(desk.config, line.repeat(2));
    assert_eq!((desk.writes, desk.reports, desk.alerts.as_str()), (0, 2, ""));
    // While the disk takes nothing, what waits has a bound, and what is lost is said.
    let event = changed(desk.now.wall);
    let at = desk.journal.moment(&event).unwrap();
    (0..50_000).for_each(|_| desk.journal.config_change(&event, &change, at));
    desk.config.clear();
    desk.wait(1);
    assert!(
        desk.config.len() < MOST_CONFIG + 100
            && desk.config.lines().all(|text| text == &line[..line.len() - 1])
    );
    assert!(
        desk.errors.contains("is lost") && desk.errors.contains("further errors"),
        "{}",
        desk.errors
    );
}

#[test]
fn a_first_sighting_in_an_hour_is_written_within_a_second_and_many_at_once_in_one_go() {
    let mut desk = Desk::new("UTC", "2026-11-22T08:10:00Z");
    (1..=500).for_each(|mac| desk.see(mac));
    assert_eq!(desk.writes, 0);
    desk.wait(1);
    assert_eq!((desk.writes, desk.reports), (1, 2), "one at the start, one now");
    assert_eq!(desk.files[&date("2026-11-22")].lines().count(), 501);
    assert_eq!(desk.alerts.lines().count(), 499);
    // Further counts are not worth a write before the hour is over.
    (1..=500).for_each(|mac| desk.see(mac));
    desk.wait(60);
    assert_eq!(desk.writes, 1);
    assert_eq!(desk.cells("2026-11-22", 1), "........1...............");
    desk.wait(49 * 60);
    assert_eq!((desk.writes, desk.reports), (2, 3));
    assert_eq!(desk.cells("2026-11-22", 1), "........2...............");
    desk.see(7);
    desk.wait(1);
    assert_eq!(desk.cells("2026-11-22", 7), "........21..............");
    assert_eq!(desk.alerts.lines().count(), 499, "once a day");
    // An idle hour still has its report, but no write.
    desk.wait(2 * 3600);
    assert_eq!((desk.writes, desk.reports), (3, 6));
}

#[test]
fn midnight_begins_a_day_and_alerts_anew() {
    let mut desk = Desk::new("Europe/Berlin", "2026-11-22T22:59:50Z");
    desk.see(1);
    desk.see(2);
    desk.wait(5);
    desk.see(2);
    let late = event(2, desk.now.wall); // of this day, but heard in the next
    desk.wait(10);
    desk.take(&late);
    desk.see(2);
    desk.wait(2);
    assert_eq!(desk.cells("2026-11-22", 2), ".......................3", "late counts too");
    assert_eq!(desk.cells("2026-11-23", 2), "1.......................");
    assert!(!desk.files[&date("2026-11-23")].contains("router"));
    assert_eq!(desk.alerts.lines().count(), 2);
    assert_eq!(desk.removed, [date("2026-10-23")]);
    desk.wait(3600);
    assert_eq!(desk.journal.days.len(), 1);
}

/// A sighting every ten minutes of a whole day: six in each hour that the wall clock had.
#[test]
fn days_of_23_and_25_hours() {
    for (zone, begin, day, hours, cells) in [
        ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29", 23, "66.666666666666666666666"),
        ("Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-25", 25, "66*666666666666666666666"),
        ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-08", 23, "66.666666666666666666666"),
        ("Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24", 23, ".66666666666666666666666"),
        ("UTC", "2026-10-24T00:00:00Z", "2026-10-24", 24, "666666666666666666666666"),
    ] {
        let mut desk = Desk::new(zone, begin);
        for _ in 0..hours * 6 {
            desk.see(2);
            desk.wait(600);
        }
        desk.see(2);
        desk.wait(1);
        assert_eq!(desk.cells(day, 2), cells, "{zone}");
        let next = date(day).tomorrow().unwrap().to_string();
        assert_eq!(desk.cells(&next, 2), "1.......................", "{zone}");
        assert_eq!(desk.times(&next), ["0000 0000"]);
        let first = if zone == "Africa/Cairo" { "0100" } else { "0000" };
        assert_eq!(desk.times(day), [format!("{first} 2350")]);
    }
}

/// In the hour that comes twice, times go on although the clock on the wall went back.
#[test]
fn the_hour_that_comes_twice() {
    let mut desk = Desk::new("Europe/Berlin", "2026-10-25T00:50:00Z"); // 02:50
    desk.see(2);
    desk.wait(1200); // 02:10, the second
    desk.see(2);
    desk.wait(1);
    desk.journal.flush().into_iter().for_each(|task| desk.act(vec![task]));
    assert_eq!(desk.times("2026-10-25"), ["0250 0210"]);
}

#[test]
fn events_are_filed_by_their_own_time() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    desk.files.insert(
        date("2026-11-10"),
        "mac name ip iface date time last active-hours\n\
         02:00:00:00:00:02 unknown 10.0.0.2 eth0 20261110 0900 0930 .........5..............\n"
            .into(),
    );
    for (mac, at) in [
        (2, "2026-11-10T08:59:00Z"),
        (2, "2026-11-10T10:05:00Z"),
        (2, "2026-10-22T00:00:00Z"), // the oldest that is kept
        (3, "2026-10-21T23:59:59Z"), // older
        (2, "2026-11-23T23:59:59Z"), // tomorrow
        (3, "2026-11-24T00:00:00Z"), // later
        (2, "2026-11-22T11:59:59Z"),
    ] {
        desk.take(&event(mac, time(at)));
    }
    assert!(desk.journal.days.len() <= OPEN_DAYS);
    desk.wait(1);
    assert_eq!(desk.cells("2026-11-10", 2), "........151.............");
    assert_eq!(desk.times("2026-11-10"), ["0859 1005"]);
    assert_eq!(
        desk.alerts.lines().filter(|line| line.contains(" 20261110 ")).count(),
        0,
        "seen before"
    );
    assert_eq!(desk.files.len(), 4);
    desk.wait(3600);
    assert_eq!(desk.errors, "20261122:1200:2 sightings are of days that have no log\n");
    assert_eq!(desk.journal.days.len(), 1, "today");
}

/// Logs that somebody put together may have a key twice.
#[test]
fn rows_of_one_key_are_joined() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    desk.files.insert(
        date("2026-11-10"),
        "mac name ip iface date time last active-hours\n\
         02:00:00:00:00:02 unknown 10.0.0.2 eth0 20261110 0900 0930 .........5..............\n\
         02:00:00:00:00:02 unknown 10.0.0.2 eth0 20261110 0801 0910 ........19..............\n"
            .into(),
    );
    desk.take(&event(2, time("2026-11-10T10:05:00Z")));
    desk.wait(1);
    assert_eq!(desk.cells("2026-11-10", 2), "........1*1.............");
    assert_eq!(desk.times("2026-11-10"), ["0801 1005"]);
}

#[test]
fn a_clock_that_is_set() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    desk.see(2);
    desk.wait(1);
    // Back over midnight: yesterday's log goes on; nothing is lost when it is today again.
    desk.now.wall = time("2026-11-21T23:59:00Z");
    desk.tick();
    desk.see(2);
    desk.wait(30);
    desk.now.wall = time("2026-11-22T12:01:00Z");
    desk.tick();
    desk.see(2);
    desk.wait(3600);
    assert_eq!(desk.cells("2026-11-21", 2), ".......................1");
    assert_eq!(desk.cells("2026-11-22", 2), "............2...........");
    // Years ahead, and back a minute later: no log is removed.
    desk.removed.clear();
    desk.now.wall = time("2099-01-01T00:00:00Z");
    desk.wait(60);
    desk.now.wall = time("2026-11-22T13:05:00Z");
    desk.wait(7200);
    assert!(desk.removed.iter().all(|before| *before == date("2026-10-22")), "{:?}", desk.removed);
    assert!(desk.errors.contains("the clock was set forward by 26"), "{}", desk.errors);
    // A machine that knows the time only after a while.
    let mut desk = Desk::new("UTC", "1970-01-01T00:00:10Z");
    desk.see(2);
    desk.wait(1);
    desk.now.wall = time("2026-11-22T12:00:00Z");
    desk.wait(1);
    desk.see(2);
    desk.wait(1);
    assert_eq!(desk.cells("2026-11-22", 2), "............1...........");
    desk.wait(3601);
    assert_eq!(desk.removed, [date("2026-10-22")]);
}

/// Addresses that somebody makes up fill nine tenths of the rows; those with names still have theirs.
#[test]
fn memory_is_bounded() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    (2..20_000).for_each(|mac| desk.see(mac));
    desk.see(1);
    desk.wait(1);
    assert_eq!(desk.files[&date("2026-11-22")].lines().count(), 1 + 900 + 1);
    assert_eq!(desk.alerts.lines().count(), 900);
    assert!(desk.files[&date("2026-11-22")].contains("router"));
    (0..5_000).for_each(|address| {
        let address = Ipv4Addr::from(0x0b00_0000 + address).to_ipv6_mapped();
        desk.take(&Event { address, ..event(1, desk.now.wall) });
    });
    desk.wait(3600);
    assert_eq!(desk.files[&date("2026-11-22")].lines().count(), 1 + 1000);
    assert_eq!(
        desk.errors,
        format!(
            "20261122:1300:{} sightings of 2026-11-22 found no room in its log (--max-rows)\n",
            19_998 - 900 + 5_000 - 99
        )
    );
    for vlan in 0..20_000_u16 {
        let vlan = VlanId::from_tag(vlan);
        desk.take(&Event {
            vlan,
            outer_vlan: VlanId::from_tag(vlan.get() / 5),
            ..event(2, desk.now.wall)
        });
    }
    assert!(desk.journal.interfaces.len() <= MOST_INTERFACES);
}

#[test]
fn vlans_are_interfaces() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    let (vlan, outer_vlan) = (VlanId::from_tag(9), VlanId::from_tag(100));
    desk.see(2);
    desk.take(&Event { vlan, ..event(2, desk.now.wall) });
    desk.take(&Event { vlan, outer_vlan, ..event(2, desk.now.wall) });
    desk.wait(1);
    let text = &desk.files[&date("2026-11-22")];
    let interfaces: Vec<_> =
        text.lines().skip(1).map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(interfaces, ["eth0", "eth0.100.9", "eth0.9"]);
    assert_eq!(desk.alerts.lines().count(), 1);
}

#[test]
fn what_failed_is_tried_again() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    desk.see(2);
    desk.now.steady += Duration::from_millis(500);
    let failed = desk.journal.tick(desk.now);
    assert_eq!(failed.len(), 3, "{failed:?}");
    failed.into_iter().for_each(|task| desk.journal.failed(task));
    desk.wait(9);
    assert_eq!((desk.writes, &*desk.alerts), (0, ""));
    desk.wait(2);
    assert_eq!((desk.writes, desk.alerts.lines().count()), (1, 1));
    // Over midnight, too.
    desk.see(3);
    desk.now.steady += Duration::from_millis(500);
    let failed = desk.journal.tick(desk.now);
    failed.into_iter().for_each(|task| desk.journal.failed(task));
    desk.now.wall = time("2026-11-23T00:00:00Z");
    desk.wait(11);
    assert_eq!(desk.cells("2026-11-22", 3), "............1...........");
}

#[test]
fn errors_do_not_flood() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    (0..1000).for_each(|number| desk.journal.error(&format!("line {number}: <b>\u{1b}\n")));
    desk.wait(1);
    assert_eq!(desk.errors.lines().count(), 101);
    assert!(desk.errors.starts_with("20261122:1200:line 0: <b>??\n"));
    assert!(desk.errors.ends_with("20261122:1200:900 further errors\n"));
}

#[test]
fn other_names_are_written_at_once() {
    let mut desk = Desk::new("UTC", "2026-11-22T12:00:00Z");
    desk.see(2);
    desk.wait(1);
    let names = [(MacAddr::new([2, 0, 0, 0, 0, 2]), "Omas Küche".to_owned())];
    desk.journal.change(Rules { names: Arc::new(names.into()), ..rules() }, TimeZone::UTC);
    desk.wait(1);
    assert!(desk.files[&date("2026-11-22")].contains(" Omas Küche "));
}
