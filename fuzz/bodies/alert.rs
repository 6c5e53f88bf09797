//! What aw-alert reads from others: its configuration, and files to import.

use std::{cell::RefCell, env, fs, path::PathBuf, process};

use crate::{config::Config, import::import_text, store::AlertStore};

/// Any text as alert.toml: it is accepted, or refused in one line.
pub fn toml(input: &[u8]) {
    if let Err(why) = Config::parse(&String::from_utf8_lossy(input)) {
        assert!(!why.contains('\n'), "{why}");
    }
}

/// Texts after which the database is replaced by an empty one.
const TEXTS: u32 = 4096;

thread_local! {
    static STORE: RefCell<(u32, Option<AlertStore>)> = const { RefCell::new((0, None)) };
}

/// Any bytes as a file to import: what can be read of it is stored.
pub fn import(input: &[u8]) {
    STORE.with_borrow_mut(|(texts, store)| {
        *texts += 1;
        if *texts % TEXTS == 0 {
            *store = None; // nothing was committed
        }
        let store = store.get_or_insert_with(|| {
            fs::create_dir_all(directory()).expect("a directory");
            AlertStore::open(&directory()).unwrap_or_else(|_| panic!("a database"))
        });
        import_text(store, input);
    });
}

/// One fuzzer runs at a time, and tests remove theirs.
fn directory() -> PathBuf {
    let id = if cfg!(fuzzing) { 0 } else { process::id() };
    env::temp_dir().join(format!("aw-fuzz-import-{id}"))
}

#[cfg(test)]
mod seeds;

#[cfg(test)]
#[test]
fn seeds_and_mutations() {
    seeds::run("alert_toml", toml);
    seeds::run("alert_import", import);
    STORE.with_borrow_mut(|(_, store)| *store = None);
    fs::remove_dir_all(directory()).unwrap();
}
