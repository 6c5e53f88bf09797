//! The pages, one a line. The guard is in front of all of them: what [`crate::app::Visit`] has is of a user who is logged in.

use std::sync::Arc;

use axum::{
    Router,
    http::{StatusCode, Uri},
    middleware::from_fn_with_state,
    routing::get,
};

use crate::{
    api,
    app::App,
    events,
    guard::{guard, redirect},
    pages::{
        self, ICON_PATH, SCRIPT_PATH, STYLE_PATH, device, happened, health, home, login, name,
        network, networks, now, periods, search, whereabouts, who, zone,
    },
    problem::Problem,
};

pub fn routes(app: Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(home::home))
        .route("/search", get(search::search))
        .route("/who", get(who::who))
        .route("/ip/{address}", get(periods::address))
        .route("/mac/{mac}", get(device::device))
        .route("/mac/{mac}/name", get(name::again).post(name::name))
        .route("/where", get(whereabouts::whereabouts))
        .route("/now", get(now::now))
        .route("/networks", get(networks::networks))
        .route("/network", get(network::network))
        .route("/happened", get(happened::happened))
        .route("/happened/{id}", get(happened::entry))
        .route("/health", get(health::health));
    let api = Router::new()
        .route("/who", get(api::who))
        .route("/where", get(api::whereabouts))
        .route("/ip/{address}", get(api::address))
        .route("/mac/{mac}", get(api::device))
        .route("/devices", get(api::devices))
        .route("/changes", get(api::changes))
        .route("/health", get(api::health))
        .route("/events", get(events::events))
        .route("/openapi.json", get(api::openapi));
    pages
        .nest("/api/v1", api)
        .route("/login", get(login::form).post(login::submit))
        .route("/logout", get(async || redirect("/")).post(login::log_out))
        .route("/zone", get(zone::choose).post(zone::chosen))
        .route(&STYLE_PATH, get(pages::style))
        .route(SCRIPT_PATH, get(pages::script))
        .route(ICON_PATH, get(pages::icon))
        .fallback(async |uri: Uri| {
            let why = match uri.path().starts_with("/api/") {
                true => "no such path (/api/v1/openapi.json describes all of them)",
                false => {
                    "no page has this path (the links above lead to the lists, and the search box to an address or a device)"
                }
            };
            Problem::new(StatusCode::NOT_FOUND, why)
        })
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}
