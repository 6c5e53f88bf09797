//! How alerts about devices are sent whose MAC is of a class: virtual MACs of routers, and locally administered ones.

use shm_layout::MacAddr;

use super::{Memory, Rules};
use crate::{
    alert::{Alert, AlertKind},
    device::{Device, MacClass, MacPolicy},
    network::interface_of,
};

impl Rules {
    /// The policy of a MAC's class for the alerts about its device. What the learning period did not see is reported, if it has a
    /// virtual MAC, or has a random one at an interface that had none, whatever the VLAN: a frame can have any tag. A MAC with a
    /// name is treated like a vendor's.
    pub(super) fn class_policy<M: Memory>(
        &self,
        mac: MacAddr,
        device: &Device,
        network: &str,
        memory: &mut M,
    ) -> Result<MacPolicy, M::Error> {
        Ok(match (MacClass::of(mac), self.random_macs) {
            _ if self.name(mac).is_some() => MacPolicy::Report,
            (MacClass::Virtual, _) if device.learned => self.virtual_macs,
            (MacClass::Random, Some(policy)) => policy,
            (MacClass::Random, None) => match memory.network(interface_of(network))? {
                Some(at) if at.learned && at.learned_random.is_none() => MacPolicy::Report,
                _ => MacPolicy::Digest,
            },
            (MacClass::Virtual | MacClass::Global, _) => MacPolicy::Report,
        })
    }
}

/// Applies the policy of a MAC's class to the alerts about its device. What touches an address that another MAC holds is reported
/// whatever the MAC: an attacker chooses it. So is what is not on the list of known devices and was not learned.
pub(super) fn apply(policy: MacPolicy, device: &Device, alerts: &mut Vec<Alert>) {
    alerts.retain_mut(|alert| {
        // No class of MACs is on the list of known devices.
        let is_unlisted = alert.kind == AlertKind::UnknownDevice && !device.learned;
        let is_of_device = alert.kind.is_of_device() && !is_unlisted;
        alert.digest |= is_of_device && policy == MacPolicy::Digest;
        !is_of_device || policy != MacPolicy::Ignore
    });
}
