//! The quoting of a text: what is outside of its quoted texts and values, and what is inside of each.

use std::ops::Range;

/// Stands for what is inside of quotes, comments and values.
const FILLER: u8 = 1;

/// One level of quotes. A value is a unit: what begins inside of it ends inside of it.
pub struct Layer {
    /// The text, with the same positions, without what is inside of quotes, comments and values.
    pub outside: String,
    /// What is inside of quotes.
    pub quoted: Vec<Range<usize>>,
    /// Values without quotes.
    pub bare: Vec<Range<usize>>,
    /// Lines that begin with `#`: prose, with any quotes.
    pub comments: Vec<Range<usize>>,
    /// A quote is missing or one too many, as in a log line that was cut: it is not known what is inside. Neither a line of
    /// an export nor a script that can run is like this.
    pub is_doubtful: bool,
}

impl Layer {
    /// `is_inner`: the text was quoted itself, so it may be a script, whose texts may have several lines.
    pub fn new(text: &str, is_inner: bool) -> Layer {
        let bytes = text.as_bytes();
        let (mut quoted, mut bare, mut comments) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_doubtful = false;
        let (mut at, mut begins_line) = (0, true);
        while let Some(&byte) = bytes.get(at) {
            let was_first = begins_line;
            begins_line = byte == b'\n' || was_first && matches!(byte, b' ' | b'\t' | b'\r');
            let is_after_name = |at: usize| {
                at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'"')
            };
            match byte {
                b'#' if was_first => {
                    let end =
                        text[at..].find(['\r', '\n']).map_or(text.len(), |length| at + length);
                    let start = end - text[at..end].trim_start_matches(['#', ' ', '\t']).len();
                    comments.push(start..end);
                    at = end;
                }
                b'\\' => {
                    is_doubtful |= !is_inner && bytes.get(at + 1) == Some(&b'"');
                    at += 2;
                }
                // As in `5" disk` of a message.
                b'"' if !is_inner && is_after_name(at) && bytes[at - 1] != b'"' => at += 1,
                b'"' => {
                    let end = closing_quote(bytes, at + 1, is_inner);
                    let is_closed = bytes.get(end) == Some(&b'"');
                    let next = bytes.get(end + 1).filter(|_| is_closed && !is_inner);
                    is_doubtful |=
                        !is_closed || next.is_some_and(|next| !b" \t\r\n;)]},.:=-|".contains(next));
                    quoted.push(at + 1..end);
                    at = end + usize::from(is_closed);
                }
                b'=' if is_after_name(at) => {
                    let is_parameter = is_parameter(&bytes[..at]);
                    at += 1;
                    if !matches!(bytes.get(at), Some(b'{' | b'[' | b'(')) {
                        let end = bare_end(bytes, at, is_inner, is_parameter);
                        bare.push(at..end);
                        at = end;
                    }
                }
                _ => at += 1,
            }
        }
        let mut outside = bytes.to_vec();
        for range in quoted.iter().chain(&bare).chain(&comments) {
            outside[range.clone()].fill(FILLER);
        }
        // All borders are ASCII, so that it is UTF-8.
        let outside = String::from_utf8(outside).unwrap_or_else(|_| text.to_owned());
        Layer { outside, quoted, bare, comments, is_doubtful }
    }
}

fn closing_quote(bytes: &[u8], mut at: usize, is_inner: bool) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at,
            b'\n' if !is_inner => return at,
            b'\\' if is_inner || bytes.get(at + 1) != Some(&b'\n') => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn bare_end(bytes: &[u8], mut at: usize, is_inner: bool, is_parameter: bool) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b'"' | b';' | b')' => return at,
            b']' | b'}' if is_inner => return at,
            b'&' if is_parameter => return at,
            b'\\' if bytes.get(at + 1) == Some(&b'"') => return at,
            b'\\' if bytes.get(at + 1).is_some_and(|next| !next.is_ascii_whitespace()) => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether the name at the end is that of a parameter of a URL.
fn is_parameter(before: &[u8]) -> bool {
    let is_name = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let name = before.iter().rev().take_while(is_name).count();
    before[..before.len() - name].ends_with(b"&") || before[..before.len() - name].ends_with(b"?")
}

/// What a quoted text means, and where each byte of it is written; the last position is the end.
pub fn unescaped(text: &str) -> (String, Vec<usize>) {
    let (mut plain, mut at) = (String::with_capacity(text.len()), Vec::with_capacity(text.len()));
    let mut rest = text.char_indices();
    while let Some((start, c)) = rest.next() {
        let meant = match c {
            '\\' => match rest.next().map_or('\\', |(_, next)| next) {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '_' | 'a' | 'b' | 'f' | 'v' => ' ',
                first if first.is_ascii_digit() || matches!(first, 'A'..='F') => {
                    let digits = text.get(start + 1..start + 3);
                    match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                        Some(byte) => {
                            rest.next();
                            if byte.is_ascii() { byte.into() } else { 'x' }
                        }
                        None => first,
                    }
                }
                other => other,
            },
            c => c,
        };
        plain.push(meant);
        at.resize(plain.len(), start);
    }
    at.push(text.len());
    (plain, at)
}
