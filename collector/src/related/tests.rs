use std::{fs::create_dir_all, os::unix::fs::symlink};

use super::*;

/// eth0 and eth1 in bond0, bond0 and tap0 in br0; bond0.5 and br0.7 are VLAN devices; vrf0 has eth2.
fn devices() -> (tempfile::TempDir, Devices) {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let path = |name: &str| root.join(name);
    for name in ["eth0", "eth1", "eth2", "tap0", "bond0", "br0", "bond0.5", "br0.7", "vrf0"] {
        create_dir_all(path(name)).unwrap();
    }
    for (interface, master) in
        [("eth0", "bond0"), ("eth1", "bond0"), ("bond0", "br0"), ("tap0", "br0"), ("eth2", "vrf0")]
    {
        symlink(format!("../{master}"), path(interface).join("master")).unwrap();
        symlink(format!("../{interface}"), path(master).join(format!("lower_{interface}")))
            .unwrap();
    }
    create_dir_all(path("bond0/bonding")).unwrap();
    create_dir_all(path("br0/bridge")).unwrap();
    for (vlan, below) in [("bond0.5", "bond0"), ("br0.7", "br0")] {
        fs::write(path(vlan).join("uevent"), format!("DEVTYPE=vlan\nINTERFACE={vlan}\n")).unwrap();
        symlink(format!("../{below}"), path(vlan).join(format!("lower_{below}"))).unwrap();
    }
    let devices = Devices { path: root.into(), filtered: false };
    (directory, devices)
}

/// `interface=name`, with `+` where copies are looked for and `-` where all frames are copies.
fn places(captured: &str, names: &[&str]) -> String {
    places_without(captured, &[], names)
}

/// The same, where these are not open.
fn places_without(captured: &str, missing: &[&str], names: &[&str]) -> String {
    let (_directory, devices) = devices();
    let captured: Vec<InterfaceName> =
        captured.split(' ').map(|name| name.parse().unwrap()).collect();
    let names: Vec<EventName> = names.iter().map(|text| text.parse().unwrap()).collect();
    let open: Vec<_> = captured.iter().filter(|name| !missing.contains(&name.as_str())).collect();
    let open: Vec<InterfaceName> = open.into_iter().copied().collect();
    let places = devices.places(&captured, &open, &names);
    let text = captured.iter().zip(places).map(|(interface, place)| {
        let overlap = match place.overlap {
            Overlap::None => "",
            Overlap::Shared(_) => "+",
            Overlap::Contained => "-",
        };
        format!("{interface}={}{overlap}", place.name)
    });
    text.collect::<Vec<_>>().join(" ")
}

#[test]
fn events_get_the_name_of_the_bridge_or_bond_that_is_captured_too() {
    assert_eq!(places("br0 tap0 eth2", &[]), "br0=br0+ tap0=br0+ eth2=eth2");
    assert_eq!(places("eth0 bond0 eth1", &[]), "eth0=bond0+ bond0=bond0+ eth1=bond0+");
    assert_eq!(places("eth0 br0", &[]), "eth0=br0+ br0=br0+", "over a bond that is not captured");
    assert_eq!(places("eth0 bond0 br0", &[]), "eth0=br0+ bond0=br0+ br0=br0+", "the topmost");
}

/// Each has all frames of its network: names of their own.
#[test]
fn interfaces_without_their_bridge_are_unrelated() {
    assert_eq!(places("eth0 eth1", &[]), "eth0=eth0 eth1=eth1");
    assert_eq!(places("br0", &[]), "br0=br0");
    assert_eq!(places("vrf0 eth2", &[]), "vrf0=vrf0 eth2=eth2", "a VRF is no bridge");
}

#[test]
fn a_vlan_device_is_contained_in_the_device_below() {
    assert_eq!(places("bond0 bond0.5", &[]), "bond0=bond0 bond0.5=bond0-");
    assert_eq!(places("br0.7 br0 tap0", &[]), "br0.7=br0- br0=br0+ tap0=br0+");
    assert_eq!(places("bond0.5 br0.7", &[]), "bond0.5=bond0.5 br0.7=br0.7");
}

/// The filter "not vlan" leaves the VLAN's frames to the VLAN device.
#[test]
fn with_a_filter_a_vlan_device_is_a_network_of_its_own() {
    let (_directory, devices) = devices();
    let devices = Devices { filtered: true, ..devices };
    let captured = ["bond0", "bond0.5", "eth0"].map(|name| name.parse().unwrap());
    let places = devices.places(&captured, &captured, &[]);
    let names = places.iter().map(|place| (place.name.as_str(), place.overlap));
    let shared = |index| Overlap::Shared(index);
    let expected = [("bond0", shared(0)), ("bond0.5", Overlap::None), ("bond0", shared(2))];
    assert!(names.eq(expected), "{places:?}");
}

/// Nothing else captures its frames then.
#[test]
fn an_interface_that_is_not_open_has_no_copies() {
    let without = |captured, missing| places_without(captured, &[missing], &[]);
    assert_eq!(without("bond0 bond0.5", "bond0"), "bond0=bond0 bond0.5=bond0.5");
    assert_eq!(without("br0 tap0", "br0"), "br0=br0 tap0=tap0");
    assert_eq!(without("eth2 any", "any"), "eth2=eth2 any=any+");
}

#[test]
fn any_contains_all() {
    assert_eq!(places("any", &[]), "any=any+");
    assert_eq!(places("eth2 any bond0.5", &[]), "eth2=any+ any=any+ bond0.5=any+");
}

#[test]
fn a_name_decides() {
    assert_eq!(places("eth0", &["lan"]), "eth0=lan");
    assert_eq!(places("any", &["lan"]), "any=lan+");
    assert_eq!(places("eth0 eth2", &["lan"]), "eth0=lan+ eth2=lan+", "the two sides of a tap");
    assert_eq!(places("br0 tap0", &["br0=lan"]), "br0=lan+ tap0=lan+");
    assert_eq!(places("br0 tap0", &["tap0=guest"]), "br0=br0 tap0=guest");
    assert_eq!(places("bond0 bond0.5", &["bond0.5=voice"]), "bond0=bond0 bond0.5=voice");
    assert_eq!(places("bond0 bond0.5", &["lan"]), "bond0=lan bond0.5=lan-");
}
