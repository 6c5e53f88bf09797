//! The fuzz target `segment` without cargo-fuzz: its body over its seeds, then over many mutations of them.

use proptest::prelude::*;

#[path = "../../fuzz/bodies/segment.rs"]
mod body;
#[path = "../../fuzz/bodies/seeds.rs"]
mod seeds;

#[test]
fn each_seed_is_refused_or_read_to_an_end() {
    seeds::seeds("segment", 21).iter().for_each(|seed| body::segment(seed));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_mutation_is_refused_or_read_to_an_end(input in seeds::mutated("segment")) {
        body::segment(&input);
    }
}
