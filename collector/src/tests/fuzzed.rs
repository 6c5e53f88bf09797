//! The fuzz targets `frame` and `macupd` without cargo-fuzz: their bodies over their seeds, then over many mutations of
//! them.

use proptest::prelude::*;

#[path = "../../../fuzz/bodies/frame.rs"]
mod frame;
#[path = "../../../fuzz/bodies/macupd.rs"]
mod macupd;
#[path = "../../../fuzz/bodies/seeds.rs"]
mod seeds;

#[test]
fn each_seed_is_heard_or_refused() {
    seeds::seeds("frame").iter().for_each(|seed| frame::frame(seed));
    seeds::seeds("macupd").iter().for_each(|seed| macupd::macupd(seed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 65_536, failure_persistence: None, ..Default::default() })]

    #[test]
    fn so_is_each_mutation_of_a_frame(input in seeds::mutated("frame")) {
        frame::frame(&input);
    }

    #[test]
    fn so_is_each_mutation_of_a_datagram(input in seeds::mutated("macupd")) {
        macupd::macupd(&input);
    }
}
