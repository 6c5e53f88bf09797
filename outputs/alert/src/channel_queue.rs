//! The state of a channel: its rate gate, the message being sent, and whether sending fails.

use std::time::{Duration, Instant};

use aw_notify::Failure;
use aw_output::{info, warn};
use aw_service::Backoff;

use crate::rate_gate::RateGate;

/// After so long without success, `--health` reports a channel: a server that restarts is back by then.
const STUCK: Duration = Duration::from_secs(300);

/// The other channels are notified of a failing channel once in this time, at most: a channel that fails now and then is
/// not reported each time, and two failing channels do not report each other without end.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(3600);

pub struct ChannelQueue {
    pub gate: RateGate,
    /// Whether the gate differs from the stored one.
    pub gate_changed: bool,
    /// The message that the sender process has.
    pub in_flight: Option<i64>,
    /// Whether it has reached the maximum of queued and refused messages.
    pub full: bool,
    /// Whether it has room for important ones nevertheless.
    pub urgent_room: bool,
    /// Whether it is within the channel's hours.
    pub open: bool,
    backoff: Backoff,
    retry_at: Option<Instant>,
    /// Whether the channel refused the last message.
    refusing: bool,
    /// Why the last message could not be sent.
    pub failure: Option<String>,
    announced: Option<Instant>,
    /// Since when no message arrives: the first failure after a success.
    down_since: Option<Instant>,
}

/// What to do with a message after an attempt to send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    Remove,
    Retry,
    SetAside,
}

impl ChannelQueue {
    pub fn new(gate: RateGate) -> ChannelQueue {
        ChannelQueue {
            gate,
            gate_changed: false,
            in_flight: None,
            full: false,
            urgent_room: true,
            open: true,
            backoff: Backoff::default(),
            retry_at: None,
            refusing: false,
            failure: None,
            announced: None,
            down_since: None,
        }
    }

    /// Replaces the gate by the stored one.
    pub fn reset_gate(&mut self, gate: RateGate) {
        (self.gate, self.gate_changed) = (gate, false);
    }

    /// Whether the last message could not be sent.
    pub fn is_failing(&self) -> bool {
        self.is_down() || self.refusing
    }

    /// Whether the server or program could not be reached.
    pub fn is_down(&self) -> bool {
        self.backoff.is_failing()
    }

    /// For how many seconds it is down, if that are so many that it does not pass by itself.
    pub fn stuck(&self, now: Instant) -> Option<u64> {
        let down = now.saturating_duration_since(self.down_since?);
        (down >= STUCK).then_some(down.as_secs())
    }

    /// `, tried again at 05:07:44`, by the clock of this machine, while it is down.
    pub fn next_try(&self) -> String {
        let Some(when) = self.retry_at else { return String::new() };
        let pause = when.saturating_duration_since(Instant::now());
        let at = jiff::Zoned::now().saturating_add(pause);
        format!(", tried again at {}", at.strftime("%H:%M:%S"))
    }

    /// Whether the next message can be sent now.
    pub fn is_ready(&self) -> bool {
        let retry = self.retry_at.is_none_or(|when| when <= Instant::now());
        self.open && self.in_flight.is_none() && retry
    }

    /// Records the result of an attempt and logs the beginning and the end of a failure. Returns what to do with the
    /// message, and whether to notify the other channels.
    pub fn finished(&mut self, channel: &str, failure: Option<&Failure>) -> (Disposition, bool) {
        self.in_flight = None;
        self.retry_at = None;
        self.failure = failure.map(Failure::to_string);
        let (is_new, disposition) = match failure {
            None => {
                if self.is_failing() {
                    info(format_args!("channel {channel} works again"));
                }
                self.backoff.reset();
                (self.refusing, self.down_since) = (false, None);
                return (Disposition::Remove, false);
            }
            Some(Failure::Down(_)) => {
                let is_new = !self.is_down();
                self.down_since.get_or_insert_with(Instant::now);
                self.retry_at = Some(Instant::now() + self.backoff.pause());
                (is_new, Disposition::Retry)
            }
            Some(Failure::Refused(_)) => {
                self.backoff.reset();
                self.down_since.get_or_insert_with(Instant::now); // nothing arrives either
                (!std::mem::replace(&mut self.refusing, true), Disposition::SetAside)
            }
        };
        match failure.filter(|_| is_new) {
            Some(Failure::Down(why)) => warn(format_args!(
                "channel {channel}: {why}: its messages stay in the queue{}",
                self.next_try()
            )),
            Some(Failure::Refused(why)) => {
                warn(format_args!(
                    "channel {channel}: {why}: this message is set aside until the next start"
                ));
            }
            None => {}
        }
        let announce =
            is_new && self.announced.is_none_or(|last| last.elapsed() >= ANNOUNCE_INTERVAL);
        if announce {
            self.announced = Some(Instant::now());
        }
        (disposition, announce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_recovery() {
        let mut queue = ChannelQueue::new(RateGate::default());
        let down = Failure::Down("no route".into());
        assert_eq!(queue.finished("a", Some(&down)), (Disposition::Retry, true));
        assert!(queue.is_down() && !queue.is_ready());
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        assert_eq!((queue.stuck(later(290)), queue.stuck(later(301))), (None, Some(301)));
        assert_eq!(queue.finished("a", Some(&down)), (Disposition::Retry, false));
        assert_eq!(queue.stuck(later(301)), Some(301), "since the first failure");
        let refused = Failure::Refused("too long".into());
        assert_eq!(queue.finished("a", Some(&refused)), (Disposition::SetAside, false));
        assert_eq!(
            queue.stuck(later(301)),
            Some(301),
            "a server that refuses all lets none arrive"
        );
        assert!(!queue.is_down() && queue.is_failing() && queue.is_ready());
        assert_eq!(queue.finished("a", None), (Disposition::Remove, false));
        assert!(!queue.is_failing() && queue.stuck(later(900)).is_none());
    }
}
