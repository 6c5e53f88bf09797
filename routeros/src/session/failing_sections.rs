//! Sections that a router fails to export, as one condition: on a busy router another one runs into its time limit each
//! time. The state of the router has those that failed, so that a restart does not begin it again.

use std::collections::BTreeSet;

/// The condition is over after so many complete exports in a row: fewer may be chance.
const COMPLETE_EXPORTS: u32 = 3;
/// After so many incomplete exports in a row, the sections may fail for ever.
const INCOMPLETE_EXPORTS: u32 = 5;
/// Sections that are remembered.
const MAX_SECTIONS: usize = 100;

#[derive(Debug, Default)]
pub struct FailingSections {
    /// Those that failed since the condition began.
    seen: BTreeSet<String>,
    /// Complete exports since one was incomplete.
    complete: u32,
    /// Incomplete exports since one was complete.
    incomplete: u32,
}

/// What there is to report.
#[derive(Debug, PartialEq, Eq)]
pub enum Sections {
    /// Sections fail that did not fail before.
    Begin,
    /// Further ones fail.
    Others(BTreeSet<String>),
    End,
    Same,
}

impl FailingSections {
    /// The condition that an earlier process found.
    pub fn of(seen: BTreeSet<String>) -> FailingSections {
        FailingSections { seen, ..FailingSections::default() }
    }

    /// Those that failed since the condition began.
    pub fn seen(&self) -> &BTreeSet<String> {
        &self.seen
    }

    /// Takes the sections that failed in an export.
    pub fn observe(&mut self, failed: &BTreeSet<String>) -> Sections {
        if failed.is_empty() {
            if !self.is_present() {
                return Sections::Same;
            }
            self.complete += 1;
            self.incomplete = 0;
            if self.complete < COMPLETE_EXPORTS {
                return Sections::Same;
            }
            *self = FailingSections::default();
            return Sections::End;
        }
        let was_present = self.is_present();
        self.complete = 0;
        self.incomplete = self.incomplete.saturating_add(1);
        let room = MAX_SECTIONS.saturating_sub(self.seen.len());
        let others: BTreeSet<_> = failed.difference(&self.seen).take(room).cloned().collect();
        self.seen.extend(others.iter().cloned());
        match (was_present, others.is_empty()) {
            (false, _) => Sections::Begin,
            (true, false) => Sections::Others(others),
            (true, true) => Sections::Same,
        }
    }

    /// Whether one of the next exports may show what is in the sections.
    pub fn may_pass(&self) -> bool {
        self.incomplete < INCOMPLETE_EXPORTS
    }

    pub fn is_present(&self) -> bool {
        !self.seen.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_fail_in_turn_are_one_condition() {
        let mut sections = FailingSections::default();
        let mut fail =
            |names: &[&str]| sections.observe(&names.iter().map(|name| name.to_string()).collect());
        let only = |name: &str| Sections::Others(BTreeSet::from([name.to_string()]));
        assert_eq!(fail(&[]), Sections::Same);
        assert_eq!(fail(&["a"]), Sections::Begin);
        assert_eq!(fail(&["b"]), only("b"));
        assert_eq!(fail(&[]), Sections::Same);
        assert_eq!(fail(&["a", "b"]), Sections::Same);
        assert_eq!(fail(&["c"]), only("c"));
        assert_eq!(
            [fail(&[]), fail(&[]), fail(&[])],
            [Sections::Same, Sections::Same, Sections::End]
        );
        assert_eq!(fail(&["a"]), Sections::Begin);
        let many: Vec<_> = (0..200).map(|n| n.to_string()).collect();
        fail(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(sections.seen.len(), MAX_SECTIONS);
        let failed = BTreeSet::from(["a".to_owned()]);
        let may_pass = |_| {
            sections.observe(&failed);
            sections.may_pass()
        };
        assert_eq!([0; 4].map(may_pass), [true, true, false, false]);
    }
}
