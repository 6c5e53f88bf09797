//! What all requests share.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aw_output::serve::AllowedHosts;
use aw_query::{Answer, Question};
use aw_service::{Error, info, plain, warn};
use axum::{
    extract::{FromRef, FromRequestParts},
    http::{Uri, request::Parts},
    response::Response,
};
use jiff::tz::TimeZone;
use shm_layout::UnixTime;

use crate::{
    asker::{Asker, Queue},
    attempts::Attempts,
    display,
    download::Download,
    live::Live,
    local_path::local_path,
    log_gate::LogGate,
    pages::FILE_ROWS,
    parameters::Parameters,
    problem::Problem,
    records::Records,
    secrets,
    sending::Sending,
    sessions::Sessions,
    users::UserFile,
    zones,
};

/// Passwords that are checked at a time, each of which needs 19 MiB, and those that wait.
const PASSWORDS: usize = 1;
const WAITING: usize = 8;

/// The headers in which a reverse proxy on the socket names the user and the client, if it does.
#[derive(Clone, Debug, Default)]
pub struct ProxyHeaders {
    pub user: Option<String>,
    pub client: Option<String>,
}

/// What all requests share.
pub struct App {
    pub asker: Asker,
    /// What the rings have now, and how all is.
    pub live: Arc<Live>,
    /// What happened, beside the history.
    pub records: Records,
    pub hosts: AllowedHosts,
    /// The secret that logs in without a user.
    pub token: String,
    pub users: UserFile,
    pub proxy: ProxyHeaders,
    /// Of this process: for the CSRF tokens of users of the proxy.
    pub secret: String,
    pub passwords: Queue,
    pub sending: Sending,
    /// Names that are written, one at a time; none if editors may not name devices.
    pub names: Option<Queue>,
    sessions: Mutex<Sessions>,
    attempts: Mutex<Attempts>,
    strangers: Mutex<LogGate>,
    wrong: Mutex<LogGate>,
    locks: Mutex<LogGate>,
}

impl App {
    pub fn new(
        asker: Asker,
        (live, records): (Arc<Live>, Records),
        hosts: AllowedHosts,
        (token, users): (String, UserFile),
        proxy: ProxyHeaders,
        edit: bool,
    ) -> Result<App, Error> {
        Ok(App {
            asker,
            live,
            records,
            hosts,
            token,
            users,
            proxy,
            secret: secrets::random()?,
            passwords: Queue::new((PASSWORDS, WAITING), (0, 0)),
            sending: Sending::default(),
            names: edit.then(|| Queue::new((1, WAITING), (0, 0))),
            sessions: Mutex::default(),
            attempts: Mutex::default(),
            strangers: Mutex::default(),
            wrong: Mutex::default(),
            locks: Mutex::default(),
        })
    }

    pub fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses a client that has tried too often: a password of this name, or without a name a token.
    pub fn may_try(&self, client: Option<IpAddr>, name: Option<&str>) -> Result<(), Problem> {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        match attempts.wait(client, name, Instant::now()) {
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
        log_bounded(&self.strangers, "requests without a login", line);
    }

    /// Logs a wrong password or token: other requests leave no such line out.
    pub fn log_wrong_login(&self, line: &str) {
        log_bounded(&self.wrong, "wrong logins", line);
    }

    /// Counts a wrong password or token; `of` is what it was for. The line about a client that may try no more is not among
    /// those of strangers, who could omit it by many requests.
    pub fn failed_try(&self, client: Option<IpAddr>, name: Option<&str>, of: &str) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(wait) = attempts.failed(client, name, Instant::now()) else { return };
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

fn log_bounded(gate: &Mutex<LogGate>, of: &str, line: &str) {
    let admitted = gate.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now());
    let Some(omitted) = admitted else { return };
    if omitted > 0 {
        info(format_args!("{omitted} more {of} are not in this log"));
    }
    info(format_args!("- {line}"));
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
    /// In which the page shows times, and understands those without one. The API and files have that of the server.
    pub zone: TimeZone,
    /// Its name, if the URL has it: that of a permanent link.
    pub zone_of_link: Option<String>,
    /// The path and the parameters of the page, without its zone and format.
    pub here: String,
}

impl Visit {
    /// The answer to a question, with times in the zone of the viewer.
    pub async fn ask(&self, question: Question, limit: usize) -> Result<Answer, Problem> {
        self.ask_in(vec![question], None, (limit, &self.zone)).await
    }

