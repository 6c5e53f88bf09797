//! The fuzz target `frame` without cargo-fuzz: its body over its seeds, then over many mutations of them.

use proptest::prelude::*;

#[path = "../../../fuzz/bodies/frame.rs"]
mod body;
#[path = "../../../fuzz/bodies/seeds.rs"]
mod seeds;

#[test]
fn each_seed_is_heard_or_refused() {
    seeds::seeds("frame").iter().for_each(|seed| body::frame(seed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 65_536, failure_persistence: None, ..Default::default() })]

    #[test]
    fn so_is_each_mutation(input in seeds::mutated("frame")) {
        body::frame(&input);
    }
}
