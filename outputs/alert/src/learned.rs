//! The message at the end of the learning period: addresses that several MACs shared in it. From then on that is normal, so
//! this is the only message about it, also if it was a conflict or an attack.

use std::net::IpAddr;

use aw_detect::{Names, SharedAddress, split_network};
use aw_output::{SinkResult, this_host};
use aw_service::plain;
use serde_json::json;

use crate::{notification::Notification, store::AlertStore};

/// Addresses in a message, and MACs of each; of further ones it has the number.
const MAX_ADDRESSES: usize = 20;
const MAX_MACS: usize = 8;

pub struct Learned {
    /// The line that is printed.
    pub line: String,
    pub notification: Notification,
}

impl Learned {
    /// None if no address was shared.
    pub fn load(store: &mut AlertStore, names: &Names, time: i64) -> SinkResult<Option<Learned>> {
        let (shared, count) = store.memory.shared_addresses(MAX_ADDRESSES)?;
        Ok((count > 0).then(|| Learned::of(&shared, count, names, time, &this_host())))
    }

    fn of(shared: &[SharedAddress], count: u64, names: &Names, time: i64, host: &str) -> Learned {
        let number = if count == 1 { "1 address".into() } else { format!("{count} addresses") };
        let subject = format!("learned: several MACs share {number}");
        let mut each: Vec<_> = shared.iter().map(|one| described(one, names)).collect();
        let further = count - each.len() as u64;
        if further > 0 {
            each.push(format!("and {further} more"));
        }
        let text = format!(
            "Several MACs used each of these addresses while aw-alert learned. From now on\n\
             that is normal, and no alert reports it. If a MAC does not belong there, remove\n\
             its device, and let aw-alert forget what it learned.\n\n{}\n\nreported by {host}\n",
            each.join("\n")
        );
        let line = format!("{subject}: {}", each.join(", "));
        let addresses: Vec<IpAddr> = shared.iter().map(|one| one.ip).collect();
        let fields = json!({
            "kind": "learned", "message": line, "host": host, "seconds": time, "count": count,
            "addresses": addresses,
        });
        let line = format!("{time} {line}");
        Learned { line, notification: Notification { subject, text, fields } }
    }
}

/// `192.0.2.1 site-a/eth0 MAC [name] MAC`
fn described(shared: &SharedAddress, names: &Names) -> String {
    let SharedAddress { network, ip, macs } = shared;
    let (_, ring, interface) = split_network(network);
    let mut text = match ring.trim_start_matches('/') {
        "" => format!("{ip} {interface}"),
        ring => format!("{ip} {ring}/{interface}"),
    };
    for mac in macs.iter().take(MAX_MACS) {
        text += &format!(" {mac}");
        if let Some(name) = names.get(mac) {
            text += &format!(" [{}]", plain(name));
        }
    }
    if macs.len() > MAX_MACS {
        text += &format!(" and {} more", macs.len() - MAX_MACS);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_layout::MacAddr;

    #[test]
    fn a_message_is_bounded() {
        let mac = |number: u8| MacAddr::new([0, 8, 0xe1, 0, 0, number]);
        let shared = |ip: &str, macs| SharedAddress {
            network: "sensor/site-a/eth0".into(),
            ip: ip.parse().unwrap(),
            macs: (1..=macs).map(mac).collect(),
        };
        let names = Names::from([(mac(2), "router".to_owned())]);
        let two = [shared("192.0.2.1", 2), shared("2001:db8::1", 10)];
        let Learned { line, notification } = Learned::of(&two, 7, &names, 5, "sensor");
        let first = "192.0.2.1 site-a/eth0 00:08:e1:00:00:01 00:08:e1:00:00:02 [router]";
        assert!(line.starts_with("5 learned: several MACs share 7 addresses: "), "{line}");
        assert!(line.contains(&format!(": {first}, 2001:db8::1 site-a/eth0 ")), "{line}");
        assert!(line.ends_with("00:08:e1:00:00:08 and 2 more, and 5 more"), "{line}");
        let Notification { text, fields, .. } = notification;
        assert!(text.contains(&format!("\n{first}\n")), "{text}");
        assert!(text.ends_with(" and 2 more\nand 5 more\n\nreported by sensor\n"), "{text}");
        assert_eq!(fields["addresses"], json!(["192.0.2.1", "2001:db8::1"]));
    }
}
