//! Where a value ends.

/// The length of a value: up to its closing quote, or to the next blank; what follows a closing quote without a blank is
/// part of it. A script is a quoted text, so quotes inside it are written `\"`, and `\\\"` in a script inside a script: each
/// level doubles the backslashes and adds one before the quote. `ends` are further characters that end a value without
/// quotes.
pub fn length(value: &str, ends: &str) -> usize {
    let quoted = quoted_length(value).unwrap_or(0);
    quoted + bare_length(&value[quoted..], ends)
}

pub fn bare_length(value: &str, ends: &str) -> usize {
    let mut rest = value.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' | '"' | ';' | ')' => return at,
            '\\' if value[at + 1..].starts_with('"') => return at,
            '\\' if !value[at + 1..].starts_with(|c: char| c.is_ascii_whitespace()) => {
                rest.next();
            }
            c if ends.contains(c) => return at,
            _ => {}
        }
    }
    value.len()
}

/// The length of a quoted value with its quotes, if it is one.
fn quoted_length(value: &str) -> Option<usize> {
    let depth = value.bytes().take_while(|byte| *byte == b'\\').count();
    if !value[depth..].starts_with('"') {
        return None;
    }
    let mut backslashes = 0;
    for (at, byte) in value.bytes().enumerate().skip(depth + 1) {
        if byte == b'\n' {
            return Some(at);
        }
        if byte == b'"' && backslashes < depth {
            return Some(at - backslashes); // the quote that ends the text around the value
        }
        // Pairs of backslashes of this level are text; a single one makes the quote text.
        if byte == b'"' && (backslashes - depth) / (depth + 1) % 2 == 0 {
            return Some(at + 1);
        }
        backslashes = if byte == b'\\' { backslashes + 1 } else { 0 };
    }
    Some(value.len())
}

/// Whether a value is a command, `[/...]`, `[:...]`, which gives the value.
pub fn is_code(value: &str) -> bool {
    let inside = value.strip_prefix('[').map(str::trim_start);
    inside.is_some_and(|inside| inside.starts_with(['/', ':', '$']))
        && bracket_length(value).is_some()
}

/// The length of an expression in brackets, if its last one is there.
pub fn bracket_length(value: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in value.bytes().enumerate() {
        match byte {
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// The length of the value of a header: up to a quote, a bracket of a script, the end of the line or command, or the comma
/// before the next header.
pub fn header_length(value: &str) -> usize {
    let end = value.find(['"', '\r', '\n', '\\', '[', ']', '{', '}']).unwrap_or(value.len());
    let is_command = |at: &usize| value[at + 1..end].trim_start().starts_with(['/', ':']);
    let commands = value[..end].match_indices(';').map(|(at, _)| at).find(is_command);
    let end = commands.unwrap_or(end);
    let is_next = |at: usize| {
        let rest = value[at + 1..end].trim_start();
        let name =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        name > 0 && rest[name..].starts_with(':')
    };
    value[..end].match_indices(',').map(|(at, _)| at).find(|at| is_next(*at)).unwrap_or(end)
}
