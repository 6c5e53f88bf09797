//! The program in docs/dev/new-output.md exists, is small, and works.
#![forbid(unsafe_code)]

use aw_tests::feed::{numbered_lines, publish};
use aw_tests::rig::{example, program_at, run};
use aw_tests::ring::Ring;
use aw_tests::rows::Rows;

const DOCUMENT: &str = include_str!("../../docs/dev/new-output.md");
const EXAMPLE: &str = include_str!("../../outputs/common/examples/aw-rows.rs");

#[test]
fn the_document_shows_the_example() {
    let shown = DOCUMENT.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    assert_eq!(shown, Some(EXAMPLE), "docs/dev/new-output.md and examples/aw-rows.rs differ");
    let lines = EXAMPLE.lines().count();
    assert!(lines < 100, "{lines} lines");
}

#[test]
fn the_example_works() {
    let ring = Ring::new();
    let rows = Rows::new();
    publish(&ring, 1..6);
    let ended = run(rows.command(&ring, &["--once"])).ok();
    assert!(ended.stderr.ends_with(": 5 events, 0 lost\n"), "{}", ended.stderr);
    assert_eq!(rows.lines(), numbered_lines(1..6));
    let help = run(program_at(example("aw-rows"), &["--help"])).ok();
    for option in ["--ring", "--from", "--state-dir", "--spool-size", "--daemon", "--pid", "--user"]
    {
        assert!(help.stdout.contains(option), "{}", help.stdout);
    }
}
