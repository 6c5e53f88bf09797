//! Attacks with the real programs, in network namespaces: arpspoof and ettercap, as Debian has them, and dos-new-ip6 of
//! thc-ipv6. `aw-alert` reports each once.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use aw_tests::capture_file::{ETHERNET, Pcap, Unit, at, save};
use aw_tests::collect::{collect, json};
use aw_tests::frames::Arp;
use aw_tests::hub::Hub;
use aw_tests::lan::Host;
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use aw_tests::ring::Ring;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

const GATEWAY: &str = "00:1b:21:00:10:01";
const VICTIM: &str = "00:1b:21:00:10:02";
const ATTACKER: &str = "00:1b:21:00:10:03";
const OTHER: &str = "00:1b:21:00:10:04";

/// A network whose hosts, 192.0.2.1 to 4, are known; a sensor sees all frames.
struct Network {
    ring: Ring,
    collector: Option<Run>,
    state: TempDir,
    hub: Hub,
}

impl Network {
    /// Or prints why the test is skipped.
    fn new(program: &str) -> Option<Network> {
        if !Path::new(program).exists() {
            skip(&format!("{program} is missing"));
            return None;
        }
        let hub = Hub::new(&[GATEWAY, VICTIM, ATTACKER, OTHER])?;
        for (number, host) in (1..).zip(&hub.hosts) {
            host.ip(&format!("address add 192.0.2.{number}/24 dev eth0"));
        }
        let ring = Ring::new();
        // They were seen two hours ago, too: in a network that is new, unknown MACs are no news.
        collect(&ring, &seen_before(), &["-q", "--as", "hub0"]).ok();
        let mut command = hub.sensor.command(binary("collector"));
        command.args(["-q", "--ring", ring.name(), "hub0"]);
        let collector = Run::start(command);
        collector.stderr.wait_for("listening on hub0");
        let state = tempfile::tempdir().expect("a temporary directory");
        let network = Network { ring, collector: Some(collector), state, hub };
        network.hosts().iter().skip(1).for_each(|host| network.asks_for_the_gateway(host));
        network.asks_for_all();
        network.learn();
        Some(network)
    }

    fn hosts(&self) -> &[Host] {
        &self.hub.hosts
    }

    fn attacker(&self) -> &Host {
        &self.hub.hosts[2]
    }

    /// The host forgets the gateway's MAC, and asks for it.
    fn asks_for_the_gateway(&self, host: &Host) {
        host.ip("neigh flush dev eth0");
        host.run(&["bash", "-c", "echo > /dev/udp/192.0.2.1/9"]);
        knows(host, "192.0.2.1");
    }

    /// The gateway looks for each host.
    fn asks_for_all(&self) {
        for number in 2..=4 {
            let gateway = &self.hub.hosts[0];
            gateway.run(&["bash", "-c", &format!("echo > /dev/udp/192.0.2.{number}/9")]);
            knows(gateway, &format!("192.0.2.{number}"));
        }
    }

    /// Until the collector has published all four hosts, which are new.
    fn learn(&self) {
        let mut macs = std::collections::BTreeSet::new();
        wait_until("all are known", || {
            macs.extend(self.alerts().iter().map(|alert| alert["mac"].to_string()));
            macs.len() >= 4
        });
    }

    /// The alerts since the last call.
    fn alerts(&self) -> Vec<Value> {
        let mut command = program("aw-alert", &["--once", "--ring", self.ring.name()]);
        let state = self.state.path();
        let sent = state.join("sent");
        let config = format!(
            "[[channel]]\nname = \"all\"\nburst = 1000\ncommand = [\"/bin/sh\", \"-c\", \"exec cat >> {}\"]\n",
            sent.display()
        );
        let config = save(state, "alert.toml", config.as_bytes());
        command.args(["-c", &config, "--state-dir"]).arg(state);
        run(command).ok();
        let text = std::fs::read_to_string(&sent).unwrap_or_default();
        let _ = std::fs::remove_file(&sent);
        text.lines().map(json).collect()
    }

