//! Interfaces that capture the same frames: the ports of a bridge and the bridge, the interfaces of a bond and
//! the bond, a VLAN device and the device below it, `any` and all others. The kernel's view is in /sys/class/net.
//!
//! Related interfaces are one network: their events get one name, so that no conflict between two ports is
//! missed, and [`crate::copies`] removes the copies.

use std::{fs, path::PathBuf};

use shm_layout::InterfaceName;

use crate::{
    copies::Overlap,
    event_name::{self, EventName},
};

/// How an interface relates to the others that are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Unrelated,
    /// Its frames also pass this bridge or bond, or it is captured by `any`.
    Port(InterfaceName),
    /// A VLAN device: this interface captures all its frames, with their tags.
    Vlan(InterfaceName),
}

/// What an interface's events are called, and what to do about copies of its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub relation: Relation,
    /// The name of its events.
    pub name: InterfaceName,
    pub overlap: Overlap,
}

/// How the kernel's devices are related.
pub struct Devices {
    /// Where the kernel describes its interfaces.
    path: PathBuf,
    /// `--filter` is set. It may exclude the frames with tags, so that only a VLAN device captures them.
    filtered: bool,
}

/// Most bridges and bonds above each other.
const DEPTH: usize = 8;
const ANY: &str = "any";

impl Devices {
    pub fn of_this_machine(filtered: bool) -> Self {
        Devices { path: "/sys/class/net".into(), filtered }
    }

    /// The place of each interface, in their order. `open`: those that are captured at the moment; another one has
    /// no copies.
    pub fn places(
        &self,
        interfaces: &[InterfaceName],
        open: &[InterfaceName],
        names: &[EventName],
    ) -> Vec<Place> {
        let place = |name: &InterfaceName| self.place(*name, open, names);
        let mut places: Vec<Place> = interfaces.iter().map(place).collect();
        for index in 0..places.len() {
            let name = places[index].name;
            let same = |other: &&Place| other.name == name && other.overlap != Overlap::Contained;
            let shared =
                places.iter().filter(same).count() > 1 || interfaces[index].as_str() == ANY;
            if shared && places[index].overlap == Overlap::None {
                places[index].overlap = Overlap::Shared(index);
            }
        }
        places
    }

    /// Without copies between interfaces whose events have the same name.
    fn place(
        &self,
        interface: InterfaceName,
        open: &[InterfaceName],
        names: &[EventName],
    ) -> Place {
        let named =
            |name: InterfaceName| event_name::chosen(names, Some(name.as_str())).unwrap_or(name);
        // The user's word that it is a network of its own.
        let relation = match event_name::own(names, Some(interface.as_str())) {
            Some(_) => Relation::Unrelated,
            None => self.relation(interface, open),
        };
        match relation {
            Relation::Unrelated => {
                Place { relation, name: named(interface), overlap: Overlap::None }
            }
            Relation::Port(of) => Place { relation, name: named(of), overlap: Overlap::None },
            Relation::Vlan(of) => Place { relation, name: named(of), overlap: Overlap::Contained },
        }
    }

    fn relation(&self, interface: InterfaceName, open: &[InterfaceName]) -> Relation {
        if interface.as_str() == ANY || open.iter().all(|one| *one == interface) {
            return Relation::Unrelated;
        }
        if let Some(any) = open.iter().find(|one| one.as_str() == ANY) {
            return Relation::Port(*any);
        }
        if !self.filtered
            && let Some(below) = open.iter().find(|below| self.is_vlan_of(interface, **below))
        {
            return Relation::Vlan(*below);
        }
        let mut top = None;
        let mut at = interface;
        for _ in 0..DEPTH {
            let Some(master) = self.master(at) else { break };
            if open.contains(&master) {
                top = Some(master);
            }
            at = master;
        }
        top.map_or(Relation::Unrelated, Relation::Port)
    }

    /// The bridge or bond that an interface belongs to. Other masters join networks that are not the same:
    /// a VRF, the datapath of Open vSwitch.
    fn master(&self, interface: InterfaceName) -> Option<InterfaceName> {
        let link = fs::read_link(self.path(interface).join("master")).ok()?;
        let master: InterfaceName = link.file_name()?.to_str()?.parse().ok()?;
        let path = self.path(master);
        ["bridge", "bonding"].iter().any(|kind| path.join(kind).is_dir()).then_some(master)
    }

    fn is_vlan_of(&self, interface: InterfaceName, below: InterfaceName) -> bool {
        let path = self.path(interface);
        let is_vlan = |text: String| text.lines().any(|line| line == "DEVTYPE=vlan");
        path.join(format!("lower_{below}")).exists()
            && fs::read_to_string(path.join("uevent")).is_ok_and(is_vlan)
    }

    fn path(&self, interface: InterfaceName) -> PathBuf {
        self.path.join(interface.as_str())
    }
}

#[cfg(test)]
mod tests;
