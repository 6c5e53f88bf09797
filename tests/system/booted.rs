//! The Debian package in a new Debian 12 with Debian's own systemd as its process 1:
//! installed, enabled, killed, stopped, upgraded, booted again, removed and purged. The services are checked with
//! numbered frames from another machine.
#![forbid(unsafe_code)]

use aw_tests::debian::{Booted, Debian};
use aw_tests::feed::{FrameSender, generation_of};
use aw_tests::rig::wait_until;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::net::Ipv4Addr;
use std::thread::{scope, sleep};
use std::time::Duration;

/// Two versions.
const OLD: &str = "0.1.0";
const NEW: &str = "0.1.1";

const COLLECTOR: &str = "addrwatch-collector@veth0";
/// All outputs that need no server; aw-mysql needs one.
const OUTPUTS: [&str; 7] =
    ["aw-alert", "aw-metrics", "aw-routeros", "aw-sqlite", "aw-stdout", "aw-syslog", "aw-tracker"];
/// The outputs whose checkpoints aw-metrics exports.
const TOLD: [&str; 4] = ["aw-sqlite", "aw-stdout", "aw-syslog", "aw-tracker"];
/// The outputs that may repeat a batch after a kill (docs/dev/delivery.md), and the size of that batch.
const REPEATING: [(&str, usize); 2] = [("aw-stdout", 256), ("aw-syslog", 4096)];

#[test]
fn a_clean_debian() {
    let Some(debian) = Debian::new() else { return };
    assert_eq!(debian.ours(), [""; 0]);
    debian.package(OLD);
    debian.package(NEW);
    match debian.boot() {
        Ok(booted) => whole_life(&debian, booted),
        // Not skip(), which fails in CI: some machines have no unified control groups, or do not even allow root to create
        // namespaces. There package.rs tests what is possible without.
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "NOT BOOTED, see package.rs instead: {why}");
        }
    }
}

/// The life of a package, in the order in which its user sees it.
fn whole_life(debian: &Debian, booted: Booted) {
    let mut system = System::new(debian, booted);
    system.booted.ask(&format!("dpkg -i /root/{OLD}.deb"));
    system.no_service_without_request();
    system.outputs_before_their_collector();
    system.killed_while_idle();
    system.killed_while_frames_come();
    system.stopped_in_any_order();
    system.root_beside_its_services();
    system.wrong_options();
    system.upgraded_while_frames_come();
    let mut system = system.rebooted();
    system.removed_and_purged();
}

/// A running Debian, and a sender on its network.
struct System<'a> {
    debian: &'a Debian,
    booted: Booted,
    sender: FrameSender,
    /// The next number to send.
    next: u32,
    /// Numbers that were sent while a collector listened, which it must have captured.
    sent: Vec<u32>,
    /// Numbers captured in earlier boots.
    before: Vec<u32>,
    /// Lines that the outputs of `REPEATING` repeated.
    repeated: [usize; 2],
}

impl<'a> System<'a> {
    fn new(debian: &'a Debian, booted: Booted) -> Self {
        let sender = FrameSender::on(&booted.lan.there, "veth1");
        let (sent, before) = (Vec::new(), Vec::new());
        System { debian, booted, sender, next: 1, sent, before, repeated: [0; 2] }
    }

    fn no_service_without_request(&self) {
        let units = self.booted.ask("systemctl list-unit-files --no-legend 'aw-*' 'addrwatch*'");
        let mut states = units.lines().map(|line| line.split_whitespace().nth(1).unwrap());
        assert!(states.all(|state| state == "disabled"), "{units}");
        assert!(units.lines().count() > OUTPUTS.len() + 1, "{units}");
        assert_eq!(self.running(), [""; 0]);
        let mut enabled = self.debian.ours();
        enabled.retain(|path| path.starts_with("/etc/systemd/"));
        assert_eq!(enabled, [""; 0]);
    }

