//! MACupd: DD-WRT routers send their ARP table by UDP every few seconds, one line in each datagram.
//!
//! A datagram is `%4d    ` and a line of the router's `/proc/net/arp`, without a line end; a wireless
//! client has another line of seven fields, whose second field is `rssi`. Datagrams are not authenticated,
//! so only allowed senders are accepted, and every line may be hostile.

use std::net::Ipv4Addr;

use shm_layout::{Counter, Event, InterfaceName, Kind, MacAddr, UnixTime, VlanId};

/// Longest datagram that is accepted: real ones have 40 to 90 bytes.
pub const MAX_LENGTH: usize = 512;

/// Bits of the third field (`net/if_arp.h` of Linux).
const COMPLETE: u32 = 0x2;
const PUBLISHED: u32 = 0x8;

/// The lines of a datagram: one, but several are accepted. An empty datagram is one empty line, so that
/// each datagram is counted.
pub fn lines(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = |byte: &u8| matches!(byte, 0 | b'\r' | b'\n' | b' ');
    let length = datagram.iter().rposition(|byte| !end(byte)).map_or(0, |last| last + 1);
    datagram[..length].split(|byte| *byte == b'\n')
}

/// The event of a line that this router sent at this time.
pub fn event(line: &[u8], router: Ipv4Addr, time: UnixTime) -> Result<Event, Counter> {
    let malformed = Counter::MacupdMalformed;
    let text = str::from_utf8(line).ok().filter(|text| text.is_ascii()).ok_or(malformed)?;
    let mut fields = text.split_ascii_whitespace();
    let mut next = || fields.next().ok_or(malformed);
    let [number, ip, hardware, flags, mac, mask, interface] =
        [next()?, next()?, next()?, next()?, next()?, next()?, next()?];
    let numbered = number.len() <= 6 && number.parse::<u32>().is_ok_and(|number| number > 0);
    if fields.next().is_some() || !numbered {
        return Err(malformed);
    }
    let mac = colon_form(mac).ok_or(malformed)?;
    if ip == "rssi" {
        return Err(wireless([hardware, flags], mask, interface).unwrap_or(malformed));
    }
    let ip: Ipv4Addr = ip.parse().map_err(|_| malformed)?;
    let interface: InterfaceName = interface.parse().map_err(|_| malformed)?;
    if hexadecimal(hardware) != Some(1) {
        return Err(malformed);
    }
    let flags = hexadecimal(flags).ok_or(malformed)?;
    // The flag decides, not the MAC: for a neighbour that has stopped answering, the kernel still prints
    // the last MAC.
    if flags & PUBLISHED != 0 {
        return Err(Counter::MacupdProxy);
    }
    if flags & COMPLETE == 0 {
        return Err(Counter::MacupdIncomplete);
    }
    match mac {
        MacAddr::ZERO => return Err(Counter::ZeroMac),
        MacAddr::BROADCAST => return Err(Counter::BroadcastMac),
        mac if mac.octets()[0] & 1 != 0 => return Err(Counter::MacupdGroup),
        _ => {}
    }
    if ip.is_unspecified() {
        return Err(Counter::UnspecifiedAddress);
    }
    let (address, source, kind) = (ip.to_ipv6_mapped(), mac, Kind::MacUpd);
    let (vlan, outer_vlan) = (VlanId::NONE, VlanId::NONE);
    Ok(Event { time, address, interface, mac, source, vlan, outer_vlan, kind, router })
}

/// `rssi 0 0 MAC +SIGNAL+ wlan` or `wds`, the signal an integer or empty.
fn wireless(zeros: [&str; 2], signal: &str, kind: &str) -> Option<Counter> {
    let signal = signal.strip_prefix('+')?.strip_suffix('+')?;
    let valid = zeros == ["0", "0"]
        && (signal.is_empty() || signal.parse::<i32>().is_ok())
        && matches!(kind, "wlan" | "wds");
    valid.then_some(Counter::MacupdWireless)
}

/// A MAC in the form that routers print: six groups of two digits with colons, in upper case from kernels 2.4.
fn colon_form(text: &str) -> Option<MacAddr> {
    text.parse().ok().filter(|mac: &MacAddr| mac.to_string().eq_ignore_ascii_case(text))
}

