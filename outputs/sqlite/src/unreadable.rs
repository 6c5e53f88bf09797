//! Pairings that a task leaves out until the next start, because it failed there: a page with rows of them is damaged, or the disk cannot
//! read it. So the task continues with what follows.

use std::collections::HashSet;

/// With more of them, the task pauses.
const MOST: usize = 1000;

#[derive(Default)]
pub struct Unreadable {
    examined: Option<i64>,
    all: HashSet<i64>,
}

impl Unreadable {
    /// To be called before a pairing is examined, and with none afterwards. Returns whether it is to be left out.
    pub fn examine(&mut self, pairing: Option<i64>) -> bool {
        self.examined = pairing;
        pairing.is_some_and(|pairing| self.all.contains(&pairing))
    }

    /// To be called after a fault. Returns the pairing that is left out from now on, if it was one's.
    pub fn add(&mut self) -> Option<i64> {
        let pairing = self.examined.take().filter(|_| self.all.len() < MOST)?;
        self.all.insert(pairing).then_some(pairing)
    }
}