    fn outputs_before_their_collector(&mut self) {
        let outputs = OUTPUTS.join(" ");
        self.booted.ask(&format!("systemctl enable --now addrwatch.target {outputs}"));
        assert_active(&self.booted, &OUTPUTS);
        assert!(!self.ring_exists());
        self.booted.ask(&format!("systemctl enable --now {COLLECTOR}"));
        self.send(100);
        self.assert_delivered();
        self.booted.ask("test -s /var/log/addrwatch/aw-stdout/events.log");
    }

    /// An output that has delivered all repeats nothing, and nothing is lost.
    fn killed_while_idle(&mut self) {
        // The second of two batches in a row is not in the state that is written every five seconds.
        for _ in 0..2 {
            self.send(10);
            self.wait_for(&REPEATING.map(|(name, _)| name));
        }
        kill(&self.booted, &services());
        wait_for_restarts(&self.booted, 1);
        self.send(10);
        self.assert_delivered();
    }

    fn killed_while_frames_come(&mut self) {
        let mut order = services();
        let random = RandomState::new();
        order.sort_by_key(|name| random.hash_one(name));
        println!("killed in this order: {order:?}");
        self.while_speaking(|booted| {
            for name in &order {
                kill(booted, &[name]);
            }
            wait_for_restarts(booted, 2);
        });
        self.send(10);
        self.repeated = self.delivered();
        println!("repeated: {:?}", self.repeated);
        for ((name, batch), repeated) in REPEATING.into_iter().zip(self.repeated) {
            assert!(repeated <= batch, "{name}: {repeated}");
        }
    }

    /// The ring outlives each service, and all of them.
    fn stopped_in_any_order(&mut self) {
        let outputs = OUTPUTS.join(" ");
        self.booted.ask(&format!("systemctl stop {outputs}"));
        self.send(10);
        self.booted.ask(&format!("systemctl start {outputs}"));
        self.assert_delivered();

        kill(&self.booted, &[COLLECTOR]);
        self.booted.ask(&format!("systemctl stop {outputs}"));
        assert!(self.ring_exists(), "outputs stopped after their collector was killed");
        self.booted.ask(&format!("systemctl start {outputs}; systemctl stop {COLLECTOR}"));
        self.booted.ask(&format!("systemctl stop {outputs}"));
        assert!(self.ring_exists(), "outputs stopped after their collector");
        self.booted.ask(&format!("systemctl start {COLLECTOR}"));
        self.send(10);
        self.booted.ask("systemctl restart addrwatch.target");
        self.booted.ask("systemctl stop addrwatch.target");
        // systemctl waits for the target, not for its parts.
        wait_until("all is stopped", || self.running().is_empty());
        assert!(self.ring_exists(), "all stopped");
        self.booted.ask("systemctl start addrwatch.target");
        assert_active(&self.booted, &services());
        self.send(10);
        self.assert_delivered();
    }

    /// A program that root runs by hand without options uses the files of the service.
    fn root_beside_its_services(&mut self) {
        let names = || TOLD.into_iter().chain(["aw-alert", "aw-metrics"]);
        for name in names() {
            let health = self.booted.sh(&format!("{name} --health"));
            let fault = ": the collector was killed or crashed 3 times since ";
            assert!(!health.status.success() && health.stdout.contains(fault), "{health:?}");
        }
        // Forgotten (addrwatch-ring(5)), and nothing else is wrong.
        self.booted
            .ask("dd if=/dev/zero of=/dev/shm/addrwatch bs=1 seek=3992 count=104 conv=notrunc");
        for name in names() {
            self.booted.ask(&format!("{name} --health"));
        }
        // Imported by root, known to the service, which can still write its files.
        self.assert_known_to_alert();
        self.booted.ask(
            "systemctl stop aw-alert
             printf '[MACLIST]\\n02:00:00:00:00:01|the first\\n' >/root/names.conf; aw-alert import /root/names.conf
             aw-alert export csv | grep 'the first'; systemctl start aw-alert",
        );
        self.send(10);
        self.assert_delivered();
        let state = ["-path", "*/var/lib/addrwatch/aw-*", "-user", "root", "-type", "f"];
        assert_eq!(self.debian.find(&state), [""; 0]);
    }

