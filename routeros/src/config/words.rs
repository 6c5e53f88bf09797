//! Faults of the configuration in the words of its users: which table a key belongs to, and what a value must be.

use aw_notify::MailOptions;
use aw_service::{plain_fault, unknown, unknown_key};
use serde::de::DeserializeOwned;

use super::{Config, Router, tables::OF_ROUTER};

/// Keys with true or false.
const BOOLEANS: [&str; 7] =
    ["agent", "backup", "legacy", "log_filter", "mail_secrets", "plain_password", "show_sensitive"];

/// A message of the parser about the byte `at` of `text`; other messages stay as they are.
pub fn plain(message: &str, text: &str, at: Option<usize>) -> String {
    let heading = at.and_then(|at| heading(text, at));
    match unknown_key(message) {
        // The key is a heading itself, behind the table of another one.
        Some((key, known)) if at.is_some_and(|at| is_heading_at(text, at)) => {
            unknown("table", key, &known, "")
        }
        Some((key, known)) => of_key(key, &known, heading, text),
        None => {
            let why = plain_fault(message, text, at);
            if let Some((key, _)) = why.split_once(": a text must stand in quotes")
                && BOOLEANS.contains(&key)
            {
                return format!("{key}: write true or false");
            }
            why
        }
    }
}

/// The message about a key that its table does not have.
fn of_key(key: &str, known: &[&str], heading: Option<&str>, text: &str) -> String {
    let has = |keys: &[String]| keys.iter().any(|one| one == key);
    let place = heading.map_or(String::new(), |heading| format!(" in {heading}"));
    let is_template = heading.is_some_and(|heading| !heading.starts_with("[["));
    let is_for_routers = known.contains(&OF_ROUTER[0]);
    if has(&keys::<Config>())
        && let Some(heading) = heading
    {
        return match first_heading(text) {
            Some((line, first)) => format!(
                "`{key}` stands in {heading}, where it has no effect: move it before the first table, {first} in line {line}"
            ),
            None => format!("`{key}` is not a key of {heading}"),
        };
    }
    let own = match () {
        () if !is_for_routers && has(&keys::<Router>()) => {
            "[[router]], or for several routers of [group.NAME] or [defaults]"
        }
        () if heading != Some("[mail]") && has(&keys::<MailOptions>()) => "[mail]",
        () => {
            let is_valid = |key: &&str| !(is_template && is_for_routers && OF_ROUTER.contains(key));
            let known: Vec<_> = known.iter().copied().filter(is_valid).collect();
            let begins = format!("{key}_");
            if let Some(longer) = known.iter().find(|known| known.starts_with(&begins)) {
                return format!("unknown key `{key}`{place} (did you mean `{longer}`?)");
            }
            return unknown("key", key, &known, &place);
        }
    };
    format!("unknown key `{key}`{place}: it is a key of {own}")
}

/// The keys of a table, from the parser's message about one that no table has.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let message = match toml::from_str::<T>("\"?\" = 0") {
        Err(error) => error.message().to_owned(),
        Ok(_) => return Vec::new(),
    };
    unknown_key(&message)
        .map_or(Vec::new(), |(_, keys)| keys.into_iter().map(str::to_owned).collect())
}

/// The heading of a table, without a comment behind it.
fn as_heading(line: &str) -> Option<&str> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let name = line.strip_prefix('[')?.strip_suffix(']')?;
    let name = name.strip_prefix('[').map_or(Some(name), |name| name.strip_suffix(']'))?;
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '"' | '\'' | ' ');
    let is_value = name.is_empty() || name.contains('"') && !name.contains('.');
    (name.chars().all(is_name) && !is_value).then_some(line)
}

/// The heading of the table that has the byte `at`.
fn heading(text: &str, at: usize) -> Option<&str> {
    text.get(..at)?.lines().rev().find_map(as_heading)
}

fn is_heading_at(text: &str, at: usize) -> bool {
    let (Some(before), Some(behind)) = (text.get(..at), text.get(at..)) else { return false };
    let start = before.rfind('\n').map_or(0, |end| end + 1);
    let end = behind.find('\n').map_or(text.len(), |end| at + end);
    as_heading(&text[start..end]).is_some()
}

