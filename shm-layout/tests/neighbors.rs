//! What the header has of Neighbor Discovery.

mod common;

use common::Ring;
use shm_layout::{
    InterfaceName, MAX_NETWORKS, NeighborView, Reader, RingName, Start, VlanId, Writer,
    WriterOptions,
};

fn create(ring: &RingName, slots: u64) -> Writer {
    Writer::create(&WriterOptions { name: ring.clone(), slots, group: None, host: None }).unwrap()
}

/// Which networks hide Neighbor Discovery: all that the writer knows now, and nothing of an earlier writer.
#[test]
fn views_of_neighbors() {
    let ring = Ring::new();
    let eth0: InterfaceName = "eth0".parse().unwrap();
    let mut writer = create(&ring, 8);
    let reader = Reader::attach(&ring, Start::Oldest).unwrap();
    assert_eq!(reader.neighbors(), []);
    let (first, second) = (writer.interface("eth1".parse().unwrap()), writer.interface(eth0));
    let view = |interface, vlan, is_hidden| NeighborView {
        interface,
        outer_vlan: VlanId::NONE,
        vlan: VlanId::from_tag(vlan),
        is_hidden,
        awake: 5,
        answered: 1,
        queries: 24,
    };
    let mut views = [None; MAX_NETWORKS];
    (views[3], views[63]) = (Some(view(first, 7, true)), Some(view(second, 0, false)));
    writer.set_neighbors(&views);
    let networks = || -> Vec<_> {
        let views = reader.neighbors().into_iter();
        views.map(|view| (view.network(), view.is_hidden, view.answered, view.awake)).collect()
    };
    let (hidden, seen) = (("eth1.7".into(), true, 1, 5), ("eth0".into(), false, 1, 5));
    assert_eq!(networks(), [hidden, seen.clone()]);
    views[3] = None;
    writer.set_neighbors(&views);
    assert_eq!(networks(), [seen]);
    // Also of another size.
    for slots in [8, 16] {
        drop(writer);
        writer = create(&ring, slots);
        let reader = Reader::attach(&ring, Start::Oldest).unwrap();
        assert_eq!(reader.neighbors(), []);
        writer.set_neighbors(&views);
        assert_eq!(reader.neighbors().len(), 1);
    }
}