    /// Wrong options stay wrong: systemd does not restart the service. aw-syslog stays stopped for now.
    fn wrong_options(&mut self) {
        for name in services() {
            let file = match name {
                COLLECTOR => "/etc/addrwatch/collector-veth0.conf".into(),
                _ => format!("/etc/default/{name}"),
            };
            let asked = self
                .booted
                .sh(&format!("echo OPTIONS=--never-captured-of >{file}; systemctl restart {name}"));
            assert_ne!(asked.status.code(), Some(0), "{name} was started");
            let state = ["ActiveState", "NRestarts", "ExecMainStatus"];
            let state = state.map(|which| property(&self.booted, name, which));
            assert_eq!(state, ["failed", "0", "2"], "{name}");
            self.booted.ask(&format!("rm {file}"));
            if name != "aw-syslog" {
                self.booted.ask(&format!("systemctl start {name}"));
            }
        }
    }

    fn upgraded_while_frames_come(&mut self) {
        self.booted.ask("echo '# mine' >>/etc/addrwatch/macupd_tracker.conf");
        self.send(10);
        let from = self.next;
        self.while_speaking(|booted| {
            booted.ask(&format!("dpkg -i /root/{NEW}.deb </dev/null"));
        });
        let to = self.next;
        self.send(10);
        // Running services are restarted, stopped ones are not, and files that the owner changed are unchanged.
        let mut running = self.running();
        running.sort();
        let mut expected: Vec<_> = OUTPUTS.iter().filter(|name| **name != "aw-syslog").collect();
        expected.push(&"collector");
        let expected: Vec<_> = expected.iter().map(|name| format!("/usr/bin/{name}")).collect();
        assert_eq!(running, expected);
        let changed = self.debian.path("etc/addrwatch/macupd_tracker.conf");
        assert!(fs::read_to_string(changed).unwrap().ends_with("# mine\n"));
        self.booted.ask("systemctl start aw-syslog");
        self.assert_delivered();
        let captured =
            self.captured().into_iter().filter(|number| (from..to).contains(number)).count();
        assert!(captured > 0, "no frame was captured during the upgrade");
        println!("{captured} of {} frames captured during the upgrade", to - from);
    }

    /// After a power cut, enabled services start by themselves.
    fn rebooted(self) -> Self {
        let System { debian, next, repeated, .. } = self;
        let before = [self.before.clone(), self.captured()].concat();
        drop((self.sender, self.booted));
        let booted = debian.boot().unwrap();
        let mut system = System { next, repeated, before, ..System::new(debian, booted) };
        assert_active(&system.booted, &services());
        system.send(10);
        system.assert_delivered();
        system
    }

    fn removed_and_purged(&mut self) {
        // logrotate accepts its configuration.
        self.booted.ask("logrotate --debug /etc/logrotate.d/addrwatch");
        let users = self.booted.ask("getent passwd | cut -d : -f 1 | grep -E '^(addrwatch|aw-)'");
        self.assert_known_to_alert();
        let all = self.in_sqlite();
        assert_eq!(
            self.booted.ask("systemctl list-units --failed --no-legend 'aw-*' 'addrwatch*'"),
            ""
        );
        assert!(users.lines().count() > OUTPUTS.len(), "{users}");
        self.booted.ask("dpkg -r addrwatch-rs");
        assert_eq!(self.running(), [""; 0]);
        assert!(!self.debian.path("usr/bin/collector").exists());
        assert_eq!(self.in_sqlite(), all, "removed is not purged");
        assert_eq!(self.in_logs(), all, "removed is not purged");
        assert!(self.ring_exists());
        self.booted.ask("dpkg -P addrwatch-rs");
        assert_eq!(self.booted.ask("ls -A /dev/shm"), "");
        let states = self.booted.ask("systemctl list-units --all --no-legend 'aw-*' 'addrwatch*'");
        assert_eq!(states, "");
        for user in users.lines() {
            let owned =
                self.booted.ask(&format!("find / -xdev -user {user} -o -xdev -group addrwatch"));
            assert_eq!(owned, "", "of {user}");
        }
    }

