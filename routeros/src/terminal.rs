//! Questions at the terminal, output to standard output, and tables.

use std::io::{BufRead, IsTerminal, Write, stdin, stdout};

use aw_service::{Error, failed, plain, plain_lines};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// The character of Ctrl-C.
const INTERRUPT: u8 = 3;

/// Prints a question and reads the answer. `option` sets the value without a question.
pub fn ask(question: &str, option: &str) -> Result<String, Error> {
    print(question)?;
    answer(question, option, stdin().lock())
}

/// Asks for yes or no.
pub fn confirm(question: &str, option: &str) -> Result<bool, Error> {
    let answer = ask(&format!("{question} (yes/no): "), option)?;
    Ok(["yes", "y"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Reads a password, without echo at a terminal.
pub fn ask_secret(question: &str, option: &str) -> Result<String, Error> {
    if !stdin().is_terminal() {
        return answer(question, option, stdin().lock());
    }
    let failure = |error| Error::io("switch off the terminal's echo", error);
    let before = tcgetattr(stdin()).map_err(failure)?;
    tcsetattr(stdin(), OptionalActions::Flush, &hidden(before.clone())).map_err(failure)?;
    let answer = ask(question, option);
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
fn answer(question: &str, option: &str, input: impl BufRead) -> Result<String, Error> {
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
        _ => {
            let what = question.split([':', '[', '(']).next().unwrap_or_default().trim();
            let what = what.rsplit(". ").next().unwrap_or_default();
            Err(failed(format_args!("{what}: no answer on standard input (set {option})")))
        }
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

/// Characters of a cell of a table with notes.
const MAX_CELL: usize = 32;

/// The same with each long text once below the table, in place of which the cells have its number.
pub fn table_with_notes(head: &[&str], mut rows: Vec<Vec<String>>) -> String {
    let mut notes: Vec<String> = Vec::new();
    for cell in rows.iter_mut().flatten().filter(|cell| cell.chars().count() > MAX_CELL) {
        let number = notes.iter().position(|note| note == cell).unwrap_or(notes.len());
        let text = std::mem::replace(cell, format!("({})", number + 1));
        if number == notes.len() {
            notes.push(text);
        }
    }
    let mut text = table(head, &rows);
    for (number, note) in notes.iter().enumerate() {
        text += &format!("({}) {}\n", number + 1, plain(note));
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
                answer("Password:", "--x", typed.as_bytes()).ok().as_deref(),
                expected,
                "{typed:?}"
            );
        }
        assert!(answer("", "--x", &b"\xff\n"[..]).is_err());
        let Err(Error::Failed(none)) = answer("Name [192.0.2.1]: ", "--name", &b""[..]) else {
            panic!()
        };
        assert_eq!(none, "Name: no answer on standard input (set --name)");
    }

    #[test]
    fn columns() {
        let rows = [["ccc", "d\n", "é"].map(str::to_owned).to_vec()];
        assert_eq!(table(&["a", "bb", ""], &rows), "a    bb\nccc  d?  é\n");
        let (long, other) = ("x".repeat(MAX_CELL + 1), "y".repeat(MAX_CELL + 1));
        let rows = [["1", &long], ["2", "short"], ["3", &other], ["4", &long]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec()).to_vec();
        let expected =
            format!("n  why\n1  (1)\n2  short\n3  (2)\n4  (1)\n(1) {long}\n(2) {other}\n");
        assert_eq!(table_with_notes(&["n", "why"], rows), expected);
    }
}
