//! What the filters of channels and of `[[mute]]` share.

use aw_detect::Alert;
use aw_service::parse_network;
use ipnet::IpNet;
use serde::Deserialize;
use shm_layout::MacAddr;

/// An address block.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct NetworkValue(pub IpNet);

impl TryFrom<String> for NetworkValue {
    type Error = String;
    fn try_from(text: String) -> Result<NetworkValue, String> {
        parse_network(&text).map(NetworkValue)
    }
}

/// Whether an entry of the list matches, or there is no list.
pub fn within<T>(list: &Option<Vec<T>>, matches: impl Fn(&T) -> bool) -> bool {
    list.as_ref().is_none_or(|list| list.iter().any(matches))
}

/// Whether one of the MACs of an alert matches, present or previous.
pub fn any_mac(alert: &Alert, matches: impl Fn(MacAddr) -> bool) -> bool {
    let macs = [Some(&alert.mac), alert.old_mac.as_ref()];
    macs.into_iter().flatten().filter_map(|mac| mac.parse().ok()).any(matches)
}
