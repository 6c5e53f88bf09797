//! Where secrets are in a text.

use std::ops::Range;

use super::{
    layer::{Layer, unescaped},
    names::{is_certain, is_secret, is_secret_header, is_secret_parameter},
    value::{bare_length, bracket_length, header_length, is_code, length},
};

/// Menus in which `name` is a password.
const COMMUNITIES: [&str; 2] = ["/snmp community", "/snmp/community"];
/// Menus in which `url` is a link with a secret.
const LINKS: [&str; 2] = ["/ip cloud back-to-home-file", "/ip/cloud/back-to-home-file"];
/// Menus in which `value` is a secret, and `key` its name.
const VARIABLES: [&str; 2] = ["/container env", "/container/env"];
/// Begins of public keys: the `key` of `/user ssh-keys` is made to be shown.
const PUBLIC_KEYS: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
/// What sets a variable of a script.
const SETTERS: [&str; 3] = [":local", ":global", ":set"];
/// Parts of paths of URLs before a secret.
const SECRET_PATHS: [&str; 6] =
    ["/webhooks/", "/webhook/", "/webhookb2/", "/services/", "slack.com/triggers/", "/bot"];
/// Begins of tokens.
const TOKENS: [&str; 6] = ["ghp_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "eyJ"];
/// Bytes of the name of a variable or an option, at most.
const LONG_NAME: usize = 256;
/// Values in values, at most. Each level of quotes doubles the backslashes, so real ones are few.
const DEEP: usize = 20;
/// Characters of a parameter without a name that is taken for a secret.
const LONG_PARAMETER: usize = 16;

/// The ranges of all secrets, in no order; they may overlap.
pub fn secrets(text: &str) -> Vec<Range<usize>> {
    let (mut found, mut start) = (Vec::new(), 0);
    for line in text.split_inclusive('\n') {
        let mut add = |range: Range<usize>| found.push(start + range.start..start + range.end);
        scan(line, 0, &mut add);
        start += line.len();
    }
    found
}

/// Looks at what is outside of quotes and values, then into each of them.
fn scan(text: &str, depth: usize, add: &mut dyn FnMut(Range<usize>)) {
    let layer = Layer::new(text, depth > 0);
    look(text, &layer.outside, depth > 0, add);
    if layer.is_doubtful {
        look(text, text, depth > 0, add);
    }
    if depth == DEEP {
        return;
    }
    for Range { start, end } in layer.comments.iter().cloned() {
        look(&text[start..end], &text[start..end], false, &mut |inner| {
            add(start + inner.start..start + inner.end);
        });
    }
    for Range { start, end } in layer.bare.into_iter().chain(layer.comments) {
        scan(&text[start..end], depth + 1, &mut |inner| {
            add(start + inner.start..start + inner.end);
        });
    }
    appended(text, &layer.quoted, add);
    for Range { start, end } in layer.quoted {
        let (inner, at) = unescaped(&text[start..end]);
        scan(&inner, depth + 1, &mut |inner| add(start + at[inner.start]..start + at[inner.end]));
    }
}

/// Names are those of `text`; where values begin and end is seen in `outside`.
fn look(text: &str, outside: &str, is_inner: bool, add: &mut dyn FnMut(Range<usize>)) {
    let mut add = |range: Range<usize>| {
        if !range.is_empty() {
            add(range);
        }
    };
    named(text, outside, is_inner, &mut add);
    variables(text, outside, is_inner, &mut add);
    options(text, outside, &mut add);
    urls(text, outside, &mut add);
    bearers(outside, &mut add);
    tokens(outside, &mut add);
    modem_pins(outside, &mut add);
}

/// `"https://host/?key=" . "SECRET"`: a text that a script appends to the name of a secret.
fn appended(text: &str, quoted: &[Range<usize>], add: &mut dyn FnMut(Range<usize>)) {
    for pair in quoted.windows(2) {
        let [first, second] = pair else { continue };
        let Some(between) = text.get(first.end..second.start) else { continue };
        let begun = text[first.clone()].trim_end_matches(['"', '\\']);
        let is_named = match begun.strip_suffix('=') {
            Some(begun) => is_secret_parameter(last_word(begun)),
            None => begun.to_ascii_lowercase().trim_end().ends_with("bearer"),
        };
        let is_joined = between.trim_matches([' ', '"', '\\']) == ".";
        if is_named && is_joined && !second.is_empty() {
            add(second.clone());
        }
    }
}

/// `AT+CPIN=1234` in commands for a modem.
fn modem_pins(line: &str, add: &mut impl FnMut(Range<usize>)) {
    for (at, begin) in line.match_indices("+CPIN=") {
        let from = at + begin.len();
        let is_end = |c: char| matches!(c, ';' | ' ' | '\n' | '\r');
        let pin = &line[from..];
        add(from..from + pin.find(is_end).unwrap_or(pin.len()));
    }
}

/// `NAME=VALUE`, `"NAME":"VALUE"`, `NAME: VALUE`.
fn named(text: &str, outside: &str, is_inner: bool, add: &mut impl FnMut(Range<usize>)) {
    let mut menus = menus(outside).into_iter().peekable();
    let mut menu = "";
    let mut end = 0;
    for (at, separator) in outside.match_indices(['=', ':']) {
        while let Some((_, begun)) = menus.next_if(|(start, _)| *start < at) {
            menu = begun;
        }
        let (before, after) = (&outside[..at], &outside[at + 1..]);
        let spaced = before.trim_end_matches(' ');
        let (start, name) = name_before(text, outside, spaced.len());
        if name.is_empty() {
            continue;
        }
        // After `name= ` the value is empty, but not after `name = `.
        let is_spaced = spaced.len() < before.len() || spaced.ends_with('"') || separator == ":";
        let blanks = after.len() - after.trim_start_matches(' ').len();
        let from = at + 1 + if is_spaced { blanks } else { 0 };
        if from < end {
            continue;
        }
        let value = &outside[from..];
        let parameter = outside[..start].ends_with(['?', '&']);
        if separator == ":" {
            let is_path = outside[..start].ends_with('/');
            if is_secret_header(name) {
                end = from + header_length(value);
                add(from..end);
            } else if is_certain(name) && !is_path && !value.starts_with("//") {
                end = from + length(value, ",}");
                add(from..end);
            }
            continue;
        }
        let secret = if parameter {
            is_secret_parameter(name)
        } else if is_in(menu, &VARIABLES) && matches!(name, "key" | "value") {
            name == "value"
        } else {
            is_secret(name)
                || name == "name" && is_in(menu, &COMMUNITIES)
                || name == "url" && is_in(menu, &LINKS)
        };
        let is_public = |value: &str| PUBLIC_KEYS.iter().any(|begin| value.starts_with(begin));
        if secret && !is_public(text[from..].trim_start_matches(['\\', '"'])) {
            end = if is_code(value) {
                expression(outside, from, add)
            } else {
                let end = from + length(value, if parameter { "&" } else { "" });
                quoted_or_bare(text, from..end, is_inner, add);
                end
            };
        }
    }
}

/// Where commands begin with a menu, and the text from there on.
fn menus(outside: &str) -> Vec<(usize, &str)> {
    let is_begin = |(at, _): &(usize, &str)| {
        *at == 0 || outside[..*at].ends_with([' ', '\t', '\n', '(', '[', '{', ';', '+', '-'])
    };
    let slashes = outside.match_indices('/').filter(is_begin);
    slashes.map(|(at, _)| (at, &outside[at..])).collect()
}

fn is_in(menu: &str, menus: &[&str]) -> bool {
    menus.iter().any(|begin| menu.starts_with(begin))
}

/// The name that ends here, which may be quoted, and where it begins.
fn name_before<'a>(text: &'a str, outside: &str, end: usize) -> (usize, &'a str) {
    let Some(before) = outside[..end].strip_suffix('"') else {
        let name = last_word(&outside[..end]).len();
        return (end - name, &text[end - name..end]);
    };
    let near = before.floor_char_boundary(before.len().saturating_sub(LONG_NAME));
    match before[near..].rfind('"') {
        Some(open) => {
            let name = &text[near + open + 1..end - 1];
            (near + open, last_word(name.trim_end_matches('\\')))
        }
        None => (end, ""),
    }
}

