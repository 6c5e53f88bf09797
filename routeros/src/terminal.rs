//! Questions to whoever sits at the terminal, and tables.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use aw_service::{Error, failed};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// What Ctrl-C types.
const INTERRUPT: u8 = 3;

/// Asks a question, and returns the line of the answer.
pub fn ask(question: &str) -> Result<String, Error> {
    print(question)?;
    answer(question, stdin().lock())
}

/// Asks for a password, which is not shown.
pub fn ask_secret(question: &str) -> Result<String, Error> {
    if !stdin().is_terminal() {
        return ask("");
    }
    let failure = |error| Error::io("hide what is typed", error);
    let before = tcgetattr(stdin()).map_err(failure)?;
    tcsetattr(stdin(), OptionalActions::Flush, &hidden(before.clone())).map_err(failure)?;
    let answer = ask(question);
    let restored = tcsetattr(stdin(), OptionalActions::Flush, &before).map_err(failure);
    print("\n")?;
    restored?;
    answer
}

/// A terminal that does not show what is typed. Ctrl-C ends the line instead of us: who ends with a
/// terminal in this state leaves it so.
fn hidden(mut terminal: Termios) -> Termios {
    terminal.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    terminal.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
    terminal
}

/// The line of the answer, which is as short as people type.
fn answer(question: &str, input: impl BufRead) -> Result<String, Error> {
    let mut line = Vec::new();
    for byte in input.bytes().take(64 * 1024) {
        match byte.map_err(|error| Error::io("read the answer", error))? {
            b'\n' => {
                let line = String::from_utf8(line).map_err(|_| failed("the answer is not text"))?;
                return Ok(line.trim_end_matches('\r').to_owned());
            }
            INTERRUPT => return Err(failed("interrupted")),
            byte => line.push(byte),
        }
    }
    match String::from_utf8(line) {
        Ok(line) if !line.is_empty() => Ok(line),
        _ => Err(failed(format_args!("{} no answer", question.trim()))),
    }
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
    use super::*;

    #[test]
    fn answers() {
        for (typed, expected) in [
            ("yes\r\nmore", Some("yes")),
            ("\n", Some("")),
            ("end", Some("end")),
            ("", None),
            ("se\x03", None),
        ] {
            assert_eq!(
                answer("Password:", typed.as_bytes()).ok().as_deref(),
                expected,
                "{typed:?}"
            );
        }
        assert!(answer("", &b"\xff\n"[..]).is_err());
    }

    #[test]
    fn columns() {
        let rows = [["a", "bb", ""], ["ccc", "d\n", "é"]];
        let rows: Vec<_> = rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect();
        assert_eq!(super::table(&rows), "a    bb\nccc  d?  é\n");
    }
}
