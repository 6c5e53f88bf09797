//! The pages, one a line. The guard is in front of all of them: what [`crate::app::Visit`] has is of a user who is logged in.

use std::sync::Arc;

use axum::{
    Router,
    http::StatusCode,
    middleware::from_fn_with_state,
    routing::{get, post},
};

use crate::{
    api,
    app::App,
    guard::guard,
    pages::{self, STYLE_PATH, device, home, login, network, networks, now, periods, search, who},
    problem::Problem,
};

pub fn routes(app: Arc<App>) -> Router {
    let pages = Router::new()
        .route("/", get(home::home))
        .route("/search", get(search::search))
        .route("/who", get(who::who))
        .route("/ip/{address}", get(periods::address))
        .route("/mac/{mac}", get(device::device))
        .route("/now", get(now::now))
        .route("/networks", get(networks::networks))
        .route("/network", get(network::network));
    let api = Router::new()
        .route("/who", get(api::who))
        .route("/ip/{address}", get(api::address))
        .route("/mac/{mac}", get(api::device))
        .route("/devices", get(api::devices))
        .route("/changes", get(api::changes))
        .route("/health", get(api::health))
        .route("/openapi.json", get(api::openapi));
    pages
        .nest("/api/v1", api)
        .route("/login", get(login::form).post(login::submit))
        .route("/logout", post(login::log_out))
        .route(&STYLE_PATH, get(pages::style))
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "no page has this path (the search box leads to all of them)",
            )
        })
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}
