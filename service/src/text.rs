//! Text files that administrators, other programs and other systems write: UTF-8, UTF-16 with a byte order mark, or a
//! single-byte encoding of Western Europe; with or without a byte order mark; with either end of line. Lines are read one
//! at a time and have a maximum length, so that a file of any size needs little memory.

use std::{
    io::{self, BufRead, Chain, Cursor, Read},
    path::Path,
};

use crate::{FileKind, cause, read_file};

/// The longest line, in bytes. What follows in a longer one is skipped.
const MAX_LINE: usize = 64 << 10;
/// The largest file that [`read_text`] reads.
const MAX_TEXT: usize = 16 << 20;

/// Windows-1252 for 0x80 to 0x9f; all other bytes are those of Latin-1. Latin-1 has only control characters there, which
/// no list of names contains.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

#[derive(Clone, Copy)]
enum Encoding {
    /// UTF-8; a line that is not is read as Windows-1252.
    Bytes,
    /// With the order of its bytes.
    Utf16(fn([u8; 2]) -> u16),
}

/// A line of a text file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextLine {
    /// From 1.
    pub number: usize,
    /// Without the end of the line; None if the line is too long or is not valid UTF-16.
    pub text: Option<String>,
}

/// Reads the lines of a text file. Ends after the first error.
pub struct TextLines<R> {
    reader: Chain<Cursor<Vec<u8>>, R>,
    encoding: Encoding,
    number: usize,
    ended: bool,
}

impl<R: BufRead> TextLines<R> {
    /// Reads the byte order mark, if there is one.
    pub fn new(mut reader: R) -> io::Result<TextLines<R>> {
        let mut head = Vec::new();
        reader.by_ref().take(3).read_to_end(&mut head)?;
        let (mark, encoding) = match *head {
            [0xef, 0xbb, 0xbf] => (3, Encoding::Bytes),
            [0xff, 0xfe, ..] => (2, Encoding::Utf16(u16::from_le_bytes)),
            [0xfe, 0xff, ..] => (2, Encoding::Utf16(u16::from_be_bytes)),
            _ => (0, Encoding::Bytes),
        };
        head.drain(..mark);
        let reader = Cursor::new(head).chain(reader);
        Ok(TextLines { reader, encoding, number: 0, ended: false })
    }

    /// The bytes of the next line without its end, of which those after the maximum are skipped; None at the end of the
    /// file.
    fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let Encoding::Utf16(order) = self.encoding else {
            self.reader.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Ok(None);
            }
            if line.pop_if(|last| *last == b'\n').is_none() && line.len() > MAX_LINE {
                self.reader.skip_until(b'\n')?;
            }
            return Ok(Some(line));
        };
        let mut is_end = true;
        loop {
            let mut unit = [0; 2];
            match read_full(&mut self.reader, &mut unit)? {
                0 if is_end => return Ok(None),
                2 if order(unit) == b'\n'.into() => return Ok(Some(line)),
                2 if line.len() > MAX_LINE => {}
                2 => line.extend(unit),
                length => {
                    line.extend(&unit[..length]); // a single byte makes the line invalid
                    return Ok(Some(line));
                }
            }
            is_end = false;
        }
    }

    fn decode(&self, line: Vec<u8>) -> Option<String> {
        if line.len() > MAX_LINE {
            return None;
        }
        let Encoding::Utf16(order) = self.encoding else {
            return decode_line(&line);
        };
        let (units, rest) = line.as_chunks();
        let text = char::decode_utf16(units.iter().map(|unit| order(*unit)))
            .collect::<Result<String, _>>()
            .ok();
        text.filter(|_| rest.is_empty())
    }
}

impl<R: BufRead> Iterator for TextLines<R> {
    type Item = io::Result<TextLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let line = self.line();
        self.ended = !matches!(line, Ok(Some(_)));
        self.number += 1;
        let line = line.transpose()?;
        Some(line.map(|line| {
            let mut text = self.decode(line);
            if let Some(text) = text.as_mut().filter(|text| text.ends_with('\r')) {
                text.pop();
            }
            TextLine { number: self.number, text }
        }))
    }
}

/// The text of a line that is not in UTF-16; None if it is longer than [`TextLines`] reads.
pub fn decode_line(line: &[u8]) -> Option<String> {
    let latin = || line.iter().map(|byte| windows_1252(*byte)).collect();
    let text = || str::from_utf8(line).map_or_else(|_| latin(), str::to_owned);
    (line.len() <= MAX_LINE).then(text)
}

/// Reads until the buffer is full or the file ends. Returns the number of bytes.
fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match reader.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn windows_1252(byte: u8) -> char {
    match byte {
        0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
        _ => byte.into(),
    }
}

