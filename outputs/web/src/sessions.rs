//! The sessions of browsers, in memory: after a restart, users log in again. No I/O and no clock.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::options::Role;

/// A session ends so long after its begin.
const LASTS: Duration = Duration::from_secs(7 * 86_400);
/// Sessions at once. Beyond it, the oldest one ends.
const SESSIONS: usize = 1000;

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its user.
    pub user: String,
    pub role: Role,
    /// The line of the user in the file of users: with another one, the session has ended. None: of the token.
    pub record: Option<String>,
    /// What a form must have that changes something.
    pub csrf: String,
    begun: Instant,
}

/// All sessions, by their secret ids.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<String, Session>);

impl Sessions {
    /// Begins a session. `id` and `csrf` are random.
    pub fn begin(
        &mut self,
        (id, csrf): (String, String),
        (user, role, record): (String, Role, Option<String>),
        now: Instant,
    ) {
        self.0.retain(|_, session| now.saturating_duration_since(session.begun) < LASTS);
        if self.0.len() >= SESSIONS {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.begun);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.0.remove(&id);
            }
        }
        self.0.insert(id, Session { user, role, record, csrf, begun: now });
    }

    /// The session of an id, unless it is over.
    pub fn get(&self, id: &str, now: Instant) -> Option<&Session> {
        self.0.get(id).filter(|session| now.saturating_duration_since(session.begun) < LASTS)
    }

    /// Ends a session.
    pub fn end(&mut self, id: &str) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end() {
        let (mut sessions, now) = (Sessions::default(), Instant::now());
        let of = |user: usize| (format!("user{user}"), Role::Reader, None);
        for number in 0..=SESSIONS {
            let ids = (format!("id{number}"), "csrf".into());
            sessions.begin(ids, of(number), now + Duration::from_millis(number as u64));
        }
        assert_eq!(sessions.0.len(), SESSIONS);
        assert_eq!(sessions.get("id0", now), None, "the oldest one gave way");
        assert_eq!(sessions.get("id1", now).unwrap().user, "user1");
        assert_eq!(sessions.get("id1", now + LASTS + Duration::from_secs(1)), None);
        sessions.end("id1");
        assert_eq!(sessions.get("id1", now), None);
        sessions.begin(("new".into(), "csrf".into()), of(0), now + 2 * LASTS);
        assert_eq!(sessions.0.len(), 1);
    }
}