    /// Every output has delivered each event of the ring, none twice except after a kill during a batch.
    #[track_caller]
    fn assert_delivered(&self) {
        assert_eq!(self.delivered(), self.repeated);
    }

    /// Waits until these outputs have delivered all events, and have lost none.
    #[track_caller]
    fn wait_for(&self, outputs: &[&str]) {
        let mut last = BTreeMap::new();
        wait_until("outputs are at the ring's end", || {
            let samples = self.samples();
            let at_its_end = |output: &&str| {
                let of = |name| {
                    let labels = format!("output=\"{output}\",ring=\"/addrwatch\"");
                    samples.get(&format!("addrwatch_output_{name}{{{labels}}}"))
                };
                let numbers = [of("next_event"), of("lost_total"), of("skipped_total")];
                let published = samples.get("addrwatch_ring_events_total{ring=\"/addrwatch\"}");
                published.is_some() && numbers == [published, Some(&0.0), Some(&0.0)]
            };
            let so = outputs.iter().all(at_its_end);
            if samples != last {
                println!("{samples:#?}"); // to find out why it was never true
                last = samples;
            }
            so
        });
    }

    /// Every captured number is in every output, in a database once; returns the repeated lines of those of `REPEATING`.
    #[track_caller]
    fn delivered(&self) -> [usize; 2] {
        self.wait_for(&TOLD);
        let captured = [self.before.clone(), self.captured()].concat();
        assert!(captured.is_sorted_by(|one, next| one < next), "{captured:?}");
        for number in &self.sent {
            assert!(captured.binary_search(number).is_ok(), "{number} was not captured");
        }
        assert_eq!(self.in_sqlite(), captured);
        let log =
            fs::read_to_string(self.debian.path("var/log/addrwatch/aw-stdout/events.log")).unwrap();
        // Messages of aw-syslog are in journald's socket: journald is read only when it has taken them from there.
        let syslog = self.booted.ask(
            "journalctl --sync; journalctl --quiet --no-pager --output cat --identifier addrwatch",
        );
        [log, syslog].map(|lines| {
            let mut numbers = numbers_in(&lines);
            let written = numbers.len();
            numbers.sort();
            numbers.dedup();
            assert_eq!(numbers, captured);
            written - numbers.len()
        })
    }

    /// aw-alert has read every event, too; no other program can read its database while it runs.
    fn assert_known_to_alert(&self) {
        let captured = [self.before.clone(), self.captured()].concat();
        wait_until("aw-alert knows all", || {
            let stations = "systemctl stop aw-alert; aw-alert export csv; systemctl start aw-alert";
            let stations = self.booted.ask(stations);
            let known = stations.lines().skip(1).filter_map(|line| line.split(',').nth(1));
            known.map(number_of).eq(captured.iter().copied())
        });
    }

    /// The numbers in the ring, in its order: one stream, without a gap.
    #[track_caller]
    fn captured(&self) -> Vec<u32> {
        let lines = self.booted.ask(
            "cd $(mktemp -d); chown aw-stdout .
             runuser -u aw-stdout -- aw-stdout --once --from oldest --format json --state-dir .
             rm -r $PWD",
        );
        let events: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (sequence, event) in events.iter().enumerate() {
            assert_eq!(event["sequence"], sequence, "{event}");
            assert_eq!(generation_of(event), generation_of(&events[0]));
        }
        events.iter().map(|event| number_of(event["ip"].as_str().unwrap())).collect()
    }

    /// The numbers in aw-sqlite's database, sorted, with repetitions.
    #[track_caller]
    fn in_sqlite(&self) -> Vec<u32> {
        let path = self.debian.path("var/lib/addrwatch/aw-sqlite/addrwatch.db");
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let rows = "SELECT ip_address FROM addrwatch";
        let mut rows = database.prepare(rows).unwrap();
        let rows = rows.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let mut numbers: Vec<_> = rows.map(|ip| number_of(&ip.unwrap())).collect();
        numbers.sort();
        numbers
    }

