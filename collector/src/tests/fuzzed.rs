//! The fuzz targets `frame`, `macupd`, `name_messages` and `capture` without cargo-fuzz: their bodies on their seeds, then on many
//! mutations of them.

use proptest::prelude::*;

#[path = "../../../fuzz/bodies/capture.rs"]
mod capture;
#[path = "../../../fuzz/bodies/frame.rs"]
mod frame;
#[path = "../../../fuzz/bodies/macupd.rs"]
mod macupd;
#[path = "../../../fuzz/bodies/name_messages.rs"]
mod name_messages;
#[path = "../../../fuzz/bodies/seeds.rs"]
mod seeds;

#[test]
fn each_seed_is_accepted_or_refused() {
    seeds::seeds("frame", 21).iter().for_each(|seed| frame::frame(seed));
    seeds::seeds("macupd", 21).iter().for_each(|seed| macupd::macupd(seed));
}

#[test]
fn each_message_with_names_is_read_or_refused() {
    seeds::run("name_messages", name_messages::name_messages);
}

#[test]
fn each_capture_file_is_read_to_an_end() {
    seeds::run("capture", capture::capture);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 65_536, failure_persistence: None, ..Default::default() })]

    #[test]
    fn each_mutated_frame_is_accepted_or_refused(input in seeds::mutated("frame")) {
        frame::frame(&input);
    }

    #[test]
    fn each_mutated_datagram_is_accepted_or_refused(input in seeds::mutated("macupd")) {
        macupd::macupd(&input);
    }
}
