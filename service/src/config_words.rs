//! Faults of a configuration in TOML, in the words of its users: the parser's messages speak of Rust's types.

use crate::plain;

/// The parser's message about the byte `at` of `text`, in the words of the manual. Other messages stay as they are.
pub fn plain_fault(message: &str, text: &str, at: Option<usize>) -> String {
    if let Some((key, known)) = unknown_key(message) {
        return unknown("key", key, &known, "");
    }
    if let Some(rest) = message.strip_prefix("unknown variant `") {
        let value = rest.split('`').next().unwrap_or_default();
        return unknown("value", value, &names(rest), "");
    }
    let key = at.and_then(|at| key_of(text, at));
    let of_key = key.map_or(String::new(), |key| format!("{key}: "));
    if let Some(rest) = message.strip_prefix("missing field `") {
        let key = rest.split('`').next().unwrap_or_default();
        return format!("missing key `{key}`");
    }
    if message.starts_with("string values must be quoted") {
        let example = key.map_or(String::new(), |key| format!(" (write {key} = \"...\")"));
        return format!("{of_key}a text must stand in quotes{example}");
    }
    if message == "duplicate key" {
        return twice(text, at);
    }
    if message.starts_with("data did not match any variant") {
        return format!("{of_key}must be a text in quotes, or a list of such texts");
    }
    let typed = ["invalid type: ", "invalid value: "].into_iter();
    let Some(rest) = typed.filter_map(|start| message.strip_prefix(start)).next() else {
        return message.into();
    };
    let Some((found, expected)) = rest.rsplit_once(", expected ") else { return message.into() };
    if (found, expected) == ("map", "a sequence")
        && let Some(name) = at.and_then(|at| single_table(text, at))
    {
        return format!("[{name}] is one of several: write [[{name}]]");
    }
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a sequence" => "a list in square brackets",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" => "a text in quotes",
        "path string" => "a path in quotes",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    format!("{of_key}must be {expected}, not {}", found_value(found))
}

/// The name of the table whose heading, `[NAME]`, has the byte `at`.
fn single_table(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    let name = line.strip_prefix('[')?.split(']').next()?;
    (!name.starts_with('[')).then_some(name.trim())
}

/// A key or a table that the text has before the byte `at` already.
fn twice(text: &str, at: Option<usize>) -> String {
    let at = at.unwrap_or_default().min(text.len());
    let from = text.as_bytes()[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let line = text.get(from..).and_then(|rest| rest.lines().next()).unwrap_or_default().trim();
    let of_table = line.strip_prefix('[').map(|rest| rest.trim_matches(['[', ']', ' ']));
    match (of_table, line.split_once('=')) {
        (Some(table), _) => {
            let table = plain(table);
            format!(
                "[{table}] stands twice (write [[{table}]] each time for several of them, or join both)"
            )
        }
        (None, Some((key, _))) => format!("{}: it stands twice (remove one)", plain(key.trim())),
        (None, None) => "a key stands twice (remove one)".into(),
    }
}

fn found_value(found: &str) -> String {
    let value = found.split('`').nth(1).unwrap_or(found);
    match found.split(' ').next() {
        Some("string") => found.replacen("string", "the text", 1),
        Some("integer" | "floating") => format!("the number {value}"),
        Some("boolean") => value.into(),
        _ if found == "sequence" => "a list".into(),
        _ if found == "map" => "a table".into(),
        _ => found.into(),
    }
}

/// The key of a message about an unknown one, and those that are known.
pub fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    Some((rest.split('`').next()?, names(rest)))
}

fn names(message: &str) -> Vec<&str> {
    let (_, known) = message.split_once("expected ").unwrap_or_default();
    known.split('`').skip(1).step_by(2).collect()
}

/// The message that a key or value is unknown, with the nearest one, or else all; `place` is ` in [TABLE]` or empty.
pub fn unknown(what: &str, name: &str, known: &[&str], place: &str) -> String {
    let name = &plain(name);
    match nearest(name, known) {
        Some(near) => format!("unknown {what} `{name}`{place} (did you mean `{near}`?)"),
        None => {
            let all: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("unknown {what} `{name}`{place}, expected one of {}", all.join(", "))
        }
    }
}

/// Bytes of a mistyped name that is compared with others.
const MAX_NAME: usize = 64;

/// The name that differs least from a mistyped one, if few letters differ.
pub fn nearest<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    nearest_within(typed, names, (typed.len() / 3).min(3))
}

