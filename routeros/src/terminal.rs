//! Questions to whoever sits at the terminal, and tables.

use std::io::{IsTerminal, Write, stdin, stdout};

use aw_service::{Error, failed};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

/// Asks a question, and returns the line of the answer.
pub fn ask(question: &str) -> Result<String, Error> {
    let failure = |error| Error::io("ask", error);
    print!("{question}");
    stdout().flush().map_err(failure)?;
    let mut line = String::new();
    match stdin().read_line(&mut line).map_err(failure)? {
        0 => Err(failed(format_args!("{} no answer", question.trim()))),
        _ => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
    }
}

/// Asks for a password, which is not shown.
pub fn ask_secret(question: &str) -> Result<String, Error> {
    if !stdin().is_terminal() {
        return ask("");
    }
    let failure = |error| Error::io("hide what is typed", error);
    let before = tcgetattr(stdin()).map_err(failure)?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(stdin(), OptionalActions::Flush, &hidden).map_err(failure)?;
    let answer = ask(question);
    println!();
    tcsetattr(stdin(), OptionalActions::Flush, &before).map_err(failure)?;
    answer
}

/// Prints to standard output, without what could steer a terminal: much of it was chosen by a router's
/// users.
pub fn print(text: &str) -> Result<(), Error> {
    let text = text.replace(|c: char| c.is_control() && c != '\n', "?");
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::write("standard output", error))
}

/// Columns as wide as what stands in them; nothing in them can steer a terminal.
pub fn table(rows: &[Vec<String>]) -> String {
    let clean = |cell: &String| cell.replace(char::is_control, "?");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let cell =
        |row: &'_ Vec<String>, column: usize| row.get(column).map_or(0, |c| c.chars().count());
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().map(|row| cell(row, column)).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns() {
        let rows = [["a", "bb", ""], ["ccc", "d\n", "é"]];
        let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(super::table(&rows), "a    bb\nccc  d?  é\n");
    }
}
