//! What was heard lately, in memory: that something was heard once more changes only a time, and is written down now and
//! then. Without it each event would rewrite two pages of the database.

use std::{collections::HashMap, hash::Hash};

/// Entries of each kind; beyond, all that changed are written down, and it begins anew.
const MOST: usize = 32_768;

/// Something of which only times may have changed since it was written.
pub trait Heard: Clone + PartialEq {
    /// The same without the times that need not be written at once.
    fn timeless(&self) -> Self;
}

/// What is known of the database's entries, and what it does not have yet.
pub struct Recent<K, V> {
    /// The entry; and whether the database has an older one.
    entries: HashMap<K, (V, bool)>,
}

impl<K: Eq + Hash + Clone, V: Heard> Recent<K, V> {
    pub fn new() -> Self {
        Recent { entries: HashMap::new() }
    }

    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(value, _)| value)
    }

    /// What the database has.
    pub fn loaded(&mut self, key: K, value: V) {
        self.entries.insert(key, (value, false));
    }

    /// Takes a change; tells whether it must be written at once.
    pub fn keep(&mut self, key: &K, value: &V) -> bool {
        let Some((known, late)) = self.entries.get_mut(key) else { return true };
        if known == value {
            return false;
        }
        let at_once = known.timeless() != value.timeless();
        (*known, *late) = (value.clone(), !at_once);
        at_once
    }

    pub fn is_full(&self) -> bool {
        self.entries.len() >= MOST
    }

    /// What is to be written now.
    pub fn late(&self) -> Vec<(K, V)> {
        let late = self.entries.iter().filter(|(_, (_, late))| *late);
        late.map(|(key, (value, _))| (key.clone(), value.clone())).collect()
    }

    /// All of it is written, or not to be believed any more.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Heard for (u8, u8) {
        fn timeless(&self) -> Self {
            (self.0, 0)
        }
    }

    #[test]
    fn times_wait() {
        let mut recent = Recent::new();
        assert!(recent.keep(&1, &(1, 1)), "not known");
        recent.loaded(1, (1, 1));
        recent.loaded(2, (1, 1));
        assert!(!recent.keep(&1, &(1, 1)) && recent.late().is_empty());
        assert!(!recent.keep(&1, &(1, 2)), "only its time");
        assert!(recent.keep(&2, &(2, 2)));
        assert_eq!(recent.late(), [(1, (1, 2))]);
        assert_eq!(recent.get(&1), Some(&(1, 2)));
        assert!(recent.keep(&1, &(3, 3)));
        assert!(recent.late().is_empty(), "written with what changed");
        recent.clear();
        assert_eq!(recent.get(&1), None);
    }
}
