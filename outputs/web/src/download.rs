//! The parameter `format`: the rows of a page as CSV (RFC 4180) or as JSON, with the columns and the frame of the API.

use aw_query::{Answer, Cell, ResultTable};
use axum::{
    http::{
        HeaderName, HeaderValue,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    },
    response::Response,
};
use jiff::tz::TimeZone;

use crate::{
    parameters::Parameters,
    problem::Problem,
    rows::{self, ROW as OWN_ROW, RowFormat},
};

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
    pub fn file(
        self,
        name: &str,
        mut answer: Answer,
        zone: &TimeZone,
    ) -> Result<Response, Problem> {
        let rows = std::mem::take(&mut answer.table.rows).into_iter();
        self.rows(name, (answer, rows), zone, OWN_ROW)
    }

    /// The same with other rows, each of which takes so many bytes of memory until it is sent.
    pub fn rows<I>(
        self,
        name: &str,
        (answer, rows): (Answer, I),
        zone: &TimeZone,
        row_bytes: usize,
    ) -> Result<Response, Problem>
    where
        I: ExactSizeIterator<Item = Vec<Cell>> + Send + Unpin + 'static,
    {
        let (left_off, is_complete) = (answer.left_off, answer.is_complete);
        let (format, kind, extension) = match self {
            Download::Csv => (RowFormat::Csv, "text/csv; charset=utf-8", "csv"),
            Download::Json => (RowFormat::Json, "application/json", "json"),
        };
        let incomplete = if is_complete { "" } else { "-incomplete" };
        let file = format!("attachment; filename=\"{name}{incomplete}.{extension}\"");
        let file =
            HeaderValue::from_str(&file).unwrap_or_else(|_| HeaderValue::from_static("attachment"));
        let mut response = rows::response((answer, rows), format, zone, row_bytes);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_DISPOSITION, file);
        if left_off > 0 {
            headers.insert(LEFT_OFF, HeaderValue::from(left_off));
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

/// The link to one of them.
pub fn link(link: &str, file: Download) -> String {
    let [csv, json] = links(link);
    match file {
        Download::Csv => csv.1,
        Download::Json => json.1,
    }
}

/// The name of a file about an address or a device.
pub fn name(kind: &str, of: &impl ToString) -> String {
    format!("{kind}-{}", of.to_string().replace(':', "-"))
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
            let is_complete = left_off == 0;
            let answer = Answer { table, no_match: None, remarks, left_off, is_complete };
            let file = Download::Csv.file("a", answer, &TimeZone::UTC).unwrap();
            assert_eq!(file.headers()[CONTENT_DISPOSITION], name);
            let found = file.headers().get(&LEFT_OFF).map(|number| number.to_str().unwrap());
            assert_eq!(found, number);
        }
    }
}
