//! The programs of thc-ipv6 against a network of a router and a client: what aw-alert reports of each, with `collector --names` at a
//! port of a switch that mirrors nothing, and at one that mirrors all; and its floods.
#![forbid(unsafe_code)]

#[path = "thc_ipv6/floods.rs"]
mod floods;
#[path = "thc_ipv6/list.rs"]
mod list;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;

use aw_tests::alerting::Alert;
use aw_tests::hub::Hub;
use aw_tests::infrastructure::{DHCLIENT, Infrastructure, RADVD, are_installed, kill_all};
use aw_tests::lan::Host;
use aw_tests::rig::{Run, binary, program, run, wait_until};
use list::{ATTACKS, Attack, OTHERS, TAKEOVER, Trigger, Trigger::*};
use rusqlite::Connection;
use serde_json::Value;

const SENSOR: &str = "00:08:e1:00:00:10";
const ROUTER: &str = "00:08:e1:00:00:01";
const CLIENT: &str = "00:08:e1:00:00:03";
/// A question of DNS: the IPv6 address of www.example.org.
const QUERY: &str = "00070100000100000000000003777777076578616d706c65036f726700001c0001";

/// A sensor: where it captures, and its aw-alert.
struct Sensor {
    alert: Alert,
    collector: Run,
}

struct Scene {
    hub: Hub,
    /// At any port, and at a mirror port.
    sensors: [Sensor; 2],
    _router: Run,
    number: u32,
}

impl Scene {
    /// `channel`: further keys of the channel.
    fn new(channel: &str) -> Option<Scene> {
        if !are_installed(&["/usr/bin/atk6-fake_router6", RADVD, DHCLIENT]) {
            return None;
        }
        let hub = Hub::new(&[SENSOR, ROUTER, "00:08:e1:00:00:66", CLIENT])?;
        // It learns where each MAC is: what is sent to one host does not reach the port of the sensor; the switch itself has all.
        hub.sensor.ip("link set hub0 type bridge ageing_time 30000");
        let sensor = |host: &Host, interface: &str| {
            let alert = Alert::new();
            alert.config(&(alert.appending_channel() + channel));
            let mut collector = host.command(binary("collector"));
            collector.args([
                "-q",
                "--names",
                "--ring",
                alert.ring.name(),
                "--as",
                "eth0",
                interface,
            ]);
            let collector = Run::start(collector);
            collector.stderr.wait_for(&format!("listening on {interface}"));
            Sensor { alert, collector }
        };
        let sensors = [sensor(&hub.hosts[0], "eth0"), sensor(&hub.sensor, "hub0")];
        let infrastructure = Infrastructure::new(sensors[0].alert.directory.path());
        let options = "prefix 2001:db8:7::/64 { }; RDNSS 2001:db8:7::53 { };";
        let router = infrastructure.radvd(&hub.hosts[1], "radvd", "fe80::1", options);
        hub.hosts[1].ip("address add 2001:db8:7::1/64 dev eth0 nodad");
        let client = &hub.hosts[3];
        client.ipv6("eth0");
        // A flood of prefixes and routes keeps its programs busy otherwise.
        client.run(&["sysctl", "-qw", "net.ipv6.conf.eth0.accept_ra=0"]);
        for address in ["fe80::77", "fe80::78", "fe80::79", "2001:db8:7::3"] {
            client.ip(&format!("address add {address}/64 dev eth0 nodad"));
        }
        hub.hosts[2].ipv6("eth0");
        let scene = Scene { hub, sensors, _router: router, number: 0x100 };
        scene.learn();
        Some(scene)
    }

    fn router(&self) -> &Host {
        &self.hub.hosts[1]
    }

    fn rogue(&self) -> &Host {
        &self.hub.hosts[2]
    }

    fn client(&self) -> &Host {
        &self.hub.hosts[3]
    }

