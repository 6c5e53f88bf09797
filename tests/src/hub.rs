//! A hub with hosts at it, each in a network namespace of its own: a sensor at the hub sees every frame. All of it is removed
//! with the test.

use crate::lan::{Host, ip};
use crate::rig::skip;
use std::process::id;
use std::sync::atomic::{AtomicU32, Ordering};

/// The hub and its hosts.
pub struct Hub {
    /// Has the hub itself, `hub0`: for the sensor.
    pub sensor: Host,
    /// Each has `eth0`.
    pub hosts: Vec<Host>,
}

impl Hub {
    /// Creates it with one host for each of these MACs, or prints why the test is skipped.
    pub fn new(macs: &[&str]) -> Option<Hub> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let host =
            |side: String, mac: &str| Host::new(format!("awh-{}-{number}-{side}", id()), mac);
        // Built before the namespaces exist, so that a failure halfway leaves nothing behind.
        let hosts = macs.iter().enumerate().map(|(number, mac)| host(number.to_string(), mac));
        let hub = Hub { sensor: host("s".into(), ""), hosts: hosts.collect() };
        let made = hub.make().map_err(|why| skip(&format!("no network namespaces here: {why}")));
        made.ok().map(|()| hub)
    }

    fn make(&self) -> Result<(), String> {
        let hub = self.sensor.namespace();
        self.sensor.create()?;
        // It forgets MACs at once, so each frame goes to all ports. Multicast, too, without snooping.
        ip(&format!("-n {hub} link add hub0 type bridge ageing_time 0 mcast_snooping 0"))?;
        ip(&format!("-n {hub} link set hub0 up promisc on"))?;
        for (number, host) in self.hosts.iter().enumerate() {
            host.create()?;
            let (name, mac) = (host.namespace(), &host.mac);
            ip(&format!(
                "link add eth0 netns {name} address {mac} type veth peer name port{number} netns {hub}"
            ))?;
            ip(&format!("-n {hub} link set port{number} master hub0 up"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        Ok(())
    }
}
