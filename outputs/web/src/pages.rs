//! What all pages share: the frame around them, and the style sheet. A page is a file here, a template, and a line in
//! `routes.rs`.

pub mod device;
pub mod happened;
pub mod health;
pub mod home;
pub mod login;
pub mod name;
pub mod network;
pub mod networks;
pub mod now;
pub mod periods;
pub mod remarks;
pub mod search;
pub mod whereabouts;
pub mod who;
pub mod zone;

use std::sync::LazyLock;

use askama::Template;
use aw_service::plain;
use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{
    app::{User, Visit},
    display::{self, Linked, encoded},
    health::{Fault, Health},
    local_path::local_path,
    problem::Problem,
    zones,
};

const STYLE: &str = include_str!("../templates/style.css");
/// What helps on a page that works without it.
const SCRIPT: &str = concat!(include_str!("../static/live.js"), include_str!("../static/page.js"));
pub const SCRIPT_PATH: &str = "/script.js";
const ICON: &str = include_str!("../static/icon.svg");
pub const ICON_PATH: &str = "/favicon.ico";

/// The path of the style sheet, with its hash: browsers keep it until there is another one.
pub static STYLE_PATH: LazyLock<String> = LazyLock::new(|| format!("/style-{}.css", hash(STYLE)));

/// The link to the script, with its hash.
static SCRIPT_LINK: LazyLock<String> = LazyLock::new(|| format!("{SCRIPT_PATH}?{}", hash(SCRIPT)));

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Rows that a page shows.
pub const ROWS: usize = 200;

/// Faults that each page shows; another one has all of them.
const BANNERS: usize = 3;
/// Rows of a file of a page.
pub const FILE_ROWS: usize = 10_000;

/// What is around each page.
#[derive(Clone, Debug)]
pub struct Frame {
    style: &'static str,
    script: &'static str,
    user: Option<User>,
    /// The text of the search box.
    question: String,
    /// The zone of all times, with its offset now.
    zone: String,
    /// What is wrong with the sensor or an output.
    banners: Vec<Banner>,
    /// Its name, if it has one.
    zone_name: String,
    /// Where another one is chosen.
    zone_link: String,
    /// The link to the same page for others: it names the zone.
    permalink: String,
}

impl Frame {
    /// Of a page with an answer; `question` is the text of the search box.
    pub fn new(visit: &Visit, question: &str) -> Frame {
        let offset = Timestamp::now().to_zoned(visit.zone.clone()).strftime("%:z").to_string();
        let name = visit.zone.iana_name();
        let mut banners = Banner::all(&visit.app.live.health(), &visit.zone);
        banners.truncate(BANNERS);
        let frame = Frame {
            zone: name.map_or(offset.clone(), |name| format!("{name}, {offset}")),
            banners,
            zone_name: name.unwrap_or_default().into(),
            zone_link: format!("/zone?next={}", encoded(&visit.here)),
            question: question.into(),
            ..Frame::of(Some(&visit.user))
        };
        frame.at(&visit.here)
    }

    /// The same with a permanent link to this path, whose times do not depend on the time of the request.
    pub fn at(mut self, path: &str) -> Frame {
        let next = if path.contains('?') { '&' } else { '?' };
        self.permalink = match &*self.zone_name {
            "" => path.into(),
            name => format!("{path}{next}{}={}", zones::PARAMETER, encoded(name)),
        };
        self
    }

    fn of(user: Option<&User>) -> Frame {
        Frame {
            style: &STYLE_PATH,
            script: &SCRIPT_LINK,
            user: user.cloned(),
            question: String::new(),
            zone: String::new(),
            banners: Vec::new(),
            zone_name: String::new(),
            zone_link: String::new(),
            permalink: String::new(),
        }
    }
}

/// A fault, as a page shows it.
#[derive(Clone, Debug)]
pub struct Banner {
    pub of: String,
    pub text: String,
    pub since: String,
}

impl Banner {
    pub fn all(health: &Health, zone: &TimeZone) -> Vec<Banner> {
        let of = |fault: &Fault| Banner {
            of: plain(&fault.of),
            text: plain(&fault.text),
            since: fault.since.map_or_else(String::new, |since| display::time(since, zone)),
        };
        health.faults().iter().map(of).collect()
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
    why: Linked,
}

/// The page of a problem.
pub fn problem(problem: &Problem, user: Option<&User>, question: &str) -> Response {
    let heading = match problem.status {
        StatusCode::NOT_FOUND => "There is no such page",
        StatusCode::BAD_REQUEST => "This cannot be answered",
        StatusCode::MISDIRECTED_REQUEST => "This server has another name",
        StatusCode::CONFLICT => "The name is not saved",
        StatusCode::SERVICE_UNAVAILABLE => "There is no answer now",
        status => status.canonical_reason().unwrap_or("There is no answer"),
    };
    let frame = Frame { question: question.into(), ..Frame::of(user) };
    let template = ProblemPage { frame, heading, why: display::linked(&problem.why) };
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
    kept("text/css; charset=utf-8", STYLE)
}

/// The script.
pub async fn script() -> Response {
    kept("text/javascript; charset=utf-8", SCRIPT)
}

/// What a browser keeps: its link has a hash.
fn kept(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
    ];
    (headers, text).into_response()
}

/// The icon, also for browsers that ask for it without a look at the page.
pub async fn icon() -> Response {
    kept("image/svg+xml", ICON)
}

/// Whether a path is of the style sheet, the script or the icon, which are the same for all.
pub fn is_file(path: &str) -> bool {
    path == STYLE_PATH.as_str() || [SCRIPT_PATH, ICON_PATH].contains(&path)
}
