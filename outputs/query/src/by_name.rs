//! The devices with a name: those that the file of names calls so, or else those that call themselves so.

use std::net::IpAddr;

use aw_output::names::{LiveNames, Names, is_name, named, without_local};
use aw_service::{Error, count_of, failed, warn};
use shm_layout::MacAddr;

use crate::{
    FAILURE, History, NO_MATCH, Refusal,
    omitted::listed,
    options::{Options, parse_address, parse_mac},
};

/// Devices that an answer about a name has: any host can send any name, with any MAC.
const MOST: usize = 8;
/// Names that are proposed in the place of one that no device has.
const SIMILAR: usize = 3;

/// A device as it is asked for.
#[derive(Clone)]
pub enum Device {
    Mac(MacAddr),
    Name(String),
}

pub fn parse_device(text: &str) -> Result<Device, &'static str> {
    match parse_mac(text) {
        Ok(mac) => Ok(Device::Mac(mac)),
        // A MAC with a mistake is none.
        Err(_) if parse_address(text).is_err() && !text.contains(':') && is_name(text).is_ok() => {
            Ok(Device::Name(text.into()))
        }
        Err(why) => Err(why),
    }
}

/// What has an address, as it is asked for: the address, or a device by its name.
#[derive(Clone)]
pub enum Host {
    Address(IpAddr),
    Name(String),
}

pub fn parse_host(text: &str) -> Result<Host, &'static str> {
    match parse_address(text) {
        Ok(ip) => Ok(Host::Address(ip)),
        Err(_) if is_host_name(text) => Ok(Host::Name(text.into())),
        Err(why) => Err(why),
    }
}

/// Whether a text in the place of an address can be a name. An address with a mistake is none, and neither is a MAC.
pub fn is_host_name(text: &str) -> bool {
    let begin = text.split(['/', '%']).next().unwrap_or_default();
    let is_address = begin.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    !is_address && matches!(parse_device(text), Ok(Device::Name(_)))
}

/// The devices with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Of a claimed name the first ones that used it.
    pub macs: Vec<MacAddr>,
    /// That they call themselves so, if the file of names does not.
    pub claim: Option<String>,
}

/// Those in the file of names, or else those that `claiming` finds, of which the first one used the name first; none if there is no such device.
pub fn find<E>(
    names: &Names,
    name: &str,
    claiming: impl FnOnce() -> Result<Vec<MacAddr>, E>,
) -> Result<Option<Found>, E> {
    let macs = named(names, name);
    if !macs.is_empty() {
        return Ok(Some(Found { macs, claim: None }));
    }
    let mut macs = claiming()?;
    let claim = match &*macs {
        [] => return Ok(None),
        [mac] => format!("{mac} calls itself {name:?}"),
        [first, others @ ..] => format!(
            "{} call themselves {name:?}, first {first}, then {}",
            count_of(macs.len() as u64, "device", "devices"),
            listed(others)
        ),
    };
    let more = macs.len().saturating_sub(MOST);
    macs.truncate(MOST);
    let more =
        if more > 0 { format!("; the first {MOST} are in the answer") } else { String::new() };
    let claim = Some(format!("{claim} (a claim: any host can send any name{more})"));
    Ok(Some(Found { macs, claim }))
}

impl Options {
    /// The devices that a question is about, with a remark if they are known by a claim.
    pub fn devices(&self, device: &Device) -> Result<Vec<MacAddr>, Refusal> {
        let name = match device {
            Device::Mac(mac) => return Ok(vec![*mac]),
            Device::Name(name) => name,
        };
        let names = LiveNames::read(self.names.as_deref())?;
        let found = find(&names.names(), name, || self.claiming(name));
        match found.map_err(|error| Refusal { status: FAILURE, error })? {
            Some(Found { macs, claim }) => {
                claim.into_iter().for_each(warn);
                Ok(macs)
            }
            None => {
                let without = format!("{}, and none calls itself so", without(&names, name));
                Err(Refusal { status: NO_MATCH, error: unknown(&without, &names, name) })
            }
        }
    }

