//! Why a request has no answer: a status, and a text with a remedy. The guard renders it as a page, or as JSON below `/api/`.

use std::fmt;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub why: String,
    /// Seconds after which another try may succeed.
    pub retry_after: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Problem {
        Problem { status, why: why.into(), retry_after: None }
    }

    /// The request is wrong.
    pub fn bad(why: String) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, why)
    }

    /// Try again.
    pub fn busy(why: &str, seconds: u64) -> Problem {
        Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, why) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
