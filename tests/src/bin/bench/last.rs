//! The results of the last run, in a file beside the programs, to compare with: a line for each row, a tab before each number.

use std::{
    collections::BTreeMap,
    fs,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::{Outcome, binary};

type Rows = BTreeMap<String, Vec<f64>>;

static ROWS: LazyLock<Mutex<Rows>> = LazyLock::new(|| {
    let text = fs::read_to_string(binary("bench-last.tsv")).unwrap_or_default();
    let row = |line: &str| {
        let (name, numbers) = line.split_once('\t')?;
        let numbers = numbers.split('\t').map(str::parse).collect::<Result<_, _>>();
        Some((name.to_owned(), numbers.ok()?))
    };
    Mutex::new(text.lines().filter_map(row).collect())
});

/// Stores the numbers of a row; returns those of the last run, or none.
pub fn replace(name: &str, numbers: &[f64]) -> Vec<f64> {
    let mut rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    rows.insert(name.to_owned(), numbers.to_vec()).unwrap_or_default()
}

/// The same for a row that may belong to the one above it that is not indented.
pub fn replace_below_heading(name: &str, numbers: &[f64]) -> Vec<f64> {
    static HEADING: Mutex<String> = Mutex::new(String::new());
    let mut heading = HEADING.lock().unwrap_or_else(PoisonError::into_inner);
    if name.starts_with(' ') {
        return replace(&format!("{heading}: {}", name.trim()), numbers);
    }
    name.clone_into(&mut heading);
    replace(name, numbers)
}

/// Writes the file.
pub fn save() -> Outcome<()> {
    let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
    let line = |(name, numbers): (&String, &Vec<f64>)| {
        let numbers = numbers.iter().map(|number| format!("\t{number}"));
        format!("{name}{}\n", numbers.collect::<String>())
    };
    Ok(fs::write(binary("bench-last.tsv"), rows.iter().map(line).collect::<String>())?)
}
