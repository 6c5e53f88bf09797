//! The message about the routers, DHCP servers and DNS servers that an interface has learned: from then on they are normal, so this is
//! the only message about them, also if one of them is a rogue.

use aw_detect::{Known, Part, Rules};
use aw_output::{SinkResult, this_host};
use aw_service::{count_of, plain};
use serde_json::json;
use shm_layout::MacAddr;

use crate::learned::{Learned, MAX_LISTED, named, place, push_further};

const INTRO: &str =
    "While aw-alert learned, these routers, DHCP servers and DNS servers announced themselves
or were named. From now on they are normal, and others are reported. If one does not
belong there, remove it, and let aw-alert forget what it learned.";

/// None if there is nothing. `known`: network, part, key and what is known of it. `maker`: of a MAC.
pub fn learned_infrastructure(
    interface: &str,
    known: &[(String, Part, String, Known)],
    rules: &Rules,
    time: i64,
    mut maker: impl FnMut(MacAddr) -> SinkResult<Option<String>>,
) -> SinkResult<Option<Learned>> {
    if known.is_empty() {
        return Ok(None);
    }
    let mut each = Vec::new();
    for (network, part, key, Known { mac, .. }) in known.iter().take(MAX_LISTED) {
        let (what, _) = words(*part);
        let mut line = format!("{what} {}", plain(key));
        if let Some(mac) = mac {
            line += &named(*mac, &rules.names);
            line += &maker(*mac)?.map(|maker| format!(" ({})", plain(&maker))).unwrap_or_default();
        }
        each.push(format!("{line} on {}", plain(&place(network, rules.show_ring))));
    }
    push_further(&mut each, known.len() as u64);
    let counted = [Part::Router, Part::DhcpServer, Part::Dns].into_iter().filter_map(|part| {
        let number = known.iter().filter(|(_, of, ..)| *of == part).count() as u64;
        let (one, many) = words(part);
        (number > 0).then(|| count_of(number, one, many))
    });
    let counted = counted.collect::<Vec<_>>().join(", ");
    let subject = format!("learned: {counted} on {}", plain(&place(interface, rules.show_ring)));
    let line = format!("{time} {subject}: {}", each.join(", "));
    let (host, keys) = (this_host(), known.iter().map(|(_, _, key, _)| key).collect::<Vec<_>>());
    let fields = json!({
        "kind": "learned", "host": host, "seconds": time, "count": known.len(),
        "addresses": keys, "interfaces": [interface],
    });
    Ok(Some(Learned { line, subject, intro: INTRO, each, fields, host }))
}

fn words(part: Part) -> (&'static str, &'static str) {
    match part {
        Part::DhcpServer => ("DHCP server", "DHCP servers"),
        Part::Dns => ("DNS server", "DNS servers"),
        _ => ("router", "routers"),
    }
}
