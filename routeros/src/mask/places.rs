//! Where secrets are in a text.

use std::ops::Range;

use super::{
    names::{is_certain, is_secret, is_secret_header, is_secret_parameter},
    value::{expression_length, header_length, length},
};

/// Menus in which `name` is a password.
const COMMUNITIES: [&str; 2] = ["snmp community", "snmp/community"];
/// Menus in which `value` is a secret, and `key` its name.
const VARIABLES: [&str; 2] = ["container env", "container/env"];
/// Begins of public keys: the `key` of `/user ssh-keys` is made to be shown.
const PUBLIC_KEYS: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
/// What sets a variable of a script.
const SETTERS: [&str; 3] = [":local ", ":global ", ":set "];
/// Parts of paths of URLs before a secret.
const SECRET_PATHS: [&str; 3] = ["/webhooks/", "/services/", "/bot"];
/// Begins of tokens.
const TOKENS: [&str; 6] = ["ghp_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "eyJ"];
/// Bytes of the name of a variable or an option, at most.
const LONG_NAME: usize = 256;
/// Characters of a parameter without a name that is taken for a secret.
const LONG_PARAMETER: usize = 16;

/// The ranges of all secrets, in no order; they may overlap.
pub fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut add = |range: Range<usize>| {
            if !range.is_empty() {
                found.push(start + range.start..start + range.end);
            }
        };
        named(line, &mut add);
        variables(line, &mut add);
        options(line, &mut add);
        urls(line, &mut add);
        bearers(line, &mut add);
        tokens(line, &mut add);
        start += line.len();
    }
    found
}

/// `NAME=VALUE`, `"NAME":"VALUE"`, `NAME: VALUE`.
fn named(line: &str, add: &mut impl FnMut(Range<usize>)) {
    let first = |menus: &[&str]| menus.iter().filter_map(|menu| line.find(menu)).min();
    let (communities, variables) = (first(&COMMUNITIES), first(&VARIABLES));
    let is_after = |menu: Option<usize>, at: usize| menu.is_some_and(|menu| menu < at);
    // The end of the last secret: what begins inside of it need not be looked at, which bounds the time.
    let mut done = 0;
    let mut add = |from: usize, length: usize| {
        done = done.max(from + length);
        add(from..from + length);
        done
    };
    let mut end = 0;
    for (at, separator) in line.match_indices(['=', ':']) {
        let (before, after) = (&line[..at], &line[at + 1..]);
        let spaced = before.trim_end_matches(' ');
        // A quoted name: its quotes have as many backslashes as those of its value.
        let unquoted = spaced.strip_suffix('"').map(|name| name.trim_end_matches('\\'));
        let name = last_word(unquoted.unwrap_or(spaced));
        if name.is_empty() {
            continue;
        }
        // After `name= ` the value is empty, but not after `name = `.
        let is_spaced = spaced.len() < before.len() || unquoted.is_some() || separator == ":";
        let blanks = after.len() - after.trim_start_matches(' ').len();
        let from = at + 1 + if is_spaced { blanks } else { 0 };
        if from < end {
            continue;
        }
        let value = &line[from..];
        let start = unquoted.unwrap_or(spaced).len() - name.len();
        let parameter = line[..start].ends_with(['?', '&']);
        if separator == ":" {
            let is_path = line[..start].ends_with('/');
            if is_secret_header(name) {
                end = add(from, header_length(value));
            } else if is_certain(name) && !is_path && !value.starts_with("//") {
                end = add(from, length(value, ",}"));
            }
            continue;
        }
        let secret = if parameter {
            is_secret_parameter(name)
        } else if is_after(variables, at) && matches!(name, "key" | "value") {
            name == "value"
        } else {
            is_secret(name) || name == "name" && is_after(communities, at)
        };
        let is_public = |value: &str| PUBLIC_KEYS.iter().any(|begin| value.starts_with(begin));
        if secret && !is_public(value.trim_start_matches(['\\', '"'])) {
            end = add(from, length(value, if parameter { "&" } else { "" }));
        }
    }
}

/// `:local NAME VALUE`, `:set NAME VALUE`, `:set ($array->"NAME") VALUE`.
fn variables(line: &str, add: &mut impl FnMut(Range<usize>)) {
    for setter in SETTERS {
        let mut end = 0;
        for (at, _) in line.match_indices(setter) {
            if at < end {
                continue;
            }
            let rest = line[at + setter.len()..].trim_start_matches(' ');
            let near = &rest[..rest.floor_char_boundary(LONG_NAME)];
            let name_end = if near.starts_with('(') {
                near.find(')').map(|at| at + 1)
            } else {
                near.find([' ', ';', '\n'])
            };
            let Some((name, after)) = name_end.map(|at| rest.split_at(at)) else { continue };
            let value = after.trim_start_matches(' ');
            let name = last_word(name.trim_end_matches(['"', '\\', ' ', ')']));
            if is_secret(name) && value.len() < after.len() {
                let from = line.len() - value.len();
                // `do={` begins a function, whose lines are looked at by themselves.
                if !value.starts_with("do={") && !value.starts_with(';') {
                    end = from + expression_length(value);
                    add(from..end);
                }
            }
        }
    }
}

/// `--NAME VALUE`, in commands of containers.
fn options(line: &str, add: &mut impl FnMut(Range<usize>)) {
    for (at, _) in line.match_indices("--") {
        let rest = &line[at + 2..];
        let near = &rest[..rest.floor_char_boundary(LONG_NAME)];
        let Some((name, value)) = near.find(' ').map(|at| (&rest[..at], &rest[at + 1..])) else {
            continue;
        };
        let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if is_name && is_secret(name) && !value.starts_with('-') {
            let from = line.len() - value.len();
            add(from..from + length(value, ""));
        }
    }
}

/// Passwords, paths and parameters of URLs. Parameters with names are found as `NAME=VALUE`.
fn urls(line: &str, add: &mut impl FnMut(Range<usize>)) {
    let mut end = 0;
    for (at, _) in line.match_indices("://") {
        let from = at + 3;
        if from < end {
            continue; // inside of an URL
        }
        let is_end = |c: char| matches!(c, ' ' | '\n' | '"' | ';' | '\\');
        let url = &line[from..];
        let url = &url[..url.find(is_end).unwrap_or(url.len())];
        end = from + url.len();
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

/// Tokens that can be told by their form: of Telegram's bots, of GitHub, GitLab and Slack, and JSON web tokens.
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
