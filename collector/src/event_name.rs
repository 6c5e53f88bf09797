//! `--as`: the name that events get in place of the interface's name. Counters and messages keep the real one.

use std::str::FromStr;

use shm_layout::InterfaceName;

use crate::{Error, failed, options::Options};

/// One `--as`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventName {
    /// The interface; none: all interfaces.
    pub interface: Option<String>,
    pub name: InterfaceName,
}

impl FromStr for EventName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (interface, name) = match text.split_once('=') {
            Some(("", _)) => return Err("no interface before the =".into()),
            Some((interface, name)) => (Some(interface.to_owned()), name),
            None => (None, text),
        };
        Ok(EventName { interface, name: name.parse()? })
    }
}

/// The name for events of this interface: the last one given for it, otherwise the last one for all.
pub fn chosen(names: &[EventName], interface: Option<&str>) -> Option<InterfaceName> {
    own(names, interface).or_else(|| {
        let for_all = names.iter().rfind(|one| one.interface.is_none());
        for_all.map(|one| one.name)
    })
}

/// The name given for this interface alone.
pub fn own(names: &[EventName], interface: Option<&str>) -> Option<InterfaceName> {
    let own = |one: &&EventName| one.interface.is_some() && one.interface.as_deref() == interface;
    names.iter().rfind(own).map(|one| one.name)
}

/// The interfaces that `--as` names and that are neither among these nor names of mirrored frames.
pub fn unknown_names(
    names: &[EventName],
    captured: impl Iterator<Item = InterfaceName>,
) -> Vec<(&str, InterfaceName)> {
    let captured: Vec<InterfaceName> = captured.collect();
    let named = names.iter().filter_map(|one| Some((one.interface.as_deref()?, one.name)));
    let is_unknown = |(interface, _): &(&str, InterfaceName)| {
        !["vxlan", "tzsp"].contains(interface)
            && captured.iter().all(|one| one.as_str() != *interface)
    };
    named.filter(is_unknown).collect()
}

/// `--as` names interfaces that are captured, or sockets that receive frames.
pub fn check_event_names(options: &Options, interfaces: &[InterfaceName]) -> Result<(), Error> {
    let names = &options.names;
    let mut captured: Vec<&str> = options.mirror_names().collect();
    captured.extend(interfaces.iter().map(InterfaceName::as_str));
    if captured.is_empty() && !names.is_empty() {
        return Err(failed(
            "--as: no interface is captured (name one; events of --macupd keep the names that the routers report)",
        ));
    }
    let named = names.iter().filter_map(|one| Some((one.interface.as_deref()?, one.name)));
    for (interface, name) in named {
        if captured.iter().all(|one| *one != interface) {
            return Err(failed(format_args!(
                "--as {interface}={name}: {interface} is not captured (add it to the interfaces, or correct the name)"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_interface_comes_before_that_of_all() {
        let names = ["lan", "eth0=core", "eth1=dmz", "eth0=office"];
        let names = names.map(|text| text.parse().unwrap());
        let chosen = |interface| chosen(&names, interface).map(|name| name.to_string());
        assert_eq!(chosen(Some("eth0")).as_deref(), Some("office"));
        assert_eq!(chosen(Some("eth1")).as_deref(), Some("dmz"));
        assert_eq!(chosen(Some("eth2")).as_deref(), Some("lan"));
        assert_eq!(chosen(None).as_deref(), Some("lan"));
        for wrong in ["", "=lan", "eth0=", "two words", "eth0=sixteen-letters-"] {
            assert!(wrong.parse::<EventName>().is_err(), "{wrong:?}");
        }
    }
}
