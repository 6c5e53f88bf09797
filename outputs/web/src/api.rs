//! The API: the questions of `aw-query`, with the field names of its `--format json`. `openapi.json` describes it.

use aw_query::Question;
use aw_service::plain;
use axum::{
    extract::Path,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde_json::{Value as Json, json};

use crate::{
    app::Visit,
    parameters::{parse_ip, parse_mac},
    problem::Problem,
    rows::{self, RowFormat},
};

/// Rows of an answer: without `limit`, and with the largest one.
const LIMIT: (usize, usize) = (1000, 10_000);

const OPENAPI: &str = include_str!("../openapi.json");

pub async fn who(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let ip = visit.parameters.take_ip("ip")?;
    let at = visit.parameters.take_moment("at", &zone)?;
    answer(visit, Question::Who(ip, at)).await
}

pub async fn whereabouts(mut visit: Visit) -> Result<Response, Problem> {
    let zone = visit.app.asker.zone.clone();
    let mac = visit.parameters.take_mac("mac")?;
    let at = visit.parameters.take_moment("at", &zone)?;
    answer(visit, Question::MacAt(mac, at)).await
}

pub async fn address(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let ip = parse_ip(&text)?;
    let (range, all) = range(&mut visit)?;
    answer(visit, Question::Ip(ip, range, all)).await
}

pub async fn device(mut visit: Visit, Path(text): Path<String>) -> Result<Response, Problem> {
    let mac = parse_mac(&text)?;
    let (range, all) = range(&mut visit)?;
    answer(visit, Question::Mac(mac, range, all)).await
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

async fn answer(mut visit: Visit, question: Question) -> Result<Response, Problem> {
    let limit = visit.parameters.take_number("limit", LIMIT)?;
    let network = visit.parameters.take("network");
    visit.parameters.finish()?;
    let asker = &visit.app.asker;
    let answer = visit.ask_in(question, network, (limit, &asker.zone)).await?;
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