    /// The numbers in aw-tracker's logs, sorted, with repetitions.
    fn in_logs(&self) -> Vec<u32> {
        let logs = self.debian.find(&["-name", "macupd_tracker.*.log"]);
        let logs = logs.iter().map(|log| fs::read_to_string(self.debian.path(&log[1..])).unwrap());
        let logs: Vec<_> = logs.collect();
        let words = logs.iter().flat_map(|log| log.split(|letter| " \t|,;\n".contains(letter)));
        let mut numbers: Vec<_> =
            words.filter(|word| word.starts_with("10.")).map(number_of).collect();
        numbers.sort();
        numbers
    }

    /// Metrics of the rings and of outputs, by name and labels. aw-metrics may have to start first.
    fn samples(&self) -> BTreeMap<String, f64> {
        let answer = self.booted.sh(r"exec 3<>/dev/tcp/127.0.0.1/9714
              printf 'GET /metrics HTTP/1.0\r\nHost: localhost:9714\r\n\r\n' >&3; cat <&3");
        let samples = answer.stdout.lines().filter_map(|line| line.rsplit_once(' '));
        samples
            .filter(|(name, _)| {
                ["addrwatch_ring_", "addrwatch_output_"].iter().any(|start| name.starts_with(start))
            })
            .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
            .collect()
    }

    /// Sends this many numbers, which the collector must capture, because it listens.
    fn send(&mut self, count: u32) {
        let numbers = self.next..self.next + count;
        self.sent.extend(numbers.clone());
        self.next = numbers.end;
        self.sender.send(numbers);
        // Sent is not captured: the next step may stop the collector, or compare the outputs with the ring.
        wait_until("the ring has them", || self.captured().last() == self.sent.last());
    }

    /// Does this while numbers are sent; those sent while a collector listens are captured.
    fn while_speaking(&mut self, act: impl FnOnce(&Booted) + Send) {
        let System { booted, sender, next, .. } = self;
        scope(|scope| {
            let acting = scope.spawn(|| act(booted));
            while !acting.is_finished() {
                sender.send(*next..*next + 1);
                *next += 1;
                sleep(Duration::from_millis(1)); // so that numbers are sent all the time
            }
            acting.join().unwrap();
        });
    }

    /// Which of the programs run, by their files.
    fn running(&self) -> Vec<String> {
        let files = self.booted.ask("for exe in /proc/[0-9]*/exe; do readlink $exe || true; done");
        let ours = |file: &&str| {
            file.starts_with("/usr/bin/aw-") || file.starts_with("/usr/bin/collector")
        };
        files.lines().filter(ours).map(String::from).collect()
    }

    fn ring_exists(&self) -> bool {
        self.booted.sh("test -e /dev/shm/addrwatch").status.success()
    }
}

fn services() -> Vec<&'static str> {
    OUTPUTS.into_iter().chain([COLLECTOR]).collect()
}

fn property(booted: &Booted, name: &str, property: &str) -> String {
    booted.ask(&format!("systemctl show --value --property {property} {name}")).trim().into()
}

fn assert_active(booted: &Booted, names: &[&str]) {
    wait_until("they are active", || {
        names.iter().all(|name| property(booted, name, "ActiveState") == "active")
    });
}

fn kill(booted: &Booted, names: &[&str]) {
    booted.ask(&format!("systemctl kill --signal=KILL {}", names.join(" ")));
}

/// systemd has restarted each of them this often since they were started, and they run.
fn wait_for_restarts(booted: &Booted, count: u32) {
    let restarts = count.to_string();
    for name in services() {
        wait_until(&format!("restart of {name}"), || {
            property(booted, name, "NRestarts") == restarts
        });
    }
    assert_active(booted, &services());
}

/// The number that an address carries.
#[track_caller]
fn number_of(ip: &str) -> u32 {
    u32::from(ip.parse::<Ipv4Addr>().unwrap()) - 0x0a00_0000
}

/// The numbers in lines of aw-stdout or aw-syslog.
fn numbers_in(lines: &str) -> Vec<u32> {
    lines.lines().filter_map(|line| Some(number_of(line.split(' ').nth(4)?))).collect()
}