/// The same, if at most so many letters differ.
pub fn nearest_within<'a>(typed: &str, names: &[&'a str], few: usize) -> Option<&'a str> {
    if few == 0 || typed.len() > MAX_NAME {
        return None;
    }
    let near = names.iter().map(|name| (distance(typed.as_bytes(), name.as_bytes()), *name));
    near.filter(|(letters, _)| *letters <= few).min_by_key(|(letters, _)| *letters).map(|it| it.1)
}

/// Letters that are inserted, removed, replaced or swapped (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = match (i, j) {
                (0, n) | (n, 0) => n,
                _ => {
                    let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                    let least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let is_swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                    if is_swapped { least.min(rows[i - 2][j - 2] + 1) } else { least }
                }
            };
        }
    }
    rows[a.len()][b.len()]
}

/// The key whose value has the byte `at`, if it stands in the same line.
fn key_of(text: &str, at: usize) -> Option<&str> {
    let (before, _) = text.get(..at)?.rsplit('\n').next()?.rsplit_once('=')?;
    let before = before.trim_end();
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let key = before.rsplit(|c| !is_of_key(c)).next().unwrap_or_default();
    let is_key = !key.is_empty() && !before.trim_end_matches(key).ends_with(['"', '\'']);
    is_key.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_words_of_users() {
        let many = "unknown field `pasword_file`, expected one of `name`, `password_file`";
        for (message, text, expected) in [
            (many, "", "unknown key `pasword_file` (did you mean `password_file`?)"),
            (
                "unknown field `x`, expected `a` or `b`",
                "",
                "unknown key `x`, expected one of `a`, `b`",
            ),
            (
                "unknown variant `alll`, expected one of `all`, `none`",
                "",
                "unknown value `alll` (did you mean `all`?)",
            ),
            (
                "invalid type: string \"600\", expected u64",
                "interval = \"600\"",
                "interval: must be a whole number, 0 or more, not the text \"600\"",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "keep = -1",
                "keep: must be a whole number, 0 or more, not the number -1",
            ),
            (
                "invalid type: string \"git push\", expected a sequence",
                "hooks = \"git push\"",
                "hooks: must be a list in square brackets, not the text \"git push\"",
            ),
            (
                "invalid type: integer `1`, expected a boolean",
                "[x]\nlegacy = 1",
                "legacy: must be true or false, not the number 1",
            ),
            (
                "invalid type: sequence, expected a string",
                "user = []",
                "user: must be a text in quotes, not a list",
            ),
            (
                "string values must be quoted, expected literal string",
                "user = a",
                "user: a text must stand in quotes (write user = \"...\")",
            ),
            (
                "invalid type: boolean `true`, expected struct Mail",
                "[\n\"a=b\", x",
                "must be a table, not true",
            ),
            (
                "invalid type: map, expected a sequence",
                "x = 1\n[channel] # = ",
                "[channel] is one of several: write [[channel]]",
            ),
            (
                "invalid type: map, expected a sequence",
                "channel = {}",
                "channel: must be a list in square brackets, not a table",
            ),
            ("missing field `user`", "", "missing key `user`"),
            ("duplicate key", "keep = 1\nkeep = 2", "keep: it stands twice (remove one)"),
            ("another one", "", "another one"),
        ] {
            let at = text.rfind("= ").map_or(text.len(), |at| at + 2);
            assert_eq!(plain_fault(message, text, Some(at)), expected);
        }
        let twice = "[router]\nx = 1\n[router]\ny = 2";
        assert_eq!(
            plain_fault("duplicate key", twice, Some(17)),
            "[router] stands twice (write [[router]] each time for several of them, or join both)"
        );
        assert_eq!(key_of("to = [\"a\", 5]", 11), Some("to"));
        assert_eq!(key_of("x = [\"a=b\", 5]", 12), None);
        assert_eq!(key_of("é = 5", 1), None);
        assert_eq!(key_of("m\u{fffd}ail = 5", 10), Some("ail"));
    }

    #[test]
    fn the_nearest_name() {
        let names = ["interval", "settle", "to", "mail_to"];
        for (typed, near) in [
            ("intervall", Some("interval")),
            ("settel", Some("settle")),
            ("token", None),
            ("made_up", None),
            ("", None),
            ("t", None),
        ] {
            assert_eq!(nearest(typed, &names), near, "{typed}");
        }
    }
}
