//! When the next export of a connected router is due.

use std::time::Duration;

/// The longest pause after a complete export: a slow router is not kept busy with exports.
const LONGEST_REST: Duration = Duration::from_secs(30);

/// The waiting times before an export.
#[derive(Clone, Copy, Debug)]
pub struct ExportTiming {
    /// From the last line about a change to the export: changes come in groups, and take a moment to take effect.
    pub settle: Duration,
    /// From the first line about a change to the export, at most.
    pub latest: Duration,
    /// From one export to the next if the log shows no change.
    pub interval: Duration,
}

#[derive(Debug)]
pub struct ExportSchedule {
    timing: ExportTiming,
    /// The first and the last line about a change since the last export began.
    first_line: Option<Duration>,
    last_line: Option<Duration>,
    /// When an export is due because of a line by syslog, and the earliest time of the next one.
    syslog_due: Option<Duration>,
    syslog_rest: Duration,
    /// No export before this time: the router rests four times as long as the last export took, up to 30 s.
    rest_until: Duration,
    /// The next periodic export.
    periodic: Duration,
    /// An export was complete in this connection.
    exported: bool,
}

impl ExportSchedule {
    /// The first export is due at once.
    pub fn new(timing: ExportTiming) -> ExportSchedule {
        let (rest_until, periodic) = (Duration::ZERO, Duration::ZERO);
        let (first_line, last_line, exported) = (None, None, false);
        let (syslog_due, syslog_rest) = (None, Duration::ZERO);
        ExportSchedule {
            timing,
            first_line,
            last_line,
            syslog_due,
            syslog_rest,
            rest_until,
            periodic,
            exported,
        }
    }

    /// Delays the first export: a change may have happened just before the connection.
    pub fn delay_first(&mut self, now: Duration) {
        self.periodic = now + self.timing.settle;
    }

    pub fn line_received(&mut self, now: Duration) {
        self.first_line.get_or_insert(now);
        self.last_line = Some(now);
    }

    /// A line came by syslog. Since it may be forged, an export because of such lines is due every 30 s at most.
    pub fn syslog_line_received(&mut self, now: Duration) {
        if self.syslog_due.is_none() {
            let due = (now + self.timing.settle).max(self.syslog_rest);
            (self.syslog_due, self.syslog_rest) = (Some(due), due + LONGEST_REST);
        }
    }

    pub fn due(&self) -> Duration {
        let after_lines = self.last_line.zip(self.first_line).map(|(last, first)| {
            (last + self.timing.settle).min(first + self.timing.latest).max(self.rest_until)
        });
        let after_syslog = self.syslog_due.map(|due| due.max(self.rest_until));
        let after_lines = after_lines.into_iter().chain(after_syslog).min();
        let periodic = self.periodic.max(self.rest_until);
        after_lines.map_or(self.periodic, |due| due.min(periodic))
    }

    /// The user requests an export now: it waits neither for the interval nor for the router to rest, but for lines that were
    /// just received to take effect.
    pub fn request(&mut self, now: Duration) {
        self.rest_until = self.rest_until.min(now);
        let settled = self.last_line.map_or(now, |last| last + self.timing.settle);
        self.periodic = now.max(settled);
    }

    /// An export begins: later lines are for the next one.
    pub fn export_began(&mut self) {
        (self.first_line, self.last_line, self.syslog_due) = (None, None, None);
    }

    /// The export that began at `began` is complete.
    pub fn export_complete(&mut self, began: Duration, now: Duration) {
        // The first export is no measure: at the start all routers are asked at once, and this program is the slow one.
        if self.exported {
            self.rest_until = now + (now.saturating_sub(began) * 4).min(LONGEST_REST);
        }
        self.periodic = now + self.timing.interval;
        self.exported = true;
    }

    /// The next export is due after `pause` at the latest.
    pub fn again_after(&mut self, now: Duration, pause: Duration) {
        self.periodic = self.periodic.min(now + pause);
    }

    /// The export failed: the next one is due after `pause`, whatever the log has meanwhile.
    pub fn export_failed(&mut self, now: Duration, pause: Duration) {
        (self.first_line, self.last_line, self.syslog_due) = (None, None, None);
        (self.rest_until, self.periodic) = (now + pause, now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request waits neither for the interval nor for the router to rest, nor for the pause after a failure, but for
    /// the changes of lines that were just received.
    #[test]
    fn a_request() {
        let s = Duration::from_secs;
        let timing = ExportTiming { settle: s(2), latest: s(30), interval: s(1800) };
        let mut schedule = ExportSchedule::new(timing);
        schedule.export_complete(s(0), s(1));
        schedule.export_complete(s(10), s(20)); // it took 10 s: a rest of 30 s
        assert_eq!(schedule.due(), s(1820));
        schedule.line_received(s(21));
        assert_eq!(schedule.due(), s(50));
        schedule.request(s(22));
        assert_eq!(schedule.due(), s(23));
        schedule.export_began();
        schedule.export_failed(s(24), s(600));
        assert_eq!(schedule.due(), s(624));
        schedule.request(s(30));
        assert_eq!(schedule.due(), s(30));
        // Lines that do not end delay it by 30 s at most.
        schedule.export_complete(s(30), s(31));
        for at in 100..140 {
            schedule.line_received(s(at));
            schedule.request(s(at));
        }
        assert_eq!(schedule.due(), s(130));
    }
}