    /// The alerts of the attack that were sent at once, in order: kind, address, MAC, and the MAC before.
    fn finish(mut self) -> Vec<[String; 4]> {
        // All frames are published when the collector has ended.
        self.collector.take().expect("it runs until now").stop().ok();
        let field = |alert: &Value, name: &str| alert[name].as_str().unwrap_or("-").to_owned();
        let names = ["kind", "ip", "mac", "old_mac"];
        let alerts = self.alerts();
        let at_once = alerts.iter().filter(|alert| alert["digest"] != true);
        at_once.map(|alert| names.map(|name| field(alert, name))).collect()
    }
}

/// Requests of the four hosts, two hours ago.
fn seen_before() -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let mut file = Pcap::new(Vec::new(), ETHERNET, Unit::Microsecond).expect("memory takes all");
    for number in 1..=4 {
        let mac = [0x00, 0x1b, 0x21, 0x00, 0x10, number];
        let frame = Arp::request(mac, [192, 0, 2, number].into(), [192, 0, 2, 1].into()).frame();
        file.packet(at(now as u32 - 7200), &frame).expect("memory takes all");
    }
    file.finish().expect("memory takes all")
}

/// Waits until the host has the MAC of a neighbour.
fn knows(host: &Host, address: &str) {
    let begin = format!("{address} dev eth0 lladdr ");
    wait_until("the neighbour has answered", || host.neighbors().contains(&begin));
}

/// The alerts about this address: a change, a duplicate or both, each once and of these two MACs; no flip flop beside them.
#[track_caller]
fn reported_once(alerts: &[[String; 4]], ip: &str, owner: &str) {
    reported_of(alerts, ip, owner, ATTACKER);
}

#[track_caller]
fn reported_of(alerts: &[[String; 4]], ip: &str, owner: &str, attacker: &str) {
    let about: Vec<_> = alerts.iter().filter(|alert| alert[1] == ip).collect();
    let count = |kind: &str| about.iter().filter(|alert| alert[0] == kind).count();
    let counts = (count("changed"), count("duplicate"), about.len());
    assert!(matches!(counts, (0 | 1, 0 | 1, 1 | 2)), "{alerts:#?}");
    assert_eq!(counts.0 + counts.1, counts.2, "another kind: {alerts:#?}");
    for [.., mac, old] in about {
        let both = [(attacker, owner), (owner, attacker)];
        assert!(both.contains(&(mac, old)), "{mac} {old}: {alerts:#?}");
    }
}

#[test]
fn arpspoof() {
    let Some(network) = Network::new("/usr/sbin/arpspoof") else { return };
    let mut command = network.attacker().command("/usr/sbin/arpspoof");
    command.args(["-i", "eth0", "-t", "192.0.2.2", "192.0.2.1"]);
    let attack = Run::start(command);
    attack.stderr.wait_for_lines(2);
    network.asks_for_the_gateway(&network.hosts()[3]);
    attack.stderr.wait_for_lines(4);
    network.asks_for_the_gateway(&network.hosts()[3]);
    attack.signal(Signal::INT);
    attack.finish();
    let alerts = network.finish();
    reported_once(&alerts, "192.0.2.1", GATEWAY);
    assert!(alerts.iter().all(|alert| alert[1] == "192.0.2.1"), "{alerts:#?}");
}

