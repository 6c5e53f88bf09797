//! A lasting fault: reported once when it begins, and once more when it is over.

use std::fmt::Display;

use crate::{info, warn};

/// Whether a fault is present and was reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// The cause that was reported; empty if a change of the cause is not to be reported.
    reported: Option<String>,
}

impl Condition {
    /// The fault is present: logs a warning unless it was reported before.
    pub fn begins(&mut self, report: impl Display) {
        if self.set("") {
            warn(report);
        }
    }

    /// The fault is over: logs this if the fault was reported.
    pub fn ends(&mut self, report: impl Display) {
        if self.clear() {
            info(report);
        }
    }

    /// The fault is present. Returns true if it was not reported with this cause before, and the caller must report it.
    pub fn set(&mut self, cause: &str) -> bool {
        let is_new = self.reported.as_deref() != Some(cause);
        if is_new {
            self.reported = Some(cause.into());
        }
        is_new
    }

    /// The fault is over. Returns true if it was reported, and the caller must report its end.
    pub fn clear(&mut self) -> bool {
        self.reported.take().is_some()
    }

    /// Whether the fault is present.
    pub fn is_present(&self) -> bool {
        self.reported.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_reported_once() {
        let mut fault = Condition::default();
        assert!(!fault.clear() && !fault.is_present());
        assert!(fault.set("a") && !fault.set("a") && fault.set("b") && fault.is_present());
        assert!(fault.clear() && !fault.clear() && fault.set("b"));
    }
}
