//! Why no frames of an interface arrive, in words: one text for `--health`, alerts and the page of the tracker.

use shm_layout::{BroadcastState, CaptureState, InterfaceName, NeighborView};

/// What is wrong with an interface in this state, with a remedy; none if it is captured, or need not be.
pub fn capture_fault(interface: InterfaceName, state: CaptureState) -> Option<String> {
    let silent = "no frames of it arrive";
    Some(match state {
        CaptureState::None | CaptureState::Captured => return None,
        CaptureState::Down => {
            format!("interface {interface} is down: {silent} (ip link set {interface} up)")
        }
        CaptureState::NoCarrier => format!(
            "interface {interface} has no carrier: {silent} (check its cable and what is at the other end, or the ports of a bridge)"
        ),
        CaptureState::Absent => format!(
            "interface {interface}: no such interface: {silent} (ip link lists them; if it comes back, nothing is to be done; else correct its name where it is set: in OPTIONS, or as the instance of the unit addrwatch-collector@{interface}, if there is one)"
        ),
        CaptureState::NotOpened => format!(
            "interface {interface} cannot be captured: {silent} (the log of the collector has the reason)"
        ),
        CaptureState::NotRunning => format!(
            "interface {interface} is no longer captured: addrwatch-collector@{interface} is enabled, but does not run (systemctl status addrwatch-collector@{interface}; systemctl disable it if it is not to be captured)"
        ),
    })
}

/// That ARP broadcasts of others do not arrive at an interface that is captured, with a remedy; none if they do, or if that is not known.
pub fn broadcast_fault(interface: InterfaceName, state: BroadcastState) -> Option<String> {
    (state == BroadcastState::Missing).then(|| {
        format!(
            "ARP broadcasts do not arrive on {interface}: three other hosts or more were answered whose questions did not arrive, and for an hour no broadcast of another host did: new devices are missed (mirror both directions of all ports, and broadcasts; where a switch or access point suppresses ARP, let it send broadcasts to this port)"
        )
    })
}

/// That Neighbor Discovery of other hosts may not arrive from a network, with a remedy; none if it does. A hint: without IPv6, hosts do not answer, either.
pub fn neighbor_hint(view: &NeighborView) -> Option<String> {
    let NeighborView { is_hidden, awake, answered, queries, .. } = view;
    is_hidden.then(|| {
        let network = view.network();
        format!(
            "{answered} of {awake} hosts that were awake answered {queries} multicast queries on {network}: a switch with MLD snooping hides Neighbor Discovery from this port, or these hosts have no IPv6 (if they have, capture at a mirror port, or switch snooping of IPv6 off)"
        )
    })
}