    /// The device that gets a name, or loses it: what it calls itself does not name it.
    pub fn device_to_name(&self, device: &Device) -> Result<MacAddr, Error> {
        let name = match device {
            Device::Mac(mac) => return Ok(*mac),
            Device::Name(name) => name,
        };
        let names = LiveNames::read(self.names.as_deref())?;
        match named(&names.names(), name).as_slice() {
            [mac] => return Ok(*mac),
            [] => {}
            several => {
                let several: Vec<_> = several.iter().map(MacAddr::to_string).collect();
                return Err(failed(format_args!(
                    "several devices have the name {name:?}: {} (write one of these MACs)",
                    several.join(", ")
                )));
            }
        }
        let without = without(&names, name);
        // It need not be in a history.
        Err(match self.claiming(name).unwrap_or_default().as_slice() {
            [] => unknown(&without, &names, name),
            [mac] => failed(format_args!(
                "{without}; {mac} calls itself so, which proves nothing (write the MAC)"
            )),
            several => failed(format_args!(
                "{without}; these call themselves so: {} (write one of these MACs)",
                listed(several)
            )),
        })
    }

    /// The MACs that call themselves so.
    fn claiming(&self, name: &str) -> Result<Vec<MacAddr>, Error> {
        let Options { database, config, prefix, clickhouse, .. } = self;
        let history = History::named(database.as_deref(), config.as_deref(), prefix, clickhouse)?;
        loop {
            let mut history = history.open(self.question_limit())?;
            let found = history.macs_claiming(name);
            if history.is_intact()? {
                return found;
            }
        }
    }
}

fn without(names: &LiveNames, name: &str) -> String {
    format!("no device has the name {name:?} in {}", names.path().display())
}

fn unknown(without: &str, names: &LiveNames, name: &str) -> Error {
    let names = names.names();
    let part = without_local(name).unwrap_or(name).to_lowercase();
    let similar = names.values().filter(|one| one.to_lowercase().contains(&part));
    let similar: Vec<_> = similar.take(SIMILAR).map(|name| format!("'{name}'")).collect();
    let remedy = match similar.as_slice() {
        [] => "aw-query name lists all names; a MAC such as 02:00:00:00:00:01 is right, too".into(),
        similar => format!("did you mean {}?", similar.join(" or ")),
    };
    failed(format_args!("{without} ({remedy})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address or a MAC with a mistake is no name.
    #[test]
    fn what_can_be_a_name() {
        for name in ["pc2", "pc2.local", "Kitchen radio", "3d-printer", "Room 3/4", "é"] {
            assert!(matches!(parse_host(name), Ok(Host::Name(_))), "{name}");
        }
        for bad in ["", "10.1.2", "10.1.2.300", "10.1.2.0/24", "10.1.2.3%eth0", "%eth0", "42"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
        for mac in ["02:00:00:00:00:01", "0200.0000.0001", "020000000001", "02:00:00:00:00"] {
            assert!(parse_host(mac).is_err(), "{mac}");
        }
        assert!(matches!(parse_host("fe80::1%eth0"), Ok(Host::Address(_))));
    }

    /// A flood of MACs with one name hides neither the first one that used it, nor the file of names.
    #[test]
    fn of_many_with_one_name() {
        let mac = |last| MacAddr::new([2, 0, 0, 0, 0, last]);
        let macs: Vec<_> = [7].into_iter().chain(10..30).map(mac).collect();
        let names = Names::from([(mac(1), "tv".into()), (mac(2), "tv".into())]);
        let find = |name| find::<()>(&names, name, || Ok(macs.clone())).unwrap().unwrap();
        let of_file = find("TV.local");
        assert_eq!((of_file.macs, of_file.claim), (vec![mac(1), mac(2)], None));
        let Found { macs: found, claim } = find("pc2");
        assert_eq!((found.len(), found[0]), (MOST, mac(7)));
        assert_eq!(
            claim.unwrap(),
            "21 devices call themselves \"pc2\", first 02:00:00:00:00:07, then 02:00:00:00:00:0a, 02:00:00:00:00:0b, 02:00:00:00:00:0c and 17 more (a claim: any host can send any name; the first 8 are in the answer)"
        );
    }
}
