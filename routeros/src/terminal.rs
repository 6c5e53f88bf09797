//! Questions at the terminal, output to standard output, and tables.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use aw_service::{Error, failed, plain, plain_lines};
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
    let text = plain_lines(text);
    let mut out = stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Error::write("standard output", error))
}

/// Aligned columns under a head; control characters are replaced. Each row has as many cells as the head.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<_> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let clean = |row: &Vec<String>| -> Vec<String> { row.iter().map(|cell| plain(cell)).collect() };
    let rows: Vec<_> = [head].iter().chain(rows).map(clean).collect();
    let width =
        |column: usize| rows.iter().map(|row: &Vec<String>| row[column].chars().count()).max();
    let widths: Vec<_> = (0..rows[0].len()).filter_map(width).collect();
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
        let rows = [["ccc", "d\n", "é"].map(str::to_owned).to_vec()];
        assert_eq!(table(&["a", "bb", ""], &rows), "a    bb\nccc  d?  é\n");
    }
}
