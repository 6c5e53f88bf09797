//! A write-back cache of database rows: a change of a "last seen" time alone is written later, with others. Without it,
//! each event would rewrite two pages of the database.

use std::{collections::HashMap, hash::Hash};

/// Entries of a cache; when it is full, all changes are written and it is emptied.
const MAX_ENTRIES: usize = 32_768;

/// A row with times whose change can be written later.
pub trait Cached: Clone + PartialEq {
    /// The row without these times.
    fn timeless(&self) -> Self;
}

/// Rows of the database by key, and the changes that it does not have yet.
pub struct Cache<K, V> {
    /// The row, and whether the database has an older version of it.
    entries: HashMap<K, (V, bool)>,
}

impl<K: Eq + Hash + Clone, V: Cached> Cache<K, V> {
    pub fn new() -> Self {
        Cache { entries: HashMap::new() }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// Adds a row as the database has it.
    pub fn insert_clean(&mut self, key: K, value: V) {
        self.entries.insert(key, (value, false));
    }

    /// Takes a new version of a row. Returns whether the caller must write it to the database now.
    pub fn update(&mut self, key: &K, value: &V) -> bool {
        let Some((known, dirty)) = self.entries.get_mut(key) else { return true };
        if known == value {
            return false;
        }
        let write_now = known.timeless() != value.timeless();
        (*known, *dirty) = (value.clone(), !write_now);
        write_now
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() >= MAX_ENTRIES
    }

    /// The rows that the database has in an older version.
    pub fn dirty(&self) -> Vec<(K, V)> {
        let dirty = self.entries.iter().filter(|(_, (_, dirty))| *dirty);
        dirty.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// Removes all: everything is written, or was rolled back.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Cached for (u8, u8) {
        fn timeless(&self) -> Self {
            (self.0, 0)
        }
    }

    #[test]
    fn times_are_written_later() {
        let mut cache = Cache::new();
        assert!(cache.update(&1, &(1, 1)), "not in the cache");
        cache.insert_clean(1, (1, 1));
        cache.insert_clean(2, (1, 1));
        assert!(!cache.update(&1, &(1, 1)) && cache.dirty().is_empty());
        assert!(!cache.update(&1, &(1, 2)), "only its time");
        assert!(cache.update(&2, &(2, 2)));
        assert_eq!(cache.dirty(), [(1, (1, 2))]);
        assert_eq!(cache.get(&1), Some(&(1, 2)));
        assert!(cache.update(&1, &(3, 3)));
        assert!(cache.dirty().is_empty(), "written now, with its time");
        cache.clear();
        assert_eq!(cache.get(&1), None);
    }
}
