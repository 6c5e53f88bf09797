//! Text of foreign origin for people to read: it must neither control a terminal, nor look like another text, nor run in
//! a spreadsheet.

/// A number and its noun, as in `1 event` and `2 events`.
pub fn count_of(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A text in one line. Control characters, and characters that turn or hide text, become `?`.
pub fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() || is_hidden(c), "?")
}

/// The same for a text of several lines.
pub fn plain_lines(text: &str) -> String {
    text.replace(|c: char| c != '\n' && (c.is_control() || is_hidden(c)), "?")
}

/// Whether a character is invisible or changes the direction of the text after it (Unicode Standard Annex 9; the property
/// Default_Ignorable_Code_Point without the selectors of variants, which emoji need).
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// A text as a cell of comma-separated values (RFC 4180). A spreadsheet calculates a cell that begins like a formula, also
/// in quotes; an apostrophe before it makes it text (OWASP, CSV Injection). Numbers need none: write them directly.
pub fn csv_cell(text: &str) -> String {
    let text = plain(text);
    let is_formula = text.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let mark = if is_formula { "'" } else { "" };
    match is_formula || text.contains([',', ';', '"']) {
        true => format!("\"{mark}{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_or_hides() {
        for (text, expected) in [
            ("Müller's 台所 👍🏽", "Müller's 台所 👍🏽"),
            ("\u{202e}cod.exe", "?cod.exe"),
            ("a\u{2066}b\u{200b}\u{feff}\u{61c}\u{e0041}", "a?b????"),
            ("\u{1b}[2J\u{9b}\ta\r\n", "?[2J??a??"),
        ] {
            assert_eq!(plain(text), expected, "{text:?}");
        }
        assert_eq!(plain_lines("a\u{202e}\nb\r\n"), "a?\nb?\n");
    }

    #[test]
    fn cells() {
        for (text, cell) in [
            ("", ""),
            ("Büro 2-3", "Büro 2-3"),
            ("02:00:00:00:00:01", "02:00:00:00:00:01"),
            ("=1+1", "\"'=1+1\""),
            ("-2", "\"'-2\""),
            ("+SUM(A1)", "\"'+SUM(A1)\""),
            ("@x", "\"'@x\""),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""),
            ("\t=1", "?=1"),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("a;=1", "\"a;=1\""),
        ] {
            assert_eq!(csv_cell(text), cell, "{text:?}");
        }
    }
}
