//! The programs run as services: each flood is few messages, hides no rogue, and takes no memory, however long it lasts.

use std::collections::BTreeMap;

use aw_tests::infrastructure::{kill_all, memory, sent};
use aw_tests::rig::{Run, wait_until};
use serde_json::Value;

use super::{ROUTER, Scene};

/// Each flood, and what another host does meanwhile, with its alert: a flood hides none of another kind. (One of routers hides routers, and
/// one of redirects hides redirects: of each kind, five are reported in an hour.)
const FLOODS: &[(&str, &str, &str)] = &[
    ("flood_router26 eth0", "offer('192.0.2.61')", "new_dhcp_server 192.0.2.61"),
    ("flood_router6 eth0", "offer('192.0.2.62')", "new_dhcp_server 192.0.2.62"),
    ("flood_redir6 eth0", "offer('192.0.2.63')", "new_dhcp_server 192.0.2.63"),
    ("flood_dhcpc6 eth0", "dns('2001:db8::66')", "foreign_dns 2001:db8::66"),
    ("flood_mld6 eth0", "withdrawn()", "router_withdrawn fe80::1"),
    ("flood_mld26 eth0", "offer('192.0.2.66')", "new_dhcp_server 192.0.2.66"),
    ("flood_mldrouter6 eth0", "offer('192.0.2.67')", "new_dhcp_server 192.0.2.67"),
    ("flood_rs6 -S eth0", "claim('fe80::1')", "gateway_taken fe80::1"),
    ("flood_solicitate6 eth0", "claim('2001:db8:7::3')", "changed 2001:db8:7::3"),
    ("flood_advertise6 eth0", "claim('fe80::77')", "changed fe80::77"),
];

/// Kinds of which five are sent in an hour, all of which this test takes.
const LIMITED: [&str; 6] = [
    "new_router",
    "redirect",
    "new_dhcp_server",
    "foreign_dns",
    "router_withdrawn",
    "router_changed",
];

impl Scene {
    /// How many messages there are of each kind.
    fn messages(&self) -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for alert in self.sensors[0].alert.alerts() {
            *kinds.entry(alert["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
        }
        kinds
    }

    /// Another host than the one that floods sends this, until it is reported.
    fn meanwhile(&self, running: &Run, number: usize, python: &str, expected: &str) {
        let mac = format!("00:08:e1:00:02:{number:02x}");
        let script = format!(
            "mac = '{mac}'\n\
             def offer(ip): return Ether(src=mac,dst='ff:ff:ff:ff:ff:ff')/IP(src=ip,dst='255.255.255.255')/UDP(sport=67,dport=68)/BOOTP(op=2,yiaddr='192.0.2.77',chaddr=bytes.fromhex('0008e1000003'))/DHCP(options=[('message-type','offer'),('server_id',ip),('lease_time',600),'end'])\n\
             def advertise(life): return Ether(src='{ROUTER}',dst='33:33:00:00:00:01')/IPv6(src='fe80::1',dst='ff02::1',hlim=255)/ICMPv6ND_RA(routerlifetime=life)\n\
             def dns(ip): return advertise(1800)/ICMPv6NDOptRDNSS(dns=[ip],lifetime=600)\n\
             def withdrawn(): return advertise(0)\n\
             def claim(ip): return Ether(src=mac,dst='33:33:00:00:00:01')/IPv6(src=ip,dst='ff02::1',hlim=255)/ICMPv6ND_NA(R=0,S=0,O=1,tgt=ip)/ICMPv6NDOptDstLLAddr(lladdr=mac)\n\
             for _ in range(5): send({python})"
        );
        let is_there = || {
            let text =
                |alert: &Value, key: &str| alert[key].as_str().unwrap_or_default().to_owned();
            let all = self.sensors[0].alert.alerts();
            all.iter()
                .any(|alert| format!("{} {}", text(alert, "kind"), text(alert, "ip")) == expected)
        };
        running.wait_until(&format!("it is reported: {expected}"), || {
            if !is_there() {
                self.client().scapy("eth0", &script);
            }
            is_there()
        });
    }

    /// Floods until so many bytes are sent and, if it is to be, another host's attack is reported meanwhile.
    fn flood(&self, running: &Run, bytes: u64, has_rogues: bool) {
        for (number, (words, python, expected)) in FLOODS.iter().enumerate() {
            let before = sent(self.rogue(), "tx_bytes");
            let flood = self.program(words);
            wait_until(&format!("{words} floods"), || {
                sent(self.rogue(), "tx_bytes") >= before + 20_000
            });
            if has_rogues {
                self.meanwhile(running, number, python, expected);
            }
            wait_until(&format!("{words} has sent enough"), || {
                sent(self.rogue(), "tx_bytes") >= before + bytes
            });
            kill_all(self.rogue());
            drop(flood);
            let messages = self.messages();
            eprintln!("after {words}: {messages:?}");
            for kind in LIMITED {
                let number = messages.get(kind).copied().unwrap_or(0);
                assert!(number <= 5, "{words}: {number} messages {kind}");
            }
        }
        self.all_is_recorded();
    }
}

/// The programs run as services: each flood is few messages, hides no rogue, and takes no memory, however long it lasts.
#[test]
fn floods() {
    let Some(mut scene) = Scene::new("") else { return };
    scene.another_attacker("");
    // A slow one: at the full speed of this cable, what other hosts send gets lost on the way.
    scene.rogue().run(&[
        "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "2mbit", "burst", "32kb",
        "latency", "1ms",
    ]);
    let alert = &scene.sensors[0].alert;
    let running = alert.start_with(&["--learn", "1d"]);
    let processes = [scene.sensors[0].collector.id(), running.id()];
    scene.flood(&running, 200_000, false);
    let before = processes.map(memory);
    scene.flood(&running, 1_000_000, true);
    let after = processes.map(memory);
    let messages = alert.alerts().len();
    eprintln!("bytes of collector and aw-alert: {before:?}, then {after:?}; {messages} messages");
    running.stop().ok();
    // The floods of routers and redirects have reached the limit, or it is none.
    let kinds = scene.messages();
    assert_eq!(["new_router", "redirect"].map(|kind| kinds.get(kind)), [Some(&5); 2]);
    assert!(messages < 100, "{messages} messages");
    for (before, after) in before.into_iter().zip(after) {
        assert!(after < before + (4 << 20), "{before} bytes, then {after}");
    }
    assert!(scene.sensors[0].rows() <= 64, "{} rows", scene.sensors[0].rows());
}
