//! The text of a file of names, with another name for a device: no I/O.

use aw_service::{decode_line, split_name_line};
use shm_layout::MacAddr;

/// The text with another name for a MAC, or without one. All other bytes stay.
pub fn edited(text: &[u8], mac: MacAddr, name: Option<&str>) -> Vec<u8> {
    let mut edited = Vec::with_capacity(text.len() + 64);
    let mut name = name;
    let mut end: &[u8] = b"\n";
    let (mark, lines) = text.split_at(if text.starts_with(MARKS[0]) { MARKS[0].len() } else { 0 });
    edited.extend_from_slice(mark);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let (body, line_end) = line.split_at(line.len() - end_of_line(line));
        if !line_end.is_empty() {
            end = line_end;
        }
        let Some((own, rest)) = own_line(body, mac) else {
            edited.extend_from_slice(line);
            continue;
        };
        if let Some(name) = name.take() {
            let has_bar = rest.starts_with(b"|");
            let comment = rest.iter().position(|byte| *byte == b'#').filter(|_| !has_bar);
            let comment = comment.map(|at| &rest[at..]);
            let bar = has_bar || needs_bar(name);
            // After a bar, all is the name; and a line has one encoding.
            let is_apart =
                |comment: &&[u8]| bar || !name.is_ascii() && str::from_utf8(comment).is_err();
            let apart = comment.filter(is_apart);
            if let Some(comment) = apart {
                edited.extend([comment, end].concat());
            }
            edited.extend([own, if bar { b"|" } else { b" " }, name.as_bytes()].concat());
            if let Some(comment) = comment.filter(|_| apart.is_none()) {
                edited.extend([b"  ", comment].concat());
            }
            edited.extend_from_slice(line_end);
        }
    }
    if let Some(name) = name {
        if edited.len() > mark.len() && !edited.ends_with(b"\n") {
            edited.extend_from_slice(end);
        }
        let separator = if needs_bar(name) { '|' } else { ' ' };
        edited.extend(format!("{mac}{separator}{name}").bytes().chain(end.iter().copied()));
    }
    let is_marked = |text: &[u8]| MARKS.iter().any(|mark| text.starts_with(mark));
    if is_marked(&edited) && !is_marked(text) {
        edited.insert(0, b'\n'); // the next line has become the first one
    }
    edited
}

/// Byte order marks: of UTF-8, and of UTF-16.
pub const MARKS: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];

/// The length of the end of a line. A carriage return without a line feed is none.
fn end_of_line(line: &[u8]) -> usize {
    match line {
        [.., b'\r', b'\n'] => 2,
        [.., b'\n'] => 1,
        _ => 0,
    }
}

/// A line of this MAC, up to the end of the MAC, and what follows, without blanks. Read as [`crate::names::NameList::parse`] does.
fn own_line(line: &[u8], mac: MacAddr) -> Option<(&[u8], &[u8])> {
    let text = decode_line(line)?;
    let (own, _) = split_name_line(&text).filter(|(own, _)| own.parse() == Ok(mac))?;
    // Only blanks stand before it, and it is ASCII in all encodings.
    let at = line.windows(own.len()).position(|part| part == own.as_bytes())?;
    let (own, rest) = line.split_at(at + own.len());
    let own = if own.is_ascii() { own } else { &own[at..] }; // blanks in the encoding of the line
    let is_blank = |byte: &u8| byte.is_ascii_whitespace();
    let from = rest.iter().position(|byte| !is_blank(byte)).unwrap_or(rest.len());
    Some((own, rest[from..].trim_ascii_end()))
}

