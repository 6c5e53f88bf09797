//! Faults of each router itself, such as one that is switched off: each is reported in time, and those that began together in
//! one report. If they are all, this machine or its uplink is the likely cause.

use std::time::Instant;

use super::{Affected, LONGEST_GATHERING, NAMED, Places, QUIET, SharedReport, State, by_receiver};

/// The subjects that have words of their own.
pub const UNREACHABLE: &str = "unreachable";
pub const HOST_KEY_CHANGED: &str = "HOST KEY CHANGED";

/// The end of such a fault.
pub fn over(subject: &str) -> &'static str {
    match subject {
        UNREACHABLE => "connected again",
        HOST_KEY_CHANGED => "host key right again",
        _ => "followed again",
    }
}

impl State {
    /// The reports of each list of receivers. `count`: the routers that this machine connects to without a jump host.
    pub(super) fn due_own(
        &mut self,
        count: usize,
        places: &Places,
        now: Instant,
    ) -> Vec<SharedReport> {
        let mut reports = Vec::new();
        let is_due = |one: &Affected| !one.is_reported && now >= one.at_the_latest;
        if !self.affected.values().any(is_due) {
            return reports; // at most calls, and there may be hundreds of routers
        }
        for (to, mut routers) in by_receiver(self.affected.values().map(|one| &one.router), places)
        {
            // Those that have waited for half of their time are reported with the first one whose time is over.
            routers.retain(|router| {
                let one = &self.affected[&router.name];
                !one.is_reported && now >= one.since + (one.at_the_latest - one.since) / 2
            });
            let ones = || routers.iter().map(|router| &self.affected[&router.name]);
            let first = ones().map(|one| one.at_the_latest).min();
            let (Some(first), Some(last)) = (first, ones().map(|one| one.since).max()) else {
                continue;
            };
            let is_gathered = count <= 1 || now >= last + QUIET || now >= first + LONGEST_GATHERING;
            if now < first || !is_gathered {
                continue;
            }
            let (is_all, subject) = (count > 1 && self.affected.len() >= count, self.fault.subject);
            let subject = match &*routers {
                [one] => format!("{}: {subject}", one.name),
                all if is_all && all.len() == self.affected.len() => {
                    format!("all {} routers: {subject}", all.len())
                }
                some => format!("{} routers: {subject}", some.len()),
            };
            let why = ones()
                .take(NAMED)
                .map(|one| format!("{} ({}): {}", one.router.name, one.router.address, one.why));
            let mut lines: Vec<_> = why.collect();
            if let [one] = &*routers {
                let why = &self.affected[&one.name].why;
                lines = vec![format!("{} ({})\n\n{why}", one.name, one.address)];
            } else {
                lines[0].insert_str(0, "at the same time:\n\n");
            }
            if let Some(more @ 1..) = routers.len().checked_sub(NAMED) {
                lines.push(format!("and {more} more (aw-routeros show)"));
            }
            if is_all {
                lines.push(format!("\n{}", all(self.fault.subject)));
            }
            reports.push(SharedReport {
                to,
                line: match is_all {
                    true => format!("{subject}: {}", all(self.fault.subject)),
                    false => subject.clone(),
                },
                text: lines.join("\n") + "\n",
                subject,
                is_of_several: routers.len() > 1,
                is_over: false,
            });
            for router in &routers {
                let one = self.affected.get_mut(&router.name);
                one.into_iter().for_each(|one| one.is_reported = true);
            }
        }
        reports
    }
}

/// What it means that all routers have the fault.
fn all(subject: &str) -> &'static str {
    match subject {
        UNREACHABLE => {
            "no router can be reached: the network of this machine or its uplink may have failed (ip address; ip route; ping)"
        }
        _ => "all routers are affected: the cause may be what they share, such as the way to them",
    }
}
