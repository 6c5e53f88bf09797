//! Questions at the terminal, output to standard output, and tables.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use aw_service::{Error, failed};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// The character of Ctrl-C.
const INTERRUPT: u8 = 3;

/// Prints a question and reads the answer.
pub fn ask(question: &str) -> Result<String, Error> {
    print(question)?;
    answer(question, stdin().lock())
}

/// Reads a password without echo.
pub fn ask_secret(question: &str) -> Result<String, Error> {
    if !stdin().is_terminal() {
        return ask("");
    }
    let failure = |error| Error::io("switch off the terminal's echo", error);
    let before = tcgetattr(stdin()).map_err(failure)?;
    tcsetattr(stdin(), OptionalActions::Flush, &hidden(before.clone())).map_err(failure)?;
    let answer = ask(question);
    let restored = tcsetattr(stdin(), OptionalActions::Flush, &before).map_err(failure);
    print("\n")?;
    restored?;
    answer
}

/// Terminal settings without echo. Ctrl-C ends the line instead of the process, which restores the echo before it ends.
fn hidden(mut terminal: Termios) -> Termios {
    terminal.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
    terminal.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
    terminal
}

/// The first line of the input, of at most 64 KiB.
fn answer(question: &str, input: impl BufRead) -> Result<String, Error> {
    let mut line = Vec::new();
    for byte in input.bytes().take(64 * 1024) {
        match byte.map_err(|error| Error::io("read the answer", error))? {
            b'\n' => {
                let line =
                    String::from_utf8(line).map_err(|_| failed("the answer is not valid UTF-8"))?;
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

/// Prints to standard output. Control characters are replaced: users of the router choose most of the text.
pub fn print(text: &str) -> Result<(), Error> {
    let text = text.replace(|c: char| c.is_control() && c != '\n', "?");
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::write("standard output", error))
}

/// Aligned columns; control characters are replaced.
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
