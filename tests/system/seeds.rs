//! The seeds of the fuzz targets: the committed files are those of the generator. Useful inputs that fuzzing found
//! may lie beside them.
#![forbid(unsafe_code)]

use aw_tests::seeds::{Seed, all};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[test]
fn the_committed_seeds_are_what_the_generator_writes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut names = BTreeSet::new();
    for Seed { target, name, bytes } in all() {
        let file = corpus.join(target).join(&name);
        assert!(
            fs::read(&file).is_ok_and(|committed| committed == bytes),
            "{}: run `make-capture seeds fuzz/corpus`",
            file.display()
        );
        assert!(names.insert((target, name)), "two seeds have the name of {}", file.display());
    }
}
