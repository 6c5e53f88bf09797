//! The first page: the search box, with examples.

use askama::Template;
use axum::response::Response;

use crate::{
    app::Visit,
    pages::{self, Frame},
    problem::Problem,
};

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    frame: Frame,
}

pub async fn home(visit: Visit) -> Result<Response, Problem> {
    visit.parameters.finish()?;
    visit.app.asker.prepare(); // the search box and the links above lead to it
    pages::page(&Home { frame: Frame::new(&visit, "") })
}
