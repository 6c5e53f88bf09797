//! A lasting fault: reported once when it begins, and once more when it is over.

use std::fmt::Display;

use crate::{info, warn};

/// Whether a fault is present and was reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    present: bool,
}

impl Condition {
    /// The fault is present: logs a warning unless it was reported before.
    pub fn begins(&mut self, report: impl Display) {
        if !std::mem::replace(&mut self.present, true) {
            warn(report);
        }
    }

    /// The fault is over: logs this if the fault was reported.
    pub fn ends(&mut self, report: impl Display) {
        if std::mem::take(&mut self.present) {
            info(report);
        }
    }

    /// Whether the fault is present.
    pub fn is_present(self) -> bool {
        self.present
    }
}