fn first_heading(text: &str) -> Option<(usize, &str)> {
    let headings = text.lines().enumerate();
    headings.filter_map(|(number, line)| Some((number + 1, as_heading(line)?))).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_the_words_of_users() {
        let head = "archive = \"/a\"\n";
        let router = "[[router]]\nname = \"a\"\naddress = \"b\"\nuser = \"c\"\nagent = true\n";
        let mail =
            "[mail]\nserver = \"localhost\"\nfrom = \"a@example.org\"\nto = [\"b@example.org\"]\n";
        let rule = "ignore = [{ menu = \"/ip dns\" }]\n";
        for (text, why) in [
            (
                format!("{head}{router}{rule}"),
                "line 7: `ignore` stands in [[router]], where it has no effect: move it before the first table, [[router]] in line 2",
            ),
            (
                format!("{head}{mail}{router}hooks = [\"x\"]\n"),
                "line 11: `hooks` stands in [[router]], where it has no effect: move it before the first table, [mail] in line 2",
            ),
            (
                format!("{head}{mail}git = \"/x\"\n"),
                "line 6: `git` stands in [mail], where it has no effect: move it before the first table, [mail] in line 2",
            ),
            (
                format!("{head}[group.x] # sites\ninclude = \"x\"\n"),
                "line 3: `include` stands in [group.x], where it has no effect: move it before the first table, [group.x] in line 2",
            ),
            (
                format!("{head}user = \"x\"\n"),
                "line 2: unknown key `user`: it is a key of [[router]], or for several routers of [group.NAME] or [defaults]",
            ),
            (
                format!("{head}{router}server = \"x\"\n"),
                "line 7: unknown key `server` in [[router]]: it is a key of [mail]",
            ),
            (
                format!("{head}[defaults]\npasword_file = \"x\"\n"),
                "line 3: unknown key `pasword_file` in [defaults] (did you mean `password_file`?)",
            ),
            (
                format!("{head}[defaults]\npassword = \"x\"\n"),
                "line 3: unknown key `password` in [defaults] (did you mean `password_file`?)",
            ),
            (
                format!("{head}{router}[[ruoter]]\nname = \"x\"\n"),
                "line 7: unknown table `ruoter` (did you mean `router`?)",
            ),
            (
                format!("{head}{router}adress = \"x\"\n"),
                "line 7: unknown key `adress` in [[router]] (did you mean `address`?)",
            ),
            (
                format!("{head}ringgroup = \"x\"\n"),
                "line 2: unknown key `ringgroup` (did you mean `ring_group`?)",
            ),
            (
                format!("{head}[defaults]\ninterval = \"600\"\n"),
                "line 3: interval: must be a number of seconds, or a time such as \"10m\", not the text \"600\"",
            ),
            (
                format!("{head}hooks = \"git push\"\n"),
                "line 2: hooks: must be a list in square brackets, not the text \"git push\"",
            ),
            (format!("{head}[defaults]\nlegacy = yes\n"), "line 3: legacy: write true or false"),
            (
                format!("{head}[defaults]\nuser = audit\n"),
                "line 3: user: a text must stand in quotes (write user = \"...\")",
            ),
            (
                format!("{head}{mail}{router}host_key = 5\n"),
                "line 11: host_key: must be a text in quotes, or a list of such texts",
            ),
            (format!("{head}mail = \"x\"\n"), "line 2: mail: must be a table, not the text \"x\""),
            (
                format!("{head}{router}mail_to = \"x\"\n"),
                "line 7: mail_to: must be a list in square brackets, not the text \"x\"",
            ),
            (
                format!("{head}mail_noted = \"securty\"\n"),
                "line 2: unknown value `securty` (did you mean `security`?)",
            ),
        ] {
            assert_eq!(Config::parse(&text).unwrap_err(), why, "{text}");
        }
        // Only keys that the table may have.
        let why = Config::parse(&format!("{head}[defaults]\nmade_up = 1\n")).unwrap_err();
        assert!(
            why.starts_with(
                "line 3: unknown key `made_up` in [defaults], expected one of `user`, "
            ),
            "{why}"
        );
        assert!(
            !why.contains("`name`") && !why.contains("`address`") && !why.contains("`group`"),
            "{why}"
        );
    }

    #[test]
    fn headings() {
        let text = "a = 1\n[x]\nb = [\n [\"git\"],\n]\n[[ y ]] # z\nc = 2\n";
        let at = |part: &str| text.find(part).unwrap();
        assert_eq!(heading(text, at("a =")), None);
        assert_eq!(heading(text, at("git")), Some("[x]"));
        assert_eq!(heading(text, at("c =")), Some("[[ y ]]"));
        assert_eq!(first_heading(text), Some((2, "[x]")));
    }
}
