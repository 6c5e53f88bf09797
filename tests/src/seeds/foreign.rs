//! Seeds of the targets that read files, answers and logs of others: of each format one, with all that it can have.

use super::Seed;
use crate::capture_file::{ETHERNET, Pcapng, Unit, at};
use crate::{capture_file, sample};

/// Text and bytes for each target.
pub fn all() -> Vec<Seed> {
    let mut all = Vec::new();
    let mut add = |target, name: &str, bytes: &[u8]| {
        all.push(Seed { target, name: name.into(), bytes: bytes.into() });
    };
    captures(&mut add);
    configurations(&mut add);
    imports(&mut add);
    answers(&mut add);
    states(&mut add);
    routers(&mut add);
    add("time", "forms", b"last tue 14:05");
    add("time", "offset", b"2026-11-20T14:05:06.5+01:00");
    add("time", "span", b"1w2d3h4min5s");
    add("time", "seconds", b"@1700000000");
    add(
        "text",
        "latin",
        b"M\xfcller, \"a, \"\"b\"\"\"\r\n[2001:db8::1]:22\n192.0.2.0/24\n1h30m\n20MiB\n",
    );
    add(
        "text",
        "utf-8",
        "\u{feff}02:00:00:00:00:01|Küche # 台所\nmail.example.org:587\n".as_bytes(),
    );
    add("text", "utf-16", &utf16("02:00:00:00:00:01 Küche\r\nfe80::1%eth0\n", u16::to_le_bytes));
    add("text", "utf-16be", &utf16("a = b\n\n1048576", u16::to_be_bytes));
    all
}

type Add<'a> = &'a mut dyn FnMut(&'static str, &str, &[u8]);

fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
    "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(order).collect()
}

fn captures(add: Add) {
    let frame = &sample::accepted()[0].bytes;
    let frames = [frame, &frame[..]];
    let pcap = capture_file::ethernet_pcap(&frames);
    let mut swapped =
        capture_file::Pcap::swapped(Vec::new(), ETHERNET, Unit::Nanosecond).expect("a header");
    swapped.packet(at(1_700_000_000), frame).expect("a frame");
    let mut pcapng = Pcapng::new(Vec::new()).expect("a section");
    pcapng.interface(ETHERNET as u16).expect("an interface");
    pcapng.named_interface(ETHERNET, 96, "eth0").expect("an interface");
    pcapng.packet(1, at(1_700_000_000), frame).expect("a frame");
    let pcapng = pcapng.finish().expect("bytes");
    add("capture", "pcap", &pcap);
    add("capture", "pcap-swapped", &swapped.finish().expect("bytes"));
    add("capture", "pcapng", &pcapng);
    add("capture", "gzip", &gzip(&pcap));
    add("capture", "zstd", &zstd(&pcapng));
}

/// One stored block (RFC 1951, 3.2.4; RFC 1952).
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let bit = |crc: u32| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    let crc =
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)));
    let length = bytes.len() as u16;
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1];
    let lengths = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
    let tail = [crc.to_le_bytes(), u32::from(length).to_le_bytes()].concat();
    [&head[..], &lengths, bytes, &tail].concat()
}

/// One raw block (RFC 8878, 3.1.1).
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let head = [0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    let length = (bytes.len() as u32).to_le_bytes();
    let block = (1 | (bytes.len() as u32) << 3).to_le_bytes();
    [&head[..], &length, &block[..3], bytes].concat()
}

