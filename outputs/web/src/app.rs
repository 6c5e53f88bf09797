//! What all requests share.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aw_output::serve::AllowedHosts;
use aw_service::{Error, info, plain, warn};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::request::Parts,
};

use crate::{
    asker::{Asker, Queue},
    attempts::Attempts,
    log_gate::LogGate,
    parameters::Parameters,
    problem::Problem,
    secrets,
    sessions::Sessions,
    users::UserFile,
};

/// Passwords that are checked at a time, each of which needs 19 MiB, and those that wait.
const PASSWORDS: usize = 1;
const WAITING: usize = 8;

/// What all requests share.
pub struct App {
    pub asker: Asker,
    pub hosts: AllowedHosts,
    /// The secret that logs in without a user.
    pub token: String,
    pub users: UserFile,
    /// The header in which the reverse proxy names the user.
    pub proxy_header: Option<String>,
    /// Of this process: for the CSRF tokens of users of the proxy.
    pub secret: String,
    pub passwords: Queue,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    strangers: Mutex<LogGate>,
    locks: Mutex<LogGate>,
}

impl App {
    pub fn new(
        asker: Asker,
        hosts: AllowedHosts,
        (token, users): (String, UserFile),
        proxy_header: Option<String>,
    ) -> Result<App, Error> {
        Ok(App {
            asker,
            hosts,
            token,
            users,
            proxy_header,
            secret: secrets::random()?,
            passwords: Queue::new(PASSWORDS, WAITING),
            sessions: Mutex::default(),
            attempts: Mutex::default(),
            strangers: Mutex::default(),
            locks: Mutex::default(),
        })
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a client that has tried too often.
    pub fn may_try(&self, client: Option<IpAddr>) -> Result<(), Problem> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        match attempts.wait(client, Instant::now()) {
            None => Ok(()),
            Some(wait) => Err(Problem {
                status: axum::http::StatusCode::TOO_MANY_REQUESTS,
                why: format!(
                    "too many wrong passwords or tokens from this address (try again in {} s)",
                    wait.as_secs() + 1
                ),
                retry_after: Some(wait.as_secs() + 1),
            }),
        }
    }

    /// Logs a request without a login, of which there may be any number.
    pub fn log_stranger(&self, line: &str) {
        let mut gate = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(omitted) = gate.admit(Instant::now()) else { return };
        drop(gate);
        if omitted > 0 {
            info(format_args!("{omitted} more requests without a login are not in this log"));
        }
        info(format_args!("- {line}"));
    }

    /// Counts a wrong password or token; `of` is what it was for. The line about a client that may try no more is not among
    /// those of strangers, who could omit it by many requests.
    pub fn failed_try(&self, client: Option<IpAddr>, of: &str) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wait) = attempts.failed(client, Instant::now()) else { return };
        drop(attempts);
        let mut gate = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(omitted) = gate.admit(Instant::now()) else { return };
        drop(gate);
        let others = match omitted {
            0 => String::new(),
            omitted => {
                format!("; so it was for {omitted} more addresses, which are not in this log")
            }
        };
        warn(locked(client, of, wait) + &others);
    }
}

fn locked(client: Option<IpAddr>, of: &str, wait: Duration) -> String {
    let client = client_name(client);
    let wait = wait.as_secs();
    format!(
        "log in from {client}: too many wrong passwords or tokens, the last one for {}: no other one is accepted from there for {wait} s (if it is no user who mistypes, keep that address away with a firewall)",
        plain(of)
    )
}

/// A client, for the log.
pub fn client_name(client: Option<IpAddr>) -> String {
    client.map_or("a local socket".into(), |ip| ip.to_string())
}

/// Who asks, as the guard found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub role: crate::options::Role,
    /// What a form must have that changes something.
    pub csrf: String,
    /// The id of the session; none for a token in a header and for a user of the proxy.
    pub session: Option<String>,
}

/// A request that the guard let in, for the handler of a page: all that it needs but its path.
pub struct Visit {
    pub app: Arc<App>,
    pub user: User,
    /// Of the URL.
    pub parameters: Parameters,
}

impl<S> FromRequestParts<S> for Visit
where
    Arc<App>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Visit, Problem> {
        let user = parts.extensions.get::<User>().cloned();
        let user =
            user.ok_or_else(|| Problem::new(axum::http::StatusCode::UNAUTHORIZED, "log in first"))?;
        let parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
        Ok(Visit { app: Arc::from_ref(state), user, parameters })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_names_the_user_and_the_address() {
        let line = locked(Some([192, 0, 2, 1].into()), "alice\u{1b}", Duration::from_secs(300));
        assert!(line.starts_with("log in from 192.0.2.1: "), "{line}");
        assert!(line.contains("the last one for alice?: ") && line.contains("300 s"), "{line}");
        assert!(locked(None, "the token", Duration::ZERO).contains("a local socket"));
    }
}
