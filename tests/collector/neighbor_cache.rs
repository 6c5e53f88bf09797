//! What changes the neighbour cache of a Linux host is published; what the host ignores is marked or refused. Each form
//! of `aw_tests::forms` is sent to a host in a network namespace, and its table is compared with the ring. The table
//! of the test shows what each form did.
#![forbid(unsafe_code)]

use aw_tests::collect::held_json;
use aw_tests::forms::{self, *};
use aw_tests::frames::{Arp, Ethernet, Mac, station};
use aw_tests::lan::{HERE, Host, Lan};
use aw_tests::rig::{Run, binary, run, run_with, wait_until};
use aw_tests::ring::Ring;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Stdio};

/// What a table holds: address and MAC.
type Table = BTreeSet<(String, String)>;

/// In which state the claimed addresses are when the message comes. Whatever the host takes in one of them, it takes.
const STATES: [&str; 3] = ["", "lladdr 02:00:00:00:00:55 nud stale", "nud incomplete"];
const ROLES: [&str; 2] = ["host", "router"];

/// After each form comes a request from this address, with another MAC each time: once it is in the host's table, the
/// form was processed.
const BARRIER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

fn barrier_mac(number: usize) -> Mac {
    station(0x1_0000 + u32::try_from(number).unwrap())
}

fn text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Sends frames from `there`, on one CPU: their order is kept.
struct Sender(Child, ChildStdin);