/// Reads a small text file, such as a list of names. Errors name the file.
pub fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = read_file(path, FileKind::Settings, MAX_TEXT as u64);
    let bytes = bytes.map_err(|error| format!("read {shown}: {}", cause(&error)))?;
    text_of(&*bytes).map_err(|why| format!("read {shown}: {why}"))
}

/// The text of these bytes, with `\n` at the end of each line.
pub fn decode_text(bytes: &[u8]) -> Result<String, String> {
    text_of(bytes)
}

fn text_of(reader: impl BufRead) -> Result<String, String> {
    let mut text = String::new();
    for line in TextLines::new(reader).map_err(|error| cause(&error))? {
        let TextLine { number, text: line } = line.map_err(|error| cause(&error))?;
        let kib = MAX_LINE >> 10;
        let bad = || format!("line {number}: is longer than {kib} KiB, or is not valid UTF-16");
        text += &line.ok_or_else(bad)?;
        text.push('\n');
        if text.len() > MAX_TEXT {
            return Err(format!("is larger than {} MiB", MAX_TEXT >> 20));
        }
    }
    Ok(text)
}

/// The first fields of a line of comma-separated values (RFC 4180), at most `most`.
pub fn csv_fields(line: &str, most: usize) -> Vec<String> {
    let (mut fields, mut rest) = (Vec::new(), line);
    while fields.len() < most {
        let mut field = String::new();
        while let Some((quoted, after)) =
            rest.strip_prefix('"').and_then(|rest| rest.split_once('"'))
        {
            field += quoted;
            rest = after;
            if rest.starts_with('"') {
                field.push('"'); // in a quoted field, two quotes mean one
            }
        }
        let (plain, after) = rest.split_once(',').unwrap_or((rest, ""));
        fields.push(field + plain);
        if plain.len() == rest.len() {
            break;
        }
        rest = after;
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a file; `-` for a line that cannot be read.
    fn lines(bytes: &[u8]) -> Vec<String> {
        let lines = TextLines::new(bytes).unwrap();
        let text = |line: io::Result<TextLine>| line.unwrap().text.unwrap_or("-".into());
        lines.map(text).collect()
    }

    fn utf16(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(order).collect()
    }

    #[test]
    fn encodings() {
        // U+0A0D and U+0D0A have the bytes of ends of lines.
        let text = "Müller\r\n\u{a0d}\u{d0a} 台所 𝄞\n\nlast";
        let expected = ["Müller", "\u{a0d}\u{d0a} 台所 𝄞", "", "last"];
        for bytes in [
            text.as_bytes(),
            format!("\u{feff}{text}").as_bytes(),
            &utf16(text, u16::to_le_bytes),
            &utf16(text, u16::to_be_bytes),
        ] {
            assert_eq!(lines(bytes), expected, "{bytes:x?}");
            assert_eq!(decode_text(bytes).unwrap(), expected.join("\n") + "\n");
        }
        assert_eq!(lines(b"M\xfcller \x80\nna\xc3\xafve\n"), ["Müller €", "naïve"]);
        for empty in [&b""[..], b"\xef\xbb\xbf", b"\xff\xfe"] {
            assert_eq!(lines(empty), [""; 0], "{empty:x?}");
        }
        assert_eq!(lines(b"\xef"), ["ï"]);
    }

    #[test]
    fn comma_separated_values() {
        for (line, expected) in [
            ("a,b c,", &["a", "b c", ""][..]),
            ("", &[""]),
            ("\"A \"\"B\"\", Inc.\",x,y,z", &["A \"B\", Inc.", "x", "y"]),
            ("\"\",\"not closed, here", &["", "\"not closed", " here"]),
        ] {
            assert_eq!(csv_fields(line, 3), expected, "{line}");
        }
    }

    #[test]
    fn lines_that_cannot_be_read() {
        let half = [&utf16("ab\nc", u16::to_le_bytes)[..], b"x"].concat();
        assert_eq!(lines(&half), ["ab", "-"]);
        assert_eq!(lines(b"\xff\xfe\x00\xd8\n\x00a\x00"), ["-", "a"], "half of a pair");
        let longest = "x".repeat(MAX_LINE);
        for (encoded, what) in [(false, "UTF-8"), (true, "UTF-16")] {
            let longest = if encoded { &longest[..MAX_LINE / 2] } else { &longest };
            let text = format!("{longest}\n{longest}y{longest}\n\nz");
            let bytes = if encoded { utf16(&text, u16::to_le_bytes) } else { text.into() };
            assert_eq!(lines(&bytes), [longest, "-", "", "z"], "{what}");
        }
        let why = decode_text(format!("\n{longest}y").as_bytes()).unwrap_err();
        assert!(why.starts_with("line 2: "), "{why}");
        let large = vec![b'\n'; MAX_TEXT + 1];
        assert_eq!(decode_text(&large).unwrap_err(), "is larger than 16 MiB");
    }
}