    /// The same of several questions, of one network, or in another zone. What the history may lack of it is a remark.
    pub async fn ask_in(
        &self,
        questions: Vec<Question>,
        network: Option<String>,
        (limit, zone): (usize, &TimeZone),
    ) -> Result<Answer, Problem> {
        let until = questions.iter().map(Question::until).max().unwrap_or_else(UnixTime::now);
        let mut answer = self.app.asker.ask(questions, network, (limit, zone)).await?;
        let fault = self.app.live.health().unwritten();
        let is_empty = answer.no_match.is_some();
        let lacking = lacking((until, is_empty), fault, (UnixTime::now(), zone));
        answer.remarks.extend(lacking);
        Ok(answer)
    }

    /// The answer as a file of this name, with times in the zone of the server.
    pub async fn file(
        &self,
        question: Question,
        file: Download,
        name: &str,
    ) -> Result<Response, Problem> {
        let zone = &self.app.asker.zone;
        let answer = self.ask_in(vec![question], None, (FILE_ROWS, zone)).await?;
        file.file(name, answer, zone)
    }
}

/// What an answer about the time until then may lack: what was seen while the history is not written, or in the last minute.
fn lacking(
    (until, is_empty): (UnixTime, bool),
    fault: Option<(String, Option<UnixTime>)>,
    (now, zone): (UnixTime, &TimeZone),
) -> Option<String> {
    const COMMIT: i64 = 60;
    match fault {
        Some((text, since)) => since.is_none_or(|since| until >= since).then(|| {
            let since = since.map(|since| format!(" since {}", display::time(since, zone)));
            format!("this answer has nothing that was seen{}: {text}", since.unwrap_or_default())
        }),
        None => (is_empty && until.seconds() >= now.seconds() - COMMIT)
            .then(|| "what was seen in the last minute may not be in the history yet".to_owned()),
    }
}

/// In the extensions of a request for a page: what [`Visit::here`] has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here(String);

impl Here {
    pub fn of(uri: &Uri) -> Here {
        let is_kept = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            !pair.is_empty() && name != zones::PARAMETER && name != "format"
        };
        let kept: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(is_kept).collect();
        let path = uri.path();
        let here = if kept.is_empty() { path.into() } else { format!("{path}?{}", kept.join("&")) };
        Here(local_path(&here).into())
    }
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
        let mut parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
        let app = Arc::from_ref(state);
        let zone_of_link = parameters.clone().take(zones::PARAMETER);
        let (zone, here) = match parts.extensions.get::<Here>() {
            Some(Here(here)) => {
                (zones::of(&mut parameters, &parts.headers, &app.asker.zone)?, here.clone())
            }
            None => (app.asker.zone.clone(), String::new()),
        };
        Ok(Visit { app, user, parameters, zone, zone_of_link, here })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer about now says that the history is not written; one about last week does not.
    #[test]
    fn what_an_answer_may_lack() {
        let at = |seconds| UnixTime::new(seconds, 0);
        let of = |until, is_empty, fault: Option<i64>| {
            let fault = fault.map(|since| ("aw-sqlite is gone".to_owned(), Some(at(since))));
            lacking((at(until), is_empty), fault, (at(1000), &TimeZone::UTC))
        };
        assert_eq!(of(800, true, None), None);
        assert_eq!(of(1000, false, None), None);
        assert!(of(950, true, None).unwrap().starts_with("what was seen in the last minute"));
        assert_eq!(of(800, true, Some(900)), None);
        let text = "this answer has nothing that was seen since 1970-01-01 00:15:00 +00:00: aw-sqlite is gone";
        assert_eq!(of(2000, false, Some(900)).as_deref(), Some(text));
    }

    #[test]
    fn where_a_page_is() {
        for (uri, here) in [
            ("/", "/"),
            ("/who?ip=10.0.0.1&at=1d&zone=UTC&format=csv", "/who?ip=10.0.0.1&at=1d"),
            ("/ip/fe80%3A%3A1?zone=UTC", "/ip/fe80%3A%3A1"),
            ("//evil.example/", "/"),
        ] {
            assert_eq!(Here::of(&uri.parse().unwrap()), Here(here.into()), "{uri}");
        }
    }

    #[test]
    fn a_lock_names_the_user_and_the_address() {
        let line = locked(Some([192, 0, 2, 1].into()), "alice\u{1b}", Duration::from_secs(300));
        assert!(line.starts_with("log in from 192.0.2.1: "), "{line}");
        assert!(line.contains("the last one for alice?: ") && line.contains("300 s"), "{line}");
        assert!(locked(None, "the token", Duration::ZERO).contains("a local socket"));
    }
}