    /// Both sensors learn the router and the client for a day.
    fn learn(&self) {
        let claim = |mac: &str, ip: &str, router: u8| {
            format!(
                "send(Ether(src='{mac}',dst='33:33:00:00:00:01')/IPv6(src='{ip}',dst='ff02::1',hlim=255)/ICMPv6ND_NA(R={router},S=0,O=1,tgt='{ip}')/ICMPv6NDOptDstLLAddr(lladdr='{mac}'))\n"
            )
        };
        let of_router = ["fe80::1", "2001:db8:7::1"].map(|ip| claim(ROUTER, ip, 1)).concat();
        self.router().scapy("eth0", &of_router);
        let of_client = ["fe80::77", "fe80::78", "fe80::79", "2001:db8:7::3"]
            .map(|ip| claim(CLIENT, ip, 0))
            .concat();
        self.client().scapy("eth0", &of_client);
        for sensor in &self.sensors {
            wait_until("the router is seen", || sensor.names().contains(" RA_DNS router=fe80::1 "))
        }
        self.all_is_recorded();
        for sensor in &self.sensors {
            assert_eq!(sensor.once(), [""; 0]);
            let database = Connection::open(sensor.alert.path("state/aw-alert.db")).unwrap();
            for update in [
                "UPDATE infrastructure SET first = first - 86400 WHERE part = 'period'",
                "UPDATE note SET value = value - 86400 WHERE key = 'learns until'",
                "UPDATE network SET first = first - 86400",
            ] {
                assert_ne!(database.execute(update, []).unwrap(), 0, "it has begun");
            }
        }
        self.all_is_recorded();
        for sensor in &self.sensors {
            assert_eq!(sensor.once(), [""; 0]);
        }
    }

