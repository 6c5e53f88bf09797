//! Rogue routers and DHCP servers: real ones, at a switch whose port to the sensor gets broadcasts and multicasts only.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::process::Command;

use aw_tests::alerting::Alert;
use aw_tests::collect::{collect, held};
use aw_tests::hub::Hub;
use aw_tests::lan::Host;
use aw_tests::rig::{Run, binary, program, run, skip, wait_until};
use rusqlite::Connection;
use serde_json::Value;

const SENSOR: &str = "00:08:e1:00:00:10";
const SERVER: &str = "00:08:e1:00:00:01";
const ROGUE: &str = "00:08:e1:00:00:66";
const CLIENT: &str = "00:08:e1:00:00:03";

/// A switch with a sensor, a server, a rogue and a client at its ports.
struct Scene {
    hub: Hub,
    alert: Alert,
    collector: Run,
    names: Run,
    asked: Cell<u32>,
}

impl Scene {
    /// `servers`: what must be installed.
    fn new(servers: &[&str], config: &str) -> Option<Scene> {
        if let Some(missing) = servers.iter().find(|path| !Path::new(path).exists()) {
            skip(&format!("{missing} is not installed (contrib/setup.sh test)"));
            return None;
        }
        let (hub, alert) = (Hub::new(&[SENSOR, SERVER, ROGUE, CLIENT])?, Alert::new());
        // It learns where each MAC is: what is sent to one host does not reach the sensor.
        hub.sensor.ip("link set hub0 type bridge ageing_time 30000");
        alert.config(&(config.to_owned() + &alert.appending_channel() + "burst = 100\n"));
        let collector = Self::collector(&hub, &alert, &["--names"]);
        let names = program("aw-stdout", &["--names", "--replay", "--ring", alert.ring.name()]);
        let (names, asked) = (Run::start(names), Cell::new(0));
        Some(Scene { hub, alert, collector, names, asked })
    }

    fn collector(hub: &Hub, alert: &Alert, options: &[&str]) -> Run {
        let mut collector = hub.hosts[0].command(binary("collector"));
        collector.args(["-q", "--ring", alert.ring.name(), "eth0"]).args(options);
        let collector = Run::start(collector);
        collector.stderr.wait_for("listening on eth0");
        collector
    }

    fn server(&self) -> &Host {
        &self.hub.hosts[1]
    }

    fn rogue(&self) -> &Host {
        &self.hub.hosts[2]
    }

    fn client(&self) -> &Host {
        &self.hub.hosts[3]
    }

    /// Kind and address of each alert about routers and servers, and of the message about what was learned.
    fn found(&self) -> Vec<String> {
        let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or("-").to_owned();
        let all = self.alert.alerts();
        let all = all.iter().filter(|alert| alert["kind"] != "new_device");
        all.map(|alert| format!("{} {}", text(alert, "kind"), text(alert, "ip"))).collect()
    }

    /// Runs aw-alert for all that was captured; returns what it found since the last time.
    fn once(&self, options: &[&str]) -> Vec<String> {
        let before = self.found().len();
        let config = self.alert.path("alert.toml").display().to_string();
        run(self.alert.command(&[&["--once", "-c", &config], options].concat())).ok();
        self.found().split_off(before)
    }

    /// Lets the interface have learned for a day.
    fn end_learning(&self) {
        let database = Connection::open(self.alert.path("state/aw-alert.db")).unwrap();
        let update = "UPDATE infrastructure SET first = first - 86400 WHERE part = 'period'";
        assert_eq!(database.execute(update, []).unwrap(), 1, "it has begun");
    }

    /// Lines of the ring of names.
    fn lines(&self) -> String {
        let mut shown = program("aw-stdout", &["--names", "--once"]);
        shown.args(["--ring", self.alert.ring.name()]);
        run(shown).ok().stdout
    }

    /// A DHCP server with this address.
    fn dnsmasq(&self, host: &Host, name: &str, address: &str, pool: &str) -> Run {
        host.ip("address flush dev eth0"); // it names the first one
        host.ip(&format!("address add {address}/24 dev eth0"));
        let mut server = host.command("/usr/sbin/dnsmasq");
        server.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root"]);
        server.args(["--interface=eth0", "--bind-interfaces", "--log-facility=-", "--no-ping"]);
        server.args([format!("--dhcp-range={pool},1h"), "--dhcp-authoritative".into()]);
        server.arg(format!("--dhcp-leasefile={}", self.alert.path(name).display()));
        let server = Run::start(server);
        server.stderr.wait_for("DHCP, IP range");
        server
    }