fn hexadecimal(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("0x")?;
    let valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit()); // no sign
    u32::from_str_radix(digits, 16).ok().filter(|_| valid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn parsed(line: &str) -> Result<String, Counter> {
        let time = UnixTime::new(7, 0);
        event(line.as_bytes(), ROUTER, time).map(|event| event.to_string())
    }

    #[test]
    fn lines_of_an_arp_table() {
        let line = |text: &str| Ok(text.to_owned());
        for (text, expected) in [
            (
                "   1    192.168.1.124    0x1         0x2         22:22:22:22:22:22     *        br0",
                line("7 br0 0 22:22:22:22:22:22 192.168.1.124 MACUPD"),
            ),
            (
                "  12    10.9.0.6         0x1         0x6         AA:BB:CC:DD:EE:02     *        vlan2",
                line("7 vlan2 0 aa:bb:cc:dd:ee:02 10.9.0.6 MACUPD"),
            ),
            // No answer yet; no answer, with the last MAC; published (proxy ARP).
            (
                "   1    10.9.0.77        0x1         0x0         00:00:00:00:00:00     *        v0",
                Err(Counter::MacupdIncomplete),
            ),
            (
                "   1    10.9.0.5         0x1         0x0         aa:bb:cc:dd:ee:01     *        v0",
                Err(Counter::MacupdIncomplete),
            ),
            (
                "   1    10.9.0.9         0x1         0xc         00:00:00:00:00:00     *        *",
                Err(Counter::MacupdProxy),
            ),
            ("1 10.9.0.5 0x1 0x2 00:00:00:00:00:00 * v0", Err(Counter::ZeroMac)),
            ("1 10.9.0.5 0x1 0x2 ff:ff:ff:ff:ff:ff * v0", Err(Counter::BroadcastMac)),
            ("1 10.9.0.5 0x1 0x2 01:00:5e:00:00:01 * v0", Err(Counter::MacupdGroup)),
            ("1 0.0.0.0 0x1 0x2 02:00:5e:00:00:01 * v0", Err(Counter::UnspecifiedAddress)),
            ("   1    rssi 0 0 22:22:22:22:22:22 +-55+ wlan", Err(Counter::MacupdWireless)),
            ("   2    rssi 0 0 33:33:33:33:33:33 ++ wds", Err(Counter::MacupdWireless)),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn other_lines_are_malformed() {
        for text in [
            "",
            "1",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:01 *",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * v0 more",
            "0 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * v0",
            "1000000 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * v0",
            "x 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * v0",
            "1 10.9.0 0x1 0x2 02:00:00:00:00:01 * v0",
            "1 2001:db8::1 0x1 0x2 02:00:00:00:00:01 * v0",
            "1 10.9.0.5 0x6 0x2 02:00:00:00:00:01 * v0",
            "1 10.9.0.5 1 0x2 02:00:00:00:00:01 * v0",
            "1 10.9.0.5 0x1 0x+2 02:00:00:00:00:01 * v0",
            "1 10.9.0.5 0x1 0x111111111 02:00:00:00:00:01 * v0",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00 * v0",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:01:02 * v0",
            "1 10.9.0.5 0x1 0x2 2:0:0:0:0:1 * v0",
            "1 10.9.0.5 0x1 0x2 02-00-00-00-00-01 * v0",
            "1 10.9.0.5 0x1 0x2 0200.0000.0001 * v0",
            "1 10.9.0.5 0x1 0x2 020000000001 * v0",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:+1 * v0",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * sixteen-letters-",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * \u{1b}[0m",
            "1 10.9.0.5 0x1 0x2 02:00:00:00:00:01 * ä",
            "1 rssi 0 1 02:00:00:00:00:01 +-55+ wlan",
            "1 rssi 0 0 02:00:00:00:00:01 -55 wlan",
            "1 rssi 0 0 02:00:00:00:00:01 +x+ wlan",
            "1 rssi 0 0 02:00:00:00:00:01 + wlan",
            "1 rssi 0 0 02:00:00:00:00:01 +-55+ eth0",
        ] {
            assert_eq!(parsed(text), Err(Counter::MacupdMalformed), "{text}");
        }
    }

    #[test]
    fn datagrams() {
        for (datagram, expected) in [
            (&b"one"[..], vec![&b"one"[..]]),
            (b"one\n", vec![b"one"]),
            (b"one\r\n\0", vec![b"one"]),
            (b"one\ntwo", vec![b"one", b"two"]),
            (b"", vec![b""]),
            (b"\n\n", vec![b""]),
        ] {
            assert_eq!(lines(datagram).collect::<Vec<_>>(), expected);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

        #[test]
        fn any_bytes_cause_no_panic(datagram in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert!(lines(&datagram).count() >= 1);
            for line in lines(&datagram) {
                let _ = event(line, ROUTER, UnixTime::new(0, 0));
            }
        }

        /// Words of the right kind in any number and order.
        #[test]
        fn words_in_any_order_cause_no_panic(words in proptest::collection::vec(prop_oneof![
            Just("1"), Just("10.9.0.5"), Just("0x1"), Just("0x2"), Just("rssi"), Just("0"), Just("*"),
            Just("02:00:00:00:00:01"), Just("+-55+"), Just("wlan"), Just("br0"),
        ], 0..9)) {
            let _ = event(words.join(" ").as_bytes(), ROUTER, UnixTime::new(0, 0));
        }
    }
}