/// The attacker sets a MAC of its own choice first: of a VRRP router, or a locally administered one. The takeover is reported
/// at once; the MAC is a new device.
#[test]
fn arpspoof_from_another_mac() {
    for (mac, new) in [("00:00:5e:00:01:66", true), ("02:1b:21:00:10:03", false)] {
        let Some(network) = Network::new("/usr/sbin/arpspoof") else { return };
        let host = network.attacker();
        host.ip(&format!("link set dev eth0 address {mac}"));
        let mut command = host.command("/usr/sbin/arpspoof");
        command.args(["-i", "eth0", "-t", "192.0.2.2", "192.0.2.1"]);
        let attack = Run::start(command);
        attack.stderr.wait_for_lines(2);
        network.asks_for_the_gateway(&network.hosts()[3]);
        attack.stderr.wait_for_lines(4);
        network.asks_for_the_gateway(&network.hosts()[3]);
        attack.signal(Signal::INT);
        attack.finish();
        let (of_device, alerts): (Vec<_>, Vec<_>) =
            network.finish().into_iter().partition(|alert| alert[0] == "new_device");
        let about_address: Vec<_> =
            alerts.iter().filter(|alert| alert[1] == "192.0.2.1").cloned().collect();
        reported_of(&about_address, "192.0.2.1", GATEWAY, mac);
        assert_eq!(of_device.iter().any(|alert| alert[2] == mac), new, "{of_device:#?}");
    }
}

#[test]
fn ettercap() {
    let Some(network) = Network::new("/usr/bin/ettercap") else { return };
    let mut command = network.attacker().command("/usr/bin/ettercap");
    command.args(["-T", "-q", "-i", "eth0", "-M", "arp:remote", "/192.0.2.1//", "/192.0.2.2//"]);
    let attack = Run::start(command);
    attack.stdout.wait_for("Text only Interface activated");
    let deceived = |host: &Host, about: &str| {
        host.neighbors().contains(&format!("{about} dev eth0 lladdr {ATTACKER}"))
    };
    let (gateway, victim) = (&network.hosts()[0], &network.hosts()[1]);
    wait_until("both are deceived", || {
        deceived(gateway, "192.0.2.2") && deceived(victim, "192.0.2.1")
    });
    network.asks_for_the_gateway(&network.hosts()[3]);
    attack.stop();
    let alerts = network.finish();
    reported_once(&alerts, "192.0.2.1", GATEWAY);
    reported_once(&alerts, "192.0.2.2", VICTIM);
    let ips = ["192.0.2.1", "192.0.2.2"];
    assert!(alerts.iter().all(|alert| ips.contains(&&*alert[1])), "{alerts:#?}");
}

/// Whether a host that wants an address finds that another one has it. If not, it gives it up: the attack begins a moment
/// after its program says so.
fn refused(host: &Host, address: &str) -> bool {
    host.ip(&format!("address add {address} dev eth0"));
    let line = || {
        let all = host.addresses();
        all.lines().find(|line| line.contains(address)).unwrap_or_default().to_owned()
    };
    wait_until("the detection ends", || {
        line().contains("dadfailed") || !line().contains("tentative")
    });
    let refused = line().contains("dadfailed");
    if !refused {
        host.ip(&format!("address del {address} dev eth0"));
    }
    refused
}

/// It answers each Duplicate Address Detection, with a random MAC each time, which is a new device.
#[test]
fn dos_new_ip6() {
    let Some(network) = Network::new("/usr/bin/atk6-dos-new-ip6") else { return };
    for host in &network.hosts()[1..3] {
        host.ipv6("eth0");
        // As long is the answer to a detection waited for: a late one would be to the next detection as well, with another MAC.
        host.run(&["sysctl", "-qw", "net.ipv6.neigh.eth0.retrans_time_ms=20000"]);
    }
    let mut command = network.attacker().command("stdbuf");
    command.args(["-oL", "/usr/bin/atk6-dos-new-ip6", "eth0"]);
    let attack = Run::start(command);
    attack.stdout.wait_for("Started");
    let victim = &network.hosts()[1];
    for number in 1..=4 {
        let address = format!("2001:db8::{number}/64");
        wait_until("the address is refused", || refused(victim, &address));
    }
    attack.kill();
    let alerts = network.finish();
    let count = |kind: &str| alerts.iter().filter(|alert| alert[0] == kind).count();
    assert_eq!((count("duplicate"), count("new_device"), alerts.len()), (1, 4, 5), "{alerts:#?}");
}
