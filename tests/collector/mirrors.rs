//! Frames as mirrors and switches deliver them, from files: behind tags of switches, in tunnels, on CPU ports; and what is
//! not read is counted and named.
#![forbid(unsafe_code)]

use aw_tests::capture_file::{WLAN, ethernet_pcap, pcap_of};
use aw_tests::collect::{collect, counters, lines};
use aw_tests::encapsulation::*;
use aw_tests::frames::{DOT1AD, DOT1Q, padded};
use aw_tests::mirrored::*;
use aw_tests::rig::{program, run};
use aw_tests::ring::Ring;

/// The lines of a replay, without their times.
fn events(frames: &[Vec<u8>], options: &[&str]) -> Vec<String> {
    without_time(&lines(&ethernet_pcap(frames), options))
}

#[test]
fn tags_of_switches() {
    for (what, protocol, tag) in [
        ("VN-Tag", VN_TAG, &[0, 0, 0, 0x14][..]),
        ("E-TAG", E_TAG, &[0, 0, 0, 0x64, 0, 0]),
        ("Cisco Metadata", CISCO_METADATA, &[1, 1, 0, 1, 0, 0x2a]),
        ("HSR", HSR, &[0x10, 0x34, 0, 1]),
        ("HSR 0", HSR_0, &[0x10, 0x34, 0, 1]),
        ("R-TAG", R_TAG, &[0, 0, 0, 9]),
        ("BRCM", BRCM_LEGACY, &[0, 0, 0, 3]),
        ("EDSA", EDSA, &[0, 0, 0xc0, 0x18, 0, 1]),
    ] {
        let frames = [
            inserted(&arp().frame(), protocol, tag),
            inserted(&advertisement(), protocol, tag),
            inserted(&tagged(101), protocol, tag), // VLAN inside
            inserted(&inserted(&arp().frame(), protocol, tag), DOT1Q, &[0, 202]), // and outside
            padded(inserted(&arp().frame(), protocol, tag)),
        ];
        let expected = [
            arp_line("pcap", 0),
            nd_line("pcap"),
            arp_line("pcap", 101),
            arp_line("pcap", 202),
            arp_line("pcap", 0),
        ];
        assert_eq!(events(&frames, &[]), expected, "{what}");
    }
}

/// A DSA tag takes the place of the VLAN tag that the frame had on its port.
#[test]
fn a_dsa_tag_has_the_vlan() {
    let frame = inserted(&arp().frame(), EDSA, &[0, 0, 0xe0, 0x18, 0x60, 7]);
    assert_eq!(events(&[frame], &[]), [arp_line("pcap", 7)]);
}

/// Behind PRP's trailer, which is a part of the padding; protected but not encrypted; in the frames of a provider's bridge
/// or of a fabric; in PPP.
#[test]
fn other_headers_of_layer_2() {
    let trailer = [padded(arp().frame()), vec![0, 1, 0xa0, 0x34, 0x88, 0xfb]].concat();
    let icv = [0xcc; 16];
    let with_sci = inserted(&arp().frame(), MACSEC, &[0x20, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0, 1]);
    let short = inserted(&arp().frame(), MACSEC, &[0, 30, 0, 0, 0, 1]);
    let pbb = behind(PBB, &[0, 0x01, 0x02, 0x03], &tagged(9));
    let provider = inserted(&pbb, DOT1AD, &[0, 77]);
    let ppp = behind(PPPOE, &[0x11, 0, 0, 5, 0, 46, 0, 0x31, 0, 1], &advertisement());
    let compressed = behind(PPPOE, &[0x11, 0, 0, 5, 0, 45, 0x31, 0, 1], &advertisement());
    let frames = [
        trailer,
        [with_sci, icv.to_vec()].concat(),
        [short, icv.to_vec()].concat(),
        pbb,
        provider,
        ppp,
        compressed,
        behind(FABRICPATH, &[0, 0x60], &tagged(7)),
        behind(TRILL, &[0, 0x5f, 0, 1, 0, 2, 0, 0, 0, 0], &tagged(7)),
    ];
    let expected = |pbb: &str, ppp: &str| {
        [
            arp_line("pcap", 0),
            arp_line("pcap", 0),
            arp_line("pcap", 0),
            arp_line(pbb, 9),
            arp_line(pbb, 9),
            nd_line(ppp),
            nd_line(ppp),
            arp_line("pcap", 7),
            arp_line("pcap", 7),
        ]
    };
    assert_eq!(events(&frames, &[]), expected("pcap", "pcap"));
    assert_eq!(events(&frames, &["--tunnel-id"]), expected("pcap#66051", "pcap#5"));
}