fn configurations(add: Add) {
    add("alert_toml", "example", include_bytes!("../../../contrib/alert/alert.toml"));
    add(
        "alert_toml",
        "channels",
        br#"random_macs = "ignore"
proxies = ["02:00:00:00:00:09"]
[[channel]]
name = "mail"
macs = ["02:42:*", "00:00:5e:00:53:00/40"]
days = ["mon", "sun"]
hours = "22:00-06:00"
outside = "drop"
layout = "arpwatch"
[channel.sendmail]
from = "a@example.org"
to = ["b@example.org"]
[[channel]]
name = "web"
[channel.webhook]
url = "https://example.org/x"
body = '{"text": "{subject}"}'
headers = { "X-A" = "b" }
[[channel]]
name = "log"
syslog = true
"#,
    );
    add("my_cnf", "example", include_bytes!("../../../contrib/mysql.cnf"));
    add(
        "my_cnf",
        "all",
        b"!include x\n[client]\nloose-x\n[addrwatch]\nhost = \"db:3306\" # c\nprotocol=TCP\nuser='a\\tb'\n\
          password=\"\\\"#\"\nssl-ca=/a\nssl-cert=/b\nssl-key=/c\nssl_mode=VERIFY_CA\nssl\n",
    );
    add("my_cnf", "url", b"[addrwatch]\nme@[2001:db8::1]:3306/lan\nhost/db\n");
    add("routeros_toml", "example", include_bytes!("../../../contrib/routeros/routeros.toml"));
    add(
        "routeros_toml",
        "config-txt",
        b"[DEFAULT]\nmail_server = mail.example.org:25\nmail_from: a@example.org\nmail_to = b@example.org;\n c@example.org\n\
          log_file_name = \"log\"\nx_interval = 1\n",
    );
    add("tracker_conf", "example", include_bytes!("../../../contrib/macupd_tracker.conf"));
    add(
        "names",
        "names",
        "02:00:00:00:00:01 Küche # c\n0200.0000.0002,phone\n2:0:0:0:0:3|a #2\n".as_bytes(),
    );
    add(
        "names",
        "patterns",
        b"02:42:*\n02:42:00:00:00:00/16\n00:00:00:58:ee:b1/00:00:00:ff:ff:ff\n",
    );
    add("names", "places", b"/addrwatch\neth0\nsensor/site-a/eth0.7\n");
}

fn imports(add: Add) {
    for (name, text) in [
        (
            "arp.dat",
            "0:8:e1:1:2:d6\t10.0.0.1\t1700000000\thost\teth0\n0:8:e1:1:2:d6\t20\t10.0.0.6\t8\tnas\n",
        ),
        (
            "lines",
            "1700000000 eth0 7 00:1b:21:00:00:01 2001:db8::1 ND_NA\n-1 eth0 0 00:1b:21:00:00:01 192.0.2.1 ARP_ACD\n",
        ),
        (
            "proc-net-arp",
            "IP address HW type Flags HW address Mask Device\n192.0.2.1 0x1 0x2 00:1b:21:00:00:01 * eth0\n",
        ),
        ("macupd-tracker", "[MAIN]\nPORT=2056\n[MACLIST]\n11:11:11:11:11:11|my router\n"),
        ("ethers", "# c\n00:1B:21:00:00:01 router\n0:0:10:1:2:3 192.0.2.1\n"),
        (
            "manuf",
            "00:00:0C\tCisco\tCisco Systems, Inc\n00:55:DA:10:00:00/28\tKoolPOS\tKoolPOS Inc.\n001B21 Intel\n",
        ),
        (
            "oui.csv",
            "Registry,Assignment,Organization Name,Organization Address\nMA-L,001B21,\"A \"\"B\"\", Inc\",x\n",
        ),
    ] {
        add("alert_import", name, text.as_bytes());
    }
}

