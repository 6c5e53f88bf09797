//! The rows of an answer as a body, CSV (RFC 4180) or the JSON of the API: they are printed piece by piece, as the client takes
//! them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use aw_query::{Answer, Cell, OutputFormat, ResultTable};
use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::Frame;
use jiff::tz::TimeZone;
use serde_json::{Map, Value as Json, json};

use crate::sending::Weight;

/// Rows of a piece.
const PIECE: usize = 64;
/// Bytes of a row in memory, about.
pub const ROW: usize = 640;

/// Bytes of this row in memory, about: of one whose cells may be long.
pub fn bytes_of(row: &[Cell]) -> usize {
    let text = |text: &String| size_of::<String>() + text.len();
    let cell = |cell: &Cell| match cell {
        Cell::Text(own) => text(own),
        Cell::List(all) => all.iter().map(text).sum::<usize>(),
        Cell::None | Cell::Number(_) | Cell::Time(_) => 0,
    };
    row.iter().map(|one| size_of::<Cell>() + cell(one)).sum()
}

/// What the rows are printed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    Csv,
    Json,
}

/// The rows, with what comes before and after them.
struct Rows<I> {
    rows: I,
    columns: Vec<&'static str>,
    zone: TimeZone,
    format: RowFormat,
    begin: Option<String>,
    is_first: bool,
    has_ended: bool,
}

/// The body with these rows and the rest of an answer; and what it takes until it is sent, if each row takes so much.
pub fn response<I>(
    (answer, rows): (Answer, I),
    format: RowFormat,
    zone: &TimeZone,
    row_bytes: usize,
) -> Response
where
    I: ExactSizeIterator<Item = Vec<Cell>> + Send + Unpin + 'static,
{
    let Answer { table, no_match, mut remarks, left_off, .. } = answer;
    remarks.extend(table.in_turn_text(None, zone));
    let weight = rows.len() * row_bytes;
    let begin = match format {
        RowFormat::Csv => String::new(),
        RowFormat::Json => {
            let frame = json!({ "left_off": left_off, "no_match": no_match, "remarks": remarks });
            let frame = frame.to_string();
            format!("{},\"rows\":[", frame.trim_end_matches('}'))
        }
    };
    let rows = Rows {
        rows,
        columns: table.columns,
        zone: zone.clone(),
        format,
        begin: Some(begin),
        is_first: true,
        has_ended: false,
    };
    let mut response = Response::new(Body::new(rows));
    response.extensions_mut().insert(Weight(weight));
    response
}

/// The same with the rows of the answer itself.
pub fn of_answer(mut answer: Answer, format: RowFormat, zone: &TimeZone) -> Response {
    let rows = std::mem::take(&mut answer.table.rows).into_iter();
    response((answer, rows), format, zone, ROW)
}

impl<I: Iterator<Item = Vec<Cell>>> Rows<I> {
    /// The next piece; none after the last one.
    fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.has_ended {
            return Ok(None);
        }
        let mut table = ResultTable::default();
        table.columns.clone_from(&self.columns);
        table.rows.extend(self.rows.by_ref().take(PIECE));
        self.has_ended = table.rows.len() < PIECE;
        let mut piece = self.begin.take().unwrap_or_default().into_bytes();
        match self.format {
            RowFormat::Csv => {
                let mut text = Vec::new();
                table.print(&mut text, OutputFormat::Csv, &self.zone)?;
                // The heading comes once.
                let heading = text.windows(2).position(|two| two == b"\r\n").map_or(0, |at| at + 2);
                piece.extend_from_slice(if self.is_first { &text } else { &text[heading..] });
            }
            RowFormat::Json => {
                for (number, row) in table.objects(&self.zone).enumerate() {
                    let row: Map<String, Json> = row;
                    if number > 0 || !self.is_first {
                        piece.push(b',');
                    }
                    serde_json::to_writer(&mut piece, &row)?;
                }
                if self.has_ended {
                    piece.extend_from_slice(b"]}\n");
                }
            }
        }
        self.is_first = false;
        Ok(Some(piece))
    }
}

impl<I: Iterator<Item = Vec<Cell>> + Unpin> HttpBody for Rows<I> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.next_piece().transpose();
        Poll::Ready(piece.map(|piece| piece.map(|piece| Frame::data(piece.into()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    fn answer(rows: usize) -> Answer {
        let mut table = ResultTable::default();
        table.columns = vec!["number", "+text"];
        table.rows = (0..rows).map(|n| vec![Cell::Number(n as i64), Cell::text("a,b")]).collect();
        let remarks = vec!["a remark with } and ,".into()];
        Answer { table, no_match: None, remarks, left_off: 3, is_complete: false }
    }

    fn body(rows: usize, format: RowFormat) -> String {
        let response = of_answer(answer(rows), format, &TimeZone::UTC);
        let Some(Weight(weight)) = response.extensions().get().copied() else { panic!("none") };
        assert_eq!(weight, rows * ROW);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let bytes = runtime.block_on(to_bytes(response.into_body(), usize::MAX)).unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn long_cells_are_counted() {
        let lines = Cell::List(vec!["x".repeat(100); 500]);
        assert!(bytes_of(&[Cell::Number(1), lines]) > 50_000);
        assert!(bytes_of(&[Cell::Number(1), Cell::text("a")]) < ROW);
    }

    /// In pieces or not, the text is the same.
    #[test]
    fn pieces_are_one_text() {
        for rows in [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE] {
            let mut whole = Vec::new();
            answer(rows).table.print(&mut whole, OutputFormat::Csv, &TimeZone::UTC).unwrap();
            assert_eq!(body(rows, RowFormat::Csv).as_bytes(), whole, "{rows}");
            let json: Json = serde_json::from_str(&body(rows, RowFormat::Json)).unwrap();
            let expected: Vec<Json> =
                answer(rows).table.objects(&TimeZone::UTC).map(Json::Object).collect();
            assert_eq!(json["rows"], Json::Array(expected), "{rows}");
            assert_eq!(
                (&json["left_off"], &json["remarks"][0]),
                (&json!(3), &json!("a remark with } and ,"))
            );
        }
    }

    /// A piece has few rows, so a client that takes little has little in memory.
    #[test]
    fn a_piece_is_small() {
        let rows = of_answer(answer(100_000), RowFormat::Json, &TimeZone::UTC);
        let mut body = rows.into_body();
        let mut context = Context::from_waker(std::task::Waker::noop());
        for _ in 0..100 {
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) else {
                panic!("more rows")
            };
            let Ok(bytes) = frame.into_data() else { panic!("rows") };
            assert!(bytes.len() < 100 * PIECE, "{}", bytes.len());
        }
    }
}
