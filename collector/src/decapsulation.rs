//! Which frames in tunnels become events, and under which interface name.
//!
//! Any host that can send an IP packet past the sensor can put a frame into a tunnel and so claim any pairing in any
//! VLAN; so can any host of one VLAN with a frame in a frame of layer 2. Therefore a live capture accepts both only with
//! `--decapsulate`. Every IP packet on the way must have an allowed sender: a mirror also mirrors what hosts of its
//! network put into tunnels. A capture file was chosen by its user: there, all are accepted unless senders are named.

use std::{collections::BTreeMap, io::Write};

use shm_layout::{Counter, InterfaceName};

use crate::{options::Options, parse::Packet, senders::Senders, warn};

/// Most tunnels that get an interface name of their own: the sender of a packet chooses its tunnel's number.
const MAX_NAMES: usize = 256;
/// Bytes of an interface name.
const NAME_BYTES: usize = 15;

/// The rules for frames in tunnels.
pub struct Decapsulation {
    /// Whose tunnels are accepted; none: no frame in a packet or in another frame is.
    senders: Option<Senders>,
    /// `--tunnel-id`: the names given so far.
    names: Option<BTreeMap<(InterfaceName, u32), InterfaceName>>,
}

impl Decapsulation {
    pub fn new(options: &Options) -> Decapsulation {
        let from = &options.tunnel_from;
        let senders = match (&options.read, options.decapsulate) {
            (Some(_), _) => Some(Senders::named_or_all(from)),
            (None, true) => Some(Senders::named(from)),
            (None, false) => None,
        };
        Decapsulation { senders, names: options.tunnel_id.then(BTreeMap::new) }
    }

    /// Refuses a message in a tunnel that is not accepted.
    #[inline]
    pub fn admit(&self, packet: &Packet) -> Result<(), Counter> {
        let Some(tunnel) = packet.tunnel else { return Ok(()) };
        let Some(allowed) = &self.senders else { return Err(Counter::UnknownHeader) };
        let mut senders = tunnel.senders.into_iter().flatten();
        match senders.all(|sender| allowed.allow(sender)) {
            true => Ok(()),
            false => Err(Counter::TunnelSender),
        }
    }

    /// The interface name of an event from a tunnel with this number.
    #[inline]
    pub fn name(&mut self, interface: InterfaceName, id: Option<u32>) -> InterfaceName {
        match (&mut self.names, id) {
            (Some(names), Some(id)) => numbered(names, interface, id),
            _ => interface,
        }
    }
}

/// The name of this tunnel, which is the same from then on.
fn numbered(
    names: &mut BTreeMap<(InterfaceName, u32), InterfaceName>,
    interface: InterfaceName,
    id: u32,
) -> InterfaceName {
    if let Some(name) = names.get(&(interface, id)) {
        return *name;
    }
    if names.len() >= MAX_NAMES {
        return joined(interface, format_args!("other"));
    }
    let name = joined(interface, format_args!("{id}"));
    names.insert((interface, id), name);
    if names.len() == MAX_NAMES {
        let other = joined(interface, format_args!("other"));
        warn(format_args!(
            "--tunnel-id: {MAX_NAMES} tunnels have names; further ones are named {other} (limit the senders with --tunnel-from)"
        ));
    }
    name
}

/// `INTERFACE#ID`. If that is too long, the interface's name loses its beginning: names of one machine's interfaces
/// differ at the end.
fn joined(interface: InterfaceName, id: std::fmt::Arguments) -> InterfaceName {
    let mut suffix = [0; NAME_BYTES];
    let mut rest = &mut suffix[..];
    let _ = write!(rest, "#{id}"); // at most 11 bytes, for 32 bits
    let length = NAME_BYTES - rest.len();
    let name = interface.as_str();
    let start = name.ceil_char_boundary(name.len().saturating_sub(NAME_BYTES - length));
    let mut bytes = [0; NAME_BYTES];
    let mut rest = &mut bytes[..];
    let _ = rest.write_all(&name.as_bytes()[start..]);
    let _ = rest.write_all(&suffix[..length]);
    let length = NAME_BYTES - rest.len();
    str::from_utf8(&bytes[..length]).ok().and_then(|name| name.parse().ok()).unwrap_or(interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Decapsulation {
        Decapsulation { senders: None, names: Some(BTreeMap::new()) }
    }

    fn name(rules: &mut Decapsulation, interface: &str, id: u32) -> String {
        rules.name(interface.parse().unwrap(), Some(id)).to_string()
    }

    #[test]
    fn names_of_tunnels() {
        for (interface, id, expected) in [
            ("eth0", 5001, "eth0#5001"),
            ("eth0", 0, "eth0#0"),
            ("enp3s0f1", 16_777_215, "p3s0f1#16777215"),
            ("enp3s0f1", u32::MAX, "s0f1#4294967295"),
            ("éééé", u32::MAX, "éé#4294967295"),
            ("ünterface", 16_777_215, "erface#16777215"),
        ] {
            assert_eq!(name(&mut rules(), interface, id), expected);
        }
        assert_eq!(rules().name("eth0".parse().unwrap(), None).as_str(), "eth0");
        let mut off = Decapsulation { senders: None, names: None };
        assert_eq!(name(&mut off, "eth0", 5001), "eth0");
    }

    /// A sender who invents numbers gets one name for all beyond the limit.
    #[test]
    fn the_number_of_names_is_limited() {
        let mut rules = rules();
        for id in 0..MAX_NAMES as u32 {
            assert_eq!(name(&mut rules, "eth0", id), format!("eth0#{id}"));
        }
        assert_eq!(name(&mut rules, "eth0", 70_000), "eth0#other");
        assert_eq!(name(&mut rules, "a-very-long-one", 70_000), "-long-one#other");
        assert_eq!(name(&mut rules, "eth0", 7), "eth0#7");
    }
}