    /// Waits until both sensors have recorded what was sent until now: each reads its frames in their order.
    fn all_is_recorded(&self) {
        let number = std::cell::Cell::new(0);
        // Where a flood filled a buffer, the next one gets through.
        wait_until("a frame of the client is recorded", || {
            number.set(number.get() + 1);
            let name = format!("mark{}-{}", self.number, number.get());
            let mut client = self.client().command("busybox");
            client.args([
                "udhcpc",
                "-i",
                "eth0",
                "-f",
                "-q",
                "-n",
                "-t",
                "1",
                "-T",
                "0",
                "-s",
                "/bin/true",
            ]);
            client.args(["-x", &format!("hostname:{name}")]);
            run(client);
            let name = format!("name=\"{name}\"");
            (0..100).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(10));
                self.sensors.iter().all(|sensor| sensor.names().contains(&name))
            })
        });
    }

    /// The attacker has another MAC and other addresses, so that nothing is known of it; returns its words with them.
    fn another_attacker(&mut self, words: &str) -> String {
        self.number += 1;
        let number = self.number;
        let mac = format!("00:08:e1:00:{:02x}:{:02x}", number >> 8, number & 0xff);
        let (own, global) = (format!("fe80::{number:x}"), format!("2001:db8:7::{number:x}"));
        let rogue = self.rogue();
        // The routers that it looks for are those that a program looks for.
        rogue.run(&["sysctl", "-qw", "net.ipv6.conf.eth0.router_solicitations=0"]);
        rogue.ip("link set eth0 down");
        rogue.ip("address flush dev eth0");
        rogue.ip(&format!("link set eth0 address {mac} up"));
        for address in [&own, &global] {
            rogue.ip(&format!("address add {address}/64 dev eth0 nodad"));
        }
        rogue.ip("route replace default via fe80::1 dev eth0");
        // Before the switch has noticed its cable, what it sends is lost.
        wait_until("the attacker's cable is in", || {
            let state = |host: &Host, file: &str| {
                let mut cat = host.command("cat");
                cat.arg(format!("/sys/class/net/{file}"));
                run(cat).ok().stdout.trim().to_owned()
            };
            state(rogue, "eth0/operstate") == "up"
                && state(&self.hub.sensor, "port2/brport/state") == "3"
        });
        words.replace("OWN", &own).replace("MAC", &mac).replace("GLOBAL", &global)
    }

    fn program(&self, words: &str) -> Run {
        let mut words = words.split(' ');
        let program = format!("/usr/bin/atk6-{}", words.next().unwrap());
        // Some write what they do to a buffer, and others start processes.
        let mut command = self.rogue().command(program);
        command.args(words);
        Run::start(command)
    }

    /// What the client does once.
    fn pull(&self, trigger: Trigger, turn: u32) {
        let client = self.client();
        match trigger {
            Nothing | Sends(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
            Resolves => {
                let to = format!("2001:db8:7::{:x}", self.number);
                let query = format!(
                    "from socket import *\nsocket(AF_INET6, SOCK_DGRAM).sendto(bytes.fromhex('{QUERY}'), ('{to}', 53))"
                );
                client.run(&["/usr/bin/python3", "-c", &query]);
            }
            Looks => {
                let other = format!("fe80::aaaa:{:x}:{turn:x}%eth0", self.number);
                for target in ["2001:db8:7::1", &other] {
                    let mut ping = client.command("ping");
                    ping.args(["-6", "-c", "1", "-W", "1", target]);
                    run(ping);
                }
            }
            Takes => {
                let address = format!("2001:db8:7::bbbb:{turn:x}");
                client.ip(&format!("address add {address}/64 dev eth0"));
                let line = || {
                    let all = client.addresses();
                    let line = all.lines().find(|line| line.contains(&address));
                    line.unwrap_or_default().to_owned()
                };
                wait_until("the detection ends", || {
                    line().contains("dadfailed") || !line().contains("tentative")
                });
                client.ip(&format!("address del {address}/64 dev eth0"));
            }
            Asks => {
                let mut dhclient = client.command("timeout");
                dhclient.args(["10", DHCLIENT, "-6", "-1", "-sf", "/bin/true", "-lf"]);
                dhclient.arg(self.sensors[0].alert.path("dhclient6.leases")).arg("-pf");
                dhclient.arg(self.sensors[0].alert.path("dhclient6.pid")).arg("eth0");
                run(dhclient);
                kill_all(client); // it goes to the background
            }
        }
    }

    /// tcpdump at the attacker's port of the switch, which prints the first frame from there that passes its filter.
    fn captured(&self, filter: &str) -> Run {
        let mut tcpdump = self.hub.sensor.command("tcpdump");
        tcpdump.args(["-n", "-i", "port2", "-Q", "in", "-c", "1", "--immediate-mode", filter]);
        let tcpdump = Run::start(tcpdump);
        tcpdump.stderr.wait_for("listening on port2");
        tcpdump
    }

    /// Runs a program until each sensor has found what it should, or until it has sent the frame that causes nothing; returns what each
    /// one found.
    fn attack(&mut self, (words, trigger, port, mirror, _): &Attack) -> [Vec<String>; 2] {
        let words = self.another_attacker(words);
        let is_quiet = port.is_empty() && mirror.is_empty();
        assert_eq!(trigger.proof().is_some(), is_quiet, "{words}: what it must have sent");
        let seen = trigger.proof().map(|filter| self.captured(filter));
        let mut attack = self.program(&words);
        let mut found = [Vec::new(), Vec::new()];
        if let Some(seen) = &seen {
            let mut turn = 0;
            wait_until(&format!("{words} sends its frame"), || {
                self.pull(*trigger, turn);
                turn += 1;
                // One that had no answer to its own question in time has ended without it.
                if attack.has_ended() && seen.stdout.count() == 0 {
                    attack = self.program(&words);
                }
                seen.stdout.count() > 0
            });
        } else {
            for turn in 0..40 {
                self.pull(*trigger, turn);
                for (found, sensor) in found.iter_mut().zip(&self.sensors) {
                    found.extend(sensor.once());
                }
                if kinds(&found[0]) == *port && kinds(&found[1]) == *mirror {
                    break;
                }
            }
        }
        if let Some(seen) = seen {
            seen.stdout.wait_for(" IP6 ");
            seen.finish().ok();
        }
        kill_all(self.rogue());
        let status = attack.finish().status;
        assert!(status.success() || status.signal() == Some(9), "{words}: {status}");
        self.all_is_recorded();
        let own = format!(" fe80::{:x}", self.number);
        for (found, sensor) in found.iter_mut().zip(&self.sensors) {
            found.extend(sensor.once());
            found.iter_mut().filter(|one| one.ends_with(&own)).for_each(|one| {
                *one = one.replace(&own, " OWN");
            });
        }
        found
    }
}

