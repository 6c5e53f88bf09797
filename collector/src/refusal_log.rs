//! `-v`: logs the number of refused frames by reason, at most once a minute.

use std::time::{Duration, Instant};

use shm_layout::{
    Counter, InterfaceCounters, InterfaceName, MAX_INTERFACES, NameCounter, OuterHeader,
};

use crate::{info, tunnel, warn};

/// Frames refused since the last message.
pub struct RefusalLog {
    counts: [u64; Counter::ALL.len()],
    /// Of the last frame counted as `UnknownHeader`.
    hidden_by: Option<(InterfaceName, OuterHeader)>,
    /// The interfaces for which that was logged.
    hidden_on: Vec<InterfaceName>,
    logged: Option<Instant>,
}

impl RefusalLog {
    const INTERVAL: Duration = Duration::from_secs(60);

    /// No frames yet.
    pub fn new() -> RefusalLog {
        RefusalLog {
            counts: [0; Counter::ALL.len()],
            hidden_by: None,
            hidden_on: Vec::new(),
            logged: None,
        }
    }

    /// Counts a refused frame.
    pub fn count(&mut self, reason: Counter) {
        self.counts[reason as usize] += 1;
    }

    /// Notes which header hid a message, and logs it once for each interface: a sensor that sees nothing else must say
    /// why.
    pub fn hidden(&mut self, interface: InterfaceName, header: OuterHeader) {
        self.hidden_by = Some((interface, header));
        if self.hidden_on.contains(&interface) || self.hidden_on.len() >= MAX_INTERFACES {
            return;
        }
        self.hidden_on.push(interface);
        let remedy = match header {
            OuterHeader::EtherType(header) if !tunnel::FRAMES.contains(&header) => {
                "on a switch's CPU port, name a port or the bridge, such as lan0 or br-lan; otherwise let the mirror send frames without this header"
            }
            _ => "if a mirror or a fabric sends to this interface, add --decapsulate",
        };
        warn(format_args!(
            "{interface}: ARP or Neighbor Discovery behind {header} is not read ({remedy}); counted as unknown_header"
        ));
    }

    /// Logs the counts if the last message is a minute ago.
    pub fn log_if_due(&mut self) {
        if self.logged.is_none_or(|logged| logged.elapsed() >= Self::INTERVAL) {
            self.log();
        }
    }

    /// Logs the counts, if there are any, and resets them.
    pub fn log(&mut self) {
        let counts = Counter::ALL.iter().zip(&self.counts).filter(|(_, count)| **count > 0);
        let counts: Vec<_> =
            counts.map(|(reason, count)| format!("{count} {}", reason.name())).collect();
        if !counts.is_empty() {
            let hidden = self.hidden_by.map(|(name, header)| format!(" ({header} on {name})"));
            let hidden = hidden.unwrap_or_default();
            info(format_args!("frames refused: {}{hidden}", counts.join(", ")));
            self.counts = [0; Counter::ALL.len()];
            self.hidden_by = None;
            self.logged = Some(Instant::now());
        }
    }
}

/// Logs the counters of one interface, one line for each.
pub fn log_counters(counters: &InterfaceCounters) {
    for counter in Counter::ALL {
        let number = counters.get(*counter);
        if number > 0 {
            info(format_args!("{}: {number} {}", counters.name, counter.name()));
        }
    }
    if let Some(header) = counters.hidden_by {
        info(format_args!("{}: unknown_header: the last was {header}", counters.name));
    }
}

/// The same of the ring of names.
pub fn log_names(counters: &InterfaceCounters) {
    for counter in NameCounter::ALL {
        let number = counters.get(*counter);
        if number > 0 {
            info(format_args!("{}: names: {number} {}", counters.name, counter.name()));
        }
    }
}
