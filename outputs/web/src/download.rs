//! The parameter `format`: the rows of a page as CSV (RFC 4180) or as JSON, with the columns and the frame of the API.

use aw_query::{Answer, Cell, OutputFormat, ResultTable};
use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use jiff::tz::TimeZone;
use serde_json::{Value as Json, json};

use crate::{parameters::Parameters, problem::Problem};

/// The number of rows that a file does not have.
const LEFT_OFF: HeaderName = HeaderName::from_static("x-left-off");

/// A file of a page's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Download {
    Csv,
    Json,
}

impl Download {
    /// Takes `format`; none, or `html`, is the page.
    pub fn take(parameters: &mut Parameters) -> Result<Option<Download>, Problem> {
        match parameters.take("format").as_deref() {
            None | Some("html") => Ok(None),
            Some("csv") => Ok(Some(Download::Csv)),
            Some("json") => Ok(Some(Download::Json)),
            Some(text) => Err(Problem::bad(format!("format: {text:?} must be html, csv or json"))),
        }
    }

    /// The rows of an answer, as a file of this name. If rows are left off, its name has the word, and a header the number: CSV
    /// has no other place for it.
    pub fn file(self, name: &str, answer: &Answer, zone: &TimeZone) -> Result<Response, Problem> {
        let Answer { table, no_match, remarks, left_off } = answer;
        let (kind, extension, body) = match self {
            Download::Csv => {
                let mut text = Vec::new();
                table.print(&mut text, OutputFormat::Csv, zone).map_err(|error| {
                    Problem::new(
                        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                        format!("print CSV: {error} (please report this bug)"),
                    )
                })?;
                ("text/csv; charset=utf-8", "csv", text)
            }
            Download::Json => {
                let rows: Vec<Json> = table.objects(zone).map(Json::Object).collect();
                let frame = json!({
                    "rows": rows,
                    "left_off": left_off,
                    "no_match": no_match,
                    "remarks": remarks,
                });
                ("application/json", "json", format!("{frame}\n").into_bytes())
            }
        };
        let incomplete = if *left_off > 0 { "-incomplete" } else { "" };
        let file = format!("attachment; filename=\"{name}{incomplete}.{extension}\"");
        let file =
            HeaderValue::from_str(&file).unwrap_or_else(|_| HeaderValue::from_static("attachment"));
        let headers = [(CONTENT_TYPE, HeaderValue::from_static(kind)), (CONTENT_DISPOSITION, file)];
        let mut response = (headers, body).into_response();
        if *left_off > 0 {
            response.headers_mut().insert(LEFT_OFF, HeaderValue::from(*left_off));
        }
        Ok(response)
    }
}

/// The links to both files of a page; `link` has its parameters.
pub fn links(link: &str) -> [(&'static str, String); 2] {
    let next = if link.contains('?') { '&' } else { '?' };
    [("CSV", "csv"), ("JSON", "json")]
        .map(|(name, format)| (name, format!("{link}{next}format={format}")))
}

/// The same answer with other rows.
pub fn with_rows(answer: Answer, columns: Vec<&'static str>, rows: Vec<Vec<Cell>>) -> Answer {
    let mut table = ResultTable::default();
    (table.columns, table.rows) = (columns, rows);
    Answer { table, ..answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that has not all rows is no complete one by its name.
    #[test]
    fn a_file_says_that_rows_are_left_off() {
        for (left_off, name, number) in [
            (0, "attachment; filename=\"a.csv\"", None),
            (7, "attachment; filename=\"a-incomplete.csv\"", Some("7")),
        ] {
            let (table, remarks) = (ResultTable::default(), Vec::new());
            let answer = Answer { table, no_match: None, remarks, left_off };
            let file = Download::Csv.file("a", &answer, &TimeZone::UTC).unwrap();
            assert_eq!(file.headers()[CONTENT_DISPOSITION], name);
            let found = file.headers().get(&LEFT_OFF).map(|number| number.to_str().unwrap());
            assert_eq!(found, number);
        }
    }
}
