//! What was mailed of each router, as it is stored in its state: a restart mails the end, and no fault a second time.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::take,
    sync::Arc,
    time::Instant,
};

use serde::{Deserialize, Deserializer, Serialize};

use super::{Left, Reported, SharedCause, SharedFault, SharedFaults, State};
use crate::config::{Router, RouterName};

/// A fault that was mailed and whose end was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedFault {
    by: SharedCause,
    subject: String,
    keys: BTreeSet<String>,
}

impl ReportedFault {
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
    pub fn restore(&mut self, router: &Arc<Router>, faults: Vec<ReportedFault>, now: Instant) {
        for ReportedFault { by, subject, keys } in faults {
            let state = self.states.entry(by.clone()).or_insert_with(|| {
                let fault = SharedFault::new(by, "", String::new());
                State::new(SharedFault { subject: subject.into(), ..fault })
            });
            let name = &router.name;
            if !state.affected.contains_key(name) && !state.ended.contains_key(name) {
                let left =
                    Left { router: Arc::clone(router), reported: Reported { keys, at: now } };
                state.left.entry(name.clone()).or_insert(left);
            }
        }
    }

    /// The routers of which something else is to be stored since the last call.
    pub fn take_changed(&mut self) -> BTreeMap<RouterName, Vec<ReportedFault>> {
        let changed = take(&mut self.changed);
        changed.into_iter().map(|name| (name.clone(), self.reported(&name))).collect()
    }

    fn reported(&self, name: &RouterName) -> Vec<ReportedFault> {
        let of_state = |(by, state): (&SharedCause, &State)| {
            let affected = state.affected.get(name).and_then(|one| one.reported.as_ref());
            let left = state.left.get(name).map(|left| &left.reported);
            let ended = state.ended.get(name).map(|ended| &ended.reported);
            Some(ReportedFault {
                by: by.clone(),
                subject: state.fault.subject.clone().into_owned(),
                keys: affected.or(left).or(ended)?.keys.clone(),
            })
        };
        self.states.iter().filter_map(of_state).collect()
    }
}
