//! The seeds of the fuzz targets in `fuzz/corpus/`, small and of every kind. `fuzz/bodies/` contains how the targets
//! read them.

mod foreign;
mod names;

use crate::encapsulation::*;
use crate::frames::{ARP, Arp, DOT1Q, Ethernet, IPV6, cooked, cooked_v2, station};
use crate::neighbor::Neighbor;
use crate::{forms, refusals, sample};
use std::collections::BTreeSet;
use std::fs;
use std::io::Result;
use std::path::Path;

/// A file of a corpus.
pub struct Seed {
    /// The directory: the target's name.
    pub target: &'static str,
    /// The file's.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// All of them.
pub fn all() -> Vec<Seed> {
    let frames = frames().into_iter().map(|(name, bytes)| Seed { target: "frame", name, bytes });
    frames.chain(datagrams()).chain(segments()).chain(names::all()).chain(foreign::all()).collect()
}

/// Writes them below this directory, one more for each target.
pub fn write(directory: &Path) -> Result<()> {
    for Seed { target, name, bytes } in all() {
        let directory = directory.join(target);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}

const ETHERNET: u8 = 0;
const COOKED: u8 = 1;
const COOKED_V2: u8 = 2;
/// The capture cut it.
const CUT: u8 = 0x80;

/// Accepted frames, one frame for each reason to refuse it, and cooked ones.
fn frames() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add =
        |name: String, link: u8, frame: Vec<u8>| all.push((name, [vec![link], frame].concat()));
    for (number, frame) in (1..).zip(sample::accepted()) {
        let origin = frame.event.split(' ').next_back().expect("a line ends in its origin");
        add(format!("accepted-{number:02}-{}", origin.to_lowercase()), ETHERNET, frame.bytes);
    }
    let mut reasons = BTreeSet::new();
    for refusal in refusals::all() {
        let cut = if refusal.wire_length > refusal.bytes.len() { CUT } else { 0 };
        if reasons.insert((refusal.counter, cut)) {
            let name = if cut == 0 { "refused" } else { "cut" };
            add(format!("{name}-{}", refusal.counter), ETHERNET | cut, refusal.bytes);
        }
    }
    let (mac, ip) = (station(1), [192, 0, 2, 1].into());
    let arp = Arp::request(mac, ip, [192, 0, 2, 254].into()).bytes();
    let nd = Neighbor::advertise(mac, "2001:db8::1".parse().expect("an address")).bytes();
    add("cooked-arp".into(), COOKED, cooked(mac, ARP, &arp));
    add("cooked-nd".into(), COOKED, cooked(mac, IPV6, &nd));
    add("cooked-2-arp".into(), COOKED_V2, cooked_v2(mac, 9, ARP, &arp));
    add("cooked-2-nd".into(), COOKED_V2, cooked_v2(mac, 9, IPV6, &nd));
    // An authentication header (RFC 4302, 2), of which the other seeds have none.
    let authenticated = Neighbor::probe("2001:db8::2".parse().expect("an address"))
        .behind((51, [vec![0, 4], vec![0; 22]].concat()));
    add("accepted-authenticated".into(), ETHERNET, authenticated.frame(mac));
    // What no other seed has before the message.
    for form in forms::all().into_iter().filter(|form| form.name.starts_with("NA behind")) {
        let [frame] = form.frames.try_into().expect("only fragments are several frames");
        add(form.name.to_lowercase().replace(' ', "-"), ETHERNET, frame);
    }
    encapsulated(&mut add);
    add("unrelated".into(), ETHERNET, Ethernet::from(mac).frame(0x88cc, &[2, 7, 4]));
    all
}

/// The link type of a switch's CPU port.
const DSA: u8 = 5;

/// Frames behind the tags of switches, and inside of other packets.
fn encapsulated(add: &mut impl FnMut(String, u8, Vec<u8>)) {
    let (mac, ip) = (station(1), [192, 0, 2, 1].into());
    let arp = Arp::request(mac, ip, [192, 0, 2, 254].into()).frame();
    let nd = Neighbor::advertise(mac, "2001:db8::1".parse().expect("an address")).frame(mac);
    let vlan = inserted(&arp, DOT1Q, &[0, 7]);
    for (name, frame) in [
        ("tag-vn", inserted(&arp, VN_TAG, &[0; 4])),
        ("tag-e", inserted(&nd, E_TAG, &[0; 6])),
        ("tag-edsa", inserted(&vlan, EDSA, &[0, 0, 0xe0, 0x18, 0, 1])),
        ("tag-macsec", [inserted(&arp, MACSEC, &[0, 0, 0, 0, 0, 1]), vec![0; 16]].concat()),
        ("tag-unknown", inserted(&arp, 0x9001, &[0; 6])),
        ("pbb", behind(PBB, &[0, 1, 2, 3], &vlan)),
        ("pppoe", behind(PPPOE, &[0x11, 0, 0, 5, 0, 46, 0, 0x31, 0, 1], &nd)),
        ("vxlan", ipv4(UDP, &udp(VXLAN, &vxlan(5001, &arp)))),
        ("vxlan-ipv6", ipv6(UDP, true, &udp(VXLAN, &vxlan(5001, &nd)))),
        ("vxlan-fragment", ipv4_of(0x2000, 1, UDP, &udp(VXLAN, &vxlan(5001, &arp)))),
        ("geneve", ipv4(UDP, &udp(GENEVE, &geneve(77, 2, &vlan)))),
        ("tzsp", ipv4(UDP, &udp(TZSP, &tzsp(&[0, 10, 1, 0xc4], &arp)))),
        ("gre", ipv6(GRE, false, &gre(0x6558, [Some(0), Some(42), Some(9)], &nd))),
        ("erspan-2", ipv4(GRE, &erspan_2(30, 100, &arp))),
        ("erspan-3", ipv4(GRE, &erspan_3(30, 100, true, &nd))),
    ] {
        add(format!("encapsulated-{name}"), ETHERNET, frame);
    }
    let conduit = [&arp[..12], &[0xe0, 0x18, 0, 9], &arp[12..]].concat();
    add("encapsulated-dsa".into(), DSA, conduit);
}

/// Lines of a router's table, one for each reason to refuse it, and several in one datagram.
fn datagrams() -> impl Iterator<Item = Seed> {
    let line = |ip: &str, hardware: &str, flags: &str, mac: &str, interface: &str| {
        format!("   1    {ip:<16} {hardware:<11}{flags:<12}{mac}     *        {interface}")
    };
    let mac = "02:00:00:00:00:01";
    let entry = |flags: &str, mac: &str| line("192.168.1.124", "0x1", flags, mac, "br0");
    let two = format!("{}\n{}\r\n", entry("0x2", mac), entry("0x6", mac));
    [
        ("accepted", entry("0x2", mac)),
        ("accepted-static", entry("0x6", "AA:BB:CC:DD:EE:02")),
        ("accepted-twice", two),
        ("accepted-with-end", entry("0x2", mac) + "\n\0"),
        ("other-interface", line("10.9.0.1", "0x1", "0x2", mac, "vlan2.4094")),
        ("incomplete", entry("0x0", "00:00:00:00:00:00")),
        ("failed", entry("0x0", mac)),
        ("proxy", line("192.168.1.1", "0x1", "0xc", "00:00:00:00:00:00", "*")),
        ("zero", entry("0x2", "00:00:00:00:00:00")),
        ("broadcast", entry("0x2", "ff:ff:ff:ff:ff:ff")),
        ("group", entry("0x2", "01:00:5e:00:00:01")),
        ("unspecified", line("0.0.0.0", "0x1", "0x2", mac, "br0")),
        ("hardware", line("192.168.1.124", "0x20", "0x2", mac, "br0")),
        ("flags", entry("0xffffffff", mac)),
        ("ipv6", line("2001:db8::1", "0x1", "0x2", mac, "br0")),
        ("long-interface", line("192.168.1.124", "0x1", "0x2", mac, "sixteen-letters-")),
        ("wlan", format!("   1    rssi 0 0 {mac} +-55+ wlan")),
        ("wds", format!("   2    rssi 0 0 {mac} ++ wds")),
        ("six-fields", "1 192.168.1.124 0x1 0x2 02:00:00:00:00:01 *".into()),
        ("eight-fields", entry("0x2", mac) + " more"),
        ("number", entry("0x2", mac).replace("   1 ", "999999")),
        ("empty", String::new()),
    ]
    .into_iter()
    .map(|(name, text)| Seed { target: "macupd", name: name.into(), bytes: text.into_bytes() })
}

/// A word of the segment that a seed may change: of the header, of counters, of all slots (`header.rs` has the
/// offsets, in bytes; here they are in words).
#[derive(Clone, Copy)]
enum Place {
    Header(u8),
    FirstAccount(u8),
    LastAccount(u8),
    Slot(u8, u8),
}
use Place::*;

impl Place {
    fn number(self) -> u8 {
        match self {
            Header(word) => word,
            FirstAccount(word) => 64 + word,
            LastAccount(word) => 128 + word,
            Slot(slot, word) => 192 + slot * 8 + word,
        }
    }
}

const MAGIC: Place = Header(0);
const VERSION: Place = Header(1);
const SLOTS: Place = Header(2);
const GENERATION: Place = Header(3);
const HEADER_BYTES: Place = Header(5);
const FIRST: Place = Header(6);
const RETIRED: Place = Header(7);
const HOST: Place = Header(8);
const HEAD: Place = Header(16);

/// The segment has eight slots and held eleven events.
fn segments() -> impl Iterator<Item = Seed> {
    let seed = |name: &str, longer: i16, patches: &[(Place, u64)]| {
        let mut bytes = longer.to_le_bytes().to_vec();
        for (place, value) in patches {
            bytes.push(place.number());
            bytes.extend(value.to_le_bytes());
        }
        Seed { target: "segment", name: name.to_owned(), bytes }
    };
    let every_slot =
        |sequence| -> Vec<_> { (0..8).map(|slot| (Slot(slot, 0), sequence)).collect() };
    let with = |patches: Vec<(Place, u64)>, more: (Place, u64)| [patches, vec![more]].concat();
    let text = |text: &[u8; 8]| u64::from_le_bytes(*text);
    [
        seed("whole", 0, &[]),
        seed("shorter", -64, &[]),
        seed("longer", 64, &[]),
        seed("no-magic", 0, &[(MAGIC, 0)]),
        seed("another-version", 0, &[(VERSION, 2)]),
        seed("slots-three", 0, &[(SLOTS, 3)]),
        seed("slots-four", -256, &[(SLOTS, 4)]),
        seed("header-bytes", 0, &[(HEADER_BYTES, 4096)]),
        seed("generation", 0, &[(GENERATION, 7)]),
        seed("retired", 0, &[(RETIRED, 1)]),
        seed("host-not-text", 0, &[(HOST, u64::MAX)]),
        seed("taken-over", 0, &[(FIRST, 5)]),
        seed("first-beyond-head", 0, &[(FIRST, 100)]),
        seed("first-last", 0, &[(FIRST, u64::MAX)]),
        seed("head-not-stored", 0, &[(HEAD, 10)]),
        seed("head-zero", 0, &[(HEAD, 0)]),
        seed("head-far", 0, &[(HEAD, 1 << 40)]),
        seed("head-last", 0, &[(HEAD, u64::MAX)]),
        seed("half-written", 0, &[(Slot(3, 0), 23)]),
        seed("slots-empty", 0, &every_slot(0)),
        seed("slots-ahead", 0, &every_slot(1 << 40)),
        seed("slots-ahead-of-nothing", 0, &with(every_slot(1 << 40), (HEAD, 0))),
        seed("slots-last", 0, &every_slot(u64::MAX)),
        seed("kind-unknown", 0, &[(Slot(1, 7), 0x0207_0000)]),
        seed("interface-not-text", 0, &[(Slot(1, 4), u64::MAX), (Slot(1, 5), u64::MAX)]),
        seed("interface-two-lines", 0, &[(Slot(1, 4), text(b"eth0\n1 2"))]),
        seed("time-last", 0, &[(Slot(1, 1), i64::MAX as u64), (Slot(2, 1), i64::MIN as u64)]),
        seed("counters-not-text", 0, &[(LastAccount(0), text(b"\x1b[31m\0\0\0"))]),
        seed("counted-too-much", 0, &[(FirstAccount(2), 1 << 40)]),
        seed(
            "counters-last",
            0,
            &[
                (FirstAccount(2), u64::MAX),
                (FirstAccount(4), u64::MAX),
                (FirstAccount(5), u64::MAX),
            ],
        ),
    ]
    .into_iter()
}