/// Each kind that was found, in order.
fn kinds(found: &[String]) -> Vec<&str> {
    let kinds = found.iter().map(|one| match one.split(' ').next().unwrap_or_default() {
        "changed" | "duplicate" | "flip_flop" => TAKEOVER,
        kind => kind,
    });
    kinds.collect::<BTreeSet<_>>().into_iter().collect()
}

impl Sensor {
    /// Lines of the ring of names.
    fn names(&self) -> String {
        let ring = self.alert.ring.name();
        run(program("aw-stdout", &["--names", "--once", "--ring", ring])).ok().stdout
    }

    /// The most rows of a part.
    fn rows(&self) -> i64 {
        let database = Connection::open(self.alert.path("state/aw-alert.db")).unwrap();
        let count = "SELECT coalesce(max(rows), 0) FROM
            (SELECT count(*) AS rows FROM infrastructure GROUP BY network, part)";
        database.query_row(count, [], |row| row.get(0)).unwrap()
    }

    /// Runs aw-alert for all that was captured; returns kind and address of what it found since the last time, without new devices, and what
    /// was lost in a flood.
    fn once(&self) -> Vec<String> {
        let before = self.alert.alerts().len();
        let config = self.alert.path("alert.toml").display().to_string();
        run(self.alert.command(&["--once", "--learn", "1d", "-c", &config])).ok();
        // The next attack is in another hour.
        let database = Connection::open(self.alert.path("state/aw-alert.db")).unwrap();
        database.execute("DELETE FROM infrastructure WHERE part = 'limit'", []).unwrap();
        let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
        let found = self.alert.alerts().split_off(before).into_iter();
        let others = ["new_device", "learned", "digest", "lost"];
        let found = found.filter(|alert| !others.contains(&alert["kind"].as_str().unwrap()));
        found.map(|alert| format!("{} {}", text(&alert, "kind"), text(&alert, "ip"))).collect()
    }
}

/// A row of the first table of the page.
fn row((words, _, port, mirror, what): &Attack) -> String {
    let kinds = |kinds: &[&str]| match kinds {
        [] => "nothing".to_owned(),
        [TAKEOVER] => "`changed` or `duplicate`".to_owned(),
        kinds => kinds.iter().map(|kind| format!("`{kind}`")).collect::<Vec<_>>().join(", "),
    };
    let words = words.replace(" eth0", "").replace("GLOBAL", "OWN");
    format!("| `{words}` | {what} | {} | {} |\n", kinds(port), kinds(mirror))
}

/// What each program causes is as the list says, each thing once; and the page has the list, with all programs of the package.
#[test]
fn each_program() {
    let Some(mut scene) = Scene::new("burst = 1000\n") else { return };
    let mut wrong = Vec::new();
    for attack in ATTACKS {
        let found = scene.attack(attack);
        for (found, expected) in found.iter().zip([attack.2, attack.3]) {
            let each: BTreeSet<_> = found.iter().collect();
            if kinds(found) != expected || each.len() != found.len() {
                wrong.push(format!("{}: {found:?}, not {expected:?}", attack.0));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The page has the list, and the list has all programs of the package.
#[test]
fn the_page_of_all_programs() {
    let first: String = ATTACKS.iter().map(row).collect();
    let others = OTHERS.iter().map(|(names, why)| {
        let names = names.split(' ').map(|name| format!("`{name}`")).collect::<Vec<_>>();
        format!("| {} | {why} |\n", names.join(", "))
    });
    let second: String = others.collect();
    let page = include_str!("../../docs/dev/thc-ipv6.md");
    assert!(page.contains(&first) && page.contains(&second), "the tables are:\n{first}\n{second}");
    if !are_installed(&["/usr/bin/atk6-fake_router6"]) {
        return;
    }
    let installed = fs::read_dir("/usr/bin").unwrap();
    let installed = installed.filter_map(|file| {
        Some(file.unwrap().file_name().to_str()?.strip_prefix("atk6-")?.to_owned())
    });
    let listed = ATTACKS.iter().map(|attack| attack.0.split(' ').next().unwrap());
    let listed = listed.chain(OTHERS.iter().flat_map(|(names, _)| names.split(' ')));
    let listed: BTreeSet<_> = listed.map(str::to_owned).collect();
    assert_eq!(listed, installed.collect::<BTreeSet<_>>());
}