/// The value of a secret. `$[...]` in a text of a script is code, which is shown.
fn quoted_or_bare(
    text: &str,
    range: Range<usize>,
    is_inner: bool,
    add: &mut impl FnMut(Range<usize>),
) {
    let value = &text[range.clone()];
    let mut from = range.start;
    if is_inner && value.starts_with('"') {
        for (at, _) in value.match_indices("$[") {
            let start = range.start + at;
            let backslashes = value[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
            if start < from || backslashes % 2 == 1 {
                continue;
            }
            let Some(length) = bracket_length(&text[start + 1..range.end]) else { break };
            if start > range.start + 1 {
                add(from..start);
            }
            from = start + 1 + length;
        }
        if from > range.start && range.end - from <= 1 {
            return; // only its closing quote
        }
    }
    add(from..range.end);
}

/// Masks the texts in an expression in brackets, or all of it if it has no code. Returns its end.
fn expression(outside: &str, from: usize, add: &mut impl FnMut(Range<usize>)) -> usize {
    let value = &outside[from..];
    let line = value.find('\n').unwrap_or(value.len());
    let length = bracket_length(value).unwrap_or(line);
    let inside = &value[..length];
    if !inside.contains(['[', '/', ':']) {
        let end = from + length + bare_length(&value[length..], "]}");
        add(from..end);
        return end;
    }
    let mut at = 0;
    while let Some(start) = inside[at..].find('"').map(|found| at + found) {
        let end = inside[start + 1..].find('"').map_or(length, |found| start + found + 2);
        // Not the value of a property, which its own name judges, nor a name.
        if !inside[..start].ends_with(['=', '>']) {
            add(from + start..from + end);
        }
        at = end;
    }
    from + length
}

/// `:local NAME VALUE`, `:set NAME VALUE`, `:set ($array->"NAME") VALUE`.
fn variables(text: &str, outside: &str, is_inner: bool, add: &mut impl FnMut(Range<usize>)) {
    for setter in SETTERS {
        let mut end = 0;
        for (at, _) in outside.match_indices(setter) {
            let after = &outside[at + setter.len()..];
            let rest = after.trim_start_matches([' ', '\t']);
            if at < end || rest.len() == after.len() {
                continue;
            }
            let from = outside.len() - rest.len();
            let near = &rest[..rest.floor_char_boundary(LONG_NAME)];
            let name_end = if near.starts_with('(') {
                near.find(')').map(|at| at + 1)
            } else {
                near.find([' ', '\t', ';', '\n'])
            };
            let Some((name, after)) = name_end.map(|at| rest.split_at(at)) else { continue };
            let value = after.trim_start_matches([' ', '\t']);
            let name_end = from + name.trim_end_matches([' ', ')']).len();
            let (_, name) = name_before(text, outside, name_end);
            // `do={` begins a function, whose lines are looked at by themselves.
            if !is_secret(name)
                || value.len() == after.len()
                || value.starts_with("do={")
                || value.starts_with(';')
            {
                continue;
            }
            let from = outside.len() - value.len();
            end = if value.starts_with(['[', '(', '{']) {
                expression(outside, from, add)
            } else {
                let end = from + length(value, "]}");
                quoted_or_bare(text, from..end, is_inner, add);
                end
            };
        }
    }
}

/// `--NAME VALUE` and `--user NAME:VALUE`, in commands of containers.
fn options(text: &str, outside: &str, add: &mut impl FnMut(Range<usize>)) {
    for (at, _) in outside.match_indices("--") {
        let rest = &outside[at + 2..];
        let near = &rest[..rest.floor_char_boundary(LONG_NAME)];
        let Some((name, value)) = near.find(' ').map(|at| (&rest[..at], &rest[at + 1..])) else {
            continue;
        };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !is_name || value.starts_with('-') {
            continue;
        }
        let from = outside.len() - value.len();
        let end = from + length(value, "");
        if is_secret(name) {
            add(from..end);
        } else if name == "user"
            && let Some(colon) = text[from..end].find(':')
        {
            let quote = usize::from(text[..end].ends_with('"'));
            add(from + colon + 1..(end - quote).max(from + colon + 1));
        }
    }
}

/// Passwords, paths and parameters of URLs. Parameters with names are found as `NAME=VALUE`.
fn urls(text: &str, outside: &str, add: &mut impl FnMut(Range<usize>)) {
    let mut end = 0;
    for (at, _) in outside.match_indices("://") {
        let from = at + 3;
        if from < end {
            continue; // inside of an URL
        }
        let is_end = |c: char| matches!(c, ' ' | '\n' | '"' | ';' | '\\');
        end = outside[from..].find(is_end).map_or(text.len(), |length| from + length);
        let url = &text[from..end];
        if let Some(user_end) = url.rfind('@') {
            let user = &url[..user_end];
            match user.split_once(':') {
                // A port, and an @ in the path.
                Some((_, rest))
                    if rest.split('/').next().is_some_and(is_port) && rest.contains('/') => {}
                Some((name, _)) => add(from + name.len() + 1..from + user_end),
                None if user_end >= LONG_PARAMETER && !user.contains(['/', '?']) => {
                    add(from..from + user_end);
                }
                None => {}
            }
        }
        for path in SECRET_PATHS {
            let Some(found) = url.find(path) else { continue };
            let token = found + path.len();
            let rest = &url[token..];
            if path == "/bot" {
                if is_port(rest.split(':').next().unwrap_or_default()) && rest.contains(':') {
                    add(from + token..from + token + rest.find(['/', '?']).unwrap_or(rest.len()));
                }
            } else {
                add(from + token..from + token + rest.find(['?', '&']).unwrap_or(rest.len()));
            }
        }
        if let Some((before, parameter)) = url.split_once('?') {
            let start = from + before.len() + 1;
            let end = parameter.find('&').unwrap_or(parameter.len());
            if end >= LONG_PARAMETER && !parameter[..end].trim_end_matches('=').contains('=') {
                add(start..start + end);
            }
        }
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `Bearer TOKEN` and `Basic TOKEN`, wherever they are.
fn bearers(line: &str, add: &mut impl FnMut(Range<usize>)) {
    let lower = line.to_ascii_lowercase();
    for scheme in ["bearer ", "basic "] {
        for (at, _) in lower.match_indices(scheme) {
            let token = &line[at + scheme.len()..];
            let is_end = |c: char| !c.is_ascii_alphanumeric() && !"._~+/=-".contains(c);
            let token = &token[..token.find(is_end).unwrap_or(token.len())];
            // A word of prose has no digits.
            if token.len() >= 8 && token.bytes().any(|byte| byte.is_ascii_digit() || byte == b'=') {
                let from = at + scheme.len();
                add(from..from + token.len());
            }
        }
    }
}

/// Tokens that have a known form: of Telegram's bots, of GitHub, GitLab and Slack, and JSON web tokens.
fn tokens(line: &str, add: &mut impl FnMut(Range<usize>)) {
    let is_end = |c: char| !c.is_ascii_alphanumeric() && !"_.:-".contains(c);
    let mut from = 0;
    for word in line.split(is_end) {
        let is_bot = word.split_once(':').is_some_and(|(id, token)| {
            is_port(id) && id.len() >= 6 && token.len() >= 30 && !token.contains([':', '.'])
        });
        let is_known = TOKENS
            .iter()
            .any(|begin| word.strip_prefix(begin).is_some_and(|rest| rest.len() >= LONG_PARAMETER));
        if is_bot || is_known {
            add(from..from + word.len());
        }
        from += word.len();
        from += line[from..].chars().next().map_or(0, char::len_utf8);
    }
}

/// The name at the end of a text.
fn last_word(text: &str) -> &str {
    let is_end = |c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.');
    text.rfind(is_end).map_or(text, |at| {
        let end = text[at..].chars().next().map_or(0, char::len_utf8);
        &text[at + end..]
    })
}
