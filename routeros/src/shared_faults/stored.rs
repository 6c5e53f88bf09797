//! What was mailed of each router, as it is stored in its state: a restart mails the end, and no fault a second time.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Left, OwnFault, Reported, SharedCause, SharedFault, SharedFaults, State};
use crate::config::{Router, RouterName};

/// A fault that was mailed and whose end was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedFault {
    by: SharedCause,
    subject: String,
    keys: BTreeSet<String>,
    /// When it began; an earlier version did not store it.
    #[serde(default)]
    since: Option<Timestamp>,
}

/// The same moment by two clocks.
#[derive(Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub time: Timestamp,
}

impl Now {
    pub fn of_clocks() -> Now {
        Now { instant: Instant::now(), time: Timestamp::now() }
    }

    /// An earlier time; a later one, from before the clock was set back, is now.
    pub fn instant(self, time: Timestamp) -> Instant {
        let ago = Duration::try_from(self.time.duration_since(time)).unwrap_or_default();
        self.instant.checked_sub(ago).unwrap_or(self.instant)
    }

    pub fn time(self, instant: Instant) -> Timestamp {
        let ago = self.instant.saturating_duration_since(instant);
        self.time.checked_sub(ago).unwrap_or(self.time)
    }
}

impl ReportedFault {
    /// What follows is another one, because the router has another address.
    pub fn begins_again(&mut self, now: Timestamp) {
        if self.by.is_of_address() {
            self.since = Some(now);
        }
    }

    /// The router refused the login, or was not tried because others did.
    pub fn is_of_login(&self) -> bool {
        matches!(self.by, SharedCause::Login(_))
    }
}

/// Those that are known to this version.
pub fn read_reported<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ReportedFault>, D::Error> {
    let values = Vec::<serde_json::Value>::deserialize(from)?;
    Ok(values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect())
}

impl SharedFaults {
    /// What an earlier process mailed of a router. What this one knows already is left as it is.
    pub fn restore(&mut self, router: &Arc<Router>, faults: Vec<ReportedFault>, now: Now) {
        for ReportedFault { by, subject, mut keys, since } in faults {
            // An earlier version stored none.
            if by == SharedCause::Own(OwnFault::Unreachable) && keys.remove("") {
                keys.insert(router.address.to_string());
            }
            let state = self.states.entry(by.clone()).or_insert_with(|| {
                let fault = SharedFault::new(by, "", String::new());
                State::new(SharedFault { subject: subject.into(), ..fault })
            });
            let name = &router.name;
            if !state.affected.contains_key(name) && !state.ended.contains_key(name) {
                let since = since.map_or(now.instant, |since| now.instant(since));
                let reported = Reported { keys, since, at: now.instant };
                let left = || Left { router: Arc::clone(router), reported };
                state.left.entry(name.clone()).or_insert_with(left);
            }
        }
    }

    /// The routers of which something else is to be stored since the last call.
    pub fn take_changed(&mut self, now: Now) -> BTreeMap<RouterName, Vec<ReportedFault>> {
        let changed = take(&mut self.changed);
        changed.into_iter().map(|name| (name.clone(), self.reported(&name, now))).collect()
    }

    fn reported(&self, name: &RouterName, now: Now) -> Vec<ReportedFault> {
        let of_state = |(by, state): (&SharedCause, &State)| {
            let affected = state.affected.get(name).and_then(|one| one.reported.as_ref());
            let left = state.left.get(name).map(|left| &left.reported);
            let ended = state.ended.get(name).map(|ended| &ended.reported);
            let Reported { keys, since, .. } = affected.or(left).or(ended)?;
            Some(ReportedFault {
                by: by.clone(),
                subject: state.fault.subject.clone().into_owned(),
                keys: keys.clone(),
                since: Some(now.time(*since)),
            })
        };
        self.states.iter().filter_map(of_state).collect()
    }
}
