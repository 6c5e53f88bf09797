//! Any bytes as a frame: it is refused for a reason that frames can have, or accepted; then the event contains only what
//! was sent, no value that must not be published, and the kernel's filter passes the frame.

use std::net::Ipv4Addr;

use pcap::{BpfProgram, Capture, Linktype};
use shm_layout::{Counter, Event, Evidence, Kind, UnixTime, VlanId};

use crate::{
    check, filter,
    link::{Frame, LinkType},
    parse::{self, Message},
    tunnel,
};

thread_local! {
    static FILTERS: [BpfProgram; 7] = LinkType::ALL.map(|link| {
        let capture = Capture::dead(Linktype(link as i32)).unwrap();
        capture.compile(&filter::expression(link, true), true).unwrap()
    });
}

/// The first byte selects the link type; its highest bit means that the capture cut the frame. The rest is the frame.
pub fn frame(input: &[u8]) {
    let [choice, bytes @ ..] = input else { return };
    let link = usize::from(choice & 0x7f) % LinkType::ALL.len();
    let cut = choice & 0x80 != 0;
    let time = UnixTime::from_nanos(0);
    let frame = Frame { time, bytes, length: bytes.len() + usize::from(cut) };
    datagram(bytes);
    let result = parse::parse(LinkType::ALL[link], &frame).and_then(|mut packet| {
        if let Message::Nd(message) = &mut packet.message {
            message.intact = true; // a fuzzer finds no checksums
        }
        check::sighting(&packet)
    });
    match result {
        Err(reason) => {
            assert!(is_refusal(reason), "{reason:?}");
            let hides = reason == Counter::UnknownHeader;
            assert!(!hides || parse::hiding_header(LinkType::ALL[link], &frame).is_some());
        }
        Ok(sighting) => {
            assert!(!cut, "a cut frame is taken for a complete one");
            let evidence = sighting.origin.evidence();
            assert_eq!(
                evidence == Evidence::NoHost,
                sighting.mac.is_no_host() && evidence != Evidence::Ignored
            );
            assert!(sighting.outer_vlan == VlanId::NONE || sighting.vlan != VlanId::NONE);
            let sent = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
            assert!(sent(&sighting.mac.octets()), "{sighting:?}");
            let address = sighting.address;
            match (Kind::Pairing(sighting.origin).is_ipv4(), address.to_ipv4_mapped()) {
                (true, Some(address)) => {
                    assert!(address != Ipv4Addr::UNSPECIFIED && sent(&address.octets()));
                }
                (false, _) => {
                    assert!(!address.is_unspecified() && !address.is_multicast(), "{address}");
                    assert!(sent(&address.octets()), "{address}");
                }
                (true, None) => panic!("ARP with an address that is not IPv4: {sighting:?}"),
            }
            let event: Event = sighting.event(time, "eth0".parse().unwrap());
            assert_eq!(event.to_string().split(' ').count(), 6, "{event}");
            let passes = FILTERS.with(|filters| filters[link].filter(bytes));
            assert!(passes, "the filter would drop the frame: {event}");
        }
    }
}

/// The same bytes as a datagram of a mirror: the frame in it is its end.
fn datagram(bytes: &[u8]) {
    for frame in [tunnel::vxlan(bytes).map(|(_, frame)| frame), tunnel::tzsp(bytes)] {
        match frame {
            Ok(frame) => assert!(bytes.ends_with(frame) && frame.len() < bytes.len()),
            Err(reason) => assert!(matches!(reason, Counter::Unrelated | Counter::Truncated)),
        }
    }
}

/// The outcomes that parsing and checking may give.
fn is_refusal(reason: Counter) -> bool {
    use Counter::{Filtered, Interrupted, Published, RateLimited};
    reason.is_outcome() && !matches!(reason, Published | Filtered | RateLimited | Interrupted)
}