impl Sender {
    fn start(there: &Host) -> Sender {
        const SCRIPT: &str = "
import os, socket, sys
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(('veth1', 0))
for line in sys.stdin:
    wire.send(bytes.fromhex(line))
";
        let mut command = there.command("/usr/bin/python3");
        let mut child = command.args(["-c", SCRIPT]).stdin(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        Sender(child, input)
    }

    fn send(&mut self, frame: &[u8]) {
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(self.1, "{hex}").unwrap();
        self.1.flush().unwrap();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Addresses, a default router, and no pause between two changes of an entry.
fn set_up(victim: &Host) {
    victim.ipv6("veth0");
    victim.ip("addr add 192.0.2.1/24 dev veth0");
    victim.ip("addr add 2001:db8::1/64 dev veth0 nodad");
    victim.ip("addr add fe80::1/64 dev veth0 nodad");
    victim.ip("-6 route add default via fe80::fe dev veth0");
    victim.run(&["sysctl", "-qw", "net.ipv4.neigh.veth0.locktime=0"]);
}

/// Empties the table but for the claimed addresses in this state.
fn prepare(victim: &Host, state: &str) -> Table {
    let claimed = [
        CLAIMED4.to_string(),
        CLAIMED6.to_string(),
        CLAIMED_LOCAL.to_string(),
        CLAIMED_FAR.to_string(),
    ];
    let entries: String = claimed
        .iter()
        .filter(|_| !state.is_empty())
        .map(|address| format!("neigh replace {address} dev veth0 {state}\n"))
        .collect();
    let mut command = victim.command("sh");
    command.args(["-ec", "ip neigh flush dev veth0; ip -6 route flush cache; ip -batch -"]);
    run_with(command, entries.as_bytes()).ok();
    table(victim)
}

fn table(victim: &Host) -> Table {
    let mut command = victim.command("ip");
    command.args(["-j", "neigh", "show", "dev", "veth0"]);
    let shown: Vec<Value> = serde_json::from_str(&run(command).ok().stdout).unwrap();
    let entry = |entry: &Value| {
        Some((entry["dst"].as_str()?.to_owned(), entry["lladdr"].as_str()?.to_owned()))
    };
    shown.iter().filter_map(entry).collect()
}

/// What an event is worth, in the words of docs/security.md.
fn evidence(event: &Value) -> &'static str {
    let origin = event["origin"].as_str().unwrap();
    match origin {
        "ARP_NO_HOST" | "ND_NO_HOST" => "no host",
        "ARP_IGNORED" | "ND_IGNORED" => "ignored",
        "ARP_ACD" | "ND_DAD" => "probe",
        // Without a MAC in the message, the frame's is reported as both.
        _ if event["frame_source"] == event["mac"] => "frame source",
        _ => "claim",
    }
}

/// The events behind each barrier's predecessor, without what the victim itself sent.
fn events_by_case(ring: &Ring) -> Vec<Vec<Value>> {
    let mut cases = vec![Vec::new()];
    for event in held_json(ring) {
        if event["ip"] == BARRIER.to_string() {
            assert_eq!(event["mac"], text(barrier_mac(cases.len() - 1)), "in order");
            cases.push(Vec::new());
        } else if event["mac"] != HERE {
            cases.last_mut().unwrap().push(event);
        }
    }
    cases.pop(); // what follows the last barrier
    cases
}

#[test]
fn what_changes_a_neighbour_cache_is_published() {
    let Some(lan) = Lan::new() else { return };
    let victim = &lan.here;
    set_up(victim);
    let ring = Ring::new();
    let mut command = victim.command(binary("collector"));
    command.args(["--ring", ring.name(), "veth0"]);
    let collector = Run::start(command);
    collector.stderr.wait_for("listening on veth0");
    let mut sender = Sender::start(&lan.there);
    let forms = forms::all();
    // For each form and case, what the victim took.
    let mut taken: Vec<Vec<Table>> = forms.iter().map(|_| Vec::new()).collect();
    let mut number = 0;
    for role in ROLES {
        let forwarding = u8::from(role == "router");
        for which in ["all", "veth0"] {
            let setting = format!("net.ipv6.conf.{which}.forwarding={forwarding}");
            victim.run(&["sysctl", "-qw", &setting]);
        }
        for state in STATES {
            for (form, taken) in forms.iter().zip(&mut taken) {
                let before = prepare(victim, state);
                form.frames.iter().for_each(|frame| sender.send(frame));
                let mac = barrier_mac(number);
                let barrier = Arp::request(mac, BARRIER, VICTIM4);
                sender.send(&barrier.on(&Ethernet::from(mac).to(VICTIM)));
                let last = (BARRIER.to_string(), text(mac));
                let mut after = Table::new();
                wait_until(&form.name, || {
                    after = table(victim);
                    after.contains(&last)
                });
                after.remove(&last);
                taken.push(after.difference(&before).cloned().collect());
                number += 1;
            }
        }
    }
    collector.stdout.wait_for(&text(barrier_mac(number - 1)));
    let cases = events_by_case(&ring);
    assert_eq!(cases.len(), number);
    compare(&forms, &taken, &cases);
}

/// Prints the table, and panics with its rows that must not be.
fn compare(forms: &[Form], taken: &[Vec<Table>], cases: &[Vec<Value>]) {
    let mut wrong = Vec::new();
    for (at, (form, taken)) in forms.iter().zip(taken).enumerate() {
        let published: Vec<&[Value]> =
            cases.iter().skip(at).step_by(forms.len()).map(Vec::as_slice).collect();
        let takes = taken.iter().any(|taken| !taken.is_empty());
        let mut kinds = BTreeSet::new();
        for event in published.iter().copied().flatten() {
            kinds.insert(format!("{} {}", event["origin"].as_str().unwrap(), evidence(event)));
        }
        let silent = taken.iter().zip(&published).any(|(taken, events)| {
            taken.iter().any(|pairing| !events.iter().any(|event| reports(event, pairing, form)))
        });
        let unmarked = published
            .iter()
            .copied()
            .flatten()
            .any(|event| matches!(evidence(event), "claim" | "no host"));
        let kinds: Vec<_> = kinds.into_iter().collect();
        let linux = if takes { "takes it" } else { "ignores it" };
        let row = format!("{:55} {linux:10} {:30}", form.name, kinds.join(", "));
        let fault = match takes {
            true if silent => "NOT PUBLISHED",
            false if unmarked && form.other_hosts.is_empty() => "NOT MARKED",
            false if PLAIN.contains(&&*form.name) => "DID NOT REACH THE HOST",
            true => "",
            false => form.other_hosts,
        };
        println!("{row} {fault}");
        if fault.starts_with(char::is_uppercase) && fault != form.other_hosts {
            wrong.push(format!("{row} {fault}"));
        }
    }
    assert!(wrong.is_empty(), "of {} forms, wrong:\n{}", forms.len(), wrong.join("\n"));
}

/// Whether the event gives this address this MAC, and names who sent the frame.
fn reports(event: &Value, (address, mac): &(String, String), form: &Form) -> bool {
    let source: Mac = form.frames[0][6..12].try_into().unwrap();
    let source = text(source);
    let sent_by = event.get("frame_source").and_then(Value::as_str).unwrap_or(mac);
    matches!(evidence(event), "claim" | "no host")
        && event["ip"] == **address
        && event["mac"] == **mac
        && sent_by == source
}
