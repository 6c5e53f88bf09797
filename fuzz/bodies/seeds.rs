//! A target's seeds, and random mutations of them: the inputs of the stable tests.

use std::{fs, path::Path};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::TestRunner,
};

/// The files of the target's corpus, at least so many.
pub fn seeds(target: &str, least: usize) -> Vec<Vec<u8>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut corpora = package.ancestors().map(|directory| directory.join("fuzz/corpus"));
    let corpus = corpora.find(|corpus| corpus.is_dir()).expect("fuzz/corpus").join(target);
    let files =
        fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let seeds: Vec<_> = files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() >= least, "{} seeds are few", seeds.len());
    seeds
}

/// Runs a body over its seeds and thousands of their mutations: a target of texts, each of which has many lines.
#[allow(dead_code)] // the targets of frames and segments have more of both
pub fn run(target: &str, body: fn(&[u8])) {
    seeds(target, 1).iter().for_each(|seed| body(seed));
    let config = ProptestConfig { cases: 4096, failure_persistence: None, ..Default::default() };
    let tried = TestRunner::new(config).run(&mutated(target), |input| {
        body(&input);
        Ok(())
    });
    tried.unwrap_or_else(|fault| panic!("{target}: {fault}"));
}

/// A seed with up to five random changes.
pub fn mutated(target: &str) -> impl Strategy<Value = Vec<u8>> {
    let seeds = seeds(target, 1);
    let edit = prop_oneof![
        4 => any::<u8>().prop_map(Edit::Set),
        4 => (0..8_u8).prop_map(Edit::Flip),
        2 => select(vec![0, 1, 0x7f, 0x80, 0xff]).prop_map(Edit::Set),
        1 => any::<u8>().prop_map(Edit::Insert),
        1 => Just(Edit::Remove),
        1 => Just(Edit::Cut),
        1 => select(seeds.clone()).prop_map(Edit::Splice),
    ];
    (select(seeds), vec((any::<Index>(), edit), 0..6)).prop_map(|(mut bytes, edits)| {
        for (at, edit) in edits {
            let at = at.index(bytes.len() + 1);
            match edit {
                Edit::Set(byte) => bytes.iter_mut().skip(at).take(1).for_each(|to| *to = byte),
                Edit::Flip(bit) => bytes.iter_mut().skip(at).take(1).for_each(|to| *to ^= 1 << bit),
                Edit::Insert(byte) => bytes.insert(at, byte),
                Edit::Remove => drop(bytes.drain(at..(at + 1).min(bytes.len()))),
                Edit::Cut => bytes.truncate(at),
                Edit::Splice(other) => {
                    bytes.truncate(at);
                    bytes.extend(other.iter().skip(at));
                }
            }
        }
        bytes
    })
}

#[derive(Clone, Debug)]
enum Edit {
    Set(u8),
    Flip(u8),
    Insert(u8),
    Remove,
    /// Removes the rest.
    Cut,
    /// Replaces the rest by that of another seed.
    Splice(Vec<u8>),
}