fn answers(add: Add) {
    // The number of the status less 100, then the body.
    let answer =
        |status: u16, body: &str| [&(status - 100).to_be_bytes(), body.as_bytes()].concat();
    let good =
        r#"{"access_token":"a.b","expires_in":"3600","refresh_token":"r","token_type":"Bearer"}"#;
    add("token", "good", &answer(200, good));
    add(
        "token",
        "bad",
        &answer(400, r#"{"error":"invalid_grant","error_description":"AADSTS70000:\r\nx"}"#),
    );
    add(
        "smtp",
        "accepted",
        b"220 a ESMTP\r\n250-a\r\n250-8BITMIME\r\n250 SIZE 9\r\n250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 ok\r\n221 bye\r\n",
    );
    add("smtp", "refused", b"220 a\r\n504 5.5.2 <a>: Helo command rejected\r\n221 bye\r\n");
    add("mysql_answer", "rows", &mysql_answer(b"mysql_native_password", &[]));
    let key = b"\x01-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK\n-----END PUBLIC KEY-----\n";
    add("mysql_answer", "key", &mysql_answer(b"caching_sha2_password", &[&[1, 4], key]));
    add("mysql_answer", "refused", &packets(0, &[b"\xff\x10\x04Too many connections"]));
    add(
        "http_head",
        "get",
        b"GET /page.html?x HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n",
    );
    add("http_head", "host", b"HEAD / HTTP/1.0\r\nhost: [::1]:80\r\n\r\n");
}

/// What a MySQL server says to a login and to two statements.
fn mysql_answer(plugin: &[u8], login: &[&[u8]]) -> Vec<u8> {
    let capabilities = 0x000a_a201_u32.to_le_bytes();
    let greeting = [
        &b"\x0a8.0.36\0\x07\0\0\0challeng\0"[..],
        &capabilities[..2],
        &[45, 2, 0],
        &capabilities[2..],
        &[21; 1],
        &[0; 10],
        b"e of 20 byte\0",
        plugin,
        &[0],
    ];
    let (ok, end) = (&b"\0\0\0\x02\0\0\0"[..], &b"\xfe\0\0\x02\0"[..]);
    let rows = [&b"\x02"[..], b"\x03def\0\0\0\x01a", b"\x03def\0\0\0\x01b", end, b"\x011\xfb", end];
    let mut answer = packets(0, &[&greeting.concat()]);
    answer.extend(packets(2, &[login, &[ok]].concat()));
    answer.extend([packets(1, &rows), packets(1, &rows)].concat());
    answer
}

/// Packets of MySQL's protocol, numbered from `first` on.
fn packets(first: u8, payloads: &[&[u8]]) -> Vec<u8> {
    let packet = |(number, payload): (u8, &&[u8])| {
        let length = (payload.len() as u32).to_le_bytes();
        [&length[..3], &[number], payload].concat()
    };
    (first..).zip(payloads).flat_map(packet).collect()
}

fn states(add: Add) {
    let numbers =
        r#""generation":"00000000000000a1","next":10,"began":1,"delivered":6,"lost":2,"skipped":1"#;
    add("saved_state", "positions", format!("{{\"/lan\":{{{numbers}}}}}").as_bytes());
    let now = format!("{{\"ring\":\"/lan\",\"boot\":\"b\",{numbers}}}");
    add("saved_state", "now", format!("{now:1023}\n{now:1023}\n").as_bytes());
    // fuzz/bodies/output.rs has the layout of a row.
    let row = |kind: u8, number: u8, event: &[u8]| {
        [&[0, kind][..], &[1; 8], &[5, 0, 0, 0, 0, 0, 0, 0], &[number], &[0; 7], event].concat()
    };
    let event = [0; 64];
    let rows = [
        row(8 | 128, 1, &[&event[..], &[0]].concat()),
        row(8, 0, &[0; 65]),
        row(8, 0xfd, &[0; 65]),
    ];
    add("spool_row", "rows", &rows.concat());
    add("spool_row", "event", &row(8 | 128, 1, &event));
}

fn routers(add: Add) {
    add(
        "routeros_log",
        "cut",
        b"\x50 = = =\r\n12:00:00 system,info script changed by ssh:a@1.1.1.1 (/system script set source=\"ab\r\n\
          12:00:00 system,info cd\")\r\n\x1b[K\x1b[1;32m12:00:01\x1b[m system,info b changed by admin\r\n\
          2025-08-15 00:47:51 system,info item added by scheduler:x/script:y (*1 = /user add password=z)\r\n",
    );
    let latin =
        [b"\x50 P t s=\r\n12:00:00 system,info script d=z] ", &[0xdf; 90][..], b"\r\n"].concat();
    add("routeros_log", "latin", &latin);
    let header = "# 2024-06-06 15:22:31 by RouterOS 7.14.2\r\n# software id = SSXB-J5Q7\r\n#\r\n";
    let menus = "/ip firewall filter\r\nadd action=accept comment=\"a \\\r\n    b\" \\\r\n    protocol=tcp\r\n\
        #error exporting /ip socks\r\n/snmp community\r\nset [ find default=yes ] name=\"x\\\\\"\r\n";
    add("routeros_export", "menus", format!("{header}{menus}").as_bytes());
    add(
        "routeros_export",
        "terse",
        format!("{header}/interface bridge add name=lo\r\n").as_bytes(),
    );
    // A long menu before many short lines.
    let long = format!("{header}/{}\r\n{}", "x".repeat(300), "a\r\n".repeat(100));
    add("routeros_export", "expands", long.as_bytes());
    add(
        "tracker_log",
        "both",
        b"mac               name      ip              iface date     time last   active-hours\n\
          22:22:22:22:22:22 my windows 192.168.1.124 br0 20180320 1031 2231 ......12..............*.\n\
          mac               name     date     time last ip              iface active-hours            \n\
          22:22:22:22:22:22 windows  20180320 1031 2231 192.168.1.124   vlan100......12..............*.\n",
    );
}