/// The port between a switch and its CPU: the tag's length follows from the link type.
#[test]
fn conduits_of_switches() {
    const BRCM: u32 = 281;
    const BRCM_PREPENDED: u32 = 282;
    const DSA: u32 = 284;
    const EDSA_LINK: u32 = 285;
    let behind_macs = |frame: &[u8], tag: &[u8]| [&frame[..12], tag, &frame[12..]].concat();
    let edsa = |frame: &[u8]| inserted(frame, EDSA, &[0, 0, 0xc0, 0x18, 0, 1]);
    for (link, tag) in [
        (BRCM, &(|frame: &[u8]| behind_macs(frame, &[0, 0, 0, 1])) as &dyn Fn(&[u8]) -> Vec<u8>),
        (BRCM_PREPENDED, &|frame| [&[0, 0, 0, 1], frame].concat()),
        (DSA, &|frame| behind_macs(frame, &[0xc0, 0x18, 0, 1])),
        (EDSA_LINK, &edsa),
    ] {
        let frames = [arp().frame(), advertisement(), tagged(5)].map(|frame| tag(&frame));
        let expected = [arp_line("pcap", 0), nd_line("pcap"), arp_line("pcap", 5)];
        assert_eq!(without_time(&lines(&pcap_of(link, &frames), &[])), expected, "{link}");
    }
    let in_tag = behind_macs(&arp().frame(), &[0xe0, 0x18, 0, 33]);
    assert_eq!(without_time(&lines(&pcap_of(DSA, &[in_tag]), &[])), [arp_line("pcap", 33)]);
}

#[test]
fn remote_mirrors() {
    for (frame, vlan) in [(arp().frame(), 0), (tagged(12), 12)] {
        let (ids, frames): (Vec<_>, Vec<_>) = tunnels(&frame).into_iter().unzip();
        assert_eq!(events(&frames, &[]), vec![arp_line("pcap", vlan); frames.len()]);
        let named: Vec<_> = ids.iter().map(|id| arp_line(&format!("mirror{id}"), vlan)).collect();
        assert_eq!(events(&frames, &["--tunnel-id", "--as", "mirror"]), named);
    }
    let (_, frames): (Vec<_>, Vec<_>) = tunnels(&advertisement()).into_iter().unzip();
    assert_eq!(events(&frames, &[]), vec![nd_line("pcap"); frames.len()]);
}

/// The frame's VLAN, not that of the mirror's packets. ERSPAN names the VLAN of a frame that has no tag.
#[test]
fn the_inner_vlan_counts() {
    let outer = |frame: Vec<u8>| inserted(&frame, DOT1Q, &[0, 99]);
    let frames = [
        outer(ipv4(UDP, &udp(VXLAN, &vxlan(1, &arp().frame())))),
        outer(ipv4(UDP, &udp(VXLAN, &vxlan(1, &tagged(8))))),
        outer(ipv4(GRE, &erspan_2(30, 1, &arp().frame()))),
        outer(ipv4(GRE, &erspan_3(31, 1, false, &arp().frame()))),
        ipv4(GRE, &erspan_2(30, 1, &tagged(8))),
    ];
    assert_eq!(events(&frames, &[]), [0, 8, 30, 31, 8].map(|vlan| arp_line("pcap", vlan)));
}

/// A mirror of an overlay: tunnels inside of a tunnel. Four are read, and the fifth is not.
#[test]
fn tunnels_in_tunnels() {
    let wrap = |frame: &[u8]| ipv4(UDP, &udp(VXLAN, &vxlan(5, frame)));
    let overlay = ipv4(GRE, &erspan_2(0, 100, &wrap(&arp().frame())));
    assert_eq!(events(&[overlay], &["--tunnel-id"]), [arp_line("pcap#5", 0)]);
    let mut deep = arp().frame();
    for depth in 1..=5 {
        deep = wrap(&deep);
        let expected = if depth <= 4 { vec![arp_line("pcap", 0)] } else { Vec::new() };
        assert_eq!(events(&[deep.clone()], &[]), expected, "{depth}");
    }
}

/// The counters of a replay that are not zero, without `seen`.
fn outcome(frame: Vec<u8>, options: &[&str]) -> Vec<(String, u64)> {
    let options = [&["-v"], options].concat();
    let finished = collect(&Ring::new(), &ethernet_pcap(&[frame]), &options).ok();
    let mut counters = counters(&finished.stderr, "pcap");
    counters.retain(|name, number| *number > 0 && name != "seen");
    counters.into_iter().collect()
}