/// Whether a name is another one after a space: see [`split_name_line`].
fn needs_bar(name: &str) -> bool {
    name.contains('#') || name.starts_with([',', '='])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{NameList, Names, edit::is_name};
    use proptest::{prelude::*, test_runner::TestCaseError};

    const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

    fn after(text: &str, name: Option<&str>) -> String {
        String::from_utf8(edited(text.as_bytes(), MAC, name)).unwrap()
    }

    #[test]
    fn other_lines_stay() {
        for (before, name, expected) in [
            ("", Some("radio"), "02:00:00:00:00:01 radio\n"),
            ("# home\n", Some("a # b"), "# home\n02:00:00:00:00:01|a # b\n"),
            ("x", Some("radio"), "x\n02:00:00:00:00:01 radio\n"),
            ("a\r\nb", Some("r"), "a\r\nb\r\n02:00:00:00:00:01 r\r\n"),
            (
                "2:0:0:0:0:1 old  # cellar\nrubbish\n",
                Some("new"),
                "2:0:0:0:0:1 new  # cellar\nrubbish\n",
            ),
            ("2:0:0:0:0:1 old # cellar\n", Some("#1"), "# cellar\n2:0:0:0:0:1|#1\n"),
            (
                "\u{feff} 02-00-00-00-00-01|old # x\r\n",
                Some("new"),
                "\u{feff} 02-00-00-00-00-01|new\r\n",
            ),
            (
                "0200.0000.0001,old\n2:0:0:0:0:2 b\n2:0:0:0:0:1 last",
                Some("new"),
                "0200.0000.0001 new\n2:0:0:0:0:2 b\n",
            ),
            ("# c\n2:0:0:0:0:1 old\n2:0:0:0:0:2 b\n2:0:0:0:0:1|x", None, "# c\n2:0:0:0:0:2 b\n"),
            ("2:0:0:0:0:1", Some("=1"), "2:0:0:0:0:1|=1"),
        ] {
            let text = after(before, name);
            assert_eq!(text, expected, "{before:?}");
            let names = NameList::parse(text.as_bytes()).unwrap().names;
            assert_eq!(names.get(&MAC).map(String::as_str), name, "{text:?}");
        }
        let latin = edited(b"2:0:0:0:0:2 na\xefve # \xe9\n2:0:0:0:0:1 \xfc # \xe9", MAC, Some("n"));
        assert_eq!(latin, b"2:0:0:0:0:2 na\xefve # \xe9\n2:0:0:0:0:1 n  # \xe9");
    }

    proptest! {
        /// A name is written to a file of any content, and the others stay. `E`, `N`: bytes of Windows-1252, of which the last is a
        /// blank.
        #[test]
        fn any_file(
            text in "\u{feff}?([ #|,=\\n\\r\t\u{b}\u{feff}éEN]|\r\n|\n\u{feff}|02:00:00:00:00:0[12]|a|x ){0,20}",
            name in "[a#|=,é]{0,5}",
        ) {
            check_edit(&text, &name)?;
        }
    }

    fn check_edit(text: &str, name: &str) -> Result<(), TestCaseError> {
        let read = |text: &[u8]| NameList::parse(text).unwrap();
        let byte = |byte: u8| match byte {
            b'E' => 0xe9,
            b'N' => 0xa0,
            byte => byte,
        };
        let text: Vec<u8> = text.bytes().map(byte).collect();
        let name = Some(name).filter(|name| is_name(name).is_ok());
        let (before, new) = (read(&text), edited(&text, MAC, name));
        let after = read(&new);
        let shown = format!("{:?}: {:?}", text.escape_ascii().to_string(), new.escape_ascii());
        prop_assert_eq!(after.names.get(&MAC).map(String::as_str), name, "{}", shown);
        let others = |list: &NameList| {
            let others = list.names.iter().filter(|(mac, _)| **mac != MAC);
            others.map(|(mac, name)| (*mac, name.clone())).collect::<Names>()
        };
        let counts = [before.damaged_number, after.damaged_number];
        prop_assert_eq!((others(&before), counts[0]), (others(&after), counts[1]), "{}", shown);
        Ok(())
    }

    /// What [`any_file`] found.
    #[test]
    fn ends_blanks_and_marks() {
        for (text, name) in [
            ("a\r", "é"),
            ("a\r", "#"),
            ("02:00:00:00:00:02\r", "a"),
            ("a\n\u{feff}02:00:00:00:00:01 x", "a"),
            ("02:00:00:00:00:01 x\n\u{feff}a", ""),
            ("02:00:00:00:00:01 x\n\u{feff}02:00:00:00:00:02 y", ""),
            ("\u{b}02:00:00:00:00:01 x", "a"),
            ("N02:00:00:00:00:01 x", ""),
            ("N02:00:00:00:00:01 x", "é"),
            ("\u{a0}02:00:00:00:00:01 x", "a"),
            ("02:00:00:00:00:01 x # E", "é"),
            ("\u{feff}", "a"),
        ] {
            check_edit(text, name).unwrap();
        }
        let long = format!("02:00:00:00:00:01 x # {}\n", "x".repeat(70_000));
        let edited = after(&long, Some("a"));
        assert_eq!(edited, long + "02:00:00:00:00:01 a\n", "a line that is too long has no name");
    }
}
