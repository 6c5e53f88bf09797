//! docs/dev/architecture.md: each file and directory of its table exists.
#![forbid(unsafe_code)]

use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const DOCUMENT: &str = include_str!("../../docs/dev/architecture.md");

fn in_code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn the_files_of_the_table_exist() {
    let (_, table) = DOCUMENT.split_once("\n## Where is what\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let (mut directories, mut checked): (Vec<&str>, usize) = (Vec::new(), 0);
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<&str> = row.split('|').collect();
        if !cells[2].trim().is_empty() {
            directories = in_code(cells[2]).collect(); // an empty cell repeats the one above
        }
        for file in in_code(cells[3]) {
            let there = |directory: &&str| Path::new(ROOT).join(directory).join(file).exists();
            assert!(directories.iter().any(there), "{row}: {file}");
            checked += 1;
        }
    }
    assert!(checked > 60, "{checked}");
}
