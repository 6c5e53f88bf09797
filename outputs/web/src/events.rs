//! `/api/v1/events`: what is new in the rings, as server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use aw_service::{count_of, info};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use hyper::body::Frame;
use serde_json::json;
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::{Instant as Deadline, sleep_until, timeout},
};

use crate::{
    app::{App, User, Visit},
    guard::token_user,
    live::{Viewer, lost, message},
    problem::Problem,
};

/// A line that says that the stream is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A stream ends after this time, and browsers begin another one: a user that was removed sees no more.
const LASTS: Duration = Duration::from_secs(300);
/// How often at most, with what is sent, the file of users is read: it ends the stream of a user that was removed.
const CHECKED: Duration = Duration::from_secs(5);
/// How soon a browser begins it.
const RETRY: u32 = 2000;

/// The stream of a viewer, as the body of an answer.
struct EventStream(mpsc::Receiver<Bytes>);

impl hyper::body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Without a ring there is no stream.
pub async fn events(visit: Visit, headers: HeaderMap) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    let Visit { app, user, .. } = visit;
    if app.live.rings.is_empty() {
        return Err(Problem::new(
            axum::http::StatusCode::NOT_FOUND,
            "no ring is followed (start aw-web with --ring NAME)",
        ));
    }
    let after = headers.get("last-event-id").and_then(|id| number_of(id, &app.live.run));
    // Many may share the token.
    let name = Some(&*user.name).filter(|name| *name != token_user().name);
    let viewer = app.live.enter(name, after).ok_or_else(|| {
        Problem::busy("too many live pages are open (close one, or try again later)", 30)
    })?;
    let begin = begin(&app);
    // One part waits while the client takes another one.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(send(app, user, viewer, begin, sender));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // For nginx, which otherwise gathers.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::new(EventStream(receiver))).into_response())
}

/// The number in the id of a browser's last event, `RUN-NUMBER`, if it is of this process.
fn number_of(id: &HeaderValue, run: &str) -> Option<u64> {
    id.to_str().ok()?.strip_prefix(run)?.strip_prefix('-')?.parse().ok()
}

fn begin(app: &App) -> String {
    let zone = &app.asker.zone;
    let rings: Vec<_> = app.live.rings.iter().map(|ring| ring.as_str()).collect();
    let text = format!("retry: {RETRY}\n\n") + &message("begin", &json!({ "rings": rings }));
    text + &message("health", &app.live.health().summary(zone))
}

/// Passes the parts on, until the client has gone, its session is over, or the program ends.
async fn send(
    app: Arc<App>,
    user: User,
    mut viewer: Viewer,
    begin: String,
    sender: mpsc::Sender<Bytes>,
) {
    let end = Deadline::now() + LASTS;
    let mut checked = Instant::now();
    let (mut next, mut all_lost) = (viewer.next, 0);
    let mut text = Bytes::from(begin);
    loop {
        if !text.is_empty() {
            tokio::select! {
                sent = sender.send(text) => if sent.is_err() { break },
                () = sleep_until(end) => break,
            }
        }
        if app.live.has_ended() || !is_logged_in(&app, &user) {
            break;
        }
        if checked.elapsed() >= CHECKED {
            if !is_as_at_login(&app, &user) {
                break;
            }
            checked = Instant::now();
        }
        let missed = app.live.missed(&viewer, next);
        let part = async {
            match missed {
                Some(part) => Ok(part),
                None => viewer.parts.recv().await,
            }
        };
        let part = tokio::select! {
            part = timeout(HEARTBEAT, part) => part,
            () = sender.closed() => break,
            () = sleep_until(end) => break,
        };
        text = match part {
            Err(_) => Bytes::from_static(b": alive\n\n"),
            Ok(Err(RecvError::Closed)) => break,
            // The next part shows how many events it lost.
            Ok(Err(RecvError::Lagged(_))) => Bytes::new(),
            Ok(Ok(part)) => {
                let number = part.first.saturating_sub(next);
                next = part.end;
                all_lost += number;
                match number {
                    0 => part.text,
                    number => [lost(number).as_bytes(), &part.text].concat().into(),
                }
            }
        };
    }
    if all_lost > 0 {
        let events = count_of(all_lost, "event", "events");
        info(format_args!(
            "{}: a live page did not get {events}: it was too slow, or came back too late",
            user.name
        ));
    }
}

fn is_logged_in(app: &App, user: &User) -> bool {
    match &user.session {
        Some(id) => app.sessions().get(id, Instant::now()).is_some(),
        None => true, // of each request, and so for the time of a stream
    }
}

/// Whether the file of users has the user of a session as at the login, as the guard asks for each request. A file that cannot be
/// read ends the stream, too: the next request reports it.
fn is_as_at_login(app: &App, user: &User) -> bool {
    let Some(id) = &user.session else { return true };
    let session = app.sessions().get(id, Instant::now()).cloned();
    let Some(record) = session.and_then(|session| session.record) else { return true };
    matches!(app.users.find(&user.name), Ok(Some(now)) if now.line() == record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_of_a_browser() {
        let of = |id: &'static str| number_of(&HeaderValue::from_static(id), "ab");
        assert_eq!(of("ab-5"), Some(5));
        for other in ["", "5", "cd-5", "ab-", "ab--1"] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