/// What only looks like a tunnel, is a fragment, or comes from another sender.
#[test]
fn tunnels_that_are_refused() {
    let network = vxlan(5, &arp().frame());
    let of = |payload: &[u8]| ipv4(UDP, &udp(VXLAN, payload));
    let no_flag = [&[0], &network[1..]].concat();
    let first = ipv4_of(0x2000, 0, UDP, &udp(VXLAN, &network));
    let later = ipv4_of(0x2001, 0, UDP, &udp(VXLAN, &network));
    let routed = gre(0x88be, [None; 3], &arp().frame());
    let routed = ipv4(GRE, &[&[0x40], &routed[1..]].concat());
    let only = |name: &str| vec![(name.to_owned(), 1)];
    for (what, frame, counter) in [
        ("no network", of(&no_flag), "unrelated"),
        ("another port", ipv4(UDP, &udp(4790, &network)), "unrelated"),
        ("a first fragment", first, "fragmented"),
        ("a later fragment", later, "unrelated"),
        ("GRE with routing", routed, "unrelated"),
        ("a keep-alive of TZSP", ipv4(UDP, &udp(TZSP, &[1, 4, 0, 0])), "unrelated"),
        ("TZSP without an end", ipv4(UDP, &udp(TZSP, &[1, 0, 0, 1, 0, 0])), "truncated"),
        ("a short frame", of(&network[..40]), "truncated"),
    ] {
        assert_eq!(outcome(frame, &[]), only(counter), "{what}");
    }
    for (from, counter) in
        [("10.9.0.0/24", "published"), ("10.9.0.3", "tunnel_sender"), ("fd00::/8", "tunnel_sender")]
    {
        assert_eq!(outcome(of(&network), &["--tunnel-from", from]), only(counter), "{from}");
    }
}

/// A mirror mirrors everything, also what a host of its network puts into a tunnel: each sender must be allowed.
#[test]
fn an_allowed_mirror_does_not_vouch_for_tunnels_in_its_frames() {
    let forged = ipv6(UDP, false, &udp(VXLAN, &vxlan(5, &tagged(20))));
    let provider = behind(PBB, &[0, 0, 0, 1], &forged);
    for (what, inner) in [("at once", &forged), ("in a frame", &provider)] {
        let mirrored = ipv4(GRE, &erspan_2(0, 100, inner));
        for (from, counter) in [
            (&["10.9.0.2"][..], "tunnel_sender"),
            (&["fd00::2"], "tunnel_sender"),
            (&["10.9.0.2", "fd00::2"], "published"),
            (&[], "published"),
        ] {
            let options: Vec<&str> = from.iter().flat_map(|from| ["--tunnel-from", from]).collect();
            let only = vec![(counter.to_owned(), 1)];
            assert_eq!(outcome(mirrored.clone(), &options), only, "{what}, {from:?}");
        }
    }
}

/// A sensor that cannot read what it receives says why.
#[test]
fn an_unknown_header_is_counted_and_named() {
    let hidden = inserted(&arp().frame(), 0x9001, &[0; 6]);
    let neighbor = inserted(&advertisement(), 0x9001, &[0; 10]);
    let ring = Ring::new();
    let capture = ethernet_pcap(&[hidden, neighbor, arp().frame()]);
    let finished = collect(&ring, &capture, &["-v"]).ok();
    assert_eq!(without_time(&finished.stdout), [arp_line("pcap", 0)]);
    assert_eq!(counters(&finished.stderr, "pcap")["unknown_header"], 2);
    let warnings: Vec<_> =
        finished.stderr.lines().filter(|line| line.contains("is not read")).collect();
    assert_eq!(warnings.len(), 1, "{}", finished.stderr);
    for text in ["pcap: ARP or Neighbor Discovery behind EtherType 0x9001", "br-lan"] {
        assert!(warnings[0].contains(text), "{warnings:?}");
    }
    assert!(finished.stderr.contains("2 unknown_header (EtherType 0x9001 on pcap)"));
    let stats = run(program("collector", &["--stats", "--ring", ring.name()])).ok().stdout;
    for line in ["  unknown_header       2", "  hidden by            EtherType 0x9001"] {
        assert!(stats.lines().any(|found| found == line), "{line:?} in {stats}");
    }
    assert_eq!(stats_of(&ring, "pcap")["hidden_by"], "EtherType 0x9001");
}

#[test]
fn link_types_without_ethernet_have_a_remedy() {
    const RAW_IP: u32 = 101;
    for (link, texts) in [
        (WLAN, ["105", "managed mode"]),
        (RAW_IP, ["RAW", "br-lan"]),
        (195, ["195", "Ethernet interface"]), // IEEE 802.15.4
    ] {
        collect(&Ring::new(), &pcap_of(link, &[[0; 60]]), &[]).refused("collector", &texts);
    }
}
