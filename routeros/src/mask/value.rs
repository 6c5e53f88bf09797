//! Where a value ends.

/// The length of a value: up to its closing quote, or to the next blank; what follows a closing quote without a blank is
/// part of it. A script is a quoted text, so quotes inside it are written `\"`, and `\\\"` in a script inside a script: each
/// level doubles the backslashes and adds one before the quote. `ends` are further characters that end a value without
/// quotes.
pub fn length(value: &str, ends: &str) -> usize {
    let quoted = quoted_length(value).unwrap_or(0);
    quoted + bare_length(&value[quoted..], ends)
}

fn bare_length(value: &str, ends: &str) -> usize {
    let is_end = |c: char| matches!(c, ' ' | '\n' | '"' | ';' | ')' | '\\') || ends.contains(c);
    value.find(is_end).unwrap_or(value.len())
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

/// The length of the value of a variable: a text, a word, or an expression in brackets.
pub fn expression_length(value: &str) -> usize {
    if !value.starts_with(['[', '(', '{']) {
        return length(value, "]}");
    }
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = value[at..].chars().next() {
        let rest = &value[at..];
        match c {
            '\n' => break,
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth = depth.saturating_sub(1),
            '"' | '\\' => {
                let backslashes = rest.bytes().take_while(|byte| *byte == b'\\').count();
                at += quoted_length(rest).unwrap_or(backslashes);
                continue;
            }
            _ => {}
        }
        at += c.len_utf8();
        if depth == 0 {
            return at + bare_length(&value[at..], "]}");
        }
    }
    at
}

/// The length of the value of a header: up to a quote, the end of the line, or the comma before the next header.
pub fn header_length(value: &str) -> usize {
    let end = value.find(['"', '\n', '\\']).unwrap_or(value.len());
    let is_next = |at: usize| {
        let rest = value[at + 1..end].trim_start();
        let name =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        name > 0 && rest[name..].starts_with(':')
    };
    value[..end].match_indices(',').map(|(at, _)| at).find(|at| is_next(*at)).unwrap_or(end)
}
