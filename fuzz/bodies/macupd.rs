//! Any bytes as a MACupd datagram: each line is refused for a reason that lines can have, or accepted; then the event
//! contains only what was sent, and no value that must not be published.

use std::net::Ipv4Addr;

use shm_layout::{Counter, MacAddr, UnixTime};

use crate::macupd::{event, lines};

pub fn macupd(datagram: &[u8]) {
    let mut number = 0;
    for line in lines(datagram) {
        number += 1;
        match event(line, Ipv4Addr::LOCALHOST, UnixTime::from_nanos(0)) {
            Err(reason) => assert!(is_refusal(reason), "{reason:?}"),
            Ok(event) => {
                let text = event.to_string();
                let words: Vec<_> = text.split(' ').collect();
                let sent = |word: &str| {
                    let mut sent = line.split(u8::is_ascii_whitespace);
                    sent.any(|field| field.eq_ignore_ascii_case(word.as_bytes()))
                };
                let ["0", interface, "0", mac, ip, "MACUPD"] = words[..] else { panic!("{text}") };
                assert!(sent(interface) && sent(mac) && sent(ip), "{text}");
                assert!(![MacAddr::BROADCAST, MacAddr::ZERO].contains(&event.mac), "{text}");
                assert!(event.mac.octets()[0] & 1 == 0, "{text}");
            }
        }
    }
    assert!((1..=datagram.len() + 1).contains(&number), "{number} lines");
}

fn is_refusal(reason: Counter) -> bool {
    matches!(
        reason,
        Counter::MacupdMalformed
            | Counter::MacupdIncomplete
            | Counter::MacupdProxy
            | Counter::MacupdWireless
            | Counter::MacupdGroup
            | Counter::BroadcastMac
            | Counter::ZeroMac
            | Counter::UnspecifiedAddress
    )
}
