//! The API: the questions of `aw-query`, with the field names of its `--format json`. `openapi.json` describes it.

use aw_query::{Found, Listed, Question, is_host_name};
use aw_service::plain;
use axum::{
    extract::Path,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value as Json, json};
use shm_layout::MacAddr;

use crate::{
    app::Visit,
    parameters::{A_MAC, AN_ADDRESS, parse_ip, parse_mac},
    problem::Problem,
    rows::{self, RowFormat},
};

/// Rows of an answer: without `limit`, and with the largest one.
const LIMIT: (usize, usize) = (1000, 10_000);

const OPENAPI: &str = include_str!("../openapi.json");

pub async fn who(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let text = visit.parameters.take_needed("ip", AN_ADDRESS)?;
    let at = visit.parameters.take_moment("at", &zone)?;
    match parse_ip(&text) {
        Err(_) if is_host_name(text.trim()) => {
            named(visit, &text, |mac| Question::MacAt(mac, at)).await
        }
        ip => answer(visit, Question::Who(ip?, at)).await,
    }
}

pub async fn whereabouts(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let text = visit.parameters.take_needed("mac", A_MAC)?;
    let at = visit.parameters.take_moment("at", &zone)?;
    match parse_mac(&text) {
        Err(_) if is_host_name(text.trim()) => {
            named(visit, &text, |mac| Question::MacAt(mac, at)).await
        }
        mac => answer(visit, Question::MacAt(mac?, at)).await,
    }
}

pub async fn address(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let ip = match parse_ip(&text) {
        Err(_) if is_host_name(text.trim()) => return device(visit, Path(text)).await,
        ip => ip?,
    };
    let (range, all) = range(&mut visit)?;
    answer(visit, Question::Ip(ip, range, all)).await
}

pub async fn device(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let mac = match parse_mac(&text) {
        Err(_) if is_host_name(text.trim()) => None,
        mac => Some(mac?),
    };
    let (range, all) = range(&mut visit)?;
    let or_all = |listed| if all { Listed::All } else { listed };
    match mac {
        Some(mac) => answer(visit, Question::Mac(mac, range, or_all(Listed::Periods))).await,
        None => {
            let listed = or_all(Listed::Claims);
            named(visit, &text, |mac| Question::Mac(mac, range, listed)).await
        }
    }
}

pub async fn devices(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let range = visit.parameters.take_range(&zone)?;
    answer(visit, Question::Devices(range)).await
}

pub async fn changes(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let range = visit.parameters.take_range(&zone)?;
    answer(visit, Question::Changes(range)).await
}

/// Whether this server can answer, and how the collectors and the outputs are.
pub async fn health(visit: Visit) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    let history = visit.app.asker.check().await;
    let mut all = visit.app.live.health().json(&visit.app.asker.zone);
    all["version"] = env!("CARGO_PKG_VERSION").into();
    all["history"] = if history.is_ok() { "readable" } else { "unreadable" }.into();
    let Err(problem) = history else { return Ok(json_response(&all)) };
    if all["well"] == true {
        // Since the last look.
        all["well"] = false.into();
        all["faults"] = json!([{ "of": "history", "fault": plain(&problem.why), "since": null }]);
    }
    all["status"] = problem.status.as_u16().into();
    all["error"] = plain(&problem.why).into();
    Ok((problem.status, json_response(&all)).into_response())
}

pub async fn openapi(visit: Visit) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    Ok(text_response(OPENAPI.into()))
}

fn range(visit: &mut Visit) -> Result<(aw_query::TimeRange, bool), Problem> {
    let zone = visit.app.asker.zone.clone();
    Ok((visit.parameters.take_range(&zone)?, visit.parameters.take_flag("all")?))
}

async fn answer(visit: Visit, question: Question) -> Result<Response, Problem> {
    let (visit, network, limit) = rest(visit)?;
    answer_all(visit, vec![question], (network, limit), None).await
}

/// The answer about each device with a name.
async fn named(
    visit: Visit,
    name: &str,
    question: impl Fn(MacAddr) -> Question,
) -> Result<Response, Problem> {
    let (visit, network, limit) = rest(visit)?;
    let name = name.trim();
    let found = visit.app.asker.devices_named(name.into()).await?;
    let Some(Found { macs, claim }) = found else {
        let why = format!("no device has the name {:?}, and none calls itself so", plain(name));
        return Err(Problem::new(StatusCode::NOT_FOUND, why));
    };
    answer_all(visit, macs.into_iter().map(question).collect(), (network, limit), claim).await
}

/// The parameters that all questions have: there are no others.
fn rest(mut visit: Visit) -> Result<(Visit, Option<String>, usize), Problem> {
    let limit = visit.parameters.take_number("limit", LIMIT)?;
    let network = visit.parameters.take("network");
    visit.parameters.finish()?;
    Ok((visit, network, limit))
}

async fn answer_all(
    visit: Visit,
    questions: Vec<Question>,
    (network, limit): (Option<String>, usize),
    claim: Option<String>,
) -> Result<Response, Problem> {
    let asker = &visit.app.asker;
    let mut answer = visit.ask_in(questions, network, (limit, &asker.zone)).await?;
    answer.remarks.splice(0..0, claim);
    let mut response = rows::of_answer(answer, RowFormat::Json, &asker.zone);
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

fn json_response(value: &Json) -> Response {
    text_response(format!("{value}\n"))
}

fn text_response(text: String) -> Response {
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], text).into_response()
}
