//! The choice of the time zone in which pages show times.

use std::collections::BTreeMap;

use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    http::{HeaderValue, header::SET_COOKIE},
    response::Response,
};

use crate::{
    app::Visit,
    guard::{form, redirect},
    local_path::local_path,
    pages::{self, Frame},
    problem::Problem,
    server::Connection,
    zones,
};

#[derive(Template)]
#[template(path = "zone.html")]
struct ZonePage {
    frame: Frame,
    csrf: String,
    next: String,
    chosen: String,
    server: String,
    /// Of each part of the world.
    regions: BTreeMap<String, Vec<String>>,
}

pub async fn choose(mut visit: Visit) -> Result<Response, Problem> {
    let next = visit.parameters.take("next").unwrap_or_default();
    visit.parameters.finish()?;
    let mut regions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in zones::names() {
        let region = name.split_once('/').map_or("", |(region, _)| region);
        regions.entry(region.into()).or_default().push(name);
    }
    let name = |zone: &jiff::tz::TimeZone| zone.iana_name().unwrap_or_default().to_owned();
    pages::page(&ZonePage {
        csrf: visit.user.csrf.clone(),
        next: local_path(&next).into(),
        chosen: name(&visit.zone),
        server: name(&visit.app.asker.zone),
        regions,
        frame: Frame::new(&visit, ""),
    })
}

/// Keeps the zone in a cookie. An empty name: that of the server.
pub async fn chosen(
    visit: Visit,
    Extension(connection): Extension<Connection>,
    body: Bytes,
) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    let mut form = form(&body)?;
    let next = form.take("next").unwrap_or_default();
    let name = form.take("zone");
    form.finish()?;
    let zone = match &name {
        Some(name) => zones::find(name).ok_or_else(|| zones::unknown(name))?,
        None => visit.app.asker.zone.clone(),
    };
    // Not removed for that of the server: the script would set that of the browser again.
    let value = zone.iana_name().unwrap_or("server");
    let secure = if connection.is_secure() { "; Secure" } else { "" };
    let cookie =
        format!("{}={value}; Path=/; Max-Age=31536000; SameSite=Strict{secure}", zones::COOKIE);
    let mut response = redirect(&next);
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
