//! What all pages share: the frame around them, and the style sheet. A page is a file here, a template, and a line in
//! `routes.rs`.

pub mod device;
pub mod home;
pub mod login;
pub mod network;
pub mod networks;
pub mod now;
pub mod periods;
pub mod remarks;
pub mod search;
pub mod who;

use std::sync::LazyLock;

use askama::Template;
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::{
    app::{User, Visit},
    local_path::local_path,
    problem::Problem,
};

const STYLE: &str = include_str!("../templates/style.css");

/// The path of the style sheet, with its hash: browsers keep it until there is another one.
pub static STYLE_PATH: LazyLock<String> = LazyLock::new(|| {
    let hash: String =
        Sha256::digest(STYLE).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("/style-{hash}.css")
});

/// Devices that were not searched, of a list of the latest ones.
pub const UNSEARCHED: &str =
    "devices, which were seen before these, are not searched (aw-query devices has all of them)";

/// Rows that a page shows.
pub const ROWS: usize = 200;

/// What is around each page.
#[derive(Clone, Debug)]
pub struct Frame {
    style: &'static str,
    user: Option<User>,
    /// The text of the search box.
    question: String,
    /// The zone of all times, with its offset now.
    zone: String,
}

impl Frame {
    /// Of a page with an answer; `question` is the text of the search box.
    pub fn new(visit: &Visit, question: &str) -> Frame {
        let zone = &visit.app.asker.zone;
        let offset = Timestamp::now().to_zoned(zone.clone()).strftime("%:z").to_string();
        let zone = zone.iana_name().map_or(offset.clone(), |name| format!("{name}, {offset}"));
        Frame { zone, question: question.into(), ..Frame::of(Some(&visit.user)) }
    }

    fn of(user: Option<&User>) -> Frame {
        Frame {
            style: &STYLE_PATH,
            user: user.cloned(),
            question: String::new(),
            zone: String::new(),
        }
    }
}

/// A page of a template.
pub fn page(template: &impl Template) -> Result<Response, Problem> {
    let html = template.render().map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("render the page: {error} (please report this bug)"),
        )
    })?;
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    Ok(([(CONTENT_TYPE, kind)], html).into_response())
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    heading: &'a str,
    why: &'a str,
}

/// The page of a problem.
pub fn problem(problem: &Problem, user: Option<&User>) -> Response {
    let heading = match problem.status {
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::BAD_REQUEST => "This cannot be answered",
        StatusCode::SERVICE_UNAVAILABLE => "There is no answer now",
        status => status.canonical_reason().unwrap_or("There is no answer"),
    };
    let template = ProblemPage { frame: Frame::of(user), heading, why: &problem.why };
    let mut response = match page(&template) {
        Ok(response) => response,
        Err(problem) => problem.why.into_response(),
    };
    *response.status_mut() = problem.status;
    response
}

#[derive(Template)]
#[template(path = "again.html")]
struct AgainPage<'a> {
    frame: Frame,
    path: &'a str,
}

/// A page that leads to this path of this server at once; never to another server.
pub fn again(path: &str) -> Response {
    match page(&AgainPage { frame: Frame::of(None), path: local_path(path) }) {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// The style sheet.
pub async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/css; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, STYLE).into_response()
}