    /// Gets leases until the sensor sees that the client asks this server.
    fn ask(&self, server: &str) {
        let script = self.alert.path("script");
        fs::write(&script, "#!/bin/sh\n").unwrap();
        self.client().run(&["chmod", "755", script.to_str().unwrap()]);
        let named = format!("server={server}");
        let asks = || {
            let shown = self.lines();
            let asks = |line: &&str| {
                line.contains("DHCP_REQUEST") && line.split(' ').any(|word| word == named)
            };
            shown.lines().filter(asks).count()
        };
        let before = asks();
        wait_until("the client asks this server", || {
            // The same request is stored once a minute.
            let name = format!("hostname:c{}", self.asked.replace(self.asked.get() + 1));
            let mut client = self.client().command("busybox");
            client.args(["udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "20", "-x", &name, "-s"]);
            client.arg(&script);
            run(client).ok();
            asks() > before
        });
    }

    /// A router with this address.
    fn radvd(&self, host: &Host, name: &str, address: &str, prefix: &str) -> Run {
        host.ipv6("eth0");
        host.ip(&format!("address add {address}/64 dev eth0 nodad"));
        host.run(&["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
        let file = self.alert.path(name);
        let text = format!(
            "interface eth0 {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; prefix {prefix} {{ }}; RDNSS {address} {{ }}; }};"
        );
        fs::write(&file, text).unwrap();
        let mut server = host.command("/usr/sbin/radvd");
        server.args(["--debug=1", "--nodaemon", "--logmethod=stderr", "--config"]).arg(&file);
        server.arg("--pidfile").arg(self.alert.path(&format!("{name}.pid")));
        let server = Run::start(server);
        self.names.stdout.wait_for(&format!(" {address} RA_DNS "));
        server.stderr.wait_for("polling for"); // it handles signals from now on
        server
    }
}

/// Whether frames can be made.
fn has_scapy() -> bool {
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", "import scapy"]).output().is_ok_and(|output| output.status.success())
}

const DNSMASQ: &str = "/usr/sbin/dnsmasq";
const RADVD: &str = "/usr/sbin/radvd";

/// A service that runs reports a rogue server beside a named one, once, also after a restart: by the request of a client, as the rogue
/// itself is not seen.
#[test]
fn a_rogue_dhcp_server() {
    let Some(scene) = Scene::new(&[DNSMASQ], "dhcp_servers = [\"192.0.2.1\"]\n") else { return };
    let known = scene.dnsmasq(scene.server(), "known", "192.0.2.1", "192.0.2.50,192.0.2.60");
    scene.ask("192.0.2.1");
    let running = scene.alert.start();
    let rogue = scene.dnsmasq(scene.rogue(), "rogue", "192.0.2.66", "192.0.2.70,192.0.2.80");
    drop(known); // whichever answers first, a client takes
    scene.ask("192.0.2.66");
    running.wait_until("it is reported", || !scene.found().is_empty());
    running.stop().ok();
    scene.ask("192.0.2.66");
    assert_eq!(scene.once(&["--learn", "0"]), [""; 0]);
    drop(rogue);
    assert_eq!(scene.found(), ["new_dhcp_server 192.0.2.66"]);
    let alerts = scene.alert.alerts();
    let one = alerts.iter().find(|alert| alert["kind"] == "new_dhcp_server").unwrap();
    let note = one["note"].as_str().unwrap();
    assert!(note.starts_with(CLIENT) && note.contains(" asks it for an address."), "{note}");
    assert_eq!(one["iface"], "eth0");
}

/// Two servers of one network: none of them is reported, and a third one is.
#[test]
fn two_dhcp_servers_that_were_learned() {
    let Some(scene) = Scene::new(&[DNSMASQ], "") else { return };
    let learn = &["--learn", "1d"];
    let one = scene.dnsmasq(scene.server(), "one", "192.0.2.1", "192.0.2.50,192.0.2.60");
    scene.ask("192.0.2.1");
    drop(one);
    let other = scene.dnsmasq(scene.rogue(), "other", "192.0.2.2", "192.0.2.61,192.0.2.69");
    scene.ask("192.0.2.2");
    assert_eq!(scene.once(learn), [""; 0]);
    scene.end_learning();
    scene.ask("192.0.2.2");
    assert_eq!(scene.once(learn), ["learned -"]);
    let alerts = scene.alert.alerts();
    let subject = alerts.last().unwrap()["summary"].as_str().unwrap();
    assert_eq!(subject, "learned: 2 DHCP servers on eth0");
    drop(other);
    let one = scene.dnsmasq(scene.server(), "again", "192.0.2.66", "192.0.2.70,192.0.2.80");
    scene.ask("192.0.2.66");
    drop(one);
    assert_eq!(scene.once(learn), ["new_dhcp_server 192.0.2.66"]);
}

/// A second router, and one that goes: its last advertisement has a lifetime of 0.
#[test]
fn routers() {
    let Some(scene) = Scene::new(&[RADVD], "") else { return };
    let learn = &["--learn", "1d"];
    let known = scene.radvd(scene.server(), "known", "fe80::1", "2001:db8:7::/64");
    assert_eq!(scene.once(learn), [""; 0]);
    scene.end_learning();
    let rogue = scene.radvd(scene.rogue(), "rogue", "fe80::66", "2001:db8:66::/64");
    assert_eq!(scene.once(learn), ["learned -", "new_router fe80::66"]);
    let alerts = scene.alert.alerts();
    let one = alerts.last().unwrap();
    assert_eq!(one["mac"], ROGUE);
    let note = one["note"].as_str().unwrap();
    assert!(note.starts_with("it announces itself as default router for "), "{note}");
    known.stop();
    scene.names.stdout.wait_for(" fe80::1 RA lifetime=0 ");
    rogue.stop();
    scene.names.stdout.wait_for(" fe80::66 RA lifetime=0 ");
    assert_eq!(scene.once(learn), ["router_withdrawn fe80::1"]);
}

/// A collector that is started again without names: that is reported once.
#[test]
fn names_that_stop() {
    let Some(mut scene) = Scene::new(&[], "") else { return };
    if !has_scapy() {
        return skip("scapy is not installed (contrib/setup.sh test)");
    }
    let frame = format!(
        "send(Ether(src='{SERVER}',dst='33:33:00:00:00:01')/IPv6(src='fe80::1',dst='ff02::1',hlim=255)/ICMPv6ND_RA(routerlifetime=1800))"
    );
    scene.server().scapy("eth0", &frame);
    scene.names.stdout.wait_for(" fe80::1 RA ");
    let learn = &["--learn", "1d"];
    assert_eq!(scene.once(learn), [""; 0]);
    scene.collector.stop().ok();
    scene.collector = Scene::collector(&scene.hub, &scene.alert, &[]);
    assert_eq!(scene.once(learn), ["blind "]);
    let alerts = scene.alert.alerts();
    let note = alerts.last().unwrap()["note"].as_str().unwrap();
    assert!(note.contains("records names no longer (start it with --names)"), "{note}");
    assert_eq!(scene.once(learn), [""; 0]);
}

/// A record and an event of one second are judged in their order. Who takes a server's address is reported, and once more when it answers
/// in its name.
#[test]
fn both_rings_in_their_order() {
    if !has_scapy() {
        return skip("scapy is not installed (contrib/setup.sh test)");
    }
    let found = [[0.0, 0.001], [0.001, 0.0]].map(|[claim, answer]| {
        let frames = format!(
            "claim(0,S), answer(1,S), claim(90000,S), claim(D+{claim},X), answer(D+{answer},X)"
        );
        let kinds = replayed(&frames).into_iter();
        let kinds = kinds.map(|alert| alert["kind"].as_str().unwrap_or("-").to_owned());
        kinds.collect::<Vec<_>>()
    });
    assert_eq!(found, [["changed", "new_dhcp_server"], ["new_dhcp_server", "changed"]]);
}

/// A router is known by its answers of DHCP only: the first ARP of another MAC takes its address, and the router's own is one, too.
#[test]
fn the_first_arp_of_a_gateway() {
    if !has_scapy() {
        return skip("scapy is not installed (contrib/setup.sh test)");
    }
    let of_router = "[('router','192.0.2.1')]";
    let frames = format!(
        "claim(0,X,'192.0.2.66'), answer(1,S,{of_router}), claim(90000,X,'192.0.2.66'), answer(90001,S,{of_router}), claim(D,X), claim(D+10,S)"
    );
    let found = replayed(&frames);
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or("-").to_owned();
    let each = found.iter().map(|one| ["kind", "ip", "mac", "old_mac"].map(|key| text(one, key)));
    let taken = |mac: &str, old| ["gateway_taken", "192.0.2.1", mac, old].map(str::to_owned);
    assert_eq!(each.collect::<Vec<_>>(), [taken(ROGUE, SERVER), taken(SERVER, ROGUE)]);
    let note = text(&found[0], "note");
    let begin = format!(
        "{ROGUE} answered for the gateway 192.0.2.1. Before, it was {SERVER} (first seen at 2024-"
    );
    assert!(note.starts_with(&begin), "{note}");
}

/// The alerts about frames that are captured and read at once, without those of new devices and of what was learned. Python: `claim` and
/// `answer` of `S` and `X` at a time in seconds; a day has `D/2`.
fn replayed(frames: &str) -> Vec<Value> {
    let alert = Alert::new();
    alert.config(&(alert.appending_channel() + "burst = 100\n"));
    let capture = alert.path("both.pcap");
    let script = format!(
        "from scapy.all import *\n\
         def at(time, packet):\n \
           packet.time = 1717200000 + time\n \
           return packet\n\
         def all(mac): return Ether(src=mac,dst='ff:ff:ff:ff:ff:ff')\n\
         def claim(time, mac, ip='192.0.2.1'): return at(time, all(mac)/ARP(op=1,hwsrc=mac,psrc=ip,pdst=ip))\n\
         def answer(time, mac, more=[]): return at(time, all(mac)/IP(src='192.0.2.1',dst='255.255.255.255')/UDP(sport=67,dport=68)/BOOTP(op=2,yiaddr='192.0.2.77',chaddr=bytes.fromhex('0008e1000003'))/DHCP(options=[('message-type','offer'),('server_id','192.0.2.1'),('lease_time',600)]+more+['end']))\n\
         S,X,D='{SERVER}','{ROGUE}',2*86400\n\
         wrpcap('{}', sorted([{frames}], key=lambda packet: packet.time))",
        capture.display()
    );
    run({
        let mut scapy = Command::new("/usr/bin/python3");
        scapy.args(["-c", &script]);
        scapy
    })
    .ok();
    let capture = fs::read(capture).unwrap();
    collect(&alert.ring, &capture, &["-q", "--names", "--as", "eth0"]).ok();
    let config = alert.path("alert.toml").display().to_string();
    run(alert.command(&["--once", "--learn", "1d", "-c", &config])).ok();
    let others = |alert: &Value| alert["kind"] != "learned" && alert["kind"] != "new_device";
    alert.alerts().into_iter().filter(others).collect()
}

/// Two days with relays, failover pairs, VRRP, servers of boot files, Thread border routers, a new prefix, shorter leases, a guest VLAN, virtual
/// machines, a sleep proxy and an access point that answers for its clients: outside of the digest, no alert.
#[test]
fn a_day_without_a_rogue() {
    let alert = Alert::new();
    alert.config(&(alert.appending_channel() + "burst = 1000\n"));
    let script = alert.secret("day.py", include_str!("rogues/day.py"));
    let capture = alert.path("day.pcap");
    let mut scapy = Command::new("/usr/bin/python3");
    scapy.arg(script).arg(&capture);
    if !has_scapy() {
        return skip("scapy is not installed (contrib/setup.sh test)");
    }
    run(scapy).ok();
    let capture = fs::read(capture).unwrap();
    collect(&alert.ring, &capture, &["-q", "--names", "--as", "eth0"]).ok();
    let config = alert.path("alert.toml").display().to_string();
    let options = ["--once", "--learn", "1d", "-c", &config];
    run(alert.command(&options)).ok();
    let all = alert.alerts();
    let text = |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
    let learned =
        all.iter().find(|one| one["kind"] == "learned" && text(one, "summary").contains("DHCP"));
    let summary = learned.map(|one| text(one, "summary")).unwrap_or_default();
    assert_eq!(summary, "learned: 5 routers, 6 DHCP servers, 3 DNS servers on eth0");
    let message = learned.map(|one| text(one, "message")).unwrap_or_default();
    assert!(
        message.contains("router fe80::1 00:08:e1:00:00:02 00:08:e1:00:00:03 on eth0"),
        "{message}"
    );
    let alone = all.iter().filter(|one| one["kind"] != "learned" && one["kind"] != "digest");
    let alone: Vec<_> = alone.map(|one| text(one, "message")).collect();
    assert_eq!(alone, [""; 0]);
    let digest = all.iter().find(|one| one["kind"] == "digest").expect("a digest");
    let digest = text(digest, "message");
    for part in ["1 new device", "1 new router", "new setting"] {
        assert!(digest.contains(part), "{part}: {digest}");
    }
}

/// Forged messages, each sent twice and reported once; the same of what is named, or harmless, is none.
#[test]
fn forged_messages() {
    let config = "routers = [\"fe80::1\", \"192.0.2.254\"]\ndhcp_servers = [\"192.0.2.1\"]\ndns_servers = [\"192.0.2.53\"]\n";
    let Some(scene) = Scene::new(&[], config) else { return };
    let all = "Ether(src=mac,dst='ff:ff:ff:ff:ff:ff')";
    let group = "Ether(src=mac,dst='33:33:00:00:00:01')/IPv6(src=src,dst='ff02::1',hlim=255)";
    let script = format!(
        "def answer(mac, server, dns, to='255.255.255.255'):\n \
           return {all}/IP(src=server,dst=to)/UDP(sport=67,dport=68)/BOOTP(op=2,yiaddr='192.0.2.77',chaddr=bytes.fromhex('0008e1000003'))/DHCP(options=[('message-type','offer'),('server_id',server),('lease_time',600),('router','192.0.2.254'),('name_server',dns),'end'])\n\
         def router(mac, src, life, more=b''):\n \
           return {group}/ICMPv6ND_RA(routerlifetime=life)/more if more else {group}/ICMPv6ND_RA(routerlifetime=life)\n\
         def redirect(mac, src, to):\n \
           return {group}/ICMPv6ND_Redirect(tgt=to,dst='2001:db8:9::1')\n\
         def claim(mac, ip):\n \
           return {all}/ARP(op=2,hwsrc=mac,psrc=ip,hwdst=mac,pdst=ip)\n\
         def decline(mac, ip):\n \
           return {all}/IP(src='0.0.0.0',dst='255.255.255.255')/UDP(sport=68,dport=67)/BOOTP(op=1,chaddr=bytes.fromhex('0008e1000003'))/DHCP(options=[('message-type','decline'),('requested_addr',ip),('server_id','192.0.2.1'),'end'])\n\
         S,R,X='{SERVER}','00:08:e1:00:00:02','{ROGUE}'\n\
         for p in [answer(S,'192.0.2.1','192.0.2.53'), router(R,'fe80::1',1800), claim(R,'192.0.2.254')]: send(p)\n\
         for p in 2*[\n \
           answer(X,'192.0.2.66','192.0.2.66'),\n \
           answer(S,'192.0.2.1','192.0.2.67'),\n \
           router(X,'fe80::66',1800),\n \
           router(R,'fe80::1',1800,ICMPv6NDOptRDNSS(dns=['2001:db8::66'],lifetime=600)),\n \
           router(X,'fe80::1',0),\n \
           redirect(X,'fe80::1','fe80::66'),\n \
           decline(X,'192.0.2.77'),\n \
           claim(X,'192.0.2.254')]: send(p)"
    );
    scene.rogue().scapy("eth0", &script);
    scene.names.stdout.wait_for("DHCP_DECLINE");
    // Of the event ring, the last frame.
    scene.rogue().scapy("eth0", "send(Ether(src='00:08:e1:00:00:99',dst='ff:ff:ff:ff:ff:ff')/ARP(op=1,hwsrc='00:08:e1:00:00:99',psrc='192.0.2.99',pdst='192.0.2.98'))");
    wait_until("it is an event", || held(&scene.alert.ring).contains(" 192.0.2.99 "));
    let mut found = scene.once(&["--learn", "0"]);
    found.sort();
    assert_eq!(
        found,
        [
            "dhcp_conflict 192.0.2.77",
            "foreign_dns 192.0.2.67",
            "foreign_dns 2001:db8::66",
            "gateway_taken 192.0.2.254",
            "gateway_taken fe80::1",
            "new_dhcp_server 192.0.2.66",
            "new_router fe80::66",
            "new_setting 192.0.2.1", // its first answer, in the digest
            "redirect fe80::66",
        ]
    );
}
