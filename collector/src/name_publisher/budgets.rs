//! Limits what a flood may store: hosts cannot overrun what routers, servers and switches have announced.

use shm_layout::UnixTime;

/// Nanoseconds for which a record uses the budget: 50 records a second.
const EACH: i64 = 20_000_000;
/// Records that may come at once. Both budgets together are three quarters of the ring.
const BURST: [i64; 2] = [4096, 2048];

/// A budget of hosts, and one of routers, servers and switches.
#[derive(Debug, Default)]
pub struct Budgets {
    /// Until when the budget is used.
    used_until: [i64; 2],
}

impl Budgets {
    /// Whether these records may be stored; if so, they use the budget.
    pub fn admits(&mut self, is_infrastructure: bool, now: UnixTime, records: usize) -> bool {
        let (now, which) = (now.as_nanos(), usize::from(is_infrastructure));
        let (used_until, most) = (&mut self.used_until[which], BURST[which] * EACH);
        let used = used_until.saturating_sub(now).max(0);
        // More than it can be: the clock was set back.
        let used = if used > most { 0 } else { used };
        let needed = used + records as i64 * EACH;
        let admits = needed <= most;
        if admits {
            *used_until = now.saturating_add(needed);
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(budgets: &mut Budgets, is_infrastructure: bool, second: i64) -> usize {
        let now = UnixTime::new(second, 0);
        (0..20_000).filter(|_| budgets.admits(is_infrastructure, now, 1)).count()
    }

    /// A flood of one kind leaves the other one's budget, and more time gives more.
    #[test]
    fn floods() {
        let mut budgets = Budgets::default();
        assert_eq!(admitted(&mut budgets, false, 1000), 4096);
        assert_eq!(admitted(&mut budgets, true, 1000), 2048);
        assert_eq!(admitted(&mut budgets, false, 1002), 100);
        assert_eq!(admitted(&mut budgets, true, 2000), 2048);
    }

    #[test]
    fn a_clock_that_was_set_back() {
        let mut budgets = Budgets::default();
        admitted(&mut budgets, false, 1000);
        assert_eq!(admitted(&mut budgets, false, 10), 4096);
    }
}
